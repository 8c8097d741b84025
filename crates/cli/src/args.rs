//! The command line: what may be said, and how sizes, times and modes are read.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use nix::unistd::{Group, User};
use sysring::{Address, Builder};

use crate::bench::BenchArgs;
use crate::doctor::DoctorArgs;
use crate::framing::{Input, Output};
use crate::generate::{CompletionsArgs, GenerateArgs};
use crate::manual;
use crate::output::HELP;
use crate::tap::TapArgs;
use crate::top::TopArgs;

const NAMES: &str = "NAME is a name, key:0x1234, path:FILE:ID (as ftok) or id:N. \
SIZE takes KiB, MiB and GiB; T takes ms, s, m, h and d.

Exit status: 0 done, 1 failure, 2 usage, 3 no such channel, 4 timed out, 5 seat taken, \
6 disconnected or removed, 7 damaged or foreign segment, 130 and 143 after SIGINT and SIGTERM.";

/// Message channels between processes of one machine, over System V shared memory
#[derive(Debug, Parser)]
#[command(name = "sysring", version, after_help = NAMES, arg_required_else_help = false, styles = HELP)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The command line, with the examples at the end of each command's help.
pub(crate) fn definition() -> clap::Command {
    Cli::command().mut_subcommands(|command| {
        let examples = manual::help(command.get_name());
        // Behind what a command says there itself.
        let paragraphs = command.get_after_help().map(ToString::to_string).into_iter();
        let paragraphs = paragraphs.chain(Some(examples).filter(|text| !text.is_empty()));
        let text = paragraphs.collect::<Vec<_>>().join("\n\n");
        command.after_help(text)
    })
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a channel
    Create(CreateArgs),
    /// Send stdin or a file, one message a line
    Send(SendArgs),
    /// Receive messages and write them to stdout or a file
    Recv(RecvArgs),
    /// Show a channel: geometry, seats, depth, counters, who waits for whom
    Stat(StatArgs),
    /// List every channel on this machine
    Ls(LsArgs),
    /// Remove a channel; everybody attached to it is told
    Rm(RmArgs),
    /// Remove what the dead left behind, and say what it was
    Gc(GcArgs),
    /// Watch all channels live, in the terminal
    Top(TopArgs),
    /// Look at messages without taking them
    Tap(TapArgs),
    /// Check what the kernel and the system offer, and what may stand in the way
    Doctor(DoctorArgs),
    /// Measure throughput and latency on this machine
    Bench(BenchArgs),
    /// Print the completions for a shell
    Completions(CompletionsArgs),
    /// Write completions, manual pages and JSON schemas into a directory
    #[command(hide = true)]
    Generate(GenerateArgs),
    /// Three senders, one receiver, one kill -9: what sysring is for, in ten seconds
    Demo(DemoArgs),
    #[command(hide = true)]
    DemoSender(DemoSenderArgs),
    #[command(hide = true)]
    BenchWorker,
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The channel
    pub(crate) name: Address,
    /// For one sender only
    #[arg(long, conflicts_with_all = ["senders", "order"])]
    pub(crate) spsc: bool,
    /// How many senders may be attached at a time [default: 64]
    #[arg(long, value_name = "N")]
    pub(crate) senders: Option<u32>,
    /// Bytes for each sender, rounded up to a power of two [default: 1MiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) capacity: Option<u64>,
    /// The longest message; asking for more than half the capacity raises the capacity
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) max_message: Option<u64>,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    /// Order between messages of different senders
    #[arg(long, value_enum, default_value_t = OrderArg::Total)]
    pub(crate) order: OrderArg,
    /// Let senders fail when the receiver goes, instead of waiting for the next one
    #[arg(long)]
    pub(crate) no_persistent: bool,
}

/// Who may use a channel, and whose channels are used.
#[derive(Debug, Args)]
pub(crate) struct AccessArgs {
    /// Who may use the channel, in octal; one that is there must have this mode [default of a new one: 600]
    #[arg(long, value_name = "MODE", value_parser = mode)]
    pub(crate) mode: Option<u32>,
    /// The group that the second digit of the mode is about, by name or number
    #[arg(long, value_parser = group)]
    pub(crate) group: Option<u32>,
    /// Also use channels that this user made, by name or number; may be given several times
    #[arg(long, value_name = "USER", value_parser = user)]
    pub(crate) trust: Vec<u32>,
}

impl AccessArgs {
    pub(crate) fn apply(&self, mut builder: Builder) -> Builder {
        if let Some(mode) = self.mode {
            builder = builder.mode(mode);
        }
        if let Some(group) = self.group {
            builder = builder.group(group);
        }
        self.trust.iter().fold(builder, |builder, uid| builder.trust_uid(*uid))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OrderArg {
    /// One causal order of all messages
    Total,
    /// Each sender's own order only: faster
    Sender,
}

#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    /// The channel
    pub(crate) name: Address,
    /// What to send; stdin without it, or with -
    pub(crate) file: Option<PathBuf>,
    /// Make the channel if there is none
    #[arg(long)]
    pub(crate) create: bool,
    /// What is a message: lines, length (4 bytes little-endian before each) or chunk=SIZE
    #[arg(long, default_value = "lines")]
    pub(crate) framing: Input,
    /// Give up when a message has waited this long for room
    #[arg(long, value_name = "T", value_parser = time)]
    pub(crate) timeout: Option<Duration>,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RecvArgs {
    /// The channel
    pub(crate) name: Address,
    /// Make the channel if there is none
    #[arg(long)]
    pub(crate) create: bool,
    /// End after N messages
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// Give up when no message came for this long
    #[arg(long, value_name = "T", value_parser = time)]
    pub(crate) timeout: Option<Duration>,
    /// Never end when the senders have gone: others may come
    #[arg(long, conflicts_with = "eof")]
    pub(crate) follow: bool,
    /// End when K senders have come and gone since the last end of the stream, also those whose messages were taken before
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) eof: Option<u64>,
    /// Write to a file instead of stdout; what it holds is replaced once the channel is open
    #[arg(long, value_name = "FILE")]
    pub(crate) to_file: Option<PathBuf>,
    /// Write behind what the file holds
    #[arg(long, requires = "to_file")]
    pub(crate) append: bool,
    /// Remove the channel at the end; not after an error, a time-out, a signal or a closed stdout
    #[arg(long)]
    pub(crate) rm: bool,
    /// What is written: lines, length (4 bytes little-endian before each message) or raw bytes
    #[arg(long, value_enum, default_value_t = Output::Lines)]
    pub(crate) framing: Output,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
}

#[derive(Debug, Args)]
pub(crate) struct StatArgs {
    /// The channel; all of them without it, with --prometheus
    #[arg(required_unless_present = "prometheus")]
    pub(crate) name: Option<Address>,
    /// For programs
    #[arg(long)]
    pub(crate) json: bool,
    /// For Prometheus, in its text format 0.0.4, of this channel or of all
    #[arg(long, conflicts_with = "json")]
    pub(crate) prometheus: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// For programs
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// The channel
    pub(crate) name: Address,
}

#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Also remove channels that nobody uses and that hold no message
    #[arg(long, requires = "older")]
    pub(crate) idle: bool,
    /// Of those, only channels that no sender or receiver has come to or left for this long
    #[arg(long, value_name = "T", value_parser = time, requires = "idle")]
    pub(crate) older: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// How long it runs
    #[arg(long, hide = true, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) seconds: u64,
}

#[derive(Debug, Args)]
pub(crate) struct DemoSenderArgs {
    pub(crate) name: Address,
    pub(crate) number: u32,
}

/// Bytes: `4096`, `64KiB`, `1MiB`, `2GiB`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let (digits, unit) = split_unit(text);
    let factor: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err("a size is bytes, or a number with KiB, MiB or GiB".into()),
    };
    number(digits)?.checked_mul(factor).ok_or_else(|| "too large".into())
}

/// `500ms`, `2s`, `1m`, `12h`, `7d`.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let (digits, unit) = split_unit(text);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err("a time is a number with ms, s, m, h or d".into()),
    };
    let ms = number(digits)?.checked_mul(unit_ms).ok_or("too long")?;
    Ok(Duration::from_millis(ms))
}

pub(crate) fn mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        // A sign is no digit.
        Ok(mode) if mode <= 0o777 && !text.starts_with('+') => Ok(mode),
        _ => Err("a mode is octal, from 0 to 777".into()),
    }
}

/// A group's number, or its name in the system's tables.
fn group(text: &str) -> Result<u32, String> {
    account(text, "group", |name| Ok(Group::from_name(name)?.map(|group| group.gid.as_raw())))
}

/// A user's number, or its name in the system's tables.
fn user(text: &str) -> Result<u32, String> {
    account(text, "user", |name| Ok(User::from_name(name)?.map(|user| user.uid.as_raw())))
}

fn account(
    text: &str,
    what: &str,
    find: impl FnOnce(&str) -> nix::Result<Option<u32>>,
) -> Result<u32, String> {
    match text.parse() {
        // All ones mean "leave it as it is" to the kernel.
        Ok(u32::MAX) => Err(format!("there is no {what} {text}")),
        Ok(number) => Ok(number),
        Err(_) => match find(text) {
            Ok(Some(number)) => Ok(number),
            Ok(None) => Err(format!("there is no {what} of that name")),
            Err(errno) => Err(format!("looking for that {what}: {errno:?} ({})", errno.desc())),
        },
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

fn number(digits: &str) -> Result<u64, String> {
    u64::from_str(digits).map_err(|error| format!("not a number: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        definition().debug_assert();
    }

    #[test]
    fn sizes() {
        assert_eq!(size("0"), Ok(0));
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("64KiB"), Ok(65536));
        assert_eq!(size("1MiB"), Ok(1 << 20));
        assert_eq!(size("1024GiB"), Ok(1 << 40));
        for bad in ["", "KiB", "1kb", "1 KiB", "-1", "1.5MiB", "99999999999GiB", "1KiBs"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(time("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(time("3m"), Ok(Duration::from_secs(180)));
        assert_eq!(time("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(time("7d"), Ok(Duration::from_secs(604_800)));
        for bad in ["", "5", "s", "1w", "1D", "1.5s", "99999999999999999999s", "18446744073709551615m"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn users_and_groups() {
        assert_eq!(user("1000"), Ok(1000));
        assert_eq!(user("root"), Ok(0));
        assert_eq!(group("root"), Ok(0));
        for bad in ["", "-1", "4294967295", "4294967296", "no such user", "root\0"] {
            assert!(user(bad).is_err() && group(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn modes() {
        assert_eq!(mode("600"), Ok(0o600));
        assert_eq!(mode("0660"), Ok(0o660));
        for bad in ["888", "1777", "", "+600"] {
            assert!(mode(bad).is_err(), "{bad}");
        }
    }
}
