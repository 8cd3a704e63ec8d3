//! The HTTP server. `/livez` says that the process runs, `/readyz` that the broker serves and can
//! write. `/health` lists its problems, and `/metrics` has the metrics. It answers even before the
//! data directory is open, which can take long after a crash.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinSet, spawn_blocking};
use tracing::error;

use crate::config::{HTTP_CONNECTIONS, Listener};
use crate::metrics::Format;
use crate::storage::{Trouble, TroubleKind};
use crate::{server, time};

/// The maximum number of metrics pages that are rendered or sent at a time. They may be large.
const SCRAPES: usize = 2;
/// The time limit of a connection, whatever it does.
const CONNECTION: Duration = Duration::from_secs(60);
const HEADERS: Duration = Duration::from_secs(10);
const BUFFER: usize = 8 << 10;

/// Stops when it is dropped.
pub struct Http {
    address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

/// The sources of health and metrics once the broker serves.
pub struct Sources {
    /// The problems, the worst first.
    pub troubles: Box<dyn Fn() -> Vec<Trouble> + Send + Sync>,
    /// The page of metrics; blocks.
    pub metrics: Box<dyn Fn(Format) -> String + Send + Sync>,
}

/// The state of the broker, for the health endpoints.
enum Health {
    Starting,
    Serving(Vec<Trouble>),
}

struct Shared {
    sources: OnceLock<Sources>,
    scrapes: Arc<Semaphore>,
}

/// The body of a response. It holds its permit until it is sent, if it is a page of metrics.
struct Page {
    text: Full<Bytes>,
    _turn: Option<OwnedSemaphorePermit>,
}

impl Http {
    pub async fn start(listener: &Listener) -> io::Result<Http> {
        let sockets = server::listen(server::bind(listener).await?)?;
        let address = sockets
            .first()
            .map_or_else(|| Err(io::ErrorKind::AddrNotAvailable.into()), TcpListener::local_addr)?;
        let shared =
            Arc::new(Shared { sources: OnceLock::new(), scrapes: Arc::new(Semaphore::new(SCRAPES)) });
        let mut tasks = JoinSet::new();
        for socket in sockets {
            tasks.spawn(accept(socket, Arc::clone(&shared)));
        }
        Ok(Http { address, shared, _tasks: tasks })
    }

    /// Sets the sources, once the broker serves. Later calls are ignored.
    pub fn serve(&self, sources: Sources) {
        let _ = self.shared.sources.set(sources);
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn accept(socket: TcpListener, shared: Arc<Shared>) {
    // Health checks are few. More connections than this have to wait.
    let free = Arc::new(Semaphore::new(HTTP_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(slot) = Arc::clone(&free).acquire_owned().await else { return };
        let Ok((stream, _)) = socket.accept().await else {
            time::sleep(Duration::from_millis(200)).await;
            continue;
        };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let shared = Arc::clone(&shared);
                async move { Ok::<_, Infallible>(answer(&request, shared).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADERS)
                .max_buf_size(BUFFER)
                .serve_connection(TokioIo::new(stream), service);
            // The result does not matter: a broken health check connection needs no handling.
            let _ = time::within(CONNECTION, connection).await;
            drop(slot);
        });
    }
}

async fn answer(request: &Request<Incoming>, shared: Arc<Shared>) -> Response<Page> {
    let is_asked = request.method() == Method::GET || request.method() == Method::HEAD;
    let text = |status, text: &str| {
        let mut response = Response::new(Page::of(text.to_owned().into()));
        *response.status_mut() = status;
        response
    };
    match request.uri().path() {
        "/livez" | "/readyz" | "/health" | "/metrics" if !is_asked => {
            text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n")
        }
        "/livez" => text(StatusCode::OK, "ok\n"),
        "/readyz" => {
            let health = shared.health();
            text(health.status(), &health.line())
        }
        "/health" => {
            let health = shared.health();
            let mut response = text(health.status(), &health.json());
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        "/metrics" => scrape(request, shared).await,
        _ => text(StatusCode::NOT_FOUND, "there are /livez, /readyz, /health and /metrics\n"),
    }
}

impl Shared {
    fn health(&self) -> Health {
        self.sources.get().map_or(Health::Starting, |sources| Health::Serving((sources.troubles)()))
    }
}

impl Health {
    /// The reason why the broker cannot write, if there is one.
    fn failure(&self) -> Option<&str> {
        match self {
            Health::Starting => Some("the data directory is being opened"),
            Health::Serving(troubles) => {
                let failed = troubles.iter().find(|trouble| trouble.kind == TroubleKind::JournalFailed)?;
                Some(&failed.why)
            }
        }
    }

    fn status(&self) -> StatusCode {
        match self.failure() {
            Some(_) => StatusCode::SERVICE_UNAVAILABLE,
            None => StatusCode::OK,
        }
    }

    fn line(&self) -> String {
        self.failure().map_or_else(|| "ok\n".to_owned(), |why| format!("nothing can be written: {why}\n"))
    }

    fn json(&self) -> String {
        let (status, troubles) = match self {
            Health::Starting => ("starting", &[][..]),
            Health::Serving(troubles) if self.failure().is_some() => ("failed", &troubles[..]),
            Health::Serving(troubles) if troubles.is_empty() => ("ok", &[][..]),
            Health::Serving(troubles) => ("degraded", &troubles[..]),
        };
        let troubles = troubles
            .iter()
            .map(|Trouble { kind, count, why }| json!({ "state": kind.name(), "count": count, "why": why }));
        format!("{}\n", json!({ "status": status, "troubles": troubles.collect::<Vec<_>>() }))
    }
}

async fn scrape(request: &Request<Incoming>, shared: Arc<Shared>) -> Response<Page> {
    let accepts = request.headers().get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let format = Format::accepted(&accepts.collect::<Vec<_>>().join(","));
    let turn = Arc::clone(&shared.scrapes).acquire_owned().await.ok();
    match spawn_blocking(move || shared.sources.get().map(|sources| (sources.metrics)(format))).await {
        Ok(None) => {
            let mut response = Response::new(Page::of("the data directory is being opened\n".into()));
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            response
        }
        Ok(Some(text)) => {
            let mut response = Response::new(Page { _turn: turn, ..Page::of(text.into()) });
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
            response
        }
        Err(_) => {
            error!("the metrics could not be written: this is a bug of the broker");
            let mut response = Response::new(Page::of("see the log\n".into()));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    }
}

impl Page {
    fn of(text: Bytes) -> Page {
        Page { text: Full::new(text), _turn: None }
    }
}

impl Body for Page {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.text).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.text.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.text.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    /// Sends a request and returns the status line and the body of the response.
    async fn say(http: &Http, request: &str) -> (String, String) {
        let mut stream = TcpStream::connect(http.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (answer.lines().next().unwrap_or_default().to_owned(), body.to_owned())
    }

    async fn get(http: &Http, path: &str) -> (String, String) {
        say(http, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await
    }

    async fn start() -> Http {
        let listener = Listener { name: "HTTP".into(), host: "127.0.0.1".into(), port: 0, advertised: None };
        Http::start(&listener).await.unwrap()
    }

    fn sources(troubles: Vec<Trouble>) -> Sources {
        Sources {
            troubles: Box::new(move || troubles.clone()),
            metrics: Box::new(|format| format.content_type().to_owned()),
        }
    }

    const FINE: &str = "HTTP/1.1 200 OK";
    const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable";

    #[tokio::test]
    async fn readiness_follows_the_store_and_liveness_does_not() {
        let http = start().await;
        assert_eq!(get(&http, "/livez").await.0, FINE);
        for path in ["/readyz", "/metrics"] {
            assert_eq!(get(&http, path).await.0, UNAVAILABLE, "{path}");
        }
        let starting = "{\"status\":\"starting\",\"troubles\":[]}\n";
        assert_eq!(get(&http, "/health").await, (UNAVAILABLE.into(), starting.into()));
        http.serve(sources(Vec::new()));
        for path in ["/livez", "/readyz", "/health", "/metrics"] {
            assert_eq!(get(&http, path).await.0, FINE, "{path}");
        }
    }

    #[tokio::test]
    async fn troubles_are_shown_with_their_reasons_and_only_a_failed_journal_makes_it_unready() {
        let trouble = |kind| Trouble { kind, count: 1, why: "a \"reason\"".into() };
        let http = start().await;
        http.serve(sources(vec![trouble(TroubleKind::DiskFull)]));
        assert_eq!(get(&http, "/readyz").await, (FINE.into(), "ok\n".into()));
        let expected = json!({
            "status": "degraded",
            "troubles": [{ "state": "disk_full", "count": 1, "why": "a \"reason\"" }],
        });
        let (status, body) = get(&http, "/health").await;
        assert_eq!((&*status, serde_json::from_str(&body).ok()), (FINE, Some(expected)));

        let http = start().await;
        http.serve(sources(vec![trouble(TroubleKind::JournalFailed)]));
        assert_eq!(get(&http, "/livez").await.0, FINE);
        let why = "nothing can be written: a \"reason\"\n";
        assert_eq!(get(&http, "/readyz").await, (UNAVAILABLE.into(), why.into()));
        let (status, body) = get(&http, "/health").await;
        assert_eq!(status, UNAVAILABLE);
        assert!(body.contains("\"status\":\"failed\""), "{body}");
    }

    #[tokio::test]
    async fn what_is_no_question_is_refused() {
        let http = start().await;
        let post = "POST /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(say(&http, post).await.0, "HTTP/1.1 405 Method Not Allowed");
        assert_eq!(say(&http, "nonsense\r\n\r\n").await.0, "HTTP/1.1 400 Bad Request");
        let endless = format!("GET /livez HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(100 << 10));
        assert_eq!(say(&http, &endless[..20 << 10]).await.0, "HTTP/1.1 431 Request Header Fields Too Large");
        assert_eq!(get(&http, "/").await.0, "HTTP/1.1 404 Not Found");
    }
}
