//! The sending end.

use core::cell::Cell;
use core::fmt;
use core::marker::PhantomData;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::interrupt::Interrupter;
use super::peers::Peers;
use super::shared::{Doubt, Loss, PeerSide, Shared, UNKNOWN, is_gone};
use super::stats::{self, Stats};
use super::trusted::NO_PROMISE;
use super::{Stop, Trusted, Until};
use crate::error::{
    Corruption, Fault, OpenError, OpenErrorKind, SendError, SendTimeoutError, SystemError, TrySendError,
};
use crate::lane::{Look, Producer, Reservation, Room};
use crate::merge;
use crate::segment::lane_view::{LaneMap, LaneView};
use crate::segment::seat::{NoSeat, Seat, Side};
use crate::sync::Ordering;
use crate::sys::process::{self, NOBODY};
use crate::sys::{Errno, sem};
use crate::wait::{self, Backoff, Barrier, Habit, Slept, WaitStrategy};

/// The sending end of a channel.
///
/// Belongs to one thread at a time (`Send`, not `Sync`). Not `Clone`, because a second sender needs a seat of its
/// own: see [`Sender::try_clone`]. Dropping it leaves the seat; what was sent stays.
///
/// In a forked child an inherited sender takes a seat of its own at its first use there; until then it does not
/// disturb the parent's.
///
/// A full lane makes [`Sender::send`] wait, [`Sender::send_timeout`] time out and [`Sender::try_send`] give the message
/// back: nothing is ever overwritten or dropped. When the receiver has gone, a channel that is not persistent
/// answers `Disconnected`; a persistent one keeps the messages for the next receiver.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (mut tx, mut rx) = sysring::spsc().pair()?;
/// tx.send("one")?;
/// drop(tx); // leaves the seat; what was sent stays
/// assert_eq!(rx.recv_vec()?, b"one");
/// # Ok(())
/// # }
/// ```
pub struct Sender {
    seated: Option<Seated>,
    /// Identity of the process that is seated; 0 = nobody is.
    identity: u64,
    shared: Arc<Shared>,
    /// `identity` while nothing but that stands in the way of the quick way of [`Sender::put_at_once`]; [`NOBODY`] else.
    ready: u64,
    /// Largest message, once more.
    largest: u64,
    /// The header's notice when the seat was last known to be held in the channel's set.
    notice: u64,
    barrier: Barrier,
    peers: Peers,
    habit: Habit,
    interrupter: Interrupter,
    /// Messages were published by a batch and nobody was rung for them yet.
    owes_ring: bool,
    /// The bell was rung on a channel that is not persistent: look at the receiver's seat at the next send.
    ask_next: bool,
    /// The promise of [`Sender::trust_peers`] was made for this handle.
    trusts_peers: bool,
    _not_sync: PhantomData<Cell<()>>,
}

/// A sender with a seat. The producer is the only one of its lane, because the seat is.
#[derive(Debug)]
struct Seated {
    producer: Producer<LaneMap>,
    seat: Seat,
}

type Halt = Stop<Fault>;

/// How often a bell is looked for on a new set.
const ATTEMPTS: u32 = 3;

impl Sender {
    /// A sender without a seat: it takes one at its first use.
    pub(super) fn unseated(shared: &Arc<Shared>) -> Sender {
        shared.count_in(PeerSide::Senders);
        Sender {
            seated: None,
            identity: 0,
            ready: NOBODY,
            largest: shared.view.max_message(),
            notice: UNKNOWN,
            barrier: Barrier::REAL,
            peers: Peers::new(shared, PeerSide::Receiver),
            habit: Habit::default(),
            interrupter: Interrupter::new(),
            owes_ring: false,
            ask_next: false,
            shared: Arc::clone(shared),
            trusts_peers: false,
            _not_sync: PhantomData,
        }
    }

    /// Takes the seat now, if the handle has none in this process. Does not block.
    ///
    /// Handles of anonymous channels, and all handles in a forked child, otherwise take it at their first use.
    ///
    /// # Errors
    /// [`OpenErrorKind::SeatTaken`] naming the process that holds it; [`OpenErrorKind::Removed`];
    /// [`OpenErrorKind::Corrupt`] if the lane is damaged.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, _rx) = sysring::spsc().pair()?;
    /// assert_eq!(tx.lane(), None); // no seat yet
    /// tx.attach()?;
    /// assert_eq!(tx.lane(), Some(0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn attach(&mut self) -> Result<(), OpenError> {
        if self.identity == process::identity() {
            return Ok(());
        }
        self.seated = None; // in a forked child this leaves the parent's seat alone
        (self.identity, self.ready) = (0, NOBODY);
        let shared = &*self.shared;
        if shared.is_removed() {
            return Err(shared.lost(Loss::Removed));
        }
        if !shared.is_here() {
            return Err(shared.lost(Loss::Evicted));
        }
        self.barrier = shared.barrier();
        let notice = shared.settled_notice();
        let stamped = shared.view.is_stamped();
        let mut refused = None;
        for lane in 0..shared.view.geometry().senders() {
            let side = Side::Sender(lane);
            // A taken seat is seen without trying: most lanes of a busy channel are.
            let known_taken = matches!(sem::value(shared.set().id, side.alive()), Ok(1..));
            let seat = match if known_taken { Err(Ok(NoSeat::Taken(0))) } else { shared.take(side) } {
                Ok(seat) => seat,
                Err(Ok(NoSeat::Taken(_))) => {
                    refused.get_or_insert(side);
                    continue;
                }
                Err(failed) => return Err(shared.no_seat(side, failed)),
            };
            let map = shared.view.lane(lane);
            let number = &map.control().room.number;
            if number.load(Ordering::Relaxed) & 1 == 1 {
                number.fetch_add(1, Ordering::Relaxed);
            }
            seat.empty_bell();
            if shared.options.prefault {
                map.populate(shared.view.geometry(), lane);
            }
            let Some(producer) = Producer::take_over(map, stamped) else {
                shared.view.count_damage();
                continue;
            };
            if !shared.view.is_spsc() {
                merge::show(&shared.view.header().bitmap, lane);
            }
            self.interrupter.seated(shared.semaphore(side));
            self.identity = seat.identity();
            self.ready = if self.ask_next { NOBODY } else { self.identity };
            self.notice = notice;
            self.seated = Some(Seated { producer, seat });
            self.peers.attached(shared.is_taken(Side::Receiver, Doubt::Some).unwrap_or(false));
            return Ok(());
        }
        match refused {
            Some(side) => {
                let holder = sem::last_pid(shared.set().id, side.alive()).unwrap_or(0);
                Err(shared.no_seat(side, Ok(NoSeat::Taken(holder))))
            }
            None => {
                Err(OpenError::new(OpenErrorKind::Corrupt, &shared.address, "every free lane is damaged")
                    .with_hint("remove the channel and make it anew"))
            }
        }
    }

    /// Another sender of the same channel, with a seat of its own. Does not block.
    ///
    /// # Errors
    /// As [`Sender::attach`]; an SPSC channel has one seat only.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, mut rx) = sysring::mpsc().pair()?;
    /// let mut other = tx.try_clone()?;
    /// tx.send("first")?;
    /// other.send("second")?;
    /// assert_eq!(rx.recv_vec()?, b"first");
    /// assert_eq!(rx.recv_vec()?, b"second");
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_clone(&self) -> Result<Sender, OpenError> {
        let mut clone = Sender::unseated(&self.shared);
        clone.attach()?;
        Ok(clone)
    }

    /// Sends a message if there is room now. Does not wait.
    ///
    /// # Errors
    /// [`TrySendError::Full`] with the message; [`TrySendError::Failed`] when waiting would not help.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, mut rx) = sysring::spsc().capacity(4096).pair()?;
    /// while tx.try_send([7; 56]).is_ok() {}
    /// assert!(tx.try_send([7; 56]).unwrap_err().is_full());
    /// rx.recv()?; // dropping the message releases its room
    /// tx.try_send([8; 56])?;
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn try_send<T: AsRef<[u8]>>(&mut self, message: T) -> Result<(), TrySendError<T>> {
        if self.put_at_once(message.as_ref()) {
            self.ring();
            return Ok(());
        }
        match self.put(message.as_ref(), Until::Now, true) {
            Ok(()) => Ok(()),
            Err(halt) => Err(halt.of_try(message)),
        }
    }

    /// Sends a message; waits for room.
    ///
    /// When it returns `Ok` the message is in the channel, whatever happens to this process afterwards.
    ///
    /// # Errors
    /// [`SendError`] with the message; see [`Fault`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, mut rx) = sysring::spsc().capacity(4096).pair()?;
    /// tx.send("text")?;
    /// assert_eq!(rx.recv_vec()?, b"text");
    /// let error = tx.send(vec![0; 5000]).unwrap_err(); // more than half of the lane
    /// assert_eq!(error.into_inner().len(), 5000);
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn send<T: AsRef<[u8]>>(&mut self, message: T) -> Result<(), SendError<T>> {
        if self.put_at_once(message.as_ref()) {
            self.ring();
            return Ok(());
        }
        match self.put(message.as_ref(), Until::Done, true) {
            Ok(()) => Ok(()),
            Err(halt) => Err(halt.of_plain(message)),
        }
    }

    /// Sends a message; waits for room at most `limit`.
    ///
    /// # Errors
    /// [`SendTimeoutError::Timeout`] with the message; [`SendTimeoutError::Failed`] as [`Sender::send`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// let (mut tx, _rx) = sysring::spsc().capacity(4096).pair()?;
    /// while tx.try_send([7; 56]).is_ok() {}
    /// let error = tx.send_timeout([7; 56], Duration::from_millis(1)).unwrap_err();
    /// assert!(error.is_timeout());
    /// assert_eq!(error.into_inner(), [7; 56]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn send_timeout<T: AsRef<[u8]>>(
        &mut self,
        message: T,
        limit: Duration,
    ) -> Result<(), SendTimeoutError<T>> {
        if self.put_at_once(message.as_ref()) {
            self.ring();
            return Ok(());
        }
        match self.put(message.as_ref(), Until::timeout(limit), true) {
            Ok(()) => Ok(()),
            Err(halt) => Err(halt.of_timeout(message)),
        }
    }

    /// Sends a message; waits for room until `deadline`.
    ///
    /// # Errors
    /// As [`Sender::send_timeout`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::{Duration, Instant};
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// let deadline = Instant::now() + Duration::from_secs(5);
    /// tx.send_deadline("one", deadline)?;
    /// tx.send_deadline("two", deadline)?; // both within the same five seconds
    /// assert_eq!(rx.recv_batch(10)?.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn send_deadline<T: AsRef<[u8]>>(
        &mut self,
        message: T,
        deadline: Instant,
    ) -> Result<(), SendTimeoutError<T>> {
        if self.put_at_once(message.as_ref()) {
            self.ring();
            return Ok(());
        }
        match self.put(message.as_ref(), Until::Deadline(deadline), true) {
            Ok(()) => Ok(()),
            Err(halt) => Err(halt.of_timeout(message)),
        }
    }

    /// Reserves room for a message of `len` bytes, to be filled piece by piece. Does not wait.
    ///
    /// # Errors
    /// As [`Sender::try_send`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, _rx) = sysring::spsc().capacity(4096).pair()?;
    /// while tx.try_send([7; 56]).is_ok() {}
    /// assert!(tx.try_reserve(56).unwrap_err().is_full());
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_reserve(&mut self, len: usize) -> Result<Slot<'_>, TrySendError<()>> {
        self.slot(len, Until::Now).map_err(|halt| halt.of_try(()))
    }

    /// Reserves room for a message of `len` bytes; waits for it.
    ///
    /// Nothing is visible to the receiver before [`Slot::commit`]; dropping the slot aborts.
    ///
    /// # Errors
    /// As [`Sender::send`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// let mut slot = tx.reserve(64)?;
    /// slot.write(b"piece by ")?;
    /// slot.write(b"piece")?;
    /// slot.truncate(14);
    /// slot.commit()?;
    /// drop(tx.reserve(10)?); // aborted
    /// assert_eq!(rx.recv_vec()?, b"piece by piece");
    /// assert!(rx.try_recv().is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn reserve(&mut self, len: usize) -> Result<Slot<'_>, SendError<()>> {
        self.slot(len, Until::Done).map_err(|halt| halt.of_plain(()))
    }

    /// Reserves room; waits for it at most `limit`.
    ///
    /// # Errors
    /// As [`Sender::send_timeout`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// let mut slot = tx.reserve_timeout(2, Duration::from_secs(5))?;
    /// slot.write(b"ok")?;
    /// slot.commit()?;
    /// assert_eq!(rx.recv_vec()?, b"ok");
    /// # Ok(())
    /// # }
    /// ```
    pub fn reserve_timeout(&mut self, len: usize, limit: Duration) -> Result<Slot<'_>, SendTimeoutError<()>> {
        self.slot(len, Until::timeout(limit)).map_err(|halt| halt.of_timeout(()))
    }

    /// Reserves room; waits for it until `deadline`.
    ///
    /// # Errors
    /// As [`Sender::send_timeout`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Instant;
    /// let (mut tx, _rx) = sysring::spsc().capacity(4096).pair()?;
    /// while tx.try_send([7; 56]).is_ok() {}
    /// assert!(tx.reserve_deadline(56, Instant::now()).unwrap_err().is_timeout());
    /// # Ok(())
    /// # }
    /// ```
    pub fn reserve_deadline(
        &mut self,
        len: usize,
        deadline: Instant,
    ) -> Result<Slot<'_>, SendTimeoutError<()>> {
        self.slot(len, Until::Deadline(deadline)).map_err(|halt| halt.of_timeout(()))
    }

    /// Begins a batch: messages are published one by one, the receiver is woken once, at the end and before every
    /// wait of the batch itself.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// let mut batch = tx.batch();
    /// for number in 0..100u32 {
    ///     batch.send(number.to_le_bytes())?;
    /// }
    /// batch.finish();
    /// assert_eq!(rx.recv_batch(1000)?.len(), 100);
    /// # Ok(())
    /// # }
    /// ```
    pub fn batch(&mut self) -> SendBatch<'_> {
        SendBatch { sender: self }
    }

    /// Whether the receiver is there now: asks the kernel. A receiver that comes and goes may make it change at any
    /// moment.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// assert!(!tx.is_connected()); // the receiver has no seat yet
    /// rx.attach()?;
    /// assert!(tx.is_connected());
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_connected(&mut self) -> bool {
        !self.shared.is_removed() && self.shared.is_taken(Side::Receiver, Doubt::Some).unwrap_or(false)
    }

    /// Messages of this sender's lane that were not released yet. For monitoring: it may change at any moment, and
    /// may be off by what a killed predecessor was just publishing.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// tx.send("a")?;
    /// tx.send("b")?;
    /// assert_eq!(tx.len(), 2);
    /// drop(rx.recv_batch(2)?); // releases both
    /// assert_eq!(tx.len(), 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn len(&self) -> u64 {
        self.seated.as_ref().map_or(0, |seated| seated.producer.depth().0)
    }

    /// Whether everything sent in this lane was released. True may become false only by this sender.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// tx.send("a")?;
    /// assert!(!tx.is_empty());
    /// rx.recv()?; // dropping the message releases it
    /// assert!(tx.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_empty(&self) -> bool {
        self.seated.as_ref().is_none_or(|seated| seated.producer.depth().1 == 0)
    }

    /// Bytes of the lane.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (tx, _rx) = sysring::spsc().capacity(5000).pair()?;
    /// assert_eq!(tx.capacity(), 8192); // a power of two
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
    /// let (tx, _rx) = sysring::spsc().capacity(4096).pair()?;
    /// assert_eq!(tx.max_message(), 4096 / 2 - 16);
    /// # Ok(())
    /// # }
    /// ```
    pub fn max_message(&self) -> u64 {
        self.shared.view.max_message()
    }

    /// Number of this sender's lane; `None` before it has a seat.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, mut rx) = sysring::mpsc().pair()?;
    /// assert_eq!(tx.lane(), None);
    /// tx.send("a")?; // takes the seat
    /// assert_eq!(tx.lane(), Some(rx.recv()?.lane()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn lane(&self) -> Option<u32> {
        match self.seated.as_ref()?.seat.side() {
            Side::Sender(lane) => Some(lane),
            Side::Receiver => None,
        }
    }

    /// A picture of the channel, of this moment.
    ///
    /// # Errors
    /// [`OpenErrorKind::Removed`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, _rx) = sysring::spsc().pair()?;
    /// tx.send("a")?;
    /// let lane = tx.stats()?.lanes[0];
    /// assert_eq!((lane.sent, lane.sent_bytes, lane.messages), (1, 1, 1));
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
    /// use sysring::Fault;
    /// let (mut tx, _rx) = sysring::spsc().capacity(4096).pair()?;
    /// while tx.try_send([7; 56]).is_ok() {}
    /// let stop = tx.interrupter();
    /// std::thread::spawn(move || stop.interrupt());
    /// assert!(matches!(tx.send([7; 56]).unwrap_err().fault(), Fault::Interrupted));
    /// # Ok(())
    /// # }
    /// ```
    pub fn interrupter(&self) -> Interrupter {
        self.interrupter.clone()
    }

    /// Gives in-place access to slots, as `&mut [u8]` into the segment.
    ///
    /// # Safety
    /// As long as the result lives: nobody, in this process or another, writes into the segment but through channel
    /// handles of this crate; nobody changes the values of the channel's semaphore set but this crate; this process
    /// does not leave its System V undo list or IPC namespace (`unshare`); and it does not use a slot that it
    /// inherited through `fork`.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (tx, mut rx) = sysring::spsc().pair()?;
    /// // SAFETY: only this process has the anonymous channel, and it does not fork.
    /// let mut tx = unsafe { tx.trust_peers() };
    /// let mut frame = tx.reserve(4)?;
    /// frame.fill(b'x');
    /// frame.commit()?;
    /// assert_eq!(rx.recv_vec()?, b"xxxx");
    /// # Ok(())
    /// # }
    /// ```
    #[expect(unsafe_code, reason = "the one promise that in-place access needs")]
    pub unsafe fn trust_peers(mut self) -> Trusted<Sender> {
        self.trusts_peers = true;
        Trusted::new(self)
    }

    /// All of a send but the ring, if nothing stands in the way. False: nothing was done.
    #[inline(always)]
    fn put_at_once(&mut self, bytes: &[u8]) -> bool {
        if !process::is_surely(self.ready) || bytes.len() as u64 > self.largest {
            return false;
        }
        let header = self.shared.view.header();
        let Some(Seated { producer, .. }) = &mut self.seated else { return false };
        self.notice == header.bell.notice.load(Ordering::Relaxed)
            && producer.send_at_once(bytes, &header.stamps.word)
    }

    /// Room, copy, publish, ring.
    #[inline(never)]
    fn put(&mut self, bytes: &[u8], until: Until, ring: bool) -> Result<(), Halt> {
        let reservation = self.room(bytes.len() as u64, until)?;
        let seated = self.seated.as_mut().expect("room was found in its lane");
        seated.producer.fill(&reservation, 0, bytes);
        self.publish(reservation, bytes.len() as u64, ring);
        Ok(())
    }

    #[inline]
    fn publish(&mut self, reservation: Reservation, length: u64, ring: bool) {
        let seated = self.seated.as_mut().expect("a reservation comes from a lane");
        seated.producer.commit(reservation, length, &self.shared.view.header().stamps.word);
        if ring {
            self.ring();
        } else {
            self.owes_ring = true;
        }
    }

    /// Wakes the receiver if it sleeps.
    #[inline(always)]
    fn ring(&mut self) {
        let bell = &self.shared.view.header().bell;
        if wait::is_asleep(&bell.number, &self.barrier, &bell.real_fences) {
            self.ring_loudly();
        }
    }

    #[cold]
    fn ring_loudly(&mut self) {
        let rung = self.try_ring();
        if rung != Ok(false) {
            self.rung(rung);
        }
    }

    fn try_ring(&self) -> Result<bool, Errno> {
        let bell = &self.shared.view.header().bell;
        wait::ring(&bell.number, &self.barrier, &bell.real_fences, || true, &self.shared.bell(Side::Receiver))
    }

    fn rung(&mut self, mut rung: Result<bool, Errno>) {
        if !self.shared.view.is_persistent() {
            (self.ask_next, self.ready) = (true, NOBODY);
        }
        // The sleeper is on another set by now. If that cannot be found, the next call that waits says why.
        for _ in 0..ATTEMPTS {
            if !rung.is_err_and(is_gone) || self.heed().is_err() {
                break;
            }
            rung = self.try_ring();
        }
    }

    /// The set has changed, or the channel was removed.
    #[cold]
    fn heed(&mut self) -> Result<(), Loss> {
        if let Some(Seated { seat, .. }) = &mut self.seated {
            self.notice = self.shared.keep_seat(seat)?;
            self.peers.suspect(); // a will may have gone with the old set
            self.interrupter.seated(self.shared.semaphore(seat.side()));
        }
        Ok(())
    }

    fn slot(&mut self, len: usize, until: Until) -> Result<Slot<'_>, Halt> {
        let reservation = self.room(len as u64, until)?;
        Ok(Slot { identity: self.identity, reservation, length: len, written: 0, sender: self })
    }

    /// Finds room, waiting as long as allowed.
    #[inline]
    fn room(&mut self, length: u64, until: Until) -> Result<Reservation, Halt> {
        if self.identity != process::identity() {
            self.attach().map_err(|error| Fault::Attach(Box::new(error)))?;
        }
        if self.notice != self.shared.notice() {
            self.heed().map_err(Fault::from)?;
        }
        let max = self.shared.view.max_message();
        if length > max {
            return Err(Fault::TooLong { len: length, max }.into());
        }
        if self.ask_next && self.peers.is_due(&self.shared) {
            self.ask()?; // while it fails, every send asks
            (self.ask_next, self.ready) = (false, self.identity);
        }
        let seated = self.seated.as_mut().expect("attached above");
        match seated.producer.reserve(length, Look::Batched) {
            Room::Ready(reservation) => Ok(reservation),
            _ => self.wait_for_room(length, until),
        }
    }

    /// One exact look for room. `Err(position)`: not before everything in front of it was released.
    fn look(&mut self, length: u64, how: Look) -> Result<Result<Reservation, u64>, Fault> {
        let Seated { producer, seat } = self.seated.as_mut().expect("attached by room()");
        match producer.reserve(length, how) {
            Room::Ready(reservation) => Ok(Ok(reservation)),
            Room::Full { until } => Ok(Err(until)),
            // Evicted, somebody else's claim would be there.
            Room::Lost if !seat.is_ours() => Err(Fault::Evicted),
            Room::Corrupt | Room::Lost => Err(self.condemn()),
        }
    }

    /// Sends nothing more in this lane.
    #[cold]
    fn condemn(&mut self) -> Fault {
        let Seated { producer, seat } = self.seated.as_mut().expect("who has met damage is attached");
        producer.condemn();
        let Side::Sender(lane) = seat.side() else { unreachable!("a sender sits on a sender's seat") };
        let position = producer.position();
        self.shared.view.count_damage();
        Fault::Corrupt(Corruption { lane, position })
    }

    #[cold]
    fn wait_for_room(&mut self, length: u64, until: Until) -> Result<Reservation, Halt> {
        if self.owes_ring {
            self.owes_ring = false;
            self.ring();
        }
        if let Ok(reservation) = self.look(length, Look::Exact)? {
            return Ok(reservation);
        }
        if let Until::Now = until {
            if self.peers.is_due(&self.shared) {
                self.ask()?;
            }
            return Err(Stop::Late);
        }
        if self.shared.options.wait != WaitStrategy::Sleep {
            let mut backoff = Backoff::new(&mut self.habit);
            while backoff.spin() || self.shared.options.wait == WaitStrategy::Spin {
                if let Ok(reservation) = self.look(length, Look::Batched)? {
                    backoff.found(&mut self.habit);
                    return Ok(reservation);
                }
                if backoff.is_slow() {
                    self.still_waiting(until)?;
                    if self.peers.is_due(&self.shared) {
                        self.ask()?;
                        // What was released and not given back in bulk counts too.
                        if let Ok(reservation) = self.look(length, Look::Exact)? {
                            return Ok(reservation);
                        }
                    }
                }
            }
        }
        loop {
            if let Some(reservation) = self.sleep_for_room(length, until)? {
                return Ok(reservation);
            }
        }
    }

    /// Whether there is a reason to stop waiting.
    fn still_waiting(&mut self, until: Until) -> Result<(), Halt> {
        if self.notice != self.shared.notice() {
            self.heed().map_err(Fault::from)?;
        }
        // After the interrupter was told of a new set, so that it rings there or is seen here.
        if self.interrupter.take() {
            return Err(Fault::Interrupted.into());
        }
        if until.is_over() { Err(Stop::Late) } else { Ok(()) }
    }

    /// One sleep at most. `None`: look again.
    fn sleep_for_room(&mut self, length: u64, until: Until) -> Result<Option<Reservation>, Halt> {
        let behind = match self.look(length, Look::Exact)? {
            Ok(reservation) => return Ok(Some(reservation)),
            Err(position) => position,
        };
        if self.peers.must_ask(&self.shared) {
            self.ask()?;
        }
        self.still_waiting(until)?;
        let shared = Arc::clone(&self.shared);
        let seated = self.seated.as_ref().expect("attached by room()");
        let (map, side) = (seated.producer.lane().clone(), seated.seat.side());
        let room = &map.control().room;
        room.want.store(behind, Ordering::Relaxed); // see wait::sleep
        let (semaphore, barrier) = (shared.semaphore(side), self.barrier);
        let limit = until.left();
        let real_fences = &shared.view.header().bell.real_fences;
        let slept = wait::sleep(&room.number, &barrier, real_fences, &semaphore, limit, || {
            match self.look(length, Look::Exact) {
                Ok(Ok(reservation)) => Some(Ok(reservation)),
                Err(fault) => Some(Err(Stop::Failed(fault))),
                Ok(Err(_)) => self.still_waiting(until).err().map(Err),
            }
        });
        match slept {
            Slept::Found(found) => return found.map(Some),
            Slept::Woken { rung } => {
                if !rung {
                    let found = self.look(length, Look::Exact);
                    match found {
                        Ok(Ok(_)) => self.peers.wonder(),
                        _ => self.peers.suspect(),
                    }
                    return Ok(found?.ok());
                }
            }
            Slept::Limit => self.peers.suspect(),
            Slept::Signal => {}
            Slept::Failed(errno) if is_gone(errno) => self.heed().map_err(Fault::from)?,
            Slept::Failed(errno) => {
                return Err(Fault::System(SystemError { call: "semtimedop", errno }).into());
            }
        }
        Ok(None)
    }

    /// Asks the kernel for the receiver.
    fn ask(&mut self) -> Result<(), Fault> {
        let doubt = self.peers.asking(&self.shared);
        if self.peers.is_segment_due() {
            if self.shared.is_segment_gone() {
                self.shared.find_set()?; // says why
            }
            if self.seated.as_ref().is_some_and(|seated| seated.producer.is_cut_off()) {
                self.peers.suspect(); // the question stays
                return Err(self.condemn());
            }
        }
        let answer = self.shared.is_taken(Side::Receiver, doubt);
        if answer.is_err() {
            self.peers.suspect(); // the question stays
        }
        let alive = answer?;
        if self.peers.answer(&self.shared, alive.into()) && !self.shared.view.is_persistent() {
            self.peers.suspect(); // the next call asks again, and at once
            return Err(Fault::Disconnected);
        }
        Ok(())
    }

    pub(super) fn reserve_in_place(&mut self, len: usize, until: Until) -> Result<Reservation, Halt> {
        assert!(self.trusts_peers, "{NO_PROMISE}");
        self.room(len as u64, until)
    }

    pub(super) fn reserved_lane(&self, reservation: &Reservation) -> (&LaneMap, u64) {
        let producer = &self.seated.as_ref().expect("a reservation comes from a lane").producer;
        (producer.lane(), producer.payload(reservation))
    }

    /// Publishes a reserved slot.
    pub(super) fn commit(
        &mut self,
        reservation: Reservation,
        length: usize,
        identity: u64,
    ) -> Result<(), SendError<()>> {
        if identity != process::identity() {
            return Err(SendError::new((), Fault::Forked));
        }
        if self.notice != self.shared.notice() {
            self.heed().map_err(|loss| SendError::new((), loss.into()))?;
        }
        if self.seated.as_ref().is_none_or(|seated| seated.producer.is_lost()) {
            return Err(SendError::new((), Fault::Evicted));
        }
        self.publish(reservation, length as u64, true);
        Ok(())
    }

    pub(super) fn identity(&self) -> u64 {
        self.identity
    }
}

impl Halt {
    pub(super) fn of_try<T>(self, message: T) -> TrySendError<T> {
        match self {
            Stop::Late => TrySendError::Full(message),
            Stop::Failed(fault) => TrySendError::Failed(SendError::new(message, fault)),
        }
    }

    pub(super) fn of_plain<T>(self, message: T) -> SendError<T> {
        match self {
            Stop::Late => unreachable!("a plain call has no deadline"),
            Stop::Failed(fault) => SendError::new(message, fault),
        }
    }

    pub(super) fn of_timeout<T>(self, message: T) -> SendTimeoutError<T> {
        match self {
            Stop::Late => SendTimeoutError::Timeout(message),
            Stop::Failed(fault) => SendTimeoutError::Failed(SendError::new(message, fault)),
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.interrupter.left();
        self.shared.count_out(PeerSide::Senders);
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("channel", &self.shared.address)
            .field("lane", &self.lane())
            .finish_non_exhaustive()
    }
}

/// Room reserved for one message. Nothing is visible before [`Slot::commit`]; dropping it aborts.
///
/// In a forked child an inherited slot is void: commit fails with [`Fault::Forked`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::io::Write;
/// let (mut tx, mut rx) = sysring::spsc().pair()?;
/// let mut slot = tx.reserve(8)?;
/// write!(slot, "{:>8}", 42)?;
/// slot.commit()?;
/// assert_eq!(rx.recv_vec()?, b"      42");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Slot<'a> {
    sender: &'a mut Sender,
    reservation: Reservation,
    length: usize,
    written: usize,
    identity: u64,
}

impl Slot<'_> {
    /// Bytes of the message as it would be committed now.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, _rx) = sysring::spsc().pair()?;
    /// let mut slot = tx.reserve(64)?;
    /// assert_eq!(slot.len(), 64);
    /// slot.truncate(14);
    /// assert_eq!(slot.len(), 14);
    /// # Ok(())
    /// # }
    /// ```
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether the message would be empty.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// let slot = tx.reserve(0)?;
    /// assert!(slot.is_empty());
    /// slot.commit()?; // an empty message is a message
    /// assert_eq!(rx.recv()?.len(), 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Writes the next bytes, behind those written by earlier calls.
    ///
    /// # Errors
    /// [`io::ErrorKind::WriteZero`] if they do not fit; then nothing is written.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// let mut slot = tx.reserve(4)?;
    /// slot.write(b"abc")?;
    /// assert!(slot.write(b"de").is_err()); // one byte too many; nothing is written
    /// slot.write(b"d")?;
    /// slot.commit()?;
    /// assert_eq!(rx.recv_vec()?, b"abcd");
    /// # Ok(())
    /// # }
    /// ```
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_at(self.written, bytes)?;
        self.written += bytes.len();
        Ok(())
    }

    /// Writes bytes at an offset. Bytes that are never written hold what older messages left there.
    ///
    /// # Errors
    /// [`io::ErrorKind::WriteZero`] if they do not fit; then nothing is written.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// let mut slot = tx.reserve(6)?;
    /// slot.write_at(2, b"body")?;
    /// slot.write_at(0, &4u16.to_le_bytes())?; // the length, known last
    /// slot.commit()?;
    /// assert_eq!(rx.recv_vec()?, b"\x04\0body");
    /// # Ok(())
    /// # }
    /// ```
    pub fn write_at(&mut self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() > self.length || offset > self.length - bytes.len() {
            let text = format!("{} bytes at {offset} do not fit a slot of {}", bytes.len(), self.length);
            return Err(io::Error::new(io::ErrorKind::WriteZero, text));
        }
        if self.identity != process::identity() {
            return Ok(()); // void in a forked child: commit will say so
        }
        let (lane, payload) = self.sender.reserved_lane(&self.reservation);
        lane.put_at(payload, offset, bytes);
        Ok(())
    }

    /// Makes the message shorter. Lengths above the present one change nothing.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// let mut slot = tx.reserve(1000)?; // as long as it may become
    /// slot.write(b"short")?;
    /// slot.truncate(5);
    /// slot.commit()?;
    /// assert_eq!(rx.recv_vec()?, b"short");
    /// # Ok(())
    /// # }
    /// ```
    pub fn truncate(&mut self, len: usize) {
        self.length = self.length.min(len);
        self.written = self.written.min(len);
    }

    /// Publishes the message and wakes the receiver if it sleeps. Does not block.
    ///
    /// # Errors
    /// [`Fault::Forked`], [`Fault::Removed`]: the message is not sent.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// rx.attach()?;
    /// let mut slot = tx.reserve(2)?;
    /// slot.write(b"ok")?;
    /// assert!(rx.try_recv().unwrap_err().is_empty()); // not visible yet
    /// slot.commit()?;
    /// assert_eq!(rx.try_recv_vec()?, b"ok");
    /// # Ok(())
    /// # }
    /// ```
    pub fn commit(self) -> Result<(), SendError<()>> {
        self.sender.commit(self.reservation, self.length, self.identity)
    }
}

impl io::Write for Slot<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fitting = bytes.len().min(self.length - self.written);
        Slot::write(self, &bytes[..fitting]).map(|()| fitting)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A batch of messages with one wake-up at the end; see [`Sender::batch`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (mut tx, mut rx) = sysring::spsc().pair()?;
/// let mut batch = tx.batch();
/// batch.send("a")?;
/// batch.send("b")?;
/// drop(batch); // wakes the receiver
/// assert_eq!(rx.recv_batch(10)?.len(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct SendBatch<'a> {
    sender: &'a mut Sender,
}

impl SendBatch<'_> {
    /// As [`Sender::try_send`], without waking the receiver yet.
    ///
    /// # Errors
    /// As [`Sender::try_send`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, mut rx) = sysring::spsc().capacity(4096).pair()?;
    /// let mut batch = tx.batch();
    /// let mut sent = 0;
    /// while batch.try_send([7; 56]).is_ok() {
    ///     sent += 1;
    /// }
    /// batch.finish();
    /// assert_eq!(rx.recv_batch(1000)?.len(), sent);
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn try_send<T: AsRef<[u8]>>(&mut self, message: T) -> Result<(), TrySendError<T>> {
        if self.sender.put_at_once(message.as_ref()) {
            self.sender.owes_ring = true;
            return Ok(());
        }
        match self.sender.put(message.as_ref(), Until::Now, false) {
            Ok(()) => Ok(()),
            Err(halt) => Err(halt.of_try(message)),
        }
    }

    /// As [`Sender::send`]; the receiver is woken before every wait.
    ///
    /// # Errors
    /// As [`Sender::send`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// let mut batch = tx.batch();
    /// for word in ["a", "b", "c"] {
    ///     batch.send(word)?;
    /// }
    /// batch.finish();
    /// assert_eq!(rx.recv_vec()?, b"a");
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn send<T: AsRef<[u8]>>(&mut self, message: T) -> Result<(), SendError<T>> {
        if self.sender.put_at_once(message.as_ref()) {
            self.sender.owes_ring = true;
            return Ok(());
        }
        match self.sender.put(message.as_ref(), Until::Done, false) {
            Ok(()) => Ok(()),
            Err(halt) => Err(halt.of_plain(message)),
        }
    }

    /// As [`Sender::send_timeout`]; the receiver is woken before every wait.
    ///
    /// # Errors
    /// As [`Sender::send_timeout`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// let (mut tx, _rx) = sysring::spsc().capacity(4096).pair()?;
    /// let mut batch = tx.batch();
    /// while batch.try_send([7; 56]).is_ok() {}
    /// assert!(batch.send_timeout([7; 56], Duration::from_millis(1)).unwrap_err().is_timeout());
    /// # Ok(())
    /// # }
    /// ```
    pub fn send_timeout<T: AsRef<[u8]>>(
        &mut self,
        message: T,
        limit: Duration,
    ) -> Result<(), SendTimeoutError<T>> {
        if self.sender.put_at_once(message.as_ref()) {
            self.sender.owes_ring = true;
            return Ok(());
        }
        match self.sender.put(message.as_ref(), Until::timeout(limit), false) {
            Ok(()) => Ok(()),
            Err(halt) => Err(halt.of_timeout(message)),
        }
    }

    /// As [`Sender::send_deadline`]; the receiver is woken before every wait.
    ///
    /// # Errors
    /// As [`Sender::send_deadline`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::{Duration, Instant};
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// let deadline = Instant::now() + Duration::from_secs(5);
    /// let mut batch = tx.batch();
    /// for number in 0..10u32 {
    ///     batch.send_deadline(number.to_le_bytes(), deadline)?; // all ten in five seconds
    /// }
    /// batch.finish();
    /// assert_eq!(rx.recv_batch(10)?.len(), 10);
    /// # Ok(())
    /// # }
    /// ```
    pub fn send_deadline<T: AsRef<[u8]>>(
        &mut self,
        message: T,
        deadline: Instant,
    ) -> Result<(), SendTimeoutError<T>> {
        if self.sender.put_at_once(message.as_ref()) {
            self.sender.owes_ring = true;
            return Ok(());
        }
        match self.sender.put(message.as_ref(), Until::Deadline(deadline), false) {
            Ok(()) => Ok(()),
            Err(halt) => Err(halt.of_timeout(message)),
        }
    }

    /// Ends the batch and wakes the receiver if it sleeps. Dropping does the same.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// let mut batch = tx.batch();
    /// batch.send("a")?;
    /// batch.finish();
    /// tx.send("b")?; // the sender is free again
    /// assert_eq!(rx.recv_batch(10)?.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn finish(self) {}
}

impl Drop for SendBatch<'_> {
    fn drop(&mut self) {
        if self.sender.owes_ring && self.sender.identity == process::identity() {
            self.sender.owes_ring = false;
            self.sender.ring();
        }
    }
}
