//! `etcdr demo`: saves, loses and restores a cluster on this machine, and shows the time of each
//! step.

mod objects;
mod stage_log;
mod steps;

use std::path::PathBuf;

use anyhow::Context as _;
use etcdr_node::EtcdBinary;
use etcdr_schemas::ExitCode;
use etcdr_schemas::report::DemoReport;

use crate::options::Global;
use crate::output;
use steps::Setup;

/// Show the whole way on this machine: save, verify, lose everything, restore, compare
///
/// Starts its own etcd in a temporary folder, touches nothing else, and leaves nothing behind, also
/// on Ctrl-C.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Number of Kubernetes-like keys to write
    #[arg(
        long,
        default_value_t = 20_000,
        value_parser = clap::value_parser!(u32).range(100..=2_000_000)
    )]
    keys: u32,

    /// Folder that holds the etcd binary [default: the PATH is searched]
    #[arg(long, value_name = "DIR", env = "ETCD_BIN_DIR")]
    etcd_bin_dir: Option<PathBuf>,
}

impl Args {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let path = std::env::var_os("PATH");
        let binary = EtcdBinary::locate(self.etcd_bin_dir.as_deref(), path.as_deref()).await?;
        let folder = tempfile::Builder::new().prefix("etcdr-demo-").tempdir()?;
        let setup = Setup { keys: self.keys, binary, root: folder.path().to_owned() };
        let report = steps::run(&setup, global.quiet).await?;
        folder.close().context("cannot remove the demo's temporary folder")?;
        let identical = report.identical;
        output::print(global.output, report, closing)?;
        Ok(if identical { ExitCode::Done } else { ExitCode::Failed })
    }
}

/// What a person reads last.
fn closing(report: &DemoReport) -> String {
    let verdict = if report.identical {
        "The new cluster of three holds exactly what the lost one held."
    } else {
        "THE NEW CLUSTER DIFFERS FROM THE LOST ONE. Please report this."
    };
    format!(
        "\n{verdict}\n\nNow with your own cluster:\n  \
         etcdr keygen --dir keys\n  \
         export ETCDR_REPOSITORY=file:///var/backups/etcd ETCDR_IDENTITY=keys/identity.txt\n  \
         etcdr init --recipient keys/recipient.txt\n  \
         etcdr snapshot save --endpoints https://127.0.0.1:2379 --cacert CA --cert CERT \
         --key KEY\n  \
         etcdr verify latest\n  \
         etcdr restore latest --dry-run --all-members DIR --initial-cluster a=URL,b=URL,c=URL"
    )
}
