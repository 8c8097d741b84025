//! Throughput and round trip between two processes, by message size. Every message's number and last byte are
//! checked.
//!
//! `cargo bench`; as a test: `cargo test --benches`.

#![allow(unsafe_code)] // fork and waitpid

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sysring::{Receiver, Sender};

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

fn stamp(message: &mut [u8], number: u64) {
    let last = message.len() - 1;
    message[last] = number as u8;
    message[..8].copy_from_slice(&number.to_le_bytes());
}

fn check(message: &[u8], number: u64) {
    assert_eq!(message[..8], number.to_le_bytes(), "out of order, lost or torn");
    assert!(message.len() == 8 || message[message.len() - 1] == message[0], "torn");
}

fn send_all(tx: &mut Sender, size: usize, count: u64) {
    let mut message = vec![0; size];
    for number in 0..count {
        stamp(&mut message, number);
        tx.send(&message[..]).unwrap();
    }
}

fn receive_all(rx: &mut Receiver, size: usize, count: u64) {
    let mut message = vec![0; size];
    for number in 0..count {
        assert_eq!(rx.recv_into(&mut message).unwrap(), size);
        check(&message, number);
    }
}

fn one_way(count: u64, size: usize) -> Duration {
    let (mut tx, mut rx) = sysring::spsc().max_message(size as u64).pair().unwrap();
    rx.attach().unwrap();
    let child = Child::run(|| send_all(&mut tx, size, count));
    let start = Instant::now();
    receive_all(&mut rx, size, count);
    let elapsed = start.elapsed();
    child.wait();
    elapsed
}

fn round_trip(count: u64, size: usize) -> Duration {
    let (mut ping, mut served) = sysring::spsc().pair().unwrap();
    let (mut answer, mut pong) = sysring::spsc().pair().unwrap();
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

fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one way");
    for size in [8, 48, 64, 256, 1024, 4096, 65536] {
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter_custom(|count| one_way(count, size));
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("round trip");
    for size in [48, 64] {
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter_custom(|count| round_trip(count, size));
        });
    }
    group.finish();
}

criterion_group! {
    name = channel;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(3));
    targets = benches
}
criterion_main!(channel);
