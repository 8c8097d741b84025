//! What the machine can do: rings on a System V segment without lengths, checks or sleep, and bare round trips.
//! Written for one sender, one receiver and one message size; nothing here survives a death or a lie.

use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::object::Object;
use crate::peer::{Peer, Rx, Setup, Sink, Source, Tx};
use crate::work::{InPlace, InPlaceRx, InPlaceTx};

/// A private System V segment, gone with the last process that has it attached.
#[derive(Debug)]
struct Memory {
    base: NonNull<u8>,
}

// SAFETY: an address in a shared mapping; what lies there is only touched as its users below agree.
unsafe impl Sync for Memory {}
// SAFETY: as above.
unsafe impl Send for Memory {}

impl Memory {
    fn new(size: usize) -> Memory {
        // SAFETY: takes numbers.
        let id = unsafe { libc::shmget(libc::IPC_PRIVATE, size, libc::IPC_CREAT | 0o600) };
        assert!(id >= 0, "shmget: {}", std::io::Error::last_os_error());
        // SAFETY: a new attachment wherever the kernel likes.
        let base = unsafe { libc::shmat(id, ptr::null(), 0) };
        // SAFETY: marks our own segment; nothing is written.
        unsafe { libc::shmctl(id, libc::IPC_RMID, ptr::null_mut()) };
        assert_ne!(base as isize, -1, "shmat: {}", std::io::Error::last_os_error());
        let memory = Memory { base: NonNull::new(base.cast()).expect("not at address 0") };
        // SAFETY: fresh memory of that size; touched so that no page comes for the first time while timing.
        unsafe { ptr::write_bytes(memory.base.as_ptr(), 0, size) };
        memory
    }

    fn at(&self, offset: usize) -> *mut u8 {
        // SAFETY: callers stay inside the size they asked for.
        unsafe { self.base.as_ptr().add(offset) }
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: aligned, inside, alive as long as `self`, and only accessed atomically.
        unsafe { AtomicU64::from_ptr(self.at(offset).cast()) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the address that `shmat` gave.
        unsafe { libc::shmdt(self.base.as_ptr().cast()) };
    }
}

/// Processor pauses of a side that finds nothing to do, in the variants that hang back.
const PAUSES: u32 = 256;
/// Messages for each publication of the index, in the batch variant.
const BATCH: usize = 64;
const TAIL: usize = 0;
const HEAD: usize = 128;
const SLOTS: usize = 4096;

/// A ring of fixed slots: an index published at every message (`BATCHED`: every 64), the other side's index looked
/// at only when there is nothing to do; a side that finds nothing pauses so often.
#[derive(Debug)]
pub(crate) struct Ring<const PAUSE: bool, const BATCHED: bool> {
    memory: std::sync::Arc<Memory>,
    size: usize,
    slots: u64,
}

/// One end of a [`Ring`].
#[derive(Debug)]
pub(crate) struct End<const PAUSE: bool> {
    memory: std::sync::Arc<Memory>,
    size: usize,
    slots: u64,
    /// Our own index.
    mine: u64,
    /// The other side's, as of the last look.
    other: u64,
}

impl<const PAUSE: bool, const BATCHED: bool> Ring<PAUSE, BATCHED> {
    fn end(&self) -> End<PAUSE> {
        End { memory: self.memory.clone(), size: self.size, slots: self.slots, mine: 0, other: 0 }
    }
}

impl<const PAUSE: bool, const BATCHED: bool> Peer for Ring<PAUSE, BATCHED> {
    const NAME: &'static str = match (PAUSE, BATCHED) {
        (_, true) => "ref-ring-batch",
        (true, false) => "ref-ring-pause",
        (false, false) => "ref-ring",
    };
    const BATCH: usize = if BATCHED { BATCH } else { 1 };
    type Tx = End<PAUSE>;
    type Rx = End<PAUSE>;

    fn make(setup: Setup) -> Option<Self> {
        let (size, slots) = (setup.size.next_multiple_of(8), setup.slots());
        let memory = std::sync::Arc::new(Memory::new(SLOTS + size * slots));
        Some(Ring { memory, size: setup.size, slots: slots as u64 })
    }

    fn sender(&self) -> End<PAUSE> {
        self.end()
    }

    fn receiver(&self) -> End<PAUSE> {
        self.end()
    }
}

impl<const PAUSE: bool> End<PAUSE> {
    #[inline(always)]
    fn slot(&self, index: u64) -> *mut u8 {
        let stride = self.size.next_multiple_of(8);
        self.memory.at(SLOTS + (index & (self.slots - 1)) as usize * stride)
    }

    #[inline(always)]
    fn pause() {
        for _ in 0..if PAUSE { PAUSES } else { 1 } {
            std::hint::spin_loop();
        }
    }

    /// Waits until at least one slot is free; returns how many are.
    #[inline(always)]
    fn room(&mut self) -> u64 {
        while self.mine - self.other == self.slots {
            self.other = self.memory.word(HEAD).load(Ordering::Acquire);
            if self.mine - self.other == self.slots {
                Self::pause();
            }
        }
        self.slots - (self.mine - self.other)
    }

    /// Waits until at least one message is there; returns how many are.
    #[inline(always)]
    fn ready(&mut self) -> u64 {
        while self.mine == self.other {
            self.other = self.memory.word(TAIL).load(Ordering::Acquire);
            if self.mine == self.other {
                Self::pause();
            }
        }
        self.other - self.mine
    }
}

impl<const PAUSE: bool> Tx for End<PAUSE> {
    #[inline(always)]
    fn send(&mut self, message: &[u8]) {
        self.room();
        // SAFETY: the slot is inside the segment, as large as a message, and free.
        unsafe { ptr::copy_nonoverlapping(message.as_ptr(), self.slot(self.mine), self.size) };
        self.mine += 1;
        self.memory.word(TAIL).store(self.mine, Ordering::Release);
    }

    #[inline(always)]
    fn send_many(&mut self, source: &mut Source) {
        let mut left = BATCH as u64;
        while left > 0 {
            let now = self.room().min(left);
            for _ in 0..now {
                // SAFETY: as in `send`.
                unsafe { ptr::copy_nonoverlapping(source.next().as_ptr(), self.slot(self.mine), self.size) };
                self.mine += 1;
            }
            self.memory.word(TAIL).store(self.mine, Ordering::Release);
            left -= now;
        }
    }
}

impl<const PAUSE: bool> Rx for End<PAUSE> {
    #[inline(always)]
    fn recv(&mut self, buffer: &mut [u8]) -> usize {
        self.ready();
        // SAFETY: the slot is inside the segment, as large as a message, and published.
        unsafe { ptr::copy_nonoverlapping(self.slot(self.mine), buffer.as_mut_ptr(), self.size) };
        self.mine += 1;
        self.memory.word(HEAD).store(self.mine, Ordering::Release);
        self.size
    }

    #[inline(always)]
    fn recv_many(&mut self, sink: &mut Sink) {
        let now = self.ready().min(BATCH as u64);
        for _ in 0..now {
            let (slot, size) = (self.slot(self.mine), self.size);
            sink.take(|buffer| {
                // SAFETY: as in `recv`.
                unsafe { ptr::copy_nonoverlapping(slot, buffer.as_mut_ptr(), size) };
                size
            });
            self.mine += 1;
        }
        self.memory.word(HEAD).store(self.mine, Ordering::Release);
    }
}

impl<const PAUSE: bool> InPlace for Ring<PAUSE, false> {}

impl<const PAUSE: bool> InPlaceTx for End<PAUSE> {
    #[inline(always)]
    fn send_in_place(&mut self, write: impl FnOnce(&mut [u8])) {
        self.room();
        // SAFETY: the slot is inside the segment, initialised, as large as a message, and nobody else's.
        write(unsafe { std::slice::from_raw_parts_mut(self.slot(self.mine), self.size) });
        self.mine += 1;
        self.memory.word(TAIL).store(self.mine, Ordering::Release);
    }
}

impl<const PAUSE: bool> InPlaceRx for End<PAUSE> {
    #[inline(always)]
    fn recv_in_place<R>(&mut self, read: impl FnOnce(&[u8]) -> R) -> R {
        self.ready();
        // SAFETY: the slot is inside the segment, as large as a message, published and not written until released.
        let result = read(unsafe { std::slice::from_raw_parts(self.slot(self.mine), self.size) });
        self.mine += 1;
        self.memory.word(HEAD).store(self.mine, Ordering::Release);
        result
    }
}

/// Bare cache lines: the message's number in a line that the other side polls. The shortest round trip there is.
#[derive(Debug)]
pub(crate) struct Lines {
    memory: std::sync::Arc<Memory>,
    size: usize,
}

/// One end of [`Lines`].
#[derive(Debug)]
pub(crate) struct LineEnd {
    memory: std::sync::Arc<Memory>,
    size: usize,
    seen: u64,
}

impl Peer for Lines {
    const NAME: &'static str = "bare-lines";
    type Tx = LineEnd;
    type Rx = LineEnd;

    fn make(setup: Setup) -> Option<Lines> {
        Some(Lines { memory: std::sync::Arc::new(Memory::new(4096)), size: setup.size })
    }

    fn sender(&self) -> LineEnd {
        LineEnd { memory: self.memory.clone(), size: self.size, seen: 0 }
    }

    fn receiver(&self) -> LineEnd {
        self.sender()
    }
}

impl LineEnd {
    #[inline(always)]
    fn put(&mut self, message: &[u8]) {
        let number = u64::from_le_bytes(message[..8].try_into().expect("8 bytes"));
        self.memory.word(0).store(number + 1, Ordering::Release);
    }

    /// Fills in what did not travel.
    #[inline(always)]
    fn get(&mut self, word: u64, buffer: &mut [u8]) -> usize {
        self.seen = word;
        let last = buffer.len() - 1;
        buffer[last] = (word - 1) as u8;
        buffer[..8].copy_from_slice(&(word - 1).to_le_bytes());
        self.size
    }
}

impl Tx for LineEnd {
    #[inline(always)]
    fn send(&mut self, message: &[u8]) {
        self.put(message);
    }
}

impl Rx for LineEnd {
    #[inline(always)]
    fn recv(&mut self, buffer: &mut [u8]) -> usize {
        loop {
            let word = self.memory.word(0).load(Ordering::Acquire);
            if word != self.seen {
                return self.get(word, buffer);
            }
        }
    }
}

/// The cheapest sleep on System V semaphores: a number and a sleep flag in shared memory, a fence, and
/// `semtimedop` when the other side sleeps. One message at a time, both sides always asleep.
#[derive(Debug)]
pub(crate) struct Semops {
    memory: std::sync::Arc<Memory>,
    set: Object,
    size: usize,
}

/// One end of [`Semops`].
#[derive(Debug)]
pub(crate) struct SemopEnd {
    line: LineEnd,
    set: i32,
}

const FLAG: usize = 128;

impl Peer for Semops {
    const NAME: &'static str = "bare-semop";
    type Tx = SemopEnd;
    type Rx = SemopEnd;

    fn make(setup: Setup) -> Option<Semops> {
        let memory = std::sync::Arc::new(Memory::new(4096));
        Some(Semops { memory, set: Object::semaphores(1), size: setup.size })
    }

    fn sender(&self) -> SemopEnd {
        let line = LineEnd { memory: self.memory.clone(), size: self.size, seen: 0 };
        SemopEnd { line, set: self.set.id() }
    }

    fn receiver(&self) -> SemopEnd {
        self.sender()
    }
}

impl SemopEnd {
    fn op(&self, by: i16) {
        let mut op = libc::sembuf { sem_num: 0, sem_op: by, sem_flg: 0 };
        let limit = libc::timespec { tv_sec: 1, tv_nsec: 0 };
        // SAFETY: one operation and a time limit, both ours.
        let result = unsafe { libc::syscall(libc::SYS_semtimedop, self.set, &mut op, 1, &limit) };
        assert_eq!(result, 0, "semtimedop: {}", std::io::Error::last_os_error());
    }
}

impl Tx for SemopEnd {
    #[inline(always)]
    fn send(&mut self, message: &[u8]) {
        self.line.put(message);
        fence(Ordering::SeqCst);
        let flag = self.line.memory.word(FLAG);
        if flag.load(Ordering::Relaxed) != 0 && flag.swap(0, Ordering::Relaxed) != 0 {
            self.op(1);
        }
    }
}

impl Rx for SemopEnd {
    #[inline(always)]
    fn recv(&mut self, buffer: &mut [u8]) -> usize {
        loop {
            let memory = self.line.memory.clone();
            let word = memory.word(0);
            let mut seen = word.load(Ordering::Acquire);
            if seen == self.line.seen {
                memory.word(FLAG).store(1, Ordering::Relaxed);
                fence(Ordering::SeqCst);
                seen = word.load(Ordering::Acquire);
                if seen == self.line.seen {
                    self.op(-1);
                    continue;
                }
                if memory.word(FLAG).swap(0, Ordering::Relaxed) == 0 {
                    self.op(-1); // the other side has seen the flag: its unit is on its way
                }
            }
            return self.line.get(seen, buffer);
        }
    }
}

/// `memcpy` alone: what one core does that is sender and receiver in one.
#[derive(Debug)]
pub(crate) struct Copies {
    memory: Memory,
    source: Source,
    slots: usize,
    next: usize,
}

impl Copies {
    pub(crate) const NAME: &'static str = "bare-memcpy";

    pub(crate) fn new(setup: Setup) -> Copies {
        let slots = setup.slots();
        let memory = Memory::new(setup.size * slots);
        Copies { memory, source: Source::new(0, setup.size), slots, next: 0 }
    }
}

impl Rx for Copies {
    #[inline(always)]
    fn recv(&mut self, buffer: &mut [u8]) -> usize {
        let (message, size) = (self.source.next(), buffer.len());
        let slot = self.memory.at(self.next % self.slots * size);
        self.next += 1;
        // SAFETY: the slot is inside the segment, as large as a message, and nobody else's.
        unsafe { ptr::copy_nonoverlapping(message.as_ptr(), slot, size) };
        // Out of sight, so that the two copies are not made one.
        let slot = std::hint::black_box(slot);
        // SAFETY: as above; the buffer is as large.
        unsafe { ptr::copy_nonoverlapping(slot, buffer.as_mut_ptr(), size) };
        size
    }
}
