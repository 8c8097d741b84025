//! Data through a channel: nothing lost, nothing added, nothing mixed up.

use crate::support::{Name, Running, TempFile, noise, numbers, run, run_with, until};

fn length_frames(messages: &[Vec<u8>]) -> Vec<u8> {
    let frame = |message: &Vec<u8>| {
        let len = u32::try_from(message.len()).unwrap().to_le_bytes();
        [&len[..], message].concat()
    };
    messages.iter().flat_map(frame).collect()
}

/// Not with `assert_eq!`: it would print megabytes.
#[track_caller]
fn same(left: &[u8], right: &[u8]) {
    assert_eq!(left.len(), right.len());
    assert!(left == right);
}

#[test]
fn numbers_arrive_whoever_comes_first() {
    let text = numbers(200_000);
    for sender_first in [true, false] {
        let name = Name::new();
        let send = ["send", name.str(), "--create"];
        let recv = ["recv", name.str(), "--create"];
        let (sender, receiver);
        if sender_first {
            sender = Running::with_input(&send, text.clone());
            until("there are messages", || {
                let stat = run(&["stat", name.str(), "--json"]);
                stat.code == Some(0) && name.stat()["messages"].as_u64() > Some(0)
            });
            receiver = Running::start(&recv);
        } else {
            receiver = Running::start(&recv);
            until("the receiver sleeps", || {
                let stat = run(&["stat", name.str(), "--json"]);
                stat.code == Some(0) && name.stat()["receiver"]["asleep"] == true
            });
            sender = Running::with_input(&send, text.clone());
        }
        sender.wait().quiet(0);
        same(&receiver.wait().ok_bytes(), text.as_bytes());
    }
}

#[test]
fn a_sender_that_has_gone_before_the_receiver_came() {
    let name = Name::create(&[]);
    run_with(&["send", name.str()], "one\ntwo").quiet(0);
    let received = run(&["recv", name.str(), "--count", "2", "--timeout", "10s"]);
    assert_eq!(received.ok(), "one\ntwo\n");
}

#[test]
fn any_bytes_survive_length_framing() {
    let lengths = [0, 1, 3, 4, 7, 8, 9, 0, 255, 4096, 70_000, 0, 524_272];
    let messages: Vec<Vec<u8>> = (1..).zip(lengths).map(|(seed, len)| noise(len, seed)).collect();
    let frames = length_frames(&messages);
    let name = Name::create(&[]);
    let receiver = Running::start(&["recv", name.str(), "--framing", "length"]);
    run_with(&["send", name.str(), "--framing", "length"], frames.clone()).quiet(0);
    same(&receiver.wait().ok_bytes(), &frames);
}

#[test]
fn framings_meet() {
    let name = Name::create(&[]);
    let send = |framing: &str, input: &[u8]| {
        run_with(&["send", name.str(), "--framing", framing], input).quiet(0);
    };
    let recv =
        |framing: &str, count: &str| run(&["recv", name.str(), "--framing", framing, "--count", count]).ok();
    send("lines", b"a\n\nb");
    assert_eq!(recv("length", "3"), "\x01\0\0\0a\0\0\0\0\x01\0\0\0b");
    send("chunk=2", b"abcde");
    assert_eq!(recv("lines", "3"), "ab\ncd\ne\n");
    send("length", b"\x02\0\0\0hi\0\0\0\0\x01\0\0\0!");
    assert_eq!(recv("raw", "3"), "hi!");
}

#[test]
fn large_data_as_chunks_and_raw_from_a_file() {
    let data = noise((16 << 20) + 12_345, 42);
    let name = Name::create(&[]);
    let file = TempFile::new(&data);
    let receiver = Running::start(&["recv", name.str(), "--framing", "raw"]);
    run(&["send", name.str(), "--framing", "chunk=64KiB", file.str()]).quiet(0);
    same(&receiver.wait().ok_bytes(), &data);
}

#[test]
fn large_data_in_length_framing() {
    let data = noise(16 << 20, 43);
    let mut messages = Vec::new();
    let mut rest = &data[..];
    while !rest.is_empty() {
        let len = (messages.len() * 7919 % 30_000).min(rest.len());
        messages.push(rest[..len].to_vec());
        rest = &rest[len..];
    }
    let frames = length_frames(&messages);
    let name = Name::create(&["--spsc", "--capacity", "64KiB"]);
    let receiver = Running::start(&["recv", name.str(), "--framing", "length"]);
    run_with(&["send", name.str(), "--framing", "length"], frames.clone()).quiet(0);
    same(&receiver.wait().ok_bytes(), &frames);
}

#[test]
fn four_senders_into_one() {
    const LINES: usize = 20_000;
    let name = Name::create(&[]);
    let receiver = Running::start(&["recv", name.str(), "--eof", "4"]);
    let start = |sender: usize| {
        let text: String =
            (0..LINES).map(|line| format!("{sender} {line} {}\n", "-".repeat(line % 100))).collect();
        Running::with_input(&["send", name.str()], text)
    };
    let senders: Vec<Running> = (0..4).map(start).collect();
    senders.into_iter().for_each(|sender| sender.wait().quiet(0));

    let received = receiver.wait().ok();
    let mut next = [0; 4];
    for line in received.lines() {
        let parts: Vec<&str> = line.split(' ').collect();
        let [sender, number, dashes] = parts[..] else { panic!("broken line {line:?}") };
        let (sender, number): (usize, usize) = (sender.parse().unwrap(), number.parse().unwrap());
        assert_eq!(number, next[sender], "sender {sender}");
        assert_eq!(dashes, "-".repeat(number % 100));
        next[sender] += 1;
    }
    assert_eq!(next, [LINES; 4]);
}

#[test]
fn eof_counts_senders_that_came_one_after_another() {
    let name = Name::create(&[]);
    let receiver = Running::start(&["recv", name.str(), "--eof", "3"]);
    for text in ["one\n", "two\n", "three\n"] {
        run_with(&["send", name.str()], text).quiet(0);
    }
    assert_eq!(receiver.wait().ok(), "one\ntwo\nthree\n");
}

#[test]
fn a_count_takes_no_message_too_many() {
    let name = Name::create(&[]);
    run_with(&["send", name.str()], numbers(10)).quiet(0);
    assert_eq!(run(&["recv", name.str(), "--count", "0"]).ok(), "");
    assert_eq!(run(&["recv", name.str(), "--count", "3"]).ok(), "1\n2\n3\n");
    assert_eq!(run(&["recv", name.str(), "--count", "1"]).ok(), "4\n");
    assert_eq!(name.stat()["messages"], 6);
    assert_eq!(run(&["recv", name.str(), "--count", "6"]).ok(), "5\n6\n7\n8\n9\n10\n");
}

#[test]
fn rm_removes_at_the_count_and_at_the_end() {
    for end in [["--count", "2"], ["--eof", "1"]] {
        let name = Name::create(&[]);
        let args = [&["recv", name.str(), "--rm"][..], &end].concat();
        let receiver = Running::start(&args);
        run_with(&["send", name.str()], "a\nb\n").quiet(0);
        assert_eq!(receiver.wait().ok(), "a\nb\n");
        run(&["stat", name.str()]).failed(3, &[name.str()]);
    }
}

#[test]
fn rm_does_not_remove_after_a_timeout() {
    let name = Name::create(&[]);
    run(&["recv", name.str(), "--rm", "--timeout", "10ms"]).failed(4, &[]);
    assert_eq!(name.stat()["state"], "idle");
}

#[test]
fn a_typed_line_arrives_at_once() {
    let name = Name::create(&[]);
    let mut sender = Running::start(&["send", name.str()]);
    for line in ["first\n", "second\n"] {
        let receiver = Running::start(&["recv", name.str(), "--count", "1"]);
        sender.type_in(line);
        assert_eq!(receiver.wait().ok(), line);
    }
    sender.finish().quiet(0);
}

#[test]
fn a_line_too_long_is_named_and_nothing_of_it_sent() {
    let name = Name::create(&["--capacity", "4KiB"]);
    let max = name.stat()["max_message"].as_u64().unwrap() as usize;
    let longest = "x".repeat(max) + "\n";
    let text = format!("one\n{longest}x{longest}last\n");
    let receiver = Running::start(&["recv", name.str(), "--count", "2"]);
    let words = ["line 3", name.str(), &max.to_string()];
    run_with(&["send", name.str()], text).failed(1, &words);
    assert_eq!(receiver.wait().ok(), format!("one\n{longest}"));
    assert_eq!(name.stat()["messages"], 0);
}

#[test]
fn broken_frames_are_named_and_whole_ones_sent() {
    let send = |name: &Name, input: &[u8]| run_with(&["send", name.str(), "--framing", "length"], input);
    let name = Name::create(&[]);
    send(&name, b"\x01\0\0\0a\x05\0\0\0bcd").failed(1, &[name.str(), "at byte 5"]);
    send(&name, b"\x01\0\0\0a\x05\0").failed(1, &[name.str(), "at byte 5"]);
    send(&name, b"\xff\xff\xff\xffa").failed(1, &[name.str(), "at byte 0", "4294967295"]);
    assert_eq!(run(&["recv", name.str(), "--count", "2"]).ok(), "a\na\n");
    let chunk = run_with(&["send", name.str(), "--framing", "chunk=1MiB"], "data");
    chunk.failed(1, &[name.str(), "1048576"]);
}

#[test]
fn a_closed_stdout_ends_quietly_and_keeps_the_messages() {
    let name = Name::create(&[]);
    run_with(&["send", name.str()], "kept\n").quiet(0);
    Running::start_unread(&["recv", name.str(), "--rm"]).wait().quiet(0);
    assert_eq!(run(&["recv", name.str(), "--count", "1"]).ok(), "kept\n");
    for args in [&["stat", name.str()][..], &["ls"], &["ls", "--json"]] {
        Running::start_unread(args).wait().quiet(0);
    }
}

#[test]
fn a_killed_sender_ends_the_stream_with_what_it_sent() {
    let name = Name::create(&[]);
    let receiver = Running::start(&["recv", name.str()]);
    let mut sender = Running::start(&["send", name.str()]);
    sender.type_in("a\nb\n");
    until("both are received", || name.stat()["senders"][0]["received"] == 2);
    sender.signal("KILL");
    assert_eq!(receiver.wait().ok(), "a\nb\n");
}

#[test]
fn a_killed_receiver_leaves_the_rest_to_the_next() {
    let name = Name::create(&[]);
    let receiver = Running::start(&["recv", name.str(), "--follow"]);
    run_with(&["send", name.str()], "a\nb\n").quiet(0);
    until("both are received", || name.stat()["messages"] == 0);
    receiver.signal("KILL");
    drop(receiver);
    run_with(&["send", name.str()], "c\n").quiet(0);
    assert_eq!(run(&["recv", name.str(), "--count", "1"]).ok(), "c\n");
}
