//! Care for a member's database: what an agent may do to a cluster that it never writes keys into.
//!
//! A type of its own beside [`crate::Writer`], so that a reader of a source file sees which of the
//! two it holds.

use etcdr_schemas::Revision;
use etcdr_schemas::pb::etcd as pb;

use crate::call;
use crate::connection::Connection;
use crate::error::Error;

/// Maintains through a [`crate::Client`].
#[derive(Debug, Clone, Copy)]
pub struct Maintenance<'c> {
    connection: &'c Connection,
}

impl<'c> Maintenance<'c> {
    pub(crate) const fn new(connection: &'c Connection) -> Self {
        Self { connection }
    }

    /// Rewrites the database file of this member without free pages. The member serves nobody
    /// meanwhile, and answers when it is done; the time limit is thirty times that of a short call.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn defragment(&self) -> Result<(), Error> {
        let request = pb::DefragmentRequest {};
        let _: pb::DefragmentResponse = self.connection.unary(call::DEFRAGMENT, request).await?;
        Ok(())
    }

    /// Drops the history before a revision, in the whole cluster. With `physical` the answer comes
    /// when it is gone from this member's database; without, when the cluster has agreed on it.
    ///
    /// # Errors
    /// Those of any call; [`Error::Revision`] when that has been compacted before or is still to
    /// come.
    pub async fn compact(&self, at: Revision, physical: bool) -> Result<(), Error> {
        let request = pb::CompactionRequest { revision: at.0, physical };
        let _: pb::CompactionResponse = self.connection.unary(call::COMPACT, request).await?;
        Ok(())
    }
}
