//! The one pass that reads the old database and writes the new one.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Seek, Write};
use std::ops::ControlFlow;

use etcdr_schemas::report::{History, KubernetesFacts, PlannedRebuild, Rebuilt};
use etcdr_schemas::{Progress, ReadAt, Revision};

use super::filter::Filter;
use super::leases::{self, Dangling, Leases, collect, follow, missing, repair_rows};
use super::prescan::Prescan;
use crate::error::Result;
use crate::format::bolt::patch::Patch;
use crate::format::bolt::writer::Writer;
use crate::format::bolt::{Bucket, Db};
use crate::format::buckets;
use crate::format::mvcc::RowKey;
use crate::format::mvcc::detach::without_lease;
use crate::kubernetes::ChecklistFacts;
use crate::scan::attached::{Attached, TABLE};
use crate::scan::leaf::bad_row;
use crate::scan::rows::{Row, rows};

/// The result of a rewrite.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) rebuilt: Rebuilt,
    pub(crate) dangling: Dangling,
    pub(crate) kubernetes: Option<KubernetesFacts>,
    /// The tally of the written rows, to be compared with what reads back.
    pub(crate) tally: Tally,
}

/// Writes `db` anew to `out`, with the changes of `patch` and without what `plan` leaves out.
///
/// # Errors
/// For a database that cannot be read to its end or `out` that cannot be written, and
/// [`Error::Request`] for a prefix that no key has.
pub(crate) fn rewrite<R: ReadAt, W: Write + Seek>(
    db: &Db<R>,
    patch: &Patch,
    (plan, prescan): (&PlannedRebuild, &Prescan),
    out: W,
    progress: &dyn Progress,
) -> Result<(W, Outcome)> {
    let mut existing: BTreeMap<Vec<u8>, Bucket> = BTreeMap::new();
    for bucket in db.buckets()? {
        existing.insert(bucket.name.clone(), bucket);
    }
    let mut job = Job {
        db,
        patch,
        plan,
        prescan,
        leases: Leases::of(db)?,
        out: Counting { writer: Writer::create(out, db.page_size())?, tally: Tally::default() },
        rebuilt: Rebuilt { source_bytes: db.size(), ..Rebuilt::default() },
        dangling: Dangling::new(),
        used_master_leases: BTreeSet::new(),
        checklist: plan.kubernetes.then(ChecklistFacts::default),
    };
    let always = [buckets::LEASE.to_vec()];
    let appended = patch.append.iter().map(|(name, ..)| name);
    let names: BTreeSet<Vec<u8>> = existing
        .keys()
        .chain(patch.replace.keys())
        .chain(appended)
        .chain(&always)
        .cloned()
        .collect();
    progress.begin("rebuild", Some(db.size()));
    for name in names {
        job.bucket(&name, existing.get(&name), progress)?;
    }
    progress.end();
    let (out, tally) = job.out.finish()?;
    let outcome = Outcome {
        rebuilt: job.rebuilt,
        dangling: job.dangling,
        kubernetes: job.checklist.map(ChecklistFacts::facts),
        tally,
    };
    Ok((out, outcome))
}

struct Job<'a, R, W> {
    db: &'a Db<R>,
    patch: &'a Patch,
    plan: &'a PlannedRebuild,
    prescan: &'a Prescan,
    leases: Leases<'a, R>,
    out: Counting<W>,
    rebuilt: Rebuilt,
    dangling: Dangling,
    used_master_leases: BTreeSet<i64>,
    checklist: Option<ChecklistFacts>,
}

impl<R: ReadAt, W: Write + Seek> Job<'_, R, W> {
    fn bucket(&mut self, name: &[u8], old: Option<&Bucket>, progress: &dyn Progress) -> Result<()> {
        self.out.bucket(name)?;
        match (self.patch.replace.get(name), old) {
            (Some(rows), _) => {
                let mut rows: Vec<_> = rows.iter().collect();
                rows.sort();
                rows.into_iter().try_for_each(|(key, value)| self.out.row(key, value))?;
            }
            (None, Some(old)) if name == buckets::KEY => self.key_rows(old, progress)?,
            (None, old) if name == buckets::LEASE => self.lease_rows(old)?,
            (None, Some(old)) => self.copy(old)?,
            (None, None) => {}
        }
        for (bucket, key, value) in &self.patch.append {
            if bucket == name {
                self.out.row(key, value)?;
            }
        }
        Ok(())
    }

    fn copy(&mut self, bucket: &Bucket) -> Result<()> {
        let out = &mut self.out;
        self.db.scan(bucket, &mut |key, value| {
            out.row(key, value)?;
            Ok(ControlFlow::Continue(()))
        })
    }

    fn key_rows(&mut self, bucket: &Bucket, progress: &dyn Progress) -> Result<()> {
        let mut filter = Filter::new(self.plan, self.prescan);
        let mut attached = Attached::new(TABLE);
        let (mut last, mut last_kept) = (Revision(0), Revision(0));
        let db = self.db;
        rows(db, bucket, &mut |row| {
            progress.advance((row.raw.len() + row.message.len()) as u64);
            self.rebuilt.rows_read += 1;
            last = row.at.main;
            if !filter.keeps(&row) {
                return Ok(());
            }
            last_kept = row.at.main;
            self.keep(&row)?;
            follow(&mut attached, &row, self.lease_to_follow(&row)?)
        })?;
        filter.check()?;
        self.settle(&mut attached)?;
        while attached.next_pass() {
            let mut filter = Filter::new(self.plan, self.prescan);
            rows(db, bucket, &mut |row| match filter.keeps(&row) {
                true => follow(&mut attached, &row, self.lease_to_follow(&row)?),
                false => Ok(()),
            })?;
            self.settle(&mut attached)?;
        }
        self.rebuilt.dropped = filter.dropped();
        self.hold_revision(last, last_kept)
    }

    fn keep(&mut self, row: &Row<'_>) -> Result<()> {
        self.rebuilt.rows_kept += 1;
        if let Some(checklist) = &mut self.checklist
            && self.prescan.is_live(row) == Some(true)
        {
            checklist.row(row.kv.key, row.kv.value);
        }
        if !self.plan.drop_leases || row.kv.lease == 0 {
            return self.out.row(row.raw, row.message);
        }
        self.rebuilt.rows_detached += 1;
        let no_value = || bad_row(row.raw, "the value is no KeyValue");
        let detached = without_lease(row.message).ok_or_else(no_value)?;
        self.out.row(row.raw, &detached)
    }

    /// A lease that must be given a row, or that must not be left out, when this row is its key's
    /// newest.
    fn lease_to_follow(&self, row: &Row<'_>) -> Result<Option<i64>> {
        let lease = row.kv.lease;
        if self.plan.drop_leases || lease == 0 || row.at.tombstone {
            return Ok(None);
        }
        if self.prescan.is_master_lease(lease) {
            return Ok(Some(lease));
        }
        missing(&self.leases, row)
    }

    fn settle(&mut self, attached: &mut Attached) -> Result<()> {
        let mut found = Dangling::new();
        collect(attached, &mut found)?;
        for (lease, keys) in found {
            if self.leases.holds(lease)? {
                self.used_master_leases.insert(lease);
            } else {
                *self.dangling.entry(lease).or_default() += keys;
            }
        }
        Ok(())
    }

    /// When all rows of the last revisions are left out the store would go back in time. An empty
    /// row, as a raised revision has one, keeps it where it was.
    fn hold_revision(&mut self, last: Revision, last_kept: Revision) -> Result<()> {
        let raised = self.patch.append.iter().any(|(bucket, ..)| bucket == buckets::KEY);
        // With compaction marked at the last revision no row is needed.
        if last_kept >= last || raised || self.plan.history == History::Current {
            return Ok(());
        }
        self.rebuilt.revision_held_at = Some(last);
        self.out.row(&RowKey::put(last, 0).encode(), &[])
    }

    fn lease_rows(&mut self, bucket: Option<&Bucket>) -> Result<()> {
        let mut added = repair_rows(&self.dangling).into_iter().peekable();
        let (out, rebuilt) = (&mut self.out, &mut self.rebuilt);
        if let Some(bucket) = bucket {
            self.db.scan(bucket, &mut |key, value| {
                let id = leases::id_of(key);
                let unused =
                    |id| self.prescan.is_master_lease(id) && !self.used_master_leases.contains(&id);
                if self.plan.drop_leases
                    || id.is_some_and(|id| self.prescan.was_due(id) || unused(id))
                {
                    rebuilt.leases_dropped += 1;
                    return Ok(ControlFlow::Continue(()));
                }
                while let Some((key, value)) = added.next_if(|(added, _)| added.as_slice() < key) {
                    out.row(&key, &value)?;
                }
                out.row(key, value)?;
                Ok(ControlFlow::Continue(()))
            })?;
        }
        added.try_for_each(|(key, value)| out.row(&key, &value))
    }
}

/// A writer that counts.
struct Counting<W> {
    writer: Writer<W>,
    tally: Tally,
}

impl<W: Write + Seek> Counting<W> {
    fn bucket(&mut self, name: &[u8]) -> Result<()> {
        self.tally.bucket(name);
        self.writer.bucket(name)
    }

    fn row(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.tally.row(key, value);
        self.writer.row(key, value)
    }

    fn finish(self) -> Result<(W, Tally)> {
        Ok((self.writer.finish()?, self.tally))
    }
}

/// Number and checksum of all rows of a database, in order, independent of its pages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) rows: u64,
    crc: u32,
}

impl Tally {
    fn bucket(&mut self, name: &[u8]) {
        self.crc = crc32c::crc32c_append(self.crc, name);
    }

    fn row(&mut self, key: &[u8], value: &[u8]) {
        self.rows += 1;
        let lengths = [key.len() as u64, value.len() as u64].map(u64::to_le_bytes).concat();
        for bytes in [&lengths, key, value] {
            self.crc = crc32c::crc32c_append(self.crc, bytes);
        }
    }
}

/// The tally of an existing database.
///
/// # Errors
/// When it is damaged or cannot be read.
pub(crate) fn tally<R: ReadAt>(db: &Db<R>) -> Result<Tally> {
    let mut tally = Tally::default();
    for bucket in db.buckets()? {
        tally.bucket(&bucket.name);
        db.scan(&bucket, &mut |key, value| {
            tally.row(key, value);
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(tally)
}
