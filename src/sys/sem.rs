//! Semaphore sets: `semget`, `semop`, `semtimedop`, `semctl`.
//!
//! There is no SETVAL and no SETALL here on purpose: both erase the undo entries of every process,
//! and with them the notices of death that this crate is built on. Sets start as zeroes, which
//! Linux guarantees.
#![allow(unsafe_code, reason = "system calls that take pointers")]

use core::mem::MaybeUninit;
use core::ptr;
use core::time::Duration;

use super::{Result, check};

pub(crate) use libc::{IPC_CREAT, IPC_EXCL};

/// The fourth argument of `semctl`. C leaves its declaration to the program; the member for
/// SETVAL is missing because nothing here sets a value.
#[repr(C)]
union Semun {
    stat: *mut libc::semid_ds,
    array: *mut libc::c_ushort,
}

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
    let mut record = MaybeUninit::<libc::semid_ds>::uninit();
    let argument = Semun { stat: record.as_mut_ptr() };
    // SAFETY: IPC_STAT writes one `semid_ds` through the pointer, which is that of `record`.
    check(unsafe { libc::semctl(set, 0, libc::IPC_STAT, argument) })?;
    // SAFETY: the kernel reported success, so it has filled the record.
    let record = unsafe { record.assume_init() };
    #[allow(clippy::useless_conversion, reason = "u16 on some processors, u32 on others")]
    let mode = u32::from(record.sem_perm.mode);
    Ok(SemStat {
        key: record.sem_perm.__key,
        mode: mode & 0o777,
        uid: record.sem_perm.uid,
        gid: record.sem_perm.gid,
        cuid: record.sem_perm.cuid,
        cgid: record.sem_perm.cgid,
        nsems: record.sem_nsems,
        otime: record.sem_otime,
        ctime: record.sem_ctime,
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
pub(crate) struct Values(Box<[u16]>);

impl Values {
    /// The numbers that fit the `sem_num` of an operation.
    const ROOM: usize = 1 << 16;

    /// A buffer of zeroes; allocate it once and keep it.
    pub(crate) fn new() -> Values {
        Values(vec![0; Values::ROOM].into_boxed_slice())
    }

    /// `GETALL`: fills the buffer from `set`, in one system call. Does not wait.
    pub(crate) fn read(&mut self, set: i32) -> Result<()> {
        let argument = Semun { array: self.0.as_mut_ptr() };
        // SAFETY: GETALL writes one `u16` for each semaphore of the set, and `new` made room for
        // 65,536. That no set has more is the kernel's guarantee: SEMMSL is 32,000, and raising it
        // beyond 65,536 would give root nothing but semaphores that no `semop` can name.
        check(unsafe { libc::semctl(set, 0, libc::GETALL, argument) })?;
        Ok(())
    }

    /// The value of one semaphore at the last [`read`](Values::read). Of a semaphore that the set
    /// does not have, it is 0 or an earlier set's.
    pub(crate) fn get(&self, index: u16) -> u16 {
        self.0[usize::from(index)]
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Instant;

    use super::*;
    use crate::sys::{Errno, process};

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
        let mut values = Values::new();
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
            assert_eq!(values.get(u16::MAX), 0);
        }
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
