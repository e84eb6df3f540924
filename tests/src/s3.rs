//! An S3 server in this process, over a temporary directory, plain or with TLS, that fails on
//! purpose.

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use s3s::Body;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, oneshot};
use tokio_rustls::TlsAcceptor;

use crate::certs::Pair;

/// The only bucket.
pub const BUCKET: &str = "backups";

/// Decides which requests are refused, and with what.
pub type Rule = Arc<dyn Fn(&Method, &str) -> Option<StatusCode> + Send + Sync>;

/// A running server; it ends when dropped.
pub struct S3 {
    /// `127.0.0.1:port`.
    pub address: String,
    root: TempDir,
    rule: Rule,
    tls: Option<TlsAcceptor>,
    running: Option<Running>,
}

/// The thread that serves, until it is asked to end.
struct Running {
    stop: oneshot::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3").field("address", &self.address).finish_non_exhaustive()
    }
}

impl S3 {
    /// A server that refuses nothing.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(Arc::new(|_: &Method, _: &str| None), None)
    }

    /// A server with a rule, and TLS when a certificate is given.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start_with(rule: Rule, tls: Option<&Pair>) -> Self {
        let root = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir(root.path().join(BUCKET)).expect("a bucket");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let mut server = Self { address, root, rule, tls: tls.map(acceptor), running: None };
        server.run(listener);
        server
    }

    fn run(&mut self, listener: std::net::TcpListener) {
        let service = service(self.root.path().to_owned());
        let (rule, tls) = (Arc::clone(&self.rule), self.tls.clone());
        let (stop, stopped) = oneshot::channel();
        listener.set_nonblocking(true).expect("a listener for tokio");
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async move {
                let listener = TcpListener::from_std(listener).expect("a listener");
                tokio::select! {
                    () = serve(listener, service, rule, tls) => {}
                    _ = stopped => {}
                }
            });
        });
        self.running = Some(Running { stop, thread });
    }

    /// Stops it: its connections break and nobody listens at its address. What it holds stays.
    pub fn stop(&mut self) {
        if let Some(Running { stop, thread }) = self.running.take() {
            // An error says that it has ended already.
            let _ = stop.send(());
            drop(thread.join());
        }
    }

    /// Starts it again at its address, with its objects.
    ///
    /// # Panics
    /// When somebody else has taken its port.
    pub fn start_again(&mut self) {
        self.stop();
        let listener = std::net::TcpListener::bind(&self.address).expect("the same port");
        self.run(listener);
    }

    /// The repository's URL in its bucket.
    #[must_use]
    pub fn url(&self) -> String {
        format!("s3://{BUCKET}/etcd")
    }

    /// The environment variables for a client of this server, or of `address` in front of it.
    #[must_use]
    pub fn env(&self, address: &str) -> Vec<(&'static str, String)> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let [key, secret] = ACCESS;
        vec![
            ("AWS_ENDPOINT_URL", format!("{scheme}://{address}")),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", key.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", secret.to_owned()),
        ]
    }

    /// The directory of the bucket: one file an object.
    #[must_use]
    pub fn bucket(&self) -> PathBuf {
        self.root.path().join(BUCKET)
    }

    /// What the server keeps of multipart uploads that were neither completed nor aborted. They are
    /// beside the bucket, not in it.
    #[must_use]
    pub fn unfinished(&self) -> Vec<String> {
        let mut files = crate::backup::files_under(self.root.path());
        files.retain(|name| name.starts_with(".upload"));
        files
    }

    /// Keys of all objects in the bucket; the server's own notes left out.
    #[must_use]
    pub fn objects(&self) -> Vec<String> {
        let mut files = crate::backup::files_under(&self.bucket());
        files.retain(|name| !name.rsplit('/').next().is_some_and(|name| name.starts_with('.')));
        files
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        // Not waited for: a rule of a test may be asleep in it.
        if let Some(running) = self.running.take() {
            let _ = running.stop.send(());
        }
    }
}

const ACCESS: [&str; 2] = ["test-access-key", "test-secret-key"];

fn service(root: PathBuf) -> S3Service {
    let store = s3s_fs::FileSystem::new(root).expect("an S3 store over a directory");
    let mut builder = S3ServiceBuilder::new(store);
    let [key, secret] = ACCESS;
    builder.set_auth(SimpleAuth::from_single(key, secret));
    builder.build()
}

fn acceptor(pair: &Pair) -> TlsAcceptor {
    let chain = CertificateDer::pem_file_iter(&pair.cert).expect("a certificate file");
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("certificates");
    let key = PrivateKeyDer::from_pem_file(&pair.key).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("protocol versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a server's certificate");
    TlsAcceptor::from(Arc::new(config))
}

async fn serve(listener: TcpListener, service: S3Service, rule: Rule, tls: Option<TlsAcceptor>) {
    let conditional = Arc::new(Mutex::new(()));
    while let Ok((socket, _)) = listener.accept().await {
        let (service, rule, tls) = (service.clone(), Arc::clone(&rule), tls.clone());
        let conditional = Arc::clone(&conditional);
        tokio::spawn(async move {
            match tls {
                None => connection(socket, service, rule, conditional).await,
                Some(tls) => {
                    if let Ok(socket) = tls.accept(socket).await {
                        connection(socket, service, rule, conditional).await;
                    }
                }
            }
        });
    }
}

/// Conditional writes (create only if absent) run one after the other: the store below checks first
/// and writes then, so that two at once would both get the answer that they were the first.
async fn connection<S>(socket: S, service: S3Service, rule: Rule, conditional: Arc<Mutex<()>>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answer = service_fn(move |request: Request<Incoming>| {
        let refused = rule(request.method(), request.uri().path());
        let (service, conditional) = (service.clone(), Arc::clone(&conditional));
        async move {
            let _alone = match request.headers().contains_key("if-none-match") {
                true => Some(conditional.lock().await),
                false => None,
            };
            Ok::<_, Infallible>(match refused {
                Some(status) => refusal(status),
                None => respond(&service, request).await,
            })
        }
    });
    // A client that hangs up in the middle is what the tests are about.
    drop(Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), answer).await);
}

async fn respond(service: &S3Service, request: Request<Incoming>) -> Response<Body> {
    let answer = hyper::service::Service::call(service, request).await;
    answer.unwrap_or_else(|_| refusal(StatusCode::INTERNAL_SERVER_ERROR))
}

fn refusal(status: StatusCode) -> Response<Body> {
    let code = if status == StatusCode::FORBIDDEN { "AccessDenied" } else { "InternalError" };
    let text = format!("<Error><Code>{code}</Code><Message>refused by the test</Message></Error>");
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
}
