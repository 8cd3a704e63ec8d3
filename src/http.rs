//! What is answered over HTTP: `/livez` says that the process runs, `/readyz` that it can take
//! writes, `/metrics` what can be measured of it.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinSet, spawn_blocking};
use tracing::error;

use crate::config::{HTTP_CONNECTIONS, Listener};
use crate::metrics::Format;
use crate::{server, time};

/// Pages of metrics that are made, or wait to be read, at a time: they may be large.
const SCRAPES: usize = 2;
/// How long a connection may take, whatever it does.
const CONNECTION: Duration = Duration::from_secs(60);
const HEADERS: Duration = Duration::from_secs(10);
const BUFFER: usize = 8 << 10;

/// Stops when it is dropped.
pub struct Http {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

/// Who is asked.
pub struct Asked {
    /// Whether writes have a prospect.
    pub is_ready: Box<dyn Fn() -> bool + Send + Sync>,
    /// The page of metrics; blocks.
    pub metrics: Box<dyn Fn(Format) -> String + Send + Sync>,
}

struct Shared {
    asked: Asked,
    scrapes: Arc<Semaphore>,
}

/// What is sent. While it is not sent, a large one keeps its turn.
struct Page {
    text: Full<Bytes>,
    _turn: Option<OwnedSemaphorePermit>,
}

impl Http {
    pub async fn start(listener: &Listener, asked: Asked) -> io::Result<Http> {
        let sockets = server::bind(listener).await?;
        let address = sockets
            .first()
            .map_or_else(|| Err(io::ErrorKind::AddrNotAvailable.into()), TcpListener::local_addr)?;
        let shared = Arc::new(Shared { asked, scrapes: Arc::new(Semaphore::new(SCRAPES)) });
        let mut tasks = JoinSet::new();
        for socket in sockets {
            tasks.spawn(accept(socket, Arc::clone(&shared)));
        }
        Ok(Http { address, _tasks: tasks })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn accept(socket: TcpListener, shared: Arc<Shared>) {
    // Health checks are few; more than these wait their turn.
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
            // How the connection of a health check ends is nobody's concern.
            let _ = time::within(CONNECTION, connection).await;
            drop(slot);
        });
    }
}

async fn answer(request: &Request<Incoming>, shared: Arc<Shared>) -> Response<Page> {
    let is_asked = request.method() == Method::GET || request.method() == Method::HEAD;
    let (status, text) = match request.uri().path() {
        "/livez" | "/readyz" | "/metrics" if !is_asked => {
            (StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n")
        }
        "/livez" => (StatusCode::OK, "ok\n"),
        "/readyz" if (shared.asked.is_ready)() => (StatusCode::OK, "ok\n"),
        "/readyz" => (StatusCode::SERVICE_UNAVAILABLE, "nothing can be written: see the log\n"),
        "/metrics" => return scrape(request, shared).await,
        _ => (StatusCode::NOT_FOUND, "there are /livez, /readyz and /metrics\n"),
    };
    let mut response = Response::new(Page::of(text.into()));
    *response.status_mut() = status;
    response
}

async fn scrape(request: &Request<Incoming>, shared: Arc<Shared>) -> Response<Page> {
    let accepts = request.headers().get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let format = Format::accepted(&accepts.collect::<Vec<_>>().join(","));
    let turn = Arc::clone(&shared.scrapes).acquire_owned().await.ok();
    match spawn_blocking(move || (shared.asked.metrics)(format)).await {
        Ok(text) => {
            let mut response = Response::new(Page { _turn: turn, ..Page::of(text.into()) });
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
            response
        }
        Err(_) => {
            error!("the metrics could not be written, which is a fault of this broker");
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

    async fn say(http: &Http, request: &str) -> String {
        let mut stream = TcpStream::connect(http.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.lines().next().unwrap_or_default().to_owned()
    }

    #[tokio::test]
    async fn readiness_follows_the_store_and_liveness_does_not() {
        let listener = Listener { name: "HTTP".into(), host: "127.0.0.1".into(), port: 0, advertised: None };
        let http = Http::start(
            &listener,
            Asked {
                is_ready: Box::new(|| false),
                metrics: Box::new(|format| format.content_type().to_owned()),
            },
        );
        let http = http.await.unwrap();
        let get = |path| format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert_eq!(say(&http, &get("/livez")).await, "HTTP/1.1 200 OK");
        assert_eq!(say(&http, &get("/readyz")).await, "HTTP/1.1 503 Service Unavailable");
        let post = "POST /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(say(&http, post).await, "HTTP/1.1 405 Method Not Allowed");
        assert_eq!(say(&http, "nonsense\r\n\r\n").await, "HTTP/1.1 400 Bad Request");
        let endless = format!("GET /livez HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(100 << 10));
        assert_eq!(say(&http, &endless[..20 << 10]).await, "HTTP/1.1 431 Request Header Fields Too Large");
    }
}
