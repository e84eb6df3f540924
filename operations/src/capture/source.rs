//! Chooses the member that is asked for the snapshot.

use etcdr_node::{Client, ConnectOptions, Status};
use futures_util::future::join_all;

use crate::Error;

/// A member that answered, and what it said of itself.
pub(crate) struct Source {
    pub(crate) client: Client,
    pub(crate) options: ConnectOptions,
    pub(crate) status: Status,
}

/// Asks every endpoint for its status and picks the member to save from.
///
/// # Errors
/// The error of the first endpoint when none answers.
pub(crate) async fn choose(endpoints: Vec<ConnectOptions>) -> Result<Source, Error> {
    let mut answered = Vec::new();
    let mut first_error = None;
    for result in join_all(endpoints.into_iter().map(ask)).await {
        match result {
            Ok(source) => answered.push(source),
            Err(error) => _ = first_error.get_or_insert(error),
        }
    }
    // min_by_key keeps the first of equals: the order in which endpoints were given.
    answered
        .into_iter()
        .min_by_key(|source| reluctance(&source.status))
        .ok_or_else(|| first_error.map_or(Error::NoEndpoint, Error::Node))
}

async fn ask(options: ConnectOptions) -> Result<Source, etcdr_node::Error> {
    let client = Client::connect(&options).await?;
    let status = client.status().await?;
    Ok(Source { client, options, status })
}

/// Smaller is better: a healthy voter before one with errors, a follower before the leader, which
/// has enough to do. Learners come last: they may be far behind.
fn reluctance(status: &Status) -> (bool, bool, bool) {
    (status.learner, !status.errors.is_empty(), status.is_leader())
}
