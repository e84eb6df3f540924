//! Reports of audits: written once, after their signature, and verified when they are read.

use bytes::Bytes;
use etcdr_schemas::ClusterName;
use etcdr_schemas::report::SignatureState;
use futures_util::StreamExt;
use object_store::ObjectStore as _;

use crate::error::{Error, Result, StoreFault};
use crate::layout::{self, KeyKind, ReportName};
use crate::repository::Repository;
use crate::sign::{MAX_TEXT, SigningKey};
use crate::store::objects::{create, read_small};
use crate::store::retry::retried;

/// Upper bound of a report, in bytes: results of 200,000 snapshots fit.
pub const MAX_REPORT_BYTES: u64 = 64 << 20;

/// Most reports of one cluster that are listed.
const MAX_REPORTS: usize = 200_000;

/// A report as it is stored.
#[derive(Debug, Clone)]
pub struct StoredReport {
    /// Its JSON.
    pub bytes: Bytes,
    /// What is known of its signature.
    pub signature: SignatureState,
}

impl Repository {
    /// Writes a report where there is none, after its signature.
    ///
    /// # Errors
    /// [`Error::Claimed`] when another process has written a report of that name; [`Error::Store`],
    /// and [`Error::Damaged`] for one that is too large to be read again.
    pub async fn write_report(
        &self,
        cluster: &ClusterName,
        name: ReportName,
        json: Bytes,
        key: Option<&SigningKey>,
    ) -> Result<()> {
        let place = layout::audit_report(cluster, name);
        if json.len() as u64 > MAX_REPORT_BYTES {
            return Err(Error::damaged(&place, "the report would be larger than is read"));
        }
        if let Some(key) = key {
            let text = key.sign_as(&format!("etcdr audit {cluster} {name}"), &json)?;
            let signature = layout::audit_signature(cluster, name);
            create(self.store.as_ref(), &signature, &Bytes::from(text), self.pause).await?;
        }
        create(self.store.as_ref(), &place, &json, self.pause).await
    }

    /// Reads a report; `None` when there is none. Where a public key is configured, its signature
    /// is verified.
    ///
    /// # Errors
    /// [`Error::BadReportSignature`]; [`Error::Damaged`] when it is too large; [`Error::Store`].
    pub async fn report(
        &self,
        cluster: &ClusterName,
        name: ReportName,
    ) -> Result<Option<StoredReport>> {
        let key = layout::audit_report(cluster, name);
        let read = retried(self.pause, || read_small(self.store.as_ref(), &key, MAX_REPORT_BYTES));
        let bytes = match read.await {
            Err(error) if error.store_fault() == Some(StoreFault::Missing) => return Ok(None),
            other => other?,
        };
        let place = layout::audit_signature(cluster, name);
        let read = retried(self.pause, || read_small(self.store.as_ref(), &place, MAX_TEXT)).await;
        let signature = match (read, &self.public_key) {
            (Err(error), _) if error.store_fault() == Some(StoreFault::Missing) => {
                SignatureState::Unsigned
            }
            (Ok(signature), Some(public_key)) => {
                let bad = |reason| Error::BadReportSignature { key: key.to_string(), reason };
                public_key.verify_bytes(&bytes, &signature).map_err(bad)?;
                SignatureState::Verified
            }
            (Ok(_), None) => SignatureState::NotChecked,
            (Err(error), _) => return Err(error),
        };
        Ok(Some(StoredReport { bytes, signature }))
    }

    /// Names of all reports of a cluster's audits, newest first.
    ///
    /// # Errors
    /// [`Error::Store`], and [`Error::TooManySnapshots`] for more than are listed.
    pub async fn report_names(&self, cluster: &ClusterName) -> Result<Vec<ReportName>> {
        retried(self.pause, || async {
            let prefix = layout::audit_reports(cluster);
            let mut entries = self.store.list(Some(&prefix));
            let mut names = Vec::new();
            while let Some(entry) = entries.next().await {
                let entry = entry.map_err(|source| Error::store("list", &prefix, source))?;
                if let KeyKind::AuditReport(name) = layout::classify(cluster, &entry.location) {
                    names.push(name);
                }
                if names.len() > MAX_REPORTS {
                    let cluster = cluster.clone();
                    return Err(Error::TooManySnapshots { cluster, limit: MAX_REPORTS });
                }
            }
            names.sort_unstable_by(|a, b| b.cmp(a));
            Ok(names)
        })
        .await
    }
}
