//! See `bodies/contracts.rs`.
#![no_main]

#[path = "../bodies/contracts.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
