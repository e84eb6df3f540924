//! Checks bucket `meta`: its rows against each other, against the rows of bucket `key` and against
//! the manifest.

use etcdr_schemas::manifest::Manifest;
use etcdr_schemas::report::{Finding, OfflineHash};
use etcdr_schemas::{EtcdVersion, ReadAt, Revision};
use serde::Deserialize;

use super::kinds;
use crate::format::bolt::{Bucket, Db};
use crate::format::buckets::{self, meta};
use crate::format::facts::ImageFacts;
use crate::scan::key_hash::NEVER;
use crate::{Result, findings};

/// The facts from bucket `meta`, and the manifest to compare them with.
pub(super) struct MetaBucket<'a> {
    pub(super) facts: &'a ImageFacts,
    pub(super) manifest: Option<&'a Manifest>,
}

#[derive(Deserialize)]
struct Voters {
    #[serde(default)]
    voters: Vec<u64>,
}

impl MetaBucket<'_> {
    /// Compact revision as HashKV counts; -1 when nothing was ever compacted.
    pub(super) fn compact(&self) -> i64 {
        self.facts.compact_revision.map_or(NEVER, |revision| revision.0)
    }

    pub(super) fn finished(&self) -> i64 {
        self.facts.finished_compact.map_or(NEVER, |revision| revision.0)
    }

    /// The hash that the live members gave, when the image can be asked for the same.
    pub(super) fn recorded(&self) -> Option<Result<OfflineHash, Finding>> {
        let hash = self.manifest?.hash_kv.as_ref()?;
        let compact = self.compact();
        let refuse = |why: String| {
            let message = format!("the members' HashKV at revision {} {why}", hash.revision);
            Some(Err(kinds::HASH_NOT_COMPARED.at("bucket key", message)))
        };
        if hash.compact_revision != compact {
            return refuse(format!(
                "is of compact revision {}, and the image has {compact}",
                hash.compact_revision
            ));
        }
        if hash.revision.0 < compact || hash.revision > self.facts.revision {
            return refuse(format!("is outside {compact} to {}", self.facts.revision));
        }
        let (revision, compact_revision, hash) = (hash.revision, hash.compact_revision, hash.hash);
        Some(Ok(OfflineHash { revision, compact_revision, hash }))
    }

    pub(super) fn findings<R: ReadAt>(&self, db: &Db<R>, all: &[Bucket]) -> Result<Vec<Finding>> {
        let mut found = Vec::new();
        self.manifest(&mut found);
        self.compaction(&mut found);
        let place = |key: &[u8]| format!("bucket meta, row {}", buckets::display(key));
        let facts = self.facts;
        if facts.raft_index.unwrap_or_default().0 == 0 {
            let message = "it is missing or zero: etcd fails to start, or starts from nothing";
            found.push(kinds::META_INDEX.at(place(meta::CONSISTENT_INDEX), message));
        }
        if facts.raft_term.is_some_and(|term| term.0 == 0) {
            found.push(kinds::META_TERM.at(place(meta::TERM), "it is zero"));
        }
        let version = facts.storage_version.as_deref().map(str::parse::<EtcdVersion>);
        if version.is_some_and(|version| {
            !version.is_ok_and(|version| version.major == 3 && (5..=7).contains(&version.minor))
        }) {
            let message = format!(
                "{:?} is no storage version that we know",
                facts.storage_version.as_deref().unwrap_or_default()
            );
            found.push(kinds::META_STORAGE_VERSION.at(place(meta::STORAGE_VERSION), message));
        }
        if let Some(bucket) = all.iter().find(|bucket| bucket.name == buckets::META)
            && let Some(value) = db.get(bucket, meta::CONF_STATE)?
            && !serde_json::from_slice::<Voters>(&value).is_ok_and(|state| !state.voters.is_empty())
        {
            found.push(kinds::META_CONF_STATE.at(place(meta::CONF_STATE), "it names no voters"));
        }
        Ok(found)
    }

    fn compaction(&self, found: &mut Vec<Finding>) {
        let facts = self.facts;
        let (scheduled, finished) = (facts.scheduled_compact, facts.finished_compact);
        let place = "bucket meta, row scheduledCompactRev";
        if let (Some(scheduled), Some(finished)) = (scheduled, finished)
            && finished > scheduled
        {
            let message =
                format!("compaction {finished} finished, and the last that began was {scheduled}");
            found.push(kinds::COMPACTION_ORDER.at(place, message));
        }
        if scheduled > finished {
            let at = scheduled.unwrap_or_default();
            let message = format!("the compaction at {at} had begun and was not finished");
            found.push(kinds::UNFINISHED.at(place, message));
        }
        let last = facts.last_row.unwrap_or(Revision::FIRST);
        let Some(compact) = facts.compact_revision.filter(|compact| *compact > last) else {
            return;
        };
        let message = format!("compacted at {compact}, and the last row is of {last}");
        if self.keeps_last_deletions() {
            found.push(kinds::COMPACTION_BEYOND.at(place, message));
        } else {
            let message = message + ": what came between were deletions";
            found.push(kinds::COMPACTION_TAIL.at(place, message));
        }
    }

    /// Whether the server was one that keeps a deletion at the compact revision itself, so that
    /// there is always a row at it (docs/etcd-formats.md 2.3).
    fn keeps_last_deletions(&self) -> bool {
        let server = self.manifest.and_then(|manifest| manifest.source.server_version.as_deref());
        let server = server.and_then(|text| text.parse::<EtcdVersion>().ok());
        let by_server = server.is_some_and(|version| match version.minor {
            ..4 => false,
            4 => version.patch >= 34,
            5 => version.patch >= 16,
            6.. => true,
        });
        by_server || self.facts.storage_version.is_some()
    }

    fn manifest(&self, found: &mut Vec<Finding>) {
        let Some(manifest) = self.manifest else { return };
        let facts = self.facts;
        let shown = |value: Option<String>| value.unwrap_or_else(|| "nothing".to_owned());
        let text = |value: Option<Revision>| shown(value.map(|value| value.to_string()));
        let rows = [
            ("revision", manifest.revision.to_string(), facts.revision.to_string()),
            ("compact revision", text(manifest.compact_revision), text(facts.compact_revision)),
            ("database size", manifest.db_size.to_string(), facts.db_size.to_string()),
            (
                "raft index",
                shown(manifest.raft_index.map(|index| index.0.to_string())),
                shown(facts.raft_index.map(|index| index.0.to_string())),
            ),
            (
                "raft term",
                shown(manifest.raft_term.map(|term| term.0.to_string())),
                shown(facts.raft_term.map(|term| term.0.to_string())),
            ),
            (
                "storage version",
                shown(manifest.source.storage_version.clone()),
                shown(facts.storage_version.clone()),
            ),
        ];
        for (what, said, is) in rows {
            if said != is {
                let said: String = said.chars().take(80).collect();
                let message = format!("the manifest says {what} {said}, the image has {is}");
                found.push(kinds::MANIFEST_DIFFERS.at("the manifest", message));
            }
        }
    }
}

/// The finding for a row that cannot be read or follows another one of the same revision.
pub(super) fn row_error(error: &crate::Error) -> Option<Finding> {
    let crate::Error::Row { bucket, key, .. } = error else { return None };
    let place = format!("bucket {bucket}, row {key}");
    let kind = match *bucket == buckets::display(buckets::KEY) {
        true => kinds::ROW_TWICE,
        false => findings::ROW,
    };
    Some(kind.at(place, error.to_string()))
}
