//! The victim's side: steps that are tried again, the account of messages, and what must be left at the end.
#![allow(unsafe_code, reason = "the set's values, the signal mask and children, as the kernel has them")]

use std::cell::{Cell, RefCell};
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use sysring::segment::SegmentError;
use sysring::{
    Address, Collector, Errno, Fault, Observer, OpenError, OpenErrorKind, RecvError, RecvTimeoutError,
    SendError, SendTimeoutError, TryRecvError, TrySendError,
};

use crate::process::{Child, Object, Pipe, fork, objects, remove_set};
use crate::trace::{AGAIN, be_traced, hold, mark, mark_end};

/// Messages that one scenario can account for.
const MESSAGES: usize = 500;

/// What a step that failed had to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) kind: String,
    /// 0: none.
    pub(crate) errno: i32,
    pub(crate) text: String,
}

impl Told {
    fn new(kind: impl Into<String>, errno: Option<Errno>, text: impl ToString) -> Told {
        Told { kind: kind.into(), errno: errno.map_or(0, Errno::raw), text: text.to_string() }
    }
}

/// An error of the library.
pub(crate) trait Tell {
    fn tell(&self) -> Told;
}

impl Tell for OpenError {
    fn tell(&self) -> Told {
        let kind = format!("{:?}", self.kind());
        Told::new(kind.split([' ', '{']).next().unwrap_or_default(), self.errno(), self)
    }
}

impl Tell for SegmentError {
    fn tell(&self) -> Told {
        Told::new("Segment", Some(self.errno()), self)
    }
}

impl Tell for Fault {
    fn tell(&self) -> Told {
        match self {
            Fault::Attach(error) => error.tell(),
            Fault::System(error) => Told::new("System", Some(error.errno), error),
            Fault::Removed => Told::new("Removed", None, self),
            Fault::Evicted => Told::new("Evicted", None, self),
            other => Told::new(format!("{other:?}"), None, other),
        }
    }
}

impl<T> Tell for SendError<T> {
    fn tell(&self) -> Told {
        self.fault().tell()
    }
}

impl<T> Tell for TrySendError<T> {
    fn tell(&self) -> Told {
        match self {
            TrySendError::Full(_) => Told::new("Full", None, self),
            TrySendError::Failed(error) => error.tell(),
        }
    }
}

impl<T> Tell for SendTimeoutError<T> {
    fn tell(&self) -> Told {
        match self {
            SendTimeoutError::Timeout(_) => Told::new("Timeout", None, self),
            SendTimeoutError::Failed(error) => error.tell(),
        }
    }
}

impl Tell for RecvError {
    fn tell(&self) -> Told {
        match self {
            RecvError::Attach(error) => error.tell(),
            RecvError::System(error) => Told::new("System", Some(error.errno), error),
            RecvError::Removed => Told::new("Removed", None, self),
            RecvError::Evicted => Told::new("Evicted", None, self),
            other => Told::new(format!("{other:?}"), None, other),
        }
    }
}

impl Tell for TryRecvError {
    fn tell(&self) -> Told {
        match self {
            TryRecvError::Empty => Told::new("Empty", None, self),
            TryRecvError::Failed(error) => error.tell(),
        }
    }
}

impl Tell for RecvTimeoutError {
    fn tell(&self) -> Told {
        match self {
            RecvTimeoutError::Timeout => Told::new("Timeout", None, self),
            RecvTimeoutError::Failed(error) => error.tell(),
        }
    }
}

/// A wrong answer.
impl Tell for String {
    fn tell(&self) -> Told {
        Told::new("Wrong", None, self)
    }
}

/// What both sides of the ptrace share.
pub(crate) struct Stage {
    /// Lines of the victim for the tracer.
    report: (PipeReader, PipeWriter),
    /// One number for each sleep of the victim; from the victim itself, to end its peer.
    pub(crate) bell: Pipe,
    /// Count, then the messages received so far, by whomever.
    log: &'static [AtomicU64],
}

/// To the peer: the end.
pub(crate) const OVER: u64 = 2;

impl Stage {
    /// `log`: see [`Stage::words`].
    pub(crate) fn new(log: &'static [AtomicU64]) -> Stage {
        log[0].store(0, Ordering::SeqCst);
        Stage { report: std::io::pipe().expect("a pipe"), bell: Pipe::new(), log }
    }

    /// Words for the log, to be made once.
    pub(crate) const WORDS: usize = 1 + MESSAGES;

    /// Runs `body` in a child under ptrace, which asks to be looked at in step `chosen`; `None`: in all.
    pub(crate) fn start(&self, chosen: Option<u32>, body: impl FnOnce(&World<'_>)) -> Child {
        fork(|| {
            be_traced();
            let world = World::new(self, chosen);
            body(&world);
            world.line("over", &[]);
        })
    }

    /// Everything that the victim said, when it has ended.
    pub(crate) fn into_report(self) -> Vec<Vec<String>> {
        let (mut reader, writer) = self.report;
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("read from a pipe");
        let line = |line: &str| line.split('\t').map(str::to_owned).collect();
        text.lines().map(line).collect()
    }

    /// A message was received.
    pub(crate) fn note(&self, bytes: &[u8]) {
        let number =
            bytes.get(..8).map_or(u64::MAX, |bytes| u64::from_le_bytes(bytes.try_into().expect("eight")));
        let index = self.log[0].fetch_add(1, Ordering::SeqCst) as usize;
        self.log[1 + index.min(MESSAGES - 1)].store(number, Ordering::SeqCst);
    }

    pub(crate) fn received(&self) -> u64 {
        self.log[0].load(Ordering::SeqCst)
    }
}

/// What the victim had before its first step.
#[derive(Debug, PartialEq, Eq)]
struct Belongings {
    descriptors: usize,
    segments: usize,
    blocked: u64,
}

impl Belongings {
    fn now() -> Belongings {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc");
        // SAFETY: a set of bits, for which zeroes are valid.
        let mut mask: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: changes nothing, and writes the present mask into `mask`.
        unsafe { libc::sigprocmask(libc::SIG_BLOCK, std::ptr::null(), &mut mask) };
        let blocked = (1..64).filter(|&signal| {
            // SAFETY: reads `mask`, filled above.
            unsafe { libc::sigismember(&mask, signal) == 1 }
        });
        Belongings {
            descriptors: std::fs::read_dir("/proc/self/fd").expect("/proc").count(),
            segments: maps.lines().filter(|line| line.contains("/SYSV")).count(),
            blocked: blocked.fold(0, |set, signal| set | 1 << signal),
        }
    }
}

/// The victim.
pub(crate) struct World<'a> {
    pub(crate) stage: &'a Stage,
    steps: Cell<u32>,
    chosen: Option<u32>,
    before: Belongings,
    peers: RefCell<Vec<Child>>,
}

impl<'a> World<'a> {
    fn new(stage: &'a Stage, chosen: Option<u32>) -> World<'a> {
        World { stage, steps: Cell::new(0), chosen, before: Belongings::now(), peers: RefCell::default() }
    }

    fn line(&self, what: &str, words: &[&str]) {
        let mut line = what.to_owned();
        for word in words {
            line.push('\t');
            line.extend(word.escape_debug());
        }
        line.push('\n');
        (&self.stage.report.1).write_all(line.as_bytes()).expect("write to a pipe");
    }

    /// One step: an operation during which a call may fail. If it does, it is done again without a fault.
    pub(crate) fn step<T, E: Tell>(&self, name: &str, mut operation: impl FnMut() -> Result<T, E>) -> T {
        let step = self.steps.get() + 1;
        self.steps.set(step);
        if self.chosen == Some(step) {
            hold();
        }
        let looked_at = self.chosen.is_none_or(|chosen| chosen == step);
        let tell = |step| {
            if looked_at {
                mark(step)
            }
        };
        let before = if looked_at { objects().len() } else { 0 };
        tell(step);
        let outcome = operation();
        tell(0);
        match outcome {
            Ok(value) => {
                self.line("fine", &[&step.to_string(), name]);
                value
            }
            Err(error) => {
                let told = error.tell();
                let words = [&step.to_string(), name, &told.kind, &told.errno.to_string(), &told.text];
                self.line("failed", &words);
                let now = objects();
                if looked_at && now.len() > before {
                    self.line("grown", &[&format!("{now:?}")]);
                }
                drop(error);
                tell(step | AGAIN);
                let outcome = operation();
                tell(0);
                outcome.unwrap_or_else(|error| panic!("{name}, tried again: {}", error.tell().text))
            }
        }
    }

    /// A step that drops something: it has nobody to tell.
    pub(crate) fn drop<T>(&self, name: &str, value: T) {
        let mut value = Some(value);
        self.step(name, || {
            drop(value.take());
            Ok::<(), String>(())
        });
    }

    /// Starts a process that is not traced, and is killed at the end of the victim.
    pub(crate) fn peer(&self, body: impl FnOnce(&Stage)) {
        let stage = self.stage;
        self.peers.borrow_mut().push(fork(|| body(stage)));
    }

    /// Waits for the end of the latest peer: how it ended.
    pub(crate) fn join_peer(&self) -> crate::process::End {
        self.peers.borrow_mut().pop().expect("a peer").wait()
    }

    pub(crate) fn kill_peer(&self) {
        self.peers.borrow_mut().pop().expect("a peer").kill();
    }

    /// Whether every message from 0 to `count` was received, once, in order.
    fn account(&self, count: u64) {
        let received = self.stage.received();
        let log = self.stage.log[1..].iter().take(received as usize).map(|word| word.load(Ordering::SeqCst));
        let log: Vec<u64> = log.collect();
        assert!(log.iter().copied().eq(0..count), "received, of {count}: {log:?}");
    }

    /// The end of every scenario: `count` messages were received, and nothing is left of the channel.
    pub(crate) fn finish(&self, count: u64) {
        self.end();
        self.account(count);
        let mapped = self.belongings();
        let left = objects();
        if left.is_empty() {
            return;
        }
        // What a refused removal has left is found by a collector, or at the next creation.
        drop(sysring::spsc().capacity(4096).pair().expect("a pair"));
        let mut how = "collected at the next creation";
        if !objects().is_empty() {
            Collector::new().run().expect("a collector");
            how = "collected by a collector";
        }
        let mut attached = false;
        for object in objects() {
            // Too young for a collector.
            if let Object::Segment { id, .. } = object {
                how = match sysring::remove(Address::id(id)) {
                    Ok(()) => "removed by its id",
                    Err(error) if error.kind() == OpenErrorKind::Removed => {
                        attached = true;
                        "removed, and attached"
                    }
                    Err(error) => panic!("remove what was left: {error}"),
                };
            }
        }
        for object in objects() {
            // A set of a living segment that was taken for lost: a collector waits for a minute.
            if let Object::Set { id, .. } = object
                && !attached
            {
                remove_set(id);
                how = "too young for a collector";
            }
        }
        let rest = objects();
        assert!(rest.is_empty() || attached || mapped, "left for good: {rest:?}");
        self.line("left", &[how, &format!("{left:?}")]);
    }

    /// The other end: nothing is left but the idle channel; no seat is taken, and no will rings when this process
    /// ends. The tracer looks at it then, and removes it.
    pub(crate) fn finish_keeping(&self, count: u64, name: &str) {
        self.end();
        self.account(count);
        self.belongings();
        let stats = Observer::open(name).expect("the channel").stats().expect("its stats");
        let lanes =
            stats.lanes.iter().filter(|lane| lane.seat.taken).map(|lane| format!("lane {}", lane.lane));
        let receiver = stats.receiver.taken.then(|| "the receiver's".to_owned());
        let taken: Vec<String> = lanes.chain(receiver).collect();
        if !taken.is_empty() {
            self.line("seat", &[&taken.join(", ")]);
        }
        let values: Vec<String> = values(stats.semaphore_set).iter().map(u16::to_string).collect();
        self.line("values", &[name, &stats.semaphore_set.to_string(), &values.join(" ")]);
        let more: Vec<Object> = objects()
            .into_iter()
            .filter(|object| match *object {
                Object::Segment { id, .. } => id != stats.id,
                Object::Set { id, .. } => id != stats.semaphore_set,
            })
            .collect();
        if !more.is_empty() {
            drop(sysring::spsc().capacity(4096).pair().expect("a pair"));
            let mut how = "collected at the next creation";
            for object in objects().into_iter().filter(|object| more.contains(object)) {
                match object {
                    Object::Set { id, .. } => remove_set(id),
                    Object::Segment { .. } => panic!("left for good: {more:?}"),
                }
                how = "too young for a collector";
            }
            self.line("left", &[how, &format!("{more:?}")]);
        }
    }

    fn end(&self) {
        if self.chosen.is_none() {
            mark_end();
        }
    }

    /// True if a segment stays attached.
    fn belongings(&self) -> bool {
        self.peers.borrow_mut().clear(); // kills them
        let now = Belongings::now();
        if now.segments > self.before.segments {
            self.line("mapped", &[&(now.segments - self.before.segments).to_string()]);
        }
        if now.descriptors > self.before.descriptors {
            self.line("open", &[&(now.descriptors - self.before.descriptors).to_string()]);
        }
        assert_eq!(now.blocked, self.before.blocked, "blocked signals");
        // SAFETY: no status is asked for; children that send no signal are meant too.
        let zombie = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::__WALL | libc::WNOHANG) };
        if zombie > 0 {
            self.line("zombie", &[]);
        }
        now.segments > self.before.segments
    }
}

/// All values of a set; empty if it is gone.
pub(crate) fn values(set: i32) -> Vec<u16> {
    // SAFETY: a record of integers, for which zeroes are valid.
    let mut record: libc::semid_ds = unsafe { std::mem::zeroed() };
    // SAFETY: IPC_STAT writes one `semid_ds`, which `record` is.
    if unsafe { libc::semctl(set, 0, libc::IPC_STAT, &raw mut record) } != 0 {
        return Vec::new();
    }
    let read = |index: u64| {
        // SAFETY: GETVAL takes no fourth argument.
        unsafe { libc::semctl(set, index as i32, libc::GETVAL) as u16 }
    };
    (0..record.sem_nsems).map(read).collect()
}

/// Lets the victims' allocator begin alike, whatever this process has allocated and freed: else one finds room where the
/// one whose calls were listed maps memory.
#[cfg(target_env = "gnu")]
pub(crate) fn let_allocate_alike() {
    // SAFETY: takes numbers. The threshold from which on memory is mapped would rise with what is freed.
    let taken = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, 128 * 1024) };
    assert_eq!(taken, 1);
    // SAFETY: takes a number; gives free memory back.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(target_env = "gnu"))]
pub(crate) fn let_allocate_alike() {}
