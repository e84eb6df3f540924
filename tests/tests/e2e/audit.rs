//! One planted defect for each code that an audit can report: the levels that must report it, and
//! those that must not claim to. The repository is made by real saves; each row works on a copy of
//! it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use etcdr_operations::audit::kinds;
use etcdr_tests::backup::{Backup, assert_valid, files_under};
use etcdr_tests::etcd::Cluster;
use etcdr_tests::s3::{Rule, S3};
use etcdr_tests::versions;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

const LEVELS: [&str; 5] = ["manifest", "object", "content", "structure", "semantic"];
const ALL: &[&str] = &LEVELS;
const FROM_OBJECT: &[&str] = &["object", "content", "structure", "semantic"];
const FROM_CONTENT: &[&str] = &["content", "structure", "semantic"];

/// Three signed snapshots of a live cluster, oldest first, and nothing wrong with them.
struct Base {
    place: Backup,
    ids: Vec<String>,
}

impl Base {
    fn new() -> Self {
        let mut place = Backup::new();
        let cluster = Cluster::new(versions::newest(), 1, &PathBuf::from(place.path("live")));
        place.watch(&cluster);
        let key = place.path("keys/signing.key");
        place.set("ETCDR_SIGNING_KEY", &key);
        let mut ids = Vec::new();
        for n in 0..3 {
            cluster.ctl(&["put", "/registry/x", &n.to_string()]);
            ids.push(place.save());
            // Ids carry whole seconds.
            std::thread::sleep(std::time::Duration::from_millis(1100));
        }
        place.unset("ETCDR_SIGNING_KEY");
        Self { place, ids }
    }

    /// A copy of the repository that can be spoilt.
    fn copy(&self, name: &str) -> Spoilt<'_> {
        let from = PathBuf::from(self.place.repository.trim_start_matches("file://"));
        let root = PathBuf::from(self.place.path(&format!("copies/{name}")));
        for file in files_under(&from) {
            let target = root.join(&file);
            std::fs::create_dir_all(target.parent().unwrap()).unwrap();
            std::fs::copy(from.join(&file), target).unwrap();
        }
        Spoilt { base: self, root, env: Vec::new() }
    }
}

/// A copy of the repository with a defect in it.
struct Spoilt<'a> {
    base: &'a Base,
    root: PathBuf,
    env: Vec<(&'static str, String)>,
}

impl Spoilt<'_> {
    fn manifest(&self, n: usize) -> PathBuf {
        self.root.join(format!("default/manifests/{}.json", self.base.ids[n]))
    }

    fn signature(&self, n: usize) -> PathBuf {
        self.root.join(format!("default/manifests/{}.json.minisig", self.base.ids[n]))
    }

    fn image(&self, n: usize) -> PathBuf {
        self.root.join(format!("default/images/{}.db.zst.age", self.base.ids[n]))
    }

    fn edit(&self, n: usize, change: impl FnOnce(&mut Value)) {
        let mut value: Value =
            serde_json::from_slice(&std::fs::read(self.manifest(n)).unwrap()).unwrap();
        change(&mut value);
        std::fs::write(self.manifest(n), serde_json::to_vec(&value).unwrap()).unwrap();
    }

    /// Gives a snapshot another id, as if it had been saved so.
    fn rename(&self, n: usize, id: &str, change: impl FnOnce(&mut Value)) {
        let image = format!("default/images/{id}.db.zst.age");
        self.edit(n, |value| {
            value["id"] = json!(id);
            value["image"]["key"] = json!(image);
            change(value);
        });
        std::fs::rename(self.image(n), self.root.join(&image)).unwrap();
        let manifest = self.root.join(format!("default/manifests/{id}.json"));
        std::fs::rename(self.manifest(n), manifest).unwrap();
        std::fs::remove_file(self.signature(n)).unwrap();
    }

    fn write(&self, key: &str, bytes: &[u8]) {
        let path = self.root.join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// Writes a manifest again, unchanged. Ages are counted up to the newest object in the store,
    /// so what was planted before is old only after this.
    fn time_passes(&self) {
        std::thread::sleep(std::time::Duration::from_millis(20));
        change(&self.manifest(0), |_| {});
    }

    fn audit(&self, args: &[&str]) -> etcdr_tests::process::Said {
        let url = format!("file://{}", self.root.display());
        let args = [&["audit", "--repository", &url, "--output", "json"], args].concat();
        let mut command = self.base.place.command(&args);
        for (name, value) in &self.env {
            match value.as_str() {
                "" => command.env_remove(name),
                value => command.env(name, value),
            };
        }
        etcdr_tests::process::finish(&mut command, &[])
    }

    /// Codes that an audit reports at a level, and its exit code.
    fn codes(&self, level: &str, args: &[&str]) -> (BTreeSet<String>, i32) {
        let said = self.audit(&[&["--level", level, "--no-report"], args].concat());
        codes_of(&said.json(), said.code)
    }

    fn with_public_key(&mut self) {
        let key = self.base.place.path("keys/signing.pub");
        self.env.push(("ETCDR_PUBLIC_KEY", key));
    }
}

fn codes_of(value: &Value, code: i32) -> (BTreeSet<String>, i32) {
    assert_valid(value);
    let counts = value["counts"].as_object().unwrap_or_else(|| panic!("no counts in {value}"));
    (counts.keys().cloned().collect(), code)
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

fn flip_middle(path: &Path) {
    change(path, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
}

/// Code, levels that must report it (no other may), exit code, arguments, defect.
struct Row(
    &'static str,
    &'static [&'static str],
    i32,
    &'static [&'static str],
    fn(&mut Spoilt<'_>),
);

const NO_GRACE: &[&str] = &["--grace", "1ms"];

fn rows() -> Vec<Row> {
    let mut all = manifest_rows();
    all.extend(object_rows());
    all.extend(report_rows());
    all
}

fn manifest_rows() -> Vec<Row> {
    vec![
        Row("manifest.damaged", ALL, 20, &[], |at| {
            change(&at.manifest(1), |bytes| bytes[0] = b'x');
        }),
        Row("manifest.format", ALL, 3, &[], |at| at.edit(1, |value| value["format"] = json!(7))),
        Row("manifest.name", ALL, 20, &[], |at| {
            std::fs::copy(at.manifest(0), at.manifest(1)).unwrap();
        }),
        Row("manifest.name", ALL, 20, &[], |at| {
            at.edit(2, |value| value["started_at"] = json!("2026-01-01T00:00:00Z"));
        }),
        Row("manifest.name", ALL, 20, &[], |at| {
            let other = format!("default/images/{}.db.zst.age", at.base.ids[0]);
            at.edit(2, |value| value["image"]["key"] = json!(other));
        }),
        Row("manifest.name", ALL, 20, &[], |at| {
            at.edit(2, |value| value["image"]["key"] = json!("../secrets"));
        }),
        Row("manifest.signature.wrong", ALL, 20, &[], |at| {
            at.with_public_key();
            change(&at.manifest(2), |bytes| bytes.push(b' '));
        }),
        Row("manifest.signature.missing", ALL, 3, &[], |at| {
            at.with_public_key();
            std::fs::remove_file(at.signature(2)).unwrap();
        }),
        Row("manifest.signature.orphan", ALL, 3, NO_GRACE, |at| {
            std::fs::remove_file(at.manifest(2)).unwrap();
            std::fs::remove_file(at.image(2)).unwrap();
            at.time_passes();
        }),
        Row("manifest.chain.broken", ALL, 3, &[], |at| {
            for path in [at.manifest(1), at.signature(1), at.image(1)] {
                std::fs::remove_file(path).unwrap();
            }
        }),
        Row("ledger.unreadable", ALL, 3, &[], |at| {
            at.write("default/pruned/20261122T070000Z-00000007.json", br#"{"format":7}"#);
        }),
        Row("manifest.chain.fork", ALL, 3, &[], |at| {
            let mut previous = Value::Null;
            at.edit(1, |value| previous = value["previous_manifest_sha256"].clone());
            at.edit(2, |value| value["previous_manifest_sha256"] = previous);
        }),
        Row("manifest.chain.restart", ALL, 3, &[], |at| {
            at.edit(2, |value| {
                value.as_object_mut().unwrap().remove("previous_manifest_sha256");
            });
        }),
        Row("snapshot.revision.back", ALL, 3, &[], saved_from_another_cluster),
        Row("snapshot.cluster.changed", ALL, 3, &[], saved_from_another_cluster),
        Row("snapshot.clock.future", ALL, 3, &[], |at| {
            let id = format!("20991231T235959Z{}", &at.base.ids[2][16..]);
            at.rename(2, &id, |value| value["started_at"] = json!("2099-12-31T23:59:59Z"));
        }),
        Row("snapshot.clock.order", ALL, 3, &[], |at| {
            at.edit(2, |value| value["finished_at"] = json!("2001-01-01T00:00:00Z"));
        }),
        Row("snapshot.suspect", ALL, 3, &[], |at| {
            at.edit(2, |value| value["suspect"] = json!(["member m1 disagreed"]));
        }),
        Row("snapshot.stale", ALL, 3, &["--max-age", "1ms"], |_| {}),
        Row("snapshot.stale.verified", ALL, 3, &["--max-verified-age", "1ms"], |_| {}),
        Row("snapshot.unverified", &["manifest"], 0, &[], |_| {}),
    ]
}

fn object_rows() -> Vec<Row> {
    vec![
        Row("image.missing", ALL, 20, &[], |at| std::fs::remove_file(at.image(1)).unwrap()),
        Row("image.size", ALL, 20, &[], |at| change(&at.image(1), |bytes| bytes.push(0))),
        Row("image.orphan", ALL, 3, NO_GRACE, |at| {
            std::fs::remove_file(at.manifest(2)).unwrap();
            std::fs::remove_file(at.signature(2)).unwrap();
            at.time_passes();
        }),
        Row("image.part", ALL, 0, NO_GRACE, |at| {
            at.write("default/images/20260101T000000Z-00000001.part", b"half");
            at.time_passes();
        }),
        Row("image.plain", ALL, 3, &[], saved_before_the_repository_encrypted),
        Row("image.recipients", ALL, 3, &[], |at| {
            at.edit(2, |value| {
                let who = &mut value["image"]["codec"]["encryption"]["recipients"];
                who.as_array_mut().unwrap().push(json!("age1stranger"));
            });
        }),
        Row("object.unknown", ALL, 3, &[], |at| at.write("default/README", b"pay up")),
        Row("object.damaged", FROM_OBJECT, 20, &[], |at| flip_middle(&at.image(1))),
        Row("content.damaged", FROM_CONTENT, 20, &[], |at| {
            at.edit(1, |value| value["image"]["plain_sha256"] = json!("00".repeat(32)));
        }),
        Row("snapshot.key", FROM_CONTENT, 12, &[], |at| {
            at.env.push(("ETCDR_IDENTITY", String::new()));
        }),
        Row("audit.budget", FROM_OBJECT, 3, &["--max-bytes", "1"], |_| {}),
    ]
}

fn report_rows() -> Vec<Row> {
    vec![
        Row("report.unsigned", ALL, 0, &[], |at| {
            at.audit(&[]).ok();
            at.with_public_key();
        }),
        Row("report.signature", ALL, 20, &[], |at| {
            let key = at.base.place.path("keys/signing.key");
            at.audit(&["--signing-key", &key]).ok();
            at.with_public_key();
            let reports = at.root.join("default/reports/audits");
            let report = files_under(&reports).into_iter().find(|name| name.ends_with(".json"));
            change(&reports.join(report.unwrap()), |bytes| bytes.insert(1, b' '));
        }),
        Row("report.damaged", ALL, 3, &[], |at| {
            at.write("default/reports/audits/20260101T000000Z-00000001-0001.json", b"{}");
        }),
    ]
}

/// A cluster that begins anew saves under the same name.
fn saved_from_another_cluster(at: &mut Spoilt<'_>) {
    let cluster = Cluster::new(versions::newest(), 1, &at.root.with_extension("live"));
    let url = format!("file://{}", at.root.display());
    let endpoint = cluster.endpoint().to_owned();
    at.base.place.run(&["--repository", &url, "snapshot", "save", "--endpoints", &endpoint]).ok();
}

/// A repository that began without encryption and has recipients since.
fn saved_before_the_repository_encrypted(at: &mut Spoilt<'_>) {
    let place = &at.base.place;
    let file = place.path("plain.db");
    if !Path::new(&file).exists() {
        place.run(&["snapshot", "export", "latest", &file]).ok();
    }
    std::fs::remove_dir_all(&at.root).unwrap();
    let url = format!("file://{}", at.root.display());
    place.run(&["--repository", &url, "init", "--no-encryption"]).ok();
    place.run(&["--repository", &url, "snapshot", "import", &file]).ok();
    let info = at.root.join("etcdr.json");
    let mut value: Value = serde_json::from_slice(&std::fs::read(&info).unwrap()).unwrap();
    value["recipients"] = json!([place.recipient()]);
    value["unencrypted"] = json!(false);
    std::fs::write(info, serde_json::to_vec(&value).unwrap()).unwrap();
}

/// Codes that need another place than a directory, or another way to be planted; each has a test
/// below.
const ELSEWHERE: [&str; 3] = ["snapshot.unchecked", "report.unwritten", "cluster.unchecked"];

#[test]
fn every_code_of_an_audit_has_a_planted_defect() {
    let planted: BTreeSet<&str> = rows().iter().map(|row| row.0).chain(ELSEWHERE).collect();
    for kind in kinds::ALL {
        assert!(planted.contains(kind.code), "{} has no row", kind.code);
        assert!(kind.advice.len() > 10, "{} has no advice", kind.code);
    }
    let codes: BTreeSet<&str> = kinds::ALL.iter().map(|kind| kind.code).collect();
    assert_eq!(codes.len(), kinds::ALL.len(), "a code is used twice");
}

#[test]
fn every_planted_defect_is_told_at_its_levels_and_at_no_other() {
    let base = Base::new();
    let clean = base.copy("clean");
    for level in LEVELS {
        let (codes, code) = clean.codes(level, &["--max-age", "1h"]);
        let expected: BTreeSet<String> =
            (level == "manifest").then(|| "snapshot.unverified".to_owned()).into_iter().collect();
        assert_eq!((codes, code), (expected, 0), "{level}");
    }
    for (number, Row(code, levels, exit, args, plant)) in rows().into_iter().enumerate() {
        let mut spoilt = base.copy(&format!("{number}-{code}"));
        plant(&mut spoilt);
        for level in LEVELS {
            let (codes, ended) = spoilt.codes(level, args);
            let reported = codes.contains(code);
            assert_eq!(reported, levels.contains(&level), "{code} at {level}: {codes:?}");
            if reported {
                assert_eq!(ended, exit, "{code} at {level}: {codes:?}");
            } else {
                assert!(ended != 20, "{code} at {level}: {codes:?}");
            }
        }
    }
}

#[test]
fn all_defects_at_once_are_all_told_and_the_good_ones_stay_good() {
    let base = Base::new();
    let at = base.copy("several");
    change(&at.manifest(0), |bytes| bytes[0] = b'x');
    flip_middle(&at.image(1));
    at.write("default/README", b"x");
    let said = at.audit(&["--level", "structure"]).ends_with(20);
    let report = said.json();
    for code in ["manifest.damaged", "object.damaged", "object.unknown"] {
        assert_eq!(report["counts"][code], 1, "{report}");
        assert!(said.stderr.contains(code), "{}", said.stderr);
    }
    assert_eq!(report["totals"]["good"], 1, "{report}");
    assert_eq!(report["totals"]["damaged"], 2, "{report}");
    assert_eq!(report["state"], "complete");
    let good = &report["results"][0];
    assert_eq!(
        (good["id"].as_str(), good["outcome"].as_str()),
        (Some(&*base.ids[2]), Some("good"))
    );
    assert_eq!(good["passed"], "structure");
}

#[test]
fn what_the_store_does_not_give_is_told_and_not_called_damage() {
    let rule: Rule = Arc::new(|method: &Method, path: &str| {
        (*method == Method::HEAD && path.contains("/images/")).then_some(StatusCode::FORBIDDEN)
    });
    let base = Base::new();
    let s3 = S3::start_with(rule, None);
    let place = on_s3(&base, &s3);
    for (level, reported) in LEVELS.into_iter().zip([false, true, true, true, true]) {
        let said = place.run(&["audit", "--level", level, "--no-report", "-o", "json"]);
        let (codes, code) = codes_of(&said.json(), said.code);
        assert_eq!(codes.contains("snapshot.unchecked"), reported, "{level}: {codes:?}");
        assert_eq!(code, if reported { 3 } else { 0 }, "{level}");
    }
}

#[test]
fn a_report_that_may_not_be_written_is_printed_all_the_same() {
    let rule: Rule = Arc::new(|method: &Method, path: &str| {
        (*method == Method::PUT && path.contains("/reports/")).then_some(StatusCode::FORBIDDEN)
    });
    let base = Base::new();
    let s3 = S3::start_with(rule, None);
    let place = on_s3(&base, &s3);
    let before = s3.objects();
    let said = place.run(&["audit", "-o", "json"]).ends_with(3).saying("permission denied");
    let (codes, _) = codes_of(&said.json(), said.code);
    assert_eq!(codes, BTreeSet::from(["report.unwritten".to_owned()]));
    assert_eq!(said.json()["totals"]["good"], 3);
    assert_eq!(s3.objects(), before);
    place.run(&["audit", "--no-report"]).ok();
    assert_eq!(s3.objects(), before);
}

/// The base's objects in a bucket.
fn on_s3(base: &Base, s3: &S3) -> Backup {
    let mut place = Backup::without_repository();
    place.set("ETCDR_REPOSITORY", &s3.url());
    place.set("ETCDR_IDENTITY", &base.place.path("keys/identity.txt"));
    for (name, value) in s3.env(&s3.address) {
        place.set(name, &value);
    }
    let from = PathBuf::from(base.place.repository.trim_start_matches("file://"));
    for file in files_under(&from) {
        let target = s3.bucket().join("etcd").join(&file);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(from.join(&file), target).unwrap();
    }
    place
}

#[test]
fn all_clusters_are_audited_and_one_that_cannot_be_is_told() {
    let base = Base::new();
    let at = base.copy("clusters");
    for file in files_under(&at.root.join("default")) {
        let target = at.root.join("other").join(&file);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(at.root.join("default").join(&file), target).unwrap();
    }
    at.write("README", b"x");
    // Manifests of `default` under another cluster's name are damage there, and only there.
    let said = at.audit(&["--all-clusters"]).ends_with(20);
    let set = said.json();
    assert_valid(&set);
    let audits = set["audits"].as_array().unwrap();
    assert_eq!(audits.len(), 2, "{set}");
    assert_eq!((&audits[0]["cluster"], &audits[0]["verdict"]), (&json!("default"), &json!("good")));
    assert_eq!(
        (&audits[1]["cluster"], &audits[1]["verdict"]),
        (&json!("other"), &json!("damaged"))
    );
    assert_eq!(audits[1]["counts"]["manifest.name"], 3);
    assert_eq!(set["findings"][0]["code"], "object.unknown");

    std::fs::remove_dir_all(at.root.join("other")).unwrap();
    std::fs::create_dir(at.root.join("other")).unwrap();
    // A folder that contains itself cannot be listed.
    std::os::unix::fs::symlink(at.root.join("other"), at.root.join("other/loop")).unwrap();
    let set = at.audit(&["--all-clusters"]).ends_with(3).json();
    let codes: Vec<_> =
        set["findings"].as_array().unwrap().iter().map(|one| &one["code"]).collect();
    assert_eq!(codes, ["object.unknown", "cluster.unchecked"]);
    assert_eq!(set["audits"].as_array().unwrap().len(), 1);
}
