//! A listing against what the manifests say. Pure: what looks wrong is looked at again before it is
//! told, because saves and prunes go on meanwhile.

use std::collections::BTreeSet;

use chrono::{DateTime, Duration, Utc};
use etcdr_repository::survey::MAX_STRANGERS;
use etcdr_repository::{Stored, Survey, layout};
use etcdr_schemas::SnapshotId;
use etcdr_schemas::report::Finding;

use super::facts::{Facts, Use};
use super::kinds;

/// An image that is not as its manifest says, by the listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Suspect {
    pub(super) id: SnapshotId,
    pub(super) image: Box<str>,
    pub(super) expected: u64,
}

/// An image that no manifest names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Orphan {
    /// By its name; `None` for one that is staged.
    pub(super) id: Option<SnapshotId>,
    pub(super) image: Box<str>,
    pub(super) size: u64,
}

/// Images that are not in the listing, or have another size in it.
pub(super) fn suspects(survey: &Survey, facts: &Facts) -> Vec<Suspect> {
    let usable = facts.list.iter().filter_map(|fact| Some((fact.id, fact.details()?)));
    usable
        .filter(|(_, details)| {
            survey.images.get(&details.image).map(|image| image.size) != Some(details.stored_size)
        })
        .map(|(id, details)| Suspect {
            id,
            image: details.image.clone(),
            expected: details.stored_size,
        })
        .collect()
}

/// What a second look at a suspect says. `now` is the object, `manifest_there` whether it still has
/// one.
pub(super) fn judge(
    suspect: &Suspect,
    now: Option<Stored>,
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

/// Images that no manifest names and that are older than the grace age. The image of a manifest
/// that cannot be used is not an orphan: nobody knows.
pub(super) fn orphans(
    survey: &Survey,
    facts: &Facts,
    now: DateTime<Utc>,
    grace: Duration,
) -> Vec<Orphan> {
    let named: BTreeSet<&str> =
        facts.list.iter().filter_map(|fact| Some(fact.details()?.image.as_ref())).collect();
    // One that could not be read may name any image.
    let blind = facts.list.iter().any(|fact| matches!(fact.use_of, Use::Unread));
    let unnamed = survey.images.iter().filter(|(key, stored)| {
        !named.contains(key.as_ref()) && now.signed_duration_since(stored.modified) > grace
    });
    let mut found = Vec::new();
    for (key, stored) in unnamed {
        let id = layout::image_of(key);
        // Its manifest was deleted by a prune, and it waits for the grace to pass.
        let buried = id.and_then(|id| survey.tombstones.get(&id));
        if buried.is_some_and(|note| now.signed_duration_since(note.modified) <= grace) {
            continue;
        }
        if blind || id.is_some_and(|id| facts.get(&id).is_some_and(|fact| fact.details().is_none()))
        {
            continue;
        }
        found.push(Orphan { id, image: key.clone(), size: stored.size });
    }
    found
}

impl Orphan {
    pub(super) fn finding(&self) -> Finding {
        let size = self.size;
        match self.id {
            Some(_) => {
                kinds::IMAGE_ORPHAN.at(&*self.image, format!("no manifest names it: {size} bytes"))
            }
            None => kinds::IMAGE_PART
                .at(&*self.image, format!("an upload that was never committed: {size} bytes")),
        }
    }
}

/// Signatures without manifest, and keys that belong to nothing.
pub(super) fn leftovers(
    survey: &Survey,
    signature_key: &dyn Fn(&SnapshotId) -> String,
    now: DateTime<Utc>,
    grace: Duration,
) -> Vec<Finding> {
    let ids: BTreeSet<&SnapshotId> = survey.ids.iter().collect();
    let old = |stored: &Stored| now.signed_duration_since(stored.modified) > grace;
    let lonely = survey.signatures.iter().filter(|(id, stored)| !ids.contains(id) && old(stored));
    let mut found: Vec<Finding> = lonely
        .map(|(id, _)| kinds::SIGNATURE_ORPHAN.at(signature_key(id), "it has no manifest"))
        .collect();
    for (key, stored) in &survey.strangers {
        let message = format!("no part of a repository: {} bytes", stored.size);
        found.push(kinds::OBJECT_UNKNOWN.at(key, message));
    }
    found
}

/// Strangers beyond those that are told.
pub(super) const fn more_strangers(survey: &Survey) -> u64 {
    survey.strangers_count.saturating_sub(MAX_STRANGERS as u64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use etcdr_schemas::{ClusterName, Revision};
    use proptest::prelude::*;

    use super::super::facts::{Details, Fact};
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

    fn facts(sizes: &BTreeMap<u32, u64>) -> Facts {
        let list = sizes.iter().rev().map(|(n, size)| Fact {
            id: id(*n),
            sha256: None,
            use_of: Use::Usable(Details {
                image: key(*n),
                stored_size: *size,
                previous: None,
                captured: true,
                revision: Revision((*n).into()),
                cluster_id: None,
            }),
        });
        Facts { list: list.collect(), ..Facts::default() }
    }

    fn survey(sizes: &BTreeMap<u32, u64>) -> Survey {
        let image = |(n, size): (&u32, &u64)| (key(*n), Stored { size: *size, modified: at(0) });
        Survey { images: sizes.iter().map(image).collect(), ..Survey::default() }
    }

    proptest! {
        /// Against two plain maps: what differs is suspected, what only the listing has is an
        /// orphan.
        #[test]
        fn listing_and_manifests_are_compared_one_by_one(
            said in prop::collection::btree_map(0u32..40, 1u64..3, 0..40),
            found in prop::collection::btree_map(0u32..40, 1u64..3, 0..40),
        ) {
            let (survey, facts) = (survey(&found), facts(&said));
            let suspected: BTreeSet<SnapshotId> =
                suspects(&survey, &facts).iter().map(|suspect| suspect.id).collect();
            let differing = said.iter().filter(|(n, size)| found.get(n) != Some(size));
            prop_assert_eq!(suspected, differing.map(|(n, _)| id(*n)).collect::<BTreeSet<_>>());
            let lonely: BTreeSet<_> = orphans(&survey, &facts, at(60), Duration::minutes(30))
                .into_iter().map(|orphan| orphan.id).collect();
            let extra = found.keys().filter(|n| !said.contains_key(n));
            prop_assert_eq!(lonely, extra.map(|n| Some(id(*n))).collect::<BTreeSet<_>>());
            prop_assert!(orphans(&survey, &facts, at(20), Duration::minutes(30)).is_empty());
        }
    }

    #[test]
    fn the_image_of_a_manifest_that_cannot_be_used_is_no_orphan() {
        let sizes = BTreeMap::from([(1, 1), (2, 1)]);
        let mut facts = facts(&sizes);
        let grace = Duration::minutes(30);
        facts.list[0].use_of = Use::Damaged;
        assert_eq!(orphans(&survey(&sizes), &facts, at(60), grace), []);
        // Another unread manifest may be the one that names it.
        facts.list[0].use_of = Use::Unread;
        facts.list.remove(1);
        assert_eq!(orphans(&survey(&sizes), &facts, at(60), grace), []);
    }

    #[test]
    fn a_second_look_decides() {
        let suspect = Suspect { id: id(1), image: key(1), expected: 5 };
        let stored = |size| Some(Stored { size, modified: at(0) });
        let code = |now, there| judge(&suspect, now, there).map(|finding| finding.code);
        assert_eq!(code(None, true).as_deref(), Some("image.missing"));
        assert_eq!(code(stored(4), true).as_deref(), Some("image.size"));
        assert_eq!(code(stored(5), true), None);
        // Pruned meanwhile: manifest first, image afterwards.
        assert_eq!(code(None, false), None);
    }
}
