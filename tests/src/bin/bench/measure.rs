//! Whole processes, timed and watched.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::json;

/// One run; what is known of a whole process only is absent for work in this one.
pub(crate) struct Sample {
    seconds: f64,
    /// Processor time, of the user and of the system.
    cpu_seconds: Option<f64>,
    /// Peak resident memory.
    peak_kib: Option<u64>,
}

/// Times work in this process.
pub(crate) fn timed(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Sample> {
    rustix::fs::sync();
    let began = Instant::now();
    work()?;
    Ok(Sample { seconds: began.elapsed().as_secs_f64(), cpu_seconds: None, peak_kib: None })
}

/// Runs a command to its end; 0 and 3 (warnings) are success.
pub(crate) fn measure(command: &mut Command) -> anyhow::Result<Sample> {
    rustix::fs::sync();
    let began = Instant::now();
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn()?;
    let proc = PathBuf::from(format!("/proc/{}", child.id()));
    // Both values only grow, so the last sample is the total, except for the last milliseconds.
    let (mut peak_kib, mut cpu_seconds) = (None, None);
    let status = loop {
        peak_kib = high_water(&proc).max(peak_kib);
        cpu_seconds = processor(&proc).filter(|seconds| *seconds > 0.0).or(cpu_seconds);
        match child.try_wait()? {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let seconds = began.elapsed().as_secs_f64();
    ensure!(matches!(status.code(), Some(0 | 3)), "{command:?} ended with {status}");
    Ok(Sample { seconds, cpu_seconds, peak_kib })
}

fn high_water(proc: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(proc.join("status")).ok()?;
    let line = text.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Fields 14 and 15 of proc(5) `stat`, in ticks of a hundredth of a second.
fn processor(proc: &Path) -> Option<f64> {
    let text = std::fs::read_to_string(proc.join("stat")).ok()?;
    let (_, after_name) = text.rsplit_once(')')?;
    let mut ticks = after_name.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Some((ticks.next()?.ok()? + ticks.next()?.ok()?) / 100.0)
}

pub(crate) struct Samples {
    name: &'static str,
    samples: Vec<Sample>,
}

impl Samples {
    pub(crate) const fn new(name: &'static str) -> Self {
        Self { name, samples: Vec::new() }
    }

    pub(crate) fn push(&mut self, sample: Sample) {
        self.samples.push(sample);
    }

    fn seconds(&self) -> Vec<f64> {
        self.samples.iter().map(|sample| sample.seconds).collect()
    }

    pub(crate) fn median(&self) -> f64 {
        median(self.seconds())
    }

    fn cpu_seconds(&self) -> Option<f64> {
        let known: Vec<_> = self.samples.iter().filter_map(|sample| sample.cpu_seconds).collect();
        (!known.is_empty()).then(|| median(known))
    }

    #[allow(clippy::cast_precision_loss)]
    fn peak_mib(&self) -> Option<f64> {
        let peak = self.samples.iter().filter_map(|sample| sample.peak_kib).max()?;
        Some(peak as f64 / 1024.0)
    }

    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn print(&self, bytes: u64) {
        let mut seconds = self.seconds();
        seconds.sort_by(f64::total_cmp);
        let (Some(low), Some(high)) = (seconds.first(), seconds.last()) else { return };
        let rate = bytes as f64 / (1 << 20) as f64 / self.median();
        let cpu = self.cpu_seconds().map_or_else(String::new, |s| format!("   cpu {s:>5.2} s"));
        let peak =
            self.peak_mib().map_or_else(String::new, |mib| format!("   peak {mib:>4.0} MiB"));
        println!(
            "{:<28} {:>8.2} s   ({low:.2} to {high:.2})  {rate:>6.0} MiB/s{cpu}{peak}",
            self.name,
            self.median(),
        );
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        json!({
            "name": self.name,
            "seconds": self.seconds(),
            "median_seconds": self.median(),
            "median_cpu_seconds": self.cpu_seconds(),
            "peak_mib": self.peak_mib(),
        })
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
