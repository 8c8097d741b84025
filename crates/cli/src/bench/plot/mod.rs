//! The results as one picture that says all by itself, as SVG or PNG.

mod canvas;
mod panel;
mod panels;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use plotters::backend::{BitMapBackend, SVGBackend};
use plotters::drawing::IntoDrawingArea as _;

use super::failed;
use super::report::Report;
use crate::exit::{self, Failure, USAGE};

use canvas::{Backend, Canvas};

/// Pixels of a PNG for each of an SVG: type stays sharp when the picture is scaled down.
const FINENESS: u32 = 2;
/// With what each PNG ends.
const PNG_END: &[u8; 8] = b"IEND\xaeB`\x82";

/// Where to draw, and what: the name's extension tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PlotFile {
    path: PathBuf,
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Svg,
    Png,
}

impl FromStr for PlotFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = PathBuf::from(text);
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let format = match extension.to_ascii_lowercase().as_str() {
            "svg" => Format::Svg,
            "png" => Format::Png,
            _ => return Err("the name of a plot ends in .svg or .png".into()),
        };
        Ok(Self { path, format })
    }
}

/// Files that can be written; those made here go again unless they are.
#[derive(Debug)]
pub(super) struct Plots {
    files: Vec<PlotFile>,
    made: Vec<PathBuf>,
}

/// Makes sure that each file can be written, before anything is measured. One that is there is not touched yet.
pub(super) fn create(files: &[PlotFile]) -> Result<Plots, Failure> {
    let mut plots = Plots { files: files.to_vec(), made: Vec::new() };
    for PlotFile { path, .. } in files {
        let existed = path.exists();
        let opened = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        opened.map_err(|error| {
            let (path, why) = (path.display(), exit::errno(&error));
            Failure::new(USAGE, format!("bench: cannot write the plot {path}: {why}; name another file"))
        })?;
        if !existed {
            plots.made.push(path.clone());
        }
    }
    Ok(plots)
}

impl Plots {
    pub(super) fn write(&mut self, report: &Report) -> Result<(), Failure> {
        for PlotFile { path, format } in &self.files {
            let drawn = match format {
                Format::Svg => svg(path, report),
                Format::Png => png(path, report),
            };
            drawn.map_err(|why| failed(&format!("cannot write the plot {}: {why}", path.display())))?;
            self.made.retain(|made| made != path);
        }
        Ok(())
    }
}

impl Drop for Plots {
    fn drop(&mut self) {
        for path in &self.made {
            // Somebody may have taken it away.
            let _ = fs::remove_file(path);
        }
    }
}

fn svg(path: &Path, report: &Report) -> Result<(), String> {
    let mut text = String::new();
    let (width, height) = panels::size(report);
    let area = SVGBackend::with_string(&mut text, (width, height)).into_drawing_area();
    panels::draw(&Canvas::new(&area, Backend::Svg, 1)?, report)?;
    area.present().map_err(|error| error.to_string())?;
    drop(area);
    fs::write(path, text).map_err(|error| exit::errno(&error))
}

fn png(path: &Path, report: &Report) -> Result<(), String> {
    let (width, height) = panels::size(report);
    let area = BitMapBackend::new(path, (width * FINENESS, height * FINENESS)).into_drawing_area();
    panels::draw(&Canvas::new(&area, Backend::Bitmap, FINENESS)?, report)?;
    area.present().map_err(|error| error.to_string())?;
    // The encoder does not tell whether the last bytes were written.
    match ends_with(path, PNG_END) {
        Ok(true) => Ok(()),
        Ok(false) => Err("the file is not whole; is the disk full?".into()),
        Err(error) => Err(exit::errno(&error)),
    }
}

fn ends_with(path: &Path, end: &[u8; 8]) -> io::Result<bool> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::End(-(end.len() as i64)))?;
    let mut found = [0; 8];
    file.read_exact(&mut found)?;
    Ok(&found == end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_tells_the_format() {
        for (name, format) in [("a.svg", Format::Svg), ("b/c.PNG", Format::Png), ("x.y.png", Format::Png)] {
            assert_eq!(name.parse::<PlotFile>().unwrap().format, format, "{name}");
        }
        for name in ["", "svg", ".svg", "a.jpg", "a."] {
            assert!(name.parse::<PlotFile>().unwrap_err().contains(".svg or .png"), "{name}");
        }
    }

    #[test]
    fn a_picture_that_was_cut_off_is_noticed() {
        let path = std::env::temp_dir().join(format!("sysring-bench-end-{}.png", std::process::id()));
        let outcomes = [&b"begin IEND\xaeB`\x82"[..], b"begin IEND\xaeB", b""].map(|bytes| {
            fs::write(&path, bytes).unwrap();
            ends_with(&path, PNG_END).unwrap_or(false)
        });
        fs::remove_file(&path).unwrap();
        assert_eq!(outcomes, [true, false, false]);
    }
}
