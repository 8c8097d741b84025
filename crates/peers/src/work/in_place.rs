//! W6: written by the sender where it lies, summed by the receiver where it lies.

use std::time::Instant;

use super::{Place, Window, make, with_senders};
use crate::board::Board;
use crate::peer::{Peer, Setup};

/// A peer that can hand over messages without a copy.
pub(crate) trait InPlace: Peer<Tx: InPlaceTx, Rx: InPlaceRx> {}

pub(crate) trait InPlaceTx {
    /// Has the next message written where it will lie, and hands it over; waits for room.
    fn send_in_place(&mut self, write: impl FnOnce(&mut [u8]));
}

pub(crate) trait InPlaceRx {
    /// Shows the next message where it lies; waits for one.
    fn recv_in_place<R>(&mut self, read: impl FnOnce(&[u8]) -> R) -> R;
}

/// Number of the message after which nothing comes.
const END: u64 = u64::MAX;

/// Writes every byte: the number in each word.
#[inline]
fn write(message: &mut [u8], number: u64) {
    let word = number.to_ne_bytes();
    for place in message.chunks_exact_mut(8) {
        place.copy_from_slice(&word);
    }
}

/// Reads every byte: the sum of all words, and the first.
#[inline]
fn read(message: &[u8]) -> (u64, u64) {
    let word = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().expect("8 bytes"));
    let sum = message.chunks_exact(8).fold(0u64, |sum, bytes| sum.wrapping_add(word(bytes)));
    (word(&message[..8]), sum)
}

/// Reports messages per second.
pub(crate) fn in_place<P: InPlace>(board: &Board, setup: Setup, place: Place, window: Window) {
    let Some(peer) = make::<P>(board, setup) else { return };
    let send = |_| {
        let mut tx = peer.sender();
        board.meet(2);
        let mut number = 0;
        while !board.is_stopped() {
            tx.send_in_place(|message| write(message, number));
            number += 1;
        }
        tx.send_in_place(|message| write(message, END));
    };
    let receive = || {
        let mut rx = peer.receiver();
        board.meet(2);
        let words = setup.size as u64 / 8;
        let mut expected = 0;
        let mut step = || {
            let (number, sum) = rx.recv_in_place(|message| {
                assert_eq!(message.len(), setup.size, "a message of another length");
                read(message)
            });
            assert_eq!(sum, number.wrapping_mul(words), "a torn message");
            assert!(number == expected || number == END, "out of order or lost");
            expected += 1;
            number == END
        };
        let start = Instant::now();
        while start.elapsed() < window.warm {
            step();
        }
        let (start, mut count) = (Instant::now(), 0u64);
        while start.elapsed() < window.measure {
            for _ in 0..8 {
                step();
            }
            count += 8;
        }
        board.report(&[count as f64 / start.elapsed().as_secs_f64()]);
        board.stop();
        while !step() {}
    };
    with_senders::<P>(1, place, send, receive);
}
