//! Asks all members of a cluster for their status, and connects to single ones.

use etcdr_node::{Client, ConnectOptions, Error as NodeError, Metrics, Status};
use etcdr_schemas::MemberId;
use etcdr_schemas::manifest::{Alarm, Member};
use futures_util::future::join_all;

use crate::event::{MemberSeen, MemberState};
use etcdr_operations::capture;

/// Most members that are asked; etcd advises against more than seven.
const MAX_MEMBERS: usize = 32;

/// The members of a cluster, as the one beside us knows them.
#[derive(Debug, Clone)]
pub struct Members {
    options: ConnectOptions,
    metrics_url: Option<String>,
}

impl Members {
    /// Through the member that these options lead to.
    #[must_use]
    pub const fn through(options: ConnectOptions) -> Self {
        Self { options, metrics_url: None }
    }

    /// Where the metrics of the member beside us are, when not at `/metrics` of its endpoint.
    #[must_use]
    pub fn with_metrics(self, url: Option<String>) -> Self {
        Self { metrics_url: url, ..self }
    }

    /// Asks every member how it is, at the client URLs that it advertises, and our own at its
    /// endpoint.
    ///
    /// # Errors
    /// Those of asking our own member; what others do is in their state.
    pub async fn probe(&self) -> Result<(Vec<MemberSeen>, Vec<Alarm>), NodeError> {
        let client = Client::connect(&self.options).await?;
        let own = client.status().await?;
        let alarms = client.alarms().await?;
        let members = client.member_list(own.leader.is_some()).await?;
        let asked = members.into_iter().take(MAX_MEMBERS).map(|member| self.ask(member, &own));
        Ok((join_all(asked).await, alarms))
    }

    async fn ask(&self, member: Member, own: &Status) -> MemberSeen {
        let is_own = member.id == own.member_id;
        let state = match is_own {
            true => Ok(state(own.clone())),
            false => self.status_of(&member).await.map(state),
        };
        MemberSeen {
            id: member.id,
            name: member.name,
            own: is_own,
            client_urls: member.client_urls,
            state,
        }
    }

    /// Asks members that were seen before, without the one beside us, which is silent for the
    /// reason that is given.
    pub async fn probe_others(&self, before: Vec<MemberSeen>, silence: &str) -> Vec<MemberSeen> {
        let asked = before.into_iter().take(MAX_MEMBERS).map(|before| async move {
            if before.own {
                return MemberSeen { state: Err(silence.to_owned()), ..before };
            }
            let member = Member {
                id: before.id,
                name: before.name.clone(),
                peer_urls: Vec::new(),
                client_urls: before.client_urls.clone(),
                learner: false,
            };
            let state = self.status_of(&member).await.map(state);
            MemberSeen { state, ..before }
        });
        join_all(asked).await
    }

    async fn status_of(&self, member: &Member) -> Result<Status, String> {
        let client = self.connect(member).await?;
        let status = client.status().await.map_err(|error| error.to_string())?;
        match status.member_id == member.id {
            true => Ok(status),
            false => Err(format!("{} is member {}", client.endpoint(), status.member_id)),
        }
    }

    async fn connect(&self, member: &Member) -> Result<Client, String> {
        capture::reach(member, &self.options).await.map(|(client, _)| client)
    }

    /// A connection to one member.
    ///
    /// # Errors
    /// Why there is none, as a sentence.
    pub async fn reach(&self, member: MemberId) -> Result<Client, String> {
        self.find(member).await.map(|(client, _, _)| client)
    }

    /// How many snapshots a member streams now, to any client; `None`, and a line for `debug`, when
    /// its metrics cannot be read or do not say.
    pub async fn snapshot_streams(&self, member: MemberId) -> Option<u64> {
        let asked = async {
            let (_, options, url) = self.find(member).await?;
            let metrics = Metrics::read(&options, url).await.map_err(|error| error.to_string())?;
            metrics.snapshot_streams.ok_or_else(|| "they do not count calls".to_owned())
        };
        match asked.await {
            Ok(count) => Some(count),
            Err(reason) => {
                tracing::debug!(
                    %member,
                    reason,
                    "its metrics do not say whether it streams a snapshot"
                );
                None
            }
        }
    }

    /// A connection to one member, how it was made, and where its metrics are when not at its
    /// endpoint.
    async fn find(
        &self,
        member: MemberId,
    ) -> Result<(Client, ConnectOptions, Option<&str>), String> {
        let text = |error: NodeError| error.to_string();
        let client = Client::connect(&self.options).await.map_err(text)?;
        if client.status().await.map_err(text)?.member_id == member {
            return Ok((client, self.options.clone(), self.metrics_url.as_deref()));
        }
        let members = client.member_list(true).await.map_err(text)?;
        match members.iter().find(|one| one.id == member) {
            Some(member) => {
                let (client, options) = capture::reach(member, &self.options).await?;
                Ok((client, options, None))
            }
            None => Err("it is no longer a member".to_owned()),
        }
    }
}

fn state(status: Status) -> MemberState {
    MemberState {
        leader: status.is_leader(),
        version: status.version,
        learner: status.learner,
        db_size: status.db_size,
        db_size_in_use: status.db_size_in_use,
        revision: status.revision,
        errors: status.errors,
    }
}
