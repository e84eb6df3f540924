//! An image that can be read: from the first byte to the last, or at any offset.

use std::sync::Arc;

use etcdr_schemas::manifest::Image;

use crate::error::Result;
use crate::image::chunks::PlainChunks;
use crate::image::opened::OpenedImage;
use crate::image::random::RandomImage;
use crate::image::sequential;
use crate::keys::Identities;
use crate::store::fetch::Object;

/// An image whose header could be opened and whose seek table fits its manifest. Its content is not
/// verified yet: the readers do that.
#[derive(Clone)]
pub struct SealedImage {
    opened: Arc<OpenedImage>,
}

impl SealedImage {
    /// Reads both ends of the object.
    pub(crate) async fn open(object: Object, image: Image, identities: Identities) -> Result<Self> {
        let opened = OpenedImage::open(object, image, identities).await?;
        Ok(Self { opened: Arc::new(opened) })
    }

    /// Bytes of the snapshot file.
    #[must_use]
    pub fn plain_size(&self) -> u64 {
        self.opened.image.plain_size
    }

    /// The snapshot file from the first byte to the last, verified on the way. The iterator blocks:
    /// use it on a thread that may. Errors carry [`crate::Error`] as their inner error.
    #[must_use]
    pub fn chunks(&self) -> PlainChunks {
        sequential::read(&self.opened)
    }

    /// The snapshot file at any offset. Frames are authenticated by age (where encrypted) and by
    /// their zstd checksums; the digest of the whole is not checked.
    #[must_use]
    pub fn random(&self) -> RandomImage {
        RandomImage::new(Arc::clone(&self.opened))
    }
}
