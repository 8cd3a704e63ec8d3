//! Certificates of a listener with TLS are replaced while the broker runs: by IncrementalAlterConfigs and at SIGHUP.

use std::sync::Arc;

use jackdaw::broker::Broker;
use jackdaw::config::Given;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::alter_configs::{BROKER, DELETE, SET, alter, set, value};
use crate::harness::Client;

const LOCATION: &str = "listener.name.ssl.ssl.keystore.location";
const OF_HTTP: &str = "listener.name.http.ssl.keystore.location";
const INVALID_REQUEST: i16 = 42;
const POLICY_VIOLATION: i16 = 44;

fn store(file: &str) -> String {
    format!("{}/tests/tls/{file}", env!("CARGO_MANIFEST_DIR"))
}

/// The settings of a broker with a plain listener and one with TLS.
fn given(keystore: &str) -> Given {
    let mut given = Given::default();
    given.set("listeners", "PLAINTEXT://127.0.0.1:0,SSL://127.0.0.1:0");
    given.set("ssl.keystore.location", keystore);
    given.set("ssl.keystore.password", "changeit");
    given
}

async fn start(given: Given) -> (Broker, Client) {
    let broker = Broker::builder().set_all(given).ephemeral().start().await.unwrap();
    let client = Client::of(&broker.listening()[0]).await;
    (broker, client)
}

/// Accepts every certificate.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

async fn connect(broker: &Broker) -> TlsStream<TcpStream> {
    connect_to(&broker.listening()[1]).await
}

async fn connect_to(address: &str) -> TlsStream<TcpStream> {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = config.dangerous().with_custom_certificate_verifier(Arc::new(Anybody)).with_no_client_auth();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

/// Whether the certificate of the listener has this common name.
async fn shows(broker: &Broker, name: &str) -> bool {
    shows_name(&connect(broker).await, name)
}

fn shows_name(stream: &TlsStream<TcpStream>, name: &str) -> bool {
    let certificate = &stream.get_ref().1.peer_certificates().unwrap()[0];
    certificate.windows(name.len()).any(|part| part == name.as_bytes())
}

async fn is_served(stream: &mut TlsStream<TcpStream>) -> bool {
    // ApiVersions 0 without a client id.
    stream.write_all(b"\0\0\0\x0a\0\x12\0\0\0\0\0\x01\xff\xff").await.is_ok()
        && stream.read_exact(&mut [0; 4]).await.is_ok()
}

#[tokio::test]
async fn a_certificate_is_replaced_by_its_setting_and_open_connections_stay() {
    let (broker, mut client) = start(given(&store("server.jks"))).await;
    let mut before = connect(&broker).await;
    let other = store("jdk17.p12");
    let (code, message) = alter(&mut client, BROKER, "1", &[(LOCATION, SET, Some(&other))]).await;
    assert_eq!(code, INVALID_REQUEST);
    assert!(message.unwrap().contains("ssl.allow.dn.changes=true allows that"));
    assert!(shows(&broker, "jks").await);

    let mut given = given(&store("server.jks"));
    given.set("ssl.allow.dn.changes", "true");
    given.set("ssl.allow.san.changes", "true");
    let (lenient, mut admin) = start(given).await;
    for wrong in [store("make"), store("missing.jks")] {
        let (code, message) = alter(&mut admin, BROKER, "1", &[(LOCATION, SET, Some(&wrong))]).await;
        assert_eq!(code, INVALID_REQUEST);
        assert!(message.unwrap().contains(&format!("{wrong} for configuration {LOCATION}")));
    }
    set(&mut admin, BROKER, "1", LOCATION, &other).await;
    assert!(shows(&lenient, "jdk17").await);
    assert_eq!(alter(&mut admin, BROKER, "1", &[(LOCATION, DELETE, None)]).await, (0, None));
    assert!(shows(&lenient, "jks").await, "the setting of all listeners counts again");
    assert!(is_served(&mut before).await);
}

#[tokio::test]
async fn a_file_that_was_replaced_is_read_when_its_setting_is_set_again_and_at_sighup() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("server.store");
    let put = |name: &str| std::fs::copy(store(name), &file).unwrap();
    put("server.jks");
    let mut given = given(file.to_str().unwrap());
    given.set("ssl.allow.dn.changes", "true");
    given.set("ssl.allow.san.changes", "true");
    let (broker, mut client) = start(given.clone()).await;
    set(&mut client, BROKER, "1", LOCATION, file.to_str().unwrap()).await;
    put("jdk17.p12");
    assert!(shows(&broker, "jks").await, "a new file alone changes nothing");
    set(&mut client, BROKER, "1", LOCATION, file.to_str().unwrap()).await;
    assert!(shows(&broker, "jdk17").await);
    put("jdk8.p12");
    broker.reload(given.clone()).await;
    assert!(shows(&broker, "jdk8").await);
    put("make");
    broker.reload(given).await;
    assert!(shows(&broker, "jdk8").await, "a file that cannot be read replaces nothing");
}

/// The answer of the HTTP server to a request over TLS.
async fn get(broker: &Broker, path: &str) -> String {
    let mut stream = connect_to(&broker.http().unwrap().to_string()).await;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn start_with_http() -> Broker {
    let mut given = given(&store("server.jks"));
    given.set("jackdaw.http.listener", "127.0.0.1:0");
    given.set("jackdaw.http.tls", "true");
    given.set(OF_HTTP, store("openssl3.p12"));
    start(given).await.0
}

#[tokio::test]
async fn health_is_answered_over_tls_where_it_is_asked_for() {
    let broker = start_with_http().await;
    assert!(shows_name(&connect_to(&broker.http().unwrap().to_string()).await, "leaf"));
    let answer = get(&broker, "/livez").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}

/// The settings of a broker with TLS at its HTTP port.
fn given_with_http(keystore: &str) -> Given {
    let mut given = given(&store("server.jks"));
    for (name, value) in [
        ("jackdaw.http.listener", "127.0.0.1:0"),
        ("jackdaw.http.tls", "true"),
        (OF_HTTP, keystore),
        ("ssl.allow.dn.changes", "true"),
        ("ssl.allow.san.changes", "true"),
    ] {
        given.set(name, value);
    }
    given
}

#[tokio::test]
async fn a_certificate_of_the_http_server_is_replaced_by_its_setting_and_stays_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let start = async || {
        let given = given_with_http(&store("server.jks"));
        Broker::builder().set_all(given).data_dir(dir.path()).start().await.unwrap()
    };
    let shows = async |broker: &Broker, name: &str| {
        shows_name(&connect_to(&broker.http().unwrap().to_string()).await, name)
    };
    let broker = start().await;
    let mut client = Client::of(&broker.listening()[0]).await;
    for wrong in [store("make"), store("missing.jks")] {
        let (code, message) = alter(&mut client, BROKER, "1", &[(OF_HTTP, SET, Some(&wrong))]).await;
        assert_eq!(code, INVALID_REQUEST);
        assert!(message.unwrap().contains(&format!("{wrong} for configuration {OF_HTTP}")));
    }
    assert!(shows(&broker, "jks").await);
    set(&mut client, BROKER, "1", OF_HTTP, &store("jdk17.p12")).await;
    assert!(shows(&broker, "jdk17").await);
    broker.stop().await;
    assert!(shows(&start().await, "jdk17").await);
}

#[tokio::test]
async fn settings_of_tls_that_are_refused_at_sighup_are_not_shown_and_others_act() {
    const AUTH: &str = "listener.name.ssl.ssl.client.auth";
    const RULES: &str = "listener.name.ssl.ssl.principal.mapping.rules";
    let given = given_with_http(&store("server.jks"));
    let (broker, mut client) = start(given.clone()).await;
    for (name, wrong) in [(AUTH, "required"), (RULES, "garbage"), (OF_HTTP, "/missing")] {
        let mut written = given.clone();
        written.set(name, wrong);
        written.set("log.retention.ms", "77");
        broker.reload(written).await;
        let before = given.get(name).map(str::to_owned);
        assert_eq!(value(&mut client, BROKER, "1", name).await.0, before, "{name}");
        assert_eq!(value(&mut client, BROKER, "1", "log.retention.ms").await.0.as_deref(), Some("77"));
        assert!(is_served(&mut connect(&broker).await).await);
    }
    let mut written = given;
    written.set(RULES, "RULE:^CN=(.*?),.*$/$1/");
    broker.reload(written).await;
    assert!(value(&mut client, BROKER, "1", RULES).await.0.is_some_and(|rules| rules.starts_with("RULE:")));
}

#[tokio::test]
async fn certificates_and_failed_handshakes_of_the_http_server_are_on_the_page() {
    let broker = start_with_http().await;
    let mut plain = TcpStream::connect(broker.http().unwrap()).await.unwrap();
    plain.write_all(b"GET /livez HTTP/1.1\r\n\r\n").await.unwrap();
    let _ = plain.read_to_end(&mut Vec::new()).await;
    let row = "jackdaw_tls_handshakes_failed_total{node_id=\"1\",listener=\"HTTP\",reason=\"http\"} 1";
    let page = loop {
        // A client sees its end a moment before it is counted.
        let page = get(&broker, "/metrics").await;
        if page.lines().any(|line| line == row) {
            break page;
        }
    };
    for name in ["leaf", "middle", "root"] {
        let of = format!("node_id=\"1\",listener=\"HTTP\",subject=\"CN={name},O=Example\"");
        let row = format!("jackdaw_tls_certificate_expiry_timestamp_seconds{{{of}}} ");
        assert_eq!(page.lines().filter(|line| line.starts_with(&row)).count(), 1, "{row}\n{page}");
    }
}

#[tokio::test]
async fn a_listener_may_ask_for_certificates_of_clients_while_the_broker_runs() {
    let (broker, mut client) = start(given(&store("server.jks"))).await;
    assert!(is_served(&mut connect(&broker).await).await);
    let auth = "listener.name.ssl.ssl.client.auth";
    let (code, message) = alter(&mut client, BROKER, "1", &[(auth, SET, Some("required"))]).await;
    assert_eq!(code, INVALID_REQUEST);
    assert!(message.unwrap().contains("ssl.truststore.location"), "there is nothing to verify them by");
    let trust = ("listener.name.ssl.ssl.truststore.location", SET, Some(&*store("trust.jks")));
    assert_eq!(alter(&mut client, BROKER, "1", &[(auth, SET, Some("required")), trust]).await, (0, None));
    assert!(!is_served(&mut connect(&broker).await).await);
}

#[tokio::test]
async fn a_trust_store_that_keeps_all_super_users_out_is_refused() {
    const TRUST: &str = "listener.name.ssl.ssl.truststore.location";
    let mut given = given(&store("server.jks"));
    for (name, value) in [
        ("ssl.client.auth", "required"),
        ("ssl.truststore.type", "PEM"),
        ("ssl.truststore.location", &*store("root.pem")),
        ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
        ("allow.everyone.if.no.acl.found", "true"),
        ("super.users", "User:CN=jks,O=Example"),
    ] {
        given.set(name, value);
    }
    let (_broker, mut client) = start(given).await;
    let mut trust = async |value: &str| alter(&mut client, BROKER, "1", &[(TRUST, SET, Some(value))]).await.0;
    assert_eq!(trust(&store("jdk17.pem")).await, POLICY_VIOLATION, "the authority let super users in");
    assert_eq!(trust(&store("jks.pem")).await, 0, "a super user has it");
    assert_eq!(trust(&store("jdk17.pem")).await, POLICY_VIOLATION);

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("trust.pem");
    let put = |name: &str| std::fs::copy(store(name), &file).unwrap();
    put("root.pem");
    assert_eq!(trust(file.to_str().unwrap()).await, 0);
    put("jdk17.pem");
    assert_eq!(trust(file.to_str().unwrap()).await, POLICY_VIOLATION, "the file is another one");
    put("jks.pem");
    assert_eq!(trust(file.to_str().unwrap()).await, 0);
}
