//! A look at a lane from outside: neither end knows of it, and not a byte is written.
//!
//! Nobody keeps a record for an onlooker, so one may be released and overwritten while it is read. What the producer
//! checks before it writes over a byte is that the consumer has released it: it has loaded a `head` or `read` that lies
//! behind that byte's position of one lap before (D), and a fence stands between that load and whatever it writes then
//! (Y). So an onlooker reads, fences (Z), and loads `read`: if anything that it had read was written after such a load,
//! it sees now what the producer had seen then. A `read` that does not lie behind the record's beginning means
//! that nothing of the record was overwritten when it was read. `read` never goes back, so there is no second lap to be
//! taken for the first one.
//!
//! Z has another half: what is released was ordered behind its terminator by the consumer (C). So whoever goes on at a
//! `read` behind which the fence stands finds there the terminator, or something newer, and nothing of the lap before.
//!
//! | letter | where | order | pairs with |
//! |---|---|---|---|
//! | Z | [`Onlooker::settle`], fence | Acquire | Y, C |
//! | B | [`Onlooker::glance`], fence behind the header load | Acquire | A |
//!
//! Fences, because the memory may be mapped for reading only, and there the language allows relaxed loads and no
//! others.

use super::MAX_POSITION;
use super::record::{self, Place};
use crate::segment::lane_view::LaneView;
use crate::sync::{Ordering, fence};

/// How often an onlooker tries to find a count of messages that belongs to a position, while both grow.
const TRIES: u32 = 8;

/// Whoever looks at a lane without having a part in it.
#[derive(Debug)]
pub(crate) struct Onlooker<L> {
    lane: L,
    stamped: bool,
    capacity: u64,
    largest: u64,
    /// Next record to look at.
    next: u64,
    /// Messages sent before it, as the consumer counts them.
    number: u64,
    /// Records that begin here or behind it are not looked at.
    limit: u64,
    /// Damage was met and told of.
    damaged: bool,
}

/// A record that is there, whole, and was not released when it was last looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Its position, that of a padding in front of it included.
    pub(crate) start: u64,
    /// Position of its payload.
    payload: u64,
    /// Bytes of its payload: at most the channel's maximum, and inside the lane.
    pub(crate) length: u64,
    /// Its place in the total order; 0 in lanes without stamps.
    pub(crate) stamp: u64,
    /// Position behind it.
    end: u64,
}

/// What [`Onlooker::glance`] saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Glance {
    /// Nothing is published that was not seen yet.
    Empty,
    /// The next record.
    Record(Seen),
    /// So many bytes of records were released before they were seen.
    Released(u64),
    /// No producer or consumer of ours writes what stands at this position. Said once.
    Corrupt(u64),
}

impl<L: LaneView> Onlooker<L> {
    /// Begins with what waits.
    pub(crate) fn new(lane: L, stamped: bool, largest: u64) -> Onlooker<L> {
        let capacity = lane.capacity();
        let mut onlooker = Onlooker {
            lane,
            stamped,
            capacity,
            largest,
            next: 0,
            number: 0,
            limit: u64::MAX,
            damaged: false,
        };
        let read = onlooker.released();
        if is_possible(read) {
            onlooker.go_on_at(read);
        }
        onlooker
    }

    /// Whatever was loaded before is ordered before whatever is loaded next.
    #[inline]
    fn settle(&self) {
        fence(Ordering::Acquire); // Z
    }

    /// Everything before it may be overwritten at any time; what was loaded before the call and lies behind it was not.
    #[inline]
    fn released(&self) -> u64 {
        self.settle();
        self.lane.control().consumer.read.load(Ordering::Relaxed)
    }

    /// Looks at the next record without stepping behind it.
    pub(crate) fn glance(&mut self) -> Glance {
        // At the limit it is of no interest either what is released.
        if self.damaged || self.next >= self.limit {
            return Glance::Empty;
        }
        // If `next` is a `read` that was loaded before, this has its fence.
        let read = self.released();
        if let Some(seen) = self.follow(read) {
            return seen;
        }
        let control = self.lane.control();
        if control.producer.takeovers.load(Ordering::Relaxed) == 0 {
            return Glance::Empty; // nobody ever sent here, and the lane's pages stay untouched
        }
        let given_up = control.consumer.corrupt.load(Ordering::Relaxed);
        if given_up != 0 && self.next >= given_up - 1 {
            return self.damage(given_up - 1);
        }
        let word = self.lane.header(self.next).load(Ordering::Relaxed);
        fence(Ordering::Acquire); // B
        let behind = |at| self.lane.header(at).load(Ordering::Relaxed);
        let place = record::locate(word, self.next, self.capacity, self.largest, self.stamped, behind);
        let stamp = match place {
            Some(place) if self.stamped => {
                self.lane.header(place.at + record::HEADER).load(Ordering::Relaxed)
            }
            _ => 0,
        };
        let read = self.released();
        if let Some(seen) = self.follow(read) {
            return seen;
        }
        match place {
            _ if word == 0 => {
                self.count_at_rest(read);
                Glance::Empty
            }
            // Its sender had room for it: `read`, loaded behind it, is what that sender saw, or later.
            Some(place) if place.end + record::HEADER - read <= self.capacity => {
                let Place { at, length, end } = place;
                let payload = at + record::payload_offset(self.stamped);
                Glance::Record(Seen { start: self.next, payload, length, stamp, end })
            }
            _ => self.damage(self.next),
        }
    }

    /// Judges `read`, and goes on there if it is ahead. `None`: it is not.
    fn follow(&mut self, read: u64) -> Option<Glance> {
        // A producer of ours is never more than a lap ahead, and it has seen what `read` was.
        if !is_possible(read) || self.next.saturating_sub(read) > self.capacity {
            return Some(self.damage(self.next));
        }
        (read > self.next).then(|| Glance::Released(self.go_on_at(read)))
    }

    /// Goes on at `read` or, if it moves on meanwhile, where it is then. Returns the bytes left out.
    #[cold]
    fn go_on_at(&mut self, mut read: u64) -> u64 {
        let from = self.next;
        for _ in 0..TRIES {
            self.count_released();
            let again = self.released();
            if again <= read || !is_possible(again) {
                self.next = read;
                return read - from;
            }
            read = again;
        }
        self.count_released();
        self.next = read;
        read - from
    }

    /// Takes over the consumer's count: no less than what belongs to a `read` that was loaded before.
    fn count_released(&mut self) {
        self.settle();
        self.number = self.lane.control().consumer.received.load(Ordering::Relaxed);
    }

    /// The consumer counts a message before it moves `read`, so a count taken between the two is too high. Where nothing
    /// happens any more it is right.
    fn count_at_rest(&mut self, read: u64) {
        if read == self.next {
            let shown = self.number;
            self.count_released();
            self.number = self.number.min(shown);
        }
    }

    #[cold]
    fn damage(&mut self, position: u64) -> Glance {
        self.damaged = true;
        Glance::Corrupt(position)
    }

    /// Shows nothing more of this lane, because of a damage that its records do not show. Returns its position.
    #[cold]
    pub(crate) fn give_up(&mut self) -> u64 {
        self.damaged = true;
        self.next
    }

    /// Copies the first bytes of a record's payload. False: it was released meanwhile, and they may be anything.
    #[must_use]
    pub(crate) fn copy(&self, seen: &Seen, bytes: &mut [u8]) -> bool {
        debug_assert!(bytes.len() as u64 <= seen.length);
        self.lane.peep(seen.payload, 0, bytes);
        self.released() <= seen.start
    }

    /// Steps behind a record that [`Onlooker::glance`] has found.
    pub(crate) fn pass(&mut self, seen: &Seen) {
        self.next = seen.end;
        self.number = self.number.wrapping_add(1);
    }

    /// Lets nothing be seen but what waits now: what begins behind `tail` came later. One lap at most, if that word is
    /// impossible, or is not to be asked.
    pub(crate) fn limit_to_now(&mut self, ask_tail: bool) {
        let read = self.released();
        let tail = self.lane.control().producer.tail.load(Ordering::Relaxed);
        let from = self.next.max(if is_possible(read) { read } else { 0 });
        let lap = from + self.capacity;
        if !ask_tail || !(from..=lap).contains(&tail) || !tail.is_multiple_of(8) {
            self.limit = lap;
            return;
        }
        // A sender that was killed between header and `tail` has left one record there. (A lane that nobody ever used has
        // nothing, and its pages stay untouched.)
        let is_used = self.lane.control().producer.takeovers.load(Ordering::Relaxed) != 0;
        let is_behind = is_used && self.lane.header(tail).load(Ordering::Relaxed) != 0;
        self.limit = tail + u64::from(is_behind);
    }

    /// Lets everything be seen again.
    pub(crate) fn lift_limit(&mut self) {
        self.limit = u64::MAX;
    }

    /// Messages sent before the next one, as the lane's consumer counts them.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The lane.
    pub(crate) fn lane(&self) -> &L {
        &self.lane
    }
}

/// Whether a consumer of ours could have stored this as `read`.
fn is_possible(read: u64) -> bool {
    read.is_multiple_of(8) && read <= MAX_POSITION
}
