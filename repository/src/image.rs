//! The life of an image before it counts: in flight, staged, stored, proven.
//!
//! Each state is a type. A [`manifest::Image`], without which no manifest can be made, comes out of
//! a [`ProvenImage`] only, and that comes out of a read-back that matched.

pub(crate) mod chunks;
pub(crate) mod layers;
pub(crate) mod opened;
pub(crate) mod pool;
pub(crate) mod random;
pub(crate) mod seal;
pub(crate) mod sealed_image;
pub(crate) mod seek_table;
pub(crate) mod sequential;
pub(crate) mod spool;
pub(crate) mod unpacker;

use bytes::Bytes;
use etcdr_schemas::manifest::{self, Codec, Compression, Encryption};
use etcdr_schemas::{ClusterName, Sha256Digest};
use object_store::path::Path;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::bridge::{self, Blocking, joined};
use crate::error::{Error, Result};
use crate::keys::Recipients;
use crate::store::Store;
use crate::store::sizes::PartSize;
use crate::store::upload;
use seal::{FrameBuffers, Input, Pipeline, PipelineSetup, Sealed, Tap};
use seek_table::FRAME_SIZE;
use spool::{Spool, UploadRoute};

/// Compression level when none is asked for: on two cores it keeps up with etcd's stream.
pub const DEFAULT_LEVEL: i32 = 3;

/// Bytes that are queued together; longer chunks are cut without copying.
const BATCH: usize = 1 << 20;

/// How an image is packed.
#[derive(Debug, Clone)]
pub struct SealOptions {
    /// zstd level, 1 to 19.
    pub level: i32,
    /// Who can open the image; `None` stores it unencrypted.
    pub recipients: Option<Recipients>,
    /// Compression threads, 1 to 16.
    pub workers: usize,
    /// Where sealed bytes may wait for a store that is slower than the source.
    pub spool: Option<Spool>,
}

impl SealOptions {
    /// Level 3, and two to four threads as the machine has cores.
    #[must_use]
    pub fn new(recipients: Option<Recipients>) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self { level: DEFAULT_LEVEL, recipients, workers: cores.clamp(2, 4), spool: None }
    }

    fn codec(&self) -> Codec {
        let recipients = |list: &Recipients| list.texts().to_vec();
        Codec {
            compression: Some(Compression::Zstd { level: self.level, frame_size: FRAME_SIZE }),
            encryption: self
                .recipients
                .as_ref()
                .map(|list| Encryption::Age { recipients: recipients(list) }),
        }
    }
}

/// An image on its way into the store. Dropping it aborts the upload in the background;
/// [`ImageUpload::abort`] waits for that.
pub struct ImageUpload<T> {
    stages: Option<Stages<T>>,
    /// What was taken and not yet given to the pipeline.
    batch: Vec<Bytes>,
    batched: usize,
    cluster: ClusterName,
    key: Path,
    codec: Codec,
}

struct Stages<T> {
    pipeline: Pipeline<T>,
    /// From the spool to the upload, where there is one.
    spooling: Option<Blocking<()>>,
    upload: JoinHandle<Result<()>>,
}

impl<T: Tap> ImageUpload<T> {
    pub(crate) async fn begin(
        store: Store,
        cluster: ClusterName,
        key: Path,
        options: SealOptions,
        tap: T,
        part_size: PartSize,
    ) -> Result<Self> {
        let handle = Handle::current();
        let codec = options.codec();
        let recipients = options.recipients;
        // Before a byte is asked of etcd: a plugin that is missing must not cost a whole stream.
        let encryptor = bridge::blocking(&handle, move || {
            recipients.as_ref().map(Recipients::encryptor).transpose()
        });
        let workers = options.workers.clamp(1, 16);
        let buffers = FrameBuffers::new(workers);
        let setup = PipelineSetup {
            workers,
            compress: seal::zstd(options.level.clamp(1, 19), buffers.clone()),
            buffers,
            encryptor: encryptor.join().await?,
        };
        let (writer, parts) = upload::parts(part_size);
        let spool = options.spool;
        let spool = bridge::blocking(&handle, move || Ok(spool.and_then(|spool| spool.open())));
        let (route, spooling) = match spool.join().await? {
            None => (UploadRoute::Straight(writer), None),
            Some((spool, rest)) => {
                let drain = bridge::blocking(&handle, move || rest.drain(writer));
                (UploadRoute::Spooled(spool), Some(drain))
            }
        };
        let pipeline = seal::start(&handle, setup, tap, route);
        let upload = handle.spawn(upload::run(store, key.clone(), parts));
        let stages = Stages { pipeline, spooling, upload };
        let (batch, batched) = (Vec::new(), 0);
        Ok(Self { stages: Some(stages), batch, batched, cluster, key, codec })
    }

    /// Takes the next bytes; waits while the pipeline is full.
    ///
    /// # Errors
    /// What made the pipeline fail, whichever stage it was: the store, a stage, or the tap.
    pub async fn write(&mut self, mut chunk: Bytes) -> Result<()> {
        while !chunk.is_empty() {
            let piece = chunk.split_to(chunk.len().min(BATCH));
            self.batched += piece.len();
            self.batch.push(piece);
            if self.batched >= BATCH {
                self.hand_over().await?;
            }
        }
        Ok(())
    }

    async fn hand_over(&mut self) -> Result<()> {
        self.batched = 0;
        let batch = std::mem::take(&mut self.batch);
        let Some(stages) = &self.stages else { return Err(Error::Stopped) };
        if stages.pipeline.input.send(Input::Chunks(batch)).await.is_ok() {
            return Ok(());
        }
        let stages = self.stages.take();
        Err(stop(stages).await.err().unwrap_or(Error::Stopped))
    }

    /// The stream is complete: asks the tap, ends the age file, completes the upload.
    ///
    /// # Errors
    /// As [`ImageUpload::write`]; then the upload was aborted.
    pub async fn finish(mut self) -> Result<(StagedImage, T)> {
        self.hand_over().await?;
        let Some(stages) = self.stages.take() else { return Err(Error::Stopped) };
        // A pipeline that is gone says why below.
        let _ = stages.pipeline.input.send(Input::End).await;
        let (tap, plain_size, sealed) = join(stages).await?;
        let object = Described {
            cluster: self.cluster.clone(),
            key: self.key.clone(),
            codec: self.codec.clone(),
            plain_size,
            sealed,
        };
        Ok((StagedImage(object), tap))
    }

    /// Gives the upload up, and waits until nothing of it is left.
    pub async fn abort(mut self) {
        // The outcome is known: it was stopped.
        let _ = stop(self.stages.take()).await;
    }
}

/// Closes the input without the end mark, which stops every stage.
async fn stop<T>(stages: Option<Stages<T>>) -> Result<()> {
    match stages {
        Some(stages) => join(stages).await.map(drop),
        None => Ok(()),
    }
}

/// Waits for all stages. One failure ends the others with [`Error::Stopped`]; the cause is
/// reported.
async fn join<T>(stages: Stages<T>) -> Result<(T, u64, Sealed)> {
    let Stages { pipeline: Pipeline { input, framing, sealing }, spooling, upload } = stages;
    drop(input);
    let framed = framing.join().await;
    let sealed = sealing.join().await;
    let spooled = match spooling {
        Some(spooling) => spooling.join().await,
        None => Ok(()),
    };
    let uploaded = joined(upload.await);
    match (uploaded, spooled, sealed, framed) {
        (Ok(()), Ok(()), Ok(sealed), Ok((tap, size))) => Ok((tap, size, sealed)),
        (uploaded, spooled, sealed, framed) => {
            let errors = [uploaded.err(), spooled.err(), sealed.err(), framed.err()];
            let cause = errors.into_iter().flatten().find(|error| !matches!(error, Error::Stopped));
            Err(cause.unwrap_or(Error::Stopped))
        }
    }
}

/// What is known of an object that was written.
#[derive(Debug, Clone)]
pub(crate) struct Described {
    pub(crate) cluster: ClusterName,
    pub(crate) key: Path,
    pub(crate) codec: Codec,
    pub(crate) plain_size: u64,
    pub(crate) sealed: Sealed,
}

/// An image that is complete under its staging key.
#[derive(Debug)]
#[must_use = "publish it or discard it"]
pub struct StagedImage(pub(crate) Described);

/// An image under its final key, not yet read back.
#[derive(Debug)]
#[must_use = "read it back or discard it"]
pub struct StoredImage(pub(crate) Described);

/// An image whose stored bytes were read back and matched.
#[derive(Debug)]
pub struct ProvenImage(pub(crate) Described);

impl StagedImage {
    /// Bytes that went in.
    #[must_use]
    pub const fn plain_size(&self) -> u64 {
        self.0.plain_size
    }

    /// Bytes that are stored.
    #[must_use]
    pub const fn stored_size(&self) -> u64 {
        self.0.sealed.stored_size
    }
}

impl StoredImage {
    /// Key under the repository's root.
    #[must_use]
    pub fn key(&self) -> &str {
        self.0.key.as_ref()
    }

    /// Bytes that are stored.
    #[must_use]
    pub const fn stored_size(&self) -> u64 {
        self.0.sealed.stored_size
    }
}

impl ProvenImage {
    /// The image as a manifest describes it. `plain_sha256` is the digest of all bytes that went
    /// in, as the caller's tap computed it: hashing twice would cost a save a third of its speed.
    #[must_use]
    pub fn describe(&self, plain_sha256: Sha256Digest) -> manifest::Image {
        manifest::Image {
            key: self.0.key.to_string(),
            plain_size: self.0.plain_size,
            plain_sha256,
            stored_size: self.0.sealed.stored_size,
            stored_sha256: self.0.sealed.stored_sha256,
            codec: self.0.codec.clone(),
        }
    }
}
