//! TLS handshakes in large numbers that do not go on, at a broker that plans with 256 MiB.

use std::future::pending;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jackdaw::time;
use rustix::net::{RecvFlags, recv};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::connections::{Files, Usage};
use crate::descriptors::Limited;
use crate::harness::Client;
use crate::victim::{MEMORY, MOST, alone, is_served};

const HALF_OPEN: usize = 5_000;
const SLOW: usize = 1_000;

/// Certificates and keys that are made for tests.
fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name);
    path.to_str().expect("a path").to_owned()
}

fn client() -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file("root.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Arc::new(config.unwrap().with_root_certificates(roots).with_no_client_auth())
}

fn name() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

fn client_hello() -> Vec<u8> {
    let mut hello = Vec::new();
    ClientConnection::new(client(), name()).unwrap().write_tls(&mut hello).unwrap();
    hello
}

async fn good_client(address: &str) -> Client<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(address).await.unwrap();
    Client::over(TlsConnector::from(client()).connect(name(), socket).await.unwrap())
}

/// Sends all but the last byte, one at a time.
async fn drip(hello: &[u8], to: &mut [TcpStream]) {
    for byte in &hello[..hello.len() - 1] {
        for socket in &mut *to {
            socket.write_all(&[*byte]).await.expect("it is open");
        }
        time::sleep(Duration::from_millis(10)).await;
    }
    pending::<()>().await;
}

fn is_open(socket: &TcpStream) -> bool {
    let received = recv(socket, &mut [0_u8; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
    received.is_err_and(|error| error == rustix::io::Errno::AGAIN)
}

#[test]
fn handshakes_that_are_half_open_or_slow_in_thousands_keep_no_good_client_out() {
    alone(async {
        let (files, clients) = Files::for_clients(HALF_OPEN + SLOW, 1);
        let slowly = clients * SLOW / (HALF_OPEN + SLOW);
        let data = tempfile::tempdir().unwrap();
        let keystore = format!("ssl.keystore.location={}", file("openssl3.p12"));
        let memory = format!("jackdaw.memory.max.bytes={MEMORY}");
        let settings = [
            "listeners=SSL://127.0.0.1:0",
            "ssl.keystore.type=PKCS12",
            "ssl.keystore.password=changeit",
            &keystore,
            &memory,
            // Nobody has to be served because the deadline of the others has passed.
            "jackdaw.tls.handshake.timeout.ms=3600000",
        ];
        let broker = Limited::with(10_000, data.path(), &settings);
        let mut before = good_client(&broker.address).await;
        before.create_topic("t").await;
        is_served(&mut before).await;
        let usage = Usage::of(&broker);

        let hello = client_hello();
        let (mut waiting, mut unanswering, mut slow) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..clients - slowly {
            let mut socket = TcpStream::connect(&broker.address).await.unwrap();
            let sent = [0, 1, hello.len() / 2, hello.len()][number % 4];
            socket.write_all(&hello[..sent]).await.unwrap();
            let kept = if sent < hello.len() { &mut waiting } else { &mut unanswering };
            kept.push(socket);
        }
        for _ in 0..slowly {
            slow.push(TcpStream::connect(&broker.address).await.unwrap());
        }
        let good = async {
            for _ in 0..20 {
                is_served(&mut good_client(&broker.address).await).await;
            }
        };
        tokio::select! {
            () = drip(&hello, &mut slow) => {}
            () = good => {}
        }
        is_served(&mut before).await;
        let still_open = waiting.iter().chain(&slow).filter(|socket| is_open(socket)).count();
        assert_eq!(still_open, waiting.len() + slowly, "none of them had to make room");
        let grown = Usage::of(&broker).peak_kib - usage.peak_kib;
        println!("{grown} KiB");
        assert!(grown < MOST >> 10, "{grown} KiB");
        drop((unanswering, files));
    });
}
