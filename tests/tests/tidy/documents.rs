//! That links and paths in documents lead somewhere, and that nothing names the place where it was
//! written.

use std::path::Path;

use crate::{assert_none, files, over, root};

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

/// Paths of source files, in backquotes, that do not exist. Paths of other kinds begin elsewhere.
fn source_path_findings(path: &str, text: &str, exists: &dyn Fn(&Path) -> bool) -> Vec<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    let paths = quoted.filter(|span| span.contains("/src/") && span.ends_with(".rs"));
    let dead = paths.filter(|span| !exists(Path::new(span)));
    dead.map(|span| format!("{path}: {span} does not exist")).collect()
}

/// Names of the place where this was written, in halves so that this file does not contain them.
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
fn the_walks_of_the_architecture_name_files_that_exist() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let exists = |path: &Path| root().join(path).exists();
    assert!(text.matches("/src/").count() > 40, "the walks were not found");
    assert_none(source_path_findings("ARCHITECTURE.md", &text, &exists));
    assert_eq!(source_path_findings("a.md", "see `cli/src/none.rs`", &exists).len(), 1);
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
