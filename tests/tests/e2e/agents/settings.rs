//! Configuration: checked, reloaded, refused; keys and certificates that change under a running
//! agent.

use std::path::PathBuf;

use etcdr_tests::backup::Backup;
use etcdr_tests::certs::Certs;
use etcdr_tests::etcd::{Cluster, Extra};
use etcdr_tests::fleet::{Agent, until};
use etcdr_tests::process::Running;
use etcdr_tests::versions;

fn one(place: &mut Backup) -> Cluster {
    let cluster = Cluster::new(versions::newest(), 1, &PathBuf::from(place.path("live")));
    cluster.ctl(&["put", "/a", "1"]);
    place.watch(&cluster);
    cluster
}

#[test]
fn a_broken_configuration_is_refused_with_64_and_the_nearest_name() {
    let place = Backup::without_repository();
    let file = place.path("broken.yaml");
    let text = "repository: {url: 's3://b/x', recipient: []}\n\
                schedules: [{name: x, cron: '61 * * * *'}]\n";
    std::fs::write(&file, text).unwrap();
    let said = place.run(&["agent", "--config", &file]).ends_with(64);
    said.saying("repository.recipient").saying("did you mean recipients?");
    place.run(&["config", "check", "--config", &file]).ends_with(64);
    std::fs::write(
        &file,
        "repository: {url: 's3://b/x'}\nschedules: [{name: x, cron: '61 * * * *'}]\n",
    )
    .unwrap();
    let said = place.run(&["config", "check", "--config", &file]).ends_with(64);
    assert!(said.stdout_text().contains("schedules[0].cron"), "{}", said.stdout_text());
    place
        .run(&["agent", "--config", &place.path("nowhere.yaml")])
        .ends_with(64)
        .saying("nowhere.yaml");
    place.run(&["agent"]).ends_with(64).saying("etcdr config example");
}

#[test]
fn an_agent_refuses_flags_that_only_its_file_can_say_and_ignores_the_environment() {
    let mut place = Backup::new();
    let cluster = one(&mut place);
    let file = place.path("agent.yaml");
    let here = ["agent", "--config", &file];
    for (flag, value, key) in [
        ("--repository", "file:///elsewhere", "repository.url"),
        ("--cluster", "other", "cluster"),
        ("--identity", "/x", "restore.identities"),
        ("--public-key", "/x", "repository.public_key"),
        ("--store-cacert", "/x", "repository.cacert"),
    ] {
        for args in [[&[flag, value][..], &here].concat(), [&here[..], &[flag, value]].concat()] {
            let said = place.run(&args).ends_with(64);
            said.saying(&format!("takes no {flag}")).saying(&format!("`{key}`"));
        }
    }
    let mut agent = Agent::new(&place, "file", cluster.endpoint(), "@yearly");
    agent.config["schedules"][0]["on_start"] = "overdue".into();
    agent.write();
    let elsewhere = Backup::new();
    let mut command = place.command(&["agent", "--config", &agent.file().display().to_string()]);
    command.env("ETCDR_REPOSITORY", &elsewhere.repository).env("ETCDR_CLUSTER", "other");
    let log = PathBuf::from(place.path("agent-with-environment.log"));
    let mut running = Running::start(&mut command, &log);
    until("it saves where its file says", || place.ids().len() == 1, || running.log());
    assert!(elsewhere.ids().is_empty());
    running.kill();
}

#[test]
fn the_example_is_valid_and_shows_every_key() {
    let place = Backup::without_repository();
    let example = place.run(&["config", "example"]).ok().stdout_text();
    let file = place.path("example.yaml");
    std::fs::write(&file, &example).unwrap();
    place.run(&["config", "check", "--offline", "--config", &file]).ok();
    for key in ["takeover", "keep_within", "rate_limit", "target_age", "on_shutdown", "defragment"]
    {
        assert!(example.contains(key), "{key} is not in\n{example}");
    }
}

#[test]
fn config_check_tries_everything_and_tells_what_fails() {
    let mut place = Backup::new();
    let cluster = one(&mut place);
    let mut agent = Agent::new(&place, "check", cluster.endpoint(), "@hourly");
    agent.config["restore"] = serde_json::json!({"identities": [place.path("keys/identity.txt")]});
    agent.config["repository"]["signing_key"] = place.path("keys/signing.key").into();
    agent.config["repository"]["public_key"] = place.path("keys/signing.pub").into();
    agent.write();
    let file = agent.file().display().to_string();
    let report = place.json(&["config", "check", "--config", &file]);
    assert_eq!(report["ok"], true, "{report}");
    let find = |report: &serde_json::Value, name: &str| {
        let checks = report["checks"].as_array().unwrap().clone();
        checks
            .into_iter()
            .find(|check| check["name"] == name)
            .unwrap_or_else(|| panic!("no {name} in {report}"))
    };
    for name in [
        "etcd.connect",
        "etcd.rights",
        "store.open",
        "store.create",
        "clock.skew",
        "keys.signing",
        "restore.identity",
    ] {
        assert_eq!(find(&report, name)["result"], "passed", "{report}");
    }
    // Another identity, another signing key, an etcd that is not there.
    place.run(&["keygen", "--dir", &place.path("other")]).ok();
    agent.config["restore"]["identities"][0] = place.path("other/identity.txt").into();
    agent.config["repository"]["public_key"] = place.path("other/signing.pub").into();
    agent.config["etcd"]["endpoint"] =
        format!("http://127.0.0.1:{}", etcdr_tests::etcd::free_port()).into();
    agent.write();
    let said = place.run(&["config", "check", "--config", &file, "--output", "json"]).ends_with(1);
    let report = said.json();
    for name in ["etcd.connect", "keys.signing", "restore.identity"] {
        assert_eq!(find(&report, name)["result"], "failed", "{report}");
        assert!(find(&report, name)["next"].as_str().is_some_and(|next| !next.is_empty()));
    }
}

#[test]
fn the_command_line_uses_the_same_file() {
    let mut place = Backup::new();
    let cluster = one(&mut place);
    let mut agent = Agent::new(&place, "cli", cluster.endpoint(), "@hourly");
    agent.config["retention"] = serde_json::json!({"keep_last": 7});
    agent.config["repository"]["signing_key"] = place.path("keys/signing.key").into();
    agent.write();
    let file = agent.file().display().to_string();
    place.unset("ETCDR_REPOSITORY");
    place.unset("ETCDCTL_ENDPOINTS");
    place.run(&["--config", &file, "snapshot", "save"]).ok();
    // The default path.
    std::fs::copy(agent.file(), place.path("etcdr.yaml")).unwrap();
    let listed = place.run(&["snapshot", "list", "--output", "json"]).ok().json();
    assert_eq!(listed["snapshots"].as_array().unwrap().len(), 1);
    let signed = place.objects().into_iter().filter(|key| key.ends_with(".minisig"));
    assert_eq!(signed.count(), 1, "the signing key of the file was used");
    let plan = place.run(&["prune", "--dry-run", "--output", "json"]).ok().json();
    assert_eq!(plan["policy"]["keep_last"], 7, "{plan}");
    let plan =
        place.run(&["prune", "--dry-run", "--keep-daily", "2", "--output", "json"]).ok().json();
    assert!(plan["policy"]["keep_last"].is_null(), "{plan}");
    place
        .run(&["--config", "/dev/null", "snapshot", "list"])
        .ends_with(2)
        .saying("no repository was named");
}

#[test]
fn a_reload_is_taken_and_a_broken_one_leaves_the_old_one() {
    let mut place = Backup::new();
    let cluster = one(&mut place);
    let mut agent = Agent::new(&place, "reload", cluster.endpoint(), "@yearly");
    agent.config["schedules"][0]["on_start"] = "wait".into();
    agent.write();
    agent.start(&place);
    agent.says("starting");
    std::fs::write(agent.file(), "schedules: [{crom: x}]").unwrap();
    agent.process().signal("HUP");
    agent.says("did you mean cron?");
    assert!(agent.process().alive());
    agent.config["schedules"][0]["cron"] = "@every 1s".into();
    agent.write();
    agent.process().signal("HUP");
    until("the new schedule is followed", || place.ids().len() >= 2, || agent.said());
    // A change of the file is enough.
    agent.config["schedules"] = serde_json::json!([]);
    agent.write();
    let again = "the configuration was read again";
    until("it is seen", || agent.said().matches(again).count() >= 2, || agent.said());
}

#[test]
fn certificates_that_are_rotated_are_followed() {
    let mut place = Backup::new();
    let (old, new) = (Certs::new(), Certs::new());
    let files = place.path("pki");
    std::fs::create_dir(&files).unwrap();
    let install = |certs: &Certs| {
        for (from, to) in [
            (&certs.ca, "ca.pem"),
            (&certs.server.cert, "server.pem"),
            (&certs.server.key, "server.key"),
            (&certs.client.cert, "client.pem"),
            (&certs.client.key, "client.key"),
        ] {
            std::fs::copy(from, format!("{files}/{to}")).unwrap();
        }
    };
    install(&old);
    let dir = PathBuf::from(place.path("live"));
    let boot =
        |certs: &Certs| Cluster::new_with(versions::newest(), 1, &dir, Extra::mutual_tls(certs));
    let mut cluster = boot(&old);
    let mut agent = Agent::new(&place, "tls", cluster.endpoint(), "@every 2s");
    for (key, file) in [("cacert", "ca.pem"), ("cert", "client.pem"), ("key", "client.key")] {
        agent.config["etcd"][key] = format!("{files}/{file}").into();
    }
    agent.write();
    agent.start(&place);
    until("a snapshot with the old certificates", || !place.ids().is_empty(), || agent.said());
    cluster.kill();
    drop(cluster);
    install(&new);
    let cluster = boot(&new);
    // The port is another one: the configuration follows, the process stays.
    agent.config["etcd"]["endpoint"] = cluster.endpoint().into();
    agent.write();
    let before = place.ids().len();
    until("one with the new", || place.ids().len() > before, || agent.said());
    assert!(agent.process().alive());
    place.set("unused", "");
}
