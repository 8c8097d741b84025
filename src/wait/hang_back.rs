//! Hanging back: a receiver at the sender's heels makes every cache line travel twice a message. One that waits a
//! few microseconds when it has caught up lets the sender run ahead, and the lines travel in bulk.
//!
//! That is right in a stream and wrong everywhere else: in a ping-pong and under paced load it would only add delay. No
//! single look can tell them apart, so this one measures. While the lane runs empty again and again at a high rate,
//! it tries what a few pauses do. If messages come clearly faster with them, it goes on pausing, and stops as soon
//! as a pause brings few messages or the gain is gone. If not, it leaves it, and tries again after twice the time. A
//! trial is some tens of microseconds; trials that fail take less than a thousandth of the time.

use std::hint;
use std::time::{Duration, Instant};

/// How long one pause is.
const PAUSE: Duration = Duration::from_micros(4);

/// Times that the lane runs empty before the rate is looked at.
const WINDOW: u32 = 64;

/// Pauses of a trial.
const TRIAL: u32 = 8;

/// Slower traffic is not tried.
const SLOWEST: Duration = Duration::from_nanos(400);

/// A pause that brings fewer messages was in vain.
const LEAST: u64 = 16;

/// The time per message must fall to this share of what it was, in percent.
const GAIN: u32 = 80;

/// Pauses in a row without a gain, after which there is none.
const VAIN: u32 = 4;

/// Time between two trials, at first and at most.
const PATIENCE: (Duration, Duration) = (Duration::from_micros(250), Duration::from_millis(256));

/// Where the decision stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Looking at the rate; so many times the lane ran empty since the window began.
    Watching(u32),
    /// Trying; so many pauses so far.
    Trying(u32),
    /// Hanging back; so many pauses in a row without a gain.
    Hanging(u32),
}

/// What one receiver knows of its traffic.
#[derive(Debug)]
pub(crate) struct HangBack {
    phase: Phase,
    /// When the window or the trial began, and how many messages had been received then.
    begin: Option<(Instant, u64)>,
    /// The same of the last pause.
    pause: Option<(Instant, u64)>,
    /// Time per message without pauses, as last seen.
    plain: Duration,
    /// The same at the last trial that failed.
    tried: Duration,
    patience: Duration,
    next_trial: Option<Instant>,
}

/// Time and how to pass it: the machine's, or a test's.
pub(crate) trait Clock {
    fn now(&mut self) -> Instant;
    fn pass(&mut self, time: Duration);
}

/// The machine's.
pub(crate) struct RealClock;

impl Clock for RealClock {
    #[inline]
    fn now(&mut self) -> Instant {
        Instant::now()
    }

    fn pass(&mut self, time: Duration) {
        let start = Instant::now();
        while start.elapsed() < time {
            // Looking at the clock is not what the time is for.
            for _ in 0..8 {
                hint::spin_loop();
            }
        }
    }
}

impl HangBack {
    pub(crate) fn new() -> HangBack {
        HangBack {
            phase: Phase::Watching(0),
            begin: None,
            pause: None,
            plain: Duration::ZERO,
            tried: Duration::ZERO,
            patience: PATIENCE.0,
            next_trial: None,
        }
    }

    /// To be called when nothing is left, with the number of messages received so far. Pauses if that is worth it.
    #[inline]
    pub(crate) fn caught_up(&mut self, received: u64, clock: &mut impl Clock) {
        match &mut self.phase {
            // Most calls: a count and nothing else.
            Phase::Watching(times @ 1..WINDOW) => *times += 1,
            _ => self.consider((clock.now(), received), clock),
        }
    }

    fn consider(&mut self, now: (Instant, u64), clock: &mut impl Clock) {
        self.phase = match self.phase {
            Phase::Watching(_) => {
                let window = self.begin.and_then(|begin| each(begin, now));
                self.plain = window.unwrap_or_default();
                let worth = window.is_some_and(|each| each <= SLOWEST);
                // Twice as fast as what the last trial was about is something new.
                let due = self.next_trial.is_none_or(|then| now.0 >= then) || 2 * self.plain < self.tried;
                self.begin = Some(now);
                if worth && due { Phase::Trying(1) } else { Phase::Watching(1) }
            }
            Phase::Trying(_) | Phase::Hanging(_) if self.brought(now) < LEAST => self.give_up(now),
            Phase::Trying(pauses @ ..TRIAL) => Phase::Trying(pauses + 1),
            Phase::Trying(_) if self.is_gain(self.begin, now) => {
                self.patience = PATIENCE.0;
                Phase::Hanging(0)
            }
            Phase::Trying(_) => self.give_up(now),
            Phase::Hanging(_) if self.is_gain(self.pause, now) => Phase::Hanging(0),
            Phase::Hanging(vain @ ..VAIN) => Phase::Hanging(vain + 1),
            Phase::Hanging(_) => self.give_up(now),
        };
        if !matches!(self.phase, Phase::Watching(_)) {
            self.pause = Some(now);
            clock.pass(PAUSE);
        }
    }

    /// Messages that came with the last pause.
    fn brought(&self, now: (Instant, u64)) -> u64 {
        self.pause.map_or(u64::MAX, |(_, before)| now.1.wrapping_sub(before))
    }

    fn is_gain(&self, since: Option<(Instant, u64)>, now: (Instant, u64)) -> bool {
        since.and_then(|since| each(since, now)).is_some_and(|each| each < self.plain * GAIN / 100)
    }

    /// Goes back to watching, for longer than last time.
    fn give_up(&mut self, now: (Instant, u64)) -> Phase {
        self.tried = self.plain;
        self.next_trial = Some(now.0 + self.patience);
        self.patience = (2 * self.patience).min(PATIENCE.1);
        (self.begin, self.pause) = (Some(now), None);
        Phase::Watching(1)
    }
}

/// Time per message between two moments.
fn each(from: (Instant, u64), to: (Instant, u64)) -> Option<Duration> {
    let messages = u32::try_from(to.1.wrapping_sub(from.1)).unwrap_or(u32::MAX);
    (to.0 - from.0).checked_div(messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Simulated time.
    struct World {
        now: Instant,
        paused: Duration,
    }

    impl Clock for World {
        fn now(&mut self) -> Instant {
            self.now
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
            self.paused += time;
        }
    }

    const NANOSECOND: Duration = Duration::from_nanos(1);

    /// Runs traffic of so many milliseconds: `messages(after)` says how many messages have come after so many
    /// nanoseconds without a look, and how long it takes to receive them. Returns the share of time in pauses.
    fn run(
        (hang, received, now): &mut (HangBack, u64, Instant),
        millis: u64,
        mut messages: impl FnMut(u64) -> (u64, u64),
    ) -> f64 {
        let start = *now;
        let mut world = World { now: start, paused: Duration::ZERO };
        let mut looked = start;
        while world.now - start < Duration::from_millis(millis) {
            let (count, nanos) = messages((world.now - looked).as_nanos() as u64);
            looked = world.now;
            *received += count;
            world.now += NANOSECOND * nanos as u32;
            hang.caught_up(*received, &mut world);
        }
        *now = world.now;
        world.paused.as_secs_f64() / (world.now - start).as_secs_f64()
    }

    fn new() -> (HangBack, u64, Instant) {
        (HangBack::new(), 0, Instant::now())
    }

    /// At the sender's heels a message takes 70 ns; one that waits gets them for 8 ns each.
    fn stream(after: u64) -> (u64, u64) {
        if after < 1000 { (1, 70) } else { (after / 8, after / 8 * 6) }
    }

    /// A message each `gap` ns, whatever the receiver does; taking one costs 10 ns.
    fn paced(gap: u64) -> impl FnMut(u64) -> (u64, u64) {
        let (mut now, mut received) = (0, 0);
        move |after| {
            now += after;
            let count = (now / gap).saturating_sub(received).max(1);
            received += count;
            (count, (count * 10).max((received * gap).saturating_sub(now)))
        }
    }

    #[test]
    fn a_stream_is_given_time() {
        assert!(run(&mut new(), 50, stream) > 0.2);
    }

    #[test]
    fn paced_traffic_is_left_alone() {
        for gap in [100, 200, 350, 1000, 10_000, 100_000] {
            let share = run(&mut new(), 1000, paced(gap));
            assert!(share < 0.002, "{share} of the time with a message each {gap} ns");
        }
    }

    #[test]
    fn a_stream_that_becomes_slow_is_noticed() {
        let mut hang = new();
        assert!(run(&mut hang, 10, stream) > 0.2);
        assert!(run(&mut hang, 100, paced(200)) < 0.01);
        assert!(run(&mut hang, 10, stream) > 0.2, "and it is found again");
    }
}
