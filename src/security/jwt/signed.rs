//! Tokens with a signature: by which key, from whom, for whom, and until when.

use serde_json::Value;

use super::keys::Algorithm;
use super::{BadToken, KeySet, Members, Parts, claims, invalid};
use crate::config::SignedTokens;
use crate::security::sasl::Login;
use crate::types::Timestamp;

/// Names of keys in log lines are cut to this many letters.
const LONGEST_NAME: usize = 100;

/// The login of a client with this token.
pub fn verify(token: &str, keys: &KeySet, rules: &SignedTokens, now: Timestamp) -> Result<Login, BadToken> {
    let parts = Parts::of(token)?;
    // The algorithm first: what is signed with a secret, or not at all, is never compared with a public key.
    let algorithm = Algorithm::named(parts.algorithm()).ok_or_else(|| {
        invalid(
            "the algorithm of the token is not one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA",
        )
    })?;
    if parts.header.contains_key("crit") {
        return Err(invalid("the token has a header that must be understood (crit)"));
    }
    let id = match parts.header.get("kid") {
        None | Some(Value::Null) => None,
        Some(Value::String(id)) => Some(id.as_str()),
        Some(_) => return Err(invalid("the header kid of the token is not a text")),
    };
    let key = keys.find(id, algorithm).ok_or_else(|| {
        let name: String = id.unwrap_or("(none)").chars().take(LONGEST_NAME).collect();
        BadToken::UnknownKey(format!("the issuer has no key {name:?} for the algorithm of the token"))
    })?;
    if !key.has_signed(algorithm, parts.signed.as_bytes(), &parts.signature) {
        return Err(invalid("the signature of the token is wrong"));
    }
    let claims = parts.claims()?;
    let until = check_times(&claims, rules, now)?;
    check_issuer_and_audience(&claims, rules)?;
    claims::check_scopes(&claims, &rules.scope_claim)?;
    let user = claims::user(&claims, &rules.user_claim)?;
    let user = claims::trimmed(&user).to_owned();
    Ok(Login { user, until: Some(until), by_token: false })
}

/// Returns the end of the token. As in Kafka, fractions of seconds do not count.
fn check_times(claims: &Members, rules: &SignedTokens, now: Timestamp) -> Result<Timestamp, BadToken> {
    let seconds = |name: &str| {
        let time = claims::time(claims, name)?;
        #[expect(clippy::cast_possible_truncation, reason = "it saturates")]
        Ok(time.map(|time| time as i64))
    };
    let needed = |name: &str| seconds(name)?.ok_or_else(|| invalid(format!("the token has no claim {name}")));
    let (expires, issued, begins) = (needed("exp")?, needed("iat")?, seconds("nbf")?);
    let skew = i64::try_from(rules.clock_skew.as_secs()).unwrap_or(i64::MAX);
    let now = now.0.div_euclid(1000);
    if expires < 0 || issued < 0 {
        return Err(invalid("the token is from before 1970"));
    }
    if now.saturating_sub(skew) >= expires {
        return Err(invalid("the token has expired"));
    }
    if expires < issued || begins.is_some_and(|begins| expires < begins) {
        return Err(invalid("the token ends before it begins"));
    }
    if begins.is_some_and(|begins| now.saturating_add(skew) < begins) {
        return Err(invalid("the token is not valid yet: compare the clocks of broker and issuer"));
    }
    Ok(Timestamp(expires.saturating_mul(1000)))
}

fn check_issuer_and_audience(claims: &Members, rules: &SignedTokens) -> Result<(), BadToken> {
    if let Some(issuer) = &rules.issuer
        && claims.get("iss").and_then(Value::as_str) != Some(issuer)
    {
        return Err(invalid("the token is not from the expected issuer"));
    }
    let audiences =
        claims::texts(claims, "aud").ok_or_else(|| invalid("the claim aud does not list audiences"))?;
    let is_expected = |audience: &&str| rules.audiences.iter().any(|expected| expected == audience);
    if !rules.audiences.is_empty() && !audiences.iter().any(is_expected) {
        return Err(invalid("the token is not for an expected audience"));
    }
    Ok(())
}
