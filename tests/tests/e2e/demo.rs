//! What the demonstration says is true, and it leaves nothing behind, also when it is interrupted.

use std::path::Path;
use std::time::{Duration, Instant};

use etcdr_tests::backup::Backup;
use etcdr_tests::versions;

/// Processes that work below the place: their command line names it.
fn processes(place: &Backup) -> Vec<String> {
    let dir = place.dir().display().to_string();
    let all = Path::new("/proc").read_dir().unwrap().flatten();
    let lines = all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(&dir)).collect()
}

fn leftovers(place: &Backup) -> Vec<String> {
    let entries = place.dir().read_dir().unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().display().to_string());
    names.filter(|name| name.starts_with("etcdr-demo")).collect()
}

#[test]
fn it_shows_that_nothing_was_lost_on_every_version() {
    for version in versions::versions() {
        let mut place = Backup::without_repository();
        place.set("ETCD_BIN_DIR", &version.dir.display().to_string());
        let report = place.json(&["demo", "--keys", "2000"]);
        assert_eq!(report["identical"], true, "{report}");
        assert_eq!(report["etcd_version"], version.text());
        assert!(report["stages"].as_array().unwrap().len() > 5, "{report}");
        assert_eq!(processes(&place), Vec::<String>::new());
        assert_eq!(leftovers(&place), Vec::<String>::new());
    }
}

#[test]
fn interrupted_at_any_scene_it_cleans_up() {
    let mut place = Backup::without_repository();
    place.set("ETCD_BIN_DIR", &versions::newest().dir.display().to_string());
    let mut seen = 0;
    for wait in [300, 1200, 2500, 4000] {
        let mut running = place.spawn(&["demo", "--keys", "2000"]);
        std::thread::sleep(Duration::from_millis(wait));
        if running.alive() {
            seen += usize::from(!leftovers(&place).is_empty());
            running.signal("INT");
            let code = running.wait();
            assert!(matches!(code, 0 | 130), "{code}: {}", running.log());
        }
        let started = Instant::now();
        while !processes(&place).is_empty() && started.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(processes(&place), Vec::<String>::new(), "after {wait} ms");
        assert_eq!(leftovers(&place), Vec::<String>::new(), "after {wait} ms");
    }
    assert!(seen > 0, "it was never interrupted while it had something to clean up");
}

#[test]
fn without_etcd_it_says_what_to_install() {
    let mut place = Backup::without_repository();
    place.set("ETCD_BIN_DIR", &place.path("keys"));
    place.run(&["demo"]).ends_with(1).saying("etcd");
}
