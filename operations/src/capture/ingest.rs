//! Moves the bytes of a snapshot file into the repository, scans them on the way, and proves what
//! was stored by reading it back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use etcdr_repository::{
    BoxError, Error as RepositoryError, ImageUpload, ProvenImage, Repository, SealOptions, Tap,
};
use etcdr_restore_engine::Error as EngineError;
use etcdr_restore_engine::stream::{ScannedSnapshot, SnapshotScanner};
use etcdr_schemas::{ClusterName, Progress, SnapshotId};
use futures_util::{Stream, StreamExt as _, pin_mut};
use tokio::time::Instant;

use super::{Pace, Stages};
use crate::Error;

/// Where and how an image is stored.
pub(crate) struct Target<'a> {
    pub(crate) repository: &'a Repository,
    pub(crate) cluster: &'a ClusterName,
    pub(crate) seal: SealOptions,
    pub(crate) started_at: DateTime<Utc>,
    pub(crate) nonce: u32,
    pub(crate) pace: Option<&'a Pace>,
}

/// An image that a manifest may be written for.
pub(crate) struct Ingested {
    pub(crate) id: SnapshotId,
    pub(crate) proven: ProvenImage,
    pub(crate) scanned: ScannedSnapshot,
    pub(crate) timing: Timing,
}

/// How long the parts took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    stream: Duration,
    upload: Duration,
    read_back: Duration,
}

impl Timing {
    /// Adds them to the stages that are known already.
    pub(crate) const fn into_stages(self, stages: Stages) -> Stages {
        let Self { stream, upload, read_back } = self;
        Stages { stream, upload, read_back, ..stages }
    }
}

/// Stores all of `stream`, gives it the name that its own bytes ask for, and reads it back.
///
/// The upload is completed only when the scanner has found the bytes to be a whole snapshot whose
/// digest matches. After an error nothing is left but, where the store failed too, an orphan that
/// nobody refers to.
pub(crate) async fn run<E: Into<Error>>(
    target: Target<'_>,
    stream: impl Stream<Item = Result<Bytes, E>>,
    progress: &Arc<dyn Progress>,
) -> Result<Ingested, Error> {
    let Target { repository, cluster, seal, started_at, nonce, pace } = target;
    let tap = ScanTap::Scanning(SnapshotScanner::new());
    let began = Instant::now();
    let mut upload = repository.begin_image(cluster, seal, started_at, nonce, tap).await?;
    let filling = fill(&mut upload, stream, progress, pace);
    let filled = match pace {
        Some(pace) => pace.bound(filling).await,
        None => filling.await,
    };
    if let Err(error) = filled {
        upload.abort().await;
        return Err(error);
    }
    let streamed = began.elapsed();
    let (staged, tap) = upload.finish().await.map_err(engine_first)?;
    progress.end();
    let ScanTap::Scanned(scanned) = tap else { return Err(RepositoryError::Stopped.into()) };
    // The id names the revision that the bytes hold, not the one that etcd reported before: writes
    // go on while it streams.
    let id = SnapshotId::new(started_at, scanned.facts.revision, nonce);
    let stored = repository.publish_image(staged, &id).await?;
    let uploaded = began.elapsed();
    // Read back before a manifest can name it: a restore gets what the store returns, and not what
    // was sent to it.
    match repository.read_back(&stored).await {
        Ok(proven) => {
            let timing = Timing {
                stream: streamed,
                upload: uploaded.saturating_sub(streamed),
                read_back: began.elapsed().saturating_sub(uploaded),
            };
            Ok(Ingested { id, proven, scanned, timing })
        }
        Err(error) => {
            // The read-back's error is the one to report; an orphan does no harm.
            let _ = repository.discard(stored).await;
            Err(error.into())
        }
    }
}

async fn fill<E: Into<Error>>(
    upload: &mut ImageUpload<ScanTap>,
    stream: impl Stream<Item = Result<Bytes, E>>,
    progress: &Arc<dyn Progress>,
    pace: Option<&Pace>,
) -> Result<(), Error> {
    pin_mut!(stream);
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(Into::into)?;
        let bytes = chunk.len() as u64;
        progress.advance(bytes);
        if let Some(pace) = pace {
            // Before it is written: with the last bytes etcd is done, however slow the store is.
            pace.taken(bytes).await;
        }
        upload.write(chunk).await.map_err(engine_first)?;
    }
    Ok(())
}

/// Scans what flows by: etcd's digest, and the facts that the manifest records.
enum ScanTap {
    Scanning(SnapshotScanner),
    Scanned(ScannedSnapshot),
}

impl Tap for ScanTap {
    fn feed(&mut self, chunk: &[u8]) -> Result<(), BoxError> {
        match self {
            Self::Scanning(scanner) => Ok(scanner.push(chunk)?),
            Self::Scanned(_) => Ok(()),
        }
    }

    fn finish(&mut self) -> Result<(), BoxError> {
        if let Self::Scanning(scanner) = self {
            *self = Self::Scanned(std::mem::take(scanner).finish()?);
        }
        Ok(())
    }
}

/// An error that the scanner raised travels through the repository; here it becomes the engine's
/// again.
fn engine_first(error: RepositoryError) -> Error {
    match error {
        RepositoryError::Tap(cause) => match cause.downcast::<EngineError>() {
            Ok(engine) => Error::Engine(*engine),
            Err(other) => Error::Repository(RepositoryError::Tap(other)),
        },
        other => Error::Repository(other),
    }
}
