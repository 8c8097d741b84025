//! A lane's memory as the ring algorithms see it, and its stand-in for tests and loom.
//!
//! The algorithms in [`crate::lane`] know [`LaneView`] and nothing of segments. [`LaneMap`] is the shipped
//! one, over the mapped segment; [`ModelLane`] is on the heap, with loom's atomics under `--cfg loom`, where
//! it also reports every payload word that two sides touch without an order between them.

#![allow(unsafe_code)] // keeps raw addresses into the region that it keeps mapped

use super::layout::LaneControl;
use crate::sync::{AtomicU64, Ordering};

/// Bytes of a cache line.
pub(crate) const LINE: u64 = 64;

/// A lane's bytes and control words.
///
/// Offsets are in bytes; words are at multiples of 8. Payloads begin at multiples of 8.
pub(crate) trait LaneView {
    /// Bytes of the lane, a power of two.
    fn capacity(&self) -> u64;
    /// The control words.
    fn control(&self) -> &LaneControl;
    /// The word at the (masked) `position`, as a record header.
    fn header(&self, position: u64) -> &AtomicU64;
    /// Hints that `length` bytes from the (masked) `position` on will be written soon.
    fn prepare(&self, position: u64, length: u64);
    /// Stores the terminator at `position`, which only the producer can see yet.
    fn terminate(&self, position: u64);
    /// Stores a word that belongs to a record which is not published yet.
    fn put_word(&self, position: u64, word: u64);
    /// Loads a word of a published record.
    fn word(&self, position: u64) -> u64;
    /// Copies payload bytes in, `skip` bytes behind `position`; the range does not wrap.
    fn put(&self, position: u64, skip: u64, bytes: &[u8]);
    /// Copies payload bytes out, `skip` bytes behind `position`; the range does not wrap.
    fn get(&self, position: u64, skip: u64, bytes: &mut [u8]);
    /// As `get`, of bytes that may be overwritten meanwhile: the caller finds out afterwards whether they were.
    fn peep(&self, position: u64, skip: u64, bytes: &mut [u8]);
}

#[cfg(not(loom))]
pub(crate) use mapped::LaneMap;

#[cfg(not(loom))]
mod mapped {
    use super::*;
    use crate::segment::copy;
    use crate::segment::layout::Geometry;
    use crate::segment::region::Region;
    use core::ptr::NonNull;
    use std::sync::Arc;

    /// Lines asked for at a time.
    const LINES: u64 = 16;

    /// A lane inside a mapped segment. Keeps the segment mapped.
    #[derive(Clone, Debug)]
    pub(crate) struct LaneMap {
        control: NonNull<LaneControl>,
        data: NonNull<u8>,
        capacity: u64,
        /// Makes an offset of a position: inside the lane, and a multiple of 8.
        mask: u64,
        /// Last, because the addresses above are good as long as it lives.
        region: Arc<Region>,
    }

    // SAFETY: the addresses lead to atomics in a mapping that the Arc keeps alive in every thread.
    unsafe impl Send for LaneMap {}
    // SAFETY: as above.
    unsafe impl Sync for LaneMap {}

    #[cold]
    #[inline(never)]
    fn outside(length: usize, offset: u64, capacity: u64) -> ! {
        panic!("a payload of {length} bytes at {offset} of a lane of {capacity}");
    }

    impl LaneMap {
        /// Lane `lane` of a channel of shape `geometry`.
        ///
        /// # Panics
        /// If the lane does not lie inside the region: the caller has not checked the geometry.
        pub(crate) fn new(region: &Arc<Region>, geometry: Geometry, lane: u32) -> LaneMap {
            let capacity = geometry.capacity();
            LaneMap {
                control: NonNull::from(region.at::<LaneControl>(geometry.control(lane))),
                data: region.bytes(geometry.data(lane), capacity),
                capacity,
                mask: (capacity - 1) & !7,
                region: Arc::clone(region),
            }
        }

        /// Address of `length` payload bytes `skip` bytes (a multiple of 8) behind `position`.
        #[inline(always)]
        fn payload(&self, position: u64, skip: u64, length: usize) -> NonNull<u8> {
            debug_assert!(skip.is_multiple_of(8));
            let offset = (position & self.mask) + skip;
            if offset + length as u64 > self.capacity {
                outside(length, offset, self.capacity);
            }
            // SAFETY: offset + length lies inside the lane, which `new` found inside the mapping.
            unsafe { self.data.add(offset as usize) }
        }

        /// The payload as a slice, in place.
        ///
        /// # Safety
        /// Nobody writes these bytes while the slice lives: the record is published and not released, and
        /// the user has promised that all peers keep to the protocol.
        pub(crate) unsafe fn slice(&self, position: u64, length: usize) -> &[u8] {
            let place = self.payload(position, 0, length);
            // SAFETY: inside the mapping (`payload`), initialised (the kernel gives zeros), not written by
            // the caller's duty, alive as long as the region that `self` holds.
            unsafe { core::slice::from_raw_parts(place.as_ptr(), length) }
        }

        /// The payload as a mutable slice, in place.
        ///
        /// # Safety
        /// Nobody else reads or writes these bytes while the slice lives: the record is reserved by this
        /// lane's only producer, not published, and the user has promised that all peers keep to the
        /// protocol. The caller makes at most one such slice at a time.
        #[expect(clippy::mut_from_ref, reason = "exclusive by the caller's duty, not by the type")]
        pub(crate) unsafe fn slice_mut(&self, position: u64, length: usize) -> &mut [u8] {
            let place = self.payload(position, 0, length);
            // SAFETY: inside the mapping (`payload`), initialised, exclusive by the caller's duty.
            unsafe { core::slice::from_raw_parts_mut(place.as_ptr(), length) }
        }

        /// Appends payload bytes to a vector without clearing its room first.
        pub(crate) fn append(&self, position: u64, length: usize, to: &mut Vec<u8>) {
            let place = self.payload(position, 0, length);
            to.reserve(length);
            let spare = to.spare_capacity_mut().as_mut_ptr().cast();
            // SAFETY: the shared range was checked by `payload` (and a record's room is a multiple of 8);
            // `reserve` made room for `length` bytes behind the vector's length.
            unsafe { copy::copy_out(place.as_ptr(), spare, length) };
            let filled = to.len() + length;
            // SAFETY: `copy_out` has written every byte up to `filled`.
            unsafe { to.set_len(filled) };
        }

        /// Copies bytes to any `offset` of the unpublished payload at `position`, and leaves its other bytes alone.
        pub(crate) fn put_at(&self, position: u64, offset: usize, bytes: &[u8]) {
            let mut at = position + offset as u64;
            let (head, rest) = bytes.split_at(bytes.len().min(at.wrapping_neg() as usize % 8));
            self.put_part(at, head);
            at += head.len() as u64;
            let (whole, tail) = rest.split_at(rest.len() & !7);
            if !whole.is_empty() {
                self.put(at, 0, whole);
            }
            self.put_part(at + whole.len() as u64, tail);
        }

        /// Copies a part of one word.
        fn put_part(&self, at: u64, bytes: &[u8]) {
            if bytes.is_empty() {
                return;
            }
            let mut word = self.word(at).to_ne_bytes();
            let start = at as usize % 8;
            word[start..start + bytes.len()].copy_from_slice(bytes);
            self.put_word(at, u64::from_ne_bytes(word));
        }

        /// Copies bytes from any `offset` of the published payload at `position`.
        pub(crate) fn get_at(&self, position: u64, offset: usize, bytes: &mut [u8]) {
            let at = position + offset as u64;
            let (head, rest) = bytes.split_at_mut(bytes.len().min(at.wrapping_neg() as usize % 8));
            if !head.is_empty() {
                let start = at as usize % 8;
                head.copy_from_slice(&self.word(at).to_ne_bytes()[start..start + head.len()]);
            }
            if !rest.is_empty() {
                self.get(at + head.len() as u64, 0, rest);
            }
        }

        /// The other lines, and no more than the processor can have on the way at a time.
        #[inline(never)]
        fn prepare_more(&self, position: u64, length: u64) {
            for line in 1..(length / LINE).min(LINES) {
                copy::prepare_to_write(self.header(position + line * LINE));
            }
        }

        /// Makes the kernel provide the lane's pages now. Best effort.
        pub(crate) fn populate(&self, geometry: Geometry, lane: u32) {
            let _ = self.region.populate(geometry.data(lane), self.capacity);
        }
    }

    impl LaneView for LaneMap {
        #[inline(always)]
        fn capacity(&self) -> u64 {
            self.capacity
        }

        #[inline(always)]
        fn control(&self) -> &LaneControl {
            // SAFETY: `new` got it from a reference into the region, which `self` keeps mapped.
            unsafe { self.control.as_ref() }
        }

        #[inline(always)]
        fn header(&self, position: u64) -> &AtomicU64 {
            let offset = position & self.mask;
            // SAFETY: the mask keeps the word inside the lane, which `new` found inside the mapping.
            let place = unsafe { self.data.add(offset as usize) };
            // SAFETY: aligned by the mask, mapped, and only ever accessed atomically.
            unsafe { AtomicU64::from_ptr(place.as_ptr().cast()) }
        }

        #[inline(always)]
        fn prepare(&self, position: u64, length: u64) {
            copy::prepare_to_write(self.header(position));
            if length >= 2 * LINE {
                self.prepare_more(position, length);
            }
        }

        #[inline(always)]
        fn terminate(&self, position: u64) {
            self.header(position).store(0, Ordering::Relaxed);
        }

        #[inline(always)]
        fn put_word(&self, position: u64, word: u64) {
            self.header(position).store(word, Ordering::Relaxed);
        }

        #[inline(always)]
        fn word(&self, position: u64) -> u64 {
            self.header(position).load(Ordering::Relaxed)
        }

        #[inline(always)]
        fn put(&self, position: u64, skip: u64, bytes: &[u8]) {
            let place = self.payload(position, skip, bytes.len());
            // SAFETY: `payload` checked the range and its alignment; the lane's size is a multiple of 8, so
            // rounding the length up stays inside.
            unsafe { copy::copy_in(place.as_ptr(), bytes) };
        }

        #[inline(always)]
        fn get(&self, position: u64, skip: u64, bytes: &mut [u8]) {
            let place = self.payload(position, skip, bytes.len());
            // SAFETY: the shared side as in `put`; `bytes` is exclusive and as long as it says.
            unsafe { copy::copy_out(place.as_ptr(), bytes.as_mut_ptr(), bytes.len()) };
        }

        fn peep(&self, position: u64, skip: u64, bytes: &mut [u8]) {
            let place = self.payload(position, skip, bytes.len());
            // SAFETY: as in `get`.
            unsafe { copy::copy_out_racing(place.as_ptr(), bytes.as_mut_ptr(), bytes.len()) };
        }
    }
}

#[cfg(any(test, loom))]
pub(crate) use model::ModelLane;

#[cfg(any(test, loom))]
mod model {
    use super::*;
    #[cfg(loom)]
    use crate::sync::checker::sync::Arc;
    #[cfg(all(loom, not(shuttle)))]
    use loom::cell::UnsafeCell;
    #[cfg(not(loom))]
    use std::sync::Arc;

    /// A lane on the heap. Clones share it.
    #[derive(Clone, Debug)]
    pub(crate) struct ModelLane {
        shared: Arc<Bytes>,
    }

    #[derive(Debug)]
    struct Bytes {
        control: LaneControl,
        words: Vec<AtomicU64>,
        /// What loom watches: touched exclusively by every write of unpublished words, shared by every read
        /// of published ones, so that a missing order between the two is reported as a race.
        #[cfg(all(loom, not(shuttle)))]
        watch: Vec<UnsafeCell<()>>,
    }

    impl ModelLane {
        /// A fresh lane of `capacity` bytes: a power of two, at least 32.
        pub(crate) fn new(capacity: u64) -> ModelLane {
            assert!(capacity.is_power_of_two() && capacity >= 32);
            let words = capacity as usize / 8;
            ModelLane {
                shared: Arc::new(Bytes {
                    control: LaneControl::default(),
                    words: (0..words).map(|_| AtomicU64::new(0)).collect(),
                    #[cfg(all(loom, not(shuttle)))]
                    watch: (0..words).map(|_| UnsafeCell::new(())).collect(),
                }),
            }
        }

        fn index(&self, position: u64) -> usize {
            (position & (self.capacity() - 1)) as usize / 8
        }

        fn writing(&self, index: usize) {
            #[cfg(all(loom, not(shuttle)))]
            self.shared.watch[index].with_mut(|_| ());
            let _ = index;
        }

        fn reading(&self, index: usize) {
            #[cfg(all(loom, not(shuttle)))]
            self.shared.watch[index].with(|_| ());
            let _ = index;
        }
    }

    // SAFETY: the watched cells hold nothing; loom itself checks the accesses to them.
    #[cfg(all(loom, not(shuttle)))]
    unsafe impl Send for Bytes {}
    // SAFETY: as above.
    #[cfg(all(loom, not(shuttle)))]
    unsafe impl Sync for Bytes {}

    impl LaneView for ModelLane {
        fn capacity(&self) -> u64 {
            self.shared.words.len() as u64 * 8
        }

        fn control(&self) -> &LaneControl {
            &self.shared.control
        }

        fn header(&self, position: u64) -> &AtomicU64 {
            &self.shared.words[self.index(position)]
        }

        fn prepare(&self, _: u64, _: u64) {}

        fn terminate(&self, position: u64) {
            self.put_word(position, 0);
        }

        fn put_word(&self, position: u64, word: u64) {
            let index = self.index(position);
            self.writing(index);
            self.shared.words[index].store(word, Ordering::Relaxed);
        }

        fn word(&self, position: u64) -> u64 {
            let index = self.index(position);
            self.reading(index);
            self.shared.words[index].load(Ordering::Relaxed)
        }

        fn put(&self, position: u64, skip: u64, bytes: &[u8]) {
            let position = position + skip;
            assert!((position & (self.capacity() - 1)) + bytes.len() as u64 <= self.capacity());
            for (index, chunk) in bytes.chunks(8).enumerate() {
                let mut word = [0; 8];
                word[..chunk.len()].copy_from_slice(chunk);
                self.put_word(position + 8 * index as u64, u64::from_ne_bytes(word));
            }
        }

        fn get(&self, position: u64, skip: u64, bytes: &mut [u8]) {
            let position = position + skip;
            assert!((position & (self.capacity() - 1)) + bytes.len() as u64 <= self.capacity());
            for (index, chunk) in bytes.chunks_mut(8).enumerate() {
                let word = self.word(position + 8 * index as u64).to_ne_bytes();
                chunk.copy_from_slice(&word[..chunk.len()]);
            }
        }

        fn peep(&self, position: u64, skip: u64, bytes: &mut [u8]) {
            let position = position + skip;
            assert!((position & (self.capacity() - 1)) + bytes.len() as u64 <= self.capacity());
            for (index, chunk) in bytes.chunks_mut(8).enumerate() {
                // Not watched: it may race, and whether it did is what its caller has to find out.
                let word = self.header(position + 8 * index as u64).load(Ordering::Relaxed).to_ne_bytes();
                chunk.copy_from_slice(&word[..chunk.len()]);
            }
        }
    }
}
