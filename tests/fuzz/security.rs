//! Fuzz targets of what security reads: users, logins, key stores and the rules for names in certificates.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jackdaw::config::jaas::{self, LoginModule};
use jackdaw::config::{KeyPlace, KeySource, Mechanism, Named, SignedTokens, TrustStoreSettings};
use jackdaw::security::jwt::{KeySet, verify};
use jackdaw::security::sasl::{Exchange, Facts, Step, scram};
use jackdaw::security::tls::rules::PrincipalRules;
use jackdaw::security::tls::{pem, store};
use jackdaw::types::{ScramCredential, ScramHash, Secret, Timestamp};
use ring::digest;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

pub const USER: &str = "ann";
pub const PASSWORD: &str = "secret";
/// The server's part of the nonce of SCRAM.
pub const NONCE: &str = "server";
const SALT: &[u8] = b"salt";
/// The password of all stores in `tests/tls`.
const OF_STORES: &str = "changeit";

/// A JAAS line, or a file if the first byte is odd. What was read is written with quotes, and read again as the same.
pub fn jaas(data: &[u8]) -> bool {
    let Some((kind, text)) = data.split_first() else { return false };
    let Ok(text) = std::str::from_utf8(text) else { return false };
    if kind % 2 == 0 {
        let Ok(module) = jaas::of_setting(text) else { return false };
        assert_eq!(jaas::of_setting(&written(&module)).as_ref(), Ok(&module));
    } else {
        let Ok(contexts) = jaas::of_file(text) else { return false };
        let context = |(name, modules): (&String, &Vec<LoginModule>)| {
            format!("{} {{ {} }};", quoted(name), modules.iter().map(written).collect::<String>())
        };
        assert_eq!(jaas::of_file(&contexts.iter().map(context).collect::<String>()).as_ref(), Ok(&contexts));
    }
    true
}

fn written(module: &LoginModule) -> String {
    let option = |(name, value): (&String, &Secret)| {
        let value = std::str::from_utf8(value.bytes()).expect("a value is text");
        format!(" {}={}", quoted(name), quoted(value))
    };
    let options: String = module.options.iter().map(option).collect();
    format!("{} required{options};", quoted(&module.class))
}

/// The text in quotes, with each character as an escape that could mean something.
fn quoted(text: &str) -> String {
    let escaped = text.chars().map(|letter| match letter {
        '\n' => "\\n".to_owned(),
        '"' | '\\' => format!("\\{letter}"),
        // A file cannot have this with a brace after it.
        '$' => "\\44".to_owned(),
        other => other.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

static CREDENTIALS: LazyLock<BTreeMap<ScramHash, ScramCredential>> = LazyLock::new(|| {
    let iterations = NonZeroU32::new(4096).expect("not zero");
    let of = |hash| (hash, scram::credential(hash, PASSWORD, SALT, iterations));
    [ScramHash::Sha256, ScramHash::Sha512].map(of).into()
});

/// A login. The first byte chooses the mechanism, and each message has its length in a byte before it. Nobody but the
/// user logs in, and nobody after a failure. Returns whether the first message was taken.
pub fn sasl(data: &[u8]) -> bool {
    let Some((mechanism, mut rest)) = data.split_first() else { return false };
    let mechanism = match mechanism % 3 {
        0 => Mechanism::Plain,
        1 => Mechanism::Scram(ScramHash::Sha256),
        _ => Mechanism::Scram(ScramHash::Sha512),
    };
    let users = BTreeMap::from([(USER.to_owned(), Secret::new(PASSWORD))]);
    let known = |user: &str, hash| (user == USER).then(|| CREDENTIALS[&hash].clone());
    let bearer = |_: &str| unreachable!("no mechanism here has tokens of this kind");
    let facts = Facts {
        plain_users: &users,
        credential: &known,
        token: &|_, _| None,
        nonce: &|| NONCE.to_owned(),
        bearer: &bearer,
    };
    let mut exchange = Exchange::begin(mechanism);
    let mut taken = 0;
    while let Some((length, after)) = rest.split_first() {
        let (message, after) = after.split_at(after.len().min(usize::from(*length)));
        rest = after;
        match exchange.step(message, &facts) {
            Step::Challenge(challenge) => {
                let challenge = String::from_utf8(challenge).expect("a challenge is text");
                assert!(
                    taken == 0 && challenge.starts_with("r=") && challenge.contains(NONCE),
                    "{challenge}"
                );
            }
            Step::Done { login, .. } => {
                assert_eq!(login.user, USER);
                let (ends, messages) = match mechanism {
                    Mechanism::Plain => (message.ends_with(b"\0ann\0secret"), 0),
                    Mechanism::Scram(_) | Mechanism::OauthBearer => (message.starts_with(b"c="), 1),
                };
                assert!(ends && taken == messages, "{}", message.escape_ascii());
                return true;
            }
            Step::BadToken { .. } | Step::Failed(_) => break,
        }
        taken += 1;
    }
    taken > 0
}

/// A key store. The first byte chooses its format. A JKS store has a digest over its content, which is put right first.
pub fn keystore(data: &[u8]) -> bool {
    let Some((format, content)) = data.split_first() else { return false };
    match format % 3 {
        0 => {
            let text = String::from_utf8_lossy(content);
            let certificates = pem::certificates(&text);
            let key = pem::private_key(&text, Some(OF_STORES));
            certificates.is_ok() || key.is_ok()
        }
        1 => store::entries(content, Some(OF_STORES), None).is_ok(),
        _ => {
            let mut digest = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
            digest.update(&OF_STORES.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<_>>());
            digest.update(b"Mighty Aphrodite");
            digest.update(content);
            let whole = [content, digest.finish().as_ref()].concat();
            store::entries(&whole, Some(OF_STORES), Some(OF_STORES)).is_ok()
        }
    }
}

/// Rules for names in certificates, and after a zero byte a name. A name that only the rule `DEFAULT` is for stays as it
/// is. Returns whether a rule matched.
pub fn principal_rules(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let (rules, name) = text.split_once('\0').unwrap_or((text, "CN=ann"));
    let Ok(parsed) = PrincipalRules::parse(rules) else { return false };
    let principal = parsed.apply(name);
    if rules.trim() == "DEFAULT" {
        assert_eq!(principal.as_deref(), Some(name));
    }
    let with_default = PrincipalRules::parse(&format!("{rules},DEFAULT")).expect("one rule more");
    assert_eq!(with_default.apply(name).as_deref(), principal.as_deref().or(Some(name)));
    principal.is_some()
}

/// The key of the issuer of tokens.
static ISSUER: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key"));
const HEADER: &str = r#"{"alg":"EdDSA"}"#;
pub const CLAIMS: &str = r#"{"sub":"ann","iss":"issuer","aud":"kafka","iat":1700000000,"exp":1700000600}"#;
/// The time in seconds, when the token with these claims has not ended.
const NOW: i64 = 1_700_000_300;

static ISSUER_KEYS: LazyLock<KeySet> = LazyLock::new(|| {
    let point = URL_SAFE_NO_PAD.encode(ISSUER.public_key().as_ref());
    let keys = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "one", "x": point}]});
    KeySet::parse(keys.to_string().as_bytes()).expect("a set of keys")
});

static TOKEN_RULES: LazyLock<SignedTokens> = LazyLock::new(|| {
    let none = || Named { name: String::new(), value: None };
    let text = || Named { name: String::new(), value: String::new() };
    SignedTokens {
        keys: KeySource {
            url: text(),
            place: KeyPlace::File(PathBuf::new()),
            refresh: Duration::ZERO,
            retry: Duration::ZERO,
            longest_retry: Duration::ZERO,
            trust: TrustStoreSettings {
                kind: text(),
                location: none(),
                password: none(),
                certificates: none(),
            },
        },
        audiences: vec!["kafka".to_owned()],
        issuer: Some("issuer".to_owned()),
        user_claim: "sub".to_owned(),
        scope_claim: "scope".to_owned(),
        clock_skew: Duration::ZERO,
    }
});

/// A token with the signature of the issuer.
fn token(header: &[u8], claims: &[u8]) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = ISSUER.sign(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
}

/// The token that is accepted as a whole.
pub fn good_token() -> String {
    token(HEADER.as_bytes(), CLAIMS.as_bytes())
}

/// A token. The first byte chooses between claims, perhaps with a header and a zero byte before them, that the issuer has
/// signed; a whole token, which nobody but the issuer can make; and the keys of an issuer. Returns whether it was accepted.
pub fn jwt(data: &[u8]) -> bool {
    let Some((kind, content)) = data.split_first() else { return false };
    let verified = |token: &str, keys| verify(token, keys, &TOKEN_RULES, Timestamp(NOW * 1000));
    match kind % 3 {
        0 => {
            let end = content.iter().position(|byte| *byte == 0);
            let (header, claims) =
                end.map_or((HEADER.as_bytes(), content), |end| (&content[..end], &content[end + 1..]));
            let Ok(login) = verified(&token(header, claims), &ISSUER_KEYS) else { return false };
            let header: Value = serde_json::from_slice(header).expect("it is JSON");
            let claims: Value = serde_json::from_slice(claims).expect("it is JSON");
            let user = claims["sub"].as_str().map(|user| user.trim_matches(|letter| letter <= ' '));
            assert_eq!(user, Some(login.user.as_str()));
            assert!(!login.user.is_empty() && header["alg"] == "EdDSA" && claims["iss"] == "issuer");
            let audiences = claims["aud"].as_array().cloned().unwrap_or_else(|| vec![claims["aud"].clone()]);
            assert!(audiences.iter().any(|audience| audience == "kafka"), "{claims}");
            assert!(login.until.is_some_and(|until| until.0 > NOW * 1000), "{:?}", login.until);
            true
        }
        1 => {
            let Ok(text) = std::str::from_utf8(content) else { return false };
            let is_accepted = verified(text, &ISSUER_KEYS).is_ok();
            assert!(!is_accepted || text == good_token(), "{text}");
            is_accepted
        }
        _ => {
            let Ok(keys) = KeySet::parse(content) else { return false };
            assert!(!keys.is_empty());
            let _ = verified(&good_token(), &keys);
            true
        }
    }
}
