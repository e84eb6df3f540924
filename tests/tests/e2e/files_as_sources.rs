//! A restore accepts snapshot files, raw copies of a database, and archives of both.

use std::io::Cursor;
use std::ops::ControlFlow;
use std::path::PathBuf;

use etcdr_restore_engine::bolt::{Db, writer::Writer};
use etcdr_restore_engine::local::LocalFile;
use etcdr_tests::backup::Backup;
use etcdr_tests::oracle::State;
use etcdr_tests::process::{command, finish};
use etcdr_tests::source::Source;
use etcdr_tests::versions;
use sha2::{Digest as _, Sha256};

use crate::{assert_nothing_restored, boot, hash_of, one_member, restore, try_restore};

fn shell(place: &Backup, script: &str, source: &Source) {
    let mut shell = command("/bin/sh");
    shell.args(["-euc", script, "sh"]).arg(&source.file).arg(&source.raw).current_dir(place.dir());
    finish(&mut shell, &[]).ok();
}

#[test]
fn a_raw_copy_of_a_database_boots() {
    for version in versions::versions() {
        let source = Source::of(version);
        let place = Backup::without_repository();
        let raw = place.path("live/member/snap/db");
        std::fs::create_dir_all(PathBuf::from(&raw).parent().unwrap()).unwrap();
        std::fs::copy(&source.raw, &raw).unwrap();
        let members = one_member(&place);
        let receipt = restore(&place, &["--file", &raw], &members, &["--bump-revision", "0"]);
        assert_eq!(hash_of(&receipt), source.hash);
        let notes = receipt["plan"]["notes"].to_string();
        assert!(notes.contains("no digest"), "{notes}");
        assert_eq!(boot(version, members).hash_kv(source.load.revision), [source.hash]);
    }
}

#[test]
fn archives_are_opened_on_the_way() {
    let source = Source::of(versions::newest());
    let place = Backup::without_repository();
    shell(
        &place,
        "gzip -c \"$1\" > a.db.gz; cp \"$1\" snapshot.db; tar -czf b.tar.gz snapshot.db",
        &source,
    );
    shell(
        &place,
        "mkdir -p member/snap; cp \"$2\" member/snap/db; tar -czf c.tar.gz member",
        &source,
    );
    for (number, name) in ["a.db.gz", "b.tar.gz", "c.tar.gz"].iter().enumerate() {
        let mut members = one_member(&place);
        members[0].data_dir = PathBuf::from(place.path(&format!("restored-{number}/m0")));
        let file = place.path(name);
        let receipt = restore(&place, &["--file", &file], &members, &["--bump-revision", "0"]);
        assert_eq!(hash_of(&receipt), source.hash, "{name}");
    }
}

#[test]
fn files_that_are_no_snapshot_are_refused_and_nothing_is_written() {
    let source = Source::of(versions::newest());
    let bytes = source.bytes();
    let mut flipped = bytes.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let random = etcdr_tests::workload::Rng(9).bytes(100_000);
    let cases: [(&str, &[u8]); 7] = [
        ("empty", &[]),
        ("random", &random),
        ("zeros", &[0; 65_536]),
        ("truncated", &bytes[..bytes.len() - 5000]),
        ("without its last byte", &bytes[..bytes.len() - 1]),
        ("two pages only", &bytes[..8192]),
        ("one bit flipped", &flipped),
    ];
    for (what, content) in cases {
        let place = Backup::new();
        let file = place.path("given.db");
        std::fs::write(&file, content).unwrap();
        let said = try_restore(&place, &["--file", &file], &one_member(&place), &[]).ends_with(20);
        assert!(said.stderr.len() > 40, "{what}: {}", said.stderr);
        assert_nothing_restored(&place);
        place.run(&["verify", "--file", &file, "--level", "structure"]).ends_with(20);
        place.run(&["snapshot", "import", &file]).ends_with(20);
        assert_eq!(place.objects(), ["etcdr.json"], "{what}");
    }
}

#[test]
fn a_missing_file_is_said_to_be_missing() {
    let place = Backup::new();
    let file = place.path("no-such-file.db");
    for args in [&["verify", "--file", &file][..], &["snapshot", "import", &file]] {
        place.run(args).ends_with(1).saying("no-such-file.db");
    }
    let said = try_restore(&place, &["--file", &file], &one_member(&place), &[]);
    said.ends_with(1).saying("no-such-file.db");
    assert_nothing_restored(&place);
}

/// A snapshot with the rows of the source, as a machine with another page size would have written
/// them, with a digest.
fn with_page_size(source: &Source, page_size: u32) -> Vec<u8> {
    let db = Db::open(LocalFile::open(&source.file).unwrap()).unwrap();
    let mut writer = Writer::create(Cursor::new(Vec::new()), page_size).unwrap();
    for bucket in db.buckets().unwrap() {
        writer.bucket(&bucket.name).unwrap();
        db.scan(&bucket, &mut |key, value| {
            writer.row(key, value)?;
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
    }
    let mut bytes = writer.finish().unwrap().into_inner();
    let digest = Sha256::digest(&bytes);
    bytes.extend_from_slice(&digest);
    bytes
}

#[test]
fn a_snapshot_from_a_machine_with_another_page_size_boots() {
    let version = versions::newest();
    let source = Source::of(version);
    for page_size in [1024, 16_384, 65_536] {
        let place = Backup::new();
        let file = place.path("other.db");
        std::fs::write(&file, with_page_size(&source, page_size)).unwrap();
        place.run(&["snapshot", "import", &file]).ok();
        place.run(&["verify", "latest", "--level", "structure"]).ok();
        let members = one_member(&place);
        let receipt = restore(&place, &["latest"], &members, &["--bump-revision", "0"]);
        assert_eq!(hash_of(&receipt), source.hash);
        let restored = boot(version, members);
        assert_eq!(restored.hash_kv(source.load.revision), [source.hash], "{page_size}");
        source.state.assert_same(&State::of(&restored));
    }
}

/// A few hundred kilobytes that unpack to gigabytes: refused as soon as they grow past what the
/// database's own first page says.
#[test]
fn a_decompression_bomb_is_refused_early() {
    let source = Source::of(versions::newest());
    let place = Backup::new();
    let script = "{ cat \"$1\"; head -c 3000000000 /dev/zero; } | gzip -1 > bomb.db.gz";
    shell(&place, script, &source);
    let file = place.path("bomb.db.gz");
    let started = std::time::Instant::now();
    try_restore(&place, &["--file", &file], &one_member(&place), &[]).ends_with(20);
    place.run(&["snapshot", "import", &file]).ends_with(20);
    assert!(started.elapsed().as_secs() < 20, "it was unpacked: {:?}", started.elapsed());
    assert_nothing_restored(&place);
    assert_eq!(place.objects(), ["etcdr.json"]);
}
