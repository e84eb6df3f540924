//! How people name snapshots, and which one they mean.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDateTime, Utc};
use etcdr_schemas::{ClusterName, Revision, SnapshotId};

use crate::error::{Error, Result};

/// How many ids an error lists.
const NEAREST: usize = 5;

/// A name as a person types it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotName {
    /// `latest` (0) or `latest~N`: N before the newest.
    Latest(usize),
    /// `@<time>`: the newest that was begun at or before then.
    At(DateTime<Utc>),
    /// `@r<revision>`: the newest whose revision is not above it.
    Revision(Revision),
    /// An id, or a part of one.
    Part(String),
}

impl FromStr for SnapshotName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |reason: &str| Error::BadName {
            text: text.chars().take(120).collect(),
            reason: reason.to_owned(),
        };
        if text == "latest" {
            return Ok(Self::Latest(0));
        }
        if let Some(back) = text.strip_prefix("latest~") {
            return back.parse().map(Self::Latest).map_err(|_| bad("latest~ wants a number"));
        }
        if let Some(revision) = text.strip_prefix("@r") {
            return revision.parse().map(Self::Revision).map_err(|_| bad("@r wants a revision"));
        }
        if let Some(time) = text.strip_prefix('@') {
            let wants = "@ wants a time such as 2026-11-22T07:00:00Z or \"2026-11-22 07:00\" (UTC)";
            return time_of(time).map(Self::At).ok_or_else(|| bad(wants));
        }
        let of_an_id = |c: char| c.is_ascii_hexdigit() || matches!(c, '-' | 'r' | 'T' | 'Z');
        if text.is_empty() || text.len() > SnapshotId::LEN || !text.chars().all(of_an_id) {
            return Err(bad("it is no part of an id"));
        }
        Ok(Self::Part(text.to_owned()))
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest(0) => f.write_str("latest"),
            Self::Latest(back) => write!(f, "latest~{back}"),
            Self::At(time) => write!(f, "@{}", time.format("%Y-%m-%dT%H:%M:%SZ")),
            Self::Revision(revision) => write!(f, "@r{revision}"),
            Self::Part(text) => f.write_str(text),
        }
    }
}

/// RFC 3339, or date and time without a zone, which is UTC.
fn time_of(text: &str) -> Option<DateTime<Utc>> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.to_utc());
    }
    ["%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
        .map(|time| time.and_utc())
}

/// The snapshot that a name means. `ids` are newest first.
///
/// # Errors
/// [`Error::UnknownSnapshot`] and [`Error::AmbiguousSnapshot`], with at most five ids to choose
/// from.
pub fn resolve(
    cluster: &ClusterName,
    ids: &[SnapshotId],
    name: &SnapshotName,
) -> Result<SnapshotId> {
    let unknown = || Error::UnknownSnapshot {
        cluster: cluster.clone(),
        name: name.to_string(),
        nearest: nearest(ids, name),
    };
    let found = match name {
        SnapshotName::Latest(back) => ids.get(*back),
        SnapshotName::At(time) => ids.iter().find(|id| id.time() <= *time),
        SnapshotName::Revision(revision) => {
            // Newest by time: after a restore the same revisions can come again.
            ids.iter().find(|id| id.revision() <= *revision)
        }
        SnapshotName::Part(part) => return by_part(cluster, ids, part)?.ok_or_else(unknown),
    };
    found.copied().ok_or_else(unknown)
}

fn by_part(cluster: &ClusterName, ids: &[SnapshotId], part: &str) -> Result<Option<SnapshotId>> {
    let mut fitting = ids.iter().copied().filter(|id| id.to_string().contains(part));
    let first: Vec<SnapshotId> = fitting.by_ref().take(NEAREST).collect();
    let count = first.len() + fitting.count();
    match first.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        _ => {
            let (cluster, name) = (cluster.clone(), part.to_owned());
            Err(Error::AmbiguousSnapshot { cluster, name, count, first })
        }
    }
}

/// At most five ids that come closest to what was asked for.
fn nearest(ids: &[SnapshotId], name: &SnapshotName) -> Vec<SnapshotId> {
    let mut ids = ids.to_vec();
    match name {
        SnapshotName::Latest(_) => ids.reverse(),
        SnapshotName::At(time) => ids.sort_by_key(|id| (id.time() - *time).abs()),
        SnapshotName::Revision(revision) => {
            ids.sort_by_key(|id| id.revision().0.abs_diff(revision.0));
        }
        // Stable: of ids that share as much, the newest come first.
        SnapshotName::Part(part) => ids.sort_by_key(|id| std::cmp::Reverse(shared(id, part))),
    }
    ids.truncate(NEAREST);
    ids
}

/// Length of the longest beginning of `part` that the id contains.
fn shared(id: &SnapshotId, part: &str) -> usize {
    let id = id.to_string();
    (1..=part.len()).rev().find(|&len| part.get(..len).is_some_and(|p| id.contains(p))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: [&str; 4] = [
        "20261122T070000Z-r00000000000000012345-1a2b3c4d",
        "20261122T060000Z-r00000000000000012000-deadbeef",
        "20261121T070000Z-r00000000000000011000-00000001",
        "20261120T070000Z-r00000000000000010000-00000002",
    ];

    fn ids() -> Vec<SnapshotId> {
        IDS.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn found(name: &str) -> Result<String> {
        let name: SnapshotName = name.parse()?;
        resolve(&ClusterName::default(), &ids(), &name).map(|id| id.to_string())
    }

    #[test]
    fn names_find_what_they_mean() {
        let cases = [
            ("latest", 0),
            ("latest~0", 0),
            ("latest~3", 3),
            (IDS[2], 2),
            ("deadbeef", 1),
            ("20261120", 3),
            ("@2026-11-22T07:00:00Z", 0),
            ("@2026-11-22T06:59:59Z", 1),
            ("@2026-11-22T08:59:59+02:00", 1),
            ("@2026-11-22 06:30", 1),
            ("@2026-11-21 07:00:00", 2),
            ("@r12345", 0),
            ("@r12344", 1),
            ("@r99999999", 0),
            ("@r10000", 3),
        ];
        for (name, index) in cases {
            assert_eq!(found(name).unwrap(), IDS[index], "{name}");
        }
    }

    #[test]
    fn unknown_names_list_the_nearest() {
        for name in ["latest~4", "20251122", "@2026-11-20 06:59", "@r9999", "20261122T09"] {
            let error = found(name).unwrap_err();
            assert!(matches!(&error, Error::UnknownSnapshot { nearest, .. } if nearest.len() == 4));
        }
        let Err(Error::UnknownSnapshot { nearest, .. }) = found("20261121T08") else { panic!() };
        assert_eq!(nearest[0].to_string(), IDS[2]);
    }

    #[test]
    fn ambiguous_names_list_what_fits() {
        let error = found("20261122").unwrap_err();
        assert!(matches!(&error, Error::AmbiguousSnapshot { count: 2, .. }), "{error}");
        assert!(error.to_string().contains(IDS[1]));
    }

    #[test]
    fn nonsense_is_a_usage_error() {
        for name in ["", "latest~", "latest~-1", "@", "@r", "@yesterday", "@r-5", "../x", "x\0"] {
            assert!(matches!(found(name), Err(Error::BadName { .. })), "{name:?}");
        }
    }
}
