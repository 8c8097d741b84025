//! Which lane is next: many lanes, one order.
//!
//! # The total order
//!
//! A sender takes a stamp from one shared counter (`fetch_add`, E) after it has written its payload and before
//! it publishes. The receiver delivers the smallest stamp among the heads of the lanes, after one more look at
//! the lanes that seemed empty. To pay for that look once per burst and not once per message, it reads the
//! counter first (c, Acquire, F), then looks at every lane once, and then delivers whatever it finds below c.
//!
//! *Why that is total and causal.* Let the sender of b know that send(a) returned. Then a was published before b
//! took its stamp, so stamp(a) < stamp(b). Say b is delivered below the horizon c. Then the load of c saw b's
//! increment or a later one; increments form one release sequence (so none of them needs to acquire), and that load is
//! ordered after b's increment and with it after the publication of a. The look comes after the load: it sees a, and a smaller stamp goes
//! first. What the look did not see had not returned from send when c was read, so nothing below c can have
//! begun after it. Stamps may be missing, of senders killed between stamp and publication; nobody waits for them.
//!
//! With one lane worth looking at there is nothing to merge: see its head first (B), then load the bitmap. If a in
//! another lane came before this head, that lane's bit was set before a was published, and the load shows it.
//!
//! # Lanes worth looking at
//!
//! A sender sets its lane's bit (Release, H) after taking its seat and before its first record. Only the receiver
//! clears it: seat free and lane empty, clear (G), look at both again, set it back if either changed. Setting and
//! clearing are read-modify-writes of one word: if the sender's came first, G is ordered after it and the second look
//! finds the seat taken; if it comes later, the bit is set.
//! The bitmap is loaded after c, and again whenever nothing was found, so a lane with a message is never missed.
//!
//! | letter | where | order | pairs with |
//! |---|---|---|---|
//! | E | stamp `fetch_add` in [`crate::lane::Producer::commit`] | Release | F |
//! | F | counter load in `Merge::count`, for [`Merge::next`] | Acquire | E |
//! | G | bit cleared in [`Merge::retire`] | Acquire | H |
//! | H | [`show`], bit set by a sender at attach | Release | G |

mod onlookers;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::lane::{Consumer, Found, Peek};
use crate::segment::lane_view::LaneView;
use crate::segment::layout::{Bitmap, MAX_SENDERS};
use crate::sync::{AtomicU64, Ordering};

pub(crate) use onlookers::{Onlookers, Sight};

/// Messages taken from one lane before the next has its turn, in per-sender order.
const TURN: u32 = 32;

/// The shared words that the merge reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shared<'a> {
    /// Next stamp.
    pub(crate) stamps: &'a AtomicU64,
    /// Lanes worth looking at.
    pub(crate) bitmap: &'a Bitmap,
}

/// How lanes are put in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// There is one lane and no bitmap.
    Single,
    /// By stamps.
    Total,
    /// Round robin.
    PerSender,
}

/// All lanes of a channel, seen as one.
#[derive(Debug)]
pub(crate) struct Merge<L> {
    lanes: Vec<Consumer<L>>,
    rule: Rule,
    /// Lanes whose bit was set when the bitmap was last loaded.
    active: Vec<u32>,
    /// That bitmap, damaged lanes left out.
    bits: [u64; 4],
    /// Lanes given up.
    corrupt: [u64; 4],
    /// Heads already seen, by stamp.
    heads: BinaryHeap<Reverse<(u64, u32)>>,
    /// What was found at the head of each lane.
    found: Vec<Option<Found>>,
    /// Lane whose head was taken and whose next record was not looked at yet.
    taken: Option<u32>,
    /// Stamps below it may be delivered without another look.
    horizon: u64,
    /// Index into `active`, and what is left of its turn.
    turn: (usize, u32),
    /// The lane of the last message taken, as long as the next may come from it without a look at the others:
    /// [`NO_RUN`] = it may not.
    run: u32,
    /// Stamps of the run stay below it: those of the other heads, and the horizon.
    bound: u64,
    /// Position at which the run ends in total order: the lane's mark.
    run_end: u64,
    /// What is known of each lane's stamps, see [`Mark`].
    marks: Vec<Mark>,
    /// The highest value of the counter that was believed; 0 = none yet.
    highest: u64,
    /// Somebody has played with the counter: a stamp above it proves nothing against its lane any more.
    counter_damaged: bool,
}

/// What is known of the stamps that are still to come in a lane.
///
/// What begins at position `end` or behind it has none below `horizon`: `end` lies one capacity ahead of where the
/// receiver was when it had read the counter, so its sender got the room for it (C, D) after that. And none at all
/// lies below `floor`, which is above that of a message taken: what a damaged terminator shows is left from the last lap.
/// Without these two a lane could stay in front of all others for ever with small stamps.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    end: u64,
    horizon: u64,
    floor: u64,
}

/// No honest counter comes near.
const MAX_STAMP: u64 = 1 << 62;

/// See [`Merge::run`].
const NO_RUN: u32 = u32::MAX;

/// What is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing, in any lane.
    Empty,
    /// This record of this lane.
    Record(u32, Found),
    /// This lane is damaged at this position. Reported once; the others go on.
    Corrupt(u32, u64),
}

/// Sets a lane's bit: its sender has taken the seat.
pub(crate) fn show(bitmap: &Bitmap, lane: u32) {
    bitmap.words[lane as usize / 64].fetch_or(1 << (lane % 64), Ordering::Release); // H
}

/// Lanes that the bitmap shows and that were not known.
#[inline(always)]
fn news(bitmap: &Bitmap, known: &[u64; 4], corrupt: &[u64; 4]) -> [u64; 4] {
    std::array::from_fn(|index| bitmap.words[index].load(Ordering::Relaxed) & !known[index] & !corrupt[index])
}

impl<L: LaneView> Merge<L> {
    /// Puts `lanes` together. For more than one, the bits of all lanes that may hold something are set
    /// already.
    pub(crate) fn new(lanes: Vec<Consumer<L>>, rule: Rule) -> Merge<L> {
        assert!(!lanes.is_empty() && lanes.len() <= MAX_SENDERS as usize);
        assert!(rule != Rule::Single || lanes.len() == 1);
        let count = lanes.len();
        Merge {
            rule,
            active: if rule == Rule::Single { vec![0] } else { Vec::with_capacity(count) },
            bits: [0; 4],
            corrupt: [0; 4],
            heads: BinaryHeap::with_capacity(count),
            found: vec![None; count],
            taken: None,
            horizon: 0,
            turn: (0, TURN),
            run: if rule == Rule::Single { 0 } else { NO_RUN },
            bound: 0,
            run_end: 0,
            marks: vec![Mark::default(); count],
            highest: 0,
            counter_damaged: false,
            lanes,
        }
    }

    /// The lane of that number.
    pub(crate) fn lane(&self, lane: u32) -> &Consumer<L> {
        &self.lanes[lane as usize]
    }

    /// Messages released so far, wrapping.
    pub(crate) fn received(&self) -> u64 {
        self.lanes.iter().fold(0, |sum, lane| sum.wrapping_add(lane.received()))
    }

    /// Whether there is one lane and nothing to merge.
    pub(crate) fn is_single(&self) -> bool {
        self.rule == Rule::Single
    }

    /// The first lane: the only one if [`Merge::is_single`].
    #[inline(always)]
    pub(crate) fn single(&mut self) -> &mut Consumer<L> {
        &mut self.lanes[0]
    }

    /// All lanes.
    pub(crate) fn lanes(&self) -> &[Consumer<L>] {
        &self.lanes
    }

    /// Finds what is next without taking it: the same again until [`Merge::pass`].
    #[inline]
    pub(crate) fn next(&mut self, shared: Shared<'_>) -> Next {
        if self.rule != Rule::Single {
            self.run = NO_RUN;
        }
        match self.rule {
            Rule::Single => self.next_single(),
            Rule::Total => self.next_total(shared),
            Rule::PerSender => self.next_in_turn(shared),
        }
    }

    /// Takes what [`Merge::next`] found. It stays unreleased.
    #[inline]
    pub(crate) fn pass(&mut self, lane: u32, found: &Found) {
        self.lanes[lane as usize].pass(found);
        match self.rule {
            Rule::Single => {}
            Rule::Total => {
                self.found[lane as usize] = None;
                if found.stamp < MAX_STAMP {
                    let least = found.stamp + 1;
                    let least = if self.counter_damaged { least.min(self.highest) } else { least };
                    let floor = &mut self.marks[lane as usize].floor;
                    *floor = least.max(*floor);
                }
                if self.heads.peek().is_some_and(|Reverse((_, top))| *top == lane) {
                    self.heads.pop();
                    self.taken = Some(lane);
                    let others = self.heads.peek().map_or(u64::MAX, |Reverse((stamp, _))| *stamp);
                    (self.run, self.bound) = (lane, others.min(self.horizon));
                    self.run_end = self.marks[lane as usize].end;
                }
            }
            Rule::PerSender => {
                self.turn.1 = self.turn.1.saturating_sub(1);
                self.run = lane;
            }
        }
    }

    /// Copies and releases the next message in one go, if it comes from the same lane as the last one for certain. `None`:
    /// nothing was done.
    ///
    /// In total order: its stamp is below those of all other heads, and below the horizon; or there is no other lane
    /// worth looking at, as the bitmap shows after its head was seen.
    #[inline(always)]
    pub(crate) fn receive_at_once(&mut self, bitmap: &Bitmap, buffer: &mut [u8]) -> Option<(u32, usize)> {
        let number = self.run;
        let (lane, bound, turn) = self.run(bitmap)?;
        let length = match bound {
            Some(bound) => lane.receive_at_once::<true>(buffer, bound)?,
            None => lane.receive_at_once::<false>(buffer, || 0)?,
        };
        *turn = turn.saturating_sub(1);
        Some((number, length))
    }

    /// The same for [`Merge::next`] and [`Merge::pass`].
    #[inline(always)]
    pub(crate) fn take_at_once(&mut self, bitmap: &Bitmap) -> Option<(u32, Found)> {
        let number = self.run;
        let (lane, bound, turn) = self.run(bitmap)?;
        let found = match bound {
            Some(bound) => lane.take_at_once::<true>(bound)?,
            None => lane.take_at_once::<false>(|| 0)?,
        };
        *turn = turn.saturating_sub(1);
        Some((number, found))
    }

    /// The lane of the run, if there is one; the bound of its stamps in total order, to be found out after a head was
    /// seen; and what is left of its turn.
    #[inline(always)]
    fn run(&mut self, bitmap: &Bitmap) -> Option<(&mut Consumer<L>, Option<impl FnOnce() -> u64>, &mut u32)> {
        if self.rule == Rule::PerSender && self.turn.1 == 0 {
            return None;
        }
        if self.rule == Rule::Total && self.lanes.get(self.run as usize)?.position() >= self.run_end {
            return None;
        }
        let is_only = self.active.len() == 1;
        let (bits, corrupt, bound) = (&self.bits, &self.corrupt, self.bound);
        let lane = self.lanes.get_mut(self.run as usize)?;
        let bound = move || if is_only && news(bitmap, bits, corrupt) == [0; 4] { u64::MAX } else { bound };
        Some((lane, (self.rule == Rule::Total).then_some(bound), &mut self.turn.1))
    }

    /// Steps behind a message of `lane` that was found before [`Merge::rewind`]; it stays unreleased.
    pub(crate) fn pass_again(&mut self, lane: u32, payload: u64, length: u64) {
        self.lanes[lane as usize].pass_again(payload, length);
    }

    /// Notes that everything passed in `lane` is about to be handed out.
    #[inline]
    pub(crate) fn give(&mut self, lane: u32) {
        self.lanes[lane as usize].give();
    }

    /// Releases everything passed in `lane`; returns the position up to which it has room now.
    #[inline]
    pub(crate) fn release(&mut self, lane: u32) -> u64 {
        self.lanes[lane as usize].release()
    }

    /// Forgets whatever was passed and not released, in all lanes.
    pub(crate) fn rewind(&mut self) {
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            if lane.is_ahead() {
                lane.rewind();
                self.marks[index].floor = 0;
                // A damage met behind what comes again will be met again.
                self.corrupt[index / 64] &= !(1 << (index % 64));
            }
        }
        self.heads.clear();
        self.found.fill(None);
        self.taken = None;
        self.horizon = 0;
        if self.rule != Rule::Single {
            self.run = NO_RUN;
        }
    }

    #[inline]
    fn next_single(&mut self) -> Next {
        match self.lanes[0].peek() {
            Peek::Record(found) => Next::Record(0, found),
            Peek::Empty => Next::Empty,
            Peek::Corrupt(position) => {
                self.lanes[0].insist();
                Next::Corrupt(0, position)
            }
        }
    }

    /// Looks at a lane whose head is not known. Returns its damage.
    #[inline]
    fn look(&mut self, lane: u32) -> Option<Next> {
        match self.lanes[lane as usize].peek() {
            Peek::Record(found) => {
                if self.is_past_mark(lane) || self.is_below_floor(lane, &found) {
                    self.horizon = 0; // look around before it is delivered
                }
                self.found[lane as usize] = Some(found);
                self.heads.push(Reverse((self.place(lane, &found), lane)));
                None
            }
            Peek::Empty => None,
            Peek::Corrupt(position) => Some(self.give_up(lane, position)),
        }
    }

    /// Where a head stands among the others: at its stamp. That proves nothing any more when somebody has played with
    /// the counter; but it gets nobody in front of the others either.
    #[inline]
    fn place(&self, lane: u32, head: &Found) -> u64 {
        if !self.counter_damaged {
            return head.stamp;
        }
        let mark = self.marks[lane as usize];
        let horizon = if self.is_past_mark(lane) { mark.horizon } else { 0 };
        head.stamp.max(mark.floor).max(horizon)
    }

    #[inline]
    fn is_past_mark(&self, lane: u32) -> bool {
        self.lanes[lane as usize].position() >= self.marks[lane as usize].end
    }

    #[inline]
    fn is_below_floor(&self, lane: u32, found: &Found) -> bool {
        found.stamp < self.marks[lane as usize].floor
    }

    fn mark(&mut self, lane: u32, horizon: u64) {
        let end = self.lanes[lane as usize].position().saturating_add(self.lanes[lane as usize].capacity());
        let mark = &mut self.marks[lane as usize];
        (mark.end, mark.horizon) = (end, horizon);
    }

    /// Checks the stamps of heads against their lane's mark, and moves the marks that were reached. To be called with what
    /// the counter is now.
    fn move_marks(&mut self, horizon: u64) -> Option<Next> {
        for index in 0..self.active.len() {
            let lane = self.active[index];
            let Some(head) = self.found[lane as usize] else { continue };
            let past = self.is_past_mark(lane);
            let too_small = past && head.stamp < self.marks[lane as usize].horizon;
            if (too_small || self.is_below_floor(lane, &head)) && !self.counter_damaged {
                return Some(self.condemn(lane));
            }
            if past {
                self.mark(lane, horizon);
            }
        }
        None
    }

    /// Gives up a lane because of a stamp that is impossible beside the counter.
    #[cold]
    fn condemn(&mut self, lane: u32) -> Next {
        self.heads.retain(|Reverse((_, other))| *other != lane);
        self.found[lane as usize] = None;
        self.taken = self.taken.filter(|taken| *taken != lane);
        let position = self.lanes[lane as usize].condemn();
        self.give_up(lane, position)
    }

    /// Gives up a lane in which nothing can be released any more, from there on. Returns where that is.
    #[cold]
    pub(crate) fn disown(&mut self, lane: u32) -> u64 {
        self.lanes[lane as usize].rewind();
        self.condemn(lane);
        self.lanes[lane as usize].position()
    }

    /// Looks at what no message shows: gives up a lane whose next record was written over (see [`Consumer::is_cut_off`])
    /// and returns it.
    pub(crate) fn give_up_cut_off(&mut self) -> Option<(u32, u64)> {
        let lanes = &self.lanes;
        let is_hit = |&&lane: &&u32| self.found[lane as usize].is_none() && lanes[lane as usize].is_cut_off();
        let lane = *self.active.iter().find(is_hit)?;
        self.condemn(lane);
        Some((lane, self.lanes[lane as usize].position()))
    }

    /// A lane that another receiver has taken over.
    pub(crate) fn lost(&self) -> Option<u32> {
        self.active.iter().copied().find(|lane| self.lanes[*lane as usize].is_lost())
    }

    /// Writes down again what others may have overwritten: what was released, and the bits of the lanes whose seats are
    /// taken, which their senders set once only.
    pub(crate) fn restate(&self, bitmap: &Bitmap, taken: &[u64; 4]) {
        self.active.iter().for_each(|lane| self.lanes[*lane as usize].restate());
        if self.rule == Rule::Single {
            return;
        }
        for lane in 0..self.lanes.len() as u32 {
            let (word, bit) = (lane as usize / 64, 1 << (lane % 64));
            let is_known = (self.bits[word] | self.corrupt[word]) & bit != 0;
            if taken[word] & bit != 0 && !is_known {
                show(bitmap, lane);
            }
        }
    }

    /// Marks the lanes that were given up, in case that somebody has removed their marks: no sender shall wait there.
    pub(crate) fn insist(&self) {
        let given_up = |lane: &usize| self.corrupt[lane / 64] >> (lane % 64) & 1 == 1;
        (0..self.lanes.len()).filter(given_up).for_each(|lane| self.lanes[lane].insist());
    }

    /// The counter, as far as it can be believed: it never goes back.
    #[inline]
    fn count(&mut self, stamps: &AtomicU64) -> u64 {
        let counter = stamps.load(Ordering::Acquire); // F
        if counter < self.highest || counter > MAX_STAMP {
            self.mend(stamps, counter);
        } else {
            self.highest = counter;
        }
        self.highest
    }

    /// Whether a counter that was never seen before can be believed: every head that was seen took its stamp from it. If
    /// not, it is as likely to be wrong as a lane, and no lane pays for it.
    #[cold]
    fn judge_counter(&mut self, stamps: &AtomicU64) {
        // Relaxed: a head's increment is ordered before it by A and B.
        let counter = stamps.load(Ordering::Relaxed);
        let highest =
            self.heads.iter().map(|Reverse((stamp, _))| *stamp).filter(|stamp| *stamp < MAX_STAMP).max();
        if let Some(stamp) = highest {
            self.highest = self.highest.max(stamp + 1);
            if stamp >= counter {
                self.mend(stamps, counter);
            }
        }
    }

    /// Puts the counter right again, for the senders to go on from there.
    #[cold]
    fn mend(&mut self, stamps: &AtomicU64, counter: u64) {
        self.counter_damaged = true;
        // Failed, it is looked at again with the next message.
        let _ = stamps.compare_exchange(counter, self.highest, Ordering::Relaxed, Ordering::Relaxed);
    }

    #[cold]
    fn give_up(&mut self, lane: u32, position: u64) -> Next {
        self.corrupt[lane as usize / 64] |= 1 << (lane % 64);
        self.leave_out(lane);
        Next::Corrupt(lane, position)
    }

    fn leave_out(&mut self, lane: u32) {
        if self.rule == Rule::Single {
            return; // there is no other
        }
        self.run = NO_RUN;
        self.bits[lane as usize / 64] &= !(1 << (lane % 64));
        self.active.retain(|&other| other != lane);
        self.turn = (0, TURN);
    }

    /// Loads the bitmap. True if it shows lanes that were not known.
    ///
    /// What was seen once stays seen: only this receiver may clear a bit. Relaxed: that a bit cannot be missed
    /// follows from what was loaded before (B, F), and what the lane holds is ordered by B.
    #[inline]
    fn load_bitmap(&mut self, bitmap: &Bitmap) -> bool {
        let news = news(bitmap, &self.bits, &self.corrupt);
        if news == [0; 4] {
            return false;
        }
        for (known, new) in self.bits.iter_mut().zip(news) {
            *known |= new;
        }
        self.list_active();
        true
    }

    #[cold]
    fn list_active(&mut self) {
        let bits = self.bits;
        self.active.clear();
        self.active.extend(
            (0..self.lanes.len() as u32).filter(|&lane| bits[lane as usize / 64] >> (lane % 64) & 1 == 1),
        );
        self.turn = (0, TURN);
    }

    #[inline]
    fn next_total(&mut self, shared: Shared<'_>) -> Next {
        if let Some(lane) = self.taken.take()
            && let Some(damage) = self.look(lane)
        {
            return damage;
        }
        if let Some(&Reverse((stamp, lane))) = self.heads.peek()
            && stamp < self.horizon
        {
            return self.head(lane);
        }
        self.look_around(shared)
    }

    #[inline]
    fn head(&self, lane: u32) -> Next {
        Next::Record(lane, self.found[lane as usize].expect("a lane in `heads` has its head in `found`"))
    }

    /// Looks at every lane whose head is not known. Returns the first damage.
    fn look_at_all(&mut self) -> Option<Next> {
        for index in 0..self.active.len() {
            let lane = self.active[index];
            if self.found[lane as usize].is_none() {
                let damage = self.look(lane);
                if damage.is_some() {
                    return damage;
                }
            }
        }
        None
    }

    /// Nothing is known below the horizon: looks at the lanes, and moves the horizon if there is more than one.
    fn look_around(&mut self, shared: Shared<'_>) -> Next {
        if self.heads.is_empty() {
            // An idle poll touches the lanes only, not the counter that senders write.
            if let Some(damage) = self.look_at_all() {
                return damage;
            }
        }
        if !self.load_bitmap(shared.bitmap) {
            match self.active[..] {
                _ if self.heads.is_empty() => return Next::Empty,
                [only] if !self.found[only as usize].is_some_and(|head| self.is_below_floor(only, &head)) => {
                    self.mark(only, 0); // nobody waits behind it
                    return self.head(only);
                }
                _ => {}
            }
        }
        for _ in 0..2 {
            let known = self.highest;
            let horizon = self.count(shared.stamps);
            if let Some(&Reverse((stamp, lane))) = self.heads.peek()
                && stamp >= horizon
                && (known > 0 || stamp >= MAX_STAMP)
                && !self.counter_damaged
            {
                // The increment that gave this stamp precedes the publication that we have seen.
                return self.condemn(lane);
            }
            self.load_bitmap(shared.bitmap);
            if let Some(damage) = self.look_at_all().or_else(|| self.move_marks(horizon)) {
                return damage;
            }
            if known == 0 {
                self.judge_counter(shared.stamps);
            }
            self.horizon = horizon;
            match self.heads.peek() {
                None => return Next::Empty,
                Some(&Reverse((stamp, lane))) if stamp < horizon || self.counter_damaged => {
                    return self.head(lane);
                }
                // Found by this look only: it is below the next counter.
                Some(_) => {}
            }
        }
        unreachable!("a head known before the counter was read is below it or condemned")
    }

    fn next_in_turn(&mut self, shared: Shared<'_>) -> Next {
        // Bounded, so that a bitmap somebody plays with cannot keep us here.
        for _ in 0..self.lanes.len() + 2 {
            let mut more = false;
            // One step more than lanes: the first may only end a turn that is used up.
            for _ in 0..=self.active.len() {
                let Some(&lane) = self.active.get(self.turn.0) else { break };
                if self.turn.1 > 0 {
                    match self.lanes[lane as usize].peek() {
                        Peek::Record(found) => return Next::Record(lane, found),
                        Peek::Empty => {}
                        Peek::Corrupt(position) => return self.give_up(lane, position),
                    }
                }
                self.turn = (self.turn.0 + 1, TURN);
                if self.turn.0 == self.active.len() {
                    // New lanes are looked for once a round: busy ones cannot starve them.
                    self.turn.0 = 0;
                    more = self.load_bitmap(shared.bitmap);
                    if more {
                        break;
                    }
                }
            }
            if !more && !self.load_bitmap(shared.bitmap) {
                return Next::Empty;
            }
        }
        Next::Empty
    }

    /// Takes lanes off the bitmap whose sender has gone and that are drained.
    ///
    /// `free` asks the kernel whether a seat is free, at the moment of the call.
    pub(crate) fn retire(&mut self, bitmap: &Bitmap, mut free: impl FnMut(u32) -> bool) {
        if self.rule == Rule::Single {
            return;
        }
        let candidates = self.active.clone();
        for lane in candidates {
            let known = self.found[lane as usize].is_some();
            let lane_of = &mut self.lanes[lane as usize];
            if known || !lane_of.is_drained() || lane_of.is_cut_off() || !free(lane) {
                continue;
            }
            let (word, bit) = (&bitmap.words[lane as usize / 64], 1 << (lane % 64));
            word.fetch_and(!bit, Ordering::Acquire); // G
            if !free(lane) || !self.lanes[lane as usize].is_drained() {
                word.fetch_or(bit, Ordering::Relaxed);
            } else {
                if self.taken == Some(lane) {
                    self.taken = None;
                }
                self.leave_out(lane);
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
