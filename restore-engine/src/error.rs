//! The one error of this crate.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

use etcdr_schemas::{Diagnose, ExitCode, Revision, Sha256Digest};

use crate::bolt::Problem;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong while a database or a data directory is read, checked or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The medium failed.
    #[error("cannot read the database at byte {offset}: {source}")]
    Read {
        /// Byte offset in the database.
        offset: u64,
        /// What the medium said. An image's reader may have wrapped its own error in it.
        source: io::Error,
    },
    /// A local file or directory could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Local {
        /// A verb: `open`, `write`, `rename`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Database pages could not be written to their destination.
    #[error("cannot write page {page} of the database: {source}")]
    Write {
        /// Number of the page.
        page: u64,
        /// What the destination said.
        source: io::Error,
    },
    /// The file has no valid meta page, or one that cannot belong to this file.
    #[error("this is not an intact bbolt database: {problem}")]
    NotBolt {
        /// What is wrong.
        problem: Problem,
    },
    /// A page is damaged.
    #[error("page {page} (byte {offset}) of the database is damaged: {problem}")]
    Page {
        /// Number of the page.
        page: u64,
        /// Its byte offset.
        offset: u64,
        /// What is wrong.
        problem: Problem,
    },
    /// The database is intact, but not etcd's.
    #[error("this bbolt database is not etcd's: {reason}")]
    NotEtcd {
        /// What is missing or strange.
        reason: String,
    },
    /// A row does not hold what etcd writes.
    #[error("bucket {bucket}, row {key}: {problem}")]
    Row {
        /// Name of the bucket.
        bucket: String,
        /// Key of the row, in hex.
        key: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// The trailer of a snapshot file does not match its content.
    #[error("the snapshot's own digest says {expected}, its content has {actual}")]
    Digest {
        /// The trailer.
        expected: Sha256Digest,
        /// SHA-256 of the bytes before it.
        actual: Sha256Digest,
    },
    /// A snapshot file is not as long as its database says.
    #[error("the snapshot has {actual} bytes where its meta page says {expected} with the digest")]
    Length {
        /// Bytes of the database and its digest.
        expected: u64,
        /// Bytes that came; at least that many when the stream was refused midway.
        actual: u64,
    },
    /// A stored limit of ours was reached.
    #[error("more {what} than the {limit} that are supported")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The database does not hold the state of this revision.
    #[error("revision {asked} is not in the database, which covers {oldest} to {newest}")]
    NotCovered {
        /// What was asked for.
        asked: Revision,
        /// Oldest revision that can be told.
        oldest: Revision,
        /// Newest one.
        newest: Revision,
    },
    /// Rows that were to be written cannot be: a programming error of the caller.
    #[error("rows for bucket {bucket} cannot be written: {problem}")]
    Rows {
        /// Name of the bucket.
        bucket: String,
        /// Why.
        problem: &'static str,
    },
}

impl Diagnose for Error {
    fn is_permanent(&self) -> bool {
        !matches!(self, Self::Read { .. } | Self::Local { .. } | Self::Write { .. })
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::NotBolt { .. }
            | Self::Page { .. }
            | Self::NotEtcd { .. }
            | Self::Row { .. }
            | Self::Digest { .. }
            | Self::Length { .. } => ExitCode::Damaged,
            Self::NotCovered { .. } => ExitCode::NotCovered,
            _ => ExitCode::Failed,
        }
    }

    fn safe(&self) -> Cow<'static, str> {
        match self {
            Self::Local { .. } | Self::Write { .. } | Self::Rows { .. } => {
                "The source was only read; nothing that existed before was changed.".into()
            }
            _ => "The database was only read; nothing was written.".into(),
        }
    }

    fn next(&self) -> Cow<'static, str> {
        match self {
            Self::Read { .. } => "Check the medium or the network, then try again.".into(),
            Self::Local { .. } | Self::Write { .. } => {
                "Check permissions, free space and the disk, then try again.".into()
            }
            Self::NotBolt { .. } | Self::NotEtcd { .. } => {
                "Check that the file is an etcd snapshot or a copy of member/snap/db.".into()
            }
            Self::NotCovered { .. } => {
                "Ask for a revision in that range, or take an older snapshot.".into()
            }
            Self::Limit { .. } | Self::Rows { .. } => {
                "Report this: it is outside what etcdr was built for.".into()
            }
            _ => "Take another snapshot; `etcdr snapshot list` shows what there is.".into(),
        }
    }
}
