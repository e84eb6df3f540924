//! The flags that choose what of a snapshot is restored: from the flags to the engine's types.

use chrono::{DateTime, Utc};
use clap::ValueEnum;
use etcdr_restore_engine::plan::Selection;
use etcdr_schemas::report::History;

/// What is restored, and what is left out. The receipt counts what was.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Content (all but --keep-alarms imply --rebuild)")]
pub(super) struct ContentFlags {
    /// Write the database anew: defragmented, packed, without deleted values that free pages still
    /// hold. Needs its room twice for a while
    #[arg(long)]
    rebuild: bool,

    /// Leave out keys that begin with P, with their history (repeatable)
    #[arg(long, value_name = "P", conflicts_with = "only_prefix")]
    exclude_prefix: Vec<String>,

    /// Keep only keys that begin with P (repeatable)
    #[arg(long, value_name = "P")]
    only_prefix: Vec<String>,

    /// Which revisions to keep: `current` keeps the newest value of each key and counts all before
    /// as compacted
    #[arg(long, value_name = "all|current", default_value = "all")]
    history: HistoryArg,

    /// Leave out all leases; their keys stay and never expire. HashKV changes
    #[arg(long)]
    drop_leases: bool,

    /// Leave out keys whose lease was due: no time is left of it since the snapshot was taken, as
    /// of TIME [default: now]
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true)]
    #[expect(clippy::option_option, reason = "given or not, with a time or not")]
    drop_expired: Option<Option<DateTime<Utc>>>,

    /// When the snapshot was taken from its cluster, as in 2026-11-22T07:00:00Z [default: what its
    /// manifest says]
    #[arg(long, value_name = "TIME", requires = "drop_expired")]
    taken_at: Option<DateTime<Utc>>,

    /// Leave out users and roles and switch authentication off, for when root's password is lost
    #[arg(long)]
    drop_auth: bool,

    /// For the store of a Kubernetes cluster: leave out the entries and leases of lost API servers,
    /// and list in order what a person must look at next
    #[arg(long)]
    kubernetes: bool,

    /// Keep alarms raised [default: clear them and say so]
    #[arg(long)]
    pub(super) keep_alarms: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum HistoryArg {
    All,
    Current,
}

impl ContentFlags {
    /// What was typed.
    pub(super) fn selection(&self) -> Selection {
        Selection {
            rebuild: self.rebuild,
            only_prefixes: self.only_prefix.clone(),
            exclude_prefixes: self.exclude_prefix.clone(),
            history: match self.history {
                HistoryArg::All => History::All,
                HistoryArg::Current => History::Current,
            },
            drop_leases: self.drop_leases,
            drop_expired: self.drop_expired.is_some(),
            expired_at: self.drop_expired.flatten(),
            taken_at: self.taken_at,
            drop_auth: self.drop_auth,
            kubernetes: self.kubernetes,
        }
    }
}
