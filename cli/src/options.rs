//! Flags that several commands share, as they are typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use etcdr_node::ConnectOptions;
use etcdr_schemas::ClusterName;
use etcdr_schemas::config::Config;
use etcdr_schemas::units::Span;

/// Flags that every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Where the repository is: file:///path, s3://bucket/prefix, gs://…, az://…
    #[arg(long, global = true, value_name = "URL", env = "ETCDR_REPOSITORY")]
    pub(crate) repository: Option<String>,

    /// Configuration file [default: ./etcdr.yaml, then /etc/etcdr/etcdr.yaml, where there is one]
    #[arg(long, global = true, value_name = "FILE", env = "ETCDR_CONFIG")]
    pub(crate) config: Option<PathBuf>,

    /// Name of the cluster in the repository [default: that of the configuration, else `default`]
    #[arg(long = "cluster", global = true, value_name = "NAME", env = "ETCDR_CLUSTER")]
    pub(crate) named_cluster: Option<ClusterName>,

    /// The cluster to work on, from flags and configuration.
    #[arg(skip)]
    pub(crate) cluster: ClusterName,

    /// The configuration, where there is one.
    #[arg(skip)]
    pub(crate) file: Option<Box<Config>>,

    /// age identity file that decrypts images (repeatable)
    #[arg(long, global = true, value_name = "FILE", env = "ETCDR_IDENTITY")]
    pub(crate) identity: Vec<PathBuf>,

    /// minisign public key; with it, a manifest that is not signed by its secret key is refused
    #[arg(long, global = true, value_name = "FILE", env = "ETCDR_PUBLIC_KEY")]
    pub(crate) public_key: Option<PathBuf>,

    /// CA certificates (PEM) to trust for the object store, beside the system's
    #[arg(long, global = true, value_name = "FILE", env = "ETCDR_STORE_CACERT")]
    pub(crate) store_cacert: Option<PathBuf>,

    /// How results are printed on stdout
    #[arg(long, short, global = true, value_enum, default_value_t = OutputFormat::Table)]
    pub(crate) output: OutputFormat,

    /// Print results and errors only
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,

    /// How log lines are written on stderr; ETCDR_LOG sets what is logged
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people
    Table,
    /// One JSON document, with its schema's name
    Json,
    /// The same as YAML
    Yaml,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// How to reach etcd: the names and environment variables of etcdctl.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "etcd connection")]
pub(crate) struct EtcdFlags {
    /// Endpoints of the cluster; the snapshot is taken from one healthy member, a follower if there
    /// is one [default: that of the configuration, else 127.0.0.1:2379]
    #[arg(long, value_name = "URL,…", env = "ETCDCTL_ENDPOINTS", value_delimiter = ',')]
    pub(crate) endpoints: Vec<String>,

    /// CA certificate that the server's is checked with
    #[arg(long, value_name = "FILE", env = "ETCDCTL_CACERT")]
    pub(crate) cacert: Option<PathBuf>,

    /// Client certificate
    #[arg(long, value_name = "FILE", env = "ETCDCTL_CERT")]
    pub(crate) cert: Option<PathBuf>,

    /// Key of the client certificate
    #[arg(long, value_name = "FILE", env = "ETCDCTL_KEY")]
    pub(crate) key: Option<PathBuf>,

    /// User, as NAME or NAME:PASSWORD; with auth enabled it needs the root role
    #[arg(long, value_name = "NAME", env = "ETCDCTL_USER", hide_env_values = true)]
    pub(crate) user: Option<String>,

    /// Password of the user; the environment variable or --password-file keep it out of process
    /// lists
    #[arg(long, value_name = "TEXT", env = "ETCDCTL_PASSWORD", hide_env_values = true)]
    pub(crate) password: Option<String>,

    /// File whose first line is the password
    #[arg(long, value_name = "FILE", conflicts_with = "password")]
    pub(crate) password_file: Option<PathBuf>,

    /// Time in which a connection must stand
    #[arg(
        long,
        value_name = "TIME",
        env = "ETCDCTL_DIAL_TIMEOUT",
        default_value = "5s",
        value_parser = duration
    )]
    pub(crate) dial_timeout: Duration,

    /// Time in which a short request must be answered (the snapshot stream has no time limit)
    #[arg(
        long,
        value_name = "TIME",
        env = "ETCDCTL_COMMAND_TIMEOUT",
        default_value = "10s",
        value_parser = duration
    )]
    pub(crate) command_timeout: Duration,

    /// Time without progress after which a snapshot stream counts as dead
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub(crate) stall_timeout: Duration,
}

impl EtcdFlags {
    /// How each endpoint is reached. Without `--endpoints`, the configuration's etcd is used, and
    /// flags that were typed come before its values.
    pub(crate) fn connect(&self, file: Option<&Config>) -> anyhow::Result<Vec<ConnectOptions>> {
        let configured = file.filter(|_| self.endpoints.is_empty()).map(|file| &file.etcd);
        let mut options = self.options()?;
        let endpoints = match configured {
            Some(etcd) => {
                let path = |text: &String| PathBuf::from(text);
                options.cacert = options.cacert.or(etcd.cacert.as_ref().map(path));
                options.cert = options.cert.or(etcd.cert.as_ref().map(path));
                options.key = options.key.or(etcd.key.as_ref().map(path));
                if options.user.is_none() {
                    options.user.clone_from(&etcd.user);
                    let file = etcd.password_file.as_deref().map(std::path::Path::new);
                    options.password = file.map(first_line).transpose()?;
                }
                vec![etcd.endpoint.clone()]
            }
            None if self.endpoints.is_empty() => vec!["127.0.0.1:2379".to_owned()],
            None => self.endpoints.clone(),
        };
        Ok(endpoints.into_iter().map(|endpoint| options.at(endpoint)).collect())
    }

    /// What was typed, without an endpoint.
    fn options(&self) -> anyhow::Result<ConnectOptions> {
        let (user, inline) = match self.user.as_deref().map(|user| user.split_once(':')) {
            Some(Some((name, password))) => (Some(name.to_owned()), Some(password.to_owned())),
            _ => (self.user.clone(), None),
        };
        let from_file = self.password_file.as_deref().map(first_line).transpose()?;
        let mut options = ConnectOptions::new(String::new());
        options.cacert.clone_from(&self.cacert);
        options.cert.clone_from(&self.cert);
        options.key.clone_from(&self.key);
        options.user = user;
        options.password = from_file.or_else(|| self.password.clone()).or(inline);
        options.dial_timeout = self.dial_timeout;
        options.command_timeout = self.command_timeout;
        Ok(options)
    }
}

fn first_line(path: &std::path::Path) -> anyhow::Result<String> {
    use anyhow::Context as _;
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the password file {}", path.display()))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// A length of time that is more than nothing, as [`Span`] reads it.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let Span(duration) = text.parse()?;
    match duration.is_zero() {
        false => Ok(duration),
        true => Err(format!("{text:?} is not a positive time")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go_tools() {
        let cases = [
            ("300ms", 300),
            ("5s", 5000),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
            ("1.5", 1500),
        ];
        for (text, millis) in cases {
            assert_eq!(duration(text).unwrap(), Duration::from_millis(millis), "{text}");
        }
        for text in ["", "s", "5q", "-1s", "0", "1e300h", "NaN"] {
            assert!(duration(text).is_err(), "{text:?}");
        }
    }
}
