//! A third process that looks at the messages of a channel at full speed: whatever it is shown is whole and in order,
//! and with what it missed it is everything. `SYSRING_LONG=1` looks for longer.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sysring::{Builder, Observer, Order, RecvError, Tap, Tapped, mpsc, spsc};

use crate::message::{compose, decode, mix};
use crate::process::{Child, Name, Pipe, fork, pause};
use crate::runner::{is_long, tests};

tests![
    one_sender_at_full_speed,
    many_senders_in_total_order,
    many_senders_in_their_own_order,
    senders_that_are_killed,
    receivers_that_are_killed,
    a_snapshot_of_a_busy_channel_ends,
    a_tap_takes_nothing,
    limits_may_come_at_any_time,
    a_snapshot_is_exact,
];

fn time() -> Duration {
    if is_long() { Duration::from_secs(8) } else { Duration::from_millis(250) }
}

/// A number's length: whole messages that say whose they are.
fn length(who: u32, number: u32, most: usize) -> usize {
    let random = mix(u64::from(who) << 32 | u64::from(number));
    let length = if random.is_multiple_of(64) { random >> 32 } else { random >> 32 & 127 };
    16 + length as usize % (most - 15)
}

/// Sends at full speed for so long; how many.
fn send_for(builder: &Builder, name: &Name, who: u32, time: Duration) -> u64 {
    let mut sender = builder.sender(name).expect("a seat");
    let most = (builder_capacity(name) / 4) as usize;
    let (mut bytes, mut number, end) = (Vec::new(), 0, Instant::now() + time);
    while number % 64 != 0 || Instant::now() < end {
        compose(&mut bytes, who, number, length(who, number, most));
        sender.send(&bytes).expect("send");
        number += 1;
    }
    number.into()
}

fn builder_capacity(name: &Name) -> u64 {
    Observer::open(name).expect("look").stats().expect("stats").capacity
}

/// Receives until all senders have gone.
fn receive_all(builder: &Builder, name: &Name) -> u64 {
    let mut receiver = builder.receiver(name).expect("the receiver's seat");
    let mut count = 0;
    loop {
        match receiver.recv() {
            Ok(message) => decode(&message.to_vec()),
            Err(RecvError::Disconnected) => return count,
            Err(error) => panic!("{error}"),
        };
        count += 1;
    }
}

/// Checks what a tap shows.
#[derive(Debug, Default)]
struct Watch {
    /// The last number and stamp that were seen of each sender.
    last: BTreeMap<u32, (u32, Option<u64>)>,
    told: u64,
    /// Messages whose number in the lane was not theirs.
    misnumbered: u64,
}

impl Watch {
    fn see(&mut self, tapped: Tapped) {
        match tapped {
            Tapped::Message(message) => {
                assert!(message.is_complete());
                let (who, number) = decode(&message.bytes);
                let (seen, last) = ((number, message.stamp), self.last.get(&who));
                // Across senders stamps order only what was not sent at the same time: see the models.
                let in_order =
                    |last: &(u32, Option<u64>)| last.0 < seen.0 && (seen.1.is_none() || last.1 < seen.1);
                assert!(last.is_none_or(in_order), "{who}: {seen:?} behind {last:?}");
                self.last.insert(who, seen);
                self.misnumbered += u64::from(message.number != u64::from(number) + 1);
            }
            Tapped::Missed(missed) => self.told += missed.messages,
            other => panic!("{other:?}"),
        }
    }

    /// Whatever there is now. Whether there was something.
    fn look(&mut self, tap: &mut Tap) -> bool {
        let before = tap.shown();
        for tapped in tap.by_ref().take(10_000) {
            self.see(tapped);
        }
        tap.shown() > before
    }
}

/// Senders, a receiver and a tap, all at full speed.
fn at_full_speed(builder: &Builder, senders: u32) {
    let (name, sent) = (Name::new(), Pipe::new());
    let channel = builder.create(&name).expect("create");
    let mut tap = Observer::open(&name).expect("look").tap();
    let mut children: Vec<Child> =
        (0..senders).map(|who| fork(|| sent.put(send_for(builder, &name, who, time())))).collect();
    children.push(fork(|| sent.put(receive_all(builder, &name))));
    let (mut watch, end) = (Watch::default(), Instant::now() + time() + Duration::from_millis(50));
    while Instant::now() < end {
        watch.look(&mut tap);
    }
    children.iter().for_each(Child::join);
    while watch.look(&mut tap) {}
    // Each sender's count, and the receiver's, which is their sum.
    let total = sent.rest().sum::<u64>() / 2;
    let (shown, missed) = (tap.shown(), tap.missed());
    println!("{total} sent, {shown} shown, {missed} missed, {} with another number", watch.misnumbered);
    assert_eq!(shown + missed, total);
    assert!(watch.told >= missed && shown > 0);
    channel.remove().expect("remove");
}

fn one_sender_at_full_speed() {
    for capacity in [4 << 10, 64 << 10, 1 << 20] {
        at_full_speed(&spsc().capacity(capacity), 1);
    }
}

fn many_senders_in_total_order() {
    for capacity in [4 << 10, 64 << 10] {
        at_full_speed(&mpsc().senders(4).capacity(capacity), 3);
    }
}

fn many_senders_in_their_own_order() {
    at_full_speed(&mpsc().senders(4).capacity(16 << 10).order(Order::PerSender), 3);
}

/// Each life is another sender to the tap, in a lane that it takes over.
fn senders_that_are_killed() {
    let (name, builder) = (Name::new(), mpsc().senders(2).capacity(4096));
    let channel = builder.create(&name).expect("create");
    let mut tap = Observer::open(&name).expect("look").tap();
    let stay = fork(|| _ = send_for(&builder, &name, u32::MAX, time() * 2));
    let receiver = fork(|| _ = receive_all(&builder, &name));
    let mut watch = Watch::default();
    let end = Instant::now() + time();
    for who in 0.. {
        let sender = fork(|| _ = send_for(&builder, &name, who, Duration::from_secs(3600)));
        let killed = Instant::now() + Duration::from_micros(500 + mix(who.into()) % 10_000);
        while Instant::now() < killed {
            watch.look(&mut tap);
        }
        sender.kill();
        if Instant::now() > end {
            break;
        }
    }
    stay.join();
    receiver.join();
    while watch.look(&mut tap) {}
    let stats = channel.stats().expect("stats");
    println!("{} shown, {} missed, {} lives", tap.shown(), tap.missed(), watch.last.len());
    // A sender that is killed between two stores leaves its own count behind; the receiver's is right.
    let received: u64 = stats.lanes.iter().map(|lane| lane.received).sum();
    assert_eq!(tap.shown() + tap.missed(), received);
    channel.remove().expect("remove");
}

/// A new receiver gets again what the dead one had in hand; a tap is shown it once.
fn receivers_that_are_killed() {
    let (name, builder) = (Name::new(), spsc().capacity(16 << 10).persistent(true));
    let channel = builder.create(&name).expect("create");
    let mut tap = Observer::open(&name).expect("look").tap();
    let sender = fork(|| _ = send_for(&builder, &name, 0, time()));
    let (mut watch, end) = (Watch::default(), Instant::now() + time());
    for life in 0.. {
        let receiver = fork(|| _ = receive_all(&builder, &name));
        let killed = Instant::now() + Duration::from_micros(500 + mix(life) % 10_000);
        while Instant::now() < killed {
            watch.look(&mut tap);
        }
        if Instant::now() > end {
            sender.join();
            receiver.join();
            break;
        }
        receiver.kill();
    }
    while watch.look(&mut tap) {}
    let sent = channel.stats().expect("stats").lanes[0].sent;
    // One that is killed between its count and `read` counts those messages twice.
    let (shown, missed) = (tap.shown(), tap.missed());
    println!("{sent} sent, {shown} shown, {missed} missed");
    assert!(shown + missed >= sent);
    channel.remove().expect("remove");
}

fn a_snapshot_of_a_busy_channel_ends() {
    for order in [Order::Total, Order::PerSender] {
        let (name, builder) = (Name::new(), mpsc().senders(2).capacity(4096).order(order));
        let channel = builder.create(&name).expect("create");
        let senders = [0, 1].map(|who| fork(|| _ = send_for(&builder, &name, who, time())));
        let receiver = fork(|| _ = receive_all(&builder, &name));
        let observer = Observer::open(&name).expect("look");
        let (mut snapshots, end) = (0, Instant::now() + time());
        while Instant::now() < end {
            let mut watch = Watch::default();
            let mut tap = observer.tap().snapshot();
            tap.by_ref().for_each(|tapped| watch.see(tapped));
            // Both lanes, with the smallest messages.
            assert!(tap.shown() <= 2 * 4096 / 24);
            drop(observer.tap().from_now());
            snapshots += 1;
        }
        assert!(snapshots > 0);
        senders.iter().for_each(Child::join);
        receiver.join();
        channel.remove().expect("remove");
    }
}

fn a_tap_takes_nothing() {
    let (name, builder) = (Name::new(), mpsc().senders(2).capacity(4096));
    let mut sender = builder.sender(&name).expect("a seat");
    for number in 0..20_u32 {
        sender.send(number.to_le_bytes()).expect("room");
    }
    let looks = fork(|| {
        let observer = Observer::open(&name).expect("look");
        for _ in 0..3 {
            assert_eq!(observer.tap().snapshot().count(), 20);
        }
    });
    looks.join();
    pause(1);
    let mut receiver = builder.receiver(&name).expect("the receiver's seat");
    for number in 0..20_u32 {
        let message = receiver.try_recv().expect("it waits");
        assert!(!message.redelivered());
        assert_eq!(message.to_vec(), number.to_le_bytes());
    }
    sysring::remove(&name).expect("remove");
}

/// A limit that came when something had been shown made a lane stand twice among the heads, and counts wrong.
fn limits_may_come_at_any_time() {
    for builder in [spsc(), mpsc().senders(2), mpsc().senders(2).order(Order::PerSender)] {
        let name = Name::new();
        let (mut tx, mut rx) =
            (builder.sender(&name).expect("a seat"), builder.receiver(&name).expect("a seat"));
        let send = |tx: &mut sysring::Sender, texts: &[&str]| {
            texts.iter().for_each(|text| tx.send(text).expect("send"))
        };
        let shown = |tap: &mut Tap| match tap.next() {
            Some(Tapped::Message(message)) => Some(String::from_utf8(message.bytes).expect("text")),
            None => None,
            other => panic!("{other:?}"),
        };
        send(&mut tx, &["a", "b", "c"]);
        let mut tap = Observer::open(&name).expect("look").tap();
        assert_eq!(shown(&mut tap).as_deref(), Some("a"));
        let mut tap = tap.snapshot();
        send(&mut tx, &["d"]);
        assert_eq!([(); 3].map(|()| shown(&mut tap)), [Some("b".into()), Some("c".into()), None]);
        let mut tap = tap.follow();
        assert_eq!(shown(&mut tap).as_deref(), Some("d"));
        send(&mut tx, &["e", "f"]);
        let mut tap = tap.from_now();
        assert_eq!((shown(&mut tap), tap.shown(), tap.missed()), (None, 4, 0));
        send(&mut tx, &["g"]);
        assert_eq!((0..7).map(|_| rx.recv_vec().expect("a message")).count(), 7);
        let Some(Tapped::Missed(missed)) = tap.next() else { panic!("it has gone by") };
        assert_eq!((missed.messages, tap.shown(), tap.missed()), (1, 4, 1));
        let tap = tap.from_now();
        assert_eq!((tap.shown(), tap.missed()), (4, 1));
        sysring::remove(&name).expect("remove");
    }
}

/// Without stamps, too, a snapshot ends where the sender was.
fn a_snapshot_is_exact() {
    for builder in [spsc(), mpsc().senders(2), mpsc().senders(2).order(Order::PerSender)] {
        let name = Name::new();
        let mut tx = builder.sender(&name).expect("a seat");
        tx.send("a").expect("send");
        let tap = Observer::open(&name).expect("look").tap().snapshot();
        tx.send("b").expect("send");
        assert_eq!(tap.count(), 1);
        sysring::remove(&name).expect("remove");
    }
}
