//! Spinning: how long to look again before it is worth sleeping.

use std::hint;

use parking_lot_core::SpinWait;

/// Looks without giving the core away, first.
const EAGER: u32 = 128;

/// The same where that has brought nothing of late.
const RELUCTANT: u32 = 8;

/// Waits in a row in which the first looks brought nothing, until fewer are made.
const LESSON: u32 = 4;

/// One wait in so many is eager all the same, to find out.
const RETRY: u32 = 64;

/// Rounds of [`SpinWait`] after that; one is about seven yields.
const ROUNDS: u32 = 8;

/// What the waits of a handle have taught it: a peer on this very core cannot answer before it gets it, and one that is
/// slow does not answer within the first looks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Habit {
    /// Waits since one was ended by the first looks.
    fruitless: u32,
}

/// One wait's spinning. Make a new one for every wait.
pub(crate) struct Backoff {
    eager: u32,
    looks: u32,
    rounds: u32,
    spin: SpinWait,
}

impl Backoff {
    pub(crate) fn new(habit: &mut Habit) -> Backoff {
        habit.fruitless = habit.fruitless.wrapping_add(1);
        let eager = if habit.fruitless > LESSON && !habit.fruitless.is_multiple_of(RETRY) {
            RELUCTANT
        } else {
            EAGER
        };
        Backoff { eager, looks: 0, rounds: 0, spin: SpinWait::new() }
    }

    /// To be called when the wait is over because of something found.
    #[inline]
    pub(crate) fn found(&self, habit: &mut Habit) {
        if self.looks < self.eager {
            habit.fruitless = 0;
        }
    }

    /// Passes a moment. False when spinning has taken long enough; it may be called on.
    ///
    /// First the processor's own pause, because the answer of a running peer takes a microsecond at most;
    /// then with yields, because a peer may need this very core.
    #[inline]
    pub(crate) fn spin(&mut self) -> bool {
        if self.looks < self.eager {
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
        self.looks == self.eager || self.looks.is_multiple_of(32)
    }
}
