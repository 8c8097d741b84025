//! Whatever a stranger has written into a channel, every command ends by itself, with a status that the help names and
//! one line to say why, and nothing of what was written reaches the terminal as a command to it.
//!
//! The offsets are those of the byte map in ARCHITECTURE.md.

use std::time::{Duration, Instant};

use serde_json::Value;
use sysring::segment::{Key, Mapping, Segment};

use crate::support::{Ended, Name, alone, run_with};

/// No command on a channel that nobody else uses takes longer; most take milliseconds.
const LIMIT: Duration = Duration::from_secs(5);

const MAGIC: usize = 0;
const VERSION: usize = 8;
const FLAGS: usize = 16;
const SENDERS: usize = 24;
const CAPACITY: usize = 32;
const MAX_MESSAGE: usize = 40;
const CREATED: usize = 48;
const SET: usize = 128;
const RECEIVER_NUMBER: usize = 256;
const NOTICE: usize = 272;
const VISITS: usize = 384;
const STAMPS: usize = 512;
const BITMAP: usize = 640;
const NAME_LENGTH: usize = 768;
const NAME: usize = 776;
const SEATS: usize = 4096;
/// Of a channel with two senders and 4 KiB for each.
const CONTROL: usize = 4352;
const DATA: usize = 8192;

const TAIL: usize = 0;
const SENT: usize = 8;
const ROOM_NUMBER: usize = 128;
const HEAD: usize = 256;
const READ: usize = 384;
const GIVEN: usize = 392;
const RECEIVED: usize = 400;
const DAMAGE: usize = 408;

/// A channel's segment, to write words into.
struct Words(Mapping);

impl Words {
    fn put(&self, offset: usize, word: u64) {
        self.0.write(offset, &word.to_le_bytes()).unwrap();
    }

    fn get(&self, offset: usize) -> u64 {
        let mut bytes = [0; 8];
        self.0.read(offset, &mut bytes).unwrap();
        u64::from_le_bytes(bytes)
    }

    fn name(&self, text: &[u8]) {
        self.put(NAME_LENGTH, text.len() as u64);
        self.0.write(NAME, text).unwrap();
    }

    /// In both lanes.
    fn control(&self, word: usize, value: u64) {
        self.put(CONTROL + word, value);
        self.put(CONTROL + 512 + word, value);
    }

    /// A record's header where the first lane's next one is.
    fn header(&self, word: u64) {
        self.put(DATA + self.get(CONTROL + READ) as usize % 4096, word);
    }
}

/// Header of a message.
fn message(length: u64) -> u64 {
    0x5D << 56 | (length + 1)
}

type Mutation = fn(&Words);

const MUTATIONS: [(&str, Mutation); 30] = [
    ("nothing", |_| {}),
    ("no magic", |words| words.put(MAGIC, 0)),
    ("another magic", |words| words.put(MAGIC, u64::from_le_bytes(*b"\x1b[31m\n\r\t"))),
    ("given up", |words| words.put(MAGIC, u64::from_le_bytes(*b"givenup\0"))),
    ("another version", |words| words.put(VERSION, 77 << 32 | 0x0102_0304)),
    ("another byte order", |words| words.put(VERSION, words.get(VERSION).swap_bytes())),
    ("impossible flags", |words| words.put(FLAGS, u64::MAX)),
    ("one sender's flag on two lanes", |words| words.put(FLAGS, 1)),
    ("the flag of anonymous channels", |words| words.put(FLAGS, words.get(FLAGS) | 8)),
    ("one lane of the same size", |words| {
        words.put(SENDERS, 1);
        words.put(CAPACITY, 8192);
    }),
    ("lanes without end", |words| words.put(SENDERS, u64::MAX)),
    ("a lane of 1 TiB", |words| words.put(CAPACITY, 1 << 40)),
    ("a largest message of 2^63", |words| words.put(MAX_MESSAGE, 1 << 63)),
    ("made at the end of time", |words| words.put(CREATED, u64::MAX)),
    ("no set", |words| words.put(SET, 0)),
    ("the last set", |words| words.put(SET, u64::MAX)),
    ("a strange set", |words| words.put(SET, 9 << 32 | 0x7fff_0000)),
    ("removed", |words| words.put(NOTICE, 1 << 63)),
    ("a name that clears the screen", |words| words.name(b"\x1b[2J\x1b[31mred\nline\r\x07")),
    ("a name of C1 controls", |words| words.name("a\u{9b}31m\u{85}b".as_bytes())),
    ("a name that is no UTF-8", |words| words.name(b"\xff\xfe\xc0")),
    ("a name without end", |words| words.put(NAME_LENGTH, u64::MAX)),
    ("another name", |words| words.name(b"another channel")),
    ("more messages than a number holds", |words| {
        words.control(TAIL, 4000);
        words.control(READ, 0);
        words.control(SENT, u64::MAX - 1);
        words.control(RECEIVED, 0);
    }),
    ("positions beyond all", |words| {
        [TAIL, READ, HEAD, GIVEN].into_iter().for_each(|word| words.control(word, u64::MAX - 7));
    }),
    ("a damaged lane", |words| words.control(DAMAGE, 1)),
    ("a forged record", |words| words.header(message(4000))),
    ("records without end", |words| {
        (DATA..DATA + 8192).step_by(8).for_each(|offset| words.put(offset, message(0)));
    }),
    ("claims of everybody, all asleep", |words| {
        (0..3).for_each(|seat| words.put(SEATS + 64 * seat, u64::MAX));
        words.put(SET, 3 << 32 | words.get(SET) & 0xffff_ffff);
        words.put(RECEIVER_NUMBER, u64::MAX);
        words.control(ROOM_NUMBER, u64::MAX);
        words.put(VISITS, u64::MAX);
    }),
    ("noise", |words| {
        let noise = crate::support::noise(12_000, 7);
        words.put(STAMPS, u64::MAX);
        words.put(BITMAP, u64::MAX);
        words.0.write(SEATS, &noise).unwrap();
    }),
];

/// Each as its arguments, with `@` for the channel and `#` for its segment's id; whether its output is the channel's
/// content; what is sent.
const COMMANDS: [(&[&str], bool, &str); 16] = [
    (&["stat", "@"], false, ""),
    (&["stat", "--json", "@"], false, ""),
    (&["stat", "#"], false, ""),
    (&["tap", "@"], false, ""),
    (&["tap", "#", "--hex"], false, ""),
    (&["tap", "#", "--text", "--bytes", "20"], false, ""),
    (&["ls"], false, ""),
    (&["ls", "--json"], false, ""),
    (&["send", "@", "--timeout", "20ms"], false, "one line\n"),
    (&["send", "#", "--timeout", "20ms"], false, "two\nlines\n"),
    (&["recv", "@", "--timeout", "20ms", "--count", "3"], true, ""),
    (&["recv", "#", "--create", "--timeout", "20ms", "--framing", "length", "--count", "50"], true, ""),
    (&["rm", "@"], false, ""),
    (&["gc", "--dry-run", "--idle", "--older", "0s"], false, ""),
    (&["gc"], false, ""),
    (&["create", "@", "--senders", "2", "--capacity", "4KiB"], false, ""),
];

#[test]
fn commands_on_mutated_segments_end_well() {
    // Sets that the mutations cut off from their segment go with the namespace.
    if !alone() {
        return;
    }
    let name = Name::new();
    let snapshots = [snapshot(&name, 0), snapshot(&name, 5)];
    let mut cases = 0;
    for (number, (mutation, mutate)) in MUTATIONS.iter().enumerate() {
        for (command, content, input) in COMMANDS {
            let channel = builder().create(name.str()).unwrap();
            let (id, key) = (channel.id(), channel.key());
            let words = Words(Segment::from_id(id).attach().unwrap());
            let set = words.get(SET);
            words.0.write(0, &snapshots[number % 2]).unwrap();
            words.put(SET, set);
            mutate(&words);
            drop((words, channel));
            let address = format!("id:{id}");
            let args: Vec<&str> = command
                .iter()
                .map(|arg| match *arg {
                    "@" => name.str(),
                    "#" => &address,
                    arg => arg,
                })
                .collect();
            let started = Instant::now();
            let ended = run_with(&args, input);
            check(&format!("{mutation}: {args:?}"), &ended, content, started.elapsed());
            if ended.code == Some(0) && args.contains(&"--json") {
                serde_json::from_slice::<Value>(&ended.stdout).unwrap();
            }
            for segment in [Ok(Segment::from_id(id)), Segment::open(Key::from_raw(key))] {
                let _ = segment.and_then(|segment| segment.remove());
            }
            cases += 1;
        }
    }
    assert!(cases >= 300, "{cases}");
    println!("{cases} commands on mutated segments");
}

fn builder() -> sysring::Builder {
    sysring::mpsc().senders(2).capacity(4096)
}

/// The bytes of a channel with so many messages.
fn snapshot(name: &Name, messages: usize) -> Vec<u8> {
    let channel = builder().create(name.str()).unwrap();
    run_with(&["send", name.str()], "a line\n".repeat(messages)).ok();
    let segment = Segment::from_id(channel.id());
    let mapping = segment.attach_read_only().unwrap();
    let mut bytes = vec![0; mapping.len()];
    mapping.read(0, &mut bytes).unwrap();
    assert_eq!(bytes.len(), DATA + 2 * 4096 + 0x528);
    channel.remove().unwrap();
    bytes
}

#[track_caller]
fn check(case: &str, ended: &Ended, content: bool, time: Duration) {
    let Ended { code, stdout, stderr } = ended;
    assert!(matches!(code, Some(0..=7)) && *code != Some(2), "{case}: status {code:?}, {stderr}");
    assert!(time < LIMIT, "{case}: took {time:?}");
    if *code == Some(0) {
        assert_eq!(stderr, "", "{case}");
    } else {
        assert!(stderr.starts_with("sysring: ") && stderr.ends_with('\n'), "{case}: {stderr:?}");
        assert_eq!(stderr.lines().count(), 1, "{case}: {stderr:?}");
    }
    let control = |text: &str| text.chars().any(|char| char.is_control() && char != '\n');
    assert!(!control(stderr), "{case}: {stderr:?}");
    if !content {
        let text = str::from_utf8(stdout).unwrap();
        assert!(!control(text), "{case}: {text:?}");
    }
}
