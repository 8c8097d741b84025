//! The atomics that everything above `sys` is written with: the real ones, or a model checker's.
//!
//! With `--cfg loom` the lane, the merge, the bell and the words of seats, sets and header are compiled against
//! loom's types, so that the model checker runs the very code that ships; with `--cfg shuttle` beside it, against
//! shuttle's, which knows no weak memory but takes more threads. Nothing else in the crate may name
//! `core::sync::atomic` types for shared words.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicU64, Ordering, fence};

#[cfg(all(loom, not(shuttle)))]
pub(crate) use loom as checker;
#[cfg(all(loom, shuttle))]
pub(crate) use shuttle as checker;

#[cfg(loom)]
pub(crate) use checker::sync::atomic::{AtomicU64, Ordering, fence};

/// Keeps the compiler from moving memory accesses across it; emits no instruction.
///
/// Half of an asymmetric fence: it is enough only where the other side forces a full fence upon this
/// process (see [`crate::wait::Barrier`]). Under loom it is a full fence, because loom knows nothing of
/// `membarrier`.
#[inline(always)]
pub(crate) fn light_fence() {
    #[cfg(not(loom))]
    core::sync::atomic::compiler_fence(Ordering::SeqCst);
    #[cfg(loom)]
    fence(Ordering::SeqCst);
}

/// The thread sanitizer knows no fences. What an acquire fence orders behind a load of this word is told to it here; in any
/// other build this is nothing.
#[inline(always)]
pub(crate) fn tell_sanitizer(word: &AtomicU64) {
    if cfg!(sysring_copies = "plain") {
        word.load(Ordering::Acquire);
    }
}
