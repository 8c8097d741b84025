//! `sysring stat`: all that can be said about one channel without touching it.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use indicatif::{BinaryBytes, HumanDuration};
use serde::Serialize;
use sysring::{LaneStats, Observer, SeatStats, Stats};

use crate::args::StatArgs;
use crate::exit::Failure;
use crate::output;
use crate::state::{self, State};

pub(crate) fn run(args: &StatArgs) -> Result<(), Failure> {
    let stats = Observer::open(args.name.clone())?.stats()?;
    if args.json { output::print_json(&report(&stats)) } else { output::print(&text(&stats)) }
}

/// What `--json` shows; the names are a promise.
#[derive(Debug, Serialize)]
struct Report {
    address: String,
    name: Option<String>,
    key: String,
    id: i32,
    semaphore_set: i32,
    state: State,
    kind: &'static str,
    order: &'static str,
    persistent: bool,
    anonymous: bool,
    capacity: u64,
    max_message: u64,
    seats: u32,
    size: u64,
    mode: String,
    owner_uid: u32,
    owner_gid: u32,
    creator_uid: u32,
    creator_pid: i32,
    created_unix: u64,
    attached: u64,
    real_fences: bool,
    huge_pages: bool,
    locked: bool,
    messages: u64,
    bytes: u64,
    damages: u64,
    receiver: Receiver,
    senders: Vec<Sender>,
    waits: Vec<Wait>,
}

#[derive(Debug, Serialize)]
struct Receiver {
    taken: bool,
    pid: Option<i32>,
    asleep: bool,
    attaches: u64,
}

#[derive(Debug, Serialize)]
struct Sender {
    lane: u32,
    taken: bool,
    pid: Option<i32>,
    asleep: bool,
    waits_for_room: bool,
    sent: u64,
    sent_bytes: u64,
    received: u64,
    messages: u64,
    bytes: u64,
    corrupt: bool,
    corrupt_at: Option<u64>,
}

/// One end that waits for the other.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Wait {
    who: &'static str,
    lane: Option<u32>,
    pid: Option<i32>,
    waits_for: &'static str,
    explanation: String,
}

fn report(stats: &Stats) -> Report {
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
fn holder(seat: &SeatStats) -> Option<i32> {
    seat.pid.filter(|_| seat.taken)
}

/// Processes that have it mapped, without us.
fn mappings(stats: &Stats) -> u64 {
    stats.attached.saturating_sub(1)
}

fn bytes(stats: &Stats) -> u64 {
    stats.lanes.iter().map(|lane| lane.used).sum()
}

/// Who waits, for what, and for whom.
fn waits(stats: &Stats) -> Vec<Wait> {
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

fn text(stats: &Stats) -> String {
    let mut out = String::new();
    for (label, value) in summary(stats) {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{label:<10} {value}");
    }
    if !stats.lanes.is_empty() {
        let head = ["LANE", "PID", "STATE", "SENT", "BYTES", "RECEIVED", "WAITING", "USED"];
        let rows: Vec<[String; 8]> = stats.lanes.iter().map(cells).collect();
        out.push('\n');
        out.push_str(&output::table(head, &rows));
    }
    let waits = waits(stats);
    if !waits.is_empty() {
        out.push('\n');
    }
    for wait in waits {
        out.push_str(&wait.explanation);
        out.push('\n');
    }
    out
}

fn summary(stats: &Stats) -> Vec<(&'static str, String)> {
    let persistence = if stats.persistent { "persistent" } else { "not persistent" };
    let origin = if stats.anonymous { ", anonymous" } else { "" };
    let age = stats.created.elapsed().unwrap_or(Duration::ZERO);
    let age = HumanDuration(Duration::from_secs(age.as_secs()));
    let taken = state::senders_taken(stats);
    let (messages, used) = (state::messages(stats), BinaryBytes(bytes(stats)));
    let mut summary = vec![
        (
            "channel",
            format!(
                "{} (key {}, segment {}, semaphore set {})",
                state::address(stats),
                state::key(stats.key),
                stats.id,
                stats.semaphore_set
            ),
        ),
        ("state", State::of(stats).text().into()),
        (
            "kind",
            format!(
                "{}, order {}, {persistence}{origin}",
                state::kind(stats.kind),
                state::order(stats.order)
            ),
        ),
        (
            "geometry",
            format!(
                "{} x {}, longest message {} bytes, {} in all{}",
                stats.senders,
                BinaryBytes(stats.capacity),
                stats.max_message,
                BinaryBytes(stats.size),
                options(stats)
            ),
        ),
        (
            "access",
            format!(
                "mode {:03o}, owner uid {} gid {}, made {age} ago by pid {} of uid {}",
                stats.mode, stats.owner_uid, stats.owner_gid, stats.creator_pid, stats.creator_uid
            ),
        ),
        (
            "attached",
            format!(
                "{} mappings; {} senders and {} receivers so far",
                mappings(stats),
                stats.sender_attaches,
                stats.receiver_attaches
            ),
        ),
        ("receiver", receiver(&stats.receiver)),
        ("senders", format!("{taken} of {}", stats.senders)),
        ("depth", format!("{messages} messages, {used}")),
    ];
    let damaged = stats.lanes.iter().filter_map(|lane| lane.corrupt_at.map(|at| (lane.lane, at)));
    let places: Vec<String> =
        damaged.map(|(lane, at)| format!("lane {lane} from position {at} on")).collect();
    if !places.is_empty() || stats.damages > 0 {
        let places = if places.is_empty() { "no lane now".into() } else { places.join(", ") };
        summary.push(("damage", format!("{places}; reported {} times", stats.damages)));
    }
    summary
}

fn options(stats: &Stats) -> String {
    let flags = [
        (stats.huge_pages, ", huge pages"),
        (stats.locked, ", locked"),
        (stats.real_fences, ", real fences"),
    ];
    flags.iter().filter(|(set, _)| *set).map(|(_, text)| *text).collect()
}

fn receiver(seat: &SeatStats) -> String {
    match (seat.taken, seat.asleep) {
        (false, _) => "none".into(),
        (true, false) => state::pid(seat),
        (true, true) => format!("{}, asleep", state::pid(seat)),
    }
}

fn cells(lane: &LaneStats) -> [String; 8] {
    [
        lane.lane.to_string(),
        holder(&lane.seat).map_or_else(|| "-".into(), |pid| pid.to_string()),
        lane_state(lane).into(),
        lane.sent.to_string(),
        lane.sent_bytes.to_string(),
        lane.received.to_string(),
        lane.messages.to_string(),
        BinaryBytes(lane.used).to_string(),
    ]
}

fn lane_state(lane: &LaneStats) -> &'static str {
    match &lane.seat {
        _ if lane.corrupt => "damaged",
        SeatStats { taken: false, .. } => "free",
        SeatStats { asleep: true, .. } => "asleep",
        _ if lane.waits_for_room => "full",
        _ => "active",
    }
}
