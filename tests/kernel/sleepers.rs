//! Sleeping in `semop`: what ends it, and where the units go.

use std::time::{Duration, Instant};

use crate::calls::{self, Set, op};
use crate::process::{Child, End, Pipe, fork, pause, until};
use crate::runner::tests;

tests![
    getncnt_counts_the_sleepers,
    a_time_limit_ends_in_eagain_and_not_early,
    a_signal_ends_in_eintr,
    a_signal_ends_in_eintr_even_with_sa_restart,
    stop_and_continue_end_in_eintr_without_a_handler,
    removal_wakes_sleepers_with_eidrm,
    removal_answers_later_calls_with_einval,
    a_unit_posted_to_a_stopped_sleeper_stays,
    a_granted_unit_dies_with_the_killed_sleeper,
    a_sleepers_own_undo_gives_the_granted_unit_back,
    a_killed_sleeper_takes_no_later_unit,
];

/// A process that sleeps until semaphore 0 grows, and then ends by what `semop` said.
fn sleeper(set: &Set, expected: Result<(), i32>) -> Child {
    sleeper_that(set, expected, || {})
}

fn sleeper_that(set: &Set, expected: Result<(), i32>, before: impl FnOnce()) -> Child {
    let asleep = set.sleepers(0);
    let child = fork(|| {
        before();
        assert_eq!(set.op(&[op(0, -1)]), expected);
    });
    until("it sleeps", || set.sleepers(0) == asleep + 1);
    child
}

fn getncnt_counts_the_sleepers() {
    let set = Set::new(1);
    let sleepers: Vec<Child> = (0..3).map(|_| sleeper(&set, Ok(()))).collect();
    assert_eq!(set.sleepers(0), 3);
    set.op(&[op(0, 1)]).expect("semop");
    assert_eq!((set.sleepers(0), set.value(0)), (2, 0), "granted before it runs");
    set.op(&[op(0, 2)]).expect("semop");
    assert_eq!((set.sleepers(0), set.value(0)), (0, 0));
    sleepers.iter().for_each(Child::join);
}

fn a_time_limit_ends_in_eagain_and_not_early() {
    let set = Set::new(1);
    for milliseconds in [0, 1, 20, 60] {
        let (limit, started) = (Duration::from_millis(milliseconds), Instant::now());
        assert_eq!(set.op_within(&[op(0, -1)], limit), Err(libc::EAGAIN));
        assert!(started.elapsed() >= limit);
    }
    set.op(&[op(0, 1)]).expect("semop");
    assert_eq!(set.op_within(&[op(0, -1)], Duration::ZERO), Ok(()), "what is there needs no time");
}

fn a_signal_ends_in_eintr() {
    let set = Set::new(1);
    let child = sleeper_that(&set, Err(libc::EINTR), || calls::catch(libc::SIGUSR1, 0));
    child.signal(libc::SIGUSR1);
    child.join();
}

fn a_signal_ends_in_eintr_even_with_sa_restart() {
    let set = Set::new(1);
    let child = sleeper_that(&set, Err(libc::EINTR), || calls::catch(libc::SIGUSR1, libc::SA_RESTART));
    child.signal(libc::SIGUSR1);
    child.join();
}

/// Waits until a process has stopped.
fn stop(child: &Child) {
    child.signal(libc::SIGSTOP);
    let status = calls::wait_for(child.pid(), libc::WUNTRACED).expect("a child of ours");
    assert!(libc::WIFSTOPPED(status));
}

fn stop_and_continue_end_in_eintr_without_a_handler() {
    let set = Set::new(1);
    let child = sleeper(&set, Err(libc::EINTR));
    stop(&child);
    child.signal(libc::SIGCONT);
    child.join();
}

fn removal_wakes_sleepers_with_eidrm() {
    let set = Set::new(1);
    let sleepers: Vec<Child> = (0..3).map(|_| sleeper(&set, Err(libc::EIDRM))).collect();
    set.remove().expect("IPC_RMID");
    sleepers.iter().for_each(Child::join);
}

fn removal_answers_later_calls_with_einval() {
    let set = Set::new(1);
    set.remove().expect("IPC_RMID");
    assert_eq!(set.op(&[op(0, 1)]), Err(libc::EINVAL));
    assert_eq!(set.op_within(&[op(0, -1)], Duration::from_secs(5)), Err(libc::EINVAL));
    assert!(matches!(set.stat(), Err(libc::EINVAL)));
    assert_eq!(set.remove(), Err(libc::EINVAL));
}

fn a_unit_posted_to_a_stopped_sleeper_stays() {
    let set = Set::new(1);
    let child = sleeper(&set, Err(libc::EINTR));
    stop(&child);
    assert_eq!(set.sleepers(0), 0, "it has left the queue");
    set.op(&[op(0, 1)]).expect("semop");
    assert_eq!(set.value(0), 1);
    child.signal(libc::SIGCONT);
    child.join();
    assert_eq!(set.value(0), 1);
    // Killed there it takes none with it either.
    set.take(0);
    let child = sleeper(&set, Err(libc::EINTR));
    stop(&child);
    set.op(&[op(0, 1)]).expect("semop");
    child.kill();
    assert_eq!(set.value(0), 1);
}

/// Why a bell has one sleeper.
fn a_granted_unit_dies_with_the_killed_sleeper() {
    let set = Set::new(1);
    for _ in 0..30 {
        let child = sleeper(&set, Ok(()));
        set.op(&[op(0, 1)]).expect("semop");
        child.signal(libc::SIGKILL);
        // It may have been quicker; in both cases the unit is gone.
        let end = child.wait();
        assert!(matches!(end, End::Exit(0) | End::Signal(libc::SIGKILL)), "{end:?}");
        assert_eq!(set.value(0), 0);
    }
}

fn a_sleepers_own_undo_gives_the_granted_unit_back() {
    let set = Set::new(1);
    for _ in 0..30 {
        let child = fork(|| set.op(&[op(0, -1).undo()]).expect("a unit"));
        until("it sleeps", || set.sleepers(0) == 1);
        set.op(&[op(0, 1)]).expect("semop");
        child.signal(libc::SIGKILL);
        child.wait();
        set.take(0);
    }
    assert_eq!(set.value(0), 0);
}

fn a_killed_sleeper_takes_no_later_unit() {
    let set = Set::new(1);
    let pipe = Pipe::new();
    for _ in 0..10 {
        let killed = sleeper(&set, Ok(()));
        killed.kill();
        assert_eq!(set.sleepers(0), 0);
        set.op(&[op(0, 1)]).expect("semop");
        assert_eq!(set.value(0), 1);
        let next = fork(|| {
            set.op(&[op(0, -1)]).expect("the unit");
            pipe.put(0);
        });
        pipe.get();
        next.join();
    }
    pause(1);
    assert_eq!(set.value(0), 0);
}
