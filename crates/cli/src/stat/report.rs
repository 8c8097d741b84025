//! What `stat --json` shows; its names are a promise, and `share/schema/stat.schema.json` describes them.

use std::time::{Duration, UNIX_EPOCH};

use schemars::JsonSchema;
use serde::Serialize;
use sysring::{LaneStats, SeatStats, Stats};

use crate::state::{self, State};

/// A channel, as `sysring stat --json` shows it. Its parts are read one after another while the channel goes on, so
/// they may not fit each other exactly.
#[derive(Debug, JsonSchema, Serialize)]
#[schemars(title = "sysring stat --json")]
pub(crate) struct Report {
    /// What to call it on the command line: its name, else `key:0x...`, else `id:N`.
    address: String,
    /// Its name; null if it has none.
    name: Option<String>,
    /// Key of its segment, as `0x` and eight hexadecimal digits; 0x00000000 if it cannot be found by key.
    #[schemars(extend("pattern" = "^0x[0-9a-f]{8}$"))]
    key: String,
    /// Id of its segment.
    id: i32,
    /// Id of its semaphore set; -1 if there is none.
    semaphore_set: i32,
    /// What can be said of it in one word.
    state: State,
    /// For one sender or many.
    #[schemars(extend("enum" = ["spsc", "mpsc"]))]
    kind: &'static str,
    /// Order across senders: one causal order of all messages, or each sender's own only.
    #[schemars(extend("enum" = ["total", "sender"]))]
    order: &'static str,
    /// Whether senders wait for the next receiver when the receiver goes.
    persistent: bool,
    /// Whether it is a pair shared by fork.
    anonymous: bool,
    /// Bytes of each sender's lane.
    capacity: u64,
    /// Largest message, in bytes.
    max_message: u64,
    /// How many senders may be attached at a time.
    seats: u32,
    /// Bytes of its segment.
    size: u64,
    /// Permission bits, as octal digits.
    #[schemars(extend("pattern" = "^[0-7]{3}$"))]
    mode: String,
    /// User id of the present owner.
    owner_uid: u32,
    /// Group id of the present owner.
    owner_gid: u32,
    /// User id of its creator.
    creator_uid: u32,
    /// Process id of its creator, in the reader's pid namespace; 0 if it has no number there.
    creator_pid: i32,
    /// When it was made: seconds since 1970-01-01 UTC.
    created_unix: u64,
    /// How often it is mapped into processes.
    attached: u64,
    /// Whether every message costs a real fence, because some process cannot use membarrier or asked for it.
    real_fences: bool,
    /// Whether it lies in huge pages.
    huge_pages: bool,
    /// Whether it is locked into memory.
    locked: bool,
    /// Messages that wait in all lanes.
    messages: u64,
    /// Bytes of all lanes in use, with the headers of the messages.
    bytes: u64,
    /// How often damage was reported since creation.
    damages: u64,
    /// The receiver's seat.
    receiver: Receiver,
    /// The lanes that are or were in use, one for each sender.
    senders: Vec<Sender>,
    /// Who waits for whom.
    waits: Vec<Wait>,
}

/// The receiver's seat.
#[derive(Debug, JsonSchema, Serialize)]
struct Receiver {
    /// Whether a living process has it.
    taken: bool,
    /// That process, in the reader's pid namespace; null if there is none or it is in another.
    pid: Option<i32>,
    /// Whether it sleeps in the kernel.
    asleep: bool,
    /// How often the seat was taken since creation.
    attaches: u64,
}

/// A sender's seat and lane.
#[derive(Debug, JsonSchema, Serialize)]
struct Sender {
    /// Number of the lane.
    lane: u32,
    /// Whether a living process has it.
    taken: bool,
    /// That process, in the reader's pid namespace; null if there is none or it is in another.
    pid: Option<i32>,
    /// Whether it sleeps in the kernel.
    asleep: bool,
    /// Whether it sleeps because the lane is too full for its next message.
    waits_for_room: bool,
    /// Messages sent through this lane since creation.
    sent: u64,
    /// Bytes of those messages, without headers.
    sent_bytes: u64,
    /// Messages received from this lane since creation.
    received: u64,
    /// Messages that wait in this lane.
    messages: u64,
    /// Bytes of the lane in use, with the headers of the messages.
    bytes: u64,
    /// Whether damage was met in this lane.
    corrupt: bool,
    /// Where: a position in the lane, in bytes ever written; null without damage.
    corrupt_at: Option<u64>,
}

/// One end that waits for the other.
#[derive(Debug, JsonSchema, PartialEq, Eq, Serialize)]
pub(crate) struct Wait {
    /// Which end.
    #[schemars(extend("enum" = ["sender", "receiver"]))]
    who: &'static str,
    /// The sender's lane; null for the receiver.
    lane: Option<u32>,
    /// The process, in the reader's pid namespace; null if it is in another.
    pid: Option<i32>,
    /// What it waits for.
    #[schemars(extend("enum" = ["room", "messages"]))]
    waits_for: &'static str,
    /// The same as a sentence for people, whose wording may change.
    pub(crate) explanation: String,
}

pub(crate) fn report(stats: &Stats) -> Report {
    Report {
        address: state::address(stats),
        name: Some(stats.name.clone()).filter(|name| !name.is_empty()),
        key: state::key(stats.key),
        id: stats.id,
        semaphore_set: stats.semaphore_set,
        state: State::of(stats),
        kind: state::kind(stats.kind),
        order: state::order(stats.order),
        persistent: stats.persistent,
        anonymous: stats.anonymous,
        capacity: stats.capacity,
        max_message: stats.max_message,
        seats: stats.senders,
        size: stats.size,
        mode: format!("{:03o}", stats.mode),
        owner_uid: stats.owner_uid,
        owner_gid: stats.owner_gid,
        creator_uid: stats.creator_uid,
        creator_pid: stats.creator_pid,
        created_unix: stats.created.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs(),
        attached: mappings(stats),
        real_fences: stats.real_fences,
        huge_pages: stats.huge_pages,
        locked: stats.locked,
        messages: state::messages(stats),
        bytes: bytes(stats),
        damages: stats.damages,
        receiver: Receiver {
            taken: stats.receiver.taken,
            pid: holder(&stats.receiver),
            asleep: stats.receiver.asleep,
            attaches: stats.receiver_attaches,
        },
        senders: stats.lanes.iter().map(sender).collect(),
        waits: waits(stats),
    }
}

fn sender(lane: &LaneStats) -> Sender {
    Sender {
        lane: lane.lane,
        taken: lane.seat.taken,
        pid: holder(&lane.seat),
        asleep: lane.seat.asleep,
        waits_for_room: lane.waits_for_room,
        sent: lane.sent,
        sent_bytes: lane.sent_bytes,
        received: lane.received,
        messages: lane.messages,
        bytes: lane.used,
        corrupt: lane.corrupt,
        corrupt_at: lane.corrupt_at,
    }
}

/// The pid in a free seat is its last holder's.
pub(super) fn holder(seat: &SeatStats) -> Option<i32> {
    seat.pid.filter(|_| seat.taken)
}

/// Processes that have it mapped, without us.
pub(super) fn mappings(stats: &Stats) -> u64 {
    stats.attached.saturating_sub(1)
}

pub(super) fn bytes(stats: &Stats) -> u64 {
    stats.lanes.iter().map(|lane| lane.used).sum()
}

/// Who waits, for what, and for whom.
pub(super) fn waits(stats: &Stats) -> Vec<Wait> {
    let blocked = stats.lanes.iter().filter(|lane| lane.seat.taken && lane.waits_for_room);
    let mut waits: Vec<Wait> = blocked
        .map(|lane| Wait {
            who: "sender",
            lane: Some(lane.lane),
            pid: lane.seat.pid,
            waits_for: "room",
            explanation: format!(
                "sender in lane {} ({}) waits for room: {}",
                lane.lane,
                state::pid(&lane.seat),
                why_no_room(stats, lane)
            ),
        })
        .collect();
    if stats.receiver.taken && stats.receiver.asleep {
        waits.push(Wait {
            who: "receiver",
            lane: None,
            pid: stats.receiver.pid,
            waits_for: "messages",
            explanation: format!(
                "the receiver ({}) sleeps until a message comes: {}",
                state::pid(&stats.receiver),
                why_no_message(stats)
            ),
        });
    }
    waits
}

fn why_no_room(stats: &Stats, lane: &LaneStats) -> String {
    if stats.receiver.taken {
        format!("the receiver ({}) has {} messages of it to take", state::pid(&stats.receiver), lane.messages)
    } else {
        "there is no receiver".into()
    }
}

fn why_no_message(stats: &Stats) -> String {
    let messages = state::messages(stats);
    match state::senders_taken(stats) {
        _ if messages > 0 => format!("{messages} have just come, so it is about to wake"),
        0 => "there is no sender".into(),
        1 => "the one sender has sent nothing more".into(),
        senders => format!("the {senders} senders have sent nothing more"),
    }
}
