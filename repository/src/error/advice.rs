//! What each error means for the person who reads it: what is safe, what to do next, how it ends.

use etcdr_schemas::manifest::ManifestError;
use etcdr_schemas::{Diagnose, Diagnosis, ExitCode};

use super::{Error, StoreFault};

/// What is safe, in the words that most errors share.
const SNAPSHOTS_KEPT: &str =
    "Snapshots that exist were not changed; no half-written snapshot can be listed.";
const NOTHING_RELEASED: &str =
    "Nothing was released from the damaged object, and nothing was changed.";

const LOCATIONS: &str =
    "Use file:///path, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix.";
const GIVE_RECIPIENT: &str = "Give a recipient (age1…, or an ssh-ed25519 or ssh-rsa public key), \
     or a file with one a line: the recipient.txt that etcdr keygen wrote.";
const NAMES: &str =
    "Names are latest, latest~2, an id or a part of one, @2026-11-22T07:00:00Z, @r12345.";
const NEWER: &str = "Use a newer etcdr.";
const MORE_OF_THE_ID: &str = "Run etcdr snapshot list, and give more of the id.";
const GIVE_IDENTITY: &str = "Give the identity of one of these recipients: --identity FILE.";
const WHO_WROTE: &str =
    "Find out who wrote this manifest before using it; choose a signed snapshot.";
const ANOTHER_SNAPSHOT: &str =
    "Use another snapshot (etcdr snapshot list), keep this one, and check the store.";
const CHECK_FILE: &str =
    "Check the file; .db, .gz, .zst, .zip, .tar and .tar.gz of one snapshot are read.";
const AGAIN: &str = "Run the command again.";

impl Diagnose for Error {
    fn diagnosis(&self) -> Diagnosis {
        use ExitCode::{Claimed, Damaged, Failed, Key, NotCovered, RepositoryMissing, Usage};
        let permanent = |code, next: &'static str| Diagnosis::permanent(code, SNAPSHOTS_KEPT, next);
        let transient = |next: &'static str| Diagnosis::transient(Failed, SNAPSHOTS_KEPT, next);
        match self {
            Self::BadLocation { .. } => permanent(Usage, LOCATIONS),
            Self::ParentMissing { .. } => {
                permanent(Failed, "Check the path, or make the parent directory first.")
            }
            Self::RepositoryMissing { .. } => permanent(
                RepositoryMissing,
                "Check --repository, or make one: etcdr init --repository URL --recipient AGE.",
            ),
            Self::AlreadyRepository { .. } => {
                permanent(Failed, "Use it as it is, or choose another URL.")
                    .with_safe("The repository was not changed.")
            }
            Self::UnknownFormat { .. }
            | Self::Manifest { source: ManifestError::UnknownFormat(_), .. } => {
                permanent(Failed, NEWER)
            }
            Self::NoRecipients => permanent(
                Usage,
                "Name one with --recipient (etcdr keygen makes a pair), or say --no-encryption.",
            ),
            Self::BadRecipient { .. } => permanent(Usage, GIVE_RECIPIENT),
            Self::BadName { .. } => permanent(Usage, NAMES),
            Self::UnknownSnapshot { .. } | Self::AmbiguousSnapshot { .. } => {
                permanent(NotCovered, MORE_OF_THE_ID)
            }
            Self::BadPolicy { .. } => permanent(Usage, "Correct it; docs/cli.md tells the rules."),
            Self::TooManySnapshots { .. } => {
                permanent(Failed, "Use one cluster name per cluster, and prune.")
            }
            Self::Claimed { .. } => {
                permanent(Claimed, "Look at what the other process wrote before trying again.")
            }
            Self::NoIdentity { .. } | Self::WrongIdentity { .. } => permanent(Key, GIVE_IDENTITY),
            Self::BadKey { .. } => {
                permanent(Key, "Give the file that etcdr keygen, age-keygen or minisign wrote.")
            }
            Self::Unsigned { .. } | Self::BadSignature { .. } => permanent(Key, WHO_WROTE),
            Self::Encrypt { .. } => {
                permanent(Key, "Check the recipients; plugins must be on PATH.")
            }
            Self::BadReportSignature { .. } => permanent(
                Damaged,
                "Find out who changed it. `etcdr audit` looks at everything again.",
            ),
            Self::ImageMissing { .. } | Self::Manifest { .. } => {
                permanent(Damaged, ANOTHER_SNAPSHOT)
            }
            Self::SizeMismatch { .. } | Self::DigestMismatch { .. } | Self::Damaged { .. } => {
                permanent(Damaged, ANOTHER_SNAPSHOT).with_safe(NOTHING_RELEASED)
            }
            Self::Store { fault: StoreFault::Unavailable, .. } => {
                transient(next_of(StoreFault::Unavailable))
            }
            Self::Store { fault, .. } => permanent(Failed, next_of(*fault)),
            Self::File { .. } | Self::Archive { .. } => permanent(Failed, CHECK_FILE),
            Self::Tap(_) | Self::Compress(_) => permanent(Failed, AGAIN),
            Self::Stopped | Self::Worker(_) => transient(AGAIN),
        }
    }
}

const fn next_of(fault: StoreFault) -> &'static str {
    match fault {
        StoreFault::Missing => "Check the bucket, the prefix and the region.",
        StoreFault::Denied => "Check the credentials and what they may do on this prefix.",
        StoreFault::Exists => "Look at what is there before trying again.",
        StoreFault::Full => "Free space in the store and run the command again.",
        StoreFault::Unsupported => "Use a store with conditional writes.",
        StoreFault::Unavailable => "Check that the endpoint is reachable, and try again.",
    }
}
