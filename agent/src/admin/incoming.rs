//! Connections to the admin interface, a bounded number at one time.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{self, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tonic::transport::server::Connected;

use super::Listener;
use super::listen::Socket;
use super::tls::Certificates;

/// Connections at one time; those beyond wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 32;
/// Pause after a failed accept: it mostly means that there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// Time in which a TLS handshake must be done.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// A connection that gives its place back when it ends.
pub(super) struct Connection {
    stream: Box<dyn Duplex>,
    _place: OwnedSemaphorePermit,
}

/// Connections that may send calls. Handshakes are made beside one another: one that is slow holds
/// up nobody.
pub(super) fn connections(
    listener: &Listener,
) -> impl Stream<Item = io::Result<Connection>> + Send + '_ {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    stream::unfold((places, JoinSet::new()), move |(places, mut greeted)| async move {
        loop {
            tokio::select! {
                Some(done) = greeted.join_next() => {
                    if let Ok(Some(connection)) = done {
                        return Some((Ok(connection), (places, greeted)));
                    }
                }
                accepted = accept(listener, &places) => match accepted {
                    Ok(caller) => drop(greeted.spawn(greet(caller))),
                    Err(error) => {
                        tracing::debug!("an admin connection was not accepted: {error}");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
    })
}

/// Who connected, with a place.
enum Caller {
    Unix(UnixStream, OwnedSemaphorePermit),
    Tcp(TcpStream, OwnedSemaphorePermit, Arc<Certificates>),
}

async fn accept(listener: &Listener, places: &Arc<Semaphore>) -> io::Result<Caller> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    Ok(match &listener.socket {
        Socket::Unix { listener, .. } => Caller::Unix(listener.accept().await?.0, place),
        Socket::Tcp { listener, certificates } => {
            Caller::Tcp(listener.accept().await?.0, place, Arc::clone(certificates))
        }
    })
}

/// `None` for one who does not show the certificate that is asked for, in time.
async fn greet(caller: Caller) -> Option<Connection> {
    let (socket, place, certificates) = match caller {
        Caller::Unix(stream, place) => {
            return Some(Connection { stream: Box::new(stream), _place: place });
        }
        Caller::Tcp(socket, place, certificates) => (socket, place, certificates),
    };
    let shaken = async {
        let config = spawn_blocking(move || certificates.current()).await?;
        TlsAcceptor::from(config).accept(socket).await
    };
    let refused = match timeout(HANDSHAKE_TIMEOUT, shaken).await {
        Ok(Ok(stream)) => return Some(Connection { stream: Box::new(stream), _place: place }),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no handshake within {} s", HANDSHAKE_TIMEOUT.as_secs()),
    };
    tracing::debug!(refused, "an admin connection was refused");
    None
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) -> Self::ConnectInfo {}
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
