//! What the figures were taken on, and when.

use std::fs;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use schemars::JsonSchema;
use serde::Serialize;

/// The machine of a benchmark.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Machine {
    /// Model of the processor, as the kernel names it.
    pub(crate) cpu: String,
    /// Cores that this process may use.
    pub(crate) cores: usize,
    /// Architecture the program is built for.
    pub(crate) architecture: String,
    /// Release of the kernel.
    pub(crate) kernel: String,
}

impl Machine {
    pub(super) fn here() -> Self {
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let architecture = std::env::consts::ARCH;
        Self {
            cpu: printable(model(&processors).unwrap_or(architecture)),
            cores: thread::available_parallelism().map_or(1, usize::from),
            architecture: architecture.into(),
            kernel: printable(&fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default()),
        }
    }

    /// `Some CPU, 2 cores, Linux 6.1.0`.
    pub(super) fn text(&self) -> String {
        let cores = if self.cores == 1 { "1 core".into() } else { format!("{} cores", self.cores) };
        format!("{}, {cores}, Linux {}", self.cpu, self.kernel)
    }
}

/// Not every architecture names it, and not each by the same word.
fn model(processors: &str) -> Option<&str> {
    ["model name", "cpu model", "Model", "cpu"].into_iter().find_map(|word| {
        let line =
            processors.lines().find_map(|line| line.split_once(':').filter(|(key, _)| key.trim() == word));
        line.map(|(_, model)| model.trim()).filter(|model| !model.is_empty())
    })
}

/// On one line, with single spaces, and nothing that a terminal would obey.
fn printable(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().filter(|c| !c.is_control()).collect()
}

/// Now, as `2026-01-31T12:34:56Z`.
pub(super) fn now() -> String {
    date(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs())
}

/// Universal time, of seconds since 1970.
fn date(seconds: u64) -> String {
    // The days of the proleptic Gregorian calendar repeat every 400 years. Counted from a 1st of March, a leap day is the
    // last day of its year and all months before follow one rule.
    const ERA: u64 = 146_097;
    let (days, time) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / ERA, days % ERA);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let (hour, minute, second) = (time / 3_600, time / 60 % 60, time % 60);
    format!("{:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z", era * 400 + year + next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_799, "2000-02-29T23:59:59Z"),
            (1_709_251_200, "2024-03-01T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(date(seconds), text);
        }
    }

    #[test]
    fn the_model_is_found() {
        let intel = "processor\t: 0\nmodel\t\t: 85\nmodel name\t: Some(R)  CPU @ 2 GHz\n";
        assert_eq!(model(intel).map(printable).as_deref(), Some("Some(R) CPU @ 2 GHz"));
        assert_eq!(model("processor: 0\nModel : A Board\n"), Some("A Board"));
        assert_eq!(model("processor : 0\n"), None);
        assert_eq!(printable("a\u{1b}[2J\n"), "a[2J");
    }

    #[test]
    fn this_machine() {
        let machine = Machine::here();
        assert!(machine.cores > 0 && !machine.cpu.is_empty() && !machine.kernel.is_empty(), "{machine:?}");
    }
}
