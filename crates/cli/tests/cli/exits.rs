//! Every exit status and its line.

use std::fs;

use serde_json::Value;
use sysring::segment::{Key, Segment};

use crate::support::{
    Ended, Name, Running, alone, assert_empty, outside, program, run, run_preloaded, run_with, until,
};

#[test]
fn usage_is_2() {
    let empty: &[&str] = &[];
    run(empty).failed(2, &["sysring --help"]);
    run(&["frobnicate"]).failed(2, &["frobnicate"]);
    run(&["recv"]).failed(2, &["<NAME>"]);
    run(&["recv", "t", "--cout", "1"]).failed(2, &["--cout", "--count"]);
    run(&["recv", "t", "--follow", "--eof", "2"]).failed(2, &["--follow", "--eof"]);
    run(&["recv", "t", "--eof", "0"]).failed(2, &["--eof"]);
    run(&["recv", "t", "--timeout", "5"]).failed(2, &["ms, s, m, h or d"]);
    run(&["recv", "t", "--framing", "chunk=4"]).failed(2, &["raw"]);
    run(&["send", "t", "--framing", "raw"]).failed(2, &["chunk=SIZE"]);
    run(&["create", "t", "--capacity", "1MB"]).failed(2, &["KiB"]);
    run(&["create", "t", "--spsc", "--senders", "2"]).failed(2, &["--spsc", "--senders"]);
    run(&["create", "t", "--mode", "9"]).failed(2, &["octal"]);
    run(&["gc", "--idle"]).failed(2, &["--older"]);
    run(&["gc", "--older", "1h"]).failed(2, &["--idle"]);
    run(&["gc", "--idle", "--older", "1w"]).failed(2, &["ms, s, m, h or d"]);
    run(&["stat", "key:zebra"]).failed(2, &["key:zebra"]);
    run(&["stat", "id:"]).failed(2, &["id:"]);
}

#[test]
fn impossible_options_are_2() {
    let name = Name::new();
    run(&["create", name.str(), "--senders", "241"]).failed(2, &["240"]);
    run(&["create", name.str(), "--capacity", "2048GiB"]).failed(2, &["1 TiB"]);
}

#[test]
fn help_and_version_are_0() {
    let help = run(&["--help"]).ok();
    for command in ["create", "send", "recv", "stat", "ls", "rm", "gc", "completions", "demo"] {
        assert!(help.contains(&format!("\n  {command} ")), "{help}");
    }
    assert!(!help.contains("demo-sender"));
    assert!(run(&["recv", "--help"]).ok().contains("--eof"));
    assert!(run(&["--version"]).ok().starts_with("sysring "));
}

#[test]
fn no_such_channel_is_3() {
    let name = Name::new();
    for command in ["send", "recv", "stat", "rm"] {
        run(&[command, name.str()]).failed(3, &[name.str(), "ENOENT"]);
        run(&[command, "id:2147483647"]).failed(3, &["id:2147483647"]);
    }
}

#[test]
fn an_existing_channel_is_not_created_again() {
    let name = Name::create(&[]);
    run(&["create", name.str()]).failed(1, &[name.str(), "EEXIST"]);
}

#[test]
fn a_missing_file_is_1_and_creates_nothing() {
    let name = Name::new();
    let sent = run(&["send", name.str(), "--create", "/nowhere/to/be/found"]);
    sent.failed(1, &["/nowhere/to/be/found", "ENOENT"]);
    run(&["stat", name.str()]).failed(3, &[name.str()]);
}

#[test]
fn no_message_in_time_is_4() {
    let name = Name::create(&[]);
    run(&["recv", name.str(), "--timeout", "50ms"]).failed(4, &[name.str(), "50ms", "ETIMEDOUT"]);
}

#[test]
fn no_room_in_time_is_4_and_what_was_sent_stays() {
    let name = Name::create(&["--capacity", "4KiB"]);
    let line = "x".repeat(99) + "\n";
    let sent = run_with(&["send", name.str(), "--timeout", "50ms"], line.repeat(1000));
    sent.failed(4, &[name.str(), "50ms", "ETIMEDOUT"]);
    let waiting = name.stat()["messages"].as_u64().unwrap();
    assert!(waiting > 10, "{waiting}");
    let received = run(&["recv", name.str(), "--count", &waiting.to_string()]).ok();
    assert_eq!(received, line.repeat(waiting as usize));
}

#[test]
fn a_second_receiver_is_5() {
    let name = Name::create(&[]);
    let first = Running::start(&["recv", name.str()]);
    until("the receiver has its seat", || name.stat()["receiver"]["taken"] == true);
    let pid = first.pid().to_string();
    run(&["recv", name.str()]).failed(5, &[name.str(), &pid]);
}

#[test]
fn one_sender_too_many_is_5() {
    for options in [&["--spsc"][..], &["--senders", "1"]] {
        let name = Name::create(options);
        let first = Running::start(&["send", name.str()]);
        until("the sender has its seat", || name.stat()["senders"][0]["taken"] == true);
        let pid = first.pid().to_string();
        run(&["send", name.str()]).failed(5, &[name.str(), &pid]);
    }
}

#[test]
fn removal_is_6_for_a_sleeping_receiver() {
    let name = Name::create(&[]);
    let receiver = Running::start(&["recv", name.str()]);
    until("the receiver sleeps", || name.stat()["receiver"]["asleep"] == true);
    run(&["rm", name.str()]).ok();
    receiver.wait().failed(6, &[name.str(), "removed"]);
    run(&["stat", name.str()]).failed(3, &[name.str()]);
}

#[test]
fn removal_is_6_for_a_sender_that_waits_for_room() {
    let name = Name::create(&["--capacity", "4KiB"]);
    let sender = Running::with_input(&["send", name.str()], "line\n".repeat(10_000));
    until("the sender sleeps", || name.stat()["senders"][0]["asleep"] == true);
    run(&["rm", name.str()]).ok();
    sender.wait().failed(6, &[name.str(), "removed"]);
}

#[test]
fn a_receiver_that_has_gone_is_6_if_the_channel_is_not_persistent() {
    let name = Name::create(&["--no-persistent", "--capacity", "4KiB"]);
    let receiver = Running::start(&["recv", name.str(), "--count", "1"]);
    let mut sender = Running::start(&["send", name.str()]);
    sender.type_in("first\n");
    assert_eq!(receiver.wait().ok(), "first\n");
    // The sender hears of it when it waits for room.
    sender.type_in(&"more\n".repeat(1000));
    sender.wait().failed(6, &[name.str()]);
}

#[test]
fn a_foreign_segment_is_7_and_stays_as_it_is() {
    let raw = 0x5eed_0000 | (std::process::id() & 0xffff) as i32;
    let segment = Segment::create(Key::from_raw(raw), 8192, 0o600).unwrap();
    let content = vec![7; 4096];
    segment.attach().unwrap().write(0, &content).unwrap();
    let name = format!("key:0x{raw:08x}");
    let outcomes = ["send", "recv", "stat", "rm"].map(|command| run(&[command, &name]));
    let mut after = vec![0; 4096];
    let read = segment.attach().unwrap().read(0, &mut after);
    segment.remove().unwrap();
    read.unwrap();
    assert_eq!(after, content);
    for outcome in outcomes {
        outcome.failed(7, &[&name]);
    }
}

/// Writes into the header of a channel while something is looked at; afterwards it is whole again.
fn with_header<T>(name: &Name, offset: usize, bytes: &[u8], look: impl FnOnce(i64) -> T) -> T {
    let id = name.stat()["id"].as_i64().unwrap();
    let mapping = Segment::from_id(id as i32).attach().unwrap();
    let mut header = vec![0; 128];
    mapping.read(0, &mut header).unwrap();
    mapping.write(offset, bytes).unwrap();
    let seen = look(id);
    mapping.write(0, &header).unwrap();
    seen
}

/// What `ls` calls the state of this segment.
fn listed_state(id: i64) -> Value {
    let all: Vec<Value> = serde_json::from_str(&run(&["ls", "--json"]).ok()).unwrap();
    let channel = all.iter().find(|channel| channel["id"] == id).unwrap();
    assert!(channel["problem"].is_string());
    channel["state"].clone()
}

#[test]
fn a_damaged_channel_is_7_and_listed_so() {
    let name = Name::create(&["--capacity", "4KiB", "--senders", "2"]);
    // Behind magic and version, which say that it is ours.
    let (outcomes, state) = with_header(&name, 16, &[0xa5; 112], |id| {
        (["send", "recv", "stat"].map(|command| run(&[command, name.str()])), listed_state(id))
    });
    for outcome in outcomes {
        outcome.failed(7, &[name.str()]);
    }
    assert_eq!(state, "damaged");
}

#[test]
fn a_channel_of_another_version_is_7_and_listed_so() {
    let name = Name::create(&["--capacity", "4KiB", "--senders", "2"]);
    let (outcomes, state) = with_header(&name, 8, &[0xa5; 8], |id| {
        (["send", "recv", "stat"].map(|command| run(&[command, name.str()])), listed_state(id))
    });
    for outcome in outcomes {
        outcome.failed(7, &[name.str()]);
    }
    assert_eq!(state, "unreadable");
}

#[test]
fn a_half_made_channel_is_listed_so() {
    let name = Name::create(&["--capacity", "4KiB", "--senders", "2"]);
    assert_eq!(with_header(&name, 0, &[0; 8], listed_state), "half-made");
}

#[test]
fn a_file_that_cannot_be_read_is_1() {
    let name = Name::create(&[]);
    let directory = std::env::temp_dir();
    assert!(fs::metadata(&directory).unwrap().is_dir());
    run(&["send", name.str(), directory.to_str().unwrap()]).failed(1, &[name.str(), "EISDIR"]);
}

/// No death would be noticed on it. A library makes one of any kernel.
#[test]
fn a_kernel_that_undoes_nothing_is_1_and_nothing_is_made() {
    let alone = alone();
    let name = Name::new();
    for command in
        [&["create", name.str()][..], &["send", name.str(), "--create"], &["recv", name.str(), "--create"]]
    {
        let refused = run_preloaded("../../tests/c/no_undo.c", &[], command);
        refused.failed(1, &[name.str(), "SEM_UNDO", "no death would be noticed"]);
        run(&["stat", name.str()]).failed(3, &[name.str()]);
    }
    if alone {
        assert_empty();
    }
}

/// Every command that writes to stdout, with what it is told.
fn writers(name: &Name) -> Vec<Vec<&str>> {
    vec![
        vec!["ls"],
        vec!["ls", "--json"],
        vec!["stat", name.str()],
        vec!["stat", "--json", name.str()],
        vec!["gc", "--dry-run"],
        vec!["completions", "bash"],
        vec!["recv", name.str()],
        vec!["recv", name.str(), "--to-file", "-"],
        vec!["--help"],
        vec!["send", "--help"],
        vec!["--version"],
    ]
}

/// With its stdout on this device.
fn onto(device: &str, args: &[&str]) -> Ended {
    let mut command = outside("sh");
    command.args(["-c", &format!("exec \"$0\" \"$@\" > {device}")]).arg(program()).args(args);
    Running::of_with_input(command, "").wait()
}

#[test]
fn a_full_stdout_is_1_for_every_command() {
    let name = Name::create(&[]);
    run_with(&["send", name.str()], "kept\n").quiet(0);
    for args in writers(&name) {
        onto("/dev/full", &args).failed(1, &["stdout", "ENOSPC (No space left on device)"]);
    }
    assert_eq!(run(&["recv", name.str(), "--count", "1"]).ok(), "kept\n");
}

#[test]
fn a_closed_stdout_is_0_for_every_command() {
    let name = Name::create(&[]);
    run_with(&["send", name.str()], "kept\n").quiet(0);
    for args in writers(&name) {
        Running::start_unread(&args).wait().quiet(0);
    }
    assert_eq!(run(&["recv", name.str(), "--count", "1"]).ok(), "kept\n");
}

/// Each line names what, which channel, why, and what to do.
#[test]
fn lines_say_what_to_do() {
    let none = Name::new();
    let some = Name::create(&["--capacity", "4KiB"]);
    let too_long = "x".repeat(3_000);
    let cases: &[(&[&str], &str, i32, &[&str])] = &[
        (&["create", some.str()], "", 1, &[some.str(), "EEXIST"]),
        (&["create", none.str(), "--capacity", "1024GiB", "--senders", "240"], "", 1, &["shmget", "ENOMEM"]),
        (&["create", none.str(), "--senders", "0"], "", 2, &["240"]),
        (&["create", ""], "", 2, &["name"]),
        (&["send", none.str()], "x", 3, &[none.str(), "ENOENT", "create"]),
        (&["recv", none.str()], "", 3, &[none.str(), "ENOENT", "create"]),
        (&["stat", none.str()], "", 3, &[none.str(), "ENOENT"]),
        (&["rm", none.str()], "", 3, &[none.str(), "ENOENT"]),
        (&["send", some.str(), "--timeout", "10"], "x", 2, &["--timeout", "ms, s, m, h or d"]),
        (&["send", some.str(), "/nowhere"], "", 1, &["/nowhere", "ENOENT", "nothing was sent"]),
        (&["send", some.str()], &too_long, 1, &[some.str(), "line 1", "2032 bytes", "--max-message"]),
        (&["send", some.str(), "--framing", "chunk=4KiB"], "x", 1, &[some.str(), "4096", "smaller chunk"]),
        (&["send", some.str(), "--framing", "length"], "abc", 1, &[some.str(), "at byte 0", "truncated"]),
        (
            &["send", some.str(), "--framing", "length"],
            "abcd",
            1,
            &[some.str(), "at byte 0", "length framing?"],
        ),
        (&["recv", some.str(), "--timeout", "10ms"], "", 4, &[some.str(), "ETIMEDOUT", "sysring stat"]),
        (&["recv", some.str(), "--to-file", "/nowhere/x"], "", 1, &["/nowhere/x", "ENOENT"]),
        (&["completions", "nosuch"], "", 2, &["nosuch", "bash, "]),
        (&["gc", "--older", "1d"], "", 2, &["--idle"]),
    ];
    for (args, input, status, words) in cases {
        run_with(args, *input).failed(*status, words);
    }
    // Nothing was made on the way, and nothing sent.
    run(&["stat", none.str()]).failed(3, &[none.str()]);
    assert_eq!(some.stat()["messages"], 0);
}

/// A seat that is taken is named with its holder, and the holder goes on.
#[test]
fn who_finds_a_seat_taken_disturbs_nobody() {
    let name = Name::create(&["--spsc"]);
    let mut sender = Running::start(&["send", name.str()]);
    let receiver = Running::start(&["recv", name.str()]);
    until("both are there", || {
        let stat = name.stat();
        stat["receiver"]["taken"] == true && stat["senders"][0]["taken"] == true
    });
    for (command, holder) in [("send", sender.pid()), ("recv", receiver.pid())] {
        run(&[command, name.str()]).failed(5, &[name.str(), &holder.to_string(), "falls free when"]);
    }
    sender.type_in("through\n");
    sender.finish().quiet(0);
    assert_eq!(receiver.wait().ok(), "through\n");
}

/// Removed under a transfer: both ends are told what to do, and the receiver has what it has.
#[test]
fn removal_in_the_middle_of_a_transfer_is_6() {
    let name = Name::create(&["--capacity", "4KiB"]);
    let mut sender = Running::start(&["send", name.str()]);
    let receiver = Running::start(&["recv", name.str()]);
    sender.type_in("one\n");
    until("it is received", || {
        let stat = name.stat();
        stat["senders"][0]["received"] == 1 && stat["receiver"]["asleep"] == true
    });
    run(&["rm", name.str()]).ok();
    let ended = receiver.wait();
    assert_eq!(ended.stdout, b"one\n");
    ended.failed(6, &[name.str(), "removed", "EIDRM", "'--create'"]);
    sender.type_in("two\n");
    sender.wait().failed(6, &[name.str(), "removed", "EIDRM", "'--create'"]);
}

/// A damaged lane met on the way: what lies before it is received, and the line says what to do.
#[test]
fn a_damaged_lane_is_7_behind_what_is_whole() {
    let name = Name::create(&["--spsc", "--capacity", "4KiB"]);
    run_with(&["send", name.str()], "whole\nbroken\n").quiet(0);
    let stat = name.stat();
    let mapping = Segment::from_id(stat["id"].as_i64().unwrap() as i32).attach().unwrap();
    // By the byte map in ARCHITECTURE.md, and behind the first record, which has a header and five bytes.
    mapping.write(8192 + 16, &u64::MAX.to_le_bytes()).unwrap();
    let ended = run(&["recv", name.str()]);
    assert_eq!(ended.stdout, b"whole\n");
    ended.failed(7, &[name.str(), "lane 0", "sysring rm"]);
    assert_eq!(name.stat()["state"], "damaged");
}

/// The other lanes go on: what they hold is received, and the damage is told of at the end.
#[test]
fn a_damaged_lane_keeps_nobody_from_the_others() {
    let name = Name::create(&["--senders", "2", "--capacity", "4KiB"]);
    let senders = ["a", "b"].map(|text| {
        let mut sender = Running::start(&["send", name.str()]);
        let waits = name.stat()["messages"].as_u64().unwrap();
        sender.type_in(&format!("{text}1\n{text}2\n"));
        until("both wait", || name.stat()["messages"] == waits + 2);
        sender
    });
    drop(senders);
    let mapping = Segment::from_id(name.stat()["id"].as_i64().unwrap() as i32).attach().unwrap();
    // Behind the first record, which has a header, a stamp and two bytes.
    mapping.write(8192 + 24, &u64::MAX.to_le_bytes()).unwrap();
    let ended = run(&["recv", name.str()]);
    assert_eq!(String::from_utf8_lossy(&ended.stdout), "a1\nb1\nb2\n");
    ended.failed(7, &[name.str(), "lane 0", "other lanes", "sysring rm"]);
    // And whoever comes next is told again, and receives what came since.
    run_with(&["send", name.str()], "c\n").quiet(0);
    let ended = run(&["recv", name.str(), "--timeout", "2s", "--follow"]);
    assert_eq!(ended.stdout, b"c\n");
    ended.failed(7, &[name.str(), "lane 0"]);
}

/// What cannot be told on stderr changes no status.
#[test]
fn a_closed_stderr_keeps_the_status() {
    let name = Name::new();
    for device in ["/dev/full", "&-"] {
        let mut command = outside("sh");
        command.args(["-c", &format!("exec \"$0\" stat \"$1\" 2> {device}").replace("> &", ">&")]);
        command.arg(program()).arg(name.str());
        Running::of_with_input(command, "").wait().quiet(3);
    }
}

#[test]
fn a_foreign_segment_is_7_also_for_who_would_make_a_channel() {
    let raw = 0x5eee_0000 | (std::process::id() & 0xffff) as i32;
    let segment = Segment::create(Key::from_raw(raw), 8192, 0o600).unwrap();
    let name = format!("key:0x{raw:08x}");
    let outcomes =
        [&["create", &name][..], &["send", &name, "--create"], &["recv", &name, "--create"]].map(run);
    segment.remove().unwrap();
    for outcome in outcomes {
        outcome.failed(7, &[&name]);
    }
}
