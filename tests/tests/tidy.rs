//! The rules of DESIGN and STYLE that a machine can check: who may depend on whom, what stays in which
//! crate, how long files and functions are, that links lead somewhere, and that nothing names the place
//! where it was written. Each rule is a function from text to findings, and is shown able to fail.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The libraries and what each may import of this workspace.
const EDGES: [(&str, &[&str]); 7] = [
    ("etcdr-schemas", &[]),
    ("etcdr-restore-engine", &["etcdr-schemas"]),
    ("etcdr-repository", &["etcdr-schemas"]),
    ("etcdr-node", &["etcdr-schemas"]),
    (
        "etcdr-operations",
        &["etcdr-schemas", "etcdr-restore-engine", "etcdr-repository", "etcdr-node"],
    ),
    ("etcdr-agent", &["etcdr-schemas", "etcdr-repository", "etcdr-node", "etcdr-operations"]),
    (
        "etcdr",
        &[
            "etcdr-schemas",
            "etcdr-restore-engine",
            "etcdr-repository",
            "etcdr-node",
            "etcdr-operations",
            "etcdr-agent",
        ],
    ),
];

/// Crates that only one of ours may name, so that each concern has one place.
const CONFINED: [(&str, &[&str]); 18] = [
    ("object_store", &["etcdr-repository"]),
    ("zstd", &["etcdr-repository"]),
    ("age", &["etcdr-repository"]),
    ("minisign", &["etcdr-repository"]),
    ("zip", &["etcdr-repository"]),
    ("tar", &["etcdr-repository"]),
    ("tonic", &["etcdr-node", "etcdr-agent"]),
    ("tonic-prost", &["etcdr-node", "etcdr-agent"]),
    ("tonic-health", &["etcdr-agent"]),
    ("tonic-reflection", &["etcdr-agent"]),
    ("axum", &["etcdr-agent"]),
    ("prometheus-client", &["etcdr-agent"]),
    ("tower", &["etcdr-node", "etcdr-agent"]),
    ("clap", &["etcdr"]),
    ("indicatif", &["etcdr"]),
    ("comfy-table", &["etcdr"]),
    ("anyhow", &["etcdr", "etcdr-tests"]),
    ("getrandom", &["etcdr"]),
];

/// What a synchronous, offline or contracts-only crate must do without.
const WITHOUT: [(&str, &[&str]); 2] = [
    ("etcdr-schemas", &["tokio", "tonic", "object_store", "reqwest", "rustix"]),
    (
        "etcdr-restore-engine",
        &["tokio", "tonic", "object_store", "reqwest", "async-trait", "futures-util"],
    ),
];

/// What only the command line does: print, read arguments and environment, exit, ask clock and dice.
const ONLY_CLI: [&str; 13] = [
    "println!(",
    "print!(",
    "eprintln!(",
    "eprint!(",
    "process::exit(",
    "env::args",
    "env::var",
    "env::current_dir(",
    "Utc::now(",
    "SystemTime::now(",
    "thread_rng(",
    "rand::random",
    "is_terminal(",
];

/// Longer than the cap with a reason. Shorten the list, do not lengthen it.
const LONG_FILES: [(&str, &str); 0] = [];
const MAX_FILE_LINES: usize = 400;
const MAX_FUNCTION_LINES: usize = 70;

struct Crate {
    name: String,
    dependencies: Vec<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn crates() -> Vec<Crate> {
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .other_options(vec!["--offline".to_owned()])
        .exec()
        .expect("cargo metadata");
    let all = metadata.packages.iter().map(|package| Crate {
        name: package.name.to_string(),
        dependencies: package
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind == cargo_metadata::DependencyKind::Normal)
            .map(|dependency| dependency.name.clone())
            .collect(),
    });
    all.collect()
}

fn edge_findings(crates: &[Crate]) -> Vec<String> {
    let ours: Vec<&str> = crates.iter().map(|one| one.name.as_str()).collect();
    let edges: BTreeMap<_, _> = EDGES.into_iter().collect();
    let mut found = Vec::new();
    for one in crates.iter().filter(|one| one.name != "etcdr-tests") {
        let Some(allowed) = edges.get(one.name.as_str()) else {
            found.push(format!("{} has no row in EDGES", one.name));
            continue;
        };
        for name in one.dependencies.iter().map(String::as_str) {
            if ours.contains(&name) && !allowed.contains(&name) {
                found.push(format!("{} must not import {name}", one.name));
            }
        }
    }
    found
}

fn confined_findings(crates: &[Crate]) -> Vec<String> {
    let mut found = Vec::new();
    for one in crates {
        for name in one.dependencies.iter().map(String::as_str) {
            let owners = CONFINED.iter().find(|(confined, _)| *confined == name);
            if owners.is_some_and(|(_, owners)| !owners.contains(&one.name.as_str())) {
                found.push(format!("{} must not name {name}", one.name));
            }
            let without = WITHOUT.iter().find(|(crate_name, _)| *crate_name == one.name);
            if without.is_some_and(|(_, banned)| banned.contains(&name)) {
                found.push(format!("{} must do without {name}", one.name));
            }
        }
    }
    found
}

/// Every file of ours below a directory whose name ends so.
fn files(dir: &str, ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![root().join(dir)];
    while let Some(dir) = open.pop() {
        for entry in dir.read_dir().into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name().display().to_string());
            let hidden = name.starts_with('.') && name != ".ci";
            if path.is_dir() && !hidden && name != "target" && name != "bench-results" {
                open.push(path);
            } else if name.ends_with(ending) && !path.is_dir() {
                let text = std::fs::read(&path).expect("a file of ours can be read");
                let shown = path.strip_prefix(root()).unwrap_or(&path).display().to_string();
                found.push((shown, String::from_utf8_lossy(&text).into_owned()));
            }
        }
    }
    found.sort();
    found
}

const LIBRARIES: [&str; 6] = [
    "schemas/src",
    "restore-engine/src",
    "repository/src",
    "node/src",
    "operations/src",
    "agent/src",
];

fn library_sources() -> Vec<(String, String)> {
    LIBRARIES.iter().flat_map(|dir| files(dir, ".rs")).collect()
}

fn all_sources() -> Vec<(String, String)> {
    let mut all = library_sources();
    all.extend(files("cli/src", ".rs"));
    all.extend(files("tests/src", ".rs"));
    // Generated from the .proto files.
    let generated = ["schemas/src/pb/", "agent/src/admin/api/"];
    all.retain(|(path, _)| !generated.iter().any(|folder| path.starts_with(folder)));
    all
}

/// The part of a file that is not its test module.
fn without_tests(text: &str) -> &str {
    text.split_once("\n#[cfg(test)]\nmod ").map_or(text, |(code, _)| code)
}

fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = without_tests(text).lines().enumerate();
    lines
        .map(|(number, line)| (number + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn only_cli_findings(path: &str, text: &str) -> Vec<String> {
    let hits = code_lines(text).filter_map(|(number, line)| {
        let word = ONLY_CLI.iter().find(|word| contains_word(line, word))?;
        Some(format!("{path}:{number}: only cli may use {word}"))
    });
    hits.collect()
}

/// `print!(` is not in `eprint!(`, nor `env::var` in `my_env::var`.
fn contains_word(line: &str, word: &str) -> bool {
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_'))
}

fn file_length_findings(path: &str, text: &str) -> Vec<String> {
    let lines = without_tests(text).lines().count();
    let excused = LONG_FILES.iter().any(|(file, _)| *file == path);
    match lines > MAX_FILE_LINES && !excused {
        true => vec![format!("{path}: {lines} lines without tests, more than {MAX_FILE_LINES}")],
        false => Vec::new(),
    }
}

/// rustfmt closes a function with a brace at the indentation of its `fn`.
fn function_length_findings(path: &str, text: &str) -> Vec<String> {
    let lines: Vec<&str> = without_tests(text).lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let declares = trimmed.starts_with("fn ")
            || (trimmed.contains(" fn ") && !trimmed.starts_with("//") && trimmed.contains('('));
        if !declares || trimmed.ends_with(';') || trimmed.ends_with('}') {
            continue;
        }
        let indent = &line[..line.len() - trimmed.len()];
        let close = format!("{indent}}}");
        let length = lines[start..].iter().position(|line| *line == close).map_or(0, |at| at + 1);
        if length > MAX_FUNCTION_LINES {
            found.push(format!("{path}:{}: a function of {length} lines", start + 1));
        }
    }
    found
}

/// Relative links of a Markdown file that lead nowhere.
fn link_findings(path: &str, text: &str, exists: &dyn Fn(&Path) -> bool) -> Vec<String> {
    let folder = Path::new(path).parent().unwrap_or(Path::new(""));
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let relative =
        targets.map(|target| target.split('#').next().unwrap_or_default()).filter(|target| {
            !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:")
        });
    let dead = relative.filter(|target| !exists(&folder.join(target)));
    dead.map(|target| format!("{path}: the link to {target} leads nowhere")).collect()
}

/// Names of the place where this was written, put together here so that this file does not hold them.
fn place_names() -> Vec<String> {
    let halves = [
        ("/wo", "rk/"),
        ("/ro", "ot/"),
        ("/tmp/tar", "get-"),
        ("deb.deb", "ian.org"),
        ("index.cra", "tes.io"),
        ("static.cra", "tes.io"),
        ("artif", "actory"),
        ("cla", "ude"),
        ("anth", "ropic"),
        ("chat", "gpt"),
        ("copi", "lot"),
    ];
    halves.iter().map(|(a, b)| format!("{a}{b}")).collect()
}

fn place_findings(path: &str, text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let named = place_names().into_iter().filter(|name| lower.contains(name.as_str()));
    named.map(|name| format!("{path} names {name}")).collect()
}

/// A crate that does not take the workspace's lints would not forbid unsafe code.
fn lint_findings(path: &str, text: &str) -> Vec<String> {
    match text.contains("[lints]\nworkspace = true") {
        true => Vec::new(),
        false => vec![format!("{path} does not take the workspace's lints")],
    }
}

/// In the engine, one module writes local files.
fn local_write_findings(path: &str, text: &str) -> Vec<String> {
    const WRITES: [&str; 7] = [
        "File::create",
        "OpenOptions",
        "fs::write(",
        "fs::rename(",
        "fs::remove_dir_all(",
        "fs::create_dir",
        "fs::copy(",
    ];
    // Patching opens a staged file that durable made, and makes none.
    if ["restore-engine/src/durable.rs", "restore-engine/src/bolt/patch.rs"].contains(&path) {
        return Vec::new();
    }
    let hits = code_lines(text).filter_map(|(number, line)| {
        let word = WRITES.iter().find(|word| contains_word(line, word))?;
        Some(format!("{path}:{number}: only durable may use {word}"))
    });
    hits.collect()
}

/// In the repository, one module builds object keys.
fn key_findings(path: &str, text: &str) -> Vec<String> {
    const PARTS: [&str; 4] = ["manifests/", "images/", ".minisig\"", "\"etcdr.json\""];
    if path == "repository/src/layout.rs" {
        return Vec::new();
    }
    let hits = code_lines(text).filter_map(|(number, line)| {
        let part = PARTS.iter().find(|part| line.contains('"') && line.contains(*part))?;
        Some(format!("{path}:{number}: only layout may build a key with {part}"))
    });
    hits.collect()
}

#[track_caller]
fn assert_none(found: Vec<String>) {
    assert!(found.is_empty(), "{} findings:\n{}", found.len(), found.join("\n"));
}

/// Runs a rule over files.
fn over(files: Vec<(String, String)>, rule: fn(&str, &str) -> Vec<String>) -> Vec<String> {
    files.iter().flat_map(|(path, text)| rule(path, text)).collect()
}

fn planted(name: &str, dependencies: &[&str]) -> Vec<Crate> {
    let mut all = crates();
    let one = all.iter_mut().find(|one| one.name == name).expect("a crate of ours");
    one.dependencies.extend(dependencies.iter().map(|name| (*name).to_owned()));
    all
}

#[test]
fn crates_depend_in_one_direction() {
    assert_none(edge_findings(&crates()));
    assert_eq!(edge_findings(&planted("etcdr-node", &["etcdr-repository"])).len(), 1);
    assert_eq!(edge_findings(&planted("etcdr-schemas", &["etcdr-node"])).len(), 1);
}

#[test]
fn each_concern_has_one_crate() {
    assert_none(confined_findings(&crates()));
    for (name, dependency) in [
        ("etcdr-node", "zstd"),
        ("etcdr-repository", "tonic"),
        ("etcdr-node", "anyhow"),
        ("etcdr-schemas", "tokio"),
    ] {
        assert_eq!(
            confined_findings(&planted(name, &[dependency])).len(),
            1,
            "{name} {dependency}"
        );
    }
}

#[test]
fn only_the_command_line_prints_and_asks_clock_and_environment() {
    let mut sources = library_sources();
    sources.retain(|(path, _)| !path.starts_with("schemas/src/pb/"));
    assert!(sources.len() > 10, "the sources were not found");
    assert_none(over(sources, only_cli_findings));
    for line in [
        "    println!(\"x\");",
        "let t = chrono::Utc::now();",
        "if std::env::var(\"X\").is_ok() {}",
    ] {
        assert_eq!(only_cli_findings("a.rs", line).len(), 1, "{line}");
    }
    assert_none(only_cli_findings(
        "a.rs",
        "// println!(\n\n#[cfg(test)]\nmod tests { println!() }",
    ));
}

#[test]
fn unsafe_code_is_forbidden_everywhere() {
    let workspace = std::fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    assert!(workspace.contains("unsafe_code = \"forbid\""));
    let manifests: Vec<_> =
        files(".", "Cargo.toml").into_iter().filter(|(path, _)| path.contains("/Cargo")).collect();
    assert!(manifests.len() >= 7);
    let members =
        manifests.into_iter().filter(|(path, _)| path != "./Cargo.toml" && !path.contains("fuzz"));
    assert_none(over(members.collect(), lint_findings));
    assert_eq!(lint_findings("x/Cargo.toml", "[package]\nname = \"x\"\n").len(), 1);
}

#[test]
fn files_and_functions_stay_short() {
    assert_none(over(all_sources(), file_length_findings));
    assert_none(over(all_sources(), function_length_findings));
    assert_eq!(file_length_findings("a.rs", &"x\n".repeat(401)).len(), 1);
    assert_none(file_length_findings(
        "a.rs",
        &format!("x\n#[cfg(test)]\nmod tests {{\n{}", "x\n".repeat(900)),
    ));
    let long = format!(
        "    pub(crate) async fn long(\n        &self,\n    ) {{\n{}    }}\n",
        "        x();\n".repeat(70)
    );
    assert_eq!(function_length_findings("a.rs", &long).len(), 1);
}

#[test]
fn one_module_writes_local_files_and_one_builds_keys() {
    assert_none(over(files("restore-engine/src", ".rs"), local_write_findings));
    assert_none(over(files("repository/src", ".rs"), key_findings));
    assert_eq!(local_write_findings("restore-engine/src/x.rs", "fs::rename(a, b)?;").len(), 1);
    assert_eq!(
        key_findings("repository/src/x.rs", "format!(\"{cluster}/manifests/{id}\")").len(),
        1
    );
}

#[test]
fn links_in_documents_lead_somewhere() {
    let documents = files(".", ".md");
    assert!(documents.iter().any(|(path, _)| path.ends_with("ARCHITECTURE.md")));
    let exists = |path: &Path| root().join(path).exists();
    let found =
        documents.iter().flat_map(|(path, text)| link_findings(path, text, &exists)).collect();
    assert_none(found);
    assert_eq!(link_findings("a.md", "[x](no/such/file.md#part)", &exists).len(), 1);
}

#[test]
fn nothing_names_the_place_where_it_was_written() {
    let mut all = Vec::new();
    for ending in [".rs", ".md", ".toml", ".sh", ".json", ".yaml", ".proto", "Makefile", "run"] {
        all.extend(files(".", ending));
    }
    all.extend(files("scripts", ""));
    assert_none(over(all, place_findings));
    for name in place_names() {
        assert_eq!(place_findings("a.md", &format!("x {name} y")).len(), 1, "{name}");
    }
}

#[test]
fn native_tls_stacks_stay_out() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock");
    let rule = |text: &str| {
        ["openssl-sys", "native-tls"]
            .iter()
            .filter(|name| text.contains(&format!("name = \"{name}\"")))
            .count()
    };
    assert_eq!(rule(&lock), 0);
    assert_eq!(rule("name = \"openssl-sys\""), 1);
}
