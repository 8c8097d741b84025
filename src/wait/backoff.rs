//! Spinning: how long to look again before it is worth sleeping.

use std::hint;

use parking_lot_core::SpinWait;

/// Looks without giving the core away, first.
const EAGER: u32 = 128;

/// Rounds of [`SpinWait`] after that; one is about seven yields.
const ROUNDS: u32 = 8;

/// One wait's spinning. Make a new one for every wait.
pub(crate) struct Backoff {
    looks: u32,
    rounds: u32,
    spin: SpinWait,
}

impl Backoff {
    pub(crate) fn new() -> Backoff {
        Backoff { looks: 0, rounds: 0, spin: SpinWait::new() }
    }

    /// Passes a moment. False when spinning has taken long enough; it may be called on.
    ///
    /// First the processor's own pause, because the answer of a running peer takes a microsecond at most;
    /// then with yields, because a peer may need this very core.
    #[inline]
    pub(crate) fn spin(&mut self) -> bool {
        if self.looks < EAGER {
            self.looks += 1;
            hint::spin_loop();
            return true;
        }
        if !self.spin.spin() {
            self.spin.reset();
            self.rounds = self.rounds.saturating_add(1);
        }
        self.rounds < ROUNDS
    }

    /// Whether this look is one of the few that may cost a look at the clock.
    #[inline]
    pub(crate) fn is_slow(&self) -> bool {
        self.looks.is_multiple_of(32)
    }
}
