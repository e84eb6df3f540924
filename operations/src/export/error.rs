//! Why a snapshot was not exported.

use std::io;
use std::path::PathBuf;

use etcdr_schemas::diagnose::carried;
use etcdr_schemas::{Diagnose, Diagnosis, ExitCode};

/// Why a snapshot was not exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is a file of that name.
    #[error("{} exists", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The repository could not be read, or not opened with these keys.
    #[error(transparent)]
    Repository(#[from] etcdr_repository::Error),
    /// The file could not be made.
    #[error(transparent)]
    Engine(#[from] etcdr_restore_engine::Error),
    /// Bytes could not be read or written. What the repository found travels inside.
    #[error("{0}")]
    Copy(#[from] io::Error),
    /// A worker thread ended early.
    #[error("a worker thread ended early")]
    Worker(#[from] tokio::task::JoinError),
}

impl Diagnose for Error {
    fn diagnosis(&self) -> Diagnosis {
        let unknown = || {
            Diagnosis::permanent(
                ExitCode::Failed,
                "Nothing was changed by this command.",
                "Run it again with ETCDR_LOG=debug to see more.",
            )
        };
        match self {
            Self::Exists { .. } => Diagnosis::permanent(
                ExitCode::Failed,
                "It was not touched.",
                "Name another file, or move it away.",
            ),
            Self::Repository(error) => error.diagnosis(),
            Self::Engine(error) => error.diagnosis(),
            Self::Copy(error) => carried(error).map_or_else(unknown, Diagnose::diagnosis),
            Self::Worker(_) => unknown(),
        }
    }
}
