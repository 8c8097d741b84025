//! Making, opening and removing at the same time, and every way that it can be refused.

use std::collections::HashSet;
use std::time::Duration;

use sysring::segment::{Key, Segment};
use sysring::{Address, EndOfStream, Errno, OpenErrorKind, Order, mpsc, spsc};

use crate::process::{Child, Name, Pipe, fork, segments_under};
use crate::runner::tests;

tests![
    sixteen_make_one_channel,
    sixteen_create_and_one_wins,
    removal_among_them,
    different_shapes_race,
    there_is_one_already,
    there_is_none,
    other_options_are_a_mismatch,
    options_that_are_not_set_match,
    the_key_of_another_name,
    a_strangers_segment_is_left_untouched,
    every_address_leads_there,
];

const PROCESSES: u64 = 16;

/// Starts 16 processes at the same moment.
fn together(start: &Pipe, body: impl Fn(u64)) -> Vec<Child> {
    let children = (0..PROCESSES)
        .map(|who| {
            fork(|| {
                start.get();
                body(who);
            })
        })
        .collect();
    (0..PROCESSES).for_each(|_| start.put(0));
    children
}

fn sixteen_make_one_channel() {
    for round in 0..50 {
        let name = Name::new();
        let builder = mpsc().senders(PROCESSES as u32).capacity(4096);
        let ids = Pipe::new();
        let children = together(&Pipe::new(), |who| {
            let channel = builder.open_or_create(&name).expect("open or create");
            ids.put(channel.id() as u64);
            let mut sender = channel.sender().expect("a seat");
            sender.send([who as u8; 100]).expect("send");
        });
        if round % 2 == 0 {
            children.iter().for_each(Child::join); // else the receiver races too
        }
        let channel = builder.open_or_create(&name).expect("open");
        let mut receiver = channel.receiver().expect("a seat");
        receiver.set_end(EndOfStream::Never); // one may have gone before the next has come
        let got: HashSet<u8> = (0..PROCESSES).map(|_| receiver.recv_vec().expect("a message")[99]).collect();
        assert_eq!(got.len() as u64, PROCESSES, "all messages are there");
        if round % 2 != 0 {
            children.iter().for_each(Child::join);
        }
        assert!((0..PROCESSES).all(|_| ids.get() == channel.id() as u64), "one segment");
        assert_eq!(segments_under(channel.key()), 1);
        assert!(receiver.try_recv().is_err());
        sysring::remove(&name).expect("remove");
    }
}

fn sixteen_create_and_one_wins() {
    for _ in 0..20 {
        let name = Name::new();
        let won = Pipe::new();
        let children = together(&Pipe::new(), |_| match spsc().capacity(4096).create(&name) {
            Ok(_) => won.put(1),
            Err(error) => {
                assert_eq!(error.kind(), OpenErrorKind::AlreadyExists, "{error}");
                won.put(0);
            }
        });
        assert_eq!((0..PROCESSES).map(|_| won.get()).sum::<u64>(), 1);
        children.iter().for_each(Child::join);
        sysring::remove(&name).expect("remove");
    }
}

fn removal_among_them() {
    for round in 0..20 {
        let name = Name::new();
        let builder = mpsc().senders(PROCESSES as u32).capacity(4096);
        let children = together(&Pipe::new(), |who| {
            if who % 5 == round % 5 {
                for _ in 0..3 {
                    match sysring::remove(&name) {
                        Ok(()) => {}
                        Err(error) => assert!(
                            matches!(error.kind(), OpenErrorKind::NotFound | OpenErrorKind::Removed),
                            "{error}"
                        ),
                    }
                }
                return;
            }
            match builder.sender(&name) {
                Ok(mut sender) => {
                    if let Err(error) = sender.send("x") {
                        assert!(error.is_removed(), "{error}");
                    }
                }
                Err(error) => assert_eq!(error.kind(), OpenErrorKind::Removed, "{error}"),
            }
        });
        children.iter().for_each(Child::join);
        // Whatever was going on, the name is good now.
        let mut sender = builder.sender(&name).expect("open or create");
        let mut receiver = builder.receiver(&name).expect("open");
        sender.send("last").expect("send");
        assert!(receiver.try_iter().any(|bytes| bytes.expect("a message") == b"last"));
        sysring::remove(&name).expect("remove");
    }
}

/// One shape wins, the others are told.
fn different_shapes_race() {
    for _ in 0..10 {
        let name = Name::new();
        let children = together(&Pipe::new(), |who| {
            let capacity = 4096 << (who % 3);
            match spsc().capacity(capacity).open_or_create(&name) {
                Ok(channel) => assert_eq!(channel.capacity(), capacity),
                Err(error) => assert_eq!(error.kind(), OpenErrorKind::Mismatch, "{error}"),
            }
        });
        children.iter().for_each(Child::join);
        sysring::remove(&name).expect("remove");
    }
}

fn there_is_one_already() {
    let name = Name::new();
    let channel = spsc().create(&name).expect("create");
    let error = spsc().create(&name).expect_err("there is one");
    assert_eq!((error.kind(), error.errno()), (OpenErrorKind::AlreadyExists, Some(Errno::EEXIST)));
    let text = error.to_string();
    assert!(text.contains(name.as_str()) && text.contains("EEXIST") && text.lines().count() == 1, "{text}");
    channel.sender().expect("it was left alone");
}

fn there_is_none() {
    let name = Name::new();
    let error = mpsc().open(&name).expect_err("there is none");
    assert_eq!((error.kind(), error.errno()), (OpenErrorKind::NotFound, Some(Errno::ENOENT)));
    assert!(error.to_string().contains("ENOENT"), "{error}");
    assert_eq!(sysring::remove(&name).expect_err("none").kind(), OpenErrorKind::NotFound);
    assert!(sysring::Observer::open(&name).is_err_and(|error| error.kind() == OpenErrorKind::NotFound));
    let id = Address::id(i32::MAX);
    let error = mpsc().open(&id).expect_err("no such segment");
    assert_eq!(error.kind(), OpenErrorKind::NotFound, "{error}");
    assert!(mpsc().create(&id).is_err_and(|error| error.kind() == OpenErrorKind::InvalidAddress));
}

fn other_options_are_a_mismatch() {
    let name = Name::new();
    let channel = mpsc().senders(3).capacity(8192).create(&name).expect("create");
    for (wrong, wanted, found) in [
        (spsc(), "Spsc", "Mpsc"),
        (mpsc().senders(4), "4", "3"),
        (mpsc().capacity(16_384), "16384", "8192"),
        (mpsc().max_message(100), "100", "4080"),
        (mpsc().order(Order::PerSender), "PerSender", "Total"),
        (mpsc().persistent(false), "false", "true"),
        (mpsc().mode(0o640), "640", "600"),
    ] {
        for error in
            [wrong.open(&name), wrong.open_or_create(&name)].map(|outcome| outcome.expect_err("differs"))
        {
            assert_eq!(error.kind(), OpenErrorKind::Mismatch, "{error}");
            assert!(error.to_string().contains(wanted) && error.to_string().contains(found), "{error}");
        }
    }
    assert_eq!((channel.senders(), channel.capacity(), channel.max_message()), (3, 8192, 4080));
}

fn options_that_are_not_set_match() {
    let name = Name::new();
    mpsc().senders(3).capacity(8192).order(Order::PerSender).persistent(false).create(&name).expect("create");
    let channel = mpsc().open(&name).expect("open");
    assert_eq!((channel.senders(), channel.capacity(), channel.order()), (3, 8192, Order::PerSender));
    assert!(!channel.persistent());
    sysring::Builder::default().open_or_create(&name).expect("of any kind");
    sysring::remove(&name).expect("remove");
    spsc().create(&name).expect("create");
    sysring::Builder::default().open(&name).expect("of any kind");
}

fn the_key_of_another_name() {
    let name = Name::new();
    let key = {
        let channel = spsc().create(&name).expect("create");
        let key = channel.key();
        sysring::remove(&name).expect("remove");
        key
    };
    let channel = spsc().create(Address::key(key)).expect("create by key");
    assert_eq!((channel.key(), channel.name()), (key, ""));
    for outcome in [spsc().open(&name), spsc().create(&name), spsc().open_or_create(&name)] {
        let error = outcome.expect_err("the key is another's");
        assert_eq!(error.kind(), OpenErrorKind::NameTaken, "{error}");
        assert!(error.to_string().contains(name.as_str()), "{error}");
    }
    assert!(sysring::remove(&name).is_err_and(|error| error.kind() == OpenErrorKind::NameTaken));
    assert!(sysring::Observer::open(&name).is_err_and(|error| error.kind() == OpenErrorKind::NameTaken));
    channel.sender().expect("it was left alone").send("x").expect("send");
    sysring::remove(Address::key(key)).expect("remove");
}

fn a_strangers_segment_is_left_untouched() {
    let name = Name::new();
    let key = {
        let channel = spsc().create(&name).expect("create");
        let key = channel.key();
        channel.remove().expect("remove");
        key
    };
    for size in [1, 4096, 100_000] {
        let segment = Segment::create(Key::from_raw(key), size, 0o600).expect("a stranger's segment");
        let mapping = segment.attach().expect("attach");
        mapping.write(0, b"?").expect("write");
        let before = content(&mapping);
        for outcome in [spsc().open(&name), spsc().create(&name), spsc().open_or_create(&name)] {
            let error = outcome.expect_err("not a channel");
            assert_eq!(error.kind(), OpenErrorKind::Foreign, "{error}");
        }
        assert!(sysring::remove(&name).is_err_and(|error| error.kind() == OpenErrorKind::Foreign));
        assert!(sysring::Observer::open(&name).is_err_and(|error| error.kind() == OpenErrorKind::Foreign));
        assert_eq!(content(&mapping), before);
        segment.remove().expect("remove");
    }
}

fn content(mapping: &sysring::segment::Mapping) -> Vec<u8> {
    let mut bytes = vec![0; mapping.len()];
    mapping.read(0, &mut bytes).expect("read");
    bytes
}

fn every_address_leads_there() {
    let file = std::env::current_exe().expect("a path to this test");
    let name = Name::new();
    let by_path = Address::path(&file, 0x53);
    for made in [Address::from(&name), Address::key(0x0053_5200 + std::process::id() as i32), by_path] {
        let channel = mpsc().create(&made).expect("create");
        let mut receiver = channel.receiver().expect("a seat");
        receiver.set_end(EndOfStream::Never);
        let mut ways =
            vec![made.clone(), Address::id(channel.id()), Address::from(format!("id:{}", channel.id()))];
        if channel.name().is_empty() {
            ways.push(Address::key(channel.key()));
            ways.push(Address::from(format!("key:{:#x}", channel.key())));
        }
        for way in &ways {
            let child =
                fork(|| mpsc().open(way).expect("open").sender().expect("a seat").send("x").expect("send"));
            assert_eq!(receiver.recv_vec_timeout(Duration::from_secs(10)).expect("a message"), b"x");
            child.join();
        }
        sysring::remove(&made).expect("remove");
    }
}
