//! The agent's process, and what it says to those who watch.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Span;

/// The process itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AgentConfig {
    /// How it is called in claims, logs and on its page; without it, the machine's name.
    pub name: Option<String>,
    /// Address of the read-only pages: `/`, `/metrics`, `/livez`, `/readyz`. Empty: none.
    pub http: String,
    /// The admin interface.
    pub admin: AdminConfig,
    /// Time without a sign of life from the agent that claimed a tick after which the next one
    /// takes over.
    pub takeover: Span,
    /// Time that SIGTERM leaves for a capture to finish and for clean-up.
    pub grace: Span,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// What is logged: `error`, `warn`, `info`, `debug`, or directives as `ETCDR_LOG` takes them.
    pub log_level: String,
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            name: None,
            http: "127.0.0.1:2383".to_owned(),
            admin: AdminConfig::default(),
            takeover: Span::minutes(1),
            grace: Span::seconds(25),
            log_format: LogFormat::Text,
            log_level: "info".to_owned(),
        }
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The admin interface (gRPC).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdminConfig {
    /// `unix:///path` (mode 0600), or `IP:PORT`, which needs the three files below. Empty: none.
    pub listen: String,
    /// CA certificates (PEM file) that clients must be signed by.
    pub cacert: Option<String>,
    /// The agent's certificate (PEM file).
    pub cert: Option<String>,
    /// Its key (PEM file).
    pub key: Option<String>,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            listen: "unix:///run/etcdr/agent.sock".to_owned(),
            cacert: None,
            cert: None,
            key: None,
        }
    }
}

/// What is said to those who watch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WatchConfig {
    /// Age of the newest restorable snapshot above which the agent says that it fails its purpose
    /// (the RPO).
    pub target_age: Span,
    /// File whose first line is a URL that is asked (GET) after every snapshot: a dead man's
    /// switch. A file, because such URLs are secrets.
    pub heartbeat_url_file: Option<String>,
    /// The URL itself, where it is no secret.
    pub heartbeat_url: Option<String>,
    /// Level at which the newest snapshot is verified after it was taken; `object` needs no key.
    pub verify: crate::level::Level,
}

impl Default for WatchConfig {
    fn default() -> Self {
        Self {
            target_age: Span::hours(2),
            heartbeat_url_file: None,
            heartbeat_url: None,
            verify: crate::level::Level::Object,
        }
    }
}
