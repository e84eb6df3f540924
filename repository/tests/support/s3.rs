//! A real S3 protocol server in process, on a free loopback port, over a temporary directory.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use etcdr_repository::StoreOptions;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::SimpleAuth;
use s3s::dto::*;
use s3s::service::S3ServiceBuilder;
use s3s::{S3, S3ErrorCode, S3Request, S3Response, S3Result};
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

/// The server over a directory, which does not know how to list uploads, and the uploads that were
/// begun and not ended.
struct Listing {
    inner: s3s_fs::FileSystem,
    root: PathBuf,
    begun: Mutex<Vec<MultipartUpload>>,
}

impl Listing {
    fn ended(&self, id: &str) {
        self.begun.lock().unwrap().retain(|upload| upload.upload_id.as_deref() != Some(id));
    }
}

macro_rules! passed_on {
    ($($operation:ident: $input:ident => $output:ident,)*) => {
        #[async_trait::async_trait]
        impl S3 for Listing {
            $(async fn $operation(&self, r: S3Request<$input>) -> S3Result<S3Response<$output>> {
                self.inner.$operation(r).await
            })*

            async fn create_multipart_upload(
                &self,
                r: S3Request<CreateMultipartUploadInput>,
            ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
                let created = self.inner.create_multipart_upload(r).await?;
                // The server has just written its note of it.
                let written = std::fs::metadata(&self.root).unwrap().modified().unwrap();
                let upload = MultipartUpload {
                    key: created.output.key.clone(),
                    upload_id: created.output.upload_id.clone(),
                    initiated: Some(written.into()),
                    ..MultipartUpload::default()
                };
                self.begun.lock().unwrap().push(upload);
                Ok(created)
            }

            async fn complete_multipart_upload(
                &self,
                r: S3Request<CompleteMultipartUploadInput>,
            ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
                let id = r.input.upload_id.clone();
                let completed = self.inner.complete_multipart_upload(r).await?;
                self.ended(&id);
                Ok(completed)
            }

            async fn abort_multipart_upload(
                &self,
                r: S3Request<AbortMultipartUploadInput>,
            ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
                let id = r.input.upload_id.clone();
                let aborted = self.inner.abort_multipart_upload(r).await?;
                self.ended(&id);
                Ok(aborted)
            }

            /// One on a page, so that pages must be followed.
            async fn list_multipart_uploads(
                &self,
                r: S3Request<ListMultipartUploadsInput>,
            ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
                let begun = self.begun.lock().unwrap();
                let prefix = r.input.prefix.unwrap_or_default();
                let after = r.input.upload_id_marker;
                let all = begun.iter().filter(|it| it.key.as_ref().unwrap().starts_with(&prefix));
                let mut rest = all.skip_while(|it| after.is_some() && it.upload_id != after);
                if after.is_some() {
                    rest.next();
                }
                let page: Vec<_> = rest.by_ref().take(1).cloned().collect();
                Ok(S3Response::new(ListMultipartUploadsOutput {
                    is_truncated: Some(rest.next().is_some()),
                    next_key_marker: page.last().and_then(|it| it.key.clone()),
                    next_upload_id_marker: page.last().and_then(|it| it.upload_id.clone()),
                    uploads: Some(page),
                    ..ListMultipartUploadsOutput::default()
                }))
            }
        }
    };
}

passed_on! {
    copy_object: CopyObjectInput => CopyObjectOutput,
    delete_object: DeleteObjectInput => DeleteObjectOutput,
    delete_objects: DeleteObjectsInput => DeleteObjectsOutput,
    get_object: GetObjectInput => GetObjectOutput,
    head_object: HeadObjectInput => HeadObjectOutput,
    list_objects_v2: ListObjectsV2Input => ListObjectsV2Output,
    put_object: PutObjectInput => PutObjectOutput,
    upload_part: UploadPartInput => UploadPartOutput,
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
        let inner = s3s_fs::FileSystem::new(root.path()).unwrap();
        let mut service = S3ServiceBuilder::new(Listing {
            inner,
            root: root.path().to_owned(),
            begun: Mutex::default(),
        });
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

    /// A client of the bucket that is not ours.
    pub(crate) fn client(&self) -> AmazonS3 {
        let builder = AmazonS3Builder::new().with_endpoint(&self.endpoint).with_allow_http(true);
        let builder = builder.with_access_key_id("AKTEST").with_secret_access_key("SKTEST");
        builder.with_bucket_name("bucket").build().unwrap()
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
