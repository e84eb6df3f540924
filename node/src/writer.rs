//! Calls that change an etcd's data: for demos, drills and tests.
//!
//! They have a type of their own, so that a reader (and a test of the sources) can see that no code
//! which backs up a cluster ever writes to it.

use bytes::Bytes;
use etcdr_schemas::Revision;
use etcdr_schemas::pb::etcd as pb;

use crate::call;
use crate::connection::Connection;
use crate::error::Error;
use crate::maintenance::Maintenance;

/// Writes through a [`crate::Client`].
#[derive(Debug, Clone, Copy)]
pub struct Writer<'c> {
    connection: &'c Connection,
}

impl<'c> Writer<'c> {
    pub(crate) const fn new(connection: &'c Connection) -> Self {
        Self { connection }
    }

    /// Puts one key; `lease` 0 for none. Gives the revision of the write.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn put(
        &self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
        lease: i64,
    ) -> Result<Revision, Error> {
        let request = pb::PutRequest { key: key.into(), value: value.into(), lease };
        let reply: pb::PutResponse = self.connection.unary(call::PUT, request).await?;
        Ok(revision(reply.header))
    }

    /// Puts several different keys in one transaction, at one revision. etcd takes 128 of them and
    /// 1.5 MiB by default.
    ///
    /// # Errors
    /// Those of any call; [`Error::Rpc`] for too many keys, or one twice.
    pub async fn txn_put(
        &self,
        pairs: impl IntoIterator<Item = (Bytes, Bytes)>,
        lease: i64,
    ) -> Result<Revision, Error> {
        let put = |(key, value)| {
            pb::request_op::Request::RequestPut(pb::PutRequest { key, value, lease })
        };
        let success =
            pairs.into_iter().map(|pair| pb::RequestOp { request: Some(put(pair)) }).collect();
        let reply: pb::TxnResponse =
            self.connection.unary(call::TXN, pb::TxnRequest { success }).await?;
        Ok(revision(reply.header))
    }

    /// Deletes the keys from `key` to before `range_end`; only `key` when `range_end` is empty.
    /// Gives the number of deleted keys.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn delete_range(
        &self,
        key: impl Into<Bytes>,
        range_end: impl Into<Bytes>,
    ) -> Result<u64, Error> {
        let request = pb::DeleteRangeRequest { key: key.into(), range_end: range_end.into() };
        let reply: pb::DeleteRangeResponse =
            self.connection.unary(call::DELETE_RANGE, request).await?;
        Ok(u64::try_from(reply.deleted).unwrap_or(0))
    }

    /// Drops the history before a revision and waits until it is gone from the database.
    ///
    /// # Errors
    /// Those of any call; [`Error::Revision`] when that has been compacted before or is still to
    /// come.
    pub async fn compact(&self, at: Revision) -> Result<(), Error> {
        Maintenance::new(self.connection).compact(at, true).await
    }

    /// Grants a lease of `ttl` seconds and gives its id.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn lease_grant(&self, ttl: i64) -> Result<i64, Error> {
        let request = pb::LeaseGrantRequest { ttl, id: 0 };
        let reply: pb::LeaseGrantResponse =
            self.connection.unary(call::LEASE_GRANT, request).await?;
        Ok(reply.id)
    }

    /// Rewrites the database file of this member without free pages. The member serves nobody
    /// meanwhile.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn defragment(&self) -> Result<(), Error> {
        Maintenance::new(self.connection).defragment().await
    }
}

fn revision(header: Option<pb::ResponseHeader>) -> Revision {
    Revision(header.unwrap_or_default().revision)
}
