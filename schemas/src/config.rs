//! `etcdr.yaml`: one file for the agent and the command line, so that a restore uses what the
//! backups used.
//!
//! Every key has a default, except the repository's URL. Unknown keys are refused with the nearest
//! name. Secrets are in files or in the environment, never in here: the file can be shown to
//! anybody.

mod agent;
mod capture;
mod check;
mod etcd;
mod maintenance;
mod repository;
mod retention;
mod schedule;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use agent::{AdminConfig, AgentConfig, LogFormat, WatchConfig};
pub use capture::{BackOff, CaptureConfig, SpoolConfig};
pub use check::{Problem, parse};
pub use etcd::EtcdConfig;
pub use maintenance::{CompactConfig, DefragmentConfig, MaintenanceConfig};
pub use repository::{RepositoryConfig, RestoreConfig};
pub use retention::{PruneConfig, Retention};
pub use schedule::{OnStart, ScheduleConfig};

use crate::ClusterName;

/// The whole file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Name of the cluster in the repository.
    pub cluster: ClusterName,
    /// The member beside this agent.
    pub etcd: EtcdConfig,
    /// Where snapshots are kept.
    pub repository: RepositoryConfig,
    /// What only somebody who restores needs.
    pub restore: RestoreConfig,
    /// How a snapshot is taken.
    pub capture: CaptureConfig,
    /// When snapshots are taken.
    pub schedules: Vec<ScheduleConfig>,
    /// Which snapshots are kept. Without any rule nothing is ever deleted.
    pub retention: Retention,
    /// When the retention is carried out.
    pub prune: PruneConfig,
    /// Defragmentation, compaction, and the watch over alarms and quota.
    pub maintenance: MaintenanceConfig,
    /// What is said to those who watch.
    pub watch: WatchConfig,
    /// The process itself.
    pub agent: AgentConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cluster: ClusterName::default(),
            etcd: EtcdConfig::default(),
            repository: RepositoryConfig::default(),
            restore: RestoreConfig::default(),
            capture: CaptureConfig::default(),
            schedules: vec![ScheduleConfig::default()],
            retention: Retention::default(),
            prune: PruneConfig::default(),
            maintenance: MaintenanceConfig::default(),
            watch: WatchConfig::default(),
            agent: AgentConfig::default(),
        }
    }
}
