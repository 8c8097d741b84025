//! The demo holds what it promises, and leaves nothing behind.

use std::process::Command;

use serde_json::Value;

use crate::support::{Running, run, until};

/// The demo's channel is named after its process.
fn channel(demo: &Running) -> String {
    format!("sysring-demo-{}", demo.pid())
}

#[test]
fn ends_well_and_says_what_came() {
    let demo = Running::start(&["demo", "--seconds", "3"]);
    let name = channel(&demo);
    let text = demo.wait().ok();
    for sentence in [
        "sender 1: ",
        "sender 2: ",
        "killed by SIGKILL",
        "every message was whole and in order",
        "ms after the kill",
        "messages/s",
    ] {
        assert!(text.contains(sentence), "no {sentence:?} in {text}");
    }
    run(&["stat", &name]).failed(3, &[&name]);
}

#[test]
fn an_interrupted_demo_removes_its_channel() {
    for (signal, status) in [("INT", 130), ("TERM", 143)] {
        let demo = Running::start(&["demo"]);
        let name = channel(&demo);
        until("its channel is there", || run(&["stat", &name]).code == Some(0));
        demo.signal(signal);
        let ended = demo.wait();
        assert_eq!(ended.code, Some(status), "{}", ended.stderr);
        run(&["stat", &name]).failed(3, &[&name]);
    }
}

#[test]
fn a_demo_that_loses_its_senders_fails() {
    let demo = Running::start(&["demo"]);
    let name = channel(&demo);
    let mut pids = Vec::new();
    until("data flows", || {
        let stat = run(&["stat", "--json", &name]);
        let stat: Value = serde_json::from_slice(&stat.stdout).unwrap_or_default();
        let senders = stat["senders"].as_array().map_or(&[][..], Vec::as_slice);
        pids = senders.iter().filter_map(|sender| sender["pid"].as_i64()).collect();
        pids.len() == 3 && senders.iter().all(|sender| sender["received"].as_u64() > Some(0))
    });
    for pid in pids {
        let kill = format!("kill -KILL {pid}");
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }
    let ended = demo.wait();
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.stderr, "sysring: demo: all senders have gone too early\n");
    run(&["stat", &name]).failed(3, &[&name]);
}
