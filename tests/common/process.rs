//! Processes, pipes between them, and what the kernel says about System V objects.
#![allow(unsafe_code, reason = "fork and its relatives, each wrapped once")]

use std::cell::Cell;
use std::fs;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sysring::{Receiver, Sender, Trusted};

/// How long a condition may take that must come true.
const PATIENCE: Duration = Duration::from_secs(20);

/// A child process. Dropped before it was joined, it is killed.
#[derive(Debug)]
pub(crate) struct Child {
    pid: i32,
    ended: Cell<bool>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Exit(i32),
    Signal(i32),
}

/// Runs `body` in a child, which ends by `_exit`: 0, or 101 after a panic. The parent drops `body`
/// unrun, with all that was moved into it. A child does not outlive its parent.
pub(crate) fn fork(body: impl FnOnce()) -> Child {
    let parent = std::process::id();
    // SAFETY: this process has one thread (see the top of main.rs), so the child finds no lock held.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", io::Error::last_os_error());
    if pid == 0 {
        die_with_parent(parent);
        let outcome = catch_unwind(AssertUnwindSafe(body));
        exit(if outcome.is_ok() { 0 } else { 101 });
    }
    Child { pid, ended: Cell::new(false) }
}

fn die_with_parent(parent: u32) {
    // SAFETY: changes which signal this process gets when its parent ends, nothing else.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    if std::os::unix::process::parent_id() != parent {
        exit(102);
    }
}

/// Ends this process at once, without a destructor.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: ends the process; nothing of it can be in a bad state afterwards.
    unsafe { libc::_exit(code) }
}

/// Ends this process by SIGKILL.
pub(crate) fn kill_oneself() -> ! {
    // SAFETY: takes nothing and cannot fail.
    let pid = unsafe { libc::getpid() };
    // SAFETY: this process itself, which does not come back.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    exit(103)
}

/// Waits for a child, any if `pid` is -1. `None`: there is none, or none has ended and `wait` is false.
fn reap(pid: i32, wait: bool) -> Option<(i32, End)> {
    let mut status = 0;
    let flags = if wait { 0 } else { libc::WNOHANG };
    loop {
        // SAFETY: `status` is an integer of ours for the kernel to write.
        let reaped = unsafe { libc::waitpid(pid, &mut status, flags) };
        match reaped {
            0 => return None,
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            -1 => return None,
            _ if libc::WIFSIGNALED(status) => return Some((reaped, End::Signal(libc::WTERMSIG(status)))),
            _ => return Some((reaped, End::Exit(libc::WEXITSTATUS(status)))),
        }
    }
}

impl Child {
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends a signal. The pid is its own until it was joined.
    pub(crate) fn signal(&self, signal: i32) {
        assert!(!self.ended.get(), "process {} was joined", self.pid);
        // SAFETY: a pid of a child that was not waited for, so it cannot be anybody else.
        let sent = unsafe { libc::kill(self.pid, signal) };
        assert_eq!(sent, 0, "kill {}: {}", self.pid, io::Error::last_os_error());
    }

    /// Kills it and waits until it is gone.
    pub(crate) fn kill(&self) {
        self.signal(libc::SIGKILL);
        assert_eq!(self.wait(), End::Signal(libc::SIGKILL));
    }

    /// Waits for its end.
    pub(crate) fn wait(&self) -> End {
        let (_, end) = reap(self.pid, true).expect("a child of ours");
        self.ended.set(true);
        end
    }

    /// How it ended, if it has.
    pub(crate) fn try_wait(&self) -> Option<End> {
        let (_, end) = reap(self.pid, false)?;
        self.ended.set(true);
        Some(end)
    }

    /// Waits for its end, which must be a good one.
    pub(crate) fn join(&self) {
        assert_eq!(self.wait(), End::Exit(0), "process {}", self.pid);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.ended.get() && reap(self.pid, false).is_none() {
            // SAFETY: as in `signal`; in a forked child the pid is a sibling that its parent still has, or
            // nobody's, and such children end by `_exit` without dropping what they inherited.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
            reap(self.pid, true);
        }
    }
}

/// Makes orphans of this process's children its own, so that [`reap_orphans`] finds them.
pub(crate) fn adopt_orphans() {
    // SAFETY: an attribute of this process, no memory.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
}

/// Waits for all children there are. Those of a dead test are dying.
pub(crate) fn reap_orphans() {
    while reap(-1, true).is_some() {}
}

/// Enters an IPC namespace of its own. False if that is not allowed.
pub(crate) fn own_ipc_namespace() -> bool {
    // SAFETY: this process has no System V object attached and no undo list yet.
    let unshared = unsafe { libc::unshare(libc::CLONE_NEWIPC) };
    unshared == 0
}

/// Stays on one core, with the children that it forks from now on; `number` counts those that are allowed, in turn. A
/// tracer and its tracee, of which one always waits for the other, change places several times faster than over two cores.
pub(crate) fn stay_on_one_core(number: usize) {
    // SAFETY: a set of bits, for which zeroes are valid.
    let mut cores: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: 0 is this process, and the size is that of the record, which the kernel writes.
    let known = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut cores) };
    assert_eq!(known, 0, "sched_getaffinity: {}", io::Error::last_os_error());
    // SAFETY: the number is below that of the record's bits.
    let is_allowed = |core: &usize| unsafe { libc::CPU_ISSET(*core, &cores) };
    let allowed: Vec<usize> = (0..libc::CPU_SETSIZE as usize).filter(is_allowed).collect();
    // SAFETY: as above, of the same record.
    unsafe { libc::CPU_ZERO(&mut cores) };
    // SAFETY: as above, of the same record.
    unsafe { libc::CPU_SET(allowed[number % allowed.len()], &mut cores) };
    // SAFETY: 0 is this process, and the size is that of the record, which the kernel reads.
    let stays = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &cores) };
    assert_eq!(stays, 0, "sched_setaffinity: {}", io::Error::last_os_error());
}

pub(crate) fn is_root() -> bool {
    // SAFETY: takes nothing and cannot fail.
    let uid = unsafe { libc::geteuid() };
    uid == 0
}

/// Becomes another user for good, alone in a group of the same number. To be called in a child.
pub(crate) fn become_user(uid: u32) {
    become_member(uid, uid);
}

/// Becomes another user for good, in that group and no other. To be called in a child.
pub(crate) fn become_member(uid: u32, gid: u32) {
    let parent = std::os::unix::process::parent_id();
    // SAFETY: an empty list, so the pointer is not read.
    let groups = unsafe { libc::setgroups(0, std::ptr::null()) };
    // SAFETY: takes a number.
    let group = unsafe { libc::setgid(gid) };
    // SAFETY: takes a number; this process has one thread.
    let user = unsafe { libc::setuid(uid) };
    assert_eq!((groups, group, user), (0, 0, 0), "{}", io::Error::last_os_error());
    die_with_parent(parent); // forgotten by the kernel with the change
}

/// Words of zero that this process shares with the children that it forks from now on. Never unmapped.
pub(crate) fn shared_words(count: usize) -> &'static [AtomicU64] {
    let length = count * size_of::<AtomicU64>();
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    // SAFETY: without MAP_FIXED the kernel picks a range that nothing uses.
    let place =
        unsafe { libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    assert_ne!(place, libc::MAP_FAILED, "mmap: {}", io::Error::last_os_error());
    // SAFETY: page-aligned, `length` bytes of zeroes, mapped for good, and touched as atomics only.
    unsafe { std::slice::from_raw_parts(place.cast(), count) }
}

/// Removes a semaphore set.
pub(crate) fn remove_set(set: i32) {
    // SAFETY: the command takes no argument and touches no memory of this process.
    let removed = unsafe { libc::semctl(set, 0, libc::IPC_RMID) };
    assert_eq!(removed, 0, "set {set}: {}", io::Error::last_os_error());
}

/// Makes a semaphore set under a key. For attacks.
pub(crate) fn set_under(key: i32, semaphores: i32, mode: i32) -> i32 {
    // SAFETY: takes three numbers.
    let set = unsafe { libc::semget(key, semaphores, libc::IPC_CREAT | mode) };
    assert!(set >= 0, "semget: {}", io::Error::last_os_error());
    set
}

/// A semaphore set that has nothing to do with any channel.
pub(crate) fn private_set(semaphores: i32) -> i32 {
    set_under(libc::IPC_PRIVATE, semaphores, 0o600)
}

/// The values of a set.
pub(crate) fn semaphores(set: i32, count: i32) -> Vec<i32> {
    // SAFETY: the command takes no argument and touches no memory of this process.
    (0..count).map(|index| unsafe { libc::semctl(set, index, libc::GETVAL) }).collect()
}

/// Makes the next semaphore set have this id. False if that is not allowed.
pub(crate) fn next_set_id(id: i32) -> bool {
    fs::write("/proc/sys/kernel/sem_next_id", id.to_string()).is_ok()
}

/// Removes a segment without a word to its users.
pub(crate) fn remove_segment(id: i32) {
    // SAFETY: the command takes no argument and touches no memory of this process.
    let removed = unsafe { libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()) };
    assert_eq!(removed, 0, "segment {id}: {}", io::Error::last_os_error());
}

/// A segment for whose pages nobody has asked whether there is memory. `None`: not even so.
pub(crate) fn unreserved_segment(size: u64) -> Option<i32> {
    let flags = libc::IPC_CREAT | libc::SHM_NORESERVE | 0o600;
    // SAFETY: takes three numbers.
    let id = unsafe { libc::shmget(libc::IPC_PRIVATE, size as usize, flags) };
    (id >= 0).then_some(id)
}

/// The words of a segment. Never unmapped.
pub(crate) fn map_words(id: i32) -> &'static [AtomicU64] {
    // SAFETY: with a null address the kernel picks a range that nothing uses.
    let place = unsafe { libc::shmat(id, std::ptr::null(), 0) };
    assert_ne!(place, libc::MAP_FAILED, "shmat: {}", io::Error::last_os_error());
    let size = sysring::segment::Segment::from_id(id).stat().expect("attached").size;
    // SAFETY: page-aligned, that many bytes by the kernel's word, mapped for good, and touched as atomics only.
    unsafe { std::slice::from_raw_parts(place.cast(), size / 8) }
}

/// Limits the address space of this process, until the limit is changed again.
pub(crate) fn limit_memory(bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: reads one structure.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) };
    assert_eq!(set, 0, "setrlimit: {}", io::Error::last_os_error());
}

/// A mapping of one page. Never unmapped; its neighbours of other rights cannot be joined with it.
pub(crate) fn private_page(writable: bool) -> usize {
    let rights = if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: without MAP_FIXED the kernel picks a range that nothing uses.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, rights, flags, -1, 0) };
    assert_ne!(page, libc::MAP_FAILED, "mmap: {}", io::Error::last_os_error());
    page.addr()
}

/// Adds units to a semaphore, or with 0 looks whether it is zero, without waiting. `Err`: the errno.
pub(crate) fn semaphore_add(set: i32, index: u16, units: i16) -> Result<(), i32> {
    let mut op = libc::sembuf { sem_num: index, sem_op: units, sem_flg: libc::IPC_NOWAIT as i16 };
    // SAFETY: one operation, which lives for the call.
    let done = unsafe { libc::semop(set, &mut op, 1) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error().raw_os_error().unwrap_or(0)) }
}

/// A sender with in-place access.
pub(crate) fn trusted_sender(sender: Sender) -> Trusted<Sender> {
    // SAFETY: all processes of these tests write through the crate only, and no frame is used across a fork.
    unsafe { sender.trust_peers() }
}

/// A receiver with in-place access.
pub(crate) fn trusted_receiver(receiver: Receiver) -> Trusted<Receiver> {
    // SAFETY: as in `trusted_sender`.
    unsafe { receiver.trust_peers() }
}

/// A pipe whose two ends every process of the test has.
#[derive(Debug)]
pub(crate) struct Pipe {
    reader: PipeReader,
    writer: PipeWriter,
}

impl Pipe {
    pub(crate) fn new() -> Pipe {
        let (reader, writer) = io::pipe().expect("a pipe");
        Pipe { reader, writer }
    }

    /// Sends a number. Waits while the pipe is full.
    pub(crate) fn put(&self, number: u64) {
        (&self.writer).write_all(&number.to_le_bytes()).expect("write to a pipe");
    }

    /// Waits for the next number.
    pub(crate) fn get(&self) -> u64 {
        let mut bytes = [0; 8];
        (&self.reader).read_exact(&mut bytes).expect("read from a pipe");
        u64::from_le_bytes(bytes)
    }

    /// What is left in it, when nobody else writes any more.
    pub(crate) fn rest(self) -> impl Iterator<Item = u64> {
        let Pipe { mut reader, writer } = self;
        drop(writer);
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).expect("read from a pipe");
        let whole =
            bytes.chunks_exact(8).map(|chunk| u64::from_le_bytes(chunk.try_into().expect("eight bytes")));
        whole.collect::<Vec<_>>().into_iter()
    }
}

/// A name of its own for one channel; the channel is removed at the end of the process that made the guard.
#[derive(Debug)]
pub(crate) struct Name {
    text: String,
    owner: u32,
}

impl Name {
    pub(crate) fn new() -> Name {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let owner = std::process::id();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Name { text: format!("fork-test-{owner}-{count}"), owner }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

impl From<&Name> for sysring::Address {
    fn from(name: &Name) -> sysring::Address {
        sysring::Address::name(name.as_str())
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if self.owner == std::process::id() {
            let _ = sysring::remove(&*self); // most tests have done it
        }
    }
}

/// Waits until something is so.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "not so after {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

pub(crate) fn pause(milliseconds: u64) {
    thread::sleep(Duration::from_millis(milliseconds));
}

/// One System V object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Object {
    Segment { id: i32, key: i32 },
    Set { id: i32, key: i32 },
}

/// Every object that has the marks of a channel: a segment's size, a set's key.
pub(crate) fn objects() -> Vec<Object> {
    let rows = |file| -> Vec<Vec<i64>> {
        let text: String = fs::read_to_string(file).expect("System V IPC in /proc");
        let numbers = |line: &str| line.split_whitespace().map(|word| word.parse().unwrap_or(0)).collect();
        text.lines().skip(1).map(numbers).collect()
    };
    let segments = rows("/proc/sysvipc/shm").into_iter().filter(|row| row[3] % 4096 == 0x528);
    let sets = rows("/proc/sysvipc/sem").into_iter().filter(|row| row[0] & 0xffff_0000 == 0x5352_0000);
    let mut all: Vec<Object> = segments
        .map(|row| Object::Segment { id: row[1] as i32, key: row[0] as i32 })
        .chain(sets.map(|row| Object::Set { id: row[1] as i32, key: row[0] as i32 }))
        .collect();
    all.sort();
    all
}

/// The segments under a key.
pub(crate) fn segments_under(key: i32) -> usize {
    objects()
        .iter()
        .filter(|object| matches!(object, Object::Segment { key: found, .. } if *found == key))
        .count()
}
