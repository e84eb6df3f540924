//! `etcdr completions`: prints a completion script.

use clap::CommandFactory as _;
use clap_complete::Shell;
use etcdr_schemas::ExitCode;

use super::Cli;
use crate::output;

/// Print a completion script for a shell, e.g. `etcdr completions bash >
/// /etc/bash_completion.d/etcdr`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "etcdr", &mut script);
        output::line(&String::from_utf8(script)?)?;
        Ok(ExitCode::Done)
    }
}
