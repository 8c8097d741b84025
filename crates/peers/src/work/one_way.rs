//! W1, W4, W5: one-way throughput. Every message is made by its sender, handed over, copied out and checked.

use std::time::Instant;

use super::{Place, Window, make, with_senders};
use crate::board::Board;
use crate::peer::{Peer, Rx, Setup, Sink, Source, Tx};
use crate::peers::reference;

/// Reports messages per second.
pub(crate) fn one_way<P: Peer>(board: &Board, setup: Setup, place: Place, window: Window) {
    let Some(peer) = make::<P>(board, setup) else { return };
    let sides = setup.senders + 1;
    let send = |number: usize| {
        let mut tx = peer.sender();
        let mut source = Source::new(number, setup.size);
        board.meet(sides);
        while !board.is_stopped() {
            for _ in 0..64usize.div_ceil(P::BATCH) {
                tx.send_many(&mut source);
            }
        }
        tx.send(source.last());
    };
    let receive = || {
        let mut rx = peer.receiver();
        let mut sink = Sink::new(setup.senders, setup.size);
        board.meet(sides);
        receive_for(&mut rx, &mut sink, window.warm);
        let (from, start) = (sink.count, Instant::now());
        receive_for(&mut rx, &mut sink, window.measure);
        let rate = (sink.count - from) as f64 / start.elapsed().as_secs_f64();
        board.report(&[rate]);
        board.stop();
        while !sink.is_over() {
            rx.recv_many(&mut sink);
        }
    };
    with_senders::<P>(setup.senders, place, send, receive);
}

/// The same work on one core and without a channel: each message is copied into shared memory, and out of it. Nothing
/// that copies twice can be faster than twice that, on two cores.
pub(crate) fn copies(board: &Board, setup: Setup, window: Window) {
    Place::TwoCores.take(0);
    let mut rx = reference::Copies::new(setup);
    let mut sink = Sink::new(1, setup.size);
    receive_for(&mut rx, &mut sink, window.warm);
    let (from, start) = (sink.count, Instant::now());
    receive_for(&mut rx, &mut sink, window.measure);
    board.report(&[(sink.count - from) as f64 / start.elapsed().as_secs_f64()]);
}

/// Receives for about that long. The clock is looked at every 20 to 200 us, whatever a message takes.
fn receive_for(rx: &mut impl Rx, sink: &mut Sink, time: std::time::Duration) {
    let start = Instant::now();
    let (mut stride, mut next, mut looked) = (1, sink.count, start);
    loop {
        rx.recv_many(sink);
        if sink.count < next {
            continue;
        }
        let now = Instant::now();
        if now - start >= time {
            return;
        }
        let micros = (now - looked).as_micros();
        if micros < 20 {
            stride = (2 * stride).min(256); // more, and one who becomes slow is not noticed
        } else if micros > 200 {
            stride = (stride / 2).max(1);
        }
        (next, looked) = (sink.count + stride, now);
    }
}
