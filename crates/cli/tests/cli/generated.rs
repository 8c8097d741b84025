//! Completions that a shell understands, pages that a reader of manuals does, and what is generated anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Name, outside, program, run};

/// What `generate` writes, in a directory that goes away with the test.
struct Generated(PathBuf);

impl Generated {
    fn new() -> Self {
        let path = std::env::temp_dir().join(Name::new().str());
        run(&["generate", path.to_str().unwrap()]).ok();
        Self(path)
    }
}

impl Drop for Generated {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("share")
}

/// The commands that `--help` shows.
fn commands() -> Vec<String> {
    let help = run(&["--help"]).ok();
    let (_, list) = help.split_once("Commands:\n").unwrap();
    let names = list.lines().take_while(|line| line.starts_with("  "));
    names
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .filter(|name| name != "help")
        .collect()
}

fn files(directory: &Path) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().is_some_and(|name| name != "README.md"))
        .map(|path| {
            (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn the_committed_files_are_what_is_generated_now() {
    let generated = Generated::new();
    for directory in ["completions", "man", "schema"] {
        let (now, committed) = (files(&generated.0.join(directory)), files(&committed().join(directory)));
        let names =
            |files: &[(String, String)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&now), names(&committed), "renew them with 'sysring generate crates/cli/share'");
        for ((name, now), (_, committed)) in now.iter().zip(&committed) {
            assert!(now == committed, "{name}: renew it with 'sysring generate crates/cli/share'");
        }
    }
}

#[test]
fn every_command_has_a_page_and_examples() {
    let commands = commands();
    assert!(commands.len() >= 12, "{commands:?}");
    for command in commands.iter().map(String::as_str).chain([""]) {
        let name = if command.is_empty() { "sysring".to_owned() } else { format!("sysring-{command}") };
        let page = fs::read_to_string(committed().join(format!("man/{name}.1"))).unwrap();
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "EXAMPLES", "\"EXIT STATUS\"", "\"SEE ALSO\""] {
            assert!(page.contains(&format!(".SH {section}\n")), "no {section} in {name}");
        }
        if !command.is_empty() {
            let help = run(&[command, "--help"]).ok();
            assert!(help.contains("\nExamples:\n  "), "{help}");
            assert!(run(&[command, "-h"]).ok().contains("\nExamples:\n  "));
        }
    }
}

#[test]
fn pages_render_without_a_warning() {
    let renderers: [(&str, &[&str]); 2] =
        [("man", &["--warnings", "-E", "UTF-8", "-l"]), ("groff", &["-man", "-ww", "-Tutf8", "-z"])];
    let mut rendered = false;
    for (renderer, options) in renderers {
        if !is_there(renderer) {
            println!("SKIPPED: no {renderer} on this machine");
            continue;
        }
        for entry in fs::read_dir(committed().join("man")).unwrap() {
            let page = entry.unwrap().path();
            let output = outside(renderer).env("COLUMNS", "80").args(options).arg(&page).output().unwrap();
            let warnings = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && warnings.is_empty(), "{}: {warnings}", page.display());
            rendered = true;
        }
    }
    if !rendered {
        println!("SKIPPED: no page was rendered");
    }
}

/// What bash offers behind these words, the last of which is being typed.
#[track_caller]
fn offers(words: &[&str]) -> Vec<String> {
    let script = r#"
        source "$1"; shift
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
        how=$(complete -p sysring) || exit 1
        function=${how#*-F }; function=${function%% *}
        previous=""; [ $# -gt 1 ] && previous="${COMP_WORDS[COMP_CWORD-1]}"
        "$function" sysring "${COMP_WORDS[COMP_CWORD]}" "$previous"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let completions = committed().join("completions/sysring.bash");
    let mut bash = outside("bash");
    bash.args(["--norc", "-c", script, "bash"]).arg(completions).args(words);
    let output = bash.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && errors.is_empty(), "{errors}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes() {
    if !is_there("bash") {
        println!("SKIPPED: no bash on this machine");
        return;
    }
    assert_eq!(offers(&["sysring", "st"]), ["stat"]);
    let all = offers(&["sysring", ""]);
    for command in commands() {
        assert!(all.contains(&command), "no {command} in {all:?}");
    }
    assert!(!all.iter().any(|word| word == "generate" || word == "demo-sender"), "{all:?}");
    assert_eq!(offers(&["sysring", "recv", "logs", "--to"]), ["--to-file"]);
    let framings = offers(&["sysring", "recv", "logs", "--framing", ""]);
    assert_eq!(framings, ["lines", "length", "raw"]);
    let shells = offers(&["sysring", "completions", "f"]);
    assert_eq!(shells, ["fish"]);
}

#[test]
fn the_other_shells_find_no_fault() {
    for (shell, file) in [("zsh", "_sysring"), ("fish", "sysring.fish")] {
        if !is_there(shell) {
            println!("SKIPPED: no {shell} on this machine");
            continue;
        }
        let script = committed().join("completions").join(file);
        let output = Command::new(shell).arg("-n").arg(script).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn completions_for_each_shell_go_to_stdout() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&["completions", shell]).ok();
        assert!(script.contains("sysring") && script.contains("to-file"), "{shell}");
    }
    let committed = fs::read_to_string(committed().join("completions/sysring.bash")).unwrap();
    assert_eq!(run(&["completions", "bash"]).ok(), committed);
    run(&["completions", "tcsh"]).failed(2, &["tcsh", "bash"]);
}

#[test]
fn a_directory_that_cannot_be_made_is_1() {
    assert!(program().is_file());
    run(&["generate", "/dev/full"]).failed(1, &["/dev/full", "ENOTDIR"]);
}

fn is_there(program: &str) -> bool {
    Command::new("sh").args(["-c", &format!("command -v {program} >&2")]).output().unwrap().status.success()
}
