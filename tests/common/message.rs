//! Messages that can be checked, and every way to send and to receive them.

use std::ops::Range;
use std::time::{Duration, Instant};

use sysring::{
    Receiver, RecvError, RecvTimeoutError, SendTimeoutError, Sender, Trusted, TryRecvError, TrySendError,
};

use crate::process::{trusted_receiver, trusted_sender};

/// Messages of this length and more carry sender, number and checksum; shorter ones are compared with what they
/// should be.
const HEADER: usize = 16;

/// A short limit for the forms that time out and try again.
const SHORT: Duration = Duration::from_millis(3);

/// The finaliser of splitmix64.
pub(crate) fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// Random numbers, another sequence for each seed.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(mix(seed))
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = mix(self.0);
        self.0 % bound
    }
}

/// Writes message `number` of `sender`, of `length` bytes, into `bytes`.
pub(crate) fn compose(bytes: &mut Vec<u8>, sender: u32, number: u32, length: usize) {
    bytes.clear();
    bytes.resize(length, 0);
    let mut word = mix(u64::from(sender) << 32 | u64::from(number));
    for chunk in bytes.chunks_mut(8) {
        word = word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        chunk.copy_from_slice(&word.to_be_bytes()[..chunk.len()]);
    }
    if length >= HEADER {
        bytes[..4].copy_from_slice(&sender.to_le_bytes());
        bytes[4..8].copy_from_slice(&number.to_le_bytes());
        let sum = checksum(bytes);
        bytes[8..16].copy_from_slice(&sum.to_le_bytes());
    } else if length > 0 {
        bytes[0] = sender as u8;
    }
}

/// Over everything but the checksum itself.
fn checksum(bytes: &[u8]) -> u64 {
    let mut sum = bytes.len() as u64;
    for chunk in bytes[..8].chunks(8).chain(bytes[HEADER..].chunks(8)) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        sum = (sum ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
    sum
}

/// Sender and number of a message of 16 bytes or more that must be whole.
pub(crate) fn decode(bytes: &[u8]) -> (u32, u32) {
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let (sender, number) = (word(0), word(4));
    let sum = u64::from_le_bytes(bytes[8..16].try_into().expect("eight bytes"));
    assert_eq!(sum, checksum(bytes), "torn: message {number} of sender {sender}, {} bytes", bytes.len());
    (sender, number)
}

/// Sender and number of a message, if it is whole.
pub(crate) fn decode_if_whole(bytes: &[u8]) -> Option<(u32, u32)> {
    let sum = bytes.get(8..HEADER)?.try_into().map(u64::from_le_bytes).expect("eight bytes");
    (sum == checksum(bytes)).then(|| decode(bytes))
}

/// Lengths of messages.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sizes {
    Fixed(usize),
    /// All the interesting ones and random ones, up to a largest.
    Mixed(usize),
}

/// What every sender sends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) sizes: Sizes,
    pub(crate) count: u32,
}

impl Plan {
    pub(crate) fn length(&self, sender: u32, number: u32) -> usize {
        let largest = match self.sizes {
            Sizes::Fixed(length) => return length,
            Sizes::Mixed(largest) => largest,
        };
        let random = mix(!(u64::from(sender) << 32 | u64::from(number)));
        let rare = random >> 32 & 31 == 0;
        let length = match random % 16 {
            0 => 0,
            1 => 1,
            2 => 7,
            3 => 8,
            4 => 9,
            5 => 48,
            6 => 64,
            7 => 256,
            8 => 1024,
            9 if rare => 65_536,
            10 if rare => largest,
            11 if rare => (random >> 40) as usize % (largest + 1),
            9 => 4096,
            _ => (random >> 40) as usize % 400,
        };
        length.min(largest)
    }
}

/// Checks that everybody's messages are whole, complete and in order.
#[derive(Debug)]
pub(crate) struct Checker {
    plan: Plan,
    /// Next number of each sender.
    next: Vec<u32>,
    /// Empty messages do not say whose they are: counted only.
    empty: u64,
    accepted: u64,
    expected: Vec<u8>,
}

impl Checker {
    pub(crate) fn new(senders: u32, plan: Plan) -> Checker {
        Checker { plan, next: vec![0; senders as usize], empty: 0, accepted: 0, expected: Vec::new() }
    }

    pub(crate) fn accept(&mut self, bytes: &[u8]) {
        self.accepted += 1;
        if bytes.is_empty() {
            self.empty += 1;
            return;
        }
        let sender = if bytes.len() < HEADER { u32::from(bytes[0]) } else { decode(bytes).0 };
        let number = self.skip_empty(sender);
        assert!(number < self.plan.count, "sender {sender} sent more than {} messages", self.plan.count);
        assert_eq!(bytes.len(), self.plan.length(sender, number), "message {number} of sender {sender}");
        if bytes.len() < HEADER {
            compose(&mut self.expected, sender, number, bytes.len());
            assert_eq!(bytes, self.expected, "message {number} of sender {sender}");
        } else {
            assert_eq!(decode(bytes), (sender, number), "out of order");
        }
        self.next[sender as usize] = number + 1;
    }

    /// Whether everything has come, if nothing is out of order.
    pub(crate) fn is_complete(&self) -> bool {
        self.accepted == u64::from(self.plan.count) * self.next.len() as u64
    }

    /// The number of the next message of `sender` that is not empty.
    fn skip_empty(&self, sender: u32) -> u32 {
        let next = self.next.get(sender as usize).unwrap_or_else(|| panic!("there is no sender {sender}"));
        let mut numbers = *next..self.plan.count;
        numbers.find(|&number| self.plan.length(sender, number) > 0).unwrap_or(self.plan.count)
    }

    pub(crate) fn finish(&self) {
        let mut empty = 0;
        for sender in 0..self.next.len() as u32 {
            assert_eq!(self.skip_empty(sender), self.plan.count, "sender {sender}: messages are missing");
            empty +=
                (0..self.plan.count).filter(|&number| self.plan.length(sender, number) == 0).count() as u64;
        }
        assert_eq!(self.empty, empty, "empty messages");
    }
}

/// A way to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendForm {
    Plain,
    Try,
    Timeout,
    Deadline,
    Slot,
    InPlace,
    Batch,
    /// All of them in turn.
    Mixed,
}

pub(crate) const SEND_FORMS: [SendForm; 7] = [
    SendForm::Plain,
    SendForm::Try,
    SendForm::Timeout,
    SendForm::Deadline,
    SendForm::Slot,
    SendForm::InPlace,
    SendForm::Batch,
];

/// Sends all of a plan's messages.
pub(crate) fn send_all(sender: Sender, who: u32, plan: Plan, form: SendForm) {
    send_range(&mut trusted_sender(sender), who, plan, 0..plan.count, form);
}

/// Sends these messages of a plan.
pub(crate) fn send_range(
    sender: &mut Trusted<Sender>,
    who: u32,
    plan: Plan,
    range: Range<u32>,
    form: SendForm,
) {
    let mut bytes = Vec::new();
    let mut number = range.start;
    while number < range.end {
        let form = match form {
            SendForm::Mixed => SEND_FORMS[mix(u64::from(number)) as usize % SEND_FORMS.len()],
            form => form,
        };
        if form == SendForm::Batch {
            let end = range.end.min(number + 1 + (mix(u64::from(number)) % 90) as u32);
            let mut batch = sender.batch();
            for number in number..end {
                compose(&mut bytes, who, number, plan.length(who, number));
                batch.send(&bytes).expect("send in a batch");
            }
            number = end;
        } else {
            compose(&mut bytes, who, number, plan.length(who, number));
            send_one(sender, &bytes, number, form);
            number += 1;
        }
    }
}

fn send_one(sender: &mut Trusted<Sender>, bytes: &[u8], number: u32, form: SendForm) {
    match form {
        SendForm::Plain => sender.send(bytes).expect("send"),
        SendForm::Try => loop {
            match sender.try_send(bytes) {
                Ok(()) => break,
                Err(TrySendError::Full(same)) => {
                    assert_eq!(same, bytes);
                    std::thread::yield_now();
                }
                Err(error) => panic!("try_send: {error}"),
            }
        },
        SendForm::Timeout => loop {
            match sender.send_timeout(bytes, SHORT) {
                Ok(()) => break,
                Err(SendTimeoutError::Timeout(same)) => assert_eq!(same, bytes),
                Err(error) => panic!("send_timeout: {error}"),
            }
        },
        SendForm::Deadline => loop {
            match sender.send_deadline(bytes, Instant::now() + SHORT) {
                Ok(()) => break,
                Err(SendTimeoutError::Timeout(same)) => assert_eq!(same, bytes),
                Err(error) => panic!("send_deadline: {error}"),
            }
        },
        SendForm::Slot => {
            let sender: &mut Sender = sender;
            if number.is_multiple_of(5) {
                let _aborted = sender.reserve(bytes.len() / 2).expect("reserve");
            }
            let spare = if number.is_multiple_of(3) { 13 } else { 0 };
            let mut slot =
                sender.reserve((bytes.len() + spare).min(sender.max_message() as usize)).expect("reserve");
            let (front, back) = bytes.split_at(bytes.len() / 3);
            slot.write(front).expect("it fits");
            slot.write_at(front.len(), back).expect("it fits");
            slot.truncate(bytes.len());
            assert_eq!(slot.len(), bytes.len());
            slot.commit().expect("commit");
        }
        SendForm::InPlace => {
            let mut frame = sender.reserve(bytes.len()).expect("reserve in place");
            frame.copy_from_slice(bytes);
            frame.commit().expect("commit in place");
        }
        SendForm::Batch | SendForm::Mixed => unreachable!("taken apart by the caller"),
    }
}

/// A way to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecvForm {
    Plain,
    Try,
    Timeout,
    Deadline,
    Into,
    TryInto,
    Vec,
    TryVec,
    Batch,
    TryBatch,
    InPlace,
    Iter,
    TryIter,
    /// All of them in turn.
    Mixed,
}

pub(crate) const RECV_FORMS: [RecvForm; 13] = [
    RecvForm::Plain,
    RecvForm::Try,
    RecvForm::Timeout,
    RecvForm::Deadline,
    RecvForm::Into,
    RecvForm::TryInto,
    RecvForm::Vec,
    RecvForm::TryVec,
    RecvForm::Batch,
    RecvForm::TryBatch,
    RecvForm::InPlace,
    RecvForm::Iter,
    RecvForm::TryIter,
];

/// Receives until the end of the stream; a first of several senders may have gone before the next has come.
pub(crate) fn receive_all(receiver: Receiver, checker: &mut Checker, form: RecvForm) -> Receiver {
    let mut receiver = trusted_receiver(receiver);
    let mut buffer = vec![0; receiver.max_message() as usize];
    let mut turn = 0;
    while checker.next.len() == 1 || !checker.is_complete() {
        let form = match form {
            RecvForm::Mixed => RECV_FORMS[mix(turn) as usize % RECV_FORMS.len()],
            form => form,
        };
        turn += 1;
        match receive_some(&mut receiver, checker, form, &mut buffer) {
            Ok(()) => {}
            Err(RecvError::Disconnected) if checker.next.len() == 1 => return receiver.into_inner(),
            Err(RecvError::Disconnected) => {}
            Err(error) => panic!("{form:?}: {error}"),
        }
    }
    receiver.into_inner()
}

/// One call, or a few. Nothing there yet is fine.
pub(crate) fn receive_some(
    trusted: &mut Trusted<Receiver>,
    checker: &mut Checker,
    form: RecvForm,
    buffer: &mut [u8],
) -> Result<(), RecvError> {
    let patient = |error: RecvTimeoutError| match error {
        RecvTimeoutError::Timeout => Ok(()),
        RecvTimeoutError::Failed(error) => Err(error),
    };
    let untried = |error: TryRecvError| match error {
        TryRecvError::Empty => {
            std::thread::yield_now();
            Ok(())
        }
        TryRecvError::Failed(error) => Err(error),
    };
    if form == RecvForm::InPlace {
        return trusted.recv().map(|frame| checker.accept(&frame));
    }
    let receiver: &mut Receiver = trusted;
    match form {
        RecvForm::Plain => receiver.recv().map(|message| {
            assert!(!message.redelivered());
            checker.accept(&message.to_vec());
        }),
        RecvForm::Try => {
            receiver.try_recv().map(|message| checker.accept(&message.to_vec())).or_else(untried)
        }
        RecvForm::Timeout => receiver
            .recv_timeout(SHORT)
            .map(|message| {
                let length = message.copy_to(buffer);
                checker.accept(&buffer[..length]);
            })
            .or_else(patient),
        RecvForm::Deadline => receiver
            .recv_deadline(Instant::now() + SHORT)
            .map(|message| {
                let (front, back) = buffer[..message.len()].split_at_mut(message.len() / 2);
                message.read_at(0, front);
                message.read_at(front.len(), back);
                checker.accept(&buffer[..message.len()]);
            })
            .or_else(patient),
        RecvForm::Into => receiver.recv_into(buffer).map(|length| checker.accept(&buffer[..length])),
        RecvForm::TryInto => {
            receiver.try_recv_into(buffer).map(|length| checker.accept(&buffer[..length])).or_else(untried)
        }
        RecvForm::Vec => receiver.recv_vec().map(|bytes| checker.accept(&bytes)),
        RecvForm::TryVec => receiver.try_recv_vec().map(|bytes| checker.accept(&bytes)).or_else(untried),
        RecvForm::Batch => receiver.recv_batch(100).map(|batch| {
            assert!((1..=100).contains(&batch.len()));
            batch.iter().for_each(|message| checker.accept(&message.to_vec()));
        }),
        RecvForm::TryBatch => receiver
            .try_recv_batch(7)
            .map(|batch| {
                assert!((1..=7).contains(&batch.len()));
                batch.iter().for_each(|message| checker.accept(&message.to_vec()));
            })
            .or_else(untried),
        RecvForm::Iter => {
            let mut got = 0;
            for bytes in receiver.iter().take(10) {
                checker.accept(&bytes?);
                got += 1;
            }
            if got < 10 { Err(RecvError::Disconnected) } else { Ok(()) }
        }
        RecvForm::TryIter => {
            for bytes in receiver.try_iter() {
                checker.accept(&bytes?);
            }
            // The iterator does not tell nothing from never.
            receiver.try_recv_vec().map(|bytes| checker.accept(&bytes)).or_else(untried)
        }
        RecvForm::InPlace | RecvForm::Mixed => unreachable!("taken apart before"),
    }
}
