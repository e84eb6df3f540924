//! Holds: who wants which snapshot kept, why, and until when.
//!
//! A hold that cannot be read holds: whoever wrote it meant something.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use etcdr_schemas::hold::{Hold, MAX_HOLD_BYTES};
use etcdr_schemas::{ClusterName, SnapshotId};
use futures_util::{StreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStore as _, ObjectStoreExt, PutPayload};

use crate::error::{Error, Result, StoreFault};
use crate::layout;
use crate::repository::{MAX_SNAPSHOTS, Repository};
use crate::store::objects::read_small;
use crate::store::retry::retried;

/// Holds that are read at once.
const AT_ONCE: usize = 8;

/// The state of a hold at a given time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldState {
    /// It holds.
    Holds(Hold),
    /// It has expired: it does not hold any more.
    Expired(Hold),
    /// It is there and cannot be read, for this reason: it holds.
    Unreadable(String),
}

impl HoldState {
    /// Why the snapshot is held, in words; `None` when it is not.
    #[must_use]
    pub fn holding(&self) -> Option<String> {
        match self {
            Self::Holds(hold) => {
                let by = hold.by.as_deref().map(|by| format!(" by {by}")).unwrap_or_default();
                let until = hold.expires_at.map(|end| format!(" until {}", seconds(end)));
                let until = until.unwrap_or_default();
                Some(format!("held{by}{until}: {}", hold.reason))
            }
            Self::Unreadable(why) => Some(format!("held: its hold cannot be read ({why})")),
            Self::Expired(_) => None,
        }
    }

    /// That it was held, in words, when the hold has expired.
    #[must_use]
    pub fn expired(&self) -> Option<String> {
        let Self::Expired(hold) = self else { return None };
        let end = hold.expires_at.map(seconds).unwrap_or_default();
        Some(format!("the hold expired at {end}: {}", hold.reason))
    }
}

fn seconds(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

impl Repository {
    /// Holds a snapshot, in the place of an earlier hold of it. Whether the snapshot exists is not
    /// checked.
    ///
    /// # Errors
    /// [`Error::Store`], and [`Error::Damaged`] for a hold that is too large to be read again.
    pub async fn hold(&self, cluster: &ClusterName, hold: &Hold) -> Result<()> {
        let key = layout::hold(cluster, &hold.snapshot);
        let json = serde_json::to_vec_pretty(hold);
        let mut json =
            json.map_err(|error| Error::Worker(format!("cannot write JSON: {error}")))?;
        json.push(b'\n');
        if json.len() as u64 > MAX_HOLD_BYTES {
            return Err(Error::damaged(&key, "the hold would be larger than is read"));
        }
        let json = Bytes::from(json);
        retried(self.pause, || async {
            let put = self.store.put(&key, PutPayload::from(json.clone())).await;
            put.map(drop).map_err(|source| Error::store("write", &key, source))
        })
        .await
    }

    /// Ends the hold of a snapshot. `false` when there was none.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn release(&self, cluster: &ClusterName, id: &SnapshotId) -> Result<bool> {
        let key = layout::hold(cluster, id);
        // Asked first, because some stores report success when there was nothing to delete.
        if !self.exists(&key).await? {
            return Ok(false);
        }
        match self.store.delete(&key).await {
            Err(error) if StoreFault::of(&error) == StoreFault::Missing => Ok(false),
            other => other.map(|()| true).map_err(|source| Error::store("delete", &key, source)),
        }
    }

    /// State of the hold of one snapshot; `None` when there is none.
    ///
    /// # Errors
    /// [`Error::Store`] when the store does not answer. What cannot be read for another reason
    /// holds.
    pub async fn hold_of(
        &self,
        cluster: &ClusterName,
        id: &SnapshotId,
        now: DateTime<Utc>,
    ) -> Result<Option<HoldState>> {
        let key = layout::hold(cluster, id);
        let read = retried(self.pause, || read_small(self.store.as_ref(), &key, MAX_HOLD_BYTES));
        match read.await {
            Ok(bytes) => Ok(Some(state(id, &bytes, now))),
            Err(error) if error.store_fault() == Some(StoreFault::Missing) => Ok(None),
            Err(error) if error.store_fault() == Some(StoreFault::Unavailable) => Err(error),
            // Keeping a snapshot too long can be repaired; deleting one that was held cannot.
            Err(error) => Ok(Some(HoldState::Unreadable(error.to_string()))),
        }
    }

    /// States of all holds of a cluster.
    ///
    /// # Errors
    /// [`Error::Store`], and [`Error::TooManySnapshots`] for more than are listed.
    pub async fn holds(
        &self,
        cluster: &ClusterName,
        now: DateTime<Utc>,
    ) -> Result<BTreeMap<SnapshotId, HoldState>> {
        let ids = retried(self.pause, || self.held_ids(cluster)).await?;
        let mut states = stream::iter(ids)
            .map(|id| async move { (id, self.hold_of(cluster, &id, now).await) })
            .buffered(AT_ONCE);
        let mut holds = BTreeMap::new();
        while let Some((id, state)) = states.next().await {
            if let Some(state) = state? {
                holds.insert(id, state);
            }
        }
        Ok(holds)
    }

    async fn held_ids(&self, cluster: &ClusterName) -> Result<Vec<SnapshotId>> {
        let prefix = layout::holds(cluster);
        let mut entries = self.store.list(Some(&prefix));
        let mut ids = Vec::new();
        while let Some(entry) = entries.next().await {
            let entry = entry.map_err(|source| Error::store("list", &prefix, source))?;
            ids.extend(layout::parse_hold(cluster, &entry.location));
            if ids.len() > MAX_SNAPSHOTS {
                let cluster = cluster.clone();
                return Err(Error::TooManySnapshots { cluster, limit: MAX_SNAPSHOTS });
            }
        }
        Ok(ids)
    }

    async fn exists(&self, key: &Path) -> Result<bool> {
        match self.store.head(key).await {
            Err(error) if StoreFault::of(&error) == StoreFault::Missing => Ok(false),
            other => other.map(|_| true).map_err(|source| Error::store("look at", key, source)),
        }
    }
}

fn state(id: &SnapshotId, bytes: &[u8], now: DateTime<Utc>) -> HoldState {
    match serde_json::from_slice::<Hold>(bytes) {
        Ok(hold) if hold.snapshot != *id => {
            HoldState::Unreadable(format!("it is the hold of {}", hold.snapshot))
        }
        Ok(hold) if hold.holds(now) => HoldState::Holds(hold),
        Ok(hold) => HoldState::Expired(hold),
        Err(error) => HoldState::Unreadable(error.to_string()),
    }
}
