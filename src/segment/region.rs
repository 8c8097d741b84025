//! The mapped bytes of a channel: bounds-checked references to shared words, nothing of their meaning.

#![allow(unsafe_code)] // turns the mapping's address into references to atomics

use core::cell::OnceCell;
use core::ops::Deref;
use core::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use super::layout::{Header, LaneControl, MAX_SENDERS, SeatEntry};
use super::set::Set;
use crate::sys::{self, Errno, shm};

/// No process has more attachments of its own to one segment, or it is taken for company.
const MANY_ATTACHMENTS: u64 = 64;

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

/// One word anywhere.
#[repr(transparent)]
struct Word(AtomicU64);

// SAFETY: one AtomicU64.
unsafe impl Words for Word {}

/// One attachment of a segment, detached when the last handle that needs it is dropped.
#[derive(Debug)]
pub(crate) struct Region {
    /// `None` only while dropping.
    attached: Option<shm::Attached>,
    id: i32,
    base: NonNull<u8>,
    length: u64,
    /// For each seat's entry: handles of this process that hold it, or are just taking or leaving it, by this attachment.
    held: [AtomicU8; 1 + MAX_SENDERS as usize],
    /// The semaphore set goes with the last attachment (anonymous channels).
    takes_set_along: AtomicBool,
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
            held: [const { AtomicU8::new(0) }; 1 + MAX_SENDERS as usize],
            takes_set_along: AtomicBool::new(false),
        })
    }

    pub(crate) fn id(&self) -> i32 {
        self.id
    }

    /// Size of the segment as the kernel says.
    pub(crate) fn len(&self) -> u64 {
        self.length
    }

    /// A handle of this process is about to take the seat of entry `index`.
    pub(crate) fn note_taking(&self, index: u32) {
        self.held[index as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// It has left it, or has not got it.
    pub(crate) fn note_left(&self, index: u32) {
        self.held[index as usize].fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether a handle of this attachment holds the seat of entry `index`, or is just taking or leaving it.
    pub(crate) fn is_held(&self, index: u32) -> bool {
        // Relaxed: whoever asks has seen the claim (R in `seat`), and with it that it was noted.
        self.held[index as usize].load(Ordering::Relaxed) != 0
    }

    /// Who is attached at this moment, or later; nothing is asked before that is needed.
    pub(crate) fn company(&self) -> Company<'_> {
        Company { region: self, others: OnceCell::new() }
    }

    /// Makes the last process that detaches remove the semaphore set too, if there is a header to name one.
    pub(crate) fn remove_set_with_last(&self) {
        self.takes_set_along.store(self.holds_header(), Ordering::Relaxed);
    }

    /// Whether it is large enough for a channel's header. What was attached by its id alone may be anything.
    pub(crate) fn holds_header(&self) -> bool {
        self.length >= size_of::<Header>() as u64
    }

    #[inline]
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
    #[inline]
    pub(crate) fn at<T: Words>(&self, offset: u64) -> &T {
        let place = self.place(offset, size_of::<T>() as u64, align_of::<T>() as u64);
        // SAFETY: inside the mapping and aligned (checked by `place`; the mapping itself is page-aligned by
        // the kernel), valid for every content (`Words`), alive as long as `self`.
        unsafe { place.cast().as_ref() }
    }

    /// Whether the first `length` bytes are zero, but for the word at `except`.
    pub(crate) fn is_zero(&self, length: u64, except: u64) -> bool {
        let mut places = (0..length / 8).map(|index| 8 * index).filter(|&place| place != except);
        places.all(|place| self.at::<Word>(place).0.load(Ordering::Relaxed) == 0)
    }

    /// Address of `length` bytes at `offset`, a multiple of 8, for [`super::lane_view`].
    ///
    /// # Panics
    /// As [`Region::at`].
    pub(super) fn bytes(&self, offset: u64, length: u64) -> NonNull<u8> {
        self.place(offset, length, 8)
    }

    /// The word at `offset`, whatever it is there for.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn word(&self, offset: u64) -> &AtomicU64 {
        &self.at::<Word>(offset).0
    }

    /// Copies `bytes` to `offset`, a multiple of 8.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn put(&self, offset: u64, bytes: &[u8]) {
        let place = self.bytes(offset, (bytes.len() as u64).next_multiple_of(8));
        // SAFETY: inside the mapping and aligned, as `bytes` has checked.
        unsafe { super::copy::copy_in(place.as_ptr(), bytes) };
    }

    /// Fills `bytes` from `offset` on, a multiple of 8.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn get(&self, offset: u64, bytes: &mut [u8]) {
        let place = self.bytes(offset, (bytes.len() as u64).next_multiple_of(8));
        // SAFETY: the shared side as in `put`; `bytes` is exclusive and as long as it says.
        unsafe { super::copy::copy_out(place.as_ptr(), bytes.as_mut_ptr(), bytes.len()) };
    }

    /// Makes the kernel provide the pages of a range now. Best effort.
    pub(crate) fn populate(&self, offset: u64, length: u64) -> sys::Result<()> {
        let start = self.place(offset, length, super::layout::PAGE);
        sys::process::populate(start, length as usize)
    }
}

/// Who is attached to a segment, asked once however many seats are judged by it: the answer may take long, and a peer
/// decides how many claims there are to judge. To be had after the set by which they are judged: who has taken a seat in an
/// earlier set was attached before.
#[derive(Debug)]
pub(crate) struct Company<'a> {
    region: &'a Region,
    others: OnceCell<Others>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Others {
    /// This is the only attachment.
    None,
    /// All attachments are this process's.
    Own,
    /// Or nobody knows.
    Some,
}

impl Company<'_> {
    /// Whether no other process is attached, so that whoever held the seat of entry `index` is gone, whatever its pid
    /// was; unless it is this process. `own` = the holder's pid is ours: then another attachment of ours could have it.
    pub(crate) fn is_alone_without(&self, index: u32, own: bool) -> bool {
        let alone = match self.others.get_or_init(|| others(self.region.id)) {
            Others::None => true,
            Others::Own => !own,
            Others::Some => false,
        };
        // After the count: who comes between the two is one of us and holds it now.
        alone && !self.region.is_held(index)
    }
}

fn others(id: i32) -> Others {
    match shm::stat(id).map(|stat| stat.nattch) {
        Ok(1) => Others::None,
        Ok(count @ ..=MANY_ATTACHMENTS) if count == own_attachments(id) => Others::Own,
        _ => Others::Some,
    }
}

/// The header of a channel's segment, which it keeps mapped. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct HeaderMap {
    header: NonNull<Header>,
    /// Last, because the address above is good as long as it lives.
    region: Arc<Region>,
}

// SAFETY: the address leads to atomics in a mapping that the Arc keeps alive in every thread.
unsafe impl Send for HeaderMap {}
// SAFETY: as above.
unsafe impl Sync for HeaderMap {}

impl HeaderMap {
    /// # Panics
    /// If the segment is smaller than a header.
    pub(crate) fn new(region: Arc<Region>) -> HeaderMap {
        HeaderMap { header: NonNull::from(region.at::<Header>(0)), region }
    }

    pub(crate) fn region(&self) -> &Arc<Region> {
        &self.region
    }
}

impl Deref for HeaderMap {
    type Target = Header;

    #[inline(always)]
    fn deref(&self) -> &Header {
        // SAFETY: `new` got it from a reference into the region, which `self` keeps mapped.
        unsafe { self.header.as_ref() }
    }
}

/// Attachments of a segment that this process has, as far as `/proc` tells: each has one range that begins at its
/// first byte.
fn own_attachments(id: i32) -> u64 {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let begins = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        // address, permissions, offset, device, inode, path
        let [_, _, offset, _, inode, path, ..] = words[..] else { return false };
        path.starts_with("/SYSV") && inode.parse() == Ok(id) && offset.bytes().all(|digit| digit == b'0')
    };
    maps.lines().filter(begins).count() as u64
}

impl Drop for Region {
    fn drop(&mut self) {
        let along = self.takes_set_along.load(Ordering::Relaxed);
        // Read before the memory goes. Who makes a new set after that is attached, and detaches after us.
        let set = along.then(|| Set::of(self.at::<Header>(0))).flatten();
        drop(self.attached.take());
        if let Some(set) = set
            // An anonymous segment is destroyed by the last detach, and then its id is unknown: whoever sees
            // that removes the set. Two processes may both see it; the second removal fails harmlessly.
            && matches!(shm::stat(self.id), Err(Errno::EINVAL | Errno::EIDRM))
        {
            set.remove(self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::probe;
    use super::*;

    /// An id may become any segment's before it is attached.
    #[test]
    fn what_is_too_small_for_a_header_harms_nobody() {
        for size in [1, 8, 4095] {
            let id = shm::get(shm::IPC_PRIVATE, size, shm::IPC_CREAT | 0o600).unwrap();
            let region = Region::attach(id, shm::Access::ReadWrite);
            shm::remove(id).unwrap();
            let region = region.unwrap();
            region.remove_set_with_last();
            assert!(probe(&region).is_err());
        }
    }
}
