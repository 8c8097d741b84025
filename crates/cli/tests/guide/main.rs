//! The guide under `docs/` says what is so: every block in it is run, compiled or at least parsed, every link and every
//! picture is looked at.
//!
//! What becomes of a block is decided by its info string; one that is not listed here fails the test.
//!
//! | info string | what is done |
//! |---|---|
//! | `console` | the lines behind `$ ` are run (those behind `> ` continue them), what they print is compared |
//! | `console,waits` | its one command runs in the background, as in another terminal; compared at the chapter's end |
//! | `console,alone` | only where an IPC namespace of our own is to be had, because it sees all channels |
//! | `console,root` | as `console,alone`, for root only |
//! | `rust`, and what rustdoc knows | is among the doctests of the library: `src/lib.rs` includes the chapter |
//! | `c`, `python`, `json`, `yaml`, `ini`, `toml` | parsed, where there is something that can parse it |
//! | `ini,unit (NAME)` | as `ini`, and shown to `systemd-analyze verify` |
//! | `text` | neither run nor compiled: may hold no command |
//! | anything with `,ignore (REASON)` | not run; the test prints the reason |
//!
//! **Sessions.** All console blocks of a chapter are one bash session in one temporary directory, in the order of the
//! file, so that a channel made at the top of a chapter is there further down. Each chapter has an IPC namespace of
//! its own, where that is allowed (root, or a user namespace): names and ids in it collide with nobody's, and the end
//! of the chapter finds whatever it has left behind. Elsewhere, or with `SYSRING_GUIDE_SHARED=1`, every channel name
//! that a command mentions gets the pid behind it.
//!
//! **Comparison.** Standard output and standard error together, for each command by itself. `...` stands for anything
//! within a line, a line `...` for any number of lines, a run of blanks for any other. A status that is not 0 must be
//! visible: by a line of sysring's own, or by an `echo $?` as the next command.

#![forbid(unsafe_code)]

mod blocks;
mod links;
mod parsers;
mod pattern;
mod pictures;
mod session;

use std::path::PathBuf;

use blocks::Block;

macro_rules! chapters {
    ($($test:ident: $file:literal,)*) => {
        const CHAPTERS: &[&str] = &[$($file),*];

        $(#[test]
        fn $test() {
            chapter($file);
        })*
    };
}

chapters! {
    summary: "SUMMARY.md",
    readme: "README.md",
    getting_started: "getting-started.md",
    options: "options.md",
    guarantees: "guarantees.md",
    deployment: "deployment.md",
    troubleshooting: "troubleshooting.md",
    migration: "migration.md",
    tools: "tools.md",
}

/// Where the guide is.
fn docs() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

fn read(file: &str) -> String {
    std::fs::read_to_string(docs().join(file)).unwrap()
}

fn chapter(file: &str) {
    let blocks = blocks::of(file, &read(file));
    for block in blocks.iter().filter_map(Block::ignored) {
        println!("not run: {block}");
    }
    let mut failures = parsers::check(&blocks);
    failures.extend(session::check(file, &blocks));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_chapter_is_tested() {
    let mut there: Vec<String> = std::fs::read_dir(docs())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".md"))
        .collect();
    there.sort();
    let mut tested = CHAPTERS.to_vec();
    tested.sort_unstable();
    assert_eq!(there, tested);
}

/// The summary is what mdbook reads; a chapter that it leaves out would not be in the book.
#[test]
fn every_chapter_is_in_the_summary_and_in_the_doctests() {
    let summary = read("SUMMARY.md");
    let library = std::fs::read_to_string(docs().join("../src/lib.rs")).unwrap();
    for chapter in CHAPTERS.iter().filter(|chapter| **chapter != "SUMMARY.md") {
        assert!(summary.contains(&format!("]({chapter})")), "SUMMARY.md does not name {chapter}");
        let include = format!("include_str!(\"../docs/{chapter}\")");
        let rust = blocks::of(chapter, &read(chapter)).iter().any(|block| block.language() == "rust");
        assert!(!rust || library.contains(&include), "src/lib.rs does not include {chapter}");
    }
}
