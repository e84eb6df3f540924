//! What any gRPC tool finds on the socket without knowing the service.

use std::collections::BTreeSet;

use etcdr_schemas::pb::ADMIN_DESCRIPTOR;
use prost::Message;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::admin::{at, start};

const SERVICE: &str = "etcdr.admin.v1.Admin";

/// As much of `google.protobuf.FileDescriptorSet` as names services and methods.
#[derive(Clone, PartialEq, prost::Message)]
struct Set {
    #[prost(message, repeated, tag = "1")]
    files: Vec<File>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct File {
    #[prost(string, tag = "2")]
    package: String,
    #[prost(message, repeated, tag = "6")]
    services: Vec<Service>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Service {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    methods: Vec<Method>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Method {
    #[prost(string, tag = "1")]
    name: String,
}

fn methods(files: &[File]) -> BTreeSet<String> {
    let of = files.iter().flat_map(|file| file.services.iter().map(move |one| (file, one)));
    let of = of.filter(|(file, one)| format!("{}.{}", file.package, one.name) == SERVICE);
    of.flat_map(|(_, one)| one.methods.iter().map(|method| method.name.clone())).collect()
}

async fn ask(channel: &Channel, request: MessageRequest) -> MessageResponse {
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(request) };
    let mut client = ServerReflectionClient::new(channel.clone());
    let answer = client.server_reflection_info(tokio_stream::iter([request])).await.unwrap();
    let answer = answer.into_inner().message().await.unwrap().expect("an answer");
    answer.message_response.expect("it says something")
}

#[tokio::test(flavor = "multi_thread")]
async fn any_grpc_tool_finds_the_service_its_methods_and_its_health() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.sock");
    let running = start(&at(&path));
    let connector = tower::service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(hyper_util::rt::TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://agent");
    let channel = endpoint.connect_with_connector(connector).await.unwrap();

    let MessageResponse::ListServicesResponse(listed) =
        ask(&channel, MessageRequest::ListServices(String::new())).await
    else {
        panic!("no list of services")
    };
    let names: BTreeSet<_> = listed.service.iter().map(|one| one.name.as_str()).collect();
    for name in [SERVICE, "grpc.health.v1.Health"] {
        assert!(names.contains(name), "no {name} in {names:?}");
    }
    let symbol = MessageRequest::FileContainingSymbol(SERVICE.to_owned());
    let MessageResponse::FileDescriptorResponse(described) = ask(&channel, symbol).await else {
        panic!("the service is not described")
    };
    let files = described.file_descriptor_proto.iter();
    let files: Vec<_> = files.map(|bytes| File::decode(bytes.as_slice()).unwrap()).collect();
    let found = methods(&files);
    let promised = Set::decode(ADMIN_DESCRIPTOR).unwrap();
    assert_eq!(found, methods(&promised.files));
    assert!(found.len() >= 8 && found.contains("SaveSnapshot"), "{found:?}");
    // Each that is described is known to the server too.
    for method in &found {
        let path = format!("/{SERVICE}/{method}").parse().unwrap();
        let mut grpc = tonic::client::Grpc::new(channel.clone());
        grpc.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<(), ()>::default();
        if let Err(status) = grpc.unary(tonic::Request::new(()), path, codec).await {
            assert_ne!(status.code(), tonic::Code::Unimplemented, "{method}: {status}");
        }
    }

    let mut health = HealthClient::new(channel);
    for service in ["", SERVICE] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status().as_str_name(), "SERVING", "{service:?}");
    }
    let request = HealthCheckRequest { service: "etcdr.admin.v1.Nobody".to_owned() };
    assert_eq!(health.check(request).await.unwrap_err().code(), tonic::Code::NotFound);
    running.stop().await;
}
