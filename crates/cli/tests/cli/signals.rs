//! SIGINT and SIGTERM: 130 and 143, quickly, with one line about what went through, and the channel is as good as before:
//! what was sent and not received is received afterwards, whole, once, in order.

use std::fs;
use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Ended, Name, Running, TempFile, outside, program, run, run_with, until};

/// SIGINT and its status, SIGTERM and its status.
const SIGNALS: [(&str, i32); 2] = [("INT", 130), ("TERM", 143)];

#[track_caller]
fn works(name: &Name) {
    run_with(&["send", name.str()], "again\n").quiet(0);
    let received = run(&["recv", name.str(), "--count", "1"]);
    assert_eq!(received.ok(), "again\n");
}

/// It ended by this signal and said so in one line about this channel; how many messages it counted.
#[track_caller]
fn interrupted(ended: Ended, (signal, status): (&str, i32), name: &Name, done: &str) -> usize {
    let line = ended.stderr.clone();
    let words = [name.str(), &format!("interrupted by SIG{signal}; "), done, "the channel is consistent"];
    ended.failed(status, &words);
    let (before, _) = line.split_once(" message").unwrap();
    before.rsplit(' ').next().unwrap().replace(',', "").parse().unwrap()
}

/// Lines that all differ.
fn lines(count: usize) -> String {
    (0..count).map(|line| format!("{line} {}\n", "-".repeat(line % 50))).collect()
}

/// What is left in the channel, in lines.
#[track_caller]
fn rest(name: &Name) -> String {
    let count = name.stat()["messages"].to_string();
    run(&["recv", name.str(), "--count", &count]).ok()
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
        let line = format!(
            "sysring: recv from {}: interrupted by SIG{signal}; 1 message received, the channel is consistent\n",
            name.str()
        );
        assert_eq!(ended.stderr, line);
        assert_eq!(interrupted(ended, (signal, status), &name, "received"), 1);
        works(&name);
    }
}

/// Whoever ends what has done nothing knows that it has done nothing.
#[test]
fn a_receiver_that_received_nothing_says_nothing() {
    for (signal, status) in SIGNALS {
        let name = Name::create(&[]);
        let receiver = Running::start(&["recv", name.str()]);
        until("it sleeps", || name.stat()["receiver"]["asleep"] == true);
        receiver.signal(signal);
        receiver.wait().quiet(status);
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

/// Half a line is no message. It ends at once: reading is waiting too.
#[test]
fn end_a_sender_in_the_middle_of_a_line() {
    for signal in SIGNALS {
        let name = Name::create(&[]);
        let mut sender = Running::start(&["send", name.str()]);
        sender.type_in("one\ntwo\nhal");
        until("both are sent", || name.stat()["messages"] == 2);
        sender.signal(signal.0);
        assert_eq!(interrupted(sender.wait(), signal, &name, "2 messages sent"), 2);
        assert_eq!(rest(&name), "one\ntwo\n");
        works(&name);
    }
}

/// From stdin and from a file alike.
#[test]
fn end_a_sender_that_waits_for_room() {
    let text = lines(10_000);
    let file = TempFile::new(&text);
    for (signal, from_file) in SIGNALS.into_iter().flat_map(|signal| [(signal, false), (signal, true)]) {
        let name = Name::create(&["--capacity", "4KiB"]);
        let sender = if from_file {
            Running::start(&["send", name.str(), file.str()])
        } else {
            Running::with_input(&["send", name.str()], text.clone())
        };
        until("it sleeps", || name.stat()["senders"][0]["asleep"] == true);
        sender.signal(signal.0);
        let sent = interrupted(sender.wait(), signal, &name, "sent");
        assert_eq!(name.stat()["messages"], sent);
        let received = rest(&name);
        assert!(text.starts_with(&received) && received.lines().count() == sent, "{sent}");
        works(&name);
    }
}

/// At full speed, with a receiver that gets all that was sent and nothing else.
#[test]
fn end_a_sender_at_full_speed() {
    let text = lines(1_000_000);
    let file = TempFile::new(&text);
    for (signal, from_file) in [(SIGNALS[0], true), (SIGNALS[1], false)] {
        let name = Name::create(&[]);
        let receiver = Running::start(&["recv", name.str()]);
        let sender = if from_file {
            Running::start(&["send", name.str(), file.str()])
        } else {
            Running::with_input(&["send", name.str()], text.clone())
        };
        until("data flows", || name.stat()["senders"][0]["received"].as_u64() > Some(1000));
        // So that it cannot have come to its end, however fast it is.
        receiver.signal("STOP");
        sender.signal(signal.0);
        let ended = sender.wait();
        receiver.signal("CONT");
        let sent = interrupted(ended, signal, &name, "sent");
        let received = receiver.wait().ok();
        assert!(text.starts_with(&received) && received.lines().count() == sent, "{sent}");
        works(&name);
    }
}

/// At full speed, to stdout and to a file: what is out is counted, and the rest comes next.
#[test]
fn end_a_receiver_at_full_speed() {
    let text = lines(500_000);
    for (signal, to_file) in SIGNALS.into_iter().flat_map(|signal| [(signal, false), (signal, true)]) {
        let name = Name::create(&[]);
        let file = TempFile::new("");
        let sender = Running::with_input(&["send", name.str()], text.clone());
        let receiver = if to_file {
            Running::start(&["recv", name.str(), "--to-file", file.str()])
        } else {
            Running::start(&["recv", name.str()])
        };
        until("data flows", || name.stat()["senders"][0]["received"].as_u64() > Some(1000));
        sender.signal("STOP");
        receiver.signal(signal.0);
        let ended = receiver.wait();
        sender.signal("CONT");
        let out = if to_file { fs::read(file.str()).unwrap() } else { ended.stdout.clone() };
        let received = interrupted(ended, signal, &name, "received");
        let out = String::from_utf8(out).unwrap();
        assert!(out.lines().count() == received && out.ends_with('\n'), "{received}");
        let next = Running::start(&["recv", name.str()]);
        sender.wait().quiet(0);
        assert!(out + &next.wait().ok() == text);
        works(&name);
    }
}

/// Nobody reads its output, which is a pipe: it ends at once, and says what part of a frame is in the pipe. That message
/// comes again.
#[test]
fn end_a_receiver_that_cannot_write() {
    let text = lines(100_000);
    for signal in SIGNALS {
        let name = Name::create(&[]);
        let sender = Running::with_input(&["send", name.str()], text.clone());
        let (mut reader, writer) = std::io::pipe().unwrap();
        let receiver = spawn(&name, writer.into());
        until("it is stuck", || is_stuck(&name));
        receiver.signal(signal.0);
        let started = Instant::now();
        let ended = receiver.wait();
        assert!(started.elapsed() < Duration::from_millis(450), "it was not told: {:?}", started.elapsed());
        let mut out = String::new();
        reader.read_to_string(&mut out).unwrap();
        let part = out.len() - out.rfind('\n').map_or(0, |end| end + 1);
        let line = ended.stderr.clone();
        let received = interrupted(ended, signal, &name, "received");
        if part > 0 {
            assert!(line.contains(&format!("stdout ends with {part} of the next message's")), "{line}");
        }
        assert_eq!(out.lines().count(), received + usize::from(part > 0));
        out.truncate(out.len() - part);
        let next = Running::start(&["recv", name.str()]);
        sender.wait().quiet(0);
        assert!(out + &next.wait().ok() == text);
        works(&name);
    }
}

/// The same with a socket, in which a write cannot be ended: the process ends all the same, and nothing is lost.
#[test]
fn end_a_receiver_that_cannot_write_to_a_socket() {
    let text = lines(100_000);
    let (signal, name) = (SIGNALS[0], Name::create(&[]));
    let sender = Running::with_input(&["send", name.str()], text.clone());
    let (mut reader, writer) = UnixStream::pair().unwrap();
    let receiver = spawn(&name, std::os::fd::OwnedFd::from(writer).into());
    until("it is stuck", || is_stuck(&name));
    receiver.signal(signal.0);
    let ended = receiver.wait();
    let line = ended.stderr.clone();
    let received = interrupted(ended, signal, &name, "received");
    assert!(line.contains("what was being written stays in it"), "{line}");
    let mut out = String::new();
    reader.read_to_string(&mut out).unwrap();
    let next = Running::start(&["recv", name.str()]);
    sender.wait().quiet(0);
    let counted: String = text.split_inclusive('\n').take(received).collect();
    assert!(out.starts_with(&counted) && text.starts_with(&out));
    assert!(counted + &next.wait().ok() == text);
    works(&name);
}

/// A receiver with this as stdout.
fn spawn(name: &Name, stdout: Stdio) -> Running {
    let mut command = outside(program());
    command.args(["recv", name.str()]).stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped());
    Running::of(command)
}

/// Sender and receiver are there and nothing moves.
fn is_stuck(name: &Name) -> bool {
    let look = || (name.stat()["senders"][0]["received"].clone(), name.stat()["senders"][0]["sent"].clone());
    let before = look();
    std::thread::sleep(Duration::from_millis(30));
    name.stat()["senders"][0]["asleep"] == true
        && name.stat()["receiver"]["taken"] == true
        && before == look()
}

/// Whether the process handles this signal.
fn catches(pid: u32, signal: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
    u64::from_str_radix(mask, 16).unwrap() >> (signal - 1) & 1 == 1
}

/// One that waits for the other end of a pipe of the file system.
#[test]
fn end_a_sender_that_waits_for_a_fifo() {
    let name = Name::create(&[]);
    let path = std::env::temp_dir().join(name.str());
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let sender = Running::start(&["send", name.str(), path.to_str().unwrap()]);
    // It opens the file when it listens for signals, or a moment later, and never gets further.
    until("it listens for SIGTERM", || catches(sender.pid(), 15));
    sender.signal("TERM");
    let ended = sender.wait();
    fs::remove_file(&path).unwrap();
    ended.quiet(143);
    works(&name);
}

#[test]
fn end_a_transfer_under_way() {
    let name = Name::create(&[]);
    let receiver = Running::start(&["recv", name.str(), "--follow"]);
    // More than can be through before the signal comes.
    let input = Running::with_input(&["send", name.str()], "line\n".repeat(20_000_000));
    until("data flows", || name.stat()["senders"][0]["received"].as_u64() > Some(1000));
    input.signal("INT");
    let sent = interrupted(input.wait(), SIGNALS[0], &name, "sent");
    receiver.signal("INT");
    let ended = receiver.wait();
    assert!(ended.stdout.ends_with(b"line\n"));
    let received = ended.stdout.len() / b"line\n".len();
    assert_eq!(interrupted(ended, SIGNALS[0], &name, "received"), received);
    assert_eq!(name.stat()["messages"], sent - received);
}
