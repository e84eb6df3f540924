//! Finds and reads the configuration file, and reports what is wrong with it.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use etcdr_schemas::ExitCode;
use etcdr_schemas::config::{self, Config, Problem};

use crate::exit::CliError;
use crate::options::Global;

/// Where the configuration is searched when no file is named.
const PLACES: [&str; 2] = ["etcdr.yaml", "/etc/etcdr/etcdr.yaml"];

/// Upper bound of the file, in bytes.
const MAX_CONFIG: u64 = 1 << 20;

impl Global {
    /// The file to read: the one that was named, else the first of the usual places that has one.
    pub(crate) fn config_path(&self) -> Option<PathBuf> {
        let usual = || PLACES.iter().map(PathBuf::from).find(|path| path.is_file());
        self.config.clone().or_else(usual)
    }

    /// Reads the configuration, where there is one, and fills in what was not typed.
    pub(crate) fn settle(mut self) -> Result<Self, CliError> {
        let file = self.config_path().map(|path| read(&path)).transpose()?;
        if let Some(file) = &file {
            let path = |text: &String| PathBuf::from(text);
            let url = Some(file.repository.url.clone()).filter(|url| !url.is_empty());
            self.repository = self.repository.or(url);
            self.public_key = self.public_key.or(file.repository.public_key.as_ref().map(path));
            self.store_cacert = self.store_cacert.or(file.repository.cacert.as_ref().map(path));
            if self.identity.is_empty() {
                self.identity = file.restore.identities.iter().map(path).collect();
            }
        }
        let named = self.named_cluster.clone();
        self.cluster = named.or(file.as_ref().map(|file| file.cluster.clone())).unwrap_or_default();
        self.file = file.map(Box::new);
        Ok(self)
    }
}

/// Reads a configuration for the command line, which can get the repository from a flag instead.
pub(crate) fn read(path: &Path) -> Result<Config, CliError> {
    match parse(path) {
        Ok(config) => Ok(config),
        Err(problems) => {
            // Everything else is in order: only the URL is missing.
            let only_url = problems.iter().all(|problem| problem.path == "repository.url");
            let lenient = only_url.then(|| parse_with_url(path)).flatten();
            lenient.ok_or_else(|| invalid(path, &problems))
        }
    }
}

fn parse_with_url(path: &Path) -> Option<Config> {
    let mut document = document(path).ok()?;
    if document.is_null() {
        document = serde_json::json!({});
    }
    document
        .as_object_mut()?
        .entry("repository")
        .or_insert(serde_json::json!({}))
        .as_object_mut()?
        .insert("url".to_owned(), "file:///nowhere".into());
    let mut config = config::parse(document).ok()?;
    config.repository.url.clear();
    Some(config)
}

/// Reads a configuration, or gives every problem that is found at once.
pub(crate) fn parse(path: &Path) -> Result<Config, Vec<Problem>> {
    config::parse(document(path).map_err(|what| vec![Problem::new("", what)])?)
}

fn document(path: &Path) -> Result<serde_json::Value, String> {
    let mut text = String::new();
    let file = File::open(path).map_err(|error| format!("cannot read it: {error}"))?;
    let read = file.take(MAX_CONFIG + 1).read_to_string(&mut text);
    read.map_err(|error| format!("cannot read it: {error}"))?;
    if text.len() as u64 > MAX_CONFIG {
        return Err(format!("it is larger than {MAX_CONFIG} bytes"));
    }
    // A file of comments only is the defaults.
    let content = text
        .lines()
        .map(str::trim)
        .any(|line| !line.is_empty() && !line.starts_with('#') && line != "---");
    if !content {
        return Ok(serde_json::Value::Null);
    }
    serde_saphyr::from_str(&text).map_err(|error| format!("it is not YAML: {error}"))
}

/// The error when there is none.
pub(crate) fn missing() -> CliError {
    CliError {
        what: "no configuration was found".into(),
        safe: "Nothing was done.".into(),
        next: "Name it with --config FILE or ETCDR_CONFIG; `etcdr config example` prints one."
            .into(),
        code: ExitCode::Config,
    }
}

/// The error for a configuration that cannot be used.
pub(crate) fn invalid(path: &Path, problems: &[Problem]) -> CliError {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    CliError {
        what: format!("{} is not a valid configuration: {}", path.display(), lines.join("; ")),
        safe: "Nothing was done.".into(),
        next: "Mend the keys that are named; `etcdr config check` says more, \
               `etcdr config example` shows every key. To go without the file: \
               --config /dev/null."
            .into(),
        code: ExitCode::Config,
    }
}
