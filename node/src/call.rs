//! The calls of etcd's gRPC API that we use, and what their failures mean.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use tonic::{Code, Status};

use crate::dial::Verdict;
use crate::error::{Error, TlsFault};

/// One method of etcd's API. Paths are facts of the API (etcd `rpc.proto`).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    /// For messages.
    pub(crate) name: &'static str,
    /// Path of the request.
    pub(crate) path: &'static str,
    /// Longest answer, in bytes, that is read into memory.
    pub(crate) max_reply: usize,
    /// Whether etcd walks the whole database before it answers.
    pub(crate) slow: bool,
}

const SHORT: usize = 4 << 20;
/// A range of many large values: etcd itself sets no limit to an answer.
const LONG: usize = 64 << 20;

const fn quick(name: &'static str, path: &'static str) -> Call {
    Call { name, path, max_reply: SHORT, slow: false }
}

const fn slow(name: &'static str, path: &'static str) -> Call {
    Call { name, path, max_reply: SHORT, slow: true }
}

pub(crate) const AUTHENTICATE: Call = quick("Authenticate", "/etcdserverpb.Auth/Authenticate");
pub(crate) const STATUS: Call = quick("Status", "/etcdserverpb.Maintenance/Status");
pub(crate) const ALARM: Call = quick("Alarm", "/etcdserverpb.Maintenance/Alarm");
pub(crate) const HASH_KV: Call = slow("HashKV", "/etcdserverpb.Maintenance/HashKV");
pub(crate) const DEFRAGMENT: Call = slow("Defragment", "/etcdserverpb.Maintenance/Defragment");
pub(crate) const SNAPSHOT: Call = quick("Snapshot", "/etcdserverpb.Maintenance/Snapshot");
pub(crate) const MEMBER_LIST: Call = quick("MemberList", "/etcdserverpb.Cluster/MemberList");
pub(crate) const LEASE_LEASES: Call =
    Call { max_reply: LONG, ..quick("LeaseLeases", "/etcdserverpb.Lease/LeaseLeases") };
pub(crate) const LEASE_GRANT: Call = quick("LeaseGrant", "/etcdserverpb.Lease/LeaseGrant");
pub(crate) const RANGE: Call = Call { max_reply: LONG, ..quick("Range", "/etcdserverpb.KV/Range") };
pub(crate) const PUT: Call = quick("Put", "/etcdserverpb.KV/Put");
pub(crate) const DELETE_RANGE: Call = quick("DeleteRange", "/etcdserverpb.KV/DeleteRange");
pub(crate) const TXN: Call = quick("Txn", "/etcdserverpb.KV/Txn");
pub(crate) const COMPACT: Call = slow("Compact", "/etcdserverpb.KV/Compact");

impl Call {
    /// The time limit of this call, given that of a short one.
    pub(crate) fn limit(&self, command_timeout: Duration) -> Duration {
        if self.slow { command_timeout.saturating_mul(30) } else { command_timeout }
    }
}

/// Who asked whom, for messages.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parties {
    pub(crate) endpoint: String,
    pub(crate) user: Option<String>,
    /// Whether we can show a client certificate.
    pub(crate) certified: bool,
    /// Time limit of a connection attempt.
    pub(crate) dial_timeout: Duration,
    /// What TLS had to say.
    pub(crate) verdict: Verdict,
}

impl Parties {
    /// What an error status means. One with a cause was made here, of a broken connection; one
    /// without came from the server.
    pub(crate) fn explain(&self, call: &'static str, status: &Status) -> Error {
        let endpoint = self.endpoint.clone();
        if let Some(cause) = status.source() {
            return self.broken(Some(call), cause);
        }
        let message = printable(status.message());
        let contains = |part: &str| status.message().contains(part);
        match status.code() {
            Code::Unauthenticated => {
                Error::Unauthenticated { endpoint, call, message, stale_token: true }
            }
            // Texts of etcd; the codes are shared with other errors, and Snapshot and HashKV give none.
            _ if contains("permission denied") => {
                let user = self.user.clone().unwrap_or_else(|| "an unnamed user".into());
                Error::Denied { endpoint, call, user, message }
            }
            _ if contains("invalid auth token") || contains("revision of auth store is old") => {
                Error::Unauthenticated { endpoint, call, message, stale_token: true }
            }
            _ if contains("user name is empty") => {
                // Authentication was enabled after we connected; a token may be had now.
                Error::Unauthenticated { endpoint, call, message, stale_token: true }
            }
            _ if contains("authentication failed") => {
                Error::Unauthenticated { endpoint, call, message, stale_token: false }
            }
            Code::OutOfRange if contains("revision") => Error::Revision { endpoint, call, message },
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => {
                Error::Unavailable { endpoint, call, message }
            }
            code => Error::Rpc { endpoint, call, code, message },
        }
    }

    /// What a failed connection means; `call` is absent while connecting.
    pub(crate) fn broken(
        &self,
        call: Option<&'static str>,
        error: &(dyn StdError + 'static),
    ) -> Error {
        let endpoint = self.endpoint.clone();
        if let Some((fault, detail)) = self.verdict.take() {
            // To Go's TLS before 1.21, no certificate is a bad one.
            let fault = match fault {
                TlsFault::ClientCertificateRefused if !self.certified => {
                    TlsFault::ClientCertificateMissing
                }
                other => other,
            };
            return Error::Tls { endpoint, fault, detail: printable(&detail) };
        }
        if elapsed(error) {
            return self.late(call.unwrap_or("connect"), self.dial_timeout);
        }
        let reason = reason(error);
        match call {
            Some(call) if !refused(error) => Error::Lost { endpoint, call, reason },
            _ => Error::Connect { endpoint, reason },
        }
    }

    pub(crate) fn late(&self, call: &'static str, after: Duration) -> Error {
        Error::Timeout { endpoint: self.endpoint.clone(), call, after }
    }

    pub(crate) fn nonsense(&self, call: &'static str, what: impl Into<String>) -> Error {
        Error::Nonsense { endpoint: self.endpoint.clone(), call, what: what.into() }
    }
}

/// The chain of causes, outermost first. An `io::Error` hides what it wraps from `source`.
fn causes<'e>(error: &'e (dyn StdError + 'static)) -> Vec<&'e (dyn StdError + 'static)> {
    const MAX_DEPTH: usize = 16;
    let inner = |error: &'e (dyn StdError + 'static)| -> Option<&'e (dyn StdError + 'static)> {
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        }
    };
    std::iter::successors(Some(error), |error| inner(*error)).take(MAX_DEPTH).collect()
}

fn elapsed(error: &(dyn StdError + 'static)) -> bool {
    causes(error).iter().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|io| io.kind() == io::ErrorKind::TimedOut)
    })
}

fn refused(error: &(dyn StdError + 'static)) -> bool {
    causes(error).iter().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|io| {
            matches!(io.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
        })
    })
}

/// The causes from the outermost that says something, each once: wrappers repeat what they wrap.
fn reason(error: &(dyn StdError + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in causes(error) {
        let text = printable(&cause.to_string());
        if text != "transport error" && !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
    }
    if parts.is_empty() { "transport error".into() } else { parts.join(": ") }
}

/// A server's text on one line of bounded length.
pub(crate) fn printable(text: &str) -> String {
    const MAX: usize = 300;
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX).collect()
}

#[cfg(test)]
mod tests {
    use etcdr_schemas::Diagnose;

    use super::*;

    fn explain(code: Code, message: &str) -> Error {
        let parties =
            Parties { endpoint: "h:1".into(), user: Some("bob".into()), ..Parties::default() };
        parties.explain("Snapshot", &Status::new(code, message))
    }

    #[test]
    fn etcd_errors_are_told_apart() {
        let denied = explain(Code::PermissionDenied, "etcdserver: permission denied");
        let bare = explain(Code::Unknown, "auth: permission denied");
        assert!(matches!(bare, Error::Denied { .. }));
        assert!(denied.to_string().contains("bob") && denied.next().contains("root role"));
        assert!(explain(Code::Unauthenticated, "etcdserver: invalid auth token").is_stale_token());
        let old = explain(Code::InvalidArgument, "etcdserver: revision of auth store is old");
        assert!(old.is_stale_token());
        let empty = explain(Code::InvalidArgument, "etcdserver: user name is empty");
        assert!(empty.is_about_identity() && empty.is_stale_token() && empty.is_permanent());
        let wrong = explain(
            Code::InvalidArgument,
            "etcdserver: authentication failed, invalid user ID or password",
        );
        assert!(wrong.is_about_identity() && !wrong.is_stale_token());
        let compacted =
            explain(Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted");
        assert!(matches!(compacted, Error::Revision { .. }));
        assert!(!explain(Code::Unavailable, "etcdserver: no leader").is_permanent());
        assert!(explain(Code::Unimplemented, "unknown service").is_permanent());
    }

    #[test]
    fn a_hostile_message_is_cut_and_kept_to_one_line() {
        let text = explain(Code::Unknown, &"x\n\u{1b}[2J".repeat(1000)).to_string();
        assert!(text.len() < 500 && !text.contains(['\n', '\u{1b}']), "{text:?}");
    }
}
