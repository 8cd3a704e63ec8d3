//! JSON Web Tokens (RFC 7519) as clients show them with OAUTHBEARER: with the signature of an issuer (RFC 7515), or without
//! one, for tests.
//!
//! The rules are Kafka's. Stricter than Kafka: only asymmetric algorithms, each only with keys that are meant for it.

mod claims;
mod json;
mod keys;
mod signed;
mod unsecured;

#[cfg(test)]
pub(crate) mod tests;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

pub use keys::{KeySet, MOST_KEY_BYTES, read_file};
pub use signed::verify;
pub use unsecured::read as read_unsecured;

/// The members of a JSON object.
type Members = Map<String, Value>;

/// The reason why a token is refused. It is for the log: clients only get the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadToken {
    Invalid(String),
    /// No key of the issuer is the one that the token names. It may be new.
    UnknownKey(String),
    /// It lacks one of these scopes.
    LacksScope(Vec<String>),
}

impl BadToken {
    /// Kafka's answer to the client.
    pub fn answer(&self) -> String {
        match self {
            BadToken::Invalid(_) | BadToken::UnknownKey(_) => r#"{"status":"invalid_token"}"#.to_owned(),
            BadToken::LacksScope(needed) => {
                format!(r#"{{"status":"insufficient_scope", "scope":"[{}]"}}"#, needed.join(", "))
            }
        }
    }
}

impl std::fmt::Display for BadToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BadToken::Invalid(why) | BadToken::UnknownKey(why) => f.write_str(why),
            BadToken::LacksScope(needed) => {
                write!(f, "the token lacks one of the scopes {}", needed.join(" "))
            }
        }
    }
}

fn object(part: &str, name: &str) -> Result<Members, BadToken> {
    let read = || match json::read(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()? {
        Value::Object(members) => Some(members),
        _ => None,
    };
    read().ok_or_else(|| {
        invalid(format!("the {name} of the token is not a JSON object in base64url, or has a name twice"))
    })
}

fn invalid(why: impl Into<String>) -> BadToken {
    BadToken::Invalid(why.into())
}

/// The most bytes of a header as text. The JSON of a header takes many times as much memory.
const MOST_HEADER: usize = 8 << 10;

/// The parts of a token in its compact form. The claims are decoded only once somebody asks for them: before that the
/// signature can be verified.
struct Parts<'a> {
    header: Members,
    claims: &'a str,
    /// The text that the signature is about.
    signed: &'a str,
    signature: Vec<u8>,
}

impl Parts<'_> {
    fn of(token: &str) -> Result<Parts<'_>, BadToken> {
        let three = || {
            let (signed, signature) = token.rsplit_once('.')?;
            let (header, claims) = signed.split_once('.').filter(|(_, claims)| !claims.contains('.'))?;
            Some((header, claims, signed, signature))
        };
        let (header, claims, signed, signature) =
            three().ok_or_else(|| invalid("the token is not three texts with dots between them"))?;
        if header.len() > MOST_HEADER {
            return Err(invalid("the header of the token is too long"));
        }
        Ok(Parts {
            header: object(header, "header")?,
            claims,
            signed,
            signature: URL_SAFE_NO_PAD
                .decode(signature)
                .map_err(|_| invalid("the signature of the token is not base64url"))?,
        })
    }

    fn claims(&self) -> Result<Members, BadToken> {
        object(self.claims, "body")
    }

    fn algorithm(&self) -> &str {
        self.header.get("alg").and_then(Value::as_str).unwrap_or_default()
    }
}
