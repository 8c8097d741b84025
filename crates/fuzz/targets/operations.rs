#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sysring::fuzzing::operations(data));
