//! From any document to a configuration, or to every problem that can be named at once.

use std::fmt;

use schemars::{JsonSchema, schema_for};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Config, LogFormat};
use crate::units::Span;

/// Something in the file that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Path of the key, e.g. `schedules[0].cron`; empty for the file itself.
    pub path: String,
    /// What is wrong with it, and what would be right.
    pub what: String,
}

impl Problem {
    /// A problem at a path.
    pub fn new(path: impl Into<String>, what: impl Into<String>) -> Self {
        Self { path: path.into(), what: what.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.what),
            path => write!(f, "{path}: {}", self.what),
        }
    }
}

/// Most unknown keys that are reported.
const MAX_PROBLEMS: usize = 50;

/// Reads a document.
///
/// # Errors
/// All unknown keys with their nearest names; else the first value of a wrong type; else every
/// value that is out of its bounds.
pub fn parse(document: Value) -> Result<Config, Vec<Problem>> {
    // An empty file means the defaults.
    let document = if document.is_null() { Value::Object(Default::default()) } else { document };
    let schema = schema_for!(Config).to_value();
    // Before the types: a misspelt key explains a missing one, and serde would stop at the first.
    let mut unknown = Vec::new();
    find_unknown(&schema, &schema, &document, &mut String::new(), &mut unknown);
    if !unknown.is_empty() {
        return Err(unknown);
    }
    let config: Config = serde_path_to_error::deserialize(document).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { String::new() } else { path };
        vec![Problem::new(path, error.into_inner().to_string())]
    })?;
    let problems = bounds(&config);
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

/// Compares the keys of a value with those that its schema knows.
fn find_unknown(
    root: &Value,
    schema: &Value,
    value: &Value,
    path: &mut String,
    found: &mut Vec<Problem>,
) {
    let schema = resolve(root, schema);
    match value {
        Value::Object(fields) => {
            let Some(known) = schema.get("properties").and_then(Value::as_object) else { return };
            for (name, inner) in fields {
                let length = path.len();
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(name);
                match known.get(name) {
                    Some(schema) => find_unknown(root, schema, inner, path, found),
                    None if found.len() < MAX_PROBLEMS => {
                        found.push(Problem::new(path.clone(), unknown(name, known.keys())));
                    }
                    None => {}
                }
                path.truncate(length);
            }
        }
        Value::Array(items) => {
            let Some(schema) = schema.get("items") else { return };
            for (at, item) in items.iter().enumerate() {
                let length = path.len();
                path.push_str(&format!("[{at}]"));
                find_unknown(root, schema, item, path, found);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

/// Follows `$ref`, and the one alternative of an optional value that is an object.
fn resolve<'a>(root: &'a Value, mut schema: &'a Value) -> &'a Value {
    // Bounded, because references could form a circle.
    for _ in 0..8 {
        if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
            let Some(target) = name.strip_prefix('#').and_then(|at| root.pointer(at)) else {
                break;
            };
            schema = target;
        } else if let Some(one) = schema
            .get("anyOf")
            .and_then(Value::as_array)
            .and_then(|all| all.iter().find(|one| one.get("$ref").is_some()))
        {
            schema = one;
        } else {
            break;
        }
    }
    schema
}

fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> String {
    let nearest = known
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .min()
        .filter(|(distance, known)| *distance <= 3.min(known.len() / 2 + 1));
    match nearest {
        Some((_, known)) => format!("there is no such key; did you mean {known}?"),
        None => "there is no such key here".to_owned(),
    }
}

/// What the types cannot express. Cron fields and time zones are checked by the code that follows
/// them.
fn bounds(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut wrong = |bad: bool, path: &str, what: &str| {
        if bad {
            problems.push(Problem::new(path, what));
        }
    };
    let repository = &config.repository;
    wrong(repository.url.is_empty(), "repository.url", "it must be given, e.g. s3://bucket/prefix");
    let level = repository.compression_level;
    wrong(!(1..=19).contains(&level), "repository.compression_level", "it must be 1 to 19");
    wrong(config.capture.nice > 19, "capture.nice", "it must be 0 to 19");
    let rate = config.capture.rate_limit;
    wrong(
        rate.is_some_and(|rate| rate.0 < 64 << 10),
        "capture.rate_limit",
        "less than 64KiB a second is no use",
    );
    let spool = config.capture.spool.as_ref().map(|spool| spool.max_size.0);
    wrong(
        spool.is_some_and(|size| size < 16 << 20),
        "capture.spool.max_size",
        "it must be 16MiB or more",
    );
    let admin = &config.agent.admin;
    let tcp = !admin.listen.is_empty() && !admin.listen.starts_with("unix:");
    let files = admin.cacert.is_some() && admin.cert.is_some() && admin.key.is_some();
    wrong(
        tcp && !files,
        "agent.admin.listen",
        "TCP needs cacert, cert and key: clients must show a certificate",
    );
    for (path, span) in spans(config) {
        wrong(span.0.is_zero(), path, "it must be more than nothing");
    }
    let share = config
        .maintenance
        .defragment
        .as_ref()
        .map_or(0.5, |defragment| defragment.min_fragmentation);
    let path = "maintenance.defragment.min_fragmentation";
    wrong(!(0.0..=1.0).contains(&share), path, "it must be 0 to 1");
    names(config, &mut problems);
    problems
}

fn spans(config: &Config) -> [(&'static str, Span); 10] {
    [
        ("etcd.dial_timeout", config.etcd.dial_timeout),
        ("etcd.command_timeout", config.etcd.command_timeout),
        ("etcd.stall_timeout", config.etcd.stall_timeout),
        ("repository.request_timeout", config.repository.request_timeout),
        ("capture.max_hold", config.capture.max_hold),
        ("capture.back_off.every", config.capture.back_off.every),
        ("maintenance.every", config.maintenance.every),
        ("watch.target_age", config.watch.target_age),
        ("agent.takeover", config.agent.takeover),
        ("agent.grace", config.agent.grace),
    ]
}

fn names(config: &Config, problems: &mut Vec<Problem>) {
    for (at, schedule) in config.schedules.iter().enumerate() {
        let path = format!("schedules[{at}].name");
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let begins = schedule.name.starts_with(|c: char| c.is_ascii_alphanumeric());
        if schedule.name.len() > 40 || !begins || !schedule.name.chars().all(fits) {
            let what = "it must be 1 to 40 letters, digits, - or _, a letter or digit first";
            problems.push(Problem::new(path, what));
        } else if config.schedules.iter().take(at).any(|other| other.name == schedule.name) {
            problems.push(Problem::new(path, format!("there are two schedules {}", schedule.name)));
        }
    }
}

impl LogFormat {
    /// Whether lines are JSON.
    #[must_use]
    pub const fn is_json(self) -> bool {
        matches!(self, Self::Json)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problems_of(document: Value) -> Vec<String> {
        parse(document).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_file_with_a_url_is_enough() {
        let config = parse(json!({"repository": {"url": "s3://bucket/x"}})).unwrap();
        assert_eq!(config.schedules, [super::super::ScheduleConfig::default()]);
    }

    #[test]
    fn unknown_keys_are_all_reported_with_the_nearest_name() {
        let document = json!({
            "repositry": {},
            "repository": {"url": "s3://b", "recipient": []},
            "schedules": [{"crom": "@daily"}],
            "capture": {"spool": {"dir": "/x"}, "zebra": 1},
        });
        let problems = problems_of(document);
        assert!(
            problems
                .contains(&"repositry: there is no such key; did you mean repository?".to_owned()),
            "{problems:?}"
        );
        assert!(
            problems.iter().any(|line| line
                == "repository.recipient: there is no such key; did you mean recipients?")
        );
        assert!(
            problems
                .iter()
                .any(|line| line == "schedules[0].crom: there is no such key; did you mean cron?")
        );
        assert!(
            problems.iter().any(|line| line.starts_with("capture.spool.dir: there is no such key")),
            "{problems:?}"
        );
        assert!(problems.iter().any(|line| line == "capture.zebra: there is no such key here"));
    }

    #[test]
    fn values_of_a_wrong_type_are_reported_with_their_path() {
        let problems = problems_of(json!({"capture": {"max_hold": "5 parsecs"}}));
        assert!(problems[0].starts_with("capture.max_hold: "), "{problems:?}");
    }

    #[test]
    fn bounds_are_reported_together() {
        let problems = problems_of(json!({
            "repository": {"compression_level": 99},
            "agent": {"admin": {"listen": "0.0.0.0:1"}, "grace": 0},
            "schedules": [{"name": "a/b"}, {"name": "x"}, {"name": "x"}],
        }));
        assert_eq!(problems.len(), 6, "{problems:?}");
    }
}
