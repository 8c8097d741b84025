//! Sleep and wake, with random delays before every step; and how soon a death wakes those who sleep.
//!
//! No wake-up may be lost: a wait that takes nearly a ceiling has run into it. Processes that take turns hide
//! nothing, because nobody else comes to ring a second time. And whoever is stopped while it rings holds up its own
//! message only.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use sysring::{Builder, Fault, Fence, Receiver, RecvError, Sender, WaitStrategy, mpsc, spsc};

use crate::board::{Board, Clock, WakeBoard, sleeps_so_far};
use crate::grouped;
use crate::message::Random;
use crate::process::{Child, Name, Pipe, fork, pause, until};
use crate::runner::{is_long, seed, tests};

tests![sleep_and_wake, a_stopped_ringer_holds_up_nobody, receivers_wake_at_a_death, senders_wake_at_a_death];

/// A wait longer than this needed the ceiling.
const LATE: Duration = Duration::from_millis(900);
/// What the median of the time to notice a death must stay below, on any machine.
const MEDIAN: Duration = Duration::from_millis(500);

/// Cycles of one way to wait, in the long form; there are six ways.
const LONG_CYCLES: u64 = 170_000;
/// Time for each in the short form.
const SHORT_TIME: Duration = Duration::from_millis(1300);

/// A random delay: nothing, some nanoseconds, some microseconds, a yield.
fn delay(random: &mut Random) {
    let spin = |rounds| (0..rounds).for_each(|_| std::hint::spin_loop());
    match random.below(16) {
        0..4 => {}
        4..9 => spin(random.below(40)),
        9..13 => spin(random.below(500)),
        13 => spin(random.below(4000)),
        14 if random.below(16) == 0 => std::thread::sleep(Duration::from_micros(random.below(200))),
        _ => std::thread::yield_now(),
    }
}

/// Makes a call that may sleep, and notes how long that took.
fn timed<R>(board: &WakeBoard, call: impl FnOnce() -> R) -> R {
    let started = Instant::now();
    let result = call();
    let took = started.elapsed();
    board.longest.fetch_max(took.as_nanos() as u64, Relaxed);
    if took > LATE {
        board.late.fetch_add(1, Relaxed);
        eprintln!("a wait took {took:?}");
    }
    result
}

/// Goes on until there were enough cycles, or until the time is over.
struct Limit {
    started: Instant,
    cycles: u64,
}

impl Limit {
    fn new() -> Limit {
        Limit { started: Instant::now(), cycles: 0 }
    }

    fn goes_on(&mut self, board: &WakeBoard) -> bool {
        let more = if is_long() { self.cycles < LONG_CYCLES } else { self.started.elapsed() < SHORT_TIME };
        // After one that was late there is nothing more to learn.
        let more = more && board.late.load(Relaxed) == 0;
        self.cycles += u64::from(more);
        more
    }
}

/// Forks a process and adds up how often it slept.
fn sleeper(board: &Board<WakeBoard>, seed: u64, body: impl FnOnce(Random)) -> Child {
    fork(|| {
        let before = sleeps_so_far();
        body(Random::new(seed));
        board.sleeps.fetch_add(sleeps_so_far() - before, Relaxed);
    })
}

fn sleep_and_wake() {
    let seed = seed();
    let sleepy = |builder: Builder| builder.wait(WaitStrategy::Sleep);
    let real = |builder: Builder| builder.fence(Fence::Real);
    let small = |builder: Builder| builder.capacity(4096);
    type Way = (&'static str, fn(&Board<WakeBoard>, &Builder, u64) -> u64, Builder);
    let ways: [Way; 6] = [
        ("for a message", ping_pong, sleepy(spsc())),
        ("for a message, real fences", ping_pong, real(sleepy(spsc()))),
        ("for the second of two", neck_and_neck, sleepy(spsc())),
        ("for the second of two, real fences", neck_and_neck, real(sleepy(spsc()))),
        ("for room and for messages", full_and_empty, small(sleepy(spsc()))),
        ("for messages of three", many_to_one, sleepy(mpsc().senders(3))),
    ];
    let (mut cycles, mut sleeps, mut late) = (0, 0, 0);
    for (what, run, builder) in ways {
        let board = Board::<WakeBoard>::new();
        let before = sleeps_so_far();
        cycles += run(&board, &builder, seed);
        sleeps += board.sleeps.load(Relaxed) + sleeps_so_far() - before;
        late += board.late.load(Relaxed);
        println!("  {what}: longest wait {:?}", Duration::from_nanos(board.longest.load(Relaxed)));
        assert_eq!(late, 0, "{what}, seed {seed}");
    }
    println!(
        "wake-ups: {} cycles, {} sleeps, {late} that ran into the ceiling",
        grouped(cycles),
        grouped(sleeps)
    );
}

/// Two processes that send to and fro.
fn ping_pong(board: &Board<WakeBoard>, builder: &Builder, seed: u64) -> u64 {
    let (mut ping, mut pings) = builder.pair().expect("a pair");
    let (mut pong, mut pongs) = builder.pair().expect("a pair");
    let other = sleeper(board, seed ^ 1, |mut random| {
        let mut buffer = [0; 8];
        loop {
            delay(&mut random);
            timed(board, || pings.recv_into(&mut buffer)).expect("a ping");
            if u64::from_le_bytes(buffer) == u64::MAX {
                return;
            }
            delay(&mut random);
            pong.send(buffer).expect("send");
        }
    });
    let (mut random, mut limit, mut number) = (Random::new(seed), Limit::new(), 0_u64);
    while limit.goes_on(board) {
        delay(&mut random);
        ping.send(number.to_le_bytes()).expect("send");
        delay(&mut random);
        let answer = timed(board, || pongs.recv_vec()).expect("a pong");
        assert_eq!(answer, number.to_le_bytes());
        number += 1;
    }
    ping.send(u64::MAX.to_le_bytes()).expect("send");
    other.join();
    limit.cycles
}

/// The receiver polls for a first message and goes to sleep for a second, which comes at about that moment: so
/// close together that only the fences keep publishing and falling asleep apart.
fn neck_and_neck(board: &Board<WakeBoard>, builder: &Builder, seed: u64) -> u64 {
    let (mut ping, mut pings) = builder.pair().expect("a pair");
    let (mut pong, mut pongs) = builder.pair().expect("a pair");
    let other = sleeper(board, seed ^ 1, |_| {
        let mut buffer = [0; 8];
        loop {
            let mut fruitless = 0_u32;
            while pings.try_recv_into(&mut buffer).is_err() {
                std::hint::spin_loop();
                fruitless += 1;
                if fruitless.is_multiple_of(2000) {
                    std::thread::yield_now(); // with one processor only this goes on
                }
            }
            timed(board, || pings.recv_into(&mut buffer)).expect("a second ping");
            if u64::from_le_bytes(buffer) == u64::MAX {
                return;
            }
            pong.send(buffer).expect("send");
        }
    });
    let (mut random, mut limit, mut number) = (Random::new(seed), Limit::new(), 0_u64);
    while limit.goes_on(board) {
        ping.send([0; 8]).expect("send");
        // Finer than a processor's pause: up to about a microsecond.
        (0..random.below(2000)).for_each(|step| _ = std::hint::black_box(step));
        ping.send(number.to_le_bytes()).expect("send");
        let answer = timed(board, || pongs.recv_vec()).expect("a pong");
        assert_eq!(answer, number.to_le_bytes());
        number += 1;
    }
    ping.send([0; 8]).expect("send");
    ping.send(u64::MAX.to_le_bytes()).expect("send");
    other.join();
    limit.cycles
}

/// A sender that sleeps for room as often as its receiver sleeps for messages.
fn full_and_empty(board: &Board<WakeBoard>, builder: &Builder, seed: u64) -> u64 {
    let (mut sender, mut receiver) = builder.pair().expect("a pair");
    let other = sleeper(board, seed ^ 2, |mut random| {
        let mut number = 0_u64;
        while board.stop.load(Relaxed) == 0 {
            delay(&mut random);
            let length = if random.below(2) == 0 { 1900 } else { 8 + random.below(1900) as usize };
            let mut bytes = vec![0; length];
            bytes[..8].copy_from_slice(&number.to_le_bytes());
            timed(board, || sender.send(bytes)).expect("send");
            number += 1;
        }
    });
    let (mut random, mut limit, mut number) = (Random::new(seed), Limit::new(), 0_u64);
    let mut first = |receiver: &mut Receiver, random: &mut Random| {
        let most = 1 + random.below(3) as usize;
        let batch = timed(board, || receiver.recv_batch(most))?;
        for message in batch.iter() {
            let mut bytes = [0; 8];
            message.copy_to(&mut bytes);
            assert_eq!(u64::from_le_bytes(bytes), number);
            number += 1;
        }
        delay(random);
        Ok::<(), RecvError>(())
    };
    while limit.goes_on(board) {
        delay(&mut random);
        first(&mut receiver, &mut random).expect("a message");
    }
    board.stop.store(1, Relaxed);
    while first(&mut receiver, &mut random).is_ok() {}
    other.join();
    limit.cycles
}

/// Three senders of one channel, each with one message on its way.
fn many_to_one(board: &Board<WakeBoard>, builder: &Builder, seed: u64) -> u64 {
    let (sender, mut receiver) = builder.pair().expect("a pair");
    receiver.attach().expect("a seat");
    let mut answers: Vec<(Sender, Option<Receiver>)> = (0..3)
        .map(|_| spsc().wait(WaitStrategy::Sleep).pair().expect("a pair"))
        .map(|(sender, receiver)| (sender, Some(receiver)))
        .collect();
    let mut sender = Some(sender);
    let others: Vec<Child> = (0..3_usize)
        .map(|who| {
            // What a child takes out of here stays with the parent, and the other way round.
            let (sender, answers) = (&mut sender, &mut answers);
            sleeper(board, seed ^ (3 + who as u64), move |mut random| {
                let mut sender = sender.take().expect("a sender");
                let mut answer = answers[who].1.take().expect("a receiver");
                let mut buffer = [0; 8];
                for number in 0_u64.. {
                    delay(&mut random);
                    sender
                        .send([&(who as u64).to_le_bytes()[..], &number.to_le_bytes()].concat())
                        .expect("send");
                    delay(&mut random);
                    timed(board, || answer.recv_into(&mut buffer)).expect("an answer");
                    if u64::from_le_bytes(buffer) == u64::MAX {
                        return;
                    }
                    assert_eq!(u64::from_le_bytes(buffer), number);
                }
            })
        })
        .collect();
    let (mut random, mut limit, mut left) = (Random::new(seed), Limit::new(), 3);
    while left > 0 {
        let more = limit.goes_on(board);
        delay(&mut random);
        let bytes = timed(board, || receiver.recv_vec()).expect("a message");
        let (who, number) = bytes.split_at(8);
        let who = u64::from_le_bytes(who.try_into().expect("eight bytes")) as usize;
        delay(&mut random);
        let answer = if more { number } else { &[0xff; 8] };
        answers[who].0.send(answer).expect("send");
        left -= u32::from(!more);
    }
    others.iter().for_each(Child::join);
    limit.cycles
}

/// A sender is stopped at random moments, also between publishing and ringing: the message of another wakes the
/// receiver nevertheless.
fn a_stopped_ringer_holds_up_nobody() {
    const LONG_STOPS: u64 = 100_000;
    let board = Board::<WakeBoard>::new();
    let seed = seed();
    let (mut sender, mut receiver) = mpsc().senders(2).wait(WaitStrategy::Sleep).pair().expect("a pair");
    sender.attach().expect("a seat"); // the child that uses it takes another
    let reader = sleeper(&board, seed, |_| {
        loop {
            match receiver.recv_vec().expect("a message")[0] {
                0 => {}
                1 => _ = board.cycles.fetch_add(1, Relaxed),
                _ => return,
            }
        }
    });
    let other = fork(|| {
        let mut random = Random::new(seed ^ 1);
        loop {
            // Long enough for the receiver to fall asleep, mostly.
            (0..100 + random.below(800)).for_each(|_| std::hint::spin_loop());
            sender.send([0]).expect("send");
        }
    });
    let (mut random, started, mut stops) = (Random::new(seed ^ 2), Instant::now(), 0);
    while if is_long() { stops < LONG_STOPS } else { started.elapsed() < SHORT_TIME } {
        std::thread::sleep(Duration::from_micros(random.below(60)));
        other.signal(libc::SIGSTOP);
        (0..random.below(2000)).for_each(|_| std::hint::spin_loop());
        sender.send([1]).expect("send");
        stops += 1;
        timed(&board, || {
            while board.cycles.load(Relaxed) < stops {
                std::thread::yield_now();
            }
        });
        other.signal(libc::SIGCONT);
        if board.late.load(Relaxed) > 0 {
            break;
        }
    }
    other.kill();
    sender.send([2]).expect("send");
    reader.join();
    let (late, sleeps) = (board.late.load(Relaxed), board.sleeps.load(Relaxed));
    println!(
        "stopped ringers: {} stops, {} sleeps of the receiver, {late} that ran into the ceiling, longest {:?}",
        grouped(stops),
        grouped(sleeps),
        Duration::from_nanos(board.longest.load(Relaxed))
    );
    assert_eq!(late, 0, "seed {seed}");
}

/// Prints the times and checks that no ceiling was needed.
fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!("{what}: {} times, median {median:?}, worst {worst:?}", times.len());
    assert!(worst < LATE, "{what}: one needed the ceiling");
    assert!(median < MEDIAN, "{what}");
}

fn wait_for_ever() {
    loop {
        pause(1000);
    }
}

fn receivers_wake_at_a_death() {
    let (board, clock) = (Board::<WakeBoard>::new(), Clock::new());
    for (what, builder) in [("spsc", spsc()), ("mpsc", mpsc().senders(4).wait(WaitStrategy::Sleep))] {
        let mut times = Vec::new();
        for _ in 0..if is_long() { 1000 } else { 60 } {
            let name = Name::new();
            let channel = builder.create(&name).expect("create");
            let ready = Pipe::new();
            let sender = fork(|| {
                let _sender = channel.sender().expect("a seat");
                ready.put(0);
                wait_for_ever();
            });
            ready.get();
            let receiver = fork(|| {
                let mut receiver = channel.receiver().expect("a seat");
                let error = receiver.recv().err();
                board.times[0].store(clock.now(), Relaxed);
                assert!(matches!(error, Some(RecvError::Disconnected)), "{error:?}");
            });
            until("the receiver sleeps", || channel.stats().expect("stats").receiver.asleep);
            let killed = clock.now();
            sender.kill();
            receiver.join();
            times.push(Duration::from_nanos(board.times[0].load(Relaxed).saturating_sub(killed)));
            sysring::remove(&name).expect("remove");
        }
        report(&format!("death of the only sender wakes the receiver, {what}"), times);
    }
}

fn senders_wake_at_a_death() {
    const SENDERS: usize = 32;
    let (board, clock) = (Board::<WakeBoard>::new(), Clock::new());
    let mut times = Vec::new();
    for round in 0..if is_long() { 100 } else { 8 } {
        let wait = if round % 2 == 0 { WaitStrategy::Sleep } else { WaitStrategy::SpinThenSleep };
        let builder = mpsc().senders(SENDERS as u32).capacity(4096).persistent(false).wait(wait);
        let name = Name::new();
        let channel = builder.create(&name).expect("create");
        let ready = Pipe::new();
        let receiver = fork(|| {
            let _receiver = channel.receiver().expect("a seat");
            ready.put(0);
            wait_for_ever();
        });
        ready.get();
        board.times.iter().for_each(|time| time.store(0, Relaxed));
        let leave = Pipe::new();
        let senders: Vec<Child> = (0..SENDERS)
            .map(|who| {
                let (board, channel, leave) = (&board, &channel, &leave);
                fork(move || {
                    let mut sender = channel.sender().expect("a seat");
                    while sender.try_send([7; 1000]).is_ok() {}
                    let error = sender.send([7; 1000]).err();
                    board.times[who].store(clock.now(), Relaxed);
                    let fault = error.as_ref().map(|error| error.fault());
                    assert!(matches!(fault, Some(Fault::Disconnected)), "{error:?}");
                    leave.get(); // what it costs to end is not to be measured
                })
            })
            .collect();
        until("all senders sleep", || {
            let lanes = channel.stats().expect("stats").lanes;
            lanes.iter().filter(|lane| lane.waits_for_room).count() == SENDERS
        });
        let killed = clock.now();
        receiver.kill();
        until("all have noticed", || board.times[..SENDERS].iter().all(|time| time.load(Relaxed) > 0));
        senders.iter().for_each(|_| leave.put(0));
        senders.iter().for_each(Child::join);
        let took = |time: u64| Duration::from_nanos(time.saturating_sub(killed));
        times.extend(board.times[..SENDERS].iter().map(|time| took(time.load(Relaxed))));
        sysring::remove(&name).expect("remove");
    }
    report("death of the receiver wakes 32 senders", times);
}
