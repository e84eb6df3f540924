//! Real etcd members on this machine, for drills, demos and tests.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use crate::client::Client;
use crate::error::Error;
use crate::locate::EtcdBinary;
use crate::options::ConnectOptions;
use crate::ports;
use crate::process::Process;

/// One member to run.
#[derive(Debug, Clone)]
pub struct MemberSpec {
    /// Its name; for an existing data directory, the name that the directory was made for.
    pub name: String,
    /// Its data directory: an existing one, or a path where etcd makes one.
    pub data_dir: PathBuf,
    /// Where its WAL is, when not in the data directory.
    pub wal_dir: Option<PathBuf>,
    /// Where clients reach it; a free loopback port when absent.
    pub client_url: Option<String>,
    /// Where its peers reach it; a free loopback port when absent. Members that were restored to
    /// form one cluster need the URLs that the restore wrote.
    pub peer_url: Option<String>,
}

impl MemberSpec {
    /// A member on free ports.
    pub fn new(name: impl Into<String>, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            data_dir: data_dir.into(),
            wal_dir: None,
            client_url: None,
            peer_url: None,
        }
    }
}

/// Certificates for the client port of the members.
#[derive(Debug, Clone)]
pub struct ServerTls {
    /// PEM certificate of the server.
    pub cert: PathBuf,
    /// PEM key of the server.
    pub key: PathBuf,
    /// PEM bundle of the authorities of clients; with it, clients must show a certificate.
    pub client_ca: Option<PathBuf>,
}

/// How to run members.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// How long a cluster may take until it serves.
    pub ready_timeout: Duration,
    /// How long a member may take to end when asked to.
    pub stop_grace: Duration,
    /// Token for data directories that etcd makes.
    pub token: String,
    /// TLS on the client ports.
    pub tls: Option<ServerTls>,
    /// How to connect, whatever the endpoint: TLS files, user, time limits.
    pub connect: ConnectOptions,
    /// Further flags for every member.
    pub extra_args: Vec<String>,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            ready_timeout: Duration::from_secs(60),
            stop_grace: Duration::from_secs(10),
            token: "etcdr-local".into(),
            tls: None,
            connect: ConnectOptions::new(String::new()),
            extra_args: Vec::new(),
        }
    }
}

/// etcd's advice for the largest database; its default of 2 GiB would raise an alarm over larger
/// ones.
const QUOTA_BYTES: u64 = 8 << 30;
const PORT_ATTEMPTS: u32 = 5;
const POLL: Duration = Duration::from_millis(100);

/// Running members. Dropping it kills them.
#[derive(Debug)]
pub struct LocalCluster {
    binary: EtcdBinary,
    options: ClusterOptions,
    members: Vec<RunningMember>,
}

#[derive(Debug)]
struct RunningMember {
    name: String,
    client_url: String,
    args: Vec<String>,
    process: Option<Process>,
}

impl LocalCluster {
    /// Starts the members and waits until each serves: it knows a leader, and a read that needs the
    /// agreement of the cluster succeeds, or is refused for want of a user.
    ///
    /// When a port is taken between being chosen and being used, a single member is tried again on
    /// others. Several are not: their data directories may already name the first ones.
    ///
    /// # Errors
    /// [`Error::Died`] and [`Error::NotReady`] with the end of the member's log,
    /// [`Error::PortTaken`], [`Error::Run`], [`Error::System`]; [`Error::Config`] without members.
    pub async fn start(
        binary: &EtcdBinary,
        specs: &[MemberSpec],
        options: &ClusterOptions,
    ) -> Result<Self, Error> {
        if specs.is_empty() {
            return Err(Error::Config { what: "a cluster needs a member".into() });
        }
        let attempts = if specs.len() == 1 { PORT_ATTEMPTS } else { 1 };
        let mut attempt = 1;
        loop {
            match Self::start_once(binary, specs, options).await {
                Err(Error::PortTaken { .. }) if attempt < attempts => attempt += 1,
                other => return other,
            }
        }
    }

    async fn start_once(
        binary: &EtcdBinary,
        specs: &[MemberSpec],
        options: &ClusterOptions,
    ) -> Result<Self, Error> {
        let members = plan_members(specs, options)?;
        let mut cluster = Self { binary: binary.clone(), options: options.clone(), members };
        for index in 0..cluster.members.len() {
            cluster.spawn(index)?;
        }
        for index in 0..cluster.members.len() {
            cluster.wait_ready(index).await?;
        }
        Ok(cluster)
    }

    /// Client URLs of the members, in the order they were given.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| member.client_url.clone()).collect()
    }

    /// Process ids of the members that run.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.members.iter().filter_map(|member| member.process.as_ref()?.id()).collect()
    }

    /// The last lines of a member's log.
    #[must_use]
    pub fn log(&self, index: usize) -> String {
        let process = self.members.get(index).and_then(|member| member.process.as_ref());
        process.map(Process::last_lines).unwrap_or_default()
    }

    /// How to connect to a member.
    ///
    /// # Errors
    /// [`Error::Config`] when there is no such member.
    pub fn connect_options(&self, index: usize) -> Result<ConnectOptions, Error> {
        let member = self.members.get(index).ok_or_else(|| no_member(index))?;
        Ok(self.options.connect.at(&member.client_url))
    }

    /// Connects to a member.
    ///
    /// # Errors
    /// Those of [`Client::connect`].
    pub async fn client(&self, index: usize) -> Result<Client, Error> {
        Client::connect(&self.connect_options(index)?).await
    }

    /// Stops one member and keeps its place.
    ///
    /// # Errors
    /// [`Error::System`]; [`Error::Config`] when there is no such member.
    pub async fn stop_member(&mut self, index: usize) -> Result<(), Error> {
        let grace = self.options.stop_grace;
        let member = self.members.get_mut(index).ok_or_else(|| no_member(index))?;
        match member.process.take() {
            Some(mut process) => process.stop(grace).await,
            None => Ok(()),
        }
    }

    /// Kills one member as a power failure would, and keeps its place.
    ///
    /// # Errors
    /// [`Error::System`]; [`Error::Config`] when there is no such member.
    pub async fn kill_member(&mut self, index: usize) -> Result<(), Error> {
        let member = self.members.get_mut(index).ok_or_else(|| no_member(index))?;
        match member.process.take() {
            Some(mut process) => process.kill().await,
            None => Ok(()),
        }
    }

    /// Starts a stopped member again, on the same ports, and waits until it serves.
    ///
    /// # Errors
    /// Those of [`LocalCluster::start`].
    pub async fn start_member(&mut self, index: usize) -> Result<(), Error> {
        self.spawn(index)?;
        self.wait_ready(index).await
    }

    /// Stops all members; those that do not end in time are killed.
    ///
    /// # Errors
    /// [`Error::System`].
    pub async fn stop(mut self) -> Result<(), Error> {
        for index in 0..self.members.len() {
            self.stop_member(index).await?;
        }
        Ok(())
    }

    fn spawn(&mut self, index: usize) -> Result<(), Error> {
        let member = self.members.get_mut(index).ok_or_else(|| no_member(index))?;
        if member.process.is_none() {
            member.process = Some(Process::spawn(self.binary.path(), &member.args)?);
        }
        Ok(())
    }

    async fn wait_ready(&mut self, index: usize) -> Result<(), Error> {
        let options = self.connect_options(index)?;
        let limit = self.options.ready_timeout;
        let deadline = Instant::now() + limit;
        let member = self.members.get_mut(index).ok_or_else(|| no_member(index))?;
        loop {
            member.check_alive().await?;
            let Err(reason) = serves(&options).await else { return Ok(()) };
            if Instant::now() >= deadline {
                return Err(Error::NotReady {
                    member: member.name.clone(),
                    after: limit,
                    reason: reason.to_string(),
                    log: member.log(),
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

impl RunningMember {
    fn log(&self) -> String {
        self.process.as_ref().map(Process::last_lines).unwrap_or_default()
    }

    async fn check_alive(&mut self) -> Result<(), Error> {
        let Some(status) = self.process.as_mut().and_then(Process::ended) else { return Ok(()) };
        // Its last words may still be in the pipe.
        tokio::time::sleep(POLL).await;
        let (member, log) = (self.name.clone(), self.log());
        self.process = None;
        if log.contains("address already in use") {
            return Err(Error::PortTaken { member });
        }
        Err(Error::Died { member, status: status.to_string(), log })
    }
}

/// Whether a member serves. One that demands a user serves those who are one.
async fn serves(options: &ConnectOptions) -> Result<(), Error> {
    let attempt = async {
        let client = Client::connect(options).await?;
        client.current_revision().await
    };
    match attempt.await {
        Err(error) if !error.is_about_identity() => Err(error),
        _ => Ok(()),
    }
}

/// Chooses the URLs that were not given, and writes the command lines.
fn plan_members(
    specs: &[MemberSpec],
    options: &ClusterOptions,
) -> Result<Vec<RunningMember>, Error> {
    let mut free = ports::free_urls(specs.len() * 2)?.into_iter();
    let scheme = if options.tls.is_some() { "https://" } else { "http://" };
    let mut next = |given: &Option<String>, scheme: &str| {
        let free = free.next().unwrap_or_default().replace("http://", scheme);
        given.clone().unwrap_or(free)
    };
    let urls: Vec<(String, String)> = specs
        .iter()
        .map(|spec| (next(&spec.client_url, scheme), next(&spec.peer_url, "http://")))
        .collect();
    let names = specs.iter().zip(&urls);
    let initial: Vec<String> =
        names.map(|(spec, (_, peer))| format!("{}={peer}", spec.name)).collect();
    let initial = initial.join(",");
    let run = |(spec, (client_url, peer)): (&MemberSpec, (String, String))| RunningMember {
        name: spec.name.clone(),
        args: arguments(spec, options, &client_url, &peer, &initial),
        client_url,
        process: None,
    };
    Ok(specs.iter().zip(urls).map(run).collect())
}

/// Flags that every etcd from 3.4 to 3.7 knows.
fn arguments(
    spec: &MemberSpec,
    options: &ClusterOptions,
    client_url: &str,
    peer_url: &str,
    initial_cluster: &str,
) -> Vec<String> {
    let mut args = vec![
        format!("--name={}", spec.name),
        format!("--data-dir={}", spec.data_dir.display()),
        format!("--listen-client-urls={client_url}"),
        format!("--advertise-client-urls={client_url}"),
        format!("--listen-peer-urls={peer_url}"),
        format!("--initial-advertise-peer-urls={peer_url}"),
        format!("--initial-cluster={initial_cluster}"),
        format!("--initial-cluster-token={}", options.token),
        "--initial-cluster-state=new".to_owned(),
        format!("--quota-backend-bytes={QUOTA_BYTES}"),
        "--logger=zap".to_owned(),
        "--log-outputs=stderr".to_owned(),
    ];
    args.extend(spec.wal_dir.iter().map(|dir| format!("--wal-dir={}", dir.display())));
    if let Some(tls) = &options.tls {
        args.push(format!("--cert-file={}", tls.cert.display()));
        args.push(format!("--key-file={}", tls.key.display()));
        if let Some(ca) = &tls.client_ca {
            args.push(format!("--trusted-ca-file={}", ca.display()));
            args.push("--client-cert-auth=true".to_owned());
        }
    }
    args.extend(options.extra_args.iter().cloned());
    args
}

fn no_member(index: usize) -> Error {
    Error::Config { what: format!("the local cluster has no member number {index}") }
}
