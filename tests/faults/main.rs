//! Faults of system calls: every call that the library makes, failing in every way that it can.
//!
//! A victim lives through a scenario of [`life`] step by step, under ptrace. A first run lists the system calls of every
//! step. Then, for each of them and each errno that it can give, the scenario is run again, and at that call the kernel
//! seems to say no: once, or for the rest of the step. A step that failed is tried again without a fault. Judged is what
//! the failed step said (kind, errno, call, hint; one line), and at the end every message (once, in order), every
//! System V object, descriptor, mapping, seat and will.
//!
//! `SYSRING_SCENARIO` chooses scenarios by a part of their name, `SYSRING_FAULT` faults by a part of their text, and
//! `SYSRING_FAULTS=list` prints what came of each. x86-64 only: elsewhere the tests say that they are skipped.
//!
//! Every test runs in a process of its own, see `tests/common/runner.rs`.

#[cfg(target_arch = "x86_64")]
mod call;
#[cfg(target_arch = "x86_64")]
mod drive;
#[cfg(target_arch = "x86_64")]
mod expect;
#[cfg(target_arch = "x86_64")]
mod life;
#[allow(dead_code, reason = "every test program uses another part of it")]
#[path = "../common/process.rs"]
mod process;
#[allow(dead_code, reason = "every test program uses another part of it")]
#[path = "../common/runner.rs"]
mod runner;
#[cfg(target_arch = "x86_64")]
mod trace;
#[cfg(target_arch = "x86_64")]
mod world;

#[cfg(target_arch = "x86_64")]
fn main() {
    runner::main(drive::TESTS);
}

#[cfg(not(target_arch = "x86_64"))]
fn main() {
    println!("skipped: faults are made in registers of x86-64");
    runner::main(&[]);
}
