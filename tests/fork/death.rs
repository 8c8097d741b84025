//! Death of a peer, by its own will or by SIGKILL: noticed at once, nothing lost, the next one goes on.

use std::time::{Duration, Instant};

use sysring::{Builder, Fault, RecvError, Sender, TrySendError, WaitStrategy, mpsc, spsc};

use crate::message::{Random, compose, decode};
use crate::process::{Child, Name, Pipe, fork, pause, until};
use crate::runner::tests;
use crate::wait::{PROMPT, fill};

tests![
    receiver_wakes_when_the_last_sender_leaves,
    receiver_wakes_when_the_last_sender_is_killed,
    spinning_receiver_notices_too,
    what_a_killed_sender_sent_comes_first,
    senders_wake_when_the_receiver_is_killed,
    senders_wake_when_the_receiver_leaves,
    sender_with_room_notices_at_last,
    persistent_sender_waits_for_the_next_receiver,
    receiver_killed_with_a_guard,
    receiver_killed_with_a_batch,
    forgotten_guard_and_batch_come_again,
    killed_senders_leave_whole_messages,
    killed_receivers_lose_nothing,
    a_stopped_sender_holds_up_nobody,
    disconnected_again_and_at_once,
    every_send_after_the_death_is_told,
    disconnected_is_not_the_last_word,
    is_connected_asks_at_once,
    end_after_so_many_senders,
    end_never,
];

const BOTH: [WaitStrategy; 2] = [WaitStrategy::Sleep, WaitStrategy::SpinThenSleep];

/// Prints how long a death took to be noticed, and fails if a ceiling was needed.
fn noticed(what: &str, took: Duration) {
    println!("{what}: noticed after {took:?}");
    assert!(took < PROMPT, "{what}: {took:?}");
}

/// The receiver sleeps; then `end` ends its senders. How long it takes until it says `Disconnected`.
fn time_to_disconnect(builder: &Builder, senders: usize, end: impl Fn(&Child, &Pipe)) -> Duration {
    let name = Name::new();
    let channel = builder.create(&name).expect("create");
    let (ready, leave, report) = (Pipe::new(), Pipe::new(), Pipe::new());
    let children: Vec<Child> = (0..senders)
        .map(|_| {
            fork(|| {
                let mut sender = channel.sender().expect("a seat");
                sender.send("only one").expect("send");
                ready.put(0);
                leave.get();
                drop(sender);
            })
        })
        .collect();
    children.iter().for_each(|_| _ = ready.get());
    let epoch = Instant::now();
    let receiver = fork(|| {
        let mut receiver = channel.receiver().expect("a seat");
        assert_eq!(receiver.iter().filter(Result::is_ok).count(), senders);
        report.put(epoch.elapsed().as_micros() as u64);
    });
    until("everything is received", || {
        channel.stats().expect("stats").lanes.iter().all(|lane| lane.messages == 0)
    });
    pause(15);
    if builder_sleeps(builder) {
        until("the receiver sleeps", || channel.stats().expect("stats").receiver.asleep);
    }
    for child in &children[1..] {
        end(child, &leave);
        pause(2);
        assert!(receiver.try_wait().is_none(), "a sender is left");
    }
    let started = epoch.elapsed();
    end(&children[0], &leave);
    let took = Duration::from_micros(report.get()).saturating_sub(started);
    receiver.join();
    took
}

fn builder_sleeps(builder: &Builder) -> bool {
    !format!("{builder:?}").contains("wait: Spin,")
}

fn receiver_wakes_when_the_last_sender_leaves() {
    for wait in BOTH {
        noticed("clean leave, spsc", time_to_disconnect(&spsc().wait(wait), 1, |_, leave| leave.put(0)));
        noticed("clean leave, 4 senders", time_to_disconnect(&mpsc().wait(wait), 4, |_, leave| leave.put(0)));
    }
}

fn receiver_wakes_when_the_last_sender_is_killed() {
    for wait in BOTH {
        noticed("SIGKILL, spsc", time_to_disconnect(&spsc().wait(wait), 1, |child, _| child.kill()));
        noticed("SIGKILL, 8 senders", time_to_disconnect(&mpsc().wait(wait), 8, |child, _| child.kill()));
    }
}

fn spinning_receiver_notices_too() {
    let builder = mpsc().wait(WaitStrategy::Spin);
    noticed("SIGKILL, spinning", time_to_disconnect(&builder, 2, |child, _| child.kill()));
    noticed("clean leave, spinning", time_to_disconnect(&builder, 2, |_, leave| leave.put(0)));
}

fn what_a_killed_sender_sent_comes_first() {
    for builder in [spsc(), mpsc()] {
        let (mut sender, mut receiver) = builder.pair().expect("a pair");
        let pipe = Pipe::new();
        let child = fork(|| {
            (0..1000_u32).for_each(|number| sender.send(number.to_le_bytes()).expect("send"));
            pipe.put(0);
            exit_never();
        });
        pipe.get();
        child.kill();
        for number in 0..1000_u32 {
            assert_eq!(receiver.recv_vec().expect("sent before the death"), number.to_le_bytes());
        }
        assert!(matches!(receiver.recv(), Err(RecvError::Disconnected)));
    }
}

fn exit_never() -> ! {
    loop {
        pause(1000);
    }
}

/// Senders sleep on full lanes of a channel that is not persistent; then `end` ends the receiver.
fn senders_disconnect(builder: &Builder, senders: u64, end: impl Fn(&Child, &Pipe)) {
    let name = Name::new();
    let channel = builder.clone().persistent(false).capacity(4096).create(&name).expect("create");
    let (ready, leave, report) = (Pipe::new(), Pipe::new(), Pipe::new());
    let receiver = fork(|| {
        let receiver = channel.receiver().expect("a seat");
        ready.put(0);
        leave.get();
        drop(receiver);
    });
    ready.get();
    let epoch = Instant::now();
    let children: Vec<Child> = (0..senders)
        .map(|_| {
            fork(|| {
                let mut sender = channel.sender().expect("a seat");
                fill(&mut sender, 300);
                let error = sender.send([3; 300]).expect_err("nobody makes room");
                report.put(epoch.elapsed().as_micros() as u64);
                assert!(error.is_disconnected(), "{error}");
                assert_eq!(error.into_inner(), [3; 300], "the message comes back");
                assert!(
                    sender.try_send("x").is_err_and(|error| error.is_disconnected())
                        || !sender.is_connected()
                );
            })
        })
        .collect();
    until("all senders sleep", || {
        channel.stats().expect("stats").lanes.iter().filter(|lane| lane.seat.asleep).count() as u64 == senders
    });
    let started = epoch.elapsed();
    end(&receiver, &leave);
    let last = (0..senders).map(|_| Duration::from_micros(report.get())).max().expect("some");
    noticed("end of the receiver", last.saturating_sub(started));
    children.iter().for_each(Child::join);
}

fn senders_wake_when_the_receiver_is_killed() {
    for wait in BOTH {
        senders_disconnect(&spsc().wait(wait), 1, |receiver, _| receiver.kill());
        senders_disconnect(&mpsc().wait(wait), 8, |receiver, _| receiver.kill());
    }
}

fn senders_wake_when_the_receiver_leaves() {
    for wait in BOTH {
        senders_disconnect(&spsc().wait(wait), 1, |_, leave| leave.put(0));
        senders_disconnect(&mpsc().wait(wait), 8, |_, leave| leave.put(0));
    }
}

/// At latest after one lap of the lane.
fn sender_with_room_notices_at_last() {
    let (mut sender, mut receiver) = mpsc().capacity(4096).pair().expect("a pair");
    let child = fork(|| receiver.attach().expect("a seat"));
    child.join();
    let sent = (0..4096).find_map(|_| sender.send([0; 48]).err());
    assert!(sent.expect("at latest when the lane is full").is_disconnected());
}

fn persistent_sender_waits_for_the_next_receiver() {
    for (turn, builder) in [spsc(), mpsc()].into_iter().enumerate() {
        let name = Name::new();
        let channel = builder.capacity(4096).create(&name).expect("create");
        assert!(channel.persistent());
        let pipe = Pipe::new();
        let sender = fork(|| {
            let mut sender = channel.sender().expect("a seat");
            (0..2000_u32).for_each(|number| sender.send(number.to_le_bytes()).expect("persistent"));
        });
        let receiver = fork(|| {
            let mut receiver = channel.receiver().expect("a seat");
            for number in 0..500_u32 {
                assert_eq!(receiver.recv_vec().expect("a message"), number.to_le_bytes());
            }
            pipe.put(0);
            exit_never();
        });
        pipe.get();
        receiver.kill();
        until("the sender sleeps on a full lane", || channel.stats().expect("stats").lanes[0].seat.asleep);
        pause(if turn == 0 { 1100 } else { 30 }); // longer than the ceiling, once
        assert_eq!(sender.try_wait(), None);
        let mut receiver = channel.receiver().expect("the seat is free");
        for number in 500..2000_u32 {
            let message = receiver.recv().expect("a message");
            assert!(!message.redelivered());
            assert_eq!(message.to_vec(), number.to_le_bytes());
        }
        assert!(matches!(receiver.recv(), Err(RecvError::Disconnected)));
        sender.join();
    }
}

fn receiver_killed_with_a_guard() {
    for builder in [spsc(), mpsc()] {
        let name = Name::new();
        let channel = builder.create(&name).expect("create");
        let mut sender = channel.sender().expect("a seat");
        (0..10_u8).for_each(|number| sender.send([number]).expect("send"));
        let pipe = Pipe::new();
        let child = fork(|| {
            let mut receiver = channel.receiver().expect("a seat");
            (0..3).for_each(|_| drop(receiver.recv().expect("a message")));
            let message = receiver.recv().expect("a message");
            assert_eq!(message.to_vec(), [3]);
            assert!(!message.redelivered());
            pipe.put(0);
            exit_never();
        });
        pipe.get();
        child.kill();
        let mut receiver = channel.receiver().expect("the seat is free");
        for number in 3..10_u8 {
            let message = receiver.recv().expect("a message");
            assert_eq!((message.to_vec(), message.redelivered()), (vec![number], number == 3));
        }
        assert!(receiver.try_recv().is_err_and(|error| error.is_empty()));
    }
}

fn receiver_killed_with_a_batch() {
    let name = Name::new();
    let channel = mpsc().create(&name).expect("create");
    let mut senders = [channel.sender().expect("a seat"), channel.sender().expect("a seat")];
    (0..10_u8).for_each(|number| senders[number as usize % 2].send([number]).expect("send"));
    let pipe = Pipe::new();
    let child = fork(|| {
        let mut receiver = channel.receiver().expect("a seat");
        let batch = receiver.recv_batch(6).expect("messages");
        assert_eq!(batch.len(), 6);
        pipe.put(0);
        exit_never();
    });
    pipe.get();
    child.kill();
    let mut receiver = channel.receiver().expect("the seat is free");
    let batch = receiver.recv_batch(100).expect("messages");
    let got: Vec<_> = batch.iter().map(|message| (message.to_vec()[0], message.redelivered())).collect();
    let expected: Vec<_> = (0..10_u8).map(|number| (number, number < 6)).collect();
    assert_eq!(got, expected);
}

fn forgotten_guard_and_batch_come_again() {
    for builder in [spsc(), mpsc()] {
        let (mut sender, mut receiver) = builder.pair().expect("a pair");
        (0..6_u8).for_each(|number| sender.send([number]).expect("send"));
        std::mem::forget(receiver.recv().expect("a message"));
        let message = receiver.recv().expect("the same");
        assert_eq!((message.to_vec(), message.redelivered()), (vec![0], true));
        std::mem::forget(message);
        std::mem::forget(receiver.recv_batch(3).expect("messages"));
        let batch = receiver.recv_batch(9).expect("messages");
        let got: Vec<_> = batch.iter().map(|message| (message.to_vec()[0], message.redelivered())).collect();
        assert_eq!(got, [(0, true), (1, true), (2, true), (3, false), (4, false), (5, false)]);
        drop(batch);
        assert!(receiver.try_recv().is_err_and(|error| error.is_empty()));
        assert!(sender.is_empty());
    }
}

/// Sends messages of all lengths as life `life` of a sender until somebody kills it.
fn send_until_killed(sender: &mut Sender, life: u32) {
    let mut bytes = Vec::new();
    for number in 0.. {
        compose(&mut bytes, life, number, length(life, number));
        if sender.send(&bytes).is_err() {
            return;
        }
    }
}

fn length(life: u32, number: u32) -> usize {
    16 + Random::new(u64::from(life) << 32 | u64::from(number)).below(700) as usize
}

/// Senders are killed at random moments and start again; every life's messages come whole and without a gap.
fn killed_senders_leave_whole_messages() {
    const LIVES: u32 = 120;
    let name = Name::new();
    let channel = mpsc().senders(4).capacity(4096).create(&name).expect("create");
    let mut last = channel.sender().expect("a seat");
    let mut random = Random::new(7);
    let report = Pipe::new();
    let receiver = fork(|| {
        let mut receiver = channel.receiver().expect("a seat");
        let mut next = vec![0_u32; LIVES as usize];
        loop {
            let message = receiver.recv().expect("the last sender has a seat");
            let (life, number) = decode(&message.to_vec());
            if life == LIVES {
                break; // sent when all others were dead, so theirs come before
            }
            assert_eq!(message.len(), length(life, number));
            assert_eq!(number, next[life as usize], "life {life}");
            next[life as usize] += 1;
        }
        report.put(next.iter().map(|&count| u64::from(count)).sum());
    });
    let start = |life| {
        fork(|| {
            let mut sender = channel.sender().expect("a killed one's seat is free at once");
            send_until_killed(&mut sender, life);
        })
    };
    let mut alive: Vec<Child> = (0..3).map(start).collect();
    for life in 3..LIVES + 3 {
        std::thread::sleep(Duration::from_micros(random.below(4000)));
        let victim = random.below(alive.len() as u64) as usize;
        alive.swap_remove(victim).kill();
        if life < LIVES {
            alive.push(start(life));
        }
    }
    let mut bytes = Vec::new();
    compose(&mut bytes, LIVES, 0, 16);
    last.send(&bytes).expect("send");
    println!("{LIVES} senders killed, {} messages received whole", report.get());
    receiver.join();
}

/// Receivers are killed at random moments; what they were lent last may come again, marked, and nothing else.
fn killed_receivers_lose_nothing() {
    const LIVES: u32 = 80;
    let name = Name::new();
    let channel = mpsc().senders(2).capacity(4096).create(&name).expect("create");
    let senders: Vec<Child> =
        (0..2).map(|who| fork(|| send_until_killed(&mut channel.sender().expect("a seat"), who))).collect();
    let mut random = Random::new(8);
    let mut next = [0_u32; 2];
    let mut repeated = 0;
    for _ in 0..LIVES {
        let log = Pipe::new();
        let child = fork(|| {
            let mut receiver = channel.receiver().expect("a killed one's seat is free at once");
            loop {
                let message = receiver.recv().expect("a message");
                let (who, number) = decode(&message.to_vec());
                log.put(u64::from(message.redelivered()) << 63 | u64::from(who) << 32 | u64::from(number));
            }
        });
        // Reading what it wrote keeps it going; it is killed at any instruction.
        let end = Instant::now() + Duration::from_micros(500 + random.below(6000));
        let mut take = |entry: u64| {
            let (again, who, number) = (entry >> 63 == 1, (entry >> 32 & 1) as usize, entry as u32);
            if again && number + 1 == next[who] {
                repeated += 1;
            } else {
                assert_eq!(number, next[who], "sender {who}, redelivered {again}");
                next[who] += 1;
            }
        };
        while Instant::now() < end {
            take(log.get());
        }
        child.kill();
        log.rest().for_each(take);
    }
    println!("{LIVES} receivers killed, {} messages, {repeated} came again", next[0] + next[1]);
    sysring::remove(&name).expect("remove");
    senders.iter().for_each(Child::join);
}

fn a_stopped_sender_holds_up_nobody() {
    for wait in BOTH {
        let (mut sender, mut receiver) = mpsc().senders(2).capacity(4096).wait(wait).pair().expect("a pair");
        let pipe = Pipe::new();
        let stopped = fork(|| {
            let mut slot = sender.reserve(100).expect("room");
            slot.write(b"half a message").expect("it fits");
            pipe.put(0);
            exit_never();
        });
        pipe.get();
        stopped.signal(libc::SIGSTOP);
        let other =
            fork(|| (0..20_000_u32).for_each(|number| sender.send(number.to_le_bytes()).expect("send")));
        let started = Instant::now();
        for number in 0..20_000_u32 {
            assert_eq!(receiver.recv_vec().expect("a message"), number.to_le_bytes());
        }
        println!("20000 messages beside a stopped sender: {:?}", started.elapsed());
        other.join();
        assert!(
            receiver.try_recv().is_err_and(|error| error.is_empty()),
            "the stopped one still has its seat"
        );
        stopped.kill();
        assert!(matches!(receiver.recv(), Err(RecvError::Disconnected)));
    }
}

/// Who asks again is answered again, and does not sleep on it.
/// There is room for all of them: only the question to the kernel can tell.
fn every_send_after_the_death_is_told() {
    let (mut sender, mut receiver) = spsc().wait(WaitStrategy::Sleep).pair().expect("a channel");
    sender.attach().expect("a seat");
    let child = fork(|| {
        receiver.recv().expect("the first message");
        receiver.recv().expect("never comes");
    });
    sender.send("one").expect("somebody will come");
    until("the receiver sleeps", || sender.is_empty() && sender.stats().expect("stats").receiver.asleep);
    child.kill();
    // It was asleep and stays marked so: this one rings, and goes in.
    sender.send("two").expect("nobody has asked yet");
    for _ in 0..20 {
        let error = sender.send("three").expect_err("nobody is there");
        assert!(matches!(error.fault(), Fault::Disconnected), "{error}");
    }
    drop(receiver);
}

fn disconnected_again_and_at_once() {
    for wait in [WaitStrategy::Spin, WaitStrategy::SpinThenSleep, WaitStrategy::Sleep] {
        let builder = mpsc().capacity(4096).wait(wait);
        let (mut sender, mut receiver) = builder.pair().expect("a pair");
        sender.send("x").expect("send");
        drop(sender);
        assert_eq!(receiver.recv_vec().expect("a message"), b"x");
        let started = Instant::now();
        for _ in 0..3 {
            assert!(matches!(receiver.recv(), Err(RecvError::Disconnected)));
            assert!(receiver.recv_timeout(PROMPT).is_err_and(|error| error.is_disconnected()));
        }
        assert!(started.elapsed() < PROMPT, "{wait:?}, receiver: {:?}", started.elapsed());

        let (mut sender, mut receiver) = builder.pair().expect("a pair");
        receiver.attach().expect("a seat");
        fill(&mut sender, 64);
        drop(receiver);
        let started = Instant::now();
        for _ in 0..3 {
            assert!(sender.send([0; 64]).is_err_and(|error| error.is_disconnected()));
            assert!(sender.send_timeout([0; 64], PROMPT).is_err_and(|error| error.is_disconnected()));
        }
        assert!(started.elapsed() < PROMPT, "{wait:?}, sender: {:?}", started.elapsed());
    }
}

fn disconnected_is_not_the_last_word() {
    let name = Name::new();
    let channel = mpsc().persistent(false).create(&name).expect("create");
    let mut receiver = channel.receiver().expect("a seat");
    for round in 0..5_u8 {
        fork(|| channel.sender().expect("a seat").send([round]).expect("send")).join();
        assert_eq!(receiver.recv_vec().expect("a message"), [round]);
        assert!(matches!(receiver.recv(), Err(RecvError::Disconnected)));
    }
    let mut sender = channel.sender().expect("a seat");
    drop(receiver);
    let error = (0..1_000_000).find_map(|_| sender.try_send([1; 64]).err()).expect("full or disconnected");
    match error {
        TrySendError::Full(_) => {
            until("the sender hears of it", || {
                sender.try_send([1; 64]).is_err_and(|error| error.is_disconnected())
            });
        }
        TrySendError::Failed(error) => assert!(matches!(error.fault(), Fault::Disconnected), "{error}"),
    }
    let mut receiver = channel.receiver().expect("a seat");
    assert!(receiver.try_iter().count() > 0);
    sender.send("there is a receiver again").expect("send");
}

fn is_connected_asks_at_once() {
    let (mut sender, mut receiver) = spsc().pair().expect("a pair");
    assert!(!sender.is_connected() && !receiver.is_connected());
    let pipe = Pipe::new();
    let child = fork(|| {
        sender.attach().expect("a seat");
        pipe.put(0);
        exit_never();
    });
    pipe.get();
    assert!(receiver.is_connected());
    child.kill();
    assert!(!receiver.is_connected());
    receiver.attach().expect("a seat");
    assert!(sender.is_connected());
}

fn end_after_so_many_senders() {
    let name = Name::new();
    let channel = mpsc().create(&name).expect("create");
    let mut receiver = channel.receiver().expect("a seat");
    receiver.set_end(sysring::EndOfStream::AfterSenders(3));
    for round in 0..2_u8 {
        let children: Vec<Child> = (0..3)
            .map(|_| {
                fork(|| {
                    let mut sender = channel.sender().expect("a seat");
                    (0..100).for_each(|_| sender.send([round]).expect("send"));
                })
            })
            .collect();
        let all: Vec<_> = receiver.iter().map(|bytes| bytes.expect("a message")).collect();
        assert_eq!(all, vec![[round]; 300]);
        children.iter().for_each(Child::join);
    }
    fork(|| drop(channel.sender().expect("a seat"))).join();
    assert_eq!(receiver.departures(), 1);
    assert!(receiver.recv_timeout(Duration::from_millis(20)).is_err_and(|error| error.is_timeout()));
    // The next receiver counts on.
    drop(receiver);
    let mut receiver = channel.receiver().expect("a seat");
    assert_eq!(receiver.departures(), 1);
    receiver.set_end(sysring::EndOfStream::AfterSenders(1));
    assert!(matches!(receiver.recv(), Err(RecvError::Disconnected)));
    assert_eq!(receiver.departures(), 0);
}

fn end_never() {
    let name = Name::new();
    let channel = spsc().create(&name).expect("create");
    let mut receiver = channel.receiver().expect("a seat");
    receiver.set_end(sysring::EndOfStream::Never);
    for round in 0..3_u8 {
        fork(|| channel.sender().expect("a seat").send([round]).expect("send")).join();
        assert_eq!(receiver.recv_vec().expect("a message"), [round]);
        assert!(receiver.recv_timeout(Duration::from_millis(20)).is_err_and(|error| error.is_timeout()));
    }
}
