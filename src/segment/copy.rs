//! The one routine that moves payload bytes into and out of memory that other processes may write.
//!
//! The rules of the language know no race with another process; what is defined is an atomic access, and
//! code that the compiler cannot look into. So on x86-64 every access to the shared side is an instruction that
//! the compiler takes for a black box (but one word): two overlapping words or blocks, a loop over blocks
//! of 32 or 64 bytes, or one `rep movsb`, by length and processor.
//! Other processors go word by word through relaxed atomics (the shared side is always 8-byte aligned and padded
//! to 8). A peer that writes at the same time makes the bytes wrong, never the program.
//!
//! # For sanitizers only
//!
//! A sanitizer sees as little of a black box as the compiler does. So `.ci/asan` and `.ci/tsan` choose another form by
//! `RUSTFLAGS`:
//!
//! * `--cfg sysring_copies="words"`: word by word on every processor, so that reads and writes of private buffers are
//!   checked. As good as the shipped form, but slower.
//! * `--cfg sysring_copies="plain"`: plain accesses, of which the thread sanitizer reports every two of two threads
//!   that nothing orders: in a channel whose ends keep to the protocol A and B, C and D order them all. **Never for
//!   production**: a peer that writes out of turn makes the program undefined, which is what this module is there to
//!   prevent.

#![allow(unsafe_code)] // raw shared memory: here and nowhere else are its payload bytes touched

use core::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a word.
const WORD: usize = 8;

/// Copies `source` to `shared`. Up to 7 bytes behind it, up to a whole word, are left alone or zeroed.
///
/// # Safety
/// `shared` is 8-byte aligned and `source.len()` rounded up to 8 bytes from there are mapped writable for
/// the whole call.
#[inline(always)]
pub(super) unsafe fn copy_in(shared: *mut u8, source: &[u8]) {
    if cfg!(sysring_copies = "plain") {
        // SAFETY: both sides are that long; that no peer is at these bytes is taken on trust, see the head of the file.
        unsafe { core::ptr::copy_nonoverlapping(source.as_ptr(), shared, source.len()) };
        return;
    }
    if let Ok(&word) = <&[u8; WORD]>::try_from(source) {
        // SAFETY: aligned and mapped by the caller's duty; all accesses are atomic or opaque.
        unsafe { AtomicU64::from_ptr(shared.cast()) }.store(u64::from_ne_bytes(word), Ordering::Relaxed);
        return;
    }
    #[cfg(all(target_arch = "x86_64", not(sysring_copies = "words")))]
    if source.len() > WORD {
        // SAFETY: both sides are that long: `source` by its type, `shared` by the caller's duty.
        unsafe { opaque::copy(source.as_ptr(), shared, source.len()) };
        return;
    }
    // SAFETY: the caller's duty is the same.
    unsafe { words_in(shared, source) };
}

/// Copies `length` bytes from `shared` to `private`, which may be uninitialised.
///
/// # Safety
/// `shared` is 8-byte aligned and `length` rounded up to 8 bytes from there are mapped for the whole call;
/// `private` is valid for writes of `length` bytes and nobody else's.
#[inline(always)]
pub(super) unsafe fn copy_out(shared: *const u8, private: *mut u8, length: usize) {
    if cfg!(sysring_copies = "plain") {
        // SAFETY: as in `copy_in`.
        unsafe { core::ptr::copy_nonoverlapping(shared, private, length) };
        return;
    }
    if length == WORD {
        // SAFETY: aligned and mapped by the caller's duty; it is only read.
        let word = unsafe { AtomicU64::from_ptr(shared.cast_mut().cast()) }.load(Ordering::Relaxed);
        // SAFETY: valid for a write of 8 bytes by the caller's duty; alignment is not needed.
        unsafe { private.cast::<u64>().write_unaligned(word) };
        return;
    }
    #[cfg(all(target_arch = "x86_64", not(sysring_copies = "words")))]
    if length > WORD {
        // SAFETY: both sides are that long by the caller's duty.
        unsafe { opaque::copy(shared, private, length) };
        return;
    }
    // SAFETY: the caller's duty is the same.
    unsafe { words_out(shared, private, length) };
}

/// As [`copy_out`], of bytes that a peer which keeps to the protocol may be writing: never by plain accesses.
///
/// # Safety
/// As [`copy_out`].
#[inline]
pub(super) unsafe fn copy_out_racing(shared: *const u8, private: *mut u8, length: usize) {
    if cfg!(sysring_copies = "plain") {
        // SAFETY: the caller's duty is the same.
        unsafe { words_out(shared, private, length) };
    } else {
        // SAFETY: the caller's duty is the same.
        unsafe { copy_out(shared, private, length) };
    }
}

/// Asks for the cache line of a word, to write it soon. A hint: nothing happens otherwise.
#[inline(always)]
pub(super) fn prepare_to_write(word: &AtomicU64) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint that reads and writes nothing, whatever the address; without the feature it does nothing.
    unsafe {
        core::arch::asm!(
            "prefetchw [{word}]",
            word = in(reg) word.as_ptr().addr(),
            options(nostack, preserves_flags, nomem)
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = word;
}

/// [`copy_in`], word by word.
///
/// # Safety
/// As [`copy_in`].
#[inline(never)]
unsafe fn words_in(shared: *mut u8, source: &[u8]) {
    let whole = source.len() & !7;
    for (index, chunk) in source[..whole].chunks_exact(8).enumerate() {
        let word = u64::from_ne_bytes(chunk.try_into().expect("chunks of 8"));
        // SAFETY: index < whole / 8, inside the caller's range.
        let place = unsafe { shared.add(8 * index) };
        // SAFETY: aligned and mapped by the caller's duty; all accesses are atomic or opaque.
        unsafe { AtomicU64::from_ptr(place.cast()) }.store(word, Ordering::Relaxed);
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

/// [`copy_out`], word by word.
///
/// # Safety
/// As [`copy_out`].
#[inline(never)]
unsafe fn words_out(shared: *const u8, private: *mut u8, length: usize) {
    let whole = length & !7;
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

/// Copies by instructions that the compiler cannot look into.
#[cfg(all(target_arch = "x86_64", not(sysring_copies = "words")))]
mod opaque {
    use core::arch::asm;

    /// Up to so many bytes go as two words that may overlap.
    const WORDS: usize = 16;

    /// From so many bytes on, `rep movsb` is used where there is nothing better.
    const LARGE: usize = 4096;

    /// Copies at least 8 bytes.
    ///
    /// # Safety
    /// `from` is mapped readable and `to` writable for `length` bytes; they do not overlap.
    #[inline(always)]
    pub(super) unsafe fn copy(from: *const u8, to: *mut u8, length: usize) {
        if length <= WORDS {
            // SAFETY: two words that begin and end where the ranges do: inside them, as `length` is at least 8.
            unsafe {
                asm!(
                    "mov {first}, [{from}]",
                    "mov {last}, [{from} + {length} - 8]",
                    "mov [{to}], {first}",
                    "mov [{to} + {length} - 8], {last}",
                    first = out(reg) _,
                    last = out(reg) _,
                    from = in(reg) from,
                    to = in(reg) to,
                    length = in(reg) length,
                    options(nostack, preserves_flags)
                );
            }
        } else if length < 32 {
            // SAFETY: as above, with blocks of 16, as `length` is at least 16.
            unsafe {
                asm!(
                    "movups {first}, [{from}]",
                    "movups {last}, [{from} + {length} - 16]",
                    "movups [{to}], {first}",
                    "movups [{to} + {length} - 16], {last}",
                    first = out(xmm_reg) _,
                    last = out(xmm_reg) _,
                    from = in(reg) from,
                    to = in(reg) to,
                    length = in(reg) length,
                    options(nostack, preserves_flags)
                );
            }
        } else if length <= 64 {
            // SAFETY: as above, with two blocks from each end, as `length` is at least 32.
            unsafe {
                asm!(
                    "movups {a}, [{from}]",
                    "movups {b}, [{from} + 16]",
                    "movups {c}, [{from} + {length} - 32]",
                    "movups {d}, [{from} + {length} - 16]",
                    "movups [{to}], {a}",
                    "movups [{to} + 16], {b}",
                    "movups [{to} + {length} - 32], {c}",
                    "movups [{to} + {length} - 16], {d}",
                    a = out(xmm_reg) _,
                    b = out(xmm_reg) _,
                    c = out(xmm_reg) _,
                    d = out(xmm_reg) _,
                    from = in(reg) from,
                    to = in(reg) to,
                    length = in(reg) length,
                    options(nostack, preserves_flags)
                );
            }
        } else {
            // SAFETY: the caller's duty is the same.
            unsafe { copy_blocks(from, to, length) };
        }
    }

    /// [`copy`], from 64 bytes on.
    ///
    /// # Safety
    /// As [`copy`].
    #[inline(never)]
    unsafe fn copy_blocks(from: *const u8, to: *mut u8, length: usize) {
        if std::is_x86_feature_detected!("avx") {
            // SAFETY: the processor has the instructions; the caller's duty is the same.
            unsafe { copy_wide_blocks(from, to, length) };
        } else if length < LARGE {
            // SAFETY: blocks of 32 from the beginning as long as they begin before the last 32 bytes do, then those.
            unsafe {
                asm!(
                    "2:",
                    "movups {a}, [{from} + {at}]",
                    "movups {b}, [{from} + {at} + 16]",
                    "movups [{to} + {at}], {a}",
                    "movups [{to} + {at} + 16], {b}",
                    "add {at}, 32",
                    "cmp {at}, {last}",
                    "jb 2b",
                    "movups {a}, [{from} + {last}]",
                    "movups {b}, [{from} + {last} + 16]",
                    "movups [{to} + {last}], {a}",
                    "movups [{to} + {last} + 16], {b}",
                    a = out(xmm_reg) _,
                    b = out(xmm_reg) _,
                    at = inout(reg) 0usize => _,
                    last = in(reg) length - 32,
                    from = in(reg) from,
                    to = in(reg) to,
                    options(nostack)
                );
            }
        } else {
            // SAFETY: the ranges are valid by the caller's duty; the direction flag is clear by the ABI.
            unsafe {
                asm!(
                    "rep movsb",
                    inout("rcx") length => _,
                    inout("rsi") from => _,
                    inout("rdi") to => _,
                    options(nostack, preserves_flags)
                );
            }
        }
    }

    /// [`copy_blocks`] where the processor has AVX.
    ///
    /// # Safety
    /// As [`copy`]; and the processor has AVX.
    #[inline]
    #[target_feature(enable = "avx")]
    unsafe fn copy_wide_blocks(from: *const u8, to: *mut u8, length: usize) {
        // The first 32 bytes; then blocks of 64 from the first multiple of 32 in the target on, as long as they begin
        // before the last 64 bytes do; then those.
        let aligned = 32 - (to.addr() & 31);
        // SAFETY: all that lies inside the ranges, as `length` is at least 64 and `aligned` at most 32.
        unsafe {
            asm!(
                "vmovdqu ymm0, [{from}]",
                "vmovdqu [{to}], ymm0",
                "cmp {at}, {last}",
                "jae 3f",
                "2:",
                "vmovdqu ymm0, [{from} + {at}]",
                "vmovdqu ymm1, [{from} + {at} + 32]",
                "vmovdqu [{to} + {at}], ymm0",
                "vmovdqu [{to} + {at} + 32], ymm1",
                "add {at}, 64",
                "cmp {at}, {last}",
                "jb 2b",
                "3:",
                "vmovdqu ymm0, [{from} + {last}]",
                "vmovdqu ymm1, [{from} + {last} + 32]",
                "vmovdqu [{to} + {last}], ymm0",
                "vmovdqu [{to} + {last} + 32], ymm1",
                "vzeroupper",
                at = inout(reg) aligned => _,
                last = in(reg) length - 64,
                from = in(reg) from,
                to = in(reg) to,
                // All of them, because of vzeroupper.
                out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _,
                out("ymm4") _, out("ymm5") _, out("ymm6") _, out("ymm7") _,
                out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _,
                out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
                options(nostack)
            );
        }
    }
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

    #[test]
    fn words_do_the_same() {
        let source: Vec<u8> = (0..100u8).map(|n| n.wrapping_mul(7)).collect();
        let shared: Vec<AtomicU64> = (0..13).map(|_| AtomicU64::new(u64::MAX)).collect();
        let place = shared.as_ptr().cast::<u8>().cast_mut();
        for length in 0..=100 {
            // SAFETY: `shared` has 104 bytes, aligned; only this thread uses it.
            unsafe { words_in(place, &source[..length]) };
            let mut back = vec![0xAA; length];
            // SAFETY: as above; `back` is that long.
            unsafe { words_out(place, back.as_mut_ptr(), length) };
            assert_eq!(back, source[..length]);
        }
    }
}
