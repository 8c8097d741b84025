//! What the messages hold, and the check of each that comes.
//!
//! Every line of 64 bytes of a message begins with a word made of its sender, its number and its place, so that no
//! part of an older message passes for one of a newer; the other bytes are the sender's own noise. The receiver
//! makes the message that must come next in the same way and compares all bytes.

/// Bytes between two words that tell the message.
const LINE: usize = 64;
const WORD: usize = 8;
/// Bits of the number of a message: enough for hours of the fastest channel.
const NUMBER_BITS: u32 = 40;
/// Bits of the number of a sender.
const SENDER_BITS: u32 = 8;

/// The messages of one sender, one at a time.
#[derive(Debug)]
pub(super) struct Messages {
    sender: u32,
    bytes: Vec<u8>,
}

impl Messages {
    /// Of so many bytes, 8 at least.
    pub(super) fn new(sender: u32, size: usize) -> Self {
        let noise = (0..).flat_map(|word: u64| mix(word << SENDER_BITS | u64::from(sender)).to_le_bytes());
        Self { sender, bytes: noise.take(size.max(WORD)).collect() }
    }

    /// Message `number` of this sender.
    #[inline]
    pub(super) fn number(&mut self, number: u64) -> &[u8] {
        let head = head(self.sender, number);
        for (line, bytes) in self.bytes.chunks_mut(LINE).enumerate() {
            if let Some(word) = bytes.first_chunk_mut() {
                *word = word_of(head, line as u64).to_le_bytes();
            }
        }
        &self.bytes
    }
}

/// Number and sender, and 16 bits that only they lead to.
#[inline]
fn head(sender: u32, number: u64) -> u64 {
    let plain = u64::from(sender) << NUMBER_BITS | number & ((1 << NUMBER_BITS) - 1);
    plain | mix(plain) >> 48 << 48
}

#[inline]
fn word_of(head: u64, line: u64) -> u64 {
    head ^ line.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Sender and number, if this may be the beginning of a message of ours.
#[inline]
fn read(bytes: &[u8]) -> Option<(u32, u64)> {
    let head_word = u64::from_le_bytes(*bytes.first_chunk()?);
    let sender = (head_word >> NUMBER_BITS) as u8;
    let number = head_word & ((1 << NUMBER_BITS) - 1);
    (head(sender.into(), number) == head_word).then_some((sender.into(), number))
}

/// Spreads a number over all bits (the finish of `splitmix64`).
#[inline]
fn mix(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

/// Holds every received message against the next one of its sender.
#[derive(Debug)]
pub(super) struct Check {
    senders: Vec<Messages>,
    counts: Vec<u64>,
}

impl Check {
    pub(super) fn new(senders: impl IntoIterator<Item = u32>, size: usize) -> Self {
        let senders: Vec<Messages> = senders.into_iter().map(|sender| Messages::new(sender, size)).collect();
        Self { counts: vec![0; senders.len()], senders }
    }

    /// One message, or what is wrong with it.
    #[inline]
    pub(super) fn message(&mut self, bytes: &[u8]) -> Result<(), String> {
        // With one sender there is nothing to look up.
        let place = if self.senders.len() == 1 {
            Some(0)
        } else {
            read(bytes).and_then(|(sender, _)| self.place(sender))
        };
        match place {
            Some(place) if self.senders[place].number(self.counts[place]) == bytes => {
                self.counts[place] += 1;
                Ok(())
            }
            _ => Err(self.explain(bytes)),
        }
    }

    /// Good messages of each sender: numbers 0 to this, without a hole.
    pub(super) fn counts(&self) -> &[u64] {
        &self.counts
    }

    fn place(&self, sender: u32) -> Option<usize> {
        self.senders.iter().position(|messages| messages.sender == sender)
    }

    #[cold]
    fn explain(&mut self, bytes: &[u8]) -> String {
        let after = self.counts.iter().sum::<u64>();
        let Some((sender, number)) = read(bytes) else {
            return format!(
                "wrong message after {after} good ones: its {} bytes are not of this test",
                bytes.len()
            );
        };
        let Some(place) = self.place(sender) else {
            return format!(
                "wrong message after {after} good ones: it claims to be of sender {sender}, whom nobody started"
            );
        };
        let due = self.counts[place];
        if number != due {
            return format!("wrong message: number {number} of sender {sender} came where {due} was due");
        }
        let expected = self.senders[place].number(due);
        if expected.len() != bytes.len() {
            return format!(
                "wrong message: number {number} of sender {sender} has {} bytes, not {}",
                bytes.len(),
                expected.len()
            );
        }
        let differs = expected.iter().zip(bytes).position(|(expected, came)| expected != came).unwrap_or(0);
        format!(
            "wrong message: byte {differs} of number {number} of sender {sender} is {:#04x}, not {:#04x}",
            bytes[differs], expected[differs]
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: [usize; 4] = [8, 64, 512, 4096];

    #[test]
    fn what_is_sent_in_order_is_good() {
        for size in SIZES {
            let mut check = Check::new([0, 1, 239], size);
            let mut senders = [0, 1, 239].map(|sender| Messages::new(sender, size));
            for number in 0..100 {
                for messages in &mut senders {
                    let message = messages.number(number).to_vec();
                    assert_eq!(message.len(), size);
                    check.message(&message).unwrap();
                }
            }
            assert_eq!(check.counts(), [100; 3]);
        }
    }

    #[test]
    fn a_gap_a_repetition_and_a_stranger_are_noticed() {
        for size in SIZES {
            for senders in [vec![0], vec![0, 1]] {
                let mut check = Check::new(senders, size);
                let mut messages = Messages::new(0, size);
                check.message(messages.number(0)).unwrap();
                let fault = check.message(messages.number(0)).unwrap_err();
                assert!(fault.contains("number 0 of sender 0 came where 1 was due"), "{fault}");
                let fault = check.message(messages.number(2)).unwrap_err();
                assert!(fault.contains("number 2 of sender 0 came where 1 was due"), "{fault}");
                let fault = check.message(Messages::new(7, size).number(1)).unwrap_err();
                assert!(fault.contains("sender 7"), "{fault}");
                assert_eq!(check.counts()[0], 1);
            }
        }
    }

    #[test]
    fn every_wrong_byte_is_noticed() {
        for size in SIZES {
            let mut check = Check::new([0, 1], size);
            let good = Messages::new(1, size).number(0).to_vec();
            for at in 0..size {
                let mut bad = good.clone();
                bad[at] ^= 1 << (at % 8);
                check.message(&bad).unwrap_err();
            }
            let mut alone = Check::new([1], size);
            for at in WORD..size {
                let mut bad = good.clone();
                bad[at] ^= 0xff;
                let fault = alone.message(&bad).unwrap_err();
                assert!(fault.contains(&format!("byte {at} of number 0 of sender 1")), "{fault}");
            }
            check.message(&good).unwrap();
        }
    }

    #[test]
    fn a_wrong_length_is_noticed() {
        for size in SIZES {
            let mut check = Check::new([0], size);
            let mut long = Messages::new(0, size).number(0).to_vec();
            long.push(0);
            let fault = check.message(&long).unwrap_err();
            assert!(fault.contains(&format!("has {} bytes, not {size}", size + 1)), "{fault}");
            assert!(check.message(&long[..size - 1]).is_err());
            assert!(check.message(&[]).is_err());
        }
    }

    /// A message put together from two is none.
    #[test]
    fn a_line_of_an_older_message_is_noticed() {
        let mut check = Check::new([0], 512);
        let mut messages = Messages::new(0, 512);
        let old = messages.number(0).to_vec();
        check.message(&old).unwrap();
        for line in 0..512 / LINE {
            let mut torn = messages.number(1).to_vec();
            torn[line * LINE..][..LINE].copy_from_slice(&old[line * LINE..][..LINE]);
            check.message(&torn).unwrap_err();
        }
    }
}
