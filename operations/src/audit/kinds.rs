//! The kinds of findings that an audit makes itself. What it finds inside a snapshot has the kinds
//! of [`crate::verify`] and of the restore engine.

use etcdr_schemas::report::{FindingKind, Severity};

use crate::verify;

const USE_ANOTHER: &str =
    "Take a new snapshot now. To restore, use another one: `etcdr snapshot list`.";
const FIND_WHO: &str = "Find out who changed the repository before you trust it.";

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $severity:ident, $advice:expr;)*) => {
        $($(#[$doc])* pub const $name: FindingKind =
            FindingKind { code: $code, severity: Severity::$severity, advice: $advice };)*

        /// All of them, and the three that an audit shares with a verification.
        pub const ALL: &[FindingKind] =
            &[MANIFEST_UNREADABLE, CHAIN_BROKEN, LEDGER_UNREADABLE, $($name),*];
    };
}

/// The manifest cannot be read.
pub const MANIFEST_UNREADABLE: FindingKind = verify::MANIFEST_DAMAGED;
/// A manifest follows one that is gone or was exchanged.
pub const CHAIN_BROKEN: FindingKind = verify::CHAIN_BROKEN;
/// A page of the ledger cannot be used.
pub const LEDGER_UNREADABLE: FindingKind = verify::LEDGER_UNREADABLE;

kinds! {
    /// A manifest without its image.
    IMAGE_MISSING = "image.missing", Damage, USE_ANOTHER;
    /// The image has another size than its manifest says.
    IMAGE_SIZE = "image.size", Damage, USE_ANOTHER;
    /// An image without a manifest, and too old to be a save on its way.
    IMAGE_ORPHAN = "image.orphan", Warning,
        "Either a save ended before its commit, or somebody deleted the manifest. Find out which \
         before deleting it.";
    /// The rest of a save that was killed.
    IMAGE_PART = "image.part", Notice, "Delete it when no save is running.";
    /// An image that anybody can read, in a repository that encrypts.
    IMAGE_PLAIN = "image.plain", Warning,
        "Whoever can read the repository has every secret of the cluster: find out who saved it \
         so.";
    /// An image that others can open than those of the repository, or that one of those cannot.
    IMAGE_RECIPIENTS = "image.recipients", Warning,
        "Check that the one who must restore has an identity for it, and that nobody else has.";
    /// A manifest of a later format.
    MANIFEST_FORMAT = "manifest.format", Warning, "Use a newer etcdr to look at this snapshot.";
    /// A manifest that is not the one its name says.
    MANIFEST_NAME = "manifest.name", Damage, FIND_WHO;
    /// A signature that does not fit.
    SIGNATURE_WRONG = "manifest.signature.wrong", Damage, FIND_WHO;
    /// No signature where a public key is configured.
    SIGNATURE_MISSING = "manifest.signature.missing", Warning,
        "A restore with this public key refuses the snapshot: find out why it is not signed.";
    /// A signature without its manifest.
    SIGNATURE_ORPHAN = "manifest.signature.orphan", Warning,
        "Either a save ended before its commit, or somebody deleted the manifest. Find out which.";
    /// Two manifests follow the same one.
    CHAIN_FORK = "manifest.chain.fork", Warning,
        "Two savers ran at once, or somebody wrote a second history: let one agent save.";
    /// A manifest claims to be the first and is not.
    CHAIN_RESTART = "manifest.chain.restart", Warning,
        "Two savers began at once, or somebody wrote a second history: find out which.";
    /// The revision is lower than in the snapshot before.
    REVISION_BACK = "snapshot.revision.back", Warning,
        "The cluster was restored or rolled back in between, or two clusters save under one name.";
    /// The snapshot comes from another cluster than the one before.
    CLUSTER_CHANGED = "snapshot.cluster.changed", Warning,
        "After a restore this is expected. Otherwise two clusters save under one name: give each \
         its own --cluster.";
    /// A snapshot from the future.
    CLOCK_FUTURE = "snapshot.clock.future", Warning,
        "Set the clocks right: this snapshot counts as the newest until its time has come.";
    /// A snapshot that was finished before it was begun.
    CLOCK_ORDER = "snapshot.clock.order", Warning, "Set the clock of the machine that saves right.";
    /// The save recorded a reason not to trust it.
    SUSPECT = "snapshot.suspect", Warning,
        "Look at the members that disagreed, and prefer a snapshot that is not suspect.";
    /// The newest snapshot is too old.
    STALE = "snapshot.stale", Warning, "Find out why no newer one was saved, and save one now.";
    /// The newest snapshot that was verified is too old.
    STALE_VERIFIED = "snapshot.stale.verified", Warning,
        "Run an audit of level object or deeper that reaches the newest snapshots.";
    /// Snapshots that no audit has found good.
    UNVERIFIED = "snapshot.unverified", Notice,
        "`etcdr audit --order oldest-verified --max-bytes …` reaches them in turn.";
    /// No key opens it.
    KEY = "snapshot.key", Warning, "Give the identity of one of its recipients: --identity FILE.";
    /// The check could not be made.
    UNCHECKED = "snapshot.unchecked", Warning,
        "Run the audit again with --resume when the store answers.";
    /// An object that belongs to nothing.
    OBJECT_UNKNOWN = "object.unknown", Warning,
        "Nothing of etcdr's lies there: find out whose it is.";
    /// A report of an audit whose signature does not fit.
    REPORT_SIGNATURE = "report.signature", Damage, FIND_WHO;
    /// A report that is not signed where a public key is configured.
    REPORT_UNSIGNED = "report.unsigned", Notice,
        "It is not believed. Give audits a --signing-key, so that later ones can go on from them.";
    /// A report that cannot be read, or is not the one its name says.
    REPORT_DAMAGED = "report.damaged", Warning, "It is not believed. Find out who changed it.";
    /// The report could not be written.
    REPORT_UNWRITTEN = "report.unwritten", Warning,
        "Allow these credentials to create objects under reports/, or say --no-report.";
    /// The budget does not reach for a single snapshot.
    BUDGET = "audit.budget", Warning, "Give a larger --max-bytes or --max-time.";
    /// A cluster that could not be audited.
    CLUSTER_UNCHECKED = "cluster.unchecked", Warning, "Run the audit again for this cluster.";
}
