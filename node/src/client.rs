//! What one etcd member can be asked. Everything here only reads.

use std::time::Duration;

use etcdr_schemas::Revision;
use etcdr_schemas::manifest::{Alarm, Member};
use etcdr_schemas::pb::etcd as pb;
use futures_util::stream;

use crate::call;
use crate::connection::Connection;
use crate::error::Error;
use crate::maintenance::Maintenance;
use crate::options::ConnectOptions;
use crate::reply::{self, HashKvReply, Status};
use crate::snapshot::SnapshotStream;
use crate::writer::Writer;

/// One connection to one etcd member. Cheap to clone; clones share the connection and the token.
#[derive(Clone)]
pub struct Client {
    connection: Connection,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("endpoint", &self.endpoint()).finish_non_exhaustive()
    }
}

impl Client {
    /// Connects, and logs in when the options name a user. An etcd without authentication serves
    /// a named user too, as it does for etcdctl.
    ///
    /// With TLS 1.3 a server judges the client certificate after the handshake; its refusal may
    /// show at the first call only.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::File`], [`Error::Connect`], [`Error::Tls`], [`Error::Timeout`],
    /// and [`Error::Unauthenticated`] for a wrong password.
    pub async fn connect(options: &ConnectOptions) -> Result<Self, Error> {
        Ok(Self { connection: Connection::open(options).await? })
    }

    /// The endpoint as it was given.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.connection.context().endpoint
    }

    /// The member's own account of itself. It needs no leader.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn status(&self) -> Result<Status, Error> {
        self.connection.unary(call::STATUS, pb::StatusRequest {}).await.map(Status::new)
    }

    /// The members of the cluster. A linearizable list needs a leader (etcd 3.5 and later; 3.4
    /// always answers from its own memory).
    ///
    /// # Errors
    /// Those of any call.
    pub async fn member_list(&self, linearizable: bool) -> Result<Vec<Member>, Error> {
        let request = pb::MemberListRequest { linearizable };
        let reply: pb::MemberListResponse =
            self.connection.unary(call::MEMBER_LIST, request).await?;
        Ok(reply.members.into_iter().map(reply::member).collect())
    }

    /// The alarms that are raised.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn alarms(&self) -> Result<Vec<Alarm>, Error> {
        let request = pb::AlarmRequest { action: 0, member_id: 0, alarm: 0 };
        let reply: pb::AlarmResponse = self.connection.unary(call::ALARM, request).await?;
        Ok(reply.alarms.into_iter().map(reply::alarm).collect())
    }

    /// This member's hash of the key space at a revision; `None` for the current one. The member
    /// reads its whole key space for it. With authentication on, etcd wants a user with the root
    /// role.
    ///
    /// # Errors
    /// Those of any call; [`Error::Revision`] when the revision is compacted or still to come.
    pub async fn hash_kv(&self, at: Option<Revision>) -> Result<HashKvReply, Error> {
        let at = at.unwrap_or(Revision(0));
        let reply =
            self.connection.unary(call::HASH_KV, pb::HashKvRequest { revision: at.0 }).await?;
        Ok(HashKvReply::new(at, &reply))
    }

    /// The revision that the cluster, and not only this member, has reached. Needs a leader.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn current_revision(&self) -> Result<Revision, Error> {
        let request = pb::RangeRequest {
            key: vec![0].into(),
            limit: 1,
            count_only: true,
            ..Default::default()
        };
        let reply = self.range(request).await?;
        let header = reply.header.ok_or_else(|| {
            self.connection.context().invalid_reply(call::RANGE.name, "the answer has no header")
        })?;
        Ok(Revision(header.revision))
    }

    /// Ids of the leases that are alive.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn lease_ids(&self) -> Result<Vec<i64>, Error> {
        let request = pb::LeaseLeasesRequest {};
        let reply: pb::LeaseLeasesResponse =
            self.connection.unary(call::LEASE_LEASES, request).await?;
        Ok(reply.leases.into_iter().map(|lease| lease.id).collect())
    }

    /// Reads a range of keys. An answer of more than 64 MiB is an error: page with `limit`.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn range(&self, request: pb::RangeRequest) -> Result<pb::RangeResponse, Error> {
        self.connection.unary(call::RANGE, request).await
    }

    /// Opens a snapshot of this member and waits for its first bytes. `stall` is the longest time
    /// that the stream may bring nothing while it is waited for. With authentication on, etcd wants
    /// a user with the root role.
    ///
    /// # Errors
    /// Those of any call, and those of [`SnapshotStream`] for its beginning.
    pub async fn snapshot(&self, stall: Duration) -> Result<SnapshotStream, Error> {
        let attempt = || async {
            let request = stream::once(std::future::ready(pb::SnapshotRequest {}));
            let messages = self.connection.stream(call::SNAPSHOT, request, stall).await?;
            let context = self.connection.context().clone();
            SnapshotStream::begin(messages, context, stall).await
        };
        self.connection.with_fresh_token(attempt).await
    }

    /// The calls that change data: for demos, drills and tests.
    #[must_use]
    pub const fn writer(&self) -> Writer<'_> {
        Writer::new(&self.connection)
    }

    /// Defragmentation and compaction.
    #[must_use]
    pub const fn maintenance(&self) -> Maintenance<'_> {
        Maintenance::new(&self.connection)
    }
}
