//! What deny.toml says about licences, bans and sources, for machines without cargo-deny: the lists
//! are read from there, and cargo itself says what is built.

use std::collections::BTreeSet;

use crate::{assert_none, cargo_tree, files, over, root};

/// A package that is built, as `cargo tree` shows it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    /// An SPDX expression.
    licence: String,
    /// Empty for the usual registry.
    source: String,
}

/// Every package that some target builds, with all features, for the binary or for tests.
fn packages(targets: &[String]) -> BTreeSet<Package> {
    let mut all = BTreeSet::new();
    for target in targets {
        let text = cargo_tree(&["--all-features", "--target", target, "--format", "{p}|{l}"]);
        all.extend(text.lines().filter_map(package));
    }
    all
}

/// From a line like `age v0.12.1|MIT OR Apache-2.0`; packages of ours are none.
fn package(line: &str) -> Option<Package> {
    let (package, licence) = line.split_once('|')?;
    let (name, rest) = package.split_once(' ')?;
    let source = rest.split_once(" (").map_or("", |(_, source)| source.trim_end_matches(')'));
    let source = source.trim_start_matches("proc-macro").trim_start_matches(") (");
    let of_ours = source.starts_with('/');
    let licence = licence.trim_end_matches(" (*)").to_owned();
    (!of_ours).then(|| Package { name: name.to_owned(), licence, source: source.to_owned() })
}

/// The first texts of the entries of a list in deny.toml, up to the bracket that ends a line.
fn list(text: &str, key: &str) -> Vec<String> {
    let open = format!("\n{key} = [");
    let inside = text.split_once(&open).map_or("", |(_, rest)| rest);
    let inside = inside.split("]\n").next().unwrap_or_default();
    let lines = inside.lines().filter(|line| !line.trim_start().starts_with('#'));
    match key {
        // One on a line, with its reason.
        "deny" => lines.filter_map(|line| line.split('"').nth(1)).map(str::to_owned).collect(),
        _ => lines.flat_map(|line| line.split('"').skip(1).step_by(2)).map(str::to_owned).collect(),
    }
}

/// Whether an SPDX expression can be met with these licences. `/` is an old way to write `OR`.
fn is_met(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    are_met(&spaced.split_whitespace().collect::<Vec<_>>(), allowed)
}

fn are_met(words: &[&str], allowed: &[String]) -> bool {
    let met = |part: &Vec<&str>| are_met(part, allowed);
    match (split(words, "OR"), split(words, "AND")) {
        (either, _) if either.len() > 1 => either.iter().any(met),
        (_, all) if all.len() > 1 => all.iter().all(met),
        _ => match words {
            ["(", inside @ .., ")"] => are_met(inside, allowed),
            _ => allowed.contains(&words.join(" ")),
        },
    }
}

/// Cuts at the operators that stand outside of all brackets.
fn split<'a>(words: &[&'a str], operator: &str) -> Vec<Vec<&'a str>> {
    let mut parts = vec![Vec::new()];
    let mut depth = 0;
    for word in words {
        depth += match *word {
            "(" => 1,
            ")" => -1,
            _ => 0,
        };
        match parts.last_mut() {
            Some(part) if depth > 0 || *word != operator => part.push(*word),
            _ => parts.push(Vec::new()),
        }
    }
    parts
}

fn package_findings(packages: &BTreeSet<Package>, deny: &str) -> Vec<String> {
    let (allowed, banned) = (list(deny, "allow"), list(deny, "deny"));
    let mut found = Vec::new();
    for Package { name, licence, source } in packages {
        if !is_met(licence, &allowed) {
            found.push(format!("{name}: deny.toml does not allow the licence {licence:?}"));
        }
        if banned.contains(name) {
            found.push(format!("{name}: deny.toml bans it"));
        }
        if !source.is_empty() {
            found.push(format!("{name} comes from {source}"));
        }
    }
    found
}

#[test]
fn what_is_built_is_allowed() {
    let deny = std::fs::read_to_string(root().join("deny.toml")).expect("deny.toml");
    let packages = packages(&list(&deny, "targets"));
    assert!(packages.len() > 100, "cargo shows {} packages", packages.len());
    assert_none(package_findings(&packages, &deny));

    let check = |line: &str, expected: usize| {
        let found = package_findings(&package(line).into_iter().collect(), &deny);
        assert_eq!(found.len(), expected, "{line}: {found:?}");
    };
    check("ours v0.1.0 (/somewhere/ours)|", 0);
    check("good v0.1.0 (proc-macro)|MIT/Apache-2.0 (*)", 0);
    check("good v0.1.0|ISC AND (GPL-3.0-only OR MIT-0)", 0);
    check("good v0.1.0|Apache-2.0 WITH LLVM-exception OR GPL-2.0-only", 0);
    check("copyleft v0.1.0|GPL-3.0-only", 1);
    check("copyleft v0.1.0|MIT AND (GPL-3.0-only OR SSPL-1.0)", 1);
    check("unclear v0.1.0|", 1);
    check("forked v0.1.0 (https://example.com/forked#12345678)|MIT", 1);
    check("ring v0.17.14|Apache-2.0 AND ISC", 1);
    check("serde_yaml v0.9.0|MIT", 1);
}

fn wildcard_findings(path: &str, manifest: &str) -> Vec<String> {
    let wild = manifest.lines().filter(|line| line.replace(' ', "").contains("=\"*\""));
    wild.map(|line| format!("{path}: any version will do for {line}")).collect()
}

#[test]
fn every_dependency_has_a_version() {
    let manifests = files(".", "Cargo.toml");
    assert!(manifests.len() >= 8, "the manifests were not found");
    assert_none(over(manifests, wildcard_findings));
    assert_eq!(wildcard_findings("x", "a = \"1\"\nb = { version = \"*\" }").len(), 1);
}
