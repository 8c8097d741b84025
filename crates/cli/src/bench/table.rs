//! The results as text, and figures in units for people.

use std::fmt::Write as _;

use indicatif::HumanCount;

use super::plan::{Wait, size_text};
use super::report::{Latency, Report};
use super::statistics::Spread;
use crate::output;

pub(super) fn text(report: &Report) -> String {
    let mut text = format!("sysring {}, {}\n{}\n", report.version, report.date, report.machine.text());
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{} for each figure: median (least to most); processes are not bound to cores",
        report.settings.text()
    );
    if !report.throughput.is_empty() {
        text.push_str("\nTHROUGHPUT: one sender, one receiver, one call for each message\n");
        text.push_str(&throughput(report));
    }
    if let Some(first) = report.latency.first() {
        let size = size_text(first.size);
        let _ = writeln!(text, "\nROUND TRIP: {size} there and {size} back, over two channels");
        text.push_str(&latency(&report.latency));
    }
    if let Some(first) = report.scaling.first() {
        let size = size_text(first.size);
        let _ = writeln!(
            text,
            "\nSCALING: several senders, one receiver, messages of {size}; they wait by default: {}",
            first.wait.text()
        );
        text.push_str(&scaling(report));
    }
    text.push('\n');
    text.push_str("busy: both sides spin and never sleep; sleeping: each wait is a sleep in the kernel.\n");
    if report.crowded() {
        let cores = report.machine.cores;
        let processes = if cores == 1 { "is 1 core" } else { &format!("are {cores} cores") };
        let _ = writeln!(text, "* More processes than cores: there {processes}, so they take turns.");
    }
    let _ = writeln!(
        text,
        "All {} messages were checked: each whole, in the order of its sender, and none missing.",
        HumanCount(report.checked_messages)
    );
    text
}

fn throughput(report: &Report) -> String {
    let rows = report.throughput.iter().map(|row| {
        [
            size_text(row.size),
            marked(row.wait.text(), row.more_processes_than_cores),
            spread(row.messages_per_second, rate),
            spread(row.bytes_per_second, bytes),
            HumanCount(row.checked_messages).to_string(),
        ]
    });
    output::table(["SIZE", "WAIT", "MESSAGES/S", "BYTES/S", "CHECKED"], &rows.collect::<Vec<_>>())
}

/// A column for each way of waiting.
fn latency(all: &[Latency]) -> String {
    let column = |wait: Wait, cell: &dyn Fn(&Latency) -> String| {
        all.iter().find(|latency| latency.wait == wait).map_or_else(|| "-".into(), cell)
    };
    let row = |what: &str, cell: &dyn Fn(&Latency) -> String| {
        [what.to_owned(), column(Wait::Busy, cell), column(Wait::Sleeping, cell)]
    };
    let mut rows = vec![
        row("p50", &|latency| spread(latency.p50_ns, time)),
        row("p90", &|latency| spread(latency.p90_ns, time)),
        row("p99", &|latency| spread(latency.p99_ns, time)),
        row("p99.9", &|latency| spread(latency.p99_9_ns, time)),
        row("max", &|latency| spread(latency.max_ns, time)),
        row("round trips", &|latency| HumanCount(latency.round_trips).to_string()),
        row("checked", &|latency| HumanCount(latency.checked_messages).to_string()),
    ];
    if all.iter().any(|latency| latency.more_processes_than_cores) {
        for row in &mut rows {
            row[0].push('*');
        }
    }
    output::table(["", "BUSY", "SLEEPING"], &rows)
}

fn scaling(report: &Report) -> String {
    let rows = report.scaling.iter().map(|row| {
        [
            marked(&row.senders.to_string(), row.more_processes_than_cores),
            row.order.text().into(),
            spread(row.messages_per_second, rate),
            spread(row.bytes_per_second, bytes),
            HumanCount(row.checked_messages).to_string(),
        ]
    });
    output::table(["SENDERS", "ORDER", "MESSAGES/S", "BYTES/S", "CHECKED"], &rows.collect::<Vec<_>>())
}

fn marked(text: &str, crowded: bool) -> String {
    if crowded { format!("{text}*") } else { text.into() }
}

/// `12.3 M (11.0 M to 13.1 M)`.
fn spread(spread: Spread, unit: fn(f64) -> String) -> String {
    format!("{} ({} to {})", unit(spread.median), unit(spread.min), unit(spread.max))
}

type Units = [(f64, &'static str)];

const RATES: &Units = &[(1e9, " G"), (1e6, " M"), (1e3, " k"), (1.0, "")];
const BYTES: &Units = &[(1e9, " GB"), (1e6, " MB"), (1e3, " kB"), (1.0, " B")];
const TIMES: &Units = &[(1e9, " s"), (1e6, " ms"), (1e3, " µs"), (1.0, " ns")];

/// Messages in a second.
fn rate(figure: f64) -> String {
    scaled(figure, RATES)
}

/// Bytes in a second.
fn bytes(figure: f64) -> String {
    scaled(figure, BYTES)
}

/// Nanoseconds, in the unit that fits.
fn time(figure: f64) -> String {
    scaled(figure, TIMES)
}

/// Messages in a second, a round number of them.
pub(super) fn round_rate(figure: f64) -> String {
    round(figure, RATES)
}

/// Bytes in a second, a round number of them.
pub(super) fn round_bytes(figure: f64) -> String {
    round(figure, BYTES)
}

/// Nanoseconds, a round number of them, in the unit that fits.
pub(super) fn round_time(figure: f64) -> String {
    round(figure, TIMES)
}

/// The greatest unit that leaves one before the point, as the figure will be printed: 999.7 becomes 1.00 of the next.
fn unit(figure: f64, units: &Units) -> (f64, &'static str) {
    let fits = |unit: &&(f64, &str)| figure >= 0.9995 * unit.0;
    units.iter().find(fits).or(units.last()).copied().unwrap_or((1.0, ""))
}

/// With three digits.
fn scaled(figure: f64, units: &Units) -> String {
    let (unit, name) = unit(figure, units);
    let value = figure / unit;
    let digits = match value {
        // A thing that comes in ones has no fraction.
        _ if unit <= 1.0 => 0,
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$}{name}")
}

/// Without zeroes after the point.
fn round(figure: f64, units: &Units) -> String {
    let (unit, name) = unit(figure, units);
    // What is computed may be a little off.
    let value = (figure / unit * 1e6).round() / 1e6;
    if value > 0.0 { format!("{value}{name}") } else { "0".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        for (figure, text) in [
            (0.0, "0"),
            (7.0, "7"),
            (999.4, "999"),
            (999.7, "1.00 k"),
            (1_234.0, "1.23 k"),
            (99_960.0, "100 k"),
            (36_123_456.0, "36.1 M"),
            (2.5e9, "2.50 G"),
        ] {
            assert_eq!(rate(figure), text);
        }
        assert_eq!(time(457.0), "457 ns");
        assert_eq!(time(10_260.0), "10.3 µs");
        assert_eq!(time(1.5e9), "1.50 s");
        assert_eq!(bytes(14e9), "14.0 GB");
        assert_eq!(
            (round_rate(0.0), round_rate(15e6), round_rate(2.5e6)),
            ("0".into(), "15 M".into(), "2.5 M".into())
        );
        assert_eq!((round_time(5e3), round_bytes(2e8)), ("5 µs".into(), "200 MB".into()));
    }
}
