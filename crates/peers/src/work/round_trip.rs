//! W2, W3: there and back again, through two channels of one peer.

use super::{Place, Window, make, with_senders};
use crate::board::Board;
use crate::clock;
use crate::peer::{Peer, Rx, Setup, Sink, Source, Tx};

/// Whether the measuring side waits before each ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Idle {
    /// Back to back.
    No,
    /// So many microseconds, looking at the clock.
    Micros(u64),
}

/// Reports nanoseconds: p50, p99, p99.9, least.
pub(crate) fn round_trip<P: Peer>(board: &Board, setup: Setup, place: Place, idle: Idle, window: Window) {
    let (Some(there), Some(back)) = (make::<P>(board, setup), make::<P>(board, setup)) else { return };
    let answer = |_| {
        let (mut rx, mut tx) = (there.receiver(), back.sender());
        let mut buffer = vec![0; setup.size];
        board.meet(2);
        loop {
            let length = rx.recv(&mut buffer);
            // Looked at before the answer: the asking side stops only after its last answer but one.
            let is_last = board.is_stopped();
            tx.send(&buffer[..length]);
            if is_last {
                return;
            }
        }
    };
    let ask = || {
        let (mut tx, mut rx) = (there.sender(), back.receiver());
        let (mut source, mut sink) = (Source::new(0, setup.size), Sink::new(1, setup.size));
        board.meet(2);
        let ticks = |time: std::time::Duration| clock::ticks(time.as_nanos() as f64);
        let begin = clock::now();
        let measured_from = begin + ticks(window.warm);
        let end = measured_from + ticks(window.measure);
        let mut times = Vec::with_capacity(1 << 20);
        loop {
            if let Idle::Micros(micros) = idle {
                let until = clock::now() + clock::ticks(micros as f64 * 1e3);
                while clock::now() < until {
                    std::hint::spin_loop();
                }
            }
            let start = clock::now();
            if start >= end || times.len() == times.capacity() {
                break;
            }
            tx.send(source.next());
            sink.take(|buffer| rx.recv(buffer));
            let took = clock::now() - start;
            if start >= measured_from {
                times.push(took);
            }
        }
        board.report(&clock::percentiles(&mut times));
        board.stop();
        tx.send(source.next());
        sink.take(|buffer| rx.recv(buffer));
    };
    with_senders::<P>(1, place, answer, ask);
}
