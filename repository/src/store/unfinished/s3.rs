//! A bucket that speaks S3: `ListMultipartUploads`, page by page, by signed addresses, and
//! `AbortMultipartUpload`.
//!
//! Facts of the protocol:
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html>.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use object_store::client::{HttpRequest, HttpRequestBody, HttpResponse};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::signer::{SignedUrlOptions, Signer};
use serde::Deserialize;

use super::{Bucket, MAX_LISTED, Upload};
use crate::error::{Error, Result};

/// How long a signed URL is valid. It is used at once.
const URL_VALIDITY: Duration = Duration::from_secs(60);

/// Upper bound of a page, in bytes: 1,000 uploads with keys of 1,024 bytes and room for the markup.
const MAX_PAGE: usize = 4 << 20;

/// What the answer's outermost element is called. A server that does not know the request may
/// answer another one.
const ROOT: &str = "<ListMultipartUploadsResult";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    #[serde(default)]
    is_truncated: bool,
    #[serde(default)]
    next_key_marker: String,
    #[serde(default)]
    next_upload_id_marker: String,
    #[serde(default, rename = "Upload")]
    uploads: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    key: String,
    upload_id: String,
    initiated: DateTime<Utc>,
}

/// Where the next page begins.
#[derive(Default, PartialEq, Eq)]
struct Marker {
    key: String,
    upload_id: String,
}

impl Bucket {
    /// All unfinished uploads under a prefix of the repository.
    pub(super) async fn list(&self, prefix: &Path) -> Result<Vec<Upload>> {
        let prefix = self.full(prefix);
        let mut found = Vec::new();
        let mut marker = Marker::default();
        while found.len() < MAX_LISTED {
            let fail = |source| Error::store("list uploads of", &prefix, source);
            let page = self.page(&prefix, &marker).await.map_err(fail)?;
            found.extend(page.uploads.into_iter().filter_map(|entry| self.upload(entry)));
            let next = Marker { key: page.next_key_marker, upload_id: page.next_upload_id_marker };
            // A server that gives the same marker again would keep us here for ever.
            if !page.is_truncated || next == marker {
                break;
            }
            marker = next;
        }
        Ok(found)
    }

    /// Aborts one upload.
    pub(super) async fn abort(&self, upload: &Upload) -> Result<()> {
        let aborted = self.store.abort_multipart(&self.full(&upload.key), &upload.id).await;
        aborted.map_err(|source| Error::store("abort the upload of", &upload.key, source))
    }

    fn full(&self, key: &Path) -> Path {
        self.prefix.parts().chain(key.parts()).collect()
    }

    /// `None` for one that is outside the repository.
    fn upload(&self, entry: Entry) -> Option<Upload> {
        let key = Path::parse(entry.key).ok()?;
        let key = key.prefix_match(&self.prefix)?.collect();
        Some(Upload { key, id: entry.upload_id, at: entry.initiated, size: 0 })
    }

    async fn page(&self, prefix: &Path, marker: &Marker) -> object_store::Result<Page> {
        let prefix = format!("{prefix}/");
        let mut query = vec![("uploads", ""), ("prefix", &prefix)];
        if *marker != Marker::default() {
            query.push(("key-marker", &marker.key));
            query.push(("upload-id-marker", &marker.upload_id));
        }
        let options = SignedUrlOptions::default().with_query(query);
        let method = http::Method::GET;
        let url =
            self.store.signed_url_opts(method, &Path::default(), URL_VALIDITY, &options).await?;
        let request: HttpRequest = http::Request::get(url.as_str())
            .body(HttpRequestBody::empty())
            .map_err(|error| generic(error.to_string()))?;
        // The error's own text holds the signed URL, which is a credential.
        let failed =
            |error: object_store::client::HttpError| generic(format!("{:?}", error.kind()));
        let answer = self.http.execute(request).await.map_err(failed)?;
        check_status(&answer, &prefix)?;
        let mut body = answer.into_body().bytes_stream();
        let mut text = Vec::new();
        while let Some(chunk) = body.next().await {
            text.extend_from_slice(&chunk.map_err(failed)?);
            if text.len() > MAX_PAGE {
                return Err(generic(format!("the answer is larger than {MAX_PAGE} bytes")));
            }
        }
        parse(&String::from_utf8_lossy(&text))
    }
}

fn check_status(answer: &HttpResponse, prefix: &str) -> object_store::Result<()> {
    let status = answer.status();
    let (path, source) = (prefix.to_owned(), format!("status {status}").into());
    match status.as_u16() {
        200..300 => Ok(()),
        401 | 403 => Err(object_store::Error::PermissionDenied { path, source }),
        404 => Err(object_store::Error::NotFound { path, source }),
        429 | 500 | 502.. => Err(object_store::Error::Generic { store: "S3", source }),
        _ => Err(object_store::Error::NotSupported { source }),
    }
}

fn parse(text: &str) -> object_store::Result<Page> {
    let unlike = |source| object_store::Error::NotSupported { source };
    if !text.contains(ROOT) {
        return Err(unlike("the answer is not a list of uploads".into()));
    }
    quick_xml::de::from_str(text).map_err(|error| unlike(error.into()))
}

fn generic(text: String) -> object_store::Error {
    object_store::Error::Generic { store: "S3", source: text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_and_what_is_no_page_is_refused() {
        let text = r#"<?xml version="1.0" encoding="UTF-8"?>
            <ListMultipartUploadsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
              <Bucket>backups</Bucket><KeyMarker/><UploadIdMarker/>
              <NextKeyMarker>a/images/x&amp;y.part</NextKeyMarker>
              <NextUploadIdMarker>VXBs</NextUploadIdMarker>
              <MaxUploads>1000</MaxUploads><IsTruncated>true</IsTruncated>
              <Upload><Key>a/images/x.part</Key><UploadId>one</UploadId>
                <Initiator><ID>i</ID></Initiator><StorageClass>STANDARD</StorageClass>
                <Initiated>2026-11-26T07:40:54.000Z</Initiated></Upload>
              <CommonPrefixes><Prefix>b/</Prefix></CommonPrefixes>
              <Upload><Key>a/images/y.part</Key><UploadId>two</UploadId>
                <Initiated>2026-11-26T07:40:55Z</Initiated></Upload>
            </ListMultipartUploadsResult>"#;
        let page = parse(text).unwrap();
        assert!(page.is_truncated);
        assert_eq!(page.next_key_marker, "a/images/x&y.part");
        assert_eq!(page.uploads.len(), 2);
        assert_eq!(page.uploads[1].upload_id, "two");

        let empty = parse("<ListMultipartUploadsResult></ListMultipartUploadsResult>").unwrap();
        assert!(!empty.is_truncated && empty.uploads.is_empty());
        for other in ["", "<ListBucketResult/>", "<ListMultipartUploadsResult><Upload>"] {
            assert!(parse(other).is_err(), "{other}");
        }
    }
}
