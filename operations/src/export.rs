//! Writes a snapshot as the plain file that `etcdctl snapshot save` writes.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use etcdr_repository::{Identities, Repository, SnapshotName};
use etcdr_restore_engine::outfile::OutFile;
use etcdr_schemas::{ClusterName, Progress, Sha256Digest, SnapshotId};
use tokio::task::spawn_blocking;

pub use error::Error;

use crate::stop::StopFlag;

mod error;

/// Where the file goes.
pub struct Destination(Sink);

enum Sink {
    File(PathBuf),
    Stream(Box<dyn Write + Send>),
}

impl Destination {
    /// A file that must not exist, mode 0600: it is there whole or not at all.
    ///
    /// # Errors
    /// [`Error::Exists`].
    pub fn file(path: PathBuf) -> Result<Self, Error> {
        match path.symlink_metadata().is_ok() {
            true => Err(Error::Exists { path }),
            false => Ok(Self(Sink::File(path))),
        }
    }

    /// Whatever takes bytes. Its reader must not use them before the export has ended well.
    #[must_use]
    pub fn stream(out: Box<dyn Write + Send>) -> Self {
        Self(Sink::Stream(out))
    }
}

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The snapshot.
    pub id: SnapshotId,
    /// Bytes that were written.
    pub size: u64,
    /// Their digest: what the manifest says, and what they were compared with.
    pub sha256: Sha256Digest,
}

/// Writes a snapshot, decrypted and unpacked, and checked against every recorded digest. `stop`
/// ends it between two chunks.
///
/// # Errors
/// [`Error`]; no file has the name that was asked for then. A stream may have had all bytes but the
/// last ones.
pub async fn snapshot(
    repository: &Repository,
    cluster: &ClusterName,
    name: &SnapshotName,
    identities: &Identities,
    destination: Destination,
    progress: &Arc<dyn Progress>,
    stop: &StopFlag,
) -> Result<Exported, Error> {
    let id = repository.resolve(cluster, name).await?;
    let image = repository.manifest(cluster, &id).await?.manifest.image;
    let chunks = stop.guard(repository.open_image(&image, identities).await?.chunks());
    progress.begin("exporting", Some(image.plain_size));
    let shown = Arc::clone(progress);
    let size = spawn_blocking(move || write(chunks, destination, shown.as_ref())).await??;
    Ok(Exported { id, size, sha256: image.plain_sha256 })
}

/// A file is written under a temporary name, synced, and renamed.
fn write(
    chunks: impl Iterator<Item = io::Result<Bytes>>,
    Destination(sink): Destination,
    progress: &dyn Progress,
) -> Result<u64, Error> {
    match sink {
        Sink::Stream(mut out) => Ok(copy(chunks, &mut out, progress)?),
        Sink::File(path) => {
            let mut file = OutFile::create(&path)?;
            let size = copy(chunks, &mut file, progress)?;
            file.commit()?;
            Ok(size)
        }
    }
}

fn copy(
    chunks: impl Iterator<Item = io::Result<Bytes>>,
    out: &mut dyn Write,
    progress: &dyn Progress,
) -> io::Result<u64> {
    let mut size = 0;
    for chunk in chunks {
        let chunk = chunk?;
        out.write_all(&chunk)?;
        size += chunk.len() as u64;
        progress.advance(chunk.len() as u64);
    }
    out.flush()?;
    progress.end();
    Ok(size)
}
