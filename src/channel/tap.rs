//! Looking at messages without taking them.

use std::collections::VecDeque;

use super::stats::own_set;
#[cfg(doc)]
use super::{Observer, Order};
use crate::error::{Corruption, OpenError, OpenErrorKind};
use crate::lane::{Onlooker, Seen};
use crate::merge::{Onlookers, Rule, Sight};
use crate::segment::lane_view::{LaneMap, LaneView};
use crate::segment::seat::{Side, doubtful_pid};
use crate::segment::view::View;
use crate::sync::Ordering;
use crate::sys::{sem, shm};

/// Messages lost on the way to be shown are looked for again so often before it is told that they are missed.
const CHASES: u32 = 256;

/// A walk over the messages that wait in a channel, which takes none of them: made by [`Observer::tap`].
///
/// Neither the senders nor the receiver know of it: the segment is mapped for reading only, nothing waits for a tap and
/// nothing is kept for it. So a message may be received, and its room be written over, while it is looked at. Every
/// message that is shown was found untouched after it was copied: it is exactly what its sender sent. One that
/// was received before it could be copied is counted as [missed](Tapped::Missed) instead. A message that a receiver has
/// in hand and has not released yet still waits.
///
/// A tap is an [`Iterator`] that does not block. `None` says that there is nothing more *now*; later there may be. It
/// cannot sleep until then, because only those who have a seat may use the bells: whoever follows a channel asks again
/// after a pause of their own. Messages that come and go within that pause are missed.
///
/// With a total order messages come in an order in which a receiver could take them, across all senders: what was sent
/// when another message's sending had returned comes behind it. Two that were sent at the same time may come to the
/// receiver the other way round. With [`Order::PerSender`] and with one sender there is the order of each sender.
/// A lane of which the words make no sense is [reported](Tapped::Damaged) once, and the others go on.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let name = format!("doc-tap-{}", std::process::id());
/// use sysring::{Observer, Tapped};
/// let mut tx = sysring::mpsc().sender(&name)?;
/// tx.send("one")?;
/// tx.send("two")?;
///
/// let mut tap = Observer::open(&name)?.tap();
/// let Some(Tapped::Message(first)) = tap.next() else { panic!("two wait") };
/// assert_eq!((first.lane, first.number, &first.bytes[..]), (0, 1, &b"one"[..]));
/// assert_eq!(tap.by_ref().count(), 1);
/// tx.send("three")?;
/// assert_eq!(tap.by_ref().count(), 1);
/// assert_eq!((tap.shown(), tap.missed()), (3, 0));
///
/// // They are all still there.
/// let mut rx = sysring::mpsc().receiver(&name)?;
/// assert_eq!(rx.recv_vec()?, b"one");
/// # sysring::remove(&name)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Tap {
    onlookers: Onlookers<LaneMap>,
    lanes: Vec<Lane>,
    snap: usize,
    /// What is told before anything else: a message whose lane had something to tell first, damage met on the way.
    ready: VecDeque<Tapped>,
    address: String,
    view: View,
}

/// What a tap knows of a lane.
#[derive(Debug)]
struct Lane {
    number: u32,
    /// Messages before the first one that was to be shown.
    first: u64,
    shown: u64,
    /// Messages and bytes of which it was told that they were missed.
    told: u64,
    told_bytes: u64,
    missed_bytes: u64,
    /// The process that has the seat, as it was when the lane had been taken over so often.
    holder: Option<(u64, Option<i32>)>,
}

/// What a [`Tap`] comes across.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let name = format!("doc-tapped-{}", std::process::id());
/// use sysring::{Observer, Tapped};
/// let mut tx = sysring::spsc().sender(&name)?;
/// tx.send("seen")?;
/// for tapped in Observer::open(&name)?.tap() {
///     match tapped {
///         Tapped::Message(message) => println!("lane {}: {} bytes", message.lane, message.len),
///         Tapped::Missed(missed) => println!("lane {}: {} missed", missed.lane, missed.messages),
///         Tapped::Damaged(damage) => eprintln!("{damage}"),
///         _ => {}
///     }
/// }
/// # sysring::remove(&name)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tapped {
    /// A message, whole or its first bytes.
    Message(TappedMessage),
    /// Messages that were received before they could be shown.
    Missed(Missed),
    /// Words that no process keeping to the protocol writes: nothing more is shown of this lane.
    Damaged(Corruption),
}

/// A message that a [`Tap`] has seen. It waits still, or has waited when it was copied.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let name = format!("doc-tapped-message-{}", std::process::id());
/// use sysring::{Observer, Tapped};
/// let mut tx = sysring::mpsc().sender(&name)?;
/// tx.send("hello")?;
/// let Some(Tapped::Message(message)) = Observer::open(&name)?.tap().next() else { panic!("it waits") };
/// assert_eq!(message.pid, Some(std::process::id() as i32));
/// assert_eq!((message.position, message.stamp), (0, Some(0)));
/// assert!(message.is_complete());
/// # sysring::remove(&name)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TappedMessage {
    /// The sender's lane.
    pub lane: u32,
    /// The process that has the lane's seat, or had it last, in the caller's pid namespace. Nearly always that is the
    /// message's sender; but a message may be an earlier one's, which has left or died with its messages unreceived.
    pub pid: Option<i32>,
    /// Which message of its lane it is, since the channel was made: the first is 1. It rests on counters that are kept for
    /// monitoring, so it may be too high by what a receiver was just releasing, or died releasing, when the tap
    /// last lost touch; [`TappedMessage::position`] is exact.
    pub number: u64,
    /// The byte position of its record in its lane (ever-growing; modulo the capacity it is an offset).
    pub position: u64,
    /// Its stamp, if there is a total order: grows with every message of a lane, and from one message to another that was
    /// sent when the first one's sending had returned. Numbers may be left out, and of messages that were sent at
    /// the same time the higher one may come first.
    pub stamp: Option<u64>,
    /// Its length in bytes.
    pub len: usize,
    /// Its first bytes: all of them, unless [`Tap::snap_length`] says less.
    pub bytes: Vec<u8>,
}

impl TappedMessage {
    /// Whether `bytes` are all of it.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc-tap-is-complete-{}", std::process::id());
    /// use sysring::{Observer, Tapped};
    /// let mut tx = sysring::spsc().sender(&name)?;
    /// tx.send("a long one")?;
    /// let mut tap = Observer::open(&name)?.tap().snap_length(6);
    /// let Some(Tapped::Message(message)) = tap.next() else { panic!("it waits") };
    /// assert_eq!((message.len, &message.bytes[..], message.is_complete()), (10, &b"a long"[..], false));
    /// # sysring::remove(&name)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_complete(&self) -> bool {
        self.bytes.len() == self.len
    }
}

/// Messages of one lane that were received before a [`Tap`] could show them. They are reported before the next message
/// of the lane that is shown, or when there is nothing to be shown at the moment.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let name = format!("doc-tap-missed-{}", std::process::id());
/// use sysring::{Observer, Tapped};
/// let mut tx = sysring::spsc().sender(&name)?;
/// let mut rx = sysring::spsc().receiver(&name)?;
/// let mut tap = Observer::open(&name)?.tap();
/// tx.send("quick")?;
/// rx.recv_vec()?;
/// let Some(Tapped::Missed(missed)) = tap.next() else { panic!("it has gone by") };
/// assert_eq!((missed.lane, missed.messages, missed.bytes), (0, 1, 16));
/// # sysring::remove(&name)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Missed {
    /// The sender's lane.
    pub lane: u32,
    /// How many messages, as the receiver counts them: see [`TappedMessage::number`]. Too high a report is made up for by
    /// the ones that follow, and [`Tap::missed`] is right whenever the channel rests (but for one message for each receiver
    /// that was killed while it counted).
    pub messages: u64,
    /// Bytes of the lane that they took, with headers and padding: exact.
    pub bytes: u64,
}

impl Tap {
    pub(super) fn new(view: View, address: &str) -> Tap {
        let lanes: Vec<u32> = (0..view.geometry().senders()).collect();
        Tap::of(view, address, &lanes)
    }

    fn of(view: View, address: &str, lanes: &[u32]) -> Tap {
        let onlook = |&lane| Onlooker::new(view.lane(lane), view.is_stamped(), view.max_message());
        let rule = if view.is_stamped() { Rule::Total } else { Rule::PerSender };
        let onlookers = Onlookers::new(lanes.iter().map(onlook).collect(), rule);
        let know = |(index, &number): (usize, &u32)| Lane {
            number,
            first: onlookers.lane(index as u32).number(),
            shown: 0,
            told: 0,
            told_bytes: 0,
            missed_bytes: 0,
            holder: None,
        };
        let lanes = lanes.iter().enumerate().map(know).collect();
        Tap { onlookers, lanes, snap: usize::MAX, ready: VecDeque::new(), address: address.to_owned(), view }
    }

    /// Copies no more than the first `bytes` bytes of each message.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc-tap-snap-{}", std::process::id());
    /// use sysring::{Observer, Tapped};
    /// let mut tx = sysring::spsc().sender(&name)?;
    /// tx.send([7; 1000])?;
    /// let mut tap = Observer::open(&name)?.tap().snap_length(16);
    /// let Some(Tapped::Message(message)) = tap.next() else { panic!("it waits") };
    /// assert_eq!((message.len, message.bytes.len()), (1000, 16));
    /// # sysring::remove(&name)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn snap_length(mut self, bytes: usize) -> Tap {
        self.snap = bytes;
        self
    }

    /// Looks at one lane only, and begins there anew: a limit, and what was counted, is forgotten.
    ///
    /// # Errors
    /// [`OpenErrorKind::InvalidOption`] if there is no such lane.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc-tap-lane-{}", std::process::id());
    /// use sysring::Observer;
    /// let mut tx = sysring::mpsc().senders(2).sender(&name)?;
    /// tx.send("in lane 0")?;
    /// let observer = Observer::open(&name)?;
    /// assert_eq!(observer.tap().lane(0)?.count(), 1);
    /// assert_eq!(observer.tap().lane(1)?.count(), 0);
    /// assert!(observer.tap().lane(2).is_err());
    /// # sysring::remove(&name)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn lane(self, lane: u32) -> Result<Tap, OpenError> {
        let lanes = self.view.geometry().senders();
        if lane >= lanes {
            let text = format!("it has no lane {lane}, only 0 to {}", lanes - 1);
            return Err(OpenError::new(OpenErrorKind::InvalidOption, &self.address, text));
        }
        let (snap, address) = (self.snap, self.address.clone());
        Ok(Tap { snap, ..Tap::of(self.view, &address, &[lane]) })
    }

    /// Ends with what waits at this moment: a busy channel has no other end. The limit is exact in total order, and
    /// otherwise exact for each lane; if the channel's words are damaged, it is one lap of each lane.
    ///
    /// [`Tap::follow`] goes on from there.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc-tap-snapshot-{}", std::process::id());
    /// use sysring::Observer;
    /// let mut tx = sysring::mpsc().sender(&name)?;
    /// tx.send("waits")?;
    /// let mut tap = Observer::open(&name)?.tap().snapshot();
    /// tx.send("comes too late")?;
    /// assert_eq!(tap.by_ref().count(), 1);
    /// assert_eq!(tap.follow().count(), 1);
    /// # sysring::remove(&name)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn snapshot(mut self) -> Tap {
        self.onlookers.limit_to_now(&self.view.header().stamps.word);
        self
    }

    /// Lifts the limit of [`Tap::snapshot`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc-tap-follow-{}", std::process::id());
    /// use sysring::Observer;
    /// let mut tx = sysring::spsc().sender(&name)?;
    /// let tap = Observer::open(&name)?.tap().snapshot();
    /// tx.send("later")?;
    /// assert_eq!(tap.follow().count(), 1);
    /// # sysring::remove(&name)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn follow(mut self) -> Tap {
        self.onlookers.lift_limit();
        self
    }

    /// Steps over what waits at this moment, and begins with what comes. What is left out counts neither as shown nor as
    /// missed; damage that is met on the way is reported.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc-tap-from-now-{}", std::process::id());
    /// use sysring::{Observer, Tapped};
    /// let mut tx = sysring::spsc().sender(&name)?;
    /// tx.send("old")?;
    /// let mut tap = Observer::open(&name)?.tap().from_now();
    /// tx.send("new")?;
    /// let Some(Tapped::Message(message)) = tap.next() else { panic!("it waits") };
    /// assert_eq!((message.number, &message.bytes[..]), (2, &b"new"[..]));
    /// # sysring::remove(&name)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_now(mut self) -> Tap {
        let stamps = &self.view.header().stamps.word;
        let missed: Vec<u64> = (0..self.lanes.len()).map(|index| self.missed_in(index)).collect();
        self.onlookers.limit_to_now(stamps);
        loop {
            match self.onlookers.next(stamps) {
                Sight::Record(index, seen) => self.onlookers.pass(index, &seen),
                Sight::Nothing => break,
                Sight::Released(..) => {}
                Sight::Corrupt(index, position) => {
                    let lane = self.lanes[index as usize].number;
                    self.ready.push_back(Tapped::Damaged(Corruption { lane, position }));
                }
            }
        }
        self.onlookers.lift_limit();
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            // As if it had begun so many messages ago as were shown or missed.
            let number = self.onlookers.lane(index as u32).number();
            lane.first = number.wrapping_sub(lane.shown).wrapping_sub(missed[index]);
        }
        self
    }

    /// Messages shown so far.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc-tap-shown-{}", std::process::id());
    /// let mut tx = sysring::spsc().sender(&name)?;
    /// tx.send("a")?;
    /// let mut tap = sysring::Observer::open(&name)?.tap();
    /// assert_eq!(tap.shown(), 0);
    /// tap.next();
    /// assert_eq!(tap.shown(), 1);
    /// # sysring::remove(&name)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn shown(&self) -> u64 {
        self.lanes.iter().fold(0, |sum, lane| sum.saturating_add(lane.shown))
    }

    /// Messages missed so far, in all lanes: received before they could be shown. Right whenever the channel rests; see
    /// [`TappedMessage::number`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc-tap-missed-count-{}", std::process::id());
    /// let mut tx = sysring::spsc().sender(&name)?;
    /// let mut rx = sysring::spsc().receiver(&name)?;
    /// let mut tap = sysring::Observer::open(&name)?.tap();
    /// tx.send("quick")?;
    /// rx.recv_vec()?;
    /// tap.next();
    /// assert_eq!((tap.shown(), tap.missed()), (0, 1));
    /// # sysring::remove(&name)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn missed(&self) -> u64 {
        (0..self.lanes.len()).fold(0, |sum, index| sum.saturating_add(self.missed_in(index)))
    }

    /// Whether the channel was removed, so that nothing new will come that is worth waiting for. One system call.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc-tap-is-removed-{}", std::process::id());
    /// let channel = sysring::spsc().create(&name)?;
    /// let tap = sysring::Observer::open(&name)?.tap();
    /// assert!(!tap.is_removed());
    /// channel.remove()?;
    /// assert!(tap.is_removed());
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_removed(&self) -> bool {
        let view = &self.view;
        view.is_condemned()
            || shm::stat(view.region().id()).map_or(true, |segment| segment.dest && !view.is_anonymous())
    }

    fn missed_in(&self, index: usize) -> u64 {
        let lane = &self.lanes[index];
        let number = self.onlookers.lane(index as u32).number();
        number
            .wrapping_sub(lane.first)
            .checked_sub(lane.shown)
            .filter(|&missed| missed < 1 << 63)
            .unwrap_or(0)
    }

    /// Where it began, a release may just have been counted: then the first number was one too high.
    fn settle_first(&mut self, index: usize) {
        let number = self.onlookers.lane(index as u32).number();
        let lane = &mut self.lanes[index];
        let counted = number.wrapping_sub(lane.first);
        if counted < lane.shown || counted >= 1 << 63 {
            lane.first = number.wrapping_sub(lane.shown);
        }
    }

    /// What is to be told of messages of a lane that were missed.
    fn tell(&mut self, index: usize) -> Option<Tapped> {
        let missed = self.missed_in(index);
        let lane = &mut self.lanes[index];
        let bytes = lane.missed_bytes - lane.told_bytes;
        if bytes == 0 {
            return None;
        }
        let messages = missed.saturating_sub(lane.told);
        lane.told = lane.told.max(missed);
        lane.told_bytes = lane.missed_bytes;
        Some(Tapped::Missed(Missed { lane: lane.number, messages, bytes }))
    }

    /// Copies a message. `None` if it was released meanwhile.
    fn show(&mut self, index: u32, seen: &Seen) -> Option<TappedMessage> {
        let onlooker = self.onlookers.lane(index);
        // No more than the channel's largest message, which was checked against the segment's size; but whoever made that
        // may have promised more memory than there is.
        let mut bytes = Vec::new();
        let length = (seen.length as usize).min(self.snap);
        if bytes.try_reserve_exact(length).is_ok() {
            bytes.resize(length, 0);
        }
        if !onlooker.copy(seen, &mut bytes) {
            self.onlookers.forget(index);
            return None;
        }
        let takeovers = onlooker.lane().control().producer.takeovers.load(Ordering::Relaxed);
        self.onlookers.pass(index, seen);
        let number = self.onlookers.lane(index).number();
        self.lanes[index as usize].shown += 1;
        self.settle_first(index as usize);
        let lane = &mut self.lanes[index as usize];
        if lane.holder.is_none_or(|(then, _)| then != takeovers) {
            lane.holder = Some((takeovers, holder(&self.view, lane.number)));
        }
        Some(TappedMessage {
            lane: lane.number,
            pid: lane.holder.and_then(|(_, pid)| pid),
            number,
            position: seen.start,
            stamp: self.view.is_stamped().then_some(seen.stamp),
            len: seen.length as usize,
            bytes,
        })
    }
}

impl Iterator for Tap {
    type Item = Tapped;

    /// The next thing to tell; `None` if there is nothing at the moment. Does not block.
    fn next(&mut self) -> Option<Tapped> {
        if let Some(tapped) = self.ready.pop_front() {
            return Some(tapped);
        }
        for _ in 0..CHASES {
            match self.onlookers.next(&self.view.header().stamps.word) {
                Sight::Record(index, seen) => {
                    let Some(message) = self.show(index, &seen) else { continue };
                    let Some(missed) = self.tell(index as usize) else {
                        return Some(Tapped::Message(message));
                    };
                    self.ready.push_back(Tapped::Message(message));
                    return Some(missed);
                }
                Sight::Released(index, bytes) => {
                    let lane = &mut self.lanes[index as usize];
                    lane.missed_bytes = lane.missed_bytes.saturating_add(bytes);
                }
                Sight::Corrupt(index, position) => {
                    let lane = self.lanes[index as usize].number;
                    return Some(Tapped::Damaged(Corruption { lane, position }));
                }
                Sight::Nothing => {
                    (0..self.lanes.len()).for_each(|index| self.settle_first(index));
                    break;
                }
            }
        }
        (0..self.lanes.len()).find_map(|index| self.tell(index))
    }
}

/// The process that has a lane's seat, or had it last: the kernel's word, unless the seat is in doubt.
fn holder(view: &View, lane: u32) -> Option<i32> {
    let (set, side) = (own_set(view), Side::Sender(lane));
    let doubtful = doubtful_pid(view, &view.region().company(), set, side);
    let pid = doubtful.or_else(|| sem::last_pid(set?.id, side.alive()).ok());
    pid.filter(|&pid| pid > 0)
}
