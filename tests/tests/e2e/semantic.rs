//! `verify --level semantic` as a user meets it: of a live member's snapshot and of a file.

use std::path::PathBuf;

use etcdr_tests::backup::Backup;
use etcdr_tests::etcd::Cluster;
use etcdr_tests::source::Source;
use etcdr_tests::{versions, workload};

use crate::hash_of;

#[test]
fn a_snapshot_has_the_hash_that_its_members_had() {
    for version in versions::versions() {
        let mut place = Backup::new();
        let cluster = Cluster::new(version, 1, &PathBuf::from(place.path("live")));
        let load = workload::write(&cluster, 11, 8);
        place.watch(&cluster);
        place.save();
        let report = place.json(&["verify", "latest", "--level", "semantic"]);
        assert_eq!(report["ok"], true, "{report}");
        let contents = &report["contents"];
        assert_eq!(contents["hash_kv_matches"], true, "{report}");
        assert_eq!(hash_of(contents), cluster.hash_kv(load.revision)[0]);
        let live = etcdr_tests::oracle::keys_at(&cluster, None).len();
        assert_eq!(contents["live"]["keys"], live, "{contents}");
        assert_eq!(contents["leases"]["count"], 3, "{contents}");
        assert_eq!(contents["leases"]["dangling_keys"], 0, "{contents}");
    }
}

#[test]
fn a_file_is_counted_for_people_and_for_programs() {
    let source = Source::of(versions::newest());
    let place = Backup::without_repository();
    let file = source.file.display().to_string();
    let said = place.run(&["verify", "--file", &file, "--level", "semantic"]).ok();
    let text = said.stdout_text();
    assert!(text.contains("semantic   ok") && text.contains("RESOURCE"), "{text}");
    let report = place.json(&["verify", "--file", &file, "--level", "semantic"]);
    assert_eq!(hash_of(&report["contents"]), source.hash);
    assert_eq!(report["contents"]["hash_kv_matches"], serde_json::Value::Null);
}
