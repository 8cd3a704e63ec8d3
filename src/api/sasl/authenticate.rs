//! SaslAuthenticate (key 36): a message of the mechanism, and the server's answer to it. v1 has the length of the
//! session, v2 is the flexible encoding.

use std::time::Duration;

use super::LoginStep;
use crate::api::context::Context;
use crate::api::error::ErrorCode;
use crate::api::session::Phase;
use crate::api::{Handler, Reply};
use crate::protocol::messages::{SaslAuthenticateRequest, SaslAuthenticateResponse};

impl Handler for SaslAuthenticateRequest {
    const GAPS: &'static [&'static str] = &[
        "Another request in the middle of a login closes the connection at once; Kafka answers it with ILLEGAL_SASL_STATE first.",
        "SCRAM: the channel binding of the final message has to be that of the first, and a mandatory extension (`m=`) is refused; Kafka looks at neither.",
        "OAUTHBEARER: signatures by a secret (HS256 …), ES512 and EdDSA with Ed448 are refused.",
        "OAUTHBEARER: the JSON of a token has to be valid, with each name once; Kafka also takes one with a comma too many, a leading zero or a control character without an escape, and without a signature one with a name twice.",
        "OAUTHBEARER: a message with two tokens, of which Kafka takes the last, is refused, and so is a third bad token in one login.",
        "SCRAM: an expired delegation token is refused at once; Kafka accepts it until its next check for expired ones.",
        "GSSAPI is not implemented.",
    ];

    async fn handle(self, ctx: Context) -> Reply<SaslAuthenticateResponse> {
        match ctx.connection.session.phase() {
            Phase::Authenticates => {}
            Phase::LoggedIn | Phase::Begins | Phase::KnowsVersions | Phase::SendsTokens => {
                const LATE: &str = "SaslAuthenticate request received after successful authentication";
                return Reply::Now(refuse(ErrorCode::IllegalSaslState, LATE.to_owned()));
            }
        }
        match ctx.advance(&self.auth_bytes) {
            LoginStep::Challenge(bytes) => Reply::Now(accept(bytes, None)),
            LoginStep::LoggedIn { bytes, lifetime } => Reply::Now(accept(bytes, lifetime)),
            LoginStep::Failed(why) => Reply::Last(Box::pin(async move {
                ctx.delay_failure().await;
                refuse(ErrorCode::SaslAuthenticationFailed, why)
            })),
            LoginStep::Nothing => Reply::Close("the mechanism differs from that of the first login"),
        }
    }
}

fn accept(bytes: Vec<u8>, lifetime: Option<Duration>) -> SaslAuthenticateResponse {
    // 0 would mean that the session does not end.
    let lifetime =
        lifetime.map_or(0, |lifetime| i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX).max(1));
    SaslAuthenticateResponse {
        auth_bytes: bytes.into(),
        session_lifetime_ms: lifetime,
        ..SaslAuthenticateResponse::default()
    }
}

fn refuse(error: ErrorCode, why: String) -> SaslAuthenticateResponse {
    SaslAuthenticateResponse {
        error_code: error.code(),
        error_message: Some(why),
        ..SaslAuthenticateResponse::default()
    }
}
