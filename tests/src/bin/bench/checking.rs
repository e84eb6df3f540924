//! Checking a plain file, beside what it cannot be faster than and what etcd's own tools take:
//! SHA-256 of its bytes, `etcdutl snapshot status`, and `etcdutl hashkv` where that exists (from
//! 3.6 on; it changes the file, so it gets a copy).
//!
//! Our `status` and HashKV run in this process, as there is no command that computes nothing else.

use std::fs::File;
use std::io::{BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use etcdr_restore_engine::bolt::Db;
use etcdr_restore_engine::bolt::writer::Writer;
use etcdr_restore_engine::local::LocalFile;
use etcdr_restore_engine::mvcc::RowKey;
use etcdr_restore_engine::scan::hash_kv;
use etcdr_restore_engine::status;
use etcdr_schemas::pb::disk::KeyValue;
use etcdr_schemas::{Revision, RunningSha256};
use prost::Message as _;
use serde_json::json;

use super::measure::{Samples, measure, timed};
use super::{Settings, pods};

/// Makes a file of about `megabytes` without etcd, and checks it.
pub(super) fn standalone(settings: &Settings, megabytes: u64) -> anyhow::Result<serde_json::Value> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("made.db");
    println!("\n== {megabytes} MB of Kubernetes-like data, written by the engine ==");
    make(&file, megabytes << 20)?;
    run(settings, &file)
}

fn make(path: &Path, bytes: u64) -> anyhow::Result<()> {
    /// What an object takes in the database.
    const BYTES_PER_OBJECT: u64 = 4700;
    let out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut writer = Writer::create(out, 4096)?;
    writer.bucket(b"key")?;
    let mut main = 1i64;
    for number in 0..bytes / BYTES_PER_OBJECT {
        let (key, value) = pods::pod(number);
        main += 1;
        let row = KeyValue {
            key: Some(key),
            create_revision: Some(main),
            mod_revision: Some(main),
            version: Some(1),
            value: Some(value),
            lease: None,
        };
        writer.row(&RowKey::put(Revision(main), 0).encode(), &row.encode_to_vec())?;
    }
    writer.bucket(b"members")?;
    writer.row(b"1", br#"{"id":1,"peerURLs":["http://a:1"],"name":"a"}"#)?;
    writer.bucket(b"meta")?;
    writer.row(b"consistent_index", &7u64.to_be_bytes())?;
    writer.finish()?.flush()?;
    let mut sha = RunningSha256::new();
    pieces(path, |piece| sha.update(piece))?;
    File::options().append(true).open(path)?.write_all(sha.finish().as_bytes())?;
    Ok(())
}

fn pieces(path: &Path, mut take: impl FnMut(&[u8])) -> anyhow::Result<()> {
    let (mut file, mut piece) = (File::open(path)?, vec![0; 1 << 20]);
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            return Ok(());
        }
        take(piece.get(..read).unwrap_or_default());
    }
}

/// All contestants in turn, several rounds.
pub(super) fn run(settings: &Settings, file: &Path) -> anyhow::Result<serde_json::Value> {
    let mut all = Contest::default();
    for _ in 0..settings.rounds {
        all.round(settings, file)?;
    }
    Ok(all.report(std::fs::metadata(file)?.len()))
}

struct Contest {
    sha256: Samples,
    structure: Samples,
    semantic: Samples,
    status: Samples,
    official_status: Samples,
    hash_kv: Samples,
    official_hash_kv: Samples,
}

impl Default for Contest {
    fn default() -> Self {
        Self {
            sha256: Samples::new("read and sha256"),
            structure: Samples::new("etcdr verify --file structure"),
            semantic: Samples::new("etcdr verify --file semantic"),
            status: Samples::new("status hash"),
            official_status: Samples::new("etcdutl snapshot status"),
            hash_kv: Samples::new("HashKV"),
            official_hash_kv: Samples::new("etcdutl hashkv"),
        }
    }
}

impl Contest {
    fn round(&mut self, settings: &Settings, file: &Path) -> anyhow::Result<()> {
        self.sha256.push(timed(|| {
            let mut sha = RunningSha256::new();
            pieces(file, |piece| sha.update(piece))?;
            std::hint::black_box(sha.finish());
            Ok(())
        })?);
        for (level, samples) in
            [("structure", &mut self.structure), ("semantic", &mut self.semantic)]
        {
            let mut ours = Command::new(&settings.etcdr);
            ours.args(["--quiet", "verify", "--level", level, "--file"]).arg(file);
            samples.push(measure(&mut ours)?);
        }
        self.status.push(timed(|| {
            std::hint::black_box(status(&Db::open(LocalFile::open(file)?)?)?);
            Ok(())
        })?);
        let mut official = Command::new(settings.tool("etcdutl"));
        self.official_status.push(measure(official.args(["snapshot", "status"]).arg(file))?);
        self.hash_kv.push(timed(|| {
            std::hint::black_box(hash_kv(&Db::open(LocalFile::open(file)?)?, None)?);
            Ok(())
        })?);
        if let Some(tool) = tool_with_hash_kv(settings) {
            let copy = file.with_extension("copy");
            std::fs::copy(file, &copy)?;
            self.official_hash_kv.push(measure(Command::new(tool).arg("hashkv").arg(&copy))?);
            std::fs::remove_file(&copy)?;
        }
        Ok(())
    }

    fn report(&self, size: u64) -> serde_json::Value {
        let ratios = [
            ("semantic / sha256", self.semantic.median() / self.sha256.median(), "<= 1.5"),
            ("status / etcdutl", self.status.median() / self.official_status.median(), "<= 1"),
            ("HashKV / etcdutl", self.hash_kv.median() / self.official_hash_kv.median(), "<= 1"),
        ];
        let all = [
            &self.sha256,
            &self.structure,
            &self.semantic,
            &self.status,
            &self.official_status,
            &self.hash_kv,
            &self.official_hash_kv,
        ];
        all.iter().for_each(|samples| samples.print(size));
        for (name, ratio, wanted) in ratios.iter().filter(|(_, ratio, _)| !ratio.is_nan()) {
            println!("{name:<28} {ratio:>8.2}     wanted {wanted}");
        }
        let ratio =
            |(name, ratio, wanted)| json!({ "name": name, "ratio": ratio, "wanted": wanted });
        json!({
            "snapshot_bytes": size,
            "samples": all.map(Samples::json),
            "ratios": ratios.map(ratio),
        })
    }
}

/// `etcdutl` knows `hashkv` from 3.6 on.
fn tool_with_hash_kv(settings: &Settings) -> Option<PathBuf> {
    let tool = settings.tool("etcdutl");
    let help = Command::new(&tool).arg("--help").output().ok()?;
    String::from_utf8_lossy(&help.stdout).contains("hashkv").then_some(tool)
}
