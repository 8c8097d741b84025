//! What the runs gave, as bar charts: one SVG file for each workload group, w1.svg and so on.

use std::fs;
use std::path::Path;

use anyhow::{Context, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::report::{Row, Spread};
use crate::targets::is_peer;

/// Writes a chart for every workload group of the rows.
pub(crate) fn write(directory: &Path, rows: &[Row]) -> anyhow::Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    for (name, text) in charts(rows, &machine())? {
        let file = directory.join(name);
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// Processor, cores, kernel.
fn machine() -> String {
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or(std::env::consts::ARCH, |(_, model)| model.trim());
    let cores = match processors.lines().filter(|line| line.starts_with("processor")).count() {
        1 => "1 core".to_string(),
        cores => format!("{cores} cores"),
    };
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{model}, {cores}, Linux {}", kernel.trim())
}

/// File names and files.
fn charts(rows: &[Row], machine: &str) -> anyhow::Result<Vec<(String, String)>> {
    let mut groups: Vec<&str> = Vec::new();
    for row in rows {
        let group = group(row.workload);
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    let chart_of = |name: &str| {
        let rows: Vec<&Row> = rows.iter().filter(|row| group(row.workload) == name).collect();
        Ok((format!("{name}.svg"), chart(name, &rows, machine)?))
    };
    groups.into_iter().map(chart_of).collect()
}

fn group(workload: &str) -> &str {
    workload.get(..2).unwrap_or(workload)
}

fn title(group: &str) -> &str {
    match group {
        "w1" => "W1: one sender, one receiver, a core each",
        "w2" => "W2: there and back again, no side sleeps",
        "w3" => "W3: there and back again, sides sleep",
        "w4" => "W4: several senders, one receiver",
        "w5" => "W5: one sender, one receiver, each peer's blocking calls",
        "w6" => "W6: written and read in place",
        "w7" => "W7: delay of messages that come at a given pace",
        "w8" => "W8: cost of attached senders",
        other => other,
    }
}

/// More than the name says.
fn remark(workload: &str) -> String {
    if let Some(pace) = workload.strip_prefix("w7-") {
        let (rate, bursts) =
            pace.strip_suffix("-bursts").map_or((pace, ""), |rate| (rate, ", in bursts of 16"));
        return format!("{rate} messages/s{bursts}");
    }
    match workload {
        "w3-asleep" => "always asleep, two cores".into(),
        "w3-asleep-one-core" => "always asleep, one core".into(),
        "w3-default" => "plain blocking calls, two cores".into(),
        "w3-default-idle" => "plain blocking calls, 100 µs apart, two cores".into(),
        "w3-default-one-core" => "plain blocking calls, one core".into(),
        "w4-pinned" => "receiver on one core, all senders on the other".into(),
        "w4-free" => "wherever the kernel likes".into(),
        "w8-one" => "one sender sends, 1 or 64 are attached".into(),
        _ => String::new(),
    }
}

/// Bars of one workload, size and number of senders.
struct Panel<'a> {
    title: String,
    bars: Vec<Bar<'a>>,
    /// Lines about peers without a figure.
    absent: Vec<String>,
    delay: bool,
    axis: Axis,
}

struct Bar<'a> {
    peer: &'a str,
    spread: Spread,
    /// Of delays, the median p99.
    tail: Option<f64>,
    runs: usize,
}

impl Bar<'_> {
    fn number(&self, delay: bool) -> String {
        let mut text = if delay { nanos(self.spread.median) } else { rate(self.spread.median) };
        if let Some(tail) = self.tail {
            text = format!("{text}, p99 {}", nanos(tail));
        }
        if self.spread.runs < self.runs {
            text = format!("{text} ({} of {} runs)", self.spread.runs, self.runs);
        }
        text
    }

    fn most(&self) -> f64 {
        self.spread.max.max(self.tail.unwrap_or(0.0))
    }
}

fn panels<'a>(rows: &[&'a Row]) -> Vec<Panel<'a>> {
    let mut panels: Vec<Panel> = Vec::new();
    let mut heads: Vec<(&str, usize, usize)> = Vec::new();
    let alone = |row: &Row| row.workload.starts_with("w8");
    for row in rows {
        let head = (row.workload, row.size, if alone(row) { 0 } else { row.senders });
        if !heads.contains(&head) {
            heads.push(head);
        }
    }
    // Panels that differ in their senders only have the same axis, so they stand together.
    heads.sort_by_key(|head| (rows.iter().position(|row| row.workload == head.0), head.1, head.2));
    let several = rows.iter().any(|row| row.senders > 1 && !alone(row));
    for (workload, size, senders) in heads {
        let here = rows.iter().copied().filter(|row| row.workload == workload && row.size == size);
        let here: Vec<&'a Row> = here.collect();
        let meant = here.iter().copied().filter(|row| senders == 0 || row.senders == senders);
        let meant: Vec<&'a Row> = meant.collect();
        let delay = meant.iter().any(|row| row.units[0].starts_with("ns"));
        let mut bars: Vec<Bar> = meant.iter().filter_map(|row| bar(row)).collect();
        bars.sort_by(|a, b| a.spread.median.total_cmp(&b.spread.median));
        if !delay {
            bars.reverse();
        }
        let size = match size {
            large if large >= 1 << 20 && large % (1 << 20) == 0 => format!("{} MiB", large >> 20),
            large if large >= 1 << 10 && large % (1 << 10) == 0 => format!("{} KiB", large >> 10),
            small => format!("{small} B"),
        };
        let mut parts = vec![workload.to_string(), remark(workload)];
        parts.extend(several.then(|| format!("{senders} senders")));
        parts.push(format!("messages of {size}"));
        parts.retain(|part| !part.is_empty());
        panels.push(Panel {
            title: parts.join(", "),
            bars,
            absent: wrap(&absent(&meant), 120),
            delay,
            axis: Axis::new(here.iter().filter_map(|row| bar(row))),
        });
    }
    // One kind of axis in a file.
    let logarithmic = panels.iter().any(|panel| panel.axis.wants_logarithm());
    panels.iter_mut().for_each(|panel| panel.axis.logarithmic = logarithmic);
    panels
}

fn bar(row: &Row) -> Option<Bar<'_>> {
    let tail = row.units.iter().position(|unit| *unit == "ns p99").and_then(|unit| row.spread(unit));
    let (tail, runs) = (tail.map(|spread| spread.median), row.figures(0).len());
    Some(Bar { peer: row.peer, spread: row.spread(0)?, tail, runs })
}

/// Who has no figure, and why.
fn absent(rows: &[&Row]) -> String {
    let rows: Vec<&Row> = rows.iter().copied().filter(|row| row.spread(0).is_none()).collect();
    let names = |declined: bool, what: &str| {
        let names: Vec<&str> =
            rows.iter().filter(|row| row.declined == declined).map(|row| row.peer).collect();
        (!names.is_empty()).then(|| format!("{what}: {}", names.join(", ")))
    };
    let parts = [names(true, "cannot do it"), names(false, "failed or hung")];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// Lines of at most so many bytes, unless a word is longer.
fn wrap(text: &str, length: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= length => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_string()),
        }
    }
    lines
}

/// Where figures lie between the left (0) and right (1) end.
#[derive(Clone, Copy, Debug)]
struct Axis {
    /// Least figure.
    least: f64,
    /// Greatest figure.
    most: f64,
    logarithmic: bool,
}

impl Axis {
    fn new<'a>(bars: impl Iterator<Item = Bar<'a>>) -> Axis {
        let (mut least, mut most) = (f64::INFINITY, 1.0f64);
        for bar in bars {
            least = least.min(bar.spread.min.max(1e-3));
            most = most.max(bar.most());
        }
        Axis { least: least.min(most), most, logarithmic: false }
    }

    fn wants_logarithm(&self) -> bool {
        self.most > 15.0 * self.least
    }

    /// Figures at the left and right end. Even the shortest bar of a logarithmic axis has some length.
    fn ends(&self) -> (f64, f64) {
        let left = if self.logarithmic { floor_step(0.7 * self.least) } else { 0.0 };
        (left, self.most)
    }

    fn place(&self, figure: f64) -> f64 {
        let (left, right) = self.ends();
        let place = if self.logarithmic {
            (figure.max(left) / left).ln() / (right / left).ln()
        } else {
            (figure - left) / (right - left)
        };
        place.clamp(0.0, 1.0)
    }

    fn ticks(&self) -> Vec<f64> {
        let (left, right) = self.ends();
        if !self.logarithmic {
            let step = floor_step(right / 4.0);
            return (0..).map(|index| f64::from(index) * step).take_while(|tick| *tick <= right).collect();
        }
        let decades = (right / left).log10();
        let steps: &[f64] = if decades > 3.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let from = left.log10().floor() as i32;
        let all = (from..from + 20).flat_map(|power| steps.iter().map(move |step| step * 10f64.powi(power)));
        all.filter(|tick| (left * 0.999..=right).contains(tick)).collect()
    }
}

/// The greatest 1, 2 or 5 with zeroes that is not above the figure.
fn floor_step(figure: f64) -> f64 {
    let power = 10f64.powf(figure.log10().floor());
    let steps = [5.0, 2.0, 1.0].map(|step| step * power);
    // The logarithm of a power of ten may come out a little too large.
    steps.into_iter().find(|step| *step <= figure * 1.000_001).unwrap_or(power)
}

/// A figure with three digits; whole numbers without a point where `whole`.
fn digits(value: f64, whole: bool) -> String {
    let digits = if whole { 0 } else { 2usize.saturating_sub(value.max(1.0).log10() as usize) };
    format!("{value:.digits$}")
}

fn scaled(figure: f64, scale: &[(f64, &str)], whole: bool) -> String {
    // As it will be printed: 999.9 becomes 1 of the next.
    let (unit, suffix) =
        scale.iter().find(|(unit, _)| figure >= 0.9995 * unit).unwrap_or(&scale[scale.len() - 1]);
    let value = figure / unit;
    format!("{}{suffix}", digits(value, whole && value.fract().abs() < 1e-6))
}

const RATES: &[(f64, &str)] = &[(1e9, " G"), (1e6, " M"), (1e3, " k"), (1.0, "")];
const TIMES: &[(f64, &str)] = &[(1e9, " s"), (1e6, " ms"), (1e3, " µs"), (1.0, " ns")];

/// Messages per second.
pub(crate) fn rate(figure: f64) -> String {
    scaled(figure, RATES, false)
}

/// A time, given in nanoseconds, in the unit that fits.
pub(crate) fn nanos(figure: f64) -> String {
    scaled(figure, TIMES, false)
}

const WIDTH: i32 = 900;
/// Left and right end of the axis; names stand left of it, numbers right of the bars.
const LEFT: i32 = 200;
const RIGHT: i32 = 640;
const HEAD: i32 = 104;
const PITCH: i32 = 18;
/// Above and below the bars of a panel.
const ABOVE: i32 = 28;
const BELOW: i32 = 54;

const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
const FAINT: RGBColor = RGBColor(0x66, 0x66, 0x66);
const LINES: RGBColor = RGBColor(0xE2, 0xE2, 0xE2);
const OURS: RGBColor = RGBColor(0xE0, 0x6C, 0x1C);
const PEERS: RGBColor = RGBColor(0x7D, 0xA3, 0xC7);
const REFERENCES: RGBColor = RGBColor(0xC4, 0xC4, 0xC4);

fn is_ours(peer: &str) -> bool {
    peer.starts_with("sysring")
}

fn colour(peer: &str) -> RGBColor {
    match peer {
        peer if is_ours(peer) => OURS,
        peer if is_peer(peer) => PEERS,
        _ => REFERENCES,
    }
}

fn chart(group: &str, rows: &[&Row], machine: &str) -> anyhow::Result<String> {
    let panels = panels(rows);
    let height_of = |panel: &Panel| ABOVE + (panel.bars.len() + panel.absent.len()) as i32 * PITCH + BELOW;
    let height = HEAD + panels.iter().map(height_of).sum::<i32>();
    let runs = rows.iter().map(|row| row.figures(0).len()).max().unwrap_or(0);
    let runs = if runs == 1 { "1 run".into() } else { format!("{runs} runs, interleaved") };
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (WIDTH as u32, height as u32)).into_drawing_area();
        let page = Page { area };
        page.rectangle((0, 0), (WIDTH, height), WHITE)?;
        page.text(title(group), (16, 26), 20, true, INK, HPos::Left)?;
        page.text(&format!("{machine}; {runs}"), (16, 50), 12, false, FAINT, HPos::Left)?;
        page.legend(&panels, 72)?;
        let mut top = HEAD;
        for panel in &panels {
            page.panel(panel, top)?;
            top += height_of(panel);
        }
        page.area.present().map_err(failed)?;
    }
    Ok(text)
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot draw: {error}")
}

struct Page<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
}

type Point = (i32, i32);

impl Page<'_> {
    fn rectangle(&self, from: Point, to: Point, colour: RGBColor) -> anyhow::Result<()> {
        self.area.draw(&Rectangle::new([from, to], colour.filled())).map_err(failed)
    }

    fn line(&self, from: Point, to: Point, colour: RGBColor) -> anyhow::Result<()> {
        self.area.draw(&PathElement::new([from, to], colour)).map_err(failed)
    }

    /// A ring, as p99 is marked.
    fn mark(&self, at: Point) -> anyhow::Result<()> {
        self.area.draw(&Circle::new(at, 3, WHITE.filled())).map_err(failed)?;
        self.area.draw(&Circle::new(at, 3, INK)).map_err(failed)
    }

    fn text(
        &self,
        text: &str,
        at: Point,
        size: i32,
        bold: bool,
        colour: RGBColor,
        anchor: HPos,
    ) -> anyhow::Result<()> {
        let weight = if bold { FontStyle::Bold } else { FontStyle::Normal };
        // The backend divides by 1.24.
        let font = FontDesc::new(FontFamily::SansSerif, f64::from(size) * 1.24, weight);
        let style = TextStyle::from(font).color(&colour).pos(Pos::new(anchor, VPos::Center));
        self.area.draw(&Text::new(text, at, style)).map_err(failed)
    }

    fn legend(&self, panels: &[Panel], y: i32) -> anyhow::Result<()> {
        let shown = |which| panels.iter().flat_map(|panel| &panel.bars).any(|bar| colour(bar.peer) == which);
        let entries =
            [(OURS, "sysring", 76), (PEERS, "peers", 66), (REFERENCES, "references (t: threads)", 188)];
        let mut x = 16;
        for (colour, what, width) in entries.into_iter().filter(|entry| shown(entry.0)) {
            self.rectangle((x, y - 6), (x + 12, y + 6), colour)?;
            self.text(what, (x + 18, y), 12, false, INK, HPos::Left)?;
            x += width;
        }
        let delay = panels.iter().any(|panel| panel.delay);
        let bar = if delay { "bar: median of the runs' p50" } else { "bar: median of the runs" };
        self.text(&format!("{bar}; dark line: least to most"), (x + 12, y), 12, false, INK, HPos::Left)?;
        if delay {
            x += 370;
            self.mark((x, y))?;
            self.text("median p99", (x + 9, y), 12, false, INK, HPos::Left)?;
        }
        Ok(())
    }

    fn panel(&self, panel: &Panel, top: i32) -> anyhow::Result<()> {
        self.text(&panel.title, (16, top + 10), 14, true, INK, HPos::Left)?;
        let first = top + ABOVE;
        let foot = first + panel.bars.len() as i32 * PITCH;
        let at = |figure: f64| LEFT + (panel.axis.place(figure) * f64::from(RIGHT - LEFT)).round() as i32;
        if !panel.bars.is_empty() {
            let scale = if panel.delay { TIMES } else { RATES };
            for tick in panel.axis.ticks() {
                self.line((at(tick), first), (at(tick), foot + 4), LINES)?;
                let tick = (scaled(tick, scale, true), at(tick));
                self.text(&tick.0, (tick.1, foot + 12), 11, false, FAINT, HPos::Center)?;
            }
            let what =
                if panel.delay { "time; less is better" } else { "messages per second; more is better" };
            let kind = if panel.axis.logarithmic { " (logarithmic axis)" } else { "" };
            let middle = ((LEFT + RIGHT) / 2, foot + 28);
            self.text(&format!("{what}{kind}"), middle, 11, false, FAINT, HPos::Center)?;
        }
        for (index, bar) in panel.bars.iter().enumerate() {
            let y = first + index as i32 * PITCH + PITCH / 2;
            let Spread { median, min, max, .. } = bar.spread;
            self.text(bar.peer, (LEFT - 8, y), 12, is_ours(bar.peer), INK, HPos::Right)?;
            self.rectangle((LEFT, y - 6), (at(median), y + 6), colour(bar.peer))?;
            if let Some(tail) = bar.tail {
                self.line((at(median), y), (at(tail), y), colour(bar.peer))?;
            }
            self.line((at(min), y), (at(max), y), INK)?;
            if let Some(tail) = bar.tail {
                self.mark((at(tail), y))?;
            }
            let end = (at(bar.most()) + 8, y);
            self.text(&bar.number(panel.delay), end, 12, is_ours(bar.peer), INK, HPos::Left)?;
        }
        self.line((LEFT, first), (LEFT, foot), FAINT)?;
        let below = foot + if panel.bars.is_empty() { 10 } else { 46 };
        for (index, line) in panel.absent.iter().enumerate() {
            let y = below + index as i32 * PITCH;
            self.text(line, (16, y), 11, false, FAINT, HPos::Left)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Outcome;
    use crate::catalogue::Case;

    const RATE: &[&str] = &["msg/s"];
    const DELAY: &[&str] = &["ns p50", "ns p99", "ns p99.9", "ns min"];
    /// Made up: messages per second.
    #[rustfmt::skip]
    const PEERS: &[(&str, f64)] = &[
        ("sysring", 41e6), ("sysring-batch", 160e6), ("sysring-per-sender-batch", 170e6), ("ref-ring", 36e6),
        ("ref-ring-batch", 190e6), ("pipe", 1.9e6), ("seqpacket", 0.7e6), ("posix-mq", 0.9e6), ("sysv-msg", 1.2e6),
        ("shaq", 21e6), ("shaq-batch", 98e6), ("shaq-mpmc", 9e6), ("shaq-mpmc-batch", 44e6), ("shmem-ipc", 17e6),
        ("shmem-ipc-batch", 52e6), ("ipmpsc", 4e6), ("ringfire", 12e6), ("shm_ring", 6e6), ("tachyon-ipc", 18e6),
        ("iceoryx2", 3.1e6), ("iceoryx2-event", 0.21e6), ("iox2-bb-spsc", 24e6), ("ipc-channel", 0.43e6),
        ("t:rtrb", 33e6), ("t:rtrb-chunks", 120e6),
    ];

    fn row(workload: &'static str, peer: &'static str, size: usize, senders: usize) -> Row {
        let units = if ["w1", "w4", "w8"].contains(&group(workload)) { RATE } else { DELAY };
        Row::new(&Case { workload, peer, size, senders, units, run: Box::new(|_| unreachable!()) })
    }

    /// 15 rounds around a figure.
    fn ran(mut row: Row, middle: f64) -> Row {
        for round in 0..15 {
            let figure = middle * (0.8 + 0.03 * f64::from(round * 7 % 15));
            row.add(Outcome::Figures(
                [1.0, 3.0, 9.0, 0.5].map(|factor| factor * figure)[..row.units.len()].to_vec(),
            ));
        }
        row
    }

    fn without(mut row: Row, outcome: Outcome) -> Row {
        row.add(outcome);
        row
    }

    fn made_up() -> Vec<Row> {
        let mut rows = Vec::new();
        for (size, share) in [(8, 1.2), (64, 1.0), (65536, 0.007)] {
            rows.extend(PEERS.iter().map(|(peer, rate)| ran(row("w1", peer, size, 1), share * rate)));
        }
        rows.push(without(row("w1", "hangs", 64, 1), Outcome::Failed));
        rows.push(without(row("w1", "cannot", 64, 1), Outcome::Declined));
        for size in [48, 64] {
            rows.extend(PEERS.iter().map(|(peer, rate)| ran(row("w2", peer, size, 1), 3e10 / rate)));
        }
        for workload in ["w3-asleep", "w3-default-idle"] {
            rows.extend(
                PEERS[..9].iter().map(|(peer, rate)| ran(row(workload, peer, 64, 1), 1e4 + 5e9 / rate)),
            );
            rows.extend(
                PEERS[9..].iter().map(|(peer, _)| without(row(workload, peer, 64, 1), Outcome::Declined)),
            );
        }
        for senders in [2, 4, 8] {
            for workload in ["w4-pinned", "w4-free"] {
                let rate_of = |rate| rate / senders as f64;
                rows.extend(
                    PEERS.iter().map(|(peer, rate)| ran(row(workload, peer, 64, senders), rate_of(rate))),
                );
            }
        }
        for workload in ["w7-10k", "w7-5M-bursts"] {
            rows.push(without(ran(row(workload, "sysring", 64, 1), 9000.0), Outcome::Failed));
            rows.push(ran(row(workload, "sysring-latency", 64, 1), 8000.0));
        }
        rows.push(ran(row("w8-one", "sysring-1-attached", 64, 1), 41e6));
        rows.push(ran(row("w8-one", "sysring-64-attached", 64, 64), 37e6));
        rows
    }

    #[test]
    fn a_file_for_each_group_says_everything() {
        let charts = charts(&made_up(), "a <machine>").expect("drawn");
        let names: Vec<&str> = charts.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["w1.svg", "w2.svg", "w3.svg", "w4.svg", "w7.svg", "w8.svg"]);
        for (name, text) in &charts {
            assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"), "{name}");
            assert!(text.contains("a &lt;machine&gt;; 1") && text.contains(" runs, interleaved"), "{name}");
        }
        let of = |name: &str| &charts.iter().find(|(found, _)| found == name).expect("drawn").1;
        for part in
            ["messages of 8 B", "messages of 64 KiB", "41.4 M", "cannot do it: cannot; failed or hung: hangs"]
        {
            assert!(of("w1.svg").contains(part), "{part}");
        }
        assert!(
            of("w4.svg").contains("w4-pinned, receiver on one core, all senders on the other, 8 senders")
        );
        assert!(of("w7.svg").contains("9.09 \u{b5}s, p99 27.3 \u{b5}s (15 of 16 runs)"));
    }

    #[test]
    fn the_best_stands_first() {
        let rows = made_up();
        let rows: Vec<&Row> =
            rows.iter().filter(|row| row.workload == "w1" || row.workload == "w2").collect();
        let panels = panels(&rows);
        let first: Vec<&str> = panels.iter().map(|panel| panel.bars[0].peer).collect();
        assert_eq!(first, ["ref-ring-batch"; 5]);
        assert!(panels[0].bars.is_sorted_by(|a, b| a.spread.median >= b.spread.median));
        assert!(panels[4].bars.is_sorted_by(|a, b| a.spread.median <= b.spread.median));
    }

    #[test]
    fn figures_have_three_digits() {
        let cases = [(0.4, "0.40"), (7.0, "7.00"), (12.34, "12.3"), (999.4, "999"), (999.6, "1.00 k")];
        for (figure, text) in cases {
            assert_eq!(rate(figure), text);
        }
        assert_eq!([rate(123.4e6), nanos(312.0), nanos(10_440.0)], ["123 M", "312 ns", "10.4 \u{b5}s"]);
        assert_eq!([scaled(2e6, RATES, true), scaled(0.0, RATES, true)], ["2 M", "0"]);
    }

    #[test]
    fn every_figure_has_its_place_on_the_axis() {
        let line = Axis { least: 3.0, most: 40.0, logarithmic: false };
        assert_eq!([line.place(0.0), line.place(10.0), line.place(40.0)], [0.0, 0.25, 1.0]);
        assert_eq!(line.ticks(), [0.0, 10.0, 20.0, 30.0, 40.0]);
        let logarithm = Axis { least: 1.5, most: 1000.0, logarithmic: true };
        assert_eq!(logarithm.ends(), (1.0, 1000.0));
        assert!((logarithm.place(10.0) - 1.0 / 3.0).abs() < 1e-9);
        assert_eq!(logarithm.ticks().len(), 10);
        let wide = Axis { least: 2.0, most: 3e6, logarithmic: true };
        assert_eq!(wide.ticks().len(), 7, "{:?}", wide.ticks());
        // One bar, or figures of nought, draw something.
        for logarithmic in [false, true] {
            let one = Axis { least: 1.0, most: 1.0, logarithmic };
            assert!(one.place(1.0) > 0.0 && one.place(0.0) == 0.0 && one.ticks().len() < 9);
        }
    }

    #[test]
    fn long_lists_are_wrapped() {
        assert_eq!(wrap("a bb ccc dddd", 5), ["a bb", "ccc", "dddd"]);
        assert!(wrap("", 5).is_empty());
    }
}
