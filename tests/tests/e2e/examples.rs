//! The examples are what they say: configurations pass `config check`, manifests parse and keep
//! their promises, commands in them are commands of ours.

use std::path::{Path, PathBuf};

use etcdr_tests::backup::Backup;
use serde_json::Value;

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(example(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn documents(name: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&read(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Fails unless the text is a configuration that the binary takes.
#[track_caller]
fn assert_config(place: &Backup, text: &str) {
    let file = place.path("example.yaml");
    std::fs::write(&file, text).unwrap();
    place.run(&["config", "check", "--offline", "--config", &file]).ok();
}

#[test]
fn configurations_are_valid() {
    let place = Backup::without_repository();
    for name in [
        "config/minimal.yaml",
        "config/production.yaml",
        "compose/agent1.yaml",
        "compose/agent2.yaml",
        "compose/agent3.yaml",
    ] {
        assert_config(&place, &read(name));
    }
    let embedded = documents("kubernetes/statefulset.yaml");
    let config = embedded.iter().find_map(|document| document["data"]["etcdr.yaml"].as_str());
    assert_config(&place, config.expect("a ConfigMap with etcdr.yaml"));
}

/// Every object of a kind `Pod`, `StatefulSet` or `CronJob` with the spec of its pods.
fn pod_specs(name: &str) -> Vec<Value> {
    let spec = |document: Value| {
        let paths = ["/spec/jobTemplate/spec/template/spec", "/spec/template/spec", "/spec"];
        let kinds = ["Pod", "StatefulSet", "CronJob"];
        let wanted = document["kind"].as_str().is_some_and(|kind| kinds.contains(&kind));
        let found = paths.iter().find_map(|path| {
            document.pointer(path).filter(|spec| spec["containers"].is_array()).cloned()
        });
        wanted.then(|| found.expect("a pod"))
    };
    documents(name).into_iter().filter_map(spec).collect()
}

#[test]
fn pods_run_our_commands_without_rights() {
    let place = Backup::without_repository();
    let names =
        ["kubernetes/static-pod.yaml", "kubernetes/statefulset.yaml", "kubernetes/cronjob.yaml"];
    for name in names {
        let pods = pod_specs(name);
        assert!(!pods.is_empty(), "{name}");
        for pod in pods {
            let containers = pod["containers"].as_array().unwrap();
            let ours: Vec<_> = containers
                .iter()
                .filter(|one| one["image"].as_str().is_some_and(|image| image.contains("etcdr")))
                .collect();
            assert_eq!(ours.len(), 1, "{name}");
            let one = ours[0];
            let security = &one["securityContext"];
            assert_eq!(security["readOnlyRootFilesystem"], true, "{name}");
            assert_eq!(security["allowPrivilegeEscalation"], false, "{name}");
            assert_eq!(security["capabilities"]["drop"][0], "ALL", "{name}");
            let root = [&security["runAsNonRoot"], &pod["securityContext"]["runAsNonRoot"]];
            assert!(root.contains(&&Value::Bool(true)), "{name}");
            assert_command(&place, one["args"].as_array().unwrap());
            let mounts = one["volumeMounts"].as_array().into_iter().flatten();
            for mount in mounts {
                let volumes = pod["volumes"].as_array().unwrap();
                assert!(volumes.iter().any(|volume| volume["name"] == mount["name"]), "{mount}");
            }
        }
    }
}

/// Every flag of these arguments is in the help of the command.
#[track_caller]
fn assert_command(place: &Backup, args: &[Value]) {
    let args: Vec<&str> = args.iter().map(|arg| arg.as_str().unwrap()).collect();
    let verbs: Vec<&str> = args.iter().copied().take_while(|arg| !arg.starts_with("--")).collect();
    let help = place.run(&[&verbs, &["--help"][..]].concat()).ok().stdout_text();
    for flag in args.iter().filter(|arg| arg.starts_with("--")) {
        let name = flag.split('=').next().unwrap();
        assert!(help.contains(name), "{verbs:?} has no {name}");
    }
}

#[test]
fn policies_let_the_agent_write_and_never_delete() {
    let actions = |name: &str, effect: &str| -> Vec<String> {
        let policy: Value = serde_json::from_str(&read(name)).unwrap();
        let statements = policy["Statement"].as_array().unwrap().clone();
        let chosen = statements.into_iter().filter(|statement| statement["Effect"] == effect);
        let all = chosen.flat_map(|statement| statement["Action"].as_array().unwrap().clone());
        all.map(|action| action.as_str().unwrap().to_owned()).collect()
    };
    let allowed = actions("s3/agent-policy.json", "Allow");
    for needed in ["s3:PutObject", "s3:GetObject", "s3:ListBucket", "s3:AbortMultipartUpload"] {
        assert!(allowed.iter().any(|action| action == needed), "{needed}");
    }
    assert!(!allowed.iter().any(|action| action.contains("Delete")), "{allowed:?}");
    assert!(actions("s3/agent-policy.json", "Deny").contains(&"s3:DeleteObject".to_owned()));
    let pruning = actions("s3/prune-policy.json", "Allow");
    for needed in ["s3:DeleteObject", "s3:ListBucketMultipartUploads", "s3:AbortMultipartUpload"] {
        assert!(pruning.iter().any(|action| action == needed), "{needed}");
    }
    // It writes down what it deletes, and nothing else: no snapshot can be forged with it.
    let policy: Value = serde_json::from_str(&read("s3/prune-policy.json")).unwrap();
    let mut writes = 0;
    for statement in policy["Statement"].as_array().unwrap() {
        let puts = statement["Action"].as_array().unwrap().iter().any(|one| one == "s3:PutObject");
        if puts && statement["Effect"] == "Allow" {
            for place in statement["Resource"].as_array().unwrap() {
                let place = place.as_str().unwrap();
                assert!(
                    place.ends_with("/*/deleted/*") || place.ends_with("/*/pruned/*"),
                    "{place}"
                );
                writes += 1;
            }
        }
    }
    assert_eq!(writes, 2);
    let lifecycle: Value = serde_json::from_str(&read("s3/lifecycle.json")).unwrap();
    assert!(lifecycle["Rules"][0]["AbortIncompleteMultipartUpload"].is_object());
}

#[test]
fn the_systemd_unit_is_hardened_and_its_command_is_ours() {
    let unit = read("systemd/etcdr-agent.service");
    let mut sections = Vec::new();
    let mut keys = Vec::new();
    for line in
        unit.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        match line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(section) => sections.push(section),
            None => keys.push(line.split_once('=').unwrap_or_else(|| panic!("{line}"))),
        }
    }
    assert_eq!(sections, ["Unit", "Service", "Install"]);
    let value = |key: &str| keys.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
    assert_eq!(value("Type"), Some("notify"));
    for (key, wanted) in [
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("User", "etcdr"),
        ("Restart", "always"),
    ] {
        assert_eq!(value(key), Some(wanted), "{key}");
    }
    assert!(value("WatchdogSec").is_some());
    let command: Vec<Value> =
        value("ExecStart").unwrap().split(' ').skip(1).map(Into::into).collect();
    assert_command(&Backup::without_repository(), &command);
}

#[test]
fn the_playground_has_three_members_and_an_agent_beside_each() {
    let compose = documents("compose/compose.yaml").remove(0);
    let services = compose["services"].as_object().unwrap();
    for n in 1..=3 {
        assert!(services.contains_key(&format!("etcd{n}")));
        let volumes = services[&format!("agent{n}")]["volumes"].to_string();
        assert!(volumes.contains(&format!("./agent{n}.yaml")), "{volumes}");
        let config: Value =
            serde_saphyr::from_str(&read(&format!("compose/agent{n}.yaml"))).unwrap();
        assert_eq!(config["etcd"]["endpoint"], format!("http://etcd{n}:2379"));
    }
    let docker = read("docker/Dockerfile");
    assert!(docker.lines().any(|line| line.starts_with("USER ") && !line.contains("root")));
    let reads = read("compose/compose.yaml");
    assert!(reads.contains("read_only: true"));
}
