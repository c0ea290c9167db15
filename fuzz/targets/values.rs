//! Any bytes, as payloads: nothing panics or takes more memory than a payload is worth, and values are written as they were read.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| nlbus::fuzzing::values(bytes));
