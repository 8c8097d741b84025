//! Seats are exclusive, and free again the moment their holder has gone.

use sysring::{Channel, OpenError, OpenErrorKind, mpsc, spsc};

use crate::process::{Child, Name, Pipe, fork, pause};
use crate::runner::tests;

tests![
    a_second_receiver_is_refused,
    a_second_spsc_sender_is_refused,
    one_sender_too_many_is_refused,
    a_seat_is_free_after_a_drop,
    a_seat_is_free_after_a_kill,
    a_killed_senders_successor_goes_on_in_its_lane,
    a_thousand_owners,
    racing_for_one_seat,
    try_clone_takes_a_seat,
];

fn assert_taken(error: &OpenError, pid: i32) {
    assert_eq!(error.kind(), OpenErrorKind::SeatTaken { pid: Some(pid) }, "{error}");
    assert!(error.to_string().contains(&format!("process {pid}")), "{error}");
    assert_eq!(error.to_string().lines().count(), 1);
}

/// A child with a seat, until it is killed or told to go.
struct Holder {
    child: Child,
    go: Pipe,
}

impl Holder {
    fn new<T>(take: impl FnOnce() -> T) -> Holder {
        let (ready, go) = (Pipe::new(), Pipe::new());
        let child = fork(|| {
            let seat = take();
            ready.put(0);
            go.get();
            drop(seat);
        });
        ready.get();
        Holder { child, go }
    }

    fn sender(channel: &Channel) -> Holder {
        Holder::new(|| channel.sender().expect("a seat"))
    }

    fn receiver(channel: &Channel) -> Holder {
        Holder::new(|| channel.receiver().expect("a seat"))
    }

    fn leave(self) {
        self.go.put(0);
        self.child.join();
    }
}

fn a_second_receiver_is_refused() {
    for builder in [spsc(), mpsc()] {
        let name = Name::new();
        let channel = builder.create(&name).expect("create");
        let holder = Holder::receiver(&channel);
        assert_taken(&channel.receiver().expect_err("taken"), holder.child.pid());
        assert_taken(&builder.receiver(&name).expect_err("taken"), holder.child.pid());
        let stats = channel.stats().expect("stats");
        assert_eq!((stats.receiver.taken, stats.receiver.pid), (true, Some(holder.child.pid())));
        holder.leave();
        let ours = channel.receiver().expect("free");
        assert_taken(&channel.receiver().expect_err("taken by ourselves"), std::process::id() as i32);
        drop(ours);
    }
}

fn a_second_spsc_sender_is_refused() {
    let name = Name::new();
    let channel = spsc().create(&name).expect("create");
    let holder = Holder::sender(&channel);
    assert_taken(&channel.sender().expect_err("taken"), holder.child.pid());
    holder.leave();
    channel.sender().expect("free");
}

fn one_sender_too_many_is_refused() {
    let name = Name::new();
    let channel = mpsc().senders(3).create(&name).expect("create");
    let holders: Vec<Holder> = (0..3).map(|_| Holder::sender(&channel)).collect();
    let error = channel.sender().expect_err("all are taken");
    let OpenErrorKind::SeatTaken { pid: Some(pid) } = error.kind() else { panic!("{error}") };
    assert!(holders.iter().any(|holder| holder.child.pid() == pid), "{error}");
    let mut pids: Vec<_> = channel.stats().expect("stats").lanes.iter().map(|lane| lane.seat.pid).collect();
    pids.sort();
    let mut expected: Vec<_> = holders.iter().map(|holder| Some(holder.child.pid())).collect();
    expected.sort();
    assert_eq!(pids, expected);
    holders[1].child.kill();
    let sender = channel.sender().expect("one is free");
    assert_eq!(sender.lane(), Some(1));
    assert!(channel.sender().is_err());
}

fn a_seat_is_free_after_a_drop() {
    for builder in [spsc(), mpsc().senders(1)] {
        let (mut sender, mut receiver) = builder.pair().expect("a pair");
        for number in 0..50_u32 {
            if number % 2 == 0 {
                let child = fork(|| sender.send(number.to_le_bytes()).expect("send"));
                child.join();
            } else {
                fork(|| {
                    assert_eq!(receiver.recv_vec().expect("a message"), (number - 1).to_le_bytes());
                    let end = receiver.try_recv().expect_err("nothing more");
                    assert!(end.is_empty() || end.is_disconnected());
                })
                .join();
            }
        }
        assert!(receiver.try_recv().is_err());
    }
}

fn a_seat_is_free_after_a_kill() {
    for builder in [spsc(), mpsc().senders(1)] {
        let name = Name::new();
        let channel = builder.create(&name).expect("create");
        for _ in 0..50 {
            let (sender, receiver) = (Holder::sender(&channel), Holder::receiver(&channel));
            assert!(channel.sender().is_err() && channel.receiver().is_err());
            sender.child.kill();
            receiver.child.kill();
            // Gone for waitpid is gone for the kernel's seats.
            drop(channel.sender().expect("free"));
            drop(channel.receiver().expect("free"));
        }
    }
}

fn a_killed_senders_successor_goes_on_in_its_lane() {
    let name = Name::new();
    let channel = spsc().capacity(4096).create(&name).expect("create");
    for life in 0..30_u8 {
        let pipe = Pipe::new();
        let child = fork(|| {
            let mut sender = channel.sender().expect("free");
            (0..=life).for_each(|number| sender.try_send([life, number]).expect("room"));
            pipe.put(0);
            pause(60_000);
        });
        pipe.get();
        child.kill();
        if life % 3 == 2 {
            let mut receiver = channel.receiver().expect("a seat");
            for life in life - 2..=life {
                for number in 0..=life {
                    assert_eq!(receiver.recv_vec().expect("a message"), [life, number]);
                }
            }
            assert!(receiver.try_recv().is_err());
        }
    }
}

/// Every will is fulfilled, so that nothing piles up on the bells.
fn a_thousand_owners() {
    let name = Name::new();
    let channel = mpsc().senders(2).capacity(4096).create(&name).expect("create");
    let mut receiver = channel.receiver().expect("a seat");
    for number in 0..1000_u32 {
        let mut sender = channel.sender().expect("a seat");
        sender.send(number.to_le_bytes()).expect("send");
        drop(sender);
        if number % 10 == 9 {
            drop(receiver);
            receiver = channel.receiver().expect("a seat");
            for expected in number - 9..=number {
                assert_eq!(receiver.recv_vec().expect("a message"), expected.to_le_bytes());
            }
        }
    }
    let stats = channel.stats().expect("stats");
    assert_eq!((stats.sender_attaches, stats.receiver_attaches), (1000, 101));
}

/// Of many that try at once exactly one gets it.
fn racing_for_one_seat() {
    let name = Name::new();
    let channel = spsc().create(&name).expect("create");
    for _ in 0..30 {
        let (start, result, go) = (Pipe::new(), Pipe::new(), Pipe::new());
        let children: Vec<Child> = (0..8)
            .map(|_| {
                fork(|| {
                    start.get();
                    let seat = channel.sender();
                    result.put(u64::from(seat.is_ok()));
                    go.get();
                })
            })
            .collect();
        (0..8).for_each(|_| start.put(0));
        assert_eq!((0..8).map(|_| result.get()).sum::<u64>(), 1);
        (0..8).for_each(|_| go.put(0));
        children.iter().for_each(Child::join);
    }
}

fn try_clone_takes_a_seat() {
    let (mut sender, mut receiver) = mpsc().senders(2).pair().expect("a pair");
    sender.send("a").expect("send");
    let mut other = sender.try_clone().expect("a second seat");
    assert_ne!(sender.lane(), other.lane());
    other.send("b").expect("send");
    assert_taken(&sender.try_clone().expect_err("both are taken"), std::process::id() as i32);
    drop(sender);
    let mut third = other.try_clone().expect("one is free");
    third.send("c").expect("send");
    drop((other, third));
    let all: Vec<_> = receiver.iter().map(|bytes| bytes.expect("a message")).collect();
    assert_eq!(all, [b"a", b"b", b"c"]);
    let (mut only, _receiver) = spsc().pair().expect("a pair");
    only.attach().expect("a seat");
    assert_taken(&only.try_clone().expect_err("one seat"), std::process::id() as i32);
}
