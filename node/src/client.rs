//! A connection to one etcd member, and what it can be asked.

use std::sync::Arc;
use std::time::Duration;

use etcdr_schemas::Revision;
use etcdr_schemas::manifest::{Alarm, Member};
use etcdr_schemas::pb::etcd as pb;
use prost::Message;
use tonic::client::Grpc;
use tonic::codegen::http::Uri;
use tonic::codegen::http::uri::{PathAndQuery, Scheme};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Streaming};
use tonic_prost::ProstCodec;

use crate::auth::{Auth, Token};
use crate::call::{self, Call, Parties};
use crate::dial::Dialer;
use crate::endpoint::Target;
use crate::error::Error;
use crate::kv::Writer;
use crate::maintenance::Maintenance;
use crate::options::ConnectOptions;
use crate::reply::{self, HashKvReply, Status};
use crate::snapshot::SnapshotStream;
use crate::tls;

/// How much of a stream may be on its way to us. It bounds the memory of a slow consumer, and it must
/// be more than a round trip's worth of data, or the stream waits for our acknowledgements.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
/// etcd hangs up on clients that ping more often than every 5 s.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// One connection to one etcd member. Cheap to clone; clones share the connection and the token.
#[derive(Clone)]
pub struct Client {
    channel: Channel,
    shared: Arc<Shared>,
}

struct Shared {
    parties: Parties,
    auth: Auth,
    command_timeout: Duration,
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
    /// With TLS 1.3 a server judges the client certificate after the handshake; its refusal may show
    /// at the first call only.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::File`], [`Error::Connect`], [`Error::Tls`], [`Error::Timeout`],
    /// and [`Error::Unauthenticated`] for a wrong password.
    pub async fn connect(options: &ConnectOptions) -> Result<Self, Error> {
        let target = Target::parse(&options.endpoint, options.has_tls_files())?;
        let auth = Auth::new(options)?;
        let tls = if target.is_tls() { Some(tls::config(options).await?) } else { None };
        let dialer = Dialer::new(target.clone(), tls).ok_or_else(|| Error::Config {
            what: format!("no certificate can name the host of {}", target.label),
        })?;
        let parties = Parties {
            endpoint: target.label.clone(),
            user: auth.credentials().map(|credentials| credentials.name.clone()),
            certified: options.cert.is_some(),
            dial_timeout: options.dial_timeout,
            verdict: dialer.verdict(),
        };
        let channel = dial(&target, dialer, &parties).await?;
        let shared = Shared { parties, auth, command_timeout: options.command_timeout };
        let client = Self { channel, shared: Arc::new(shared) };
        client.log_in().await?;
        Ok(client)
    }

    /// The endpoint as it was given.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.shared.parties.endpoint
    }

    /// The member's own account of itself. It needs no leader.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn status(&self) -> Result<Status, Error> {
        self.unary(call::STATUS, pb::StatusRequest {}).await.map(Status::new)
    }

    /// The members of the cluster. A linearizable list needs a leader (etcd 3.5 and later; 3.4 always
    /// answers from its own memory).
    ///
    /// # Errors
    /// Those of any call.
    pub async fn member_list(&self, linearizable: bool) -> Result<Vec<Member>, Error> {
        let request = pb::MemberListRequest { linearizable };
        let reply: pb::MemberListResponse = self.unary(call::MEMBER_LIST, request).await?;
        Ok(reply.members.into_iter().map(reply::member).collect())
    }

    /// The alarms that are raised.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn alarms(&self) -> Result<Vec<Alarm>, Error> {
        let request = pb::AlarmRequest { action: 0, member_id: 0, alarm: 0 };
        let reply: pb::AlarmResponse = self.unary(call::ALARM, request).await?;
        Ok(reply.alarms.into_iter().map(reply::alarm).collect())
    }

    /// This member's hash of the key space at a revision; `None` for the current one. The member
    /// reads its whole key space for it. With authentication on, etcd wants a user with the root role.
    ///
    /// # Errors
    /// Those of any call; [`Error::Revision`] when the revision is compacted or still to come.
    pub async fn hash_kv(&self, at: Option<Revision>) -> Result<HashKvReply, Error> {
        let at = at.unwrap_or(Revision(0));
        let reply = self.unary(call::HASH_KV, pb::HashKvRequest { revision: at.0 }).await?;
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
            self.shared.parties.nonsense(call::RANGE.name, "the answer has no header")
        })?;
        Ok(Revision(header.revision))
    }

    /// Ids of the leases that are alive.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn lease_ids(&self) -> Result<Vec<i64>, Error> {
        let request = pb::LeaseLeasesRequest {};
        let reply: pb::LeaseLeasesResponse = self.unary(call::LEASE_LEASES, request).await?;
        Ok(reply.leases.into_iter().map(|lease| lease.id).collect())
    }

    /// Reads a range of keys. An answer of more than 64 MiB is an error: page with `limit`.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn range(&self, request: pb::RangeRequest) -> Result<pb::RangeResponse, Error> {
        self.unary(call::RANGE, request).await
    }

    /// Opens a snapshot of this member and waits for its first bytes. `stall` is the longest time
    /// that the stream may bring nothing while it is waited for. With authentication on, etcd wants
    /// a user with the root role.
    ///
    /// # Errors
    /// Those of any call, and those of [`SnapshotStream`] for its beginning.
    pub async fn snapshot(&self, stall: Duration) -> Result<SnapshotStream, Error> {
        let attempt = || async {
            let messages = self.open_stream(call::SNAPSHOT, pb::SnapshotRequest {}, stall).await?;
            SnapshotStream::begin(messages, self.shared.parties.clone(), stall).await
        };
        match attempt().await {
            Err(error) if error.is_stale_token() && self.log_in().await? => attempt().await,
            other => other,
        }
    }

    /// The calls that change data: for demos, drills and tests.
    #[must_use]
    pub const fn writer(&self) -> Writer<'_> {
        Writer::new(self)
    }

    /// Defragmentation and compaction.
    #[must_use]
    pub const fn maintenance(&self) -> Maintenance<'_> {
        Maintenance::new(self)
    }

    /// One call with one answer. A token that etcd no longer knows (it restarted, or the token's time
    /// is over) is renewed once.
    pub(crate) async fn unary<Q, A>(&self, call: Call, request: Q) -> Result<A, Error>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        match self.unary_with(call, request.clone(), self.shared.auth.token()).await {
            Err(error) if error.is_stale_token() && self.log_in().await? => {
                self.unary_with(call, request, self.shared.auth.token()).await
            }
            other => other,
        }
    }

    async fn unary_with<Q, A>(
        &self,
        call: Call,
        request: Q,
        token: Option<Token>,
    ) -> Result<A, Error>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let limit = call.limit(self.shared.command_timeout);
        let path = PathAndQuery::from_static(call.path);
        let exchange = async {
            let mut grpc = self.grpc(call).await?;
            let answer = grpc.unary(with_token(request, token), path, ProstCodec::default()).await;
            answer.map_err(|status| self.shared.parties.explain(call.name, &status))
        };
        let late = |_| self.shared.parties.late(call.name, limit);
        Ok(tokio::time::timeout(limit, exchange).await.map_err(late)??.into_inner())
    }

    async fn open_stream<Q, A>(
        &self,
        call: Call,
        request: Q,
        limit: Duration,
    ) -> Result<Streaming<A>, Error>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let request = with_token(request, self.shared.auth.token());
        let path = PathAndQuery::from_static(call.path);
        let exchange = async {
            let mut grpc = self.grpc(call).await?;
            let answer = grpc.server_streaming(request, path, ProstCodec::default()).await;
            answer.map_err(|status| self.shared.parties.explain(call.name, &status))
        };
        let late = |_| self.shared.parties.late(call.name, limit);
        Ok(tokio::time::timeout(limit, exchange).await.map_err(late)??.into_inner())
    }

    async fn grpc(&self, call: Call) -> Result<Grpc<Channel>, Error> {
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(call.max_reply);
        let ready = grpc.ready().await;
        ready.map_err(|error| self.shared.parties.broken(Some(call.name), &error))?;
        Ok(grpc)
    }

    /// Gets a token for the user, if there is one. Says whether trying again makes sense.
    async fn log_in(&self) -> Result<bool, Error> {
        let Some(credentials) = self.shared.auth.credentials().cloned() else {
            return Ok(false);
        };
        let request =
            pb::AuthenticateRequest { name: credentials.name, password: credentials.password };
        let answer: Result<pb::AuthenticateResponse, Error> =
            self.unary_with(call::AUTHENTICATE, request, None).await;
        let token = match answer {
            Ok(reply) => Some(self.parse_token(&reply.token)?),
            Err(Error::Rpc { message, .. })
                if message.contains("authentication is not enabled") =>
            {
                tracing::debug!(endpoint = self.endpoint(), "a user was given and etcd has none");
                None
            }
            Err(error) => return Err(error),
        };
        self.shared.auth.keep(token);
        Ok(true)
    }

    fn parse_token(&self, text: &str) -> Result<Token, Error> {
        let mut token: Token = text.parse().map_err(|_| {
            self.shared.parties.nonsense(call::AUTHENTICATE.name, "the token is not text")
        })?;
        token.set_sensitive(true);
        Ok(token)
    }
}

fn with_token<Q>(message: Q, token: Option<Token>) -> Request<Q> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        // The name of the metadata is etcd's (`rpctypes.TokenFieldNameGRPC`).
        request.metadata_mut().insert("token", token);
    }
    request
}

async fn dial(target: &Target, dialer: Dialer, parties: &Parties) -> Result<Channel, Error> {
    // The scheme of its own URI would make tonic set up TLS; requests carry the true one.
    let mut plain = target.uri.clone().into_parts();
    plain.scheme = Some(Scheme::HTTP);
    let plain = Uri::from_parts(plain).unwrap_or_else(|_| target.uri.clone());
    let endpoint = Endpoint::from(plain)
        .origin(target.uri.clone())
        .connect_timeout(parties.dial_timeout)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT);
    let connector = tower::service_fn(move |_| dialer.clone().dial());
    let dialled = endpoint.connect_with_connector(connector).await;
    dialled.map_err(|error| parties.broken(None, &error))
}
