//! Audits that are killed, interrupted, sampled, budgeted and signed; and what is kept of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use etcdr_tests::backup::{Backup, assert_valid};
use etcdr_tests::proxy::{Fault, Proxy};
use etcdr_tests::s3::{Rule, S3};
use etcdr_tests::source::Source;
use etcdr_tests::versions;
use hyper::{Method, StatusCode};
use serde_json::Value;

/// Imports of one file: snapshots whose images do not compress to nothing.
fn import(place: &Backup, count: usize) -> Vec<String> {
    let file = Source::of(versions::newest()).file.display().to_string();
    let one = |_| place.run(&["snapshot", "import", &file]).ok().stdout_text().trim().to_owned();
    let mut ids: Vec<String> = (0..count).map(one).collect();
    ids.sort();
    ids
}

/// A server that notes which images were read, and how often from their beginning.
fn noting() -> (S3, Arc<Mutex<BTreeMap<String, u32>>>) {
    let read: Arc<Mutex<BTreeMap<String, u32>>> = Arc::default();
    let noted = Arc::clone(&read);
    let rule: Rule = Arc::new(move |method: &Method, path: &str| {
        if *method == Method::GET && path.contains("/images/") {
            let name = path.rsplit('/').next().unwrap_or_default().to_owned();
            *noted.lock().unwrap().entry(name).or_default() += 1;
        }
        None::<StatusCode>
    });
    (S3::start_with(rule, None), read)
}

fn ids_of(report: &Value, list: &str) -> Vec<String> {
    let entries = report[list].as_array().unwrap_or_else(|| panic!("no {list} in {report}"));
    let id = |entry: &Value| entry.as_str().or(entry["id"].as_str()).unwrap().to_owned();
    entries.iter().map(id).collect()
}

fn reports(s3: &S3) -> usize {
    s3.objects().iter().filter(|key| key.contains("/audits/") && key.ends_with(".json")).count()
}

#[test]
fn killed_and_interrupted_audits_go_on_and_read_nothing_twice() {
    let (s3, read) = noting();
    let mut place = Backup::at(&s3.url(), &s3.env(&s3.address));
    let ids = import(&place, 8);
    let size: usize = std::fs::metadata(
        s3.bucket().join(s3.objects().iter().find(|key| key.ends_with(".age")).unwrap()),
    )
    .unwrap()
    .len()
    .try_into()
    .unwrap();
    read.lock().unwrap().clear();
    // A few snapshots a second.
    let rate = u64::try_from(size).unwrap() * 3 + 100_000;
    let proxy = Proxy::start(&s3.address, Fault::Slow(rate));
    for (name, value) in s3.env(&proxy.address) {
        place.set(name, &value);
    }
    let mut known = 0;
    for (round, signal) in ["KILL", "INT", "TERM"].into_iter().enumerate() {
        let args = ["audit", "--resume", "--checkpoint", "1ms", "-o", "json"];
        let mut running = place.spawn(&args);
        // One more snapshot is in a report, and the next one is being read.
        while reports(&s3) < known + 1 && running.alive() {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(
            running.alive(),
            "round {round} was over before it could be stopped: {}",
            running.log()
        );
        running.signal(signal);
        let code = running.wait();
        assert_eq!(code, if signal == "KILL" { -1 } else { 130 }, "{}", running.log());
        known = reports(&s3);
    }
    let last = place.json(&["audit", "--last"]);
    assert_eq!(last["state"], "interrupted");
    assert!(!ids_of(&last, "pending").is_empty());
    let done = place.json(&["audit", "--resume"]);
    assert_eq!((&done["state"], &done["audit"]), (&"complete".into(), &last["audit"]));
    let mut covered = ids_of(&done, "results");
    covered.sort();
    assert_eq!(covered, ids, "each once");
    assert_eq!(done["totals"]["good"], 8);
    // Each stop may cost the snapshot that was being read, and no other.
    let read = read.lock().unwrap();
    let chunks = size.div_ceil(2 << 20);
    let total: usize = read.values().map(|count| *count as usize).sum();
    assert!(total <= (8 + 3) * chunks, "{total} reads of {chunks} for each of 8: {read:?}");
    assert_eq!(read.len(), 8);
}

#[test]
fn a_sample_is_repeated_by_its_seed_and_a_budget_is_kept() {
    let place = Backup::new();
    let ids = import(&place, 10);
    let first = place.json(&["audit", "--sample", "30%"]);
    let seed = first["settings"]["seed"].as_str().unwrap();
    let again = place.json(&["audit", "--sample", "30%", "--seed", seed]);
    assert_eq!(ids_of(&first, "results"), ids_of(&again, "results"));
    assert_eq!(ids_of(&first, "results").len(), 3);
    assert!(ids_of(&first, "results").is_sorted_by(|a, b| a > b), "newest first");
    assert_eq!(ids_of(&place.json(&["audit", "--sample", "4"]), "results").len(), 4);
    let seeds = ["1", "2", "3", "4", "5", "6", "7", "8"];
    let samples: BTreeSet<_> = seeds
        .iter()
        .map(|seed| ids_of(&place.json(&["audit", "--sample", "4", "--seed", seed]), "results"))
        .collect();
    assert!(samples.len() > 4, "samples do not differ: {samples:?}");

    let whole = place.json(&["audit"]);
    let bytes = whole["totals"]["bytes_read"].as_u64().unwrap();
    let limit = (bytes / 3).to_string();
    // The names of audits carry whole seconds, and the newest ones are read first.
    let a_second = || std::thread::sleep(Duration::from_millis(1100));
    a_second();
    let part = place.json(&["audit", "--max-bytes", &limit, "--order", "oldest-verified"]);
    assert_eq!(part["state"], "out_of_budget");
    assert!(part["totals"]["bytes_read"].as_u64().unwrap() <= bytes / 3);
    // What the budget did not reach has been verified longest ago now, and comes first.
    let left = ids_of(&part, "pending");
    a_second();
    let next = place.json(&["audit", "--max-bytes", &limit, "--order", "oldest-verified"]);
    let reached: Vec<_> = ids_of(&next, "results");
    assert!(reached.iter().all(|id| left.contains(id)), "{reached:?} of {left:?}");
    assert_eq!(place.ids().len(), ids.len());
    let none = place.run(&["audit", "--max-time", "1ms", "-o", "json"]).ends_with(3).json();
    assert_eq!(none["state"], "out_of_budget");
}

#[test]
fn reports_are_signed_as_minisign_does_and_tampering_is_found() {
    let mut place = Backup::new();
    import(&place, 2);
    let key = place.path("keys/signing.key");
    let said = place.run(&["audit", "--signing-key", &key, "-o", "json"]).ok();
    let printed = said.json();
    assert_valid(&printed);
    let stored =
        place.objects().into_iter().find(|key| key.contains("/audits/") && key.ends_with(".json"));
    let stored = stored.expect("a report");
    assert!(said.stderr.contains(&stored), "{}", said.stderr);
    let bytes = std::fs::read(place.object(&stored)).unwrap();
    let kept: Value = serde_json::from_slice(&bytes).unwrap();
    assert_valid(&kept);
    assert_eq!(kept, printed, "what is printed is what is kept");
    stock_minisign(&place, &stored);
    place.set("ETCDR_PUBLIC_KEY", &place.path("keys/signing.pub"));
    // The imports are not signed, which is reported; the audit's own report is trusted.
    assert_eq!(place.json(&["audit", "--last"])["audit"], printed["audit"]);
    let mut forged = bytes.clone();
    let at = forged.windows(6).position(|window| window == b"\"good\"").unwrap();
    forged[at + 1] ^= 0x20;
    std::fs::write(place.object(&stored), &forged).unwrap();
    place.run(&["audit", "--last"]).ends_with(20).saying("signature");
    std::fs::write(place.object(&stored), &bytes).unwrap();
    place.run(&["audit", "--last"]).ok();
    std::fs::remove_file(place.object(&format!("{stored}.minisig"))).unwrap();
    place.run(&["audit", "--last"]).ends_with(12).saying("not signed");
    place.unset("ETCDR_PUBLIC_KEY");
    place.run(&["audit", "--last"]).ok();
    place.run(&["--cluster", "other", "audit", "--last"]).ends_with(21);
}

/// The four lines of minisign's format; where the program is installed, it has the last word.
fn stock_minisign(place: &Backup, report: &str) {
    let signature = place.object(&format!("{report}.minisig"));
    let text = std::fs::read_to_string(&signature).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[0].starts_with("untrusted comment: "), "{text}");
    assert_eq!((lines[1].len(), lines[3].len()), (100, 88));
    let name = report.rsplit('/').next().unwrap().trim_end_matches(".json");
    assert_eq!(lines[2], format!("trusted comment: etcdr audit default {name}"));
    let minisign = ["/usr/bin/minisign", "/usr/local/bin/minisign"].map(PathBuf::from);
    if let Some(program) = minisign.into_iter().find(|path| path.exists()) {
        let mut verify: Command = etcdr_tests::process::command(program);
        verify.arg("-Vp").arg(place.path("keys/signing.pub"));
        verify.arg("-m").arg(place.object(report)).arg("-x").arg(signature);
        etcdr_tests::process::finish(&mut verify, &[]).ok();
    }
}

#[test]
fn an_audit_prints_a_table_and_nothing_to_audit_is_no_error() {
    let place = Backup::new();
    place.run(&["audit"]).ok();
    place.run(&["audit", "--max-age", "1h"]).ends_with(3).saying("snapshot.stale");
    let ids = import(&place, 2);
    let said = place.run(&["audit", "--level", "structure"]).ok();
    let table = said.stdout_text();
    assert!(ids.iter().all(|id| table.contains(id.as_str())), "{table}");
    assert!(table.contains("2 good, 0 damaged"), "{table}");
    assert!(said.stderr.contains("report: default/reports/audits/"), "{}", said.stderr);
    let yaml = place.run(&["audit", "--no-report", "-o", "yaml"]).ok().stdout_text();
    assert!(yaml.contains("schema: etcdr/audit/v1"), "{yaml}");
    for args in [
        &["audit", "--sample", "0"][..],
        &["audit", "--sample", "101%"],
        &["audit", "--max-bytes", "lots"],
        &["audit", "--last", "--resume"],
        &["audit", "--seed", "xyz"],
    ] {
        place.run(args).ends_with(2);
    }
    let help = place.run(&["audit", "--help"]).ok().stdout_text();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for word in ["--resume", "--sample", "oldest-verified", "Exit code 20"] {
        assert!(help.contains(word), "{word} is not in:\n{help}");
    }
}
