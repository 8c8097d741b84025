//! System V shared memory without a channel: create, attach, read, write, look at, remove.
//!
//! This is the layer for programs that share a segment with others who know nothing of this
//! crate, plain C programs for example. There is no synchronisation in it: what one process writes
//! another may read half-written. For messages use the channels at the root of the crate.
//!
//! The five steps of every text on the subject are here under these names:
//!
//! | C | here |
//! |---|---|
//! | `shmget` | [`Segment::create`], [`Segment::open`], [`Segment::open_or_create`] |
//! | `shmat` | [`Segment::attach`], [`Segment::attach_read_only`] |
//! | using the memory | [`Mapping::read`], [`Mapping::write`], [`ReadOnlyMapping::read`] |
//! | `shmdt` | dropping the mapping, or [`Mapping::detach`] |
//! | `shmctl` | [`Segment::stat`], [`Segment::set_permissions`], [`Segment::lock`], [`Segment::remove`] |
//!
//! A segment has a **key**, by which programs find it, and an **id**, which is the kernel's answer.
//! It lives until it was removed *and* the last process has detached. A child made by `fork`
//! inherits the attachments of its parent; the end of a process, however it comes, detaches.
//!
//! Nothing here waits for another process.
//!
//! # Examples
//!
//! ```
//! use sysring::segment::{Key, Segment};
//!
//! let segment = Segment::create(Key::PRIVATE, 1024, 0o600)?;
//! let mapping = segment.attach()?;
//! segment.remove()?; // from now on it lives only as long as it is attached
//!
//! mapping.write(0, b"Hello, Shared Memory!")?;
//! let mut text = [0; 21];
//! mapping.read(0, &mut text)?;
//! assert_eq!(&text, b"Hello, Shared Memory!");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod copy;
mod error;
mod key;
pub(crate) mod lane_view;
pub(crate) mod layout;
mod mapping;
mod raw;
pub(crate) mod region;
pub(crate) mod seat;
pub(crate) mod set;
pub(crate) mod view;

pub use error::SegmentError;
pub use key::Key;
pub use mapping::{Mapping, OutOfBounds, ReadOnlyMapping};
pub use raw::{Segment, SegmentStat};

use crate::sys::process;

/// Bytes in a page of this machine, as `getconf PAGESIZE` prints. Does not block.
///
/// # Examples
///
/// ```
/// assert!(sysring::segment::page_size().is_power_of_two());
/// ```
pub fn page_size() -> usize {
    process::page_size()
}

/// The memory that a segment of `size` bytes really takes: whole pages. Does not block.
///
/// The kernel keeps the size that was asked for ([`SegmentStat::size`]) and maps whole pages;
/// this crate lets nobody use the rest of the last one. Sizes too near to `usize::MAX` to be
/// rounded up give the highest multiple there is.
///
/// # Examples
///
/// ```
/// use sysring::segment::{page_size, round_to_pages};
///
/// assert_eq!(round_to_pages(1), page_size());
/// assert_eq!(round_to_pages(page_size()), page_size());
/// assert_eq!(round_to_pages(page_size() + 1), 2 * page_size());
/// ```
pub fn round_to_pages(size: usize) -> usize {
    let page = page_size();
    size.checked_next_multiple_of(page).unwrap_or(usize::MAX / page * page)
}
