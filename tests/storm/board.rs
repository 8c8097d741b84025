//! What the processes of a test tell each other beside the channel: memory of their own, atomics only.
#![allow(unsafe_code, reason = "memory shared by fork, wrapped once")]

use std::cell::UnsafeCell;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

/// What may lie in a [`Board`].
///
/// # Safety
/// All zero bytes are a value of it, it holds no pointer, and processes that share it may use it at the same time.
pub(crate) unsafe trait Shareable {}

/// A value shared with all processes forked later. All zero at first; never unmapped.
#[derive(Debug)]
pub(crate) struct Board<T> {
    place: NonNull<T>,
}

impl<T: Shareable> Board<T> {
    pub(crate) fn new() -> Board<T> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping where the kernel likes; no file, no address of ours.
        let place = unsafe { libc::mmap(ptr::null_mut(), size_of::<T>(), access, flags, -1, 0) };
        assert_ne!(place, libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
        Board { place: NonNull::new(place.cast()).expect("the kernel maps nothing at zero") }
    }
}

impl<T: Shareable> Deref for Board<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: `new` mapped so many zero bytes, page-aligned, for ever; that they are a `T` is what `Shareable`
        // promises.
        unsafe { self.place.as_ref() }
    }
}

/// Nanoseconds of a clock that all processes of a test share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn new() -> Clock {
        Clock(Instant::now())
    }

    /// Never 0.
    pub(crate) fn now(&self) -> u64 {
        self.0.elapsed().as_nanos() as u64 + 1
    }
}

/// Senders of the storm.
pub(crate) const SENDERS: usize = 8;
/// Everybody in the storm; the last one is the receiver.
pub(crate) const CREW: usize = SENDERS + 1;
/// Lives of senders that one storm may have.
pub(crate) const LIVES: usize = 1 << 17;
/// Room for the largest message of the storm.
pub(crate) const LARGEST: usize = 8192;

/// The storm's own record, independent of the channel.
#[repr(C)]
pub(crate) struct StormBoard {
    /// Senders shall finish.
    pub(crate) stop: AtomicU32,
    /// All senders have ended: whoever receives takes what is there and ends.
    pub(crate) drain: AtomicU32,
    /// The present receiver has received something.
    pub(crate) heard: AtomicU32,
    /// Times that a receiver was told that all senders have gone.
    pub(crate) ends: AtomicU64,
    pub(crate) tally: Tally,
    pub(crate) members: [MemberRecord; CREW],
    hand: Hand,
    /// Every life of a sender, by its number.
    pub(crate) lives: [Life; LIVES],
}

// SAFETY: atomics, and a hand that one process at a time may open.
unsafe impl Shareable for StormBoard {}

/// What the receivers found. All but the first three must stay 0.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Tally {
    /// Marked messages that had been accepted before.
    pub(crate) redelivered: AtomicU64,
    /// Marked messages that had been handed out, and not accepted, before.
    pub(crate) handed_out: AtomicU64,
    /// Messages released by a copying form that was killed before it could say so.
    pub(crate) died_in_hand: AtomicU64,
    pub(crate) torn: AtomicU64,
    pub(crate) lost: AtomicU64,
    /// Accepted twice without a mark, or after their release.
    pub(crate) duplicates: AtomicU64,
    /// Numbers of one life out of order.
    pub(crate) disorder: AtomicU64,
    /// Received before something that its sender knew to be sent.
    pub(crate) acausal: AtomicU64,
    /// Sleeps that needed the ceiling though nobody concerned was stopped.
    pub(crate) late: AtomicU64,
}

/// One place in the crew.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct MemberRecord {
    /// Which life of a sender has the place now.
    pub(crate) life: AtomicU32,
    /// When it was continued last; `u64::MAX` while it is stopped.
    pub(crate) stopped_until: AtomicU64,
}

/// One life of a sender.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct Life {
    /// By the sender: messages whose sending has begun, and of which it has returned.
    pub(crate) begun: AtomicU32,
    pub(crate) returned: AtomicU32,
    pub(crate) member: AtomicU32,
    pub(crate) receiver: ReceiverWords,
}

/// By whoever receives.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct ReceiverWords {
    /// Messages accepted.
    pub(crate) accepted: AtomicU32,
    /// Messages that are released for sure: none of these may come again.
    pub(crate) released: AtomicU32,
    /// Number + 1 of a message that a killed receiver had in its hand and may have released.
    pub(crate) in_hand: AtomicU32,
    /// When `released` was stored.
    pub(crate) released_at: AtomicU64,
}

/// Where copying forms put a message, so that it can be seen what a killed receiver had.
#[repr(C, align(64))]
struct Hand {
    open: AtomicU32,
    bytes: UnsafeCell<[u8; LARGEST]>,
}

impl StormBoard {
    /// Uses the hand. One process at a time.
    pub(crate) fn with_hand<R>(&self, body: impl FnOnce(&mut [u8]) -> R) -> R {
        assert_eq!(self.hand.open.swap(1, Ordering::Acquire), 0, "the hand is in use");
        // SAFETY: the word above lets in one at a time, and `bury` is called for the dead only.
        let bytes = unsafe { &mut *self.hand.bytes.get() };
        let result = body(bytes);
        self.hand.open.store(0, Ordering::Release);
        result
    }

    /// Frees the hand of a receiver that was killed with its hand open. True if it was. To be called when that
    /// process has been waited for.
    pub(crate) fn bury(&self) -> bool {
        self.hand.open.swap(0, Ordering::Acquire) == 1
    }
}

/// For the wake-ups.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct WakeBoard {
    pub(crate) stop: AtomicU32,
    /// Waits that took longer than any wake-up may.
    pub(crate) late: AtomicU64,
    /// The longest one, in nanoseconds.
    pub(crate) longest: AtomicU64,
    pub(crate) cycles: AtomicU64,
    /// Times that a process really slept, as the kernel counts them.
    pub(crate) sleeps: AtomicU64,
    pub(crate) times: [AtomicU64; 64],
}

// SAFETY: atomics only.
unsafe impl Shareable for WakeBoard {}

/// Times that this process gave up its processor by itself.
pub(crate) fn sleeps_so_far() -> u64 {
    // SAFETY: integers only, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: a struct of ours for the kernel to write.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    usage.ru_nvcsw as u64
}

/// Processes that make, open and remove one channel at the same moment.
pub(crate) const WORKERS: usize = 16;

/// For the races.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct RaceBoard {
    /// The round that has begun.
    pub(crate) go: AtomicU32,
    /// What kind of round it is, as bits.
    pub(crate) kind: AtomicU32,
    pub(crate) workers: [WorkerRecord; WORKERS],
}

// SAFETY: atomics only.
unsafe impl Shareable for RaceBoard {}

/// What one worker did in a round.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct WorkerRecord {
    /// The last round in which it got to work.
    pub(crate) begun: AtomicU32,
    /// The last round it has finished.
    pub(crate) done: AtomicU32,
    /// How that ended for it.
    pub(crate) outcome: AtomicU32,
    pub(crate) segment: AtomicI32,
    pub(crate) set: AtomicI32,
    /// When the channel was made, in nanoseconds.
    pub(crate) created: AtomicU64,
    /// Its message is in the channel.
    pub(crate) sent: AtomicU32,
}

/// What the three marked semaphores of a set say. `None`: the set is gone.
pub(crate) fn marks(set: i32) -> Option<[i32; 3]> {
    let mut values = [0; 3];
    for (index, value) in values.iter_mut().enumerate() {
        // SAFETY: the command takes no argument and touches no memory of this process.
        *value = unsafe { libc::semctl(set, index as i32, libc::GETVAL) };
        if *value < 0 {
            return None;
        }
    }
    Some(values)
}
