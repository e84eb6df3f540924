//! Why a check could not be made. Damage is not here: that is a finding.

use std::borrow::Cow;
use std::io;

use etcdr_schemas::{Diagnose, ExitCode};

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

impl Error {
    /// The one who knows. The engine reads through the repository: what that found travels inside
    /// an [`io::Error`].
    fn inner(&self) -> Option<&dyn Diagnose> {
        match self {
            Self::Engine(error) => {
                let source = std::error::Error::source(error);
                let carried = source.and_then(|source| source.downcast_ref::<io::Error>());
                let inner = carried.and_then(io::Error::get_ref);
                match inner.and_then(|inner| inner.downcast_ref::<etcdr_repository::Error>()) {
                    Some(found) => Some(found),
                    None => Some(error),
                }
            }
            Self::Repository(error) => Some(error),
            Self::Packed { .. } | Self::Worker(_) => None,
        }
    }
}

impl Diagnose for Error {
    fn is_permanent(&self) -> bool {
        self.inner().is_none_or(Diagnose::is_permanent)
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Packed { .. } => ExitCode::Usage,
            _ => self.inner().map_or(ExitCode::Failed, Diagnose::exit_code),
        }
    }

    fn safe(&self) -> Cow<'static, str> {
        self.inner().map_or(Cow::Borrowed("Looking changed nothing."), Diagnose::safe)
    }

    fn next(&self) -> Cow<'static, str> {
        match self {
            Self::Packed { .. } => {
                "Say --level content, unpack the file first, or import it and verify the snapshot."
                    .into()
            }
            _ => self.inner().map_or(Cow::Borrowed("Try again."), Diagnose::next),
        }
    }
}
