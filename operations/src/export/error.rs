//! Why a snapshot was not exported.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

use etcdr_schemas::{Diagnose, ExitCode};

use crate::stop::Interrupted;

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

impl Error {
    /// The one who knows.
    fn inner(&self) -> Option<&dyn Diagnose> {
        match self {
            Self::Repository(error) => Some(error),
            Self::Engine(error) => Some(error),
            Self::Copy(error) => carried(error),
            Self::Exists { .. } | Self::Worker(_) => None,
        }
    }
}

/// An error of ours that travelled through [`io::Error`].
fn carried(error: &io::Error) -> Option<&dyn Diagnose> {
    let inner = error.get_ref()?;
    let of_repository = inner.downcast_ref::<etcdr_repository::Error>();
    let of_engine = || inner.downcast_ref::<etcdr_restore_engine::Error>();
    of_repository
        .map(|error| error as &dyn Diagnose)
        .or_else(|| of_engine().map(|error| error as &dyn Diagnose))
        .or_else(|| inner.downcast_ref::<Interrupted>().map(|error| error as &dyn Diagnose))
}

impl Diagnose for Error {
    fn is_permanent(&self) -> bool {
        self.inner().is_none_or(Diagnose::is_permanent)
    }

    fn exit_code(&self) -> ExitCode {
        self.inner().map_or(ExitCode::Failed, Diagnose::exit_code)
    }

    fn safe(&self) -> Cow<'static, str> {
        match self {
            Self::Exists { .. } => "It was not touched.".into(),
            _ => self.inner().map_or("Nothing was changed by this command.".into(), Diagnose::safe),
        }
    }

    fn next(&self) -> Cow<'static, str> {
        match self {
            Self::Exists { .. } => "Name another file, or move it away.".into(),
            _ => self
                .inner()
                .map_or("Run it again with ETCDR_LOG=debug to see more.".into(), Diagnose::next),
        }
    }
}
