//! `etcdr inspect`: what a database, a snapshot or a data directory holds, as far as it can be
//! read.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Finding;
use crate::ids::{ClusterId, MemberId, RaftIndex, Term};
use crate::manifest::{Alarm, Member};
use crate::revision::Revision;

/// `etcdr inspect`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct InspectReport {
    /// The path, or the snapshot's id.
    pub subject: String,
    /// What it is.
    pub form: Form,
    /// Bytes of the file, or of the unpacked image.
    pub file_size: u64,
    /// Whether etcd's digest behind the database matches it.
    pub digest: DigestState,
    /// The two meta pages.
    pub metas: Vec<MetaPage>,
    /// How the file's pages are used; absent when no meta page leads to a tree.
    pub space: Option<Space>,
    /// Every bucket, in order of names.
    pub buckets: Vec<BucketFacts>,
    /// Who the cluster is.
    pub cluster: ClusterFacts,
    /// Where the database stands in the raft log.
    pub raft: RaftFacts,
    /// What is in bucket `key`; absent when it cannot be found.
    pub keys: Option<KeyFacts>,
    /// Prefixes of keys.
    pub prefixes: Option<Prefixes>,
    /// Leases.
    pub leases: LeaseFacts,
    /// Alarms that were raised.
    pub alarms: Vec<Alarm>,
    /// Authentication.
    pub auth: AuthFacts,
    /// The numbers of `etcdutl snapshot status`; absent for a damaged database.
    pub status: Option<StatusFacts>,
    /// The raft log; of a data directory only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogFacts>,
    /// The newest raft snapshot; of a data directory only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raft_snapshot: Option<RaftSnapshotFacts>,
    /// What is left; of a damaged database only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
    /// What is wrong; empty for a sound one.
    pub findings: Vec<Finding>,
    /// Whether nothing is damaged.
    pub ok: bool,
}

/// What was inspected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// A database with etcd's digest behind it, as `etcdctl snapshot save` writes it.
    SnapshotFile,
    /// A database without a digest, as a copy of `member/snap/db` is.
    RawDatabase,
    /// An image of a repository.
    RepositoryImage,
    /// A member's data directory.
    DataDirectory,
}

/// What is known of the digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DigestState {
    /// It matches.
    Matches,
    /// It does not match.
    Differs,
    /// There is none.
    None,
    /// It was not looked at: the file was not read from end to end.
    NotChecked,
}

/// One meta page, valid or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MetaPage {
    /// 0 or 1.
    pub page: u64,
    /// Whether magic, version and checksum are right.
    pub valid: bool,
    /// Whether the database was read through it.
    pub used: bool,
    /// Bytes of a page.
    pub page_size: u32,
    /// Number of its transaction.
    pub txid: u64,
    /// Page of the bucket of buckets.
    pub root: u64,
    /// Page of the freelist, when one is stored.
    pub freelist: Option<u64>,
    /// Number of the first page that was never allocated.
    pub high_water_mark: u64,
}

/// How pages are used.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Space {
    /// Bytes of a page.
    pub page_size: u32,
    /// Bytes up to the high-water mark: what etcd calls the size of the database.
    pub size: u64,
    /// Bytes of pages that metas, freelist and trees use: what etcd calls the size in use.
    pub in_use: u64,
    /// Bytes of pages that nothing uses. For a damaged database, what is lost is among them.
    pub free: u64,
    /// Share of `free` in `size`, in percent.
    pub fragmentation_percent: f64,
    /// About how many bytes a defragmented copy has.
    pub defragmented: u64,
    /// Whether a freelist is stored; etcd on Linux stores none.
    pub freelist_stored: bool,
    /// Bytes of the file behind the database: grown ahead, or the digest.
    pub behind: u64,
}

/// One bucket.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BucketFacts {
    /// Its name; bytes that are not text are escaped.
    pub name: String,
    /// Whether it lies inside the page that names it.
    pub inline: bool,
    /// Rows.
    pub rows: u64,
    /// Bytes of all keys.
    pub key_bytes: u64,
    /// Bytes of all values.
    pub value_bytes: u64,
    /// Levels of its tree, leaves included; 0 when inline.
    pub depth: u32,
    /// Leaf pages, overflow not counted.
    pub leaf_pages: u64,
    /// Branch pages, overflow not counted.
    pub branch_pages: u64,
    /// Pages that hold the rest of larger leaves and branches.
    pub overflow_pages: u64,
    /// How full its leaves are, in percent.
    pub fill_percent: f64,
}

/// Who the cluster is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterFacts {
    /// The cluster's id.
    pub id: Option<ClusterId>,
    /// Where the id comes from: `log`, or `members`: computed, and right if these were the first
    /// members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_from: Option<String>,
    /// Members.
    pub members: Vec<Member>,
    /// Ids of removed members.
    pub removed: Vec<MemberId>,
    /// The cluster's version.
    pub version: Option<String>,
    /// A downgrade that was asked for.
    pub downgrade: Option<Downgrade>,
    /// Version of the storage schema; etcd 3.6 and newer.
    pub storage_version: Option<String>,
}

/// A downgrade that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Downgrade {
    /// Version to go to.
    #[serde(rename = "target-version", default)]
    pub target: String,
    /// Whether it goes on.
    #[serde(default)]
    pub enabled: bool,
}

/// Where the database stands in the raft log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RaftFacts {
    /// Index of the last entry that the database reflects.
    pub consistent_index: Option<RaftIndex>,
    /// Its term; etcd 3.5 and newer.
    pub term: Option<Term>,
    /// The configuration as it is stored (JSON); etcd 3.5 and newer. No etcd reads it back.
    pub conf_state: Option<String>,
}

/// What is in bucket `key`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyFacts {
    /// Current revision.
    pub revision: Revision,
    /// Revision up to which history is compacted; absent when never compacted.
    pub compact_revision: Option<Revision>,
    /// The compaction that was accepted last.
    pub scheduled_compact_revision: Option<Revision>,
    /// The compaction that was finished last.
    pub finished_compact_revision: Option<Revision>,
    /// Oldest revision of a row.
    pub oldest_row: Option<Revision>,
    /// Rows: revisions of keys, deletions included.
    pub revisions: u64,
    /// Rows that delete.
    pub deletions: u64,
    /// Bytes of all rows.
    pub bytes: u64,
    /// Keys that are live at the current revision.
    pub live_keys: u64,
    /// Bytes of their newest rows.
    pub live_bytes: u64,
    /// Whether the live numbers are estimates from a sample: there are millions of keys.
    pub estimated: bool,
    /// Bytes of the largest row.
    pub largest_row: u64,
    /// Rows that cannot be read.
    pub malformed: u64,
}

/// Prefixes of keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Prefixes {
    /// Segments of a prefix.
    pub depth: u32,
    /// Number of prefixes.
    pub count: u64,
    /// Those with the most revisions, most first.
    pub by_count: Vec<PrefixFacts>,
    /// Those with the most bytes, most first.
    pub by_bytes: Vec<PrefixFacts>,
    /// What was not told apart, because there are too many prefixes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub others: Option<PrefixFacts>,
}

/// Keys that begin alike.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PrefixFacts {
    /// The prefix; bytes that are not text are escaped.
    pub prefix: String,
    /// Live keys.
    pub live_keys: u64,
    /// Bytes of their newest rows.
    pub live_bytes: u64,
    /// Rows, old revisions and deletions included.
    pub revisions: u64,
    /// Bytes of these rows.
    pub bytes: u64,
}

/// Leases.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeaseFacts {
    /// Number of leases.
    pub count: u64,
    /// By time to live, most leases first; bounded.
    pub by_ttl: Vec<LeasesOfTtl>,
}

/// Leases that live equally long.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeasesOfTtl {
    /// Seconds that were granted.
    pub ttl_seconds: i64,
    /// Number of leases.
    pub count: u64,
}

/// Authentication.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuthFacts {
    /// Whether it is on.
    pub enabled: bool,
    /// Its own revision.
    pub revision: Option<u64>,
    /// Number of users.
    pub users: u64,
    /// Number of roles.
    pub roles: u64,
}

/// The numbers of `etcdutl snapshot status` (of etcd 3.4, `etcdctl snapshot status`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatusFacts {
    /// CRC-32C over all rows of all buckets.
    pub hash: u32,
    /// Revision of the last row.
    pub revision: i64,
    /// Keys as 3.4 and 3.5 count them: rows of all buckets.
    pub total_rows: u64,
    /// Keys as 3.6 counts them: live keys. Absent when only an estimate is known.
    pub total_keys: Option<u64>,
    /// Bytes of the database.
    pub total_size: u64,
}

/// What a raft log says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogFacts {
    /// The member whose log it is.
    pub member_id: MemberId,
    /// Its cluster.
    pub cluster_id: ClusterId,
    /// Files of the log.
    pub segments: u64,
    /// Index of the first entry.
    pub first_index: Option<RaftIndex>,
    /// Index of the last entry.
    pub last_index: Option<RaftIndex>,
    /// Term of the last state.
    pub term: Term,
    /// Index that is known to be committed.
    pub commit: RaftIndex,
    /// Byte at which the last file is torn, when it is.
    pub torn_at: Option<u64>,
}

/// What the newest raft snapshot says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RaftSnapshotFacts {
    /// Its file name.
    pub file: String,
    /// Raft index.
    pub index: RaftIndex,
    /// Raft term.
    pub term: Term,
    /// Members that vote.
    pub voters: Vec<MemberId>,
    /// Members that do not vote yet.
    pub learners: Vec<MemberId>,
}

/// What is left of a damaged database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Recovery {
    /// Rows that could be read, of all buckets.
    pub rows_read: u64,
    /// Parts of trees that could not be read.
    pub lost_parts: u64,
    /// Pages that nothing reaches and that look like pages of trees. Free pages keep old ones, so
    /// not all of them belong to what is lost.
    pub stray_pages: u64,
    /// Rows of bucket `key` on those pages, old copies included.
    pub stray_revisions: u64,
    /// Highest revision on any of those pages.
    pub newest_stray_revision: Option<Revision>,
    /// Pages among them that list buckets of etcd: roots that a database could be read from.
    /// Bounded.
    pub stray_roots: Vec<u64>,
    /// The other meta page, when it is valid and leads elsewhere.
    pub other_meta: Option<OtherMeta>,
}

/// Where the other meta page leads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OtherMeta {
    /// 0 or 1.
    pub page: u64,
    /// Its transaction.
    pub txid: u64,
    /// Whether its tree has no damage.
    pub sound: bool,
    /// Rows that can be read through it.
    pub rows_read: u64,
}
