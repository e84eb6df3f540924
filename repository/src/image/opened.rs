//! An image whose two ends were read: its header, and the seek table that bounds everything after.

use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use etcdr_schemas::manifest::{Compression, Image};
use tokio::runtime::Handle;

use crate::bridge;
use crate::error::{Error, Result};
use crate::image::layers::{ObjectReader, PackedReader};
use crate::image::seek_table::{Expected, FOOTER, MAX_FRAME_SIZE, SeekTable};
use crate::keys::Identities;
use crate::store::fetch::Object;

/// Bytes of one request at the end of an image: the seek table of an 8 GiB database fits.
const TAIL: u64 = 128 << 10;

/// An image whose header could be opened and whose seek table fits its manifest: what every
/// reader of it needs.
pub(crate) struct OpenedImage {
    pub(crate) object: Object,
    pub(crate) image: Image,
    pub(crate) identities: Identities,
    pub(crate) table: SeekTable,
    pub(crate) frame_size: u32,
    pub(crate) handle: Handle,
}

impl OpenedImage {
    /// Reads both ends of the object.
    pub(crate) async fn open(object: Object, image: Image, identities: Identities) -> Result<Self> {
        let handle = Handle::current();
        let frame_size = frame_size(&image)?;
        let runtime = handle.clone();
        let opening = bridge::blocking(&handle, move || {
            let table = read_table(&object, &image, &identities, frame_size, &runtime)?;
            Ok(Self { object, image, identities, table, frame_size, handle: runtime })
        });
        opening.join().await
    }
}

/// The frame size, in bounds; images are always compressed in format 1.
fn frame_size(image: &Image) -> Result<u32> {
    let Some(Compression::Zstd { frame_size, .. }) = image.codec.compression else {
        return Err(Error::damaged(&image.key, "its manifest names no compression"));
    };
    if (1..=MAX_FRAME_SIZE).contains(&frame_size) {
        return Ok(frame_size);
    }
    let reason = format!(
        "its manifest gives a frame size of {frame_size}, at most {MAX_FRAME_SIZE} is read"
    );
    Err(Error::damaged(&image.key, reason))
}

fn read_table(
    object: &Object,
    image: &Image,
    identities: &Identities,
    frame_size: u32,
    handle: &Handle,
) -> Result<SeekTable> {
    let failed = |error| Error::from_io(&image.key, error);
    let ahead = Arc::new(AtomicU64::new(TAIL));
    let stored = ObjectReader::new(object.clone(), handle.clone(), ahead);
    let mut packed = PackedReader::open(image, identities, stored)?;
    // For an age file this authenticates the last chunk, and with it the length.
    let packed_size = packed.seek(SeekFrom::End(0)).map_err(failed)?;
    let plain_size = image.plain_size;
    let expected = Expected { key: &image.key, plain_size, frame_size, packed_size };
    let mut read_last = |size: u64| -> Result<Vec<u8>> {
        let at = packed_size.checked_sub(size);
        let at =
            at.ok_or_else(|| Error::damaged(&image.key, "it is too short for a seek table"))?;
        packed.seek(SeekFrom::Start(at)).map_err(failed)?;
        // Bounded: the footer is 9 bytes, and the table was checked against the limit on frames.
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        packed.read_exact(&mut bytes).map_err(failed)?;
        Ok(bytes)
    };
    let size = SeekTable::size_from_footer(&read_last(FOOTER)?, expected)?;
    SeekTable::parse(&read_last(size)?, expected)
}
