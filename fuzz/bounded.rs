//! The bounded run of the fuzz bodies on stable Rust: seeded mutations of the committed corpus, in
//! a child process whose memory and time are limited.
//!
//! Included by the tests of each crate. `ETCDR_TEST_ROUNDS=100` runs a hundred times as many
//! inputs. A body that panics, hangs, or takes memory beyond the bound fails the test, which says
//! how to run that one input again.
#![allow(dead_code, unused_macros, reason = "each test binary uses its own part of this")]
#![allow(
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "all of it is tests, helpers too"
)]

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// One body with its limits.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    /// Name of the test, of the corpus' folder and of the libFuzzer target.
    pub(crate) name: &'static str,
    /// Takes one input; panics when a promise is broken.
    pub(crate) run: fn(&[u8]),
    /// Repairs checksums, so that the parser reaches the data behind them.
    pub(crate) fix: fn(&mut Vec<u8>),
    /// Inputs of one round.
    pub(crate) inputs: u64,
}

/// A test for each body: its module, how to repair its checksums, and the inputs of one round.
macro_rules! targets {
    ($($name:ident: $fix:expr, $inputs:literal;)*) => { $(
        #[test]
        fn $name() {
            let name = stringify!($name);
            let target =
                $crate::bounded::Target { name, run: $name::run, fix: $fix, inputs: $inputs };
            $crate::bounded::bounded(target);
        }
    )* };
}

/// For formats without checksums.
#[allow(clippy::ptr_arg, reason = "others change the length")]
pub(crate) fn nothing_to_fix(_: &mut Vec<u8>) {}

/// Set in the child; a number runs that input only.
const CHILD: &str = "ETCDR_FUZZ_CHILD";
/// Address space of the child: what is allocated and never touched counts here.
const ADDRESS_SPACE_KIB: u64 = 3 << 20;
/// Memory that the child may ever have used: the bound that verification states.
const MEMORY_KIB: u64 = 256 << 10;
/// Time for one input. Generous: machines are busy, and a hang takes forever.
const ONE_INPUT: Duration = Duration::from_secs(20);
/// Largest input.
const MAX_INPUT: usize = 1 << 20;

/// Runs a target's bounded test: starts the child process, or does its work in the child.
pub(crate) fn bounded(target: Target) {
    match std::env::var(CHILD) {
        Ok(which) => inputs(target, which.parse().ok()),
        Err(_) => watch(target),
    }
}

fn rounds() -> u64 {
    std::env::var("ETCDR_TEST_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

#[expect(clippy::disallowed_methods, reason = "a test starts itself under limits")]
fn watch(target: Target) {
    let test = std::env::current_exe().expect("the path of this test");
    let script = format!("ulimit -v {ADDRESS_SPACE_KIB}; exec \"$0\" \"$@\"");
    let mut child = std::process::Command::new("/bin/sh")
        .args(["-c", &script])
        .arg(test)
        .args([target.name, "--exact", "--nocapture", "--test-threads", "1"])
        .env(CHILD, "all")
        .stdout(Stdio::null())
        .spawn()
        .expect("a shell");
    // The child limits the time of each input; this limit catches a child that cannot.
    let limit = ONE_INPUT * u32::try_from(rounds()).unwrap_or(u32::MAX).saturating_add(30);
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("the child's state") {
            break status;
        }
        if started.elapsed() > limit {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{}: still running after {limit:?}", target.name);
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success(), "{}: {status}; see above", target.name);
}

fn inputs(target: Target, only: Option<u64>) {
    let corpus = corpus(target.name);
    assert!(!corpus.is_empty(), "{}: there is no corpus", target.name);
    let all = corpus.len() as u64 + target.inputs * rounds();
    let (first, end) = only.map_or((0, all), |only| (only, only + 1));
    let current = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(first));
    hang_guard(target.name, std::sync::Arc::clone(&current), end);
    for number in first..end {
        current.store(number, std::sync::atomic::Ordering::Relaxed);
        let input = input(target, &corpus, number);
        let outcome = std::panic::catch_unwind(|| (target.run)(&input));
        if outcome.is_err() {
            let file = std::env::temp_dir().join(format!("etcdr-fuzz-{}-{number}", target.name));
            let _ = std::fs::write(&file, &input);
            panic!(
                "{} fails at input {number}, kept in {}; {CHILD}={number} runs it again",
                target.name,
                file.display()
            );
        }
    }
    current.store(end, std::sync::atomic::Ordering::Relaxed);
    let used = peak_memory_kib();
    assert!(used < MEMORY_KIB, "{} has used {used} KiB of memory", target.name);
}

/// Ends the process when one input takes too long.
fn hang_guard(name: &'static str, current: std::sync::Arc<std::sync::atomic::AtomicU64>, end: u64) {
    std::thread::spawn(move || {
        let mut seen = (u64::MAX, Instant::now());
        loop {
            std::thread::sleep(Duration::from_millis(200));
            let number = current.load(std::sync::atomic::Ordering::Relaxed);
            if number == end {
                return;
            }
            if number != seen.0 {
                seen = (number, Instant::now());
            } else if seen.1.elapsed() > ONE_INPUT {
                eprintln!("{name} hangs at input {number}; {CHILD}={number} runs it again");
                std::process::abort();
            }
        }
    });
}

/// The most memory that this process has used (Linux; 0 where that is not known).
fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).unwrap_or(0)
}

/// The files of a target's corpus, in order of their names.
pub(crate) fn corpus(name: &str) -> Vec<Vec<u8>> {
    let dir = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus")).join(name);
    let entries = dir.read_dir().into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("a file of the corpus")).collect()
}

/// Input number `number`: a file of the corpus as it is, or a mutation of one.
fn input(target: Target, corpus: &[Vec<u8>], number: u64) -> Vec<u8> {
    if let Some(seed) = usize::try_from(number).ok().and_then(|number| corpus.get(number)) {
        return seed.clone();
    }
    let name = target.name.bytes().fold(0, |sum: u64, byte| sum.rotate_left(7) ^ u64::from(byte));
    let mut rng = Rng(name ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut input = pick(corpus, &mut rng).clone();
    for _ in 0..=rng.below(6) {
        mutate(&mut input, corpus, &mut rng);
    }
    input.truncate(MAX_INPUT);
    if rng.below(2) == 0 {
        (target.fix)(&mut input);
    }
    input
}

fn pick<'a>(corpus: &'a [Vec<u8>], rng: &mut Rng) -> &'a Vec<u8> {
    &corpus[rng.below(corpus.len())]
}

/// SplitMix64: small, seeded, the same everywhere.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % (limit.max(1) as u64)).unwrap_or(0)
    }
}

/// Numbers at which parsers break.
const EDGES: [u64; 16] = [
    0,
    1,
    2,
    7,
    0x7f,
    0x80,
    0xff,
    0x100,
    0xfff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
    0x00ff_ffff_ffff_ffff,
];

fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], rng: &mut Rng) {
    let len = input.len();
    let at = rng.below(len);
    match rng.below(10) {
        0 | 1 => flip(input, at, rng),
        2 => replace(input, at, &[(rng.next() & 0xff) as u8]),
        3 | 4 => number(input, at, rng),
        5 => input.truncate(at),
        6 => {
            let piece = block(input, rng);
            let at = rng.below(input.len() + 1);
            drop(input.splice(at..at, piece));
        }
        7 => {
            let piece = block(input, rng);
            replace(input, at, &piece);
        }
        8 => {
            let other = pick(corpus, rng);
            let cut = rng.below(other.len());
            input.truncate(at);
            input.extend_from_slice(&other[cut..]);
        }
        _ => {
            let end = at.saturating_add(rng.below(64)).min(len);
            drop(input.drain(at..end));
        }
    }
}

fn flip(input: &mut [u8], at: usize, rng: &mut Rng) {
    if let Some(byte) = input.get_mut(at) {
        *byte ^= 1 << rng.below(8);
    }
}

/// Overwrites a field with a number from an edge, or near the present value.
fn number(input: &mut [u8], at: usize, rng: &mut Rng) {
    let width = [1, 2, 4, 8][rng.below(4)];
    let at = if rng.below(2) == 0 { at - at % width } else { at };
    let edge = EDGES[rng.below(EDGES.len())].wrapping_add(rng.next() % 3).wrapping_sub(1);
    let value = if rng.below(4) == 0 { input.len() as u64 } else { edge };
    let (little, big) = (value.to_le_bytes(), value.to_be_bytes());
    let bytes = if rng.below(3) == 0 { &big[8 - width..] } else { &little[..width] };
    replace(input, at, bytes);
}

fn replace(input: &mut [u8], at: usize, bytes: &[u8]) {
    input.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
}

/// A piece of the input, often a whole sector or page.
fn block(input: &[u8], rng: &mut Rng) -> Vec<u8> {
    let size = [8, 16, 64, 512, 1024, 4096][rng.below(6)];
    let blocks = input.len() / size;
    let at = rng.below(blocks.max(1)) * size;
    input.iter().skip(at).take(size).copied().collect()
}
