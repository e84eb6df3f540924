//! The one error type of this crate: what happened, and whose fault it is.

mod advice;
mod fault;

use std::io;

use etcdr_schemas::diagnose::{carry, uncarry};
use etcdr_schemas::manifest::ManifestError;
use etcdr_schemas::{ClusterName, Sha256Digest, SnapshotId};

pub use fault::StoreFault;

/// Error of a caller's own stage (a [`crate::Tap`]), carried through unchanged.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong with a repository.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is not the URL of a repository.
    #[error("{text:?} is not a repository URL: {reason}")]
    BadLocation {
        /// What was given, without secrets.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The directory that a local repository should be made in is not there.
    #[error("cannot make the repository directory {path}: its parent directory does not exist")]
    ParentMissing {
        /// Directory of the repository.
        path: String,
    },
    /// There is no repository.
    #[error("there is no repository at {location}: {detail}")]
    RepositoryMissing {
        /// Its URL.
        location: String,
        /// What exactly is missing.
        detail: String,
    },
    /// `init` on something that is a repository already.
    #[error("{location} is a repository already (id {id})")]
    AlreadyRepository {
        /// Its URL.
        location: String,
        /// The id of the repository that is there.
        id: String,
    },
    /// A later format.
    #[error(
        "the repository at {location} has format {found}; this version of etcdr reads format 1"
    )]
    UnknownFormat {
        /// Its URL.
        location: String,
        /// The number in `etcdr.json`.
        found: u64,
    },
    /// Neither a recipient nor an explicit wish to do without.
    #[error("no recipient to encrypt to")]
    NoRecipients,
    /// A recipient that cannot be used.
    #[error("{text:?} is not a recipient: {reason}")]
    BadRecipient {
        /// The text; recipients are public.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A snapshot name that cannot be read.
    #[error("{text:?} is not a snapshot name: {reason}")]
    BadName {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No snapshot goes by that name.
    #[error("cluster {cluster} has no snapshot {name}{}", Nearest(nearest))]
    UnknownSnapshot {
        /// The cluster.
        cluster: ClusterName,
        /// What was asked for.
        name: String,
        /// At most five ids that come close.
        nearest: Vec<SnapshotId>,
    },
    /// Several snapshots go by that name.
    #[error("{name:?} fits {count} snapshots of cluster {cluster}: {}", List(first))]
    AmbiguousSnapshot {
        /// The cluster.
        cluster: ClusterName,
        /// What was asked for.
        name: String,
        /// How many fit.
        count: usize,
        /// The newest five.
        first: Vec<SnapshotId>,
    },
    /// More manifests than a listing holds.
    #[error("cluster {cluster} has more than {limit} snapshots")]
    TooManySnapshots {
        /// The cluster.
        cluster: ClusterName,
        /// The limit.
        limit: usize,
    },
    /// Someone else was first.
    #[error("{key} exists already: another process has written it")]
    Claimed {
        /// Key of the object.
        key: String,
    },

    /// A retention that cannot be followed.
    #[error("the retention cannot be followed: {what}")]
    BadPolicy {
        /// What is wrong with it.
        what: String,
    },

    /// An encrypted image and no identity at all.
    #[error("{key} is encrypted to {}, and no identity was given", List(recipients))]
    NoIdentity {
        /// Key of the image.
        key: String,
        /// The recipients that the manifest lists.
        recipients: Vec<String>,
    },
    /// None of the identities opens the image.
    #[error("none of the identities opens {key}, which is encrypted to {}", List(recipients))]
    WrongIdentity {
        /// Key of the image.
        key: String,
        /// The recipients that the manifest lists.
        recipients: Vec<String>,
    },
    /// An identity or key file that cannot be used.
    #[error("{origin} is not a usable key: {reason}")]
    BadKey {
        /// The file.
        origin: String,
        /// What is wrong with it; never its content.
        reason: String,
    },
    /// A public key is configured and the manifest has no signature.
    #[error("the manifest of {id} is not signed, and a public key is configured")]
    Unsigned {
        /// The snapshot.
        id: SnapshotId,
    },
    /// The signature does not fit manifest and public key.
    #[error("the signature of the manifest of {id} is not good: {reason}")]
    BadSignature {
        /// The snapshot.
        id: SnapshotId,
        /// What is wrong.
        reason: String,
    },
    /// A report is not the one that was signed.
    #[error("the signature of {key} is not good: {reason}")]
    BadReportSignature {
        /// Key of the report.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// Encryption itself failed, e.g. a plugin that is not installed.
    #[error("cannot encrypt: {reason}")]
    Encrypt {
        /// What age says.
        reason: String,
    },

    /// The object store refused or failed.
    #[error("{operation} {key}: {fault}: {}", WithCauses(source))]
    Store {
        /// What was tried, e.g. `read`.
        operation: &'static str,
        /// Key under the repository's root.
        key: String,
        /// Whose fault it is.
        fault: StoreFault,
        /// What the store said.
        source: Box<object_store::Error>,
    },
    /// A local file could not be read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },

    /// A manifest without its image.
    #[error("the image {key} is gone")]
    ImageMissing {
        /// Key of the image.
        key: String,
    },
    /// The stored object has another size.
    #[error("{key} has {found} bytes and should have {expected}")]
    SizeMismatch {
        /// Key of the image.
        key: String,
        /// Size in the manifest, in bytes.
        expected: u64,
        /// Size in the store, in bytes.
        found: u64,
    },
    /// A digest does not match.
    #[error("the SHA-256 of {what} of {key} is {found} and should be {expected}")]
    DigestMismatch {
        /// Key of the image.
        key: String,
        /// `the stored bytes` or `the content`.
        what: &'static str,
        /// The digest that is recorded.
        expected: Sha256Digest,
        /// The digest that was computed.
        found: Sha256Digest,
    },
    /// Bytes that cannot be what they should be.
    #[error("{key} is damaged: {reason}")]
    Damaged {
        /// Key or path.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// A manifest that cannot be used.
    #[error("{key}: {source}")]
    Manifest {
        /// Key of the manifest.
        key: String,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// An archive in which it is not clear which file is the snapshot.
    #[error("{path}: {reason}")]
    Archive {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },

    /// The caller's own stage refused the bytes.
    #[error("{0}")]
    Tap(#[source] BoxError),
    /// Compression failed.
    #[error("cannot compress: {0}")]
    Compress(#[source] io::Error),
    /// A stage ended because its neighbour did; the neighbour's error is the one to report.
    #[error("the upload was stopped")]
    Stopped,
    /// A worker thread died.
    #[error("a worker failed: {0}")]
    Worker(String),
}

impl Error {
    pub(crate) fn store(
        operation: &'static str,
        key: impl std::fmt::Display,
        source: object_store::Error,
    ) -> Self {
        let fault = StoreFault::of(&source);
        Self::Store { operation, key: key.to_string(), fault, source: Box::new(source) }
    }

    pub(crate) fn damaged(key: impl std::fmt::Display, reason: impl Into<String>) -> Self {
        Self::Damaged { key: key.to_string(), reason: reason.into() }
    }

    /// The store's fault, where it is one.
    #[must_use]
    pub const fn store_fault(&self) -> Option<StoreFault> {
        match self {
            Self::Store { fault, .. } => Some(*fault),
            _ => None,
        }
    }

    /// Takes this crate's error back out of an `io::Error`; any other one means damaged data.
    pub(crate) fn from_io(key: &str, error: io::Error) -> Self {
        uncarry(error).unwrap_or_else(|other| Self::damaged(key, other.to_string()))
    }

    /// Wraps this error for readers; [`uncarry`] gets it back.
    pub(crate) fn into_io(self) -> io::Error {
        carry(self)
    }
}

/// `a, b, c`, of strings or ids.
struct List<'a, T>(&'a [T]);

impl<T: std::fmt::Display> std::fmt::Display for List<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nobody that is listed");
        }
        self.0.iter().enumerate().try_for_each(|(index, item)| {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{item}")
        })
    }
}

/// `; nearest: …`, or nothing.
struct Nearest<'a>(&'a [SnapshotId]);

impl std::fmt::Display for Nearest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "; nearest: {}", List(self.0)) }
    }
}

/// An error with its causes, each once: stores repeat the cause in their own text or leave it out.
struct WithCauses<'a>(&'a object_store::Error);

impl std::fmt::Display for WithCauses<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = self.0.to_string();
        let mut cause = std::error::Error::source(self.0);
        for _ in 0..8 {
            let Some(error) = cause else { break };
            let next = error.to_string();
            if !text.contains(&next) {
                text = format!("{text}: {next}");
            }
            cause = error.source();
        }
        f.write_str(&text.chars().take(600).collect::<String>())
    }
}
