//! Waiting ends when it should: in time, by room, by a message, by an interrupter; and never too early.

use std::thread;
use std::time::{Duration, Instant};

use sysring::{
    Fault, Fence, Receiver, RecvError, RecvTimeoutError, SendTimeoutError, Sender, TrySendError,
    WaitStrategy, mpsc, spsc,
};

use crate::process::{Pipe, fork, pause, trusted_sender, until};
use crate::runner::tests;

tests![
    recv_times_out_and_not_early,
    send_times_out_and_not_early,
    past_deadlines_and_no_time_at_all,
    full_then_released,
    a_full_lane_is_its_senders_own_matter,
    sleeping_receiver_is_woken_by_every_way_to_send,
    sleeping_sender_is_woken_by_every_way_to_release,
    batch_rings_at_its_end_and_before_it_waits,
    no_wake_up_is_lost,
    eight_sleeping_senders_all_wake,
    interrupter_ends_recv,
    interrupter_ends_send,
    interrupter_before_the_wait_counts_once,
    signals_do_not_end_a_wait,
];

const STRATEGIES: [WaitStrategy; 3] = [WaitStrategy::Spin, WaitStrategy::SpinThenSleep, WaitStrategy::Sleep];

/// A wake-up that comes later than this was the ceiling's.
pub(crate) const PROMPT: Duration = Duration::from_millis(900);

/// Fills the lane of a sender with messages of so many bytes; how many there were room for.
pub(crate) fn fill(sender: &mut Sender, length: usize) -> u64 {
    let mut count = 0;
    while sender.try_send(vec![count as u8; length]).is_ok() {
        count += 1;
    }
    count
}

fn recv_times_out_and_not_early() {
    let limit = Duration::from_millis(20);
    for wait in STRATEGIES {
        let (mut sender, mut receiver) = spsc().wait(wait).pair().expect("a pair");
        sender.attach().expect("a seat");
        let waits: [fn(&mut Receiver, Duration) -> Option<RecvTimeoutError>; 8] = [
            |receiver, limit| receiver.recv_timeout(limit).err(),
            |receiver, limit| receiver.recv_deadline(Instant::now() + limit).err(),
            |receiver, limit| receiver.recv_into_timeout(&mut [0; 8], limit).err(),
            |receiver, limit| receiver.recv_into_deadline(&mut [0; 8], Instant::now() + limit).err(),
            |receiver, limit| receiver.recv_vec_timeout(limit).err(),
            |receiver, limit| receiver.recv_vec_deadline(Instant::now() + limit).err(),
            |receiver, limit| receiver.recv_batch_timeout(5, limit).err(),
            |receiver, limit| receiver.recv_batch_deadline(5, Instant::now() + limit).err(),
        ];
        for call in waits {
            let started = Instant::now();
            let error = call(&mut receiver, limit).expect("nothing to receive");
            assert!(error.is_timeout(), "{error}");
            assert!(started.elapsed() >= limit, "{wait:?}: after {:?}", started.elapsed());
        }
        sender.send("after all that").expect("send");
        assert_eq!(receiver.recv_vec_timeout(limit).expect("a message"), b"after all that");
    }
    // Longer than one sleep may be.
    let (mut sender, mut receiver) = spsc().pair().expect("a pair");
    sender.attach().expect("a seat");
    let (started, limit) = (Instant::now(), Duration::from_millis(1200));
    assert!(receiver.recv_timeout(limit).is_err_and(|error| error.is_timeout()));
    assert!(started.elapsed() >= limit);
}

fn send_times_out_and_not_early() {
    let limit = Duration::from_millis(20);
    for wait in STRATEGIES {
        let (mut sender, mut receiver) = mpsc().capacity(4096).wait(wait).pair().expect("a pair");
        receiver.attach().expect("a seat");
        fill(&mut sender, 100);
        let waits: [fn(&mut Sender, Duration) -> bool; 6] = [
            |sender, limit| sender.send_timeout([1; 100], limit).is_err_and(|error| error.is_timeout()),
            |sender, limit| {
                sender.send_deadline([1; 100], Instant::now() + limit).is_err_and(|error| error.is_timeout())
            },
            |sender, limit| sender.reserve_timeout(100, limit).is_err_and(|error| error.is_timeout()),
            |sender, limit| {
                sender.reserve_deadline(100, Instant::now() + limit).is_err_and(|error| error.is_timeout())
            },
            |sender, limit| {
                sender.batch().send_timeout([1; 100], limit).is_err_and(|error| error.is_timeout())
            },
            |sender, limit| {
                let late = sender.batch().send_deadline([1; 100], Instant::now() + limit);
                late.is_err_and(|error| error.is_timeout())
            },
        ];
        for call in waits {
            let started = Instant::now();
            assert!(call(&mut sender, limit), "{wait:?}");
            assert!(started.elapsed() >= limit, "{wait:?}: after {:?}", started.elapsed());
        }
        let Err(SendTimeoutError::Timeout(message)) = sender.send_timeout([7; 100], limit) else {
            panic!("still full")
        };
        assert_eq!(message, [7; 100], "the message comes back");
        // What is left at the end of the lane may be too short and is passed over: one is not enough.
        (0..3).for_each(|_| drop(receiver.recv().expect("a message")));
        sender.send_timeout([1; 100], limit).expect("there is room");
    }
}

fn past_deadlines_and_no_time_at_all() {
    let (mut sender, mut receiver) = spsc().capacity(4096).pair().expect("a pair");
    sender.attach().expect("a seat");
    receiver.attach().expect("a seat");
    let now = Instant::now();
    assert!(receiver.recv_deadline(now).is_err_and(|error| error.is_timeout()));
    assert!(receiver.recv_timeout(Duration::ZERO).is_err_and(|error| error.is_timeout()));
    sender.send_deadline("a", now).expect("there is room, so the deadline does not matter");
    sender.send_timeout("b", Duration::ZERO).expect("there is room");
    assert_eq!(receiver.recv_vec_deadline(now).expect("there is one"), b"a");
    assert_eq!(receiver.recv_vec_timeout(Duration::ZERO).expect("there is one"), b"b");
    assert!(receiver.try_recv().is_err_and(|error| error.is_empty()));
    sender.send_timeout("c", Duration::MAX).expect("longer than the clock goes");
    assert_eq!(receiver.recv_vec_timeout(Duration::MAX).expect("there is one"), b"c");
}

fn full_then_released() {
    for length in [0, 1, 100, 2032] {
        let (mut sender, mut receiver) = spsc().capacity(4096).pair().expect("a pair");
        for _ in 0..50 {
            let count = fill(&mut sender, length);
            assert!(count > 0);
            let Err(TrySendError::Full(message)) = sender.try_send(vec![9; length]) else { panic!("full") };
            assert_eq!(message.len(), length);
            drop(receiver.try_recv().expect("a message"));
            if length < 1000 {
                // What is left at the end of the lane may be too short and is passed over.
                (0..2).for_each(|_| drop(receiver.try_recv().expect("a message")));
                sender.try_send(vec![9; length]).expect("room of those that were released");
            }
            while receiver.try_recv().is_ok() {}
            assert!(sender.is_empty());
        }
    }
}

fn a_full_lane_is_its_senders_own_matter() {
    let (mut first, mut receiver) = mpsc().senders(2).capacity(4096).pair().expect("a pair");
    let mut second = first.try_clone().expect("a seat");
    let count = fill(&mut first, 48);
    for number in 0..10_u8 {
        second.try_send([number]).expect("the other lane has room");
    }
    for _ in 0..count {
        assert_eq!(receiver.recv_vec().expect("the first sender's").len(), 48);
    }
    for number in 0..10_u8 {
        assert_eq!(receiver.recv_vec().expect("the second sender's"), [number]);
    }
}

fn sleeping_receiver_is_woken_by_every_way_to_send() {
    let ways: [fn(&mut Sender); 7] = [
        |sender| sender.send("x").expect("send"),
        |sender| sender.try_send("x").expect("send"),
        |sender| sender.send_timeout("x", PROMPT).expect("send"),
        |sender| {
            let mut slot = sender.reserve(1).expect("room");
            slot.write(b"x").expect("it fits");
            slot.commit().expect("commit");
        },
        |sender| sender.batch().send("x").expect("send"), // rings when dropped
        |sender| {
            let mut batch = sender.batch();
            batch.try_send("x").expect("send");
            batch.finish();
        },
        |sender| {
            let mut other = trusted_sender(sender.try_clone().expect("a seat"));
            let mut frame = other.reserve(1).expect("room");
            frame[0] = b'x';
            frame.commit().expect("commit");
        },
    ];
    for wait in [WaitStrategy::Sleep, WaitStrategy::SpinThenSleep] {
        for fence in [Fence::Auto, Fence::Real] {
            let (mut sender, mut receiver) =
                mpsc().senders(2).wait(wait).fence(fence).pair().expect("a pair");
            sender.attach().expect("a seat");
            let pipe = Pipe::new();
            let epoch = Instant::now();
            let child = fork(|| {
                for _ in ways {
                    assert_eq!(receiver.recv_vec().expect("a message"), b"x");
                    pipe.put(epoch.elapsed().as_micros() as u64);
                }
            });
            for way in ways {
                until("the receiver sleeps", || sender.stats().expect("stats").receiver.asleep);
                let sent = epoch.elapsed();
                way(&mut sender);
                let took = Duration::from_micros(pipe.get()).saturating_sub(sent);
                assert!(took < PROMPT, "woken after {took:?}");
            }
            child.join();
        }
    }
}

fn sleeping_sender_is_woken_by_every_way_to_release() {
    let ways: [fn(&mut Receiver); 5] = [
        |receiver| drop(receiver.recv().expect("a message")),
        |receiver| assert_eq!(receiver.recv_into(&mut [0; 100]).expect("a message"), 100),
        |receiver| assert_eq!(receiver.recv_vec().expect("a message").len(), 100),
        |receiver| drop(receiver.recv_batch(1).expect("a message")),
        |receiver| assert_eq!(receiver.iter().next().expect("a message").expect("a message").len(), 100),
    ];
    for kind in [spsc(), mpsc()] {
        for wait in [WaitStrategy::Sleep, WaitStrategy::SpinThenSleep] {
            let (mut sender, mut receiver) = kind.clone().capacity(4096).wait(wait).pair().expect("a pair");
            receiver.attach().expect("a seat");
            let (pipe, go_on) = (Pipe::new(), Pipe::new());
            let epoch = Instant::now();
            let child = fork(|| {
                for _ in ways {
                    fill(&mut sender, 100);
                    sender.send([1; 100]).expect("send");
                    pipe.put(epoch.elapsed().as_micros() as u64);
                    go_on.get();
                }
            });
            for way in ways {
                until("the sender sleeps", || {
                    let stats = receiver.stats().expect("stats");
                    stats.lanes.first().is_some_and(|lane| lane.seat.asleep && lane.waits_for_room)
                });
                let released = epoch.elapsed();
                (0..3).for_each(|_| way(&mut receiver)); // one may not be enough, see above
                let took = Duration::from_micros(pipe.get()).saturating_sub(released);
                assert!(took < PROMPT, "woken after {took:?}");
                go_on.put(0);
            }
            child.join();
        }
    }
}

fn batch_rings_at_its_end_and_before_it_waits() {
    let (mut sender, mut receiver) = spsc().capacity(4096).wait(WaitStrategy::Sleep).pair().expect("a pair");
    sender.attach().expect("a seat");
    let pipe = Pipe::new();
    let child = fork(|| {
        for expected in 0..10_u64 {
            assert_eq!(receiver.recv_vec().expect("a message"), expected.to_le_bytes());
        }
        pipe.put(0);
        // Many times the lane.
        for expected in 0..5_000_u64 {
            assert_eq!(receiver.recv_vec().expect("a message"), expected.to_le_bytes());
        }
    });
    until("the receiver sleeps", || sender.stats().expect("stats").receiver.asleep);
    let mut batch = sender.batch();
    (0..10_u64).for_each(|number| batch.send(number.to_le_bytes()).expect("send"));
    pause(20);
    let started = Instant::now();
    batch.finish();
    pipe.get();
    assert!(started.elapsed() < PROMPT);
    let started = Instant::now();
    let mut batch = sender.batch();
    (0..5_000_u64).for_each(|number| batch.send(number.to_le_bytes()).expect("send"));
    drop(batch);
    child.join();
    // A batch that did not ring before its waits would sleep through a ceiling at every lap.
    let laps = 5_000 * 16 / 4096;
    assert!(started.elapsed() < laps * PROMPT, "{:?}", started.elapsed());
}

/// Both ends fall asleep and wake all the time, with random delays in between.
fn no_wake_up_is_lost() {
    const MESSAGES: u32 = 12_000;
    for (turn, kind) in [spsc(), mpsc()].into_iter().enumerate() {
        let fence = if turn == 0 { Fence::Real } else { Fence::Auto };
        let builder = kind.capacity(4096).wait(WaitStrategy::Sleep).fence(fence);
        let (mut there, mut far) = builder.pair().expect("a pair");
        let child = fork(|| {
            let mut random = crate::message::Random::new(1);
            for number in 0..MESSAGES {
                linger(&mut random);
                there.send([number as u8; 700]).expect("send");
            }
        });
        let mut random = crate::message::Random::new(2);
        let mut longest = Duration::ZERO;
        for number in 0..MESSAGES {
            linger(&mut random);
            let started = Instant::now();
            assert_eq!(far.recv_vec().expect("a message")[0], number as u8);
            longest = longest.max(started.elapsed());
        }
        println!("{MESSAGES} messages with sleeps: longest wait {longest:?}");
        assert!(longest < PROMPT, "a sleep ran into its ceiling");
        child.join();
    }
}

/// Passes a random, very short time.
fn linger(random: &mut crate::message::Random) {
    for _ in 0..random.below(3_000) {
        std::hint::spin_loop();
    }
}

fn eight_sleeping_senders_all_wake() {
    let (mut sender, mut receiver) =
        mpsc().senders(8).capacity(4096).wait(WaitStrategy::Sleep).pair().expect("a pair");
    receiver.attach().expect("a seat");
    let children: Vec<_> = (0..8_u8)
        .map(|who| {
            fork(|| {
                fill(&mut sender, 200);
                (0..30).for_each(|_| sender.send([who; 200]).expect("send"));
            })
        })
        .collect();
    until("all senders sleep", || {
        receiver.stats().expect("stats").lanes.iter().filter(|lane| lane.seat.asleep).count() == 8
    });
    let started = Instant::now();
    receiver.set_end(sysring::EndOfStream::AfterSenders(8));
    assert!(receiver.iter().filter(Result::is_ok).count() >= 8 * 30);
    assert!(started.elapsed() < PROMPT, "{:?}", started.elapsed());
    children.iter().for_each(crate::process::Child::join);
}

fn interrupter_ends_recv() {
    for wait in STRATEGIES {
        let (mut sender, mut receiver) = spsc().wait(wait).pair().expect("a pair");
        sender.attach().expect("a seat");
        let stop = receiver.interrupter();
        let thread = thread::spawn(move || {
            pause(20);
            stop.interrupt();
            Instant::now()
        });
        assert!(matches!(receiver.recv(), Err(RecvError::Interrupted)));
        let late = thread.join().expect("the thread").elapsed();
        assert!(late < PROMPT, "{wait:?}: {late:?}");
        sender.send("goes on").expect("send");
        assert_eq!(receiver.recv_vec().expect("once only"), b"goes on");
    }
}

fn interrupter_ends_send() {
    for wait in STRATEGIES {
        let (mut sender, mut receiver) = mpsc().capacity(4096).wait(wait).pair().expect("a pair");
        receiver.attach().expect("a seat");
        let count = fill(&mut sender, 64);
        let stop = sender.interrupter();
        let thread = thread::spawn(move || {
            pause(20);
            stop.interrupt();
            Instant::now()
        });
        let error = sender.send([5; 64]).expect_err("interrupted");
        assert!(matches!(error.fault(), Fault::Interrupted), "{error}");
        assert_eq!(error.into_inner(), [5; 64]);
        let late = thread.join().expect("the thread").elapsed();
        assert!(late < PROMPT, "{wait:?}: {late:?}");
        assert_eq!(receiver.try_iter().count() as u64, count);
        sender.send([6; 64]).expect("goes on");
    }
}

fn interrupter_before_the_wait_counts_once() {
    let (mut sender, mut receiver) = spsc().pair().expect("a pair");
    sender.send("a").expect("send");
    receiver.interrupter().interrupt();
    assert_eq!(receiver.recv_vec().expect("a message needs no wait"), b"a");
    assert!(matches!(receiver.recv(), Err(RecvError::Interrupted)));
    assert!(receiver.recv_timeout(Duration::from_millis(5)).is_err_and(|error| error.is_timeout()));
}

fn signals_do_not_end_a_wait() {
    let (mut sender, mut receiver) = spsc().wait(WaitStrategy::Sleep).pair().expect("a pair");
    sender.attach().expect("a seat");
    let child = fork(|| {
        let (started, limit) = (Instant::now(), Duration::from_millis(150));
        assert!(receiver.recv_timeout(limit).is_err_and(|error| error.is_timeout()));
        assert!(started.elapsed() >= limit, "after {:?}", started.elapsed());
        assert_eq!(receiver.recv_vec().expect("a message"), b"at last");
    });
    for _ in 0..5 {
        pause(10);
        child.signal(libc::SIGSTOP);
        pause(10);
        child.signal(libc::SIGCONT);
    }
    pause(150);
    child.signal(libc::SIGSTOP);
    child.signal(libc::SIGCONT);
    sender.send("at last").expect("send");
    child.join();
}
