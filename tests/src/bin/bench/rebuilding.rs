//! Restores that write the database anew, against plain ones of the same image.
//!
//! The database is written by the engine itself, with every fourth pod written twice, so that there
//! is history; a server would take minutes to fill it and the restore reads the same pages.

use std::io::{BufWriter, Read as _, Write as _};
use std::path::Path;

use etcdr_restore_engine::bolt::writer::Writer;
use etcdr_restore_engine::mvcc::RowKey;
use etcdr_schemas::Revision;
use etcdr_schemas::pb::disk::KeyValue;
use prost::Message as _;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::measure::{Samples, measure};
use crate::{Keys, Settings, pods};

/// Bytes of a row in a packed database.
const BYTES_PER_ROW: u64 = 4096;

/// Measures one size.
pub(crate) fn run(settings: &Settings, megabytes: u64) -> anyhow::Result<serde_json::Value> {
    let folder = tempfile::tempdir()?;
    let dir = folder.path();
    println!("\n== {megabytes} MB, restored plainly and written anew ==");
    let plain = dir.join("plain.db");
    write_snapshot(&plain, (megabytes << 20) / BYTES_PER_ROW)?;
    let size = std::fs::metadata(&plain)?.len();
    let keys = Keys::make(settings, dir)?;
    measure(keys.etcdr(settings).args(["snapshot", "import"]).arg(&plain))?;
    std::fs::remove_file(&plain)?;
    let mut samples = [
        ("restore", &[][..]),
        ("restore --rebuild", &["--rebuild"]),
        ("restore --history current", &["--history", "current"]),
        ("restore --only-prefix", &["--only-prefix", "/registry/pods/team-1"]),
    ]
    .map(|(name, flags)| (Samples::new(name), flags));
    let target = dir.join("restored");
    for _ in 0..settings.rounds {
        for (sample, flags) in &mut samples {
            let mut command = keys.etcdr(settings);
            command.args(["restore", "latest", "--name", "m", "--data-dir"]).arg(&target);
            sample.push(measure(command.args(*flags))?);
            std::fs::remove_dir_all(&target)?;
        }
    }
    samples.iter().for_each(|(sample, _)| sample.print(size));
    let [(restore, _), (rebuild, _), ..] = &samples;
    let ratio = rebuild.median() / restore.median();
    println!("{:<28} {ratio:>8.2}     wanted <= 2", "rebuild / restore");
    Ok(json!({
        "megabytes": megabytes,
        "snapshot_bytes": size,
        "samples": samples.iter().map(|(sample, _)| sample.json()).collect::<Vec<_>>(),
        "ratios": [json!({ "name": "rebuild / restore", "ratio": ratio, "wanted": "<= 2" })],
    }))
}

/// A snapshot file with this many rows of pods.
fn write_snapshot(path: &Path, count: u64) -> anyhow::Result<()> {
    let file = std::fs::File::create(path)?;
    let mut writer = Writer::create(BufWriter::with_capacity(1 << 20, file), 4096)?;
    writer.bucket(b"key")?;
    for n in 0..count {
        let main = i64::try_from(n)? + 2;
        let again = n % 4 == 3;
        let (key, value) = pods::pod(if again { n - 3 } else { n });
        let row = KeyValue {
            key: Some(key),
            create_revision: Some(if again { main - 3 } else { main }),
            mod_revision: Some(main),
            version: Some(if again { 2 } else { 1 }),
            value: Some(value),
            lease: None,
        };
        writer.row(&RowKey::put(Revision(main), 0).encode(), &row.encode_to_vec())?;
    }
    writer.bucket(b"lease")?;
    writer.bucket(b"members")?;
    writer.row(b"be1b32b7b1ce69d", br#"{"id":1,"peerURLs":["http://127.0.0.1:1"],"name":"m"}"#)?;
    writer.bucket(b"meta")?;
    writer.row(b"consistent_index", &count.to_be_bytes())?;
    writer.finish()?.into_inner()?;
    append_digest(path)
}

/// Reads the database in pieces and puts its digest behind it.
fn append_digest(path: &Path) -> anyhow::Result<()> {
    let mut file = std::fs::OpenOptions::new().read(true).append(true).open(path)?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        match file.read(&mut piece)? {
            0 => break,
            read => hasher.update(&piece[..read]),
        }
    }
    Ok(file.write_all(&hasher.finalize())?)
}
