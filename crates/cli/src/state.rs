//! What `stat` and `ls` call the state of a channel, and its address.

use anstyle::Style;
use schemars::JsonSchema;
use serde::Serialize;
use sysring::{Kind, OpenError, OpenErrorKind, Order, SeatStats, Stats};

use crate::output;

/// The one word for a channel.
#[derive(Clone, Copy, Debug, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// A sender or a receiver has a seat.
    InUse,
    /// Nobody has a seat.
    Idle,
    /// Somebody is making it, or died making it.
    HalfMade,
    /// It was removed, and goes with the last process that is attached.
    Removed,
    /// Its header or one of its lanes is damaged.
    Damaged,
    /// It cannot be read: another user's, or of another version.
    Unreadable,
}

impl State {
    pub(crate) const ALL: [Self; 6] =
        [Self::InUse, Self::Idle, Self::HalfMade, Self::Removed, Self::Damaged, Self::Unreadable];

    pub(crate) fn of(stats: &Stats) -> Self {
        if stats.removed {
            Self::Removed
        } else if stats.lanes.iter().any(|lane| lane.corrupt) {
            Self::Damaged
        } else if stats.receiver.taken || senders_taken(stats) > 0 {
            Self::InUse
        } else {
            Self::Idle
        }
    }

    /// Of a channel that could not be read.
    pub(crate) fn of_error(error: &OpenError) -> Self {
        match error.kind() {
            OpenErrorKind::Busy => Self::HalfMade,
            OpenErrorKind::Removed | OpenErrorKind::NotFound => Self::Removed,
            OpenErrorKind::Corrupt => Self::Damaged,
            _ => Self::Unreadable,
        }
    }

    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::InUse => "in use",
            Self::Idle => "idle",
            Self::HalfMade => "half-made",
            Self::Removed => "removed",
            Self::Damaged => "damaged",
            Self::Unreadable => "unreadable",
        }
    }

    pub(crate) fn style(self) -> Style {
        match self {
            Self::InUse => output::GOOD,
            Self::Idle => output::PLAIN,
            Self::HalfMade | Self::Removed => output::WARNING,
            Self::Damaged | Self::Unreadable => output::BAD,
        }
    }
}

pub(crate) fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Spsc => "spsc",
        Kind::Mpsc => "mpsc",
    }
}

pub(crate) fn order(order: Order) -> &'static str {
    match order {
        Order::Total => "total",
        Order::PerSender => "sender",
    }
}

pub(crate) fn key(key: i32) -> String {
    format!("0x{key:08x}")
}

/// What to call it on the command line: its name, else its key, else its segment.
pub(crate) fn address(stats: &Stats) -> String {
    if stats.name.is_empty() { unnamed(stats.key, stats.id) } else { stats.name.clone() }
}

pub(crate) fn unnamed(raw_key: i32, id: i32) -> String {
    if raw_key == 0 { format!("id:{id}") } else { format!("key:{}", key(raw_key)) }
}

pub(crate) fn senders_taken(stats: &Stats) -> usize {
    stats.lanes.iter().filter(|lane| lane.seat.taken).count()
}

/// Messages that wait in all lanes.
pub(crate) fn messages(stats: &Stats) -> u64 {
    // The counts are whatever the segment says.
    stats.lanes.iter().fold(0, |sum, lane| sum.saturating_add(lane.messages))
}

/// `pid 42`, or what can be said instead.
pub(crate) fn pid(seat: &SeatStats) -> String {
    match seat.pid {
        Some(pid) => format!("pid {pid}"),
        None => "pid unknown".into(),
    }
}
