//! Ending another thread's wait.

use std::sync::Arc;

use crate::wait::{Flag, Park, Semaphore};

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
    /// Its bell is {1, bell: 16, set: 32} of the handle's seat; 0 = no seat, it cannot be asleep.
    flag: Arc<Flag>,
}

impl Interrupter {
    pub(super) fn new() -> Interrupter {
        Interrupter { flag: Arc::default() }
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
        let bell = self.flag.raise();
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
        self.flag.seated(word);
    }

    /// The handle is gone: there is nobody to wake, and its set may be gone too.
    pub(super) fn left(&self) {
        self.flag.seated(0);
    }

    /// Whether it was raised; lowers it.
    pub(super) fn take(&self) -> bool {
        self.flag.take()
    }
}
