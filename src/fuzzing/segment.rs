//! A segment in which a stranger writes.

use std::cell::RefCell;

use super::Input;
use super::stage::{self, Choice, Owner, PATTERN, Stage};
use crate::channel::{Address, collect};
use crate::lane::{self, Consumer, Found, Look, Producer, Room};
use crate::merge::{self, Merge, Next, Rule};
use crate::segment::lane_view::{LaneMap, LaneView};
use crate::segment::set::Set;
use crate::segment::view::{Unready, View, probe};
use crate::sync::{AtomicU64, Ordering};

/// Operations of one input.
const MOST: u32 = 200;

/// Bytes behind a buffer's end that nobody may touch.
const GUARD: usize = 16;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; (16 << 10) + GUARD]);
}

/// The bytes say what is written into a segment before it is opened, and then which operations follow, with more such
/// words in between.
pub fn segment(data: &[u8]) {
    let mut input = Input { rest: data };
    let choice = Choice::new(input.byte(), input.byte());
    stage::play(&choice, |stage| {
        for _ in 0..input.byte() % 32 {
            write(stage, &mut input);
        }
        match View::open(stage.region.clone()) {
            Ok(view) => {
                check_view(&view, stage);
                Play::new(&view, stage).run(&mut input);
            }
            Err(why) => check_refusal(&why, stage),
        }
        stage.check_end();
    });
}

/// Writes some word to some place; says whose it was.
fn write(stage: &Stage, input: &mut Input<'_>) -> Owner {
    let selector = input.byte();
    let (place, owner) = stage.place(selector, input.number());
    let word = stage.region.word(place);
    let value = value(stage, word.load(Ordering::Relaxed), input);
    word.store(value, Ordering::Relaxed);
    owner
}

/// A word that makes sense somewhere, nearly does, or does not.
pub(super) fn value(stage: &Stage, before: u64, input: &mut Input<'_>) -> u64 {
    match input.below(12) {
        0 => input.word(),
        1 => lane::data(input.number()),
        2 => lane::padding(input.number() * 8 + 8),
        3 => input.number() * 8,
        4 => u64::from(input.byte()),
        5 => 0_u64.wrapping_sub(input.number() + 1),
        6 => (1_u64 << input.below(64)).wrapping_sub(u64::from(input.byte() % 4)),
        7 => (1_u64 << input.below(64)).wrapping_add(input.number()),
        8 => before.wrapping_add(input.number()),
        9 => before.wrapping_sub(input.number()),
        // One bit more or less.
        10 => before ^ 1 << input.below(64),
        _ => {
            let (place, _) = stage.place(input.byte(), input.number());
            stage.region.word(place).load(Ordering::Relaxed)
        }
    }
}

/// What a view says was checked against what the kernel says.
fn check_view(view: &View, stage: &Stage) {
    let shape = view.geometry();
    assert_eq!(shape.total(), stage.region.len());
    assert!(view.max_message() <= shape.largest_message());
    assert!(!view.is_spsc() || shape.senders() == 1);
    let name = view.name();
    assert!(name.is_empty() || Address::name(name).target().is_ok(), "{name:?} is no name");
    if let Some(set) = view.set() {
        assert_eq!(Set::from_word(set.word()), Some(set));
        let aside = set.aside();
        assert!(Set::from_word(aside.word()) == Some(aside) && aside.put_aside().is_some() == (set.id >= 0));
    }
}

fn check_refusal(why: &Unready, stage: &Stage) {
    let text = match why {
        Unready::HalfMade | Unready::Abandoned => return assert_eq!(probe(&stage.region).as_ref(), Err(why)),
        Unready::Foreign(text) | Unready::Damaged(text) => text,
    };
    assert!(!text.contains(char::is_control), "{text:?}");
}

/// Both sides of a channel whose words may be anything.
struct Play<'a> {
    view: &'a View,
    stage: &'a Stage,
    rule: Rule,
    merge: Option<Merge<LaneMap>>,
    producers: Vec<Option<Producer<LaneMap>>>,
    /// Records taken and not released, by lane.
    taken: Vec<u32>,
    /// Where this receiver met damage.
    met: Vec<Option<u64>>,
    /// The same of all receivers since anybody wrote into the lane's control words.
    noted: Vec<Option<u64>>,
    pictures: u32,
}

impl<'a> Play<'a> {
    fn new(view: &'a View, stage: &'a Stage) -> Play<'a> {
        let rule = match () {
            () if view.is_spsc() => Rule::Single,
            () if view.is_stamped() => Rule::Total,
            () => Rule::PerSender,
        };
        let senders = view.geometry().senders() as usize;
        Play {
            view,
            stage,
            rule,
            merge: None,
            producers: (0..senders).map(|_| None).collect(),
            taken: vec![0; senders],
            met: vec![None; senders],
            noted: vec![None; senders],
            pictures: 0,
        }
    }

    fn run(mut self, input: &mut Input<'_>) {
        for _ in 0..MOST {
            if input.is_empty() {
                break;
            }
            self.step(input);
        }
        // What is left, and then the whole once more for the next receiver.
        for _ in 0..2 {
            for _ in 0..16 {
                if !self.take(true) {
                    break;
                }
                self.release_all();
            }
            self.attach_receiver();
        }
    }

    fn stamps(&self) -> &'a AtomicU64 {
        &self.view.header().stamps.word
    }

    fn shared(&self) -> merge::Shared<'a> {
        let header = self.view.header();
        merge::Shared { stamps: &header.stamps.word, bitmap: &header.bitmap }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let max = self.view.max_message();
        let lane = input.below(self.producers.len() as u32);
        match input.byte() % 16 {
            0..=2 => {
                if let Owner::Lane(lane) = write(self.stage, input) {
                    self.noted[lane as usize] = None;
                }
            }
            3 => self.attach_receiver(),
            4 => self.attach_sender(lane),
            5 => {
                let look = if input.byte() & 1 == 0 { Look::Exact } else { Look::Batched };
                let length = input.length(max);
                let stamps = self.stamps();
                if let Some(producer) = &mut self.producers[lane as usize]
                    && let Room::Ready(room) = producer.reserve(length, look)
                {
                    let used = input.length(length);
                    producer.fill(&room, 0, &PATTERN[..used as usize]);
                    producer.commit(room, used, stamps);
                }
            }
            6 => {
                let length = input.length(max) as usize;
                let stamps = self.stamps();
                if let Some(producer) = &mut self.producers[lane as usize] {
                    for _ in 0..=input.byte() % 8 {
                        producer.send_at_once(&PATTERN[..length], stamps);
                    }
                    producer.depth();
                }
            }
            7 | 8 => {
                let give = input.byte() & 1 == 0;
                for _ in 0..=input.byte() % 8 {
                    if !self.take(give) {
                        break;
                    }
                }
            }
            9 => {
                if let Some(merge) = &mut self.merge
                    && let Some((lane, found)) = merge.take_at_once(&self.view.header().bitmap)
                {
                    self.check(lane, &found);
                }
            }
            10 => self.receive(input.length(2 * max) as usize),
            11 => self.release_all(),
            12 => {
                if let Some(merge) = &mut self.merge {
                    merge.rewind();
                    self.taken.fill(0);
                }
            }
            13 => {
                let mut free = u64::from(input.byte());
                if let Some(merge) = &mut self.merge {
                    merge.retire(&self.view.header().bitmap, |_| {
                        free = free.rotate_right(1);
                        free & 1 == 0
                    });
                }
            }
            14 => {
                if let Some(merge) = &self.merge {
                    assert_eq!(merge.lanes().iter().map(Consumer::depth).count(), self.taken.len());
                    merge.received();
                }
            }
            _ => self.look(),
        }
    }

    /// What an observer sees. A few system calls, so not too often.
    fn look(&mut self) {
        if self.pictures > 0 {
            return;
        }
        self.pictures += 1;
        let stats = collect(self.view, "stage").expect("the segment is there");
        assert_eq!(stats.size, self.stage.region.len());
        assert!(stats.lanes.len() <= stats.senders as usize);
        for lane in &stats.lanes {
            // What adds up to no more than fits the segment can be added by whoever shows it.
            assert!(lane.used <= stats.capacity && lane.messages <= lane.used / 8, "{lane:?}");
        }
    }

    /// As a receiver does it.
    fn attach_receiver(&mut self) {
        let (view, stamped) = (self.view, self.view.is_stamped());
        let consumers = (0..view.geometry().senders()).map(|lane| {
            let map = view.lane(lane);
            if self.rule != Rule::Single && map.control().producer.takeovers.load(Ordering::Acquire) != 0 {
                merge::show(&view.header().bitmap, lane);
            }
            Consumer::take_over(map, stamped, view.max_message())
        });
        self.merge = Some(Merge::new(consumers.collect(), self.rule));
        self.taken.fill(0);
        self.met = self.noted.clone();
    }

    /// As a sender does it.
    fn attach_sender(&mut self, lane: u32) {
        let producer = Producer::take_over(self.view.lane(lane), self.view.is_stamped());
        if producer.is_some() && self.rule != Rule::Single {
            merge::show(&self.view.header().bitmap, lane);
        }
        assert!(producer.is_none() || self.noted[lane as usize].is_none(), "a damaged lane was taken over");
        self.producers[lane as usize] = producer;
    }

    /// Takes the next message. False: there is none.
    fn take(&mut self, give: bool) -> bool {
        let shared = self.shared();
        let Some(merge) = &mut self.merge else { return false };
        match merge.next(shared) {
            Next::Empty => {
                // One lane is not left out: it stays damaged, whatever stands there by now.
                let at = merge.lane(0).released();
                let is_behind = self.rule == Rule::Single && self.met[0].is_some_and(|place| place <= at);
                assert!(!is_behind, "the damage at {:?} is forgotten at {at}", self.met[0]);
                false
            }
            Next::Corrupt(lane, place) => {
                assert_ne!(place, u64::MAX, "that stands for no damage");
                let before = self.met[lane as usize].replace(place);
                // Sticky: it may be met earlier where somebody has changed what lies in front, never later.
                assert!(before.is_none_or(|before| before >= place), "lane {lane}: {before:?}, then {place}");
                // Where a stranger has written, a successor may know another place.
                let shared = merge.lane(lane).lane().control().consumer.corrupt.load(Ordering::Relaxed);
                self.noted[lane as usize] = (shared == place.saturating_add(1)).then_some(place);
                self.rule != Rule::Single
            }
            Next::Record(lane, found) => {
                assert_eq!(merge.next(shared), Next::Record(lane, found), "not the same again");
                merge.pass(lane, &found);
                if give {
                    merge.give(lane);
                }
                self.check(lane, &found);
                true
            }
        }
    }

    /// A message that was taken may hold anything, but it lies where one can lie.
    fn check(&mut self, lane: u32, found: &Found) {
        let (capacity, length) = (self.view.geometry().capacity(), found.length as usize);
        assert!(found.length <= self.view.max_message());
        assert!(found.payload % capacity + found.length <= capacity);
        assert!(found.payload.is_multiple_of(8));
        let merge = self.merge.as_ref().expect("it found this");
        // Not more than one lap ahead, with the terminator behind it.
        let ahead = found.payload + found.length.next_multiple_of(8) + 8 - merge.lane(lane).released();
        assert!(ahead <= capacity, "{ahead} bytes ahead in a lane of {capacity}");
        let start = found.payload - lane::payload_offset(self.view.is_stamped());
        // What begins a lap may stand behind a padding, which begins earlier.
        let is_first = start.is_multiple_of(capacity);
        assert!(is_first || self.met[lane as usize].is_none_or(|place| start < place), "behind a damage");
        self.taken[lane as usize] += 1;
        assert!(u64::from(self.taken[lane as usize]) <= capacity / 8, "more than a lane holds");
        let map = merge.lane(lane).lane();
        with_buffer(length, |buffer| map.get(found.payload, 0, buffer));
        // The ways of in-place and vector calls.
        let part = length / 3;
        with_buffer(length - part, |buffer| map.get_at(found.payload, part, buffer));
        let mut appended = Vec::new();
        map.append(found.payload, length.min(64), &mut appended);
        assert_eq!(appended.len(), length.min(64));
    }

    /// The quick way. Only while nothing is unreleased.
    fn receive(&mut self, room: usize) {
        if self.taken.iter().any(|&count| count > 0) {
            return;
        }
        let bitmap = &self.view.header().bitmap;
        let Some(merge) = &mut self.merge else { return };
        let received = with_buffer(room, |buffer| merge.receive_at_once(bitmap, buffer));
        if let Some((lane, length)) = received {
            assert!(length <= room && length as u64 <= self.view.max_message());
            assert!(self.met[lane as usize].is_none_or(|place| merge.lane(lane).released() <= place));
        }
    }

    fn release_all(&mut self) {
        let Some(merge) = &mut self.merge else { return };
        for (lane, count) in self.taken.iter_mut().enumerate() {
            if *count > 0 {
                merge.release(lane as u32);
                *count = 0;
            }
        }
    }
}

/// Gives out a buffer of that length, and looks whether nothing was written behind it.
fn with_buffer<R>(length: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
    BUFFER.with_borrow_mut(|buffer| {
        let (part, guard) = buffer[..length + GUARD].split_at_mut(length);
        guard.fill(0xa5);
        let result = fill(part);
        assert!(guard.iter().all(|&byte| byte == 0xa5), "written behind a buffer of {length}");
        result
    })
}
