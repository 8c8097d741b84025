//! Senders and receiver as threads of one process, on one mapping of one channel: every call, small lanes, so that
//! everything wraps and waits; handles that move, come, and go while others work.
//!
//! The form of the stress tests that the thread sanitizer can judge (`.ci/tsan`). It knows memory by its address in one
//! process, so all handles of a test come from one [`Channel`] or pair: who opens a channel again has another mapping.
//! Nothing but the channel, and what the test says, orders sender and receiver.
//!
//! The short forms take about 4 seconds together; `SYSRING_LONG=1` asks for the long ones, `SYSRING_SEED=N` repeats
//! the random choices of a run.

mod common;
#[allow(dead_code, reason = "every test program uses another part of it")]
#[path = "common/message.rs"]
mod message;
#[allow(dead_code, reason = "every test program uses another part of it")]
#[path = "common/process.rs"]
mod process;
#[allow(dead_code, unused_imports, unused_macros, reason = "every test program uses another part of it")]
#[path = "common/runner.rs"]
mod runner;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use common::Objects;
use message::{
    Checker, Plan, RECV_FORMS, Random, RecvForm, SEND_FORMS, SendForm, Sizes, compose, decode, receive_all,
    receive_some, send_all, send_range,
};
use process::{Name, pause, trusted_receiver, trusted_sender};
use sysring::{
    Builder, Channel, Collector, Fault, Fence, Observer, OpenErrorKind, Order, Receiver, RecvError,
    RecvTimeoutError, Sender, Trusted, WaitStrategy, mpsc, spsc,
};

const STRATEGIES: [WaitStrategy; 3] = [WaitStrategy::SpinThenSleep, WaitStrategy::Sleep, WaitStrategy::Spin];
const ORDERS: [Order; 2] = [Order::Total, Order::PerSender];

/// The smallest lane there is, and its largest message.
const CAPACITY: u64 = 4096;
const LARGEST: usize = 2032;

/// Every strategy with every fence, in turn.
fn options(builder: Builder, turn: usize) -> Builder {
    let fence = if (turn / STRATEGIES.len()).is_multiple_of(2) { Fence::Auto } else { Fence::Real };
    builder.capacity(CAPACITY).wait(STRATEGIES[turn % STRATEGIES.len()]).fence(fence)
}

fn mixed(count: u32) -> Plan {
    Plan { sizes: Sizes::Mixed(LARGEST), count }
}

/// The count of a short form, or of the long one.
fn times(count: u32) -> u32 {
    if runner::is_long() { 100 * count } else { count }
}

/// Runs a test, which returns its figures. Threads cannot be killed: if it is not done in time, the channels of this
/// process are removed, which ends every wait, and at last the process ends.
fn test(name: &str, body: impl FnOnce(&mut Random) -> String) {
    let limit = std::env::var("SYSRING_TEST_DEADLINE").ok().and_then(|text| text.parse().ok());
    let limit = Duration::from_secs(limit.unwrap_or(if runner::is_long() { 3600 } else { 60 }));
    let mut random = Random::new(runner::seed());
    let done = Arc::new(AtomicBool::new(false));
    let watchman = {
        let (name, done) = (name.to_owned(), Arc::clone(&done));
        thread::spawn(move || {
            if wait_for(&done, limit) {
                return;
            }
            eprintln!("{name}: not done after {limit:?}");
            let own = format!("fork-test-{}-", std::process::id());
            for listed in sysring::list().unwrap_or_default() {
                if listed.outcome.is_ok_and(|stats| stats.name.starts_with(&own)) {
                    let _ = sysring::remove(sysring::Address::id(listed.id));
                }
            }
            if !wait_for(&done, Duration::from_secs(10)) {
                std::process::abort();
            }
        })
    };
    let started = Instant::now();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| body(&mut random)));
    done.store(true, Ordering::Release);
    watchman.thread().unpark();
    watchman.join().expect("the watchman");
    match result {
        Ok(figures) => println!("{name}: {figures}, {:.3} s", started.elapsed().as_secs_f64()),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn wait_for(done: &AtomicBool, limit: Duration) -> bool {
    let end = Instant::now() + limit;
    while !done.load(Ordering::Acquire) {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        thread::park_timeout(left);
    }
    true
}

/// A channel with a name, which threads share.
struct Scene {
    channel: Channel,
    name: Name,
    objects: Objects,
}

impl Scene {
    fn new(builder: &Builder) -> Scene {
        let name = Name::new();
        let channel = builder.create(&name).expect("create");
        let mut objects = Objects::default();
        objects.note(&channel.stats().expect("stats"));
        Scene { channel, name, objects }
    }

    fn sender(&self) -> Trusted<Sender> {
        trusted_sender(self.channel.sender().expect("a sender's seat"))
    }

    fn receiver(&self) -> Trusted<Receiver> {
        trusted_receiver(self.channel.receiver().expect("the receiver's seat"))
    }

    /// Does a thread's part. If it panics the channel is removed, so that nobody waits for ever.
    fn part<T>(&self, body: impl FnOnce() -> T) -> T {
        struct Alarm<'a>(&'a Channel);
        impl Drop for Alarm<'_> {
            fn drop(&mut self) {
                if thread::panicking() {
                    let _ = self.0.remove();
                }
            }
        }
        let _alarm = Alarm(&self.channel);
        body()
    }

    fn finish(mut self) {
        self.objects.note(&self.channel.stats().expect("stats"));
        self.channel.remove().expect("remove");
        self.assert_gone();
    }

    /// Nothing is left in the kernel of a channel that was removed.
    fn assert_gone(self) {
        drop(self.channel); // keeps the segment attached
        assert_gone(&self.objects);
    }
}

/// Nothing is left of them, or will be as soon as an observer, of another test or program, has let go of it.
#[track_caller]
fn assert_gone(objects: &Objects) {
    let end = Instant::now() + Duration::from_secs(10);
    while let Some(left) = objects.left() {
        assert!(Instant::now() < end, "{left}");
        pause(1);
    }
}

/// The threads of a [`thread::scope`], all of which are joined: the thread sanitizer sees the order that a join makes,
/// and not the one at the end of a scope.
struct Crew<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    hands: RefCell<Vec<ScopedJoinHandle<'scope, ()>>>,
}

impl<'scope> Crew<'scope, '_> {
    fn spawn(&self, body: impl FnOnce() + Send + 'scope) {
        self.hands.borrow_mut().push(self.scope.spawn(body));
    }
}

fn crew<'env, T>(body: impl for<'scope> FnOnce(&Crew<'scope, 'env>) -> T) -> T {
    thread::scope(|scope| {
        let crew = Crew { scope, hands: RefCell::default() };
        let result = body(&crew);
        for hand in crew.hands.into_inner() {
            hand.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        result
    })
}

/// So many senders and a receiver, until everything has come.
fn stream(builder: &Builder, senders: u32, plan: Plan, send: SendForm, recv: RecvForm) -> u64 {
    let scene = Scene::new(builder);
    let mut checker = Checker::new(senders, plan);
    let receiver = scene.receiver().into_inner();
    crew(|crew| {
        for who in 0..senders {
            // Half of them take the seat in the thread that uses it.
            let sender = who.is_multiple_of(2).then(|| scene.sender());
            let scene = &scene;
            crew.spawn(move || {
                scene.part(|| {
                    let sender = sender.unwrap_or_else(|| scene.sender());
                    send_all(sender.into_inner(), who, plan, send);
                });
            });
        }
        scene.part(|| drop(receive_all(receiver, &mut checker, recv)));
    });
    checker.finish();
    scene.finish();
    u64::from(senders) * u64::from(plan.count)
}

#[test]
fn spsc_every_form() {
    test("spsc_every_form", |_| {
        let plan = mixed(times(150));
        let mut messages = 0;
        for (turn, send) in SEND_FORMS.into_iter().enumerate() {
            for (shift, recv) in RECV_FORMS.into_iter().enumerate() {
                let builder = options(spsc(), turn + shift);
                if (turn + shift).is_multiple_of(2) {
                    messages += stream(&builder, 1, plan, send, recv);
                } else {
                    messages += pair(&builder, plan, send, recv);
                }
            }
        }
        format!("{messages} messages in {} pairs of forms", SEND_FORMS.len() * RECV_FORMS.len())
    });
}

/// The same with an anonymous channel, whose handles take their seats at the first use.
fn pair(builder: &Builder, plan: Plan, send: SendForm, recv: RecvForm) -> u64 {
    let (sender, receiver) = builder.pair().expect("a pair");
    let mut objects = Objects::default();
    objects.note(&sender.stats().expect("stats"));
    let mut checker = Checker::new(1, plan);
    crew(|crew| {
        crew.spawn(move || send_all(sender, 0, plan, send));
        let mut receiver = receive_all(receiver, &mut checker, recv);
        assert!(matches!(receiver.recv(), Err(RecvError::Disconnected)));
    });
    checker.finish();
    assert_gone(&objects);
    u64::from(plan.count)
}

fn many(name: &str, order: Order) {
    test(name, |_| {
        let mut messages = 0;
        for turn in 0..6 {
            let builder = options(mpsc().senders(4).order(order), turn);
            messages += stream(&builder, 4, mixed(times(400)), SendForm::Mixed, RecvForm::Mixed);
        }
        for (turn, recv) in RECV_FORMS.into_iter().enumerate() {
            let builder = options(mpsc().senders(3).order(order), turn);
            let send = SEND_FORMS[turn % SEND_FORMS.len()];
            messages += stream(&builder, 2 + turn as u32 % 2, mixed(times(150)), send, recv);
        }
        format!("{messages} messages")
    });
}

#[test]
fn mpsc_total() {
    many("mpsc_total", Order::Total);
}

#[test]
fn mpsc_per_sender() {
    many("mpsc_per_sender", Order::PerSender);
}

/// Who has been told by a word in memory that a message was sent, sends after it.
#[test]
fn effects_come_after_their_causes() {
    test("effects_come_after_their_causes", |_| {
        let pairs = u64::from(times(4_000));
        for turn in 0..2 {
            let whole = Scene::new(&options(mpsc().senders(2), turn));
            let scene = &whole;
            let told = &AtomicU64::new(0);
            let send = |sender: &mut Sender, number: u64| sender.send(number.to_le_bytes()).expect("send");
            let (mut cause, mut effect) = (scene.sender(), scene.sender());
            crew(|crew| {
                crew.spawn(move || {
                    scene.part(|| {
                        for number in 0..pairs {
                            send(&mut cause, 2 * number);
                            told.store(number + 1, Ordering::Release);
                        }
                    });
                });
                crew.spawn(move || {
                    scene.part(|| {
                        let mut next = 0;
                        while next < pairs {
                            let known = told.load(Ordering::Acquire);
                            if known == next {
                                assert!(!scene.channel.stats().expect("stats").removed);
                                thread::yield_now();
                            }
                            // The newest cause, and nothing of those before it.
                            if known > next {
                                next = known;
                                send(&mut effect, 2 * known - 1);
                            }
                        }
                    });
                });
                scene.part(|| {
                    let (mut receiver, mut buffer) = (scene.receiver(), [0; 8]);
                    let (mut causes, mut effects) = (0, 0);
                    while causes < pairs || effects < pairs {
                        assert_eq!(receiver.recv_into(&mut buffer).expect("receive"), 8);
                        let number = u64::from_le_bytes(buffer);
                        if number.is_multiple_of(2) {
                            assert_eq!(number / 2, causes, "a cause");
                            causes += 1;
                        } else {
                            effects = number.div_ceil(2);
                            assert!(effects <= causes, "effect {effects} before its cause");
                        }
                    }
                });
            });
            whole.finish();
        }
        format!("{} causes", 2 * pairs)
    });
}

/// Handles go on from thread to thread, while the other side goes on too.
#[test]
fn handles_go_from_thread_to_thread() {
    test("handles_go_from_thread_to_thread", |random| {
        let plan = mixed(times(1_000));
        let mut legs = 0;
        for turn in 0..3 {
            let scene = Scene::new(&options(mpsc().senders(2), turn));
            let counts: Vec<AtomicU64> = (0..3).map(|_| AtomicU64::new(0)).collect();
            let mut randoms = [(); 3].map(|()| Random::new(random.below(u64::MAX)));
            let [first, second, third] = &mut randoms;
            crew(|crew| {
                for (who, random) in [first, second].into_iter().enumerate() {
                    let (scene, count) = (&scene, &counts[who]);
                    crew.spawn(move || {
                        scene.part(|| wandering_sender(scene, who as u32, plan, random, count));
                    });
                }
                scene.part(|| wandering_receiver(&scene, plan, third, &counts[2]));
            });
            legs += counts.iter().map(|count| count.load(Ordering::Relaxed)).sum::<u64>();
            scene.finish();
        }
        format!("{} messages, {legs} threads", 6 * plan.count)
    });
}

fn wandering_sender(scene: &Scene, who: u32, plan: Plan, random: &mut Random, legs: &AtomicU64) {
    let mut sender = scene.sender();
    let mut number = 0;
    while number < plan.count {
        let end = plan.count.min(number + 1 + random.below(60) as u32);
        let leg = move || {
            send_range(&mut sender, who, plan, number..end, SendForm::Mixed);
            sender
        };
        sender = thread::scope(|scope| scope.spawn(|| scene.part(leg)).join()).expect("a leg");
        number = end;
        legs.fetch_add(1, Ordering::Relaxed);
    }
}

fn wandering_receiver(scene: &Scene, plan: Plan, random: &mut Random, legs: &AtomicU64) {
    let mut checker = Checker::new(2, plan);
    let mut receiver = scene.receiver();
    let mut buffer = vec![0; LARGEST];
    while !checker.is_complete() {
        let (checker, buffer, random) = (&mut checker, &mut buffer, &mut *random);
        let leg = move || {
            for _ in 0..1 + random.below(40) {
                receive_any(&mut receiver, checker, random, buffer);
            }
            receiver
        };
        receiver = thread::scope(|scope| scope.spawn(|| scene.part(leg)).join()).expect("a leg");
        legs.fetch_add(1, Ordering::Relaxed);
    }
    checker.finish();
}

/// One call of any form, unless everything has come.
fn receive_any(
    receiver: &mut Trusted<Receiver>,
    checker: &mut Checker,
    random: &mut Random,
    buffer: &mut [u8],
) {
    if checker.is_complete() {
        return;
    }
    let form = RECV_FORMS[random.below(RECV_FORMS.len() as u64) as usize];
    match receive_some(receiver, checker, form, buffer) {
        // All of them may have gone before the next comes.
        Ok(()) | Err(RecvError::Disconnected) => {}
        Err(error) => panic!("{form:?}: {error}"),
    }
}

/// More threads than seats: clones, attaching and leaving, with messages and half-written ones left in the lanes.
#[test]
fn senders_come_and_go() {
    const THREADS: u32 = 4;
    test("senders_come_and_go", |random| {
        let plan = mixed(times(400));
        let sessions = AtomicU64::new(0);
        for turn in 0..3 {
            let scene = Scene::new(&options(mpsc().senders(THREADS - 1), turn));
            let mut checker = Checker::new(THREADS, plan);
            crew(|crew| {
                for who in 0..THREADS {
                    let random = Random::new(random.below(u64::MAX));
                    let (scene, sessions) = (&scene, &sessions);
                    crew.spawn(move || {
                        scene.part(|| {
                            let count = sending_sessions(scene, who, plan, random);
                            sessions.fetch_add(count, Ordering::Relaxed);
                        });
                    });
                }
                scene.part(|| {
                    let (mut receiver, mut buffer) = (scene.receiver(), vec![0; LARGEST]);
                    while !checker.is_complete() {
                        receive_any(&mut receiver, &mut checker, random, &mut buffer);
                    }
                });
            });
            checker.finish();
            scene.finish();
        }
        format!("{} messages, {} sessions", 3 * THREADS * plan.count, sessions.into_inner())
    });
}

/// Sends a plan's messages in many sessions; how many.
fn sending_sessions(scene: &Scene, who: u32, plan: Plan, mut random: Random) -> u64 {
    let (mut number, mut sessions) = (0, 0);
    let mut last: Option<Trusted<Sender>> = None;
    while number < plan.count {
        // A clone takes its seat before the old handle leaves its own.
        let clone = match &last {
            Some(sender) if random.below(2) == 0 => seat_or_none(sender.try_clone()),
            _ => None,
        };
        drop(last.take());
        let mut sender = match clone {
            Some(sender) => sender,
            None => loop {
                if let Some(sender) = seat_or_none(scene.channel.sender()) {
                    break sender;
                }
                thread::yield_now();
            },
        };
        sessions += 1;
        let end = plan.count.min(number + 1 + random.below(40) as u32);
        send_range(&mut sender, who, plan, number..end, SendForm::Mixed);
        number = end;
        // What was written and not published is nobody's business, the next sender of the lane's least of all.
        match random.below(3) {
            0 => sender.reserve(random.below(500) as usize).expect("reserve in place").fill(0xEE),
            1 => {
                let sender: &mut Sender = &mut sender;
                let mut slot = sender.reserve(100).expect("reserve");
                slot.write_at(random.below(50) as usize, &[0xDD; 50]).expect("it fits");
            }
            _ => {}
        }
        last = Some(sender);
    }
    sessions
}

fn seat_or_none(sender: Result<Sender, sysring::OpenError>) -> Option<Trusted<Sender>> {
    match sender {
        Ok(sender) => Some(trusted_sender(sender)),
        Err(error) => {
            assert!(matches!(error.kind(), OpenErrorKind::SeatTaken { .. }), "{error}");
            None
        }
    }
}

/// One receiver after another, each in a thread of its own; some leave what they were lent to the next.
#[test]
fn receivers_come_and_go() {
    test("receivers_come_and_go", |random| {
        let plan = mixed(times(600));
        let (mut sessions, mut again) = (0, 0);
        for turn in 0..6 {
            let scene = Scene::new(&options(mpsc().senders(2).order(ORDERS[turn % 2]), turn));
            let mut checker = Checker::new(2, plan);
            crew(|crew| {
                for who in 0..2 {
                    let scene = &scene;
                    crew.spawn(move || {
                        let sender = scene.sender().into_inner();
                        scene.part(|| send_all(sender, who, plan, SendForm::Mixed));
                    });
                }
                let mut kept = 0;
                while !checker.is_complete() {
                    if random.below(2) == 0 {
                        pause(1); // the senders meet full lanes and nobody who reads
                    }
                    let session = || scene.part(|| receiving_session(&scene, &mut checker, kept, random));
                    kept = thread::scope(|scope| scope.spawn(session).join()).expect("a session");
                    sessions += 1;
                    again += kept;
                }
            });
            checker.finish();
            scene.finish();
        }
        format!("{} messages, {sessions} sessions, {again} redelivered", 12 * plan.count)
    });
}

/// Receives what the last one kept and something more. Returns how many messages are kept for the next one.
fn receiving_session(scene: &Scene, checker: &mut Checker, kept: usize, random: &mut Random) -> usize {
    let mut receiver = scene.receiver();
    let mut buffer = vec![0; LARGEST];
    receive_again(&mut receiver, checker, kept);
    for _ in 0..random.below(12) {
        receive_any(&mut receiver, checker, random, &mut buffer);
    }
    let mut kept = 0;
    if !checker.is_complete() {
        kept = keep(&mut receiver, random);
    }
    if random.below(3) == 0 {
        receive_again(&mut receiver, checker, kept); // the same receiver gets it again, too
        kept = 0;
    }
    kept
}

/// Receives until so many messages have come that are marked as redelivered.
fn receive_again(receiver: &mut Receiver, checker: &mut Checker, mut kept: usize) {
    while kept > 0 {
        let message = receiver.recv().expect("a message that was kept");
        kept -= usize::from(message.redelivered());
        checker.accept(&message.to_vec());
    }
}

/// Is lent messages and never releases them; how many.
fn keep(receiver: &mut Receiver, random: &mut Random) -> usize {
    let limit = Duration::from_millis(20);
    let none = |error: RecvTimeoutError| match error {
        RecvTimeoutError::Timeout | RecvTimeoutError::Failed(RecvError::Disconnected) => 0,
        error => panic!("{error}"),
    };
    match random.below(3) {
        0 => 0,
        1 => receiver.recv_timeout(limit).map_or_else(none, |message| {
            std::mem::forget(message);
            1
        }),
        _ => receiver.recv_batch_timeout(1 + random.below(20) as usize, limit).map_or_else(none, |batch| {
            let count = batch.len();
            std::mem::forget(batch);
            count
        }),
    }
}

/// What is lent stays as it is until it is released, however much the sender would like the room.
#[test]
fn lent_messages_stay_as_they_are() {
    test("lent_messages_stay_as_they_are", |random| {
        let plan = mixed(times(1_500));
        for turn in 0..3 {
            let scene = Scene::new(&options(spsc(), turn));
            let mut checker = Checker::new(1, plan);
            crew(|crew| {
                crew.spawn(|| {
                    let sender = scene.sender().into_inner();
                    scene.part(|| send_all(sender, 0, plan, SendForm::Mixed));
                });
                scene.part(|| {
                    let mut receiver = scene.receiver();
                    while !checker.is_complete() {
                        hold(&mut receiver, &mut checker, random);
                    }
                });
            });
            checker.finish();
            scene.finish();
        }
        format!("{} messages", 3 * plan.count)
    });
}

/// Reads what is lent twice, some time apart.
fn hold(receiver: &mut Trusted<Receiver>, checker: &mut Checker, random: &mut Random) {
    let idle = random.below(4);
    if random.below(2) == 0 {
        let frame = receiver.recv().expect("receive in place");
        let before = frame.to_vec();
        (0..idle).for_each(|_| thread::yield_now());
        assert_eq!(*frame, before);
        checker.accept(&frame);
    } else {
        let receiver: &mut Receiver = receiver;
        let batch = receiver.recv_batch(30).expect("receive a batch");
        let before: Vec<Vec<u8>> = batch.iter().map(|message| message.to_vec()).collect();
        (0..idle).for_each(|_| thread::yield_now());
        for (message, before) in batch.iter().zip(before) {
            assert_eq!(message.to_vec(), before);
            checker.accept(&before);
        }
    }
}

/// Of each batch only so many messages are released; the others come again, marked, and no other one is.
#[test]
fn batches_released_in_part() {
    test("batches_released_in_part", |random| {
        let plan = mixed(times(1_500));
        let mut again = 0;
        let kinds = [spsc(), mpsc().senders(3), mpsc().senders(3).order(Order::PerSender)];
        for (turn, (builder, senders)) in kinds.into_iter().zip([1, 3, 3]).enumerate() {
            let scene = Scene::new(&options(builder, turn));
            let mut checker = Checker::new(senders, plan);
            crew(|crew| {
                for who in 0..senders {
                    let scene = &scene;
                    crew.spawn(move || {
                        let sender = scene.sender().into_inner();
                        scene.part(|| send_all(sender, who, plan, SendForm::Mixed));
                    });
                }
                scene.part(|| {
                    let mut receiver = scene.receiver();
                    let receiver: &mut Receiver = &mut receiver;
                    // Of each lane, what was handed out and not released.
                    let mut owed: [VecDeque<Vec<u8>>; 3] = Default::default();
                    while !checker.is_complete() {
                        let batch = receiver.recv_batch(1 + random.below(30) as usize).expect("a batch");
                        let count = random.below(batch.len() as u64 + 2) as usize;
                        let mut kept: [VecDeque<Vec<u8>>; 3] = Default::default();
                        for (index, message) in batch.iter().enumerate() {
                            let (lane, bytes) = (message.lane() as usize, message.to_vec());
                            let before = owed[lane].pop_front();
                            assert_eq!(message.redelivered(), before.is_some());
                            again += usize::from(before.is_some());
                            assert!(before.is_none_or(|before| before == bytes));
                            if index < count {
                                checker.accept(&bytes);
                            } else {
                                kept[lane].push_back(bytes);
                            }
                        }
                        batch.release_first(count);
                        for (owed, kept) in owed.iter_mut().zip(&mut kept) {
                            kept.append(owed);
                            *owed = std::mem::take(kept);
                        }
                    }
                    assert!(receiver.is_empty() && owed.iter().all(VecDeque::is_empty));
                });
            });
            checker.finish();
            scene.finish();
        }
        assert!(again > 0);
        format!("{again} messages came again")
    });
}

/// Statistics from outside and inside, lists, and dry runs of the collector, while messages flow and handles come and
/// go.
#[test]
fn watched_at_work() {
    test("watched_at_work", |random| {
        let plan = mixed(times(1_500));
        let mut looks = 0;
        for turn in 0..2 {
            let scene = Scene::new(&options(mpsc().senders(3), turn));
            let mut checker = Checker::new(2, plan);
            let done = AtomicBool::new(false);
            crew(|crew| {
                for who in 0..2 {
                    let (scene, random) = (&scene, Random::new(random.below(u64::MAX)));
                    crew.spawn(move || {
                        scene.part(|| sending_sessions(scene, who, plan, random));
                    });
                }
                let outside = crew.scope.spawn(|| scene.part(|| watch_outside(&scene, &done)));
                let inside = crew.scope.spawn(|| scene.part(|| watch_inside(&scene, &done)));
                scene.part(|| {
                    let (mut receiver, mut buffer) = (scene.receiver(), vec![0; LARGEST]);
                    while !checker.is_complete() {
                        receive_any(&mut receiver, &mut checker, random, &mut buffer);
                        assert!(receiver.stats().expect("stats").receiver.taken);
                        let _ = (receiver.len(), receiver.is_empty(), receiver.departures());
                    }
                });
                done.store(true, Ordering::Relaxed);
                looks += outside.join().expect("the observer") + inside.join().expect("the spy");
            });
            checker.finish();
            scene.finish();
        }
        format!("{} messages, {looks} looks", 4 * plan.count)
    });
}

fn watch_outside(scene: &Scene, done: &AtomicBool) -> u64 {
    let pid = Some(std::process::id().cast_signed());
    let (mut looks, mut received) = (0, 0);
    while !done.load(Ordering::Relaxed) {
        let observer = Observer::open(&scene.name).expect("observe");
        for _ in 0..3 {
            let stats = observer.stats().expect("stats");
            assert_eq!((stats.capacity, stats.senders, stats.removed), (CAPACITY, 3, false));
            assert!(stats.receiver.pid.is_none_or(|holder| Some(holder) == pid));
            let now: u64 = stats.lanes.iter().map(|lane| lane.received).sum();
            assert!(now >= received, "{now} messages received, {received} before");
            received = now;
            for lane in stats.lanes {
                assert!(lane.used <= CAPACITY && !lane.corrupt, "{lane:?}");
                observer.sender_alive(lane.lane).expect("a lane");
            }
            looks += 1;
        }
    }
    looks
}

fn watch_inside(scene: &Scene, done: &AtomicBool) -> u64 {
    let mut looks = 0;
    while !done.load(Ordering::Relaxed) {
        let stats = scene.channel.stats().expect("stats");
        assert_eq!(stats.name, scene.name.as_str());
        let listed = sysring::list().expect("a list");
        assert!(listed.iter().any(|listed| listed.id == scene.channel.id()));
        let findings = Collector::new().dry_run(true).run().expect("a dry run");
        assert!(findings.iter().all(|finding| finding.id != scene.channel.id()), "{findings:?}");
        looks += 1;
    }
    looks
}

/// Both sides are interrupted at random: each interruption ends one wait at most, and no message is lost.
#[test]
fn interrupted_at_random() {
    test("interrupted_at_random", |random| {
        let plan = mixed(times(600));
        let (mut raised, mut taken) = (0, 0);
        for turn in 0..3 {
            let scene = Scene::new(&options(spsc(), turn));
            let (mut sender, mut receiver) = (scene.sender(), scene.receiver());
            let stops = [sender.interrupter(), receiver.interrupter()];
            let done = AtomicBool::new(false);
            let mut checker = Checker::new(1, plan);
            let seeds = [(); 2].map(|()| Random::new(random.below(u64::MAX)));
            let [mut at_sender, mut at_stops] = seeds;
            crew(|crew| {
                let sends = crew.scope.spawn(|| {
                    scene.part(move || {
                        let (mut bytes, mut taken) = (Vec::new(), 0);
                        for number in 0..plan.count {
                            compose(&mut bytes, 0, number, plan.length(0, number));
                            while let Err(error) = sender.send(&bytes) {
                                assert!(matches!(error.fault(), Fault::Interrupted), "{error}");
                                taken += 1;
                            }
                            if at_sender.below(50) == 0 {
                                pause(1);
                            }
                        }
                        taken
                    })
                });
                let stopping = crew.scope.spawn(|| {
                    let mut raised = 0;
                    while !done.load(Ordering::Relaxed) {
                        stops[at_stops.below(2) as usize].interrupt();
                        raised += 1;
                        thread::sleep(Duration::from_micros(at_stops.below(300)));
                    }
                    raised
                });
                scene.part(|| {
                    while !checker.is_complete() {
                        match receiver.recv() {
                            Ok(frame) => checker.accept(&frame),
                            Err(RecvError::Interrupted) => taken += 1,
                            Err(error) => panic!("{error}"),
                        }
                        if random.below(50) == 0 {
                            pause(1);
                        }
                    }
                });
                done.store(true, Ordering::Relaxed);
                taken += sends.join().expect("the sender");
                raised += stopping.join().expect("who interrupts");
            });
            stops.iter().for_each(sysring::Interrupter::interrupt); // nobody is there any more, or nobody waits
            checker.finish();
            drop(receiver);
            scene.finish();
        }
        assert!(0 < taken && taken <= raised, "{taken} of {raised}");
        format!("{} messages, {raised} interruptions, {taken} waits ended", 3 * plan.count)
    });
}

/// The channel is removed while everybody is at work or waits.
#[test]
fn removed_at_work() {
    test("removed_at_work", |random| {
        let rounds = times(12);
        let mut messages = 0;
        for round in 0..rounds {
            let scene = Scene::new(&options(mpsc().senders(2), round as usize));
            // With or without a receiver, so that senders work or wait; and the other way round.
            let (senders, receives) = [(2, true), (2, false), (1, true), (0, true)][round as usize % 4];
            let moment = Duration::from_micros(random.below(5_000));
            crew(|crew| {
                for who in 0..senders {
                    let scene = &scene;
                    crew.spawn(move || scene.part(|| send_until_removed(scene, who)));
                }
                let receiving =
                    receives.then(|| crew.scope.spawn(|| scene.part(|| receive_until_removed(&scene))));
                for _ in 0..2 {
                    crew.spawn(|| {
                        thread::sleep(moment);
                        // One of the two may find nothing any more.
                        if let Err(error) = sysring::remove(&scene.name) {
                            assert!(
                                matches!(error.kind(), OpenErrorKind::NotFound | OpenErrorKind::Removed),
                                "{error}"
                            );
                        }
                    });
                }
                messages += receiving.map_or(0, |receiving| receiving.join().expect("the receiver"));
            });
            scene.assert_gone();
        }
        format!("{messages} messages, {rounds} removals")
    });
}

fn is_removed(error: &sysring::OpenError) -> bool {
    error.kind() == OpenErrorKind::Removed
}

fn send_until_removed(scene: &Scene, who: u32) {
    let mut sender = match scene.channel.sender() {
        Ok(sender) => sender,
        Err(error) => return assert!(is_removed(&error), "{error}"),
    };
    let (plan, mut bytes) = (mixed(u32::MAX), Vec::new());
    for number in 0.. {
        compose(&mut bytes, who, number, plan.length(who, number));
        if let Err(error) = sender.send(&bytes) {
            return assert!(error.is_removed(), "{error}");
        }
    }
}

fn receive_until_removed(scene: &Scene) -> u64 {
    let mut receiver = match scene.channel.receiver() {
        Ok(receiver) => receiver,
        Err(error) => {
            assert!(is_removed(&error), "{error}");
            return 0;
        }
    };
    for messages in 0.. {
        match receiver.recv_vec() {
            Ok(bytes) if bytes.len() < 16 => {}
            Ok(bytes) => assert!(decode(&bytes).0 < 2),
            Err(RecvError::Removed) => return messages,
            Err(error) => panic!("{error}"),
        }
    }
    unreachable!("more messages than there are numbers")
}

/// The semaphore set is removed under everybody, again and again: a new one is made, and all messages come.
#[test]
fn the_set_is_lost_at_work() {
    test("the_set_is_lost_at_work", |random| {
        let plan = mixed(times(500));
        let mut losses = 0;
        for turn in 0..3 {
            let mut scene = Scene::new(&options(mpsc().senders(3), turn));
            let mut lost = Objects::default();
            let mut checker = Checker::new(2, plan);
            let done = AtomicBool::new(false);
            crew(|crew| {
                for who in 0..2 {
                    let (scene, random) = (&scene, Random::new(random.below(u64::MAX)));
                    crew.spawn(move || {
                        scene.part(|| sending_sessions(scene, who, plan, random));
                    });
                }
                let removing = crew.scope.spawn(|| {
                    let mut last = -1;
                    while !done.load(Ordering::Relaxed) {
                        let stats = scene.channel.stats().expect("stats");
                        if stats.semaphore_set >= 0 && stats.semaphore_set != last {
                            last = stats.semaphore_set;
                            process::remove_set(last);
                            lost.note(&stats);
                            losses += 1;
                        }
                        pause(2);
                    }
                });
                scene.part(|| {
                    let (mut receiver, mut buffer) = (scene.receiver(), vec![0; LARGEST]);
                    while !checker.is_complete() {
                        receive_any(&mut receiver, &mut checker, random, &mut buffer);
                    }
                });
                done.store(true, Ordering::Relaxed);
                removing.join().expect("who removes");
            });
            checker.finish();
            // Somebody must look for the set, or it stays lost.
            drop(scene.sender());
            scene.objects = lost;
            scene.finish();
        }
        format!("{} messages, {losses} sets lost", 6 * plan.count)
    });
}

/// Both ends go at random moments, in any order.
#[test]
fn ends_go_in_any_order() {
    test("ends_go_in_any_order", |random| {
        let rounds = times(150);
        let (mut complete, mut messages) = (0, 0);
        for round in 0..rounds {
            let (mut sender, mut receiver) = options(spsc(), round as usize).pair().expect("a pair");
            let mut objects = Objects::default();
            objects.note(&sender.stats().expect("stats"));
            let plan = mixed(random.below(60) as u32);
            let wanted = random.below(60);
            let (sent, received) = crew(|crew| {
                let sending = crew.scope.spawn(move || {
                    let mut bytes = Vec::new();
                    for number in 0..plan.count {
                        compose(&mut bytes, 0, number, plan.length(0, number));
                        if let Err(error) = sender.send(&bytes) {
                            assert!(error.is_disconnected(), "{error}");
                            return number.into();
                        }
                    }
                    u64::from(plan.count)
                });
                let receiving = crew.scope.spawn(move || {
                    let mut checker = Checker::new(1, plan);
                    for number in 0..wanted {
                        match receiver.recv() {
                            Ok(message) => checker.accept(&message.to_vec()),
                            Err(RecvError::Disconnected) => return number,
                            Err(error) => panic!("{error}"),
                        }
                    }
                    wanted
                });
                (sending.join().expect("the sender"), receiving.join().expect("the receiver"))
            });
            // Who has asked for more has got all.
            assert_eq!(received, sent.min(wanted));
            assert_gone(&objects);
            complete += u64::from(sent == u64::from(plan.count));
            messages += received;
        }
        format!("{rounds} pairs, {complete} senders finished, {messages} messages received")
    });
}
