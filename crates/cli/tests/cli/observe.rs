//! `stat` and `ls` look, tell what they see, and touch nothing.

use serde_json::Value;

use crate::support::{Name, Running, run, run_with, until};

/// What `ls --json` says of this channel.
fn listed(name: &Name) -> Option<Value> {
    let all: Vec<Value> = serde_json::from_str(&run(&["ls", "--json"]).ok()).unwrap();
    all.into_iter().find(|channel| channel["name"] == name.str())
}

#[test]
fn stat_shows_what_create_was_told() {
    let options = ["--senders", "5", "--capacity", "64KiB", "--max-message", "1000"];
    let more = ["--mode", "640", "--order", "sender", "--no-persistent"];
    let name = Name::create(&[&options[..], &more].concat());
    let stat = name.stat();
    assert_eq!(stat["name"], name.str());
    assert_eq!(stat["address"], name.str());
    assert_eq!(stat["state"], "idle");
    assert_eq!(stat["kind"], "mpsc");
    assert_eq!(stat["order"], "sender");
    assert_eq!(stat["persistent"], false);
    assert_eq!(stat["anonymous"], false);
    assert_eq!(stat["capacity"], 65_536);
    assert_eq!(stat["max_message"], 1000);
    assert_eq!(stat["seats"], 5);
    assert_eq!(stat["mode"], "640");
    assert_eq!(stat["messages"], 0);
    assert_eq!(stat["receiver"]["taken"], false);
    assert_eq!(stat["senders"], Value::Array(Vec::new()));
    assert_eq!(stat["waits"], Value::Array(Vec::new()));
    assert!(stat["size"].as_u64() > Some(5 * 65_536));
}

#[test]
fn an_spsc_channel_and_the_defaults() {
    let name = Name::create(&["--spsc"]);
    let stat = name.stat();
    assert_eq!((&stat["kind"], &stat["seats"]), (&"spsc".into(), &1.into()));
    let name = Name::create(&[]);
    let stat = name.stat();
    assert_eq!((&stat["kind"], &stat["seats"]), (&"mpsc".into(), &64.into()));
    assert_eq!((&stat["order"], &stat["mode"]), (&"total".into(), &"600".into()));
    assert_eq!((&stat["capacity"], &stat["max_message"]), (&1_048_576.into(), &524_272.into()));
    assert_eq!(stat["persistent"], true);
}

#[test]
fn every_address_finds_the_same_channel() {
    let name = Name::create(&[]);
    let stat = name.stat();
    let (key, id) = (stat["key"].as_str().unwrap(), &stat["id"]);
    for address in [format!("key:{key}"), format!("id:{id}")] {
        let other: Value = serde_json::from_str(&run(&["stat", "--json", &address]).ok()).unwrap();
        assert_eq!(&other["id"], id, "{address}");
    }
}

#[test]
fn a_path_and_a_number_name_a_channel() {
    let address = format!("path:{}:7", env!("CARGO_BIN_EXE_sysring"));
    run(&["create", &address, "--capacity", "4KiB"]).ok();
    let stat = run(&["stat", &address]);
    run(&["rm", &address]).ok();
    assert!(stat.ok().contains("mpsc"));
}

#[test]
fn stat_names_the_ends_and_counts_their_messages() {
    let name = Name::create(&[]);
    let receiver = Running::start(&["recv", name.str(), "--follow"]);
    let mut sender = Running::start(&["send", name.str()]);
    sender.type_in("one\ntwo\nthree\n");
    until("all is received and the receiver sleeps", || {
        let stat = name.stat();
        stat["senders"][0]["received"] == 3 && stat["receiver"]["asleep"] == true
    });
    let stat = name.stat();
    assert_eq!(stat["state"], "in-use");
    assert_eq!(stat["receiver"]["pid"], receiver.pid());
    let lane = &stat["senders"][0];
    assert_eq!((&lane["pid"], &lane["taken"]), (&sender.pid().into(), &true.into()));
    assert_eq!((&lane["sent"], &lane["sent_bytes"]), (&3.into(), &11.into()));
    assert_eq!(lane["messages"], 0);
    assert_eq!(stat["waits"][0]["who"], "receiver");
    assert_eq!(stat["waits"][0]["waits_for"], "messages");

    let text = run(&["stat", name.str()]).ok();
    for word in [
        name.str().to_owned(),
        "in use".into(),
        format!("pid {}, asleep", receiver.pid()),
        "1 of 64".into(),
        format!("the receiver (pid {}) sleeps", receiver.pid()),
    ] {
        assert!(text.contains(&word), "no {word:?} in {text}");
    }
}

#[test]
fn stat_says_who_blocks_whom() {
    let name = Name::create(&["--capacity", "4KiB"]);
    let sender = Running::with_input(&["send", name.str()], "x\n".repeat(10_000));
    until("the sender sleeps", || name.stat()["senders"][0]["asleep"] == true);
    let stat = name.stat();
    assert_eq!(stat["waits"][0]["who"], "sender");
    assert_eq!(stat["waits"][0]["lane"], 0);
    assert_eq!(stat["waits"][0]["pid"], sender.pid());
    assert_eq!(stat["waits"][0]["waits_for"], "room");
    let text = run(&["stat", name.str()]).ok();
    let sentence = format!("sender in lane 0 (pid {}) waits for room: there is no receiver", sender.pid());
    assert!(text.contains(&sentence), "{text}");

    // A receiver that is stopped is named.
    let receiver = Running::start(&["recv", name.str(), "--count", "1"]);
    assert_eq!(receiver.wait().ok(), "x\n");
}

#[test]
fn a_receiver_that_does_not_take_is_named() {
    let name = Name::create(&["--capacity", "4KiB"]);
    let receiver = Running::start(&["recv", name.str()]);
    until("the receiver sleeps", || name.stat()["receiver"]["asleep"] == true);
    receiver.signal("STOP");
    let sender = Running::with_input(&["send", name.str()], "x\n".repeat(10_000));
    until("the sender sleeps", || name.stat()["senders"][0]["asleep"] == true);
    let text = run(&["stat", name.str()]).ok();
    let sentence = format!(
        "sender in lane 0 (pid {}) waits for room: the receiver (pid {}) has",
        sender.pid(),
        receiver.pid()
    );
    assert!(text.contains(&sentence), "{text}");
    receiver.signal("CONT");
    sender.wait().quiet(0);
    assert_eq!(receiver.wait().ok(), "x\n".repeat(10_000));
}

#[test]
fn ls_shows_channels_and_their_state() {
    let name = Name::create(&["--senders", "3"]);
    run_with(&["send", name.str()], "a\nb\n").quiet(0);
    let idle = listed(&name).unwrap();
    assert_eq!(idle["state"], "idle");
    assert_eq!((&idle["kind"], &idle["seats"]), (&"mpsc".into(), &3.into()));
    assert_eq!((&idle["messages"], &idle["senders"]), (&2.into(), &0.into()));
    assert_eq!(idle["receiver_pid"], Value::Null);
    assert_eq!(idle["problem"], Value::Null);

    let receiver = Running::start(&["recv", name.str(), "--follow"]);
    until("the receiver took all", || name.stat()["messages"] == 0);
    let used = listed(&name).unwrap();
    assert_eq!(used["state"], "in-use");
    assert_eq!(used["receiver_pid"], receiver.pid());

    let text = run(&["ls"]).ok();
    assert!(text.starts_with("NAME"), "{text}");
    let line = text.lines().find(|line| line.contains(name.str())).unwrap();
    for word in ["mpsc", "in use", "0/3", &receiver.pid().to_string()] {
        assert!(line.contains(word), "no {word:?} in {line}");
    }

    run(&["rm", name.str()]).ok();
    // As long as the receiver did not leave, the kernel keeps the segment.
    until("it is not listed any more", || match listed(&name) {
        Some(channel) => {
            assert_eq!(channel["state"], "removed");
            false
        }
        None => true,
    });
}

#[test]
fn looking_changes_nothing() {
    let name = Name::create(&[]);
    run_with(&["send", name.str()], "a\n").quiet(0);
    let before = name.stat();
    for _ in 0..3 {
        run(&["stat", name.str()]).ok();
        run(&["ls"]).ok();
    }
    assert_eq!(name.stat(), before);
}
