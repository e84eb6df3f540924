//! Asks a member for its metrics: one HTTP/1.1 request, with the TLS files of its clients.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Collected, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use rustls::ClientConfig;

use crate::dial::Dialer;
use crate::endpoint::Target;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::options::ConnectOptions;
use crate::tls;

/// Longest answer, in bytes. etcd's is a tenth of a megabyte; a label for each watcher or peer
/// makes it grow.
const MAX_BODY: usize = 8 << 20;

const CALL: &str = "/metrics";

impl Metrics {
    /// Reads the metrics of a member: those at `url` (`http://127.0.0.1:2381/metrics`), or at
    /// `/metrics` of the endpoint. Limited to the time of a short call and to 8 MiB.
    ///
    /// # Errors
    /// [`Error::Config`] for a URL that is none, those of connecting, and [`Error::InvalidReply`]
    /// for an answer that is not etcd's metrics.
    pub async fn read(options: &ConnectOptions, url: Option<&str>) -> Result<Self, Error> {
        let (endpoint, path) = match url {
            None => (options.endpoint.as_str(), CALL),
            Some(url) => split_url(url),
        };
        let target = Target::parse(endpoint, options.has_tls_files())?;
        let tls = if target.is_tls() {
            let mut config = ClientConfig::clone(tls::config(options).await?.as_ref());
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            Some(config.into())
        } else {
            None
        };
        let label = target.label.clone();
        let dialer = Dialer::new(target.clone(), tls).ok_or_else(|| Error::Config {
            what: format!("no certificate can name the host of {label}"),
        })?;
        let late = |_| Error::Timeout {
            endpoint: label.clone(),
            call: CALL,
            after: options.command_timeout,
        };
        let body = tokio::time::timeout(options.command_timeout, get(dialer, &target, path));
        let invalid_reply =
            |what| Error::InvalidReply { endpoint: label.clone(), call: CALL, what };
        Self::parse(&body.await.map_err(late)??).map_err(invalid_reply)
    }
}

/// Endpoint and path of a URL.
fn split_url(url: &str) -> (&str, &str) {
    let host = url.find("://").map_or(0, |at| at + 3);
    match url.get(host..).and_then(|rest| rest.find('/')) {
        Some(slash) => url.split_at(host + slash),
        None => (url, CALL),
    }
}

async fn get(dialer: Dialer, target: &Target, path: &str) -> Result<Bytes, Error> {
    let endpoint = target.label.clone();
    let last_fault = dialer.last_fault();
    let lost = |reason: String| match last_fault.take() {
        Some((fault, detail)) => Error::Tls { endpoint: endpoint.clone(), fault, detail },
        None => Error::Lost { endpoint: endpoint.clone(), call: CALL, reason },
    };
    let invalid_reply =
        |what: String| Error::InvalidReply { endpoint: endpoint.clone(), call: CALL, what };
    let stream = dialer.dial().await.map_err(|error| lost(error.to_string()))?;
    let (mut sender, connection) =
        http1::handshake(stream).await.map_err(|error| lost(error.to_string()))?;
    let request = Request::get(path)
        .header(HOST, target.uri.authority().map_or("localhost", |host| host.as_str()))
        .body(Empty::<Bytes>::new())
        .map_err(|error| Error::Config { what: format!("{path:?} is no path: {error}") })?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(|error| lost(error.to_string()))?;
        if answer.status() != StatusCode::OK {
            return Err(invalid_reply(format!("it answers {}", answer.status())));
        }
        let body = Limited::new(answer.into_body(), MAX_BODY).collect().await;
        body.map(Collected::to_bytes).map_err(|error| invalid_reply(error.to_string()))
    };
    // The connection must be driven while we wait, and ends with us.
    let drive = async {
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        body = exchange => body,
        () = drive => Err(lost("the connection ended".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_split_before_the_path() {
        assert_eq!(split_url("http://h:1/metrics"), ("http://h:1", "/metrics"));
        assert_eq!(split_url("https://[::1]:1/a/b?c"), ("https://[::1]:1", "/a/b?c"));
        assert_eq!(split_url("http://h:1"), ("http://h:1", "/metrics"));
        assert_eq!(split_url("h:1/x"), ("h:1", "/x"));
        assert_eq!(split_url(""), ("", "/metrics"));
    }
}
