//! A round of defragmentation by this agent: claims it, carries it out, and closes the claim.
//!
//! The claim keeps it apart from other rounds and from the captures of all agents
//! ([`crate::interlock`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, Utc};
use etcdr_repository::{Repository, Slot};
use etcdr_schemas::claim::ClaimStage;

use super::{Shared, Shutdown, monitor, ticks};
use crate::Error;
use crate::claims::{self, ClaimResult, HeldClaim};
use crate::event::Event;
use crate::interlock::{self, Liveness};
use crate::maintenance::{self, Members, Refusal, Round, Situation};
use crate::schedule::Schedule;
use etcdr_operations::settings::Settings;

/// Sees to it that a tick has its round, by whichever agent. `false`: something that passes is in
/// its way.
pub(super) async fn tick(
    shared: &Arc<Shared>,
    schedule: &Schedule,
    tick: DateTime<Utc>,
) -> Result<bool, Error> {
    let settings = shared.settings();
    let repository = settings.open().await?;
    let slot = slot_of(&settings, tick);
    let newest = repository.newest_claim(&slot).await?;
    if newest.is_some_and(|claim| matches!(claim.record.stage, ClaimStage::Done { .. })) {
        return Ok(true);
    }
    let (grace, mut liveness) = (settings.config.agent.takeover.0, Liveness::default());
    let contest = async {
        if let Some(refusal) = interlock::obstacle(&repository, &slot, &mut liveness, grace).await?
        {
            return Ok(Err(refusal));
        }
        let terms = monitor::terms(shared, &settings).await;
        let (slot, identity) = (slot.clone(), &shared.identity);
        claims::contend(&repository, slot, identity, terms, &*shared.clock, |_| {}).await.map(Ok)
    };
    let contested: Result<_, Error> = tokio::select! {
        result = contest => result,
        () = ticks::superseded(shared, schedule, tick) => return Ok(true),
        () = shared.ends(Shutdown::Soon) => return Err(Error::Stopping),
    };
    let refusal = match contested? {
        Ok(ClaimResult::Done(_)) => return Ok(true),
        Ok(ClaimResult::Held(held, _)) => {
            let round = carry_out(shared, &settings, &repository, &held, &mut liveness, false);
            round.await?.refusal
        }
        Err(refusal) => refuse(shared, refusal).refusal,
    };
    Ok(!refusal.is_some_and(|refusal| refusal.passes()))
}

/// A round that was asked for.
pub(super) async fn asked(shared: &Shared, force: bool) -> Result<Round, Error> {
    if shared.busy.try_lock().is_err() {
        return Ok(refuse(shared, Refusal::Capturing));
    }
    let settings = shared.settings();
    let repository = settings.open().await?;
    let slot = slot_of(&settings, (shared.clock)());
    let (terms, mut liveness) = (monitor::at_once(shared, &settings), Liveness::default());
    let claimed = async {
        let obstacle = interlock::obstacle(&repository, &slot, &mut liveness, terms.grace);
        if let Some(refusal) = obstacle.await? {
            return Ok(Err(refusal));
        }
        let (slot, identity) = (slot.clone(), &shared.identity);
        claims::hold(&repository, slot, identity, terms, &*shared.clock).await.map(Ok)
    };
    let claimed: Result<_, Error> = tokio::select! {
        claimed = claimed => claimed,
        () = shared.ends(Shutdown::Soon) => return Err(Error::Stopping),
    };
    match claimed? {
        Ok(held) => carry_out(shared, &settings, &repository, &held, &mut liveness, force).await,
        Err(refusal) => Ok(refuse(shared, refusal)),
    }
}

fn slot_of(settings: &Settings, tick: DateTime<Utc>) -> Slot {
    let cluster = settings.config.cluster.clone();
    Slot { cluster, schedule: interlock::ROUNDS.to_owned(), tick }
}

/// Nothing is done; the reason is emitted and returned.
fn refuse(shared: &Shared, refusal: Refusal) -> Round {
    let reason = refusal.to_string();
    shared.emit(&Event::DefragmentSkipped { reason: reason.clone() });
    Round { sentences: vec![reason], refusal: Some(refusal), failed: false }
}

/// Works on a round that is claimed, and closes the claim.
async fn carry_out(
    shared: &Shared,
    settings: &Settings,
    repository: &Repository,
    held: &HeldClaim<'_>,
    liveness: &mut Liveness,
    force: bool,
) -> Result<Round, Error> {
    // Checked after the claim was written, as captures do: of two that begin at once, at least one
    // sees the other.
    if let Some(refusal) = interlock::admit(repository, held, liveness).await? {
        return Ok(refuse(shared, refusal));
    }
    let work = work(shared, settings, held, force);
    let result = tokio::select! {
        result = work => result,
        () = shared.ends(Shutdown::Soon) => Err(Error::Stopping),
    };
    let closed = match &result {
        Ok(Round { refusal: Some(refusal), .. }) if refusal.passes() => held.give_up(refusal).await,
        Ok(_) => held.done(Vec::new()).await,
        Err(error) => held.give_up(error).await,
    };
    if let Err(error) = closed {
        tracing::warn!(%error, "the claim of the round could not be closed");
    }
    result
}

/// The members, one after the other. When the claim is lost, the one that is under way is the last.
async fn work(
    shared: &Shared,
    settings: &Settings,
    held: &HeldClaim<'_>,
    force: bool,
) -> Result<Round, Error> {
    let config = settings.config.maintenance.defragment.clone().unwrap_or_default();
    let url = settings.config.etcd.metrics_url.clone();
    let members = Members::through(settings.own_member()?).with_metrics(url);
    // Captures of this agent wait for the claim too; this is for those that began before it.
    let free = shared.busy.try_lock();
    let (capturing, lost) = (free.is_err(), AtomicBool::new(false));
    let situation = || Situation { is_mine: !lost.load(Ordering::Relaxed), capturing, force };
    let mut emit = |event: Event| shared.emit(&event);
    let round = maintenance::defragment(&members, &config, &situation, &mut emit);
    tokio::pin!(round);
    Ok(tokio::select! {
        round = &mut round => round,
        () = held.keep_unbroken() => {
            lost.store(true, Ordering::Relaxed);
            round.await
        }
    })
}
