//! What the dead left behind: found from the kernel's facts, explained, removed.

use core::fmt;
use core::mem::offset_of;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::config::Builder;
use super::open::give_up;
use super::shared::{Loss, Shared};
use crate::error::OpenError;
use crate::segment::lane_view::LaneView;
use crate::segment::layout::{Header, PAGE, VERSION_WORD, is_channel_size};
use crate::segment::region::Region;
use crate::segment::seat::{self, INITIALISER, Side};
use crate::segment::set::{
    LAST_WORD, Set, is_our_key, is_our_size, is_untouched, mark_removed, marked_segment, set_aside,
};
use crate::segment::view::{Unready, View, probe};
use crate::sync::Ordering;
use crate::sys::sem::{self, SemStat};
use crate::sys::shm::{self, Access, ShmStat};
use crate::sys::{Errno, process};

/// A maker that has not come further in this time has died: every step of it takes microseconds.
const GRACE: Duration = Duration::from_secs(60);

/// Finds what processes left behind that were killed in a bad moment, and removes it.
///
/// It removes segments of half-made channels whose maker has died, semaphore sets whose segment is gone or that were
/// never entered into one, and what is left of channels that are marked as removed. It never removes a
/// channel that is ready, used or unused, with messages or without, unless [`Collector::idle`] asks for that; nor
/// anything that a process is at work with, that is not of this crate, or that another user made (root collects
/// everybody's).
///
/// All is decided by what the kernel says: ids, sizes, creators, times, attachments, semaphores. Making a channel
/// collects orphaned sets by itself.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sysring::Collector;
/// for finding in Collector::new().dry_run(true).run()? {
///     println!("{finding}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Collector {
    dry_run: bool,
    idle: Option<Duration>,
}

/// What a [`Collector`] has found; as text, one line for people.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What it is.
    pub kind: FindingKind,
    /// Id of the segment, or of the semaphore set for [`FindingKind::OrphanedSet`], [`FindingKind::UnnamedSet`] and
    /// [`FindingKind::ReplacedSet`].
    pub id: i32,
    /// Its key.
    pub key: i32,
    /// Name of the channel; empty if it has none or it is not known.
    pub name: String,
    /// What became of it.
    pub outcome: Outcome,
}

/// Kinds of what is left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FindingKind {
    /// A segment whose maker died before the channel was ready.
    HalfMade,
    /// A channel that is marked as removed and still there.
    MarkedRemoved,
    /// A semaphore set whose segment is gone: all processes of an anonymous channel were killed at once, or a
    /// remover was.
    OrphanedSet,
    /// A semaphore set whose maker died before it wrote down whose it is.
    UnnamedSet,
    /// A semaphore set of a segment that uses another one: its maker died before entering it.
    ReplacedSet,
    /// A ready channel that no process is attached to.
    Idle {
        /// Since the last attach or detach of a sender or receiver.
        since: Duration,
        /// Whether it holds no message.
        empty: bool,
    },
}

/// What became of a [`Finding`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It stays: nobody asked for its removal.
    Kept,
    /// It would have been removed but for [`Collector::dry_run`].
    WouldRemove,
    /// It is gone.
    Removed,
    /// Somebody came to use it just now; it stays.
    InUse,
    /// The kernel refused.
    Failed(Errno),
}

impl FindingKind {
    /// Whether it is a semaphore set; else a segment.
    #[must_use]
    fn is_set(self) -> bool {
        matches!(self, FindingKind::OrphanedSet | FindingKind::UnnamedSet | FindingKind::ReplacedSet)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let object = if self.kind.is_set() { "set" } else { "segment" };
        match self.outcome {
            Outcome::Kept => write!(f, "kept")?,
            Outcome::WouldRemove => write!(f, "would remove")?,
            Outcome::Removed => write!(f, "removed")?,
            Outcome::InUse => write!(f, "in use")?,
            Outcome::Failed(errno) => write!(f, "failed ({errno})")?,
        }
        write!(f, ": {object} {} (key {:#010x})", self.id, self.key)?;
        if !self.name.is_empty() {
            write!(f, " of \"{}\"", self.name)?;
        }
        match self.kind {
            FindingKind::HalfMade => write!(f, ": half-made, its maker has died"),
            FindingKind::MarkedRemoved => write!(f, ": marked as removed, its remover has died"),
            FindingKind::OrphanedSet => write!(f, ": its segment is gone"),
            FindingKind::UnnamedSet => write!(f, ": belongs to no segment, its maker has died"),
            FindingKind::ReplacedSet => write!(f, ": its segment uses another set, its maker has died"),
            FindingKind::Idle { since, empty } => {
                let content = if empty { "empty" } else { "with messages" };
                write!(f, ": idle for {} s, {content}", since.as_secs())
            }
        }
    }
}

impl Collector {
    /// A collector that removes what the dead left behind, and nothing else.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sysring::Collector;
    /// let findings = Collector::new().run()?;
    /// # let _ = findings;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn new() -> Collector {
        Collector::default()
    }

    /// Only looks: changes nothing in the kernel.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sysring::{Collector, Outcome};
    /// let findings = Collector::new().dry_run(true).run()?;
    /// assert!(findings.iter().all(|finding| finding.outcome != Outcome::Removed));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn dry_run(mut self, dry_run: bool) -> Collector {
        self.dry_run = dry_run;
        self
    }

    /// Also removes ready channels that hold no message, that no process is attached to, and that no sender or
    /// receiver has attached to or left for so long.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use sysring::Collector;
    /// # let name = format!("doc-collect-idle-{}", std::process::id());
    /// drop(sysring::spsc().create(&name)?);
    /// let collector = Collector::new().dry_run(true).idle(Duration::ZERO);
    /// assert!(collector.run()?.iter().any(|finding| finding.name == name));
    /// # sysring::remove(&name)?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn idle(mut self, older: Duration) -> Collector {
        self.idle = Some(older);
        self
    }

    /// Looks at every System V segment and semaphore set of this IPC namespace. Does not wait.
    ///
    /// # Errors
    /// [`crate::OpenErrorKind::System`] if the kernel does not list them.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sysring::{Collector, FindingKind, Outcome};
    /// # let name = format!("doc-collect-run-{}", std::process::id());
    /// sysring::spsc().sender(&name)?.send("kept")?;
    /// let findings = Collector::new().run()?;
    /// let ours = findings.iter().find(|finding| finding.name == name).expect("it is idle");
    /// assert!(matches!(ours.kind, FindingKind::Idle { empty: false, .. }));
    /// assert_eq!(ours.outcome, Outcome::Kept);
    /// # sysring::remove(&name)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn run(&self) -> Result<Vec<Finding>, OpenError> {
        let fail = |call| move |errno| OpenError::system(&"(all)", call, errno);
        let mut findings = Vec::new();
        let resident = shm::resident(); // before a look at them makes pages
        for (id, stat) in shm::list().map_err(fail("shmctl(SHM_INFO)"))? {
            if is_channel_size(stat.size) && is_ours(stat.cuid) {
                findings.extend(self.segment(id, &stat, resident.get(&id).copied()));
            }
        }
        let doomed: Vec<i32> = findings
            .iter()
            .filter(|finding| finding.outcome == Outcome::WouldRemove)
            .map(|finding| finding.id)
            .collect();
        for (id, stat) in sem::list().map_err(fail("semctl(SEM_INFO)"))? {
            let kind = orphan(id, &stat).or_else(|| replaced(id, &stat, &doomed));
            if let Some(kind) = kind {
                let outcome = self.unless_dry(|| sem::remove(id));
                findings.push(Finding { kind, id, key: stat.key, name: String::new(), outcome });
            }
        }
        Ok(findings)
    }

    fn unless_dry(&self, remove: impl FnOnce() -> Result<(), Errno>) -> Outcome {
        if self.dry_run {
            return Outcome::WouldRemove;
        }
        match remove() {
            // Somebody else was faster.
            Ok(()) | Err(Errno::EINVAL | Errno::EIDRM) => Outcome::Removed,
            Err(errno) => Outcome::Failed(errno),
        }
    }

    fn segment(&self, id: i32, stat: &ShmStat, resident: Option<u64>) -> Option<Finding> {
        let access = if self.dry_run { Access::ReadOnly } else { Access::ReadWrite };
        let region = Arc::new(Region::attach(id, access).ok()?);
        // Before it was attached its id may have become another segment's.
        let now = shm::stat(id).ok()?;
        if (now.size, now.cuid, now.cpid, now.key) != (stat.size, stat.cuid, stat.cpid, stat.key) {
            return None;
        }
        if stat.dest {
            region.remove_set_with_last(); // that may be us
        }
        let finding = |kind, name: &str, outcome| {
            Some(Finding { kind, id, key: stat.key, name: name.to_owned(), outcome })
        };
        match probe(&region) {
            Err(Unready::HalfMade | Unready::Abandoned) if stat.dest => None, // goes with its last process
            Err(Unready::HalfMade | Unready::Abandoned) => {
                let outcome = self.half_made(&region, stat, resident)?;
                finding(FindingKind::HalfMade, "", outcome)
            }
            Err(_) => None,
            Ok(()) => {
                let view = View::open(region).ok()?;
                let name = view.name().to_owned();
                if view.is_condemned() {
                    // A segment that is gone but for its last users is nothing to report.
                    let left = !stat.dest || view.set().is_some_and(|set| set.is_marked_for(id));
                    let outcome = self.unless_dry(|| {
                        if let Some(set) = mark_removed(view.header()) {
                            set.remove(id);
                        }
                        if stat.dest { Ok(()) } else { shm::remove(id) }
                    });
                    return left.then(|| finding(FindingKind::MarkedRemoved, &name, outcome)).flatten();
                }
                if stat.nattch > 0 || stat.dest {
                    return None;
                }
                let (since, empty) = (idle_for(&view, stat), is_empty(&view));
                let wanted = empty && self.idle.is_some_and(|older| since >= older);
                let outcome = match () {
                    () if !wanted => Outcome::Kept,
                    () if self.dry_run => Outcome::WouldRemove,
                    () => remove_idle(&view),
                };
                finding(FindingKind::Idle { since, empty }, &name, outcome)
            }
        }
    }

    /// A channel without magic. `None`: somebody is at work with it, or it may be a stranger's.
    fn half_made(&self, region: &Region, stat: &ShmStat, resident: Option<u64>) -> Option<Outcome> {
        if stat.nattch > 0 {
            return None;
        }
        let id = region.id();
        let header = region.at::<Header>(0);
        let set = Set::of(header).filter(|set| set.is_marked_for(id));
        let begun = header.birth.version.load(Ordering::Relaxed) == VERSION_WORD;
        let known = set.is_some() || begun || probe(region) == Err(Unready::Abandoned);
        let busy = set.is_some_and(|set| sem::value(set.id, INITIALISER) != Ok(0));
        // Without a set there is nothing but the size to show that it is ours. Then its maker has written nothing, or
        // the name of a set that was removed: whatever has a page but the one that an opener looked at, or another
        // word in that, is a stranger's.
        let blank = || {
            let untouched = resident.is_some_and(|bytes| bytes <= PAGE);
            untouched && is_old(stat.ctime) && region.is_zero(PAGE, offset_of!(Header, set) as u64)
        };
        if busy || !(known || blank()) {
            return None;
        }
        if self.dry_run {
            return Some(Outcome::WouldRemove);
        }
        if !give_up(region) {
            return None; // it is finished
        }
        let left = shm::stat(id).is_ok_and(|stat| !stat.dest);
        Some(if left { Outcome::Failed(Errno::EPERM) } else { Outcome::Removed })
    }
}

/// Removes the sets that no segment has, when a channel is made. Whatever fails is left to the next time.
pub(super) fn collect_orphaned_sets() {
    for (id, stat) in sem::list().unwrap_or_default() {
        if orphan(id, &stat).is_some() {
            let _ = sem::remove(id);
        }
    }
}

/// Whether we may remove what this user made.
fn is_ours(cuid: u32) -> bool {
    cuid == process::euid() || process::euid() == 0
}

/// Whether the kernel's time of creation or last change is further back than any maker needs.
fn is_old(seconds: i64) -> bool {
    age(seconds) > GRACE
}

fn age(seconds: i64) -> Duration {
    let then = UNIX_EPOCH + Duration::from_secs(seconds.max(0).unsigned_abs());
    SystemTime::now().duration_since(then).unwrap_or_default()
}

/// Whether a set is one of ours that no segment has.
fn orphan(id: i32, stat: &SemStat) -> Option<FindingKind> {
    if !is_our_key(stat.key) || !is_our_size(stat.nsems) || !is_ours(stat.cuid) {
        return None;
    }
    match marked_segment(id) {
        Ok(Some(segment)) => match shm::stat(segment) {
            Err(Errno::EINVAL | Errno::EIDRM) => Some(FindingKind::OrphanedSet),
            // The id was given to a stranger's segment since.
            Ok(segment) if !is_channel_size(segment.size) => Some(FindingKind::OrphanedSet),
            _ => None,
        },
        // The first operation on it would have named its segment.
        Ok(None) => {
            let untouched = stat.otime == 0 && is_old(stat.ctime) && is_untouched(id, stat.nsems);
            untouched.then_some(FindingKind::UnnamedSet)
        }
        Err(_) => None,
    }
}

/// Whether a set names a segment that names another set. One of the `doomed` segments would be gone by now, but for a
/// dry run.
fn replaced(id: i32, stat: &SemStat, doomed: &[i32]) -> Option<FindingKind> {
    if !is_our_key(stat.key) || !is_our_size(stat.nsems) || !is_ours(stat.cuid) {
        return None;
    }
    let segment = marked_segment(id).ok()??;
    let is_doomed = doomed.contains(&segment);
    if !is_doomed && !is_old(stat.ctime) {
        return None;
    }
    let region = Region::attach(segment, Access::ReadOnly).ok()?;
    region.remove_set_with_last();
    if !matches!(probe(&region), Ok(()) | Err(Unready::HalfMade | Unready::Abandoned)) {
        return None;
    }
    let present = Set::of(region.at(0));
    let kind = if is_doomed { FindingKind::OrphanedSet } else { FindingKind::ReplacedSet };
    (present.map(|set| set.id) != Some(id)).then_some(kind)
}

/// How long ago a sender or receiver last came or went: then the set saw an operation. Looking at a channel is none.
fn idle_for(view: &View, stat: &ShmStat) -> Duration {
    let id = view.region().id();
    let set = view.set().filter(|set| set.is_marked_for(id)).and_then(|set| sem::stat(set.id).ok());
    // Without a set, not before anybody looked at it.
    let attached = || stat.ctime.max(stat.atime).max(stat.dtime);
    age(set.map_or_else(attached, |set| set.otime.max(set.ctime)))
}

/// Whether no lane holds a message. A damaged lane is not empty.
///
/// Relaxed: of a channel in use the answer is old at once; where nobody has a claim, that was seen before (R in
/// [`crate::segment::seat`]).
fn is_empty(view: &View) -> bool {
    (0..view.geometry().senders()).all(|lane| {
        let map = view.lane(lane);
        let control = map.control();
        let tail = control.producer.tail.load(Ordering::Relaxed);
        let read = control.consumer.read.load(Ordering::Relaxed);
        // A producer may have died between publishing and storing `tail`. A lane that never had one is not touched.
        let published = || map.header(read).load(Ordering::Relaxed) != 0;
        let had_producer = control.producer.takeovers.load(Ordering::Relaxed) != 0;
        let damaged = control.consumer.corrupt.load(Ordering::Relaxed) != 0;
        // `read` may be ahead: what that producer published was received since.
        !damaged && tail <= read && !(had_producer && published())
    })
}

/// Removes a channel if nobody uses it. Whoever comes at the same time is in nobody's way, and nobody in his: the
/// header's set word decides in one step.
///
/// 1. The word names no set any more. Whoever was taking a seat in the old one finds that it is not his (M in
///    [`crate::segment::seat`]), and makes a new set.
/// 2. Whoever has a seat has a claim, which is visible now (N). Is there one, or a message, the channel stays; the next
///    who comes makes a set.
/// 3. The word becomes the last one, if nobody has entered a new set meanwhile.
fn remove_idle(view: &View) -> Outcome {
    let id = view.region().id();
    // If its set was removed, it gets one first.
    let shared = Shared::new(view.clone(), String::new(), &Builder::default());
    let set = match shared.find_set() {
        Ok(set) => set,
        Err(Loss::System(error)) => return Outcome::Failed(error.errno),
        Err(Loss::Removed | Loss::Evicted) => return Outcome::InUse,
    };
    match shm::stat(id) {
        Ok(stat) if stat.nattch == 1 => {}
        Ok(_) | Err(Errno::EINVAL | Errno::EIDRM) => return Outcome::InUse,
        Err(errno) => return Outcome::Failed(errno),
    }
    let header = view.header();
    let Some(none) = set_aside(header, set) else { return Outcome::InUse };
    set.remove(id);
    let mut sides = core::iter::once(Side::Receiver).chain((0..view.geometry().senders()).map(Side::Sender));
    let company = view.region().company();
    if sides.any(|side| seat::is_in_doubt(view, &company, none, side))
        || !is_empty(view)
        || header
            .set
            .word
            .compare_exchange(none.word(), LAST_WORD, Ordering::Relaxed, Ordering::Relaxed)
            .is_err()
    {
        return Outcome::InUse;
    }
    mark_removed(view.header());
    match shm::remove(id) {
        Ok(()) | Err(Errno::EINVAL | Errno::EIDRM) => Outcome::Removed,
        Err(errno) => Outcome::Failed(errno),
    }
}
