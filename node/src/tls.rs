//! TLS towards etcd: reading the files, and saying in words what a failed handshake means.

use std::error::Error as StdError;
use std::fmt;
use std::io::{self, Read};
use std::path::Path;

use rustls::{AlertDescription, CertificateError};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use crate::error::Error;
use crate::options::ConnectOptions;

/// A bundle of every public authority is a quarter of this.
const MAX_PEM: u64 = 1 << 20;

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
    /// What answers there does not speak TLS.
    NotTls,
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
            Self::NotTls => "it does not speak TLS",
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
            Self::NotTls => "use http:// if etcd runs without TLS, and check the port",
            Self::Other => "check --cacert, --cert and --key, and etcd's log",
        }
    }
}

/// Builds the TLS part of a connection from the files that the options name.
pub(crate) async fn config(options: &ConnectOptions) -> Result<ClientTlsConfig, Error> {
    let mut config = ClientTlsConfig::new().assume_http2(true).timeout(options.dial_timeout);
    config = match &options.cacert {
        Some(path) => config.ca_certificate(Certificate::from_pem(read_pem(path).await?)),
        None => config.with_native_roots(),
    };
    match (&options.cert, &options.key) {
        (Some(cert), Some(key)) => {
            let identity = Identity::from_pem(read_pem(cert).await?, read_pem(key).await?);
            Ok(config.identity(identity))
        }
        (None, None) => Ok(config),
        _ => Err(Error::Config { what: "--cert and --key belong together; one is missing".into() }),
    }
}

async fn read_pem(path: &Path) -> Result<Vec<u8>, Error> {
    let owned = path.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        std::fs::File::open(owned)?.take(MAX_PEM + 1).read_to_end(&mut bytes)?;
        Ok::<_, io::Error>(bytes)
    });
    let bytes = read
        .await
        .unwrap_or_else(|stopped| Err(io::Error::other(stopped)))
        .map_err(|source| Error::File { path: path.to_owned(), source })?;
    if bytes.len() as u64 > MAX_PEM || !bytes.windows(11).any(|part| part == b"-----BEGIN ") {
        let source = io::Error::new(io::ErrorKind::InvalidData, "not a PEM file");
        return Err(Error::File { path: path.to_owned(), source });
    }
    Ok(bytes)
}

/// Finds the TLS fault in an error's causes. With TLS 1.3 the server judges our certificate after our
/// side of the handshake is over, so its verdict arrives inside an HTTP/2 error, as text.
pub(crate) fn fault(error: &(dyn StdError + 'static)) -> Option<(TlsFault, String)> {
    causes(error).into_iter().find_map(|cause| {
        let typed = cause.downcast_ref::<rustls::Error>().map(of_rustls);
        typed.or_else(|| of_text(&cause.to_string())).map(|fault| (fault, cause.to_string()))
    })
}

/// The chain of causes, outermost first. An `io::Error` hides what it wraps from `source`.
pub(crate) fn causes<'e>(error: &'e (dyn StdError + 'static)) -> Vec<&'e (dyn StdError + 'static)> {
    const MAX_DEPTH: usize = 16;
    let inner = |error: &'e (dyn StdError + 'static)| -> Option<&'e (dyn StdError + 'static)> {
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        }
    };
    std::iter::successors(Some(error), |error| inner(*error)).take(MAX_DEPTH).collect()
}

fn of_rustls(error: &rustls::Error) -> TlsFault {
    match error {
        rustls::Error::InvalidCertificate(reason) => of_certificate(reason),
        rustls::Error::AlertReceived(alert) => of_alert(*alert),
        rustls::Error::InvalidMessage(_) => TlsFault::NotTls,
        _ => TlsFault::Other,
    }
}

fn of_certificate(reason: &CertificateError) -> TlsFault {
    match reason {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => TlsFault::UnknownIssuer,
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            TlsFault::ServerExpired
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            TlsFault::ServerNotYetValid
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            TlsFault::NameMismatch
        }
        _ => TlsFault::Other,
    }
}

fn of_alert(alert: AlertDescription) -> TlsFault {
    match alert {
        AlertDescription::CertificateRequired => TlsFault::ClientCertificateMissing,
        AlertDescription::BadCertificate
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::CertificateRevoked
        | AlertDescription::UnknownCA
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::AccessDenied => TlsFault::ClientCertificateRefused,
        _ => TlsFault::Other,
    }
}

fn of_text(text: &str) -> Option<TlsFault> {
    let (_, alert) = text.split_once("received fatal alert: ")?;
    let name = |alert: AlertDescription| format!("{alert:?}");
    let known = [
        AlertDescription::CertificateRequired,
        AlertDescription::BadCertificate,
        AlertDescription::CertificateExpired,
        AlertDescription::CertificateUnknown,
        AlertDescription::CertificateRevoked,
        AlertDescription::UnknownCA,
        AlertDescription::UnsupportedCertificate,
        AlertDescription::AccessDenied,
    ];
    let known = known.into_iter().find(|known| alert.starts_with(&name(*known)));
    Some(known.map_or(TlsFault::Other, of_alert))
}
