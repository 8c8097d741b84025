//! Removal under use: everybody is told, promptly.

use std::time::{Duration, Instant};

use sysring::segment::Segment;
use sysring::{Fault, OpenErrorKind, RecvError, SendTimeoutError, WaitStrategy, mpsc, spsc};

use crate::process::{Child, Name, Pipe, fork, objects, pause, remove_set, until};
use crate::runner::tests;
use crate::wait::{PROMPT, fill};

tests![
    sleepers_are_told_of_rm,
    spinners_are_told_of_rm,
    those_at_work_are_told_of_rm,
    every_call_says_removed,
    the_name_is_free_at_once,
    removed_by_its_key_or_id,
    bare_removal_of_the_segment,
    a_second_removal_finds_nothing,
];

/// A receiver that waits and two senders that wait for room; then the channel is removed.
fn told_of_rm(wait: WaitStrategy) {
    // One channel cannot have both, an empty and a full lane's waiters, so two.
    let (empty, full) = (Name::new(), Name::new());
    let report = Pipe::new();
    let epoch = Instant::now();
    let waits_for_message = mpsc().wait(wait).create(&empty).expect("create");
    let waits_for_room = mpsc().wait(wait).capacity(4096).create(&full).expect("create");
    let mut children = vec![fork(|| {
        let mut receiver = waits_for_message.receiver().expect("a seat");
        let error = receiver.recv().map(drop).expect_err("removed");
        report.put(epoch.elapsed().as_micros() as u64);
        assert!(matches!(error, RecvError::Removed), "{error}");
    })];
    for _ in 0..3 {
        children.push(fork(|| {
            let mut sender = waits_for_room.sender().expect("a seat");
            fill(&mut sender, 64);
            let error = sender.send([0; 64]).expect_err("removed");
            report.put(epoch.elapsed().as_micros() as u64);
            assert!(error.is_removed(), "{error}");
        }));
    }
    let seated = |stats: &sysring::Stats| stats.lanes.iter().filter(|lane| lane.seat.taken).count();
    until("all have come", || {
        let (one, other) =
            (waits_for_message.stats().expect("stats"), waits_for_room.stats().expect("stats"));
        one.receiver.taken && seated(&other) == 3
    });
    if wait != WaitStrategy::Spin {
        until("all sleep", || {
            let (one, other) =
                (waits_for_message.stats().expect("stats"), waits_for_room.stats().expect("stats"));
            one.receiver.asleep && other.lanes.iter().all(|lane| lane.seat.asleep)
        });
    }
    pause(10);
    let started = epoch.elapsed();
    sysring::remove(&empty).expect("remove");
    sysring::remove(&full).expect("remove");
    for _ in &children {
        let took = Duration::from_micros(report.get()).saturating_sub(started);
        assert!(took < PROMPT, "{wait:?}: told after {took:?}");
    }
    children.iter().for_each(Child::join);
    assert!(waits_for_message.stats().is_err() || waits_for_message.stats().is_ok_and(|stats| stats.removed));
}

fn sleepers_are_told_of_rm() {
    told_of_rm(WaitStrategy::Sleep);
    told_of_rm(WaitStrategy::SpinThenSleep);
}

fn spinners_are_told_of_rm() {
    told_of_rm(WaitStrategy::Spin);
}

/// In the middle of a stream, at a random moment.
fn those_at_work_are_told_of_rm() {
    let mut random = crate::message::Random::new(3);
    for _ in 0..40 {
        let name = Name::new();
        let channel = mpsc().senders(2).capacity(4096).create(&name).expect("create");
        let mut children: Vec<Child> = (0..2)
            .map(|_| {
                fork(|| {
                    let Ok(mut sender) = channel.sender() else { return };
                    let error = (0..).find_map(|_| sender.send([0; 48]).err()).expect("removed");
                    assert!(error.is_removed(), "{error}");
                })
            })
            .collect();
        children.push(fork(|| {
            let Ok(mut receiver) = channel.receiver() else { return };
            let error = receiver.iter().find_map(Result::err);
            // Between two messages both may have gone already, told before us.
            assert!(matches!(error, None | Some(RecvError::Removed)), "{error:?}");
        }));
        std::thread::sleep(Duration::from_micros(random.below(4000)));
        let started = Instant::now();
        sysring::remove(&name).expect("remove");
        children.iter().for_each(Child::join);
        assert!(started.elapsed() < PROMPT, "{:?}", started.elapsed());
    }
}

fn every_call_says_removed() {
    for builder in [spsc(), mpsc()] {
        let name = Name::new();
        let channel = builder.create(&name).expect("create");
        let mut sender = channel.sender().expect("a seat");
        let mut receiver = channel.receiver().expect("a seat");
        let slot = sender.reserve(5).expect("room");
        channel.remove().expect("remove");
        assert!(slot.commit().is_err_and(|error| error.is_removed()));
        assert!(sender.send("x").is_err_and(|error| error.is_removed()));
        let error = sender.try_send("x").expect_err("removed");
        assert!(matches!(error, sysring::TrySendError::Failed(error) if error.is_removed()));
        let error = sender.send_timeout("x", PROMPT).expect_err("removed");
        assert!(matches!(error, SendTimeoutError::Failed(error) if matches!(error.fault(), Fault::Removed)));
        assert!(sender.reserve(1).is_err_and(|error| error.is_removed()));
        assert!(matches!(receiver.recv(), Err(RecvError::Removed)));
        assert!(matches!(receiver.try_recv(), Err(sysring::TryRecvError::Failed(RecvError::Removed))));
        assert!(matches!(receiver.recv_vec(), Err(RecvError::Removed)));
        assert!(!sender.is_connected() && !receiver.is_connected());
        assert_eq!(channel.sender().expect_err("removed").kind(), OpenErrorKind::Removed);
        assert_eq!(channel.receiver().expect_err("removed").kind(), OpenErrorKind::Removed);
        assert!(sender.try_clone().is_err_and(|error| error.kind() == OpenErrorKind::Removed));
    }
}

fn the_name_is_free_at_once() {
    let name = Name::new();
    let mut old = Vec::new();
    for round in 0..20_u8 {
        let channel = mpsc().senders(2).capacity(4096).create(&name).expect("the name is free");
        let mut sender = channel.sender().expect("a seat");
        sender.send([round]).expect("send");
        assert_eq!(mpsc().receiver(&name).expect("a seat").recv_vec().expect("a message"), [round]);
        sysring::remove(&name).expect("remove");
        old.push((channel, sender)); // still attached
    }
    for (_, sender) in &mut old {
        assert!(sender.send("x").is_err_and(|error| error.is_removed()));
    }
}

fn removed_by_its_key_or_id() {
    let name = Name::new();
    let channel = mpsc().create(&name).expect("create");
    sysring::remove(sysring::Address::key(channel.key())).expect("remove");
    let channel = mpsc().create(&name).expect("create");
    sysring::remove(sysring::Address::id(channel.id())).expect("remove");
    assert_eq!(mpsc().open(&name).expect_err("gone").kind(), OpenErrorKind::NotFound);
}

/// `ipcrm -m`: nobody rings, so it is found at the next ceiling.
fn bare_removal_of_the_segment() {
    let (empty, full) = (Name::new(), Name::new());
    let waits_for_message = spsc().create(&empty).expect("create");
    let waits_for_room = spsc().capacity(4096).create(&full).expect("create");
    let children = [
        fork(|| {
            let mut receiver = waits_for_message.receiver().expect("a seat");
            assert!(matches!(receiver.recv(), Err(RecvError::Removed)));
        }),
        fork(|| {
            let mut sender = waits_for_room.sender().expect("a seat");
            fill(&mut sender, 64);
            assert!(sender.send([0; 64]).is_err_and(|error| error.is_removed()));
        }),
    ];
    until("both sleep", || {
        waits_for_message.stats().expect("stats").receiver.asleep
            && waits_for_room.stats().expect("stats").lanes.iter().any(|lane| lane.seat.asleep)
    });
    let sets =
        [&waits_for_message, &waits_for_room].map(|channel| channel.stats().expect("stats").semaphore_set);
    for channel in [&waits_for_message, &waits_for_room] {
        Segment::from_id(channel.id()).remove().expect("remove");
    }
    children.iter().for_each(Child::join);
    for set in sets {
        if objects()
            .iter()
            .any(|object| matches!(object, crate::process::Object::Set { id, .. } if *id == set))
        {
            remove_set(set);
        }
    }
}

fn a_second_removal_finds_nothing() {
    let name = Name::new();
    let channel = spsc().create(&name).expect("create");
    sysring::remove(&name).expect("remove");
    assert_eq!(sysring::remove(&name).expect_err("gone").kind(), OpenErrorKind::NotFound);
    assert_eq!(channel.remove().expect_err("gone").kind(), OpenErrorKind::Removed);
}
