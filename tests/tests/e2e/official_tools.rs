//! Both ways across: what we export the official tool restores, what it saves we restore.

use std::path::PathBuf;

use etcdr_tests::backup::Backup;
use etcdr_tests::etcd::{Cluster, initial_cluster};
use etcdr_tests::oracle::State;
use etcdr_tests::process::{command, finish};
use etcdr_tests::source::Source;
use etcdr_tests::{versions, workload};

use crate::{boot, hash_of, one_member, restore};

#[test]
fn an_exported_file_is_restored_by_the_official_tool() {
    for version in versions::versions() {
        let mut place = Backup::new();
        let cluster = Cluster::new(version, 1, &PathBuf::from(place.path("live")));
        let load = workload::write(&cluster, 5, 8);
        let (before, live) = (State::of(&cluster), cluster.hash_kv(load.revision)[0]);
        place.watch(&cluster);
        place.save();
        drop(cluster);
        let file = place.path("exported.db");
        place.json(&["snapshot", "export", "latest", &file]);

        let members = one_member(&place);
        let mut tool = command(version.restorer());
        tool.env("ETCDCTL_API", "3").args(["snapshot", "restore", &file, "--name", "m0"]);
        tool.arg("--data-dir").arg(&members[0].data_dir);
        tool.args(["--initial-cluster", &initial_cluster(&members)]);
        tool.args(["--initial-advertise-peer-urls", &members[0].peer]);
        finish(&mut tool, &[]).ok();
        let restored = boot(version, members);
        assert_eq!(restored.hash_kv(load.revision), [live]);
        before.assert_same(&State::of(&restored));
    }
}

#[test]
fn a_file_of_the_official_tool_is_restored_by_us() {
    for version in versions::versions() {
        let source = Source::of(version);
        let place = Backup::without_repository();
        let members = one_member(&place);
        let file = source.file.display().to_string();
        let receipt = restore(&place, &["--file", &file], &members, &["--bump-revision", "0"]);
        assert_eq!(hash_of(&receipt), source.hash);
        let restored = boot(version, members);
        assert_eq!(restored.hash_kv(source.load.revision), [source.hash]);
        source.state.assert_same(&State::of(&restored));
    }
}

#[test]
fn what_is_exported_is_byte_for_byte_what_was_imported() {
    let source = Source::of(versions::newest());
    let place = Backup::new();
    place.run(&["snapshot", "import", &source.file.display().to_string()]).ok();
    let file = place.path("exported.db");
    place.run(&["snapshot", "export", "latest", &file]).ok();
    assert!(std::fs::read(&file).unwrap() == source.bytes());
}

/// The promise that backups outlive this tool, kept with stock `age` and `zstd`. Where they are not
/// installed only the gate insists: the repository's own tests read the same layers with the
/// libraries.
#[test]
fn an_image_opens_with_stock_age_and_zstd() {
    let mut which = command("/bin/sh");
    which.args(["-c", "command -v age && command -v zstd"]);
    if finish(&mut which, &[]).code != 0 {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "the gate needs age and zstd");
        eprintln!("age and zstd are not installed: the stock tools were not tried");
        return;
    }
    let source = Source::of(versions::newest());
    let place = Backup::new();
    place.run(&["snapshot", "import", &source.file.display().to_string()]).ok();
    let image = place.objects().into_iter().find(|key| key.ends_with(".db.zst.age")).unwrap();
    let mut shell = command("/bin/sh");
    shell.args(["-c", "age -d -i \"$1\" \"$2\" | zstd -d", "sh"]);
    shell.arg(place.path("keys/identity.txt")).arg(place.object(&image));
    assert!(finish(&mut shell, &[]).ok().stdout == source.bytes());
}
