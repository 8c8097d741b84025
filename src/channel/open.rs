//! Making and opening channels: create-or-attach without a race, in one call.
//!
//! ```text
//! shmget(key)  ->  checks of owner and size  ->  shmat  ->  magic?
//!   ready:      check the header, the set, the name, the options
//!   half-made:  semaphore set into the set word (compare-and-swap; a loser removes its own),
//!               initialiser semaphore with UNDO, header, magic last (J)
//!   neither:    a stranger's segment: refused, not a byte changed
//! ```
//!
//! A creator may die anywhere. Until the set word is there nothing was done that matters; after that the
//! initialiser semaphore falls free with its death, and the next caller does the work again from the start.
//! If the half-made segment is too large or too small for the next caller, or its semaphore set was removed, the caller
//! gives it up: a mark in place of the magic, by compare-and-swap, so that nobody can finish it any more. Then it
//! removes the segment and starts again, and so does everybody who waits.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::address::{Address, Target};
use super::collect::collect_orphaned_sets;
use super::config::Builder;
use super::shared::{Loss, Shared, remove_objects};
use crate::error::{OpenError, OpenErrorKind};
use crate::segment::layout::{FLAG_HUGE, Header, REMOVED};
use crate::segment::region::Region;
use crate::segment::seat::INITIALISER;
use crate::segment::set::{self, NoSet, Owner, Set, mark_removed};
use crate::segment::view::{Plan, Unready, View, abandon, probe};
use crate::sync::Ordering;
use crate::sys::sem::{self, Op};
use crate::sys::shm::{self, Access, ShmStat};
use crate::sys::{Errno, process};

/// Whether the channel must, may or must not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    Create,
    Open,
    Either,
}

/// How long others may take to make the channel.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a half-made channel of another shape is left to its creator before it is taken for dead.
const GRACE: Duration = Duration::from_millis(200);
/// How often to make a set that somebody removes.
const ATTEMPTS: u32 = 16;
/// Pause between two looks at what somebody else is making.
const STEP: Duration = Duration::from_millis(1);

/// Makes an anonymous channel.
pub(super) fn anonymous(builder: &Builder) -> Result<Arc<Shared>, OpenError> {
    let address = "(anonymous)";
    let mut plan = builder.plan(address, "", true)?;
    collect_orphaned_sets();
    let id = make_segment(builder, &address, shm::IPC_PRIVATE, &mut plan)?;
    let fail = |call, errno| OpenError::system(&address, call, errno);
    let attached = Region::attach(id, Access::ReadWrite);
    // Before it was attached the id may have become another segment's. Afterwards it cannot go away, and the id is all that
    // leads to it: an error is asked about once more.
    let stat = shm::stat(id).or_else(|errno| if attached.is_ok() { shm::stat(id) } else { Err(errno) });
    let marked = match stat {
        Ok(stat) if is_ours(&stat, plan.geometry.total()) => {
            shm::remove(id).map_err(|errno| ("shmctl(IPC_RMID)", errno))
        }
        Ok(_) => Err(("shmctl(IPC_RMID)", Errno::EIDRM)),
        Err(errno) => Err(("shmctl(IPC_STAT)", errno)),
    };
    // From here on the memory goes with its last process, even if that is killed in the next line.
    let region = Arc::new(attached.map_err(|errno| fail("shmat", errno))?);
    marked.map_err(|(call, errno)| fail(call, errno))?;
    let owner = owner(builder, id).map_err(|(call, errno)| fail(call, errno))?;
    if builder.lock {
        shm::lock(id).map_err(|errno| fail("shmctl(SHM_LOCK)", errno))?;
    }
    let mut attempts = 0..ATTEMPTS;
    let set = loop {
        match Set::make(id, plan.geometry.semaphores(), owner, None) {
            // Somebody removed it as soon as it was made.
            Err(NoSet::Gone) if attempts.next().is_some() => {}
            made => break made.map_err(|why| no_set(&address, why))?,
        }
    };
    region.at::<Header>(0).set.word.store(set.word(), Ordering::Relaxed);
    region.remove_set_with_last();
    let view = View::create(region, plan).ok_or_else(|| fail("shmat", Errno::EIDRM))?;
    let shared = Shared::new(view, address.to_owned(), builder);
    shared.adopt(set);
    Ok(Arc::new(shared))
}

/// Makes or opens a channel that can be found.
pub(super) fn named(builder: &Builder, address: &Address, want: Want) -> Result<Arc<Shared>, OpenError> {
    let target = address.target()?;
    let plan = builder.plan(&address.to_string(), name_of(&target), false)?;
    let attempt = Attempt { builder, address, want, plan, started: Instant::now() };
    while attempt.started.elapsed() < PATIENCE {
        let step = match target {
            Target::Id(_) if want == Want::Create => {
                let text = "a channel is made under a name or key; the kernel chooses the id";
                return Err(OpenError::new(OpenErrorKind::InvalidAddress, address, text));
            }
            Target::Id(id) => attempt.enter(id, None, false)?,
            Target::Key { key, ref name } => attempt.by_key(key, name.as_deref())?,
        };
        match step {
            Step::Done(shared) => return Ok(shared),
            Step::Again => {}
            Step::Wait => thread::sleep(STEP),
        }
    }
    Err(OpenError::new(OpenErrorKind::Busy, address, "somebody else is making it and does not finish")
        .with_hint("if that process is stopped, continue or kill it; `rm` removes what it left"))
}

fn name_of(target: &Target) -> &str {
    match target {
        Target::Key { name: Some(name), .. } => name,
        _ => "",
    }
}

/// The segment at a target, whatever it is.
pub(super) fn segment_of(target: &Target) -> Result<i32, Errno> {
    match *target {
        Target::Id(id) => Ok(id),
        Target::Key { key, .. } => shm::get(key, 0, 0),
    }
}

/// Why a channel got no semaphore set.
fn no_set(address: &impl core::fmt::Display, why: NoSet) -> OpenError {
    match why {
        NoSet::Failed(call, errno) => OpenError::system(address, call, errno),
        NoSet::Gone => OpenError::system(address, "semop", Errno::EIDRM),
        NoSet::NoUndo => {
            let text = "this kernel does not undo the semaphore operations of a process that ends (SEM_UNDO)";
            OpenError::new(OpenErrorKind::Unsupported, address, text)
                .with_hint("no death would be noticed; run it on a Linux kernel, not on an emulation of one")
        }
    }
}

fn make_segment(
    builder: &Builder,
    address: &impl core::fmt::Display,
    key: i32,
    plan: &mut Plan,
) -> Result<i32, OpenError> {
    let fail = |call, errno| OpenError::system(address, call, errno);
    let flags = shm::IPC_CREAT | shm::IPC_EXCL | builder.birth_mode() as i32;
    let size = plan.geometry.total() as usize;
    let huge =
        if builder.huge_pages { shm::get(key, size, flags | shm::SHM_HUGETLB) } else { Err(Errno::ENOSYS) };
    let id = match huge {
        Ok(id) => {
            plan.flags |= FLAG_HUGE;
            id
        }
        Err(Errno::EEXIST) => return Err(fail("shmget", Errno::EEXIST)),
        Err(_) => shm::get(key, size, flags).map_err(|errno| fail("shmget", errno))?,
    };
    Ok(id)
}

/// Whether a segment is what this process has just made with that size, and not another one that has its id since.
fn is_our_making(id: i32, size: u64) -> bool {
    shm::stat(id).is_ok_and(|stat| is_ours(&stat, size))
}

fn is_ours(stat: &ShmStat, size: u64) -> bool {
    (stat.cuid, stat.cpid, stat.size) == (process::euid(), process::pid(), size)
}

/// Whose the segment is, and so the semaphore set that is made for it; after giving it to the group that was asked for.
fn owner(builder: &Builder, id: i32) -> Result<Owner, (&'static str, Errno)> {
    let stat = shm::stat(id).map_err(|errno| ("shmctl(IPC_STAT)", errno))?;
    let there = Owner::of(&stat);
    let wanted = Owner { gid: builder.group.unwrap_or(stat.gid), mode: builder.mode_bits(), ..there };
    if builder.group.is_none() || wanted == there {
        return Ok(there);
    }
    match shm::set_permissions(id, wanted.uid, wanted.gid, wanted.mode) {
        Ok(()) => Ok(wanted),
        // Somebody else's, who decides about it.
        Err(Errno::EPERM) => Ok(there),
        Err(errno) => Err(("shmctl(IPC_SET)", errno)),
    }
}

/// What one try led to.
enum Step {
    Done(Arc<Shared>),
    /// Something changed under us: look again.
    Again,
    /// Somebody else is at work.
    Wait,
}

struct Attempt<'a> {
    builder: &'a Builder,
    address: &'a Address,
    want: Want,
    plan: Plan,
    started: Instant,
}

impl Attempt<'_> {
    fn fail(&self, call: &'static str, errno: Errno) -> OpenError {
        OpenError::system(self.address, call, errno)
    }

    fn error(&self, kind: OpenErrorKind, what: impl Into<String>) -> OpenError {
        OpenError::new(kind, self.address, what)
    }

    /// Opens what is under the key, or makes it.
    fn by_key(&self, key: i32, name: Option<&str>) -> Result<Step, OpenError> {
        match shm::get(key, 0, 0) {
            Ok(id) => return self.enter(id, name, true),
            Err(Errno::ENOENT) if self.want != Want::Open => {}
            Err(errno) => return Err(self.fail("shmget", errno)),
        }
        collect_orphaned_sets();
        let mut plan = self.plan.clone();
        match make_segment(self.builder, self.address, key, &mut plan) {
            Ok(id) => self.make(id, plan).inspect_err(|_| {
                // Nobody else shall find what we could not finish; but somebody else may have finished it. Without
                // a look at it that cannot be told, and it stays: whoever comes next makes it whole.
                if let Ok(region) = Region::attach(id, Access::ReadWrite) {
                    give_up(&region);
                }
            }),
            Err(error) if error.kind() == OpenErrorKind::AlreadyExists => Ok(Step::Again),
            Err(error) => Err(error),
        }
    }

    /// Makes the segment that we have just created a channel.
    fn make(&self, id: i32, plan: Plan) -> Result<Step, OpenError> {
        let Some(region) = self.attach(id)? else { return Ok(Step::Again) };
        if !is_our_making(id, plan.geometry.total()) {
            return Ok(Step::Again); // removed, and the id given to somebody else
        }
        if self.builder.lock {
            shm::lock(id).map_err(|errno| self.fail("shmctl(SHM_LOCK)", errno))?;
        }
        self.initialise(region, plan)
    }

    /// Attaches; `None` if the segment was removed meanwhile.
    fn attach(&self, id: i32) -> Result<Option<Arc<Region>>, OpenError> {
        match Region::attach(id, Access::ReadWrite) {
            Ok(region) => Ok(Some(Arc::new(region))),
            Err(Errno::EINVAL | Errno::EIDRM) => Ok(None),
            Err(errno) => Err(self.fail("shmat", errno)),
        }
    }

    /// Enters the segment `id`, whatever state it is in. `by_key`: it can be found again if it goes away.
    fn enter(&self, id: i32, name: Option<&str>, by_key: bool) -> Result<Step, OpenError> {
        let gone = || {
            if by_key { Ok(Step::Again) } else { Err(missing(self.address)) }
        };
        let stat = match shm::stat(id) {
            Ok(stat) if stat.dest => return gone(),
            Ok(stat) => stat,
            Err(Errno::EINVAL | Errno::EIDRM) => return gone(),
            Err(errno) => return Err(self.fail("shmctl(IPC_STAT)", errno)),
        };
        if !self.is_trusted(stat.cuid) {
            let text = format!("the segment was made by user {}, whom we do not trust", stat.cuid);
            return Err(self
                .error(OpenErrorKind::Foreign, text)
                .with_hint("allow it with trust_uid if you know that user, else take another name"));
        }
        let Some(region) = self.attach(id)? else { return gone() };
        // Attached, so the id cannot be used again; but it may have been removed just before.
        match shm::stat(id) {
            Ok(now) if !now.dest && now.cuid == stat.cuid => {}
            Ok(_) | Err(Errno::EINVAL | Errno::EIDRM) => return gone(),
            Err(errno) => return Err(self.fail("shmctl(IPC_STAT)", errno)),
        }
        match probe(&region) {
            Err(Unready::HalfMade) => return self.finish(region),
            Err(Unready::Abandoned) => {
                give_up(&region);
                if shm::stat(id).is_ok_and(|stat| !stat.dest) {
                    return Err(self
                        .error(OpenErrorKind::Busy, "it was given up half-made and is still there")
                        .with_hint("its owner or root must remove it"));
                }
                return gone();
            }
            Err(unready) => return Err(self.unready(unready)),
            Ok(()) => {}
        }
        let view = View::open(region).map_err(|unready| self.unready(unready))?;
        if view.is_anonymous() {
            // One that is to be found was never anonymous.
            let what = "flags of an anonymous channel in the header of one that can be found".into();
            return Err(self.unready(Unready::Damaged(what)));
        }
        if view.is_condemned() {
            remove_objects(id, mark_removed(view.header()));
            if shm::stat(id).is_ok_and(|stat| !stat.dest) {
                return Err(self
                    .error(OpenErrorKind::Removed, "it is marked as removed and still there")
                    .with_hint("its owner or root must remove it"));
            }
            return gone();
        }
        if let Some(name) = name.filter(|name| *name != view.name()) {
            let found = if view.name().is_empty() {
                "a channel without a name".into()
            } else {
                format!("channel \"{}\"", view.name())
            };
            let text = format!("the key of \"{name}\" is held by {found}");
            return Err(self.error(OpenErrorKind::NameTaken, text).with_hint("take another name"));
        }
        if self.want == Want::Create {
            return Err(self.fail("shmget", Errno::EEXIST));
        }
        // Behind the magic mode and group are what they were made to be.
        let segment = match shm::stat(id) {
            Ok(segment) if !segment.dest => segment,
            Ok(_) | Err(Errno::EINVAL | Errno::EIDRM) => return gone(),
            Err(errno) => return Err(self.fail("shmctl(IPC_STAT)", errno)),
        };
        self.builder.check(self.address, &view, &segment)?;
        let shared = Shared::new(view, self.address.to_string(), self.builder);
        match shared.find_set() {
            Ok(set) => {
                if self.builder.group.is_some() {
                    // Somebody who named no group may have made it before the segment had one. Its owner can mend that.
                    let _ = set.give_to(Owner::of(&segment));
                }
                Ok(Step::Done(Arc::new(shared)))
            }
            Err(Loss::Removed) => gone(),
            Err(loss) => Err(shared.lost(loss)),
        }
    }

    fn is_trusted(&self, uid: u32) -> bool {
        uid == 0 || uid == process::euid() || self.builder.trusted.contains(&uid)
    }

    fn unready(&self, unready: Unready) -> OpenError {
        match unready {
            Unready::HalfMade | Unready::Abandoned => self.error(OpenErrorKind::Busy, "it is being made"),
            Unready::Foreign(why) => self
                .error(OpenErrorKind::Foreign, format!("the segment under this key is not a channel: {why}"))
                .with_hint(
                    "it was left untouched; take another name or key, or remove it with ipcrm if it is yours",
                ),
            Unready::Damaged(why) => self
                .error(OpenErrorKind::Corrupt, format!("damaged: {why}"))
                .with_hint("remove it and make it anew"),
        }
    }

    /// Finishes a half-made channel, or waits for whoever is at it.
    fn finish(&self, region: Arc<Region>) -> Result<Step, OpenError> {
        let fits = region.len() == self.plan.geometry.total();
        if self.want == Want::Open {
            return if self.started.elapsed() < GRACE {
                Ok(Step::Wait)
            } else {
                Err(self
                    .error(OpenErrorKind::Busy, "it is half-made")
                    .with_hint("whoever opens or creates it next makes it whole"))
            };
        }
        if !fits && self.started.elapsed() < GRACE {
            return Ok(Step::Wait);
        }
        self.initialise(region, self.plan.clone())
    }

    /// Makes a segment a channel, under the initialiser semaphore.
    fn initialise(&self, region: Arc<Region>, plan: Plan) -> Result<Step, OpenError> {
        let id = region.id();
        let header = region.at::<Header>(0);
        let Some(set) = self.initial_set(id, header, &plan)? else { return Ok(Step::Again) };
        let lock = [Op::wait_zero(INITIALISER).no_wait(), Op::add(INITIALISER, 1).undo()];
        match sem::op(set.id, &lock) {
            Ok(()) => {}
            Err(Errno::EAGAIN) => return Ok(Step::Wait),
            Err(Errno::EINTR | Errno::EINVAL | Errno::EIDRM) => return Ok(Step::Again),
            Err(Errno::EFBIG) => {
                // Somebody has marked a set for it that has no initialiser: no maker of ours.
                give_up(&region);
                return Ok(Step::Again);
            }
            Err(errno) => return Err(self.fail("semop", errno)),
        }
        let unlock = || {
            let _ = sem::op_at_once(set.id, &[Op::take(INITIALISER, 1).undo().no_wait()]);
        };
        match probe(&region) {
            Err(Unready::HalfMade) => {}
            state => {
                unlock();
                if state == Err(Unready::Abandoned)
                    || header.bell.notice.load(Ordering::Relaxed) & REMOVED != 0
                {
                    // We may have just put a set into what was given up, or finished and removed, meanwhile (P).
                    set.remove(id);
                }
                return Ok(Step::Again);
            }
        }
        // Different shapes may have one size, but then another number of semaphores. And in another set than the first,
        // whoever holds the initialiser of the first may still be at work: he is stopped from finishing, and it is made
        // anew elsewhere.
        let other_shape = region.len() != plan.geometry.total()
            || sem::stat(set.id).is_ok_and(|stat| stat.nsems != u64::from(plan.geometry.semaphores()));
        if other_shape || set.generation != 1 {
            give_up(&region);
            unlock(); // for the case that we may not remove it
            return Ok(Step::Again);
        }
        // The segment may have got its group since the set was made.
        let given = owner(self.builder, id).and_then(|owner| set.give_to(owner));
        if let Err((call, errno)) = given {
            unlock();
            return match errno {
                Errno::EINVAL | Errno::EIDRM => Ok(Step::Again),
                errno => Err(self.fail(call, errno)),
            };
        }
        let made = View::create(region, plan);
        unlock();
        let Some(view) = made else { return Ok(Step::Again) };
        let shared = Shared::new(view, self.address.to_string(), self.builder);
        shared.adopt(set);
        Ok(Step::Done(Arc::new(shared)))
    }

    /// The set in the set word, put there by us if it was missing or gone. `None`: look again.
    fn initial_set(&self, id: i32, header: &Header, plan: &Plan) -> Result<Option<Set>, OpenError> {
        let word = header.set.word.load(Ordering::Relaxed);
        let last = Set::from_word(word);
        let segment = match shm::stat(id) {
            Ok(segment) => segment,
            Err(Errno::EINVAL | Errno::EIDRM) => return Ok(None),
            Err(errno) => return Err(self.fail("shmctl(IPC_STAT)", errno)),
        };
        // Marked before it was put there; anything else is gone, and its id somebody else's.
        if let Some(set) = last
            && set.belongs(id, &segment, None).map_err(|(call, errno)| self.fail(call, errno))?
        {
            return Ok(Some(set));
        }
        let owner = match owner(self.builder, id) {
            Ok(owner) => owner,
            Err((_, Errno::EINVAL | Errno::EIDRM)) => return Ok(None),
            Err((call, errno)) => return Err(self.fail(call, errno)),
        };
        let new = match Set::make(id, plan.geometry.semaphores(), owner, last) {
            Ok(new) => new,
            Err(NoSet::Gone) => return Ok(None),
            Err(why) => return Err(no_set(self.address, why)),
        };
        if set::enter(header, word, new) {
            Ok(Some(new))
        } else {
            new.remove(id);
            Ok(None)
        }
    }
}

/// Removes a half-made channel for good, unless somebody has finished it.
///
/// The magic and the mark of what was given up exclude each other, so that this takes no lock: a maker that is
/// stopped in the middle finds at its end that it comes too late.
pub(super) fn give_up(region: &Region) -> bool {
    if !region.holds_header() {
        return false; // somebody else's by now
    }
    let header = region.at::<Header>(0);
    let given_up = abandon(header);
    if given_up {
        remove_objects(region.id(), Set::of(header));
    }
    given_up
}

/// There is nothing under an id.
pub(super) fn missing(address: &impl core::fmt::Display) -> OpenError {
    OpenError::new(OpenErrorKind::NotFound, address, "there is no such segment, or it was removed")
}

/// Removes what is at `address`: mark, set, segment.
pub(super) fn remove(address: &Address) -> Result<(), OpenError> {
    let fail = |call, errno| OpenError::system(address, call, errno);
    let target = address.target()?;
    let id = segment_of(&target).map_err(|errno| fail("shmget", errno))?;
    match shm::stat(id) {
        Ok(stat) if stat.dest => {
            let text = "it was removed, and lives only until the last process detaches";
            return Err(OpenError::new(OpenErrorKind::Removed, address, text));
        }
        Ok(_) => {}
        Err(Errno::EINVAL | Errno::EIDRM) => return Err(missing(address)),
        Err(errno) => return Err(fail("shmctl(IPC_STAT)", errno)),
    }
    let region = match Region::attach(id, Access::ReadWrite) {
        Ok(region) => Arc::new(region),
        Err(Errno::EINVAL | Errno::EIDRM) => return Err(missing(address)),
        Err(errno) => return Err(fail("shmat", errno)),
    };
    let foreign = |why: String| {
        OpenError::new(
            OpenErrorKind::Foreign,
            address,
            format!("the segment under this key is not a channel: {why}"),
        )
        .with_hint("it was left untouched; ipcrm removes it if it is yours")
    };
    // Of what is attached: before that its id may have become another segment's.
    let stat = shm::stat(id).map_err(|errno| fail("shmctl(IPC_STAT)", errno))?;
    let allowed = [stat.cuid, stat.uid, 0].contains(&process::euid());
    match probe(&region) {
        Err(Unready::Foreign(why) | Unready::Damaged(why)) => return Err(foreign(why)),
        _ if stat.dest => return Err(missing(address)),
        // A damaged channel of ours may be removed too, and its set if that is really its own.
        Err(Unready::HalfMade | Unready::Abandoned) => {
            if allowed {
                abandon(region.at(0));
            }
        }
        Ok(()) => match View::open(Arc::clone(&region)) {
            Err(Unready::Foreign(why)) => return Err(foreign(why)),
            Ok(view) if !name_of(&target).is_empty() && name_of(&target) != view.name() => {
                let text =
                    format!("the key of \"{}\" is held by channel \"{}\"", name_of(&target), view.name());
                return Err(OpenError::new(OpenErrorKind::NameTaken, address, text));
            }
            _ => {}
        },
    }
    if !allowed {
        return Err(fail("shmctl(IPC_RMID)", Errno::EPERM));
    }
    let set = mark_removed(region.at(0));
    let refused = set.and_then(|set| set.try_remove(id).err()); // first, see `remove_objects`
    match shm::remove(id) {
        // Somebody has seen the mark and was faster.
        Ok(()) | Err(Errno::EINVAL | Errno::EIDRM) => {}
        Err(errno) => return Err(fail("shmctl(IPC_RMID)", errno)),
    }
    match refused {
        None => Ok(()),
        Some((call, errno)) => {
            let text = "the segment was removed, its semaphore set not: `gc` finds it";
            Err(fail(call, errno).with_hint(text))
        }
    }
}
