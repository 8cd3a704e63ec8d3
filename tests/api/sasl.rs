//! Logins byte for byte: each exchange, and each with one thing wrong. The answers are those of Apache Kafka 4.4.

use jackdaw::api::error::ErrorCode;
use jackdaw::kernel::CredentialChange;
use jackdaw::protocol::Request;
use jackdaw::protocol::messages::{
    ApiVersionsRequest, IncrementalAlterConfigsRequest, MetadataRequest, SaslAuthenticateRequest,
    SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse, incremental_alter_configs_request,
};
use jackdaw::security::sasl::scram;
use jackdaw::storage::Location;
use jackdaw::time::Clock;
use jackdaw::types::{ScramHash, Timestamp};

use crate::harness::{Client, Node, code};

const PLAIN: &str = "PLAIN";
const SHA_256: &str = "SCRAM-SHA-256";
const SHA_512: &str = "SCRAM-SHA-512";
const ALICE: &[u8] = b"\0alice\0secret";
const BEN: &[u8] = b"\0ben\0other";
/// The key of SaslAuthenticate.
const SASL: i16 = 36;
const JAAS: &str = "listener.name.sasl_plaintext.plain.sasl.jaas.config";
const USERS: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required user_alice=\"secret\" \
                     user_ben=\"other\";";

async fn node_with(settings: &[(&str, &str)], clock: Clock) -> Node {
    let usual = [
        ("listeners", "SASL_PLAINTEXT://127.0.0.1:0"),
        ("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"),
        (JAAS, USERS),
        ("connection.failed.authentication.delay.ms", "0"),
    ];
    Node::timed(Location::Memory, &[&usual[..], settings].concat(), clock).await
}

async fn node() -> Node {
    node_with(&[], Clock::machine()).await
}

async fn handshake(client: &mut Client, version: i16, mechanism: &str) -> SaslHandshakeResponse {
    client.call(version, SaslHandshakeRequest { mechanism: mechanism.to_owned() }).await
}

async fn authenticate(client: &mut Client, version: i16, message: &[u8]) -> SaslAuthenticateResponse {
    client.call(version, SaslAuthenticateRequest { auth_bytes: message.to_vec().into() }).await
}

/// Logs in with PLAIN.
async fn log_in(client: &mut Client, message: &[u8]) -> SaslAuthenticateResponse {
    assert_eq!(handshake(client, 1, PLAIN).await.error_code, 0);
    authenticate(client, 2, message).await
}

async fn logged_in(node: &Node) -> Client {
    let mut client = node.client().await;
    assert_eq!(log_in(&mut client, ALICE).await.error_code, 0);
    client
}

async fn is_served(client: &mut Client) -> bool {
    client.send(12, &MetadataRequest::default()).await;
    client.receive_bytes_or_close().await.is_some()
}

fn text(answer: &SaslAuthenticateResponse) -> &str {
    answer.error_message.as_deref().unwrap_or_default()
}

#[tokio::test]
async fn a_client_logs_in_with_plain_in_every_version_and_is_served() {
    let node = node().await;
    for version in 0..=2 {
        let mut client = node.client().await;
        let answer = client
            .call(
                4,
                ApiVersionsRequest {
                    client_software_name: "a".into(),
                    client_software_version: "1".into(),
                    ..Default::default()
                },
            )
            .await;
        assert_eq!(answer.error_code, 0);
        let answer = handshake(&mut client, 1, PLAIN).await;
        assert_eq!(
            (answer.error_code, answer.mechanisms),
            (0, [PLAIN, SHA_256, SHA_512].map(str::to_owned).to_vec())
        );
        let answer = authenticate(&mut client, version, ALICE).await;
        assert_eq!(answer, SaslAuthenticateResponse::default(), "version {version}");
        assert!(is_served(&mut client).await);
    }
}

#[tokio::test]
async fn before_the_login_everything_else_closes_the_connection_at_once() {
    let node = node().await;
    let mut client = node.client().await;
    assert!(!is_served(&mut client).await);
    let mut client = node.client().await;
    client.send(0, &SaslAuthenticateRequest { auth_bytes: ALICE.to_vec().into() }).await;
    assert!(client.is_closed().await, "a message without a handshake");
    let mut client = node.client().await;
    client.call(0, ApiVersionsRequest::default()).await;
    client.send(0, &ApiVersionsRequest::default()).await;
    assert!(client.is_closed().await, "versions for the second time");
    let mut client = node.client().await;
    handshake(&mut client, 1, PLAIN).await;
    assert!(!is_served(&mut client).await, "in the middle of the login");
}

#[tokio::test]
async fn a_listener_without_logins_serves_everybody_beside_one_that_asks_for_them() {
    let listeners = "SASL_PLAINTEXT://127.0.0.1:0,PLAINTEXT://127.0.0.1:0";
    let node = node_with(&[("listeners", listeners)], Clock::machine()).await;
    let served = [false, true];
    for (address, expected) in node.listening().zip(served) {
        assert_eq!(is_served(&mut Client::of(&address.to_string()).await).await, expected);
    }
    assert_eq!(node.listening().count(), served.len());
}

#[tokio::test]
async fn a_bad_software_name_is_refused_and_the_login_goes_on() {
    let node = node().await;
    let mut client = node.client().await;
    let answer =
        client.call(3, ApiVersionsRequest { client_software_name: "-".into(), ..Default::default() }).await;
    assert_eq!(answer.error_code, code(ErrorCode::InvalidRequest));
    assert_eq!(log_in(&mut client, ALICE).await.error_code, 0);
}

#[tokio::test]
async fn an_unknown_mechanism_gets_the_list_of_those_that_are_offered() {
    let node = node_with(&[("sasl.enabled.mechanisms", "PLAIN")], Clock::machine()).await;
    for mechanism in [SHA_256, "plain", "GSSAPI", ""] {
        for version in [0, 1] {
            let mut client = node.client().await;
            let answer = handshake(&mut client, version, mechanism).await;
            assert_eq!(answer.error_code, code(ErrorCode::UnsupportedSaslMechanism), "{mechanism}");
            assert_eq!(answer.mechanisms, [PLAIN]);
            assert!(client.is_closed().await);
        }
    }
}

#[tokio::test]
async fn a_failed_login_is_answered_with_its_reason_and_ends_the_connection() {
    let node = node().await;
    const INVALID: &str = "Authentication failed: Invalid username or password";
    let cases: [(&[u8], &str); 3] = [
        (b"alice", "Invalid SASL/PLAIN response: expected 3 tokens, got 1"),
        (b"\0alice\0wrong", INVALID),
        (b"\0nobody\0secret", INVALID),
    ];
    for (message, why) in cases {
        let mut client = node.client().await;
        let answer = log_in(&mut client, message).await;
        assert_eq!((answer.error_code, text(&answer)), (code(ErrorCode::SaslAuthenticationFailed), why));
        assert!(answer.auth_bytes.is_empty());
        assert!(client.is_closed().await);
    }
}

/// The last message of a login that fails, after those before it.
async fn begin_to_fail(client: &mut Client, mechanism: &str) -> Vec<u8> {
    handshake(client, 1, mechanism).await;
    if mechanism == PLAIN {
        return b"\0alice\0wrong".to_vec();
    }
    let challenge = authenticate(client, 1, FIRST.as_bytes()).await.auth_bytes;
    let proof = scram::Client::new(ScramHash::Sha256, "user", "other", "fyko").prove(&challenge).unwrap();
    proof.message.into_bytes()
}

#[tokio::test]
async fn z1_whatever_a_client_sends_behind_a_failed_login_is_not_served() {
    let node = node().await;
    add_user(&node, ScramHash::Sha256).await;
    let (alice, again) = (ALICE.to_vec().into(), SaslHandshakeRequest { mechanism: PLAIN.to_owned() });
    let right = SaslAuthenticateRequest { auth_bytes: alice };
    for mechanism in [PLAIN, SHA_256] {
        for next in [MetadataRequest::KEY, ApiVersionsRequest::KEY, SaslHandshakeRequest::KEY, SASL] {
            let mut client = node.client().await;
            let auth_bytes = begin_to_fail(&mut client, mechanism).await.into();
            client.send(1, &SaslAuthenticateRequest { auth_bytes }).await;
            match next {
                MetadataRequest::KEY => client.send(12, &MetadataRequest::default()).await,
                ApiVersionsRequest::KEY => client.send(0, &ApiVersionsRequest::default()).await,
                SaslHandshakeRequest::KEY => client.send(1, &again).await,
                _ => client.send(1, &right).await,
            };
            let (_, answer) = client.receive::<SaslAuthenticateRequest>(1).await;
            assert_eq!(answer.error_code, code(ErrorCode::SaslAuthenticationFailed), "{mechanism}");
            assert!(client.is_closed().await, "{mechanism}, then a request of key {next}");
        }
    }
}

#[tokio::test]
async fn the_answer_to_a_failed_login_is_held_back_and_other_connections_are_not() {
    let hour = ("connection.failed.authentication.delay.ms", "3600000");
    let never_idle = ("connections.max.idle.ms", "-1");
    let node = node_with(&[hour, never_idle], Clock::machine()).await;
    let mut failed = node.client().await;
    handshake(&mut failed, 1, PLAIN).await;
    failed.send(1, &SaslAuthenticateRequest { auth_bytes: b"\0alice\0wrong".to_vec().into() }).await;
    let mut unknown = node.client().await;
    unknown.send(1, &SaslHandshakeRequest { mechanism: "GSSAPI".to_owned() }).await;
    for _ in 0..20 {
        assert!(is_served(&mut logged_in(&node).await).await);
    }
    assert!(!failed.has_received() && !unknown.has_received());
}

#[tokio::test]
async fn w5_after_handshake_v0_the_messages_have_no_header() {
    let node = node().await;
    let mut client = node.client().await;
    assert_eq!(handshake(&mut client, 0, PLAIN).await.error_code, 0);
    client.send_token(ALICE).await;
    assert_eq!(client.receive_bytes().await, "");
    assert!(is_served(&mut client).await);
    let mut client = node.client().await;
    handshake(&mut client, 0, PLAIN).await;
    client.send_token(b"\0alice\0wrong").await;
    assert!(client.is_closed().await, "a failure has no answer");
    let mut client = node.client().await;
    handshake(&mut client, 0, PLAIN).await;
    client.send_token(b"").await;
    assert!(client.is_closed().await, "an empty message is a wrong one");
}

#[tokio::test]
async fn a_frame_before_the_login_has_a_limit() {
    for name in ["sasl.server.max.receive.size", "listener.name.sasl_plaintext.sasl.server.max.receive.size"]
    {
        frames_before_the_login_are_limited_by(name).await;
    }
}

async fn frames_before_the_login_are_limited_by(name: &str) {
    let node = node_with(&[(name, "1000")], Clock::machine()).await;
    let long = [ALICE, &[b'x'; 1000]].concat();
    let mut client = node.client().await;
    handshake(&mut client, 1, PLAIN).await;
    client.send(1, &SaslAuthenticateRequest { auth_bytes: long.clone().into() }).await;
    assert!(client.is_closed().await);
    let mut client = node.client().await;
    handshake(&mut client, 0, PLAIN).await;
    client.send_token(&long).await;
    assert!(client.is_closed().await);
    let mut client = logged_in(&node).await;
    let late = authenticate(&mut client, 1, &long).await;
    assert_eq!(late.error_code, code(ErrorCode::IllegalSaslState), "the limit ends with the login");
}

#[tokio::test]
async fn a_handshake_in_the_middle_of_a_login_ends_the_connection() {
    let node = node().await;
    let mut client = node.client().await;
    handshake(&mut client, 1, PLAIN).await;
    let answer = handshake(&mut client, 1, PLAIN).await;
    assert_eq!((answer.error_code, answer.mechanisms.len()), (code(ErrorCode::IllegalSaslState), 0));
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_login_where_there_is_none_is_refused_and_the_connection_stays() {
    let (with, without) = (node().await, Node::start().await);
    for mut client in [logged_in(&with).await, without.client().await] {
        for version in [0, 1] {
            assert_eq!(
                handshake(&mut client, version, PLAIN).await.error_code,
                code(ErrorCode::IllegalSaslState)
            );
        }
        let answer = authenticate(&mut client, 2, ALICE).await;
        assert_eq!(answer.error_code, code(ErrorCode::IllegalSaslState));
        assert_eq!(text(&answer), "SaslAuthenticate request received after successful authentication");
        assert!(is_served(&mut client).await);
    }
}

const FIRST: &str = "n,,n=user,r=fyko";

/// The client `user` with the password `pencil`.
fn scram_client(hash: ScramHash) -> scram::Client {
    scram::Client::new(hash, "user", "pencil", "fyko")
}

async fn add_user(node: &Node, hash: ScramHash) {
    let credential = scram::credential(hash, "pencil", b"salt of the user", 4096.try_into().unwrap());
    let change =
        CredentialChange { user: "user".to_owned(), mechanism: hash.number(), credential: Some(credential) };
    node.store.alter_credentials(vec![change]).await.unwrap();
}

#[tokio::test]
async fn z7_a_user_with_two_scram_credentials_logs_in_with_each_and_both_sides_know_each_other() {
    let node = node().await;
    for hash in ScramHash::ALL {
        add_user(&node, *hash).await;
    }
    for hash in ScramHash::ALL.iter().copied() {
        let scram = scram_client(hash);
        let mut client = node.client().await;
        assert_eq!(handshake(&mut client, 1, hash.name()).await.error_code, 0);
        let challenge = authenticate(&mut client, 2, FIRST.as_bytes()).await.auth_bytes;
        let proved = scram.prove(&challenge).unwrap();
        let answer = authenticate(&mut client, 2, proved.message.as_bytes()).await;
        assert_eq!(answer.error_code, 0, "{}", text(&answer));
        assert!(proved.trusts(&answer.auth_bytes) && is_served(&mut client).await);
        // The same with a handshake of version 0.
        let mut client = node.client().await;
        assert_eq!(handshake(&mut client, 0, hash.name()).await.error_code, 0);
        client.send_token(FIRST.as_bytes()).await;
        let other = client.receive_bytes().await;
        assert_ne!(other, challenge, "each exchange has a nonce of its own");
        let proved = scram.prove(&other).unwrap();
        client.send_token(proved.message.as_bytes()).await;
        assert!(proved.trusts(&client.receive_bytes().await) && is_served(&mut client).await);
    }
}

#[tokio::test]
async fn scram_fails_without_a_hint_at_the_reason() {
    let node = node().await;
    add_user(&node, ScramHash::Sha256).await;
    let failed = |answer: &SaslAuthenticateResponse, mechanism: &str| {
        let why = format!(
            "Authentication failed during authentication due to invalid credentials with SASL mechanism {mechanism}"
        );
        assert_eq!(
            (answer.error_code, text(answer)),
            (code(ErrorCode::SaslAuthenticationFailed), why.as_str())
        );
    };
    // The user has no credential for the other hash function.
    for (mechanism, first) in
        [(SHA_256, "n,,n=nobody,r=fyko"), (SHA_256, "y,,n=user,r=fyko"), (SHA_512, "n,,n=user,r=fyko")]
    {
        let mut client = node.client().await;
        handshake(&mut client, 1, mechanism).await;
        failed(&authenticate(&mut client, 2, first.as_bytes()).await, mechanism);
        assert!(client.is_closed().await);
    }
    for (right, wrong) in
        [("c=biws", "c=eSws"), ("r=fyko", "r=other"), (",p=", ",x=y,p="), (",p=", ",p=AAAA")]
    {
        let mut client = node.client().await;
        handshake(&mut client, 1, SHA_256).await;
        let answer = authenticate(&mut client, 2, b"n,,n=user,r=fyko").await;
        let proof = scram_client(ScramHash::Sha256).prove(&answer.auth_bytes).unwrap().message;
        let answer = authenticate(&mut client, 2, proof.replace(right, wrong).as_bytes()).await;
        failed(&answer, SHA_256);
        assert!(client.is_closed().await);
    }
}

const SECOND: i64 = 1000;

/// A broker whose sessions last for a minute, and its clock, which stands still.
async fn node_with_sessions() -> (Node, Clock) {
    let clock = Clock::manual(Timestamp(1_000_000));
    (node_with(&[("connections.max.reauth.ms", "60000")], clock.clone()).await, clock)
}

fn pass(clock: &Clock, ms: i64) {
    clock.set(Timestamp(clock.now().0 + ms));
}

#[tokio::test]
async fn a_session_ends_at_the_first_request_after_its_time() {
    let (node, clock) = node_with_sessions().await;
    for version in [1, 2] {
        let mut client = node.client().await;
        handshake(&mut client, 1, PLAIN).await;
        assert_eq!(authenticate(&mut client, version, ALICE).await.session_lifetime_ms, 60_000);
        pass(&clock, 59_999);
        assert!(is_served(&mut client).await);
        pass(&clock, 1);
        client.send(0, &ApiVersionsRequest::default()).await;
        assert!(client.is_closed().await);
    }
}

#[tokio::test]
async fn z2_a_client_that_logs_in_again_stays_even_if_its_session_has_just_ended() {
    let (node, clock) = node_with_sessions().await;
    let mut client = logged_in(&node).await;
    for wait in [0, 59_999, 60_000] {
        pass(&clock, wait);
        let answer = log_in(&mut client, ALICE).await;
        assert_eq!((answer.error_code, answer.session_lifetime_ms), (0, 60_000), "after {wait} ms");
        assert!(is_served(&mut client).await);
    }
}

#[tokio::test]
async fn a_login_is_repeated_once_a_second_at_most() {
    let (node, clock) = node_with_sessions().await;
    let mut client = logged_in(&node).await;
    assert_eq!(log_in(&mut client, ALICE).await.error_code, 0, "the first login does not count");
    pass(&clock, SECOND - 1);
    assert_eq!(handshake(&mut client, 1, PLAIN).await.error_code, code(ErrorCode::IllegalSaslState));
    assert!(is_served(&mut client).await);
    pass(&clock, 1);
    assert_eq!(log_in(&mut client, ALICE).await.error_code, 0);
}

#[tokio::test]
async fn z3_a_repeated_login_cannot_change_the_user_the_mechanism_or_the_handshake() {
    let (node, _clock) = node_with_sessions().await;
    let mut client = logged_in(&node).await;
    let answer = log_in(&mut client, BEN).await;
    assert_eq!(answer.error_code, code(ErrorCode::SaslAuthenticationFailed));
    assert_eq!(text(&answer), "Cannot change principals during re-authentication from User.alice: User.ben");
    assert!(client.is_closed().await);

    let mut client = logged_in(&node).await;
    assert_eq!(handshake(&mut client, 1, SHA_256).await.error_code, 0);
    client.send(1, &SaslAuthenticateRequest { auth_bytes: b"n,,n=user,r=fyko".to_vec().into() }).await;
    assert!(client.is_closed().await);

    let mut client = logged_in(&node).await;
    client.send(0, &SaslHandshakeRequest { mechanism: PLAIN.to_owned() }).await;
    assert!(client.is_closed().await);

    let mut client = logged_in(&node).await;
    assert_eq!(handshake(&mut client, 1, PLAIN).await.error_code, 0);
    assert!(!is_served(&mut client).await, "in the middle of a repeated login");
}

#[tokio::test]
async fn users_that_are_altered_while_the_broker_runs_count_from_the_next_login_on() {
    let node = node().await;
    let mut client = logged_in(&node).await;
    let users = "org.apache.kafka.common.security.plain.PlainLoginModule required user_cleo=\"new\";";
    let alter = |value: &str| incremental_alter_configs_request::AlterConfigsResource {
        resource_type: 4,
        resource_name: "1".to_owned(),
        configs: vec![incremental_alter_configs_request::AlterableConfig {
            name: JAAS.to_owned(),
            value: Some(value.to_owned()),
            ..Default::default()
        }],
    };
    let request = IncrementalAlterConfigsRequest { resources: vec![alter(users)], ..Default::default() };
    let answer = client.call(1, request).await;
    assert_eq!(answer.responses[0].error_code, 0, "{:?}", answer.responses[0].error_message);
    assert!(is_served(&mut client).await, "open connections stay");
    assert_eq!(log_in(&mut node.client().await, b"\0cleo\0new").await.error_code, 0);
    assert_ne!(log_in(&mut node.client().await, ALICE).await.error_code, 0);
    let request =
        IncrementalAlterConfigsRequest { resources: vec![alter("geheim required")], ..Default::default() };
    let answer = client.call(1, request).await;
    let why = answer.responses[0].error_message.as_deref().unwrap();
    assert!(answer.responses[0].error_code != 0 && why.contains(JAAS) && !why.contains("user_"), "{why}");
}
