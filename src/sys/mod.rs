//! The system calls, and nothing but the calls: the only user of `libc`.
//!
//! One function per call, with plain Rust types in and out and [`Errno`] for every failure. No
//! function here knows what a channel is. What needs a decision (which flags, what to do after
//! `EEXIST`) is decided one floor up.
//!
//! Two rules hold for the whole module:
//!
//! * Every return value goes through [`check`], so there is one place that reads `errno`.
//! * Calls that may simply be made again after a signal go through [`retry`]. A `semop` that
//!   sleeps is not among them: after a signal its caller wants to look at the world before it
//!   sleeps again, and must recompute its time-out.

mod errno;
pub(crate) mod hint;
pub(crate) mod process;
pub(crate) mod sem;
pub(crate) mod shm;

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub use errno::Errno;

/// What every call in this module returns.
pub(crate) type Result<T> = core::result::Result<T, Errno>;

/// Turns the C convention "-1 and `errno`" into a `Result`.
///
/// `T` is any of the signed integers that the calls return. It must run right after the call,
/// because the next call may overwrite `errno`.
fn check<T: PartialEq + From<i8>>(returned: T) -> Result<T> {
    if returned == T::from(-1) { Err(Errno::last()) } else { Ok(returned) }
}

/// Makes a call again for as long as a signal interrupts it.
fn retry<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            done => return done,
        }
    }
}

/// The key that the C function `ftok` gives for the same file and number, bit for bit.
///
/// Written here and not taken from libc because libc's returns -1 both for a failure and for a
/// file that happens to have that key.
///
/// # Errors
///
/// That of `stat`, most often `ENOENT` or `EACCES`; `EINVAL` for a path with a zero byte in it.
pub(crate) fn ftok(path: &Path, id: i32) -> Result<i32> {
    let file = std::fs::metadata(path).map_err(|error| Errno::from_io(&error))?;
    let id = u64::from(id.cast_unsigned()) & 0xff;
    let key = id << 24 | (file.dev() & 0xff) << 16 | file.ino() & 0xffff;
    // The masks leave 32 bits, so nothing is lost.
    Ok((key as u32).cast_signed())
}

impl Errno {
    /// The errno of the call that this thread has just made.
    fn last() -> Errno {
        Errno::from_io(&io::Error::last_os_error())
    }

    /// The errno inside a standard error; those that std makes up itself become `EINVAL`, which
    /// is what they mean where this crate meets them (a zero byte in a path).
    fn from_io(error: &io::Error) -> Errno {
        error.raw_os_error().map_or(Errno::EINVAL, Errno::from_raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_passes_everything_but_minus_one() {
        assert_eq!(check(0_i32), Ok(0));
        assert_eq!(check(-2_i64), Ok(-2));
        assert!(check(-1_isize).is_err());
    }

    #[test]
    fn retry_repeats_interrupted_calls_only() {
        let mut calls = 0;
        let outcome: Result<i32> = retry(|| {
            calls += 1;
            if calls < 3 { Err(Errno::EINTR) } else { Err(Errno::EAGAIN) }
        });
        assert_eq!((outcome, calls), (Err(Errno::EAGAIN), 3));
    }

    #[test]
    #[allow(unsafe_code, reason = "calls libc's ftok to compare with")]
    fn ftok_agrees_with_libc() {
        use std::os::unix::ffi::OsStrExt;
        let mut compared = 0;
        for directory in ["/", "/dev", "/etc", "/proc", "/tmp", "/usr/bin", "/sys"] {
            let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().take(200);
            for path in entries.map(|entry| entry.path()).chain([directory.into()]) {
                for id in [0, 1, 65, 0xff, 0x100, 0x1ff, -1, i32::MIN, i32::MAX] {
                    let text = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
                    // SAFETY: `text` is a string with its final zero, made on the line above.
                    let theirs = unsafe { libc::ftok(text.as_ptr(), id) };
                    match ftok(&path, id) {
                        Ok(ours) => assert_eq!(ours, theirs, "{path:?} {id}"),
                        Err(_) => assert_eq!(theirs, -1, "{path:?} {id}"),
                    }
                    compared += 1;
                }
            }
        }
        assert!(compared > 100, "only {compared} compared");
    }

    #[test]
    fn ftok_keeps_the_errno() {
        assert_eq!(ftok(Path::new("/no/such/file"), 1), Err(Errno::ENOENT));
        assert_eq!(ftok(Path::new("/etc/passwd/x"), 1).unwrap_err().name(), "ENOTDIR");
        assert_eq!(ftok(Path::new("a\0b"), 1), Err(Errno::EINVAL));
        assert_eq!(ftok(Path::new(""), 1), Err(Errno::ENOENT));
    }
}
