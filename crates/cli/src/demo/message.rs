//! The demo's message: who, the how-manyeth, a checksum, and a body whose length varies.

/// Sender number, sequence number, checksum of both and the body.
const HEADER: usize = 4 + 8 + 4;
const MAX_BODY: usize = 1024;

/// Sequence `sequence` of `sender`, into `out`.
pub(crate) fn write(sender: u32, sequence: u64, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&sender.to_le_bytes());
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    let mixed = mix(sequence ^ u64::from(sender) << 32);
    out.resize(HEADER + mixed as usize % MAX_BODY, mixed as u8);
    let checksum = checksum(out);
    out[12..HEADER].copy_from_slice(&checksum.to_le_bytes());
}

/// Sender and sequence number of a message that is whole.
pub(crate) fn read(message: &[u8]) -> Option<(u32, u64)> {
    let (sender, rest) = message.split_first_chunk()?;
    let (sequence, rest) = rest.split_first_chunk()?;
    let (sum, _body) = rest.split_first_chunk()?;
    let whole = u32::from_le_bytes(*sum) == checksum(message);
    whole.then(|| (u32::from_le_bytes(*sender), u64::from_le_bytes(*sequence)))
}

/// Of all but the checksum itself.
fn checksum(message: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&message[..12]);
    hasher.update(&message[HEADER..]);
    hasher.finalize()
}

/// Spreads a number over all bits (the finish of `splitmix64`).
fn mix(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut message = Vec::new();
        let mut lengths = std::collections::HashSet::new();
        for sequence in 0..100 {
            write(2, sequence, &mut message);
            assert_eq!(read(&message), Some((2, sequence)));
            lengths.insert(message.len());
        }
        assert!(lengths.len() > 50, "{}", lengths.len());
    }

    #[test]
    fn a_broken_message_is_seen() {
        let mut message = Vec::new();
        write(1, 7, &mut message);
        for at in 0..message.len() {
            message[at] ^= 1;
            assert_eq!(read(&message), None, "{at}");
            message[at] ^= 1;
        }
        for len in 0..message.len() {
            assert_eq!(read(&message[..len]), None, "{len}");
        }
    }
}
