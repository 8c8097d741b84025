//! The fenced blocks of a chapter, and what is to be done with each.

use std::fmt;

/// What is between two fences.
#[derive(Debug)]
pub(crate) struct Block {
    file: String,
    /// Of the opening fence.
    line: usize,
    language: String,
    flags: Vec<String>,
    /// Why it is not run.
    reason: Option<String>,
    pub(crate) body: String,
}

/// What rustdoc knows.
const RUSTDOC: [&str; 5] = ["no_run", "should_panic", "compile_fail", "standalone_crate", "edition2024"];

/// Every fenced block of a chapter.
pub(crate) fn of(file: &str, text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(info) = line.trim_start().strip_prefix("```") else {
            continue;
        };
        assert!(line.starts_with("```"), "{file}:{}: an indented fence", number + 1);
        let mut body = String::new();
        loop {
            let (_, line) = lines.next().unwrap_or_else(|| panic!("{file}:{}: no end", number + 1));
            if line == "```" {
                break;
            }
            body.push_str(line);
            body.push('\n');
        }
        blocks.push(Block::new(file, number + 1, info, body));
    }
    blocks
}

impl Block {
    /// Panics if nobody has said what is to be done with such a block.
    fn new(file: &str, line: usize, info: &str, body: String) -> Self {
        let place = format!("{file}:{line}");
        let (info, reason) = match info.split_once(",ignore") {
            None => (info, None),
            Some((info, rest)) => {
                let reason = rest.trim().strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
                let reason = reason.filter(|reason| !reason.trim().is_empty());
                let reason = reason.unwrap_or_else(|| panic!("{place}: 'ignore' without a (reason)"));
                (info, Some(reason.to_owned()))
            }
        };
        let mut parts = info.split(',').map(str::to_owned);
        let language = parts.next().unwrap();
        let flags: Vec<String> = parts.collect();
        for flag in &flags {
            let known = match language.as_str() {
                "console" => ["waits", "alone", "root"].contains(&flag.as_str()),
                "rust" => RUSTDOC.contains(&flag.as_str()),
                "ini" => flag.starts_with("unit (") && flag.ends_with(')'),
                _ => false,
            };
            assert!(known, "{place}: nothing is known of {language},{flag}");
        }
        let languages = ["console", "rust", "c", "python", "json", "yaml", "ini", "toml", "text"];
        assert!(languages.contains(&language.as_str()), "{place}: nothing is known of a block {language:?}");
        let no_command = language != "text" || !body.lines().any(|line| line.starts_with("$ "));
        assert!(no_command, "{place}: a command in a block that is not run");
        Self { file: file.to_owned(), line, language, flags, reason, body }
    }

    pub(crate) fn language(&self) -> &str {
        &self.language
    }

    pub(crate) fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|other| other == flag)
    }

    /// What stands in parentheses behind a flag: rustdoc, which reads the info strings too, knows such remarks.
    pub(crate) fn remark(&self, flag: &str) -> Option<&str> {
        self.flags.iter().find_map(|other| other.strip_prefix(flag)?.strip_prefix(" (")?.strip_suffix(')'))
    }

    /// Where it is and why it is not run, if it is not.
    pub(crate) fn ignored(&self) -> Option<String> {
        self.reason.as_ref().map(|reason| format!("{self} ({}): {reason}", self.language))
    }

    /// Whether something is to be done with it.
    pub(crate) fn is(&self, language: &str) -> bool {
        self.language == language && self.reason.is_none()
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "docs/{}:{}", self.file, self.line)
    }
}

#[test]
fn blocks_are_found_with_their_flags() {
    let text = "a\n```console,waits\n$ b\nc\n```\n```rust,ignore (no such crate)\nd\n```\n```ini,unit (x.service)\n```\n";
    let blocks = of("x.md", text);
    assert_eq!(blocks.len(), 3);
    assert!(blocks[0].is("console") && blocks[0].has("waits"));
    assert_eq!((blocks[0].body.as_str(), blocks[0].to_string().as_str()), ("$ b\nc\n", "docs/x.md:2"));
    assert_eq!(blocks[1].ignored().unwrap(), "docs/x.md:6 (rust): no such crate");
    assert_eq!(blocks[2].remark("unit"), Some("x.service"));
}

#[test]
fn what_nobody_knows_is_refused() {
    let strange = [
        "sh",
        "",
        "console,wait",
        "rust,ignore",
        "rust,ignore ()",
        "rust,norun",
        "json,alone",
        "ini,unit",
        "text,waits",
    ];
    for info in strange {
        let text = format!("```{info}\n```\n");
        assert!(std::panic::catch_unwind(|| of("x.md", &text)).is_err(), "{info}");
    }
    assert!(std::panic::catch_unwind(|| of("x.md", "```text\n$ ls\n```\n")).is_err());
    assert!(std::panic::catch_unwind(|| of("x.md", "```text\n")).is_err());
}
