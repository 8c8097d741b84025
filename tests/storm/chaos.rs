//! The storm: eight senders and a receiver, everybody killed, stopped and started again at random moments.
//!
//! A record beside the channel makes every question exact. A sender notes in plain shared memory that it begins to
//! send and that sending has returned; the receiver notes what it has accepted before it lets go of the guard. So
//! what arrived of each life of a sender must be its first messages, without a gap, at least those whose sending
//! returned and at most those whose sending began. What comes again must be marked and must not have been released
//! before. The copying forms copy into shared memory: what a killed receiver had in its hand is known.
//!
//! Every longer message carries what its sender knew to be sent by the others when it began: none of that may come
//! later.
//!
//! A wait is late if it took nearly a ceiling after its reason was over, and neither the process that waited nor
//! the one it waited for was stopped meanwhile; others may have been. Some stops last longer than the ceiling,
//! and there are spells in which nobody is hurt, so that no death's bell covers up for a lost one.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::thread;
use std::time::{Duration, Instant};

use sysring::{
    Builder, Channel, Fault, Fence, Order, Receiver, RecvError, RecvTimeoutError, SendError,
    SendTimeoutError, Sender, Trusted, TryRecvError, TrySendError, WaitStrategy, mpsc,
};

use crate::board::{Board, CREW, Clock, LARGEST, LIVES, SENDERS, StormBoard};
use crate::grouped;
use crate::letter;
use crate::message::Random;
use crate::process::{Child, End, Name, fork, trusted_receiver, trusted_sender};
use crate::runner::{is_long, seed, tests};

tests![storm];

/// Place of the receiver in the crew.
const RECEIVER: usize = SENDERS;
/// A wait longer than this needed the ceiling.
const LATE: u64 = 900_000_000;
/// A stop that outlasts the ceiling.
const LONG_STOP: u64 = 1_300_000_000;
/// Without any progress for so long, with nobody stopped, something hangs.
const HANG: u64 = 10_000_000_000;
const MILLISECOND: u64 = 1_000_000;

/// Totals of the short and of the long form.
const SHORT_TIME: Duration = Duration::from_secs(20);
const SHORT_EPISODES: u32 = 6;
const LONG_MESSAGES: u64 = 10_000_000;
const LONG_KILLS: u64 = 10_000;

/// A channel and how it is used, for some seconds.
#[derive(Clone, Debug)]
struct Episode {
    builder: Builder,
    total: bool,
    persistent: bool,
    /// Some handles ask for real fences.
    real_fences: bool,
    /// Longest pause between two blows, in microseconds.
    pace: u64,
    /// When nobody is hurt, in milliseconds from the beginning.
    quiet: (u64, u64),
    /// First life.
    first: u32,
}

#[derive(Debug, Default)]
struct Counts {
    messages: u64,
    kills: u64,
    receiver_kills: u64,
    stops: u64,
    long_stops: u64,
    /// Times that all senders were killed together.
    silences: u64,
    starts: u64,
}

fn storm() {
    let seed = seed();
    let (board, clock) = (Board::<StormBoard>::new(), Clock::new());
    let mut random = Random::new(seed);
    let (mut counts, mut life, mut episodes) = (Counts::default(), 0, 0);
    let enough = |counts: &Counts, episodes| {
        if is_long() {
            counts.messages >= LONG_MESSAGES && counts.kills >= LONG_KILLS
        } else {
            episodes >= SHORT_EPISODES
        }
    };
    while !enough(&counts, episodes) {
        let time = if is_long() { Duration::from_secs(5) } else { SHORT_TIME / SHORT_EPISODES };
        let episode = Episode::draw(&mut random, episodes, time, life + 1);
        let mut crew = Crew::new(&board, clock, &mut random, episode, life);
        crew.run(time);
        life = crew.life;
        crew.end(&mut counts);
        episodes += 1;
        let tally = &board.tally;
        let bad = [&tally.torn, &tally.lost, &tally.duplicates, &tally.disorder, &tally.acausal, &tally.late];
        if bad.iter().any(|count| count.load(Relaxed) > 0) {
            break;
        }
    }

    let tally = &board.tally;
    let [torn, lost, duplicates, disorder, acausal, late, redelivered, handed_out, died] = [
        &tally.torn,
        &tally.lost,
        &tally.duplicates,
        &tally.disorder,
        &tally.acausal,
        &tally.late,
        &tally.redelivered,
        &tally.handed_out,
        &tally.died_in_hand,
    ]
    .map(|count| count.load(Relaxed));
    println!(
        "storm: {} messages, {} kills ({} of the receiver), {} stops ({} longer than the ceiling), {} starts, \
         all senders dead {} times, {episodes} channels; torn {torn}, lost {lost}, redelivered {}, \
         unmarked duplicates {duplicates}, out of order {disorder}, acausal {acausal}, late sleeps {late}; \
         marked before anybody accepted them {}, died in a copying hand {}",
        grouped(counts.messages),
        grouped(counts.kills),
        grouped(counts.receiver_kills),
        grouped(counts.stops),
        grouped(counts.long_stops),
        grouped(counts.starts),
        grouped(counts.silences),
        grouped(redelivered),
        grouped(handed_out),
        grouped(died),
    );
    assert_eq!([torn, lost, duplicates, disorder, acausal, late], [0; 6], "seed {seed}");
    assert!(died <= counts.receiver_kills, "seed {seed}: {died} died in a hand");
}

impl Episode {
    fn draw(random: &mut Random, index: u32, time: Duration, first: u32) -> Episode {
        let capacity = [4096, 4096, 16_384, 65_536, 1 << 20][random.below(5) as usize];
        let total = !index.is_multiple_of(5) || index == 0;
        let persistent = random.below(3) > 0;
        let order = if total { Order::Total } else { Order::PerSender };
        let builder = mpsc().senders(SENDERS as u32).capacity(capacity).order(order).persistent(persistent);
        let length = 1300;
        let quiet = if index % 2 == 1 {
            let begin = random.below((time.as_millis() as u64).saturating_sub(length).max(1));
            (begin, begin + length)
        } else {
            (0, 0)
        };
        let pace = [1500, 4000, 10_000, 20_000][random.below(4) as usize];
        Episode { builder, total, persistent, real_fences: random.below(4) == 0, pace, quiet, first }
    }
}

/// One place: who has it, and what is going to happen to it.
#[derive(Debug, Default)]
struct Member {
    child: Option<Child>,
    /// When to start the next one; 0 = not planned.
    start_at: u64,
    /// When to continue it; 0 = it is not stopped.
    continue_at: u64,
}

struct Crew<'a> {
    board: &'a Board<StormBoard>,
    clock: Clock,
    random: &'a mut Random,
    episode: Episode,
    name: Name,
    channel: Channel,
    members: [Member; CREW],
    /// The youngest life.
    life: u32,
    counts: Counts,
}

impl<'a> Crew<'a> {
    fn new(
        board: &'a Board<StormBoard>,
        clock: Clock,
        random: &'a mut Random,
        episode: Episode,
        life: u32,
    ) -> Crew<'a> {
        let name = Name::new();
        let channel = episode.builder.create(&name).expect("create");
        board.stop.store(0, Relaxed);
        board.drain.store(0, Relaxed);
        for member in &board.members {
            member.life.store(0, Relaxed);
            member.stopped_until.store(0, Relaxed);
        }
        let (members, counts) = (Default::default(), Counts::default());
        Crew { board, clock, random, episode, name, channel, members, life, counts }
    }

    /// Blows at random moments, for so long.
    fn run(&mut self, time: Duration) {
        (0..CREW).for_each(|index| self.start(index));
        let started = self.clock.now();
        loop {
            let age = (self.clock.now() - started) / MILLISECOND;
            if age >= time.as_millis() as u64 {
                break;
            }
            thread::sleep(Duration::from_micros(self.random.below(self.episode.pace)));
            self.keep_appointments();
            let (begin, end) = self.episode.quiet;
            if (begin..end).contains(&age) {
                continue;
            }
            let index = if self.random.below(9) == 0 { RECEIVER } else { self.random.below(8) as usize };
            match self.random.below(100) {
                0 => self.kill_all_senders(),
                1..33 => self.stop(index),
                _ => self.kill(index),
            }
        }
    }

    fn start(&mut self, index: usize) {
        let member = &self.board.members[index];
        let seed = self.random.below(u64::MAX);
        self.counts.starts += 1;
        let child = if index == RECEIVER {
            self.board.heard.store(0, Relaxed);
            fork(|| receive(self.board, self.clock, &self.episode, &self.channel, &self.name, seed))
        } else {
            self.life += 1;
            assert!((self.life as usize) < LIVES, "more lives than there is room for");
            self.board.lives[self.life as usize].member.store(index as u32, Relaxed);
            member.life.store(self.life, Release);
            let who = (index as u32, self.life);
            fork(|| send(self.board, self.clock, &self.episode, &self.channel, &self.name, who, seed))
        };
        self.members[index] = Member { child: Some(child), ..Member::default() };
    }

    fn kill(&mut self, index: usize) {
        let Some(child) = self.members[index].child.take() else { return };
        child.kill();
        self.counts.kills += 1;
        if self.members[index].continue_at != 0 {
            self.board.members[index].stopped_until.store(self.clock.now(), Relaxed);
        }
        if index == RECEIVER {
            self.counts.receiver_kills += 1;
            self.look_into_the_hand();
        }
        let wait = if self.random.below(2) == 0 { 0 } else { self.random.below(8 * MILLISECOND) };
        self.members[index] = Member { start_at: self.clock.now() + wait, ..Member::default() };
    }

    /// Kills all senders: the receiver must hear of it, though nobody is left to ring.
    fn kill_all_senders(&mut self) {
        // One that has received nothing may not have seen anybody, and then it waits for the first.
        let receiver = &self.members[RECEIVER];
        if receiver.child.is_none() || receiver.continue_at != 0 || self.board.heard.load(Acquire) == 0 {
            return;
        }
        (0..SENDERS).for_each(|index| self.kill(index));
        let (ends, started) = (self.board.ends.load(Acquire), self.clock.now());
        while self.board.ends.load(Acquire) == ends {
            thread::sleep(Duration::from_micros(50));
            assert!(
                self.clock.now() - started < HANG,
                "all senders are dead, and the receiver does not know"
            );
        }
        let took = self.clock.now() - started;
        if took > LATE {
            self.board.tally.late.fetch_add(1, Relaxed);
            eprintln!("late: told of the death of all senders after {took} ns");
        }
        self.counts.silences += 1;
    }

    fn stop(&mut self, index: usize) {
        let member = &mut self.members[index];
        let Some(child) = &member.child else { return };
        if member.continue_at != 0 {
            return;
        }
        self.counts.stops += 1;
        // A sender that stays away, now and then; there are others to go on.
        let long = index != RECEIVER && self.random.below(150) == 0;
        self.counts.long_stops += u64::from(long);
        let time = if long { LONG_STOP } else { self.random.below(20 * MILLISECOND) };
        member.continue_at = self.clock.now() + time;
        self.board.members[index].stopped_until.store(u64::MAX, Relaxed);
        child.signal(libc::SIGSTOP);
    }

    /// Continues and starts whoever is due. Nobody may have ended by itself.
    fn keep_appointments(&mut self) {
        for index in 0..CREW {
            let (now, member) = (self.clock.now(), &mut self.members[index]);
            if let Some(child) = &member.child {
                if let Some(end) = child.try_wait() {
                    assert!(
                        end == End::Exit(0) && self.board.stop.load(Relaxed) == 1,
                        "member {index} ended by itself: {end:?}"
                    );
                    member.child = None;
                } else if member.continue_at != 0 && member.continue_at <= now {
                    child.signal(libc::SIGCONT);
                    self.board.members[index].stopped_until.store(self.clock.now(), Relaxed);
                    member.continue_at = 0;
                }
            } else if member.start_at != 0 && member.start_at <= now {
                self.start(index);
            }
        }
    }

    /// What the killed receiver had copied and could not say any more.
    fn look_into_the_hand(&self) {
        if !self.board.bury() {
            return;
        }
        let found = self.board.with_hand(|hand| {
            let length = letter::claimed_length(hand).min(LARGEST);
            let found = letter::read(&hand[..length]);
            letter::wipe(hand);
            found
        });
        let Some(letter) = found else { return };
        let words = &self.board.lives[letter.life as usize].receiver;
        let accepted = words.accepted.load(Relaxed);
        if letter.number == accepted + 1 && words.in_hand.load(Relaxed) == accepted + 1 {
            // The one before died in the hand of an earlier receiver, or this one would not be there.
            self.board.tally.died_in_hand.fetch_add(1, Relaxed);
            words.accepted.store(letter.number, Relaxed);
        } else if letter.number > accepted {
            let tally = &self.board.tally;
            tally.lost.fetch_add(u64::from(letter.number - accepted), Relaxed);
            eprintln!("lost: {letter:?} in a dead hand, accepted {accepted}");
        }
        if letter.number >= accepted {
            words.in_hand.store(letter.number + 1, Relaxed);
        }
    }

    /// Lets the senders finish, empties the channel, and compares what was sent with what came.
    fn end(mut self, counts: &mut Counts) {
        self.board.stop.store(1, Relaxed);
        let (mut seen, mut since) = (0, self.clock.now());
        for member in &mut self.members[..SENDERS] {
            member.start_at = 0;
        }
        while self.members[..SENDERS].iter().any(|member| member.child.is_some()) {
            thread::sleep(Duration::from_millis(1));
            self.keep_appointments();
            let progress: u64 = self.lives().map(|(_, accepted, _)| u64::from(accepted)).sum();
            let now = self.clock.now();
            if progress != seen || self.members.iter().any(|member| member.continue_at != 0) {
                (seen, since) = (progress, now);
            }
            let stats = || self.channel.stats().expect("stats");
            assert!(now - since < HANG, "nothing moves, and there is something to do: {:?}", stats());
        }
        // The last receiver dies like the others; its successor has everything that is left.
        while self.members[RECEIVER].child.is_none() {
            thread::sleep(Duration::from_millis(1));
            self.keep_appointments();
        }
        self.kill(RECEIVER);
        self.board.drain.store(1, Relaxed);
        self.start(RECEIVER);
        self.members[RECEIVER].child.take().expect("just started").join();
        self.look_into_the_hand();

        let tally = &self.board.tally;
        let mut messages = 0;
        for (number, accepted, returned) in self.lives().collect::<Vec<_>>() {
            let life = &self.board.lives[number as usize];
            let mut accepted = accepted;
            if accepted < returned && life.receiver.in_hand.load(Relaxed) == accepted + 1 {
                tally.died_in_hand.fetch_add(1, Relaxed);
                accepted += 1;
            }
            let begun = life.begun.load(Relaxed);
            if accepted < returned {
                tally.lost.fetch_add(u64::from(returned - accepted), Relaxed);
                eprintln!("lost: life {number} sent {returned} (began {begun}), {accepted} came");
            }
            assert!(accepted <= begun, "life {number} began {begun} messages, {accepted} came");
            messages += u64::from(accepted);
        }
        let stats = self.channel.stats().expect("stats");
        assert!(
            stats.lanes.iter().all(|lane| !lane.corrupt && lane.used == 0 && !lane.seat.taken),
            "{stats:?}"
        );
        assert!(!stats.receiver.taken, "{stats:?}");
        sysring::remove(&self.name).expect("remove");
        counts.messages += messages;
        counts.kills += self.counts.kills;
        counts.receiver_kills += self.counts.receiver_kills;
        counts.stops += self.counts.stops;
        counts.long_stops += self.counts.long_stops;
        counts.silences += self.counts.silences;
        counts.starts += self.counts.starts;
    }

    /// Every life of this episode: number, messages accepted, messages whose sending returned.
    fn lives(&self) -> impl Iterator<Item = (u32, u32, u32)> {
        (self.episode.first..=self.life).map(|number| {
            let life = &self.board.lives[number as usize];
            (number, life.receiver.accepted.load(Relaxed), life.returned.load(Relaxed))
        })
    }
}

impl Episode {
    /// How one process waits and publishes.
    fn handle(&self, random: &mut Random) -> Builder {
        let wait = if random.below(2) == 0 { WaitStrategy::Sleep } else { WaitStrategy::SpinThenSleep };
        let fence = if self.real_fences && random.below(10) == 0 { Fence::Real } else { Fence::Auto };
        self.builder.clone().wait(wait).fence(fence)
    }
}

/// Whether a process was stopped at `since` or later.
fn was_stopped(board: &StormBoard, member: u32, since: u64) -> bool {
    board.members[member as usize].stopped_until.load(Relaxed) >= since
}

/// Passes so many microseconds without giving up the processor.
fn spin(microseconds: u64) {
    let end = Instant::now() + Duration::from_micros(microseconds);
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}

/// One life of a sender.
struct Writer<'a> {
    board: &'a StormBoard,
    clock: Clock,
    member: u32,
    life: u32,
    number: u32,
    persistent: bool,
    largest: usize,
    random: Random,
    bytes: Vec<u8>,
}

fn send(
    board: &StormBoard,
    clock: Clock,
    episode: &Episode,
    channel: &Channel,
    name: &Name,
    (member, life): (u32, u32),
    seed: u64,
) {
    let mut random = Random::new(seed);
    let builder = episode.handle(&mut random);
    // Either through what was inherited or from scratch.
    let sender = if random.below(3) == 0 { channel.sender() } else { builder.sender(name) };
    let mut sender = trusted_sender(sender.expect("the seat of a dead sender is free"));
    let largest = (sender.max_message() as usize).min(LARGEST);
    let persistent = episode.persistent;
    let (number, bytes) = (0, Vec::new());
    let mut writer = Writer { board, clock, member, life, number, persistent, largest, random, bytes };
    let mut haste = 0;
    while board.stop.load(Relaxed) == 0 {
        if writer.random.below(200) == 0 {
            haste = writer.random.below(4);
        }
        match haste {
            0 | 1 => {}
            2 => spin(writer.random.below(30)),
            _ => thread::sleep(Duration::from_micros(writer.random.below(300))),
        }
        writer.step(&mut sender);
    }
}

impl Writer<'_> {
    /// Writes the next message and notes that its sending begins.
    fn compose(&mut self) {
        let length = letter::length(self.life, self.number, self.largest);
        let who = (self.member, self.life, self.number);
        letter::write(&mut self.bytes, self.board, who, length, self.clock.now());
        self.board.lives[self.life as usize].begun.store(self.number + 1, Release);
    }

    /// Notes that the message is in the channel, and looks how long that took.
    fn returned(&mut self, started: u64) {
        let life = &self.board.lives[self.life as usize];
        life.returned.store(self.number + 1, Release);
        let now = self.clock.now();
        if now - started > LATE && life.receiver.released.load(Acquire) == self.number {
            // Everything before it was released: since when was there room?
            let since = started.max(life.receiver.released_at.load(Acquire));
            let stopped = |member| was_stopped(self.board, member, since);
            if now.saturating_sub(since) > LATE && !stopped(self.member) && !stopped(RECEIVER as u32) {
                self.board.tally.late.fetch_add(1, Relaxed);
                eprintln!("late: sender {} slept {} ns beside an empty lane", self.life, now - since);
            }
        }
        self.number += 1;
    }

    /// A receiver that has gone is one that is going to be started again.
    fn wait_for_the_next<T>(&self, error: &SendError<T>) {
        assert!(
            matches!(error.fault(), Fault::Disconnected) && !self.persistent,
            "sender {}: {error}",
            self.life
        );
        thread::sleep(Duration::from_micros(200));
    }

    fn step(&mut self, trusted: &mut Trusted<Sender>) {
        match self.random.below(16) {
            0..5 => self.plain(trusted),
            5..8 => self.patient(trusted),
            8..10 => self.impatient(trusted),
            10..13 => self.in_a_slot(trusted),
            13 => self.in_place(trusted),
            _ => self.batch(trusted),
        }
    }

    fn plain(&mut self, sender: &mut Sender) {
        self.compose();
        loop {
            let started = self.clock.now();
            match sender.send(&self.bytes) {
                Ok(()) => return self.returned(started),
                Err(error) => self.wait_for_the_next(&error),
            }
        }
    }

    fn patient(&mut self, sender: &mut Sender) {
        self.compose();
        loop {
            let started = self.clock.now();
            match sender.send_timeout(&self.bytes, Duration::from_millis(2)) {
                Ok(()) => return self.returned(started),
                Err(SendTimeoutError::Timeout(_)) => {}
                Err(SendTimeoutError::Failed(error)) => self.wait_for_the_next(&error),
            }
        }
    }

    fn impatient(&mut self, sender: &mut Sender) {
        self.compose();
        for _ in 0..100 {
            let started = self.clock.now();
            match sender.try_send(&self.bytes) {
                Ok(()) => return self.returned(started),
                Err(TrySendError::Full(_)) => thread::yield_now(),
                Err(TrySendError::Failed(error)) => self.wait_for_the_next(&error),
            }
        }
        self.plain(sender);
    }

    fn in_a_slot(&mut self, sender: &mut Sender) {
        self.compose();
        loop {
            let started = self.clock.now();
            if self.random.below(4) == 0 {
                let _aborted = sender.try_reserve(self.bytes.len() / 2);
            }
            let mut slot = match sender.reserve(self.bytes.len()) {
                Ok(slot) => slot,
                Err(error) => {
                    self.wait_for_the_next(&error);
                    continue;
                }
            };
            let (front, back) = self.bytes.split_at(self.bytes.len() / 3);
            slot.write(front).expect("it fits");
            if self.random.below(8) == 0 {
                spin(self.random.below(40));
            }
            slot.write(back).expect("it fits");
            slot.commit().expect("nobody removes the channel");
            return self.returned(started);
        }
    }

    fn in_place(&mut self, sender: &mut Trusted<Sender>) {
        self.compose();
        loop {
            let started = self.clock.now();
            match sender.reserve(self.bytes.len()) {
                Ok(mut frame) => {
                    frame.copy_from_slice(&self.bytes);
                    frame.commit().expect("nobody removes the channel");
                    return self.returned(started);
                }
                Err(error) => self.wait_for_the_next(&error),
            }
        }
    }

    fn batch(&mut self, sender: &mut Sender) {
        let count = 1 + self.random.below(20);
        let mut batch = sender.batch();
        for _ in 0..count {
            self.compose();
            loop {
                let started = self.clock.now();
                match batch.send(&self.bytes) {
                    Ok(()) => break self.returned(started),
                    Err(error) => self.wait_for_the_next(&error),
                }
            }
        }
    }
}

/// One life of the receiver.
struct Reader<'a> {
    board: &'a StormBoard,
    clock: Clock,
    first: u32,
    total: bool,
    largest: usize,
    /// For every life of the episode the number that must come next; 0 = none has come to this receiver.
    next: Vec<u32>,
    /// What the guard holds: life, and the number behind it.
    held: Vec<(u32, u32)>,
    bytes: Vec<u8>,
    random: Random,
}

fn receive(board: &StormBoard, clock: Clock, episode: &Episode, channel: &Channel, name: &Name, seed: u64) {
    let mut random = Random::new(seed);
    let builder = episode.handle(&mut random);
    let receiver = if random.below(3) == 0 { channel.receiver() } else { builder.receiver(name) };
    let mut receiver = trusted_receiver(receiver.expect("the seat of a dead receiver is free"));
    let largest = (receiver.max_message() as usize).min(LARGEST);
    let guards_only = random.below(10) < 6;
    let mut reader = Reader {
        board,
        clock,
        first: episode.first,
        total: episode.total,
        largest,
        next: vec![0; LIVES],
        held: Vec::new(),
        bytes: Vec::new(),
        random,
    };
    let mut haste = 0;
    loop {
        if reader.random.below(500) == 0 {
            haste = reader.random.below(6);
        }
        match haste {
            4 => spin(reader.random.below(30)),
            5 => thread::sleep(Duration::from_micros(reader.random.below(200))),
            _ => {}
        }
        let form = reader.random.below(if guards_only { 10 } else { 16 });
        let draining = board.drain.load(Relaxed) == 1;
        match reader.step(&mut receiver, form, draining) {
            Ok(()) => {}
            Err(None) if draining => return,
            Err(None) => thread::yield_now(),
            // The last one draws a final line under senders that it has seen.
            Err(Some(RecvError::Disconnected)) if draining => return,
            // All senders are dead at the moment.
            Err(Some(RecvError::Disconnected)) => {
                board.ends.fetch_add(1, Release);
                thread::sleep(Duration::from_micros(100));
            }
            Err(Some(error)) => panic!("receiver: {error}"),
        }
    }
}

impl Reader<'_> {
    /// One call. `Err(None)`: nothing there.
    fn step(
        &mut self,
        trusted: &mut Trusted<Receiver>,
        form: u64,
        draining: bool,
    ) -> Result<(), Option<RecvError>> {
        let untried = |error| match error {
            TryRecvError::Empty => None,
            TryRecvError::Failed(error) => Some(error),
        };
        let patient = |error| match error {
            RecvTimeoutError::Timeout => None,
            RecvTimeoutError::Failed(error) => Some(error),
        };
        let short = Duration::from_millis(2);
        let started = self.clock.now();
        if form == 0 && !draining {
            let frame = trusted.recv().map_err(Some)?;
            self.accept(&frame, Some(frame.redelivered()), started);
            self.dawdle();
            drop(frame);
            self.released();
            return Ok(());
        }
        let receiver: &mut Receiver = trusted;
        match form {
            0..6 => {
                let message = match form {
                    _ if draining => receiver.try_recv().map_err(untried)?,
                    0..4 => receiver.recv().map_err(Some)?,
                    4 => receiver.recv_timeout(short).map_err(patient)?,
                    _ => receiver.try_recv().map_err(untried)?,
                };
                let mut bytes = std::mem::take(&mut self.bytes);
                bytes.clear();
                message.append_to(&mut bytes);
                self.accept(&bytes, Some(message.redelivered()), started);
                self.bytes = bytes;
                self.dawdle();
                drop(message);
                self.released();
            }
            6..10 => {
                let most = 1 + self.random.below(32) as usize;
                let batch = match form {
                    _ if draining => receiver.try_recv_batch(most).map_err(untried)?,
                    6..9 => receiver.recv_batch(most).map_err(Some)?,
                    _ => receiver.recv_batch_timeout(most, short).map_err(patient)?,
                };
                let mut bytes = std::mem::take(&mut self.bytes);
                for (index, message) in batch.iter().enumerate() {
                    bytes.clear();
                    message.append_to(&mut bytes);
                    // Only the first was waited for.
                    let started = if index == 0 { started } else { u64::MAX };
                    self.accept(&bytes, Some(message.redelivered()), started);
                }
                self.bytes = bytes;
                self.dawdle();
                drop(batch);
                self.released();
            }
            _ => {
                let board = self.board;
                board.with_hand(|hand| {
                    letter::wipe(hand);
                    let length = match form {
                        _ if draining => receiver.try_recv_into(hand).map_err(untried)?,
                        10..14 => receiver.recv_into(hand).map_err(Some)?,
                        14 => receiver.recv_into_timeout(hand, short).map_err(patient)?,
                        _ => receiver.try_recv_into(hand).map_err(untried)?,
                    };
                    self.accept(&hand[..length], None, started);
                    Ok::<(), Option<RecvError>>(())
                })?;
                self.released();
            }
        }
        Ok(())
    }

    /// Holds on to a guard for a moment, sometimes.
    fn dawdle(&mut self) {
        if self.random.below(16) == 0 {
            spin(self.random.below(60));
        }
    }

    /// Notes that what the guard held will not come again.
    fn released(&mut self) {
        let now = self.clock.now();
        for (life, behind) in self.held.drain(..) {
            let words = &self.board.lives[life as usize].receiver;
            words.released_at.store(now, Release);
            words.released.fetch_max(behind, Release);
        }
    }

    /// Checks a message and notes that it has come. `marked`: what the guard says of redelivery; copying forms say
    /// nothing. `started`: when the call began that waited for it.
    fn accept(&mut self, bytes: &[u8], marked: Option<bool>, started: u64) {
        let tally = &self.board.tally;
        let count = |counter: &std::sync::atomic::AtomicU64, by: u32, what: &str, letter: &letter::Letter| {
            if counter.fetch_add(by.into(), Relaxed) < 5 {
                eprintln!("{what}: {letter:?}, marked {marked:?}");
            }
        };
        let letter = letter::read(bytes).filter(|letter| {
            (self.first..LIVES as u32).contains(&letter.life)
                && bytes.len() == letter::length(letter.life, letter.number, self.largest)
        });
        let Some(letter) = letter else {
            tally.torn.fetch_add(1, Relaxed);
            eprintln!("torn: {} bytes", bytes.len());
            return;
        };
        self.look_at_the_clock(&letter, started);

        let words = &self.board.lives[letter.life as usize].receiver;
        let (number, accepted) = (letter.number, words.accepted.load(Relaxed));
        let next = &mut self.next[letter.life as usize];
        if *next != 0 && *next != number {
            count(&tally.disorder, 1, "out of order", &letter);
        }
        *next = number + 1;
        if number < accepted {
            // It must not have been released, and a guard must say so.
            if number < words.released.load(Relaxed) || marked == Some(false) {
                count(&tally.duplicates, 1, "duplicate", &letter);
            } else {
                tally.redelivered.fetch_add(1, Relaxed);
            }
        } else {
            tally.handed_out.fetch_add((marked == Some(true)).into(), Relaxed);
            if number == accepted + 1 && words.in_hand.load(Relaxed) == number {
                tally.died_in_hand.fetch_add(1, Relaxed);
            } else if number > accepted {
                count(&tally.lost, number - accepted, "lost some before", &letter);
            }
            words.accepted.store(number + 1, Release);
        }
        self.held.push((letter.life, number + 1));
        self.board.heard.store(1, Release);
        if self.total {
            self.look_at_the_others(&letter);
        }
    }

    /// Everything that the sender knew to be sent must have come.
    fn look_at_the_others(&self, letter: &letter::Letter) {
        for (life, returned) in letter.known() {
            let words = &self.board.lives[life as usize].receiver;
            let accepted = words.accepted.load(Relaxed);
            if accepted >= returned {
                continue;
            }
            if words.in_hand.load(Relaxed) == accepted + 1 && returned == accepted + 1 {
                self.board.tally.died_in_hand.fetch_add(1, Relaxed);
                words.accepted.store(returned, Release);
                continue;
            }
            if self.board.tally.acausal.fetch_add(1, Relaxed) < 5 {
                eprintln!("acausal: {letter:?} before {accepted}..{returned} of life {life}");
            }
        }
    }

    /// A wait that took nearly a ceiling while the message was there.
    fn look_at_the_clock(&self, letter: &letter::Letter, started: u64) {
        let now = self.clock.now();
        let since = started.max(letter.begun_at);
        if now.saturating_sub(since) <= LATE {
            return;
        }
        let stopped = |member| was_stopped(self.board, member, since);
        if !stopped(letter.member) && !stopped(RECEIVER as u32) {
            self.board.tally.late.fetch_add(1, Relaxed);
            eprintln!("late: {letter:?} waited for {} ns", now - since);
        }
    }
}
