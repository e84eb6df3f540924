//! What the command line says, word for word: the files under `cmd` are the specification. After a
//! change that is meant, `TRYCMD=overwrite cargo test -p etcdr --test goldens` writes them anew;
//! what differs from run to run has to be made `[..]` again by hand.

use std::env;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const ETCDR: &str = env!("CARGO_BIN_EXE_etcdr");
const HERE: &str = env!("CARGO_MANIFEST_DIR");
/// A small database that an etcd wrote.
const SEED: &str = "restore-engine/tests/data/busy-3.5.30.db";
/// Set in the process that runs the cases: the address of an endpoint that never answers.
const SILENT: &str = "GOLDENS_SILENT";

#[test]
fn the_command_line_says_what_is_written() {
    if let Ok(silent) = env::var(SILENT) {
        return run(&silent);
    }
    // Again in a folder of its own, and without variables that would be taken for flags.
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path()).unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut inside = command(&env::current_exe().unwrap(), folder.path());
    inside.args(["--exact", "the_command_line_says_what_is_written", "--nocapture"]);
    inside.env(SILENT, silent.local_addr().unwrap().to_string());
    for name in ["TRYCMD", "RUST_BACKTRACE"] {
        inside.envs(env::var_os(name).map(|value| (name, value)));
    }
    assert!(inside.status().unwrap().success(), "see above");
}

fn run(silent: &str) {
    let cases = |folder: &str| {
        let cases = trycmd::TestCases::new();
        cases.register_bin("etcdr", Path::new(ETCDR));
        cases.case(Path::new(HERE).join("tests/cmd").join(folder).join("*.trycmd"));
        cases
    };
    cases("help").run();
    let exits = cases("exits");
    // Of every Linux: one holds a lock, the other sends a signal, while etcdr runs.
    for tool in ["flock", "timeout"] {
        exits.register_bin(tool, which(tool));
    }
    // Help would show these. A configuration of this machine does not count.
    exits.env("ETCDCTL_ENDPOINTS", silent).env("ETCDR_CONFIG", "/dev/null");
    exits.run();
}

/// The environment of every case; `PATH` leads to etcdr for the tools that start it.
#[expect(clippy::disallowed_methods, reason = "a test of the binary starts it")]
fn command(program: &Path, folder: &Path) -> Command {
    let path = env::var("PATH").unwrap_or_default();
    let own = Path::new(ETCDR).parent().expect("a binary is in a folder").display();
    let mut command = Command::new(program);
    command.env_clear().env("PATH", format!("{own}:{path}"));
    // Help is as wide as the terminal.
    command.env("COLUMNS", "100").env("LC_ALL", "C.UTF-8");
    command.current_dir(folder).stdin(Stdio::null());
    command
}

fn which(tool: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|folder| folder.join(tool)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{tool} is not installed"))
}

/// What the cases find in their folder: `seed.db`, and repositories that lack something.
fn prepare(folder: &Path) -> io::Result<()> {
    fs::copy(Path::new(HERE).join("..").join(SEED), folder.join("seed.db"))?;
    let etcdr = |words: &str| {
        let mut command = command(Path::new(ETCDR), folder);
        let output = command.args(words.split(' ')).output()?;
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
        io::Result::Ok(())
    };
    for repository in ["plain", "damaged"] {
        etcdr(&format!("init --repository ./{repository} --no-encryption"))?;
        etcdr(&format!("snapshot import --repository ./{repository} seed.db"))?;
    }
    fs::write(folder.join("wrong.yaml"), "repositry: {}\nagent:\n  grace: soon\n")?;
    etcdr("keygen --dir keys")?;
    etcdr("keygen --dir other-keys")?;
    etcdr("init --repository ./sealed --recipient keys/recipient.txt")?;
    etcdr("snapshot import --repository ./sealed seed.db")?;
    for image in files(&folder.join("damaged"), "images")? {
        let mut bytes = fs::read(&image)?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(image, bytes)?;
    }
    Ok(())
}

/// The files below a folder that have a folder of this name above them.
fn files(folder: &Path, above: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path, above)?);
        } else if path.components().any(|part| part.as_os_str() == above) {
            found.push(path);
        }
    }
    Ok(found)
}
