//! How fast an image is sealed, read back and unsealed, and in how much memory.
//!
//! `cargo bench -p etcdr-repository --bench seal -- [MiB]`: Kubernetes-like data, zstd 3, one age
//! recipient, a local repository with fsync. The tap hashes, as a save's does.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "a bench prints what it measured and fails where it cannot go on"
)]

use std::time::Instant;

use bytes::Bytes;
use etcdr_repository::{
    BoxError, Identities, Location, Recipients, Repository, SealOptions, StoreOptions, Tap, keys,
};
use etcdr_schemas::repository::RepositoryInfo;
use etcdr_schemas::{ClusterName, Revision, RunningSha256, SnapshotId};

/// What etcd sends in one message of a snapshot stream.
const CHUNK: usize = 64 << 10;

#[derive(Default)]
struct Digest(RunningSha256);

impl Tap for Digest {
    fn feed(&mut self, bytes: &[u8]) -> Result<(), BoxError> {
        self.0.update(bytes);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), BoxError> {
        Ok(())
    }
}

/// Objects as they lie in etcd: text that repeats, with ids and times that do not.
fn kubernetes_like(size: usize) -> Vec<Bytes> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let (mut chunks, mut chunk) = (Vec::new(), Vec::with_capacity(CHUNK + 4096));
    let mut total = 0;
    while total < size {
        let (a, b, c) = (random(), random(), random());
        let namespace = a % 200;
        let text = format!(
            "/registry/pods/team-{namespace}/web-{b:016x}\x00k8s\x00\n\x09\n\x02v1\x12\x03Pod\
             {{\"metadata\":{{\"name\":\"web-{b:016x}\",\"namespace\":\"team-{namespace}\",\
             \"uid\":\"{a:016x}-{c:016x}\",\"resourceVersion\":\"{}\",\"labels\":{{\"app\":\"web\",\
             \"pod-template-hash\":\"{:08x}\"}},\"ownerReferences\":[{{\"apiVersion\":\"apps/v1\",\
             \"kind\":\"ReplicaSet\",\"controller\":true,\"blockOwnerDeletion\":true}}]}},\
             \"spec\":{{\"containers\":[{{\"image\":\
             \"registry.example.com/web@sha256:{a:016x}{b:016x}{c:016x}{a:016x}\",\
             \"resources\":{{\"limits\":{{\"cpu\":\"500m\",\"memory\":\"256Mi\"}}}},\
             \"terminationMessagePath\":\"/dev/termination-log\",\
             \"imagePullPolicy\":\"IfNotPresent\"}}],\"restartPolicy\":\"Always\",\
             \"dnsPolicy\":\"ClusterFirst\",\"nodeName\":\"node-{}\"}},\
             \"status\":{{\"phase\":\"Running\",\"podIP\":\"10.{}.{}.{}\"}}}}\x1a\x00\"\x00",
            c % 100_000_000,
            c as u32,
            a % 500,
            a % 256,
            b % 256,
            c % 256
        );
        chunk.extend_from_slice(text.as_bytes());
        if chunk.len() >= CHUNK {
            total += chunk.len();
            chunks.push(Bytes::copy_from_slice(&chunk));
            chunk.clear();
        }
    }
    chunks
}

fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// Processor time of this process in seconds, in all threads: what a busy machine does not change.
fn processor() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    ticks as f64 / 100.0
}

struct Since(Instant, f64);

impl Since {
    fn now() -> Self {
        Self(Instant::now(), processor())
    }

    fn say(&self, what: &str, size: u64) {
        let (wall, busy) = (self.0.elapsed().as_secs_f64(), processor() - self.1);
        let rate = size as f64 / 1e6 / wall;
        println!("{what:<24} {wall:>7.2} s  {rate:>7.0} MB/s  {busy:>7.2} s of processor");
    }
}

#[tokio::main]
async fn main() {
    let mib = std::env::args().filter_map(|text| text.parse::<usize>().ok()).next().unwrap_or(1024);
    // The source is held once and sent several times, so that its memory is not taken for the
    // pipeline's.
    let source = kubernetes_like(64 << 20);
    let rounds = mib.div_ceil(64);
    let before = peak_mib();
    let dir = tempfile::tempdir().unwrap();
    let pair = keys::generate();
    let recipients = Recipients::parse(&[pair.recipient.as_str()]).unwrap();
    let info = RepositoryInfo {
        format: 1,
        repository_id: "0".repeat(32),
        created_at: chrono::DateTime::UNIX_EPOCH,
        recipients: recipients.texts().to_vec(),
        unencrypted: false,
        extra: serde_json::Map::new(),
    };
    let location = Location::directory(dir.path());
    let repository = Repository::init(&location, &StoreOptions::default(), info).await.unwrap();
    let cluster = ClusterName::default();
    let id = SnapshotId::new(chrono::DateTime::UNIX_EPOCH, Revision(1), 1);

    let begun = Since::now();
    let options = SealOptions::new(Some(recipients));
    let mut upload =
        repository.begin_image(&cluster, options, id.time(), 1, Digest::default()).await.unwrap();
    for _ in 0..rounds {
        for chunk in &source {
            upload.write(chunk.clone()).await.unwrap();
        }
    }
    let (staged, Digest(plain)) = upload.finish().await.unwrap();
    let size = staged.plain_size();
    begun.say("seal, upload, fsync", size);
    let reading = Since::now();
    let stored = repository.publish_image(staged, &id).await.unwrap();
    let proven = repository.read_back(&stored).await.unwrap();
    reading.say("read back", stored.stored_size());
    begun.say("save in all", size);
    println!("ratio {:.2}, {} MiB plain", size as f64 / stored.stored_size() as f64, size >> 20);
    println!("memory above the source: {} MiB", peak_mib() - before);

    let image = proven.describe(plain.finish());
    let identities = Identities::parse(&pair.identity_file, "bench").unwrap();
    let opening = Since::now();
    let sealed = repository.open_image(&image, &identities).await.unwrap();
    let chunks = sealed.chunks();
    let drained = tokio::task::spawn_blocking(move || {
        chunks.map(|chunk| chunk.unwrap().len() as u64).sum::<u64>()
    });
    assert_eq!(drained.await.unwrap(), size);
    opening.say("unseal, both digests", size);
    println!("memory above the source: {} MiB", peak_mib() - before);
}
