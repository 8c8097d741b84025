//! `doctor` on this machine, and on one with made-up limits: an IPC namespace has its own.

use std::fs;

use serde_json::Value;
use sysring::segment::Segment;

use crate::support::{Ended, Name, Running, alone, assert_empty, run};
use crate::terminal::Terminal;

const IDS: [&str; 20] = [
    "shmmni",
    "shmall",
    "shmmax",
    "semmni",
    "semmns",
    "semmsl",
    "semopm",
    "semvmx",
    "ipc-namespace",
    "pid-namespace",
    "remove-ipc",
    "shm-rmid-forced",
    "memory-limit",
    "memory-lock",
    "huge-pages",
    "message",
    "sem-undo",
    "membarrier",
    "leftovers",
    "channels",
];

/// An IPC namespace whose limits this test may change.
fn own_limits() -> bool {
    let alone = alone();
    if !alone {
        println!("skipped: needs root");
    }
    alone
}

fn set(limit: &str, value: &str) {
    fs::write(format!("/proc/sys/kernel/{limit}"), value).unwrap();
}

/// The report, whatever its exit status.
#[track_caller]
fn report(ended: &Ended) -> Value {
    serde_json::from_slice(&ended.stdout).unwrap()
}

#[track_caller]
fn check<'a>(report: &'a Value, id: &str) -> &'a Value {
    report["checks"].as_array().unwrap().iter().find(|check| check["id"] == id).unwrap()
}

/// The value that the advice of this check sets a limit to.
#[track_caller]
fn advised(report: &Value, id: &str, setting: &str) -> String {
    let advice = check(report, id)["advice"].as_str().unwrap();
    let (_, value) = advice.split_once(&format!("sysctl -w {setting}=")).unwrap();
    match value.strip_prefix('\'') {
        Some(quoted) => quoted.split_once('\'').unwrap().0.to_owned(),
        None => value.split_once(' ').unwrap().0.to_owned(),
    }
}

#[test]
fn every_check_is_there_and_the_self_tests_pass() {
    let alone = alone();
    let ended = run(&["doctor", "--json"]);
    let all = report(&ended);
    let ids: Vec<&str> =
        all["checks"].as_array().unwrap().iter().map(|check| check["id"].as_str().unwrap()).collect();
    assert_eq!(ids, IDS);
    for id in ["message", "sem-undo"] {
        assert_eq!(check(&all, id)["status"], "ok", "{all:#}");
    }
    for id in ["shmmni", "semmns"] {
        let (used, limit) = (&check(&all, id)["used"], &check(&all, id)["limit"]);
        assert!(used.as_u64() <= limit.as_u64() && limit.as_u64() > Some(0), "{all:#}");
    }
    if alone {
        assert_eq!(check(&all, "shmmni")["used"], 0);
        assert_eq!(check(&all, "ipc-namespace")["status"], "info");
        assert_eq!(check(&all, "leftovers")["status"], "ok");
        assert_eq!(check(&all, "channels")["summary"], "none");
        assert_empty();
    }
    assert_eq!(all["status"] == "problem", ended.code == Some(1), "{all:#}");
}

#[test]
fn people_see_the_same_lines_without_colours_in_a_pipe() {
    let text = String::from_utf8(run(&["doctor"]).stdout).unwrap();
    for id in IDS {
        assert_eq!(
            text.lines().filter(|line| line.split_whitespace().nth(1) == Some(id)).count(),
            1,
            "{text}"
        );
    }
    assert!(!text.contains('\x1b'), "{text}");
    let help = run(&["doctor", "--help"]).ok();
    assert!(help.contains("Exit status") && help.contains("warnings") && !help.contains("victim"), "{help}");
}

#[test]
fn limits_that_are_too_low_are_problems_and_the_advice_helps() {
    if !own_limits() {
        return;
    }
    let name = Name::create(&["--spsc", "--capacity", "4KiB"]);
    set("shmmni", "1");
    set("sem", "250 100 32 5");
    set("shmall", "10");
    set("shmmax", "1000000");
    let ended = run(&["doctor", "--json"]);
    let low = report(&ended);
    for (id, status) in [
        ("shmmni", "problem"),
        ("shmall", "problem"),
        ("shmmax", "problem"),
        ("semmni", "ok"),
        ("semmns", "problem"),
        ("semmsl", "warning"),
        ("semopm", "problem"),
        ("message", "problem"),
        ("sem-undo", "warning"),
    ] {
        assert_eq!(check(&low, id)["status"], status, "{id}: {low:#}");
    }
    assert_eq!((&low["status"], &low["problems"]), (&"problem".into(), &6.into()));
    assert_eq!((&check(&low, "shmmni")["used"], &check(&low, "shmmni")["limit"]), (&1.into(), &1.into()));
    ended.failed(1, &["doctor: 6 problems: shmmni", "semopm", "message"]);

    let text = run(&["doctor"]);
    let lines = String::from_utf8(text.stdout.clone()).unwrap();
    for words in
        ["problem  shmmni", "1 of 1 segments in use", "do: ", "sysctl -w kernel.shmmni=", "6 problems"]
    {
        assert!(lines.contains(words), "no {words:?} in {lines}");
    }
    text.failed(1, &["6 problems"]);

    set("shmmni", &advised(&low, "shmmni", "kernel.shmmni"));
    set("shmall", &advised(&low, "shmall", "kernel.shmall"));
    set("shmmax", &advised(&low, "shmmax", "kernel.shmmax"));
    set("sem", &advised(&low, "semopm", "kernel.sem"));
    let better = report(&run(&["doctor", "--json"]));
    for check in better["checks"].as_array().unwrap() {
        let (group, status) = (&check["group"], &check["status"]);
        assert!(group != "limits" || status == "ok", "{check:#}");
        assert!(status != "problem", "{check:#}");
    }
    drop(name);
    assert_empty();
}

#[test]
fn forced_removal_is_a_problem() {
    if !own_limits() {
        return;
    }
    set("shm_rmid_forced", "1");
    let ended = run(&["doctor", "--json"]);
    let forced = report(&ended);
    assert_eq!(check(&forced, "shm-rmid-forced")["status"], "problem");
    assert_eq!(advised(&forced, "shm-rmid-forced", "kernel.shm_rmid_forced"), "0");
    ended.failed(1, &["1 problem: shm-rmid-forced"]);
    assert_empty();
}

#[test]
fn what_the_dead_left_behind_is_shown_and_then_collected() {
    if !own_limits() {
        return; // the next creation of any test may collect it
    }
    let left = Name::create(&["--spsc", "--capacity", "4KiB"]);
    let stat = left.stat();
    Segment::from_id(stat["id"].as_i64().unwrap() as i32).remove().unwrap();
    let idle = Name::create(&["--spsc", "--capacity", "4KiB"]);
    // Making a channel collects orphaned sets, also the doctor's own, so it looks before.
    let orphan = Name::create(&["--spsc", "--capacity", "4KiB"]);
    let stat = orphan.stat();
    Segment::from_id(stat["id"].as_i64().unwrap() as i32).remove().unwrap();

    let ended = run(&["doctor", "--json"]);
    let all = report(&ended);
    let found = check(&all, "leftovers");
    assert_eq!((&found["status"], &found["advice"]), (&"warning".into(), &"sysring gc".into()), "{all:#}");
    let words = format!("set {} ", stat["semaphore_set"]);
    assert!(found["details"][0].as_str().unwrap().contains(&words), "{all:#}");
    let channels = check(&all, "channels");
    assert_eq!((&channels["status"], &channels["summary"]), (&"info".into(), &"1: 1 idle".into()));
    assert!(channels["details"][0].as_str().unwrap().contains(idle.str()), "{all:#}");
    // A warning is no failure.
    ended.quiet(0);

    run(&["gc"]).ok();
    assert_eq!(check(&report(&run(&["doctor", "--json"])), "leftovers")["status"], "ok");
    drop((left, idle, orphan));
    assert_empty();
}

#[test]
fn colours_are_for_terminals() {
    let (_, text) = Terminal::start(&["doctor"], &[]).wait();
    assert!(text.contains("\x1b[32mok"), "{text:?}");
    let (_, text) = Terminal::start(&["doctor"], &[("NO_COLOR", "1")]).wait();
    assert!(text.contains("sem-undo") && !text.contains('\x1b'), "{text:?}");
}

#[test]
fn a_closed_stdout_is_no_failure() {
    Running::start_unread(&["doctor"]).wait().quiet(0);
}
