//! The header word: kind and length of a record, and the sizes that follow from them.

/// Kind of a record, in the top byte of its header.
const KIND: u32 = 56;
const DATA: u64 = 0x5D << KIND;
const PADDING: u64 = 0x5A << KIND;
const LENGTH: u64 = (1 << 48) - 1;

/// Bytes of a header word.
pub(super) const HEADER: u64 = 8;

/// What a header word says. Lengths are bounded by 2^48 and by nothing else yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// The terminator: nothing was published here.
    Nothing,
    /// A message of that many payload bytes.
    Data(u64),
    /// A gap of that many bytes in all, up to the end of the lane.
    Padding(u64),
    /// No producer of ours writes this.
    Invalid,
}

/// Header of a message of `length` bytes. Never zero, also for an empty message.
#[inline(always)]
pub(crate) fn data(length: u64) -> u64 {
    debug_assert!(length < LENGTH);
    DATA | (length + 1)
}

/// Header of a gap of `size` bytes, itself included.
#[inline(always)]
pub(crate) fn padding(size: u64) -> u64 {
    debug_assert!((HEADER..LENGTH).contains(&size));
    PADDING | (size + 1)
}

/// Reads a header word. Any word is possible: a peer may have written it.
#[inline(always)]
pub(super) fn decode(word: u64) -> Header {
    let length = word & LENGTH;
    match (word & !LENGTH, length) {
        (DATA, 1..) => Header::Data(length - 1),
        (PADDING, 1..) => Header::Padding(length - 1),
        _ if word == 0 => Header::Nothing,
        _ => Header::Invalid,
    }
}

/// Length of the message whose header this is; for any other word, more than any message has.
#[inline(always)]
pub(super) fn data_length(word: u64) -> u64 {
    // What is left is below 2^48 only if the rest was equal; and 0 wraps around.
    word.wrapping_sub(DATA + 1)
}

/// Bytes from a record's header to its payload.
#[inline(always)]
pub(crate) fn payload_offset(stamped: bool) -> u64 {
    if stamped { 2 * HEADER } else { HEADER }
}

/// Bytes that a message of `length` takes in the lane, a multiple of 8.
#[inline(always)]
pub(crate) fn size(length: u64, stamped: bool) -> u64 {
    payload_offset(stamped) + ((length + 7) & !7)
}

/// Where a message lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Position of its header, behind a padding.
    pub(super) at: u64,
    /// Bytes of its payload.
    pub(super) length: u64,
    /// Position behind it.
    pub(super) end: u64,
}

/// Finds the message that begins with the header `word` at `position`: inside the lane, and no longer than `largest`.
/// `behind` loads the header behind a padding. How far it may reach is for the caller to judge.
#[inline(always)]
pub(super) fn locate(
    word: u64,
    position: u64,
    capacity: u64,
    largest: u64,
    stamped: bool,
    behind: impl FnOnce(u64) -> u64,
) -> Option<Place> {
    let offset = position & (capacity - 1);
    let (at, length, to_end) = match decode(word) {
        Header::Data(length) => (position, length, capacity - offset),
        Header::Padding(gap) if gap == capacity - offset && offset != 0 => {
            let at = position + gap;
            let Header::Data(length) = decode(behind(at)) else { return None };
            (at, length, capacity)
        }
        _ => return None,
    };
    let size = size(length, stamped);
    (length <= largest && size <= to_end).then_some(Place { at, length, end: at + size })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back() {
        for length in [0, 1, 7, 8, 9, 4096, (1 << 47) - 1] {
            assert_eq!(decode(data(length)), Header::Data(length));
            assert_eq!(data_length(data(length)), length);
            assert_ne!(data(length), 0);
            if length >= 8 {
                assert_eq!(decode(padding(length)), Header::Padding(length));
            }
        }
    }

    #[test]
    fn strange_words_are_invalid_or_bounded() {
        assert_eq!(decode(0), Header::Nothing);
        for word in [1, DATA, PADDING, u64::MAX, 1 << 63, DATA | 1 << 50 | 1] {
            assert_eq!(decode(word), Header::Invalid, "{word:#x}");
            assert!(data_length(word) >= LENGTH, "{word:#x}");
        }
    }

    #[test]
    fn sizes_are_whole_words() {
        assert_eq!(size(0, false), 8);
        assert_eq!(size(1, false), 16);
        assert_eq!(size(8, false), 16);
        assert_eq!(size(9, true), 32);
    }
}
