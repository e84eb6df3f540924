//! Finds the etcd programs of this machine.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use etcdr_schemas::EtcdVersion;

use crate::error::Error;
use crate::process::{self, ToolOutput};

/// An etcd server program and the tools beside it.
#[derive(Debug, Clone)]
pub struct EtcdBinary {
    etcd: PathBuf,
    etcdctl: Option<PathBuf>,
    etcdutl: Option<PathBuf>,
    version: EtcdVersion,
}

/// The tools that come with etcd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// The client.
    Etcdctl,
    /// The offline tool, from etcd 3.5 on.
    Etcdutl,
}

impl Tool {
    const fn name(self) -> &'static str {
        match self {
            Self::Etcdctl => "etcdctl",
            Self::Etcdutl => "etcdutl",
        }
    }
}

const VERSION_TIMEOUT: Duration = Duration::from_secs(10);

impl EtcdBinary {
    /// Finds `etcd` in a directory, or, when none is given, in a search path as the `PATH` variable
    /// holds it, and asks for its version. The tools are taken from the same directory only, so
    /// that their version is that of the server.
    ///
    /// # Errors
    /// [`Error::BinaryMissing`], and [`Error::Run`] for a program that is not an etcd.
    pub async fn locate(dir: Option<&Path>, path: Option<&OsStr>) -> Result<Self, Error> {
        let dirs: Vec<PathBuf> = match (dir, path) {
            (Some(dir), _) => vec![dir.to_owned()],
            // Relative entries would run whatever is in the working directory.
            (None, Some(path)) => {
                std::env::split_paths(path).filter(|dir| dir.is_absolute()).collect()
            }
            (None, None) => Vec::new(),
        };
        let bin_dir = dirs.iter().find(|dir| is_program(&dir.join("etcd")));
        let bin_dir = bin_dir.ok_or_else(|| Error::BinaryMissing {
            tool: "etcd",
            searched: dir.map_or_else(|| "PATH".into(), |dir| dir.display().to_string()),
        })?;
        let tool = |tool: Tool| Some(bin_dir.join(tool.name())).filter(|path| is_program(path));
        let etcd = bin_dir.join("etcd");
        Ok(Self {
            version: ask_version(&etcd).await?,
            etcdctl: tool(Tool::Etcdctl),
            etcdutl: tool(Tool::Etcdutl),
            etcd,
        })
    }

    /// Version of the server program.
    #[must_use]
    pub const fn version(&self) -> EtcdVersion {
        self.version
    }

    /// Path of the server program.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.etcd
    }

    /// Path of a tool, if it is there.
    #[must_use]
    pub fn tool(&self, tool: Tool) -> Option<&Path> {
        match tool {
            Tool::Etcdctl => self.etcdctl.as_deref(),
            Tool::Etcdutl => self.etcdutl.as_deref(),
        }
    }

    /// Runs a tool to its end, with an environment that carries no etcd settings.
    ///
    /// # Errors
    /// [`Error::BinaryMissing`] without that tool; [`Error::Run`] when it does not start, takes
    /// longer than `limit`, or prints more than 64 MiB. A tool that fails is not an error here: see
    /// [`ToolOutput::success`].
    pub async fn run<I, S>(&self, tool: Tool, args: I, limit: Duration) -> Result<ToolOutput, Error>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let path = self.tool(tool).ok_or_else(|| Error::BinaryMissing {
            tool: tool.name(),
            searched: self.etcd.parent().unwrap_or(&self.etcd).display().to_string(),
        })?;
        process::run(path, args, limit).await
    }
}

fn is_program(path: &Path) -> bool {
    path.is_file()
}

async fn ask_version(etcd: &Path) -> Result<EtcdVersion, Error> {
    let output = process::run(etcd, ["--version"], VERSION_TIMEOUT).await?;
    parse_version(&output.stdout).ok_or_else(|| Error::Run {
        program: etcd.to_owned(),
        reason: "it does not print a version as etcd does".into(),
    })
}

/// `etcd Version: 3.5.30`, on the first line.
fn parse_version(stdout: &str) -> Option<EtcdVersion> {
    stdout.lines().next()?.strip_prefix("etcd Version: ")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_etcd_prints_its_version_like_etcd() {
        let version = parse_version("etcd Version: 3.4.23\nGit SHA: x\n").unwrap();
        assert_eq!(version, "3.4.23".parse().unwrap());
        assert!(parse_version("GNU coreutils 9.1").is_none());
        assert!(parse_version("").is_none());
    }

    #[tokio::test]
    async fn where_there_is_none_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let error = EtcdBinary::locate(Some(dir.path()), None).await.unwrap_err();
        assert!(error.to_string().contains(&dir.path().display().to_string()), "{error}");
        let path = Some(OsStr::new("relative:"));
        let error = EtcdBinary::locate(None, path).await.unwrap_err();
        assert!(matches!(error, Error::BinaryMissing { .. }), "{error}");
    }
}
