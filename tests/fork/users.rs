//! Other users. These need root, to become somebody else; without it there is nothing to see.

use sysring::segment::Segment;
use sysring::{Address, Channel, Fault, Observer, OpenErrorKind, RecvError, mpsc, spsc};

use crate::process::{
    Name, Object, Pipe, become_member, become_user, fork, is_root, objects, remove_set, semaphore_add,
};
use crate::runner::tests;

tests![
    a_foreign_channel_is_refused,
    a_trusted_users_channel_is_opened,
    mode_0600_refuses_others,
    mode_0660_lets_the_group_in,
    a_group_of_ones_own_choice,
    a_replaced_set_keeps_the_group,
    a_half_made_channel_is_finished_for_its_group,
    mode_0666_lets_others_in_who_ask_for_it,
    a_squatter_is_refused_in_every_state,
    an_observer_cannot_write,
    readable_is_observable_and_no_more,
    others_cannot_remove,
];

/// Nobody, on every Linux.
const STRANGER: u32 = 65_534;

/// Whether another user can be played; says so if not.
fn can_play() -> bool {
    if !is_root() {
        println!("skipped: needs root");
    }
    is_root()
}

/// Runs `body` as a stranger, to its end.
fn as_stranger(body: impl FnOnce()) {
    fork(|| {
        become_user(STRANGER);
        body();
    })
    .join();
}

fn a_foreign_channel_is_refused() {
    if !can_play() {
        return;
    }
    let name = Name::new();
    as_stranger(|| {
        let mut sender = mpsc().mode(0o666).sender(&name).expect("a stranger's channel");
        sender.send("bait").expect("send");
    });
    for outcome in [mpsc().open(&name), mpsc().open_or_create(&name), mpsc().create(&name)] {
        let error = outcome.expect_err("not ours");
        assert_eq!(error.kind(), OpenErrorKind::Foreign, "{error}");
        assert!(error.to_string().contains(&STRANGER.to_string()), "{error}");
    }
    assert!(mpsc().receiver(&name).is_err());
    // It was left as it is.
    as_stranger(|| {
        let mut receiver = mpsc().receiver(&name).expect("the stranger's own");
        assert_eq!(receiver.recv_vec().expect("a message"), b"bait");
        sysring::remove(&name).expect("remove");
    });
}

fn a_trusted_users_channel_is_opened() {
    if !can_play() {
        return;
    }
    let name = Name::new();
    as_stranger(|| {
        spsc().sender(&name).expect("a stranger's channel").send("hello").expect("send");
    });
    assert!(
        spsc().trust_uid(STRANGER + 1).open(&name).is_err_and(|error| error.kind() == OpenErrorKind::Foreign)
    );
    let mut receiver = spsc().trust_uid(STRANGER).receiver(&name).expect("trusted");
    assert_eq!(receiver.recv_vec().expect("a message"), b"hello");
    as_stranger(|| sysring::remove(&name).expect("remove"));
    assert!(matches!(receiver.recv(), Err(RecvError::Removed | RecvError::Disconnected)));
}

fn mode_0600_refuses_others() {
    if !can_play() {
        return;
    }
    let name = Name::new();
    let channel = spsc().create(&name).expect("create");
    as_stranger(|| {
        for outcome in [spsc().open(&name), spsc().open_or_create(&name)] {
            assert_eq!(outcome.expect_err("closed").kind(), OpenErrorKind::PermissionDenied);
        }
        assert!(spsc().sender(&name).is_err_and(|error| error.kind() == OpenErrorKind::PermissionDenied));
        let error = sysring::Observer::open(&name).expect_err("closed");
        assert_eq!(error.kind(), OpenErrorKind::PermissionDenied, "{error}");
        assert_eq!(sysring::remove(&name).expect_err("closed").kind(), OpenErrorKind::PermissionDenied);
    });
    channel.stats().expect("still there");
}

/// Two users who share a group, and one who does not.
const ALICE: u32 = 40_001;
const BOB: u32 = 40_002;
const CAROL: u32 = 40_003;
const TEAM: u32 = 40_100;
const OTHERS: u32 = 40_200;

/// Runs `body` as that user in that group, to its end.
fn as_member(uid: u32, gid: u32, body: impl FnOnce()) {
    fork(|| {
        become_member(uid, gid);
        body();
    })
    .join();
}

/// The semaphore set of a channel, as somebody who may read it sees it.
fn set_of(channel: &Channel) -> i32 {
    channel.stats().expect("stats").semaphore_set
}

/// A message goes from `sender` to `receiver`, both as users of the team, and others are kept out.
fn shared_by_the_team(name: &Name, group: u32) {
    as_member(BOB, group, || {
        let error = mpsc().open(name).expect_err("Bob has not said that he trusts Alice");
        assert_eq!(error.kind(), OpenErrorKind::Foreign, "{error}");
        let mut sender = mpsc().trust_uid(ALICE).sender(name).expect("the group may write");
        sender.send("from Bob").expect("send");
    });
    as_member(CAROL, OTHERS, || {
        for outcome in [mpsc().trust_uid(ALICE).open(name), mpsc().trust_uid(ALICE).open_or_create(name)] {
            assert_eq!(outcome.expect_err("not in the group").kind(), OpenErrorKind::PermissionDenied);
        }
        assert_eq!(Observer::open(name).expect_err("not readable").kind(), OpenErrorKind::PermissionDenied);
    });
    as_member(ALICE, ALICE, || {
        let channel = mpsc().mode(0o660).group(group).open(name).expect("Alice's own");
        assert_eq!(channel.receiver().expect("a seat").recv_vec().expect("a message"), b"from Bob");
        let error = mpsc().group(group + 1).open(name).expect_err("another group");
        assert_eq!(error.kind(), OpenErrorKind::Mismatch);
        assert!(error.to_string().contains(&group.to_string()), "{error}");
    });
}

/// Strangers are kept from the semaphores as from the segment.
fn assert_closed_to_carol(set: i32) {
    as_member(CAROL, OTHERS, || assert_eq!(semaphore_add(set, 5, 1), Err(libc::EACCES)));
}

fn mode_0660_lets_the_group_in() {
    if !can_play() {
        return;
    }
    let name = Name::new();
    // Alice is in the team, so that its group is the channel's without being asked for.
    as_member(ALICE, TEAM, || drop(mpsc().mode(0o660).create(&name).expect("create")));
    shared_by_the_team(&name, TEAM);
    as_member(ALICE, TEAM, || sysring::remove(&name).expect("remove"));
}

fn a_group_of_ones_own_choice() {
    if !can_play() {
        return;
    }
    let name = Name::new();
    as_member(ALICE, ALICE, || {
        let channel = mpsc().mode(0o660).group(TEAM).create(&name).expect("create");
        let stats = channel.stats().expect("stats");
        assert_eq!((stats.mode, stats.owner_uid, stats.owner_gid), (0o660, ALICE, TEAM));
    });
    shared_by_the_team(&name, TEAM);
    assert_closed_to_carol(set_of(&mpsc().trust_uid(ALICE).open(&name).expect("open")));
    as_member(BOB, TEAM, || {
        let error = sysring::remove(&name).expect_err("not Bob's");
        assert_eq!(error.kind(), OpenErrorKind::PermissionDenied, "{error}");
    });
    as_member(ALICE, ALICE, || sysring::remove(&name).expect("remove"));
    // Anonymous ones too: whoever attaches by id needs the same rights.
    let (sender, _receiver) = spsc().mode(0o660).group(TEAM).pair().expect("a pair");
    let stats = sender.stats().expect("stats");
    assert_eq!((stats.mode, stats.owner_gid), (0o660, TEAM));
    assert_closed_to_carol(stats.semaphore_set);
}

fn a_replaced_set_keeps_the_group() {
    if !can_play() {
        return;
    }
    let name = Name::new();
    as_member(ALICE, ALICE, || {
        let channel = mpsc().mode(0o660).group(TEAM).create(&name).expect("create");
        channel.sender().expect("a seat").send("kept").expect("send");
        remove_set(set_of(&channel));
    });
    // The new set is Bob's creation and belongs to whom the channel belongs to.
    as_member(BOB, TEAM, || {
        let mut sender = mpsc().trust_uid(ALICE).sender(&name).expect("the group may write");
        sender.send("from Bob").expect("send");
    });
    as_member(ALICE, ALICE, || {
        let channel = mpsc().open(&name).expect("Alice's own");
        let mut receiver = channel.receiver().expect("a seat");
        assert_eq!(receiver.recv_vec().expect("a message"), b"kept");
        assert_eq!(receiver.recv_vec().expect("a message"), b"from Bob");
    });
    assert_closed_to_carol(set_of(&mpsc().trust_uid(ALICE).open(&name).expect("open")));
    as_member(ALICE, ALICE, || sysring::remove(&name).expect("remove, with a set that Bob made"));
    assert_eq!(objects(), []);
}

fn a_half_made_channel_is_finished_for_its_group() {
    if !can_play() {
        return;
    }
    let name = Name::new();
    as_member(ALICE, ALICE, || {
        let whole = mpsc().create(&name).expect("create");
        let (key, size) = (whole.key(), whole.stats().expect("stats").size);
        whole.remove().expect("remove");
        drop(whole);
        // As its maker leaves it that is killed in its second call.
        let key = sysring::segment::Key::from_raw(key);
        Segment::create(key, size as usize, 0o600).expect("a segment of zeros");
        let channel = mpsc().mode(0o660).group(TEAM).open_or_create(&name).expect("finished");
        let stats = channel.stats().expect("stats");
        assert_eq!((stats.mode, stats.owner_gid), (0o660, TEAM));
    });
    shared_by_the_team(&name, TEAM);
    as_member(ALICE, ALICE, || sysring::remove(&name).expect("remove"));
}

/// A stranger holds the key with a segment that looks like a channel in whatever state: everybody else is told whose it is,
/// and not a byte of it is changed.
fn a_squatter_is_refused_in_every_state() {
    if !can_play() {
        return;
    }
    let name = Name::new();
    let whole = spsc().capacity(4096).create(&name).expect("create");
    let (key, size) = (whole.key(), whole.stats().expect("stats").size as usize);
    let mut ready = vec![0; size];
    Segment::from_id(whole.id()).attach().expect("attach").read(0, &mut ready).expect("read");
    whole.remove().expect("remove");
    let mut given_up = vec![0; size];
    given_up[..8].copy_from_slice(b"givenup\0");
    let mut removed = ready.clone();
    removed[256 + 16 + 7] = 0x80; // the mark in the notice
    for bytes in [ready, vec![0; size], given_up, removed, vec![7; size]] {
        as_stranger(|| {
            let segment =
                Segment::create(sysring::segment::Key::from_raw(key), size, 0o666).expect("the key");
            segment.attach().expect("attach").write(0, &bytes).expect("write");
        });
        let segment = Segment::open(sysring::segment::Key::from_raw(key)).expect("there");
        for outcome in [spsc().open(&name), spsc().open_or_create(&name), spsc().create(&name)] {
            let error = outcome.expect_err("not ours");
            assert_eq!(error.kind(), OpenErrorKind::Foreign, "{error}");
        }
        assert!(spsc().receiver(Address::id(segment.id())).is_err_and(|error| {
            error.kind() == OpenErrorKind::Foreign && error.to_string().contains(&STRANGER.to_string())
        }));
        as_member(BOB, TEAM, || {
            assert_eq!(spsc().open(&name).expect_err("not ours").kind(), OpenErrorKind::Foreign);
            assert!(sysring::remove(&name).is_err());
        });
        let mut now = vec![0; size];
        segment.attach_read_only().expect("attach").read(0, &mut now).expect("read");
        assert!(now == bytes, "changed");
        let made = objects().into_iter().filter(|object| matches!(object, Object::Set { .. })).count();
        assert_eq!(made, 0, "a set was made for it");
        segment.remove().expect("remove");
    }
}

/// Who may only read gets a mapping that cannot be written, and no way to the semaphores.
fn an_observer_cannot_write() {
    if !can_play() {
        return;
    }
    let name = Name::new();
    let channel = mpsc().senders(3).capacity(4096).mode(0o644).create(&name).expect("create");
    let mut sender = channel.sender().expect("a seat");
    sender.send("seen").expect("send");
    let (id, set) = (channel.id(), set_of(&channel));
    let image = || {
        let mapping = Segment::from_id(id).attach_read_only().expect("attach");
        let mut bytes = vec![0; mapping.len()];
        mapping.read(0, &mut bytes).expect("read");
        bytes
    };
    let before = image();
    as_stranger(|| {
        let observer = Observer::open(&name).expect("readable");
        assert_eq!(observer.stats().expect("stats").lanes[0].messages, 1);
        assert!(observer.sender_alive(0).expect("a lane") && !observer.sender_alive(1).expect("a lane"));
        assert!(
            sysring::list().expect("list").iter().any(|listed| listed.id == id && listed.outcome.is_ok())
        );
        assert_eq!(read_only_mappings(id), 1);
        assert!(Segment::from_id(id).attach().is_err(), "writable for a stranger");
        assert_eq!(semaphore_add(set, 5, 1), Err(libc::EACCES));
        assert_eq!(semaphore_add(set, 5, 0), Ok(()), "a look at zero is a look");
    });
    // Also where more would be allowed.
    let observer = Observer::open(&name).expect("our own");
    observer.stats().expect("stats");
    assert_eq!(read_only_mappings(id), 1);
    drop(observer);
    assert_eq!(read_only_mappings(id), 0);
    assert!(image() == before, "changed");
    // And the channel goes on.
    sender.send("again").expect("send");
    let mut receiver = channel.receiver().expect("a seat");
    assert_eq!(receiver.recv_vec().expect("a message"), b"seen");
    assert_eq!(receiver.recv_vec().expect("a message"), b"again");
    sysring::remove(&name).expect("remove");
    assert!(matches!(sender.send("late").expect_err("removed").fault(), Fault::Removed));
}

/// Mappings of a segment that this process may only read.
fn read_only_mappings(id: i32) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    let is_one = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ours = words.get(5).is_some_and(|path| path.starts_with("/SYSV")) && words[4] == id.to_string();
        ours && words[1] == "r--s"
    };
    maps.lines().filter(is_one).count()
}

fn mode_0666_lets_others_in_who_ask_for_it() {
    if !can_play() {
        return;
    }
    let name = Name::new();
    let channel = mpsc().mode(0o666).create(&name).expect("create");
    let mut receiver = channel.receiver().expect("a seat");
    as_stranger(|| {
        // Who does not say that everybody may interfere is told so.
        for outcome in [mpsc().open(&name), mpsc().open_or_create(&name)] {
            let error = outcome.expect_err("open to everybody");
            assert_eq!(error.kind(), OpenErrorKind::Mismatch);
            assert!(error.to_string().contains("mode 666"), "{error}");
        }
        let mut sender = mpsc().mode(0o666).sender(&name).expect("root's channels are trusted");
        sender.send("from a stranger").expect("send");
        assert!(mpsc().mode(0o666).receiver(&name).is_err());
    });
    assert_eq!(receiver.recv_vec().expect("a message"), b"from a stranger");
    assert!(mpsc().open(&name).is_ok(), "its maker need not ask");
    assert!(matches!(receiver.recv(), Err(RecvError::Disconnected)));
    // Asleep for a stranger's message, and for a stranger's death.
    let pipe = Pipe::new();
    let child = fork(|| {
        become_user(STRANGER);
        let mut sender = mpsc().mode(0o666).sender(&name).expect("a seat");
        pipe.put(0);
        crate::process::pause(30);
        sender.send("again").expect("send");
        crate::process::pause(30);
        crate::process::kill_oneself();
    });
    pipe.get();
    assert_eq!(receiver.recv_vec().expect("a message"), b"again");
    assert!(matches!(receiver.recv(), Err(RecvError::Disconnected)));
    child.wait();
}

fn readable_is_observable_and_no_more() {
    if !can_play() {
        return;
    }
    let name = Name::new();
    let channel = mpsc().mode(0o644).create(&name).expect("create");
    channel.sender().expect("a seat").send("seen").expect("send");
    as_stranger(|| {
        let stats = sysring::Observer::open(&name).expect("readable").stats().expect("stats");
        assert_eq!(stats.lanes[0].messages, 1);
        assert_eq!(mpsc().open(&name).expect_err("not writable").kind(), OpenErrorKind::PermissionDenied);
    });
    assert_eq!(channel.receiver().expect("a seat").recv_vec().expect("a message"), b"seen");
}

fn others_cannot_remove() {
    if !can_play() {
        return;
    }
    let name = Name::new();
    let channel = spsc().mode(0o666).create(&name).expect("create");
    as_stranger(|| {
        let error = sysring::remove(&name).expect_err("not the stranger's");
        assert_eq!(error.kind(), OpenErrorKind::PermissionDenied, "{error}");
    });
    channel.sender().expect("still there").send("x").expect("not marked as removed");
}
