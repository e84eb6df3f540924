//! Writes events as log lines: one for each thing that happened, with its facts as fields.

use etcdr_schemas::report::Level;
use tracing::{debug, error, info, warn};

use crate::event::{Captured, ClaimOutcome, Event, PruneSeen};

/// Seconds between two clocks from which on a line is written.
const MAX_SKEW: i64 = 10;

/// Writes the line of an event. What is seen again and again without change is for `debug`.
pub fn line(event: &Event) {
    match event {
        Event::Captured(captured) => snapshot(captured),
        Event::Claim { schedule, tick, outcome, holder } => {
            claim(schedule, &tick.to_rfc3339(), *outcome, holder.as_deref());
        }
        Event::CaptureWaits { schedule, holder } => {
            let schedule = schedule.as_deref().unwrap_or("on demand");
            info!(schedule, holder, "a snapshot waits for a round of defragmentation");
        }
        Event::CaptureBegan { schedule } => {
            info!(schedule = schedule.as_deref().unwrap_or("on demand"), "taking a snapshot");
        }
        Event::CaptureFailed { schedule, error, again } => {
            let schedule = schedule.as_deref().unwrap_or("on demand");
            error!(schedule, error, again, "no snapshot was taken");
        }
        Event::StoreFailed { error } => warn!(error, "the repository cannot be used"),
        Event::Dissent { members, revision } if !members.is_empty() => {
            let members = members.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            error!(members, %revision, "members hold other data than the majority");
        }
        Event::Verified { id, level, failure: Some(failure) } => {
            error!(%id, %level, failure, "the snapshot is damaged or could not be verified");
        }
        // The read-back is part of every snapshot.
        Event::Verified { id, level, failure: None } if *level > Level::Object => {
            info!(%id, %level, "the snapshot is verified");
        }
        Event::Heartbeat { failure: Some(failure) } => {
            warn!(failure, "the dead man's switch was not told");
        }
        Event::NameTwice { name } => {
            warn!(name, "another agent of the same name is alive; give each its own agent.name");
        }
        Event::ClockSkew { seconds } if seconds.abs() >= MAX_SKEW => {
            warn!(seconds, "this machine's clock and the store's are apart");
        }
        Event::Alarms(alarms) => {
            for alarm in alarms {
                warn!(member = %alarm.member_id, kind = alarm.kind, "an alarm is raised in etcd");
            }
        }
        Event::Members(_)
        | Event::Schedules(_)
        | Event::Catalog(_)
        | Event::Verified { .. }
        | Event::ClockSkew { .. }
        | Event::Dissent { .. }
        | Event::Quota { .. }
        | Event::Heartbeat { failure: None } => debug!(?event, "seen"),
        _ => care(event),
    }
}

/// The one line of a snapshot.
fn snapshot(captured: &Captured) {
    let (manifest, stages) = (&captured.manifest, captured.stages);
    info!(
        id = %manifest.id,
        schedule = captured.schedule.as_deref().unwrap_or("on demand"),
        member = %manifest.source.endpoint,
        revision = %manifest.revision,
        plain_bytes = manifest.image.plain_size,
        stored_bytes = manifest.image.stored_size,
        read_transaction_seconds = stages.stream.as_secs_f64(),
        agreement_seconds = stages.agreement.as_secs_f64(),
        upload_seconds = stages.upload.as_secs_f64(),
        read_back_seconds = stages.read_back.as_secs_f64(),
        suspect = !manifest.suspect.is_empty(),
        "a snapshot exists"
    );
    for warning in &captured.warnings {
        warn!(id = %manifest.id, warning, "about this snapshot");
    }
}

fn claim(schedule: &str, tick: &str, outcome: ClaimOutcome, holder: Option<&str>) {
    let holder = holder.unwrap_or("-");
    match outcome {
        ClaimOutcome::Won => info!(schedule, tick, "this agent takes the tick"),
        ClaimOutcome::TakenOver => warn!(schedule, tick, "this agent takes the tick over"),
        ClaimOutcome::Lost => info!(schedule, tick, holder, "another agent took the tick"),
        ClaimOutcome::Done => info!(schedule, tick, "the tick is done already"),
        ClaimOutcome::LostLater => warn!(schedule, tick, "the tick is no longer this agent's"),
        ClaimOutcome::Failed => {
            warn!(schedule, tick, "whose tick it is cannot be found out; it is tried again");
        }
    }
}

/// Lines about what is done besides snapshots.
fn care(event: &Event) {
    match event {
        Event::Pruned(seen) => {
            let PruneSeen { kept, deleted, swept, bytes, withheld } = *seen;
            info!(kept, deleted, swept, bytes, withheld, "the retention was carried out");
        }
        Event::PruneFailed { error } => error!(error, "the retention could not be carried out"),
        Event::Defragmented { member, result: Ok((before, after)), took } => {
            let seconds = took.as_secs_f64();
            info!(%member, before, after, seconds, "a member was defragmented");
        }
        Event::Defragmented { member, result: Err(error), .. } => {
            error!(%member, error, "a member could not be defragmented");
        }
        Event::DefragmentSkipped { reason } => info!(reason, "no defragmentation"),
        Event::Compacted { result: Ok(revision) } => {
            info!(%revision, "old revisions were compacted");
        }
        Event::Compacted { result: Err(error) } => {
            warn!(error, "old revisions were not compacted");
        }
        Event::Reloaded => info!("the configuration was read again and is in use"),
        Event::ReloadRefused { problems } => {
            for problem in problems {
                error!(%problem, "the new configuration is refused, the old one stays");
            }
        }
        Event::Stopping => info!("stopping"),
        _ => {}
    }
}
