//! What becomes of handles when their process does more than fork: exec, vfork, threads, another IPC namespace;
//! and every way that a process with handles can end.
#![allow(unsafe_code, reason = "clone and unshare, each wrapped once")]

use std::ffi::{c_int, c_void};
use std::io::{self, PipeReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use sysring::{Fault, OpenErrorKind, Receiver, RecvError, SendError, Sender, TryRecvError, mpsc, spsc};

use crate::message::{Checker, Plan, RecvForm, SendForm, Sizes, receive_all, send_all};
use crate::process::{
    Child, End, Name, Pipe, exit, fork, is_root, kill_oneself, own_ipc_namespace, pause, remove_set, until,
};
use crate::runner::{is_long, tests};
use crate::wait::{PROMPT, fill};

tests![
    exec_of_a_sender_keeps_the_seat_until_the_new_program_ends,
    exec_of_a_receiver_keeps_the_seat_until_the_new_program_ends,
    a_program_started_by_a_sender_and_receiver_disturbs_nobody,
    a_program_outlives_its_parent_and_holds_no_seat,
    vfork_child_outlives_its_parent_and_holds_no_seat,
    handles_move_between_threads,
    the_attaching_thread_ends_and_the_seat_stays,
    four_senders_in_four_threads_and_the_receiver_in_the_main_one,
    handles_of_one_process_are_told_apart,
    a_thread_that_panics_leaves_its_seat_only,
    unshared_sender_is_gone_for_the_others_at_once,
    unshared_sender_is_told_when_it_waits,
    unshared_receiver_is_told_when_it_waits,
    a_sender_without_its_undo_list_is_told_when_it_waits,
    unshared_process_does_not_remove_the_channel,
    unshared_handles_dropped_late_do_not_disturb_their_successor,
    unshared_handles_do_not_touch_an_anonymous_channel_of_the_new_namespace,
    unshared_handles_do_not_touch_a_named_channel_of_the_new_namespace,
    dropping_unshared_handles_does_not_touch_the_new_namespace,
    a_removal_seen_from_a_new_namespace_removes_nothing_there,
    a_thread_that_unshares_is_told_and_the_others_go_on,
    an_inherited_spsc_seat_goes_to_one_process,
    killed_with_several_seats_wakes_both_peers,
    aborted_with_handles,
    exited_without_destructors,
    panicked_with_handles,
    a_sender_without_proc_leaves_all_the_same,
    a_leaver_rings_no_strangers_set,
    ids_of_another_namespace_are_not_used,
    a_dead_container_gives_its_seat_back,
];

/// Argument that makes this program another one.
const ANOTHER: &str = "as-another-program";

pub(crate) fn is_another_program() -> bool {
    std::env::args().nth(1).as_deref() == Some(ANOTHER)
}

/// Another program: does nothing until its input ends.
pub(crate) fn be_another_program() {
    let _ = io::stdin().read_to_end(&mut Vec::new());
}

fn another_program(input: PipeReader) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program's file"));
    command.arg(ANOTHER).stdin(Stdio::from(input));
    command
}

/// Enters another IPC namespace.
fn unshare_ipc() {
    // SAFETY: changes what this process shares with others, none of its memory.
    let unshared = unsafe { libc::unshare(libc::CLONE_NEWIPC) };
    assert_eq!(unshared, 0, "{}", io::Error::last_os_error());
}

/// Runs `body` in a child as `vfork` does: it shares the memory, and this process waits until it ends. The body
/// keeps to system calls.
fn vfork(body: impl Fn()) {
    extern "C" fn run<F: Fn()>(body: *mut c_void) -> c_int {
        // SAFETY: arms a timer of the child: it may outlive everybody who could end it.
        unsafe { libc::alarm(30) };
        // SAFETY: the body lies in the frame of `vfork`, which waits; and if that process is killed meanwhile,
        // its memory stays as long as the child has it.
        let body = unsafe { &*body.cast::<F>() };
        body();
        exit(0)
    }
    fn child<F: Fn()>(body: &F, stack: &mut [u128]) -> i32 {
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        let top = stack.as_mut_ptr_range().end.cast();
        // SAFETY: a stack of its own, and a function that does not return; both stay, see above.
        unsafe { libc::clone(run::<F>, top, flags, (&raw const *body).cast_mut().cast()) }
    }
    let pid = child(&body, &mut vec![0; 16 * 1024]);
    assert!(pid > 0, "{}", io::Error::last_os_error());
}

/// Death by a signal writes no core file.
fn no_core() {
    // SAFETY: an attribute of this process, no memory.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) };
}

fn forever() -> ! {
    loop {
        pause(1000);
    }
}

/// Whether this is root, who may enter namespaces; says so if not.
fn can_unshare() -> bool {
    if !is_root() {
        println!("skipped: needs root");
    }
    is_root()
}

/// The receiver goes to sleep, then `end` happens in another process: it must be told at once.
fn told_at_once(what: &str, receiver: &mut Receiver, end: impl FnOnce()) {
    let other = fork(|| {
        pause(30);
        end();
    });
    let started = Instant::now();
    let outcome = receiver.recv().map(|message| message.to_vec());
    let took = started.elapsed();
    assert!(matches!(outcome, Err(RecvError::Disconnected)), "{what}: {outcome:?}");
    assert!(took < PROMPT, "{what}: {took:?}");
    other.join();
}

/// The same for a sender with a full lane, of a channel that is not persistent.
fn sender_told_at_once(what: &str, sender: &mut Sender, length: usize, end: impl FnOnce()) {
    let other = fork(|| {
        pause(30);
        end();
    });
    let started = Instant::now();
    let error = sender.send(vec![0; length]).expect_err("nobody makes room");
    let took = started.elapsed();
    assert!(error.is_disconnected(), "{what}: {error}");
    assert!(took < PROMPT, "{what}: {took:?}");
    other.join();
}

const SHORT: Duration = Duration::from_millis(50);

const PLAN: Plan = Plan { sizes: Sizes::Mixed(1000), count: 300 };

/// The pid that an error names as the holder of a seat.
fn holder(error: &sysring::OpenError) -> Option<i32> {
    let OpenErrorKind::SeatTaken { pid } = error.kind() else { panic!("{error}") };
    pid
}

/// Forks a process that does `before` and then becomes another program.
fn became_another(before: impl FnOnce()) -> Child {
    // Whoever has both ends of its input ends with the test.
    let (input, keep) = io::pipe().expect("a pipe");
    let pipe = Pipe::new();
    let child = fork(|| {
        before();
        panic!("exec: {}", another_program(input).exec());
    });
    std::mem::forget(keep);
    assert_eq!(pipe.rest().count(), 0); // its end is closed by `exec`
    child
}

fn exec_of_a_sender_keeps_the_seat_until_the_new_program_ends() {
    for builder in [spsc(), mpsc().senders(1)] {
        let name = Name::new();
        let channel = builder.create(&name).expect("create");
        let mut receiver = channel.receiver().expect("a seat");
        let child = became_another(|| {
            let sender = channel.sender().expect("a seat");
            let mut sender = std::mem::ManuallyDrop::new(sender);
            (0..100_u32).for_each(|number| sender.send(number.to_le_bytes()).expect("send"));
            let mut slot = sender.reserve(8).expect("room");
            slot.write_all(b"not sent").expect("it fits");
        });
        // What was sent is whole, and nobody is told anything.
        for number in 0..100_u32 {
            assert_eq!(receiver.recv_vec().expect("a message"), number.to_le_bytes());
        }
        assert!(receiver.recv_timeout(SHORT).is_err_and(|error| error.is_timeout()));
        assert!(receiver.is_connected());
        assert_eq!(channel.stats().expect("stats").lanes[0].seat.pid, Some(child.pid()));
        assert_eq!(holder(&channel.sender().expect_err("the seat is taken")), Some(child.pid()));
        told_at_once("end of the new program", &mut receiver, || child.signal(libc::SIGKILL));
        child.wait();
        let mut sender = channel.sender().expect("the seat is free");
        sender.send("next").expect("send");
        assert_eq!(receiver.recv_vec().expect("a message"), b"next");
    }
}

fn exec_of_a_receiver_keeps_the_seat_until_the_new_program_ends() {
    for builder in [spsc(), mpsc()] {
        let name = Name::new();
        let channel = builder.capacity(4096).persistent(false).create(&name).expect("create");
        let mut sender = channel.sender().expect("a seat");
        let count = fill(&mut sender, 200);
        let child = became_another(|| {
            let mut receiver = std::mem::ManuallyDrop::new(channel.receiver().expect("a seat"));
            drop(receiver.recv().expect("a message"));
            drop(receiver.recv().expect("a message"));
            std::mem::forget(receiver.recv().expect("a message"));
        });
        let more = fill(&mut sender, 200);
        assert!(more > 0, "two were released");
        assert!(sender.send_timeout([0; 200], SHORT).is_err_and(|error| error.is_timeout()));
        assert!(sender.is_connected());
        assert_eq!(holder(&channel.receiver().expect_err("the seat is taken")), Some(child.pid()));
        sender_told_at_once("end of the new program", &mut sender, 200, || child.signal(libc::SIGKILL));
        child.wait();
        let mut receiver = channel.receiver().expect("the seat is free");
        let message = receiver.recv().expect("the third");
        assert_eq!((message.to_vec(), message.redelivered()), (vec![2; 200], true));
        drop(message);
        assert_eq!(receiver.try_iter().count() as u64, count - 3 + more);
    }
}

/// The two ways of the standard library: by `posix_spawn`, and by fork and exec if more is asked for.
fn ways_to_start(input: impl Fn() -> PipeReader) -> [Command; 2] {
    let mut forked = another_program(input());
    forked.current_dir("/");
    // SAFETY: takes nothing and cannot fail.
    forked.uid(unsafe { libc::geteuid() });
    [another_program(input()), forked]
}

fn a_program_started_by_a_sender_and_receiver_disturbs_nobody() {
    let (input, keep) = io::pipe().expect("a pipe");
    let (mut sender, mut receiver) = mpsc().senders(2).pair().expect("a pair");
    let mut number = 0_u32;
    let mut exchange = || {
        number += 1;
        sender.send(number.to_le_bytes()).expect("send");
        assert_eq!(receiver.recv_vec().expect("a message"), number.to_le_bytes());
        assert!(receiver.try_recv().is_err_and(|error| error.is_empty()));
        assert!(receiver.recv_timeout(Duration::from_millis(2)).is_err_and(|error| error.is_timeout()));
        assert!(sender.is_connected() && receiver.is_connected());
        let stats = sender.stats().expect("stats");
        let us = Some(std::process::id() as i32);
        assert_eq!((stats.receiver.pid, stats.lanes[0].seat.pid), (us, us));
        assert_eq!(stats.lanes.iter().filter(|lane| lane.seat.taken).count(), 1);
    };
    exchange();
    let mut programs = Vec::new();
    for mut command in ways_to_start(|| input.try_clone().expect("a second descriptor")) {
        programs.push(command.spawn().expect("start"));
        (0..10).for_each(|_| exchange());
    }
    drop(keep);
    for mut program in programs {
        assert!(program.wait().expect("a child of ours").success());
        (0..10).for_each(|_| exchange());
    }
}

#[expect(clippy::zombie_processes, reason = "its parent is killed while it runs")]
fn a_program_outlives_its_parent_and_holds_no_seat() {
    for way in 0..2 {
        let (input, keep) = io::pipe().expect("a pipe");
        let name = Name::new();
        let channel = spsc().create(&name).expect("create");
        let mut receiver = channel.receiver().expect("a seat");
        let ready = Pipe::new();
        let child = fork(|| {
            let mut sender = channel.sender().expect("a seat");
            let mut commands = ways_to_start(|| input.try_clone().expect("a second descriptor"));
            let program = commands[way].spawn().expect("start");
            sender.send("started").expect("send");
            ready.put(program.id().into());
            forever();
        });
        let program = ready.get();
        assert_eq!(receiver.recv_vec().expect("a message"), b"started");
        told_at_once("death of the parent", &mut receiver, || child.signal(libc::SIGKILL));
        child.wait();
        let state = std::fs::read_to_string(format!("/proc/{program}/stat")).expect("it runs still");
        assert!(!state.contains(") Z "), "{state}");
        channel.sender().expect("the seat is free");
        drop(keep); // ends the program
    }
}

fn vfork_child_outlives_its_parent_and_holds_no_seat() {
    for builder in [spsc(), mpsc()] {
        let name = Name::new();
        let channel = builder.create(&name).expect("create");
        let mut receiver = channel.receiver().expect("a seat");
        let (runs, end, answer) = (Pipe::new(), Pipe::new(), Pipe::new());
        let child = fork(|| {
            let mut sender = channel.sender().expect("a seat");
            sender.send("before").expect("send");
            vfork(|| {
                runs.put(0);
                end.get();
                answer.put(7);
            });
        });
        runs.get();
        assert_eq!(receiver.recv_vec().expect("a message"), b"before");
        assert!(receiver.recv_timeout(SHORT).is_err_and(|error| error.is_timeout()));
        told_at_once("death of the parent", &mut receiver, || child.signal(libc::SIGKILL));
        assert_eq!(child.wait(), End::Signal(libc::SIGKILL));
        let mut sender = channel.sender().expect("the seat is free");
        sender.send("next").expect("send");
        assert_eq!(receiver.recv_vec().expect("a message"), b"next");
        // The child has lived all the time, and its end changes nothing.
        end.put(0);
        assert_eq!(answer.get(), 7);
        pause(5);
        assert!(sender.is_connected() && receiver.is_connected());
        assert!(receiver.recv_timeout(SHORT).is_err_and(|error| error.is_timeout()));
    }
}

fn handles_move_between_threads() {
    for builder in [spsc(), mpsc()] {
        let (mut sender, mut receiver) = builder.capacity(4096).pair().expect("a pair");
        for turn in 0..10_u8 {
            // Each time both are in threads of their own, and come back.
            let sending = thread::spawn(move || {
                (0..200_u8).for_each(|number| sender.send([turn, number]).expect("send"));
                sender
            });
            let receiving = thread::spawn(move || {
                for number in 0..200_u8 {
                    assert_eq!(receiver.recv_vec().expect("a message"), [turn, number]);
                }
                receiver
            });
            sender = sending.join().expect("it sends");
            receiver = receiving.join().expect("it receives");
        }
        assert_eq!(sender.lane(), Some(0), "one seat all the time");
    }
}

fn the_attaching_thread_ends_and_the_seat_stays() {
    for builder in [spsc(), mpsc().senders(1)] {
        let name = Name::new();
        let channel = builder.create(&name).expect("create");
        let mut receiver = channel.receiver().expect("a seat");
        let (done, go) = (Pipe::new(), Pipe::new());
        let child = fork(|| {
            let attaching = thread::scope(|scope| {
                let attaching = scope.spawn(|| {
                    let mut sender = channel.sender().expect("a seat");
                    sender.send("from the thread").expect("send");
                    sender
                });
                attaching.join()
            });
            let mut sender = attaching.expect("it sends");
            until("the thread has ended", || {
                std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
            });
            done.put(0);
            go.get();
            sender.send("from the main thread").expect("send");
            forever();
        });
        done.get();
        assert_eq!(receiver.recv_vec().expect("a message"), b"from the thread");
        assert!(receiver.recv_timeout(SHORT).is_err_and(|error| error.is_timeout()));
        assert!(receiver.is_connected());
        assert_eq!(holder(&channel.sender().expect_err("the seat is taken")), Some(child.pid()));
        go.put(0);
        assert_eq!(receiver.recv_vec().expect("a message"), b"from the main thread");
        told_at_once("end of the process", &mut receiver, || child.signal(libc::SIGKILL));
        child.wait();
        channel.sender().expect("the seat is free");
    }
}

fn four_senders_in_four_threads_and_the_receiver_in_the_main_one() {
    let plan = Plan { count: if is_long() { 20_000 } else { 1000 }, ..PLAN };
    let (sender, mut receiver) = mpsc().senders(4).capacity(8192).pair().expect("a pair");
    receiver.attach().expect("a seat");
    let mut senders = vec![sender];
    senders[0].attach().expect("a seat");
    for _ in 1..4 {
        senders.push(senders[0].try_clone().expect("a seat"));
    }
    let lanes: Vec<_> = senders.iter().map(|sender| sender.lane().expect("seated")).collect();
    assert_eq!(lanes, [0, 1, 2, 3]);
    assert_eq!(
        holder(&senders[0].try_clone().expect_err("all seats are taken")),
        Some(std::process::id() as i32)
    );
    let mut checker = Checker::new(4, plan);
    let mut receiver = thread::scope(|scope| {
        for (who, sender) in senders.into_iter().enumerate() {
            scope.spawn(move || send_all(sender, who as u32, plan, SendForm::Mixed));
        }
        receive_all(receiver, &mut checker, RecvForm::Mixed)
    });
    checker.finish();
    assert!(matches!(receiver.recv(), Err(RecvError::Disconnected)));
}

fn handles_of_one_process_are_told_apart() {
    let us = Some(std::process::id() as i32);
    let name = Name::new();
    let channel = spsc().create(&name).expect("create");
    let (sender, receiver) = (channel.sender().expect("a seat"), channel.receiver().expect("a seat"));
    thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(holder(&channel.sender().expect_err("there is one")), us);
            assert_eq!(holder(&channel.receiver().expect_err("there is one")), us);
        });
    });
    // The refused ones have left nothing behind and taken nothing away.
    assert!(channel.sender().is_err() && channel.receiver().is_err());
    drop(sender);
    let mut sender = channel.sender().expect("the seat is free");
    assert!(channel.receiver().is_err(), "that one is not");
    drop(receiver);
    let mut receiver = channel.receiver().expect("the seat is free");
    sender.send("x").expect("send");
    assert_eq!(receiver.recv_vec().expect("a message"), b"x");
    // One of several senders goes: the others keep theirs.
    let (mut sender, mut receiver) = mpsc().senders(2).pair().expect("a pair");
    sender.attach().expect("a seat");
    drop(sender.try_clone().expect("a seat"));
    let mut other = sender.try_clone().expect("the seat is free again");
    drop(sender);
    assert!(receiver.try_recv().is_err_and(|error| error.is_empty()), "one is left");
    other.send("y").expect("send");
    assert_eq!(receiver.recv_vec().expect("a message"), b"y");
}

fn a_thread_that_panics_leaves_its_seat_only() {
    let (mut sender, mut receiver) = mpsc().senders(2).pair().expect("a pair");
    sender.send("mine").expect("send");
    let mut other = sender.try_clone().expect("a seat");
    let ended = thread::spawn(move || {
        other.send("before").expect("send");
        let mut slot = other.reserve(8).expect("room");
        slot.write(b"half").expect("it fits");
        std::panic::resume_unwind(Box::new("a panic without its message"));
    });
    assert!(ended.join().is_err());
    assert_eq!(receiver.recv_vec().expect("a message"), b"mine");
    assert_eq!(receiver.recv_vec().expect("a message"), b"before");
    assert!(receiver.try_recv().is_err_and(|error| error.is_empty()), "the slot was aborted");
    assert_eq!(receiver.stats().expect("stats").lanes[1].seat.pid, None, "the seat is free");
    sender.send("still here").expect("send");
    assert_eq!(receiver.recv_vec().expect("a message"), b"still here");
}

/// Whether a sender was told that its channel is out of reach.
///
/// The name of the fault may become one of its own: it must be typed as removed or speak of it.
fn is_told<T>(error: &SendError<T>) -> bool {
    matches!(error.fault(), Fault::Removed) || out_of_reach(&error.fault().to_string())
}

fn receiver_is_told(error: &RecvError) -> bool {
    matches!(error, RecvError::Removed) || out_of_reach(&error.to_string())
}

fn out_of_reach(text: &str) -> bool {
    ["evicted", "namespace", "lost its seat", "removed"].iter().any(|word| text.contains(word))
}

fn unshared_sender_is_gone_for_the_others_at_once() {
    if !can_unshare() {
        return;
    }
    for builder in [spsc(), mpsc().senders(1)] {
        let name = Name::new();
        let channel = builder.create(&name).expect("create");
        let mut receiver = channel.receiver().expect("a seat");
        let (go, ready) = (Pipe::new(), Pipe::new());
        let child = fork(|| {
            let mut sender = channel.sender().expect("a seat");
            (0..100_u32).for_each(|number| sender.send(number.to_le_bytes()).expect("send"));
            ready.put(0);
            go.get();
            unshare_ipc();
            forever();
        });
        ready.get();
        for number in 0..100_u32 {
            assert_eq!(receiver.recv_vec().expect("a message"), number.to_le_bytes());
        }
        assert!(receiver.recv_timeout(SHORT).is_err_and(|error| error.is_timeout()));
        told_at_once("unshare", &mut receiver, || go.put(0));
        assert_eq!(child.try_wait(), None, "it lives");
        // Another takes its seat and its lane.
        let mut sender = channel.sender().expect("the seat is free");
        assert_eq!(sender.lane(), Some(0));
        sender.send("next").expect("send");
        assert_eq!(receiver.recv_vec().expect("a message"), b"next");
        child.kill();
        assert!(receiver.recv_timeout(SHORT).is_err_and(|error| error.is_timeout()), "no second notice");
    }
}

/// What is sent with room left may still arrive; what waits must be told, and the channel goes on without it.
fn unshared_sender_is_told_when_it_waits() {
    if !can_unshare() {
        return;
    }
    for builder in [spsc(), mpsc().senders(1)] {
        let name = Name::new();
        let channel = builder.capacity(4096).create(&name).expect("create");
        let report = Pipe::new();
        let child = fork(|| {
            let mut sender = channel.sender().expect("a seat");
            (0..5_u8).for_each(|number| sender.send([number; 200]).expect("send"));
            unshare_ipc();
            let mut sent = 5;
            let error = loop {
                match sender.send([sent; 200]) {
                    Ok(()) => sent += 1,
                    Err(error) => break error,
                }
                assert!(sent < 100, "more than fit");
            };
            assert!(is_told(&error), "{error}");
            let again = sender.send([sent; 200]).expect_err("out of reach for good");
            assert!(is_told(&again), "{again}");
            assert!(!sender.is_connected());
            report.put(sent.into());
        });
        let sent = report.get();
        child.join();
        let mut receiver = channel.receiver().expect("a seat");
        for number in 0..sent {
            assert_eq!(receiver.recv_vec().expect("what Ok was said to"), [number as u8; 200]);
        }
        assert!(receiver.try_recv().is_err());
        let mut sender = channel.sender().expect("the seat is free");
        sender.send("next").expect("send");
        assert_eq!(receiver.recv_vec().expect("a message"), b"next");
    }
}

fn unshared_receiver_is_told_when_it_waits() {
    if !can_unshare() {
        return;
    }
    for builder in [spsc(), mpsc()] {
        let name = Name::new();
        let channel = builder.capacity(4096).persistent(false).create(&name).expect("create");
        let mut sender = channel.sender().expect("a seat");
        sender.send("one").expect("send");
        let (go, report, end) = (Pipe::new(), Pipe::new(), Pipe::new());
        let child = fork(|| {
            let mut receiver = channel.receiver().expect("a seat");
            assert_eq!(receiver.recv_vec().expect("a message"), b"one");
            report.put(0);
            go.get();
            unshare_ipc();
            for _ in 0..2 {
                let error = receiver.recv().map(drop).expect_err("out of reach");
                assert!(receiver_is_told(&error), "{error}");
            }
            let error = receiver.recv_timeout(Duration::from_secs(5)).map(drop).expect_err("out of reach");
            assert!(!error.is_timeout(), "{error}");
            assert!(!receiver.is_connected());
            report.put(1);
            end.get();
        });
        report.get();
        go.put(0);
        assert_eq!(report.get(), 1);
        assert_eq!(child.try_wait(), None, "it lives");
        // To the others it is gone, and the next one goes on.
        assert!(!sender.is_connected());
        fill(&mut sender, 100);
        assert!(sender.send([0; 100]).expect_err("nobody makes room").is_disconnected());
        let mut receiver = channel.receiver().expect("the seat is free");
        assert_eq!(receiver.recv_vec().expect("a message"), [0; 100]);
        end.put(0);
        child.join();
    }
}

/// `unshare(CLONE_SYSVSEM)` fires the will too, needs no root, and leaves all ids as good as before.
fn a_sender_without_its_undo_list_is_told_when_it_waits() {
    for builder in [spsc(), mpsc().senders(1)] {
        let name = Name::new();
        let channel = builder.capacity(4096).create(&name).expect("create");
        let (left, taken, told) = (Pipe::new(), Pipe::new(), Pipe::new());
        let child = fork(|| {
            let mut sender = channel.sender().expect("a seat");
            let count = fill(&mut sender, 200);
            // SAFETY: changes what this process shares with others, none of its memory.
            let unshared = unsafe { libc::unshare(libc::CLONE_SYSVSEM) };
            assert_eq!(unshared, 0, "{}", io::Error::last_os_error());
            left.put(count);
            taken.get();
            let error =
                sender.send_timeout([0; 200], Duration::from_secs(3)).expect_err("the lane is another's");
            let is_told = out_of_reach(&error.to_string());
            drop(sender); // the seat is not its own any more
            told.put(is_told.into());
        });
        let count = left.get();
        let mut sender = channel.sender().expect("the seat is free");
        assert_eq!(sender.lane(), Some(0));
        taken.put(0);
        let is_told = told.get() == 1;
        child.join();
        assert_eq!(holder(&channel.sender().expect_err("the seat is ours")), Some(std::process::id() as i32));
        let mut receiver = channel.receiver().expect("a seat");
        for number in 0..count {
            assert_eq!(receiver.recv_vec().expect("what Ok was said to"), [number as u8; 200]);
        }
        sender.send("next").expect("send");
        assert_eq!(receiver.recv_vec().expect("a message"), b"next");
        assert!(receiver.recv_timeout(SHORT).is_err_and(|error| error.is_timeout()));
        assert!(is_told, "it had to find out by the time limit");
    }
}

/// Not even after a second, when a waiting handle looks at the segment itself and does not find it.
fn unshared_process_does_not_remove_the_channel() {
    if !can_unshare() {
        return;
    }
    let name = Name::new();
    let channel = mpsc().senders(2).capacity(4096).create(&name).expect("create");
    let mut receiver = channel.receiver().expect("a seat");
    let sending = fork(|| {
        let mut sender = channel.sender().expect("a seat");
        fill(&mut sender, 200);
        unshare_ipc();
        pause(1100);
        for _ in 0..3 {
            let error = sender.try_send([0; 200]).expect_err("full, or out of reach");
            let told = error.is_full() || out_of_reach(&error.to_string());
            assert!(told, "{error}");
            let error = sender.send([0; 200]).expect_err("out of reach");
            assert!(is_told(&error), "{error}");
        }
    });
    sending.join();
    let mut count = 0;
    while receiver.try_recv().is_ok() {
        count += 1;
    }
    assert!(count > 0, "what was sent before is there");
    let mut sender = channel.sender().expect("the channel is there");
    sender.send("next").expect("the channel is there");
    assert_eq!(receiver.recv_vec().expect("a message"), b"next");
    drop(receiver);
    let receiving = fork(|| {
        let mut receiver = channel.receiver().expect("a seat");
        unshare_ipc();
        pause(1100);
        for _ in 0..3 {
            match receiver.try_recv().map(drop) {
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Failed(error)) => assert!(receiver_is_told(&error), "{error}"),
                Ok(()) => panic!("nothing was sent"),
            }
            let error = receiver.recv().map(drop).expect_err("out of reach");
            assert!(receiver_is_told(&error), "{error}");
        }
    });
    receiving.join();
    sender.send("and again").expect("the channel is there");
    let mut receiver = channel.receiver().expect("the seat is free");
    assert_eq!(receiver.recv_vec().expect("a message"), b"and again");
    assert_eq!(mpsc().open(&name).expect("it can be found").id(), channel.id());
}

fn unshared_handles_dropped_late_do_not_disturb_their_successor() {
    if !can_unshare() {
        return;
    }
    let name = Name::new();
    let channel = spsc().create(&name).expect("create");
    let (go, unshared) = (Pipe::new(), Pipe::new());
    let child = fork(|| {
        let (sender, receiver) = (channel.sender().expect("a seat"), channel.receiver().expect("a seat"));
        unshare_ipc();
        unshared.put(0);
        go.get();
        drop((sender, receiver));
    });
    unshared.get();
    let (mut sender, mut receiver) =
        (channel.sender().expect("the seat is free"), channel.receiver().expect("the seat is free"));
    sender.send("before").expect("send");
    go.put(0);
    child.join();
    let stats = channel.stats().expect("stats");
    let us = Some(std::process::id() as i32);
    assert_eq!((stats.receiver.pid, stats.lanes[0].seat.pid), (us, us), "the seats are ours");
    sender.send("after").expect("send");
    assert_eq!(receiver.recv_vec().expect("a message"), b"before");
    assert_eq!(receiver.recv_vec().expect("a message"), b"after");
    assert!(receiver.recv_timeout(SHORT).is_err_and(|error| error.is_timeout()));
}

/// Ids begin at 0 in every namespace: an old handle's numbers may name the new namespace's objects. A process makes
/// a channel, enters another namespace, makes another channel there, does something with the old handles, and the
/// new channel must be as good as ever.
fn foreign_numbers(named: bool, using: impl Fn(&mut Sender, &mut Receiver)) {
    if !can_unshare() {
        return;
    }
    fork(|| {
        unshare_ipc();
        let name = Name::new();
        let builder = spsc().capacity(4096).persistent(false);
        let make = || {
            if named {
                let channel = builder.create(&name).expect("create");
                return (channel.sender().expect("a seat"), channel.receiver().expect("a seat"));
            }
            let (mut sender, mut receiver) = builder.pair().expect("a pair");
            sender.attach().expect("a seat");
            receiver.attach().expect("a seat");
            (sender, receiver)
        };
        let (mut old_sender, mut old_receiver) = make();
        unshare_ipc();
        let (mut sender, mut receiver) = make();
        sender.send("new").expect("send");
        using(&mut old_sender, &mut old_receiver);
        let (seated, taken) = (
            |sender: &mut Sender, receiver: &mut Receiver| sender.is_connected() && receiver.is_connected(),
            |receiver: &Receiver| {
                let stats = receiver.stats().expect("stats");
                stats.receiver.taken && stats.lanes[0].seat.taken
            },
        );
        assert!(seated(&mut sender, &mut receiver) && taken(&receiver), "after the use of the old handles");
        drop((old_sender, old_receiver));
        assert!(seated(&mut sender, &mut receiver) && taken(&receiver), "after their drop");
        assert_eq!(receiver.recv_vec().expect("a message"), b"new");
        sender.send("newer").expect("send");
        assert_eq!(receiver.recv_vec().expect("a message"), b"newer");
        assert!(receiver.recv_timeout(SHORT).is_err_and(|error| error.is_timeout()));
        drop(sender);
        assert!(receiver.recv().is_err_and(|error| matches!(error, RecvError::Disconnected)));
    })
    .join();
}

/// Whatever the old handles say, it is not about the new channel.
fn use_both(sender: &mut Sender, receiver: &mut Receiver) {
    for _ in 0..2 {
        let _ = receiver.try_recv().map(drop);
        let _ = receiver.recv_timeout(SHORT).map(drop);
        fill(sender, 100);
        let _ = sender.send_timeout([0; 100], SHORT);
    }
    pause(1000); // until waiting handles look at the segment itself
    while receiver.try_recv().is_ok() {}
    let _ = receiver.recv_timeout(SHORT).map(drop);
    fill(sender, 100);
    let _ = sender.send_timeout([0; 100], SHORT);
}

fn unshared_handles_do_not_touch_an_anonymous_channel_of_the_new_namespace() {
    foreign_numbers(false, use_both);
}

fn unshared_handles_do_not_touch_a_named_channel_of_the_new_namespace() {
    foreign_numbers(true, use_both);
}

fn dropping_unshared_handles_does_not_touch_the_new_namespace() {
    for named in [false, true] {
        foreign_numbers(named, |_, _| {});
    }
}

fn a_removal_seen_from_a_new_namespace_removes_nothing_there() {
    if !can_unshare() {
        return;
    }
    fork(|| {
        unshare_ipc();
        let old_name = Name::new();
        let channel = spsc().create(&old_name).expect("create");
        let (unshared, removed) = (Pipe::new(), Pipe::new());
        let child = fork(|| {
            let mut sender = channel.sender().expect("a seat");
            unshare_ipc();
            let name = Name::new();
            let new = spsc().create(&name).expect("create");
            assert_eq!(new.id(), channel.id(), "or this shows nothing");
            unshared.put(0);
            removed.get();
            let error = sender.send("late").expect_err("removed");
            assert!(is_told(&error), "{error}");
            drop(sender);
            new.sender().expect("the new channel is there").send("new").expect("send");
            let mut receiver = spsc().receiver(&name).expect("it can be found");
            assert_eq!(receiver.recv_vec().expect("a message"), b"new");
        });
        unshared.get();
        channel.remove().expect("remove");
        removed.put(0);
        child.join();
    })
    .join();
}

/// The namespace is a thread's, the undo list of the process stays: no seat is lost.
fn a_thread_that_unshares_is_told_and_the_others_go_on() {
    if !can_unshare() {
        return;
    }
    let name = Name::new();
    let channel = mpsc().senders(2).capacity(4096).create(&name).expect("create");
    let mut receiver = channel.receiver().expect("a seat");
    let (ready, end) = (Pipe::new(), Pipe::new());
    let child = fork(|| {
        let mut sender = channel.sender().expect("a seat");
        let mut other = channel.sender().expect("a seat");
        thread::scope(|scope| {
            scope.spawn(|| {
                unshare_ipc();
                fill(&mut other, 200);
                let error = other.send([0; 200]).expect_err("out of reach");
                assert!(is_told(&error), "{error}");
            });
        });
        sender.send("from the main thread").expect("send");
        // Back in a thread of the old namespace, that one is as good as ever.
        ready.put(0);
        other.send([0xee; 200]).expect("room comes");
        end.get();
    });
    ready.get();
    let mut last = Vec::new();
    let mut main = 0;
    while last != [0xee; 200] {
        last = receiver.recv_vec_timeout(Duration::from_secs(10)).expect("a message");
        main += u32::from(last == b"from the main thread");
    }
    assert_eq!(main, 1);
    assert!(receiver.recv_timeout(SHORT).is_err_and(|error| error.is_timeout()), "both seats are taken");
    end.put(0);
    child.join();
    assert!(receiver.recv().is_err_and(|error| matches!(error, RecvError::Disconnected)));
}

fn an_inherited_spsc_seat_goes_to_one_process() {
    for round in 0..20_u8 {
        let (mut sender, mut receiver) = spsc().pair().expect("a pair");
        let (start, outcome, end) = (Pipe::new(), Pipe::new(), Pipe::new());
        let children: Vec<Child> = (0..8)
            .map(|_| {
                fork(|| {
                    start.get();
                    match sender.send([round]) {
                        Ok(()) => outcome.put(1),
                        Err(error) => {
                            let Fault::Attach(why) = error.fault() else { panic!("{error}") };
                            assert!(holder(why).is_some());
                            outcome.put(0);
                        }
                    }
                    end.get(); // or the next would find the seat free
                })
            })
            .collect();
        children.iter().for_each(|_| start.put(0));
        let got: u64 = children.iter().map(|_| outcome.get()).sum();
        assert_eq!(got, 1);
        children.iter().for_each(|_| end.put(0));
        children.iter().for_each(Child::join);
        assert_eq!(receiver.recv_vec().expect("a message"), [round]);
        assert!(matches!(receiver.try_recv(), Err(TryRecvError::Failed(RecvError::Disconnected))));
    }
}

fn killed_with_several_seats_wakes_both_peers() {
    for _ in 0..5 {
        let names = [Name::new(), Name::new()];
        let first = mpsc().persistent(false).create(&names[0]).expect("create");
        let second = spsc().persistent(false).capacity(4096).create(&names[1]).expect("create");
        let (ready, report) = (Pipe::new(), Pipe::new());
        let dying = fork(|| {
            let senders = [first.sender().expect("a seat"), first.sender().expect("a second seat")];
            let receiver = second.receiver().expect("a seat");
            ready.put(0);
            std::mem::forget((senders, receiver));
            forever();
        });
        ready.get();
        let epoch = Instant::now();
        let receiving = fork(|| {
            let mut receiver = first.receiver().expect("a seat");
            assert!(matches!(receiver.recv(), Err(RecvError::Disconnected)));
            report.put(epoch.elapsed().as_micros() as u64);
        });
        let sending = fork(|| {
            let mut sender = second.sender().expect("a seat");
            fill(&mut sender, 100);
            assert!(sender.send([0; 100]).expect_err("nobody makes room").is_disconnected());
            report.put(epoch.elapsed().as_micros() as u64);
        });
        until("both sleep", || {
            first.stats().expect("stats").receiver.asleep
                && second.stats().expect("stats").lanes.first().is_some_and(|lane| lane.seat.asleep)
        });
        pause(5);
        let started = epoch.elapsed();
        dying.kill();
        let last = Duration::from_micros(report.get().max(report.get()));
        let took = last.saturating_sub(started);
        println!("killed with three seats: noticed after {took:?}");
        assert!(took < PROMPT, "{took:?}");
        receiving.join();
        sending.join();
    }
}

/// A process that has both ends of a channel, a message in its hands and a slot half filled, ends by `end`.
fn ended(expected: End, end: impl Fn()) {
    for builder in [spsc(), mpsc()] {
        let name = Name::new();
        let channel = builder.create(&name).expect("create");
        let go = Pipe::new();
        let mut outside = mpsc().pair().expect("a pair");
        let ready = Pipe::new();
        let dying = fork(|| {
            let (mut sender, mut receiver) =
                (channel.sender().expect("a seat"), channel.receiver().expect("a seat"));
            outside.0.attach().expect("a seat");
            (0..3_u8).for_each(|number| sender.send([number]).expect("send"));
            drop(receiver.recv().expect("a message"));
            let _message = receiver.recv().expect("a message");
            let mut slot = sender.reserve(8).expect("room");
            slot.write(b"half").expect("it fits");
            ready.put(0);
            go.get();
            end();
        });
        ready.get();
        told_at_once("the end", &mut outside.1, || go.put(0));
        assert_eq!(dying.wait(), expected);
        let mut receiver = channel.receiver().expect("the seat is free");
        let message = receiver.recv().expect("the second");
        assert_eq!((message.to_vec(), message.redelivered()), (vec![1], true));
        drop(message);
        assert_eq!(receiver.recv_vec().expect("the third"), [2]);
        channel.sender().expect("the seat is free").send("next").expect("send");
        assert_eq!(receiver.recv_vec().expect("a message"), b"next");
    }
}

fn aborted_with_handles() {
    ended(End::Signal(libc::SIGABRT), || {
        no_core();
        std::process::abort();
    });
}

fn exited_without_destructors() {
    ended(End::Exit(3), || std::process::exit(3));
    ended(End::Exit(4), || exit(4));
    ended(End::Signal(libc::SIGKILL), || kill_oneself());
}

/// A panic that unwinds drops the handles: a clean leave, while the process lives. What its guard held is
/// released like by any other drop, and what its slot held was never sent.
fn panicked_with_handles() {
    for builder in [spsc(), mpsc()] {
        let name = Name::new();
        let channel = builder.create(&name).expect("create");
        let mut outside = mpsc().pair().expect("a pair");
        let (go, end) = (&Pipe::new(), Pipe::new());
        let mut inherited = Some(outside.0);
        let child = fork(|| {
            let both = (channel.sender().expect("a seat"), channel.receiver().expect("a seat"));
            let mut third = inherited.take().expect("inherited");
            third.attach().expect("a seat");
            let unwound = catch_unwind(AssertUnwindSafe(move || {
                let _third = third; // the last to be dropped
                let (mut sender, mut receiver) = both;
                (0..3_u8).for_each(|number| sender.send([number]).expect("send"));
                let _message = receiver.recv().expect("a message");
                let mut slot = sender.reserve(8).expect("room");
                slot.write(b"half").expect("it fits");
                go.get();
                std::panic::resume_unwind(Box::new("a panic without its message"));
            }));
            assert!(unwound.is_err());
            end.get();
        });
        outside.1.attach().expect("a seat");
        until("its sender is there", || outside.1.is_connected());
        told_at_once("the panic", &mut outside.1, || go.put(0));
        assert_eq!(child.try_wait(), None, "it lives");
        let mut receiver = channel.receiver().expect("the seat is free");
        for number in 1..3_u8 {
            let message = receiver.recv().expect("a message");
            assert_eq!((message.to_vec(), message.redelivered()), (vec![number], false));
        }
        assert!(receiver.try_recv().is_err());
        channel.sender().expect("the seat is free");
        end.put(0);
        child.join();
    }
}

/// A sandbox may take `/proc` away at any time; then the namespace cannot be told, and is taken for the same.
fn a_sender_without_proc_leaves_all_the_same() {
    if !is_root() {
        return;
    }
    let name = Name::new();
    let channel = spsc().persistent(false).create(&name).expect("create");
    let mut receiver = channel.receiver().expect("a seat");
    let empty = std::env::temp_dir().join(name.as_str());
    std::fs::create_dir(&empty).expect("a directory");
    let child = fork(|| {
        let mut sender = channel.sender().expect("a seat");
        sender.send("x").expect("send");
        std::os::unix::fs::chroot(&empty).expect("chroot");
        drop(sender);
        pause(60_000);
    });
    assert_eq!(receiver.recv_vec().expect("a message"), b"x");
    let outcome = receiver.recv_timeout(Duration::from_secs(5)).map(drop);
    std::fs::remove_dir(&empty).expect("it is empty");
    assert!(outcome.is_err_and(|error| error.is_disconnected()));
    drop(child);
}

/// A set of somebody else, of nine semaphores with five units each.
fn strangers_set() -> i32 {
    // SAFETY: takes three numbers.
    let set = unsafe { libc::semget(libc::IPC_PRIVATE, 9, libc::IPC_CREAT | 0o600) };
    for sem_num in 0..9 {
        let mut five = libc::sembuf { sem_num, sem_op: 5, sem_flg: 0 };
        // SAFETY: one operation, which is ours.
        assert_eq!(unsafe { libc::semop(set, &mut five, 1) }, 0);
    }
    set
}

/// Removes it; how many of its units are left.
fn units_left(set: i32) -> i32 {
    // SAFETY: GETVAL takes no argument and touches no memory of this process.
    let units = (0..9).map(|index| unsafe { libc::semctl(set, index, libc::GETVAL) }).sum();
    remove_set(set);
    units
}

/// The set word names a stranger's set when a sender leaves whose own set is gone.
fn a_leaver_rings_no_strangers_set() {
    let name = Name::new();
    let channel = spsc().create(&name).expect("create");
    let sender = channel.sender().expect("a seat");
    let stranger = strangers_set();
    remove_set(channel.stats().expect("stats").semaphore_set);
    let header = sysring::segment::Segment::from_id(channel.id()).attach().expect("attach");
    let word = 2_u64 << 32 | u64::from(stranger.cast_unsigned());
    header.write(128, &word.to_le_bytes()).expect("inside");
    drop(sender);
    assert_eq!(units_left(stranger), 45);
}

/// Every IPC namespace begins with the same ids. Whoever moves to another one waits on nobody's semaphores there.
fn ids_of_another_namespace_are_not_used() {
    if !own_ipc_namespace() {
        return;
    }
    let (mut sender, mut receiver) = spsc().pair().expect("a channel");
    sender.attach().expect("a seat");
    receiver.attach().expect("a seat");
    let set = sender.stats().expect("stats").semaphore_set;
    assert!(own_ipc_namespace());
    let stranger = strangers_set();
    assert_eq!(stranger, set, "the first set of a namespace");
    assert!(receiver.recv_timeout(Duration::from_millis(50)).is_err());
    drop((sender, receiver));
    assert_eq!(units_left(stranger), 45);
}

/// The receiver in a container dies after the set was lost. Nobody outside can judge its pid, but nobody else is attached.
fn a_dead_container_gives_its_seat_back() {
    if !is_root() {
        return;
    }
    let name = Name::new();
    drop(spsc().create(&name).expect("create"));
    let told = Pipe::new();
    let container = fork(|| {
        // SAFETY: takes a number; concerns the children of this process only.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWPID) }, 0);
        // SAFETY: this process has one thread. (`fork` of these tests looks at the parent's pid, which is not known there.)
        let first = unsafe { libc::fork() };
        if first == 0 {
            // SAFETY: changes which signal this process gets when its parent ends, nothing else.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            let channel = spsc().open(&name).expect("open");
            let _receiver = channel.receiver().expect("a seat");
            remove_set(channel.stats().expect("stats").semaphore_set);
            told.put(0);
            pause(60_000);
            exit(0);
        }
        told.get();
        // SAFETY: a child of ours that was not waited for.
        unsafe { libc::kill(first, libc::SIGKILL) };
        // SAFETY: no status is asked for.
        assert_eq!(unsafe { libc::waitpid(first, std::ptr::null_mut(), 0) }, first);
    });
    container.join();
    let receiver = spsc().receiver(&name).expect("the seat of a dead process");
    drop(receiver);
}
