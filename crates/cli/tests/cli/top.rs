//! `top` as a person meets it: in a terminal of 80x24, with keys and signals.

use std::io::{Read as _, Write as _};
use std::num::NonZeroU16;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, ExitStatus, MasterPty, PtySize, SlavePty, native_pty_system};
use sysring::segment::{Mapping, Segment};

use crate::support::{Name, Running, SURROUNDINGS, alone, program, run, run_with, until};

/// Fast enough for a test.
const FAST: [&str; 3] = ["top", "--interval", "100ms"];

const DEADLINE: Duration = Duration::from_secs(60);

/// `sysring top` in a terminal that keeps what is on its screen.
struct Terminal {
    master: Option<Box<dyn MasterPty + Send>>,
    /// Kept open, so that the modes can be asked for at the end.
    slave: Option<Box<dyn SlavePty + Send>>,
    child: Box<dyn Child + Send + Sync>,
    writer: Option<Box<dyn std::io::Write + Send>>,
    screen: Arc<Mutex<Seen>>,
    reader: Option<JoinHandle<()>>,
    /// The modes before it began.
    modes: String,
}

struct Seen {
    parser: vt100::Parser,
    bytes: Vec<u8>,
    /// The reader is to go away.
    unplugged: bool,
}

impl Terminal {
    fn start(args: &[&str]) -> Self {
        Self::with(args, &[("LANG", "C.UTF-8")])
    }

    fn with(args: &[&str], variables: &[(&str, &str)]) -> Self {
        let pty = native_pty_system().openpty(size(24, 80)).unwrap();
        let modes = modes(&*pty.master);
        let mut command = CommandBuilder::new(program());
        command.args(args);
        command.env("TERM", "xterm-256color");
        for name in SURROUNDINGS {
            command.env_remove(name);
        }
        for (name, value) in variables {
            command.env(name, value);
        }
        let child = pty.slave.spawn_command(command).unwrap();
        let parser = vt100::Parser::new(number(24), number(80), 0);
        let screen = Arc::new(Mutex::new(Seen { parser, bytes: Vec::new(), unplugged: false }));
        let (seen, mut output) = (Arc::clone(&screen), pty.master.try_clone_reader().unwrap());
        let reader = thread::spawn(move || {
            let mut part = [0; 4096];
            // The end comes as an error once nobody has the other side.
            while let Ok(length @ 1..) = output.read(&mut part) {
                let mut seen = seen.lock().unwrap();
                seen.parser.process(&part[..length]);
                seen.bytes.extend_from_slice(&part[..length]);
                if seen.unplugged {
                    return;
                }
            }
        });
        let writer = Some(pty.master.take_writer().unwrap());
        Self {
            master: Some(pty.master),
            slave: Some(pty.slave),
            child,
            writer,
            screen,
            reader: Some(reader),
            modes,
        }
    }

    fn contents(&self) -> String {
        self.screen.lock().unwrap().parser.screen().contents()
    }

    /// The screen as one line of words, so that it does not matter where lines were broken.
    fn words(&self) -> String {
        self.contents().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[track_caller]
    fn shows(&self, words: &str) {
        self.holds(words, |screen| screen.contains(words));
    }

    #[track_caller]
    fn hides(&self, words: &str) {
        self.holds(words, |screen| !screen.contains(words));
    }

    #[track_caller]
    fn holds(&self, what: &str, mut holds: impl FnMut(&str) -> bool) {
        let started = Instant::now();
        loop {
            let words = self.words();
            if holds(&words) {
                return;
            }
            assert!(started.elapsed() < DEADLINE, "{what:?}: {:#?}", self.contents());
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn press(&mut self, keys: &str) {
        let writer = self.writer.as_mut().unwrap();
        writer.write_all(keys.as_bytes()).unwrap();
        writer.flush().unwrap();
    }

    fn resize(&self, rows: u16, columns: u16) {
        self.screen.lock().unwrap().parser.set_size(number(rows), number(columns));
        self.master.as_ref().unwrap().resize(size(rows, columns)).unwrap();
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.process_id().unwrap());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// The letter of its state in `/proc`.
    fn state(&self) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.process_id()?)).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    #[track_caller]
    fn wait(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < DEADLINE, "still running: {:#?}", self.contents());
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn modes(&self) -> String {
        modes(self.master.as_deref().unwrap())
    }

    /// It ends with this status, and the terminal is as it was.
    #[track_caller]
    fn ends(mut self, code: u32) -> Vec<u8> {
        let status = self.wait();
        assert_eq!((status.exit_code(), status.signal()), (code, None), "{:#?}", self.contents());
        assert_eq!(self.modes(), self.modes);
        self.slave = None;
        self.reader.take().unwrap().join().unwrap();
        let seen = self.screen.lock().unwrap();
        let screen = seen.parser.screen();
        assert!(!screen.alternate_screen() && !screen.hide_cursor(), "{}", screen.contents());
        // Nothing is left on the screen that was there before.
        assert_eq!(screen.contents(), "");
        seen.bytes.clone()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(rows: u16, cols: u16) -> PtySize {
    PtySize { rows, cols, ..PtySize::default() }
}

fn number(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap()
}

fn modes(master: &(dyn MasterPty + Send)) -> String {
    format!("{:?}", master.get_termios().unwrap())
}

fn exists(name: &Name) -> bool {
    run(&["stat", name.str()]).code == Some(0)
}

/// A receiver that is stopped, and a sender that waits for it: with their channel.
fn blocked() -> (Name, Running, Running) {
    let name = Name::create(&["--capacity", "4KiB"]);
    let receiver = Running::start(&["recv", name.str()]);
    until("the receiver sleeps", || name.stat()["receiver"]["asleep"] == true);
    receiver.signal("STOP");
    let sender = Running::with_input(&["send", name.str()], "x\n".repeat(10_000));
    until("the sender sleeps", || name.stat()["senders"][0]["asleep"] == true);
    (name, receiver, sender)
}

#[test]
fn keys_do_what_the_footer_says() {
    let name = Name::create(&["--senders", "3"]);
    let mut sender = Running::start(&["send", name.str()]);
    sender.type_in("one\ntwo\n");
    until("two wait", || name.stat()["messages"] == 2);
    let mut top = Terminal::start(&FAST);
    top.shows("q quit ? help Enter detail / filter");
    // The filter leaves one row, which is selected: its address is told whole.
    top.press(&format!("/{}_", name.str()));
    top.shows("no channel matches");
    top.press("\u{7f}");
    top.shows(&format!("{}: in use, mpsc", name.str()));
    top.press("\r");
    top.shows("mpsc 1/3");
    top.shows("came so far: 1 sender, 0 receivers");
    top.press("s");
    top.shows("by rate,");
    top.press("S");
    top.shows("by rate, reversed,");
    top.press("?");
    top.shows("any key closes this");
    top.press("x");
    top.hides("any key closes this");
    // What flows now is on the screen, except while it is paused.
    top.press("p");
    top.shows("PAUSED");
    sender.type_in("three\n");
    until("three wait", || name.stat()["messages"] == 3);
    top.press("\r");
    top.shows("2 messages to be taken");
    top.press(" ");
    top.shows("3 messages to be taken");
    top.hides("PAUSED");
    top.shows(&format!("0 active {} sysring", sender.pid()));
    top.press("+");
    top.shows("every 200 ms");
    top.press("-");
    top.shows("every 100 ms");
    top.press("\u{1b}");
    top.shows("Enter detail");
    top.press("r");
    top.shows(&format!("Remove channel {}?", name.str()));
    top.shows("1 attached: 1 sender, no receiver.");
    top.press("n");
    top.shows("nothing was removed");
    assert!(exists(&name));
    top.press("r");
    top.shows("y: yes");
    top.press("y");
    top.shows("was removed");
    assert!(!exists(&name));
    sender.finish();
    top.shows("no channel matches");
    top.press("q");
    top.ends(0);
}

#[test]
fn who_is_blocked_on_whom_and_who_died() {
    let (name, receiver, sender) = blocked();
    let top = Terminal::start(&[&FAST[..], &[name.str()]].concat());
    let messages = name.stat()["messages"].clone();
    let sentence =
        |since| format!("sender in lane 0 (pid {} sysring) waits for room since {since}", sender.pid());
    top.shows(&sentence("at least "));
    top.shows(&format!(
        "the receiver (pid {} sysring, stopped) has {messages} messages of it to take",
        receiver.pid()
    ));
    top.shows(&format!("0 blocked {} sysring", sender.pid()));
    sender.signal("KILL");
    sender.wait();
    top.shows("sender in lane 0 died without leaving: pid");
    top.shows("deaths seen: 1;");
    top.hides("waits for room");
    // The next one is seen from its first moment, and leaves as one should.
    let next = Running::with_input(&["send", name.str()], "y\n".repeat(10_000));
    top.shows(&format!("came: pid {} sysring", next.pid()));
    top.shows(&format!("(pid {} sysring) waits for room since ", next.pid()));
    assert!(!top.words().contains("at least"));
    next.signal("TERM");
    assert_eq!(next.wait().code, Some(143));
    top.shows("left: pid");
    receiver.signal("CONT");
    receiver.wait();
    top.shows("receiver left: pid");
    run(&["rm", name.str()]).ok();
    top.shows("has gone, at");
    top.signal("TERM");
    top.ends(143);
}

#[test]
fn channels_are_sorted() {
    // Others' channels would come and go between the two.
    if !alone() {
        return;
    }
    let (first, second) = (Name::create(&[]), Name::create(&[]));
    run_with(&["send", second.str()], "a\n").quiet(0);
    let mut top = Terminal::start(&[&FAST[..], &["--sort", "depth"]].concat());
    let below = |top: &Terminal, upper: &str, lower: &str| {
        let contents = top.contents();
        let row = |name: &str| {
            let end = &name[name.len() - 5..];
            contents
                .lines()
                .position(|line| line.starts_with("sysri") && line.contains(end) && line.contains("mpsc"))
        };
        matches!((row(upper), row(lower)), (Some(upper), Some(lower)) if upper < lower)
    };
    top.holds("the fuller one is first", |_| below(&top, second.str(), first.str()));
    top.press("S");
    top.holds("the fuller one is last", |_| below(&top, first.str(), second.str()));
    top.press("Ssss");
    top.shows("by rate,");
    // The second row, then its detail.
    let last = if first.str() > second.str() { &first } else { &second };
    top.press("sssgj\r");
    top.shows(&format!("{}: idle, mpsc", last.str()));
    drop((first, second));
    top.shows("has gone, at");
    top.press("\u{1b}");
    top.shows("no channel on this machine");
    top.press("q");
    top.ends(0);
}

#[test]
fn every_end_gives_the_terminal_back() {
    for (signal, status) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let top = Terminal::start(&FAST);
        top.shows("q quit");
        assert_ne!(top.modes(), top.modes);
        top.signal(signal);
        top.ends(status);
    }
    let mut top = Terminal::start(&FAST);
    top.shows("q quit");
    top.press("?r\u{3}");
    top.ends(130);
}

#[test]
fn a_terminal_that_goes_away_ends_it() {
    let mut top = Terminal::start(&FAST);
    top.shows("q quit");
    top.writer = None;
    top.slave = None;
    top.master = None;
    // The reader has the last copy of the terminal's other side, and meets a frame in each interval.
    top.screen.lock().unwrap().unplugged = true;
    let status = top.wait();
    assert!([0, 129].contains(&status.exit_code()), "{status:?}");
}

#[test]
fn any_size_will_do_and_it_comes_back_after_a_stop() {
    let name = Name::create(&[]);
    let mut top = Terminal::start(&[&FAST[..], &["--filter", name.str()]].concat());
    top.shows(&format!("{}: idle", name.str()));
    top.resize(5, 80);
    top.shows("too small: 30x6 at least, q quits");
    top.resize(1, 1);
    top.resize(10, 40);
    top.holds("the columns that fit", |screen| screen.contains("STATE DEPTH MSG/S sysri"));
    top.resize(40, 120);
    top.shows("CAME DIED DMG");
    for by_key in [true, false] {
        if by_key {
            top.press("\u{1a}")
        } else {
            top.signal("TSTP")
        }
        until("it stops", || top.state() == Some('T'));
        assert_eq!(top.modes(), top.modes);
        until("the screen is left", || !top.screen.lock().unwrap().parser.screen().alternate_screen());
        top.signal("CONT");
        until("it is there again", || top.screen.lock().unwrap().parser.screen().alternate_screen());
        top.shows(&format!("{}: idle", name.str()));
        assert_ne!(top.modes(), top.modes);
    }
    top.press("q");
    top.ends(0);
}

#[test]
fn without_colours_and_in_ascii() {
    let (name, receiver, sender) = blocked();
    let mut top = Terminal::with(&[&FAST[..], &["--filter", name.str()]].concat(), &[("NO_COLOR", "1")]);
    top.shows("1 blocked mpsc 1/64");
    top.shows("###");
    top.press("r");
    top.shows("+ Remove -");
    // Esc and a letter together mean Alt and the letter, which is no answer.
    top.press("\u{1b}y");
    top.press("n");
    top.hides("+ Remove -");
    top.press("q");
    let bytes = top.ends(0);
    assert!(bytes.is_ascii());
    let text = String::from_utf8(bytes).unwrap();
    assert!(!text.contains("38;5") && !text.contains("48;5"), "{text:?}");
    drop((receiver, sender));
}

#[test]
fn one_frame_as_text() {
    let (name, receiver, sender) = blocked();
    let fast = ["top", "--once", "--interval", "100ms"];
    let text = run(&[&fast[..], &["--filter", name.str()]].concat()).ok();
    assert!(!text.contains('\u{1b}'));
    let (who, whom) = (sender.pid(), receiver.pid());
    let begin =
        format!("{}: sender in lane 0 (pid {who} sysring) waits for room since at least ", name.str());
    let end = format!(": the receiver (pid {whom} sysring, stopped) has ");
    let wait = text.lines().find(|line| line.starts_with(&begin));
    assert!(wait.is_some_and(|line| line.contains(&end)), "{text}");
    let row = text.lines().find(|line| line.starts_with(name.str())).unwrap();
    for word in ["1 blocked", "mpsc", "1/64", &format!("{} sysring", receiver.pid()), "1+1"] {
        assert!(row.contains(word), "no {word:?} in {row}");
    }
    let detail = run(&[&fast[..], &[name.str()]].concat()).ok();
    for words in [
        format!("{}: in use, mpsc, order total, persistent", name.str()),
        format!("receiver: pid {} sysring, stopped", receiver.pid()),
        "LANE  STATE    SENDER".into(),
        format!("0     blocked  {} sysring", sender.pid()),
        "waits for room since at least".into(),
    ] {
        assert!(detail.contains(&words), "no {words:?} in {detail}");
    }
    assert!(!detail.contains('\u{1b}'));

    // What comes between the two pictures is an event and a rate.
    receiver.signal("CONT");
    sender.wait().quiet(0);
    receiver.wait().ok();
    let slow = Running::start(&["top", "--once", "--interval", "1s", name.str()]);
    thread::sleep(Duration::from_millis(300));
    let late = Running::with_input(&["send", name.str()], "z\n".repeat(100));
    late.wait().quiet(0);
    let text = slow.wait().ok();
    assert!(text.contains("100 messages to be taken"), "{text}");
    let running = Running::start(&["top", "--once", "--interval", "1h"]);
    until("it watches for signals", || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:\t"));
        // SIGINT is the second bit.
        caught.and_then(|set| u64::from_str_radix(set, 16).ok()).is_some_and(|set| set & 2 != 0)
    });
    running.signal("INT");
    running.wait().quiet(130);
}

#[test]
fn what_strangers_wrote_disturbs_nothing() {
    let (whole, spoilt, half) = (Name::create(&[]), Name::create(&["--capacity", "4KiB"]), Name::create(&[]));
    run_with(&["send", spoilt.str()], "a\n").quiet(0);
    let words = |name: &Name| {
        let id = name.stat()["id"].as_i64().unwrap();
        Segment::from_id(i32::try_from(id).unwrap()).attach().unwrap()
    };
    let put =
        |mapping: &Mapping, offset: usize, word: u64| mapping.write(offset, &word.to_le_bytes()).unwrap();
    // The counts of visits and damage, and of the first lane's messages and bytes; offsets as in ARCHITECTURE.md.
    let mapping = words(&spoilt);
    for offset in [384, 392, 400, 408] {
        put(&mapping, offset, u64::MAX);
    }
    // No magic: as if its maker had not finished.
    let half_words = words(&half);
    put(&half_words, 0, 0);
    let top = Terminal::start(&[&FAST[..], &["--filter", whole.str()]].concat());
    top.shows(&format!("{}: idle", whole.str()));
    top.signal("TERM");
    top.ends(143);
    let text = run(&["top", "--once", "--interval", "100ms"]).ok();
    assert!(text.contains(whole.str()) && text.contains(spoilt.str()), "{text}");
    assert!(text.contains("half-made"), "{text}");
    assert!(text.contains("18E+18E!18E"), "{text}");
    // The name finds it again only with its magic.
    put(&half_words, 0, magic(&words(&whole)));
}

fn magic(mapping: &Mapping) -> u64 {
    let mut bytes = [0; 8];
    mapping.read(0, &mut bytes).unwrap();
    u64::from_le_bytes(bytes)
}

#[test]
fn bad_usage_is_told() {
    run(&["top"]).failed(2, &["stdout", "'sysring top --once'"]);
    run(&["top", "--interval", "99ms"]).failed(2, &["an interval is from 100ms to 1h"]);
    run(&["top", "--interval", "2h"]).failed(2, &["an interval is from 100ms to 1h"]);
    run(&["top", "--sort", "colour"]).failed(2, &["name", "rate", "depth", "state"]);
    let name = Name::new();
    run(&["top", "--once", name.str()]).failed(3, &[name.str()]);
    let top = Terminal::with(&["top"], &[("TERM", "dumb")]);
    top.shows("sysring top --once");
    top.ends_with_words(2);
    let top = Terminal::start(&["top", name.str()]);
    top.shows(name.str());
    top.ends_with_words(3);
}

impl Terminal {
    /// It never took the terminal.
    #[track_caller]
    fn ends_with_words(mut self, code: u32) {
        assert_eq!(self.wait().exit_code(), code);
        assert_eq!(self.modes(), self.modes);
        // Colours are all that it has said to the terminal.
        let text = String::from_utf8_lossy(&self.screen.lock().unwrap().bytes).into_owned();
        assert!(!text.contains("\x1b[?") && !text.contains("\x1b[2J"), "{text:?}");
    }
}
