//! Wills: what SEM_UNDO does at a death, when, and to whom.

use std::sync::atomic::Ordering;

use crate::calls::{self, Op, SIZE, Segment, Set, op, will};
use crate::process::{self, Child, End, Pipe, fork, pause, until};
use crate::runner::{is_long, tests};

tests![
    a_will_leaves_the_value_unchanged,
    exit_gives_one_unit,
    underscore_exit_gives_one_unit,
    abort_gives_one_unit,
    sigkill_gives_one_unit,
    a_signal_without_core_gives_one_unit,
    two_wills_give_two_units,
    the_notice_comes_before_the_corpse_is_reaped,
    the_mapping_is_gone_at_the_notice,
    no_thread_runs_any_more_at_the_notice,
    getpid_names_the_dead,
    the_seat_is_zero_when_the_bell_rings,
    one_death_wakes_32_sleepers_on_32_semaphores,
    one_notice_wakes_one_of_two_sleepers,
    a_death_wakes_all_who_wait_for_zero,
    a_stopped_process_is_not_dead,
    killed_while_stopped_is_noticed,
];

/// A process that has done `ops`, and does nothing more until it is killed.
pub(crate) fn testator(set: &Set, ops: &[Op]) -> Child {
    testator_that(set, ops, || {
        loop {
            pause(1000);
        }
    })
}

/// A process that has done `ops`, and then does `then`.
pub(crate) fn testator_that(set: &Set, ops: &[Op], then: impl FnOnce()) -> Child {
    let ready = Pipe::new();
    let child = fork(|| {
        set.op(ops).expect("leave a will");
        ready.put(0);
        then();
    });
    ready.get();
    child
}

fn rounds(count: u32) -> u32 {
    if is_long() { 10 * count } else { count }
}

fn a_will_leaves_the_value_unchanged() {
    let set = Set::new(1);
    for value in 0..3 {
        let dying = testator(&set, &will(0));
        assert_eq!(set.value(0), value);
        dying.kill();
        assert_eq!(set.value(0), value + 1);
    }
}

/// A process with a will ends by `end`; exactly one unit comes.
fn one_unit(expected: End, end: impl Fn()) {
    let set = Set::new(1);
    let go = Pipe::new();
    let dying = testator_that(&set, &will(0), || {
        calls::no_core();
        go.get();
        end();
    });
    assert_eq!(set.value(0), 0);
    go.put(0);
    set.take(0);
    assert_eq!(dying.wait(), expected);
    assert_eq!(set.value(0), 0, "one and no more");
}

fn exit_gives_one_unit() {
    one_unit(End::Exit(3), || calls::exit_cleanly(3));
}

fn underscore_exit_gives_one_unit() {
    one_unit(End::Exit(7), || process::exit(7));
}

fn abort_gives_one_unit() {
    one_unit(End::Signal(libc::SIGABRT), || std::process::abort());
}

fn sigkill_gives_one_unit() {
    one_unit(End::Signal(libc::SIGKILL), || process::kill_oneself());
}

fn a_signal_without_core_gives_one_unit() {
    one_unit(End::Signal(libc::SIGTERM), || {
        calls::kill(std::process::id() as i32, libc::SIGTERM).expect("kill");
    });
}

fn two_wills_give_two_units() {
    let set = Set::new(1);
    let dying = testator_that(&set, &will(0), || {
        set.op(&will(0)).expect("a second will");
        process::kill_oneself();
    });
    dying.wait();
    assert_eq!(set.value(0), 2);
}

fn the_notice_comes_before_the_corpse_is_reaped() {
    let set = Set::new(1);
    for _ in 0..rounds(30) {
        let dying = testator(&set, &will(0));
        dying.signal(libc::SIGKILL);
        set.take(0);
        // Nobody has waited for it, so it is still there, dying or a zombie.
        assert_eq!(calls::kill(dying.pid(), 0), Ok(()));
        assert_eq!(dying.wait(), End::Signal(libc::SIGKILL));
        assert_eq!(set.value(0), 0);
    }
}

fn the_mapping_is_gone_at_the_notice() {
    let (set, segment) = (Set::new(1), Segment::new(SIZE));
    let ours = segment.attach();
    for round in 0..rounds(30) {
        let dying = testator_that(&set, &will(0), || {
            loop {
                ours.word(0).fetch_add(1, Ordering::Relaxed);
            }
        });
        assert_eq!(segment.attached(), 2, "the child's inherited one, and ours");
        dying.signal(libc::SIGKILL);
        set.take(0);
        assert_eq!(segment.attached(), 1, "round {round}");
        dying.wait();
    }
}

fn no_thread_runs_any_more_at_the_notice() {
    let (set, segment) = (Set::new(1), Segment::new(SIZE));
    let ours = segment.attach();
    for round in 0..rounds(15) {
        let dying = testator_that(&set, &will(0), || {
            std::thread::scope(|scope| {
                for index in 0..4 {
                    let word = ours.word(index);
                    scope.spawn(move || {
                        loop {
                            word.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                }
            });
        });
        let words = || [0, 1, 2, 3].map(|index| ours.word(index).load(Ordering::Relaxed));
        let start = words();
        until("all threads write", || words().iter().zip(start).all(|(now, then)| *now != then));
        dying.signal(libc::SIGKILL);
        set.take(0);
        let last = words();
        assert_eq!(segment.attached(), 1, "round {round}");
        pause(2);
        assert_eq!(words(), last, "round {round}: written after the notice");
        dying.wait();
    }
}

fn getpid_names_the_dead() {
    let set = Set::new(2);
    let [first, second] = will(1);
    for _ in 0..3 {
        let dying = testator(&set, &[op(0, 0).no_wait(), op(0, 1).undo(), first, second]);
        assert_eq!([set.last_pid(0), set.last_pid(1)], [dying.pid(); 2], "the living too");
        set.op(&[op(1, 1)]).expect("semop");
        set.take(1);
        assert_eq!(set.last_pid(1), std::process::id() as i32);
        dying.kill();
        assert_eq!(set.values(), [0, 1]);
        assert_eq!([set.last_pid(0), set.last_pid(1)], [dying.pid(); 2]);
        set.take(1);
        assert_eq!(set.last_pid(1), std::process::id() as i32);
    }
}

fn the_seat_is_zero_when_the_bell_rings() {
    let set = Set::new(2);
    let [first, second] = will(1);
    for round in 0..rounds(100) {
        let dying = testator(&set, &[op(0, 0).no_wait(), op(0, 1).undo(), first, second]);
        assert_eq!(set.value(0), 1);
        dying.signal(libc::SIGKILL);
        set.take(1);
        assert_eq!((set.value(0), set.last_pid(0)), (0, dying.pid()), "round {round}");
        dying.wait();
    }
}

fn one_death_wakes_32_sleepers_on_32_semaphores() {
    let set = Set::new(32);
    let wills: Vec<Op> = (0..32).flat_map(will).collect();
    let dying = testator(&set, &wills);
    let sleepers: Vec<Child> = (0..32).map(|index| fork(|| set_take(&set, index))).collect();
    until("all sleep", || (0..32).all(|index| set.sleepers(index) == 1));
    dying.kill();
    sleepers.iter().for_each(Child::join);
    assert_eq!(set.values(), [0; 32]);
}

fn set_take(set: &Set, index: u16) {
    set.op(&[op(index, -1)]).expect("a unit");
}

fn one_notice_wakes_one_of_two_sleepers() {
    let set = Set::new(1);
    for _ in 0..10 {
        let dying = testator(&set, &will(0));
        let sleepers = [fork(|| set_take(&set, 0)), fork(|| set_take(&set, 0))];
        until("both sleep", || set.sleepers(0) == 2);
        dying.kill();
        assert_eq!((set.sleepers(0), set.value(0)), (1, 0), "granted to one");
        set.op(&[op(0, 1)]).expect("semop");
        sleepers.iter().for_each(Child::join);
    }
}

fn a_death_wakes_all_who_wait_for_zero() {
    let set = Set::new(1);
    let dying = testator(&set, &[op(0, 1).undo()]);
    let sleepers: Vec<Child> = (0..3).map(|_| fork(|| set.op(&[op(0, 0)]).expect("zero at last"))).collect();
    pause(10);
    dying.kill();
    sleepers.iter().for_each(Child::join);
}

fn a_stopped_process_is_not_dead() {
    let set = Set::new(1);
    let stopped = testator(&set, &will(0));
    stopped.signal(libc::SIGSTOP);
    calls::wait_for(stopped.pid(), libc::WUNTRACED).expect("it stops");
    let limit = std::time::Duration::from_millis(50);
    assert_eq!(set.op_within(&[op(0, -1)], limit), Err(libc::EAGAIN));
    stopped.signal(libc::SIGCONT);
    assert_eq!(set.op_within(&[op(0, -1)], limit), Err(libc::EAGAIN));
    stopped.kill();
    assert_eq!(set.value(0), 1);
}

fn killed_while_stopped_is_noticed() {
    let set = Set::new(1);
    let stopped = testator(&set, &will(0));
    stopped.signal(libc::SIGSTOP);
    calls::wait_for(stopped.pid(), libc::WUNTRACED).expect("it stops");
    stopped.signal(libc::SIGKILL);
    set.take(0);
    assert_eq!(stopped.wait(), End::Signal(libc::SIGKILL));
    assert_eq!(set.value(0), 0);
}
