//! Looking at channels without touching them.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::address::{Address, hash};
use super::config::{Kind, Order};
use super::open::{missing, segment_of};
use super::tap::Tap;
use crate::error::{OpenError, OpenErrorKind};
use crate::segment::lane_view::LaneView;
use crate::segment::layout::is_channel_size;
use crate::segment::region::Region;
use crate::segment::seat::{Side, claim_word, doubtful_pid};
use crate::segment::set::Set;
use crate::segment::view::{Unready, View, probe};
use crate::sync::Ordering;
use crate::sys::shm::Access;
use crate::sys::{Errno, sem, shm};

/// Bytes that a message takes in a lane at least.
const SMALLEST_RECORD: u64 = 8;

/// A picture of a channel. Its parts were read one after another while the channel went on, so they may not fit
/// each other exactly.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (mut tx, _rx) = sysring::mpsc().senders(4).pair()?;
/// tx.send("a")?;
/// let stats = tx.stats()?;
/// assert!(stats.anonymous);
/// assert_eq!((stats.senders, stats.lanes.len()), (4, 1)); // one lane of four was ever used
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// Segment id.
    pub id: i32,
    /// Segment key; 0 when the segment cannot be found any more.
    pub key: i32,
    /// Name; empty if it has none, or one that does not belong to its key.
    pub name: String,
    /// For one sender or many.
    pub kind: Kind,
    /// Order across senders.
    pub order: Order,
    /// Whether senders wait for the next receiver.
    pub persistent: bool,
    /// Whether it is a pair for `fork`.
    pub anonymous: bool,
    /// Bytes of each lane.
    pub capacity: u64,
    /// Largest message in bytes.
    pub max_message: u64,
    /// Number of sender seats.
    pub senders: u32,
    /// Bytes of the segment.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Present owner.
    pub owner_uid: u32,
    /// The owner's group, which the mode's second digit is about.
    pub owner_gid: u32,
    /// Creator: the kernel's word, nobody can change it.
    pub creator_uid: u32,
    /// Creator's process id, as the kernel noted it.
    pub creator_pid: i32,
    /// When it was made.
    pub created: SystemTime,
    /// Attachments (`shm_nattch`), an observer's own included.
    pub attached: u64,
    /// Id of the semaphore set; -1 if there is none.
    pub semaphore_set: i32,
    /// Whether it was removed.
    pub removed: bool,
    /// Whether everybody uses real fences (see [`Fence`](crate::Fence)).
    pub real_fences: bool,
    /// Whether it lies in huge pages.
    pub huge_pages: bool,
    /// Whether it is locked into memory.
    pub locked: bool,
    /// Sender seats taken since creation.
    pub sender_attaches: u64,
    /// Receiver seats taken since creation.
    pub receiver_attaches: u64,
    /// How often a call has reported damage since creation, or a sender passed over a damaged lane.
    pub damages: u64,
    /// The receiver's seat.
    pub receiver: SeatStats,
    /// Lanes that are or were in use.
    pub lanes: Vec<LaneStats>,
}

/// Who sits on a seat.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (_tx, mut rx) = sysring::spsc().pair()?;
/// rx.attach()?;
/// let seat = rx.stats()?.receiver;
/// assert!(seat.taken && !seat.asleep && !seat.died);
/// assert_eq!(seat.pid, Some(std::process::id() as i32));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeatStats {
    /// Whether somebody alive has it: the kernel's word.
    pub taken: bool,
    /// The process that has it, in the caller's pid namespace; `None` if nobody has it or it is in another.
    pub pid: Option<i32>,
    /// Whether that process sleeps on its bell: the kernel's word.
    pub asleep: bool,
    /// Whether the seat is free because its last holder ended without leaving it: it was killed, or exited with the
    /// handle still alive. False again as soon as somebody takes the seat, and once the channel is removed. For
    /// people: whoever may write to the segment can say so too.
    pub died: bool,
}

/// One sender's lane.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (mut tx, mut rx) = sysring::spsc().pair()?;
/// tx.send("abc")?;
/// tx.send("de")?;
/// rx.recv()?;
/// let lane = rx.stats()?.lanes[0];
/// assert_eq!((lane.sent, lane.sent_bytes, lane.received, lane.messages), (2, 5, 1, 1));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LaneStats {
    /// Its number.
    pub lane: u32,
    /// Its sender.
    pub seat: SeatStats,
    /// Messages sent, ever.
    pub sent: u64,
    /// Payload bytes sent, ever.
    pub sent_bytes: u64,
    /// Messages released, ever.
    pub received: u64,
    /// Messages that wait: no more than fit into `used`, whatever the counts claim.
    pub messages: u64,
    /// Bytes of the lane in use: the capacity at most.
    pub used: u64,
    /// Whether the sender sleeps because the lane is too full for its next message.
    pub waits_for_room: bool,
    /// Whether damage was met. What a receiver met is final: nothing more is taken from this lane, and new senders take
    /// others. What a sender met stands until another finds the lane in order.
    pub corrupt: bool,
    /// Where, as a position in the lane; the receiver's finding before the sender's.
    pub corrupt_at: Option<u64>,
}

/// A read-only look at a channel: the segment is attached with `SHM_RDONLY`, so an observer can never disturb.
///
/// Anybody who may read the segment may observe, also root at others' channels.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let name = format!("doc-observer-{}", std::process::id());
/// let mut tx = sysring::mpsc().sender(&name)?;
/// tx.send("seen, not taken")?;
/// let stats = sysring::Observer::open(&name)?.stats()?;
/// assert_eq!(stats.lanes[0].messages, 1);
/// assert_eq!(stats.lanes[0].seat.pid, Some(std::process::id() as i32));
/// sysring::remove(&name)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Observer {
    view: View,
    address: String,
}

impl Observer {
    /// Attaches read-only. Does not block.
    ///
    /// # Errors
    /// [`OpenErrorKind::NotFound`], [`OpenErrorKind::PermissionDenied`], [`OpenErrorKind::Foreign`],
    /// [`OpenErrorKind::NameTaken`], [`OpenErrorKind::Busy`] (half-made), [`OpenErrorKind::Corrupt`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sysring::{Observer, OpenErrorKind};
    /// # let name = format!("doc-stats-observer-open-{}", std::process::id());
    /// let channel = sysring::spsc().create(&name)?;
    /// assert_eq!(Observer::open(&name)?.stats()?.id, channel.id());
    /// channel.remove()?;
    /// assert_eq!(Observer::open(&name).unwrap_err().kind(), OpenErrorKind::NotFound);
    /// # Ok(())
    /// # }
    /// ```
    pub fn open(address: impl Into<Address>) -> Result<Observer, OpenError> {
        let address = address.into();
        let target = address.target()?;
        let id = segment_of(&target).map_err(|errno| OpenError::system(&address, "shmget", errno))?;
        let observer = Observer::of(id, &address.to_string())?;
        if let super::address::Target::Key { name: Some(name), .. } = target
            && name != observer.view.name()
        {
            let text = format!("the key of \"{name}\" is held by channel \"{}\"", observer.view.name());
            return Err(OpenError::new(OpenErrorKind::NameTaken, &address, text));
        }
        Ok(observer)
    }

    fn of(id: i32, address: &str) -> Result<Observer, OpenError> {
        let region = Region::attach(id, Access::ReadOnly).map_err(|errno| match errno {
            Errno::EINVAL | Errno::EIDRM => missing(&address),
            errno => OpenError::system(&address, "shmat", errno),
        })?;
        let view = View::open(Arc::new(region)).map_err(|unready| {
            let (kind, why) = match unready {
                Unready::HalfMade | Unready::Abandoned => (OpenErrorKind::Busy, "it is half-made".to_owned()),
                Unready::Foreign(why) => {
                    (OpenErrorKind::Foreign, format!("the segment is not a channel: {why}"))
                }
                Unready::Damaged(why) => (OpenErrorKind::Corrupt, format!("damaged: {why}")),
            };
            OpenError::new(kind, &address, why)
        })?;
        if view.is_anonymous() {
            // Whoever detaches last removes the set, and that may be this observer.
            view.region().remove_set_with_last();
        }
        Ok(Observer { view, address: address.to_owned() })
    }

    /// A picture of the channel, of this moment.
    ///
    /// # Errors
    /// [`OpenErrorKind::Removed`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sysring::Observer;
    /// # let name = format!("doc-stats-observer-stats-{}", std::process::id());
    /// let mut tx = sysring::spsc().sender(&name)?;
    /// let observer = Observer::open(&name)?;
    /// assert_eq!(observer.stats()?.lanes[0].messages, 0);
    /// tx.send("a")?;
    /// assert_eq!(observer.stats()?.lanes[0].messages, 1);
    /// sysring::remove(&name)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn stats(&self) -> Result<Stats, OpenError> {
        collect(&self.view, &self.address)
    }

    /// A look at the messages that wait, and at those that come, without taking any. Does not block.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sysring::{Observer, Tapped};
    /// # let name = format!("doc-stats-observer-tap-{}", std::process::id());
    /// let mut tx = sysring::mpsc().sender(&name)?;
    /// tx.send("seen, not taken")?;
    /// let observer = Observer::open(&name)?;
    /// let Some(Tapped::Message(message)) = observer.tap().next() else { panic!("it waits") };
    /// assert_eq!(message.bytes, b"seen, not taken");
    /// assert_eq!(observer.stats()?.lanes[0].messages, 1);
    /// sysring::remove(&name)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn tap(&self) -> Tap {
        Tap::new(self.view.clone(), &self.address)
    }

    /// Whether a sender's seat is taken by somebody alive: the kernel's word, one system call.
    ///
    /// # Errors
    /// [`OpenErrorKind::InvalidOption`] if there is no such lane; [`OpenErrorKind::Removed`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sysring::Observer;
    /// # let name = format!("doc-stats-observer-sender-alive-{}", std::process::id());
    /// let tx = sysring::spsc().sender(&name)?;
    /// let observer = Observer::open(&name)?;
    /// assert!(observer.sender_alive(0)?);
    /// drop(tx);
    /// assert!(!observer.sender_alive(0)?);
    /// sysring::remove(&name)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn sender_alive(&self, lane: u32) -> Result<bool, OpenError> {
        if lane >= self.view.geometry().senders() {
            return Err(OpenError::new(
                OpenErrorKind::InvalidOption,
                &self.address,
                format!("it has no lane {lane}"),
            ));
        }
        let set = own_set(&self.view);
        if doubtful_pid(&self.view, &self.view.region().company(), set, Side::Sender(lane)).is_some() {
            return Ok(true);
        }
        // Without a set nobody has a seat but in doubt.
        let Some(set) = set else { return Ok(false) };
        match sem::value(set.id, Side::Sender(lane).alive()) {
            Ok(value) => Ok(value > 0),
            // The set was removed just now, and not the channel: its seats are in doubt.
            Err(Errno::EINVAL | Errno::EIDRM) => {
                let company = self.view.region().company();
                Ok(doubtful_pid(&self.view, &company, None, Side::Sender(lane)).is_some())
            }
            Err(errno) => Err(OpenError::system(&self.address, "semctl(GETVAL)", errno)),
        }
    }
}

/// The channel's set, if the set word names one that is really its own.
pub(super) fn own_set(view: &View) -> Option<Set> {
    view.set().filter(|set| set.is_marked_for(view.region().id()))
}

/// One entry of [`list`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// for listed in sysring::list()? {
///     match &listed.outcome {
///         Ok(stats) => println!("{} {}: {} lanes in use", listed.id, stats.name, stats.lanes.len()),
///         Err(error) => println!("{} {error}", listed.id),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Listed {
    /// Segment id.
    pub id: i32,
    /// Segment key.
    pub key: i32,
    /// What it is; an error for a channel that is half-made, damaged, removed or not readable.
    pub outcome: Result<Stats, OpenError>,
}

/// Every channel of this IPC namespace, looked at read-only. Anonymous ones are listed too.
///
/// # Errors
/// If the kernel does not list segments.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let name = format!("doc-list-{}", std::process::id());
/// let channel = sysring::spsc().create(&name)?;
/// assert!(sysring::list()?.iter().any(|listed| listed.id == channel.id()));
/// channel.remove()?;
/// # Ok(())
/// # }
/// ```
pub fn list() -> Result<Vec<Listed>, OpenError> {
    let all = shm::list().map_err(|errno| OpenError::system(&"(all)", "shmctl(SHM_INFO)", errno))?;
    let channels = all.into_iter().filter(|(_, stat)| is_channel_size(stat.size));
    Ok(channels
        .filter_map(|(id, stat)| {
            let outcome = match Observer::of(id, &format!("id:{id}")) {
                Err(error) if error.kind() == OpenErrorKind::Foreign && !has_magic(id) => return None,
                Err(error) if error.kind() == OpenErrorKind::NotFound => return None,
                Err(error) => Err(error),
                Ok(observer) => observer.stats(),
            };
            Some(Listed { id, key: stat.key, outcome })
        })
        .collect())
}

/// Whether a segment that is not readable as a channel is one of another version.
fn has_magic(id: i32) -> bool {
    Region::attach(id, Access::ReadOnly).is_ok_and(|region| {
        region.remove_set_with_last();
        probe(&region).is_ok()
    })
}

/// Takes the picture.
pub(crate) fn collect(view: &View, address: &str) -> Result<Stats, OpenError> {
    let id = view.region().id();
    let segment = shm::stat(id).map_err(|errno| OpenError::system(&address, "shmctl(IPC_STAT)", errno))?;
    let (header, shape) = (view.header(), view.geometry());
    let set = own_set(view);
    let mut seats = sem::Values::new(shape.semaphores());
    let known = set.filter(|set| seats.read(set.id).is_ok());
    let company = view.region().company();
    let seat = |side: Side| {
        let asleep = known.is_some_and(|set| sem::waiting(set.id, side.bell()).is_ok_and(|count| count > 0));
        let pid = match known.filter(|_| seats.get(side.alive()) > 0) {
            Some(set) => Some(sem::last_pid(set.id, side.alive()).unwrap_or(0)),
            None => doubtful_pid(view, &company, known, side),
        };
        // A claim is given back before the seat is, so a free seat has one only after a death. The kernel is asked
        // again, because somebody may have taken the seat since, and the claim, because that one may have left.
        let claim = claim_word(view, side);
        let free = || known.is_none_or(|set| sem::value(set.id, side.alive()) == Ok(0));
        // Nobody gives anything back to a channel that was removed.
        let died =
            pid.is_none() && !view.is_removed() && claim != 0 && free() && claim_word(view, side) == claim;
        SeatStats { taken: pid.is_some(), pid: pid.filter(|&pid| pid > 0), asleep, died }
    };
    let mut lanes = Vec::new();
    for lane in 0..shape.senders() {
        let map = view.lane(lane);
        let control = map.control();
        let tail = control.producer.tail.load(Ordering::Relaxed);
        let read = control.consumer.read.load(Ordering::Relaxed);
        let sent = control.producer.sent.load(Ordering::Relaxed);
        let received = control.consumer.received.load(Ordering::Relaxed);
        let seat = seat(Side::Sender(lane));
        if !seat.taken && !seat.died && tail == 0 && read == 0 {
            continue;
        }
        let used = tail.saturating_sub(read).min(shape.capacity());
        // 1 + the position, as each side notes it.
        let met =
            [&control.consumer.corrupt, &control.producer.corrupt].map(|word| word.load(Ordering::Relaxed));
        let corrupt_at = met.iter().find(|place| **place != 0).map(|place| place - 1);
        lanes.push(LaneStats {
            lane,
            seat,
            sent,
            sent_bytes: control.producer.sent_bytes.load(Ordering::Relaxed),
            received,
            messages: sent.saturating_sub(received).min(used / SMALLEST_RECORD),
            used,
            waits_for_room: seat.asleep,
            corrupt: corrupt_at.is_some(),
            corrupt_at,
        });
    }
    Ok(Stats {
        id,
        key: segment.key,
        name: shown_name(view, segment.key).to_owned(),
        kind: if view.is_spsc() { Kind::Spsc } else { Kind::Mpsc },
        order: if view.is_total() { Order::Total } else { Order::PerSender },
        persistent: view.is_persistent(),
        anonymous: view.is_anonymous(),
        capacity: shape.capacity(),
        max_message: view.max_message(),
        senders: shape.senders(),
        size: segment.size,
        mode: segment.mode,
        owner_uid: segment.uid,
        owner_gid: segment.gid,
        creator_uid: segment.cuid,
        creator_pid: segment.cpid,
        created: created(header.birth.created.load(Ordering::Relaxed)),
        attached: segment.nattch,
        semaphore_set: set.map_or(-1, |set| set.id),
        removed: view.is_condemned() || (segment.dest && !view.is_anonymous()),
        real_fences: header.bell.real_fences.load(Ordering::Relaxed) != 0,
        huge_pages: view.is_huge(),
        locked: segment.locked,
        sender_attaches: header.visits.senders.load(Ordering::Relaxed),
        receiver_attaches: header.visits.receivers.load(Ordering::Relaxed),
        damages: header.visits.damages.load(Ordering::Relaxed),
        receiver: seat(Side::Receiver),
        lanes,
    })
}

/// The name, unless it is one that does not lead here: whoever wrote it may have meant to be taken for another.
fn shown_name(view: &View, key: i32) -> &str {
    let name = view.name();
    if key == 0 || hash(name) == key { name } else { "" }
}

/// Nanoseconds since 1970; whatever the segment says cannot overflow.
fn created(nanoseconds: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_nanos(nanoseconds)).unwrap_or(UNIX_EPOCH)
}
