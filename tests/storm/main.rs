//! Random deaths, stops and restarts of everybody; a million sleeps; creation and removal in a crowd.
//!
//! Every test runs in a process of its own, see `tests/common/runner.rs`. The short forms take some seconds each;
//! `SYSRING_LONG=1` asks for the long ones. `SYSRING_SEED=N` repeats the random choices of a run, though not what
//! the scheduler made of them.

mod board;
mod chaos;
mod crowd;
mod letter;
#[allow(dead_code, reason = "every test program uses another part of it")]
#[path = "../common/message.rs"]
mod message;
#[allow(dead_code, reason = "every test program uses another part of it")]
#[path = "../common/process.rs"]
mod process;
mod races;
#[allow(dead_code, reason = "every test program uses another part of it")]
#[path = "../common/runner.rs"]
mod runner;
mod scribble;
mod set_attacks;
mod wake;

fn main() {
    let all = [chaos::TESTS, wake::TESTS, races::TESTS, scribble::TESTS, set_attacks::TESTS];
    runner::main(&all.concat());
}

/// A number as people write it: 10,000,312.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
