//! `etcdr init`: makes a repository.

use etcdr_repository::{Recipients, Repository};
use etcdr_schemas::ExitCode;
use etcdr_schemas::report::InitReport;

use crate::context;
use crate::exit::CliError;
use crate::options::Global;
use crate::output;

/// Make a repository
///
/// Writes etcdr.json at the root. Snapshots will be encrypted to the recipients given here, unless
/// a save names its own.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// age recipient (age1…, ssh-ed25519 …), or a file with one a line (repeatable)
    #[arg(long, value_name = "AGE", env = "ETCDR_RECIPIENT")]
    recipient: Vec<String>,

    /// Store snapshots readable by anyone who can read the repository
    #[arg(long, conflicts_with = "recipient")]
    no_encryption: bool,
}

impl Args {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        if self.recipient.is_empty() && !self.no_encryption {
            return Err(CliError::usage(
                "a repository needs recipients to encrypt to",
                "Say --recipient AGE (make one with `etcdr keygen --dir DIR`), or --no-encryption \
                 if you mean it: a snapshot holds every secret of the cluster.",
            )
            .into());
        }
        let recipients = match self.no_encryption {
            true => Vec::new(),
            false => Recipients::parse_or_read(&self.recipient)?.texts().to_vec(),
        };
        let info = context::new_repository(recipients, self.no_encryption)?;
        let repository =
            Repository::init(&global.location()?, &global.store_options()?, info).await?;
        let info = repository.info();
        let report = InitReport {
            repository: repository.location().to_string(),
            repository_id: info.repository_id.clone(),
            recipients: info.recipients.clone(),
        };
        output::print(global.output, report, |report| {
            format!("repository {} made at {}", report.repository_id, report.repository)
        })?;
        Ok(ExitCode::Done)
    }
}
