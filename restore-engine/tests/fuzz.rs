//! Bounded fuzzing of the engine's parsers; the same bodies run under libFuzzer in `fuzz`.

#[path = "../../fuzz/bodies/bolt.rs"]
mod bolt;
#[macro_use]
#[path = "../../fuzz/bounded.rs"]
mod bounded;
#[path = "../../fuzz/bodies/initial_cluster.rs"]
mod initial_cluster;
#[path = "../../fuzz/bodies/rows.rs"]
mod rows;
#[path = "../../fuzz/bodies/scan.rs"]
mod scan;
#[path = "../../fuzz/bodies/snap.rs"]
mod snap;
#[path = "../../fuzz/bodies/wal.rs"]
mod wal;

use bounded::nothing_to_fix;

targets! {
    bolt: bolt::fix, 3000;
    scan: scan::fix, 1500;
    wal: wal::fix, 3000;
    snap: snap::fix, 5000;
    rows: nothing_to_fix, 30_000;
    initial_cluster: nothing_to_fix, 10_000;
}
