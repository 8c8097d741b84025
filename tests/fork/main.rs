//! Channels between real processes: every test runs in a process of its own and forks from there.
//!
//! Without the usual harness, so that one thread lives at each fork. The runner understands what
//! `cargo test` passes on: parts of names to choose tests, `--list`, `--exact`, `--skip`.
//!
//! It runs in an IPC namespace of its own where that is allowed (as root), and otherwise looks at
//! System V objects that are marked as ours. A test that leaves one behind has failed.

mod attacks;
mod collect;
mod damage;
mod death;
mod flow;
mod inherit;
#[allow(dead_code, reason = "every test program uses another part of it")]
#[path = "../common/message.rs"]
mod message;
mod options;
mod order;
#[path = "../common/process.rs"]
mod process;
mod processes;
mod races;
mod removal;
#[path = "../common/runner.rs"]
mod runner;
mod seats;
mod sets;
mod tap;
mod users;
mod wait;

fn main() {
    if processes::is_another_program() {
        return processes::be_another_program();
    }
    let all = [
        flow::TESTS,
        order::TESTS,
        wait::TESTS,
        death::TESTS,
        seats::TESTS,
        sets::TESTS,
        inherit::TESTS,
        processes::TESTS,
        removal::TESTS,
        damage::TESTS,
        attacks::TESTS,
        races::TESTS,
        users::TESTS,
        collect::TESTS,
        options::TESTS,
        tap::TESTS,
    ];
    runner::main(&all.concat());
}
