//! The snapshot stream: the bytes of a snapshot file, and nothing that only looks like them.
//!
//! etcd sends the database in blobs, each with the number of bytes that remain, and after the one
//! with 0 remaining a last message with the 32 bytes of their SHA-256. Its server ignores read
//! errors of its own and then sends empty blobs without end, so that a stream which is merely alive
//! proves nothing: progress does.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use etcdr_schemas::Sha256Digest;
use etcdr_schemas::pb::etcd::SnapshotResponse;
use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, Sleep};
use tonic::{Status, Streaming};

use crate::call;
use crate::call_context::{self, CallContext};
use crate::error::Error;

const DIGEST_LEN: u64 = Sha256Digest::LEN as u64;
/// Empty messages that one poll takes before it yields: a server that sends them without end must
/// not keep the runtime's thread.
const EMPTY_PER_POLL: u32 = 64;

/// A snapshot of one member: the database's bytes, then the 32 bytes of their SHA-256, exactly as
/// `etcdctl snapshot save` writes them.
///
/// Whether the digest fits the bytes is not checked here; whoever parses the file does that. The
/// memory is bounded by the connection's window. The stream ends with `None` only when the file is
/// complete; after an error it ends too.
pub struct SnapshotStream {
    messages: Messages,
    framing: Framing,
    /// The first blob, which was awaited to know the size.
    first: Option<Bytes>,
    context: CallContext,
    stall: Duration,
    deadline: Pin<Box<Sleep>>,
    /// Whether the consumer is waiting for us. Time that the consumer takes is no stall.
    waiting: bool,
    ended: bool,
}

type Messages = Pin<Box<dyn Stream<Item = Result<SnapshotResponse, Status>> + Send>>;

impl std::fmt::Debug for SnapshotStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotStream").field("framing", &self.framing).finish_non_exhaustive()
    }
}

impl SnapshotStream {
    pub(crate) async fn begin(
        messages: Streaming<SnapshotResponse>,
        context: CallContext,
        stall: Duration,
    ) -> Result<Self, Error> {
        Self::from_messages(Box::pin(messages), context, stall).await
    }

    async fn from_messages(
        messages: Messages,
        context: CallContext,
        stall: Duration,
    ) -> Result<Self, Error> {
        let mut stream = Self {
            messages,
            framing: Framing::default(),
            first: None,
            context,
            stall,
            deadline: Box::pin(tokio::time::sleep(stall)),
            waiting: true,
            ended: false,
        };
        stream.first = match stream.next().await {
            Some(Ok(blob)) => Some(blob),
            // Before the first byte, a refusal is a refusal and not a stream that was cut.
            Some(Err(Error::SnapshotTruncated { cause: Some(cause), .. })) => return Err(*cause),
            Some(Err(error)) => return Err(error),
            None => None,
        };
        Ok(stream)
    }

    /// Bytes of the whole file, digest included.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.framing.expected()
    }

    /// Bytes of the database.
    #[must_use]
    pub fn db_size(&self) -> u64 {
        self.framing.total.unwrap_or(0)
    }

    /// The storage version; etcd 3.6 and later report it.
    #[must_use]
    pub fn storage_version(&self) -> Option<&str> {
        self.framing.version.as_deref()
    }

    fn fail(&mut self, error: Error) -> Poll<Option<Result<Bytes, Error>>> {
        self.ended = true;
        Poll::Ready(Some(Err(error)))
    }

    fn truncated(&self, cause: Option<Error>) -> Error {
        Error::SnapshotTruncated {
            endpoint: self.context.endpoint.clone(),
            got: self.framing.received,
            expected: self.framing.expected(),
            cause: cause.map(Box::new),
        }
    }

    fn stalled(&self) -> Error {
        Error::SnapshotStalled {
            endpoint: self.context.endpoint.clone(),
            got: self.framing.received,
            expected: self.framing.expected(),
            after: self.stall,
        }
    }

    /// What the end of the messages means.
    fn end(&mut self) -> Poll<Option<Result<Bytes, Error>>> {
        self.ended = true;
        if self.framing.complete {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Err(self.truncated(None))))
    }

    fn start_waiting(&mut self) {
        if !self.waiting {
            self.waiting = true;
            let deadline = Instant::now() + self.stall;
            self.deadline.as_mut().reset(deadline);
        }
    }
}

impl Stream for SnapshotStream {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        if this.ended {
            return Poll::Ready(None);
        }
        this.start_waiting();
        for _ in 0..EMPTY_PER_POLL {
            // Before each message, and not only when none is there: only bytes reset the deadline,
            // so a stream of empty messages is a stall.
            if this.deadline.as_mut().poll(cx).is_ready() {
                let error = this.stalled();
                return this.fail(error);
            }
            let message = match this.messages.as_mut().poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return this.end(),
                Poll::Ready(Some(Err(status))) => {
                    let cause = this.context.status_error(call::SNAPSHOT.name, &status);
                    let error = this.truncated(Some(cause));
                    return this.fail(error);
                }
                Poll::Ready(Some(Ok(message))) => message,
            };
            match this.framing.accept(message) {
                Ok(None) => {}
                Ok(Some(blob)) => {
                    this.waiting = false;
                    return Poll::Ready(Some(Ok(blob)));
                }
                Err(what) => {
                    let endpoint = this.context.endpoint.clone();
                    let got = this.framing.received;
                    return this.fail(Error::SnapshotFraming { endpoint, got, what });
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Where in the file the stream is.
#[derive(Debug, Default)]
struct Framing {
    /// Bytes of the database, known from the first message.
    total: Option<u64>,
    remaining: u64,
    received: u64,
    complete: bool,
    version: Option<String>,
}

impl Framing {
    fn expected(&self) -> u64 {
        self.total.map_or(0, |total| total.saturating_add(DIGEST_LEN))
    }

    /// Takes one message and gives its bytes, or nothing for an empty one.
    fn accept(&mut self, message: SnapshotResponse) -> Result<Option<Bytes>, String> {
        let SnapshotResponse { remaining_bytes, blob, version } = message;
        let len = blob.len() as u64;
        if self.complete {
            return Err(format!("a message of {len} bytes after the digest"));
        }
        if self.total.is_some() && self.remaining == 0 {
            return self.accept_digest(remaining_bytes, blob);
        }
        self.accept_data(remaining_bytes, len)?;
        if self.version.is_none() && !version.is_empty() {
            self.version = Some(call_context::printable(&version));
        }
        Ok((len > 0).then_some(blob))
    }

    fn accept_data(&mut self, remaining: u64, len: u64) -> Result<(), String> {
        let before = match self.total {
            Some(_) => self.remaining,
            None => remaining.checked_add(len).ok_or("a size beyond 64 bits")?,
        };
        if before == 0 {
            return Err("an empty database".into());
        }
        if remaining.checked_add(len) != Some(before) {
            return Err(format!("{len} bytes came, and {before} became {remaining} remaining"));
        }
        self.total.get_or_insert(before);
        self.remaining = remaining;
        self.received += len;
        Ok(())
    }

    fn accept_digest(&mut self, remaining: u64, blob: Bytes) -> Result<Option<Bytes>, String> {
        let len = blob.len() as u64;
        if remaining != 0 {
            return Err(format!("{remaining} bytes remain after all of them came"));
        }
        match len {
            0 => Ok(None),
            DIGEST_LEN => {
                self.received += len;
                self.complete = true;
                Ok(Some(blob))
            }
            _ => Err(format!("a digest of {len} bytes instead of {DIGEST_LEN}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    const STALL: Duration = Duration::from_secs(30);

    fn message(remaining_bytes: u64, len: usize) -> SnapshotResponse {
        SnapshotResponse { remaining_bytes, blob: vec![7; len].into(), version: String::new() }
    }

    async fn read(messages: Messages) -> Result<u64, Error> {
        let context = CallContext { endpoint: "h:1".into(), ..CallContext::default() };
        let mut stream = SnapshotStream::from_messages(messages, context, STALL).await?;
        let mut got = 0;
        while let Some(chunk) = stream.next().await {
            got += chunk?.len() as u64;
        }
        assert_eq!(got, stream.total());
        assert!(stream.next().await.is_none(), "the end is the end");
        Ok(got)
    }

    async fn read_all(messages: &[(u64, usize)]) -> Result<u64, Error> {
        let messages: Vec<_> =
            messages.iter().map(|(remaining, len)| Ok(message(*remaining, *len))).collect();
        read(Box::pin(stream::iter(messages))).await
    }

    #[tokio::test]
    async fn whole_streams_are_whole() {
        for good in [
            &[(0, 100), (0, 32)][..],
            &[(50, 50), (0, 50), (0, 32)],
            &[(50, 50), (50, 0), (0, 50), (0, 0), (0, 32)],
            &[(100, 0), (0, 100), (0, 32)],
        ] {
            assert_eq!(read_all(good).await.unwrap(), 132, "{good:?}");
        }
    }

    #[tokio::test]
    async fn streams_that_end_early_are_truncated() {
        for (cut, want) in [
            (&[][..], (0, 0)),
            (&[(50, 50)], (50, 132)),
            (&[(50, 50), (0, 50)], (100, 132)),
            (&[(50, 50), (0, 50), (0, 0)], (100, 132)),
        ] {
            match read_all(cut).await {
                Err(Error::SnapshotTruncated { got, expected, cause: None, .. }) => {
                    assert_eq!((got, expected), want, "{cut:?}");
                }
                other => panic!("{cut:?}: {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn streams_out_of_step_are_refused() {
        for bad in [
            &[(0, 0)][..],
            &[(50, 50), (10, 50)],
            &[(50, 50), (50, 50)],
            &[(50, 50), (60, 50)],
            &[(50, 50), (0, 60)],
            &[(0, 100), (0, 31)],
            &[(0, 100), (0, 33)],
            &[(0, 100), (1, 32)],
            &[(0, 100), (0, 32), (0, 0)],
            &[(0, 100), (0, 32), (0, 32)],
            &[(u64::MAX, 1)],
        ] {
            let error = read_all(bad).await.unwrap_err();
            assert!(matches!(error, Error::SnapshotFraming { .. }), "{bad:?}: {error}");
        }
    }

    #[tokio::test]
    async fn a_status_in_the_middle_is_the_cause_and_at_the_start_the_error() {
        let cut = vec![Ok(message(50, 50)), Err(Status::unavailable("going down"))];
        let error = read(Box::pin(stream::iter(cut))).await.unwrap_err();
        assert!(
            matches!(error, Error::SnapshotTruncated { cause: Some(_), got: 50, .. }),
            "{error}"
        );
        assert!(error.to_string().contains("going down"), "{error}");
        let refused = vec![Err(Status::permission_denied("etcdserver: permission denied"))];
        let error = read(Box::pin(stream::iter(refused))).await.unwrap_err();
        assert!(matches!(error, Error::Denied { .. }), "{error}");
        // A failure after the digest is one too: etcd did not say that it is done.
        let late = vec![Ok(message(0, 9)), Ok(message(0, 32)), Err(Status::internal("oops"))];
        assert!(read(Box::pin(stream::iter(late))).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_a_stall() {
        let begun = Instant::now();
        let silent = stream::iter(vec![Ok(message(50, 50))]).chain(stream::pending());
        let error = read(Box::pin(silent)).await.unwrap_err();
        assert!(matches!(error, Error::SnapshotStalled { got: 50, expected: 132, .. }), "{error}");
        assert_eq!(begun.elapsed().as_secs(), STALL.as_secs());
    }

    #[tokio::test]
    async fn empty_blobs_without_end_are_a_stall() {
        let context = CallContext { endpoint: "h:1".into(), ..CallContext::default() };
        let empty = stream::once(async { Ok(message(50, 50)) })
            .chain(stream::repeat_with(|| Ok(message(50, 0))));
        let stall = Duration::from_millis(50);
        let mut stream =
            SnapshotStream::from_messages(Box::pin(empty), context, stall).await.unwrap();
        assert!(stream.next().await.unwrap().is_ok());
        let error = stream.next().await.unwrap().unwrap_err();
        assert!(matches!(error, Error::SnapshotStalled { got: 50, .. }), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_consumer_and_a_slow_stream_are_no_stall() {
        let slow = stream::unfold(0u64, |sent| async move {
            tokio::time::sleep(STALL - Duration::from_secs(1)).await;
            let next = match sent {
                0..100 => message(100 - sent - 10, 10),
                100 => message(0, 32),
                _ => return None,
            };
            Some((Ok(next), sent + 10))
        });
        let context = CallContext { endpoint: "h:1".into(), ..CallContext::default() };
        let mut stream =
            SnapshotStream::from_messages(Box::pin(slow), context, STALL).await.unwrap();
        let mut chunks = 0;
        while let Some(chunk) = stream.next().await {
            chunk.unwrap();
            chunks += 1;
            tokio::time::sleep(10 * STALL).await;
        }
        assert_eq!(chunks, 11);
    }
}
