//! The one routine that moves payload bytes into and out of memory that other processes may write.
//!
//! The rules of the language know no race with another process; what is defined is an atomic access, and
//! code that the compiler cannot look into. So small payloads go word by word through relaxed atomics (the
//! shared side is always 8-byte aligned and padded to 8), and large ones through one `rep movsb`, which the
//! compiler sees as a black box. A peer that writes at the same time makes the bytes wrong, never the
//! program.

#![allow(unsafe_code)] // raw shared memory: here and nowhere else are its payload bytes touched

use core::sync::atomic::{AtomicU64, Ordering};

/// From this many bytes on, `rep movsb` is used where the processor has it.
const LARGE: usize = 1024;

/// Copies `source` to `shared` and fills the last word with zeros.
///
/// # Safety
/// `shared` is 8-byte aligned and `source.len()` rounded up to 8 bytes from there are mapped writable for
/// the whole call.
#[inline]
pub(super) unsafe fn copy_in(shared: *mut u8, source: &[u8]) {
    let whole = source.len() & !7;
    if cfg!(target_arch = "x86_64") && whole >= LARGE {
        // SAFETY: both sides are `whole` bytes long: `source` by its type, `shared` by the caller's duty.
        unsafe { move_bytes(source.as_ptr(), shared, whole) };
    } else {
        for (index, chunk) in source[..whole].chunks_exact(8).enumerate() {
            let word = u64::from_ne_bytes(chunk.try_into().expect("chunks of 8"));
            // SAFETY: index < whole / 8, inside the caller's range.
            let place = unsafe { shared.add(8 * index) };
            // SAFETY: aligned and mapped by the caller's duty; all accesses are atomic or opaque.
            unsafe { AtomicU64::from_ptr(place.cast()) }.store(word, Ordering::Relaxed);
        }
    }
    let rest = &source[whole..];
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        // SAFETY: whole is below the rounded-up length, inside the caller's range.
        let place = unsafe { shared.add(whole) };
        // SAFETY: aligned and mapped by the caller's duty.
        unsafe { AtomicU64::from_ptr(place.cast()) }.store(u64::from_ne_bytes(last), Ordering::Relaxed);
    }
}

/// Copies `length` bytes from `shared` to `private`, which may be uninitialised.
///
/// # Safety
/// `shared` is 8-byte aligned and `length` rounded up to 8 bytes from there are mapped for the whole call;
/// `private` is valid for writes of `length` bytes and nobody else's.
#[inline]
pub(super) unsafe fn copy_out(shared: *const u8, private: *mut u8, length: usize) {
    let whole = length & !7;
    if cfg!(target_arch = "x86_64") && whole >= LARGE {
        // SAFETY: both sides are at least `whole` bytes long by the caller's duty.
        unsafe { move_bytes(shared, private, whole) };
    } else {
        for index in 0..whole / 8 {
            // SAFETY: inside the caller's range.
            let place = unsafe { shared.add(8 * index) };
            // SAFETY: aligned and mapped by the caller's duty; it is only read.
            let word = unsafe { AtomicU64::from_ptr(place.cast_mut().cast()) }.load(Ordering::Relaxed);
            // SAFETY: inside the caller's range of `private`.
            let target = unsafe { private.add(8 * index) };
            // SAFETY: valid for a write of 8 bytes by the caller's duty; alignment is not needed.
            unsafe { target.cast::<u64>().write_unaligned(word) };
        }
    }
    if length > whole {
        // SAFETY: whole is below the rounded-up length, inside the caller's range.
        let place = unsafe { shared.add(whole) };
        // SAFETY: aligned and mapped by the caller's duty.
        let word = unsafe { AtomicU64::from_ptr(place.cast_mut().cast()) }.load(Ordering::Relaxed);
        let bytes = word.to_ne_bytes();
        // SAFETY: inside the caller's range of `private`.
        let target = unsafe { private.add(whole) };
        // SAFETY: `length - whole` < 8 bytes are left at `target`, and `bytes` has 8.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), target, length - whole) };
    }
}

/// Moves bytes by one instruction that the compiler cannot look into.
///
/// # Safety
/// `from` is mapped readable and `to` writable for `length` bytes; they do not overlap.
#[cfg(target_arch = "x86_64")]
#[inline]
unsafe fn move_bytes(from: *const u8, to: *mut u8, length: usize) {
    // SAFETY: the ranges are valid by the caller's duty; the direction flag is clear by the ABI.
    unsafe {
        core::arch::asm!(
            "rep movsb",
            inout("rcx") length => _,
            inout("rsi") from => _,
            inout("rdi") to => _,
            options(nostack, preserves_flags)
        );
    }
}

/// Never called: other processors take the word loop for every length.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn move_bytes(_: *const u8, _: *mut u8, _: usize) {
    unreachable!("the word loop serves every length here")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_and_alignment_comes_back_equal() {
        let source: Vec<u8> = (0..5000u32).map(|n| (n * 7 + n / 251) as u8).collect();
        let shared: Vec<AtomicU64> = (0..700).map(|_| AtomicU64::new(u64::MAX)).collect();
        let place = shared.as_ptr().cast::<u8>().cast_mut();
        for length in (0..300).chain([1016, 1023, 1024, 1025, 1031, 4095, 4096, 4990]) {
            for shift in 0..8 {
                let piece = &source[shift..shift + length];
                // SAFETY: `shared` has 5600 bytes, aligned; only this thread uses it.
                unsafe { copy_in(place, piece) };
                let mut back = vec![0xAA; length + 9];
                // SAFETY: as above; `back` is longer than `shift + length`.
                unsafe { copy_out(place, back[shift..].as_mut_ptr(), length) };
                assert_eq!(&back[shift..shift + length], piece);
                assert!(back[..shift].iter().chain(&back[shift + length..]).all(|&byte| byte == 0xAA));
            }
        }
    }
}
