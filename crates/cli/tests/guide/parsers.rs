//! Blocks that are not run: parsed, where there is something that can parse them.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::blocks::Block;

/// What is wrong with a block.
type Check = fn(&Block) -> Result<(), String>;

/// What is wrong with blocks that are neither Rust nor commands.
pub(crate) fn check(blocks: &[Block]) -> Vec<String> {
    let checks: [(&str, Check); 6] = [
        ("c", |block| parse(block, "cc", &["-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-x", "c", "-"])),
        ("python", |block| parse(block, "python3", &["-c", "import ast, sys; ast.parse(sys.stdin.read())"])),
        ("json", |block| {
            serde_json::from_str(&block.body).map(|_: serde_json::Value| ()).map_err(|e| e.to_string())
        }),
        ("yaml", yaml),
        ("ini", ini),
        ("toml", ini),
    ];
    let mut failures = Vec::new();
    for (language, check) in checks {
        for block in blocks.iter().filter(|block| block.is(language)) {
            if let Err(why) = check(block) {
                failures.push(format!("{block}: {why}"));
            }
        }
    }
    failures
}

/// Gives the block to a program, if that is there.
fn parse(block: &Block, program: &str, args: &[&str]) -> Result<(), String> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        println!("not parsed: {block}: there is no {program}");
        return Ok(());
    };
    // One that ends early does not read all of it.
    let _ = child.stdin.take().unwrap().write_all(block.body.as_bytes());
    let output = child.wait_with_output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

fn yaml(block: &Block) -> Result<(), String> {
    let library = Command::new("python3").args(["-c", "import yaml"]).stderr(Stdio::null()).status();
    if !library.is_ok_and(|status| status.success()) {
        println!("not parsed: {block}: there is no python3 with yaml");
        return Ok(());
    }
    let program =
        "import sys, yaml; assert all(d['apiVersion'] and d['kind'] for d in yaml.safe_load_all(sys.stdin))";
    parse(block, "python3", &["-c", program])
}

/// Sections, comments and `key = value`; a unit is also shown to systemd.
fn ini(block: &Block) -> Result<(), String> {
    for line in block.body.lines().map(str::trim) {
        let section = line.starts_with('[') && line.ends_with(']');
        let pair = line.split_once('=').is_some_and(|(key, _)| !key.trim().is_empty());
        if !(line.is_empty() || line.starts_with('#') || section || pair) {
            return Err(format!("neither section nor key: {line:?}"));
        }
    }
    block.remark("unit").map_or(Ok(()), |name| unit(block, name))
}

fn unit(block: &Block, name: &str) -> Result<(), String> {
    let directory = std::env::temp_dir().join(format!("sysring-guide-unit-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let file = directory.join(name);
    // What it starts is not installed here.
    let text: Vec<String> = block
        .body
        .lines()
        .map(|line| match line.strip_prefix("ExecStart=") {
            Some(command) => {
                let arguments = command.split_once(' ').map_or("", |(_, arguments)| arguments);
                format!("ExecStart=/bin/true {arguments}")
            }
            None => line.to_owned(),
        })
        .collect();
    fs::write(&file, text.join("\n")).unwrap();
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&file).output();
    fs::remove_dir_all(&directory).unwrap();
    let Ok(output) = output else {
        println!("not verified: {block}: there is no systemd-analyze");
        return Ok(());
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // It also speaks of other units of the machine, and of users that are not here.
    let ours: Vec<&str> = said.lines().filter(|line| line.contains(name)).collect();
    if ours.is_empty() { Ok(()) } else { Err(ours.join("\n")) }
}

#[test]
fn what_cannot_be_parsed_is_found() {
    let there = |program: &str| Command::new(program).arg("--version").output().is_ok();
    for (info, body, parser) in [
        ("json", "{", "true"),
        ("ini", "no key", "true"),
        ("toml", "[half", "true"),
        ("ini,unit (guide-x.service)", "[Service]\nExecStart=/bin/true\nNoSuchSetting=1", "systemd-analyze"),
        ("c", "int main(void) { return x; }", "cc"),
        ("python", "def f(:", "python3"),
    ] {
        let blocks = crate::blocks::of("x.md", &format!("```{info}\n{body}\n```\n"));
        assert_eq!(check(&blocks).len(), usize::from(there(parser)), "{info}");
    }
}
