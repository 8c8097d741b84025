//! The bell: sleep when there is nothing to do, be woken when there is, and cost next to nothing otherwise.
//!
//! A semaphore is a doorbell, never a counter of messages. Beside it lies the **sleep number** in the segment:
//! odd = somebody sleeps or is about to.
//!
//! * Sleeper: store the next odd number, full fence (K), *look*, `semtimedop(-1)`; on every way out store
//!   number + 1.
//! * Ringer: publish, fence (L), load the number; if it is odd, post +1 **and only then** compare-and-swap
//!   number -> number + 1.
//!
//! # Why no wake-up is lost
//!
//! K and L are both full fences, so of a sleeper and a ringer at least one sees the other: the sleeper's look
//! finds what was published, or the ringer finds the odd number. In the second case a unit is posted, and a
//! unit stays until it is taken: it does not matter whether the sleeper has gone to sleep yet. The number is
//! changed after the post, so a ringer that is stopped between the two leaves the number odd, and the next
//! ringer posts as well. (Swapping first would let a stopped ringer put the sleeper to bed over everybody
//! else's messages.) What is left is a ringer stopped between publishing and posting: for its own last message
//! alone the sleeper waits until the ceiling; if the ringer dies there, its will (see
//! [`crate::segment::seat`]) posts.
//!
//! A wake may be spurious: units of late ringers. So a sleeper always looks again, and takes units before it
//! looks, never after.
//!
//! # Who woke me
//!
//! [`sleep`] reports whether the number had been changed by a ringer. Every ringer that changes it has posted a unit
//! of its own; so if the number was *not* changed, the unit may be a will's, and the caller must ask the kernel
//! who is gone. A will's unit cannot be mistaken for ever: for each wake that is put down to a ringer, a ringer has
//! posted one, hence the will's unit is still there and ends the next sleep at once.
//!
//! # The asymmetric fence
//!
//! A full fence per message costs about 10 ns. Where every process has registered with `membarrier`, the ringer
//! uses a compiler fence, and the sleeper, which has time, makes the kernel run a full fence on every core that
//! runs a registered process ([`Barrier::heavy`]). A process that cannot do that sets the sticky `real_fences`
//! word before it takes its seat, and everybody uses real fences from then on.
//!
//! | letter | where | what | pairs with |
//! |---|---|---|---|
//! | K | [`sleep`], between number and look | fence SeqCst, or membarrier | L |
//! | L | [`is_asleep`], [`ring`], between publication and number | fence SeqCst, or compiler fence under membarrier | K |

mod backoff;
mod flag;
#[cfg(not(loom))]
mod hang_back;
#[cfg(not(loom))]
mod park;

#[cfg(not(loom))]
pub(crate) use backoff::{Backoff, Habit};
pub(crate) use flag::Flag;
#[cfg(not(loom))]
pub(crate) use hang_back::{HangBack, RealClock};
#[cfg(not(loom))]
pub(crate) use park::Semaphore;

use core::time::Duration;

use crate::sync::{AtomicU64, Ordering, fence, light_fence};
use crate::sys::Errno;

/// How a waiting call waits. See the variants; the default is [`WaitStrategy::SpinThenSleep`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sysring::WaitStrategy;
/// let (mut tx, mut rx) = sysring::spsc().wait(WaitStrategy::Sleep).pair()?;
/// tx.send("a")?;
/// assert_eq!(rx.recv_vec()?, b"a");
/// assert_eq!(WaitStrategy::default(), WaitStrategy::SpinThenSleep);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WaitStrategy {
    /// Never sleeps: lowest delay, a whole core (yielded now and then to whoever needs it). Asks the kernel about
    /// dead peers every 100 µs.
    Spin,
    /// Looks for some tens of microseconds, the later part yielding, then sleeps in the kernel.
    #[default]
    SpinThenSleep,
    /// Sleeps at once: least processor time, a system call for each wait.
    Sleep,
}

/// Longest single sleep. Not how anything is found: it bounds the harm of peers that were stopped between
/// publishing and ringing, or that tamper with semaphores.
pub(crate) const CEILING: Duration = Duration::from_secs(1);

/// What sleeping is made of.
pub(crate) trait Park {
    /// Takes one unit, waiting for it at most `limit`.
    fn park(&self, limit: Duration) -> Unparked;
    /// Posts one unit.
    fn unpark(&self) -> Result<(), Errno>;
}

/// Why [`Park::park`] came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unparked {
    /// It took a unit.
    Unit,
    /// The limit passed.
    Limit,
    /// A signal handler ran, or the process was stopped and continued.
    Signal,
    /// The semaphore is gone or forbidden.
    Failed(Errno),
}

/// Both halves of the fence between a publication and the look at a sleep number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Barrier {
    /// This process has registered with `membarrier`, and the handle may rely on it.
    asymmetric: bool,
    /// Asks the kernel for a fence on all registered processes; false if it refused.
    membarrier: fn() -> bool,
}

impl Barrier {
    /// Real fences on both sides.
    pub(crate) const REAL: Barrier = Barrier { asymmetric: false, membarrier: || false };

    /// A compiler fence for ringers, `membarrier` for sleepers. Only for registered processes.
    pub(crate) fn asymmetric(membarrier: fn() -> bool) -> Barrier {
        Barrier { asymmetric: true, membarrier }
    }

    /// The ringer's half (L).
    #[inline(always)]
    pub(crate) fn light(&self, real_fences: &AtomicU64) {
        if self.asymmetric && real_fences.load(Ordering::Relaxed) == 0 {
            light_fence();
        } else {
            fence(Ordering::SeqCst); // L
        }
    }

    /// The sleeper's half (K). False if it could not be had: the sleep must be short then.
    fn heavy(&self, real_fences: &AtomicU64) -> bool {
        fence(Ordering::SeqCst); // K
        // Even where real fences are the rule now: a publication under the old rule may be on its way still.
        if !self.asymmetric || (self.membarrier)() {
            return true;
        }
        // It worked when we registered and is forbidden now: from here on everybody pays for real fences. Relaxed:
        // it arrives while this short sleep lasts.
        real_fences.store(1, Ordering::Relaxed);
        false
    }
}

/// Whether somebody sleeps on a bell, or is about to. Call it after publishing; if so, [`ring`].
///
/// Costs a fence and a load.
#[inline(always)]
pub(crate) fn is_asleep(number: &AtomicU64, barrier: &Barrier, real_fences: &AtomicU64) -> bool {
    barrier.light(real_fences); // L
    number.load(Ordering::Relaxed) & 1 == 1
}

/// Wakes the sleeper of a bell if there is one. Call it after publishing.
///
/// True if a unit was posted. Failure of the post is reported, not hidden: the semaphore may have been removed.
pub(crate) fn ring(
    number: &AtomicU64,
    barrier: &Barrier,
    real_fences: &AtomicU64,
    worth: impl FnOnce() -> bool,
    park: &impl Park,
) -> Result<bool, Errno> {
    barrier.light(real_fences); // L
    let seen = number.load(Ordering::Relaxed);
    if seen & 1 == 0 || !worth() {
        return Ok(false);
    }
    park.unpark()?;
    // Fails if the sleeper is up already or another ringer was first: both fine.
    let _ = number.compare_exchange(seen, seen.wrapping_add(1), Ordering::Relaxed, Ordering::Relaxed);
    Ok(true)
}

/// How a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slept<T> {
    /// The look found something: there was no sleep.
    Found(T),
    /// A unit was taken. `rung` = by a ringer's post; if false it may have been a will.
    Woken {
        /// See [`Slept::Woken`].
        rung: bool,
    },
    /// The limit passed.
    Limit,
    /// A signal came.
    Signal,
    /// The semaphore is gone or forbidden.
    Failed(Errno),
}

/// Sleeps on a bell unless `look` finds something. Blocks at most `limit`.
///
/// What the caller stores before, for ringers to weigh (`worth`), needs no order of its own: a ringer whose fence
/// comes after K sees it, and one whose fence comes before K has published what the look will find.
pub(crate) fn sleep<T>(
    number: &AtomicU64,
    barrier: &Barrier,
    real_fences: &AtomicU64,
    park: &impl Park,
    limit: Duration,
    look: impl FnOnce() -> Option<T>,
) -> Slept<T> {
    // Whatever is there now was left by a dead predecessor or by ourselves: take the next odd number.
    let mine = number.load(Ordering::Relaxed).wrapping_add(1) | 1;
    number.store(mine, Ordering::Relaxed);
    let sure = barrier.heavy(real_fences);
    let limit = if sure { limit } else { limit.min(Duration::from_millis(1)) };
    if let Some(found) = look() {
        number.swap(mine.wrapping_add(1), Ordering::Relaxed);
        return Slept::Found(found);
    }
    let unparked = park.park(limit);
    // One step, so that no ringer's change falls between the look and the store.
    let rung = number.swap(mine.wrapping_add(1), Ordering::Relaxed) != mine;
    match unparked {
        Unparked::Unit => Slept::Woken { rung },
        Unparked::Limit => Slept::Limit,
        Unparked::Signal => Slept::Signal,
        Unparked::Failed(errno) => Slept::Failed(errno),
    }
}
