//! Snapshots of a real cluster that are pruned, held and deleted: what stays can be restored, what
//! is deleted is reported.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use etcdr_tests::backup::Backup;
use etcdr_tests::etcd::Cluster;
use etcdr_tests::fleet::until;
use etcdr_tests::s3::{Rule, S3};
use etcdr_tests::source::Source;
use etcdr_tests::{versions, workload};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

fn import(place: &Backup) -> String {
    let file = Source::of(versions::newest()).file.display().to_string();
    place.run(&["snapshot", "import", &file]).ok().stdout_text().trim().to_owned()
}

/// Imports whose ids differ by the second, so that all know which is the newest; newest first.
fn imports(place: &Backup, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for n in 0..count {
        if n > 0 {
            std::thread::sleep(std::time::Duration::from_millis(1050));
        }
        ids.insert(0, import(place));
    }
    ids
}

fn images(keys: &[String]) -> usize {
    keys.iter().filter(|key| key.contains("/images/")).count()
}

/// What is decided about each snapshot: its id, its action and its rules.
fn verdicts(report: &Value) -> Vec<(String, String, Vec<String>)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let rows = report["snapshots"].as_array().unwrap().iter();
    rows.map(|row| {
        let rules = row["reasons"].as_array().unwrap().iter().map(|reason| text(&reason["rule"]));
        (text(&row["id"]), text(&row["action"]), rules.collect())
    })
    .collect()
}

#[test]
fn snapshots_of_a_live_cluster_are_pruned_by_rules_and_the_rest_restores() {
    let mut place = Backup::new();
    let cluster = Cluster::new(versions::newest(), 1, &PathBuf::from(place.path("live")));
    place.watch(&cluster);
    let mut ids = Vec::new();
    for seed in 0..4 {
        workload::write(&cluster, seed, 1);
        ids.insert(0, place.save());
    }
    let before = place.objects();
    place.run(&["prune"]).ends_with(2).saying("no rule").saying("--keep-last");
    place
        .run(&["prune", "--keep-daily", "1", "--time-zone", "Mars/Olympus"])
        .ends_with(2)
        .saying("Mars");
    place.run(&["prune", "--max-total-size", "0"]).ends_with(2);

    place.run(&["snapshot", "hold", &ids[3]]).ends_with(2).saying("--reason");
    let held =
        place.json(&["snapshot", "hold", &ids[3], "--reason", "ticket 42", "--expires", "30d"]);
    assert_eq!(held["hold"]["reason"], "ticket 42");
    let list = place.json(&["snapshot", "list"]);
    assert!(list["snapshots"][3]["held"].as_str().unwrap().contains("ticket 42"), "{list}");
    assert!(place.run(&["snapshot", "show", &ids[3]]).ok().stdout_text().contains("ticket 42"));

    let planned = place.json(&["prune", "--keep-last", "2", "--dry-run"]);
    let actions: Vec<_> =
        verdicts(&planned).into_iter().map(|(id, action, _)| (id, action)).collect();
    let expected = ["keep", "keep", "delete", "keep"].map(str::to_owned);
    assert_eq!(actions, ids.iter().cloned().zip(expected).collect::<Vec<_>>());
    assert_eq!(verdicts(&planned)[3].2, ["held"]);
    let hold = format!("default/holds/{}.json", ids[3]);
    let objects = || place.objects().into_iter().filter(|key| *key != hold).collect::<Vec<_>>();
    assert_eq!(objects(), before, "a dry run deletes nothing");
    let table = place.run(&["prune", "--keep-last", "2", "--dry-run"]).ok().stdout_text();
    assert!(table.contains("ticket 42") && table.contains("1 would be deleted"), "{table}");

    let done = place.json(&["prune", "--keep-last", "2"]);
    assert_eq!(done["snapshots"][2]["outcome"], "deleted");
    assert_eq!(place.ids(), [&*ids[0], &ids[1], &ids[3]]);
    assert_eq!(images(&place.objects()), 4, "the image waits for the grace");
    let audited = place.run(&["audit", "-o", "json"]).json();
    assert_eq!(audited["counts"]["image.orphan"], Value::Null, "{audited}");
    assert_eq!(audited["totals"]["good"], 3);

    place.run(&["snapshot", "hold", &ids[3], "--release"]).ok();
    let done = place.json(&["prune", "--keep-last", "1", "--grace", "0"]);
    assert_eq!((&done["totals"]["deleted"], &done["totals"]["kept"]), (&2.into(), &1.into()));
    assert_eq!(place.ids(), [&*ids[0]]);
    let left = place.objects();
    assert_eq!(images(&left), 1, "{left:?}");
    assert!(
        !left.iter().any(|key| key.contains("/deleted/") || key.contains("/holds/")),
        "{left:?}"
    );
    let again = place.json(&["prune", "--keep-last", "1", "--grace", "0"]);
    assert_eq!((&again["totals"]["deleted"], &again["totals"]["swept"]), (&0.into(), &0.into()));
    place.run(&["verify", "latest", "--level", "semantic"]).ok();
}

#[test]
fn deleting_by_name_wants_a_yes_and_spares_what_is_needed() {
    let place = Backup::new();
    let ids = imports(&place, 3);
    place.run(&["snapshot", "hold", &ids[2], "--reason", "evidence", "--by", "ops"]).ok();
    place.run(&["snapshot", "delete", &ids[1]]).ends_with(2).saying("--yes").saying(&ids[1]);
    let refused = place.run(&["snapshot", "delete", "--yes", &ids[1], &ids[2]]).ends_with(1);
    refused.saying("held by ops: evidence");
    place
        .run(&["snapshot", "delete", "--yes", "latest"])
        .ends_with(1)
        .saying("restore would be made");
    assert_eq!(place.ids(), ids, "nothing was deleted");
    let done = place.json(&["snapshot", "delete", "--yes", &ids[1]]);
    assert_eq!((&done["left"], &done["snapshots"][0]["outcome"]), (&2.into(), &"deleted".into()));
    assert_eq!(place.ids(), [&*ids[0], &ids[2]]);
    place.run(&["snapshot", "delete", "--yes", &ids[1]]).ends_with(21);
    // Until the grace has passed it can be brought back.
    let name = format!("{}.json", ids[1]);
    let note = place.object(&format!("default/deleted/{name}"));
    std::fs::copy(note, place.object(&format!("default/manifests/{name}"))).unwrap();
    place.run(&["verify", &ids[1], "--level", "semantic"]).ok();
    place.run(&["snapshot", "delete", "--yes", "--force", "latest", &ids[2]]).ok();
    assert_eq!(place.ids(), [&*ids[1]]);
}

#[test]
fn damaged_and_expired_ones_are_told_and_the_newest_good_one_stays() {
    let place = Backup::new();
    let ids = imports(&place, 3);
    let image = place.json(&["snapshot", "show", "latest"])["manifest"]["image"]["key"].clone();
    let image = place.object(image.as_str().unwrap());
    let mut bytes = std::fs::read(&image).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&image, &bytes).unwrap();
    place.run(&["audit"]).ends_with(20);
    place.run(&["snapshot", "hold", &ids[2], "--reason", "until soon", "--expires", "1ms"]).ok();
    let report = place.json(&["prune", "--keep-last", "1"]);
    let found: Vec<_> = verdicts(&report);
    let rules: Vec<Vec<&str>> =
        found.iter().map(|(_, _, rules)| rules.iter().map(String::as_str).collect()).collect();
    let expected =
        [vec!["last"], vec!["newest_verified", "last"], vec!["unneeded", "hold_expired"]];
    assert_eq!(rules, expected, "{report}");
    assert_eq!(place.ids(), [&*ids[0], &ids[1]]);
    place.run(&["verify", &ids[1], "--level", "content"]).ok();

    // A manifest that cannot be read makes nothing an orphan, and that is said.
    std::fs::write(place.object(&format!("default/manifests/{}.json", ids[0])), b"{").unwrap();
    let said = place.run(&["prune", "--keep-last", "1", "--grace", "0"]).ends_with(3);
    said.saying("a manifest that cannot be read may name them");
    assert_eq!(images(&place.objects()), 3);
    place.run(&["snapshot", "delete", "--yes", &ids[0]]).ends_with(1).saying("cannot be used");
    place.run(&["snapshot", "delete", "--yes", "--force", &ids[0]]).ok();
    place.run(&["prune", "--keep-last", "1", "--grace", "0"]).ok();
    assert_eq!((place.ids(), images(&place.objects())), (vec![ids[1].clone()], 1));
}

#[test]
fn an_agent_without_the_right_to_delete_saves_and_another_identity_prunes() {
    let closed = Arc::new(AtomicBool::new(true));
    let gate = Arc::clone(&closed);
    let rule: Rule = Arc::new(move |method: &Method, path: &str| {
        let many = *method == Method::POST && path.trim_end_matches('/') == "/backups";
        let deletes = *method == Method::DELETE || many;
        (deletes && gate.load(Ordering::SeqCst)).then_some(StatusCode::FORBIDDEN)
    });
    let s3 = S3::start_with(rule, None);
    let place = Backup::at(&s3.url(), &s3.env(&s3.address));
    let ids = imports(&place, 3);
    let parts = |s3: &S3| s3.objects().iter().filter(|key| key.ends_with(".part")).count();
    assert_eq!(parts(&s3), 3, "without the right to delete, copies stay");

    // With the saver's credentials nothing is deleted, and the command does not report success.
    let said = place.run(&["prune", "--keep-last", "1", "--grace", "0", "-o", "json"]).ends_with(3);
    let report = said.clone().json();
    said.saying("let nothing be deleted");
    assert_eq!(report["totals"]["deleted"], 0);
    assert_eq!(report["snapshots"][1]["outcome"], "withheld");
    assert_eq!(place.ids(), ids);
    place.run(&["snapshot", "delete", "--yes", &ids[2]]).ends_with(3).saying("does not let it go");
    for id in &ids {
        place.run(&["verify", id, "--level", "content"]).ok();
    }

    // With those of the pruner everything does.
    closed.store(false, Ordering::SeqCst);
    let report = place.json(&["prune", "--keep-last", "1", "--grace", "0"]);
    assert_eq!(
        (&report["totals"]["deleted"], &report["totals"]["withheld"]),
        (&2.into(), &0.into())
    );
    assert_eq!((place.ids(), parts(&s3)), (vec![ids[0].clone()], 0));
    let left = s3.objects();
    assert_eq!(images(&left), 1, "{left:?}");
    place.run(&["verify", "latest", "--level", "semantic"]).ok();
}

/// What verify and audit say of the chain: whether it is broken at this snapshot, and the audit's
/// inventory.
#[track_caller]
fn chain_at(place: &Backup, id: &str, broken: bool) -> Value {
    // A verification reports it and passes nevertheless: the snapshot itself is sound.
    let code = if broken { 3 } else { 0 };
    let said = place.run(&["verify", id, "--level", "object"]).ok();
    assert_eq!(said.stderr.contains("manifest.chain.broken"), broken, "{}", said.stderr);
    let said = place.run(&["audit", "--no-report", "-o", "json"]).ends_with(code);
    let report = said.json();
    let count = &report["counts"]["manifest.chain.broken"];
    assert_eq!(*count, if broken { json!(1) } else { Value::Null }, "{report}");
    report["inventory"].clone()
}

fn pages(keys: &[String]) -> Vec<&String> {
    keys.iter().filter(|key| key.contains("/pruned/")).collect()
}

#[test]
fn what_was_pruned_is_no_gap_and_what_was_taken_away_is_one() {
    let place = Backup::new();
    let ids = imports(&place, 6);
    place.run(&["snapshot", "hold", &ids[5], "--reason", "ticket 42"]).ok();
    place.run(&["snapshot", "delete", "--yes", &ids[3]]).ok();
    place.run(&["prune", "--keep-last", "2"]).ok();
    assert_eq!(place.ids(), [&*ids[0], &ids[1], &ids[5]]);
    let keys = place.objects();
    assert_eq!(pages(&keys).len(), 2, "{keys:?}");
    // Pages of one second are in any order.
    let page = |key: &&String| -> Value {
        serde_json::from_slice(&std::fs::read(place.object(key)).unwrap()).unwrap()
    };
    let mut all = pages(&keys).iter().map(page).collect::<Vec<_>>().into_iter();
    let page =
        all.find(|page| page["snapshots"][0]["id"] == ids[3]).expect("a page of the deletion");
    assert_eq!(page["snapshots"][0]["reason"], "it was asked for by name", "{page}");
    assert_eq!(chain_at(&place, &ids[1], false)["pruned"], 3);
    assert!(place.run(&["audit"]).ok().stdout_text().contains("3 more deleted on purpose"));
    // Also when nothing else is left of them.
    place.run(&["prune", "--keep-last", "2", "--grace", "0"]).ok();
    assert!(!place.objects().iter().any(|key| key.contains("/deleted/")));
    chain_at(&place, &ids[1], false);

    // Taken away by hand; pages with another digest, or another format, change nothing.
    let manifest = |id: &str| place.object(&format!("default/manifests/{id}.json"));
    let read = |id: &str| -> Value {
        serde_json::from_slice(&std::fs::read(manifest(id)).unwrap()).unwrap()
    };
    let (newest, lost) = (read(&ids[0]), read(&ids[1]));
    std::fs::remove_file(manifest(&ids[1])).unwrap();
    chain_at(&place, &ids[0], true);
    let forge = |digest: &Value| {
        let mut forged = page.clone();
        forged["snapshots"] = json!([{
            "id": ids[1],
            "manifest_sha256": digest,
            "previous_manifest_sha256": lost["previous_manifest_sha256"],
            "noted_at": "2026-11-22T07:00:00Z",
            "reason": "forged",
        }]);
        let key = place.object("default/pruned/20261122T070000Z-00000007.json");
        std::fs::write(key, serde_json::to_vec(&forged).unwrap()).unwrap();
    };
    forge(&newest["image"]["plain_sha256"]);
    chain_at(&place, &ids[0], true);
    forge(&newest["previous_manifest_sha256"]);
    chain_at(&place, &ids[0], false);

    // Pages that lead nowhere go.
    place.run(&["snapshot", "hold", &ids[5], "--release"]).ok();
    place.run(&["prune", "--keep-last", "1", "--grace", "0"]).ok();
    let keys = place.objects();
    assert_eq!(pages(&keys).len(), 1, "{keys:?}");
    chain_at(&place, &ids[0], false);
}

#[test]
fn a_prune_that_is_killed_after_its_note_does_no_harm() {
    let closed = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&closed);
    let rule: Rule = Arc::new(move |method: &Method, path: &str| {
        let many = *method == Method::POST && path.trim_end_matches('/') == "/backups";
        let deletes = *method == Method::DELETE || many;
        (deletes && gate.load(Ordering::SeqCst)).then_some(StatusCode::SERVICE_UNAVAILABLE)
    });
    let s3 = S3::start_with(rule, None);
    let place = Backup::at(&s3.url(), &s3.env(&s3.address));
    let ids = imports(&place, 4);
    place.run(&["snapshot", "hold", &ids[3], "--reason", "ticket 42"]).ok();
    closed.store(true, Ordering::SeqCst);
    let mut prune = place.spawn(&["prune", "--keep-last", "1", "--grace", "0"]);
    until("it is noted", || pages(&s3.objects()).len() == 1, || format!("{:?}", s3.objects()));
    assert!(prune.alive(), "{}", prune.log());
    prune.kill();
    closed.store(false, Ordering::SeqCst);
    assert_eq!(place.ids(), ids, "nothing was deleted");
    assert_eq!(chain_at(&place, &ids[0], false)["pruned"], 0);
    place.run(&["prune", "--keep-last", "1", "--grace", "0"]).ok();
    assert_eq!(place.ids(), [&*ids[0], &ids[3]]);
    assert_eq!(pages(&s3.objects()).len(), 1, "{:?}", s3.objects());
    assert_eq!(chain_at(&place, &ids[0], false)["pruned"], 2);
}
