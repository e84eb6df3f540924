//! What the commands print, for people and for programs, and how they are named and refused.

use std::os::unix::fs::PermissionsExt as _;

use etcdr_tests::backup::{Backup, assert_valid, etcdr};
use etcdr_tests::process::{command, finish};
use etcdr_tests::source::Source;
use etcdr_tests::versions;
use sha2::{Digest as _, Sha256};

use crate::place_with_snapshot;

#[test]
fn snapshots_are_listed_newest_first_and_found_by_every_kind_of_name() {
    let (place, first) = place_with_snapshot(versions::oldest());
    // Ids carry whole seconds.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let source = Source::of(versions::newest());
    let file = source.file.display().to_string();
    let second = place.run(&["snapshot", "import", &file]).ok().stdout_text().trim().to_owned();
    assert_eq!(place.ids(), [second.clone(), first.clone()]);
    let shown = |name: &str| {
        let report = place.json(&["snapshot", "show", name]);
        report["manifest"]["id"].as_str().unwrap().to_owned()
    };
    assert_eq!(shown("latest"), second);
    assert_eq!(shown("latest~1"), first);
    assert_eq!(shown(&first), first);
    assert_eq!(shown(&second[second.len() - 8..]), second);
    assert_eq!(shown(&format!("@r{}", source.load.revision)), second);
    assert_eq!(shown("@2099-01-01T00:00:00Z"), second);

    place.run(&["snapshot", "show", "latest~2"]).ends_with(21);
    place.run(&["snapshot", "show", "@2001-01-01T00:00:00Z"]).ends_with(21);
    place.run(&["snapshot", "show", "@r1"]).ends_with(21);
    // Both begin with the same century.
    place.run(&["snapshot", "show", "20"]).ends_with(21).saying(&first).saying(&second);
    place.run(&["snapshot", "show", "0badcafe"]).ends_with(21).saying(&second);
    place.run(&["snapshot", "show", "no-such-name"]).ends_with(2).saying("no-such-name");

    let table = place.run(&["snapshot", "list"]).ok();
    assert!(table.stdout_text().contains(&first), "{}", table.stdout_text());
    assert_eq!(table.stdout_text().lines().count(), 3);
}

#[test]
fn an_empty_cluster_lists_nothing_and_says_so() {
    let place = Backup::new();
    assert_eq!(place.ids(), Vec::<String>::new());
    place.run(&["snapshot", "list"]).ok().saying("no snapshots");
    place.run(&["snapshot", "show"]).ends_with(21);
    place.run(&["--cluster", "../evil", "snapshot", "list"]).ends_with(2);
}

#[test]
fn clusters_of_one_repository_do_not_see_each_other() {
    let (place, _) = place_with_snapshot(versions::newest());
    place.run(&["--cluster", "other", "snapshot", "show"]).ends_with(21);
    let file = Source::of(versions::newest()).file.display().to_string();
    place.run(&["--cluster", "other", "snapshot", "import", &file]).ok();
    assert_eq!(place.ids().len(), 1);
}

#[test]
fn an_export_flows_through_a_pipe_and_stops_when_its_reader_does() {
    let (place, _) = place_with_snapshot(versions::newest());
    let source = Source::of(versions::newest());
    let said = place.run(&["snapshot", "export", "latest", "-"]).ok();
    assert!(said.stdout == source.bytes(), "exactly the file, and nothing else, on stdout");

    let pipe = |script: &str| {
        let mut shell = command("/bin/sh");
        shell.args(["-c", script, "sh"]).arg(etcdr()).current_dir(place.dir());
        shell.env("ETCDR_REPOSITORY", &place.repository);
        shell.env("ETCDR_IDENTITY", place.path("keys/identity.txt"));
        finish(&mut shell, &[])
    };
    let digest = pipe("\"$1\" snapshot export latest - | sha256sum").ok().stdout_text();
    let expected = Sha256::digest(source.bytes());
    let expected: String = expected.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(digest.starts_with(&expected), "{digest}");
    // An export that nobody read to the end has failed; a list that nobody read has not.
    let status = pipe("{ \"$1\" snapshot export latest -; echo $? >&2; } | head -c 10 >/dev/null");
    assert!(!status.stderr.trim().ends_with('0'), "{}", status.stderr);
    let list = pipe("{ \"$1\" snapshot list; echo $? >&2; } | true");
    assert!(list.stderr.trim().ends_with('0'), "{}", list.stderr);
}

#[test]
fn an_exported_file_is_private_whole_and_never_overwrites() {
    let (place, id) = place_with_snapshot(versions::newest());
    let file = place.path("out.db");
    let report = place.json(&["snapshot", "export", "latest", &file]);
    assert_eq!(report["id"], id);
    let metadata = std::fs::metadata(&file).unwrap();
    assert_eq!(report["size"], metadata.len());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    std::fs::write(&file, "precious").unwrap();
    place.run(&["snapshot", "export", "latest", &file]).ends_with(1).saying("exists");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
}

#[test]
fn every_level_of_verification_passes_for_a_good_snapshot_and_a_good_file() {
    let (place, _) = place_with_snapshot(versions::newest());
    let source = Source::of(versions::newest());
    for level in ["manifest", "object", "content", "structure"] {
        let report = place.json(&["verify", "latest", "--level", level]);
        assert_eq!(report["ok"], true, "{report}");
        assert_eq!(report["level"], level);
        assert_eq!(report["passed"].as_array().unwrap().last().unwrap(), level);
    }
    let report = place.json(&["verify", "latest", "--level", "structure"]);
    assert_eq!(report["revision"], source.load.revision);
    let file = source.file.display().to_string();
    let report = place.json(&["verify", "--file", &file, "--level", "structure"]);
    assert_eq!(report["ok"], true, "{report}");
    assert_eq!(report["revision"], source.load.revision);
    // A level that a plain file cannot have is not reported as failed.
    let table = place.run(&["verify", "--file", &file]).ok().stdout_text();
    assert!(table.contains("structure") && !table.contains("FAILED"), "{table}");
}

#[test]
fn reports_come_as_json_yaml_and_errors_too() {
    let (place, id) = place_with_snapshot(versions::newest());
    for args in [&["snapshot", "list"][..], &["snapshot", "show"], &["verify", "latest"]] {
        place.json(args);
        let yaml = place.run(&[args, &["-o", "yaml"]].concat()).ok().stdout_text();
        assert!(yaml.contains("schema: etcdr/") && yaml.contains(&id), "{yaml}");
    }
    let said = place.run(&["snapshot", "show", "0badcafe", "-o", "json"]).ends_with(21);
    assert!(said.stdout.is_empty(), "stdout is for data");
    let error: serde_json::Value = serde_json::from_str(&said.stderr).unwrap();
    assert_valid(&error);
    assert_eq!(error["exit_code"], 21);
    for part in ["error", "safe", "next"] {
        assert!(error[part].as_str().is_some_and(|text| text.len() > 10), "{error}");
    }
    // The text for people is on stderr only.
    let said = place.run(&["snapshot", "show", "0badcafe"]).ends_with(21);
    assert!(said.stdout.is_empty());
    assert!(said.stderr.lines().count() >= 3, "{}", said.stderr);
}

#[test]
fn keys_are_private_and_never_overwritten() {
    let place = Backup::without_repository();
    let dir = place.path("keys");
    let identity = std::fs::read(place.path("keys/identity.txt")).unwrap();
    for name in ["identity.txt", "signing.key"] {
        let mode = std::fs::metadata(place.path("keys").clone() + "/" + name)
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    place.run(&["keygen", "--dir", &dir]).ends_with(1).saying("exists");
    assert_eq!(std::fs::read(place.path("keys/identity.txt")).unwrap(), identity);
    place.json(&["keygen", "--dir", &place.path("more-keys")]);
}

#[test]
fn a_repository_is_made_once_and_not_without_a_word_about_encryption() {
    let place = Backup::without_repository();
    place.run(&["init"]).ends_with(2).saying("--no-encryption");
    assert!(place.objects().is_empty());
    place.json(&["init", "--recipient", &place.recipient()]);
    place.run(&["init", "--recipient", &place.recipient()]).ends_with(1).saying("already");
    for command in [&["init"][..], &["snapshot", "save"]] {
        let typed = [command, &["--recipient", "/nowhere/recipient.txt"]].concat();
        let said = place.run(&typed).ends_with(2).saying("/nowhere/recipient.txt");
        said.saying("neither an age recipient nor a file")
            .saying("recipient.txt that etcdr keygen");
    }
    assert_eq!(place.objects(), ["etcdr.json"]);
    let missing = format!("file://{}", place.path("not/there"));
    place.run(&["--repository", &missing, "snapshot", "list"]).ends_with(10);
}

#[test]
fn an_unencrypted_repository_works_and_is_marked() {
    let place = Backup::without_repository();
    place.run(&["init", "--no-encryption"]).ok();
    let file = Source::of(versions::newest()).file.display().to_string();
    place.run(&["snapshot", "import", &file]).ok();
    assert!(place.objects().iter().any(|key| key.ends_with(".db.zst")), "{:?}", place.objects());
    let list = place.json(&["snapshot", "list"]);
    assert_eq!(list["snapshots"][0]["encrypted"], false);
    place.run(&["verify", "latest", "--level", "structure"]).ok();
}

#[test]
fn wrong_command_lines_end_with_2_and_completions_are_printed() {
    let place = Backup::without_repository();
    for args in [&["frobnicate"][..], &["restore"], &["verify", "latest", "--level", "deep"]] {
        place.run(args).ends_with(2);
    }
    place.run(&["--repository", "ftp://x/y", "snapshot", "list"]).ends_with(2).saying("s3://");
    for shell in ["bash", "zsh", "fish"] {
        let text = place.run(&["completions", shell]).ok().stdout_text();
        assert!(text.contains("snapshot"), "{shell}");
    }
    assert!(place.run(&["--version"]).ok().stdout_text().starts_with("etcdr "));
}
