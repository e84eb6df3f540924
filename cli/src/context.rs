//! What the commands need from outside: the clock, randomness, the environment, key files, the
//! repository.

use std::collections::BTreeMap;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use etcdr_operations::settings::Settings;
use etcdr_repository::{Identities, Location, PublicKey, Repository, StoreOptions};
use etcdr_schemas::repository::RepositoryInfo;

use crate::exit::CliError;
use crate::options::Global;

/// Version of this tool, as manifests and receipts record it.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The time.
#[expect(clippy::disallowed_methods, reason = "the one place that asks the clock")]
pub(crate) fn now() -> DateTime<Utc> {
    Utc::now()
}

/// Random bytes from the operating system.
pub(crate) fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).context("the operating system gives no random numbers")?;
    Ok(bytes)
}

/// Random text of `2 * N` hex digits.
pub(crate) fn random_hex<const N: usize>() -> anyhow::Result<String> {
    Ok(random::<N>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Runs blocking work on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await.context("a worker thread ended early")
}

impl Global {
    /// The repository's location, from flag or environment.
    pub(crate) fn location(&self) -> anyhow::Result<Location> {
        let Some(url) = &self.repository else {
            return Err(CliError::usage(
                "no repository was named",
                "Say --repository URL or set ETCDR_REPOSITORY, e.g. file:///var/backups/etcd or \
                 s3://bucket/prefix.",
            )
            .into());
        };
        Ok(url.parse::<Location>()?)
    }

    /// Opens the repository. With a public key, manifests that it does not vouch for are refused.
    pub(crate) async fn open(&self) -> anyhow::Result<Repository> {
        let repository = Repository::open(&self.location()?, &self.store_options()?).await?;
        Ok(match &self.public_key {
            Some(path) => repository.with_public_key(PublicKey::read(path)?),
            None => repository,
        })
    }

    /// Options of the object store: the environment variables of its own tools, the configuration,
    /// and the private CA.
    pub(crate) fn store_options(&self) -> anyhow::Result<StoreOptions> {
        let mut options = match &self.file {
            Some(file) => {
                let config = (**file).clone();
                Settings { config, variables: store_variables() }.store_options()?
            }
            None => StoreOptions::from_variables(store_variables()),
        };
        if self.store_cacert.is_some() {
            options.ca_bundle.clone_from(&self.store_cacert);
        }
        Ok(options)
    }

    /// Identities that decrypt, from all files named.
    pub(crate) fn identities(&self) -> anyhow::Result<Identities> {
        Ok(Identities::read(&self.identity)?)
    }
}

/// The environment variables that concern object stores.
pub(crate) fn store_variables() -> BTreeMap<String, String> {
    let ours = ["AWS_", "GOOGLE_", "AZURE_"];
    std::env::vars()
        .filter(|(name, _)| ours.iter().any(|prefix| name.starts_with(prefix)))
        .collect()
}

/// Content of a new repository's `etcdr.json`.
pub(crate) fn new_repository(
    recipients: Vec<String>,
    unencrypted: bool,
) -> anyhow::Result<RepositoryInfo> {
    Ok(RepositoryInfo {
        format: etcdr_schemas::repository::FORMAT,
        repository_id: random_hex::<16>()?,
        created_at: now(),
        recipients,
        unencrypted,
        extra: serde_json::Map::new(),
    })
}
