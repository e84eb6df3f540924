//! Pages of the ledger that explain no gap any more, and many small ones that become few.

use std::collections::{BTreeMap, BTreeSet};

use etcdr_schemas::ledger::{LedgerEntry, MAX_ENTRIES};
use etcdr_schemas::report::SweptKind;
use etcdr_schemas::{ClusterName, Sha256Digest, SnapshotId};

use super::plan::SweepItem;
use super::{SweepOptions, Swept};
use crate::error::Result;
use crate::inventory::Inventory;
use crate::ledger::Page;
use crate::repository::Repository;

/// Small pages from which on they become fewer: an hourly prune would leave thousands in a year,
/// each of which is read whenever a manifest is missed.
const MANY: usize = 32;

/// Entries from which on a page is no small one.
const LARGE: usize = MAX_ENTRIES / 2;

impl Repository {
    /// Deletes pages of the ledger that no manifest leads to, and makes few large ones of many
    /// small ones. Only pages that are older than the grace are considered, so that a prune which
    /// is running now keeps its own.
    ///
    /// A deleted snapshot that can be `undone` may be the oldest again: from it on, the chain is to
    /// hold.
    pub(super) async fn sweep_ledger(
        &self,
        cluster: &ClusterName,
        inventory: &Inventory,
        undone: impl Fn(&SnapshotId) -> bool,
        options: SweepOptions,
        swept: &mut Swept,
    ) -> Result<()> {
        // A manifest that cannot be read may follow any of them.
        if inventory.incomplete {
            return Ok(());
        }
        let (objects, grace) = (&inventory.objects, options.grace());
        let all = objects.ids.iter().chain(objects.tombstones.keys().filter(|id| undone(id)));
        let oldest = all.map(SnapshotId::time).min();
        let ledger = self.ledger(cluster).await?;
        let needed = ledger.needed(inventory, oldest);
        let old = ledger.pages.iter().filter(|page| grace.passed(objects, page.stored.modified));
        let (useful, useless): (Vec<&Page>, Vec<&Page>) =
            old.partition(|page| page.has_any(&needed));
        self.erase_all(cluster, to_delete(&useless), options, swept).await?;
        let small: Vec<&Page> =
            useful.into_iter().filter(|page| page.digests.len() < LARGE).collect();
        // Where nothing can be deleted, more pages would be no help.
        if small.len() < MANY || options.dry_run || swept.withheld > 0 {
            return Ok(());
        }
        let entries = self.entries(cluster, &small, &needed).await?;
        let mut written = BTreeSet::new();
        for entries in entries.chunks(MAX_ENTRIES) {
            match self.write_page(cluster, entries, grace.now).await? {
                Some(key) => written.insert(key),
                None => return Ok(()),
            };
        }
        // One that says the same, of the same second, was there already.
        let small: Vec<_> = small.into_iter().filter(|page| !written.contains(&page.key)).collect();
        // Killed before this, the ledger says some things twice.
        self.erase_all(cluster, to_delete(&small), options, swept).await.map(drop)
    }

    /// Entries of these pages that are `needed`, each once, oldest snapshot first.
    async fn entries(
        &self,
        cluster: &ClusterName,
        pages: &[&Page],
        needed: &BTreeSet<Sha256Digest>,
    ) -> Result<Vec<LedgerEntry>> {
        let mut entries = BTreeMap::new();
        for page in pages {
            // One that is gone has become part of another one, which somebody else wrote.
            let Some(Ok(page)) = self.ledger_page(cluster, &page.key).await? else { continue };
            for entry in page.snapshots {
                if needed.contains(&entry.manifest_sha256) {
                    entries.entry((entry.id, entry.manifest_sha256)).or_insert(entry);
                }
            }
        }
        Ok(entries.into_values().collect())
    }
}

fn to_delete(pages: &[&Page]) -> Vec<SweepItem> {
    let item = |page: &&Page| SweepItem {
        key: page.key.clone(),
        kind: SweptKind::Ledger,
        size: page.stored.size,
    };
    pages.iter().map(item).collect()
}
