//! What nobody names any more. Pure, except for reading what is noted of deleted snapshots.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use etcdr_schemas::manifest::{MAX_MANIFEST_BYTES, Manifest};
use etcdr_schemas::report::{SweptKind, Unusable};
use etcdr_schemas::{ClusterName, SnapshotId};
use futures_util::{StreamExt, stream};
use object_store::path::Path;

use super::{AT_ONCE, Grace, Known, Stock};
use crate::error::{Error, Result, StoreFault};
use crate::layout;
use crate::repository::Repository;
use crate::store::objects::read_small;
use crate::store::retry::retried;
use crate::survey::{Examined, Stored};

/// An object to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Orphan {
    pub(super) key: Path,
    pub(super) kind: SweptKind,
    pub(super) size: u64,
}

/// Of images: the snapshot that each belonged to, and since when that is deleted.
pub(super) type Burials = BTreeMap<Box<str>, (SnapshotId, DateTime<Utc>)>;

/// What a manifest comes to.
#[derive(Debug, Default)]
pub(super) struct Weighed {
    pub(super) known: Option<Known>,
    pub(super) unusable: Option<Unusable>,
    pub(super) blind: bool,
}

/// Weighs one manifest. One that is gone by now comes to nothing.
pub(super) fn weigh(
    cluster: &ClusterName,
    id: &SnapshotId,
    examined: Result<Option<Examined>>,
) -> Weighed {
    let key = layout::manifest(cluster, id).to_string();
    let unusable = |reason: String| Some(Unusable { key: key.clone(), reason });
    let lost = |reason: String| Weighed { unusable: unusable(reason), known: None, blind: true };
    let examined = match examined {
        Ok(None) => return Weighed::default(),
        Ok(Some(examined)) => examined,
        Err(error) => return lost(error.to_string()),
    };
    let manifest = match examined.manifest {
        Ok(manifest) => manifest,
        Err(error) => return lost(error.to_string()),
    };
    if manifest.id != *id || manifest.cluster != *cluster {
        let (other, of) = (manifest.id, manifest.cluster);
        return lost(format!("it is the manifest of {other} of cluster {of}"));
    }
    if layout::parse_image(cluster, &manifest.image.key).is_none() {
        return lost("its image lies outside the cluster's images".to_owned());
    }
    let known = Known {
        image: manifest.image.key.into(),
        stored_size: manifest.image.stored_size,
        suspect: !manifest.suspect.is_empty(),
        sha256: examined.sha256,
        previous: manifest.previous_manifest_sha256,
        believed: examined.signature.is_ok(),
    };
    let unusable = examined.signature.err().and_then(|error| unusable(error.to_string()));
    Weighed { known: Some(known), unusable, blind: false }
}

/// What goes first.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) images: Vec<Orphan>,
    pub(super) signatures: Vec<Orphan>,
    pub(super) waiting: (u64, u64),
    pub(super) unsure: (u64, u64),
}

/// Images and signatures that nobody names. `buried` says of images since when their manifest is deleted.
pub(super) fn plan(cluster: &ClusterName, stock: &Stock, buried: &Burials, grace: Grace) -> Plan {
    let named: BTreeSet<&str> = stock.known.values().map(|known| known.image.as_ref()).collect();
    let mut plan = Plan::default();
    let count = |counted: &mut (u64, u64), size: u64| {
        *counted = (counted.0.saturating_add(1), counted.1.saturating_add(size));
    };
    for (key, stored) in &stock.survey.images {
        if named.contains(key.as_ref()) {
            continue;
        }
        let since = buried.get(key).map_or(stored.modified, |(_, at)| stored.modified.max(*at));
        let Some(path) = layout::parse_image(cluster, key) else { continue };
        if stock.blind {
            count(&mut plan.unsure, stored.size);
        } else if grace.passed(&stock.survey, since) {
            let part = layout::is_staging(key) && !buried.contains_key(key);
            let kind = if part { SweptKind::Part } else { SweptKind::Image };
            plan.images.push(Orphan { key: path, kind, size: stored.size });
        } else {
            count(&mut plan.waiting, stored.size);
        }
    }
    let there: BTreeSet<&SnapshotId> = stock.survey.ids.iter().collect();
    let lonely =
        stock.survey.signatures.iter().filter(|(id, stored)| {
            !there.contains(id) && grace.passed(&stock.survey, stored.modified)
        });
    let signature = |(id, stored): (&SnapshotId, &Stored)| Orphan {
        key: layout::signature(cluster, id),
        kind: SweptKind::Signature,
        size: stored.size,
    };
    plan.signatures = lonely.map(signature).collect();
    plan
}

/// What is noted of snapshots whose image is gone by now (it is not among `kept`), or whose manifest was not
/// deleted after all.
pub(super) fn tombstones(
    cluster: &ClusterName,
    stock: &Stock,
    buried: &Burials,
    kept: &BTreeSet<&str>,
    grace: Grace,
) -> Vec<Orphan> {
    // Images that were due are gone, unless they are kept.
    let waits = |key: &str, since: DateTime<Utc>| {
        stock.blind || kept.contains(key) || !grace.passed(&stock.survey, since)
    };
    let waiting: BTreeSet<SnapshotId> = buried
        .iter()
        .filter(|(key, (_, since))| waits(key, *since))
        .map(|(_, (id, _))| *id)
        .collect();
    let survey = &stock.survey;
    let due = |id: &SnapshotId, stored: &Stored| {
        grace.passed(survey, stored.modified) && !waiting.contains(id)
    };
    let orphan =
        |key, stored: &Stored| Orphan { key, kind: SweptKind::Tombstone, size: stored.size };
    let mut found = Vec::new();
    for (id, stored) in survey.tombstones.iter().filter(|(id, stored)| due(id, stored)) {
        if let Some(signature) = survey.tombstone_signatures.get(id) {
            found.push(orphan(layout::tombstone_signature(cluster, id), signature));
        }
        found.push(orphan(layout::tombstone(cluster, id), stored));
    }
    let alone = survey.tombstone_signatures.iter().filter(|(id, stored)| {
        !survey.tombstones.contains_key(id) && grace.passed(survey, stored.modified)
    });
    found
        .extend(alone.map(|(id, stored)| orphan(layout::tombstone_signature(cluster, id), stored)));
    found
}

impl Repository {
    /// Since when the manifests of images are deleted, by the store's clock. Most images tell by their names
    /// which snapshot they belonged to; where one kept its first key, what is noted of the snapshot is read.
    pub(super) async fn buried(&self, cluster: &ClusterName, stock: &Stock) -> Result<Burials> {
        let (images, tombstones) = (&stock.survey.images, &stock.survey.tombstones);
        let mut buried = Burials::new();
        let mut found = BTreeSet::new();
        for key in images.keys() {
            if let Some(id) = layout::image_of(key)
                && let Some(stored) = tombstones.get(&id)
            {
                buried.insert(key.clone(), (id, stored.modified));
                found.insert(id);
            }
        }
        if !images.keys().any(|key| layout::is_staging(key)) {
            return Ok(buried);
        }
        let unread = tombstones.iter().filter(|(id, _)| !found.contains(id));
        let unread: Vec<_> = unread.map(|(id, stored)| (*id, stored.modified)).collect();
        let mut read = stream::iter(unread)
            .map(|(id, modified)| async move {
                let key = self.noted(cluster, &id).await?;
                Ok::<_, Error>(key.map(|key| (key, (id, modified))))
            })
            .buffer_unordered(AT_ONCE);
        while let Some(result) = read.next().await {
            buried.extend(result?.filter(|(key, _)| images.contains_key(key)));
        }
        Ok(buried)
    }

    /// Key of the image of a snapshot that was deleted; `None` where that cannot be read.
    async fn noted(&self, cluster: &ClusterName, id: &SnapshotId) -> Result<Option<Box<str>>> {
        let key = layout::tombstone(cluster, id);
        let read =
            retried(self.pause, || read_small(self.store.as_ref(), &key, MAX_MANIFEST_BYTES));
        match read.await {
            Ok(bytes) => {
                Ok(Manifest::from_json(&bytes).ok().map(|manifest| manifest.image.key.into()))
            }
            Err(error @ Error::Store { fault: StoreFault::Unavailable, .. }) => Err(error),
            Err(_) => Ok(None),
        }
    }
}
