//! `sysring top`: every channel, live. It only looks, until it is asked to remove one.
//!
//! ```text
//! picture   what the library tells of all channels, and /proc of their processes
//! model     pictures to rates, waits since when, events        (history, event)
//! view      order, filter, selection, dialogs; what keys do
//! draw      the screen                                         (columns, text, format)
//! terminal  raw mode, signals, keys
//! ```

mod columns;
mod draw;
mod event;
mod format;
mod history;
#[cfg(test)]
mod made_up;
mod model;
mod picture;
#[cfg(test)]
mod screens;
mod terminal;
mod text;
mod view;

use std::io::{self, IsTerminal as _};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use nix::errno::Errno;
use sysring::{Address, Observer, OpenError, OpenErrorKind};

use crate::args;
use crate::exit::{FAILURE, Failure, USAGE, errno};
use crate::output;

use columns::Pen;
use draw::Theme;
use format::visible;
use model::{Model, Moment};
use picture::Process;
use terminal::{Input, Screen};
use view::{Action, Sort, View};

#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Show this channel alone
    name: Option<Address>,
    /// Time between two looks, from 100ms to 1h
    #[arg(long, value_name = "T", default_value = "1s", value_parser = interval)]
    interval: Duration,
    /// Print one frame as plain text and end; it takes one interval
    #[arg(long)]
    once: bool,
    /// What rows are sorted by
    #[arg(long, value_enum, value_name = "KEY", default_value_t)]
    sort: Sort,
    /// Only channels with this text in their address, whatever its case
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    filter: String,
}

fn interval(text: &str) -> Result<Duration, String> {
    let time = args::time(text)?;
    let allowed = Duration::from_millis(100)..=Duration::from_secs(3600);
    if allowed.contains(&time) { Ok(time) } else { Err("an interval is from 100ms to 1h".into()) }
}

pub(crate) fn run(args: &TopArgs) -> Result<(), Failure> {
    let dumb = std::env::var_os("TERM").is_some_and(|name| name == "dumb");
    if !args.once && (dumb || !io::stdout().is_terminal()) {
        let text = "top draws on a terminal, and stdout is none that can be drawn on; \
                    'sysring top --once' prints one frame as text";
        return Err(Failure::new(USAGE, text));
    }
    let mut top = Top::new(args)?;
    if args.once { top.once() } else { top.live() }
}

struct Top {
    started: Instant,
    model: Model,
    view: View,
    theme: Theme,
}

impl Top {
    /// With a first picture taken.
    fn new(args: &TopArgs) -> Result<Self, Failure> {
        let id = match &args.name {
            Some(name) => Some(Observer::open(name.clone())?.stats()?.id),
            None => None,
        };
        let mut top = Self {
            started: Instant::now(),
            model: Model::default(),
            view: View::new(args.sort, visible(&args.filter), args.interval),
            theme: Theme::of_environment(),
        };
        top.look()?;
        if let Some(id) = id {
            top.view.open(&mut top.model, id);
        }
        Ok(top)
    }

    /// Takes a picture.
    fn look(&mut self) -> Result<(), OpenError> {
        let pictures = picture::take()?;
        let now = Moment { time: self.started.elapsed(), wall: SystemTime::now() };
        self.model.update(now, pictures, &|process: &Process| !process.is_alive());
        self.view.follow(&self.model);
        Ok(())
    }

    /// One frame as text.
    fn once(&mut self) -> Result<(), Failure> {
        let (_sender, inputs) = terminal::signals().map_err(|error| cannot("watch for signals", &error))?;
        let due = Instant::now() + self.view.interval;
        loop {
            match inputs.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(Input::End(signal)) => return Err(ended(signal)),
                Ok(Input::Suspend) => stop()?,
                Ok(_) => {}
                Err(_) => break,
            }
        }
        self.look()?;
        let pen = Pen { glyphs: self.theme.glyphs, model: &self.model };
        if !self.view.detail {
            return output::print(&text::list(&self.model, &self.view, &pen));
        }
        match self.view.subject(&self.model).filter(|track| track.gone.is_none()) {
            Some(track) => output::print(&text::detail(track, &self.model, &pen)),
            None => Err(Failure::new(crate::exit::GONE, "the channel was removed while top looked at it")),
        }
    }

    fn live(&mut self) -> Result<(), Failure> {
        let (sender, inputs) = terminal::signals().map_err(|error| cannot("watch for signals", &error))?;
        let mut screen = Screen::take().map_err(|error| cannot("use the terminal", &error))?;
        terminal::keys(sender).map_err(|error| cannot("read keys", &error))?;
        let result = self.frames(&mut screen, &inputs);
        // Before anything is said about it.
        drop(screen);
        match result {
            Ok(end) => end,
            Err(error) => closed(&error, &inputs),
        }
    }

    /// Draws until the end. An error is the terminal's.
    fn frames(&mut self, screen: &mut Screen, inputs: &Receiver<Input>) -> io::Result<Result<(), Failure>> {
        let mut looked = Instant::now();
        loop {
            screen.terminal.draw(|frame| draw::draw(frame, &self.model, &self.view, &self.theme))?;
            let wait = self.view.interval.saturating_sub(looked.elapsed());
            // While paused it draws too, to find out that the terminal has gone.
            let wait = if self.view.paused { self.view.interval } else { wait };
            let input = inputs.recv_timeout(wait);
            let size = screen.terminal.size()?;
            self.view.resize(size.width, size.height);
            let action = match input {
                Ok(Input::Key(key)) => self.view.key(&mut self.model, key),
                Ok(Input::Resized) => Action::Nothing,
                Ok(Input::End(signal)) => return Ok(Err(ended(signal))),
                Ok(Input::Suspend) => Action::Suspend,
                Ok(Input::Continued) => {
                    screen.take_again()?;
                    Action::Nothing
                }
                Ok(Input::Closed(error)) => return Err(error),
                Err(RecvTimeoutError::Disconnected) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(RecvTimeoutError::Timeout) if self.view.paused => Action::Nothing,
                Err(RecvTimeoutError::Timeout) => Action::Refresh,
            };
            match action {
                Action::Nothing => continue,
                Action::Quit => return Ok(Ok(())),
                Action::Interrupt => return Ok(Err(ended(signal_hook::consts::SIGINT))),
                Action::Suspend => {
                    screen.suspend()?;
                    continue;
                }
                Action::Refresh => {}
                Action::Remove(id) => self.remove(id),
            }
            looked = Instant::now();
            if let Err(error) = self.look() {
                self.view.message = Some(format!("no new picture: {error}"));
            }
        }
    }

    /// Removes the channel that was asked about, if it still is that one.
    fn remove(&mut self, id: i32) {
        let Some(track) = self.model.get(id) else { return };
        let address = track.picture.address.clone();
        let expected = track.content().map(|content| content.created);
        let present = Observer::open(Address::id(id)).and_then(|observer| observer.stats());
        let same = match (&present, expected) {
            (Ok(stats), Some(created)) => stats.created == created,
            (Err(error), _) => !matches!(error.kind(), OpenErrorKind::NotFound | OpenErrorKind::Removed),
            // It was made ready since.
            (Ok(_), None) => false,
        };
        let result = if same { Some(sysring::remove(Address::id(id))) } else { None };
        self.view.message = Some(match result {
            Some(Ok(())) => format!("{address} was removed"),
            Some(Err(error)) => format!("{address} was not removed: {error}"),
            None => format!("{address} is another channel now, or has gone; nothing was removed"),
        });
    }
}

/// Stops as SIGTSTP does where it is not caught.
fn stop() -> Result<(), Failure> {
    signal_hook::low_level::emulate_default_handler(signal_hook::consts::SIGTSTP)
        .map_err(|error| cannot("stop", &error))
}

/// 130, 143 or 129, without a word.
fn ended(signal: i32) -> Failure {
    Failure::quiet(u8::try_from(128 + signal).unwrap_or(FAILURE))
}

fn cannot(what: &str, error: &io::Error) -> Failure {
    Failure::new(FAILURE, format!("top cannot {what}: {}", errno(error)))
}

/// The terminal has failed. If it has gone, a signal says so about now; and if not, that is no failure of top.
fn closed(error: &io::Error, inputs: &Receiver<Input>) -> Result<(), Failure> {
    while let Ok(input) = inputs.recv_timeout(Duration::from_millis(200)) {
        if let Input::End(signal) = input {
            return Err(ended(signal));
        }
    }
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EIO | Errno::EPIPE) => Err(Failure::quiet(0)),
        _ => Err(cannot("use the terminal", error)),
    }
}
