//! Why nothing was pruned, or not all of it.

use std::borrow::Cow;

use etcdr_schemas::{Diagnose, ExitCode, SnapshotId};

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

impl Diagnose for Error {
    fn is_permanent(&self) -> bool {
        match self {
            Self::Repository(error) => error.is_permanent(),
            _ => true,
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Repository(error) => error.exit_code(),
            Self::NoRule => ExitCode::Usage,
            _ => ExitCode::Failed,
        }
    }

    fn safe(&self) -> Cow<'static, str> {
        match self {
            Self::Repository(_) => {
                "Every snapshot that is listed is whole. What was deleted until then had been decided."
            }
            _ => "Nothing was deleted.",
        }
        .into()
    }

    fn next(&self) -> Cow<'static, str> {
        match self {
            Self::Repository(error) => error.next(),
            Self::NoRule => {
                "Give at least one of --keep-last, --keep-hourly, --keep-daily, --keep-weekly, \
                 --keep-monthly, --keep-yearly, --keep-within, --max-total-size."
                    .into()
            }
            Self::Held { .. } => {
                "Release it first: `etcdr snapshot hold NAME --release`. --force deletes it all the same.".into()
            }
            Self::Newest { .. } => "Take a new snapshot first. --force deletes it all the same.".into(),
            Self::Unusable { .. } => {
                "Look at it: `etcdr verify NAME --level manifest`. --force deletes it all the same.".into()
            }
        }
    }
}
