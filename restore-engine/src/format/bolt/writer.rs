//! Bulk writing: rows in key order become pages, bottom up, in one pass.
//!
//! Pages are written as they fill, so memory is one page for each level of one tree, whatever the
//! size of the database. The metas come last.

use std::io::{Seek, SeekFrom, Write};

use super::meta::Meta;
use super::page::{BUCKET_FLAG, MAX_LOGICAL_PAGE, MAX_PAGE_SIZE, MIN_PAGE_SIZE};
use super::tree::{PageOut, Tree, TreeBuilder, bucket_value, inline_limit};
use crate::{Error, Result};

/// Transaction number of a fresh database.
const FIRST_TXID: u64 = 1;

/// Writes a whole database: buckets in order of their names, rows in key order.
#[derive(Debug)]
pub struct Writer<W> {
    out: PageOut<W>,
    names: TreeBuilder,
    page_size: u32,
    bucket: Option<(Vec<u8>, TreeBuilder)>,
}

impl<W: Write + Seek> Writer<W> {
    /// Starts a database at the beginning of `out`.
    ///
    /// # Errors
    /// When the page size is not a power of two from 1 KiB to 64 KiB, or `out` fails.
    pub fn create(mut out: W, page_size: u32) -> Result<Self> {
        if !page_size.is_power_of_two() || !(MIN_PAGE_SIZE..=MAX_PAGE_SIZE).contains(&page_size) {
            let limit = u64::from(MAX_PAGE_SIZE);
            return Err(Error::Limit { what: "bytes in a page", limit });
        }
        // The metas are written last: they name the root, and until then the file is no valid
        // database.
        let space = vec![0; 2 * page_size as usize];
        let at = |source| Error::Write { page: 0, source };
        out.seek(SeekFrom::Start(0)).map_err(at)?;
        out.write_all(&space).map_err(at)?;
        let out = PageOut::new(out, page_size, 2);
        Ok(Self { out, names: TreeBuilder::default(), page_size, bucket: None })
    }

    /// Starts a bucket; the one before is finished.
    ///
    /// # Errors
    /// When the name is not above the one before, or `out` fails.
    pub fn bucket(&mut self, name: &[u8]) -> Result<()> {
        self.close()?;
        self.bucket = Some((name.to_vec(), TreeBuilder::default()));
        Ok(())
    }

    /// Adds a row to the bucket that was started last.
    ///
    /// # Errors
    /// When the key is not above the one before, no bucket was started, or `out` fails.
    pub fn row(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let Some((name, tree)) = &mut self.bucket else {
            let bucket = String::new();
            return Err(Error::Rows { bucket, problem: "no bucket was started" });
        };
        tree.push(&mut self.out, 0, key, value).map_err(|error| error.in_bucket(name))
    }

    /// Writes what is left, then the metas, and returns `out`, positioned at the end of the
    /// database.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn finish(mut self) -> Result<W> {
        self.close()?;
        let tree = std::mem::take(&mut self.names).finish(&mut self.out, 0)?;
        let Tree::Page(root) = tree else {
            return Err(Error::Limit { what: "bytes in a page", limit: MAX_LOGICAL_PAGE });
        };
        let (page_size, high_water_mark) = (self.page_size, self.out.next());
        let meta = |txid| Meta { page_size, root, freelist: None, high_water_mark, txid };
        let mut out = self.out.into_inner();
        write_metas(&mut out, &meta(FIRST_TXID))?;
        Ok(out)
    }

    fn close(&mut self) -> Result<()> {
        let Some((name, tree)) = self.bucket.take() else { return Ok(()) };
        let tree = tree.finish(&mut self.out, inline_limit(self.page_size as usize))?;
        self.names
            .push(&mut self.out, BUCKET_FLAG, &name, &bucket_value(&tree))
            .map_err(|error| error.in_bucket(&name))
    }
}

/// Writes both metas of transaction `meta.txid`: that number into the page that bbolt would use for
/// it, and the number before it, with the same content, into the other. Leaves `out` at the end of
/// the database.
pub(crate) fn write_metas<W: Write + Seek>(out: &mut W, meta: &Meta) -> Result<()> {
    let page_size = u64::from(meta.page_size);
    for txid in [meta.txid.saturating_sub(1), meta.txid] {
        // bbolt writes transaction T to meta page T mod 2. Two metas with equal content leave no
        // older state to fall back to, as in a snapshot that etcd sends.
        let page = txid % 2;
        let bytes = Meta { txid, ..*meta }.encode(page);
        let at = |source| Error::Write { page, source };
        out.seek(SeekFrom::Start(page * page_size)).map_err(at)?;
        out.write_all(&bytes).map_err(at)?;
    }
    let end = SeekFrom::Start(meta.high_water_mark.saturating_mul(page_size));
    out.seek(end).map_err(|source| Error::Write { page: meta.high_water_mark, source })?;
    out.flush().map_err(|source| Error::Write { page: meta.high_water_mark, source })
}
