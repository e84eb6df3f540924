//! Where snapshots are kept, and the keys.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Span;

/// Where snapshots are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RepositoryConfig {
    /// `file:///path`, `s3://bucket/prefix`, `gs://…`, `az://…`. The one key without a default.
    pub url: String,
    /// File of `NAME=value` lines with the store's credentials, as its own tools name them
    /// (`AWS_ACCESS_KEY_ID`, …). They come before those of the environment, and are read again when
    /// the file changes.
    pub credentials_file: Option<String>,
    /// CA certificates (PEM file) to trust for the store, beside the system's.
    pub cacert: Option<String>,
    /// age recipients, or files of them; without any, those that `etcdr init` wrote into the
    /// repository.
    pub recipients: Vec<String>,
    /// minisign secret key (file, without password) that signs manifests.
    pub signing_key: Option<String>,
    /// minisign public key (file); with it, manifests that are not signed by its secret key are
    /// refused.
    pub public_key: Option<String>,
    /// zstd level, 1 to 19.
    pub compression_level: i32,
    /// Time in which one request to the store, with its body, must be done.
    pub request_timeout: Span,
    /// How often one request is tried again.
    pub retries: u32,
}

impl Default for RepositoryConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            credentials_file: None,
            cacert: None,
            recipients: Vec::new(),
            signing_key: None,
            public_key: None,
            compression_level: 3,
            request_timeout: Span::minutes(2),
            retries: 5,
        }
    }
}

/// What only somebody who restores needs: the agent works without.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RestoreConfig {
    /// age identity files that decrypt images.
    pub identities: Vec<String>,
}
