//! The scenarios: a channel's life, cut into steps.
use std::time::Duration;

use sysring::segment::{Key, Segment};
use sysring::{
    Address, Builder, Channel, Collector, Fence, Observer, OpenErrorKind, Order, Receiver, RecvError,
    RecvTimeoutError, Sender, TryRecvError, WaitStrategy, mpsc, spsc,
};

use crate::process::{fork, kill_oneself, remove_set, until};
use crate::world::{OVER, Stage, World};

/// One scenario.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// Runs in the tracer, whose child inherits what it makes.
    pub(crate) make: fn() -> Body,
    /// It makes handles there.
    pub(crate) in_tracer: bool,
}

/// What the victim does.
pub(crate) type Body = Box<dyn FnOnce(&World<'_>)>;

macro_rules! scenarios {
    ($($name:ident),* ; $($maker:ident),*) => {
        &[
            $(Scenario { name: stringify!($name), make: || Box::new($name), in_tracer: false },)*
            $(Scenario { name: stringify!($maker), make: $maker, in_tracer: true },)*
        ]
    };
}

pub(crate) const SCENARIOS: &[Scenario] = scenarios![
    a_pair,
    a_pair_of_many,
    a_name,
    a_key_and_a_file,
    the_seats_stay_free,
    options,
    real_fences,
    a_sleeping_receiver,
    a_sleeping_sender,
    a_receiver_is_rung,
    a_sender_is_rung,
    a_sender_dies,
    a_receiver_dies,
    a_lost_set,
    a_lost_set_asleep,
    a_seat_in_doubt,
    interrupted,
    collected,
    an_idle_channel_collected,
    a_half_made_channel,
    a_removed_channel,
    segments ; in_a_forked_child
];

/// Names of these tests: in the runner's own IPC namespace, or with this process's number.
fn name() -> String {
    format!("faults-{}", std::process::id())
}

fn message(number: u64) -> [u8; 56] {
    let mut bytes = [7; 56];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes
}

/// Receives one message in a step, and notes it.
fn recv(world: &World<'_>, step: &str, rx: &mut Receiver) {
    let bytes = world.step(step, || rx.recv_vec());
    world.stage.note(&bytes);
}

fn send(world: &World<'_>, step: &str, tx: &mut Sender, number: u64) {
    world.step(step, || tx.send(message(number)));
}

/// A removal that failed half-way may have removed what there was to remove.
fn remove(world: &World<'_>, step: &str, address: impl Into<Address>) {
    let address = address.into();
    let mut tried = false;
    world.step(step, || match sysring::remove(&address) {
        Err(error) if tried && error.kind() == OpenErrorKind::NotFound => Ok(()),
        outcome => {
            tried = true;
            outcome
        }
    });
}

/// A pair in one process.
fn a_pair(world: &World<'_>) {
    let (mut tx, mut rx) = world.step("pair", || spsc().capacity(4096).pair());
    send(world, "first send", &mut tx, 0);
    recv(world, "first recv", &mut rx);
    send(world, "send", &mut tx, 1);
    recv(world, "recv", &mut rx);
    world.step("try_recv of nothing", || match rx.try_recv() {
        Err(TryRecvError::Empty) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => panic!("a message that nobody sent"),
    });
    world.step("recv_timeout", || match rx.recv_timeout(Duration::from_millis(2)) {
        Err(RecvTimeoutError::Timeout) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => panic!("a message that nobody sent"),
    });
    world.step("stats", || tx.stats());
    send(world, "send", &mut tx, 2);
    world.drop("drop sender", tx);
    recv(world, "recv of the last", &mut rx);
    disconnected(world, "recv, all gone", &mut rx);
    world.drop("drop receiver", rx);
    world.finish(3);
}

fn disconnected(world: &World<'_>, step: &str, rx: &mut Receiver) {
    world.step(step, || match rx.recv_vec() {
        Err(RecvError::Disconnected) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => panic!("a message that nobody sent"),
    });
}

/// A pair of many senders.
fn a_pair_of_many(world: &World<'_>) {
    let (mut tx, mut rx) = world.step("pair", || mpsc().senders(3).capacity(4096).pair());
    world.step("attach receiver", || rx.attach());
    world.step("attach sender", || tx.attach());
    let mut other = world.step("try_clone", || tx.try_clone());
    send(world, "send", &mut tx, 0);
    send(world, "send", &mut other, 1);
    send(world, "send", &mut tx, 2);
    recv(world, "recv", &mut rx);
    recv(world, "recv", &mut rx);
    recv(world, "recv", &mut rx);
    world.drop("drop sender", other);
    // A lane is left out once its sender has gone and it is empty.
    world.step("try_recv of nothing", || match rx.try_recv_vec() {
        Err(TryRecvError::Empty) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => panic!("a message that nobody sent"),
    });
    world.drop("drop receiver", rx);
    world.step("send, nobody there", || match tx.send(message(9)) {
        Ok(()) => Ok(()),
        Err(error) if error.is_disconnected() => Ok(()),
        Err(error) => Err(error),
    });
    world.drop("drop sender", tx);
    world.finish(3);
}

/// Everything that can be done with a name.
fn a_name(world: &World<'_>) {
    let name = name();
    let name = name.as_str();
    let builder = mpsc().senders(2).capacity(4096);
    let made = world.step("create", || builder.create(name));
    let opened = world.step("open", || builder.open(name));
    let either = world.step("open_or_create", || builder.open_or_create(name));
    let by_id = world.step("open by id", || builder.open(Address::id(made.id())));
    assert!([&opened, &either, &by_id].iter().all(|channel| channel.id() == made.id()));
    drop((opened, either, by_id));
    let observer = world.step("observe", || Observer::open(name));
    let mut tx = world.step("sender", || made.sender());
    let mut rx = world.step("receiver", || made.receiver());
    send(world, "send", &mut tx, 0);
    send(world, "send", &mut tx, 1);
    let stats = world.step("stats", || observer.stats());
    // Whichever lane it was.
    let lane = stats.lanes.iter().find(|lane| lane.messages == 2).expect("its lane").lane;
    world.step("sender_alive", || match observer.sender_alive(lane) {
        Ok(true) => Ok(()),
        Ok(false) => panic!("the sender is there"),
        Err(error) => Err(error),
    });
    world.step("list", || sysring::list()?.into_iter().try_for_each(|listed| listed.outcome.map(drop)));
    world.step("is_connected", || Ok::<_, String>((tx.is_connected(), rx.is_connected())));
    recv(world, "recv", &mut rx);
    recv(world, "recv", &mut rx);
    world.step("create again", || match builder.create(name) {
        Err(error) if error.kind() == OpenErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(_) => panic!("made twice"),
    });
    world.step("collect, in use", || Collector::new().run());
    world.drop("drop sender", tx);
    world.drop("drop receiver", rx);
    drop((observer, made));
    world.step("collect, idle", || Collector::new().dry_run(true).idle(Duration::ZERO).run());
    remove(world, "remove", name);
    world.finish(2);
}

/// Raw keys, and keys of files.
fn a_key_and_a_file(world: &World<'_>) {
    let key = Address::key((0x4242_0000 | (std::process::id() & 0xffff)) as i32);
    let mut tx = world.step("sender by key", || spsc().capacity(4096).sender(&key));
    send(world, "send", &mut tx, 0);
    let mut rx = world.step("receiver by key", || spsc().receiver(&key));
    recv(world, "recv", &mut rx);
    drop((tx, rx));
    let channel = world.step("open by key", || spsc().open(&key));
    let mut tried = false;
    world.step("remove by handle", || match channel.remove() {
        Err(error) if tried && matches!(error.kind(), OpenErrorKind::NotFound | OpenErrorKind::Removed) => {
            Ok(())
        }
        outcome => {
            tried = true;
            outcome
        }
    });
    drop(channel);
    let exe = std::env::current_exe().expect("a path");
    let file = Address::path(exe, 77);
    let channel = world.step("create by file", || spsc().capacity(4096).create(&file));
    drop(channel);
    remove(world, "remove by file", &file);
    world.finish(1);
}

/// Nobody holds a seat at the end, and no will is left.
fn the_seats_stay_free(world: &World<'_>) {
    let name = name();
    let builder = mpsc().senders(2).capacity(4096);
    let mut tx = world.step("sender", || builder.sender(&name));
    let mut rx = world.step("receiver", || builder.receiver(&name));
    send(world, "send", &mut tx, 0);
    recv(world, "recv", &mut rx);
    world.drop("drop receiver", rx);
    world.drop("drop sender", tx);
    let mut rx = world.step("receiver again", || builder.receiver(&name));
    let mut tx = world.step("sender again", || builder.sender(&name));
    send(world, "send", &mut tx, 1);
    recv(world, "recv", &mut rx);
    world.drop("drop sender at the end", tx);
    world.drop("drop receiver at the end", rx);
    world.finish_keeping(2, &name);
}

/// Handles that the tracer made and used, and that the victim inherits, with a message on its way.
fn in_a_forked_child() -> Body {
    let (mut tx, mut rx) = mpsc().senders(2).capacity(4096).pair().expect("a pair");
    rx.attach().expect("a seat");
    tx.send(message(0)).expect("send");
    Box::new(move |world| {
        send(world, "send in the child", &mut tx, 1);
        recv(world, "recv in the child", &mut rx);
        recv(world, "recv in the child", &mut rx);
        world.drop("drop sender", tx);
        world.drop("drop receiver", rx);
        world.finish(2);
    })
}

/// Huge pages, locked, prefaulted, by anybody of the group.
fn options(world: &World<'_>) {
    let name = name();
    let builder = spsc().capacity(4096).huge_pages(true).lock(true).prefault(true).mode(0o660);
    let channel = world.step("create", || builder.create(&name));
    let mut tx = world.step("sender", || channel.sender());
    let mut rx = world.step("receiver", || channel.receiver());
    send(world, "send", &mut tx, 0);
    recv(world, "recv", &mut rx);
    drop((tx, rx, channel));
    remove(world, "remove", &name);
    let (mut tx, mut rx) = world.step("pair", || spsc().capacity(4096).lock(true).huge_pages(true).pair());
    send(world, "send", &mut tx, 1);
    recv(world, "recv", &mut rx);
    drop((tx, rx));
    world.finish(2);
}

/// Handles that do without `membarrier`.
fn real_fences(world: &World<'_>) {
    let builder = spsc().capacity(4096).fence(Fence::Real).wait(WaitStrategy::Sleep);
    let (mut tx, mut rx) = world.step("pair", || builder.pair());
    send(world, "first send", &mut tx, 0);
    recv(world, "first recv", &mut rx);
    world.step("recv_timeout", || match rx.recv_timeout(Duration::from_millis(2)) {
        Err(RecvTimeoutError::Timeout) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => panic!("a message that nobody sent"),
    });
    drop((tx, rx));
    world.finish(1);
}

/// A peer that sends a message whenever the victim goes to sleep.
fn sends_at_each_sleep(stage: &Stage, tx: Sender) {
    sends_at_sleeps(stage, tx, u64::MAX);
}

/// The same, so many times at most: after a fault the victim may sleep more often than it receives.
fn sends_at_sleeps(stage: &Stage, mut tx: Sender, most: u64) {
    let mut next = 0;
    while stage.bell.get() != OVER {
        if next < most {
            tx.send(message(next)).expect("send");
            next += 1;
        }
    }
}

/// The victim sleeps for messages.
fn a_sleeping_receiver(world: &World<'_>) {
    let name = name();
    let builder = spsc().capacity(4096).wait(WaitStrategy::Sleep);
    let channel = builder.create(&name).expect("a channel");
    let mut rx = channel.receiver().expect("a seat");
    world.peer(|stage| sends_at_each_sleep(stage, builder.sender(&name).expect("a seat")));
    until("the sender is there", || rx.is_connected());
    recv(world, "recv asleep", &mut rx);
    let long = Duration::from_secs(60);
    let bytes = world.step("recv_timeout asleep", || rx.recv_timeout(long).map(|message| message.to_vec()));
    world.stage.note(&bytes);
    let mut buffer = [0; 64];
    let length = world.step("recv_into asleep", || rx.recv_into(&mut buffer));
    world.stage.note(&buffer[..length]);
    let bytes = world.step("recv_batch asleep", || {
        rx.recv_batch(1).map(|batch| batch.iter().next().expect("a message").to_vec())
    });
    world.stage.note(&bytes);
    world.kill_peer();
    disconnected(world, "recv, killed", &mut rx);
    drop((rx, channel));
    sysring::remove(&name).expect("remove");
    world.finish(4);
}

/// A peer that receives everything whenever the victim goes to sleep, and at the end.
fn receives_at_each_sleep(stage: &Stage, mut rx: Receiver) {
    loop {
        let over = stage.bell.get() == OVER;
        while let Ok(bytes) = rx.try_recv_vec() {
            stage.note(&bytes);
        }
        if over {
            break;
        }
    }
}

/// The victim sleeps for room.
fn a_sleeping_sender(world: &World<'_>) {
    let name = name();
    let builder = spsc().capacity(4096).wait(WaitStrategy::Sleep);
    let channel = builder.create(&name).expect("a channel");
    let mut tx = channel.sender().expect("a seat");
    world.peer(|stage| receives_at_each_sleep(stage, builder.receiver(&name).expect("a seat")));
    until("the receiver is there", || tx.is_connected());
    let mut next = 0;
    let mut fill = |tx: &mut Sender| {
        while tx.try_send(message(next)).is_ok() {
            next += 1;
        }
        next += 1;
        next - 1
    };
    let number = fill(&mut tx);
    send(world, "send asleep", &mut tx, number);
    let number = fill(&mut tx);
    let long = Duration::from_secs(60);
    world.step("send_timeout asleep", || tx.send_timeout(message(number), long));
    let number = fill(&mut tx);
    world.step("reserve asleep", || {
        let mut slot = tx.reserve(56)?;
        slot.write(&message(number)).expect("it fits");
        slot.commit()
    });
    let count = number + 1;
    world.stage.bell.put(OVER);
    world.join_peer();
    drop((tx, channel));
    sysring::remove(&name).expect("remove");
    world.finish(count);
}

/// The victim wakes a receiver: if the first ring fails, the next message's does not.
fn a_receiver_is_rung(world: &World<'_>) {
    let name = name();
    let builder = mpsc().senders(1).capacity(4096).wait(WaitStrategy::Sleep);
    let channel = builder.create(&name).expect("a channel");
    let mut tx = channel.sender().expect("a seat");
    world.peer(|stage| {
        let mut rx = builder.receiver(&name).expect("a seat");
        while stage.received() < 6 {
            let bytes = rx.recv_vec().expect("a message");
            stage.note(&bytes);
        }
    });
    for round in 0..3 {
        let asleep =
            || channel.stats().expect("stats").receiver.asleep && world.stage.received() == 2 * round;
        until("the receiver sleeps", asleep);
        match round {
            0 => send(world, "ring", &mut tx, 0),
            1 => world.step("ring by a batch", || {
                let mut batch = tx.batch();
                batch.send(message(2))
            }),
            _ => world.step("ring by a slot", || {
                let mut slot = tx.reserve(56)?;
                slot.write(&message(4)).expect("it fits");
                slot.commit()
            }),
        }
        send(world, "ring again", &mut tx, 2 * round + 1);
    }
    world.join_peer();
    world.drop("drop sender", tx);
    drop(channel);
    sysring::remove(&name).expect("remove");
    world.finish(6);
}

/// The victim wakes a sender that sleeps for room.
fn a_sender_is_rung(world: &World<'_>) {
    const COUNT: u64 = 150;
    let name = name();
    let builder = spsc().capacity(4096).wait(WaitStrategy::Sleep);
    let channel = builder.create(&name).expect("a channel");
    let mut rx = channel.receiver().expect("a seat");
    world.peer(|_| {
        let mut tx = builder.sender(&name).expect("a seat");
        (0..COUNT).for_each(|number| tx.send(message(number)).expect("send"));
    });
    let asleep = || channel.stats().expect("stats").lanes.first().is_some_and(|lane| lane.waits_for_room);
    until("the sender sleeps", asleep);
    recv(world, "ring", &mut rx);
    recv(world, "ring again", &mut rx);
    for _ in 2..COUNT {
        world.stage.note(&rx.recv_vec().expect("a message"));
    }
    world.join_peer();
    drop((rx, channel));
    sysring::remove(&name).expect("remove");
    world.finish(COUNT);
}

/// A sender that sends something and is killed while the victim sleeps.
fn a_sender_dies(world: &World<'_>) {
    for wait in [WaitStrategy::Sleep, WaitStrategy::SpinThenSleep] {
        let name = name();
        let builder = mpsc().senders(2).capacity(4096).wait(wait);
        let channel = builder.create(&name).expect("a channel");
        let mut rx = channel.receiver().expect("a seat");
        world.peer(|stage| {
            let _tx = builder.sender(&name).expect("a seat");
            stage.bell.get();
            kill_oneself();
        });
        // Or was: after a fault the victim may have fallen asleep twice, and then this one dies at once.
        until("the sender is there", || rx.is_connected() || rx.departures() > 0);
        disconnected(world, "recv, its sender dies", &mut rx);
        world.step("departures", || match rx.departures() {
            0 | 1 => Ok(()),
            other => Err(format!("{other} departures")),
        });
        drop((rx, channel));
        sysring::remove(&name).expect("remove");
        world.join_peer();
    }
    world.finish(0);
}

/// A receiver that is killed while the victim sleeps for room.
fn a_receiver_dies(world: &World<'_>) {
    let name = name();
    let builder = spsc().capacity(4096).persistent(false).wait(WaitStrategy::Sleep);
    let channel = builder.create(&name).expect("a channel");
    let mut tx = channel.sender().expect("a seat");
    world.peer(|stage| {
        let _rx = builder.receiver(&name).expect("a seat");
        stage.bell.get();
        kill_oneself();
    });
    until("the receiver is there", || tx.is_connected());
    while tx.try_send(message(0)).is_ok() {}
    for step in ["send, its receiver dies", "send, nobody there"] {
        world.step(step, || match tx.send(message(0)) {
            Err(error) if error.is_disconnected() => Ok(()),
            outcome => outcome,
        });
    }
    drop((tx, channel));
    sysring::remove(&name).expect("remove");
    world.finish(0);
}

fn lose_set(channel: &Channel) {
    remove_set(channel.stats().expect("stats").semaphore_set);
}

/// The set is removed under two handles of one process.
fn a_lost_set(world: &World<'_>) {
    let name = name();
    let builder = mpsc().senders(3).capacity(4096);
    let channel = builder.create(&name).expect("a channel");
    let mut tx = channel.sender().expect("a seat");
    let mut rx = channel.receiver().expect("a seat");
    tx.send(message(0)).expect("send");
    lose_set(&channel);
    recv(world, "recv, set lost", &mut rx);
    world.step("try_recv of nothing, set lost", || match rx.try_recv() {
        Err(TryRecvError::Empty) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => panic!("a message that nobody sent"),
    });
    send(world, "send, set replaced", &mut tx, 1);
    recv(world, "recv, set replaced", &mut rx);
    lose_set(&channel);
    let opened = world.step("open, set lost", || builder.open(&name));
    lose_set(&channel);
    let mut other = world.step("sender, set lost", || opened.sender());
    send(world, "send, set replaced", &mut tx, 2);
    send(world, "send", &mut other, 3);
    recv(world, "recv, set replaced", &mut rx);
    recv(world, "recv", &mut rx);
    lose_set(&channel);
    let observer = Observer::open(&name).expect("the channel");
    world.step("stats, set lost", || observer.stats());
    world.drop("drop sender, set lost", other);
    world.drop("drop receiver, set lost", rx);
    world.drop("drop sender, set lost", tx);
    drop((observer, opened, channel));
    remove(world, "remove, set lost", &name);
    world.finish(4);
}

/// The set is removed, and then the victim wants to sleep, or to ring.
fn a_lost_set_asleep(world: &World<'_>) {
    let name = name();
    let builder = spsc().capacity(4096).wait(WaitStrategy::Sleep);
    let channel = builder.create(&name).expect("a channel");
    let mut rx = channel.receiver().expect("a seat");
    world.peer(|stage| sends_at_sleeps(stage, builder.sender(&name).expect("a seat"), 2));
    until("the sender is there", || rx.is_connected());
    recv(world, "recv asleep", &mut rx);
    lose_set(&channel);
    recv(world, "recv asleep, set lost", &mut rx);
    world.stage.bell.put(OVER);
    world.join_peer();
    disconnected(world, "recv, all gone", &mut rx);
    drop((rx, channel));
    sysring::remove(&name).expect("remove");
    world.finish(2);
}

/// A sender that took its seat in a set that is gone: alive, then a zombie, then nobody.
fn a_seat_in_doubt(world: &World<'_>) {
    let name = name();
    let builder = mpsc().senders(2).capacity(4096);
    let channel = builder.create(&name).expect("a channel");
    let mut rx = channel.receiver().expect("a seat");
    world.peer(|stage| {
        let _tx = builder.sender(&name).expect("a seat");
        while stage.bell.get() != OVER {}
        kill_oneself();
    });
    until("the sender is there", || rx.is_connected());
    lose_set(&channel);
    rx.is_connected(); // a new set
    let doubtful = |rx: &mut Receiver| match rx.try_recv() {
        Err(TryRecvError::Empty | TryRecvError::Failed(RecvError::Disconnected)) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => panic!("a message that nobody sent"),
    };
    // Looked at every 100 microseconds.
    let pause = || std::thread::sleep(Duration::from_millis(1));
    pause();
    world.step("try_recv, in doubt", || doubtful(&mut rx));
    let observer = Observer::open(&name).expect("the channel");
    world.step("stats, in doubt", || observer.stats());
    let stats = observer.stats().expect("stats");
    assert!(stats.lanes[0].seat.taken, "{stats:?}");
    drop(observer);
    world.stage.bell.put(OVER);
    pause();
    world.step("try_recv, a zombie", || doubtful(&mut rx));
    world.join_peer();
    pause();
    world.step("try_recv, dead", || doubtful(&mut rx));
    pause();
    assert!(matches!(rx.try_recv(), Err(TryRecvError::Failed(RecvError::Disconnected))));
    let tx = world.step("sender", || channel.sender());
    drop((tx, rx, channel));
    sysring::remove(&name).expect("remove");
    world.finish(0);
}

/// An interrupter rings where its handle sleeps.
fn interrupted(world: &World<'_>) {
    let (mut tx, mut rx) = spsc().capacity(4096).wait(WaitStrategy::Sleep).pair().expect("a pair");
    rx.attach().expect("a seat");
    tx.attach().expect("a seat");
    let stop = rx.interrupter();
    world.step("interrupt", || {
        stop.interrupt();
        Ok::<(), String>(())
    });
    world.step("recv, interrupted", || match rx.recv_vec() {
        Err(RecvError::Interrupted) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => panic!("a message that nobody sent"),
    });
    send(world, "send", &mut tx, 0);
    recv(world, "recv", &mut rx);
    drop((tx, rx));
    world.finish(1);
}

/// A collector that is tried again until it has nothing more to do.
fn collect(world: &World<'_>, step: &str, collector: &Collector) {
    world.step(step, || collector.run());
    collector.run().expect("a collector");
}

/// Makes what a killed process would have left: a set without a segment, a half-made channel, a marked one.
fn leave_behind() {
    fork(|| {
        let _pair = spsc().capacity(4096).pair().expect("a pair");
        kill_oneself();
    })
    .wait();
    // Half-made: all is there but the magic.
    let half = spsc().capacity(4096).create(format!("{}-half", name())).expect("a channel");
    Segment::from_id(half.id()).attach().expect("attached").write(0, &[0; 8]).expect("inside");
    // Marked as removed, by a remover that was killed.
    let channel = spsc().capacity(4096).create(format!("{}-marked", name())).expect("a channel");
    let marked = Segment::from_id(channel.id()).attach().expect("attached");
    marked.write(256 + 16 + 7, &[0x80]).expect("inside");
}

fn collected(world: &World<'_>) {
    // In a process of its own: the victim itself has made no channel.
    fork(leave_behind).join();
    let look = Collector::new().dry_run(true);
    world.step("look", || look.run());
    collect(world, "collect", &Collector::new());
    world.finish(0);
}

fn an_idle_channel_collected(world: &World<'_>) {
    let made = name();
    fork(|| drop(mpsc().senders(2).capacity(4096).create(&made).expect("a channel"))).join();
    collect(world, "collect idle", &Collector::new().idle(Duration::ZERO));
    fork(|| {
        let channel = mpsc().senders(2).capacity(4096).create(&made).expect("a channel");
        lose_set(&channel);
    })
    .join();
    collect(world, "collect idle, set lost", &Collector::new().idle(Duration::ZERO));
    world.finish(0);
}

/// A channel whose maker was killed: with a set, and of another shape.
fn a_half_made_channel(world: &World<'_>) {
    let name = name();
    let builder = spsc().capacity(4096);
    let half_made = |bytes: &Builder| {
        fork(|| {
            let channel = bytes.create(&name).expect("a channel");
            Segment::from_id(channel.id()).attach().expect("attached").write(0, &[0; 8]).expect("inside");
        })
        .join();
    };
    half_made(&builder);
    let channel = world.step("make it whole", || builder.create(&name));
    drop(channel);
    remove(world, "remove", &name);
    half_made(&builder);
    remove(world, "remove half-made", &name);
    half_made(&spsc().capacity(8192));
    let channel = world.step("another shape", || builder.create(&name));
    drop(channel);
    remove(world, "remove", &name);
    world.finish(0);
}

/// Handles of a channel that is removed.
fn a_removed_channel(world: &World<'_>) {
    let name = name();
    let builder = mpsc().senders(2).capacity(4096).order(Order::PerSender);
    let channel = builder.create(&name).expect("a channel");
    let mut tx = channel.sender().expect("a seat");
    let mut rx = channel.receiver().expect("a seat");
    // Marked, and its remover killed.
    let segment = Segment::from_id(channel.id()).attach().expect("attached");
    segment.write(256 + 16 + 7, &[0x80]).expect("inside");
    drop(segment);
    world.step("recv, marked", || match rx.try_recv_vec() {
        Err(TryRecvError::Failed(RecvError::Removed)) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => panic!("a message that nobody sent"),
    });
    world.step("send, marked", || match tx.send(message(0)) {
        Err(error) if error.is_removed() => Ok(()),
        outcome => outcome,
    });
    let anew = world.step("create, marked", || builder.create(&name));
    drop((tx, rx, channel, anew));
    sysring::remove(&name).expect("remove");
    // Removed by its id, behind the channel's back.
    let channel = builder.create(&name).expect("a channel");
    let mut rx = channel.receiver().expect("a seat");
    let tx = channel.sender().expect("a seat");
    let set = channel.stats().expect("stats").semaphore_set;
    Segment::from_id(channel.id()).remove().expect("remove");
    remove_set(set);
    world.step("recv, segment removed", || match rx.try_recv_vec() {
        Err(TryRecvError::Failed(RecvError::Removed)) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => panic!("a message that nobody sent"),
    });
    drop((tx, rx, channel));
    world.finish(0);
}

/// The plain layer.
fn segments(world: &World<'_>) {
    let file = std::env::current_exe().expect("a path");
    let key = world.step("ftok", || Key::ftok(&file, 78));
    let size = 5 * 4096 + 0x528;
    let segment = world.step("create", || Segment::create(key, size, 0o600));
    world.step("open", || Segment::open(key));
    world.step("open_or_create", || Segment::open_or_create(key, size, 0o600));
    let mapping = world.step("attach", || segment.attach());
    let reader = world.step("attach read-only", || segment.attach_read_only());
    mapping.write(3, b"abc").expect("inside");
    let mut bytes = [0; 3];
    reader.read(3, &mut bytes).expect("inside");
    assert_eq!(&bytes, b"abc");
    let stat = world.step("stat", || segment.stat());
    world.step("set_permissions", || segment.set_permissions(stat.uid, stat.gid, 0o640));
    world.step("lock", || segment.lock());
    world.step("unlock", || segment.unlock());
    world.drop("detach", mapping);
    world.drop("detach", reader);
    world.step("remove", || segment.remove());
    world.finish(0);
}
