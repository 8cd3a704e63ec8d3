//! Health checks over HTTP: `/livez` says that the process runs, `/readyz` that it can take writes.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::config::Listener;
use crate::{server, time};

/// Health checks are few; more than these wait their turn.
const CONNECTIONS: usize = 64;
/// How long a connection may take, whatever it does.
const CONNECTION: Duration = Duration::from_secs(60);
const HEADERS: Duration = Duration::from_secs(10);
const BUFFER: usize = 8 << 10;

/// Stops when it is dropped.
pub struct Http {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

/// Whether writes have a prospect.
pub type IsReady = Arc<dyn Fn() -> bool + Send + Sync>;

impl Http {
    pub async fn start(listener: &Listener, is_ready: IsReady) -> io::Result<Http> {
        let sockets = server::bind(listener).await?;
        let address = sockets
            .first()
            .map_or_else(|| Err(io::ErrorKind::AddrNotAvailable.into()), TcpListener::local_addr)?;
        let mut tasks = JoinSet::new();
        for socket in sockets {
            tasks.spawn(accept(socket, Arc::clone(&is_ready)));
        }
        Ok(Http { address, _tasks: tasks })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn accept(socket: TcpListener, is_ready: IsReady) {
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(slot) = Arc::clone(&free).acquire_owned().await else { return };
        let Ok((stream, _)) = socket.accept().await else {
            time::sleep(Duration::from_millis(200)).await;
            continue;
        };
        let is_ready = Arc::clone(&is_ready);
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let answer = answer(&request, &*is_ready);
                async move { Ok::<_, Infallible>(answer) }
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

fn answer(request: &Request<Incoming>, is_ready: &dyn Fn() -> bool) -> Response<Full<Bytes>> {
    let is_asked = request.method() == Method::GET || request.method() == Method::HEAD;
    let (status, text) = match request.uri().path() {
        "/livez" | "/readyz" if !is_asked => (StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n"),
        "/livez" => (StatusCode::OK, "ok\n"),
        "/readyz" if is_ready() => (StatusCode::OK, "ok\n"),
        "/readyz" => (StatusCode::SERVICE_UNAVAILABLE, "nothing can be written: see the log\n"),
        _ => (StatusCode::NOT_FOUND, "there are /livez and /readyz\n"),
    };
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response
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
        let http = Http::start(&listener, Arc::new(|| false)).await.unwrap();
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
