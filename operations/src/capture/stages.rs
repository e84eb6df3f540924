//! How long the stages of a capture took.

use std::time::Duration;

/// How long each stage of a capture took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stages {
    /// Status, members, alarms.
    pub examine: Duration,
    /// HashKV of all members.
    pub agreement: Duration,
    /// From the first to the last byte of etcd's stream: for so long its read transaction was open.
    pub stream: Duration,
    /// From the last byte of the stream to the last byte in the store.
    pub upload: Duration,
    /// Reading the stored image back.
    pub read_back: Duration,
    /// Signature and manifest.
    pub commit: Duration,
}
