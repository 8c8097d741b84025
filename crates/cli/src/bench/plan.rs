//! What is measured, and in which order.

use std::fmt;

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sysring::WaitStrategy;

/// Message sizes of the throughput, in bytes.
pub(super) const SIZES: [usize; 5] = [8, 64, 512, 4 << 10, 64 << 10];
/// Message size of the round trips and of several senders.
pub(super) const SIZE: usize = 64;

/// What `--only` may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Section {
    /// One sender, one receiver, messages of several sizes
    Throughput,
    /// There and back again, over two channels
    Latency,
    /// Several senders, one receiver
    Scaling,
}

impl Section {
    pub(super) const ALL: [Self; 3] = [Self::Throughput, Self::Latency, Self::Scaling];
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Throughput => "throughput",
            Self::Latency => "latency",
            Self::Scaling => "scaling",
        })
    }
}

/// How the processes of a measurement wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Wait {
    /// They never sleep (`WaitStrategy::Spin`).
    Busy,
    /// Each wait sleeps in the kernel at once (`WaitStrategy::Sleep`).
    Sleeping,
    /// They look for some tens of microseconds, then sleep (`WaitStrategy::SpinThenSleep`, the default of channels).
    SpinThenSleep,
}

impl Wait {
    pub(super) fn strategy(self) -> WaitStrategy {
        match self {
            Self::Busy => WaitStrategy::Spin,
            Self::Sleeping => WaitStrategy::Sleep,
            Self::SpinThenSleep => WaitStrategy::SpinThenSleep,
        }
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Sleeping => "sleeping",
            Self::SpinThenSleep => "spin, then sleep",
        }
    }
}

/// In which order messages of different senders arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Order {
    /// One causal order of all messages (`Order::Total`).
    Total,
    /// Each sender's own order only (`Order::PerSender`).
    Sender,
}

impl Order {
    pub(super) fn order(self) -> sysring::Order {
        match self {
            Self::Total => sysring::Order::Total,
            Self::Sender => sysring::Order::PerSender,
        }
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Sender => "per sender",
        }
    }
}

/// One figure, or one histogram, to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measurement {
    Throughput { size: usize, wait: Wait },
    Latency { wait: Wait },
    Scaling { senders: u32, order: Order },
}

impl Measurement {
    pub(super) fn size(self) -> usize {
        match self {
            Self::Throughput { size, .. } => size,
            Self::Latency { .. } | Self::Scaling { .. } => SIZE,
        }
    }

    /// With several senders there are soon more processes than cores, so these may always sleep.
    pub(super) fn wait(self) -> Wait {
        match self {
            Self::Throughput { wait, .. } | Self::Latency { wait } => wait,
            Self::Scaling { .. } => Wait::SpinThenSleep,
        }
    }

    /// How many processes run at a time.
    pub(super) fn processes(self) -> usize {
        match self {
            Self::Throughput { .. } | Self::Latency { .. } => 2,
            Self::Scaling { senders, .. } => senders as usize + 1,
        }
    }
}

impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Throughput { size, wait } => {
                write!(f, "throughput, {}, {}", size_text(size), wait.text())
            }
            Self::Latency { wait } => write!(f, "latency, {}", wait.text()),
            Self::Scaling { senders: 1, order } => write!(f, "scaling, 1 sender, order {}", order.text()),
            Self::Scaling { senders, order } => {
                write!(f, "scaling, {senders} senders, order {}", order.text())
            }
        }
    }
}

/// `64 B`, `4 KiB`.
pub(super) fn size_text(bytes: usize) -> String {
    if bytes >= 1 << 10 && bytes.is_multiple_of(1 << 10) {
        format!("{} KiB", bytes >> 10)
    } else {
        format!("{bytes} B")
    }
}

/// All that is to be measured in a round. Each number of senders once, in ascending order.
pub(super) fn plan(sections: &[Section], senders: &[u32]) -> Vec<Measurement> {
    let mut counts = senders.to_vec();
    counts.sort_unstable();
    counts.dedup();
    let waits = [Wait::Busy, Wait::Sleeping];
    let mut plan = Vec::new();
    if sections.contains(&Section::Throughput) {
        let of_size = |size| waits.map(|wait| Measurement::Throughput { size, wait });
        plan.extend(SIZES.into_iter().flat_map(of_size));
    }
    if sections.contains(&Section::Latency) {
        plan.extend(waits.map(|wait| Measurement::Latency { wait }));
    }
    if sections.contains(&Section::Scaling) {
        let of_count =
            |senders| [Order::Total, Order::Sender].map(|order| Measurement::Scaling { senders, order });
        plan.extend(counts.into_iter().flat_map(of_count));
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_measured_once() {
        let plan = plan(&Section::ALL, &[8, 1, 2, 8]);
        assert_eq!(plan.len(), 5 * 2 + 2 + 3 * 2);
        let senders = plan.iter().filter_map(|measurement| match measurement {
            Measurement::Scaling { senders, order: Order::Total } => Some(*senders),
            _ => None,
        });
        assert_eq!(senders.collect::<Vec<_>>(), [1, 2, 8]);
    }

    #[test]
    fn only_what_was_asked_for() {
        let plan = plan(&[Section::Latency, Section::Latency], &[1, 2]);
        let waits = [Wait::Busy, Wait::Sleeping].map(|wait| Measurement::Latency { wait });
        assert_eq!(plan, waits);
    }
}
