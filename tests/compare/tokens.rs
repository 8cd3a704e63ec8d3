//! The client's messages of OAUTHBEARER, for scripts: tokens with any claims, which nobody has signed, or the issuer whose
//! key is `tests/tokens/rsa.pk8`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jackdaw::time::Clock;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Map, Value as Json, json};

use super::records::{Entries, bytes_of};
use super::value::Value;

/// The claims that are a number of seconds from now.
const TIMES: [&str; 3] = ["exp", "iat", "nbf"];
/// Parts of a token that are not claims.
const PARTS: [&str; 5] = ["alg", "kid", "head", "body", "signature"];

/// `bearer(jwt(…))`: the client's first message. `header: "n,a=ann,"` if it has another one than `n,,`, and
/// `more: "a=b\u0001"` for what comes behind the token.
pub fn bearer(entries: &Entries) -> Vec<u8> {
    let [(_, token), others @ ..] = entries else { panic!("bearer(token)") };
    let header = word(others, "header").unwrap_or("n,,");
    let more = word(others, "more").unwrap_or_default();
    [header.as_bytes(), b"\x01auth=Bearer ", &bytes_of(token), b"\x01", more.as_bytes(), b"\x01"].concat()
}

/// `jwt(sub: ann, exp: 60)`: a token with these claims; times are seconds from now. `alg: RS256` and `kid: …` are for its
/// header, and it is signed then. `head: …`, `body: …` and `signature: …` take the places of the three parts.
pub fn jwt(entries: &Entries) -> Vec<u8> {
    let algorithm = word(entries, "alg").unwrap_or("none");
    let mut head = Map::from_iter([("alg".to_owned(), json!(algorithm))]);
    head.extend(word(entries, "kid").map(|id| ("kid".to_owned(), json!(id))));
    let claims: Map<String, Json> = entries
        .iter()
        .filter(|(name, _)| !PARTS.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), claim(name, value)))
        .collect();
    let part = |name: &str, usual: Map<String, Json>| {
        word(entries, name).map_or_else(|| Json::Object(usual).to_string(), str::to_owned)
    };
    let signed =
        [part("head", head), part("body", claims)].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
    let signature = match word(entries, "signature") {
        Some(given) => given.to_owned(),
        None if algorithm == "RS256" => URL_SAFE_NO_PAD.encode(signature_of(signed.as_bytes())),
        None => String::new(),
    };
    format!("{signed}.{signature}").into_bytes()
}

fn word<'a>(entries: &'a Entries, name: &str) -> Option<&'a str> {
    entries.iter().find(|(key, _)| key == name).map(|(_, value)| value.word())
}

fn claim(name: &str, value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::List(items) => items.iter().map(Value::word).collect(),
        Value::Word(seconds) if TIMES.contains(&name) => {
            let from_now: i64 = seconds.parse().expect("a number of seconds");
            json!(Clock::machine().now().0 / 1000 + from_now)
        }
        Value::Word(text) => json!(text),
        other => panic!("no claim: {other:?}"),
    }
}

fn signature_of(message: &[u8]) -> Vec<u8> {
    let key = RsaKeyPair::from_pkcs8(include_bytes!("../tokens/rsa.pk8")).expect("a key");
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).expect("a signature");
    signature
}

#[test]
fn a_token_has_the_claims_of_its_script() {
    let Ok(fields) = Value::fields("a: bearer(jwt(sub: ann, scope: [a, b]), more: \"x=y\\u0001\")") else {
        panic!("it is written as in a script")
    };
    let body = URL_SAFE_NO_PAD.encode(r#"{"scope":["a","b"],"sub":"ann"}"#);
    let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    let expected = format!("n,,\x01auth=Bearer {head}.{body}.\x01x=y\x01\x01");
    assert_eq!(bytes_of(&fields[0].1), expected.into_bytes());
}
