//! Keeps captures and rounds of defragmentation apart, across all agents of a cluster, by their
//! claims in the store.
//!
//! Both sides write their own claim first and read the other's afterwards: of two that begin at
//! once, at least one sees the other. A capture wins. A round that sees one gives up; a capture
//! that sees a round waits until it is over. A round that has read and seen none needs no second
//! check, since whoever captures later waits for it. Claims of holders that are dead ([`Liveness`])
//! hold nobody up.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use etcdr_repository::{Claim, Repository, Slot};
use etcdr_schemas::ClusterName;
use etcdr_schemas::claim::ClaimRecord;
use tokio::time::{Instant, sleep};

use crate::Error;
use crate::claims::{HeldClaim, poll};
use crate::maintenance::Refusal;

mod liveness;
#[cfg(test)]
mod tests;

pub(crate) use liveness::{Life, Liveness};

/// Name of the slots of rounds.
pub(crate) const ROUNDS: &str = "_defragment";
/// Name of the slots of captures that no schedule asked for.
pub(crate) const ON_DEMAND: &str = "_demand";
/// Stage that is shown while a capture waits.
pub(crate) const WAITING: &str = "waiting for defragmentation";

/// Newest ticks of a schedule that a round reads: when a capture takes long, other agents take
/// the ticks after it.
const CAPTURE_TICKS: usize = 32;
/// Newest ticks of rounds that a capture reads. Rounds refuse each other, so that one at most is
/// under way.
const ROUND_TICKS: usize = 8;

/// Why the round of this slot may not begin; `None` when it may. Is asked before the round is
/// claimed, so that nobody waits for it while it is found out whether a holder is alive, which
/// takes up to the grace.
pub(crate) async fn obstacle(
    repository: &Repository,
    round: &Slot,
    liveness: &mut Liveness,
    grace: Duration,
) -> Result<Option<Refusal>, Error> {
    loop {
        let open = others(repository, round).await?;
        let now = Instant::now();
        liveness.note(&open, now);
        let lives: Vec<_> = open.iter().map(|(slot, _)| liveness.life(slot, now, grace)).collect();
        if let Some(at) = lives.iter().position(|life| *life == Life::Alive) {
            return Ok(open.get(at).map(refusal));
        }
        if lives.iter().all(|life| *life == Life::Dead) {
            return Ok(None);
        }
        sleep(poll(grace)).await;
    }
}

/// The only check of a round whose claim is written. Whatever is not known to be dead makes it give
/// the claim up.
pub(crate) async fn admit(
    repository: &Repository,
    held: &HeldClaim<'_>,
    liveness: &mut Liveness,
) -> Result<Option<Refusal>, Error> {
    let open = match others(repository, held.slot()).await {
        Ok(open) => open,
        Err(error) => {
            held.give_up(&error).await?;
            return Err(error);
        }
    };
    let refusal = liveness.first_standing(&open, Instant::now(), held.terms().grace).map(refusal);
    if let Some(refusal) = &refusal {
        held.give_up(refusal).await?;
    }
    Ok(refusal)
}

/// Waits until no round is under way, for a capture whose claim is written. `waits` hears once
/// whose round it is. Rounds that were found dead are remembered in `liveness`, or every capture
/// would wait for them.
pub(crate) async fn rounds_over(
    repository: &Repository,
    cluster: &ClusterName,
    liveness: &Mutex<Liveness>,
    grace: Duration,
    mut waits: impl FnMut(&ClaimRecord) + Send,
) -> Result<(), Error> {
    let mut announced = false;
    loop {
        let open = repository.open_claims(cluster, ROUNDS, ROUND_TICKS).await?;
        let standing = {
            let mut liveness = liveness.lock().unwrap_or_else(PoisonError::into_inner);
            liveness.first_standing(&open, Instant::now(), grace)
        };
        let Some((_, claim)) = standing else { return Ok(()) };
        if !announced {
            waits(&claim.record);
            announced = true;
        }
        sleep(poll(grace)).await;
    }
}

/// Open claims of captures, and of rounds but this one.
async fn others(repository: &Repository, round: &Slot) -> Result<Vec<(Slot, Claim)>, Error> {
    let mut open = Vec::new();
    for schedule in repository.claimed_schedules(&round.cluster).await? {
        if let Some(ticks) = ticks_of(&schedule) {
            open.extend(repository.open_claims(&round.cluster, &schedule, ticks).await?);
        }
    }
    open.retain(|(slot, _)| slot != round);
    Ok(open)
}

/// How many of the newest ticks of a schedule count; `None` for the other duties of agents.
fn ticks_of(schedule: &str) -> Option<usize> {
    match schedule {
        ROUNDS => Some(ROUND_TICKS),
        ON_DEMAND => Some(CAPTURE_TICKS),
        duty if duty.starts_with('_') => None,
        _ => Some(CAPTURE_TICKS),
    }
}

fn refusal((slot, claim): &(Slot, Claim)) -> Refusal {
    let agent = claim.record.agent.clone();
    match slot.schedule.as_str() {
        ROUNDS => Refusal::NotMine,
        ON_DEMAND => Refusal::CapturingBy(agent, None),
        schedule => Refusal::CapturingBy(agent, Some(schedule.to_owned())),
    }
}
