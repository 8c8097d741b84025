//! Options, limits and what the handles tell about themselves.

use sysring::{Builder, Fault, Kind, OpenErrorKind, Order, RecvError, mpsc, spsc};

use crate::process::{Name, fork};
use crate::runner::tests;

tests![
    geometry_of_what_was_asked_for,
    impossible_options,
    largest_message,
    too_long_and_too_small,
    locked_into_memory,
    huge_pages_or_ordinary_ones,
    prefaulted,
    stats_tell_what_is_there,
    list_shows_everything,
    len_and_is_empty,
    observer_changes_nothing,
    an_observer_that_leaves_last_takes_the_set_along,
];

fn geometry_of_what_was_asked_for() {
    let name = Name::new();
    for (builder, senders, capacity, largest) in [
        (spsc(), 1, 1 << 20, (1 << 19) - 16),
        (mpsc(), 64, 1 << 20, (1 << 19) - 16),
        (mpsc().senders(240).capacity(4096), 240, 4096, 2032),
        (spsc().capacity(5000), 1, 8192, 4080),
        (spsc().capacity(1), 1, 4096, 2032),
        (spsc().capacity(4096).max_message(4096), 1, 16_384, 4096),
        (mpsc().max_message(0), 64, 1 << 20, 0),
        (mpsc().senders(1).max_message(1 << 20), 1, 1 << 22, 1 << 20),
    ] {
        let channel = builder.create(&name).expect("create");
        assert_eq!(
            (channel.senders(), channel.capacity(), channel.max_message()),
            (senders, capacity, largest)
        );
        let (sender, receiver) = (channel.sender().expect("a seat"), channel.receiver().expect("a seat"));
        assert_eq!((sender.capacity(), sender.max_message()), (capacity, largest));
        assert_eq!((receiver.capacity(), receiver.max_message()), (capacity, largest));
        channel.remove().expect("remove");
    }
}

fn impossible_options() {
    let name = Name::new();
    let refused: [Builder; 9] = [
        spsc().senders(2),
        mpsc().senders(0),
        mpsc().senders(241),
        spsc().capacity(0),
        spsc().capacity((1 << 40) + 1),
        spsc().max_message(1 << 40),
        spsc().max_message(u64::MAX),
        spsc().mode(0o1777),
        spsc().mode(0o060),
    ];
    for builder in refused {
        assert_eq!(builder.create(&name).expect_err("impossible").kind(), OpenErrorKind::InvalidOption);
        assert_eq!(builder.pair().expect_err("impossible").kind(), OpenErrorKind::InvalidOption);
    }
    for address in ["", "key:0", "id:x", "path:"] {
        assert_eq!(spsc().create(address).expect_err("no address").kind(), OpenErrorKind::InvalidAddress);
    }
}

/// It always fits an empty lane, wherever that has got to.
fn largest_message() {
    for builder in
        [spsc().capacity(4096), mpsc().capacity(4096), mpsc().capacity(4096).order(Order::PerSender)]
    {
        let (mut sender, mut receiver) = builder.pair().expect("a pair");
        for step in 0..600_usize {
            sender.try_send(vec![1; step % 96]).expect("room");
            assert_eq!(receiver.recv_vec().expect("a message").len(), step % 96);
            sender.try_send(vec![2; 2032]).expect("the largest fits an empty lane");
            assert_eq!(receiver.recv_vec().expect("a message"), [2; 2032]);
        }
    }
}

fn too_long_and_too_small() {
    let (mut sender, mut receiver) = spsc().capacity(4096).max_message(100).pair().expect("a pair");
    let error = sender.send([0; 101]).expect_err("too long");
    assert!(matches!(error.fault(), Fault::TooLong { len: 101, max: 100 }), "{error}");
    assert_eq!(error.into_inner().len(), 101);
    assert!(sender.reserve(101).is_err() && sender.try_send([0; 101]).is_err_and(|error| !error.is_full()));
    sender.send([7; 100]).expect("just not too long");
    let error = receiver.recv_into(&mut [0; 99]).expect_err("too small");
    assert!(matches!(error, RecvError::TooSmall { needed: 100, given: 99 }), "{error}");
    assert_eq!(receiver.recv_into(&mut [0; 100]).expect("it stayed"), 100);
    let mut slot = sender.reserve(4).expect("room");
    slot.write(b"abc").expect("it fits");
    assert_eq!(slot.write(b"de").expect_err("full").kind(), std::io::ErrorKind::WriteZero);
    assert!(slot.write_at(4, b"x").is_err() && slot.write_at(usize::MAX, b"x").is_err());
    slot.commit().expect("commit");
    assert_eq!(receiver.recv_vec().expect("a message")[..3], *b"abc");
}

/// A stream of a few messages from a child.
fn works(builder: &Builder) -> sysring::Stats {
    let (mut sender, mut receiver) = builder.pair().expect("a pair");
    let child = fork(|| (0..2000_u32).for_each(|number| sender.send(number.to_le_bytes()).expect("send")));
    for number in 0..2000_u32 {
        assert_eq!(receiver.recv_vec().expect("a message"), number.to_le_bytes());
    }
    child.join();
    receiver.stats().expect("stats")
}

fn locked_into_memory() {
    match spsc().capacity(4096).lock(true).pair() {
        Ok(_) => assert!(works(&spsc().capacity(4096).lock(true)).locked),
        // Without the right or the limit it is refused with a word on it, and nothing stays.
        Err(error) => {
            assert!(
                matches!(error.kind(), OpenErrorKind::PermissionDenied | OpenErrorKind::Limit),
                "{error}"
            );
        }
    }
    assert!(!works(&spsc().capacity(4096)).locked);
}

fn huge_pages_or_ordinary_ones() {
    let stats = works(&spsc().capacity(1 << 20).huge_pages(true));
    println!("huge pages: {}", stats.huge_pages);
    assert!(!works(&spsc()).huge_pages);
    let name = Name::new();
    spsc().huge_pages(true).create(&name).expect("create");
    spsc().open(&name).expect("open");
}

fn prefaulted() {
    works(&spsc().capacity(1 << 20).prefault(true));
    works(&mpsc().senders(4).capacity(1 << 16).prefault(true));
}

fn stats_tell_what_is_there() {
    let name = Name::new();
    let channel = mpsc().senders(5).capacity(8192).order(Order::PerSender).create(&name).expect("create");
    let mut senders = [channel.sender().expect("a seat"), channel.sender().expect("a seat")];
    let mut receiver = channel.receiver().expect("a seat");
    (0..5_u8).for_each(|number| senders[0].send([number; 10]).expect("send"));
    senders[1].send("x").expect("send");
    assert_eq!(receiver.recv_vec().expect("a message").len(), 10);
    let pid = Some(std::process::id() as i32);
    let stats = channel.stats().expect("stats");
    assert_eq!((stats.name.as_str(), stats.kind, stats.order), (name.as_str(), Kind::Mpsc, Order::PerSender));
    assert_eq!((stats.id, stats.key, stats.mode), (channel.id(), channel.key(), 0o600));
    assert_eq!((stats.senders, stats.capacity, stats.max_message), (5, 8192, 4080));
    assert!(stats.persistent && !stats.anonymous && !stats.removed);
    assert_eq!((stats.creator_pid, stats.attached >= 1), (std::process::id() as i32, true));
    assert_eq!((stats.receiver.taken, stats.receiver.pid, stats.receiver.asleep), (true, pid, false));
    let [first, second] = &stats.lanes[..] else { panic!("{:?}", stats.lanes) };
    assert_eq!((first.sent, first.sent_bytes, first.received, first.messages), (5, 50, 1, 4));
    assert_eq!((second.sent, second.sent_bytes, second.received, second.messages), (1, 1, 0, 1));
    assert_eq!((first.seat.pid, second.seat.pid), (pid, pid));
    assert!(first.used > 0 && !first.corrupt && !first.waits_for_room);
}

fn list_shows_everything() {
    let names = [Name::new(), Name::new()];
    let channels = [spsc().create(&names[0]).expect("create"), mpsc().create(&names[1]).expect("create")];
    let _anonymous = spsc().pair().expect("a pair");
    let list = sysring::list().expect("list");
    for (name, channel) in names.iter().zip(&channels) {
        let listed = list.iter().find(|listed| listed.id == channel.id()).expect("in the list");
        assert_eq!(listed.key, channel.key());
        assert_eq!(listed.outcome.as_ref().expect("a channel").name, name.as_str());
    }
    assert!(list.iter().any(|listed| listed.outcome.as_ref().is_ok_and(|stats| stats.anonymous)));
}

fn len_and_is_empty() {
    let (mut sender, mut receiver) = spsc().pair().expect("a pair");
    assert!(sender.is_empty() && receiver.is_empty());
    receiver.attach().expect("a seat");
    (0..10).for_each(|_| sender.send("x").expect("send"));
    assert_eq!((sender.len(), receiver.len()), (10, 10));
    let message = receiver.recv().expect("a message");
    assert_eq!((message.len(), message.is_empty(), message.lane()), (1, false, 0));
    drop(message);
    assert_eq!((sender.len(), receiver.len()), (9, 9));
    while receiver.try_recv().is_ok() {}
    assert!(sender.is_empty() && receiver.is_empty());
    assert_eq!((sender.len(), receiver.len()), (0, 0));
}

fn observer_changes_nothing() {
    let name = Name::new();
    let channel = spsc().create(&name).expect("create");
    fork(|| {
        let observer = sysring::Observer::open(&name).expect("open");
        assert!(!observer.sender_alive(0).expect("lane 0"));
        assert!(observer.sender_alive(1).is_err_and(|error| error.kind() == OpenErrorKind::InvalidOption));
        for _ in 0..100 {
            assert!(!observer.stats().expect("stats").receiver.taken);
        }
    })
    .join();
    let mut receiver = channel.receiver().expect("nobody took it");
    let observer = sysring::Observer::open(&name).expect("open");
    assert!(receiver.try_recv().is_err_and(|error| error.is_empty()), "an observer is no sender");
    let sender = channel.sender().expect("nobody took it");
    assert!(observer.sender_alive(0).expect("lane 0"));
    drop(sender);
    channel.remove().expect("remove");
    assert!(observer.stats().map_or(true, |stats| stats.removed));
}

/// An anonymous channel's set is removed by whoever detaches last, and that may be somebody who only looked. The
/// runner looks for what is left.
fn an_observer_that_leaves_last_takes_the_set_along() {
    let (mut sender, receiver) = spsc().pair().expect("a pair");
    sender.send("x").expect("send");
    let id = sender.stats().expect("stats").id;
    let observer = sysring::Observer::open(format!("id:{id}")).expect("a look");
    drop((sender, receiver));
    assert!(!observer.stats().expect("still mapped").lanes[0].seat.taken);
    drop(observer);
    assert!(sysring::list().expect("list").iter().all(|listed| listed.id != id));
}
