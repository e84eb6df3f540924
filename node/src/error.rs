//! What can go wrong with a node: its connection, its answers, its snapshot stream, its process.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use etcdr_schemas::{Diagnose, Diagnosis, ExitCode};
use tonic::Code;

mod tls_fault;

pub use tls_fault::TlsFault;

/// Everything that this crate can fail with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Options that cannot be used, or contradict each other.
    #[error("{what}")]
    Config {
        /// What is wrong with them.
        what: String,
    },
    /// A file that the options name cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },

    /// No connection.
    #[error("cannot connect to etcd at {endpoint}: {reason}")]
    Connect {
        /// The endpoint.
        endpoint: String,
        /// The innermost causes.
        reason: String,
    },
    /// A connection, but no TLS.
    #[error("no TLS connection to etcd at {endpoint}: {fault} ({detail})")]
    Tls {
        /// The endpoint.
        endpoint: String,
        /// The cause, as far as it is known.
        fault: TlsFault,
        /// The TLS library's words.
        detail: String,
    },
    /// The connection broke during a call.
    #[error("the connection to etcd at {endpoint} broke during {call}: {reason}")]
    Lost {
        /// The endpoint.
        endpoint: String,
        /// The call.
        call: &'static str,
        /// The innermost causes.
        reason: String,
    },
    /// No answer in time.
    #[error("etcd at {endpoint} did not answer {call} within {} s", after.as_secs_f32())]
    Timeout {
        /// The endpoint.
        endpoint: String,
        /// The call, or `connect`.
        call: &'static str,
        /// The time limit.
        after: Duration,
    },

    /// etcd does not know who we are.
    #[error("etcd at {endpoint} did not accept the user for {call}: {message}")]
    Unauthenticated {
        /// The endpoint.
        endpoint: String,
        /// The call.
        call: &'static str,
        /// etcd's words.
        message: String,
        /// Whether a token was refused, which a fresh one may cure.
        stale_token: bool,
    },
    /// etcd knows who we are, and that is not enough.
    #[error("etcd at {endpoint} refused {call} to {user}: {message}")]
    Denied {
        /// The endpoint.
        endpoint: String,
        /// The call.
        call: &'static str,
        /// Who asked.
        user: String,
        /// etcd's words.
        message: String,
    },
    /// The revision is older than the last compaction, or newer than the store.
    #[error("etcd at {endpoint} does not have the revision that {call} asked for: {message}")]
    Revision {
        /// The endpoint.
        endpoint: String,
        /// The call.
        call: &'static str,
        /// etcd's words.
        message: String,
    },
    /// etcd is there and cannot answer now: no leader, too busy, stopping.
    #[error("etcd at {endpoint} cannot answer {call} now: {message}")]
    Unavailable {
        /// The endpoint.
        endpoint: String,
        /// The call.
        call: &'static str,
        /// etcd's words.
        message: String,
    },
    /// Any other answer that is an error.
    #[error("etcd at {endpoint} failed {call}: {message} ({code:?})")]
    Rpc {
        /// The endpoint.
        endpoint: String,
        /// The call.
        call: &'static str,
        /// gRPC's code.
        code: Code,
        /// etcd's words.
        message: String,
    },
    /// An answer that etcd never gives.
    #[error("etcd at {endpoint} answered {call} with nonsense: {what}")]
    InvalidReply {
        /// The endpoint.
        endpoint: String,
        /// The call.
        call: &'static str,
        /// What is wrong with it.
        what: String,
    },

    /// The snapshot stream ended before the digest.
    #[error(
        "the snapshot stream of etcd at {endpoint} ended after {got} of {expected} bytes{}",
        cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default()
    )]
    SnapshotTruncated {
        /// The endpoint.
        endpoint: String,
        /// Bytes that came.
        got: u64,
        /// Bytes that etcd announced, digest included.
        expected: u64,
        /// Why, when it did not just end.
        cause: Option<Box<Error>>,
    },
    /// The snapshot stream stays open and brings nothing.
    #[error(
        "the snapshot stream of etcd at {endpoint} brought nothing for {} s, \
         after {got} of {expected} bytes",
        after.as_secs_f32()
    )]
    SnapshotStalled {
        /// The endpoint.
        endpoint: String,
        /// Bytes that came.
        got: u64,
        /// Bytes that etcd announced, digest included.
        expected: u64,
        /// How long was waited.
        after: Duration,
    },
    /// The snapshot stream contradicts itself.
    #[error("the snapshot stream of etcd at {endpoint} is out of step after {got} bytes: {what}")]
    SnapshotFraming {
        /// The endpoint.
        endpoint: String,
        /// Bytes that came before.
        got: u64,
        /// What does not fit.
        what: String,
    },

    /// There is no etcd to run.
    #[error("there is no {tool} in {searched}")]
    BinaryMissing {
        /// `etcd`, `etcdctl` or `etcdutl`.
        tool: &'static str,
        /// Where it was looked for.
        searched: String,
    },
    /// A program that does not start, or does not do what was asked of it.
    #[error("cannot run {program}: {reason}")]
    Run {
        /// The program.
        program: PathBuf,
        /// Why.
        reason: String,
    },
    /// Our etcd ended by itself.
    #[error("etcd member {member} ended by itself ({status}); its last lines:\n{log}")]
    Died {
        /// Name of the member.
        member: String,
        /// How it ended.
        status: String,
        /// The end of its log.
        log: String,
    },
    /// Our etcd runs and does not serve.
    #[error(
        "etcd member {member} does not serve after {} s: {reason}; its last lines:\n{log}",
        after.as_secs_f32()
    )]
    NotReady {
        /// Name of the member.
        member: String,
        /// How long was waited.
        after: Duration,
        /// What was missing.
        reason: String,
        /// The end of its log.
        log: String,
    },
    /// A port was taken by another process between being found free and being used.
    #[error("etcd member {member} could not listen: a port that was free has been taken meanwhile")]
    PortTaken {
        /// Name of the member.
        member: String,
    },
    /// The operating system gives no port, or refuses a signal.
    #[error("{action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// The cause.
        source: io::Error,
    },
}

impl Error {
    /// Whether a fresh token may cure it.
    pub(crate) const fn is_stale_token(&self) -> bool {
        matches!(self, Self::Unauthenticated { stale_token: true, .. })
    }

    /// Whether this is about who asks: etcd answered and would serve someone else.
    #[must_use]
    pub const fn is_about_identity(&self) -> bool {
        matches!(self, Self::Unauthenticated { .. } | Self::Denied { .. })
    }
}

/// What is safe, in the words that several errors share.
const NOT_ASKED: &str = "nothing was asked of etcd";
const ONLY_READ: &str = "etcd was only read from, and goes on as before";
const DIRECTORIES_KEPT: &str = "the data directories were left in place; no other etcd was touched";

impl Diagnose for Error {
    fn diagnosis(&self) -> Diagnosis {
        use ExitCode::{Failed, Usage};
        let permanent = |next: &'static str| Diagnosis::permanent(Failed, ONLY_READ, next);
        let transient = |next: &'static str| Diagnosis::transient(Failed, ONLY_READ, next);
        match self {
            Self::Config { .. } => Diagnosis::permanent(Usage, NOT_ASKED, "correct the option"),
            Self::File { .. } => {
                permanent("check the path and its permissions").with_safe(NOT_ASKED)
            }
            Self::Connect { .. } => transient(
                "check that etcd runs, the host, and the port (2379 for clients, not 2380)",
            ),
            Self::Tls { fault, .. } => permanent(fault.next()),
            Self::Lost { .. } => transient(
                "try again; if it repeats, check http:// against https://, whether etcd demands a \
                 client certificate, and etcd's log",
            ),
            Self::Timeout { .. } | Self::Unavailable { .. } => {
                transient("check that etcd has a leader and is not overloaded, then try again")
            }
            Self::Unauthenticated { .. } => permanent(
                "give the name and password of a user with the root role (--user, --password)",
            ),
            Self::Denied { .. } => permanent(
                "use a user with the root role: etcd gives snapshots and hashes to \
                 no other (etcdctl user grant-role NAME root)",
            ),
            Self::Revision { .. } => permanent("ask for a newer revision"),
            Self::Rpc {
                code: Code::Unknown | Code::Internal | Code::Aborted | Code::ResourceExhausted,
                ..
            } => transient("see etcd's log"),
            Self::Rpc { .. } | Self::InvalidReply { .. } => permanent("see etcd's log"),
            Self::SnapshotTruncated { .. } | Self::SnapshotStalled { .. } => {
                transient("try again, or at another member; etcd's log may say why")
            }
            Self::SnapshotFraming { .. } => {
                transient("try another member; is there a proxy between here and etcd?")
            }
            Self::BinaryMissing { .. } => {
                permanent("install etcd, or name the directory that holds it")
                    .with_safe(DIRECTORIES_KEPT)
            }
            Self::Run { .. } => {
                permanent("check that the program runs on this machine").with_safe(DIRECTORIES_KEPT)
            }
            Self::Died { .. } => {
                permanent("read the lines of its log above").with_safe(DIRECTORIES_KEPT)
            }
            Self::NotReady { .. } => {
                transient("read the lines of its log above").with_safe(DIRECTORIES_KEPT)
            }
            Self::PortTaken { .. } | Self::System { .. } => {
                transient("try again").with_safe(DIRECTORIES_KEPT)
            }
        }
    }
}
