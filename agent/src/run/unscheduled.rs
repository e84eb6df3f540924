//! Snapshots that no tick asks for: on demand, and the last one before the agent stops.

use std::sync::Arc;

use etcdr_repository::{Repository, Slot};
use etcdr_schemas::claim::Trigger;
use etcdr_schemas::{Hidden, Progress};

use super::{Shared, Shutdown, capturing, monitor};
use crate::Error;
use crate::claims;
use crate::event::Event;
use crate::interlock;
use etcdr_operations::capture::{Always, Saved};

/// A snapshot that somebody asks for.
pub(super) async fn on_demand(
    shared: &Shared,
    progress: &Arc<dyn Progress>,
) -> Result<Vec<Saved>, Error> {
    let trigger = Trigger { agent: shared.identity.agent.clone(), schedule: None, tick: None };
    let repository = shared.settings().open().await?;
    take(shared, &repository, trigger, progress, Shutdown::Soon).await
}

/// The last snapshot before the agent stops, for schedules that ask for it.
pub(super) async fn last(shared: &Shared) {
    let settings = shared.settings();
    let asked = settings.config.schedules.iter().find(|schedule| schedule.on_shutdown);
    let Some(schedule) = asked else { return };
    let trigger = Trigger {
        agent: shared.identity.agent.clone(),
        schedule: Some(schedule.name.clone()),
        tick: None,
    };
    let taken = async {
        let repository = settings.open().await?;
        let progress: Arc<dyn Progress> = Arc::new(Hidden);
        take(shared, &repository, trigger, &progress, Shutdown::Now).await
    };
    if let Err(error) = taken.await {
        let schedule = Some(schedule.name.clone());
        shared.emit(&Event::CaptureFailed { schedule, error: error.to_string(), again: false });
    }
}

/// Takes it under a claim of its own, which other agents' rounds of defragmentation see. The wait
/// for rounds ends when the agent's end is as far as `until`.
async fn take(
    shared: &Shared,
    repository: &Repository,
    trigger: Trigger,
    progress: &Arc<dyn Progress>,
    until: Shutdown,
) -> Result<Vec<Saved>, Error> {
    let settings = shared.settings();
    let slot = Slot {
        cluster: settings.config.cluster.clone(),
        schedule: interlock::ON_DEMAND.to_owned(),
        tick: (shared.clock)(),
    };
    let terms = monitor::at_once(shared, &settings);
    let held = claims::hold(repository, slot, &shared.identity, terms, &*shared.clock).await?;
    let work = async {
        let schedule = trigger.schedule.as_deref();
        capturing::wait_for_rounds(shared, repository, schedule, progress, until).await?;
        let _one_at_a_time = shared.busy.lock().await;
        capturing::once(shared, repository, trigger, progress, &Always).await
    };
    tokio::pin!(work);
    let result = tokio::select! {
        result = &mut work => result,
        () = held.keep() => {
            // Nobody takes this claim over, and the snapshot is worth more than a round that may
            // begin beside it now.
            tracing::warn!("the claim of a snapshot could not be renewed; the snapshot goes on");
            work.await
        }
    };
    let closed = match &result {
        Ok(saved) => held.done(saved.iter().map(|saved| saved.manifest.id).collect()).await,
        Err(error) => held.give_up(error).await,
    };
    if let Err(error) = closed {
        tracing::warn!(%error, "the claim of a snapshot could not be closed");
    }
    result
}
