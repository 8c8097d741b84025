//! The channels that are attacked, and the states that real use and real deaths leave them in.

use sysring::segment::{Key, Mapping, Segment};
use sysring::{Builder, Channel, Kind, Order, Receiver, RecvError, Sender, TryRecvError};

use crate::kernel;
use crate::layout::{self, Map};
use crate::message::compose;

/// What a channel is asked to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) order: Order,
    pub(crate) map: Map,
    pub(crate) persistent: bool,
    /// A pair: nobody can open it, only its own handles and observers meet what is written.
    pub(crate) anonymous: bool,
}

const fn shape(name: &'static str, kind: Kind, senders: usize, capacity: usize) -> Shape {
    let map = Map { senders, capacity };
    Shape { name, kind, order: Order::Total, map, persistent: true, anonymous: false }
}

/// One sender with 8 KiB and two with 4 KiB make segments of one size.
pub(crate) const SHAPES: [Shape; 8] = [
    shape("spsc", Kind::Spsc, 1, 4096),
    Shape { persistent: false, ..shape("spsc-8k", Kind::Spsc, 1, 8192) },
    shape("mpsc-1", Kind::Mpsc, 1, 4096),
    shape("mpsc-2", Kind::Mpsc, 2, 4096),
    shape("mpsc-3", Kind::Mpsc, 3, 4096),
    Shape { order: Order::PerSender, ..shape("per-sender-3", Kind::Mpsc, 3, 4096) },
    shape("mpsc-6", Kind::Mpsc, 6, 4096),
    Shape { anonymous: true, persistent: false, ..shape("anonymous", Kind::Mpsc, 2, 4096) },
];

impl Shape {
    pub(crate) fn builder(&self) -> Builder {
        let builder = match self.kind {
            Kind::Spsc => sysring::spsc(),
            Kind::Mpsc => sysring::mpsc().senders(self.map.senders as u32).order(self.order),
        };
        builder.capacity(self.map.capacity as u64).persistent(self.persistent)
    }

    pub(crate) fn stamped(&self) -> bool {
        self.kind == Kind::Mpsc && self.order == Order::Total
    }

    pub(crate) fn semaphores(&self) -> usize {
        6 + 2 * self.map.senders
    }
}

/// What was done to the channel before anything is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Fresh,
    HalfFull,
    /// Records at the end and, behind a padding, at the beginning.
    Wrapped,
    Full,
    /// All senders in turn, small messages.
    Interleaved,
    /// Handed out, not released.
    Handed,
    /// Its sender died between publishing and storing `tail`.
    Unrecorded,
    ReceiverAsleep,
    SenderAsleep,
    /// Without magic; with a set, with nothing but a set, with nothing at all.
    HalfMade,
    HalfMadeEarly,
    HalfMadeBare,
    GivenUp,
    MarkedRemoved,
    /// A collector decided to remove it and died.
    LastSet,
    /// A receiver has met a damage in lane 0.
    Damaged,
    /// The set was replaced and the seats' holders are in doubt.
    InDoubt,
    /// The set is gone.
    SetGone,
}

pub(crate) const STATES: [State; 18] = [
    State::Fresh,
    State::HalfFull,
    State::Wrapped,
    State::Full,
    State::Interleaved,
    State::Handed,
    State::Unrecorded,
    State::ReceiverAsleep,
    State::SenderAsleep,
    State::HalfMade,
    State::HalfMadeEarly,
    State::HalfMadeBare,
    State::GivenUp,
    State::MarkedRemoved,
    State::LastSet,
    State::Damaged,
    State::InDoubt,
    State::SetGone,
];

impl State {
    /// Whether whoever opens it removes it.
    pub(crate) fn is_condemned(self) -> bool {
        matches!(self, State::GivenUp | State::MarkedRemoved | State::LastSet)
    }

    /// Whether whoever opens it finds the channel as it was used.
    pub(crate) fn is_usable(self) -> bool {
        let half_made = matches!(self, State::HalfMade | State::HalfMadeEarly | State::HalfMadeBare);
        !half_made && !self.is_condemned()
    }
}

/// What the set word says in a state.
#[derive(Clone, Copy, Debug)]
enum SetWord {
    /// The channel's set, as of this generation.
    Present(u64),
    As(u64),
}

/// The bytes of a channel in some state.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    bytes: Vec<u8>,
    set: SetWord,
    /// Numbers of each lane's messages that wait: from, to.
    pub(crate) waiting: Vec<(u32, u32)>,
}

/// A channel of some shape, and a stranger's mapping of its segment.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) shape: Shape,
    pub(crate) name: String,
    pub(crate) id: i32,
    pub(crate) key: i32,
    pub(crate) set: i32,
    /// Of the anonymous shape.
    pub(crate) pair: Option<(Sender, Receiver)>,
    mapping: Option<Mapping>,
    uses: u32,
    /// Read into, so that no case allocates it.
    image: Vec<u8>,
}

/// A channel is made anew after so many cases at the latest.
const MAX_USES: u32 = 500;

impl Instance {
    pub(crate) fn new(shape: Shape) -> Instance {
        let name = format!("hostile-{}-{}", std::process::id(), shape.name);
        let mut instance = Instance {
            shape,
            name,
            id: -1,
            key: 0,
            set: -1,
            pair: None,
            mapping: None,
            uses: 0,
            image: vec![0; shape.map.size()],
        };
        instance.make();
        instance
    }

    /// Makes the channel anew.
    pub(crate) fn make(&mut self) {
        self.clear();
        let stats = if self.shape.anonymous {
            let pair = self.shape.builder().pair().expect("a pair");
            let stats = pair.0.stats().expect("stats");
            self.pair = Some(pair);
            stats
        } else {
            let channel = self.shape.builder().create(&self.name).expect("create");
            channel.stats().expect("stats")
        };
        (self.id, self.key, self.set) = (stats.id, stats.key, stats.semaphore_set);
        self.uses = 0;
        self.attach();
        assert_eq!(self.mapping().len(), self.shape.map.size(), "the byte map has another size");
    }

    /// Removes whatever is there, by the plain calls.
    pub(crate) fn clear(&mut self) {
        self.pair = None;
        self.mapping = None;
        let _ = Segment::from_id(self.id).remove();
        // A case may have made another one under the name.
        let _ = Segment::open(Key::from_raw(self.key)).and_then(|segment| segment.remove());
        kernel::remove_set(self.set);
    }

    pub(crate) fn segment(&self) -> Segment {
        Segment::from_id(self.id)
    }

    /// Whether the segment is there and can be found, the set is there, and no seat is taken. A case may end with a
    /// seat that nobody can leave, because its claim was changed.
    pub(crate) fn is_sound(&self) -> bool {
        let found = self.segment().stat().is_ok_and(|stat| self.shape.anonymous || !stat.removed);
        let free = |values: Vec<u16>| values[3] == 0 && values[4..].iter().step_by(2).all(|&seat| seat == 0);
        found && self.values().is_some_and(free)
    }

    /// The channel, whole, whatever the last case has done to it.
    pub(crate) fn prepare(&mut self) {
        self.uses += 1;
        if self.shape.anonymous || self.uses > MAX_USES || !self.is_sound() {
            self.make();
        }
    }

    pub(crate) fn values(&self) -> Option<Vec<u16>> {
        kernel::values(self.set, self.shape.semaphores())
    }

    pub(crate) fn attach(&mut self) {
        self.mapping = Some(self.segment().attach().expect("attach"));
    }

    /// Away from the segment, so that nobody is attached.
    pub(crate) fn detach(&mut self) {
        self.mapping = None;
    }

    pub(crate) fn is_attached(&self) -> bool {
        self.mapping.is_some()
    }

    fn mapping(&self) -> &Mapping {
        self.mapping.as_ref().expect("attached")
    }

    pub(crate) fn word(&self, offset: usize) -> u64 {
        let mut bytes = [0; 8];
        self.mapping().read(offset, &mut bytes).expect("inside the segment");
        u64::from_le_bytes(bytes)
    }

    pub(crate) fn put(&self, offset: usize, word: u64) {
        self.mapping().write(offset, &word.to_le_bytes()).expect("inside the segment");
    }

    /// All bytes, as they are now.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.shape.map.size()];
        self.mapping().read(0, &mut bytes).expect("inside the segment");
        bytes
    }

    /// Writes the words that differ from the snapshot's.
    pub(crate) fn restore(&mut self, snapshot: &Snapshot) {
        let mut image = std::mem::take(&mut self.image);
        self.mapping().read(0, &mut image).expect("inside the segment");
        let set = match snapshot.set {
            SetWord::Present(generation) => generation << 32 | u64::from(self.set.cast_unsigned()),
            SetWord::As(word) => word,
        };
        for (block, (old, new)) in image.chunks(512).zip(snapshot.bytes.chunks(512)).enumerate() {
            if old != new {
                for (index, (old, new)) in old.chunks(8).zip(new.chunks(8)).enumerate() {
                    if old != new {
                        self.mapping().write(512 * block + 8 * index, new).expect("inside the segment");
                    }
                }
            }
        }
        self.put(layout::SET, set);
        self.image = image;
    }

    fn take(&self, state: State, waiting: Vec<(u32, u32)>) -> Snapshot {
        let mut bytes = self.bytes();
        let mut set = SetWord::Present(1);
        let mut put =
            |offset: usize, word: u64| bytes[offset..offset + 8].copy_from_slice(&word.to_le_bytes());
        let map = self.shape.map;
        match state {
            State::ReceiverAsleep => put(layout::RECEIVER_NUMBER, 7),
            State::SenderAsleep => {
                for lane in 0..map.senders {
                    put(map.control(lane) + layout::ROOM_NUMBER, 5);
                    put(map.control(lane) + layout::ROOM_WANTED, 200);
                }
            }
            State::HalfMade => put(layout::MAGIC, 0),
            State::HalfMadeEarly => bytes.fill(0),
            State::HalfMadeBare => {
                bytes.fill(0);
                set = SetWord::As(0);
            }
            State::GivenUp => put(layout::MAGIC, layout::GIVEN_UP),
            State::MarkedRemoved => put(layout::NOTICE, layout::REMOVED | 1),
            State::LastSet => set = SetWord::As(layout::LAST_SET),
            State::InDoubt => {
                set = SetWord::Present(2);
                put(layout::NOTICE, 2);
            }
            State::SetGone => {
                let gone = kernel::make_set(1);
                kernel::remove_set(gone);
                set = SetWord::As(1 << 32 | u64::from(gone.cast_unsigned()));
            }
            _ => {}
        }
        Snapshot { bytes, set, waiting }
    }

    /// Brings the channel into a state by using it.
    pub(crate) fn snapshot(&mut self, state: State) -> Snapshot {
        self.make();
        if self.shape.anonymous {
            return self.take(state, vec![(0, 0); self.shape.map.senders]);
        }
        let channel = self.shape.builder().open(&self.name).expect("open");
        let mut used = Use::new(self, &channel);
        match state {
            State::Fresh
            | State::ReceiverAsleep
            | State::HalfMade
            | State::HalfMadeEarly
            | State::HalfMadeBare
            | State::LastSet => {}
            State::HalfFull | State::GivenUp | State::MarkedRemoved | State::SetGone | State::InDoubt => {
                used.half_fill()
            }
            State::Wrapped => used.wrap(),
            State::Full | State::SenderAsleep => used.fill(),
            State::Interleaved => (0..20).for_each(|round| used.send(round % self.shape.map.senders, 16)),
            State::Handed => {
                used.half_fill();
                std::mem::forget(used.receiver().try_recv_batch(4).expect("messages"));
            }
            State::Unrecorded => {
                used.half_fill();
                let words = [layout::TAIL, layout::SENT, layout::SENT_BYTES];
                let words = words.map(|word| self.shape.map.control(0) + word);
                let before = words.map(|word| self.word(word));
                used.send(0, 40);
                words.iter().zip(before).for_each(|(word, value)| self.put(*word, value));
            }
            State::Damaged => {
                used.half_fill();
                let read = self.word(self.shape.map.control(0) + layout::READ);
                self.put(self.shape.map.data(0) + read as usize % self.shape.map.capacity, 0x1234);
                drop(used.receiver.take()); // it may know the header already
                let receiver = used.receiver.insert(channel.receiver().expect("a seat"));
                let error = loop {
                    match receiver.try_recv().map(|message| message.lane()) {
                        Ok(lane) => used.first[lane as usize] += 1,
                        Err(error) => break error,
                    }
                };
                assert!(matches!(error, TryRecvError::Failed(RecvError::Corrupt(_))), "{error}");
                used.first[0] = used.next[0];
            }
        }
        let waiting = used.first.iter().copied().zip(used.next.iter().copied()).collect();
        if state == State::InDoubt {
            return self.take(state, waiting); // with the claims of those who sit there
        }
        drop(used);
        self.take(state, waiting)
    }
}

/// Use of a channel as it is meant: all seats are taken.
struct Use<'a> {
    instance: &'a Instance,
    senders: Vec<Sender>,
    receiver: Option<Receiver>,
    /// Of each lane: the first message that waits, and the next one to be sent.
    first: Vec<u32>,
    next: Vec<u32>,
}

impl<'a> Use<'a> {
    fn new(instance: &'a Instance, channel: &Channel) -> Use<'a> {
        let count = instance.shape.map.senders;
        let senders = (0..count).map(|_| channel.sender().expect("a seat")).collect();
        let receiver = channel.receiver().ok();
        Use { instance, senders, receiver, first: vec![0; count], next: vec![0; count] }
    }

    fn send(&mut self, lane: usize, length: usize) {
        assert!(self.try_send(lane, length), "there is room");
    }

    fn try_send(&mut self, lane: usize, length: usize) -> bool {
        let mut bytes = Vec::new();
        compose(&mut bytes, lane as u32, self.next[lane], length);
        let sent = self.senders[lane].try_send(&bytes).is_ok();
        self.next[lane] += u32::from(sent);
        sent
    }

    fn receiver(&mut self) -> &mut Receiver {
        self.receiver.as_mut().expect("it has the seat")
    }

    fn receive(&mut self) {
        let lane = self.receiver().try_recv().expect("a message").lane();
        self.first[lane as usize] += 1;
    }

    fn half_fill(&mut self) {
        let lengths = [16, 100, 17, 40, 256, 64, 23, 300];
        for (index, length) in lengths.into_iter().enumerate() {
            for lane in 0..self.next.len() {
                self.send(lane, length);
            }
            if index % 3 == 0 {
                self.receive();
            }
        }
    }

    fn wrap(&mut self) {
        let map = self.instance.shape.map;
        for lane in 0..map.senders {
            let tail = || self.instance.word(map.control(lane) + layout::TAIL) as usize % map.capacity;
            while tail() + 616 <= map.capacity {
                self.send(lane, 600);
                self.receive();
            }
        }
        for lane in 0..map.senders {
            self.send(lane, 600); // behind a padding
            self.send(lane, 100);
        }
    }

    fn fill(&mut self) {
        for lane in 0..self.next.len() {
            while self.try_send(lane, 300) {}
            while self.try_send(lane, 16) {}
        }
    }
}
