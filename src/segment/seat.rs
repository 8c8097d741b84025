//! Seats and the last will: who holds which end, by the kernel's own word.
//!
//! One `semop` call takes a seat and leaves a will with the kernel:
//!
//! ```text
//! [ {alive, 0, NOWAIT}, {alive, +1, UNDO},      seat free? take it; the kernel frees it at death
//!   {bell, +1},         {bell, -1, UNDO} ]      value unchanged, but death adds +1: the sleeper wakes
//! ```
//!
//! `alive` is 1 while the process lives and 0 after it has gone by any cause: no pid, hence immune to reuse,
//! zombies and pid namespaces. A sender's will is on the receiver's bell, the receiver's on every lane's bell. A
//! clean leave is `{alive, -1, UNDO}, {bell, +1, UNDO}`, which wakes too and brings the undo values back to zero.
//!
//! SETVAL and SETALL are never used: they erase everybody's wills. UNDO is used here and for the initialiser
//! only.
//!
//! # Claims, for the case that the set is lost
//!
//! With the set (see [`super::set`]) the kernel's word is lost. So beside it the holder writes a **claim** into the
//! seat's entry: {generation of the set, pid, pid namespace} in one word, by compare-and-swap after the `semop` and
//! before anything else. A claim of the present generation means nothing: the semaphore decides. A claim of an older
//! one is **in doubt**: its holder may live and go on writing to its lane, because it has not noticed yet. Nobody
//! takes such a seat but the claim's own process, by [`Seat::renew`], or a process that knows from the kernel that the
//! claim's process has ended: by its pid, in the same pid namespace, or because nobody else is attached. In doubt
//! counts as alive, and is looked at again at each ceiling.
//!
//! There is never a second owner. Two processes that take the same seat in the same generation meet at the semaphore.
//! In different ones they meet at the claim, one word that both compare and swap: whoever comes second finds the
//! other's claim of another generation, which is in doubt. That needs no fence.
//!
//! A collector only looks: it puts the set aside, fences (N), and then looks at the claims. Whoever takes a seat claims
//! it, fences (M), and then looks at the set word: if that has changed, it does not own the seat and gives its claim
//! back. So either the collector sees the claim, or the taker sees the word. [`Seat::renew`] needs no fence: the older
//! claim, which was looked after in this way, stays until it is swapped.
//!
//! # What goes with a claim
//!
//! A holder that leaves gives its claim back after its last store to the lane, and whoever takes away the claim of a
//! dead one knows its end from the kernel (Q). Who finds no claim there (R, or M behind the swap of its own claim)
//! sees those stores, also if the set in which the kernel would have ordered the two was lost. In the same way other
//! threads of a process that see its claim see that it was noted ([`Place::note_taking`]).
//!
//! A visit is counted after the seat was taken, with the fence M between. Who reads the count (T) and then finds the
//! seat free knows that somebody has come and gone.
//!
//! | letter | where | what | pairs with |
//! |---|---|---|---|
//! | M | [`take`]: claim, fence, set word (and visits) | fence SeqCst | N, T |
//! | N | [`super::set::set_aside`]: set word, fence, claim | fence SeqCst | M |
//! | Q | [`take`], [`give_back`], [`doubtful`]: claim put and taken away | Release | R, M |
//! | R | [`doubtful`]: claim | Acquire | Q |
//! | T | [`visits`], visits | Acquire | M |

use super::layout::{Geometry, Header};
use super::region::Company;
use super::set::Set;
use super::view::View;
use crate::sync::{AtomicU64, Ordering, fence, tell_sanitizer};
use crate::sys::sem::{self, Op};
use crate::sys::{Errno, process};

/// 1 while somebody initialises the channel. The three before it name the segment, see [`super::set`].
pub(crate) const INITIALISER: u16 = 3;
/// The receiver's seat.
pub(crate) const RECEIVER: u16 = 4;
/// The receiver's bell.
pub(crate) const RECEIVER_BELL: u16 = 5;
/// First semaphore of lane 0.
pub(crate) const FIRST_LANE: u16 = 6;

/// Bells that hold so many units are emptied by whoever meets ERANGE.
const FULL: u16 = 16_000;

/// How often to try again where somebody else may be filling up what we empty.
const ATTEMPTS: u32 = 16;

/// Which end of the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Receiver,
    Sender(u32),
}

impl Side {
    /// Semaphore that is 1 while this seat is taken.
    pub(crate) fn alive(self) -> u16 {
        match self {
            Side::Receiver => RECEIVER,
            Side::Sender(lane) => FIRST_LANE + 2 * lane as u16,
        }
    }

    /// Semaphore that the holder of this seat sleeps on.
    pub(crate) fn bell(self) -> u16 {
        self.alive() + 1
    }

    fn entry(self) -> u32 {
        match self {
            Side::Receiver => 0,
            Side::Sender(lane) => lane + 1,
        }
    }
}

/// Who holds a seat since which generation: {generation: 14, pid namespace: 28, pid: 22} in one word, never 0.
///
/// A pid has 22 bits on Linux; the numbers of namespaces differ in their lowest 28, and 0 stands for one
/// that is not known; generations are compared by their lowest 14.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim(u64);

const PID_BITS: u32 = 22;
const NAMESPACE_BITS: u32 = 28;

impl Claim {
    fn of_this_process(set: Set) -> Claim {
        Claim::new(set, Claim::namespace(), process::pid() as u64)
    }

    /// The claim of process `pid`, in the namespace of these lowest bits.
    pub(crate) fn new(set: Set, namespace: u64, pid: u64) -> Claim {
        let generation = u64::from(set.generation) << (PID_BITS + NAMESPACE_BITS);
        Claim(generation | namespace << PID_BITS | pid & low_bits(PID_BITS))
    }

    fn namespace() -> u64 {
        process::pid_namespace() & low_bits(NAMESPACE_BITS)
    }

    fn from_word(word: u64) -> Option<Claim> {
        (word != 0).then_some(Claim(word))
    }

    fn is_of(self, set: Set) -> bool {
        let bits = u64::BITS - PID_BITS - NAMESPACE_BITS;
        self.0 >> (PID_BITS + NAMESPACE_BITS) == u64::from(set.generation) & low_bits(bits)
    }

    /// The holder's pid, if it is known to be of our own pid namespace.
    fn pid(self) -> Option<i32> {
        let namespace = self.0 >> PID_BITS & low_bits(NAMESPACE_BITS);
        let known = namespace != 0 && namespace == Claim::namespace();
        known.then_some((self.0 & low_bits(PID_BITS)) as i32).filter(|&pid| pid > 0)
    }
}

fn low_bits(bits: u32) -> u64 {
    (1 << bits) - 1
}

/// What a seat is made of: words of the segment, and what the kernel does, which has a twin in the models.
pub(crate) trait Place {
    /// The header of the channel.
    fn header(&self) -> &Header;
    /// The claim's word.
    fn claim(&self) -> &AtomicU64;
    /// Takes the seat's semaphore and leaves the will.
    fn hold(&self, set: Set) -> Result<(), NoSeat>;
    /// Frees the seat's semaphore, takes the will back, and wakes the other side.
    fn free(&self, set: Set) -> Result<(), NoSeat>;
    /// Whether the process that left this claim has ended for certain.
    fn is_dead(&self, claim: Claim) -> bool;
    /// A handle of this process is about to claim the seat.
    fn note_taking(&self);
    /// It has left it, or has not got it.
    fn note_left(&self);
}

/// The claim of a seat that was taken in another set than `set`, if its holder may still be alive. A dead one's claim
/// is taken away.
pub(crate) fn doubtful(place: &impl Place, set: Set) -> Option<Claim> {
    let word = place.claim();
    let claim = Claim::from_word(word.load(Ordering::Acquire)); // R
    let claim = claim.filter(|claim| !claim.is_of(set))?;
    if !place.is_dead(claim) {
        return Some(claim);
    }
    if Set::of(place.header()) == Some(set) {
        // So that it is not judged again and again. Whoever was faster, or has taken the seat: both fine.
        let _ = word.compare_exchange(claim.0, 0, Ordering::Release, Ordering::Relaxed); // Q
    }
    None
}

/// Takes a seat in `set`, with the claim `mine`. Does not wait. False: it is taken, but in a set that is the
/// channel's no more, so it must be left again.
pub(crate) fn take(place: &impl Place, set: Set, mine: Claim) -> Result<bool, NoSeat> {
    let taken = |claim: Claim| NoSeat::Taken(claim.pid().unwrap_or(0));
    if let Some(claim) = doubtful(place, set) {
        return Err(taken(claim));
    }
    place.hold(set)?;
    let word = place.claim();
    let mut claimed = Err(NoSeat::Taken(0));
    place.note_taking();
    for _ in 0..ATTEMPTS {
        // Changed meanwhile by nobody but takers with another set.
        let seen = word.load(Ordering::Relaxed);
        if let Some(other) = Claim::from_word(seen)
            && !other.is_of(set)
            && !place.is_dead(other)
        {
            claimed = Err(taken(other));
            break;
        }
        let swapped = word.compare_exchange(seen, mine.0, Ordering::Release, Ordering::Relaxed); // Q
        if swapped.is_ok() {
            claimed = Ok(());
            break;
        }
    }
    fence(Ordering::SeqCst); // M
    tell_sanitizer(word);
    let present = Set::of(place.header()) == Some(set);
    match claimed {
        Ok(()) => Ok(present),
        Err(why) => {
            place.note_left();
            let _ = place.free(set);
            Err(if present { why } else { NoSeat::Stale })
        }
    }
}

/// Takes the seat of the claim `from` in the present set as well, with the claim `mine`. Does not wait.
pub(crate) fn renew(place: &impl Place, from: Claim, set: Set, mine: Claim) -> Renewal {
    let word = place.claim();
    match place.hold(set) {
        Ok(()) => {}
        Err(NoSeat::Taken(_)) if word.load(Ordering::Relaxed) == from.0 => return Renewal::Later,
        Err(NoSeat::Taken(_)) => return Renewal::Lost,
        Err(NoSeat::Stale) => return Renewal::Stale,
        Err(NoSeat::Failed(errno)) => return Renewal::Failed(errno),
    }
    let renewal = claim_again(place, from, mine);
    if renewal != Renewal::Done {
        let _ = place.free(set);
    }
    renewal
}

/// Swaps the claim `from` for `mine`: of a seat whose semaphore is held.
fn claim_again(place: &impl Place, from: Claim, mine: Claim) -> Renewal {
    let swapped = place.claim().compare_exchange(from.0, mine.0, Ordering::Relaxed, Ordering::Relaxed);
    if swapped.is_ok() { Renewal::Done } else { Renewal::Lost }
}

/// Gives a claim back. False if it is not there any more.
pub(crate) fn give_back(place: &impl Place, claim: Claim) -> bool {
    place.claim().compare_exchange(claim.0, 0, Ordering::Release, Ordering::Relaxed).is_ok() // Q
}

/// How often that side's seats were taken.
fn visits_of(header: &Header, side: Side) -> &AtomicU64 {
    match side {
        Side::Receiver => &header.visits.receivers,
        Side::Sender(_) => &header.visits.senders,
    }
}

/// Counts a visit. Only a session that is counted has come: whoever is killed before has not.
pub(crate) fn count(header: &Header, side: Side) {
    visits_of(header, side).fetch_add(1, Ordering::Relaxed); // behind M
    // Relaxed, here and wherever it is looked at: it only says that it is worth asking the kernel, at once and not
    // a moment later.
    header.bell.changes.fetch_add(1, Ordering::Relaxed);
}

/// The receiver's, or all senders', visits so far.
pub(crate) fn visits(header: &Header, side: Side) -> u64 {
    visits_of(header, side).load(Ordering::Acquire) // T
}

/// A seat of a mapped channel.
#[derive(Debug)]
struct Mapped<'a> {
    view: &'a View,
    side: Side,
    /// Asked once for many seats; `None`: for this one, as often as it matters.
    company: Option<&'a Company<'a>>,
}

impl Place for Mapped<'_> {
    fn header(&self) -> &Header {
        self.view.header()
    }

    fn claim(&self) -> &AtomicU64 {
        &self.view.seat(self.side.entry()).claim
    }

    fn hold(&self, set: Set) -> Result<(), NoSeat> {
        hold(self.view, set, self.side)
    }

    fn free(&self, set: Set) -> Result<(), NoSeat> {
        free(self.view, set, self.side)
    }

    /// The kernel says so of its pid, or nobody else is attached to the segment. A pid alone can deceive: a container
    /// that starts again may have number and namespace of its predecessor.
    fn is_dead(&self, claim: Claim) -> bool {
        let pid = claim.pid();
        let fresh = self.view.region().company();
        let company = self.company.unwrap_or(&fresh);
        pid.is_some_and(process::is_dead)
            || company.is_alone_without(self.side.entry(), pid == Some(process::pid()))
    }

    fn note_taking(&self) {
        self.view.region().note_taking(self.side.entry());
    }

    fn note_left(&self) {
        self.view.region().note_left(self.side.entry());
    }
}

/// Whether the seat's holder took it in an older set and may still be alive: it counts as taken.
pub(crate) fn is_in_doubt(view: &View, company: &Company<'_>, set: Set, side: Side) -> bool {
    let place = Mapped { view, side, company: Some(company) };
    doubtful(&place, set).is_some()
}

/// For people: the pid of a seat in doubt, 0 if it cannot be told. Changes nothing.
pub(crate) fn doubtful_pid(view: &View, company: &Company<'_>, set: Option<Set>, side: Side) -> Option<i32> {
    let claim = Claim::from_word(view.seat(side.entry()).claim.load(Ordering::Relaxed))?;
    let place = Mapped { view, side, company: Some(company) };
    let doubtful = set.is_none_or(|set| !claim.is_of(set)) && !place.is_dead(claim);
    doubtful.then(|| claim.pid().unwrap_or(0))
}

/// For people: the claim in a seat's entry, 0 if there is none. In a free seat it is that of a holder which ended without
/// leaving.
pub(crate) fn claim_word(view: &View, side: Side) -> u64 {
    view.seat(side.entry()).claim.load(Ordering::Relaxed)
}

/// Why a seat could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoSeat {
    /// This process holds it, in the caller's pid namespace (0 = it is in another).
    Taken(i32),
    /// The set is gone or is no longer the channel's: find the new one and try again.
    Stale,
    Failed(Errno),
}

/// What became of a seat whose set was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// It is taken in the new set too.
    Done,
    /// Somebody is just trying whether it is free: try again later. It stays ours meanwhile.
    Later,
    /// That set is gone as well: find the new one and try again.
    Stale,
    /// Somebody else has it.
    Lost,
    Failed(Errno),
}

/// A place that the kernel gave to this process alone. Dropping it leaves cleanly; in a forked child it does
/// nothing, because the seat is the parent's.
#[derive(Debug)]
pub(crate) struct Seat {
    view: View,
    set: Set,
    side: Side,
    claim: Claim,
    /// [`process::identity`] of the process that took it.
    identity: u64,
    /// [`process::ipc_namespace`] in which the set's id means this set.
    namespace: u64,
}

impl Seat {
    /// Takes a seat and leaves the will, in one system call. Does not wait.
    pub(crate) fn take(view: &View, set: Set, side: Side) -> Result<Seat, NoSeat> {
        let claim = Claim::of_this_process(set);
        let present = take(&Mapped { view, side, company: None }, set, claim)?;
        let (identity, namespace) = (process::identity(), process::ipc_namespace());
        let seat = Seat { view: view.clone(), set, side, claim, identity, namespace };
        if !present {
            return Err(NoSeat::Stale); // dropped, it gives the claim back
        }
        count(view.header(), side);
        Ok(seat)
    }

    /// Takes the seat in the channel's new set as well. Does not wait.
    pub(crate) fn renew(&mut self, set: Set) -> Renewal {
        if set == self.set {
            return Renewal::Done;
        }
        let claim = Claim::of_this_process(set);
        let same = set.id == self.set.id && sem::value(set.id, self.side.alive()) != Ok(0);
        let renewal = if same {
            // The same set under another generation: somebody has played with the header's word. The seat is held there.
            claim_again(&self.place(), self.claim, claim)
        } else {
            renew(&self.place(), self.claim, set, claim)
        };
        if renewal != Renewal::Done {
            return renewal;
        }
        (self.set, self.claim, self.namespace) = (set, claim, process::ipc_namespace());
        if self.view.set() == Some(set) { Renewal::Done } else { Renewal::Stale }
    }

    /// Whether the entry still bears this seat's claim.
    pub(crate) fn is_ours(&self) -> bool {
        self.place().claim().load(Ordering::Relaxed) == self.claim.0
    }

    fn place(&self) -> Mapped<'_> {
        Mapped { view: &self.view, side: self.side, company: None }
    }

    pub(crate) fn side(&self) -> Side {
        self.side
    }

    /// [`process::identity`] of the process whose seat it is.
    pub(crate) fn identity(&self) -> u64 {
        self.identity
    }

    /// Takes off all units that predecessors left on this seat's bell.
    pub(crate) fn empty_bell(&self) {
        empty_bell(self.set.id, self.side.bell());
    }

    fn leave(&self) {
        if self.view.is_removed() || !same_namespace(self.namespace) {
            return; // the set's id may be somebody else's by now, or here
        }
        if !give_back(&self.place(), self.claim) {
            // Somebody else has the seat; or the entry was damaged, and nobody but us has touched the semaphore.
            let is_damaged = self.view.set() == Some(self.set)
                && sem::last_pid(self.set.id, self.side.alive()) == Ok(process::pid());
            if !is_damaged {
                return;
            }
            let word = self.place().claim().load(Ordering::Relaxed);
            give_back(&self.place(), Claim(word));
        }
        self.view.header().bell.changes.fetch_add(1, Ordering::Relaxed);
        if free(&self.view, self.set, self.side) == Err(NoSeat::Stale)
            && let Some(set) = self.view.set().filter(|set| set.is_marked_for(self.view.region().id()))
        {
            if set == self.set {
                let _ = free(&self.view, set, self.side); // it is there after all
                return;
            }
            // With the claim the seat is free. Who sleeps on a new set counted us as alive.
            for bell in bells(&self.view, self.side) {
                let _ = sem::op(set.id, &[Op::add(bell, 1).no_wait()]);
            }
        }
        // Other failures: the will stands until this process ends. A destructor has nobody to tell.
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.identity == process::identity() {
            self.leave();
            self.view.region().note_left(self.side.entry());
        }
    }
}

/// How many operations the longest call on a set of this shape has: that with which a receiver takes its seat.
pub(crate) fn operations_at_most(shape: Geometry) -> u32 {
    2 + 2 * shape.senders()
}

/// Takes the seat's semaphore and leaves the will.
fn hold(view: &View, set: Set, side: Side) -> Result<(), NoSeat> {
    let mut ops = vec![Op::wait_zero(side.alive()).no_wait(), Op::add(side.alive(), 1).undo()];
    for bell in bells(view, side) {
        ops.extend([Op::add(bell, 1), Op::take(bell, 1).undo()]);
    }
    let mut attempts = 0..ATTEMPTS;
    loop {
        match sem::op(set.id, &ops) {
            Ok(()) => return Ok(()),
            Err(Errno::EAGAIN) => {
                return Err(NoSeat::Taken(sem::last_pid(set.id, side.alive()).unwrap_or(0)));
            }
            Err(Errno::ERANGE) if attempts.next().is_some() && empty_full_bells(view, set, side) => {}
            Err(Errno::EINTR) => {}
            Err(Errno::EINVAL | Errno::EIDRM | Errno::EFBIG) => return Err(NoSeat::Stale),
            Err(errno) => return Err(NoSeat::Failed(errno)),
        }
    }
}

/// Frees the seat's semaphore, takes the will back, and wakes the other side.
fn free(view: &View, set: Set, side: Side) -> Result<(), NoSeat> {
    // NOWAIT: with the seat's value tampered with, leaving must not wait for ever.
    let mut ops = vec![Op::take(side.alive(), 1).undo().no_wait()];
    ops.extend(bells(view, side).map(|bell| Op::add(bell, 1).undo()));
    let mut attempts = 0..ATTEMPTS;
    loop {
        match sem::op(set.id, &ops) {
            Ok(()) => return Ok(()),
            Err(Errno::ERANGE) if attempts.next().is_some() && empty_full_bells(view, set, side) => {}
            Err(Errno::EINTR) => {}
            Err(Errno::EINVAL | Errno::EIDRM | Errno::EFBIG) => return Err(NoSeat::Stale),
            // So many at once need memory of the kernel, one at a time does not. The seat first: whoever is woken finds
            // it free, and if it cannot be freed the will stays whole.
            Err(_) => {
                let (seat, bells) = ops.split_at(1);
                sem::op(set.id, seat).map_err(NoSeat::Failed)?;
                for bell in bells {
                    let _ = sem::op(set.id, core::slice::from_ref(bell));
                }
                return Ok(());
            }
        }
    }
}

/// Whether this thread is in that IPC namespace, as far as can be told: 0 is unknown.
pub(crate) fn same_namespace(namespace: u64) -> bool {
    let here = process::ipc_namespace();
    here == namespace || here == 0 || namespace == 0
}

/// The bells on which the holder of `side` leaves its will.
fn bells(view: &View, side: Side) -> impl Iterator<Item = u16> + use<> {
    let (receiver, lanes) = match side {
        Side::Receiver => (None, 0..view.geometry().senders()),
        Side::Sender(_) => (Some(RECEIVER_BELL), 0..0),
    };
    receiver.into_iter().chain(lanes.map(|lane| Side::Sender(lane).bell()))
}

fn empty_bell(set: i32, bell: u16) {
    for _ in 0..ATTEMPTS {
        match sem::value(set, bell) {
            Ok(units @ 1..) => {
                let _ = sem::op(set, &[Op::take(bell, units as i16).no_wait()]);
            }
            _ => break,
        }
    }
}

/// Takes units off bells that are near the kernel's limit: nobody sleeps on those. True if there was one.
fn empty_full_bells(view: &View, set: Set, side: Side) -> bool {
    let mut emptied = false;
    for bell in bells(view, side) {
        if sem::value(set.id, bell).is_ok_and(|units| units >= FULL) {
            empty_bell(set.id, bell);
            emptied = true;
        }
    }
    emptied
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_tells_generation_and_holder() {
        for generation in [1, 2, 0x3fff, 0x4000, u32::MAX] {
            let set = Set { generation, id: 3 };
            let claim = Claim::of_this_process(set);
            assert!(claim.is_of(set));
            assert!(!claim.is_of(Set { generation: generation.wrapping_add(1), id: 3 }));
            assert_eq!(claim.pid(), Some(process::pid()));
            assert!(!claim.pid().is_some_and(process::is_dead));
            assert_eq!(Claim::from_word(claim.0), Some(claim));
        }
        assert_eq!(Claim::from_word(0), None);
    }

    #[test]
    fn who_is_of_another_namespace_has_no_pid_for_us() {
        let claim = Claim::of_this_process(Set { generation: 1, id: 3 });
        for namespace in [0, Claim::namespace() ^ 1] {
            let pid = low_bits(PID_BITS); // larger than any
            let stranger =
                Claim(claim.0 & !low_bits(PID_BITS + NAMESPACE_BITS) | namespace << PID_BITS | pid);
            assert_eq!(stranger.pid(), None);
        }
        let dead = Claim(claim.0 | low_bits(PID_BITS));
        assert!(dead.pid().is_some_and(process::is_dead));
    }
}
