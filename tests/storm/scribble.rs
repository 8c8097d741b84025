//! The live scribbler: a process that writes whatever it likes into a channel's segment while others use it.
//!
//! In most rounds it writes anywhere, and its victims may be told anything but must not be harmed (see
//! [`crate::crowd`]). In the others it keeps to one sender's lane and that lane's control words, and then the messages
//! of all other lanes must arrive.
#![allow(unsafe_code, reason = "the attacker's own mapping of the segment")]

use std::ops::Range;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use sysring::{
    Builder, Channel, Corruption, Fault, Fence, OpenErrorKind, Order, RecvError, SendTimeoutError,
    TryRecvError, TrySendError, WaitStrategy, mpsc, spsc,
};

use crate::board::{Board, Clock};
use crate::crowd::{Content, Crowd, CrowdBoard, Round, SENDERS, Totals, check_memory};
use crate::grouped;
use crate::message::{Random, mix};
use crate::process::{Name, Object, objects};
use crate::runner::{is_long, seed, tests};
use crate::set_attacks::remove_set;

tests![
    scribbler,
    a_word_of_one_lane_does_not_evict_the_receiver,
    a_lost_terminator_starves_nobody,
    a_lane_that_is_cut_off_is_given_up,
    a_generation_that_goes_back_is_followed,
    a_damaged_set_word_is_mended,
    a_seat_with_a_damaged_claim_falls_free,
];

const SHORT_TIME: Duration = Duration::from_secs(10);
const LONG_TIME: Duration = Duration::from_secs(600);
/// A channel in which so long nothing arrives is dead: on to the next.
const SILENCE: Duration = Duration::from_millis(60);

/// What users may be told when somebody writes anywhere.
const EXCUSED: &[&str] = &[
    // of the channel
    "Corrupt",
    "Removed",
    "Evicted",
    "Disconnected",
    // of opening it
    "NotFound",
    "Foreign",
    "NameTaken",
    "Mismatch",
    "Busy",
    "SeatTaken",
    // Somebody changes the word that names the set whenever we have changed it.
    "EAGAIN",
];

/// The same when it keeps to one lane. `Disconnected`: the observer and the openers may be all who is there.
const EXCUSED_IN_ONE_LANE: &[&str] = &["Corrupt", "Evicted", "Disconnected", "SeatTaken"];

// The byte map of ARCHITECTURE.md, in words.
const SET: usize = 128 / 8;
const BELL: usize = 256 / 8;
const NOTICE: usize = BELL + 2;
const VISITS: usize = 384 / 8;
const STAMPS: usize = 512 / 8;
const BITMAP: usize = 640 / 8;
const NAME: usize = 768 / 8;
const SEATS: usize = 4096 / 8;
const REMOVED: u64 = 1 << 63;
const DATA: u64 = 0x5D << 56;
const PADDING: u64 = 0x5A << 56;

/// A channel's segment, as whoever may write sees it.
pub(crate) struct Words {
    words: &'static [AtomicU64],
}

impl Words {
    /// Attaches for good.
    pub(crate) fn attach(id: i32) -> Words {
        let size = sysring::segment::Segment::from_id(id).stat().expect("a segment").size;
        // SAFETY: with a null address the kernel takes a range that nothing uses.
        let place = unsafe { libc::shmat(id, std::ptr::null(), 0) };
        assert_ne!(place.addr(), usize::MAX, "shmat: {}", std::io::Error::last_os_error());
        // SAFETY: so many bytes are mapped there for good, page-aligned, and are used as atomics only.
        let words = unsafe { std::slice::from_raw_parts(place.cast(), size / 8) };
        Words { words }
    }

    /// The id of the semaphore set that the header names.
    pub(crate) fn set(&self) -> i32 {
        (self.words[SET].load(Acquire) as u32).cast_signed()
    }
}

/// Marks a channel as removed, whatever else its segment holds.
pub(crate) fn mark_removed(id: i32) {
    // Somebody may have seen such a mark before.
    if let Ok(mapping) = sysring::segment::Segment::from_id(id).attach() {
        mapping.write(8 * NOTICE, &REMOVED.to_le_bytes()).expect("inside");
    }
}

/// The header's words that are not zero, for people.
pub(crate) fn header(id: i32) -> String {
    let Ok(mapping) = sysring::segment::Segment::from_id(id).attach_read_only() else { return String::new() };
    let mut text = String::from("header:");
    for place in 0..SEATS + 64 {
        let mut word = [0; 8];
        mapping.read(8 * place, &mut word).expect("inside");
        if word != [0; 8] {
            text += &format!(" {}: {:#x}", 8 * place, u64::from_le_bytes(word));
        }
    }
    text
}

/// Where everything lies in the attacked segment.
struct Map {
    senders: usize,
    capacity: usize,
}

impl Map {
    /// First word of a lane's control.
    fn control(&self, lane: usize) -> usize {
        (4096 + 64 * (self.senders + 1)).next_multiple_of(128) / 8 + 64 * lane
    }

    /// The words of a lane.
    fn lane(&self, lane: usize) -> Range<usize> {
        let lanes = (8 * self.control(self.senders)).next_multiple_of(4096) / 8;
        let begin = lanes + self.capacity / 8 * lane;
        begin..begin + self.capacity / 8
    }
}

/// What is worth writing to.
#[derive(Clone, Copy, Debug)]
enum Target {
    /// Magic, version, flags, shape.
    Birth,
    Set,
    /// Sleep number and fences.
    Bell,
    /// Removed mark, generation, changes.
    Notice,
    Visits,
    Stamps,
    Bitmap,
    Name,
    Claims,
    /// Every control word of a lane.
    Control,
    /// The words of the next records, at both ends of what is in the lane.
    Records,
    /// Anywhere in a lane.
    Payload,
    /// Anywhere.
    Anything,
}

const TARGETS: [Target; 13] = [
    Target::Birth,
    Target::Set,
    Target::Bell,
    Target::Notice,
    Target::Visits,
    Target::Stamps,
    Target::Bitmap,
    Target::Name,
    Target::Claims,
    Target::Control,
    Target::Records,
    Target::Payload,
    Target::Anything,
];

/// How an attacker goes about it.
struct Scribbler {
    words: &'static [AtomicU64],
    map: Map,
    /// The only lane that it touches, if there is one.
    only: Option<usize>,
    targets: Vec<Target>,
    /// Pause between two bursts; none: full speed.
    pause: Option<Duration>,
    random: Random,
}

impl Scribbler {
    fn new(id: i32, map: Map, only: Option<usize>, mut random: Random) -> Scribbler {
        let mut targets: Vec<Target> = if only.is_some() {
            vec![Target::Control, Target::Records, Target::Payload]
        } else if random.below(4) == 0 {
            TARGETS.to_vec()
        } else {
            // A few kinds only, or the first one that ends everything would hide the others.
            (0..1 + random.below(3)).map(|_| TARGETS[random.below(13) as usize]).collect()
        };
        if random.below(2) == 0 {
            targets.truncate(1);
        }
        let pause =
            (random.below(3) > 0).then(|| Duration::from_micros([20, 200, 2000][random.below(3) as usize]));
        Scribbler { words: Words::attach(id).words, map, only, targets, pause, random }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random.below(bound as u64) as usize
    }

    fn some_lane(&mut self) -> usize {
        self.only.unwrap_or_else(|| self.random.below(self.map.senders as u64) as usize)
    }

    /// A word to write to.
    fn place(&mut self) -> usize {
        let target = self.targets[self.random.below(self.targets.len() as u64) as usize];
        let lane = self.some_lane();
        let control = self.map.control(lane);
        match target {
            Target::Birth => self.below(8),
            Target::Set => SET,
            Target::Bell => BELL + self.below(2),
            Target::Notice => NOTICE + self.below(2),
            Target::Visits => VISITS + self.below(3),
            Target::Stamps => STAMPS,
            Target::Bitmap => BITMAP + self.below(4),
            Target::Name => NAME + self.below(32),
            Target::Claims => SEATS + 8 * self.below(self.map.senders + 1),
            Target::Control => control + [0, 1, 2, 3, 16, 17, 32, 48, 49, 50, 51, 52][self.below(12)],
            Target::Records => {
                let near = self.words[control + [0, 48][self.below(2)]].load(Relaxed) / 8;
                let step = [0, 0, 1, 2, 3, 8][self.below(6)];
                self.in_lane(lane, near.wrapping_add(step))
            }
            Target::Payload => {
                let word = self.random.below(u64::MAX);
                self.in_lane(lane, word)
            }
            Target::Anything => self.below(self.words.len()),
        }
    }

    fn in_lane(&self, lane: usize, word: u64) -> usize {
        let range = self.map.lane(lane);
        range.start + (word % range.len() as u64) as usize
    }

    fn value(&mut self, place: usize) -> u64 {
        let capacity = self.map.capacity as u64;
        let old = self.words[place].load(Relaxed);
        let random = self.random.below(u64::MAX);
        match self.random.below(10) {
            0 => random,
            1 => random >> (random % 64),
            2 | 3 => {
                let special = [
                    0,
                    0,
                    1,
                    2,
                    7,
                    8,
                    64,
                    u64::MAX,
                    u64::MAX - 1,
                    REMOVED,
                    REMOVED - 1,
                    1 << 62,
                    (1 << 62) + 8,
                    (1 << 48) - 1,
                    1 << 32,
                    1 << 31,
                    u64::from(u32::MAX),
                    capacity,
                    capacity - 8,
                    capacity + 8,
                    4096,
                    DATA,
                    PADDING,
                    u64::from_le_bytes(*b"givenup\0"),
                    u64::from_le_bytes(*b"sysring\0"),
                ];
                special[random as usize % special.len()]
            }
            4 | 5 => {
                let step = [1, 2, 8, 16, 64, 4096, capacity, capacity / 8][random as usize % 8];
                if random >> 32 & 1 == 0 { old.wrapping_add(step) } else { old.wrapping_sub(step) }
            }
            6 => self.record(random),
            _ => {
                let other = self.place();
                self.words[other].load(Relaxed)
            }
        }
    }

    /// The header of a record that might be one.
    fn record(&mut self, random: u64) -> u64 {
        let capacity = self.map.capacity as u64;
        let length = [0, 16, 100, capacity / 2 - 16, capacity / 2 - 15, capacity, random % capacity];
        let kind = if self.random.below(4) == 0 { PADDING } else { DATA };
        kind | (length[random as usize % 7] + 1)
    }

    /// One thing or another.
    fn strike(&mut self) {
        let place = self.place();
        match self.random.below(64) {
            0 => {
                let other = self.place();
                let word = self.words[place].swap(self.words[other].load(Relaxed), Relaxed);
                self.words[other].store(word, Relaxed);
            }
            1 => self.forge(),
            2 if self.pause.is_some() => {
                // A page of zeroes, or of one value.
                let value = if self.random.below(2) == 0 { 0 } else { self.value(place) };
                let begin = place / 512 * 512;
                let page = begin..(begin + 512).min(self.words.len());
                if self.only.is_none_or(|lane| {
                    let range = self.map.lane(lane);
                    range.contains(&page.start) && range.contains(&(page.end - 1))
                }) {
                    self.words[page].iter().for_each(|word| word.store(value, Relaxed));
                }
            }
            3 => {
                // To and fro, as fast as it goes.
                let (one, other) = (self.words[place].load(Relaxed), self.value(place));
                for turn in 0..200 {
                    self.words[place].store(if turn % 2 == 0 { other } else { one }, Relaxed);
                }
            }
            4 if self.only.is_none() && self.targets.len() == TARGETS.len() && self.random.below(64) == 0 => {
                let step = 1 + self.below(64);
                for place in (0..self.words.len()).step_by(step) {
                    let value = self.value(place);
                    self.words[place].store(value, Relaxed);
                }
            }
            5 => {
                let value = self.value(place);
                self.words[place].fetch_xor(value, Relaxed);
            }
            _ => {
                let value = self.value(place);
                self.words[place].store(value, Relaxed);
            }
        }
    }

    /// A record with a likely stamp where the receiver will look next.
    fn forge(&mut self) {
        if !self.targets.iter().any(|target| matches!(target, Target::Records | Target::Payload)) {
            return;
        }
        let lane = self.some_lane();
        let control = self.map.control(lane);
        let at = self.words[control + [0, 48][self.below(2)]].load(Relaxed) / 8;
        let random = self.random.below(u64::MAX);
        let stamp = self.words[STAMPS].load(Relaxed).wrapping_sub(self.random.below(10));
        let (head, next) = (self.in_lane(lane, at), self.in_lane(lane, at.wrapping_add(1)));
        self.words[next].store(stamp, Relaxed);
        self.words[head].store(self.record(random), Relaxed);
    }

    fn run(&mut self, board: &CrowdBoard) {
        thread::sleep(Duration::from_micros(self.random.below(20_000)));
        while board.calm.load(Acquire) == 0 {
            let count = if self.pause.is_some() { 1 + self.random.below(30) } else { 256 };
            (0..count).for_each(|_| self.strike());
            board.blows.fetch_add(count, Relaxed);
            if let Some(pause) = self.pause {
                thread::sleep(pause);
            }
        }
    }
}

/// Kinds of channels, in turn.
pub(crate) fn shape(turn: u64, random: &mut Random) -> (Builder, usize, usize) {
    let (builder, senders) = match turn % 3 {
        0 => (spsc(), 1),
        1 => (mpsc().senders(SENDERS as u32 + 2), SENDERS),
        _ => (mpsc().senders(SENDERS as u32 + 2).order(Order::PerSender), SENDERS),
    };
    let capacity = [4096, 4096, 16_384, 65_536][random.below(4) as usize];
    let wait =
        [WaitStrategy::Spin, WaitStrategy::SpinThenSleep, WaitStrategy::SpinThenSleep, WaitStrategy::Sleep];
    let fence = if random.below(3) == 0 { Fence::Real } else { Fence::Auto };
    let persistent = random.below(3) > 0;
    let builder = builder.capacity(capacity).wait(wait[random.below(4) as usize]);
    (builder.fence(fence).persistent(persistent), senders, capacity as usize)
}

fn scribbler() {
    let seed = seed();
    let (board, clock, started) = (Board::<CrowdBoard>::new(), Clock::new(), Instant::now());
    let (mut anywhere, mut confined) = (Totals::default(), Totals::default());
    let time = if is_long() { LONG_TIME } else { SHORT_TIME };
    for turn in 0.. {
        if started.elapsed() >= time {
            break;
        }
        let seed = mix(seed ^ turn << 32);
        let mut random = Random::new(seed);
        let in_one_lane = turn % 5 == 1 || turn % 5 == 2;
        let (builder, senders, capacity) = shape(if in_one_lane { 1 + turn % 2 } else { turn }, &mut random);
        let lane = random.below(SENDERS as u64) as u32;
        let (only, excused) = if in_one_lane { (Some(lane), EXCUSED_IN_ONE_LANE) } else { (None, EXCUSED) };
        let content = only.map_or(Content::Any, |lane| Content::AllBut(Some(lane)));
        let plain = !in_one_lane && random.below(4) == 0;
        let lanes = if senders == 1 { 1 } else { SENDERS + 2 };
        let round = Round { builder, senders, plain, content, excused, seed };
        let mut crowd = Crowd::start(&board, clock, &round, |id| {
            let map = Map { senders: lanes, capacity };
            Scribbler::new(id, map, only.map(|lane| lane as usize), Random::new(!seed)).run(&board);
        });
        crowd.run(Duration::from_millis(50 + random.below(250)), SILENCE);
        crowd.calm();
        crowd.stop();
        crowd.end(if in_one_lane { &mut confined } else { &mut anywhere });
    }
    for (place, totals) in [("anywhere", &anywhere), ("in one lane", &confined)] {
        println!(
            "scribbled {place}: {} writes in {} channels, {} messages received ({} strange) in {} calls; errors: {}; \
             {} sets beyond one; {}",
            grouped(totals.blows),
            grouped(totals.rounds),
            grouped(totals.received),
            grouped(totals.strange),
            grouped(totals.calls),
            totals.errors(),
            grouped(totals.sets),
            totals.limits(),
        );
        check_memory(totals, 8 << 16);
    }
    // Where there was time for enough of them, some have hit.
    for totals in [anywhere, confined] {
        assert!(totals.rounds < 5 || totals.count("Corrupt") > 0, "seed {seed}: nothing was hit");
    }
}

/// A channel for four senders with lanes of a page each, and its words.
fn small(order: Order) -> (Name, Channel, Words, Map) {
    let name = Name::new();
    let channel = mpsc().senders(4).capacity(4096).order(order).create(&name).expect("create");
    let words = Words::attach(channel.id());
    (name, channel, words, Map { senders: 4, capacity: 4096 })
}

/// The words of one lane must not keep a receiver from the others. The number of the receiver's takeovers did: any other
/// number than its own was taken for a successor's, and the receiver was `Evicted` for good.
fn a_word_of_one_lane_does_not_evict_the_receiver() {
    for order in [Order::Total, Order::PerSender] {
        let (_name, channel, words, map) = small(order);
        let (mut hit, mut well) = (channel.sender().expect("a seat"), channel.sender().expect("a seat"));
        let mut receiver = channel.receiver().expect("a seat");
        hit.send("a").expect("send");
        well.send("b").expect("send");
        assert_eq!(receiver.recv_vec().expect("a message"), b"a");
        assert_eq!(receiver.recv_vec().expect("a message"), b"b");
        words.words[map.control(0) + 52].fetch_add(1, Relaxed);
        let mut damaged = 0;
        for number in 0..1000_u32 {
            let _ = hit.try_send("a");
            well.send(number.to_le_bytes()).expect("send");
            loop {
                match receiver.try_recv_vec() {
                    Ok(bytes) if bytes == number.to_le_bytes() => break,
                    Ok(bytes) => assert_eq!(bytes, b"a"),
                    Err(TryRecvError::Failed(RecvError::Corrupt(Corruption { lane: 0, .. }))) => damaged += 1,
                    Err(error) => panic!("{number}: {error}"),
                }
            }
        }
        assert_eq!(damaged, 1);
        let fault = (0..1000).find_map(|_| match hit.try_send([0; 100]) {
            Err(TrySendError::Failed(error)) => Some(error.fault().clone()),
            _ => None,
        });
        assert!(matches!(fault, Some(Fault::Corrupt(Corruption { lane: 0, .. }))), "{fault:?}");
    }
}

/// A record where the terminator was shows what is left of the last lap. In total order that has the smallest stamps of
/// all, and so it was received again and again, for ever, and nothing else.
fn a_lost_terminator_starves_nobody() {
    let (_name, channel, words, map) = small(Order::Total);
    let (mut hit, mut well) = (channel.sender().expect("a seat"), channel.sender().expect("a seat"));
    let mut receiver = channel.receiver().expect("a seat");
    // Records of 64 bytes, a lap and a half of them.
    for number in 0..96_u64 {
        hit.send([number as u8; 48]).expect("send");
        receiver.recv_vec().expect("a message");
    }
    let at = words.words[map.control(0)].load(Relaxed) / 8 % (4096 / 8);
    let lane = &words.words[map.lane(0)];
    lane[at as usize + 1].store(words.words[STAMPS].load(Relaxed) - 1, Relaxed);
    lane[at as usize].store(DATA | 49, Relaxed);
    well.send("through").expect("send");
    let (mut strange, mut damaged) = (0, 0);
    loop {
        match receiver.try_recv_vec() {
            Ok(bytes) if bytes == b"through" => break,
            Ok(_) => strange += 1,
            Err(TryRecvError::Failed(RecvError::Corrupt(Corruption { lane: 0, .. }))) => damaged += 1,
            Err(error) => panic!("{error}"),
        }
        assert!(strange <= 64, "more than a lap of what was received before");
    }
    assert_eq!(damaged, 1);
}

/// Two that wrote in one lane left a terminator on what was published: the receiver found that lane empty for ever, and
/// its sender waited for room for ever.
fn a_lane_that_is_cut_off_is_given_up() {
    for order in [None, Some(Order::Total), Some(Order::PerSender)] {
        for successor in [false, true] {
            let name = Name::new();
            let builder = order.map_or_else(spsc, |order| mpsc().senders(4).order(order)).capacity(4096);
            let channel = builder.create(&name).expect("create");
            let words = Words::attach(channel.id());
            let map = Map { senders: order.map_or(1, |_| 4), capacity: 4096 };
            let (mut sender, mut receiver) =
                (channel.sender().expect("a seat"), channel.receiver().expect("a seat"));
            for text in ["a", "b", "c"] {
                sender.send(text).expect("send");
            }
            assert_eq!(receiver.recv_vec().expect("a message"), b"a");
            let read = words.words[map.control(0) + 48].load(Relaxed);
            words.words[map.lane(0)][read as usize / 8].store(0, Relaxed);
            if successor {
                drop(receiver);
                receiver = channel.receiver().expect("a seat");
            }
            let started = Instant::now();
            let error = loop {
                match receiver.try_recv_vec() {
                    Err(TryRecvError::Empty) => {
                        assert!(started.elapsed() < Duration::from_secs(20), "{order:?}")
                    }
                    other => break other.expect_err("nothing can be received"),
                }
                thread::sleep(Duration::from_millis(1));
            };
            assert!(
                matches!(
                    error,
                    TryRecvError::Failed(RecvError::Corrupt(Corruption { lane: 0, position })) if position == read
                ),
                "{order:?}: {error}"
            );
            // The sender is told instead of waiting for room, and others go on where there are others.
            let fault = loop {
                match sender.send_timeout([0; 100], Duration::from_secs(20)) {
                    Ok(()) => {}
                    Err(SendTimeoutError::Failed(error)) => break error.fault().clone(),
                    Err(error) => panic!("{order:?}: {error}"),
                }
            };
            assert!(matches!(fault, Fault::Corrupt(Corruption { lane: 0, .. })), "{order:?}: {fault}");
            drop(sender);
            match channel.sender() {
                Ok(mut other) => {
                    other.send("d").expect("send");
                    assert_eq!(receiver.recv_vec().expect("a message"), b"d");
                }
                Err(error) => assert!(order.is_none() && error.kind() == OpenErrorKind::Corrupt, "{error}"),
            }
        }
    }
}

/// Time that this process has had the processor.
fn processor_time() -> Duration {
    // SAFETY: integers only, for which zero is a value.
    let mut time: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: a struct of ours for the kernel to write.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Generations grow, but whoever writes into the header writes those too. A handle that had seen a greater one never
/// followed to the set that was made next: each of its calls that asked the kernel failed with `EAGAIN`, for good.
fn a_generation_that_goes_back_is_followed() {
    let (name, _channel, words, _) = small(Order::Total);
    // It spends no time on looking before it sleeps.
    let mut receiver = mpsc().wait(WaitStrategy::Sleep).receiver(&name).expect("a seat");
    let mut sender = mpsc().sender(&name).expect("a seat");
    let set = words.set();
    words.words[SET].store(1000 << 32 | u64::from(set.cast_unsigned()), Relaxed);
    words.words[NOTICE].store(1000, Relaxed);
    assert!(receiver.try_recv().expect_err("nothing is there").is_empty()); // it has seen the number
    words.words[SET].store(5 << 32 | u64::from(set.cast_unsigned()), Relaxed);
    remove_set(set);
    let before = processor_time();
    for _ in 0..3 {
        assert!(
            receiver.recv_timeout(Duration::from_millis(200)).expect_err("nothing is there").is_timeout()
        );
    }
    let spent = processor_time() - before;
    assert!(spent < Duration::from_millis(150), "{spent:?} of the processor's time in 600 ms of sleep");
    assert!(receiver.is_connected() && sender.is_connected());
    sender.send("a").expect("send");
    assert_eq!(receiver.recv_vec().expect("a message"), b"a");
}

/// Whoever found no set in the header made one, though the one that everybody used was there: a new one each time, and
/// half of the channel slept on another set than the rest.
fn a_damaged_set_word_is_mended() {
    let sets = || objects().iter().filter(|object| matches!(object, Object::Set { .. })).count();
    let before = sets();
    let (_name, channel, words, _) = small(Order::Total);
    let (mut sender, mut receiver) = (channel.sender().expect("a seat"), channel.receiver().expect("a seat"));
    let word = words.words[SET].load(Relaxed);
    for number in 1..100_u64 {
        words.words[SET].store(mix(number) >> 1, Relaxed);
        words.words[NOTICE].store(number + 1, Relaxed);
        assert!(receiver.try_recv().expect_err("nothing is there").is_empty());
        assert_eq!(words.words[SET].load(Relaxed), word, "round {number}");
        sender.send("a").expect("send");
        assert_eq!(receiver.recv_vec().expect("a message"), b"a");
    }
    assert_eq!(sets(), before + 1);
}

/// Whoever left a seat whose entry bore another claim took it for somebody else's: it stayed taken as long as that
/// process lived, and after a few such handles all seats were.
fn a_seat_with_a_damaged_claim_falls_free() {
    let (_name, channel, words, _) = small(Order::Total);
    for value in [1, u64::MAX, 77 << 50 | 1, 1 << 50] {
        for round in 0..5 {
            let sender =
                channel.sender().unwrap_or_else(|error| panic!("{value:#x}, round {round}: {error}"));
            assert_eq!(sender.lane(), Some(0), "{value:#x}, round {round}");
            words.words[SEATS + 8].store(value, Relaxed);
            drop(sender);
            assert_eq!(words.words[SEATS + 8].load(Relaxed), 0);
        }
    }
}
