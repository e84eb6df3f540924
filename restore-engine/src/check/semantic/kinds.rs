//! The kinds of findings of level `semantic`.

use etcdr_schemas::report::{FindingKind, Severity};

use crate::findings::{USE_ANOTHER, kinds};

const NOTHING: &str = "Nothing needs to be done.";
const COMPARE: &str = "Compare HashKV of the live members (`etcdctl endpoint hashkv --cluster`): \
    one of them may have lost a write.";
const RESTORE_IT: &str = "`etcdr restore` writes it anew; a restore with other tools keeps it.";

kinds! {
    /// Two rows with the same revision and number.
    ROW_TWICE = "mvcc.row.twice", Damage, USE_ANOTHER;
    /// The revision in the value is not that of the row.
    ROW_REVISION = "mvcc.row.revision", Damage, USE_ANOTHER;
    /// A change of a transaction is missing.
    ROW_SUB = "mvcc.row.sub", Warning, COMPARE;
    /// A revision has no row.
    REVISION_GAP = "mvcc.revision.gap", Warning, COMPARE;
    /// The empty row with which a restore raised the revision.
    ROW_BUMP = "mvcc.row.bump", Notice, NOTHING;
    /// A key without a name.
    KEY_EMPTY = "mvcc.key.empty", Damage, USE_ANOTHER;
    /// The row of a deletion holds more than its key.
    TOMBSTONE_SHAPE = "mvcc.tombstone.shape", Damage, USE_ANOTHER;
    /// A deletion of a key that was not there.
    TOMBSTONE_ORPHAN = "mvcc.tombstone.orphan", Damage, USE_ANOTHER;
    /// Version and create revision contradict the row.
    VERSION = "mvcc.version", Damage, USE_ANOTHER;
    /// Version and create revision do not follow the row before.
    GENERATION = "mvcc.generation", Damage, USE_ANOTHER;
    /// A row that a finished compaction should have removed.
    LEFTOVER = "mvcc.compaction.leftover", Warning,
        "etcd hides it; `etcdr restore --rebuild` leaves it out.";
    /// A compaction was on its way.
    UNFINISHED = "mvcc.compaction.unfinished", Notice, "etcd finishes it at its next start.";
    /// More compactions finished than began.
    COMPACTION_ORDER = "mvcc.compaction.order", Damage, USE_ANOTHER;
    /// Compacted at a revision that was never reached.
    COMPACTION_BEYOND = "mvcc.compaction.beyond", Damage, USE_ANOTHER;
    /// Compacted at deletions that are gone with it.
    COMPACTION_TAIL = "mvcc.compaction.tail", Notice, NOTHING;

    /// HashKV is not that of the live members.
    HASH_DIFFERS = "hashkv.differs", Damage, USE_ANOTHER;
    /// HashKV cannot be compared.
    HASH_NOT_COMPARED = "hashkv.not-compared", Notice, NOTHING;
    /// The database says something else of itself than the manifest.
    MANIFEST_DIFFERS = "manifest.facts", Damage, USE_ANOTHER;

    /// A lease cannot be read.
    LEASE_ROW = "lease.row", Damage, USE_ANOTHER;
    /// Keys name a lease that does not exist.
    LEASE_DANGLING = "lease.dangling", Warning,
        "These keys never expire, and a put with ignore_lease on one of them makes every etcd \
         member crash at each start. Put or delete these keys before a client does that.";
    /// Too many leases to compare with.
    LEASES_UNCHECKED = "lease.unchecked", Notice, NOTHING;
    /// An alarm cannot be read.
    ALARM_ROW = "alarm.row", Damage, USE_ANOTHER;
    /// A member had no space.
    ALARM_NOSPACE = "alarm.nospace", Notice,
        "`etcdr restore` clears it; a restore with other tools gives a cluster that is read-only \
         until `etcdctl alarm disarm`.";
    /// etcd itself had found damage.
    ALARM_CORRUPT = "alarm.corrupt", Warning,
        "Find out which member it names, and prefer a snapshot of another one.";
    /// A row of users, roles or their settings cannot be read.
    AUTH_ROW = "auth.row", Damage, USE_ANOTHER;
    /// A user has a role that does not exist.
    AUTH_ROLE_MISSING = "auth.role.missing", Warning,
        "The user lacks what it gave; `etcdctl user revoke-role` removes the name.";
    /// Authentication is on and nobody is root.
    AUTH_ROOT_MISSING = "auth.root.missing", Warning,
        "Nobody can administer a cluster restored from this, nor take snapshots of it.";
    /// A member's row cannot be read.
    MEMBER_ROW = "member.row", Damage, RESTORE_IT;
    /// There is no member.
    MEMBER_NONE = "member.none", Warning, RESTORE_IT;
    /// A row of bucket `cluster` cannot be read.
    CLUSTER_ROW = "cluster.row", Damage, RESTORE_IT;
    /// A downgrade was on its way.
    DOWNGRADE = "cluster.downgrade", Notice,
        "`etcdr restore` drops it; a restore with other tools goes on with the downgrade.";
    /// A bucket that no etcd has.
    BUCKET_UNKNOWN = "etcd.bucket.unknown", Notice, NOTHING;
    /// The raft index is missing or zero.
    META_INDEX = "meta.consistent-index", Warning, RESTORE_IT;
    /// The raft term is zero.
    META_TERM = "meta.term", Warning, RESTORE_IT;
    /// Voters cannot be read.
    META_CONF_STATE = "meta.conf-state", Warning,
        "No etcd reads it back; `etcdr restore` writes it anew.";
    /// The storage version is none that exists.
    META_STORAGE_VERSION = "meta.storage-version", Warning,
        "Name the version of the new cluster with --target-version.";

    /// A value is not as Kubernetes writes them.
    KUBERNETES_VALUE = "kubernetes.value", Warning,
        "The API server will fail to read this object: list its resource after a restore, and \
         delete or repair it.";
    /// Values are sealed.
    KUBERNETES_SEALED = "kubernetes.sealed", Notice,
        "This backup is useless without that key: keep the EncryptionConfiguration (or the KMS \
         key) apart from it, and as safe.";

    /// More findings than are listed.
    MORE = "semantic.findings.more", Notice, NOTHING;
}
