//! A client against servers that misbehave on the wire: streams that are cut, stuck, endless or
//! absurd, and certificates that nobody should accept. The server is made here, so no etcd is
//! needed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use etcdr_node::{Client, ConnectOptions, Error, TlsFault};
use etcdr_schemas::Diagnose;
use etcdr_schemas::pb::etcd::{SnapshotRequest, SnapshotResponse};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tonic::server::{Grpc, ServerStreamingService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

const STALL: Duration = Duration::from_millis(400);

type Messages = BoxStream<'static, Result<SnapshotResponse, Status>>;
type Script = Arc<dyn Fn() -> Messages + Send + Sync>;

struct Scripted(Script);

impl ServerStreamingService<SnapshotRequest> for Scripted {
    type Response = SnapshotResponse;
    type ResponseStream = Messages;
    type Future = BoxFuture<'static, Result<Response<Messages>, Status>>;

    fn call(&mut self, _: Request<SnapshotRequest>) -> Self::Future {
        let messages = (self.0)();
        async move { Ok(Response::new(messages)) }.boxed()
    }
}

/// Answers every request of a connection with the script, until `life` is over.
async fn serve<S>(stream: S, script: Script, life: Duration)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = tower::service_fn(move |request| {
        let script = Scripted(Arc::clone(&script));
        async move {
            let codec = ProstCodec::<SnapshotResponse, SnapshotRequest>::default();
            let answer = Grpc::new(codec).server_streaming(script, request).await;
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new()).http2_only();
    let serving = server
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .into_owned();
    let _ = tokio::time::timeout(life, serving).await;
}

async fn listen(
    script: impl Fn() -> Messages + Send + Sync + 'static,
    life: Duration,
) -> ConnectOptions {
    let (listener, at) = bind().await;
    let script: Script = Arc::new(script);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&script), life));
        }
    });
    ConnectOptions::new(format!("http://{at}"))
}

async fn bind() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("a port");
    (listener, at)
}

fn message(remaining_bytes: u64, len: usize) -> Result<SnapshotResponse, Status> {
    Ok(SnapshotResponse { remaining_bytes, blob: vec![7; len].into(), version: String::new() })
}

const LONG_LIFE: Duration = Duration::from_secs(60);
const DB: u64 = 1 << 20;

/// The messages of a good stream of `DB` bytes, as etcd cuts it.
fn good() -> Vec<Result<SnapshotResponse, Status>> {
    let blobs = (1..=DB >> 15).map(|n| message(DB - (n << 15), 1 << 15));
    blobs.chain([message(0, 32)]).collect()
}

async fn read(options: &ConnectOptions) -> Result<Vec<Bytes>, Error> {
    let client = Client::connect(options).await?;
    let stream = client.snapshot(STALL).await?;
    let chunks: Vec<Result<Bytes, Error>> = stream.collect().await;
    chunks.into_iter().collect()
}

#[tokio::test]
async fn a_good_stream_arrives_whole() {
    let options = listen(|| stream::iter(good()).boxed(), LONG_LIFE).await;
    let chunks = read(&options).await.unwrap();
    assert_eq!(chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>(), DB + 32);
}

#[tokio::test]
async fn a_stream_that_ends_early_is_truncated_wherever_it_ends() {
    for keep in [1, 7, 31, 32] {
        let script = move || stream::iter(good().into_iter().take(keep)).boxed();
        let error = read(&listen(script, LONG_LIFE).await).await.unwrap_err();
        let Error::SnapshotTruncated { got, expected, cause: None, .. } = error else {
            panic!("{keep}: {error}")
        };
        assert_eq!((got, expected), ((keep as u64) << 15, DB + 32));
    }
    let nothing = listen(|| stream::empty().boxed(), LONG_LIFE).await;
    let error = read(&nothing).await.unwrap_err();
    assert!(matches!(error, Error::SnapshotTruncated { got: 0, .. }), "{error}");
}

#[tokio::test]
async fn a_connection_that_breaks_is_a_truncation_with_a_cause() {
    let script = || stream::iter(good().into_iter().take(9)).chain(stream::pending()).boxed();
    let options = listen(script, STALL / 4).await;
    let error = read(&options).await.unwrap_err();
    let Error::SnapshotTruncated { got, cause: Some(_), .. } = &error else { panic!("{error}") };
    assert_eq!(*got, 9 << 15);
    assert!(!error.is_permanent());
}

#[tokio::test]
async fn silence_and_empty_blobs_are_stalls() {
    let silent = || stream::iter(good().into_iter().take(3)).chain(stream::pending()).boxed();
    let empty = || {
        let empty = stream::repeat_with(|| message(DB - (3 << 15), 0));
        stream::iter(good().into_iter().take(3)).chain(empty).boxed()
    };
    let mute = || stream::pending().boxed();
    let error = read(&listen(silent, LONG_LIFE).await).await.unwrap_err();
    assert!(matches!(error, Error::SnapshotStalled { got: 98304, .. }), "{error}");
    let error = read(&listen(empty, LONG_LIFE).await).await.unwrap_err();
    assert!(matches!(error, Error::SnapshotStalled { got: 98304, .. }), "{error}");
    let error = read(&listen(mute, LONG_LIFE).await).await.unwrap_err();
    assert!(matches!(error, Error::SnapshotStalled { got: 0, .. }), "{error}");
}

#[tokio::test]
async fn a_blob_beyond_all_reason_is_refused_before_it_is_read() {
    let options = listen(|| stream::iter([message(0, 64 << 20)]).boxed(), LONG_LIFE).await;
    let error = read(&options).await.unwrap_err();
    assert!(error.to_string().contains("too large"), "{error}");
}

#[tokio::test]
async fn a_consumer_that_does_not_read_holds_the_server_and_not_the_bytes() {
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    let script = move || {
        let counter = Arc::clone(&counter);
        let total = 1u64 << 30;
        let blobs = (1..=total >> 15).map(move |n| {
            counter.fetch_add(1 << 15, Ordering::Relaxed);
            message(total - (n << 15), 1 << 15)
        });
        stream::iter(blobs).boxed()
    };
    let options = listen(script, LONG_LIFE).await;
    let stream = Client::connect(&options).await.unwrap().snapshot(STALL).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let sent = sent.load(Ordering::Relaxed);
    assert!(sent < 16 << 20, "{sent} bytes went out with nobody reading");
    drop(stream);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_in_time() {
    let (listener, at) = bind().await;
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let mut options = ConnectOptions::new(at.to_string());
    options.command_timeout = STALL;
    options.dial_timeout = STALL;
    let error = Client::connect(&options).await.unwrap().status().await.unwrap_err();
    assert!(matches!(error, Error::Timeout { call: "Status", .. }), "{error}");
    options.endpoint = format!("https://{at}");
    let error = Client::connect(&options).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { call: "connect", .. }), "{error}");
}

/// Serves with a certificate of its own making, and gives options that trust it.
async fn listen_tls(dir: &TempDir, change: impl FnOnce(&mut CertificateParams)) -> ConnectOptions {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
    change(&mut params);
    let cert = params.self_signed(&key).expect("a certificate");
    let path: PathBuf = dir.path().join("cert.pem");
    std::fs::write(&path, cert.pem()).expect("a file");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("a TLS configuration")
        .with_no_client_auth()
        .with_single_cert(
            vec![cert.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
        )
        .expect("a TLS configuration");
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let (listener, at) = bind().await;
    tokio::spawn(async move {
        let script: Script = Arc::new(|| stream::iter(good()).boxed());
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                tokio::spawn(serve(stream, Arc::clone(&script), LONG_LIFE));
            }
        }
    });
    let mut options = ConnectOptions::new(format!("https://{at}"));
    options.cacert = Some(path);
    options
}

#[tokio::test]
async fn certificates_that_should_not_be_accepted_are_not() {
    type Change = fn(&mut CertificateParams);
    let cases: [(Change, TlsFault); 3] = [
        (|params| params.not_after = date_time_ymd(2021, 1, 1), TlsFault::ServerExpired),
        (|params| params.not_before = date_time_ymd(4000, 1, 1), TlsFault::ServerNotYetValid),
        (|params| params.subject_alt_names.clear(), TlsFault::NameMismatch),
    ];
    for (change, want) in cases {
        let dir = TempDir::new().unwrap();
        match read(&listen_tls(&dir, change).await).await.unwrap_err() {
            Error::Tls { fault, .. } => assert_eq!(fault, want),
            other => panic!("{want:?}: {other}"),
        }
    }
    let dir = TempDir::new().unwrap();
    let options = listen_tls(&dir, |_| {}).await;
    assert!(read(&options).await.is_ok());
}

#[tokio::test]
async fn files_that_are_no_certificates_are_named() {
    let dir = TempDir::new().unwrap();
    let good = listen_tls(&dir, |_| {}).await;
    let path = dir.path().join("bad.pem");
    for (text, said) in [
        ("not pem", "not a PEM file"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be used"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "cannot be used"),
    ] {
        std::fs::write(&path, text).unwrap();
        let options = ConnectOptions { cacert: Some(path.clone()), ..good.clone() };
        let error = Client::connect(&options).await.unwrap_err();
        assert!(error.to_string().contains(said), "{text:?}: {error}");
    }
    let options = ConnectOptions { cacert: Some(dir.path().join("absent.pem")), ..good };
    let error = Client::connect(&options).await.unwrap_err();
    assert!(error.to_string().contains("absent.pem"), "{error}");
}
