//! Takes the snapshot of one tick: contends for the claim, captures under it, and reports what
//! follows.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use etcdr_repository::{Repository, Slot};
use etcdr_schemas::claim::{ClaimRecord, Trigger};
use etcdr_schemas::report::Level;
use etcdr_schemas::{Diagnose as _, Hidden, Progress, SnapshotId};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::{Shared, Shutdown, monitor, ticks};
use crate::Error;
use crate::claims::{self, ClaimResult, HeldClaim};
use crate::event::{Captured, ClaimOutcome, Event};
use crate::interlock;
use crate::schedule::Schedule;
use etcdr_operations::Error as OperationError;
use etcdr_operations::capture::Pace;
use etcdr_operations::capture::{self, Gate, SaveRequest, Saved};
use etcdr_operations::verify;

/// Longest pause between two tries of one tick.
const MAX_PAUSE: Duration = Duration::from_secs(300);
/// Time for the dead man's switch to answer.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(10);

/// Sees to it that a tick has its snapshot, by whichever agent. `false`: try again.
pub(super) async fn tick(
    shared: &Arc<Shared>,
    schedule: &Schedule,
    tick: DateTime<Utc>,
    mut stop: watch::Receiver<bool>,
) -> bool {
    let outcome = attempt(shared, schedule, tick, &mut stop).await;
    match outcome {
        Ok(done) => done,
        Err(error) => {
            let (schedule, holder) = (schedule.name().to_owned(), None);
            shared.emit(&Event::StoreFailed { error: error.to_string() });
            shared.emit(&Event::Claim { schedule, tick, outcome: ClaimOutcome::Failed, holder });
            false
        }
    }
}

async fn attempt(
    shared: &Arc<Shared>,
    schedule: &Schedule,
    tick: DateTime<Utc>,
    stop: &mut watch::Receiver<bool>,
) -> Result<bool, Error> {
    let settings = shared.settings();
    let terms = monitor::terms(shared, &settings).await;
    let repository = settings.open().await?;
    let cluster = settings.config.cluster.clone();
    let slot = Slot { cluster, schedule: schedule.name().to_owned(), tick };
    let beside = |record: &ClaimRecord| {
        shared.heard_others();
        if record.agent == shared.identity.agent && record.stage.is_open() {
            shared.emit(&Event::NameTwice { name: record.agent.clone() });
        }
    };
    let contest =
        claims::contend(&repository, slot.clone(), &shared.identity, terms, &*shared.clock, beside);
    let result = tokio::select! {
        result = contest => result?,
        () = ticks::superseded(shared, schedule, tick) => return Ok(true),
        _ = stop.changed() => return Ok(false),
    };
    let claim_event = |outcome, holder| {
        let schedule = schedule.name().to_owned();
        shared.emit(&Event::Claim { schedule, tick, outcome, holder });
    };
    match result {
        ClaimResult::Done(record) => {
            let other = record.instance != shared.identity.instance;
            if other {
                shared.heard_others();
            }
            let outcome = if other { ClaimOutcome::Lost } else { ClaimOutcome::Done };
            claim_event(outcome, other.then_some(record.agent));
            shared.stored.notify_one();
            Ok(true)
        }
        ClaimResult::Held(held, outcome) => {
            claim_event(outcome, None);
            emit_clock_skew(shared, &repository, &slot).await;
            let result = hold(shared, &repository, &held, schedule.name(), tick).await;
            if let Err(Error::ClaimLost { .. }) = result {
                claim_event(ClaimOutcome::LostLater, None);
            }
            shared.stored.notify_one();
            Ok(result.is_ok())
        }
    }
}

/// The store's clock against ours, seen at a claim that was just written.
async fn emit_clock_skew(shared: &Shared, repository: &Repository, slot: &Slot) {
    if let Ok(Some(claim)) = repository.newest_claim(slot).await {
        let seconds = (claim.record.written_at - claim.stored_at).num_seconds();
        shared.emit(&Event::ClockSkew { seconds });
    }
}

/// Works on a tick that is held, until it is done, lost, or given up for others.
async fn hold(
    shared: &Shared,
    repository: &Repository,
    held: &HeldClaim<'_>,
    schedule: &str,
    tick: DateTime<Utc>,
) -> Result<(), Error> {
    let trigger = Trigger {
        agent: shared.identity.agent.clone(),
        schedule: Some(schedule.to_owned()),
        tick: Some(tick),
    };
    let work = async {
        let progress: Arc<dyn Progress> = Arc::new(Hidden);
        let over = wait_for_rounds(shared, repository, Some(schedule), &progress, Shutdown::Soon);
        over.await.map_err(|error| dropped(shared, schedule, error))?;
        let _one_at_a_time = shared.busy.lock().await;
        persist(shared, repository, trigger, held).await
    };
    let result = tokio::select! {
        result = work => result,
        // Without the claim the work ends at once: another agent takes this tick.
        () = held.keep() => Err(dropped(shared, schedule, held.lost())),
        () = shared.ends(Shutdown::Now) => Err(dropped(shared, schedule, Error::Stopping)),
    };
    match result {
        Ok(ids) => {
            // The manifest exists, and the claim names it: another agent sees that the tick is done
            // also when this fails.
            if let Err(error) = held.done(ids).await {
                tracing::warn!(%error, "the claim could not be closed");
            }
            Ok(())
        }
        Err(error) => {
            if !is_over(&error)
                && let Err(error) = held.give_up(&error).await
            {
                tracing::warn!(%error, "the claim could not be given up");
            }
            Err(error)
        }
    }
}

/// Waits until no agent defragments; the claim of this capture is in the store already. When the
/// store cannot answer that, the snapshot is still taken. The only error is
/// [`Error::Stopping`], when the agent's end is as far as `until`.
pub(super) async fn wait_for_rounds(
    shared: &Shared,
    repository: &Repository,
    schedule: Option<&str>,
    progress: &Arc<dyn Progress>,
    until: Shutdown,
) -> Result<(), Error> {
    let settings = shared.settings();
    let (cluster, grace) = (&settings.config.cluster, settings.config.agent.takeover.0);
    let mut waits = false;
    let hears = |record: &ClaimRecord| {
        waits = true;
        let (schedule, holder) = (schedule.map(str::to_owned), record.agent.clone());
        shared.emit(&Event::CaptureWaits { schedule, holder });
        progress.begin(interlock::WAITING, None);
    };
    let over = interlock::rounds_over(repository, cluster, &shared.rounds, grace, hears);
    let over = tokio::select! {
        over = over => over,
        () = shared.ends(until) => Err(Error::Stopping),
    };
    if waits {
        progress.end();
    }
    match over {
        Err(Error::Stopping) => Err(Error::Stopping),
        Err(error) => {
            tracing::warn!(
                %error,
                "cannot find out whether a member is defragmented; the snapshot goes on"
            );
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Reports work that is dropped and cannot report that itself.
fn dropped(shared: &Shared, schedule: &str, error: Error) -> Error {
    let schedule = Some(schedule.to_owned());
    shared.emit(&Event::CaptureFailed { schedule, error: error.to_string(), again: false });
    error
}

/// Whether the tick is not this agent's any more, or its snapshot may be there: nothing more is
/// tried, and its claim is left as it is.
const fn is_over(error: &Error) -> bool {
    matches!(error, Error::ClaimLost { .. } | Error::Operation(OperationError::CommitUnsure { .. }))
}

/// Tries until it works, a bounded number of times.
async fn persist(
    shared: &Shared,
    repository: &Repository,
    trigger: Trigger,
    gate: &impl Gate<Error = Error>,
) -> Result<Vec<SnapshotId>, Error> {
    let (mut tries, mut pause) = (0, shared.settings().config.capture.retry_pause.0);
    loop {
        let progress: Arc<dyn Progress> = Arc::new(Hidden);
        let result = once(shared, repository, trigger.clone(), &progress, gate).await;
        let error = match result {
            Ok(saved) => return Ok(saved.iter().map(|saved| saved.manifest.id).collect()),
            Err(error) => error,
        };
        tries += 1;
        let again = !is_over(&error)
            && !error.is_permanent()
            && tries <= shared.settings().config.capture.retries;
        shared.emit(&Event::CaptureFailed {
            schedule: trigger.schedule.clone(),
            error: error.to_string(),
            again,
        });
        if !again {
            return Err(error);
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = shared.ends(Shutdown::Soon) => return Err(error),
        }
        // Doubled: a store or an etcd that is overloaded gets time to recover.
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

/// One capture, with its events from the beginning to the verification afterwards.
pub(super) async fn once(
    shared: &Shared,
    repository: &Repository,
    trigger: Trigger,
    progress: &Arc<dyn Progress>,
    gate: &impl Gate<Error: Into<Error>>,
) -> Result<Vec<Saved>, Error> {
    let settings = shared.settings();
    let schedule = trigger.schedule.clone();
    shared.emit(&Event::CaptureBegan { schedule: schedule.clone() });
    let request = SaveRequest {
        cluster: settings.config.cluster.clone(),
        endpoints: monitor::endpoints(shared, &settings)?,
        stall_timeout: settings.config.etcd.stall_timeout.0,
        seal: settings.seal(repository)?,
        signing_key: settings.signing_key()?,
        nonce: (shared.random)(),
        tool_version: shared.tool_version.clone(),
        trigger: Some(trigger),
        pace: Some(Pace::new(&settings.config.capture, settings.config.etcd.metrics_url.clone())),
    };
    let saved = capture::save(repository, request, &*shared.clock, progress, gate);
    let saved = saved.await.map_err(Into::into)?;
    for one in &saved {
        emit_saved(shared, &schedule, one);
    }
    follow_up(shared, repository, &saved).await;
    Ok(saved)
}

fn emit_saved(shared: &Shared, schedule: &Option<String>, saved: &Saved) {
    if let Some(hash_kv) = &saved.manifest.hash_kv {
        let members: Vec<_> = hash_kv.dissented.iter().map(|dissent| dissent.member_id).collect();
        let revision = hash_kv.revision;
        shared.emit(&Event::Dissent { members, revision });
    }
    shared.emit(&Event::Captured(Box::new(Captured {
        schedule: schedule.clone(),
        manifest: saved.manifest.clone(),
        stages: saved.stages,
        warnings: saved.warnings.clone(),
    })));
}

/// Verification beyond the read-back, and the dead man's switch, which hears of good snapshots
/// only.
async fn follow_up(shared: &Shared, repository: &Repository, saved: &[Saved]) {
    let settings = shared.settings();
    let level = settings.config.watch.verify;
    let mut sound = saved.iter().all(|saved| saved.manifest.suspect.is_empty());
    for one in saved {
        let id = one.manifest.id;
        // A save reads the stored object back: level `object` is proven.
        let failure = match level {
            Level::Manifest | Level::Object => None,
            _ => deep(shared, repository, id, level).await.err(),
        };
        sound &= failure.is_none();
        shared.emit(&Event::Verified { id, level: level.max(Level::Object), failure });
    }
    if sound {
        heartbeat(shared).await;
    }
}

/// Verifies a stored snapshot; damage, and a check that could not be made, are the error.
pub(super) async fn deep(
    shared: &Shared,
    repository: &Repository,
    id: SnapshotId,
    level: Level,
) -> Result<(), String> {
    let settings = shared.settings();
    let identities = settings.identities().map_err(|error| error.to_string())?;
    let progress: Arc<dyn Progress> = Arc::new(Hidden);
    let cluster = &settings.config.cluster;
    let verified = verify::snapshot(repository, cluster, &id, level, &identities, &progress).await;
    let report = verified.map_err(|error| error.to_string())?;
    match report.findings.first().filter(|_| !report.ok) {
        None => Ok(()),
        Some(finding) => Err(finding.message.clone()),
    }
}

async fn heartbeat(shared: &Shared) {
    let url = match shared.settings().heartbeat() {
        Ok(Some(url)) => url,
        Ok(None) => return,
        Err(error) => {
            return shared.emit(&Event::Heartbeat { failure: Some(error.to_string()) });
        }
    };
    let began = Instant::now();
    let asked = async {
        let client = reqwest::Client::builder().timeout(HEARTBEAT_TIMEOUT).build()?;
        client.get(url).send().await?.error_for_status().map(drop)
    };
    // The URL is a secret: it must not be part of what is reported.
    let failure = asked.await.err().map(|error| error.without_url().to_string());
    tracing::debug!(took = ?began.elapsed(), "the dead man's switch was told");
    shared.emit(&Event::Heartbeat { failure });
}
