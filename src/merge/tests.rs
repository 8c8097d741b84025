//! The merge over lanes on the heap.

use super::*;
use crate::lane::{Look, Producer, Room};
use crate::segment::lane_view::ModelLane;

const CAPACITY: u64 = 1024;

struct Scene {
    lanes: Vec<ModelLane>,
    senders: Vec<Producer<ModelLane>>,
    stamps: AtomicU64,
    bitmap: Bitmap,
    merge: Merge<ModelLane>,
    turn: u32,
}

impl Scene {
    /// Lanes whose bits are not set yet.
    fn new(count: usize, rule: Rule) -> Scene {
        let stamped = rule == Rule::Total;
        let lanes: Vec<_> = (0..count).map(|_| ModelLane::new(CAPACITY)).collect();
        let senders = lanes.iter().map(|lane| Producer::take_over(lane.clone(), stamped).unwrap()).collect();
        let consumers = lanes.iter().map(|lane| Consumer::take_over(lane.clone(), stamped, 64)).collect();
        let merge = Merge::new(consumers, rule);
        Scene { lanes, senders, stamps: AtomicU64::new(0), bitmap: Bitmap::default(), merge, turn: 0 }
    }

    fn shown(count: usize, rule: Rule) -> Scene {
        let scene = Scene::new(count, rule);
        (0..count as u32).for_each(|lane| show(&scene.bitmap, lane));
        scene
    }

    fn send(&mut self, lane: u32, number: u64) {
        let sender = &mut self.senders[lane as usize];
        let Room::Ready(room) = sender.reserve(8, Look::Exact) else { panic!("lane {lane} is full") };
        sender.fill(&room, 0, &number.to_le_bytes());
        sender.commit(room, 8, &self.stamps);
    }

    fn next(&mut self) -> Next {
        self.merge.next(super::Shared { stamps: &self.stamps, bitmap: &self.bitmap })
    }

    /// Takes and releases the next message: its lane and number.
    fn receive(&mut self) -> Option<(u32, u64)> {
        self.turn += 1;
        let mut buffer = [0; 8];
        // One of the three ways, in a fixed order that is no multiple of anything.
        match self.turn * 7 % 5 {
            0 | 1 => {
                if let Some((lane, 8)) = self.merge.receive_at_once(&self.bitmap, &mut buffer) {
                    return Some((lane, u64::from_le_bytes(buffer)));
                }
            }
            2 => {
                // Too small a room changes nothing.
                assert_eq!(self.merge.receive_at_once(&self.bitmap, &mut buffer[..7]), None);
            }
            3 => {
                if let Some((lane, found)) = self.merge.take_at_once(&self.bitmap) {
                    self.lanes[lane as usize].get(found.payload, 0, &mut buffer);
                    self.merge.release(lane);
                    return Some((lane, u64::from_le_bytes(buffer)));
                }
            }
            _ => {}
        }
        match self.next() {
            Next::Record(lane, found) => {
                let mut number = [0; 8];
                self.lanes[lane as usize].get(found.payload, 0, &mut number);
                self.merge.pass(lane, &found);
                self.merge.release(lane);
                Some((lane, u64::from_le_bytes(number)))
            }
            Next::Empty => None,
            Next::Corrupt(lane, position) => panic!("lane {lane} is damaged at {position}"),
        }
    }

    fn drain(&mut self) -> Vec<u64> {
        std::iter::from_fn(|| self.receive()).map(|(_, number)| number).collect()
    }

    fn is_shown(&self, lane: u32) -> bool {
        self.bitmap.words[lane as usize / 64].load(Ordering::Relaxed) >> (lane % 64) & 1 == 1
    }
}

/// A fixed sequence of numbers that looks random.
fn shuffled(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    *seed >> 33
}

#[test]
fn total_order_is_the_order_of_sending() {
    for count in [1, 2, 3, 5, 64, 65, 240] {
        let (mut scene, mut seed) = (Scene::shown(count, Rule::Total), 7);
        let (mut sent, mut received) = (0, 0);
        for _ in 0..2000 {
            for _ in 0..shuffled(&mut seed) % 8 {
                scene.send((shuffled(&mut seed) % count as u64) as u32, sent);
                sent += 1;
            }
            for _ in 0..shuffled(&mut seed) % 9 {
                if let Some((_, number)) = scene.receive() {
                    assert_eq!(number, received, "{count} lanes");
                    received += 1;
                }
            }
            if sent - received > 20 {
                let rest = scene.drain();
                assert_eq!(rest, (received..sent).collect::<Vec<_>>(), "{count} lanes");
                received = sent;
            }
        }
        assert_eq!(scene.drain(), (received..sent).collect::<Vec<_>>());
    }
}

#[test]
fn a_stamp_that_is_missing_holds_nobody_up() {
    let mut scene = Scene::shown(3, Rule::Total);
    scene.send(0, 1);
    scene.stamps.fetch_add(1, Ordering::AcqRel); // a sender died between stamp and publication
    scene.send(2, 2);
    assert_eq!(scene.drain(), [1, 2]);
}

#[test]
fn per_sender_order_gives_every_lane_its_turn() {
    let mut scene = Scene::shown(3, Rule::PerSender);
    for number in 0..40 {
        (0..3).for_each(|lane| scene.send(lane, number));
    }
    let mut next = [0; 3];
    let mut gaps = [0; 3];
    for _ in 0..120 {
        let (lane, number) = scene.receive().unwrap();
        assert_eq!(number, next[lane as usize]);
        next[lane as usize] += 1;
        gaps.iter_mut().for_each(|gap| *gap += 1);
        gaps[lane as usize] = 0;
        assert!(gaps.iter().all(|&gap| gap <= 2 * TURN), "{gaps:?}");
    }
    assert_eq!(scene.receive(), None);
}

#[test]
fn a_busy_lane_does_not_hide_a_new_one() {
    for rule in [Rule::Total, Rule::PerSender] {
        let mut scene = Scene::new(100, rule);
        show(&scene.bitmap, 3);
        for number in 0..5 {
            scene.send(3, number);
        }
        assert_eq!(scene.receive(), Some((3, 0)));
        show(&scene.bitmap, 70);
        scene.send(70, 99);
        let mut looked = 0;
        loop {
            scene.send(3, 0);
            looked += 1;
            if scene.receive().unwrap().0 == 70 {
                break;
            }
            assert!(looked <= 2 * TURN + 6, "{rule:?}");
        }
    }
}

#[test]
fn only_shown_lanes_are_looked_at() {
    let mut scene = Scene::new(4, Rule::Total);
    scene.send(2, 5);
    assert_eq!(scene.receive(), None);
    show(&scene.bitmap, 2);
    assert_eq!(scene.receive(), Some((2, 5)));
}

#[test]
fn what_was_not_released_comes_again_in_order() {
    for rule in [Rule::Total, Rule::PerSender] {
        let mut scene = Scene::shown(2, rule);
        for number in 0..6 {
            scene.send((number % 2) as u32, number);
        }
        for _ in 0..4 {
            let Next::Record(lane, found) = scene.next() else { panic!("six messages wait") };
            scene.merge.pass(lane, &found);
        }
        scene.merge.rewind();
        let mut all = scene.drain();
        if rule == Rule::PerSender {
            all.sort(); // its order across lanes is free
        }
        assert_eq!(all, [0, 1, 2, 3, 4, 5]);
    }
}

#[test]
fn a_new_lane_ends_the_run_of_the_only_one() {
    let mut scene = Scene::new(2, Rule::Total);
    show(&scene.bitmap, 0);
    scene.send(0, 0);
    assert_eq!(scene.receive(), Some((0, 0)));
    show(&scene.bitmap, 1);
    scene.send(1, 1);
    scene.send(0, 2);
    assert_eq!(scene.merge.receive_at_once(&scene.bitmap, &mut [0; 8]), None);
    assert_eq!(scene.merge.take_at_once(&scene.bitmap), None);
    assert_eq!(scene.drain(), [1, 2]);
}

#[test]
fn what_was_looked_at_comes_once() {
    for rule in [Rule::Total, Rule::PerSender] {
        let mut scene = Scene::shown(2, rule);
        (0..3).for_each(|number| scene.send(0, number));
        assert_eq!(scene.receive(), Some((0, 0)));
        assert!(matches!(scene.next(), Next::Record(0, _)));
        // As after a buffer that was too small.
        assert_eq!(scene.merge.receive_at_once(&scene.bitmap, &mut [0; 8]), None);
        assert_eq!(scene.merge.take_at_once(&scene.bitmap), None);
        assert_eq!(scene.drain(), [1, 2], "{rule:?}");
    }
}

#[test]
fn a_lane_is_retired_when_its_seat_is_free_and_it_is_drained() {
    let mut scene = Scene::shown(3, Rule::Total);
    scene.send(1, 7);
    assert!(matches!(scene.next(), Next::Record(1, _)));
    scene.merge.retire(&scene.bitmap, |lane| lane != 2);
    assert!(!scene.is_shown(0) && scene.is_shown(1) && scene.is_shown(2));
    assert_eq!(scene.receive(), Some((1, 7)));
    // The next sender of lane 0 shows it again.
    show(&scene.bitmap, 0);
    scene.send(0, 8);
    assert_eq!(scene.receive(), Some((0, 8)));
}

#[test]
fn a_seat_taken_meanwhile_keeps_its_lane_in_sight() {
    let mut scene = Scene::shown(2, Rule::Total);
    assert_eq!(scene.receive(), None);
    let mut answers = [true, false].into_iter();
    scene.merge.retire(&scene.bitmap, |lane| lane == 0 && answers.next().unwrap());
    assert!(scene.is_shown(0));
    // A record that came between the two looks does the same.
    let mut scene = Scene::shown(2, Rule::Total);
    assert_eq!(scene.receive(), None);
    let Scene { merge, bitmap, senders, stamps, .. } = &mut scene;
    let mut asked = 0;
    merge.retire(bitmap, |lane| {
        asked += usize::from(lane == 0);
        if lane == 0 && asked == 2 {
            let Room::Ready(room) = senders[0].reserve(8, Look::Exact) else { panic!("the lane is empty") };
            senders[0].commit(room, 8, stamps);
        }
        lane == 0
    });
    assert!(scene.is_shown(0));
    assert!(scene.receive().is_some());
}

#[test]
fn a_damaged_lane_is_reported_once_and_the_others_go_on() {
    for rule in [Rule::Total, Rule::PerSender] {
        let mut scene = Scene::shown(3, rule);
        scene.send(0, 1);
        scene.lanes[1].header(0).store(u64::MAX, Ordering::Relaxed);
        scene.send(2, 2);
        let (mut damages, mut numbers) = (0, Vec::new());
        for _ in 0..10 {
            match scene.next() {
                Next::Corrupt(lane, position) => {
                    assert_eq!((lane, position), (1, 0));
                    damages += 1;
                }
                Next::Empty => {}
                Next::Record(..) => numbers.push(scene.receive().unwrap().1),
            }
        }
        assert_eq!((damages, numbers), (1, vec![1, 2]), "{rule:?}");
    }
}

#[test]
fn an_impossible_stamp_ends_its_own_lane_only() {
    let mut scene = Scene::shown(3, Rule::Total);
    scene.send(0, 0);
    assert_eq!(scene.drain(), [0]);
    scene.send(0, 1);
    scene.send(1, 2);
    scene.lanes[1].header(8).store(1 << 40, Ordering::Relaxed);
    scene.send(2, 3);
    assert_eq!(scene.receive().unwrap().1, 1);
    assert_eq!(scene.receive().unwrap().1, 3);
    assert_eq!(scene.next(), Next::Corrupt(1, 0));
    scene.send(0, 4);
    assert_eq!(scene.drain(), [4]);
}

/// Whatever the counter is made, no lane pays for it, nothing is lost, and the order is right again afterwards.
#[test]
fn a_counter_that_somebody_plays_with_condemns_no_lane() {
    for lie in [0, 1, 3, 1 << 40, MAX_STAMP, MAX_STAMP + 1, u64::MAX] {
        for seen_before in [false, true] {
            if !seen_before && lie < 3 {
                // Stamps given twice, of a counter never seen before, cannot be told from what is left of the last lap.
                continue;
            }
            let mut scene = Scene::shown(3, Rule::Total);
            if seen_before {
                (0..9).for_each(|number| scene.send(number as u32 % 3, number));
                assert_eq!(scene.drain(), (0..9).collect::<Vec<_>>());
            }
            (0..3).for_each(|lane| scene.send(lane, 10 + u64::from(lane)));
            scene.stamps.store(lie, Ordering::Relaxed);
            (0..3).for_each(|lane| scene.send(lane, 20 + u64::from(lane)));
            let mut got = scene.drain();
            got.sort_unstable();
            assert_eq!(got, [10, 11, 12, 20, 21, 22], "{lie}, {seen_before}");
            for round in 0..50 {
                (0..3).for_each(|lane| scene.send(lane, round * 3 + u64::from(lane)));
                assert_eq!(scene.drain(), (round * 3..round * 3 + 3).collect::<Vec<_>>(), "{lie}");
            }
        }
    }
}

/// A lane that gives all its records small stamps is in front of the others for one lap, and then out.
#[test]
fn small_stamps_do_not_starve_the_others() {
    // Beyond what any counter reaches, also as the very first.
    let mut scene = Scene::shown(2, Rule::Total);
    scene.send(0, 1);
    scene.lanes[0].header(8).store(MAX_STAMP, Ordering::Relaxed);
    scene.stamps.store(0, Ordering::Relaxed);
    assert_eq!(scene.next(), Next::Corrupt(0, 0));
    scene.send(1, 2);
    assert_eq!(scene.drain(), [2]);

    for seed in 0..5 {
        let mut scene = Scene::shown(2, Rule::Total);
        scene.turn = seed;
        for number in 0..500 {
            scene.send(0, number);
            assert_eq!(scene.receive(), Some((0, number)));
        }
        let mut stamp = seed.into();
        let mut lie = |scene: &mut Scene| {
            scene.send(0, 7);
            let place = scene.senders[0].position() - 24 + 8;
            stamp += 1;
            scene.lanes[0].header(place).store(stamp, Ordering::Relaxed);
        };
        lie(&mut scene);
        scene.send(1, 1);
        let mut before = 0;
        let corrupt = loop {
            assert!(before < 2 * CAPACITY, "starved");
            lie(&mut scene);
            match scene.next() {
                Next::Corrupt(lane, _) => break lane,
                Next::Record(1, _) => panic!("in front of stamps that are smaller"),
                _ => assert_eq!(scene.receive(), Some((0, 7))),
            }
            before += 24;
        };
        assert_eq!((corrupt, scene.receive()), (0, Some((1, 1))));
    }
}

/// The same after somebody has played with the counter, when no stamp proves anything any more.
#[test]
fn small_stamps_do_not_starve_the_others_though_the_counter_is_damaged() {
    let mut scene = Scene::shown(2, Rule::Total);
    for number in 0..500 {
        scene.send(0, number);
        assert_eq!(scene.receive(), Some((0, number)));
    }
    scene.stamps.store(3, Ordering::Relaxed);
    scene.send(0, 7);
    scene.send(1, 1);
    assert_eq!(scene.drain().len(), 2); // and the counter is right again
    let lie = |scene: &mut Scene| {
        scene.send(0, 7);
        scene.lanes[0].header(scene.senders[0].position() - 24 + 8).store(0, Ordering::Relaxed);
    };
    lie(&mut scene);
    scene.send(1, 1);
    for before in (0..).step_by(24) {
        assert!(before < 3 * CAPACITY, "starved");
        lie(&mut scene);
        if scene.receive().expect("no lane is condemned") == (1, 1) {
            break;
        }
    }
}

/// Whatever the counter is from one load to the next, a receiver that begins neither panics nor condemns a lane.
#[test]
fn a_counter_that_flickers_at_the_beginning_harms_nobody() {
    let stamps = AtomicU64::new(0);
    let over = core::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for lie in [0, 100, 3, 200, 0, 5, 6, MAX_STAMP, u64::MAX] {
                    stamps.store(lie, Ordering::Relaxed);
                }
            }
        });
        let started = std::time::Instant::now();
        while started.elapsed() < std::time::Duration::from_millis(300) {
            let mut scene = Scene::shown(2, Rule::Total);
            scene.stamps.store(5, Ordering::Relaxed);
            scene.send(0, 1);
            scene.send(1, 2);
            for _ in 0..2 {
                match scene.merge.next(super::Shared { stamps: &stamps, bitmap: &scene.bitmap }) {
                    Next::Record(lane, found) => {
                        scene.merge.pass(lane, &found);
                        scene.merge.release(lane);
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        over.store(true, Ordering::Relaxed);
    });
}

/// A terminator that somebody has overwritten shows what is left of the last lap, in one lane or several.
#[test]
fn the_last_lap_is_not_received_again() {
    for lanes in 1..3 {
        let mut scene = Scene::shown(lanes, Rule::Total);
        // A lap and a half, without padding.
        for number in 0..60 {
            scene.send(0, number);
            assert_eq!(scene.receive(), Some((0, number)));
        }
        let place = scene.senders[0].position();
        let old = scene.lanes[0].header(place + 24).load(Ordering::Relaxed);
        scene.lanes[0].header(place).store(old, Ordering::Relaxed);
        let stale = scene.lanes[0].header(place + 32).load(Ordering::Relaxed);
        scene.lanes[0].header(place + 8).store(stale, Ordering::Relaxed);
        assert_eq!(scene.next(), Next::Corrupt(0, place), "{lanes} lanes");
    }
}

/// The same with a counter that was raised for a moment: then the others wait for one lap of the busy lane, and no lane
/// is condemned.
#[test]
fn a_horizon_that_was_too_high_does_not_starve_the_others() {
    let mut scene = Scene::shown(2, Rule::Total);
    scene.send(0, 0);
    scene.send(1, 0);
    let counter = scene.stamps.swap(1 << 50, Ordering::Relaxed);
    assert_eq!(scene.receive(), Some((0, 0)));
    scene.stamps.store(counter, Ordering::Relaxed);
    assert_eq!(scene.receive(), Some((1, 0)));
    (0..3).for_each(|_| scene.send(0, 5));
    assert_eq!(scene.receive(), Some((0, 5)));
    scene.send(1, 1);
    let mut before = 0;
    while scene.receive().expect("no lane is damaged").0 == 0 {
        scene.send(0, 5);
        before += 24;
        assert!(before <= CAPACITY + 24, "starved");
    }
}

#[test]
fn a_counter_or_bitmap_that_somebody_plays_with_cannot_hold_us() {
    let mut seed = 3;
    for rule in [Rule::Total, Rule::PerSender] {
        let mut scene = Scene::shown(5, rule);
        for round in 0..500 {
            scene.stamps.store(shuffled(&mut seed) % 3, Ordering::Relaxed);
            scene.bitmap.words[0].store(shuffled(&mut seed) << 40 | shuffled(&mut seed), Ordering::Relaxed);
            if round < 60 {
                scene.send((round % 5) as u32, round);
            }
            if let Next::Record(lane, found) = scene.next() {
                scene.merge.pass(lane, &found);
                scene.merge.release(lane);
            }
        }
    }
}
