//! The HTTP server. `/livez` says that the process runs, `/readyz` that the broker serves and can
//! write. `/health` lists its problems, and `/metrics` has the metrics. It answers even before the
//! data directory is open, which can take long after a crash.
//!
//! `/health` and `/metrics` may ask for a login. Nothing here changes data, except the test hooks (`hooks.rs`), which exist
//! only with `jackdaw.test.hooks`.

#[cfg(feature = "security")]
mod client;
mod connections;
mod hooks;
#[cfg(feature = "security")]
mod login;
mod places;
#[cfg(test)]
#[cfg(feature = "security")]
pub(crate) mod test_server;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

#[cfg(feature = "security")]
pub use client::get;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
#[cfg(feature = "security")]
use hyper::header::WWW_AUTHENTICATE;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinSet, spawn_blocking};
use tracing::error;

pub use self::hooks::Hooks;
#[cfg(feature = "security")]
pub use self::login::Logins;
use self::places::{Place, Places, UnderWay};
use crate::config::{BrokerSettings, HTTP_CONNECTIONS, Listener};
use crate::metrics::Format;
use crate::security::tls::Tls;
use crate::server;
use crate::storage::{Trouble, TroubleKind};

/// The maximum number of metrics pages that are rendered or sent at a time. They may be large.
const SCRAPES: usize = 2;
const BUFFER: usize = 8 << 10;
/// A piece of a body, of which the connection keeps one or two.
const PIECE: usize = 8 << 10;

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
    /// The users who may read both; `None` if nobody has to log in.
    #[cfg(feature = "security")]
    pub logins: Option<Logins>,
    /// The test hooks, if they are on.
    pub hooks: Option<Hooks>,
}

/// The state of the broker, for the health endpoints.
enum Health {
    Starting,
    Serving(Vec<Trouble>),
}

struct Shared {
    sources: OnceLock<Arc<Sources>>,
    scrapes: Arc<Semaphore>,
    places: Arc<Places>,
    limits: Limits,
}

/// The time limits of a connection.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// For a TLS handshake.
    #[cfg(feature = "security")]
    handshake: Duration,
    /// For a request to arrive, the first one and each later one.
    request: Duration,
    /// For all of it.
    connection: Duration,
}

/// The body of a response. Until the client has read it, its request is under way, and a page of metrics has its turn.
struct Page {
    text: Bytes,
    _turn: Option<OwnedSemaphorePermit>,
    _under_way: Option<UnderWay>,
}

impl Http {
    pub async fn start(settings: &BrokerSettings, listener: &Listener, tls: Arc<Tls>) -> io::Result<Http> {
        Http::start_within(Limits::of(settings), listener, tls).await
    }

    async fn start_within(limits: Limits, listener: &Listener, tls: Arc<Tls>) -> io::Result<Http> {
        let sockets = server::listen(server::bind(listener).await?)?;
        let address = sockets
            .first()
            .map_or_else(|| Err(io::ErrorKind::AddrNotAvailable.into()), TcpListener::local_addr)?;
        let shared = Arc::new(Shared {
            sources: OnceLock::new(),
            scrapes: Arc::new(Semaphore::new(SCRAPES)),
            places: Places::new(HTTP_CONNECTIONS),
            limits,
        });
        let mut tasks = JoinSet::new();
        for socket in sockets {
            tasks.spawn(connections::accept(socket, Arc::clone(&shared), Arc::clone(&tls)));
        }
        Ok(Http { address, shared, _tasks: tasks })
    }

    /// Sets the sources, once the broker serves. Later calls are ignored.
    pub fn serve(&self, sources: Sources) {
        let _ = self.shared.sources.set(Arc::new(sources));
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Serves the requests of a connection.
async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: SocketAddr,
    shared: &Arc<Shared>,
    place: &Place,
) {
    let service = service_fn(move |mut request| {
        let shared = Arc::clone(shared);
        let under_way = place.begin_request();
        async move {
            let scrapes = Arc::clone(&shared.scrapes);
            // Read once: what a request without a login may not see stays closed, also while the broker starts.
            let sources = shared.sources.get().cloned();
            if let Some(hooks) = sources.as_ref().and_then(|sources| sources.hooks.as_ref())
                && let Some(answer) = hooks.answer(&mut request).await
            {
                return Ok(answer.map(|page| page.of_request(under_way)));
            }
            let answer = match refusal(&request, peer, sources.as_deref()).await {
                Some(refusal) => refusal,
                None => answer(&request, sources, scrapes).await,
            };
            Ok::<_, Infallible>(answer.map(|page| page.of_request(under_way)))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(shared.limits.request)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    // The result does not matter: a broken health check connection needs no handling.
    let _ = connection.await;
}

/// The answer to a request that needs a login and has no right one. Health checks of an orchestrator have none, so
/// `/livez` and `/readyz` need none. While the broker starts there is nothing to show yet, and its users are not known.
#[cfg(feature = "security")]
async fn refusal(
    request: &Request<Incoming>,
    peer: SocketAddr,
    sources: Option<&Sources>,
) -> Option<Response<Page>> {
    if ["/livez", "/readyz"].contains(&request.uri().path()) {
        return None;
    }
    let logins = sources?.logins.as_ref()?;
    if logins.is_admitted(request.headers(), peer).await {
        return None;
    }
    let mut response = text(StatusCode::UNAUTHORIZED, "a user and a password are needed\n");
    let challenge = HeaderValue::from_static("Basic realm=\"jackdaw\", charset=\"UTF-8\"");
    response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    Some(response)
}

#[cfg(not(feature = "security"))]
async fn refusal(_: &Request<Incoming>, _: SocketAddr, _: Option<&Sources>) -> Option<Response<Page>> {
    None
}

fn text(status: StatusCode, text: &str) -> Response<Page> {
    let mut response = Response::new(Page::of(text.to_owned().into()));
    *response.status_mut() = status;
    response
}

async fn answer(
    request: &Request<Incoming>,
    sources: Option<Arc<Sources>>,
    scrapes: Arc<Semaphore>,
) -> Response<Page> {
    let is_asked = request.method() == Method::GET || request.method() == Method::HEAD;
    match request.uri().path() {
        "/livez" | "/readyz" | "/health" | "/metrics" if !is_asked => {
            text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n")
        }
        "/livez" => text(StatusCode::OK, "ok\n"),
        "/readyz" => {
            let health = Health::of(sources.as_deref());
            let line = if sources.is_some_and(|sources| sources.asks_for_a_login()) {
                health.line_for_anybody()
            } else {
                health.line()
            };
            text(health.status(), &line)
        }
        "/health" => {
            let health = Health::of(sources.as_deref());
            let mut response = text(health.status(), &health.json());
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        "/metrics" => scrape(request, sources, scrapes).await,
        _ => text(StatusCode::NOT_FOUND, "there are /livez, /readyz, /health and /metrics\n"),
    }
}

impl Limits {
    fn of(settings: &BrokerSettings) -> Limits {
        #[cfg(not(feature = "security"))]
        let _ = settings;
        Limits {
            #[cfg(feature = "security")]
            handshake: settings.handshake_timeout,
            request: Duration::from_secs(10),
            connection: Duration::from_secs(60),
        }
    }
}

impl Sources {
    #[cfg(feature = "security")]
    fn asks_for_a_login(&self) -> bool {
        self.logins.is_some()
    }

    #[cfg(not(feature = "security"))]
    fn asks_for_a_login(&self) -> bool {
        false
    }
}

impl Health {
    fn of(sources: Option<&Sources>) -> Health {
        sources.map_or(Health::Starting, |sources| Health::Serving((sources.troubles)()))
    }

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

    /// The line without the reason, which may have names of files.
    fn line_for_anybody(&self) -> String {
        self.failure().map_or("ok\n", |_| "nothing can be written: /health has the reason\n").to_owned()
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

async fn scrape(
    request: &Request<Incoming>,
    sources: Option<Arc<Sources>>,
    scrapes: Arc<Semaphore>,
) -> Response<Page> {
    let accepts = request.headers().get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let format = Format::accepted(&accepts.collect::<Vec<_>>().join(","));
    let turn = scrapes.acquire_owned().await.ok();
    // The turn lasts as long as the work, also if the client is gone by then.
    let render = move || (sources.map(|sources| (sources.metrics)(format)), turn);
    match spawn_blocking(render).await {
        Ok((None, _)) => {
            let mut response = Response::new(Page::of("the data directory is being opened\n".into()));
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            response
        }
        Ok((Some(text), turn)) => {
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
        Page { text, _turn: None, _under_way: None }
    }

    fn of_request(self, under_way: UnderWay) -> Page {
        Page { _under_way: Some(under_way), ..self }
    }
}

impl Body for Page {
    type Data = Bytes;
    type Error = Infallible;

    /// In pieces: the connection lets go of the body as soon as it has the last one.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.text.len().min(PIECE);
        Poll::Ready((piece > 0).then(|| Ok(Frame::data(self.text.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.text.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.text.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::config::SecurityProtocol;

    /// Sends a request and returns the status line and the body of the response.
    pub(super) async fn send(http: &Http, request: &str) -> (String, String) {
        let mut stream = TcpStream::connect(http.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (answer.lines().next().unwrap_or_default().to_owned(), body.to_owned())
    }

    pub(super) async fn get(http: &Http, path: &str) -> (String, String) {
        send(http, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await
    }

    async fn start() -> Http {
        start_with(Limits::of(&BrokerSettings::default()), Arc::default()).await
    }

    pub(super) async fn start_with(limits: Limits, tls: Arc<Tls>) -> Http {
        let listener = Listener {
            name: "HTTP".into(),
            protocol: SecurityProtocol::Plaintext,
            host: "127.0.0.1".into(),
            port: 0,
            advertised: None,
        };
        Http::start_within(limits, &listener, tls).await.unwrap()
    }

    pub(super) fn sources(troubles: Vec<Trouble>) -> Sources {
        Sources {
            troubles: Box::new(move || troubles.clone()),
            metrics: Box::new(|format| format.content_type().to_owned()),
            #[cfg(feature = "security")]
            logins: None,
            hooks: None,
        }
    }

    /// The user is ann, with the password pencil.
    #[cfg(feature = "security")]
    fn sources_with_logins(troubles: Vec<Trouble>) -> Sources {
        use crate::security::basic::KnownUser;
        use crate::types::Secret;

        let known = |user: &str| match user {
            "ann" => KnownUser { passwords: vec![Secret::new("pencil")], scram: vec![] },
            _ => KnownUser::default(),
        };
        let logins = Some(Logins::new(known, || Duration::ZERO, |_| {}));
        Sources { logins, ..sources(troubles) }
    }

    #[cfg(feature = "security")]
    #[tokio::test]
    async fn everything_but_the_checks_of_an_orchestrator_asks_for_a_login() {
        let http = start().await;
        http.serve(sources_with_logins(Vec::new()));
        let with = async |path: &str, login: &str| {
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Basic {login}\r\n\r\n"
            );
            send(&http, &request).await.0
        };
        for path in ["/livez", "/readyz"] {
            assert_eq!(get(&http, path).await.0, FINE, "{path}");
        }
        for path in ["/health", "/metrics", "/"] {
            assert_eq!(get(&http, path).await.0, UNAUTHORIZED, "{path}");
            // ann:pencils, ben:pencil, `ann:` and ann
            for wrong in ["YW5uOnBlbmNpbHM=", "YmVuOnBlbmNpbA==", "YW5uOg==", "YW5u"] {
                assert_eq!(with(path, wrong).await, UNAUTHORIZED, "{path} {wrong}");
            }
        }
        for path in ["/health", "/metrics"] {
            for _ in 0..2 {
                assert_eq!(with(path, "YW5uOnBlbmNpbA==").await, FINE, "{path}");
            }
        }
    }

    #[cfg(feature = "security")]
    #[tokio::test]
    async fn a_request_from_before_the_broker_served_is_not_answered_without_a_login_afterwards() {
        let http = start().await;
        let busy = http.shared.scrapes.acquire_many(2).await.unwrap();
        let mut stream = TcpStream::connect(http.address()).await.unwrap();
        let request = |path, end| format!("GET {path} HTTP/1.1\r\nHost: x\r\n{end}\r\n");
        let both = request("/livez", "") + &request("/metrics", "Connection: close\r\n");
        stream.write_all(both.as_bytes()).await.unwrap();
        let mut first = Vec::new();
        while !first.ends_with(b"ok\n") {
            first.push(stream.read_u8().await.unwrap());
        }
        // The second request waits for its turn now.
        http.serve(sources_with_logins(Vec::new()));
        drop(busy);
        let mut second = String::new();
        stream.read_to_string(&mut second).await.unwrap();
        assert!(second.starts_with(UNAVAILABLE) || second.starts_with(UNAUTHORIZED), "{second}");
    }

    #[cfg(feature = "security")]
    #[tokio::test]
    async fn the_reason_of_a_failure_needs_a_login() {
        let http = start().await;
        let trouble = Trouble { kind: TroubleKind::JournalFailed, count: 1, why: "a reason".into() };
        http.serve(sources_with_logins(vec![trouble]));
        let answer = "nothing can be written: /health has the reason\n";
        assert_eq!(get(&http, "/readyz").await, (UNAVAILABLE.into(), answer.into()));
    }

    pub(super) const FINE: &str = "HTTP/1.1 200 OK";
    #[cfg(feature = "security")]
    const UNAUTHORIZED: &str = "HTTP/1.1 401 Unauthorized";
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
    async fn other_requests_than_questions_are_refused() {
        let http = start().await;
        let post = "POST /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(send(&http, post).await.0, "HTTP/1.1 405 Method Not Allowed");
        assert_eq!(send(&http, "nonsense\r\n\r\n").await.0, "HTTP/1.1 400 Bad Request");
        let endless = format!("GET /livez HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(100 << 10));
        assert_eq!(send(&http, &endless[..20 << 10]).await.0, "HTTP/1.1 431 Request Header Fields Too Large");
        assert_eq!(get(&http, "/").await.0, "HTTP/1.1 404 Not Found");
    }
}
