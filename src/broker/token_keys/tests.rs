//! The keys of an issuer that changes them while the broker runs, over HTTPS.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::ready;
use std::sync::mpsc;

use super::*;
use crate::config::Given;
use crate::http::test_server::Server;
use crate::security::jwt::BadToken;
use crate::security::jwt::tests::{NOW, Signer, jwks};
use crate::time::Moment;
use crate::types::Timestamp;

const LISTENER: &str = "SASL_PLAINTEXT";

/// The settings of a broker that reads the keys at this address, of a server with a certificate in the file.
fn settings(url: &str, trusted: &Path) -> BrokerSettings {
    let module = format!(
        "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required ssl.truststore.type=PEM \
         ssl.truststore.location=\"{}\";",
        trusted.display()
    );
    let handler = "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler";
    let mut given = Given::default();
    given.set("listeners", "SASL_PLAINTEXT://127.0.0.1:0");
    given.set("sasl.enabled.mechanisms", "OAUTHBEARER");
    for (name, value) in [
        ("sasl.server.callback.handler.class", handler),
        ("sasl.jaas.config", &module),
        ("sasl.oauthbearer.jwks.endpoint.url", url),
        ("sasl.oauthbearer.jwks.endpoint.refresh.ms", "3600000"),
        ("sasl.oauthbearer.jwks.endpoint.retry.backoff.ms", "1000"),
        ("sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms", "4000"),
        ("sasl.oauthbearer.allow.unverified.audience", "true"),
        ("sasl.oauthbearer.allow.unverified.issuer", "true"),
    ] {
        given.set(format!("listener.name.sasl_plaintext.oauthbearer.{name}"), value);
    }
    BrokerSettings::load(given).unwrap()
}

fn source(settings: &BrokerSettings) -> Source {
    match &settings.logins[LISTENER].tokens {
        Some(TokenSettings::Signed(signed)) => {
            Source { listener: LISTENER.to_owned(), from: signed.keys.clone() }
        }
        other => panic!("{other:?}"),
    }
}

/// The outcome of a login with a token that this key has signed.
fn login(keys: &TokenKeys, key: &Signer) -> Result<(), BadToken> {
    keys.verify(&key.usual_token(), LISTENER, Timestamp(NOW * 1000))
        .map(|login| assert_eq!(login.user, "alice"))
}

fn is_unknown(keys: &TokenKeys, key: &Signer) -> bool {
    matches!(login(keys, key), Err(BadToken::UnknownKey(_)))
}

/// The clock is paused, and advances only as far as the next sleep.
#[tokio::test(start_paused = true)]
async fn keys_are_read_again_in_time_and_once_for_all_tokens_of_an_unknown_key() {
    let (one, two, three) = (Signer::p256("one"), Signer::p256("two"), Signer::p256("three"));
    let settings = settings("https://localhost/keys", Path::new("/nowhere"));
    let rules = settings.logins[LISTENER].tokens.clone().unwrap();
    let set = |keys: &[&Signer]| KeySet::parse(jwks(keys).as_bytes());
    let keys = TokenKeys::new([(LISTENER.to_owned(), rules, Some(set(&[&one]).unwrap()))]);

    // The seconds at which the keys were read, and the next answers. Nothing happens at half seconds.
    let (start, reads) = (Moment::now(), RefCell::new(Vec::new()));
    let answers = RefCell::new(VecDeque::new());
    let read = || {
        reads.borrow_mut().push(start.elapsed().as_secs());
        ready(answers.borrow_mut().pop_front().unwrap())
    };
    let second = |number: u64| {
        let half = Duration::from_millis(500);
        time::sleep((Duration::from_secs(number) + half).saturating_sub(start.elapsed()))
    };
    let unreachable = || Err("no connection".to_owned());
    let story = async {
        assert!(login(&keys, &one).is_ok());
        answers.borrow_mut().push_back(set(&[&one, &two]));
        for _ in 0..100 {
            assert!(is_unknown(&keys, &two));
        }
        second(9).await;
        assert_eq!(*reads.borrow(), [0; 0], "the start was less than 10 s ago");
        second(10).await;
        assert_eq!(*reads.borrow(), [10]);
        assert!(login(&keys, &one).is_ok() && login(&keys, &two).is_ok());

        // The server is not there when the keys are due, and another key is unknown meanwhile.
        answers.borrow_mut().extend([unreachable(), unreachable(), unreachable(), set(&[&two])]);
        second(3609).await;
        assert_eq!(*reads.borrow(), [10], "one reading for a hundred tokens");
        second(3612).await;
        assert_eq!(*reads.borrow(), [10, 3610, 3611]);
        assert!(is_unknown(&keys, &three), "it does not hasten an attempt");
        assert!(login(&keys, &one).is_ok() && login(&keys, &two).is_ok(), "the old keys stay in use");
        second(3640).await;
        assert_eq!(*reads.borrow(), [10, 3610, 3611, 3613, 3617], "nor is there one when the keys are new");
        assert!(login(&keys, &two).is_ok());

        // The issuer has removed the first key, and does not have the third.
        answers.borrow_mut().extend([set(&[&two]), set(&[&two])]);
        assert!(is_unknown(&keys, &one));
        second(3641).await;
        assert!(is_unknown(&keys, &three));
        second(3649).await;
        assert_eq!(reads.borrow()[5..], [3640]);
        second(3651).await;
        assert_eq!(reads.borrow()[5..], [3640, 3650]);
    };
    let (source, own) = (source(&settings), keys.of(LISTENER).unwrap());
    tokio::select! {
        () = refresh(&source, own, read) => unreachable!("it never ends"),
        () = story => {}
    }
}

/// Time passes only as the test says: the paused clock stands still while a thread of the runtime has work.
#[tokio::test(start_paused = true)]
async fn a_new_key_of_the_issuer_is_fetched_over_https_when_a_token_names_it() {
    let (release, held) = mpsc::channel::<()>();
    let held = spawn_blocking(move || held.recv());
    let (one, two) = (Signer::p256("one"), Signer::p256("two"));
    let dir = tempfile::tempdir().unwrap();
    let trusted = dir.path().join("ca.pem");
    let server = Server::start(&jwks(&[&one]), &trusted).await;
    let mut tasks = JoinSet::new();
    let keys = start(&settings(&server.url("/keys?key=geheim"), &trusted), &mut tasks).await.unwrap();
    assert!(login(&keys, &one).is_ok());

    server.answers(&jwks(&[&two]));
    assert!(is_unknown(&keys, &two));
    // The task that waits begins to do so.
    tokio::task::yield_now().await;
    tokio::time::advance(LEAST_PAUSE).await;
    while login(&keys, &two).is_err() {
        tokio::task::yield_now().await;
    }
    assert!(is_unknown(&keys, &one));
    drop(release);
    let _ = held.await;
}

#[tokio::test]
async fn keys_are_read_with_the_trust_store_as_it_is_then() {
    let (one, two) = (Signer::p256("one"), Signer::p256("two"));
    let dir = tempfile::tempdir().unwrap();
    let trusted = dir.path().join("ca.pem");
    let server = Server::start(&jwks(&[&one]), &trusted).await;
    let source = source(&settings(&server.url("/keys?key=geheim"), &trusted));
    assert_eq!(source.read().await.unwrap().len(), 1);
    server.closes();
    assert!(source.read().await.is_err());
    server.answers(&jwks(&[&one, &two]));
    assert_eq!(source.read().await.unwrap().len(), 2);

    let certificate = server.certify_anew();
    let refused = source.read().await.unwrap_err();
    assert!(refused.starts_with("the TLS handshake failed"), "{refused}");
    std::fs::remove_file(&trusted).unwrap();
    let refused = source.read().await.unwrap_err();
    assert!(refused.contains("ssl.truststore.location") && refused.contains("cannot be read"), "{refused}");
    std::fs::write(&trusted, certificate).unwrap();
    assert_eq!(source.read().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_broker_without_the_keys_does_not_start_and_does_not_show_the_query_of_their_address() {
    let dir = tempfile::tempdir().unwrap();
    let trusted = dir.path().join("ca.pem");
    let server = Server::start("", &trusted).await;
    server.closes();
    let refused = start(&settings(&server.url("/keys?key=geheim"), &trusted), &mut JoinSet::new())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("sasl.oauthbearer.jwks.endpoint.url") && refused.contains("/keys?"),
        "{refused}"
    );
    assert!(!refused.contains("geheim"), "{refused}");
    std::fs::remove_file(&trusted).unwrap();
    let refused = start(&settings(&server.url("/keys?key=geheim"), &trusted), &mut JoinSet::new())
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("ssl.truststore.location"), "{refused}");
}
