//! The public errors: one type per operation, the message handed back, the errno as source, and a hint.

use core::fmt;

use thiserror::Error;

use crate::sys::Errno;
use crate::sys::hint::hint;

/// What kind of thing went wrong in making, opening, attaching to, looking at or removing a channel.
///
/// ```
/// use sysring::OpenErrorKind;
/// match sysring::spsc().open("doc-nobody-made-this").unwrap_err().kind() {
///     OpenErrorKind::NotFound => {} // perhaps later
///     kind => panic!("{kind:?}"),
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenErrorKind {
    /// The address is no name, `key:0x1234`, `path:FILE:ID` or `id:N`.
    InvalidAddress,
    /// An option of the builder is out of its bounds.
    InvalidOption,
    /// There is no such channel (`ENOENT`).
    NotFound,
    /// There is one already (`EEXIST`).
    AlreadyExists,
    /// The segment's or the set's mode forbids it (`EACCES`, `EPERM`).
    PermissionDenied,
    /// The segment under this key is not ours: another program's, another user's, another version's. It was not
    /// changed.
    Foreign,
    /// The key belongs to a channel of another name, which has the same hash.
    NameTaken,
    /// The channel is there with another shape than was asked for.
    Mismatch,
    /// The seat is taken.
    SeatTaken {
        /// The process that holds it; `None` if it is in another pid namespace.
        pid: Option<i32>,
    },
    /// The channel was removed (`EIDRM`).
    Removed,
    /// The channel's header is damaged.
    Corrupt,
    /// A kernel limit or memory (`ENOSPC`, `ENOMEM`, `ENFILE`, `E2BIG`, `EINVAL` for a size above `shmmax` or a set
    /// above the limit).
    Limit,
    /// Somebody else is making the channel and did not finish in time.
    Busy,
    /// The kernel does not undo the semaphore operations of processes that end (SEM_UNDO), on which everything rests.
    Unsupported,
    /// Another error of a system call.
    System,
}

/// A channel could not be made, opened, attached to, looked at or removed.
///
/// Prints one line: what, which channel, why (errno by name) and what to do.
///
/// ```
/// let error = sysring::mpsc().senders(1000).pair().unwrap_err();
/// assert!(error.to_string().contains("1000 senders are not between 1 and 240"));
/// ```
#[derive(Clone, Debug)]
pub struct OpenError {
    address: String,
    kind: OpenErrorKind,
    what: String,
    source: Option<Errno>,
    hint: String,
}

impl OpenError {
    pub(crate) fn new(
        kind: OpenErrorKind,
        address: &impl fmt::Display,
        what: impl Into<String>,
    ) -> OpenError {
        let mut line = String::new();
        for char in address.to_string().chars() {
            // The name of a file may hold anything; an error stays one line.
            if char.is_control() { line.extend(char.escape_debug()) } else { line.push(char) }
        }
        OpenError { address: line, kind, what: what.into(), source: None, hint: String::new() }
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> OpenError {
        self.hint = hint.into();
        self
    }

    pub(crate) fn with_errno(mut self, errno: Errno) -> OpenError {
        self.source = Some(errno);
        self
    }

    /// A failed system call, sorted by its errno.
    pub(crate) fn system(address: &impl fmt::Display, call: &'static str, errno: Errno) -> OpenError {
        let kind = match errno {
            Errno::ENOENT => OpenErrorKind::NotFound,
            Errno::EEXIST if call == "shmget" => OpenErrorKind::AlreadyExists,
            Errno::EACCES | Errno::EPERM => OpenErrorKind::PermissionDenied,
            Errno::EIDRM => OpenErrorKind::Removed,
            Errno::EINVAL if !matches!(call, "shmget" | "semget") => OpenErrorKind::Removed,
            Errno::ENOSPC | Errno::ENOMEM | Errno::EINVAL | Errno::E2BIG | Errno::ENFILE => {
                OpenErrorKind::Limit
            }
            _ => OpenErrorKind::System,
        };
        OpenError::new(kind, address, format!("{call} failed")).with_errno(errno).with_hint(hint(call, errno))
    }

    /// What went wrong, for programs.
    ///
    /// ```
    /// use sysring::OpenErrorKind;
    /// let error = sysring::spsc().capacity(0).pair().unwrap_err();
    /// assert_eq!(error.kind(), OpenErrorKind::InvalidOption);
    /// ```
    pub fn kind(&self) -> OpenErrorKind {
        self.kind
    }

    /// The errno behind it, if a system call failed.
    ///
    /// ```
    /// use sysring::Errno;
    /// let error = sysring::spsc().open("path:/no/such/file:1").unwrap_err();
    /// assert_eq!(error.errno(), Some(Errno::ENOENT)); // the file's, from ftok
    /// ```
    pub fn errno(&self) -> Option<Errno> {
        self.source
    }

    /// The channel's address as text.
    ///
    /// ```
    /// let error = sysring::remove("doc-nobody-made-this").unwrap_err();
    /// assert_eq!(error.address(), "doc-nobody-made-this");
    /// ```
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "channel {}: {}", self.address, self.what)?;
        if let Some(errno) = self.source {
            write!(f, ": {errno}")?;
        }
        if !self.hint.is_empty() {
            write!(f, "; {}", self.hint)?;
        }
        Ok(())
    }
}

impl core::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        self.source.as_ref().map(|errno| errno as _)
    }
}

/// A system call on an open channel failed in a way that has no name of its own.
///
/// ```
/// use sysring::{Errno, SystemError};
/// let error = SystemError { call: "semop", errno: Errno::ENOMEM };
/// let text = "semop failed: ENOMEM (Cannot allocate memory); the kernel has no memory for it";
/// assert_eq!(error.to_string(), text);
/// ```
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub struct SystemError {
    /// The call.
    pub call: &'static str,
    /// Its errno.
    #[source]
    pub errno: Errno,
}

impl fmt::Display for SystemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed: {}", self.call, self.errno)?;
        match hint(self.call, self.errno) {
            "" => Ok(()),
            hint => write!(f, "; {hint}"),
        }
    }
}

/// Words in the segment that no process keeping to the protocol writes.
///
/// ```
/// use sysring::Corruption;
/// let error = Corruption { lane: 3, position: 4096 };
/// assert_eq!(error.to_string(), "lane 3 is damaged at position 4096");
/// ```
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("lane {lane} is damaged at position {position}")]
pub struct Corruption {
    /// The lane.
    pub lane: u32,
    /// The byte position of the record in it (ever-growing; modulo the capacity it is an offset).
    pub position: u64,
}

/// Why a message could not be sent.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sysring::Fault;
/// let (mut tx, _rx) = sysring::spsc().max_message(100).pair()?;
/// let error = tx.send([0; 101]).unwrap_err();
/// assert!(matches!(error.fault(), Fault::TooLong { len: 101, max: 100 }));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum Fault {
    /// The receiver has gone and the channel is not persistent.
    #[error("the receiver has gone")]
    Disconnected,
    /// The message is larger than the channel takes.
    #[error(
        "{len} bytes are more than the channel's largest message of {max}; create it with a larger max_message"
    )]
    TooLong {
        /// Its length.
        len: u64,
        /// The channel's maximum.
        max: u64,
    },
    /// The channel was removed.
    #[error("the channel was removed (EIDRM)")]
    Removed,
    /// This process has lost its seat to another one: it left its IPC namespace or its undo list (`unshare`,
    /// `setns`), and to the kernel that is as good as its end. Nothing was sent.
    #[error("this process has lost its seat (it left its IPC namespace or undo list)")]
    Evicted,
    /// An [`Interrupter`](crate::Interrupter) ended the wait.
    #[error("interrupted")]
    Interrupted,
    /// The slot was reserved by the process that forked this one: it is void here.
    #[error("the slot belongs to the parent process")]
    Forked,
    /// The lane's control words are impossible.
    #[error(transparent)]
    Corrupt(Corruption),
    /// The handle has no seat yet and could not get one.
    #[error(transparent)]
    Attach(Box<OpenError>),
    /// A system call failed.
    #[error(transparent)]
    System(SystemError),
}

/// A message was not sent; it comes back.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (mut tx, _rx) = sysring::spsc().max_message(100).pair()?;
/// let error = tx.send([0; 101]).unwrap_err();
/// assert!(error.to_string().starts_with("message not sent: 101 bytes are more than"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SendError<T> {
    message: T,
    fault: Fault,
}

impl<T> SendError<T> {
    pub(crate) fn new(message: T, fault: Fault) -> SendError<T> {
        SendError { message, fault }
    }

    /// The message that was not sent.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, _rx) = sysring::spsc().max_message(100).pair()?;
    /// let message: Vec<u8> = tx.send(vec![7; 101]).unwrap_err().into_inner();
    /// assert_eq!(message.len(), 101); // not copied, not lost
    /// # Ok(())
    /// # }
    /// ```
    pub fn into_inner(self) -> T {
        self.message
    }

    /// The message that was not sent.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, _rx) = sysring::spsc().max_message(4).pair()?;
    /// assert_eq!(tx.send("too long").unwrap_err().message(), &"too long");
    /// # Ok(())
    /// # }
    /// ```
    pub fn message(&self) -> &T {
        &self.message
    }

    /// Why it was not sent.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sysring::Fault;
    /// # let name = format!("doc-error-t-senderror-t-fault-{}", std::process::id());
    /// let mut tx = sysring::spsc().sender(&name)?;
    /// sysring::remove(&name)?;
    /// assert!(matches!(tx.send("late").unwrap_err().fault(), Fault::Removed));
    /// # Ok(())
    /// # }
    /// ```
    pub fn fault(&self) -> &Fault {
        &self.fault
    }

    /// Whether the receiver has gone.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, rx) = sysring::spsc().capacity(4096).pair()?;
    /// drop(rx);
    /// while tx.try_send([7; 56]).is_ok() {} // until the lane is full
    /// assert!(tx.send([7; 56]).unwrap_err().is_disconnected());
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_disconnected(&self) -> bool {
        matches!(self.fault, Fault::Disconnected)
    }

    /// Whether the channel was removed.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc-error-t-senderror-t-is-removed-{}", std::process::id());
    /// let mut tx = sysring::spsc().sender(&name)?;
    /// sysring::remove(&name)?;
    /// assert!(tx.send("late").unwrap_err().is_removed());
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_removed(&self) -> bool {
        matches!(self.fault, Fault::Removed)
    }
}

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendError").field("fault", &self.fault).finish_non_exhaustive()
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message not sent: {}", self.fault)
    }
}

impl<T> core::error::Error for SendError<T> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&self.fault)
    }
}

macro_rules! send_outcome {
    ($name:ident, $waiting:ident, $is_waiting:ident, $summary:literal, $variant:literal, $text:literal) => {
        #[doc = $summary]
        ///
        /// ```
        /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// use std::time::Duration;
        /// use sysring::{SendTimeoutError, TrySendError};
        /// let (mut tx, _rx) = sysring::spsc().capacity(4096).pair()?;
        /// while tx.try_send([7; 56]).is_ok() {}
        /// assert!(matches!(tx.try_send([7; 56]), Err(TrySendError::Full(_))));
        /// let late = tx.send_timeout([7; 56], Duration::from_millis(1));
        /// assert!(matches!(late, Err(SendTimeoutError::Timeout(_))));
        /// assert!(matches!(tx.try_send([7; 5000]), Err(TrySendError::Failed(_)))); // waiting would not help
        /// # Ok(())
        /// # }
        /// ```
        #[derive(Clone)]
        pub enum $name<T> {
            #[doc = $variant]
            $waiting(T),
            /// Waiting would not help.
            Failed(SendError<T>),
        }

        impl<T> $name<T> {
            /// The message that was not sent.
            ///
            /// ```
            /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
            /// use std::time::Duration;
            /// let (mut tx, _rx) = sysring::spsc().capacity(4096).pair()?;
            /// while tx.try_send([7; 56]).is_ok() {}
            /// assert_eq!(tx.try_send([8; 56]).unwrap_err().into_inner(), [8; 56]);
            /// let late = tx.send_timeout([9; 56], Duration::from_millis(1));
            /// assert_eq!(late.unwrap_err().into_inner(), [9; 56]);
            /// # Ok(())
            /// # }
            /// ```
            pub fn into_inner(self) -> T {
                match self {
                    $name::$waiting(message) => message,
                    $name::Failed(error) => error.into_inner(),
                }
            }

            #[doc = $variant]
            ///
            /// ```
            /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
            /// use std::time::Duration;
            /// let (mut tx, _rx) = sysring::spsc().capacity(4096).pair()?;
            /// while tx.try_send([7; 56]).is_ok() {}
            /// assert!(tx.try_send([7; 56]).unwrap_err().is_full());
            /// assert!(tx.send_timeout([7; 56], Duration::from_millis(1)).unwrap_err().is_timeout());
            /// # Ok(())
            /// # }
            /// ```
            pub fn $is_waiting(&self) -> bool {
                matches!(self, $name::$waiting(_))
            }

            /// Whether the receiver has gone.
            ///
            /// ```
            /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
            /// use std::time::Duration;
            /// let (mut tx, rx) = sysring::spsc().capacity(4096).pair()?;
            /// drop(rx);
            /// while tx.try_send([7; 56]).is_ok() {} // until the lane is full
            /// assert!(tx.send_timeout([7; 56], Duration::from_secs(5)).unwrap_err().is_disconnected());
            /// # Ok(())
            /// # }
            /// ```
            pub fn is_disconnected(&self) -> bool {
                matches!(self, $name::Failed(error) if error.is_disconnected())
            }
        }

        impl<T> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $name::$waiting(_) => f.write_str(stringify!($waiting)),
                    $name::Failed(error) => error.fmt(f),
                }
            }
        }

        impl<T> fmt::Display for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $name::$waiting(_) => f.write_str($text),
                    $name::Failed(error) => error.fmt(f),
                }
            }
        }

        impl<T> core::error::Error for $name<T> {
            fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
                match self {
                    $name::$waiting(_) => None,
                    $name::Failed(error) => core::error::Error::source(error),
                }
            }
        }

        impl<T> From<SendError<T>> for $name<T> {
            fn from(error: SendError<T>) -> $name<T> {
                $name::Failed(error)
            }
        }
    };
}

send_outcome!(
    TrySendError,
    Full,
    is_full,
    "A message was not sent by a call that does not wait; it comes back.",
    "The lane has no room for it now.",
    "message not sent: the lane is full"
);

send_outcome!(
    SendTimeoutError,
    Timeout,
    is_timeout,
    "A message was not sent in time; it comes back.",
    "The lane had no room for it until the deadline.",
    "message not sent: the lane stayed full until the deadline"
);

/// Why no message was received.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sysring::RecvError;
/// let (mut tx, mut rx) = sysring::spsc().pair()?;
/// tx.send("only")?;
/// drop(tx);
/// assert!(matches!(rx.recv_into(&mut [0; 2]), Err(RecvError::TooSmall { needed: 4, .. })));
/// assert_eq!(rx.recv_vec()?, b"only");
/// assert!(matches!(rx.recv(), Err(RecvError::Disconnected)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum RecvError {
    /// All senders have gone and everything they sent was received. A new sender may come.
    #[error("all senders have gone")]
    Disconnected,
    /// The channel was removed.
    #[error("the channel was removed (EIDRM)")]
    Removed,
    /// This process has lost its seat to another one: it left its IPC namespace or its undo list (`unshare`,
    /// `setns`), and to the kernel that is as good as its end.
    #[error("this process has lost its seat (it left its IPC namespace or undo list)")]
    Evicted,
    /// [`Interrupter::interrupt`](crate::Interrupter::interrupt) was called.
    #[error("interrupted")]
    Interrupted,
    /// The message does not fit the buffer; it stays and is the next one again.
    #[error("a message of {needed} bytes does not fit a buffer of {given}")]
    TooSmall {
        /// Bytes of the message.
        needed: usize,
        /// Bytes of the buffer.
        given: usize,
    },
    /// A lane is damaged. Reported once for a lane of several, whose others go on; always if it is the only one.
    #[error(transparent)]
    Corrupt(Corruption),
    /// The handle has no seat yet and could not get it.
    #[error(transparent)]
    Attach(Box<OpenError>),
    /// A system call failed.
    #[error(transparent)]
    System(SystemError),
}

macro_rules! recv_outcome {
    ($name:ident, $waiting:ident, $is_waiting:ident, $summary:literal, $variant:literal, $text:literal) => {
        #[doc = $summary]
        ///
        /// ```
        /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// use std::time::Duration;
        /// use sysring::{RecvTimeoutError, TryRecvError};
        /// let (mut tx, mut rx) = sysring::spsc().pair()?;
        /// tx.attach()?;
        /// assert!(matches!(rx.try_recv(), Err(TryRecvError::Empty)));
        /// assert!(matches!(rx.recv_timeout(Duration::from_millis(1)), Err(RecvTimeoutError::Timeout)));
        /// # Ok(())
        /// # }
        /// ```
        #[derive(Clone, Debug, Error)]
        pub enum $name {
            #[doc = $variant]
            #[error($text)]
            $waiting,
            /// Waiting would not help.
            #[error(transparent)]
            Failed(#[from] RecvError),
        }

        impl $name {
            #[doc = $variant]
            ///
            /// ```
            /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
            /// use std::time::Duration;
            /// let (mut tx, mut rx) = sysring::spsc().pair()?;
            /// tx.attach()?;
            /// assert!(rx.try_recv().unwrap_err().is_empty());
            /// assert!(rx.recv_timeout(Duration::from_millis(1)).unwrap_err().is_timeout());
            /// # Ok(())
            /// # }
            /// ```
            pub fn $is_waiting(&self) -> bool {
                matches!(self, $name::$waiting)
            }

            /// Whether all senders have gone and everything was received.
            ///
            /// ```
            /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
            /// use std::time::Duration;
            /// let (mut tx, mut rx) = sysring::spsc().pair()?;
            /// tx.attach()?;
            /// drop(tx);
            /// assert!(rx.recv_timeout(Duration::from_secs(5)).unwrap_err().is_disconnected());
            /// # Ok(())
            /// # }
            /// ```
            pub fn is_disconnected(&self) -> bool {
                matches!(self, $name::Failed(RecvError::Disconnected))
            }
        }
    };
}

recv_outcome!(
    TryRecvError,
    Empty,
    is_empty,
    "No message was received by a call that does not wait.",
    "There is none now.",
    "the channel is empty"
);

recv_outcome!(
    RecvTimeoutError,
    Timeout,
    is_timeout,
    "No message was received in time.",
    "None came until the deadline.",
    "no message came until the deadline"
);
