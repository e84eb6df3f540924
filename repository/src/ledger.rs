//! The ledger of deleted snapshots: written before manifests are deleted, read where a manifest is
//! missed.
//!
//! Manifests are chained by digest, and a retention breaks that chain on purpose. Each run that
//! deletes notes first what it is about to delete, in pages that are written once. A gap is no loss
//! when the ledger lists its digest and the chain goes on behind it. An entry whose manifest exists
//! explains nothing: either it was not deleted after all, or it was brought back.

mod record;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use etcdr_schemas::ledger::{LedgerEntry, LedgerPage, MAX_PAGE_BYTES};
use etcdr_schemas::report::Unusable;
use etcdr_schemas::{ClusterName, Sha256Digest, SnapshotId};
use futures_util::{StreamExt, stream};
use object_store::ObjectStore as _;
use object_store::path::Path;

use crate::error::{Error, Result, StoreFault};
use crate::inventory::{Inventory, StoredObject};
use crate::layout;
use crate::repository::{MAX_SNAPSHOTS, Repository};
use crate::store::objects::read_small;
use crate::store::retry::retried;

pub use record::RecordedDeletions;

/// Pages that are read at once.
const AT_ONCE: usize = 8;

/// How often the ledger is read when pages vanish meanwhile.
const READINGS: u32 = 3;

/// Most pages that are read, newest first; older ones explain nothing.
const MAX_PAGES: usize = 20_000;

/// Most entries of all pages together that are held in memory: some 150 bytes each.
const MAX_TOTAL_ENTRIES: usize = MAX_SNAPSHOTS;

/// What the ledger of a cluster says.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    entries: BTreeMap<Sha256Digest, Deleted>,
    pub(crate) pages: Vec<Page>,
    /// Pages that cannot be used, and that there are more than are read.
    pub unusable_pages: Vec<Unusable>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Deleted {
    id: SnapshotId,
    previous: Option<Sha256Digest>,
}

/// A page that was read.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    pub(crate) key: Path,
    pub(crate) stored: StoredObject,
    pub(crate) digests: Vec<Sha256Digest>,
}

impl Page {
    /// Whether one of these is in it.
    pub(crate) fn has_any(&self, digests: &BTreeSet<Sha256Digest>) -> bool {
        self.digests.iter().any(|digest| digests.contains(digest))
    }
}

/// Deleted snapshots in a row: each followed the next one, going back in time.
#[derive(Debug, Clone, Copy)]
pub struct DeletedChain {
    /// The last of them, going back.
    pub last: SnapshotId,
    /// The earliest capture among them.
    pub earliest: DateTime<Utc>,
    /// What the last one followed; `None` when it was the first snapshot.
    pub follows: Option<Sha256Digest>,
}

/// The chains that begin with each deleted snapshot, by the digest of its manifest.
#[derive(Debug, Clone, Default)]
pub struct DeletedChains(BTreeMap<Sha256Digest, DeletedChain>);

impl DeletedChains {
    /// The chain that begins with the manifest of this digest.
    #[must_use]
    pub fn get(&self, missed: &Sha256Digest) -> Option<&DeletedChain> {
        self.0.get(missed)
    }

    /// Whether a missing manifest was deleted on purpose, and so was everything between it and one
    /// that is there (`known`) or one that is no younger than the `oldest`: what was before that,
    /// pruning has taken.
    #[must_use]
    pub fn explains(
        &self,
        missed: &Sha256Digest,
        known: impl Fn(&Sha256Digest) -> bool,
        oldest: Option<DateTime<Utc>>,
    ) -> bool {
        self.get(missed).is_some_and(|chain| {
            chain.follows.is_none_or(|digest| known(&digest))
                || oldest.is_some_and(|oldest| chain.earliest <= oldest)
        })
    }

    /// How many snapshots were deleted on purpose and are not there.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len() as u64
    }
}

impl Ledger {
    /// The deleted snapshot whose manifest had this digest.
    #[must_use]
    pub fn snapshot(&self, digest: &Sha256Digest) -> Option<SnapshotId> {
        self.entries.get(digest).map(|deleted| deleted.id)
    }

    /// Follows every deleted snapshot back as far as the ledger reaches; those that are `there` are
    /// skipped. Takes one step for each entry, even where hostile pages form a circle.
    #[must_use]
    pub fn deleted_chains(&self, there: &dyn Fn(&SnapshotId) -> bool) -> DeletedChains {
        let mut chains: BTreeMap<Sha256Digest, DeletedChain> = BTreeMap::new();
        for (start, first) in &self.entries {
            let (mut path, mut met) = (Vec::new(), BTreeSet::new());
            let (mut at, mut last) = (Some(*start), first.id);
            let end = loop {
                let Some(digest) = at else { break None };
                if let Some(chain) = chains.get(&digest) {
                    break Some(*chain);
                }
                match self.entries.get(&digest) {
                    Some(deleted) if !there(&deleted.id) && met.insert(digest) => {
                        path.push((digest, deleted.id));
                        (at, last) = (deleted.previous, deleted.id);
                    }
                    _ => break None,
                }
            };
            let mut chain =
                end.unwrap_or(DeletedChain { last, earliest: last.time(), follows: at });
            for (digest, id) in path.into_iter().rev() {
                chain.earliest = chain.earliest.min(id.time());
                chains.insert(digest, chain);
            }
        }
        DeletedChains(chains)
    }

    /// Deleted snapshots that a manifest leads to which is there. `oldest` as for
    /// [`DeletedChains::explains`].
    pub(crate) fn needed(
        &self,
        inventory: &Inventory,
        oldest: Option<DateTime<Utc>>,
    ) -> BTreeSet<Sha256Digest> {
        let digests: BTreeSet<_> = inventory.entries.values().map(|entry| entry.sha256).collect();
        let ids: BTreeSet<_> = inventory.objects.ids.iter().collect();
        let chains = self.deleted_chains(&|id| ids.contains(id));
        let mut needed = BTreeSet::new();
        for entry in inventory.entries.values() {
            let mut at = entry.previous;
            while let Some(digest) = at
                && let Some(chain) = chains.get(&digest)
                && let Some(deleted) = self.entries.get(&digest)
                && needed.insert(digest)
            {
                // Where the chain leads to one that is there, all of it is needed; else up to one
                // before the oldest, since that one is asked what it follows, too.
                let whole = chain.follows.is_some_and(|digest| digests.contains(&digest));
                let old = oldest.is_some_and(|oldest| deleted.id.time() < oldest);
                at = if old && !whole { None } else { deleted.previous };
            }
        }
        needed
    }

    /// Of two that say different things of one manifest, the newer page is believed.
    fn note(&mut self, entry: &LedgerEntry) {
        let deleted = Deleted { id: entry.id, previous: entry.previous_manifest_sha256 };
        self.entries.entry(entry.manifest_sha256).or_insert(deleted);
    }

    fn add(&mut self, key: Path, stored: StoredObject, page: &LedgerPage) {
        let room = MAX_TOTAL_ENTRIES.saturating_sub(self.entries.len());
        if page.snapshots.len() > room {
            let reason = format!(
                "the ledger has more than {MAX_TOTAL_ENTRIES} entries: this page is left out"
            );
            self.unusable_pages.push(Unusable { key: key.to_string(), reason });
            return;
        }
        let digests = page.snapshots.iter().map(|entry| entry.manifest_sha256).collect();
        page.snapshots.iter().for_each(|entry| self.note(entry));
        self.pages.push(Page { key, stored, digests });
    }
}

impl<'a> FromIterator<&'a LedgerEntry> for Ledger {
    fn from_iter<I: IntoIterator<Item = &'a LedgerEntry>>(entries: I) -> Self {
        let mut ledger = Self::default();
        entries.into_iter().for_each(|entry| ledger.note(entry));
        ledger
    }
}

impl Repository {
    /// Reads the ledger of a cluster. A page that cannot be used is a doubt and no error.
    ///
    /// # Errors
    /// [`Error::Store`] when the store does not answer.
    pub async fn ledger(&self, cluster: &ClusterName) -> Result<Ledger> {
        // Pages that vanish while they are read may have become one that was not listed.
        for _ in 1..READINGS {
            let (ledger, vanished) = self.read_ledger(cluster).await?;
            if !vanished {
                return Ok(ledger);
            }
        }
        Ok(self.read_ledger(cluster).await?.0)
    }

    /// The ledger, and whether a page went away while it was read.
    async fn read_ledger(&self, cluster: &ClusterName) -> Result<(Ledger, bool)> {
        let (mut ledger, mut vanished) = (Ledger::default(), false);
        let pages = match retried(self.pause, || self.ledger_pages(cluster)).await {
            Err(error) if error.store_fault() == Some(StoreFault::Denied) => {
                let (key, reason) = (layout::ledger(cluster).to_string(), error.to_string());
                ledger.unusable_pages.push(Unusable { key, reason });
                return Ok((ledger, false));
            }
            other => other?,
        };
        if let Some((key, _)) = pages.get(MAX_PAGES) {
            let reason =
                format!("the ledger has more than {MAX_PAGES} pages: older ones are left out");
            ledger.unusable_pages.push(Unusable { key: key.to_string(), reason });
        }
        let mut read = stream::iter(pages.into_iter().take(MAX_PAGES))
            .map(|(key, stored)| async move {
                let page = self.ledger_page(cluster, &key).await;
                (key, stored, page)
            })
            .buffered(AT_ONCE);
        while let Some((key, stored, page)) = read.next().await {
            match page? {
                Some(Ok(page)) => ledger.add(key, stored, &page),
                Some(Err(reason)) => {
                    ledger.unusable_pages.push(Unusable { key: key.to_string(), reason });
                }
                None => vanished = true,
            }
        }
        Ok((ledger, vanished))
    }

    /// One page, or why it cannot be used; `None` when it is gone.
    pub(crate) async fn ledger_page(
        &self,
        cluster: &ClusterName,
        key: &Path,
    ) -> Result<Option<Result<LedgerPage, String>>> {
        let read = retried(self.pause, || read_small(self.store.as_ref(), key, MAX_PAGE_BYTES));
        match read.await {
            Ok(bytes) => {
                let page = LedgerPage::from_json(cluster, &bytes);
                Ok(Some(page.map_err(|error| error.to_string())))
            }
            Err(error) if error.store_fault() == Some(StoreFault::Missing) => Ok(None),
            Err(error) if error.store_fault() == Some(StoreFault::Unavailable) => Err(error),
            Err(error) => Ok(Some(Err(error.to_string()))),
        }
    }

    /// Keys of pages, newest first: at most one more than are read.
    async fn ledger_pages(&self, cluster: &ClusterName) -> Result<Vec<(Path, StoredObject)>> {
        let prefix = layout::ledger(cluster);
        let mut entries = self.store.list(Some(&prefix));
        let mut pages = BTreeMap::new();
        while let Some(entry) = entries.next().await {
            let entry = entry.map_err(|source| Error::store("list", &prefix, source))?;
            if layout::is_ledger_page(cluster, &entry.location) {
                let stored = StoredObject { size: entry.size, modified: entry.last_modified };
                pages.insert(entry.location, stored);
            }
            if pages.len() > MAX_PAGES.saturating_add(1) {
                pages.pop_first();
            }
        }
        Ok(pages.into_iter().rev().collect())
    }
}
