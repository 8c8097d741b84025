//! Crate shm_ring: a ring of bytes whose positions are plain references into the memory that both sides share.
//!
//! Nothing tells the compiler that the other side writes there, so no call of it may be merged with the next one:
//! `push` and `pop` are kept out of the loops that wait. It cannot sleep.

use std::io;
use std::ptr::{self, NonNull};

use shm_ring::ringbuffer_ro::RingbufRo;
use shm_ring::ringbuffer_rw::RingbufRw;

use crate::peer::{Peer, Rx, Setup, Tx, Wait};

/// Bytes of the two positions before the ring.
const POSITIONS: usize = 16;
/// Bytes of a length before each message.
const HEADER: usize = 8;

/// Where the ring lies: in memory without a file, that the processes of a case inherit.
#[derive(Debug)]
pub(crate) struct ShmRing {
    base: NonNull<u8>,
    bytes: usize,
    wait: Wait,
}

// SAFETY: an address of shared memory; each process makes one end there at most, see `Peer`.
unsafe impl Sync for ShmRing {}

impl Peer for ShmRing {
    const NAME: &'static str = "shm_ring";
    type Tx = ShmRingTx;
    type Rx = ShmRingRx;

    fn make(setup: Setup) -> Option<ShmRing> {
        if setup.senders > 1 || setup.wait == Wait::Sleep {
            return None;
        }
        let bytes = POSITIONS + setup.slots() * (HEADER + setup.size) + 1; // a byte stays free
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, wherever the kernel likes.
        let base = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
        assert_ne!(base, libc::MAP_FAILED, "mmap: {}", io::Error::last_os_error());
        let base = NonNull::new(base.cast()).expect("not at address 0");
        let wait = if setup.wait.is_blocking() { Wait::Yield } else { setup.wait };
        Some(ShmRing { base, bytes, wait })
    }

    fn sender(&self) -> ShmRingTx {
        // SAFETY: zeroed memory of that size, never unmapped; one sender and one receiver make ends there.
        let ring = unsafe { RingbufRw::new(self.bytes, self.base.as_ptr()) };
        ShmRingTx { ring, wait: self.wait }
    }

    fn receiver(&self) -> ShmRingRx {
        // SAFETY: as in `sender`.
        let ring = unsafe { RingbufRo::new(self.bytes, self.base.as_ptr()) };
        ShmRingRx { ring, wait: self.wait }
    }
}

/// The sending end of [`ShmRing`].
#[derive(Debug)]
pub(crate) struct ShmRingTx {
    ring: RingbufRw<'static>,
    wait: Wait,
}

/// The receiving end of [`ShmRing`].
#[derive(Debug)]
pub(crate) struct ShmRingRx {
    ring: RingbufRo<'static>,
    wait: Wait,
}

/// One look; see the top of this file.
#[inline(never)]
fn push(ring: &mut RingbufRw<'static>, message: &[u8]) -> usize {
    ring.push(message)
}

/// One look; see the top of this file.
#[inline(never)]
fn pop(ring: &mut RingbufRo<'static>, buffer: &mut [u8]) -> usize {
    ring.pop(buffer)
}

impl Tx for ShmRingTx {
    #[inline(always)]
    fn send(&mut self, message: &[u8]) {
        let mut looks = 0;
        while push(&mut self.ring, message) == 0 {
            self.wait.moment(&mut looks);
        }
    }
}

impl Rx for ShmRingRx {
    #[inline(always)]
    fn recv(&mut self, buffer: &mut [u8]) -> usize {
        let mut looks = 0;
        loop {
            let length = pop(&mut self.ring, buffer);
            if length != 0 {
                return length;
            }
            self.wait.moment(&mut looks);
        }
    }
}
