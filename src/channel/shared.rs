//! What the handles of one process share of one channel, and how they hold on to it when its semaphore set is
//! removed.
//!
//! A semaphore call that fails with EIDRM or EINVAL means one of four things, told apart here: the channel was
//! removed; the segment was removed behind its back; this thread has left the channel's IPC namespace (an attached
//! segment's id stays known, so one that is not known is in another namespace); or only the set is gone. In the last case the handle finds the set that somebody else has made, or makes one
//! ([`Shared::find_set`]), takes its seat there too ([`Shared::keep_seat`]), and goes on: who slept on the old
//! set was woken by its removal and looks again before it sleeps on the new one.
//!
//! Who does not touch a semaphore for a while is told by the header's notice, which every call looks at: it holds
//! the generation beside the removed mark.
//!
//! A removal that happens at the same time is not overlooked: see [`crate::segment::set`].

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use super::config::{Builder, Fence, HandleOptions};
use crate::error::{Fault, OpenError, OpenErrorKind, RecvError, SystemError};
use crate::segment::layout::REMOVED;
use crate::segment::seat::{self, NoSeat, Renewal, Seat, Side, same_namespace};
use crate::segment::set::{self, LAST_WORD, NoSet, Owner, Set};
use crate::segment::view::View;
use crate::sync::{AtomicU64, Ordering};
use crate::sys::{Errno, process, sem, shm};
use crate::wait::{Barrier, Park, Semaphore, Unparked};

/// How often to find that somebody else was faster, before giving up.
const ATTEMPTS: u32 = 100;

/// A notice that the header never holds.
pub(super) const UNKNOWN: u64 = u64::MAX;

/// What the handles of one process share of one channel.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(super) view: View,
    pub(super) address: String,
    pub(super) options: HandleOptions,
    /// The semaphore set as this process last found and checked it: [`Set::word`]; 0 = none yet.
    set: AtomicU64,
    /// [`process::ipc_namespace`] in which the channel's ids mean the channel.
    namespace: u64,
    /// Handles of this process, seated or not. After a fork each process counts its own.
    senders_here: AtomicUsize,
    receivers_here: AtomicUsize,
}

/// Whether the ids may mean something else by now, because this thread may have left the channel's namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// No: they have just worked. Only an answer that has consequences is looked at twice, because the look at the
    /// namespace costs ten times what the question does.
    None,
    /// Who knows.
    Some,
}

/// The senders' seats, as the kernel told last.
#[derive(Debug)]
pub(super) struct Seats {
    values: sem::Values,
    /// Which were taken, doubts included, at the last answer that is sure to have been the channel's.
    known: Option<[u64; 4]>,
}

impl Seats {
    pub(super) fn new(view: &View) -> Seats {
        Seats { values: sem::Values::new(view.geometry().semaphores()), known: None }
    }

    /// Whether the kernel says that a seat is taken.
    pub(super) fn is_taken(&self, lane: u32) -> bool {
        self.values.get(Side::Sender(lane).alive()) > 0
    }
}

/// Which side a handle waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerSide {
    Senders,
    Receiver,
}

/// Why the kernel's part of a channel cannot be had any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    Removed,
    /// This process has no part in the channel any more.
    Evicted,
    System(SystemError),
}

impl From<Loss> for Fault {
    fn from(loss: Loss) -> Fault {
        match loss {
            Loss::Removed => Fault::Removed,
            Loss::Evicted => Fault::Evicted,
            Loss::System(error) => Fault::System(error),
        }
    }
}

impl From<Loss> for RecvError {
    fn from(loss: Loss) -> RecvError {
        match loss {
            Loss::Removed => RecvError::Removed,
            Loss::Evicted => RecvError::Evicted,
            Loss::System(error) => RecvError::System(error),
        }
    }
}

fn failed(call: &'static str) -> impl Fn(Errno) -> Loss {
    move |errno| Loss::System(SystemError { call, errno })
}

/// Whether a semaphore call failed because its set is not there; or its id is another set's by now, with fewer
/// semaphores.
pub(super) fn is_gone(errno: Errno) -> bool {
    matches!(errno, Errno::EIDRM | Errno::EINVAL | Errno::EFBIG)
}

/// See [`Shared::bell`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Bell<'a> {
    shared: &'a Shared,
    side: Side,
}

impl Park for Bell<'_> {
    fn park(&self, limit: Duration) -> Unparked {
        self.shared.semaphore(self.side).park(limit)
    }

    fn unpark(&self) -> Result<(), Errno> {
        self.shared.semaphore(self.side).unpark()
    }
}

impl Shared {
    /// Without a set, which is to be adopted or found.
    pub(super) fn new(view: View, address: String, builder: &Builder) -> Shared {
        Shared {
            set: AtomicU64::new(0),
            view,
            address,
            options: builder.handle,
            namespace: process::ipc_namespace(),
            senders_here: AtomicUsize::new(0),
            receivers_here: AtomicUsize::new(0),
        }
    }

    /// Handles of that side in this process.
    pub(super) fn here(&self, side: PeerSide) -> &AtomicUsize {
        match side {
            PeerSide::Senders => &self.senders_here,
            PeerSide::Receiver => &self.receivers_here,
        }
    }

    /// The semaphore set as this process last found it; one that nobody has if it never found any.
    pub(super) fn set(&self) -> Set {
        self.known_set().unwrap_or(Set { generation: 1, id: -1 })
    }

    fn known_set(&self) -> Option<Set> {
        // Relaxed, as the header's: what it names the kernel knows.
        Set::from_word(self.set.load(Ordering::Relaxed))
    }

    /// The bell of a side, on whatever set there is when it is used.
    #[inline]
    pub(super) fn bell(&self, side: Side) -> Bell<'_> {
        Bell { shared: self, side }
    }

    /// The bell of a side on the present set.
    pub(super) fn semaphore(&self, side: Side) -> Semaphore {
        Semaphore { set: self.set().id, index: side.bell() }
    }

    /// What every call compares with what its handle knows.
    #[inline]
    pub(super) fn notice(&self) -> u64 {
        // Relaxed: whoever acts on it looks at the words themselves.
        self.view.header().bell.notice.load(Ordering::Relaxed)
    }

    /// What a handle may know of it: with the removed mark it would never settle, should that mark go away again.
    pub(super) fn settled_notice(&self) -> u64 {
        self.notice() & !REMOVED
    }

    /// Whether the removed mark is set; finishes the removal if so.
    #[inline]
    pub(super) fn is_removed(&self) -> bool {
        let removed = self.notice() & REMOVED != 0;
        if removed {
            self.finish_removal();
        }
        removed
    }

    /// Removes what is left, and marks it for everybody else.
    #[cold]
    pub(super) fn finish_removal(&self) {
        if !self.is_here() {
            return; // the ids mean something else here
        }
        let named = set::mark_removed(self.view.header());
        self.set().remove(self.view.region().id());
        remove_objects(self.view.region().id(), named);
    }

    /// Whether this thread is where the channel's ids mean the channel.
    pub(super) fn is_here(&self) -> bool {
        let region = self.view.region();
        let known =
            shm::stat(region.id()).map_or_else(|errno| !is_gone(errno), |stat| stat.size == region.len());
        known && same_namespace(self.namespace)
    }

    /// Whether the segment itself was removed behind the channel's back (`ipcrm -m`).
    pub(super) fn is_segment_gone(&self) -> bool {
        match shm::stat(self.view.region().id()) {
            Ok(stat) => stat.dest && !self.view.is_anonymous(),
            Err(errno) => is_gone(errno),
        }
    }

    /// Processes attached, by the kernel's count.
    pub(super) fn attached(&self) -> u64 {
        shm::stat(self.view.region().id()).map_or(u64::MAX, |stat| stat.nattch)
    }

    /// The channel's semaphore set: the one that the header names, or a new one if that is gone. Does not wait.
    #[cold]
    pub(super) fn find_set(&self) -> Result<Set, Loss> {
        let (id, semaphores) = (self.view.region().id(), self.view.geometry().semaphores());
        let header = self.view.header();
        for _ in 0..ATTEMPTS {
            if !self.is_here() {
                return Err(Loss::Evicted);
            }
            // The very word that is swapped below: a collector may write its last word meanwhile.
            let seen = header.set.word.load(Ordering::Relaxed);
            if seen == LAST_WORD || self.is_removed() {
                self.finish_removal();
                return Err(Loss::Removed);
            }
            let segment = match shm::stat(id) {
                Ok(stat) if !stat.dest || self.view.is_anonymous() => stat,
                Ok(_) => {
                    self.finish_removal();
                    return Err(Loss::Removed);
                }
                Err(errno) => return Err(failed("shmctl(IPC_STAT)")(errno)),
            };
            let last = Set::from_word(seen);
            let belongs = |set: Set| {
                set.belongs(id, &segment, Some(semaphores)).map_err(|(call, errno)| failed(call)(errno))
            };
            if let Some(set) = last
                && belongs(set)?
            {
                return Ok(self.adopt(set));
            }
            // The word names no set of ours, but the one that we use is there, and no collector has put it aside:
            // somebody has played with the word.
            if let Some(known) = self.known_set()
                && last != Some(known)
                && last != Some(known.aside())
                && belongs(known)?
            {
                set::enter(self.view.header(), seen, known);
                continue;
            }
            let new = match Set::make(id, semaphores, Owner::of(&segment), last) {
                Ok(new) => new,
                Err(NoSet::Gone) => continue,
                Err(NoSet::Failed(call, errno)) => return Err(failed(call)(errno)),
                Err(NoSet::NoUndo) => return Err(failed("semop")(Errno::ENOSYS)),
            };
            if !set::enter(header, seen, new) {
                new.remove(id);
                continue;
            }
            if let Some(old) = last.and_then(Set::put_aside) {
                old.remove(id); // its collector may have died before it did
            }
            if self.is_removed() {
                return Err(Loss::Removed);
            }
            if self.is_segment_gone() {
                self.finish_removal();
                return Err(Loss::Removed);
            }
            return Ok(self.adopt(new));
        }
        Err(failed("semget")(Errno::EAGAIN))
    }

    /// Goes on with `set`, which was made by the caller or found to be the channel's, and tells everybody who does not
    /// know yet.
    pub(super) fn adopt(&self, set: Set) -> Set {
        // Relaxed: whoever sees it looks at the set word, and asks the kernel for what that names.
        self.view.header().bell.notice.fetch_max(set.generation.into(), Ordering::Relaxed);
        let present = self.view.set() == Some(set);
        let newer = |known: u64| {
            let ahead = set.generation.wrapping_sub((known >> 32) as u32).cast_signed();
            (known == 0 || present || ahead >= 0).then_some(set.word())
        };
        // Another thread may have found a newer one meanwhile.
        let before = self.set.fetch_update(Ordering::Relaxed, Ordering::Relaxed, newer);
        // Lost, or the header's word was played with and somebody has made another. Then nobody else would remove it.
        let former = before.ok().and_then(Set::from_word).filter(|former| former.id != set.id);
        if let Some(former) = former.filter(|former| self.view.set().is_none_or(|now| now.id != former.id)) {
            former.remove(self.view.region().id());
        }
        set
    }

    /// Makes sure that `seat` is held in the channel's present set. Returns what its handle knows from now on; after
    /// [`Renewal::Later`] that is nothing, so that it tries again with its next call. Does not wait.
    #[cold]
    pub(super) fn keep_seat(&self, seat: &mut Seat) -> Result<u64, Loss> {
        for _ in 0..ATTEMPTS {
            let notice = self.settled_notice();
            let set = self.find_set()?;
            match seat.renew(set) {
                Renewal::Done => return Ok(notice.max(set.generation.into())),
                Renewal::Later => return Ok(UNKNOWN),
                Renewal::Stale => {}
                Renewal::Lost => return Err(Loss::Evicted),
                Renewal::Failed(errno) => return Err(failed("semop")(errno)),
            }
        }
        Err(failed("semop")(Errno::EAGAIN))
    }

    /// Takes a seat. `Err(Ok(_))`: why it is not to be had; `Err(Err(_))`: the channel is not.
    pub(super) fn take(&self, side: Side) -> Result<Seat, Result<NoSeat, Loss>> {
        if !same_namespace(self.namespace) {
            return Err(Err(Loss::Evicted));
        }
        for _ in 0..ATTEMPTS {
            match Seat::take(&self.view, self.set(), side) {
                Err(NoSeat::Stale) => {
                    self.find_set().map_err(Err)?;
                }
                outcome => return outcome.map_err(Ok),
            }
        }
        Err(Err(failed("semop")(Errno::EAGAIN)))
    }

    /// Whether this thread has left the channel's namespace, as far as that is to be looked at before the question:
    /// claims of earlier sets are judged by the segment's id.
    fn is_astray(&self, doubt: Doubt, set: Set) -> bool {
        (doubt == Doubt::Some || set.generation > 1) && !same_namespace(self.namespace)
    }

    /// Asks the kernel whether a seat is taken. In doubt counts as taken.
    pub(super) fn is_taken(&self, side: Side, doubt: Doubt) -> Result<bool, Loss> {
        for _ in 0..ATTEMPTS {
            let set = self.set();
            if self.is_astray(doubt, set) {
                return Err(Loss::Evicted);
            }
            // The doubt first: a holder that renews its seat takes it in the new set before the doubt ends.
            if seat::is_in_doubt(&self.view, &self.view.region().company(), set, side) {
                return Ok(true);
            }
            match sem::value(set.id, side.alive()) {
                Ok(value) => {
                    let sure = doubt == Doubt::Some || value > 0; // else it was not looked at yet
                    let ours = sure || same_namespace(self.namespace);
                    return if ours { Ok(value > 0) } else { Err(Loss::Evicted) };
                }
                Err(errno) if is_gone(errno) => {
                    self.find_set()?;
                }
                Err(errno) => return Err(failed("semctl(GETVAL)")(errno)),
            }
        }
        Err(failed("semctl(GETVAL)")(Errno::EAGAIN))
    }

    /// Asks the kernel which senders' seats are taken, one bit for each. In doubt counts as taken.
    pub(super) fn taken_seats(&self, seats: &mut Seats, doubt: Doubt) -> Result<[u64; 4], Loss> {
        let lanes = 0..self.view.geometry().senders();
        for _ in 0..ATTEMPTS {
            let set = self.set();
            if self.is_astray(doubt, set) {
                return Err(Loss::Evicted);
            }
            let mut taken = [0; 4];
            let mut note = |lane: u32| taken[lane as usize / 64] |= 1 << (lane % 64);
            // The doubts first, as in `is_taken`.
            let company = self.view.region().company();
            let in_doubt = |&lane: &u32| seat::is_in_doubt(&self.view, &company, set, Side::Sender(lane));
            lanes.clone().filter(in_doubt).for_each(&mut note);
            match seats.values.read(set.id) {
                Ok(()) => {
                    lanes.filter(|&lane| seats.is_taken(lane)).for_each(note);
                    let same = seats.known == Some(taken) && taken != [0; 4];
                    let sure = doubt == Doubt::Some || same; // else it was not looked at yet
                    if !sure && !same_namespace(self.namespace) {
                        return Err(Loss::Evicted);
                    }
                    seats.known = Some(taken);
                    return Ok(taken);
                }
                Err(errno) if is_gone(errno) => {
                    self.find_set()?;
                }
                Err(errno) => return Err(failed("semctl(GETALL)")(errno)),
            }
        }
        Err(failed("semctl(GETALL)")(Errno::EAGAIN))
    }

    /// How this process publishes and falls asleep. To be called before a seat is taken.
    pub(super) fn barrier(&self) -> Barrier {
        if self.options.fence == Fence::Auto && process::membarrier_register() {
            return Barrier::asymmetric(process::membarrier);
        }
        let sticky = &self.view.header().bell.real_fences;
        if sticky.load(Ordering::Relaxed) == 0 {
            sticky.store(1, Ordering::Relaxed);
            // A publisher may have loaded the old word and have a publication on its way to memory still: make
            // sure that it has arrived before anybody sleeps on the new rule.
            if !process::membarrier() {
                thread::sleep(Duration::from_millis(1));
            }
        }
        Barrier::REAL
    }

    /// Why a seat could not be had, for the caller.
    pub(super) fn no_seat(&self, side: Side, why: Result<NoSeat, Loss>) -> OpenError {
        let end = match side {
            Side::Receiver => "the receiver's seat",
            Side::Sender(_) if self.view.is_spsc() => "the only sender's seat",
            Side::Sender(_) => "every sender's seat",
        };
        match why {
            Ok(NoSeat::Taken(pid)) => {
                let pid = (pid > 0).then_some(pid);
                let who =
                    pid.map_or("a process outside this pid namespace".into(), |pid| format!("process {pid}"));
                let more =
                    if matches!(side, Side::Sender(_)) && !self.view.is_spsc() { " and others" } else { "" };
                let text = format!("{end} is taken by {who}{more}");
                let set = self.set();
                // The kernel frees a seat before the pid of its holder is dead.
                let tampered =
                    pid.is_some_and(process::is_dead) && matches!(sem::value(set.id, side.alive()), Ok(1..));
                let hint = if tampered {
                    let id = set.id;
                    format!(
                        "it has ended: somebody has set that semaphore; ipcrm -s {id}, and they are made anew"
                    )
                } else {
                    "it falls free when that process ends or drops its handle".to_owned()
                };
                OpenError::new(OpenErrorKind::SeatTaken { pid }, &self.address, text).with_hint(hint)
            }
            Ok(NoSeat::Failed(errno)) => OpenError::system(&self.address, "semop", errno),
            Ok(NoSeat::Stale) => self.lost(Loss::Removed),
            Err(loss) => self.lost(loss),
        }
    }

    /// Why the channel is not to be had, for the caller.
    pub(super) fn lost(&self, loss: Loss) -> OpenError {
        match loss {
            Loss::Removed => OpenError::system(&self.address, "semop", Errno::EIDRM),
            Loss::Evicted => {
                let text = "this process has lost its seat, or has left the IPC namespace of the channel";
                OpenError::new(OpenErrorKind::Removed, &self.address, text).with_hint(
                    "drop its handles before unshare or setns, and open it anew where it can be seen",
                )
            }
            Loss::System(SystemError { call, errno }) => OpenError::system(&self.address, call, errno),
        }
    }

    pub(super) fn count_in(&self, side: PeerSide) {
        self.here(side).fetch_add(1, Relaxed);
    }

    pub(super) fn count_out(&self, side: PeerSide) {
        self.here(side).fetch_sub(1, Relaxed);
    }
}

/// Removes a set, if that is really the segment's own, and the segment. Whoever sees the removed mark may do it, so
/// failures mean that it is done.
///
/// The set first: whoever is killed in between leaves a marked segment that the next caller finds by its key.
pub(super) fn remove_objects(id: i32, set: Option<Set>) {
    if let Some(set) = set {
        set.remove(id);
    }
    let _ = shm::remove(id);
}
