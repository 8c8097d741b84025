//! `gc`: what it finds, what it says, what it leaves alone.
//!
//! It looks at everything in its IPC namespace, and the other tests run at the same time. So a test enters a
//! namespace of its own with its thread, and what it starts is there too. Where that is not allowed (not as root) a
//! test lets `gc` only look, and reads only the lines about what it has made itself.

use sysring::segment::{Key, Segment};

use crate::support::{Ended, Name, Running, alone, assert_empty, run, run_preloaded, run_with, until};

/// The line of `gc` about this segment or set.
fn line(text: &str, what: &str, id: i64) -> Option<String> {
    let words = format!(": {what} {id} ");
    text.lines().find(|line| line.contains(&words)).map(str::to_owned)
}

/// What `gc --dry-run` says of it.
#[track_caller]
fn looked(what: &str, id: i64) -> Option<String> {
    line(&run(&["gc", "--dry-run"]).ok(), what, id)
}

/// Writes into the header of a channel.
fn spoil(segment: i64, offset: usize, bytes: &[u8]) {
    let segment = Segment::from_id(i32::try_from(segment).unwrap());
    segment.attach().unwrap().write(offset, bytes).unwrap();
}

/// `sysring` to which somebody lies about its time or its rights.
fn deceived(variable: &str, value: &str, args: &[&str]) -> Ended {
    run_preloaded("tests/c/preload.c", &[(variable, value)], args)
}

#[test]
fn an_empty_place_is_clean() {
    if alone() {
        assert_eq!(run(&["gc"]).ok(), "nothing is left behind\n");
        assert_eq!(run(&["gc", "--dry-run"]).ok(), "nothing is left behind\n");
        assert_eq!(run(&["gc", "--idle", "--older", "0s"]).ok(), "nothing is left behind\n");
    }
}

#[test]
fn a_half_made_channel_is_found_and_removed() {
    let alone = alone();
    let name = Name::create(&["--spsc", "--capacity", "4KiB"]);
    let id = name.stat()["id"].as_i64().unwrap();
    spoil(id, 0, &[0; 8]); // the magic
    let found = looked("segment", id).unwrap();
    assert!(
        found.starts_with("would remove: ") && found.ends_with(": half-made, its maker has died"),
        "{found}"
    );
    if alone {
        let text = run(&["gc"]).ok();
        assert!(line(&text, "segment", id).unwrap().starts_with("removed: "), "{text}");
        assert_eq!(text.lines().last(), Some("1 found: 1 removed"));
        assert_eq!(run(&["gc"]).ok(), "nothing is left behind\n");
        assert_empty();
    }
}

#[test]
fn a_removal_that_was_not_finished_is_finished() {
    let alone = alone();
    let name = Name::create(&["--spsc", "--capacity", "4KiB"]);
    let id = name.stat()["id"].as_i64().unwrap();
    spoil(id, 256 + 16 + 7, &[0x80]); // the removed mark
    let found = looked("segment", id).unwrap();
    assert!(found.starts_with("would remove: ") && found.contains(&format!("\"{}\"", name.str())), "{found}");
    if alone {
        let text = run(&["gc"]).ok();
        assert!(line(&text, "segment", id).unwrap().starts_with("removed: "), "{text}");
        assert_eq!(text.lines().last(), Some("1 found: 1 removed"));
        assert_empty();
    }
}

#[test]
fn an_orphaned_set_is_found_and_removed() {
    if !alone() {
        return; // the next creation of any test may collect it
    }
    let name = Name::create(&["--spsc", "--capacity", "4KiB"]);
    let stat = name.stat();
    let (id, set) = (stat["id"].as_i64().unwrap(), stat["semaphore_set"].as_i64().unwrap());
    Segment::from_id(id as i32).remove().unwrap();
    let found = looked("set", set).unwrap();
    assert!(found.starts_with("would remove: ") && found.ends_with(": its segment is gone"), "{found}");
    let text = run(&["gc"]).ok();
    assert!(line(&text, "set", set).unwrap().starts_with("removed: "), "{text}");
    assert_eq!(text.lines().last(), Some("1 found: 1 removed"));
    assert_empty();
}

#[test]
fn channels_are_kept_unless_they_are_idle_and_empty_and_somebody_asks() {
    let alone = alone();
    let empty = Name::create(&["--senders", "3"]);
    let full = Name::create(&["--senders", "3"]);
    run_with(&["send", full.str()], "a\nb\n").quiet(0);
    let used = Name::create(&["--senders", "3"]);
    let receiver = Running::start(&["recv", used.str(), "--follow"]);
    until("the receiver has its seat", || used.stat()["receiver"]["taken"] == true);
    let id = |name: &Name| name.stat()["id"].as_i64().unwrap();
    let ids = [&empty, &full, &used].map(id);

    let text = run(&["gc", "--dry-run"]).ok();
    let kept = line(&text, "segment", ids[0]).unwrap();
    assert!(kept.starts_with("kept: ") && kept.ends_with(", empty") && kept.contains("idle for "), "{kept}");
    let kept = line(&text, "segment", ids[1]).unwrap();
    assert!(kept.starts_with("kept: ") && kept.ends_with(", with messages"), "{kept}");
    assert_eq!(line(&text, "segment", ids[2]), None, "{text}");

    let text = run(&["gc", "--dry-run", "--idle", "--older", "0s"]).ok();
    assert!(line(&text, "segment", ids[0]).unwrap().starts_with("would remove: "), "{text}");
    assert!(line(&text, "segment", ids[1]).unwrap().starts_with("kept: "), "{text}");
    let text = run(&["gc", "--dry-run", "--idle", "--older", "1d"]).ok();
    assert!(line(&text, "segment", ids[0]).unwrap().starts_with("kept: "), "{text}");

    if alone {
        let text = run(&["gc"]).ok();
        assert_eq!(text.lines().last(), Some("2 found: 2 kept"));
        let text = run(&["gc", "--idle", "--older", "1h"]).ok();
        assert_eq!(text.lines().last(), Some("2 found: 2 kept"));
        let text = run(&["gc", "--idle", "--older", "0s"]).ok();
        assert!(line(&text, "segment", ids[0]).unwrap().starts_with("removed: "), "{text}");
        assert_eq!(text.lines().last(), Some("2 found: 1 removed, 1 kept"));
        run(&["stat", empty.str()]).failed(3, &[empty.str()]);
        assert_eq!(run(&["recv", full.str(), "--count", "2"]).ok(), "a\nb\n");
        run_with(&["send", used.str()], "c\n").quiet(0);
        until("it has arrived", || used.stat()["messages"] == 0);
    }
    drop(receiver);
}

/// Somebody came a moment ago, so it is not idle for long; an hour later it is.
#[test]
fn the_time_is_counted_from_the_last_visit() {
    if !alone() {
        return;
    }
    let name = Name::create(&["--spsc", "--capacity", "4KiB"]);
    run_with(&["send", name.str()], "a\n").quiet(0);
    assert_eq!(run(&["recv", name.str(), "--count", "1"]).ok(), "a\n");
    let idle = ["gc", "--idle", "--older", "30m"];
    let text = deceived("GC_LATER", "1750", &idle).ok();
    assert_eq!(text.lines().last(), Some("1 found: 1 kept"));
    let text = deceived("GC_LATER", "3600", &idle).ok();
    assert!(text.contains("removed: ") && text.contains("idle for 36"), "{text}");
    assert_empty();
}

/// A maker that was killed before it made the semaphore set: nothing but the size shows whose it is, so it has to be
/// old and all zero.
#[test]
fn a_blank_segment_is_removed_when_it_is_old() {
    if !alone() {
        return;
    }
    let size = 7 * 4096 + 0x528;
    let blank = Segment::create(Key::from_raw(0x77), size, 0o600).unwrap();
    // Strangers: of another size, and of this one with something in it.
    let other = Segment::create(Key::from_raw(0x78), size + 8, 0o600).unwrap();
    let strangers = [8, 200, 1000, 4096, 5000, size - 1].map(|offset| {
        let segment = Segment::create(Key::PRIVATE, size, 0o600).unwrap();
        segment.attach().unwrap().write(offset, &[7]).unwrap();
        (segment, offset)
    });
    assert_eq!(run(&["gc"]).ok(), "nothing is left behind\n");
    assert_eq!(deceived("GC_LATER", "50", &["gc"]).ok(), "nothing is left behind\n");

    let text = deceived("GC_LATER", "100", &["gc"]).ok();
    let gone: Vec<usize> =
        strangers.iter().filter(|(segment, _)| segment.stat().is_err()).map(|&(_, offset)| offset).collect();
    assert!(gone.is_empty(), "strangers' segments with a byte at {gone:?} were removed: {text}");
    assert_eq!(text.lines().last(), Some("1 found: 1 removed"), "{text}");
    assert!(blank.stat().is_err());
    other.remove().unwrap();
    strangers.iter().for_each(|(segment, _)| segment.remove().unwrap());
    assert_empty();
}

#[test]
fn what_cannot_be_removed_is_1() {
    if !alone() {
        return;
    }
    let name = Name::create(&["--spsc", "--capacity", "4KiB"]);
    let stat = name.stat();
    let (id, set) = (stat["id"].as_i64().unwrap(), stat["semaphore_set"].as_i64().unwrap());
    Segment::from_id(id as i32).remove().unwrap();
    let refused = deceived("GC_FORBID", "1", &["gc"]);
    let text = String::from_utf8(refused.stdout.clone()).unwrap();
    assert!(line(&text, "set", set).unwrap().starts_with("failed (EPERM "), "{text}");
    assert_eq!(text.lines().last(), Some("1 found: 1 failed"));
    refused.failed(1, &["gc: set", &set.to_string(), "EPERM", "root"]);
    assert!(run(&["gc"]).ok().contains("removed: set"));
    assert_empty();
}

#[test]
fn a_closed_stdout_is_no_failure() {
    Running::start_unread(&["gc", "--dry-run"]).wait().quiet(0);
}
