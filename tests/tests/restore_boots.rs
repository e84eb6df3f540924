//! The engine against real etcd, below the command line: volumes that cannot be renamed over, every
//! target version that a server can start, servers that are killed after a restore, and the
//! engine's readers on directories that etcd itself wrote.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use etcdr_restore_engine::check;
use etcdr_restore_engine::local::LocalFile;
use etcdr_restore_engine::membership::InitialCluster;
use etcdr_restore_engine::plan::{self, Bump, RestoreRequest, Selection, Target};
use etcdr_restore_engine::restore::restore;
use etcdr_restore_engine::stream;
use etcdr_schemas::report::{RestoreReceipt, Severity};
use etcdr_schemas::{Hidden, TargetVersion};
use etcdr_tests::etcd::{Cluster, Extra, MemberAt, initial_cluster};
use etcdr_tests::oracle::State;
use etcdr_tests::source::Source;
use etcdr_tests::versions::versions;
use etcdr_tests::workload;
use tempfile::TempDir;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

/// Restores a snapshot file to these members without the command line, revision unchanged.
fn write(file: &Path, members: &[MemberAt], version: TargetVersion) -> RestoreReceipt {
    let image = LocalFile::open(file).unwrap();
    let target = |member: &MemberAt| Target {
        name: member.name.clone(),
        data_dir: member.data_dir.clone(),
        wal_dir: member.wal_dir.clone(),
        advertise: None,
    };
    let request = RestoreRequest {
        source: stream::Source::inspect("file".into(), image, None).unwrap(),
        initial_cluster: InitialCluster::parse(&initial_cluster(members)).unwrap(),
        token: "fresh".into(),
        targets: members.iter().map(target).collect(),
        target_version: Some(version),
        bump: Bump::None,
        mark_compacted: false,
        replace: false,
        skip_hash_check: false,
        keep_alarms: false,
        selection: Selection::default(),
        now: now(),
    };
    let bytes = fs::read(file).unwrap();
    let chunks: Vec<_> = bytes.chunks(1 << 16).map(Bytes::copy_from_slice).collect();
    let chunks = chunks.into_iter().map(io::Result::Ok);
    restore(&plan::plan(request).unwrap(), chunks, &now, &Hidden).unwrap()
}

/// Damage in a data directory; a torn log and other notices are not.
fn damage(member: &MemberAt) -> Vec<String> {
    let found = check::data_dir(&member.data_dir, member.wal_dir.as_deref(), &Hidden).unwrap();
    let damage = found.findings.into_iter().filter(|finding| finding.severity == Severity::Damage);
    damage.map(|finding| format!("{}: {}", finding.code, finding.message)).collect()
}

#[test]
fn mounted_volumes_boot_and_survive_a_kill_for_every_target_version() {
    for version in versions() {
        let minor = |target: &TargetVersion| u32::from(target.minor());
        for target in TargetVersion::ALL.iter().filter(|t| minor(t) <= version.number.1) {
            let source = Source::of(version);
            let dir = TempDir::new().unwrap();
            let [data_dir, wal_dir] = ["volume", "log"].map(|name| dir.path().join(name));
            // What a fresh file system looks like where it is mounted.
            fs::create_dir_all(data_dir.join("lost+found")).unwrap();
            fs::create_dir_all(&wal_dir).unwrap();
            let member = MemberAt { wal_dir: Some(wal_dir), ..MemberAt::new("m", data_dir) };
            let receipt = write(&source.file, std::slice::from_ref(&member), *target);
            assert_eq!(u64::from(receipt.hash_kv.hash), source.hash.0);
            assert_eq!(damage(&member), Vec::<String>::new());

            let mut first = Cluster::boot(version, vec![member.clone()], Extra::default());
            assert_eq!(first.hash_kv(source.load.revision), [source.hash]);
            source.state.assert_same(&State::of(&first));
            first.ctl(&["put", "/after", "one"]);
            first.kill();
            let second = Cluster::boot(version, vec![member], Extra::default());
            assert_eq!(second.revision(), source.load.revision + 1, "{version:?} for {target}");
        }
    }
}

#[test]
fn what_etcd_itself_wrote_reads_as_undamaged() {
    for version in versions() {
        let dir = TempDir::new().unwrap();
        // Snapshots of raft often, so that `.snap` files of etcd's own are there to be read.
        let server_args = vec!["--snapshot-count=20".to_owned()];
        let extra = Extra { server_args, ..Extra::default() };
        let mut cluster = Cluster::new_with(version, 1, dir.path(), extra);
        workload::write(&cluster, 7, 60);
        // etcd commits its database every 100 ms.
        std::thread::sleep(Duration::from_millis(300));
        let member = cluster.members[0].clone();
        cluster.kill();
        assert_eq!(damage(&member), Vec::<String>::new(), "{version:?}");
        let found = check::data_dir(&member.data_dir, None, &Hidden).unwrap();
        assert!(found.raft_snapshot.is_some_and(|snap| snap.metadata.index >= 20), "{version:?}");
        assert!(found.log.entries.is_some_and(|(_, last)| last >= 60));
    }
}
