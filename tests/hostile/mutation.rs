//! What a stranger writes into a segment.

use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

use crate::kernel;
use crate::layout::{self, Map, Place, RecordWord};
use crate::message::Random;
use crate::state::Instance;

/// Kinds of mutations, for the account.
pub(crate) const CLASSES: [&str; 6] = ["header", "seat", "control", "record", "random", "structured"];

/// One change, as the recipe tells it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mutation {
    /// One word, one special value.
    Word(Place, usize),
    /// So many random words at random places.
    Random(u64),
    /// Several words, wrong in a way that fits.
    Structured(usize),
}

/// Values that a word is set to, by their number.
pub(crate) const VALUES: usize = 52;

impl Mutation {
    pub(crate) fn class(self) -> usize {
        match self {
            Mutation::Word(Place::Header(_), _) => 0,
            Mutation::Word(Place::Seat(_), _) => 1,
            Mutation::Word(Place::Control(..), _) => 2,
            Mutation::Word(Place::Record(..), _) => 3,
            Mutation::Random(_) => 4,
            Mutation::Structured(_) => 5,
        }
    }

    /// The only lane whose words are changed, if it is so.
    pub(crate) fn lane(self) -> Option<usize> {
        match self {
            Mutation::Word(Place::Control(lane, _) | Place::Record(lane, _), _) => Some(lane),
            Mutation::Word(Place::Seat(index), _) => index.checked_sub(1),
            _ => None,
        }
    }

    /// Writes it. `others`: a stranger's set, and one that is marked for another channel.
    pub(crate) fn apply(self, instance: &Instance, random: &mut Random, others: [i32; 2]) {
        let attack = Attack { instance, map: instance.shape.map, others };
        match self {
            Mutation::Word(place, value) => {
                let offset = attack.offset(place);
                let old = instance.word(offset);
                instance.put(offset, attack.value(value, old, offset));
            }
            Mutation::Random(count) => {
                for _ in 0..count {
                    let offset = attack.random_offset(random);
                    let old = instance.word(offset);
                    let word = match random.below(3) {
                        0 => random.next(),
                        1 => attack.value(random.below(VALUES as u64) as usize, old, offset),
                        _ => old ^ 1 << random.below(64),
                    };
                    instance.put(offset, word);
                }
            }
            Mutation::Structured(kind) => {
                let lane = random.below(attack.map.senders as u64) as usize;
                STRUCTURED[kind].1(&attack, lane, random);
            }
        }
    }
}

trait Any {
    fn next(&mut self) -> u64;
}

impl Any for Random {
    fn next(&mut self) -> u64 {
        self.below(u64::MAX) ^ self.below(u64::MAX).rotate_left(32)
    }
}

pub(crate) struct Attack<'a> {
    instance: &'a Instance,
    map: Map,
    others: [i32; 2],
}

type Change = fn(&Attack<'_>, usize, &mut Random);

/// Two or more words at a time.
pub(crate) const STRUCTURED: [(&str, Change); 44] = [
    ("tail and sent run ahead", |a, lane, r| {
        let by = 8 * r.below(2048);
        a.add(lane, layout::TAIL, by);
        a.add(lane, layout::SENT, 1 + by / 100);
    }),
    ("tail falls behind read", |a, lane, r| {
        let read = a.control(lane, layout::READ);
        a.set(lane, layout::TAIL, read.wrapping_sub(8 * (1 + r.below(1024))));
    }),
    ("read, head and given go forward", |a, lane, r| {
        let by = 8 * (1 + r.below(1024));
        [layout::READ, layout::HEAD, layout::GIVEN].into_iter().for_each(|word| a.add(lane, word, by));
    }),
    ("read and head go back", |a, lane, r| {
        let by = 8 * (1 + r.below(1024));
        [layout::READ, layout::HEAD].into_iter().for_each(|word| a.add(lane, word, by.wrapping_neg()));
    }),
    ("everything is swallowed", |a, lane, _| {
        let tail = a.control(lane, layout::TAIL);
        [layout::READ, layout::HEAD, layout::GIVEN].into_iter().for_each(|word| a.set(lane, word, tail));
    }),
    ("all positions just below 2^62", |a, lane, r| {
        let at = (1 << 62) - 8 * r.below(600);
        [layout::TAIL, layout::READ, layout::HEAD, layout::GIVEN]
            .into_iter()
            .for_each(|word| a.set(lane, word, at));
    }),
    ("all positions just above 2^62", |a, lane, r| {
        let at = (1 << 62) + 8 * (1 + r.below(600));
        [layout::TAIL, layout::READ, layout::HEAD, layout::GIVEN]
            .into_iter()
            .for_each(|word| a.set(lane, word, at));
    }),
    ("positions that are no multiple of 8", |a, lane, r| {
        let by = 1 + r.below(7);
        [layout::TAIL, layout::READ, layout::HEAD].into_iter().for_each(|word| a.add(lane, word, by));
    }),
    ("a forged record of any length at read", |a, lane, r| {
        a.put_at(lane, a.control(lane, layout::READ), layout::data(r.below(2100)));
    }),
    ("a forged record over several others", |a, lane, r| {
        let read = a.control(lane, layout::READ);
        a.put_at(lane, read, layout::data(16 * (1 + r.below(128))));
        a.put_at(lane, read.wrapping_add(8), r.below(4));
    }),
    ("a forged record that ends about one lap later", |a, lane, r| {
        let lap = a.map.capacity as u64;
        a.put_at(lane, a.control(lane, layout::READ), layout::data(lap - 48 + 8 * r.below(12)));
    }),
    ("a forged record at the terminator", |a, lane, r| {
        a.put_at(lane, a.control(lane, layout::TAIL), layout::data(r.below(2100)));
    }),
    ("nothing but empty messages", |a, lane, _| a.fill(lane, layout::data(0))),
    ("nothing but gaps of 8 bytes", |a, lane, _| a.fill(lane, layout::padding(8))),
    ("nothing but messages of the largest length", |a, lane, _| {
        a.fill(lane, layout::data(a.map.capacity as u64 / 2 - 16));
    }),
    ("a gap to the end and a record behind it", |a, lane, r| {
        let read = a.control(lane, layout::READ);
        let to_end = a.to_end(read);
        a.put_at(lane, read, layout::padding(to_end));
        a.put_at(lane, read.wrapping_add(to_end), layout::data(r.below(2100)));
    }),
    ("a gap to the end and a gap behind it", |a, lane, _| {
        let read = a.control(lane, layout::READ);
        let to_end = a.to_end(read);
        a.put_at(lane, read, layout::padding(to_end));
        a.put_at(lane, read.wrapping_add(to_end), layout::padding(a.map.capacity as u64));
    }),
    ("a gap at offset 0", |a, lane, _| {
        [layout::TAIL, layout::READ, layout::HEAD].into_iter().for_each(|word| a.set(lane, word, 1 << 20));
        a.put_at(lane, 0, layout::padding(a.map.capacity as u64));
    }),
    ("a stamp above the counter", |a, lane, r| {
        let counter = a.instance.word(layout::STAMPS);
        a.put_at(lane, a.control(lane, layout::READ).wrapping_add(8), counter.wrapping_add(r.below(3)));
    }),
    ("the same stamp in two lanes", |a, lane, _| {
        let stamp = a.at(lane, a.control(lane, layout::READ).wrapping_add(8));
        let other = (lane + 1) % a.map.senders;
        a.put_at(other, a.control(other, layout::READ).wrapping_add(8), stamp);
    }),
    ("the counter goes back", |a, _, r| {
        let counter = a.instance.word(layout::STAMPS);
        a.instance.put(layout::STAMPS, counter.saturating_sub(1 + r.below(20)));
    }),
    ("the counter is about to wrap", |a, _, r| a.instance.put(layout::STAMPS, r.below(3).wrapping_sub(2))),
    ("another geometry of the same size", |a, _, _| {
        let lanes = a.map.senders as u64;
        let (senders, capacity) = if lanes == 1 { (2, 4096) } else { (1, 8192) };
        a.instance.put(layout::SENDERS, senders);
        a.instance.put(layout::CAPACITY, capacity);
        a.instance.put(layout::FLAGS, if senders == 1 { 5 } else { 6 });
    }),
    ("another largest message", |a, _, r| {
        let lane = a.map.capacity as u64;
        let all = [0, 1, lane / 2 - 17, lane / 2 - 15, lane / 2, lane, lane * 2];
        a.instance.put(layout::MAX_MESSAGE, all[r.below(7) as usize]);
    }),
    ("another kind or order", |a, _, r| {
        let flags = a.instance.word(layout::FLAGS);
        a.instance.put(layout::FLAGS, flags ^ r.below(32));
    }),
    ("a name of control characters", |a, _, r| {
        let texts: [&[u8]; 4] = [b"two\nlines", b"\x1b[2J\x1b[31mred", b"a\tb\rc", b"\x07\x08\x7f"];
        a.name(texts[r.below(4) as usize]);
    }),
    ("a name of C1 control characters", |a, _, _| a.name("x\u{9b}31my\u{85}z".as_bytes())),
    ("a name that is no UTF-8", |a, _, _| a.name(b"\xff\xfe\xc0\x80")),
    ("a name longer than there is room", |a, _, r| {
        a.name(&[b'n'; 248]);
        a.instance.put(layout::NAME_LENGTH, 249 + r.below(4000));
    }),
    ("another name", |a, _, _| a.name(b"somebody else's channel")),
    ("a set word that names a stranger's set", |a, _, _| a.set_word(a.others[0])),
    ("a set word that names another channel's set", |a, _, _| a.set_word(a.others[1])),
    ("a set word that names a small set marked for this segment", |a, _, r| {
        a.set_word(a.marked_set(3 + r.below(3) as i32));
    }),
    ("a set word that names a large set marked for this segment", |a, _, r| {
        a.set_word(a.marked_set(20 + r.below(600) as i32));
    }),
    ("generations far ahead", |a, _, r| {
        let id = u64::from(a.instance.set.cast_unsigned());
        a.instance.put(layout::SET, (r.next() | 2) << 32 | id);
        a.instance.put(layout::NOTICE, r.next() >> 1);
    }),
    ("claims of the living in a later generation", |a, _, r| {
        a.set_word(a.instance.set);
        let pids = [1, std::process::id(), std::os::unix::process::parent_id()];
        for seat in 0..=a.map.senders {
            let pid = u64::from(pids[r.below(3) as usize]);
            a.instance.put(a.map.seat(seat), layout::claim(1, pid_namespace(), pid));
        }
    }),
    ("claims of the dead and of strangers in a later generation", |a, _, r| {
        a.set_word(a.instance.set);
        for seat in 0..=a.map.senders {
            let namespace = if r.below(2) == 0 { pid_namespace() } else { r.next() };
            a.instance
                .put(a.map.seat(seat), layout::claim(r.below(3), namespace, (1 << 22) - 1 - r.below(9)));
        }
    }),
    ("a usurper in the lane", |a, lane, r| {
        a.add(lane, layout::SENDER_TAKEOVERS, 1);
        a.add(lane, layout::TAIL, 8 * r.below(64));
    }),
    ("a usurping receiver", |a, _, r| {
        for lane in 0..a.map.senders {
            a.add(lane, layout::RECEIVER_TAKEOVERS, 1);
            a.add(lane, layout::READ, 8 * r.below(64));
        }
    }),
    ("a damage somewhere", |a, lane, r| {
        let read = a.control(lane, layout::READ);
        a.set(lane, layout::DAMAGE, read.wrapping_add(r.below(64)).wrapping_sub(16));
    }),
    ("a bitmap of noise", |a, _, r| {
        let words = [0, u64::MAX, r.next(), r.next()];
        (0..4).for_each(|index| a.instance.put(layout::BITMAP + 8 * index, words[r.below(4) as usize]));
    }),
    ("everybody asleep, and wanting the impossible", |a, _, r| {
        a.instance.put(layout::RECEIVER_NUMBER, r.next() | 1);
        for lane in 0..a.map.senders {
            a.set(lane, layout::ROOM_NUMBER, r.next() | 1);
            a.set(lane, layout::ROOM_WANTED, r.next());
        }
    }),
    ("noise all over the lanes", |a, _, r| {
        for offset in (a.map.control(0)..a.map.size() - 8).step_by(8) {
            if r.below(4) == 0 {
                a.instance.put(offset, r.next() >> r.below(64));
            }
        }
    }),
    ("the semaphores too", |a, _, r| {
        a.instance.put(layout::CHANGES, r.next());
        a.instance.put(layout::SENDERS_CAME, r.next());
        match r.below(4) {
            0 => kernel::remove_set(a.instance.set),
            1 => kernel::set_value(a.instance.set, r.below(3) as i32, r.below(32_768) as i32),
            _ => {
                let index = 4 + r.below(2 * a.map.senders as u64 + 2) as i32;
                kernel::set_value(a.instance.set, index, [0, 1, 32_766, 32_767][r.below(4) as usize]);
            }
        }
    }),
];

/// The number of this process's pid namespace.
fn pid_namespace() -> u64 {
    static KNOWN: OnceLock<u64> = OnceLock::new();
    *KNOWN.get_or_init(|| std::fs::metadata("/proc/self/ns/pid").map_or(0, |link| link.ino()))
}

impl Attack<'_> {
    fn control(&self, lane: usize, word: usize) -> u64 {
        self.instance.word(self.map.control(lane) + word)
    }

    fn set(&self, lane: usize, word: usize, value: u64) {
        self.instance.put(self.map.control(lane) + word, value);
    }

    fn add(&self, lane: usize, word: usize, by: u64) {
        self.set(lane, word, self.control(lane, word).wrapping_add(by));
    }

    fn place(&self, lane: usize, position: u64) -> usize {
        self.map.data(lane) + (position as usize & (self.map.capacity - 1) & !7)
    }

    fn at(&self, lane: usize, position: u64) -> u64 {
        self.instance.word(self.place(lane, position))
    }

    fn put_at(&self, lane: usize, position: u64, word: u64) {
        self.instance.put(self.place(lane, position), word);
    }

    fn to_end(&self, position: u64) -> u64 {
        let lap = self.map.capacity as u64;
        lap - (position & (lap - 1))
    }

    fn fill(&self, lane: usize, word: u64) {
        (0..self.map.capacity as u64).step_by(8).for_each(|at| self.put_at(lane, at, word));
    }

    fn name(&self, text: &[u8]) {
        self.instance.put(layout::NAME_LENGTH, text.len() as u64);
        for (index, chunk) in text.chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.instance.put(layout::NAME + 8 * index, u64::from_le_bytes(word));
        }
    }

    /// That set, of the next generation.
    fn set_word(&self, set: i32) {
        let generation = (self.instance.word(layout::SET) >> 32).wrapping_add(1) & 0xffff_ffff;
        self.instance.put(layout::SET, generation << 32 | u64::from(set.cast_unsigned()));
    }

    /// A set that names this segment as its own.
    fn marked_set(&self, semaphores: i32) -> i32 {
        let set = kernel::make_set(semaphores);
        let id = self.instance.id;
        let marks = [0x5350 | id >> 30, id & 0x7fff, id >> 15 & 0x7fff];
        (0..).zip(marks).for_each(|(index, mark)| kernel::set_value(set, index, mark));
        set
    }

    /// Any word that means something.
    fn random_offset(&self, random: &mut Random) -> usize {
        let ranges = [
            (0, 1032),
            (self.map.seat(0), self.map.seat(self.map.senders + 1)),
            (self.map.control(0), self.map.control(self.map.senders)),
            (self.map.data(0), self.map.size() - 8),
            (0, self.map.size() - 8),
        ];
        let (from, to) = ranges[random.below(5) as usize];
        from + (8 * random.below((to - from) as u64 / 8)) as usize
    }

    /// Where a word lies now.
    fn offset(&self, place: Place) -> usize {
        match place {
            Place::Header(offset) => offset,
            Place::Seat(index) => self.map.seat(index),
            Place::Control(lane, word) => self.map.control(lane) + word,
            Place::Record(lane, word) => self.record_word(lane, word),
        }
    }

    fn record_word(&self, lane: usize, word: RecordWord) -> usize {
        let (read, tail) = (self.control(lane, layout::READ), self.control(lane, layout::TAIL));
        let lap = self.map.capacity as u64;
        let position = match word {
            RecordWord::Front(words) => read.wrapping_add(8 * words as u64),
            RecordWord::Next(records) => self.record(lane, read, records),
            RecordWord::NextSecond(records) => self.record(lane, read, records).wrapping_add(8),
            RecordWord::Terminator => tail,
            RecordWord::Behind => tail.wrapping_add(8),
            RecordWord::First => 0,
            RecordWord::Second => 8,
            RecordWord::LastButOne => lap - 16,
            RecordWord::Last => lap - 8,
            RecordWord::Padding => {
                let gaps = (0..lap).step_by(8);
                gaps.into_iter().find(|&at| layout::is_padding(self.at(lane, at))).unwrap_or(lap / 2)
            }
        };
        self.place(lane, position)
    }

    /// Position of the record after so many.
    fn record(&self, lane: usize, mut position: u64, records: usize) -> u64 {
        for _ in 0..records {
            let size = layout::record_size(self.at(lane, position), self.instance.shape.stamped());
            position = position.wrapping_add(size.unwrap_or(8));
        }
        position
    }

    /// The special value of that number.
    fn value(&self, number: usize, old: u64, offset: usize) -> u64 {
        let lap = self.map.capacity as u64;
        let to_end = self.to_end((offset as u64).wrapping_sub(self.map.data(0) as u64));
        let own = u64::from(self.instance.set.cast_unsigned());
        let other = |index: usize| u64::from(self.others[index].cast_unsigned());
        let values: [u64; VALUES] = [
            0,
            1,
            2,
            3,
            7,
            8,
            u64::MAX,
            u64::MAX - 1,
            u64::MAX - 7,
            1 << 63,
            (1 << 63) - 1,
            1 << 62,
            (1 << 62) + 8,
            (1 << 62) - 8,
            1 << 56,
            1 << 48,
            (1 << 48) - 1,
            1 << 40,
            i32::MAX as u64,
            i32::MAX as u64 + 1,
            u32::MAX.into(),
            u64::from(u32::MAX) + 1,
            lap,
            lap - 8,
            lap + 8,
            2 * lap,
            old.wrapping_add(1),
            old.wrapping_sub(1),
            old.wrapping_add(8),
            old.wrapping_sub(8),
            old.wrapping_add(lap),
            old.wrapping_sub(lap),
            !old,
            old ^ 1 << 63,
            old ^ 16,
            old << 32,
            layout::data(0),
            layout::data(lap / 2 - 16),
            layout::data(lap / 2 - 15),
            layout::data(to_end.wrapping_sub(8)),
            layout::data(to_end),
            layout::padding(to_end),
            layout::padding(8),
            layout::padding(lap),
            layout::MAGIC_WORD,
            layout::GIVEN_UP,
            layout::VERSION_WORD,
            2 << 32 | own,
            2 << 32 | other(0),
            2 << 32 | other(1),
            layout::claim(1, pid_namespace(), std::process::id().into()),
            self.instance.id.cast_unsigned().into(),
        ];
        values[number]
    }
}
