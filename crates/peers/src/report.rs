//! What the runs gave, as a table and as JSON.

use std::fmt::Write;

use serde::Serialize;

use crate::Outcome;
use crate::catalogue::Case;

/// All runs of one case.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) workload: &'static str,
    pub(crate) peer: &'static str,
    pub(crate) size: usize,
    pub(crate) senders: usize,
    pub(crate) units: &'static [&'static str],
    /// For each unit, one figure a round; rounds that failed give NaN, so that rounds of rows can be paired.
    figures: Vec<Vec<f64>>,
    pub(crate) declined: bool,
    failed: usize,
}

/// Middle and ends of some figures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) runs: usize,
}

impl Row {
    pub(crate) fn new(case: &Case) -> Row {
        Row {
            workload: case.workload,
            peer: case.peer,
            size: case.size,
            senders: case.senders,
            units: case.units,
            figures: vec![Vec::new(); case.units.len()],
            declined: false,
            failed: 0,
        }
    }

    pub(crate) fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Figures(figures) => {
                for (all, figure) in self.figures.iter_mut().zip(figures) {
                    all.push(figure);
                }
                return;
            }
            Outcome::Declined => self.declined = true,
            Outcome::Failed => self.failed += 1,
        }
        self.figures.iter_mut().for_each(|all| all.push(f64::NAN));
    }

    /// One figure a round of that unit.
    pub(crate) fn figures(&self, unit: usize) -> &[f64] {
        &self.figures[unit]
    }

    pub(crate) fn spread(&self, unit: usize) -> Option<Spread> {
        spread(&self.figures[unit])
    }
}

/// `None` if there is no figure.
pub(crate) fn spread(figures: &[f64]) -> Option<Spread> {
    let mut good: Vec<f64> = figures.iter().copied().filter(|figure| figure.is_finite()).collect();
    good.sort_by(f64::total_cmp);
    let (min, max) = (*good.first()?, *good.last()?);
    Some(Spread { median: quantile(&good, 0.5), min, max, runs: good.len() })
}

/// Of sorted figures, at least one.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    low + (high - low) * place.fract()
}

/// A figure with three digits and a unit prefix.
pub(crate) fn short(figure: f64) -> String {
    let (value, suffix) = match figure.abs() {
        large if large >= 1e9 => (figure / 1e9, " G"),
        large if large >= 1e6 => (figure / 1e6, " M"),
        large if large >= 1e3 => (figure / 1e3, " k"),
        _ => (figure, ""),
    };
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$}{suffix}")
}

/// One line a row and unit, workloads apart.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    let mut workload = "";
    for row in rows {
        if row.workload != workload {
            workload = row.workload;
            let _ = writeln!(
                text,
                "\n{workload:<20} {:<24} {:>8} {:>7} {:>8}  {:>9} {:>9} {:>9} {:>5}",
                "peer", "bytes", "senders", "unit", "median", "min", "max", "runs"
            );
        }
        for (index, unit) in row.units.iter().enumerate() {
            let head = format!("{:<20} {:<24} {:>8} {:>7}", "", row.peer, row.size, row.senders);
            let _ = match row.spread(index) {
                Some(Spread { median, min, max, runs }) => writeln!(
                    text,
                    "{head} {unit:>8}  {:>9} {:>9} {:>9} {runs:>5}",
                    short(median),
                    short(min),
                    short(max)
                ),
                None if row.declined => writeln!(text, "{head} {unit:>8}  cannot do it"),
                None => writeln!(text, "{head} {unit:>8}  failed or hung {} times", row.failed),
            };
        }
    }
    text
}

#[derive(Serialize)]
struct Line<'a> {
    workload: &'a str,
    peer: &'a str,
    size: usize,
    senders: usize,
    unit: &'a str,
    median: f64,
    min: f64,
    max: f64,
    runs: usize,
}

/// One object a line for every row and unit that has figures.
pub(crate) fn json(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        for (index, unit) in row.units.iter().enumerate() {
            let Some(Spread { median, min, max, runs }) = row.spread(index) else { continue };
            let Row { workload, peer, size, senders, .. } = *row;
            let line = Line { workload, peer, size, senders, unit, median, min, max, runs };
            text.push_str(&serde_json::to_string(&line).expect("numbers and names"));
            text.push('\n');
        }
    }
    text
}
