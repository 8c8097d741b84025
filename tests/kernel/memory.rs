//! What tells processes apart, and what orders their memory: pidfd, `kill` with 0, madvise, membarrier.

use std::hint::black_box;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::compiler_fence;
use std::thread::yield_now;

use crate::calls::{self, SIZE, Segment, kill, membarrier, pidfd_open, wiped_page};
use crate::process::{End, fork, pause, until};
use crate::runner::{is_long, tests};

tests![
    pidfd_open_finds_the_living,
    a_pidfd_of_a_zombie_is_readable,
    pidfd_open_of_the_reaped_is_esrch,
    kill_0_calls_a_zombie_alive,
    a_wipeonfork_page_is_zero_in_the_child,
    a_dontfork_segment_is_not_in_the_child,
    membarrier_global_expedited_registers_and_works,
    membarrier_works_unregistered_and_registers_again,
    membarrier_orders_a_store_before_a_load_of_other_processes,
];

// Of <linux/membarrier.h>.
const QUERY: i32 = 0;
const GLOBAL_EXPEDITED: i32 = 1 << 1;
const REGISTER_GLOBAL_EXPEDITED: i32 = 1 << 2;

fn pidfd_open_finds_the_living() {
    let child = fork(|| pause(60_000));
    let file = pidfd_open(child.pid()).expect("it lives");
    assert!(!calls::is_readable(&file, 10));
    child.signal(libc::SIGKILL);
    assert!(calls::is_readable(&file, 20_000), "readable at its death");
    child.wait();
    assert!(calls::is_readable(&file, 0));
}

/// A process that has ended and was not waited for.
fn zombie() -> crate::process::Child {
    let child = fork(|| {});
    let file = pidfd_open(child.pid()).expect("a child that nobody waited for");
    until("it has ended", || calls::is_readable(&file, 0));
    child
}

fn a_pidfd_of_a_zombie_is_readable() {
    let zombie = zombie();
    let file = pidfd_open(zombie.pid()).expect("a zombie has a pid");
    assert!(calls::is_readable(&file, 0));
    zombie.join();
}

fn pidfd_open_of_the_reaped_is_esrch() {
    let child = fork(|| {});
    child.join();
    assert_eq!(pidfd_open(child.pid()).map(drop), Err(libc::ESRCH));
}

fn kill_0_calls_a_zombie_alive() {
    let zombie = zombie();
    assert_eq!(kill(zombie.pid(), 0), Ok(()));
    zombie.join();
    assert_eq!(kill(zombie.pid(), 0), Err(libc::ESRCH));
}

fn a_wipeonfork_page_is_zero_in_the_child() {
    let word = wiped_page().expect("MADV_WIPEONFORK");
    word.store(7, Relaxed);
    fork(|| {
        assert_eq!(word.load(Relaxed), 0);
        word.store(8, Relaxed);
        fork(|| assert_eq!(word.load(Relaxed), 0, "inherited by the page")).join();
        assert_eq!(word.load(Relaxed), 8);
    })
    .join();
    assert_eq!(word.load(Relaxed), 7);
}

fn a_dontfork_segment_is_not_in_the_child() {
    let segment = Segment::new(SIZE);
    let mapped = segment.attach();
    mapped.advise(libc::MADV_DONTFORK).expect("madvise");
    let child = fork(|| {
        calls::no_core();
        assert_eq!(segment.attached(), 1);
        mapped.word(0).store(1, Relaxed);
    });
    assert_eq!(child.wait(), End::Signal(libc::SIGSEGV));
    assert_eq!(mapped.word(0).load(Relaxed), 0);
}

fn membarrier_global_expedited_registers_and_works() {
    let commands = membarrier(QUERY).expect("MEMBARRIER_CMD_QUERY");
    assert_eq!(commands & GLOBAL_EXPEDITED, GLOBAL_EXPEDITED);
    assert_eq!(commands & REGISTER_GLOBAL_EXPEDITED, REGISTER_GLOBAL_EXPEDITED);
    assert_eq!(membarrier(REGISTER_GLOBAL_EXPEDITED), Ok(0));
    assert_eq!(membarrier(GLOBAL_EXPEDITED), Ok(0));
}

/// The caller of the barrier need not be registered, only those who rely on it.
fn membarrier_works_unregistered_and_registers_again() {
    assert_eq!(membarrier(GLOBAL_EXPEDITED), Ok(0), "without registration");
    for _ in 0..3 {
        assert_eq!(membarrier(REGISTER_GLOBAL_EXPEDITED), Ok(0));
    }
    fork(|| {
        assert_eq!(membarrier(REGISTER_GLOBAL_EXPEDITED), Ok(0));
        assert_eq!(membarrier(GLOBAL_EXPEDITED), Ok(0));
    })
    .join();
}

/// Two processes store, fence and look at the other's store: the registered one with a compiler fence only, the other
/// with membarrier. They must not both miss it.
fn membarrier_orders_a_store_before_a_load_of_other_processes() {
    let rounds = if is_long() { 1_000_000 } else { 20_000 };
    let segment = Segment::new(SIZE);
    let mapped = segment.attach();
    // Far apart, so that each is in a line of its own.
    let word = |which: usize| mapped.word(16 * which);
    let [x, y, x_saw, y_saw, x_done, y_done] = [0, 1, 2, 3, 4, 5].map(word);
    let other = fork(|| {
        assert_eq!(membarrier(REGISTER_GLOBAL_EXPEDITED), Ok(0));
        for round in 1..=rounds {
            while y_done.load(Acquire) != round - 1 {
                yield_now();
            }
            black_box(x).store(round, Relaxed);
            compiler_fence(SeqCst);
            x_saw.store(black_box(y).load(Relaxed), Relaxed);
            x_done.store(round, Release);
        }
    });
    for round in 1..=rounds {
        black_box(y).store(round, Relaxed);
        assert_eq!(membarrier(GLOBAL_EXPEDITED), Ok(0));
        y_saw.store(black_box(x).load(Relaxed), Relaxed);
        while x_done.load(Acquire) != round {
            yield_now();
        }
        assert!(
            x_saw.load(Relaxed) == round || y_saw.load(Relaxed) == round,
            "round {round}: both missed it"
        );
        y_done.store(round, Release);
    }
    other.join();
}
