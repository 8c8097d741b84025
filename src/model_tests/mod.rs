//! The algorithms under a model checker: the shipped code, with other atomics.
//!
//! Only the atomics, the lane's memory ([`ModelLane`]), the semaphore that is slept on ([`ModelPark`]) and the kernel's
//! part of a seat have twins. The twin of the semaphore never times out, so a lost wake-up is a deadlock, which the
//! checkers report. Threads look a bounded number of times instead of spinning, and what is left is received after
//! they have ended.
//!
//! * Under loom (`.ci/loom`): [`lanes`], [`onlookers`] and [`seats`], every interleaving and every value that a weak memory may give a
//!   load. Models that would take long bound the number of involuntary thread switches ([`bounded`]); the others are
//!   exhaustive. The lane reports unordered accesses to payload words. `.ci/orderings` weakens each ordering.
//! * Under shuttle (`.ci/shuttle`): [`schedules`], random schedules of more threads, without weak memory.

#[cfg(not(shuttle))]
mod lanes;
#[cfg(not(shuttle))]
mod onlookers;
#[cfg(shuttle)]
mod schedules;
#[cfg(not(shuttle))]
mod seats;

use core::time::Duration;

use crate::lane::{Consumer, Found, Look, Peek, Producer, Room};
use crate::merge::{self, Merge, Next, Rule, Shared};
use crate::segment::lane_view::{LaneView, ModelLane};
use crate::segment::layout::Bitmap;
use crate::sync::checker::sync::{Arc, Condvar, Mutex};
use crate::sync::checker::thread;
use crate::sync::{AtomicU64, Ordering};
use crate::sys::Errno;
use crate::wait::{self, Barrier, Park, Slept, Unparked};

/// A semaphore without time.
#[derive(Debug, Default)]
struct ModelPark {
    units: Mutex<u32>,
    posted: Condvar,
}

impl Park for ModelPark {
    fn park(&self, _limit: Duration) -> Unparked {
        let mut units = self.units.lock().unwrap();
        while *units == 0 {
            units = self.posted.wait(units).unwrap();
        }
        *units -= 1;
        Unparked::Unit
    }

    fn unpark(&self) -> Result<(), Errno> {
        *self.units.lock().unwrap() += 1;
        self.posted.notify_one();
        Ok(())
    }
}

/// A bell as it lies in the segment.
#[derive(Debug, Default)]
struct Bell {
    number: AtomicU64,
    real_fences: AtomicU64,
    park: ModelPark,
}

impl Bell {
    /// As the channel does after each publication.
    fn ring_if_asleep(&self, worth: impl FnOnce() -> bool) {
        if wait::is_asleep(&self.number, &Barrier::REAL, &self.real_fences) {
            self.ring(worth);
        }
    }

    fn ring(&self, worth: impl FnOnce() -> bool) {
        wait::ring(&self.number, &Barrier::REAL, &self.real_fences, worth, &self.park).unwrap();
    }

    fn sleep<T>(&self, look: impl FnOnce() -> Option<T>) -> Slept<T> {
        wait::sleep(&self.number, &Barrier::REAL, &self.real_fences, &self.park, wait::CEILING, look)
    }
}

/// A message of `words` equal words.
fn payload(value: u64, words: usize) -> Vec<u8> {
    value.to_ne_bytes().repeat(words)
}

/// Sends, or reports that there is no room.
fn try_send(to: &mut Producer<ModelLane>, bytes: &[u8], look: Look, stamps: &AtomicU64) -> bool {
    if to.send_at_once(bytes, stamps) {
        return true;
    }
    match to.reserve(bytes.len() as u64, look) {
        Room::Ready(room) => {
            to.fill(&room, 0, bytes);
            to.commit(room, bytes.len() as u64, stamps);
            true
        }
        Room::Full { .. } => false,
        Room::Corrupt | Room::Lost => panic!("the consumer's words are taken for impossible"),
    }
}

/// Copies a record out and checks that it is whole.
fn copy(lane: &ModelLane, found: &Found) -> u64 {
    let mut bytes = vec![0; found.length as usize];
    lane.get(found.payload, 0, &mut bytes);
    value_of(&bytes)
}

/// What a payload says; checks that it is whole.
fn value_of(bytes: &[u8]) -> u64 {
    let value = u64::from_ne_bytes(bytes[..8].try_into().unwrap());
    assert_eq!(bytes, payload(value, bytes.len() / 8));
    value
}

/// Receives one message if there is one.
fn try_recv(from: &mut Consumer<ModelLane>) -> Option<u64> {
    let mut buffer = [0; 64];
    if !from.is_ahead()
        && let Some(length) = from.receive_at_once::<false>(&mut buffer, || 0)
    {
        return Some(value_of(&buffer[..length]));
    }
    match from.peek() {
        Peek::Record(found) => {
            let value = copy(from.lane(), &found);
            from.pass(&found);
            from.give();
            from.release();
            Some(value)
        }
        Peek::Empty => None,
        Peek::Corrupt(position) => panic!("corrupt at {position}"),
    }
}

/// Takes one message of many lanes if there is one: its lane and value.
fn try_merge(from: &mut Merge<ModelLane>, stamps: &AtomicU64, bitmap: &Bitmap) -> Option<(u32, u64)> {
    let mut buffer = [0; 64];
    if let Some((lane, length)) = from.receive_at_once(bitmap, &mut buffer) {
        return Some((lane, value_of(&buffer[..length])));
    }
    match from.next(Shared { stamps, bitmap }) {
        Next::Record(lane, found) => {
            let value = copy(from.lane(lane).lane(), &found);
            from.pass(lane, &found);
            from.give(lane);
            from.release(lane);
            Some((lane, value))
        }
        Next::Empty => None,
        Next::Corrupt(lane, position) => panic!("lane {lane} corrupt at {position}"),
    }
}

fn producer(lane: &ModelLane, stamped: bool) -> Producer<ModelLane> {
    Producer::take_over(lane.clone(), stamped).expect("an honest lane")
}

fn consumer(lane: &ModelLane, stamped: bool) -> Consumer<ModelLane> {
    Consumer::take_over(lane.clone(), stamped, lane.capacity() / 2 - 16)
}

/// Explores all executions with at most `preemptions` involuntary switches.
#[cfg(not(shuttle))]
fn bounded(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 10_000;
    builder.check(model);
}
