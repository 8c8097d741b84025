//! Causes come before effects: who sends after it was told of a message is received after that message.
//!
//! Chains of two to four messages: somebody sends, tells the next, and that one sends when it was told: through memory,
//! by a call of the kernel (a pipe, a signal), or through another channel; or the next is the same process, with
//! another seat. So the order must hold without any clock.

#![allow(unsafe_code, reason = "signals that carry a number")]

use std::io;
use std::iter;
use std::mem;
use std::ptr;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::thread;
use std::time::{Duration, Instant};

use sysring::{Channel, EndOfStream, Receiver, Sender, mpsc, spsc};

use crate::board::{Board, Shareable};
use crate::crew::{Weather, any_handle, await_count, sit_idle, take_seat};
use crate::grouped;
use crate::message::{Random, mix};
use crate::process::{Name, Pipe, fork};
use crate::runner::{is_long, seed, tests};

tests![causal_pairs];

const SHORT: u64 = 80_000;
/// The short form ends then, whatever it has done.
const SHORT_TIME: Duration = Duration::from_secs(15);
const LONG: u64 = 1_200_000;
/// Chains of one round.
const CHAINS: u64 = 1500;
/// Processes of the longest chain.
const LINKS: usize = 4;
/// Number of a message that belongs to no chain, and of the last of these.
const NOISE: u64 = u64::MAX - 1;
const LAST_NOISE: u64 = u64::MAX;
/// Bytes of a message, beside its number.
const LARGEST: u64 = 120;

#[derive(Debug)]
#[repr(C, align(128))]
struct Word(AtomicU64);

#[derive(Debug)]
#[repr(C)]
struct CausalBoard {
    /// Chains that each link was told of, through memory; behind the last link: chains that are through.
    told: [Word; LINKS + 1],
    pids: [Word; LINKS],
    /// Chains up to which noise is wanted.
    babble: Word,
    /// Links that have their seats.
    seated: Word,
    received: Word,
    /// Effects that came right after their causes.
    close: Word,
}

// SAFETY: atomics only.
unsafe impl Shareable for CausalBoard {}

/// A way to tell somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Memory,
    Pipe,
    Signal,
    Channel,
    /// Nobody is told: the same process has both seats.
    Same,
}

const WAYS: [Way; 5] = [Way::Memory, Way::Pipe, Way::Signal, Way::Channel, Way::Same];

/// A channel and the processes that send chains of messages through it.
#[derive(Clone, Debug)]
struct Round {
    seed: u64,
    /// How each link is told by the one before it; the first one is not.
    ways: Vec<Way>,
    /// In which order the links take their seats, hence lanes.
    order: Vec<usize>,
    /// Seats that somebody has who does nothing.
    idle: u32,
    /// Somebody sends beside the chains.
    noise: bool,
    /// Chains that may be on their way at the same time.
    window: u64,
    capacity: u64,
    /// The receiver copies only, which is the quick way.
    keen: bool,
    /// In so many chains one has a newcomer, see [`Round::has_newcomer`].
    newcomers: u64,
    weather: Weather,
}

/// The ends through which the links tell each other.
struct Wires {
    pipes: Vec<Pipe>,
    channels: Vec<(Sender, Receiver)>,
}

impl Round {
    fn draw(seed: u64) -> Round {
        let mut random = Random::new(seed);
        let links = 2 + random.below(LINKS as u64 - 1) as usize;
        let (one_way, is_mixed) = (random.below(5), random.below(3) == 0);
        let mut ways: Vec<Way> =
            (0..links).map(|_| WAYS[if is_mixed { random.below(5) } else { one_way } as usize]).collect();
        ways[0] = Way::Memory; // which is never asked for
        let mut order: Vec<usize> = (0..links).collect();
        if random.below(2) == 0 {
            order.reverse();
        }
        if random.below(4) == 0 {
            order.rotate_left(1);
        }
        let weather = Weather::draw(&mut random);
        if random.below(4) == 0 {
            // Two who have the receiver for themselves, so that it may well look at one lane only.
            let (ways, order) = (vec![Way::Memory; 2], vec![0, 1]);
            let (idle, noise, window, capacity, keen, newcomers) = (0, false, 1, 1 << 20, true, 15);
            return Round { seed, ways, order, idle, noise, window, capacity, keen, newcomers, weather };
        }
        Round {
            seed,
            ways,
            order,
            idle: [0, 0, 2, 200][random.below(4) as usize],
            noise: random.below(3) == 0,
            window: [1, 1, 3, CHAINS][random.below(4) as usize],
            capacity: [4096, 65_536][random.below(2) as usize],
            keen: random.below(3) == 0,
            newcomers: 60,
            weather,
        }
    }

    fn links(&self) -> usize {
        self.ways.len()
    }

    /// Causes with an effect.
    fn pairs(&self) -> u64 {
        (self.links() as u64 - 1) * CHAINS
    }

    fn run(&self, board: &Board<CausalBoard>) -> Result<(), String> {
        let name = Name::new();
        let seats = self.idle + 2 * (self.links() as u32 + 1);
        let builder = mpsc().senders(seats).capacity(self.capacity);
        let channel = builder.create(&name).expect("create");
        let mut random = Random::new(self.seed ^ 1);
        let idle = sit_idle(&channel, seats, self.idle, &mut random);
        let pair = || spsc().capacity(4096).pair().expect("a pair");
        let mut wires = Wires {
            pipes: (0..self.links()).map(|_| Pipe::new()).collect(),
            channels: iter::repeat_with(pair).take(self.links()).collect(),
        };
        let open = |who: u64| {
            self.weather.enter();
            any_handle(&builder, &mut Random::new(mix(self.seed ^ who << 8))).open(&name).expect("open")
        };
        let mut children = vec![fork(|| {
            let mut receiver = open(100).receiver().expect("the seat");
            self.receive(board, &mut receiver);
        })];
        for link in (0..self.links()).filter(|&link| link == 0 || self.ways[link] != Way::Same) {
            children.push(fork(|| self.send(board, &open(link as u64), link, &mut wires)));
        }
        if self.noise {
            children.push(fork(|| self.make_noise(board, &open(101))));
        }
        let end = self.weather.oversee(&children, &mut random, || board.received.0.load(Relaxed));
        drop((children, idle));
        sysring::remove(&name).expect("remove");
        end
    }

    /// One process of all chains: this link, and those after it that need not be told.
    fn send(&self, board: &CausalBoard, channel: &Channel, first: usize, wires: &mut Wires) {
        let mut random = Random::new(mix(self.seed ^ 77) ^ first as u64);
        let links: Vec<usize> = self.links_from(first).collect();
        let mut senders: Vec<Option<Sender>> = links.iter().map(|_| None).collect();
        board.pids[first].0.store(u64::from(std::process::id()), Relaxed);
        for (place, link) in self.order.iter().enumerate() {
            if let Some(index) = links.iter().position(|mine| mine == link) {
                await_count(&board.seated.0, place as u64);
                senders[index] = Some(take_seat(channel));
                board.seated.0.fetch_add(1, Release);
            }
        }
        await_count(&board.seated.0, self.links() as u64);
        let mut bytes = Vec::new();
        for chain in 0..CHAINS {
            if random.below(100) == 0 {
                senders[0] = None; // it takes a seat when it has been told
            }
            if first > 0 {
                let heard = self.hear(board, first, chain, wires, &mut senders[0]);
                assert_eq!(heard, chain, "told in order");
            } else {
                await_count(&board.told[self.links()].0, (chain + 1).saturating_sub(self.window));
                if self.has_newcomer(chain) {
                    // The receiver may find time to leave the lane out, and then none to look for it again.
                    senders[0] = None;
                    thread::sleep(Duration::from_micros(100 + random.below(200)));
                    board.babble.0.store(chain + 1, Release);
                    thread::sleep(Duration::from_micros(random.below(50)));
                }
            }
            for (index, link) in links.iter().enumerate() {
                let sender = senders[index].get_or_insert_with(|| take_seat(channel));
                bytes.clear();
                bytes.extend_from_slice(&chain.to_le_bytes());
                bytes.extend_from_slice(&(*link as u64).to_le_bytes());
                bytes.resize(16 + random.below(LARGEST) as usize, 0);
                match random.below(4) {
                    0 => {
                        let mut slot = sender.reserve(bytes.len()).expect("reserve");
                        slot.write_at(0, &bytes).expect("it fits");
                        slot.commit().expect("commit");
                    }
                    1 => sender.batch().send(&bytes).expect("send in a batch"),
                    _ => sender.send(&bytes).expect("send"),
                }
            }
            self.tell(board, first + links.len(), chain, wires);
            self.weather.delay(&mut random);
        }
    }

    /// A link, and those after it that are of the same process.
    fn links_from(&self, first: usize) -> impl Iterator<Item = usize> {
        (first..self.links()).take_while(move |&link| link == first || self.ways[link] == Way::Same)
    }

    /// Whether the first of the chain takes a new seat, after the receiver had time to notice that it has left; those
    /// who wait to be told through memory send noise then, so that the receiver has enough to do.
    fn has_newcomer(&self, chain: u64) -> bool {
        mix(self.seed ^ chain).is_multiple_of(self.newcomers)
    }

    /// Tells a link of a chain; behind the last one: that the chain is through.
    fn tell(&self, board: &CausalBoard, link: usize, chain: u64, wires: &mut Wires) {
        match self.ways.get(link) {
            None | Some(Way::Memory) => board.told[link].0.store(chain + 1, Release),
            Some(Way::Same) => unreachable!("it is the same process"),
            Some(Way::Pipe) => wires.pipes[link].put(chain),
            Some(Way::Signal) => send_signal(board.pids[link].0.load(Relaxed) as i32, chain),
            Some(Way::Channel) => {
                wires.channels[link].0.send(chain.to_le_bytes()).expect("tell");
            }
        }
    }

    /// Waits until the link before has told of a chain; returns which.
    fn hear(
        &self,
        board: &CausalBoard,
        link: usize,
        chain: u64,
        wires: &mut Wires,
        sender: &mut Option<Sender>,
    ) -> u64 {
        match self.ways[link] {
            Way::Same => unreachable!("it is the same process"),
            Way::Memory => {
                if self.has_newcomer(chain)
                    && let Some(sender) = sender
                {
                    await_count(&board.babble.0, chain + 1);
                    while board.told[link].0.load(Acquire) <= chain {
                        sender.send(NOISE.to_le_bytes()).expect("send");
                    }
                }
                await_count(&board.told[link].0, chain + 1);
                chain
            }
            Way::Pipe => wires.pipes[link].get(),
            Way::Signal => await_signal(),
            Way::Channel => {
                let mut buffer = [0; 8];
                wires.channels[link].1.recv_into(&mut buffer).expect("be told");
                u64::from_le_bytes(buffer)
            }
        }
    }

    fn make_noise(&self, board: &CausalBoard, channel: &Channel) {
        let mut random = Random::new(self.seed ^ 9);
        let mut sender = take_seat(channel);
        while board.told[self.links()].0.load(Acquire) < CHAINS {
            sender.send(NOISE.to_le_bytes()).expect("send");
            self.weather.delay(&mut random);
        }
        sender.send(LAST_NOISE.to_le_bytes()).expect("send");
    }

    fn receive(&self, board: &CausalBoard, receiver: &mut Receiver) {
        let mut random = Random::new(self.seed ^ 3);
        receiver.set_end(EndOfStream::Never);
        // Chains received of each link; the last message; whether there is still noise.
        let (mut counts, mut last, mut noise) = ([0; LINKS], (NOISE, 0), self.noise);
        let mut accept = |bytes: &[u8]| {
            board.received.0.fetch_add(1, Relaxed);
            let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
            let chain = word(0);
            if chain >= NOISE {
                noise &= chain == NOISE;
            } else {
                let link = word(8) as usize;
                assert_eq!(counts[link], chain, "messages of link {link} are out of order");
                let is_in_order = link == 0 || counts[link - 1] > chain;
                assert!(is_in_order, "effect before cause: chain {chain}, link {link}, received {counts:?}");
                if link > 0 && last == (chain, link - 1) {
                    board.close.0.fetch_add(1, Relaxed);
                }
                counts[link] = chain + 1;
                last = (chain, link);
            }
            noise || counts[..self.links()].iter().any(|&count| count < CHAINS)
        };
        let mut buffer = [0; 256];
        let mut more = true;
        while more {
            if self.keen && random.below(256) == 0 {
                // Others may run ahead, so that there is much to copy.
                (0..20_000).for_each(|step| _ = std::hint::black_box(step));
            }
            match if self.keen { 9 } else { random.below(16) } {
                0 | 1 => {
                    let batch = receiver.recv_batch(1 + random.below(8) as usize).expect("recv_batch");
                    for message in batch.iter() {
                        more = accept(&message.to_vec());
                    }
                }
                2 | 3 => {
                    let message = receiver.recv().expect("recv");
                    more = accept(&message.to_vec());
                }
                4..8 => {
                    if let Ok(length) = receiver.try_recv_into(&mut buffer) {
                        more = accept(&buffer[..length]);
                    }
                }
                8 => self.weather.delay(&mut random),
                _ => {
                    let length = receiver.recv_into(&mut buffer).expect("recv_into");
                    more = accept(&buffer[..length]);
                }
            }
        }
    }
}

/// The signal that carries numbers: those of its kind are queued, none is lost, and they come in order.
fn signals() -> libc::sigset_t {
    // SAFETY: integers only; emptied below before use.
    let mut set: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: a set of ours.
    unsafe { libc::sigemptyset(&mut set) };
    // SAFETY: a set of ours and a signal that exists.
    unsafe { libc::sigaddset(&mut set, libc::SIGRTMIN()) };
    set
}

/// Keeps the signal for [`await_signal`], in this process and those forked later.
fn hold_signals() {
    // SAFETY: a set of ours, no old one asked for.
    let failed = unsafe { libc::sigprocmask(libc::SIG_BLOCK, &signals(), ptr::null_mut()) };
    assert_eq!(failed, 0, "sigprocmask: {}", io::Error::last_os_error());
}

fn send_signal(pid: i32, number: u64) {
    let value = libc::sigval { sival_ptr: ptr::without_provenance_mut(number as usize) };
    // SAFETY: a process of this round, which ends only when it has been told everything; the pointer is a number.
    while unsafe { libc::sigqueue(pid, libc::SIGRTMIN(), value) } != 0 {
        let error = io::Error::last_os_error();
        assert_eq!(error.raw_os_error(), Some(libc::EAGAIN), "sigqueue: {error}"); // too many on their way
        thread::yield_now();
    }
}

fn await_signal() -> u64 {
    let set = signals();
    loop {
        // SAFETY: integers and a pointer that nobody follows, for which zero is a value.
        let mut info: libc::siginfo_t = unsafe { mem::zeroed() };
        // SAFETY: a set and a struct of ours.
        let signal = unsafe { libc::sigwaitinfo(&set, &mut info) };
        if signal == libc::SIGRTMIN() {
            // SAFETY: the kernel has filled it in for a signal that was queued with a value.
            let value = unsafe { info.si_value() };
            return value.sival_ptr.addr() as u64;
        }
        let error = io::Error::last_os_error();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted, "sigwaitinfo: {error}");
    }
}

fn causal_pairs() {
    let (seed, started) = (seed(), Instant::now());
    hold_signals();
    let (mut pairs, mut close, mut rounds) = (0, 0, 0);
    let mut by_way = [0; WAYS.len()];
    let board = Board::<CausalBoard>::new();
    while if is_long() { pairs < LONG } else { pairs < SHORT && started.elapsed() < SHORT_TIME } {
        let round = Round::draw(seed.wrapping_add(rounds << 32));
        board.told.iter().chain(&board.pids).for_each(|word| word.0.store(0, Relaxed));
        board.seated.0.store(0, Relaxed);
        board.babble.0.store(0, Relaxed);
        board.close.0.store(0, Relaxed);
        if let Err(why) = round.run(&board) {
            panic!("seed {seed}, round {rounds}: {why}; {round:?}");
        }
        pairs += round.pairs();
        close += board.close.0.load(Relaxed);
        for way in &round.ways[1..] {
            by_way[*way as usize] += CHAINS;
        }
        rounds += 1;
    }
    let [memory, pipe, signal, channel, same] = by_way.map(grouped);
    println!(
        "causes and effects: {} pairs, all in order, {} of them received one right after the other; told through \
         memory {memory}, pipes {pipe}, signals {signal}, another channel {channel}, in the same process {same}; \
         {rounds} channels; {:.1} s",
        grouped(pairs),
        grouped(close),
        started.elapsed().as_secs_f64()
    );
}
