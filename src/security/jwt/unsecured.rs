//! Tokens without a signature, which everybody can make. They are for tests.

use super::{BadToken, Parts, claims, invalid, object};
use crate::config::UnsecuredTokens;
use crate::security::sasl::Login;
use crate::types::Timestamp;

/// The login of a client with this token.
pub fn read(token: &str, rules: &UnsecuredTokens, now: Timestamp) -> Result<Login, BadToken> {
    let Parts { claims, signature, .. } = {
        let parts = Parts::of(token)?;
        if parts.algorithm() != "none" {
            return Err(invalid("a token that is taken without verification must have the algorithm none"));
        }
        parts
    };
    if !signature.is_empty() {
        return Err(invalid("a token with the algorithm none has a signature"));
    }
    let claims = object(claims, "body")?;
    let user = claims::user(&claims, &rules.user_claim)?;
    let expires = claims::time(&claims, "exp")?.ok_or_else(|| invalid("the token has no claim exp"))?;
    let issued = claims::time(&claims, "iat")?;
    #[expect(clippy::cast_precision_loss, reason = "exact for thousands of years")]
    let (now, skew) = (now.0 as f64, rules.clock_skew.as_millis() as f64);
    if issued.is_some_and(|issued| issued * 1000.0 > now + skew) {
        return Err(invalid("the token is from the future: compare the clocks"));
    }
    if now - skew >= expires * 1000.0 {
        return Err(invalid("the token has expired"));
    }
    if issued.is_some_and(|issued| expires <= issued) {
        return Err(invalid("the token ends before it begins"));
    }
    let scopes = claims::texts(&claims, &rules.scope_claim);
    let scopes =
        scopes.ok_or_else(|| invalid(format!("the claim {} does not list scopes", rules.scope_claim)))?;
    if !rules.scopes.iter().all(|needed| scopes.iter().any(|scope| scope.trim() == needed)) {
        return Err(BadToken::LacksScope(rules.scopes.clone()));
    }
    #[expect(clippy::cast_possible_truncation, reason = "it saturates")]
    let until = (expires * 1000.0).round() as i64;
    Ok(Login { user, until: Some(Timestamp(until)), by_token: false })
}
