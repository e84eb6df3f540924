//! The one error of this crate.

use std::io;
use std::path::{Path, PathBuf};

use etcdr_schemas::report::Finding;
use etcdr_schemas::{Diagnose, Diagnosis, ExitCode, Revision, Sha256Digest, TargetVersion};

use crate::format::bolt::Problem;

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
        /// The error of the medium. An image's reader may have wrapped its own error in it.
        source: io::Error,
    },
    /// A local file or directory could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Local {
        /// A verb: `open`, `write`, `rename`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// Database pages could not be written to their destination.
    #[error("cannot write page {page} of the database: {source}")]
    Write {
        /// Number of the page.
        page: u64,
        /// The error of the destination.
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
        /// What exceeds the limit.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The database does not hold the state of this revision.
    #[error("revision {asked} is not in the database, which covers {oldest} to {newest}")]
    NotCovered {
        /// The revision that was asked for.
        asked: Revision,
        /// Oldest revision that the database covers.
        oldest: Revision,
        /// Newest revision that it covers.
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
    /// The source was written by an etcd that is newer than all that are known here.
    #[error("the source has {what} {version}, and this version of etcdr knows etcd up to {newest}")]
    Newer {
        /// `storage version`, `cluster version`.
        what: &'static str,
        /// What the source says.
        version: String,
        /// The newest minor that is known.
        newest: TargetVersion,
    },
    /// What was asked for does not make sense.
    #[error("{message}")]
    Request {
        /// Which rule is broken, and by what.
        message: String,
    },
    /// The source of a restore could not be read to its end.
    #[error("the source cannot be read: {source}")]
    Source {
        /// The error of the source. It may wrap another crate's error.
        source: io::Error,
    },
    /// The source is not the one that the plan was made for.
    #[error(
        "the source is not what was planned with: {what} is {actual} where {expected} was expected"
    )]
    NotAsPlanned {
        /// Which fact differs.
        what: &'static str,
        /// What the plan or the manifest says.
        expected: String,
        /// What was received.
        actual: String,
    },
    /// A file that is neither a whole database nor one with its digest.
    #[error(
        "a file of {size} bytes does not end with etcd's digest, and is not whole database pages \
         either"
    )]
    NoDigest {
        /// Its size in bytes.
        size: u64,
    },
    /// Structural checks found damage.
    #[error("{}", damage(findings))]
    Damaged {
        /// What was found, worst included.
        findings: Vec<Finding>,
    },
    /// Something is where the restore should go.
    #[error("{} exists and is not empty", path.display())]
    Occupied {
        /// The directory.
        path: PathBuf,
    },
    /// Another process works there.
    #[error("{} is in use: {by}", path.display())]
    Busy {
        /// The directory or file.
        path: PathBuf,
        /// By whom.
        by: &'static str,
    },
    /// The file system is too full.
    #[error("{} has {available} bytes free, and the restore needs {needed} there", path.display())]
    NoSpace {
        /// A directory on that file system.
        path: PathBuf,
        /// Bytes needed on it.
        needed: u64,
        /// Bytes free on it.
        available: u64,
    },
    /// What was written differs when it is read back.
    #[error("what was written to {} does not read back: {reason}", path.display())]
    SelfCheck {
        /// The file.
        path: PathBuf,
        /// What differs.
        reason: String,
    },
    /// A write-ahead log is damaged.
    #[error("the log {} is damaged at byte {offset}: {reason}", path.display())]
    Wal {
        /// The segment, or the directory.
        path: PathBuf,
        /// Offset of the record in bytes.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// One of the threads that read together ended early: a programming error.
    #[error("a thread that read the database stopped early")]
    Stopped,
    /// A `.snap` file is damaged.
    #[error("the raft snapshot {} is damaged: {reason}", path.display())]
    Snap {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// One sentence for the worst finding, and how many there are besides.
fn damage(findings: &[Finding]) -> String {
    let Some(worst) = findings.iter().max_by_key(|finding| finding.severity) else {
        return "the database is damaged".to_owned();
    };
    let more = match findings.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    format!("the database is damaged: {} at {}: {}{more}", worst.code, worst.place, worst.message)
}

impl Error {
    /// A local file or directory could not be read or written.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Local { action, path: path.to_owned(), source }
    }

    /// What was asked for does not make sense.
    pub(crate) const fn request(message: String) -> Self {
        Self::Request { message }
    }
}

/// Sentences that several errors share: what is safe.
const ONLY_READ: &str = "The database was only read; nothing was written.";
const SOURCE_READ: &str = "The source was only read; nothing that existed before was changed.";
const TARGET_KEPT: &str = "The target is as it was: what had been staged beside it is removed.";
const NOTHING_MOVED: &str = "Nothing was written or moved.";

const ANOTHER_SNAPSHOT: &str = "Take another snapshot; `etcdr snapshot list` shows what there is.";
const CHECK_FILE: &str = "Check that the file is an etcd snapshot or a copy of member/snap/db.";
const REPORT_THIS: &str = "Report this: it is outside what etcdr was built for.";
const CHECK_DISK: &str = "Check permissions, free space and the disk, then try again.";

impl Diagnose for Error {
    fn diagnosis(&self) -> Diagnosis {
        use ExitCode::{Claimed, Damaged, Failed, NotCovered, Usage};
        match self {
            Self::Read { source, .. } => {
                let next = "Check the medium or the network, then try again.";
                Diagnosis::transient(Failed, ONLY_READ, next).caused_by(source)
            }
            Self::Local { source, .. } | Self::Write { source, .. } => {
                Diagnosis::transient(Failed, SOURCE_READ, CHECK_DISK).caused_by(source)
            }
            Self::Source { source } => {
                let next = "Check the source or the network, then try again.";
                Diagnosis::transient(Failed, TARGET_KEPT, next).caused_by(source)
            }
            Self::NotBolt { .. } | Self::NotEtcd { .. } => {
                Diagnosis::permanent(Damaged, ONLY_READ, CHECK_FILE)
            }
            Self::Page { .. }
            | Self::Row { .. }
            | Self::Digest { .. }
            | Self::Length { .. }
            | Self::Wal { .. }
            | Self::Snap { .. } => Diagnosis::permanent(Damaged, ONLY_READ, ANOTHER_SNAPSHOT),
            Self::NotAsPlanned { .. } | Self::Damaged { .. } => {
                Diagnosis::permanent(Damaged, TARGET_KEPT, ANOTHER_SNAPSHOT)
            }
            Self::NoDigest { .. } => Diagnosis::permanent(
                Damaged,
                TARGET_KEPT,
                "Check that it was copied whole. `--skip-hash-check` restores it all the same.",
            ),
            Self::Limit { .. } | Self::Stopped => {
                Diagnosis::permanent(Failed, ONLY_READ, REPORT_THIS)
            }
            Self::Rows { .. } => Diagnosis::permanent(Failed, SOURCE_READ, REPORT_THIS),
            Self::NotCovered { .. } => Diagnosis::permanent(
                NotCovered,
                ONLY_READ,
                "Ask for a revision in that range, or take an older snapshot.",
            ),
            Self::Newer { newest, .. } => {
                Diagnosis::permanent(Failed, NOTHING_MOVED, downgrade(*newest))
            }
            Self::Request { .. } => Diagnosis::permanent(
                Usage,
                ONLY_READ,
                "Correct the command line; `etcdr restore --help` explains it.",
            ),
            Self::Occupied { .. } => Diagnosis::permanent(
                Failed,
                NOTHING_MOVED,
                "Choose another directory, or say --replace to move it aside (never deleted).",
            ),
            Self::Busy { .. } => Diagnosis::transient(
                Claimed,
                NOTHING_MOVED,
                "Stop the process that uses it, then try again.",
            ),
            Self::NoSpace { .. } => Diagnosis::transient(
                Failed,
                TARGET_KEPT,
                "Free space there, or choose another target.",
            ),
            Self::SelfCheck { .. } => Diagnosis::permanent(
                Failed,
                TARGET_KEPT,
                "Check the disk and the memory of this machine.",
            ),
        }
    }
}

fn downgrade(newest: TargetVersion) -> String {
    format!(
        "Use a newer etcdr. Or restore with the etcdutl of that etcd, start it, say `etcdctl \
         downgrade enable {newest}`, wait until it is done, and save a new snapshot."
    )
}
