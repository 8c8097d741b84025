//! The report for people.

use std::io;

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};

use super::{Check, Group, Report, Status};

/// Whether stdout is a terminal that colours are wanted on.
pub(super) fn colour() -> bool {
    AutoStream::choice(&io::stdout()) != ColorChoice::Never
}

pub(super) fn text(report: &Report, colour: bool) -> String {
    let mut text = String::new();
    let width = report.checks.iter().map(|check| check.id.len()).max().unwrap_or(0);
    for group in [Group::Limits, Group::System, Group::SelfTests, Group::Channels] {
        text += &format!("{}\n", painted(title(group), Style::new().bold(), colour));
        for check in report.checks.iter().filter(|check| check.group == group) {
            line(&mut text, check, width, colour);
        }
        text.push('\n');
    }
    text += &summary(report);
    text.push('\n');
    text
}

fn title(group: Group) -> &'static str {
    match group {
        Group::Limits => "limits of the kernel",
        Group::System => "system",
        Group::SelfTests => "self-tests",
        Group::Channels => "channels",
    }
}

fn line(text: &mut String, check: &Check, width: usize, colour: bool) {
    let (word, style) = match check.status {
        Status::Ok => ("ok", AnsiColor::Green.on_default()),
        Status::Info => ("info", AnsiColor::Cyan.on_default()),
        Status::Warning => ("warning", AnsiColor::Yellow.on_default().bold()),
        Status::Problem => ("problem", AnsiColor::Red.on_default().bold()),
    };
    // Padded before it is painted: the paint has no width.
    let word = painted(&format!("{word:<7}"), style, colour);
    *text += &format!("  {word}  {:<width$}  {}\n", check.id, plain(&check.summary));
    let indent = " ".repeat(2 + 7 + 2 + width + 2);
    for detail in &check.details {
        *text += &format!("{indent}{}\n", plain(detail));
    }
    if let Some(advice) = &check.advice {
        *text += &format!("{indent}{} {}\n", painted("do:", Style::new().bold(), colour), plain(advice));
    }
}

fn painted(text: &str, style: Style, colour: bool) -> String {
    if colour { format!("{style}{text}{style:#}") } else { text.to_owned() }
}

/// A name of a file or a user may hold anything; a line stays one line, and says nothing to the terminal.
fn plain(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '?' } else { char }).collect()
}

fn summary(report: &Report) -> String {
    match (report.problems, report.warnings) {
        (0, 0) => "all is well".into(),
        (0, warnings) => number(warnings, "warning"),
        (problems, 0) => number(problems, "problem"),
        (problems, warnings) => format!("{}, {}", number(problems, "problem"), number(warnings, "warning")),
    }
}

/// `1 problem`, `2 problems`.
pub(super) fn number(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let check = |id, status, advice: Option<&str>| Check {
            id,
            group: Group::System,
            status,
            summary: "a\nb\x1b[2J".into(),
            used: None,
            limit: None,
            unit: None,
            advice: advice.map(str::to_owned),
            details: vec!["more".into()],
        };
        Report::new(vec![
            check("first", Status::Ok, None),
            check("the-second", Status::Warning, Some("this")),
            check("third", Status::Problem, Some("that")),
        ])
    }

    #[test]
    fn lines_are_plain_without_colour() {
        let text = text(&report(), false);
        assert!(!text.contains('\x1b'), "{text:?}");
        assert!(text.contains("  ok       first       a?b?[2J\n"), "{text}");
        assert!(text.contains("  warning  the-second  a?b?[2J\n                       more\n"), "{text}");
        assert!(text.contains("                       do: that\n"), "{text}");
        assert!(text.ends_with("\n\n1 problem, 1 warning\n"), "{text}");
    }

    #[test]
    fn colours_only_add_to_it() {
        let coloured = text(&report(), true);
        assert!(coloured.contains("\x1b[1m\x1b[31mproblem\x1b[0m"), "{coloured:?}");
        assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), text(&report(), false));
    }

    #[test]
    fn numbers() {
        assert_eq!(summary(&Report::new(Vec::new())), "all is well");
        assert_eq!((number(1, "problem"), number(0, "problem")), ("1 problem".into(), "0 problems".into()));
    }
}
