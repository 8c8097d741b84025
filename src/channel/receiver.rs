//! The receiving end.

use core::cell::Cell;
use core::fmt;
use core::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::interrupt::Interrupter;
use super::peers::Peers;
use super::stats::{self, Stats};
use super::{PeerSide, Shared, Stop, Trusted, Until, count_in, count_out};
use crate::error::{Corruption, OpenError, RecvError, RecvTimeoutError, SystemError, TryRecvError};
use crate::lane::{Consumer, Found};
use crate::merge::{self, Merge, Next, Rule};
use crate::segment::lane_view::{LaneMap, LaneView};
use crate::segment::seat::{Seat, Side};
use crate::sync::Ordering;
use crate::sys::{Errno, process, sem};
use crate::wait::{self, Backoff, Barrier, Slept, WaitStrategy};

/// What counts as the end of the stream, for [`Receiver::set_end`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EndOfStream {
    /// All senders have gone, at least one was there, and everything is received.
    #[default]
    AllGone,
    /// So many sender sessions have ended since the last end was reported, and nothing is left to receive.
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
pub struct Receiver {
    seated: Option<Seated>,
    /// Identity of the process that is seated; 0 = nobody is.
    identity: u64,
    shared: Arc<Shared>,
    barrier: Barrier,
    peers: Peers,
    interrupter: Interrupter,
    end: EndOfStream,
    /// Departures that earlier receivers have reported.
    departed: u64,
    /// Messages handed out in a batch, or lent and forgotten: to be taken back if they are not released.
    lent: bool,
    batch: Vec<(u32, Found)>,
    /// What an earlier call met and could not report: the next one does.
    late: Option<RecvError>,
    seats: sem::Values,
    _not_sync: PhantomData<Cell<()>>,
}

/// A receiver with the seat. The consumers are the only ones of their lanes, because the seat is.
#[derive(Debug)]
struct Seated {
    merge: Merge<LaneMap>,
    /// Kept for its drop, which leaves.
    _seat: Seat,
}

type Halt = Stop<RecvError>;
type Current = (u32, Found);

impl Receiver {
    /// A receiver without the seat: it takes it at its first use.
    pub(super) fn unseated(shared: &Arc<Shared>) -> Receiver {
        count_in(shared, PeerSide::Receiver);
        Receiver {
            seated: None,
            identity: 0,
            barrier: Barrier::REAL,
            peers: Peers::new(shared, PeerSide::Senders),
            interrupter: Interrupter::new(),
            end: EndOfStream::AllGone,
            departed: 0,
            lent: false,
            batch: Vec::new(),
            late: None,
            seats: sem::Values::new(),
            shared: Arc::clone(shared),
            _not_sync: PhantomData,
        }
    }

    /// Takes the seat now, if the handle does not have it in this process. Does not block.
    ///
    /// # Errors
    /// [`OpenErrorKind::SeatTaken`](crate::OpenErrorKind::SeatTaken) naming the process that holds it;
    /// [`OpenErrorKind::Removed`](crate::OpenErrorKind::Removed).
    pub fn attach(&mut self) -> Result<(), OpenError> {
        if self.identity == process::identity() {
            return Ok(());
        }
        self.seated = None; // in a forked child this leaves the parent's seat alone
        self.identity = 0;
        self.lent = false;
        let shared = &*self.shared;
        let fail = |errno| OpenError::system(&shared.address, "semop", errno);
        if shared.is_removed() {
            return Err(fail(Errno::EIDRM));
        }
        self.barrier = shared.barrier();
        let seat = shared.take(Side::Receiver)?;
        let header = shared.view.header();
        if header.bell.number.load(Ordering::Relaxed) & 1 == 1 {
            header.bell.number.fetch_add(1, Ordering::Relaxed);
        }
        seat.empty_bell();
        self.seats.read(shared.set).map_err(fail)?;
        let shape = shared.view.geometry();
        let (stamped, largest) = (shared.view.is_stamped(), shared.view.max_message());
        let mut consumers = Vec::with_capacity(shape.senders() as usize);
        for lane in 0..shape.senders() {
            let map = shared.view.lane(lane);
            if !shared.view.is_spsc() {
                let control = map.control();
                let unread = control.producer.tail.load(Ordering::Acquire)
                    != control.consumer.read.load(Ordering::Relaxed);
                if unread || self.seats.get(Side::Sender(lane).alive()) > 0 {
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
        self.seated = Some(Seated { merge: Merge::new(consumers, rule), _seat: seat });
        let there = (0..shape.senders()).any(|lane| self.seats.get(Side::Sender(lane).alive()) > 0);
        self.peers.attached(there);
        Ok(())
    }

    /// Sets what counts as the end of the stream, that is when `Disconnected` is reported.
    pub fn set_end(&mut self, end: EndOfStream) {
        self.end = end;
        self.peers.suspect();
    }

    /// Sender sessions that have ended and that no receiver has reported as an end yet: asks the kernel. 0 if the
    /// kernel's answer cannot be had.
    pub fn departures(&mut self) -> u64 {
        let visits = self.peers.visits_now(&self.shared);
        match self.count_senders() {
            Ok(alive) => visits.saturating_sub(alive).saturating_sub(self.departed),
            Err(_) => 0,
        }
    }

    /// Receives a message if there is one. Does not wait.
    ///
    /// # Errors
    /// [`TryRecvError::Empty`]; [`TryRecvError::Failed`] when waiting would not help.
    #[inline]
    pub fn try_recv(&mut self) -> Result<Message<'_>, TryRecvError> {
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
        let current = self.next(Until::Done).map_err(Halt::of_plain)?;
        Ok(self.lend(current))
    }

    /// Receives a message; waits at most `limit`.
    ///
    /// # Errors
    /// [`RecvTimeoutError::Timeout`]; [`RecvTimeoutError::Failed`] as [`Receiver::recv`].
    pub fn recv_timeout(&mut self, limit: Duration) -> Result<Message<'_>, RecvTimeoutError> {
        let current = self.next(Until::timeout(limit)).map_err(Halt::of_timeout)?;
        Ok(self.lend(current))
    }

    /// Receives a message; waits until `deadline`.
    ///
    /// # Errors
    /// As [`Receiver::recv_timeout`].
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<Message<'_>, RecvTimeoutError> {
        let current = self.next(Until::Deadline(deadline)).map_err(Halt::of_timeout)?;
        Ok(self.lend(current))
    }

    /// Copies a message into `buffer` and releases it, if there is one. Returns its length. Does not wait.
    ///
    /// # Errors
    /// As [`Receiver::try_recv`], and [`RecvError::TooSmall`]: then the message stays.
    #[inline]
    pub fn try_recv_into(&mut self, buffer: &mut [u8]) -> Result<usize, TryRecvError> {
        self.copy_next(buffer, Until::Now).map_err(Halt::of_try)
    }

    /// Copies a message into `buffer` and releases it; waits for one. Returns its length.
    ///
    /// # Errors
    /// As [`Receiver::recv`], and [`RecvError::TooSmall`]: then the message stays.
    #[inline]
    pub fn recv_into(&mut self, buffer: &mut [u8]) -> Result<usize, RecvError> {
        self.copy_next(buffer, Until::Done).map_err(Halt::of_plain)
    }

    /// Copies a message into `buffer` and releases it; waits at most `limit`.
    ///
    /// # Errors
    /// As [`Receiver::recv_timeout`], and [`RecvError::TooSmall`]: then the message stays.
    pub fn recv_into_timeout(
        &mut self,
        buffer: &mut [u8],
        limit: Duration,
    ) -> Result<usize, RecvTimeoutError> {
        self.copy_next(buffer, Until::timeout(limit)).map_err(Halt::of_timeout)
    }

    /// Copies a message into `buffer` and releases it; waits until `deadline`.
    ///
    /// # Errors
    /// As [`Receiver::recv_into_timeout`].
    pub fn recv_into_deadline(
        &mut self,
        buffer: &mut [u8],
        deadline: Instant,
    ) -> Result<usize, RecvTimeoutError> {
        self.copy_next(buffer, Until::Deadline(deadline)).map_err(Halt::of_timeout)
    }

    /// Copies a message into a new vector and releases it, if there is one. Does not wait.
    ///
    /// # Errors
    /// As [`Receiver::try_recv`].
    pub fn try_recv_vec(&mut self) -> Result<Vec<u8>, TryRecvError> {
        self.next_vec(Until::Now).map_err(Halt::of_try)
    }

    /// Copies a message into a new vector and releases it; waits for one.
    ///
    /// # Errors
    /// As [`Receiver::recv`].
    pub fn recv_vec(&mut self) -> Result<Vec<u8>, RecvError> {
        self.next_vec(Until::Done).map_err(Halt::of_plain)
    }

    /// Copies a message into a new vector and releases it; waits at most `limit`.
    ///
    /// # Errors
    /// As [`Receiver::recv_timeout`].
    pub fn recv_vec_timeout(&mut self, limit: Duration) -> Result<Vec<u8>, RecvTimeoutError> {
        self.next_vec(Until::timeout(limit)).map_err(Halt::of_timeout)
    }

    /// Copies a message into a new vector and releases it; waits until `deadline`.
    ///
    /// # Errors
    /// As [`Receiver::recv_timeout`].
    pub fn recv_vec_deadline(&mut self, deadline: Instant) -> Result<Vec<u8>, RecvTimeoutError> {
        self.next_vec(Until::Deadline(deadline)).map_err(Halt::of_timeout)
    }

    /// Receives what is there, at most `max` messages (at least 1), as one guard. Does not wait.
    ///
    /// # Errors
    /// As [`Receiver::try_recv`].
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
    pub fn recv_batch(&mut self, max: usize) -> Result<RecvBatch<'_>, RecvError> {
        self.fill_batch(max, Until::Done).map_err(Halt::of_plain)?;
        Ok(RecvBatch { identity: self.identity, receiver: self })
    }

    /// As [`Receiver::recv_batch`]; waits for the first at most `limit`.
    ///
    /// # Errors
    /// As [`Receiver::recv_timeout`].
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
    pub fn try_iter(&mut self) -> TryIter<'_> {
        TryIter { receiver: self, ended: false }
    }

    /// Whether a sender is there now: asks the kernel. May change at any moment.
    pub fn is_connected(&mut self) -> bool {
        !self.shared.is_removed() && self.count_senders().is_ok_and(|alive| alive > 0)
    }

    /// Messages that wait. For monitoring: it may grow at any moment, and may be off by what a killed sender was
    /// just publishing.
    pub fn len(&self) -> u64 {
        let lanes = self.seated.iter().flat_map(|seated| seated.merge.lanes());
        lanes.fold(0, |sum, lane| sum.saturating_add(lane.depth().0))
    }

    /// Whether nothing waits, as far as the senders have noted. May become false at any moment.
    pub fn is_empty(&self) -> bool {
        let mut lanes = self.seated.iter().flat_map(|seated| seated.merge.lanes());
        lanes.all(|lane| lane.depth().1 == 0)
    }

    /// Bytes of each lane.
    pub fn capacity(&self) -> u64 {
        self.shared.view.geometry().capacity()
    }

    /// Largest message in bytes.
    pub fn max_message(&self) -> u64 {
        self.shared.view.max_message()
    }

    /// A picture of the channel, of this moment.
    ///
    /// # Errors
    /// [`OpenErrorKind::Removed`](crate::OpenErrorKind::Removed).
    pub fn stats(&self) -> Result<Stats, OpenError> {
        stats::collect(&self.shared.view, &self.shared.address)
    }

    /// A switch that ends a wait of this handle from another thread.
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
    #[expect(unsafe_code, reason = "the one promise that in-place access needs")]
    pub unsafe fn trust_peers(self) -> Trusted<Receiver> {
        Trusted::new(self)
    }

    fn merge(&mut self) -> &mut Merge<LaneMap> {
        &mut self.seated.as_mut().expect("entered through next()").merge
    }

    /// Finds the next message, waiting as long as allowed; it is not taken yet.
    #[inline]
    fn next(&mut self, until: Until) -> Result<Current, Halt> {
        if self.identity != process::identity() {
            self.attach().map_err(|error| RecvError::Attach(Box::new(error)))?;
        }
        if self.lent {
            // A guard was forgotten: its messages were not released and come again.
            self.lent = false;
            self.merge().rewind();
        }
        if let Some(error) = self.late.take() {
            return Err(error.into());
        }
        match self.look()? {
            Some(current) => Ok(current),
            None => self.wait_for_message(until),
        }
    }

    #[inline]
    fn look(&mut self) -> Result<Option<Current>, RecvError> {
        let header = self.shared.view.header();
        let words = merge::Shared { stamps: &header.stamps.word, bitmap: &header.bitmap };
        let merge = &mut self.seated.as_mut().expect("entered through next()").merge;
        match merge.next(words) {
            Next::Record(lane, found) => Ok(Some((lane, found))),
            Next::Empty => Ok(None),
            Next::Corrupt(lane, position) => Err(RecvError::Corrupt(Corruption { lane, position })),
        }
    }

    #[cold]
    fn wait_for_message(&mut self, until: Until) -> Result<Current, Halt> {
        if let Until::Now = until {
            if self.shared.is_removed() {
                return Err(RecvError::Removed.into());
            }
            if self.peers.is_due(&self.shared)
                && let Some(current) = self.ask()?
            {
                return Ok(current);
            }
            return Err(Stop::Late);
        }
        if self.shared.options.wait != WaitStrategy::Sleep {
            let mut backoff = Backoff::new();
            while backoff.spin() || self.shared.options.wait == WaitStrategy::Spin {
                if let Some(current) = self.look()? {
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

    /// Whether there is a reason to stop waiting.
    fn still_waiting(&mut self, until: Until) -> Result<(), Halt> {
        if self.interrupter.take() {
            return Err(RecvError::Interrupted.into());
        }
        if self.shared.is_removed() {
            return Err(RecvError::Removed.into());
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
                    self.peers.suspect();
                }
            }
            Slept::Limit => self.peers.suspect(),
            Slept::Signal => {}
            Slept::Failed(errno) => return Err(lost(&shared, errno).into()),
        }
        Ok(None)
    }

    /// Asks the kernel for the senders. A message that appears meanwhile is returned instead of an end.
    fn ask(&mut self) -> Result<Option<Current>, RecvError> {
        self.peers.asking(&self.shared);
        if self.peers.is_segment_due() && self.shared.is_segment_gone() {
            self.shared.finish_removal();
            return Err(RecvError::Removed);
        }
        let alive = self.count_senders()?;
        let gone = self.peers.answer(&self.shared, alive);
        let departed = self.peers.departed(alive);
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
            self.departed = departed;
            self.peers.suspect(); // the next call asks again, and at once
            self.shared.view.header().visits.departed.store(departed, Ordering::Relaxed);
            return Err(RecvError::Disconnected);
        }
        self.retire();
        Ok(None)
    }

    /// Reads all seats at once; counts the senders'.
    fn count_senders(&mut self) -> Result<u64, RecvError> {
        self.seats.read(self.shared.set).map_err(|errno| lost(&self.shared, errno))?;
        let lanes = 0..self.shared.view.geometry().senders();
        Ok(lanes.filter(|&lane| self.seats.get(Side::Sender(lane).alive()) > 0).count() as u64)
    }

    /// Stops looking at lanes whose sender has gone and that are drained.
    fn retire(&mut self) {
        let Some(Seated { merge, .. }) = &mut self.seated else { return };
        let (set, seats) = (self.shared.set, &self.seats);
        merge.retire(&self.shared.view.header().bitmap, |lane| {
            let seat = Side::Sender(lane).alive();
            seats.get(seat) == 0 && matches!(sem::value(set, seat), Ok(0))
        });
    }

    /// Takes a message and hands it out.
    fn lend(&mut self, (lane, found): Current) -> Message<'_> {
        let merge = self.merge();
        merge.pass(lane, &found);
        merge.give(lane);
        self.lent = true;
        Message { identity: self.identity, receiver: self, lane, found }
    }

    /// Takes a message that was copied, and releases it.
    #[inline]
    fn finish(&mut self, lane: u32, found: &Found) {
        self.merge().pass(lane, found);
        self.release(lane);
    }

    /// Releases everything taken of a lane and wakes its sender if that waits for the room.
    #[inline]
    fn release(&mut self, lane: u32) {
        let merge = &mut self.seated.as_mut().expect("a message comes from a lane").merge;
        let upto = merge.release(lane);
        self.peers.heard();
        let room = &merge.lane(lane).lane().control().room;
        let real_fences = &self.shared.view.header().bell.real_fences;
        let semaphore = self.shared.semaphore(Side::Sender(lane));
        let worth = || upto >= room.want.load(Ordering::Relaxed);
        // A post fails only if the set is gone: then nobody sleeps there, and the next wait reports it.
        let _ = wait::ring(&room.number, &self.barrier, real_fences, worth, &semaphore);
    }

    fn copy_next(&mut self, buffer: &mut [u8], until: Until) -> Result<usize, Halt> {
        let (lane, found) = self.next(until)?;
        let length = found.length as usize;
        let Some(target) = buffer.get_mut(..length) else {
            return Err(RecvError::TooSmall { needed: length, given: buffer.len() }.into());
        };
        self.map(lane).get(found.payload, target);
        self.finish(lane, &found);
        Ok(length)
    }

    fn next_vec(&mut self, until: Until) -> Result<Vec<u8>, Halt> {
        let (lane, found) = self.next(until)?;
        let mut bytes = Vec::new();
        self.map(lane).append(found.payload, found.length as usize, &mut bytes);
        self.finish(lane, &found);
        Ok(bytes)
    }

    fn map(&self, lane: u32) -> &LaneMap {
        self.seated.as_ref().expect("a message comes from a lane").merge.lane(lane).lane()
    }

    fn fill_batch(&mut self, max: usize, until: Until) -> Result<(), Halt> {
        let mut current = self.next(until)?;
        self.batch.clear();
        self.lent = true;
        loop {
            self.batch.push(current);
            self.merge().pass(current.0, &current.1);
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
        for index in 0..self.batch.len() {
            let lane = self.batch[index].0;
            self.merge().give(lane);
        }
        Ok(())
    }

    fn release_batch(&mut self) {
        self.lent = false;
        for index in 0..self.batch.len() {
            let lane = self.batch[index].0;
            if self.merge().lane(lane).is_ahead() {
                self.release(lane);
            }
        }
        self.batch.clear();
    }

    pub(super) fn next_in_place(&mut self, until: Until) -> Result<Message<'_>, Halt> {
        let current = self.next(until)?;
        Ok(self.lend(current))
    }
}

/// What a failed semaphore call means for a handle.
fn lost(shared: &Shared, errno: Errno) -> RecvError {
    match errno {
        Errno::EIDRM | Errno::EINVAL => {
            shared.is_removed();
            RecvError::Removed
        }
        errno => RecvError::System(SystemError { call: "semop", errno }),
    }
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
        count_out(&self.shared, PeerSide::Receiver);
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
#[derive(Debug)]
pub struct Message<'a> {
    receiver: &'a mut Receiver,
    lane: u32,
    found: Found,
    identity: u64,
}

/// A message of a [`RecvBatch`]; released with it.
#[derive(Clone, Copy, Debug)]
pub struct BatchMessage<'a> {
    receiver: &'a Receiver,
    lane: u32,
    found: Found,
}

macro_rules! content {
    ($name:ident) => {
        impl $name<'_> {
            /// Bytes of the payload.
            pub fn len(&self) -> usize {
                self.found.length as usize
            }

            /// Whether the payload has no bytes.
            pub fn is_empty(&self) -> bool {
                self.found.length == 0
            }

            /// Number of the sender's lane. A lane has one sender at a time.
            pub fn lane(&self) -> u32 {
                self.lane
            }

            /// Whether it was handed out before, and perhaps worked on, by this receiver or one that died.
            pub fn redelivered(&self) -> bool {
                self.found.redelivered
            }

            /// Copies the beginning of the payload, as much as both sides have. Returns how much.
            pub fn copy_to(&self, buffer: &mut [u8]) -> usize {
                let length = buffer.len().min(self.len());
                self.receiver.map(self.lane).get(self.found.payload, &mut buffer[..length]);
                length
            }

            /// Fills `buffer` from `offset` of the payload on.
            ///
            /// # Panics
            /// If the payload ends before the buffer is full.
            pub fn read_at(&self, offset: usize, buffer: &mut [u8]) {
                let fits = offset.checked_add(buffer.len()).is_some_and(|end| end <= self.len());
                assert!(fits, "{} bytes at {offset} of a message of {}", buffer.len(), self.len());
                self.receiver.map(self.lane).get_at(self.found.payload, offset, buffer);
            }

            /// The payload as a new vector.
            pub fn to_vec(&self) -> Vec<u8> {
                let mut bytes = Vec::new();
                self.append_to(&mut bytes);
                bytes
            }

            /// Appends the payload to a vector.
            pub fn append_to(&self, bytes: &mut Vec<u8>) {
                self.receiver.map(self.lane).append(self.found.payload, self.len(), bytes);
            }
        }
    };
}

content!(Message);
content!(BatchMessage);

impl Message<'_> {
    pub(super) fn place(&self) -> (&LaneMap, u64) {
        (self.receiver.map(self.lane), self.found.payload)
    }
}

impl Drop for Message<'_> {
    fn drop(&mut self) {
        if self.identity == process::identity() {
            self.receiver.lent = false;
            self.receiver.release(self.lane);
        }
    }
}

/// Several messages in one guard; all are released when it is dropped.
#[derive(Debug)]
pub struct RecvBatch<'a> {
    receiver: &'a mut Receiver,
    identity: u64,
}

impl RecvBatch<'_> {
    /// Number of messages, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub fn len(&self) -> usize {
        self.receiver.batch.len()
    }

    /// The messages in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = BatchMessage<'_>> {
        let receiver: &Receiver = self.receiver;
        receiver.batch.iter().map(move |&(lane, found)| BatchMessage { receiver, lane, found })
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
                        None
                    }
                    TryRecvError::Failed(error) => Some(Err(error)),
                }
            }
        }
    }
}
