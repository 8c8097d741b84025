//! [`Key`]: what programs find a segment by.

use std::fmt;
use std::path::Path;

use super::SegmentError;
use crate::sys::{self, shm};

/// The key of a segment: a number that unrelated programs agree on.
///
/// # Examples
///
/// ```
/// use sysring::segment::Key;
///
/// assert_eq!(Key::from_raw(0x1234).to_string(), "0x00001234");
/// assert_eq!(Key::PRIVATE.raw(), 0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(i32);

impl Key {
    /// `IPC_PRIVATE`: no key at all. Every creation makes a new segment, which others reach only
    /// through its id or by inheriting an attachment.
    pub const PRIVATE: Key = Key(shm::IPC_PRIVATE);

    /// The key that is this number. 0 is [`Key::PRIVATE`].
    ///
    /// # Examples
    ///
    /// ```
    /// use sysring::segment::Key;
    ///
    /// assert_eq!(Key::from_raw(0), Key::PRIVATE);
    /// assert_eq!(Key::from_raw(-1).to_string(), "0xffffffff");
    /// ```
    pub const fn from_raw(raw: i32) -> Key {
        Key(raw)
    }

    /// The key that the C function `ftok(path, id)` gives, bit for bit: the low 16 bits of the
    /// file's inode, the low 8 of its device and the low 8 of `id`. Does not block, beyond what
    /// looking at a file takes.
    ///
    /// Two files can have the same key. A file that is deleted and made again usually gets
    /// another key, so use one that stays. Where the low bits of all three are zero the key is
    /// [`Key::PRIVATE`]; an `id` from 1 to 255 rules that out.
    ///
    /// # Errors
    ///
    /// The errno of looking at the file, such as `ENOENT`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sysring::segment::Key;
    ///
    /// let key = Key::ftok("/", 65)?;
    /// assert_eq!(key, Key::ftok("/", 65 + 256)?); // only the low eight bits count
    /// # Ok::<(), sysring::segment::SegmentError>(())
    /// ```
    pub fn ftok(path: impl AsRef<Path>, id: i32) -> Result<Key, SegmentError> {
        let path = path.as_ref();
        sys::ftok(path, id).map(Key).map_err(|errno| SegmentError::of_path(path, errno))
    }

    /// The number.
    ///
    /// # Examples
    ///
    /// ```
    /// use sysring::segment::Key;
    ///
    /// assert_eq!(Key::from_raw(0x1234).raw(), 0x1234);
    /// ```
    pub const fn raw(self) -> i32 {
        self.0
    }
}

/// As `ipcs` prints it: eight hexadecimal digits.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_print_as_ipcs_prints_them() {
        assert_eq!(Key::from_raw(-1).to_string(), "0xffffffff");
        assert_eq!(Key::PRIVATE.to_string(), "0x00000000");
    }

    #[test]
    fn ftok_names_the_file_that_is_not_there() {
        let text = Key::ftok("/no/such\nfile", 1).unwrap_err().to_string();
        assert!(text.contains("ENOENT") && text.contains(r#""/no/such\nfile""#), "{text}");
        assert!(!text.contains('\n'));
    }
}
