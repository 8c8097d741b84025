//! `sysring doctor`: what the kernel and the system offer, and what may stand in the way.
//!
//! [`facts`] gathers, [`judge`] says what a fact means and what to do, [`show`] prints. Only the first and the
//! [`self_test`]s ask the system anything.

mod facts;
mod judge;
mod logind;
mod memory;
mod self_test;
mod show;

use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;
use sysring::Address;

use crate::exit::{FAILURE, Failure};
use crate::{output, signals};

const ABOUT: &str =
    "Each line is ok, information, a warning or a problem; what to do stands below the last two.

Exit status: 1 if there is a problem, else 0, also with warnings.";

#[derive(Debug, Args)]
#[command(after_help = ABOUT)]
pub(crate) struct DoctorArgs {
    /// For programs
    #[arg(long)]
    pub(crate) json: bool,
    /// Take a sender's seat of this channel and wait to be killed
    #[arg(long, hide = true, value_name = "NAME")]
    pub(crate) victim: Option<Address>,
}

pub(crate) fn run(args: &DoctorArgs) -> Result<(), Failure> {
    if let Some(address) = &args.victim {
        return self_test::victim(address);
    }
    // The self-test's channel goes before the process does.
    signals::watch()?;
    let facts = facts::gather();
    if signals::noted() {
        return Err(Failure::interrupted());
    }
    let report = Report::new(judge::judge(&facts));
    if args.json {
        output::print_json(&report)?
    } else {
        output::print(&show::text(&report, show::colour()))?
    }
    report.failure().map_or(Ok(()), Err)
}

/// What was checked and what came out, as `sysring doctor --json` shows it.
#[derive(Debug, JsonSchema, Serialize)]
#[schemars(title = "sysring doctor --json")]
pub(crate) struct Report {
    /// The worst of all checks; ok also if some are information only. With a problem the exit status is 1.
    status: Status,
    /// How many checks found a problem.
    problems: usize,
    /// How many checks have a warning.
    warnings: usize,
    /// All checks, always in the same order.
    checks: Vec<Check>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, JsonSchema, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    /// What was checked: a name for programs, which does not change.
    id: &'static str,
    /// What it belongs to.
    group: Group,
    /// What came out.
    status: Status,
    /// The finding, for people; its wording may change. A value that could not be read is called unknown.
    summary: String,
    /// How much is in use, in `unit`s; null if that is unknown or means nothing here.
    used: Option<u64>,
    /// How much is allowed, in `unit`s; null if that is unknown or means nothing here.
    limit: Option<u64>,
    /// What `used` and `limit` count.
    #[schemars(extend("enum" = ["segments", "pages", "bytes", "sets", "semaphores", "operations", "units", null]))]
    unit: Option<&'static str>,
    /// What to do; null unless there is a warning or a problem.
    advice: Option<String>,
    /// More lines for people, such as each of the things found.
    details: Vec<String>,
}

/// How good it is.
#[derive(Clone, Copy, Debug, JsonSchema, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Status {
    /// As it should be.
    Ok,
    /// Good to know, neither good nor bad; also what could not be found out.
    Info,
    /// It works, but may stand in the way later.
    Warning,
    /// Something does not work.
    Problem,
}

/// Which part of the system a check is about.
#[derive(Clone, Copy, Debug, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Group {
    /// Limits of the kernel on System V objects, and how much of them is in use.
    Limits,
    /// Settings of the kernel, of systemd and of this process.
    System,
    /// What was tried and watched.
    SelfTests,
    /// The channels that are there, and what the dead left behind.
    Channels,
}

impl Report {
    fn new(checks: Vec<Check>) -> Self {
        let count = |status| checks.iter().filter(|check| check.status == status).count();
        let (problems, warnings) = (count(Status::Problem), count(Status::Warning));
        let status = match (problems, warnings) {
            (0, 0) => Status::Ok,
            (0, _) => Status::Warning,
            _ => Status::Problem,
        };
        Self { status, problems, warnings, checks }
    }

    /// The exit status says it to programs, one line on stderr to people who do not see stdout.
    fn failure(&self) -> Option<Failure> {
        let bad = self.checks.iter().filter(|check| check.status == Status::Problem);
        let names: Vec<&str> = bad.map(|check| check.id).collect();
        if names.is_empty() {
            return None;
        }
        let what = show::number(names.len(), "problem");
        let text = format!("doctor: {what}: {}; 'sysring doctor' says what to do", names.join(", "));
        Some(Failure::new(FAILURE, text))
    }
}
