//! Asks a running agent.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use etcdr_schemas::manifest::Manifest;
use etcdr_schemas::pb::admin as pb;
use etcdr_schemas::report::{Level, Report, StatusReport};
use etcdr_schemas::{Progress, SnapshotId};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Response, Status};
use tower::{ServiceExt as _, service_fn};

use super::api::admin_client::AdminClient;
use super::relay::ProgressReplay;
use super::{Error, error, tls};

/// Time in which a connection must be made.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit of calls that need no work.
const SHORT_CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Time without a sign of life in a long call before one is asked for.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// Bytes of one answer.
const MAX_ANSWER: usize = 8 << 20;

/// Files for an agent on TCP.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// CA certificates that the agent's is checked with.
    pub cacert: Option<PathBuf>,
    /// Client certificate.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

/// A connection to an agent.
#[derive(Debug, Clone)]
pub struct Client {
    address: String,
    channel: Channel,
}

/// What a save by an agent gave.
#[derive(Debug)]
pub struct RemoteSaved {
    /// One manifest; two where the members hold different data and neither side has the majority.
    /// Each with whether the agent signed it.
    pub snapshots: Vec<(Manifest, bool)>,
    /// Things that need a look.
    pub warnings: Vec<String>,
}

impl Client {
    /// Connects to `unix:///path` or `https://host:port`.
    ///
    /// # Errors
    /// [`Error::Address`], [`Error::NotRunning`], [`Error::NotAllowed`], [`Error::File`],
    /// [`Error::Unreachable`].
    pub async fn connect(address: &str, credentials: &Credentials) -> Result<Self, Error> {
        let channel = if let Some(path) = address.strip_prefix("unix://") {
            over_socket(address, Path::new(path)).await?
        } else if address.starts_with("https://") {
            over_tls(address, credentials).await?
        } else {
            let reason = "it begins with neither unix:// nor https://".to_owned();
            return Err(Error::Address { address: address.to_owned(), reason });
        };
        Ok(Self { address: address.to_owned(), channel })
    }

    /// How the agent and the cluster are.
    ///
    /// # Errors
    /// [`Error::Lost`], [`Error::Answer`], [`Error::Refused`], as all calls.
    pub async fn status(&self) -> Result<StatusReport, Error> {
        let answer: pb::GetStatusResponse =
            self.short(async |mut api| api.get_status(pb::GetStatusRequest {}).await).await?;
        let report: Report<StatusReport> = self.parse(&answer.report_json)?;
        Ok(report.body)
    }

    /// Takes a snapshot now. When the connection breaks, the agent goes on.
    ///
    /// # Errors
    /// As all calls; [`Error::Refused`] when no snapshot was taken.
    pub async fn save(&self, progress: &dyn Progress) -> Result<RemoteSaved, Error> {
        let mut stream =
            self.call(async |mut api| api.save_snapshot(pb::SaveSnapshotRequest {}).await).await?;
        let mut drawn = ProgressReplay::new(progress);
        let end = loop {
            match stream.message().await {
                Ok(Some(pb::SaveSnapshotResponse { step: Some(step) })) => match step {
                    pb::save_snapshot_response::Step::Progress(state) => drawn.show(&state),
                    pb::save_snapshot_response::Step::Result(result) => break Ok(result),
                },
                Ok(Some(_)) => {}
                Ok(None) => break Err(self.answer("the stream ended without a result")),
                Err(status) => break Err(self.failed(&status)),
            }
        };
        drawn.end();
        let result = end?;
        let snapshots = result.snapshots.iter().map(|one| {
            let manifest = Manifest::from_json(one.manifest_json.as_bytes());
            Ok((manifest.map_err(|error| self.answer(error.to_string()))?, one.signed))
        });
        Ok(RemoteSaved {
            snapshots: snapshots.collect::<Result<_, _>>()?,
            warnings: result.warnings,
        })
    }

    /// The newest snapshots, at most `limit` (0: a thousand), and how many there are.
    ///
    /// # Errors
    /// As all calls.
    pub async fn list(&self, limit: u32) -> Result<(Vec<SnapshotId>, u64), Error> {
        let answer: pb::ListSnapshotsResponse = self
            .short(async |mut api| api.list_snapshots(pb::ListSnapshotsRequest { limit }).await)
            .await?;
        let ids = answer.snapshots.iter().map(|one| one.id.parse());
        let ids = ids.collect::<Result<_, _>>();
        Ok((ids.map_err(|error| self.answer(format!("{error}")))?, answer.total))
    }

    /// Verifies a snapshot; findings as sentences, none when it is sound.
    ///
    /// # Errors
    /// As all calls.
    pub async fn verify(&self, id: &SnapshotId, level: Level) -> Result<Vec<String>, Error> {
        let request =
            pb::VerifySnapshotRequest { id: id.to_string(), level: level.name().to_owned() };
        let answer: pb::VerifySnapshotResponse =
            self.call(async |mut api| api.verify_snapshot(request).await).await?;
        Ok(answer.findings)
    }

    /// What a prune would do, as JSON.
    ///
    /// # Errors
    /// As all calls.
    pub async fn plan_prune(&self) -> Result<String, Error> {
        let answer: pb::PlanPruneResponse =
            self.call(async |mut api| api.plan_prune(pb::PlanPruneRequest {}).await).await?;
        Ok(answer.report_json)
    }

    /// Pauses a schedule, or all; names of those that changed.
    ///
    /// # Errors
    /// As all calls.
    pub async fn pause(&self, schedule: Option<String>) -> Result<Vec<String>, Error> {
        let request = pb::PauseSchedulesRequest { schedule: schedule.unwrap_or_default() };
        let answer: pb::PauseSchedulesResponse =
            self.short(async |mut api| api.pause_schedules(request).await).await?;
        Ok(answer.changed)
    }

    /// Resumes a schedule, or all; names of those that changed.
    ///
    /// # Errors
    /// As all calls.
    pub async fn resume(&self, schedule: Option<String>) -> Result<Vec<String>, Error> {
        let request = pb::ResumeSchedulesRequest { schedule: schedule.unwrap_or_default() };
        let answer: pb::ResumeSchedulesResponse =
            self.short(async |mut api| api.resume_schedules(request).await).await?;
        Ok(answer.changed)
    }

    /// Defragments, one member after the other; a sentence a member, and whether all was done that
    /// was meant to be.
    ///
    /// # Errors
    /// As all calls.
    pub async fn defragment(&self, force: bool) -> Result<(Vec<String>, bool), Error> {
        let answer: pb::DefragmentResponse = self
            .call(async |mut api| api.defragment(pb::DefragmentRequest { force }).await)
            .await?;
        Ok((answer.members, !answer.incomplete))
    }

    async fn short<A>(
        &self,
        ask: impl AsyncFnOnce(AdminClient<Channel>) -> Result<Response<A>, Status>,
    ) -> Result<A, Error> {
        match timeout(SHORT_CALL_TIMEOUT, self.call(ask)).await {
            Ok(answer) => answer,
            Err(_) => {
                let reason = format!("not within {} s", SHORT_CALL_TIMEOUT.as_secs());
                Err(Error::Lost { address: self.address.clone(), reason })
            }
        }
    }

    async fn call<A>(
        &self,
        ask: impl AsyncFnOnce(AdminClient<Channel>) -> Result<Response<A>, Status>,
    ) -> Result<A, Error> {
        let mut channel = self.channel.clone();
        // Checked first, to distinguish an agent that is gone from one that does not answer.
        channel.ready().await.map_err(|error| unreachable(&self.address, &error))?;
        let api = AdminClient::new(channel).max_decoding_message_size(MAX_ANSWER);
        ask(api).await.map(Response::into_inner).map_err(|status| self.failed(&status))
    }

    fn failed(&self, status: &Status) -> Error {
        error::from_status(&self.address, status)
    }

    fn answer(&self, reason: impl Into<String>) -> Error {
        Error::Answer { address: self.address.clone(), reason: reason.into() }
    }

    fn parse<T: serde::de::DeserializeOwned>(&self, json: &str) -> Result<T, Error> {
        serde_json::from_str(json).map_err(|error| self.answer(error.to_string()))
    }
}

fn unreachable(address: &str, error: &dyn std::error::Error) -> Error {
    Error::Unreachable { address: address.to_owned(), reason: error::chain(error) }
}

async fn over_socket(address: &str, path: &Path) -> Result<Channel, Error> {
    // Tried once directly: a failure inside a channel does not say what is wrong with the socket.
    if let Err(source) = UnixStream::connect(path).await {
        let path = path.to_owned();
        return Err(match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                Error::NotRunning { path }
            }
            io::ErrorKind::PermissionDenied => Error::NotAllowed { path },
            _ => Error::File { path, source },
        });
    }
    let path = path.to_owned();
    let connector = service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let endpoint = patient(Endpoint::from_static("http://agent"));
    let connected = endpoint.connect_with_connector(connector).await;
    connected.map_err(|error| unreachable(address, &error))
}

async fn over_tls(address: &str, files: &Credentials) -> Result<Channel, Error> {
    let bad = |error: &dyn std::error::Error| Error::Address {
        address: address.to_owned(),
        reason: error::chain(error),
    };
    let (Some(cacert), Some(cert), Some(key)) = (&files.cacert, &files.cert, &files.key) else {
        let reason = "an agent on TCP wants to see a certificate".to_owned();
        return Err(Error::Address { address: address.to_owned(), reason });
    };
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(tls::read(cacert)?))
        .identity(Identity::from_pem(tls::read(cert)?, tls::read(key)?));
    let endpoint = Endpoint::from_shared(address.to_owned()).map_err(|error| bad(&error))?;
    let endpoint = patient(endpoint).tls_config(tls).map_err(|error| bad(&error))?;
    endpoint.connect().await.map_err(|error| unreachable(address, &error))
}

fn patient(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(DIAL_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(DIAL_TIMEOUT)
}
