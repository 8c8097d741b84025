//! [`Segment`] and [`SegmentStat`]: the calls on a segment, and what the kernel knows about it.

use std::time::{Duration, SystemTime};

use super::error::Subject;
use super::{Key, Mapping, ReadOnlyMapping, SegmentError};
use crate::sys::Errno;
use crate::sys::hint::hint;
use crate::sys::shm::{self, Access, ShmStat};

/// A segment, known by its id.
///
/// This is a plain number: copying it costs nothing, dropping it changes nothing, and the segment
/// may be removed by others at any time; then its calls fail with `EINVAL` or `EIDRM`.
///
/// None of its calls waits for another process.
///
/// # Examples
///
/// ```
/// use sysring::segment::{Key, Segment};
///
/// let segment = Segment::create(Key::PRIVATE, 100, 0o600)?;
/// let same = Segment::from_id(segment.id());
/// assert_eq!(same, segment);
/// segment.remove()?;
/// assert!(same.attach().is_err()); // gone for every copy of the number
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Segment {
    id: i32,
}

impl Segment {
    /// Makes a new segment of zeroes.
    ///
    /// `mode` holds the permission bits, as for a file: 0o600 lets only the same user in.
    ///
    /// # Errors
    ///
    /// `EEXIST` if the key has a segment already, `EINVAL` if the size is 0 or above the kernel's
    /// limit or if `mode` has other bits than those nine, `ENOSPC` and `ENOMEM` for other limits.
    ///
    /// # Examples
    ///
    /// ```
    /// use sysring::segment::{Key, Segment};
    ///
    /// let segment = Segment::create(Key::PRIVATE, 100, 0o600)?;
    /// assert_eq!(segment.stat()?.size, 100);
    /// segment.remove()?;
    /// # Ok::<(), sysring::segment::SegmentError>(())
    /// ```
    pub fn create(key: Key, size: usize, mode: u32) -> Result<Segment, SegmentError> {
        Segment::get(key, size, mode, shm::IPC_CREAT | shm::IPC_EXCL)
    }

    /// Finds the segment that has this key, whatever its size.
    ///
    /// # Errors
    ///
    /// `ENOENT` if the key has none; `EINVAL` for [`Key::PRIVATE`], which never has one.
    ///
    /// # Examples
    ///
    /// ```
    /// use sysring::segment::{Key, Segment};
    /// use sysring::Errno;
    ///
    /// let key = Key::from_raw(std::process::id() as i32);
    /// let error = Segment::open(key).unwrap_err();
    /// assert_eq!(error.errno(), Errno::ENOENT);
    /// ```
    pub fn open(key: Key) -> Result<Segment, SegmentError> {
        if key == Key::PRIVATE {
            let text = "IPC_PRIVATE finds nothing; use the id of the segment";
            return Err(SegmentError::new("shmget", Subject::Key(key), Errno::EINVAL, text));
        }
        Segment::get(key, 0, 0, 0)
    }

    /// Finds the segment that has this key or makes it, in one step: of several processes that do
    /// this at once, one creates and all get the same segment.
    ///
    /// One that is there stays as it is: larger perhaps, and with another mode.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the segment that is there is smaller than `size`, `EACCES` if its mode does not
    /// grant what `mode` asks for, and everything from [`create`](Segment::create) but `EEXIST`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sysring::segment::{Key, Segment};
    ///
    /// let key = Key::from_raw(0x5000_0000 | std::process::id() as i32);
    /// let first = Segment::open_or_create(key, 4096, 0o600)?;
    /// let second = Segment::open_or_create(key, 100, 0o600);
    /// first.remove()?;
    /// assert_eq!(first.id(), second?.id());
    /// # Ok::<(), sysring::segment::SegmentError>(())
    /// ```
    pub fn open_or_create(key: Key, size: usize, mode: u32) -> Result<Segment, SegmentError> {
        Segment::get(key, size, mode, shm::IPC_CREAT)
    }

    /// The segment with this id, as another program or `ipcs` told it. Asks nobody: whether there
    /// is such a segment shows at the first use.
    ///
    /// # Examples
    ///
    /// ```
    /// use sysring::segment::{Key, Segment};
    ///
    /// let segment = Segment::create(Key::PRIVATE, 100, 0o600)?;
    /// let size = Segment::from_id(segment.id()).stat()?.size;
    /// segment.remove()?;
    /// assert_eq!(size, 100);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn from_id(id: i32) -> Segment {
        Segment { id }
    }

    fn get(key: Key, size: usize, mode: u32, flags: i32) -> Result<Segment, SegmentError> {
        let error = |errno, text: &str| Err(SegmentError::new("shmget", Subject::Key(key), errno, text));
        // Higher bits would be taken as IPC_CREAT and its like.
        if mode > 0o777 {
            return error(Errno::EINVAL, "the mode has bits beyond 0o777");
        }
        match shm::get(key.raw(), size, flags | mode.cast_signed()) {
            Ok(id) => Ok(Segment { id }),
            Err(Errno::EINVAL) => error(Errno::EINVAL, &explain_size(key, size)),
            Err(errno) => error(errno, hint("shmget", errno)),
        }
    }

    /// The kernel's number for it, good in every process of the same IPC namespace.
    ///
    /// # Examples
    ///
    /// ```
    /// use sysring::segment::{Key, Segment};
    ///
    /// let segment = Segment::create(Key::PRIVATE, 100, 0o600)?;
    /// println!("ipcs -m -i {}", segment.id());
    /// segment.remove()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn id(&self) -> i32 {
        self.id
    }

    /// Maps it into this process, at an address of the kernel's choice, to read and write.
    ///
    /// # Errors
    ///
    /// `EACCES` if the mode does not let this user read and write, `EINVAL` or `EIDRM` if it was
    /// removed, `ENOMEM` without address space.
    ///
    /// # Examples
    ///
    /// ```
    /// use sysring::segment::{Key, Segment};
    ///
    /// let segment = Segment::create(Key::PRIVATE, 100, 0o600)?;
    /// let mapping = segment.attach()?;
    /// segment.remove()?;
    /// mapping.write(0, b"ok")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn attach(&self) -> Result<Mapping, SegmentError> {
        self.report("shmat", shm::attach(self.id, Access::ReadWrite)).map(Mapping)
    }

    /// Maps it into this process to read only, for which permission to read is enough.
    ///
    /// # Errors
    ///
    /// As [`attach`](Segment::attach).
    ///
    /// # Examples
    ///
    /// ```
    /// use sysring::segment::{Key, Segment};
    ///
    /// let segment = Segment::create(Key::PRIVATE, 100, 0o400)?; // nobody but root may write
    /// let mapping = segment.attach_read_only();
    /// segment.remove()?;
    /// let mut bytes = [1; 100];
    /// mapping?.read(0, &mut bytes)?;
    /// assert_eq!(bytes, [0; 100]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn attach_read_only(&self) -> Result<ReadOnlyMapping, SegmentError> {
        self.report("shmat", shm::attach(self.id, Access::ReadOnly)).map(ReadOnlyMapping)
    }

    /// What the kernel knows about it, all of one moment; the number of attachments and the last
    /// process may have changed when this returns.
    ///
    /// # Errors
    ///
    /// `EACCES` if the mode does not let this user read, `EINVAL` or `EIDRM` if it was removed.
    ///
    /// # Examples
    ///
    /// ```
    /// use sysring::segment::{Key, Segment};
    ///
    /// let segment = Segment::create(Key::PRIVATE, 100, 0o600)?;
    /// let stat = segment.stat()?;
    /// segment.remove()?;
    /// assert_eq!((stat.size, stat.mode, stat.attached), (100, 0o600, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stat(&self) -> Result<SegmentStat, SegmentError> {
        let stat = self.report("shmctl(IPC_STAT)", shm::stat(self.id))?;
        Ok(SegmentStat::new(self.id, &stat))
    }

    /// Removes it: nobody finds it by its key any more, and its memory goes with the last
    /// attachment, which may be now. Those who have it mapped can go on using it.
    ///
    /// # Errors
    ///
    /// `EPERM` unless this user owns it, created it or is root; `EINVAL` or `EIDRM` if that was
    /// done already.
    ///
    /// # Examples
    ///
    /// ```
    /// use sysring::segment::{Key, Segment};
    ///
    /// let segment = Segment::create(Key::PRIVATE, 100, 0o600)?;
    /// let mapping = segment.attach()?;
    /// segment.remove()?;
    /// assert!(segment.stat()?.removed); // still there, because it is mapped
    /// drop(mapping);
    /// assert!(segment.stat().is_err());
    /// # Ok::<(), sysring::segment::SegmentError>(())
    /// ```
    pub fn remove(&self) -> Result<(), SegmentError> {
        self.report("shmctl(IPC_RMID)", shm::remove(self.id))
    }

    /// Gives it another owner, group and mode. The creator stays, and may always do this again.
    ///
    /// # Errors
    ///
    /// `EPERM` unless this user owns it, created it or is root; `EINVAL` if `mode` has other bits
    /// than the nine of permissions; `EINVAL` or `EIDRM` if it was removed.
    ///
    /// # Examples
    ///
    /// ```
    /// use sysring::segment::{Key, Segment};
    ///
    /// let segment = Segment::create(Key::PRIVATE, 100, 0o600)?;
    /// let before = segment.stat()?;
    /// segment.set_permissions(before.uid, before.gid, 0o640)?; // the group may read
    /// let after = segment.stat()?;
    /// segment.remove()?;
    /// assert_eq!(after.mode, 0o640);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_permissions(&self, uid: u32, gid: u32, mode: u32) -> Result<(), SegmentError> {
        const CALL: &str = "shmctl(IPC_SET)";
        if mode > 0o777 {
            let text = "the mode has bits beyond 0o777";
            return Err(SegmentError::new(CALL, Subject::Id(self.id), Errno::EINVAL, text));
        }
        self.report(CALL, shm::set_permissions(self.id, uid, gid, mode))
    }

    /// Keeps its pages in memory, never on swap, from their first use on.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if that is more than this user may lock, `EPERM` if this user may lock nothing or
    /// does not own it, `EINVAL` or `EIDRM` if it was removed.
    ///
    /// # Examples
    ///
    /// ```
    /// use sysring::segment::{Key, Segment};
    ///
    /// let segment = Segment::create(Key::PRIVATE, 100, 0o600)?;
    /// let outcome = segment.lock(); // depends on RLIMIT_MEMLOCK
    /// let locked = segment.stat()?.locked;
    /// segment.remove()?;
    /// assert_eq!(locked, outcome.is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn lock(&self) -> Result<(), SegmentError> {
        self.report("shmctl(SHM_LOCK)", shm::lock(self.id))
    }

    /// Undoes [`lock`](Segment::lock).
    ///
    /// # Errors
    ///
    /// `EPERM` unless this user owns it, created it or is root; `EINVAL` or `EIDRM` if it was
    /// removed.
    ///
    /// # Examples
    ///
    /// ```
    /// use sysring::segment::{Key, Segment};
    ///
    /// let segment = Segment::create(Key::PRIVATE, 100, 0o600)?;
    /// if segment.lock().is_ok() {
    ///     segment.unlock()?;
    /// }
    /// let locked = segment.stat()?.locked;
    /// segment.remove()?;
    /// assert!(!locked);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn unlock(&self) -> Result<(), SegmentError> {
        self.report("shmctl(SHM_UNLOCK)", shm::unlock(self.id))
    }

    /// Puts the call and this segment around an errno.
    fn report<T>(&self, call: &'static str, outcome: Result<T, Errno>) -> Result<T, SegmentError> {
        outcome.map_err(|errno| SegmentError::new(call, Subject::Id(self.id), errno, hint(call, errno)))
    }
}

/// Why `shmget` refused a size: the kernel has one errno for three reasons, and a look at the
/// segment that is there tells them apart.
fn explain_size(key: Key, size: usize) -> String {
    let existing = if key == Key::PRIVATE { None } else { shm::get(key.raw(), 0, 0).ok() };
    match existing.map(shm::stat) {
        Some(Ok(stat)) if stat.size < size as u64 => {
            format!("{size} bytes asked for, but the segment that is there has {}", stat.size)
        }
        Some(_) => hint("shmget", Errno::EINVAL).to_owned(),
        None if size == 0 => "a segment has at least 1 byte".to_owned(),
        None => format!("{size} bytes are more than the kernel allows (kernel.shmmax)"),
    }
}

/// What the kernel knows about a segment, `shmid_ds` in C.
///
/// Process numbers are those of this process's pid namespace; 0 stands for none, or for one that
/// this namespace has no number for.
///
/// # Examples
///
/// ```
/// use sysring::segment::{Key, Segment};
///
/// let segment = Segment::create(Key::PRIVATE, 100, 0o600)?;
/// let stat = segment.stat()?;
/// segment.remove()?;
/// assert_eq!(stat.key, Key::PRIVATE);
/// assert_eq!(stat.creator_pid, std::process::id() as i32);
/// assert_eq!(stat.attach_time, None); // never attached
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentStat {
    /// The kernel's number for it.
    pub id: i32,
    /// The key it was created with; [`Key::PRIVATE`] also once it is removed.
    pub key: Key,
    /// Bytes as asked for at its creation; see [`round_to_pages`](super::round_to_pages).
    pub size: usize,
    /// The nine permission bits.
    pub mode: u32,
    /// The user who owns it.
    pub uid: u32,
    /// The group that owns it.
    pub gid: u32,
    /// The user who created it; nobody can change that.
    pub creator_uid: u32,
    /// The group of its creator.
    pub creator_gid: u32,
    /// Attachments, of all processes together.
    pub attached: u64,
    /// When it was last attached, to the second.
    pub attach_time: Option<SystemTime>,
    /// When it was last detached.
    pub detach_time: Option<SystemTime>,
    /// When it was created or its permissions last changed.
    pub change_time: Option<SystemTime>,
    /// The process that created it.
    pub creator_pid: i32,
    /// The process that last attached or detached.
    pub last_pid: i32,
    /// It was removed and goes with its last attachment.
    pub removed: bool,
    /// Its pages are kept in memory.
    pub locked: bool,
}

impl SegmentStat {
    fn new(id: i32, stat: &ShmStat) -> SegmentStat {
        SegmentStat {
            id,
            key: Key::from_raw(stat.key),
            // Lossless: the kernel has this number as a `size_t`.
            size: stat.size as usize,
            mode: stat.mode,
            uid: stat.uid,
            gid: stat.gid,
            creator_uid: stat.cuid,
            creator_gid: stat.cgid,
            attached: stat.nattch,
            attach_time: time(stat.atime),
            detach_time: time(stat.dtime),
            change_time: time(stat.ctime),
            creator_pid: stat.cpid,
            last_pid: stat.lpid,
            removed: stat.dest,
            locked: stat.locked,
        }
    }
}

/// The kernel's second 0 means "never".
fn time(second: i64) -> Option<SystemTime> {
    let second = u64::try_from(second).ok().filter(|&second| second != 0)?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_cannot_smuggle_flags() {
        let create = u32::try_from(shm::IPC_CREAT).unwrap();
        let error = Segment::create(Key::PRIVATE, 10, create | 0o600).unwrap_err();
        assert!(error.to_string().contains("0o777"), "{error}");
        let error = Segment::from_id(-1).set_permissions(0, 0, 0o1600).unwrap_err();
        assert!(error.to_string().contains("0o777"), "{error}");
    }

    #[test]
    fn the_private_key_finds_nothing() {
        assert_eq!(Segment::open(Key::PRIVATE).unwrap_err().errno(), Errno::EINVAL);
    }

    #[test]
    fn second_zero_is_never() {
        assert_eq!(time(0), None);
        assert_eq!(time(-1), None);
        assert_eq!(time(1), Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1)));
    }
}
