//! Attacks, step by step: what somebody with write permission does on purpose, or a stranger with nothing but patience.
//!
//! Each of them has worked once. `tests/hostile` and `tests/storm` try what nobody has thought of.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread;
use std::time::{Duration, Instant};

use sysring::segment::{Key, Segment};
use sysring::{Address, Channel, OpenErrorKind, RecvError, TryRecvError, WaitStrategy, mpsc, spsc};

use crate::process::{
    Name, Object, become_user, fork, is_root, limit_memory, map_words, next_set_id, objects, pause,
    private_set, remove_segment, remove_set, semaphore_add, semaphores, trusted_receiver, trusted_sender,
    until,
};
use crate::runner::tests;

tests![
    a_set_word_that_flickers_leads_to_nobody_elses_set,
    a_lost_set_is_not_taken_from_a_stranger,
    a_set_word_of_another_generation_costs_nothing,
    a_set_that_may_not_be_read_is_replaced,
    a_set_word_that_is_overwritten_again_and_again_leaves_no_sets,
    doubts_are_asked_about_once,
    who_rings_without_end_hides_nothing,
    a_number_of_receivers_that_is_wrong_ends_its_lane_only,
    a_number_of_senders_that_is_wrong_is_damage,
    a_counter_set_back_condemns_nobody,
    a_mark_that_is_taken_away_comes_back,
    more_than_memory_is_an_error,
    a_promise_is_not_handed_on,
    a_name_that_does_not_lead_here_is_not_shown,
    what_can_be_found_is_not_anonymous,
    departures_that_never_were_do_not_hide_the_end,
];

/// Words of the header, by their number.
const SET: usize = 128 / 8;
const BELL: usize = 256 / 8;
const NOTICE: usize = BELL + 2;
const STAMPS: usize = 512 / 8;
const NAME: usize = 768 / 8;

/// The whole segment as words that anybody may write.
fn words(channel: &Channel) -> &'static [AtomicU64] {
    map_words(channel.id())
}

/// First control word of a lane.
fn control(channel: &Channel, lane: usize) -> usize {
    let controls = (4096 + 64 * (channel.senders() as usize + 1)).next_multiple_of(128);
    (controls + 512 * lane) / 8
}

fn set_of(channel: &Channel) -> i32 {
    channel.stats().expect("stats").semaphore_set
}

fn sets() -> Vec<i32> {
    let id = |object| match object {
        Object::Set { id, .. } => Some(id),
        Object::Segment { .. } => None,
    };
    objects().into_iter().filter_map(id).collect()
}

/// Does something in another thread while `body` runs.
fn meanwhile(attack: impl Fn() + Send + 'static, body: impl FnOnce()) {
    static STOP: AtomicBool = AtomicBool::new(false);
    let attacker = thread::spawn(move || {
        while !STOP.load(Relaxed) {
            attack();
        }
    });
    body();
    STOP.store(true, Relaxed);
    attacker.join().expect("the attacker");
}

fn a_set_word_that_flickers_leads_to_nobody_elses_set() {
    let name = Name::new();
    let channel = spsc().create(&name).expect("create");
    let word = &words(&channel)[SET];
    let victim = private_set(8);
    let good = word.load(SeqCst);
    // Of a generation that counts as older, and newer; of the present one.
    let lies = [0x7fff_0000, 0x9000_0000, 2, 1].map(|generation: u64| generation << 32 | victim as u64);
    let started = Instant::now();
    meanwhile(
        move || {
            for lie in lies {
                word.store(lie, SeqCst);
                std::hint::spin_loop();
                word.store(good, SeqCst);
                (0..20).for_each(|_| std::hint::spin_loop());
            }
        },
        || {
            while started.elapsed() < Duration::from_millis(700) {
                if let Ok(channel) = spsc().open(&name) {
                    let _ = channel.sender().and_then(|mut sender| sender.attach());
                }
                assert_eq!(semaphores(victim, 8), [0; 8], "another program's set was used");
            }
        },
    );
    remove_set(victim);
    channel.remove().expect("remove");
    for set in sets() {
        remove_set(set); // those that openers made while the word named none
    }
}

fn a_lost_set_is_not_taken_from_a_stranger() {
    if !is_root() {
        println!("skipped: needs root");
        return;
    }
    let name = Name::new();
    let channel = spsc().create(&name).expect("create");
    let (set, segment) = (set_of(&channel), channel.id());
    drop(channel);
    remove_set(set);
    // Else it takes some 20 seconds until the id comes again.
    if !next_set_id(set) {
        println!("skipped: the kernel does not let us choose ids");
        return;
    }
    fork(|| {
        become_user(65_534);
        let squatter = crate::process::set_under(0x5352_1234, 8, 0o666);
        let id = segment as u32;
        for (index, mark) in [(0, 0x5350 | id >> 30), (1, id & 0x7fff), (2, id >> 15 & 0x7fff)] {
            if mark != 0 {
                semaphore_add(squatter, index, mark as i16).expect("its own");
            }
        }
        crate::process::exit(if squatter == set { 0 } else { 1 });
    })
    .join();
    let channel = spsc().open(&name).expect("there");
    assert_ne!(set_of(&channel), set, "the stranger's");
    let mut sender = channel.sender().expect("a seat");
    sender.send("x").expect("send");
    assert_eq!(semaphores(set, 8)[3..], [0; 5], "the stranger's was used");
    remove_set(set);
    assert_eq!(channel.receiver().expect("a seat").recv_vec().expect("a message"), b"x");
    channel.remove().expect("remove");
}

fn a_set_word_of_another_generation_costs_nothing() {
    let name = Name::new();
    let channel = mpsc().senders(3).create(&name).expect("create");
    let (words, set) = (words(&channel), set_of(&channel));
    let (mut receiver, mut sender) = (channel.receiver().expect("a seat"), channel.sender().expect("a seat"));
    let good = words[SET].load(SeqCst);
    for generation in [6, 1, 0x9000_0000, 3, u64::from(u32::MAX), 1] {
        words[SET].store(generation << 32 | good & 0xffff_ffff, SeqCst);
        words[NOTICE].fetch_add(1, SeqCst); // so that everybody looks
        for _ in 0..3 {
            sender.send("a").expect("send");
            assert_eq!(receiver.recv_vec().expect("a message"), b"a");
        }
        let mut other = channel.sender().expect("a new seat");
        other.send("b").expect("send");
        assert_eq!(receiver.recv_vec().expect("a message"), b"b");
        let mut newcomer = mpsc().sender(&name).expect("a newcomer");
        newcomer.send("c").expect("send");
        assert_eq!(receiver.recv_vec().expect("a message"), b"c");
        assert_eq!(sets(), [set], "generation {generation}");
    }
    channel.remove().expect("remove");
}

fn a_set_that_may_not_be_read_is_replaced() {
    if !is_root() {
        println!("skipped: needs root");
        return;
    }
    let roots = private_set(8);
    fork(|| {
        become_user(65_534);
        let name = Name::new();
        let channel = spsc().create(&name).expect("create");
        let set = set_of(&channel);
        words(&channel)[SET].store(1 << 32 | roots as u64, SeqCst);
        // Who knows the right one puts it back; who comes new makes another.
        let mut sender = channel.sender().expect("a seat");
        sender.send("x").expect("send");
        assert_eq!(set_of(&channel), set);
        words(&channel)[SET].store(1 << 32 | roots as u64, SeqCst);
        let mut receiver = spsc().receiver(&name).expect("a newcomer");
        assert_eq!(receiver.recv_vec().expect("a message"), b"x");
        sender.send("y").expect("send");
        assert_eq!(receiver.recv_vec().expect("a message"), b"y");
        channel.remove().expect("remove");
    })
    .join();
    assert_eq!(semaphores(roots, 8), [0; 8]);
    remove_set(roots);
}

fn a_set_word_that_is_overwritten_again_and_again_leaves_no_sets() {
    let name = Name::new();
    let channel = mpsc().senders(8).capacity(4096).create(&name).expect("create");
    let words = words(&channel);
    let (mut receiver, _sender) = (channel.receiver().expect("a seat"), channel.sender().expect("a seat"));
    let started = Instant::now();
    let lie = AtomicU64::new(2);
    meanwhile(
        move || {
            let number = lie.fetch_add(1, Relaxed);
            words[SET].store((number % 1000 + 2) << 32 | 0x7fff_0000 | number & 0xffff, SeqCst);
            words[NOTICE].store(number % 1000, Relaxed);
        },
        || {
            while started.elapsed() < Duration::from_millis(700) {
                let call = Instant::now();
                let _ = receiver.recv_vec_timeout(Duration::from_millis(5));
                let _ = channel.sender();
                assert!(call.elapsed() < Duration::from_secs(3), "{:?}", call.elapsed());
            }
        },
    );
    assert!(sets().len() <= 3, "{} sets are left", sets().len());
    // And the channel is none the worse.
    let mut sender = until_some("a seat", || channel.sender().ok());
    sender.send("after").expect("send");
    let received = until_some("the message", || receiver.recv_vec_timeout(Duration::from_secs(1)).ok());
    assert_eq!(received, b"after");
    channel.remove().expect("remove");
}

/// Looks until there is something.
fn until_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let mut seen = None;
    until(what, || {
        seen = look();
        seen.is_some()
    });
    seen.expect("just seen")
}

fn doubts_are_asked_about_once() {
    let name = Name::new();
    let channel = mpsc().senders(240).capacity(4096).create(&name).expect("create");
    let words = words(&channel);
    let (mut receiver, _sender) = (channel.receiver().expect("a seat"), channel.sender().expect("a seat"));
    // A large process, and company, so that the claims' processes might live.
    let pages: Vec<_> = (0..3000).map(|page| crate::process::private_page(page % 2 == 0)).collect();
    let company = fork(|| pause(60_000));
    words[SET].fetch_add(5 << 32, SeqCst);
    words[NOTICE].fetch_add(5, SeqCst);
    for lane in 1..240 {
        words[(4096 + 64 * (lane + 1)) / 8].store(1 << 50 | 77 << 22 | 99, SeqCst); // of another pid namespace
    }
    let started = Instant::now();
    assert!(receiver.recv_vec_timeout(Duration::from_millis(10)).is_err_and(|error| error.is_timeout()));
    assert!(receiver.is_connected());
    // For each lane the look took 25 ms here.
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    drop(pages);
    company.kill();
    channel.remove().expect("remove");
}

fn who_rings_without_end_hides_nothing() {
    let name = Name::new();
    let channel = spsc().wait(WaitStrategy::Sleep).create(&name).expect("create");
    let (words, set, id) = (words(&channel), set_of(&channel), channel.id());
    let mut receiver = channel.receiver().expect("a seat");
    let mut sender = channel.sender().expect("a seat");
    sender.send("a").expect("send");
    assert_eq!(receiver.recv_vec().expect("a message"), b"a");
    let started = Instant::now();
    meanwhile(
        move || {
            let number = words[BELL].load(SeqCst);
            let asleep = number & 1 == 1;
            if asleep && words[BELL].compare_exchange(number, number + 1, SeqCst, SeqCst).is_ok() {
                let _ = semaphore_add(set, 5, 1);
            }
        },
        || {
            remove_segment(id); // and nobody is told
            assert!(
                matches!(receiver.recv_vec_timeout(Duration::from_secs(15)), Err(error) if !error.is_timeout())
            );
            assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
        },
    );
}

fn a_number_of_receivers_that_is_wrong_ends_its_lane_only() {
    let name = Name::new();
    let channel = mpsc().senders(2).create(&name).expect("create");
    let takeovers = &words(&channel)[control(&channel, 0) + (384 + 32) / 8];
    let mut receiver = channel.receiver().expect("a seat");
    let (mut first, mut second) = (channel.sender().expect("lane 0"), channel.sender().expect("lane 1"));
    first.send("a").expect("send");
    assert_eq!(receiver.recv_vec().expect("a message"), b"a");
    takeovers.fetch_add(1, SeqCst);
    first.send("b").expect("send");
    assert_eq!(receiver.try_recv_vec().expect("it was there"), b"b");
    let error = receiver.try_recv_vec().expect_err("it could not be released");
    assert!(matches!(error, TryRecvError::Failed(RecvError::Corrupt(met)) if met.lane == 0), "{error:?}");
    second.send("c").expect("send");
    assert_eq!(receiver.try_recv_vec().expect("of the other lane"), b"c");
    assert!(channel.stats().expect("stats").lanes[0].corrupt);
    channel.remove().expect("remove");
}

fn a_number_of_senders_that_is_wrong_is_damage() {
    let name = Name::new();
    let channel = spsc().create(&name).expect("create");
    let mut sender = channel.sender().expect("a seat");
    sender.send("a").expect("send");
    words(&channel)[control(&channel, 0) + 24 / 8].fetch_add(1, SeqCst);
    for _ in 0..2 {
        let error = sender.send("b").expect_err("nobody has the seat but us");
        assert!(matches!(error.fault(), sysring::Fault::Corrupt(met) if met.lane == 0), "{error}");
    }
    assert_eq!(channel.receiver().expect("a seat").recv_vec().expect("it was there"), b"a");
    channel.remove().expect("remove");
}

fn a_counter_set_back_condemns_nobody() {
    for seen in [false, true] {
        let name = Name::new();
        let channel = mpsc().senders(4).capacity(4096).create(&name).expect("create");
        let mut receiver = channel.receiver().expect("a seat");
        let mut senders: Vec<_> = (0..4).map(|_| channel.sender().expect("a seat")).collect();
        let mut expected = 0;
        for _ in 0..if seen { 3 } else { 0 } {
            senders.iter_mut().for_each(|sender| sender.send("m").expect("send"));
            assert_eq!(receiver.try_recv_batch(100).expect("messages").len(), 4);
        }
        senders.iter_mut().for_each(|sender| sender.send("m").expect("send"));
        words(&channel)[STAMPS].store(0, SeqCst);
        if seen {
            // Else what was given before and is given again could be what is left of the last lap.
            senders.iter_mut().for_each(|sender| sender.send("m").expect("send"));
            expected += 4;
        }
        expected += 4;
        let received = receiver.try_iter().inspect(|message| assert!(message.is_ok(), "{message:?}")).count();
        assert_eq!(received, expected);
        assert!(channel.stats().expect("stats").lanes.iter().all(|lane| !lane.corrupt));
        channel.remove().expect("remove");
    }
}

fn a_mark_that_is_taken_away_comes_back() {
    let name = Name::new();
    let channel = mpsc().senders(2).capacity(4096).create(&name).expect("create");
    let words = words(&channel);
    let mut receiver = channel.receiver().expect("a seat");
    let (mut first, _second) = (channel.sender().expect("lane 0"), channel.sender().expect("lane 1"));
    first.send("a").expect("send");
    let data = (control(&channel, 2) * 8).next_multiple_of(4096) / 8;
    words[data].store(1, SeqCst);
    assert!(matches!(receiver.try_recv_vec(), Err(TryRecvError::Failed(RecvError::Corrupt(_)))));
    drop(first);
    words[control(&channel, 0) + (384 + 24) / 8].store(0, SeqCst);
    // The next who comes would wait for ever for a receiver that has given the lane up.
    pause(1); // questions are 100 µs apart
    assert!(receiver.try_recv_vec().is_err_and(|error| error.is_empty()));
    assert!(channel.sender().is_err(), "the damaged lane was given away");
    channel.remove().expect("remove");
}

/// A message as long as the channel allows, in a channel whose maker has promised more memory than there is.
fn more_than_memory_is_an_error() {
    let name = Name::new();
    let channel = spsc().capacity(4096).create(&name).expect("create");
    let capacity = 1_u64 << 40;
    let lanes = (4096_usize + 2 * 64 + 512).next_multiple_of(4096);
    let Some(id) = crate::process::unreserved_segment(lanes as u64 + capacity + 0x528) else {
        println!("skipped: no segment of that size");
        return;
    };
    let (small, large) = (words(&channel), map_words(id));
    (0..512).for_each(|word| large[word].store(small[word].load(SeqCst), SeqCst));
    let largest = capacity / 2 - 16;
    for (word, value) in [(4, capacity), (5, largest), (SET, 0), (NOTICE, 0), (NAME, 0)] {
        large[word].store(value, SeqCst);
    }
    large[lanes / 8].store(0x5d << 56 | (largest + 1), SeqCst);
    limit_memory(2 * capacity + (64 << 30)); // also where the kernel promises everything to everybody
    let mut receiver =
        spsc().open(Address::id(id)).expect("as its maker wants it").receiver().expect("a seat");
    for _ in 0..2 {
        let error = receiver.try_recv_vec().expect_err("no memory");
        let TryRecvError::Failed(RecvError::System(error)) = error else { panic!("{error}") };
        assert_eq!(error.errno, sysring::Errno::ENOMEM);
    }
    // It stays, and can be taken in parts.
    let message = receiver.try_recv().expect("still there");
    assert_eq!(message.len() as u64, largest);
    let mut part = [1; 8];
    message.read_at(1 << 20, &mut part);
    assert_eq!(part, [0; 8]);
    drop(message);
    limit_memory(u64::MAX);
    sysring::remove(Address::id(id)).expect("remove");
    channel.remove().expect("remove");
}

fn a_promise_is_not_handed_on() {
    let (sender, receiver) = spsc().pair().expect("a pair");
    let (other_sender, other_receiver) = spsc().pair().expect("a pair");
    let (mut sender, mut receiver) = (trusted_sender(sender), trusted_receiver(receiver));
    *sender = other_sender;
    *receiver = other_receiver;
    let refused = |call: &mut dyn FnMut()| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).is_err_and(|panic| {
            panic.downcast_ref::<String>().is_some_and(|text| text.contains("trust_peers"))
        })
    };
    assert!(refused(&mut || drop(sender.reserve(8))));
    assert!(refused(&mut || drop(receiver.try_recv())));
    // What needs no promise works.
    sender.send("x").expect("send");
    assert_eq!(receiver.recv_vec().expect("a message"), b"x");
}

fn a_name_that_does_not_lead_here_is_not_shown() {
    let name = Name::new();
    let channel = spsc().create(&name).expect("create");
    let words = words(&channel);
    let text = |text: &[u8; 8]| words[NAME + 1].store(u64::from_ne_bytes(*text), SeqCst);
    words[NAME].store(8, SeqCst);
    text(b"another1");
    assert_eq!(
        sysring::Observer::open(Address::id(channel.id())).expect("open").stats().expect("stats").name,
        ""
    );
    for impossible in
        [b"key:0x12", b"id:12345", b"path:a:1", b"a\x1b[2Jbcd", b"a\nbcdefg", b"a\xe2\x80\xaebcde"]
    {
        text(impossible);
        let error = sysring::Observer::open(Address::id(channel.id())).map(drop).expect_err("no name");
        assert_eq!(error.kind(), OpenErrorKind::Corrupt, "{error}");
    }
    channel.remove().expect("remove");
}

fn what_can_be_found_is_not_anonymous() {
    let name = Name::new();
    let channel = spsc().create(&name).expect("create");
    words(&channel)[2].fetch_or(8, SeqCst);
    assert_eq!(spsc().open(&name).map(drop).expect_err("a lie").kind(), OpenErrorKind::Corrupt);
    // A stranger's segment that begins with zeros and goes on with anything but a version is no half-made channel.
    let size = channel.stats().expect("stats").size as usize;
    let segment = Segment::create(Key::from_raw(0x7777_1234), size, 0o600).expect("create");
    segment.attach().expect("attach").write(8, b"payrolls").expect("write");
    let error = spsc().open_or_create(Address::key(0x7777_1234)).map(drop).expect_err("a stranger's");
    assert_eq!(error.kind(), OpenErrorKind::Foreign, "{error}");
    segment.remove().expect("remove");
    channel.remove().expect("remove");
}

fn departures_that_never_were_do_not_hide_the_end() {
    let name = Name::new();
    let channel = mpsc().senders(2).create(&name).expect("create");
    let departed = &words(&channel)[384 / 8 + 2];
    departed.store(u64::MAX, SeqCst);
    let mut receiver = channel.receiver().expect("a seat");
    receiver.set_end(sysring::EndOfStream::AfterSenders(1));
    drop(channel.sender().expect("a seat"));
    assert!(matches!(receiver.recv_vec_timeout(Duration::from_millis(1)), Err(error) if error.is_timeout()));
    drop(channel.sender().expect("a seat"));
    let outcome = receiver.recv_vec_timeout(Duration::from_secs(10));
    assert!(outcome.is_err_and(|error| !error.is_timeout()), "no end");
    channel.remove().expect("remove");
}
