//! What a running agent can be asked to do, through its admin interface or by a signal.

use std::sync::Arc;

use etcdr_schemas::manifest::Manifest;
use etcdr_schemas::report::Level;
use etcdr_schemas::{Progress, SnapshotId};
use tokio::sync::oneshot;

use crate::Error;
use crate::maintenance::Round;

/// Where an answer goes.
pub type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// One request to the agent's loop.
pub enum Command {
    /// Takes a snapshot now, of the member beside this agent where its data agrees with the
    /// majority's.
    Save {
        /// Hears how far the capture is.
        progress: Arc<dyn Progress>,
        /// The manifests (two where there is no majority) and warnings.
        reply: Reply<(Vec<Manifest>, Vec<String>)>,
    },
    /// Verifies a snapshot.
    Verify {
        /// Which.
        id: SnapshotId,
        /// How deep.
        level: Level,
        /// Findings as sentences; none when it is sound.
        reply: Reply<Vec<String>>,
    },
    /// Pauses schedules: one, or all.
    Pause {
        /// Name of the schedule; `None` for all.
        schedule: Option<String>,
        /// `true` pauses, `false` resumes.
        pause: bool,
        /// Names that changed.
        reply: Reply<Vec<String>>,
    },
    /// Begins a round of defragmentation now; answers when it is over.
    Defragment {
        /// Also members that are below the configured bounds.
        force: bool,
        /// What came of it.
        reply: Reply<Round>,
    },
    /// Reads the configuration again.
    Reload,
}
