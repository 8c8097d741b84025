//! The mapped bytes of a channel: bounds-checked references to shared words, nothing of their meaning.

#![allow(unsafe_code)] // turns the mapping's address into references to atomics

use core::ptr::NonNull;
use std::sync::OnceLock;

use super::layout::{Header, LaneControl, SeatEntry};
use crate::sys::{self, Errno, sem, shm};

/// Marks structures that may be laid over shared memory.
///
/// # Safety
/// The type is `repr(C)` and consists of `AtomicU64` and padding only: every bit pattern is valid and every
/// access is atomic.
pub(crate) unsafe trait Words {}

// SAFETY: nothing but AtomicU64 and padding, see the definition.
unsafe impl Words for Header {}
// SAFETY: nothing but AtomicU64 and padding, see the definition.
unsafe impl Words for SeatEntry {}
// SAFETY: nothing but AtomicU64 and padding, see the definition.
unsafe impl Words for LaneControl {}

/// One attachment of a segment, detached when the last handle that needs it is dropped.
#[derive(Debug)]
pub(crate) struct Region {
    /// `None` only while dropping.
    attached: Option<shm::Attached>,
    id: i32,
    base: NonNull<u8>,
    length: u64,
    /// Semaphore set that goes with the last attachment (anonymous channels).
    orphan: OnceLock<i32>,
}

// SAFETY: the region hands out nothing but atomics and copies; `Attached` owns the mapping and is Send.
unsafe impl Send for Region {}
// SAFETY: as above: all shared access is atomic.
unsafe impl Sync for Region {}

impl Region {
    /// Attaches segment `id`.
    pub(crate) fn attach(id: i32, access: shm::Access) -> sys::Result<Region> {
        let attached = shm::attach(id, access)?;
        Ok(Region {
            id,
            base: attached.as_ptr(),
            length: attached.len() as u64,
            attached: Some(attached),
            orphan: OnceLock::new(),
        })
    }

    pub(crate) fn id(&self) -> i32 {
        self.id
    }

    /// Size of the segment as the kernel says.
    pub(crate) fn len(&self) -> u64 {
        self.length
    }

    /// Makes the last process that detaches remove semaphore set `set` too.
    pub(crate) fn remove_with_last(&self, set: i32) {
        let _ = self.orphan.set(set);
    }

    fn place(&self, offset: u64, length: u64, align: u64) -> NonNull<u8> {
        let end = offset.checked_add(length);
        assert!(
            end.is_some_and(|end| end <= self.length) && offset.is_multiple_of(align),
            "{length} bytes at {offset} of a segment of {}",
            self.length
        );
        // SAFETY: offset is inside the mapping, checked above against the kernel's size.
        unsafe { self.base.add(offset as usize) }
    }

    /// The structure at `offset`.
    ///
    /// # Panics
    /// If it does not lie inside the segment or is not aligned: our own arithmetic would be broken.
    pub(crate) fn at<T: Words>(&self, offset: u64) -> &T {
        let place = self.place(offset, size_of::<T>() as u64, align_of::<T>() as u64);
        // SAFETY: inside the mapping and aligned (checked by `place`; the mapping itself is page-aligned by
        // the kernel), valid for every content (`Words`), alive as long as `self`.
        unsafe { place.cast().as_ref() }
    }

    /// Address of `length` bytes at `offset`, a multiple of 8, for [`super::lane_view`].
    ///
    /// # Panics
    /// As [`Region::at`].
    pub(super) fn bytes(&self, offset: u64, length: u64) -> NonNull<u8> {
        self.place(offset, length, 8)
    }

    /// Makes the kernel provide the pages of a range now. Best effort.
    pub(crate) fn populate(&self, offset: u64, length: u64) -> sys::Result<()> {
        let start = self.place(offset, length, super::layout::PAGE);
        sys::process::populate(start, length as usize)
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        drop(self.attached.take());
        if let Some(&set) = self.orphan.get() {
            // An anonymous segment is destroyed by the last detach, and then its id is unknown: whoever sees
            // that removes the set. Two processes may both see it; the second removal fails harmlessly.
            if matches!(shm::stat(self.id), Err(Errno::EINVAL | Errno::EIDRM)) {
                let _ = sem::remove(set);
            }
        }
    }
}
