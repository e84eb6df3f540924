//! The admin interface of a running agent: gRPC on a Unix socket that only its user can open, or on
//! TCP for those who show a certificate of the configured authority. There is no third way in.
//!
//! Calls become [`Command`]s to the agent's loop, which answers when it has done them; status is
//! read off the [`AgentStatus`]. Health and reflection are served beside it, so that any gRPC tool
//! can be used.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use etcdr_schemas::pb::ADMIN_DESCRIPTOR;
use etcdr_schemas::{Diagnose, SnapshotId};
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tonic::transport::Server;

use crate::command::Command;
use crate::status::AgentStatus;
use etcdr_operations::Clock;

#[allow(clippy::all, unreachable_pub, unused_qualifications, reason = "generated code in it")]
mod api;
mod calls;
mod client;
mod error;
mod incoming;
mod listen;
mod relay;
mod tls;

pub use client::{Client, Credentials, RemoteSaved};
pub use error::Error;
pub use listen::Listener;

use api::admin_server::{AdminServer, SERVICE_NAME};

/// An error of any of our crates.
pub type AnyFailure = Box<dyn Diagnose + Send + Sync>;

/// What the admin interface asks of the repository without the loop.
pub trait RepositoryAccess: Send + Sync {
    /// The cluster's snapshots, newest first.
    fn list(&self) -> BoxFuture<'_, Result<Vec<SnapshotId>, AnyFailure>>;

    /// What a prune would do now, as JSON of its report.
    fn plan_prune(&self) -> BoxFuture<'_, Result<String, AnyFailure>>;
}

/// What the calls are answered with.
#[derive(Clone)]
pub struct Admin {
    /// The agent's loop.
    pub commands: mpsc::Sender<Command>,
    /// The state of the agent.
    pub status: Arc<AgentStatus>,
    /// The time.
    pub clock: Arc<Clock>,
    /// The repository.
    pub repository: Arc<dyn RepositoryAccess>,
    /// Whether the agent signs what it saves.
    pub signs: bool,
}

/// Bytes of one request.
const MAX_REQUEST: usize = 64 << 10;
/// Requests of one connection at one time.
const MAX_STREAMS: u32 = 16;
/// Time without a sign of life after which a connection is asked for one, and in which it must give
/// it.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));
/// Time that calls have to end after `shutdown`.
const DRAIN_TIME: Duration = Duration::from_secs(3);

/// Serves until `shutdown`. A socket is removed then.
///
/// # Errors
/// [`Error::Listen`] when the listener breaks.
pub async fn serve(
    listener: Listener,
    admin: Admin,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    let broken = |error: &dyn std::error::Error| Error::Listen {
        address: listener.address().to_owned(),
        reason: error::chain(error),
    };
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_service_status(SERVICE_NAME, tonic_health::ServingStatus::Serving).await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(ADMIN_DESCRIPTOR)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|error| broken(&error))?;
    let router = Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .concurrency_limit_per_connection(MAX_STREAMS as usize)
        .http2_keepalive_interval(Some(KEEPALIVE.0))
        .http2_keepalive_timeout(Some(KEEPALIVE.1))
        .http2_max_header_list_size(16 << 10)
        .add_service(health_service)
        .add_service(reflection)
        .add_service(AdminServer::new(admin).max_decoding_message_size(MAX_REQUEST));
    let (end, mut ended) = watch::channel(false);
    let wait = async move {
        let _ = ended.wait_for(|ended| *ended).await;
    };
    let serving = router.serve_with_incoming_shutdown(incoming::connections(&listener), wait);
    tokio::pin!(serving);
    tokio::select! {
        result = serving.as_mut() => return result.map_err(|error| broken(&error)),
        () = shutdown => {}
    }
    end.send_replace(true);
    // Calls that take longer end with the process; what they asked for is the loop's to finish.
    match tokio::time::timeout(DRAIN_TIME, serving).await {
        Ok(Err(error)) => Err(broken(&error)),
        Ok(Ok(())) | Err(_) => Ok(()),
    }
}
