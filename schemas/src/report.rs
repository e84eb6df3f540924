//! JSON results of the commands. Each carries `"schema": "etcdr/<thing>/v1"`, has its JSON Schema
//! under `schemas/json`, and gains fields within v1 but never loses or changes one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod audit;
mod config_check;
mod contents;
mod demo;
mod finding;
pub mod inspect;
mod prune;
mod restore;
mod snapshot;
mod status;
mod verify;

pub use audit::{
    AuditInventory, AuditOrder, AuditOutcome, AuditReport, AuditResult, AuditSample, AuditSet,
    AuditSettings, AuditState, AuditTotals, AuditVerdict,
};
pub use config_check::{Checked, ConfigCheck, ConfigCheckReport};
pub use contents::{
    AuthSummary, Breakdown, Contents, Counted, DanglingLease, EncryptionKey, LeaseSummary,
    OfflineHash, Tally,
};
pub use demo::{DemoReport, DemoStage};
pub use finding::{Finding, FindingKind, Severity};
pub use inspect::InspectReport;
pub use prune::{
    DeleteReport, HoldReport, PruneAction, PruneOutcome, PruneReason, PruneReport, PruneRule,
    PruneTotals, PrunedSnapshot, SweptKind, SweptObject,
};
pub use restore::{
    CheckStep, DanglingLeases, DropReason, DroppedKeys, History, KubernetesFacts, MovedAside,
    PlannedBump, PlannedExpiry, PlannedMember, PlannedRebuild, Rebuilt, RestorePlan,
    RestoreReceipt,
};
pub use snapshot::{
    ExportReport, SignatureState, SnapshotList, SnapshotReport, SnapshotSummary, Unusable,
};
pub use status::{
    CaptureStatus, FailureStatus, MemberStatus, NewestStatus, PruneStatus, QuotaStatus,
    ScheduleStatus, StatusReport, StatusWarning, StoredStatus, TimelineEntry, TimelineOutcome,
    VerifyStatus,
};
pub use verify::VerifyReport;

pub use crate::level::Level;

/// A report with its schema's name in front.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Report<T> {
    /// `etcdr/<thing>/v1`.
    pub schema: String,
    /// The report itself.
    #[serde(flatten)]
    pub body: T,
}

/// What a report is called.
pub trait Named {
    /// The `<thing>` of `etcdr/<thing>/v1`.
    const THING: &'static str;

    /// Puts the schema's name in front.
    fn report(self) -> Report<Self>
    where
        Self: Sized,
    {
        Report { schema: format!("etcdr/{}/v1", Self::THING), body: self }
    }
}

macro_rules! named {
    ($($type:ty => $thing:literal,)*) => {
        $(impl Named for $type {
            const THING: &'static str = $thing;
        })*
    };
}

named! {
    InitReport => "init",
    KeygenReport => "keygen",
    SnapshotReport => "snapshot",
    SnapshotList => "snapshot-list",
    ExportReport => "export",
    VerifyReport => "verify",
    InspectReport => "inspect",
    RestorePlan => "restore-plan",
    RestoreReceipt => "restore-receipt",
    DemoReport => "demo",
    AuditReport => "audit",
    AuditSet => "audit-set",
    ConfigCheckReport => "config-check",
    StatusReport => "status",
    PruneReport => "prune",
    DeleteReport => "delete",
    HoldReport => "hold",
    ErrorReport => "error",
}

/// `etcdr init`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct InitReport {
    /// Where the repository is, without secrets.
    pub repository: String,
    /// Its id.
    pub repository_id: String,
    /// Default recipients.
    pub recipients: Vec<String>,
}

/// `etcdr keygen`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct KeygenReport {
    /// The age recipient (public).
    pub recipient: String,
    /// The minisign public key, base64.
    pub signing_public_key: String,
    /// The files that were written.
    pub files: Vec<String>,
}

/// Any command that failed, with `--output json`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ErrorReport {
    /// What happened.
    pub error: String,
    /// What is safe.
    pub safe: String,
    /// What to do next.
    pub next: String,
    /// The exit code.
    pub exit_code: u8,
}
