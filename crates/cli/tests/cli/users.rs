//! Whose channels are used, and by whom. Needs root, to run the command as somebody else.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process;

use serde_json::Value;

use crate::support::{Ended, Name, Running, outside, program, run, run_with};

const ALICE: u32 = 40_001;
const BOB: u32 = 40_002;
const TEAM: u32 = 40_100;

/// The command where every user may run it. Goes with the test.
struct Shared(PathBuf);

impl Shared {
    /// `None`: other users cannot be played here.
    fn new(test: &str) -> Option<Shared> {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: needs root");
            return None;
        }
        let place = std::env::temp_dir().join(format!("sysring-cli-{test}-{}", process::id()));
        fs::copy(program(), &place).unwrap();
        fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
        Some(Shared(place))
    }

    #[track_caller]
    fn run_as(&self, uid: u32, gid: u32, args: &[impl AsRef<OsStr>], input: &str) -> Ended {
        let mut command = outside(&self.0);
        command.args(args).uid(uid).gid(gid).current_dir("/");
        Running::of_with_input(command, input).wait()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn a_channel_is_shared_with_a_group() {
    let Some(shared) = Shared::new("group") else { return };
    let name = Name::new();
    let team = TEAM.to_string();
    let create = ["create", name.str(), "--mode", "660", "--group", &team];
    shared.run_as(ALICE, ALICE, &create, "").ok();
    let stat = name.stat();
    assert_eq!((&stat["mode"], &stat["owner_gid"]), (&"660".into(), &TEAM.into()));
    assert_eq!((&stat["owner_uid"], &stat["creator_uid"]), (&ALICE.into(), &ALICE.into()));

    let send = ["send", name.str()];
    shared.run_as(BOB, TEAM, &send, "x\n").failed(7, &["40001", "trust"]);
    let trusting = ["send", name.str(), "--trust", "40001"];
    shared.run_as(BOB, BOB, &trusting, "x\n").failed(1, &["EACCES"]);
    shared.run_as(BOB, TEAM, &trusting, "from Bob\n").ok();
    let recv = ["recv", name.str(), "--count", "1", "--mode", "660", "--group", &team];
    assert_eq!(shared.run_as(ALICE, ALICE, &recv, "").ok(), "from Bob\n");
    shared.run_as(ALICE, ALICE, &["recv", name.str(), "--mode", "600"], "").failed(1, &["mode", "660"]);
}

#[test]
fn everybodys_channel_must_be_asked_for() {
    let Some(shared) = Shared::new("everybody") else { return };
    let name = Name::create(&["--mode", "666"]);
    shared.run_as(BOB, BOB, &["send", name.str()], "x\n").failed(1, &["every user", "666"]);
    shared.run_as(BOB, BOB, &["send", name.str(), "--mode", "666"], "x\n").ok();
    assert_eq!(run(&["recv", name.str()]).ok(), "x\n"); // made by this user
}

#[test]
fn who_may_only_read_can_look() {
    let Some(shared) = Shared::new("look") else { return };
    let name = Name::create(&["--mode", "644"]);
    run_with(&["send", name.str()], "x\n").ok();
    let stat = shared.run_as(BOB, BOB, &["stat", "--json", name.str()], "").ok();
    let stat: Value = serde_json::from_str(&stat).unwrap();
    assert_eq!(stat["messages"], 1);
    shared.run_as(BOB, BOB, &["recv", name.str()], "").failed(1, &["EACCES"]);
    shared.run_as(BOB, BOB, &["rm", name.str()], "").failed(1, &["EACCES"]);
    assert_eq!(name.stat()["messages"], 1);
}
