//! The APIs of delegation tokens (keys 38–41, KIP-48), one file per key.

mod create_delegation_token;
mod describe_delegation_token;
mod expire_delegation_token;
mod renew_delegation_token;

use std::time::Duration;

use crate::api::context::{Context, DelegationTokens, NoTokens, OneToken};
use crate::api::error::ErrorCode;
use crate::types::Timestamp;

/// The time in answers without one.
const NO_TIME: i64 = -1;

/// The code and the time of an answer. As in Kafka, some refusals have another time than others.
fn outcome(expires: Result<Timestamp, ErrorCode>) -> (i16, i64) {
    match expires {
        Ok(expires) => (ErrorCode::None.code(), expires.0),
        Err(code @ ErrorCode::DelegationTokenRequestNotAllowed) => (code.code(), NO_TIME),
        Err(code) => (code.code(), 0),
    }
}

impl From<NoTokens> for ErrorCode {
    fn from(error: NoTokens) -> ErrorCode {
        match error {
            NoTokens::NotAllowed => ErrorCode::DelegationTokenRequestNotAllowed,
            NoTokens::Disabled => ErrorCode::DelegationTokenAuthDisabled,
        }
    }
}

/// The delegation tokens, and the one that a client wants to change.
fn changeable<'a>(ctx: &'a Context, hmac: &[u8]) -> Result<(DelegationTokens<'a>, OneToken), ErrorCode> {
    let tokens = ctx.delegation_tokens()?;
    let one = tokens.of_hmac(hmac).ok_or(ErrorCode::DelegationTokenNotFound)?;
    Ok((tokens, one))
}

fn is_allowed(tokens: &DelegationTokens<'_>, one: &OneToken) -> Result<(), ErrorCode> {
    let is_allowed = one.token.is_of(tokens.principal().as_str());
    if is_allowed { Ok(()) } else { Err(ErrorCode::DelegationTokenOwnerMismatch) }
}

fn is_valid(one: &OneToken, now: Timestamp) -> Result<(), ErrorCode> {
    if one.token.is_expired_at(now) { Err(ErrorCode::DelegationTokenExpired) } else { Ok(()) }
}

/// The time that a client asks for, at most that of the settings. As in Kafka, a number below 1 means the latter.
fn at_most(asked_ms: i64, most: Duration) -> i64 {
    let most = i64::try_from(most.as_millis()).unwrap_or(i64::MAX);
    if asked_ms > 0 { asked_ms.min(most) } else { most }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_the_time_that_it_asks_for_up_to_that_of_the_settings() {
        let most = Duration::from_millis(10);
        assert_eq!([-1, 0, 1, 10, 11, i64::MAX].map(|asked| at_most(asked, most)), [10, 10, 1, 10, 10, 10]);
        assert_eq!(at_most(-1, Duration::MAX), i64::MAX);
    }
}
