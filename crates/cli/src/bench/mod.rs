//! `sysring bench`: how fast channels are on this machine, between real processes.
//!
//! What is measured runs in worker processes, which are this program again; this process only gives orders, counts
//! and waits asleep. Every message is checked for its place in the sequence and for its content. All figures are
//! taken round by round, the whole table in each round, so that a disturbance of the machine meets all of them alike.

mod content;
mod machine;
mod measure;
mod plan;
mod plot;
mod protocol;
mod report;
mod statistics;
mod table;
mod worker;
mod workers;

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::args;
use crate::exit::{FAILURE, Failure};
use crate::output;
use crate::signals;

use machine::Machine;
use plan::{Measurement, Section};
use plot::PlotFile;
use report::{Results, Settings};

pub(crate) use report::Report;
pub(crate) use worker::run as work;

const ROUNDS: u32 = 5;
const TIME: Duration = Duration::from_millis(300);
/// With `--quick`.
const QUICK_ROUNDS: u32 = 3;
const QUICK_TIME: Duration = Duration::from_millis(30);
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// How often everything is measured, round by round; shown are the median, the least and the most [default: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// How long each measurement takes, 1ms to 1m [default: 300ms]
    #[arg(long, value_name = "T", value_parser = time)]
    time: Option<Duration>,
    /// A few seconds in all: 3 rounds of 30ms unless said otherwise; the figures are rougher
    #[arg(long)]
    quick: bool,
    /// What to measure
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WHAT", default_values_t = Section::ALL)]
    only: Vec<Section>,
    /// Numbers of senders to one receiver
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "N,N",
        default_values_t = [1, 2, 4, 8],
        value_parser = clap::value_parser!(u32).range(1..=240),
    )]
    senders: Vec<u32>,
    /// For programs
    #[arg(long)]
    json: bool,
    /// Also draw the results, as .svg or .png; may be given several times
    #[arg(long, value_name = "FILE")]
    plot: Vec<PlotFile>,
}

pub(crate) fn run(args: &BenchArgs) -> Result<(), Failure> {
    signals::watch()?;
    let mut plots = plot::create(&args.plot)?;
    let settings = settings(args);
    let plan = plan::plan(&args.only, &args.senders);
    let results = measure_all(&plan, &settings)?;
    let report = Report::new(Machine::here(), settings, &results);
    let printed = if args.json { output::print_json(&report) } else { output::print(&table::text(&report)) };
    // Also when nobody reads the table.
    plots.write(&report)?;
    printed
}

fn settings(args: &BenchArgs) -> Settings {
    let (rounds, time) = if args.quick { (QUICK_ROUNDS, QUICK_TIME) } else { (ROUNDS, TIME) };
    Settings::new(args.rounds.unwrap_or(rounds), args.time.unwrap_or(time))
}

/// Every measurement of the plan in every round, in turn.
fn measure_all(plan: &[Measurement], settings: &Settings) -> Result<Vec<Results>, Failure> {
    let mut all: Vec<Results> = plan.iter().map(|&measurement| Results::of(measurement)).collect();
    let bar = Bar::new(plan.len() as u64 * u64::from(settings.rounds));
    for _ in 0..settings.rounds {
        for results in &mut all {
            bar.next(&results.measurement.to_string());
            results.add(measure::measure(results.measurement, settings.time())?);
            bar.0.inc(1);
        }
    }
    Ok(all)
}

/// What is being measured and how long all of it still takes: on stderr, for a person only.
struct Bar(ProgressBar);

impl Bar {
    fn new(steps: u64) -> Self {
        if !io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr_with_hz(5));
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len}  {eta} left  {wide_msg}");
        let bar = match style {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        };
        // Rarely enough not to show in the figures.
        bar.enable_steady_tick(Duration::from_millis(500));
        Self(bar)
    }

    fn next(&self, what: &str) {
        self.0.set_message(what.to_owned());
    }
}

impl Drop for Bar {
    /// The table, or the error, stands alone.
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn time(text: &str) -> Result<Duration, String> {
    let time = args::time(text)?;
    if (SHORTEST..=LONGEST).contains(&time) { Ok(time) } else { Err("a measurement takes 1ms to 1m".into()) }
}

fn failed(why: &str) -> Failure {
    Failure::new(FAILURE, format!("bench: {why}"))
}
