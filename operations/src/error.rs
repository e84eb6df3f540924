//! Why no snapshot was made.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use etcdr_schemas::{Diagnose, ExitCode, SnapshotId};

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

impl Error {
    fn inner(&self) -> Option<&dyn Diagnose> {
        match self {
            Self::Node(error) => Some(error),
            Self::Engine(error) => Some(error),
            Self::Repository(error) => Some(error),
            _ => None,
        }
    }
}

impl Diagnose for Error {
    fn is_permanent(&self) -> bool {
        match self {
            Self::HeldTooLong { .. } | Self::CommitUnsure { .. } => false,
            _ => self.inner().is_none_or(Diagnose::is_permanent),
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoEndpoint => ExitCode::Usage,
            _ => self.inner().map_or(ExitCode::Failed, Diagnose::exit_code),
        }
    }

    fn safe(&self) -> Cow<'static, str> {
        match self {
            Self::CommitUnsure { .. } => {
                "etcd and all earlier snapshots are as they were; this one is whole if it is listed."
            }
            _ => "No snapshot was recorded; etcd and all earlier snapshots are as they were.",
        }
        .into()
    }

    fn next(&self) -> Cow<'static, str> {
        match self {
            Self::HeldTooLong { .. } => {
                "Give sealed bytes a place to wait (capture.spool), raise capture.rate_limit or \
                 capture.max_hold, or use a store that takes bytes faster."
                    .into()
            }
            Self::NoEndpoint => "Name one with --endpoints or ETCDCTL_ENDPOINTS.".into(),
            Self::CommitUnsure { .. } => "See whether `etcdr snapshot list` shows it.".into(),
            Self::Local { .. } => "Mend what is named, then start the agent again.".into(),
            _ => self.inner().map_or(Cow::Borrowed("Try again."), Diagnose::next),
        }
    }
}

/// A number of bytes that a stream may not have told.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            u64::MAX => f.write_str("unknown bytes"),
            bytes => write!(f, "{bytes} bytes"),
        }
    }
}
