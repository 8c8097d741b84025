//! Where a channel is found.

use core::fmt;
use core::str::FromStr;
use std::path::{Path, PathBuf};

use crate::error::{OpenError, OpenErrorKind};
use crate::segment::view::wrong_with_name;
use crate::sys;

/// Where a channel is found: a name, a raw key, a file and a number as for `ftok`, or a segment id.
///
/// As text, and by `From<&str>`: `logs`, `key:0x1234`, `path:FILE:ID`, `id:7`. A text that is none of these is
/// reported by the call that uses it, or at once by [`str::parse`].
///
/// A name's key is a fixed 32-bit hash of it (FNV-1a); if the key belongs to a channel of another name, that is
/// an error naming both, never a second try elsewhere.
///
/// ```
/// use sysring::Address;
/// assert_eq!(Address::from("key:0x1234"), Address::key(0x1234));
/// assert_eq!(Address::from("logs").to_string(), "logs");
/// assert!("key:green".parse::<Address>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address(Kind);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Name(String),
    Key(i32),
    Path(PathBuf, i32),
    Id(i32),
    Invalid { text: String, why: &'static str },
}

/// What an address stands for in the kernel.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// A key, and the name that the channel must have if it was asked for by name.
    Key { key: i32, name: Option<String> },
    /// A segment id.
    Id(i32),
}

impl Address {
    /// A channel of that name: 1 to 248 bytes, no control characters (nor marks that turn the direction of writing),
    /// not beginning with `key:`, `path:` or `id:`.
    ///
    /// ```
    /// use sysring::{Address, OpenErrorKind};
    /// assert_eq!(Address::name("logs"), Address::from("logs"));
    /// let error = sysring::spsc().open(Address::name("key:1")).unwrap_err(); // would be taken for a key
    /// assert_eq!(error.kind(), OpenErrorKind::InvalidAddress);
    /// ```
    pub fn name(name: impl Into<String>) -> Address {
        let text = name.into();
        match wrong_with_name(&text) {
            Some(why) => Address(Kind::Invalid { text, why }),
            None => Address(Kind::Name(text)),
        }
    }

    /// A raw System V key, not 0 (which is `IPC_PRIVATE`).
    ///
    /// ```
    /// use sysring::Address;
    /// assert_eq!(Address::key(0x1234).to_string(), "key:0x1234");
    /// assert!(sysring::spsc().open(Address::key(0)).is_err());
    /// ```
    pub fn key(key: i32) -> Address {
        if key == 0 {
            let why = "key 0 is IPC_PRIVATE and finds nothing";
            return Address(Kind::Invalid { text: "key:0x0".into(), why });
        }
        Address(Kind::Key(key))
    }

    /// The key that `ftok(file, id)` gives, bit for bit as in the C library. The file must exist.
    ///
    /// ```
    /// use sysring::Address;
    /// assert_eq!(Address::path("/etc/passwd", 7).to_string(), "path:/etc/passwd:7");
    /// ```
    pub fn path(file: impl AsRef<Path>, id: i32) -> Address {
        Address(Kind::Path(file.as_ref().to_owned(), id))
    }

    /// A segment by the kernel's id, as `ipcs -m` shows it.
    ///
    /// ```
    /// use sysring::Address;
    /// assert_eq!(Address::id(7), Address::from("id:7"));
    /// ```
    pub fn id(id: i32) -> Address {
        Address(Kind::Id(id))
    }

    fn parse(text: &str) -> Address {
        let invalid = |why| Address(Kind::Invalid { text: text.to_owned(), why });
        if let Some(key) = text.strip_prefix("key:") {
            match number(key) {
                Some(0) | None => invalid("key: takes a number such as 0x1234, not 0"),
                Some(key) => Address(Kind::Key(key)),
            }
        } else if let Some(id) = text.strip_prefix("id:") {
            id.parse().map_or_else(|_| invalid("id: takes the number of a segment"), Address::id)
        } else if let Some(rest) = text.strip_prefix("path:") {
            match rest.rsplit_once(':').map(|(file, id)| (file, number(id))) {
                Some((file, Some(id))) if !file.is_empty() => Address::path(file, id),
                _ => invalid("path: takes a file and a number, path:FILE:ID"),
            }
        } else {
            Address::name(text)
        }
    }

    /// What to ask the kernel for.
    pub(crate) fn target(&self) -> Result<Target, OpenError> {
        match &self.0 {
            Kind::Name(name) => Ok(Target::Key { key: hash(name), name: Some(name.clone()) }),
            Kind::Key(key) => Ok(Target::Key { key: *key, name: None }),
            Kind::Id(id) => Ok(Target::Id(*id)),
            Kind::Path(file, id) => match sys::ftok(file, *id) {
                Ok(key) => Ok(Target::Key { key, name: None }),
                Err(errno) => Err(OpenError::system(self, "ftok", errno)
                    .with_hint("the file must exist and stay the same one")),
            },
            Kind::Invalid { why, .. } => Err(OpenError::new(OpenErrorKind::InvalidAddress, self, *why)),
        }
    }
}

/// Decimal, or hexadecimal with 0x; unsigned 32-bit patterns count too.
fn number(text: &str) -> Option<i32> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u32::from_str_radix(hex, 16).ok().map(u32::cast_signed),
        None => text.parse().ok().or_else(|| text.parse().ok().map(u32::cast_signed)),
    }
}

/// FNV-1a, 32 bits (Fowler, Noll, Vo); 0 is the private key and becomes 1.
pub(super) fn hash(name: &str) -> i32 {
    let hash =
        name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash.max(1).cast_signed()
}

impl From<&str> for Address {
    fn from(text: &str) -> Address {
        Address::parse(text)
    }
}

impl From<String> for Address {
    fn from(text: String) -> Address {
        Address::parse(&text)
    }
}

impl From<&String> for Address {
    fn from(text: &String) -> Address {
        Address::parse(text)
    }
}

impl From<&Address> for Address {
    fn from(address: &Address) -> Address {
        address.clone()
    }
}

impl FromStr for Address {
    type Err = OpenError;

    fn from_str(text: &str) -> Result<Address, OpenError> {
        let address = Address::parse(text);
        match address.0 {
            Kind::Invalid { why, .. } => Err(OpenError::new(OpenErrorKind::InvalidAddress, &address, why)),
            _ => Ok(address),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Name(name) => f.write_str(name),
            Kind::Key(key) => write!(f, "key:{key:#x}"),
            Kind::Path(file, id) => write!(f, "path:{}:{id}", file.display()),
            Kind::Id(id) => write!(f, "id:{id}"),
            Kind::Invalid { text, .. } => write!(f, "{}", text.escape_debug()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back() {
        for text in ["logs", "a b", "key:0x1234", "key:0xffffffff", "path:/etc/passwd:7", "id:0", "id:99"] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
        assert_eq!(Address::from("key:4660"), Address::key(0x1234));
        assert_eq!(Address::from("path:a:b:0x41"), Address::path("a:b", 0x41));
    }

    #[test]
    fn bad_texts_are_refused_with_a_reason() {
        let long = "x".repeat(249);
        for text in [
            "",
            "key:",
            "key:0",
            "key:zz",
            "key:0x123456789",
            "id:x",
            "path:",
            "path:x",
            "path::1",
            "a\nb",
            "a\u{202e}b",
            &long,
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert_eq!(error.kind(), OpenErrorKind::InvalidAddress, "{text}");
            assert_eq!(error.to_string().lines().count(), 1);
        }
    }

    #[test]
    fn hashes_are_fixed_for_ever() {
        // Published test values of FNV-1a.
        assert_eq!(hash("a"), 0xe40c_292c_u32.cast_signed());
        assert_eq!(hash("foobar"), 0xbf9c_f968_u32.cast_signed());
    }
}
