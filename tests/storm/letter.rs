//! The storm's messages: who, which, when, what the sender knew of the others, and a checksum over all of it.

use std::sync::atomic::Ordering::Acquire;

use crate::board::{SENDERS, StormBoard};
use crate::message::mix;

/// Life, number, checksum, time, member.
const HEADER: usize = 32;
/// With what was known of everybody.
const FULL_HEADER: usize = HEADER + 8 * SENDERS;

/// A message that is whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Letter {
    pub(crate) life: u32,
    pub(crate) number: u32,
    /// When its sending began.
    pub(crate) begun_at: u64,
    pub(crate) member: u32,
    /// For every sender its life, and how many of its messages were known to be sent.
    known: Option<[(u32, u32); SENDERS]>,
}

impl Letter {
    pub(crate) fn known(&self) -> impl Iterator<Item = (u32, u32)> + use<> {
        self.known.into_iter().flatten()
    }
}

/// Length of a message: mostly short, now and then as long as it may be.
pub(crate) fn length(life: u32, number: u32, largest: usize) -> usize {
    let random = mix(u64::from(life) << 32 | u64::from(number));
    let length = match random % 64 {
        0 => largest,
        1 => (random >> 32) as usize % 6000,
        2..8 => (random >> 32) as usize % 1500,
        8..16 => FULL_HEADER,
        16..20 => HEADER,
        _ => HEADER + (random >> 32) as usize % 200,
    };
    length.clamp(HEADER, largest)
}

/// Writes a message. What is known of the others is looked up here, before the sending begins.
pub(crate) fn write(
    bytes: &mut Vec<u8>,
    board: &StormBoard,
    (member, life, number): (u32, u32, u32),
    length: usize,
    now: u64,
) {
    bytes.clear();
    bytes.resize(length, 0);
    let mut word = mix(u64::from(life) << 32 | u64::from(number));
    for chunk in bytes[HEADER..].chunks_mut(8) {
        word = word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        chunk.copy_from_slice(&word.to_be_bytes()[..chunk.len()]);
    }
    let mut put = |at: usize, word: u32| bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
    put(0, life);
    put(4, number);
    put(24, member);
    put(28, length as u32);
    if length >= FULL_HEADER {
        for (index, other) in board.members[..SENDERS].iter().enumerate() {
            let life = other.life.load(Acquire);
            put(HEADER + 8 * index, life);
            put(HEADER + 8 * index + 4, board.lives[life as usize].returned.load(Acquire));
        }
    }
    bytes[16..24].copy_from_slice(&now.to_le_bytes());
    let sum = checksum(bytes);
    bytes[8..16].copy_from_slice(&sum.to_le_bytes());
}

/// Reads a message; `None` if it is torn.
pub(crate) fn read(bytes: &[u8]) -> Option<Letter> {
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    if bytes.len() < HEADER || word(28) as usize != bytes.len() || long(8) != checksum(bytes) {
        return None;
    }
    let known = (bytes.len() >= FULL_HEADER)
        .then(|| std::array::from_fn(|index| (word(HEADER + 8 * index), word(HEADER + 8 * index + 4))));
    Some(Letter { life: word(0), number: word(4), begun_at: long(16), member: word(24), known })
}

/// How long the message at the beginning of `bytes` says it is.
pub(crate) fn claimed_length(bytes: &[u8]) -> usize {
    u32::from_le_bytes(bytes[28..32].try_into().expect("four bytes")) as usize
}

/// Makes sure that nothing at the beginning of `bytes` is taken for a message.
pub(crate) fn wipe(bytes: &mut [u8]) {
    bytes[..HEADER].fill(0);
}

/// Over everything but the checksum itself.
fn checksum(bytes: &[u8]) -> u64 {
    let mut sum = 0x9e37_79b9 ^ bytes.len() as u64;
    for chunk in bytes[..8].chunks(8).chain(bytes[16..].chunks(8)) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        sum = (sum ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
    sum
}
