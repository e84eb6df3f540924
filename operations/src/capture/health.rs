//! Asks what must be known of the cluster before a capture: members, alarms, the linearizable
//! revision, and HashKV.

use std::time::Duration;

use etcdr_node::{Client, ConnectOptions, Error as NodeError};
use etcdr_schemas::manifest::{Alarm, Member};
use etcdr_schemas::{MemberId, Revision};
use futures_util::future::join_all;

use super::agreement::{self, Answer, MemberHash, Verdict};
use super::source::Source;
use crate::Error;

/// Longest wait for a member other than the source: one that is down must not hold up the backup.
const PEER_DIAL_TIMEOUT: Duration = Duration::from_secs(3);

/// Most URLs of one member that are tried.
const MAX_URLS: usize = 8;

/// What is known of the cluster before the capture.
pub(crate) struct Health {
    pub(crate) members: Vec<Member>,
    pub(crate) alarms: Vec<Alarm>,
    /// The linearizable revision, or the source's own where there is no quorum.
    pub(crate) revision: Revision,
    pub(crate) quorum: bool,
    pub(crate) warnings: Vec<String>,
}

/// Asks for members, alarms and the linearizable revision. A cluster without quorum is saved, too:
/// that may be the last chance.
///
/// The linearizable read is served by the source itself, after it has applied everything up to it:
/// the snapshot that is opened next holds at least this revision.
pub(crate) async fn examine(source: &Source) -> Result<Health, Error> {
    let mut warnings: Vec<String> =
        source.status.errors.iter().map(|error| format!("etcd reports: {error}")).collect();
    let linearizable = match source.status.leader {
        Some(_) => source.client.current_revision().await.ok(),
        None => None,
    };
    let members = source.client.member_list(linearizable.is_some()).await?;
    let alarms = source.client.alarms().await?;
    for alarm in &alarms {
        warnings.push(format!("member {} has alarm {}", alarm.member_id, alarm.kind));
    }
    Ok(Health {
        members,
        alarms,
        revision: linearizable.unwrap_or(source.status.revision),
        quorum: linearizable.is_some(),
        warnings,
    })
}

/// HashKV of all members at the revision of `health`.
pub(crate) async fn agreement_of(source: &Source, health: &Health) -> Verdict {
    let own = source.status.member_id;
    let others = health.members.iter().filter(|member| member.id != own);
    let (mut answers, mine) = tokio::join!(
        join_all(others.map(|member| ask_peer(member, &source.options, health.revision))),
        ask(&source.client, own, health.revision)
    );
    answers.push(mine);
    answers.sort_by_key(|answer| answer.member);
    agreement::weigh(health.revision, own, &answers)
}

/// Connects to a member by one of its client URLs.
///
/// # Errors
/// The error of the last URL, or that there is none.
pub async fn reach(
    member: &Member,
    options: &ConnectOptions,
) -> Result<(Client, ConnectOptions), String> {
    let mut reason = "it advertises no client URL".to_owned();
    for url in member.client_urls.iter().take(MAX_URLS) {
        let mut options = options.at(url);
        options.dial_timeout = options.dial_timeout.min(PEER_DIAL_TIMEOUT);
        match Client::connect(&options).await {
            Ok(client) => return Ok((client, options)),
            Err(error) => reason = error.to_string(),
        }
    }
    Err(reason)
}

async fn ask_peer(member: &Member, options: &ConnectOptions, revision: Revision) -> Answer {
    match reach(member, options).await {
        Ok((client, _)) => ask(&client, member.id, revision).await,
        Err(reason) => Answer { member: member.id, result: Err(reason) },
    }
}

async fn ask(client: &Client, member: MemberId, revision: Revision) -> Answer {
    let mut tries = 0;
    let result = loop {
        match client.hash_kv(Some(revision)).await {
            Ok(hash) => {
                break Ok(MemberHash { compact_revision: hash.compact_revision, hash: hash.hash });
            }
            // A follower may be an instant behind the revision that the leader reported.
            Err(NodeError::Revision { message, .. })
                if message.contains("future") && tries < 20 =>
            {
                tries += 1;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => break Err(error.to_string()),
        }
    };
    Answer { member, result }
}
