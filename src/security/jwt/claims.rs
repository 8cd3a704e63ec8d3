//! The claims of a token, by their types.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{BadToken, Members, invalid};

/// A time in a token, in seconds since 1970.
pub(super) fn time(claims: &Members, name: &str) -> Result<Option<f64>, BadToken> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_f64() {
            Some(seconds) if seconds.is_finite() => Ok(Some(seconds)),
            Some(_) | None => Err(invalid(format!("the claim {name} is not a number of seconds"))),
        },
    }
}

/// The user that the token stands for. As in Kafka, any other name will do, also one with control characters: whoever has
/// the issuer's key can make every name.
pub(super) fn user(claims: &Members, name: &str) -> Result<String, BadToken> {
    let user = claims.get(name).and_then(Value::as_str).unwrap_or_default();
    if trimmed(user).is_empty() {
        return Err(invalid(format!("the claim {name} does not name a user")));
    }
    Ok(user.to_owned())
}

/// The name without the blanks and control characters at its ends, which are those of Java: other blanks are a part of it.
pub(super) fn trimmed(name: &str) -> &str {
    name.trim_matches(|letter| letter <= ' ')
}

/// The texts of a claim that may be one text or a list of them. `None` if it is something else, or has something else.
pub(super) fn texts<'a>(claims: &'a Members, name: &str) -> Option<Vec<&'a str>> {
    match claims.get(name) {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::String(one)) => Some(vec![one]),
        Some(Value::Array(all)) => all.iter().map(Value::as_str).collect(),
        Some(_) => None,
    }
}

/// As in Kafka, scopes in a text or a list are not blank, and each is there once. Anything else means that there are none.
pub(super) fn check_scopes(claims: &Members, name: &str) -> Result<(), BadToken> {
    let is_listed = matches!(claims.get(name), Some(Value::String(_) | Value::Array(_)));
    let scopes = texts(claims, name).unwrap_or_else(|| vec![""]);
    let different: BTreeSet<&str> = scopes.iter().map(|scope| scope.trim()).collect();
    if is_listed && (different.len() < scopes.len() || different.contains("")) {
        return Err(invalid(format!("the claim {name} does not list scopes, each once")));
    }
    Ok(())
}
