//! Facts about all rows that are needed before the first one is written.

use std::collections::{BTreeSet, HashSet};
use std::ops::ControlFlow;

use chrono::TimeDelta;
use etcdr_schemas::ReadAt;
use etcdr_schemas::pb::disk::Lease;
use etcdr_schemas::report::{History, PlannedExpiry, PlannedRebuild};
use prost::Message as _;

use super::leases::id_of;
use super::too_many_keys;
use crate::error::{Error, Result};
use crate::format::bolt::{Bucket, Db};
use crate::format::buckets;
use crate::kubernetes::MASTER_LEASES;
use crate::scan::attached::{Attached, TABLE};
use crate::scan::fingerprint::Fingerprint;
use crate::scan::hash::Newest;
use crate::scan::rows::{Row, rows};

/// Keys that expire in one restore: just as many as do not make their set grow past 2^21 slots, 36
/// MiB.
const MAX_EXPIRED: usize = (1 << 21) / 8 * 7 - 1;
/// Leases that were due and are held in memory.
const MAX_DUE: usize = 1 << 20;
/// Leases of API servers; each has one, renewed every few seconds.
const MAX_MASTER_LEASES: usize = 1 << 16;

/// The facts.
#[derive(Default)]
pub(crate) struct Prescan {
    /// Which rows are live; only when something is left out.
    newest: Option<Newest>,
    /// Keys that are attached to leases that were due.
    expired: HashSet<Fingerprint>,
    /// Leases that were due, ascending.
    due: Vec<i64>,
    /// Leases that API servers registered themselves with.
    master_leases: BTreeSet<i64>,
}

impl Prescan {
    /// Reads the rows as often as the plan needs it; not at all for one that takes everything over.
    ///
    /// # Errors
    /// For a database that cannot be read, and more to remember than there is room for.
    pub(crate) fn of<R: ReadAt>(db: &Db<R>, plan: &PlannedRebuild) -> Result<Self> {
        let key = db.bucket(buckets::KEY)?;
        let key = &key.ok_or_else(|| Error::NotEtcd { reason: "it has no bucket `key`".into() })?;
        let mut prescan = Self::default();
        if let Some(expiry) = &plan.drop_expired {
            prescan.due = due(db, expiry)?;
        }
        let counts = !plan.only_prefixes.is_empty()
            || !plan.exclude_prefixes.is_empty()
            || plan.history == History::Current
            || plan.kubernetes
            || !prescan.due.is_empty();
        if counts {
            prescan.newest = Some(Newest::of(db, key)?);
        }
        if plan.kubernetes || !prescan.due.is_empty() {
            prescan.read(db, key, plan.kubernetes)?;
        }
        Ok(prescan)
    }

    fn read<R: ReadAt>(&mut self, db: &Db<R>, key: &Bucket, kubernetes: bool) -> Result<()> {
        let mut attached = Attached::new(TABLE);
        loop {
            rows(db, key, &mut |row| {
                if !attached.row(row.kv.key, self.due_lease(&row)) {
                    return Err(too_many_keys());
                }
                if kubernetes { self.note_master_lease(&row) } else { Ok(()) }
            })?;
            self.expire(&mut attached)?;
            if !attached.next_pass() {
                return Ok(());
            }
        }
    }

    fn due_lease(&self, row: &Row<'_>) -> Option<i64> {
        let lease = Some(row.kv.lease).filter(|lease| *lease != 0 && !row.at.tombstone);
        lease.filter(|lease| self.was_due(*lease))
    }

    fn expire(&mut self, attached: &mut Attached) -> Result<()> {
        for (key, _) in attached.take() {
            self.expired.insert(key);
            if self.expired.len() > MAX_EXPIRED {
                let limit = MAX_EXPIRED as u64;
                return Err(Error::Limit { what: "keys whose lease was due", limit });
            }
        }
        Ok(())
    }

    fn note_master_lease(&mut self, row: &Row<'_>) -> Result<()> {
        let is_master =
            MASTER_LEASES.iter().any(|prefix| row.kv.key.starts_with(prefix.as_bytes()));
        if is_master && row.kv.lease != 0 {
            self.master_leases.insert(row.kv.lease);
            if self.master_leases.len() > MAX_MASTER_LEASES {
                let limit = MAX_MASTER_LEASES as u64;
                return Err(Error::Limit { what: "leases of API servers", limit });
            }
        }
        Ok(())
    }

    /// Whether a row is the newest of its key and not a deletion; `None` when the plan does not
    /// need it.
    pub(super) fn is_live(&self, row: &Row<'_>) -> Option<bool> {
        self.newest.as_ref().map(|newest| newest.is_newest(row.index))
    }

    pub(super) fn has_expired(&self, key: &[u8]) -> bool {
        !self.expired.is_empty() && self.expired.contains(&Fingerprint::of(key))
    }

    pub(super) fn was_due(&self, lease: i64) -> bool {
        self.due.binary_search_by_key(&lease.cast_unsigned(), |id| id.cast_unsigned()).is_ok()
    }

    pub(super) fn is_master_lease(&self, lease: i64) -> bool {
        self.master_leases.contains(&lease)
    }
}

/// Leases that had run out by now if nobody renewed them after the source was taken. A lease that
/// was renewed just before had its whole time to live left, so that is what counts.
fn due<R: ReadAt>(db: &Db<R>, expiry: &PlannedExpiry) -> Result<Vec<i64>> {
    let mut due = Vec::new();
    let Some(bucket) = db.bucket(buckets::LEASE)? else { return Ok(due) };
    db.scan(&bucket, &mut |key, value| {
        let (Some(id), Ok(lease)) = (id_of(key), Lease::decode(value)) else {
            let key = key.iter().take(32).map(|byte| format!("{byte:02x}")).collect();
            let bucket = buckets::display(buckets::LEASE);
            return Err(Error::Row { bucket, key, problem: "it is no lease" });
        };
        if is_due(&lease, expiry) {
            due.push(id);
            if due.len() > MAX_DUE {
                let limit = MAX_DUE as u64;
                return Err(Error::Limit { what: "leases that were due", limit });
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(due)
}

fn is_due(lease: &Lease, expiry: &PlannedExpiry) -> bool {
    let remaining = lease.remaining_ttl.filter(|seconds| *seconds > 0);
    let seconds = remaining.or(lease.ttl).unwrap_or_default();
    let until =
        TimeDelta::try_seconds(seconds).and_then(|left| expiry.taken_at.checked_add_signed(left));
    until.is_some_and(|until| until <= expiry.now)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    #[test]
    fn a_lease_is_due_when_all_of_its_time_has_passed() {
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        let lease = |ttl, remaining_ttl| Lease { id: Some(1), ttl, remaining_ttl };
        let cases = [
            (lease(Some(100), None), 100, true),
            (lease(Some(100), None), 99, false),
            // A checkpoint says that less is left.
            (lease(Some(100), Some(30)), 30, true),
            (lease(Some(100), Some(0)), 30, false),
            (lease(Some(i64::MAX), None), 1 << 40, false),
            (lease(Some(100), None), -5, false),
        ];
        for (lease, later, want) in cases {
            let expiry = PlannedExpiry { taken_at: at(1000), now: at(1000 + later) };
            assert_eq!(is_due(&lease, &expiry), want, "{lease:?} after {later}");
        }
    }
}
