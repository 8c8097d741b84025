//! [`Mapping`] and [`ReadOnlyMapping`]: a segment in this process's memory, byte by byte.

use core::ops::Range;
use core::sync::atomic::AtomicU8;
use core::sync::atomic::Ordering::Relaxed;

use crate::sys::shm::Attached;

/// A segment in the memory of this process, to read and write. Dropping it detaches.
///
/// Other processes may write to the same bytes at any time. That is no undefined behaviour here,
/// because every byte is copied by itself; but nothing says which of the bytes of a longer piece
/// are old and which new. Agree with the other program on when to read, or use a channel.
///
/// A child made by `fork` inherits the mapping and may use it.
///
/// # Examples
///
/// ```
/// use sysring::segment::{Key, Segment};
///
/// let segment = Segment::create(Key::PRIVATE, 10, 0o600)?;
/// let mapping = segment.attach()?;
/// segment.remove()?;
/// mapping.write(8, b"ok")?;
/// assert!(mapping.write(9, b"no").is_err()); // one byte too far; nothing is written
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Mapping(pub(super) Attached);

#[allow(clippy::len_without_is_empty, reason = "a segment has at least one byte")]
impl Mapping {
    /// Bytes in the segment, at least 1; it never changes.
    ///
    /// # Examples
    ///
    /// ```
    /// use sysring::segment::{Key, Segment};
    ///
    /// let segment = Segment::create(Key::PRIVATE, 100, 0o600)?;
    /// let mapping = segment.attach()?;
    /// segment.remove()?;
    /// assert_eq!(mapping.len(), 100);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Copies bytes out of the segment, as many as `into` holds, from `offset` on. Does not block.
    ///
    /// # Errors
    ///
    /// [`OutOfBounds`] if the segment ends before that; nothing is copied then.
    ///
    /// # Examples
    ///
    /// ```
    /// use sysring::segment::{Key, Segment};
    ///
    /// let segment = Segment::create(Key::PRIVATE, 100, 0o600)?;
    /// let mapping = segment.attach()?;
    /// segment.remove()?;
    /// mapping.write(0, b"abcdef")?;
    /// let mut bytes = [0; 3];
    /// mapping.read(2, &mut bytes)?;
    /// assert_eq!(&bytes, b"cde");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), OutOfBounds> {
        copy_out(&self.0, offset, into)
    }

    /// Copies bytes into the segment, from `offset` on. Does not block.
    ///
    /// # Errors
    ///
    /// [`OutOfBounds`] if the segment ends before that; nothing is copied then.
    ///
    /// # Examples
    ///
    /// ```
    /// use sysring::segment::{Key, Segment};
    ///
    /// let segment = Segment::create(Key::PRIVATE, 100, 0o600)?;
    /// let mapping = segment.attach()?;
    /// segment.remove()?;
    /// mapping.write(96, b"last")?;
    /// assert!(mapping.write(97, b"last").is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), OutOfBounds> {
        for (place, byte) in part(&self.0, offset, bytes.len())?.iter().zip(bytes) {
            place.store(*byte, Relaxed);
        }
        Ok(())
    }

    /// Unmaps it now, as dropping it does.
    ///
    /// # Examples
    ///
    /// ```
    /// use sysring::segment::{Key, Segment};
    ///
    /// let segment = Segment::create(Key::PRIVATE, 100, 0o600)?;
    /// let mapping = segment.attach()?;
    /// mapping.detach();
    /// let attached = segment.stat()?.attached;
    /// segment.remove()?;
    /// assert_eq!(attached, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn detach(self) {}
}

/// A segment in the memory of this process, to read only. Dropping it detaches.
///
/// # Examples
///
/// ```
/// use sysring::segment::{Key, Segment};
///
/// let segment = Segment::create(Key::PRIVATE, 100, 0o600)?;
/// let (writer, reader) = (segment.attach()?, segment.attach_read_only()?);
/// segment.remove()?;
/// writer.write(0, b"seen")?;
/// let mut bytes = [0; 4];
/// reader.read(0, &mut bytes)?;
/// assert_eq!(&bytes, b"seen");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// There is no method that writes:
///
/// ```compile_fail,E0599
/// use sysring::segment::{Key, Segment};
///
/// let segment = Segment::open(Key::from_raw(0x1234)).unwrap();
/// segment.attach_read_only().unwrap().write(0, b"no such method");
/// ```
#[derive(Debug)]
pub struct ReadOnlyMapping(pub(super) Attached);

#[allow(clippy::len_without_is_empty, reason = "a segment has at least one byte")]
impl ReadOnlyMapping {
    /// Bytes in the segment, at least 1; it never changes.
    ///
    /// # Examples
    ///
    /// ```
    /// use sysring::segment::{Key, Segment};
    ///
    /// let segment = Segment::create(Key::PRIVATE, 100, 0o600)?;
    /// let mapping = segment.attach_read_only()?;
    /// segment.remove()?;
    /// assert_eq!(mapping.len(), 100);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Copies bytes out of the segment, as [`Mapping::read`] does. Does not block.
    ///
    /// # Errors
    ///
    /// [`OutOfBounds`] if the segment ends before that; nothing is copied then.
    ///
    /// # Examples
    ///
    /// ```
    /// use sysring::segment::{Key, Segment};
    ///
    /// let segment = Segment::create(Key::PRIVATE, 100, 0o600)?;
    /// let mapping = segment.attach_read_only()?;
    /// segment.remove()?;
    /// let mut bytes = [1; 10];
    /// mapping.read(90, &mut bytes)?;
    /// assert_eq!(bytes, [0; 10]); // a new segment is all zeroes
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), OutOfBounds> {
        copy_out(&self.0, offset, into)
    }

    /// Unmaps it now, as dropping it does.
    ///
    /// # Examples
    ///
    /// ```
    /// use sysring::segment::{Key, Segment};
    ///
    /// let segment = Segment::create(Key::PRIVATE, 100, 0o600)?;
    /// segment.attach_read_only()?.detach();
    /// let attached = segment.stat()?.attached;
    /// segment.remove()?;
    /// assert_eq!(attached, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn detach(self) {}
}

/// The bytes from `offset` on.
///
/// They are copied one by one and never in words: two threads of one program that copy
/// overlapping pieces would otherwise access the same bytes by atomics of different sizes, which
/// is undefined.
fn part(memory: &Attached, offset: usize, count: usize) -> Result<&[AtomicU8], OutOfBounds> {
    let bytes = memory.bytes();
    range(offset, count).and_then(|range| bytes.get(range)).ok_or(OutOfBounds {
        offset,
        count,
        len: bytes.len(),
    })
}

/// None if the end is no number.
fn range(offset: usize, count: usize) -> Option<Range<usize>> {
    Some(offset..offset.checked_add(count)?)
}

fn copy_out(memory: &Attached, offset: usize, into: &mut [u8]) -> Result<(), OutOfBounds> {
    let from = part(memory, offset, into.len())?;
    for (byte, place) in into.iter_mut().zip(from) {
        *byte = place.load(Relaxed);
    }
    Ok(())
}

/// A read or write would have gone beyond the end of the segment.
///
/// # Examples
///
/// ```
/// use sysring::segment::{Key, Segment};
///
/// let segment = Segment::create(Key::PRIVATE, 100, 0o600)?;
/// let mapping = segment.attach()?;
/// segment.remove()?;
/// let error = mapping.write(98, b"abc").unwrap_err();
/// assert_eq!(error.to_string(), "3 bytes at offset 98 do not fit a segment of 100 bytes");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{count} bytes at offset {offset} do not fit a segment of {len} bytes")]
pub struct OutOfBounds {
    offset: usize,
    count: usize,
    len: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::{Key, Segment};

    fn private(size: usize) -> Mapping {
        let segment = Segment::create(Key::PRIVATE, size, 0o600).unwrap();
        let mapping = segment.attach();
        segment.remove().unwrap();
        mapping.unwrap()
    }

    #[test]
    fn bounds() {
        let mapping = private(10);
        let mut bytes = [9; 10];
        mapping.read(0, &mut bytes).unwrap();
        assert_eq!(bytes, [0; 10]);
        mapping.write(10, b"").unwrap();
        mapping.read(10, &mut []).unwrap();
        for offset in [1, 10, 11, 4096, usize::MAX - 9, usize::MAX] {
            let error = OutOfBounds { offset, count: 10, len: 10 };
            assert_eq!(mapping.read(offset, &mut bytes), Err(error));
            assert_eq!(mapping.write(offset, &bytes), Err(error));
        }
        assert_eq!(mapping.write(11, b"").unwrap_err().len, 10);
    }

    #[test]
    fn every_offset_and_length_copies_exactly() {
        let mapping = private(40);
        for offset in 0..40 {
            for count in 0..=40 - offset {
                let text: Vec<u8> = (1..).take(count).collect();
                mapping.write(0, &[0xee; 40]).unwrap();
                mapping.write(offset, &text).unwrap();
                let mut all = [0; 40];
                mapping.read(0, &mut all).unwrap();
                assert_eq!(all[offset..offset + count], text[..]);
                let others = all[..offset].iter().chain(&all[offset + count..]);
                assert!(others.copied().eq(std::iter::repeat_n(0xee, 40 - count)));
            }
        }
    }
}
