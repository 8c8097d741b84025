//! The console blocks of a chapter: one bash session, whose transcript is compared with the chapter.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};

use crate::blocks::Block;
use crate::pattern;

/// Seconds for a chapter: only a hang takes so long.
const DEADLINE: &str = "60";
/// Stands around what the session says about itself, and in no output.
const MARK: char = '\u{1}';

/// What the session may see of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// An IPC namespace of its own, entered by root.
    Root,
    /// The same within a user namespace.
    Own,
    /// The one that everybody uses.
    Shared,
}

impl Place {
    fn find() -> Self {
        if std::env::var_os("SYSRING_GUIDE_SHARED").is_some() {
            return Self::Shared;
        }
        let works = |place: Self| {
            let mut command = place.command("true");
            let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
            status.is_ok_and(|status| status.success())
        };
        if nix::unistd::geteuid().is_root() && works(Self::Root) {
            Self::Root
        } else if works(Self::Own) {
            Self::Own
        } else {
            Self::Shared
        }
    }

    fn command(self, program: &str) -> Command {
        let namespace: &[&str] = match self {
            Self::Root => &["unshare", "--ipc"],
            Self::Own => &["unshare", "--user", "--map-root-user", "--ipc"],
            Self::Shared => &["env"],
        };
        let mut command = Command::new(namespace[0]);
        command.args(&namespace[1..]).arg(program);
        command
    }

    /// Why the block cannot be run here.
    fn refuses(self, block: &Block) -> Option<&'static str> {
        let alone = block.has("alone") || block.has("root");
        match self {
            Self::Root => None,
            _ if block.has("root") => Some("needs root"),
            Self::Shared if alone => Some("needs an IPC namespace of its own"),
            _ => None,
        }
    }
}

/// A command of the guide, and what it shows as its output.
#[derive(Debug)]
struct Step<'a> {
    block: &'a Block,
    command: String,
    shown: String,
}

/// Runs the console blocks of a chapter and says what is not as it is shown.
pub(crate) fn check(file: &str, blocks: &[Block]) -> Vec<String> {
    let place = Place::find();
    let mut steps = Vec::new();
    for block in blocks.iter().filter(|block| block.is("console")) {
        match place.refuses(block) {
            Some(why) => println!("not run: {block} (console): {why}"),
            None => steps.extend(steps_of(block)),
        }
    }
    if steps.is_empty() {
        return Vec::new();
    }
    let names = if place == Place::Shared { names(&steps) } else { BTreeSet::new() };
    for step in &mut steps {
        step.command = renamed(&step.command, &names);
        step.shown = renamed(&step.shown, &names);
    }
    let directory = Directory::new(file);
    let transcript = directory.run(place, &steps);
    for name in &names {
        // Most are gone already.
        let _ = sysring::remove(renamed(name, &names));
    }
    compare(&steps, &transcript)
}

fn steps_of(block: &Block) -> Vec<Step<'_>> {
    let mut steps: Vec<Step<'_>> = Vec::new();
    for line in block.body.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step { block, command: command.to_owned(), shown: String::new() });
            continue;
        }
        let step = steps.last_mut().unwrap_or_else(|| panic!("{block}: does not begin with a command"));
        match line.strip_prefix("> ") {
            Some(more) if step.shown.is_empty() => step.command.push_str(&format!("\n{more}")),
            _ => step.shown.push_str(&format!("{line}\n")),
        }
    }
    assert!(!steps.is_empty(), "{block}: no command");
    assert!(!block.has("waits") || steps.len() == 1, "{block}: more than one command waits");
    steps
}

/// The channels that the commands mention.
fn names(steps: &[Step<'_>]) -> BTreeSet<String> {
    let takes_a_name = ["create", "send", "recv", "stat", "rm", "tap"];
    let mut names = BTreeSet::new();
    for step in steps {
        let words: Vec<&str> = step.command.split_whitespace().collect();
        for window in words.windows(3) {
            let name = window[2].trim_end_matches([';', ')', '\'']);
            let plain = name.chars().all(|char| char.is_ascii_alphanumeric() || char == '-');
            if window[0].ends_with("sysring")
                && takes_a_name.contains(&window[1])
                && plain
                && !name.starts_with('-')
            {
                names.insert(name.to_owned());
            }
        }
    }
    names
}

/// Each of these names, where it is a whole word, with the pid behind it.
fn renamed(text: &str, names: &BTreeSet<String>) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_inclusive(|char: char| !char.is_ascii_alphanumeric() && char != '-') {
        let end = word.trim_end_matches(|char: char| !char.is_ascii_alphanumeric() && char != '-').len();
        out.push_str(&word[..end]);
        if names.contains(&word[..end]) {
            write!(out, "-{}", process::id()).unwrap();
        }
        out.push_str(&word[end..]);
    }
    out
}

/// The temporary directory of a session; gone at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(file: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sysring-guide-{}-{file}", process::id()));
        fs::create_dir(&path).unwrap();
        let directory = Self(path);
        for part in ["bin", "work", "out"] {
            fs::create_dir(directory.0.join(part)).unwrap();
        }
        // Commands run as another user must find it too, wherever it was built.
        for part in ["", "bin", "work"] {
            fs::set_permissions(directory.0.join(part), Permissions::from_mode(0o755)).unwrap();
        }
        let program = directory.0.join("bin/sysring");
        fs::copy(env!("CARGO_BIN_EXE_sysring"), &program).unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        directory
    }

    fn path(&self, part: &str) -> PathBuf {
        self.0.join(part)
    }

    /// What the session has printed.
    fn run(&self, place: Place, steps: &[Step<'_>]) -> String {
        let script = self.path("out/script");
        fs::write(&script, self.script(place, steps)).unwrap();
        let transcript = self.path("out/transcript");
        let output = File::create(&transcript).unwrap();
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        // `timeout` ends its whole process group.
        let status = place
            .command("timeout")
            .args(["--kill-after=2", DEADLINE, "bash"])
            .arg(&script)
            .current_dir(self.path("work"))
            .env("PATH", path)
            .env("HOME", self.path("work"))
            .env("LC_ALL", "C.UTF-8")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stderr(output.try_clone().unwrap())
            .stdout(output)
            .status()
            .unwrap();
        let mut text = String::from_utf8_lossy(&fs::read(&transcript).unwrap()).into_owned();
        if !status.success() {
            write!(text, "{MARK}! the session ended with {status}{MARK}").unwrap();
        }
        text
    }

    /// The steps, and behind each one a mark with its number and status.
    fn script(&self, place: Place, steps: &[Step<'_>]) -> String {
        let mut script = String::new();
        let mut ends = String::new();
        for (number, step) in steps.iter().enumerate() {
            let output = self.path(&format!("out/{number}"));
            let output = output.display();
            if step.block.has("waits") {
                let command = &step.command;
                write!(script, "{{\n{command}\n}} >{output} 2>&1 &\nwaits_{number}=$!\n").unwrap();
                // Its output comes last, in the place of its number.
                writeln!(ends, "wait $waits_{number}; status=$?; cat {output}; {}", mark(number)).unwrap();
            } else {
                write!(script, "{}\nstatus=$?; {}; (exit $status)\n", step.command, mark(number)).unwrap();
            }
        }
        script.push_str(&ends);
        script.push_str(&format!(
            "for pid in $(jobs -rp); do kill -KILL $pid; printf '{MARK}! %s still runs{MARK}\\n' $pid; done\n"
        ));
        if place != Place::Shared {
            // Nothing else is in the namespace.
            script.push_str(&format!(
                "for kind in shm sem; do tail -n +2 /proc/sysvipc/$kind | while read key id rest; do \
                 printf '{MARK}! left behind: %s %s (key %s){MARK}\\n' $kind $id $key; done; done\n"
            ));
        }
        script.push_str("exit 0\n");
        script
    }
}

fn mark(number: usize) -> String {
    format!("printf '{MARK}{number} %s{MARK}' $status")
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(Path::new(&self.0));
    }
}

fn compare(steps: &[Step<'_>], transcript: &str) -> Vec<String> {
    let mut failures = Vec::new();
    let mut outcomes: Vec<Option<(String, i32)>> = steps.iter().map(|_| None).collect();
    // Output and marks take turns.
    let mut parts = transcript.split(MARK);
    let mut output = parts.next().unwrap_or_default();
    while let Some(said) = parts.next() {
        match said.strip_prefix('!') {
            Some(problem) => failures.push(format!("at the end:{problem}")),
            None => {
                let (number, status) = said.split_once(' ').unwrap();
                let number: usize = number.parse().unwrap();
                outcomes[number] = Some((output.to_owned(), status.parse().unwrap()));
            }
        }
        output = parts.next().unwrap_or_default();
    }
    for (number, step) in steps.iter().enumerate() {
        let Some((output, status)) = &outcomes[number] else {
            failures.push(format!("{}: was not reached: $ {}\n{output}", step.block, step.command));
            break;
        };
        let (shown, printed): (Vec<_>, Vec<_>) = (step.shown.lines().collect(), output.lines().collect());
        let visible = *status == 0
            || step.shown.contains("sysring: ")
            || steps.get(number + 1).is_some_and(|next| next.command == "echo $?");
        if !pattern::lines(&shown, &printed) {
            let (block, command, shown) = (step.block, &step.command, &step.shown);
            failures.push(format!(
                "{block}: $ {command}\n--- shown\n{shown}--- printed, status {status}\n{output}---"
            ));
        } else if !visible {
            failures.push(format!("{}: $ {}\nended with status {status}", step.block, step.command));
        }
    }
    failures
}

#[test]
fn names_are_made_unique() {
    let blocks = crate::blocks::of(
        "x.md",
        "```console\n$ echo a | sysring send a-b --create; sysring rm a-b; a\n```\n",
    );
    let steps = steps_of(&blocks[0]);
    let names = names(&steps);
    assert_eq!(names.iter().collect::<Vec<_>>(), ["a-b"]);
    let pid = process::id();
    let expected = format!("echo a | sysring send a-b-{pid} --create; sysring rm a-b-{pid}; a");
    assert_eq!(renamed(&steps[0].command, &names), expected);
}

#[test]
fn a_difference_is_found() {
    let text = "```console\n$ echo a\nb\n$ false\n$ true\n$ exit 3\n$ echo c\nc\n```\n";
    let blocks = crate::blocks::of("difference.md", text);
    let failures = check("difference.md", &blocks);
    assert_eq!(failures.len(), 4, "{failures:#?}");
    assert!(failures[0].contains("ended with"), "{failures:#?}");
    assert!(failures[1].contains("--- shown\nb\n--- printed, status 0\na\n"), "{failures:#?}");
    assert!(failures[2].contains("false\nended with status 1"), "{failures:#?}");
    assert!(failures[3].contains("was not reached: $ exit 3"), "{failures:#?}");
}

#[test]
fn what_is_left_is_found() {
    let text = "```console,alone\n$ sysring create forgotten\n$ sleep 50 &\n```\n";
    let blocks = crate::blocks::of("left.md", text);
    if Place::find() != Place::Shared {
        let failures = check("left.md", &blocks);
        assert_eq!(failures.len(), 3, "{failures:#?}"); // a process, a segment, a set
    }
}
