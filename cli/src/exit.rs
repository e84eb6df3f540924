//! Prints errors on stderr; the only place that turns them into exit codes.

use std::borrow::Cow;
use std::error::Error;
use std::process;

use etcdr_schemas::diagnose::carried;
use etcdr_schemas::report::{ErrorReport, Named as _};
use etcdr_schemas::{Diagnose, Diagnosis, ExitCode};

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
    /// What was typed cannot be done.
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
    fn diagnosis(&self) -> Diagnosis {
        Diagnosis::permanent(self.code, self.safe.clone(), self.next.clone())
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

/// The outermost error of ours speaks: it knows what was under way, and asks its cause for the
/// rest.
fn explain(error: &anyhow::Error) -> ErrorReport {
    let unknown = || {
        Diagnosis::permanent(
            ExitCode::Failed,
            "Nothing was changed by this command.",
            "Run it again with ETCDR_LOG=debug to see more.",
        )
    };
    let found = error.chain().find_map(diagnosed).map_or_else(unknown, Diagnose::diagnosis);
    ErrorReport {
        error: sentence(error),
        safe: found.safe.into_owned(),
        next: found.next.into_owned(),
        exit_code: found.code as u8,
    }
}

/// All causes in one line; a cause that is already in the text is left out.
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

/// The error as one of ours, where it is one.
fn diagnosed<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a dyn Diagnose> {
    fn of<'a, T: Diagnose + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a dyn Diagnose> {
        error.downcast_ref::<T>().map(|error| error as &dyn Diagnose)
    }
    let inside = || error.downcast_ref().and_then(carried).map(|error| error as &dyn Diagnose);
    of::<CliError>(error)
        .or_else(|| of::<etcdr_operations::stop::Interrupted>(error))
        .or_else(|| of::<etcdr_agent::Error>(error))
        .or_else(|| of::<etcdr_operations::Error>(error))
        .or_else(|| of::<etcdr_agent::admin::Error>(error))
        .or_else(|| of::<etcdr_operations::verify::Error>(error))
        .or_else(|| of::<etcdr_operations::restore::Error>(error))
        .or_else(|| of::<etcdr_operations::export::Error>(error))
        .or_else(|| of::<etcdr_operations::audit::Error>(error))
        .or_else(|| of::<etcdr_operations::prune::Error>(error))
        .or_else(|| of::<etcdr_repository::Error>(error))
        .or_else(|| of::<etcdr_restore_engine::Error>(error))
        .or_else(|| of::<etcdr_node::Error>(error))
        .or_else(inside)
}
