//! Serves the pages with a limit on everything that a caller can make large or slow.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

/// Connections at one time.
const MAX_CONNECTIONS: usize = 64;
/// Time in which the head of a request must have come.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest life of a connection: also that of a reader that does not read.
const MAX_LIFETIME: Duration = Duration::from_secs(60);
/// Bytes of a request's head.
const MAX_HEAD: usize = 16 << 10;
/// Pause after a failed accept: it mostly means that there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// Time for connections to end after `shutdown`.
const GRACE: Duration = Duration::from_secs(2);

/// Accepts until `shutdown`; then connections have two seconds to end.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let (end, ended) = watch::channel(false);
    let accepting = accept(&listener, &router, &places, &ended);
    tokio::select! {
        () = shutdown => {}
        () = accepting => {}
    }
    drop(listener);
    end.send_replace(true);
    let all = u32::try_from(MAX_CONNECTIONS).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(GRACE, places.acquire_many(all)).await;
}

async fn accept(
    listener: &TcpListener,
    router: &Router,
    places: &Arc<Semaphore>,
    ended: &watch::Receiver<bool>,
) {
    // The place comes first: callers beyond the limit wait in the kernel's queue.
    while let Ok(place) = Arc::clone(places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let one = connection(stream, router.clone(), ended.clone());
                tokio::spawn(async move {
                    let _ = tokio::time::timeout(MAX_LIFETIME, one).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!("a connection to the pages was not accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, router: Router, mut ended: watch::Receiver<bool>) {
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD);
    let service = TowerToHyperService::new(router);
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    tokio::select! {
        // A caller that went away is its own affair.
        _ = serving.as_mut() => return,
        _ = ended.wait_for(|ended| *ended) => {}
    }
    serving.as_mut().graceful_shutdown();
    let _ = serving.await;
}
