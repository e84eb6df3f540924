//! Alert rules, dashboard and documentation name metrics that there are, and all of them are
//! documented.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use etcdr_agent::metrics::TABLE;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every word of ours in a text: a metric, without what a histogram adds.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = words.filter(|word| word.starts_with("etcdr_"));
    ours.map(|word| {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end));
        base.filter(|base| is_histogram(base)).unwrap_or(word).to_owned()
    })
    .collect()
}

fn is_histogram(name: &str) -> bool {
    TABLE.iter().any(|row| row.name == name && row.kind == "histogram")
}

fn unknown(text: &str) -> Vec<String> {
    let there: BTreeSet<&str> = TABLE.iter().map(|row| row.name).collect();
    named(text).into_iter().filter(|name| !there.contains(name.as_str())).collect()
}

/// Labels that a query asks for, next to the metric that it asks: `metric{label="…"`.
fn unknown_labels(query: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in query.match_indices("etcdr_") {
        let rest = &query[at..];
        let name_end =
            rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (name, rest) = rest.split_at(name_end);
        let Some(inside) = rest.strip_prefix('{').and_then(|rest| rest.split('}').next()) else {
            continue;
        };
        let Some(row) = TABLE.iter().find(|row| named(name).contains(row.name)) else { continue };
        let labels = inside.split(',').filter_map(|pair| pair.split(['=', '!']).next());
        let strange = labels.filter(|label| *label != "job" && !row.labels.contains(label));
        found.extend(strange.map(|label| format!("{name} has no label {label}")));
    }
    found
}

fn check_query(query: &str) {
    assert!(!named(query).is_empty(), "{query:?} asks for nothing of ours");
    assert_eq!(unknown(query), [""; 0], "in {query:?}");
    assert_eq!(unknown_labels(query), [""; 0], "in {query:?}");
    let open = |c| query.matches(c).count();
    assert_eq!((open('('), open('{'), open('[')), (open(')'), open('}'), open(']')), "{query:?}");
}

#[test]
fn the_rules_are_able_to_fail() {
    assert_eq!(unknown("sum(etcdr_no_such_total) > etcdr_ready"), ["etcdr_no_such_total"]);
    assert_eq!(unknown("etcdr_ready_bucket"), ["etcdr_ready_bucket"]);
    assert_eq!(unknown_labels("etcdr_claims_total{outcom=\"won\"}").len(), 1);
    assert_eq!(unknown_labels("etcdr_claims_total{outcome=\"won\",job=\"x\"}").len(), 0);
}

#[test]
fn alert_rules_parse_and_name_metrics_that_there_are() {
    let rules: Value = serde_saphyr::from_str(&read("examples/prometheus/alerts.yaml")).unwrap();
    let mut names = BTreeSet::new();
    for rule in rules["groups"][0]["rules"].as_array().expect("rules") {
        let name = rule["alert"].as_str().expect("a name");
        assert!(names.insert(name.to_owned()), "{name} is there twice");
        check_query(rule["expr"].as_str().expect("an expression"));
        assert!(["critical", "warning"].contains(&rule["labels"]["severity"].as_str().unwrap()));
        for text in ["summary", "runbook"] {
            let text =
                rule["annotations"][text].as_str().unwrap_or_else(|| panic!("{name}: {text}"));
            assert!(!text.is_empty());
        }
    }
    assert!(names.len() >= 11, "{names:?}");
}

#[test]
fn the_dashboard_parses_and_names_metrics_that_there_are() {
    let dashboard: Value = serde_json::from_str(&read("examples/grafana/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().expect("panels");
    assert!(panels.len() > 10);
    for panel in panels {
        for target in panel["targets"].as_array().expect("targets") {
            check_query(target["expr"].as_str().expect("a query"));
        }
        let place = &panel["gridPos"];
        assert!(place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap() <= 24, "{panel}");
    }
}

#[test]
fn every_metric_is_documented() {
    let mut fresh = String::from(
        "# Metrics\n\nWhat an agent's `/metrics` answers with, in OpenMetrics text. Names and labels are a contract: they are added,\nnever changed. This table is made from the code; [examples](../examples/prometheus/alerts.yaml) has alert rules, and\n[a dashboard](../examples/grafana/dashboard.json) for Grafana.\n\nThe first one is the one that counts: while no restorable snapshot is known (also before the repository was listed) its\nage is `+Inf`, so that a rule on it fires. A snapshot is restorable when it exists, is not marked suspect, and was not\nfound damaged.\n\nLabels have bounded values: outcomes, stages, levels and kinds are closed sets, `schedule` is a configured name\n(`on-demand` for captures by hand; beyond 64 names, `other`), `member` an id of the member list, which goes when the\nmember goes.\n\n| name | type | labels | what it says |\n|---|---|---|---|\n",
    );
    for row in TABLE {
        let labels: Vec<String> = row.labels.iter().map(|label| format!("`{label}`")).collect();
        fresh +=
            &format!("| `{}` | {} | {} | {} |\n", row.name, row.kind, labels.join(", "), row.help);
    }
    let path = root().join("docs/metrics.md");
    if std::env::var_os("ETCDR_BLESS").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap_or_default() == fresh,
        "docs/metrics.md is stale: run with ETCDR_BLESS=1"
    );
}
