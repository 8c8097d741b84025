//! Holds every received message against what must come next.

use sysring::BatchMessage;

use super::{SENDERS, message};

/// Counts the good messages and keeps the first fault.
#[derive(Debug)]
pub(crate) struct Check {
    lanes: [u32; SENDERS],
    counts: [u64; SENDERS],
    bytes: u64,
    fault: Option<String>,
    buffer: Vec<u8>,
}

impl Check {
    pub(crate) fn new(lanes: [u32; SENDERS]) -> Self {
        Self { lanes, counts: [0; SENDERS], bytes: 0, fault: None, buffer: Vec::new() }
    }

    pub(crate) fn message(&mut self, message: &BatchMessage<'_>) {
        self.buffer.clear();
        message.append_to(&mut self.buffer);
        let lane = message.lane();
        if let Err(fault) = self.next(lane) {
            self.fault.get_or_insert(fault);
        } else if message.redelivered() {
            self.fault.get_or_insert_with(|| format!("lane {lane} delivered a message twice"));
        }
    }

    /// The message in the buffer must be the next one of the sender in this lane.
    fn next(&mut self, lane: u32) -> Result<(), String> {
        let (sender, sequence) =
            message::read(&self.buffer).ok_or_else(|| format!("a message in lane {lane} is not whole"))?;
        let number = sender as usize;
        if self.lanes.get(number) != Some(&lane) {
            return Err(format!("a message of sender {} came in lane {lane}", sender + 1));
        }
        let expected = self.counts[number];
        if sequence != expected {
            return Err(format!("message {sequence} of sender {} came where {expected} was due", sender + 1));
        }
        self.counts[number] += 1;
        self.bytes += self.buffer.len() as u64;
        Ok(())
    }

    /// Messages of each sender; they were numbers 0 to this, without a hole.
    pub(crate) fn counts(&self) -> [u64; SENDERS] {
        self.counts
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(check: &mut Check, sender: u32, sequence: u64, lane: u32) -> Result<(), String> {
        message::write(sender, sequence, &mut check.buffer);
        check.next(lane)
    }

    #[test]
    fn the_next_message_in_its_own_lane_is_good() {
        let mut check = Check::new([5, 6, 7]);
        feed(&mut check, 0, 0, 5).unwrap();
        feed(&mut check, 2, 0, 7).unwrap();
        feed(&mut check, 0, 1, 5).unwrap();
        assert_eq!(check.counts(), [2, 0, 1]);
    }

    #[test]
    fn gaps_repetitions_strangers_and_broken_messages_are_not() {
        let mut check = Check::new([5, 6, 7]);
        assert!(feed(&mut check, 0, 1, 5).unwrap_err().contains("0 was due"));
        feed(&mut check, 0, 0, 5).unwrap();
        assert!(feed(&mut check, 0, 0, 5).unwrap_err().contains("1 was due"));
        assert!(feed(&mut check, 1, 0, 5).unwrap_err().contains("lane 5"));
        assert!(feed(&mut check, 9, 0, 5).is_err());
        check.buffer.pop();
        assert!(check.next(5).unwrap_err().contains("not whole"));
        assert_eq!(check.counts(), [1, 0, 0]);
    }
}
