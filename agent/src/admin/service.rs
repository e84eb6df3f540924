//! The service as gRPC sees it: which path is which call.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll};

use etcdr_schemas::pb::admin::SaveSnapshotRequest;
use futures_util::future::BoxFuture;
use prost::Message;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::server::{Grpc, NamedService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

use super::{Admin, calls};

/// Name of the service, as its proto says.
pub(super) const NAME: &str = "etcdr.admin.v1.Admin";
/// Bytes of one request.
const MAX_REQUEST: usize = 64 << 10;

/// Answers the calls.
#[derive(Clone)]
pub(super) struct AdminService(pub(super) Arc<Admin>);

impl NamedService for AdminService {
    const NAME: &'static str = NAME;
}

impl Service<http::Request<Body>> for AdminService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let admin = Arc::clone(&self.0);
        Box::pin(async move { Ok(route(admin, request).await) })
    }
}

async fn route(admin: Arc<Admin>, request: http::Request<Body>) -> http::Response<Body> {
    let path = request.uri().path();
    let method = path.strip_prefix('/').and_then(|path| path.strip_prefix(NAME)).unwrap_or("");
    match method {
        "/GetStatus" => unary(admin, request, calls::status).await,
        "/SaveSnapshot" => save(admin, request).await,
        "/ListSnapshots" => unary(admin, request, calls::list).await,
        "/VerifySnapshot" => unary(admin, request, calls::verify).await,
        "/PlanPrune" => unary(admin, request, calls::plan_prune).await,
        "/PauseSchedules" => unary(admin, request, calls::pause).await,
        "/ResumeSchedules" => unary(admin, request, calls::resume).await,
        "/Defragment" => unary(admin, request, calls::defragment).await,
        _ => Status::unimplemented("this agent does not know that call").into_http(),
    }
}

async fn unary<Q, A, F>(
    admin: Arc<Admin>,
    request: http::Request<Body>,
    call: fn(Arc<Admin>, Q) -> F,
) -> http::Response<Body>
where
    Q: Message + Default + 'static,
    A: Message + Default + 'static,
    F: Future<Output = Result<A, Status>> + Send + 'static,
{
    let service = service_fn(move |request: Request<Q>| {
        let answer = call(Arc::clone(&admin), request.into_inner());
        async move { answer.await.map(Response::new) }
    });
    grpc::<Q, A>().unary(service, request).await
}

async fn save(admin: Arc<Admin>, request: http::Request<Body>) -> http::Response<Body> {
    let service = service_fn(move |_: Request<SaveSnapshotRequest>| {
        let answer = calls::save(Arc::clone(&admin));
        async move { answer.await.map(Response::new) }
    });
    grpc().server_streaming(service, request).await
}

fn grpc<Q, A>() -> Grpc<ProstCodec<A, Q>>
where
    Q: Message + Default + 'static,
    A: Message + Default + 'static,
{
    Grpc::new(ProstCodec::default()).max_decoding_message_size(MAX_REQUEST)
}
