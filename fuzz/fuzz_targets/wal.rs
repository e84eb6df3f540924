//! See `bodies/wal.rs`.
#![no_main]
#![allow(dead_code, reason = "checksums are made right in the bounded run only")]

#[path = "../bodies/wal.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
