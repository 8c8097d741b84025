//! Death and stop of a process after every single machine instruction, by ptrace.
//!
//! Every test runs in a process of its own, see `tests/common/runner.rs`.

#[allow(dead_code, reason = "every test program uses another part of it")]
#[path = "../common/message.rs"]
mod message;
#[allow(dead_code, reason = "every test program uses another part of it")]
#[path = "../common/process.rs"]
mod process;
#[allow(dead_code, reason = "every test program uses another part of it")]
#[path = "../common/runner.rs"]
mod runner;

fn main() {
    let all: [&[runner::Test]; 0] = [];
    runner::main(&all.concat());
}
