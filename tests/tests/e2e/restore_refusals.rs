//! Targets and memberships that cannot be right are refused before anything is written; what was
//! there is never lost.

use std::path::{Path, PathBuf};

use etcdr_tests::backup::{Backup, files_under};
use etcdr_tests::etcd::Cluster;
use etcdr_tests::source::Source;
use etcdr_tests::versions;

use crate::{assert_nothing_restored, boot, one_member, restore, three_members, try_restore};

fn file() -> String {
    Source::of(versions::newest()).file.display().to_string()
}

#[test]
fn an_existing_data_directory_is_refused_and_with_replace_moved_aside() {
    let version = versions::newest();
    let place = Backup::without_repository();
    let members = one_member(&place);
    let target = members[0].data_dir.clone();
    std::fs::create_dir_all(target.join("member/snap")).unwrap();
    std::fs::write(target.join("member/snap/db"), "the only copy").unwrap();
    let said = try_restore(&place, &["--file", &file()], &members, &[]).ends_with(1);
    assert!(said.stderr.contains("--replace"), "{}", said.stderr);
    assert_eq!(files_under(target.parent().unwrap()), ["m0/member/snap/db"]);

    let receipt = restore(&place, &["--file", &file()], &members, &["--replace"]);
    let moved = &receipt["moved_aside"][0];
    assert_eq!(moved["from"], target.display().to_string());
    let to = PathBuf::from(moved["to"].as_str().unwrap());
    assert_eq!(std::fs::read_to_string(to.join("member/snap/db")).unwrap(), "the only copy");
    boot(version, members).ctl(&["put", "a", "b"]);
}

/// Moving the data of a running etcd away would lose what it writes from then on.
#[test]
fn a_running_member_is_not_moved_from_under_its_feet() {
    let place = Backup::without_repository();
    let members = one_member(&place);
    let dir = members[0].data_dir.parent().unwrap().to_owned();
    let cluster =
        Cluster::boot(versions::newest(), members.clone(), etcdr_tests::etcd::Extra::default());
    cluster.ctl(&["put", "a", "b"]);
    let said = try_restore(&place, &["--file", &file()], &members, &["--replace"]);
    assert!(matches!(said.code, 1 | 11), "{said:?}");
    cluster.ctl(&["put", "a", "c"]);
    let entries: Vec<_> =
        dir.read_dir().unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(entries, ["m0"]);
}

#[test]
fn initial_clusters_that_make_no_sense_are_refused() {
    let place = Backup::without_repository();
    let all = place.path("restored");
    let cases = [
        ("a=http://127.0.0.1:1,a=http://127.0.0.1:2,a=nonsense", "nonsense"),
        ("a=http://127.0.0.1:1,b=http://127.0.0.1:1", "127.0.0.1:1"),
        ("a=http://127.0.0.1:1/path", "path"),
        ("a=http://127.0.0.1", "port"),
        ("a=ftp://127.0.0.1:1", "scheme"),
        ("a", "a"),
        ("", "cluster"),
        ("../evil=http://127.0.0.1:1", "evil"),
    ];
    for (cluster, part) in cases {
        let args =
            ["restore", "--file", &file(), "--all-members", &all, "--initial-cluster", cluster];
        place.run(&args).ends_with(2).saying(part);
        assert_nothing_restored(&place);
    }
    let data_dir = place.path("restored/x");
    let one = [
        "restore",
        "--file",
        &file(),
        "--data-dir",
        &data_dir,
        "--initial-cluster",
        "a=http://127.0.0.1:1",
    ];
    place.run(&[&one[..], &["--name", "b"]].concat()).ends_with(2).saying("b");
    let advertise = ["--name", "a", "--initial-advertise-peer-urls", "http://127.0.0.1:2"];
    place.run(&[&one[..], &advertise].concat()).ends_with(2).saying("advertise");
    let bump = ["--name", "a", "--bump-revision", "100"];
    place.run(&[&one[..], &bump].concat()).ends_with(2).saying("mark-compacted");
    place.run(&[&one[..], &["--name", "a", "--bump-revision", "-1"]].concat()).ends_with(2);
    assert_nothing_restored(&place);
}

#[test]
fn an_even_number_of_members_is_warned_about_and_works() {
    let place = Backup::without_repository();
    let mut members = three_members(&place);
    members.truncate(2);
    let said = try_restore(&place, &["--file", &file()], &members, &[]).ends_with(3);
    assert!(said.stderr.contains("even") || said.stderr.contains("2 members"), "{}", said.stderr);
    boot(versions::newest(), members).ctl(&["put", "a", "b"]);
}

#[test]
fn a_dry_run_prints_the_plan_and_writes_nothing() {
    let place = Backup::without_repository();
    let args = ["--file", &file()];
    let plan = restore_plan(&place, &args);
    assert_eq!(plan["schema"], "etcdr/restore-plan/v1");
    assert!(plan["steps"].as_array().unwrap().len() > 3, "{plan}");
    assert_nothing_restored(&place);
    assert!(!Path::new(&place.path("restored")).exists());
    // A dry run says what is in the way, too, and still shows the plan.
    std::fs::create_dir_all(place.path("restored/m0/member")).unwrap();
    let said = try_restore(&place, &args, &one_member(&place), &["--dry-run"]);
    let said = said.ends_with(1).saying("--replace");
    assert_eq!(said.json()["schema"], "etcdr/restore-plan/v1");
    let said = try_restore(&place, &args, &one_member(&place), &["--dry-run", "--replace"]);
    assert_eq!(said.code, 0, "{said:?}");
}

fn restore_plan(place: &Backup, source: &[&str]) -> serde_json::Value {
    restore(place, source, &one_member(place), &["--dry-run"])
}

#[test]
fn restored_files_are_private_and_a_receipt_lies_beside() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Backup::without_repository();
    let members = one_member(&place);
    let target = &members[0].data_dir;
    let receipt = restore(&place, &["--file", &file()], &members, &[]);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(target), 0o700);
    assert_eq!(mode(&target.join("member/snap/db")), 0o600);
    let beside: Vec<_> = files_under(target.parent().unwrap())
        .into_iter()
        .filter(|name| !name.starts_with("m0/") && name.ends_with(".json"))
        .collect();
    assert_eq!(beside.len(), 1, "{beside:?}");
    let stored = std::fs::read(target.parent().unwrap().join(&beside[0])).unwrap();
    let stored: serde_json::Value = serde_json::from_slice(&stored).unwrap();
    assert_eq!(stored["hash_kv"], receipt["hash_kv"]);
    let command = receipt["start_commands"][0].as_str().unwrap();
    assert!(command.contains("--name") && command.contains("--initial-cluster-token"), "{command}");
}

/// The command in the receipt is what one would type: it must start the member as it stands.
#[test]
fn the_start_command_of_the_receipt_starts_the_member() {
    use etcdr_tests::process::{Running, command};
    let version = versions::newest();
    let place = Backup::without_repository();
    let members = one_member(&place);
    let receipt = restore(&place, &["--file", &file()], &members, &[]);
    let line = receipt["start_commands"][0].as_str().unwrap();
    let client = format!("http://127.0.0.1:{}", etcdr_tests::etcd::free_port());
    let mut shell = command("/bin/sh");
    // Client URLs are last, so that they win over those of the command.
    let script =
        format!("exec {line} --listen-client-urls {client} --advertise-client-urls {client}");
    shell.args(["-c", &script]).current_dir(place.dir());
    let path = format!("{}:{}", version.dir.display(), std::env::var("PATH").unwrap_or_default());
    shell.env("PATH", path);
    let mut running = Running::start(&mut shell, Path::new(&place.path("etcd.log")));
    let started = std::time::Instant::now();
    loop {
        let mut ctl = command(version.tool("etcdctl"));
        ctl.env("ETCDCTL_API", "3").args(["--endpoints", &client, "put", "a", "b"]);
        if etcdr_tests::process::finish(&mut ctl, &[]).code == 0 {
            break;
        }
        assert!(running.alive() && started.elapsed().as_secs() < 30, "{line}\n{}", running.log());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
