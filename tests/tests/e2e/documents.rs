//! The commands of README and tutorial work when somebody types them, from top to bottom.

use std::path::Path;

use etcdr_tests::backup::etcdr;
use etcdr_tests::etcd::{Cluster, free_port};
use etcdr_tests::process::{command, finish};
use etcdr_tests::versions;

/// The blocks of code of a document, in order: those below `headings`, or all where none is given.
fn blocks(document: &str, headings: &[&str]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(document);
    let text = std::fs::read_to_string(path).unwrap();
    let (mut wanted, mut inside, mut script) = (headings.is_empty(), false, String::new());
    for line in text.lines() {
        if line.starts_with("```") {
            inside = !inside;
        } else if inside && wanted {
            script.extend([line, "\n"]);
        } else if let Some(heading) = line.strip_prefix("## ").filter(|_| !inside) {
            wanted = headings.is_empty() || headings.contains(&heading);
        }
    }
    assert!(!script.is_empty(), "{document} has no block below {headings:?}");
    script
}

/// Types the commands into a shell, in an empty directory. Returns what the terminal shows.
///
/// Exit code 3 is a warning and no failure. `kill` waits for the end of etcd, and `sleep` for the
/// start of the one at `client`, so that a slow machine passes too.
#[track_caller]
fn typed(dir: &Path, script: &str, client: &str) -> String {
    let script = format!(
        "set -eu
        exec 2>&1
        trap 'command kill ${{ETCD_PID:-}} 2>/dev/null || true' EXIT
        etcdr() {{ \"$UNDER_TEST\" \"$@\" || [ $? = 3 ]; }}
        kill() {{ command kill \"$@\"; wait \"$@\" || true; }}
        sleep() {{
            command sleep \"$1\"
            [ \"$1\" = 1 ] || timeout 60 env -u ETCDCTL_ENDPOINTS sh -c \\
                'until etcdctl --endpoints {client} endpoint health; do sleep 0.2; done' \\
                >/dev/null 2>&1
        }}\n{script}"
    );
    let file = dir.join("typed.sh");
    std::fs::write(&file, script).unwrap();
    let mut shell = command("sh");
    let path = std::env::var("PATH").unwrap_or_default();
    let tools = versions::newest().dir.display();
    shell.env("PATH", format!("{tools}:{path}")).env("UNDER_TEST", etcdr());
    let said = finish(shell.arg(&file).current_dir(dir), &[]);
    assert_eq!(said.code, 0, "{}", said.stdout_text());
    said.stdout_text()
}

#[track_caller]
fn assert_shows(shown: &str, parts: &[&str]) {
    for part in parts {
        assert!(shown.contains(part), "{part:?} is not in:\n{shown}");
    }
}

#[test]
fn the_readme_saves_restores_and_checks_as_it_is_typed() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::new(versions::newest(), 1, dir.path());
    cluster.ctl(&["put", "/a", "1"]);
    let script = blocks("README.md", &["First backup", "First restore", "Are the backups good?"]);
    let script = script.replace("http://127.0.0.1:2379", cluster.endpoint());
    let place = tempfile::tempdir().unwrap();
    let shown = typed(place.path(), &script, cluster.endpoint());
    assert_shows(&shown, &["saved revision 2 of cluster default", "etcd-new/c"]);
    assert!(!place.path().join("etcd-new").exists(), "a dry run has written something");
}

#[test]
fn the_tutorial_gives_the_greetings_back_as_it_is_typed() {
    let dir = tempfile::tempdir().unwrap();
    let (client, peer) = (free_port().to_string(), free_port().to_string());
    let script = blocks("docs/start-here.md", &[]);
    let script = script.replace("12379", &client).replace("12380", &peer);
    let shown = typed(dir.path(), &script, &format!("http://127.0.0.1:{client}"));
    assert_shows(&shown, &["saved revision 6 of cluster default", "hello 5", "1000000006"]);
    assert!(!shown.contains("too late for the snapshot"), "{shown}");
    assert!(!dir.path().join("etcdr-tutorial").exists(), "the tutorial cleans up");
}
