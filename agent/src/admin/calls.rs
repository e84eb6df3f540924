//! Carries out each call of the admin API.

use std::sync::Arc;
use std::time::Duration;

use etcdr_schemas::manifest::Manifest;
use etcdr_schemas::pb::admin as pb;
use etcdr_schemas::report::{Level, Named as _};
use etcdr_schemas::{Progress, SnapshotId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::api::admin_server::Admin as Api;
use super::relay::Relay;
use super::{Admin, error};
use crate::command::{Command, Reply};

/// Snapshots of one answer.
const MAX_LISTED: u32 = 1000;
/// Time in which the loop must take a command.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);
/// Time between two messages of progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

type Answer<T> = Result<T, Status>;

#[tonic::async_trait]
impl Api for Admin {
    type SaveSnapshotStream = ReceiverStream<Answer<pb::SaveSnapshotResponse>>;

    async fn get_status(
        &self,
        _: Request<pb::GetStatusRequest>,
    ) -> Answer<Response<pb::GetStatusResponse>> {
        let report = self.status.report((self.clock)()).report();
        Ok(Response::new(pb::GetStatusResponse { report_json: json(&report)? }))
    }

    /// The caller may disconnect: the capture belongs to the loop and goes on.
    async fn save_snapshot(
        &self,
        _: Request<pb::SaveSnapshotRequest>,
    ) -> Answer<Response<Self::SaveSnapshotStream>> {
        let (relay, state) = Relay::new();
        let progress: Arc<dyn Progress> = Arc::new(relay);
        let answer = send(self, |reply| Command::Save { progress, reply }).await?;
        // One message is on its way, the next waits for it.
        let (sender, receiver) = mpsc::channel(2);
        tokio::spawn(stream_progress(sender, state, answer, self.signs));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn list_snapshots(
        &self,
        request: Request<pb::ListSnapshotsRequest>,
    ) -> Answer<Response<pb::ListSnapshotsResponse>> {
        let limit = request.into_inner().limit;
        let ids =
            self.repository.list().await.map_err(|failure| error::to_status(failure.as_ref()))?;
        let limit = if limit == 0 { MAX_LISTED } else { limit.min(MAX_LISTED) };
        let snapshots = ids.iter().take(limit as usize).map(|id| pb::Snapshot {
            id: id.to_string(),
            time_unix_seconds: id.time().timestamp(),
            revision: id.revision().0,
        });
        let (snapshots, total) = (snapshots.collect(), ids.len() as u64);
        Ok(Response::new(pb::ListSnapshotsResponse { snapshots, total }))
    }

    async fn verify_snapshot(
        &self,
        request: Request<pb::VerifySnapshotRequest>,
    ) -> Answer<Response<pb::VerifySnapshotResponse>> {
        let request = request.into_inner();
        let id: SnapshotId = request
            .id
            .parse()
            .map_err(|_| Status::invalid_argument("id must be a whole snapshot id"))?;
        let named = Level::ALL.into_iter().find(|level| level.name() == request.level);
        let level = match named {
            Some(level) => level,
            None if request.level.is_empty() => Level::Object,
            None => {
                return Err(Status::invalid_argument("level is not one of those that there are"));
            }
        };
        let findings = ask(self, |reply| Command::Verify { id, level, reply }).await?;
        Ok(Response::new(pb::VerifySnapshotResponse { findings }))
    }

    async fn plan_prune(
        &self,
        _: Request<pb::PlanPruneRequest>,
    ) -> Answer<Response<pb::PlanPruneResponse>> {
        let plan = self.repository.plan_prune().await;
        let report_json = plan.map_err(|failure| error::to_status(failure.as_ref()))?;
        Ok(Response::new(pb::PlanPruneResponse { report_json }))
    }

    async fn pause_schedules(
        &self,
        request: Request<pb::PauseSchedulesRequest>,
    ) -> Answer<Response<pb::PauseSchedulesResponse>> {
        let changed = set_paused(self, request.into_inner().schedule, true).await?;
        Ok(Response::new(pb::PauseSchedulesResponse { changed }))
    }

    async fn resume_schedules(
        &self,
        request: Request<pb::ResumeSchedulesRequest>,
    ) -> Answer<Response<pb::ResumeSchedulesResponse>> {
        let changed = set_paused(self, request.into_inner().schedule, false).await?;
        Ok(Response::new(pb::ResumeSchedulesResponse { changed }))
    }

    async fn defragment(
        &self,
        request: Request<pb::DefragmentRequest>,
    ) -> Answer<Response<pb::DefragmentResponse>> {
        let force = request.into_inner().force;
        let round = ask(self, |reply| Command::Defragment { force, reply }).await?;
        let incomplete = !round.is_complete();
        Ok(Response::new(pb::DefragmentResponse { members: round.sentences, incomplete }))
    }
}

async fn set_paused(admin: &Admin, schedule: String, pause: bool) -> Answer<Vec<String>> {
    let schedule = Some(schedule).filter(|name| !name.is_empty());
    ask(admin, |reply| Command::Pause { schedule, pause, reply }).await
}

type SaveSender = mpsc::Sender<Answer<pb::SaveSnapshotResponse>>;
type Saved = Result<(Vec<Manifest>, Vec<String>), crate::Error>;

async fn stream_progress(
    sender: SaveSender,
    state: watch::Receiver<pb::SaveProgress>,
    mut answer: oneshot::Receiver<Saved>,
    signed: bool,
) {
    let mut ticks = interval(PROGRESS_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = pb::SaveProgress::default();
    let end = loop {
        tokio::select! {
            biased;
            saved = &mut answer => break result(saved, signed),
            () = sender.closed() => return,
            _ = ticks.tick() => {
                let now = state.borrow().clone();
                if now != last {
                    last.clone_from(&now);
                    let step = Some(pb::save_snapshot_response::Step::Progress(now));
                    let _ = sender.send(Ok(pb::SaveSnapshotResponse { step })).await;
                }
            }
        }
    };
    let _ = sender.send(end).await;
}

fn result(
    saved: Result<Saved, oneshot::error::RecvError>,
    signed: bool,
) -> Answer<pb::SaveSnapshotResponse> {
    let (manifests, warnings) = done(saved)?;
    let snapshots = manifests.iter().map(|manifest| {
        let id = manifest.id.to_string();
        Ok(pb::SavedSnapshot { id, manifest_json: json(manifest)?, signed })
    });
    let snapshots = snapshots.collect::<Answer<_>>()?;
    let result = pb::SaveResult { snapshots, warnings };
    Ok(pb::SaveSnapshotResponse { step: Some(pb::save_snapshot_response::Step::Result(result)) })
}

/// Gives the loop a command and waits until it is done.
async fn ask<T>(admin: &Admin, command: impl FnOnce(Reply<T>) -> Command) -> Answer<T> {
    let answer = send(admin, command).await?;
    done(answer.await)
}

async fn send<T>(
    admin: &Admin,
    command: impl FnOnce(Reply<T>) -> Command,
) -> Answer<oneshot::Receiver<Result<T, crate::Error>>> {
    let (reply, answer) = oneshot::channel();
    match timeout(COMMAND_TIMEOUT, admin.commands.send(command(reply))).await {
        Ok(Ok(())) => Ok(answer),
        Ok(Err(_)) => Err(Status::unavailable("the agent is stopping")),
        Err(_) => Err(Status::resource_exhausted("the agent is busy and takes no command now")),
    }
}

fn done<T>(answer: Result<Result<T, crate::Error>, oneshot::error::RecvError>) -> Answer<T> {
    match answer {
        Ok(result) => result.map_err(|error| error::to_status(&error)),
        Err(_) => Err(Status::unavailable("the agent stopped before it was done")),
    }
}

fn json(value: &impl serde::Serialize) -> Answer<String> {
    serde_json::to_string(value).map_err(|error| Status::internal(error.to_string()))
}
