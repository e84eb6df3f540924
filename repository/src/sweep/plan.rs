//! What a sweep deletes, and in which order. Pure.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use etcdr_schemas::report::SweptKind;
use etcdr_schemas::{ClusterName, SnapshotId};
use object_store::path::Path;

use crate::inventory::deletions::Deletions;
use crate::inventory::{Certainty, Grace, Inventory, OrphanImage, StoredObject};
use crate::layout;

/// An object to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SweepItem {
    pub(super) key: Path,
    pub(super) kind: SweptKind,
    pub(super) size: u64,
}

/// Images and signatures to delete, and the images that stay for now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct OrphanPlan {
    pub(super) images: Vec<SweepItem>,
    pub(super) signatures: Vec<SweepItem>,
    pub(super) waiting: (u64, u64),
    pub(super) unsure: (u64, u64),
}

/// Images and signatures that no manifest names, given when snapshots were deleted.
pub(super) fn orphans(
    cluster: &ClusterName,
    inventory: &Inventory,
    deletions: &Deletions,
    grace: Grace,
) -> OrphanPlan {
    let orphans = inventory.orphans_given(deletions, grace);
    let mut plan = OrphanPlan::default();
    let count = |counted: &mut (u64, u64), size: u64| {
        *counted = (counted.0.saturating_add(1), counted.1.saturating_add(size));
    };
    for OrphanImage { key, size, snapshot, old, certainty } in orphans.images {
        let Some(path) = layout::parse_image(cluster, &key) else { continue };
        match (certainty, old) {
            // A manifest that was not understood may name it.
            (Certainty::Likely | Certainty::Unknown, _) => count(&mut plan.unsure, size),
            (Certainty::Certain, false) => count(&mut plan.waiting, size),
            (Certainty::Certain, true) => {
                let part = snapshot.is_none() && layout::is_staging(&key);
                let kind = if part { SweptKind::Part } else { SweptKind::Image };
                plan.images.push(SweepItem { key: path, kind, size });
            }
        }
    }
    let signature = |(id, stored): (SnapshotId, StoredObject)| SweepItem {
        key: layout::signature(cluster, &id),
        kind: SweptKind::Signature,
        size: stored.size,
    };
    plan.signatures = orphans.signatures.into_iter().map(signature).collect();
    plan
}

/// Tombstones of snapshots whose image is gone by now (it is not among `kept`), or whose manifest
/// was not deleted after all.
pub(super) fn tombstones(
    cluster: &ClusterName,
    inventory: &Inventory,
    deletions: &Deletions,
    kept: &BTreeSet<&str>,
    grace: Grace,
) -> Vec<SweepItem> {
    // Images that were due are gone, unless they are kept.
    let waits = |key: &str, since: DateTime<Utc>| {
        inventory.incomplete || kept.contains(key) || !grace.passed(&inventory.objects, since)
    };
    let waiting: BTreeSet<SnapshotId> = deletions
        .iter()
        .filter(|(key, (_, since))| waits(key, *since))
        .map(|(_, (id, _))| *id)
        .collect();
    let objects = &inventory.objects;
    let due = |id: &SnapshotId, stored: &StoredObject| {
        grace.passed(objects, stored.modified) && !waiting.contains(id)
    };
    let item = |key, stored: &StoredObject| SweepItem {
        key,
        kind: SweptKind::Tombstone,
        size: stored.size,
    };
    let mut found = Vec::new();
    for (id, stored) in objects.tombstones.iter().filter(|(id, stored)| due(id, stored)) {
        if let Some(signature) = objects.tombstone_signatures.get(id) {
            found.push(item(layout::tombstone_signature(cluster, id), signature));
        }
        found.push(item(layout::tombstone(cluster, id), stored));
    }
    let alone = objects.tombstone_signatures.iter().filter(|(id, stored)| {
        !objects.tombstones.contains_key(id) && grace.passed(objects, stored.modified)
    });
    found.extend(alone.map(|(id, stored)| item(layout::tombstone_signature(cluster, id), stored)));
    found
}
