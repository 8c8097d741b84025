//! Lanes and their merge against queues.

use std::collections::VecDeque;

use super::Input;
use super::segment::value;
use super::stage::{self, Choice, Owner, Stage, payload};
use crate::lane::{self, Consumer, Found, Look, Producer, Room};
use crate::merge::{self, Merge, Next, Rule};
use crate::segment::lane_view::{LaneMap, LaneView};
use crate::segment::view::View;
use crate::sync::Ordering;

/// Operations of one input.
const MOST: u32 = 250;

/// Where the positions of a lane begin: a channel may be old.
const BEGINNINGS: [u64; 6] = [0, 4096 - 64, (1 << 32) - 128, 1 << 40, (1 << 61) - 8, 1 << 61];

/// The bytes say what senders and a receiver do, one step after another, and where they die. Both sides must say what
/// queues say. One step may be a stranger's who writes into the segment: from then on only the lanes that he has not
/// touched are believed, and they go on.
pub fn operations(data: &[u8]) {
    let mut input = Input { rest: data };
    let choice = Choice::new(input.byte(), input.byte()).fresh();
    stage::play(&choice, |stage| {
        let view = View::open(stage.region.clone()).expect("an honest channel");
        let selector = input.byte() as usize;
        let begin = BEGINNINGS[selector % BEGINNINGS.len()];
        // The quick way of the receiver knows the largest message from nowhere else.
        let max = [view.max_message(), 24, 100][selector / BEGINNINGS.len() % 3];
        let mut play = Play::new(&view, stage, choice.rule, begin, max);
        for _ in 0..MOST {
            if input.is_empty() {
                break;
            }
            play.step(&mut input);
        }
        play.finish();
        stage.check_end();
    });
}

/// A message as the queue has it.
#[derive(Clone, Copy, Debug)]
struct Sent {
    number: u64,
    length: u64,
    stamp: u64,
    /// From the first byte of the padding, if there is one, or else of the record.
    start: u64,
    end: u64,
}

/// What one lane should hold.
#[derive(Debug, Default)]
struct Queue {
    /// Everything that is not released.
    messages: VecDeque<Sent>,
    /// How many of them were taken.
    taken: usize,
    /// Where the last records began, and how many payload bytes they had.
    recent: VecDeque<(u64, u64)>,
    tail: u64,
    read: u64,
    given: u64,
    /// Somebody is on its seat.
    seated: bool,
    /// A stranger has written here: nothing is known any more.
    lost: bool,
}

impl Queue {
    fn next(&self) -> Option<&Sent> {
        self.messages.get(self.taken)
    }

    /// Where a record of `length` goes, and where its terminator ends.
    fn place(&self, length: u64, stamped: bool, capacity: u64) -> (u64, u64) {
        let size = lane::size(length, stamped);
        let to_end = capacity - self.tail % capacity;
        let at = if size > to_end { self.tail + to_end } else { self.tail };
        (at, at + size + 8)
    }

    fn push(&mut self, sent: Sent, capacity: u64) {
        self.tail = sent.end;
        self.messages.push_back(sent);
        self.recent.push_back((sent.start, sent.length));
        while self.recent.front().is_some_and(|&(start, _)| sent.end + 8 > start + capacity) {
            self.recent.pop_front();
        }
    }
}

struct Play<'a> {
    view: &'a View,
    stage: &'a Stage,
    rule: Rule,
    stamped: bool,
    max: u64,
    capacity: u64,
    producers: Vec<Option<Producer<LaneMap>>>,
    merge: Merge<LaneMap>,
    queues: Vec<Queue>,
    /// Messages so far.
    count: u64,
    /// A stranger has written to the words that all lanes share: lanes may be given up or not be seen.
    shared_lost: bool,
}

impl<'a> Play<'a> {
    fn new(view: &'a View, stage: &'a Stage, rule: Rule, begin: u64, max: u64) -> Play<'a> {
        let senders = view.geometry().senders();
        for lane in 0..senders {
            let map = stage.lane(lane);
            let control = map.control();
            control.producer.tail.store(begin, Ordering::Relaxed);
            control.head.word.store(begin, Ordering::Relaxed);
            control.consumer.read.store(begin, Ordering::Relaxed);
            control.consumer.given.store(begin, Ordering::Relaxed);
        }
        view.header().stamps.word.store(begin / 8, Ordering::Relaxed);
        let queue = |_| Queue { tail: begin, read: begin, given: begin, ..Queue::default() };
        let mut play = Play {
            view,
            stage,
            rule,
            stamped: view.is_stamped(),
            max,
            capacity: view.geometry().capacity(),
            producers: (0..senders).map(|_| None).collect(),
            merge: receiver(view, rule, max),
            queues: (0..senders).map(queue).collect(),
            count: 0,
            shared_lost: false,
        };
        (0..senders).for_each(|lane| play.attach_sender(lane));
        play
    }

    /// Whether a stranger has been here.
    fn is_played_with(&self) -> bool {
        self.shared_lost || self.queues.iter().any(|queue| queue.lost)
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let lane = input.below(self.queues.len() as u32);
        match input.byte() % 20 {
            0..=2 => {
                let look = if input.byte() & 1 == 0 { Look::Exact } else { Look::Batched };
                let room = input.length(self.max);
                let used = input.length(room);
                self.send(lane, room, used, look);
            }
            3 | 4 => {
                for _ in 0..=input.byte() % 16 {
                    let length = input.length(self.max);
                    self.send_at_once(lane, length);
                }
            }
            5 => {
                // Reserved, filled and given up.
                let length = input.length(self.max);
                self.reserve(lane, length, Look::Exact).inspect(|room| self.fill(lane, room, length));
                // Whoever reserves has stored its tail, and may have written over what was there.
                self.queues[lane as usize].recent.clear();
            }
            6 => self.die(lane, input),
            7 => self.attach_sender(lane),
            8 => {
                self.producers[lane as usize] = None;
                self.queues[lane as usize].seated = false;
            }
            9..=11 => {
                let give = input.byte() & 1 == 0;
                for _ in 0..=input.byte() % 8 {
                    if !self.take(give) {
                        break;
                    }
                }
            }
            12 => {
                for _ in 0..=input.byte() % 8 {
                    if !self.take_at_once() {
                        break;
                    }
                }
            }
            13 | 14 => {
                let room = input.length(self.max);
                for _ in 0..=input.byte() % 16 {
                    if !self.receive_at_once(room) {
                        break;
                    }
                }
            }
            15 => self.release_all(),
            16 => {
                self.merge.rewind();
                self.queues.iter_mut().for_each(|queue| queue.taken = 0);
            }
            17 => self.retire(),
            18 => self.attach_receiver(),
            _ => {
                // Rare, because much cannot be said afterwards.
                if input.byte() >= 0xe0 {
                    self.write(input);
                } else {
                    self.compare_depth(lane);
                }
            }
        }
    }

    fn write(&mut self, input: &mut Input<'_>) {
        let (place, owner) = self.stage.place(input.byte(), input.number());
        let word = self.stage.region.word(place);
        word.store(value(self.stage, word.load(Ordering::Relaxed), input), Ordering::Relaxed);
        match owner {
            Owner::Lane(lane) => self.queues[lane as usize].lost = true,
            // Stamps and bitmap. The rest of the header was read once, when the channel was opened.
            Owner::Header => self.shared_lost |= (512..768).contains(&place),
        }
    }

    fn attach_sender(&mut self, lane: u32) {
        let producer = Producer::take_over(self.view.lane(lane), self.stamped);
        let queue = &mut self.queues[lane as usize];
        assert!(producer.is_some() || queue.lost || self.shared_lost, "an honest lane was not taken over");
        if let Some(mut before) = self.producers[lane as usize].take()
            && producer.is_some()
            && !queue.lost
        {
            assert!(before.is_lost() && matches!(before.reserve(0, Look::Exact), Room::Lost));
            assert!(!before.send_at_once(&[], &self.view.header().stamps.word));
        }
        queue.seated = producer.is_some();
        if queue.seated && self.rule != Rule::Single {
            merge::show(&self.view.header().bitmap, lane);
        }
        if !queue.lost && queue.seated {
            let tail = self.stage.lane(lane).control().producer.tail.load(Ordering::Relaxed);
            assert_eq!(tail, queue.tail);
        }
        self.producers[lane as usize] = producer;
    }

    fn attach_receiver(&mut self) {
        self.merge = receiver(self.view, self.rule, self.max);
        self.queues.iter_mut().for_each(|queue| queue.taken = 0);
    }

    /// Asks for room, and compares the answer with what the queue says.
    fn reserve(&mut self, lane: u32, length: u64, look: Look) -> Option<lane::Reservation> {
        let queue = &self.queues[lane as usize];
        let (_, end) = queue.place(length, self.stamped, self.capacity);
        let known = !queue.lost;
        let fits = end - queue.read <= self.capacity;
        match self.producers[lane as usize].as_mut()?.reserve(length, look) {
            Room::Ready(room) => {
                assert!(!known || fits, "room for {length} where there is none");
                Some(room)
            }
            Room::Full { until } => {
                assert!(!known || until == end - self.capacity);
                assert!(!known || !fits || look == Look::Batched, "no room for {length} where there is some");
                None
            }
            Room::Corrupt => {
                assert!(!known || self.shared_lost, "an honest receiver is not believed");
                None
            }
            Room::Lost => {
                assert!(!known, "an honest sender lost its seat");
                None
            }
        }
    }

    /// Fills a reservation, in two parts.
    fn fill(&self, lane: u32, room: &lane::Reservation, length: u64) {
        let Some(producer) = &self.producers[lane as usize] else { return };
        let bytes = payload(self.count, length);
        let (first, second) = bytes.split_at((bytes.len() / 2) & !7);
        producer.fill(room, first.len() as u64, second);
        producer.fill(room, 0, first);
    }

    fn send(&mut self, lane: u32, room: u64, used: u64, look: Look) {
        let Some(reservation) = self.reserve(lane, room, look) else { return };
        self.fill(lane, &reservation, used);
        let stamps = &self.view.header().stamps.word;
        let stamp = stamps.load(Ordering::Relaxed);
        let producer = self.producers[lane as usize].as_mut().expect("it has reserved");
        producer.commit(reservation, used, stamps);
        let (at, _) = self.queues[lane as usize].place(room, self.stamped, self.capacity);
        self.note_sent(lane, used, stamp, at + lane::size(used, self.stamped));
    }

    fn send_at_once(&mut self, lane: u32, length: u64) {
        let Some(producer) = &mut self.producers[lane as usize] else { return };
        let stamps = &self.view.header().stamps.word;
        let stamp = stamps.load(Ordering::Relaxed);
        if producer.send_at_once(payload(self.count, length), stamps) {
            let queue = &self.queues[lane as usize];
            let (at, end) = queue.place(length, self.stamped, self.capacity);
            let fits = at == queue.tail && end - queue.read <= self.capacity;
            assert!(fits || queue.lost, "sent {length} where there is no room");
            self.note_sent(lane, length, stamp, end - 8);
        }
    }

    fn note_sent(&mut self, lane: u32, length: u64, stamp: u64, end: u64) {
        let queue = &mut self.queues[lane as usize];
        let stamp = if self.stamped { stamp } else { 0 };
        let sent = Sent { number: self.count, length, stamp, start: queue.tail, end };
        self.count += 1;
        if !queue.lost {
            queue.push(sent, self.capacity);
        }
    }

    /// A sender dies within a send, and another one takes the lane.
    fn die(&mut self, lane: u32, input: &mut Input<'_>) {
        let step = input.below(6);
        let length = input.length(self.max);
        if step == 5 {
            // After so many stores of a header, and before the words that follow them.
            let line = &self.stage.lane(lane);
            let line = &line.control().producer;
            for &(start, length) in self.queues[lane as usize].recent.iter().rev().take(length as usize % 6) {
                line.tail.store(start, Ordering::Relaxed);
                line.sent.store(line.sent.load(Ordering::Relaxed).wrapping_sub(1), Ordering::Relaxed);
                let bytes = line.sent_bytes.load(Ordering::Relaxed).wrapping_sub(length);
                line.sent_bytes.store(bytes, Ordering::Relaxed);
            }
        } else if self.reserve(lane, length, Look::Exact).is_some() && !self.queues[lane as usize].lost {
            // By hand, in the order of the stores.
            let map = self.stage.lane(lane);
            let (at, end) = self.queues[lane as usize].place(length, self.stamped, self.capacity);
            map.put(at, lane::payload_offset(self.stamped), payload(self.count, length));
            if step > 0 {
                map.terminate(end - 8);
            }
            if step > 1 && self.stamped {
                let stamp = self.view.header().stamps.word.fetch_add(1, Ordering::AcqRel);
                if step > 2 {
                    map.put_word(at + 8, stamp);
                }
            }
            // The padding would publish it.
            if step > 3 && at != self.queues[lane as usize].tail {
                map.header(at).store(lane::data(length), Ordering::Relaxed);
            }
        }
        self.attach_sender(lane);
        self.queues[lane as usize].recent.clear();
    }

    /// Who is next by the rule: a lane, if it can be told.
    fn expected(&self) -> Option<u32> {
        let waiting = self.queues.iter().zip(0..).filter_map(|(queue, lane)| Some((queue.next()?, lane)));
        waiting.min_by_key(|(sent, _)| sent.stamp).map(|(_, lane)| lane)
    }

    /// Takes the next message. False: there is none.
    fn take(&mut self, give: bool) -> bool {
        let header = self.view.header();
        let shared = merge::Shared { stamps: &header.stamps.word, bitmap: &header.bitmap };
        match self.merge.next(shared) {
            Next::Empty => {
                let left = self.queues.iter().position(|queue| !queue.lost && queue.next().is_some());
                assert!(left.is_none() || self.shared_lost, "nothing is left where there is something");
                false
            }
            Next::Corrupt(lane, _) => {
                let lost = self.queues[lane as usize].lost || self.shared_lost;
                assert!(lost, "honest lane {lane} is taken for damaged");
                self.queues[lane as usize].lost = true;
                self.rule != Rule::Single
            }
            Next::Record(lane, found) => {
                self.merge.pass(lane, &found);
                self.compare(lane, &found);
                if give {
                    self.merge.give(lane);
                    let queue = &mut self.queues[lane as usize];
                    if let Some(sent) = queue.messages.get(queue.taken.wrapping_sub(1)) {
                        queue.given = queue.given.max(sent.end);
                    }
                }
                true
            }
        }
    }

    fn take_at_once(&mut self) -> bool {
        let Some((lane, found)) = self.merge.take_at_once(&self.view.header().bitmap) else { return false };
        self.compare(lane, &found);
        true
    }

    /// Compares what was taken with what was sent.
    fn compare(&mut self, lane: u32, found: &Found) {
        assert!(found.length <= self.max);
        assert!(found.payload % self.capacity + found.length <= self.capacity);
        if self.rule == Rule::Total && !self.is_played_with() {
            assert_eq!(self.expected(), Some(lane), "out of order");
        }
        let map = self.merge.lane(lane).lane();
        let mut bytes = [0; 8192];
        let bytes = &mut bytes[..found.length as usize];
        map.get(found.payload, 0, bytes);
        let queue = &mut self.queues[lane as usize];
        if queue.lost {
            return;
        }
        let sent = queue.next().expect("nothing more was sent");
        assert_eq!(found.length, sent.length);
        assert!(*bytes == *payload(sent.number, sent.length), "message {} is another one", sent.number);
        assert_eq!(found.stamp, sent.stamp);
        assert_eq!(found.redelivered, sent.start < queue.given);
        queue.taken += 1;
    }

    /// The quick way. Only while nothing is unreleased.
    fn receive_at_once(&mut self, room: u64) -> bool {
        if self.merge.lanes().iter().any(Consumer::is_ahead) {
            return false;
        }
        let mut bytes = [0; 8192];
        let bytes = &mut bytes[..room as usize];
        let received = self.merge.receive_at_once(&self.view.header().bitmap, bytes);
        let Some((lane, length)) = received else { return false };
        assert!(length as u64 <= room);
        if self.rule == Rule::Total && !self.is_played_with() {
            assert_eq!(self.expected(), Some(lane), "out of order");
        }
        let queue = &mut self.queues[lane as usize];
        if !queue.lost {
            let sent = queue.messages.pop_front().expect("nothing more was sent");
            assert!(bytes[..length] == *payload(sent.number, sent.length), "{} is another one", sent.number);
            queue.read = sent.end;
            assert_eq!(self.merge.lane(lane).released(), sent.end);
        }
        true
    }

    fn release_all(&mut self) {
        for (queue, lane) in self.queues.iter_mut().zip(0..) {
            if !self.merge.lane(lane).is_ahead() {
                continue;
            }
            let released = self.merge.release(lane);
            if queue.lost {
                continue;
            }
            let last = queue.messages.drain(..queue.taken).next_back().expect("something was taken");
            (queue.read, queue.taken) = (last.end, 0);
            assert_eq!(released, queue.read);
        }
    }

    fn retire(&mut self) {
        let queues = &self.queues;
        self.merge.retire(&self.view.header().bitmap, |lane| !queues[lane as usize].seated);
    }

    fn compare_depth(&self, lane: u32) {
        let (queue, producer) = (&self.queues[lane as usize], &self.producers[lane as usize]);
        if queue.lost {
            return;
        }
        let depth = (queue.messages.len() as u64, queue.tail - queue.read);
        assert_eq!(self.merge.lane(lane).depth(), depth);
        assert!(producer.as_ref().is_none_or(|producer| producer.depth() == depth));
    }

    /// Everything comes out, and then there is room for the largest message.
    fn finish(mut self) {
        self.merge.rewind();
        self.queues.iter_mut().for_each(|queue| queue.taken = 0);
        // A lane that was written to may be without an end.
        for _ in 0..self.count + 64 {
            if !self.take(true) {
                break;
            }
            self.release_all();
        }
        if self.is_played_with() {
            return;
        }
        for lane in 0..self.queues.len() as u32 {
            assert!(self.queues[lane as usize].messages.is_empty());
            self.compare_depth(lane);
            if self.queues[lane as usize].seated {
                assert!(
                    self.reserve(lane, self.max, Look::Exact).is_some(),
                    "the largest fits an empty lane"
                );
            }
        }
    }
}

/// As a receiver comes.
fn receiver(view: &View, rule: Rule, max: u64) -> Merge<LaneMap> {
    let consumers = (0..view.geometry().senders()).map(|lane| {
        let map = view.lane(lane);
        if rule != Rule::Single && map.control().producer.takeovers.load(Ordering::Acquire) != 0 {
            merge::show(&view.header().bitmap, lane);
        }
        Consumer::take_over(map, view.is_stamped(), max)
    });
    Merge::new(consumers.collect(), rule)
}
