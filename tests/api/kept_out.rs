//! The metrics of clients that are kept out, and of certificates, as they are on the page.

use std::sync::Arc;

use jackdaw::broker::Broker;
use jackdaw::protocol::messages::create_acls_request::{AclCreation, CreateAclsRequest};
use jackdaw::protocol::messages::{
    MetadataRequest, MetadataRequestTopic, SaslAuthenticateRequest, SaslHandshakeRequest,
};
use jackdaw::security::operations::Operation;
use jackdaw::time;
use rcgen::{CertificateParams, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Client, PATIENCE};

const TOPIC: i8 = 2;
const LITERAL: i8 = 3;
const DENY: i8 = 2;

/// A broker with a listener for logins, one for TLS, and an authorizer. Its certificate expires at the begin of 2040.
async fn broker() -> Broker {
    let mut certificate = CertificateParams::new(["localhost".to_owned()]).unwrap();
    certificate.not_after = rcgen::date_time_ymd(2040, 1, 1);
    certificate.distinguished_name.push(rcgen::DnType::CommonName, "kept out");
    let key = KeyPair::generate().unwrap();
    let certificate = certificate.self_signed(&key).unwrap();
    let module = "org.apache.kafka.common.security.plain.PlainLoginModule required";
    let users = format!("{module} user_alice=\"secret\" user_root=\"secret\";");
    Broker::builder()
        .ephemeral()
        .set("listeners", "SASL_PLAINTEXT://127.0.0.1:0,SSL://127.0.0.1:0")
        .set("jackdaw.http.listener", "127.0.0.1:0")
        .set("sasl.enabled.mechanisms", "PLAIN")
        .set("listener.name.sasl_plaintext.plain.sasl.jaas.config", users)
        .set("connection.failed.authentication.delay.ms", "0")
        .set("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")
        .set("super.users", "User:root")
        .set("ssl.keystore.type", "PEM")
        .set("ssl.keystore.certificate.chain", certificate.pem())
        .set("ssl.keystore.key", key.serialize_pem())
        .start()
        .await
        .unwrap()
}

async fn handshake(broker: &Broker, mechanism: &str) -> (Client, i16) {
    let mut client = Client::of(&broker.listening()[0]).await;
    let answer = client.call(1, SaslHandshakeRequest { mechanism: mechanism.to_owned() }).await;
    (client, answer.error_code)
}

/// A client of PLAIN, and whether it is logged in.
async fn log_in(broker: &Broker, message: &[u8]) -> (Client, bool) {
    let (mut client, _) = handshake(broker, "PLAIN").await;
    let answer = client.call(2, SaslAuthenticateRequest { auth_bytes: message.to_vec().into() }).await;
    (client, answer.error_code == 0)
}

async fn look_at(client: &mut Client, topic: &str) {
    let topic = MetadataRequestTopic { name: Some(topic.to_owned()), ..Default::default() };
    client.call(12, MetadataRequest { topics: Some(vec![topic]), ..Default::default() }).await;
}

/// Sends bytes to the port with TLS and waits for the end of the connection.
async fn without_tls(broker: &Broker, bytes: &[u8]) {
    let mut stream = TcpStream::connect(&broker.listening()[1]).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    // The end may come as an error, because the broker does not read everything.
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

async fn page(broker: &Broker) -> String {
    let mut stream = TcpStream::connect(broker.http().unwrap()).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Waits until the page has a row: a client sees its end a moment before it is counted.
async fn shows(broker: &Broker, row: &str) {
    let shown = async { while !page(broker).await.lines().any(|line| line == row) {} };
    if time::within(PATIENCE, shown).await.is_none() {
        panic!("{row} is not on the page:\n{}", page(broker).await);
    }
}

#[tokio::test]
async fn failed_logins_are_counted_by_listener_mechanism_and_reason() {
    let broker = broker().await;
    for (message, is_right) in [
        (&b"\0alice\0wrong"[..], false),
        (b"\0nobody\0secret", false),
        (b"alice", false),
        (b"root\0alice\0secret", false),
        (b"\0alice\0secret", true),
    ] {
        assert_eq!(log_in(&broker, message).await.1, is_right);
    }
    assert_ne!(handshake(&broker, "SCRAM-SHA-256").await.1, 0);
    for (mechanism, outcome, reason, count) in [
        ("PLAIN", "succeeded", "", 1),
        ("PLAIN", "failed", "credentials", 2),
        ("PLAIN", "failed", "malformed", 1),
        ("PLAIN", "failed", "other_user", 1),
        ("PLAIN", "failed", "token", 0),
        ("other", "failed", "not_offered", 1),
    ] {
        let of = format!("mechanism=\"{mechanism}\",outcome=\"{outcome}\",reason=\"{reason}\"");
        shows(&broker, &format!("jackdaw_logins_total{{listener=\"SASL_PLAINTEXT\",{of}}} {count}")).await;
    }
}

#[tokio::test]
async fn a_request_that_is_too_large_before_the_login_and_handshakes_under_way_are_counted() {
    let broker = broker().await;
    let mut large = TcpStream::connect(&broker.listening()[0]).await.unwrap();
    large.write_all(&[0x7f, 0, 0, 0, 0, 18]).await.unwrap();
    let _ = large.read_to_end(&mut Vec::new()).await;
    shows(&broker, "jackdaw_connections_closed_total{reason=\"too_large_before_login\"} 1").await;
    shows(&broker, "jackdaw_tls_handshakes 0").await;
    let mut halfway = TcpStream::connect(&broker.listening()[1]).await.unwrap();
    halfway.write_all(&client_hello()).await.unwrap();
    shows(&broker, "jackdaw_tls_handshakes 1").await;
    drop(halfway);
    shows(&broker, "jackdaw_tls_handshakes 0").await;
}

/// The first message of a TLS client.
fn client_hello() -> Vec<u8> {
    let config =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let mut hello = Vec::new();
    rustls::ClientConnection::new(Arc::new(config), name).unwrap().write_tls(&mut hello).unwrap();
    hello
}

#[tokio::test]
async fn denials_are_counted_by_listener_resource_and_reason() {
    let broker = broker().await;
    let (mut root, _) = log_in(&broker, b"\0root\0secret").await;
    let deny = AclCreation {
        resource_type: TOPIC,
        resource_name: "secrets".to_owned(),
        resource_pattern_type: LITERAL,
        principal: "User:alice".to_owned(),
        host: "*".to_owned(),
        operation: Operation::Describe as i8,
        permission_type: DENY,
    };
    let created = root.call(3, CreateAclsRequest { creations: vec![deny] }).await;
    assert_eq!(created.results[0].error_code, 0);
    let (mut alice, _) = log_in(&broker, b"\0alice\0secret").await;
    for topic in ["secrets", "orders", "orders"] {
        look_at(&mut alice, topic).await;
    }
    for (listener, resource, reason, count) in [
        ("SASL_PLAINTEXT", "topic", "denied", 1),
        ("SASL_PLAINTEXT", "topic", "not_allowed", 2),
        ("SASL_PLAINTEXT", "group", "denied", 0),
        ("SSL", "topic", "not_allowed", 0),
    ] {
        let of = format!("listener=\"{listener}\",resource=\"{resource}\",reason=\"{reason}\"");
        shows(&broker, &format!("jackdaw_denials_total{{{of}}} {count}")).await;
    }
}

#[tokio::test]
async fn failed_handshakes_are_counted_by_reason_and_the_certificate_shows_when_it_expires() {
    let broker = broker().await;
    without_tls(&broker, b"GET / HTTP/1.1\r\n\r\n").await;
    for _ in 0..2 {
        without_tls(&broker, b"\0\0\0\x0a\0\x12\0\0\0\0\0\x01\xff\xff").await;
    }
    for (reason, count) in [("http", 1), ("not_tls", 2), ("bad_certificate", 0)] {
        let of = format!("node_id=\"1\",listener=\"SSL\",reason=\"{reason}\"");
        shows(&broker, &format!("jackdaw_tls_handshakes_failed_total{{{of}}} {count}")).await;
    }
    let of = "node_id=\"1\",listener=\"SSL\",subject=\"CN=kept out\"";
    let expiry = format!("jackdaw_tls_certificate_expiry_timestamp_seconds{{{of}}} 2208988800");
    shows(&broker, &expiry).await;
}
