//! Why an agent could not be asked, or did not do it.

use std::io;
use std::path::PathBuf;

use etcdr_schemas::pb::admin as pb;
use etcdr_schemas::{Diagnose, Diagnosis, ExitCode};
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

const NOT_ASKED: &str = "Nothing was asked of the agent.";
const PERHAPS_GOING_ON: &str =
    "What the agent was asked for may be going on; `etcdr status` tells.";

impl Diagnose for Error {
    fn diagnosis(&self) -> Diagnosis {
        use ExitCode::{Failed, Usage};
        let permanent = |code, next: &'static str| Diagnosis::permanent(code, NOT_ASKED, next);
        let transient = |next: &'static str| Diagnosis::transient(Failed, NOT_ASKED, next);
        match self {
            Self::Address { .. } => permanent(
                Usage,
                "Say unix:///path/to/agent.sock, or https://HOST:PORT with --agent-cacert, \
                 --agent-cert and --agent-key.",
            ),
            Self::NotRunning { .. } => transient(
                "Start it (`etcdr agent --config FILE`), or name its socket (agent.admin.listen in \
                 its configuration) with --agent or ETCDR_AGENT.",
            ),
            Self::NotAllowed { .. } => {
                permanent(Failed, "Run this as the user that the agent runs as, or as root.")
            }
            Self::InUse { .. } => {
                transient("Stop the other agent, or give this one its own agent.admin.listen.")
            }
            Self::File { source, .. } => {
                transient("Check that the path exists and may be used by this user.")
                    .caused_by(source)
            }
            Self::Listen { .. } => {
                transient("Check agent.admin in the configuration; TCP needs cacert, cert and key.")
            }
            Self::Unreachable { .. } => transient(
                "Check address and port, and that the certificates are of the authority that the \
                 agent trusts (agent.admin.cacert).",
            ),
            Self::Lost { .. } => {
                transient("Look at the agent's log and ask again.").with_safe(PERHAPS_GOING_ON)
            }
            Self::Answer { .. } => {
                permanent(Failed, "Use the same version of etcdr as the agent's.")
                    .with_safe(PERHAPS_GOING_ON)
            }
            Self::Refused { safe, next, exit_code, .. } => {
                Diagnosis::transient(*exit_code, safe.clone(), next.clone())
            }
        }
    }
}

/// A failure as it travels.
pub(super) fn to_status(error: &dyn Diagnose) -> Status {
    let Diagnosis { permanent, code, safe, next } = error.diagnosis();
    let failure =
        pb::Failure { safe: safe.into_owned(), next: next.into_owned(), exit_code: code as u32 };
    let code = if permanent { Code::FailedPrecondition } else { Code::Unavailable };
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

/// An error with its causes in one line; a cause that is already in the text is left out.
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
