//! Tries everything that a configuration names, before it is needed in an incident: etcd, the
//! store, keys, clocks, and what a restore will need.

use std::path::Path;

use chrono::{DateTime, Utc};
use etcdr_node::{Client, Metrics, Status};
use etcdr_repository::{PublicKey, Recipients, Repository, Slot};
use etcdr_schemas::Diagnose;
use etcdr_schemas::claim::{ClaimRecord, ClaimStage};
use etcdr_schemas::report::{Checked, ConfigCheck};
use tokio::time::Instant;

use crate::settings::Settings;
use crate::{Clock, Error, capture};

/// Seconds between two clocks beyond which there is a warning.
const MAX_SKEW: i64 = 60;
/// The schedule under which the store is tried; no user's can be named so.
const PROBE_SCHEDULE: &str = "_check";

/// Tries everything. `instance` is random text of this run, for the probe in the store.
pub async fn examine(settings: &Settings, instance: &str, clock: &Clock) -> Vec<ConfigCheck> {
    let mut run = Run { settings, checks: Vec::new() };
    run.etcd().await;
    let repository = run.store(instance, clock).await;
    run.keys(repository.as_ref());
    run.restore(repository.as_ref()).await;
    run.spool();
    run.heartbeat();
    run.checks
}

struct Run<'a> {
    settings: &'a Settings,
    checks: Vec<ConfigCheck>,
}

impl Run<'_> {
    fn note(&mut self, name: &str, result: Checked, detail: impl Into<String>, next: Option<&str>) {
        self.checks.push(ConfigCheck {
            name: name.to_owned(),
            result,
            detail: detail.into(),
            next: next.map(str::to_owned),
        });
    }

    fn passed(&mut self, name: &str, detail: impl Into<String>) {
        self.note(name, Checked::Passed, detail, None);
    }

    fn skipped(&mut self, name: &str, detail: &str) {
        self.note(name, Checked::Skipped, detail, None);
    }

    fn failed(&mut self, name: &str, error: &(impl Diagnose + ?Sized)) {
        self.note(name, Checked::Failed, error.to_string(), Some(&error.diagnosis().next));
    }

    async fn etcd(&mut self) {
        let connected = async {
            let options = self.settings.own_member()?;
            let client = Client::connect(&options).await?;
            let status = client.status().await?;
            Ok::<_, Error>((client, status))
        };
        let (client, status) = match connected.await {
            Ok(connected) => connected,
            Err(error) => {
                self.failed("etcd.connect", &error);
                for name in ["etcd.members", "etcd.alarms", "etcd.rights", "etcd.metrics"] {
                    self.skipped(name, "etcd cannot be reached");
                }
                return;
            }
        };
        let role = if status.is_leader() { "leader" } else { "follower" };
        let detail = format!(
            "etcd {} at {}, member {} ({role}), revision {}",
            status.version,
            client.endpoint(),
            status.member_id,
            status.revision
        );
        self.passed("etcd.connect", detail);
        self.members(&client, &status).await;
        match client.alarms().await {
            Ok(alarms) if alarms.is_empty() => self.passed("etcd.alarms", "none is raised"),
            Ok(alarms) => {
                let raised: Vec<_> = alarms
                    .iter()
                    .map(|alarm| format!("{} on {}", alarm.kind, alarm.member_id))
                    .collect();
                let next = "Look at the cluster before you trust its snapshots.";
                self.note("etcd.alarms", Checked::Warning, raised.join(", "), Some(next));
            }
            Err(error) => self.failed("etcd.alarms", &error),
        }
        self.rights(&client).await;
        self.metrics().await;
    }

    /// Without them the capture gives way to etcd by the time of a read, and the quota must be
    /// configured.
    async fn metrics(&mut self) {
        let Ok(own) = self.settings.own_member() else { return };
        let url = self.settings.config.etcd.metrics_url.as_deref();
        match Metrics::read(&own, url).await {
            Ok(_) => self.passed("etcd.metrics", "WAL fsync times and the quota can be read"),
            Err(error) => {
                let next =
                    "Set etcd.metrics_url (--listen-metrics-urls of etcd), or maintenance.quota.";
                self.note("etcd.metrics", Checked::Warning, error.to_string(), Some(next));
            }
        }
    }

    async fn members(&mut self, client: &Client, status: &Status) {
        let linearizable = status.leader.is_some() && client.current_revision().await.is_ok();
        if !linearizable {
            let next =
                "Snapshots are taken all the same, and marked suspect; see why there is no leader.";
            self.note("etcd.quorum", Checked::Warning, "the cluster has no quorum", Some(next));
        }
        let members = match client.member_list(linearizable).await {
            Ok(members) => members,
            Err(error) => return self.failed("etcd.members", &error),
        };
        let own = self.settings.own_member();
        let mut silent = Vec::new();
        for member in members.iter().filter(|member| member.id != status.member_id) {
            let reached = match &own {
                Ok(own) => capture::reach(member, own).await.map(drop),
                Err(error) => Err(error.to_string()),
            };
            if let Err(reason) = reached {
                silent.push(format!("{} ({}): {reason}", member.name, member.id));
            }
        }
        if silent.is_empty() {
            self.passed("etcd.members", format!("{} member(s), all answer", members.len()));
        } else {
            let next = "Members are compared before a snapshot is trusted. Open the way from this \
                agent to the client URLs of all members, with the same certificates.";
            let detail = format!("of {} members, silent: {}", members.len(), silent.join("; "));
            self.note("etcd.members", Checked::Warning, detail, Some(next));
        }
    }

    /// HashKV and the snapshot need the root role where auth is enabled; nothing is read beyond the
    /// first bytes.
    async fn rights(&mut self, client: &Client) {
        if let Err(error) = client.hash_kv(None).await {
            return self.failed("etcd.rights", &error);
        }
        match client.snapshot(self.settings.config.etcd.stall_timeout.0).await {
            Ok(stream) => {
                let detail = format!("HashKV and snapshot are granted; {} bytes", stream.total());
                self.passed("etcd.rights", detail);
            }
            Err(error) => self.failed("etcd.rights", &error),
        }
    }

    async fn store(&mut self, instance: &str, clock: &Clock) -> Option<Repository> {
        let began = Instant::now();
        let repository = match self.settings.open().await {
            Ok(repository) => repository,
            Err(error) => {
                self.failed("store.open", &error);
                for name in ["store.list", "store.create", "clock.skew"] {
                    self.skipped(name, "the repository cannot be opened");
                }
                return None;
            }
        };
        let took = began.elapsed().as_millis();
        self.passed("store.open", format!("{} answered in {took} ms", repository.location()));
        match repository.list(&self.settings.config.cluster).await {
            Ok(listing) => {
                let newest = listing.ids.first().map_or("none".to_owned(), ToString::to_string);
                let count = listing.ids.len();
                self.passed("store.list", format!("{count} snapshot(s), the newest: {newest}"));
            }
            Err(error) => self.failed("store.list", &error),
        }
        self.create(&repository, instance, clock()).await;
        Some(repository)
    }

    /// Whether the store writes an object only where there is none: claims and manifests rest on
    /// it.
    async fn create(&mut self, repository: &Repository, instance: &str, now: DateTime<Utc>) {
        let slot = Slot {
            cluster: self.settings.config.cluster.clone(),
            schedule: PROBE_SCHEDULE.to_owned(),
            tick: now,
        };
        let record = |instance: &str| ClaimRecord {
            instance: instance.to_owned(),
            agent: "config check".to_owned(),
            member: None,
            written_at: now,
            stage: ClaimStage::Done { ids: Vec::new() },
        };
        let tried = async {
            let newest = repository.newest_claim(&slot).await?;
            let number = newest.map_or(0, |claim| claim.number + 1);
            let first = repository.write_claim(&slot, number, &record(instance)).await?;
            let second = repository.write_claim(&slot, number, &record("another")).await?;
            let written = repository.newest_claim(&slot).await?;
            Ok::<_, etcdr_repository::Error>((first, second, written))
        };
        match tried.await {
            Ok((true, false, Some(claim))) if claim.record.instance == instance => {
                self.passed("store.create", "an object is written only where there is none");
                let skew = (now - claim.stored_at).num_seconds();
                if skew.abs() > MAX_SKEW {
                    let detail = format!("this machine's clock is {skew} s from the store's");
                    let next = "Mend the clock: schedules and ages of snapshots are told by it.";
                    self.note("clock.skew", Checked::Warning, detail, Some(next));
                } else {
                    self.passed("clock.skew", "this machine's clock and the store's agree");
                }
            }
            Ok(_) => {
                let next = "Use a store that honours If-None-Match on writes; on this one, two \
                    agents may take the same snapshot, and one may overwrite what another wrote.";
                let detail = "the store wrote an object where there was one already";
                self.note("store.create", Checked::Failed, detail, Some(next));
                self.skipped("clock.skew", "nothing was written");
            }
            Err(error) => {
                self.failed("store.create", &error);
                self.skipped("clock.skew", "nothing was written");
            }
        }
    }

    fn keys(&mut self, repository: Option<&Repository>) {
        match repository.map(|repository| self.settings.seal(repository)) {
            None => self.skipped("keys.recipients", "the repository cannot be opened"),
            Some(Err(error)) => self.failed("keys.recipients", &error),
            Some(Ok(seal)) => match &seal.recipients {
                Some(recipients) => {
                    let detail =
                        format!("images are encrypted to {}", recipients.texts().join(", "));
                    self.passed("keys.recipients", detail);
                }
                None => {
                    let next = "Whoever can read the store can read every Secret of the cluster. \
                        Make a repository with --recipient.";
                    self.note(
                        "keys.recipients",
                        Checked::Warning,
                        "images are not encrypted",
                        Some(next),
                    );
                }
            },
        }
        match (self.settings.signing_key(), &self.settings.config.repository.public_key) {
            (Err(error), _) => self.failed("keys.signing", &error),
            (Ok(None), _) => self.skipped("keys.signing", "manifests are not signed"),
            (Ok(Some(_)), None) => self.passed("keys.signing", "manifests are signed"),
            (Ok(Some(key)), Some(public)) => {
                let tried = PublicKey::read(Path::new(public))
                    .and_then(|public| key.check_matches(&public));
                match tried {
                    Ok(()) => self.passed("keys.signing", "the public key fits the signing key"),
                    Err(error) => self.failed("keys.signing", &error),
                }
            }
        }
    }

    async fn restore(&mut self, repository: Option<&Repository>) {
        let identities = match self.settings.identities() {
            Ok(identities) if identities.is_empty() => {
                let detail = "no identity is configured here, which is right for an agent";
                return self.skipped("restore.identity", detail);
            }
            Ok(identities) => identities,
            Err(error) => return self.failed("restore.identity", &error),
        };
        let Some(repository) = repository else {
            return self.skipped("restore.identity", "the repository cannot be opened");
        };
        let recipients: Option<Recipients> =
            self.settings.seal(repository).ok().and_then(|seal| seal.recipients);
        let tried = recipients.map_or(Ok(()), |recipients| identities.check_can_open(&recipients));
        match tried {
            Ok(()) => self.passed("restore.identity", "the identity opens what is encrypted now"),
            Err(error) => return self.failed("restore.identity", &error),
        }
        self.newest(repository, &identities).await;
    }

    /// The header of the newest image is opened: the key that is here is the one that a restore
    /// needs.
    async fn newest(&mut self, repository: &Repository, identities: &etcdr_repository::Identities) {
        let cluster = &self.settings.config.cluster;
        let opened = async {
            let listing = repository.list(cluster).await?;
            let Some(id) = listing.ids.first() else { return Ok(None) };
            let manifest = repository.manifest(cluster, id).await?.manifest;
            repository.open_image(&manifest.image, identities).await?;
            Ok::<_, etcdr_repository::Error>(Some(*id))
        };
        match opened.await {
            Ok(Some(id)) => self.passed("restore.newest", format!("{id} opens")),
            Ok(None) => self.skipped("restore.newest", "there is no snapshot yet"),
            Err(error) => self.failed("restore.newest", &error),
        }
    }

    fn spool(&mut self) {
        let Some(spool) = &self.settings.config.capture.spool else { return };
        if Path::new(&spool.directory).is_dir() {
            self.passed("spool.directory", format!("{} is there", spool.directory));
        } else {
            let detail = format!("{} is no directory", spool.directory);
            let next = "Make it, for the agent's user alone and not on etcd's disk; without it, \
                captures wait for the store.";
            self.note("spool.directory", Checked::Warning, detail, Some(next));
        }
    }

    fn heartbeat(&mut self) {
        match self.settings.heartbeat() {
            Ok(Some(_)) => {
                self.passed("watch.heartbeat", "a URL is configured; it is not asked now");
            }
            Ok(None) => self.skipped("watch.heartbeat", "no dead man's switch is configured"),
            Err(error) => self.failed("watch.heartbeat", &error),
        }
    }
}
