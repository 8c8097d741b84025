//! The channel as a model: lanes, merge, bells, wills, takeover. One or two senders, one receiver.
//!
//! Memory is sequentially consistent here (what weaker memory adds is loom's subject). One step is one access to shared
//! memory or one system call; what happens in private memory between two of them belongs to the first. Everybody may be
//! killed before every step; the kernel then frees the seat and fulfils the will in one step, and a successor may come.
//! Whoever is not chosen for a while is as good as stopped, so every stop at every place is in here too.
//!
//! What was left out or drawn together, and why nothing is lost by it:
//!
//! * Loads of words that only the loading process writes, or that nobody can write any more (the lane of a dead sender
//!   during a takeover, a published record), are one step with their neighbours.
//! * Emptying a bell at attach is one step: only its owner takes units, and one posted in between counts as posted later.
//! * Nobody spins: a spin is a look that finds nothing, and a sleep begins with the same looks. No time-outs and no
//!   ceiling: a sleep ends by a unit only, so a lost wake-up is for ever and is found.
//! * A sleep number is an odd number never used before. All that anybody does with one is to see that it is odd and to
//!   compare it with a copy, so the model takes the smallest that nobody holds a copy of, and 0 for all even ones.
//! * Counts for people (messages, bytes) are left out, and so are damaged segments: here nobody lies, and every damage
//!   that a process believes to see is a violation.
//!
//! Positions grow for ever, as in the real lane; cells are words of 8 bytes.

use super::checker::{Model, Property, Step};

/// What the channel promises.
pub(crate) mod property {
    use super::Property;

    pub(crate) const COMMITTED: Property = "a message is delivered only after its header was stored";
    pub(crate) const WHOLE: Property = "a message is delivered whole, as it was written";
    pub(crate) const NEVER_LOST: Property = "what was published is delivered, and in the order of its lane";
    pub(crate) const ONCE: Property =
        "a message comes twice only if its receiver was killed, and is flagged then";
    pub(crate) const CAUSAL: Property = "if send(a) returned before send(b) began, a comes before b";
    pub(crate) const RECEIVER_WAKES: Property =
        "the receiver does not sleep over a message whose sender rang or died";
    pub(crate) const END_IS_SEEN: Property = "the receiver does not sleep when all senders have gone";
    pub(crate) const SENDER_WAKES: Property =
        "a sender does not sleep when it was given the room that it wants";
    pub(crate) const LOSS_IS_SEEN: Property = "a sender does not sleep when the receiver has gone";
    pub(crate) const END_IS_TRUE: Property =
        "the end is reported only when everything published before it was delivered";
    pub(crate) const NO_OVERWRITE: Property =
        "nothing is written where an unreleased record is or is looked for";
    pub(crate) const NO_DAMAGE: Property = "where nobody lies, nobody sees damage";
}
use property::*;

/// Words of a lane.
const CELLS: u8 = 8;
/// Words of every record: header, stamp and payload, or header and two words of payload.
const RECORD: u8 = 3;
/// Words of the terminator.
const TERMINATOR: u8 = 1;
/// The consumer stores `head` when it lags so far behind `read` (an eighth of a real lane).
const LAG: u8 = 4;
/// Most lanes.
const LANES: usize = 2;
/// Messages begun in one lane, at most.
const IDS: usize = 8;
const NONE: u8 = 0xff;

// What a cell holds: kind in the high bits, then what it says.
const DATA: u8 = 0x40;
const PADDING: u8 = 0x80;
const PAYLOAD: u8 = 0xc0;
const STAMP: u8 = 0x20;
const SAYS: u8 = 0x1f;

/// A protocol that is wrong in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// The producer does not zero the place of the next header.
    NoTerminator,
    /// Room is computed without the word of the terminator.
    NoRoomForTerminator,
    /// The header is stored before the last word of the payload.
    HeaderBeforePayload,
    /// At a wrap the padding's header is stored before the header of the record behind it.
    PaddingBeforeRecord,
    /// The sender that takes over believes `tail` and does not walk on.
    NoWalkAtTakeover,
    /// The counter is loaded, and stored in another step.
    StampInTwoSteps,
    /// A sender takes the stamp of its next message when it has published the last.
    StampTakenAhead,
    /// The receiver reads the counter after it has looked at the lanes.
    HorizonAfterLook,
    /// With one lane in its list, the receiver does not load the bitmap again.
    SingleLaneWithoutBitmap,
    /// A sender sets its bit after its first message.
    BitAfterMessage,
    /// The ringer changes the sleep number first and posts afterwards.
    PostAfterSwap,
    /// The receiver sleeps without a look after storing its sleep number.
    ReceiverSleepsUnseen,
    /// A sender sleeps without a look after storing its sleep number.
    SenderSleepsUnseen,
    /// A sender leaves no will.
    NoSendersWill,
    /// The receiver leaves no will.
    NoReceiversWill,
    /// Every wake is put down to a ringer: nobody asks who has gone.
    EveryWakeIsARing,
    /// The ringer wants room for one record more than the sleeper does.
    WantTooMuch,
    /// `Disconnected` without a second look at the lanes.
    EndWithoutSecondLook,
    /// `read` moves before the message is used.
    ReleaseBeforeUse,
    /// `given` is not stored.
    NoGiven,
    /// A lane is taken off the bitmap without a second look at its seat and head.
    RetireWithoutSecondLook,
    /// The next receiver does not set the bits of lanes that its predecessor left out.
    NoBitsAtTakeover,
    /// The next receiver leaves out lanes that seem empty and whose seat is free.
    BitsByTail,
}

/// How large the model is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Channel {
    /// Lanes: with one there is no stamp and nothing to merge.
    pub(crate) lanes: usize,
    /// Messages that will be begun in each lane, by all its senders together.
    pub(crate) messages: [u8; LANES],
    /// Messages after which a sender leaves; another takes its seat if some are left.
    pub(crate) stay: u8,
    /// Senders that may be killed.
    pub(crate) sender_kills: u8,
    /// Receivers that may be killed.
    pub(crate) receiver_kills: u8,
    /// All that may be killed.
    pub(crate) kills: u8,
    /// Whether the first processes are in their places at the start. Their successors come step by step in any case.
    pub(crate) seated: bool,
    /// Whether another receiver comes after a death.
    pub(crate) receiver_returns: bool,
    /// Whether senders wait for the next receiver when one has gone.
    pub(crate) persistent: bool,
    /// What is wrong with it.
    pub(crate) mutation: Option<Mutation>,
}

/// A lane in shared memory, its seat and its bell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Lane {
    cells: [u8; CELLS as usize],
    /// Words of the producer.
    tail: u8,
    want: u8,
    /// Words of the consumer.
    head: u8,
    read: u8,
    given: u8,
    /// The sender's sleep number, and units in its bell.
    number: u8,
    bell: u8,
    /// Whether it ever had a producer: the number of takeovers is not 0.
    used: bool,
    /// The sender's seat.
    alive: bool,

    // What the properties remember.
    /// Behind the last record whose header was stored; of those, whose sender has rung or died; has returned.
    published: u8,
    rung: u8,
    returned: u8,
    /// Behind the last record that was handed out, ever.
    delivered: u8,
    /// The position of `read` for which the receiver has rung, or died.
    freed: u8,
    /// Messages begun.
    ids: u8,
    /// For each message: what had returned in the other lane when it began.
    after: [u8; IDS],
}

/// Where a sender is: what it does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum SenderAt {
    Off,
    Sign,
    LookAtNumber,
    EvenNumber,
    EmptyBell,
    Walk,
    StoreTail,
    ShowLane,
    LookForReceiver,
    LookAtHead,
    LookForRoom,
    MustAsk,
    Asking,
    AskSeat,
    StoreWant,
    StoreNumber,
    LastLook,
    Park,
    NumberAfterFound,
    NumberAfterUnit,
    FirstPayload,
    LastPayload,
    Terminate,
    TakeStamp,
    StoreCounter,
    StoreStamp,
    Header,
    PaddingHeader,
    CommitTail,
    LoadNumber,
    Post,
    SwapNumber,
    TakeStampAhead,
    LeaveChange,
    LeaveSeat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Sender {
    at: SenderAt,
    /// Messages left for this lane, and for this life.
    left: u8,
    stay: u8,
    tail: u8,
    head: u8,
    stamp: u8,
    /// Copy of the receiver's sleep number.
    number: u8,
    /// Own sleep number.
    mine: u8,
    stale: bool,
    seen: bool,
    changes: u8,
}

impl Sender {
    fn new(at: SenderAt, left: u8, stay: u8) -> Sender {
        Sender {
            at,
            left,
            stay,
            tail: 0,
            head: 0,
            stamp: 0,
            number: 0,
            mine: 0,
            stale: true,
            seen: false,
            changes: 0,
        }
    }

    /// Position of the next record behind its padding, and the padding.
    fn place(&self) -> (u8, u8) {
        let to_end = CELLS - self.tail % CELLS;
        let padding = if RECORD > to_end { to_end } else { 0 };
        (self.tail + padding, padding)
    }
}

/// Where the receiver is: what it does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum ReceiverAt {
    Off,
    Gone,
    Sign,
    LookAtNumber,
    EvenNumber,
    EmptyBell,
    ReadSeats,
    LookAtTail,
    ShowLane,
    StoreHead,
    PeekTaken,
    PeekKnown,
    LoadBitmap,
    LoadCounter,
    LoadBitmapAgain,
    PeekAll,
    LoadCounterLate,
    MustAsk,
    Asking,
    AskSeats,
    RetirePeek,
    RetireSeat,
    RetireClear,
    RetireSeatAgain,
    RetirePeekAgain,
    RetireSetBack,
    StoreNumber,
    Park,
    NumberAfterFound,
    NumberAfterUnit,
    Give,
    Use,
    Release,
    LoadNumber,
    LoadWant,
    Post,
    SwapNumber,
    LeaveChange,
    LeaveSeat,
}

/// Why the receiver looks at the lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Why {
    /// Somebody called `recv`, or it woke.
    First,
    /// It has stored its sleep number.
    BeforeSleep,
    /// All seats were free.
    BeforeEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Receiver {
    at: ReceiverAt,
    why: Why,
    /// Lane in a loop over lanes; the lane whose record is handed out.
    lane: u8,
    /// Second time round in the look.
    again: bool,
    /// Lane whose `head` is to be stored next.
    gives_back: u8,
    next: [u8; LANES],
    read: [u8; LANES],
    head: [u8; LANES],
    given: [u8; LANES],
    /// Stamp + 1 of a head that is known.
    found: [u8; LANES],
    taken: u8,
    horizon: u8,
    counter: u8,
    bits: u8,
    /// Copy of the sender's sleep number.
    number: u8,
    /// Own sleep number.
    mine: u8,
    stale: bool,
    seen: bool,
    changes: u8,
    seats: u8,
    redelivered: bool,
    /// For the properties: what was published when all seats were free.
    promised: [u8; LANES],
}

impl Receiver {
    fn new(at: ReceiverAt) -> Receiver {
        Receiver {
            at,
            why: Why::First,
            lane: 0,
            again: false,
            gives_back: NONE,
            next: [0; LANES],
            read: [0; LANES],
            head: [0; LANES],
            given: [0; LANES],
            found: [0; LANES],
            taken: NONE,
            horizon: 0,
            counter: 0,
            bits: 0,
            number: 0,
            mine: 0,
            stale: true,
            seen: false,
            changes: 0,
            seats: 0,
            redelivered: false,
            promised: [0; LANES],
        }
    }

    /// The smallest known stamp, and its lane.
    fn top(&self) -> Option<(u8, u8)> {
        (0..LANES as u8)
            .filter(|&lane| self.found[lane as usize] != 0)
            .map(|lane| (self.found[lane as usize] - 1, lane))
            .min()
    }

    /// The first lane from `from` on that is in the list and whose head is not known.
    fn unknown(&self, from: u8) -> Option<u8> {
        (from..LANES as u8).find(|&lane| self.bits >> lane & 1 == 1 && self.found[lane as usize] == 0)
    }
}

/// Everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    lanes: [Lane; LANES],
    senders: [Sender; LANES],
    receiver: Receiver,
    /// Next stamp.
    stamps: u8,
    bitmap: u8,
    /// Comings and goings, and whether any sender or receiver was ever there.
    changes: u8,
    sender_came: bool,
    receiver_came: bool,
    /// The receiver's sleep number, bell and seat.
    number: u8,
    bell: u8,
    alive: bool,
    /// Kills left.
    sender_kills: u8,
    receiver_kills: u8,
    kills: u8,
}

/// Whether a step was taken, or what it broke.
type Taken = Result<bool, Property>;

/// A record as the consumer sees it: its header's message, its first word's position, the position behind it.
struct Seen {
    id: u8,
    at: u8,
    end: u8,
}

fn ensure(holds: bool, property: Property) -> Result<(), Property> {
    if holds { Ok(()) } else { Err(property) }
}

/// The smallest sleep number that is not in `held`.
fn fresh(held: impl Iterator<Item = u8> + Clone) -> u8 {
    (1..).find(|&number| held.clone().all(|other| other != number)).expect("few hold copies")
}

impl State {
    /// Stores a word of lane `i` at `position`.
    fn put(&mut self, i: usize, position: u8, word: u8) -> Result<(), Property> {
        let lane = &mut self.lanes[i];
        ensure(position >= lane.published && position < lane.read + CELLS, NO_OVERWRITE)?;
        lane.cells[(position % CELLS) as usize] = word;
        Ok(())
    }

    /// What the consumer finds at its `next` position of lane `i`.
    fn peek(&self, i: usize) -> Result<Option<Seen>, Property> {
        let cell = |position: u8| self.lanes[i].cells[(position % CELLS) as usize];
        let next = self.receiver.next[i];
        let word = cell(next);
        let at = match word & !SAYS {
            0 if word == 0 => return Ok(None),
            DATA => next,
            PADDING if !next.is_multiple_of(CELLS) && word & SAYS == CELLS - next % CELLS => {
                next + (word & SAYS)
            }
            _ => return Err(NO_DAMAGE),
        };
        ensure(cell(at) & !SAYS == DATA, NO_DAMAGE)?;
        let end = at + RECORD;
        ensure(end + TERMINATOR - self.receiver.read[i] <= CELLS, NO_DAMAGE)?;
        Ok(Some(Seen { id: cell(at) & SAYS, at, end }))
    }

    fn new_number_of_sender(&self, i: usize) -> u8 {
        let r = &self.receiver;
        let holds = matches!(r.at, ReceiverAt::LoadWant | ReceiverAt::Post | ReceiverAt::SwapNumber);
        fresh((holds && usize::from(r.lane) == i).then_some(r.number).into_iter())
    }

    fn new_number_of_receiver(&self) -> u8 {
        let holds = |p: &&Sender| matches!(p.at, SenderAt::Post | SenderAt::SwapNumber);
        fresh(self.senders.iter().filter(holds).map(|p| p.number))
    }
}

impl Channel {
    fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    fn stamped(&self) -> bool {
        self.lanes > 1
    }

    // ---------------------------------------------------------------------------------------------------- sender

    /// Whether the sender's next record has room as far as it knows.
    fn fits(&self, p: &Sender) -> bool {
        self.wanted(p) <= p.head
    }

    /// The position that `read` must reach before the next record has room.
    fn wanted(&self, p: &Sender) -> u8 {
        let terminator = if self.is(Mutation::NoRoomForTerminator) { 0 } else { TERMINATOR };
        (p.place().0 + RECORD + terminator).saturating_sub(CELLS)
    }

    /// The next call of `send`, or the end.
    fn call_send(&self, p: &mut Sender) {
        p.at = match () {
            () if p.left == 0 || p.stay == 0 => SenderAt::LeaveChange,
            () if self.fits(p) => SenderAt::FirstPayload,
            () => SenderAt::LookAtHead,
        };
    }

    /// The step that follows when the record is written and its header is not: the header of the record itself, also
    /// where a padding's header will publish it.
    fn publication(&self, padding: u8) -> SenderAt {
        match self.mutation {
            Some(Mutation::PaddingBeforeRecord) if padding != 0 => SenderAt::PaddingHeader,
            _ => SenderAt::Header,
        }
    }

    /// `send` has returned.
    fn return_from_send(&self, s: &mut State, i: usize) {
        s.lanes[i].rung = s.lanes[i].published;
        s.lanes[i].returned = s.lanes[i].published;
        let p = &mut s.senders[i];
        p.number = 0;
        p.stay -= 1;
        match self.mutation {
            Some(Mutation::BitAfterMessage) if s.bitmap >> i & 1 == 0 => p.at = SenderAt::ShowLane,
            Some(Mutation::StampTakenAhead) => p.at = SenderAt::TakeStampAhead,
            _ => self.call_send(p),
        }
    }

    fn step_sender(&self, s: &mut State, i: usize) -> Taken {
        use SenderAt::*;
        let p = s.senders[i];
        let (at, padding) = p.place();
        let lane = &mut s.lanes[i];
        let go = |s: &mut State, next: SenderAt| s.senders[i].at = next;
        match p.at {
            // The system call that takes the seat and leaves the will.
            Off => {
                if p.left == 0 || lane.alive {
                    return Ok(false);
                }
                lane.alive = true;
                s.senders[i] = Sender::new(Sign, p.left, self.stay);
            }
            Sign => {
                s.sender_came = true;
                s.changes += 1;
                go(s, LookAtNumber);
            }
            LookAtNumber => {
                let next = if lane.number != 0 { EvenNumber } else { EmptyBell };
                go(s, next);
            }
            EvenNumber => {
                // An increment: if a ringer was faster, the number is odd now, and nobody sleeps.
                s.lanes[i].number = if s.lanes[i].number != 0 { 0 } else { s.new_number_of_sender(i) };
                go(s, EmptyBell);
            }
            EmptyBell => {
                lane.bell = 0;
                go(s, Walk);
            }
            Walk => {
                // Nobody else writes `tail` or headers while we hold the seat: the walk is one step with `read`.
                let mut tail = lane.tail;
                while !self.is(Mutation::NoWalkAtTakeover) {
                    let word = lane.cells[(tail % CELLS) as usize];
                    tail += match word & !SAYS {
                        0 if word == 0 => break,
                        DATA => RECORD,
                        PADDING => word & SAYS,
                        _ => return Err(NO_DAMAGE),
                    };
                    ensure(tail - lane.tail <= CELLS, NO_DAMAGE)?;
                }
                ensure(tail >= lane.read && tail - lane.read <= CELLS, NO_DAMAGE)?;
                s.senders[i].tail = tail;
                s.senders[i].head = lane.read;
                go(s, StoreTail);
            }
            StoreTail => {
                lane.tail = p.tail;
                lane.used = true;
                let late = self.is(Mutation::BitAfterMessage);
                go(s, if self.stamped() && !late { ShowLane } else { LookForReceiver });
            }
            ShowLane => {
                s.bitmap |= 1 << i;
                if self.is(Mutation::BitAfterMessage) {
                    self.call_send(&mut s.senders[i]);
                } else {
                    go(s, LookForReceiver);
                }
            }
            LookForReceiver => {
                s.senders[i].seen = s.alive;
                if self.is(Mutation::StampTakenAhead) {
                    go(s, TakeStampAhead);
                } else {
                    self.call_send(&mut s.senders[i]);
                }
            }

            // Room: at `head` first, then at `read`, which is never less.
            LookAtHead => {
                s.senders[i].head = p.head.max(lane.head);
                let fits = self.fits(&s.senders[i]);
                go(s, if fits { FirstPayload } else { LookForRoom });
            }
            LookForRoom => {
                s.senders[i].head = lane.read;
                let fits = self.fits(&s.senders[i]);
                // Whoever waits for the next receiver in any case need not ask for this one.
                go(
                    s,
                    if fits {
                        FirstPayload
                    } else if self.persistent {
                        StoreWant
                    } else {
                        MustAsk
                    },
                );
            }
            MustAsk => {
                let must = p.stale || p.changes != s.changes;
                go(s, if must { Asking } else { StoreWant });
            }
            Asking => {
                s.senders[i].stale = false;
                s.senders[i].changes = s.changes;
                s.senders[i].seen |= s.receiver_came;
                go(s, AskSeat);
            }
            AskSeat => {
                s.senders[i].seen |= s.alive;
                if !s.alive && s.senders[i].seen {
                    // Disconnected: this sender drops its handle, and nobody comes after it.
                    s.senders[i].left = 0;
                    go(s, LeaveChange);
                } else {
                    go(s, StoreWant);
                }
            }
            StoreWant => {
                lane.want = self.wanted(&p);
                go(s, StoreNumber);
            }
            StoreNumber => {
                let number = s.new_number_of_sender(i);
                s.lanes[i].number = number;
                s.senders[i].mine = number;
                let unseen = self.is(Mutation::SenderSleepsUnseen);
                go(s, if unseen { Park } else { LastLook });
            }
            LastLook => {
                s.senders[i].head = lane.read;
                let fits = self.fits(&s.senders[i]);
                go(s, if fits { NumberAfterFound } else { Park });
            }
            Park => {
                if lane.bell == 0 {
                    return Ok(false);
                }
                lane.bell -= 1;
                go(s, NumberAfterUnit);
            }
            NumberAfterFound => {
                lane.number = 0;
                s.senders[i].mine = 0;
                go(s, FirstPayload);
            }
            NumberAfterUnit => {
                let rung = lane.number != p.mine || self.is(Mutation::EveryWakeIsARing);
                lane.number = 0;
                s.senders[i].mine = 0;
                s.senders[i].stale |= !rung;
                go(s, LookForRoom);
            }

            // The record. `send` begins here for the properties: later than it does, which asks for more.
            FirstPayload => {
                let other = s.lanes[1 - i].returned;
                let lane = &mut s.lanes[i];
                lane.ids += 1;
                lane.after[lane.ids as usize] = other;
                let word = PAYLOAD | lane.ids;
                s.senders[i].left -= 1;
                if self.stamped() {
                    // The same in fewer steps: nobody looks at these words yet, as the model of one lane shows.
                    s.put(i, at + 2, word)?;
                    s.put(i, at + RECORD, 0)?;
                    let ahead = self.is(Mutation::StampTakenAhead);
                    go(s, if ahead { StoreStamp } else { TakeStamp });
                    return Ok(true);
                }
                let (offset, next) = match () {
                    () if self.is(Mutation::HeaderBeforePayload) => (1, Terminate),
                    () => (1, LastPayload),
                };
                s.put(i, at + offset, word)?;
                go(s, next);
            }
            LastPayload => {
                if self.is(Mutation::HeaderBeforePayload) {
                    // Published already: the store goes to where the consumer may be.
                    s.lanes[i].cells[((at + 2) % CELLS) as usize] = PAYLOAD | s.lanes[i].ids;
                    go(s, CommitTail);
                } else {
                    let word = PAYLOAD | lane.ids;
                    s.put(i, at + 2, word)?;
                    go(s, Terminate);
                }
            }
            Terminate => {
                if !self.is(Mutation::NoTerminator) {
                    s.put(i, at + RECORD, 0)?;
                }
                go(s, self.publication(padding));
            }
            TakeStamp => {
                s.senders[i].stamp = s.stamps;
                if self.is(Mutation::StampInTwoSteps) {
                    go(s, StoreCounter);
                } else {
                    s.stamps += 1;
                    s.senders[i].stamp = 0;
                    s.put(i, at + 1, STAMP | (s.stamps - 1))?;
                    go(s, self.publication(padding));
                }
            }
            StoreCounter => {
                s.stamps = p.stamp + 1;
                go(s, StoreStamp);
            }
            StoreStamp => {
                s.put(i, at + 1, STAMP | p.stamp)?;
                s.senders[i].stamp = 0;
                go(s, self.publication(padding));
            }
            Header => {
                let word = DATA | lane.ids;
                s.put(i, at, word)?;
                if padding == 0 || self.is(Mutation::PaddingBeforeRecord) {
                    s.lanes[i].published = at + RECORD;
                    let late = self.is(Mutation::HeaderBeforePayload);
                    go(s, if late { LastPayload } else { CommitTail });
                } else {
                    go(s, PaddingHeader);
                }
            }
            PaddingHeader => {
                s.put(i, p.tail, PADDING | padding)?;
                if self.is(Mutation::PaddingBeforeRecord) {
                    go(s, Header);
                } else {
                    s.lanes[i].published = at + RECORD;
                    go(s, CommitTail);
                }
            }
            CommitTail => {
                s.senders[i].tail = at + RECORD;
                lane.tail = at + RECORD;
                go(s, LoadNumber);
            }

            // The receiver's bell.
            LoadNumber => {
                s.senders[i].number = s.number;
                match s.number {
                    0 => self.return_from_send(s, i),
                    _ if self.is(Mutation::PostAfterSwap) => go(s, SwapNumber),
                    _ => go(s, Post),
                }
            }
            Post => {
                s.bell += 1;
                lane.rung = lane.published;
                if self.is(Mutation::PostAfterSwap) {
                    self.return_from_send(s, i);
                } else {
                    go(s, SwapNumber);
                }
            }
            SwapNumber => {
                if s.number == p.number {
                    s.number = 0;
                }
                if self.is(Mutation::PostAfterSwap) {
                    go(s, Post);
                } else {
                    self.return_from_send(s, i);
                }
            }
            TakeStampAhead => {
                s.senders[i].stamp = s.stamps;
                s.stamps += 1;
                self.call_send(&mut s.senders[i]);
            }

            LeaveChange => {
                s.changes += 1;
                go(s, LeaveSeat);
            }
            LeaveSeat => {
                lane.alive = false;
                s.bell += 1;
                s.senders[i] = Sender::new(Off, s.senders[i].left, 0);
            }
        }
        Ok(true)
    }

    fn kill_sender(&self, s: &mut State, i: usize) -> bool {
        if s.kills == 0 || s.sender_kills == 0 || s.senders[i].at == SenderAt::Off {
            return false;
        }
        s.kills -= 1;
        s.sender_kills -= 1;
        s.lanes[i].alive = false;
        if !self.is(Mutation::NoSendersWill) {
            s.bell += 1;
        }
        s.lanes[i].rung = s.lanes[i].published;
        s.senders[i] = Sender::new(SenderAt::Off, s.senders[i].left, 0);
        true
    }

    // -------------------------------------------------------------------------------------------------- receiver

    fn begin_look(&self, r: &mut Receiver, why: Why) {
        r.why = why;
        r.again = false;
        if !self.stamped() {
            (r.at, r.lane) = (ReceiverAt::PeekKnown, 0);
        } else if r.taken != NONE {
            r.at = ReceiverAt::PeekTaken;
        } else {
            self.after_taken(r);
        }
    }

    /// The head of the lane that the last record came from is known, as far as there is one.
    fn after_taken(&self, r: &mut Receiver) {
        match r.top() {
            Some((stamp, lane)) if stamp < r.horizon => self.found(r, lane),
            Some(_) => r.at = ReceiverAt::LoadBitmap,
            None => self.peek_known(r, 0),
        }
    }

    /// Nothing is known: the lanes in the list, without the counter.
    fn peek_known(&self, r: &mut Receiver, from: u8) {
        match r.unknown(from) {
            Some(lane) => (r.at, r.lane) = (ReceiverAt::PeekKnown, lane),
            None if self.is(Mutation::SingleLaneWithoutBitmap) && r.bits.count_ones() == 1 => match r.top() {
                Some((_, lane)) => self.found(r, lane),
                None => r.at = ReceiverAt::LoadBitmap,
            },
            None => r.at = ReceiverAt::LoadBitmap,
        }
    }

    fn peek_all(&self, r: &mut Receiver, from: u8) -> Result<(), Property> {
        match r.unknown(from) {
            Some(lane) => (r.at, r.lane) = (ReceiverAt::PeekAll, lane),
            None if self.is(Mutation::HorizonAfterLook) => r.at = ReceiverAt::LoadCounterLate,
            None => self.judge(r)?,
        }
        Ok(())
    }

    /// All lanes were looked at after the counter was read.
    fn judge(&self, r: &mut Receiver) -> Result<(), Property> {
        r.horizon = r.counter;
        r.counter = 0;
        match r.top() {
            None => self.nothing(r)?,
            Some((stamp, lane)) if stamp < r.horizon => self.found(r, lane),
            Some(_) => {
                // Found by this look only: it is below the next counter.
                ensure(!r.again, NO_DAMAGE)?;
                r.again = true;
                r.at = ReceiverAt::LoadCounter;
            }
        }
        Ok(())
    }

    /// The look found the head of `lane`: hand it out.
    fn found(&self, r: &mut Receiver, lane: u8) {
        r.lane = lane;
        r.at = match r.why {
            Why::BeforeSleep => ReceiverAt::NumberAfterFound,
            _ => self.hand_out(),
        };
    }

    fn hand_out(&self) -> ReceiverAt {
        if self.is(Mutation::ReleaseBeforeUse) { ReceiverAt::Release } else { ReceiverAt::Give }
    }

    /// The look found nothing.
    fn nothing(&self, r: &mut Receiver) -> Result<(), Property> {
        r.at = match r.why {
            Why::First => ReceiverAt::MustAsk,
            Why::BeforeSleep => ReceiverAt::Park,
            Why::BeforeEnd => ReceiverAt::LeaveChange,
        };
        Ok(())
    }

    /// Peeks at a lane for the merge.
    fn look_at(&self, s: &mut State, lane: u8) -> Result<(), Property> {
        let i = usize::from(lane);
        match s.peek(i)? {
            None => self.give_back(&mut s.receiver, i),
            Some(seen) => {
                let stamp = s.lanes[i].cells[((seen.at + 1) % CELLS) as usize];
                s.receiver.found[i] = if self.stamped() {
                    ensure(stamp & !SAYS == STAMP, WHOLE)?;
                    (stamp & SAYS) + 1
                } else {
                    1
                };
            }
        }
        Ok(())
    }

    /// `head` lags: the next step stores it.
    fn give_back(&self, r: &mut Receiver, i: usize) {
        if r.head[i] != r.read[i] {
            r.gives_back = i as u8;
        }
    }

    /// The next lane that may be taken off the bitmap, or on to sleep.
    fn retire(&self, r: &mut Receiver, from: u8) {
        // The seats are in a private copy: a lane whose sender was there is not looked at.
        let lane = (from..LANES as u8)
            .find(|&lane| self.stamped() && r.seats >> lane & 1 == 0 && r.unknown(lane) == Some(lane));
        match lane {
            Some(lane) => (r.at, r.lane) = (ReceiverAt::RetirePeek, lane),
            None => r.at = ReceiverAt::StoreNumber,
        }
    }

    fn leave_out(&self, r: &mut Receiver) {
        let lane = r.lane;
        r.bits &= !(1 << lane);
        if r.taken == lane {
            r.taken = NONE;
        }
        self.retire(r, lane + 1);
    }

    /// The next call of `recv`.
    fn call_recv(&self, r: &mut Receiver) {
        r.lane = 0;
        r.number = 0;
        r.redelivered = false;
        r.promised = [0; LANES];
        self.begin_look(r, Why::First);
    }

    fn step_receiver(&self, s: &mut State) -> Taken {
        use ReceiverAt::*;
        let State { receiver: r, .. } = s;
        if r.gives_back != NONE {
            let i = usize::from(r.gives_back);
            r.head[i] = r.read[i];
            r.gives_back = NONE;
            s.lanes[i].head = s.receiver.read[i];
            return Ok(true);
        }
        let i = usize::from(r.lane);
        match r.at {
            // The system call that takes the seat and leaves the wills.
            Off => {
                s.alive = true;
                *r = Receiver::new(Sign);
            }
            Gone => return Ok(false),
            Sign => {
                s.receiver_came = true;
                s.changes += 1;
                r.at = LookAtNumber;
            }
            LookAtNumber => r.at = if s.number != 0 { EvenNumber } else { EmptyBell },
            EvenNumber => {
                r.at = EmptyBell;
                s.number = if s.number != 0 { 0 } else { s.new_number_of_receiver() };
            }
            EmptyBell => {
                s.bell = 0;
                r.at = ReadSeats;
            }
            ReadSeats => {
                r.seats = (0..LANES).map(|lane| u8::from(s.lanes[lane].alive) << lane).sum();
                r.seen = r.seats != 0;
                r.at = LookAtTail;
            }
            LookAtTail => {
                let show = if self.is(Mutation::BitsByTail) {
                    s.lanes[i].tail != s.lanes[i].read || r.seats >> i & 1 == 1
                } else {
                    s.lanes[i].used && !self.is(Mutation::NoBitsAtTakeover)
                };
                r.at = if show && self.stamped() { ShowLane } else { StoreHead };
            }
            ShowLane => {
                s.bitmap |= 1 << i;
                r.at = StoreHead;
            }
            StoreHead => {
                // `read` and `given` are the receiver's own words: loaded in the same step.
                let lane = &mut s.lanes[i];
                (r.next[i], r.read[i], r.head[i], r.given[i]) = (lane.read, lane.read, lane.read, lane.given);
                lane.head = lane.read;
                if i + 1 < self.lanes {
                    (r.at, r.lane) = (LookAtTail, r.lane + 1);
                } else {
                    (r.seats, r.lane) = (0, 0);
                    self.call_recv(r);
                }
            }

            // The look at the lanes: `Merge::next`.
            PeekTaken => {
                let lane = r.taken;
                r.taken = NONE;
                self.look_at(s, lane)?;
                self.after_taken(&mut s.receiver);
            }
            PeekKnown => {
                let lane = r.lane;
                self.look_at(s, lane)?;
                let r = &mut s.receiver;
                match () {
                    () if self.stamped() => self.peek_known(r, lane + 1),
                    () if r.found[0] != 0 => self.found(r, 0),
                    () => self.nothing(r)?,
                }
            }
            LoadBitmap => {
                let more = s.bitmap & !r.bits != 0;
                r.bits |= s.bitmap;
                match r.top() {
                    None if !more => self.nothing(r)?,
                    Some((_, lane)) if !more && r.bits.count_ones() == 1 => self.found(r, lane),
                    _ => r.at = LoadCounter,
                }
            }
            LoadCounter => {
                r.counter = s.stamps;
                // The increment that gave a stamp precedes the publication that we have seen.
                ensure(r.top().is_none_or(|(stamp, _)| stamp < r.counter), NO_DAMAGE)?;
                r.at = LoadBitmapAgain;
            }
            LoadBitmapAgain => {
                r.bits |= s.bitmap;
                self.peek_all(r, 0)?;
            }
            PeekAll => {
                let lane = r.lane;
                self.look_at(s, lane)?;
                self.peek_all(&mut s.receiver, lane + 1)?;
            }
            LoadCounterLate => {
                r.counter = s.stamps;
                self.judge(r)?;
            }

            // Who is there: `Receiver::ask`.
            MustAsk => {
                r.at = if r.stale || r.changes != s.changes { Asking } else { StoreNumber };
            }
            Asking => {
                r.stale = false;
                r.changes = s.changes;
                r.seen |= s.sender_came;
                r.at = AskSeats;
            }
            AskSeats => {
                r.seats = (0..LANES).map(|lane| u8::from(s.lanes[lane].alive) << lane).sum();
                r.seen |= r.seats != 0;
                if r.seats == 0 && r.seen {
                    r.promised = [s.lanes[0].published, s.lanes[1].published];
                    if self.is(Mutation::EndWithoutSecondLook) {
                        r.at = LeaveChange;
                    } else {
                        self.begin_look(r, Why::BeforeEnd);
                    }
                } else {
                    self.retire(r, 0);
                }
            }
            RetirePeek | RetirePeekAgain => {
                let again = r.at == RetirePeekAgain;
                let empty = s.peek(i)?.is_none();
                let r = &mut s.receiver;
                if empty {
                    self.give_back(r, i);
                }
                match (empty, again) {
                    (true, false) => r.at = RetireSeat,
                    (true, true) => self.leave_out(r),
                    (false, true) => r.at = RetireSetBack,
                    (false, false) => self.retire(r, i as u8 + 1),
                }
            }
            RetireSeat => {
                if s.lanes[i].alive {
                    self.retire(r, i as u8 + 1);
                } else {
                    r.at = RetireClear;
                }
            }
            RetireClear => {
                s.bitmap &= !(1 << i);
                if self.is(Mutation::RetireWithoutSecondLook) {
                    self.leave_out(r);
                } else {
                    r.at = RetireSeatAgain;
                }
            }
            RetireSeatAgain => r.at = if s.lanes[i].alive { RetireSetBack } else { RetirePeekAgain },
            RetireSetBack => {
                s.bitmap |= 1 << i;
                self.retire(r, i as u8 + 1);
            }

            // `wait::sleep`.
            StoreNumber => {
                let number = s.new_number_of_receiver();
                s.number = number;
                let r = &mut s.receiver;
                r.mine = number;
                (r.seats, r.lane) = (0, 0);
                if self.is(Mutation::ReceiverSleepsUnseen) {
                    r.at = Park;
                } else {
                    self.begin_look(r, Why::BeforeSleep);
                }
            }
            Park => {
                if s.bell == 0 {
                    return Ok(false);
                }
                s.bell -= 1;
                r.at = NumberAfterUnit;
            }
            NumberAfterUnit => {
                let rung = s.number != r.mine || self.is(Mutation::EveryWakeIsARing);
                s.number = 0;
                r.mine = 0;
                r.stale |= !rung;
                self.call_recv(r);
            }
            NumberAfterFound => {
                s.number = 0;
                r.mine = 0;
                r.at = self.hand_out();
            }

            // Handing out: `given`, the message, `read`.
            Give => {
                let Some(seen) = s.peek(i)? else { return Err(NO_OVERWRITE) };
                let r = &mut s.receiver;
                r.redelivered = r.next[i] < r.given[i];
                r.given[i] = r.given[i].max(seen.end);
                if !self.is(Mutation::NoGiven) {
                    s.lanes[i].given = s.lanes[i].given.max(seen.end);
                }
                s.receiver.at = Use;
            }
            Use => {
                self.deliver(s)?;
                if self.is(Mutation::ReleaseBeforeUse) {
                    self.pass(s)?;
                    s.receiver.at = LoadNumber;
                } else {
                    s.receiver.at = Release;
                }
            }
            Release => {
                let Some(seen) = s.peek(i)? else { return Err(NO_OVERWRITE) };
                s.lanes[i].read = seen.end;
                if self.is(Mutation::ReleaseBeforeUse) {
                    s.receiver.at = Use;
                } else {
                    self.pass(s)?;
                    s.receiver.at = LoadNumber;
                }
            }

            // The sender's bell.
            LoadNumber => {
                r.number = s.lanes[i].number;
                if r.number == 0 {
                    s.lanes[i].freed = r.read[i];
                    self.call_recv(r);
                } else {
                    r.at = LoadWant;
                }
            }
            LoadWant => {
                let more = if self.is(Mutation::WantTooMuch) { RECORD } else { 0 };
                if r.read[i] >= s.lanes[i].want + more {
                    r.at = Post;
                } else {
                    s.lanes[i].freed = r.read[i];
                    self.call_recv(r);
                }
            }
            Post => {
                s.lanes[i].bell += 1;
                s.lanes[i].freed = r.read[i];
                r.at = SwapNumber;
            }
            SwapNumber => {
                if s.lanes[i].number == r.number {
                    s.lanes[i].number = 0;
                }
                self.call_recv(r);
            }

            // Disconnected. While senders may still come, whoever holds the receiver calls again.
            LeaveChange => {
                let undelivered = (0..LANES).any(|lane| s.lanes[lane].delivered < r.promised[lane]);
                ensure(!undelivered, END_IS_TRUE)?;
                if s.senders.iter().all(|p| p.at == SenderAt::Off && p.left == 0) {
                    s.changes += 1;
                    r.at = LeaveSeat;
                } else {
                    r.stale = true;
                    r.seats = 0;
                    self.call_recv(r);
                }
            }
            LeaveSeat => {
                s.alive = false;
                s.lanes.iter_mut().for_each(|lane| lane.bell += 1);
                *r = Receiver::new(Gone);
            }
        }
        Ok(true)
    }

    /// The program reads the message that it was handed: what it sees is checked here.
    fn deliver(&self, s: &mut State) -> Result<(), Property> {
        let i = usize::from(s.receiver.lane);
        let Some(Seen { id, at, end }) = s.peek(i)? else { return Err(NO_OVERWRITE) };
        let (start, flagged) = (s.receiver.next[i], s.receiver.redelivered);
        let lane = &mut s.lanes[i];
        ensure(end <= lane.published, COMMITTED)?;
        let payload = if self.stamped() { 2..RECORD } else { 1..RECORD };
        for word in payload {
            ensure(lane.cells[((at + word) % CELLS) as usize] == PAYLOAD | id, WHOLE)?;
        }
        if end <= lane.delivered {
            return ensure(flagged, ONCE);
        }
        // Padding counts as part of the record behind it.
        ensure(start == lane.delivered, NEVER_LOST)?;
        let after = std::mem::take(&mut lane.after[id as usize]);
        lane.delivered = end;
        ensure(s.lanes[1 - i].delivered >= after, CAUSAL)
    }

    /// Steps behind the record that was handed out and released.
    fn pass(&self, s: &mut State) -> Result<(), Property> {
        let i = usize::from(s.receiver.lane);
        let Some(Seen { end, .. }) = s.peek(i)? else { return Err(NO_OVERWRITE) };
        let r = &mut s.receiver;
        (r.next[i], r.read[i]) = (end, end);
        r.found[i] = 0;
        r.seen = true;
        if self.stamped() {
            r.taken = i as u8;
        }
        if r.read[i] - r.head[i] >= LAG {
            self.give_back(r, i);
        }
        Ok(())
    }

    fn kill_receiver(&self, s: &mut State) -> bool {
        if s.kills == 0
            || s.receiver_kills == 0
            || matches!(s.receiver.at, ReceiverAt::Off | ReceiverAt::Gone)
        {
            return false;
        }
        s.kills -= 1;
        s.receiver_kills -= 1;
        s.alive = false;
        for lane in &mut s.lanes[..self.lanes] {
            if !self.is(Mutation::NoReceiversWill) {
                lane.bell += 1;
            }
            lane.freed = lane.read;
        }
        let returns = self.receiver_returns;
        s.receiver = Receiver::new(if returns { ReceiverAt::Off } else { ReceiverAt::Gone });
        true
    }
}

impl Model for Channel {
    type State = State;
    /// Steps of two senders and the receiver, kills of the same.
    const ACTIONS: u8 = 6;

    fn start(&self) -> State {
        let lane = Lane {
            cells: [0; CELLS as usize],
            tail: 0,
            want: 0,
            head: 0,
            read: 0,
            given: 0,
            number: 0,
            bell: 0,
            used: false,
            alive: false,
            published: 0,
            rung: 0,
            returned: 0,
            delivered: 0,
            freed: 0,
            ids: 0,
            after: [0; IDS],
        };
        let sender = |left| Sender::new(SenderAt::Off, left, 0);
        assert!((1..=LANES).contains(&self.lanes) && (self.lanes == 2 || self.messages[1] == 0));
        assert!(self.messages.iter().all(|&messages| usize::from(messages) < IDS));
        let mut start = State {
            lanes: [lane; LANES],
            senders: [sender(self.messages[0]), sender(self.messages[1])],
            receiver: Receiver::new(ReceiverAt::Off),
            stamps: 0,
            bitmap: 0,
            changes: 0,
            sender_came: false,
            receiver_came: false,
            number: 0,
            bell: 0,
            alive: false,
            sender_kills: self.sender_kills,
            receiver_kills: self.receiver_kills,
            kills: self.kills,
        };
        let taken = |taken: Taken| assert_eq!(taken, Ok(true), "nothing hinders who is alone");
        while self.seated && start.receiver.at != ReceiverAt::LoadBitmap {
            taken(self.step_receiver(&mut start));
            if !self.stamped() && start.receiver.at == ReceiverAt::PeekKnown {
                break;
            }
        }
        for i in 0..if self.seated { self.lanes } else { 0 } {
            while start.senders[i].at != SenderAt::FirstPayload {
                taken(self.step_sender(&mut start, i));
            }
        }
        start
    }

    fn step(&self, state: &State, action: u8) -> Step<State> {
        let mut next = *state;
        let taken = match action {
            0 | 1 => self.step_sender(&mut next, action.into()),
            2 => self.step_receiver(&mut next),
            3 | 4 => Ok(self.kill_sender(&mut next, (action - 3).into())),
            _ => Ok(self.kill_receiver(&mut next)),
        };
        match taken {
            Ok(true) => Step::Next(next),
            Ok(false) => Step::Blocked,
            Err(property) => Step::Wrong(property),
        }
    }

    fn is_progress(&self, action: u8) -> bool {
        action < 3
    }

    /// Sleeping over something is wrong in the very state in which nobody is left who could end the sleep.
    fn check(&self, s: &State) -> Option<Property> {
        let lanes = &s.lanes[..self.lanes];
        if s.receiver.at == ReceiverAt::Park && s.bell == 0 {
            // Only the message of a sender between its header store and its post may wait.
            if lanes.iter().any(|lane| lane.read < lane.rung) {
                return Some(RECEIVER_WAKES);
            }
            if s.sender_came && lanes.iter().all(|lane| !lane.alive) {
                return Some(END_IS_SEEN);
            }
        }
        for (lane, p) in lanes.iter().zip(&s.senders) {
            if p.at == SenderAt::Park && lane.bell == 0 {
                if lane.freed >= self.wanted(p) {
                    return Some(SENDER_WAKES);
                }
                if !self.persistent && !s.alive && (s.receiver_came || p.seen) {
                    return Some(LOSS_IS_SEEN);
                }
            }
        }
        None
    }

    fn may_rest(&self, s: &State) -> bool {
        // A sender waits for the next receiver if it is to, or if it has never seen one.
        let waits = self.persistent || !s.receiver_came;
        let rests = |p: &Sender| match p.at {
            SenderAt::Off => p.left == 0,
            SenderAt::Park => waits,
            _ => false,
        };
        s.receiver.at == ReceiverAt::Gone && s.senders.iter().all(rests)
    }

    fn describe(&self, s: &State, action: u8) -> String {
        match action {
            0 | 1 => {
                let p = &s.senders[usize::from(action)];
                format!("sender {action}: {:?} (tail {}, {} left)", p.at, p.tail, p.left)
            }
            2 => {
                let r = &s.receiver;
                format!(
                    "receiver: {:?} lane {} ({:?}, next {:?}, bits {:b})",
                    r.at, r.lane, r.why, r.next, r.bits
                )
            }
            3 | 4 => {
                format!("sender {} is killed at {:?}", action - 3, s.senders[usize::from(action - 3)].at)
            }
            _ => format!("receiver is killed at {:?}", s.receiver.at),
        }
    }
}
