//! The sending end of a lane.

use super::MAX_POSITION;
use super::record::{self, Header};
use crate::segment::lane_view::{LINE, LaneView};
use crate::sync::{AtomicU64, Ordering, fence};

/// Most records that a takeover finds behind the shared `tail`.
const MAX_UNRECORDED: u32 = 1024;

/// So many bytes ahead of the records the producer asks for the cache lines that it will write. They were read by the
/// consumer last, one lap ago, and without that every store to a new line would wait for it.
const AHEAD: u64 = 256;

/// The only producer of a lane. Whoever makes one owns the sender's seat.
#[derive(Debug)]
pub(crate) struct Producer<L> {
    lane: L,
    stamped: bool,
    capacity: u64,
    /// Where the next record goes: our own, never read back.
    tail: u64,
    /// Everything before it may be overwritten: the last checked value from the consumer.
    head: u64,
    /// Records that end before it need no look at anything: they fit before the end of the lane, and into the room
    /// that is known.
    sure: u64,
    /// Our number among the lane's producers.
    takeover: u64,
    /// Impossible words were met: nothing is sent here any more.
    damaged: bool,
}

/// Room found for one record. Nothing in the lane has changed yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reservation {
    /// Position of the record's header, behind the padding.
    at: u64,
    /// Payload bytes that fit.
    length: u64,
}

/// What [`Producer::reserve`] found.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Room {
    /// There is room.
    Ready(Reservation),
    /// None; there will be when the consumer has released everything before position `until`.
    Full {
        /// See [`Room::Full`].
        until: u64,
    },
    /// The consumer's words are impossible.
    Corrupt,
    /// Another producer has taken the lane over: this one must not touch it any more.
    Lost,
}

/// How hard to look for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// At `head`, which the consumer stores in batches: for spinning, so that the line with `read` stays
    /// with the consumer and room comes in bulk.
    Batched,
    /// At `read` as well: whatever was released counts.
    Exact,
}

/// Tells everybody what was met, until a sender finds the lane in order.
#[cold]
fn mark_damage(lane: &impl LaneView, position: u64) {
    lane.control().producer.corrupt.store(position.saturating_add(1), Ordering::Relaxed);
}

impl<L: LaneView> Producer<L> {
    /// Takes over the lane where its last producer left it, in whatever state that died.
    ///
    /// A producer may be killed between publishing and storing `tail`, so walk from `tail` over what is published, one
    /// capacity at most. `None` if the words there are impossible, or the receiver has given the lane up.
    pub(crate) fn take_over(lane: L, stamped: bool) -> Option<Producer<L>> {
        let control = lane.control();
        let known = control.consumer.corrupt.load(Ordering::Relaxed) != 0;
        let found = if known { None } else { Producer::walk(&lane, stamped) };
        let Some((tail, read, sent)) = found else {
            if !known {
                mark_damage(&lane, control.producer.tail.load(Ordering::Relaxed));
            }
            return None;
        };
        // What a predecessor met in the receiver's words is right again.
        control.producer.corrupt.store(0, Ordering::Relaxed);
        // The walk's fence (Y) stands behind what a predecessor has published, and so does whoever sees this.
        control.producer.tail.store(tail, Ordering::Relaxed);
        control.producer.sent.store(sent, Ordering::Relaxed);
        let takeover = control.producer.takeovers.load(Ordering::Relaxed).wrapping_add(1);
        control.producer.takeovers.store(takeover, Ordering::Relaxed);
        let capacity = lane.capacity();
        Some(Producer { lane, stamped, capacity, tail, head: read, sure: 0, takeover, damaged: false })
    }

    /// Where the next record goes, what is released, and how many messages were sent; `None` if the words in the lane are
    /// impossible. Changes nothing.
    fn walk(lane: &L, stamped: bool) -> Option<(u64, u64, u64)> {
        let capacity = lane.capacity();
        let control = lane.control();
        let shared_tail = control.producer.tail.load(Ordering::Relaxed);
        let read = control.consumer.read.load(Ordering::Acquire); // D
        // What is written from here on is written behind that, for those who look at the lane from outside.
        fence(Ordering::Release); // Y
        let mut sent = control.producer.sent.load(Ordering::Relaxed);
        // The consumer may be past the shared tail by what was published and not recorded.
        let mut tail = shared_tail;
        if !tail.is_multiple_of(8) || !read.is_multiple_of(8) || tail.max(read) > MAX_POSITION {
            return None;
        }
        // No producer of ours leaves so many behind `tail`: the walk is bounded whatever the lane holds.
        for step in 0..=MAX_UNRECORDED {
            let offset = tail & (capacity - 1);
            let word = lane.header(tail).load(Ordering::Relaxed);
            let step = match record::decode(word) {
                Header::Nothing => break,
                _ if step == MAX_UNRECORDED => return None,
                Header::Padding(size) if size == capacity - offset && offset != 0 => size,
                Header::Data(length) if record::size(length, stamped) <= capacity - offset => {
                    sent = sent.wrapping_add(1);
                    record::size(length, stamped)
                }
                _ => return None,
            };
            tail = tail.checked_add(step)?;
            if tail - shared_tail > capacity {
                return None;
            }
        }
        if tail.checked_sub(read)? > capacity {
            return None;
        }
        if tail != read && lane.header(read).load(Ordering::Relaxed) == 0 {
            return None; // cut off, see [`Producer::is_cut_off`]
        }
        if tail == read {
            // Empty: let the two counts agree again, whatever a death between two stores did to them.
            sent = control.consumer.received.load(Ordering::Relaxed);
        }
        Some((tail, read, sent))
    }

    /// The lane.
    pub(crate) fn lane(&self) -> &L {
        &self.lane
    }

    /// Where the next record goes.
    pub(crate) fn position(&self) -> u64 {
        self.tail
    }

    /// Whether another producer has taken the lane over.
    #[inline(always)]
    pub(crate) fn is_lost(&self) -> bool {
        // In the line that every commit writes, so this costs nothing to speak of.
        self.lane.control().producer.takeovers.load(Ordering::Relaxed) != self.takeover
    }

    /// Looks for room for a record of `length` payload bytes, which the caller has checked against the
    /// channel's maximum.
    #[inline]
    pub(crate) fn reserve(&mut self, length: u64, look: Look) -> Room {
        if self.is_lost() {
            return Room::Lost;
        }
        if self.damaged {
            return Room::Corrupt;
        }
        let size = record::size(length, self.stamped);
        let to_end = self.capacity - (self.tail & (self.capacity - 1));
        let padding = if size > to_end { to_end } else { 0 };
        let at = self.tail + padding;
        // Position of the terminator's end; must not reach the oldest record one lap later.
        let end = at + size + record::HEADER;
        if end - self.head > self.capacity
            && let Some(room) = self.refresh(end, look)
        {
            return room;
        }
        Room::Ready(Reservation { at, length })
    }

    /// Looks at the consumer's words again. `None` when there is room now.
    #[cold]
    fn refresh(&mut self, end: u64, look: Look) -> Option<Room> {
        let control = self.lane.control();
        let batched = control.head.word.load(Ordering::Acquire); // D
        let mut seen = batched;
        if end.wrapping_sub(seen) > self.capacity && look == Look::Exact {
            seen = control.consumer.read.load(Ordering::Acquire); // D
        }
        // What is written from here on is written behind that, for those who look at the lane from outside.
        fence(Ordering::Release); // Y
        if control.consumer.corrupt.load(Ordering::Relaxed) != 0 {
            self.condemn(); // the receiver has given this lane up
            return Some(Room::Corrupt);
        }
        // `head` may lag behind what `read` told us before; anything outside [ours, tail] otherwise is a lie.
        if seen < self.head && seen == batched && look == Look::Batched {
            seen = self.head;
        }
        if seen < self.head || seen > self.tail || !seen.is_multiple_of(8) {
            self.condemn();
            return Some(Room::Corrupt);
        }
        self.head = seen;
        (end - seen > self.capacity).then(|| Room::Full { until: end - self.capacity })
    }

    /// Whether nothing is where the receiver goes on, although this producer has published there: another one that should
    /// not have been has written over it. By its own tail, whatever the other has made of the shared one.
    pub(crate) fn is_cut_off(&self) -> bool {
        // Relaxed: what lies there was written by this one, or before it came.
        let read = self.lane.control().consumer.read.load(Ordering::Relaxed);
        let is_ours = (self.head..self.tail).contains(&read) && read.is_multiple_of(8);
        is_ours && self.lane.header(read).load(Ordering::Relaxed) == 0 && !self.is_lost()
    }

    /// Sends nothing more here.
    #[cold]
    pub(crate) fn condemn(&mut self) {
        (self.damaged, self.sure) = (true, 0);
        mark_damage(&self.lane, self.tail);
    }

    /// Sends a message in one go if nothing stands in the way: it ends before [`Producer::sure`]. False: nothing
    /// was done. The caller has checked its length against the channel's maximum.
    #[inline(always)]
    pub(crate) fn send_at_once(&mut self, bytes: &[u8], stamps: &AtomicU64) -> bool {
        if self.stamped {
            self.send_quickly::<true>(bytes, stamps)
        } else {
            self.send_quickly::<false>(bytes, stamps)
        }
    }

    #[inline(always)]
    fn send_quickly<const STAMPED: bool>(&mut self, bytes: &[u8], stamps: &AtomicU64) -> bool {
        let (at, length) = (self.tail, bytes.len() as u64);
        let end = at + record::size(length, STAMPED);
        if end > self.sure || self.is_lost() {
            return false;
        }
        self.lane.prepare(at + AHEAD, end - at);
        self.lane.put(at, record::payload_offset(STAMPED), bytes);
        self.write_record::<STAMPED>(at, end, stamps);
        self.lane.header(at).store(record::data(length), Ordering::Release); // A
        self.note(end, length);
        true
    }

    /// Copies payload bytes into reserved room, `offset` bytes into the payload. The offset is a multiple
    /// of 8 and the bytes end inside the reservation.
    #[inline]
    pub(crate) fn fill(&self, reservation: &Reservation, offset: u64, bytes: &[u8]) {
        debug_assert!(offset + bytes.len() as u64 <= reservation.length);
        self.lane.put(self.payload(reservation), offset, bytes);
    }

    /// Position of the payload.
    #[inline]
    pub(crate) fn payload(&self, reservation: &Reservation) -> u64 {
        reservation.at + record::payload_offset(self.stamped)
    }

    /// Publishes the record with its first `length` payload bytes, and with a stamp from `stamps` if the
    /// lane is stamped.
    ///
    /// The stamp is taken after the payload was written and before the record is published: that is what the
    /// total order rests on (see [`crate::merge`]).
    #[inline]
    pub(crate) fn commit(&mut self, reservation: Reservation, length: u64, stamps: &AtomicU64) {
        debug_assert!(length <= reservation.length);
        let Reservation { at, .. } = reservation;
        let end = at + record::size(length, self.stamped);
        if self.stamped {
            self.write_record::<true>(at, end, stamps);
        } else {
            self.write_record::<false>(at, end, stamps);
        }
        let word = record::data(length);
        if at == self.tail {
            self.lane.header(at).store(word, Ordering::Release); // A
        } else {
            // The padding publishes the record behind it, so that there is one moment, not two.
            self.lane.header(at).store(word, Ordering::Relaxed);
            let gap = record::padding(at - self.tail);
            self.lane.header(self.tail).store(gap, Ordering::Release); // A
        }
        self.note(end, length);
        // The next one's lines, but for the first, which the consumer may be looking at.
        self.lane.prepare(end + LINE, length);
        let lap = (end & !(self.capacity - 1)) + self.capacity;
        self.sure = lap.min(self.head + self.capacity - record::HEADER);
    }

    /// Writes what a record needs beside its payload and its header.
    #[inline(always)]
    fn write_record<const STAMPED: bool>(&self, at: u64, end: u64, stamps: &AtomicU64) {
        self.lane.terminate(end);
        if STAMPED {
            let stamp = stamps.fetch_add(1, Ordering::Release); // E
            self.lane.put_word(at + record::HEADER, stamp);
        }
    }

    /// Notes a published message.
    #[inline(always)]
    fn note(&mut self, end: u64, length: u64) {
        self.tail = end;
        let line = &self.lane.control().producer;
        line.tail.store(end, Ordering::Release); // S
        // For monitoring only, and nobody else's to write: no copy of our own is needed.
        line.sent.store(line.sent.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        line.sent_bytes
            .store(line.sent_bytes.load(Ordering::Relaxed).wrapping_add(length), Ordering::Relaxed);
    }

    /// Messages and bytes of the lane that are not released yet, as far as the consumer's words can be
    /// believed.
    pub(crate) fn depth(&self) -> (u64, u64) {
        let consumer = &self.lane.control().consumer;
        let bytes = self.tail.saturating_sub(consumer.read.load(Ordering::Relaxed));
        let sent = self.lane.control().producer.sent.load(Ordering::Relaxed);
        let messages = sent.saturating_sub(consumer.received.load(Ordering::Relaxed));
        if bytes == 0 { (0, 0) } else { (messages, bytes) }
    }
}
