//! Segments to play on: made once for each thread, and given new contents for every input.

use std::cell::OnceCell;
use std::sync::Arc;

use crate::lane::{Look, Producer, Room};
use crate::merge::{self, Rule};
use crate::segment::lane_view::{LaneMap, LaneView};
use crate::segment::layout::{FLAG_PERSISTENT, FLAG_SPSC, FLAG_TOTAL, Geometry, PAGE, SIZE_MARK};
use crate::segment::region::Region;
use crate::segment::view::{Plan, View};
use crate::sync::Ordering;
use crate::sys::shm::{self, Access, IPC_CREAT, IPC_PRIVATE};

/// Lanes, and bytes of each.
const SHAPES: [(u64, u64); 5] = [(1, 4096), (2, 4096), (3, 4096), (1, 16 << 10), (5, 4096)];

/// Payloads are parts of this: no two parts of the same length and near each other are equal.
pub(super) static PATTERN: [u8; 64 << 10] = {
    let mut pattern = [0; 64 << 10];
    let (mut state, mut index) = (1_u64, 0);
    while index < pattern.len() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        pattern[index] = (state >> 56) as u8;
        index += 1;
    }
    pattern
};

/// The payload of message `number`.
pub(super) fn payload(number: u64, length: u64) -> &'static [u8] {
    let start = (number.wrapping_mul(131) % (PATTERN.len() as u64 - length)) as usize;
    &PATTERN[start..start + length as usize]
}

/// What a segment holds before anything is done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contents {
    /// Zeros: a channel that is being made.
    HalfMade,
    Fresh,
    /// Every lane was used, and is half full.
    HalfFull,
    /// Every lane has gone round twice and is nearly full.
    Wrapped,
    /// As [`Contents::HalfFull`], and the first lane is damaged.
    Damaged,
}

const CONTENTS: [Contents; 5] =
    [Contents::Fresh, Contents::HalfFull, Contents::Wrapped, Contents::Damaged, Contents::HalfMade];

/// One segment, which nobody else can find, and pictures of what it may hold.
pub(super) struct Stage {
    pub(super) region: Arc<Region>,
    pub(super) geometry: Geometry,
    /// By rule and contents.
    pictures: Vec<Vec<u8>>,
}

/// How the lanes of a stage are put in order.
const RULES: [Rule; 3] = [Rule::Total, Rule::PerSender, Rule::Single];

/// Of two bytes of an input, what they choose.
pub(super) struct Choice {
    shape: usize,
    picture: usize,
    pub(super) rule: Rule,
}

impl Choice {
    pub(super) fn new(shape: u8, contents: u8) -> Choice {
        let shape = shape as usize % SHAPES.len();
        // The rule for one lane needs one lane.
        let rules = if SHAPES[shape].0 == 1 { 3 } else { 2 };
        let rule = contents as usize % rules;
        let contents = contents as usize / rules % CONTENTS.len();
        Choice { shape, picture: rule * CONTENTS.len() + contents, rule: RULES[rule] }
    }

    /// The same with a channel in which nothing was sent yet.
    pub(super) fn fresh(self) -> Choice {
        Choice { picture: self.picture - self.picture % CONTENTS.len(), ..self }
    }
}

thread_local! {
    static STAGES: [OnceCell<Stage>; SHAPES.len()] = const { [const { OnceCell::new() }; SHAPES.len()] };
}

/// Plays on the stage of that choice, as its picture shows it.
pub(super) fn play<R>(choice: &Choice, act: impl FnOnce(&Stage) -> R) -> R {
    STAGES.with(|stages| {
        let stage = stages[choice.shape].get_or_init(|| Stage::new(SHAPES[choice.shape]));
        stage.region.put(0, &stage.pictures[choice.picture]);
        act(stage)
    })
}

impl Stage {
    fn new((senders, capacity): (u64, u64)) -> Stage {
        let geometry = Geometry::new(senders, capacity).expect("a possible shape");
        let id = shm::get(IPC_PRIVATE, geometry.total() as usize, IPC_CREAT | 0o600).expect("a segment");
        let attached = Region::attach(id, Access::ReadWrite);
        // It stays for as long as it is attached.
        shm::remove(id).expect("our own segment");
        let region = Arc::new(attached.expect("our own segment"));
        let mut stage = Stage { region, geometry, pictures: Vec::new() };
        for rule in RULES {
            for contents in CONTENTS {
                let picture = stage.picture(rule, contents);
                stage.pictures.push(picture);
            }
        }
        stage
    }

    fn picture(&self, rule: Rule, contents: Contents) -> Vec<u8> {
        let length = self.geometry.total() as usize;
        self.region.put(0, &vec![0; length]);
        if contents != Contents::HalfMade && (rule != Rule::Single || self.geometry.senders() == 1) {
            self.make(rule, contents);
        }
        let mut picture = vec![0; length];
        self.region.get(0, &mut picture);
        picture
    }

    fn make(&self, rule: Rule, contents: Contents) {
        let order = match rule {
            Rule::Total => FLAG_TOTAL,
            Rule::PerSender => 0,
            Rule::Single => FLAG_SPSC | FLAG_TOTAL,
        };
        let plan = Plan {
            geometry: self.geometry,
            flags: order | FLAG_PERSISTENT,
            max_message: self.geometry.largest_message(),
            name: "stage".into(),
            created: 1_700_000_000_000_000_000,
            creator: 1,
        };
        let view = View::create(Arc::clone(&self.region), plan).expect("nobody gives it up");
        let share = match contents {
            Contents::HalfMade | Contents::Fresh => return,
            Contents::HalfFull | Contents::Damaged => 1,
            Contents::Wrapped => 5,
        };
        for lane in 0..self.geometry.senders() {
            let mut producer = Producer::take_over(view.lane(lane), view.is_stamped()).expect("a fresh lane");
            merge::show(&view.header().bitmap, lane);
            let stamps = &view.header().stamps.word;
            let consumer = &view.lane(lane);
            let consumer = &consumer.control().consumer;
            let (mut sent, end) = (0, self.geometry.capacity() / 2 * share);
            while producer.lane().control().producer.tail.load(Ordering::Relaxed) < end {
                let length = sent * 13 % 100;
                match producer.reserve(length, Look::Exact) {
                    Room::Ready(room) => {
                        producer.fill(&room, 0, payload(sent, length));
                        producer.commit(room, length, stamps);
                        sent += 1;
                    }
                    // Everything so far was received.
                    _ => {
                        let tail = producer.lane().control().producer.tail.load(Ordering::Relaxed);
                        consumer.read.store(tail, Ordering::Relaxed);
                        consumer.given.store(tail, Ordering::Relaxed);
                        consumer.received.store(sent, Ordering::Relaxed);
                    }
                }
            }
        }
        if contents == Contents::Damaged {
            let damaged = view.lane(0);
            damaged.header(0).store(u64::MAX, Ordering::Relaxed);
            damaged.control().consumer.corrupt.store(1, Ordering::Relaxed);
        }
    }

    /// Bytes that anybody uses.
    pub(super) fn used(&self) -> u64 {
        self.geometry.total() - SIZE_MARK
    }

    /// Nobody of ours writes behind the last lane.
    pub(super) fn check_end(&self) {
        let mut end = [0xff; SIZE_MARK as usize];
        self.region.get(self.used(), &mut end);
        assert!(end == [0; SIZE_MARK as usize], "something was written behind the last lane");
    }

    /// Some place, and the lane whose place it is.
    pub(super) fn place(&self, selector: u8, number: u64) -> (u64, Owner) {
        let lane = (number as u32 >> 12) % self.geometry.senders();
        let within = |start: u64, length: u64| start + 8 * (number % (length / 8));
        match selector % 8 {
            0 => (within(0, 1024), Owner::Header),
            1 => (within(self.geometry.seat(0), 64 * u64::from(self.geometry.senders() + 1)), Owner::Header),
            // The words that have a meaning, of all lines.
            2..=4 => {
                let (line, word) = (number / 8 % 4, number % 5);
                (self.geometry.control(lane) + 128 * line + 8 * word, Owner::Lane(lane))
            }
            // The first words of the lane, and any.
            5 => (self.geometry.data(lane) + 8 * (number % 32), Owner::Lane(lane)),
            _ => (within(self.geometry.data(lane), self.geometry.capacity()), Owner::Lane(lane)),
        }
    }

    pub(super) fn lane(&self, lane: u32) -> LaneMap {
        LaneMap::new(&self.region, self.geometry, lane)
    }
}

/// Whose word it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Header,
    Lane(u32),
}

const _: () = assert!(SIZE_MARK.is_multiple_of(8) && PAGE.is_multiple_of(8));
