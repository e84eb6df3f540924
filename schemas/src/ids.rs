//! Identifiers: snapshots and clusters of a repository, members and clusters of etcd.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDateTime, Utc};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::revision::Revision;

/// Text that is not the identifier it should be.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct ParseIdError {
    text: String,
    expected: &'static str,
}

impl ParseIdError {
    fn new(text: &str, expected: &'static str) -> Self {
        // Hostile input may be long; an error line need not be.
        Self { text: text.chars().take(120).collect(), expected }
    }
}

/// Name of a snapshot in a repository: `20261122T070000Z-r00000000000000012345-1a2b3c4d`.
///
/// Capture time (UTC, seconds), revision (20 digits), 8 random hex digits. Sorting the text sorts
/// by time, and time and revision can be read off a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId {
    time: DateTime<Utc>,
    revision: Revision,
    nonce: u32,
}

const ID_TIME: &str = "%Y%m%dT%H%M%SZ";

impl SnapshotId {
    /// Length of the text in bytes.
    pub const LEN: usize = 16 + 1 + 21 + 1 + 8;

    /// Builds an id; parts of a second are dropped.
    #[must_use]
    pub fn new(time: DateTime<Utc>, revision: Revision, nonce: u32) -> Self {
        let time = DateTime::from_timestamp(time.timestamp(), 0).unwrap_or(time);
        Self { time, revision, nonce }
    }

    /// When the capture began.
    #[must_use]
    pub const fn time(&self) -> DateTime<Utc> {
        self.time
    }

    /// The revision that the image holds.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.revision
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-r{:020}-{:08x}", self.time.format(ID_TIME), self.revision.0, self.nonce)
    }
}

impl FromStr for SnapshotId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || {
            ParseIdError::new(
                text,
                "a snapshot id such as 20261122T070000Z-r00000000000000012345-1a2b3c4d",
            )
        };
        let mut parts = text.split('-');
        let (Some(time), Some(revision), Some(nonce), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(error());
        };
        let time = NaiveDateTime::parse_from_str(time, ID_TIME).map_err(|_| error())?.and_utc();
        let digits = revision.strip_prefix('r').ok_or_else(error)?;
        let revision = digits.parse::<Revision>().map_err(|_| error())?;
        let nonce = u32::from_str_radix(nonce, 16).map_err(|_| error())?;
        let id = Self { time, revision, nonce };
        // Only the canonical spelling: one snapshot, one key.
        if id.to_string() == text { Ok(id) } else { Err(error()) }
    }
}

/// Name of an audit: `20261122T070000Z-1a2b3c4d`, its start (UTC, seconds) and 8 random hex digits.
/// Sorting the text sorts by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuditId {
    time: DateTime<Utc>,
    nonce: u32,
}

impl AuditId {
    /// Builds an id; parts of a second are dropped.
    #[must_use]
    pub fn new(time: DateTime<Utc>, nonce: u32) -> Self {
        let time = DateTime::from_timestamp(time.timestamp(), 0).unwrap_or(time);
        Self { time, nonce }
    }

    /// When the audit began.
    #[must_use]
    pub const fn time(&self) -> DateTime<Utc> {
        self.time
    }
}

impl fmt::Display for AuditId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:08x}", self.time.format(ID_TIME), self.nonce)
    }
}

impl FromStr for AuditId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseIdError::new(text, "an audit id such as 20261122T070000Z-1a2b3c4d");
        let (time, nonce) = text.split_once('-').ok_or_else(error)?;
        let time = NaiveDateTime::parse_from_str(time, ID_TIME).map_err(|_| error())?.and_utc();
        let nonce = u32::from_str_radix(nonce, 16).map_err(|_| error())?;
        let id = Self { time, nonce };
        if id.to_string() == text { Ok(id) } else { Err(error()) }
    }
}

/// Name of a cluster in a repository: the first part of every key of its snapshots.
///
/// 1 to 100 characters of `a-z A-Z 0-9 . _ -`, beginning with a letter or digit, so that it is one
/// harmless path segment on every store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterName(String);

impl ClusterName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for ClusterName {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ClusterName {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ok = (1..=100).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
        if ok {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseIdError::new(
                text,
                "a cluster name (1 to 100 letters, digits, '.', '_' or '-', beginning with a \
                 letter or digit)",
            ))
        }
    }
}

macro_rules! text_serde {
    ($name:ident, $schema:expr) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $schema })
            }
        }
    };
}

text_serde!(SnapshotId, "^[0-9]{8}T[0-9]{6}Z-r[0-9]{20}-[0-9a-f]{8}$");
text_serde!(AuditId, "^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}$");
text_serde!(ClusterName, "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$");

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Printed as etcdctl does, in lower-case hex without padding, and as a string in JSON,
        /// because values above 2^53 do not survive as numbers.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:x}", self.0)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let plain = text.bytes().all(|b| b.is_ascii_hexdigit());
                let value = plain.then(|| u64::from_str_radix(text, 16).ok()).flatten();
                let error = || ParseIdError::new(text, "a hexadecimal id of 64 bits");
                value.map(Self).ok_or_else(error)
            }
        }

        text_serde!($name, "^[0-9a-f]{1,16}$");
    };
}

hex_id!(
    /// Id of an etcd member.
    MemberId
);
hex_id!(
    /// Id of an etcd cluster.
    ClusterId
);

/// Index of an entry in the raft log.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(transparent)]
pub struct RaftIndex(pub u64);

/// Raft term.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(transparent)]
pub struct Term(pub u64);

#[cfg(test)]
mod tests {
    use chrono::TimeZone;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_id_of_the_design_prints_and_parses() {
        let time = Utc.with_ymd_and_hms(2026, 11, 22, 7, 0, 0).unwrap();
        let id = SnapshotId::new(time, Revision(12345), 0x1a2b_3c4d);
        let text = "20261122T070000Z-r00000000000000012345-1a2b3c4d";
        assert_eq!(id.to_string(), text);
        assert_eq!(text.len(), SnapshotId::LEN);
        assert_eq!(text.parse::<SnapshotId>().unwrap(), id);
    }

    #[test]
    fn only_the_canonical_spelling_is_an_id() {
        let cases = [
            "",
            "latest",
            "20261122T070000Z-r12345-1a2b3c4d",
            "20261122T070000Z-r00000000000000012345-1A2B3C4D",
            "20261322T070000Z-r00000000000000012345-1a2b3c4d",
            "20261122T070000Z-r-0000000000000012345-1a2b3c4d",
            "20261122T070000Z-r00000000000000012345-1a2b3c4d-",
            "../20261122T070000Z-r00000000000000012345-1a2b3c4d",
        ];
        for text in cases {
            assert!(text.parse::<SnapshotId>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn cluster_names_are_one_harmless_path_segment() {
        for text in ["default", "prod-eu.1", "A_b"] {
            assert!(text.parse::<ClusterName>().is_ok(), "{text:?}");
        }
        let long = "x".repeat(101);
        for text in ["", ".", "..", "a/b", "-a", "a b", "é", "a\0", long.as_str()] {
            assert!(text.parse::<ClusterName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn member_ids_have_no_padding() {
        let id = MemberId(0x0be1_b32b_7b1c_e69d);
        assert_eq!(id.to_string(), "be1b32b7b1ce69d");
        assert_eq!("be1b32b7b1ce69d".parse::<MemberId>().unwrap(), id);
        assert!("+1".parse::<MemberId>().is_err());
    }

    proptest! {
        #[test]
        fn ids_sort_by_time_as_text(
            a in 0i64..4_000_000_000, b in 0i64..4_000_000_000, r in 0i64..,
        ) {
            let id = |seconds| SnapshotId::new(
                DateTime::from_timestamp(seconds, 0).unwrap(), Revision(r), 7);
            prop_assert_eq!(id(a).to_string().cmp(&id(b).to_string()), id(a).cmp(&id(b)));
            prop_assert_eq!(id(a).to_string().parse::<SnapshotId>().unwrap(), id(a));
            let audit = |seconds| AuditId::new(DateTime::from_timestamp(seconds, 0).unwrap(), 7);
            prop_assert_eq!(
                audit(a).to_string().cmp(&audit(b).to_string()), audit(a).cmp(&audit(b)));
            prop_assert_eq!(audit(a).to_string().parse::<AuditId>().unwrap(), audit(a));
        }
    }
}
