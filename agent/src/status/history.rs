//! The snapshots and failures that are known of, newest first, and which snapshot a restore would
//! take.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use etcdr_schemas::SnapshotId;
use etcdr_schemas::report::{TimelineEntry, TimelineOutcome};

use crate::event::{Captured, CatalogSeen};

/// Points of the timeline that are kept.
const MAX_ENTRIES: usize = 200;
/// Snapshots found damaged that are remembered.
const MAX_DAMAGED: usize = 200;
/// A list that was begun before a snapshot was recorded may lack it.
const LISTING_TIME: TimeDelta = TimeDelta::seconds(60);

/// The timeline.
#[derive(Debug, Default)]
pub(super) struct History {
    entries: Vec<TimelineEntry>,
    /// Apart from the entries, since failures may push those out.
    newest: Option<SnapshotId>,
    damaged: BTreeSet<SnapshotId>,
    /// When this agent last recorded a snapshot.
    recorded: Option<(SnapshotId, DateTime<Utc>)>,
}

impl History {
    pub(super) fn entries(&self) -> &[TimelineEntry] {
        &self.entries
    }

    /// The newest snapshot that exists, is not suspect, and was not found damaged.
    pub(super) fn newest(&self) -> Option<SnapshotId> {
        self.newest
    }

    pub(super) fn captured(&mut self, captured: &Captured, now: DateTime<Utc>) {
        let manifest = &captured.manifest;
        let seconds = (manifest.finished_at - manifest.started_at).num_milliseconds() as f64 / 1e3;
        self.put(TimelineEntry {
            at: manifest.id.time(),
            outcome: outcome(!manifest.suspect.is_empty()),
            id: Some(manifest.id),
            schedule: captured.schedule.clone(),
            stored_size: Some(manifest.image.stored_size),
            seconds: Some(seconds.max(0.0)),
            error: None,
        });
        self.recorded = Some((manifest.id, now));
        if manifest.suspect.is_empty() {
            self.newest = self.newest.max(Some(manifest.id));
        }
    }

    pub(super) fn failed(&mut self, schedule: Option<&str>, error: &str, now: DateTime<Utc>) {
        self.put(TimelineEntry {
            at: now,
            outcome: TimelineOutcome::Failed,
            id: None,
            schedule: schedule.map(str::to_owned),
            stored_size: None,
            seconds: None,
            error: Some(error.chars().take(300).collect()),
        });
    }

    /// A snapshot was verified. One that was found damaged is none that a restore would take.
    pub(super) fn verified(&mut self, id: SnapshotId, sound: bool) {
        let changed = if sound { self.damaged.remove(&id) } else { self.damaged.insert(id) };
        while self.damaged.len() > MAX_DAMAGED {
            self.damaged.pop_first();
        }
        if !changed {
            return;
        }
        for entry in self.entries.iter_mut().filter(|entry| entry.id == Some(id)) {
            entry.outcome = outcome(!sound);
        }
        if !sound && self.newest == Some(id) {
            let sound = self.entries.iter().filter(|e| e.outcome == TimelineOutcome::Snapshot);
            self.newest = sound.filter_map(|entry| entry.id).max();
        } else if sound {
            self.newest = self.newest.max(Some(id));
        }
    }

    /// The repository was listed: snapshots that no longer exist are removed, and those of other
    /// agents are added.
    pub(super) fn listed(&mut self, seen: &CatalogSeen, now: DateTime<Utc>) {
        let there: BTreeSet<SnapshotId> = seen.newest.iter().map(|one| one.id).collect();
        let complete = seen.snapshots <= there.len() as u64;
        let oldest = there.first().copied();
        let recorded =
            self.recorded.filter(|(_, at)| (now - *at).abs() < LISTING_TIME).map(|one| one.0);
        // Of what is older than the list reaches, the list says nothing.
        let stays = |id: SnapshotId| {
            there.contains(&id)
                || recorded == Some(id)
                || (!complete && oldest.is_some_and(|oldest| id < oldest))
        };
        self.entries.retain(|entry| entry.id.is_none_or(stays));
        self.newest = self.newest.filter(|id| stays(*id));
        let known: BTreeSet<SnapshotId> = self.entries.iter().filter_map(|one| one.id).collect();
        for one in &seen.newest {
            let suspect = one.suspect || self.damaged.contains(&one.id);
            if !suspect {
                self.newest = self.newest.max(Some(one.id));
            }
            if !known.contains(&one.id) {
                self.put(TimelineEntry {
                    at: one.id.time(),
                    outcome: outcome(suspect),
                    id: Some(one.id),
                    schedule: one.schedule.clone(),
                    stored_size: Some(one.stored_size),
                    seconds: None,
                    error: None,
                });
            }
        }
    }

    /// When the newest snapshot of a schedule was taken, as far as is known.
    pub(super) fn last_of(&self, schedule: &str) -> Option<DateTime<Utc>> {
        let its = |entry: &&TimelineEntry| {
            entry.id.is_some() && entry.schedule.as_deref() == Some(schedule)
        };
        self.entries.iter().find(its).map(|entry| entry.at)
    }

    fn put(&mut self, entry: TimelineEntry) {
        let at = self.entries.partition_point(|other| other.at > entry.at);
        self.entries.insert(at, entry);
        self.entries.truncate(MAX_ENTRIES);
    }
}

const fn outcome(suspect: bool) -> TimelineOutcome {
    if suspect { TimelineOutcome::Suspect } else { TimelineOutcome::Snapshot }
}
