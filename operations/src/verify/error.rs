//! Why a check could not be made. Damage is not here: that is a finding.

use etcdr_schemas::{Diagnose, Diagnosis, ExitCode};

/// Why a check could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The medium failed.
    #[error(transparent)]
    Engine(#[from] etcdr_restore_engine::Error),
    /// The repository could not be read, or not opened with these keys.
    #[error(transparent)]
    Repository(#[from] etcdr_repository::Error),
    /// The level needs a file that it can read at random.
    #[error("levels structure and semantic read a file at random, and {file} is packed")]
    Packed {
        /// The file.
        file: String,
    },
    /// A worker thread ended early.
    #[error("a worker thread ended early: {0}")]
    Worker(#[from] tokio::task::JoinError),
}

impl Diagnose for Error {
    fn diagnosis(&self) -> Diagnosis {
        let safe = "Looking changed nothing.";
        match self {
            Self::Engine(error) => error.diagnosis(),
            Self::Repository(error) => error.diagnosis(),
            Self::Packed { .. } => Diagnosis::permanent(
                ExitCode::Usage,
                safe,
                "Say --level content, unpack the file first, or import it and verify the snapshot.",
            ),
            Self::Worker(_) => Diagnosis::permanent(ExitCode::Failed, safe, "Try again."),
        }
    }
}
