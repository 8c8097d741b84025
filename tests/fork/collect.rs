//! What the dead left behind is found and removed, and nothing else: makers and removers that are killed or stopped at
//! each of their system calls, orphaned sets, idle channels, strangers, other users.
#![allow(unsafe_code, reason = "ptrace, to stop and kill a process at each system call; sets of strangers")]

use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sysring::segment::{Key, Segment};
use sysring::{
    Builder, Channel, Collector, Finding, FindingKind, OpenError, OpenErrorKind, Outcome, mpsc, remove, spsc,
};

use crate::message::Random;
use crate::process::{
    Child, Name, Object, Pipe, become_user, fork, is_root, objects, own_ipc_namespace, pause, remove_set,
    segments_under, shared_words, stay_on_one_core, until,
};
use crate::runner::{is_long, seed, tests};

tests![
    a_maker_killed_at_each_call,
    a_maker_stopped_at_each_call_is_left_alone,
    the_maker_of_a_pair_killed_at_each_call,
    the_maker_of_a_pair_stopped_at_each_call_is_left_alone,
    a_remover_killed_at_each_call,
    a_remover_killed_at_each_call_under_a_user,
    all_of_a_pair_killed_at_once,
    making_a_channel_collects_orphaned_sets,
    channels_are_kept,
    idle_and_empty_channels_go_if_asked,
    a_sender_that_comes_at_the_same_moment,
    a_collector_killed_at_each_call,
    a_collector_stopped_at_each_call_is_in_nobodys_way,
    a_receiver_that_comes_to_a_full_channel_gets_its_seat,
    strangers_are_left_alone,
    other_users_are_left_alone,
    what_is_old_goes,
    traffic_does_not_notice,
    different_shapes_of_one_size,
    a_condemned_channel_does_not_come_back,
    a_maker_that_may_not_lock_takes_nothing_away,
];

/// A size that a channel could have.
const SIZE: usize = 5 * 4096 + 0x528;

/// The lowest key of our sets; strangers may have such keys by chance.
const SET_KEY: i32 = 0x5352_0000;

/// Looks, then collects; both must say the same.
fn collect_with(collector: &Collector) -> Vec<Finding> {
    let before = objects();
    let mut looked = collector.clone().dry_run(true).run().expect("look");
    assert_eq!(objects(), before, "looking changed something");
    let done = collector.run().expect("collect");
    for finding in &mut looked {
        if finding.outcome == Outcome::WouldRemove {
            finding.outcome = Outcome::Removed;
        }
    }
    // The idle grow older from one look to the next.
    let lines = |findings: &[Finding]| -> Vec<_> {
        findings.iter().map(|finding| (finding.id, finding.name.clone(), finding.outcome)).collect()
    };
    assert_eq!(lines(&looked), lines(&done), "what was announced and what was done");
    done
}

fn collect() -> Vec<Finding> {
    collect_with(&Collector::new())
}

fn is_idle(finding: &Finding) -> bool {
    matches!(finding.kind, FindingKind::Idle { .. }) && finding.outcome == Outcome::Kept
}

fn remove_by_hand(object: &Object) {
    match *object {
        Object::Segment { id, .. } => Segment::from_id(id).remove().expect("remove"),
        Object::Set { id, .. } => remove_set(id),
    }
}

fn is_set(object: &Object) -> bool {
    matches!(object, Object::Set { .. })
}

/// One message to a channel that there may or may not be, and back: in a process of its own, which has
/// made no channel before.
fn works(builder: &Builder, name: &Name) {
    fork(|| {
        builder.sender(name).expect("a seat").send("x").expect("send");
        let mut receiver = builder.receiver(name).expect("a seat");
        while receiver.recv_vec().expect("a message") != b"x" {}
    })
    .join();
}

/// A child that stops before and after each of its system calls. Killed before a call, it does not go through with it.
struct Traced(Child);

impl Traced {
    fn start(body: impl FnOnce()) -> Traced {
        let child = fork(|| {
            // SAFETY: takes nothing but the request; the parent is the tracer from here on.
            unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
            // SAFETY: stops this process, which has one thread, until its tracer lets it go on.
            unsafe { libc::raise(libc::SIGSTOP) };
            body();
        });
        let traced = Traced(child);
        assert!(traced.is_stopped(), "it ended before it began");
        let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL;
        traced.request(libc::PTRACE_SETOPTIONS, options);
        traced
    }

    /// For those requests that take a number and touch no memory of this process.
    fn request(&self, request: libc::c_uint, data: i32) {
        // SAFETY: the callers pass SETOPTIONS, SYSCALL or DETACH; the pid is that of a stopped child of ours.
        let done = unsafe { libc::ptrace(request, self.0.pid(), 0, libc::c_long::from(data)) };
        assert_eq!(done, 0, "ptrace: {}", io::Error::last_os_error());
    }

    /// Waits until it stops; false if it has ended, which is left for `join` to see.
    fn is_stopped(&self) -> bool {
        // SAFETY: a record of integers, for which zeroes are valid.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let flags = libc::WEXITED | libc::WSTOPPED | libc::WNOWAIT;
        // SAFETY: `info` is a record of ours for the kernel to write.
        let seen = unsafe { libc::waitid(libc::P_PID, self.0.pid() as u32, &mut info, flags) };
        assert_eq!(seen, 0, "waitid: {}", io::Error::last_os_error());
        if !matches!(info.si_code, libc::CLD_TRAPPED | libc::CLD_STOPPED) {
            return false;
        }
        let mut status = 0;
        // SAFETY: `status` is an integer of ours for the kernel to write.
        let reaped = unsafe { libc::waitpid(self.0.pid(), &mut status, libc::WUNTRACED) };
        assert_eq!(reaped, self.0.pid());
        true
    }

    /// Goes on to the stop number `count`. False if it has ended before, as it should.
    fn advance(&self, count: usize) -> bool {
        (0..count).all(|_| {
            self.request(libc::PTRACE_SYSCALL, 0);
            self.is_stopped()
        })
    }

    /// Lets it go, stopped as by a shell; or ended, if it was about to.
    fn leave_stopped(self) -> Child {
        self.0.signal(libc::SIGSTOP); // at the end of this system call, as always
        self.request(libc::PTRACE_DETACH, 0);
        let child = self.0;
        let stat = format!("/proc/{}/stat", child.pid());
        until("it is stopped or ended", || {
            let stat = std::fs::read_to_string(&stat).expect("a child of ours");
            stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['T', 'Z']))
        });
        child
    }
}

/// A segment and a set, no channel's, in high places of the kernel's tables. Whoever lists the tables walks up to
/// there, so that the number of its calls stays the same from one round to the next.
struct Landmarks(Vec<Object>);

impl Landmarks {
    fn new() -> Landmarks {
        // Linux gives out places in turn, at least 64 of them, or the lowest.
        let segments = (0..64).map(|_| {
            let id = Segment::create(Key::PRIVATE, 1, 0o600).expect("create").id();
            Object::Segment { id, key: 0 }
        });
        let sets = (0..64).map(|_| {
            // SAFETY: takes numbers.
            let id = unsafe { libc::semget(libc::IPC_PRIVATE, 1, 0o600) };
            assert!(id >= 0, "semget: {}", io::Error::last_os_error());
            Object::Set { id, key: 0 }
        });
        let place = |object: &Object| match *object {
            Object::Segment { id, .. } | Object::Set { id, .. } => id & 0x7fff,
        };
        let highest = |all: Vec<Object>| {
            let kept = all.iter().copied().max_by_key(place).expect("64 of them");
            all.iter().filter(|object| **object != kept).for_each(remove_by_hand);
            kept
        };
        Landmarks(vec![highest(segments.collect()), highest(sets.collect())])
    }
}

impl Drop for Landmarks {
    fn drop(&mut self) {
        self.0.iter().for_each(remove_by_hand);
    }
}

/// Kills `body` at each of its stops, in one process after another, and calls `look` each time. Returns how often.
fn killed_at_each_call(body: impl Fn(), mut look: impl FnMut(usize)) -> usize {
    stay_on_one_core(0);
    let _landmarks = Landmarks::new();
    (0..)
        .find(|&stop| {
            let traced = Traced::start(&body);
            let ended = !traced.advance(stop);
            if ended {
                traced.0.join();
            } else {
                traced.0.kill();
                look(stop);
            }
            ended
        })
        .expect("an end")
}

/// Stops `body` at each of its stops, calls `look`, and lets it go on to its end, which must be a good one.
fn stopped_at_each_call(body: impl Fn(), mut look: impl FnMut(usize), mut after: impl FnMut()) -> usize {
    stay_on_one_core(0);
    let _landmarks = Landmarks::new();
    // Stops come in pairs, before a call and after it. Left stopped before a call, it still goes through with that.
    (0..)
        .step_by(2)
        .find(|&stop| {
            let traced = Traced::start(&body);
            if !traced.advance(stop) {
                traced.0.join();
                after();
                return true;
            }
            let child = traced.leave_stopped();
            look(stop);
            child.signal(libc::SIGCONT);
            child.join();
            after();
            false
        })
        .expect("an end")
}

fn a_maker_killed_at_each_call() {
    let name = Name::new();
    let mut half_made = 0;
    let builder = mpsc().senders(2).capacity(4096);
    let make = || drop(builder.create(&name).expect("create"));
    let stops = killed_at_each_call(make, |stop| {
        let before = objects();
        for finding in collect() {
            match finding.kind {
                FindingKind::HalfMade => {
                    assert_eq!(objects(), [], "stop {stop}: {before:?}");
                    half_made += 1;
                }
                _ => assert!(is_idle(&finding), "stop {stop}: {finding}"),
            }
        }
        works(&builder, &name);
        remove(&name).expect("remove");
        // A set that was not yet entered into the segment; it is collected when it is old.
        let left = objects();
        assert!(left.len() <= 1 && left.iter().all(is_set), "stop {stop}: {left:?}");
        left.iter().for_each(remove_by_hand);
    });
    println!("    {stops} stops, {half_made} times half-made");
    assert!(half_made > 2);
    remove(&name).expect("the last one came to its end");
}

fn a_maker_stopped_at_each_call_is_left_alone() {
    let name = Name::new();
    let make = || {
        let channel = mpsc().senders(2).capacity(4096).create(&name).expect("create");
        channel.sender().expect("a seat").send("kept").expect("send");
    };
    let look = |stop| {
        let before = objects();
        let findings = collect_with(&Collector::new().idle(Duration::ZERO));
        // Its handles may be gone already, but not its message.
        assert!(findings.iter().all(is_idle), "stop {stop}: {findings:?}");
        assert_eq!(objects(), before, "stop {stop}");
    };
    let after = || {
        fork(|| {
            let mut receiver = mpsc().receiver(&name).expect("a seat");
            assert_eq!(receiver.try_recv_vec().expect("a message"), b"kept");
        })
        .join();
        remove(&name).expect("remove");
        assert_eq!(objects(), []);
    };
    let stops = stopped_at_each_call(make, look, after);
    println!("    {stops} stops");
}

fn the_maker_of_a_pair_killed_at_each_call() {
    let mut orphans = 0;
    let make = || drop(spsc().capacity(4096).pair().expect("a pair"));
    let stops = killed_at_each_call(make, |stop| {
        for finding in collect() {
            assert_eq!(finding.kind, FindingKind::OrphanedSet, "stop {stop}: {finding}");
            orphans += 1;
        }
        // Killed before it could remove the segment, or name the set: collected when they are old.
        let left = objects();
        assert!(left.len() <= 1, "stop {stop}: {left:?}");
        left.iter().for_each(remove_by_hand);
    });
    println!("    {stops} stops, {orphans} orphaned sets");
    assert!(orphans > 2);
    assert_eq!(objects(), []);
}

fn the_maker_of_a_pair_stopped_at_each_call_is_left_alone() {
    let make = || {
        let (mut sender, mut receiver) = spsc().capacity(4096).pair().expect("a pair");
        sender.send("x").expect("send");
        assert_eq!(receiver.recv_vec().expect("a message"), b"x");
    };
    let look = |stop| {
        let before = objects();
        let findings = collect_with(&Collector::new().idle(Duration::ZERO));
        if before.iter().all(is_set) {
            // At its very end the memory is gone already, and the set goes next: whoever takes it.
            assert!(
                findings.iter().all(|finding| finding.kind == FindingKind::OrphanedSet),
                "stop {stop}: {findings:?}"
            );
        } else {
            assert_eq!(findings, [], "stop {stop}");
            assert_eq!(objects(), before, "stop {stop}");
        }
    };
    let stops = stopped_at_each_call(make, look, || assert_eq!(objects(), []));
    println!("    {stops} stops");
}

/// Which kinds were found after a remover was killed at each of its calls.
fn kinds_after_removers(name: &Name, made: &dyn Fn() -> Option<Channel>) -> Vec<FindingKind> {
    let mut kinds = Vec::new();
    let mut user = made();
    let stops = killed_at_each_call(
        || remove(name).expect("remove"),
        |stop| {
            let before = objects();
            let findings = collect();
            for finding in &findings {
                match finding.kind {
                    FindingKind::MarkedRemoved | FindingKind::OrphanedSet => kinds.push(finding.kind),
                    _ => assert!(is_idle(finding), "stop {stop}: {finding}"),
                }
            }
            if findings.iter().any(|finding| finding.outcome == Outcome::Removed) {
                assert!(segments_under(segment_key(&before)) == 0, "stop {stop}");
                drop(user.take());
                assert_eq!(objects(), [], "stop {stop}: {before:?}");
                user = made();
            } else if objects().len() < 2 {
                drop(user.take());
                assert_eq!(objects(), [], "stop {stop}: {before:?}");
                user = made();
            } else {
                assert_eq!(objects(), before, "stop {stop}");
            }
        },
    );
    drop(user);
    println!("    {stops} stops, found {kinds:?}");
    kinds
}

/// The key of the first segment; of one that is marked for destruction it is 0, and nothing else has that.
fn segment_key(objects: &[Object]) -> i32 {
    let key = |object: &Object| match *object {
        Object::Segment { key, .. } => Some(key),
        Object::Set { .. } => None,
    };
    objects.iter().find_map(key).filter(|&key| key != 0).unwrap_or(-1)
}

fn a_remover_killed_at_each_call() {
    let name = Name::new();
    let made = || {
        drop(spsc().capacity(4096).create(&name).expect("create"));
        None
    };
    let kinds = kinds_after_removers(&name, &made);
    // The set goes before the segment, so no set is ever left without one.
    assert!(!kinds.is_empty() && kinds.iter().all(|&kind| kind == FindingKind::MarkedRemoved), "{kinds:?}");
    assert_eq!(objects(), []);
}

/// The segment stays as long as the user has it.
fn a_remover_killed_at_each_call_under_a_user() {
    let name = Name::new();
    let made = || Some(spsc().capacity(4096).create(&name).expect("create"));
    let kinds = kinds_after_removers(&name, &made);
    assert!(kinds.contains(&FindingKind::MarkedRemoved));
    assert_eq!(objects(), []);
}

/// A pair between two processes, both killed in the middle of their work.
fn kill_a_pair() {
    let told = Pipe::new();
    let child = fork(|| {
        // SAFETY: makes this process the leader of a group of its own.
        unsafe { libc::setpgid(0, 0) };
        let (mut sender, mut receiver) = spsc().capacity(4096).pair().expect("a pair");
        let _sending = fork(|| while sender.send([1; 40]).is_ok() {});
        let mut count = 0;
        while receiver.recv().is_ok() {
            count += 1;
            if count == 100 {
                told.put(0);
            }
        }
    });
    told.get();
    // SAFETY: a group of our child's own, and the child was not waited for.
    let sent = unsafe { libc::kill(-child.pid(), libc::SIGKILL) };
    assert_eq!(sent, 0, "{}", io::Error::last_os_error());
    child.wait();
    until("the memory is gone", || objects().iter().all(is_set));
}

fn all_of_a_pair_killed_at_once() {
    for _ in 0..20 {
        kill_a_pair();
        let left = objects();
        assert_eq!(left.len(), 1, "{left:?}");
        let found = collect();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].kind, found[0].outcome), (FindingKind::OrphanedSet, Outcome::Removed));
        assert_eq!(objects(), []);
    }
}

fn making_a_channel_collects_orphaned_sets() {
    kill_a_pair();
    kill_a_pair(); // which made a pair, and so collected the set of the first
    assert_eq!(objects().len(), 1);
    let pair = spsc().pair().expect("a pair");
    assert_eq!(objects().len(), 2);
    drop(pair);
    kill_a_pair();
    let name = Name::new();
    let channel = mpsc().create(&name).expect("create");
    assert_eq!(objects().len(), 2);
    // To open one collects nothing, and hurts nobody.
    remove_set(channel.stats().expect("stats").semaphore_set);
    drop(channel);
    works(&mpsc(), &name);
    remove(&name).expect("remove");
    assert_eq!(objects(), []);
}

fn channels_are_kept() {
    let (empty, full, used) = (Name::new(), Name::new(), Name::new());
    drop(mpsc().create(&empty).expect("create"));
    mpsc().sender(&full).expect("a seat").send("kept").expect("send");
    let channel = mpsc().create(&used).expect("create");
    let told = Pipe::new();
    let (start, stop) = (Pipe::new(), Pipe::new());
    let user = fork(|| {
        let _receiver = channel.receiver().expect("a seat");
        told.put(0);
        start.get();
        stop.get();
    });
    told.get();
    drop(channel);
    start.put(0);
    for _ in 0..5 {
        let before = objects();
        let findings = collect();
        assert!(findings.len() == 2 && findings.iter().all(is_idle), "{findings:?}");
        let of = |name: &Name| findings.iter().find(|finding| finding.name == name.as_str());
        assert!(matches!(of(&empty).expect("listed").kind, FindingKind::Idle { empty: true, .. }));
        assert!(matches!(of(&full).expect("listed").kind, FindingKind::Idle { empty: false, .. }));
        assert!(of(&used).is_none());
        assert_eq!(objects(), before);
    }
    stop.put(0);
    user.join();
    assert_eq!(mpsc().receiver(&full).expect("a seat").recv_vec().expect("a message"), b"kept");
    for name in [&empty, &full, &used] {
        remove(name).expect("remove");
    }
}

/// What an idle collection says about one channel.
fn idle(name: &Name, older: Duration) -> Option<Outcome> {
    let findings = collect_with(&Collector::new().idle(older));
    findings.into_iter().find(|finding| finding.name == name.as_str()).map(|finding| finding.outcome)
}

fn idle_and_empty_channels_go_if_asked() {
    let name = Name::new();
    // Never used; used and empty again; of every shape.
    for (senders, count) in [(1, 0), (1, 1), (3, 100), (240, 1000)] {
        let channel = mpsc().senders(senders).capacity(4096).create(&name).expect("create");
        fork(|| {
            let mut receiver = channel.receiver().expect("a seat");
            let mut sender = channel.sender().expect("a seat");
            for _ in 0..count {
                sender.send([7; 100]).expect("send");
                assert_eq!(receiver.recv_vec().expect("a message").len(), 100);
            }
        })
        .join();
        assert_eq!(idle(&name, Duration::ZERO), None, "it is open");
        drop(channel);
        assert_eq!(idle(&name, Duration::from_secs(3600)), Some(Outcome::Kept), "not for so long");
        assert_eq!(idle(&name, Duration::ZERO), Some(Outcome::Removed));
        assert_eq!(objects(), []);
    }

    // With a message, also of one who was killed.
    let channel = mpsc().senders(3).capacity(4096).create(&name).expect("create");
    let told = Pipe::new();
    let child = fork(|| {
        let _first = channel.sender().expect("a seat");
        let mut second = channel.sender().expect("a seat");
        second.send("").expect("send");
        told.put(0);
        pause(60_000);
    });
    told.get();
    drop(channel);
    assert_eq!(idle(&name, Duration::ZERO), None, "it is in use");
    child.kill();
    assert_eq!(idle(&name, Duration::ZERO), Some(Outcome::Kept), "it has a message");

    // Given but not released: it comes again.
    let child = fork(|| {
        let mut receiver = mpsc().receiver(&name).expect("a seat");
        let _message = receiver.recv().expect("a message");
        told.put(0);
        pause(60_000);
    });
    told.get();
    child.kill();
    assert_eq!(idle(&name, Duration::ZERO), Some(Outcome::Kept), "its message was not released");
    works(&mpsc(), &name);
    assert_eq!(idle(&name, Duration::ZERO), Some(Outcome::Removed));

    // Its set was removed; its next user would make it whole.
    let channel = mpsc().create(&name).expect("create");
    remove_set(channel.stats().expect("stats").semaphore_set);
    drop(channel);
    let outcome = idle(&name, Duration::ZERO);
    assert_ne!(outcome, Some(Outcome::InUse), "nobody uses it");
    if outcome != Some(Outcome::Removed) {
        works(&mpsc(), &name);
        remove(&name).expect("remove");
    }
    assert_eq!(objects(), []);
}

/// Seconds of a race, in rounds.
fn rounds(short: u32) -> u32 {
    if is_long() { short * 50 } else { short }
}

fn random() -> Random {
    Random::new(seed())
}

/// Passes a random time of some microseconds.
fn dawdle(random: &mut Random, bound: u64) {
    for _ in 0..random.below(bound) {
        std::hint::spin_loop();
    }
}

/// What became of a user that came at the moment of an idle collection.
const REFUSED: u64 = 1;
const DONE: u64 = 2;
const SEAT_TAKEN: u64 = 3;

fn of_error(error: &OpenError) -> u64 {
    match error.kind() {
        OpenErrorKind::NotFound | OpenErrorKind::Removed => REFUSED,
        OpenErrorKind::SeatTaken { .. } => SEAT_TAKEN,
        kind => panic!("{kind:?}: {error}"),
    }
}

/// It gets an error that says so, or its message is there. (That no seat is said to be taken which nobody has, is shown
/// at every step in [`a_collector_stopped_at_each_call_is_in_nobodys_way`].)
fn a_sender_that_comes_at_the_same_moment() {
    let mut random = random();
    let words = shared_words(2);
    let (gate, outcome) = (&words[0], &words[1]);
    let (mut kept, mut gone, mut taken) = (0, 0, 0);
    for round in 0..rounds(200) {
        let name = Name::new();
        drop(spsc().capacity(4096).create(&name).expect("create"));
        gate.store(0, Ordering::SeqCst);
        let mut delay = Random::new(random.below(u64::MAX));
        let sending = fork(|| {
            // What a process does once takes longer than all that follows.
            spsc().pair().expect("a pair").0.send("x").expect("send");
            gate.fetch_add(1, Ordering::SeqCst);
            while gate.load(Ordering::SeqCst) != 2 {
                std::hint::spin_loop();
            }
            dawdle(&mut delay, 1000);
            let sent = match spsc().open(&name).and_then(|channel| channel.sender()) {
                Err(error) => of_error(&error),
                Ok(mut sender) => match sender.send("x") {
                    Ok(()) => DONE,
                    Err(error) if error.is_removed() => REFUSED,
                    Err(error) => panic!("{error}"),
                },
            };
            outcome.store(sent, Ordering::SeqCst);
        });
        until("it is ready", || gate.load(Ordering::SeqCst) == 1);
        gate.fetch_add(1, Ordering::SeqCst);
        dawdle(&mut random, 3000);
        let found = Collector::new().idle(Duration::ZERO).run().expect("collect");
        sending.join();
        let removed = found.iter().any(|finding| finding.outcome == Outcome::Removed);
        match outcome.load(Ordering::SeqCst) {
            DONE => {
                assert!(!removed, "round {round}: a message went with its channel");
                let mut receiver = spsc().receiver(&name).expect("a seat");
                assert_eq!(receiver.try_recv_vec().expect("the message"), b"x", "round {round}");
                kept += 1;
            }
            SEAT_TAKEN => taken += 1,
            _ => {
                assert!(removed, "round {round}: refused, but nobody removed it");
                gone += 1;
            }
        }
        let _ = remove(&name);
        assert_eq!(objects(), [], "round {round}");
    }
    println!("    kept {kept} times, removed {gone} times");
    assert_eq!(taken, 0, "seats that nobody has were said to be taken");
}

fn collect_idle() {
    Collector::new().idle(Duration::ZERO).run().expect("collect");
}

/// Whatever it has done by then, the channel is there and whole, or the next collector finds it gone or removes it.
fn a_collector_killed_at_each_call() {
    let name = Name::new();
    drop(mpsc().senders(3).capacity(4096).create(&name).expect("create"));
    let mut removed = 0;
    let stops = killed_at_each_call(collect_idle, |stop| {
        let findings = collect();
        let (kept, gone): (Vec<_>, Vec<_>) = findings.iter().partition(|finding| is_idle(finding));
        if kept.is_empty() {
            // Collectors killed before this one may have left the set of a channel that was still there.
            let segments = gone.iter().filter(|finding| finding.kind != FindingKind::OrphanedSet).count();
            assert!(segments < 2, "stop {stop}: {gone:?}");
            assert_eq!(objects(), [], "stop {stop}");
            drop(mpsc().senders(3).capacity(4096).create(&name).expect("the name is free"));
            removed += 1;
        }
        works(&mpsc(), &name);
    });
    println!("    {stops} stops, {removed} times removed");
    assert!(removed > 1);
    assert_eq!(objects(), [], "the last one came to its end");
}

/// Who comes meanwhile can use the channel, or is told that it was removed, and makes it anew.
fn a_collector_stopped_at_each_call_is_in_nobodys_way() {
    let name = Name::new();
    let made = || drop(mpsc().senders(3).capacity(4096).create(&name).expect("create"));
    made();
    let outcome = &shared_words(1)[0];
    let mut refused = Vec::new();
    let look = |stop| {
        fork(|| {
            let sent = match mpsc().open(&name).and_then(|channel| channel.sender()) {
                Err(error) => of_error(&error),
                Ok(mut sender) => {
                    sender.send("x").expect("send");
                    DONE
                }
            };
            outcome.store(sent, Ordering::SeqCst);
        })
        .join();
        match outcome.load(Ordering::SeqCst) {
            DONE => {
                let mut receiver = mpsc().receiver(&name).expect("a seat");
                assert_eq!(receiver.try_recv_vec().expect("the message"), b"x", "stop {stop}");
            }
            SEAT_TAKEN => refused.push(stop),
            _ => works(&mpsc(), &name),
        }
    };
    let after = || {
        let _ = remove(&name);
        assert_eq!(objects(), []);
        made();
    };
    let stops = stopped_at_each_call(collect_idle, look, after);
    remove(&name).expect("remove");
    println!("    {stops} stops");
    assert_eq!(refused, [0; 0], "at these stops seats that nobody has were said to be taken");
}

/// The collector has to look twice before it knows that there is a message.
fn a_receiver_that_comes_to_a_full_channel_gets_its_seat() {
    let mut random = random();
    let name = Name::new();
    let words = shared_words(1);
    let stop = &words[0];
    mpsc().sender(&name).expect("a seat").send("kept").expect("send");
    let child = fork(|| {
        while stop.load(Ordering::SeqCst) == 0 {
            for finding in Collector::new().idle(Duration::ZERO).run().expect("collect") {
                assert_eq!(finding.outcome, Outcome::Kept, "{finding}");
            }
        }
    });
    for _ in 0..rounds(200) {
        let receiver = mpsc().receiver(&name).expect("a seat");
        assert!(!receiver.is_empty());
        drop(receiver);
        dawdle(&mut random, 3000);
    }
    stop.store(1, Ordering::SeqCst);
    child.join();
    remove(&name).expect("remove");
}

/// A stranger's set with a key of ours.
fn strangers_set(number: i32, semaphores: i32) -> i32 {
    let flags = libc::IPC_CREAT | libc::IPC_EXCL | 0o600;
    // SAFETY: takes numbers.
    let set = unsafe { libc::semget(SET_KEY | number, semaphores, flags) };
    assert!(set >= 0, "semget: {}", io::Error::last_os_error());
    set
}

/// Adds to semaphores of a set.
fn add(set: i32, values: &[(u16, i16)]) {
    let mut ops: Vec<libc::sembuf> = values
        .iter()
        .map(|&(index, value)| libc::sembuf { sem_num: index, sem_op: value, sem_flg: 0 })
        .collect();
    // SAFETY: the length is that of the array.
    let done = unsafe { libc::semop(set, ops.as_mut_ptr(), ops.len()) };
    assert_eq!(done, 0, "semop: {}", io::Error::last_os_error());
}

/// Sets one value, which the kernel does not count as an operation.
fn set_value(set: i32, index: i32, value: i32) {
    // SAFETY: SETVAL takes a number.
    let done = unsafe { libc::semctl(set, index, libc::SETVAL, value) };
    assert_eq!(done, 0, "semctl: {}", io::Error::last_os_error());
}

/// A segment of a channel's size with one byte in it.
fn strangers_segment(at: usize) -> Segment {
    let segment = Segment::create(Key::PRIVATE, SIZE, 0o600).expect("create");
    segment.attach().expect("attach").write(at, &[1]).expect("in bounds");
    segment
}

/// Things that are not ours, whatever their age.
fn strangers() {
    for (number, semaphores) in [(1, 1), (2, 7), (3, 3), (4, 500)] {
        strangers_set(number, semaphores);
    }
    add(strangers_set(5, 8), &[(0, 3)]);
    add(strangers_set(6, 8), &[(3, 1), (4, 1)]);
    add(strangers_set(7, 8), &[(0, 0x5354), (1, 1), (2, 1)]);
    set_value(strangers_set(8, 8), 0, 1);
    set_value(strangers_set(9, 8), 5, 1);
    for at in [0, 8, 200, 400, 1000, 5000, SIZE - 1] {
        strangers_segment(at);
    }
    Segment::create(Key::PRIVATE, 0x528, 0o600).expect("create");
    Segment::create(Key::PRIVATE, 4096 + 0x528, 0o600).expect("create");
}

fn strangers_are_left_alone() {
    strangers();
    Segment::create(Key::PRIVATE, SIZE, 0o600).expect("create"); // young, so it may be somebody's
    strangers_set(10, 8);
    let before = objects();
    assert_eq!(collect(), []);
    assert_eq!(collect_with(&Collector::new().idle(Duration::ZERO)), []);
    drop(spsc().pair().expect("a pair"));
    assert_eq!(objects(), before);
    before.iter().for_each(remove_by_hand);
}

fn other_users_are_left_alone() {
    if !is_root() {
        return;
    }
    let (empty, marked) = (Name::new(), Name::new());
    fork(|| {
        become_user(1234);
        drop(spsc().create(&empty).expect("create"));
        mark_removed(&spsc().create(&marked).expect("create"));
        // An orphaned set.
        let channel = spsc().create("fork-test-orphan").expect("create");
        Segment::from_id(channel.id()).remove().expect("remove");
    })
    .join();
    let before = objects();
    assert_eq!(before.len(), 5);
    fork(|| {
        become_user(4321);
        assert_eq!(collect(), []);
        assert_eq!(collect_with(&Collector::new().idle(Duration::ZERO)), []);
        drop(spsc().pair().expect("a pair"));
    })
    .join();
    assert_eq!(objects(), before);
    fork(|| {
        become_user(1234);
        let kinds: Vec<_> = collect().iter().map(|finding| (finding.kind, finding.outcome)).collect();
        assert!(kinds.contains(&(FindingKind::MarkedRemoved, Outcome::Removed)), "{kinds:?}");
        assert!(kinds.contains(&(FindingKind::OrphanedSet, Outcome::Removed)), "{kinds:?}");
        assert_eq!(kinds.len(), 3, "{kinds:?}");
    })
    .join();
    // Root collects everybody's.
    assert_eq!(idle(&empty, Duration::ZERO), Some(Outcome::Removed));
    assert_eq!(objects(), []);
}

/// As a remover does that is killed in the next instruction.
fn mark_removed(channel: &Channel) {
    let mapping = Segment::from_id(channel.id()).attach().expect("attach");
    mapping.write(256 + 16 + 7, &[0x80]).expect("in bounds");
}

/// Half-made things without a mark are taken for dead after a minute, which the long form waits.
fn what_is_old_goes() {
    if !is_long() {
        return;
    }
    strangers();
    let mut strange = objects();
    let name = Name::new();
    let channel = spsc().create(&name).expect("create");
    let stats = channel.stats().expect("stats");
    let own: Vec<Object> = objects().into_iter().filter(|object| !strange.contains(object)).collect();
    assert_eq!(own.len(), 2);
    let blank = Segment::create(Key::PRIVATE, SIZE, 0o600).expect("create");
    let unnamed = strangers_set(10, 8);
    // Of a maker that has lost the race for its channel.
    let replaced = strangers_set(11, 8);
    let id = stats.id;
    let marks = [(0, 0x5350 | id >> 30), (1, id & 0x7fff), (2, id >> 15 & 0x7fff)];
    let marks = marks.iter().filter(|(_, value)| *value != 0);
    add(replaced, &marks.map(|&(index, value)| (index, value as i16)).collect::<Vec<_>>());
    drop(channel);
    assert!(collect().iter().all(is_idle));
    pause(62_000);
    let mut found: Vec<_> = collect().iter().map(|finding| (finding.id, finding.outcome)).collect();
    let mut expected = vec![
        (stats.id, Outcome::Kept),
        (blank.id(), Outcome::Removed),
        (unnamed, Outcome::Removed),
        (replaced, Outcome::Removed),
    ];
    found.sort_by_key(|(id, _)| *id);
    expected.sort_by_key(|(id, _)| *id);
    let left = objects();
    strange.extend(own);
    strange.sort();
    works(&spsc(), &name);
    left.iter().filter(|object| !matches!(object, Object::Segment { id, .. } if *id == stats.id)).for_each(
        |object| {
            if !matches!(object, Object::Set { id, .. } if *id == stats.semaphore_set) {
                remove_by_hand(object);
            }
        },
    );
    assert_eq!(left, strange, "strangers are gone, or ours are left");
    assert_eq!(found, expected);
    remove(&name).expect("remove");
}

/// Makers, users and removers at work, some of them killed, while somebody collects all the time.
fn traffic_does_not_notice() {
    if !own_ipc_namespace() {
        return; // the dead of this storm would be cleared away with those of others
    }
    let mut random = random();
    let names = [Name::new(), Name::new()];
    let life = |seed: u64, removes: bool| {
        let mut random = Random::new(seed);
        let known = [OpenErrorKind::NotFound, OpenErrorKind::Removed, OpenErrorKind::AlreadyExists];
        loop {
            let name = &names[random.below(2) as usize];
            let done = (|| -> Result<(), OpenError> {
                match random.below(if removes { 4 } else { 3 }) {
                    0 => drop(mpsc().capacity(4096).sender(name)?.try_send("x")),
                    1 => drop(mpsc().capacity(4096).receiver(name)?.try_recv_vec()),
                    2 => {
                        let (mut sender, mut receiver) = spsc().capacity(4096).pair()?;
                        sender.send("y").expect("nobody collects a pair");
                        assert_eq!(receiver.recv_vec().expect("nobody collects a pair"), b"y");
                    }
                    _ => remove(name)?,
                }
                Ok(())
            })();
            if let Err(error) = done {
                let taken = matches!(error.kind(), OpenErrorKind::SeatTaken { .. });
                assert!(taken || known.contains(&error.kind()), "{error}");
            }
        }
    };
    let seed = random.below(u64::MAX);
    let mut children: Vec<Child> = (0..4).map(|number| fork(|| life(seed ^ number, number == 0))).collect();
    let mut collected = 0;
    for round in 0..u64::from(rounds(300)) {
        for finding in Collector::new().run().expect("collect") {
            assert!(!matches!(finding.outcome, Outcome::Failed(_)), "{finding}");
            collected += u32::from(finding.outcome == Outcome::Removed);
        }
        let index = random.below(4) as usize;
        assert_eq!(children[index].try_wait(), None, "it has failed");
        if round.is_multiple_of(5) {
            children[index] = fork(|| life(seed ^ round << 8, index == 0)); // the old one is killed
        }
    }
    drop(children);
    println!("    {collected} things were collected");
    for name in &names {
        let _ = remove(name);
    }
    collect();
    // What was killed a moment ago, before it had a name.
    let left = objects();
    assert!(left.len() < 20, "{left:?}");
    left.iter().for_each(remove_by_hand);
}

/// Two lanes of 4 KiB and one of 8 KiB make segments of one size. Whoever comes to the half-made channel of a dead
/// maker gets his own, at once.
fn different_shapes_of_one_size() {
    let name = Name::new();
    let first = || drop(mpsc().senders(2).capacity(4096).create(&name).expect("create"));
    killed_at_each_call(first, |stop| {
        let second = fork(|| {
            let started = Instant::now();
            match spsc().capacity(8192).open_or_create(&name) {
                Ok(channel) => assert_eq!(channel.capacity(), 8192),
                // The first maker had done.
                Err(error) => assert_eq!(error.kind(), OpenErrorKind::Mismatch, "stop {stop}: {error}"),
            }
            assert!(started.elapsed() < Duration::from_secs(2), "stop {stop}: {:?}", started.elapsed());
        });
        second.join();
        let _ = remove(&name);
        objects().iter().for_each(remove_by_hand);
    });
    let _ = remove(&name);
}

/// A collector writes its last word while somebody opens the channel, at any of his calls: he may not bring it back.
fn a_condemned_channel_does_not_come_back() {
    let last_word = u64::MAX.to_le_bytes();
    for stop in 0_usize.. {
        let name = Name::new();
        let channel = spsc().capacity(4096).create(&name).expect("create");
        let (id, set) = (channel.id(), channel.stats().expect("stats").semaphore_set);
        drop(channel);
        let header = Segment::from_id(id).attach().expect("attach");
        // As the collector does: no set, but the name of the one that was there.
        let aside = 2_u64 << 32 | u64::from((!set).cast_unsigned());
        header.write(128, &aside.to_le_bytes()).expect("inside");
        remove_set(set);
        let sent = shared_words(1);
        let opening = Traced::start(|| {
            let sender = spsc().capacity(4096).sender(&name);
            sent[0].store(u64::from(sender.is_ok_and(|mut tx| tx.send("kept").is_ok())), Ordering::SeqCst);
        });
        let on_its_way = opening.advance(stop);
        let mut word = [0; 8];
        header.read(128, &mut word).expect("inside");
        // This process is alone with the word: the other one is stopped.
        let condemned = word == aside.to_le_bytes();
        if condemned {
            header.write(128, &last_word).expect("inside");
        }
        if on_its_way {
            opening.request(libc::PTRACE_DETACH, 0);
        }
        opening.0.join();
        header.read(128, &mut word).expect("inside");
        drop(header);
        if condemned {
            assert_eq!(word, last_word, "stop {stop}: it has come back");
        }
        if sent[0].load(Ordering::SeqCst) == 1 {
            let message = spsc().receiver(&name).expect("a seat").try_recv_vec();
            assert_eq!(message.expect("the message"), b"kept", "stop {stop}");
        }
        let _ = remove(&name);
        objects().iter().for_each(remove_by_hand);
        if !on_its_way {
            println!("    {stop} stops");
            break;
        }
    }
}

/// Whoever made the channel whole in the meantime keeps it.
fn a_maker_that_may_not_lock_takes_nothing_away() {
    if !is_root() {
        return; // nobody else is allowed to lock for certain
    }
    let become_nobody = || {
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: reads a record of ours.
        unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &none) };
        become_user(1234);
    };
    for stop in 0_usize.. {
        let name = Name::new();
        let making = Traced::start(|| {
            become_nobody();
            let error = spsc().capacity(4096).lock(true).create(&name).expect_err("no right to lock");
            assert_ne!(error.kind(), OpenErrorKind::Mismatch);
        });
        let on_its_way = making.advance(stop);
        let sent = shared_words(1);
        let sending = fork(|| {
            become_nobody();
            if objects().iter().any(|object| matches!(object, Object::Segment { key, .. } if *key != 0)) {
                let sender = spsc().capacity(4096).sender(&name);
                sent[0]
                    .store(u64::from(sender.is_ok_and(|mut tx| tx.send("kept").is_ok())), Ordering::SeqCst);
            }
        });
        sending.join();
        if on_its_way {
            making.request(libc::PTRACE_DETACH, 0);
        }
        making.0.wait();
        if sent[0].load(Ordering::SeqCst) == 1 {
            let mut receiver = spsc().trust_uid(1234).receiver(&name).expect("a seat");
            assert_eq!(receiver.try_recv_vec().expect("the message"), b"kept", "stop {stop}");
        }
        let _ = remove(&name);
        objects().iter().for_each(remove_by_hand);
        if !on_its_way {
            println!("    {stop} stops");
            break;
        }
    }
}
