//! The channel of one point, its peers, and what must come out of it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use sysring::{Builder, Channel, EndOfStream, Order, Receiver, Sender, Stats, WaitStrategy, mpsc, spsc};

use crate::message::compose;
use crate::process::{self, Child, Name, fork};
use crate::scenario::{Operation, Scenario, Shape, State, Victim, WARM};
use crate::trace::{Company, Result};

/// A wake-up that comes later than this was the ceiling's.
pub(crate) const PROMPT: Duration = Duration::from_millis(900);

/// How long anything may take that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// More messages than a victim and its predecessor send.
pub(crate) const MANY: usize = 10;

/// How a message says that it was only late: such a point is tried again, for a busy machine is late by chance,
/// and a lost wake-up every time.
pub(crate) const LATE: &str = "late: ";

/// The numbers in messages that say who sent them.
pub(crate) mod who {
    pub(crate) const EARLIER: u32 = 1; // and 2, 3: on lanes 0, 1, 2
    pub(crate) const SLEEPER: u32 = 7;
    pub(crate) const NEXT: u32 = 8;
    pub(crate) const VICTIM: u32 = 9;
    pub(crate) const PREDECESSOR: u32 = 10;
}

/// A message that somebody sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) lane: u32,
    pub(crate) who: u32,
    pub(crate) number: u32,
    pub(crate) length: usize,
}

impl Sent {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        compose(&mut bytes, self.who, self.number, self.length);
        bytes
    }
}

/// A message that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) lane: u32,
    pub(crate) redelivered: bool,
    pub(crate) bytes: Vec<u8>,
}

impl Got {
    pub(crate) fn is(&self, sent: &Sent) -> bool {
        self.lane == sent.lane && self.bytes.len() == sent.length && self.bytes == sent.bytes()
    }
}

/// Turns an error into what was violated.
pub(crate) fn told<T, E: std::fmt::Display>(what: &str, outcome: std::result::Result<T, E>) -> Result<T> {
    outcome.map_err(|error| format!("{what}: {error}"))
}

/// The channel and everybody but the victim.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    name: Option<Name>,
    channel: Option<Channel>,
    /// The handles of an anonymous channel, without seats in this process.
    pair: Option<(Sender, Option<Receiver>)>,
    /// Senders of this process: on lane 0 where the victim receives, then on lanes 1 and 2.
    pub(crate) own: Option<Sender>,
    pub(crate) others: Vec<Sender>,
    /// The receiver, where it is this process.
    pub(crate) receiver: Option<Receiver>,
    /// What was sent and must come, in this order.
    pub(crate) sent: Vec<Sent>,
    /// What has come.
    pub(crate) got: Vec<Got>,
    /// Of every message another.
    number: u32,
    wakes: u32,
    /// Segment and set.
    objects: (i32, i32),
}

/// The builder for a scenario's channel.
pub(crate) fn builder(scenario: &Scenario) -> Builder {
    let builder = match scenario.shape {
        Shape::Spsc => spsc(),
        Shape::Total => mpsc().senders(3),
        Shape::PerSender => mpsc().senders(3).order(Order::PerSender),
    };
    // Sleeping at once: a spin is some thousands of the same instructions.
    builder.capacity(scenario.capacity()).persistent(scenario.persistent).wait(WaitStrategy::Sleep)
}

impl World {
    /// Makes the channel, empty and without users.
    pub(crate) fn new(scenario: &Scenario) -> Result<World> {
        let builder = builder(scenario);
        let mut world = World {
            scenario: *scenario,
            name: None,
            channel: None,
            pair: None,
            own: None,
            others: Vec::new(),
            receiver: None,
            sent: Vec::new(),
            got: Vec::new(),
            number: 0,
            wakes: 0,
            objects: (-1, -1),
        };
        if scenario.anonymous {
            let (sender, receiver) = told("pair", builder.pair())?;
            world.pair = Some((sender, Some(receiver)));
        } else {
            let name = Name::new();
            world.channel = Some(told("create", builder.create(&name))?);
            world.name = Some(name);
        }
        let stats = world.stats()?;
        world.objects = (stats.id, stats.semaphore_set);
        Ok(world)
    }

    pub(crate) fn stats(&self) -> Result<Stats> {
        let stats = match (&self.channel, &self.pair) {
            (Some(channel), _) => channel.stats(),
            (None, Some((sender, _))) => sender.stats(),
            (None, None) => unreachable!("one of the two"),
        };
        told("stats", stats)
    }

    /// A seated sender, on the first lane that is free.
    pub(crate) fn sender(&self) -> Result<Sender> {
        let sender = match (&self.channel, &self.pair) {
            (Some(channel), _) => channel.sender(),
            (None, Some((sender, _))) => sender.try_clone(),
            (None, None) => unreachable!("one of the two"),
        };
        told("a sender's seat", sender)
    }

    /// The seated receiver. An anonymous channel's can be had once in each process.
    pub(crate) fn receiver(&mut self) -> Result<Receiver> {
        let receiver = match (&self.channel, &mut self.pair) {
            (Some(channel), _) => channel.receiver(),
            (None, Some((_, receiver))) => {
                let mut receiver = receiver.take().ok_or("the receiver was used before")?;
                receiver.attach().map(|()| receiver)
            }
            (None, None) => unreachable!("one of the two"),
        };
        told("the receiver's seat", receiver)
    }

    /// A message nobody has sent yet.
    fn fresh(&mut self, lane: u32, who: u32, length: usize) -> Sent {
        self.number += 1;
        Sent { lane, who, number: self.number, length }
    }

    /// Sends one from a sender of this process, that must be in the channel from now on.
    pub(crate) fn send(&mut self, sender: &mut Sender, who: u32, length: usize) -> Result<()> {
        let lane = sender.lane().ok_or("a sender without a lane")?;
        let sent = self.fresh(lane, who, length);
        told("try_send", sender.try_send(sent.bytes()))?;
        self.sent.push(sent);
        Ok(())
    }

    /// Every other sender sends one. They have room.
    pub(crate) fn others_send(&mut self) -> Result<()> {
        let mut others = std::mem::take(&mut self.others);
        let outcome =
            others.iter_mut().zip(who::EARLIER + 1..).try_for_each(|(other, who)| self.send(other, who, 48));
        self.others = others;
        outcome
    }

    /// The sender of this process on lane 0 sends one.
    pub(crate) fn own_sends(&mut self, length: usize) -> Result<()> {
        let mut own = self.own.take().ok_or("no sender of our own")?;
        let outcome = self.send(&mut own, who::EARLIER, length);
        self.own = Some(own);
        outcome
    }

    /// Lane 0 and the others as the scenario wants to find them.
    pub(crate) fn prepare(&mut self) -> Result<()> {
        let scenario = self.scenario;
        let receives = scenario.operation.victim() == Victim::Receiver;
        let capacity = scenario.capacity();
        let record = scenario.record(scenario.length());
        let awake = !receives && !scenario.asleep;
        if awake {
            self.receiver = Some(self.receiver()?);
        }
        let start = match scenario.state {
            State::Wrapping => capacity - 8,
            State::LastWord => capacity - record,
            State::Fits if receives => capacity / 2,
            _ => 0,
        };
        self.advance(start.saturating_sub(scenario.warmth()))?;
        self.own = Some(self.sender()?);
        for _ in 1..scenario.lanes {
            let other = self.sender()?;
            self.others.push(other);
        }
        if receives {
            self.prepare_messages()?
        } else {
            self.fill(capacity, record)?
        }
        if !receives {
            self.own = None; // the victim takes lane 0
            self.others_send()
        } else if scenario.state != State::Empty {
            self.others_send()?;
            self.others_send()
        } else {
            Ok(())
        }
    }

    /// Messages for the victim to receive.
    fn prepare_messages(&mut self) -> Result<()> {
        if self.scenario.warm {
            self.own_sends(WARM)?;
            self.sent.pop(); // it is received before the operation
        }
        let length = self.scenario.length();
        let count = match self.scenario.state {
            State::Empty => 0,
            State::One => 1,
            State::Fits | State::Full => u32::MAX,
            State::Wrapping | State::LastWord => 2,
        };
        for _ in 0..count {
            if self.own_sends(length).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Messages in front of the victim's.
    fn fill(&mut self, capacity: u64, record: u64) -> Result<()> {
        let mut left = match self.scenario.state {
            // Not empty, so that it is not taken for the victim's.
            State::One => return self.own_sends(self.scenario.length().max(1)),
            State::Fits => capacity - record - 8 - self.scenario.warmth(),
            State::Full => capacity - record - self.scenario.warmth(),
            _ => 0,
        };
        while left > 0 {
            let chunk = if left > 1024 { 512 } else { left };
            self.own_sends((chunk - self.scenario.record(0)) as usize)?;
            left -= chunk;
        }
        Ok(())
    }

    /// Moves lane 0 on by so many bytes, and leaves nothing in it.
    fn advance(&mut self, bytes: u64) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        let mut sender = self.sender()?;
        let mut passing = None;
        if self.receiver.is_none() {
            passing = Some(self.receiver()?);
        }
        let receiver = self.receiver.as_mut().or(passing.as_mut()).expect("one of the two");
        let mut left = bytes;
        while left > 0 {
            let chunk = if left > 1024 { 512 } else { left };
            told("send", sender.send(vec![1; (chunk - self.scenario.record(0)) as usize]))?;
            told("recv", receiver.recv_vec())?;
            left -= chunk;
        }
        Ok(())
    }

    /// Receives what is there.
    pub(crate) fn drain(&mut self) -> Result<()> {
        let receiver = self.receiver.as_mut().ok_or("no receiver of our own")?;
        loop {
            // A broken lane may go round and round.
            if self.got.len() > self.sent.len() + MANY {
                return Err(format!("{} messages came, and no end", self.got.len()));
            }
            match receiver.try_recv() {
                Ok(message) => self.got.push(Got {
                    lane: message.lane(),
                    redelivered: message.redelivered(),
                    bytes: message.to_vec(),
                }),
                Err(error) if error.is_empty() || error.is_disconnected() => return Ok(()),
                Err(error) => return Err(format!("try_recv: {error}")),
            }
        }
    }

    /// The channel goes on after the victim: its seat can be had, and messages pass.
    pub(crate) fn go_on(&mut self) -> Result<()> {
        let mut next = match self.own.take() {
            Some(own) => own,
            None => self.sender()?,
        };
        if next.lane() != Some(0) {
            return Err(format!("the victim's lane is not free: the next sender has {:?}", next.lane()));
        }
        self.send(&mut next, who::NEXT, 48)?;
        self.others_send()?;
        self.drain()?;
        self.send(&mut next, who::NEXT, self.scenario.length())?;
        self.drain()?;
        self.send(&mut next, who::NEXT, 48)?;
        self.drain()
    }

    /// Everybody leaves, and nothing is left.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.own = None;
        self.others.clear();
        self.receiver = None;
        self.pair = None;
        if let Some(channel) = self.channel.take() {
            told("remove", channel.remove())?;
        }
        let (segment, set) = self.objects;
        let left: Vec<_> = process::objects()
            .into_iter()
            .filter(|object| match *object {
                process::Object::Segment { id, .. } => id == segment,
                process::Object::Set { id, .. } => id == set,
            })
            .collect();
        if left.is_empty() { Ok(()) } else { Err(format!("left in the kernel: {left:?}")) }
    }
}

impl Company for World {
    fn idle(&mut self) -> Result<()> {
        let wakes = matches!(self.scenario.operation, Operation::SendAsleep | Operation::RecvAsleep);
        if wakes && self.sleeps()? {
            self.wakes += 1;
            match self.scenario.operation {
                Operation::SendAsleep => self.drain()?,
                _ => self.own_sends(self.scenario.length())?,
            }
        }
        Ok(())
    }

    fn sleeps(&mut self) -> Result<bool> {
        let stats = self.stats()?;
        Ok(match self.scenario.operation.victim() {
            Victim::Sender => stats.lanes.iter().any(|lane| lane.lane == 0 && lane.seat.asleep),
            _ => stats.receiver.asleep,
        })
    }

    fn wakes(&self) -> u32 {
        self.wakes
    }
}

/// A peer in a process of its own, that sleeps and reports.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) child: Child,
    reports: UnixStream,
}

/// What a peer reports.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Report {
    Got(Got),
    /// Its call is over: 0 = as it should be, 1 = `Disconnected`, 2 = anything else.
    Over(u8),
}

fn put(stream: &mut UnixStream, kind: u8, got: Option<&Got>) {
    let mut frame = vec![kind];
    if let Some(got) = got {
        frame.extend(got.lane.to_le_bytes());
        frame.push(got.redelivered.into());
        frame.extend((got.bytes.len() as u32).to_le_bytes());
        frame.extend(&got.bytes);
    }
    stream.write_all(&frame).expect("report");
}

impl Peer {
    /// A receiver: reports every message, and the end of the stream.
    pub(crate) fn listener(world: &mut World) -> Result<Peer> {
        let (reports, mut stream) = told("socket pair", UnixStream::pair())?;
        let child = fork(|| {
            let mut receiver = world.receiver().expect("the receiver's seat");
            loop {
                match receiver.recv() {
                    Ok(message) => {
                        let (lane, redelivered) = (message.lane(), message.redelivered());
                        let got = Got { lane, redelivered, bytes: message.to_vec() };
                        put(&mut stream, 3, Some(&got));
                    }
                    Err(sysring::RecvError::Disconnected) => break put(&mut stream, 1, None),
                    Err(error) => {
                        eprintln!("listener: {error}");
                        break put(&mut stream, 2, None);
                    }
                }
            }
        });
        Ok(Peer { child, reports })
    }

    /// A sender: sends one message on a full lane, and reports how that ended.
    pub(crate) fn sleeper(world: &mut World, sent: Sent) -> Result<Peer> {
        let (reports, mut stream) = told("socket pair", UnixStream::pair())?;
        let child = fork(|| {
            let mut sender = world.sender().expect("a sender's seat");
            let code = match sender.send(sent.bytes()) {
                Ok(()) => 0,
                Err(error) if error.is_disconnected() => 1,
                Err(error) => {
                    eprintln!("sleeper: {error}");
                    2
                }
            };
            put(&mut stream, code, None);
        });
        Ok(Peer { child, reports })
    }

    /// A receiver on a channel that will be removed: reports 0 when it is told so.
    pub(crate) fn user(channel: &Channel) -> Result<Peer> {
        let (reports, mut stream) = told("socket pair", UnixStream::pair())?;
        let child = fork(|| {
            let mut receiver = channel.receiver().expect("the receiver's seat");
            receiver.set_end(EndOfStream::Never);
            let code = loop {
                match receiver.recv() {
                    Ok(_) => {}
                    Err(sysring::RecvError::Removed) => break 0,
                    Err(error) => {
                        eprintln!("user: {error}");
                        break 2;
                    }
                }
            };
            put(&mut stream, code, None);
        });
        Ok(Peer { child, reports })
    }

    /// Its next report, before `end`.
    pub(crate) fn report(&mut self, end: Instant) -> Result<Report> {
        let left = end.saturating_duration_since(Instant::now()).max(Duration::from_micros(1));
        told("time limit", self.reports.set_read_timeout(Some(left)))?;
        let mut kind = [0];
        if let Err(error) = self.reports.read_exact(&mut kind) {
            if error.kind() == std::io::ErrorKind::WouldBlock {
                return Err(format!("{LATE}a sleeper is not awake in time"));
            }
            return Err(format!("a peer is silent: {error}"));
        }
        if kind[0] != 3 {
            return Ok(Report::Over(kind[0]));
        }
        told("time limit", self.reports.set_read_timeout(Some(PATIENCE)))?;
        let mut head = [0; 9];
        told("report", self.reports.read_exact(&mut head))?;
        let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
        let mut bytes = vec![0; word(5) as usize];
        told("report", self.reports.read_exact(&mut bytes))?;
        Ok(Report::Got(Got { lane: word(0), redelivered: head[4] != 0, bytes }))
    }

    /// Waits until it has reported so many messages.
    pub(crate) fn collect(&mut self, got: &mut Vec<Got>, count: usize, end: Instant) -> Result<()> {
        while got.len() < count {
            match self.report(end)? {
                Report::Got(one) => got.push(one),
                Report::Over(code) => return Err(format!("a peer ended with {code}")),
            }
        }
        Ok(())
    }
}

/// Waits for something that must come soon.
pub(crate) fn soon(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !holds()? {
        if Instant::now() > end {
            return Err(format!("not so after {PATIENCE:?}: {what}"));
        }
        std::thread::yield_now();
    }
    Ok(())
}

/// Messages that come one after another, at least so many of them.
#[derive(Debug)]
pub(crate) struct Group<'a> {
    pub(crate) sent: &'a [Sent],
    pub(crate) least: usize,
}

/// Compares what came with what was sent: whole, once, in order. Returns how many of each group came. `ordered`: one
/// order for all lanes; else each lane for itself.
pub(crate) fn compare(got: &[Got], groups: &[Group<'_>], ordered: bool) -> Result<Vec<usize>> {
    let mut counts = vec![0; groups.len()];
    let lanes: &[Option<u32>] = if ordered { &[None] } else { &[Some(0), Some(1), Some(2)] };
    for lane in lanes {
        let mut came = got.iter().filter(|one| lane.is_none_or(|lane| one.lane == lane)).peekable();
        for (group, count) in groups.iter().zip(&mut counts) {
            for sent in group.sent.iter().filter(|sent| lane.is_none_or(|lane| sent.lane == lane)) {
                if came.next_if(|one| one.is(sent)).is_none() {
                    break;
                }
                *count += 1;
            }
        }
        if let Some(one) = came.next() {
            return Err(format!("came unexpected: {}; {}", short(one), list(got, groups)));
        }
    }
    for (group, &count) in groups.iter().zip(&counts) {
        if count < group.least {
            return Err(format!("{} of {} came; {}", count, group.least, list(got, groups)));
        }
    }
    Ok(counts)
}

fn short(got: &Got) -> String {
    let start = &got.bytes[..got.bytes.len().min(8)];
    format!("lane {}, {} bytes {start:02x?}", got.lane, got.bytes.len())
}

fn list(got: &[Got], groups: &[Group<'_>]) -> String {
    let came: Vec<String> = got.iter().map(short).collect();
    let sent: Vec<Vec<String>> = groups
        .iter()
        .map(|group| {
            group
                .sent
                .iter()
                .map(|one| format!("{}:{}:{}:{}", one.lane, one.who, one.number, one.length))
                .collect()
        })
        .collect();
    format!("came {came:?}, sent (lane:who:number:length) {sent:?}")
}

/// What came to a second receiver: a suffix of what was sent, in each lane. Returns how many are missing and how
/// many were marked as redelivered.
pub(crate) fn compare_suffix(got: &[Got], sent: &[Sent], ordered: bool) -> Result<(usize, usize)> {
    let lanes: &[Option<u32>] = if ordered { &[None] } else { &[Some(0), Some(1), Some(2)] };
    let mut missing = 0;
    for lane in lanes {
        let sent: Vec<&Sent> = sent.iter().filter(|sent| lane.is_none_or(|lane| sent.lane == lane)).collect();
        let came: Vec<&Got> = got.iter().filter(|one| lane.is_none_or(|lane| one.lane == lane)).collect();
        let skipped = sent.len().checked_sub(came.len()).ok_or("more came than was sent")?;
        missing += skipped;
        if let Some((one, sent)) = came.iter().zip(&sent[skipped..]).find(|(one, sent)| !one.is(sent)) {
            return Err(format!("came {} for {sent:?}", short(one)));
        }
    }
    for lane in 0..3 {
        let flags: Vec<bool> = got.iter().filter(|one| one.lane == lane).map(|one| one.redelivered).collect();
        if flags.windows(2).any(|two| !two[0] && two[1]) {
            return Err(format!("redelivered behind one that was not: {flags:?}"));
        }
    }
    Ok((missing, got.iter().filter(|one| one.redelivered).count()))
}
