//! Why no snapshot was made.

use std::fmt;
use std::time::Duration;

use etcdr_schemas::{Diagnose, Diagnosis, ExitCode, SnapshotId};

/// Why no snapshot was made. Every variant means: no manifest was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// etcd could not be asked, or its stream broke.
    #[error(transparent)]
    Node(#[from] etcdr_node::Error),
    /// The bytes are not a sound snapshot.
    #[error(transparent)]
    Engine(#[from] etcdr_restore_engine::Error),
    /// The repository did not take them.
    #[error(transparent)]
    Repository(#[from] etcdr_repository::Error),
    /// etcd's read transaction was open for as long as it may be, and the stream was not over.
    #[error(
        "etcd's stream was open for {} s, the longest that it may be, and {taken} of {} had come",
        limit.as_secs_f32(), Bytes(*total)
    )]
    HeldTooLong {
        /// The longest time.
        limit: Duration,
        /// Bytes that had come.
        taken: u64,
        /// Bytes of the whole stream.
        total: u64,
    },
    /// No endpoint was given.
    #[error("no etcd endpoint was given")]
    NoEndpoint,
    /// The manifest may or may not have been written.
    #[error("the store did not answer within {limit:?} whether the manifest of {id} was written")]
    CommitUnsure {
        /// The snapshot.
        id: SnapshotId,
        /// How long it was waited for.
        limit: Duration,
    },
    /// Something of this machine that the agent needs.
    #[error("{what}: {source}")]
    Local {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
}

const NOT_RECORDED: &str =
    "No snapshot was recorded; etcd and all earlier snapshots are as they were.";
const PERHAPS_RECORDED: &str =
    "etcd and all earlier snapshots are as they were; this one is whole if it is listed.";

impl Diagnose for Error {
    fn diagnosis(&self) -> Diagnosis {
        use ExitCode::{Failed, Usage};
        let permanent = |code, next: &'static str| Diagnosis::permanent(code, NOT_RECORDED, next);
        let transient = |next: &'static str| Diagnosis::transient(Failed, NOT_RECORDED, next);
        match self {
            Self::Node(error) => error.diagnosis().with_safe(NOT_RECORDED),
            Self::Engine(error) => error.diagnosis().with_safe(NOT_RECORDED),
            Self::Repository(error) => error.diagnosis().with_safe(NOT_RECORDED),
            Self::HeldTooLong { .. } => transient(
                "Give sealed bytes a place to wait (capture.spool), raise capture.rate_limit or \
                 capture.max_hold, or use a store that takes bytes faster.",
            ),
            Self::NoEndpoint => permanent(Usage, "Name one with --endpoints or ETCDCTL_ENDPOINTS."),
            Self::CommitUnsure { .. } => {
                transient("See whether `etcdr snapshot list` shows it.").with_safe(PERHAPS_RECORDED)
            }
            Self::Local { source, .. } => {
                permanent(Failed, "Mend what is named, then start the agent again.")
                    .caused_by(source)
            }
        }
    }
}

/// A number of bytes; `u64::MAX` for a stream that did not announce its size.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            u64::MAX => f.write_str("unknown bytes"),
            bytes => write!(f, "{bytes} bytes"),
        }
    }
}
