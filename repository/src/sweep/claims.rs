//! Claims of ticks that are long over.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use etcdr_schemas::ClusterName;
use etcdr_schemas::report::SweptKind;
use futures_util::StreamExt;
use object_store::ObjectStore as _;

use super::plan::SweepItem;
use crate::error::{Error, Result};
use crate::inventory::{ClusterObjects, Grace};
use crate::layout;
use crate::repository::Repository;
use crate::store::retry::retried;

/// Most claims that one sweep deletes; the others are for the next one.
const MAX_CLAIMS: usize = 100_000;

/// Schedules whose newest tick is known; more than anybody has.
const MAX_SCHEDULES: usize = 10_000;

impl Repository {
    /// Claims that are older than the grace. Those of the newest tick of each schedule stay,
    /// however old: they say that it was taken.
    pub(super) async fn old_claims(
        &self,
        cluster: &ClusterName,
        objects: &ClusterObjects,
        grace: Grace,
    ) -> Result<Vec<SweepItem>> {
        let (old, newest) =
            retried(self.pause, || self.list_claims(cluster, objects, grace)).await?;
        let of_the_newest = |item: &SweepItem| {
            layout::parse_claim(cluster, &item.key).is_none_or(|(schedule, tick)| {
                newest.get(schedule).is_none_or(|last| tick >= *last)
            })
        };
        Ok(old.into_iter().filter(|item| !of_the_newest(item)).collect())
    }

    async fn list_claims(
        &self,
        cluster: &ClusterName,
        objects: &ClusterObjects,
        grace: Grace,
    ) -> Result<(Vec<SweepItem>, BTreeMap<String, DateTime<Utc>>)> {
        let prefix = layout::all_claims(cluster);
        let mut entries = self.store.list(Some(&prefix));
        let (mut old, mut newest) = (Vec::new(), BTreeMap::new());
        while let Some(entry) = entries.next().await {
            let entry = entry.map_err(|source| Error::store("list", &prefix, source))?;
            let Some((schedule, tick)) = layout::parse_claim(cluster, &entry.location) else {
                continue;
            };
            let room = newest.len() < MAX_SCHEDULES;
            if let Some(last) = newest.get_mut(schedule) {
                *last = tick.max(*last);
            } else if room {
                newest.insert(schedule.to_owned(), tick);
            }
            if grace.passed(objects, entry.last_modified) && old.len() < MAX_CLAIMS {
                let (key, size) = (entry.location, entry.size);
                old.push(SweepItem { key, kind: SweptKind::Claim, size });
            }
        }
        Ok((old, newest))
    }
}
