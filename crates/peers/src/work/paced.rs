//! W7: paced load. A message carries the time at which it was handed over; the receiver reports the delays.

use super::{Place, Window, make, with_senders};
use crate::board::Board;
use crate::clock;
use crate::peer::{Peer, Rx, Setup, Tx};

/// How messages come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Messages per second.
    pub(crate) rate: f64,
    /// Messages in one go.
    pub(crate) burst: usize,
}

/// Last word of the last message.
const END: u64 = u64::MAX;

/// Reports nanoseconds from the beginning of a send to the end of its receive: p50, p99, p99.9, least.
pub(crate) fn paced<P: Peer>(board: &Board, setup: Setup, place: Place, pace: Pace, window: Window) {
    assert!(setup.size >= 24, "a message has a number, a time and a mark");
    let Some(peer) = make::<P>(board, setup) else { return };
    let time = |time: std::time::Duration| clock::ticks(time.as_nanos() as f64);
    let send = |_| {
        let mut tx = peer.sender();
        let mut message = vec![0; setup.size];
        let last = setup.size - 8;
        board.meet(2);
        let gap = 1e9 * pace.burst as f64 / pace.rate;
        let start = clock::now() + clock::ticks(1e5);
        let end = start + time(window.warm) + time(window.measure);
        let (mut due, mut burst, mut number) = (start, 0u64, 0u64);
        while due < end {
            while clock::now() < due {
                std::hint::spin_loop();
            }
            for _ in 0..pace.burst {
                message[..8].copy_from_slice(&number.to_le_bytes());
                message[8..16].copy_from_slice(&clock::now().to_le_bytes());
                tx.send(&message);
                number += 1;
            }
            burst += 1;
            due = start + clock::ticks(burst as f64 * gap);
        }
        message[..8].copy_from_slice(&number.to_le_bytes());
        message[last..].copy_from_slice(&END.to_le_bytes());
        tx.send(&message);
    };
    let receive = || {
        let mut rx = peer.receiver();
        let mut message = vec![0; setup.size];
        let last = setup.size - 8;
        let expected = (pace.rate * (window.warm + window.measure).as_secs_f64()) as usize;
        let warm = (pace.rate * window.warm.as_secs_f64()) as usize;
        let mut delays = vec![0; expected + 64];
        let mut count = 0;
        board.meet(2);
        let word = |message: &[u8]| u64::from_le_bytes(message.try_into().expect("8 bytes"));
        loop {
            assert_eq!(rx.recv(&mut message), setup.size, "a message of another length");
            let now = clock::now();
            assert_eq!(word(&message[..8]), count as u64, "out of order or lost");
            if word(&message[last..]) == END {
                break;
            }
            if count < delays.len() {
                delays[count] = now.saturating_sub(word(&message[8..16]));
            }
            count += 1;
        }
        let measured = warm.min(count - 1)..count.min(delays.len());
        board.report(&clock::percentiles(&mut delays[measured]));
    };
    with_senders::<P>(1, place, send, receive);
}
