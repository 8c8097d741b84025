//! What the kernel has, asked without the library; and an allocator that notes the largest request.
#![allow(unsafe_code, reason = "system calls and an allocator, each wrapped once")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Of <linux/shm.h>; libc does not have it.
const SHM_INFO: i32 = 14;

/// The largest single allocation so far.
static LARGEST: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, looked at.
struct Watched;

// SAFETY: the system's allocator does it all.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's duties are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's duties are the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: the caller's duties are the same.
        unsafe { System.realloc(place, layout, size) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's duties are the same.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

fn note(size: usize) {
    if size > LARGEST.load(Relaxed) {
        LARGEST.store(size, Relaxed);
    }
}

/// The largest single allocation since the last question.
pub(crate) fn largest_allocation() -> usize {
    LARGEST.swap(0, Relaxed)
}

/// Processor time of this process, in microseconds.
pub(crate) fn processor_time() -> u64 {
    // SAFETY: integers only, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: a struct of ours for the kernel to write.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    let micros = |time: libc::timeval| time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64;
    micros(usage.ru_utime) + micros(usage.ru_stime)
}

/// The values of a semaphore set; `None` if it is gone.
pub(crate) fn values(set: i32, semaphores: usize) -> Option<Vec<u16>> {
    thread_local! {
        /// As many as any set has.
        static ROOM: RefCell<Vec<u16>> = RefCell::new(vec![0; 32_768]);
    }
    ROOM.with_borrow_mut(|room| {
        // SAFETY: GETALL writes one value for each semaphore, and no set has more than there is room for.
        let asked = unsafe { libc::semctl(set, 0, libc::GETALL, room.as_mut_ptr()) };
        (asked == 0).then(|| room[..semaphores].to_vec())
    })
}

/// Makes a set of a stranger's: no key, no marks.
pub(crate) fn make_set(semaphores: i32) -> i32 {
    // SAFETY: three numbers, no memory.
    let set = unsafe { libc::semget(libc::IPC_PRIVATE, semaphores, 0o600 | libc::IPC_CREAT) };
    assert!(set >= 0, "semget: {}", std::io::Error::last_os_error());
    set
}

/// Sets one value, as a vandal would.
pub(crate) fn set_value(set: i32, index: i32, value: i32) {
    // SAFETY: SETVAL takes a number and touches no memory of this process.
    unsafe { libc::semctl(set, index, libc::SETVAL, value) };
}

/// Removes a set; it may be gone.
pub(crate) fn remove_set(set: i32) {
    // SAFETY: IPC_RMID takes no argument and touches no memory of this process.
    unsafe { libc::semctl(set, 0, libc::IPC_RMID) };
}

/// How many sets there are in this IPC namespace.
pub(crate) fn count_sets() -> i32 {
    let mut info = [0_i32; 10];
    // SAFETY: SEM_INFO writes a `seminfo`, ten integers.
    unsafe { libc::semctl(0, 0, libc::SEM_INFO, info.as_mut_ptr()) };
    info[7] // semusz
}

/// How many segments there are in this IPC namespace.
pub(crate) fn count_segments() -> i32 {
    let mut info = [0_u64; 16];
    // SAFETY: SHM_INFO writes a `shm_info`, 48 bytes, and begins with the number of ids in use.
    unsafe { libc::shmctl(0, SHM_INFO, info.as_mut_ptr().cast()) };
    info[0] as i32
}

/// The ids of all sets or segments in this IPC namespace.
pub(crate) fn ids(kind: &str) -> Vec<i32> {
    let table = std::fs::read_to_string(format!("/proc/sysvipc/{kind}")).expect("/proc/sysvipc");
    let id = |row: &str| row.split_whitespace().nth(1).and_then(|word| word.parse().ok());
    table.lines().skip(1).filter_map(id).collect()
}
