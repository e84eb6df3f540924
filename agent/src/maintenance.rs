//! Care for etcd itself: rolling defragmentation, compaction, and the forecast of the quota.
//!
//! Every agent of a cluster knows this; only one may act at a time, and none beside a capture of an
//! agent, which is decided outside. What is decided ([`plan`], [`forecast`]) is apart from what is
//! done ([`defragment`], [`compact`]). A round asks all members again before it touches each of
//! them, checks whether that one streams a snapshot to anybody, and ends at the first problem.

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
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(120);
/// Time for a stream that has just ended to be counted as such.
const SETTLE_TIME: Duration = Duration::from_secs(1);
/// Pause between two checks of a member that catches up, or whose stream may have ended.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// What came of a round.
#[derive(Debug, Default)]
pub struct Round {
    /// A sentence for each member, and one that says why nothing more was done.
    pub sentences: Vec<String>,
    /// Why it was ended early.
    pub refusal: Option<Refusal>,
    /// Whether a member could not be defragmented; the round ends there.
    pub failed: bool,
}

impl Round {
    /// Whether all was done that was meant to be.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.refusal.is_none() && !self.failed
    }
}

/// One round of defragmentation: one member at a time, the leader last. Emits each event as it
/// happens.
///
/// `situation` is asked before each member: what has changed in between ends the round.
pub async fn defragment(
    members: &Members,
    config: &DefragmentConfig,
    situation: &(dyn Fn() -> Situation + Sync),
    emit: &mut (dyn FnMut(Event) + Send),
) -> Round {
    let (mut done, mut round) = (BTreeSet::new(), Round::default());
    loop {
        let (member, more) = match next(members, config, situation, &done).await {
            Ok(Some(next)) => next,
            Ok(None) => {
                if done.is_empty() {
                    round.sentences.push("no member is worth it".to_owned());
                }
                return round;
            }
            Err(refusal) => {
                let reason = refusal.to_string();
                round.sentences.push(reason.clone());
                emit(Event::DefragmentSkipped { reason });
                round.refusal = Some(refusal);
                return round;
            }
        };
        done.insert(member);
        let began = Instant::now();
        let result = one(members, member).await;
        round.sentences.push(sentence(member, &result));
        round.failed = result.is_err();
        emit(Event::Defragmented { member, result, took: began.elapsed() });
        // Captures wait for the round: it does not rest after its last member.
        if round.failed || !more {
            return round;
        }
        tokio::time::sleep(config.pause.0).await;
    }
}

/// The next member of those that are not done, and whether there are more; `None` when there is
/// none.
async fn next(
    members: &Members,
    config: &DefragmentConfig,
    situation: &(dyn Fn() -> Situation + Sync),
    done: &BTreeSet<MemberId>,
) -> Result<Option<(MemberId, bool)>, Refusal> {
    let seen = members.probe().await;
    let (seen, alarms) = seen.map_err(|error| Refusal::NotSeen(error.to_string()))?;
    let order = plan::order(&seen, &alarms, config, situation())?;
    let mut left = order.into_iter().filter(|member| !done.contains(member));
    let Some(member) = left.next() else { return Ok(None) };
    plan::may_begin(member, settled_streams(members, member).await)?;
    Ok(Some((member, left.next().is_some())))
}

/// Snapshots that a member streams. etcd counts a stream as ended a moment after its last byte.
async fn settled_streams(members: &Members, member: MemberId) -> Option<u64> {
    let since = Instant::now();
    loop {
        let streams = members.snapshot_streams(member).await?;
        if streams == 0 || since.elapsed() >= SETTLE_TIME {
            return Some(streams);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
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
    let deadline = Instant::now() + RECOVERY_TIMEOUT;
    loop {
        let missing = match caught_up(&client).await {
            Ok(None) => break,
            Ok(Some(behind)) => format!("it is {behind} revisions behind"),
            Err(error) => error.to_string(),
        };
        if Instant::now() >= deadline {
            let seconds = RECOVERY_TIMEOUT.as_secs();
            return Err(format!("defragmented, and not caught up after {seconds} s: {missing}"));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    let after = client.status().await.map_err(|error| error.to_string())?;
    Ok((before.db_size, after.db_size))
}

/// By how many revisions the member is behind what it says of the cluster; `None` when that is
/// little.
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
