//! One measurement: channels, workers, figures, and the count of all messages.

use std::hash::{BuildHasher as _, RandomState};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sysring::Builder;

use super::failed;
use super::plan::Measurement;
use super::protocol::{Answer, Command, Figures, Role, Tally, Task};
use super::workers::{Trouble, Workers};
use crate::exit::Failure;

/// Bytes of a lane.
const CAPACITY: u64 = 1 << 20;

/// What one measurement gave.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) figures: Figures,
    /// Messages that came; each was the next of its sender and whole, and none is missing.
    pub(super) checked: u64,
}

pub(super) fn measure(measurement: Measurement, time: Duration) -> Result<Outcome, Failure> {
    let (builder, roles) = cast(measurement);
    // One for each direction.
    let directions = if matches!(measurement, Measurement::Latency { .. }) { 2 } else { 1 };
    let channels = Channels((0..directions).map(|_| unique_name()).collect());
    let warm_up = time / 5;
    let task = |role| Task {
        role,
        channels: channels.0.clone(),
        size: measurement.size(),
        wait: measurement.wait(),
        warm_up,
        time,
    };
    let tasks = roles.iter().copied().map(task).collect();
    // The workers come first, so that they remove the channels whatever happens to this process; and they end first.
    let about = |trouble| match trouble {
        Trouble::Interrupted => Failure::interrupted(),
        Trouble::Failed(why) => failed(&format!("{measurement}: {why}")),
    };
    let mut workers = Workers::start(tasks).map_err(about)?;
    channels.create(&builder)?;
    let outcome = play(&mut workers, &roles, warm_up + time).map_err(about)?;
    workers.finish().map_err(about)?;
    Ok(outcome)
}

/// The kind of channel, and who takes part.
fn cast(measurement: Measurement) -> (Builder, Vec<Role>) {
    let senders = |count: u32| {
        let senders = (0..count).map(|number| Role::Sender { number });
        [Role::Receiver { senders: count }].into_iter().chain(senders).collect()
    };
    match measurement {
        Measurement::Throughput { .. } => (sysring::spsc(), senders(1)),
        Measurement::Latency { .. } => (sysring::spsc(), vec![Role::Ping, Role::Pong]),
        Measurement::Scaling { senders: count, order } => {
            (sysring::mpsc().senders(count).order(order.order()), senders(count))
        }
    }
}

fn play(workers: &mut Workers, roles: &[Role], length: Duration) -> Result<Outcome, Trouble> {
    workers.order_all(&Command::Attach)?;
    workers.await_ready()?;
    workers.order_all(&Command::Go)?;
    // Answers of different workers may overtake each other: one may be done before the figures of another are heard.
    let mut tallies: Vec<Option<Tally>> = vec![None; roles.len()];
    let mut figures = None;
    while figures.is_none() || tallies.iter().any(Option::is_none) {
        match workers.hear(length)? {
            (_, Answer::Measured(measured)) => {
                figures = Some(measured);
                workers.order_all(&Command::Stop)?;
            }
            (place, Answer::Done(tally)) => tallies[place] = Some(tally),
            (_, other) => return Err(Trouble::Failed(format!("figures or a count expected, not {other:?}"))),
        }
    }
    let tallies: Vec<Tally> = tallies.into_iter().flatten().collect();
    let figures = figures.ok_or_else(|| Trouble::Failed("no figures".into()))?;
    let checked = count(roles, &tallies).map_err(Trouble::Failed)?;
    Ok(Outcome { figures, checked })
}

/// Messages that came, if they are those that were sent.
fn count(roles: &[Role], tallies: &[Tally]) -> Result<u64, String> {
    let sent: Vec<u64> = match roles {
        // Each receives what the other sends.
        [Role::Ping, Role::Pong] => tallies.iter().rev().map(|tally| tally.sent).collect(),
        _ => tallies.iter().skip(1).map(|tally| tally.sent).collect(),
    };
    let received: Vec<u64> = tallies.iter().flat_map(|tally| tally.received.iter().copied()).collect();
    if sent == received {
        Ok(received.iter().sum())
    } else {
        Err(format!("messages are missing: sent {sent:?}, received {received:?} (by sender)"))
    }
}

/// Channels of one measurement; they go with it.
struct Channels(Vec<String>);

impl Channels {
    fn create(&self, builder: &Builder) -> Result<(), Failure> {
        // Not persistent: who has lost the other side ends.
        let builder = builder.clone().capacity(CAPACITY).persistent(false);
        for name in &self.0 {
            builder.create(name.clone())?;
        }
        Ok(())
    }
}

impl Drop for Channels {
    fn drop(&mut self) {
        for name in &self.0 {
            // It may not have been made yet.
            let _ = sysring::remove(name.clone());
        }
    }
}

/// Tells the process, and nobody else in this IPC namespace has it, also where pids are not unique.
fn unique_name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let random = RandomState::new().hash_one(number) as u32;
    format!("sysring-bench-{}-{number}-{random:08x}", process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(sent: u64, received: &[u64]) -> Tally {
        Tally { sent, received: received.to_vec() }
    }

    #[test]
    fn what_was_sent_must_have_come() {
        let (_, roles) = cast(Measurement::Scaling { senders: 2, order: super::super::plan::Order::Total });
        let good = [tally(0, &[3, 4]), tally(3, &[]), tally(4, &[])];
        assert_eq!(count(&roles, &good), Ok(7));
        let lost = [tally(0, &[3, 3]), tally(3, &[]), tally(4, &[])];
        assert!(count(&roles, &lost).unwrap_err().contains("missing"));
    }

    #[test]
    fn both_ways_are_counted() {
        let (_, roles) = cast(Measurement::Latency { wait: super::super::plan::Wait::Busy });
        assert_eq!(count(&roles, &[tally(5, &[5]), tally(5, &[5])]), Ok(10));
        assert!(count(&roles, &[tally(6, &[5]), tally(5, &[5])]).is_err());
        assert!(count(&roles, &[tally(5, &[4]), tally(5, &[5])]).is_err());
    }
}
