//! Every program of `examples/`, as real processes. (`segment` has `tests/segment.rs`.)

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use common::{
    ChannelGuard, ChildGuard, Objects, SegmentGuard, compile_c, example, fail, succeed, unique_key,
    wait_until,
};
use sysring::segment::{Key, Segment};
use sysring::{Address, Observer, OpenErrorKind, Stats};

/// An example with these arguments.
fn command(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(example(name));
    command.args(arguments);
    command
}

fn run(name: &str, arguments: &[&str]) -> String {
    succeed(command(name, arguments))
}

/// Starts a program whose output is read later.
fn start(name: &str, arguments: &[&str]) -> ChildGuard {
    let child = command(name, arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    ChildGuard(child.unwrap_or_else(|error| panic!("{name}: {error}")))
}

/// Waits for the success of a program of `start` and returns what it printed.
fn finish(mut child: ChildGuard) -> String {
    let status = child.wait();
    let text = std::io::read_to_string(child.0.stdout.take().expect("piped")).expect("UTF-8");
    assert!(status.success(), "{status}: {text}");
    text.trim_end_matches('\n').to_owned()
}

/// A name that no other running test uses, removed at the end.
fn channel(what: &str) -> (String, ChannelGuard) {
    let name = format!("test-{what}-{:x}", unique_key());
    (name.clone(), ChannelGuard(name))
}

/// A file of its own for one test, removed at the end.
struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn new() -> TemporaryFile {
        let name = format!("examples-{:x}", unique_key());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&path, "").expect("make a file");
        TemporaryFile(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A look at a channel as soon as it is as wanted.
fn observe(address: impl Into<Address>, wanted: impl Fn(&Stats) -> bool) -> Stats {
    let address = address.into();
    wait_until(&format!("{address} is as wanted"), || {
        // Not there yet, or half-made.
        let stats = Observer::open(&address).ok()?.stats().ok()?;
        (stats.semaphore_set >= 0 && wanted(&stats)).then_some(stats)
    })
}

/// Messages that wait in an SPSC channel whose sender has gone.
fn left_behind(stats: &Stats) -> u64 {
    let [lane] = stats.lanes[..] else { panic!("not one lane: {stats:?}") };
    assert!(!lane.seat.taken, "{stats:?}");
    lane.messages
}

/// What `... segment N, semaphore set M` in a program's output tells.
fn note_printed(objects: &mut Objects, output: &str) {
    let line = output.lines().next().expect("a first line");
    let (_, ids) = line.split_once("segment ").unwrap_or_else(|| panic!("no segment in {output}"));
    let (segment, set) = ids.split_once(", semaphore set ").expect("a set too");
    objects.note_ids(segment.parse().expect("an id"), set.parse().expect("an id"));
}

#[test]
fn hello() {
    let (name, _guard) = channel("hello");
    let mut objects = Objects::default();

    // Sender first.
    run("hello", &[&name, "Hello!"]);
    objects.note(&observe(&name, |_| true));
    assert_eq!(run("hello", &[&name]), "Hello!");
    objects.assert_gone();

    // Receiver first.
    let receiver = start("hello", &[&name]);
    objects.note(&observe(&name, |stats| stats.receiver.asleep));
    run("hello", &[&name, "Hello again!"]);
    assert_eq!(finish(receiver), "Hello again!");
    objects.assert_gone();
}

/// Seed 001.
#[test]
fn parent_and_children_over_an_anonymous_channel() {
    let mut objects = Objects::default();
    for (children, messages) in [(3, 2), (1, 0), (8, 500)] {
        let output = run("fork", &[&children.to_string(), &messages.to_string()]);
        note_printed(&mut objects, &output);
        let lines: Vec<&str> = output.lines().skip(1).collect();
        assert_eq!(lines.len(), children * messages);
        for child in 1..=children {
            let of_child = format!("child {child}: ");
            let of_child: Vec<&&str> = lines.iter().filter(|line| line.starts_with(&of_child)).collect();
            let all: Vec<String> = (1..=messages)
                .map(|number| format!("child {child}: message {number} of {messages}"))
                .collect();
            assert_eq!(of_child, all.iter().collect::<Vec<_>>());
        }
    }
    objects.assert_gone();
}

/// Seed 002.
#[test]
fn writer_and_reader_in_either_order() {
    const TEXT: &str = "Hello, Shared Memory!";
    let key = unique_key();
    let address = Address::key(key).to_string();
    let _guard = ChannelGuard(address.clone());
    let mut objects = Objects::default();
    objects.note_key(key);

    // Writer first: it has gone, its text is in the kernel.
    assert_eq!(run("writer", &[&address]), format!("written to {address}"));
    let stats = observe(&address, |_| true);
    assert_eq!((left_behind(&stats), stats.attached, stats.key), (1, 1, key));
    objects.note(&stats);
    assert_eq!(run("reader", &[&address]), TEXT);
    objects.assert_gone();

    // Reader first: it sleeps.
    let reader = start("reader", &[&address]);
    objects.note(&observe(&address, |stats| stats.receiver.asleep));
    run("writer", &[&address]);
    assert_eq!(finish(reader), TEXT);
    objects.assert_gone();

    // Both at once.
    for _ in 0..20 {
        let both = [start("reader", &[&address]), start("writer", &[&address])];
        assert_eq!(both.map(finish), [TEXT.to_owned(), format!("written to {address}")]);
    }
    objects.assert_gone();

    // And under the tutorial's own key, unless somebody uses it.
    let tutorial = Address::key(0x1234);
    if Segment::open(Key::from_raw(0x1234)).is_err() {
        let _guard = ChannelGuard(tutorial.to_string());
        run("writer", &[]);
        assert_eq!(left_behind(&observe(&tutorial, |_| true)), 1);
        assert_eq!(run("reader", &[]), TEXT);
    }
}

/// Seed 002: what a plain C writer has left under a key is no channel.
#[test]
fn a_plain_segment_is_refused_as_a_channel_and_not_changed() {
    let [writer, create, put] = ["writer.c", "create.c", "put.c"].map(compile_c);
    // The tutorial's 1,024 bytes; and sizes that would hold a channel, with a text and with zeros.
    for (size, text) in [(1024, "Hello, Shared Memory!"), (1 << 20, "Hello!"), (5 << 20, "")] {
        let key = unique_key();
        let _guard = SegmentGuard::Key(key);
        let mut objects = Objects::default();
        objects.note_key(key);
        let number = &key.to_string();
        let c = |program: &Path, arguments: &[&str]| {
            let mut command = Command::new(program);
            command.args(arguments);
            succeed(command)
        };
        if size == 1024 {
            c(&writer, &[number]);
        } else {
            c(&create, &[number, &size.to_string()]);
            c(&put, &[number, text]);
        }
        let segment = Segment::open(Key::from_raw(key)).unwrap();
        let bytes = || {
            let mapping = segment.attach_read_only().unwrap();
            let mut bytes = vec![0xff; mapping.len()];
            mapping.read(0, &mut bytes).unwrap();
            bytes
        };
        let before = (bytes(), segment.stat().unwrap());
        assert!(before.0.starts_with(text.as_bytes()));
        assert_eq!(before.1.size, size);

        let address = Address::key(key);
        let (spsc, mpsc, any) = (sysring::spsc(), sysring::mpsc(), sysring::Builder::default());
        let refusals = [
            spsc.sender(&address).map(drop),
            mpsc.sender(&address).map(drop),
            spsc.receiver(&address).map(drop),
            any.receiver(&address).map(drop),
            any.open(&address).map(drop),
            any.open(Address::id(segment.id())).map(drop),
            any.create(&address).map(drop),
            any.open_or_create(&address).map(drop),
            Observer::open(&address).map(drop),
            sysring::remove(&address),
        ];
        for refusal in refusals {
            let error = refusal.expect_err("a plain segment is no channel");
            assert_eq!(error.kind(), OpenErrorKind::Foreign, "{error}");
            let text = error.to_string();
            assert!(text.contains("not a channel") && text.lines().count() == 1, "{text}");
        }
        // The programs say so, too.
        for program in ["writer", "reader"] {
            let errors = fail(command(program, &[&address.to_string()]), 1);
            assert!(errors.contains("not a channel"), "{errors}");
        }
        assert!(sysring::list().unwrap().iter().all(|listed| listed.id != segment.id()));

        let after = (bytes(), segment.stat().unwrap());
        assert!(before.0 == after.0, "a byte was changed");
        let lasting = |stat: &sysring::segment::SegmentStat| {
            (stat.id, stat.key, stat.size, stat.mode, stat.uid, stat.change_time, stat.attached, stat.removed)
        };
        assert_eq!(lasting(&before.1), lasting(&after.1));
        segment.remove().unwrap();
        objects.assert_gone();
    }
}

/// Seed 003.
#[test]
fn a_struct_waits_under_a_key_of_ftok() {
    let file = TemporaryFile::new();
    let address = Address::path(file.path(), 65);
    let guard = ChannelGuard(address.to_string());
    let mut c = Command::new(compile_c("ftok.c"));
    c.args([file.path(), "65"]);
    let key: i32 = succeed(c).parse().expect("a key");
    let mut objects = Objects::default();
    objects.note_key(key);

    let written = run("write_struct", &[file.path(), "65"]);
    let fields = r#"Measurement { sensor: 7, time: 1700000000, celsius: -12.75, place: "Łódź" }"#;
    assert_eq!(written, format!("key {}: {fields}", Key::from_raw(key)));

    let stats = observe(&address, |_| true);
    assert_eq!((left_behind(&stats), stats.key), (1, key), "the writer has gone, its message waits");
    objects.note(&stats);
    assert_eq!(run("read_struct", &[file.path(), "65"]), written);
    objects.assert_gone();

    // The other order works, too.
    let reader = start("read_struct", &[file.path(), "65"]);
    objects.note(&observe(&address, |stats| stats.receiver.asleep));
    run("write_struct", &[file.path(), "65"]);
    assert_eq!(finish(reader), written);
    objects.assert_gone();
    // The guard needs the file for the key.
    drop(guard);
}

#[test]
fn many_processes_log_into_one_file() {
    let (name, _guard) = channel("log");
    let file = TemporaryFile::new();
    let mut objects = Objects::default();
    let (loggers, lines) = (5, 2000);

    let output = run("log_sink", &[file.path(), &name, &loggers.to_string(), &lines.to_string()]);
    note_printed(&mut objects, &output);
    assert_eq!(output.lines().last(), Some(&*format!("{} lines", loggers * lines)));
    let log = std::fs::read_to_string(file.path()).unwrap();
    assert!(log.ends_with('\n'));
    assert_eq!(log.lines().count(), loggers * lines);
    for logger in 1..=loggers {
        let begin = format!("logger {logger} (pid ");
        let of_logger = log.lines().filter(|line| line.starts_with(&begin));
        let ends = of_logger.map(|line| line.split_once("): ").expect("a whole line").1.to_owned());
        let all = (1..=lines).map(|line| format!("line {line} of {lines}"));
        assert!(ends.eq(all), "lines of logger {logger}");
    }
    objects.assert_gone();
    assert_eq!(Observer::open(&name).unwrap_err().kind(), OpenErrorKind::NotFound);
}

#[test]
fn frames_are_written_and_read_in_place() {
    let (name, _guard) = channel("zero-copy");
    let mut objects = Objects::default();
    // More than fit into the channel at once.
    let output = run("zero_copy", &[&name, "40"]);
    note_printed(&mut objects, &output);
    assert!(output.lines().nth(1).is_some_and(|line| line.starts_with("40 frames of 640x480")), "{output}");
    objects.assert_gone();
    assert_eq!(Observer::open(&name).unwrap_err().kind(), OpenErrorKind::NotFound);
}

/// Seed 004: a client that sends requests until it is told to end, and checks each reply.
struct Client {
    process: ChildGuard,
    feeder: thread::JoinHandle<u64>,
    checker: thread::JoinHandle<u64>,
    _replies: ChannelGuard,
}

impl Client {
    /// `enough`: no new requests. `answered` counts the replies of all clients.
    fn start(name: &str, number: usize, enough: &Arc<AtomicBool>, answered: &Arc<AtomicU64>) -> Client {
        let mut process = start("client", &[name]);
        let _replies = ChannelGuard(format!("{name}.reply.{}", process.0.id()));
        let mut stdin = process.0.stdin.take().expect("piped");
        let stdout = process.0.stdout.take().expect("piped");
        let (enough, answered) = (Arc::clone(enough), Arc::clone(answered));
        let feeder = thread::spawn(move || {
            let mut lines = 0;
            while lines < 100 || !enough.load(Ordering::Relaxed) {
                // Fails only if the client has ended, which its status tells.
                if writeln!(stdin, "client {number}, request {lines}").is_err() {
                    break;
                }
                lines += 1;
            }
            lines
        });
        let checker = thread::spawn(move || {
            let mut lines = 0;
            for line in BufReader::new(stdout).lines() {
                // In order, each once, and of this client.
                assert_eq!(line.expect("UTF-8"), format!("CLIENT {number}, REQUEST {lines}"));
                lines += 1;
                answered.fetch_add(1, Ordering::Relaxed);
            }
            lines
        });
        Client { process, feeder, checker, _replies }
    }

    /// Waits for its success; returns how many requests it had.
    fn finish(mut self) -> u64 {
        assert!(self.process.wait().success());
        let sent = self.feeder.join().expect("the feeder");
        assert_eq!(self.checker.join().expect("every reply was right"), sent);
        sent
    }
}

#[test]
fn a_server_killed_and_started_again_loses_no_request() {
    const CLIENTS: usize = 4;
    const KILLS: usize = 25;
    let (name, _guard) = channel("server");
    let mut objects = Objects::default();
    let (enough, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));

    // Some clients before there is a server, some after.
    let client = |number| Client::start(&name, number, &enough, &answered);
    let mut clients: Vec<Client> = (0..CLIENTS / 2).map(client).collect();
    let start_server = || start("server", &[&name, &CLIENTS.to_string()]);
    let mut server = start_server();
    clients.extend((CLIENTS / 2..CLIENTS).map(client));
    for client in &clients {
        let replies = format!("{name}.reply.{}", client.process.0.id());
        objects.note(&observe(&replies, |stats| stats.receiver.taken));
    }
    objects.note(&observe(&name, |stats| stats.lanes.len() == CLIENTS));

    for kill in 0..KILLS {
        // In the midst of it: replies have come from this server, and requests never end.
        let before = answered.load(Ordering::Relaxed);
        wait_until("replies", || (answered.load(Ordering::Relaxed) >= before + 100).then_some(()));
        server.kill();
        if kill == 0 {
            // Nobody answers now, and nobody gives up.
            let [before, after] = [(); 2].map(|()| {
                thread::sleep(Duration::from_millis(100));
                answered.load(Ordering::Relaxed)
            });
            assert_eq!(before, after);
            assert!(clients.iter_mut().all(|client| client.process.0.try_wait().unwrap().is_none()));
        }
        server = start_server();
    }
    enough.store(true, Ordering::Relaxed);
    let requests: u64 = clients.into_iter().map(Client::finish).sum();
    assert_eq!(answered.load(Ordering::Relaxed), requests);
    assert!(requests >= 100 * KILLS as u64);
    // All clients have come and gone: the server ends and takes the channel with it.
    finish(server);
    objects.assert_gone();
}

#[test]
fn a_second_server_is_told_of_the_first() {
    let (name, _guard) = channel("server");
    let mut server = start("server", &[&name]);
    let mut objects = Objects::default();
    objects.note(&observe(&name, |stats| stats.receiver.taken));
    let errors = fail(command("server", &[&name]), 1);
    assert!(errors.contains("SeatTaken") && errors.contains(&server.0.id().to_string()), "{errors}");
    server.kill();
    sysring::remove(&name).unwrap();
    objects.assert_gone();
}
