//! The pages: what they say, and what they refuse, over a real socket.

use std::sync::Arc;
use std::time::Duration;

use etcdr_agent::event::Event;
use etcdr_agent::metrics::Metrics;
use etcdr_agent::pages::{self, Pages};
use etcdr_agent::status::AgentStatus;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::samples::{fresh, healthy, members, noon, unhealthy};

#[test]
fn the_page_says_how_it_is_in_words() {
    let page = pages::render(&healthy().report(noon()));
    for text in [
        "12 min ago",
        "On target",
        "target 2 h",
        "Ready",
        "next snapshot in 48 min",
        "41 d left",
        "Sound",
    ] {
        assert!(page.contains(text), "no {text:?} in\n{page}");
    }
    assert!(!page.contains("Needs a look"));
    let page = pages::render(&unhealthy().report(noon()));
    for text in
        ["Over target", "Cannot save", "the store failed: 403", "Urgent", "No answer", "Paused"]
    {
        assert!(page.contains(text), "no {text:?} in\n{page}");
    }
    assert!(pages::render(&fresh("a").report(noon())).contains("not known yet"));
}

#[test]
fn nothing_that_others_say_becomes_markup() {
    let page = pages::render(&unhealthy().report(noon()));
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert!(!page.contains("<script") && !page.contains("<img"), "{page}");
    // Nothing is fetched from elsewhere.
    for fetch in ["=\"http", "<link", "src=\"", "url(", "@import"] {
        assert!(!page.contains(fetch), "{fetch} in\n{page}");
    }
}

struct Served {
    address: String,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

async fn serve(status: AgentStatus) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (stop, stopped) = oneshot::channel();
    let pages = Pages {
        status: Arc::new(status),
        metrics: Arc::new(Metrics::new()),
        clock: Arc::new(noon),
    };
    let task = tokio::spawn(pages::serve(listener, pages, async {
        let _ = stopped.await;
    }));
    Served { address, stop: Some(stop), task }
}

async fn ask(served: &Served, head: &str) -> String {
    let mut stream = TcpStream::connect(&served.address).await.unwrap();
    let request = format!("{head} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_answer_and_take_nothing() {
    let mut served = serve(healthy()).await;
    for (path, kind) in [
        ("/", "text/html"),
        ("/metrics", "application/openmetrics-text"),
        ("/livez", "text/plain"),
        ("/readyz", "text/plain"),
        ("/status.json", "application/json"),
    ] {
        let answer = ask(&served, &format!("GET {path}")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        assert!(answer.contains(&format!("content-type: {kind}")), "{path}: {answer}");
        assert!(answer.contains("content-security-policy: default-src 'none'"));
        assert!(answer.contains("x-content-type-options: nosniff"));
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(!body.is_empty());
        let head = ask(&served, &format!("HEAD {path}")).await;
        assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            let answer = ask(&served, &format!("{method} {path}")).await;
            assert!(answer.starts_with("HTTP/1.1 405"), "{method} {path}: {answer}");
        }
    }
    assert!(ask(&served, "GET /other").await.starts_with("HTTP/1.1 404"));
    served.stop.take().unwrap().send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(5), served.task).await.unwrap().unwrap();
    assert!(TcpStream::connect(&served.address).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn not_ready_is_not_dead_and_says_why() {
    let status = healthy();
    let mut silent = members();
    silent[1].state = Err("refused\r\nx: y".into());
    status.apply(&Event::Members(silent), noon());
    status.apply(&Event::StoreFailed { error: "503".into() }, noon());
    let served = serve(status).await;
    let ready = ask(&served, "GET /readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    let (_, body) = ready.split_once("\r\n\r\n").unwrap();
    assert_eq!(body.lines().count(), 2, "{body:?}");
    assert!(ask(&served, "GET /livez").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_stall_do_not_keep_others_out() {
    let served = serve(healthy()).await;
    let mut idle = Vec::new();
    for _ in 0..64 {
        idle.push(TcpStream::connect(&served.address).await.unwrap());
    }
    let answer = tokio::time::timeout(Duration::from_secs(20), ask(&served, "GET /livez")).await;
    assert!(answer.expect("an answer").starts_with("HTTP/1.1 200"));
    let mut large = TcpStream::connect(&served.address).await.unwrap();
    let head = format!("GET / HTTP/1.1\r\nhost: x\r\na: {}\r\n\r\n", "x".repeat(100_000));
    let _ = large.write_all(head.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = large.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
}

/// `ETCDR_SHOW_PAGES=/a/dir` writes the pages there, for whoever wants to look at them.
#[test]
fn pages_can_be_looked_at() {
    let Some(dir) = std::env::var_os("ETCDR_SHOW_PAGES") else { return };
    let dir = std::path::Path::new(&dir);
    for (name, status) in [("good", healthy()), ("bad", unhealthy()), ("new", fresh("etcd-1"))] {
        std::fs::write(dir.join(format!("{name}.html")), pages::render(&status.report(noon())))
            .unwrap();
    }
}
