//! minisign signatures of manifests: `minisign -V` checks them without etcdr.
//!
//! The signature covers the manifest's exact bytes, and through them the digests of the image.
//! Where a public key is configured, a manifest is verified before any other field of it is used.

use std::fmt;
use std::io::Cursor;
use std::path::Path;

use etcdr_schemas::SnapshotId;
use minisign::{KeyPair, SecretKeyBox, SignatureBox};

use crate::error::{Error, Result};
use crate::files;

/// Upper bound of a key file or signature, in bytes.
pub(crate) const MAX_TEXT: u64 = 4096;

/// Base64 digits of a signature with algorithm and key id (74 bytes), and of a bare one (64 bytes).
const SIGNATURE_DIGITS: usize = 100;
const GLOBAL_DIGITS: usize = 88;

/// A fresh minisign pair, as the text of the two files.
pub struct SigningPair {
    /// Secret key file, without a passphrase: the agent signs unattended.
    pub secret_file: String,
    /// Public key file.
    pub public_file: String,
}

/// Makes a pair from the system's randomness.
///
/// # Errors
/// [`Error::BadKey`] when the system has no randomness to give.
pub fn generate() -> Result<SigningPair> {
    let fail = |error: minisign::PError| bad("the new key pair", error.to_string());
    let pair = KeyPair::generate_unencrypted_keypair().map_err(fail)?;
    let secret = pair.sk.to_box(Some("etcdr signing key, without a passphrase")).map_err(fail)?;
    let public = pair.pk.to_box().map_err(fail)?;
    Ok(SigningPair { secret_file: secret.into_string(), public_file: public.into_string() })
}

/// A secret key that signs manifests.
pub struct SigningKey(minisign::SecretKey);

impl SigningKey {
    /// Reads a secret key file without a passphrase.
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::BadKey`].
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(&files::read_text(path, MAX_TEXT)?, &path.display().to_string())
    }

    /// Parses the content of a secret key file; `origin` names it in errors.
    ///
    /// # Errors
    /// [`Error::BadKey`].
    pub fn parse(text: &str, origin: &str) -> Result<Self> {
        let secret = SecretKeyBox::from_string(text)
            .and_then(SecretKeyBox::into_unencrypted_secret_key)
            .map_err(|_| bad(origin, "not a minisign secret key without a passphrase"))?;
        Ok(Self(secret))
    }

    /// Whether this public key vouches for what this key signs.
    ///
    /// # Errors
    /// [`Error::BadKey`] when it does not.
    pub fn check_matches(&self, public: &PublicKey) -> Result<()> {
        let signature = self.sign_as("etcdr probe", b"etcdr")?;
        let vouched = public.verify_bytes(b"etcdr", signature.as_bytes());
        vouched.map_err(|reason| {
            bad("the public key", format!("not that of the signing key: {reason}"))
        })
    }

    /// The `.minisig` file of a manifest.
    pub(crate) fn sign(&self, id: &SnapshotId, manifest: &[u8]) -> Result<String> {
        self.sign_as(&format!("etcdr manifest {id}"), manifest)
    }

    /// The `.minisig` file of any text; `trusted` is the comment that the signature covers.
    pub(crate) fn sign_as(&self, trusted: &str, text: &[u8]) -> Result<String> {
        minisign::sign(None, &self.0, text, Some(trusted), Some("signature by etcdr"))
            .map(SignatureBox::into_string)
            .map_err(|error| bad("the signing key", error.to_string()))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

/// A public key that manifests must be signed with.
#[derive(Debug, Clone)]
pub struct PublicKey(minisign::PublicKey);

impl PublicKey {
    /// Reads a public key file.
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::BadKey`].
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(&files::read_text(path, MAX_TEXT)?, &path.display().to_string())
    }

    /// Parses a public key file, or its one line of base64; `origin` names it in errors.
    ///
    /// # Errors
    /// [`Error::BadKey`].
    pub fn parse(text: &str, origin: &str) -> Result<Self> {
        let line = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
        minisign::PublicKey::from_base64(line)
            .map(Self)
            .map_err(|_| bad(origin, "not a minisign public key"))
    }

    /// Checks the signature of a manifest's bytes.
    pub(crate) fn verify(&self, id: &SnapshotId, manifest: &[u8], signature: &[u8]) -> Result<()> {
        self.verify_bytes(manifest, signature)
            .map_err(|reason| Error::BadSignature { id: *id, reason })
    }

    /// Checks the signature of any bytes; the error says what is wrong with it.
    pub(crate) fn verify_bytes(&self, bytes: &[u8], signature: &[u8]) -> Result<(), String> {
        let text = std::str::from_utf8(signature).map_err(|_| "not text".to_owned())?;
        // The minisign crate does not check these lengths.
        if !is_signature_shaped(text) {
            return Err("not a minisign signature".to_owned());
        }
        let signature = SignatureBox::from_string(text).map_err(|error| error.to_string())?;
        let data = Cursor::new(bytes);
        minisign::verify(&self.0, &signature, data, true, false, false)
            .map_err(|error| error.to_string())
    }
}

/// Whether the text has the four lines of a signature, with their lengths.
fn is_signature_shaped(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim);
    let (_, signature) = (lines.next(), lines.next().map(str::len));
    let (_, global) = (lines.next(), lines.next().map(str::len));
    signature == Some(SIGNATURE_DIGITS) && global == Some(GLOBAL_DIGITS) && lines.next().is_none()
}

fn bad(origin: &str, reason: impl Into<String>) -> Error {
    Error::BadKey { origin: origin.to_owned(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> (SigningKey, PublicKey) {
        let pair = generate().unwrap();
        let secret = SigningKey::parse(&pair.secret_file, "s").unwrap();
        (secret, PublicKey::parse(&pair.public_file, "p").unwrap())
    }

    fn id() -> SnapshotId {
        "20261122T070000Z-r00000000000000012345-1a2b3c4d".parse().unwrap()
    }

    #[test]
    fn a_signature_is_good_for_its_bytes_and_key_only() {
        let ((secret, public), (_, stranger)) = (keys(), keys());
        let signature = secret.sign(&id(), b"manifest").unwrap().into_bytes();
        public.verify(&id(), b"manifest", &signature).unwrap();
        assert!(public.verify(&id(), b"manifesT", &signature).is_err());
        assert!(stranger.verify(&id(), b"manifest", &signature).is_err());
    }

    #[test]
    fn no_flipped_or_cut_signature_passes_or_panics() {
        let (secret, public) = keys();
        let good = secret.sign(&id(), b"manifest").unwrap().into_bytes();
        let untrusted = good.iter().position(|&byte| byte == b'\n').unwrap();
        for at in untrusted + 1..good.len() - 1 {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(public.verify(&id(), b"manifest", &bad).is_err(), "byte {at}");
        }
        for len in 0..good.len() - 1 {
            assert!(public.verify(&id(), b"manifest", &good[..len]).is_err(), "length {len}");
        }
    }

    #[test]
    fn bad_keys_are_errors() {
        let pair = generate().unwrap();
        for text in ["", "x", "untrusted comment: x\nAAAA", &pair.public_file] {
            assert!(SigningKey::parse(text, "s").is_err());
        }
        for text in ["", "x", "RWQ", &pair.secret_file] {
            assert!(PublicKey::parse(text, "p").is_err());
        }
        let line = pair.public_file.lines().last().unwrap();
        assert!(PublicKey::parse(line, "p").is_ok());
    }
}
