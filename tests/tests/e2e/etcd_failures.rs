//! etcd is down, wrong, closed to us, cut off or silent: a save fails with a clear sentence
//! and leaves nothing.

use std::path::PathBuf;

use etcdr_tests::backup::Backup;
use etcdr_tests::certs::Certs;
use etcdr_tests::etcd::{Cluster, Extra, free_port};
use etcdr_tests::proxy::{Fault, Proxy};
use etcdr_tests::{rounds, versions, workload};

/// Fails unless the repository is as `init` left it.
#[track_caller]
fn assert_clean(place: &Backup) {
    assert_eq!(place.objects(), ["etcdr.json"]);
    assert_eq!(place.ids(), Vec::<String>::new());
}

fn live(place: &mut Backup, transactions: usize) -> Cluster {
    let cluster = Cluster::new(versions::newest(), 1, &PathBuf::from(place.path("live")));
    workload::write(&cluster, 6, transactions);
    place.watch(&cluster);
    cluster
}

fn host(cluster: &Cluster) -> &str {
    cluster.endpoint().trim_start_matches("http://").trim_start_matches("https://")
}

#[test]
fn etcd_is_down_or_something_else_listens() {
    let mut place = Backup::new();
    place.set("ETCDCTL_ENDPOINTS", &format!("http://127.0.0.1:{}", free_port()));
    place.run(&["snapshot", "save"]).ends_with(1).saying("cannot connect");
    assert_clean(&place);

    // A server that speaks, but not etcd's language.
    let stranger = etcdr_tests::s3::S3::start();
    place.set("ETCDCTL_ENDPOINTS", &stranger.address);
    place
        .run(&["snapshot", "save", "--command-timeout", "2s"])
        .ends_with(1)
        .saying(&stranger.address);
    // One that says nothing at all.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = listener.local_addr().unwrap().to_string();
    place.set("ETCDCTL_ENDPOINTS", &silent);
    let flags = ["snapshot", "save", "--dial-timeout", "1s", "--command-timeout", "1s"];
    place.run(&flags).ends_with(1).saying(&silent);
    assert_clean(&place);
    place.run(&["snapshot", "save", "--endpoints", "ftp://x"]).ends_with(2);
    assert_clean(&place);
}

#[test]
fn certificates_that_do_not_fit_are_named() {
    let certs = Certs::new();
    let mut place = Backup::new();
    let dir = PathBuf::from(place.path("live"));
    let cluster = Cluster::new_with(versions::newest(), 1, &dir, Extra::mutual_tls(&certs));
    place.watch(&cluster);
    let path = |path: &PathBuf| path.display().to_string();
    let (ca, wrong_ca) = (path(&certs.ca), path(&certs.wrong_ca));
    let (cert, key) = (path(&certs.client.cert), path(&certs.client.key));
    let (old_cert, old_key) = (path(&certs.expired.cert), path(&certs.expired.key));
    let cases: [(&str, Vec<&str>); 5] = [
        ("wrong CA", vec!["--cacert", &wrong_ca, "--cert", &cert, "--key", &key]),
        ("missing client certificate", vec!["--cacert", &ca]),
        (
            "expired client certificate",
            vec!["--cacert", &ca, "--cert", &old_cert, "--key", &old_key],
        ),
        ("certificate without its key", vec!["--cacert", &ca, "--cert", &cert]),
        ("no such CA file", vec!["--cacert", "/no/such/ca.pem", "--cert", &cert, "--key", &key]),
    ];
    for (what, flags) in cases {
        let said = place.run(&[&["snapshot", "save"][..], &flags].concat());
        assert!(matches!(said.code, 1 | 2), "{what}: {said:?}");
        let named = ["cert", "CA ", "ca.pem"].iter().any(|part| said.stderr.contains(part));
        assert!(named, "{what}: {said:?}");
        assert_clean(&place);
    }
    let good = ["snapshot", "save", "--cacert", &ca, "--cert", &cert, "--key", &key];
    place.run(&good).ok();
    // Plain text to a TLS port.
    let plain = format!("http://{}", host(&cluster));
    place.run(&["snapshot", "save", "--endpoints", &plain, "--command-timeout", "3s"]).ends_with(1);
    assert_eq!(place.ids().len(), 1);
}

#[test]
fn users_without_the_right_are_told_which_right() {
    for version in versions::versions() {
        let mut place = Backup::new();
        let mut cluster = Cluster::new(version, 1, &PathBuf::from(place.path("live")));
        workload::enable_auth(&mut cluster);
        place.watch(&cluster);
        place.unset("ETCDCTL_USER");
        for flags in [&[][..], &["--user", "anna:anna-password"], &["--user", "root:wrong"]] {
            let said = place.run(&[&["snapshot", "save"], flags].concat()).ends_with(1);
            assert!(
                !said.stderr.contains("anna-password"),
                "a password was printed: {}",
                said.stderr
            );
            assert!(said.stderr.to_lowercase().contains("user"), "{}", said.stderr);
            assert_clean(&place);
        }
        place
            .run(&["snapshot", "save", "--user", "anna:anna-password"])
            .ends_with(1)
            .saying("root");
        let password = place.path("password");
        std::fs::write(&password, "root-password\n").unwrap();
        place.run(&["snapshot", "save", "--user", "root", "--password-file", &password]).ok();
    }
}

#[test]
fn a_stream_cut_at_any_byte_never_becomes_a_snapshot() {
    let mut place = Backup::new();
    let cluster = live(&mut place, 10);
    let whole = Proxy::start(host(&cluster), Fault::None);
    place.set("ETCDCTL_ENDPOINTS", &format!("http://{}", whole.address));
    place.save();
    let total = whole.moved();
    let before = place.objects();
    let mut rng = workload::Rng(11);
    let count = rounds(40);
    for round in 0..count {
        // Everywhere, and the very end with its digest most of all.
        let limit = match round % 3 {
            0 => total - 1 - rng.next_u64() % 200,
            _ => rng.next_u64() % total,
        };
        let proxy = Proxy::start(host(&cluster), Fault::CutAfter(limit));
        place.set("ETCDCTL_ENDPOINTS", &format!("http://{}", proxy.address));
        let said =
            place.run(&["snapshot", "save", "--dial-timeout", "1s", "--command-timeout", "2s"]);
        if said.code == 0 || said.code == 3 {
            // The cut came after the last byte that mattered: then the snapshot is whole.
            let id = said.stdout_text();
            place.run(&["verify", id.trim(), "--level", "structure"]).ok();
            assert!(total - limit < 2000, "cut {} bytes before the end", total - limit);
        } else {
            said.ends_with(1);
            let left: Vec<_> =
                place.objects().into_iter().filter(|key| !before.contains(key)).collect();
            let listed = place.ids();
            assert!(
                left.iter().all(|key| listed.iter().any(|id| key.contains(id))),
                "left: {left:?}"
            );
        }
    }
}

#[test]
fn a_stream_that_falls_silent_is_given_up() {
    let mut place = Backup::new();
    let cluster = live(&mut place, 10);
    workload::write_bulk(&cluster, 8, 4);
    for limit in [200_000, 2_000_000] {
        let proxy = Proxy::start(host(&cluster), Fault::StallAfter(limit));
        place.set("ETCDCTL_ENDPOINTS", &format!("http://{}", proxy.address));
        let flags = ["snapshot", "save", "--stall-timeout", "2s", "--command-timeout", "2s"];
        let said = place.run(&flags).ends_with(1);
        assert!(said.stderr.contains("2 s") || said.stderr.contains("stall"), "{}", said.stderr);
        assert_clean(&place);
    }
}

#[test]
fn one_dead_endpoint_of_several_does_not_stop_a_save() {
    let mut place = Backup::new();
    let cluster = live(&mut place, 2);
    let dead = format!("http://127.0.0.1:{}", free_port());
    place.set("ETCDCTL_ENDPOINTS", &format!("{dead},{}", cluster.endpoint()));
    let said = place.run(&["snapshot", "save"]);
    assert!(matches!(said.code, 0 | 3), "{said:?}");
    assert_eq!(place.ids().len(), 1);
}
