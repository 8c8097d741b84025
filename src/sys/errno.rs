//! [`Errno`]: why the kernel said no, with its name.

use std::fmt;

/// An error number of the operating system, such as `ENOSPC`.
///
/// It is the [`source`](std::error::Error::source) of this crate's errors wherever a system call
/// failed, so that a program can tell the cases apart without reading texts.
///
/// # Examples
///
/// ```
/// use sysring::Errno;
///
/// assert_eq!(Errno::ENOSPC.name(), "ENOSPC");
/// assert_eq!(Errno::ENOSPC.to_string(), "ENOSPC (No space left on device)");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Errno(i32);

impl Errno {
    /// A signal handler ran while the call waited.
    pub const EINTR: Errno = Errno(libc::EINTR);
    /// It cannot be done now without waiting, or the time is over.
    pub const EAGAIN: Errno = Errno(libc::EAGAIN);
    /// The object was removed while the call used it.
    pub const EIDRM: Errno = Errno(libc::EIDRM);
    /// A wrong value, or an id that no longer exists.
    pub const EINVAL: Errno = Errno(libc::EINVAL);
    /// Nothing has this key or path.
    pub const ENOENT: Errno = Errno(libc::ENOENT);
    /// Something has this key already.
    pub const EEXIST: Errno = Errno(libc::EEXIST);
    /// The object's mode does not let this user do that.
    pub const EACCES: Errno = Errno(libc::EACCES);
    /// Only the object's owner, its creator or root may do that.
    pub const EPERM: Errno = Errno(libc::EPERM);
    /// A limit of the kernel is reached; for System V objects this is not about disks.
    pub const ENOSPC: Errno = Errno(libc::ENOSPC);
    /// No memory, or more than this process may have.
    pub const ENOMEM: Errno = Errno(libc::ENOMEM);
    /// A semaphore would leave its range of 0 to 32,767.
    pub const ERANGE: Errno = Errno(libc::ERANGE);
    /// The set has no semaphore of that number.
    pub const EFBIG: Errno = Errno(libc::EFBIG);
    /// Too many operations in one call.
    pub const E2BIG: Errno = Errno(libc::E2BIG);
    /// No process has this number.
    pub const ESRCH: Errno = Errno(libc::ESRCH);
    /// The kernel can open no more files.
    pub const ENFILE: Errno = Errno(libc::ENFILE);
    /// A number of the object does not fit the kernel's answer.
    pub const EOVERFLOW: Errno = Errno(libc::EOVERFLOW);
    /// This kernel does not have that call.
    pub const ENOSYS: Errno = Errno(libc::ENOSYS);

    /// Wraps a number that the kernel returned.
    pub(crate) const fn from_raw(raw: i32) -> Errno {
        Errno(raw)
    }

    /// The number itself, as C programs see it.
    ///
    /// # Examples
    ///
    /// ```
    /// use sysring::Errno;
    ///
    /// assert_eq!(Errno::ENOENT.raw(), 2);
    /// ```
    pub const fn raw(self) -> i32 {
        self.0
    }

    /// The name of the number, such as `"ENOSPC"`; `"E?"` for one that System V calls do not
    /// give.
    ///
    /// # Examples
    ///
    /// ```
    /// use sysring::Errno;
    ///
    /// assert_eq!(Errno::EIDRM.name(), "EIDRM");
    /// ```
    pub const fn name(self) -> &'static str {
        self.entry().0
    }
}

/// The table behind [`Errno::name`] and the texts: names as in the header files of C, texts as
/// `strerror` prints them in English, so that messages do not change with the locale.
macro_rules! errno_table {
    ($($name:ident $text:literal),* $(,)?) => {
        impl Errno {
            /// Name and text.
            const fn entry(self) -> (&'static str, &'static str) {
                match self.0 {
                    $(libc::$name => (stringify!($name), $text),)*
                    _ => ("E?", "Unknown error"),
                }
            }
        }
    };
}

errno_table! {
    EPERM "Operation not permitted",
    ENOENT "No such file or directory",
    ESRCH "No such process",
    EINTR "Interrupted system call",
    EIO "Input/output error",
    ENXIO "No such device or address",
    E2BIG "Argument list too long",
    EBADF "Bad file descriptor",
    ECHILD "No child processes",
    EAGAIN "Resource temporarily unavailable",
    ENOMEM "Cannot allocate memory",
    EACCES "Permission denied",
    EFAULT "Bad address",
    EBUSY "Device or resource busy",
    EEXIST "File exists",
    EXDEV "Invalid cross-device link",
    ENODEV "No such device",
    ENOTDIR "Not a directory",
    EISDIR "Is a directory",
    EINVAL "Invalid argument",
    ENFILE "Too many open files in system",
    EMFILE "Too many open files",
    EFBIG "File too large",
    ENOSPC "No space left on device",
    EROFS "Read-only file system",
    EPIPE "Broken pipe",
    EDOM "Numerical argument out of domain",
    ERANGE "Numerical result out of range",
    EDEADLK "Resource deadlock avoided",
    ENAMETOOLONG "File name too long",
    ENOSYS "Function not implemented",
    ELOOP "Too many levels of symbolic links",
    EIDRM "Identifier removed",
    EOVERFLOW "Value too large for defined data type",
    EOPNOTSUPP "Operation not supported",
    ETIMEDOUT "Connection timed out",
    ESTALE "Stale file handle",
    EHWPOISON "Memory page has hardware error",
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.entry() {
            ("E?", text) => write!(f, "E? ({text} {})", self.0),
            (name, text) => write!(f, "{name} ({text})"),
        }
    }
}

impl std::error::Error for Errno {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts() {
        assert_eq!(Errno::EIDRM.name(), "EIDRM");
        assert_eq!(Errno::EIDRM.raw(), libc::EIDRM);
        assert_eq!(Errno::ENOSPC.to_string(), "ENOSPC (No space left on device)");
        assert_eq!(Errno::from_raw(9999).name(), "E?");
        assert_eq!(Errno::from_raw(9999).to_string(), "E? (Unknown error 9999)");
    }

    #[test]
    fn texts_are_those_of_the_standard_library() {
        for raw in (1..134).filter(|&raw| Errno(raw).name() != "E?") {
            let theirs = std::io::Error::from_raw_os_error(raw).to_string();
            assert_eq!(format!("{} (os error {raw})", Errno(raw).entry().1), theirs);
        }
    }
}
