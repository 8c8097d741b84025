//! Semaphore sets: `semget`, `semop`, `semtimedop`, `semctl`.
//!
//! There is no SETVAL and no SETALL here on purpose: both erase the undo entries of every process,
//! and with them the notices of death that this crate is built on. Sets start as zeroes, which
//! Linux guarantees.
#![allow(unsafe_code, reason = "system calls that take pointers")]

use core::mem::MaybeUninit;
use core::ptr;
use core::time::Duration;

use super::{Errno, Result, check, retry};

pub(crate) use libc::{IPC_CREAT, IPC_EXCL};

/// The fourth argument of `semctl`. C leaves its declaration to the program; the member for
/// SETVAL is missing because nothing here sets a value.
#[repr(C)]
union Semun {
    stat: *mut libc::semid_ds,
    array: *mut libc::c_ushort,
    info: *mut SemInfo,
}

/// `seminfo` of <linux/sem.h>. `IPC_INFO` fills it with limits; `SEM_INFO` as well, but for two fields that say what is
/// in use. The others mean nothing on Linux.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct SemInfo {
    map: libc::c_int,
    /// Sets (`semmni`).
    pub(crate) sets: libc::c_int,
    /// Semaphores in all sets together (`semmns`).
    pub(crate) semaphores: libc::c_int,
    undo_structures: libc::c_int,
    /// Semaphores of one set (`semmsl`).
    pub(crate) set_semaphores: libc::c_int,
    /// Operations of one call (`semopm`).
    pub(crate) operations: libc::c_int,
    undo_entries: libc::c_int,
    /// By `SEM_INFO`: sets in use.
    pub(crate) sets_used: libc::c_int,
    /// Value of a semaphore (`semvmx`).
    pub(crate) value: libc::c_int,
    /// By `SEM_INFO`: semaphores in use.
    pub(crate) semaphores_used: libc::c_int,
}

// Of <linux/sem.h> and <linux/ipc.h>; libc does not have them everywhere.
const SEM_STAT_ANY: i32 = 20;
const IPC_INFO: i32 = 3;

unsafe extern "C" {
    // libc does not declare it for Linux.
    fn semtimedop(
        set: libc::c_int,
        ops: *mut libc::sembuf,
        count: libc::size_t,
        timeout: *const libc::timespec,
    ) -> libc::c_int;
}

/// One operation on one semaphore of a set; a slice of them happens as one step or not at all.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Op(libc::sembuf);

impl Op {
    /// Adds `value`, which never waits; except for 0, which the kernel takes as
    /// [`wait_zero`](Op::wait_zero).
    pub(crate) const fn add(index: u16, value: i16) -> Op {
        debug_assert!(value >= 0);
        Op::new(index, value)
    }

    /// Takes `value` off, waiting until there is that much.
    pub(crate) const fn take(index: u16, value: i16) -> Op {
        debug_assert!(value > 0);
        Op::new(index, -value)
    }

    /// Waits until the value is zero.
    pub(crate) const fn wait_zero(index: u16) -> Op {
        Op::new(index, 0)
    }

    /// The same, undone by the kernel when this process ends.
    pub(crate) const fn undo(mut self) -> Op {
        self.0.sem_flg |= libc::SEM_UNDO as i16;
        self
    }

    /// The same, failing with `EAGAIN` where it would wait.
    pub(crate) const fn no_wait(mut self) -> Op {
        self.0.sem_flg |= libc::IPC_NOWAIT as i16;
        self
    }

    const fn new(index: u16, change: i16) -> Op {
        Op(libc::sembuf { sem_num: index, sem_op: change, sem_flg: 0 })
    }
}

/// The kernel's record of a set, `semid_ds`.
#[allow(dead_code, reason = "the whole record, whoever needs which part of it")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SemStat {
    /// The key it was created with.
    pub(crate) key: i32,
    /// The nine permission bits.
    pub(crate) mode: u32,
    /// Owner.
    pub(crate) uid: u32,
    /// The owner's group.
    pub(crate) gid: u32,
    /// Creator, whom nobody can change.
    pub(crate) cuid: u32,
    /// The creator's group.
    pub(crate) cgid: u32,
    /// Semaphores in the set.
    pub(crate) nsems: u64,
    /// Second of the last `semop`, 0 if none.
    pub(crate) otime: i64,
    /// Second of creation or of the last change.
    pub(crate) ctime: i64,
}

/// `semget`: the id of the set with this key, made if `flags` say so.
pub(crate) fn get(key: i32, nsems: i32, flags: i32) -> Result<i32> {
    // SAFETY: the call takes three numbers and touches no memory of this process.
    check(unsafe { libc::semget(key, nsems, flags) })
}

/// `semop`. Waits as its operations say, and then a signal ends it with `EINTR`.
///
/// It is not restarted: who slept must look at what changed before sleeping again.
pub(crate) fn op(set: i32, ops: &[Op]) -> Result<()> {
    // SAFETY: `Op` is a transparent `sembuf`, the kernel reads `len` of them and writes none,
    // whatever the missing `const` of the C declaration says.
    check(unsafe { libc::semop(set, ops.as_ptr().cast_mut().cast(), ops.len()) })?;
    Ok(())
}

/// `semop` with operations that do not wait, so that a signal is no reason to stop.
pub(crate) fn op_at_once(set: i32, ops: &[Op]) -> Result<()> {
    retry(|| op(set, ops))
}

/// `semtimedop`: as [`op`], failing with `EAGAIN` when the time is over. `None` waits for ever.
pub(crate) fn op_timeout(set: i32, ops: &[Op], timeout: Option<Duration>) -> Result<()> {
    let timeout = timeout.map(|timeout| libc::timespec {
        // More seconds than fit are as good as for ever.
        tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let limit = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: for `ops` as in `op`; `limit` is null or points at `timeout`, which lives until the
    // end of this function.
    check(unsafe { semtimedop(set, ops.as_ptr().cast_mut().cast(), ops.len(), limit) })?;
    Ok(())
}

/// `GETVAL`: the value of one semaphore.
pub(crate) fn value(set: i32, index: u16) -> Result<u16> {
    // Lossless: the kernel keeps values between 0 and 32,767.
    ask(set, index, libc::GETVAL).map(|value| value as u16)
}

/// `GETPID`: the process that changed this semaphore last, in our numbering; 0 if none, or none
/// that our pid namespace has a number for.
pub(crate) fn last_pid(set: i32, index: u16) -> Result<i32> {
    ask(set, index, libc::GETPID)
}

/// `GETNCNT`: how many sleep until this semaphore grows.
pub(crate) fn waiting(set: i32, index: u16) -> Result<u32> {
    ask(set, index, libc::GETNCNT).map(i32::cast_unsigned)
}

/// `IPC_STAT`.
pub(crate) fn stat(set: i32) -> Result<SemStat> {
    stat_by(set, libc::IPC_STAT).map(|(_, stat)| stat)
}

/// One of the commands that fill a `semid_ds`; the number returned is the id for the commands that take
/// an index.
fn stat_by(id_or_index: i32, command: i32) -> Result<(i32, SemStat)> {
    let mut record = MaybeUninit::<libc::semid_ds>::uninit();
    let argument = Semun { stat: record.as_mut_ptr() };
    // SAFETY: the callers pass IPC_STAT, SEM_STAT or SEM_STAT_ANY, which write one `semid_ds` through the
    // pointer, which is that of `record`.
    let returned = check(unsafe { libc::semctl(id_or_index, 0, command, argument) })?;
    // SAFETY: the kernel reported success, so it has filled the record.
    let record = unsafe { record.assume_init() };
    #[allow(clippy::useless_conversion, reason = "u16 on some processors, u32 on others")]
    let mode = u32::from(record.sem_perm.mode);
    let stat = SemStat {
        key: record.sem_perm.__key,
        mode: mode & 0o777,
        uid: record.sem_perm.uid,
        gid: record.sem_perm.gid,
        cuid: record.sem_perm.cuid,
        cgid: record.sem_perm.cgid,
        nsems: record.sem_nsems,
        otime: record.sem_otime,
        ctime: record.sem_ctime,
    };
    Ok((returned, stat))
}

/// `IPC_SET`: gives the set to another owner, who may use it as its mode says and remove it.
pub(crate) fn set_owner(set: i32, uid: u32, gid: u32, mode: u32) -> Result<()> {
    let mut record = MaybeUninit::<libc::semid_ds>::zeroed();
    // SAFETY: a record of integers, for which zeroes are valid.
    let fields = unsafe { record.assume_init_mut() };
    (fields.sem_perm.uid, fields.sem_perm.gid) = (uid, gid);
    #[allow(clippy::useless_conversion, reason = "u16 on some processors, u32 on others")]
    let mode = (mode & 0o777).try_into().unwrap_or(0o600);
    fields.sem_perm.mode = mode;
    let argument = Semun { stat: record.as_mut_ptr() };
    // SAFETY: IPC_SET reads one `semid_ds`, which `record` is.
    check(unsafe { libc::semctl(set, 0, libc::IPC_SET, argument) })?;
    Ok(())
}

/// Every set of the IPC namespace that this process may ask about, with its id.
pub(crate) fn list() -> Result<Vec<(i32, SemStat)>> {
    let (highest, _) = info(libc::SEM_INFO)?;
    let mut found = Vec::new();
    for index in 0..=highest {
        // As in `shm::list`: without read permission if the kernel is not older than 4.17.
        let entry = stat_by(index, SEM_STAT_ANY).or_else(|errno| match errno {
            Errno::EINVAL => stat_by(index, libc::SEM_STAT),
            other => Err(other),
        });
        match entry {
            Ok(entry) => found.push(entry),
            Err(Errno::EINVAL | Errno::EACCES | Errno::EIDRM) => {}
            Err(other) => return Err(other),
        }
    }
    Ok(found)
}

/// `IPC_INFO`: the limits of this IPC namespace.
pub(crate) fn limits() -> Result<SemInfo> {
    info(IPC_INFO).map(|(_, info)| info)
}

/// `SEM_INFO`: what is in use in this IPC namespace.
pub(crate) fn usage() -> Result<SemInfo> {
    info(libc::SEM_INFO).map(|(_, info)| info)
}

/// The highest slot of the kernel's table that is in use, and one of the two pictures.
fn info(command: i32) -> Result<(i32, SemInfo)> {
    let mut info = MaybeUninit::<SemInfo>::uninit();
    let argument = Semun { info: info.as_mut_ptr() };
    // SAFETY: the callers pass IPC_INFO or SEM_INFO, which write one `seminfo`, and `info` has its layout.
    let highest = check(unsafe { libc::semctl(0, 0, command, argument) })?;
    // SAFETY: the kernel reported success, so it has filled the structure.
    Ok((highest, unsafe { info.assume_init() }))
}

/// Whether the kernel undoes what a process did when it ends: a child adds 1 to semaphore `index` with
/// SEM_UNDO and ends, and the value must be what it was. Nobody else may use the semaphore meanwhile.
/// `None`: it could not be tried.
///
/// The child shares this process's memory and nothing else (`clone` with CLONE_VM and CLONE_VFORK), so
/// that it costs no copy of the address space; it sends no SIGCHLD, and `wait` for any child does not
/// see it. This thread waits for its end.
///
/// # Errors
///
/// As [`value`], if the set was removed meanwhile: that says nothing of the kernel.
pub(crate) fn undo_works(set: i32, index: u16) -> Result<Option<bool>> {
    if cfg!(sysring_copies = "plain") {
        // For the thread sanitizer, see `segment::copy`: it takes a clone for a fork, and does not bear one that
        // shares memory.
        return Ok(None);
    }
    /// What the child needs; it shares our memory.
    struct Errand {
        set: i32,
        op: Op,
    }
    extern "C" fn child(errand: *mut libc::c_void) -> libc::c_int {
        // SAFETY: the parent passed its `Errand`, which lives until the child has ended.
        let errand = unsafe { &*errand.cast::<Errand>() };
        // What it returns ends the child at once; nothing of the parent's is run.
        match op(errand.set, &[errand.op]) {
            Ok(()) => 0,
            Err(Errno::EINVAL | Errno::ENOSYS) => 1, // it does not know the flag
            Err(_) => 2,
        }
    }
    const STACK: usize = 64 << 10;
    let before = value(set, index)?;
    let mut stack = vec![0_u128; STACK / 16];
    let mut errand = Errand { set, op: Op::add(index, 1).undo() };
    // Handlers of ours must not run in the child, which shares our memory.
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: fills the set that it is given.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    let mut old = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: reads `all`, filled above, and writes `old`.
    let masked = unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), old.as_mut_ptr()) };
    if masked != 0 {
        return Ok(None);
    }
    let flags = libc::CLONE_VM | libc::CLONE_VFORK;
    let top = stack.as_mut_ptr_range().end;
    // SAFETY: the stack is aligned, long enough for one system call, and like the errand alive until the
    // child has ended, for which CLONE_VFORK makes this call wait.
    let started = check(unsafe { libc::clone(child, top.cast(), flags, (&raw mut errand).cast()) });
    let mut status = 0;
    let ended = started.and_then(|pid| {
        // SAFETY: `status` is an integer of ours for the kernel to write.
        retry(|| check(unsafe { libc::waitpid(pid, &mut status, libc::__WCLONE) }))
    });
    // SAFETY: `old` was filled by the call above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, old.as_ptr(), ptr::null_mut()) };
    if ended.is_err() {
        return Ok(None);
    }
    let after = value(set, index)?;
    let code = if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 2 };
    Ok(match code {
        0 => Some(after == before),
        1 => Some(false),
        _ => None, // killed, or out of memory: that says nothing
    })
}

/// `IPC_RMID`: gone at once; who sleeps on it wakes with `EIDRM`.
pub(crate) fn remove(set: i32) -> Result<()> {
    // SAFETY: IPC_RMID takes no fourth argument and touches no memory of this process.
    check(unsafe { libc::semctl(set, 0, libc::IPC_RMID) })?;
    Ok(())
}

/// One of the commands that answer with a number.
fn ask(set: i32, index: u16, command: i32) -> Result<i32> {
    // SAFETY: the callers pass GETVAL, GETPID or GETNCNT, which take no fourth argument.
    check(unsafe { libc::semctl(set, index.into(), command) })
}

/// The values of a whole set as they were at one moment.
///
/// GETALL takes a bare pointer and no length: the kernel writes as many values as the set has *at
/// that moment*, and an id that was looked up before may by then be another, larger set. So the
/// buffer is never made to measure; it has room for every semaphore that `semop` can name, twice
/// what Linux allows in a set by default (SEMMSL, 32,000). Pages that no answer reaches cost no
/// memory.
#[derive(Debug)]
pub(crate) struct Values {
    room: Box<[MaybeUninit<u16>]>,
    /// So many at the front are initialised.
    known: u16,
}

impl Values {
    /// The numbers that fit the `sem_num` of an operation.
    const ROOM: usize = 1 << 16;

    /// A buffer for the first `known` values, zeroes so far; allocate it once and keep it.
    pub(crate) fn new(known: u16) -> Values {
        let mut room = Box::new_uninit_slice(Values::ROOM);
        room[..usize::from(known)].fill(MaybeUninit::new(0));
        Values { room, known }
    }

    /// `GETALL`: fills the buffer from `set`, in one system call. Does not wait.
    pub(crate) fn read(&mut self, set: i32) -> Result<()> {
        let argument = Semun { array: self.room.as_mut_ptr().cast() };
        // SAFETY: GETALL writes one `u16` for each semaphore of the set, and `new` made room for
        // 65,536. That no set has more is the kernel's guarantee: SEMMSL is 32,000, and raising it
        // beyond 65,536 would give root nothing but semaphores that no `semop` can name.
        check(unsafe { libc::semctl(set, 0, libc::GETALL, argument) })?;
        Ok(())
    }

    /// The value of one semaphore at the last [`read`](Values::read). Of a semaphore that the set
    /// does not have, it is 0 or an earlier set's.
    ///
    /// # Panics
    /// If it is not one of those that the buffer is for.
    pub(crate) fn get(&self, index: u16) -> u16 {
        assert!(index < self.known, "value {index} of {}", self.known);
        // SAFETY: `new` has initialised the first `known`, and the kernel writes whole values over them.
        unsafe { self.room[usize::from(index)].assume_init() }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Instant;

    use super::*;
    use crate::sys::process;

    /// Removes its set also when the test panics.
    struct Removed(i32);

    impl Drop for Removed {
        fn drop(&mut self) {
            let _ = remove(self.0);
        }
    }

    fn private(nsems: i32) -> Removed {
        Removed(get(libc::IPC_PRIVATE, nsems, IPC_CREAT | 0o600).unwrap())
    }

    #[test]
    fn operations_happen_all_or_none() {
        let set = private(3);
        op(set.0, &[Op::add(0, 5), Op::add(2, 1)]).unwrap();
        let refused = op(set.0, &[Op::take(0, 1), Op::wait_zero(2).no_wait()]);
        assert_eq!(refused, Err(Errno::EAGAIN));
        assert_eq!(value(set.0, 0), Ok(5));
        op(set.0, &[Op::take(0, 2), Op::wait_zero(1)]).unwrap();
        assert_eq!((value(set.0, 0), last_pid(set.0, 0)), (Ok(3), Ok(process::pid())));
    }

    #[test]
    fn errors_have_their_numbers() {
        let set = private(1);
        assert_eq!(op(set.0, &[Op::add(1, 1)]), Err(Errno::EFBIG));
        assert_eq!(op(set.0, &[]), Err(Errno::EINVAL));
        op(set.0, &[Op::add(0, i16::MAX)]).unwrap();
        assert_eq!(op(set.0, &[Op::add(0, 1)]), Err(Errno::ERANGE));
        assert_eq!(op(set.0, &[Op::wait_zero(0); 501]), Err(Errno::E2BIG));
        assert_eq!(value(-1, 0), Err(Errno::EINVAL));
    }

    #[test]
    fn a_timeout_is_waited_for_and_then_again() {
        let set = private(1);
        let wait = Duration::from_millis(30);
        let start = Instant::now();
        assert_eq!(op_timeout(set.0, &[Op::take(0, 1)], Some(wait)), Err(Errno::EAGAIN));
        assert!(start.elapsed() >= wait);
        op(set.0, &[Op::add(0, 2)]).unwrap();
        op_timeout(set.0, &[Op::take(0, 1)], Some(Duration::MAX)).unwrap();
        op_timeout(set.0, &[Op::take(0, 1)], None).unwrap();
    }

    #[test]
    fn removal_wakes_the_sleeper() {
        let set = private(1);
        let id = set.0;
        let sleeper = thread::spawn(move || op(id, &[Op::take(0, 1)]));
        while waiting(id, 0) == Ok(0) {
            thread::yield_now();
        }
        remove(id).unwrap();
        assert_eq!(sleeper.join().unwrap(), Err(Errno::EIDRM));
        assert_eq!(op(id, &[Op::add(0, 1)]), Err(Errno::EINVAL));
    }

    #[test]
    fn values_reads_sets_of_every_size() {
        let mut values = Values::new(32_000);
        // 32,000 is what Linux allows by default; a smaller limit shows as EINVAL.
        for nsems in [1, 3, 483, 32_000] {
            let Ok(id) = get(libc::IPC_PRIVATE, nsems, IPC_CREAT | 0o600) else {
                assert_eq!(nsems, 32_000);
                continue;
            };
            let set = Removed(id);
            let last = u16::try_from(nsems - 1).unwrap();
            op(set.0, &[Op::add(last, 77)]).unwrap();
            values.read(set.0).unwrap();
            assert_eq!(values.get(last), 77);
            assert!(last == 31_999 || values.get(31_999) == 0);
        }
    }

    #[test]
    fn list_finds_it_with_its_record() {
        let set = private(7);
        let found = list().unwrap();
        let (_, entry) = found.iter().find(|(id, _)| *id == set.0).expect("not listed");
        assert_eq!((entry.nsems, entry.mode), (7, 0o600));
    }

    #[test]
    fn the_kernel_undoes_and_the_test_shows_it() {
        let set = private(2);
        op(set.0, &[Op::add(1, 5)]).unwrap();
        assert_eq!(undo_works(set.0, 1), Ok(Some(true)));
        assert_eq!(value(set.0, 1), Ok(5));
        assert_eq!(undo_works(-1, 0), Err(Errno::EINVAL));
        // Refused for another reason than the flag.
        op(set.0, &[Op::add(0, i16::MAX)]).unwrap();
        assert_eq!(undo_works(set.0, 0), Ok(None));
    }

    #[test]
    fn the_owner_can_be_changed_the_creator_not() {
        let set = private(1);
        let before = stat(set.0).unwrap();
        set_owner(set.0, before.uid, before.gid, 0o640).unwrap();
        let after = stat(set.0).unwrap();
        assert_eq!((after.mode, after.uid, after.cuid), (0o640, before.uid, before.cuid));
    }

    #[test]
    fn the_record_is_the_kernels() {
        let set = private(9);
        let record = stat(set.0).unwrap();
        assert_eq!((record.key, record.mode, record.nsems, record.otime), (0, 0o600, 9, 0));
        assert_eq!((record.uid, record.cuid), (process::euid(), process::euid()));
        assert!(record.ctime > 0);
    }
}
