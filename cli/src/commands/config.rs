//! `etcdr config`: checks the configuration file, and prints it, an example or its schema.

use etcdr_agent::configuration;
use etcdr_operations::doctor;
use etcdr_schemas::ExitCode;
use etcdr_schemas::config::Config;
use etcdr_schemas::report::{Checked, ConfigCheckReport};

use crate::config;
use crate::context;
use crate::options::Global;
use crate::output;

/// What can be done with the configuration.
#[derive(Debug, clap::Subcommand)]
pub(in crate::commands) enum Command {
    /// Read the configuration and try everything it leads to: etcd, store, keys, clocks, restore
    Check {
        /// Read the file only; ask nobody
        #[arg(long)]
        offline: bool,
    },
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
            Self::Check { offline } => return check(global, offline).await,
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
                let path = global.config_path().ok_or_else(config::missing)?;
                output::line(&serde_saphyr::to_string(&config::read(&path)?)?)?;
            }
        }
        Ok(ExitCode::Done)
    }
}

/// Exit codes: 64 when the file is wrong; 1 when something does not work; 3 when something needs a
/// look.
async fn check(global: &Global, offline: bool) -> anyhow::Result<ExitCode> {
    let path = global.config_path().ok_or_else(config::missing)?;
    let mut report = ConfigCheckReport {
        path: path.display().to_string(),
        problems: Vec::new(),
        checks: Vec::new(),
        ok: false,
    };
    let settings = config::parse(&path)
        .and_then(|config| configuration::check(config, context::store_variables()));
    match settings {
        Err(problems) => report.problems = problems,
        Ok(settings) if !offline => {
            let instance = context::random_hex::<8>()?;
            report.checks = doctor::examine(&settings, &instance, &context::now).await;
        }
        Ok(_) => {}
    }
    let any = |result| report.checks.iter().any(|check| check.result == result);
    let code = match (report.problems.is_empty(), any(Checked::Failed), any(Checked::Warning)) {
        (false, ..) => ExitCode::Config,
        (true, true, _) => ExitCode::Failed,
        (true, false, true) => ExitCode::Warnings,
        (true, false, false) => ExitCode::Done,
    };
    report.ok = matches!(code, ExitCode::Done | ExitCode::Warnings);
    output::print(global.output, report, render)?;
    Ok(code)
}

fn render(report: &ConfigCheckReport) -> String {
    if !report.problems.is_empty() {
        let problems = report.problems.iter().map(|problem| format!("  {problem}"));
        let problems = problems.collect::<Vec<_>>().join("\n");
        return format!("{} cannot be used:\n{problems}", report.path);
    }
    if report.checks.is_empty() {
        return format!("{} is valid", report.path);
    }
    let rows = report.checks.iter().map(|check| {
        let result = match check.result {
            Checked::Passed => "ok",
            Checked::Warning => "LOOK",
            Checked::Failed => "FAILED",
            Checked::Skipped => "-",
        };
        [check.name.clone(), result.to_owned(), check.detail.clone()]
    });
    let table = output::table(["CHECK", "RESULT", "SEEN"], rows.collect());
    let next = report
        .checks
        .iter()
        .filter_map(|check| Some(format!("\n{}: {}", check.name, check.next.as_ref()?)));
    table + &next.collect::<String>()
}
