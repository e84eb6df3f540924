//! Reads the certificate files of the admin interface, again after they changed.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::Error;

/// Bytes of one PEM file.
const MAX_PEM: u64 = 1 << 20;

/// What the interface shows, and whom it believes, as its files say: they are read again for each
/// connection, since certificates are renewed under an agent that runs for years. What callers must
/// show does not depend on them.
pub(super) struct Certificates {
    files: [PathBuf; 3],
    loaded: Mutex<Loaded>,
}

struct Loaded {
    /// Authority, certificate and key as they were read last.
    read: [Vec<u8>; 3],
    config: Arc<ServerConfig>,
    /// Why the files cannot be used now, if so; logged once.
    refused: Option<String>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key is in it.
        f.debug_struct("Certificates").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Certificates {
    /// Reads authority, certificate and key.
    ///
    /// # Errors
    /// [`Error::File`], and [`Error::Listen`] when they do not belong together.
    pub(super) fn load(files: [PathBuf; 3], address: &str) -> Result<Self, Error> {
        let read = read_all(&files)?;
        let config = config(&read)
            .map_err(|reason| Error::Listen { address: address.to_owned(), reason })?;
        Ok(Self { files, loaded: Mutex::new(Loaded { read, config, refused: None }) })
    }

    /// As the files are now; as they were while they cannot be used, such as in the middle of a
    /// renewal. Blocks.
    pub(super) fn current(&self) -> Arc<ServerConfig> {
        let read = read_all(&self.files).map_err(|error| error.to_string());
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        match read.and_then(|read| loaded.take(read)) {
            Ok(()) => loaded.refused = None,
            Err(reason) if loaded.refused.as_ref() == Some(&reason) => {}
            Err(reason) => {
                tracing::warn!(
                    reason,
                    "the admin interface's certificates cannot be used; the old ones stay"
                );
                loaded.refused = Some(reason);
            }
        }
        Arc::clone(&loaded.config)
    }
}

impl Loaded {
    fn take(&mut self, read: [Vec<u8>; 3]) -> Result<(), String> {
        if read != self.read {
            self.config = config(&read)?;
            self.read = read;
            tracing::info!("the admin interface's certificates were read again");
        }
        Ok(())
    }
}

/// Nobody is answered who does not show a certificate of the authority.
fn config([authority, cert, key]: &[Vec<u8>; 3]) -> Result<Arc<ServerConfig>, String> {
    let text = |error: &dyn std::error::Error| super::error::chain(error);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(authority)?);
    let callers = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider))
        .build()
        .map_err(|error| text(&error))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| text(&error))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| text(&error))?
        .with_client_cert_verifier(callers)
        .with_single_cert(certificates(cert)?, key)
        .map_err(|error| text(&error))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    read.map_err(|error| error.to_string())
}

fn read_all([authority, cert, key]: &[PathBuf; 3]) -> Result<[Vec<u8>; 3], Error> {
    Ok([read(authority)?, read(cert)?, read(key)?])
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_PEM + 1).read_to_end(&mut bytes));
    let good =
        bytes.len() as u64 <= MAX_PEM && bytes.windows(11).any(|part| part == b"-----BEGIN ");
    let read = read.and_then(|_| match good {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "not a PEM file")),
    });
    read.map_err(|source| Error::File { path: path.to_owned(), source })?;
    Ok(bytes)
}
