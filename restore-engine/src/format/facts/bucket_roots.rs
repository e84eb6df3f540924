//! Reads the roots of buckets `key` and `meta` from a leaf of the bucket of buckets.

use etcdr_schemas::Revision;

use super::markers::Markers;
use crate::format::bolt::page::Node;
use crate::format::bolt::{Bucket, Problem, Root, bucket_of, inline_node};
use crate::format::buckets;
use crate::format::mvcc::RowKey;
use crate::{Error, Result};

/// The roots of the two buckets that facts come from, as far as they are known.
#[derive(Debug, Clone, Default)]
pub(crate) struct BucketRoots {
    pub(crate) key: Option<KeyRoot>,
    pub(crate) meta: Option<MetaRoot>,
}

#[derive(Debug, Clone)]
pub(crate) enum KeyRoot {
    Page(u64),
    Inline(Option<Revision>),
}

#[derive(Debug, Clone)]
pub(crate) enum MetaRoot {
    Page(u64),
    Inline(Markers),
}

impl BucketRoots {
    /// Reads a leaf of the bucket of buckets.
    pub(crate) fn add(&mut self, page: u64, node: Node<'_>) -> Result<()> {
        let damaged = |problem| Error::Page { page, offset: 0, problem };
        for (index, row) in (0..).zip(node.rows()) {
            let row = row.map_err(damaged)?;
            if row.key != buckets::KEY && row.key != buckets::META {
                continue;
            }
            let bucket = bucket_of(page, index, row).map_err(damaged)?;
            if bucket.name == buckets::KEY {
                self.key = Some(key_root(&bucket).map_err(damaged)?);
            } else {
                self.meta = Some(meta_root(&bucket)?);
            }
        }
        Ok(())
    }
}

fn key_root(bucket: &Bucket) -> Result<KeyRoot, Problem> {
    let image = match &bucket.root {
        Root::Page(id) => return Ok(KeyRoot::Page(*id)),
        Root::Inline { image, .. } => inline_node(image)?,
    };
    let Some(last) = image.count().checked_sub(1) else { return Ok(KeyRoot::Inline(None)) };
    let row = RowKey::parse(image.row(last)?.key).ok_or(Problem::Revision(last))?;
    Ok(KeyRoot::Inline(Some(row.main)))
}

fn meta_root(bucket: &Bucket) -> Result<MetaRoot> {
    match &bucket.root {
        Root::Page(id) => Ok(MetaRoot::Page(*id)),
        Root::Inline { page, image } => {
            let damaged = |problem| Error::Page { page: *page, offset: 0, problem };
            let node = inline_node(image).map_err(damaged)?;
            read_markers(node).map(MetaRoot::Inline)
        }
    }
}

pub(crate) fn read_markers(node: Node<'_>) -> Result<Markers> {
    let mut markers = Markers::default();
    for row in node.rows() {
        let row = row.map_err(|problem| Error::Page { page: 0, offset: 0, problem })?;
        markers.row(row.key, row.value)?;
    }
    Ok(markers)
}
