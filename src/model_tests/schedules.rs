//! Random schedules of four senders and a receiver that sleeps, on the shipped lane, merge and bells.
//!
//! Each schedule checks that every message comes once, in the order of its sender and in a total order that knows causes,
//! and that nobody sleeps over a message or over room: that would be a deadlock, which shuttle reports with what is
//! needed to repeat it.
//!
//! `SYSRING_SCHEDULES` says how many (in all), `SYSRING_SEED` which.

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};

use super::*;

const SENDERS: usize = 4;
const MESSAGES: u64 = 4;

/// What all of them share.
#[derive(Debug, Default)]
struct Scene {
    stamps: AtomicU64,
    bitmap: Bitmap,
    bell: Bell,
    /// The senders' bells, for room.
    rooms: [Bell; SENDERS],
    /// How many sends of each sender have returned.
    returned: [AtomicU64; SENDERS],
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Sends, sleeping for room as the channel does.
fn send(scene: &Scene, lane: &ModelLane, tx: &mut Producer<ModelLane>, index: usize, bytes: &[u8]) {
    while !try_send(tx, bytes, Look::Exact, &scene.stamps) {
        let Room::Full { until } = tx.reserve(bytes.len() as u64, Look::Exact) else { continue };
        lane.control().room.want.store(until, Ordering::Relaxed);
        let look = || try_send(tx, bytes, Look::Exact, &scene.stamps).then_some(());
        if let Slept::Found(()) = scene.rooms[index].sleep(look) {
            break;
        }
    }
    scene.bell.ring_if_asleep(|| true);
}

/// A message: its sender, its number, and how many sends of each other sender had returned before it was begun.
fn message(index: usize, value: u64, known: [u64; SENDERS]) -> Vec<u8> {
    let known = (0..SENDERS).fold(0, |word, other| word << 8 | known[other]);
    payload((known << 8 | value) << 8 | index as u64, 2)
}

fn four_senders() {
    let scene = Arc::new(Scene::default());
    // Room for two records each, so that senders sleep too.
    let lanes: Vec<_> = (0..SENDERS).map(|_| ModelLane::new(128)).collect();
    let mut rx = Merge::new(lanes.iter().map(|lane| consumer(lane, true)).collect(), Rule::Total);
    let threads: Vec<_> = (0..SENDERS)
        .map(|index| {
            let (scene, lane) = (Arc::clone(&scene), lanes[index].clone());
            thread::spawn(move || {
                let mut tx = producer(&lane, true);
                merge::show(&scene.bitmap, index as u32);
                for value in 0..MESSAGES {
                    let known = std::array::from_fn(|other| scene.returned[other].load(Ordering::Acquire));
                    send(&scene, &lane, &mut tx, index, &message(index, value, known));
                    scene.returned[index].store(value + 1, Ordering::Release);
                }
            })
        })
        .collect();
    let mut received = [0; SENDERS];
    while received.iter().sum::<u64>() < SENDERS as u64 * MESSAGES {
        let taken = try_merge(&mut rx, &scene.stamps, &scene.bitmap).or_else(|| {
            match scene.bell.sleep(|| try_merge(&mut rx, &scene.stamps, &scene.bitmap)) {
                Slept::Found(message) => Some(message),
                Slept::Woken { .. } => None,
                other => panic!("{other:?} where nothing times out"),
            }
        });
        let Some((lane, word)) = taken else { continue };
        let (index, value, known) = (word & 0xff, word >> 8 & 0xff, word >> 16);
        assert_eq!(u64::from(lane), index, "in another lane than its sender's");
        assert_eq!(value, received[lane as usize], "of sender {lane}: lost, twice, or out of order");
        for (other, count) in received.iter().enumerate() {
            let before = known >> (8 * (SENDERS - 1 - other)) & 0xff;
            assert!(before <= *count, "message {value} of {lane} before what it knew of {other}");
        }
        received[lane as usize] += 1;
        let room = &lanes[lane as usize].control().room;
        let upto = rx.lane(lane).released();
        scene.rooms[lane as usize].ring_if_asleep(|| upto >= room.want.load(Ordering::Relaxed));
    }
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(try_merge(&mut rx, &scene.stamps, &scene.bitmap), None);
}

fn explore(name: &str, make: impl FnOnce(u64, usize) -> Box<dyn Scheduler + Send>) {
    let schedules = number("SYSRING_SCHEDULES").unwrap_or(20_000) / 2;
    let seed = number("SYSRING_SEED").unwrap_or_else(crate::sys::process::random_u64);
    let mut config = shuttle::Config::new();
    config.silence_warnings = true;
    config.failure_persistence = shuttle::FailurePersistence::Print;
    let began = std::time::Instant::now();
    println!("{name}: SYSRING_SEED={seed}");
    let done = shuttle::Runner::new(make(seed, schedules as usize), config).run(four_senders);
    println!("{name}: {done} schedules of {SENDERS} senders in {:.1?}", began.elapsed());
}

#[test]
fn four_senders_in_random_schedules() {
    explore("random", |seed, schedules| Box::new(RandomScheduler::new_from_seed(seed, schedules)));
}

/// Probabilistic concurrency testing: a bug of depth 3 is found with a known probability.
#[test]
fn four_senders_in_schedules_of_depth_3() {
    explore("depth 3", |seed, schedules| Box::new(PctScheduler::new_from_seed(seed, 3, schedules)));
}
