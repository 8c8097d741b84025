//! What was done when: the operations of one sender each, and of the receiver, with the times between which each of
//! them took effect.

use std::fmt;

/// What an operation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Sent this message, of so many bytes, in this lane.
    Send { value: u64, lane: u32, length: u32 },
    /// Found no room for so many bytes in this lane.
    Full { lane: u32, length: u32 },
    /// Received this message. Its room is not given back yet.
    Receive { value: u64 },
    /// Gave back the room of this message, which was received before.
    Release { value: u64 },
    /// Found nothing.
    Empty,
}

impl Act {
    pub(crate) fn is_release(&self) -> bool {
        matches!(self, Act::Release { .. })
    }
}

/// An operation: it took effect at one moment, not before `begin` and not after `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) act: Act,
    pub(crate) begin: u64,
    pub(crate) end: u64,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x?} from {} to {}", self.act, self.begin, self.end)
    }
}

/// What the lanes must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// One queue.
    Total,
    /// A queue for each lane, and one receiver that sees all of them at once.
    PerSender,
}

/// How much goes into a lane. The sizes are those of the byte map in ARCHITECTURE.md, worked out here once more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) capacity: u64,
    /// Records carry a stamp.
    pub(crate) stamped: bool,
}

impl Shape {
    /// Where a message of `length` bytes ends that is sent when the lane's last record ends at `tail`.
    pub(crate) fn end(&self, tail: u64, length: u32) -> u64 {
        let size = if self.stamped { 16 } else { 8 } + u64::from(length).next_multiple_of(8);
        let lap_end = (tail / self.capacity + 1) * self.capacity;
        if tail + size > lap_end { lap_end + size } else { tail + size }
    }

    /// Whether a message that ends there has room, when everything before `read` was given back: with the word
    /// that follows it, it must not reach the oldest record one lap later.
    pub(crate) fn has_room(&self, end: u64, read: u64) -> bool {
        end + 8 - read <= self.capacity
    }
}

/// All operations on a channel that was empty before, and whose messages all have different values.
#[derive(Clone, Debug)]
pub(crate) struct History {
    pub(crate) rule: Rule,
    pub(crate) shape: Shape,
    /// Where each lane's first record goes.
    pub(crate) tails: Vec<u64>,
    /// What each sending process did, in its order.
    pub(crate) senders: Vec<Vec<Operation>>,
    /// What the receiver did, in its order.
    pub(crate) receiver: Vec<Operation>,
}

/// Operations that took place at the same time, as far as the clock can tell.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Overlaps {
    /// Sends of different processes.
    pub(crate) sends: u64,
    /// A send and a receive.
    pub(crate) mixed: u64,
}

impl History {
    /// Everybody's operations; the receiver's come last.
    pub(crate) fn processes(&self) -> impl Iterator<Item = &[Operation]> {
        self.senders.iter().chain([&self.receiver]).map(Vec::as_slice)
    }

    /// Operations, without those that only give room back.
    pub(crate) fn len(&self) -> usize {
        self.processes().flatten().filter(|operation| !operation.act.is_release()).count()
    }

    /// How many of them are of a kind.
    pub(crate) fn count(&self, is_wanted: impl Fn(&Act) -> bool) -> u64 {
        self.processes().flatten().filter(|operation| is_wanted(&operation.act)).count() as u64
    }

    pub(crate) fn overlaps(&self) -> Overlaps {
        let pairs = |ours: &[Operation], theirs: &[Operation]| {
            let overlap = |a: &Operation, b: &Operation| a.begin <= b.end && b.begin <= a.end;
            ours.iter().map(|a| theirs.iter().filter(|b| overlap(a, b)).count() as u64).sum::<u64>()
        };
        let mut overlaps = Overlaps::default();
        let received: Vec<Operation> =
            self.receiver.iter().filter(|operation| !operation.act.is_release()).copied().collect();
        for (index, ours) in self.senders.iter().enumerate() {
            self.senders[..index].iter().for_each(|theirs| overlaps.sends += pairs(ours, theirs));
            overlaps.mixed += pairs(ours, &received);
        }
        overlaps
    }

    /// What each lane's senders did there, in their order: one has the lane at a time.
    pub(crate) fn lane_programs(&self) -> Vec<Vec<Operation>> {
        let mut lanes = vec![Vec::new(); self.tails.len()];
        for operation in self.senders.iter().flatten() {
            if let Act::Send { lane, .. } | Act::Full { lane, .. } = operation.act {
                lanes[lane as usize].push(*operation);
            }
        }
        lanes.iter_mut().for_each(|lane| lane.sort_by_key(|operation| (operation.begin, operation.end)));
        lanes
    }

    /// Where the lanes' last records end: where a next history begins.
    pub(crate) fn last_tails(&self) -> Vec<u64> {
        let after = |tail: &u64, lane: &Vec<Operation>| {
            lane.iter().fold(*tail, |tail, operation| match operation.act {
                Act::Send { length, .. } => self.shape.end(tail, length),
                _ => tail,
            })
        };
        self.tails.iter().zip(&self.lane_programs()).map(|(tail, lane)| after(tail, lane)).collect()
    }
}
