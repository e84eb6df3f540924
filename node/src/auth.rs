//! Name and password, and the token that etcd gives for them.

use std::sync::{Mutex, PoisonError};

use tonic::metadata::{Ascii, MetadataValue};

use crate::error::Error;
use crate::options::ConnectOptions;

/// A token as the `token` metadata of a request.
pub(crate) type Token = MetadataValue<Ascii>;

/// What etcd's `Authenticate` wants, and what it gave last.
pub(crate) struct Auth {
    credentials: Option<Credentials>,
    token: Mutex<Option<Token>>,
}

/// Name and password. No `Debug`: a password is not printed.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) name: String,
    pub(crate) password: String,
}

impl Auth {
    /// Takes `user` and `password`, or `name:password` in `user`, as etcdctl does.
    pub(crate) fn new(options: &ConnectOptions) -> Result<Self, Error> {
        let credentials = match (options.user.as_deref(), options.password.as_deref()) {
            (None | Some(""), _) => None,
            (Some(name), Some(password)) => Some((name, password)),
            (Some(both), None) => Some(both.split_once(':').ok_or_else(|| Error::Config {
                what: "a user was given without a password".into(),
            })?),
        };
        let credentials = credentials.map(|(name, password)| Credentials {
            name: name.to_owned(),
            password: password.to_owned(),
        });
        Ok(Self { credentials, token: Mutex::new(None) })
    }

    pub(crate) const fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    pub(crate) fn token(&self) -> Option<Token> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn store_token(&self, token: Option<Token>) {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = token;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_password_come_as_etcdctl_takes_them() {
        let read = |user: Option<&str>, password: Option<&str>| {
            let mut options = ConnectOptions::new("h:1");
            options.user = user.map(str::to_owned);
            options.password = password.map(str::to_owned);
            let auth = Auth::new(&options)?;
            Ok::<_, Error>(auth.credentials().map(|c| (c.name.clone(), c.password.clone())))
        };
        let pair = |name: &str, password: &str| Some((name.to_owned(), password.to_owned()));
        assert_eq!(read(None, None).unwrap(), None);
        assert_eq!(read(Some("root:a:b"), None).unwrap(), pair("root", "a:b"));
        assert_eq!(read(Some("root:x"), Some("y")).unwrap(), pair("root:x", "y"));
        assert!(matches!(read(Some("root"), None), Err(Error::Config { .. })));
    }
}
