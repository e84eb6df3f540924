//! A real S3 protocol server in process, on a free loopback port, over a temporary directory.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use etcdr_repository::StoreOptions;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s::{S3ErrorCode, S3Result};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Operation name, error code, how often.
type Refusal = (&'static str, &'static str, usize);

/// Answers with an error.
#[derive(Clone, Default)]
pub(crate) struct Refusals(Arc<Mutex<Vec<Refusal>>>);

impl Refusals {
    pub(crate) fn refuse(&self, operation: &'static str, code: &'static str, times: usize) {
        self.0.lock().unwrap().push((operation, code, times));
    }

    pub(crate) fn clear(&self) {
        self.0.lock().unwrap().clear();
    }
}

#[async_trait::async_trait]
impl S3Access for Refusals {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let name = context.s3_op().name();
        for (operation, code, times) in self.0.lock().unwrap().iter_mut() {
            if *operation == name && *times > 0 {
                *times -= 1;
                let code = S3ErrorCode::from_bytes(code.as_bytes()).unwrap();
                return Err(s3s::S3Error::with_message(code, "refused by the test"));
            }
        }
        Ok(())
    }
}

pub(crate) struct S3Server {
    pub(crate) refusals: Refusals,
    pub(crate) endpoint: String,
    root: TempDir,
    task: JoinHandle<()>,
}

impl S3Server {
    pub(crate) async fn start() -> Self {
        let root = TempDir::new().unwrap();
        std::fs::create_dir(root.path().join("bucket")).unwrap();
        let refusals = Refusals::default();
        let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root.path()).unwrap());
        service.set_auth(SimpleAuth::from_single("AKTEST", "SKTEST"));
        service.set_access(refusals.clone());
        let service = service.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let service = service.clone();
                tokio::spawn(async move {
                    let http = Builder::new(TokioExecutor::new());
                    let _ = http.serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Self { refusals, endpoint, root, task }
    }

    pub(crate) fn options(&self) -> StoreOptions {
        let variables = [
            ("AWS_ENDPOINT_URL", self.endpoint.as_str()),
            ("AWS_ACCESS_KEY_ID", "AKTEST"),
            ("AWS_SECRET_ACCESS_KEY", "SKTEST"),
            ("AWS_REGION", "us-east-1"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        StoreOptions {
            retries: 3,
            retry_pause: Duration::from_millis(1),
            ..StoreOptions::from_variables(variables)
        }
    }

    /// The directory of the bucket: one file an object.
    pub(crate) fn bucket(&self) -> PathBuf {
        self.root.path().join("bucket")
    }

    /// Files of multipart uploads that are neither completed nor aborted.
    pub(crate) fn leftovers(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.root.path()).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.to_string_lossy().contains(".upload")).collect()
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}
