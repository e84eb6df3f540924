//! That a crate names in its sources what its manifest asks for: what nobody names is built for
//! nothing, and what only tests name does not belong into the binary. And that tests and the binary
//! agree on the features of what they share, so that it is built once.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::DependencyKind;

use crate::paths::code_tokens;
use crate::tokens::tokens;
use crate::{assert_none, cargo_tree, files, metadata};

/// Named by nobody, with the reason. Shorten the list, do not lengthen it.
const UNNAMED: [(&str, &str); 0] = [];

/// What a manifest asks for, as it is named in code.
#[derive(Default)]
struct Member {
    name: String,
    normal: Vec<String>,
    tests: Vec<String>,
}

fn members() -> Vec<(Member, Vec<(String, String)>)> {
    let all = metadata().packages.into_iter().map(|package| {
        let names = |kind| {
            let wanted = package.dependencies.iter().filter(move |one| one.kind == kind);
            let named = wanted.map(|one| one.rename.as_ref().unwrap_or(&one.name));
            named.map(|name| name.replace('-', "_")).collect()
        };
        let folder = package.manifest_path.parent().and_then(|folder| folder.file_name());
        let sources = folder.map(|folder| files(folder, ".rs")).unwrap_or_default();
        let member = Member {
            name: package.name.to_string(),
            normal: names(DependencyKind::Normal),
            tests: names(DependencyKind::Development),
        };
        (member, with_borrowed(sources))
    });
    all.collect()
}

/// Tests take modules of another crate's tests by `#[path]`, with all that these need.
fn with_borrowed(mut sources: Vec<(String, String)>) -> Vec<(String, String)> {
    let folders: BTreeSet<_> = sources
        .iter()
        .flat_map(|(_, text)| text.split("#[path = \"../../").skip(1))
        .filter_map(|rest| rest.split('"').next()?.rsplit_once('/'))
        .map(|(folder, _)| folder.to_owned())
        .collect();
    sources.extend(folders.iter().flat_map(|folder| files(folder, ".rs")));
    sources
}

/// The paths of the sources begin with the folder of the crate.
fn dependency_findings(member: &Member, sources: &[(String, String)]) -> Vec<String> {
    let is_test = |path: &str| !path.contains("/src/") || path.ends_with("/tests.rs");
    let code: BTreeSet<&str> = sources
        .iter()
        .filter(|(path, _)| !is_test(path))
        .flat_map(|(_, text)| code_tokens(text))
        .map(|token| token.text)
        .collect();
    let all: BTreeSet<&str> =
        sources.iter().flat_map(|(_, text)| tokens(text)).map(|token| token.text).collect();
    let owner = member.name.as_str();
    let unnamed = |name: &str| !all.contains(name) && !UNNAMED.contains(&(owner, name));
    let mut found = Vec::new();
    for name in member.normal.iter().map(String::as_str) {
        if unnamed(name) {
            found.push(format!("{owner} does not name {name}"));
        } else if all.contains(name) && !code.contains(name) && owner != "etcdr-tests" {
            found.push(format!("only tests of {owner} name {name}"));
        }
    }
    let tests = member.tests.iter().filter(|name| unnamed(name));
    found.extend(tests.map(|name| format!("no test of {owner} names {name}")));
    found
}

/// By package: the features it is built with; what is built for the compiler's sake is left out.
fn features(tree: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut all: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for line in tree.lines() {
        if let Some((package, features)) = line.trim_end_matches(" (*)").split_once('|') {
            all.entry(package).or_default().insert(features);
        }
    }
    // Packages of ours stand with their path.
    all.retain(|package, _| !package.contains("(/"));
    all
}

fn shared_build_findings(binary: &str, tests: &str) -> Vec<String> {
    let (binary, tests) = (features(binary), features(tests));
    let differing = binary.iter().filter_map(|(package, features)| {
        let only: Vec<_> = tests.get(package)?.difference(features).copied().collect();
        (!only.is_empty()).then(|| format!("tests alone build {package} with {}", only.join("; ")))
    });
    differing.collect()
}

#[test]
fn binary_and_tests_share_one_build() {
    const FORMAT: [&str; 2] = ["--format", "{p}|{f}"];
    let tree = |args: [&str; 3]| cargo_tree(&[&args[..], &FORMAT].concat());
    // As the Makefile builds the binary.
    let binary = |features| tree(["--edges=normal,no-proc-macro", "--features", features]);
    let tests = tree(["--edges=normal,dev,no-proc-macro", "--features", ""]);
    assert_none(shared_build_findings(&binary("etcdr-tests/shared-build"), &tests));
    assert_eq!(shared_build_findings(&binary(""), &tests).len(), 1);
}

#[test]
fn crates_name_what_they_depend_on() {
    let members = members();
    assert!(members.len() >= 7, "the crates were not found");
    let found = members.iter().flat_map(|(member, sources)| dependency_findings(member, sources));
    assert_none(found.collect());

    let check = |path: &str, text: &str, expected: &[&str]| {
        let (name, names) = ("x".to_owned(), || vec!["a_b".to_owned()]);
        let sources = [(path.to_owned(), text.to_owned())];
        let normal = Member { name: name.clone(), normal: names(), ..Member::default() };
        let tests = Member { name, tests: names(), ..Member::default() };
        let found = [normal, tests].map(|member| dependency_findings(&member, &sources)).concat();
        assert_eq!(found, expected, "{text}");
    };
    check("x/src/y.rs", "use a_b::C;", &[]);
    check(
        "x/src/y.rs",
        "// a_b\nlet a_b2 = \"a_b\";",
        &["x does not name a_b", "no test of x names a_b"],
    );
    check("x/src/y.rs", "#[cfg(test)]\nmod tests { use a_b::C; }", &["only tests of x name a_b"]);
    check("x/tests/y.rs", "use a_b::C;", &["only tests of x name a_b"]);
}
