//! See `bodies/initial_cluster.rs`.
#![no_main]

#[path = "../bodies/initial_cluster.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
