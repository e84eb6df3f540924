//! One full snapshot of a live cluster: ask, stream, store, read back, record.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use etcdr_node::ConnectOptions;
use etcdr_repository::{Repository, SealOptions, SigningKey};
use etcdr_restore_engine::facts::ImageFacts;
use etcdr_schemas::claim::Trigger;
use etcdr_schemas::manifest::{self, ImageKind, Manifest, Source as ManifestSource};
use etcdr_schemas::{ClusterName, MemberId, Progress, Revision, SnapshotId};
use futures_util::future::BoxFuture;
use tokio::time::Instant;

pub use health::reach;
pub use pace::Pace;
pub use stages::Stages;

use crate::{Clock, Error};
use agreement::Verdict;
use health::Health;
use ingest::{Ingested, Target};
use source::Source;

mod agreement;
mod health;
pub(crate) mod ingest;
mod pace;
mod source;
mod stages;

/// What to save, and how.
pub struct SaveRequest {
    /// Name of the cluster in the repository.
    pub cluster: ClusterName,
    /// Endpoints to choose from.
    pub endpoints: Vec<ConnectOptions>,
    /// Time without progress after which the stream counts as dead.
    pub stall_timeout: Duration,
    /// How the image is packed.
    pub seal: SealOptions,
    /// Signs the manifest.
    pub signing_key: Option<SigningKey>,
    /// Random part of the snapshot's id.
    pub nonce: u32,
    /// Version recorded in the manifest.
    pub tool_version: String,
    /// What the snapshot is taken for, where it is not taken by hand.
    pub trigger: Option<Trigger>,
    /// How fast and for how long etcd may be asked; `None` as fast as it goes.
    pub pace: Option<Arc<Pace>>,
}

/// A snapshot that exists.
#[derive(Debug)]
pub struct Saved {
    /// Its manifest, as stored.
    pub manifest: Manifest,
    /// What a person should check; the manifest's `suspect` reasons among them.
    pub warnings: Vec<String>,
    /// How long each stage took.
    pub stages: Stages,
}

/// Decides, right before a manifest is written, whether it may be.
pub trait Gate: Send + Sync {
    /// Why it may not be committed, or why there is nothing to commit.
    type Error: From<Error> + Send;

    /// Whether this snapshot may be committed, and for how long from now; `None` for ever.
    ///
    /// # Errors
    /// Then it must not be.
    fn may_commit(&self, id: SnapshotId) -> BoxFuture<'_, Result<Option<Duration>, Self::Error>>;
}

/// The gate of a caller that contends with nobody.
#[derive(Debug, Clone, Copy)]
pub struct Always;

impl Gate for Always {
    type Error = Error;

    fn may_commit(&self, _: SnapshotId) -> BoxFuture<'_, Result<Option<Duration>, Error>> {
        Box::pin(async { Ok(None) })
    }
}

/// Takes one full snapshot, of the member that is asked when its data agrees with that of the
/// others.
///
/// Of several members, HashKV is compared first. Where a majority disagrees with the chosen member,
/// one of the majority is saved in its place. Where there is no majority, one snapshot of each side
/// is taken and marked suspect; the first that is returned is that of the chosen member. `gate` is
/// asked right before a manifest is written: its refusal means that none is, and it may give a time
/// after which it must not be written any more.
///
/// When this returns `Ok`, and only then, the snapshots exist.
///
/// # Errors
/// [`Error`], or that of the gate; no manifest was written, or, where there is no majority, not
/// that of every side.
pub async fn save<G: Gate>(
    repository: &Repository,
    request: SaveRequest,
    clock: &Clock,
    progress: &Arc<dyn Progress>,
    gate: &G,
) -> Result<Vec<Saved>, G::Error> {
    let began = Instant::now();
    let source = source::choose(request.endpoints.clone()).await?;
    let health = health::examine(&source).await?;
    let examine = began.elapsed();
    let mut run = Run {
        repository,
        request: &request,
        clock,
        progress,
        health: &health,
        stages: Stages { examine, ..Stages::default() },
    };
    // HashKV comes before the stream and never beside it, also where there is one member only: etcd
    // blocks writes while it computes the hash, and computes longer while it streams.
    let asked = Instant::now();
    let verdict = health::agreement_of(&source, &health).await;
    run.stages.agreement = asked.elapsed();
    let mut saved = Vec::new();
    for (number, (source, verdict)) in sides(source, &health, verdict).await.into_iter().enumerate()
    {
        let image = run.store_image(&source, number).await?;
        saved.push(run.record(image, &source, verdict, gate).await?);
    }
    Ok(saved)
}

/// Time for a commit that no claim limits.
const NO_LIMIT: Duration = Duration::from_secs(86_400);

/// Most sides of a cluster without majority that are saved.
const MAX_SIDES: usize = 3;

/// The members to save from: one, or one of each side where there is no majority.
async fn sides(source: Source, health: &Health, verdict: Verdict) -> Vec<(Source, Verdict)> {
    let own = source.status.member_id;
    let wanted = verdict.sources(own);
    let mut sides = Vec::new();
    for members in wanted.into_iter().take(MAX_SIDES).filter(|members| !members.contains(&own)) {
        match reach_one(&members, health, &source.options).await {
            Ok(other) => {
                let verdict = verdict.seen_from(other.status.member_id);
                sides.push((other, verdict));
            }
            Err(reason) => tracing::warn!(%reason, "cannot save the other side's data"),
        }
    }
    // A majority that cannot be streamed from is no reason to have nothing: what there is, is
    // marked suspect.
    if sides.is_empty() || !verdict.has_majority() {
        sides.insert(0, (source, verdict));
    }
    sides
}

/// Connects to the first of some members that answers, and waits until it has what the cluster has.
async fn reach_one(
    members: &[MemberId],
    health: &Health,
    options: &ConnectOptions,
) -> Result<Source, String> {
    let mut reason = "no such member".to_owned();
    for member in health.members.iter().filter(|member| members.contains(&member.id)) {
        let reached = async {
            let (client, options) = reach(member, options).await?;
            let status = client.status().await.map_err(|error| error.to_string())?;
            if health.quorum {
                client.current_revision().await.map_err(|error| error.to_string())?;
            }
            Ok::<_, String>(Source { client, options, status })
        };
        match reached.await {
            Ok(source) => return Ok(source),
            Err(error) => reason = error,
        }
    }
    Err(reason)
}

/// One run of a save, which may take more than one snapshot.
struct Run<'a> {
    repository: &'a Repository,
    request: &'a SaveRequest,
    clock: &'a Clock,
    progress: &'a Arc<dyn Progress>,
    health: &'a Health,
    stages: Stages,
}

/// Bytes that are stored and proven.
struct Image {
    ingested: Ingested,
    started_at: DateTime<Utc>,
    /// For how long etcd's stream was open, where that was watched.
    held: Option<Duration>,
}

impl Run<'_> {
    /// Stores the bytes of one member. `number` counts the snapshots of one run, so that their ids
    /// differ.
    async fn store_image(&self, source: &Source, number: usize) -> Result<Image, Error> {
        let started_at = (self.clock)();
        let pace = self.request.pace.as_deref();
        let watched = self.request.pace.as_ref();
        let _watching = watched.and_then(|pace| pace.watch(&source.client, &source.options));
        // Counted from before the request: etcd opens its read transaction when the request
        // arrives.
        pace.inspect(|pace| pace.opening());
        let stream = source.client.snapshot(self.request.stall_timeout).await?;
        pace.inspect(|pace| pace.opened(stream.total()));
        self.progress.begin("saving", Some(stream.total()));
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let target = Target {
            repository: self.repository,
            cluster: &self.request.cluster,
            seal: self.request.seal.clone(),
            started_at,
            nonce: self.request.nonce.wrapping_add(number),
            pace,
        };
        let ingested = ingest::run(target, stream, self.progress).await?;
        Ok(Image { ingested, started_at, held: pace.map(Pace::held) })
    }

    /// Writes the manifest.
    async fn record<G: Gate>(
        &self,
        image: Image,
        source: &Source,
        verdict: Verdict,
        gate: &G,
    ) -> Result<Saved, G::Error> {
        let Image { ingested: Ingested { id, proven, scanned, timing }, started_at, held } = image;
        let (health, facts) = (self.health, scanned.facts);
        let suspect = suspicions(health, &verdict, facts.revision);
        let mut warnings = health.warnings.clone();
        warnings.extend(suspect.iter().chain(&verdict.warnings).cloned());
        let manifest = Manifest {
            format: manifest::FORMAT,
            kind: ImageKind::Full,
            id,
            cluster: self.request.cluster.clone(),
            cluster_id: Some(source.status.cluster_id),
            members: health.members.clone(),
            source: source_entry(source, &facts),
            revision: facts.revision,
            compact_revision: facts.compact_revision,
            raft_term: facts.raft_term,
            raft_index: facts.raft_index,
            db_size: facts.db_size,
            db_size_in_use: Some(source.status.db_size_in_use),
            started_at,
            finished_at: (self.clock)(),
            image: proven.describe(scanned.plain_sha256),
            hash_kv: verdict.hash_kv,
            alarms: health.alarms.clone(),
            suspect,
            trigger: self.request.trigger.clone(),
            tool_version: self.request.tool_version.clone(),
            previous_manifest_sha256: None,
            extra: serde_json::Map::new(),
        };
        let began = Instant::now();
        // Asked last, when the image is proven: while it streamed, another agent may have taken the
        // tick over. The write must end within the limit, because after it another agent may
        // commit.
        let limit = match gate.may_commit(id).await {
            Ok(limit) => limit.unwrap_or(NO_LIMIT),
            Err(error) => {
                // Whoever may commit has an image of its own; no manifest will name this one.
                let _ = self.repository.discard(proven).await;
                return Err(error);
            }
        };
        let commit = self.repository.commit(manifest, self.request.signing_key.as_ref());
        // When the time is over, the request may still reach the store: nobody knows then whether
        // the manifest exists, and the error says so.
        let manifest = tokio::time::timeout(limit, commit)
            .await
            .map_err(|_| Error::CommitUnsure { id, limit })?
            .map_err(Error::from)?;
        let mut stages = Stages { commit: began.elapsed(), ..timing.into_stages(self.stages) };
        if let Some(held) = held {
            stages.stream = held;
        }
        Ok(Saved { manifest, warnings, stages })
    }
}

/// Reasons not to trust the snapshot.
fn suspicions(health: &Health, verdict: &Verdict, saved: Revision) -> Vec<String> {
    let mut reasons = verdict.suspect.clone();
    if !health.quorum {
        reasons.push(
            "the cluster had no quorum: members that were not reached may hold newer data".into(),
        );
    }
    if saved < health.revision {
        reasons.push(format!(
            "the source was at revision {saved}, behind the cluster's {}",
            health.revision
        ));
    }
    reasons.extend(
        health
            .alarms
            .iter()
            .filter(|alarm| alarm.kind == "CORRUPT")
            .map(|alarm| format!("member {} has raised alarm CORRUPT", alarm.member_id)),
    );
    reasons
}

fn source_entry(source: &Source, facts: &ImageFacts) -> ManifestSource {
    ManifestSource {
        member_id: Some(source.status.member_id),
        endpoint: source.options.endpoint.clone(),
        server_version: Some(source.status.version.clone()),
        storage_version: facts.storage_version.clone(),
    }
}
