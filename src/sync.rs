//! The atomics that everything above `sys` is written with: the real ones, or loom's.
//!
//! With `--cfg loom` the lane, the merge and the bell are compiled against loom's types, so that the
//! model checker runs the very code that ships. Nothing else in the crate may name
//! `core::sync::atomic` types for shared words.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicU64, Ordering, fence};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};

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
