//! Why no audit was made. What an audit finds is not here.

use std::borrow::Cow;

use etcdr_schemas::report::{Kind, Severity};
use etcdr_schemas::{ClusterName, Diagnose, ExitCode};

/// Why no audit was made, or no report could be shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The repository could not be read.
    #[error(transparent)]
    Repository(#[from] etcdr_repository::Error),
    /// Stopped before the first snapshot was looked at.
    #[error("the audit was stopped while it read manifests")]
    Interrupted,
    /// There is no report.
    #[error("cluster {cluster} has no report of an audit")]
    NoReport {
        /// The cluster.
        cluster: ClusterName,
    },
    /// The newest report is not to be believed.
    #[error("{key}: {message}")]
    Report {
        /// Its key.
        key: String,
        /// What is wrong.
        kind: Kind,
        /// The same in words.
        message: String,
    },
}

impl Diagnose for Error {
    fn is_permanent(&self) -> bool {
        match self {
            Self::Repository(error) => error.is_permanent(),
            Self::Interrupted => false,
            Self::NoReport { .. } | Self::Report { .. } => true,
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Repository(error) => error.exit_code(),
            Self::Interrupted => ExitCode::Interrupted,
            Self::NoReport { .. } => ExitCode::NotCovered,
            // Not signed at all: the key decides that it is not believed. Otherwise it was changed.
            Self::Report { kind, .. } if kind.severity == Severity::Notice => ExitCode::Key,
            Self::Report { .. } => ExitCode::Damaged,
        }
    }

    fn safe(&self) -> Cow<'static, str> {
        "An audit changes nothing but its own reports.".into()
    }

    fn next(&self) -> Cow<'static, str> {
        match self {
            Self::Repository(error) => error.next(),
            Self::Interrupted => "Run the same command again.".into(),
            Self::NoReport { .. } => "Make one: `etcdr audit`.".into(),
            Self::Report { kind, .. } => kind.advice.into(),
        }
    }
}
