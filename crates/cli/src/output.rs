//! Text for people and programs on stdout.

use std::io::{self, Write as _};

use anstream::AutoStream;
use anstyle::{AnsiColor, Effects, Style};
use clap::builder::styling::Styles;
use indicatif::HumanCount;
use serde::Serialize;

use crate::exit::{FAILURE, Failure};

/// `1 message`, `1,234 messages`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", HumanCount(number), if number == 1 { "" } else { "s" })
}

/// Writes text to stdout.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| Failure::stdout(&error))
}

/// Writes a value as JSON to stdout.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::new(FAILURE, format!("writing JSON: {error}")))?;
    text.push('\n');
    print(&text)
}

/// Writes text with styles to stdout: a terminal shows them, unless `NO_COLOR` is set; anything else gets the text
/// alone, unless `CLICOLOR_FORCE` is.
pub(crate) fn print_styled(text: &str) -> Result<(), Failure> {
    let mut stdout = AutoStream::auto(io::stdout().lock());
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| Failure::stdout(&error))
}

/// The first word of an error line.
pub(crate) const ERROR: Style = AnsiColor::Red.on_default().effects(Effects::BOLD);
/// A head line, a label.
pub(crate) const HEAD: Style = Style::new().effects(Effects::BOLD);
pub(crate) const PLAIN: Style = Style::new();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const WARNING: Style = AnsiColor::Yellow.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default();

/// Of `--help`.
pub(crate) const HELP: Styles = Styles::styled()
    .header(HEAD)
    .usage(HEAD)
    .literal(AnsiColor::Cyan.on_default())
    .placeholder(AnsiColor::Green.on_default());

/// Rows under a head line, each column as wide as its widest cell.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    lines(head, rows, |_, _| PLAIN, PLAIN)
}

/// As [`table`], for [`print_styled`]: `style` is asked for each cell by its column and its text.
pub(crate) fn styled_table<const N: usize>(
    head: [&str; N],
    rows: &[[String; N]],
    style: impl Fn(usize, &str) -> Style,
) -> String {
    lines(head, rows, style, HEAD)
}

fn lines<const N: usize>(
    head: [&str; N],
    rows: &[[String; N]],
    style: impl Fn(usize, &str) -> Style,
    head_style: Style,
) -> String {
    let head = head.map(str::to_owned);
    let rows: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(|cell| visible(cell))).collect();
    let all = || std::iter::once(&head).chain(&rows);
    let widths: [usize; N] =
        std::array::from_fn(|column| all().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let mut text = String::new();
    for (number, row) in all().enumerate() {
        // Nothing follows the last cell that is not empty, not even in another style.
        let end = row.iter().rposition(|cell| !cell.is_empty()).map_or(0, |last| last + 1);
        for (column, cell) in row[..end].iter().enumerate() {
            let style = if number == 0 { head_style } else { style(column, cell) };
            text.push_str(&styled(style, cell));
            if column + 1 < end {
                let pad = widths[column].saturating_sub(cell.chars().count()) + 2;
                text.extend(std::iter::repeat_n(' ', pad));
            }
        }
        text.push('\n');
    }
    text
}

/// Text in a style, for [`print_styled`].
pub(crate) fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// Text that says nothing to the terminal, whatever it holds.
pub(crate) fn visible(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '?' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [["a".into(), "1".into()], ["longer".into(), "22".into()]];
        assert_eq!(table(["NAME", "N"], &rows), "NAME    N\na       1\nlonger  22\n");
    }

    #[test]
    fn styles_add_nothing_but_escapes() {
        let rows = [["a\x1b[2J".into(), "in use".into()], ["longer".into(), String::new()]];
        let style = |column, _: &str| if column == 1 { GOOD } else { PLAIN };
        let text = styled_table(["NAME", "STATE"], &rows, style);
        let head = "\x1b[1mNAME\x1b[0m    \x1b[1mSTATE\x1b[0m\n";
        assert_eq!(text, format!("{head}a?[2J   \x1b[32min use\x1b[0m\nlonger\n"));
        assert_eq!(anstream::adapter::strip_str(&text).to_string(), table(["NAME", "STATE"], &rows));
    }
}
