//! The admin interface over its real socket. A loop is played that answers as the agent's does.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use etcdr_agent::admin::{
    self, Admin, AnyFailure, Client, Credentials, Error, Listener, RepositoryAccess,
};
use etcdr_agent::command::Command;
use etcdr_schemas::config::AdminConfig;
use etcdr_schemas::report::Level;
use etcdr_schemas::{Diagnose as _, ExitCode, Progress, SnapshotId};
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use crate::samples::{before, healthy, id, manifest, noon};

struct Books;

impl RepositoryAccess for Books {
    fn list(&self) -> BoxFuture<'_, Result<Vec<SnapshotId>, AnyFailure>> {
        Box::pin(async { Ok((1..=1500).map(|minute| id(before(minute))).collect()) })
    }

    fn plan_prune(&self) -> BoxFuture<'_, Result<String, AnyFailure>> {
        Box::pin(async { Ok("{\"schema\":\"etcdr/prune-plan/v1\"}".to_owned()) })
    }
}

/// Answers commands; a save works for a moment.
async fn play(mut commands: mpsc::Receiver<Command>) {
    while let Some(command) = commands.recv().await {
        match command {
            Command::Save { progress, reply } => {
                progress.begin("saving", Some(100));
                progress.advance(40);
                tokio::time::sleep(Duration::from_millis(600)).await;
                progress.advance(60);
                progress.end();
                let saved = (vec![manifest(before(0), &[])], vec!["look at this".to_owned()]);
                let _ = reply.send(Ok(saved));
            }
            Command::Verify { level, reply, .. } => {
                let findings = vec![format!("level {level}")];
                let _ = reply.send(Ok(findings));
            }
            Command::Pause { schedule, pause, reply } => {
                let name = schedule.unwrap_or_else(|| "all".to_owned());
                let _ = reply.send(Ok(vec![format!("{name} {pause}")]));
            }
            // An error of the loop's.
            Command::Defragment { reply, .. } => {
                let _ = reply.send(Err(etcdr_operations::Error::NoEndpoint.into()));
            }
            Command::Reload => {}
        }
    }
}

pub struct Running {
    pub address: String,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<Result<(), Error>>,
}

impl Running {
    pub async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(10), self.task).await;
        ended.expect("it ends").unwrap().unwrap();
    }
}

pub fn start(config: &AdminConfig) -> Running {
    let listener = Listener::bind(config).unwrap().expect("it is turned on");
    let address = listener.address().to_owned();
    let (commands, received) = mpsc::channel(4);
    tokio::spawn(play(received));
    let admin = Admin {
        commands,
        status: Arc::new(healthy()),
        clock: Arc::new(noon),
        repository: Arc::new(Books),
        signs: true,
    };
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(admin::serve(listener, admin, async {
        let _ = stopped.await;
    }));
    Running { address, stop: Some(stop), task }
}

pub fn at(path: &Path) -> AdminConfig {
    AdminConfig { listen: format!("unix://{}", path.display()), ..AdminConfig::default() }
}

/// Writes down what is drawn.
#[derive(Default)]
struct Written(std::sync::Mutex<Vec<String>>);

impl Progress for Written {
    fn begin(&self, stage: &'static str, total: Option<u64>) {
        self.0.lock().unwrap().push(format!("{stage} {total:?}"));
    }
    fn advance(&self, bytes: u64) {
        self.0.lock().unwrap().push(bytes.to_string());
    }
    fn end(&self) {
        self.0.lock().unwrap().push("end".into());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_is_answered_over_a_private_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run/agent.sock");
    let running = start(&at(&path));
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let left: Vec<_> = path.parent().unwrap().read_dir().unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    let client = Client::connect(&running.address, &Credentials::default()).await.unwrap();
    let status = client.status().await.unwrap();
    assert!(status.ready && status.newest.id == Some(id(before(12))));
    let written = Written::default();
    let saved = client.save(&written).await.unwrap();
    assert_eq!(saved.snapshots[0].0.id, id(before(0)));
    assert!(saved.snapshots[0].1 && saved.warnings == ["look at this"]);
    assert_eq!(written.0.lock().unwrap()[..2], ["saving Some(100)", "40"]);
    let (ids, total) = client.list(0).await.unwrap();
    assert_eq!((ids.len(), total), (1000, 1500));
    assert_eq!(client.list(3).await.unwrap().0.len(), 3);
    assert_eq!(client.verify(&ids[0], Level::Content).await.unwrap(), ["level content"]);
    assert_eq!(client.pause(Some("hourly".into())).await.unwrap(), ["hourly true"]);
    assert_eq!(client.resume(None).await.unwrap(), ["all false"]);
    assert!(client.plan_prune().await.unwrap().contains("prune-plan"));
    let error = client.defragment(false).await.unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Usage);
    assert!(
        matches!(error, Error::Refused { .. }) && error.diagnosis().next.contains("--endpoints"),
        "{error}"
    );
    running.stop().await;
    assert!(!path.exists(), "the socket goes with the agent");
    let error = Client::connect(&at(&path).listen, &Credentials::default()).await.unwrap_err();
    assert!(
        matches!(error, Error::NotRunning { .. }) && error.diagnosis().next.contains("Start it"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let running = start(&at(&path));
    assert!(matches!(Listener::bind(&at(&path)), Err(Error::InUse { .. })));
    let client = Client::connect(&running.address, &Credentials::default()).await;
    client.expect("the first one still answers").status().await.unwrap();
    running.stop().await;
    std::fs::write(&path, "somebody's file").unwrap();
    assert!(matches!(Listener::bind(&at(&path)), Err(Error::File { .. })));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "somebody's file");
}

#[tokio::test]
async fn tcp_without_certificates_is_refused() {
    let config = AdminConfig { listen: "127.0.0.1:0".into(), ..AdminConfig::default() };
    assert!(matches!(Listener::bind(&config), Err(Error::Address { .. })));
    let off = AdminConfig { listen: String::new(), ..AdminConfig::default() };
    assert!(Listener::bind(&off).unwrap().is_none());
    let error = Client::connect("http://127.0.0.1:1", &Credentials::default()).await.unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Usage);
}

/// A CA of a name, and files of a certificate that it signed.
pub fn certificate(dir: &Path, name: &str) -> Credentials {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::default();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.distinguished_name.push(rcgen::DnType::CommonName, name);
    let ca_cert = ca.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let cert = params.signed_by(&key, &issuer).unwrap();
    let file = |kind: &str, text: String| {
        let path = dir.join(format!("{name}-{kind}.pem"));
        std::fs::write(&path, text).unwrap();
        Some(path)
    };
    Credentials {
        cacert: file("ca", ca_cert.pem()),
        cert: file("cert", cert.pem()),
        key: file("key", key.serialize_pem()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_takes_only_who_shows_a_certificate_of_its_authority() {
    let dir = tempfile::tempdir().unwrap();
    let good = certificate(dir.path(), "good");
    let other = certificate(dir.path(), "other");
    let text =
        |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let config = AdminConfig {
        listen: "127.0.0.1:0".into(),
        cacert: text(&good.cacert),
        cert: text(&good.cert),
        key: text(&good.key),
    };
    let running = start(&config);
    let address = format!("https://{}", running.address);
    let client = Client::connect(&address, &good).await.unwrap();
    assert!(client.status().await.unwrap().ready);
    // It trusts the agent, and is not trusted by it.
    let stranger = Credentials { cacert: good.cacert.clone(), ..other.clone() };
    // The agent is not the one that it was to be.
    let deceived = Credentials { cacert: other.cacert.clone(), ..good.clone() };
    for wrong in [stranger, deceived] {
        let refused = match Client::connect(&address, &wrong).await {
            Ok(client) => client.status().await.map(drop),
            Err(error) => Err(error),
        };
        let error = refused.expect_err("it must be refused");
        assert!(matches!(error, Error::Unreachable { .. } | Error::Lost { .. }), "{error:?}");
    }
    // Without one at all: spoken to by a client of the library's own, since ours refuses to try.
    let pem = std::fs::read(good.cacert.as_ref().unwrap()).unwrap();
    let tls = tonic::transport::ClientTlsConfig::new()
        .ca_certificate(tonic::transport::Certificate::from_pem(pem));
    let endpoint =
        tonic::transport::Endpoint::from_shared(address).unwrap().tls_config(tls).unwrap();
    let answer = match endpoint.connect().await {
        Ok(channel) => {
            let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
            let request = tonic_health::pb::HealthCheckRequest { service: String::new() };
            health.check(request).await.map(drop).map_err(|status| status.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    assert!(answer.is_err(), "a caller without a certificate was answered");
    running.stop().await;
}
