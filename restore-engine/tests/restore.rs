//! Restores onto a real file system, attacked.
//!
//! Goal: whatever the source holds and whenever the process stops, the target is as it was or
//! complete. Method: real snapshots (`tests/data`), and a [`Disk`] whose watcher can record every
//! durable step, fail one of them, or let nothing happen any more from some step on, as a killed
//! process would.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use chrono::{DateTime, TimeZone, Utc};
use etcdr_restore_engine::bolt::Db;
use etcdr_restore_engine::bolt::writer::Writer;
use etcdr_restore_engine::durable::{Disk, Step};
use etcdr_restore_engine::local::LocalFile;
use etcdr_restore_engine::membership::InitialCluster;
use etcdr_restore_engine::mvcc::RowKey;
use etcdr_restore_engine::plan::{Bump, Plan, RestoreRequest, Selection, Target, plan};
use etcdr_restore_engine::restore::{receipt_paths, restore, restore_on};
use etcdr_restore_engine::stream::{Expected, Source};
use etcdr_restore_engine::{Error, buckets, check};
use etcdr_schemas::pb::disk::{RaftSnapshot, SnapFile};
use etcdr_schemas::report::{Level, RestoreReceipt, Severity};
use etcdr_schemas::{Diagnose, ExitCode, Hidden, Revision, Sha256Digest, TargetVersion};
use prost::Message as _;
use tempfile::TempDir;

const ONE: &str = "m=http://127.0.0.1:2380";
const THREE: &str = "a=http://10.0.0.1:2380,b=http://10.0.0.2:2380,c=http://10.0.0.3:2380";

fn golden(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn snapshot() -> Vec<u8> {
    golden("busy-3.5.30.db")
}

fn now() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 11, 22, 7, 0, 0).unwrap()
}

fn request(file: &[u8], initial: &str, targets: Vec<Target>) -> RestoreRequest {
    RestoreRequest {
        source: Source::inspect("test".into(), file.to_vec(), None).unwrap(),
        initial_cluster: InitialCluster::parse(initial).unwrap(),
        token: "fresh".into(),
        targets,
        target_version: None,
        bump: Bump::Auto { highest_seen: None, margin: 1000 },
        mark_compacted: false,
        replace: false,
        skip_hash_check: false,
        keep_alarms: false,
        selection: Selection::default(),
        now: now(),
    }
}

fn target(name: &str, data_dir: PathBuf) -> Target {
    Target { name: name.into(), data_dir, wal_dir: None, advertise: None }
}

fn one(file: &[u8], data_dir: PathBuf) -> Plan {
    plan(request(file, ONE, vec![target("m", data_dir)])).unwrap()
}

fn three(file: &[u8], dir: &Path) -> Plan {
    let targets = ["a", "b", "c"].map(|name| target(name, dir.join(name)));
    plan(request(file, THREE, targets.to_vec())).unwrap()
}

/// Like `plan`, with the database written anew.
fn rebuilt(initial: &str, file: &[u8], targets: Vec<Target>) -> Plan {
    let mut request = request(file, initial, targets);
    request.selection.rebuild = true;
    plan(request).unwrap()
}

fn chunks(file: &[u8]) -> impl Iterator<Item = io::Result<Bytes>> {
    file.chunks(5000).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect::<Vec<_>>().into_iter()
}

fn run(plan: &Plan, file: &[u8]) -> Result<RestoreReceipt, Error> {
    restore(plan, chunks(file), &now, &Hidden)
}

/// Every path below `dir`, with the content of files.
fn tree(dir: &Path) -> BTreeSet<(PathBuf, Option<Vec<u8>>)> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(dir).into_iter().flatten().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(tree(&path));
            found.insert((path, None));
        } else {
            let content = fs::read(&path).unwrap();
            found.insert((path, Some(content)));
        }
    }
    found
}

/// Whether a data directory is all there; panics when it is there in part.
fn is_complete(data_dir: &Path) -> bool {
    if !data_dir.join("member").exists() {
        assert!(tree(data_dir).iter().all(|(path, _)| is_stage(path)), "{:?}", tree(data_dir));
        return false;
    }
    let verdict = check::data_dir(data_dir, None, &Hidden).unwrap();
    assert_eq!(verdict.findings, []);
    true
}

fn is_stage(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str().to_string_lossy().contains(".etcdr-partial-"))
}

fn leftovers(dir: &Path) -> Vec<PathBuf> {
    tree(dir).into_iter().map(|(path, _)| path).filter(|path| is_stage(path)).collect()
}

#[test]
fn one_member_is_written_as_planned() {
    let dir = TempDir::new().unwrap();
    let data_dir = dir.path().join("new/parents/m");
    let file = snapshot();
    let plan = one(&file, data_dir.clone());
    let receipt = run(&plan, &file).unwrap();

    let verdict = check::data_dir(&data_dir, None, &Hidden).unwrap();
    assert_eq!(verdict.findings, []);
    let facts = verdict.structure.facts.unwrap();
    assert_eq!(facts.revision, plan.report.bump.as_ref().unwrap().to);
    assert_eq!(facts.compact_revision, Some(facts.revision));
    assert_eq!(facts.raft_index.unwrap().0, 1);
    assert_eq!(receipt.hash_kv.revision, facts.revision);
    assert_eq!(receipt.source_sha256, Sha256Digest::of(&file));
    assert!(receipt.live_keys > 0);
    assert!(receipt.start_commands[0].starts_with("etcd --name m --data-dir "));

    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
    for (path, content) in tree(&data_dir) {
        let want = if content.is_some() { 0o600 } else { 0o700 };
        assert_eq!(mode(&path), want, "{}", path.display());
    }
    for path in receipt_paths(&data_dir) {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.contains(&plan.report.cluster_id.to_string()));
    }
    assert_eq!(leftovers(dir.path()), Vec::<PathBuf>::new());
}

#[test]
fn all_members_share_one_database_and_one_cluster() {
    let dir = TempDir::new().unwrap();
    let file = snapshot();
    let plan = three(&file, &dir.path().join("all"));
    run(&plan, &file).unwrap();
    let member = |name: &str| {
        let data_dir = dir.path().join("all").join(name);
        let db = fs::read(data_dir.join("member/snap/db")).unwrap();
        (check::data_dir(&data_dir, None, &Hidden).unwrap(), db)
    };
    let members = ["a", "b", "c"].map(member);
    let ids: BTreeSet<_> = members.iter().map(|(verdict, _)| verdict.member).collect();
    assert_eq!(ids.len(), 3);
    for (verdict, db) in &members {
        assert_eq!(verdict.findings, []);
        assert_eq!(verdict.log.metadata.cluster_id, plan.report.cluster_id.0);
        assert_eq!(verdict.log.state.commit, 3);
        assert!(*db == members[0].1);
    }
}

#[test]
fn the_same_plan_gives_the_same_bytes() {
    let file = snapshot();
    let run_once = || {
        let dir = TempDir::new().unwrap();
        run(&three(&file, &dir.path().join("x")), &file).unwrap();
        let data = tree(&dir.path().join("x")).into_iter();
        data.filter(|(path, _)| !path.to_string_lossy().contains("receipt"))
            .map(|(path, content)| (path.strip_prefix(dir.path()).unwrap().to_owned(), content))
            .collect::<BTreeSet<_>>()
    };
    assert!(run_once() == run_once());
}

#[test]
fn every_golden_snapshot_and_every_form_of_it_restores() {
    for name in [
        "busy-3.4.23.db",
        "busy-3.5.30.db",
        "busy-3.6.14.db",
        "busy-3.7.1.db",
        "compacted-3.4.23.db",
        "history-3.5.30.db",
    ] {
        let file = golden(name);
        let raw = &file[..file.len() - 32];
        let mut grown = raw.to_vec();
        grown.resize(raw.len() + 65536, 0xAA);
        let mut hashes = BTreeSet::new();
        for form in [&file, raw, &grown] {
            let dir = TempDir::new().unwrap();
            let plan = one(form, dir.path().join("m"));
            hashes.insert(run(&plan, form).unwrap().hash_kv.hash);
            assert!(is_complete(&dir.path().join("m")), "{name}");
            let streamed = Source::inspect_stream("test".into(), chunks(form)).unwrap();
            let read = Source::inspect("test".into(), form.to_vec(), None).unwrap();
            assert_eq!((streamed.facts, streamed.form), (read.facts, read.form));
        }
        assert_eq!(hashes.len(), 1, "{name}");
    }
}

#[test]
fn an_occupied_target_is_refused_and_replaced_only_by_moving_it_aside() {
    let dir = TempDir::new().unwrap();
    let data_dir = dir.path().join("m");
    fs::create_dir(&data_dir).unwrap();
    fs::write(data_dir.join("precious"), "old").unwrap();
    let before = tree(dir.path());
    let file = snapshot();

    let error = run(&one(&file, data_dir.clone()), &file).unwrap_err();
    assert!(matches!(error, Error::Occupied { .. }), "{error}");
    assert!(tree(dir.path()) == before);

    let mut request = request(&file, ONE, vec![target("m", data_dir.clone())]);
    request.replace = true;
    let receipt = run(&plan(request).unwrap(), &file).unwrap();
    assert!(is_complete(&data_dir));
    let aside = dir.path().join("m.etcdr-moved-20261122T070000Z");
    assert_eq!(receipt.moved_aside[0].to, aside.display().to_string());
    assert_eq!(fs::read_to_string(aside.join("precious")).unwrap(), "old");
}

#[test]
fn an_older_receipt_is_kept() {
    let dir = TempDir::new().unwrap();
    let data_dir = dir.path().join("m");
    let [json, _] = receipt_paths(&data_dir);
    fs::write(&json, "older").unwrap();
    let file = snapshot();
    run(&one(&file, data_dir), &file).unwrap();
    let kept = dir.path().join("m.etcdr-receipt.json.etcdr-moved-20261122T070000Z");
    assert_eq!(fs::read_to_string(kept).unwrap(), "older");
}

#[test]
fn a_running_etcd_is_not_replaced() {
    let dir = TempDir::new().unwrap();
    let db = dir.path().join("m/member/snap/db");
    fs::create_dir_all(db.parent().unwrap()).unwrap();
    fs::write(&db, "held").unwrap();
    let held = fs::File::open(&db).unwrap();
    held.lock().unwrap();
    let file = snapshot();
    let mut request = request(&file, ONE, vec![target("m", dir.path().join("m"))]);
    request.replace = true;
    let error = run(&plan(request).unwrap(), &file).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Claimed);
    assert_eq!(fs::read_to_string(&db).unwrap(), "held");
}

#[test]
fn an_empty_directory_is_filled_from_within() {
    // What a mounted volume looks like: it exists, cannot be renamed over, and may have lost+found.
    let dir = TempDir::new().unwrap();
    let [data_dir, wal_dir] = ["volume", "log"].map(|name| dir.path().join(name));
    fs::create_dir_all(data_dir.join("lost+found")).unwrap();
    fs::create_dir(&wal_dir).unwrap();
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&path.metadata().unwrap());
    let before = (inode(&data_dir), inode(&wal_dir));
    let file = snapshot();
    let target = Target { wal_dir: Some(wal_dir.clone()), ..target("m", data_dir.clone()) };
    run(&plan(request(&file, ONE, vec![target])).unwrap(), &file).unwrap();
    assert_eq!((inode(&data_dir), inode(&wal_dir)), before);
    let verdict = check::data_dir(&data_dir, Some(&wal_dir), &Hidden).unwrap();
    assert_eq!(verdict.findings, []);
    assert!(!data_dir.join("member/wal").exists());
    assert_eq!(leftovers(dir.path()), Vec::<PathBuf>::new());
}

#[test]
fn links_are_followed_and_files_refused() {
    let dir = TempDir::new().unwrap();
    let real = dir.path().join("disk/etcd");
    fs::create_dir_all(&real).unwrap();
    std::os::unix::fs::symlink(&real, dir.path().join("m")).unwrap();
    let file = snapshot();
    run(&one(&file, dir.path().join("m")), &file).unwrap();
    assert!(is_complete(&real));

    fs::write(dir.path().join("file"), "").unwrap();
    let error = run(&one(&file, dir.path().join("file")), &file).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Usage);
}

#[test]
fn a_damaged_source_leaves_nothing_behind() {
    let file = snapshot();
    let dir = TempDir::new().unwrap();
    let plan = one(&file, dir.path().join("x/m"));
    let refused = |bad: &[u8]| {
        let error = run(&plan, bad).unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::Damaged, "{error}");
        assert!(tree(dir.path()).is_empty(), "{:?}", tree(dir.path()));
    };
    for at in (0..file.len()).step_by(997) {
        let mut bad = file.clone();
        bad[at] ^= 0x10;
        refused(&bad);
    }
    for length in (0..file.len()).step_by(1999) {
        refused(&file[..length]);
    }
    let mut long = file.clone();
    long.resize(file.len() + (200 << 20), 0);
    refused(&long);
    refused(&[0; 4096]);
    refused(&golden("compacted-3.4.23.db"));
}

#[test]
fn skipping_the_digest_does_not_skip_the_structure() {
    let mut file = snapshot();
    let dir = TempDir::new().unwrap();
    let mut request = request(&file, ONE, vec![target("m", dir.path().join("m"))]);
    request.skip_hash_check = true;
    let plan = plan(request).unwrap();
    // A wrong digest alone is let through, as asked for; a broken page is not.
    let last = file.len() - 1;
    file[last] ^= 1;
    run(&plan, &file).unwrap();
    let root = Db::open(file.clone()).unwrap().meta().root;
    let flags = usize::try_from(root).unwrap() * 4096 + 8;
    file[flags] ^= 0xFF;
    let other = TempDir::new().unwrap();
    let error = one_skipping(&other, &snapshot(), &file);
    assert_eq!(error.exit_code(), ExitCode::Damaged, "{error}");
    assert!(tree(other.path()).is_empty());
}

fn one_skipping(dir: &TempDir, planned: &[u8], came: &[u8]) -> Error {
    let mut request = request(planned, ONE, vec![target("m", dir.path().join("m"))]);
    request.skip_hash_check = true;
    run(&plan(request).unwrap(), came).unwrap_err()
}

#[test]
fn the_manifest_binds_the_bytes() {
    let file = snapshot();
    let dir = TempDir::new().unwrap();
    let with = |expected| {
        let mut request = request(&file, ONE, vec![target("m", dir.path().join("m"))]);
        request.source.expected = Some(expected);
        request.skip_hash_check = true;
        run(&plan(request).unwrap(), &file)
    };
    let good =
        Expected { size: file.len() as u64, sha256: Sha256Digest::of(&file), by_reader: false };
    for bad in [
        Expected { size: good.size - 1, ..good },
        Expected { size: good.size + 1, ..good },
        Expected { sha256: Sha256Digest::of(b"other"), ..good },
    ] {
        assert_eq!(with(bad).unwrap_err().exit_code(), ExitCode::Damaged);
        assert!(tree(dir.path()).is_empty());
    }
    with(good).unwrap();
}

#[test]
fn a_source_that_fails_or_panics_leaves_nothing_behind() {
    let file = snapshot();
    let dir = TempDir::new().unwrap();
    let plan = one(&file, dir.path().join("x/m"));
    for stop in 0..file.len() / 5000 {
        let broken = || Err(io::Error::other("connection lost"));
        let cut = chunks(&file).take(stop).chain(std::iter::once_with(broken));
        let error = restore(&plan, cut, &now, &Hidden).unwrap_err();
        assert!(error.to_string().contains("connection lost"), "{error}");
        assert!(tree(dir.path()).is_empty());
    }
    let panicking = chunks(&file).chain(std::iter::once_with(|| panic!("a bug in the source")));
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = restore(&plan, panicking, &now, &Hidden);
    }));
    assert!(caught.is_err());
    assert!(tree(dir.path()).is_empty());
}

#[test]
fn too_little_space_is_seen_before_anything_is_written() {
    let file = snapshot();
    let dir = TempDir::new().unwrap();
    let mut request = request(&file, ONE, vec![target("m", dir.path().join("x/m"))]);
    request.source.facts.db_size = 1 << 60;
    let error = run(&plan(request).unwrap(), &file).unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    assert!(tree(dir.path()).is_empty());
}

/// A disk on which nothing happens any more from step `stop` on, clean-up included.
fn dying_disk(stop: usize) -> (Disk, Arc<AtomicUsize>) {
    let steps = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&steps);
    let disk = Disk::watched(move |_| {
        let step = counter.fetch_add(1, Ordering::SeqCst);
        if step < stop { Ok(()) } else { Err(io::Error::other("killed")) }
    });
    (disk, steps)
}

/// Stops one restore after every step; then checks the target, and restores again.
fn kill_everywhere(make: impl Fn(&Path) -> Plan, members: &[&str], file: &[u8]) {
    for stop in 0.. {
        let dir = TempDir::new().unwrap();
        let plan = make(dir.path());
        let (disk, steps) = dying_disk(stop);
        let done = restore_on(&disk, &plan, chunks(file), &now, &Hidden);
        let complete: Vec<_> =
            members.iter().map(|member| is_complete(&dir.path().join(member))).collect();
        if done.is_ok() {
            assert!(complete.iter().all(|complete| *complete), "step {stop}");
        }
        // What is left must not prevent the next restore; checking every third step is enough.
        if stop % 3 == 0 && complete.iter().all(|complete| !complete) {
            run(&plan, file).unwrap_or_else(|error| panic!("after step {stop}: {error}"));
            assert!(members.iter().all(|member| is_complete(&dir.path().join(member))));
            assert_eq!(leftovers(dir.path()), Vec::<PathBuf>::new(), "step {stop}");
        }
        if steps.load(Ordering::SeqCst) <= stop {
            assert!(stop > 20, "only {stop} steps");
            return;
        }
    }
}

#[test]
fn a_kill_at_any_step_leaves_the_target_absent_or_complete() {
    let file = snapshot();
    kill_everywhere(|dir| one(&file, dir.join("m")), &["m"], &file);
    // In directories that exist the members appear one by one, each of them whole.
    let separate = |dir: &Path| {
        for name in ["a", "b", "c"] {
            fs::create_dir_all(dir.join(name)).unwrap();
        }
        three(&file, dir)
    };
    kill_everywhere(separate, &["a", "b", "c"], &file);
}

#[test]
fn a_kill_at_any_step_of_a_rebuild_leaves_the_target_absent_or_complete() {
    let file = snapshot();
    let one = |dir: &Path| rebuilt(ONE, &file, vec![target("m", dir.join("m"))]);
    kill_everywhere(one, &["m"], &file);
    // A mounted volume: the stage, and the copy of the source in it, lie inside the target.
    let volumes = |dir: &Path| {
        let targets = ["a", "b", "c"].map(|name| target(name, dir.join(name)));
        targets.iter().for_each(|target| fs::create_dir_all(&target.data_dir).unwrap());
        rebuilt(THREE, &file, targets.to_vec())
    };
    kill_everywhere(volumes, &["a", "b", "c"], &file);
}

#[test]
fn an_error_at_any_step_of_a_rebuild_leaves_nothing() {
    let file = snapshot();
    for stop in 0.. {
        let dir = TempDir::new().unwrap();
        let steps = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&steps);
        let disk = Disk::watched(move |_| match counter.fetch_add(1, Ordering::SeqCst) {
            step if step == stop => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        });
        let plan = rebuilt(ONE, &file, vec![target("m", dir.path().join("x/m"))]);
        let done = restore_on(&disk, &plan, chunks(&file), &now, &Hidden);
        if done.is_err() {
            assert!(tree(dir.path()).is_empty(), "step {stop}: {:?}", tree(dir.path()));
        } else {
            // Tidying up and receipts come after the restore has happened.
            assert!(is_complete(&dir.path().join("x/m")), "step {stop}");
        }
        if steps.load(Ordering::SeqCst) <= stop {
            assert!(stop > 20, "only {stop} steps");
            return;
        }
    }
}

#[test]
fn members_of_a_rebuild_share_one_database() {
    let dir = TempDir::new().unwrap();
    let file = snapshot();
    let names = ["a", "b", "c"];
    let targets = names.map(|name| target(name, dir.path().join("all").join(name)));
    run(&rebuilt(THREE, &file, targets.to_vec()), &file).unwrap();
    let database =
        |name| fs::read(dir.path().join("all").join(name).join("member/snap/db")).unwrap();
    let databases = names.map(database);
    assert!(databases.iter().all(|database| *database == databases[0]));
    let found: Vec<_> = tree(dir.path()).into_iter().map(|(path, _)| path).collect();
    assert!(found.iter().all(|path| !path.ends_with("source")), "{found:?}");
}

#[test]
fn a_cluster_in_a_new_directory_appears_at_once() {
    let file = snapshot();
    for stop in 0.. {
        let dir = TempDir::new().unwrap();
        let (disk, steps) = dying_disk(stop);
        let plan = three(&file, &dir.path().join("all"));
        let _ = restore_on(&disk, &plan, chunks(&file), &now, &Hidden);
        let there = ["a", "b", "c"].map(|name| is_complete(&dir.path().join("all").join(name)));
        assert!(there == [true; 3] || there == [false; 3], "step {stop}: {there:?}");
        if steps.load(Ordering::SeqCst) <= stop {
            return;
        }
    }
}

#[test]
fn what_was_there_survives_a_kill_and_an_error_at_any_step() {
    let file = snapshot();
    for dies in [true, false] {
        for stop in 0.. {
            let dir = TempDir::new().unwrap();
            fs::create_dir(dir.path().join("m")).unwrap();
            fs::write(dir.path().join("m/precious"), "old").unwrap();
            let mut request = request(&file, ONE, vec![target("m", dir.path().join("m"))]);
            request.replace = true;
            let steps = Arc::new(AtomicUsize::new(0));
            let counter = Arc::clone(&steps);
            let disk = Disk::watched(move |_| {
                let step = counter.fetch_add(1, Ordering::SeqCst);
                let fails = if dies { step >= stop } else { step == stop };
                if fails { Err(io::Error::other("stopped")) } else { Ok(()) }
            });
            let done = restore_on(&disk, &plan(request).unwrap(), chunks(&file), &now, &Hidden);
            let kept = tree(dir.path()).into_iter().any(|(path, content)| {
                path.ends_with("precious") && content.as_deref() == Some(b"old")
            });
            assert!(kept, "step {stop}");
            if !dies && done.is_err() {
                assert!(dir.path().join("m/precious").exists(), "step {stop}");
                assert_eq!(leftovers(dir.path()), Vec::<PathBuf>::new(), "step {stop}");
            }
            if steps.load(Ordering::SeqCst) <= stop {
                break;
            }
        }
    }
}

#[test]
fn everything_is_synced_before_the_first_rename() {
    let dir = TempDir::new().unwrap();
    let file = snapshot();
    let log = Arc::new(Mutex::new((BTreeSet::new(), BTreeSet::new(), false)));
    let seen = Arc::clone(&log);
    let disk = Disk::watched(move |step| {
        let mut state = seen.lock().unwrap();
        let (dirty, unsynced_dirs, renamed) = &mut *state;
        let parent = |path: &Path| path.parent().unwrap().to_owned();
        match step {
            Step::Create(path) | Step::Write(path) if !*renamed => {
                dirty.insert(path.to_owned());
                unsynced_dirs.insert(parent(path));
            }
            Step::CreateDir(path) if is_stage(path) => {
                unsynced_dirs.insert(parent(path));
                unsynced_dirs.insert(path.to_owned());
            }
            Step::Sync(path) => drop(dirty.remove(path)),
            Step::SyncDir(path) => drop(unsynced_dirs.remove(path)),
            Step::Rename(..) if !*renamed => {
                *renamed = true;
                assert_eq!(dirty.iter().next(), None);
                assert_eq!(unsynced_dirs.iter().next(), None);
            }
            _ => {}
        }
        Ok(())
    });
    let plan = three(&file, &dir.path().join("all"));
    restore_on(&disk, &plan, chunks(&file), &now, &Hidden).unwrap();
    assert!(log.lock().unwrap().2);
}

#[test]
fn a_stage_of_a_living_restore_is_left_alone() {
    let dir = TempDir::new().unwrap();
    let stage = dir.path().join(".m.etcdr-partial-20200101T000000Z");
    fs::create_dir(&stage).unwrap();
    let file = snapshot();
    let plan = one(&file, dir.path().join("m"));
    let living = fs::File::open(&stage).unwrap();
    living.lock().unwrap();
    let error = run(&plan, &file).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Claimed);
    assert!(stage.exists());
    drop(living);
    let receipt = run(&plan, &file).unwrap();
    assert!(!stage.exists());
    assert!(receipt.changes.iter().any(|change| change.contains("interrupted")));
}

/// A database with every record that a new cluster must not inherit.
fn inherited() -> Vec<u8> {
    let mut writer = Writer::create(io::Cursor::new(Vec::new()), 16384).unwrap();
    let mut bucket = |name: &[u8], rows: &[(&[u8], &[u8])]| {
        writer.bucket(name).unwrap();
        for (key, value) in rows {
            writer.row(key, value).unwrap();
        }
    };
    let at = |main| RowKey { main: Revision(main), sub: 0, tombstone: false }.encode();
    bucket(buckets::ALARM, &[(b"\x08\x01\x10\x01", b""), (b"\x08\x01\x10\x02", b"")]);
    bucket(
        buckets::CLUSTER,
        &[
            (buckets::cluster::VERSION, b"3.6.0"),
            (buckets::cluster::DOWNGRADE, br#"{"target-version":"3.5.0","enabled":true}"#),
        ],
    );
    bucket(buckets::KEY, &[(&at(2), b"\x0a\x01a\x10\x02\x18\x02\x20\x01\x2a\x01x")]);
    bucket(buckets::MEMBERS, &[(b"be1b32b7b1ce69d", b"{}")]);
    bucket(buckets::MEMBERS_REMOVED, &[(b"abc", b"removed")]);
    bucket(
        buckets::META,
        &[
            (buckets::meta::CONF_STATE, b"old"),
            (buckets::meta::CONSISTENT_INDEX, &77u64.to_be_bytes()),
            (buckets::meta::FINISHED_COMPACT, &at(5)),
            (buckets::meta::STORAGE_VERSION, b"3.6.0"),
            (buckets::meta::TERM, &9u64.to_be_bytes()),
        ],
    );
    writer.finish().unwrap().into_inner()
}

fn rows(db: &Path, bucket: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let db = Db::open(LocalFile::open(db).unwrap()).unwrap();
    let mut rows = Vec::new();
    let found = db.bucket(bucket).unwrap().unwrap();
    db.scan(&found, &mut |key, value| {
        rows.push((key.to_vec(), value.to_vec()));
        Ok(std::ops::ControlFlow::Continue(()))
    })
    .unwrap();
    rows
}

#[test]
fn a_new_cluster_inherits_no_membership_alarms_or_versions() {
    let file = inherited();
    let restored = |version: TargetVersion| {
        let dir = TempDir::new().unwrap();
        let mut request = request(&file, ONE, vec![target("m", dir.path().join("m"))]);
        request.target_version = Some(version);
        let receipt = run(&plan(request).unwrap(), &file).unwrap();
        (dir.path().join("m/member/snap/db"), receipt, dir)
    };
    for version in TargetVersion::ALL {
        let (db, receipt, _dir) = restored(version);
        let keeps = version >= TargetVersion::V3_6;
        assert_eq!(rows(&db, buckets::ALARM), []);
        assert_eq!(rows(&db, buckets::MEMBERS_REMOVED), []);
        assert_eq!(rows(&db, buckets::MEMBERS).len(), 1);
        let cluster = rows(&db, buckets::CLUSTER);
        let kept = vec![(buckets::cluster::VERSION.to_vec(), b"3.6.0".to_vec())];
        assert_eq!(cluster, if keeps { kept } else { Vec::new() }, "{version}");
        let meta: std::collections::BTreeMap<_, _> = rows(&db, buckets::META).into_iter().collect();
        assert_eq!(meta[buckets::meta::CONSISTENT_INDEX], 1u64.to_be_bytes());
        assert_eq!(meta[buckets::meta::TERM], 1u64.to_be_bytes());
        assert!(meta[buckets::meta::CONF_STATE].starts_with(b"{\"voters\":["));
        assert_eq!(meta.contains_key(buckets::meta::STORAGE_VERSION), keeps, "{version}");
        // The compaction marker is above the last row: the bump counts from there.
        let bumped = RowKey { main: Revision(1005), sub: 0, tombstone: false }.encode();
        assert_eq!(meta[buckets::meta::SCHEDULED_COMPACT], bumped);
        assert_eq!(rows(&db, buckets::KEY).pop(), Some((bumped, Vec::new())));
        assert!(receipt.plan.warnings.iter().any(|w| w.contains("CORRUPT")));
        assert_eq!(receipt.live_keys, 1);
    }
}

#[test]
fn verify_names_what_is_wrong_with_a_file() {
    let good = snapshot();
    let codes = |file: &[u8]| {
        let verdict = check::file(file, Level::Structure, &Hidden).unwrap();
        verdict.findings().map(|finding| finding.code.clone()).collect::<Vec<_>>()
    };
    assert_eq!(codes(&good), Vec::<String>::new());
    let raw = &good[..good.len() - 32];
    assert_eq!(codes(raw), ["snapshot.digest.none"]);
    let mut flipped = good.clone();
    flipped[5000] ^= 1;
    assert_eq!(codes(&flipped), ["snapshot.digest"]);
    assert_eq!(codes(&good[..good.len() - 100]), ["snapshot.length"]);
    for bad in [&[][..], &[7; 100_000]] {
        assert_eq!(codes(bad).len(), 1);
    }
    let root = usize::try_from(Db::open(good.clone()).unwrap().meta().root).unwrap();
    let mut broken = raw.to_vec();
    broken[root * 4096 + 8] ^= 0xFF;
    let verdict = check::file(broken.as_slice(), Level::Structure, &Hidden).unwrap();
    assert!(verdict.findings().any(|finding| finding.severity == Severity::Damage));
    let content_only = check::file(broken.as_slice(), Level::Content, &Hidden).unwrap();
    assert!(content_only.structure.is_none());
}

#[test]
fn verify_names_what_keeps_a_data_directory_from_starting() {
    let dir = TempDir::new().unwrap();
    let file = snapshot();
    run(&three(&file, &dir.path().join("all")), &file).unwrap();
    let [a, b] = ["a", "b"].map(|name| dir.path().join("all").join(name));
    let codes = |data_dir: &Path| {
        let verdict = check::data_dir(data_dir, None, &Hidden).unwrap();
        verdict.findings.into_iter().map(|finding| finding.code).collect::<Vec<_>>()
    };
    assert_eq!(codes(&a), Vec::<String>::new());

    // The log of another member of the same cluster goes unnoticed by etcd until it votes twice,
    // but a log of another cluster is seen at once.
    let other = TempDir::new().unwrap();
    run(&one(&file, other.path().join("m")), &file).unwrap();
    let log = "member/wal/0000000000000000-0000000000000000.wal";
    fs::copy(other.path().join("m").join(log), a.join(log)).unwrap();
    let found = codes(&a);
    assert!(found.contains(&"member.unknown".to_owned()), "{found:?}");
    assert!(found.contains(&"wal.commit".to_owned()), "{found:?}");

    // An older database under the same log, and a newer one.
    let db = "member/snap/db";
    fs::copy(other.path().join("m").join(db), b.join(db)).unwrap();
    assert!(codes(&b).contains(&"db.index.behind".to_owned()));
    fs::write(b.join(db), &file).unwrap();
    assert!(codes(&b).contains(&"db.index.ahead".to_owned()));
    fs::write(b.join(log), b"torn").unwrap();
    assert!(codes(&b).contains(&"wal.torn".to_owned()));

    let c = dir.path().join("all/c");
    let path = tree(&c)
        .into_iter()
        .map(|(path, _)| path)
        .find(|path| path.extension().is_some_and(|extension| extension == "snap"));
    let path = path.unwrap();
    let file = SnapFile::decode(fs::read(&path).unwrap().as_slice()).unwrap();
    let mut snapshot = RaftSnapshot::decode(file.data.unwrap()).unwrap();
    snapshot.metadata.conf_state.voters.clear();
    let data = snapshot.encode_to_vec();
    let file = SnapFile { crc: crc32c::crc32c(&data), data: Some(data.into()) };
    fs::write(&path, file.encode_to_vec()).unwrap();
    assert_eq!(codes(&c), ["snap.voters"]);
}
