//! Histories of real processes, recorded beside the channel.
//!
//! # The times
//!
//! An operation's begin must not be later, and its end not earlier, than the moment at which it took effect for
//! everybody. Both are times of the one monotonic clock of the kernel, which never goes back from one processor to
//! another. *Begin*: the time is stored to memory, then comes a full fence; so the clock was read before anything of the
//! operation was loaded or stored. *End*: a full fence, then the clock. The fence matters: what `send` has published
//! may still lie in the processor's store buffer when it returns, seen by nobody else, for longer than it takes to read a
//! clock. Behind the fence everybody sees it, and the clock cannot be read earlier, because reading it begins with a
//! load (of the kernel's sequence count). Times that are equal count as overlapping.

use std::iter;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64, fence};
use std::thread;
use std::time::{Duration, Instant};

use sysring::{
    Builder, Channel, EndOfStream, Order, Receiver, RecvTimeoutError, SendTimeoutError, Sender, TryRecvError,
    TrySendError, mpsc, spsc,
};

use crate::board::{Board, Clock, Shareable};
use crate::check::check;
use crate::crew::{Weather, allowed_cores, any_handle, await_count, sit_idle, take_seat};
use crate::grouped;
use crate::history::{Act, History, Operation, Overlaps, Rule, Shape};
use crate::message::{Random, mix};
use crate::process::{Child, Name, fork};
use crate::runner::{is_long, seed, tests};
use crate::search::is_linearizable;

tests![histories_are_linearizable];

/// Histories of full length, and short ones for the slow checker as well.
const SHORT: (u64, u64) = (640, 640);
const LONG: (u64, u64) = (12_000, 12_000);
/// The short form spends no more on either.
const SHORT_TIME: Duration = Duration::from_secs(8);
/// Operations of all senders of a history, and as many of the receiver at least.
const OPERATIONS: u64 = 100;
const FEW_OPERATIONS: u64 = 7;
/// Senders and the receiver, which is the last.
const CREW: usize = 5;
/// Histories recorded by the same processes on the same channel, one after the other.
const BATCH: usize = 16;
/// Room for the operations of one process in one history.
const LINES: usize = 1024;
/// The receiver finds nothing so often, then it waits.
const EMPTIES: usize = 200;

/// One operation, as it is recorded.
#[derive(Debug)]
#[repr(C)]
struct Line {
    /// Kind: 8 bits, lane: 8, length: 32.
    what: AtomicU64,
    value: AtomicU64,
    begin: AtomicU64,
    end: AtomicU64,
}

/// What one process did in one history.
#[derive(Debug)]
#[repr(C, align(128))]
struct Page {
    count: AtomicU32,
    /// The last begin; the time is stored before the operation begins.
    latest: AtomicU64,
    lines: [Line; LINES],
}

#[derive(Debug)]
#[repr(C)]
struct RecordBoard {
    /// Processes that are ready for the first history, for the second, ...
    ready: AtomicU64,
    /// Senders that have finished the first history, and so on.
    finished: [AtomicU32; BATCH],
    pages: [[Page; CREW]; BATCH],
}

// SAFETY: atomics only.
#[allow(unsafe_code, reason = "a board is shared memory")]
unsafe impl Shareable for RecordBoard {}

impl RecordBoard {
    /// For new processes; the last ones have ended.
    fn clear(&self) {
        self.ready.store(0, Relaxed);
        self.finished.iter().for_each(|count| count.store(0, Relaxed));
        self.pages.iter().flatten().for_each(|page| page.count.store(0, Relaxed));
    }
}

/// Writes down what one process does.
#[derive(Clone, Copy, Debug)]
struct Recorder<'a> {
    page: &'a Page,
    clock: Clock,
}

impl Recorder<'_> {
    fn begin(&self) -> u64 {
        let now = self.clock.now();
        self.page.latest.store(now, Relaxed);
        fence(SeqCst);
        now
    }

    fn end(&self) -> u64 {
        fence(SeqCst);
        self.clock.now()
    }

    fn note(&self, act: Act, (begin, end): (u64, u64)) {
        let (kind, lane, length, value) = match act {
            Act::Send { value, lane, length } => (0, lane, length, value),
            Act::Full { lane, length } => (1, lane, length, 0),
            Act::Receive { value } => (2, 0, 0, value),
            Act::Release { value } => (3, 0, 0, value),
            Act::Empty => (4, 0, 0, 0),
        };
        let count = self.page.count.load(Relaxed);
        let line = self.page.lines.get(count as usize);
        let line = line.expect("a history is short, unless nothing is found where something is");
        line.what.store(kind << 56 | u64::from(lane) << 48 | u64::from(length), Relaxed);
        line.value.store(value, Relaxed);
        line.begin.store(begin, Relaxed);
        line.end.store(end, Relaxed);
        self.page.count.store(count + 1, Relaxed);
    }
}

impl Page {
    /// What was recorded; for the parent of a process that has ended.
    fn operations(&self) -> Vec<Operation> {
        let lines = &self.lines[..self.count.load(Relaxed) as usize];
        let operation = |line: &Line| {
            let (what, value) = (line.what.load(Relaxed), line.value.load(Relaxed));
            let (lane, length) = ((what >> 48 & 0xff) as u32, what as u32);
            let act = match what >> 56 {
                0 => Act::Send { value, lane, length },
                1 => Act::Full { lane, length },
                2 => Act::Receive { value },
                3 => Act::Release { value },
                _ => Act::Empty,
            };
            Operation { act, begin: line.begin.load(Relaxed), end: line.end.load(Relaxed) }
        };
        lines.iter().map(operation).collect()
    }
}

/// A way to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SendWay {
    Plain,
    Slot,
    Batch,
    // These may end without having sent.
    Try,
    TrySlot,
    TryBatch,
    Timeout,
}

impl SendWay {
    fn is_sure(self) -> bool {
        matches!(self, SendWay::Plain | SendWay::Slot | SendWay::Batch)
    }

    fn is_batch(self) -> bool {
        matches!(self, SendWay::Batch | SendWay::TryBatch)
    }
}

/// A way to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RecvWay {
    Try,
    TryInto,
    TryVec,
    TryBatch,
    Timeout,
    IntoTimeout,
    BatchTimeout,
    // These wait until there is something.
    Plain,
    Into,
    Vec,
    Batch,
}

const TRYING: [RecvWay; 4] = [RecvWay::Try, RecvWay::TryInto, RecvWay::TryVec, RecvWay::TryBatch];
const LIMITED: [RecvWay; 3] = [RecvWay::Timeout, RecvWay::IntoTimeout, RecvWay::BatchTimeout];
const WAITING: [RecvWay; 4] = [RecvWay::Plain, RecvWay::Into, RecvWay::Vec, RecvWay::Batch];

/// A step of a sender.
#[derive(Clone, Copy, Debug)]
struct Step {
    way: SendWay,
    length: u32,
    /// By which of the process's two handles, which have a lane each.
    handle: usize,
    /// Leaves its seat before, and takes another.
    rejoin: bool,
}

/// A channel and the processes that use it for some histories.
#[derive(Clone, Debug)]
struct Group {
    seed: u64,
    number: u64,
    builder: Builder,
    rule: Rule,
    shape: Shape,
    senders: usize,
    /// Lanes that each sender uses.
    handles: u64,
    /// Seats that somebody has who does nothing.
    idle: u32,
    seats: u32,
    largest: u64,
    /// Of all senders together, in each history.
    operations: u64,
    weather: Weather,
}

impl Group {
    fn draw(seed: u64, number: u64, operations: u64) -> Group {
        let mut random = Random::new(seed.wrapping_add(number << 32));
        let capacity = [4096, 4096, 4096, 65_536][random.below(4) as usize];
        let kind = random.below(5);
        let senders = if kind == 0 { 1 } else { 2 + random.below(3) as usize };
        let idle = if kind == 0 { 0 } else { [0, 0, 3, 200][random.below(4) as usize] };
        // Some more than senders, so that whoever looks for one finds one.
        let seats = if kind == 0 { 1 } else { idle + 3 * senders as u32 };
        let order = if kind == 1 { Order::PerSender } else { Order::Total };
        let builder = if kind == 0 { spsc() } else { mpsc().senders(seats).order(order) };
        Group {
            seed,
            number,
            builder: builder.capacity(capacity),
            rule: if kind == 1 { Rule::PerSender } else { Rule::Total },
            shape: Shape { capacity, stamped: kind > 1 },
            senders,
            handles: if kind == 0 { 1 } else { 1 + random.below(2) },
            idle,
            seats,
            largest: [40, 400, 1900][random.below(3) as usize],
            operations,
            weather: Weather::draw(&mut random),
        }
    }

    /// Random choices of one process in one history.
    fn random(&self, history: usize, who: usize) -> Random {
        Random::new(mix(self.seed ^ self.number << 16) ^ (history as u64) << 8 ^ who as u64)
    }

    /// What all senders do in a history; each has a part, and some have none.
    fn plans(&self, history: usize) -> Vec<Vec<Step>> {
        let mut random = self.random(history, CREW);
        let mut plans = vec![Vec::new(); self.senders];
        let favoured = [SendWay::Plain, SendWay::Try][random.below(2) as usize];
        for _ in 0..self.operations {
            let way = match random.below(12) {
                0 => SendWay::Slot,
                1 | 2 => SendWay::Batch,
                3 => SendWay::TrySlot,
                4 | 5 => SendWay::TryBatch,
                6 => SendWay::Timeout,
                7 => SendWay::Plain,
                8 => SendWay::Try,
                _ => favoured,
            };
            let length = (8 + random.below(self.largest)) as u32;
            let (handle, rejoin) = (random.below(self.handles) as usize, random.below(100) == 0);
            plans[random.below(self.senders as u64) as usize].push(Step { way, length, handle, rejoin });
        }
        plans
    }

    /// A value of its own for every message of the whole test.
    fn value(&self, history: usize, who: usize, step: usize) -> u64 {
        self.number << 24 | (history as u64) << 16 | (who as u64) << 12 | step as u64
    }

    /// Records histories. `Err`: they did not come to an end.
    fn run(&self, board: &Board<RecordBoard>, clock: Clock) -> Result<Vec<History>, String> {
        board.clear();
        let name = Name::new();
        let channel = self.builder.create(&name).expect("create");
        // The idle ones get seats anywhere between the others.
        let mut random = self.random(BATCH, 0);
        let idle = sit_idle(&channel, self.seats, self.idle, &mut random);
        let children: Vec<Child> = (0..=self.senders)
            .map(|who| {
                fork(|| {
                    self.weather.enter();
                    let builder = any_handle(&self.builder, &mut self.random(BATCH, 1 + who));
                    let channel = builder.open(&name).expect("open");
                    if who < self.senders {
                        self.send(board, clock, &channel, who);
                    } else {
                        self.receive(board, clock, channel.receiver().expect("the seat"));
                    }
                })
            })
            .collect();
        let progress = || {
            let pages = board.pages.iter().flatten();
            pages.fold(0, |sum: u64, page| sum.wrapping_add(page.latest.load(Relaxed)))
        };
        let end = self.weather.oversee(&children, &mut random, progress);
        drop((children, idle));
        sysring::remove(&name).expect("remove");
        let histories = self.histories(board);
        match end {
            Ok(()) => Ok(histories),
            Err(why) => {
                histories.iter().for_each(print_history);
                Err(format!("{why}; {self:?}"))
            }
        }
    }

    /// What the board says.
    fn histories(&self, board: &Board<RecordBoard>) -> Vec<History> {
        let mut tails = vec![0; self.seats as usize];
        let history = |pages: &[Page; CREW]| {
            let history = History {
                rule: self.rule,
                shape: self.shape,
                tails: tails.clone(),
                senders: pages[..self.senders].iter().map(Page::operations).collect(),
                receiver: pages[CREW - 1].operations(),
            };
            tails = history.last_tails();
            history
        };
        board.pages.iter().map(history).collect()
    }

    /// One sender.
    fn send(&self, board: &RecordBoard, clock: Clock, channel: &Channel, who: usize) {
        let (mut handles, mut bytes) = ([None, None], Vec::new());
        for history in 0..BATCH {
            let plan = &self.plans(history)[who];
            let mut random = self.random(history, who);
            if random.below(4) > 0 {
                handles[0].get_or_insert_with(|| take_seat(channel));
            }
            self.meet(board, history);
            let recorder = Recorder { page: &board.pages[history][who], clock };
            let mut steps = plan.iter().enumerate().peekable();
            while let Some((index, first)) = steps.next() {
                let handle = &mut handles[first.handle];
                if first.rejoin {
                    *handle = None;
                }
                let sender = handle.get_or_insert_with(|| take_seat(channel));
                let lane = sender.lane().expect("it has a seat");
                let mut delay = || self.weather.delay(&mut random);
                delay();
                compose(&mut bytes, self.value(history, who, index), first.length);
                if !first.way.is_batch() {
                    send_one(sender, first.way, &bytes, &recorder);
                    continue;
                }
                let mut batch = sender.batch();
                let goes_on =
                    |step: &Step| step.way.is_batch() && !step.rejoin && step.handle == first.handle;
                let more = iter::from_fn(|| steps.next_if(|(_, step)| goes_on(step)));
                for (index, step) in iter::once((index, first)).chain(more) {
                    compose(&mut bytes, self.value(history, who, index), step.length);
                    let begin = recorder.begin();
                    let is_sent = match step.way {
                        SendWay::Batch => batch.send(&bytes).map(|()| true).expect("send"),
                        _ => unless_full(batch.try_send(&bytes)),
                    };
                    note_send(&recorder, (begin, recorder.end()), lane, &bytes, is_sent);
                    delay();
                }
            }
            board.finished[history].fetch_add(1, Release);
        }
    }

    /// Waits until everybody is ready for a history.
    fn meet(&self, board: &RecordBoard, history: usize) {
        board.ready.fetch_add(1, Release);
        await_count(&board.ready, (history + 1) as u64 * (self.senders + 1) as u64);
    }

    fn receive(&self, board: &RecordBoard, clock: Clock, mut receiver: Receiver) {
        receiver.set_end(EndOfStream::Never);
        for history in 0..BATCH {
            let mut random = self.random(history, CREW - 1);
            let sure = self.plans(history).iter().flatten().filter(|step| step.way.is_sure()).count();
            self.meet(board, history);
            let recorder = Recorder { page: &board.pages[history][CREW - 1], clock };
            let mut taker =
                Taker { receiver: &mut receiver, recorder, weather: self.weather, empties: 0, taken: 0 };
            loop {
                // Seen before the last looks, so that those see everything.
                let finished = board.finished[history].load(Acquire) as usize == self.senders;
                if finished {
                    while taker.take(pick(&TRYING, &mut random), &mut random) {}
                    break;
                }
                self.weather.delay(&mut random);
                let choice = random.below(16);
                let way = match choice {
                    // Something will come for certain.
                    _ if taker.taken < sure && (choice < 3 || taker.empties > EMPTIES) => {
                        pick(&WAITING, &mut random)
                    }
                    _ if taker.empties > EMPTIES && taker.receiver.is_empty() => {
                        thread::yield_now();
                        continue;
                    }
                    3..5 => pick(&LIMITED, &mut random),
                    _ => pick(&TRYING, &mut random),
                };
                taker.take(way, &mut random);
            }
            while taker.taken + taker.empties < self.operations as usize {
                assert!(!taker.take(pick(&TRYING, &mut random), &mut random), "something comes late");
            }
        }
    }
}

fn pick(ways: &[RecvWay], random: &mut Random) -> RecvWay {
    ways[random.below(ways.len() as u64) as usize]
}

/// Words that follow from the value, which is the first.
fn compose(bytes: &mut Vec<u8>, value: u64, length: u32) {
    bytes.clear();
    bytes.extend_from_slice(&value.to_le_bytes());
    while bytes.len() < length as usize {
        bytes.extend_from_slice(&mix(value ^ (bytes.len() as u64) << 48).to_le_bytes());
    }
    bytes.truncate(length as usize);
}

/// The value of a message that is whole.
fn value_of(bytes: &[u8]) -> u64 {
    let value = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
    let mut expected = Vec::new();
    compose(&mut expected, value, bytes.len() as u32);
    assert_eq!(bytes, expected, "torn: {value:x}");
    value
}

fn unless_full<T>(result: Result<(), TrySendError<T>>) -> bool {
    match result {
        Ok(()) => true,
        Err(TrySendError::Full(_)) => false,
        Err(error) => panic!("try_send: {error}"),
    }
}

fn note_send(recorder: &Recorder<'_>, times: (u64, u64), lane: u32, bytes: &[u8], is_sent: bool) {
    let (value, length) = (value_of(bytes), bytes.len() as u32);
    let act = if is_sent { Act::Send { value, lane, length } } else { Act::Full { lane, length } };
    recorder.note(act, times);
}

/// Sends a message, but for batches.
fn send_one(sender: &mut Sender, way: SendWay, bytes: &[u8], recorder: &Recorder<'_>) {
    let lane = sender.lane().expect("it has a seat");
    let mut begin = recorder.begin();
    let is_sent = match way {
        SendWay::Plain => sender.send(bytes).map(|()| true).expect("send"),
        SendWay::Try => unless_full(sender.try_send(bytes)),
        SendWay::Timeout => match sender.send_timeout(bytes, Duration::from_micros(50)) {
            Ok(()) => true,
            Err(SendTimeoutError::Timeout(_)) => false,
            Err(error) => panic!("send_timeout: {error}"),
        },
        SendWay::Slot | SendWay::TrySlot => {
            let slot = match way {
                SendWay::Slot => Some(sender.reserve(bytes.len()).expect("reserve")),
                _ => match sender.try_reserve(bytes.len()) {
                    Ok(slot) => Some(slot),
                    Err(TrySendError::Full(())) => None,
                    Err(error) => panic!("try_reserve: {error}"),
                },
            };
            let is_found = slot.is_some();
            if let Some(mut slot) = slot {
                slot.write_at(0, bytes).expect("it fits");
                begin = recorder.begin(); // nothing is sent before
                slot.commit().expect("commit");
            }
            is_found
        }
        SendWay::Batch | SendWay::TryBatch => unreachable!("taken apart by the caller"),
    };
    note_send(recorder, (begin, recorder.end()), lane, bytes, is_sent);
}

/// The receiver at work in one history.
struct Taker<'a> {
    receiver: &'a mut Receiver,
    recorder: Recorder<'a>,
    weather: Weather,
    empties: usize,
    taken: usize,
}

/// What there is when there is nothing.
fn unless_empty<T>(result: Result<T, TryRecvError>) -> Option<T> {
    match result {
        Ok(found) => Some(found),
        Err(TryRecvError::Empty) => None,
        Err(error) => panic!("try_recv: {error}"),
    }
}

fn unless_late<T>(result: Result<T, RecvTimeoutError>) -> Option<T> {
    match result {
        Ok(found) => Some(found),
        Err(RecvTimeoutError::Timeout) => None,
        Err(error) => panic!("recv_timeout: {error}"),
    }
}

impl Taker<'_> {
    /// Does it, and writes down what came of it. False: nothing was there.
    fn take(&mut self, way: RecvWay, random: &mut Random) -> bool {
        let (receiver, recorder) = (&mut *self.receiver, self.recorder);
        let limit = Duration::from_micros(100);
        let most = 1 + random.below(6) as usize;
        let mut buffer = [0; 2048];
        let begin = recorder.begin();
        let values = match way {
            RecvWay::Try | RecvWay::Timeout | RecvWay::Plain => {
                let message = match way {
                    RecvWay::Try => unless_empty(receiver.try_recv()),
                    RecvWay::Timeout => unless_late(receiver.recv_timeout(limit)),
                    _ => Some(receiver.recv().expect("recv")),
                };
                let times = (begin, recorder.end());
                message.map(|message| {
                    let value = value_of(&message.to_vec());
                    recorder.note(Act::Receive { value }, times);
                    self.weather.delay(random);
                    let begin = recorder.begin();
                    drop(message);
                    recorder.note(Act::Release { value }, (begin, recorder.end()));
                    1
                })
            }
            RecvWay::TryBatch | RecvWay::BatchTimeout | RecvWay::Batch => {
                let batch = match way {
                    RecvWay::TryBatch => unless_empty(receiver.try_recv_batch(most)),
                    RecvWay::BatchTimeout => unless_late(receiver.recv_batch_timeout(most, limit)),
                    _ => Some(receiver.recv_batch(most).expect("recv_batch")),
                };
                let times = (begin, recorder.end());
                batch.map(|batch| {
                    let mut lent: Vec<(u32, u64)> =
                        batch.iter().map(|message| (message.lane(), value_of(&message.to_vec()))).collect();
                    lent.iter().for_each(|&(_, value)| recorder.note(Act::Receive { value }, times));
                    self.weather.delay(random);
                    let (count, begin) = (batch.len(), recorder.begin());
                    drop(batch);
                    let times = (begin, recorder.end());
                    // One lane after the other, in the order of their first messages.
                    let lanes: Vec<u32> = lent.iter().map(|&(lane, _)| lane).collect();
                    lent.sort_by_key(|(lane, _)| lanes.iter().position(|other| other == lane));
                    lent.iter().for_each(|&(_, value)| recorder.note(Act::Release { value }, times));
                    count
                })
            }
            _ => {
                // Into a vector or into the buffer.
                let mut bytes = None;
                let length = match way {
                    RecvWay::TryInto => unless_empty(receiver.try_recv_into(&mut buffer)),
                    RecvWay::IntoTimeout => unless_late(receiver.recv_into_timeout(&mut buffer, limit)),
                    RecvWay::Into => Some(receiver.recv_into(&mut buffer).expect("recv_into")),
                    RecvWay::TryVec => {
                        bytes = unless_empty(receiver.try_recv_vec());
                        None
                    }
                    _ => {
                        bytes = Some(receiver.recv_vec().expect("recv_vec"));
                        None
                    }
                };
                let times = (begin, recorder.end());
                let bytes = bytes.or_else(|| length.map(|length| buffer[..length].to_vec()));
                bytes.map(|bytes| {
                    let value = value_of(&bytes);
                    recorder.note(Act::Receive { value }, times);
                    recorder.note(Act::Release { value }, times);
                    1
                })
            }
        };
        match values {
            Some(count) => self.taken += count,
            None => {
                recorder.note(Act::Empty, (begin, recorder.end()));
                self.empties += 1;
            }
        }
        values.is_some()
    }
}

fn print_history(history: &History) {
    let mut all: Vec<(usize, &Operation)> = history
        .processes()
        .enumerate()
        .flat_map(|(who, list)| list.iter().map(move |one| (who, one)))
        .collect();
    all.sort_by_key(|(_, operation)| operation.begin);
    println!("{:?}, {:?}, lanes from {:?}:", history.rule, history.shape, history.tails);
    all.iter().for_each(|(who, operation)| println!("  process {who}: {operation}"));
}

/// What a history becomes when something goes wrong, in five ways; some are not possible with every history.
fn spoilt(history: &History, random: &mut Random) -> Vec<(&'static str, History)> {
    let mut found = Vec::new();
    let mut with = |what, change: &mut dyn FnMut(&mut Vec<Operation>)| {
        let mut other = history.clone();
        change(&mut other.receiver);
        found.push((what, other));
    };
    let sent = |wanted: u64| {
        let mut all = history.senders.iter().flatten();
        *all.find(|one| matches!(one.act, Act::Send { value, .. } if value == wanted)).expect("it was sent")
    };
    let receives: Vec<(usize, u64)> = history
        .receiver
        .iter()
        .enumerate()
        .filter_map(|(index, operation)| match operation.act {
            Act::Receive { value } => Some((index, value)),
            _ => None,
        })
        .collect();
    if receives.is_empty() {
        return found;
    }
    let (index, value) = receives[random.below(receives.len() as u64) as usize];
    with("one lost", &mut |list| _ = list.remove(index));
    with("one doubled", &mut |list| list.insert(index, list[index]));
    let after = history.receiver[index].end;
    with("one received once more, later", &mut |list| {
        let last = list.last().map_or(after, |last| last.end);
        list.push(Operation { act: Act::Receive { value }, begin: last, end: last });
    });
    // Another one of the same queue that was sent before it, and was received before it.
    let lane = |operation: Operation| match operation.act {
        Act::Send { lane, .. } => lane,
        _ => unreachable!("only sends are asked for"),
    };
    let is_before = |other: &&(usize, u64)| {
        sent(other.1).end < sent(value).begin
            && (history.rule == Rule::Total || lane(sent(other.1)) == lane(sent(value)))
    };
    if let Some(&(other, earlier)) = receives.iter().rfind(is_before) {
        with("two swapped", &mut |list| {
            list[index].act = Act::Receive { value: earlier };
            list[other].act = Act::Receive { value };
        });
    }
    let begin = history.receiver[index].begin;
    if sent(value).end < begin {
        with("nothing found before it", &mut |list| {
            list.insert(index, Operation { act: Act::Empty, begin, end: begin });
        });
    }
    found
}

/// What was recorded.
#[derive(Debug, Default)]
struct Totals {
    histories: u64,
    operations: u64,
    received: u64,
    empties: u64,
    fulls: u64,
    overlaps: Overlaps,
    searched: u64,
    spoilt: u64,
}

fn histories_are_linearizable() {
    let (seed, clock, started) = (seed(), Clock::new(), Instant::now());
    let (full, small) = if is_long() { LONG } else { SHORT };
    let board = Board::<RecordBoard>::new();
    let (mut totals, mut number) = (Totals::default(), 0);
    let mut record = |operations: u64, wanted: u64| {
        let mut recorded = 0;
        let begun = Instant::now();
        while recorded < wanted && (is_long() || begun.elapsed() < SHORT_TIME) {
            number += 1;
            let group = Group::draw(seed, number, operations);
            let histories = group.run(&board, clock).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
            recorded += histories.len() as u64;
            histories.iter().for_each(|history| judge(history, &group, &mut totals));
        }
    };
    record(OPERATIONS, full);
    record(FEW_OPERATIONS, small);
    println!(
        "histories: {}, of {} operations in all: {} received, {} found nothing, {} found no room; at the same time: \
         {} pairs of sends, {} of a send and a receive; {} histories searched as well; {} spoilt ones noticed; {:.1} s",
        grouped(totals.histories),
        grouped(totals.operations),
        grouped(totals.received),
        grouped(totals.empties),
        grouped(totals.fulls),
        grouped(totals.overlaps.sends),
        grouped(totals.overlaps.mixed),
        grouped(totals.searched),
        grouped(totals.spoilt),
        started.elapsed().as_secs_f64()
    );
    assert!(totals.fulls > 0 && totals.empties > 0, "not everything was tried");
    let is_hardly_any = totals.overlaps.sends <= totals.histories;
    assert!(allowed_cores().len() == 1 || !is_hardly_any, "hardly anything happened at the same time");
}

/// Checks a history, and that the check would see what could be wrong with it.
fn judge(history: &History, group: &Group, totals: &mut Totals) {
    if let Err(why) = check(history) {
        print_history(history);
        panic!("not what a channel does: {why}\n{group:?}");
    }
    let received = history.count(|act| matches!(act, Act::Receive { .. }));
    assert_eq!(received, history.count(|act| matches!(act, Act::Send { .. })), "all is received in the end");
    assert!(history.len() as u64 >= 2 * group.operations, "{} operations only", history.len());
    if group.operations == FEW_OPERATIONS {
        if !is_linearizable(history) {
            print_history(history);
            panic!("no order found, though the quick check found nothing\n{group:?}");
        }
        totals.searched += 1;
    }
    let mut random = Random::new(group.seed ^ totals.histories);
    for (what, other) in spoilt(history, &mut random) {
        if check(&other).is_ok() {
            print_history(&other);
            panic!("not noticed: {what}\n{group:?}");
        }
        totals.spoilt += 1;
    }
    totals.histories += 1;
    totals.operations += history.len() as u64;
    totals.received += received;
    totals.empties += history.count(|act| matches!(act, Act::Empty));
    totals.fulls += history.count(|act| matches!(act, Act::Full { .. }));
    let overlaps = history.overlaps();
    totals.overlaps.sends += overlaps.sends;
    totals.overlaps.mixed += overlaps.mixed;
}
