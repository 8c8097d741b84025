//! How a command ends: its exit status, and its one line on stderr.
//!
//! 0 done, 1 failure, 2 usage, 3 no such channel, 4 timed out, 5 seat taken, 6 disconnected or
//! removed, 7 damaged or foreign segment, 130 and 143 after SIGINT and SIGTERM.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::thread;

use anstream::AutoStream;
use clap::error::ErrorKind;
use nix::errno::Errno;
use sysring::{Address, Fault, OpenError, OpenErrorKind, RecvError, SendError};

use crate::output::ERROR;
use crate::{signals, transfer};

pub(crate) const FAILURE: u8 = 1;
pub(crate) const USAGE: u8 = 2;
pub(crate) const NO_CHANNEL: u8 = 3;
pub(crate) const TIMED_OUT: u8 = 4;
pub(crate) const SEAT_TAKEN: u8 = 5;
pub(crate) const GONE: u8 = 6;
pub(crate) const DAMAGED: u8 = 7;

/// Why a command ends early. Not always an error: a closed stdout ends it with status 0.
#[derive(Debug)]
pub(crate) struct Failure {
    status: u8,
    message: Option<String>,
    /// A signal asked for it. Its thread ends the process as well, if this takes too long.
    by_signal: bool,
}

impl Failure {
    pub(crate) fn new(status: u8, message: impl Into<String>) -> Self {
        Self { status, message: Some(message.into()), by_signal: false }
    }

    /// Ends with this status and says nothing.
    pub(crate) fn quiet(status: u8) -> Self {
        Self { status, message: None, by_signal: false }
    }

    /// A signal asked for the end.
    pub(crate) fn interrupted() -> Self {
        Self::cut("")
    }

    /// A signal asked for the end, and there is more to say of what it met.
    pub(crate) fn cut(detail: &str) -> Self {
        Self { status: signals::exit_status(), message: transfer::interrupted(detail), by_signal: true }
    }

    /// Writing to stdout failed. Nobody reads it any more: that is the end, not a failure.
    pub(crate) fn stdout(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::quiet(0)
        } else {
            Self::new(FAILURE, format!("writing to stdout: {}", errno(error)))
        }
    }

    /// Says on stderr what is to be said and gives the exit status.
    pub(crate) fn report(self) -> ExitCode {
        if self.by_signal && !signals::has_last_word() {
            // The other thread is saying it, and then ends the process.
            loop {
                thread::park();
            }
        }
        self.say();
        ExitCode::from(self.status)
    }

    /// Says on stderr what is to be said.
    pub(crate) fn say(&self) {
        if let Some(message) = &self.message {
            let mut stderr = AutoStream::auto(io::stderr()).lock();
            // One write, so that no other process of a pipeline writes into the line. If stderr is closed as well,
            // there is nobody left to tell.
            let _ = stderr.write_all(format!("{ERROR}sysring:{ERROR:#} {}\n", one_line(message)).as_bytes());
        }
    }

    pub(crate) fn status(&self) -> u8 {
        self.status
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        // The kernel does not tell an id that nothing has from one that was removed.
        let status = match error.kind() {
            OpenErrorKind::Removed if error.address().starts_with("id:") => NO_CHANNEL,
            kind => open_status(kind),
        };
        // The text speaks to programmers here.
        Self::new(status, error.to_string().replace("allow it with trust_uid", "allow it with --trust"))
    }
}

impl Failure {
    /// A message was not sent to this channel.
    pub(crate) fn send<T>(name: &Address, error: &SendError<T>) -> Self {
        let fault = error.fault();
        let (status, advice) = match fault {
            Fault::Interrupted => return Self::interrupted(),
            Fault::Disconnected => (GONE, "start a receiver first"),
            Fault::Removed => (GONE, ANEW),
            Fault::Corrupt(_) => (DAMAGED, REPLACE),
            Fault::Attach(open) => (open_status(open.kind()), ""),
            _ => (FAILURE, ""),
        };
        Self::new(status, advised(format!("send to {name}: {fault}"), advice))
    }

    /// No message was received from this channel.
    pub(crate) fn recv(name: &Address, error: &RecvError) -> Self {
        let (status, advice) = match error {
            RecvError::Interrupted => return Self::interrupted(),
            RecvError::Disconnected => (GONE, ""),
            RecvError::Removed => (GONE, ANEW),
            RecvError::Corrupt(_) => (DAMAGED, RESCUED),
            RecvError::Attach(open) => (open_status(open.kind()), ""),
            _ => (FAILURE, ""),
        };
        Self::new(status, advised(format!("recv from {name}: {error}"), advice))
    }
}

const ANEW: &str = "'--create' makes a new one";
const RESCUED: &str =
    "what the other lanes hold can be received; 'sysring rm' removes the channel, '--create' makes a new one";
const REPLACE: &str = "'sysring rm' removes it, '--create' makes a new one";

fn advised(what: String, advice: &str) -> String {
    if advice.is_empty() { what } else { format!("{what}; {advice}") }
}

/// An error of the system with its name, such as `ENOSPC (No space left on device)`.
pub(crate) fn errno(error: &io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(errno) => format!("{errno:?} ({})", errno.desc()),
        None => error.to_string(),
    }
}

fn open_status(kind: OpenErrorKind) -> u8 {
    match kind {
        OpenErrorKind::InvalidAddress | OpenErrorKind::InvalidOption => USAGE,
        OpenErrorKind::NotFound => NO_CHANNEL,
        OpenErrorKind::SeatTaken { .. } => SEAT_TAKEN,
        OpenErrorKind::Removed => GONE,
        OpenErrorKind::Foreign | OpenErrorKind::Corrupt => DAMAGED,
        _ => FAILURE,
    }
}

/// Help and version go to stdout as they are; a usage error becomes one line like all others.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    if error.kind() == ErrorKind::MissingSubcommand {
        Failure::new(USAGE, "a command is missing; see 'sysring --help'").report()
    } else if error.use_stderr() {
        Failure::new(USAGE, usage_text(&error.to_string())).report()
    } else {
        match error.print().and_then(|()| io::stdout().flush()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => Failure::stdout(&error).report(),
        }
    }
}

/// The paragraphs of clap's report, joined, without its prefix.
fn usage_text(report: &str) -> String {
    let paragraphs = report.split("\n\n").map(str::trim).filter(|text| !text.is_empty());
    let joined = paragraphs.collect::<Vec<_>>().join("; ");
    joined.strip_prefix("error: ").unwrap_or(&joined).trim_end_matches('.').to_owned()
}

/// A file name or a channel name may hold anything; a report stays one line, and says nothing to the terminal.
fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let visible = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    line.chars().map(visible).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    use crate::args::Cli;

    #[test]
    fn a_usage_error_is_one_line_and_keeps_the_tip() {
        let error = Cli::try_parse_from(["sysring", "recv", "t", "--cout", "3"]).unwrap_err();
        let line = one_line(&usage_text(&error.to_string()));
        assert!(line.starts_with("unexpected argument '--cout' found"), "{line}");
        assert!(line.contains("--count") && line.contains("Usage: sysring recv"), "{line}");
    }

    #[test]
    fn a_report_says_nothing_to_the_terminal() {
        assert_eq!(one_line("a\nb \u{1b}[2Jc\u{9b}d \u{e4}"), "a b \\u{1b}[2Jc\\u{9b}d \u{e4}");
    }

    #[test]
    fn a_closed_stdout_is_no_failure() {
        let closed = Failure::stdout(&io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((closed.status, closed.message), (0, None));
        let full = Failure::stdout(&io::Error::from_raw_os_error(Errno::ENOSPC as i32));
        assert_eq!(full.status, FAILURE);
        let text = "writing to stdout: ENOSPC (No space left on device)";
        assert_eq!(full.message.as_deref(), Some(text));
    }
}
