//! Lanes looked at from outside, while both ends are at work.

use super::*;
use crate::lane::{Glance, Onlooker};
use crate::merge::{Onlookers, Sight};

fn onlooker(lane: &ModelLane, stamped: bool) -> Onlooker<ModelLane> {
    Onlooker::new(lane.clone(), stamped, lane.capacity() / 2 - 16)
}

/// What is sent: the position, value and words of each message.
type Sent = Vec<(u64, u64, usize)>;

/// Looks once; what it shows was sent at that position. Whether something was shown.
fn look(onlooker: &mut Onlooker<ModelLane>, sent: &Sent, stamped: bool) -> Option<u64> {
    match onlooker.glance() {
        Glance::Record(seen) => {
            let mut bytes = vec![0; seen.length as usize];
            if !onlooker.copy(&seen, &mut bytes) {
                return None;
            }
            onlooker.pass(&seen);
            let value = u64::from_ne_bytes(bytes[..8].try_into().unwrap());
            let message = sent.iter().find(|(start, ..)| *start == seen.start);
            let &(_, expected, words) = message.expect("a message began at this position");
            assert_eq!(bytes, payload(expected, words));
            assert!(!stamped || seen.stamp == expected, "{seen:?} for {expected}");
            Some(value)
        }
        Glance::Empty | Glance::Released(_) => None,
        Glance::Corrupt(position) => panic!("an honest lane is taken for corrupt at {position}"),
    }
}

/// Where messages of so many words each will lie in a lane.
fn plan(capacity: u64, stamped: bool, words: &[usize]) -> Sent {
    let mut tail = 0;
    let place = |(value, &words): (usize, &usize)| {
        let size = 8 * (1 + u64::from(stamped) + words as u64);
        let to_end = capacity - tail % capacity;
        let at = if size > to_end { tail + to_end } else { tail };
        let start = std::mem::replace(&mut tail, at + size);
        (start, value as u64, words)
    };
    words.iter().enumerate().map(place).collect()
}

/// A lane in which the first `old` messages were received and the next `waiting` wait. Then the rest is sent as far as
/// there is room, and `takes` messages are received, while somebody looks `looks` times.
fn beside_both(words: &[usize], stamped: bool, (old, waiting, takes, looks): (usize, usize, usize, usize)) {
    let lane = ModelLane::new(64);
    let stamps = AtomicU64::new(0);
    let mut tx = producer(&lane, stamped);
    let mut rx = consumer(&lane, stamped);
    let sent = plan(lane.capacity(), stamped, words);
    for (index, &(_, value, words)) in sent[..old + waiting].iter().enumerate() {
        assert!(try_send(&mut tx, &payload(value, words), Look::Exact, &stamps));
        if index < old {
            assert_eq!(try_recv(&mut rx), Some(value));
        }
    }
    let mut onlooker = onlooker(&lane, stamped);
    let rest: Vec<_> = sent[old + waiting..].to_vec();
    let sender = thread::spawn(move || {
        for (_, value, words) in rest {
            if !try_send(&mut tx, &payload(value, words), Look::Exact, &stamps) {
                break;
            }
        }
    });
    let receiver = thread::spawn(move || {
        for _ in 0..takes {
            let _ = try_recv(&mut rx);
        }
        rx
    });
    let mut shown = Vec::new();
    for _ in 0..looks {
        shown.extend(look(&mut onlooker, &sent, stamped));
    }
    sender.join().unwrap();
    let mut rx = receiver.join().unwrap();
    // At rest it shows what is left: behind a release first.
    let quiet = look(&mut onlooker, &sent, stamped);
    shown.extend(quiet);
    while let Some(value) = look(&mut onlooker, &sent, stamped) {
        shown.push(value);
    }
    assert!(shown.is_sorted_by(|one, next| one < next), "{shown:?}");
    let mut count = None;
    while let Some(value) = try_recv_any(&mut rx, stamped) {
        assert!(shown.contains(&value), "{value} waits and was not shown: {shown:?}");
        count = Some(value + 1);
    }
    assert_eq!(onlooker.glance(), Glance::Empty);
    if let Some(count) = count {
        assert_eq!(onlooker.number(), count);
    }
}

/// As [`try_recv`], with or without stamps.
fn try_recv_any(from: &mut Consumer<ModelLane>, stamped: bool) -> Option<u64> {
    if !stamped {
        return try_recv(from);
    }
    let Peek::Record(found) = from.peek() else { return None };
    let value = copy(from.lane(), &found);
    from.pass(&found);
    from.give();
    from.release();
    Some(value)
}

#[test]
fn what_is_shown_was_sent_at_its_place() {
    // Four messages make a lap: the fifth is written over the first.
    bounded(3, || beside_both(&[1, 1, 1, 1, 1], false, (0, 3, 1, 1)));
}

#[test]
fn what_is_shown_behind_a_lap_was_sent_there() {
    bounded(2, || beside_both(&[1, 1, 1, 1, 1, 1, 1], false, (3, 2, 2, 2)));
}

#[test]
fn what_is_shown_behind_a_padding_was_sent_there() {
    bounded(2, || beside_both(&[1, 2, 2, 2, 1], false, (1, 1, 1, 2)));
}

#[test]
fn a_stamp_that_is_shown_belongs_to_its_message() {
    bounded(2, || beside_both(&[1, 1, 1, 1], true, (1, 1, 1, 2)));
}

/// A new sender counts on the room that it has found at its takeover, and somebody looks.
#[test]
fn what_is_shown_was_not_overwritten_by_a_new_sender() {
    bounded(3, || {
        let lane = ModelLane::new(64);
        let stamps = AtomicU64::new(0);
        let sent = plan(64, false, &[1, 1, 1, 2]);
        let mut dead = producer(&lane, false);
        let mut rx = consumer(&lane, false);
        for value in 0..3 {
            assert!(try_send(&mut dead, &payload(value, 1), Look::Exact, &stamps));
        }
        drop(dead);
        let mut onlooker = onlooker(&lane, false);
        let receiver = thread::spawn(move || {
            let taken = [try_recv(&mut rx), try_recv(&mut rx)];
            assert_eq!(taken, [Some(0), Some(1)]);
        });
        let successor = thread::spawn(move || {
            // Behind a padding, over both that are received meanwhile, or not at all.
            try_send(&mut producer(&lane, false), &payload(3, 2), Look::Batched, &stamps);
        });
        look(&mut onlooker, &sent, false);
        receiver.join().unwrap();
        successor.join().unwrap();
        while onlooker.glance() != Glance::Empty {
            look(&mut onlooker, &sent, false);
        }
    });
}

/// The sender of b sends only if it has seen that send(a) returned: whoever is shown b first is never shown a.
#[test]
fn a_known_send_is_shown_first() {
    bounded(3, || {
        let shared = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
        let lane = [ModelLane::new(64), ModelLane::new(64)];
        let mut seen = Onlookers::new(lane.iter().map(|lane| onlooker(lane, true)).collect(), Rule::Total);
        let threads = [0, 1].map(|index| {
            let (shared, lane) = (Arc::clone(&shared), lane[index as usize].clone());
            thread::spawn(move || {
                let (stamps, returned) = &*shared;
                let mut tx = producer(&lane, true);
                if index == 0 {
                    assert!(try_send(&mut tx, &payload(1, 1), Look::Exact, stamps));
                    returned.store(1, Ordering::Release);
                    true
                } else {
                    returned.load(Ordering::Acquire) == 1
                        && try_send(&mut tx, &payload(2, 1), Look::Exact, stamps)
                }
            })
        });
        let mut shown = Vec::new();
        let mut show = |shown: &mut Vec<u64>| match seen.next(&shared.0) {
            Sight::Record(index, found) => {
                let mut bytes = [0; 8];
                assert!(seen.lane(index).copy(&found, &mut bytes));
                seen.pass(index, &found);
                shown.push(value_of(&bytes));
                true
            }
            Sight::Nothing => false,
            news => panic!("{news:?}"),
        };
        show(&mut shown);
        show(&mut shown);
        let sent = threads.map(|thread| thread.join().unwrap());
        while show(&mut shown) {}
        assert_eq!(shown, if sent[1] { vec![1, 2] } else { vec![1] });
    });
}
