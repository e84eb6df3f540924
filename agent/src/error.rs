//! Why no snapshot was made.

use std::borrow::Cow;

use etcdr_schemas::{Diagnose, ExitCode};

/// Why no snapshot was made. Every variant means: no manifest was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// etcd could not be asked, or its stream broke.
    #[error(transparent)]
    Node(#[from] etcdr_node::Error),
    /// The bytes are not a sound snapshot.
    #[error(transparent)]
    Engine(#[from] etcdr_restore_engine::Error),
    /// The repository did not take them.
    #[error(transparent)]
    Repository(#[from] etcdr_repository::Error),
    /// A file to import could not be read.
    #[error("cannot read {file}: {source}")]
    Read {
        /// The file.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// No endpoint was given.
    #[error("no etcd endpoint was given")]
    NoEndpoint,
}

impl Error {
    fn inner(&self) -> Option<&dyn Diagnose> {
        match self {
            Self::Node(error) => Some(error),
            Self::Engine(error) => Some(error),
            Self::Repository(error) => Some(error),
            Self::Read { .. } | Self::NoEndpoint => None,
        }
    }
}

impl Diagnose for Error {
    fn is_permanent(&self) -> bool {
        self.inner().is_none_or(Diagnose::is_permanent)
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoEndpoint => ExitCode::Usage,
            _ => self.inner().map_or(ExitCode::Failed, Diagnose::exit_code),
        }
    }

    fn safe(&self) -> Cow<'static, str> {
        "No snapshot was recorded; etcd and all earlier snapshots are as they were.".into()
    }

    fn next(&self) -> Cow<'static, str> {
        match self {
            Self::Read { .. } => "Check that the file exists and can be read.".into(),
            Self::NoEndpoint => "Name one with --endpoints or ETCDCTL_ENDPOINTS.".into(),
            _ => self.inner().map_or(Cow::Borrowed("Try again."), Diagnose::next),
        }
    }
}
