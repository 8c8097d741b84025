//! The calls, each wrapped once, and guards for what they make. Nothing here is the library's.
//!
//! An error is the bare errno, so that a test can compare it with the constant that it expects.
#![allow(unsafe_code, reason = "system calls that take pointers, fork's relatives, shared memory")]

use std::ffi::{CStr, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::process;

pub(crate) type Result<T> = std::result::Result<T, i32>;

/// Sets of these tests have such keys, so that the runner finds what a test leaves behind.
const SET_KEY: i32 = 0x5352_0000;

/// A segment of this size is found by the runner too.
pub(crate) const SIZE: usize = 4096 + 0x528;

/// How long anything may take that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

// Of <linux/sem.h> and <linux/shm.h>, missing in libc.
pub(crate) const SEM_STAT: i32 = 18;
const SEM_INFO: i32 = 19;
pub(crate) const SEM_STAT_ANY: i32 = 20;
pub(crate) const SHM_DEST: u32 = 0o1000;
pub(crate) const SHM_STAT: i32 = 13;
const SHM_INFO: i32 = 14;
pub(crate) const SHM_STAT_ANY: i32 = 15;

/// The fourth argument of `semctl`, which C leaves to the program.
#[repr(C)]
union Semun {
    value: c_int,
    stat: *mut libc::semid_ds,
    array: *mut u16,
    info: *mut c_void,
}

unsafe extern "C" {
    // libc does not declare it for Linux.
    fn semtimedop(
        set: c_int,
        ops: *mut libc::sembuf,
        count: libc::size_t,
        timeout: *const libc::timespec,
    ) -> c_int;
}

fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

fn check(returned: c_int) -> Result<i32> {
    if returned == -1 { Err(errno()) } else { Ok(returned) }
}

/// One operation of a `semop`.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Op(libc::sembuf);

pub(crate) const fn op(index: u16, change: i16) -> Op {
    Op(libc::sembuf { sem_num: index, sem_op: change, sem_flg: 0 })
}

impl Op {
    pub(crate) const fn undo(mut self) -> Op {
        self.0.sem_flg |= libc::SEM_UNDO as i16;
        self
    }

    pub(crate) const fn no_wait(mut self) -> Op {
        self.0.sem_flg |= libc::IPC_NOWAIT as i16;
        self
    }
}

/// The operations that leave a will on a semaphore: its value stays, and death adds 1.
pub(crate) const fn will(index: u16) -> [Op; 2] {
    [op(index, 1), op(index, -1).undo()]
}

/// A semaphore set, removed at the end of the process that made it.
#[derive(Debug)]
pub(crate) struct Set {
    pub(crate) id: i32,
    pub(crate) key: i32,
    owner: u32,
}

impl Set {
    /// A new set, for this user alone.
    pub(crate) fn new(semaphores: i32) -> Set {
        Set::with_mode(semaphores, 0o600)
    }

    pub(crate) fn with_mode(semaphores: i32, mode: i32) -> Set {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        loop {
            let number =
                std::process::id().wrapping_mul(64).wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed));
            let key = SET_KEY | (number & 0xffff) as i32;
            match semget(key, semaphores, libc::IPC_CREAT | libc::IPC_EXCL | mode) {
                Ok(id) => return Set { id, key, owner: std::process::id() },
                Err(libc::EEXIST) => {}
                Err(errno) => panic!("semget: {}", io::Error::from_raw_os_error(errno)),
            }
        }
    }

    /// A set under a key that must be free.
    pub(crate) fn under(key: i32, semaphores: i32) -> Set {
        let made = semget(key, semaphores, libc::IPC_CREAT | libc::IPC_EXCL | 0o600);
        Set { id: made.expect("the key is free"), key, owner: std::process::id() }
    }

    pub(crate) fn op(&self, ops: &[Op]) -> Result<()> {
        semop(self.id, ops)
    }

    pub(crate) fn op_within(&self, ops: &[Op], limit: Duration) -> Result<()> {
        let limit =
            libc::timespec { tv_sec: limit.as_secs() as libc::time_t, tv_nsec: limit.subsec_nanos().into() };
        // SAFETY: `Op` is a transparent `sembuf`, the kernel reads `len` of them; `limit` is ours.
        check(unsafe { semtimedop(self.id, ops.as_ptr().cast_mut().cast(), ops.len(), &limit) }).map(drop)
    }

    /// Takes a unit that must come.
    pub(crate) fn take(&self, index: u16) {
        let taken = self.op_within(&[op(index, -1)], PATIENCE);
        assert_eq!(taken, Ok(()), "no unit came on semaphore {index}");
    }

    pub(crate) fn value(&self, index: u16) -> i32 {
        self.ask(index, libc::GETVAL).expect("GETVAL")
    }

    /// GETPID: who changed it last.
    pub(crate) fn last_pid(&self, index: u16) -> i32 {
        self.ask(index, libc::GETPID).expect("GETPID")
    }

    /// GETNCNT: how many sleep until it grows.
    pub(crate) fn sleepers(&self, index: u16) -> i32 {
        self.ask(index, libc::GETNCNT).expect("GETNCNT")
    }

    fn ask(&self, index: u16, command: i32) -> Result<i32> {
        // SAFETY: the callers pass GETVAL, GETPID or GETNCNT, which take no fourth argument.
        check(unsafe { libc::semctl(self.id, index.into(), command) })
    }

    /// SETVAL.
    pub(crate) fn set_value(&self, index: u16, value: i32) -> Result<()> {
        // SAFETY: SETVAL takes a number.
        check(unsafe { libc::semctl(self.id, index.into(), libc::SETVAL, Semun { value }) }).map(drop)
    }

    /// SETALL.
    pub(crate) fn set_all(&self, values: &mut [u16]) {
        assert_eq!(self.stat().expect("IPC_STAT").sem_nsems, values.len() as u64);
        let array = Semun { array: values.as_mut_ptr() };
        // SAFETY: SETALL reads as many values as the set has, which is what there are, see above.
        check(unsafe { libc::semctl(self.id, 0, libc::SETALL, array) }).expect("SETALL");
    }

    /// GETALL.
    pub(crate) fn values(&self) -> Vec<u16> {
        let mut values = vec![u16::MAX; self.stat().expect("IPC_STAT").sem_nsems as usize];
        let array = Semun { array: values.as_mut_ptr() };
        // SAFETY: GETALL writes as many values as the set has, which never changes.
        check(unsafe { libc::semctl(self.id, 0, libc::GETALL, array) }).expect("GETALL");
        values
    }

    pub(crate) fn stat(&self) -> Result<libc::semid_ds> {
        sem_stat(self.id, libc::IPC_STAT).map(|(_, stat)| stat)
    }

    /// IPC_SET of the owner.
    pub(crate) fn give_to(&self, uid: u32) {
        let mut stat = self.stat().expect("IPC_STAT");
        stat.sem_perm.uid = uid;
        stat.sem_perm.cuid = uid; // which the kernel must not take
        // SAFETY: IPC_SET reads one `semid_ds`.
        check(unsafe { libc::semctl(self.id, 0, libc::IPC_SET, Semun { stat: &mut stat }) })
            .expect("IPC_SET");
    }

    pub(crate) fn remove(&self) -> Result<()> {
        // SAFETY: IPC_RMID takes no fourth argument and touches no memory of this process.
        check(unsafe { libc::semctl(self.id, 0, libc::IPC_RMID) }).map(drop)
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        if self.owner == std::process::id() {
            let _ = self.remove(); // some tests have done it
        }
    }
}

pub(crate) fn semget(key: i32, semaphores: i32, flags: i32) -> Result<i32> {
    // SAFETY: the call takes three numbers and touches no memory of this process.
    check(unsafe { libc::semget(key, semaphores, flags) })
}

pub(crate) fn semop(set: i32, ops: &[Op]) -> Result<()> {
    // SAFETY: `Op` is a transparent `sembuf`, the kernel reads `len` of them and writes none.
    check(unsafe { libc::semop(set, ops.as_ptr().cast_mut().cast(), ops.len()) }).map(drop)
}

/// IPC_STAT by id; SEM_STAT and SEM_STAT_ANY by index, which answer with the id.
pub(crate) fn sem_stat(which: i32, command: i32) -> Result<(i32, libc::semid_ds)> {
    let mut record = MaybeUninit::<libc::semid_ds>::uninit();
    let argument = Semun { stat: record.as_mut_ptr() };
    // SAFETY: these three commands write one `semid_ds`.
    let id = check(unsafe { libc::semctl(which, 0, command, argument) })?;
    // SAFETY: the kernel reported success, so it has filled the record.
    Ok((id, unsafe { record.assume_init() }))
}

/// SEM_INFO: the highest index in use, and how many sets there are.
pub(crate) fn sem_info() -> (i32, i32) {
    let mut words = [0_i32; 64]; // `struct seminfo` is ten
    let argument = Semun { info: words.as_mut_ptr().cast() };
    // SAFETY: SEM_INFO writes one `seminfo`, for which there is room.
    let highest = check(unsafe { libc::semctl(0, 0, SEM_INFO, argument) }).expect("SEM_INFO");
    (highest, words[7]) // semusz, which this command fills with the number of sets
}

/// A segment, removed at the end of the process that made it.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) id: i32,
    owner: u32,
}

impl Segment {
    pub(crate) fn new(size: usize) -> Segment {
        Segment::under(libc::IPC_PRIVATE, size)
    }

    pub(crate) fn under(key: i32, size: usize) -> Segment {
        let made = shmget(key, size, libc::IPC_CREAT | libc::IPC_EXCL | 0o600);
        Segment { id: made.expect("a segment"), owner: std::process::id() }
    }

    pub(crate) fn attach(&self) -> Mapping {
        shmat(self.id, 0).expect("shmat")
    }

    pub(crate) fn stat(&self) -> Result<libc::shmid_ds> {
        shm_stat(self.id, libc::IPC_STAT).map(|(_, stat)| stat)
    }

    /// How often it is attached.
    pub(crate) fn attached(&self) -> u64 {
        self.stat().expect("IPC_STAT").shm_nattch
    }

    /// IPC_SET of the owner.
    pub(crate) fn give_to(&self, uid: u32) {
        let mut stat = self.stat().expect("IPC_STAT");
        stat.shm_perm.uid = uid;
        stat.shm_perm.cuid = uid; // which the kernel must not take
        // SAFETY: IPC_SET reads one `shmid_ds`.
        check(unsafe { libc::shmctl(self.id, libc::IPC_SET, &mut stat) }).expect("IPC_SET");
    }

    pub(crate) fn remove(&self) -> Result<()> {
        // SAFETY: IPC_RMID ignores the pointer.
        check(unsafe { libc::shmctl(self.id, libc::IPC_RMID, ptr::null_mut()) }).map(drop)
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        if self.owner == std::process::id() {
            let _ = self.remove(); // some tests have done it
        }
    }
}

pub(crate) fn shmget(key: i32, size: usize, flags: i32) -> Result<i32> {
    // SAFETY: the call takes three numbers and touches no memory of this process.
    check(unsafe { libc::shmget(key, size, flags) })
}

/// As [`sem_stat`].
pub(crate) fn shm_stat(which: i32, command: i32) -> Result<(i32, libc::shmid_ds)> {
    let mut record = MaybeUninit::<libc::shmid_ds>::uninit();
    // SAFETY: IPC_STAT, SHM_STAT and SHM_STAT_ANY write one `shmid_ds`.
    let id = check(unsafe { libc::shmctl(which, command, record.as_mut_ptr()) })?;
    // SAFETY: the kernel reported success, so it has filled the record.
    Ok((id, unsafe { record.assume_init() }))
}

/// SHM_INFO: the highest index in use, and how many segments there are.
pub(crate) fn shm_info() -> (i32, i32) {
    let mut words = [0_i32; 64]; // `struct shm_info` is at most twelve
    // SAFETY: SHM_INFO writes one `shm_info`, for which there is room.
    let highest = check(unsafe { libc::shmctl(0, SHM_INFO, words.as_mut_ptr().cast()) });
    (highest.expect("SHM_INFO"), words[0])
}

/// An attached segment.
#[derive(Debug)]
pub(crate) struct Mapping {
    address: *mut c_void,
    length: usize,
}

// SAFETY: it hands out nothing but atomics, and the address is good in every thread.
unsafe impl Sync for Mapping {}

pub(crate) fn shmat(id: i32, flags: i32) -> Result<Mapping> {
    // SAFETY: without an address the kernel picks a range that nothing uses.
    let address = unsafe { libc::shmat(id, ptr::null(), flags) };
    check(address.addr().cast_signed() as c_int)?;
    let length = shm_stat(id, libc::IPC_STAT).expect("just attached").1.shm_segsz;
    Ok(Mapping { address, length })
}

impl Mapping {
    /// The word at this index.
    pub(crate) fn word(&self, index: usize) -> &AtomicU64 {
        assert!((index + 1) * size_of::<AtomicU64>() <= self.length);
        // SAFETY: inside the mapping, see above.
        let word = unsafe { self.address.cast::<AtomicU64>().add(index) };
        // SAFETY: page-aligned by the kernel, any content is a number, and mapped until `self` is dropped.
        unsafe { &*word }
    }

    /// Stays until the process ends: for children that share the memory.
    pub(crate) fn forever(self) -> &'static Mapping {
        Box::leak(Box::new(self))
    }

    pub(crate) fn protect(&self, protection: i32) -> Result<()> {
        // SAFETY: the range is a mapping of ours; that it may become writable is what the callers try, and no
        // reference but to atomics points there.
        check(unsafe { libc::mprotect(self.address, self.length, protection) }).map(drop)
    }

    pub(crate) fn advise(&self, advice: i32) -> Result<()> {
        // SAFETY: the callers' advice (MADV_DONTFORK) changes what children get, not this process.
        check(unsafe { libc::madvise(self.address, self.length, advice) }).map(drop)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: attached by `shmat`, and no reference outlives `self`.
        let detached = unsafe { libc::shmdt(self.address) };
        assert_eq!(detached, 0, "shmdt: {}", io::Error::last_os_error());
    }
}

/// A private page that a forked child gets as zeroes.
pub(crate) fn wiped_page() -> Result<&'static AtomicU64> {
    let (protection, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: without MAP_FIXED the kernel picks a range that nothing uses.
    let page = unsafe { libc::mmap(ptr::null_mut(), 4096, protection, kind, -1, 0) };
    check(page.addr().cast_signed() as c_int)?;
    // SAFETY: the range is ours, and the advice changes children only.
    check(unsafe { libc::madvise(page, 4096, libc::MADV_WIPEONFORK) })?;
    // SAFETY: aligned, zeroed, and never unmapped.
    Ok(unsafe { &*page.cast::<AtomicU64>() })
}

/// Runs `body` in a child made by `clone`, which shares with this process what `flags` say; its pid.
///
/// A child that shares the memory (CLONE_VM) and runs at the same time as this process shares its thread-local
/// storage too: its body keeps to system calls and atomics. A child without CLONE_VFORK may outlive everybody:
/// it is killed by an alarm in the end.
pub(crate) fn clone<F: Fn() + 'static>(flags: i32, body: F) -> Result<i32> {
    extern "C" fn run<F: Fn() + 'static>(body: *mut c_void) -> c_int {
        // SAFETY: arms a timer of this process.
        unsafe { libc::alarm(30) };
        // SAFETY: made below from a box that is never freed.
        let body = unsafe { &*body.cast::<F>() };
        body();
        process::exit(0)
    }
    const STACK: usize = 256 * 1024;
    let stack = Box::leak(vec![0_u128; STACK / size_of::<u128>()].into_boxed_slice());
    let top = stack.as_mut_ptr_range().end;
    let body = Box::into_raw(Box::new(body));
    // SAFETY: a stack that nobody else uses and that is never freed, and a function that does not return.
    check(unsafe { libc::clone(run::<F>, top.cast(), flags, body.cast()) })
}

/// Waits for a child of [`clone`]; its raw status.
pub(crate) fn wait_for(pid: i32, flags: i32) -> Result<i32> {
    let mut status = 0;
    // SAFETY: `status` is an integer of ours for the kernel to write.
    check(unsafe { libc::waitpid(pid, &mut status, flags) })?;
    Ok(status)
}

/// `kill`, of a process that the caller started and nobody has waited for.
pub(crate) fn kill(pid: i32, signal: i32) -> Result<()> {
    assert!(pid > 1, "not a process of a test: {pid}");
    // SAFETY: takes two numbers; whose pid it is, the callers know.
    check(unsafe { libc::kill(pid, signal) }).map(drop)
}

pub(crate) fn unshare(flags: i32) -> Result<()> {
    // SAFETY: changes what this process shares with others, none of its memory.
    check(unsafe { libc::unshare(flags) }).map(drop)
}

/// `exit`, with handlers that C knows of.
pub(crate) fn exit_cleanly(code: i32) -> ! {
    // SAFETY: this process has one thread, so nobody else runs its exit handlers.
    unsafe { libc::exit(code) }
}

/// Ends this thread alone, and if it is the first, leaves the process without it.
pub(crate) fn exit_thread() -> ! {
    // SAFETY: the thread does nothing any more; what is on its stack stays.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    unreachable!("the thread has ended")
}

/// Death by a signal writes no core file.
pub(crate) fn no_core() {
    // SAFETY: an attribute of this process, no memory.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) };
}

/// Installs a handler that does nothing.
pub(crate) fn catch(signal: i32, flags: i32) {
    extern "C" fn handler(_: c_int) {}
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: `sigaction` is a struct of numbers, for which zeroes are good: no flags, an empty mask.
    let action = unsafe { action.assume_init_mut() };
    action.sa_sigaction = handler as *const () as libc::sighandler_t;
    action.sa_flags = flags;
    // SAFETY: the handler touches nothing.
    check(unsafe { libc::sigaction(signal, action, ptr::null_mut()) }).expect("sigaction");
}

/// Keeps SIGCHLD pending instead of delivering it.
pub(crate) fn block_sigchld() {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: initialises the set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: initialised by the line above.
    unsafe { libc::sigaddset(set.as_mut_ptr(), libc::SIGCHLD) };
    // SAFETY: reads the set, changes this thread's mask.
    check(unsafe { libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut()) }).expect("sigprocmask");
}

/// Whether a blocked SIGCHLD has come.
pub(crate) fn has_sigchld() -> bool {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: fills the set.
    check(unsafe { libc::sigpending(set.as_mut_ptr()) }).expect("sigpending");
    // SAFETY: filled by the line above.
    unsafe { libc::sigismember(set.as_ptr(), libc::SIGCHLD) == 1 }
}

pub(crate) fn pidfd_open(pid: i32) -> Result<OwnedFd> {
    // SAFETY: takes two numbers.
    let file = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) } as c_int)?;
    // SAFETY: a descriptor that the kernel has just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(file) })
}

/// Whether `poll` says within `limit` milliseconds that it can be read.
pub(crate) fn is_readable(file: &OwnedFd, limit: i32) -> bool {
    let mut asked = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one record of ours.
    let ready = check(unsafe { libc::poll(&mut asked, 1, limit) }).expect("poll");
    ready == 1 && asked.revents & libc::POLLIN != 0
}

pub(crate) fn membarrier(command: i32) -> Result<i32> {
    // SAFETY: takes three numbers and touches no memory of this process.
    check(unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) } as c_int)
}

pub(crate) fn ftok(path: &CStr, id: i32) -> Result<i32> {
    // SAFETY: a path that ends with a zero.
    check(unsafe { libc::ftok(path.as_ptr(), id) })
}
