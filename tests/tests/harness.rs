//! The harness itself: it finds the versions it must, its oracle sees differences, its proxy cuts.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use etcdr_tests::certs::Certs;
use etcdr_tests::etcd::{Cluster, Extra};
use etcdr_tests::oracle::{State, keys_at};
use etcdr_tests::proxy::{Fault, Proxy};
use etcdr_tests::source::Source;
use etcdr_tests::{versions, workload};

#[test]
fn a_workload_leaves_every_kind_of_trace_and_the_oracle_sees_each() {
    for version in versions::versions() {
        let dir = tempfile::tempdir().unwrap();
        let mut cluster = Cluster::new(version, 1, dir.path());
        let load = workload::write(&cluster, 7, 6);
        workload::enable_auth(&mut cluster);
        let before = State::of(&cluster);
        assert!(before.keys.len() > 40, "{} keys", before.keys.len());
        assert_eq!(before.leases.len(), 3, "{:?}", before.leases);
        assert!(before.keys.values().any(|row| row["lease"].as_i64().is_some()));
        assert_eq!(before.auth.len(), 4, "{:?}", before.auth);
        assert!(load.compacted > 1 && load.compacted < load.revision);
        assert_eq!(cluster.hash_kv(load.revision).len(), 1);
        let past = keys_at(&cluster, Some(load.compacted + 1));
        assert_ne!(past, before.keys);
        before.assert_same(&State::of(&cluster));

        cluster.ctl(&["put", "/registry/empty", ""]);
        assert_eq!(
            before.difference(&State::of(&cluster)).len(),
            1,
            "a new version is a difference"
        );
        let lease = before.leases.keys().next().unwrap();
        cluster.ctl(&["lease", "revoke", lease]);
        assert!(
            before.difference(&State::of(&cluster)).len() > 1,
            "a revoked lease is a difference"
        );
    }
}

#[test]
fn a_source_is_a_snapshot_with_its_digest_and_a_raw_copy_without() {
    let source = Source::of(versions::newest());
    assert_eq!(source.bytes().len() % 512, 32);
    assert_eq!(std::fs::metadata(&source.raw).unwrap().len() % 4096, 0);
    assert!(source.hash.0 > 0);
}

#[test]
fn three_members_elect_and_a_tls_member_answers() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::new(versions::oldest(), 3, dir.path());
    assert_eq!(cluster.ask(&["member", "list"])["members"].as_array().unwrap().len(), 3);

    let certs = Certs::new();
    let tls = tempfile::tempdir().unwrap();
    let secured = Cluster::new_with(versions::newest(), 1, tls.path(), Extra::mutual_tls(&certs));
    assert_eq!(secured.revision(), 1);
}

#[test]
fn a_proxy_cuts_after_exactly_so_many_bytes() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            drop(socket.write_all(&[7; 100_000]));
        }
    });
    for limit in [0, 1, 50_000, 99_999] {
        let proxy = Proxy::start(&upstream, Fault::CutAfter(limit));
        let mut got = Vec::new();
        drop(TcpStream::connect(&proxy.address).unwrap().read_to_end(&mut got));
        assert_eq!(got.len() as u64, limit);
    }
    let whole = Proxy::start(&upstream, Fault::None);
    let mut got = Vec::new();
    TcpStream::connect(&whole.address).unwrap().read_to_end(&mut got).unwrap();
    assert_eq!(got.len(), 100_000);
}
