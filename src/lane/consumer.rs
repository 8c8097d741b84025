//! The receiving end of a lane.

use super::MAX_POSITION;
use super::record::{self, Place};
use crate::segment::lane_view::LaneView;
use crate::sync::Ordering;

/// The only consumer of a lane. Whoever makes one owns the receiver's seat.
#[derive(Debug)]
pub(crate) struct Consumer<L> {
    lane: L,
    stamped: bool,
    capacity: u64,
    largest: u64,
    /// Next record to look at: ahead of `read` by what a batch has looked at and not released.
    next: u64,
    /// Everything before it is released.
    read: u64,
    /// What was last stored to the shared `head`.
    head: u64,
    /// Everything before it was handed out once.
    given: u64,
    /// Records that end before it need no look at anything but their header: they fit before the end of the lane, no
    /// damage was met, and `head` needs no store yet.
    sure: u64,
    /// Messages between `read` and `next`.
    ahead: u64,
    /// Where the damage begins; `u64::MAX` = none was met. What lies before it is good.
    damage: u64,
    /// Our number among the lane's consumers.
    takeover: u64,
}

/// A record that is there, whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Position of its payload.
    pub(crate) payload: u64,
    /// Bytes of its payload: at most the channel's maximum, and inside the lane.
    pub(crate) length: u64,
    /// Its place in the total order; 0 in lanes without stamps.
    pub(crate) stamp: u64,
    /// It was handed out before, to this receiver or to one that died.
    pub(crate) redelivered: bool,
    /// Position behind it.
    end: u64,
}

/// What [`Consumer::peek`] saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peek {
    /// Nothing is published.
    Empty,
    /// The next record.
    Record(Found),
    /// The words at this position were not written by a producer of ours. Final for this lane.
    Corrupt(u64),
}

impl<L: LaneView> Consumer<L> {
    /// Goes on exactly where the last consumer stopped releasing.
    ///
    /// `largest` is the channel's maximum payload: no record that claims more is believed.
    pub(crate) fn take_over(lane: L, stamped: bool, largest: u64) -> Consumer<L> {
        let capacity = lane.capacity();
        let control = lane.control();
        let read = control.consumer.read.load(Ordering::Relaxed);
        let given = control.consumer.given.load(Ordering::Relaxed);
        let impossible = !read.is_multiple_of(8) || read > MAX_POSITION;
        let damage = match control.consumer.corrupt.load(Ordering::Relaxed) {
            _ if impossible => 0,
            0 => u64::MAX,
            place => place - 1,
        };
        if impossible {
            control.consumer.corrupt.store(1, Ordering::Relaxed);
        }
        let read = if impossible { 0 } else { read };
        // In front of whatever this one stores: see `restate`.
        let takeover = control.consumer.takeovers.load(Ordering::Relaxed).wrapping_add(1);
        control.consumer.takeovers.store(takeover, Ordering::Relaxed);
        // The dead one may have released more than it had given back.
        control.head.word.store(read, Ordering::Release); // C
        let mut consumer = Consumer {
            lane,
            stamped,
            capacity,
            largest,
            next: read,
            read,
            head: read,
            given,
            sure: 0,
            ahead: 0,
            damage,
            takeover,
        };
        if consumer.is_cut_off() {
            consumer.damaged();
        }
        consumer
    }

    /// The lane.
    pub(crate) fn lane(&self) -> &L {
        &self.lane
    }

    /// Whether everything that was looked at is released, and nothing is published.
    pub(crate) fn is_drained(&mut self) -> bool {
        self.next == self.read && self.peek() == Peek::Empty
    }

    /// Whether something is published at the next position. Orders nothing.
    #[inline(always)]
    pub(crate) fn is_published(&self) -> bool {
        self.lane.header(self.next).load(Ordering::Relaxed) != 0
    }

    /// Copies the next message to `buffer` and releases it in one go, if nothing stands in the way: it fits the
    /// buffer, ends before [`Consumer::sure`], and its stamp, if any, lies below `bound`, which is asked after its
    /// header was seen. `None`: nothing was done. Only while nothing is unreleased.
    #[inline(always)]
    pub(crate) fn receive_at_once<const STAMPED: bool>(
        &mut self,
        buffer: &mut [u8],
        bound: impl FnOnce() -> u64,
    ) -> Option<usize> {
        let at = self.read;
        let word = self.lane.header(at).load(Ordering::Acquire); // B
        let length = record::data_length(word);
        if length > self.largest {
            return None; // or nothing, or no message
        }
        let end = at + record::size(length, STAMPED);
        let target = buffer.get_mut(..length as usize)?;
        if end > self.sure || self.is_lost() {
            return None;
        }
        if STAMPED && self.lane.word(at + record::HEADER) >= bound() {
            return None;
        }
        debug_assert!(self.next == at && at < self.damage && STAMPED == self.stamped);
        self.lane.get(at, record::payload_offset(STAMPED), target);
        self.next = end;
        self.read = end;
        self.note(1);
        Some(target.len())
    }

    /// Finds the next message and steps behind it, as [`Consumer::peek`] and [`Consumer::pass`] do, if nothing stands
    /// in the way: it ends before [`Consumer::sure`], and its stamp, if any, lies below `bound`, which is asked after
    /// its header was seen. `None`: nothing was done.
    #[inline(always)]
    pub(crate) fn take_at_once<const STAMPED: bool>(&mut self, bound: impl FnOnce() -> u64) -> Option<Found> {
        let at = self.next;
        let word = self.lane.header(at).load(Ordering::Acquire); // B
        let length = record::data_length(word);
        if length > self.largest {
            return None; // or nothing, or no message
        }
        let end = at + record::size(length, STAMPED);
        if end > self.sure {
            return None;
        }
        let stamp = if STAMPED { self.lane.word(at + record::HEADER) } else { 0 };
        if STAMPED && stamp >= bound() {
            return None;
        }
        debug_assert!(at < self.damage && STAMPED == self.stamped);
        self.next = end;
        self.ahead += 1;
        let payload = at + record::payload_offset(STAMPED);
        Some(Found { payload, length, stamp, redelivered: at < self.given, end })
    }

    /// Stores what was released.
    #[inline(always)]
    fn note(&self, messages: u64) {
        let line = &self.lane.control().consumer;
        // For monitoring only, and nobody else's to write: no copy of our own is needed.
        line.received.store(line.received.load(Ordering::Relaxed).wrapping_add(messages), Ordering::Relaxed);
        line.read.store(self.read, Ordering::Release); // C
    }

    /// Looks at the next record without taking it.
    #[inline]
    pub(crate) fn peek(&mut self) -> Peek {
        let word = self.lane.header(self.next).load(Ordering::Acquire); // B
        if word == 0 && self.next < self.damage {
            self.give_back_all();
            return Peek::Empty;
        }
        match self.decode(word) {
            Some(found) => Peek::Record(found),
            None => self.damaged(),
        }
    }

    /// Checks a header and whatever else belongs to its record. Every shared word is loaded once.
    #[inline]
    fn decode(&self, word: u64) -> Option<Found> {
        if self.next >= self.damage {
            return None;
        }
        // Ordered after the padding's header (B), which published both.
        let behind = |at| self.lane.header(at).load(Ordering::Relaxed);
        let Place { at, length, end } =
            record::locate(word, self.next, self.capacity, self.largest, self.stamped, behind)?;
        // A producer of ours leaves room for the terminator, so nothing reaches further than one lap.
        if end + record::HEADER - self.read > self.capacity {
            return None;
        }
        let stamp = if self.stamped { self.lane.word(at + record::HEADER) } else { 0 };
        Some(Found {
            payload: at + record::payload_offset(self.stamped),
            length,
            stamp,
            redelivered: self.next < self.given,
            end,
        })
    }

    #[cold]
    fn damaged(&mut self) -> Peek {
        if self.next < self.damage {
            self.damage = self.next;
            self.sure = 0;
            self.lane.control().consumer.corrupt.store(self.next.saturating_add(1), Ordering::Relaxed);
        }
        Peek::Corrupt(self.damage)
    }

    /// Whether nothing is at the next position although the producer has published behind it: a second producer that
    /// should not have been has written over what was there. What comes later can never be reached.
    pub(crate) fn is_cut_off(&self) -> bool {
        let tail = self.lane.control().producer.tail.load(Ordering::Acquire); // s
        let is_behind = (1..=self.capacity).contains(&tail.wrapping_sub(self.next)) && tail.is_multiple_of(8);
        // Nobody's lane but ours: for one who was taken over the slot may be free, and in use again. Whoever wrote there one
        // lap later had seen what a successor released (D, Y), so that its number is seen behind the header.
        is_behind
            && self.next < self.damage
            && self.lane.header(self.next).load(Ordering::Acquire) == 0 // B
            && !self.is_lost()
    }

    /// Writes down again what was released, if somebody else has: a receiver that was taken over and went on for one
    /// store more, or a stranger. The sender would wait for what was released long ago.
    pub(crate) fn restate(&self) {
        let control = self.lane.control();
        for (word, ours) in [(&control.consumer.read, self.read), (&control.head.word, self.head)] {
            // If it is a successor's, its number of takeovers comes with it; if one comes later, the swap fails.
            let there = word.load(Ordering::Acquire); // D
            if there != ours && !self.is_lost() {
                let _ = word.compare_exchange(there, ours, Ordering::Release, Ordering::Relaxed); // C
            }
        }
    }

    /// Marks the lane as given up, if that mark was removed.
    pub(crate) fn insist(&self) {
        let word = &self.lane.control().consumer.corrupt;
        if self.damage != u64::MAX && word.load(Ordering::Relaxed) == 0 {
            word.store(self.damage.saturating_add(1), Ordering::Relaxed);
        }
    }

    /// Gives the lane up after a damage that its records do not show (an impossible stamp).
    #[cold]
    pub(crate) fn condemn(&mut self) -> u64 {
        self.damaged();
        self.damage
    }

    /// Steps behind a record that [`Consumer::peek`] has found; it stays unreleased.
    #[inline]
    pub(crate) fn pass(&mut self, found: &Found) {
        self.next = found.end;
        self.ahead += 1;
    }

    /// Steps behind a record that was passed before [`Consumer::rewind`]: where its payload is and how long it is are
    /// what was found then, not what the lane says now.
    pub(crate) fn pass_again(&mut self, payload: u64, length: u64) {
        let start = payload - record::payload_offset(self.stamped);
        debug_assert!(start >= self.next);
        self.next = start + record::size(length, self.stamped);
        self.ahead += 1;
    }

    /// Notes that everything passed is about to be handed out, so that a successor can tell.
    #[inline(always)]
    pub(crate) fn give(&mut self) {
        if self.next > self.given {
            self.given = self.next;
            self.lane.control().consumer.given.store(self.next, Ordering::Relaxed);
        }
    }

    /// Whether another consumer has taken the lane over: this one must not release any more.
    #[inline(always)]
    pub(crate) fn is_lost(&self) -> bool {
        // In the line that every release writes, so this costs nothing to speak of.
        self.lane.control().consumer.takeovers.load(Ordering::Relaxed) != self.takeover
    }

    /// Releases everything passed. Returns the position up to which room is free now.
    #[inline(always)]
    pub(crate) fn release(&mut self) -> u64 {
        self.read = self.next;
        self.note(self.ahead);
        self.ahead = 0;
        if self.read >= self.sure {
            self.renew();
        }
        self.read
    }

    /// Gives back what is due, and finds out how far it is sure from here.
    fn renew(&mut self) {
        if self.read - self.head >= self.capacity / 8 {
            self.give_back_all();
        }
        let lap = (self.read & !(self.capacity - 1)) + self.capacity;
        self.sure = if self.damage == u64::MAX { lap.min(self.head + self.capacity / 8) } else { 0 };
    }

    /// Messages released in this lane, wrapping.
    pub(crate) fn received(&self) -> u64 {
        self.lane.control().consumer.received.load(Ordering::Relaxed)
    }

    /// Position of the next record to look at.
    #[inline(always)]
    pub(crate) fn position(&self) -> u64 {
        self.next
    }

    /// Bytes of the lane.
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Position before which everything is released.
    #[inline(always)]
    pub(crate) fn released(&self) -> u64 {
        self.read
    }

    /// Stores `head` if it lags.
    pub(crate) fn give_back_all(&mut self) {
        if self.head != self.read {
            self.head = self.read;
            self.lane.control().head.word.store(self.read, Ordering::Release); // C
        }
    }

    /// Whether something was passed and not released.
    pub(crate) fn is_ahead(&self) -> bool {
        self.next != self.read
    }

    /// Forgets what was passed and not released: it will be found again.
    pub(crate) fn rewind(&mut self) {
        self.next = self.read;
        self.ahead = 0;
    }

    /// Messages and bytes that wait, as far as the producer's words can be believed.
    pub(crate) fn depth(&self) -> (u64, u64) {
        let producer = &self.lane.control().producer;
        let bytes = producer.tail.load(Ordering::Relaxed).saturating_sub(self.read);
        let received = self.lane.control().consumer.received.load(Ordering::Relaxed);
        let messages = producer.sent.load(Ordering::Relaxed).saturating_sub(received);
        if bytes == 0 { (0, 0) } else { (messages, bytes) }
    }
}
