//! Claims: which agent takes a tick, decided by the store.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use etcdr_schemas::ClusterName;
use etcdr_schemas::claim::{ClaimRecord, MAX_CLAIM_BYTES};
use futures_util::{StreamExt, TryStreamExt as _, stream};
use object_store::ObjectStore as _;
use object_store::path::Path;

use crate::error::{Error, Result, StoreFault};
use crate::layout;
use crate::repository::Repository;
use crate::store::objects::{create, read_small};
use crate::store::retry::retried;

/// Most claims of one tick: at three renewals a minute, two days.
pub const MAX_CLAIMS: u32 = 9_999;

/// Most schedules of a cluster whose claims are read; more than anybody has.
const MAX_SCHEDULES: usize = 1_000;
/// Ticks whose claims are read at once.
const AT_ONCE: usize = 8;

/// One tick of one schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The cluster.
    pub cluster: ClusterName,
    /// The schedule: letters, digits, `-` and `_`.
    pub schedule: String,
    /// The time that the schedule names.
    pub tick: DateTime<Utc>,
}

/// The newest claim of a tick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Its number.
    pub number: u32,
    /// When it was written, by the store's clock.
    pub stored_at: DateTime<Utc>,
    /// What it says.
    pub record: ClaimRecord,
}

impl Repository {
    /// The newest claim of a tick; `None` when nobody has claimed it.
    ///
    /// # Errors
    /// [`Error::Store`]; [`Error::Damaged`] when the newest one is no claim.
    pub async fn newest_claim(&self, slot: &Slot) -> Result<Option<Claim>> {
        let prefix = layout::claims(&slot.cluster, &slot.schedule, slot.tick);
        let newest = retried(self.pause, || async {
            let (mut entries, mut newest) = (self.store.list(Some(&prefix)), None);
            while let Some(entry) = entries.next().await {
                let entry = entry.map_err(|source| Error::store("list", &prefix, source))?;
                let number = layout::claim_number(&entry.location);
                newest = newest.max(number.map(|number| (number, entry.last_modified)));
            }
            Ok(newest)
        });
        let Some((number, stored_at)) = newest.await? else { return Ok(None) };
        let key = layout::claim(&slot.cluster, &slot.schedule, slot.tick, number);
        let read = retried(self.pause, || read_small(self.store.as_ref(), &key, MAX_CLAIM_BYTES));
        match read.await {
            // Swept between the two requests: old claims are nobody's.
            Err(error) if error.store_fault() == Some(StoreFault::Missing) => Ok(None),
            Err(error) => Err(error),
            Ok(bytes) => {
                let record = serde_json::from_slice(&bytes)
                    .map_err(|error| Error::damaged(&key, format!("it is no claim: {error}")))?;
                Ok(Some(Claim { number, stored_at, record }))
            }
        }
    }

    /// The schedules of a cluster of which a tick was ever claimed and not yet swept; duties of
    /// agents begin with `_`.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn claimed_schedules(&self, cluster: &ClusterName) -> Result<Vec<String>> {
        let prefix = layout::all_claims(cluster);
        let folders = retried(self.pause, || self.folders(&prefix)).await?;
        let names = folders.iter().filter_map(|folder| folder.filename().map(str::to_owned));
        Ok(names.take(MAX_SCHEDULES).collect())
    }

    /// Open claims of one schedule, of at most `newest` of its newest ticks. Open means that the
    /// holder says it is still at work. An object that is no claim is skipped.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn open_claims(
        &self,
        cluster: &ClusterName,
        schedule: &str,
        newest: usize,
    ) -> Result<Vec<(Slot, Claim)>> {
        let prefix = layout::schedule_claims(cluster, schedule);
        let folders = retried(self.pause, || self.folders(&prefix)).await?;
        let mut ticks: Vec<_> = folders.iter().filter_map(layout::claimed_tick).collect();
        ticks.sort_unstable_by(|a, b| b.cmp(a));
        let slots = ticks.into_iter().take(newest).map(|tick| Slot {
            cluster: cluster.clone(),
            schedule: schedule.to_owned(),
            tick,
        });
        let reads: Vec<_> = slots.map(|slot| self.open_claim(slot)).collect();
        let seen: Vec<_> = stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
        Ok(seen.into_iter().flatten().collect())
    }

    async fn open_claim(&self, slot: Slot) -> Result<Option<(Slot, Claim)>> {
        match self.newest_claim(&slot).await {
            Ok(newest) => {
                let open = newest.filter(|claim| claim.record.stage.is_open());
                Ok(open.map(|claim| (slot, claim)))
            }
            Err(Error::Damaged { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The folders directly below a prefix.
    async fn folders(&self, prefix: &Path) -> Result<Vec<Path>> {
        let listed = self.store.list_with_delimiter(Some(prefix)).await;
        Ok(listed.map_err(|source| Error::store("list", prefix, source))?.common_prefixes)
    }

    /// Writes the claim of this number. `false` when another agent has written it: it was quicker.
    ///
    /// # Errors
    /// [`Error::Store`]; [`Error::Damaged`] when the numbers are used up.
    pub async fn write_claim(
        &self,
        slot: &Slot,
        number: u32,
        record: &ClaimRecord,
    ) -> Result<bool> {
        let key = layout::claim(&slot.cluster, &slot.schedule, slot.tick, number);
        if number > MAX_CLAIMS {
            return Err(Error::damaged(&key, "a tick cannot have more claims"));
        }
        let json = serde_json::to_vec(record)
            .map_err(|error| Error::Worker(format!("cannot write JSON: {error}")))?;
        // Create-if-absent is the whole protocol: the store lets exactly one writer of a number
        // succeed, so no clocks are compared and no lock has to be released.
        match create(self.store.as_ref(), &key, &Bytes::from(json), self.pause).await {
            Ok(()) => Ok(true),
            Err(Error::Claimed { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
