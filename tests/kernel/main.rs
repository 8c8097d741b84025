//! What we rely on in the kernel, one test per fact: a kernel that differs fails here first.
//!
//! Nothing but system calls; the library is not asked. Every test runs in a process of its own, see
//! `tests/common/runner.rs`. Facts that only root can see are printed as skipped otherwise.

mod calls;
mod deaths;
mod lists;
mod memory;
mod processes;
mod segments;
mod sleepers;
mod values;

#[allow(dead_code, reason = "every test program uses another part of it")]
#[path = "../common/process.rs"]
mod process;
#[allow(dead_code, reason = "every test program uses another part of it")]
#[path = "../common/runner.rs"]
mod runner;

fn main() {
    if processes::is_another_program() {
        return processes::be_another_program();
    }
    let all = [
        values::TESTS,
        deaths::TESTS,
        processes::TESTS,
        sleepers::TESTS,
        segments::TESTS,
        memory::TESTS,
        lists::TESTS,
    ];
    runner::main(&all.concat());
}

/// Whether this is root; says so if not.
fn as_root() -> bool {
    if !process::is_root() {
        println!("skipped: needs root");
    }
    process::is_root()
}
