//! Images and signatures that no manifest names: decided in this one place, for audits and
//! for sweeps. Pure.

use std::collections::BTreeSet;

use etcdr_schemas::SnapshotId;

use super::deletions::Deletions;
use super::{Grace, Inventory, StoredObject};
use crate::layout;

/// What no manifest names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orphans {
    /// Every image that no manifest names, old or not.
    pub images: Vec<OrphanImage>,
    /// Signatures without their manifest, that are old enough.
    pub signatures: Vec<(SnapshotId, StoredObject)>,
}

/// An image that no manifest names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrphanImage {
    /// Its key.
    pub key: Box<str>,
    /// Bytes.
    pub size: u64,
    /// The snapshot that it belonged to: by its name, or by what is noted of a deletion. `None` for
    /// one that is staged.
    pub snapshot: Option<SnapshotId>,
    /// Whether the grace has passed since it was written, and since its manifest was deleted.
    pub old: bool,
    /// How sure it is that no manifest names it.
    pub certainty: Certainty,
}

/// How sure it is that no manifest names an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certainty {
    /// All manifests were read and understood.
    Certain,
    /// Some other snapshot's manifest was read and not understood.
    Likely,
    /// Its own snapshot's manifest was not understood, or some manifest could not be read.
    Unknown,
}

impl Inventory {
    /// What no manifest names. Which image belonged to a deleted snapshot is known by its name
    /// only.
    #[must_use]
    pub fn orphans(&self, grace: Grace) -> Orphans {
        self.orphans_given(&self.deletions_by_name(), grace)
    }

    /// What no manifest names, given when snapshots were deleted.
    pub(crate) fn orphans_given(&self, deletions: &Deletions, grace: Grace) -> Orphans {
        let there: BTreeSet<&SnapshotId> = self.objects.ids.iter().collect();
        let named: BTreeSet<&str> =
            self.entries.values().map(|entry| entry.image.as_ref()).collect();
        let image = |key: &str, stored: &StoredObject| {
            let deletion = deletions.get(key);
            let since = deletion.map_or(stored.modified, |(_, at)| stored.modified.max(*at));
            let snapshot = deletion.map(|(id, _)| *id).or_else(|| layout::image_of(key));
            let own = |id| there.contains(&id) && !self.entries.contains_key(&id);
            let certainty = match () {
                // A manifest without an entry was deleted meanwhile.
                () if !self.incomplete => Certainty::Certain,
                () if self.unread || snapshot.is_some_and(own) => Certainty::Unknown,
                () => Certainty::Likely,
            };
            let old = grace.passed(&self.objects, since);
            OrphanImage { key: key.into(), size: stored.size, snapshot, old, certainty }
        };
        let unnamed = self.objects.images.iter().filter(|(key, _)| !named.contains(key.as_ref()));
        let alone = self.objects.signatures.iter().filter(|(id, stored)| {
            !there.contains(id) && grace.passed(&self.objects, stored.modified)
        });
        Orphans {
            images: unnamed.map(|(key, stored)| image(key, stored)).collect(),
            signatures: alone.map(|(id, stored)| (*id, *stored)).collect(),
        }
    }
}
