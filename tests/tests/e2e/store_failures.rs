//! The object store is down, closed, flaky, slow, cut off or not what it was said to be.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use etcdr_tests::backup::Backup;
use etcdr_tests::certs::Certs;
use etcdr_tests::etcd::{Cluster, free_port};
use etcdr_tests::proxy::{Fault, Proxy};
use etcdr_tests::s3::{Rule, S3};
use etcdr_tests::source::Source;
use etcdr_tests::{rounds, versions, workload};
use hyper::{Method, StatusCode};

use crate::{hash_of, one_member, restore};

fn manifests(s3: &S3) -> Vec<String> {
    s3.objects().into_iter().filter(|key| key.contains("/manifests/")).collect()
}

fn import(place: &Backup) -> etcdr_tests::process::Said {
    let source = Source::of(versions::newest());
    place.run(&["snapshot", "import", &source.file.display().to_string()])
}

#[test]
fn the_whole_way_works_over_s3() {
    let s3 = S3::start();
    let mut place = Backup::at(&s3.url(), &s3.env(&s3.address));
    let cluster = Cluster::new(versions::newest(), 1, &PathBuf::from(place.path("live")));
    let load = workload::write(&cluster, 12, 6);
    // More than one part of a multipart upload.
    workload::write_bulk(&cluster, 12, 20);
    let live = cluster.hash_kv(cluster.revision())[0];
    assert!(cluster.revision() > load.revision);
    place.watch(&cluster);
    let id = place.save();
    assert_eq!(place.ids(), [id]);
    place.run(&["verify", "latest", "--level", "structure"]).ok();
    let receipt = restore(&place, &["latest"], &one_member(&place), &["--bump-revision", "0"]);
    assert_eq!(hash_of(&receipt), live);
    let stray: Vec<_> = s3.objects().into_iter().filter(|key| key.contains(".part")).collect();
    assert_eq!(stray, Vec::<String>::new());
}

#[test]
fn a_private_ca_is_trusted_when_it_is_named_and_only_then() {
    let certs = Certs::new();
    let s3 = S3::start_with(Arc::new(|_: &Method, _: &str| None), Some(&certs.server));
    let mut env = s3.env(&s3.address);
    env.push(("ETCDR_STORE_CACERT", certs.ca.display().to_string()));
    let mut place = Backup::at(&s3.url(), &env);
    import(&place).ok();
    assert_eq!(place.ids().len(), 1);
    place.set("ETCDR_STORE_CACERT", &certs.wrong_ca.display().to_string());
    place.run(&["snapshot", "list"]).ends_with(1).saying("certificate");
    place.unset("ETCDR_STORE_CACERT");
    place.run(&["snapshot", "list"]).ends_with(1);
}

#[test]
fn a_store_that_is_down_is_not_called_an_empty_one() {
    let s3 = S3::start();
    let mut place = Backup::at(&s3.url(), &s3.env(&s3.address));
    let dead = format!("http://127.0.0.1:{}", free_port());
    place.set("AWS_ENDPOINT_URL", &dead);
    place.run(&["snapshot", "list"]).ends_with(1);
    import(&place).ends_with(1);
    assert_eq!(manifests(&s3), Vec::<String>::new());
}

#[test]
fn a_missing_bucket_and_a_missing_repository_are_told_apart_from_a_closed_one() {
    let s3 = S3::start();
    let mut place = Backup::without_repository();
    for (name, value) in s3.env(&s3.address) {
        place.set(name, &value);
    }
    place.set("ETCDR_REPOSITORY", "s3://no-such-bucket/etcd");
    place.run(&["snapshot", "list"]).ends_with(10).saying("no-such-bucket");
    place.set("ETCDR_REPOSITORY", &s3.url());
    place.run(&["snapshot", "list"]).ends_with(10);

    let closed: Rule = Arc::new(|_: &Method, _: &str| Some(StatusCode::FORBIDDEN));
    let s3 = S3::start_with(closed, None);
    place.set("AWS_ENDPOINT_URL", &format!("http://{}", s3.address));
    let said = place.run(&["snapshot", "list"]).ends_with(1);
    let text = said.stderr.to_lowercase();
    assert!(text.contains("denied") || text.contains("403") || text.contains("refused"), "{text}");
    let recipient = place.recipient();
    place.run(&["init", "--recipient", &recipient]).ends_with(1);
    assert_eq!(s3.objects(), Vec::<String>::new());
}

/// Refuses the first `count` requests of each kind that the filter names.
fn first(count: u32, status: StatusCode, filter: fn(&Method, &str) -> bool) -> Rule {
    let seen = AtomicU32::new(0);
    Arc::new(move |method: &Method, path: &str| {
        (filter(method, path) && seen.fetch_add(1, Ordering::Relaxed) < count).then_some(status)
    })
}

#[test]
fn a_few_errors_of_the_store_are_ridden_out() {
    let flaky = first(3, StatusCode::INTERNAL_SERVER_ERROR, |method, _| method != Method::HEAD);
    let s3 = S3::start_with(flaky, None);
    let place = Backup::at(&s3.url(), &s3.env(&s3.address));
    import(&place).ok();
    place.run(&["verify", "latest", "--level", "content"]).ok();

    let s3 = S3::start();
    let place = Backup::at(&s3.url(), &s3.env(&s3.address));
    import(&place).ok();
    let slow = Proxy::start(&s3.address, Fault::Slow(4 << 20));
    let mut over_slow = Backup::at(&format!("{}-slow", s3.url()), &s3.env(&s3.address));
    over_slow.set("AWS_ENDPOINT_URL", &format!("http://{}", slow.address));
    import(&over_slow).ok();
}

#[test]
fn uploads_that_are_refused_leave_no_manifest() {
    let rules: [fn(&Method, &str) -> bool; 3] = [
        |method, path| *method == Method::PUT && path.contains("/images/"),
        |method, path| *method == Method::PUT && path.contains("/manifests/"),
        |method, path| *method == Method::GET && path.contains("/images/"),
    ];
    for filter in rules {
        let s3 = S3::start_with(first(u32::MAX, StatusCode::FORBIDDEN, filter), None);
        let place = Backup::at(&s3.url(), &s3.env(&s3.address));
        let said = import(&place).ends_with(1);
        assert!(
            said.stderr.contains("/images/") || said.stderr.contains("/manifests/"),
            "{}",
            said.stderr
        );
        assert_eq!(manifests(&s3), Vec::<String>::new());
        assert_eq!(place.ids(), Vec::<String>::new());
    }
}

#[test]
fn an_upload_that_is_cut_off_leaves_no_manifest() {
    let s3 = S3::start();
    let mut place = Backup::at(&s3.url(), &s3.env(&s3.address));
    let whole = Proxy::start(&s3.address, Fault::None);
    place.set("AWS_ENDPOINT_URL", &format!("http://{}", whole.address));
    import(&place).ok();
    let total = whole.moved();
    assert_eq!(manifests(&s3).len(), 1);
    let mut rng = workload::Rng(13);
    for _ in 0..rounds(3) {
        let limit = rng.next_u64() % (total * 9 / 10);
        let proxy = Proxy::start(&s3.address, Fault::CutAfter(limit));
        place.set("AWS_ENDPOINT_URL", &format!("http://{}", proxy.address));
        import(&place).ends_with(1);
        assert_eq!(manifests(&s3).len(), 1, "cut at {limit} of {total}");
    }
}
