//! `tap` shows what waits and what comes, and takes none of it.

use std::fs;
use std::process::Stdio;

use serde_json::Value;

use crate::support::{
    Ended, Name, Running, TempFile, noise, numbers, outside, program, run, run_with, until,
};

fn lines(ended: Ended) -> Vec<String> {
    ended.ok().lines().map(str::to_owned).collect()
}

/// The lines of `tap --json`.
fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn send(name: &Name, text: impl Into<Vec<u8>>) {
    run_with(&["send", name.str()], text).ok();
}

#[test]
fn what_waits_is_shown_and_stays() {
    let name = Name::create(&[]);
    let sender = Running::with_input(&["send", name.str()], "one\ntwo words\n\nla\u{df}\n");
    let pid = sender.pid();
    sender.wait().ok();
    for _ in 0..2 {
        let expected = [
            format!("lane 0  #1  pid {pid}  3 bytes  one"),
            format!("lane 0  #2  pid {pid}  9 bytes  two words"),
            format!("lane 0  #3  pid {pid}  0 bytes"),
            format!("lane 0  #4  pid {pid}  4 bytes  la\u{df}"),
        ];
        assert_eq!(lines(run(&["tap", name.str()])), expected);
    }
    let stat = name.stat();
    assert_eq!((&stat["messages"], &stat["senders"][0]["received"]), (&4.into(), &0.into()));
    let received = run(&["recv", name.str(), "--count", "4"]).ok();
    assert_eq!(received, "one\ntwo words\n\nla\u{df}\n");
    // Nothing waits any more; that is no failure.
    run(&["tap", name.str()]).quiet(0);
}

#[test]
fn what_is_no_text_is_dumped() {
    let name = Name::create(&[]);
    let bytes: Vec<u8> = (0..20).chain(*b"printable?").collect();
    run_with(&["send", name.str(), "--framing", "chunk=4096"], bytes).ok();
    let shown = lines(run(&["tap", name.str()]));
    assert!(shown[0].ends_with("  30 bytes"), "{shown:?}");
    assert_eq!(
        shown[1..],
        [
            "    00000000  00 01 02 03 04 05 06 07  08 09 0a 0b 0c 0d 0e 0f  |................|",
            "    00000010  10 11 12 13 70 72 69 6e  74 61 62 6c 65 3f        |....printable?|",
        ]
    );
    let text = run(&["tap", "--text", name.str()]).ok();
    assert!(text.contains("\\u{0}\\u{1}") && text.ends_with("printable?\n"), "{text}");
    let object = &objects(&run(&["tap", "--json", name.str()]).ok())[0];
    assert_eq!(object["hex"], "000102030405060708090a0b0c0d0e0f101112137072696e7461626c653f");
    assert!(object.get("text").is_none());
}

#[test]
fn the_terminal_is_told_nothing() {
    let name = Name::create(&[]);
    send(&name, "tab\there \\ \u{202e}backwards\n\u{1b}[2J cleared\n\u{9b}31m red\n");
    for form in [&[][..], &["--hex"], &["--text"], &["--json"]] {
        let text = run(&[&["tap", name.str()], form].concat()).ok();
        assert!(!text.chars().any(|char| char.is_control() && char != '\n'), "{form:?}: {text:?}");
    }
    let text = run(&["tap", name.str()]).ok();
    assert!(text.contains("tab\\there \\\\ \\u{202e}backwards\n"), "{text}");
    let hex = run(&["tap", "--hex", name.str()]).ok();
    assert!(hex.contains("1b 5b 32 4a 20 63 6c 65  61 72 65 64"), "{hex}");
}

#[test]
fn programs_are_told_everything() {
    let name = Name::create(&["--order", "total"]);
    send(&name, "a\nb\n");
    let shown = objects(&run(&["tap", "--json", "--time", name.str()]).ok());
    assert_eq!(shown.len(), 2);
    for (index, (object, text)) in shown.iter().zip(["a", "b"]).enumerate() {
        assert_eq!(object["kind"], "message");
        assert_eq!((&object["lane"], &object["number"]), (&0.into(), &(index + 1).into()));
        assert_eq!((&object["position"], &object["stamp"]), (&(24 * index).into(), &index.into()));
        assert_eq!((&object["length"], &object["complete"]), (&1.into(), &true.into()));
        assert_eq!(object["text"], text);
        assert!(object["pid"].as_i64() > Some(0) && object["seen_unix"].as_f64() > Some(1e9), "{object}");
    }
}

#[test]
fn a_long_message_is_cut_and_says_so() {
    let name = Name::create(&["--capacity", "1MiB"]);
    let message = noise(300_000, 5);
    run_with(&["send", name.str(), "--framing", "chunk=300000"], message.clone()).ok();
    let object = &objects(&run(&["tap", "--json", "--bytes", "10", name.str()]).ok())[0];
    assert_eq!((&object["length"], &object["complete"]), (&300_000.into(), &false.into()));
    assert_eq!(object["hex"].as_str().unwrap().len(), 20);
    let shown = run(&["tap", "--bytes", "16", name.str()]).ok();
    assert!(shown.contains("  300000 bytes, the first 16\n") && shown.lines().count() == 2, "{shown}");
    // A character that is cut in two is no reason to take text for something else.
    let name = Name::create(&[]);
    send(&name, "\u{e4}\u{f6}\u{fc}\n");
    assert!(run(&["tap", "--bytes", "3", name.str()]).ok().ends_with("  6 bytes, the first 3  \u{e4}\n"));
    assert!(run(&["tap", "--bytes", "0", name.str()]).ok().ends_with("  6 bytes, the first 0\n"));
}

#[test]
fn lanes_are_merged_or_chosen() {
    let name = Name::create(&["--senders", "2"]);
    let mut first = Running::start(&["send", name.str()]);
    first.type_in("a1\n");
    until("it is sent", || name.stat()["messages"] == 1);
    let mut second = Running::start(&["send", name.str()]);
    second.type_in("b1\n");
    until("it is sent", || name.stat()["messages"] == 2);
    first.type_in("a2\n");
    until("it is sent", || name.stat()["messages"] == 3);
    let texts = |args: &[&str]| -> Vec<(u64, String)> {
        let shown = objects(&run(&[&["tap", "--json", name.str()], args].concat()).ok());
        let lane_and_text = |object: &Value| {
            let pid = if object["lane"] == 0 { first.pid() } else { second.pid() };
            assert_eq!(object["pid"], pid);
            (object["lane"].as_u64().unwrap(), object["text"].as_str().unwrap().to_owned())
        };
        shown.iter().map(lane_and_text).collect()
    };
    let all = [(0, "a1".to_owned()), (1, "b1".into()), (0, "a2".into())];
    assert_eq!(texts(&[]), all);
    assert_eq!(texts(&["--from", "0"]), [all[0].clone(), all[2].clone()]);
    assert_eq!(texts(&["--from", "1"]), all[1..2]);
    assert_eq!(texts(&["--count", "2"]), all[..2]);
    run(&["tap", name.str(), "--from", "2"]).failed(2, &["it has no lane 2", name.str()]);
    first.finish().ok();
    second.finish().ok();
}

#[test]
fn a_follower_is_shown_what_comes() {
    let name = Name::create(&[]);
    send(&name, "old\n");
    let all = Running::start(&["tap", "--follow", "--json", "--count", "3", name.str()]);
    let new = Running::start(&["tap", "--follow", "--from-now", "--json", "--count", "2", name.str()]);
    // Both are attached: `new` counts what is sent from then on.
    until("they look", || name.stat()["attached"] == 2);
    std::thread::sleep(std::time::Duration::from_millis(300));
    send(&name, "first\nsecond\n");
    let texts = |ended: Ended| -> Vec<String> {
        objects(&ended.ok()).iter().map(|object| object["text"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(texts(all.wait()), ["old", "first", "second"]);
    assert_eq!(texts(new.wait()), ["first", "second"]);
    assert_eq!(run(&["recv", name.str(), "--count", "3"]).ok(), "old\nfirst\nsecond\n");
}

#[test]
fn shown_and_missed_are_everything() {
    let name = Name::create(&["--capacity", "4KiB"]);
    let text = numbers(20_000);
    let (first, rest) = text.split_at(21);
    send(&name, first);
    let output = TempFile::new("");
    let mut tap = outside(program());
    tap.args(["tap", "--follow", "--json", name.str()]);
    tap.stdout(fs::File::create(output.str()).unwrap()).stderr(Stdio::piped());
    let tap = Running::of(tap);
    // From then on it looks now and then, and the rest may have come and gone in between.
    until("it shows what was there", || fs::read_to_string(output.str()).unwrap().lines().count() == 10);
    let receiver = Running::start(&["recv", name.str(), "--follow", "--count", "20000"]);
    send(&name, rest);
    assert_eq!(receiver.wait().ok(), text);
    // Time for one more look; then what it says is complete.
    std::thread::sleep(std::time::Duration::from_millis(200));
    tap.signal("TERM");
    let ended = tap.wait();
    assert_eq!((ended.code, &ended.stderr[..]), (Some(143), ""));
    let (mut shown, mut missed, mut last) = (0, 0, 0);
    for object in objects(&fs::read_to_string(output.str()).unwrap()) {
        if object["kind"] == "missed" {
            missed += object["messages"].as_u64().unwrap();
        } else {
            let text: u64 = object["text"].as_str().unwrap().parse().unwrap();
            assert!(last < text, "{last} before {text}");
            (shown, last) = (shown + 1, text);
        }
    }
    assert!((10..=20_000).contains(&shown) && shown + missed >= 20_000, "{shown} and {missed}");
}

#[test]
fn a_follower_ends_with_a_signal_or_the_channel() {
    let name = Name::create(&[]);
    send(&name, "seen\n");
    for (signal, status) in [("INT", 130), ("TERM", 143)] {
        let tap = Running::start(&["tap", "--follow", name.str()]);
        until("it looks", || name.stat()["attached"] == 1);
        std::thread::sleep(std::time::Duration::from_millis(100));
        tap.signal(signal);
        let ended = tap.wait();
        assert_eq!((ended.code, &ended.stderr[..]), (Some(status), ""));
        assert!(String::from_utf8(ended.stdout).unwrap().ends_with("seen\n"));
    }
    let tap = Running::start(&["tap", "--follow", name.str()]);
    until("it looks", || name.stat()["attached"] == 1);
    run(&["rm", name.str()]).ok();
    tap.wait().failed(6, &["tap", name.str(), "removed", "EIDRM"]);
}

#[test]
fn nobody_reads_or_nothing_is_there() {
    let name = Name::create(&["--capacity", "4MiB"]);
    send(&name, numbers(100_000));
    // More than a pipe holds.
    let unread = Running::start_unread(&["tap", name.str()]);
    unread.wait().quiet(0);
    let head = format!("{} tap {} | head -n 2", program().display(), name.str());
    let piped = outside("sh").args(["-c", &head]).output().unwrap();
    assert_eq!((piped.stdout.iter().filter(|&&byte| byte == b'\n').count(), piped.stderr.len()), (2, 0));

    run(&["tap", "no-such-channel-of-anybody"]).failed(3, &["no-such-channel-of-anybody", "ENOENT"]);
    run(&["tap"]).failed(2, &["NAME"]);
    run(&["tap", name.str(), "--hex", "--json"]).failed(2, &["--json"]);
    run(&["tap", name.str(), "--from-now"]).failed(2, &["--follow"]);
}

#[test]
fn a_damaged_lane_is_told_and_the_others_go_on() {
    let name = Name::create(&["--senders", "2", "--capacity", "4KiB", "--order", "sender"]);
    let mut first = Running::start(&["send", name.str()]);
    first.type_in("good\nbad\n");
    until("it is sent", || name.stat()["messages"] == 2);
    let mut second = Running::start(&["send", name.str()]);
    second.type_in("fine\n");
    until("it is sent", || name.stat()["messages"] == 3);
    // The second header of the first lane: its lanes begin behind header, seats and control words.
    let id = name.stat()["id"].as_i64().unwrap();
    let segment = sysring::segment::Segment::from_id(i32::try_from(id).unwrap()).attach().unwrap();
    segment.write(8192 + 16, &0x1234_u64.to_le_bytes()).unwrap();
    let ended = run(&["tap", name.str()]);
    let shown = String::from_utf8(ended.stdout.clone()).unwrap();
    assert!(shown.contains("good\n") && shown.contains("fine\n") && !shown.contains("bad\n"), "{shown}");
    assert!(shown.contains("lane 0  damaged at position 16"), "{shown}");
    ended.failed(7, &["tap", name.str(), "lane 0 is damaged at position 16"]);

    // Also if it lies in what is left out.
    let follower = Running::start(&["tap", "--follow", "--from-now", "--json", "--count", "1", name.str()]);
    until("it looks", || name.stat()["attached"].as_u64() == Some(4));
    std::thread::sleep(std::time::Duration::from_millis(200));
    second.type_in("later\n");
    let ended = follower.wait();
    let shown = objects(str::from_utf8(&ended.stdout).unwrap());
    assert_eq!((&shown[0]["kind"], &shown[0]["position"]), (&"damaged".into(), &16.into()));
    assert_eq!((&shown[1]["text"], shown.len()), (&"later".into(), 2));
    ended.failed(7, &["tap", name.str(), "lane 0 is damaged at position 16"]);
    first.finish().ok();
    second.finish().ok();
}
