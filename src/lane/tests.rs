//! A lane against a queue: whatever is sent, given up, batched, taken over or half done, both say the same.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::record;
use super::{Consumer, Found, Glance, Look, Onlooker, Peek, Producer, Reservation, Room};
use crate::segment::lane_view::{LaneView, ModelLane};
use crate::sync::{AtomicU64, Ordering};

const CAPACITIES: [u64; 4] = [64, 128, 4096, 64 << 10];

fn largest(capacity: u64) -> u64 {
    capacity / 2 - 16
}

/// Where the next record begins.
fn end(found: &Found) -> u64 {
    found.payload + found.length.next_multiple_of(8)
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// A length of any kind: small, any, or just below the maximum.
#[derive(Clone, Copy, Debug)]
enum Length {
    Small(u64),
    Any(u64),
    Large(u64),
}

impl Length {
    fn within(self, max: u64) -> u64 {
        match self {
            Length::Small(length) => length.min(max),
            Length::Any(length) => length % (max + 1),
            Length::Large(less) => max.saturating_sub(less),
        }
    }
}

fn length() -> impl Strategy<Value = Length> {
    prop_oneof![
        3 => (0..25u64).prop_map(Length::Small),
        2 => any::<u64>().prop_map(Length::Any),
        1 => (0..20u64).prop_map(Length::Large),
    ]
}

fn look() -> impl Strategy<Value = Look> {
    prop_oneof![Just(Look::Exact), Just(Look::Batched)]
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Reserve so much, commit at most so much of it.
    Send(Length, Length, Look),
    /// Send in one go, if that can be had.
    SendAtOnce(Length),
    /// Reserve and fill, and publish nothing.
    Abort(Length, Look),
    /// Look at the next record and leave it.
    Peek,
    /// Take so many records, and hand them out or not.
    Pass(usize, bool),
    /// Take so many records as long as that can be had at once.
    TakeAtOnce(usize),
    /// Receive so many messages as long as that can be had at once, into room for so many bytes.
    ReceiveAtOnce(usize, Length),
    Release,
    GiveBack,
    Rewind,
    /// A new producer. The last one died before it stored its words for the last so many records.
    NewProducer(u64),
    NewConsumer,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (length(), length(), look()).prop_map(|(room, used, look)| Step::Send(room, used, look)),
        8 => length().prop_map(Step::SendAtOnce),
        4 => (1..5usize).prop_map(Step::TakeAtOnce),
        6 => (1..9usize, length()).prop_map(|(count, room)| Step::ReceiveAtOnce(count, room)),
        1 => (length(), look()).prop_map(|(room, look)| Step::Abort(room, look)),
        1 => Just(Step::Peek),
        5 => (1..5usize, any::<bool>()).prop_map(|(count, given)| Step::Pass(count, given)),
        5 => Just(Step::Release),
        1 => Just(Step::GiveBack),
        1 => Just(Step::Rewind),
        1 => (0..5u64).prop_map(Step::NewProducer),
        1 => Just(Step::NewConsumer),
    ]
}

/// A message as the queue has it.
#[derive(Debug)]
struct Sent {
    bytes: Vec<u8>,
    stamp: u64,
    /// From the padding's or the header's first byte to the end.
    start: u64,
    end: u64,
}

/// Both ends of one lane, and what they should say.
struct Both {
    lane: ModelLane,
    stamped: bool,
    stamps: AtomicU64,
    tx: Producer<ModelLane>,
    rx: Consumer<ModelLane>,
    /// Everything not released.
    queue: VecDeque<Sent>,
    /// Where the last records began, with their payload lengths.
    recent: VecDeque<(u64, u64)>,
    /// Records of the queue that were passed.
    passed: usize,
    tail: u64,
    read: u64,
    given: u64,
    count: u8,
    /// Somebody who looks on now and then, and the bytes and messages that it was shown and that it missed.
    onlooker: Onlooker<ModelLane>,
    looked: u64,
    sent: u64,
}

impl Both {
    fn new(capacity: u64, stamped: bool) -> Both {
        let lane = ModelLane::new(capacity);
        Both {
            tx: Producer::take_over(lane.clone(), stamped).unwrap(),
            rx: Consumer::take_over(lane.clone(), stamped, largest(capacity)),
            onlooker: Onlooker::new(lane.clone(), stamped, largest(capacity)),
            looked: 0,
            sent: 0,
            lane,
            stamped,
            stamps: AtomicU64::new(0),
            queue: VecDeque::new(),
            recent: VecDeque::new(),
            passed: 0,
            tail: 0,
            read: 0,
            given: 0,
            count: 0,
        }
    }

    fn capacity(&self) -> u64 {
        self.lane.capacity()
    }

    /// Where a record of `length` would go, and how far its terminator reaches.
    fn place(&self, length: u64) -> (u64, u64) {
        let size = record::size(length, self.stamped);
        let to_end = self.capacity() - self.tail % self.capacity();
        let at = if size > to_end { self.tail + to_end } else { self.tail };
        (at, at + size + 8)
    }

    /// Reserves, and checks the answer against what `read` says.
    fn reserve(&mut self, length: u64, look: Look) -> Option<Reservation> {
        let (_, end) = self.place(length);
        let fits = end - self.read <= self.capacity();
        match self.tx.reserve(length, look) {
            Room::Ready(room) => {
                assert!(fits, "room for {length} where there is none");
                return Some(room);
            }
            Room::Full { until } => {
                assert_eq!(until, end - self.capacity());
                assert!(!fits || look == Look::Batched, "no room for {length} where there is some");
            }
            Room::Corrupt | Room::Lost => panic!("an honest consumer is not believed"),
        }
        if fits {
            // What was given back must be found by any look.
            self.rx.give_back_all();
            let Room::Ready(room) = self.tx.reserve(length, look) else { panic!("head was given back") };
            return Some(room);
        }
        None
    }

    fn bytes(&mut self, length: u64) -> Vec<u8> {
        self.count = self.count.wrapping_add(1);
        (0..length).map(|index| self.count ^ index as u8 ^ 0xA5).collect()
    }

    fn send(&mut self, room: u64, used: u64, look: Look) {
        let Some(reservation) = self.reserve(room, look) else { return };
        let bytes = self.bytes(used);
        self.tx.fill(&reservation, 0, &bytes);
        let (at, _) = self.place(room);
        let stamp = self.stamps.load(Ordering::Relaxed);
        self.tx.commit(reservation, used, &self.stamps);
        let stamp = if self.stamped { stamp } else { 0 };
        self.note_sent(bytes, stamp, at + record::size(used, self.stamped));
    }

    fn send_at_once(&mut self, length: u64) {
        let bytes = self.bytes(length);
        let stamp = self.stamps.load(Ordering::Relaxed);
        let ((at, end), start) = (self.place(length), self.tail);
        if self.tx.send_at_once(&bytes, &self.stamps) {
            assert!(
                at == start && end - self.read <= self.capacity(),
                "sent {length} where there is no room"
            );
            self.note_sent(bytes, if self.stamped { stamp } else { 0 }, end - 8);
        }
    }

    fn note_sent(&mut self, bytes: Vec<u8>, stamp: u64, end: u64) {
        let (start, length) = (self.tail, bytes.len() as u64);
        self.tail = end;
        self.sent += 1;
        self.queue.push_back(Sent { bytes, stamp, start, end });
        self.recent.push_back((start, length));
        while self.recent.front().is_some_and(|&(start, _)| end + 8 > start + self.capacity()) {
            self.recent.pop_front();
        }
    }

    /// The bound of stamps lies at the very message now and then, so that it is not to be had.
    fn bound(&self, stamp: u64) -> u64 {
        if self.count.is_multiple_of(3) { stamp } else { stamp + 1 }
    }

    fn take_at_once(&mut self) -> bool {
        let stamp = self.queue.get(self.passed).map_or(0, |sent| sent.stamp);
        let bound = self.bound(stamp);
        let found = match self.stamped {
            true => self.rx.take_at_once::<true>(|| bound),
            false => self.rx.take_at_once::<false>(|| panic!("there is no stamp")),
        };
        let Some(found) = found else { return false };
        assert!(!self.stamped || bound > stamp);
        self.compare(&found);
        self.passed += 1;
        true
    }

    fn receive_at_once(&mut self, room: u64) -> bool {
        if self.passed > 0 {
            return false; // only while nothing is unreleased
        }
        let stamp = self.queue.front().map_or(0, |sent| sent.stamp);
        let bound = self.bound(stamp);
        let mut buffer = vec![0; room as usize];
        let received = match self.stamped {
            true => self.rx.receive_at_once::<true>(&mut buffer, || bound),
            false => self.rx.receive_at_once::<false>(&mut buffer, || panic!("there is no stamp")),
        };
        let Some(length) = received else { return false };
        let sent = self.queue.pop_front().expect("received what was not sent");
        assert!(!self.stamped || bound > stamp);
        assert_eq!(buffer[..length], sent.bytes);
        self.read = sent.end;
        assert_eq!(self.rx.released(), self.read);
        true
    }

    fn peek(&mut self) -> Option<Found> {
        let found = match self.rx.peek() {
            Peek::Corrupt(position) => panic!("an honest lane is taken for corrupt at {position}"),
            Peek::Empty => {
                assert_eq!(self.passed, self.queue.len());
                return None;
            }
            Peek::Record(found) => found,
        };
        self.compare(&found);
        Some(found)
    }

    /// Compares what was found with what was sent.
    fn compare(&self, found: &Found) {
        let sent = &self.queue[self.passed];
        let mut bytes = vec![0; found.length as usize];
        self.lane.get(found.payload, 0, &mut bytes);
        assert_eq!(bytes, sent.bytes);
        assert_eq!(found.stamp, sent.stamp);
        assert_eq!(end(found), sent.end);
        assert_eq!(found.payload % 8, 0);
        assert_eq!(found.redelivered, sent.start < self.given);
    }

    fn release(&mut self) {
        if let Some(last) = self.queue.drain(..self.passed).next_back() {
            self.read = last.end;
        }
        self.passed = 0;
        assert_eq!(self.rx.release(), self.read);
    }

    fn rewind(&mut self) {
        self.rx.rewind();
        self.passed = 0;
    }

    fn step(&mut self, step: Step) {
        let max = largest(self.capacity());
        match step {
            Step::Send(room, used, look) => {
                let room = room.within(max);
                self.send(room, used.within(room), look);
            }
            Step::SendAtOnce(length) => self.send_at_once(length.within(max)),
            Step::TakeAtOnce(count) => {
                let _ = (0..count).all(|_| self.take_at_once());
            }
            Step::ReceiveAtOnce(count, room) => {
                let _ = (0..count).all(|_| self.receive_at_once(room.within(max)));
            }
            Step::Abort(length, look) => {
                if let Some(reservation) = self.reserve(length.within(max), look) {
                    let bytes = self.bytes(length.within(max));
                    self.tx.fill(&reservation, 0, &bytes);
                    // Whoever reserves again has stored its tail, and this payload lies over what was there.
                    self.recent.clear();
                }
            }
            Step::Peek => {
                self.peek();
            }
            Step::Pass(count, given) => {
                for _ in 0..count {
                    let Some(found) = self.peek() else { break };
                    self.rx.pass(&found);
                    self.passed += 1;
                    if given {
                        self.rx.give();
                        self.given = self.given.max(end(&found));
                    }
                }
            }
            Step::Release => self.release(),
            Step::GiveBack => self.rx.give_back_all(),
            Step::Rewind => self.rewind(),
            Step::NewProducer(unrecorded) => {
                let line = &self.lane.control().producer;
                for &(start, length) in self.recent.iter().rev().take(unrecorded as usize) {
                    line.tail.store(start, Ordering::Relaxed);
                    line.sent.fetch_sub(1, Ordering::Relaxed);
                    line.sent_bytes.fetch_sub(length, Ordering::Relaxed);
                }
                self.tx = Producer::take_over(self.lane.clone(), self.stamped).expect("an honest lane");
                assert_eq!(line.tail.load(Ordering::Relaxed), self.tail);
            }
            Step::NewConsumer => {
                let max = largest(self.capacity());
                self.rx = Consumer::take_over(self.lane.clone(), self.stamped, max);
                self.passed = 0;
            }
        }
        self.check();
    }

    fn check(&mut self) {
        assert_eq!(self.rx.is_ahead(), self.passed > 0);
        let bytes = self.tail - self.read;
        let depth = (self.queue.len() as u64, bytes);
        assert_eq!(self.tx.depth(), depth);
        assert_eq!(self.rx.depth(), depth);
        assert!(!self.rx.is_cut_off() && !self.tx.is_cut_off());
        self.look_on();
    }

    /// Whoever begins to look sees exactly what is not released, where it lies; whoever has looked before sees what it
    /// has not seen, and what it missed.
    fn look_on(&mut self) {
        let largest = largest(self.capacity());
        let mut onlooker = Onlooker::new(self.lane.clone(), self.stamped, largest);
        let first = self.sent - self.queue.len() as u64;
        for (index, sent) in self.queue.iter().enumerate() {
            assert_eq!(onlooker.number(), first + index as u64);
            let Glance::Record(seen) = onlooker.glance() else { panic!("nothing where a message waits") };
            let mut bytes = vec![0; seen.length as usize];
            assert!(onlooker.copy(&seen, &mut bytes));
            assert_eq!((seen.start, &bytes, seen.stamp), (sent.start, &sent.bytes, sent.stamp));
            onlooker.pass(&seen);
        }
        assert_eq!(onlooker.glance(), Glance::Empty);
        if self.count.is_multiple_of(5) {
            self.look_again();
        }
    }

    fn look_again(&mut self) {
        loop {
            match self.onlooker.glance() {
                Glance::Empty => break,
                Glance::Released(bytes) => self.looked += bytes,
                Glance::Corrupt(position) => panic!("an honest lane is taken for corrupt at {position}"),
                Glance::Record(seen) => {
                    let sent = self.queue.iter().find(|sent| sent.start == seen.start).expect("it waits");
                    let mut bytes = vec![0; seen.length as usize];
                    assert!(self.onlooker.copy(&seen, &mut bytes));
                    assert_eq!((&bytes, seen.stamp), (&sent.bytes, sent.stamp));
                    self.onlooker.pass(&seen);
                    self.looked += sent.end - sent.start;
                }
            }
        }
        assert_eq!((self.looked, self.onlooker.number()), (self.tail, self.sent));
    }

    /// Receives what is left.
    fn drain(&mut self) {
        self.rewind();
        while let Some(found) = self.peek() {
            self.rx.pass(&found);
            self.passed += 1;
        }
        self.release();
        self.look_again();
        assert!(self.queue.is_empty());
        assert!(self.rx.is_drained());
        let max = largest(self.capacity());
        assert!(self.reserve(max, Look::Batched).is_some(), "the largest fits an empty lane");
    }
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn a_lane_is_a_queue(
        capacity in proptest::sample::select(&CAPACITIES[..]),
        stamped: bool,
        steps in prop::collection::vec(step(), 1..250),
    ) {
        let mut both = Both::new(capacity, stamped);
        for step in steps {
            both.step(step);
        }
        both.drain();
    }
}

#[test]
fn the_largest_message_fits_an_empty_lane_wherever_it_stands() {
    for capacity in [64, 128, 256, 4096] {
        for stamped in [false, true] {
            for look in [Look::Exact, Look::Batched] {
                // Steps of one record, so that every offset comes up.
                let mut both = Both::new(capacity, stamped);
                for _ in 0..capacity / 4 {
                    assert!(both.reserve(largest(capacity), look).is_some());
                    both.send(0, 0, look);
                    both.step(Step::Pass(1, true));
                    both.release();
                    assert!(both.peek().is_none(), "and that gives the room back");
                }
                assert!(both.tail >= 2 * capacity);
            }
        }
    }
}

#[test]
fn a_full_lane_keeps_the_terminators_word() {
    // 64 bytes: seven empty records and a terminator.
    let mut both = Both::new(64, false);
    for _ in 0..7 {
        both.send(0, 0, Look::Exact);
    }
    assert_eq!(both.queue.len(), 7);
    assert!(matches!(both.tx.reserve(0, Look::Exact), Room::Full { until: 8 }));
    both.drain();
}

/// A lane with one received message, so that positions and offsets differ, and what lies behind it.
fn warm(stamped: bool, messages: &[&[u8]]) -> Both {
    let mut both = Both::new(64, stamped);
    both.send(8, 8, Look::Exact);
    both.step(Step::Pass(1, true));
    both.release();
    for message in messages {
        let reservation = both.reserve(message.len() as u64, Look::Exact).unwrap();
        both.tx.fill(&reservation, 0, message);
        both.tx.commit(reservation, message.len() as u64, &both.stamps);
    }
    both
}

fn receive_all(lane: &ModelLane) -> Vec<Vec<u8>> {
    let mut rx = Consumer::take_over(lane.clone(), false, largest(lane.capacity()));
    let mut all = Vec::new();
    while let Peek::Record(found) = rx.peek() {
        let mut bytes = vec![0; found.length as usize];
        lane.get(found.payload, 0, &mut bytes);
        all.push(bytes);
        rx.pass(&found);
    }
    assert_eq!(rx.peek(), Peek::Empty);
    all
}

#[test]
fn a_producer_that_died_after_publishing_has_published() {
    let both = warm(false, &[b"one"]);
    both.lane.control().producer.tail.store(16, Ordering::Relaxed);
    both.lane.control().producer.sent.store(1, Ordering::Relaxed);
    let mut tx = Producer::take_over(both.lane.clone(), false).unwrap();
    assert_eq!(tx.depth(), (1, 16));
    let Room::Ready(room) = tx.reserve(3, Look::Exact) else { panic!("half of it is empty") };
    tx.fill(&room, 0, b"two");
    tx.commit(room, 3, &both.stamps);
    assert_eq!(receive_all(&both.lane), [b"one", b"two"]);
}

#[test]
fn a_producer_that_died_before_publishing_has_sent_nothing() {
    for words in 0..3 {
        let both = warm(false, &[]);
        // By hand: the terminator and some of the payload, and no header.
        both.lane.terminate(16 + 24);
        for word in 0..words {
            both.lane.put_word(24 + 8 * word, !0);
        }
        let mut tx = Producer::take_over(both.lane.clone(), false).unwrap();
        assert_eq!(tx.depth(), (0, 0));
        assert!(receive_all(&both.lane).is_empty());
        let Room::Ready(room) = tx.reserve(0, Look::Exact) else { panic!("it is empty") };
        tx.commit(room, 0, &both.stamps);
        assert_eq!(receive_all(&both.lane), [b""], "what the dead one wrote behind it is not a header");
    }
}

#[test]
fn a_producer_that_died_between_record_and_padding_has_sent_nothing() {
    // tail = 48; a record of 24 bytes goes to offset 0, behind 16 bytes of padding.
    let mut both = warm(false, &[b"12345678", b"12345678"]);
    both.rx = Consumer::take_over(both.lane.clone(), false, 16);
    for _ in 0..2 {
        let Peek::Record(found) = both.rx.peek() else { panic!("two are there") };
        both.rx.pass(&found);
        both.rx.release();
    }
    both.lane.terminate(64 + 24);
    both.lane.put(64, 8, b"sixteen bytes...");
    both.lane.header(64).store(record::data(16), Ordering::Relaxed);
    assert_eq!(both.rx.peek(), Peek::Empty);
    let mut tx = Producer::take_over(both.lane.clone(), false).unwrap();
    // A shorter one now fits before the end; its terminator covers the dead one's header.
    let Room::Ready(room) = tx.reserve(8, Look::Exact) else { panic!("it is empty") };
    tx.fill(&room, 0, b"shorter.");
    tx.commit(room, 8, &both.stamps);
    assert_eq!(receive_all(&both.lane), [b"shorter."]);

    // And if it had lived one instruction longer, its record is there.
    let both = warm(false, &[b"12345678", b"12345678"]);
    both.lane.control().consumer.read.store(48, Ordering::Relaxed);
    both.lane.terminate(64 + 24);
    both.lane.put(64, 8, b"sixteen bytes...");
    both.lane.header(64).store(record::data(16), Ordering::Relaxed);
    both.lane.header(48).store(record::padding(16), Ordering::Release);
    let tx = Producer::take_over(both.lane.clone(), false).unwrap();
    assert_eq!(tx.lane().control().producer.tail.load(Ordering::Relaxed), 64 + 24);
    assert_eq!(receive_all(&both.lane), [b"sixteen bytes..."]);
}

#[test]
fn a_consumer_may_be_past_the_tail_that_was_stored() {
    let both = warm(false, &[b"one", b"two"]);
    both.lane.control().consumer.read.store(48, Ordering::Relaxed);
    both.lane.control().producer.tail.store(16, Ordering::Relaxed);
    let tx = Producer::take_over(both.lane.clone(), false).unwrap();
    assert_eq!(tx.lane().control().producer.tail.load(Ordering::Relaxed), 48);
    assert_eq!(tx.depth(), (0, 0));
}

#[test]
fn a_successor_tells_what_was_handed_out_before() {
    let mut both = warm(false, &[b"one", b"two"]);
    let Peek::Record(one) = both.rx.peek() else { panic!("two are there") };
    assert!(!one.redelivered);
    both.rx.pass(&one);
    both.rx.give();
    let mut successor = Consumer::take_over(both.lane.clone(), false, 16);
    let Peek::Record(again) = successor.peek() else { panic!("nothing was released") };
    assert_eq!((again.payload, again.redelivered), (one.payload, true));
    successor.pass(&again);
    let Peek::Record(two) = successor.peek() else { panic!("two are there") };
    assert!(!two.redelivered);
}

/// A word that somebody put there: sensible, nearly so, or anything.
fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => Just(0),
        3 => (0..200u64).prop_map(record::data),
        2 => (8..200u64).prop_map(record::padding),
        2 => (0..600u64).prop_map(|word| word * 8),
        1 => 0..600u64,
        1 => any::<u64>(),
        1 => (0..64u32, 0..3u64).prop_map(|(bit, less)| (1u64 << bit).wrapping_sub(less)),
    ]
}

#[derive(Clone, Copy, Debug)]
enum Attack {
    Data(usize, u64),
    Control(usize, u64),
    Step(Step),
}

fn attack() -> impl Strategy<Value = Attack> {
    prop_oneof![
        (any::<usize>(), word()).prop_map(|(index, word)| Attack::Data(index, word)),
        (0..8usize, word()).prop_map(|(index, word)| Attack::Control(index, word)),
        step().prop_map(Attack::Step),
    ]
}

fn overwrite(lane: &ModelLane, index: usize, word: u64) {
    let control = lane.control();
    let place = match index {
        0 => &control.producer.tail,
        1 => &control.producer.sent,
        2 => &control.producer.sent_bytes,
        3 => &control.head.word,
        4 => &control.consumer.read,
        5 => &control.consumer.given,
        6 => &control.consumer.received,
        _ => &control.consumer.corrupt,
    };
    place.store(word, Ordering::Relaxed);
}

proptest! {
    #![proptest_config(config(1500))]

    /// Anything may stand anywhere at any time: nothing panics, nothing leads out of the lane, and a damaged lane
    /// stays damaged.
    #[test]
    fn strange_words_are_refused_and_harm_nobody(
        capacity in proptest::sample::select(&CAPACITIES[..3]),
        stamped: bool,
        control in prop::collection::vec(prop_oneof![2 => Just(None), 1 => word().prop_map(Some)], 8),
        data in prop::collection::vec(word(), 0..16),
        attacks in prop::collection::vec(attack(), 0..80),
    ) {
        let (lane, max) = (ModelLane::new(capacity), largest(capacity));
        for (index, word) in control.into_iter().enumerate() {
            word.inspect(|&word| overwrite(&lane, index, word));
        }
        for (index, word) in data.into_iter().enumerate() {
            lane.header(8 * index as u64).store(word, Ordering::Relaxed);
        }
        let stamps = AtomicU64::new(u64::MAX);
        let mut tx = Producer::take_over(lane.clone(), stamped);
        let mut rx = Consumer::take_over(lane.clone(), stamped, max);
        let mut corrupt = false;
        for attack in attacks {
            let step = match attack {
                Attack::Data(index, word) => {
                    lane.header((index as u64).wrapping_mul(8)).store(word, Ordering::Relaxed);
                    continue;
                }
                Attack::Control(index, word) => {
                    overwrite(&lane, index, word);
                    continue;
                }
                Attack::Step(step) => step,
            };
            match step {
                Step::Send(room, used, look) => {
                    let Some(tx) = &mut tx else { continue };
                    let room = room.within(max);
                    if let Room::Ready(reservation) = tx.reserve(room, look) {
                        let used = used.within(room);
                        tx.fill(&reservation, 0, &vec![0xEE; used as usize]);
                        tx.commit(reservation, used, &stamps);
                    }
                }
                Step::SendAtOnce(length) => {
                    if let Some(tx) = &mut tx {
                        tx.send_at_once(&vec![0xEE; length.within(max) as usize], &stamps);
                    }
                }
                Step::TakeAtOnce(count) => {
                    for _ in 0..count {
                        let found = match stamped {
                            true => rx.take_at_once::<true>(|| u64::MAX),
                            false => rx.take_at_once::<false>(|| 0),
                        };
                        let Some(found) = found else { break };
                        assert!(!corrupt && found.length <= max);
                        assert!(found.payload % capacity + found.length <= capacity);
                    }
                }
                Step::ReceiveAtOnce(count, room) => {
                    let mut buffer = vec![0; room.within(2 * max) as usize];
                    for _ in 0..if rx.is_ahead() { 0 } else { count } {
                        let received = match stamped {
                            true => rx.receive_at_once::<true>(&mut buffer, || u64::MAX),
                            false => rx.receive_at_once::<false>(&mut buffer, || 0),
                        };
                        let Some(length) = received else { break };
                        assert!(!corrupt && length as u64 <= max);
                    }
                }
                Step::Abort(length, look) => {
                    if let Some(tx) = &mut tx {
                        let _ = tx.reserve(length.within(max), look);
                        let _ = tx.depth();
                    }
                }
                Step::Peek => {
                    let _ = rx.is_drained();
                    let _ = rx.depth();
                }
                Step::Pass(count, given) => {
                    for _ in 0..count {
                        match rx.peek() {
                            Peek::Empty => assert!(!corrupt),
                            Peek::Corrupt(_) => {
                                corrupt = true;
                            }
                            Peek::Record(found) => {
                                assert!(!corrupt);
                                assert!(found.length <= max);
                                assert!(found.payload % capacity + found.length <= capacity);
                                let mut bytes = vec![0; found.length as usize];
                                lane.get(found.payload, 0, &mut bytes);
                                rx.pass(&found);
                            }
                        }
                    }
                    if given {
                        rx.give();
                    }
                }
                Step::Release => {
                    rx.release();
                }
                Step::GiveBack => rx.give_back_all(),
                Step::Rewind => {
                    // What lies in front of a damage is good, and comes again.
                    rx.rewind();
                    corrupt = false;
                }
                Step::NewProducer(_) => tx = Producer::take_over(lane.clone(), stamped),
                Step::NewConsumer => {
                    rx = Consumer::take_over(lane.clone(), stamped, max);
                    corrupt = false;
                }
            }
        }
    }
}

#[test]
fn each_damage_is_seen_and_stays() {
    let damages = [
        ("no kind of ours", 1),
        ("longer than the maximum", record::data(17)),
        ("over the end", record::data(1 << 40)),
        ("padding that does not end at the end", record::padding(16)),
        ("padding before nothing", record::padding(48)),
        ("a length of zero", record::data(0) - 1),
        ("all ones", u64::MAX),
    ];
    for (what, word) in damages {
        let mut both = warm(false, &[]);
        both.lane.header(16).store(word, Ordering::Relaxed);
        assert_eq!(both.rx.peek(), Peek::Corrupt(16), "{what}");
        assert_eq!(both.lane.control().consumer.corrupt.load(Ordering::Relaxed), 17, "{what}");
        both.lane.header(16).store(record::data(0), Ordering::Relaxed);
        assert_eq!(both.rx.receive_at_once::<false>(&mut [], || 0), None, "{what}");
        assert_eq!(both.rx.take_at_once::<false>(|| 0), None, "{what}");
        assert_eq!(both.rx.peek(), Peek::Corrupt(16), "{what}");
        let mut successor = Consumer::take_over(both.lane.clone(), false, 16);
        assert_eq!(successor.peek(), Peek::Corrupt(16), "{what}");
    }
}

#[test]
fn the_quick_way_believes_no_more_than_the_other() {
    // Messages of 24 bytes do not divide an eighth of the lane, so that what is given back lies anywhere.
    for (messages, length, what) in [(1, 17, "longer than the maximum"), (170, 16, "over the end")] {
        let mut both = Both::new(4096, false);
        both.rx = Consumer::take_over(both.lane.clone(), false, 16);
        for _ in 0..messages {
            both.send(16, 16, Look::Exact);
            both.step(Step::Pass(1, true));
            both.release();
        }
        both.lane.header(both.read).store(record::data(length), Ordering::Relaxed);
        assert_eq!(both.rx.receive_at_once::<false>(&mut [0; 32], || 0), None, "{what}");
        assert_eq!(both.rx.take_at_once::<false>(|| 0), None, "{what}");
        assert_eq!(both.rx.peek(), Peek::Corrupt(both.read), "{what}");
    }
}

#[test]
fn impossible_positions_are_refused() {
    for read in [1, 8, 64, 1 << 62, u64::MAX, u64::MAX - 7] {
        let both = warm(false, &[b"12345678", b"12345678"]);
        let mut tx = both.tx;
        let control = both.lane.control();
        control.consumer.read.store(read, Ordering::Relaxed);
        control.head.word.store(read, Ordering::Relaxed);
        // 8 is inside what this producer knows: only a consumer's own records could tell.
        assert!(matches!(tx.reserve(16, Look::Exact), Room::Corrupt) || read == 8, "{read}");
        let successor = Producer::take_over(both.lane.clone(), false);
        assert!(successor.is_none() || read == 8, "{read}");
    }
    for tail in [4, 1 << 62 | 8, u64::MAX] {
        let both = warm(false, &[]);
        both.lane.control().producer.tail.store(tail, Ordering::Relaxed);
        assert!(Producer::take_over(both.lane.clone(), false).is_none(), "{tail}");
    }
}

/// What a sender met is final for it, also when the words are put right again; the next one looks anew. What a receiver
/// met is final for all.
#[test]
fn what_was_met_stays() {
    let mut both = warm(false, &[]);
    let control = both.lane.control();
    let (read, tail) = (control.consumer.read.load(Ordering::Relaxed), both.tx.position());
    let lie = |word: u64| {
        control.consumer.read.store(word, Ordering::Relaxed);
        control.head.word.store(word, Ordering::Relaxed);
    };
    lie(tail + 8);
    assert!(
        matches!(both.tx.reserve(both.lane.capacity() / 2 - 16, Look::Exact), Room::Ready(_)),
        "not asked"
    );
    while both.tx.send_at_once(b"12345678", &both.stamps) {}
    let position = both.tx.position();
    lie(position + 8);
    while let Room::Ready(room) = both.tx.reserve(8, Look::Exact) {
        both.tx.commit(room, 8, &both.stamps);
        lie(both.tx.position() + 8);
    }
    assert!(matches!(both.tx.reserve(8, Look::Exact), Room::Corrupt));
    assert_eq!(control.producer.corrupt.load(Ordering::Relaxed), both.tx.position() + 1);
    lie(read);
    assert!(matches!(both.tx.reserve(8, Look::Exact), Room::Corrupt));
    assert!(!both.tx.send_at_once(&[], &both.stamps));
    assert!(Producer::take_over(both.lane.clone(), false).is_some());
    assert_eq!(control.producer.corrupt.load(Ordering::Relaxed), 0);

    // Met by one who comes: marked as well.
    let both = warm(false, &[]);
    let control = both.lane.control();
    let tail = control.producer.tail.swap(12, Ordering::Relaxed);
    assert!(Producer::take_over(both.lane.clone(), false).is_none());
    assert_eq!(control.producer.corrupt.load(Ordering::Relaxed), 13);
    control.producer.tail.store(tail, Ordering::Relaxed);
    assert!(Producer::take_over(both.lane.clone(), false).is_some());

    // And by a receiver that comes.
    let both = warm(false, &[]);
    let control = both.lane.control();
    let read = control.consumer.read.swap(u64::MAX, Ordering::Relaxed);
    assert_eq!(Consumer::take_over(both.lane.clone(), false, 16).peek(), Peek::Corrupt(0));
    control.consumer.read.store(read, Ordering::Relaxed);
    assert_eq!(Consumer::take_over(both.lane.clone(), false, 16).peek(), Peek::Corrupt(0));
    assert!(Producer::take_over(both.lane.clone(), false).is_none());
}

/// Two that wrote in one lane: the end of the one's message lies on what the other had published.
#[test]
fn a_lane_is_cut_off_where_a_published_record_is_missing() {
    let both = warm(false, &[b"", b"1", b"2"]);
    let consumer = || Consumer::take_over(both.lane.clone(), false, 16);
    let mut rx = consumer();
    let position = rx.position();
    let header = both.lane.header(position).swap(0, Ordering::Relaxed);
    assert!(rx.is_cut_off());
    assert_eq!(rx.peek(), Peek::Empty);
    // Whoever comes notices at once, and the place stays damaged.
    assert_eq!(consumer().peek(), Peek::Corrupt(position));
    both.lane.header(position).store(header, Ordering::Relaxed);
    assert!(!rx.is_cut_off());
    assert_eq!(consumer().peek(), Peek::Corrupt(position));
    // A tail that cannot be says nothing about the records.
    let both = warm(false, &[]);
    let rx = Consumer::take_over(both.lane.clone(), false, 16);
    let tail = rx.position();
    for (word, is_cut_off) in [
        (tail + 1, false),
        (tail + 8, true),
        (tail + both.lane.capacity(), true),
        (tail + both.lane.capacity() + 1, false),
        (u64::MAX, false),
        (tail - 1, false),
        (0, false),
    ] {
        both.lane.control().producer.tail.store(word, Ordering::Relaxed);
        assert_eq!(rx.is_cut_off(), is_cut_off, "{word}");
    }
}

/// The same where the other producer has also put the shared tail back: the one who owns the lane finds out.
#[test]
fn a_producer_finds_its_own_lane_cut_off() {
    let both = warm(false, &[b"", b"1", b"2"]);
    let control = both.lane.control();
    let (read, tail) = (control.consumer.read.load(Ordering::Relaxed), both.tx.position());
    assert!(!both.tx.is_cut_off());
    let header = both.lane.header(read).swap(0, Ordering::Relaxed);
    control.producer.tail.store(read, Ordering::Relaxed);
    assert!(both.tx.is_cut_off() && !both.rx.is_cut_off());
    control.producer.tail.store(tail, Ordering::Relaxed);
    // Nobody comes to such a lane, and who was taken over has nothing to say about it.
    assert!(Producer::take_over(both.lane.clone(), false).is_none());
    assert_eq!(control.producer.corrupt.load(Ordering::Relaxed), tail + 1);
    both.lane.header(read).store(header, Ordering::Relaxed);
    assert!(Producer::take_over(both.lane.clone(), false).is_some());
    both.lane.header(read).store(0, Ordering::Relaxed);
    assert!(!both.tx.is_cut_off());
    assert!(both.rx.is_cut_off());
    let next = Consumer::take_over(both.lane.clone(), false, 16);
    assert!(!both.rx.is_cut_off() && !next.is_cut_off(), "met when it came");
    // What the receiver says of itself may be wrong: then nothing follows.
    for word in [read + 1, tail, tail + 8, u64::MAX] {
        control.consumer.read.store(word, Ordering::Relaxed);
        assert!(!both.tx.is_cut_off());
    }
}

/// A receiver that was taken over and went on for one store more puts `read` or `head` back: the sender would wait for
/// what was released long ago.
#[test]
fn what_was_released_is_written_down_again() {
    let mut both = warm(false, &[b"", b"1"]);
    while let Peek::Record(found) = both.rx.peek() {
        both.rx.pass(&found);
    }
    both.rx.release();
    let control = both.lane.control();
    let (read, head) =
        (control.consumer.read.load(Ordering::Relaxed), control.head.word.load(Ordering::Relaxed));
    for (word, other) in [(0, 8), (u64::MAX, 3), (read + 8, head + 8)] {
        control.consumer.read.store(word, Ordering::Relaxed);
        control.head.word.store(other, Ordering::Relaxed);
        both.rx.restate();
        assert_eq!(control.consumer.read.load(Ordering::Relaxed), read);
        assert_eq!(control.head.word.load(Ordering::Relaxed), head);
    }
    let _next = Consumer::take_over(both.lane.clone(), false, 16);
    control.consumer.read.store(0, Ordering::Relaxed);
    both.rx.restate();
    assert_eq!(control.consumer.read.load(Ordering::Relaxed), 0, "another's to write");
}

/// Two that believe to own the same side, as after `unshare`: the older one notices and stops.
#[test]
fn who_was_taken_over_stops() {
    let mut both = warm(false, &[b"", b""]);
    let mut successor = Producer::take_over(both.lane.clone(), false).expect("an honest lane");
    assert!(both.tx.is_lost() && matches!(both.tx.reserve(8, Look::Batched), Room::Lost));
    assert!(matches!(successor.reserve(8, Look::Batched), Room::Ready(_)));
    assert!(!both.tx.send_at_once(&[], &both.stamps));
    assert!(!both.rx.is_lost());
    let next = Consumer::take_over(both.lane.clone(), false, 16);
    assert!(both.rx.is_lost() && !next.is_lost());
    assert_eq!(both.rx.receive_at_once::<false>(&mut [], || 0), None);
}

/// A record is released, or written over, between the look at its header and the copy of its payload.
#[test]
fn what_is_released_while_it_is_looked_at_is_not_shown() {
    for overwritten in [false, true] {
        let mut both = warm(false, &[b"a", b"b"]);
        let mut onlooker = Onlooker::new(both.lane.clone(), false, largest(64));
        let Glance::Record(seen) = onlooker.glance() else { panic!("two wait") };
        let Peek::Record(found) = both.rx.peek() else { panic!("two wait") };
        both.rx.pass(&found);
        both.rx.release();
        if overwritten {
            while both.tx.send_at_once(b"later", &both.stamps)
                || matches!(both.tx.reserve(5, Look::Exact), Room::Ready(room)
                    if { both.tx.fill(&room, 0, b"later"); both.tx.commit(room, 5, &both.stamps); true })
            {
            }
        }
        assert!(!onlooker.copy(&seen, &mut [0]));
        assert_eq!(onlooker.glance(), Glance::Released(16));
        let Glance::Record(seen) = onlooker.glance() else { panic!("one waits") };
        let mut byte = [0];
        assert!(onlooker.copy(&seen, &mut byte));
        assert_eq!((byte, onlooker.number()), (*b"b", 2));
    }
}

#[test]
fn a_reservation_is_not_shown() {
    let mut both = warm(false, &[]);
    let mut onlooker = Onlooker::new(both.lane.clone(), false, largest(64));
    let Room::Ready(room) = both.tx.reserve(8, Look::Exact) else { panic!("it is empty") };
    both.tx.fill(&room, 0, &record::data(0).to_ne_bytes());
    assert_eq!(onlooker.glance(), Glance::Empty);
    both.tx.commit(room, 8, &both.stamps);
    assert!(matches!(onlooker.glance(), Glance::Record(_)));
}

/// What a receiver has given up is not shown, nor what no receiver would take; and either is said once.
#[test]
fn an_onlooker_stops_at_a_damage() {
    let strange = |lane: &ModelLane| lane.header(32).store(0x1234, Ordering::Relaxed);
    let given_up = |lane: &ModelLane| lane.control().consumer.corrupt.store(33, Ordering::Relaxed);
    let too_long = |lane: &ModelLane| lane.header(32).store(record::data(17), Ordering::Relaxed);
    for damage in [&strange as &dyn Fn(&ModelLane), &given_up, &too_long] {
        let both = warm(false, &[b"one", b"two"]);
        damage(&both.lane);
        let mut onlooker = Onlooker::new(both.lane.clone(), false, largest(64));
        let Glance::Record(seen) = onlooker.glance() else { panic!("the first one is good") };
        onlooker.pass(&seen);
        assert_eq!(onlooker.glance(), Glance::Corrupt(32));
        assert_eq!(onlooker.glance(), Glance::Empty);
    }
    for read in [7, u64::MAX, 1 << 63, (1 << 62) + 8] {
        let both = warm(false, &[b"one"]);
        both.lane.control().consumer.read.store(read, Ordering::Relaxed);
        let mut onlooker = Onlooker::new(both.lane.clone(), false, largest(64));
        assert!(matches!(onlooker.glance(), Glance::Corrupt(_)), "{read}");
    }
    // Back by more than a lap.
    let both = warm(false, &[b"one"]);
    let mut onlooker = Onlooker::new(both.lane.clone(), false, largest(64));
    both.lane.control().consumer.read.store(4096, Ordering::Relaxed);
    assert_eq!(onlooker.glance(), Glance::Released(4080));
    both.lane.control().consumer.read.store(16, Ordering::Relaxed);
    assert_eq!(onlooker.glance(), Glance::Corrupt(4096));
}

#[test]
fn a_limited_onlooker_sees_what_waited() {
    for (ask_tail, tail, shown) in
        [(true, None, 2), (false, None, 3), (true, Some(u64::MAX), 3), (true, Some(0), 3)]
    {
        let mut both = warm(false, &[b"one", b"two"]);
        if let Some(tail) = tail {
            both.lane.control().producer.tail.store(tail, Ordering::Relaxed);
        }
        let mut onlooker = Onlooker::new(both.lane.clone(), false, largest(64));
        onlooker.limit_to_now(ask_tail);
        if tail.is_none() {
            both.lane.control().producer.tail.store(0, Ordering::Relaxed);
        }
        assert!(matches!(both.tx.reserve(0, Look::Exact), Room::Ready(room)
            if { both.tx.commit(room, 0, &both.stamps); true }));
        let mut seen = 0;
        while let Glance::Record(record) = onlooker.glance() {
            onlooker.pass(&record);
            seen += 1;
        }
        // One that begins where the sender was might have been left by a dead one.
        assert!((shown..=3).contains(&seen), "{seen} of {shown}");
        onlooker.lift_limit();
        assert_eq!(matches!(onlooker.glance(), Glance::Record(_)), seen < 3);
    }
}
