//! The rules of DESIGN and STYLE that a machine can check: who may depend on whom, what stays in
//! which crate, that no modules form a circle, how long files, functions and lines are, that links
//! and paths exist, and that nothing names the place where it was written. Each rule is a function
//! from text to findings, and is shown able to fail.

mod circles;
mod dependencies;
mod documents;
mod licences;
mod paths;
mod shape;
mod tokens;

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

/// What only the command line does: print, read arguments and environment, exit, ask for the time
/// and for random numbers.
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

struct Crate {
    name: String,
    dependencies: Vec<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What cargo says about the crates of the workspace.
fn metadata() -> cargo_metadata::Metadata {
    cargo_metadata::MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .other_options(vec!["--offline".to_owned()])
        .exec()
        .expect("cargo metadata")
}

/// `cargo tree` over the workspace, a package a line.
#[expect(clippy::disallowed_methods, reason = "cargo wants the environment it was started with")]
fn cargo_tree(args: &[&str]) -> String {
    let mut command = std::process::Command::new(env!("CARGO"));
    command.args(["tree", "--offline", "--workspace", "--prefix", "none"]).args(args);
    let output = command.current_dir(root()).output().expect("cargo can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn crates() -> Vec<Crate> {
    let all = metadata().packages.into_iter().map(|package| Crate {
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

/// Every file of ours below a directory whose name has this ending, with its text.
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
    if ["restore-engine/src/disk/durable.rs", "restore-engine/src/format/bolt/patch.rs"]
        .contains(&path)
    {
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
fn sibling_modules_form_no_circle() {
    let members = root().read_dir().expect("the workspace").flatten();
    let members: Vec<_> = members.filter(|entry| entry.path().join("src").is_dir()).collect();
    assert!(members.len() >= 7, "the crates were not found");
    for member in members {
        let name = member.file_name().display().to_string();
        let src = format!("{name}/src/");
        let sources = files(&src, ".rs").into_iter().filter_map(|(path, text)| {
            let below = path.strip_prefix(&src)?.to_owned();
            // Programs of their own, and what is generated.
            (!below.starts_with("bin/") && !below.starts_with("pb/")).then_some((below, text))
        });
        assert_none(circles::circle_findings(&name, &sources.collect::<Vec<_>>()));
    }
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
