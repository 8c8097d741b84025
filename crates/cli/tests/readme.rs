//! Runs the console example of README.md and compares what it prints.

use std::path::Path;
use std::process::{Command, Stdio};

/// The first console block under "The command line".
fn example() -> String {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let text = std::fs::read_to_string(readme).unwrap();
    let (_, section) = text.split_once("## The command line").unwrap();
    let (_, block) = section.split_once("```console\n").unwrap();
    block.split_once("```").unwrap().0.to_owned()
}

#[test]
fn the_console_example_prints_what_it_says() {
    let name = format!("readme-cli-{}", std::process::id());
    let example = example().replace("numbers", &name);
    let directory = Path::new(env!("CARGO_BIN_EXE_sysring")).parent().unwrap();
    let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap());
    let mut commands: Vec<(String, String)> = Vec::new();
    for line in example.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => commands.push((command.to_owned(), String::new())),
            None => commands.last_mut().unwrap().1.push_str(&format!("{line}\n")),
        }
    }
    assert_eq!(commands.len(), 4);
    let outcomes: Vec<_> = commands
        .iter()
        .map(|(command, _)| {
            Command::new("timeout")
                .args(["20", "sh", "-c", command])
                .env("PATH", &path)
                .stderr(Stdio::inherit())
                .output()
                .unwrap()
        })
        .collect();
    let _ = sysring::remove(&name); // gone already if all went well
    for ((command, expected), outcome) in commands.iter().zip(&outcomes) {
        assert!(outcome.status.success(), "{command}: {}", outcome.status);
        assert_eq!(String::from_utf8_lossy(&outcome.stdout), *expected, "{command}");
    }
}
