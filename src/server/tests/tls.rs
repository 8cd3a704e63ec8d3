//! Connections with TLS, over sockets of the loopback interface.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::config::Given;
use crate::security::tls::{Failure, Tls};

/// A key, and a certificate for it.
struct Identity {
    key: KeyPair,
    certificate: rcgen::Certificate,
}

/// Issues certificates for servers and clients.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let mut params = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Authority { issuer: Issuer::new(params, key), certificate }
    }

    fn issue(&self, params: CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity { key, certificate }
    }

    fn server(&self) -> Identity {
        let mut params = named("server");
        params.subject_alt_names = vec![rcgen::SanType::DnsName("localhost".try_into().unwrap())];
        self.issue(params)
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Example");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

impl Identity {
    fn pem(&self) -> String {
        pem("PRIVATE KEY", &self.key.serialize_der()) + &pem("CERTIFICATE", self.certificate.der())
    }

    fn write(&self, path: &Path) {
        std::fs::write(path, self.pem()).unwrap();
    }

    fn der(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (vec![self.certificate.der().clone()], PrivateKeyDer::Pkcs8(self.key.serialize_der().into()))
    }
}

/// A server with one listener SSL.
struct RunningServer {
    server: Server,
    tls: Arc<Tls>,
    settings: BrokerSettings,
    stop: Stop,
    authority: Authority,
    dir: tempfile::TempDir,
}

async fn start(set: &[(&str, &str)]) -> RunningServer {
    let authority = Authority::new("authority");
    let dir = tempfile::tempdir().unwrap();
    let keystore = dir.path().join("server.pem");
    authority.server().write(&keystore);
    let mut given = Given::default();
    given.set("listeners", "SSL://127.0.0.1:0");
    given.set("ssl.keystore.type", "PEM");
    given.set("ssl.keystore.location", keystore.to_str().unwrap());
    given.set("ssl.truststore.type", "PEM");
    given.set("ssl.truststore.certificates", pem("CERTIFICATE", authority.certificate.der()));
    set.iter().for_each(|(name, value)| given.set(*name, *value));
    let settings = BrokerSettings::load(given).unwrap();
    let tls = Arc::new(Tls::load(&settings).unwrap());
    let (stop, stopping) = Stop::new();
    let services = Services::in_memory_with(settings.clone(), stopping.clone()).with_tls(Arc::clone(&tls));
    let api = Api::with_table(&TABLE, Arc::new(services));
    let server = Server::start(&settings, api, stopping).await.unwrap();
    RunningServer { server, tls, settings, stop, authority, dir }
}

impl RunningServer {
    fn address(&self) -> SocketAddr {
        self.server.listening().next().unwrap().1
    }

    async fn connect_plain(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.unwrap()
    }

    /// A client that trusts the authority, and that may have a certificate.
    fn client(&self, identity: Option<&Identity>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.certificate.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_root_certificates(roots);
        Arc::new(match identity.map(Identity::der) {
            Some((chain, key)) => config.with_client_auth_cert(chain, key).unwrap(),
            None => config.with_no_client_auth(),
        })
    }

    async fn connect(&self, identity: Option<&Identity>) -> std::io::Result<TlsStream<TcpStream>> {
        self.connect_as(self.client(identity)).await
    }

    async fn connect_as(&self, client: Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(client).connect(name, self.connect_plain().await).await
    }

    /// The number of failed handshakes, once there is one.
    async fn failure(&self) -> Failure {
        let listener = self.tls.listener("SSL").unwrap();
        loop {
            if let Some((failure, _)) = listener.failures.all().find(|(_, count)| *count > 0) {
                return failure;
            }
            tokio::task::yield_now().await;
        }
    }
}

/// The first message of a client.
fn hello_of(client: Arc<ClientConfig>) -> Vec<u8> {
    let name = ServerName::try_from("localhost").unwrap();
    let mut hello = Vec::new();
    rustls::ClientConnection::new(client, name).unwrap().write_tls(&mut hello).unwrap();
    hello
}

/// Asks for the principal of the connection.
async fn principal(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin)) -> std::io::Result<String> {
    stream.write_all(&ask(ORDINARY, 1, "who", &Gate::new())).await?;
    let length = stream.read_u32().await?;
    let mut frame = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut frame).await?;
    Ok(String::from_utf8_lossy(&frame[4..]).into_owned())
}

#[tokio::test]
async fn a_client_without_a_certificate_is_anonymous() {
    let running = start(&[]).await;
    let mut stream = running.connect(None).await.unwrap();
    assert_eq!(principal(&mut stream).await.unwrap(), "User:ANONYMOUS");
}

#[tokio::test]
async fn the_certificate_of_a_client_is_its_identity() {
    for (auth, rules, expected) in [
        ("none", "DEFAULT", "User:ANONYMOUS"),
        ("requested", "DEFAULT", "User:CN=alice,O=Example"),
        ("required", "DEFAULT", "User:CN=alice,O=Example"),
        ("required", "RULE:^CN=(.*?),.*$/$1/U", "User:ALICE"),
    ] {
        let running = start(&[("ssl.client.auth", auth), ("ssl.principal.mapping.rules", rules)]).await;
        let alice = running.authority.issue(named("alice"));
        let mut stream = running.connect(Some(&alice)).await.unwrap();
        assert_eq!(principal(&mut stream).await.unwrap(), expected, "{auth} {rules}");
    }
}

/// A session that is resumed has the certificate of the first handshake, which can have expired since.
#[tokio::test]
async fn the_certificate_of_a_client_is_verified_in_each_handshake() {
    for (auth, second) in [
        ("none", HandshakeKind::Resumed),
        ("requested", HandshakeKind::Full),
        ("required", HandshakeKind::Full),
    ] {
        for protocol in ["TLSv1.2", "TLSv1.3"] {
            let running = start(&[("ssl.client.auth", auth), ("ssl.enabled.protocols", protocol)]).await;
            let client = running.client(Some(&running.authority.issue(named("alice"))));
            let mut kinds = Vec::new();
            for _ in 0..2 {
                let mut stream = running.connect_as(Arc::clone(&client)).await.unwrap();
                // A client of TLS 1.3 gets the means to resume with the first answer.
                principal(&mut stream).await.unwrap();
                kinds.push(stream.get_ref().1.handshake_kind().unwrap());
            }
            assert_eq!(kinds, [HandshakeKind::Full, second], "{auth} {protocol}");
        }
    }
}

/// The end of a connection whose handshake the server refuses. A client of TLS 1.3 learns of it when it reads.
async fn is_refused(running: &RunningServer, identity: Option<&Identity>) -> bool {
    match running.connect(identity).await {
        Err(_) => true,
        Ok(mut stream) => principal(&mut stream).await.is_err(),
    }
}

#[tokio::test]
async fn a_client_must_have_a_certificate_where_one_is_required() {
    let running = start(&[("ssl.client.auth", "required")]).await;
    assert!(is_refused(&running, None).await);
    assert_eq!(running.failure().await, Failure::NoCertificate);
    let requested = start(&[("ssl.client.auth", "requested")]).await;
    let mut stream = requested.connect(None).await.unwrap();
    assert_eq!(principal(&mut stream).await.unwrap(), "User:ANONYMOUS");
}

#[tokio::test]
async fn a_foreign_expired_or_server_certificate_of_a_client_is_refused_even_where_it_is_only_requested() {
    let foreign = |_: &Authority| Authority::new("other").issue(named("alice"));
    let expired = |authority: &Authority| {
        let mut params = named("alice");
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        authority.issue(params)
    };
    let for_servers = |authority: &Authority| {
        let mut params = named("alice");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        authority.issue(params)
    };
    let all: [&dyn Fn(&Authority) -> Identity; 3] = [&foreign, &expired, &for_servers];
    for make in all {
        let running = start(&[("ssl.client.auth", "requested")]).await;
        let identity = make(&running.authority);
        assert!(is_refused(&running, Some(&identity)).await);
        assert_eq!(running.failure().await, Failure::BadCertificate);
    }
}

#[tokio::test]
async fn a_certificate_that_is_trusted_itself_is_accepted_as_in_java() {
    let key = KeyPair::generate().unwrap();
    let mut params = named("self");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    let pem = pem("CERTIFICATE", certificate.der());
    let running = start(&[("ssl.client.auth", "required"), ("ssl.truststore.certificates", &pem)]).await;
    let mut stream = running.connect(Some(&Identity { key, certificate })).await.unwrap();
    assert_eq!(principal(&mut stream).await.unwrap(), "User:CN=self,O=Example");
}

#[tokio::test]
async fn a_client_whose_name_no_rule_matches_does_not_come_in() {
    let running =
        start(&[("ssl.client.auth", "required"), ("ssl.principal.mapping.rules", "RULE:CN=bob/bob/")]);
    let running = running.await;
    let alice = running.authority.issue(named("alice"));
    assert!(is_refused(&running, Some(&alice)).await);
    assert_eq!(running.failure().await, Failure::NoPrincipal);
}

#[tokio::test]
async fn at_sasl_ssl_a_certificate_admits_the_client_and_the_login_is_its_identity() {
    let set = [
        ("listeners", "SASL_SSL://127.0.0.1:0"),
        ("sasl.enabled.mechanisms", "SCRAM-SHA-256"),
        ("ssl.client.auth", "required"),
    ];
    let running = start(&set).await;
    let client = running.authority.issue(named("client"));
    let mut hasty = running.connect(Some(&client)).await.unwrap();
    assert!(principal(&mut hasty).await.is_err(), "nothing is served before the login");
    let mut stream = running.connect(Some(&client)).await.unwrap();
    let gate = Gate::new();
    gate.open();
    stream.write_all(&ask(API_VERSIONS, 1, "log-in", &gate)).await.unwrap();
    let length = stream.read_u32().await.unwrap();
    stream.read_exact(&mut vec![0; usize::try_from(length).unwrap()]).await.unwrap();
    assert_eq!(principal(&mut stream).await.unwrap(), "User:alice");
}

#[tokio::test]
async fn plain_clients_and_http_at_a_port_with_tls_are_recognised() {
    for (bytes, expected) in [
        (ask(ORDINARY, 1, "now", &Gate::new()), Failure::NotTls),
        (b"GET /livez HTTP/1.1\r\n\r\n".to_vec(), Failure::Http),
        (b"\x16\x03\x01\x00\x04\xff\x00\x00\x00".to_vec(), Failure::Malformed),
        (Vec::new(), Failure::Closed),
    ] {
        let running = start(&[]).await;
        let mut stream = running.connect_plain().await;
        stream.write_all(&bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert_eq!(running.failure().await, expected);
        while running.server.connections().closed_for(Reason::Handshake) == 0 {
            tokio::task::yield_now().await;
        }
    }
}

/// At most one handshake at a time, and no deadline.
const ONE_AT_A_TIME: [(&str, &str); 2] =
    [("jackdaw.tls.handshakes.max", "1"), ("jackdaw.tls.handshake.timeout.ms", "600000")];

#[tokio::test]
async fn clients_that_send_nothing_or_half_a_client_hello_keep_no_others_out() {
    let running = start(&ONE_AT_A_TIME).await;
    let hello = hello_of(running.client(None));
    let mut open = Vec::new();
    for sent in [0, 1, 5, 6, hello.len() - 1] {
        let mut stream = running.connect_plain().await;
        stream.write_all(&hello[..sent]).await.unwrap();
        open.push(stream);
    }
    let mut good = running.connect(None).await.unwrap();
    assert_eq!(principal(&mut good).await.unwrap(), "User:ANONYMOUS");
    let mut last = open.pop().unwrap();
    last.write_all(&hello[hello.len() - 1..]).await.unwrap();
    assert_eq!(last.read_u8().await.unwrap(), hello[0], "its handshake goes on");
    drop(last);
    assert_eq!(running.failure().await, Failure::Closed, "no other one failed");
    running.stop.begin();
    for mut stream in open {
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap_or(0), 0);
    }
}

#[tokio::test]
async fn a_handshake_that_does_not_go_on_makes_room_for_one_that_does() {
    let running = start(&ONE_AT_A_TIME).await;
    let _silent = running.connect_plain().await;
    let mut slow = running.connect_plain().await;
    slow.write_all(&hello_of(running.client(None))).await.unwrap();
    slow.read_u8().await.unwrap();
    let connections = running.server.connections();
    assert_eq!(connections.handshakes(), 1, "silent clients do not count");
    let mut good = running.connect(None).await.unwrap();
    assert_eq!(principal(&mut good).await.unwrap(), "User:ANONYMOUS");
    let _ = slow.read_to_end(&mut Vec::new()).await;
    assert_eq!(running.failure().await, Failure::MadeRoom);
    assert_eq!(connections.handshakes(), 0);
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_ended_by_the_deadline() {
    let hasty = start(&[("jackdaw.tls.handshake.timeout.ms", "1")]).await;
    assert_eq!(hasty.connect_plain().await.read(&mut [0; 8]).await.unwrap_or(0), 0);
    assert_eq!(hasty.failure().await, Failure::TooSlow);
}

#[tokio::test]
async fn a_client_hello_that_is_divided_among_records_or_longer_than_is_read_ahead_is_taken() {
    let running = start(&[]).await;
    let hello = hello_of(running.client(None));
    let divided: Vec<u8> =
        hello[5..].iter().flat_map(|byte| [hello[0], hello[1], hello[2], 0, 1, *byte]).collect();
    let mut client = (*running.client(None)).clone();
    client.alpn_protocols = vec![vec![b'a'; 200]; 20];
    for bytes in [divided, hello_of(Arc::new(client))] {
        let mut stream = running.connect_plain().await;
        stream.write_all(&bytes).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), hello[0], "{} bytes", bytes.len());
    }
}

#[tokio::test]
async fn large_answers_arrive_complete_however_the_client_reads() {
    let running = start(&[]).await;
    let mut stream = running.connect(None).await.unwrap();
    let many = 20;
    for correlation in 0..many {
        stream.write_all(&ask(BULKY, correlation, "large", &Gate::new())).await.unwrap();
    }
    let mut received = vec![stream.read_u8().await.unwrap()];
    // The server stops while it has bytes that the socket has not sent.
    running.stop.begin();
    stream.read_to_end(&mut received).await.unwrap();
    assert!(received.len() % LARGE_ANSWER == 0, "{} bytes", received.len());
    assert!(received.iter().all(|byte| *byte == 0));
}

#[tokio::test]
async fn a_record_that_does_not_end_is_charged_to_the_memory_for_requests() {
    let running = start(&[]).await;
    let mut stream = running.connect(None).await.unwrap();
    assert_eq!(principal(&mut stream).await.unwrap(), "User:ANONYMOUS");
    let held = || running.server.request_budgets().0.held();
    assert_eq!(held(), 0);
    // The header of a record of 16 KiB, and half of it.
    let half = [&[0x17, 3, 3, 0x40, 0][..], &[0; 8 << 10]].concat();
    stream.get_mut().0.write_all(&half).await.unwrap();
    let charged = time::within(Duration::from_secs(90), async {
        while held() < half.len() {
            tokio::task::yield_now().await;
        }
    });
    assert!(charged.await.is_some(), "{} bytes are charged", held());
}

#[tokio::test]
async fn a_replaced_certificate_is_for_new_connections_and_old_ones_stay() {
    let running = start(&[]).await;
    let mut before = running.connect(None).await.unwrap();
    let shown = |stream: &TlsStream<TcpStream>| stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    let first = shown(&before);
    running.authority.server().write(&running.dir.path().join("server.pem"));
    assert_eq!(shown(&running.connect(None).await.unwrap()), first, "a new file alone changes nothing");
    let listener = running.tls.listener("SSL").unwrap();
    listener.prepare(&running.settings).unwrap().install();
    let mut after = running.connect(None).await.unwrap();
    assert_ne!(shown(&after), first);
    for stream in [&mut before, &mut after] {
        assert_eq!(principal(stream).await.unwrap(), "User:ANONYMOUS");
    }
}
