//! A drawing area of either backend with one coordinate system, one font and the same look.
//!
//! Text is placed so that both backends show it alike: each has its own idea of the size of a font and of where in a line
//! its letters stand.

use std::fmt::Display;
use std::sync::Once;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// What an SVG names, for whoever shows it; the name of the built-in font for the bitmap.
const FONT: &str = "'DejaVu Sans', Verdana, Helvetica, Arial, sans-serif";

pub(super) type Point = (i32, i32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backend {
    Svg,
    Bitmap,
}

impl Backend {
    /// Size to ask for, for letters of one pixel to the em.
    fn font_factor(self) -> f64 {
        match self {
            // It divides by this.
            Self::Svg => 1.24,
            // It takes the size for the whole height of the font.
            Self::Bitmap => 1.164,
        }
    }

    /// How far text must be moved down, in ems, to be centred on its point.
    fn sinking(self) -> f64 {
        match self {
            Self::Svg => 0.05,
            Self::Bitmap => 0.22,
        }
    }
}

/// How a text stands to its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Left,
    Middle,
    Right,
    /// Centred, and read from below to above.
    Upright,
}

/// Of a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Type {
    pub(super) size: i32,
    pub(super) bold: bool,
    pub(super) colour: RGBColor,
}

/// What a series is told by, besides its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    Circle,
    Square,
    Diamond,
    Triangle,
}

pub(super) struct Canvas<'a, DB: DrawingBackend> {
    area: &'a DrawingArea<DB, Shift>,
    backend: Backend,
    scale: i32,
}

impl<'a, DB: DrawingBackend> Canvas<'a, DB> {
    /// With so many pixels of the area for each of the canvas.
    pub(super) fn new(
        area: &'a DrawingArea<DB, Shift>,
        backend: Backend,
        scale: u32,
    ) -> Result<Self, String> {
        static FONTS: Once = Once::new();
        FONTS.call_once(|| {
            for (style, bytes) in
                [(FontStyle::Normal, dejavu::sans::regular()), (FontStyle::Bold, dejavu::sans::bold())]
            {
                // Without it, the first text fails.
                let _ = register_font(FONT, style, bytes);
            }
        });
        area.fill(&WHITE).map_err(text_of)?;
        Ok(Self { area, backend, scale: scale as i32 })
    }

    fn at(&self, point: Point) -> Point {
        (point.0 * self.scale, point.1 * self.scale)
    }

    pub(super) fn line(&self, points: &[Point], colour: RGBColor, width: i32) -> Result<(), String> {
        let points: Vec<Point> = points.iter().map(|point| self.at(*point)).collect();
        let style = colour.stroke_width((width * self.scale) as u32);
        self.area.draw(&PathElement::new(points, style)).map_err(text_of)
    }

    /// Filled, and let through what is below.
    pub(super) fn veil(&self, points: &[Point], colour: RGBColor) -> Result<(), String> {
        let points: Vec<Point> = points.iter().map(|point| self.at(*point)).collect();
        self.area.draw(&Polygon::new(points, colour.mix(0.18))).map_err(text_of)
    }

    pub(super) fn marker(&self, marker: Marker, at: Point, colour: RGBColor) -> Result<(), String> {
        let (x, y) = self.at(at);
        let r = 5 * self.scale;
        let polygon = |points: Vec<Point>| self.area.draw(&Polygon::new(points, colour.filled()));
        match marker {
            Marker::Circle => self.area.draw(&Circle::new((x, y), r, colour.filled())),
            Marker::Square => polygon(vec![(x - r, y - r), (x + r, y - r), (x + r, y + r), (x - r, y + r)]),
            Marker::Diamond => {
                let r = r * 13 / 10;
                polygon(vec![(x, y - r), (x + r, y), (x, y + r), (x - r, y)])
            }
            Marker::Triangle => {
                let r = r * 6 / 5;
                polygon(vec![(x, y - r), (x + r, y + r * 4 / 5), (x - r, y + r * 4 / 5)])
            }
        }
        .map_err(text_of)
    }

    pub(super) fn text(&self, text: &str, at: Point, kind: Type, anchor: Anchor) -> Result<(), String> {
        let (x, y) = self.at(at);
        let sinking = (self.backend.sinking() * f64::from(kind.size * self.scale)).round() as i32;
        let (font, (x, y), h) = match anchor {
            Anchor::Left => (self.font(kind), (x, y + sinking), HPos::Left),
            Anchor::Middle => (self.font(kind), (x, y + sinking), HPos::Center),
            Anchor::Right => (self.font(kind), (x, y + sinking), HPos::Right),
            Anchor::Upright => {
                (self.font(kind).transform(FontTransform::Rotate270), (x + sinking, y), HPos::Center)
            }
        };
        let style = TextStyle::from(font).color(&kind.colour).pos(Pos::new(h, VPos::Center));
        self.area.draw(&Text::new(text, (x, y), style)).map_err(text_of)
    }

    /// Pixels from the first letter to the last.
    pub(super) fn width(&self, text: &str, kind: Type) -> Result<i32, String> {
        let (width, _) = self.font(kind).box_size(text).map_err(text_of)?;
        Ok(width as i32 / self.scale + 1)
    }

    fn font(&self, kind: Type) -> FontDesc<'static> {
        let weight = if kind.bold { FontStyle::Bold } else { FontStyle::Normal };
        let size = f64::from(kind.size * self.scale) * self.backend.font_factor();
        FontDesc::new(FontFamily::Name(FONT), size, weight)
    }
}

fn text_of(error: impl Display) -> String {
    error.to_string()
}
