//! See `bodies/scan.rs`.
#![no_main]
#![allow(dead_code, reason = "checksums are made right in the bounded run only")]

#[path = "../bodies/scan.rs"]
mod body;
#[path = "../bodies/bolt.rs"]
mod bolt;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
