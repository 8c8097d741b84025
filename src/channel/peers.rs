//! Whether the other side is there, has been there, and when to ask the kernel again.

use std::time::{Duration, Instant};

use super::shared::{Doubt, PeerSide, Shared};
use crate::segment::seat::{self, Side};
use crate::sync::Ordering;
use crate::wait::CEILING;

/// Fruitless calls ask the kernel so often at most.
const ASK_EVERY: Duration = Duration::from_micros(100);

/// What one handle knows of the other side.
///
/// A side is *gone* for a handle if it has been there since the handle was made and holds no seat now. One that
/// was not seen yet is waited for.
#[derive(Debug)]
pub(super) struct Peers {
    side: PeerSide,
    /// Visits of that side when the handle was made.
    baseline: u64,
    /// Visits at the last answer.
    visits: u64,
    seen: bool,
    /// A will may have woken us, or whatever else: ask before the next sleep.
    stale: Option<Doubt>,
    /// When a unit was last taken together with a message.
    wondered: Option<Instant>,
    /// The header's count of comings and goings at the last question.
    changes: u64,
    asked: Option<Instant>,
    /// When the segment itself was last looked at.
    looked: Instant,
}

impl Peers {
    pub(super) fn new(shared: &Shared, side: PeerSide) -> Peers {
        // An anonymous channel has no past: whoever ever came has come since this handle was made.
        let baseline = if shared.view.is_anonymous() { 0 } else { visits(shared, side) };
        Peers {
            side,
            baseline,
            visits: baseline,
            seen: false,
            stale: Some(Doubt::Some),
            wondered: None,
            changes: 0,
            asked: None,
            looked: Instant::now(),
        }
    }

    /// To be called when the handle takes its seat: whether somebody of that side is there already.
    pub(super) fn attached(&mut self, there: bool) {
        self.seen |= there;
        self.stale = Some(Doubt::Some);
    }

    /// Something arrived from the other side.
    #[inline]
    pub(super) fn heard(&mut self) {
        self.seen = true;
    }

    /// The last wake may have been a will's, or a sleep ran into its ceiling.
    pub(super) fn suspect(&mut self) {
        self.stale = Some(Doubt::Some);
    }

    /// A unit was taken that no ringer has owned up to, and there was something to do: a ringer that was stopped between
    /// its post and its mark, as it always is where the woken one takes its core; or a will.
    pub(super) fn wonder(&mut self) {
        self.stale.get_or_insert(Doubt::None);
        self.wondered = Some(Instant::now());
    }

    /// Whether it is long ago that the kernel was asked.
    fn is_overdue(&self) -> bool {
        self.asked.is_none_or(|then| then.elapsed() >= ASK_EVERY)
    }

    /// Whether to ask the kernel now: somebody came or went, or we were woken without a message, or it is long
    /// ago.
    pub(super) fn is_due(&self, shared: &Shared) -> bool {
        self.must_ask(shared) || self.is_overdue()
    }

    /// Whether to ask the kernel before sleeping. After a ceiling in any case: a peer that rings without end keeps a
    /// sleep from ever running into one.
    pub(super) fn must_ask(&self, shared: &Shared) -> bool {
        self.stale.is_some()
            || self.asked.is_some_and(|then| then.elapsed() >= CEILING)
            || self.changes != shared.view.header().bell.changes.load(Ordering::Relaxed)
    }

    /// Whether to look at the segment itself: it may have been removed without a mark. About once a ceiling.
    pub(super) fn is_segment_due(&mut self) -> bool {
        let due = self.looked.elapsed() >= CEILING.mul_f32(0.9);
        if due {
            self.looked = Instant::now();
        }
        due
    }

    /// Visits of that side so far. To be read before the seats, or whoever comes in between counts as gone.
    pub(super) fn visits_now(&self, shared: &Shared) -> u64 {
        visits(shared, self.side)
    }

    /// To be called before the seats are read.
    pub(super) fn asking(&mut self, shared: &Shared) -> Doubt {
        let fresh = self.wondered.is_some_and(|then| then.elapsed() < ASK_EVERY);
        let doubt = self.stale.take().filter(|_| fresh).unwrap_or(Doubt::Some);
        self.changes = shared.view.header().bell.changes.load(Ordering::Relaxed);
        self.visits = visits(shared, self.side);
        self.asked = Some(Instant::now());
        doubt
    }

    /// To be called with the number of that side's seats that are taken. True if the side is gone.
    pub(super) fn answer(&mut self, shared: &Shared, alive: u64) -> bool {
        self.seen |= alive > 0 || self.visits != self.baseline;
        alive == 0 && (self.seen || self.is_hopeless(shared, alive))
    }

    /// Whether nobody of that side can come any more: on a channel that nobody can find, no other process has it
    /// mapped and this one has no handle of that side.
    pub(super) fn is_hopeless(&self, shared: &Shared, alive: u64) -> bool {
        alive == 0
            && shared.view.is_anonymous()
            && shared.here(self.side).load(core::sync::atomic::Ordering::Relaxed) == 0
            && shared.attached() <= 1
    }

    /// Sessions of that side that ended, ever, as of the last answer.
    pub(super) fn departed(&self, alive: u64) -> u64 {
        self.visits.saturating_sub(alive)
    }
}

fn visits(shared: &Shared, side: PeerSide) -> u64 {
    let any = match side {
        PeerSide::Senders => Side::Sender(0),
        PeerSide::Receiver => Side::Receiver,
    };
    seat::visits(shared.view.header(), any)
}
