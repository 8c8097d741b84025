#![no_main]
#![allow(dead_code, unreachable_pub, reason = "the program uses more of its modules")]

#[path = "../../cli/src/args.rs"]
mod args;
#[path = "../../cli/src/exit.rs"]
mod exit;
#[path = "../../cli/src/framing.rs"]
mod framing;
#[path = "../../cli/src/fuzzing.rs"]
mod fuzzing;
#[path = "../../cli/src/signals.rs"]
mod signals;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzing::arguments(data));
