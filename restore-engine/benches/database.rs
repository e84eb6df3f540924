//! Throughput of reading a large database, file in the page cache: `cargo bench -p
//! etcdr-restore-engine`. `ETCDR_BENCH_FILE` names a database or snapshot file to use instead of a
//! generated one of 1 GiB.
#![expect(clippy::print_stdout, reason = "figures are what a benchmark is for")]

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use etcdr_restore_engine::bolt::Db;
use etcdr_restore_engine::bolt::writer::Writer;
use etcdr_restore_engine::check::structure;
use etcdr_restore_engine::local::LocalFile;
use etcdr_restore_engine::mvcc::RowKey;
use etcdr_restore_engine::scan::{View, hash_kv, key_space};
use etcdr_restore_engine::semantic::examine;
use etcdr_restore_engine::stream::SnapshotScanner;
use etcdr_restore_engine::{Result, status};
use etcdr_schemas::{Hidden, Revision, RunningSha256};

const ROWS: i64 = 1_000_000;
const VALUE: usize = 900;

fn main() -> Result<()> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = match std::env::var_os("ETCDR_BENCH_FILE") {
        Some(path) => path.into(),
        None => {
            let path = dir.path().join("snapshot.db");
            timed("write", 1 << 30, || generate(&path))?;
            path
        }
    };
    let db = Db::open(LocalFile::open(&path)?)?;
    println!("{} MiB, pages of {}", db.size() >> 20, db.page_size());
    let Some(key) = db.bucket(b"key")? else { return Ok(()) };
    for _ in 0..2 {
        timed("scan", db.size(), || {
            db.scan(&key, &mut |_, _| Ok(ControlFlow::Continue(()))).map(|()| 0)
        })?;
        timed("check", db.size(), || {
            structure::check(&db, &Hidden).map(|found| found.len() as u64)
        })?;
        timed("check on 2", db.size(), || {
            structure::check_on(&db, 2, &Hidden).map(|found| found.len() as u64)
        })?;
        timed("examine", db.size(), || {
            let examined = examine(LocalFile::open(&path)?, None, 2, &Hidden)?;
            Ok(examined.semantic.map_or(0, |semantic| semantic.findings.len() as u64))
        })?;
        timed("status", db.size(), || status(&db).map(|status| u64::from(status.hash)))?;
        timed("state", db.size(), || {
            let mut keys = 0;
            View::open(&db, 2)?.state(None, &mut |_| {
                keys += 1;
                Ok(ControlFlow::Continue(()))
            })?;
            Ok(keys)
        })?;
        timed("hash_kv", db.size(), || hash_kv(&db, None).map(|hash| u64::from(hash.hash)))?;
        timed("key_space", db.size(), || key_space(&db, None).map(|space| space.live_keys))?;
        timed("sha256", db.size(), || sha256(&path))?;
        timed("scanner", db.size(), || stream(&path))?;
    }
    Ok(())
}

fn timed(name: &str, bytes: u64, work: impl FnOnce() -> Result<u64>) -> Result<()> {
    // One alone, for a profiler or to measure its processor time.
    if std::env::var("ETCDR_BENCH_ONLY").is_ok_and(|only| only != name && name != "write") {
        return Ok(());
    }
    let start = Instant::now();
    let outcome = work()?;
    let seconds = start.elapsed().as_secs_f64();
    let rate = f64::from(u32::try_from(bytes >> 20).unwrap_or(u32::MAX)) / seconds;
    println!("{name:10} {seconds:7.3} s {rate:8.0} MiB/s   ({outcome})");
    Ok(())
}

fn generate(path: &Path) -> Result<u64> {
    let file = File::create(path).expect("a file in a temporary directory");
    let mut writer = Writer::create(BufWriter::with_capacity(1 << 20, file), 4096)?;
    writer.bucket(b"key")?;
    let mut message = Vec::new();
    // Many small rows are the hardest: `ETCDR_BENCH_ROWS=8000000`.
    let rows = std::env::var("ETCDR_BENCH_ROWS").ok().and_then(|text| text.parse().ok());
    let rows: i64 = rows.unwrap_or(ROWS);
    let value = VALUE.min(usize::try_from((1 << 30) / rows.max(1)).unwrap_or(VALUE));
    for main in 2..2 + rows {
        message.clear();
        message.extend_from_slice(b"\x0a\x24");
        write!(message, "/registry/pods/default/{:013}", main % (rows / 2)).expect("memory");
        message.extend_from_slice(b"\x2a");
        let low = u8::try_from(value & 0x7f).unwrap_or_default();
        message.extend([low | 0x80, u8::try_from(value >> 7).unwrap_or_default()]);
        message.resize(message.len() + value, b'v');
        writer.row(&RowKey::put(Revision(main), 0).encode(), &message)?;
    }
    writer.bucket(b"meta")?;
    writer.row(b"consistent_index", &7u64.to_be_bytes())?;
    writer.row(b"scheduledCompactRev", &RowKey::put(Revision(rows / 3), 0).encode())?;
    writer.finish()?.flush().expect("space in a temporary directory");
    let mut sha = RunningSha256::new();
    pieces(path, &mut |piece| {
        sha.update(piece);
        Ok(())
    })?;
    let mut file = File::options().append(true).open(path).expect("the file just made");
    file.write_all(sha.finish().as_bytes()).expect("space in a temporary directory");
    Ok(0)
}

/// What the scanner cannot be faster than.
fn sha256(path: &Path) -> Result<u64> {
    let mut sha = RunningSha256::new();
    pieces(path, &mut |piece| {
        sha.update(piece);
        Ok(())
    })?;
    Ok(u64::from(sha.finish().as_bytes()[0]))
}

/// Etcd sends pieces of 32 KiB; an odd start makes pages straddle them.
fn stream(path: &Path) -> Result<u64> {
    let mut scanner = SnapshotScanner::new();
    scanner.push(&[])?;
    pieces(path, &mut |piece| scanner.push(piece))?;
    scanner.finish().map(|scanned| u64::try_from(scanned.facts.revision.0).unwrap_or_default())
}

fn pieces(path: &Path, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut file = File::open(path).expect("the file just made");
    let mut piece = vec![0; 32 * 1024 - 9];
    loop {
        let read = file.read(&mut piece).expect("a readable file");
        if read == 0 {
            return Ok(());
        }
        take(&piece[..read])?;
    }
}
