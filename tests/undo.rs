//! A kernel that does not undo the semaphore operations of the dead (SEM_UNDO) is refused when a channel is made: no
//! death would be noticed on it. `tests/c/no_undo.c` makes one of any kernel.
//!
//! As root each test has an IPC namespace of its own and sees that nothing is left in it.
#![allow(unsafe_code, reason = "unshare, for an IPC namespace of its own")]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};

use common::{ChannelGuard, Objects, compile_c_library, example, fail, succeed, unique_key};
use sysring::segment::{Key, Segment};

/// Enters an IPC namespace of its own with this thread and what it starts. False if that is not allowed.
fn alone() -> bool {
    // SAFETY: this thread has no System V object attached and no undo list.
    unsafe { libc::unshare(libc::CLONE_NEWIPC) == 0 }
}

/// Neither segment nor set is in the namespace.
#[track_caller]
fn assert_empty() {
    for kind in ["shm", "sem"] {
        let list = std::fs::read_to_string(format!("/proc/sysvipc/{kind}")).expect("/proc/sysvipc");
        assert_eq!(list.lines().count(), 1, "{list}");
    }
}

fn command(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(example(name));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// The same on a kernel that undoes nothing.
fn without_undo(library: &Path, name: &str, arguments: &[&str]) -> Command {
    let mut command = command(name, arguments);
    command.env("LD_PRELOAD", library);
    command
}

/// What it says is why, and that it is no use trying.
#[track_caller]
fn assert_refused(errors: &str, address: &str) {
    let text = "this kernel does not undo the semaphore operations of a process that ends (SEM_UNDO)";
    for words in [text, "Unsupported", "no death would be noticed", address] {
        assert!(errors.contains(words), "no {words:?} in {errors:?}");
    }
}

#[test]
fn named_channels_are_refused() {
    let alone = alone();
    let library = compile_c_library("no_undo.c");
    let name = format!("test-undo-{:x}", unique_key());
    let _guard = ChannelGuard(name.clone());
    let key = unique_key();
    let address = format!("key:{key:#x}");
    let _other = ChannelGuard(address.clone());
    let mut objects = Objects::default();
    objects.note_key(key);
    for _ in 0..3 {
        assert_refused(&fail(without_undo(&library, "hello", &[&name, "Hello!"]), 1), &name);
        assert_refused(&fail(without_undo(&library, "hello", &[&name]), 1), &name);
        assert_refused(&fail(without_undo(&library, "writer", &[&address]), 1), &address);
    }
    objects.assert_gone();
    if alone {
        assert_empty();
    }
    // The name and the key are free; with a kernel that undoes, all is well.
    succeed(command("hello", &[&name, "Hello!"]));
    assert_eq!(succeed(command("hello", &[&name])), "Hello!");
    succeed(command("writer", &[&address]));
    assert!(succeed(command("reader", &[&address])).contains("Hello, Shared Memory!"));
    sysring_is_gone(key);
    if alone {
        assert_empty();
    }
}

/// The reader has removed its channel.
#[track_caller]
fn sysring_is_gone(key: i32) {
    assert!(Segment::open(Key::from_raw(key)).is_err());
}

#[test]
fn pairs_are_refused() {
    let alone = alone();
    let library = compile_c_library("no_undo.c");
    assert_refused(&fail(without_undo(&library, "fork", &[]), 1), "(anonymous)");
    if alone {
        assert_empty();
    }
    succeed(command("fork", &[]));
    if alone {
        assert_empty();
    }
}

/// It stays as it is for whoever can finish it.
#[test]
fn a_half_made_channel_is_not_finished_either() {
    let alone = alone();
    let library = compile_c_library("no_undo.c");
    let key = unique_key();
    let address = format!("key:{key:#x}");
    // One lane of the default size, as `writer` makes it, and no byte of it written.
    let size = {
        succeed(command("writer", &[&address]));
        let segment = Segment::open(Key::from_raw(key)).expect("the channel");
        segment.stat().expect("stat").size
    };
    sysring::remove(&address).expect("remove");
    let blank = Segment::create(Key::from_raw(key), size, 0o600).expect("create");
    let _guard = ChannelGuard(address.clone());
    assert_refused(&fail(without_undo(&library, "writer", &[&address]), 1), &address);
    assert_eq!(blank.stat().expect("somebody else's, so it stays").attached, 0);
    // Who comes next finishes it.
    succeed(command("writer", &[&address]));
    succeed(command("reader", &[&address]));
    sysring_is_gone(key);
    if alone {
        assert_empty();
    }
}
