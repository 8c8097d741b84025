//! What a forked child inherits, and that it disturbs nobody with it.

use std::time::{Duration, Instant};

use sysring::{Fault, OpenErrorKind, RecvError, TryRecvError, mpsc, spsc};

use crate::process::{Name, Pipe, exit, fork, kill_oneself};
use crate::runner::tests;
use crate::wait::{PROMPT, fill};

tests![
    inherited_sender_takes_a_seat_of_its_own,
    inherited_spsc_sender_is_refused_while_the_parent_sends,
    inherited_receiver_is_refused_while_the_parent_receives,
    a_child_that_exits_disturbs_nobody,
    a_child_that_drops_disturbs_nobody,
    a_child_that_is_killed_disturbs_nobody,
    inherited_slot_is_void,
    inherited_message_is_void,
    inherited_batches_are_void,
    inherited_channel_works,
    grandchildren,
    either_side_may_use_either_end,
    alone_without_the_other_side,
    child_died_before_it_attached,
];

/// The pid that an error names as the holder of a seat.
fn holder(error: &sysring::OpenError) -> Option<i32> {
    let OpenErrorKind::SeatTaken { pid } = error.kind() else { panic!("{error}") };
    pid
}

fn our_pid() -> Option<i32> {
    Some(std::process::id() as i32)
}

fn inherited_sender_takes_a_seat_of_its_own() {
    for named in [false, true] {
        let name = Name::new();
        let builder = mpsc().senders(4).capacity(4096);
        let (mut sender, mut receiver) = if named {
            let channel = builder.create(&name).expect("create");
            (channel.sender().expect("a seat"), channel.receiver().expect("a seat"))
        } else {
            builder.pair().expect("a pair")
        };
        sender.send([255]).expect("send");
        let lane = sender.lane();
        let child = fork(|| {
            (0..100_u8).for_each(|number| sender.send([number]).expect("send"));
            assert_ne!(sender.lane(), lane);
        });
        (100..200_u8).for_each(|number| sender.send([number]).expect("send"));
        child.join();
        assert_eq!(sender.lane(), lane);
        let (mut theirs, mut ours) = (0, 100);
        assert_eq!(receiver.recv_vec().expect("a message"), [255]);
        for _ in 0..200 {
            match receiver.recv_vec().expect("a message")[0] {
                number @ ..100 => {
                    assert_eq!(number, theirs);
                    theirs += 1;
                }
                number => {
                    assert_eq!(number, ours);
                    ours += 1;
                }
            }
        }
        assert!(receiver.try_recv().is_err_and(|error| error.is_empty()), "this process still has its seat");
    }
}

fn inherited_spsc_sender_is_refused_while_the_parent_sends() {
    let (mut sender, mut receiver) = spsc().pair().expect("a pair");
    sender.send("parent").expect("send");
    let parent = our_pid();
    fork(|| {
        let error = sender.send("child").expect_err("the seat is the parent's");
        let Fault::Attach(why) = error.fault() else { panic!("{error}") };
        assert_eq!(holder(why), parent);
        assert_eq!(error.into_inner(), "child");
        assert!(sender.try_send("child").is_err() && sender.reserve(1).is_err() && sender.attach().is_err());
    })
    .join();
    sender.send("parent again").expect("send");
    // Dropped here, the child's own copy may take the seat.
    let pipe = Pipe::new();
    let child = fork(|| {
        pipe.get();
        sender.send("child").expect("the seat is free");
    });
    drop(sender);
    pipe.put(0);
    child.join();
    let all: Vec<_> = (0..3).map(|_| receiver.recv_vec().expect("a message")).collect();
    assert_eq!(all, [b"parent".to_vec(), b"parent again".to_vec(), b"child".to_vec()]);
    assert!(matches!(receiver.recv(), Err(RecvError::Disconnected)));
}

fn inherited_receiver_is_refused_while_the_parent_receives() {
    let (mut sender, mut receiver) = mpsc().pair().expect("a pair");
    sender.send("for the parent").expect("send");
    receiver.attach().expect("a seat");
    let parent = our_pid();
    fork(|| {
        let error = receiver.try_recv().expect_err("the seat is the parent's");
        let TryRecvError::Failed(RecvError::Attach(why)) = error else { panic!("{error}") };
        assert_eq!(holder(&why), parent);
    })
    .join();
    assert_eq!(receiver.recv_vec().expect("a message"), b"for the parent");
}

/// Children that only inherited both ends, ended by `end`, must change nothing.
fn undisturbed(end: impl Fn(&mut Option<(sysring::Sender, sysring::Receiver)>)) {
    for builder in [spsc(), mpsc()] {
        let (mut sender, mut receiver) = builder.capacity(4096).pair().expect("a pair");
        sender.send("before").expect("send");
        assert_eq!(receiver.recv_vec().expect("a message"), b"before");
        let mut both = Some((sender, receiver));
        for round in 0..10_u8 {
            both.as_mut().expect("ours").0.send([round]).expect("send");
            let child = fork(|| end(&mut both));
            child.wait();
            let (sender, receiver) = both.as_mut().expect("ours");
            assert!(sender.is_connected() && receiver.is_connected());
            let stats = sender.stats().expect("stats");
            assert_eq!((stats.receiver.pid, stats.lanes[0].seat.pid), (our_pid(), our_pid()));
            assert_eq!(receiver.recv_vec().expect("a message"), [round]);
            assert!(receiver.try_recv().is_err_and(|error| error.is_empty()));
            assert!(receiver.recv_timeout(Duration::from_millis(1)).is_err_and(|error| error.is_timeout()));
        }
        let (mut sender, mut receiver) = both.expect("ours");
        let count = fill(&mut sender, 64);
        assert_eq!(receiver.try_iter().count() as u64, count);
    }
}

fn a_child_that_exits_disturbs_nobody() {
    undisturbed(|_| exit(0));
}

fn a_child_that_drops_disturbs_nobody() {
    undisturbed(|both| drop(both.take()));
}

fn a_child_that_is_killed_disturbs_nobody() {
    undisturbed(|_| kill_oneself());
}

fn inherited_slot_is_void() {
    for builder in [spsc(), mpsc()] {
        let (mut sender, mut receiver) = builder.pair().expect("a pair");
        let mut slot = sender.reserve(6).expect("room");
        slot.write(b"par").expect("it fits");
        let mut slot = Some(slot);
        fork(|| {
            let mut slot = slot.take().expect("inherited");
            slot.write(b"two").expect("it goes nowhere, and commit says so");
            let error = slot.commit().expect_err("void");
            assert!(matches!(error.fault(), Fault::Forked), "{error}");
        })
        .join();
        fork(|| _ = slot.take()).join(); // aborted there
        let mut slot = slot.expect("ours");
        slot.write(b"ent").expect("it fits");
        slot.commit().expect("commit");
        assert_eq!(receiver.recv_vec().expect("a message"), b"parent");
        assert!(receiver.try_recv().is_err_and(|error| error.is_empty()));
    }
}

fn inherited_message_is_void() {
    for builder in [spsc(), mpsc()] {
        let (mut sender, mut receiver) = builder.capacity(4096).pair().expect("a pair");
        let count = fill(&mut sender, 496);
        let mut message = Some(receiver.recv().expect("a message"));
        fork(|| drop(message.take())).join();
        assert!(sender.try_send([0; 496]).is_err_and(|error| error.is_full()), "nothing was released");
        assert_eq!(sender.len(), count);
        assert_eq!(message.as_ref().expect("ours").to_vec(), [0; 496]);
        drop(message);
        assert_eq!(sender.len(), count - 1, "released now");
        let message = receiver.recv().expect("the second");
        assert_eq!((message.to_vec(), message.redelivered()), (vec![1; 496], false));
    }
}

fn inherited_batches_are_void() {
    let (mut sender, mut receiver) = mpsc().senders(2).capacity(4096).pair().expect("a pair");
    let mut batch = Some(sender.batch());
    batch.as_mut().expect("ours").send("a").expect("send");
    fork(|| drop(batch.take())).join();
    // A batch is no promise to the parent's lane: its child sends through a seat of its own.
    fork(|| batch.as_mut().expect("inherited").send("c").expect("send")).join();
    batch.as_mut().expect("ours").send("b").expect("send");
    drop(batch);
    let mut received = Some(receiver.recv_batch(10).expect("messages"));
    fork(|| drop(received.take())).join();
    let all: Vec<_> = received.as_ref().expect("ours").iter().map(|message| message.to_vec()).collect();
    assert_eq!(all, [b"a", b"c", b"b"]);
    assert!(!sender.is_empty());
    drop(received);
    assert!(sender.is_empty());
}

fn inherited_channel_works() {
    let name = Name::new();
    let channel = mpsc().create(&name).expect("create");
    let child = fork(|| {
        let mut sender = channel.sender().expect("a seat");
        sender.send(channel.id().to_le_bytes()).expect("send");
    });
    child.join();
    let mut receiver = channel.receiver().expect("a seat");
    assert_eq!(receiver.recv_vec().expect("a message"), channel.id().to_le_bytes());
}

fn grandchildren() {
    let (mut sender, mut receiver) = mpsc().senders(3).pair().expect("a pair");
    sender.send([0]).expect("send");
    let child = fork(|| {
        sender.send([1]).expect("send");
        let lane = sender.lane();
        fork(|| {
            sender.send([2]).expect("send");
            assert_ne!(sender.lane(), lane);
        })
        .join();
        assert_eq!(sender.lane(), lane);
        sender.send([3]).expect("send");
    });
    child.join();
    for number in 0..4_u8 {
        assert_eq!(receiver.recv_vec().expect("a message"), [number]);
    }
}

fn either_side_may_use_either_end() {
    let (mut sender, mut receiver) = spsc().pair().expect("a pair");
    fork(|| sender.send("child to parent").expect("send")).join();
    assert_eq!(receiver.recv_vec().expect("a message"), b"child to parent");
    let (mut sender, mut receiver) = spsc().pair().expect("a pair");
    let child = fork(|| assert_eq!(receiver.recv_vec().expect("a message"), b"parent to child"));
    sender.send("parent to child").expect("send");
    child.join();
    // Between two children.
    let (mut sender, mut receiver) = spsc().pair().expect("a pair");
    let one = fork(|| (0..1000_u32).for_each(|number| sender.send(number.to_le_bytes()).expect("send")));
    let other = fork(|| {
        for number in 0..1000_u32 {
            assert_eq!(receiver.recv_vec().expect("a message"), number.to_le_bytes());
        }
        assert!(matches!(receiver.recv(), Err(RecvError::Disconnected)));
    });
    one.join();
    other.join();
}

fn alone_without_the_other_side() {
    let (sender, mut receiver) = spsc().pair().expect("a pair");
    drop(sender);
    let started = Instant::now();
    assert!(matches!(receiver.recv(), Err(RecvError::Disconnected)));
    assert!(started.elapsed() < PROMPT, "nobody was there from the start");
    let (mut sender, receiver) = mpsc().capacity(4096).pair().expect("a pair");
    drop(receiver);
    let error = (0..1000).find_map(|_| sender.send([0; 64]).err()).expect("the lane is full at last");
    assert!(error.is_disconnected());
}

/// Found at the ceiling: nothing rings when a process that never attached goes.
fn child_died_before_it_attached() {
    for killed in [false, true] {
        let (sender, mut receiver) = spsc().pair().expect("a pair");
        let pipe = Pipe::new();
        let mut inherited = Some(sender);
        let child = fork(|| {
            let _sender = inherited.take();
            pipe.get();
            exit(0);
        });
        drop(inherited);
        assert!(receiver.recv_timeout(Duration::from_millis(30)).is_err_and(|error| error.is_timeout()));
        if killed {
            child.kill()
        } else {
            pipe.put(0)
        }
        let started = Instant::now();
        assert!(matches!(receiver.recv(), Err(RecvError::Disconnected)));
        println!("a child that never attached: noticed after {:?}", started.elapsed());
    }
}
