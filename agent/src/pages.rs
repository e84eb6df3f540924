//! What a running agent shows over HTTP: a page for people, metrics for Prometheus, two signals for
//! whoever starts and stops it. Read only; what can be asked of an agent is in the admin interface.

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use chrono::{DateTime, Utc};
use etcdr_schemas::report::Named as _;
use tokio::net::TcpListener;

use crate::metrics::{self, Metrics};
use crate::status::AgentStatus;
use etcdr_operations::Clock;

mod chart;
pub mod format;
mod html;
mod page;
mod sections;
mod serve;

pub use page::render;

/// What the pages are made of.
#[derive(Clone)]
pub struct Pages {
    /// The state of the agent.
    pub status: Arc<AgentStatus>,
    /// Its metrics.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub clock: Arc<Clock>,
}

/// Serves until `shutdown`. At most 64 connections, each for a minute.
pub async fn serve(listener: TcpListener, pages: Pages, shutdown: impl Future<Output = ()> + Send) {
    serve::serve(listener, router(pages), shutdown).await;
}

fn router(pages: Pages) -> Router {
    Router::new()
        .route("/", get(status_page))
        .route("/status.json", get(status_json))
        .route("/metrics", get(all_metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .layer(middleware::from_fn(guarded))
        .with_state(pages)
}

impl Pages {
    fn now(&self) -> DateTime<Utc> {
        (self.clock)()
    }
}

async fn status_page(State(pages): State<Pages>) -> Html<String> {
    Html(render(&pages.status.report(pages.now())))
}

async fn status_json(State(pages): State<Pages>) -> Response {
    let report = pages.status.report(pages.now()).report();
    match serde_json::to_string_pretty(&report) {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn all_metrics(State(pages): State<Pages>) -> impl IntoResponse {
    let report = pages.status.report(pages.now());
    let text = pages.metrics.encode(&report, metrics::resident_memory());
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text)
}

/// Whether the process should live on: says nothing of etcd or the store, which a restart does not
/// mend.
async fn livez(State(pages): State<Pages>) -> (StatusCode, &'static str) {
    if pages.status.is_alive() {
        (StatusCode::OK, "alive\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the agent's loop has not turned for a minute\n")
    }
}

/// Whether a snapshot could be taken now.
async fn readyz(State(pages): State<Pages>) -> (StatusCode, String) {
    let report = pages.status.report(pages.now());
    if report.ready {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    let lines = report.not_ready.iter().map(|reason| format!("{}\n", one_line(reason)));
    (StatusCode::SERVICE_UNAVAILABLE, lines.collect())
}

fn one_line(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

const HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Answers reads only; the headers of every answer forbid the browser to load or run anything more.
async fn guarded(request: Request, next: Next) -> Response {
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    let mut response = if reads {
        next.run(request).await
    } else {
        let allow = [(header::ALLOW, "GET, HEAD")];
        (StatusCode::METHOD_NOT_ALLOWED, allow, "read only\n").into_response()
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, axum::http::HeaderValue::from_static(value));
    }
    response
}
