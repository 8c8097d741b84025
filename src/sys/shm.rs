//! Shared-memory segments: `shmget`, `shmat`, `shmdt`, `shmctl`.
//!
//! None of these calls waits for another process, and none is interrupted by a signal that the
//! process survives, so nothing here is restarted.
#![allow(unsafe_code, reason = "system calls that take and return raw memory")]

use core::mem::{self, MaybeUninit};
use core::ptr::{self, NonNull};
use core::slice;
use core::sync::atomic::AtomicU8;
use std::collections::BTreeMap;

use super::{Errno, Result, check};

pub(crate) use libc::{IPC_CREAT, IPC_EXCL, SHM_HUGETLB};

/// The key that always makes a new segment and finds none.
pub(crate) const IPC_PRIVATE: i32 = libc::IPC_PRIVATE;

// Of <linux/shm.h> and <linux/ipc.h>, missing in libc: two bits that IPC_STAT adds to the mode, and the
// commands behind `ipcs`.
const SHM_DEST: u32 = 0o1000;
const SHM_LOCKED: u32 = 0o2000;
const IPC_INFO: i32 = 3;
const SHM_STAT: i32 = 13;
const SHM_INFO: i32 = 14;
const SHM_STAT_ANY: i32 = 15;

/// What an attachment may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Load and store.
    ReadWrite,
    /// Load; a store would raise SIGSEGV.
    ReadOnly,
}

/// The kernel's record of a segment, `shmid_ds`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShmStat {
    /// The key it was created with; 0 (`IPC_PRIVATE`) once it is marked as removed.
    pub(crate) key: i32,
    /// The nine permission bits.
    pub(crate) mode: u32,
    /// Owner, who may be changed by `set_permissions`.
    pub(crate) uid: u32,
    /// The owner's group.
    pub(crate) gid: u32,
    /// Creator, whom nobody can change.
    pub(crate) cuid: u32,
    /// The creator's group.
    pub(crate) cgid: u32,
    /// Bytes as asked for at creation, not rounded.
    pub(crate) size: u64,
    /// Second of the last attach, 0 if none.
    pub(crate) atime: i64,
    /// Second of the last detach, 0 if none.
    pub(crate) dtime: i64,
    /// Second of creation or of the last change of permissions.
    pub(crate) ctime: i64,
    /// Process that created it, as numbered in our pid namespace.
    pub(crate) cpid: i32,
    /// Process that attached or detached last.
    pub(crate) lpid: i32,
    /// Attachments in all processes together.
    pub(crate) nattch: u64,
    /// Removed: it goes with the last attachment.
    pub(crate) dest: bool,
    /// Its pages are never swapped out.
    pub(crate) locked: bool,
}

impl ShmStat {
    fn new(raw: &libc::shmid_ds) -> ShmStat {
        #[allow(clippy::useless_conversion, reason = "u16 on some processors, u32 on others")]
        let mode = u32::from(raw.shm_perm.mode);
        ShmStat {
            key: raw.shm_perm.__key,
            mode: mode & 0o777,
            uid: raw.shm_perm.uid,
            gid: raw.shm_perm.gid,
            cuid: raw.shm_perm.cuid,
            cgid: raw.shm_perm.cgid,
            size: raw.shm_segsz as u64,
            atime: raw.shm_atime,
            dtime: raw.shm_dtime,
            ctime: raw.shm_ctime,
            cpid: raw.shm_cpid,
            lpid: raw.shm_lpid,
            nattch: raw.shm_nattch,
            dest: mode & SHM_DEST != 0,
            locked: mode & SHM_LOCKED != 0,
        }
    }
}

/// `shmget`: the id of the segment with this key, made if `flags` say so.
///
/// `flags` are permission bits and the `IPC_` and `SHM_` constants of this module.
pub(crate) fn get(key: i32, size: usize, flags: i32) -> Result<i32> {
    // SAFETY: the call takes three numbers and touches no memory of this process.
    check(unsafe { libc::shmget(key, size, flags) })
}

/// `shmat` at an address of the kernel's choice, then `IPC_STAT` of what was attached.
///
/// While it is attached the id cannot be recycled, so the record is that of this memory, whatever
/// happened to the id between `get` and here.
pub(crate) fn attach(id: i32, access: Access) -> Result<Attached> {
    let flags = match access {
        Access::ReadWrite => 0,
        Access::ReadOnly => libc::SHM_RDONLY,
    };
    // SAFETY: with a null address and without SHM_REMAP the kernel picks a range that nothing
    // uses, so no existing memory changes.
    let address = unsafe { libc::shmat(id, ptr::null(), flags) };
    check(address.addr().cast_signed())?;
    // The kernel never picks address zero (vm.mmap_min_addr).
    let address = NonNull::new(address.cast::<u8>()).ok_or(Errno::EINVAL)?;
    // Owned from here on, so that a failing IPC_STAT detaches.
    let mut attached = Attached { address, stat: ShmStat::default() };
    attached.stat = stat(id)?;
    Ok(attached)
}

/// `IPC_STAT`.
pub(crate) fn stat(id: i32) -> Result<ShmStat> {
    let (_, stat) = stat_by(id, libc::IPC_STAT)?;
    Ok(stat)
}

/// `IPC_SET`: owner, the owner's group, permission bits.
pub(crate) fn set_permissions(id: i32, uid: u32, gid: u32, mode: u32) -> Result<()> {
    // SAFETY: a plain C structure of integers, for which all zeroes is a value.
    let mut record: libc::shmid_ds = unsafe { mem::zeroed() };
    record.shm_perm.uid = uid;
    record.shm_perm.gid = gid;
    // Cannot lose bits: only nine are left.
    record.shm_perm.mode = (mode & 0o777) as _;
    // SAFETY: IPC_SET reads a `shmid_ds`, which `record` is.
    check(unsafe { libc::shmctl(id, libc::IPC_SET, &mut record) })?;
    Ok(())
}

/// `IPC_RMID`: the key is free at once, the memory goes with the last attachment.
pub(crate) fn remove(id: i32) -> Result<()> {
    control(id, libc::IPC_RMID)
}

/// `SHM_LOCK`: keeps the pages in memory from their first use on.
pub(crate) fn lock(id: i32) -> Result<()> {
    control(id, libc::SHM_LOCK)
}

/// `SHM_UNLOCK`.
pub(crate) fn unlock(id: i32) -> Result<()> {
    control(id, libc::SHM_UNLOCK)
}

/// Every segment of this IPC namespace that this process may look at, with its id.
///
/// Segments that come or go during the walk may be missing or present; there is no snapshot.
pub(crate) fn list() -> Result<Vec<(i32, ShmStat)>> {
    let mut found = Vec::new();
    for index in 0..=highest_index()? {
        // SHM_STAT_ANY asks for no read permission, as `ipcs` needs it. EINVAL means either that
        // the slot is empty or that the kernel is older than 4.17 and does not know the command;
        // SHM_STAT tells the two apart.
        let entry = stat_by(index, SHM_STAT_ANY).or_else(|errno| match errno {
            Errno::EINVAL => stat_by(index, SHM_STAT),
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

/// Bytes of every segment that lie in memory or in swap, by its id: 0 if nobody has touched it. What `/proc` does not
/// tell is missing. It costs no page, as looking at the bytes would.
pub(crate) fn resident() -> BTreeMap<i32, u64> {
    let table = std::fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    let entry = |row: &str| {
        let columns: Vec<&str> = row.split_whitespace().collect();
        let bytes = |column: usize| columns.get(column)?.parse::<u64>().ok();
        Some((columns.get(1)?.parse().ok()?, bytes(14)?.checked_add(bytes(15)?)?))
    };
    table.lines().skip(1).filter_map(entry).collect()
}

/// `shminfo64` of <asm-generic/shmbuf.h>: the limits of this IPC namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShmLimits {
    /// Bytes of one segment (`shmmax`).
    pub(crate) segment_bytes: libc::c_ulong,
    smallest: libc::c_ulong,
    /// Segments (`shmmni`).
    pub(crate) segments: libc::c_ulong,
    per_process: libc::c_ulong,
    /// Pages of all segments together (`shmall`).
    pub(crate) pages: libc::c_ulong,
    unused: [libc::c_ulong; 4],
}

/// `shm_info` of <linux/shm.h>: what is in use in this IPC namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShmUsage {
    /// Segments.
    pub(crate) segments: libc::c_int,
    /// Pages of all segments together, touched or not.
    pub(crate) pages: libc::c_ulong,
    /// Those of them that lie in memory.
    pub(crate) resident: libc::c_ulong,
    /// Those of them that lie in swap.
    pub(crate) swapped: libc::c_ulong,
    swap: [libc::c_ulong; 2],
}

/// `IPC_INFO`.
pub(crate) fn limits() -> Result<ShmLimits> {
    let mut limits = MaybeUninit::<ShmLimits>::uninit();
    // SAFETY: IPC_INFO writes a `shminfo64` and nothing more, and `limits` has its layout; the parameter's
    // type is that of the other commands.
    check(unsafe { libc::shmctl(0, IPC_INFO, limits.as_mut_ptr().cast()) })?;
    // SAFETY: the kernel reported success, so it has filled the structure.
    Ok(unsafe { limits.assume_init() })
}

/// `SHM_INFO`.
pub(crate) fn usage() -> Result<ShmUsage> {
    info().map(|(_, usage)| usage)
}

/// The highest slot of the kernel's table that is in use.
fn highest_index() -> Result<i32> {
    info().map(|(highest, _)| highest)
}

fn info() -> Result<(i32, ShmUsage)> {
    let mut usage = MaybeUninit::<ShmUsage>::uninit();
    // SAFETY: SHM_INFO writes a `shm_info` and nothing more, and `usage` has its layout; the
    // parameter's type is that of the other commands.
    let highest = check(unsafe { libc::shmctl(0, SHM_INFO, usage.as_mut_ptr().cast()) })?;
    // SAFETY: the kernel reported success, so it has filled the structure.
    Ok((highest, unsafe { usage.assume_init() }))
}

/// One of the commands that fill a `shmid_ds`; the number returned is the id for the commands
/// that take an index.
fn stat_by(id_or_index: i32, command: i32) -> Result<(i32, ShmStat)> {
    let mut record = MaybeUninit::<libc::shmid_ds>::uninit();
    // SAFETY: the callers pass IPC_STAT, SHM_STAT or SHM_STAT_ANY, which write one `shmid_ds`.
    let returned = check(unsafe { libc::shmctl(id_or_index, command, record.as_mut_ptr()) })?;
    // SAFETY: the kernel reported success, so it has filled the record.
    let record = unsafe { record.assume_init() };
    Ok((returned, ShmStat::new(&record)))
}

/// One of the commands that take no structure.
fn control(id: i32, command: i32) -> Result<()> {
    // SAFETY: the callers pass IPC_RMID, SHM_LOCK or SHM_UNLOCK, which ignore the pointer.
    check(unsafe { libc::shmctl(id, command, ptr::null_mut()) })?;
    Ok(())
}

/// A segment in this process's memory; detached on drop.
///
/// A child made by `fork` has the attachment too, and its copy of this value detaches there only.
#[derive(Debug)]
pub(crate) struct Attached {
    address: NonNull<u8>,
    /// Taken after the attach.
    stat: ShmStat,
}

// SAFETY: it owns a range of addresses, which mean the same in every thread, and nothing else.
unsafe impl Send for Attached {}

// SAFETY: shared references give out a raw pointer, plain numbers and atomics; no method changes
// anything without synchronisation.
unsafe impl Sync for Attached {}

impl Attached {
    /// The first byte, page-aligned. Other processes may write there at any time, so that it must
    /// never become a plain reference.
    pub(crate) fn as_ptr(&self) -> NonNull<u8> {
        self.address
    }

    /// Bytes in the segment, by the kernel's word. The rest of the last page is mapped as well.
    pub(crate) fn len(&self) -> usize {
        // Lossless: the kernel has this number as a `size_t`.
        self.stat.size as usize
    }

    /// The bytes, each an atomic because other processes may write them at any time.
    ///
    /// Through a read-only attachment only relaxed loads are allowed; a store raises SIGSEGV.
    pub(crate) fn bytes(&self) -> &[AtomicU8] {
        // SAFETY: the kernel has mapped `len` bytes there (`attach`), they stay until `drop`, and
        // every byte is a valid `AtomicU8`, whoever writes it.
        unsafe { slice::from_raw_parts(self.address.as_ptr().cast(), self.len()) }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // A failure can only mean that it is not attached any more, and a destructor has nobody
        // to tell.
        // SAFETY: `attach` made this attachment, nobody else detaches it, and the references into
        // it borrow `self`.
        let _ = unsafe { libc::shmdt(self.address.as_ptr().cast()) };
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::Ordering::Relaxed;

    use super::*;
    use crate::sys::process;

    /// Removes its segment also when the test panics.
    struct Removed(i32);

    impl Drop for Removed {
        fn drop(&mut self) {
            let _ = remove(self.0);
        }
    }

    fn private(size: usize) -> Removed {
        Removed(get(IPC_PRIVATE, size, IPC_CREAT | 0o600).unwrap())
    }

    #[test]
    fn what_one_attachment_stores_another_loads() {
        let segment = private(100);
        let writer = attach(segment.0, Access::ReadWrite).unwrap();
        let reader = attach(segment.0, Access::ReadOnly).unwrap();
        assert_ne!(writer.as_ptr(), reader.as_ptr());
        assert_eq!((writer.len(), reader.len()), (100, 100));
        writer.bytes()[99].store(7, Relaxed);
        assert_eq!(reader.bytes()[99].load(Relaxed), 7);
        assert_eq!(reader.bytes()[98].load(Relaxed), 0);
    }

    #[test]
    fn the_record_is_the_kernels() {
        let segment = private(5000);
        let fresh = stat(segment.0).unwrap();
        let me = process::pid();
        assert_eq!((fresh.key, fresh.mode, fresh.size, fresh.nattch), (0, 0o600, 5000, 0));
        assert_eq!((fresh.cpid, fresh.lpid, fresh.atime, fresh.dtime), (me, 0, 0, 0));
        assert_eq!((fresh.uid, fresh.cuid), (process::euid(), process::euid()));
        assert!(fresh.ctime > 0 && !fresh.dest && !fresh.locked);

        let attached = attach(segment.0, Access::ReadWrite).unwrap();
        assert_eq!((attached.stat.nattch, attached.stat.lpid), (1, me));
        set_permissions(segment.0, fresh.uid, fresh.gid, 0o640).unwrap();
        assert_eq!(stat(segment.0).unwrap().mode, 0o640);
    }

    #[test]
    fn a_removed_segment_lives_until_the_last_detach() {
        let segment = private(1);
        let first = attach(segment.0, Access::ReadWrite).unwrap();
        remove(segment.0).unwrap();
        assert!(stat(segment.0).unwrap().dest);
        first.bytes()[0].store(1, Relaxed);
        drop(first);
        assert!(matches!(stat(segment.0), Err(Errno::EINVAL | Errno::EIDRM)));
    }

    #[test]
    fn a_failed_attach_is_an_errno() {
        assert_eq!(attach(-1, Access::ReadOnly).unwrap_err(), Errno::EINVAL);
        assert_eq!(get(IPC_PRIVATE, 0, IPC_CREAT | 0o600), Err(Errno::EINVAL));
    }

    #[test]
    fn list_finds_it_with_its_record() {
        let segment = private(4242);
        let found = list().unwrap();
        let (_, entry) = found.iter().find(|(id, _)| *id == segment.0).expect("not listed");
        assert_eq!((entry.size, entry.cpid), (4242, process::pid()));
    }

    #[test]
    fn resident_counts_what_was_touched() {
        let page = crate::sys::process::page_size();
        let segment = private(10 * page);
        let resident = |id| resident().get(&id).copied();
        assert_eq!(resident(segment.0), Some(0));
        let attached = attach(segment.0, Access::ReadWrite).unwrap();
        attached.bytes()[page].store(1, core::sync::atomic::Ordering::Relaxed);
        assert_eq!(resident(segment.0), Some(page as u64));
        assert_eq!(resident(-1), None);
    }

    #[test]
    fn lock_shows_in_the_record() {
        let segment = private(1);
        // A limit of no locked memory is possible, and then there is nothing to look at.
        if lock(segment.0).is_ok() {
            assert!(stat(segment.0).unwrap().locked);
            unlock(segment.0).unwrap();
            assert!(!stat(segment.0).unwrap().locked);
        }
    }
}
