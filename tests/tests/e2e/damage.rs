//! What is stored has been damaged, lost, exchanged or forged: every check catches its defect, and
//! nothing of it reaches a data directory.

use etcdr_tests::backup::Backup;
use etcdr_tests::process::Said;
use etcdr_tests::source::Source;
use etcdr_tests::versions;
use serde_json::Value;

use crate::{assert_nothing_restored, one_member, place_with_snapshot, try_restore};

fn key(place: &Backup, ending: &str) -> String {
    place.objects().into_iter().find(|key| key.ends_with(ending)).expect("an object")
}

fn image(place: &Backup) -> String {
    key(place, ".age")
}

fn manifest(place: &Backup) -> String {
    place.objects().into_iter().find(|key| key.contains("/manifests/")).expect("a manifest")
}

fn change(place: &Backup, key: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let path = place.object(key);
    let mut bytes = std::fs::read(&path).unwrap();
    change(&mut bytes);
    std::fs::write(&path, bytes).unwrap();
}

/// Changes the stored JSON of the manifest.
fn edit(place: &Backup, change_value: impl FnOnce(&mut Value)) {
    change(place, &manifest(place), |bytes| {
        let mut value: Value = serde_json::from_slice(bytes).unwrap();
        change_value(&mut value);
        *bytes = serde_json::to_vec(&value).unwrap();
    });
}

#[track_caller]
fn refuses_to_restore(place: &Backup, code: i32) -> Said {
    let said = try_restore(place, &["latest"], &one_member(place), &[]).ends_with(code);
    assert_nothing_restored(place);
    let file = place.path("exported.db");
    place.run(&["snapshot", "export", "latest", &file]).ends_with(code);
    assert!(!std::path::Path::new(&file).exists(), "a damaged snapshot was exported");
    said
}

/// An impossible cluster version does not prevent a restore, and the restore's output mentions it.
#[test]
fn rows_that_cannot_be_are_restored_with_a_warning_that_is_seen() {
    let (place, _) = place_with_snapshot(versions::newest());
    let file = place.path("exported.db");
    place.run(&["snapshot", "export", "latest", &file]).ok();
    let mut bytes = std::fs::read(&file).unwrap();
    // Without the digest it is a raw copy of a database, which nothing but its rows vouches for.
    bytes.truncate(bytes.len() - 32);
    // `mod_revision`, then `version` 1, of the first key that has them.
    let at = bytes.windows(5).position(|it| matches!(it, [0x10, a, 0x18, b, 0x20] if a == b));
    let at = at.expect("a row");
    assert_eq!(bytes[at + 5], 1);
    bytes[at + 5] = 3;
    std::fs::write(&file, bytes).unwrap();
    let said = try_restore(&place, &["--file", &file], &one_member(&place), &[]).ends_with(3);
    let said = said.saying("warning: mvcc.version at ");
    let receipt = std::fs::read_to_string(place.path("restored/m0.etcdr-receipt.txt"));
    assert!(receipt.unwrap().contains("mvcc.version at "), "{}", said.stderr);
}

#[test]
fn a_bit_flipped_anywhere_in_an_image_is_found() {
    let (place, _) = place_with_snapshot(versions::newest());
    let key = image(&place);
    let size = std::fs::metadata(place.object(&key)).unwrap().len();
    let size = usize::try_from(size).unwrap();
    // age's header, the first chunk, the middle, the seek table, the last byte.
    for position in [10, 300, size / 2, size - 60, size - 1] {
        change(&place, &key, |bytes| bytes[position] ^= 0x10);
        for level in ["object", "content", "structure"] {
            place.run(&["verify", "latest", "--level", level]).ends_with(20);
        }
        place.run(&["verify", "latest", "--level", "manifest"]).ok();
        let said = try_restore(&place, &["latest"], &one_member(&place), &[]);
        assert!(matches!(said.code, 12 | 20), "at {position}: {said:?}");
        assert_nothing_restored(&place);
        change(&place, &key, |bytes| bytes[position] ^= 0x10);
    }
    place.run(&["verify", "latest", "--level", "structure"]).ok();
}

#[test]
fn a_truncated_or_longer_image_is_found_without_a_key() {
    let (mut place, _) = place_with_snapshot(versions::newest());
    place.unset("ETCDR_IDENTITY");
    let key = image(&place);
    let whole = std::fs::read(place.object(&key)).unwrap();
    for content in [&whole[..whole.len() - 1], &whole[..0], &[&whole[..], b"x"].concat()] {
        std::fs::write(place.object(&key), content).unwrap();
        place.run(&["verify", "latest", "--level", "object"]).ends_with(20);
    }
    std::fs::write(place.object(&key), &whole).unwrap();
    place.run(&["verify", "latest", "--level", "object"]).ok();
}

#[test]
fn a_manifest_without_its_image_is_damage_and_an_image_without_manifest_is_nothing() {
    let (place, id) = place_with_snapshot(versions::newest());
    let (image, manifest) = (image(&place), manifest(&place));
    let kept = std::fs::read(place.object(&image)).unwrap();
    std::fs::remove_file(place.object(&image)).unwrap();
    assert_eq!(place.ids(), [id]);
    place.run(&["verify", "latest", "--level", "object"]).ends_with(20);
    refuses_to_restore(&place, 20).saying(&image);

    std::fs::write(place.object(&image), kept).unwrap();
    std::fs::remove_file(place.object(&manifest)).unwrap();
    assert_eq!(place.ids(), Vec::<String>::new());
    refuses_to_restore(&place, 21);
    assert!(place.object(&image).exists(), "what cannot be proven replaceable is not deleted");
}

#[test]
fn a_damaged_manifest_is_reported_and_does_not_hide_the_others() {
    let (place, first) = place_with_snapshot(versions::newest());
    let damaged = manifest(&place);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let file = Source::of(versions::newest()).file.display().to_string();
    let second = place.run(&["snapshot", "import", &file]).ok().stdout_text().trim().to_owned();
    change(&place, &damaged, |bytes| bytes[0] = b'x');
    let said = place.run(&["snapshot", "list", "-o", "json"]).ends_with(3);
    let list = said.json();
    assert_eq!(list["snapshots"].as_array().unwrap().len(), 1, "{list}");
    assert_eq!(list["snapshots"][0]["id"], second.as_str());
    assert_eq!(list["unusable"].as_array().unwrap().len(), 1, "{list}");
    place.run(&["verify", &first, "--level", "manifest"]).ends_with(20);
    place.run(&["verify", &second, "--level", "structure"]).ok();
}

#[test]
fn manifests_that_contradict_the_image_or_themselves_are_refused() {
    let changes: [fn(&mut Value); 6] = [
        |value| value["image"]["stored_sha256"] = Value::from("00".repeat(32)),
        |value| value["image"]["plain_sha256"] = Value::from("00".repeat(32)),
        |value| value["image"]["stored_size"] = Value::from(1),
        |value| value["revision"] = Value::from(1),
        |value| value["image"]["plain_size"] = Value::from(u64::MAX),
        |value| value["image"]["codec"] = serde_json::json!({}),
    ];
    for (number, edit_one) in changes.into_iter().enumerate() {
        let (place, _) = place_with_snapshot(versions::newest());
        edit(&place, edit_one);
        let said = place.run(&["verify", "latest", "--level", "content"]);
        assert_eq!(said.code, 20, "change {number}: {said:?}");
        refuses_to_restore(&place, 20);
    }
}

/// A key in a manifest is data from the store: it must not lead out of the repository.
#[test]
fn an_image_key_cannot_lead_outside() {
    let (place, _) = place_with_snapshot(versions::newest());
    std::fs::write(place.path("outside.db.zst.age"), "secret").unwrap();
    edit(&place, |value| value["image"]["key"] = Value::from("../outside.db.zst.age"));
    refuses_to_restore(&place, 20);
}

#[test]
fn a_later_format_is_called_that() {
    let (place, id) = place_with_snapshot(versions::newest());
    edit(&place, |value| value["format"] = Value::from(7));
    place.run(&["verify", &id]).ends_with(1).saying("format 7").saying("newer etcdr");
    let list = place.run(&["snapshot", "list"]).ends_with(3);
    assert!(list.stderr.contains("format 7"), "{}", list.stderr);

    let (place, _) = place_with_snapshot(versions::newest());
    change(&place, "etcdr.json", |bytes| {
        let mut value: Value = serde_json::from_slice(bytes).unwrap();
        value["format"] = Value::from(9);
        *bytes = serde_json::to_vec(&value).unwrap();
    });
    place.run(&["snapshot", "list"]).ends_with(1).saying("format 9");
}

#[test]
fn unknown_fields_of_a_later_version_are_ignored() {
    let (place, _) = place_with_snapshot(versions::newest());
    edit(&place, |value| value["something_new"] = Value::from("x"));
    assert_eq!(place.ids().len(), 1);
    place.run(&["verify", "latest", "--level", "structure"]).ok();
}

#[test]
fn a_wrong_or_missing_identity_is_told_from_damage() {
    let (mut place, _) = place_with_snapshot(versions::newest());
    let recipient = place.recipient();
    place.unset("ETCDR_IDENTITY");
    refuses_to_restore(&place, 12).saying(&recipient);
    place.run(&["verify", "latest", "--level", "content"]).ends_with(12);
    place.run(&["verify", "latest", "--level", "object"]).ok();

    place.run(&["keygen", "--dir", &place.path("other")]).ok();
    place.set("ETCDR_IDENTITY", &place.path("other/identity.txt"));
    refuses_to_restore(&place, 12).saying(&recipient);
    place.set("ETCDR_IDENTITY", &place.path("no-such-file"));
    let said = refuses_to_restore_any(&place);
    assert!(said.stderr.contains("no-such-file"), "{}", said.stderr);
    std::fs::write(place.path("garbage"), "AGE-SECRET-KEY-1NOTREALLY\n").unwrap();
    place.set("ETCDR_IDENTITY", &place.path("garbage"));
    refuses_to_restore_any(&place);
}

fn refuses_to_restore_any(place: &Backup) -> Said {
    let said = try_restore(place, &["latest"], &one_member(place), &[]);
    assert!(matches!(said.code, 1 | 12), "{said:?}");
    assert_nothing_restored(place);
    said
}

#[test]
fn with_a_public_key_only_signed_manifests_are_believed() {
    let mut place = Backup::new();
    let file = Source::of(versions::newest()).file.display().to_string();
    place.run(&["snapshot", "import", &file]).ok();
    place.set("ETCDR_PUBLIC_KEY", &place.path("keys/signing.pub"));
    refuses_to_restore(&place, 12).saying("not signed");

    let mut place = Backup::new();
    let key = place.path("keys/signing.key");
    place.run(&["snapshot", "import", &file, "--signing-key", &key]).ok();
    place.set("ETCDR_PUBLIC_KEY", &place.path("keys/signing.pub"));
    let report = place.json(&["snapshot", "show"]);
    assert_eq!(report["signature"], "verified");
    place.run(&["verify", "latest", "--level", "structure"]).ok();
    // One byte of white space is enough to be another manifest.
    let manifest =
        place.objects().into_iter().find(|key| key.ends_with(".json") && key != "etcdr.json");
    change(&place, &manifest.unwrap(), |bytes| bytes.push(b' '));
    refuses_to_restore(&place, 12);

    place.run(&["keygen", "--dir", &place.path("other")]).ok();
    place.set("ETCDR_PUBLIC_KEY", &place.path("other/signing.pub"));
    refuses_to_restore(&place, 12);
}
