//! Which members a restore writes, and where: from the flags to the engine's types.

use std::path::PathBuf;

use etcdr_restore_engine::membership::{self, InitialCluster};
use etcdr_restore_engine::plan::Target;

use crate::context;
use crate::exit::CliError;

/// Where the new members are, with the names of `etcdutl snapshot restore`.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "New cluster")]
pub(super) struct TargetFlags {
    /// Data directory of the one member to write
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Write every member of --initial-cluster, each to DIR/<name>
    #[arg(
        long,
        value_name = "DIR",
        requires = "initial_cluster",
        conflicts_with_all = ["wal_dir", "initial_advertise_peer_urls"]
    )]
    all_members: Option<PathBuf>,

    /// Name of the one member to write
    #[arg(long, value_name = "NAME", default_value = "default")]
    name: String,

    /// All members of the new cluster [default: <name>=http://localhost:2380]
    #[arg(long, value_name = "a=URL,b=URL,…")]
    initial_cluster: Option<String>,

    /// Token of the new cluster [default: random, so that members of the old cluster can never
    /// join]
    #[arg(long, value_name = "TOKEN")]
    initial_cluster_token: Option<String>,

    /// Peer URLs of the one member; they must be those of --initial-cluster
    #[arg(long, value_name = "URL,…")]
    initial_advertise_peer_urls: Option<String>,

    /// Where the one member's WAL goes [default: inside the data directory]
    #[arg(long, value_name = "DIR", conflicts_with = "all_members")]
    wal_dir: Option<PathBuf>,
}

impl TargetFlags {
    /// The cluster and the members to write.
    pub(super) fn resolve(&self) -> anyhow::Result<(InitialCluster, Vec<Target>)> {
        let default = || {
            let urls =
                self.initial_advertise_peer_urls.as_deref().unwrap_or("http://localhost:2380");
            let pairs: Vec<_> = urls.split(',').map(|url| format!("{}={url}", self.name)).collect();
            pairs.join(",")
        };
        let text = self.initial_cluster.clone().unwrap_or_else(default);
        let cluster = InitialCluster::parse(&text)?;
        let targets = match (&self.all_members, &self.data_dir) {
            (Some(root), _) => all(root, &cluster),
            (None, Some(data_dir)) => vec![self.one(data_dir.clone())?],
            (None, None) => {
                return Err(CliError::usage(
                    "no target",
                    "Say --data-dir DIR or --all-members DIR.",
                )
                .into());
            }
        };
        Ok((cluster, targets))
    }

    fn one(&self, data_dir: PathBuf) -> anyhow::Result<Target> {
        let advertise =
            self.initial_advertise_peer_urls.as_deref().map(membership::parse_urls).transpose()?;
        Ok(Target { name: self.name.clone(), data_dir, wal_dir: self.wal_dir.clone(), advertise })
    }

    /// The token that was given, or a fresh one.
    pub(super) fn token(&self) -> anyhow::Result<String> {
        match &self.initial_cluster_token {
            Some(token) => Ok(token.clone()),
            None => Ok(format!("etcdr-{}", context::random_hex::<8>()?)),
        }
    }
}

fn all(root: &std::path::Path, cluster: &InitialCluster) -> Vec<Target> {
    let names = cluster.names();
    names
        .map(|name| Target {
            name: name.to_owned(),
            data_dir: root.join(name),
            wal_dir: None,
            advertise: None,
        })
        .collect()
}
