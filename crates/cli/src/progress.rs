//! Bytes and rate of a long transfer, on stderr, for a person only.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A short transfer shows nothing.
const DELAY: Duration = Duration::from_millis(500);
const INTERVAL: Duration = Duration::from_millis(100);

const SPINNER: &str = "{spinner} {bytes}  {bytes_per_sec}  {elapsed}";
const BAR: &str = "{bar:30} {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left";

/// Counts bytes and shows them; without a terminal it does nothing at all.
#[derive(Debug)]
pub(crate) struct Progress {
    shown: Option<Shown>,
}

#[derive(Debug)]
struct Shown {
    bar: ProgressBar,
    started: Instant,
    updated: Instant,
    bytes: u64,
}

impl Progress {
    /// `wanted` is false where a bar would run into the text of the user's own terminal.
    pub(crate) fn new(total: Option<u64>, wanted: bool) -> Self {
        let shown = (wanted && io::stderr().is_terminal()).then(|| {
            let now = Instant::now();
            Shown { bar: bar(total), started: now, updated: now, bytes: 0 }
        });
        Self { shown }
    }

    /// So many bytes went through in all.
    pub(crate) fn set(&mut self, bytes: u64) {
        if let Some(shown) = &mut self.shown {
            shown.bytes = bytes;
            let now = Instant::now();
            if now - shown.started >= DELAY && now - shown.updated >= INTERVAL {
                shown.updated = now;
                shown.bar.set_position(shown.bytes);
            }
        }
    }
}

impl Drop for Progress {
    /// Leaves the last state on the screen, whatever the end was.
    fn drop(&mut self) {
        if let Some(shown) = &self.shown
            && shown.started.elapsed() >= DELAY
            && shown.bytes > 0
        {
            shown.bar.set_position(shown.bytes);
            shown.bar.abandon();
        }
    }
}

fn bar(total: Option<u64>) -> ProgressBar {
    let template = if total.is_some() { BAR } else { SPINNER };
    let target = ProgressDrawTarget::stderr_with_hz(10);
    let bar = ProgressBar::with_draw_target(total, target);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
