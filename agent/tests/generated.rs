//! Goal: client and server of the admin API are what its proto says. Method: generate again in
//! memory and compare; `ETCDR_BLESS=1 cargo test -p etcdr-agent` rewrites the file instead.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::Path;

#[test]
fn client_and_server_of_the_admin_api_match_its_proto() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let protos = root.join("../schemas/proto");
    let set = protox::compile([protos.join("admin.proto")], [protos]).expect("it compiles");
    let out = tempfile::tempdir().unwrap();
    tonic_prost_build::configure()
        .build_transport(false)
        .extern_path(".etcdr.admin.v1", "::etcdr_schemas::pb::admin")
        .out_dir(out.path())
        .compile_fds(set)
        .unwrap();
    let fresh = fs::read_to_string(out.path().join("etcdr.admin.v1.rs")).unwrap();
    let path = root.join("src/admin/api/generated.rs");
    if std::env::var_os("ETCDR_BLESS").is_some() {
        fs::write(&path, &fresh).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == fresh, "{} is stale: run with ETCDR_BLESS=1", path.display());
}
