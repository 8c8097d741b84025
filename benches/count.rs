//! Sends and receives so many messages in one process, in functions that a counter of instructions or system
//! calls can tell apart. Run by `benches/count.sh`; times nothing.
//!
//! `count BYTES MESSAGES`, both optional.

use std::hint::black_box;

use sysring::{Receiver, Sender};

/// Messages on the way at most: a small part of the lane.
const TURN: u64 = 1000;

/// What the loops cost by themselves.
#[inline(never)]
fn count_nothing<const N: usize>(message: [u8; N], buffer: &mut [u8; N], count: u64) {
    for _ in 0..count {
        black_box(message);
        assert_eq!(black_box(&mut *buffer).len(), N);
    }
}

#[inline(never)]
fn count_send<const N: usize>(tx: &mut Sender, message: [u8; N], count: u64) {
    for _ in 0..count {
        tx.send(black_box(message)).expect("there is room");
    }
}

#[inline(never)]
fn count_recv<const N: usize>(rx: &mut Receiver, buffer: &mut [u8; N], count: u64) {
    for _ in 0..count {
        assert_eq!(rx.recv_into(black_box(buffer)).expect("there are messages"), N);
    }
}

#[inline(never)]
fn count_slice_send(tx: &mut Sender, message: &[u8], count: u64) {
    for _ in 0..count {
        tx.send(black_box(message)).expect("there is room");
    }
}

#[inline(never)]
fn count_batch_send<const N: usize>(tx: &mut Sender, message: [u8; N], count: u64) {
    let mut batch = tx.batch();
    for _ in 0..count {
        batch.send(black_box(message)).expect("there is room");
    }
}

#[inline(never)]
fn count_batch_recv<const N: usize>(rx: &mut Receiver, buffer: &mut [u8; N], count: u64) {
    let batch = rx.recv_batch(count as usize).expect("there are messages");
    for message in batch.iter() {
        assert_eq!(message.copy_to(black_box(buffer)), N);
    }
}

#[inline(never)]
fn count_guard_recv<const N: usize>(rx: &mut Receiver, buffer: &mut [u8; N], count: u64) {
    for _ in 0..count {
        assert_eq!(rx.recv().expect("there are messages").copy_to(black_box(buffer)), N);
    }
}

fn count<const N: usize>(messages: u64) {
    let (mut tx, mut rx) = sysring::spsc().pair().expect("a channel");
    rx.attach().expect("its receiver");
    let (message, mut buffer) = ([7; N], [0; N]);
    for _ in 0..messages / TURN {
        count_nothing(message, &mut buffer, TURN);
        count_send(&mut tx, message, TURN);
        count_recv(&mut rx, &mut buffer, TURN);
        count_slice_send(&mut tx, &message, TURN);
        count_guard_recv(&mut rx, &mut buffer, TURN);
        count_batch_send(&mut tx, message, TURN);
        count_batch_recv(&mut rx, &mut buffer, TURN);
    }
    assert_eq!(message, buffer);
    println!("{messages} messages of {N} B one by one, again as slices and guards, and in batches of {TURN}");
}

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u64>().ok());
    let (size, messages) = (numbers.next().unwrap_or(8), numbers.next().unwrap_or(100_000));
    match size {
        0 => count::<0>(messages),
        8 => count::<8>(messages),
        48 => count::<48>(messages),
        64 => count::<64>(messages),
        256 => count::<256>(messages),
        1024 => count::<1024>(messages),
        _ => panic!("sizes: 0, 8, 48, 64, 256, 1024"),
    }
}
