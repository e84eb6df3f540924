//! One connection to one etcd member: its channel, its token, and the three shapes of a call over
//! it.

use std::sync::Arc;
use std::time::Duration;

use etcdr_schemas::pb::etcd as pb;
use futures_util::Stream;
use prost::Message;
use tonic::client::Grpc;
use tonic::codegen::http::Uri;
use tonic::codegen::http::uri::{PathAndQuery, Scheme};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Streaming};
use tonic_prost::ProstCodec;

use crate::auth::{Auth, Token};
use crate::call::{self, Call};
use crate::call_context::CallContext;
use crate::dial::Dialer;
use crate::endpoint::Target;
use crate::error::Error;
use crate::options::ConnectOptions;
use crate::tls;

/// How much of a stream may be on its way to us. It bounds the memory of a slow consumer, and it
/// must be more than a round trip's worth of data, or the stream waits for our acknowledgements.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
/// Pings find a peer that vanished without a word, which a stream alone would never notice. etcd
/// hangs up on clients that ping more often than every 5 s.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection. Cheap to clone; clones share the channel and the token.
#[derive(Clone)]
pub(crate) struct Connection {
    channel: Channel,
    shared: Arc<Shared>,
}

struct Shared {
    context: CallContext,
    auth: Auth,
    command_timeout: Duration,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let endpoint = &self.shared.context.endpoint;
        f.debug_struct("Connection").field("endpoint", endpoint).finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects, and logs in when the options name a user.
    pub(crate) async fn open(options: &ConnectOptions) -> Result<Self, Error> {
        let target = Target::parse(&options.endpoint, options.has_tls_files())?;
        let auth = Auth::new(options)?;
        let tls = if target.is_tls() { Some(tls::config(options).await?) } else { None };
        let dialer = Dialer::new(target.clone(), tls).ok_or_else(|| Error::Config {
            what: format!("no certificate can name the host of {}", target.label),
        })?;
        let context = CallContext {
            endpoint: target.label.clone(),
            user: auth.credentials().map(|credentials| credentials.name.clone()),
            certified: options.cert.is_some(),
            dial_timeout: options.dial_timeout,
            last_fault: dialer.last_fault(),
        };
        let channel = dial(&target, dialer, &context).await?;
        let shared = Shared { context, auth, command_timeout: options.command_timeout };
        let connection = Self { channel, shared: Arc::new(shared) };
        connection.log_in().await?;
        Ok(connection)
    }

    /// Who asks whom, for messages.
    pub(crate) fn context(&self) -> &CallContext {
        &self.shared.context
    }

    /// One call with one answer. A token that etcd no longer knows (it restarted, or the token's
    /// time is over) is renewed once.
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
            answer.map_err(|status| self.shared.context.status_error(call.name, &status))
        };
        let late = |_| self.shared.context.timed_out(call.name, limit);
        Ok(tokio::time::timeout(limit, exchange).await.map_err(late)??.into_inner())
    }

    /// One call with a stream of answers, to one request or, for a call that takes more while it
    /// runs, to several: `requests` goes out as it comes. `limit` is the time in which the answers
    /// must begin.
    ///
    /// A stale token is not renewed here, since the requests are gone by then:
    /// [`Connection::with_fresh_token`] repeats the attempt.
    pub(crate) async fn stream<Q, A>(
        &self,
        call: Call,
        requests: impl Stream<Item = Q> + Send + 'static,
        limit: Duration,
    ) -> Result<Streaming<A>, Error>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let requests = with_token(requests, self.shared.auth.token());
        let path = PathAndQuery::from_static(call.path);
        let exchange = async {
            let mut grpc = self.grpc(call).await?;
            let answer = grpc.streaming(requests, path, ProstCodec::default()).await;
            answer.map_err(|status| self.shared.context.status_error(call.name, &status))
        };
        let late = |_| self.shared.context.timed_out(call.name, limit);
        Ok(tokio::time::timeout(limit, exchange).await.map_err(late)??.into_inner())
    }

    /// Runs an attempt, and once more with a fresh token if etcd did not know the one that we have.
    pub(crate) async fn with_fresh_token<T, F: Future<Output = Result<T, Error>>>(
        &self,
        attempt: impl Fn() -> F,
    ) -> Result<T, Error> {
        match attempt().await {
            Err(error) if error.is_stale_token() && self.log_in().await? => attempt().await,
            other => other,
        }
    }

    async fn grpc(&self, call: Call) -> Result<Grpc<Channel>, Error> {
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(call.max_reply);
        let ready = grpc.ready().await;
        ready.map_err(|error| self.shared.context.connection_error(Some(call.name), &error))?;
        Ok(grpc)
    }

    /// Gets a token for the user, if there is one. Returns whether another try can help.
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
                let endpoint = &self.shared.context.endpoint;
                tracing::debug!(endpoint, "a user was given and etcd has none");
                None
            }
            Err(error) => return Err(error),
        };
        self.shared.auth.store_token(token);
        Ok(true)
    }

    fn parse_token(&self, text: &str) -> Result<Token, Error> {
        let mut token: Token = text.parse().map_err(|_| {
            self.shared.context.invalid_reply(call::AUTHENTICATE.name, "the token is not text")
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

async fn dial(target: &Target, dialer: Dialer, context: &CallContext) -> Result<Channel, Error> {
    // The scheme of its own URI would make tonic set up TLS; requests carry the true one.
    let mut plain = target.uri.clone().into_parts();
    plain.scheme = Some(Scheme::HTTP);
    let plain = Uri::from_parts(plain).unwrap_or_else(|_| target.uri.clone());
    let endpoint = Endpoint::from(plain)
        .origin(target.uri.clone())
        .connect_timeout(context.dial_timeout)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT);
    let connector = tower::service_fn(move |_| dialer.clone().dial());
    let dialled = endpoint.connect_with_connector(connector).await;
    dialled.map_err(|error| context.connection_error(None, &error))
}
