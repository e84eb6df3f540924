//! An object store that fails where the test says, and counts the uploads it was left with.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::*;

use super::Store;

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// 403
    Denied,
    /// 404
    Missing,
    /// 500, and it was not done
    Broken,
    /// 500 on the answer: it was done all the same
    Lost,
    /// ENOSPC
    Full,
    /// takes a while, then works
    Slow,
}

impl How {
    pub(crate) const ALL: [Self; 6] =
        [Self::Denied, Self::Missing, Self::Broken, Self::Lost, Self::Full, Self::Slow];

    fn error(self, path: &Path) -> Error {
        let source = || "refused by the test".into();
        let path = path.to_string();
        let full = io::Error::from(io::ErrorKind::StorageFull);
        match self {
            Self::Denied => Error::PermissionDenied { path, source: source() },
            Self::Missing => Error::NotFound { path, source: source() },
            Self::Full => Error::Generic { store: "test", source: full.into() },
            _ => Error::Generic { store: "test", source: source() },
        }
    }
}

/// When: the operations numbered `from` up to `to`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) how: How,
}

#[derive(Debug, Default)]
struct Shared {
    fault: Mutex<Option<Fault>>,
    /// Flips a bit of every answer that holds this byte of an image.
    flip: Mutex<Option<u64>>,
    operations: AtomicU64,
    open_uploads: AtomicI64,
}

#[derive(Debug, Clone)]
pub(crate) struct FaultStore {
    inner: Store,
    shared: Arc<Shared>,
}

impl FaultStore {
    pub(crate) fn new(inner: Store) -> Self {
        Self { inner, shared: Arc::default() }
    }

    /// From now on, counting from 0.
    pub(crate) fn set(&self, fault: Option<Fault>) {
        *self.shared.fault.lock().unwrap() = fault;
        self.shared.operations.store(0, Ordering::SeqCst);
    }

    pub(crate) fn flip(&self, at: Option<u64>) {
        *self.shared.flip.lock().unwrap() = at;
    }

    pub(crate) fn operations(&self) -> u64 {
        self.shared.operations.load(Ordering::SeqCst)
    }

    /// Uploads that were begun and neither completed nor aborted, once they have settled.
    pub(crate) async fn open_uploads(&self) -> i64 {
        for _ in 0..500 {
            if self.shared.open_uploads.load(Ordering::SeqCst) == 0 {
                return 0;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.shared.open_uploads.load(Ordering::SeqCst)
    }

    fn next(&self) -> Option<How> {
        let at = self.shared.operations.fetch_add(1, Ordering::SeqCst);
        let fault = *self.shared.fault.lock().unwrap();
        fault.filter(|fault| (fault.from..fault.to).contains(&at)).map(|fault| fault.how)
    }

    async fn run<T>(&self, path: &Path, work: impl Future<Output = Result<T>>) -> Result<T> {
        match self.next() {
            None => work.await,
            Some(How::Slow) => {
                tokio::time::sleep(Duration::from_millis(30)).await;
                work.await
            }
            Some(How::Lost) => {
                let _ = work.await;
                Err(How::Lost.error(path))
            }
            Some(how) => Err(how.error(path)),
        }
    }
}

impl fmt::Display for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultStore({})", self.inner)
    }
}

#[async_trait::async_trait]
impl ObjectStore for FaultStore {
    async fn put_opts(&self, at: &Path, body: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.run(at, self.inner.put_opts(at, body, opts)).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let inner = self.run(at, self.inner.put_multipart_opts(at, opts)).await?;
        self.shared.open_uploads.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(FaultUpload { inner, store: self.clone(), at: at.clone() }))
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        let mut got = self.run(at, self.inner.get_opts(at, options)).await?;
        let flip = *self.shared.flip.lock().unwrap();
        let within = flip.filter(|at| got.range.contains(at)).map(|at| at - got.range.start);
        if let Some(within) = within.filter(|_| at.as_ref().contains("/images/")) {
            let range = got.range.clone();
            let (meta, attributes) = (got.meta.clone(), got.attributes.clone());
            let mut bytes = got.bytes().await?.to_vec();
            bytes[usize::try_from(within).unwrap()] ^= 1;
            let body = futures_util::stream::once(async move { Ok(bytes.into()) }).boxed();
            let payload = GetResultPayload::Stream(body);
            got = GetResult { payload, meta, range, attributes, extensions: Extensions::new() };
        }
        Ok(got)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let one = move |location: Result<Path>| {
            let store = store.clone();
            async move {
                let location = location?;
                let work = async {
                    store.inner.delete(&location).await?;
                    Ok(location.clone())
                };
                store.run(&location, work).await
            }
        };
        locations.then(one).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.next() {
            Some(How::Slow) | None => self.inner.list(prefix),
            Some(how) => {
                let error = how.error(&prefix.cloned().unwrap_or_default());
                futures_util::stream::once(async move { Err(error) }).boxed()
            }
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.run(from, self.inner.copy_opts(from, to, options)).await
    }
}

#[derive(Debug)]
struct FaultUpload {
    inner: Box<dyn MultipartUpload>,
    store: FaultStore,
    at: Path,
}

#[async_trait::async_trait]
impl MultipartUpload for FaultUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (part, store, at) = (self.inner.put_part(data), self.store.clone(), self.at.clone());
        async move { store.run(&at, part).await }.boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let store = self.store.clone();
        let outcome = store.run(&self.at, self.inner.complete()).await;
        if outcome.is_ok() {
            self.store.shared.open_uploads.fetch_sub(1, Ordering::SeqCst);
        }
        outcome
    }

    async fn abort(&mut self) -> Result<()> {
        self.store.shared.open_uploads.fetch_sub(1, Ordering::SeqCst);
        // An upload whose completion got lost cannot be aborted any more.
        let _ = self.inner.abort().await;
        Ok(())
    }
}
