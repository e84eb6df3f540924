//! See `bodies/image.rs`.
#![no_main]
#![allow(dead_code, reason = "checksums are made right in the bounded run only")]

#[path = "../bodies/image.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
