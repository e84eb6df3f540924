//! Writes reports during an audit and at its end, so that what a killed audit loses is bounded.

use bytes::Bytes;
use chrono::{DateTime, Duration, Utc};
use etcdr_repository::{Error as RepositoryError, ReportName, Repository, SigningKey};
use etcdr_schemas::report::{AuditReport, Named as _};

/// Where reports go.
#[derive(Debug)]
pub enum Destination {
    /// Nowhere: the repository is only read.
    Nowhere,
    /// Under the cluster's reports, signed when there is a key.
    Repository(Option<SigningKey>),
}

/// Writes reports of one audit, each under the next number.
///
/// A report is written when some time has passed since the last one: the interval that was asked
/// for, or a twentieth of the run so far where that is longer. So a kill costs at most that much
/// work again, and the number of reports grows with the logarithm of the time.
pub(super) struct Checkpoints<'a> {
    repository: &'a Repository,
    destination: &'a Destination,
    interval: Duration,
    began: DateTime<Utc>,
    last: DateTime<Utc>,
    sequence: u32,
    failed: bool,
}

impl<'a> Checkpoints<'a> {
    /// `sequence` is the number of the last report of the audit, 0 when there is none.
    pub(super) fn new(
        repository: &'a Repository,
        destination: &'a Destination,
        interval: Duration,
        began: DateTime<Utc>,
        sequence: u32,
    ) -> Self {
        Self { repository, destination, interval, began, last: began, sequence, failed: false }
    }

    /// Whether it is time to write.
    pub(super) fn is_due(&self, now: DateTime<Utc>) -> bool {
        let since = |then: DateTime<Utc>| now.signed_duration_since(then);
        let pause = self.interval.max(since(self.began) / 20);
        let room = self.sequence.saturating_add(1) < ReportName::MOST;
        matches!(self.destination, Destination::Repository(_))
            && !self.failed
            && room
            && since(self.last) >= pause
    }

    /// Writes a report of the progress. A failure is reported at the end of the audit.
    pub(super) async fn add(&mut self, report: AuditReport, now: DateTime<Utc>) {
        self.last = now;
        if let Err(error) = self.write(report).await {
            tracing::warn!(%error, "cannot write a report of the audit's progress");
            self.failed = true;
        }
    }

    /// Writes a report under the next number and gives back the number.
    ///
    /// # Errors
    /// What the repository says.
    pub(super) async fn write(&mut self, mut report: AuditReport) -> Result<u32, RepositoryError> {
        let sequence = self.sequence.saturating_add(1);
        let Destination::Repository(key) = self.destination else { return Ok(sequence) };
        report.sequence = sequence;
        let (cluster, audit) = (report.cluster.clone(), report.audit);
        let broken = |error: serde_json::Error| RepositoryError::Worker(error.to_string());
        let mut json = serde_json::to_vec(&report.report()).map_err(broken)?;
        json.push(b'\n');
        let name = ReportName { audit, sequence };
        self.repository.write_report(&cluster, name, Bytes::from(json), key.as_ref()).await?;
        self.sequence = sequence;
        Ok(sequence)
    }
}
