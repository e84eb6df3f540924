//! Why nothing was pruned, or not all of it.

use etcdr_schemas::{Diagnose, Diagnosis, ExitCode, SnapshotId};

/// Why nothing was pruned or deleted, or not all of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The repository could not be read, or the store failed.
    #[error(transparent)]
    Repository(#[from] etcdr_repository::Error),
    /// The policy keeps everything.
    #[error("there is no rule that says what to keep")]
    NoRule,
    /// Somebody holds it.
    #[error("{id} is {why}")]
    Held {
        /// The snapshot.
        id: SnapshotId,
        /// `held …`, by whom and why.
        why: String,
    },
    /// A restore would be made of it.
    #[error("{id} is what a restore would be made of: {why}")]
    Newest {
        /// The snapshot.
        id: SnapshotId,
        /// Which it is.
        why: &'static str,
    },
    /// Nobody knows what it is.
    #[error("the manifest of {id} cannot be used, so nobody knows what would be deleted")]
    Unusable {
        /// The snapshot.
        id: SnapshotId,
    },
}

const NOTHING_DELETED: &str = "Nothing was deleted.";
const ONLY_DECIDED: &str =
    "Every snapshot that is listed is whole. What was deleted until then had been decided.";

impl Diagnose for Error {
    fn diagnosis(&self) -> Diagnosis {
        let failed =
            |next: &'static str| Diagnosis::permanent(ExitCode::Failed, NOTHING_DELETED, next);
        match self {
            Self::Repository(error) => error.diagnosis().with_safe(ONLY_DECIDED),
            Self::NoRule => Diagnosis::permanent(
                ExitCode::Usage,
                NOTHING_DELETED,
                "Give at least one of --keep-last, --keep-hourly, --keep-daily, --keep-weekly, \
                 --keep-monthly, --keep-yearly, --keep-within, --max-total-size.",
            ),
            Self::Held { .. } => failed(
                "Release it first: `etcdr snapshot hold NAME --release`. --force deletes it all \
                 the same.",
            ),
            Self::Newest { .. } => {
                failed("Take a new snapshot first. --force deletes it all the same.")
            }
            Self::Unusable { .. } => failed(
                "Look at it: `etcdr verify NAME --level manifest`. --force deletes it all the \
                 same.",
            ),
        }
    }
}
