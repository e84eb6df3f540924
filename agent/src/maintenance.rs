//! Care for etcd itself: rolling defragmentation, compaction, and the forecast of the quota.
//!
//! Every agent of a cluster knows this; only one may act at a time, which is decided outside. What is decided
//! ([`plan`], [`forecast`]) is apart from what is done ([`defragment`], [`compact`]). A round looks at all members
//! anew before each of them, and ends at the first thing that is not as it should be.

pub mod forecast;
mod members;
pub mod plan;

use std::collections::BTreeSet;
use std::time::Duration;

use etcdr_node::{Client, Error as NodeError};
use etcdr_schemas::MemberId;
use etcdr_schemas::config::{CompactConfig, DefragmentConfig};
use tokio::time::Instant;

use crate::event::Event;
pub use members::Members;
pub use plan::{MAX_LAG, Refusal, Situation};

/// Longest time for which a member may catch up after it was defragmented.
const RECOVERY: Duration = Duration::from_secs(120);
/// Pause between two looks at a member that catches up.
const NAP: Duration = Duration::from_millis(200);

/// One round of defragmentation: one member at a time, the leader last. Tells each event as it happens, and gives a
/// sentence for each member, or one that says why nothing was done.
///
/// `situation` is asked before each member: a capture that begins in between ends the round.
pub async fn defragment(
    members: &Members,
    config: &DefragmentConfig,
    situation: &(dyn Fn() -> Situation + Sync),
    tell: &mut (dyn FnMut(Event) + Send),
) -> Vec<String> {
    let (mut done, mut told) = (BTreeSet::new(), Vec::new());
    loop {
        let next = match members.look().await {
            Ok((seen, alarms)) => plan::order(&seen, &alarms, config, situation()),
            Err(error) => Err(Refusal::NotSeen(error.to_string())),
        };
        let next = next.map(|order| order.into_iter().find(|member| !done.contains(member)));
        let member = match next {
            Ok(Some(member)) => member,
            Ok(None) if done.is_empty() => return vec!["no member is worth it".to_owned()],
            Ok(None) => return told,
            Err(reason) => {
                let reason = reason.to_string();
                told.push(reason.clone());
                tell(Event::DefragmentSkipped { reason });
                return told;
            }
        };
        done.insert(member);
        let began = Instant::now();
        let result = one(members, member).await;
        told.push(sentence(member, &result));
        let failed = result.is_err();
        tell(Event::Defragmented { member, result, took: began.elapsed() });
        if failed {
            return told;
        }
        tokio::time::sleep(config.pause.0).await;
    }
}

fn sentence(member: MemberId, result: &Result<(u64, u64), String>) -> String {
    match result {
        Ok((before, after)) => format!("member {member}: {before} bytes before, {after} after"),
        Err(reason) => format!("member {member}: {reason}"),
    }
}

/// Defragments one member and waits until it serves and has caught up.
async fn one(members: &Members, member: MemberId) -> Result<(u64, u64), String> {
    let client = members.reach(member).await.map_err(|error| error.to_string())?;
    let before = client.status().await.map_err(|error| error.to_string())?;
    if before.member_id != member {
        return Err(format!("{} is member {}", client.endpoint(), before.member_id));
    }
    client.maintenance().defragment().await.map_err(|error| error.to_string())?;
    let deadline = Instant::now() + RECOVERY;
    loop {
        let missing = match caught_up(&client).await {
            Ok(None) => break,
            Ok(Some(behind)) => format!("it is {behind} revisions behind"),
            Err(error) => error.to_string(),
        };
        if Instant::now() >= deadline {
            let seconds = RECOVERY.as_secs();
            return Err(format!("defragmented, and not caught up after {seconds} s: {missing}"));
        }
        tokio::time::sleep(NAP).await;
    }
    let after = client.status().await.map_err(|error| error.to_string())?;
    Ok((before.db_size, after.db_size))
}

/// By how many revisions the member is behind what it says of the cluster; `None` when that is little.
async fn caught_up(client: &Client) -> Result<Option<u64>, NodeError> {
    let status = client.status().await?;
    // A learner serves no linearizable read; its own revision must do.
    let cluster = match status.learner {
        true => status.revision,
        false => client.current_revision().await?,
    };
    Ok(plan::behind(cluster, status.revision))
}

/// Compacts all but the last revisions. `None` when there is nothing to compact.
pub async fn compact(client: &Client, config: &CompactConfig) -> Option<Event> {
    let said = |error: NodeError| Event::Compacted { result: Err(error.to_string()) };
    let now = match client.current_revision().await {
        Ok(now) => now,
        Err(error) => return Some(said(error)),
    };
    let at = plan::compact_at(now, config.keep_revisions)?;
    match client.maintenance().compact(at, false).await {
        Ok(()) => Some(Event::Compacted { result: Ok(at) }),
        // It was compacted that far or further, by somebody else or the last time.
        Err(NodeError::Revision { .. }) => None,
        Err(error) => Some(said(error)),
    }
}

/// When the database reaches its quota, as an event; `None` without a quota.
#[must_use]
pub fn quota(forecast: &forecast::Forecast, quota: Option<u64>) -> Option<Event> {
    let (quota, size) = (quota?, forecast.size()?);
    Some(Event::Quota { quota, size, left: forecast.left(quota) })
}
