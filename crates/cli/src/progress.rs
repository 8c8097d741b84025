//! Bytes, messages and rate of a long transfer, on stderr, for a person only.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output;

/// A short transfer shows nothing, and ends without a summary.
const DELAY: Duration = Duration::from_millis(500);
const INTERVAL: Duration = Duration::from_millis(100);

const SPINNER: &str = "{spinner} {bytes}  {msg}  {bytes_per_sec}  {elapsed}";
const BAR: &str = "{bar:30} {percent:>3}% {bytes} of {total_bytes}  {msg}  {bytes_per_sec}  {eta} left";

/// Counts what goes through and shows it; without a terminal it does nothing at all.
#[derive(Debug)]
pub(crate) struct Progress {
    wanted: bool,
    total: Option<u64>,
    shown: Option<Shown>,
}

#[derive(Debug)]
struct Shown {
    bar: ProgressBar,
    /// When the first message went through: before that there was nothing to measure.
    started: Instant,
    updated: Option<Instant>,
    messages: u64,
    bytes: u64,
}

impl Progress {
    /// `wanted` is false where a bar would run into the text of the user's own terminal.
    pub(crate) fn new(total: Option<u64>, wanted: bool) -> Self {
        Self { wanted: wanted && io::stderr().is_terminal(), total, shown: None }
    }

    /// So many messages and bytes went through in all.
    pub(crate) fn set(&mut self, messages: u64, bytes: u64) {
        if !self.wanted {
            return;
        }
        let shown = self.shown.get_or_insert_with(|| Shown::new(self.total));
        (shown.messages, shown.bytes) = (messages, bytes);
        let now = Instant::now();
        if now - shown.started < DELAY || shown.updated.is_some_and(|updated| now - updated < INTERVAL) {
            return;
        }
        if shown.updated.is_none() {
            shown.appear();
        }
        shown.updated = Some(now);
        shown.update();
    }

    /// It came to its end: one line says what went through.
    pub(crate) fn finish(mut self) {
        if let Some(shown) = self.shown.take()
            && shown.started.elapsed() >= DELAY
        {
            shown.bar.finish_and_clear();
            // For a person who may have gone.
            let _ =
                writeln!(io::stderr(), "{}", summary(shown.messages, shown.bytes, shown.started.elapsed()));
        }
    }
}

impl Drop for Progress {
    /// After an error the place is that of the line that tells it.
    fn drop(&mut self) {
        if let Some(shown) = &self.shown {
            shown.bar.finish_and_clear();
        }
    }
}

impl Shown {
    fn new(total: Option<u64>) -> Self {
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
        let template = if total.is_some() { BAR } else { SPINNER };
        let bar = match ProgressStyle::with_template(template) {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        };
        Self { bar, started: Instant::now(), updated: None, messages: 0, bytes: 0 }
    }

    /// From here on it is drawn, also while nothing goes through: then the rate falls.
    fn appear(&self) {
        self.bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        self.bar.enable_steady_tick(INTERVAL);
    }

    fn update(&self) {
        self.bar.set_position(self.bytes);
        self.bar.set_message(output::count(self.messages, "message"));
    }
}

/// `1,234 messages, 5.20 MiB in 3.1 s, 1.68 MiB/s`
fn summary(messages: u64, bytes: u64, time: Duration) -> String {
    let rate = bytes as f64 / time.as_secs_f64().max(f64::MIN_POSITIVE);
    format!(
        "{}, {} in {:.1} s, {}/s",
        output::count(messages, "message"),
        HumanBytes(bytes),
        time.as_secs_f64(),
        // A rate beyond all numbers is cut off by the conversion.
        HumanBytes(rate as u64)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_for_people() {
        let line = summary(1_234, 5 << 20, Duration::from_millis(2_500));
        assert_eq!(line, "1,234 messages, 5.00 MiB in 2.5 s, 2.00 MiB/s");
        assert_eq!(summary(1, 0, Duration::ZERO), "1 message, 0 B in 0.0 s, 0 B/s");
    }
}
