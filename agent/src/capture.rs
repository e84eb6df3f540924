//! One full snapshot of a live cluster: ask, stream, store, read back, record.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use etcdr_node::{Client, ConnectOptions, Error as NodeError};
use etcdr_repository::{Repository, SealOptions, SigningKey};
use etcdr_restore_engine::snapshot::ImageFacts;
use etcdr_schemas::manifest::{self, Alarm, Kind, Manifest, Member, Source as ManifestSource};
use etcdr_schemas::{ClusterName, MemberId, Progress, Revision};
use futures_util::future::join_all;

use crate::Error;
use crate::agreement::{self, Answer, MemberHash, Verdict};
use crate::pace::Pace;
use crate::pour::{self, Poured, Target};
use crate::source::{self, Source};

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
    /// How fast and for how long etcd may be asked; `None` as fast as it goes.
    pub pace: Option<Arc<Pace>>,
}

/// A snapshot that exists.
#[derive(Debug)]
pub struct Saved {
    /// Its manifest, as stored.
    pub manifest: Manifest,
    /// Things that a person should look at; the manifest's `suspect` reasons among them.
    pub warnings: Vec<String>,
}

/// Asks for the time: a parameter, so that captures can be tested.
pub type Clock = dyn Fn() -> DateTime<Utc> + Send + Sync;

/// Longest wait for a member other than the source: one that is down must not hold up the backup.
const PEER_PATIENCE: Duration = Duration::from_secs(3);

/// Takes one full snapshot. When this returns `Ok`, and only then, the snapshot exists.
///
/// # Errors
/// [`Error`]; no manifest was written.
pub async fn save(
    repository: &Repository,
    request: SaveRequest,
    clock: &Clock,
    progress: &Arc<dyn Progress>,
) -> Result<Saved, Error> {
    let started_at = clock();
    let source = source::choose(request.endpoints).await?;
    let health = examine(&source).await?;
    let pace = request.pace.as_deref();
    let _watching =
        request.pace.as_ref().and_then(|pace| pace.watch(&source.client, &source.options));
    pace.inspect(|pace| pace.opening());
    let stream = source.client.snapshot(request.stall_timeout).await?;
    pace.inspect(|pace| pace.opened(stream.total()));
    progress.begin("saving", Some(stream.total()));
    let target = Target {
        repository,
        cluster: &request.cluster,
        seal: request.seal,
        started_at,
        nonce: request.nonce,
        pace,
    };
    // HashKV is asked at a revision that was fixed before the stream began, so asking it alongside gives
    // the same answer as asking before, without holding up the capture.
    let (poured, verdict) =
        tokio::join!(pour::pour(target, stream, progress), agreement_of(&source, &health));
    let Poured { id, proven, scanned } = poured?;
    let facts = scanned.facts;
    let suspect = suspicions(&health, &verdict, facts.revision);
    let mut warnings = health.warnings.clone();
    warnings.extend(suspect.iter().chain(&verdict.warnings).cloned());
    let manifest = Manifest {
        format: manifest::FORMAT,
        kind: Kind::Full,
        id,
        cluster: request.cluster,
        cluster_id: Some(source.status.cluster_id),
        members: health.members,
        source: source_entry(&source, &facts),
        revision: facts.revision,
        compact_revision: facts.compact_revision,
        raft_term: facts.raft_term,
        raft_index: facts.raft_index,
        db_size: facts.db_size,
        db_size_in_use: Some(source.status.db_size_in_use),
        started_at,
        finished_at: clock(),
        image: proven.describe(scanned.plain_sha256),
        hash_kv: verdict.hash_kv,
        alarms: health.alarms,
        suspect,
        tool_version: request.tool_version,
        previous_manifest_sha256: None,
        extra: serde_json::Map::new(),
    };
    let manifest = repository.commit(manifest, request.signing_key.as_ref()).await?;
    Ok(Saved { manifest, warnings })
}

/// What is known of the cluster before the capture.
struct Health {
    members: Vec<Member>,
    alarms: Vec<Alarm>,
    /// The linearizable revision, or the source's own where there is no quorum.
    revision: Revision,
    quorum: bool,
    warnings: Vec<String>,
}

/// Asks for members, alarms and the linearizable revision. A cluster without quorum is saved all the same:
/// that may be the last chance to.
async fn examine(source: &Source) -> Result<Health, Error> {
    let mut warnings: Vec<String> =
        source.status.errors.iter().map(|error| format!("etcd reports: {error}")).collect();
    let linearizable = match source.status.leader {
        Some(_) => source.client.current_revision().await.ok(),
        None => None,
    };
    let members = source.client.member_list(linearizable.is_some()).await?;
    let alarms = source.client.alarms().await?;
    for alarm in &alarms {
        warnings.push(format!("member {} has alarm {}", alarm.member_id, alarm.kind));
    }
    Ok(Health {
        members,
        alarms,
        revision: linearizable.unwrap_or(source.status.revision),
        quorum: linearizable.is_some(),
        warnings,
    })
}

/// HashKV of all members at the revision of `health`.
async fn agreement_of(source: &Source, health: &Health) -> Verdict {
    let own = source.status.member_id;
    let others = health.members.iter().filter(|member| member.id != own);
    let (mut answers, mine) = tokio::join!(
        join_all(others.map(|member| ask_peer(member, &source.options, health.revision))),
        ask(&source.client, own, health.revision)
    );
    answers.push(mine);
    answers.sort_by_key(|answer| answer.member);
    agreement::weigh(health.revision, own, &answers)
}

async fn ask_peer(member: &Member, options: &ConnectOptions, revision: Revision) -> Answer {
    let mut reason = "it advertises no client URL".to_owned();
    for url in &member.client_urls {
        let mut options = options.at(url);
        options.dial_timeout = options.dial_timeout.min(PEER_PATIENCE);
        match Client::connect(&options).await {
            Ok(client) => return ask(&client, member.id, revision).await,
            Err(error) => reason = error.to_string(),
        }
    }
    Answer { member: member.id, result: Err(reason) }
}

async fn ask(client: &Client, member: MemberId, revision: Revision) -> Answer {
    let mut tries = 0;
    let result = loop {
        match client.hash_kv(Some(revision)).await {
            Ok(hash) => {
                break Ok(MemberHash { compact_revision: hash.compact_revision, hash: hash.hash });
            }
            // A follower may be an instant behind the revision that the leader told.
            Err(NodeError::Revision { message, .. })
                if message.contains("future") && tries < 20 =>
            {
                tries += 1;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => break Err(error.to_string()),
        }
    };
    Answer { member, result }
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
