//! A database written anew from an ordered scan: packed, in order, with nothing of what free pages
//! still hold, and without what was asked to be left out.
//!
//! Rows stream from one file to the other. What must be known of all rows before the first is
//! written (which are the newest of their keys, which keys are attached to leases that were due)
//! comes from a prescan before; it costs one bit a row and tables of bounded size, whatever the
//! size of the database.

mod filter;
mod leases;
mod prescan;
mod rewrite;

use crate::error::Error;

pub(crate) use leases::{Dangling, dangling, repair_rows, report};
pub(crate) use prescan::Prescan;
pub(crate) use rewrite::{Outcome, Tally, rewrite, tally};

fn too_many_keys() -> Error {
    Error::Limit { what: "keys in a database", limit: 1 << 50 }
}
