//! The node crate against real etcd of every version: each way in, each way to be refused, and the
//! bytes of a snapshot against those that etcdctl saves.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use etcdr_node::{
    Client, ClusterOptions, ConnectOptions, Error, EtcdBinary, LocalCluster, MemberSpec, Metrics,
    ServerTls, TlsFault, Tool, free_urls,
};
use etcdr_schemas::{Diagnose, Revision, Sha256Digest};
use etcdr_tests::certs::Certs;
use etcdr_tests::versions::{newest, oldest, versions};
use futures_util::StreamExt;
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(30);

async fn binary(dir: &Path) -> EtcdBinary {
    EtcdBinary::locate(Some(dir), None).await.expect("an etcd")
}

async fn start(binary: &EtcdBinary, dir: &TempDir, options: &ClusterOptions) -> LocalCluster {
    let member = MemberSpec::new("one", dir.path().join("one"));
    LocalCluster::start(binary, &[member], options).await.expect("a member that serves")
}

/// The oldest and the newest: what is between speaks TLS and gRPC as they do.
async fn ends() -> Vec<EtcdBinary> {
    let mut found = vec![binary(&oldest().dir).await];
    if oldest() != newest() {
        found.push(binary(&newest().dir).await);
    }
    found
}

async fn all() -> Vec<EtcdBinary> {
    let mut found = Vec::new();
    for version in versions() {
        found.push(binary(&version.dir).await);
    }
    found
}

async fn ctl(binary: &EtcdBinary, endpoint: &str, args: &[&str]) -> String {
    let all = [&["--endpoints", endpoint], args].concat();
    let said = binary.run(Tool::Etcdctl, &all, LIMIT).await.expect("etcdctl");
    assert!(said.success, "{args:?}: {}", said.stderr);
    said.stdout
}

async fn fill(client: &Client, keys: usize, bytes: usize) -> Revision {
    let mut last = Revision(0);
    for chunk in (0..keys).collect::<Vec<_>>().chunks(100) {
        let pair =
            |n: &usize| (Bytes::from(format!("/key/{n:08}")), Bytes::from(vec![b'v'; bytes]));
        last = client.writer().txn_put(chunk.iter().map(pair), 0).await.expect("a write");
    }
    last
}

async fn capture(client: &Client) -> Result<Vec<u8>, Error> {
    let mut stream = client.snapshot(LIMIT).await?;
    let mut file = Vec::new();
    while let Some(chunk) = stream.next().await {
        file.extend_from_slice(&chunk?);
    }
    assert_eq!(file.len() as u64, stream.total());
    Ok(file)
}

fn assert_own_digest(file: &[u8]) {
    let (data, digest) = file.split_at(file.len() - Sha256Digest::LEN);
    assert_eq!(Sha256Digest::of(data).as_bytes().as_slice(), digest);
    assert_eq!(data.len() % 512, 0);
}

#[tokio::test]
async fn every_question_has_etcds_answer() {
    for etcd in all().await {
        let dir = TempDir::new().unwrap();
        let cluster = start(&etcd, &dir, &ClusterOptions::default()).await;
        let client = cluster.client(0).await.unwrap();

        let status = client.status().await.unwrap();
        assert_eq!(status.version, etcd.version().to_string());
        assert!(status.is_leader() && !status.learner && status.db_size > 0, "{status:?}");
        let members = client.member_list(true).await.unwrap();
        assert_eq!(members.len(), 1);
        assert_eq!((members[0].id, members[0].name.as_str()), (status.member_id, "one"));
        assert_eq!(members[0].client_urls, cluster.endpoints());
        assert!(client.alarms().await.unwrap().is_empty());

        let lease = client.writer().lease_grant(600).await.unwrap();
        assert_eq!(client.lease_ids().await.unwrap(), [lease]);
        let put = client.writer().put("a", "1", lease).await.unwrap();
        let filled = fill(&client, 300, 100).await;
        assert_eq!(filled.0, put.0 + 3);
        assert_eq!(client.writer().delete_range("/key/", "/key/00000100").await.unwrap(), 100);
        let now = client.current_revision().await.unwrap();
        assert_eq!(now.0, filled.0 + 1);
        assert_eq!(client.status().await.unwrap().revision, now);

        hashes_agree(&etcd, &client, now).await;
        client.writer().compact(filled).await.unwrap();
        hashes_agree(&etcd, &client, now).await;
        let early = client.hash_kv(Some(put)).await.unwrap_err();
        assert!(matches!(early, Error::Revision { .. }), "{early}");
        let late = client.hash_kv(Some(Revision(now.0 + 9))).await.unwrap_err();
        assert!(matches!(late, Error::Revision { .. }), "{late}");
        looked_after(&client, &cluster).await;
        cluster.stop().await.unwrap();
    }
}

#[expect(clippy::unwrap_used, reason = "a part of a test")]
/// Defragmentation, a compaction that only is agreed on, and what the metrics say of both.
async fn looked_after(client: &Client, cluster: &LocalCluster) {
    let options = cluster.connect_options(0).unwrap();
    let before = Metrics::read(&options, None).await.unwrap();
    assert_eq!(before.quota, Some(8 << 30), "as it was started");
    assert!(before.wal_fsync.count() > 0 && before.backend_commit.count() > 0, "{before:?}");
    let last = fill(client, 300, 100).await;
    client.maintenance().compact(last, false).await.unwrap();
    let again = client.maintenance().compact(last, false).await.unwrap_err();
    assert!(matches!(again, Error::Revision { .. }), "{again}");
    client.maintenance().defragment().await.unwrap();
    assert_eq!(client.current_revision().await.unwrap(), last);
    let url = format!("{}/metrics", options.endpoint);
    let after = Metrics::read(&options, Some(&url)).await.unwrap();
    let since = after.backend_commit.since(&before.backend_commit).unwrap();
    assert!(since.count() > 0 && since.quantile(0.99).unwrap() < LIMIT, "{since:?}");
    assert!(after.wal_fsync.since(&before.wal_fsync).unwrap().count() > 0);
    let wrong = Metrics::read(&options, Some(&format!("{}/nothing", options.endpoint))).await;
    assert!(matches!(wrong, Err(Error::InvalidReply { .. })), "{wrong:?}");
    let nobody = Metrics::read(&options, Some("http://127.0.0.1:1/metrics")).await;
    assert!(matches!(nobody, Err(Error::Lost { .. })), "{nobody:?}");
}

async fn hashes_agree(etcd: &EtcdBinary, client: &Client, at: Revision) {
    let ours = client.hash_kv(Some(at)).await.expect("a hash");
    let args = ["endpoint", "hashkv", "--rev", &at.to_string(), "-w", "json"];
    let said: serde_json::Value =
        serde_json::from_str(&ctl(etcd, client.endpoint(), &args).await).expect("JSON");
    let theirs = &said[0]["HashKV"];
    assert_eq!(theirs["hash"].as_u64(), Some(u64::from(ours.hash)));
    // etcd leaves a zero out of its JSON.
    assert_eq!(theirs["compact_revision"].as_i64().unwrap_or(0), ours.compact_revision);
    assert_eq!(ours.revision, at);
    assert_eq!(client.hash_kv(None).await.expect("a hash").hash, ours.hash);
}

#[tokio::test]
async fn a_snapshot_is_the_file_that_etcdctl_saves() {
    for etcd in all().await {
        let dir = TempDir::new().unwrap();
        let cluster = start(&etcd, &dir, &ClusterOptions::default()).await;
        let client = cluster.client(0).await.unwrap();
        fill(&client, 2000, 5000).await;
        // The database rests only when etcd has written out its consistent index.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let ours = capture(&client).await.unwrap();
        let (our_path, their_path) = (dir.path().join("ours.db"), dir.path().join("theirs.db"));
        std::fs::write(&our_path, &ours).unwrap();
        let save = ["snapshot", "save", &their_path.display().to_string()];
        ctl(&etcd, client.endpoint(), &save).await;
        let theirs = std::fs::read(&their_path).unwrap();
        assert_own_digest(&ours);
        assert!(ours.len() > 10_000_000);
        assert_eq!(ours.len(), theirs.len());
        // From 3.5 on, each snapshot commits and thereby changes the counter in the meta page; what
        // the official tool sees in the files is the same.
        assert_eq!(inspect(&etcd, &our_path).await, inspect(&etcd, &their_path).await);
        if etcd.version().minor == 4 {
            assert!(ours == theirs, "etcd {}: the bytes differ", etcd.version());
        }
    }
}

async fn inspect(etcd: &EtcdBinary, file: &Path) -> String {
    let tool = if etcd.tool(Tool::Etcdutl).is_some() { Tool::Etcdutl } else { Tool::Etcdctl };
    let args = ["snapshot", "status", &file.display().to_string(), "-w", "json"];
    let said = etcd.run(tool, args, LIMIT).await.expect("a tool");
    assert!(said.success && said.stdout.contains("\"hash\""), "{}", said.stderr);
    said.stdout
}

#[tokio::test]
async fn three_members_form_one_cluster_and_survive_a_loss() {
    let etcd = binary(&newest().dir).await;
    let dir = TempDir::new().unwrap();
    let specs: Vec<MemberSpec> =
        ["a", "b", "c"].map(|name| MemberSpec::new(name, dir.path().join(name))).into();
    let mut cluster =
        LocalCluster::start(&etcd, &specs, &ClusterOptions::default()).await.expect("three");
    assert_eq!((cluster.endpoints().len(), cluster.pids().len()), (3, 3));
    let client = cluster.client(1).await.unwrap();
    assert_eq!(client.member_list(true).await.unwrap().len(), 3);
    cluster.kill_member(0).await.unwrap();
    assert_eq!(cluster.pids().len(), 2);
    let gone = Client::connect(&cluster.connect_options(0).unwrap()).await.unwrap_err();
    assert!(matches!(gone, Error::Connect { .. }) && !gone.is_permanent(), "{gone}");
    assert!(gone.to_string().to_lowercase().contains("refused"), "{gone}");
    cluster.start_member(0).await.unwrap();
    assert!(cluster.client(0).await.unwrap().current_revision().await.is_ok());
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn without_a_quorum_the_calls_that_need_one_give_up_in_time() {
    let etcd = binary(&newest().dir).await;
    let dir = TempDir::new().unwrap();
    let specs: Vec<MemberSpec> =
        ["a", "b"].map(|name| MemberSpec::new(name, dir.path().join(name))).into();
    let mut options = ClusterOptions::default();
    options.connect.command_timeout = Duration::from_secs(2);
    let mut cluster = LocalCluster::start(&etcd, &specs, &options).await.expect("two");
    cluster.kill_member(1).await.unwrap();
    let client = cluster.client(0).await.unwrap();
    let error = client.current_revision().await.unwrap_err();
    assert!(!error.is_permanent(), "{error}");
    assert!(matches!(error, Error::Timeout { .. } | Error::Unavailable { .. }), "{error}");
    // A snapshot needs none: that is what saves a cluster that lost it.
    assert_own_digest(&capture(&client).await.unwrap());
    assert_eq!(client.member_list(false).await.unwrap().len(), 2);
}

fn tls_options(certs: &Certs, client_ca: bool) -> ClusterOptions {
    let mut options = ClusterOptions {
        tls: Some(ServerTls {
            cert: certs.server.cert.clone(),
            key: certs.server.key.clone(),
            client_ca: client_ca.then(|| certs.ca.clone()),
        }),
        ..ClusterOptions::default()
    };
    options.connect.cacert = Some(certs.ca.clone());
    if client_ca {
        options.connect.cert = Some(certs.client.cert.clone());
        options.connect.key = Some(certs.client.key.clone());
    }
    options
}

/// Connects and asks something: the server's verdict over a client may come that late.
async fn refusal(options: &ConnectOptions) -> Error {
    let attempt = async { Client::connect(options).await?.status().await };
    attempt.await.expect_err("it was let in")
}

async fn tls_fault(options: &ConnectOptions) -> TlsFault {
    match refusal(options).await {
        error @ Error::Tls { fault, .. } => {
            assert!(error.is_permanent(), "{error}");
            fault
        }
        other => panic!("not a TLS error: {other}"),
    }
}

#[tokio::test]
async fn tls_lets_in_who_trusts_the_right_authority() {
    for etcd in ends().await {
        let (dir, certs) = (TempDir::new().unwrap(), Certs::new());
        let cluster = start(&etcd, &dir, &tls_options(&certs, false)).await;
        let good = cluster.connect_options(0).unwrap();
        assert!(good.endpoint.starts_with("https://127.0.0.1"));
        assert_own_digest(&capture(&cluster.client(0).await.unwrap()).await.unwrap());
        // A name, and no scheme: TLS since there is an authority.
        let port = good.endpoint.rsplit(':').next().unwrap().to_owned();
        let named = good.at(format!("localhost:{port}"));
        assert!(Client::connect(&named).await.unwrap().status().await.is_ok());

        let wrong = ConnectOptions { cacert: Some(certs.wrong_ca.clone()), ..good.clone() };
        assert_eq!(tls_fault(&wrong).await, TlsFault::UnknownIssuer);
        let system = ConnectOptions { cacert: None, ..good.clone() };
        assert_eq!(tls_fault(&system).await, TlsFault::UnknownIssuer);
        let other_name = good.at(format!("https://127.0.0.2:{port}"));
        // The listener is on 127.0.0.1 only; a proxy of the right port can distinguish the names.
        let proxied = forward("127.0.0.2", &port).await.map(|at| good.at(format!("https://{at}")));
        assert_eq!(tls_fault(&proxied.unwrap_or(other_name)).await, TlsFault::NameMismatch);

        let plain = good.at(format!("http://127.0.0.1:{port}"));
        let error = refusal(&plain).await;
        assert!(
            matches!(error, Error::Lost { .. }) && error.diagnosis().next.contains("https://"),
            "{error}"
        );
    }
}

/// Forwards connections to a loopback port from another loopback address.
async fn forward(from: &str, port: &str) -> Option<String> {
    let listener = tokio::net::TcpListener::bind((from, 0)).await.ok()?;
    let at = listener.local_addr().ok()?.to_string();
    let to = format!("127.0.0.1:{port}");
    tokio::spawn(async move {
        while let Ok((mut inward, _)) = listener.accept().await {
            let mut outward = tokio::net::TcpStream::connect(&to).await.expect("etcd");
            let _ = tokio::io::copy_bidirectional(&mut inward, &mut outward).await;
        }
    });
    Some(at)
}

#[tokio::test]
async fn https_to_an_etcd_without_tls_says_so() {
    for etcd in ends().await {
        let (dir, certs) = (TempDir::new().unwrap(), Certs::new());
        let cluster = start(&etcd, &dir, &ClusterOptions::default()).await;
        let endpoint = cluster.endpoints()[0].replace("http://", "https://");
        let mut options = ConnectOptions::new(endpoint);
        options.cacert = Some(certs.ca.clone());
        let error = refusal(&options).await;
        assert!(matches!(error, Error::Tls { fault: TlsFault::NotTls, .. }), "{error}");
    }
}

#[tokio::test]
async fn mutual_tls_wants_a_good_client_certificate() {
    for etcd in ends().await {
        let (dir, certs) = (TempDir::new().unwrap(), Certs::new());
        let cluster = start(&etcd, &dir, &tls_options(&certs, true)).await;
        let good = cluster.connect_options(0).unwrap();
        assert_own_digest(&capture(&cluster.client(0).await.unwrap()).await.unwrap());

        assert!(Metrics::read(&good, None).await.unwrap().wal_fsync.count() > 0);
        let none = ConnectOptions { cert: None, key: None, ..good.clone() };
        assert!(Metrics::read(&none, None).await.is_err());
        assert_eq!(tls_fault(&none).await, TlsFault::ClientCertificateMissing);
        let expired = ConnectOptions {
            cert: Some(certs.expired.cert.clone()),
            key: Some(certs.expired.key.clone()),
            ..good.clone()
        };
        assert_eq!(tls_fault(&expired).await, TlsFault::ClientCertificateRefused);
        let half = ConnectOptions { key: None, ..good.clone() };
        assert!(matches!(refusal(&half).await, Error::Config { .. }));
        let missing = ConnectOptions { cert: Some(PathBuf::from("/nowhere.pem")), ..good.clone() };
        assert!(matches!(refusal(&missing).await, Error::File { .. }));
        let swapped = ConnectOptions { key: good.cert.clone(), ..good };
        assert_eq!(tls_fault(&swapped).await, TlsFault::OwnFiles);
    }
}

#[tokio::test]
async fn a_unix_socket_is_an_endpoint() {
    for etcd in ends().await {
        let dir = TempDir::new().unwrap();
        let mut member = MemberSpec::new("one", dir.path().join("one"));
        // etcd wants host and port, and makes a file of that name in the working directory.
        let socket = free_urls(1).unwrap().remove(0).replace("http://127.0.0.1", "localhost");
        member.client_url = Some(format!("unix://{socket}"));
        let cluster = LocalCluster::start(&etcd, &[member], &ClusterOptions::default()).await;
        let cluster = cluster.expect("a member on a socket");
        assert_own_digest(&capture(&cluster.client(0).await.unwrap()).await.unwrap());
        let absolute = std::env::current_dir().unwrap().join(&socket);
        let by_path = ConnectOptions::new(format!("unix://{}", absolute.display()));
        assert!(Client::connect(&by_path).await.unwrap().status().await.is_ok());
        cluster.stop().await.unwrap();
        let _ = std::fs::remove_file(absolute);
        let elsewhere = ConnectOptions::new("unix:///nowhere/etcd.sock");
        assert!(matches!(refusal(&elsewhere).await, Error::Connect { .. }));
    }
}

async fn enable_auth(etcd: &EtcdBinary, endpoint: &str) {
    for args in [
        &["user", "add", "root:rootpw"][..],
        &["user", "grant-role", "root", "root"],
        &["user", "add", "bob:bobpw"],
        &["role", "add", "reader"],
        &["role", "grant-permission", "reader", "--prefix=true", "readwrite", ""],
        &["user", "grant-role", "bob", "reader"],
    ] {
        ctl(etcd, endpoint, args).await;
    }
    ctl(etcd, endpoint, &["auth", "enable"]).await;
}

#[tokio::test]
async fn with_authentication_only_root_gets_snapshots() {
    for etcd in all().await {
        let dir = TempDir::new().unwrap();
        let mut cluster = start(&etcd, &dir, &ClusterOptions::default()).await;
        let nobody = cluster.connect_options(0).unwrap();
        let as_user = |user: &str, password: &str| {
            let mut options = nobody.clone();
            options.user = Some(user.to_owned());
            options.password = Some(password.to_owned());
            options
        };
        // A user where there is no authentication: etcdctl does not mind, and neither do we.
        let early = Client::connect(&as_user("root", "rootpw")).await.unwrap();
        assert_own_digest(&capture(&early).await.unwrap());
        // etcd 3.4 has no role "root" before authentication wants it.
        let _ = etcd
            .run(Tool::Etcdctl, ["--endpoints", &nobody.endpoint, "role", "add", "root"], LIMIT)
            .await;
        enable_auth(&etcd, &nobody.endpoint).await;

        let root = Client::connect(&as_user("root", "rootpw")).await.unwrap();
        assert_own_digest(&capture(&root).await.unwrap());
        root.hash_kv(None).await.unwrap();
        // A client that connected before gets its token when it is first asked for.
        early.hash_kv(None).await.unwrap();

        let bob = Client::connect(&as_user("bob", "bobpw")).await.unwrap();
        bob.current_revision().await.unwrap();
        for error in [capture(&bob).await.unwrap_err(), bob.hash_kv(None).await.unwrap_err()] {
            assert!(matches!(error, Error::Denied { .. }), "{error}");
            assert!(
                error.to_string().contains("bob") && error.diagnosis().next.contains("root role")
            );
        }
        let anonymous = Client::connect(&nobody).await.unwrap();
        for error in [
            capture(&anonymous).await.unwrap_err(),
            anonymous.hash_kv(None).await.unwrap_err(),
            anonymous.current_revision().await.unwrap_err(),
            Client::connect(&as_user("root", "wrong")).await.unwrap_err(),
            Client::connect(&as_user("nobody", "wrong")).await.unwrap_err(),
        ] {
            assert!(error.is_about_identity() && error.is_permanent(), "{error}");
        }

        // A restarted etcd has forgotten its simple tokens.
        cluster.stop_member(0).await.unwrap();
        cluster.start_member(0).await.unwrap();
        root.hash_kv(None).await.unwrap();
        cluster.stop_member(0).await.unwrap();
        cluster.start_member(0).await.unwrap();
        assert_own_digest(&capture(&root).await.unwrap());
    }
}

#[tokio::test]
async fn a_member_that_dies_says_why() {
    let etcd = binary(&newest().dir).await;
    let dir = TempDir::new().unwrap();
    let options = ClusterOptions {
        extra_args: vec!["--heartbeat-interval=99999999".into()],
        ..ClusterOptions::default()
    };
    let member = MemberSpec::new("one", dir.path().join("one"));
    let error = LocalCluster::start(&etcd, &[member], &options).await.unwrap_err();
    let Error::Died { log, .. } = &error else { panic!("{error}") };
    assert!(log.contains("heartbeat-interval"), "{log}");
}

#[tokio::test]
async fn a_taken_port_is_told_and_a_free_choice_avoids_it() {
    let etcd = binary(&newest().dir).await;
    let dir = TempDir::new().unwrap();
    let url = free_urls(1).unwrap().remove(0);
    let _holder = std::net::TcpListener::bind(url.trim_start_matches("http://")).unwrap();
    let mut member = MemberSpec::new("one", dir.path().join("one"));
    member.client_url = Some(url);
    let error = LocalCluster::start(&etcd, &[member.clone()], &ClusterOptions::default()).await;
    assert!(matches!(error, Err(Error::PortTaken { .. })), "{error:?}");
    member.client_url = None;
    LocalCluster::start(&etcd, &[member], &ClusterOptions::default()).await.expect("other ports");
}

#[tokio::test]
async fn dropping_the_cluster_kills_its_members() {
    let etcd = binary(&newest().dir).await;
    let dir = TempDir::new().unwrap();
    let cluster = start(&etcd, &dir, &ClusterOptions::default()).await;
    let pid = cluster.pids()[0];
    drop(cluster);
    for _ in 0..250 {
        if !Path::new(&format!("/proc/{pid}")).exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("etcd {pid} lives on");
}
