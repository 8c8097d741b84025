//! Words in the segment that no process keeping to the protocol writes: who is told what, what is counted, what goes on.
//!
//! `tests/hostile` tries them by the million; here is one of each kind, to be read.

use sysring::segment::{Mapping, Segment};
use sysring::{
    Channel, Corruption, Fault, Observer, OpenErrorKind, RecvError, Sender, TryRecvError, mpsc, spsc,
};

use crate::process::Name;
use crate::runner::tests;

tests![
    a_damaged_record_ends_its_lane_only,
    impossible_room_is_told_to_the_sender,
    an_impossible_header_is_refused,
    counts_that_lie_are_bounded,
];

/// Offsets of the byte map for three senders and lanes of 4 KiB.
const SENDERS: u64 = 3;
const CONTROLS: u64 = (4096 + 64 * (SENDERS + 1)).next_multiple_of(128);
const LANES: u64 = (CONTROLS + 512 * SENDERS).next_multiple_of(4096);
const HEAD: u64 = 256;
const READ: u64 = 384;

fn control(lane: u64) -> u64 {
    CONTROLS + 512 * lane
}

fn data(lane: u64) -> u64 {
    LANES + 4096 * lane
}

fn memory(channel: &Channel) -> Mapping {
    Segment::from_id(channel.id()).attach().expect("attach")
}

fn write(memory: &Mapping, offset: u64, word: u64) {
    memory.write(offset as usize, &word.to_ne_bytes()).expect("inside");
}

fn read(memory: &Mapping, offset: u64) -> u64 {
    let mut bytes = [0; 8];
    memory.read(offset as usize, &mut bytes).expect("inside");
    u64::from_ne_bytes(bytes)
}

fn small(name: &Name) -> Channel {
    mpsc().senders(SENDERS as u32).capacity(4096).create(name).expect("create")
}

fn a_damaged_record_ends_its_lane_only() {
    let name = Name::new();
    let channel = small(&name);
    let memory = memory(&channel);
    let (mut first, mut second) = (channel.sender().expect("lane 0"), channel.sender().expect("lane 1"));
    first.send("good").expect("send");
    first.send("bad").expect("send"); // header and stamp of the first, 8 bytes for "good": at 24
    second.send("of another lane").expect("send");
    write(&memory, data(0) + 24, 1);

    let mut receiver = channel.receiver().expect("a seat");
    assert_eq!(receiver.recv_vec().expect("in front of the damage"), b"good");
    let damage = Corruption { lane: 0, position: 24 };
    assert!(matches!(receiver.recv_vec(), Err(RecvError::Corrupt(met)) if met == damage));
    assert_eq!(receiver.recv_vec().expect("of another lane"), b"of another lane");
    // Reported once; then the others go on.
    assert!(receiver.try_recv().unwrap_err().is_empty());

    // Final, also if somebody puts the word right.
    write(&memory, data(0) + 24, 0);
    let stats = Observer::open(&name).expect("readable").stats().expect("stats");
    assert_eq!(stats.damages, 1);
    assert!(stats.lanes[0].corrupt && !stats.lanes[1].corrupt);
    assert_eq!((stats.lanes[0].corrupt_at, stats.lanes[1].corrupt_at), (Some(24), None));
    drop(receiver);
    let mut receiver = channel.receiver().expect("a successor");
    assert!(
        matches!(receiver.try_recv(), Err(TryRecvError::Failed(RecvError::Corrupt(met))) if met == damage)
    );
    second.send("still").expect("send");
    assert_eq!(receiver.recv_vec().expect("a message"), b"still");

    // Its sender is told when it looks for room, and the next sender takes another lane.
    let error = (0..1000).find_map(|_| first.try_send([0; 64]).err()).expect("damaged");
    assert!(error.to_string().contains("lane 0 is damaged"), "{error}");
    drop(first);
    let mut third = channel.sender().expect("lane 2");
    third.send("from lane 2").expect("send");
    assert_eq!(receiver.recv_vec().expect("a message"), b"from lane 2");
    assert!(channel.sender().is_err_and(|error| matches!(error.kind(), OpenErrorKind::SeatTaken { .. })));
    assert!(channel.stats().expect("stats").damages >= 3);
    channel.remove().expect("remove");
}

/// Fills the lane until there is an error.
fn fill(sender: &mut Sender) -> Fault {
    for _ in 0..1000 {
        match sender.try_send([7; 40]) {
            Ok(()) => {}
            Err(sysring::TrySendError::Full(_)) => panic!("it looks full, not damaged"),
            Err(sysring::TrySendError::Failed(error)) => return error.fault().clone(),
        }
    }
    panic!("no end");
}

fn impossible_room_is_told_to_the_sender() {
    let name = Name::new();
    let channel = small(&name);
    let memory = memory(&channel);
    let mut sender = channel.sender().expect("lane 0");
    sender.send("x").expect("send");
    for word in [HEAD, READ] {
        write(&memory, control(0) + word, 1 << 40); // released more than was ever sent
    }
    let fault = fill(&mut sender);
    assert!(matches!(fault, Fault::Corrupt(Corruption { lane: 0, position: 24.. })), "{fault}");
    for word in [HEAD, READ] {
        write(&memory, control(0) + word, 0);
    }
    assert!(matches!(sender.send("again").unwrap_err().fault(), Fault::Corrupt(_)), "it is final");
    assert!(channel.stats().expect("stats").lanes[0].corrupt);
    drop(sender);
    // What was sent is still there for the receiver. The next sender passes the lane over as long as it is damaged.
    write(&memory, control(0) + READ, 1 << 40);
    let mut second = channel.sender().expect("lane 1");
    assert_eq!(second.lane(), Some(1));
    second.send("from lane 1").expect("send");
    write(&memory, control(0) + READ, 0);
    assert!(channel.stats().expect("stats").lanes[0].corrupt);
    let mut receiver = channel.receiver().expect("a seat");
    assert_eq!(receiver.recv_vec().expect("a message"), b"x");
    let third = channel.sender().expect("lane 0, which is in order again");
    assert_eq!(third.lane(), Some(0));
    assert!(!channel.stats().expect("stats").lanes[0].corrupt);
    channel.remove().expect("remove");
}

fn an_impossible_header_is_refused() {
    let name = Name::new();
    let channel = small(&name);
    let memory = memory(&channel);
    // offset, word, kind, what the error says
    let damages: [(u64, u64, OpenErrorKind, &str); 19] = [
        (0, u64::from_le_bytes(*b"strange!"), OpenErrorKind::Foreign, "strange!"),
        (0, u64::from_le_bytes(*b"\x1b[2Jxxxx"), OpenErrorKind::Foreign, r"\x1b[2Jxxxx"),
        (8, 1 << 32 | 0x0102_0304, OpenErrorKind::Foreign, "layout version 1"),
        (8, 0x0403_0201 << 32 | 3, OpenErrorKind::Foreign, "byte order"),
        (16, 1 << 20, OpenErrorKind::Corrupt, "flags"),
        (16, 1, OpenErrorKind::Corrupt, "flags"), // one sender only
        (24, 0, OpenErrorKind::Corrupt, "0 lanes"),
        (24, 4, OpenErrorKind::Corrupt, "4 lanes"),
        (24, 241, OpenErrorKind::Corrupt, "241 lanes"),
        (24, u64::MAX, OpenErrorKind::Corrupt, "18446744073709551615 lanes"),
        (32, 0, OpenErrorKind::Corrupt, "lanes of 0 bytes"),
        (32, 4097, OpenErrorKind::Corrupt, "lanes of 4097 bytes"),
        (32, 8192, OpenErrorKind::Corrupt, "lanes of 8192 bytes"),
        (32, 1 << 63, OpenErrorKind::Corrupt, "lanes of 9223372036854775808 bytes"),
        (40, 4096 / 2 - 15, OpenErrorKind::Corrupt, "largest message 2033"),
        (768, 249, OpenErrorKind::Corrupt, "name of length 249"),
        (768, u64::MAX, OpenErrorKind::Corrupt, "name of length"),
        (776, u64::from_le_bytes(*b"a\x1b[2Jbcd"), OpenErrorKind::Corrupt, "name"),
        (776, u64::from_le_bytes([0xff; 8]), OpenErrorKind::Corrupt, "name"),
    ];
    let image = || {
        let mut bytes = vec![0; memory.len()];
        memory.read(0, &mut bytes).expect("read");
        bytes
    };
    for (offset, word, kind, words) in damages {
        let good = read(&memory, offset);
        write(&memory, offset, word);
        let before = image();
        let opened = [mpsc().open(&name), mpsc().open_or_create(&name), mpsc().create(&name)];
        let refused = opened.map(|outcome| outcome.map(drop).expect_err("damaged"));
        let observed = Observer::open(&name).map(drop).expect_err("damaged");
        for error in refused.iter().chain([&observed]) {
            assert_eq!(error.kind(), kind, "{offset}: {word:#x}: {error}");
            let text = error.to_string();
            assert!(text.contains(words) && !text.contains(char::is_control), "{text}");
        }
        let listed = sysring::list().expect("list");
        let ours = listed.iter().find(|listed| listed.id == channel.id());
        assert!(ours.is_none_or(|listed| listed.outcome.is_err()), "{offset}: {word:#x}");
        assert!(image() == before, "changed");
        write(&memory, offset, good);
    }
    // Another channel's name under this name's key.
    write(&memory, 776, u64::from_le_bytes(*b"anothere"));
    let error = mpsc().open(&name).map(drop).expect_err("another channel");
    assert_eq!(error.kind(), OpenErrorKind::NameTaken);
    assert!(error.to_string().contains(name.as_str()) && error.to_string().contains("anothere"), "{error}");
    channel.remove().expect("by its id");
}

fn counts_that_lie_are_bounded() {
    let name = Name::new();
    let channel = spsc().capacity(4096).create(&name).expect("create");
    let memory = memory(&channel);
    let mut sender = channel.sender().expect("a seat");
    sender.send("x").expect("send");
    let control = 4096 + 128;
    for offset in (0..512).step_by(8).filter(|offset| *offset != 408) {
        write(&memory, control + offset, u64::MAX);
    }
    for offset in [48, 56, 384, 392, 400, 408] {
        write(&memory, offset, u64::MAX);
    }
    write(&memory, control + READ, 0);
    let stats = channel.stats().expect("stats");
    let lane = stats.lanes[0];
    assert_eq!((lane.used, lane.corrupt), (4096, true));
    assert!(lane.messages <= 4096 / 8);
    assert_eq!((stats.sender_attaches, stats.damages), (u64::MAX, u64::MAX));
    assert!(stats.created.elapsed().is_ok() || stats.created > std::time::SystemTime::now());
    channel.remove().expect("remove");
}
