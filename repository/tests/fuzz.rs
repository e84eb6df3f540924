//! Bounded fuzzing of the repository's parsers; the same bodies run under libFuzzer in `fuzz`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "../../fuzz/bodies/archive.rs"]
mod archive;
#[path = "../../fuzz/bounded.rs"]
mod bounded;
#[path = "../../fuzz/bodies/image.rs"]
mod image;
#[path = "../../fuzz/bodies/names.rs"]
mod names;

use bounded::{Target, nothing_to_fix};

macro_rules! targets {
    ($($name:ident: $fix:expr, $inputs:literal;)*) => { $(
        #[test]
        fn $name() {
            let name = stringify!($name);
            bounded::bounded(Target { name, run: $name::run, fix: $fix, inputs: $inputs });
        }
    )* };
}

targets! {
    archive: archive::fix, 2000;
    image: image::fix, 1000;
    names: nothing_to_fix, 10_000;
}
