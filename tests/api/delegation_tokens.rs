//! Delegation tokens: their creation, logins with them, and their end. Scripts in `tests/compare` have the answers of
//! Apache Kafka 4.4 to each key.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jackdaw::api::error::ErrorCode;
use jackdaw::kernel::weigh_token;
use jackdaw::protocol::messages::{
    CreatableRenewers, CreateDelegationTokenRequest, CreateDelegationTokenResponse,
    DescribeDelegationTokenRequest, ExpireDelegationTokenRequest, MetadataRequest,
    RenewDelegationTokenRequest, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest,
};
use jackdaw::security::sasl::scram;
use jackdaw::security::token::{self, TokenKey};
use jackdaw::storage::Location;
use jackdaw::time::Clock;
use jackdaw::types::{DelegationToken, ScramHash, Secret, Timestamp};

use crate::harness::{Client, Node, code};

const JAAS: &str = "listener.name.sasl_plaintext.plain.sasl.jaas.config";
const USERS: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required user_alice=\"alice\" \
                     user_ben=\"ben\";";
const START: i64 = 1_000_000;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// A broker with a clock that stands still, which asks for logins.
struct Stage {
    node: Node,
    clock: Clock,
}

impl Stage {
    async fn new() -> Stage {
        Stage::with("secret").await
    }

    async fn with(secret: &str) -> Stage {
        Stage::with_settings(secret, &[]).await
    }

    async fn with_settings(secret: &str, more: &[(&str, &str)]) -> Stage {
        let clock = Clock::manual(Timestamp(START));
        let settings = [
            ("listeners", "SASL_PLAINTEXT://127.0.0.1:0"),
            ("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"),
            (JAAS, USERS),
            ("connection.failed.authentication.delay.ms", "0"),
            ("delegation.token.secret.key", secret),
        ];
        let settings = [&settings, more].concat();
        Stage { node: Node::timed(Location::Memory, &settings, clock.clone()).await, clock }
    }

    /// A client that has logged in with its name as its password.
    async fn user(&self, user: &str) -> Client {
        let mut client = self.node.client().await;
        handshake(&mut client, "PLAIN").await;
        let answer = authenticate(&mut client, format!("\0{user}\0{user}").as_bytes()).await;
        assert_eq!(answer.error_code, 0);
        client
    }

    /// A token of alice.
    async fn token(&self) -> CreateDelegationTokenResponse {
        create(&mut self.user("alice").await, -1).await
    }

    /// Logs in with a token. Returns the last answer to the login as well.
    async fn by_token(&self, hash: ScramHash, id: &str, hmac: &[u8]) -> (Client, SaslAuthenticateResponse) {
        let mut client = self.node.client().await;
        handshake(&mut client, hash.name()).await;
        let answer = log_in(&mut client, hash, id, hmac).await;
        (client, answer)
    }

    async fn code_of_login(&self, token: &CreateDelegationTokenResponse) -> i16 {
        self.by_token(ScramHash::Sha256, &token.token_id, &token.hmac).await.1.error_code
    }
}

async fn handshake(client: &mut Client, mechanism: &str) {
    let answer = client.call(1, SaslHandshakeRequest { mechanism: mechanism.to_owned() }).await;
    assert_eq!(answer.error_code, 0);
}

async fn authenticate(client: &mut Client, message: &[u8]) -> SaslAuthenticateResponse {
    client.call(2, SaslAuthenticateRequest { auth_bytes: message.to_vec().into() }).await
}

async fn log_in(client: &mut Client, hash: ScramHash, id: &str, hmac: &[u8]) -> SaslAuthenticateResponse {
    let scram = scram::Client::new(hash, id, &STANDARD.encode(hmac), "nonce");
    let scram = scram.with_extension("tokenauth=true");
    let answer = authenticate(client, scram.first_message().as_bytes()).await;
    match scram.prove(&answer.auth_bytes) {
        Some(proved) => authenticate(client, proved.message.as_bytes()).await,
        None => answer,
    }
}

async fn create(client: &mut Client, max_lifetime_ms: i64) -> CreateDelegationTokenResponse {
    client.call(3, CreateDelegationTokenRequest { max_lifetime_ms, ..Default::default() }).await
}

async fn described(client: &mut Client) -> Vec<(String, i64)> {
    let all = DescribeDelegationTokenRequest { owners: None };
    let tokens = client.call(3, all).await.tokens.into_iter();
    tokens.map(|token| (token.token_id, token.expiry_timestamp)).collect()
}

const REFUSED: ErrorCode = ErrorCode::SaslAuthenticationFailed;

#[tokio::test]
async fn a_client_logs_in_with_a_token_until_the_token_expires() {
    let stage = Stage::new().await;
    let token = stage.token().await;
    assert_eq!((token.error_code, token.hmac.len()), (0, 64));
    let times = [token.issue_timestamp_ms, token.expiry_timestamp_ms, token.max_timestamp_ms];
    assert_eq!(times, [START, START + DAY_MS, START + 7 * DAY_MS]);
    for hash in [ScramHash::Sha256, ScramHash::Sha512] {
        let (mut client, answer) = stage.by_token(hash, &token.token_id, &token.hmac).await;
        assert_eq!((answer.error_code, answer.session_lifetime_ms), (0, DAY_MS), "{}", hash.name());
        client.call(12, MetadataRequest::default()).await;
    }
    let (mut client, _) = stage.by_token(ScramHash::Sha256, &token.token_id, &token.hmac).await;
    stage.clock.set(Timestamp(START + DAY_MS));
    client.send(12, &MetadataRequest::default()).await;
    assert!(client.is_closed().await, "the session ends with the token");
    assert_eq!(stage.code_of_login(&token).await, 0, "in its last millisecond");
    stage.clock.set(Timestamp(START + DAY_MS + 1));
    assert_eq!(stage.code_of_login(&token).await, code(REFUSED));
}

#[tokio::test]
async fn a_token_with_a_wrong_hmac_or_id_or_of_another_secret_is_refused() {
    let stage = Stage::new().await;
    let token = stage.token().await;
    let mut wrong = token.clone();
    wrong.hmac = vec![0; 64].into();
    assert_eq!(stage.code_of_login(&wrong).await, code(REFUSED));
    wrong = CreateDelegationTokenResponse { token_id: "alice".to_owned(), ..token.clone() };
    assert_eq!(stage.code_of_login(&wrong).await, code(REFUSED));
    let other = Stage::with("other").await;
    let stored = stage.node.store.tokens().get(&token.token_id).cloned().unwrap();
    other.node.store.create_token(token.token_id.clone(), stored).await.unwrap();
    assert_eq!(other.code_of_login(&token).await, code(REFUSED));
    let mut alice = other.user("alice").await;
    assert_eq!(described(&mut alice).await, []);
    let expire = ExpireDelegationTokenRequest { hmac: token.hmac, expiry_time_period_ms: -1 };
    assert_eq!(alice.call(2, expire).await.error_code, code(ErrorCode::DelegationTokenNotFound));
}

#[tokio::test]
async fn a_renewed_token_expires_later_and_a_removed_one_is_unknown() {
    let stage = Stage::new().await;
    let token = stage.token().await;
    let mut alice = stage.user("alice").await;
    stage.clock.set(Timestamp(START + 5));
    let renew = RenewDelegationTokenRequest { hmac: token.hmac.clone(), renew_period_ms: -1 };
    let renewed = alice.call(2, renew).await;
    assert_eq!((renewed.error_code, renewed.expiry_timestamp_ms), (0, START + 5 + DAY_MS));
    assert_eq!(described(&mut alice).await, [(token.token_id.clone(), START + 5 + DAY_MS)]);
    let expire =
        |period| ExpireDelegationTokenRequest { hmac: token.hmac.clone(), expiry_time_period_ms: period };
    let expired = alice.call(2, expire(i64::MAX)).await;
    assert_eq!(expired.expiry_timestamp_ms, token.max_timestamp_ms, "not later than it may");
    let removed = alice.call(2, expire(-1)).await;
    assert_eq!((removed.error_code, removed.expiry_timestamp_ms), (0, START + 5));
    assert_eq!(stage.code_of_login(&token).await, code(REFUSED));
    assert_eq!(alice.call(2, expire(-1)).await.error_code, code(ErrorCode::DelegationTokenNotFound));
}

#[tokio::test]
async fn a_client_with_a_token_gets_no_tokens_until_it_logs_in_otherwise() {
    let stage = Stage::new().await;
    let token = stage.token().await;
    let (mut client, _) = stage.by_token(ScramHash::Sha256, &token.token_id, &token.hmac).await;
    let not_allowed = code(ErrorCode::DelegationTokenRequestNotAllowed);
    assert_eq!(create(&mut client, -1).await.error_code, not_allowed);
    // The password of the same user, in the same session.
    let password = scram::credential(ScramHash::Sha256, "pencil", b"salt", 4096.try_into().unwrap());
    let change = jackdaw::kernel::CredentialChange {
        user: "alice".to_owned(),
        mechanism: ScramHash::Sha256.number(),
        credential: Some(password),
    };
    stage.node.store.alter_credentials(vec![change]).await.unwrap();
    handshake(&mut client, "SCRAM-SHA-256").await;
    let alice = scram::Client::new(ScramHash::Sha256, "alice", "pencil", "nonce");
    let challenge = authenticate(&mut client, alice.first_message().as_bytes()).await;
    let proved = alice.prove(&challenge.auth_bytes).unwrap();
    assert_eq!(authenticate(&mut client, proved.message.as_bytes()).await.error_code, 0);
    assert_eq!(create(&mut client, -1).await.error_code, 0);
}

#[tokio::test]
async fn a_client_without_a_login_gets_no_tokens_and_without_a_secret_there_are_none() {
    let settings = [
        ("listeners", "PLAINTEXT://127.0.0.1:0,SASL_PLAINTEXT://127.0.0.1:0"),
        ("sasl.enabled.mechanisms", "PLAIN"),
        (JAAS, USERS),
    ];
    let node = Node::with(&settings).await;
    let listening: Vec<String> = node.listening().map(|address| address.to_string()).collect();
    let mut anonymous = Client::of(&listening[0]).await;
    let answer = create(&mut anonymous, -1).await;
    assert_eq!(answer.error_code, code(ErrorCode::DelegationTokenRequestNotAllowed));
    let mut alice = Client::of(&listening[1]).await;
    handshake(&mut alice, "PLAIN").await;
    assert_eq!(authenticate(&mut alice, b"\0alice\0alice").await.error_code, 0);
    let disabled = code(ErrorCode::DelegationTokenAuthDisabled);
    assert_eq!(create(&mut alice, -1).await.error_code, disabled);
    let all = DescribeDelegationTokenRequest { owners: None };
    assert_eq!(alice.call(3, all).await.error_code, disabled);
}

#[tokio::test]
async fn a_client_sees_its_own_tokens_among_many_others_and_a_super_user_all() {
    let authorizer = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";
    let settings = [("authorizer.class.name", authorizer), ("super.users", "User:alice")];
    let stage = Stage::with_settings("secret", &settings).await;
    let (of_alice, mut ben) = (stage.token().await, stage.user("ben").await);
    let of_ben = create(&mut ben, -1).await;
    let stored = stage.node.store.tokens().get(&of_alice.token_id).cloned().unwrap();
    let key = TokenKey::new(&Secret::new("secret"));
    // More than are looked at without a pause.
    for number in 0..600 {
        let (id, owner) = (format!("{number:03}"), format!("User:{}", number % 3));
        let hmac_digest = token::digest(key.hmac(&id).bytes());
        let (requester, renewers) = (owner.clone(), Vec::new());
        let other = DelegationToken { owner, requester, renewers, hmac_digest, ..stored.clone() };
        stage.node.store.create_token(id, other).await.unwrap();
    }
    let seen_by_ben = described(&mut ben).await;
    assert_eq!(seen_by_ben, [(of_ben.token_id, of_ben.expiry_timestamp_ms)]);
    assert_eq!(described(&mut stage.user("alice").await).await.len(), 602);
}

#[tokio::test]
async fn expired_tokens_are_removed_by_the_check() {
    let stage = Stage::new().await;
    let (short, long) = (create(&mut stage.user("alice").await, 1000).await, stage.token().await);
    stage.node.store.expire_tokens();
    assert_eq!(described(&mut stage.user("alice").await).await.len(), 2);
    stage.clock.set(Timestamp(START + 1001));
    assert_eq!(described(&mut stage.user("alice").await).await.len(), 2, "until the check");
    stage.node.store.expire_tokens();
    while stage.node.store.tokens().get(&short.token_id).is_some() {
        tokio::task::yield_now().await;
    }
    let left = [(long.token_id, long.expiry_timestamp_ms)];
    assert_eq!(described(&mut stage.user("alice").await).await, left);
}

#[tokio::test]
async fn the_state_has_neither_the_hmac_nor_the_secret() {
    let stage = Stage::new().await;
    let token = stage.token().await;
    let stored = stage.node.store.tokens().get(&token.token_id).cloned().unwrap();
    let DelegationToken { hmac_digest, sha_256, sha_512, .. } = &stored;
    let secrets =
        [hmac_digest, &sha_256.stored_key, &sha_256.server_key, &sha_512.stored_key, &sha_512.server_key];
    for secret in secrets {
        assert!(!token.hmac.windows(16).any(|part| secret.bytes().windows(16).any(|stored| stored == part)));
    }
    assert_ne!(sha_256.salt, sha_512.salt);
}

#[tokio::test]
async fn tokens_take_a_limited_memory() {
    let stage = Stage::new().await;
    let token = stage.token().await;
    let stored = stage.node.store.tokens().get(&token.token_id).cloned().unwrap();
    for number in 0..64 {
        let (requester, renewers) = ("User:ben".to_owned(), vec!["a".repeat(1 << 20)]);
        let large = DelegationToken { requester, renewers, ..stored.clone() };
        stage.node.store.create_token(number.to_string(), large).await.unwrap();
    }
    let mut alice = stage.user("alice").await;
    assert_eq!(create(&mut alice, -1).await.error_code, code(ErrorCode::PolicyViolation));
    stage.node.store.change_token("0".to_owned(), None).await.unwrap();
    assert_eq!(create(&mut alice, -1).await.error_code, 0);
}

#[tokio::test]
async fn one_token_and_the_tokens_of_one_user_take_a_limited_memory() {
    let stage = Stage::new().await;
    let token = stage.token().await;
    let stored = stage.node.store.tokens().get(&token.token_id).cloned().unwrap();
    let mut requester = stage.user("alice").await;
    let renewers: Vec<CreatableRenewers> = (0..2000)
        .map(|number| CreatableRenewers {
            principal_type: "User".to_owned(),
            principal_name: number.to_string(),
        })
        .collect();
    let large = CreateDelegationTokenRequest { renewers, max_lifetime_ms: -1, ..Default::default() };
    let answer = requester.call(3, large).await;
    assert_eq!(answer.error_code, code(ErrorCode::PolicyViolation));
    assert_eq!(create(&mut requester, -1).await.error_code, 0);
    let of_alice = DelegationToken { renewers: vec!["a".repeat(4 << 20)], ..stored };
    stage.node.store.create_token("large".to_owned(), of_alice).await.unwrap();
    assert_eq!(create(&mut requester, -1).await.error_code, code(ErrorCode::PolicyViolation));
}

#[tokio::test]
async fn tokens_that_are_created_at_the_same_time_take_no_more_memory() {
    let stage = Stage::new().await;
    let token = stage.token().await;
    let stored = stage.node.store.tokens().get(&token.token_id).cloned().unwrap();
    stage.node.store.change_token(token.token_id, None).await.unwrap();
    let of_alice = |length| DelegationToken { renewers: vec!["a".repeat(length)], ..stored.clone() };
    // There is room for one more.
    let length = (4 << 20) - weigh_token("large", &of_alice(100));
    stage.node.store.create_token("large".to_owned(), of_alice(length)).await.unwrap();
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(stage.user("alice").await);
    }
    let small = CreateDelegationTokenRequest { max_lifetime_ms: -1, ..Default::default() };
    for client in &mut clients {
        client.send(3, &small).await;
    }
    let mut codes = Vec::new();
    for client in &mut clients {
        codes.push(client.receive::<CreateDelegationTokenRequest>(3).await.1.error_code);
    }
    codes.sort_unstable();
    assert_eq!(codes, [0, 44, 44, 44, 44], "POLICY_VIOLATION");
}
