//! What a peer must be able to do, and what it is asked for.

use std::hint;

/// What a case asks of a peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// Bytes of every message.
    pub(crate) size: usize,
    /// Senders that will come.
    pub(crate) senders: usize,
    /// Bytes of messages that may wait, for each sender where each has its own, where the peer lets it be chosen.
    pub(crate) room: usize,
    /// How a side waits.
    pub(crate) wait: Wait,
}

impl Setup {
    /// Messages that may wait: at least 2, a power of two.
    pub(crate) const fn slots(&self) -> usize {
        let slots = self.room / if self.size < 8 { 8 } else { self.size };
        if slots < 2 { 2 } else { slots.next_power_of_two() }
    }
}

/// How a side waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Looks again at once: both sides have a core of their own.
    Spin,
    /// Looks again, and soon gives the core away: there are more sides than cores.
    Yield,
    /// As the peer's blocking calls do without further options.
    Default,
    /// Sleeps in the kernel without looking again first, as far as the peer can.
    Sleep,
}

impl Wait {
    /// Passes a moment between two looks; `looks` counts them, from 0 in every wait.
    #[inline(always)]
    pub(crate) fn moment(self, looks: &mut u32) {
        *looks = looks.wrapping_add(1);
        if self == Wait::Yield && *looks > 64 {
            std::thread::yield_now();
        } else {
            hint::spin_loop();
        }
    }

    /// Whether the peer's blocking calls are asked for.
    pub(crate) fn is_blocking(self) -> bool {
        matches!(self, Wait::Default | Wait::Sleep)
    }
}

/// One way of sending messages, between processes unless `THREADS`.
///
/// Everything panics when it fails: a case is a process of its own.
pub(crate) trait Peer: Sized + Sync {
    /// As it stands in the tables.
    const NAME: &'static str;
    /// Messages that one call hands over; 1 = it is a single-message mode.
    const BATCH: usize = 1;
    /// It works between the threads of one process only: a reference, not a rival.
    const THREADS: bool = false;
    type Tx: Tx;
    type Rx: Rx;

    /// Makes what all sides share, before any of them is forked. `None`: it cannot do what is asked for.
    fn make(setup: Setup) -> Option<Self>;
    /// The sending end, called once by each sender, in its own process.
    fn sender(&self) -> Self::Tx;
    /// The receiving end, called once, in the process (or thread) that receives.
    fn receiver(&self) -> Self::Rx;
}

/// A sending end.
pub(crate) trait Tx {
    /// Hands over one message; waits for room.
    fn send(&mut self, message: &[u8]);

    /// Hands over `Peer::BATCH` messages.
    #[inline(always)]
    fn send_many(&mut self, source: &mut Source) {
        self.send(source.next());
    }
}

/// A receiving end.
pub(crate) trait Rx {
    /// Copies the next message out; waits for one. Returns its length.
    fn recv(&mut self, buffer: &mut [u8]) -> usize;

    /// Receives one message, or as many as a batch call gives, into `sink`. Waits for the first.
    #[inline(always)]
    fn recv_many(&mut self, sink: &mut Sink) {
        sink.take(|buffer| self.recv(buffer));
    }
}

/// Number of a sender's last message.
const END: u64 = (1 << 48) - 1;

/// Makes one sender's messages: its number and the message's in the first 8 bytes, the lowest byte of that once
/// more at the end.
#[derive(Debug)]
pub(crate) struct Source {
    buffer: Vec<u8>,
    next: u64,
    base: u64,
}

impl Source {
    pub(crate) fn new(sender: usize, size: usize) -> Source {
        assert!(size >= 8, "a message has its number in 8 bytes");
        Source { buffer: vec![0x5A; size], next: 0, base: (sender as u64) << 48 }
    }

    /// The next message, as it lies in the sender's own memory.
    #[inline(always)]
    #[allow(clippy::should_implement_trait)]
    pub(crate) fn next(&mut self) -> &[u8] {
        let number = self.number();
        let last = self.buffer.len() - 1;
        self.buffer[last] = number as u8;
        self.buffer[..8].copy_from_slice(&number.to_le_bytes());
        &self.buffer
    }

    /// The next message's number, for those that write in place.
    #[inline(always)]
    pub(crate) fn number(&mut self) -> u64 {
        let number = self.base | self.next;
        self.next += 1;
        number
    }

    /// The message after which nothing comes.
    pub(crate) fn last(&mut self) -> &[u8] {
        self.next = END;
        self.next()
    }
}

/// Takes messages, checks every one and counts them.
#[derive(Debug)]
pub(crate) struct Sink {
    buffer: Vec<u8>,
    expected: Vec<u64>,
    pub(crate) count: u64,
    pub(crate) ended: usize,
}

impl Sink {
    pub(crate) fn new(senders: usize, size: usize) -> Sink {
        Sink { buffer: vec![0; size], expected: vec![0; senders], count: 0, ended: 0 }
    }

    /// Takes one message that `copy` puts into the buffer.
    #[inline(always)]
    pub(crate) fn take(&mut self, copy: impl FnOnce(&mut [u8]) -> usize) {
        let length = copy(&mut self.buffer);
        assert_eq!(length, self.buffer.len(), "a message of another length");
        let number = u64::from_le_bytes(self.buffer[..8].try_into().expect("8 bytes"));
        let last = self.buffer.len() - 1;
        assert!(last == 7 || self.buffer[last] == number as u8, "a torn message");
        self.check(number);
    }

    /// Takes the number of a message that was looked at in place.
    #[inline(always)]
    pub(crate) fn check(&mut self, number: u64) {
        let expected = &mut self.expected[(number >> 48) as usize];
        if number & END == *expected {
            *expected += 1;
        } else {
            assert_eq!(number & END, END, "out of order or lost: {expected} was expected");
            self.ended += 1;
        }
        self.count += 1;
    }

    /// Whether every sender has sent its last message.
    pub(crate) fn is_over(&self) -> bool {
        self.ended == self.expected.len()
    }
}
