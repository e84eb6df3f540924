//! ssh keys, which age takes for its own. They are behind a feature: with them comes an RSA library
//! that has a timing weakness nobody has fixed (RUSTSEC-2023-0071).

use super::{AnyIdentity, AnyRecipient};
use crate::error::{Error, Result};

/// The recipient that an ssh public key is; none for text of another kind.
///
/// # Errors
/// [`Error::BadRecipient`] for any ssh key, in a build without the feature.
#[cfg(feature = "ssh")]
pub(super) fn recipient(text: &str) -> Result<Option<AnyRecipient>> {
    let parsed = text.parse::<age::ssh::Recipient>().ok();
    Ok(parsed.map(|recipient| Box::new(recipient) as AnyRecipient))
}

#[cfg(not(feature = "ssh"))]
pub(super) fn recipient(text: &str) -> Result<Option<AnyRecipient>> {
    match text.starts_with("ssh-") {
        false => Ok(None),
        true => Err(Error::BadRecipient {
            text: text.chars().take(120).collect(),
            reason: format!("{WITHOUT}; give an age recipient (age1…)"),
        }),
    }
}

/// The identity that an unencrypted OpenSSH private key is; `origin` names it in errors.
///
/// # Errors
/// [`Error::BadKey`]; always, in a build without the feature.
#[cfg(feature = "ssh")]
pub(super) fn identity(text: &str, origin: &str) -> Result<AnyIdentity> {
    let bad = |reason: &str| Error::BadKey { origin: origin.to_owned(), reason: reason.to_owned() };
    let identity = age::ssh::Identity::from_buffer(text.as_bytes(), None)
        .map_err(|_| bad("it is not an OpenSSH private key that age can read"))?;
    match identity {
        age::ssh::Identity::Unencrypted(_) => Ok(Box::new(identity)),
        age::ssh::Identity::Encrypted(_) => {
            Err(bad("the ssh key has a passphrase; use a copy without one, or an age identity"))
        }
        age::ssh::Identity::Unsupported(_) => Err(bad("age cannot use this kind of ssh key")),
    }
}

#[cfg(not(feature = "ssh"))]
pub(super) fn identity(_text: &str, origin: &str) -> Result<AnyIdentity> {
    let reason = format!("{WITHOUT}; use an age identity (AGE-SECRET-KEY-…)");
    Err(Error::BadKey { origin: origin.to_owned(), reason })
}

#[cfg(not(feature = "ssh"))]
const WITHOUT: &str = "this etcdr was built without support for ssh keys";

#[cfg(all(test, not(feature = "ssh")))]
mod tests {
    use crate::keys::{Identities, Recipients};

    #[test]
    fn a_build_without_ssh_keys_says_so() {
        let error = Recipients::parse(&["ssh-ed25519 AAAA"]).unwrap_err().to_string();
        assert!(error.contains("built without support for ssh keys"), "{error}");
        let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2";
        let error = Identities::parse(key, "id").unwrap_err().to_string();
        assert!(error.contains("built without support for ssh keys"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}
