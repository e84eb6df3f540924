//! Why an agent could not be asked, or did not do it.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

use etcdr_schemas::pb::admin as pb;
use etcdr_schemas::{Diagnose, ExitCode};
use prost::Message as _;
use tonic::{Code, Status};

/// Why an agent could not be asked, or did not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address is none.
    #[error("{address:?} is not the address of an agent: {reason}")]
    Address {
        /// As it was given.
        address: String,
        /// Why.
        reason: String,
    },
    /// Nobody answers on the socket.
    #[error("no agent answers on {}", path.display())]
    NotRunning {
        /// The socket.
        path: PathBuf,
    },
    /// The socket belongs to somebody else.
    #[error("the agent's socket {} may not be opened by this user", path.display())]
    NotAllowed {
        /// The socket.
        path: PathBuf,
    },
    /// An agent answers on that socket already.
    #[error("another agent answers on {} already", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// A file cannot be read, or the socket not be made.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The interface cannot be served.
    #[error("the admin interface on {address} cannot be served: {reason}")]
    Listen {
        /// Where.
        address: String,
        /// Why.
        reason: String,
    },
    /// The agent was not reached.
    #[error("the agent at {address} was not reached: {reason}")]
    Unreachable {
        /// Its address.
        address: String,
        /// Why.
        reason: String,
    },
    /// The connection broke before the answer came.
    #[error("the agent at {address} gave no answer: {reason}")]
    Lost {
        /// Its address.
        address: String,
        /// Why.
        reason: String,
    },
    /// The agent answered with something that it should not.
    #[error("the agent at {address} gave an answer that is not understood: {reason}")]
    Answer {
        /// Its address.
        address: String,
        /// Why.
        reason: String,
    },
    /// The agent tried, or refused, and says why.
    #[error("{message}")]
    Refused {
        /// What happened.
        message: String,
        /// What is safe.
        safe: String,
        /// What to do next.
        next: String,
        /// The exit code.
        exit_code: ExitCode,
    },
}

impl Diagnose for Error {
    fn is_permanent(&self) -> bool {
        matches!(self, Self::Address { .. } | Self::NotAllowed { .. } | Self::Answer { .. })
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Address { .. } => ExitCode::Usage,
            Self::Refused { exit_code, .. } => *exit_code,
            _ => ExitCode::Failed,
        }
    }

    fn safe(&self) -> Cow<'static, str> {
        match self {
            Self::Refused { safe, .. } => safe.clone().into(),
            Self::Lost { .. } | Self::Answer { .. } => {
                "What the agent was asked for may be going on; `etcdr status` tells.".into()
            }
            _ => "Nothing was asked of the agent.".into(),
        }
    }

    fn next(&self) -> Cow<'static, str> {
        match self {
            Self::Address { .. } => {
                "Say unix:///path/to/agent.sock, or https://HOST:PORT with --agent-cacert, --agent-cert and --agent-key."
                    .into()
            }
            Self::NotRunning { .. } => {
                "Start it (`etcdr agent --config FILE`), or name its socket (agent.admin.listen in its configuration) with --agent or ETCDR_AGENT."
                    .into()
            }
            Self::NotAllowed { .. } => "Run this as the user that the agent runs as, or as root.".into(),
            Self::InUse { .. } => "Stop the other agent, or give this one its own agent.admin.listen.".into(),
            Self::File { .. } => "Check that the path exists and may be used by this user.".into(),
            Self::Listen { .. } => "Check agent.admin in the configuration; TCP needs cacert, cert and key.".into(),
            Self::Unreachable { .. } => {
                "Check address and port, and that the certificates are of the authority that the agent trusts (agent.admin.cacert)."
                    .into()
            }
            Self::Lost { .. } => "Look at the agent's log and ask again.".into(),
            Self::Answer { .. } => "Use the same version of etcdr as the agent's.".into(),
            Self::Refused { next, .. } => next.clone().into(),
        }
    }
}

/// A failure as it travels.
pub(super) fn to_status(error: &dyn Diagnose) -> Status {
    let code = if error.is_permanent() { Code::FailedPrecondition } else { Code::Unavailable };
    let failure = pb::Failure {
        safe: error.safe().into_owned(),
        next: error.next().into_owned(),
        exit_code: error.exit_code() as u32,
    };
    Status::with_details(code, chain(error), failure.encode_to_vec().into())
}

/// A failure as it arrived.
pub(super) fn from_status(address: &str, status: &Status) -> Error {
    let address = address.to_owned();
    let message: String = status.message().chars().filter(|c| !c.is_control()).take(1000).collect();
    match pb::Failure::decode(status.details()) {
        Ok(failure) if !failure.next.is_empty() => {
            let exit_code = exit_code(failure.exit_code);
            Error::Refused { message, safe: failure.safe, next: failure.next, exit_code }
        }
        _ => match status.code() {
            Code::Unimplemented if message.is_empty() => {
                let reason = "this agent does not know that call".to_owned();
                Error::Answer { address, reason }
            }
            Code::Unimplemented | Code::Internal | Code::InvalidArgument => {
                Error::Answer { address, reason: message }
            }
            _ => Error::Lost { address, reason: reason(status, message) },
        },
    }
}

fn reason(status: &Status, message: String) -> String {
    match std::error::Error::source(status) {
        Some(cause) => chain(cause),
        None => message,
    }
}

fn exit_code(number: u32) -> ExitCode {
    let all = [
        ExitCode::Usage,
        ExitCode::Warnings,
        ExitCode::RepositoryMissing,
        ExitCode::Claimed,
        ExitCode::Key,
        ExitCode::Damaged,
        ExitCode::NotCovered,
        ExitCode::Config,
        ExitCode::Interrupted,
    ];
    all.into_iter().find(|code| *code as u32 == number).unwrap_or(ExitCode::Failed)
}

/// An error with its causes in one line; what the text before tells already is left out.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next.filter(|_| text.len() < 1000) {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}
