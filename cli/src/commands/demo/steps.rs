//! The steps of the demo: a cluster is written to, saved, destroyed, and restored with three
//! members.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use etcdr_node::{
    Client, ClusterOptions, ConnectOptions, EtcdBinary, LocalCluster, MemberSpec, free_urls,
};
use etcdr_operations::capture::{self, Always, SaveRequest};
use etcdr_operations::restore::{self as operation, Raise, RestoreOptions};
use etcdr_operations::stop::StopFlag;
use etcdr_repository::{Identities, Location, Repository, SealOptions, StoreOptions, keys};
use etcdr_restore_engine::check;
use etcdr_restore_engine::membership::InitialCluster;
use etcdr_restore_engine::plan::{Selection, Target};
use etcdr_schemas::manifest::Manifest;
use etcdr_schemas::pb::etcd::RangeRequest;
use etcdr_schemas::report::{DemoReport, RestoreReceipt};
use etcdr_schemas::{ClusterName, Hidden, Progress, Revision};

use super::objects::object;
use super::stage_log::StageLog;
use crate::context;
use crate::output;

/// What the steps work with.
pub(super) struct Setup {
    pub(super) keys: u32,
    pub(super) binary: EtcdBinary,
    pub(super) root: PathBuf,
}

/// What a live store holds, as far as it can be asked for quickly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Contents {
    revision: Revision,
    hash: u32,
    keys: i64,
}

const MEMBERS: [&str; 3] = ["a", "b", "c"];

/// Runs all steps.
pub(super) async fn run(setup: &Setup, quiet: bool) -> anyhow::Result<DemoReport> {
    let mut log = StageLog::new(quiet);
    let (cluster, endpoint) = log.run("an etcd of its own starts", start_one(setup)).await?;
    let name = format!("{} Kubernetes-like keys are written", setup.keys);
    let before = log.run(&name, write(&endpoint, setup.keys)).await?;
    let (repository, identities) =
        log.run("keys and an encrypted repository are made", prepare(setup)).await?;
    let manifest = log.run("a snapshot is saved", save(&repository, &endpoint)).await?;
    log.run("the stored snapshot is verified", check(&repository, &manifest, &identities)).await?;
    log.run("etcd is stopped, its data directory destroyed", lose(setup, cluster)).await?;
    let urls = free_urls(MEMBERS.len())?;
    let receipt = log
        .run(
            "it is restored into a NEW cluster of three",
            restore(setup, &repository, &manifest, &identities, &urls),
        )
        .await?;
    let cluster = log.run("the three members start", start_three(setup, &urls)).await?;
    let identical = log
        .run("all three are compared with what was lost", compare(&cluster, before, &receipt))
        .await?;
    log.run("the new cluster takes a write", accept_write(&cluster, before.revision)).await?;
    cluster.stop().await?;
    Ok(DemoReport {
        etcd_version: setup.binary.version().to_string(),
        stages: log.into_stages(),
        identical,
    })
}

async fn start_one(setup: &Setup) -> anyhow::Result<((LocalCluster, String), String)> {
    let members = [MemberSpec::new("lost", setup.root.join("lost"))];
    let cluster = LocalCluster::start(&setup.binary, &members, &ClusterOptions::default()).await?;
    let endpoint = cluster.endpoints().into_iter().next().context("a cluster without endpoint")?;
    let outcome = format!("version {} at {endpoint}", setup.binary.version());
    Ok(((cluster, endpoint), outcome))
}

/// Puts all objects, then deletes and updates some, so that there is history.
async fn write(endpoint: &str, count: u32) -> anyhow::Result<(Contents, String)> {
    const PER_TXN: u32 = 100;
    let client = Client::connect(&ConnectOptions::new(endpoint)).await?;
    let writer = client.writer();
    for first in (0..count).step_by(PER_TXN as usize) {
        let last = first.saturating_add(PER_TXN).min(count);
        writer.txn_put((first..last).map(object), 0).await?;
    }
    let lease = writer.lease_grant(3600).await?;
    for n in 0..50 {
        writer.put(object(n).0, "updated", lease).await?;
        writer.delete_range(object(n + 50).0, "").await?;
    }
    let holds = ask(&client, None).await?;
    Ok((
        holds,
        format!("revision {}, {} live keys, HashKV {}", holds.revision, holds.keys, holds.hash),
    ))
}

async fn ask(client: &Client, at: Option<Revision>) -> anyhow::Result<Contents> {
    let revision = match at {
        Some(revision) => revision,
        None => client.current_revision().await?,
    };
    let everything = RangeRequest {
        key: vec![0].into(),
        range_end: vec![0].into(),
        revision: revision.0,
        count_only: true,
        ..RangeRequest::default()
    };
    let keys = client.range(everything).await?.count;
    let hash = client.hash_kv(Some(revision)).await?.hash;
    Ok(Contents { revision, hash, keys })
}

async fn prepare(setup: &Setup) -> anyhow::Result<((Repository, Identities), String)> {
    let pair = keys::generate();
    let info = context::new_repository(vec![pair.recipient.clone()], false)?;
    let location = Location::directory(setup.root.join("repository"));
    let repository = Repository::init(&location, &StoreOptions::default(), info).await?;
    let identities = Identities::parse(&pair.identity_file, "the demo's identity")?;
    Ok((
        (repository, identities),
        format!("encrypted to {}…", pair.recipient.get(..16).unwrap_or_default()),
    ))
}

async fn save(repository: &Repository, endpoint: &str) -> anyhow::Result<(Manifest, String)> {
    let request = SaveRequest {
        cluster: ClusterName::default(),
        endpoints: vec![ConnectOptions::new(endpoint)],
        stall_timeout: Duration::from_secs(30),
        seal: SealOptions::new(repository.default_recipients()?),
        signing_key: None,
        nonce: u32::from_le_bytes(context::random()?),
        tool_version: context::VERSION.to_owned(),
        trigger: None,
        pace: None,
    };
    let saved = capture::save(repository, request, &context::now, &hidden(), &Always).await?;
    let saved = saved.into_iter().next().context("the save made no snapshot")?;
    let image = &saved.manifest.image;
    let outcome = format!(
        "{} stored as {}",
        output::bytes(image.plain_size),
        output::bytes(image.stored_size)
    );
    Ok((saved.manifest, outcome))
}

fn hidden() -> Arc<dyn Progress> {
    Arc::new(Hidden)
}

async fn check(
    repository: &Repository,
    manifest: &Manifest,
    identities: &Identities,
) -> anyhow::Result<((), String)> {
    repository.verify_object(&manifest.image, &Hidden).await?;
    let image = repository.open_image(&manifest.image, identities).await?;
    let random = image.random();
    let findings = context::blocking(move || check::structure(random, &Hidden)).await??.findings;
    ensure!(findings.is_empty(), "the snapshot is damaged: {findings:?}");
    Ok(((), "digests match, every page is where it belongs".to_owned()))
}

async fn lose(setup: &Setup, cluster: LocalCluster) -> anyhow::Result<((), String)> {
    cluster.stop().await?;
    std::fs::remove_dir_all(setup.root.join("lost"))?;
    Ok(((), "nothing but the repository is left".to_owned()))
}

async fn restore(
    setup: &Setup,
    repository: &Repository,
    manifest: &Manifest,
    identities: &Identities,
    urls: &[String],
) -> anyhow::Result<(RestoreReceipt, String)> {
    let opened = operation::open_image(repository, manifest, identities).await?;
    let pairs: Vec<_> =
        MEMBERS.iter().zip(urls).map(|(name, url)| format!("{name}={url}")).collect();
    let wanted = RestoreOptions {
        initial_cluster: InitialCluster::parse(&pairs.join(","))?,
        token: format!("etcdr-demo-{}", context::random_hex::<8>()?),
        targets: MEMBERS.iter().map(|name| target(&setup.root, name)).collect(),
        target_version: None,
        // Left where it was, to compare the hash. In an incident leave the default: it raises the
        // revision.
        raise: Raise::By(0),
        mark_compacted: false,
        replace: false,
        skip_hash_check: false,
        keep_alarms: false,
        selection: Selection::default(),
        now: context::now(),
    };
    let planned = opened.plan(wanted)?;
    let never = StopFlag::default();
    let receipt = planned.carry_out(Arc::new(context::now), hidden(), &never).await?;
    let outcome = format!("new cluster id {}, one plan, one token", receipt.plan.cluster_id);
    Ok((receipt, outcome))
}

fn target(root: &Path, name: &str) -> Target {
    Target { name: name.to_owned(), data_dir: root.join(name), wal_dir: None, advertise: None }
}

async fn start_three(setup: &Setup, urls: &[String]) -> anyhow::Result<(LocalCluster, String)> {
    let members: Vec<_> = MEMBERS
        .iter()
        .zip(urls)
        .map(|(name, url)| {
            let mut member = MemberSpec::new(*name, setup.root.join(name));
            member.peer_url = Some(url.clone());
            member
        })
        .collect();
    let cluster = LocalCluster::start(&setup.binary, &members, &ClusterOptions::default()).await?;
    Ok((cluster, "one cluster, three voters, one leader".to_owned()))
}

async fn compare(
    cluster: &LocalCluster,
    before: Contents,
    receipt: &RestoreReceipt,
) -> anyhow::Result<(bool, String)> {
    let mut identical = receipt.hash_kv.hash == before.hash;
    for index in 0..MEMBERS.len() {
        let client = cluster.client(index).await?;
        identical &= ask(&client, Some(before.revision)).await? == before;
        identical &= client.member_list(true).await?.len() == MEMBERS.len();
    }
    let outcome = format!(
        "revision {}, {} live keys, HashKV {}: {}",
        before.revision,
        before.keys,
        before.hash,
        if identical { "the same on all three" } else { "DIFFERENT" }
    );
    Ok((identical, outcome))
}

async fn accept_write(cluster: &LocalCluster, before: Revision) -> anyhow::Result<((), String)> {
    let revision = cluster.client(0).await?.writer().put("/etcdr/demo", "alive", 0).await?;
    ensure!(revision > before, "the write got revision {revision}, which is not after {before}");
    Ok(((), format!("revision {revision}")))
}
