//! Goal: generated files are what their sources say. Method: generate again in memory and compare;
//! `ETCDR_BLESS=1 cargo test -p etcdr-schemas` rewrites them instead.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test, its helpers too")]

use std::fs;
use std::path::Path;

use etcdr_schemas::claim::ClaimRecord;
use etcdr_schemas::config::Config;
use etcdr_schemas::hold::Hold;
use etcdr_schemas::ledger::LedgerPage;
use etcdr_schemas::manifest::Manifest;
use etcdr_schemas::report::{self, Named, Report};
use etcdr_schemas::repository::RepositoryInfo;
use schemars::{JsonSchema, schema_for};

fn check(path: &str, fresh: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("ETCDR_BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, fresh).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == fresh, "{} is stale: run with ETCDR_BLESS=1", path.display());
}

#[test]
fn protobuf_code_matches_its_proto() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (file, package) in
        [("etcd", "etcdserverpb"), ("disk", "etcddisk"), ("admin", "etcdr.admin.v1")]
    {
        let set = protox::compile([root.join(format!("proto/{file}.proto"))], [root.join("proto")])
            .expect("our own proto compiles");
        let out = tempfile::tempdir().unwrap();
        prost_build::Config::new().bytes(["."]).out_dir(out.path()).compile_fds(set).unwrap();
        let code = fs::read_to_string(out.path().join(format!("{package}.rs"))).unwrap();
        check(&format!("src/pb/{file}.rs"), &code);
    }
}

/// What reflection shows of our own API: the sources' comments are no part of it.
#[test]
fn the_descriptor_of_the_admin_api_matches_its_proto() {
    use prost::Message as _;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut set = protox::compile([root.join("proto/admin.proto")], [root.join("proto")])
        .expect("it compiles");
    for file in &mut set.file {
        file.source_code_info = None;
    }
    let (path, fresh) = (root.join("src/pb/admin.bin"), set.encode_to_vec());
    if std::env::var_os("ETCDR_BLESS").is_some() {
        fs::write(&path, &fresh).unwrap();
    }
    assert!(
        fs::read(&path).unwrap_or_default() == fresh,
        "admin.bin is stale: run with ETCDR_BLESS=1"
    );
}

fn schema<T: JsonSchema>(path: &str) {
    let json = serde_json::to_string_pretty(&schema_for!(T)).unwrap();
    check(path, &format!("{json}\n"));
}

fn report_schema<T: JsonSchema + Named>() {
    schema::<Report<T>>(&format!("json/{}.v1.json", T::THING));
}

#[test]
fn json_schemas_match_their_types() {
    schema::<Manifest>("json/manifest.v1.json");
    schema::<Config>("json/config.v1.json");
    schema::<ClaimRecord>("json/claim.v1.json");
    schema::<RepositoryInfo>("json/repository.v1.json");
    schema::<Hold>("json/snapshot-hold.v1.json");
    schema::<LedgerPage>("json/pruned-ledger.v1.json");
    report_schema::<report::InitReport>();
    report_schema::<report::KeygenReport>();
    report_schema::<report::SnapshotReport>();
    report_schema::<report::SnapshotList>();
    report_schema::<report::ExportReport>();
    report_schema::<report::VerifyReport>();
    report_schema::<report::InspectReport>();
    report_schema::<report::RestorePlan>();
    report_schema::<report::RestoreReceipt>();
    report_schema::<report::DemoReport>();
    report_schema::<report::AuditReport>();
    report_schema::<report::AuditSet>();
    report_schema::<report::ConfigCheckReport>();
    report_schema::<report::StatusReport>();
    report_schema::<report::PruneReport>();
    report_schema::<report::DeleteReport>();
    report_schema::<report::HoldReport>();
    report_schema::<report::ErrorReport>();
}
