//! Bounded fuzzing of endpoints; the same body runs under libFuzzer in `fuzz`.

#[path = "../../fuzz/bounded.rs"]
mod bounded;
#[path = "../../fuzz/bodies/endpoint.rs"]
mod endpoint;

use bounded::{Target, nothing_to_fix};

#[test]
fn endpoint() {
    let (name, fix) = ("endpoint", nothing_to_fix as fn(&mut Vec<u8>));
    bounded::bounded(Target { name, run: endpoint::run, fix, inputs: 10_000 });
}
