//! Sixteen processes make, open, use and remove one channel at the same moment, and some are killed while they do.
//!
//! Whatever happens, all who have the channel have the same one, it was initialised once, it works; and when it was
//! removed, nothing is left in the kernel.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use sysring::{Builder, Channel, Observer, OpenError, OpenErrorKind, mpsc};

use crate::board::{Board, RaceBoard, WORKERS, WorkerRecord, marks};
use crate::grouped;
use crate::message::{Random, mix};
use crate::process::{Child, Name, Object, Pipe, fork, objects, remove_set, segments_under};
use crate::runner::{is_long, seed, tests};

tests![creation_and_removal];

const LONG_ROUNDS: u32 = 10_000;
const SHORT_TIME: Duration = Duration::from_secs(8);
/// How long a round may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Some are killed.
const KILLS: u32 = 1;
/// Some remove the channel.
const REMOVALS: u32 = 2;
/// They ask for different capacities.
const SHAPES: u32 = 4;
/// One goes first, and it is the one to be killed: likely in the middle of the making.
const SOLO: u32 = 8;

/// How a round ended for a worker.
const NOTHING: u32 = 0;
const HAS_CHANNEL: u32 = 1;
const HAS_REMOVED: u32 = 2;
/// It was told that there is another shape, or that the channel was just removed.
const REFUSED: u32 = 3;
const WRONG: u32 = 4;

#[derive(Debug, Default)]
struct Counts {
    rounds: u64,
    kills: u64,
    /// Of them: before the victim was done.
    in_the_middle: u64,
    /// Of them: before the victim had the channel.
    before_it_had: u64,
    /// Half-made channels that were seen after a death.
    half_made: u64,
    removals: u64,
    /// Sets left that were not yet marked.
    unnamed: u64,
}

struct Worker {
    child: Child,
    start: Pipe,
}

struct Race {
    board: Board<RaceBoard>,
    name: Name,
    workers: Vec<Option<Worker>>,
    random: Random,
    counts: Counts,
    seed: u64,
    before: Vec<Object>,
}

fn creation_and_removal() {
    let seed = seed();
    let mut race = Race {
        board: Board::new(),
        name: Name::new(),
        workers: (0..WORKERS).map(|_| None).collect(),
        random: Random::new(seed),
        counts: Counts::default(),
        seed,
        before: objects(),
    };
    let started = Instant::now();
    for round in 1.. {
        let more = if is_long() { round <= LONG_ROUNDS } else { started.elapsed() < SHORT_TIME };
        if !more {
            break;
        }
        race.round(round);
    }
    let counts = &race.counts;
    println!(
        "races: {} rounds of {WORKERS} processes, {} kills ({} in the middle of a round, {} before the victim had \
         the channel, {} left it half-made), {} removals among them; one initialisation in each, nothing \
         left but {} sets whose maker died before naming them",
        grouped(counts.rounds),
        grouped(counts.kills),
        grouped(counts.in_the_middle),
        grouped(counts.before_it_had),
        grouped(counts.half_made),
        grouped(counts.removals),
        grouped(counts.unnamed),
    );
}

impl Race {
    fn kind(&mut self, round: u32) -> u32 {
        let shapes = if self.random.below(32) == 0 { SHAPES } else { 0 };
        match round % 8 {
            0 => shapes,
            1 => KILLS,
            2 => REMOVALS,
            3 => KILLS | REMOVALS,
            4 => KILLS | SOLO | REMOVALS,
            _ => KILLS | SOLO | shapes,
        }
    }

    fn round(&mut self, round: u32) {
        let kind = self.kind(round);
        self.counts.rounds += 1;
        for (who, record) in self.board.workers.iter().enumerate() {
            record.outcome.store(NOTHING, Relaxed);
            record.sent.store(0, Relaxed);
            record.segment.store(-1, Relaxed);
            if self.workers[who].is_none() {
                let start = Pipe::new();
                let seed = mix(self.seed ^ u64::from(round) << 8 ^ who as u64);
                let child = fork(|| work(&self.board, &self.name, who, &start, round, Random::new(seed)));
                self.workers[who] = Some(Worker { child, start });
            }
        }
        self.board.kind.store(kind, Relaxed);
        let first = if kind & SOLO != 0 { solo(round) } else { WORKERS };
        self.board.go.store(if first < WORKERS { round } else { round - 1 }, Release);
        let before = self.counts.kills;
        if let Some(Some(worker)) = self.workers.get(first) {
            worker.start.put(0);
            self.kill_the_first(round, first);
        }
        self.workers.iter().flatten().for_each(|worker| worker.start.put(0));
        self.board.go.store(round, Release);
        if kind & KILLS != 0 {
            self.kill_some(round);
        }
        let killed = self.counts.kills - before;
        self.wait_for_all(round);
        let records = &self.board.workers;
        let wrong = records.iter().any(|record| record.outcome.load(Acquire) == WRONG);
        assert!(!wrong, "round {round} of kind {kind}, seed {}", self.seed);
        if kind & REMOVALS == 0 {
            self.check_one(round, kind);
        } else {
            self.counts.removals +=
                records.iter().filter(|record| record.outcome.load(Relaxed) == HAS_REMOVED).count() as u64;
        }
        self.check_use();
        self.check_nothing_left(round, killed);
    }

    /// Kills the one that has begun alone, at a random moment: likely while it makes the channel.
    fn kill_the_first(&mut self, round: u32, who: usize) {
        let record = &self.board.workers[who];
        while record.begun.load(Acquire) < round {
            thread::yield_now();
        }
        let longest = if self.random.below(3) == 0 { 400_000 } else { 100_000 };
        let moment = Duration::from_nanos(self.random.below(longest));
        let started = Instant::now();
        while started.elapsed() < moment {
            std::hint::spin_loop();
        }
        self.kill(round, who);
        let half_made = |error: OpenError| error.kind() == OpenErrorKind::Busy;
        self.counts.half_made += u64::from(Observer::open(&self.name).is_err_and(half_made));
    }

    /// Kills some at random moments, while all are at it.
    fn kill_some(&mut self, round: u32) {
        for _ in 0..1 + self.random.below(3) {
            thread::sleep(Duration::from_micros(self.random.below(900)));
            let who = self.random.below(WORKERS as u64) as usize;
            self.kill(round, who);
        }
    }

    fn kill(&mut self, round: u32, who: usize) {
        let Some(worker) = self.workers[who].take() else { return };
        worker.child.kill();
        let record = &self.board.workers[who];
        self.counts.kills += 1;
        self.counts.in_the_middle += u64::from(record.done.load(Acquire) < round);
        self.counts.before_it_had += u64::from(record.segment.load(Acquire) == -1);
    }

    fn wait_for_all(&self, round: u32) {
        let started = Instant::now();
        for (worker, record) in self.workers.iter().zip(&self.board.workers) {
            let Some(worker) = worker else { continue };
            while record.done.load(Acquire) < round {
                thread::sleep(Duration::from_micros(50));
                assert_eq!(worker.child.try_wait(), None, "round {round}: a worker ended by itself");
                assert!(started.elapsed() < PATIENCE, "round {round} does not end");
            }
        }
    }

    /// Without removals: all who have a channel have the same one, initialised once, with everybody's message.
    fn check_one(&self, round: u32, kind: u32) {
        let channel = builder(kind, None).open_or_create(&self.name).expect("open or create");
        let stats = channel.stats().expect("stats");
        let one = (channel.id(), stats.semaphore_set, created(&channel));
        let mut alive = 0;
        for (who, record) in self.board.workers.iter().enumerate() {
            if record.outcome.load(Acquire) == HAS_CHANNEL {
                let its =
                    (record.segment.load(Relaxed), record.set.load(Relaxed), record.created.load(Relaxed));
                assert_eq!(its, one, "round {round}: worker {who} has another channel");
                alive += 1;
            } else {
                let may = self.workers[who].is_none() || kind & SHAPES != 0;
                assert!(may, "round {round}: worker {who} has no channel");
            }
        }
        assert!(alive > 0 || kind & (KILLS | SHAPES) != 0, "round {round}: nobody has a channel");
        assert_eq!(segments_under(channel.key()), 1, "round {round}");
        let mut receiver = channel.receiver().expect("a seat");
        let mut came = [0; WORKERS];
        for bytes in receiver.try_iter() {
            let bytes = bytes.expect("a message");
            assert_eq!(bytes[..], [bytes[0]; 100], "torn");
            came[usize::from(bytes[0])] += 1;
        }
        for (who, record) in self.board.workers.iter().enumerate() {
            let sent = record.sent.load(Acquire);
            assert!(came[who] <= 1 && came[who] >= sent, "round {round}: worker {who}'s message");
        }
    }

    /// Whatever was going on, the name is good now.
    fn check_use(&self) {
        let channel = Builder::default().open_or_create(&self.name).expect("open or create");
        let (mut sender, mut receiver) =
            (channel.sender().expect("a seat"), channel.receiver().expect("a seat"));
        sender.send("last").expect("send");
        assert!(receiver.try_iter().any(|bytes| bytes.expect("a message") == b"last"));
        drop((sender, receiver));
        sysring::remove(&self.name).expect("remove");
    }

    /// After one more creation and removal there is nothing.
    fn check_nothing_left(&mut self, round: u32, killed: u64) {
        if killed > 0 {
            let _ = builder(0, None).create(&self.name).expect("create");
            sysring::remove(&self.name).expect("remove");
        }
        for object in objects().into_iter().filter(|object| !self.before.contains(object)) {
            let Object::Set { id, .. } = object else {
                panic!("round {round}, seed {}: left in the kernel: {object:?}", self.seed);
            };
            let Some(marks) = marks(id) else { continue };
            // The maker was killed between two system calls. It says nothing of whose it is, so only its age can tell
            // that it is not being made, and collection waits for that.
            let excused = killed > 0 && marks == [0; 3];
            assert!(
                excused,
                "round {round}, seed {}: left in the kernel: {object:?}, marks {marks:?}",
                self.seed
            );
            self.counts.unnamed += 1;
            remove_set(id);
        }
    }
}

/// Who goes first in a round that begins with one.
fn solo(round: u32) -> usize {
    mix(round.into()) as usize % WORKERS
}

fn builder(kind: u32, who: Option<usize>) -> Builder {
    let builder = mpsc().senders(WORKERS as u32);
    match who {
        Some(who) if kind & SHAPES != 0 => builder.capacity(4096 << (who % 3)),
        Some(_) => builder.capacity(4096),
        None if kind & SHAPES != 0 => builder,
        None => builder.capacity(4096),
    }
}

fn created(channel: &Channel) -> u64 {
    let created = channel.stats().map_or(UNIX_EPOCH, |stats| stats.created);
    created.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64)
}

/// One worker: the same in every round, until it is killed.
fn work(board: &RaceBoard, name: &Name, who: usize, start: &Pipe, first: u32, mut random: Random) {
    let record = &board.workers[who];
    for round in first.. {
        start.get();
        while board.go.load(Acquire) < round {
            thread::yield_now();
        }
        let kind = board.kind.load(Relaxed);
        (0..random.below(300)).for_each(|_| std::hint::spin_loop());
        record.begun.store(round, Release);
        let outcome = if kind & REMOVALS != 0 && who as u32 % 5 == round / 8 % 5 {
            remove(name, &mut random)
        } else {
            enter(record, name, who, kind)
        };
        record.outcome.store(outcome, Release);
        record.done.store(round, Release);
    }
}

fn remove(name: &Name, random: &mut Random) -> u32 {
    let mut outcome = REFUSED;
    for _ in 0..1 + random.below(3) {
        match sysring::remove(name) {
            Ok(()) => outcome = HAS_REMOVED,
            Err(error) if matches!(error.kind(), OpenErrorKind::NotFound | OpenErrorKind::Removed) => {}
            Err(error) => {
                eprintln!("remove: {error}");
                return WRONG;
            }
        }
    }
    outcome
}

fn enter(record: &WorkerRecord, name: &Name, who: usize, kind: u32) -> u32 {
    let refused = |error: OpenError| {
        let expected = match error.kind() {
            OpenErrorKind::Mismatch => kind & SHAPES != 0,
            OpenErrorKind::Removed => kind & REMOVALS != 0,
            _ => false,
        };
        if !expected {
            eprintln!("worker {who}, kind {kind}: {error}");
        }
        if expected { REFUSED } else { WRONG }
    };
    let channel = match builder(kind, Some(who)).open_or_create(name) {
        Ok(channel) => channel,
        Err(error) => return refused(error),
    };
    record.segment.store(channel.id(), Relaxed);
    record.created.store(created(&channel), Relaxed);
    record.set.store(channel.stats().map_or(-1, |stats| stats.semaphore_set), Relaxed);
    let mut sender = match channel.sender() {
        Ok(sender) => sender,
        Err(error) => return refused(error),
    };
    match sender.send([who as u8; 100]) {
        Ok(()) => {
            record.sent.store(1, Release);
            HAS_CHANNEL
        }
        Err(error) if error.is_removed() && kind & REMOVALS != 0 => REFUSED,
        Err(error) => {
            eprintln!("worker {who}: {error}");
            WRONG
        }
    }
}
