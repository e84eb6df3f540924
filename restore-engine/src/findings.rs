//! The kinds of findings that the engine's checks can make besides those of
//! [`crate::format::bolt::Problem`].
//!
//! One constant each, all of them in [`ALL`]: the tests plant a defect for every one.

use etcdr_schemas::report::{FindingKind, Severity};

/// What to do when an image itself is damaged.
pub(crate) const USE_ANOTHER: &str =
    "Do not restore this one: use another snapshot, and take a new one now.";
const RESTORE_AGAIN: &str = "Do not start etcd on it: restore into a fresh directory.";
const NOTHING: &str = "Nothing needs to be done.";

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $severity:ident, $advice:expr;)*) => {
        $($(#[$doc])* pub const $name: FindingKind =
            FindingKind { code: $code, severity: Severity::$severity, advice: $advice };)*

        /// All of them.
        pub const ALL: &[FindingKind] = &[$($name),*];
    };
}
pub(crate) use kinds;

kinds! {
    /// etcd's digest does not match.
    DIGEST = "snapshot.digest", Damage, USE_ANOTHER;
    /// The file has no digest where one must be.
    DIGEST_MISSING = "snapshot.digest.missing", Damage, USE_ANOTHER;
    /// A raw database has no digest.
    DIGEST_NONE = "snapshot.digest.none", Notice,
        "Save with `etcdr snapshot save` to have a digest.";
    /// The file is cut, or too long.
    LENGTH = "snapshot.length", Damage, USE_ANOTHER;
    /// The bytes are not those that the manifest promises.
    MANIFEST = "snapshot.manifest", Damage, USE_ANOTHER;
    /// Something that every etcd has is missing.
    RECORDS = "etcd.records", Damage, USE_ANOTHER;
    /// A row cannot be read.
    ROW = "etcd.row", Damage, USE_ANOTHER;
    /// More findings than are listed.
    MORE = "bolt.findings.more", Notice, NOTHING;
    /// The log names a member that the database does not have.
    MEMBER_UNKNOWN = "member.unknown", Damage, RESTORE_AGAIN;
    /// The log's last record is torn.
    WAL_TORN = "wal.torn", Notice, "etcd cuts it off at its next start.";
    /// The log's commit is not among its entries.
    WAL_COMMIT = "wal.commit", Damage, RESTORE_AGAIN;
    /// The database is older than the raft snapshot.
    INDEX_BEHIND = "db.index.behind", Damage, RESTORE_AGAIN;
    /// The database is newer than the log.
    INDEX_AHEAD = "db.index.ahead", Damage, RESTORE_AGAIN;
    /// The medium has bad spots.
    UNREADABLE = "medium.unreadable", Damage, USE_ANOTHER;
    /// A record of the log cannot be read.
    WAL_DAMAGED = "wal.damaged", Damage,
        "Do not start etcd on it: restore a snapshot, or another member's copy.";
    /// The raft snapshot cannot be read.
    SNAP_DAMAGED = "snap.damaged", Damage,
        "Do not start etcd on it: restore a snapshot, or another member's copy.";
    /// A part of a data directory is missing.
    DIRECTORY = "directory.incomplete", Warning, "If it is a copy, copy all of `member`.";
    /// The raft snapshot has no voters.
    SNAP_VOTERS = "snap.voters", Damage, RESTORE_AGAIN;
}
