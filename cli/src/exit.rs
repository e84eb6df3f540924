//! Errors on stderr, and the one place that turns them into exit codes.

use std::borrow::Cow;
use std::io;
use std::process;

use etcdr_schemas::report::{ErrorReport, Named as _};
use etcdr_schemas::{Diagnose, ExitCode};

use crate::options::OutputFormat;
use crate::output;

/// An error of the command line itself: what was typed, or what it found.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(crate) struct CliError {
    pub(crate) what: String,
    pub(crate) safe: Cow<'static, str>,
    pub(crate) next: Cow<'static, str>,
    pub(crate) code: ExitCode,
}

impl CliError {
    /// What was typed does not make sense.
    pub(crate) fn usage(what: impl Into<String>, next: impl Into<Cow<'static, str>>) -> Self {
        Self {
            what: what.into(),
            safe: "Nothing was done.".into(),
            next: next.into(),
            code: ExitCode::Usage,
        }
    }
}

impl Diagnose for CliError {
    fn is_permanent(&self) -> bool {
        true
    }

    fn exit_code(&self) -> ExitCode {
        self.code
    }

    fn safe(&self) -> Cow<'static, str> {
        self.safe.clone()
    }

    fn next(&self) -> Cow<'static, str> {
        self.next.clone()
    }
}

/// Reports an error and gives the exit code. A reader that closed our stdout is not an error.
pub(crate) fn report(error: &anyhow::Error, format: OutputFormat) -> process::ExitCode {
    if error.is::<output::ReaderGone>() {
        return process::ExitCode::from(ExitCode::Done as u8);
    }
    let report = explain(error);
    let code = report.exit_code;
    if format == OutputFormat::Table {
        output::say(format!("error: {}", report.error));
        output::say(format!(" safe: {}", report.safe));
        output::say(format!(" next: {}", report.next));
    } else if let Ok(json) = serde_json::to_string(&report.report()) {
        output::say(json);
    }
    process::ExitCode::from(code)
}

fn explain(error: &anyhow::Error) -> ErrorReport {
    // What is safe, the outermost knows: it did the work. What happened, the innermost: it saw it.
    let found = error.chain().find_map(diagnosed);
    let cause = error.chain().filter_map(diagnosed).last();
    ErrorReport {
        error: sentence(error),
        safe: found
            .map_or("Nothing was changed by this command.".into(), Diagnose::safe)
            .into_owned(),
        next: cause
            .map_or("Run it again with ETCDR_LOG=debug to see more.".into(), Diagnose::next)
            .into_owned(),
        exit_code: cause.map_or(ExitCode::Failed, Diagnose::exit_code) as u8,
    }
}

/// All causes in one line; a cause that the text before it already tells is left out.
fn sentence(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// The explanation of a cause, when it is an error of ours. Errors that travelled through
/// [`io::Error`] are looked for inside it.
fn diagnosed<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a dyn Diagnose> {
    fn of<'a, T: Diagnose + 'static>(
        cause: &'a (dyn std::error::Error + 'static),
    ) -> Option<&'a dyn Diagnose> {
        cause.downcast_ref::<T>().map(|error| error as &dyn Diagnose)
    }
    if let Some(error) = cause.downcast_ref::<io::Error>() {
        let inner = error.get_ref()?;
        return diagnosed(inner).or_else(|| inner.source().and_then(diagnosed));
    }
    of::<CliError>(cause)
        .or_else(|| of::<etcdr_operations::stop::Interrupted>(cause))
        .or_else(|| of::<etcdr_agent::Error>(cause))
        .or_else(|| of::<etcdr_operations::Error>(cause))
        .or_else(|| of::<etcdr_agent::admin::Error>(cause))
        .or_else(|| of::<etcdr_operations::verify::Error>(cause))
        .or_else(|| of::<etcdr_operations::restore::Error>(cause))
        .or_else(|| of::<etcdr_operations::export::Error>(cause))
        .or_else(|| of::<etcdr_operations::audit::Error>(cause))
        .or_else(|| of::<etcdr_operations::prune::Error>(cause))
        .or_else(|| of::<etcdr_repository::Error>(cause))
        .or_else(|| of::<etcdr_restore_engine::Error>(cause))
        .or_else(|| of::<etcdr_node::Error>(cause))
}
