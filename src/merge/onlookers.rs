//! Lanes that are looked at from outside, in the order in which a receiver would take what they hold.
//!
//! The rule is the merge's: read the counter, look at every lane, show what lies below the counter in the order of the
//! stamps. The counter's load needs no order of its own: every look at a lane begins with a fence (Z), which orders it
//! behind the increments that it has seen (E). An onlooker is told of no lane by a bitmap, whose bits are the receiver's
//! business, and looks at all of them.
//!
//! A record that was released before it was shown is left out. What is shown is in order all the same, because each head
//! that is shown was found to be intact after its payload was read. As with the merge, that is an order in which nothing
//! comes before what its sender knew to be sent; a sender that is between its stamp and its publication is not waited for.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::{MAX_STAMP, Rule, TURN};
use crate::lane::{Glance, Onlooker, Seen};
use crate::segment::lane_view::LaneView;
use crate::sync::{AtomicU64, Ordering};

/// Several lanes, looked at as one.
#[derive(Debug)]
pub(crate) struct Onlookers<L> {
    lanes: Vec<Onlooker<L>>,
    rule: Rule,
    /// Heads already seen, by stamp.
    heads: BinaryHeap<Reverse<(u64, u32)>>,
    /// What was seen at the head of each lane.
    found: Vec<Option<Seen>>,
    /// The lane whose head was taken, as long as it was not looked at again.
    taken: Option<u32>,
    /// Stamps below it may be shown without another look.
    horizon: u64,
    /// Stamps from here on are not shown.
    limit: u64,
    /// Index of a lane, and what is left of its turn.
    turn: (u32, u32),
    /// What was met and not told yet: releases and damage.
    news: VecDeque<Sight>,
}

/// What is to be seen next. Lanes are named by their index among those that are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Nothing, in any lane.
    Nothing,
    /// This record of this lane.
    Record(u32, Seen),
    /// So many bytes of records of this lane were released before they were seen.
    Released(u32, u64),
    /// This lane is damaged at this position. Said once; the others go on.
    Corrupt(u32, u64),
}

impl<L: LaneView> Onlookers<L> {
    pub(crate) fn new(lanes: Vec<Onlooker<L>>, rule: Rule) -> Onlookers<L> {
        let count = lanes.len();
        Onlookers {
            lanes,
            rule,
            heads: BinaryHeap::with_capacity(count),
            found: vec![None; count],
            taken: None,
            horizon: 0,
            limit: u64::MAX,
            turn: (0, TURN),
            news: VecDeque::new(),
        }
    }

    /// The lane of that index.
    pub(crate) fn lane(&self, index: u32) -> &Onlooker<L> {
        &self.lanes[index as usize]
    }

    /// Finds what is next: the same record again until [`Onlookers::pass`] or [`Onlookers::forget`].
    pub(crate) fn next(&mut self, stamps: &AtomicU64) -> Sight {
        if let Some(news) = self.news.pop_front() {
            return news;
        }
        match self.rule {
            Rule::Total => self.next_total(stamps),
            Rule::Single | Rule::PerSender => self.next_in_turn(),
        }
    }

    /// Steps behind the record that [`Onlookers::next`] has found.
    pub(crate) fn pass(&mut self, index: u32, seen: &Seen) {
        self.lanes[index as usize].pass(seen);
        self.forget(index);
        self.turn.1 = self.turn.1.saturating_sub(1);
    }

    /// The record that [`Onlookers::next`] has found was released before it could be read.
    pub(crate) fn forget(&mut self, index: u32) {
        if self.rule == Rule::Total {
            self.found[index as usize] = None;
            self.heads.pop();
            self.taken = Some(index);
        }
    }

    /// Lets nothing be seen but what waits now.
    ///
    /// In total order that is what has a stamp below the counter, in any lane; otherwise each lane ends where its sender
    /// is now. One lap of each lane at most, whatever counter and sender say.
    pub(crate) fn limit_to_now(&mut self, stamps: &AtomicU64) {
        for lane in &mut self.lanes {
            lane.limit_to_now(self.rule != Rule::Total);
        }
        if self.rule == Rule::Total {
            self.taken = None; // its lane is looked at with all the others
            self.look_at_all();
            let known = self.highest_head();
            let counter = stamps.load(Ordering::Relaxed);
            // The stamps that were seen precede it (B, E); one that does not shows that the counter is wrong.
            self.limit = if known.is_none_or(|stamp| stamp < counter) { counter } else { u64::MAX };
            self.horizon = 0;
        }
    }

    /// Lets everything be seen again.
    pub(crate) fn lift_limit(&mut self) {
        self.lanes.iter_mut().for_each(Onlooker::lift_limit);
        self.limit = u64::MAX;
    }

    fn highest_head(&self) -> Option<u64> {
        self.heads.iter().map(|Reverse((stamp, _))| *stamp).max()
    }

    /// Looks at a lane whose head is not known. False: it is still not known, and there are news.
    fn look(&mut self, index: u32) -> bool {
        match self.lanes[index as usize].glance() {
            Glance::Empty => {}
            Glance::Record(seen) if self.rule == Rule::Total && seen.stamp >= MAX_STAMP => {
                let position = self.lanes[index as usize].give_up();
                self.news.push_back(Sight::Corrupt(index, position));
            }
            Glance::Record(seen) => {
                debug_assert!(self.found[index as usize].is_none(), "it would stand in `heads` twice");
                self.found[index as usize] = Some(seen);
                self.heads.push(Reverse((seen.stamp, index)));
            }
            Glance::Corrupt(position) => self.news.push_back(Sight::Corrupt(index, position)),
            Glance::Released(bytes) => {
                self.news.push_back(Sight::Released(index, bytes));
                return false;
            }
        }
        true
    }

    fn look_at_all(&mut self) {
        for index in 0..self.lanes.len() as u32 {
            if self.found[index as usize].is_none() {
                self.look(index);
            }
        }
    }

    /// The head that is next in the total order, as far as that is known.
    fn head(&self) -> Option<Sight> {
        let &Reverse((stamp, index)) = self.heads.peek()?;
        let seen = self.found[index as usize].expect("a lane in `heads` has its head in `found`");
        (stamp < self.horizon.min(self.limit)).then_some(Sight::Record(index, seen))
    }

    fn next_total(&mut self, stamps: &AtomicU64) -> Sight {
        if let Some(index) = self.taken {
            if self.look(index) {
                self.taken = None;
            }
            if let Some(news) = self.news.pop_front() {
                return news;
            }
        }
        if let Some(head) = self.head() {
            return head;
        }
        self.look_at_all();
        let known = self.highest_head();
        let counter = stamps.load(Ordering::Relaxed); // see the head of the file
        self.look_at_all();
        if let Some(news) = self.news.pop_front() {
            return news;
        }
        // A stamp that was seen before the counter and does not lie below it is somebody's damage, and in nobody's way.
        self.horizon = known.map_or(counter, |stamp| counter.max(stamp + 1));
        self.head().unwrap_or(Sight::Nothing)
    }

    fn next_in_turn(&mut self) -> Sight {
        let count = self.lanes.len() as u32;
        // One step more than lanes: the first may only end a turn that is used up.
        for _ in 0..=count {
            if self.turn.1 > 0 {
                match self.lanes[self.turn.0 as usize].glance() {
                    Glance::Empty => {}
                    Glance::Record(seen) => return Sight::Record(self.turn.0, seen),
                    Glance::Released(bytes) => return Sight::Released(self.turn.0, bytes),
                    Glance::Corrupt(position) => return Sight::Corrupt(self.turn.0, position),
                }
            }
            self.turn = ((self.turn.0 + 1) % count, TURN);
        }
        Sight::Nothing
    }
}
