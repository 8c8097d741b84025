//! One process of a measurement: this program, started again.
//!
//! It does what its stdin tells it and answers on stdout (see [`protocol`](super::protocol)). Should stdin end before
//! the worker is done, the bench was killed: then the worker removes the channels and ends at once.

use std::io::{self, BufRead as _, StdinLock, Write as _};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use sysring::{Builder, Channel, Receiver, RecvError, Sender};

use super::content::{Check, Messages};
use super::protocol::{Answer, Command, Figures, Role, Tally, Task};
use super::statistics::percentiles;
use crate::exit::{FAILURE, Failure};

/// Room for a message that is longer than it should be, so that it is received and told.
const SPARE: usize = 64;
/// Significant digits of a round trip.
const DIGITS: u8 = 3;

pub(crate) fn run() -> Result<(), Failure> {
    let task = match command(&mut io::stdin().lock()) {
        Some(Command::Prepare(task)) => task,
        _ => return Err(Failure::new(FAILURE, "bench-worker: only 'sysring bench' starts this")),
    };
    let commands = Commands::follow(task.channels.clone())?;
    match work(&task, &commands) {
        Ok(()) => Ok(()),
        Err(why) => {
            // The bench reports it.
            let _ = answer(&Answer::Failed(why));
            Err(Failure::quiet(FAILURE))
        }
    }
}

fn work(task: &Task, commands: &Commands) -> Result<(), String> {
    commands.attached.wait();
    let mut ends = Ends::attach(task)?;
    answer(&Answer::Ready)?;
    commands.go.wait();
    let tally = match (&mut ends.sender, &mut ends.receiver, task.role) {
        (Some(sender), _, Role::Sender { number }) => send(sender, number, task, &commands.stop)?,
        (_, Some(receiver), Role::Receiver { senders }) => receive(receiver, senders, task)?,
        (Some(sender), Some(receiver), Role::Ping) => ping(sender, receiver, task)?,
        (Some(sender), Some(receiver), Role::Pong) => pong(sender, receiver, task)?,
        _ => return Err("not the ends for this".into()),
    };
    // Those who wait for this end to go learn it now.
    drop(ends);
    answer(&Answer::Done(tally))
}

/// What this process has of the channels.
struct Ends {
    sender: Option<Sender>,
    receiver: Option<Receiver>,
}

impl Ends {
    fn attach(task: &Task) -> Result<Self, String> {
        let open = |place: usize| -> Result<Channel, String> {
            let name = task.channels.get(place).ok_or("a channel is missing")?;
            let builder = Builder::default().wait(task.wait.strategy()).prefault(true);
            builder.open(name.clone()).map_err(|error| error.to_string())
        };
        let sender = |place| open(place)?.sender().map_err(|error| error.to_string());
        let receiver = |place| open(place)?.receiver().map_err(|error| error.to_string());
        // The first channel leads there, the second back.
        let (sends, receives) = match task.role {
            Role::Sender { .. } => (Some(0), None),
            Role::Receiver { .. } => (None, Some(0)),
            Role::Ping => (Some(0), Some(1)),
            Role::Pong => (Some(1), Some(0)),
        };
        Ok(Self { sender: sends.map(sender).transpose()?, receiver: receives.map(receiver).transpose()? })
    }
}

/// Sends as fast as it goes until told to stop.
fn send(sender: &mut Sender, number: u32, task: &Task, stop: &AtomicBool) -> Result<Tally, String> {
    let mut messages = Messages::new(number, task.size);
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        sender.send(messages.number(sent)).map_err(|error| format!("send: {}", error.fault()))?;
        sent += 1;
    }
    Ok(Tally { sent, received: Vec::new() })
}

/// Receives until all senders have gone, and measures on the way.
fn receive(receiver: &mut Receiver, senders: u32, task: &Task) -> Result<Tally, String> {
    let mut incoming = Incoming::new(receiver, 0..senders, task.size);
    // Between two looks at the clock.
    let stride = (64 << 10) / task.size.clamp(1 << 10, 8 << 10);
    incoming.expect()?;
    let mut count = |time: Duration| -> Result<(u64, Duration), String> {
        let (started, mut messages) = (Instant::now(), 0);
        loop {
            for _ in 0..stride {
                incoming.expect()?;
            }
            messages += stride as u64;
            let elapsed = started.elapsed();
            if elapsed >= time {
                return Ok((messages, elapsed));
            }
        }
    };
    count(task.warm_up)?;
    let (messages, elapsed) = count(task.time)?;
    answer(&Answer::Measured(Figures::Rate { messages, nanoseconds: nanoseconds(elapsed) }))?;
    while incoming.next()? {}
    Ok(Tally { sent: 0, received: incoming.check.counts().to_vec() })
}

/// Sends, waits for what comes back, and takes the time of both.
fn ping(sender: &mut Sender, receiver: &mut Receiver, task: &Task) -> Result<Tally, String> {
    let mut histogram = Histogram::<u64>::new(DIGITS).map_err(|error| error.to_string())?;
    let mut messages = Messages::new(PING, task.size);
    let mut incoming = Incoming::new(receiver, [PONG], task.size);
    let (started, mut sent) = (Instant::now(), 0);
    loop {
        let message = messages.number(sent);
        let begin = Instant::now();
        sender.send(message).map_err(|error| format!("send: {}", error.fault()))?;
        let length = incoming.copy()?.ok_or("the other process has gone")?;
        let end = Instant::now();
        sent += 1;
        incoming.check(length)?;
        let elapsed = end - started;
        if elapsed >= task.warm_up {
            histogram.record(nanoseconds(end - begin)).map_err(|error| error.to_string())?;
            if elapsed >= task.warm_up + task.time {
                break;
            }
        }
    }
    let nanoseconds = percentiles().into_iter().map(|percentile| at(&histogram, percentile)).collect();
    answer(&Answer::Measured(Figures::RoundTrips { count: histogram.len(), nanoseconds }))?;
    Ok(Tally { sent, received: incoming.check.counts().to_vec() })
}

/// Sends back a message of its own for each that comes, until no more can come.
fn pong(sender: &mut Sender, receiver: &mut Receiver, task: &Task) -> Result<Tally, String> {
    let mut messages = Messages::new(PONG, task.size);
    let mut incoming = Incoming::new(receiver, [PING], task.size);
    let mut sent = 0;
    while incoming.next()? {
        sender.send(messages.number(sent)).map_err(|error| format!("send: {}", error.fault()))?;
        sent += 1;
    }
    Ok(Tally { sent, received: incoming.check.counts().to_vec() })
}

const PING: u32 = 0;
const PONG: u32 = 1;

/// The least and the most as they were, all others in steps of the histogram.
fn at(histogram: &Histogram<u64>, percentile: f64) -> u64 {
    if percentile <= 0.0 { histogram.min() } else { histogram.value_at_percentile(percentile) }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Received one by one, each copied and checked.
struct Incoming<'a> {
    receiver: &'a mut Receiver,
    buffer: Vec<u8>,
    check: Check,
}

impl<'a> Incoming<'a> {
    fn new(receiver: &'a mut Receiver, senders: impl IntoIterator<Item = u32>, size: usize) -> Self {
        Self { receiver, buffer: vec![0; size + SPARE], check: Check::new(senders, size) }
    }

    /// Length of the next message; none if no more can come.
    #[inline]
    fn copy(&mut self) -> Result<Option<usize>, String> {
        match self.receiver.recv_into(&mut self.buffer) {
            Ok(length) => Ok(Some(length)),
            Err(RecvError::Disconnected) => Ok(None),
            Err(error) => Err(format!("recv: {error}")),
        }
    }

    #[inline]
    fn check(&mut self, length: usize) -> Result<(), String> {
        self.check.message(&self.buffer[..length])
    }

    #[inline]
    fn next(&mut self) -> Result<bool, String> {
        match self.copy()? {
            Some(length) => self.check(length).map(|()| true),
            None => Ok(false),
        }
    }

    /// One that must come.
    #[inline]
    fn expect(&mut self) -> Result<(), String> {
        if self.next()? { Ok(()) } else { Err("all senders have gone too early".into()) }
    }
}

/// What stdin says, while this process works.
struct Commands {
    attached: Signal,
    go: Signal,
    stop: Arc<AtomicBool>,
}

/// Comes once.
struct Signal(mpsc::Receiver<()>);

impl Signal {
    fn wait(&self) {
        // The other end goes with the process only.
        let _ = self.0.recv();
    }
}

impl Commands {
    fn follow(channels: Vec<String>) -> Result<Self, Failure> {
        let (attach, attached) = mpsc::channel();
        let (start, go) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let follow = move || {
            let mut stdin = io::stdin().lock();
            loop {
                match command(&mut stdin) {
                    Some(Command::Attach) => drop(attach.send(())),
                    Some(Command::Go) => drop(start.send(())),
                    Some(Command::Stop) => stopped.store(true, Ordering::Relaxed),
                    Some(Command::Prepare(_)) | None => abandon(&channels),
                }
            }
        };
        let thread = thread::Builder::new().name("commands".into()).spawn(follow);
        thread.map_err(|error| {
            Failure::new(FAILURE, format!("bench-worker: cannot start a thread: {error}"))
        })?;
        Ok(Self { attached: Signal(attached), go: Signal(go), stop })
    }
}

/// Nobody is left who would remove the channels.
fn abandon(channels: &[String]) -> ! {
    for name in channels {
        // Another worker may have been faster.
        let _ = sysring::remove(name.clone());
    }
    process::exit(FAILURE.into());
}

/// The next line of stdin; none at its end, or if it is no command.
fn command(stdin: &mut StdinLock<'_>) -> Option<Command> {
    let mut line = String::new();
    stdin.read_line(&mut line).ok()?;
    serde_json::from_str(&line).ok()
}

fn answer(answer: &Answer) -> Result<(), String> {
    let line = serde_json::to_string(answer).map_err(|error| error.to_string())?;
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).map_err(|error| error.to_string())
}
