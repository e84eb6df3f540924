//! `etcdr keygen`: makes and writes keys.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use etcdr_repository::{keys, sign};
use etcdr_restore_engine::outfile;
use etcdr_schemas::ExitCode;
use etcdr_schemas::report::KeygenReport;

use crate::exit::CliError;
use crate::options::Global;
use crate::output;

/// Make an age identity and a minisign key pair
///
/// Writes identity.txt and signing.key (secret, mode 0600) and recipient.txt and signing.pub
/// (public). Existing files are never overwritten. Keep identity.txt away from the machines that
/// take backups: they need only recipient.txt.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folder to write the four files to; made if it is missing
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

const SECRET: u32 = 0o600;
const PUBLIC: u32 = 0o644;

impl Args {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let report = generate(&self.dir)?;
        output::print(global.output, report, |report| {
            format!(
                "recipient:          {}\nsigning public key: {}\nwritten:            {}",
                report.recipient,
                report.signing_public_key,
                report.files.join(" ")
            )
        })?;
        if !global.quiet {
            output::say(
                "Keep identity.txt and signing.key safe: without identity.txt no snapshot can be \
                 restored.",
            );
        }
        Ok(ExitCode::Done)
    }
}

/// Writes the four files; refuses before writing any when one of them exists.
pub(super) fn generate(dir: &Path) -> anyhow::Result<KeygenReport> {
    let identity = keys::generate();
    let signing = sign::generate()?;
    let files: [(&str, &str, u32); 4] = [
        ("identity.txt", &identity.identity_file, SECRET),
        ("recipient.txt", &format!("{}\n", identity.recipient), PUBLIC),
        ("signing.key", &signing.secret_file, SECRET),
        ("signing.pub", &signing.public_file, PUBLIC),
    ];
    for (name, _, _) in files {
        let path = dir.join(name);
        if path.symlink_metadata().is_ok() {
            return Err(exists(&path).into());
        }
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("cannot make the folder {}", dir.display()))?;
    let mut written = Vec::new();
    for (name, content, mode) in files {
        let path = dir.join(name);
        outfile::write_new(&path, content.as_bytes(), mode)?;
        written.push(path.display().to_string());
    }
    Ok(KeygenReport {
        recipient: identity.recipient,
        signing_public_key: signing.public_file.lines().last().unwrap_or_default().to_owned(),
        files: written,
    })
}

fn exists(path: &Path) -> CliError {
    CliError {
        what: format!("{} exists", path.display()),
        safe: "No file was written; existing keys are never overwritten.".into(),
        next: "Name another folder with --dir.".into(),
        code: ExitCode::Failed,
    }
}
