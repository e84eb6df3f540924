//! Who asked whom, and what the failure of a call means.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use tonic::{Code, Status};

use crate::dial::LastTlsFault;
use crate::error::{Error, TlsFault};

/// Who asked whom: what a failure is explained with.
#[derive(Debug, Clone, Default)]
pub(crate) struct CallContext {
    pub(crate) endpoint: String,
    pub(crate) user: Option<String>,
    /// Whether we can show a client certificate.
    pub(crate) certified: bool,
    /// Time limit of a connection attempt.
    pub(crate) dial_timeout: Duration,
    /// What TLS had to say.
    pub(crate) last_fault: LastTlsFault,
}

impl CallContext {
    /// What an error status means. One with a cause was made here, of a broken connection; one
    /// without came from the server.
    pub(crate) fn status_error(&self, call: &'static str, status: &Status) -> Error {
        let endpoint = self.endpoint.clone();
        if let Some(cause) = status.source() {
            return self.connection_error(Some(call), cause);
        }
        let message = printable(status.message());
        let contains = |part: &str| status.message().contains(part);
        match status.code() {
            Code::Unauthenticated => {
                Error::Unauthenticated { endpoint, call, message, stale_token: true }
            }
            // Texts of etcd; the codes are shared with other errors, and Snapshot and HashKV give
            // none.
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
    pub(crate) fn connection_error(
        &self,
        call: Option<&'static str>,
        error: &(dyn StdError + 'static),
    ) -> Error {
        let endpoint = self.endpoint.clone();
        if let Some((fault, detail)) = self.last_fault.take() {
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
            return self.timed_out(call.unwrap_or("connect"), self.dial_timeout);
        }
        let reason = reason(error);
        match call {
            Some(call) if !refused(error) => Error::Lost { endpoint, call, reason },
            _ => Error::Connect { endpoint, reason },
        }
    }

    pub(crate) fn timed_out(&self, call: &'static str, after: Duration) -> Error {
        Error::Timeout { endpoint: self.endpoint.clone(), call, after }
    }

    pub(crate) fn invalid_reply(&self, call: &'static str, what: impl Into<String>) -> Error {
        Error::InvalidReply { endpoint: self.endpoint.clone(), call, what: what.into() }
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

    fn status_error(code: Code, message: &str) -> Error {
        let context = CallContext {
            endpoint: "h:1".into(),
            user: Some("bob".into()),
            ..CallContext::default()
        };
        context.status_error("Snapshot", &Status::new(code, message))
    }

    #[test]
    fn etcd_errors_are_distinguished() {
        let denied = status_error(Code::PermissionDenied, "etcdserver: permission denied");
        let bare = status_error(Code::Unknown, "auth: permission denied");
        assert!(matches!(bare, Error::Denied { .. }));
        assert!(
            denied.to_string().contains("bob") && denied.diagnosis().next.contains("root role")
        );
        assert!(
            status_error(Code::Unauthenticated, "etcdserver: invalid auth token").is_stale_token()
        );
        let old = status_error(Code::InvalidArgument, "etcdserver: revision of auth store is old");
        assert!(old.is_stale_token());
        let empty = status_error(Code::InvalidArgument, "etcdserver: user name is empty");
        assert!(empty.is_about_identity() && empty.is_stale_token() && empty.is_permanent());
        let wrong = status_error(
            Code::InvalidArgument,
            "etcdserver: authentication failed, invalid user ID or password",
        );
        assert!(wrong.is_about_identity() && !wrong.is_stale_token());
        let compacted = status_error(
            Code::OutOfRange,
            "etcdserver: mvcc: required revision has been compacted",
        );
        assert!(matches!(compacted, Error::Revision { .. }));
        assert!(!status_error(Code::Unavailable, "etcdserver: no leader").is_permanent());
        assert!(status_error(Code::Unimplemented, "unknown service").is_permanent());
    }

    #[test]
    fn a_hostile_message_is_cut_and_kept_to_one_line() {
        let text = status_error(Code::Unknown, &"x\n\u{1b}[2J".repeat(1000)).to_string();
        assert!(text.len() < 500 && !text.contains(['\n', '\u{1b}']), "{text:?}");
    }
}
