//! How etcd is reached.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Span;

/// How etcd is reached. Certificates and the password are read again for every connection, so that
/// rotated files are followed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EtcdConfig {
    /// The member beside this agent, as etcd spells it: `https://127.0.0.1:2379`, `unix://…`. Other
    /// members are learned from its member list.
    pub endpoint: String,
    /// CA certificates (PEM file) that the server's is checked with; without it those of the
    /// system.
    pub cacert: Option<String>,
    /// Client certificate (PEM file).
    pub cert: Option<String>,
    /// Key of the client certificate (PEM file).
    pub key: Option<String>,
    /// User; with auth enabled it needs the root role.
    pub user: Option<String>,
    /// File whose first line is the user's password.
    pub password_file: Option<String>,
    /// Where the member's Prometheus metrics are, e.g. `http://127.0.0.1:2381/metrics`. Without it,
    /// `/metrics` of the endpoint.
    pub metrics_url: Option<String>,
    /// Time in which a connection must stand.
    pub dial_timeout: Span,
    /// Time in which a short request must be answered. HashKV and defragmentation get thirty times
    /// as long.
    pub command_timeout: Span,
    /// Time without progress after which a snapshot stream counts as dead.
    pub stall_timeout: Span,
}

impl Default for EtcdConfig {
    fn default() -> Self {
        Self {
            endpoint: "http://127.0.0.1:2379".to_owned(),
            cacert: None,
            cert: None,
            key: None,
            user: None,
            password_file: None,
            metrics_url: None,
            dial_timeout: Span::seconds(5),
            command_timeout: Span::seconds(10),
            stall_timeout: Span::seconds(30),
        }
    }
}
