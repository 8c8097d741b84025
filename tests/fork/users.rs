//! Other users. These need root, to become somebody else; without it there is nothing to see.

use sysring::{OpenErrorKind, RecvError, mpsc, spsc};

use crate::process::{Name, Pipe, become_user, fork, is_root};
use crate::runner::tests;

tests![
    a_foreign_channel_is_refused,
    a_trusted_users_channel_is_opened,
    mode_0600_refuses_others,
    mode_0666_lets_others_in,
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
        spsc().mode(0o666).sender(&name).expect("a stranger's channel").send("hello").expect("send");
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

fn mode_0666_lets_others_in() {
    if !can_play() {
        return;
    }
    let name = Name::new();
    let channel = mpsc().mode(0o666).create(&name).expect("create");
    let mut receiver = channel.receiver().expect("a seat");
    as_stranger(|| {
        let mut sender = mpsc().sender(&name).expect("root's channels are trusted");
        sender.send("from a stranger").expect("send");
        assert!(mpsc().receiver(&name).is_err());
    });
    assert_eq!(receiver.recv_vec().expect("a message"), b"from a stranger");
    assert!(matches!(receiver.recv(), Err(RecvError::Disconnected)));
    // Asleep for a stranger's message, and for a stranger's death.
    let pipe = Pipe::new();
    let child = fork(|| {
        become_user(STRANGER);
        let mut sender = mpsc().sender(&name).expect("a seat");
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
