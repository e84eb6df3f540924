//! Bounded fuzzing of the contracts; the same body runs under libFuzzer in `fuzz`.

#[path = "../../fuzz/bounded.rs"]
mod bounded;
#[path = "../../fuzz/bodies/contracts.rs"]
mod contracts;

use bounded::{Target, nothing_to_fix};

#[test]
fn contracts() {
    let (name, fix) = ("contracts", nothing_to_fix as fn(&mut Vec<u8>));
    bounded::bounded(Target { name, run: contracts::run, fix, inputs: 10_000 });
}
