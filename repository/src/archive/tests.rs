use std::io::Write;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;

fn payload() -> Vec<u8> {
    let lines = (0..200_000u32).map(|n| format!("/registry/pods/default/pod-{n}\n"));
    lines.collect::<String>().into_bytes()
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, data) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(data.len() as u64);
        header.set_mode(0o600);
        builder.append_data(&mut header, name, *data).unwrap();
    }
    builder.into_inner().unwrap()
}

fn zip_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ::zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, data) in files {
        writer.start_file(*name, ::zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(data).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

struct Dir(TempDir);

impl Dir {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn file(&self, data: &[u8]) -> PathBuf {
        let path = self.0.path().join("given");
        std::fs::write(&path, data).unwrap();
        path
    }

    fn read(&self, data: &[u8]) -> Result<Vec<u8>> {
        read(&self.file(data), &Identities::none())
    }
}

fn read(path: &Path, identities: &Identities) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    for chunk in open_with(path, identities)? {
        let chunk = chunk.map_err(|error| Source { path, identities }.failed(error))?;
        all.extend_from_slice(&chunk);
    }
    Ok(all)
}

#[test]
fn every_wrapping_gives_the_same_bytes() {
    let (dir, data) = (Dir::new(), payload());
    let zst = zstd::encode_all(data.as_slice(), 3).unwrap();
    let data_dir: [(&str, &[u8]); 3] = [
        ("infra0/member/wal/0000000000000000-0000000000000000.wal", b"wal"),
        ("infra0/member/snap/0000000000000002-0000000000000003.snap", b"raft"),
        ("infra0/member/snap/db", &data),
    ];
    let cases = [
        ("plain", data.clone()),
        ("gz", gzip(&data)),
        ("two gzip members", [gzip(&data[..1000]), gzip(&data[1000..])].concat()),
        ("zst", zst.clone()),
        ("zip", zip_of(&[("snapshot.db", &data)])),
        ("zip of zst", zip_of(&[("readme.txt", b"hello"), ("etcd.db.zst", &zst)])),
        ("tar", tar_of(&[("backup/etcd.db", &data), ("backup/README", b"x")])),
        ("tar.gz of a data dir", gzip(&tar_of(&data_dir))),
        ("tar.zst", zstd::encode_all(tar_of(&data_dir).as_slice(), 1).unwrap()),
        ("tar.gz of zst", gzip(&tar_of(&[("snapshot-1.db.zst", &zst)]))),
        ("zip of a data dir", zip_of(&data_dir)),
        ("empty", Vec::new()),
        ("one byte", vec![7]),
    ];
    for (name, file) in cases {
        let want: &[u8] = match name {
            "empty" => &[],
            "one byte" => &[7],
            _ => &data,
        };
        assert!(dir.read(&file).unwrap() == want, "{name}");
    }
}

#[test]
fn an_image_of_a_repository_opens_with_its_identity() {
    let (dir, data) = (Dir::new(), payload());
    let pair = crate::keys::generate();
    let recipients = crate::Recipients::parse(&[&pair.recipient]).unwrap();
    let mut writer = recipients.encryptor().unwrap().wrap_output(Vec::new()).unwrap();
    writer.write_all(&zstd::encode_all(data.as_slice(), 1).unwrap()).unwrap();
    let path = dir.file(&writer.finish().unwrap());
    let mine = Identities::parse(&pair.identity_file, "x").unwrap();
    assert!(read(&path, &mine).unwrap() == data);
    let other = Identities::parse(&crate::keys::generate().identity_file, "x").unwrap();
    assert!(matches!(read(&path, &other), Err(Error::WrongIdentity { .. })));
    assert!(matches!(open(&path), Err(Error::NoIdentity { .. })));
}

#[test]
fn several_candidates_are_refused() {
    let dir = Dir::new();
    for files in [
        [("a.db", b"1".as_slice()), ("b.db", b"2")],
        [("x/member/snap/db", b"1"), ("y/member/snap/db", b"2")],
        [("notes.txt", b"1"), ("more.txt", b"2")],
    ] {
        for file in [tar_of(&files), zip_of(&files), gzip(&tar_of(&files))] {
            let error = dir.read(&file).unwrap_err();
            assert!(matches!(&error, Error::Archive { .. }), "{error}");
        }
    }
    assert!(matches!(dir.read(&zip_of(&[])), Err(Error::Archive { .. })));
}

#[test]
fn names_that_climb_are_only_names() {
    let dir = Dir::new();
    let data = dir.read(&zip_of(&[("../../../tmp/evil.db", b"content")])).unwrap();
    assert_eq!(data, b"content");
    let left: Vec<_> = std::fs::read_dir(dir.0.path()).unwrap().collect();
    assert_eq!(left.len(), 1);
}

#[test]
fn cut_files_are_errors_wherever_they_are_cut() {
    let dir = Dir::new();
    let data = &payload()[..100_000];
    let files = [
        gzip(data),
        zstd::encode_all(data, 3).unwrap(),
        zip_of(&[("a.db", data)]),
        gzip(&tar_of(&[("a.db", data)])),
    ];
    for file in files {
        for part in 1..40 {
            let cut = file.len() * part / 40;
            match dir.read(&file[..cut]) {
                Err(_) => {}
                // Too short to be known for what it is: handed out as it is, for the engine to
                // refuse.
                Ok(found) => assert!(found == file[..cut], "{cut}"),
            }
        }
    }
}

#[test]
fn flipped_bytes_never_pass_for_the_content() {
    let dir = Dir::new();
    let data = &payload()[..50_000];
    for file in [gzip(data), zip_of(&[("a.db", data)]), zstd::encode_all(data, 3).unwrap()] {
        for at in (0..file.len()).step_by(97) {
            let mut bad = file.clone();
            bad[at] ^= 0x20;
            if let Ok(found) = dir.read(&bad) {
                let harmless = found == data || found == bad;
                // A zstd frame without a checksum, as `encode_all` writes it, cannot tell.
                assert!(harmless || bad.starts_with(&[0x28, 0xb5]), "byte {at}");
            }
        }
    }
}

#[test]
fn a_bomb_costs_only_what_is_taken_of_it() {
    let dir = Dir::new();
    let zeros = io::repeat(0).take(1 << 30);
    let path = dir.file(&zstd::encode_all(zeros, 1).unwrap());
    assert!(std::fs::metadata(&path).unwrap().len() < 200_000);
    let taken: u64 = open(&path).unwrap().take(3).map(|chunk| chunk.unwrap().len() as u64).sum();
    assert_eq!(taken, 3 << 20);
}

#[test]
fn layers_have_a_limit_and_missing_files_a_sentence() {
    let dir = Dir::new();
    let mut file = b"x".to_vec();
    for _ in 0..=MAX_LAYERS {
        file = gzip(&file);
    }
    assert!(matches!(dir.read(&file), Err(Error::Archive { .. })));
    let missing = open(&dir.0.path().join("nothing")).unwrap_err();
    assert!(missing.to_string().contains("nothing"), "{missing}");
}
