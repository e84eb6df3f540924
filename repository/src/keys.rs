//! age keys: who can open an image.
//!
//! The agent needs recipients, which are public; identities are needed to restore. Recipients
//! travel as text, so that the manifest can say who is able to open an image.

mod ssh;

use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use age::secrecy::ExposeSecret;
use age::{Decryptor, EncryptError, Encryptor, Identity, IdentityFile, NoCallbacks};

use crate::error::{Error, Result};
use crate::files;

type AnyRecipient = Box<dyn age::Recipient + Send>;
type AnyIdentity = Box<dyn Identity + Send + Sync>;

/// Upper bound of an identity file, in bytes.
const MAX_IDENTITY_FILE: u64 = 1 << 20;

/// Upper bound of the number of recipients of one image.
pub const MAX_RECIPIENTS: usize = 64;

/// A fresh age key pair, as text.
pub struct AgePair {
    /// Content of an identity file as age-keygen writes it: comment lines and the secret key.
    pub identity_file: String,
    /// The recipient: `age1…`.
    pub recipient: String,
}

/// Makes an X25519 pair from the system's randomness.
#[must_use]
pub fn generate() -> AgePair {
    let identity = age::x25519::Identity::generate();
    let recipient = identity.to_public().to_string();
    let secret = identity.to_string();
    let identity_file = format!("# public key: {recipient}\n{}\n", secret.expose_secret());
    AgePair { identity_file, recipient }
}

/// Recipients that were checked to be usable; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipients(Vec<String>);

impl Recipients {
    /// Checks texts: `age1…`, `ssh-ed25519 …`, `ssh-rsa …`, or `age1<plugin>1…`.
    ///
    /// # Errors
    /// [`Error::NoRecipients`] for an empty list, [`Error::BadRecipient`] for a bad or surplus one.
    pub fn parse<S: AsRef<str>>(texts: &[S]) -> Result<Self> {
        if texts.is_empty() {
            return Err(Error::NoRecipients);
        }
        let mut checked: Vec<String> = Vec::new();
        for text in texts {
            let text = without_comment(text.as_ref());
            ParsedRecipient::from_str(&text)?;
            if checked.len() == MAX_RECIPIENTS {
                let reason = format!("an image has at most {MAX_RECIPIENTS} recipients");
                return Err(Error::BadRecipient { text, reason });
            }
            if !checked.contains(&text) {
                checked.push(text);
            }
        }
        Ok(Self(checked))
    }

    /// Checks recipients as people write them: each text is one recipient, or a file with one on
    /// each line.
    ///
    /// # Errors
    /// As [`Recipients::parse`]; [`Error::BadRecipient`] for a text that is neither.
    pub fn parse_or_read<S: AsRef<str>>(texts: &[S]) -> Result<Self> {
        let mut all = Vec::new();
        for text in texts.iter().map(AsRef::as_ref) {
            if text.starts_with("age1") || text.starts_with("ssh-") {
                all.push(text.to_owned());
                continue;
            }
            let content =
                files::read_text(Path::new(text), MAX_IDENTITY_FILE).map_err(|error| {
                    let reason = format!("neither an age recipient nor a file of them: {error}");
                    Error::BadRecipient { text: text.chars().take(120).collect(), reason }
                })?;
            let lines = content.lines().map(str::trim);
            let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
            all.extend(lines.map(str::to_owned));
        }
        Self::parse(&all)
    }

    /// The texts, as they are recorded in a manifest.
    #[must_use]
    pub fn texts(&self) -> &[String] {
        &self.0
    }

    /// Starts an age file. Runs plugins, so it may block.
    pub(crate) fn encryptor(&self) -> Result<Encryptor> {
        let failed = |error: EncryptError| Error::Encrypt { reason: error.to_string() };
        let mut recipients: Vec<AnyRecipient> = Vec::new();
        let mut plugins = Vec::new();
        for text in &self.0 {
            match ParsedRecipient::from_str(text)? {
                ParsedRecipient::Native(recipient) => recipients.push(recipient),
                ParsedRecipient::Plugin(recipient) => plugins.push(recipient),
            }
        }
        let mut names: Vec<&str> = plugins.iter().map(age::plugin::Recipient::plugin).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let plugin = age::plugin::RecipientPluginV1::new(name, &plugins, &[], NoCallbacks);
            let plugin = plugin.map_err(|error| failed(EncryptError::PluginResolve(error)))?;
            recipients.push(Box::new(plugin));
        }
        let recipients = recipients.iter().map(|recipient| recipient.as_ref() as _);
        Encryptor::with_recipients(recipients).map_err(failed)
    }
}

/// One recipient, parsed.
enum ParsedRecipient {
    Native(AnyRecipient),
    Plugin(age::plugin::Recipient),
}

impl FromStr for ParsedRecipient {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Ok(recipient) = text.parse::<age::x25519::Recipient>() {
            return Ok(Self::Native(Box::new(recipient)));
        }
        if let Some(recipient) = ssh::recipient(text)? {
            return Ok(Self::Native(recipient));
        }
        if let Ok(recipient) = text.parse::<age::plugin::Recipient>() {
            return Ok(Self::Plugin(recipient));
        }
        let secret = text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY");
        Err(Error::BadRecipient {
            text: if secret { "AGE-SECRET-KEY-…" } else { text }.chars().take(120).collect(),
            reason: match secret {
                true => "this is a secret key; give the public one, which begins with age1",
                false => "neither an age recipient nor an ssh-ed25519 or ssh-rsa public key",
            }
            .to_owned(),
        })
    }
}

/// The comment of an ssh key is often `user@host`, which a manifest has no reason to record.
fn without_comment(text: &str) -> String {
    let words = if text.trim_start().starts_with("ssh-") { 2 } else { usize::MAX };
    text.split_whitespace().take(words).collect::<Vec<_>>().join(" ")
}

/// Identities that open images. Cloning shares them.
#[derive(Clone, Default)]
pub struct Identities(Arc<Vec<AnyIdentity>>);

impl Identities {
    /// No identity at all: enough for images that are not encrypted.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads identity files: age's (native and plugin keys) and unencrypted OpenSSH private keys.
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::BadKey`]; the content of a file is never part of the text.
    pub fn read<P: AsRef<Path>>(paths: &[P]) -> Result<Self> {
        let mut all = Vec::new();
        for path in paths {
            let path = path.as_ref();
            let text = files::read_text(path, MAX_IDENTITY_FILE)?;
            all.extend(parse(&text, &path.display().to_string())?);
        }
        Ok(Self(Arc::new(all)))
    }

    /// Parses the content of one identity file; `origin` names it in errors.
    ///
    /// # Errors
    /// [`Error::BadKey`].
    pub fn parse(text: &str, origin: &str) -> Result<Self> {
        Ok(Self(Arc::new(parse(text, origin)?)))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an image that is encrypted to these recipients now could be opened. Runs plugins, so
    /// it may block.
    ///
    /// # Errors
    /// [`Error::NoIdentity`], [`Error::WrongIdentity`], and what keeps the probe from being made.
    pub fn check_can_open(&self, recipients: &Recipients) -> Result<()> {
        const PROBE: &[u8] = b"etcdr";
        let failed = |error| Error::from_io("the probe", error);
        let mut sealed = Vec::new();
        let mut writer = recipients.encryptor()?.wrap_output(&mut sealed).map_err(failed)?;
        io::Write::write_all(&mut writer, PROBE).map_err(failed)?;
        writer.finish().map_err(failed)?;
        let mut reader = self.decrypt(sealed.as_slice(), "the probe", recipients.texts())?;
        let mut opened = Vec::new();
        io::Read::read_to_end(&mut reader, &mut opened).map_err(failed)?;
        if opened == PROBE {
            Ok(())
        } else {
            Err(Error::damaged("the probe", "other bytes came out"))
        }
    }

    /// Opens an age file for reading; `key` and `recipients` explain a failure.
    pub(crate) fn decrypt<R: io::Read>(
        &self,
        input: R,
        key: &str,
        recipients: &[String],
    ) -> Result<age::stream::StreamReader<R>> {
        let listed = || recipients.to_vec();
        if self.is_empty() {
            return Err(Error::NoIdentity { key: key.to_owned(), recipients: listed() });
        }
        let fail = |error: age::DecryptError| match error {
            age::DecryptError::Io(error) => Error::from_io(key, error),
            age::DecryptError::NoMatchingKeys
            | age::DecryptError::DecryptionFailed
            | age::DecryptError::KeyDecryptionFailed => {
                Error::WrongIdentity { key: key.to_owned(), recipients: listed() }
            }
            age::DecryptError::PluginResolve(error) => Error::BadKey {
                origin: "the plugin of an identity".into(),
                reason: error.to_string(),
            },
            age::DecryptError::Plugin(_) => Error::BadKey {
                origin: "the plugin of an identity".into(),
                reason: error.to_string(),
            },
            other => Error::damaged(key, format!("not an age file that can be read: {other}")),
        };
        let identities = self.0.iter().map(|identity| identity.as_ref() as &dyn Identity);
        Decryptor::new(input).map_err(fail)?.decrypt(identities).map_err(fail)
    }
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identities({})", self.0.len())
    }
}

fn parse(text: &str, origin: &str) -> Result<Vec<AnyIdentity>> {
    let bad = |reason: String| Error::BadKey { origin: origin.to_owned(), reason };
    if text.trim_start().starts_with("-----BEGIN") {
        return Ok(vec![ssh::identity(text.trim_start(), origin)?]);
    }
    if text.starts_with("age-encryption.org/") || text.starts_with("-----") {
        return Err(bad("the identity file is itself encrypted; decrypt it first".to_owned()));
    }
    let trimmed: String = text.lines().map(|line| format!("{}\n", line.trim())).collect();
    let file = IdentityFile::from_buffer(trimmed.as_bytes())
        .map_err(|_| bad("a line of it is not an age identity (AGE-SECRET-KEY-…)".to_owned()))?;
    let identities = file.into_identities().map_err(|error| bad(error.to_string()))?;
    if identities.is_empty() {
        return Err(bad("it holds no identity".to_owned()));
    }
    Ok(identities)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "ssh")]
    const SSH: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN";

    #[test]
    fn a_generated_pair_parses() {
        let pair = generate();
        assert!(Identities::parse(&pair.identity_file, "x").is_ok());
        let recipients = Recipients::parse(&[pair.recipient.as_str(), &pair.recipient]).unwrap();
        assert_eq!(recipients.texts(), [pair.recipient]);
    }

    #[cfg(feature = "ssh")]
    #[test]
    fn ssh_keys_lose_their_comment() {
        let recipients = Recipients::parse(&[format!(" {SSH}  user@host")]).unwrap();
        assert_eq!(recipients.texts(), [SSH]);
        assert!(recipients.encryptor().is_ok());
    }

    #[test]
    fn bad_recipients_are_refused_and_secrets_not_repeated() {
        let pair = generate();
        let secret = pair.identity_file.lines().last().unwrap();
        for text in ["", "age1", "ssh-dss AAAA", secret] {
            let error = Recipients::parse(&[text]).unwrap_err();
            assert!(matches!(error, Error::BadRecipient { .. }), "{error}");
            assert!(!error.to_string().contains(&secret[20..]), "{error}");
        }
        assert!(matches!(Recipients::parse::<&str>(&[]), Err(Error::NoRecipients)));
    }

    #[test]
    fn bad_identity_files_are_refused_and_not_repeated() {
        for text in ["", "# nothing", "hunter2", "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2"] {
            let error = Identities::parse(text, "id.txt").unwrap_err();
            assert!(matches!(error, Error::BadKey { .. }));
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn the_wrong_identity_learns_who_can_open_it() {
        use std::io::Write as _;
        let (mine, other) = (generate(), generate());
        let recipients = Recipients::parse(&[&mine.recipient]).unwrap();
        let mut writer = recipients.encryptor().unwrap().wrap_output(Vec::new()).unwrap();
        writer.write_all(b"x").unwrap();
        let sealed = writer.finish().unwrap();
        let open = |identities: &Identities| {
            identities.decrypt(sealed.as_slice(), "k", recipients.texts()).map(drop)
        };
        assert!(open(&Identities::parse(&mine.identity_file, "x").unwrap()).is_ok());
        let wrong = open(&Identities::parse(&other.identity_file, "x").unwrap()).unwrap_err();
        assert!(matches!(&wrong, Error::WrongIdentity { .. }));
        assert!(wrong.to_string().contains(&mine.recipient));
        assert!(matches!(open(&Identities::none()), Err(Error::NoIdentity { .. })));
    }
}
