//! Ending another thread's wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::wait::{Park, Semaphore};

/// Makes the current or the next blocking call of one handle return `Interrupted`. From any thread of the
/// process; does not block. Works once per call of [`Interrupter::interrupt`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sysring::RecvError;
/// let (_tx, mut rx) = sysring::spsc().pair()?;
/// let stop = rx.interrupter();
/// std::thread::spawn(move || stop.interrupt());
/// assert!(matches!(rx.recv_vec(), Err(RecvError::Interrupted)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Interrupter {
    state: Arc<State>,
}

/// The flag, and where the handle sleeps.
#[derive(Debug, Default)]
struct State {
    raised: AtomicBool,
    /// {1, bell: 16, set: 32} of the handle's seat; 0 = no seat, it cannot be asleep.
    bell: AtomicU64,
}

impl Interrupter {
    pub(super) fn new() -> Interrupter {
        Interrupter { state: Arc::default() }
    }

    /// Interrupts.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sysring::RecvError;
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// tx.attach()?;
    /// rx.interrupter().interrupt(); // nobody waits yet: the next wait ends
    /// assert!(matches!(rx.recv(), Err(RecvError::Interrupted)));
    /// tx.send("a")?;
    /// assert_eq!(rx.recv_vec()?, b"a"); // once per call
    /// # Ok(())
    /// # }
    /// ```
    pub fn interrupt(&self) {
        self.state.raised.store(true, Ordering::SeqCst);
        let bell = self.state.bell.load(Ordering::SeqCst);
        if bell != 0 {
            // A unit stays until it is taken, so it does not matter whether the sleep has begun. Failure means
            // that the set is gone, and then nobody sleeps on it.
            let semaphore = Semaphore { set: (bell as u32).cast_signed(), index: (bell >> 32) as u16 };
            let _ = semaphore.unpark();
        }
    }

    /// Tells where the handle sleeps from now on.
    pub(super) fn seated(&self, bell: Semaphore) {
        let word = 1 << 48 | u64::from(bell.index) << 32 | u64::from(bell.set.cast_unsigned());
        self.state.bell.store(word, Ordering::SeqCst);
    }

    /// The handle is gone: there is nobody to wake, and its set may be gone too.
    pub(super) fn left(&self) {
        self.state.bell.store(0, Ordering::SeqCst);
    }

    /// Whether it was raised; lowers it.
    pub(super) fn take(&self) -> bool {
        self.state.raised.load(Ordering::Relaxed) && self.state.raised.swap(false, Ordering::SeqCst)
    }
}
