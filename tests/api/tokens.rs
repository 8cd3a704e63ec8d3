//! Logins with tokens (OAUTHBEARER), byte for byte. The answers are those of Apache Kafka 4.4.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jackdaw::api::error::ErrorCode;
use jackdaw::protocol::messages::{
    IncrementalAlterConfigsRequest, MetadataRequest, SaslAuthenticateRequest, SaslAuthenticateResponse,
    SaslHandshakeRequest, incremental_alter_configs_request,
};
use jackdaw::storage::Location;
use jackdaw::time::Clock;
use jackdaw::types::Timestamp;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};

use crate::harness::{Client, Node, code};

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const PREFIX: &str = "listener.name.sasl_plaintext.oauthbearer.";
const HANDLER: &str = "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler";
const INVALID: &str = r#"{"status":"invalid_token"}"#;

/// An issuer of tokens, with its keys in a file.
struct Issuer {
    key: EcdsaKeyPair,
    dir: tempfile::TempDir,
}

impl Issuer {
    fn new() -> Issuer {
        let (random, curve) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let key = EcdsaKeyPair::generate_pkcs8(curve, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(curve, key.as_ref(), &random).unwrap();
        let (x, y) = key.public_key().as_ref()[1..].split_at(32);
        let public = json!({"kty": "EC", "kid": "one", "crv": "P-256", "x": text(x), "y": text(y)});
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("jwks.json"), json!({"keys": [public]}).to_string()).unwrap();
        Issuer { key, dir }
    }

    /// A broker that trusts this issuer.
    async fn node(&self, settings: &[(&str, &str)]) -> (Node, Clock) {
        let url = format!("file://{}/jwks.json", self.dir.path().display());
        let [handler, jwks] = ["sasl.server.callback.handler.class", "sasl.oauthbearer.jwks.endpoint.url"]
            .map(|name| PREFIX.to_owned() + name);
        let usual = [
            (handler.as_str(), HANDLER),
            (jwks.as_str(), url.as_str()),
            ("sasl.oauthbearer.expected.audience", "kafka"),
            ("sasl.oauthbearer.expected.issuer", "https://issuer"),
        ];
        node(&[&usual[..], settings].concat()).await
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        let signed = unsigned(header, claims);
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", text(signature.as_ref()))
    }

    /// The client's message with the usual token of a user.
    fn message(&self, user: &str, lifetime: i64) -> Vec<u8> {
        message(&self.token(&json!({"alg": "ES256", "kid": "one"}), &claims(user, lifetime)))
    }
}

async fn node(settings: &[(&str, &str)]) -> (Node, Clock) {
    let usual = [
        ("listeners", "SASL_PLAINTEXT://127.0.0.1:0"),
        ("sasl.enabled.mechanisms", "OAUTHBEARER"),
        ("connection.failed.authentication.delay.ms", "0"),
    ];
    let clock = Clock::manual(NOW);
    (Node::timed(Location::Memory, &[&usual[..], settings].concat(), clock.clone()).await, clock)
}

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}", text(header.to_string().as_bytes()), text(claims.to_string().as_bytes()))
}

fn claims(user: &str, lifetime: i64) -> Value {
    let now = NOW.0 / 1000;
    json!({"sub": user, "iss": "https://issuer", "aud": "kafka", "iat": now, "exp": now + lifetime})
}

fn message(token: &str) -> Vec<u8> {
    format!("n,,\x01auth=Bearer {token}\x01\x01").into_bytes()
}

async fn authenticate(client: &mut Client, message: &[u8]) -> SaslAuthenticateResponse {
    client.call(2, SaslAuthenticateRequest { auth_bytes: message.to_vec().into() }).await
}

async fn begin(node: &Node) -> Client {
    let mut client = node.client().await;
    handshake(&mut client).await;
    client
}

async fn handshake(client: &mut Client) {
    let answer = client.call(1, SaslHandshakeRequest { mechanism: "OAUTHBEARER".to_owned() }).await;
    assert_eq!((answer.error_code, answer.mechanisms), (0, vec!["OAUTHBEARER".to_owned()]));
}

async fn is_served(client: &mut Client) -> bool {
    client.send(12, &MetadataRequest::default()).await;
    client.receive_bytes_or_close().await.is_some()
}

/// The token is refused as Kafka does: with a status, and with an error after the client's acknowledgement.
async fn is_refused(node: &Node, message: &[u8]) -> bool {
    let mut client = begin(node).await;
    let status = authenticate(&mut client, message).await;
    let error = authenticate(&mut client, b"\x01").await;
    (status.error_code, &*status.auth_bytes) == (0, INVALID.as_bytes())
        && (error.error_code, error.error_message.as_deref())
            == (code(ErrorCode::SaslAuthenticationFailed), Some(INVALID))
        && client.is_closed().await
}

#[tokio::test]
async fn a_client_with_a_token_of_the_issuer_is_logged_in_until_the_end_of_the_token() {
    let issuer = Issuer::new();
    let (node, clock) = issuer.node(&[]).await;
    let mut client = begin(&node).await;
    let answer = authenticate(&mut client, &issuer.message("alice", 600)).await;
    let expected = SaslAuthenticateResponse { session_lifetime_ms: 600_000, ..Default::default() };
    assert_eq!(answer, expected);
    assert!(is_served(&mut client).await);
    clock.set(Timestamp(NOW.0 + 600_000));
    assert!(!is_served(&mut client).await, "the token has ended");
}

#[tokio::test]
async fn the_longest_session_ends_before_a_token_that_lasts_longer() {
    let issuer = Issuer::new();
    let (node, _) = issuer.node(&[("connections.max.reauth.ms", "5000")]).await;
    for (lifetime, session) in [(600, 5000), (3, 3000)] {
        let answer = authenticate(&mut begin(&node).await, &issuer.message("alice", lifetime)).await;
        assert_eq!((answer.error_code, answer.session_lifetime_ms), (0, session));
    }
}

#[tokio::test]
async fn tokens_that_are_not_to_be_trusted_are_refused() {
    let (issuer, stranger) = (Issuer::new(), Issuer::new());
    let (node, _) = issuer.node(&[]).await;
    let usual = json!({"alg": "ES256", "kid": "one"});
    let with = |name: &str, value: &str| {
        let mut claims = claims("alice", 600);
        claims[name] = json!(value);
        message(&issuer.token(&usual, &claims))
    };
    let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, issuer.key.public_key().as_ref());
    let by_secret = unsigned(&json!({"alg": "HS256", "kid": "one"}), &claims("alice", 600));
    let tag = text(ring::hmac::sign(&secret, by_secret.as_bytes()).as_ref());
    for (wrong, what) in [
        (issuer.message("alice", -31), "expired"),
        (with("aud", "another"), "for another audience"),
        (with("iss", "https://another"), "from another issuer"),
        (stranger.message("alice", 600), "signed by another key"),
        (
            message(&issuer.token(&json!({"alg": "ES256", "kid": "two"}), &claims("alice", 600))),
            "an unknown key",
        ),
        (
            message(&format!("{}.", unsigned(&json!({"alg": "none"}), &claims("alice", 600)))),
            "without a signature",
        ),
        (message(&format!("{by_secret}.{tag}")), "signed with the public key as a secret"),
        (message("a.b.c"), "no token"),
    ] {
        assert!(is_refused(&node, &wrong).await, "{what}");
    }
}

#[tokio::test]
async fn a_good_token_may_follow_a_bad_one() {
    let issuer = Issuer::new();
    let (node, _) = issuer.node(&[]).await;
    let mut client = begin(&node).await;
    let status = authenticate(&mut client, &issuer.message("alice", -600)).await;
    assert_eq!(&*status.auth_bytes, INVALID.as_bytes());
    assert!(!is_served(&mut begin(&node).await).await, "nobody is served between the two");
    assert_eq!(authenticate(&mut client, &issuer.message("alice", 600)).await.error_code, 0);
    assert!(is_served(&mut client).await);
}

#[tokio::test]
async fn malformed_messages_and_other_users_end_the_connection() {
    const CREDENTIALS: &str = "Authentication failed during authentication due to invalid credentials with SASL mechanism OAUTHBEARER";
    let issuer = Issuer::new();
    let (node, _) = issuer.node(&[]).await;
    let good = String::from_utf8(issuer.message("alice", 600)).unwrap();
    for (wrong, why) in [
        ("", CREDENTIALS),
        ("\x01", CREDENTIALS),
        (&good.replace("n,,", "y,,"), CREDENTIALS),
        (&good.replace("\x01\x01", "\x01auth2=x\x01\x01"), CREDENTIALS),
        (&good.replace("\x01\x01", "\x01a=\u{fc}\x01\x01"), CREDENTIALS),
        (
            &good.replace("n,,", "n,a=ben,"),
            "Authentication failed: Client requested an authorization id (ben) that is different from the token's \
             principal name (alice)",
        ),
    ] {
        let mut client = begin(&node).await;
        let answer = authenticate(&mut client, wrong.as_bytes()).await;
        let expected = (code(ErrorCode::SaslAuthenticationFailed), Some(why));
        assert_eq!((answer.error_code, answer.error_message.as_deref()), expected, "{wrong:?}");
        assert!(client.is_closed().await);
    }
    let same = good.replace("n,,", "n,a=alice,").replace("\x01\x01", "\x01trace=a=b c\x01\x01");
    assert_eq!(authenticate(&mut begin(&node).await, same.as_bytes()).await.error_code, 0);
}

#[tokio::test]
async fn a_token_that_is_longer_than_a_frame_before_the_login_ends_the_connection() {
    let issuer = Issuer::new();
    let (node, _) = issuer.node(&[]).await;
    let mut claims = claims("alice", 600);
    claims["padding"] = json!("x".repeat(200_000));
    let token = |claims: &Value| message(&issuer.token(&json!({"alg": "ES256", "kid": "one"}), claims));
    assert_eq!(authenticate(&mut begin(&node).await, &token(&claims)).await.error_code, 0);
    claims["padding"] = json!("x".repeat(600_000));
    let mut client = begin(&node).await;
    client.send(2, &SaslAuthenticateRequest { auth_bytes: token(&claims).into() }).await;
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_client_logs_in_again_with_its_next_token_and_not_as_another_user() {
    let issuer = Issuer::new();
    let (node, clock) = issuer.node(&[]).await;
    let mut client = begin(&node).await;
    authenticate(&mut client, &issuer.message("alice", 600)).await;
    clock.set(Timestamp(NOW.0 + 300_000));
    handshake(&mut client).await;
    let answer = authenticate(&mut client, &issuer.message("alice", 900)).await;
    assert_eq!((answer.error_code, answer.session_lifetime_ms), (0, 600_000));
    clock.set(Timestamp(NOW.0 + 700_000));
    assert!(is_served(&mut client).await, "the second token lasts longer than the first");
    handshake(&mut client).await;
    let answer = authenticate(&mut client, &issuer.message("ben", 900)).await;
    let why = "Cannot change principals during re-authentication from User.alice: User.ben";
    assert_eq!(answer.error_message.as_deref(), Some(why));
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn tokens_without_a_signature_are_only_taken_where_the_login_module_says_so() {
    let jaas = PREFIX.to_owned() + "sasl.jaas.config";
    let module = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
                  unsecuredValidatorRequiredScope=\"kafka\";";
    let (node, _) = node(&[(&jaas, module)]).await;
    let with_scope = |scope: &str| {
        let mut claims = claims("alice", 600);
        claims["scope"] = json!([scope]);
        message(&format!("{}.", unsigned(&json!({"alg": "none"}), &claims)))
    };
    let mut client = begin(&node).await;
    let answer = authenticate(&mut client, &with_scope("kafka")).await;
    assert_eq!((answer.error_code, answer.session_lifetime_ms), (0, 600_000));
    assert!(is_served(&mut client).await);
    let mut client = begin(&node).await;
    let answer = authenticate(&mut client, &with_scope("else")).await;
    let lacks = r#"{"status":"insufficient_scope", "scope":"[kafka]"}"#;
    assert_eq!((answer.error_code, &*answer.auth_bytes), (0, lacks.as_bytes()));
    assert_eq!(authenticate(&mut client, b"\x01").await.error_message.as_deref(), Some(lacks));
}

#[tokio::test]
async fn clients_cannot_have_other_keys_trusted_while_the_broker_runs() {
    let issuer = Issuer::new();
    let (node, _) = issuer.node(&[]).await;
    let mut client = begin(&node).await;
    authenticate(&mut client, &issuer.message("alice", 600)).await;
    for (name, value) in [
        ("sasl.oauthbearer.jwks.endpoint.url", "file:///dev/null"),
        ("sasl.oauthbearer.expected.audience", "another"),
        (
            "sasl.jaas.config",
            "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required other=\"1\";",
        ),
    ] {
        let config = incremental_alter_configs_request::AlterableConfig {
            name: PREFIX.to_owned() + name,
            value: Some(value.to_owned()),
            ..Default::default()
        };
        let resource = incremental_alter_configs_request::AlterConfigsResource {
            resource_type: 4,
            resource_name: "1".to_owned(),
            configs: vec![config],
        };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
        let answer = client.call(1, request).await;
        assert_ne!(answer.responses[0].error_code, 0, "{name}");
    }
}
