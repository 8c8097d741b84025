//! Honest users of a channel that somebody plays with: senders, a receiver, openers, observers, all at full speed and
//! with every form of call, and a watch over them.
//!
//! The rule for each of them: it ends by itself when it is told to, it does not panic, no call takes longer than its
//! limit and a ceiling, nothing it receives is longer than a message may be, no byte beside a buffer changes, nothing
//! beside the mapped segment is touched (pages that nobody may touch lie around it), it stays small, and every error is
//! one of those that the attack excuses.
#![allow(unsafe_code, reason = "limits of a process and pages around a mapping, each wrapped once")]

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::thread;
use std::time::{Duration, Instant};

use sysring::{
    Builder, Collector, Fault, Observer, OpenError, OpenErrorKind, Receiver, RecvError, RecvTimeoutError,
    SendTimeoutError, Sender, Tap, Tapped, TryRecvError, TrySendError,
};

use crate::board::{Board, Clock, Shareable};
use crate::message::{Random, compose, decode_if_whole};
use crate::process::{Child, End, Name, Object, fork, objects};

/// Sending users at most.
pub(crate) const SENDERS: usize = 4;
/// Places: the senders, the receiver, an opener, an observer.
const USERS: usize = SENDERS + 3;
/// Labels that one round's rule may excuse.
const LABELS: usize = 32;

/// What a call may take beyond its limit: the ceiling, and what a crowded machine adds.
const SLACK: Duration = Duration::from_millis(1000 + 2500);
/// Time of a processor, in nanoseconds, that no call needs beyond its limit.
const MUCH_WORK: u64 = 1_000_000_000;
/// How long a process may not get its turn.
const STARVED: Duration = Duration::from_secs(30);
/// Limit of calls that open: whoever finds a half-made channel gives its maker ten seconds.
const OPENING: Duration = Duration::from_secs(10);
/// Calls that do not wait.
const AT_ONCE: Duration = Duration::ZERO;
/// No user needs more memory than this beyond the segment, whatever the segment says.
const MEMORY: u64 = 96 << 20;
/// Address space that a user may ask for beyond what it has at its start.
const ADDRESSES: u64 = 512 << 20;
/// Room for the largest message of all.
const LARGEST: usize = 1 << 16;
/// Bytes on both sides of a buffer that nobody may write.
const BORDER: usize = 64;
const UNTOUCHED: u8 = 0xA5;

/// What a user is just doing.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
enum Form {
    Open,
    Send,
    TrySend,
    SendTimeout,
    SendDeadline,
    Reserve,
    TryReserve,
    ReserveTimeout,
    Commit,
    SendBatch,
    Recv,
    TryRecv,
    RecvTimeout,
    RecvInto,
    RecvVec,
    RecvBatch,
    Iterate,
    Ask,
    Observe,
    List,
    Collect,
    Leave,
}

const FORMS: [Form; 22] = [
    Form::Open,
    Form::Send,
    Form::TrySend,
    Form::SendTimeout,
    Form::SendDeadline,
    Form::Reserve,
    Form::TryReserve,
    Form::ReserveTimeout,
    Form::Commit,
    Form::SendBatch,
    Form::Recv,
    Form::TryRecv,
    Form::RecvTimeout,
    Form::RecvInto,
    Form::RecvVec,
    Form::RecvBatch,
    Form::Iterate,
    Form::Ask,
    Form::Observe,
    Form::List,
    Form::Collect,
    Form::Leave,
];

/// What can be said of the messages of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Nothing but that none is too long.
    Any,
    /// All arrive, whole, in order, once; but for those of one lane, if there is such a lane.
    AllBut(Option<u32>),
}

/// A channel, and what its users do with it for a while.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    pub(crate) builder: Builder,
    /// Of the users.
    pub(crate) senders: usize,
    /// Calls without a limit are made too; they end with the removal of the channel.
    pub(crate) plain: bool,
    pub(crate) content: Content,
    /// Errors that the attack excuses.
    pub(crate) excused: &'static [&'static str],
    pub(crate) seed: u64,
}

/// What the users tell.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct CrowdBoard {
    /// The attacker shall end; then the senders, the opener and the observer; then the receiver, when it is empty.
    pub(crate) calm: AtomicU32,
    stop: AtomicU32,
    drain: AtomicU32,
    /// 1 + the number of the sender on the lane that is attacked.
    victim: AtomicU32,
    pub(crate) received: AtomicU64,
    /// Received in the attacked lane, or not whole.
    strange: AtomicU64,
    sent: [AtomicU64; SENDERS],
    calls: AtomicU64,
    /// The longest that a call has taken beyond its limit.
    longest: AtomicU64,
    /// The most memory that a user has had.
    memory: AtomicU64,
    /// What the attacker has done.
    pub(crate) blows: AtomicU64,
    /// Afterwards: the channel was of use after what its error advised only.
    pub(crate) helped: AtomicU64,
    labels: [AtomicU64; LABELS],
    users: [UserRecord; USERS],
}

#[derive(Debug)]
#[repr(C, align(64))]
struct UserRecord {
    /// When the present call began; 0 = there is none.
    since: AtomicU64,
    /// Nanoseconds that it may take; `u64::MAX` = until the channel is removed.
    limit: AtomicU64,
    form: AtomicU32,
    /// By the watch: the beginning of a call that was over its time, and what its process had spent when that was seen.
    seen_over: AtomicU64,
    spent: AtomicU64,
}

// SAFETY: atomics only.
unsafe impl Shareable for CrowdBoard {}

/// Totals over many rounds.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) rounds: u64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) strange: u64,
    pub(crate) calls: u64,
    pub(crate) blows: u64,
    /// Semaphore sets that were there at the end of a round beyond the one that the channel needs.
    pub(crate) sets: u64,
    longest: u64,
    memory: u64,
    labels: BTreeMap<&'static str, u64>,
}

impl Totals {
    /// Errors by name, for people.
    pub(crate) fn errors(&self) -> String {
        let each = self.labels.iter().map(|(label, count)| format!("{label} {count}"));
        each.collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn limits(&self) -> String {
        let (over, memory) = (Duration::from_nanos(self.longest), self.memory >> 20);
        format!("the longest call took {over:.0?} more than its limit, no user had more than {memory} MiB")
    }

    pub(crate) fn count(&self, label: &str) -> u64 {
        self.labels.get(label).copied().unwrap_or(0)
    }
}

/// The users of one round, and the attacker.
pub(crate) struct Crowd<'a> {
    board: &'a Board<CrowdBoard>,
    clock: Clock,
    round: &'a Round,
    users: Vec<(&'static str, usize, Child)>,
    attacker: Option<Child>,
    /// Behind the users: after a failure they are killed before it is removed.
    pub(crate) name: Name,
    /// The channel's segment.
    pub(crate) id: i32,
    before: Vec<Object>,
}

impl<'a> Crowd<'a> {
    /// Makes the channel and starts everybody. The attacker is to end when the board says calm.
    pub(crate) fn start(
        board: &'a Board<CrowdBoard>,
        clock: Clock,
        round: &'a Round,
        attack: impl FnOnce(i32),
    ) -> Crowd<'a> {
        board.clear();
        let before = objects();
        let name = Name::new();
        let id = round.builder.create(&name).expect("create").id();
        let attacker = Some(fork(|| attack(id)));
        let mut crowd = Crowd { board, clock, round, name, id, before, users: Vec::new(), attacker };
        crowd.add("receiver", SENDERS, |user| user.receive());
        for who in 0..round.senders {
            crowd.add("sender", who, |user| user.send(who as u32));
        }
        crowd.add("opener", SENDERS + 1, |user| user.open_again_and_again());
        crowd.add("observer", SENDERS + 2, |user| user.observe());
        crowd
    }

    fn add(&mut self, what: &'static str, place: usize, body: impl FnOnce(&mut User<'_>)) {
        let random = Random::new(self.round.seed ^ (place as u64 + 1) << 32);
        let (board, clock, round, name, id) = (self.board, self.clock, self.round, &self.name, self.id);
        let child = fork(|| {
            limit_addresses();
            let record = &board.users[place];
            let mut user = User { board, record, clock, round, name, id, random, fenced: false };
            body(&mut user);
            board.memory.fetch_max(peak_memory(), Relaxed);
        });
        self.users.push((what, place, child));
    }

    /// Lets them work for so long after the first message, or until none has come for a while.
    pub(crate) fn run(&self, time: Duration, silence: Duration) {
        let (mut begun, mut since, mut seen) = (Instant::now(), Instant::now(), 0);
        // The attack may hit the first who come; but whoever counts on messages waits for one of a sender. (On a busy
        // machine the opener may be there long before, with messages of its own in the only lane.)
        let must_send = self.must_send();
        let first = if self.round.content == Content::Any { time } else { STARVED };
        while begun.elapsed() < if seen == 0 { first } else { time } {
            if seen > 0 && since.elapsed() > silence {
                break;
            }
            thread::sleep(Duration::from_millis(2));
            self.watch(&self.users);
            let received = self.board.received.load(Relaxed);
            if received != seen && (!must_send || self.sent() > 0) {
                since = Instant::now();
                begun = if seen == 0 { since } else { begun };
                seen = received;
            }
        }
    }

    /// Whether messages of the senders come through.
    fn must_send(&self) -> bool {
        // A seat whose holder may not use the set when it leaves stays taken until that process ends, and the opener
        // may so come to hold them all.
        self.round.content != Content::Any && !self.round.excused.contains(&"EACCES")
    }

    /// Messages that the senders have sent; the opener's are not counted.
    fn sent(&self) -> u64 {
        self.board.sent.iter().map(|sent| sent.load(Relaxed)).sum()
    }

    /// Nobody has ended by itself, nobody hangs.
    fn watch(&self, users: &[(&'static str, usize, Child)]) {
        for (what, place, child) in users {
            if let Some(end) = child.try_wait() {
                panic!("{what} {place} ended by itself: {end:?}; {:?}", self.round);
            }
            self.is_hanging(what, *place, child);
        }
        let ended = self.attacker.as_ref().and_then(Child::try_wait);
        assert_eq!(ended, None, "the attacker ended by itself");
    }

    /// A call that is over its time hangs if its process sleeps, or has had a second of a processor since that was first
    /// seen; else it has only not had its turn, on a machine that is very busy.
    fn is_hanging(&self, what: &str, place: usize, child: &Child) {
        let record = &self.board.users[place];
        let (since, limit) = (record.since.load(Acquire), record.limit.load(Relaxed));
        let took = self.clock.now().saturating_sub(since);
        if since == 0 || limit == u64::MAX || took <= limit + SLACK.as_nanos() as u64 {
            return;
        }
        let (running, spent) = progress_of(child.pid());
        if record.seen_over.swap(since, Relaxed) != since {
            record.spent.store(spent, Relaxed);
        }
        let spent = spent.saturating_sub(record.spent.load(Relaxed));
        let is_starved = running && spent < MUCH_WORK && took < limit + STARVED.as_nanos() as u64;
        if !is_starved && record.since.load(Acquire) == since {
            let form = FORMS[record.form.load(Relaxed) as usize];
            let place = format!("{}\n{}", where_is(child.pid()), crate::scribble::header(self.id));
            panic!("{what} hangs for {took} ns in {form:?}, limit {limit} ns; {:?}\n{place}", self.round);
        }
    }

    /// The attacker stops.
    pub(crate) fn calm(&mut self) {
        self.board.calm.store(1, Release);
        if let Some(attacker) = self.attacker.take() {
            await_end(&attacker, STARVED).expect("the attacker ends when it is told to");
        }
    }

    /// Everybody ends. What is left of the channel stays.
    pub(crate) fn stop(&mut self) {
        self.board.stop.store(1, Release);
        if self.round.plain {
            self.mark_removed();
            for record in &self.board.users {
                let _ = record.limit.compare_exchange(u64::MAX, 0, Relaxed, Relaxed);
            }
        }
        let mut users = std::mem::take(&mut self.users);
        let receiver = users.remove(0);
        users.iter().for_each(|user| self.join(user));
        self.board.drain.store(1, Release);
        self.join(&receiver);
        if self.must_send() {
            let received = self.board.received.load(Relaxed);
            let excused: Vec<_> = self.round.excused.iter().zip(&self.board.labels).collect();
            assert!(
                self.sent() > 0,
                "no sender could send anything, {received} messages of the opener, errors {excused:?}; {:?}",
                self.round
            );
        }
    }

    /// Whoever waits without a limit is told that the channel is removed; also if it is one that an opener has made in
    /// place of the first.
    fn mark_removed(&self) {
        for object in objects().into_iter().filter(|object| !self.before.contains(object)) {
            if let Object::Segment { id, .. } = object {
                crate::scribble::mark_removed(id);
            }
        }
    }

    fn join(&self, (what, place, child): &(&'static str, usize, Child)) {
        let started = Instant::now();
        let end = loop {
            if let Some(end) = child.try_wait() {
                break end;
            }
            if self.round.plain {
                self.mark_removed();
            }
            let record = &self.board.users[*place];
            if started.elapsed() > SLACK {
                let _ = record.limit.compare_exchange(u64::MAX, 0, Relaxed, Relaxed);
            }
            self.is_hanging(what, *place, child);
            if started.elapsed() > OPENING + STARVED {
                panic!("{what} does not end; {:?}\n{}", self.round, where_is(child.pid()));
            }
            thread::sleep(Duration::from_millis(1));
        };
        assert_eq!(end, End::Exit(0), "{what} {place}; {:?}", self.round);
    }

    /// Removes what is left, and adds what was counted.
    pub(crate) fn end(self, totals: &mut Totals) {
        let board = self.board;
        let count = |word: &AtomicU64| word.load(Relaxed);
        totals.rounds += 1;
        totals.sent += board.sent.iter().map(count).sum::<u64>();
        totals.received += count(&board.received);
        totals.strange += count(&board.strange);
        totals.calls += count(&board.calls);
        totals.blows += count(&board.blows);
        totals.longest = totals.longest.max(count(&board.longest));
        totals.memory = totals.memory.max(count(&board.memory));
        for (label, counter) in self.round.excused.iter().zip(&board.labels) {
            if count(counter) > 0 {
                *totals.labels.entry(label).or_default() += count(counter);
            }
        }
        let _ = sysring::remove(&self.name);
        let mut sets = 0;
        for object in objects().into_iter().filter(|object| !self.before.contains(object)) {
            match object {
                Object::Set { id, .. } => {
                    sets += 1;
                    crate::set_attacks::remove_set(id);
                }
                Object::Segment { id, .. } => {
                    let _ = sysring::segment::Segment::from_id(id).remove();
                }
            }
        }
        totals.sets += u64::saturating_sub(sets, 1);
    }
}

impl CrowdBoard {
    fn clear(&self) {
        [&self.calm, &self.stop, &self.drain, &self.victim].iter().for_each(|word| word.store(0, Relaxed));
        let counts = [
            &self.received,
            &self.strange,
            &self.calls,
            &self.longest,
            &self.memory,
            &self.blows,
            &self.helped,
        ];
        let all = counts.into_iter().chain(&self.sent).chain(&self.labels);
        all.chain(self.users.iter().map(|user| &user.since)).for_each(|word| word.store(0, Relaxed));
    }
}

fn await_end(child: &Child, patience: Duration) -> Option<End> {
    let started = Instant::now();
    while started.elapsed() < patience {
        if let Some(end) = child.try_wait() {
            return Some(end);
        }
        thread::sleep(Duration::from_micros(500));
    }
    None
}

/// Where the kernel says that a process is.
fn where_is(pid: i32) -> String {
    let files = ["wchan", "syscall", "stack"].map(|file| {
        let text = fs::read_to_string(format!("/proc/{pid}/{file}"));
        format!("{file}: {}", text.unwrap_or_else(|error| error.to_string()))
    });
    files.join("\n")
}

/// Whether a process wants the processor, and how many nanoseconds it has had it.
fn progress_of(pid: i32) -> (bool, u64) {
    let read = |file| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let running = read("stat").rsplit(") ").next().is_some_and(|rest| rest.starts_with('R'));
    let spent = read("schedstat").split(' ').next().and_then(|word| word.parse().ok());
    (running, spent.unwrap_or(0))
}

/// The most memory that this process has had, in bytes.
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}

/// Whoever asks for memory of an attacker's size shall not get it.
fn limit_addresses() {
    let statm = fs::read_to_string("/proc/self/statm").expect("/proc");
    let pages: u64 = statm.split(' ').next().and_then(|word| word.parse().ok()).expect("a number");
    let limit = libc::rlimit { rlim_cur: pages * 4096 + ADDRESSES, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: a struct of ours for the kernel to read.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) };
    assert_eq!(set, 0, "setrlimit: {}", std::io::Error::last_os_error());
}

/// Puts a page that nobody may touch in front of the segment and one behind it, where there is room.
fn fence_off(id: i32) {
    const PAGE: usize = 4096;
    let maps = fs::read_to_string("/proc/self/maps").expect("/proc");
    for line in maps.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [range, _, _, _, inode, path, ..] = words[..] else { continue };
        if !path.starts_with("/SYSV") || inode.parse() != Ok(id) {
            continue;
        }
        let (begin, end) = range.split_once('-').expect("a range");
        let [begin, end] = [begin, end].map(|text| usize::from_str_radix(text, 16).expect("an address"));
        for place in [begin - PAGE, end] {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
            // SAFETY: MAP_FIXED_NOREPLACE takes only what nobody has; that it fails is fine.
            unsafe { libc::mmap(place as *mut _, PAGE, libc::PROT_NONE, flags, -1, 0) };
        }
    }
}

/// A buffer with a border that nobody may write.
struct Buffer(Vec<u8>);

impl Buffer {
    fn new(largest: usize) -> Buffer {
        Buffer(vec![UNTOUCHED; largest + 2 * BORDER])
    }

    /// Lends `length` bytes of it, and looks at the others afterwards.
    fn lend<R>(&mut self, length: usize, body: impl FnOnce(&mut [u8]) -> R) -> R {
        let result = body(&mut self.0[BORDER..BORDER + length]);
        let (front, rest) = self.0.split_at(BORDER);
        let beside = front.iter().chain(&rest[length..]);
        assert!(beside.into_iter().all(|&byte| byte == UNTOUCHED), "written beside a buffer of {length}");
        self.0[BORDER..BORDER + length].fill(UNTOUCHED);
        result
    }
}

/// One user at work.
struct User<'a> {
    board: &'a CrowdBoard,
    record: &'a UserRecord,
    clock: Clock,
    round: &'a Round,
    name: &'a Name,
    id: i32,
    random: Random,
    fenced: bool,
}

/// An error as the totals name it, and its text.
type Named = (String, String);

fn first_word(text: impl ToString) -> String {
    let text = text.to_string();
    text.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
}

fn of_open(error: &OpenError) -> Named {
    let label = match (error.kind(), error.errno()) {
        (OpenErrorKind::System | OpenErrorKind::Limit, Some(errno)) => first_word(errno),
        (kind, _) => first_word(format!("{kind:?}")),
    };
    (label, error.to_string())
}

fn of_fault(fault: &Fault) -> Named {
    match fault {
        Fault::Attach(error) => of_open(error),
        Fault::System(error) => (first_word(error.errno), error.to_string()),
        other => (first_word(format!("{other:?}")), other.to_string()),
    }
}

fn of_recv(error: &RecvError) -> Named {
    match error {
        RecvError::Attach(error) => of_open(error),
        RecvError::System(error) => (first_word(error.errno), error.to_string()),
        other => (first_word(format!("{other:?}")), other.to_string()),
    }
}

impl User<'_> {
    fn is_over(&self) -> bool {
        self.board.stop.load(Acquire) == 1
    }

    /// A call that may take that long. `None`: until the channel is removed.
    fn call<R>(&self, form: Form, limit: Option<Duration>, body: impl FnOnce() -> R) -> R {
        let limit = limit.map_or(u64::MAX, |limit| limit.as_nanos() as u64);
        let since = self.clock.now();
        self.record.form.store(form as u32, Relaxed);
        self.record.limit.store(limit, Relaxed);
        self.record.since.store(since, Release);
        let result = body();
        self.record.since.store(0, Release);
        let took = self.clock.now() - since;
        if took > limit {
            self.board.longest.fetch_max(took - limit, Relaxed);
        }
        self.board.calls.fetch_add(1, Relaxed);
        result
    }

    /// Notes an error, which must be an excused one.
    fn note(&self, (label, text): Named) {
        match self.round.excused.iter().position(|excused| *excused == label) {
            Some(place) => self.board.labels[place].fetch_add(1, Relaxed),
            None => panic!("not excused: {label}: {text}"),
        };
    }

    /// Some time that a call may wait.
    fn some_time(&mut self) -> Duration {
        Duration::from_micros([0, 100, 1000, 5000, 20_000][self.random.below(5) as usize])
    }

    /// An end of the channel, tried for again and again. `None`: it is over.
    fn come<T>(
        &mut self,
        over: &AtomicU32,
        get: impl Fn(&Builder, &Name) -> Result<T, OpenError>,
    ) -> Option<T> {
        while over.load(Acquire) == 0 {
            match self.call(Form::Open, Some(OPENING), || get(&self.round.builder, self.name)) {
                Ok(end) => {
                    if !self.fenced {
                        fence_off(self.id);
                        self.fenced = true;
                    }
                    return Some(end);
                }
                Err(error) => self.note(of_open(&error)),
            }
            thread::sleep(Duration::from_micros(300));
        }
        None
    }

    fn send(&mut self, who: u32) {
        let mut writer = Writer { who, number: 0, bytes: Vec::new() };
        let board = self.board;
        while let Some(mut sender) = self.come(&board.stop, |builder, name| builder.open(name)?.sender()) {
            let strict = match self.round.content {
                Content::AllBut(attacked) if attacked.is_none() || sender.lane() != attacked => true,
                Content::AllBut(_) => {
                    self.board.victim.store(who + 1, Release);
                    false
                }
                Content::Any => false,
            };
            let mut errors = 0;
            while !self.is_over() {
                let before = writer.number;
                let sent = self.send_some(&mut sender, &mut writer);
                self.board.sent[who as usize].fetch_add(u64::from(writer.number - before), Relaxed);
                match sent {
                    Ok(()) => errors = 0,
                    Err(fault) => {
                        let label = of_fault(&fault);
                        let lost = matches!(fault, Fault::Evicted | Fault::Corrupt(_) | Fault::Removed);
                        assert!(!strict || !lost, "sender {who} on lane {:?}: {}", sender.lane(), label.1);
                        self.note(label);
                        errors += 1;
                        thread::sleep(Duration::from_micros(100));
                    }
                }
                // Lost for good, perhaps; but a seat in an honest lane is not given up, nor that in the attacked one.
                if errors > 3 && self.round.content == Content::Any {
                    break;
                }
            }
            self.call(Form::Leave, Some(AT_ONCE), || drop(sender));
        }
    }

    fn send_some(&mut self, sender: &mut Sender, writer: &mut Writer) -> Result<(), Fault> {
        let most = sender.max_message() as usize;
        let length = match self.random.below(64) {
            0 => most,
            1..4 => 16 + self.random.below(most as u64) as usize,
            4..20 => 16 + self.random.below(600) as usize,
            _ => 16 + self.random.below(100) as usize,
        };
        if most < 16 {
            return Ok(()); // no room for a message that can be told from others
        }
        writer.compose(length.min(most));
        let time = self.some_time();
        let plain = |error: sysring::SendError<&Vec<u8>>| error.fault().clone();
        let tried = |error: TrySendError<&Vec<u8>>| match error {
            TrySendError::Full(_) => None,
            TrySendError::Failed(error) => Some(error.fault().clone()),
        };
        let timed = |error: SendTimeoutError<&Vec<u8>>| match error {
            SendTimeoutError::Timeout(_) => None,
            SendTimeoutError::Failed(error) => Some(error.fault().clone()),
        };
        let bytes = &writer.bytes;
        let sent = match self.random.below(if self.round.plain { 100 } else { 90 }) {
            0..20 => self.call(Form::TrySend, Some(AT_ONCE), || sender.try_send(bytes)).map_err(tried),
            20..40 => return self.send_many(sender, writer),
            40..60 => {
                self.call(Form::SendTimeout, Some(time), || sender.send_timeout(bytes, time)).map_err(timed)
            }
            60..65 => self
                .call(Form::SendDeadline, Some(time), || sender.send_deadline(bytes, Instant::now() + time))
                .map_err(timed),
            65..75 => self.send_slot(sender, &writer.bytes, time),
            75..85 => return self.send_batch(sender, writer, time),
            85..90 => {
                self.ask_sender(sender);
                return Ok(());
            }
            90..96 => self.call(Form::Send, None, || sender.send(bytes)).map_err(plain).map_err(Some),
            _ => self
                .call(Form::Reserve, None, || {
                    let mut slot = sender.reserve(bytes.len())?;
                    slot.write(bytes).expect("it fits");
                    slot.commit()
                })
                .map_err(|error| Some(error.fault().clone())),
        };
        match sent {
            Ok(()) => {
                writer.number += 1;
                Ok(())
            }
            Err(None) => {
                thread::yield_now();
                Ok(())
            }
            Err(Some(fault)) => Err(fault),
        }
    }

    /// As many as fit, one close behind the other.
    fn send_many(&mut self, sender: &mut Sender, writer: &mut Writer) -> Result<(), Fault> {
        let length = writer.bytes.len();
        let count = 1 + self.random.below(200);
        self.call(Form::TrySend, Some(AT_ONCE), || {
            for _ in 0..count {
                match sender.try_send(&writer.bytes) {
                    Ok(()) => writer.number += 1,
                    Err(TrySendError::Full(_)) => break,
                    Err(TrySendError::Failed(error)) => return Err(error.fault().clone()),
                }
                writer.compose(length);
            }
            Ok(())
        })
    }

    fn send_slot(&mut self, sender: &mut Sender, bytes: &[u8], time: Duration) -> Result<(), Option<Fault>> {
        let spare = (self.random.below(40) as usize).min(sender.max_message() as usize - bytes.len());
        let room = bytes.len() + spare;
        let slot = if self.random.below(2) == 0 {
            self.call(Form::TryReserve, Some(AT_ONCE), || sender.try_reserve(room)).map_err(|error| {
                match error {
                    TrySendError::Full(()) => None,
                    TrySendError::Failed(error) => Some(error.fault().clone()),
                }
            })
        } else {
            self.call(Form::ReserveTimeout, Some(time), || sender.reserve_timeout(room, time)).map_err(
                |error| match error {
                    SendTimeoutError::Timeout(()) => None,
                    SendTimeoutError::Failed(error) => Some(error.fault().clone()),
                },
            )
        };
        let mut slot = slot?;
        let (front, back) = bytes.split_at(self.random.below(bytes.len() as u64) as usize);
        slot.write(front).expect("it fits");
        slot.write_at(front.len(), back).expect("it fits");
        slot.truncate(bytes.len());
        if self.random.below(8) == 0 {
            return Err(None); // without a commit the slot is aborted
        }
        self.call(Form::Commit, Some(AT_ONCE), || slot.commit()).map_err(|error| Some(error.fault().clone()))
    }

    fn send_batch(&mut self, sender: &mut Sender, writer: &mut Writer, time: Duration) -> Result<(), Fault> {
        let length = writer.bytes.len();
        let count = 1 + self.random.below(20);
        let mut batch = sender.batch();
        for _ in 0..count {
            writer.compose(length);
            let bytes = &writer.bytes;
            let sent = if self.random.below(2) == 0 {
                self.call(Form::SendBatch, Some(AT_ONCE), || batch.try_send(bytes)).map_err(|error| {
                    match error {
                        TrySendError::Full(_) => None,
                        TrySendError::Failed(error) => Some(error.fault().clone()),
                    }
                })
            } else {
                self.call(Form::SendBatch, Some(time), || batch.send_timeout(bytes, time)).map_err(|error| {
                    match error {
                        SendTimeoutError::Timeout(_) => None,
                        SendTimeoutError::Failed(error) => Some(error.fault().clone()),
                    }
                })
            };
            match sent {
                Ok(()) => writer.number += 1,
                Err(None) => break,
                Err(Some(fault)) => return Err(fault),
            }
        }
        self.call(Form::SendBatch, Some(AT_ONCE), || batch.finish());
        Ok(())
    }

    fn ask_sender(&mut self, sender: &mut Sender) {
        let asked = self.call(Form::Ask, Some(AT_ONCE), || {
            let _ = (sender.is_connected(), sender.len(), sender.is_empty());
            sender.stats()
        });
        self.note_of_stats(asked);
    }

    fn note_of_stats(&self, asked: Result<sysring::Stats, OpenError>) {
        match asked {
            Ok(stats) => assert!(stats.lanes.len() <= stats.senders as usize, "{stats:?}"),
            Err(error) => self.note(of_open(&error)),
        }
    }

    fn receive(&mut self) {
        let mut reader = Reader { next: [0; SENDERS] };
        let mut buffer = Buffer::new(LARGEST);
        let (board, any, never) = (self.board, self.round.content == Content::Any, AtomicU32::new(0));
        let (mut is_empty, over) = (false, if any { &board.stop } else { &never });
        while !is_empty
            && let Some(mut receiver) = self.come(over, |builder, name| builder.open(name)?.receiver())
        {
            let mut errors = 0;
            loop {
                let drain = board.drain.load(Acquire) == 1;
                match self.receive_some(&mut receiver, &mut reader, &mut buffer, drain) {
                    Ok(true) => errors = 0,
                    Ok(false) | Err(RecvError::Disconnected) if drain => {
                        is_empty = true;
                        break;
                    }
                    Ok(false) => {
                        errors = 0;
                        thread::yield_now();
                    }
                    Err(error) => {
                        self.judge(&error);
                        errors += 1;
                        thread::sleep(Duration::from_micros(100));
                    }
                }
                if any && (errors > 3 || self.is_over()) {
                    break;
                }
            }
            self.call(Form::Leave, Some(AT_ONCE), || drop(receiver));
        }
        if let Content::AllBut(_) = self.round.content {
            let victim = self.board.victim.load(Acquire);
            for who in (0..self.round.senders as u32).filter(|who| who + 1 != victim) {
                let sent = self.board.sent[who as usize].load(Relaxed);
                let received = u64::from(reader.next[who as usize]);
                assert_eq!(received, sent, "messages of sender {who}");
            }
        }
    }

    /// Whether the receiver's error is excused.
    fn judge(&self, error: &RecvError) {
        if let (Content::AllBut(attacked), RecvError::Corrupt(corruption)) = (self.round.content, error) {
            assert_eq!(Some(corruption.lane), attacked, "{error}");
        }
        let lost = matches!(error, RecvError::Evicted | RecvError::Removed);
        assert!(self.round.content == Content::Any || !lost, "receiver: {error}");
        self.note(of_recv(error));
    }

    /// As many as there are, one close behind the other.
    fn receive_many(
        &mut self,
        receiver: &mut Receiver,
        reader: &mut Reader,
        buffer: &mut Buffer,
    ) -> Result<(), TryRecvError> {
        let (most, count) = (receiver.max_message() as usize, 1 + self.random.below(200));
        let mut got: Vec<Vec<u8>> = Vec::new();
        let received = buffer.lend(most.min(LARGEST), |space| {
            self.call(Form::RecvInto, Some(AT_ONCE), || {
                for _ in 0..count {
                    let length = receiver.try_recv_into(space)?;
                    got.push(space[..length].to_vec());
                }
                Ok(())
            })
        });
        got.iter().for_each(|bytes| self.accept(reader, None, bytes));
        received
    }

    /// One call, or a few. False: nothing came.
    fn receive_some(
        &mut self,
        receiver: &mut Receiver,
        reader: &mut Reader,
        buffer: &mut Buffer,
        drain: bool,
    ) -> Result<bool, RecvError> {
        let time = self.some_time();
        let most = receiver.max_message() as usize;
        let tried = |error| match error {
            TryRecvError::Empty => None,
            TryRecvError::Failed(error) => Some(error),
        };
        let timed = |error| match error {
            RecvTimeoutError::Timeout => None,
            RecvTimeoutError::Failed(error) => Some(error),
        };
        let form = match self.random.below(if self.round.plain { 110 } else { 100 }) {
            // The last call of all must be one that sees the end.
            _ if drain => 0,
            form => form,
        };
        let got = match form {
            0..30 => {
                let message = match form {
                    0..15 => self.call(Form::TryRecv, Some(AT_ONCE), || receiver.try_recv()).map_err(tried),
                    15..25 => self
                        .call(Form::RecvTimeout, Some(time), || receiver.recv_timeout(time))
                        .map_err(timed),
                    _ => self
                        .call(Form::RecvTimeout, Some(time), || receiver.recv_deadline(Instant::now() + time))
                        .map_err(timed),
                };
                message.map(|message| {
                    let (lane, length) = (message.lane(), message.len());
                    assert!(length <= most, "{length} bytes are more than {most}");
                    if !drain && self.random.below(50) == 0 {
                        std::mem::forget(message);
                        return;
                    }
                    let bytes = message.to_vec();
                    let part = self.random.below(length as u64 + 1) as usize;
                    buffer.lend((length - part).min(LARGEST), |space| message.read_at(part, space));
                    buffer.lend(part.min(LARGEST), |space| message.copy_to(space));
                    self.accept(reader, Some(lane), &bytes);
                })
            }
            30..40 => self.receive_many(receiver, reader, buffer).map_err(tried),
            40..55 => {
                // Too small now and then.
                let space = if form < 43 { self.random.below(100) as usize } else { most.min(LARGEST) };
                let received = buffer.lend(space, |space| {
                    let length = if form < 48 {
                        self.call(Form::RecvInto, Some(AT_ONCE), || receiver.try_recv_into(space))
                            .map_err(tried)
                    } else {
                        self.call(Form::RecvInto, Some(time), || receiver.recv_into_timeout(space, time))
                            .map_err(timed)
                    };
                    length.map(|length| space[..length].to_vec())
                });
                received.map(|bytes| self.accept(reader, None, &bytes))
            }
            55..70 => {
                let bytes = if form < 60 {
                    self.call(Form::RecvVec, Some(AT_ONCE), || receiver.try_recv_vec()).map_err(tried)
                } else {
                    self.call(Form::RecvVec, Some(time), || receiver.recv_vec_timeout(time)).map_err(timed)
                };
                bytes.map(|bytes| self.accept(reader, None, &bytes))
            }
            70..90 => {
                let count = 1 + self.random.below(40) as usize;
                let batch = if form < 80 {
                    self.call(Form::RecvBatch, Some(AT_ONCE), || receiver.try_recv_batch(count))
                        .map_err(tried)
                } else {
                    self.call(Form::RecvBatch, Some(time), || receiver.recv_batch_timeout(count, time))
                        .map_err(timed)
                };
                batch.map(|batch| {
                    assert!((1..=count).contains(&batch.len()));
                    if self.random.below(50) == 0 {
                        std::mem::forget(batch);
                        return;
                    }
                    for message in batch.iter() {
                        assert!(message.len() <= most, "{} bytes are more than {most}", message.len());
                        self.accept(reader, Some(message.lane()), &message.to_vec());
                    }
                })
            }
            90..97 => {
                let mut error = None;
                let count = self.random.below(200) as usize;
                let got: Vec<_> = self.call(Form::Iterate, Some(AT_ONCE), || {
                    receiver
                        .try_iter()
                        .take(count)
                        .map_while(|item| item.map_err(|e| error = Some(e)).ok())
                        .collect()
                });
                got.iter().for_each(|bytes| self.accept(reader, None, bytes));
                error.map_or(Ok(()), |error| Err(Some(error)))
            }
            97..100 => {
                let asked = self.call(Form::Ask, Some(AT_ONCE), || {
                    let _ = (receiver.is_connected(), receiver.len(), receiver.is_empty());
                    let _ = receiver.departures();
                    receiver.stats()
                });
                self.note_of_stats(asked);
                Ok(())
            }
            100..104 => self
                .call(Form::Recv, None, || receiver.recv().map(|message| (message.lane(), message.to_vec())))
                .map(|(lane, bytes)| self.accept(reader, Some(lane), &bytes))
                .map_err(Some),
            104..107 => self
                .call(Form::RecvVec, None, || receiver.recv_vec())
                .map(|bytes| self.accept(reader, None, &bytes))
                .map_err(Some),
            _ => {
                let length =
                    self.call(Form::RecvBatch, None, || receiver.recv_batch(5).map(|batch| batch.len()));
                length.map(|_| ()).map_err(Some)
            }
        };
        match got {
            Ok(()) => Ok(true),
            // As its text says, the message stays.
            Err(Some(RecvError::TooSmall { needed, given })) if given < needed && needed <= most => Ok(true),
            Err(None) => Ok(false),
            Err(Some(error)) => Err(error),
        }
    }

    fn accept(&self, reader: &mut Reader, lane: Option<u32>, bytes: &[u8]) {
        self.board.received.fetch_add(1, Relaxed);
        let Content::AllBut(attacked) = self.round.content else {
            self.board.strange.fetch_add(decode_if_whole(bytes).is_none().into(), Relaxed);
            return;
        };
        let victim = self.board.victim.load(Acquire);
        match decode_if_whole(bytes) {
            _ if lane.is_some() && lane == attacked => {}
            Some((OPENER, _)) => return,
            Some((who, number)) if who + 1 != victim => {
                let next = &mut reader.next[who as usize];
                assert_eq!(number, *next, "sender {who} in lane {lane:?}: out of order");
                *next += 1;
                return;
            }
            Some(_) => assert!(attacked.is_some()),
            // A copying form does not tell the lane. If it was another one, a message will be missing in the end.
            None => assert!(lane.is_none() && attacked.is_some(), "torn in lane {lane:?}: {bytes:?}"),
        }
        self.board.strange.fetch_add(1, Relaxed);
    }

    fn open_again_and_again(&mut self) {
        let mut writer = Writer { who: OPENER, number: 0, bytes: Vec::new() };
        while !self.is_over() {
            // Most find the channel; some would make it, where one that others are still using cannot be lost by that.
            let make = self.random.below(16) == 0 && self.round.content == Content::Any;
            let builder = &self.round.builder;
            let opened = self.call(Form::Open, Some(OPENING), || {
                if make { builder.open_or_create(self.name) } else { builder.open(self.name) }
            });
            let channel = match opened {
                Ok(channel) => channel,
                Err(error) => {
                    self.note(of_open(&error));
                    thread::sleep(Duration::from_micros(300));
                    continue;
                }
            };
            match self.call(Form::Open, Some(OPENING), || channel.sender()) {
                Ok(mut sender) => {
                    writer.compose(16 + self.random.below(50) as usize);
                    if sender.max_message() >= 100 {
                        let sent = self.call(Form::TrySend, Some(AT_ONCE), || sender.try_send(&writer.bytes));
                        if let Err(TrySendError::Failed(error)) = sent {
                            self.note(of_fault(error.fault()));
                        }
                    }
                    if self.random.below(4) == 0
                        && let Err(error) = self.call(Form::Open, Some(OPENING), || sender.try_clone())
                    {
                        self.note(of_open(&error));
                    }
                    self.call(Form::Leave, Some(AT_ONCE), || drop(sender));
                }
                Err(error) => self.note(of_open(&error)),
            }
            // The receiver has the seat, or will want it back.
            if self.random.below(16) == 0 && self.round.content == Content::Any {
                match self.call(Form::Open, Some(OPENING), || channel.receiver().map(drop)) {
                    Ok(()) => {}
                    Err(error) => self.note(of_open(&error)),
                }
            }
            if self.random.below(8) == 0 {
                let asked = self.call(Form::Ask, Some(AT_ONCE), || channel.stats());
                self.note_of_stats(asked);
            }
            self.call(Form::Leave, Some(AT_ONCE), || drop(channel));
        }
    }

    fn observe(&mut self) {
        while !self.is_over() {
            match self.call(Form::Observe, Some(AT_ONCE), || Observer::open(self.name)) {
                Ok(observer) => {
                    let mut tap = self.call(Form::Observe, Some(AT_ONCE), || observer.tap());
                    for _ in 0..20 {
                        self.tap_some(&mut tap);
                        let snapshot = self.call(Form::Observe, Some(AT_ONCE), || observer.tap().snapshot());
                        self.tap_some(&mut { snapshot });
                        let asked = self.call(Form::Observe, Some(AT_ONCE), || observer.stats());
                        self.note_of_stats(asked);
                        let alive = self.call(Form::Observe, Some(AT_ONCE), || observer.sender_alive(0));
                        if let Err(error) = alive {
                            self.note(of_open(&error));
                        }
                    }
                }
                Err(error) => self.note(of_open(&error)),
            }
            let listed = self.call(Form::List, Some(AT_ONCE), sysring::list);
            for listed in listed.expect("a list") {
                if let Err(error) = listed.outcome {
                    self.note(of_open(&error));
                }
            }
            self.call(Form::Collect, Some(AT_ONCE), || Collector::new().dry_run(true).run()).expect("a look");
            thread::sleep(Duration::from_micros(500));
        }
    }
}

impl User<'_> {
    /// Looks at some messages. What is shown of a lane that nobody attacks is whole.
    fn tap_some(&mut self, tap: &mut Tap) {
        for _ in 0..200 {
            let tapped = self.call(Form::Observe, Some(AT_ONCE), || tap.next());
            let Content::AllBut(attacked) = self.round.content else {
                if tapped.is_none() {
                    return;
                }
                continue;
            };
            match tapped {
                None => return,
                Some(Tapped::Message(message)) if Some(message.lane) != attacked => {
                    assert!(message.is_complete());
                    assert!(decode_if_whole(&message.bytes).is_some(), "torn: {message:?}");
                }
                Some(Tapped::Damaged(damage)) => assert_eq!(Some(damage.lane), attacked, "{damage}"),
                Some(_) => {}
            }
        }
    }
}

/// The number under which an opener sends: nobody waits for its messages.
const OPENER: u32 = 1000;

/// A sender's next message.
struct Writer {
    who: u32,
    number: u32,
    bytes: Vec<u8>,
}

impl Writer {
    fn compose(&mut self, length: usize) {
        compose(&mut self.bytes, self.who, self.number, length);
    }
}

/// What the receiver has seen.
struct Reader {
    /// The next number of each sender.
    next: [u32; SENDERS],
}

/// Checks that nobody was too large.
pub(crate) fn check_memory(totals: &Totals, segment: u64) {
    assert!(totals.memory < MEMORY + 2 * segment, "a user had {} bytes", totals.memory);
}
