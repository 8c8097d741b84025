//! Message channels between processes on one machine: `std::sync::mpsc`, but between processes.
//!
//! The bytes travel through a System V shared-memory segment; a System V semaphore set is slept on and tells of
//! deaths. No daemon, no files, no system call per message while nobody sleeps, and `kill -9` of anybody at any
//! instruction harms nobody else.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let name = format!("doc-lib-{}", std::process::id());
//! // In one process:
//! let mut tx = sysring::mpsc().sender(&name)?;
//! tx.send("hello")?;
//!
//! // In another, before or after, whoever comes first:
//! let mut rx = sysring::mpsc().receiver(&name)?;
//! assert_eq!(rx.recv_vec()?, b"hello");
//! # sysring::remove(&name)?;
//! # Ok(())
//! # }
//! ```
//!
//! * [`spsc`] and [`mpsc`] begin a [`Builder`], which makes or opens a channel by [`Address`] or makes an anonymous
//!   pair for `fork`.
//! * [`Sender`] and [`Receiver`] try, wait, time out, batch, and work in place.
//! * [`Observer`] and [`list`] look, read-only; a [`Tap`] shows messages without taking them.
//! * [`segment`] is plain System V shared memory, without any channel.
//! * [`system`] tells the kernel's limits and how much of them is in use.
//!
//! # Guarantees
//!
//! A message whose `send` returned `Ok` is received exactly once if a receiver lives or comes, whatever happens to the
//! sender. One whose sender is killed inside `send` is there whole or not at all, and nobody waits for it. Messages of
//! one sender keep their order; across senders the order is total and causal unless [`Order::PerSender`] is asked for.
//! Nothing is overwritten or dropped silently. A sleeper is woken by the kernel when its peer dies.
//!
//! # Limits
//!
//! Linux, 64-bit. One machine and one IPC namespace. Whoever may write to the segment may damage its contents, but
//! not this process: everything shared is read once, checked, and copied.

#![cfg_attr(loom, allow(dead_code, unused_imports, unreachable_pub, missing_docs))]

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("sysring needs Linux on a 64-bit processor");

pub(crate) mod sync;

pub(crate) mod lane;
pub(crate) mod merge;
pub(crate) mod wait;

mod error;
mod sys;

#[cfg(all(test, loom))]
mod model_tests;

#[cfg(not(loom))]
mod channel;
pub mod segment;
#[cfg(not(loom))]
pub mod system;

#[cfg(all(any(test, fuzzing), not(loom)))]
#[doc(hidden)]
pub mod fuzzing;

#[cfg(not(loom))]
pub use channel::{
    Address, BatchMessage, Builder, Channel, Collector, EndOfStream, Fence, Finding, FindingKind, Frame,
    FrameMut, Interrupter, Iter, Kind, LaneStats, Listed, Message, Missed, Observer, Order, Outcome,
    Receiver, RecvBatch, SeatStats, SendBatch, Sender, Slot, Stats, Tap, Tapped, TappedMessage, Trusted,
    TryIter, list, mpsc, remove, spsc,
};
pub use error::{
    Corruption, Fault, OpenError, OpenErrorKind, RecvError, RecvTimeoutError, SendError, SendTimeoutError,
    SystemError, TryRecvError, TrySendError,
};
pub use sys::Errno;
pub use wait::WaitStrategy;

/// Compiles and runs the code of README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// Compiles and runs the programs of the guide; `crates/cli/tests/guide` sees to the rest of it.
#[cfg(doctest)]
mod guide {
    #[doc = include_str!("../docs/getting-started.md")]
    struct GettingStarted;
    #[doc = include_str!("../docs/options.md")]
    struct Options;
    #[doc = include_str!("../docs/guarantees.md")]
    struct Guarantees;
    #[doc = include_str!("../docs/deployment.md")]
    struct Deployment;
    #[doc = include_str!("../docs/troubleshooting.md")]
    struct Troubleshooting;
    #[doc = include_str!("../docs/migration.md")]
    struct Migration;
}
