//! Why nothing was restored.

use std::borrow::Cow;

use etcdr_schemas::{Diagnose, ExitCode};

/// Why nothing was restored. The targets are as they were.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The source does not make sense, or a target could not be written.
    #[error(transparent)]
    Engine(#[from] etcdr_restore_engine::Error),
    /// The repository could not be read, or not opened with these keys.
    #[error(transparent)]
    Repository(#[from] etcdr_repository::Error),
    /// A worker thread ended early.
    #[error("a worker thread ended early")]
    Worker(#[from] tokio::task::JoinError),
}

impl Error {
    fn inner(&self) -> Option<&dyn Diagnose> {
        match self {
            Self::Engine(error) => Some(error),
            Self::Repository(error) => Some(error),
            Self::Worker(_) => None,
        }
    }
}

impl Diagnose for Error {
    fn is_permanent(&self) -> bool {
        self.inner().is_none_or(Diagnose::is_permanent)
    }

    fn exit_code(&self) -> ExitCode {
        self.inner().map_or(ExitCode::Failed, Diagnose::exit_code)
    }

    fn safe(&self) -> Cow<'static, str> {
        self.inner().map_or("Nothing was changed by this command.".into(), Diagnose::safe)
    }

    fn next(&self) -> Cow<'static, str> {
        self.inner().map_or("Run it again with ETCDR_LOG=debug to see more.".into(), Diagnose::next)
    }
}
