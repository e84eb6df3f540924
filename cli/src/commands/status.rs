//! `etcdr status`: shows the report of a running agent, once or again and again.

use std::path::PathBuf;
use std::time::Duration;

use etcdr_agent::admin::{Client, Credentials};
use etcdr_agent::pages::format::{relative, span};
use etcdr_operations::stop::StopFlag;
use etcdr_schemas::ExitCode;
use etcdr_schemas::report::{MemberStatus, StatusReport};

use crate::options::{Global, OutputFormat};
use crate::output;

/// Where an agent listens when nothing else is configured.
const DEFAULT_SOCKET: &str = "unix:///run/etcdr/agent.sock";

/// Show how a running agent and its cluster are
///
/// Asks the agent's admin interface. Exit code 0: it can save and its newest restorable snapshot is
/// younger than the target; 3: it is not so, or something needs a look; 1: no agent answers.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Address of the agent: unix:///path/to/agent.sock, or https://HOST:PORT [default: the socket
    /// of the configuration, else unix:///run/etcdr/agent.sock]
    #[arg(long, value_name = "URL", env = "ETCDR_AGENT")]
    agent: Option<String>,

    #[command(flatten)]
    files: AgentFiles,

    /// Show it again and again, with so much time between
    #[arg(
        long,
        value_name = "TIME",
        num_args = 0..=1,
        default_missing_value = "2s",
        value_parser = crate::options::duration
    )]
    watch: Option<Duration>,
}

/// Certificates for an agent on TCP.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Agent on TCP")]
pub(in crate::commands) struct AgentFiles {
    /// CA certificate that the agent's is checked with (https only)
    #[arg(long, value_name = "FILE", env = "ETCDR_AGENT_CACERT")]
    agent_cacert: Option<PathBuf>,

    /// Client certificate for the agent (https only)
    #[arg(long, value_name = "FILE", env = "ETCDR_AGENT_CERT")]
    agent_cert: Option<PathBuf>,

    /// Key of that certificate
    #[arg(long, value_name = "FILE", env = "ETCDR_AGENT_KEY")]
    agent_key: Option<PathBuf>,
}

impl AgentFiles {
    /// Connects to the agent that was named, or to the usual socket.
    pub(in crate::commands) async fn connect(
        &self,
        address: Option<&str>,
    ) -> anyhow::Result<Client> {
        let credentials = Credentials {
            cacert: self.agent_cacert.clone(),
            cert: self.agent_cert.clone(),
            key: self.agent_key.clone(),
        };
        Ok(Client::connect(address.unwrap_or(DEFAULT_SOCKET), &credentials).await?)
    }
}

impl Args {
    pub(super) async fn run(self, global: &Global, stop: StopFlag) -> anyhow::Result<ExitCode> {
        let configured = global.file.as_ref().map(|file| file.agent.admin.listen.as_str());
        let unix = configured.filter(|listen| listen.starts_with("unix:"));
        let client = self.files.connect(self.agent.as_deref().or(unix)).await?;
        loop {
            let report = client.status().await?;
            let good = report.ready && report.newest.on_target && report.warnings.is_empty();
            let clear = self.watch.is_some() && global.output == OutputFormat::Table;
            output::print(global.output, report, |report| {
                // Home, and erase what was there.
                let before = if clear { "\u{1b}[H\u{1b}[2J" } else { "" };
                format!("{before}{}", human(report))
            })?;
            match self.watch {
                Some(pause) if !stop.is_raised() => tokio::time::sleep(pause).await,
                _ => return Ok(if good { ExitCode::Done } else { ExitCode::Warnings }),
            }
        }
    }
}

fn human(report: &StatusReport) -> String {
    let mut lines = vec![format!(
        "agent {} {}, cluster {}, started {}",
        plain(&report.agent),
        plain(&report.version),
        report.cluster,
        relative(report.started_at, report.at)
    )];
    lines.push(format!("newest restorable  {}", newest(report)));
    let ready = match report.not_ready.as_slice() {
        [] => "yes".to_owned(),
        reasons => format!("NO: {}", plain(&reasons.join("; "))),
    };
    lines.push(format!("can save           {ready}"));
    if let Some(stored) = &report.stored {
        let bytes = output::bytes(stored.bytes);
        lines.push(format!("stored             {} snapshots, {bytes}", stored.snapshots));
    }
    if let Some(seen) = &report.last_verify {
        let result = seen
            .failure
            .as_deref()
            .map_or("sound".into(), |why| format!("DAMAGED: {}", plain(why)));
        let when = relative(seen.at, report.at);
        lines.push(format!("last verify        {result}, level {}, {when}", seen.level));
    }
    if let Some(seen) = &report.quota {
        let left = seen
            .seconds_left
            .map_or("not growing".to_owned(), |left| format!("{} left", span(left)));
        let (size, quota) = (output::bytes(seen.size), output::bytes(seen.quota));
        lines.push(format!("quota              {size} of {quota}, {left}"));
    }
    if let Some(capture) = &report.capture {
        lines.push(format!("capture            since {}", relative(capture.since, report.at)));
    }
    lines.push(String::new());
    lines.push(members(report));
    lines.push(String::new());
    lines.push(schedules(report));
    if !report.warnings.is_empty() {
        lines.push(String::new());
    }
    for one in &report.warnings {
        let word = if one.urgent { "URGENT" } else { "note" };
        lines.push(format!("{word}: {}", plain(&one.text)));
        lines.push(format!("  next: {}", plain(&one.next)));
    }
    lines.join("\n")
}

fn newest(report: &StatusReport) -> String {
    let target = span(report.newest.target_age_seconds);
    match (&report.newest.id, report.newest.age_seconds) {
        (Some(id), Some(age)) => {
            let verdict = if report.newest.on_target { "on target" } else { "OVER TARGET" };
            format!("{} ago, {verdict} ({target})  {id}", span(age))
        }
        _ if report.stored.is_none() => format!("not known yet (target {target})"),
        _ => format!("NONE (target {target})"),
    }
}

fn members(report: &StatusReport) -> String {
    let row = |one: &MemberStatus| {
        let own = if one.own { " (this one)" } else { "" };
        let name = if one.name.is_empty() { "-" } else { &one.name };
        let state = match one {
            one if !one.answered => "no answer",
            one if one.dissents => "OTHER DATA",
            one if one.leader => "leader",
            one if one.learner => "learner",
            _ => "follower",
        };
        [
            format!("{}{own}", plain(name)),
            one.id.to_string(),
            state.to_owned(),
            plain(one.version.as_deref().unwrap_or("-")),
            one.db_size.map_or("-".to_owned(), output::bytes),
            one.db_size_in_use.map_or("-".to_owned(), output::bytes),
        ]
    };
    let header = ["MEMBER", "ID", "STATE", "VERSION", "DATABASE", "IN USE"];
    output::table(header, report.members.iter().map(row).collect())
}

fn schedules(report: &StatusReport) -> String {
    let rows = report.schedules.iter().map(|one| {
        let next = match one.next {
            _ if one.paused => "paused".to_owned(),
            None => "never".to_owned(),
            Some(next) => relative(next, report.at),
        };
        let last = one.last.map_or("-".to_owned(), |last| relative(last, report.at));
        [plain(&one.name), plain(&one.cron), next, last]
    });
    output::table(["SCHEDULE", "CRON", "NEXT", "LAST TAKEN"], rows.collect())
}

/// Text of the agent's, without what a terminal would act on.
fn plain(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}
