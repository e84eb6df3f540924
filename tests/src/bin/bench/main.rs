//! `make bench`: saving and restoring, side by side with etcd's own tools, in one run.
//!
//! Method: one real etcd is filled with Kubernetes-like objects. Each contestant then runs as a
//! whole process, in turn, several rounds, with dirty pages written back before each run. Medians
//! and their ratios are printed and written as JSON. Peak memory is VmHWM as the kernel counts it.
//! Nothing here passes or fails: this machine and yours differ, the ratios less so.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::disallowed_methods)]

mod checking;
mod harm;
mod measure;
mod pods;
mod rebuilding;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use etcdr_node::{Client, ClusterOptions, ConnectOptions, EtcdBinary, LocalCluster, MemberSpec};
use futures_util::{StreamExt as _, stream};
use serde_json::json;

use measure::{Samples, measure};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // A contestant of its own, so that it is a whole process like the others.
    if let [_, verb, endpoint] = &std::env::args().collect::<Vec<_>>()[..]
        && verb == "drain"
    {
        return drain(endpoint).await;
    }
    // For measurements by hand: the same data in an etcd of one's own.
    if let [_, verb, endpoint, megabytes] = &std::env::args().collect::<Vec<_>>()[..]
        && verb == "fill"
    {
        let client = Client::connect(&ConnectOptions::new(endpoint)).await?;
        return fill(&client, megabytes.parse::<u64>()? << 20).await;
    }
    let settings = Settings::from_env()?;
    // `checking` and `rebuilding` need no etcd that is filled first.
    let only = std::env::var("ETCDR_BENCH_ONLY").ok();
    let (mut sizes, mut rebuilding, mut harm) = (Vec::new(), Vec::new(), Vec::new());
    if matches!(only.as_deref(), None | Some("harm")) {
        // One size: larger than what etcd sends before anybody notices, and soon filled.
        let megabytes = std::env::var("ETCDR_BENCH_HARM_MB").unwrap_or("500".to_owned());
        harm.push(harm::run(&settings, megabytes.parse()?).await?);
    }
    for megabytes in &settings.megabytes {
        match only.as_deref() {
            Some("checking") => sizes.push(checking::standalone(&settings, *megabytes)?),
            Some("harm") => {}
            Some("rebuilding") => rebuilding.push(rebuilding::run(&settings, *megabytes)?),
            _ => {
                sizes.push(run(&settings, *megabytes).await?);
                rebuilding.push(rebuilding::run(&settings, *megabytes)?);
            }
        }
    }
    let path = settings.results.join("bench.json");
    std::fs::create_dir_all(&settings.results)?;
    std::fs::write(
        &path,
        serde_json::to_vec_pretty(
            &json!({ "sizes": sizes, "rebuilding": rebuilding, "harm": harm }),
        )?,
    )?;
    println!("\nfigures: {}", path.display());
    Ok(())
}

struct Settings {
    /// Binaries of one etcd version, etcdutl among them.
    etcd: PathBuf,
    etcdr: PathBuf,
    results: PathBuf,
    megabytes: Vec<u64>,
    rounds: usize,
}

impl Settings {
    fn from_env() -> anyhow::Result<Self> {
        let variable =
            |name: &str, default: &str| std::env::var(name).unwrap_or(default.to_owned());
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no workspace root")?;
        let etcd = match std::env::var_os("ETCDR_BENCH_ETCD") {
            Some(dir) => PathBuf::from(dir),
            None => newest_with_etcdutl(&root.join(".cache/etcd"))?,
        };
        let megabytes = variable("ETCDR_BENCH_MB", "100,1500");
        Ok(Self {
            etcd,
            etcdr: variable(
                "ETCDR_BENCH_BINARY",
                &root.join("target/release/etcdr").to_string_lossy(),
            )
            .into(),
            results: variable("ETCDR_BENCH_RESULTS", &root.join("bench-results").to_string_lossy())
                .into(),
            megabytes: megabytes.split(',').map(str::parse).collect::<Result<_, _>>()?,
            rounds: variable("ETCDR_BENCH_ROUNDS", "5").parse()?,
        })
    }

    fn tool(&self, name: &str) -> PathBuf {
        self.etcd.join(name)
    }
}

fn newest_with_etcdutl(cache: &Path) -> anyhow::Result<PathBuf> {
    let dirs = std::fs::read_dir(cache)
        .with_context(|| format!("no {}: run `make setup`", cache.display()))?;
    let with_tool = dirs.filter_map(Result::ok).map(|entry| entry.path());
    with_tool
        .filter(|path| path.join("etcdutl").exists())
        .max()
        .context("no etcd with etcdutl: run `make setup`, or set ETCDR_BENCH_ETCD")
}

async fn run(settings: &Settings, megabytes: u64) -> anyhow::Result<serde_json::Value> {
    let folder = tempfile::tempdir()?;
    let dir = folder.path();
    let binary = EtcdBinary::locate(Some(&settings.etcd), None).await?;
    println!("\n== {megabytes} MB of Kubernetes-like data, etcd {} ==", binary.version());
    let cluster = start(&binary, &dir.join("source")).await?;
    let endpoint = cluster.endpoints().first().context("no endpoint")?.clone();
    let client = Client::connect(&ConnectOptions::new(&endpoint)).await?;
    fill(&client, megabytes << 20).await?;
    let keys = Keys::make(settings, dir)?;
    let plain = dir.join("plain.db");
    let saving = saving(settings, &endpoint, &keys, &plain)?;
    drop(cluster);
    let restoring = restoring(settings, &keys, &plain)?;
    let checking = checking::run(settings, &plain)?;
    let size = std::fs::metadata(&plain)?.len();
    let mut report = report(megabytes, size, saving, restoring);
    report["checking"] = checking;
    Ok(report)
}

/// etcd's stream drained, etcdctl, and us, in turn. The last plain file stays for the restores.
fn saving(
    settings: &Settings,
    endpoint: &str,
    keys: &Keys,
    plain: &Path,
) -> anyhow::Result<[Samples; 3]> {
    let mut drain = Samples::new("drain etcd's stream");
    let mut etcdctl = Samples::new("etcdctl snapshot save");
    let mut save = Samples::new("etcdr snapshot save");
    for _ in 0..settings.rounds {
        drain.push(measure(Command::new(std::env::current_exe()?).args(["drain", endpoint]))?);
        let mut official = Command::new(settings.tool("etcdctl"));
        let flags = ["--endpoints", endpoint, "--command-timeout", "600s", "snapshot", "save"];
        etcdctl.push(measure(official.env("ETCDCTL_API", "3").args(flags).arg(plain))?);
        let mut command = keys.etcdr(settings);
        save.push(measure(command.args(["snapshot", "save", "--endpoints", endpoint]))?);
    }
    Ok([drain, etcdctl, save])
}

/// etcdutl on the plain file, us on the encrypted image, in turn; and a verification.
fn restoring(settings: &Settings, keys: &Keys, plain: &Path) -> anyhow::Result<[Samples; 3]> {
    let target = plain.with_file_name("restored");
    let mut etcdutl = Samples::new("etcdutl snapshot restore");
    let mut restore = Samples::new("etcdr restore (encrypted)");
    let mut verify = Samples::new("etcdr verify structure");
    for _ in 0..settings.rounds {
        let mut official = Command::new(settings.tool("etcdutl"));
        official.args(["snapshot", "restore"]).arg(plain).arg("--data-dir").arg(&target);
        etcdutl.push(measure(&mut official)?);
        std::fs::remove_dir_all(&target)?;
        let mut ours = keys.etcdr(settings);
        ours.args(["restore", "latest", "--name", "m", "--data-dir"]).arg(&target);
        restore.push(measure(&mut ours)?);
        std::fs::remove_dir_all(&target)?;
        verify.push(measure(keys.etcdr(settings).args(["verify", "latest"]))?);
    }
    Ok([etcdutl, restore, verify])
}

fn report(
    megabytes: u64,
    size: u64,
    [drain, etcdctl, save]: [Samples; 3],
    [etcdutl, restore, verify]: [Samples; 3],
) -> serde_json::Value {
    let ratios = [
        ("save / drain", save.median() / drain.median(), "<= 1.5"),
        ("save / etcdctl", save.median() / etcdctl.median(), "< 1"),
        ("restore / etcdutl", restore.median() / etcdutl.median(), "<= 0.8"),
    ];
    let samples = [drain, etcdctl, save, etcdutl, restore, verify];
    samples.iter().for_each(|sample| sample.print(size));
    for (name, ratio, wanted) in ratios {
        println!("{name:<28} {ratio:>8.2}     wanted {wanted}");
    }
    let ratio = |(name, ratio, wanted)| json!({ "name": name, "ratio": ratio, "wanted": wanted });
    json!({
        "megabytes": megabytes,
        "snapshot_bytes": size,
        "samples": samples.iter().map(Samples::json).collect::<Vec<_>>(),
        "ratios": ratios.map(ratio),
    })
}

/// Takes etcd's stream and throws it away: what any backup costs at least.
async fn drain(endpoint: &str) -> anyhow::Result<()> {
    let client = Client::connect(&ConnectOptions::new(endpoint)).await?;
    let mut stream = client.snapshot(Duration::from_secs(30)).await?;
    while let Some(chunk) = stream.next().await {
        chunk?;
    }
    Ok(())
}

async fn start(binary: &EtcdBinary, data_dir: &Path) -> anyhow::Result<LocalCluster> {
    let members = [MemberSpec::new("m", data_dir)];
    Ok(LocalCluster::start(binary, &members, &ClusterOptions::default()).await?)
}

/// Puts pods until the database has about `bytes`.
async fn fill(client: &Client, bytes: u64) -> anyhow::Result<()> {
    const PER_TXN: u64 = 64;
    /// What an object takes in the database: bbolt fills pages of `key` to nine tenths.
    const BYTES_PER_OBJECT: u64 = 4700;
    let began = Instant::now();
    let writer = client.writer();
    let txns = bytes / BYTES_PER_OBJECT / PER_TXN;
    let mut done = stream::iter(0..txns)
        .map(|txn| writer.txn_put((txn * PER_TXN..(txn + 1) * PER_TXN).map(pods::pod), 0))
        .buffer_unordered(8);
    while let Some(result) = done.next().await {
        result?;
    }
    println!("filled in {:.0} s", began.elapsed().as_secs_f64());
    Ok(())
}

struct Keys {
    dir: PathBuf,
}

impl Keys {
    fn make(settings: &Settings, dir: &Path) -> anyhow::Result<Self> {
        let keys = Self { dir: dir.to_owned() };
        measure(
            Command::new(&settings.etcdr)
                .args(["keygen", "--quiet", "--dir"])
                .arg(dir.join("keys")),
        )?;
        let recipient = dir.join("keys/recipient.txt");
        measure(keys.etcdr(settings).args(["init", "--recipient"]).arg(recipient))?;
        Ok(keys)
    }

    fn etcdr(&self, settings: &Settings) -> Command {
        let mut command = Command::new(&settings.etcdr);
        command
            .env("ETCDR_REPOSITORY", format!("file://{}", self.dir.join("repository").display()))
            .env("ETCDR_IDENTITY", self.dir.join("keys/identity.txt"))
            .arg("--quiet");
        command
    }
}
