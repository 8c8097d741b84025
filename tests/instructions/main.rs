//! Death and stop of a process after every single machine instruction, by ptrace.
//!
//! For every scenario of `scenario.rs` a victim does one operation between two marks, and is killed (or held) after
//! n instructions; then the others must go on as if it had never begun, or had done it all. `SYSRING_SCENARIO` chooses
//! scenarios by a part of their text.
//!
//! Every test runs in a process of its own, see `tests/common/runner.rs`.

mod drive;
mod keeper;
#[allow(dead_code, reason = "every test program uses another part of it")]
#[path = "../common/message.rs"]
mod message;
#[allow(dead_code, reason = "every test program uses another part of it")]
#[path = "../common/process.rs"]
mod process;
mod receiver;
#[allow(dead_code, reason = "every test program uses another part of it")]
#[path = "../common/runner.rs"]
mod runner;
mod scenario;
mod sender;
mod trace;
mod world;

fn main() {
    runner::at_once(2, drive::TESTS);
}
