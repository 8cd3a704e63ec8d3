//! An HTTPS server for the tests of what this broker asks of others.

use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;

use crate::types::IgnorePoison;

/// A server with one answer to everything. Each connection gets one.
#[derive(Clone)]
pub struct Server {
    port: u16,
    state: Arc<Mutex<State>>,
}

struct State {
    /// The body; `None` means that each connection is closed at once.
    answer: Option<String>,
    tls: Arc<ServerConfig>,
}

impl Server {
    /// A server with a certificate, which is written to the file.
    pub async fn start(answer: &str, certificate: &Path) -> Server {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let (tls, pem) = certified();
        std::fs::write(certificate, pem).unwrap();
        let state = Arc::new(Mutex::new(State { answer: Some(answer.to_owned()), tls }));
        let server = Server { port, state };
        tokio::spawn(server.clone().serve(socket));
        server
    }

    pub fn answers(&self, answer: &str) {
        self.state.lock().ignoring_poison().answer = Some(answer.to_owned());
    }

    /// From now on it closes each connection.
    pub fn closes(&self) {
        self.state.lock().ignoring_poison().answer = None;
    }

    /// From now on it has another certificate, which is returned.
    pub fn certify_anew(&self) -> String {
        let (tls, pem) = certified();
        self.state.lock().ignoring_poison().tls = tls;
        pem
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    async fn serve(self, socket: TcpListener) {
        loop {
            let stream = socket.accept().await.unwrap().0;
            let (answer, tls) = {
                let state = self.state.lock().ignoring_poison();
                (state.answer.clone(), Arc::clone(&state.tls))
            };
            let Some(answer) = answer else { continue };
            // A client that does not trust the certificate ends the handshake.
            let Ok(mut stream) = TlsAcceptor::from(tls).accept(stream).await else { continue };
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len());
            stream.write_all((head + &answer).as_bytes()).await.unwrap();
            let _ = stream.shutdown().await;
        }
    }
}

/// A certificate for localhost that signs itself, also as PEM.
fn certified() -> (Arc<ServerConfig>, String) {
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = own.signing_key.serialize_der().try_into().unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    (Arc::new(config), own.cert.pem())
}
