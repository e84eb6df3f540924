//! SIGKILL and SIGINT at random moments: repository and target are clean or complete, and the next
//! run of the same command works. `ETCDR_TEST_ROUNDS=100` for the full number.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use etcdr_tests::backup::{Backup, files_under};
use etcdr_tests::etcd::Cluster;
use etcdr_tests::workload::{Rng, write_bulk};
use etcdr_tests::{rounds, versions};

use crate::{assert_nothing_restored, boot, one_member, restore};

/// A live cluster with enough data that a save takes a while.
fn bulky(place: &mut Backup) -> Cluster {
    let cluster = Cluster::new(versions::newest(), 1, &PathBuf::from(place.path("live")));
    write_bulk(&cluster, 21, 24);
    place.watch(&cluster);
    cluster
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn pause(rng: &mut Rng, longest: Duration) {
    let micros = u64::try_from(longest.as_micros()).unwrap();
    std::thread::sleep(Duration::from_micros(rng.next_u64() % micros));
}

#[test]
fn a_killed_save_leaves_only_whole_snapshots() {
    let mut place = Backup::new();
    let cluster = bulky(&mut place);
    let whole = timed(|| drop(place.save()));
    let mut rng = Rng(22);
    let (mut killed, count) = (0, rounds(12));
    for _ in 0..count {
        let mut running = place.spawn(&["snapshot", "save"]);
        pause(&mut rng, whole);
        killed += usize::from(running.alive());
        running.kill();
        for id in place.ids() {
            place.run(&["verify", &id, "--level", "object"]).ok();
        }
    }
    assert!(killed > 0, "every save was over before it could be killed");
    let id = place.save();
    place.run(&["verify", &id, "--level", "structure"]).ok();
    drop(cluster);
}

#[test]
fn an_interrupted_save_cleans_up_and_says_so() {
    let mut place = Backup::new();
    let cluster = bulky(&mut place);
    let proxy = etcdr_tests::proxy::Proxy::start(
        cluster.endpoint().trim_start_matches("http://"),
        etcdr_tests::proxy::Fault::Slow(2 << 20),
    );
    place.set("ETCDCTL_ENDPOINTS", &proxy.address);
    for signal in ["INT", "TERM"] {
        let mut running = place.spawn(&["snapshot", "save"]);
        let before = proxy.moved();
        while proxy.moved() < before + 1_000_000 && running.alive() {
            std::thread::sleep(Duration::from_millis(5));
        }
        running.signal(signal);
        assert_eq!(running.wait(), 130, "{}", running.log());
        assert!(running.log().contains("interrupted"), "{}", running.log());
        assert_eq!(place.objects(), ["etcdr.json"]);
    }
}

#[test]
fn a_killed_restore_leaves_no_target_or_a_whole_one() {
    killed(&[]);
}

#[test]
fn a_killed_rebuild_leaves_no_target_and_no_copy_of_the_source() {
    killed(&["--rebuild"]);
}

#[track_caller]
fn killed(more: &[&str]) {
    let mut place = Backup::new();
    let cluster = bulky(&mut place);
    place.save();
    let live = cluster.hash_kv(cluster.revision())[0];
    drop(cluster);
    let members = one_member(&place);
    let target = members[0].data_dir.clone();
    let parent = target.parent().unwrap().to_owned();
    let dir = parent.display().to_string();
    let initial = etcdr_tests::etcd::initial_cluster(&members);
    let args = ["restore", "latest", "--all-members", &dir, "--initial-cluster", &initial];
    let args = [&args[..], &["--bump-revision", "0"], more].concat();
    let whole = timed(|| drop(place.run(&args)));
    let mut rng = Rng(23);
    let (mut killed, mut complete) = (0, 0);
    for _ in 0..rounds(12) {
        drop(std::fs::remove_dir_all(&parent));
        let mut running = place.spawn(&args);
        pause(&mut rng, whole);
        killed += usize::from(running.alive());
        running.kill();
        if target.exists() {
            complete += 1;
            assert_whole(&place, &target);
        } else {
            // The command runs once more: it removes what the killed one left, and succeeds.
            let said = place.run(&args);
            assert!(matches!(said.code, 0 | 3), "{said:?}");
            let left = |name: &String| name.contains("partial") || name.ends_with("source");
            let left: Vec<_> = files_under(&parent).into_iter().filter(left).collect();
            assert_eq!(left, Vec::<String>::new());
            assert_whole(&place, &target);
        }
    }
    assert!(killed > 0, "every restore was over before it could be killed ({complete} complete)");
    let restored = boot(versions::newest(), members);
    assert_eq!(restored.hash_kv(restored.revision()), [live]);
}

#[track_caller]
fn assert_whole(place: &Backup, target: &Path) {
    let db = target.join("member/snap/db").display().to_string();
    // It has no digest at its end any more, which is worth a warning.
    let said = place.run(&["verify", "--file", &db, "--level", "structure"]);
    assert!(matches!(said.code, 0 | 3), "{said:?}");
    let files = files_under(target);
    for ending in [".wal", ".snap", "db"] {
        assert!(files.iter().any(|name| name.ends_with(ending)), "no {ending} in {files:?}");
    }
}

#[test]
fn an_interrupted_restore_leaves_nothing() {
    let mut place = Backup::new();
    let cluster = bulky(&mut place);
    place.save();
    drop(cluster);
    let members = one_member(&place);
    let target = &members[0].data_dir;
    let data_dir = target.display().to_string();
    let initial = etcdr_tests::etcd::initial_cluster(&members);
    let args = [
        "restore",
        "latest",
        "--name",
        "m0",
        "--data-dir",
        &data_dir,
        "--initial-cluster",
        &initial,
    ];
    let mut interrupted = 0;
    for wait in [5, 20, 40, 60, 80, 100, 120] {
        let mut running = place.spawn(&args);
        std::thread::sleep(Duration::from_millis(wait));
        running.signal("INT");
        match running.wait() {
            130 => {
                interrupted += 1;
                assert_nothing_restored(&place);
            }
            // Before the handler stood, or after the work was done.
            -1 => assert_nothing_restored(&place),
            0 | 3 => std::fs::remove_dir_all(place.path("restored")).unwrap(),
            code => panic!("{code}: {}", running.log()),
        }
    }
    assert!(interrupted > 0, "no restore was interrupted");
    restore(&place, &["latest"], &members, &[]);
}
