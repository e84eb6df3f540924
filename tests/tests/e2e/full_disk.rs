//! A disk that is full, on a small file system of its own.
//!
//! The file system is mounted in a user and mount namespace. Where the kernel refuses that, these
//! tests fail and say so: a green run that never saw a full disk must not look like one that did.
//! `ETCDR_TEST_NO_NAMESPACES=1` is the way to say that it is known.

use etcdr_tests::backup::{Backup, etcdr};
use etcdr_tests::process::{Said, command, finish};
use etcdr_tests::source::Source;
use etcdr_tests::versions;

use crate::place_with_snapshot;

/// Runs a shell script with a file system of so many bytes mounted at `small/`; `$1` is the binary.
fn on_small_disk(place: &Backup, size: &str, script: &str) -> Option<Said> {
    std::fs::create_dir_all(place.path("small")).unwrap();
    let mut unshare = command("unshare");
    let script = format!("mount -t tmpfs -o size={size} none small || exit 99\n{script}");
    unshare.args(["-Urm", "/bin/sh", "-uc", &script, "sh"]).arg(etcdr()).current_dir(place.dir());
    unshare.env("ETCDR_IDENTITY", place.path("keys/identity.txt"));
    unshare.env("ETCDR_REPOSITORY", &place.repository);
    let said = finish(&mut unshare, &[]);
    let refused = said.code == 99 || said.stderr.contains("unshare");
    if refused && std::env::var("ETCDR_TEST_NO_NAMESPACES").as_deref() == Ok("1") {
        eprintln!("not tested, namespaces are refused here: {}", said.stderr);
        return None;
    }
    assert!(!refused, "a full disk cannot be tested here: {}", said.stderr);
    Some(said)
}

#[test]
fn a_repository_on_a_full_disk_gets_no_manifest() {
    let place = Backup::without_repository();
    let bulk = etcdr_tests::workload::Rng(31).bytes(4 << 20);
    std::fs::write(place.path("filler"), bulk).unwrap();
    let file = Source::of(versions::newest()).file.display().to_string();
    let recipient = place.recipient();
    for filled in ["4064", "4080", "4092"] {
        let script = format!(
            "export ETCDR_REPOSITORY=file://$PWD/small/repository
             \"$1\" init --recipient {recipient} >&2 || exit 98
             head -c {filled}k filler > small/filler 2>/dev/null
             \"$1\" snapshot import {file}; code=$?
             find small -type f -name '*.json' -path '*manifests*'
             find small -type f -path '*images*'
             rm small/filler
             \"$1\" snapshot import {file} >/dev/null || exit 97
             exit $code"
        );
        let Some(said) = on_small_disk(&place, "4m", &script) else { return };
        let said = said.ends_with(1);
        assert!(said.stderr.to_lowercase().contains("space"), "{}", said.stderr);
        assert_eq!(said.stdout_text().trim(), "", "left behind on the full disk");
    }
}

#[test]
fn a_restore_looks_for_room_before_it_writes() {
    let (place, _) = place_with_snapshot(versions::newest());
    let script = "\"$1\" restore latest --name m0 --data-dir small/m0 \
         --initial-cluster m0=http://127.0.0.1:1
         code=$?; find small -mindepth 1; exit $code";
    let Some(said) = on_small_disk(&place, "1m", script) else { return };
    let said = said.ends_with(1).saying("free");
    assert_eq!(said.stdout_text().trim(), "", "left behind");
}

#[test]
fn an_export_to_a_full_disk_leaves_no_file() {
    let (place, _) = place_with_snapshot(versions::newest());
    let script =
        "\"$1\" snapshot export latest small/out.db; code=$?; find small -mindepth 1; exit $code";
    let Some(said) = on_small_disk(&place, "200k", script) else { return };
    let said = said.ends_with(1).saying("space");
    assert_eq!(said.stdout_text().trim(), "", "left behind");
}

/// A rebuild needs the database's room twice, and says so before it writes.
#[test]
fn a_rebuild_looks_for_twice_the_room() {
    let (place, _) = place_with_snapshot(versions::newest());
    let database = Source::of(versions::newest()).bytes().len() as u64;
    // Enough for the database, the log of 64 MB and what etcd adds to it, and not for the database
    // again.
    let size = ((128 << 20) + database / 4 * 7).to_string();
    let script = "restore() {
            \"$@\" restore latest --name m0 --initial-cluster m0=http://127.0.0.1:1 \
            --rebuild --data-dir small/m0
        }
        restore \"$1\"; code=$?; find small -mindepth 1; [ $code = 1 ] || exit 98
        \"$1\" restore latest --name m0 --initial-cluster m0=http://127.0.0.1:1 \
        --data-dir small/m0 >/dev/null
        exit $code";
    let Some(said) = on_small_disk(&place, &size, script) else { return };
    let said = said.ends_with(1).saying("free");
    assert_eq!(said.stdout_text().trim(), "", "left behind");
}
