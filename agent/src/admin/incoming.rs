//! Connections to the admin interface, a bounded number at one time.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{self, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::transport::server::Connected;

use super::Listener;
use super::listen::Socket;

/// Connections at one time; those beyond wait in the kernel's queue.
const CONNECTIONS: usize = 32;
/// Pause after a failed accept: it mostly means that there are no file descriptors left.
const PAUSE: Duration = Duration::from_millis(200);

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// A connection that gives its place back when it ends.
pub(super) struct Connection {
    stream: Box<dyn Duplex>,
    _place: OwnedSemaphorePermit,
}

pub(super) fn connections(
    listener: &Listener,
) -> impl Stream<Item = io::Result<Connection>> + Send + '_ {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    stream::unfold(places, move |places| async move {
        let place = Arc::clone(&places).acquire_owned().await.ok()?;
        loop {
            match accept(listener).await {
                Ok(stream) => return Some((Ok(Connection { stream, _place: place }), places)),
                Err(error) => {
                    tracing::debug!("an admin connection was not accepted: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    })
}

async fn accept(listener: &Listener) -> io::Result<Box<dyn Duplex>> {
    Ok(match &listener.socket {
        Socket::Unix { listener, .. } => Box::new(listener.accept().await?.0),
        Socket::Tcp { listener, .. } => Box::new(listener.accept().await?.0),
    })
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
