//! Why a TLS connection could not be made.

use std::fmt;

/// Why a TLS connection could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsFault {
    /// None of the authorities that we trust signed the server's certificate.
    UnknownIssuer,
    /// The server's certificate has expired.
    ServerExpired,
    /// The server's certificate is not valid yet, or the clock here is wrong.
    ServerNotYetValid,
    /// The server's certificate does not name the host that was asked for.
    NameMismatch,
    /// The server wants a client certificate and got none.
    ClientCertificateMissing,
    /// The server refused the client certificate: expired, or of an authority it does not trust.
    ClientCertificateRefused,
    /// What answers there does not speak TLS, or hangs up on it.
    NotTls,
    /// The certificate, the key or the authority given here cannot be used.
    OwnFiles,
    /// Anything else; the detail says it in the TLS library's words.
    Other,
}

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownIssuer => "its certificate is not signed by an authority trusted here",
            Self::ServerExpired => "its certificate has expired",
            Self::ServerNotYetValid => "its certificate is not valid yet",
            Self::NameMismatch => "its certificate does not name this host",
            Self::ClientCertificateMissing => "it demands a client certificate and none was given",
            Self::ClientCertificateRefused => "it refused the client certificate",
            Self::NotTls => "what answers there does not speak TLS",
            Self::OwnFiles => "the certificates given here cannot be used",
            Self::Other => "the TLS handshake failed",
        })
    }
}

impl TlsFault {
    /// What to do about it.
    pub(crate) const fn next(self) -> &'static str {
        match self {
            Self::UnknownIssuer => {
                "give the authority that signed etcd's certificate with --cacert"
            }
            Self::ServerExpired => "renew etcd's server certificate",
            Self::ServerNotYetValid => "compare the clocks of this machine and of etcd's",
            Self::NameMismatch => {
                "use an endpoint whose host is among the certificate's subject alternative names"
            }
            Self::ClientCertificateMissing => "give a client certificate with --cert and --key",
            Self::ClientCertificateRefused => {
                "check that --cert has not expired and that etcd's --trusted-ca-file signed it"
            }
            Self::NotTls => "use http:// if etcd runs without TLS; check the port",
            Self::OwnFiles => {
                "check that --key belongs to --cert, and that --cacert holds certificates \
                 (where this machine trusts none, give one)"
            }
            Self::Other => "check --cacert, --cert and --key, and etcd's log",
        }
    }
}
