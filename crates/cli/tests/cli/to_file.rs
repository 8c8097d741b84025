//! `recv --to-file`, and what a person at a terminal sees of a transfer.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::support::{Name, Running, noise, numbers, outside, run, run_with, until};
use crate::terminal::{Terminal, screen};

/// A directory that goes away with the test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &Name) -> Self {
        let path = std::env::temp_dir().join(name.str());
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self, file: &str) -> String {
        self.0.join(file).to_str().unwrap().to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_file_in_each_framing() {
    let name = Name::create(&[]);
    let directory = Directory::new(&name);
    let file = directory.path("out");
    for (framing, expected) in
        [("lines", &b"a\n\nb c\n"[..]), ("length", b"\x01\0\0\0a\0\0\0\0\x03\0\0\0b c"), ("raw", b"ab c")]
    {
        run_with(&["send", name.str()], "a\n\nb c\n").quiet(0);
        // What it held before is longer, and gone.
        fs::write(&file, [b'x'; 100]).unwrap();
        let args = ["recv", name.str(), "--count", "3", "--framing", framing, "--to-file", &file];
        run(&args).quiet(0);
        assert_eq!(fs::read(&file).unwrap(), expected, "{framing}");
    }
}

#[test]
fn a_file_that_goes_on() {
    let name = Name::create(&[]);
    let directory = Directory::new(&name);
    let file = directory.path("log");
    for text in ["one\n", "two\nthree\n"] {
        run_with(&["send", name.str()], text).quiet(0);
        let count = text.lines().count().to_string();
        run(&["recv", name.str(), "--count", &count, "--to-file", &file, "--append"]).quiet(0);
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "one\ntwo\nthree\n");
    run(&["recv", name.str(), "--append"]).failed(2, &["--to-file"]);
}

#[test]
fn a_dash_is_stdout() {
    let name = Name::create(&[]);
    run_with(&["send", name.str()], "a\n").quiet(0);
    assert_eq!(run(&["recv", name.str(), "--count", "1", "--to-file", "-"]).ok(), "a\n");
}

#[test]
fn large_data_to_a_file() {
    let name = Name::create(&[]);
    let directory = Directory::new(&name);
    let data = noise((8 << 20) + 77, 7);
    let file = directory.path("data");
    let receiver = Running::start(&["recv", name.str(), "--framing", "raw", "--to-file", &file]);
    run_with(&["send", name.str(), "--framing", "chunk=10000"], data.clone()).quiet(0);
    receiver.wait().quiet(0);
    assert!(fs::read(&file).unwrap() == data);
}

/// No seat is taken, and no message, for a file that cannot be written.
#[test]
fn a_file_that_cannot_be_opened_is_1_and_takes_no_seat() {
    let name = Name::create(&[]);
    let directory = Directory::new(&name);
    run_with(&["send", name.str()], "kept\n").quiet(0);
    let nowhere = directory.path("no/such/directory");
    run(&["recv", name.str(), "--to-file", &nowhere])
        .failed(1, &[&nowhere, "ENOENT", "nothing was received"]);
    let is_directory = directory.path("");
    run(&["recv", name.str(), "--to-file", &is_directory]).failed(1, &["EISDIR"]);
    // A channel that would be made is not.
    let other = Name::new();
    run(&["recv", other.str(), "--create", "--to-file", &nowhere]).failed(1, &["ENOENT"]);
    run(&["stat", other.str()]).failed(3, &[]);
    let stat = name.stat();
    assert_eq!((&stat["messages"], &stat["receiver"]["attaches"]), (&1.into(), &0.into()));
}

/// A mistyped channel costs nobody a file.
#[test]
fn a_channel_that_is_not_there_leaves_files_as_they_are() {
    let name = Name::new();
    let directory = Directory::new(&name);
    let (old, new) = (directory.path("old"), directory.path("new"));
    fs::write(&old, "precious").unwrap();
    for file in [&old, &new] {
        run(&["recv", name.str(), "--to-file", file]).failed(3, &[name.str()]);
    }
    assert_eq!(fs::read_to_string(&old).unwrap(), "precious");
    assert!(!fs::exists(&new).unwrap());
}

#[test]
fn a_full_disk_is_1_and_loses_no_message() {
    let name = Name::create(&["--capacity", "4MiB"]);
    let text = numbers(50_000);
    run_with(&["send", name.str()], text.clone()).quiet(0);
    let full = run(&["recv", name.str(), "--to-file", "/dev/full"]);
    full.failed(1, &[name.str(), "/dev/full", "ENOSPC", "0 messages received", "stay in the channel"]);
    let sh = Running::of_with_input(shell(&["recv", name.str()], "> /dev/full"), "");
    sh.wait().failed(1, &[name.str(), "stdout", "ENOSPC"]);
    assert_eq!(run(&["recv", name.str(), "--count", "50000"]).ok(), text);
}

/// `sysring` with these arguments, and what the shell makes of the rest.
fn shell(args: &[&str], rest: &str) -> Command {
    let mut command = outside("sh");
    command.arg("-c").arg(format!("exec \"$0\" \"$@\" {rest}")).arg(crate::support::program()).args(args);
    command
}

/// A limit stands for a disk that is full after so many bytes: what does not fit is in the channel, whole, and no part
/// of it in the file.
#[test]
fn a_disk_that_fills_up_keeps_whole_frames() {
    let name = Name::create(&["--capacity", "4MiB"]);
    let directory = Directory::new(&name);
    let file = directory.path("out");
    let lines: Vec<String> = (0..5_000).map(|line| format!("{line} {}", "-".repeat(line % 90))).collect();
    let text = lines.join("\n") + "\n";
    run_with(&["send", name.str()], text.clone()).quiet(0);
    // In blocks of 512 bytes. The signal that the kernel sends beside the error is ignored.
    let mut limited = outside("sh");
    limited
        .args(["-c", "trap '' XFSZ; ulimit -f 100; exec \"$0\" recv \"$1\" --to-file \"$2\""])
        .arg(crate::support::program())
        .args([name.str(), &file]);
    let ended = Running::of_with_input(limited, "").wait();
    let written = fs::read_to_string(&file).unwrap();
    assert!(written.ends_with('\n') && written.len() <= 51_200, "{}", written.len());
    let received = written.lines().count();
    assert!(received > 500, "{received}");
    let tally = format!("{},{:03} messages received", received / 1000, received % 1000);
    let tally = if received < 1000 { format!("{received} messages received") } else { tally };
    ended.failed(1, &[name.str(), &file, "EFBIG", &tally]);
    let left = (lines.len() - received).to_string();
    let rest = run(&["recv", name.str(), "--count", &left]).ok();
    assert!(written + &rest == text);
    assert_eq!(name.stat()["messages"], 0);
}

/// Longer than the half second that a transfer goes on without a word.
const LONG: Duration = Duration::from_millis(600);

#[test]
fn a_long_transfer_to_a_file_is_shown_and_summed_up() {
    let name = Name::create(&[]);
    let directory = Directory::new(&name);
    let file = directory.path("out");
    let terminal = Terminal::start(&["recv", name.str(), "--to-file", &file], &[]);
    let mut sender = Running::start(&["send", name.str()]);
    sender.type_in("one\n");
    until("it is received", || name.stat()["messages"] == 0 && name.stat()["senders"][0]["received"] == 1);
    thread::sleep(LONG);
    sender.type_in("two\n");
    until("it is shown", || terminal.shown().contains("2 messages"));
    sender.finish().quiet(0);
    let (status, shown) = terminal.wait();
    assert_eq!(status, 0, "{shown}");
    // Nothing but the summary: one line.
    let left = screen(&shown);
    assert!(left.starts_with("2 messages, 8 B in ") && left.ends_with("B/s"), "{left:?}");
    assert_eq!(left.lines().count(), 1, "{left:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "one\ntwo\n");
}

/// The terminal's own ^C moves the cursor off the bar, which may stay; the line that tells the end has a row to itself.
#[test]
fn ctrl_c_at_a_terminal() {
    let name = Name::create(&[]);
    let directory = Directory::new(&name);
    let args = ["recv", name.str(), "--to-file", &directory.path("out")];
    let mut terminal = Terminal::start(&args, &[("NO_COLOR", "1")]);
    let mut sender = Running::start(&["send", name.str()]);
    sender.type_in("one\n");
    until("it is received", || name.stat()["messages"] == 0 && name.stat()["senders"][0]["received"] == 1);
    thread::sleep(LONG);
    sender.type_in("two\n");
    until("it is shown", || terminal.shown().contains("2 messages"));
    terminal.press_ctrl_c();
    let (status, shown) = terminal.wait();
    assert_eq!(status, 130, "{shown}");
    let line = format!("recv from {}: interrupted by SIGINT; 2 messages received", name.str());
    let left = screen(&shown);
    assert_eq!(left.lines().last(), Some(&*format!("sysring: {line}, the channel is consistent")), "{left}");
    sender.finish().quiet(0);
}

#[test]
fn a_long_transfer_of_a_file_shows_how_far_it_is() {
    let name = Name::create(&["--capacity", "64KiB"]);
    let directory = Directory::new(&name);
    let file = directory.path("in");
    fs::write(&file, "0123456789abcde\n".repeat(20_000)).unwrap();
    let receiver = Running::start(&["recv", name.str()]);
    until("it sleeps", || name.stat()["receiver"]["asleep"] == true);
    receiver.signal("STOP");
    let terminal = Terminal::start(&["send", name.str(), &file], &[]);
    until("the lane is full", || name.stat()["senders"][0]["asleep"] == true);
    thread::sleep(LONG);
    receiver.signal("CONT");
    let (status, shown) = terminal.wait();
    assert_eq!(status, 0, "{shown}");
    for words in ["% ", " of 312.50 KiB", "messages", "/s", " left"] {
        assert!(shown.contains(words), "no {words:?} in {shown:?}");
    }
    let left = screen(&shown);
    assert!(left.starts_with("20,000 messages, 312.50 KiB in ") && left.lines().count() == 1, "{left:?}");
    assert_eq!(receiver.wait().ok().len(), 320_000);
}

#[test]
fn a_short_transfer_says_nothing() {
    let name = Name::create(&[]);
    let directory = Directory::new(&name);
    let (from, to) = (directory.path("in"), directory.path("out"));
    fs::write(&from, "a\nb\n").unwrap();
    assert_eq!(Terminal::start(&["send", name.str(), &from], &[]).wait(), (0, String::new()));
    let args = ["recv", name.str(), "--count", "2", "--to-file", &to];
    assert_eq!(Terminal::start(&args, &[]).wait(), (0, String::new()));
}
