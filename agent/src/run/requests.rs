//! Carries out what the agent is asked for through its admin interface.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{Shared, Shutdown, capturing, monitor, round, unscheduled};
use crate::Error;
use crate::command::Command;
use crate::event::Event;

/// Carries a request out in a task of its own. A caller that has gone away does not stop it.
pub(super) fn spawn(requests: &mut JoinSet<()>, shared: &Arc<Shared>, command: Command) {
    let shared = Arc::clone(shared);
    requests.spawn(async move {
        tokio::select! {
            () = serve(&shared, command) => {}
            () = shared.ends(Shutdown::Now) => {}
        }
    });
}

async fn serve(shared: &Arc<Shared>, command: Command) {
    // An answer that nobody waits for any more is dropped.
    match command {
        Command::Save { progress, reply } => {
            let result = unscheduled::on_demand(shared, &progress).await;
            if let Err(error) = &result {
                let error = error.to_string();
                shared.emit(&Event::CaptureFailed { schedule: None, error, again: false });
            }
            shared.stored.notify_one();
            let result = result.map(|saved| {
                let warnings = saved.iter().flat_map(|saved| saved.warnings.clone()).collect();
                (saved.into_iter().map(|saved| saved.manifest).collect(), warnings)
            });
            drop(reply.send(result));
        }
        Command::Verify { id, level, reply } => {
            let verified = async {
                let repository = shared.settings().open().await?;
                let failure = capturing::deep(shared, &repository, id, level).await.err();
                shared.emit(&Event::Verified { id, level, failure: failure.clone() });
                Ok::<_, Error>(failure.into_iter().collect())
            };
            drop(reply.send(verified.await));
        }
        Command::Pause { schedule, pause, reply } => {
            let changed = set_paused(shared, schedule.as_deref(), pause);
            shared.emit(&Event::Schedules(monitor::next_ticks(shared)));
            drop(reply.send(Ok(changed)));
        }
        Command::Defragment { force, reply } => {
            drop(reply.send(round::asked(shared, force).await));
        }
        // Read by the loop itself.
        Command::Reload => {}
    }
}

/// Names of the schedules that changed.
fn set_paused(shared: &Shared, name: Option<&str>, pause: bool) -> Vec<String> {
    let settings = shared.settings();
    let Ok(mut paused) = shared.paused.lock() else { return Vec::new() };
    let names = settings.config.schedules.iter().map(|schedule| schedule.name.clone());
    let meant = names.filter(|one| name.is_none_or(|name| name == one));
    let changed = meant.filter(|one| paused.contains(one) != pause).collect::<Vec<_>>();
    for one in &changed {
        if pause {
            paused.insert(one.clone());
        } else {
            paused.remove(one);
        }
    }
    changed
}
