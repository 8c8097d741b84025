//! sysring and its peers on the same work, in one interleaved run.
//!
//! `cargo run --release -p sysring-peers`; see `--help`. Every case of every round is a process group of its own
//! that is ended when it hangs; every message is checked.

#![allow(unsafe_code)] // fork, shared pages and the reference rings

mod board;
mod catalogue;
mod clock;
mod object;
mod peer;
mod peers;
mod plot;
mod process;
mod report;
mod scratch;
mod targets;
mod work;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

use board::Board;
use catalogue::Case;
use process::Child;
use report::Row;
use scratch::Scratch;

/// Measures sysring beside its peers, all on the same work, interleaved, and prints medians.
#[derive(Debug, Parser)]
#[command(name = "sysring-peers")]
struct Args {
    /// Only these workloads: a comma-separated list of their beginnings, such as "w1,w3-default".
    #[arg(long, value_delimiter = ',', value_name = "WORKLOAD")]
    only: Vec<String>,
    /// Only peers whose name begins so; a comma-separated list.
    #[arg(long, value_delimiter = ',', value_name = "PEER")]
    peers: Vec<String>,
    /// Only these message sizes.
    #[arg(long, value_delimiter = ',', value_name = "BYTES")]
    sizes: Vec<usize>,
    /// Rounds; in each every case runs once.
    #[arg(long, default_value_t = 15)]
    runs: usize,
    /// All workloads in less than a minute: one round, short windows. Not for comparisons.
    #[arg(long)]
    quick: bool,
    /// One JSON object a line into this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Charts into this directory: w1.svg, w2.svg and so on.
    #[arg(long, value_name = "DIR")]
    plot: Option<PathBuf>,
    /// After the table, how each target stands, as a Markdown table.
    #[arg(long)]
    targets: bool,
}

/// Longest that one case may take.
const LIMIT: Duration = Duration::from_secs(4);

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    clock::calibrate();
    let begins =
        |name: &str, list: &[String]| list.is_empty() || list.iter().any(|start| name.starts_with(start));
    let mut cases = catalogue::cases(args.quick);
    cases.retain(|case| begins(case.workload, &args.only) && begins(case.peer, &args.peers));
    cases.retain(|case| args.sizes.is_empty() || args.sizes.contains(&case.size));
    anyhow::ensure!(!cases.is_empty(), "no case is left to run; the workloads are w1 to w7");
    let runs = if args.quick { 1 } else { args.runs };
    let mut rows: Vec<Row> = cases.iter().map(Row::new).collect();
    let bar = ProgressBar::new((runs * cases.len()) as u64)
        .with_style(ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} + {eta} {msg}")?);
    for _ in 0..runs {
        for (case, row) in cases.iter().zip(&mut rows) {
            bar.set_message(format!("{} {} {} B", case.workload, case.peer, case.size));
            row.add(run(case));
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    print!("{}", report::table(&rows));
    if args.targets {
        print!("\n{}", targets::table(&rows));
    }
    if let Some(directory) = &args.plot {
        plot::write(directory, &rows)?;
    }
    if let Some(file) = &args.json {
        std::fs::write(file, report::json(&rows))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// How one run of a case ended.
#[derive(Debug)]
enum Outcome {
    Figures(Vec<f64>),
    /// The peer cannot do what was asked for.
    Declined,
    /// It failed, or hung.
    Failed,
}

fn run(case: &Case) -> Outcome {
    let board = Board::new();
    let _scratch = Scratch::new();
    let child = Child::run(|| {
        // SAFETY: makes this process a group leader; what it forks is in the group.
        unsafe { libc::setpgid(0, 0) };
        board.enter();
        (case.run)(board);
    });
    child.lead();
    let ended = child.wait(Instant::now() + LIMIT);
    child.end();
    board.sweep();
    match board.figures() {
        _ if board.is_declined() => Outcome::Declined,
        // What came after the figures, when the senders are told to end, may take for ever with some peers.
        Some(figures) if ended != Some(false) => Outcome::Figures(figures),
        _ => Outcome::Failed,
    }
}
