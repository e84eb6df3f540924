//! How deep a snapshot is verified: the configuration sets it, and reports repeat it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How deep a verification goes. Each level includes those before it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Schema, signature, chain.
    Manifest,
    /// Stored size and SHA-256; needs no key.
    Object,
    /// Decrypted, decompressed, etcd's own digest.
    Content,
    /// bbolt: metas, page graph, free list, key order, page bounds.
    Structure,
    /// etcd: every row and its place in its key's history, HashKV, leases, users, members, values
    /// of Kubernetes.
    Semantic,
}

impl Level {
    /// All levels, shallowest first.
    pub const ALL: [Self; 5] =
        [Self::Manifest, Self::Object, Self::Content, Self::Structure, Self::Semantic];

    /// The name in CLI, config and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Object => "object",
            Self::Content => "content",
            Self::Structure => "structure",
            Self::Semantic => "semantic",
        }
    }
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
