//! The results, as `--json` shows them; the names are a promise.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::machine::{self, Machine};
use super::measure::Outcome;
use super::plan::{Measurement, Order, Wait};
use super::protocol::Figures;
use super::statistics::{NAMED, Spread, percentiles};

/// What `sysring bench --json` shows.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Report {
    /// Version of sysring.
    pub(crate) version: String,
    /// When the measuring ended, in universal time: `2026-01-31T12:34:56Z`.
    pub(crate) date: String,
    /// What it ran on.
    pub(crate) machine: Machine,
    /// What was asked for.
    pub(crate) settings: Settings,
    /// Messages received in all; each was whole and in the order of its sender, and none was missing.
    pub(crate) checked_messages: u64,
    /// One sender, one receiver, by message size and way of waiting.
    pub(crate) throughput: Vec<Throughput>,
    /// There and back again over two channels, by way of waiting.
    pub(crate) latency: Vec<Latency>,
    /// Several senders, one receiver, by number of senders and order.
    pub(crate) scaling: Vec<Scaling>,
}

/// How it was measured.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Settings {
    /// How often each figure was taken; the median, the least and the greatest are shown.
    pub(crate) rounds: u32,
    /// Length of a single measurement in milliseconds, without its warm-up.
    pub(crate) time_ms: u64,
    /// Whether processes were bound to cores.
    pub(crate) pinned: bool,
}

/// One sender to one receiver.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Throughput {
    /// Bytes of a message.
    pub(crate) size: usize,
    /// How both sides wait.
    pub(crate) wait: Wait,
    /// Messages received in a second.
    pub(crate) messages_per_second: Spread,
    /// Bytes of messages received in a second.
    pub(crate) bytes_per_second: Spread,
    /// Whether there were fewer cores than the two processes.
    pub(crate) more_processes_than_cores: bool,
    /// Messages received and found good, over all rounds, also before and after what was measured.
    pub(crate) checked_messages: u64,
}

/// Round trips: a message there, one back.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Latency {
    /// Bytes of a message.
    pub(crate) size: usize,
    /// How both sides wait.
    pub(crate) wait: Wait,
    /// Half of the round trips took no longer.
    pub(crate) p50_ns: Spread,
    /// 90 % took no longer.
    pub(crate) p90_ns: Spread,
    /// 99 % took no longer.
    pub(crate) p99_ns: Spread,
    /// 99.9 % took no longer.
    pub(crate) p99_9_ns: Spread,
    /// The longest.
    pub(crate) max_ns: Spread,
    /// The same and more percentiles, ascending from the shortest round trip (0) to the longest (100).
    pub(crate) percentiles: Vec<Percentile>,
    /// Round trips measured, over all rounds.
    pub(crate) round_trips: u64,
    /// Whether there were fewer cores than the two processes.
    pub(crate) more_processes_than_cores: bool,
    /// Messages received and found good on both sides, over all rounds, also before what was measured.
    pub(crate) checked_messages: u64,
}

/// One point of the distribution.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Percentile {
    /// Share of the round trips that took no longer, in percent.
    pub(crate) percentile: f64,
    /// How long they took at most.
    pub(crate) ns: Spread,
}

/// Several senders to one receiver.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Scaling {
    /// Processes that send.
    pub(crate) senders: u32,
    /// Order between messages of different senders.
    pub(crate) order: Order,
    /// Bytes of a message.
    pub(crate) size: usize,
    /// How all sides wait.
    pub(crate) wait: Wait,
    /// Messages received in a second.
    pub(crate) messages_per_second: Spread,
    /// Bytes of messages received in a second.
    pub(crate) bytes_per_second: Spread,
    /// Whether there were fewer cores than processes.
    pub(crate) more_processes_than_cores: bool,
    /// Messages received and found good, over all rounds, also before and after what was measured.
    pub(crate) checked_messages: u64,
}

impl Settings {
    pub(super) fn new(rounds: u32, time: Duration) -> Self {
        Self { rounds, time_ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX), pinned: false }
    }

    pub(super) fn time(&self) -> Duration {
        Duration::from_millis(self.time_ms)
    }

    /// `5 rounds of 300 ms`.
    pub(super) fn text(&self) -> String {
        let rounds = match self.rounds {
            1 => format!("1 round of {} ms", self.time_ms),
            rounds => format!("{rounds} rounds of {} ms", self.time_ms),
        };
        if cfg!(debug_assertions) { rounds + ", by a debug build" } else { rounds }
    }
}

/// All rounds of one measurement.
#[derive(Debug)]
pub(super) struct Results {
    pub(super) measurement: Measurement,
    rounds: Vec<Figures>,
    checked: u64,
}

impl Results {
    pub(super) fn of(measurement: Measurement) -> Self {
        Self { measurement, rounds: Vec::new(), checked: 0 }
    }

    pub(super) fn add(&mut self, outcome: Outcome) {
        self.rounds.push(outcome.figures);
        self.checked = self.checked.saturating_add(outcome.checked);
    }

    fn rate(&self) -> Spread {
        Spread::of(self.rounds.iter().filter_map(|figures| match figures {
            Figures::Rate { messages, nanoseconds } => {
                Some((*messages as f64 * 1e9 / (*nanoseconds).max(1) as f64).round())
            }
            Figures::RoundTrips { .. } => None,
        }))
    }

    fn percentiles(&self) -> Vec<Percentile> {
        let at = |place: usize| {
            Spread::of(self.rounds.iter().filter_map(move |figures| match figures {
                Figures::RoundTrips { nanoseconds, .. } => nanoseconds.get(place).map(|ns| *ns as f64),
                Figures::Rate { .. } => None,
            }))
        };
        let all = percentiles().into_iter().enumerate();
        all.map(|(place, percentile)| Percentile { percentile, ns: at(place) }).collect()
    }

    fn round_trips(&self) -> u64 {
        let counts = self.rounds.iter().map(|figures| match figures {
            Figures::RoundTrips { count, .. } => *count,
            Figures::Rate { .. } => 0,
        });
        counts.fold(0, u64::saturating_add)
    }
}

impl Report {
    pub(super) fn new(machine: Machine, settings: Settings, all: &[Results]) -> Self {
        let mut report = Self {
            version: env!("CARGO_PKG_VERSION").into(),
            date: machine::now(),
            machine,
            settings,
            checked_messages: 0,
            throughput: Vec::new(),
            latency: Vec::new(),
            scaling: Vec::new(),
        };
        for results in all {
            report.add(results);
        }
        report
    }

    fn add(&mut self, results: &Results) {
        self.checked_messages = self.checked_messages.saturating_add(results.checked);
        let (measurement, rate) = (results.measurement, results.rate());
        let (size, wait) = (measurement.size(), measurement.wait());
        let bytes_per_second = rate.times(size as f64);
        let more_processes_than_cores = measurement.processes() > self.machine.cores;
        match measurement {
            Measurement::Throughput { .. } => self.throughput.push(Throughput {
                size,
                wait,
                messages_per_second: rate,
                bytes_per_second,
                more_processes_than_cores,
                checked_messages: results.checked,
            }),
            Measurement::Latency { .. } => {
                let percentiles = results.percentiles();
                let [p50_ns, p90_ns, p99_ns, p99_9_ns, max_ns] = NAMED.map(|named| at(&percentiles, named));
                self.latency.push(Latency {
                    size,
                    wait,
                    p50_ns,
                    p90_ns,
                    p99_ns,
                    p99_9_ns,
                    max_ns,
                    percentiles,
                    round_trips: results.round_trips(),
                    more_processes_than_cores,
                    checked_messages: results.checked,
                });
            }
            Measurement::Scaling { senders, order } => self.scaling.push(Scaling {
                senders,
                order,
                size,
                wait,
                messages_per_second: rate,
                bytes_per_second,
                more_processes_than_cores,
                checked_messages: results.checked,
            }),
        }
    }

    /// Whether somewhere more processes ran than there are cores.
    pub(super) fn crowded(&self) -> bool {
        self.throughput.iter().any(|row| row.more_processes_than_cores)
            || self.latency.iter().any(|row| row.more_processes_than_cores)
            || self.scaling.iter().any(|row| row.more_processes_than_cores)
    }
}

/// The figure at this very percentile.
pub(super) fn at(percentiles: &[Percentile], wanted: f64) -> Spread {
    let found = percentiles.iter().find(|point| point.percentile.total_cmp(&wanted).is_eq());
    found.map_or_else(|| Spread::of([]), |point| point.ns)
}
