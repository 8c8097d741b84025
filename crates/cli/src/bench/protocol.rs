//! What the bench and its workers say to each other: one line of JSON each, over the worker's stdin and stdout.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::plan::Wait;

/// To a worker, in this order.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Command {
    /// What it is for. It also has to remove these channels should this process end without a word.
    Prepare(Task),
    /// The channels are there: take the seats.
    Attach,
    /// Everybody is ready.
    Go,
    /// It is measured.
    Stop,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) role: Role,
    /// The channel, or the one there and the one back.
    pub(super) channels: Vec<String>,
    pub(super) size: usize,
    pub(super) wait: Wait,
    /// How long it runs before it is measured.
    pub(super) warm_up: Duration,
    /// How long it is measured, by the receiver or by who sends there and back.
    pub(super) time: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Role {
    Sender { number: u32 },
    Receiver { senders: u32 },
    Ping,
    Pong,
}

impl Role {
    pub(super) fn text(self) -> String {
        match self {
            Self::Sender { number } => format!("sender {number}"),
            Self::Receiver { .. } => "the receiver".into(),
            Self::Ping => "the process that sends first".into(),
            Self::Pong => "the process that sends back".into(),
        }
    }
}

/// From a worker, in this order; `Failed` at any time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Answer {
    /// It has its seats.
    Ready,
    /// From who measures.
    Measured(Figures),
    /// All is sent and received.
    Done(Tally),
    /// Why it ended.
    Failed(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Figures {
    Rate {
        messages: u64,
        nanoseconds: u64,
    },
    /// Nanoseconds at each of [`PERCENTILES`](super::statistics::percentiles).
    RoundTrips {
        count: u64,
        nanoseconds: Vec<u64>,
    },
}

/// Messages from the first to the last, also those before and after what was measured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tally {
    pub(super) sent: u64,
    /// Of each sender; all of them were good.
    pub(super) received: Vec<u64>,
}
