//! Certificates for the TLS tests, made anew for every run.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use tempfile::TempDir;

/// A certificate and its key as PEM files.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// A CA with a server's and clients' certificates, and a second CA that nobody should trust.
#[derive(Debug)]
pub struct Certs {
    dir: TempDir,
    /// The CA's certificate.
    pub ca: PathBuf,
    /// Another CA's certificate.
    pub wrong_ca: PathBuf,
    /// For `localhost` and `127.0.0.1`.
    pub server: Pair,
    /// A good client.
    pub client: Pair,
    /// A client whose certificate has expired.
    pub expired: Pair,
}

impl Certs {
    /// Makes them.
    ///
    /// # Panics
    /// When they cannot be made or written.
    #[must_use]
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (issuer, ca) = authority(dir.path(), "ca");
        let (_, wrong_ca) = authority(dir.path(), "wrong-ca");
        Self {
            ca,
            wrong_ca,
            server: leaf(dir.path(), "server", &issuer, false),
            client: leaf(dir.path(), "client", &issuer, false),
            expired: leaf(dir.path(), "expired", &issuer, true),
            dir,
        }
    }

    /// The directory with all files.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl Default for Certs {
    fn default() -> Self {
        Self::new()
    }
}

fn authority(dir: &Path, name: &str) -> (Issuer<'static, KeyPair>, PathBuf) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params.distinguished_name.push(DnType::CommonName, format!("test {name}"));
    let cert = params.self_signed(&key).expect("a certificate");
    let path = dir.join(format!("{name}.pem"));
    std::fs::write(&path, cert.pem()).expect("a file");
    (Issuer::new(params, key), path)
}

fn leaf(dir: &Path, name: &str, issuer: &Issuer<'static, KeyPair>, expired: bool) -> Pair {
    let key = KeyPair::generate().expect("a key");
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut params = CertificateParams::new(names).expect("names");
    params.distinguished_name.push(DnType::CommonName, name);
    // etcd's gateway is a client of its own server, with the server's certificate.
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    if expired {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    }
    let cert = params.signed_by(&key, issuer).expect("a certificate");
    let pair = Pair { cert: dir.join(format!("{name}.pem")), key: dir.join(format!("{name}.key")) };
    std::fs::write(&pair.cert, cert.pem()).expect("a file");
    std::fs::write(&pair.key, key.serialize_pem()).expect("a file");
    pair
}
