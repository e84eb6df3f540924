//! What a new cluster must not inherit from the database of the old one (docs/etcd-formats.md 4.8).

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use etcdr_schemas::report::{History, PlannedBump};
use etcdr_schemas::{EtcdVersion, ReadAt, Revision, TargetVersion};

use crate::error::{Error, Result};
use crate::format::bolt::Db;
use crate::format::bolt::patch::Patch;
use crate::format::buckets;
use crate::format::facts::alarms;
use crate::format::membership::NewCluster;
use crate::format::mvcc::RowKey;
use crate::format::wal::RESTORE_TERM;
use crate::plan::{self, Plan};

/// Most bytes of rows of one small bucket; etcd's hold a few hundred.
const MAX_SMALL_BUCKET: u64 = 4 << 20;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// The changes to a database, and a sentence for each.
#[derive(Debug)]
pub(super) struct Changes {
    pub(super) patch: Patch,
    pub(super) sentences: Vec<String>,
    pub(super) users_dropped: u64,
    pub(super) roles_dropped: u64,
}

/// Decides the changes for the database that was staged.
pub(super) fn changes<R: ReadAt>(db: &Db<R>, plan: &Plan) -> Result<Changes> {
    let mut changes = Changes {
        patch: Patch::default(),
        sentences: Vec::new(),
        users_dropped: 0,
        roles_dropped: 0,
    };
    changes.membership(db, &plan.cluster)?;
    if !plan.keep_alarms {
        changes.alarms(db)?;
    }
    changes.cluster(db, plan.target_version)?;
    changes.meta(db, plan)?;
    if plan.report.rebuild.as_ref().is_some_and(|rebuild| rebuild.drop_auth) {
        changes.auth(db)?;
    }
    changes.foreign(db)?;
    if let Some(bump) = &plan.report.bump {
        changes.bump(bump);
    }
    Ok(changes)
}

impl Changes {
    fn replace(&mut self, bucket: &[u8], rows: Rows) {
        self.patch.replace.insert(bucket.to_vec(), rows.into_iter().collect());
    }

    fn membership<R: ReadAt>(&mut self, db: &Db<R>, cluster: &NewCluster) -> Result<()> {
        let old = rows(db, buckets::MEMBERS)?.len();
        let removed = rows(db, buckets::MEMBERS_REMOVED)?.len();
        self.replace(buckets::MEMBERS, cluster.rows().into_iter().collect());
        // A member whose id is among the removed ones would be rejected by its peers.
        self.replace(buckets::MEMBERS_REMOVED, Rows::new());
        let new = cluster.members().len();
        self.sentences.push(format!(
            "{old} members and {removed} removed ones made way for {new} new member(s)"
        ));
        Ok(())
    }

    fn alarms<R: ReadAt>(&mut self, db: &Db<R>) -> Result<()> {
        let alarms = alarms(db)?;
        if !alarms.is_empty() {
            self.sentences.push(format!("alarms were cleared: {}", alarms.join(", ")));
            self.replace(buckets::ALARM, Rows::new());
        }
        Ok(())
    }

    /// 3.6 takes the cluster's version from here and refuses one above its own.
    fn cluster<R: ReadAt>(&mut self, db: &Db<R>, target: TargetVersion) -> Result<()> {
        let mut rows = rows(db, buckets::CLUSTER)?;
        if let Some(version) = rows.get(buckets::cluster::VERSION) {
            plan::known("cluster version", version)?;
        }
        let before = rows.len();
        // 3.6 would carry it on, and rewrite the storage of the restored cluster.
        if rows.remove(buckets::cluster::DOWNGRADE).is_some() {
            self.sentences.push("a downgrade that was under way was dropped".to_owned());
        }
        if let Some(version) = rows.get(buckets::cluster::VERSION)
            && above(version, target)
        {
            self.sentences.push(format!("cluster version {} was dropped", version.escape_ascii()));
            rows.remove(buckets::cluster::VERSION);
        }
        if rows.len() != before {
            self.replace(buckets::CLUSTER, rows);
        }
        Ok(())
    }

    fn meta<R: ReadAt>(&mut self, db: &Db<R>, plan: &Plan) -> Result<()> {
        use buckets::meta::{
            CONF_STATE, CONSISTENT_INDEX, FINISHED_COMPACT, SCHEDULED_COMPACT, STORAGE_VERSION,
            TERM,
        };
        let mut rows = rows(db, buckets::META)?;
        // The new log ends at this index. With a higher one etcd skips the first writes as already
        // applied; without one it does not start.
        let index = plan.cluster.members().len() as u64;
        rows.insert(CONSISTENT_INDEX.to_vec(), index.to_be_bytes().to_vec());
        rows.insert(TERM.to_vec(), RESTORE_TERM.to_be_bytes().to_vec());
        rows.insert(CONF_STATE.to_vec(), plan.cluster.conf_state_json());
        self.sentences.push(format!("raft index and term were set to {index} and {RESTORE_TERM}"));
        if let Some(version) = rows.get(STORAGE_VERSION).cloned()
            && (plan.target_version < TargetVersion::V3_6 || above(&version, plan.target_version))
        {
            let text = version.escape_ascii();
            if plan.target_version < TargetVersion::V3_6 || parse(&version).is_none() {
                self.sentences.push(format!("storage version {text} was dropped"));
                rows.remove(STORAGE_VERSION);
            } else {
                let lower = format!("{}.0", plan.target_version);
                self.sentences.push(format!("storage version {text} was set to {lower}"));
                rows.insert(STORAGE_VERSION.to_vec(), lower.into_bytes());
            }
        }
        if plan.report.rebuild.as_ref().is_some_and(|rebuild| rebuild.history == History::Current) {
            // Nothing is left to remove, so the compaction counts as finished.
            let at = plan.source.facts.revision;
            rows.insert(SCHEDULED_COMPACT.to_vec(), row_key(at));
            rows.insert(FINISHED_COMPACT.to_vec(), row_key(at));
            self.sentences
                .push(format!("all before revision {at} was left out and counts as compacted"));
        }
        if let Some(bump) = &plan.report.bump {
            // Only the scheduled marker: etcd carries out the compaction itself at its first start.
            rows.insert(SCHEDULED_COMPACT.to_vec(), row_key(bump.to));
        }
        self.replace(buckets::META, rows);
        Ok(())
    }

    /// Removes users and roles and switches authentication off. Its revision is raised, not reset:
    /// a signed token of the lost cluster names the revision at which it was issued, and must never
    /// become valid again.
    fn auth<R: ReadAt>(&mut self, db: &Db<R>) -> Result<()> {
        use buckets::auth::REVISION;
        self.users_dropped = count(db, buckets::AUTH_USERS)?;
        self.roles_dropped = count(db, buckets::AUTH_ROLES)?;
        let old = rows(db, buckets::AUTH)?.remove(REVISION);
        let old = old.and_then(|value| value.try_into().ok()).map_or(0, u64::from_be_bytes);
        let next = old.saturating_add(1).to_be_bytes().to_vec();
        self.replace(buckets::AUTH, Rows::from([(REVISION.to_vec(), next)]));
        self.replace(buckets::AUTH_USERS, Rows::new());
        self.replace(buckets::AUTH_ROLES, Rows::new());
        self.sentences.push(format!(
            "authentication is off: {} users and {} roles were left out",
            self.users_dropped, self.roles_dropped
        ));
        Ok(())
    }

    /// Buckets that no known etcd has are taken over and reported.
    fn foreign<R: ReadAt>(&mut self, db: &Db<R>) -> Result<()> {
        for bucket in db.buckets()? {
            if !buckets::ALL.contains(&bucket.name.as_slice()) {
                let name = buckets::display(&bucket.name);
                self.sentences
                    .push(format!("bucket {name}, which is not etcd's, was taken over as it is"));
            }
        }
        Ok(())
    }

    /// An empty row at the new revision makes it the current one for every version: older servers
    /// refuse a compaction revision above the current one, so the marker alone is not enough. The
    /// marker in `meta` makes the first boot compact all before it, so that a watch from an old
    /// revision gets an error instead of waiting for revisions that never come
    /// (docs/etcd-formats.md 4.6).
    fn bump(&mut self, bump: &PlannedBump) {
        self.patch.append.push((buckets::KEY.to_vec(), row_key(bump.to), Vec::new()));
        self.sentences.push(format!(
            "the revision was raised by {} to {}; the first start compacts all before it",
            bump.by, bump.to
        ));
    }
}

fn row_key(revision: Revision) -> Vec<u8> {
    RowKey::put(revision, 0).encode()
}

fn parse(version: &[u8]) -> Option<EtcdVersion> {
    std::str::from_utf8(version).ok()?.parse().ok()
}

/// Whether a version's minor is above the target's. What cannot be read is, too: no server takes
/// it.
fn above(version: &[u8], target: TargetVersion) -> bool {
    parse(version).is_none_or(|version| version.major > 3 || version.minor > target.minor())
}

fn count<R: ReadAt>(db: &Db<R>, name: &'static [u8]) -> Result<u64> {
    let mut count = 0;
    if let Some(bucket) = db.bucket(name)? {
        db.scan(&bucket, &mut |_, _| {
            count += 1;
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(count)
}

/// All rows of a small bucket; none when it is absent.
fn rows<R: ReadAt>(db: &Db<R>, name: &'static [u8]) -> Result<Rows> {
    let Some(bucket) = db.bucket(name)? else { return Ok(Rows::new()) };
    let mut rows = Rows::new();
    let mut size = 0;
    db.scan(&bucket, &mut |key, value| {
        size += (key.len() + value.len()) as u64;
        if size > MAX_SMALL_BUCKET {
            let what = "bytes in a bucket of etcd's own records";
            return Err(Error::Limit { what, limit: MAX_SMALL_BUCKET });
        }
        rows.insert(key.to_vec(), value.to_vec());
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_above_the_target_go() {
        let cases = [
            ("3.6.0", TargetVersion::V3_5, true),
            ("3.5.0", TargetVersion::V3_5, false),
            ("3.4.0", TargetVersion::V3_6, false),
            ("4.0.0", TargetVersion::V3_7, true),
            ("", TargetVersion::V3_7, true),
            ("\u{0}", TargetVersion::V3_7, true),
        ];
        for (version, target, gone) in cases {
            assert_eq!(above(version.as_bytes(), target), gone, "{version} {target}");
        }
    }
}
