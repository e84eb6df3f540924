//! Takes a tick: claims it, renews the claim, takes it over, finishes. The store decides who has it
//! (`etcdr_schemas::claim`).
//!
//! Whether a holder is alive is judged by the observer's own clock that never jumps: a claim that
//! has not been renewed for the grace since it was first seen. A holder whose own renewals have not
//! arrived for so long stops believing that it holds anything.

use std::fmt::Display;
use std::time::Duration;

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use etcdr_repository::{Claim, Repository, Slot};
use etcdr_schemas::claim::{ClaimRecord, ClaimStage};
use etcdr_schemas::{ClusterName, MemberId, SnapshotId};
use futures_util::future::BoxFuture;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::Error;
use crate::event::ClaimOutcome;
use etcdr_operations::capture::Gate;

/// Who this agent is, in claims.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// Random text of this run.
    pub(crate) instance: String,
    /// Its name.
    pub(crate) agent: String,
}

/// How a tick is contended for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// How many agents come before this one.
    pub(crate) rank: usize,
    /// Since when no other agent has been seen to claim anything. Those that come first are waited
    /// for from then on and not from each tick, or ticks that follow one another quickly would
    /// never be taken in their place.
    pub(crate) silent_since: Instant,
    /// The member beside this agent.
    pub(crate) member: Option<MemberId>,
    /// Time without a sign of life after which another agent takes over.
    pub(crate) grace: Duration,
}

/// What became of contending for a tick.
pub(crate) enum ClaimResult<'a> {
    /// It is ours to do.
    Held(Box<HeldClaim<'a>>, ClaimOutcome),
    /// It is done; the record names the agent that did it.
    Done(ClaimRecord),
}

/// Most time between two reads of a claim.
pub(crate) const MAX_POLL: Duration = Duration::from_secs(5);

/// Time between two reads of a claim.
pub(crate) fn poll(grace: Duration) -> Duration {
    (grace / 12).min(MAX_POLL)
}

/// Contends for a tick until it is ours or done. Ends early only with an error of the store, or
/// when dropped. `beside` hears who else is seen holding it.
pub(crate) async fn contend<'a>(
    repository: &'a Repository,
    slot: Slot,
    identity: &'a Identity,
    terms: Terms,
    clock: &'a etcdr_operations::Clock,
    mut beside: impl FnMut(&ClaimRecord),
) -> Result<ClaimResult<'a>, Error> {
    let mut held = HeldClaim { repository, slot, identity, terms, clock, state: Mutex::default() };
    let poll = poll(terms.grace);
    // The first agent waits for nobody, each later one a grace longer: who comes first has to have
    // failed before the next one saves from a member that is less fit.
    let may_claim_at = terms.silent_since + terms.grace * u32::try_from(terms.rank).unwrap_or(99);
    let mut seen: Option<(u32, Instant)> = None;
    loop {
        let newest = repository.newest_claim(&held.slot).await?;
        let (number, ready, outcome) = match &newest {
            None => (0, Instant::now() >= may_claim_at, ClaimOutcome::Won),
            Some(Claim { record, .. }) if matches!(record.stage, ClaimStage::Done { .. }) => {
                return Ok(ClaimResult::Done(record.clone()));
            }
            Some(Claim { number, record, .. }) => {
                let since = match seen {
                    Some((before, since)) if before == *number => since,
                    _ => Instant::now(),
                };
                seen = Some((*number, since));
                // Nothing of this agent is under way here: an open claim of its own is one whose
                // answer was lost.
                let own = record.instance == identity.instance;
                if !own {
                    beside(record);
                }
                // Those who come later give those before them the first chance.
                let stagger = poll * u32::try_from(terms.rank.min(8)).unwrap_or(8);
                let wait = match (record.stage.is_open(), own) {
                    // An open claim of our own: its answer was lost, and no work runs under it.
                    (true, true) => Duration::ZERO,
                    // Another works on it, and counts as alive for a grace. Or this agent has
                    // failed: the others get a grace to try before it tries again.
                    (true, false) | (false, true) => terms.grace + stagger,
                    // Another has given up: the next agent may try at once.
                    (false, false) => stagger,
                };
                let outcome = if own { ClaimOutcome::Won } else { ClaimOutcome::TakenOver };
                (number + 1, since.elapsed() >= wait, outcome)
            }
        };
        if ready {
            if let Some(record) = held.done_already(newest.as_ref()).await? {
                return Ok(ClaimResult::Done(record));
            }
            // The store creates the number only where there is none: of several agents, one gets
            // it, and the others read its claim in the next turn of the loop.
            if held.write(number, ClaimStage::Working).await? {
                *held.state.get_mut() = State::holding(number);
                return Ok(ClaimResult::Held(Box::new(held), outcome));
            }
            continue;
        }
        sleep(poll).await;
    }
}

/// Most seconds that are tried for a slot of one's own.
const MAX_SECONDS: u32 = 60;

/// Holds a slot of one's own at once, for what is asked for and not scheduled: the first second
/// from the slot's tick on that nobody has.
pub(crate) async fn hold<'a>(
    repository: &'a Repository,
    slot: Slot,
    identity: &'a Identity,
    terms: Terms,
    clock: &'a etcdr_operations::Clock,
) -> Result<HeldClaim<'a>, Error> {
    // As keys write it.
    let slot = Slot { tick: slot.tick.trunc_subsecs(0), ..slot };
    let mut held = HeldClaim { repository, slot, identity, terms, clock, state: Mutex::default() };
    for _ in 0..MAX_SECONDS {
        if held.write(0, ClaimStage::Working).await? {
            *held.state.get_mut() = State::holding(0);
            return Ok(held);
        }
        held.slot.tick += TimeDelta::seconds(1);
    }
    Err(held.lost())
}

/// A tick that this agent holds.
pub(crate) struct HeldClaim<'a> {
    repository: &'a Repository,
    slot: Slot,
    identity: &'a Identity,
    terms: Terms,
    clock: &'a etcdr_operations::Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Number of our newest claim.
    number: u32,
    /// When the newest claim was known to be in the store.
    renewed: Option<Instant>,
    /// What the next sign of life says.
    committing: Option<SnapshotId>,
    /// Another agent has it.
    lost: bool,
}

impl State {
    fn holding(number: u32) -> Self {
        Self { number, renewed: Some(Instant::now()), ..Self::default() }
    }
}

impl HeldClaim<'_> {
    /// Renews the claim three times a grace, until the tick is lost: two renewals may fail before
    /// the claim looks dead. Never returns otherwise.
    pub(crate) async fn keep(&self) {
        loop {
            sleep(self.terms.grace / 3).await;
            if !self.renew().await {
                return;
            }
        }
    }

    /// Renews the claim of a slot that others do not take over, but ignore when it looks dead: it
    /// counts as lost, too, when no renewal has arrived for a grace.
    pub(crate) async fn keep_unbroken(&self) {
        loop {
            sleep(self.terms.grace / 3).await;
            let mut state = self.state.lock().await;
            if state.renewed.is_none_or(|renewed| renewed.elapsed() >= self.terms.grace) {
                state.lost = true;
                return;
            }
            drop(state);
            if !self.renew().await {
                return;
            }
        }
    }

    /// One sign of life; `false` when the tick is lost.
    async fn renew(&self) -> bool {
        let committing = self.state.lock().await.committing;
        let stage = committing.map_or(ClaimStage::Working, |id| ClaimStage::Committing { id });
        match self.advance(stage).await {
            Err(Error::ClaimLost { .. }) => return false,
            Err(error) => tracing::warn!(%error, "cannot renew the claim"),
            Ok(()) => {}
        }
        true
    }

    /// The work is done.
    pub(crate) async fn done(&self, ids: Vec<SnapshotId>) -> Result<(), Error> {
        self.advance(ClaimStage::Done { ids }).await
    }

    /// Gives the tick up: another agent may try at once.
    pub(crate) async fn give_up(&self, reason: &(dyn Display + Sync)) -> Result<(), Error> {
        let error = reason.to_string().chars().take(1000).collect();
        self.advance(ClaimStage::Failed { error }).await
    }

    async fn advance(&self, stage: ClaimStage) -> Result<(), Error> {
        let mut state = self.state.lock().await;
        // A renewal that takes longer than half a grace leaves no time for another try before
        // others may take over.
        let limit = self.terms.grace / 2;
        let stale = state.renewed.is_none_or(|renewed| renewed.elapsed() >= self.terms.grace);
        if !state.lost {
            match tokio::time::timeout(limit, self.write_next(&mut state, &stage)).await {
                Ok(Ok(())) => {}
                // No renewal has arrived for a grace: others may have taken over by now.
                Ok(Err(error)) if stale => {
                    tracing::warn!(%error, "the claim could not be renewed for too long");
                    state.lost = true;
                }
                Err(_) if stale => state.lost = true,
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(Error::ClaimUnsure { limit }),
            }
        }
        if state.lost { Err(self.lost()) } else { Ok(()) }
    }

    /// What is held.
    pub(crate) const fn slot(&self) -> &Slot {
        &self.slot
    }

    /// How it is held.
    pub(crate) const fn terms(&self) -> Terms {
        self.terms
    }

    /// That another agent has it.
    pub(crate) fn lost(&self) -> Error {
        Error::ClaimLost { schedule: self.slot.schedule.clone(), tick: self.slot.tick }
    }

    /// Writes the next number. Numbers of our own whose answers were lost are passed over.
    async fn write_next(&self, state: &mut State, stage: &ClaimStage) -> Result<(), Error> {
        // Bounded: each turn passes over numbers of our own, of which there are a few at most.
        for _ in 0..8 {
            let number = state.number + 1;
            if self.write(number, stage.clone()).await? {
                state.number = number;
                state.renewed = Some(Instant::now());
                return Ok(());
            }
            match self.repository.newest_claim(&self.slot).await? {
                Some(claim) if claim.record.instance == self.identity.instance => {
                    state.number = claim.number.max(number);
                }
                _ => break,
            }
        }
        state.lost = true;
        Ok(())
    }

    async fn write(&self, number: u32, stage: ClaimStage) -> Result<bool, Error> {
        let record = ClaimRecord {
            instance: self.identity.instance.clone(),
            agent: self.identity.agent.clone(),
            member: self.terms.member,
            written_at: (self.clock)(),
            stage,
        };
        Ok(self.repository.write_claim(&self.slot, number, &record).await?)
    }

    /// The holder before us may have written its manifest and died before it could close its claim.
    async fn done_already(&self, newest: Option<&Claim>) -> Result<Option<ClaimRecord>, Error> {
        let Some(Claim { record, .. }) = newest else { return Ok(None) };
        let ClaimStage::Committing { id } = record.stage else { return Ok(None) };
        let listed = self.repository.list(&self.slot.cluster).await?;
        Ok(listed.ids.contains(&id).then(|| record.clone()))
    }
}

impl Gate for HeldClaim<'_> {
    type Error = Error;

    /// Renews the claim, with the id of the snapshot in it: the store confirms that the tick is
    /// still ours, and whoever takes over after a crash finds which manifest to look for. Others
    /// may take over after the time that is given.
    fn may_commit(&self, id: SnapshotId) -> BoxFuture<'_, Result<Option<Duration>, Error>> {
        Box::pin(async move {
            self.state.lock().await.committing = Some(id);
            self.advance(ClaimStage::Committing { id }).await?;
            Ok(Some(self.terms.grace / 2))
        })
    }
}

/// Slots of the agent's own duties, which users' schedules cannot be named like.
pub(crate) fn duty(cluster: &ClusterName, name: &str, tick: DateTime<Utc>) -> Slot {
    Slot { cluster: cluster.clone(), schedule: format!("_{name}"), tick }
}

#[cfg(test)]
pub(crate) mod tests;
