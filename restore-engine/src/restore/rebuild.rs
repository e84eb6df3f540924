//! A database written anew from an ordered scan: packed, in order, with nothing of what free pages still
//! hold, and without what was asked to be left out.
//!
//! Rows stream from one file to the other. What must be known of all rows before the first is written (which
//! are the newest of their keys, which keys are attached to leases that were due) comes from a survey before;
//! it costs one bit a row and tables of bounded size, whatever the size of the database.

mod filter;
mod leases;
mod rewrite;
mod survey;

use std::ops::ControlFlow;

use etcdr_schemas::ReadAt;

use crate::error::{Error, Result};
use crate::format::bolt::{Bucket, Db};
use crate::format::mvcc::{KeyValue, RowKey};
use crate::scan::leaf::bad_row;

pub(crate) use leases::{Dangling, dangling, repair_rows, report};
pub(crate) use rewrite::{Outcome, Tally, rewrite, tally};
pub(crate) use survey::Survey;

/// A row of bucket `key`.
#[derive(Debug, Clone, Copy)]
struct Row<'a> {
    /// Its number in the source, from 0.
    index: u32,
    at: RowKey,
    raw: &'a [u8],
    message: &'a [u8],
    value: KeyValue<'a>,
}

/// Gives every row of bucket `key` in order.
fn rows<R: ReadAt>(
    db: &Db<R>,
    key: &Bucket,
    visit: &mut dyn FnMut(Row<'_>) -> Result<()>,
) -> Result<()> {
    let mut index = 0;
    let mut last = None;
    db.scan(key, &mut |raw, message| {
        let at = RowKey::parse(raw).ok_or_else(|| bad_row(raw, "the key is no revision"))?;
        if last.is_some_and(|last| at <= last) {
            return Err(bad_row(raw, "the key is not above the one before it"));
        }
        last = Some(at);
        let value =
            KeyValue::parse(message).ok_or_else(|| bad_row(raw, "the value is no KeyValue"))?;
        visit(Row { index, at, raw, message, value })?;
        let limit = Error::Limit { what: "rows in a database", limit: u64::from(u32::MAX) };
        index = u32::checked_add(index, 1).ok_or(limit)?;
        Ok(ControlFlow::Continue(()))
    })
}

fn too_many_keys() -> Error {
    Error::Limit { what: "keys in a database", limit: 1 << 50 }
}
