//! Colours for a person at a terminal who wants them, and for nobody else.

use sysring::segment::{Mapping, Segment};

use crate::support::{Name, Running, outside, program, run, run_with, until};
use crate::terminal::Terminal;

const ESCAPE: char = '\u{1b}';
const HEAD: &str = "\u{1b}[1m";
const GREEN: &str = "\u{1b}[32m";
const RED: &str = "\u{1b}[31m";
const YELLOW: &str = "\u{1b}[33m";

/// What these arguments show on a terminal, and on one whose user wants no colours.
#[track_caller]
fn on_terminals(args: &[&str], status: u32) -> (String, String) {
    let coloured = Terminal::start(args, &[]).wait();
    let plain = Terminal::start(args, &[("NO_COLOR", "1")]).wait();
    assert_eq!((coloured.0, plain.0), (status, status), "{coloured:?}");
    assert!(!plain.1.contains(ESCAPE), "{plain:?}");
    (coloured.1, plain.1)
}

/// The segment of a channel that nobody uses.
fn mapping(name: &Name) -> Mapping {
    Segment::from_id(name.stat()["id"].as_i64().unwrap() as i32).attach().unwrap()
}

/// The line about this channel.
#[track_caller]
fn line<'a>(text: &'a str, word: &str) -> &'a str {
    text.lines().find(|line| line.contains(word)).unwrap_or_else(|| panic!("no {word:?} in {text}"))
}

#[test]
fn ls_and_stat_show_a_channel_in_use() {
    let name = Name::create(&[]);
    let receiver = Running::start(&["recv", name.str(), "--follow"]);
    until("it sleeps", || name.stat()["receiver"]["asleep"] == true);

    let (coloured, plain) = on_terminals(&["ls"], 0);
    assert!(coloured.starts_with(&format!("{HEAD}NAME\u{1b}[0m  ")), "{coloured:?}");
    let in_use = format!("{GREEN}in use\u{1b}[0m");
    assert!(line(&coloured, name.str()).contains(&in_use), "{coloured:?}");
    assert!(plain.starts_with("NAME  "), "{plain:?}");
    assert!(line(&plain, name.str()).contains("  in use  "), "{plain:?}");

    let (coloured, plain) = on_terminals(&["stat", name.str()], 0);
    assert!(coloured.contains(&format!("{HEAD}state\u{1b}[0m      {in_use}\n")), "{coloured:?}");
    assert!(plain.contains("state      in use\n"), "{plain:?}");
    // The same text, whoever reads it: a pipe too.
    assert_eq!(run(&["stat", name.str()]).ok(), plain);

    for args in [&["ls", "--json"][..], &["stat", "--json", name.str()]] {
        assert!(!on_terminals(args, 0).0.contains(ESCAPE));
    }
    drop(receiver);
}

#[test]
fn a_channel_in_trouble_is_marked() {
    let damaged = Name::create(&["--capacity", "4KiB", "--senders", "2"]);
    let half_made = Name::create(&["--capacity", "4KiB", "--senders", "2"]);
    // Lanes that nobody has used are not looked at.
    run_with(&["send", damaged.str()], "a\n").quiet(0);
    // By the byte map in ARCHITECTURE.md: the first lane's word for a damage, and the magic.
    let damage = mapping(&damaged);
    damage.write(4352 + 408, &1_u64.to_le_bytes()).unwrap();
    let stat = half_made.stat();
    let (id, magic) = (stat["id"].to_string(), mapping(&half_made));
    let mut before = [0; 8];
    magic.read(0, &mut before).unwrap();
    magic.write(0, &[0; 8]).unwrap();
    let listed = Terminal::start(&["ls"], &[]).wait().1;
    let shown = Terminal::start(&["stat", damaged.str()], &[]).wait().1;
    magic.write(0, &before).unwrap();
    assert!(line(&listed, damaged.str()).contains(&format!("{RED}damaged\u{1b}[0m")), "{listed:?}");
    assert!(
        line(&listed, &format!("  {id}  ")).contains(&format!("{YELLOW}half-made\u{1b}[0m")),
        "{listed:?}"
    );
    assert!(shown.contains(&format!("{RED}damaged\u{1b}[0m")), "{shown:?}");
    assert!(shown.contains(&format!("{RED}lane 0 from position 0 on")), "{shown:?}");
}

#[test]
fn errors_and_help() {
    let name = Name::new();
    let (coloured, plain) = on_terminals(&["recv", name.str()], 3);
    assert!(coloured.starts_with("\u{1b}[1m\u{1b}[31msysring:\u{1b}[0m "), "{coloured:?}");
    assert!(plain.starts_with("sysring: ") && plain.contains("ENOENT"), "{plain:?}");
    let (coloured, plain) = on_terminals(&["recv"], 2);
    assert!(coloured.contains("\u{1b}[31msysring:"), "{coloured:?}");
    assert_eq!(plain.lines().count(), 1, "{plain:?}");
    let (coloured, plain) = on_terminals(&["--help"], 0);
    assert!(coloured.contains(ESCAPE) && plain.contains("Usage: sysring"), "{coloured:?}");
}

/// Each is coloured by itself: text into a pipe has no escapes while errors on the terminal have them.
#[test]
fn a_pipe_gets_no_escapes() {
    let name = Name::create(&[]);
    for args in [&["ls"][..], &["stat", name.str()], &["--help"], &["recv", "--help"]] {
        assert!(!run(args).ok().contains(ESCAPE));
    }
    let piped =
        Terminal::shell("$SYSRING ls | cat; $SYSRING stat nothing-of-that-name 2>&1 | cat", &[]).wait();
    assert!(!piped.1.contains(ESCAPE), "{piped:?}");
    let mixed = Terminal::shell("$SYSRING stat nothing-of-that-name | cat", &[]).wait();
    assert!(mixed.1.contains(RED), "{mixed:?}");
}

/// As `anstream` has it: `CLICOLOR_FORCE` for pipes, `TERM=dumb` as no terminal, and `NO_COLOR` above all.
#[test]
fn the_variables_that_decide() {
    let name = Name::create(&[]);
    let stat = |variables: &[(&str, &str)]| {
        let mut command = outside(program());
        command.args(["stat", name.str()]).envs(variables.iter().copied());
        let output = command.output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap().contains(ESCAPE)
    };
    assert!(stat(&[("CLICOLOR_FORCE", "1")]));
    assert!(!stat(&[("NO_COLOR", "1")]));
    let dumb = Terminal::start(&["stat", name.str()], &[("TERM", "dumb")]).wait();
    assert!(!dumb.1.contains(ESCAPE), "{dumb:?}");
}
