//! Why nothing was restored.

use etcdr_schemas::{Diagnose, Diagnosis, ExitCode};

/// Why nothing was restored. The targets are as they were.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The source or the options cannot be used, or a target could not be written.
    #[error(transparent)]
    Engine(#[from] etcdr_restore_engine::Error),
    /// The repository could not be read, or not opened with these keys.
    #[error(transparent)]
    Repository(#[from] etcdr_repository::Error),
    /// A worker thread ended early.
    #[error("a worker thread ended early")]
    Worker(#[from] tokio::task::JoinError),
}

impl Diagnose for Error {
    fn diagnosis(&self) -> Diagnosis {
        match self {
            Self::Engine(error) => error.diagnosis(),
            Self::Repository(error) => error.diagnosis(),
            Self::Worker(_) => Diagnosis::permanent(
                ExitCode::Failed,
                "Nothing was changed by this command.",
                "Run it again with ETCDR_LOG=debug to see more.",
            ),
        }
    }
}
