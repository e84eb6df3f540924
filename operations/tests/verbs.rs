//! The operations without a command line: a file becomes a snapshot, which is verified, inspected,
//! exported, restored and pruned. Hermetic: the store is in memory, the file one that real etcd
//! wrote.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test, its helpers too")]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use etcdr_operations::export::{self, Destination};
use etcdr_operations::import::{self, ImportRequest};
use etcdr_operations::prune::{self, Mode};
use etcdr_operations::restore::{self, Raise, RestoreOptions};
use etcdr_operations::stop::StopFlag;
use etcdr_operations::{inspect, verify};
use etcdr_repository::{
    Identities, Location, Recipients, Repository, SealOptions, SnapshotName, StoreOptions, archive,
    keys,
};
use etcdr_restore_engine::inspect::Options;
use etcdr_restore_engine::membership::InitialCluster;
use etcdr_restore_engine::plan::{Selection, Target};
use etcdr_schemas::config::Retention;
use etcdr_schemas::manifest::Manifest;
use etcdr_schemas::report::Level;
use etcdr_schemas::repository::RepositoryInfo;
use etcdr_schemas::units::Span;
use etcdr_schemas::{ClusterName, Diagnose as _, ExitCode, Hidden, Progress};

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../restore-engine/tests/data/history-3.5.30.db")
}

fn now() -> DateTime<Utc> {
    "2026-11-22T07:00:00Z".parse().unwrap()
}

fn hidden() -> Arc<dyn Progress> {
    Arc::new(Hidden)
}

struct Place {
    repository: Repository,
    identities: Identities,
    cluster: ClusterName,
    latest: SnapshotName,
}

impl Place {
    async fn new() -> Self {
        let pair = keys::generate();
        let info = RepositoryInfo {
            format: etcdr_schemas::repository::FORMAT,
            repository_id: "0123456789abcdef0123456789abcdef".to_owned(),
            created_at: now(),
            recipients: vec![pair.recipient],
            unencrypted: false,
            extra: serde_json::Map::new(),
        };
        let options = StoreOptions::default();
        Self {
            repository: Repository::init(&Location::memory(), &options, info).await.unwrap(),
            identities: Identities::parse(&pair.identity_file, "test").unwrap(),
            cluster: ClusterName::default(),
            latest: "latest".parse().unwrap(),
        }
    }

    async fn import(&self) -> Manifest {
        let recipients: Option<Recipients> = self.repository.default_recipients().unwrap();
        let request = ImportRequest {
            cluster: self.cluster.clone(),
            label: "a file".to_owned(),
            seal: SealOptions::new(recipients),
            signing_key: None,
            nonce: 7,
            tool_version: "test".to_owned(),
        };
        let chunks = Box::new(archive::open(&file()).unwrap());
        let saved = import::import(&self.repository, request, chunks, &now, &hidden()).await;
        saved.unwrap().manifest
    }

    async fn export(&self, out: Destination, stop: &StopFlag) -> Result<(), export::Error> {
        let Self { repository, identities, cluster, latest } = self;
        let done =
            export::snapshot(repository, cluster, latest, identities, out, &hidden(), stop).await?;
        assert_eq!(done.size, file().metadata().unwrap().len());
        Ok(())
    }
}

fn wanted(root: &Path) -> RestoreOptions {
    let target = |name: &str| Target {
        name: name.to_owned(),
        data_dir: root.join(name),
        wal_dir: None,
        advertise: None,
    };
    RestoreOptions {
        initial_cluster: InitialCluster::parse("a=http://h:1,b=http://h:2").unwrap(),
        token: "t".to_owned(),
        targets: vec![target("a"), target("b")],
        target_version: None,
        raise: Raise::Auto,
        mark_compacted: false,
        replace: false,
        skip_hash_check: false,
        keep_alarms: false,
        selection: Selection::default(),
        now: now(),
    }
}

#[tokio::test]
async fn what_was_imported_is_sound_and_comes_back_byte_for_byte() {
    let place = Place::new().await;
    let manifest = place.import().await;
    let Place { repository, identities, cluster, .. } = &place;
    for level in Level::ALL {
        let verified =
            verify::snapshot(repository, cluster, &manifest.id, level, identities, &hidden()).await;
        assert!(verified.unwrap().ok, "{level}");
    }
    let options = Options { meta: None, prefix_depth: 2, top: 10 };
    let inspected =
        inspect::snapshot(repository, cluster, &manifest.id, identities, options, &hidden()).await;
    assert_eq!(inspected.unwrap().subject, manifest.id.to_string());
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.db");
    place.export(Destination::file(out.clone()).unwrap(), &StopFlag::default()).await.unwrap();
    assert_eq!(std::fs::read(&out).unwrap(), std::fs::read(file()).unwrap());
    let refused = Destination::file(out).err().unwrap();
    assert_eq!(refused.diagnosis().safe, "It was not touched.");
}

#[tokio::test]
async fn an_export_that_is_told_to_stop_leaves_no_file_and_says_so() {
    let place = Place::new().await;
    place.import().await;
    let (dir, stop) = (tempfile::tempdir().unwrap(), StopFlag::default());
    stop.raise();
    let out = Destination::file(dir.path().join("out.db")).unwrap();
    let error = place.export(out, &stop).await.unwrap_err();
    assert_eq!(
        (error.exit_code(), error.to_string().as_str()),
        (ExitCode::Interrupted, "interrupted")
    );
    assert_eq!(dir.path().read_dir().unwrap().count(), 0);
    struct Full;
    impl io::Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let out = Destination::stream(Box::new(Full));
    let error = place.export(out, &StopFlag::default()).await.unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Failed);
}

#[tokio::test]
async fn a_snapshot_and_a_file_are_planned_looked_at_and_restored() {
    let place = Place::new().await;
    let manifest = place.import().await;
    let Place { repository, identities, cluster, latest } = &place;
    let by_name = restore::open_snapshot(repository, cluster, latest, identities).await.unwrap();
    let by_image = restore::open_image(repository, &manifest, identities).await.unwrap();
    let by_file = restore::open_file(file()).await.unwrap();
    let mut hashes = Vec::new();
    for opened in [by_name, by_image, by_file] {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(opened.source().facts.revision, manifest.revision);
        let planned = opened.plan(wanted(dir.path())).unwrap();
        assert_eq!(planned.report().revision, manifest.revision);
        planned.preflight().unwrap();
        assert_eq!(dir.path().read_dir().unwrap().count(), 0, "nothing is written before");
        let receipt = planned.carry_out(Arc::new(now), hidden(), &StopFlag::default()).await;
        let receipt = receipt.unwrap();
        hashes.push((receipt.hash_kv.hash, receipt.live_keys));
        for name in ["a", "b"] {
            assert!(dir.path().join(name).join("member/snap/db").is_file());
        }
    }
    assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]), "{hashes:?}");
}

#[tokio::test]
async fn a_restore_that_is_told_to_stop_writes_nothing() {
    let (dir, stop) = (tempfile::tempdir().unwrap(), StopFlag::default());
    stop.raise();
    let planned = restore::open_file(file()).await.unwrap().plan(wanted(dir.path())).unwrap();
    let error = planned.carry_out(Arc::new(now), hidden(), &stop).await.unwrap_err();
    assert!(error.to_string().contains("interrupted"), "{error}");
    let left = ["a", "b"].map(|name| dir.path().join(name).exists());
    assert_eq!(left, [false, false]);
}

#[tokio::test]
async fn a_prune_without_a_rule_is_refused_and_with_one_keeps_the_newest() {
    let place = Place::new().await;
    place.import().await;
    let Place { repository, cluster, .. } = &place;
    let run = async |keep_last| {
        let policy = Retention { keep_last, ..Retention::default() };
        prune::run(repository, cluster, &policy, Span::days(1), now(), Mode::DryRun).await
    };
    assert!(matches!(run(None).await, Err(prune::Error::NoRule)));
    let report = run(Some(1)).await.unwrap();
    assert_eq!((report.totals.kept, report.totals.deleted), (1, 0));
}
