//! Where a repository is, and how to reach it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use url::Url;

use crate::error::{Error, Result};

/// Location of a repository. Printing it never prints credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location(StoreKind);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoreKind {
    /// A directory.
    File(PathBuf),
    /// Memory of this process; gone when the store is dropped.
    Memory,
    /// Amazon S3 or what speaks its protocol.
    S3(Bucket),
    /// Google Cloud Storage.
    Gcs(Bucket),
    /// Azure Blob Storage.
    Azure(Bucket),
}

/// A bucket or container and a prefix in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bucket {
    pub(crate) name: String,
    pub(crate) prefix: String,
}

impl Location {
    /// A local directory.
    #[must_use]
    pub fn directory(path: impl Into<PathBuf>) -> Self {
        Self(StoreKind::File(path.into()))
    }

    /// Memory of this process.
    #[must_use]
    pub const fn memory() -> Self {
        Self(StoreKind::Memory)
    }

    pub(crate) const fn kind(&self) -> &StoreKind {
        &self.0
    }

    /// Whether it is on this machine: a request costs no round trip, so reading ahead would only
    /// cost memory.
    pub(crate) const fn is_local(&self) -> bool {
        match self.0 {
            StoreKind::File(_) | StoreKind::Memory => true,
            StoreKind::S3(_) | StoreKind::Gcs(_) | StoreKind::Azure(_) => false,
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bucket = |scheme: &str, bucket: &Bucket| {
            let slash = if bucket.prefix.is_empty() { "" } else { "/" };
            write!(f, "{scheme}://{}{slash}{}", bucket.name, bucket.prefix)
        };
        match &self.0 {
            StoreKind::S3(at) => bucket("s3", at),
            StoreKind::Gcs(at) => bucket("gs", at),
            StoreKind::Azure(at) => bucket("az", at),
            StoreKind::Memory => f.write_str("memory:"),
            StoreKind::File(path) => match Url::from_file_path(path) {
                Ok(url) => f.write_str(url.as_str()),
                Err(()) => write!(f, "file:{}", path.display()),
            },
        }
    }
}

impl FromStr for Location {
    type Err = Error;

    /// `file:///path`, `file:relative/path`, a bare path that begins with `/`, `./` or `../`,
    /// `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`, `memory:`.
    fn from_str(text: &str) -> Result<Self> {
        if text.starts_with('/') || text.starts_with("./") || text.starts_with("../") {
            return Ok(Self::directory(text));
        }
        match text.split_once(':') {
            Some(("file", rest)) => file(text, rest),
            Some(("memory", "" | "/" | "///")) => Ok(Self::memory()),
            Some(("s3" | "s3a", _)) => Ok(Self(StoreKind::S3(bucket(text)?))),
            Some(("gs", _)) => Ok(Self(StoreKind::Gcs(bucket(text)?))),
            Some(("az" | "azure", _)) => Ok(Self(StoreKind::Azure(bucket(text)?))),
            Some((scheme, _)) => Err(bad(text, format!("scheme {scheme:?} is not known"))),
            None => Err(bad(text, "it has no scheme")),
        }
    }
}

/// The part after `file:`. Relative paths stay relative to the process, which `Url` would not
/// allow.
fn file(text: &str, rest: &str) -> Result<Location> {
    let path = if rest.starts_with("//") {
        let url = Url::parse(text).map_err(|error| bad(text, error.to_string()))?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(bad(text, "? and # in a file URL are written %3F and %23"));
        }
        url.to_file_path().map_err(|()| bad(text, "a file URL has three slashes: file:///path"))?
    } else {
        PathBuf::from(rest)
    };
    if path.as_os_str().is_empty() || path == Path::new("/") {
        return Err(bad(text, "it names no directory"));
    }
    Ok(Location::directory(path))
}

fn bucket(text: &str) -> Result<Bucket> {
    let url = Url::parse(text).map_err(|error| bad(text, error.to_string()))?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err(bad(text, "credentials and options come from the environment, not the URL"));
    }
    let name = url.host_str().unwrap_or_default().to_owned();
    if name.is_empty() {
        return Err(bad(text, "it names no bucket"));
    }
    let prefix = url.path().trim_matches('/');
    let harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '=');
    let segments = || prefix.split('/');
    let bad_segment = |part: &str| part == "." || part == ".." || part.is_empty();
    if !prefix.is_empty() && (!prefix.chars().all(harmless) || segments().any(bad_segment)) {
        return Err(bad(
            text,
            "a prefix is made of letters, digits and . _ - = between single slashes",
        ));
    }
    Ok(Bucket { name, prefix: prefix.to_owned() })
}

/// The error never repeats what may hold a password.
fn bad(text: &str, reason: impl Into<String>) -> Error {
    let shown = match text.split_once('@') {
        Some((_, host)) if text.contains("://") => format!("…@{host}"),
        _ => text.to_owned(),
    };
    let shown = shown.split('?').next().unwrap_or_default().chars().take(200).collect();
    Error::BadLocation { text: shown, reason: reason.into() }
}

/// How to reach a store. Values that come from the environment are collected by the caller.
#[derive(Clone)]
pub struct StoreOptions {
    /// `AWS_*`, `AZURE_*` and `GOOGLE_*` variables; other names are ignored.
    pub variables: BTreeMap<String, String>,
    /// PEM file with the certificates of a private authority, trusted beside the system's.
    pub ca_bundle: Option<PathBuf>,
    /// Time in which a connection must stand.
    pub connect_timeout: Duration,
    /// Time in which one request, with its body, must be done.
    pub request_timeout: Duration,
    /// How often one request is tried again after a failure that may pass.
    pub retries: usize,
    /// First pause between two tries; it doubles.
    pub retry_pause: Duration,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            variables: BTreeMap::new(),
            ca_bundle: None,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(120),
            retries: 5,
            retry_pause: Duration::from_millis(200),
        }
    }
}

impl StoreOptions {
    /// The defaults with the variables of an environment that concern object stores.
    pub fn from_variables(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let ours = |name: &str| {
            ["AWS_", "AZURE_", "GOOGLE_"].iter().any(|prefix| name.starts_with(prefix))
        };
        let variables: BTreeMap<_, _> =
            variables.into_iter().filter(|(name, value)| ours(name) && !value.is_empty()).collect();
        let ca_bundle = variables.get("AWS_CA_BUNDLE").map(PathBuf::from);
        Self { variables, ca_bundle, ..Self::default() }
    }
}

impl fmt::Debug for StoreOptions {
    /// Names only: the values are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreOptions")
            .field("variables", &self.variables.keys().collect::<Vec<_>>())
            .field("ca_bundle", &self.ca_bundle)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_print_as_they_are_meant() {
        let cases = [
            ("file:///var/backups/etcd", "file:///var/backups/etcd"),
            ("/var/backups/etcd", "file:///var/backups/etcd"),
            ("file:./x", "file:./x"),
            ("./x", "file:./x"),
            ("file:///with%20space", "file:///with%20space"),
            ("/with?question", "file:///with%3Fquestion"),
            ("s3://bucket", "s3://bucket"),
            ("s3://bucket/a/b/", "s3://bucket/a/b"),
            ("gs://bucket/a", "gs://bucket/a"),
            ("az://container/a", "az://container/a"),
            ("memory:", "memory:"),
        ];
        for (text, want) in cases {
            assert_eq!(text.parse::<Location>().unwrap().to_string(), want);
        }
    }

    #[test]
    fn nonsense_is_refused_without_repeating_secrets() {
        let cases = [
            "",
            "backup",
            "ftp://host/x",
            "s3://",
            "s3:///x",
            "file:",
            "file:///",
            "file://host/x",
            "file:///with?question",
            "s3://bucket/a//b",
            "gs://bucket/a b",
            "s3://b/?secret=hunter2",
            "s3://user:hunter2@bucket/x",
        ];
        for text in cases {
            let error = text.parse::<Location>().unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn options_do_not_print_secrets() {
        let options = StoreOptions::from_variables([
            ("AWS_SECRET_ACCESS_KEY".to_owned(), "hunter2".to_owned()),
            ("HOME".to_owned(), "/root".to_owned()),
        ]);
        let text = format!("{options:?}");
        assert!(text.contains("AWS_SECRET_ACCESS_KEY") && !text.contains("hunter2"));
        assert!(!text.contains("HOME"));
    }
}
