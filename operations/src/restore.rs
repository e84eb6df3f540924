//! Restores from a source to a receipt: opened, planned, carried out, each a state of its own.
//!
//! ```text
//! open_snapshot, open_image, open_file ─▶ Opened
//!     ─ plan ─▶ Planned ─ (preflight) ─ carry_out ─▶ receipt
//! ```
//! The engine decides and writes ([`etcdr_restore_engine`]); here its source is found, in a
//! repository or a file, and its blocking work is kept off the threads that drive connections.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use etcdr_repository::{Identities, Repository, SnapshotName, archive, names};
use etcdr_restore_engine::local::LocalFile;
use etcdr_restore_engine::membership::InitialCluster;
use etcdr_restore_engine::plan::{
    self, Bump, DEFAULT_BUMP_MARGIN, Plan, RestoreRequest, Selection, Target,
};
use etcdr_restore_engine::restore as engine;
use etcdr_restore_engine::stream::{Expected, Source};
use etcdr_schemas::manifest::{ImageKind, Manifest};
use etcdr_schemas::report::{RestorePlan, RestoreReceipt};
use etcdr_schemas::{ClusterName, Progress, Revision, SnapshotId, TargetVersion};
use tokio::task::spawn_blocking;

pub use error::Error;

use crate::Clock;
use crate::stop::StopFlag;

mod error;

/// Blocking chunks of the plain snapshot file.
type Chunks = Box<dyn Iterator<Item = io::Result<Bytes>> + Send>;

/// A source that is ready to be planned for and to be read.
pub struct Opened {
    source: Source,
    chunks: Chunks,
    highest_seen: Option<Revision>,
    taken_at: Option<DateTime<Utc>>,
}

/// How to restore, whatever the source is.
#[derive(Debug)]
pub struct RestoreOptions {
    /// All members of the new cluster.
    pub initial_cluster: InitialCluster,
    /// The new cluster's token. Fresh and random unless the caller's user insists on one.
    pub token: String,
    /// The members that this run writes.
    pub targets: Vec<Target>,
    /// The etcd minor that will start them; `None` for one that suits all.
    pub target_version: Option<TargetVersion>,
    /// How far to raise the revision.
    pub raise: Raise,
    /// Whether everything before the raised revision is marked as compacted; needs a raise of the
    /// revision, and a raise by [`Raise::Auto`] does it always.
    pub mark_compacted: bool,
    /// Whether what is in the way is moved aside.
    pub replace: bool,
    /// Whether etcd's digest at the end of the snapshot is left unchecked.
    pub skip_hash_check: bool,
    /// Whether alarms of the source stay raised.
    pub keep_alarms: bool,
    /// What of the source is restored. Without a time of its own, it was taken when the manifest
    /// says.
    pub selection: Selection,
    /// The time, for the names of what is moved aside and of stages.
    pub now: DateTime<Utc>,
}

/// How far to raise the revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Raise {
    /// Above all that the repository has seen of the cluster, by a margin.
    Auto,
    /// By a number; 0 leaves it where it was.
    By(i64),
}

/// A restore that is decided, and whose source is ready to be read.
pub struct Planned {
    plan: Plan,
    chunks: Chunks,
}

/// Opens a snapshot of a repository by its name.
///
/// # Errors
/// [`Error`]: the snapshot is not there, its manifest cannot be used, or the image does not open
/// with these keys.
pub async fn open_snapshot(
    repository: &Repository,
    cluster: &ClusterName,
    name: &SnapshotName,
    identities: &Identities,
) -> Result<Opened, Error> {
    let ids = repository.list(cluster).await?.ids;
    let id = names::resolve(cluster, &ids, name)?;
    let manifest = repository.manifest(cluster, &id).await?.manifest;
    let opened = open_image(repository, &manifest, identities).await?;
    // Of all snapshots, not of this one only: clients may have seen the newest of these revisions,
    // and the new cluster has to begin above it.
    Ok(Opened { highest_seen: ids.iter().map(SnapshotId::revision).max(), ..opened })
}

/// Opens the image of a manifest that is known. Other snapshots of the cluster are not read.
///
/// # Errors
/// [`Error`]: the image is not there, or does not open with these keys, or is no snapshot.
pub async fn open_image(
    repository: &Repository,
    manifest: &Manifest,
    identities: &Identities,
) -> Result<Opened, Error> {
    let image = repository.open_image(&manifest.image, identities).await?;
    let (label, random) = (manifest.id.to_string(), image.random());
    let expected = Expected {
        size: manifest.image.plain_size,
        sha256: manifest.image.plain_sha256,
        by_reader: true,
    };
    let source = spawn_blocking(move || Source::inspect(label, random, Some(expected))).await??;
    Ok(Opened {
        source,
        chunks: Box::new(image.chunks()),
        highest_seen: None,
        // An imported file was taken at a time that nobody noted.
        taken_at: (manifest.kind == ImageKind::Full).then_some(manifest.started_at),
    })
}

/// Opens a snapshot file or a copy of `member/snap/db`, plain or packed.
///
/// # Errors
/// [`Error`]: the file cannot be read, or is no snapshot.
pub async fn open_file(path: PathBuf) -> Result<Opened, Error> {
    let label = path.display().to_string();
    let inspected = path.clone();
    let source = spawn_blocking(move || inspect_file(label, &inspected)).await??;
    let chunks = Box::new(archive::open(&path)?);
    Ok(Opened { source, chunks, highest_seen: None, taken_at: None })
}

/// A plain file is read at random; an archive must be read through once, here, and once more by the
/// restore.
fn inspect_file(label: String, path: &Path) -> Result<Source, Error> {
    if archive::is_plain(path)? {
        Ok(Source::inspect(label, LocalFile::open(path)?, None)?)
    } else {
        Ok(Source::inspect_stream(label, archive::open(path)?)?)
    }
}

impl Opened {
    /// What the source holds, as far as a plan must know.
    #[must_use]
    pub const fn source(&self) -> &Source {
        &self.source
    }

    /// Decides what will be done. Nothing is written, and the targets are not read.
    ///
    /// # Errors
    /// [`Error::Engine`] for options that contradict one another or do not fit this source.
    pub fn plan(self, wanted: RestoreOptions) -> Result<Planned, Error> {
        let Self { source, chunks, highest_seen, taken_at } = self;
        let bump = match wanted.raise {
            Raise::Auto => Bump::Auto { highest_seen, margin: DEFAULT_BUMP_MARGIN },
            Raise::By(by) => Bump::By(by),
        };
        let selection = wanted.selection;
        let plan = plan::plan(RestoreRequest {
            source,
            initial_cluster: wanted.initial_cluster,
            token: wanted.token,
            targets: wanted.targets,
            target_version: wanted.target_version,
            bump,
            mark_compacted: wanted.mark_compacted,
            replace: wanted.replace,
            skip_hash_check: wanted.skip_hash_check,
            keep_alarms: wanted.keep_alarms,
            selection: Selection { taken_at: selection.taken_at.or(taken_at), ..selection },
            now: wanted.now,
        })?;
        Ok(Planned { plan, chunks })
    }
}

impl Planned {
    /// What will be done.
    #[must_use]
    pub const fn report(&self) -> &RestorePlan {
        &self.plan.report
    }

    /// What would be done, of a plan that is not carried out.
    #[must_use]
    pub fn into_report(self) -> RestorePlan {
        self.plan.report
    }

    /// Checks whether the targets are free and have room, and changes nothing.
    ///
    /// # Errors
    /// [`Error::Engine`] for a target that [`Planned::carry_out`] would refuse before it reads the
    /// source.
    pub fn preflight(&self) -> Result<(), Error> {
        Ok(engine::preflight(&self.plan)?)
    }

    /// Carries the plan out on a blocking thread. `stop` ends it between two chunks of the source.
    ///
    /// # Errors
    /// [`Error`] for a target that is in the way or too small, a source that is damaged, cut or not
    /// the one that was planned with, and for a disk that fails. The target is untouched then.
    pub async fn carry_out(
        self,
        clock: Arc<Clock>,
        progress: Arc<dyn Progress>,
        stop: &StopFlag,
    ) -> Result<RestoreReceipt, Error> {
        let Self { plan, chunks } = self;
        let chunks = stop.guard(chunks);
        let work = move || engine::restore(&plan, chunks, &*clock, progress.as_ref());
        Ok(spawn_blocking(work).await??)
    }
}
