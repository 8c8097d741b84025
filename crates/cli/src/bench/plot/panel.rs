//! One diagram: axes, legend, lines with markers, and from the least to the most of each figure.

use plotters::prelude::{DrawingBackend, RGBColor};

use super::canvas::{Anchor, Canvas, Marker, Point, Type};

pub(super) const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
pub(super) const GREY: RGBColor = RGBColor(0x55, 0x55, 0x55);
const GRID: RGBColor = RGBColor(0xe2, 0xe2, 0xe2);

const TITLE: Type = Type { size: 17, bold: true, colour: INK };
const TEXT: Type = Type { size: 14, bold: false, colour: INK };
const LABEL: Type = Type { size: 14, bold: false, colour: GREY };

/// From the panel's edges to the diagram.
const LEFT: i32 = 88;
const RIGHT: i32 = 28;
const TOP: i32 = 66;
const BOTTOM: i32 = 62;
/// Half the width of the ends of a bar.
const CAP: i32 = 4;
/// Between the texts of two ticks.
const GAP: i32 = 8;

#[derive(Debug)]
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) series: Vec<Series>,
}

#[derive(Debug)]
pub(super) struct Axis {
    pub(super) label: String,
    scale: Scale,
    /// Figures at the two ends.
    from: f64,
    to: f64,
    ticks: Vec<(f64, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    Linear,
    Logarithmic,
}

#[derive(Debug)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) colour: RGBColor,
    pub(super) marker: Marker,
    pub(super) points: Vec<Sample>,
    /// From the least to the most as an area along the line, for lines of many points.
    pub(super) area: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) least: f64,
    pub(super) most: f64,
    pub(super) marked: bool,
}

impl Axis {
    /// With these ticks and a little room at both ends.
    pub(super) fn with_ticks(label: &str, ticks: Vec<(f64, String)>, logarithmic: bool) -> Self {
        let first = ticks.first().map_or(1.0, |tick| tick.0);
        let last = ticks.last().map_or(1.0, |tick| tick.0);
        let (scale, from, to) = if logarithmic {
            let room = (last / first).powf(0.05).max(1.1);
            (Scale::Logarithmic, first / room, last * room)
        } else {
            let room = ((last - first) * 0.03).max(0.01);
            (Scale::Linear, first - room, last + room)
        };
        Self { label: label.into(), scale, from, to, ticks }
    }

    /// Begins below its first tick.
    pub(super) fn starting_at(self, from: f64) -> Self {
        Self { from, ..self }
    }

    /// From zero to more than the greatest figure.
    pub(super) fn linear(label: &str, figures: &[f64], text: impl Fn(f64) -> String) -> Self {
        let most = figures.iter().copied().fold(0.0, f64::max);
        let most = if most > 0.0 && most.is_finite() { most * 1.05 } else { 1.0 };
        let step = nice_above(most / 6.0);
        let steps = (most / step).ceil();
        let ticks = (0..=steps as u32).map(|index| f64::from(index) * step).map(|tick| (tick, text(tick)));
        Self {
            label: label.into(),
            scale: Scale::Linear,
            from: 0.0,
            to: steps * step,
            ticks: ticks.collect(),
        }
    }

    /// Each power of ten is as long as the next; from less than the least figure to more than the greatest.
    pub(super) fn logarithmic(label: &str, figures: &[f64], text: impl Fn(f64) -> String) -> Self {
        let usable = || figures.iter().copied().filter(|figure| *figure > 0.0 && figure.is_finite());
        let (least, most) = (usable().fold(f64::INFINITY, f64::min), usable().fold(0.0, f64::max));
        let (least, most) = if least <= most { (least, most) } else { (1.0, 10.0) };
        let (from, to) = (nice_below(least / 1.15), nice_above(most * 1.15));
        let decades = (to / from).log10();
        let steps: &[f64] = match decades {
            ..4.1 => &[1.0, 2.0, 5.0],
            _ => &[1.0],
        };
        let first = from.log10().floor() as i32;
        let last = to.log10().ceil() as i32;
        let all = (first..=last).flat_map(|power| steps.iter().map(move |step| step * 10f64.powi(power)));
        let inside = all.filter(|tick| (from * 0.999..=to * 1.001).contains(tick));
        Self {
            label: label.into(),
            scale: Scale::Logarithmic,
            from,
            to,
            ticks: inside.map(|tick| (tick, text(tick))).collect(),
        }
    }

    /// 0 at the beginning of the axis, 1 at its end.
    fn place(&self, figure: f64) -> f64 {
        let place = match self.scale {
            Scale::Linear => (figure - self.from) / (self.to - self.from),
            Scale::Logarithmic => (figure.max(self.from) / self.from).ln() / (self.to / self.from).ln(),
        };
        // Also of what is no number.
        place.clamp(0.0, 1.0).max(0.0)
    }
}

/// The least 1, 2 or 5 with zeroes that is not below the figure.
fn nice_above(figure: f64) -> f64 {
    let power = 10f64.powf(figure.log10().floor());
    let steps = [1.0, 2.0, 5.0].map(|step| step * power);
    // A power of ten may be a little off.
    steps.into_iter().find(|step| *step >= figure * 0.999_999).unwrap_or(10.0 * power)
}

fn nice_below(figure: f64) -> f64 {
    let power = 10f64.powf(figure.log10().floor());
    let steps = [5.0, 2.0, 1.0].map(|step| step * power);
    steps.into_iter().find(|step| *step <= figure * 1.000_001).unwrap_or(power)
}

impl Panel {
    /// Between two corners.
    pub(super) fn draw<DB: DrawingBackend>(
        &self,
        canvas: &Canvas<'_, DB>,
        from: Point,
        to: Point,
    ) -> Result<(), String> {
        canvas.text(&self.title, (from.0 + LEFT, from.1 + 16), TITLE, Anchor::Left)?;
        self.legend(canvas, (from.0 + LEFT, from.1 + 44))?;
        let frame = Frame {
            left: from.0 + LEFT,
            right: to.0 - RIGHT,
            top: from.1 + TOP,
            bottom: to.1 - BOTTOM,
            x: &self.x,
            y: &self.y,
        };
        frame.axes(canvas, from.0 + 14)?;
        for series in &self.series {
            frame.series(canvas, series)?;
        }
        Ok(())
    }

    fn legend<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>, at: Point) -> Result<(), String> {
        let (mut x, y) = at;
        for series in &self.series {
            canvas.line(&[(x, y), (x + 28, y)], series.colour, 2)?;
            canvas.marker(series.marker, (x + 14, y), series.colour)?;
            canvas.text(&series.name, (x + 36, y), TEXT, Anchor::Left)?;
            x += 36 + canvas.width(&series.name, TEXT)? + 28;
        }
        Ok(())
    }
}

/// The diagram itself.
struct Frame<'a> {
    left: i32,
    right: i32,
    top: i32,
    bottom: i32,
    x: &'a Axis,
    y: &'a Axis,
}

impl Frame<'_> {
    fn point(&self, x: f64, y: f64) -> Point {
        let across = f64::from(self.right - self.left) * self.x.place(x);
        let up = f64::from(self.bottom - self.top) * self.y.place(y);
        (self.left + across.round() as i32, self.bottom - up.round() as i32)
    }

    fn axes<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>, label_x: i32) -> Result<(), String> {
        let mut free = i32::MIN;
        for (tick, text) in &self.x.ticks {
            let (x, _) = self.point(*tick, self.y.from);
            canvas.line(&[(x, self.top), (x, self.bottom)], GRID, 1)?;
            canvas.line(&[(x, self.bottom), (x, self.bottom + 5)], GREY, 1)?;
            // Of ticks too close to each other only some have a text.
            let half = canvas.width(text, TEXT)? / 2;
            if x - half >= free {
                canvas.text(text, (x, self.bottom + 18), TEXT, Anchor::Middle)?;
                free = x + half + GAP;
            }
        }
        for (tick, text) in &self.y.ticks {
            let (_, y) = self.point(self.x.from, *tick);
            canvas.line(&[(self.left, y), (self.right, y)], GRID, 1)?;
            canvas.line(&[(self.left - 5, y), (self.left, y)], GREY, 1)?;
            canvas.text(text, (self.left - 10, y), TEXT, Anchor::Right)?;
        }
        let corners = [(self.left, self.top), (self.left, self.bottom), (self.right, self.bottom)];
        canvas.line(&corners, GREY, 1)?;
        let middle = (self.left.midpoint(self.right), self.top.midpoint(self.bottom));
        canvas.text(&self.x.label, (middle.0, self.bottom + 44), LABEL, Anchor::Middle)?;
        canvas.text(&self.y.label, (label_x, middle.1), LABEL, Anchor::Upright)
    }

    fn series<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>, series: &Series) -> Result<(), String> {
        if series.area {
            let most = series.points.iter().map(|sample| self.point(sample.x, sample.most));
            let least = series.points.iter().rev().map(|sample| self.point(sample.x, sample.least));
            canvas.veil(&most.chain(least).collect::<Vec<_>>(), series.colour)?;
        }
        let line: Vec<Point> = series.points.iter().map(|sample| self.point(sample.x, sample.y)).collect();
        canvas.line(&line, series.colour, 2)?;
        for (sample, &at) in series.points.iter().zip(&line) {
            if !series.area {
                let (x, most) = self.point(sample.x, sample.most);
                let (_, least) = self.point(sample.x, sample.least);
                canvas.line(&[(x, most), (x, least)], series.colour, 1)?;
                for y in [most, least] {
                    canvas.line(&[(x - CAP, y), (x + CAP, y)], series.colour, 1)?;
                }
            }
            if sample.marked {
                canvas.marker(series.marker, at, series.colour)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|tick| tick.1.as_str()).collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        let text = |figure: f64| format!("{figure}");
        assert_eq!(texts(&Axis::linear("", &[0.0, 17.0], text)), ["0", "5", "10", "15", "20"]);
        assert_eq!(texts(&Axis::linear("", &[], text)).first(), Some(&"0"));
        let log = Axis::logarithmic("", &[3.0, 80.0], text);
        assert_eq!(texts(&log), ["2", "5", "10", "20", "50", "100"]);
        let wide = Axis::logarithmic("", &[0.3, 80_000.0], text);
        assert_eq!(texts(&wide), ["1", "10", "100", "1000", "10000", "100000"]);
    }

    #[test]
    fn everything_has_a_place_on_the_axis() {
        let axis = Axis::logarithmic("", &[10.0, 1000.0], |figure| figure.to_string());
        for figure in [10.0, 1000.0] {
            assert!((0.001..0.999).contains(&axis.place(figure)), "{figure}");
        }
        for figure in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!((0.0..=1.0).contains(&axis.place(figure)), "{figure}");
        }
        for figures in [&[][..], &[0.0], &[f64::NAN]] {
            let axis = Axis::logarithmic("", figures, |figure| figure.to_string());
            assert!(axis.from < axis.to && axis.ticks.len() > 1, "{axis:?}");
        }
    }
}
