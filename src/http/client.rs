//! A client for one resource of an HTTPS server: the keys of an issuer of tokens.
//!
//! The server is the one that the settings name. Redirects are refused, and so are long and slow answers.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::config::HttpsAddress;
use crate::time;
use crate::types::host_and_port;

/// The time limit for everything from the look-up of the name to the last byte.
const LIMIT: Duration = Duration::from_secs(20);

/// Gets the resource, at most `most` bytes.
pub async fn get(address: &HttpsAddress, tls: Arc<ClientConfig>, most: usize) -> Result<Bytes, String> {
    time::within(LIMIT, get_in_any_time(address, tls, most))
        .await
        .unwrap_or_else(|| Err(format!("there was no complete answer within {} seconds", LIMIT.as_secs())))
}

async fn get_in_any_time(
    address: &HttpsAddress,
    tls: Arc<ClientConfig>,
    most: usize,
) -> Result<Bytes, String> {
    let name = ServerName::try_from(address.host.clone())
        .map_err(|_| format!("{} is not the name of a host", address.host))?;
    let stream = TcpStream::connect((address.host.as_str(), address.port))
        .await
        .map_err(|error| format!("no connection: {error}"))?;
    let stream = TlsConnector::from(tls)
        .connect(name, stream)
        .await
        .map_err(|error| format!("the TLS handshake failed: {error}"))?;
    exchange(stream, address, most).await
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    address: &HttpsAddress,
    most: usize,
) -> Result<Bytes, String> {
    let failed = |error: hyper::Error| format!("the exchange over HTTP failed: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let request = Request::get(address.path.as_str())
        .header(HOST, host_and_port(&address.host, address.port))
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, concat!("jackdaw/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("the request cannot be made: {error}"))?;
    let answered = async {
        let response = sender.send_request(request).await.map_err(failed)?;
        match response.status() {
            StatusCode::OK => {}
            status if status.is_redirection() => {
                return Err(format!(
                    "the answer is {status}; redirects are not followed: set the final address"
                ));
            }
            status => return Err(format!("the answer is {status}")),
        }
        let body = Limited::new(response.into_body(), most).collect().await;
        Ok(body.map_err(|error| format!("the exchange over HTTP failed: {error}"))?.to_bytes())
    };
    // The connection makes progress only while it is polled.
    tokio::pin!(connection, answered);
    tokio::select! {
        biased;
        answer = &mut answered => answer,
        Err(error) = &mut connection => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::crypto;
    use tokio_rustls::rustls::pki_types::CertificateDer;
    use tokio_rustls::rustls::{RootCertStore, ServerConfig};

    use super::*;

    const MOST: usize = 1000;

    /// A server for one connection.
    struct Peer {
        address: HttpsAddress,
        certificate: CertificateDer<'static>,
        /// The request, once it was answered.
        request: JoinHandle<String>,
    }

    impl Peer {
        /// A server with this answer to everything.
        async fn with(answer: String) -> Peer {
            let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
            let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(
                    vec![own.cert.der().clone()],
                    own.signing_key.serialize_der().try_into().unwrap(),
                )
                .unwrap();
            let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = socket.local_addr().unwrap().port();
            let request = tokio::spawn(async move {
                let stream = socket.accept().await.unwrap().0;
                let Ok(mut stream) = TlsAcceptor::from(Arc::new(config)).accept(stream).await else {
                    return String::new();
                };
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await.unwrap());
                }
                // The client may end the connection before it has everything.
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
                String::from_utf8(request).unwrap()
            });
            let address = HttpsAddress { host: "localhost".to_owned(), port, path: "/keys?a=b".to_owned() };
            Peer { address, certificate: own.cert.der().clone(), request }
        }

        /// The answer to a client that trusts this certificate.
        async fn answer_to(&self, trusted: &CertificateDer<'static>) -> Result<String, String> {
            let mut roots = RootCertStore::empty();
            roots.add(trusted.clone()).unwrap();
            let tls = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            let body = get(&self.address, Arc::new(tls), MOST).await?;
            Ok(String::from_utf8(body.to_vec()).unwrap())
        }

        async fn answer(&self) -> Result<String, String> {
            self.answer_to(&self.certificate).await
        }
    }

    fn answer(head: &str, body: &str) -> String {
        format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }

    #[tokio::test]
    async fn the_body_of_the_answer_is_returned() {
        let peer = Peer::with(answer("200 OK", "{\"keys\": []}")).await;
        assert_eq!(peer.answer().await.unwrap(), "{\"keys\": []}");
        let request = peer.request.await.unwrap();
        assert!(request.starts_with("GET /keys?a=b HTTP/1.1\r\n"), "{request}");
        assert!(request.contains(&format!("host: localhost:{}\r\n", peer.address.port)), "{request}");
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
        assert_eq!(Peer::with(chunked.to_owned()).await.answer().await.unwrap(), "abc");
        let most = "x".repeat(MOST);
        assert_eq!(Peer::with(answer("200 OK", &most)).await.answer().await.unwrap(), most);
    }

    #[tokio::test]
    async fn a_server_with_a_certificate_that_is_not_trusted_is_not_asked() {
        let (peer, other) = (Peer::with(answer("200 OK", "x")).await, Peer::with(String::new()).await);
        let refused = peer.answer_to(&other.certificate).await.unwrap_err();
        assert!(refused.starts_with("the TLS handshake failed"), "{refused}");
        assert_eq!(peer.request.await.unwrap(), "");
        let mut elsewhere = Peer::with(answer("200 OK", "x")).await;
        elsewhere.address.host = "127.0.0.1".to_owned();
        let refused = elsewhere.answer().await.unwrap_err();
        assert!(
            refused.starts_with("the TLS handshake failed"),
            "the certificate is for another name: {refused}"
        );
    }

    #[tokio::test]
    async fn redirects_errors_and_answers_that_are_long_or_broken_are_refused() {
        let long = "x".repeat(MOST + 1);
        let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(100 * MOST));
        let redirect = answer("302 Found\r\nLocation: https://elsewhere/", "");
        for (answer, why) in [
            (redirect.as_str(), "redirects are not followed"),
            (&answer("404 Not Found", "{}"), "the answer is 404"),
            (&answer("204 No Content", ""), "the answer is 204"),
            (&answer("200 OK", &long), "length limit exceeded"),
            (&endless, "length limit exceeded"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", "over HTTP failed"),
            ("SSH-2.0-OpenSSH\r\n", "over HTTP failed"),
            ("", "over HTTP failed"),
        ] {
            let refused = Peer::with(answer.to_owned()).await.answer().await.unwrap_err();
            assert!(refused.contains(why), "{answer:.40}: {refused}");
        }
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_an_error() {
        let peer = Peer::with(String::new()).await;
        peer.request.abort();
        let _ = peer.request.await;
        let address = peer.address;
        let peer =
            Peer { address, certificate: peer.certificate, request: tokio::spawn(async { String::new() }) };
        assert!(peer.answer().await.unwrap_err().starts_with("no connection"));
    }
}
