//! Makes connections: TCP or a Unix socket, and TLS over it.
//!
//! We do the handshake ourselves and listen in on the stream, since HTTP/2 forgets why a connection
//! ended: with TLS 1.3 a server judges the client certificate after our side of the handshake is
//! over, and its verdict arrives while nobody is waiting for it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::endpoint::Target;
use crate::error::TlsFault;
use crate::tls;

/// Connects to one target, as often as it is asked.
#[derive(Clone)]
pub(crate) struct Dialer {
    target: Target,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    last_fault: LastTlsFault,
}

/// Why TLS failed the last time, until someone asks.
#[derive(Debug, Clone, Default)]
pub(crate) struct LastTlsFault(Arc<Mutex<Option<(TlsFault, String)>>>);

impl LastTlsFault {
    /// Takes the fault out.
    pub(crate) fn take(&self) -> Option<(TlsFault, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, fault: Option<(TlsFault, String)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    fn record(&self, fault: (TlsFault, String)) {
        self.set(Some(fault));
    }
}

/// What a connection is, whatever it runs over.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Dialer {
    /// A dialer that speaks TLS when there is a configuration. `None` when the target's host is not
    /// one that a certificate can name.
    pub(crate) fn new(target: Target, tls: Option<Arc<ClientConfig>>) -> Option<Self> {
        let tls = match tls {
            None => None,
            Some(config) => {
                let name = ServerName::try_from(target.host().to_owned()).ok()?;
                Some((TlsConnector::from(config), name))
            }
        };
        Some(Self { target, tls, last_fault: LastTlsFault::default() })
    }

    /// Where the reasons of failed handshakes are.
    pub(crate) fn last_fault(&self) -> LastTlsFault {
        self.last_fault.clone()
    }

    /// Connects.
    pub(crate) async fn dial(self) -> io::Result<TokioIo<Box<dyn Stream>>> {
        self.last_fault.set(None);
        let stream: Box<dyn Stream> = match &self.target.socket {
            Some(path) => Box::new(UnixStream::connect(path).await?),
            None => {
                let stream = TcpStream::connect((self.target.host(), self.target.port())).await?;
                // Requests are small and wait for their answers: nothing to collect.
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
        };
        let Some((connector, name)) = self.tls else { return Ok(TokioIo::new(stream)) };
        let stream = connector.connect(name, stream).await.inspect_err(|error| {
            self.last_fault.record(tls::handshake_fault(error));
        })?;
        Ok(TokioIo::new(Box::new(FaultRecorder {
            stream,
            last_fault: self.last_fault,
            broken: None,
        })))
    }
}

/// A TLS stream that notes the peer's verdict before the error is passed on.
struct FaultRecorder<S> {
    stream: S,
    last_fault: LastTlsFault,
    /// The error of a failed write, while the reasons are looked for.
    broken: Option<io::Error>,
}

impl<S: Stream> FaultRecorder<S> {
    fn after_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let Poll::Ready(Err(error)) = written else { return written };
        self.broken = Some(error);
        self.poll_broken(cx)
    }

    /// A write failed, so the peer has hung up, and the alert that says why came before and is
    /// perhaps unread. The failure waits until all is read, which a closed connection ends soon;
    /// data is of no use any more.
    fn poll_broken<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let mut scratch = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut *self).poll_read(cx, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(_) => break,
            }
        }
        let gone = || io::ErrorKind::BrokenPipe.into();
        Poll::Ready(Err(self.broken.take().unwrap_or_else(gone)))
    }
}

impl<S: Stream> AsyncRead for FaultRecorder<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if let Poll::Ready(Err(error)) = &read
            && let Some(fault) = tls::fault(error)
        {
            self.last_fault.record(fault);
        }
        read
    }
}

impl<S: Stream> AsyncWrite for FaultRecorder<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.broken.is_some() {
            return self.poll_broken(cx);
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.after_write(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.broken.is_some() {
            return self.poll_broken(cx);
        }
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.after_write(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.broken.is_some() {
            return self.poll_broken(cx);
        }
        let closed = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.after_write(cx, closed)
    }
}
