//! TLS towards etcd: reading the files, and saying in words what a failed handshake means.

use std::fmt;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};

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
                "check that --key belongs to --cert, and that --cacert holds certificates (where this \
                 machine trusts none, give one)"
            }
            Self::Other => "check --cacert, --cert and --key, and etcd's log",
        }
    }
}

/// Builds the TLS configuration from the files that the options name.
pub(crate) async fn config(options: &ConnectOptions) -> Result<Arc<ClientConfig>, Error> {
    let unusable = |detail: String| Error::Tls {
        endpoint: options.endpoint.clone(),
        fault: TlsFault::OwnFiles,
        detail,
    };
    let roots = match &options.cacert {
        Some(path) => given_roots(&read_pem(path).await?).map_err(unusable)?,
        None => system_roots().await.map_err(unusable)?,
    };
    let identity = match (&options.cert, &options.key) {
        (Some(cert), Some(key)) => Some((read_pem(cert).await?, read_pem(key).await?)),
        (None, None) => None,
        _ => return Err(Error::Config { what: "--cert and --key belong together".into() }),
    };
    assemble(roots, identity).map(Arc::new).map_err(unusable)
}

type Pem = Vec<u8>;

fn assemble(roots: RootCertStore, identity: Option<(Pem, Pem)>) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let chain = certificates(&cert)?;
            let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| error.to_string())?;
            builder.with_client_auth_cert(chain, key).map_err(|error| error.to_string())?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn given_roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    Ok(roots)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let read = read.map_err(|error| error.to_string())?;
    if read.is_empty() { Err("the file holds no certificate".into()) } else { Ok(read) }
}

/// The authorities that the operating system trusts; those that cannot be parsed are left out.
async fn system_roots() -> Result<RootCertStore, String> {
    let loaded = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(loaded.map_err(|error| error.to_string())?.certs);
    if roots.is_empty() {
        return Err("this machine trusts no authority and no --cacert is given".into());
    }
    Ok(roots)
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

/// What a failed handshake means.
pub(crate) fn handshake_fault(error: &io::Error) -> (TlsFault, String) {
    fault(error).unwrap_or_else(|| {
        let fault = match error.kind() {
            // A server that expects something else hangs up on a TLS greeting.
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => TlsFault::NotTls,
            _ => TlsFault::Other,
        };
        (fault, error.to_string())
    })
}

/// What an error of a TLS stream means, if TLS is what it is about.
pub(crate) fn fault(error: &io::Error) -> Option<(TlsFault, String)> {
    let cause = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some((of_rustls(cause), cause.to_string()))
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
