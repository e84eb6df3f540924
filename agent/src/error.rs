//! Why an agent does not do, or gives up, what it would do.

use std::borrow::Cow;
use std::time::Duration;

use chrono::{DateTime, Utc};
use etcdr_schemas::{Diagnose, ExitCode};

/// Why an agent does not do, or gives up, what it would do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operation failed.
    #[error(transparent)]
    Operation(#[from] etcdr_operations::Error),
    /// The admin interface cannot be served.
    #[error(transparent)]
    Admin(#[from] crate::admin::Error),
    /// Another agent holds the tick that was worked on.
    #[error(
        "the claim of tick {tick} of schedule {schedule} was lost: another agent has it, or it \
         could not be renewed in time"
    )]
    ClaimLost {
        /// The schedule.
        schedule: String,
        /// The time that it named.
        tick: DateTime<Utc>,
    },
    /// The store did not say in time whether the tick is still held.
    #[error("the store did not say within {limit:?} whether the claim still holds")]
    ClaimUnsure {
        /// How long it was waited for.
        limit: Duration,
    },
    /// The agent is going, and what was under way was given up.
    #[error("the agent is stopping")]
    Stopping,
}

impl From<etcdr_node::Error> for Error {
    fn from(error: etcdr_node::Error) -> Self {
        Self::Operation(error.into())
    }
}

impl From<etcdr_repository::Error> for Error {
    fn from(error: etcdr_repository::Error) -> Self {
        Self::Operation(error.into())
    }
}

impl Diagnose for Error {
    fn is_permanent(&self) -> bool {
        match self {
            Self::Operation(error) => error.is_permanent(),
            Self::Admin(error) => error.is_permanent(),
            Self::ClaimUnsure { .. } => false,
            Self::ClaimLost { .. } | Self::Stopping => true,
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Operation(error) => error.exit_code(),
            Self::Admin(error) => error.exit_code(),
            Self::ClaimLost { .. } => ExitCode::Claimed,
            Self::ClaimUnsure { .. } => ExitCode::Failed,
            Self::Stopping => ExitCode::Interrupted,
        }
    }

    fn safe(&self) -> Cow<'static, str> {
        match self {
            Self::Operation(error) => error.safe(),
            Self::Admin(error) => error.safe(),
            Self::ClaimLost { .. } | Self::ClaimUnsure { .. } | Self::Stopping => {
                "No snapshot was recorded; etcd and all earlier snapshots are as they were.".into()
            }
        }
    }

    fn next(&self) -> Cow<'static, str> {
        match self {
            Self::Operation(error) => error.next(),
            Self::Admin(error) => error.next(),
            Self::ClaimLost { .. } => {
                "See whether another agent takes the snapshot, and whether the store answers."
                    .into()
            }
            Self::ClaimUnsure { .. } => {
                "See whether the store answers; the next tick tries again.".into()
            }
            Self::Stopping => "Start the agent again; a tick that was missed is caught up.".into(),
        }
    }
}
