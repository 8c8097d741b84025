//! The byte map of ARCHITECTURE.md, written out again: this program shares no code with the library.

pub(crate) const MAGIC_WORD: u64 = u64::from_le_bytes(*b"sysring\0");
pub(crate) const GIVEN_UP: u64 = u64::from_le_bytes(*b"givenup\0");
pub(crate) const VERSION_WORD: u64 = 3 << 32 | 0x0102_0304;
pub(crate) const LAST_SET: u64 = u64::MAX;
pub(crate) const REMOVED: u64 = 1 << 63;

pub(crate) const MAGIC: usize = 0;
pub(crate) const VERSION: usize = 8;
pub(crate) const FLAGS: usize = 16;
pub(crate) const SENDERS: usize = 24;
pub(crate) const CAPACITY: usize = 32;
pub(crate) const MAX_MESSAGE: usize = 40;
pub(crate) const SET: usize = 128;
pub(crate) const RECEIVER_NUMBER: usize = 256;
pub(crate) const NOTICE: usize = 272;
pub(crate) const CHANGES: usize = 280;
pub(crate) const SENDERS_CAME: usize = 384;
pub(crate) const STAMPS: usize = 512;
pub(crate) const BITMAP: usize = 640;
pub(crate) const NAME_LENGTH: usize = 768;
pub(crate) const NAME: usize = 776;
const NAME_WORDS: usize = 31;
const SEATS: usize = 4096;

/// Words of a lane's control block, from its beginning.
pub(crate) const TAIL: usize = 0;
pub(crate) const SENT: usize = 8;
pub(crate) const SENT_BYTES: usize = 16;
pub(crate) const SENDER_TAKEOVERS: usize = 24;
pub(crate) const SENDER_DAMAGE: usize = 32;
pub(crate) const ROOM_NUMBER: usize = 128;
pub(crate) const ROOM_WANTED: usize = 136;
pub(crate) const HEAD: usize = 256;
pub(crate) const READ: usize = 384;
pub(crate) const GIVEN: usize = 392;
pub(crate) const RECEIVED: usize = 400;
pub(crate) const DAMAGE: usize = 408;
pub(crate) const RECEIVER_TAKEOVERS: usize = 416;

const CONTROL: [usize; 13] = [
    TAIL,
    SENT,
    SENT_BYTES,
    SENDER_TAKEOVERS,
    SENDER_DAMAGE,
    ROOM_NUMBER,
    ROOM_WANTED,
    HEAD,
    READ,
    GIVEN,
    RECEIVED,
    DAMAGE,
    RECEIVER_TAKEOVERS,
];

/// Every word of the header that means something; of the name its first, second and last words.
const HEADER: [usize; 28] = [
    MAGIC,
    VERSION,
    FLAGS,
    SENDERS,
    CAPACITY,
    MAX_MESSAGE,
    48,
    56,
    SET,
    RECEIVER_NUMBER,
    264,
    NOTICE,
    CHANGES,
    SENDERS_CAME,
    392,
    400,
    408,
    STAMPS,
    BITMAP,
    BITMAP + 8,
    BITMAP + 16,
    BITMAP + 24,
    NAME_LENGTH,
    NAME,
    NAME + 8,
    NAME + 16,
    NAME + 8 * (NAME_WORDS - 1),
    1024,
];

/// Where everything lies in a channel of that many lanes of that capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Map {
    pub(crate) senders: usize,
    pub(crate) capacity: usize,
}

impl Map {
    pub(crate) fn seat(self, index: usize) -> usize {
        SEATS + 64 * index
    }

    pub(crate) fn control(self, lane: usize) -> usize {
        (SEATS + 64 * (self.senders + 1)).next_multiple_of(128) + 512 * lane
    }

    pub(crate) fn data(self, lane: usize) -> usize {
        self.control(self.senders).next_multiple_of(4096) + self.capacity * lane
    }

    pub(crate) fn size(self) -> usize {
        self.data(self.senders) + 0x528
    }
}

/// A word by what it is, because the records are somewhere else in every state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Header(usize),
    Seat(usize),
    Control(usize, usize),
    Record(usize, RecordWord),
}

/// A word among a lane's records, found from its `read` and `tail` as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordWord {
    /// That many words behind the header at `read`.
    Front(usize),
    /// Header of the record after that many.
    Next(usize),
    /// The second word of that record: a stamp or payload.
    NextSecond(usize),
    /// The terminator's place, and the word behind it.
    Terminator,
    Behind,
    /// The lane's first two words, and its last two.
    First,
    Second,
    Last,
    LastButOne,
    /// The padding's header, if there is one, else the middle of the lane.
    Padding,
}

const RECORD: [RecordWord; 16] = [
    RecordWord::Front(0),
    RecordWord::Front(1),
    RecordWord::Front(2),
    RecordWord::Front(3),
    RecordWord::Next(1),
    RecordWord::NextSecond(1),
    RecordWord::Next(2),
    RecordWord::NextSecond(2),
    RecordWord::Next(3),
    RecordWord::Terminator,
    RecordWord::Behind,
    RecordWord::First,
    RecordWord::Second,
    RecordWord::LastButOne,
    RecordWord::Last,
    RecordWord::Padding,
];

/// Every word that the systematic mutations change.
pub(crate) fn places(map: Map) -> Vec<Place> {
    let mut places: Vec<Place> = HEADER.map(Place::Header).into();
    places.extend((0..=map.senders).map(Place::Seat));
    for lane in 0..map.senders {
        places.extend(CONTROL.map(|word| Place::Control(lane, word)));
        places.extend(RECORD.map(|word| Place::Record(lane, word)));
    }
    places
}

const DATA: u64 = 0x5D << 56;
const PADDING: u64 = 0x5A << 56;
const LENGTH: u64 = (1 << 48) - 1;

/// Header of a message.
pub(crate) fn data(length: u64) -> u64 {
    DATA | (length + 1) & LENGTH
}

/// Header of a gap.
pub(crate) fn padding(size: u64) -> u64 {
    PADDING | (size + 1) & LENGTH
}

/// Bytes that the record with this header takes; `None` if it is none.
pub(crate) fn record_size(word: u64, stamped: bool) -> Option<u64> {
    let length = (word & LENGTH).checked_sub(1)?;
    match word & !LENGTH {
        DATA => Some(if stamped { 16 } else { 8 } + length.next_multiple_of(8)),
        PADDING => Some(length),
        _ => None,
    }
}

pub(crate) fn is_padding(word: u64) -> bool {
    word & !LENGTH == PADDING
}

/// A claim on a seat.
pub(crate) fn claim(generation: u64, namespace: u64, pid: u64) -> u64 {
    generation << 50 | (namespace & ((1 << 28) - 1)) << 22 | pid & ((1 << 22) - 1)
}
