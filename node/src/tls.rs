//! TLS towards etcd: reading the files, and what a failed handshake means.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};

use crate::error::{Error, TlsFault};
use crate::options::ConnectOptions;

/// A bundle of every public authority is a quarter of this.
const MAX_PEM: u64 = 1 << 20;

/// Builds the TLS configuration from the files that the options name.
pub(crate) async fn config(options: &ConnectOptions) -> Result<Arc<ClientConfig>, Error> {
    let unusable = |detail: String| Error::Tls {
        endpoint: options.endpoint.clone(),
        fault: TlsFault::OwnFiles,
        detail,
    };
    // A given bundle replaces the system's authorities: whoever names a private one does not want
    // a public one to vouch for etcd.
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
    // Go's server speaks HTTP/2 only to those who ask for it by ALPN.
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

/// The authorities that the operating system trusts. Those that cannot be parsed are left out: one
/// old certificate on this machine must not keep us from etcd.
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
