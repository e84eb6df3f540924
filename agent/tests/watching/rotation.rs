//! Certificates that are renewed under an admin interface on TCP.

use std::path::Path;

use etcdr_agent::admin::{Client, Credentials};
use etcdr_schemas::config::AdminConfig;

use crate::admin::{certificate, start};

fn install(from: &Credentials, dir: &Path) {
    for (file, name) in [(&from.cacert, "ca"), (&from.cert, "cert"), (&from.key, "key")] {
        std::fs::copy(file.as_ref().unwrap(), dir.join(name)).unwrap();
    }
}

async fn ask(address: &str, who: &Credentials) -> Result<(), String> {
    let client = Client::connect(address, who).await.map_err(|error| error.to_string())?;
    client.status().await.map(drop).map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn renewed_certificates_are_used_at_once_and_callers_still_need_one() {
    let dir = tempfile::tempdir().unwrap();
    let old = certificate(dir.path(), "old");
    let new = certificate(dir.path(), "new");
    install(&old, dir.path());
    let text = |name: &str| Some(dir.path().join(name).display().to_string());
    let config = AdminConfig {
        listen: "127.0.0.1:0".into(),
        cacert: text("ca"),
        cert: text("cert"),
        key: text("key"),
    };
    let running = start(&config);
    let address = format!("https://{}", running.address);
    let before = Client::connect(&address, &old).await.unwrap();
    before.status().await.unwrap();
    ask(&address, &new).await.expect_err("nobody knows the new authority yet");

    // In the middle of a renewal: a certificate with the key of another, then half a file.
    std::fs::copy(new.cert.as_ref().unwrap(), dir.path().join("cert")).unwrap();
    ask(&address, &old).await.expect("the old ones stay while the new ones do not fit");
    std::fs::write(dir.path().join("key"), "").unwrap();
    ask(&address, &old).await.expect("and while one of them is empty");

    install(&new, dir.path());
    ask(&address, &new).await.expect("the new ones are shown and believed");
    ask(&address, &old).await.expect_err("the old authority counts no more");
    // Trusts the agent and shows what only the old authority signed.
    let stale = Credentials { cacert: new.cacert.clone(), ..old.clone() };
    ask(&address, &stale).await.expect_err("its certificate is of the old authority");
    before.status().await.expect("a connection that stands is not cut");
    running.stop().await;
}
