//! Prints results on stdout: for people as text, for programs as JSON or YAML with the schema's
//! name.

use std::io::{self, Write as _};

use etcdr_schemas::report::{Named, Report};
use serde::Serialize;

use crate::options::OutputFormat;

/// Prints a result. `human` is called for `--output table` only.
pub(crate) fn print<T: Named + Serialize>(
    format: OutputFormat,
    body: T,
    human: impl FnOnce(&T) -> String,
) -> anyhow::Result<()> {
    let text = match format {
        OutputFormat::Table => human(&body),
        OutputFormat::Json => serde_json::to_string_pretty(&body.report())?,
        OutputFormat::Yaml => yaml(&body.report())?,
    };
    line(&text)
}

fn yaml<T: Serialize>(report: &Report<T>) -> anyhow::Result<String> {
    // By way of JSON, so that both show the same names and the same numbers.
    Ok(serde_saphyr::to_string(&serde_json::to_value(report)?)?)
}

/// The reader of our text closed the pipe, as `head` does, which is no error. (Only for text: an
/// export whose reader goes away has failed, and a broken pipe of a network connection is an error
/// like any.)
#[derive(Debug, thiserror::Error)]
#[error("the reader of stdout is gone")]
pub(crate) struct ReaderGone;

/// Prints one text on stdout, ending with exactly one newline.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    let written = writeln!(stdout, "{}", text.trim_end_matches('\n')).and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        other => Ok(other?),
    }
}

/// A remark on stderr. A closed stderr is ignored: a remark must not end the work.
pub(crate) fn say(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr(), "{}", text.as_ref());
}

/// A byte count for people.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

/// A table without borders, as kubectl prints them.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: Vec<[String; N]>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::TableStyle::new());
    table.set_header(header);
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}
