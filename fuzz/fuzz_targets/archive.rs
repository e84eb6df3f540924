//! See `bodies/archive.rs`.
#![no_main]
#![allow(dead_code, reason = "checksums are made right in the bounded run only")]

#[path = "../bodies/archive.rs"]
mod body;
#[path = "../bodies/image.rs"]
mod image;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
