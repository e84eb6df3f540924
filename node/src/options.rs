//! How to reach an etcd: what etcdctl takes as flags.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::endpoint::Target;
use crate::error::Error;

/// Connection options, named as etcdctl names its flags.
///
/// Certificates are read when a connection is made; a long-running caller that connects again for
/// every task thereby follows rotated files.
#[derive(Clone)]
pub struct ConnectOptions {
    /// One endpoint as etcd spells it: `127.0.0.1:2379`, `http://…`, `https://…`, `unix://…`,
    /// `unixs://…`. Without a scheme, TLS is used when one of `cacert`, `cert` and `key` is given.
    pub endpoint: String,
    /// PEM bundle of the authorities that may have signed the server's certificate. Without it,
    /// those of the operating system.
    pub cacert: Option<PathBuf>,
    /// PEM certificate to present to the server.
    pub cert: Option<PathBuf>,
    /// PEM key of `cert`.
    pub key: Option<PathBuf>,
    /// Name of an etcd user, or `name:password`.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<String>,
    /// Time limit for connecting, TLS handshake included.
    pub dial_timeout: Duration,
    /// Time limit for a short call. Calls that walk the whole database (HashKV, defragment,
    /// compaction) get thirty times as long.
    pub command_timeout: Duration,
}

impl ConnectOptions {
    /// More than etcdctl's 2 s: a busy machine, a slow name server and a TLS handshake add up.
    pub const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
    /// Long enough for a leader election to end.
    pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

    /// Options with the default time limits, without TLS files and without a user.
    #[must_use]
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            cacert: None,
            cert: None,
            key: None,
            user: None,
            password: None,
            dial_timeout: Self::DIAL_TIMEOUT,
            command_timeout: Self::COMMAND_TIMEOUT,
        }
    }

    /// Whether the endpoint can be parsed; nothing is connected.
    ///
    /// # Errors
    /// [`Error::Config`] with what is wrong with it.
    pub fn check(&self) -> Result<(), Error> {
        Target::parse(&self.endpoint, self.has_tls_files()).map(drop)
    }

    /// These options for another endpoint, e.g. another member of the cluster.
    #[must_use]
    pub fn at(&self, endpoint: impl Into<String>) -> Self {
        Self { endpoint: endpoint.into(), ..self.clone() }
    }

    pub(crate) const fn has_tls_files(&self) -> bool {
        self.cacert.is_some() || self.cert.is_some() || self.key.is_some()
    }
}

/// Everything but the secrets: `user` may hold a password too.
impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectOptions")
            .field("endpoint", &self.endpoint)
            .field("cacert", &self.cacert)
            .field("cert", &self.cert)
            .field("key", &self.key)
            .field("user", &self.user.as_deref().and_then(|user| user.split(':').next()))
            .field("dial_timeout", &self.dial_timeout)
            .field("command_timeout", &self.command_timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_printed() {
        let mut options = ConnectOptions::new("h:1");
        options.user = Some("root:hush".into());
        options.password = Some("hush".into());
        let text = format!("{options:?}");
        assert!(text.contains("root") && !text.contains("hush"), "{text}");
    }
}
