//! What each error means for the person who reads it: what is safe, what to do next, how it ends.

use std::borrow::Cow;

use etcdr_schemas::manifest::ManifestError;
use etcdr_schemas::{Diagnose, ExitCode};

use super::{Error, StoreFault};

impl Diagnose for Error {
    fn is_permanent(&self) -> bool {
        match self {
            Self::Store { fault, .. } => *fault != StoreFault::Unavailable,
            Self::Stopped | Self::Worker(_) => false,
            _ => true,
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::BadLocation { .. }
            | Self::NoRecipients
            | Self::BadRecipient { .. }
            | Self::BadName { .. }
            | Self::BadPolicy { .. } => ExitCode::Usage,
            Self::RepositoryMissing { .. } => ExitCode::RepositoryMissing,
            Self::UnknownSnapshot { .. } | Self::AmbiguousSnapshot { .. } => ExitCode::NotCovered,
            Self::Claimed { .. } => ExitCode::Claimed,
            Self::NoIdentity { .. }
            | Self::WrongIdentity { .. }
            | Self::BadKey { .. }
            | Self::Unsigned { .. }
            | Self::BadSignature { .. }
            | Self::Encrypt { .. } => ExitCode::Key,
            Self::Manifest { source: ManifestError::UnknownFormat(_), .. } => ExitCode::Failed,
            Self::ImageMissing { .. }
            | Self::SizeMismatch { .. }
            | Self::DigestMismatch { .. }
            | Self::Damaged { .. }
            | Self::BadReportSignature { .. }
            | Self::Manifest { .. } => ExitCode::Damaged,
            _ => ExitCode::Failed,
        }
    }

    fn safe(&self) -> Cow<'static, str> {
        match self {
            Self::AlreadyRepository { .. } => "The repository was not changed.",
            Self::DigestMismatch { .. } | Self::Damaged { .. } | Self::SizeMismatch { .. } => {
                "Nothing was released from the damaged object, and nothing was changed."
            }
            _ => "Snapshots that exist were not changed; no half-written snapshot can be listed.",
        }
        .into()
    }

    fn next(&self) -> Cow<'static, str> {
        match self {
            Self::Store { fault, .. } => next_of(*fault),
            Self::BadLocation { .. } => {
                "Use file:///path, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix."
            }
            Self::ParentMissing { .. } => "Check the path, or make the parent directory first.",
            Self::RepositoryMissing { .. } => {
                "Check --repository, or make one: etcdr init --repository URL --recipient AGE."
            }
            Self::AlreadyRepository { .. } => "Use it as it is, or choose another URL.",
            Self::UnknownFormat { .. }
            | Self::Manifest { source: ManifestError::UnknownFormat(_), .. } => {
                "Use a newer etcdr."
            }
            Self::NoRecipients => {
                "Name one with --recipient (etcdr keygen makes a pair), or say --no-encryption."
            }
            Self::BadRecipient { .. } => {
                "Give a recipient (age1…, or an ssh-ed25519 or ssh-rsa public key), or a file with one a line: the \
                 recipient.txt that etcdr keygen wrote."
            }
            Self::BadName { .. } => {
                "Names are latest, latest~2, an id or a part of one, @2026-11-22T07:00:00Z, @r12345."
            }
            Self::UnknownSnapshot { .. } | Self::AmbiguousSnapshot { .. } => {
                "Run etcdr snapshot list, and give more of the id."
            }
            Self::BadPolicy { .. } => "Correct it; docs/cli.md tells the rules.",
            Self::TooManySnapshots { .. } => "Use one cluster name per cluster, and prune.",
            Self::Claimed { .. } => "Look at what the other process wrote before trying again.",
            Self::NoIdentity { .. } | Self::WrongIdentity { .. } => {
                "Give the identity of one of these recipients: --identity FILE."
            }
            Self::BadKey { .. } => "Give the file that etcdr keygen, age-keygen or minisign wrote.",
            Self::Unsigned { .. } | Self::BadSignature { .. } => {
                "Find out who wrote this manifest before using it; choose a signed snapshot."
            }
            Self::BadReportSignature { .. } => {
                "Find out who changed it. `etcdr audit` looks at everything again."
            }
            Self::Encrypt { .. } => "Check the recipients; plugins must be on PATH.",
            Self::ImageMissing { .. }
            | Self::SizeMismatch { .. }
            | Self::DigestMismatch { .. }
            | Self::Damaged { .. }
            | Self::Manifest { .. } => {
                "Use another snapshot (etcdr snapshot list), keep this one, and check the store."
            }
            Self::File { .. } | Self::Archive { .. } => {
                "Check the file; .db, .gz, .zst, .zip, .tar and .tar.gz of one snapshot are read."
            }
            Self::Tap(_) | Self::Compress(_) | Self::Stopped | Self::Worker(_) => {
                "Run the command again."
            }
        }
        .into()
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
