//! Makes a configuration usable: connections, repository, keys. Files are read when they are
//! needed, so that rotated certificates, credentials and keys are followed.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use etcdr_node::ConnectOptions;
use etcdr_repository::{
    Identities, Location, PublicKey, Recipients, Repository, SealOptions, SigningKey, Spool,
    StoreOptions,
};
use etcdr_schemas::config::{Config, Problem, ScheduleConfig};

use crate::Error;

/// Upper bound of a file with a password, credentials or a URL.
const MAX_SECRET: u64 = 64 << 10;

/// A configuration and the environment it is used in.
#[derive(Clone)]
pub struct Settings {
    /// The file.
    pub config: Config,
    /// `AWS_*`, `GOOGLE_*` and `AZURE_*` variables of the environment.
    pub variables: BTreeMap<String, String>,
}

impl Settings {
    /// Checks that URL and endpoint can be used, without asking anybody. What only an agent needs
    /// is checked by its crate.
    ///
    /// # Errors
    /// Every value that cannot be used, with the path of its key.
    pub fn new(config: Config, variables: BTreeMap<String, String>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        if let Err(error) = config.repository.url.parse::<Location>() {
            problems.push(Problem::new("repository.url", error.to_string()));
        }
        let settings = Self { config, variables };
        if let Err(error) = settings.at(&settings.config.etcd.endpoint, None).check() {
            problems.push(Problem::new("etcd.endpoint", error.to_string()));
        }
        if problems.is_empty() { Ok(settings) } else { Err(problems) }
    }

    /// How the member beside this agent is reached.
    ///
    /// # Errors
    /// [`Error::Local`] when the password file cannot be read.
    pub fn own_member(&self) -> Result<ConnectOptions, Error> {
        let file = self.config.etcd.password_file.as_deref();
        let password = file.map(|file| first_line(Path::new(file))).transpose()?;
        Ok(self.at(&self.config.etcd.endpoint, password))
    }

    fn at(&self, endpoint: &str, password: Option<String>) -> ConnectOptions {
        let etcd = &self.config.etcd;
        let mut options = ConnectOptions::new(endpoint);
        options.cacert = etcd.cacert.as_ref().map(PathBuf::from);
        options.cert = etcd.cert.as_ref().map(PathBuf::from);
        options.key = etcd.key.as_ref().map(PathBuf::from);
        options.user.clone_from(&etcd.user);
        options.password = password;
        options.dial_timeout = etcd.dial_timeout.0;
        options.command_timeout = etcd.command_timeout.0;
        options
    }

    /// How the store is reached. The credentials file comes before the environment.
    ///
    /// # Errors
    /// [`Error::Local`] when the credentials file cannot be read.
    pub fn store_options(&self) -> Result<StoreOptions, Error> {
        let repository = &self.config.repository;
        let mut variables = self.variables.clone();
        if let Some(file) = &repository.credentials_file {
            variables.extend(assignments(&read(Path::new(file))?));
        }
        let mut options = StoreOptions::from_variables(variables);
        if let Some(file) = &repository.cacert {
            options.ca_bundle = Some(PathBuf::from(file));
        }
        options.request_timeout = repository.request_timeout.0;
        options.retries = usize::try_from(repository.retries).unwrap_or(usize::MAX);
        Ok(options)
    }

    /// Where the repository is.
    ///
    /// # Errors
    /// That of a URL that cannot be used.
    pub fn location(&self) -> Result<Location, Error> {
        Ok(self.config.repository.url.parse()?)
    }

    /// Opens the repository again, with the credentials that are valid now.
    ///
    /// # Errors
    /// Those of opening it.
    pub async fn open(&self) -> Result<Repository, Error> {
        let repository = Repository::open(&self.location()?, &self.store_options()?).await?;
        Ok(match &self.config.repository.public_key {
            Some(file) => repository.with_public_key(PublicKey::read(Path::new(file))?),
            None => repository,
        })
    }

    /// How images are packed: to the recipients of the configuration, else to those of the
    /// repository.
    ///
    /// # Errors
    /// Those of recipients that cannot be used.
    pub fn seal(&self, repository: &Repository) -> Result<SealOptions, Error> {
        let config = &self.config.repository;
        let recipients = match config.recipients.as_slice() {
            [] => repository.default_recipients()?,
            texts => Some(Recipients::parse_or_read(texts)?),
        };
        let spool = self.config.capture.spool.as_ref().map(|spool| Spool {
            directory: PathBuf::from(&spool.directory),
            max_size: spool.max_size.0,
        });
        let options = SealOptions::new(recipients);
        Ok(SealOptions { level: config.compression_level, spool, ..options })
    }

    /// The key that signs manifests, where there is one.
    ///
    /// # Errors
    /// That of a file that is no such key.
    pub fn signing_key(&self) -> Result<Option<SigningKey>, Error> {
        let file = self.config.repository.signing_key.as_deref();
        Ok(file.map(|file| SigningKey::read(Path::new(file))).transpose()?)
    }

    /// Identities that decrypt, where there are any.
    ///
    /// # Errors
    /// That of a file that is no identity.
    pub fn identities(&self) -> Result<Identities, Error> {
        Ok(Identities::read(&self.config.restore.identities)?)
    }

    /// The URL of the dead man's switch.
    ///
    /// # Errors
    /// [`Error::Local`] when its file cannot be read.
    pub fn heartbeat(&self) -> Result<Option<String>, Error> {
        let watch = &self.config.watch;
        match &watch.heartbeat_url_file {
            Some(file) => first_line(Path::new(file)).map(Some),
            None => Ok(watch.heartbeat_url.clone()),
        }
    }

    /// A schedule by its name.
    #[must_use]
    pub fn schedule(&self, name: &str) -> Option<&ScheduleConfig> {
        self.config.schedules.iter().find(|schedule| schedule.name == name)
    }
}

/// `NAME=value` lines; `export` before a name and quotes around a value are taken as a shell would.
fn assignments(text: &str) -> impl Iterator<Item = (String, String)> {
    text.lines().filter_map(|line| {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = line.split_once('=').filter(|_| !line.starts_with('#'))?;
        let value = value.trim();
        let bare = ['"', '\''].iter().find_map(|quote| {
            value.strip_prefix(*quote).and_then(|rest| rest.strip_suffix(*quote))
        });
        Some((name.trim().to_owned(), bare.unwrap_or(value).to_owned()))
    })
}

fn first_line(path: &Path) -> Result<String, Error> {
    Ok(read(path)?.lines().next().unwrap_or_default().trim_end().to_owned())
}

fn read(path: &Path) -> Result<String, Error> {
    let fail = |source| Error::Local { what: format!("cannot read {}", path.display()), source };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(fail)?;
    file.take(MAX_SECRET).read_to_string(&mut text).map_err(fail)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_as_a_shell_would() {
        let text = "# comment\nexport AWS_ACCESS_KEY_ID=AK\n\
                    AWS_SECRET_ACCESS_KEY='s=e c'\n\nX=\"y\"\nnothing\n";
        let all: Vec<_> = assignments(text).collect();
        let pairs = [("AWS_ACCESS_KEY_ID", "AK"), ("AWS_SECRET_ACCESS_KEY", "s=e c"), ("X", "y")];
        assert_eq!(all, pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn every_value_that_cannot_be_used_is_named() {
        let mut config = Config::default();
        config.repository.url = "ftp://x".to_owned();
        config.etcd.endpoint = "carrier pigeon".to_owned();
        let problems = Settings::new(config, BTreeMap::new()).err().unwrap();
        let paths: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, ["repository.url", "etcd.endpoint"]);
    }
}
