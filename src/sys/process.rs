//! This process: who it is, also after a fork, and what it asks of its own memory and CPUs.
#![allow(unsafe_code, reason = "system calls that take and return raw memory")]

use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize};
use std::os::unix::fs::MetadataExt;
use std::time::SystemTime;

use super::{Errno, Result, check, retry};

/// Bytes in a page of this machine.
pub(crate) fn page_size() -> usize {
    static SIZE: AtomicUsize = AtomicUsize::new(0);
    let known = SIZE.load(Relaxed);
    if known != 0 {
        return known;
    }
    // SAFETY: the call takes a number and touches no memory of this process.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    // Every Linux answers; 4,096 only keeps an impossible answer harmless.
    let size = usize::try_from(size).unwrap_or(4096);
    SIZE.store(size, Relaxed);
    size
}

/// This process's number in its own pid namespace.
pub(crate) fn pid() -> i32 {
    std::process::id().cast_signed()
}

/// The user whose permissions count for this process.
pub(crate) fn euid() -> u32 {
    // SAFETY: the call takes nothing, cannot fail and touches no memory of this process.
    unsafe { libc::geteuid() }
}

/// The group whose permissions count for this process.
pub(crate) fn egid() -> u32 {
    // SAFETY: as in `euid`.
    unsafe { libc::getegid() }
}

/// The inode of this process's pid namespace, 0 if `/proc` does not tell: two pids can be compared
/// only if they were taken in the same one. It never changes in a process, and is remembered for each
/// [`identity`], once it is known.
pub(crate) fn pid_namespace() -> u64 {
    static OWNER: AtomicU64 = AtomicU64::new(0);
    static NAMESPACE: AtomicU64 = AtomicU64::new(0);
    let me = identity();
    if OWNER.load(Acquire) == me {
        return NAMESPACE.load(Relaxed);
    }
    let namespace = std::fs::metadata("/proc/self/ns/pid").map_or(0, |link| link.ino());
    if namespace != 0 {
        NAMESPACE.store(namespace, Relaxed);
        OWNER.store(me, Release);
    }
    namespace
}

/// The inode of this thread's IPC namespace, 0 if `/proc` does not tell: an id means something else
/// in another one. Threads may be in different ones.
pub(crate) fn ipc_namespace() -> u64 {
    std::fs::metadata("/proc/thread-self/ns/ipc").map_or(0, |link| link.ino())
}

/// Whether the process that had this number is gone for certain. The number must be of this
/// process's own pid namespace. False for whoever has it now, also if that is somebody else; true for
/// a zombie, which runs no more. Does not wait.
pub(crate) fn is_dead(pid: i32) -> bool {
    // SAFETY: the call takes two numbers and touches no memory of this process.
    let opened = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) });
    let file = match opened {
        Ok(file) => file as libc::c_int,
        Err(Errno::ESRCH) => return true,
        // Linux before 5.3, or forbidden. Signal 0 is sent to nobody; EPERM is an answer of the living.
        // SAFETY: the call takes two numbers and touches no memory of this process.
        Err(_) => return check(unsafe { libc::kill(pid, 0) }) == Err(Errno::ESRCH),
    };
    let mut exit = libc::pollfd { fd: file, events: libc::POLLIN, revents: 0 };
    // SAFETY: one `pollfd`, which is `exit`; no time to wait.
    let ready = unsafe { libc::poll(&mut exit, 1, 0) };
    // SAFETY: the descriptor was opened above and is nobody else's.
    unsafe { libc::close(file) };
    ready == 1 && exit.revents & libc::POLLIN != 0
}

/// The page that tells a child from its parent; [`FRESH`] before the first use. Never unmapped, so
/// that a pointer once loaded stays good.
///
/// An atomic and not a `OnceLock`: a child forked while another thread initialises must not wait
/// for a thread that it does not have.
static MARK: AtomicPtr<AtomicU64> = AtomicPtr::new((&raw const FRESH).cast_mut());

/// Stands in [`MARK`] until there is a page. Never written: 0 is nobody's number.
static FRESH: AtomicU64 = AtomicU64::new(0);

/// Stands in [`MARK`] for a page that the kernel cannot wipe. It is never written, so that
/// [`identity`] always finds 0 in it and takes the slow way.
static NO_MARK: AtomicU64 = AtomicU64::new(0);

/// A number, never 0 or [`NOBODY`], that this process has and no other: a forked child gets one of its own with
/// its first call. Costs two loads. Does not allocate, does not lock.
///
/// The children of `vfork` and of `clone(CLONE_VM)` share their parent's memory and therefore its
/// number; they must not use anything but `exec`.
///
/// The kernel does the work: it gives every child a page of zeroes in place of this page
/// (`MADV_WIPEONFORK`, Linux 4.14). Without that, the number is the pid, one system call each time.
#[inline]
pub(crate) fn identity() -> u64 {
    match mark().load(Relaxed) {
        0 => new_identity(),
        identity => identity,
    }
}

/// An [`identity`] that no process has.
pub(crate) const NOBODY: u64 = u64::MAX;

/// Whether this is the process with that [`identity`], or [`NOBODY`]. May be false where the kernel cannot wipe pages;
/// true is always true. Costs two loads and a comparison.
#[inline(always)]
pub(crate) fn is_surely(identity: u64) -> bool {
    mark().load(Relaxed) == identity
}

#[inline(always)]
fn mark() -> &'static AtomicU64 {
    // SAFETY: what is in MARK is `FRESH`, `NO_MARK` or a page from `new_mark`: they live as long as the process.
    unsafe { &*MARK.load(Acquire) }
}

/// The first call in a process: makes the page if there is none yet, and puts a number into it.
#[cold]
fn new_identity() -> u64 {
    if ptr::eq(mark(), &FRESH) {
        install_mark();
    }
    number_in(mark())
}

/// The number in the mark, or a new one.
fn number_in(word: &AtomicU64) -> u64 {
    if ptr::eq(word, &NO_MARK) {
        return u64::from(std::process::id());
    }
    let fresh = random_u64().clamp(1, NOBODY - 1);
    // Several threads may be here at once; the first one's number is everybody's. The number
    // publishes nothing but itself, so that Relaxed is enough.
    word.compare_exchange(0, fresh, Relaxed, Relaxed).err().unwrap_or(fresh)
}

/// Puts a page into [`MARK`], or finds that another thread was faster.
fn install_mark() {
    let made = new_mark().unwrap_or(ptr::from_ref(&NO_MARK).cast_mut());
    let fresh = (&raw const FRESH).cast_mut();
    if MARK.compare_exchange(fresh, made, AcqRel, Acquire).is_err() && !ptr::eq(made, &NO_MARK) {
        // SAFETY: `new_mark` made this page a moment ago, and its address never left this function.
        unsafe { libc::munmap(made.cast(), page_size()) };
    }
}

/// A page of zeroes that is a page of zeroes again in every forked child.
fn new_mark() -> Result<*mut AtomicU64> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: without MAP_FIXED the kernel picks a range that nothing uses.
    let page = unsafe { libc::mmap(ptr::null_mut(), page_size(), protection, kind, -1, 0) };
    check(page.addr().cast_signed())?;
    // SAFETY: this range is ours since the line above, and the advice changes children only.
    let advised = check(unsafe { libc::madvise(page, page_size(), libc::MADV_WIPEONFORK) });
    if let Err(errno) = advised {
        // SAFETY: the range is ours, and its address has not left this function.
        unsafe { libc::munmap(page, page_size()) };
        return Err(errno);
    }
    Ok(page.cast())
}

/// A number that nobody can guess; only if the kernel has no random numbers yet (early at boot),
/// one that differs between processes and calls. Does not wait.
pub(crate) fn random_u64() -> u64 {
    let mut bytes = [0_u8; 8];
    let filled = retry(|| {
        // SAFETY: the kernel writes at most `len` bytes into `bytes`.
        check(unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), libc::GRND_NONBLOCK) })
    });
    if filled == Ok(8) { u64::from_ne_bytes(bytes) } else { guess_u64() }
}

/// The fallback of [`random_u64`]: clock, pid, address space layout and a count, mixed.
fn guess_u64() -> u64 {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut mixed = clock.as_nanos() as u64;
    let place = (&raw const CALLS).addr() as u64;
    for part in [u64::from(std::process::id()), place, CALLS.fetch_add(1, Relaxed)] {
        // The finaliser of splitmix64, so that every bit of every part reaches every other bit.
        mixed = (mixed ^ part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
    }
    mixed
}

// Of <linux/membarrier.h>; libc has only the number of the call.
const MEMBARRIER_CMD_QUERY: i32 = 0;
const MEMBARRIER_CMD_GLOBAL_EXPEDITED: i32 = 1 << 1;
const MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED: i32 = 1 << 2;

/// Makes this process one that [`membarrier`] of any process reaches. False if the kernel refuses,
/// and then this process must use real fences.
///
/// Remembered for each [`identity`], so that calling it again is cheap, and a forked child
/// registers for itself.
pub(crate) fn membarrier_register() -> bool {
    static REGISTERED: AtomicU64 = AtomicU64::new(0);
    let me = identity();
    if REGISTERED.load(Acquire) == me {
        return true;
    }
    let registered = membarrier_call(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED).is_ok();
    if registered {
        // After the call, so that a thread that reads our number relies on a finished one.
        REGISTERED.store(me, Release);
    }
    registered
}

/// A full memory barrier in every running thread of every registered process of the machine, and
/// in this one. False if the kernel refuses, and then nothing has happened.
pub(crate) fn membarrier() -> bool {
    membarrier_call(MEMBARRIER_CMD_GLOBAL_EXPEDITED).is_ok()
}

/// Whether the kernel has the two commands that this crate rests on, by its own word.
pub(crate) fn membarrier_is_known() -> Result<bool> {
    let wanted = MEMBARRIER_CMD_GLOBAL_EXPEDITED | MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED;
    membarrier_call(MEMBARRIER_CMD_QUERY).map(|known| known & i64::from(wanted) == i64::from(wanted))
}

fn membarrier_call(command: i32) -> Result<i64> {
    // SAFETY: the call takes three numbers and touches no memory of this process.
    check(unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) })
}

/// Makes the pages of a range present and writable now, so that none is missing later. The
/// contents stay. `address` must be page-aligned. Waits for memory, not for other processes.
///
/// # Errors
///
/// `EINVAL` before Linux 5.14, `ENOMEM` if there is no memory or the range is not mapped.
pub(crate) fn populate(address: NonNull<u8>, len: usize) -> Result<()> {
    retry(|| {
        // SAFETY: this advice faults pages in and changes no content, wherever it points.
        let returned = unsafe { libc::madvise(address.as_ptr().cast(), len, libc::MADV_POPULATE_WRITE) };
        check(returned)
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::sys::shm;

    /// Runs `body` in a child; true if it returned true. Nothing in it may take a lock, because
    /// the other threads of the test program do not exist there.
    fn in_child(body: impl FnOnce() -> bool) -> bool {
        // SAFETY: the child calls `body`, which keeps to the rule above, and `_exit`.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let code = if body() { 0 } else { 1 };
            // SAFETY: ends the process at once, with no destructor and no handler.
            unsafe { libc::_exit(code) };
        }
        let mut status = -1;
        // SAFETY: `status` is an integer of ours for the kernel to write.
        let waited = retry(|| check(unsafe { libc::waitpid(child, &mut status, 0) }));
        // No assertion, because this runs in children too, where a panic would come out in the
        // test harness.
        waited == Ok(child) && status == 0
    }

    #[test]
    fn page_size_is_a_power_of_two() {
        assert!(page_size().is_power_of_two() && page_size() >= 4096);
    }

    #[test]
    fn identity_is_the_same_in_every_thread() {
        let here = identity();
        assert_ne!(here, 0);
        let threads: Vec<_> = (0..8).map(|_| thread::spawn(identity)).collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), here);
        }
        assert_eq!(identity(), here);
    }

    #[test]
    fn identity_is_new_in_a_child_and_in_its_child() {
        let parent = identity();
        assert!(in_child(|| {
            let child = identity();
            child != 0
                && child != parent
                && identity() == child
                && in_child(|| ![0, parent, child].contains(&identity()))
        }));
        assert_eq!(identity(), parent);
    }

    #[test]
    fn the_dead_are_told_from_the_living() {
        assert!(!is_dead(pid()));
        // SAFETY: the child ends at once.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: ends the process at once, with no destructor and no handler.
            unsafe { libc::_exit(0) };
        }
        while !is_dead(child) {
            thread::yield_now(); // a zombie soon, which nobody has waited for
        }
        let mut status = 0;
        // SAFETY: `status` is an integer of ours for the kernel to write.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert!(is_dead(child));
    }

    #[test]
    fn without_a_wiped_page_identity_is_the_pid() {
        assert_eq!(number_in(&NO_MARK), u64::from(std::process::id()));
        assert_eq!(NO_MARK.load(Relaxed), 0);
    }

    #[test]
    fn random_numbers_differ() {
        assert_ne!(random_u64(), random_u64());
        assert_ne!(guess_u64(), guess_u64());
    }

    #[test]
    fn membarrier_registers_once_per_process() {
        // Not every kernel has it; where it registers, it must also work, here and in a child.
        if membarrier_register() {
            assert!(membarrier() && membarrier_register());
            assert!(in_child(|| membarrier_register() && membarrier()));
        }
    }

    #[test]
    fn populate_makes_pages_and_keeps_their_contents() {
        let size = 3 * page_size();
        let id = shm::get(shm::IPC_PRIVATE, size, shm::IPC_CREAT | 0o600).unwrap();
        let attached = shm::attach(id, shm::Access::ReadWrite);
        shm::remove(id).unwrap();
        let attached = attached.unwrap();
        attached.bytes()[5].store(5, Relaxed);
        match populate(attached.as_ptr(), size) {
            Ok(()) => assert_eq!(attached.bytes()[5].load(Relaxed), 5),
            // Linux before 5.14.
            Err(errno) => assert_eq!(errno, Errno::EINVAL),
        }
    }

    #[test]
    fn the_pid_namespace_is_that_of_proc() {
        let link = std::fs::read_link("/proc/self/ns/pid").unwrap();
        assert_eq!(link.to_str().unwrap(), format!("pid:[{}]", pid_namespace()));
    }
}
