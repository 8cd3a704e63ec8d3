//! The connections of the HTTP server: their places, their TLS handshakes, and their time limits.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tracing::warn;

use super::places::Place;
use super::{Shared, serve};
use crate::security::tls::Tls;
use crate::time;

/// The pause in accepting when the system has no descriptor or memory for it.
const BACK_OFF: Duration = Duration::from_millis(200);
/// The first byte of TLS, and of no request.
const TLS: u8 = 0x16;

pub(super) async fn accept(socket: TcpListener, shared: Arc<Shared>, tls: Arc<Tls>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, peer)) = socket.accept().await else {
            time::sleep(BACK_OFF).await;
            continue;
        };
        let place = shared.places.take().await;
        let (shared, tls) = (Arc::clone(&shared), Arc::clone(&tls));
        connections.spawn(async move {
            let served = time::within(shared.limits.connection, begin(stream, peer, &shared, &tls, &place));
            tokio::select! {
                _ = served => {}
                () = place.is_cut_off() => {}
            }
        });
    }
}

#[cfg(feature = "security")]
async fn begin(stream: TcpStream, peer: SocketAddr, shared: &Arc<Shared>, tls: &Tls, place: &Place) {
    let Some(listener) = tls.listeners().next() else {
        return begin_plain(stream, peer, shared, place).await;
    };
    let limit = shared.limits.handshake;
    if let Some(stream) = crate::server::accept_for_http(stream, peer, listener, limit).await {
        serve(stream, peer, shared, place).await;
    }
}

#[cfg(not(feature = "security"))]
async fn begin(stream: TcpStream, peer: SocketAddr, shared: &Arc<Shared>, _: &Tls, place: &Place) {
    begin_plain(stream, peer, shared, place).await;
}

async fn begin_plain(stream: TcpStream, peer: SocketAddr, shared: &Arc<Shared>, place: &Place) {
    let mut first = [0];
    match time::within(shared.limits.request, stream.peek(&mut first)).await {
        Some(Ok(1..)) if first == [TLS] => warn!(
            %peer,
            "TLS arrived at the HTTP port, which has none: use http:// in the client, or set jackdaw.http.tls=true; \
             connection closed"
        ),
        Some(Ok(1..)) => serve(stream, peer, shared, place).await,
        // It was closed, or sends nothing.
        Some(_) | None => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::config::HTTP_CONNECTIONS;
    use crate::http::tests::{FINE, get, sources, start_with};
    use crate::http::{Http, Limits, SCRAPES, Sources};
    use crate::types::IgnorePoison;

    const LONG: Duration = Duration::from_hours(1);
    const PATIENT: Limits = Limits {
        #[cfg(feature = "security")]
        handshake: LONG,
        request: LONG,
        connection: LONG,
    };

    async fn is_closed(stream: &mut TcpStream) -> bool {
        stream.read(&mut [0]).await.unwrap_or(0) == 0
    }

    async fn silent(http: &Http) -> Vec<TcpStream> {
        let mut silent = Vec::new();
        for _ in 0..HTTP_CONNECTIONS {
            silent.push(TcpStream::connect(http.address()).await.unwrap());
        }
        silent
    }

    #[tokio::test]
    async fn a_silent_connection_makes_room_for_one_that_asks() {
        let http = start_with(PATIENT, Arc::default()).await;
        let mut silent = silent(&http).await;
        assert_eq!(get(&http, "/livez").await.0, FINE);
        assert!(is_closed(&mut silent[0]).await, "the oldest");
        silent[1].write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = [0; FINE.len()];
        silent[1].read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, FINE.as_bytes(), "the next one is served");
    }

    #[tokio::test]
    async fn a_connection_without_a_request_is_closed_in_time() {
        let hasty = Limits { request: Duration::from_millis(1), ..PATIENT };
        let http = start_with(hasty, Arc::default()).await;
        assert!(is_closed(&mut TcpStream::connect(http.address()).await.unwrap()).await);
    }

    #[tokio::test]
    async fn a_page_of_metrics_keeps_its_turn_when_its_client_hangs_up() {
        let http = start_with(PATIENT, Arc::default()).await;
        let ((begin, mut begun), (release, released)) =
            (tokio::sync::mpsc::unbounded_channel(), channel::<()>());
        let released = Mutex::new(released);
        let metrics = move |_| {
            begin.send(()).unwrap();
            released.lock().ignoring_poison().recv().unwrap();
            String::new()
        };
        http.serve(Sources { metrics: Box::new(metrics), ..sources(Vec::new()) });
        for _ in 0..SCRAPES {
            let mut stream = TcpStream::connect(http.address()).await.unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            begun.recv().await.unwrap();
        }
        while http.shared.places.in_use() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(http.shared.scrapes.available_permits(), 0);
        (0..=SCRAPES).for_each(|_| release.send(()).unwrap());
        assert_eq!(get(&http, "/metrics").await.0, FINE);
    }

    #[tokio::test]
    async fn a_page_that_is_being_read_keeps_its_turn_and_its_connection() {
        const LONG_PAGE: usize = 16 << 20;
        let http = start_with(PATIENT, Arc::default()).await;
        let metrics = |_| "m".repeat(LONG_PAGE);
        http.serve(Sources { metrics: Box::new(metrics), ..sources(Vec::new()) });
        let mut reader = TcpStream::connect(http.address()).await.unwrap();
        reader.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        reader.read_exact(&mut [0]).await.unwrap();
        assert_eq!(http.shared.scrapes.available_permits(), SCRAPES - 1);
        let _silent = silent(&http).await;
        assert_eq!(get(&http, "/livez").await.0, FINE);
        let mut page = String::new();
        reader.read_to_string(&mut page).await.unwrap();
        assert!(page.len() > LONG_PAGE, "its connection is the oldest, and is not cut off");
    }

    #[cfg(feature = "security")]
    mod with_tls {
        use tokio_rustls::TlsConnector;
        use tokio_rustls::client::TlsStream;
        use tokio_rustls::rustls::crypto::ring::default_provider;
        use tokio_rustls::rustls::pki_types::ServerName;
        use tokio_rustls::rustls::{ClientConfig, RootCertStore};

        use super::*;
        use crate::config::{BrokerSettings, Given};

        /// An HTTP server with a certificate for localhost, and clients that trust it.
        struct Encrypted {
            http: Http,
            tls: Arc<Tls>,
            client: TlsConnector,
        }

        async fn start(limits: Limits) -> Encrypted {
            let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
            let mut given = Given::default();
            for (name, value) in [
                ("jackdaw.http.listener", "127.0.0.1:0"),
                ("jackdaw.http.tls", "true"),
                ("ssl.keystore.type", "PEM"),
                ("ssl.keystore.certificate.chain", &own.cert.pem()),
                ("ssl.keystore.key", &own.signing_key.serialize_pem()),
            ] {
                given.set(name, value);
            }
            let tls = Tls::load_for_http(&BrokerSettings::load(given).unwrap()).unwrap();
            let mut roots = RootCertStore::empty();
            roots.add(own.cert.der().clone()).unwrap();
            let client = ClientConfig::builder_with_provider(Arc::new(default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            let tls = Arc::new(tls);
            let http = start_with(limits, Arc::clone(&tls)).await;
            Encrypted { http, tls, client: TlsConnector::from(Arc::new(client)) }
        }

        impl Encrypted {
            /// Waits for a failed handshake with this reason.
            async fn fails_for(&self, reason: &str) {
                let has_failed = || {
                    let failed = self.tls.failed();
                    failed.iter().any(|(name, why, count)| name == "HTTP" && *why == reason && *count == 1)
                };
                while !has_failed() {
                    tokio::task::yield_now().await;
                }
            }

            async fn connect(&self) -> TlsStream<TcpStream> {
                let stream = TcpStream::connect(self.http.address()).await.unwrap();
                self.client.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap()
            }

            async fn livez(&self) -> String {
                let mut stream = self.connect().await;
                stream.write_all(b"GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n").await.unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await.unwrap();
                answer
            }
        }

        #[tokio::test]
        async fn clients_that_begin_no_handshake_or_send_no_request_make_room_for_one_that_does() {
            let server = start(PATIENT).await;
            let mut silent = silent(&server.http).await;
            assert!(server.livez().await.starts_with(FINE));
            assert!(is_closed(&mut silent[0]).await);
            drop(silent);
            let mut idle = Vec::new();
            for _ in 0..HTTP_CONNECTIONS {
                idle.push(server.connect().await);
            }
            assert!(server.livez().await.starts_with(FINE));
            assert_eq!(idle[0].read(&mut [0]).await.unwrap_or(0), 0);
        }

        #[tokio::test]
        async fn a_handshake_that_does_not_end_is_ended_by_the_deadline() {
            let hasty = start(Limits { handshake: Duration::from_millis(1), ..PATIENT }).await;
            let mut stream = TcpStream::connect(hasty.http.address()).await.unwrap();
            assert!(is_closed(&mut stream).await);
            hasty.fails_for("too_slow").await;
        }

        #[tokio::test]
        async fn failed_handshakes_are_counted_by_their_reason() {
            let server = start(PATIENT).await;
            for (sent, reason) in [
                (&b"GET /livez HTTP/1.1\r\n\r\n"[..], "http"),
                (b"\0\0\0\x0a\0\x12", "not_tls"),
                (b"\x16\x03\x01\0\x04\x01\0\0\0", "malformed"),
            ] {
                let mut stream = TcpStream::connect(server.http.address()).await.unwrap();
                stream.write_all(sent).await.unwrap();
                let _ = stream.read_to_end(&mut Vec::new()).await;
                server.fails_for(reason).await;
            }
        }
    }
}
