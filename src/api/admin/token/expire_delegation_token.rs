//! ExpireDelegationToken (key 40): a token expires at another time, or is removed at once. Its owner and its renewers may
//! do so.

use super::{changeable, is_allowed, is_valid, outcome};
use crate::api::context::Context;
use crate::api::error::ErrorCode;
use crate::api::{Handler, Reply};
use crate::protocol::messages::{ExpireDelegationTokenRequest, ExpireDelegationTokenResponse};
use crate::types::Timestamp;

impl Handler for ExpireDelegationTokenRequest {
    async fn handle(self, ctx: Context) -> Reply<ExpireDelegationTokenResponse> {
        Reply::later(async move {
            let (error_code, expiry_timestamp_ms) = outcome(expire(self, &ctx).await);
            ExpireDelegationTokenResponse {
                error_code,
                expiry_timestamp_ms,
                ..ExpireDelegationTokenResponse::default()
            }
        })
    }
}

async fn expire(request: ExpireDelegationTokenRequest, ctx: &Context) -> Result<Timestamp, ErrorCode> {
    let (tokens, one) = changeable(ctx, &request.hmac)?;
    let now = ctx.now().time;
    is_allowed(&tokens, &one)?;
    let period = request.expiry_time_period_ms;
    let expires = if period < 0 {
        None
    } else {
        is_valid(&one, now)?;
        Some(Timestamp(now.0.saturating_add(period)).min(one.token.max))
    };
    tokens.change(one.id, expires).await.map_err(|error| ErrorCode::from(&error))?;
    Ok(expires.unwrap_or(now))
}
