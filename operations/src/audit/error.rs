//! Why no audit was made. What an audit finds is not here.

use etcdr_schemas::report::{FindingKind, Severity};
use etcdr_schemas::{ClusterName, Diagnose, Diagnosis, ExitCode};

/// Why no audit was made, or no report could be shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The repository could not be read.
    #[error(transparent)]
    Repository(#[from] etcdr_repository::Error),
    /// Stopped before the first snapshot was checked.
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
        kind: FindingKind,
        /// What is wrong with it, as a sentence.
        message: String,
    },
}

impl Diagnose for Error {
    fn diagnosis(&self) -> Diagnosis {
        const ONLY_REPORTS: &str = "An audit changes nothing but its own reports.";
        match self {
            Self::Repository(error) => error.diagnosis().with_safe(ONLY_REPORTS),
            Self::Interrupted => Diagnosis::transient(
                ExitCode::Interrupted,
                ONLY_REPORTS,
                "Run the same command again.",
            ),
            Self::NoReport { .. } => {
                Diagnosis::permanent(ExitCode::NotCovered, ONLY_REPORTS, "Make one: `etcdr audit`.")
            }
            // Not signed at all: the key decides that it is not believed. Otherwise it was changed.
            Self::Report { kind, .. } if kind.severity == Severity::Notice => {
                Diagnosis::permanent(ExitCode::Key, ONLY_REPORTS, kind.advice)
            }
            Self::Report { kind, .. } => {
                Diagnosis::permanent(ExitCode::Damaged, ONLY_REPORTS, kind.advice)
            }
        }
    }
}
