//! Which diagrams there are, and the page they stand on.

use plotters::prelude::{DrawingBackend, RGBColor};

use super::canvas::{Anchor, Canvas, Marker, Type};
use super::panel::{Axis, GREY, INK, Panel, Sample, Series};
use crate::bench::plan::{Order, Wait, size_text};
use crate::bench::report::{Latency, Percentile, Report};
use crate::bench::statistics::{NAMED, Spread};
use crate::bench::table;

const WIDTH: i32 = 1280;
const HEAD: i32 = 122;
const PANEL: i32 = 400;
const MARGIN: i32 = 16;

const TITLE: Type = Type { size: 24, bold: true, colour: INK };
const NOTE: Type = Type { size: 14, bold: false, colour: GREY };

/// Colours that are told apart also by those who see fewer of them (Okabe and Ito).
const BLUE: RGBColor = RGBColor(0x00, 0x72, 0xb2);
const VERMILION: RGBColor = RGBColor(0xd5, 0x5e, 0x00);
const GREEN: RGBColor = RGBColor(0x00, 0x9e, 0x73);
const PURPLE: RGBColor = RGBColor(0xcc, 0x79, 0xa7);

/// Of the page.
pub(super) fn size(report: &Report) -> (u32, u32) {
    let rows = panels(report).len().div_ceil(2) as i32;
    (WIDTH as u32, (HEAD + rows * PANEL + MARGIN) as u32)
}

pub(super) fn draw<DB: DrawingBackend>(canvas: &Canvas<'_, DB>, report: &Report) -> Result<(), String> {
    let title = "sysring bench: message channels between processes";
    canvas.text(title, (MARGIN + 4, 32), TITLE, Anchor::Left)?;
    for (line, y) in notes(report).iter().zip([64, 88]) {
        canvas.text(&fitting(canvas, line)?, (MARGIN + 4, y), NOTE, Anchor::Left)?;
    }
    let panels = panels(report);
    for (index, panel) in panels.iter().enumerate() {
        let (row, column) = ((index / 2) as i32, (index % 2) as i32);
        // The last of an odd number has the row for itself.
        let alone = column == 0 && index + 1 == panels.len();
        let left = MARGIN / 2 + column * (WIDTH / 2);
        let right = if alone { WIDTH } else { (column + 1) * (WIDTH / 2) };
        let top = HEAD + row * PANEL;
        panel.draw(canvas, (left, top), (right, top + PANEL))?;
    }
    Ok(())
}

/// What it ran on, and how it was measured.
fn notes(report: &Report) -> [String; 2] {
    let crowded = if report.crowded() { "; with more processes than cores they take turns" } else { "" };
    [
        format!("{}; {}; sysring {}", report.machine.text(), report.date, report.version),
        format!(
            "median of {}; bars and bands: from the least to the most; processes not bound to cores{crowded}",
            report.settings.text()
        ),
    ]
}

/// A processor may have any name: what does not fit is cut off and marked.
fn fitting<DB: DrawingBackend>(canvas: &Canvas<'_, DB>, line: &str) -> Result<String, String> {
    let mut text = line.to_owned();
    while canvas.width(&text, NOTE)? > WIDTH - 2 * MARGIN - 8 {
        text.pop();
        text.pop();
        text.push('…');
    }
    Ok(text)
}

fn panels(report: &Report) -> Vec<Panel> {
    let mut panels = Vec::new();
    if !report.throughput.is_empty() {
        panels.push(throughput(
            report,
            "Throughput: one sender, one receiver",
            "messages per second",
            |row| row.messages_per_second,
            table::round_rate,
        ));
        panels.push(throughput(
            report,
            "Throughput in bytes",
            "bytes per second (GB = 10⁹ bytes)",
            |row| row.bytes_per_second,
            table::round_bytes,
        ));
    }
    if !report.latency.is_empty() {
        panels.push(latency(report));
    }
    if !report.scaling.is_empty() {
        panels.push(scaling(report));
    }
    panels
}

fn look(wait: Wait) -> (&'static str, RGBColor, Marker) {
    match wait {
        Wait::Busy => ("busy (spinning)", BLUE, Marker::Circle),
        Wait::Sleeping => ("sleeping (in the kernel)", VERMILION, Marker::Square),
        Wait::SpinThenSleep => ("spinning, then sleeping", GREEN, Marker::Diamond),
    }
}

fn sample(x: f64, spread: Spread) -> Sample {
    Sample { x, y: spread.median, least: spread.min, most: spread.max, marked: true }
}

/// All that has to have a place on the axis.
fn figures(series: &[Series]) -> Vec<f64> {
    let samples = series.iter().flat_map(|series| &series.points);
    samples.flat_map(|sample| [sample.least, sample.y, sample.most]).collect()
}

fn throughput(
    report: &Report,
    title: &str,
    label: &str,
    figure: fn(&crate::bench::report::Throughput) -> Spread,
    text: fn(f64) -> String,
) -> Panel {
    let of_wait = |wait: Wait| {
        let rows = report.throughput.iter().filter(move |row| row.wait == wait);
        let points: Vec<Sample> = rows.map(|row| sample(row.size as f64, figure(row))).collect();
        let (name, colour, marker) = look(wait);
        Series { name: name.into(), colour, marker, points, area: false }
    };
    let series: Vec<Series> = [Wait::Busy, Wait::Sleeping].map(of_wait).into();
    let mut sizes: Vec<usize> = report.throughput.iter().map(|row| row.size).collect();
    sizes.dedup();
    let ticks = sizes.into_iter().map(|size| (size as f64, size_text(size)));
    Panel {
        title: title.into(),
        x: Axis::with_ticks("size of a message", ticks.collect(), true),
        y: Axis::logarithmic(label, &figures(&series), text),
        series,
    }
}

/// Where the longest round trip is drawn: one nine beyond the last.
const LONGEST: f64 = 5.0;

/// Each further nine is as long as the one before.
fn nines(percentile: f64) -> f64 {
    if percentile >= 100.0 { LONGEST } else { -(1.0 - percentile / 100.0).log10() }
}

fn latency(report: &Report) -> Panel {
    let points = |percentiles: &[Percentile]| -> Vec<Sample> {
        let sample = |point: &Percentile| Sample {
            marked: NAMED.contains(&point.percentile),
            ..sample(nines(point.percentile), point.ns)
        };
        percentiles.iter().map(sample).collect()
    };
    let of_row = |row: &Latency| {
        let (name, colour, marker) = look(row.wait);
        Series { name: name.into(), colour, marker, points: points(&row.percentiles), area: true }
    };
    let series: Vec<Series> = report.latency.iter().map(of_row).collect();
    let ticks = [(nines(50.0), "50 %"), (1.0, "90 %"), (2.0, "99 %"), (3.0, "99.9 %")];
    let ends = [(4.0, "99.99 %"), (LONGEST, "most")];
    let ticks = ticks.into_iter().chain(ends).map(|(place, text)| (place, text.to_owned()));
    let size = report.latency.first().map_or(0, |row| row.size);
    Panel {
        title: format!("Latency: {} there and back", size_text(size)),
        x: Axis::with_ticks("share of the round trips that took no longer", ticks.collect(), false)
            .starting_at(nines(0.0)),
        y: Axis::logarithmic("time of a round trip", &figures(&series), table::round_time),
        series,
    }
}

fn scaling(report: &Report) -> Panel {
    let of_order = |order: Order| {
        let rows = report.scaling.iter().filter(move |row| row.order == order);
        let points = rows.map(|row| sample(row.senders.into(), row.messages_per_second)).collect();
        let (name, colour, marker) = match order {
            Order::Total => ("total order", GREEN, Marker::Diamond),
            Order::Sender => ("order per sender", PURPLE, Marker::Triangle),
        };
        Series { name: name.into(), colour, marker, points, area: false }
    };
    let series: Vec<Series> = [Order::Total, Order::Sender].map(of_order).into();
    let mut counts: Vec<u32> = report.scaling.iter().map(|row| row.senders).collect();
    counts.dedup();
    let ticks = counts.into_iter().map(|count| (f64::from(count), count.to_string()));
    let first = report.scaling.first();
    let (size, wait) = first.map_or((0, ""), |row| (row.size, row.wait.text()));
    Panel {
        title: format!("Scaling: several senders, one receiver, {}", size_text(size)),
        x: Axis::with_ticks(&format!("senders (waiting: {wait})"), ticks.collect(), true),
        y: Axis::linear("messages per second", &figures(&series), table::round_rate),
        series,
    }
}
