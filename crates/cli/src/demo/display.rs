//! The live view: a line for each sender on a terminal, one line a second elsewhere.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::check::Check;
use super::{SENDERS, VICTIM};

pub(crate) struct Display {
    started: Instant,
    /// The last update, and what had come by then.
    updated: Instant,
    counts: [u64; SENDERS],
    pids: [u32; SENDERS],
    killed: bool,
    /// On a terminal only.
    bars: Option<[ProgressBar; SENDERS]>,
}

impl Display {
    pub(crate) fn new(pids: [u32; SENDERS]) -> Self {
        let now = Instant::now();
        let bars = io::stderr().is_terminal().then(bars);
        Self { started: now, updated: now, counts: [0; SENDERS], pids, killed: false, bars }
    }

    pub(crate) fn killed(&mut self) {
        self.killed = true;
    }

    /// Shows the counts, if it is time to.
    pub(crate) fn update(&mut self, check: &Check) {
        let interval = Duration::from_millis(if self.bars.is_some() { 200 } else { 1000 });
        if self.updated.elapsed() >= interval {
            self.show(check);
        }
    }

    pub(crate) fn finish(&mut self, check: &Check) {
        self.show(check);
        for bar in self.bars.iter().flatten() {
            bar.abandon();
        }
    }

    fn show(&mut self, check: &Check) {
        let now = Instant::now();
        let counts = check.counts();
        let seconds = (now - self.updated).as_secs_f64();
        let rates: [u64; SENDERS] =
            std::array::from_fn(|i| ((counts[i] - self.counts[i]) as f64 / seconds) as u64);
        (self.updated, self.counts) = (now, counts);
        if let Some(bars) = &self.bars {
            for (number, bar) in bars.iter().enumerate() {
                bar.set_message(format!(
                    "sender {} (pid {}): {:>13} messages {:>11}/s{}",
                    number + 1,
                    self.pids[number],
                    count(counts[number]),
                    count(rates[number]),
                    self.mark(number)
                ));
                bar.tick();
            }
        } else {
            self.print_line(&counts, &rates);
        }
    }

    fn print_line(&self, counts: &[u64; SENDERS], rates: &[u64; SENDERS]) {
        let mut line = format!("{:4.1} s", self.started.elapsed().as_secs_f64());
        for number in 0..SENDERS {
            line += &format!(
                "  sender {}: {} ({}/s){}",
                number + 1,
                count(counts[number]),
                count(rates[number]),
                self.mark(number)
            );
        }
        // Nobody may be looking; the summary and the exit status count.
        let _ = writeln!(io::stdout(), "{line}");
    }

    fn mark(&self, number: usize) -> &'static str {
        if self.killed && number == VICTIM { "  killed" } else { "" }
    }
}

/// `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    HumanCount(number).to_string()
}

fn bars() -> [ProgressBar; SENDERS] {
    let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
    std::array::from_fn(|_| {
        let bar = all.add(ProgressBar::new_spinner());
        match ProgressStyle::with_template("{spinner} {msg}") {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        }
    })
}
