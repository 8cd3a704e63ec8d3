//! RenewDelegationToken (key 39): a token expires later. Its owner and its renewers may do so.

use super::{at_most, changeable, is_allowed, is_valid, outcome};
use crate::api::context::Context;
use crate::api::error::ErrorCode;
use crate::api::{Handler, Reply};
use crate::protocol::messages::{RenewDelegationTokenRequest, RenewDelegationTokenResponse};
use crate::types::Timestamp;

impl Handler for RenewDelegationTokenRequest {
    async fn handle(self, ctx: Context) -> Reply<RenewDelegationTokenResponse> {
        Reply::later(async move {
            let (error_code, expiry_timestamp_ms) = outcome(renew(self, &ctx).await);
            RenewDelegationTokenResponse {
                error_code,
                expiry_timestamp_ms,
                ..RenewDelegationTokenResponse::default()
            }
        })
    }
}

async fn renew(request: RenewDelegationTokenRequest, ctx: &Context) -> Result<Timestamp, ErrorCode> {
    let (tokens, one) = changeable(ctx, &request.hmac)?;
    let now = ctx.now().time;
    is_valid(&one, now)?;
    is_allowed(&tokens, &one)?;
    let period = at_most(request.renew_period_ms, ctx.services.settings().token_lifetime);
    let expires = Timestamp(now.0.saturating_add(period)).min(one.token.max);
    tokens.change(one.id, Some(expires)).await.map_err(|error| ErrorCode::from(&error))?;
    Ok(expires)
}
