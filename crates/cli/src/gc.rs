//! `sysring gc`: what the dead left behind, found, explained, removed.

use sysring::{Collector, Errno, Finding, FindingKind, Outcome};

use crate::args::GcArgs;
use crate::exit::{FAILURE, Failure};
use crate::output;

pub(crate) fn run(args: &GcArgs) -> Result<(), Failure> {
    let collector = Collector::new().dry_run(args.dry_run);
    // Without a time, what is idle is shown and kept.
    let collector = match args.older {
        Some(older) => collector.idle(older),
        None => collector,
    };
    let findings = collector.run()?;
    output::print(&text(&findings))?;
    match failure(&findings) {
        Some(message) => Err(Failure::new(FAILURE, message)),
        None => Ok(()),
    }
}

/// A line for each finding, then their number.
fn text(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return "nothing is left behind\n".into();
    }
    let mut text = String::new();
    for finding in findings {
        // A name may hold anything; a finding stays one line.
        let line = finding.to_string();
        text.extend(line.chars().map(|char| if char.is_control() { '?' } else { char }));
        text.push('\n');
    }
    text.push_str(&count(findings));
    text.push('\n');
    text
}

/// What [`word`] gives, in the order of the last line.
const WORDS: [&str; 6] = ["removed", "would be removed", "kept", "in use", "failed", "other"];

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Removed => "removed",
        Outcome::WouldRemove => "would be removed",
        Outcome::Kept => "kept",
        Outcome::InUse => "in use",
        Outcome::Failed(_) => "failed",
        _ => "other",
    }
}

/// `3 found: 1 removed, 2 kept`.
fn count(findings: &[Finding]) -> String {
    let words: Vec<&str> = findings.iter().map(|finding| word(finding.outcome)).collect();
    let parts = WORDS.iter().filter_map(|word| {
        let number = words.iter().filter(|found| *found == word).count();
        (number > 0).then(|| format!("{number} {word}"))
    });
    format!("{} found: {}", findings.len(), parts.collect::<Vec<_>>().join(", "))
}

/// What could not be removed, and why; the first one stands for all.
fn failure(findings: &[Finding]) -> Option<String> {
    let mut failed = findings.iter().filter_map(|finding| match finding.outcome {
        Outcome::Failed(errno) => Some((finding, errno)),
        _ => None,
    });
    let (first, errno) = failed.next()?;
    let others = match failed.count() {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    let object = match first.kind {
        FindingKind::OrphanedSet | FindingKind::UnnamedSet | FindingKind::ReplacedSet => "set",
        _ => "segment",
    };
    let advice = match errno {
        Errno::EPERM | Errno::EACCES => "run it as the user who made it, or as root",
        _ => "try again; if it stays, remove it with ipcrm",
    };
    Some(format!(
        "gc: {object} {} (key {:#010x}) was not removed{others}: {errno}; {advice}",
        first.id, first.key
    ))
}

#[cfg(test)]
mod tests {
    use std::{process, thread};

    use super::*;

    /// Findings with these outcomes.
    fn findings(outcomes: &[Outcome]) -> Vec<Finding> {
        let name = format!("cli-unit-gc-{}-{:?}", process::id(), thread::current().id());
        let channel = sysring::spsc().create(&name).unwrap();
        let id = channel.id();
        drop(channel);
        let found = Collector::new().dry_run(true).run();
        sysring::remove(&name).unwrap();
        let idle = found.unwrap().into_iter().find(|finding| finding.id == id).unwrap();
        let with = |&outcome| {
            let mut finding = idle.clone();
            finding.outcome = outcome;
            finding
        };
        outcomes.iter().map(with).collect()
    }

    #[test]
    fn the_last_line_counts_and_a_failure_is_told() {
        let failed = Outcome::Failed(Errno::EPERM);
        let mixed = findings(&[Outcome::Removed, Outcome::Kept, failed, Outcome::Kept, failed]);
        assert_eq!(count(&mixed), "5 found: 1 removed, 2 kept, 2 failed");
        let report = failure(&mixed).unwrap();
        for words in ["gc: segment ", "(and 1 more)", "EPERM (Operation not permitted)", "as root"] {
            assert!(report.contains(words), "{report}");
        }
        assert_eq!(failure(&mixed[..2]), None);
        assert_eq!(count(&mixed[..1]), "1 found: 1 removed");
        assert_eq!(text(&[]), "nothing is left behind\n");
    }

    #[test]
    fn a_finding_is_one_line() {
        let mut finding = findings(&[Outcome::Kept]).remove(0);
        finding.name = "two\nlines\x1b[31m".into();
        let text = text(&[finding]);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("two?lines?[31m"), "{text}");
    }
}
