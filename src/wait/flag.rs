//! A flag that ends a wait: raised by any thread of the process, taken by the one that waits.
//!
//! Who raises it must find the bell on which the other sleeps. The raiser raises, fences, and then looks for the bell
//! (U); the waiter tells its bell, fences, and then, before each sleep, looks for the flag (V). So either the bell is
//! found and gets a unit, which stays until it is taken, or the flag is seen before the sleep.
//!
//! | letter | where | what | pairs with |
//! |---|---|---|---|
//! | U | [`Flag::raise`]: flag, fence, bell | fence SeqCst | V |
//! | V | [`Flag::seated`]: bell, fence, flag (in [`Flag::take`]) | fence SeqCst | U |
//! | W | [`Flag::raise`], flag | Release | X |
//! | X | [`Flag::take`], flag | Acquire | W |

use crate::sync::{AtomicU64, Ordering, fence};

/// A flag, and where its taker sleeps. Private to one process.
#[derive(Debug, Default)]
pub(crate) struct Flag {
    /// 1 = raised.
    raised: AtomicU64,
    /// What the taker has told of its bell; 0 = it cannot be asleep.
    bell: AtomicU64,
}

impl Flag {
    /// Raises it. Returns the bell to ring: 0 = none. What was stored before is seen by whoever takes it.
    pub(crate) fn raise(&self) -> u64 {
        self.raised.store(1, Ordering::Release); // W
        fence(Ordering::SeqCst); // U
        self.bell.load(Ordering::Relaxed)
    }

    /// The taker sleeps on this bell from now on, unless it finds the flag raised.
    pub(crate) fn seated(&self, bell: u64) {
        self.bell.store(bell, Ordering::Relaxed);
        fence(Ordering::SeqCst); // V
    }

    /// Whether it was raised; lowers it.
    pub(crate) fn take(&self) -> bool {
        self.raised.load(Ordering::Relaxed) == 1 && self.raised.swap(0, Ordering::Acquire) == 1 // X
    }
}
