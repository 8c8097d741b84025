//! Lane, merge and bell.

use core::time::Duration;

use super::*;

/// One lane of the smallest size, moved on by `warm` records of one word; then `words[i]` words each are sent while
/// the other side receives. How many come through depends on the room; they must be the first ones, whole.
fn one_lane(warm: u64, words: [usize; 3], look: Look) {
    let lane = ModelLane::new(64);
    let stamps = AtomicU64::new(0);
    let mut tx = producer(&lane, false);
    let mut rx = consumer(&lane, false);
    for value in 0..warm {
        assert!(try_send(&mut tx, &payload(value, 1), Look::Exact, &stamps));
        assert_eq!(try_recv(&mut rx), Some(value));
    }
    let sender = thread::spawn(move || {
        let mut sent = 0;
        for (index, words) in words.into_iter().enumerate() {
            if !try_send(&mut tx, &payload(100 + index as u64, words), look, &stamps) {
                break;
            }
            sent += 1;
        }
        sent
    });
    let mut received = 0;
    for _ in 0..3 {
        if let Some(value) = try_recv(&mut rx) {
            assert_eq!(value, 100 + received);
            received += 1;
        }
    }
    let sent = sender.join().unwrap();
    while let Some(value) = try_recv(&mut rx) {
        assert_eq!(value, 100 + received);
        received += 1;
    }
    assert_eq!(sent, received);
}

/// The quick ways, which small lanes never take, with `receive` in the middle: a record that is copied or taken is whole.
fn quick_lane(receive: impl Fn(&mut Consumer<ModelLane>) -> Option<u64>) {
    let lane = ModelLane::new(256);
    let stamps = AtomicU64::new(0);
    let mut tx = producer(&lane, false);
    let mut rx = consumer(&lane, false);
    assert!(try_send(&mut tx, &payload(7, 1), Look::Exact, &stamps));
    assert_eq!(try_recv(&mut rx), Some(7));
    let sender = thread::spawn(move || assert!(tx.send_at_once(&payload(8, 1), &stamps)));
    let received = receive(&mut rx);
    sender.join().unwrap();
    assert_eq!(received.or_else(|| receive(&mut rx)), Some(8));
}

#[test]
fn a_record_copied_at_once_is_whole() {
    loom::model(|| {
        quick_lane(|rx| {
            let mut buffer = [0; 64];
            let length = rx.receive_at_once::<false>(&mut buffer, || 0)?;
            Some(value_of(&buffer[..length]))
        })
    });
}

#[test]
fn a_record_taken_at_once_is_whole() {
    loom::model(|| {
        quick_lane(|rx| {
            let found = rx.take_at_once::<false>(|| 0)?;
            Some(copy(rx.lane(), &found))
        })
    });
}

/// What is published is there for whoever sees the tail behind it: no lane of honest producers is ever cut off.
#[test]
fn a_tail_shows_no_more_than_is_there() {
    loom::model(|| {
        let lane = ModelLane::new(64);
        let stamps = AtomicU64::new(0);
        let (mut tx, mut rx) = (producer(&lane, false), consumer(&lane, false));
        let sender = thread::spawn(move || {
            assert!(try_send(&mut tx, &payload(1, 1), Look::Exact, &stamps));
            assert!(try_send(&mut tx, &payload(2, 1), Look::Exact, &stamps));
        });
        assert!(!rx.is_cut_off());
        try_recv(&mut rx);
        assert!(!rx.is_cut_off());
        sender.join().unwrap();
    });
}

/// The same where a producer died before it noted its tail, and its successor found what it had published.
#[test]
fn a_successors_tail_shows_no_more_than_is_there() {
    bounded(2, || {
        let lane = ModelLane::new(64);
        let handover = Arc::new(AtomicU64::new(0));
        let first = {
            let (lane, handover) = (lane.clone(), Arc::clone(&handover));
            thread::spawn(move || {
                let mut tx = producer(&lane, false);
                assert!(try_send(&mut tx, &payload(1, 1), Look::Exact, &AtomicU64::new(0)));
                lane.control().producer.tail.store(0, Ordering::Relaxed);
                handover.store(1, Ordering::Release);
            })
        };
        let receiver = {
            let rx = consumer(&lane, false);
            thread::spawn(move || assert!(!rx.is_cut_off()))
        };
        // In this thread, and not by `join`: the model tries a thread only where it does not wait.
        while handover.load(Ordering::Acquire) == 0 {
            thread::yield_now();
        }
        producer(&lane, false);
        first.join().unwrap();
        receiver.join().unwrap();
    });
}

/// A receiver that was taken over looks at its slot one lap later, where nothing is yet: that says nothing.
#[test]
fn a_lane_is_not_cut_off_for_a_receiver_that_was_taken_over() {
    bounded(2, || {
        let lane = ModelLane::new(64);
        let (mut tx, evicted) = (producer(&lane, false), consumer(&lane, false));
        let others = thread::spawn(move || {
            let stamps = AtomicU64::new(0);
            assert!(try_send(&mut tx, &payload(1, 1), Look::Exact, &stamps));
            let mut rx = consumer(&lane, false);
            assert_eq!(try_recv(&mut rx), Some(1));
            for value in 2..5 {
                assert!(try_send(&mut tx, &payload(value, 1), Look::Exact, &stamps));
            }
        });
        assert!(!evicted.is_cut_off());
        others.join().unwrap();
    });
}

/// The same for a producer.
#[test]
fn a_lane_is_not_cut_off_for_a_producer_that_was_taken_over() {
    bounded(2, || {
        let lane = ModelLane::new(64);
        let stamps = AtomicU64::new(0);
        let (mut evicted, mut rx) = (producer(&lane, false), consumer(&lane, false));
        assert!(try_send(&mut evicted, &payload(1, 1), Look::Exact, &stamps));
        let others = thread::spawn(move || {
            let stamps = AtomicU64::new(0);
            let mut tx = producer(&lane, false);
            assert_eq!(try_recv(&mut rx), Some(1));
            for value in 2..5 {
                assert!(try_send(&mut tx, &payload(value, 1), Look::Exact, &stamps));
            }
        });
        assert!(!evicted.is_cut_off());
        others.join().unwrap();
    });
}

/// A receiver that was taken over writes down nothing over what its successor has.
#[test]
fn nothing_of_a_successor_is_written_over() {
    bounded(2, || {
        let lane = ModelLane::new(64);
        let stamps = AtomicU64::new(0);
        let (mut tx, evicted) = (producer(&lane, false), consumer(&lane, false));
        assert!(try_send(&mut tx, &payload(1, 1), Look::Exact, &stamps));
        let successor = {
            let lane = lane.clone();
            thread::spawn(move || {
                let mut rx = consumer(&lane, false);
                assert_eq!(try_recv(&mut rx), Some(1));
                rx.give_back_all();
                rx.released()
            })
        };
        evicted.restate();
        let released = successor.join().unwrap();
        let control = lane.control();
        assert_eq!(control.consumer.read.load(Ordering::Relaxed), released);
        assert_eq!(control.head.word.load(Ordering::Relaxed), released);
    });
}

/// What a receiver writes down again frees the room as the first time: behind its look at the record.
#[test]
fn what_is_written_down_again_is_released() {
    bounded(2, || {
        let lane = ModelLane::new(64);
        let stamps = AtomicU64::new(0);
        let (mut tx, mut rx) = (producer(&lane, false), consumer(&lane, false));
        for value in 1..4 {
            assert!(try_send(&mut tx, &payload(value, 1), Look::Exact, &stamps));
        }
        let receiver = thread::spawn(move || {
            assert_eq!((try_recv(&mut rx), try_recv(&mut rx)), (Some(1), Some(2)));
            let control = rx.lane().control();
            control.consumer.read.store(0, Ordering::Relaxed);
            control.head.word.store(0, Ordering::Relaxed);
            rx.restate();
        });
        // The second of them goes where the first one was. (Between the two the words go back: no room, or damage.)
        for value in 4..6 {
            let Room::Ready(room) = tx.reserve(8, Look::Exact) else { break };
            tx.fill(&room, 0, &payload(value, 1));
            tx.commit(room, 8, &stamps);
        }
        receiver.join().unwrap();
    });
}

#[test]
fn one_lane_from_its_beginning() {
    loom::model(|| one_lane(0, [1, 2, 1], Look::Exact));
}

#[test]
fn one_lane_whose_terminator_wraps() {
    loom::model(|| one_lane(2, [1, 1, 2], Look::Exact));
}

#[test]
fn one_lane_with_padding() {
    loom::model(|| one_lane(3, [2, 1, 2], Look::Exact));
}

#[test]
fn one_lane_with_room_given_back_in_bulk() {
    loom::model(|| one_lane(3, [2, 1, 2], Look::Batched));
}

/// The sender of b sends only if it has seen that send(a) returned; a third lane (the last) may hold something
/// that keeps the receiver busy.
fn known_send(lanes: usize, busy: bool, late_bits: bool) {
    let shared = Arc::new((AtomicU64::new(0), Bitmap::default(), AtomicU64::new(0)));
    let lane: Vec<_> = (0..lanes).map(|_| ModelLane::new(64)).collect();
    if busy {
        merge::show(&shared.1, lanes as u32 - 1);
        let mut tx = producer(&lane[lanes - 1], true);
        assert!(try_send(&mut tx, &payload(7, 1), Look::Exact, &shared.0));
    }
    if !late_bits {
        merge::show(&shared.1, 0);
        merge::show(&shared.1, 1);
    }
    let mut rx = Merge::new(lane.iter().map(|lane| consumer(lane, true)).collect(), Rule::Total);
    let a = {
        let (shared, lane) = (Arc::clone(&shared), lane[0].clone());
        thread::spawn(move || {
            let (stamps, bitmap, returned) = &*shared;
            if late_bits {
                merge::show(bitmap, 0);
            }
            let mut tx = producer(&lane, true);
            assert!(try_send(&mut tx, &payload(1, 1), Look::Exact, stamps));
            returned.store(1, Ordering::Release);
        })
    };
    let b = {
        let (shared, lane) = (Arc::clone(&shared), lane[1].clone());
        thread::spawn(move || {
            let (stamps, bitmap, returned) = &*shared;
            if late_bits {
                merge::show(bitmap, 1);
            }
            let mut tx = producer(&lane, true);
            let known = returned.load(Ordering::Acquire) == 1;
            known && try_send(&mut tx, &payload(2, 1), Look::Exact, stamps)
        })
    };
    let mut order = Vec::new();
    for _ in 0..2 {
        order.extend(try_merge(&mut rx, &shared.0, &shared.1));
    }
    a.join().unwrap();
    let sent = b.join().unwrap();
    while let Some(message) = try_merge(&mut rx, &shared.0, &shared.1) {
        order.push(message);
    }
    let mut expected = vec![(0, 1)];
    expected.extend(sent.then_some((1, 2)));
    order.retain(|&(_, value)| value != 7);
    assert_eq!(order, expected);
}

#[test]
fn a_known_send_comes_first() {
    bounded(3, || known_send(2, false, false));
}

#[test]
fn a_known_send_comes_first_though_its_bit_is_late() {
    bounded(3, || known_send(2, false, true));
}

#[test]
fn a_known_send_comes_first_behind_others() {
    bounded(3, || known_send(3, true, false));
}

/// A receiver that sleeps for `senders` publishers of one lane each, which send `messages` each and ring.
fn sleeping_receiver(senders: usize, messages: u64) {
    let shared = Arc::new((AtomicU64::new(0), Bitmap::default(), Bell::default()));
    let lanes: Vec<_> = (0..senders).map(|_| ModelLane::new(64)).collect();
    let mut rx = Merge::new(lanes.iter().map(|lane| consumer(lane, true)).collect(), Rule::Total);
    let threads: Vec<_> = (0..senders)
        .map(|index| {
            let (shared, lane) = (Arc::clone(&shared), lanes[index].clone());
            thread::spawn(move || {
                let (stamps, bitmap, bell) = &*shared;
                merge::show(bitmap, index as u32);
                let mut tx = producer(&lane, true);
                for value in 0..messages {
                    assert!(try_send(&mut tx, &payload(value, 1), Look::Exact, stamps));
                    bell.ring(|| true);
                }
            })
        })
        .collect();
    let (stamps, bitmap, bell) = &*shared;
    let mut next = vec![0; senders];
    while next.iter().sum::<u64>() < messages * senders as u64 {
        let taken = try_merge(&mut rx, stamps, bitmap).or_else(|| {
            match bell.sleep(|| try_merge(&mut rx, stamps, bitmap)) {
                Slept::Found(message) => Some(message),
                // Not rung: the unit came before the ringer's change of the number.
                Slept::Woken { .. } => None,
                other => panic!("{other:?} where nothing times out"),
            }
        });
        if let Some((lane, value)) = taken {
            assert_eq!(value, next[lane as usize]);
            next[lane as usize] += 1;
        }
    }
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn a_sleeping_receiver_is_woken() {
    bounded(3, || sleeping_receiver(1, 2));
}

#[test]
fn a_sleeping_receiver_is_woken_by_either_of_two() {
    bounded(2, || sleeping_receiver(2, 1));
}

/// A ringer that is stopped just before its post, until somebody else's message was received.
struct Stopped<'a> {
    bell: &'a Bell,
    continued: &'a (Mutex<bool>, Condvar),
}

impl Park for Stopped<'_> {
    fn park(&self, limit: Duration) -> Unparked {
        self.bell.park.park(limit)
    }

    fn unpark(&self) -> Result<(), Errno> {
        let (continued, changed) = self.continued;
        let mut going = continued.lock().unwrap();
        while !*going {
            going = changed.wait(going).unwrap();
        }
        drop(going);
        self.bell.park.unpark()
    }
}

/// One of two senders is stopped while it rings; the receiver is woken for the other's message all the same.
#[test]
fn a_stopped_ringer_keeps_nobody_asleep() {
    bounded(2, || {
        let shared = Arc::new((AtomicU64::new(0), Bitmap::default(), Bell::default()));
        let continued = Arc::new((Mutex::new(false), Condvar::new()));
        let lanes = [ModelLane::new(64), ModelLane::new(64)];
        let mut rx = Merge::new(lanes.iter().map(|lane| consumer(lane, true)).collect(), Rule::Total);
        let threads = [0, 1].map(|index| {
            let (shared, lane) = (Arc::clone(&shared), lanes[index as usize].clone());
            merge::show(&shared.1, index);
            let continued = Arc::clone(&continued);
            thread::spawn(move || {
                let (stamps, _, bell) = &*shared;
                let mut tx = producer(&lane, true);
                assert!(try_send(&mut tx, &payload(index.into(), 1), Look::Exact, stamps));
                if index == 0 {
                    let park = Stopped { bell, continued: &continued };
                    wait::ring(&bell.number, &Barrier::REAL, &bell.real_fences, || true, &park).unwrap();
                } else {
                    bell.ring(|| true);
                }
            })
        });
        let (stamps, bitmap, bell) = &*shared;
        let mut missing = 2;
        while missing > 0 {
            let taken = try_merge(&mut rx, stamps, bitmap).or_else(|| {
                match bell.sleep(|| try_merge(&mut rx, stamps, bitmap)) {
                    Slept::Found(message) => Some(message),
                    Slept::Woken { .. } => None,
                    other => panic!("{other:?} where nothing times out"),
                }
            });
            let Some((lane, _)) = taken else { continue };
            missing -= 1;
            if lane == 1 {
                *continued.0.lock().unwrap() = true;
                continued.1.notify_one();
            }
        }
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// A sender that sleeps for room, in a full lane, against a receiver that releases record by record.
fn sleeping_sender() {
    let shared = Arc::new((AtomicU64::new(0), Bell::default()));
    let lane = ModelLane::new(64);
    let mut tx = producer(&lane, false);
    let mut rx = consumer(&lane, false);
    for value in 0..3 {
        assert!(try_send(&mut tx, &payload(value, 1), Look::Exact, &shared.0));
    }
    // Left by an earlier wait for more room that was given up.
    lane.control().room.want.store(1 << 20, Ordering::Relaxed);
    let sender = {
        let (shared, lane) = (Arc::clone(&shared), lane.clone());
        thread::spawn(move || {
            let (stamps, bell) = &*shared;
            let bytes = payload(3, 2);
            // As the channel does: look, note what is wanted, sleep unless a look finds it.
            while !try_send(&mut tx, &bytes, Look::Exact, stamps) {
                let until = match tx.reserve(bytes.len() as u64, Look::Exact) {
                    Room::Full { until } => until,
                    _ => continue,
                };
                lane.control().room.want.store(until, Ordering::Relaxed);
                let slept = bell.sleep(|| try_send(&mut tx, &bytes, Look::Exact, stamps).then_some(()));
                match slept {
                    Slept::Found(()) => break,
                    Slept::Woken { .. } => {}
                    other => panic!("{other:?} where nothing times out"),
                }
            }
        })
    };
    let mut next = 0;
    for _ in 0..3 {
        let Peek::Record(found) = rx.peek() else { panic!("three were there from the beginning") };
        assert_eq!(copy(&lane, &found), next);
        next += 1;
        rx.pass(&found);
        rx.give();
        let upto = rx.release();
        shared.1.ring_if_asleep(|| upto >= lane.control().room.want.load(Ordering::Relaxed));
    }
    sender.join().unwrap();
    assert_eq!(try_recv(&mut rx), Some(3));
}

#[test]
fn a_sleeping_sender_is_woken() {
    bounded(3, sleeping_sender);
}

/// A producer died between the publication and its own words; the successor starts while the consumer runs.
#[test]
fn a_dead_senders_lane_goes_on() {
    bounded(3, || {
        let lane = ModelLane::new(64);
        let stamps = AtomicU64::new(0);
        let mut dead = producer(&lane, false);
        let mut rx = consumer(&lane, false);
        for value in 0..2 {
            assert!(try_send(&mut dead, &payload(value, 1), Look::Exact, &stamps));
        }
        assert_eq!(try_recv(&mut rx), Some(0));
        let successor = {
            let lane = lane.clone();
            thread::spawn(move || {
                let tail = lane.control().producer.tail.load(Ordering::Relaxed);
                assert!(try_send(&mut dead, &payload(2, 1), Look::Exact, &stamps));
                drop(dead);
                lane.control().producer.tail.store(tail, Ordering::Relaxed);
                // With all three unreleased there is no room; with one of them released there is.
                try_send(&mut producer(&lane, false), &payload(3, 1), Look::Exact, &stamps)
            })
        };
        let mut next = 1;
        for _ in 0..2 {
            if let Some(value) = try_recv(&mut rx) {
                assert_eq!(value, next);
                next += 1;
            }
        }
        let sent = successor.join().unwrap();
        while let Some(value) = try_recv(&mut rx) {
            assert_eq!(value, next);
            next += 1;
        }
        assert_eq!(next, if sent { 4 } else { 3 });
    });
}

/// The room that a takeover of the sender's end counts on was really given back.
#[test]
fn a_new_sender_overwrites_only_what_was_released() {
    loom::model(|| {
        let lane = ModelLane::new(64);
        let stamps = AtomicU64::new(0);
        let mut dead = producer(&lane, false);
        let mut rx = consumer(&lane, false);
        for value in 0..3 {
            assert!(try_send(&mut dead, &payload(value, 1), Look::Exact, &stamps));
        }
        drop(dead);
        let successor = {
            let lane = lane.clone();
            thread::spawn(move || {
                let mut tx = producer(&lane, false);
                (3..5)
                    .take_while(|&value| try_send(&mut tx, &payload(value, 1), Look::Batched, &stamps))
                    .count()
            })
        };
        for value in 0..3 {
            assert_eq!(try_recv(&mut rx), Some(value));
        }
        let sent = successor.join().unwrap() as u64;
        for value in 0..sent {
            assert_eq!(try_recv(&mut rx), Some(3 + value));
        }
        assert_eq!(try_recv(&mut rx), None);
    });
}

/// A receiver died after releasing; its successor gives the room back once more while the sender runs.
#[test]
fn a_dead_receivers_lane_goes_on() {
    loom::model(|| {
        let lane = ModelLane::new(64);
        let stamps = AtomicU64::new(0);
        let mut tx = producer(&lane, false);
        for (value, words) in [(0, 2), (1, 1), (2, 1)] {
            assert!(try_send(&mut tx, &payload(value, words), Look::Exact, &stamps));
        }
        let receivers = {
            let lane = lane.clone();
            thread::spawn(move || {
                // The successor knows of the death by the kernel: here by a join.
                let first = {
                    let lane = lane.clone();
                    thread::spawn(move || {
                        let mut first = consumer(&lane, false);
                        assert_eq!(try_recv(&mut first), Some(0));
                        // Given, and not released.
                        let Peek::Record(found) = first.peek() else { panic!("two are left") };
                        first.pass(&found);
                        first.give();
                    })
                };
                first.join().unwrap();
                let mut second = consumer(&lane, false);
                let Peek::Record(found) = second.peek() else { panic!("two are left") };
                assert!(found.redelivered);
                assert_eq!(try_recv(&mut second), Some(1));
                second
            })
        };
        // Overwrites what the first one read, if it may.
        let sent = try_send(&mut tx, &payload(3, 1), Look::Batched, &stamps);
        let mut rx = receivers.join().unwrap();
        assert_eq!(try_recv(&mut rx), Some(2));
        assert_eq!(try_recv(&mut rx), sent.then_some(3));
    });
}

/// A sender sends, dies before it rings, and the kernel frees its seat and posts its will; the receiver reads the
/// seat as free and looks once more.
#[test]
fn the_last_message_of_a_dead_sender_is_received() {
    bounded(3, || {
        let shared = Arc::new((AtomicU64::new(0), Bell::default(), AtomicU64::new(1)));
        let lane = ModelLane::new(64);
        let mut rx = consumer(&lane, false);
        let sender = {
            let (shared, lane) = (Arc::clone(&shared), lane.clone());
            thread::spawn(move || {
                let (stamps, bell, alive) = &*shared;
                let mut tx = producer(&lane, false);
                assert!(try_send(&mut tx, &payload(0, 1), Look::Exact, stamps));
                bell.ring(|| true);
                assert!(try_send(&mut tx, &payload(1, 1), Look::Exact, stamps));
                alive.store(0, Ordering::Release);
                bell.park.unpark().unwrap();
            })
        };
        let (_, bell, alive) = &*shared;
        let (mut received, mut suspicious) = (Vec::new(), false);
        // As the channel does: look, ask if the last wake may have been a will's, look once more, sleep.
        loop {
            if let Some(value) = try_recv(&mut rx) {
                received.push(value);
                continue;
            }
            if std::mem::take(&mut suspicious) && alive.load(Ordering::Acquire) == 0 {
                match try_recv(&mut rx) {
                    Some(value) => received.push(value),
                    None => break,
                }
                continue;
            }
            match bell.sleep(|| try_recv(&mut rx)) {
                Slept::Found(value) => received.push(value),
                Slept::Woken { rung } => suspicious = !rung,
                other => panic!("{other:?} where nothing times out"),
            }
        }
        sender.join().unwrap();
        assert_eq!(received, [0, 1]);
    });
}

/// A lane is taken off the bitmap while its seat is taken again.
#[test]
fn a_lane_that_is_taken_again_is_not_left_out() {
    bounded(3, || {
        let shared = Arc::new((AtomicU64::new(0), Bitmap::default(), AtomicU64::new(0)));
        let lane = ModelLane::new(64);
        let other = ModelLane::new(64);
        merge::show(&shared.1, 0);
        let mut rx = Merge::new(vec![consumer(&lane, true), consumer(&other, true)], Rule::Total);
        let sender = {
            let (shared, lane) = (Arc::clone(&shared), lane.clone());
            thread::spawn(move || {
                let (stamps, bitmap, alive) = &*shared;
                alive.store(1, Ordering::Relaxed);
                merge::show(bitmap, 0);
                assert!(try_send(&mut producer(&lane, true), &payload(5, 1), Look::Exact, stamps));
                // Dies at once: nobody will set the bit again.
                alive.store(0, Ordering::Release);
            })
        };
        let (stamps, bitmap, alive) = &*shared;
        let mut received = try_merge(&mut rx, stamps, bitmap);
        rx.retire(bitmap, |lane| lane == 0 && alive.load(Ordering::Acquire) == 0);
        sender.join().unwrap();
        received = received.or_else(|| try_merge(&mut rx, stamps, bitmap));
        assert_eq!(received, Some((0, 5)));
    });
}
