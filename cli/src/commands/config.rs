//! `etcdr config`.

use etcdr_schemas::ExitCode;
use etcdr_schemas::config::Config;

use crate::config;
use crate::exit::CliError;
use crate::options::Global;
use crate::output;

/// What can be done with the configuration.
#[derive(Debug, clap::Subcommand)]
pub(in crate::commands) enum Command {
    /// Print every key with its default, as YAML
    Example,
    /// Print the JSON Schema of the file
    Schema,
    /// Print the configuration that is in use, defaults filled in
    Show,
}

impl Command {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        match self {
            Self::Example => {
                let mut example = Config::default();
                example.repository.url = "s3://bucket/prefix".to_owned();
                output::line(&serde_saphyr::to_string(&example)?)?;
            }
            Self::Schema => {
                let schema = schemars::schema_for!(Config);
                output::line(&format!("{}\n", serde_json::to_string_pretty(&schema)?))?;
            }
            Self::Show => {
                let path = global.config_path().ok_or_else(|| {
                    CliError::usage(
                        "no configuration was found",
                        "Name it with --config FILE or ETCDR_CONFIG.",
                    )
                })?;
                output::line(&serde_saphyr::to_string(&config::read(&path)?)?)?;
            }
        }
        Ok(ExitCode::Done)
    }
}
