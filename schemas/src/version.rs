//! etcd versions: the exact ones that servers report, and the minors that a restore can target.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The version a server or binary reports, e.g. `3.5.30`. A suffix such as `-rc.1` or `+git` is
/// ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EtcdVersion {
    /// 3 for every etcd that we know.
    pub major: u16,
    /// 4, 5, 6, 7.
    pub minor: u16,
    /// Patch level.
    pub patch: u16,
}

/// The text is not `major.minor.patch`.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not an etcd version such as 3.5.30")]
pub struct ParseVersionError(String);

impl FromStr for EtcdVersion {
    type Err = ParseVersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseVersionError(text.chars().take(40).collect());
        let core = text.trim_start_matches('v').split(['-', '+']).next().unwrap_or_default();
        let mut parts = core.split('.').map(str::parse::<u16>);
        let mut part = || parts.next().and_then(Result::ok);
        let version = Self {
            major: part().ok_or_else(error)?,
            minor: part().ok_or_else(error)?,
            patch: part().unwrap_or(0),
        };
        if parts.next().is_some() { Err(error()) } else { Ok(version) }
    }
}

impl fmt::Display for EtcdVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// The etcd minor that a restored data directory is written for.
///
/// The default suits every one of them: it leaves out what an older server would refuse, and newer
/// servers raise what they need at their first start.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum TargetVersion {
    /// etcd 3.4
    #[serde(rename = "3.4")]
    V3_4,
    /// etcd 3.5
    #[serde(rename = "3.5")]
    V3_5,
    /// etcd 3.6
    #[serde(rename = "3.6")]
    V3_6,
    /// etcd 3.7
    #[serde(rename = "3.7")]
    V3_7,
}

impl TargetVersion {
    /// All targets, oldest first.
    pub const ALL: [Self; 4] = [Self::V3_4, Self::V3_5, Self::V3_6, Self::V3_7];

    /// The minor number.
    #[must_use]
    pub const fn minor(self) -> u16 {
        match self {
            Self::V3_4 => 4,
            Self::V3_5 => 5,
            Self::V3_6 => 6,
            Self::V3_7 => 7,
        }
    }
}

impl fmt::Display for TargetVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "3.{}", self.minor())
    }
}

impl FromStr for TargetVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|target| target.to_string() == text)
            .ok_or_else(|| format!("{text:?} is not one of 3.4, 3.5, 3.6, 3.7"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_parse_as_servers_print_them() {
        let cases = [
            ("3.4.23", "3.4.23"),
            ("v3.6.14", "3.6.14"),
            ("3.7.0-rc.1", "3.7.0"),
            ("3.6", "3.6.0"),
        ];
        for (text, want) in cases {
            assert_eq!(text.parse::<EtcdVersion>().unwrap().to_string(), want);
        }
        for text in ["", "3", "a.b.c", "3.5.1.2", "99999999.1.1"] {
            assert!(text.parse::<EtcdVersion>().is_err(), "{text:?}");
        }
    }
}
