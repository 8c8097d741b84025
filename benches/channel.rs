//! Throughput, round trips, merging, sleeping and attaching, between two processes or more. Every message's number and
//! last byte are checked.
//!
//! `cargo bench --bench channel`; as a test: `cargo test --benches`. Beside other channels: `crates/peers`.

#![allow(unsafe_code)] // fork and waitpid, and in-place access

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sysring::{Builder, Order, Receiver, Sender, WaitStrategy};

/// Messages in a batch.
const BATCH: usize = 64;

/// Runs `work` in a child process and waits for it.
struct Child(libc::pid_t);

impl Child {
    fn run(work: impl FnOnce()) -> Child {
        // SAFETY: criterion measures in one thread; the child leaves by _exit.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork failed");
        if pid == 0 {
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            // SAFETY: ends the child without running the parent's destructors.
            unsafe { libc::_exit(i32::from(ended.is_err())) };
        }
        Child(pid)
    }

    fn wait(self) {
        let mut status = 0;
        // SAFETY: `status` is ours, the pid is our child's.
        unsafe { libc::waitpid(self.0, &mut status, 0) };
        assert_eq!(status, 0, "the other process failed");
    }
}

/// Puts the number of a message where there is room for it.
fn stamp(message: &mut [u8], number: u64) {
    let bytes = number.to_le_bytes();
    let length = message.len().min(8);
    message[..length].copy_from_slice(&bytes[..length]);
    if message.len() > 8 {
        *message.last_mut().expect("it is long") = number as u8;
    }
}

fn check(message: &[u8], number: u64) {
    let length = message.len().min(8);
    assert_eq!(message[..length], number.to_le_bytes()[..length], "out of order, lost or torn");
    assert!(message.len() <= 8 || message[message.len() - 1] == number as u8, "torn");
}

/// How a message is handed over.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Single,
    Batch,
    InPlace,
}

fn send_all(mut tx: Sender, size: usize, count: u64, mode: Mode) {
    let mut message = vec![0; size];
    match mode {
        Mode::Single => {
            for number in 0..count {
                stamp(&mut message, number);
                tx.send(&message[..]).unwrap();
            }
        }
        Mode::Batch => {
            for first in (0..count).step_by(BATCH) {
                let mut batch = tx.batch();
                for number in first..count.min(first + BATCH as u64) {
                    stamp(&mut message, number);
                    batch.send(&message[..]).unwrap();
                }
            }
        }
        Mode::InPlace => {
            // SAFETY: the channel is anonymous, and both processes keep to the protocol.
            let mut tx = unsafe { tx.trust_peers() };
            for number in 0..count {
                let mut frame = tx.reserve(size).unwrap();
                stamp(&mut frame, number);
                frame.commit().unwrap();
            }
        }
    }
}

fn receive_all(mut rx: Receiver, size: usize, count: u64, mode: Mode) {
    let mut message = vec![0; size];
    match mode {
        Mode::Single => {
            for number in 0..count {
                assert_eq!(rx.recv_into(&mut message).unwrap(), size);
                check(&message, number);
            }
        }
        Mode::Batch => {
            let mut number = 0;
            while number < count {
                for part in rx.recv_batch(BATCH).unwrap().iter() {
                    assert_eq!(part.copy_to(&mut message), size);
                    check(&message, number);
                    number += 1;
                }
            }
        }
        Mode::InPlace => {
            // SAFETY: as in `send_all`.
            let mut rx = unsafe { rx.trust_peers() };
            for number in 0..count {
                let frame = rx.recv().unwrap();
                assert_eq!(frame.len(), size);
                check(&frame, number);
            }
        }
    }
}

fn one_way(count: u64, size: usize, mode: Mode) -> Duration {
    let (tx, mut rx) = sysring::spsc().max_message(size as u64).pair().unwrap();
    rx.attach().unwrap();
    let child = Child::run(|| send_all(tx, size, count, mode));
    let start = Instant::now();
    receive_all(rx, size, count, mode);
    let elapsed = start.elapsed();
    child.wait();
    elapsed
}

fn round_trip(count: u64, size: usize, builder: &Builder) -> Duration {
    let (mut ping, mut served) = builder.pair().unwrap();
    let (mut answer, mut pong) = builder.pair().unwrap();
    let child = Child::run(|| {
        let mut message = vec![0; size];
        for _ in 0..count {
            served.recv_into(&mut message).unwrap();
            answer.send(&message[..]).unwrap();
        }
    });
    let mut message = vec![0; size];
    let start = Instant::now();
    for number in 0..count {
        stamp(&mut message, number);
        ping.send(&message[..]).unwrap();
        pong.recv_into(&mut message).unwrap();
        check(black_box(&message), number);
    }
    let elapsed = start.elapsed();
    child.wait();
    elapsed
}

/// So many processes send; each one's messages are checked for their order.
fn merged(count: u64, senders: u64, order: Order) -> Duration {
    const SIZE: usize = 64;
    let (tx, mut rx) = sysring::mpsc().senders(senders as u32).order(order).pair().unwrap();
    rx.attach().unwrap();
    let share = |sender: u64| count / senders + u64::from(sender < count % senders);
    let mut tx = Some(tx);
    let children: Vec<Child> = (0..senders)
        .map(|sender| {
            Child::run(|| {
                let mut tx = tx.take().unwrap();
                let mut message = [0; SIZE];
                message[8] = sender as u8;
                for number in 0..share(sender) {
                    stamp(&mut message, number);
                    tx.send(message).unwrap();
                }
            })
        })
        .collect();
    let mut message = [0; SIZE];
    let mut expected = vec![0; senders as usize];
    let start = Instant::now();
    for _ in 0..count {
        assert_eq!(rx.recv_into(&mut message).unwrap(), SIZE);
        let expected = &mut expected[message[8] as usize];
        check(&message, *expected);
        *expected += 1;
    }
    let elapsed = start.elapsed();
    children.into_iter().for_each(Child::wait);
    elapsed
}

/// Takes and leaves a sender's seat in a process that did not make the channel.
fn attach(count: u64) -> Duration {
    let name = format!("bench-attach-{}", std::process::id());
    let channel = sysring::mpsc().senders(4).create(&name).unwrap();
    let (tx, mut rx) = sysring::spsc().pair().unwrap();
    let child = Child::run(|| {
        let mut tx = tx;
        let channel = sysring::mpsc().open(&name).unwrap();
        let start = Instant::now();
        for _ in 0..count {
            drop(channel.sender().unwrap());
        }
        tx.send((start.elapsed().as_nanos() as u64).to_le_bytes()).unwrap();
    });
    let mut nanos = [0; 8];
    rx.recv_into(&mut nanos).unwrap();
    child.wait();
    channel.remove().unwrap();
    Duration::from_nanos(u64::from_le_bytes(nanos))
}

fn throughput(criterion: &mut Criterion) {
    let modes =
        [("one way", Mode::Single), ("one way, batches", Mode::Batch), ("one way, in place", Mode::InPlace)];
    for (name, mode) in modes {
        let mut group = criterion.benchmark_group(name);
        for size in [0, 8, 48, 64, 256, 1 << 10, 4 << 10, 64 << 10, 1 << 20] {
            group.throughput(Throughput::ElementsAndBytes { elements: 1, bytes: size as u64 });
            group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
                bencher.iter_custom(|count| one_way(count, size, mode));
            });
        }
        group.finish();
    }
}

fn latency(criterion: &mut Criterion) {
    let ways =
        [("round trip", sysring::spsc()), ("round trip, asleep", sysring::spsc().wait(WaitStrategy::Sleep))];
    for (name, builder) in ways {
        let mut group = criterion.benchmark_group(name);
        for size in [48, 64] {
            group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
                bencher.iter_custom(|count| round_trip(count, size, &builder));
            });
        }
        group.finish();
    }
}

fn merging(criterion: &mut Criterion) {
    for (name, order) in [("many senders, total order", Order::Total), ("many senders", Order::PerSender)] {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(1));
        for senders in [1, 2, 4, 8, 16] {
            group.bench_function(BenchmarkId::from_parameter(senders), |bencher| {
                bencher.iter_custom(|count| merged(count, senders, order));
            });
        }
        group.finish();
    }
}

fn attaching(criterion: &mut Criterion) {
    criterion.bench_function("attach and detach", |bencher| bencher.iter_custom(attach));
}

criterion_group! {
    name = channel;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(2));
    targets = throughput, latency, merging, attaching
}
criterion_main!(channel);
