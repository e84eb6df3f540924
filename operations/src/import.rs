//! Stores a snapshot file as a snapshot of the repository.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use etcdr_repository::{Repository, SealOptions, SigningKey};
use etcdr_restore_engine::Error as EngineError;
use etcdr_restore_engine::stream::Form;
use etcdr_restore_engine::stream::refile;
use etcdr_schemas::manifest::{self, ImageKind, Manifest, Source};
use etcdr_schemas::{ClusterName, Progress};
use futures_util::stream;
use tokio::sync::mpsc;

use crate::capture::ingest::{self, Ingested, Target};
use crate::capture::{Saved, Stages};
use crate::{Clock, Error};

/// What to import, and how.
pub struct ImportRequest {
    /// Name of the cluster in the repository.
    pub cluster: ClusterName,
    /// What the manifest names as the source: the file's path.
    pub label: String,
    /// How the image is packed.
    pub seal: SealOptions,
    /// Signs the manifest.
    pub signing_key: Option<SigningKey>,
    /// Random part of the snapshot's id.
    pub nonce: u32,
    /// Version recorded in the manifest.
    pub tool_version: String,
}

/// Blocking chunks of an unpacked file: a snapshot file, or a copy of `member/snap/db`.
pub type Chunks = Box<dyn Iterator<Item = io::Result<Bytes>> + Send>;

/// Chunks between the reading thread and the upload; each is at most a few MiB.
const QUEUE: usize = 4;

/// Stores a file as a snapshot, with the same checks that a capture makes.
///
/// # Errors
/// [`Error`]; no manifest was written.
pub async fn import(
    repository: &Repository,
    request: ImportRequest,
    chunks: Chunks,
    clock: &Clock,
    progress: &Arc<dyn Progress>,
) -> Result<Saved, Error> {
    let started_at = clock();
    let (send, mut receive) = mpsc::channel(QUEUE);
    let reader = tokio::task::spawn_blocking(move || read(chunks, &send));
    let stream = stream::poll_fn(move |context| receive.poll_recv(context));
    progress.begin("importing", None);
    let target = Target {
        repository,
        cluster: &request.cluster,
        seal: request.seal,
        started_at,
        nonce: request.nonce,
        pace: None,
    };
    let Ingested { id, proven, scanned, .. } = ingest::run(target, stream, progress).await?;
    let form = reader.await.ok().flatten();
    let facts = scanned.facts;
    let manifest = Manifest {
        format: manifest::FORMAT,
        kind: ImageKind::Imported,
        id,
        cluster: request.cluster,
        cluster_id: None,
        members: Vec::new(),
        source: Source {
            endpoint: request.label,
            storage_version: facts.storage_version,
            ..Source::default()
        },
        revision: facts.revision,
        compact_revision: facts.compact_revision,
        raft_term: facts.raft_term,
        raft_index: facts.raft_index,
        db_size: facts.db_size,
        db_size_in_use: None,
        started_at,
        finished_at: clock(),
        image: proven.describe(scanned.plain_sha256),
        hash_kv: None,
        alarms: Vec::new(),
        suspect: Vec::new(),
        trigger: None,
        tool_version: request.tool_version,
        previous_manifest_sha256: None,
        extra: serde_json::Map::new(),
    };
    let manifest = repository.commit(manifest, request.signing_key.as_ref()).await?;
    Ok(Saved { manifest, warnings: warnings(form), stages: Stages::default() })
}

fn warnings(form: Option<Form>) -> Vec<String> {
    match form {
        Some(Form::RawDatabase) => vec![
            "the file is a raw database: no digest covered it before the import; check it with \
             `etcdr verify --level structure`"
                .to_owned(),
        ],
        _ => Vec::new(),
    }
}

/// Runs on a blocking thread. An error is sent as the last item of the channel, and `None` is
/// returned.
fn read(chunks: Chunks, send: &mpsc::Sender<Result<Bytes, EngineError>>) -> Option<Form> {
    let mut out = |bytes| {
        let gone = |_| io::Error::other("the upload has stopped");
        send.blocking_send(Ok(bytes)).map_err(gone)
    };
    match refile::as_snapshot_file(chunks, &mut out) {
        Ok(form) => Some(form),
        Err(error) => {
            // A receiver that is gone has an error of its own to report.
            let _ = send.blocking_send(Err(error));
            None
        }
    }
}
