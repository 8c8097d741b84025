//! What `stat` shows to people.

use std::fmt::Write as _;
use std::time::Duration;

use indicatif::{BinaryBytes, HumanDuration};
use sysring::{LaneStats, SeatStats, Stats};

use super::report::{bytes, holder, mappings, waits};
use crate::output;
use crate::state::{self, State};

pub(super) fn text(stats: &Stats) -> String {
    let mut out = String::new();
    for (label, value) in summary(stats) {
        let style = match label {
            "state" => State::of(stats).style(),
            "damage" => output::BAD,
            _ => output::PLAIN,
        };
        let label = output::styled(output::HEAD, label) + &" ".repeat(10_usize.saturating_sub(label.len()));
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{label} {}", output::styled(style, &output::visible(&value)));
    }
    if !stats.lanes.is_empty() {
        let head = ["LANE", "PID", "STATE", "SENT", "BYTES", "RECEIVED", "WAITING", "USED"];
        let rows: Vec<[String; 8]> = stats.lanes.iter().map(cells).collect();
        out.push('\n');
        out.push_str(&output::styled_table(head, &rows, |column, cell| match cell {
            "active" | "asleep" if head[column] == "STATE" => output::GOOD,
            "full" if head[column] == "STATE" => output::WARNING,
            "damaged" if head[column] == "STATE" => output::BAD,
            _ => output::PLAIN,
        }));
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
                "{}; {} and {} so far",
                output::count(mappings(stats), "mapping"),
                output::count(stats.sender_attaches, "sender"),
                output::count(stats.receiver_attaches, "receiver")
            ),
        ),
        ("receiver", receiver(&stats.receiver)),
        ("senders", format!("{taken} of {}", stats.senders)),
        ("depth", format!("{}, {used}", output::count(messages, "message"))),
    ];
    let damaged = stats.lanes.iter().filter_map(|lane| lane.corrupt_at.map(|at| (lane.lane, at)));
    let places: Vec<String> =
        damaged.map(|(lane, at)| format!("lane {lane} from position {at} on")).collect();
    if !places.is_empty() || stats.damages > 0 {
        let places = if places.is_empty() { "no lane now".into() } else { places.join(", ") };
        summary.push(("damage", format!("{places}; reported {}", output::count(stats.damages, "time"))));
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
