//! Mutated segments: a state, a mutation, and every operation on the result.
//!
//! A case is known by its number and the seed: its channel's state, what is written, and what is tried. First come
//! all words with all special values, in all states, in an order that the seed chooses; every fifth case is random
//! or changes several words at once. In one half of the cases newcomers meet what was written; in the other it is
//! written under handles that have used the channel, some of them with a message, a batch or a slot in their hands.
//!
//! Two worker processes run the cases, each in an IPC namespace of its own; their parent watches that they go on.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use sysring::{Channel, OpenErrorKind, Receiver, Sender};

use crate::kernel;
use crate::layout::{self, Place, places};
use crate::message::{Random, mix};
use crate::mutation::{CLASSES, Mutation, STRUCTURED, VALUES};
use crate::operations::{NEWCOMERS, RECEIVINGS, REMOVING, SENDINGS, Scene, check_open, drain};
use crate::process::{self, Child, End, fork, shared_words};
use crate::runner::{is_long, seed, tests};
use crate::state::{Instance, SHAPES, STATES, Shape, Snapshot, State};

tests![mutated_segments];

const SHORT_CASES: u64 = 200_000;
const LONG_CASES: u64 = 10_000_000;
const WORKERS: u64 = 2;
/// A worker takes so many cases at a time.
const BLOCK: u64 = 256;
/// A case that takes longer hangs. Calls that do not wait take microseconds; a half-made channel is left 200 ms.
const HANG: Duration = Duration::from_secs(10);
/// No single allocation is larger: channels here have 4 KiB lanes.
const LARGEST_ALLOCATION: usize = 1 << 20;

const OPERATIONS: usize = NEWCOMERS.len() + SENDINGS.len() + RECEIVINGS.len() + 1;
/// The last operation is the account of the other lanes.
const DRAIN: usize = OPERATIONS - 1;
const WAYS: [&str; 2] = ["before opening", "under handles"];

/// What a case is.
#[derive(Clone, Copy, Debug)]
struct Case {
    shape: usize,
    state: State,
    mutation: Mutation,
    /// Under handles that have been used; else before anybody comes.
    warm: bool,
    /// Lane-local changes only: the other lanes are counted.
    counted: bool,
    may_wait: bool,
    random: u64,
}

/// Every word of every shape, with every value, in every state. A block of cases has one shape.
#[derive(Debug)]
struct Plan {
    seed: u64,
    /// Which shape the blocks have, in turn: the larger, the more often.
    turns: Vec<usize>,
    shapes: Vec<Words>,
}

/// The words of one shape.
#[derive(Debug)]
struct Words {
    places: Vec<Place>,
    /// Words, values and states.
    combinations: u64,
    /// The next combination: a step without a common factor goes through all of them.
    step: u64,
    /// Blocks of this shape in a round of turns.
    blocks: u64,
}

impl Plan {
    fn new(seed: u64) -> Plan {
        let mut turns = Vec::new();
        let mut shapes = Vec::new();
        for (number, shape) in SHAPES.iter().enumerate() {
            let places = places(shape.map);
            let states = if shape.anonymous { 1 } else { STATES.len() };
            let combinations = (places.len() * VALUES * states) as u64;
            let mut step = combinations / 3 + mix(seed) % (combinations / 3);
            while common_factor(step, combinations) != 1 {
                step += 1;
            }
            let blocks = combinations.div_ceil(10_000);
            turns.extend(std::iter::repeat_n(number, blocks as usize));
            shapes.push(Words { places, combinations, step, blocks });
        }
        Plan { seed, turns, shapes }
    }

    fn combinations(&self) -> u64 {
        self.shapes.iter().map(|words| words.combinations).sum()
    }

    /// Where block `block` stands in its round: at least 2 of 3 blocks from its neighbours, so that few cases have
    /// them all.
    fn turn(&self, block: u64) -> (u64, usize) {
        let count = self.turns.len() as u64;
        let mut step = count / 2 + 1;
        while common_factor(step, count) != 1 {
            step += 1;
        }
        (block / count, (block % count * step % count) as usize)
    }

    fn case(&self, index: u64) -> Case {
        let mut random = Random::new(self.seed ^ mix(index));
        let (round, turn) = self.turn(index / BLOCK);
        let shape = self.turns[turn];
        let words = &self.shapes[shape];
        let (mut state, mutation);
        if index.is_multiple_of(5) {
            state = STATES[random.below(STATES.len() as u64) as usize];
            mutation = match random.below(5) {
                0 => Mutation::Random(1 << random.below(6)),
                _ => Mutation::Structured(random.below(STRUCTURED.len() as u64) as usize),
            };
        } else {
            let first = self.turns.iter().position(|&other| other == shape).expect("it has a turn");
            let block = round * words.blocks + (turn - first) as u64;
            // Those of the other fifths leave out no number.
            let number = block * BLOCK + index % BLOCK;
            let number = (number - number / 5).wrapping_mul(words.step) % words.combinations;
            let (rest, value) = (number / VALUES as u64, number % VALUES as u64);
            let places = words.places.len() as u64;
            state = STATES[(rest / places) as usize];
            mutation = Mutation::Word(words.places[(rest % places) as usize], value as usize);
        }
        let anonymous = SHAPES[shape].anonymous;
        if anonymous {
            state = State::Fresh;
        } else if state.is_condemned() && matches!(mutation.class(), 1..=3) {
            state = State::Interleaved; // of what is to be removed anyway, nothing but the header counts
        }
        // By this word a receiver knows that another has the seat: it does nothing more, in any lane.
        let is_eviction =
            matches!(mutation, Mutation::Word(Place::Control(_, layout::RECEIVER_TAKEOVERS), _));
        Case {
            shape,
            state,
            mutation,
            warm: anonymous || random.below(2) == 0,
            counted: mutation.lane().is_some() && !is_eviction && state.is_usable() && random.below(3) == 0,
            may_wait: random.below(1000) == 0,
            random: random.below(u64::MAX),
        }
    }

    fn describe(&self, index: u64) -> String {
        let case = self.case(index);
        let what = match case.mutation {
            Mutation::Structured(kind) => STRUCTURED[kind].0.to_owned(),
            other => format!("{other:?}"),
        };
        let way = WAYS[usize::from(case.warm)];
        format!(
            "case {index} of seed {}: {} {:?}, {way}: {what}{}; repeat it with SYSRING_SEED={} SYSRING_CASE={index}",
            self.seed,
            SHAPES[case.shape].name,
            case.state,
            if case.counted { ", the other lanes counted" } else { "" },
            self.seed
        )
    }
}

fn common_factor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { common_factor(b, a % b) }
}

/// Words that the workers share with their watcher.
#[derive(Clone, Copy, Debug)]
struct Board {
    words: &'static [AtomicU64],
}

const NEXT: usize = 0;
/// For each worker: 1 + the case it is at, and when it began, in nanoseconds of the watcher's clock.
const AT: usize = 8;
const PER_WORKER: usize = 8;
const ACCOUNTS: usize = AT + PER_WORKER * WORKERS as usize;
/// Behind the table of operations.
const SUMS: usize = ACCOUNTS + OPERATIONS * CLASSES.len() * WAYS.len();
const CASES: usize = SUMS;
const DAMAGES: usize = SUMS + 1;
const COUNTED: usize = SUMS + 2;
const MADE: usize = SUMS + 3;
const LONGEST: usize = SUMS + 4;
const LARGEST: usize = SUMS + 5;
const TIME: usize = SUMS + 6;

impl Board {
    fn note(&self, operation: usize, case: &Case) {
        let place = (operation * CLASSES.len() + case.mutation.class()) * WAYS.len() + usize::from(case.warm);
        self.words[ACCOUNTS + place].fetch_add(1, Relaxed);
    }

    fn add(&self, word: usize, by: u64) {
        self.words[word].fetch_add(by, Relaxed);
    }

    fn get(&self, word: usize) -> u64 {
        self.words[word].load(Relaxed)
    }
}

fn mutated_segments() {
    let plan = Plan::new(seed());
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let cases = number("SYSRING_CASES").unwrap_or(if is_long() { LONG_CASES } else { SHORT_CASES });
    let (first, end) = number("SYSRING_CASE").map_or((0, cases), |only| (only, only + 1));
    let board = Board { words: shared_words(SUMS + 16) };
    board.add(NEXT, first);
    let started = Instant::now();
    let workers: Vec<Child> =
        (0..WORKERS).map(|who| fork(|| Worker::new(&plan, board, who as usize, started).run(end))).collect();
    watch(&plan, board, &workers, started);

    let table = |operation: usize| -> Vec<u64> {
        let row = ACCOUNTS + operation * CLASSES.len() * WAYS.len();
        (row..row + CLASSES.len() * WAYS.len()).map(|word| board.get(word)).collect()
    };
    println!(
        "mutants: {} cases of {} shapes in {} states, {} words and values, {} operations; each met every kind of \
         mutation ({} kinds, {} ways) at least {} times; {} cases with the other lanes counted, {} damages reported in \
         them; largest allocation {} bytes, longest case {:.1} ms, {} channels made, {:.0} s of processor time",
        board.get(CASES),
        SHAPES.len(),
        STATES.len(),
        plan.combinations(),
        OPERATIONS,
        CLASSES.len(),
        WAYS.len(),
        (0..OPERATIONS).flat_map(|operation| expected(operation, table(operation))).min().unwrap_or(0),
        board.get(COUNTED),
        board.get(DAMAGES),
        board.get(LARGEST),
        board.get(LONGEST) as f64 / 1e6,
        board.get(MADE),
        board.get(TIME) as f64 / 1e6,
    );
    if end - first >= SHORT_CASES {
        for (operation, name) in names().into_iter().enumerate() {
            let row = expected(operation, table(operation));
            assert!(row.iter().all(|&count| count > 0), "{name}: {row:?}");
        }
    }
}

/// Counts that must not be 0: nothing but changes in one lane has other lanes to count.
fn expected(operation: usize, row: Vec<u64>) -> Vec<u64> {
    if operation == DRAIN { row[2..8].to_vec() } else { row }
}

fn names() -> Vec<&'static str> {
    let newcomers = NEWCOMERS.iter().map(|(name, _)| *name);
    let sendings = SENDINGS.iter().map(|(name, _)| *name);
    let receivings = RECEIVINGS.iter().map(|(name, _)| *name);
    newcomers.chain(sendings).chain(receivings).chain(["drain"]).collect()
}

/// Until all workers have ended well.
fn watch(plan: &Plan, board: Board, workers: &[Child], started: Instant) {
    let mut left: Vec<usize> = (0..workers.len()).collect();
    while !left.is_empty() {
        process::pause(20);
        left.retain(|&who| {
            let slot = AT + PER_WORKER * who;
            let at = board.get(slot);
            let recipe = || if at == 0 { "between two cases".into() } else { plan.describe(at - 1) };
            match workers[who].try_wait() {
                Some(End::Exit(0)) => return false,
                Some(end) => panic!("{end:?} in {}", recipe()),
                None => {}
            }
            let since = started.elapsed().saturating_sub(Duration::from_nanos(board.get(slot + 1)));
            assert!(at == 0 || since < HANG || board.get(slot) != at, "no end of {}", recipe());
            true
        });
    }
}

/// A process that runs cases.
struct Worker<'a> {
    plan: &'a Plan,
    board: Board,
    slot: usize,
    started: Instant,
    /// Of each shape, once it was needed.
    snapshots: Vec<Vec<Snapshot>>,
    /// The channel of this block, and its shape.
    present: Option<(usize, Instance)>,
    /// A channel that no case changes.
    other: Instance,
    other_values: Option<Vec<u16>>,
    stranger: i32,
    buffer: Vec<u8>,
}

impl<'a> Worker<'a> {
    fn new(plan: &'a Plan, board: Board, who: usize, started: Instant) -> Worker<'a> {
        // Collectors and lists see nothing but what belongs to the case.
        assert!(process::own_ipc_namespace() || !process::is_root(), "no IPC namespace");
        let other = Instance::new(Shape { name: "other", ..SHAPES[0] });
        Worker {
            plan,
            board,
            slot: AT + PER_WORKER * who,
            started,
            snapshots: vec![Vec::new(); SHAPES.len()],
            present: None,
            other_values: other.values(),
            other,
            stranger: kernel::make_set(8),
            buffer: Vec::new(),
        }
    }

    fn run(&mut self, end: u64) {
        loop {
            let first = self.board.words[NEXT].fetch_add(BLOCK, Relaxed);
            for index in first..end.min(first.saturating_add(BLOCK)) {
                self.begin(index);
                self.case(index);
                self.finish();
            }
            if first >= end {
                break;
            }
        }
        if let Some((_, mut instance)) = self.present.take() {
            instance.clear();
        }
        self.other.clear();
        kernel::remove_set(self.stranger);
        self.board.add(TIME, kernel::processor_time());
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    fn begin(&self, index: u64) {
        self.board.words[self.slot + 1].store(self.now(), Relaxed);
        self.board.words[self.slot].store(index + 1, Relaxed);
        kernel::largest_allocation();
    }

    fn finish(&self) {
        let largest = kernel::largest_allocation();
        assert!(largest <= LARGEST_ALLOCATION, "an allocation of {largest} bytes");
        self.board.words[LARGEST].fetch_max(largest as u64, Relaxed);
        let taken = self.now() - self.board.get(self.slot + 1);
        self.board.words[LONGEST].fetch_max(taken, Relaxed);
        self.board.add(CASES, 1);
        self.board.words[self.slot].store(0, Relaxed);
    }

    fn case(&mut self, index: u64) {
        let case = self.plan.case(index);
        self.sweep();
        self.prepare(case.shape);
        let (_, instance) = self.present.as_mut().expect("prepared");
        let others = [self.stranger, self.other.set];
        let snapshot = &self.snapshots[case.shape][case.state as usize];
        instance.restore(snapshot);
        let mut pair = instance.pair.take();
        let mut scene = Scene {
            instance,
            random: Random::new(case.random),
            mutation: case.mutation,
            pending: true,
            others,
            may_wait: case.may_wait,
            buffer: &mut self.buffer,
        };
        let run = Run { case: &case, board: self.board, snapshot };
        match (&mut pair, case.warm) {
            (Some((sender, receiver)), _) => run.anonymous(&mut scene, sender, receiver),
            (None, _) if case.counted => run.counted(&mut scene),
            (None, true) => run.warm(&mut scene),
            (None, false) => run.before(&mut scene),
        }
        drop(pair);
        // Named or not in the header, what belongs to others is not touched.
        assert_eq!(kernel::values(self.stranger, 8), Some(vec![0; 8]), "the stranger's set");
        assert_eq!(self.other.values(), self.other_values, "another channel's set");
    }

    /// The channel of that shape, whole.
    fn prepare(&mut self, shape: usize) {
        if let Some((_, mut instance)) = self.present.take_if(|(other, _)| *other != shape) {
            instance.clear();
        }
        let (_, instance) = self.present.get_or_insert_with(|| (shape, Instance::new(SHAPES[shape])));
        let before = instance.id;
        if self.snapshots[shape].is_empty() {
            let states = STATES.iter().filter(|state| !SHAPES[shape].anonymous || **state == State::Fresh);
            self.snapshots[shape] = states.map(|&state| instance.snapshot(state)).collect();
        }
        instance.prepare();
        self.board.add(MADE, u64::from(instance.id != before));
    }

    /// Removes what the last case has made.
    fn sweep(&self) {
        let channels = || self.present.iter().map(|(_, instance)| instance).chain([&self.other]);
        let count = channels().count() as i32;
        if kernel::count_sets() > count + 1 {
            let known = |id: &i32| *id == self.stranger || channels().any(|one| one.set == *id);
            kernel::ids("sem").into_iter().filter(|id| !known(id)).for_each(kernel::remove_set);
        }
        if kernel::count_segments() > count {
            let known = |id: &i32| channels().any(|one| one.id == *id);
            for id in kernel::ids("shm").into_iter().filter(|id| !known(id)) {
                let _ = sysring::segment::Segment::from_id(id).remove();
            }
        }
    }
}

/// What is tried in one case.
struct Run<'a> {
    case: &'a Case,
    board: Board,
    snapshot: &'a Snapshot,
}

impl Run<'_> {
    fn newcomer(&self, scene: &mut Scene<'_>) {
        let mut number = scene.random.below(NEWCOMERS.len() as u64) as usize;
        if number >= REMOVING && scene.random.below(4) != 0 {
            number = scene.random.below(REMOVING as u64) as usize; // the channel must be made anew: seldom
        }
        self.board.note(number, self.case);
        NEWCOMERS[number].1(scene);
        if !scene.instance.is_attached() && scene.instance.segment().stat().is_ok() {
            scene.instance.attach();
        }
    }

    fn sending(&self, scene: &mut Scene<'_>, sender: &mut Sender) {
        let number = scene.random.below(SENDINGS.len() as u64) as usize;
        self.board.note(NEWCOMERS.len() + number, self.case);
        SENDINGS[number].1(scene, sender);
    }

    fn receiving(&self, scene: &mut Scene<'_>, receiver: &mut Receiver) {
        let number = scene.random.below(RECEIVINGS.len() as u64) as usize;
        self.board.note(NEWCOMERS.len() + SENDINGS.len() + number, self.case);
        RECEIVINGS[number].1(scene, receiver);
    }

    /// Newcomers meet what was written.
    fn before(&self, scene: &mut Scene<'_>) {
        scene.strike();
        self.newcomer(scene);
        // It may be removed, and another be under the name.
        if !scene.instance.is_attached() || scene.random.below(3) == 0 {
            return;
        }
        let Some(channel) = scene.open() else { return };
        let (mut sender, mut receiver) = ends(scene, &channel);
        if channel.id() != scene.instance.id {
            drop((sender, receiver));
            let _ = channel.remove().inspect_err(check_open);
            return;
        }
        for _ in 0..2 {
            if let Some(receiver) = &mut receiver {
                self.receiving(scene, receiver);
            }
            if let Some(sender) = &mut sender {
                self.sending(scene, sender);
            }
        }
    }

    /// It is written under handles that have been used.
    fn warm(&self, scene: &mut Scene<'_>) {
        let Some((channel, sender, receiver)) = self.handles(scene) else {
            return self.before(scene);
        };
        let (mut sender, mut receiver) = (sender, receiver);
        warm_up(sender.as_mut(), receiver.as_mut());
        // Some operations let the stranger strike while they hold something.
        if scene.random.below(2) == 0 {
            scene.strike();
        }
        for round in 0..2 {
            if let Some(receiver) = &mut receiver {
                self.receiving(scene, receiver);
            }
            if let Some(sender) = &mut sender {
                self.sending(scene, sender);
            }
            scene.strike();
            if round == 0 && scene.random.below(2) == 0 {
                self.newcomer(scene);
                if !scene.instance.is_attached() {
                    break;
                }
            }
        }
        let _ = channel.stats().inspect_err(check_open);
    }

    /// A pair that nobody else can open.
    fn anonymous(&self, scene: &mut Scene<'_>, sender: &mut Sender, receiver: &mut Receiver) {
        warm_up(Some(sender), Some(receiver));
        if scene.random.below(2) == 0 {
            scene.strike();
        }
        for _ in 0..2 {
            self.receiving(scene, receiver);
            self.sending(scene, sender);
            scene.strike();
        }
    }

    /// Opens the channel and takes its seats, if it is one that can be opened.
    fn handles(&self, scene: &mut Scene<'_>) -> Option<(Channel, Option<Sender>, Option<Receiver>)> {
        let channel = if self.case.state.is_usable() { scene.open()? } else { return None };
        let (sender, receiver) = ends(scene, &channel);
        Some((channel, sender, receiver))
    }

    /// Only words of one lane are changed: a damage is told of that lane and stays, and the other lanes' messages
    /// arrive, whole and in order.
    fn counted(&self, scene: &mut Scene<'_>) {
        let lane = self.case.mutation.lane().expect("a case of one lane");
        let mut early = None;
        if self.case.warm {
            let Some(channel) = scene.open() else { return };
            early = seat(channel.receiver());
        }
        self.board.note(DRAIN, self.case);
        self.board.add(COUNTED, 1);
        let (before, damage) =
            (scene.instance.bytes(), scene.instance.shape.map.control(lane) + layout::DAMAGE);
        scene.strike();
        let Some(channel) = (match early {
            // It has the channel open already.
            Some(_) => None,
            None => scene.open(),
        }) else {
            let Some(mut receiver) = early else { return };
            let drained = drain(scene, &mut receiver);
            return self.check_lanes(scene, lane, &drained);
        };
        let Some(mut receiver) = seat(channel.receiver()) else { return };
        let drained = drain(scene, &mut receiver);
        self.check_lanes(scene, lane, &drained);
        drop(receiver);
        // A damage has a position: with another `read` it lies somewhere else.
        let elsewhere =
            matches!(self.case.mutation, Mutation::Word(Place::Control(_, layout::DAMAGE | layout::READ), _));
        let of_lane = |damage: &&(u32, u64)| damage.0 == lane as u32;
        let Some(told) = drained.damages.iter().find(of_lane) else { return };
        self.board.add(DAMAGES, 1);
        if self.case.state == State::InDoubt {
            return; // no seat for a second receiver
        }
        assert_ne!(scene.instance.word(damage), 0, "a damage that is not noted");
        if elsewhere {
            return;
        }
        // The stranger puts everything back: it stays damaged, for receivers and for senders.
        let now = scene.instance.bytes();
        for (index, (old, new)) in before.chunks(8).zip(now.chunks(8)).enumerate() {
            let offset = 8 * index;
            let control = scene.instance.shape.map.control(lane);
            let own = (control..control + 512).contains(&offset) && offset != damage;
            let data = scene.instance.shape.map.data(lane);
            let own = own || (data..data + scene.instance.shape.map.capacity).contains(&offset);
            if own && old != new {
                scene.instance.put(offset, u64::from_le_bytes(old.try_into().expect("eight bytes")));
            }
        }
        let mut receiver = channel.receiver().expect("the seat is free");
        let again = drain(scene, &mut receiver);
        // A damage behind what was sent is met when more comes; no sender may.
        let tail = scene.instance.word(scene.instance.shape.map.control(lane) + layout::TAIL);
        let met = told.1 > tail || again.damages.iter().any(|damage| of_lane(&damage));
        assert!(met, "told {told:?}, and then {again:?}");
        match channel.sender() {
            Ok(sender) => assert_ne!(sender.lane(), Some(lane as u32), "a sender in a damaged lane"),
            Err(error) => assert_eq!(error.kind(), OpenErrorKind::Corrupt, "{error}"),
        }
        let stats = channel.stats().expect("stats");
        let shown = stats.lanes.iter().find(|shown| shown.lane == lane as u32);
        assert!(shown.is_none_or(|shown| shown.corrupt), "{shown:?}");
    }

    fn check_lanes(&self, scene: &Scene<'_>, lane: usize, drained: &crate::operations::Drained) {
        for (index, &(from, to)) in self.snapshot.waiting.iter().enumerate() {
            if index == lane || self.case.state == State::Damaged && index == 0 {
                continue;
            }
            let came: Vec<u32> = drained
                .whole
                .iter()
                .filter(|(lane, _)| *lane == index as u32)
                .map(|(_, number)| *number)
                .collect();
            let sent: Vec<u32> = (from..to).collect();
            let name = scene.instance.shape.name;
            assert_eq!(came, sent, "{name}: lane {index}, though only lane {lane} was changed");
        }
        for (damaged, _) in &drained.damages {
            let known = *damaged == 0 && self.case.state == State::Damaged;
            assert!(
                *damaged == lane as u32 || known,
                "lane {damaged} is called damaged, lane {lane} was changed"
            );
        }
    }
}

/// A seat, if there is one.
fn seat<T>(seat: Result<T, sysring::OpenError>) -> Option<T> {
    seat.inspect_err(check_open).ok()
}

/// A sender, a receiver or both, as far as there are seats.
fn ends(scene: &mut Scene<'_>, channel: &Channel) -> (Option<Sender>, Option<Receiver>) {
    let which = scene.random.below(8);
    let sender = (which < 5).then(|| seat(channel.sender())).flatten();
    let receiver = (which >= 3).then(|| seat(channel.receiver())).flatten();
    (sender, receiver)
}

/// Some messages, so that positions, rooms and runs are known privately.
fn warm_up(sender: Option<&mut Sender>, receiver: Option<&mut Receiver>) {
    if let Some(sender) = sender {
        for _ in 0..3 {
            let _ = sender.try_send([9; 32]);
        }
    }
    if let Some(receiver) = receiver {
        let mut buffer = [0; 4096];
        for _ in 0..3 {
            let _ = receiver.try_recv_into(&mut buffer);
        }
    }
}
