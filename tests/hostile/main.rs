//! Whatever a stranger writes into a segment: no crash, no hang, no wrong memory, a typed error, and the other lanes
//! go on.
//!
//! The test runs in a process of its own, see `tests/common/runner.rs`. The short form tries 200,000 cases,
//! `SYSRING_LONG=1` ten million. `SYSRING_SEED=N` repeats a run exactly, `SYSRING_CASE=N` with it one case alone;
//! `SYSRING_CASES=N` asks for another number of them.

mod kernel;
mod layout;
#[allow(dead_code, reason = "every test program uses another part of it")]
#[path = "../common/message.rs"]
mod message;
mod mutants;
mod mutation;
mod operations;
#[allow(dead_code, reason = "every test program uses another part of it")]
#[path = "../common/process.rs"]
mod process;
#[allow(dead_code, reason = "every test program uses another part of it")]
#[path = "../common/runner.rs"]
mod runner;
mod state;

fn main() {
    runner::main(mutants::TESTS);
}

/// Lane and number of a message as the test sends them, if these bytes are one.
fn whole(bytes: &[u8]) -> Option<(u32, u32)> {
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (lane, number) = (word(0)?, word(4)?);
    let mut expected = Vec::new();
    message::compose(&mut expected, lane, number, bytes.len());
    (bytes.len() >= 16 && expected == bytes).then_some((lane, number))
}
