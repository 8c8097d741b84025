//! [`SegmentError`]: which call failed on what, why, and what to do about it.

use std::fmt;
use std::path::Path;

use super::Key;
use crate::sys::Errno;
use crate::sys::hint::hint;

/// Why a call on a segment failed: which call, on what, the errno and what it means here.
///
/// Its text is one line; its [`source`](std::error::Error::source) is the [`Errno`].
///
/// # Examples
///
/// ```
/// use sysring::segment::{Key, Segment};
///
/// let error = Segment::create(Key::PRIVATE, 0, 0o600).unwrap_err();
/// assert!(error.to_string().ends_with("a segment has at least 1 byte"));
/// ```
#[derive(Debug, thiserror::Error)]
pub struct SegmentError {
    call: &'static str,
    subject: Subject,
    #[source]
    errno: Errno,
    /// What it means and what to do; may be empty.
    explanation: String,
}

impl SegmentError {
    /// Why the kernel refused.
    ///
    /// # Examples
    ///
    /// ```
    /// use sysring::Errno;
    /// use sysring::segment::{Key, Segment};
    ///
    /// let error = Segment::create(Key::PRIVATE, 0, 0o600).unwrap_err();
    /// assert_eq!(error.errno(), Errno::EINVAL);
    /// ```
    pub fn errno(&self) -> Errno {
        self.errno
    }

    /// The call that failed, as the manual has it, such as `"shmget"` or `"shmctl(IPC_STAT)"`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sysring::segment::{Key, Segment};
    ///
    /// let error = Segment::create(Key::PRIVATE, 0, 0o600).unwrap_err();
    /// assert_eq!(error.call(), "shmget");
    /// ```
    pub fn call(&self) -> &'static str {
        self.call
    }

    pub(super) fn new(call: &'static str, subject: Subject, errno: Errno, explanation: &str) -> SegmentError {
        SegmentError { call, subject, errno, explanation: explanation.to_owned() }
    }

    /// For [`Key::ftok`].
    pub(super) fn of_path(path: &Path, errno: Errno) -> SegmentError {
        // Debug, because it quotes line breaks, and the text is to be one line.
        let subject = Subject::Path(format!("{path:?}"));
        SegmentError::new("ftok", subject, errno, hint("ftok", errno))
    }
}

impl fmt::Display for SegmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} failed: {}", self.call, self.subject, self.errno)?;
        if !self.explanation.is_empty() {
            write!(f, "; {}", self.explanation)?;
        }
        Ok(())
    }
}

/// What a failed call was about.
#[derive(Debug)]
pub(super) enum Subject {
    Key(Key),
    Id(i32),
    Path(String),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Key(key) => write!(f, "key {key}"),
            Subject::Id(id) => write!(f, "id {id}"),
            Subject::Path(path) => write!(f, "file {path}"),
        }
    }
}
