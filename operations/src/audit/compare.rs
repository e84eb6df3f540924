//! Compares the listing with the manifests. Pure. What differs is checked again before it is
//! reported, because saves and prunes go on meanwhile.

use etcdr_repository::inventory::{Certainty, MAX_UNKNOWN_KEYS, OrphanImage};
use etcdr_repository::{ClusterObjects, Grace, Inventory, StoredObject};
use etcdr_schemas::SnapshotId;
use etcdr_schemas::report::Finding;

use super::kinds;
use super::manifest_facts::ClusterFacts;

/// An image that is not as its manifest says, by the listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Suspect {
    pub(super) id: SnapshotId,
    pub(super) image: Box<str>,
    pub(super) expected: u64,
}

/// Images that are not in the listing, or have another size in it.
pub(super) fn suspects(objects: &ClusterObjects, facts: &ClusterFacts) -> Vec<Suspect> {
    let usable = facts.list.iter().filter_map(|fact| Some((fact.id, fact.details()?)));
    usable
        .filter(|(_, details)| {
            objects.images.get(&details.image).map(|image| image.size) != Some(details.stored_size)
        })
        .map(|(id, details)| Suspect {
            id,
            image: details.image.clone(),
            expected: details.stored_size,
        })
        .collect()
}

/// What the second check of a suspect finds. `now` is the object, `manifest_there` whether it still
/// has one.
pub(super) fn confirm(
    suspect: &Suspect,
    now: Option<StoredObject>,
    manifest_there: bool,
) -> Option<Finding> {
    let (place, expected) = (suspect.image.to_string(), suspect.expected);
    match now {
        _ if !manifest_there => None,
        None => {
            Some(kinds::IMAGE_MISSING.at(place, format!("the image of {} is gone", suspect.id)))
        }
        Some(found) if found.size != expected => {
            let message = format!("it has {} bytes and should have {expected}", found.size);
            Some(kinds::IMAGE_SIZE.at(place, message))
        }
        Some(_) => None,
    }
}

/// Images that no manifest names and that are old enough. The image of a manifest that cannot be
/// used is not an orphan: nobody knows.
pub(super) fn orphans(inventory: &Inventory, grace: Grace) -> Vec<OrphanImage> {
    let images = inventory.orphans(grace).images.into_iter();
    images.filter(|image| image.old && image.certainty != Certainty::Unknown).collect()
}

/// What is found of an orphan: the image of a snapshot, or one that is staged.
pub(super) fn orphan_finding(orphan: &OrphanImage) -> Finding {
    let size = orphan.size;
    match orphan.snapshot {
        Some(_) => {
            kinds::IMAGE_ORPHAN.at(&*orphan.key, format!("no manifest names it: {size} bytes"))
        }
        None => kinds::IMAGE_PART
            .at(&*orphan.key, format!("an upload that was never committed: {size} bytes")),
    }
}

/// Signatures without manifest, and keys that belong to nothing.
pub(super) fn leftovers(
    inventory: &Inventory,
    signature_key: &dyn Fn(&SnapshotId) -> String,
    grace: Grace,
) -> Vec<Finding> {
    let lonely = inventory.orphans(grace).signatures.into_iter();
    let mut found: Vec<Finding> = lonely
        .map(|(id, _)| kinds::SIGNATURE_ORPHAN.at(signature_key(&id), "it has no manifest"))
        .collect();
    for (key, stored) in &inventory.objects.unknown_keys {
        let message = format!("no part of a repository: {} bytes", stored.size);
        found.push(kinds::OBJECT_UNKNOWN.at(key, message));
    }
    found
}

/// Number of unknown keys beyond those that are listed.
pub(super) const fn more_unknown_keys(objects: &ClusterObjects) -> u64 {
    objects.unknown_keys_count.saturating_sub(MAX_UNKNOWN_KEYS as u64)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use chrono::{DateTime, Duration, Utc};
    use etcdr_repository::inventory::ManifestEntry;
    use etcdr_repository::layout;
    use etcdr_schemas::{ClusterName, Revision, Sha256Digest};
    use proptest::prelude::*;

    use super::super::manifest_facts::{Details, ManifestFacts, Usability};
    use super::*;

    fn at(minutes: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + minutes * 60, 0).unwrap()
    }

    fn id(n: u32) -> SnapshotId {
        SnapshotId::new(at(n.into()), Revision(n.into()), n)
    }

    fn key(n: u32) -> Box<str> {
        let cluster = ClusterName::default();
        layout::image(&cluster, &id(n), &etcdr_schemas::manifest::Codec::default()).as_ref().into()
    }

    fn facts(sizes: &BTreeMap<u32, u64>) -> ClusterFacts {
        let list = sizes.iter().rev().map(|(n, size)| ManifestFacts {
            id: id(*n),
            sha256: None,
            usability: Usability::Usable(Details {
                image: key(*n),
                stored_size: *size,
                previous: None,
                captured: true,
                revision: Revision((*n).into()),
                cluster_id: None,
            }),
        });
        ClusterFacts { list: list.collect(), ..ClusterFacts::default() }
    }

    /// What the listing has, all of it written at minute 0, and what the manifests say.
    fn inventory(said: &BTreeMap<u32, u64>, found: &BTreeMap<u32, u64>) -> Inventory {
        let image =
            |(n, size): (&u32, &u64)| (key(*n), StoredObject { size: *size, modified: at(0) });
        let entry = |(n, size): (&u32, &u64)| {
            let entry = ManifestEntry {
                image: key(*n),
                stored_size: *size,
                suspect: false,
                sha256: Sha256Digest::of(&n.to_le_bytes()),
                previous: None,
                trusted: true,
            };
            (id(*n), entry)
        };
        let objects = ClusterObjects {
            ids: said.keys().rev().map(|n| id(*n)).collect(),
            images: found.iter().map(image).collect(),
            ..ClusterObjects::default()
        };
        Inventory { objects, entries: said.iter().map(entry).collect(), ..Inventory::default() }
    }

    /// A grace of half an hour, as of so many minutes later.
    fn grace(minutes: i64) -> Grace {
        Grace { now: at(minutes), age: Duration::minutes(30) }
    }

    proptest! {
        /// Against two plain maps: what differs is suspected, what only the listing has is an
        /// orphan.
        #[test]
        fn listing_and_manifests_are_compared_one_by_one(
            said in prop::collection::btree_map(0u32..40, 1u64..3, 0..40),
            found in prop::collection::btree_map(0u32..40, 1u64..3, 0..40),
        ) {
            let (inventory, facts) = (inventory(&said, &found), facts(&said));
            let suspected: BTreeSet<SnapshotId> =
                suspects(&inventory.objects, &facts).iter().map(|suspect| suspect.id).collect();
            let differing = said.iter().filter(|(n, size)| found.get(n) != Some(size));
            prop_assert_eq!(suspected, differing.map(|(n, _)| id(*n)).collect::<BTreeSet<_>>());
            let lonely: BTreeSet<_> =
                orphans(&inventory, grace(60)).into_iter().map(|orphan| orphan.snapshot).collect();
            let extra = found.keys().filter(|n| !said.contains_key(n));
            prop_assert_eq!(lonely, extra.map(|n| Some(id(*n))).collect::<BTreeSet<_>>());
            prop_assert!(orphans(&inventory, grace(20)).is_empty());
        }
    }

    #[test]
    fn the_image_of_a_manifest_that_cannot_be_used_is_no_orphan() {
        let sizes = BTreeMap::from([(1, 1), (2, 1), (3, 1)]);
        let mut inventory = inventory(&sizes, &sizes);
        inventory.entries.remove(&id(2));
        inventory.incomplete = true;
        assert_eq!(orphans(&inventory, grace(60)), []);
        // What belongs to another snapshot, which has no manifest at all, is one all the same.
        inventory.entries.remove(&id(1));
        inventory.objects.ids.retain(|there| *there != id(1));
        assert_eq!(orphans(&inventory, grace(60)).len(), 1);
        // Unless a manifest is unread: it may be the one that names it.
        inventory.unread = true;
        assert_eq!(orphans(&inventory, grace(60)), []);
    }

    #[test]
    fn a_clock_that_jumped_ahead_makes_nothing_old() {
        let found = BTreeMap::from([(1, 1)]);
        let mut inventory = inventory(&BTreeMap::new(), &found);
        let signature = StoredObject { size: 1, modified: at(0) };
        inventory.objects.signatures.insert(id(2), signature);
        let found_after = |inventory: &Inventory, minutes| {
            let signature = |id: &SnapshotId| id.to_string();
            let lonely = leftovers(inventory, &signature, grace(minutes)).len();
            (orphans(inventory, grace(minutes)).len(), lonely)
        };
        // By our clock it is a year later; the store has seen ten minutes.
        inventory.objects.newest = Some(at(10));
        assert_eq!(found_after(&inventory, 365 * 24 * 60), (0, 0));
        // The store's clock has gone on as well.
        inventory.objects.newest = Some(at(31));
        assert_eq!(found_after(&inventory, 365 * 24 * 60), (1, 1));
        // Ours is behind.
        assert_eq!(found_after(&inventory, 10), (0, 0));
    }

    #[test]
    fn a_second_check_decides() {
        let suspect = Suspect { id: id(1), image: key(1), expected: 5 };
        let stored = |size| Some(StoredObject { size, modified: at(0) });
        let code = |now, there| confirm(&suspect, now, there).map(|finding| finding.code);
        assert_eq!(code(None, true).as_deref(), Some("image.missing"));
        assert_eq!(code(stored(4), true).as_deref(), Some("image.size"));
        assert_eq!(code(stored(5), true), None);
        // Pruned meanwhile: manifest first, image afterwards.
        assert_eq!(code(None, false), None);
    }
}
