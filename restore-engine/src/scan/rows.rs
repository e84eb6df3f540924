//! All rows of bucket `key`, in order of revision.

use std::ops::ControlFlow;

use etcdr_schemas::ReadAt;

use super::leaf::{bad_row, follows};
use crate::format::bolt::page::Node;
use crate::format::bolt::visit::{LeafVisitor, walk};
use crate::format::bolt::{Bucket, Db};
use crate::format::mvcc::{KeyValue, RowKey};
use crate::{Error, Result};

/// One row of the key space, borrowed from a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row<'a> {
    /// Its number, from 0.
    pub index: u32,
    /// Its revision, and whether it deletes.
    pub at: RowKey,
    /// What it holds; of a deletion, the key.
    pub kv: KeyValue<'a>,
    /// Its key in the bucket: the revision, as it is stored.
    pub raw: &'a [u8],
    /// Its value in the bucket: the protobuf message that `kv` was read from.
    pub message: &'a [u8],
}

/// Takes a row, and says whether to go on.
pub type VisitRow<'a> = dyn FnMut(Row<'_>) -> Result<ControlFlow<()>> + 'a;

/// Parses rows, each of which must follow the one before it.
#[derive(Debug, Default)]
struct Sequence {
    next: u32,
    last: Option<RowKey>,
}

impl Sequence {
    fn row<'a>(&mut self, raw: &'a [u8], message: &'a [u8]) -> Result<Row<'a>> {
        let bad = |problem| bad_row(raw, problem);
        let at = RowKey::parse(raw).ok_or_else(|| bad("the key is no revision"))?;
        follows(self.last.replace(at), at)?;
        let kv = KeyValue::parse(message).ok_or_else(|| bad("the value is no KeyValue"))?;
        let index = self.next;
        let limit = Error::Limit { what: "rows in a database", limit: u64::from(u32::MAX) };
        self.next = index.checked_add(1).ok_or(limit)?;
        Ok(Row { index, at, kv, raw, message })
    }
}

/// Gives every row to `visit`. Pages are read one after the other, in order of their rows, so that
/// this takes next to no memory.
pub(crate) fn rows<R: ReadAt>(
    db: &Db<R>,
    key: &Bucket,
    visit: &mut dyn FnMut(Row<'_>) -> Result<()>,
) -> Result<()> {
    let mut sequence = Sequence::default();
    db.scan(key, &mut |raw, message| {
        visit(sequence.row(raw, message)?)?;
        Ok(ControlFlow::Continue(()))
    })
}

/// Gives every row to `visit`, for an image that is expensive to read at random: `workers` threads
/// read the leaves in file order and copy them, so that the rows can be given in key order.
pub(crate) fn rows_on<R: ReadAt>(
    db: &Db<R>,
    key: &Bucket,
    workers: usize,
    visit: &mut VisitRow<'_>,
) -> Result<()> {
    let mut sequence = Sequence::default();
    walk(db, key, workers, &Copies, &mut |leaves| {
        for (page, copy) in leaves {
            let damaged = |problem| db.damaged(page, problem);
            for element in Node::parse(&copy).map_err(damaged)?.rows() {
                let element = element.map_err(damaged)?;
                if visit(sequence.row(element.key, element.value)?)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    })
}

/// Copies leaves, so that they can wait until those before them were read.
struct Copies;

impl LeafVisitor for Copies {
    type ThreadCache = ();
    type Out = Vec<u8>;

    fn leaf(&self, (): &mut (), _: u64, node: &Node<'_>) -> (Vec<u8>, usize) {
        let copy = node.bytes().to_vec();
        let weight = copy.len();
        (copy, weight)
    }
}
