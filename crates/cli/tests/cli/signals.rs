//! SIGINT and SIGTERM: 130 and 143, quickly, without a word, and the channel is as good as before.

use crate::support::{Name, Running, run, run_with, until};

/// SIGINT and its status, SIGTERM and its status.
const SIGNALS: [(&str, i32); 2] = [("INT", 130), ("TERM", 143)];

#[track_caller]
fn works(name: &Name) {
    run_with(&["send", name.str()], "again\n").quiet(0);
    let received = run(&["recv", name.str(), "--count", "1"]);
    assert_eq!(received.ok(), "again\n");
}

#[test]
fn end_a_receiver_that_follows() {
    for (signal, status) in SIGNALS {
        let name = Name::create(&[]);
        let receiver = Running::start(&["recv", name.str(), "--follow"]);
        run_with(&["send", name.str()], "a\n").quiet(0);
        until("it sleeps again", || {
            let stat = name.stat();
            stat["messages"] == 0 && stat["receiver"]["asleep"] == true
        });
        receiver.signal(signal);
        let ended = receiver.wait();
        assert_eq!(ended.stdout, b"a\n");
        ended.quiet(status);
        works(&name);
    }
}

#[test]
fn end_a_sender_that_waits_for_input() {
    for (signal, status) in SIGNALS {
        let name = Name::create(&[]);
        let sender = Running::start(&["send", name.str()]);
        until("it has its seat", || name.stat()["senders"][0]["taken"] == true);
        sender.signal(signal);
        sender.wait().quiet(status);
        works(&name);
    }
}

#[test]
fn end_a_sender_that_waits_for_room() {
    for (signal, status) in SIGNALS {
        let name = Name::create(&["--capacity", "4KiB"]);
        let sender = Running::with_input(&["send", name.str()], "x\n".repeat(10_000));
        until("it sleeps", || name.stat()["senders"][0]["asleep"] == true);
        sender.signal(signal);
        sender.wait().quiet(status);
        let sent = name.stat()["messages"].to_string();
        assert_eq!(run(&["recv", name.str(), "--count", &sent]).ok().lines().count().to_string(), sent);
        works(&name);
    }
}

#[test]
fn end_a_transfer_under_way() {
    let name = Name::create(&[]);
    let receiver = Running::start(&["recv", name.str(), "--follow"]);
    // More than can be through before the signal comes.
    let input = Running::with_input(&["send", name.str()], "line\n".repeat(20_000_000));
    until("data flows", || name.stat()["senders"][0]["received"].as_u64() > Some(1000));
    input.signal("INT");
    input.wait().quiet(130);
    receiver.signal("INT");
    let ended = receiver.wait();
    assert!(ended.stdout.ends_with(b"line\n"));
    ended.quiet(130);
}
