//! Tokens of an issuer whose keys are known, each with one thing wrong, and the published examples.

use std::path::PathBuf;
use std::time::Duration;

use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
    RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use serde_json::json;

use super::*;
use crate::config::{KeyPlace, KeySource, Named, SignedTokens, TrustStoreSettings, UnsecuredTokens};
use crate::security::sasl::Login;
use crate::types::Timestamp;

/// In seconds since 1970.
pub(crate) const NOW: i64 = 1_700_000_000;
/// The allowed difference of clocks, in seconds.
const SKEW: i64 = 30;

fn rules() -> SignedTokens {
    let named = |value: Option<&str>| Named { name: String::new(), value: value.map(str::to_owned) };
    SignedTokens {
        keys: KeySource {
            url: Named { name: String::new(), value: String::new() },
            place: KeyPlace::File(PathBuf::new()),
            refresh: Duration::ZERO,
            retry: Duration::ZERO,
            longest_retry: Duration::ZERO,
            trust: TrustStoreSettings {
                kind: Named { name: String::new(), value: "PEM".to_owned() },
                location: named(None),
                password: named(None),
                certificates: named(None),
            },
        },
        audiences: vec!["kafka".to_owned(), "orders".to_owned()],
        issuer: Some("https://issuer".to_owned()),
        user_claim: "sub".to_owned(),
        scope_claim: "scope".to_owned(),
        clock_skew: Duration::from_secs(30),
    }
}

/// A key with its public part as in a JWKS.
pub(crate) enum Signer {
    Ec(Box<EcdsaKeyPair>, Value),
    Ed(Box<Ed25519KeyPair>, Value),
    Rsa(Box<RsaKeyPair>, Value),
}

impl Signer {
    fn ec(id: &str, curve: &str, algorithm: &'static EcdsaSigningAlgorithm) -> Signer {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random).unwrap();
        let point = &key.public_key().as_ref()[1..];
        let (x, y) = point.split_at(point.len() / 2);
        let public = json!({"kty": "EC", "kid": id, "crv": curve, "x": text(x), "y": text(y)});
        Signer::Ec(Box::new(key), public)
    }

    pub(crate) fn p256(id: &str) -> Signer {
        Signer::ec(id, "P-256", &ECDSA_P256_SHA256_FIXED_SIGNING)
    }

    fn ed25519(id: &str) -> Signer {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let key = Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap();
        let public = json!({"kty": "OKP", "kid": id, "crv": "Ed25519", "x": text(key.public_key().as_ref())});
        Signer::Ed(Box::new(key), public)
    }

    fn rsa(id: &str) -> Signer {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tokens/rsa.pk8");
        let key = RsaKeyPair::from_pkcs8(&std::fs::read(path).unwrap()).unwrap();
        let public: PublicKeyComponents<Vec<u8>> = key.public().into();
        let public =
            json!({"kty": "RSA", "kid": id, "use": "sig", "n": text(&public.n), "e": text(&public.e)});
        Signer::Rsa(Box::new(key), public)
    }

    fn public(&self) -> Value {
        let (Signer::Ec(_, public) | Signer::Ed(_, public) | Signer::Rsa(_, public)) = self;
        public.clone()
    }

    fn sign(&self, algorithm: &str, signed: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Signer::Ec(key, _) => key.sign(&random, signed).unwrap().as_ref().to_vec(),
            Signer::Ed(key, _) => key.sign(signed).as_ref().to_vec(),
            Signer::Rsa(key, _) => {
                let padding: &dyn RsaEncoding = match algorithm {
                    "RS384" => &RSA_PKCS1_SHA384,
                    "RS512" => &RSA_PKCS1_SHA512,
                    "PS256" => &RSA_PSS_SHA256,
                    "PS384" => &RSA_PSS_SHA384,
                    "PS512" => &RSA_PSS_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(padding, &random, signed, &mut signature).unwrap();
                signature
            }
        }
    }

    /// A token for alice that is good at [`NOW`]; the key is one of [`Signer::p256`].
    pub(crate) fn usual_token(&self) -> String {
        self.token(&json!({"alg": "ES256", "kid": self.public()["kid"]}), &claims())
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        let signed =
            format!("{}.{}", text(header.to_string().as_bytes()), text(claims.to_string().as_bytes()));
        let signature = self.sign(header["alg"].as_str().unwrap_or_default(), signed.as_bytes());
        format!("{signed}.{}", text(&signature))
    }
}

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A JWKS with these keys.
pub(crate) fn jwks(signers: &[&Signer]) -> String {
    let all: Vec<Value> = signers.iter().map(|signer| signer.public()).collect();
    json!({ "keys": all }).to_string()
}

fn keys(signers: &[&Signer]) -> KeySet {
    KeySet::parse(jwks(signers).as_bytes()).unwrap()
}

fn claims() -> Value {
    json!({"sub": "alice", "iss": "https://issuer", "aud": "kafka", "iat": NOW - 100, "exp": NOW + 600, "scope": "a b"})
}

/// The usual claims with one of them changed; null removes it.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    match value {
        Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
        value => claims[name] = value,
    }
    claims
}

fn at(seconds: i64) -> Timestamp {
    Timestamp(seconds * 1000)
}

/// The user of a token with these claims, which is signed as usual.
fn user_of(claims: &Value, rules: &SignedTokens) -> Result<String, BadToken> {
    let signer = Signer::p256("one");
    let token = signer.token(&json!({"alg": "ES256", "kid": "one"}), claims);
    verify(&token, &keys(&[&signer]), rules, at(NOW)).map(|login| login.user)
}

fn refusal(claims: &Value) -> String {
    user_of(claims, &rules()).unwrap_err().to_string()
}

#[test]
fn a_token_with_a_good_signature_is_a_login_until_its_end() {
    let rsa = Signer::rsa("rsa");
    let (p256, p384) = (Signer::p256("p256"), Signer::ec("p384", "P-384", &ECDSA_P384_SHA384_FIXED_SIGNING));
    let ed25519 = Signer::ed25519("ed25519");
    let keys = keys(&[&rsa, &p256, &p384, &ed25519]);
    let login = Login { user: "alice".to_owned(), until: Some(at(NOW + 600)), by_token: false };
    for (signer, algorithms) in [
        (&rsa, &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"][..]),
        (&p256, &["ES256"][..]),
        (&p384, &["ES384"][..]),
        (&ed25519, &["EdDSA"][..]),
    ] {
        for algorithm in algorithms {
            let named = signer.token(&json!({"alg": algorithm, "kid": signer.public()["kid"]}), &claims());
            assert_eq!(verify(&named, &keys, &rules(), at(NOW)), Ok(login.clone()), "{algorithm}");
            // Without the name of a key it is the first of the right type.
            for unnamed in [json!({"alg": algorithm}), json!({"alg": algorithm, "kid": null})] {
                let unnamed = signer.token(&unnamed, &claims());
                assert_eq!(verify(&unnamed, &keys, &rules(), at(NOW)), Ok(login.clone()), "{algorithm}");
            }
        }
    }
}

#[test]
fn a_token_is_refused_if_anything_in_it_was_changed() {
    let signer = Signer::p256("one");
    let keys = keys(&[&signer]);
    let good = signer.token(&json!({"alg": "ES256", "kid": "one"}), &claims());
    let parts: Vec<&str> = good.split('.').collect();
    let other = text(with("sub", json!("admin")).to_string().as_bytes());
    let forged = format!("{}.{other}.{}", parts[0], parts[2]);
    assert_eq!(
        verify(&forged, &keys, &rules(), at(NOW)),
        Err(invalid("the signature of the token is wrong"))
    );
    let none = format!("{}.{}.", parts[0], parts[1]);
    assert_eq!(verify(&none, &keys, &rules(), at(NOW)), Err(invalid("the signature of the token is wrong")));
    let stranger = Signer::p256("one").token(&json!({"alg": "ES256", "kid": "one"}), &claims());
    assert_eq!(
        verify(&stranger, &keys, &rules(), at(NOW)),
        Err(invalid("the signature of the token is wrong"))
    );
}

#[test]
fn no_signature_and_signatures_by_a_secret_are_refused_even_if_the_secret_is_the_public_key() {
    let signer = Signer::rsa("one");
    let keys = keys(&[&signer]);
    let spki = ring::signature::KeyPair::public_key(match &signer {
        Signer::Rsa(key, _) => &**key,
        Signer::Ec(..) | Signer::Ed(..) => unreachable!("it is RSA"),
    });
    let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, spki.as_ref());
    for algorithm in ["HS256", "none", "None", "", "RS1", "ES512", "Ed448", "rs256"] {
        let signed = format!(
            "{}.{}",
            text(json!({"alg": algorithm, "kid": "one"}).to_string().as_bytes()),
            text(claims().to_string().as_bytes())
        );
        let tag = text(ring::hmac::sign(&secret, signed.as_bytes()).as_ref());
        for token in [format!("{signed}.{tag}"), format!("{signed}.")] {
            let refused = verify(&token, &keys, &rules(), at(NOW)).unwrap_err();
            assert!(refused.to_string().starts_with("the algorithm of the token"), "{algorithm}: {refused}");
        }
    }
}

#[test]
fn a_key_is_only_used_for_the_algorithm_that_it_is_for() {
    let signer = Signer::rsa("one");
    let mut public = signer.public();
    public["alg"] = json!("PS256");
    let keys = KeySet::parse(json!({"keys": [public]}).to_string().as_bytes()).unwrap();
    let verified = |algorithm: &str| {
        verify(&signer.token(&json!({"alg": algorithm, "kid": "one"}), &claims()), &keys, &rules(), at(NOW))
    };
    assert!(verified("PS256").is_ok());
    assert!(matches!(verified("RS256"), Err(BadToken::UnknownKey(_))));
    assert!(matches!(verified("ES256"), Err(BadToken::UnknownKey(_))));
}

#[test]
fn a_token_that_names_an_unknown_key_differs_from_a_bad_one() {
    let (signer, other) = (Signer::p256("one"), Signer::p256("two"));
    let keys = keys(&[&signer]);
    let token = other.token(&json!({"alg": "ES256", "kid": "two"}), &claims());
    let refused = verify(&token, &keys, &rules(), at(NOW)).unwrap_err();
    assert!(matches!(&refused, BadToken::UnknownKey(why) if why.contains("\"two\"")), "{refused:?}");
    let long = other.token(&json!({"alg": "ES256", "kid": "x".repeat(10_000)}), &claims());
    assert!(verify(&long, &keys, &rules(), at(NOW)).unwrap_err().to_string().len() < 300);
}

#[test]
fn the_times_of_a_token_are_checked_with_the_allowed_difference_of_clocks() {
    let edge = |name: &str, seconds: i64| user_of(&with(name, json!(seconds)), &rules()).is_ok();
    assert!(edge("exp", NOW - SKEW + 1) && !edge("exp", NOW - SKEW));
    assert!(edge("nbf", NOW + SKEW) && !edge("nbf", NOW + SKEW + 1));
    assert!(edge("iat", NOW + 600) && !edge("iat", NOW + 601), "it ends before it begins");
    assert!(edge("iat", 0) && !edge("iat", -1) && !edge("exp", -1));
    assert!(user_of(&with("exp", json!(NOW as f64 + 0.9)), &rules()).is_ok(), "fractions");
    for name in ["exp", "iat"] {
        assert_eq!(refusal(&with(name, Value::Null)), format!("the token has no claim {name}"));
        assert_eq!(
            refusal(&with(name, json!("soon"))),
            format!("the claim {name} is not a number of seconds")
        );
    }
    assert_eq!(refusal(&with("nbf", json!("soon"))), "the claim nbf is not a number of seconds");
}

#[test]
fn issuer_and_audience_have_to_be_the_expected_ones_unless_any_will_do() {
    for wrong in [Value::Null, json!("https://other"), json!("https://issuer/"), json!(["https://issuer"])] {
        assert_eq!(refusal(&with("iss", wrong)), "the token is not from the expected issuer");
    }
    for right in [json!("kafka"), json!(["else", "orders"])] {
        assert!(user_of(&with("aud", right), &rules()).is_ok());
    }
    for wrong in [Value::Null, json!("Kafka"), json!([]), json!(["else"])] {
        assert_eq!(refusal(&with("aud", wrong)), "the token is not for an expected audience");
    }
    assert_eq!(refusal(&with("aud", json!([1]))), "the claim aud does not list audiences");
    let any = SignedTokens { audiences: Vec::new(), issuer: None, ..rules() };
    let mut bare = with("aud", Value::Null);
    bare.as_object_mut().unwrap().remove("iss");
    assert_eq!(user_of(&bare, &any), Ok("alice".to_owned()));
}

#[test]
fn the_user_is_in_the_claim_that_the_settings_name() {
    let by_mail = SignedTokens { user_claim: "email".to_owned(), ..rules() };
    assert_eq!(user_of(&with("email", json!(" a@b ")), &by_mail), Ok("a@b".to_owned()));
    assert!(user_of(&claims(), &by_mail).is_err());
    for wrong in [Value::Null, json!(""), json!(" \t"), json!("\0\u{1}"), json!(5), json!(["alice"])] {
        assert_eq!(refusal(&with("sub", wrong)), "the claim sub does not name a user");
    }
}

/// Each was asked of Apache Kafka 4.4.
#[test]
fn a_user_may_have_any_name_without_the_blanks_and_control_characters_at_its_ends() {
    for (name, user) in [
        ("\u{1}a\n", "a"),
        ("a\0b\nc\u{7f}", "a\0b\nc\u{7f}"),
        ("\u{a0}", "\u{a0}"),
        ("\u{2003}a\u{200b}", "\u{2003}a\u{200b}"),
        ("User:a,b=\"c\\", "User:a,b=\"c\\"),
        ("*", "*"),
    ] {
        assert_eq!(user_of(&with("sub", json!(name)), &rules()), Ok(user.to_owned()), "{name:?}");
    }
}

#[test]
fn a_token_or_a_set_of_keys_with_a_name_twice_is_refused() {
    let signer = Signer::p256("one");
    let verified = |header: &str, claims: &str| {
        let signed = format!("{}.{}", text(header.as_bytes()), text(claims.as_bytes()));
        let signature = signer.sign("ES256", signed.as_bytes());
        verify(&format!("{signed}.{}", text(&signature)), &keys(&[&signer]), &rules(), at(NOW))
    };
    let (header, claims) = (r#"{"alg":"ES256","kid":"one"}"#, claims().to_string());
    assert!(verified(header, &claims).is_ok());
    let with = |text: &str, member: &str| text.replacen('{', &format!("{{{member},"), 1);
    for header in [with(header, r#""alg":"none""#), with(header, r#""kid":"one""#)] {
        let refused = verified(&header, &claims).unwrap_err();
        assert!(refused.to_string().starts_with("the header of the token"), "{refused}");
    }
    for claims in [with(&claims, r#""s\u0075b":"ben""#), with(&claims, r#""x":[{"y":1,"y":1}]"#)] {
        let refused = verified(header, &claims).unwrap_err();
        assert!(refused.to_string().starts_with("the body of the token"), "{refused}");
    }
    let set = json!({"keys": [signer.public()]}).to_string();
    assert!(KeySet::parse(set.as_bytes()).is_ok());
    for twice in [with(&set, r#""keys":[]"#), set.replace(r#""kty""#, r#""kty":"RSA","kty""#)] {
        let refused = KeySet::parse(twice.as_bytes()).unwrap_err();
        assert!(refused.contains("an object has a name twice"), "{refused}");
    }
}

#[test]
fn scopes_may_be_missing_but_not_blank_or_double() {
    for right in [Value::Null, json!("a"), json!(["a", "b"]), json!([]), json!(1), json!({})] {
        assert!(user_of(&with("scope", right), &rules()).is_ok());
    }
    for wrong in [json!(""), json!(["a", " "]), json!(["a", "a "]), json!([1])] {
        assert_eq!(refusal(&with("scope", wrong)), "the claim scope does not list scopes, each once");
    }
}

#[test]
fn texts_that_are_no_tokens_are_refused() {
    let signer = Signer::p256("one");
    let keys = keys(&[&signer]);
    let list = signer.token(&json!(["ES256"]), &claims());
    let critical = signer.token(&json!({"alg": "ES256", "kid": "one", "crit": ["b64"]}), &claims());
    let number = signer.token(&json!({"alg": "ES256", "kid": 1}), &claims());
    let deep = format!("{}.e30.AA", text("[".repeat(100_000).as_bytes()));
    for token in [
        "",
        ".",
        "..",
        "a.b",
        "a.b.c.d",
        "e30.e30.",
        "e30.e30.e30",
        "e30.!.AA",
        &list,
        &critical,
        &number,
        &deep,
    ] {
        assert!(matches!(verify(token, &keys, &rules(), at(NOW)), Err(BadToken::Invalid(_))), "{token}");
    }
}

#[test]
fn what_a_stranger_has_written_is_decoded_only_after_the_signature() {
    let signer = Signer::p256("one");
    let refused = |token: &str| match verify(token, &keys(&[&signer]), &rules(), at(NOW)) {
        Err(BadToken::Invalid(why)) => why,
        other => panic!("{other:?}"),
    };
    let good = signer.token(&json!({"alg": "ES256", "kid": "one"}), &claims());
    let (header, signature) = (good.split_once('.').unwrap().0, good.rsplit_once('.').unwrap().1);
    assert!(refused(&format!("{header}.no.{signature}")).contains("signature"), "the claims are no JSON");
    assert!(refused(&format!("{}.e30.AA", "A".repeat(9 << 10))).contains("too long"));
}

#[test]
fn keys_for_something_else_are_left_out() {
    let key = |changes: Value| {
        let mut key = Signer::p256("one").public();
        for (name, value) in changes.as_object().unwrap() {
            key[name] = value.clone();
        }
        key
    };
    let good = [json!({}), json!({"use": "sig"}), json!({"key_ops": ["verify"]}), json!({"alg": "ES256"})];
    let wrong = [
        json!({"use": "enc"}),
        json!({"key_ops": ["sign"]}),
        json!({"kty": "oct", "k": "c2VjcmV0"}),
        json!({"kty": "OKP"}),
        json!({"kty": "OKP", "crv": "Ed448"}),
        json!({"kty": "OKP", "crv": "Ed25519", "x": "AA"}),
        json!({"crv": "P-521"}),
        json!({"crv": "P-384"}),
        json!({"x": "AA"}),
        json!({"y": "!"}),
    ];
    let all: Vec<Value> =
        good.iter().chain(&wrong).map(|changes| key(changes.clone())).chain([json!(1)]).collect();
    let keys = KeySet::parse(json!({ "keys": all }).to_string().as_bytes()).unwrap();
    assert_eq!((keys.len(), keys.left_out), (good.len(), wrong.len() + 1));
    for (text, why) in [
        ("", "not JSON"),
        ("[]", "no list"),
        (r#"{"keys": {}}"#, "no list"),
        (r#"{"keys": []}"#, "no RSA, EC or Ed25519 key"),
        (&json!({"keys": [key(json!({"use": "enc"}))]}).to_string(), "no RSA, EC or Ed25519 key"),
        (&format!("{{\"keys\": [{}]}}", " ".repeat(MOST_KEY_BYTES)), "longer than 1 MiB"),
    ] {
        let refused = KeySet::parse(text.as_bytes()).unwrap_err();
        assert!(refused.contains(why), "{refused}");
    }
}

#[test]
fn rsa_keys_that_verify_nothing_are_left_out() {
    let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let set = |modulus: &[u8], exponent: &[u8]| {
        let key = json!({"kty": "RSA", "n": encoded(modulus), "e": encoded(exponent)});
        KeySet::parse(json!({ "keys": [key] }).to_string().as_bytes()).is_ok()
    };
    let (good, e) = ([0xC1; 256], [1, 0, 1]);
    assert!(
        set(&good, &e) && set(&[&[0], &good[..]].concat(), &e),
        "Java writes a zero before such a number"
    );
    for (modulus, exponent) in [(&good[1..], &e[..]), (&good, &[1]), (&good, &[2]), (&good, &[])] {
        assert!(!set(modulus, exponent), "{} bytes, {exponent:?}", modulus.len());
    }
    assert!(!set(&[0xC1; 1025], &e) && !set(&[0xC0; 256], &e));
}

#[test]
fn a_file_of_keys_is_read_up_to_its_limit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jwks.json");
    assert!(read_file(&path).unwrap_err().starts_with("it cannot be read"));
    std::fs::write(&path, json!({"keys": [Signer::p256("one").public()]}).to_string()).unwrap();
    assert_eq!(read_file(&path).unwrap().len(), 1);
    std::fs::write(&path, " ".repeat(MOST_KEY_BYTES + 1)).unwrap();
    assert_eq!(read_file(&path).unwrap_err(), "it is longer than 1 MiB");
}

/// The key and the signature of RFC 7515, appendix A.3.
#[test]
fn the_published_example_of_a_signature_is_verified() {
    let key = json!({"kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"});
    let keys = KeySet::parse(json!({"keys": [key]}).to_string().as_bytes()).unwrap();
    let token = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19\
                 yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let refused = verify(token, &keys, &rules(), at(NOW)).unwrap_err();
    assert_eq!(refused.to_string(), "the token has no claim iat", "its signature is good");
}

/// The key and the signature of RFC 8037, appendix A.
#[test]
fn the_published_example_of_a_signature_with_ed25519_is_verified() {
    let key = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    let keys = KeySet::parse(json!({"keys": [key]}).to_string().as_bytes()).unwrap();
    let token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbh\
                 ijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let refused = verify(token, &keys, &rules(), at(NOW)).unwrap_err().to_string();
    assert!(
        refused.starts_with("the body of the token is not a JSON object"),
        "its signature is good: {refused}"
    );
    let other = token.replacen("hgyY", "hgyZ", 1);
    let refused = verify(&other, &keys, &rules(), at(NOW)).unwrap_err();
    assert_eq!(refused, invalid("the signature of the token is wrong"));
}

fn unsecured(header: &Value, claims: &Value, signature: &str) -> String {
    format!("{}.{}.{signature}", text(header.to_string().as_bytes()), text(claims.to_string().as_bytes()))
}

fn loose(scopes: &[&str]) -> UnsecuredTokens {
    UnsecuredTokens {
        user_claim: "sub".to_owned(),
        scope_claim: "scope".to_owned(),
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        clock_skew: Duration::from_millis(500),
    }
}

#[test]
fn a_token_without_a_signature_is_taken_where_the_settings_say_so() {
    let none = json!({"alg": "none"});
    let read = |claims: &Value| read_unsecured(&unsecured(&none, claims, ""), &loose(&[]), at(NOW));
    let bare = json!({"sub": "alice", "exp": NOW + 600});
    assert_eq!(
        read(&bare),
        Ok(Login { user: "alice".to_owned(), until: Some(at(NOW + 600)), by_token: false })
    );
    let half = read(&json!({"sub": "alice", "exp": NOW as f64 + 0.25}));
    assert_eq!(half.unwrap().until, Some(Timestamp(NOW * 1000 + 250)));
    for wrong in [
        json!({"exp": NOW + 600}),
        json!({"sub": " ", "exp": NOW + 600}),
        json!({"sub": "alice"}),
        json!({"sub": "alice", "exp": "soon"}),
        json!({"sub": "alice", "exp": NOW as f64 - 0.5}),
        json!({"sub": "alice", "exp": NOW + 600, "iat": NOW as f64 + 0.75}),
        json!({"sub": "alice", "exp": NOW, "iat": NOW}),
    ] {
        assert!(matches!(read(&wrong), Err(BadToken::Invalid(_))), "{wrong}");
    }
    let signed = unsecured(&json!({"alg": "ES256"}), &bare, "AA");
    let both = unsecured(&none, &bare, "AA");
    for token in [&signed, &both] {
        assert!(read_unsecured(token, &loose(&[]), at(NOW)).is_err(), "{token}");
    }
}

#[test]
fn a_token_without_a_signature_needs_all_scopes() {
    let read = |scope: Value| {
        let claims = json!({"sub": "alice", "exp": NOW + 600, "scope": scope});
        read_unsecured(&unsecured(&json!({"alg": "none"}), &claims, ""), &loose(&["A", "B"]), at(NOW))
    };
    assert!(read(json!(["B", " A "])).is_ok());
    let lacks = Err(BadToken::LacksScope(vec!["A".to_owned(), "B".to_owned()]));
    // As in Kafka, a text is one scope.
    for scope in [json!(["A"]), json!("A B"), Value::Null] {
        assert_eq!(read(scope), lacks);
    }
}
