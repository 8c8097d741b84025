//! The receiving end.

use core::cell::Cell;
use core::fmt;
use core::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::interrupt::Interrupter;
use super::peers::Peers;
use super::shared::{Doubt, Loss, PeerSide, Seats, Shared, UNKNOWN, is_gone};
use super::stats::{self, Stats};
use super::trusted::NO_PROMISE;
use super::{Stop, Trusted, Until};
use crate::error::{Corruption, OpenError, RecvError, RecvTimeoutError, SystemError, TryRecvError};
use crate::lane::{Consumer, Found};
use crate::merge::{self, Merge, Next, Rule};
use crate::segment::lane_view::{LaneMap, LaneView};
use crate::segment::seat::{Seat, Side};
use crate::sync::Ordering;
use crate::sys::Errno;
use crate::sys::process::{self, NOBODY};
use crate::wait::{self, Backoff, Barrier, Habit, HangBack, RealClock, Slept, WaitStrategy};

/// What counts as the end of the stream, for [`Receiver::set_end`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sysring::EndOfStream;
/// let (mut tx, mut rx) = sysring::spsc().pair()?;
/// rx.set_end(EndOfStream::Never);
/// tx.send("a")?;
/// drop(tx);
/// assert_eq!(rx.recv_vec()?, b"a");
/// assert!(rx.try_recv().unwrap_err().is_empty()); // no end, though the sender has gone
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EndOfStream {
    /// All senders have gone, at least one was there, and everything is received.
    #[default]
    AllGone,
    /// So many sender sessions have ended since the last end was reported, and nothing is left to receive. A
    /// session begins with the seat, before the first message: a sender killed while it was still taking it has
    /// not come.
    AfterSenders(u64),
    /// Nothing: wait for the next sender for ever.
    Never,
}

/// The receiving end of a channel.
///
/// Belongs to one thread at a time (`Send`, not `Sync`, not `Clone`). Dropping it leaves the seat; what was not
/// received stays for the next receiver.
///
/// [`Receiver::recv`] lends a [`Message`] that is released when it is dropped: a receiver killed before that leaves the
/// message to its successor (at least once). The copying forms [`Receiver::recv_into`], [`Receiver::recv_vec`] and the
/// iterators release before they return (at most once).
///
/// In a forked child an inherited receiver takes the seat at its first use there, which fails while the parent
/// has it.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sysring::RecvError;
/// let (mut tx, mut rx) = sysring::spsc().pair()?;
/// tx.send("last words")?;
/// drop(tx);
/// assert_eq!(rx.recv()?.to_vec(), b"last words");
/// assert!(matches!(rx.recv(), Err(RecvError::Disconnected)));
/// # Ok(())
/// # }
/// ```
pub struct Receiver {
    seated: Option<Seated>,
    /// Identity of the process that is seated; 0 = nobody is.
    identity: u64,
    shared: Arc<Shared>,
    /// `identity` while nothing but that stands in the way of the quick way of [`Receiver::copy_at_once`]; [`NOBODY`] else.
    ready: u64,
    /// The same of [`Receiver::copy_merged_at_once`].
    merging: u64,
    /// The header's notice when the seat was last known to be held in the channel's set.
    notice: u64,
    barrier: Barrier,
    peers: Peers,
    habit: Habit,
    /// `None`: latency first.
    hang_back: Option<HangBack>,
    interrupter: Interrupter,
    end: EndOfStream,
    /// Departures that earlier receivers have reported.
    departed: u64,
    /// Messages handed out in a batch, or lent and forgotten: to be taken back if they are not released.
    lent: bool,
    batch: Vec<Lent>,
    /// What an earlier call met and could not report: the next one does.
    late: Option<RecvError>,
    /// The promise of [`Receiver::trust_peers`] was made for this handle.
    trusts_peers: bool,
    seats: Seats,
    _not_sync: PhantomData<Cell<()>>,
}

/// A receiver with the seat. The consumers are the only ones of their lanes, because the seat is.
#[derive(Debug)]
struct Seated {
    merge: Merge<LaneMap>,
    seat: Seat,
}

type Halt = Stop<RecvError>;

/// How often a bell is looked for on a new set.
const ATTEMPTS: u32 = 3;

/// Room made for a batch at once; larger ones grow.
const RESERVED: usize = 1024;

/// Looks of [`Receiver::await_keenly`], without a pause between them: a peer that is about to answer does so within a
/// fraction of a microsecond, of which a pause would be a good part.
const KEEN: u32 = 64;

type Current = (u32, Found);

/// A message that was handed out.
#[derive(Clone, Copy, Debug)]
struct Lent {
    /// As in [`Found`].
    payload: u64,
    length: u64,
    lane: u32,
    redelivered: bool,
}

impl Lent {
    #[inline(always)]
    fn new(lane: u32, found: Found) -> Lent {
        Lent { payload: found.payload, length: found.length, lane, redelivered: found.redelivered }
    }
}

impl Receiver {
    /// A receiver without the seat: it takes it at its first use.
    pub(super) fn unseated(shared: &Arc<Shared>) -> Receiver {
        shared.count_in(PeerSide::Receiver);
        Receiver {
            seated: None,
            identity: 0,
            ready: NOBODY,
            merging: NOBODY,
            notice: UNKNOWN,
            barrier: Barrier::REAL,
            peers: Peers::new(shared, PeerSide::Senders),
            habit: Habit::default(),
            hang_back: (!shared.options.latency).then(HangBack::new),
            interrupter: Interrupter::new(),
            end: EndOfStream::AllGone,
            departed: 0,
            lent: false,
            batch: Vec::new(),
            late: None,
            trusts_peers: false,
            seats: Seats::new(&shared.view),
            shared: Arc::clone(shared),
            _not_sync: PhantomData,
        }
    }

    /// Takes the seat now, if the handle does not have it in this process. Does not block.
    ///
    /// # Errors
    /// [`OpenErrorKind::SeatTaken`](crate::OpenErrorKind::SeatTaken) naming the process that holds it;
    /// [`OpenErrorKind::Removed`](crate::OpenErrorKind::Removed).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sysring::OpenErrorKind;
    /// # let name = format!("doc-receiver-receiver-attach-{}", std::process::id());
    /// let channel = sysring::spsc().create(&name)?;
    /// let mut rx = channel.receiver()?;
    /// rx.attach()?; // has the seat already
    /// let pid = Some(std::process::id() as i32);
    /// assert_eq!(channel.receiver().unwrap_err().kind(), OpenErrorKind::SeatTaken { pid });
    /// channel.remove()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn attach(&mut self) -> Result<(), OpenError> {
        if self.identity == process::identity() {
            return Ok(());
        }
        self.seated = None; // in a forked child this leaves the parent's seat alone
        (self.identity, self.ready, self.merging) = (0, NOBODY, NOBODY);
        self.lent = false;
        let shared = &*self.shared;
        if shared.is_removed() {
            return Err(shared.lost(Loss::Removed));
        }
        self.barrier = shared.barrier();
        let notice = shared.settled_notice();
        let side = Side::Receiver;
        let seat = shared.take(side).map_err(|why| shared.no_seat(side, why))?;
        let header = shared.view.header();
        if header.bell.number.load(Ordering::Relaxed) & 1 == 1 {
            header.bell.number.fetch_add(1, Ordering::Relaxed);
        }
        seat.empty_bell();
        let taken = shared.taken_seats(&mut self.seats, Doubt::Some).map_err(|loss| shared.lost(loss))?;
        let shape = shared.view.geometry();
        let (stamped, largest) = (shared.view.is_stamped(), shared.view.max_message());
        let mut consumers = Vec::with_capacity(shape.senders() as usize);
        for lane in 0..shape.senders() {
            let map = shared.view.lane(lane);
            if !shared.view.is_spsc() {
                let control = map.control();
                // Also a lane that seems empty: its last sender may have died between publishing and storing `tail`, and
                // the receiver while it was leaving that lane out. Who takes a lane is counted before its bit is set.
                if control.producer.takeovers.load(Ordering::Relaxed) != 0 {
                    merge::show(&header.bitmap, lane);
                }
            }
            if shared.options.prefault {
                map.populate(shape, lane);
            }
            consumers.push(Consumer::take_over(map, stamped, largest));
        }
        let rule = match () {
            () if shared.view.is_spsc() => Rule::Single,
            () if stamped => Rule::Total,
            () => Rule::PerSender,
        };
        self.departed = header.visits.departed.load(Ordering::Relaxed);
        self.interrupter.seated(shared.semaphore(Side::Receiver));
        self.identity = seat.identity();
        self.notice = notice;
        self.seated = Some(Seated { merge: Merge::new(consumers, rule), seat });
        self.peers.attached(taken != [0; 4]);
        Ok(())
    }

    /// Sets what counts as the end of the stream, that is when `Disconnected` is reported.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sysring::{EndOfStream, RecvError};
    /// let (mut tx, mut rx) = sysring::mpsc().pair()?;
    /// rx.set_end(EndOfStream::AfterSenders(1));
    /// let mut other = tx.try_clone()?;
    /// tx.attach()?;
    /// other.send("a")?;
    /// drop(other); // one session has ended; `tx` goes on
    /// assert_eq!(rx.recv_vec()?, b"a");
    /// assert!(matches!(rx.recv(), Err(RecvError::Disconnected)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_end(&mut self, end: EndOfStream) {
        self.end = end;
        self.peers.suspect();
    }

    /// Sender sessions that have ended and that no receiver has reported as an end yet: asks the kernel. 0 if the
    /// kernel's answer cannot be had.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, mut rx) = sysring::mpsc().pair()?;
    /// rx.attach()?;
    /// tx.send("a")?;
    /// assert_eq!(rx.departures(), 0);
    /// drop(tx);
    /// assert_eq!(rx.departures(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn departures(&mut self) -> u64 {
        let visits = self.peers.visits_now(&self.shared);
        match self.count_senders(Doubt::Some) {
            Ok(alive) => visits.saturating_sub(alive).saturating_sub(self.departed),
            Err(_) => 0,
        }
    }

    /// Receives a message if there is one. Does not wait.
    ///
    /// # Errors
    /// [`TryRecvError::Empty`]; [`TryRecvError::Failed`] when waiting would not help.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// assert!(rx.try_recv().unwrap_err().is_empty());
    /// tx.send("a")?;
    /// assert_eq!(rx.try_recv()?.to_vec(), b"a");
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn try_recv(&mut self) -> Result<Message<'_>, TryRecvError> {
        if let Some(found) = self.take_at_once() {
            return Ok(self.guard(0, found));
        }
        let current = self.next(Until::Now).map_err(Halt::of_try)?;
        Ok(self.lend(current))
    }

    /// Receives a message; waits for one. It is released when the guard is dropped; a guard that is forgotten
    /// releases nothing, and its message comes again.
    ///
    /// # Errors
    /// [`RecvError::Disconnected`] when all senders have gone and everything is received; others as listed there.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// tx.send([1, 2, 3])?;
    /// let message = rx.recv()?;
    /// assert_eq!((message.len(), message.redelivered()), (3, false));
    /// std::mem::forget(message);
    /// assert!(rx.recv()?.redelivered());
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn recv(&mut self) -> Result<Message<'_>, RecvError> {
        if let Some(found) = self.take_at_once() {
            return Ok(self.guard(0, found));
        }
        self.await_keenly(Until::Done);
        if let Some(found) = self.take_at_once() {
            return Ok(self.guard(0, found));
        }
        let current = self.find(Until::Done).map_err(Halt::of_plain)?;
        Ok(self.lend(current))
    }

    /// Receives a message; waits at most `limit`.
    ///
    /// # Errors
    /// [`RecvTimeoutError::Timeout`]; [`RecvTimeoutError::Failed`] as [`Receiver::recv`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// tx.attach()?;
    /// assert!(rx.recv_timeout(Duration::from_millis(1)).unwrap_err().is_timeout());
    /// tx.send("a")?;
    /// assert_eq!(rx.recv_timeout(Duration::from_secs(5))?.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn recv_timeout(&mut self, limit: Duration) -> Result<Message<'_>, RecvTimeoutError> {
        let current = self.next(Until::timeout(limit)).map_err(Halt::of_timeout)?;
        Ok(self.lend(current))
    }

    /// Receives a message; waits until `deadline`.
    ///
    /// # Errors
    /// As [`Receiver::recv_timeout`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::{Duration, Instant};
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// let deadline = Instant::now() + Duration::from_secs(5);
    /// tx.send("a")?;
    /// tx.send("b")?;
    /// assert_eq!(rx.recv_deadline(deadline)?.to_vec(), b"a");
    /// assert_eq!(rx.recv_deadline(deadline)?.to_vec(), b"b"); // within the same five seconds
    /// # Ok(())
    /// # }
    /// ```
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<Message<'_>, RecvTimeoutError> {
        let current = self.next(Until::Deadline(deadline)).map_err(Halt::of_timeout)?;
        Ok(self.lend(current))
    }

    /// Copies a message into `buffer` and releases it, if there is one. Returns its length. Does not wait.
    ///
    /// # Errors
    /// As [`Receiver::try_recv`], and [`RecvError::TooSmall`]: then the message stays.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// let mut buffer = [0; 16];
    /// assert!(rx.try_recv_into(&mut buffer).unwrap_err().is_empty());
    /// tx.send("abc")?;
    /// let length = rx.try_recv_into(&mut buffer)?;
    /// assert_eq!(&buffer[..length], b"abc");
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn try_recv_into(&mut self, buffer: &mut [u8]) -> Result<usize, TryRecvError> {
        if let Some(length) = self.copy_at_once(buffer) {
            return Ok(length);
        }
        self.copy_next(buffer, Until::Now).map_err(Halt::of_try)
    }

    /// Copies a message into `buffer` and releases it; waits for one. Returns its length.
    ///
    /// # Errors
    /// As [`Receiver::recv`], and [`RecvError::TooSmall`]: then the message stays.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sysring::RecvError;
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// tx.send("abc")?;
    /// assert!(matches!(rx.recv_into(&mut [0; 2]), Err(RecvError::TooSmall { needed: 3, given: 2 })));
    /// let mut buffer = [0; 16];
    /// assert_eq!(rx.recv_into(&mut buffer)?, 3); // it stayed
    /// assert_eq!(&buffer[..3], b"abc");
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn recv_into(&mut self, buffer: &mut [u8]) -> Result<usize, RecvError> {
        if let Some(length) = self.copy_at_once(buffer) {
            return Ok(length);
        }
        self.copy_waiting(buffer)
    }

    /// Copies a message into `buffer` and releases it; waits at most `limit`.
    ///
    /// # Errors
    /// As [`Receiver::recv_timeout`], and [`RecvError::TooSmall`]: then the message stays.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// let mut buffer = [0; 16];
    /// tx.send("abc")?;
    /// assert_eq!(rx.recv_into_timeout(&mut buffer, Duration::from_secs(5))?, 3);
    /// assert!(rx.recv_into_timeout(&mut buffer, Duration::from_millis(1)).unwrap_err().is_timeout());
    /// # Ok(())
    /// # }
    /// ```
    pub fn recv_into_timeout(
        &mut self,
        buffer: &mut [u8],
        limit: Duration,
    ) -> Result<usize, RecvTimeoutError> {
        if let Some(length) = self.copy_at_once(buffer) {
            return Ok(length);
        }
        self.copy_next(buffer, Until::timeout(limit)).map_err(Halt::of_timeout)
    }

    /// Copies a message into `buffer` and releases it; waits until `deadline`.
    ///
    /// # Errors
    /// As [`Receiver::recv_into_timeout`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::{Duration, Instant};
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// let mut buffer = [0; 16];
    /// tx.send("abc")?;
    /// let deadline = Instant::now() + Duration::from_secs(5);
    /// assert_eq!(rx.recv_into_deadline(&mut buffer, deadline)?, 3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn recv_into_deadline(
        &mut self,
        buffer: &mut [u8],
        deadline: Instant,
    ) -> Result<usize, RecvTimeoutError> {
        if let Some(length) = self.copy_at_once(buffer) {
            return Ok(length);
        }
        self.copy_next(buffer, Until::Deadline(deadline)).map_err(Halt::of_timeout)
    }

    /// Copies a message into a new vector and releases it, if there is one. Does not wait.
    ///
    /// # Errors
    /// As [`Receiver::try_recv`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// tx.send("a")?;
    /// assert_eq!(rx.try_recv_vec()?, b"a");
    /// assert!(rx.try_recv_vec().unwrap_err().is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_recv_vec(&mut self) -> Result<Vec<u8>, TryRecvError> {
        self.next_vec(Until::Now).map_err(Halt::of_try)
    }

    /// Copies a message into a new vector and releases it; waits for one.
    ///
    /// # Errors
    /// As [`Receiver::recv`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// tx.send("a")?;
    /// assert_eq!(rx.recv_vec()?, b"a");
    /// # Ok(())
    /// # }
    /// ```
    pub fn recv_vec(&mut self) -> Result<Vec<u8>, RecvError> {
        self.next_vec(Until::Done).map_err(Halt::of_plain)
    }

    /// Copies a message into a new vector and releases it; waits at most `limit`.
    ///
    /// # Errors
    /// As [`Receiver::recv_timeout`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// tx.send("a")?;
    /// assert_eq!(rx.recv_vec_timeout(Duration::from_secs(5))?, b"a");
    /// assert!(rx.recv_vec_timeout(Duration::from_millis(1)).unwrap_err().is_timeout());
    /// # Ok(())
    /// # }
    /// ```
    pub fn recv_vec_timeout(&mut self, limit: Duration) -> Result<Vec<u8>, RecvTimeoutError> {
        self.next_vec(Until::timeout(limit)).map_err(Halt::of_timeout)
    }

    /// Copies a message into a new vector and releases it; waits until `deadline`.
    ///
    /// # Errors
    /// As [`Receiver::recv_timeout`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::{Duration, Instant};
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// tx.send("a")?;
    /// assert_eq!(rx.recv_vec_deadline(Instant::now() + Duration::from_secs(5))?, b"a");
    /// # Ok(())
    /// # }
    /// ```
    pub fn recv_vec_deadline(&mut self, deadline: Instant) -> Result<Vec<u8>, RecvTimeoutError> {
        self.next_vec(Until::Deadline(deadline)).map_err(Halt::of_timeout)
    }

    /// Receives what is there, at most `max` messages (at least 1), as one guard. Does not wait.
    ///
    /// # Errors
    /// As [`Receiver::try_recv`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// assert!(rx.try_recv_batch(10).unwrap_err().is_empty());
    /// tx.send("a")?;
    /// tx.send("b")?;
    /// assert_eq!(rx.try_recv_batch(10)?.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_recv_batch(&mut self, max: usize) -> Result<RecvBatch<'_>, TryRecvError> {
        self.fill_batch(max, Until::Now).map_err(Halt::of_try)?;
        Ok(RecvBatch { identity: self.identity, receiver: self })
    }

    /// Receives at least one message and what else is there, at most `max`, as one guard; waits for the first.
    ///
    /// All are released when the guard is dropped; if it is forgotten, all come again.
    ///
    /// # Errors
    /// As [`Receiver::recv`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// for word in ["a", "b", "c"] {
    ///     tx.send(word)?;
    /// }
    /// assert_eq!(rx.recv_batch(2)?.len(), 2);
    /// assert_eq!(rx.recv_batch(2)?.len(), 1); // what is there; it does not wait for more
    /// # Ok(())
    /// # }
    /// ```
    pub fn recv_batch(&mut self, max: usize) -> Result<RecvBatch<'_>, RecvError> {
        self.fill_batch(max, Until::Done).map_err(Halt::of_plain)?;
        Ok(RecvBatch { identity: self.identity, receiver: self })
    }

    /// As [`Receiver::recv_batch`]; waits for the first at most `limit`.
    ///
    /// # Errors
    /// As [`Receiver::recv_timeout`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// tx.send("a")?;
    /// assert_eq!(rx.recv_batch_timeout(10, Duration::from_secs(5))?.len(), 1);
    /// assert!(rx.recv_batch_timeout(10, Duration::from_millis(1)).unwrap_err().is_timeout());
    /// # Ok(())
    /// # }
    /// ```
    pub fn recv_batch_timeout(
        &mut self,
        max: usize,
        limit: Duration,
    ) -> Result<RecvBatch<'_>, RecvTimeoutError> {
        self.fill_batch(max, Until::timeout(limit)).map_err(Halt::of_timeout)?;
        Ok(RecvBatch { identity: self.identity, receiver: self })
    }

    /// As [`Receiver::recv_batch`]; waits for the first until `deadline`.
    ///
    /// # Errors
    /// As [`Receiver::recv_timeout`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::{Duration, Instant};
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// tx.send("a")?;
    /// tx.send("b")?;
    /// let deadline = Instant::now() + Duration::from_secs(5);
    /// assert_eq!(rx.recv_batch_deadline(10, deadline)?.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn recv_batch_deadline(
        &mut self,
        max: usize,
        deadline: Instant,
    ) -> Result<RecvBatch<'_>, RecvTimeoutError> {
        self.fill_batch(max, Until::Deadline(deadline)).map_err(Halt::of_timeout)?;
        Ok(RecvBatch { identity: self.identity, receiver: self })
    }

    /// Messages as vectors, each waited for; ends at `Disconnected`, and after any other error, which it gives.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// tx.send("a")?;
    /// tx.send("b")?;
    /// drop(tx);
    /// let all: Result<Vec<_>, _> = rx.iter().collect();
    /// assert_eq!(all?, [b"a", b"b"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn iter(&mut self) -> Iter<'_> {
        Iter { receiver: self, ended: false }
    }

    /// Messages as vectors, as long as there are any; ends at empty too. Does not wait.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// tx.send("a")?;
    /// tx.send("b")?;
    /// let there: Result<Vec<_>, _> = rx.try_iter().collect();
    /// assert_eq!(there?, [b"a", b"b"]); // ends though the sender is still there
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_iter(&mut self) -> TryIter<'_> {
        TryIter { receiver: self, ended: false }
    }

    /// Whether a sender is there now: asks the kernel. May change at any moment.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// tx.attach()?;
    /// assert!(rx.is_connected());
    /// drop(tx);
    /// assert!(!rx.is_connected());
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_connected(&mut self) -> bool {
        !self.shared.is_removed() && self.count_senders(Doubt::Some).is_ok_and(|alive| alive > 0)
    }

    /// Messages that wait. For monitoring: it may grow at any moment, and may be off by what a killed sender was
    /// just publishing.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// rx.attach()?;
    /// tx.send("a")?;
    /// tx.send("b")?;
    /// assert_eq!(rx.len(), 2);
    /// rx.recv()?;
    /// assert_eq!(rx.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn len(&self) -> u64 {
        let lanes = self.seated.iter().flat_map(|seated| seated.merge.lanes());
        lanes.fold(0, |sum, lane| sum.saturating_add(lane.depth().0))
    }

    /// Whether nothing waits, as far as the senders have noted. May become false at any moment.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// rx.attach()?;
    /// assert!(rx.is_empty());
    /// tx.send("a")?;
    /// assert!(!rx.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_empty(&self) -> bool {
        let mut lanes = self.seated.iter().flat_map(|seated| seated.merge.lanes());
        lanes.all(|lane| lane.depth().1 == 0)
    }

    /// Bytes of each lane.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (_tx, rx) = sysring::mpsc().capacity(64 << 10).pair()?;
    /// assert_eq!(rx.capacity(), 64 << 10);
    /// # Ok(())
    /// # }
    /// ```
    pub fn capacity(&self) -> u64 {
        self.shared.view.geometry().capacity()
    }

    /// Largest message in bytes.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (_tx, mut rx) = sysring::spsc().max_message(1000).pair()?;
    /// let mut buffer = vec![0; rx.max_message() as usize]; // large enough for every message
    /// assert_eq!(buffer.len(), 1000);
    /// assert!(rx.try_recv_into(&mut buffer).unwrap_err().is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub fn max_message(&self) -> u64 {
        self.shared.view.max_message()
    }

    /// A picture of the channel, of this moment.
    ///
    /// # Errors
    /// [`OpenErrorKind::Removed`](crate::OpenErrorKind::Removed).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (_tx, mut rx) = sysring::spsc().pair()?;
    /// assert!(!rx.stats()?.receiver.taken);
    /// rx.attach()?;
    /// assert_eq!(rx.stats()?.receiver.pid, Some(std::process::id() as i32));
    /// # Ok(())
    /// # }
    /// ```
    pub fn stats(&self) -> Result<Stats, OpenError> {
        stats::collect(&self.shared.view, &self.shared.address)
    }

    /// A switch that ends a wait of this handle from another thread.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sysring::RecvError;
    /// let (_tx, mut rx) = sysring::spsc().pair()?;
    /// let stop = rx.interrupter();
    /// std::thread::spawn(move || stop.interrupt());
    /// assert!(matches!(rx.recv(), Err(RecvError::Interrupted)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn interrupter(&self) -> Interrupter {
        self.interrupter.clone()
    }

    /// Gives in-place access to messages, as `&[u8]` into the segment.
    ///
    /// # Safety
    /// As long as the result lives: nobody, in this process or another, writes into the segment but through channel
    /// handles of this crate; nobody changes the values of the channel's semaphore set but this crate; this process
    /// does not leave its System V undo list or IPC namespace (`unshare`); and it does not use a message that it
    /// inherited through `fork`.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, rx) = sysring::spsc().pair()?;
    /// // SAFETY: only this process has the anonymous channel, and it does not fork.
    /// let mut rx = unsafe { rx.trust_peers() };
    /// tx.send("in place")?;
    /// assert!(rx.recv()?.starts_with(b"in")); // a `&[u8]`, nothing is copied
    /// # Ok(())
    /// # }
    /// ```
    #[expect(unsafe_code, reason = "the one promise that in-place access needs")]
    pub unsafe fn trust_peers(mut self) -> Trusted<Receiver> {
        self.trusts_peers = true;
        Trusted::new(self)
    }

    fn merge(&mut self) -> &mut Merge<LaneMap> {
        &mut self.seated.as_mut().expect("entered through next()").merge
    }

    /// Finds the next message, waiting as long as allowed; it is not taken yet.
    fn next(&mut self, until: Until) -> Result<Current, Halt> {
        self.await_keenly(until);
        self.find(until)
    }

    /// [`Receiver::next`] after [`Receiver::await_keenly`].
    fn find(&mut self, until: Until) -> Result<Current, Halt> {
        if self.identity != process::identity() {
            self.attach().map_err(|error| RecvError::Attach(Box::new(error)))?;
        }
        if self.lent {
            // A guard was forgotten: its messages were not released and come again.
            self.lent = false;
            self.rewind();
        }
        if let Some(error) = self.take_late() {
            return Err(error.into());
        }
        match self.look()? {
            Some(current) => Ok(current),
            None => self.wait_for_message(until),
        }
    }

    /// Takes back what was handed out and not released. It will be found again, and behind it the damage that is still to
    /// be told of.
    fn rewind(&mut self) {
        if let Some(RecvError::Corrupt(Corruption { lane, .. })) = self.late
            && self.merge().lane(lane).is_ahead()
        {
            self.late = None;
        }
        self.merge().rewind();
    }

    #[inline]
    fn look(&mut self) -> Result<Option<Current>, RecvError> {
        let header = self.shared.view.header();
        let words = merge::Shared { stamps: &header.stamps.word, bitmap: &header.bitmap };
        let merge = &mut self.seated.as_mut().expect("entered through next()").merge;
        match merge.next(words) {
            Next::Record(lane, found) => Ok(Some((lane, found))),
            Next::Empty => Ok(None),
            Next::Corrupt(lane, position) => {
                self.shared.view.count_damage();
                Err(RecvError::Corrupt(Corruption { lane, position }))
            }
        }
    }

    /// The first looks of a wait for an SPSC channel's next message, with as little as possible between the message and
    /// its receiver. Nothing is decided here.
    #[inline]
    fn await_keenly(&mut self, until: Until) {
        let Some(Seated { merge, .. }) = &mut self.seated else { return };
        let may_spin = self.shared.options.wait != WaitStrategy::Sleep && !matches!(until, Until::Now);
        if !process::is_surely(self.ready) || !may_spin || merge.single().is_published() {
            return;
        }
        if let Some(hang_back) = &mut self.hang_back {
            hang_back.caught_up(merge.received(), &mut RealClock);
        }
        let _ = (0..KEEN).any(|_| merge.single().is_published());
    }

    #[cold]
    fn wait_for_message(&mut self, until: Until) -> Result<Current, Halt> {
        if let Until::Now = until {
            if self.notice != self.shared.notice() {
                self.heed()?;
            }
            if self.peers.is_due(&self.shared)
                && let Some(current) = self.ask()?
            {
                return Ok(current);
            }
            return Err(Stop::Late);
        }
        if self.shared.options.wait != WaitStrategy::Sleep {
            if let Some(hang_back) = &mut self.hang_back
                && let Some(Seated { merge, .. }) = &self.seated
                && !merge.is_single()
            {
                hang_back.caught_up(merge.received(), &mut RealClock);
            }
            let mut backoff = Backoff::new(&mut self.habit);
            while backoff.spin() || self.shared.options.wait == WaitStrategy::Spin {
                if self.may_look()
                    && let Some(current) = self.look()?
                {
                    backoff.found(&mut self.habit);
                    return Ok(current);
                }
                if backoff.is_slow() {
                    self.still_waiting(until)?;
                    if self.peers.is_due(&self.shared)
                        && let Some(current) = self.ask()?
                    {
                        return Ok(current);
                    }
                }
            }
        }
        loop {
            if let Some(current) = self.sleep_for_message(until)? {
                return Ok(current);
            }
        }
    }

    /// Whether a look may find something: the shortest question there is, for a waiting SPSC receiver.
    #[inline(always)]
    fn may_look(&mut self) -> bool {
        let Some(Seated { merge, .. }) = &mut self.seated else { return true };
        !merge.is_single() || merge.single().is_published()
    }

    /// Whether there is a reason to stop waiting.
    fn still_waiting(&mut self, until: Until) -> Result<(), Halt> {
        if self.notice != self.shared.notice() {
            self.heed()?;
        }
        // After the interrupter was told of a new set, so that it rings there or is seen here.
        if self.interrupter.take() {
            return Err(RecvError::Interrupted.into());
        }
        if until.is_over() { Err(Stop::Late) } else { Ok(()) }
    }

    /// One sleep at most. `None`: look again.
    fn sleep_for_message(&mut self, until: Until) -> Result<Option<Current>, Halt> {
        if let Some(current) = self.look()? {
            return Ok(Some(current));
        }
        if self.peers.must_ask(&self.shared)
            && let Some(current) = self.ask()?
        {
            return Ok(Some(current));
        }
        self.still_waiting(until)?;
        let shared = Arc::clone(&self.shared);
        let (semaphore, barrier) = (shared.semaphore(Side::Receiver), self.barrier);
        let limit = until.left();
        let bell = &shared.view.header().bell;
        let slept =
            wait::sleep(&bell.number, &barrier, &bell.real_fences, &semaphore, limit, || match self.look() {
                Ok(Some(current)) => Some(Ok(current)),
                Err(error) => Some(Err(Stop::Failed(error))),
                Ok(None) => self.still_waiting(until).err().map(Err),
            });
        match slept {
            Slept::Found(found) => return found.map(Some),
            Slept::Woken { rung } => {
                if !rung {
                    let found = self.look();
                    match found {
                        Ok(Some(_)) => self.peers.wonder(),
                        _ => self.peers.suspect(),
                    }
                    return Ok(found?);
                }
            }
            Slept::Limit => self.peers.suspect(),
            Slept::Signal => {}
            Slept::Failed(errno) if is_gone(errno) => self.heed()?,
            Slept::Failed(errno) => {
                return Err(RecvError::System(SystemError { call: "semtimedop", errno }).into());
            }
        }
        Ok(None)
    }

    /// Asks the kernel for the senders. A message that appears meanwhile is returned instead of an end.
    fn ask(&mut self) -> Result<Option<Current>, RecvError> {
        let doubt = self.peers.asking(&self.shared);
        let due = self.peers.is_segment_due();
        if due && self.shared.is_segment_gone() {
            self.shared.find_set()?; // says why
        }
        let answer = self.shared.taken_seats(&mut self.seats, doubt);
        if answer.is_err() {
            self.peers.suspect(); // the question stays
        }
        let taken = answer?;
        let alive = count(&taken);
        if due {
            self.inspect(&taken)?;
        }
        let gone = self.peers.answer(&self.shared, alive);
        let departed = self.peers.departed(alive);
        if self.departed > self.peers.departed(0) {
            self.departed = departed; // more than ever came were reported: the header's words were played with
        }
        let ended = match self.end {
            EndOfStream::AllGone => gone,
            EndOfStream::AfterSenders(count) => {
                departed.saturating_sub(self.departed) >= count || self.peers.is_hopeless(&self.shared, alive)
            }
            EndOfStream::Never => false,
        };
        if ended {
            // The seats were free; whatever their holders published was published before that: look once more.
            if let Some(current) = self.look()? {
                return Ok(Some(current));
            }
            self.inspect(&taken)?;
            self.departed = departed;
            self.peers.suspect(); // the next call asks again, and at once
            self.shared.view.header().visits.departed.store(departed, Ordering::Relaxed);
            return Err(RecvError::Disconnected);
        }
        self.retire();
        Ok(None)
    }

    /// Looks for damage that no message shows, and mends what it can. `taken`: the seats that are.
    #[cold]
    fn inspect(&mut self, taken: &[u64; 4]) -> Result<(), RecvError> {
        if let Some(lane) = self.merge().lost() {
            self.lose(lane);
        } else if let Some((lane, position)) = self.merge().give_up_cut_off() {
            self.shared.view.count_damage();
            self.late = Some(RecvError::Corrupt(Corruption { lane, position }));
        }
        let Some(error) = self.take_late() else {
            let Some(Seated { merge, .. }) = &self.seated else { return Ok(()) };
            merge.restate(&self.shared.view.header().bitmap, taken);
            return Ok(());
        };
        self.peers.suspect(); // the question stays
        Err(error)
    }

    /// What is still to be said; whoever was evicted stays so.
    fn take_late(&mut self) -> Option<RecvError> {
        let error = self.late.take()?;
        self.late = Some(RecvError::Evicted).filter(|_| matches!(error, RecvError::Evicted));
        Some(error)
    }

    /// Reads all seats at once; counts the senders'.
    fn count_senders(&mut self, doubt: Doubt) -> Result<u64, RecvError> {
        Ok(count(&self.shared.taken_seats(&mut self.seats, doubt)?))
    }

    /// Stops looking at lanes whose sender has gone and that are drained.
    fn retire(&mut self) {
        let Some(Seated { merge, .. }) = &mut self.seated else { return };
        merge.insist();
        let (shared, seats) = (&*self.shared, &self.seats);
        merge.retire(&shared.view.header().bitmap, |lane| {
            let side = Side::Sender(lane);
            !seats.is_taken(lane) && shared.is_taken(side, Doubt::Some) == Ok(false)
        });
    }

    /// Takes a message and hands it out.
    fn lend(&mut self, (lane, found): Current) -> Message<'_> {
        self.merge().pass(lane, &found);
        self.guard(lane, found)
    }

    /// Hands out what was taken.
    #[inline(always)]
    fn guard(&mut self, lane: u32, found: Found) -> Message<'_> {
        self.merge().give(lane);
        (self.lent, self.ready, self.merging) = (true, NOBODY, NOBODY);
        Message { identity: self.identity, receiver: self, lent: Lent::new(lane, found) }
    }

    /// Takes a message of an SPSC channel, if nothing stands in the way. `None`: nothing was done.
    #[inline(always)]
    fn take_at_once(&mut self) -> Option<Found> {
        if !process::is_surely(self.ready) {
            return None;
        }
        self.seated.as_mut()?.merge.single().take_at_once::<false>(|| 0)
    }

    /// Takes a message that was copied, and releases it.
    #[inline]
    fn finish(&mut self, lane: u32, found: &Found) {
        self.merge().pass(lane, found);
        self.release(lane);
    }

    /// Releases everything taken of a lane and wakes its sender if that waits for the room.
    #[inline(always)]
    fn release(&mut self, lane: u32) {
        let merge = &mut self.seated.as_mut().expect("a message comes from a lane").merge;
        if merge.lane(lane).is_lost() {
            return self.lose(lane);
        }
        let upto = merge.release(lane);
        if !self.lent && self.late.is_none() {
            let way = if merge.is_single() { &mut self.ready } else { &mut self.merging };
            *way = self.identity;
        }
        self.peers.heard();
        self.ring(lane, upto);
    }

    /// The lane's number of receivers is not ours: another one has the seat, or somebody has played with that word.
    #[cold]
    fn lose(&mut self, lane: u32) {
        (self.ready, self.merging) = (NOBODY, NOBODY);
        let Seated { merge, seat } = self.seated.as_mut().expect("a message comes from a lane");
        // A successor claims the seat, and then takes over all lanes; one in this very process has the same claim.
        let succeeded =
            !seat.is_ours() || (!merge.is_single() && merge.lanes().iter().all(Consumer::is_lost));
        self.late = Some(if !succeeded {
            self.shared.view.count_damage();
            RecvError::Corrupt(Corruption { lane, position: merge.disown(lane) })
        } else {
            RecvError::Evicted
        });
    }

    /// Wakes the lane's sender if it sleeps for room up to that position.
    #[inline(always)]
    fn ring(&mut self, lane: u32, upto: u64) {
        let number = &self.map(lane).control().room.number;
        let real_fences = &self.shared.view.header().bell.real_fences;
        if wait::is_asleep(number, &self.barrier, real_fences) {
            self.ring_loudly(lane, upto);
        }
    }

    #[cold]
    fn ring_loudly(&mut self, lane: u32, upto: u64) {
        let rung = self.try_ring(lane, upto);
        if rung.is_err_and(is_gone) {
            self.ring_again(lane, upto);
        }
    }

    fn try_ring(&self, lane: u32, upto: u64) -> Result<bool, Errno> {
        let room = &self.map(lane).control().room;
        let real_fences = &self.shared.view.header().bell.real_fences;
        let worth = || upto >= room.want.load(Ordering::Relaxed);
        wait::ring(&room.number, &self.barrier, real_fences, worth, &self.shared.bell(Side::Sender(lane)))
    }

    /// The sleeper is on another set by now. If that cannot be found, the next call that waits says why.
    #[cold]
    fn ring_again(&mut self, lane: u32, upto: u64) {
        for _ in 0..ATTEMPTS {
            if self.heed().is_err() || !self.try_ring(lane, upto).is_err_and(is_gone) {
                break;
            }
        }
    }

    /// The set has changed, or the channel was removed.
    #[cold]
    fn heed(&mut self) -> Result<(), RecvError> {
        if let Some(Seated { seat, .. }) = &mut self.seated {
            self.notice = self.shared.keep_seat(seat)?;
            self.peers.suspect(); // a will may have gone with the old set
            self.interrupter.seated(self.shared.semaphore(Side::Receiver));
        }
        Ok(())
    }

    /// All of a copying receive of an SPSC channel, if nothing stands in the way. `None`: nothing was done.
    #[inline(always)]
    fn copy_at_once(&mut self, buffer: &mut [u8]) -> Option<usize> {
        if !process::is_surely(self.ready) {
            return None;
        }
        let consumer = self.seated.as_mut()?.merge.single();
        let length = consumer.receive_at_once::<false>(buffer, || 0)?;
        let real_fences = &self.shared.view.header().bell.real_fences;
        if wait::is_asleep(&consumer.lane().control().room.number, &self.barrier, real_fences) {
            let upto = consumer.released();
            self.ring_loudly(0, upto);
        }
        Some(length)
    }

    /// The same of an MPSC channel: out of line, since it costs more anyway.
    #[inline(never)]
    fn copy_merged_at_once(&mut self, buffer: &mut [u8]) -> Option<usize> {
        if !process::is_surely(self.merging) {
            return None;
        }
        let header = self.shared.view.header();
        let merge = &mut self.seated.as_mut()?.merge;
        let (lane, length) = merge.receive_at_once(&header.bitmap, buffer)?;
        let consumer = merge.lane(lane);
        if wait::is_asleep(&consumer.lane().control().room.number, &self.barrier, &header.bell.real_fences) {
            let upto = consumer.released();
            self.ring_loudly(lane, upto);
        }
        Some(length)
    }

    #[inline(never)]
    fn copy_waiting(&mut self, buffer: &mut [u8]) -> Result<usize, RecvError> {
        self.copy_next(buffer, Until::Done).map_err(Halt::of_plain)
    }

    #[inline(never)]
    fn copy_next(&mut self, buffer: &mut [u8], until: Until) -> Result<usize, Halt> {
        if let Some(length) = self.copy_merged_at_once(buffer) {
            return Ok(length);
        }
        self.await_keenly(until);
        if let Some(length) = self.copy_at_once(buffer) {
            return Ok(length);
        }
        let (lane, found) = self.find(until)?;
        if let Some(length) = self.copy_at_once(buffer) {
            return Ok(length);
        }
        let length = found.length as usize;
        let Some(target) = buffer.get_mut(..length) else {
            return Err(RecvError::TooSmall { needed: length, given: buffer.len() }.into());
        };
        self.map(lane).get(found.payload, 0, target);
        self.finish(lane, &found);
        Ok(length)
    }

    fn next_vec(&mut self, until: Until) -> Result<Vec<u8>, Halt> {
        let mut bytes = Vec::new();
        if let Some(found) = self.take_at_once() {
            if let Err(no_memory) = make_room(&mut bytes, &found) {
                self.merge().rewind(); // the message stays
                return Err(no_memory.into());
            }
            self.map(0).append(found.payload, found.length as usize, &mut bytes);
            self.release(0);
            return Ok(bytes);
        }
        let (lane, found) = self.next(until)?;
        make_room(&mut bytes, &found)?;
        self.map(lane).append(found.payload, found.length as usize, &mut bytes);
        self.finish(lane, &found);
        Ok(bytes)
    }

    #[inline(always)]
    fn map(&self, lane: u32) -> &LaneMap {
        self.seated.as_ref().expect("a message comes from a lane").merge.lane(lane).lane()
    }

    fn fill_batch(&mut self, max: usize, until: Until) -> Result<(), Halt> {
        let mut current = self.next(until)?;
        self.batch.clear();
        self.batch.reserve(max.min(RESERVED));
        (self.lent, self.ready, self.merging) = (true, NOBODY, NOBODY);
        loop {
            self.batch.push(Lent::new(current.0, current.1));
            let merge = &mut self.seated.as_mut().expect("entered through next()").merge;
            merge.pass(current.0, &current.1);
            if merge.is_single() {
                let consumer = merge.single();
                while self.batch.len() < max
                    && let Some(found) = consumer.take_at_once::<false>(|| 0)
                {
                    self.batch.push(Lent::new(0, found));
                }
            } else {
                let bitmap = &self.shared.view.header().bitmap;
                while self.batch.len() < max
                    && let Some((lane, found)) = merge.take_at_once(bitmap)
                {
                    self.batch.push(Lent::new(lane, found));
                }
            }
            if self.batch.len() >= max {
                break;
            }
            match self.look() {
                Ok(Some(next)) => current = next,
                Ok(None) => break,
                Err(error) => {
                    self.late = Some(error);
                    break;
                }
            }
        }
        let merge = &mut self.seated.as_mut().expect("entered through next()").merge;
        if merge.is_single() {
            merge.give(0);
        } else {
            self.batch.iter().for_each(|lent| merge.give(lent.lane));
        }
        Ok(())
    }

    fn release_batch(&mut self) {
        self.lent = false;
        let mut batch = core::mem::take(&mut self.batch);
        for Lent { lane, .. } in batch.drain(..) {
            if self.merge().lane(lane).is_ahead() {
                self.release(lane);
            } else if self.merge().is_single() {
                break;
            }
        }
        self.batch = batch;
    }

    /// Of the batch only the first `count`; the others will be found again.
    fn release_first(&mut self, count: usize) {
        if count >= self.batch.len() {
            return self.release_batch();
        }
        self.lent = false;
        let batch = core::mem::take(&mut self.batch);
        self.rewind();
        let mut damaged = None;
        for &Lent { lane, payload, length, .. } in &batch[..count] {
            if damaged == Some(lane) {
                continue;
            }
            if self.merge().lane(lane).is_lost() {
                self.lose(lane);
                if let Some(RecvError::Evicted) = self.late {
                    break;
                }
                damaged = Some(lane); // the others go on
                continue;
            }
            self.merge().pass_again(lane, payload, length);
            self.release(lane);
        }
        self.batch = batch;
    }

    pub(super) fn next_in_place(&mut self, until: Until) -> Result<Message<'_>, Halt> {
        assert!(self.trusts_peers, "{NO_PROMISE}");
        if let Some(found) = self.take_at_once() {
            return Ok(self.guard(0, found));
        }
        self.await_keenly(until);
        if let Some(found) = self.take_at_once() {
            return Ok(self.guard(0, found));
        }
        let current = self.find(until)?;
        Ok(self.lend(current))
    }
}

fn count(seats: &[u64; 4]) -> u64 {
    seats.iter().map(|word| u64::from(word.count_ones())).sum()
}

/// Room for a message. How long the largest is was decided by whoever made the channel.
fn make_room(bytes: &mut Vec<u8>, found: &Found) -> Result<(), RecvError> {
    bytes
        .try_reserve_exact(found.length as usize)
        .map_err(|_| RecvError::System(SystemError { call: "malloc", errno: Errno::ENOMEM }))
}

impl Halt {
    pub(super) fn of_try(self) -> TryRecvError {
        match self {
            Stop::Late => TryRecvError::Empty,
            Stop::Failed(error) => TryRecvError::Failed(error),
        }
    }

    pub(super) fn of_plain(self) -> RecvError {
        match self {
            Stop::Late => unreachable!("a plain call has no deadline"),
            Stop::Failed(error) => error,
        }
    }

    pub(super) fn of_timeout(self) -> RecvTimeoutError {
        match self {
            Stop::Late => RecvTimeoutError::Timeout,
            Stop::Failed(error) => RecvTimeoutError::Failed(error),
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.interrupter.left();
        self.shared.count_out(PeerSide::Receiver);
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("channel", &self.shared.address).finish_non_exhaustive()
    }
}

/// A received message; released when dropped.
///
/// Its bytes are copied out, because another process could write them at any time. In a forked child an
/// inherited message is void: dropping it releases nothing.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (mut tx, mut rx) = sysring::spsc().pair()?;
/// tx.send("header and body")?;
/// let message = rx.recv()?;
/// let mut header = [0; 6];
/// message.copy_to(&mut header);
/// assert_eq!(&header, b"header");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Message<'a> {
    receiver: &'a mut Receiver,
    lent: Lent,
    identity: u64,
}

/// A message of a [`RecvBatch`]; released with it.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (mut tx, mut rx) = sysring::spsc().pair()?;
/// tx.send("a")?;
/// tx.send("bc")?;
/// let batch = rx.recv_batch(10)?;
/// let lengths: Vec<_> = batch.iter().map(|message| message.len()).collect();
/// assert_eq!(lengths, [1, 2]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct BatchMessage<'a> {
    receiver: &'a Receiver,
    lent: &'a Lent,
}

macro_rules! content {
    ($name:ident) => {
        impl $name<'_> {
            /// Bytes of the payload.
            ///
            /// ```
            /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
            /// let (mut tx, mut rx) = sysring::spsc().pair()?;
            /// tx.send("abc")?;
            /// assert_eq!(rx.recv()?.len(), 3);
            /// # Ok(())
            /// # }
            /// ```
            #[inline]
            pub fn len(&self) -> usize {
                self.lent.length as usize
            }

            /// Whether the payload has no bytes.
            ///
            /// ```
            /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
            /// let (mut tx, mut rx) = sysring::spsc().pair()?;
            /// tx.send("")?; // an empty message is a message
            /// assert!(rx.recv()?.is_empty());
            /// # Ok(())
            /// # }
            /// ```
            pub fn is_empty(&self) -> bool {
                self.lent.length == 0
            }

            /// Number of the sender's lane. A lane has one sender at a time.
            ///
            /// ```
            /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
            /// let (mut tx, mut rx) = sysring::mpsc().pair()?;
            /// let mut other = tx.try_clone()?;
            /// tx.send("a")?;
            /// other.send("b")?;
            /// let batch = rx.recv_batch(2)?;
            /// let lanes: Vec<_> = batch.iter().map(|message| Some(message.lane())).collect();
            /// assert_eq!(lanes, [tx.lane(), other.lane()]);
            /// # Ok(())
            /// # }
            /// ```
            pub fn lane(&self) -> u32 {
                self.lent.lane
            }

            /// Whether it was handed out before, and perhaps worked on, by this receiver or one that died.
            ///
            /// ```
            /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
            /// let (mut tx, mut rx) = sysring::spsc().pair()?;
            /// tx.send("a")?;
            /// std::mem::forget(rx.recv()?); // never released, as if the receiver had been killed
            /// assert!(rx.recv()?.redelivered());
            /// # Ok(())
            /// # }
            /// ```
            pub fn redelivered(&self) -> bool {
                self.lent.redelivered
            }

            /// Copies the beginning of the payload, as much as both sides have. Returns how much.
            ///
            /// ```
            /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
            /// let (mut tx, mut rx) = sysring::spsc().pair()?;
            /// tx.send("abcdef")?;
            /// let mut buffer = [0; 4];
            /// assert_eq!(rx.recv()?.copy_to(&mut buffer), 4);
            /// assert_eq!(&buffer, b"abcd");
            /// # Ok(())
            /// # }
            /// ```
            #[inline]
            pub fn copy_to(&self, buffer: &mut [u8]) -> usize {
                let length = buffer.len().min(self.len());
                self.receiver.map(self.lent.lane).get(self.lent.payload, 0, &mut buffer[..length]);
                length
            }

            /// Fills `buffer` from `offset` of the payload on.
            ///
            /// # Panics
            /// If the payload ends before the buffer is full.
            ///
            /// ```
            /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
            /// let (mut tx, mut rx) = sysring::spsc().pair()?;
            /// tx.send("abcdef")?;
            /// let mut buffer = [0; 2];
            /// rx.recv()?.read_at(3, &mut buffer);
            /// assert_eq!(&buffer, b"de");
            /// # Ok(())
            /// # }
            /// ```
            pub fn read_at(&self, offset: usize, buffer: &mut [u8]) {
                let fits = offset.checked_add(buffer.len()).is_some_and(|end| end <= self.len());
                assert!(fits, "{} bytes at {offset} of a message of {}", buffer.len(), self.len());
                self.receiver.map(self.lent.lane).get_at(self.lent.payload, offset, buffer);
            }

            /// The payload as a new vector.
            ///
            /// ```
            /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
            /// let (mut tx, mut rx) = sysring::spsc().pair()?;
            /// tx.send("abc")?;
            /// assert_eq!(rx.recv()?.to_vec(), b"abc");
            /// # Ok(())
            /// # }
            /// ```
            pub fn to_vec(&self) -> Vec<u8> {
                let mut bytes = Vec::new();
                self.append_to(&mut bytes);
                bytes
            }

            /// Appends the payload to a vector.
            ///
            /// ```
            /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
            /// let (mut tx, mut rx) = sysring::spsc().pair()?;
            /// tx.send("ab")?;
            /// tx.send("cd")?;
            /// let mut bytes = Vec::new(); // one vector for all of the batch
            /// rx.recv_batch(2)?.iter().for_each(|message| message.append_to(&mut bytes));
            /// assert_eq!(bytes, b"abcd");
            /// # Ok(())
            /// # }
            /// ```
            pub fn append_to(&self, bytes: &mut Vec<u8>) {
                self.receiver.map(self.lent.lane).append(self.lent.payload, self.len(), bytes);
            }
        }
    };
}

content!(Message);
content!(BatchMessage);

impl Message<'_> {
    pub(super) fn place(&self) -> (&LaneMap, u64) {
        (self.receiver.map(self.lent.lane), self.lent.payload)
    }
}

impl Drop for Message<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.identity == process::identity() {
            self.receiver.lent = false;
            self.receiver.release(self.lent.lane);
        }
    }
}

/// Several messages in one guard; all are released when it is dropped.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (mut tx, mut rx) = sysring::spsc().pair()?;
/// tx.send("a")?;
/// tx.send("b")?;
/// let batch = rx.recv_batch(10)?;
/// assert_eq!(batch.len(), 2);
/// drop(batch); // releases both
/// assert!(tx.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RecvBatch<'a> {
    receiver: &'a mut Receiver,
    identity: u64,
}

impl RecvBatch<'_> {
    /// Number of messages, at least 1.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// tx.send("a")?;
    /// assert_eq!(rx.recv_batch(10)?.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    #[expect(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub fn len(&self) -> usize {
        self.receiver.batch.len()
    }

    /// The messages in order.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// tx.send("a")?;
    /// tx.send("b")?;
    /// let texts: Vec<_> = rx.recv_batch(10)?.iter().map(|message| message.to_vec()).collect();
    /// assert_eq!(texts, [b"a", b"b"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn iter(&self) -> impl ExactSizeIterator<Item = BatchMessage<'_>> {
        let receiver: &Receiver = self.receiver;
        receiver.batch.iter().map(move |lent| BatchMessage { receiver, lent })
    }

    /// Releases the first `count` messages of the batch; all, if it has no more. The others stay in the channel,
    /// each sender's in their order, and come again with [`BatchMessage::redelivered`] set: to this receiver, or to the next one. For
    /// whoever works a batch off and cannot finish it. Does not block.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// for text in ["a", "b", "c"] {
    ///     tx.send(text)?;
    /// }
    /// let batch = rx.recv_batch(10)?;
    /// batch.release_first(1); // "b" could not be written
    /// let again = rx.recv_batch(10)?;
    /// assert_eq!(again.len(), 2);
    /// assert!(again.iter().all(|message| message.redelivered()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn release_first(self, count: usize) {
        if self.identity == process::identity() {
            self.receiver.release_first(count);
        }
        core::mem::forget(self);
    }
}

impl Drop for RecvBatch<'_> {
    fn drop(&mut self) {
        if self.identity == process::identity() {
            self.receiver.release_batch();
        }
    }
}

/// See [`Receiver::iter`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (mut tx, mut rx) = sysring::spsc().pair()?;
/// tx.send("a")?;
/// drop(tx);
/// for bytes in rx.iter() {
///     assert_eq!(bytes?, b"a");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Iter<'a> {
    receiver: &'a mut Receiver,
    ended: bool,
}

impl Iterator for Iter<'_> {
    type Item = Result<Vec<u8>, RecvError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let item = self.receiver.recv_vec();
        self.ended = item.is_err();
        Some(item).filter(|item| !matches!(item, Err(RecvError::Disconnected)))
    }
}

/// See [`Receiver::try_iter`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (mut tx, mut rx) = sysring::spsc().pair()?;
/// tx.send("a")?;
/// assert_eq!(rx.try_iter().count(), 1);
/// assert_eq!(rx.try_iter().count(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TryIter<'a> {
    receiver: &'a mut Receiver,
    ended: bool,
}

impl Iterator for TryIter<'_> {
    type Item = Result<Vec<u8>, RecvError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        match self.receiver.try_recv_vec() {
            Ok(bytes) => Some(Ok(bytes)),
            Err(error) => {
                self.ended = true;
                match error {
                    TryRecvError::Empty => None,
                    TryRecvError::Failed(RecvError::Disconnected) => {
                        // An end that this iterator cannot tell from empty is still to be reported.
                        self.receiver.late = Some(RecvError::Disconnected);
                        (self.receiver.ready, self.receiver.merging) = (NOBODY, NOBODY);
                        None
                    }
                    TryRecvError::Failed(error) => Some(Err(error)),
                }
            }
        }
    }
}
