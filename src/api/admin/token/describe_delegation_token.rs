//! DescribeDelegationToken (key 41): tokens with their HMACs. Everybody sees those that they own, have created or may renew.
//! Version 3 adds the requester.

use std::collections::HashSet;

use crate::api::context::{Context, OneToken};
use crate::api::error::ErrorCode;
use crate::api::{Handler, Reply, Size, Weight};
use crate::protocol::messages::{
    DescribeDelegationTokenRequest, DescribeDelegationTokenResponse, DescribedDelegationToken,
    DescribedDelegationTokenRenewer,
};
use crate::security::principal::{Principal, split};
use crate::types::DelegationToken;

impl Handler for DescribeDelegationTokenRequest {
    fn named(&self) -> usize {
        self.owners.as_ref().map_or(0, Vec::len)
    }

    /// The tokens that are shown are weighed when they are known.
    fn weigh(&self, size: Size, _: &Context) -> Weight {
        Weight::asked(size.echoed())
    }

    async fn handle(self, ctx: Context) -> Reply<DescribeDelegationTokenResponse> {
        Reply::Now(match describe(self, &ctx).await {
            Ok(tokens) => {
                DescribeDelegationTokenResponse { tokens, ..DescribeDelegationTokenResponse::default() }
            }
            Err(code) => DescribeDelegationTokenResponse {
                error_code: code.code(),
                ..DescribeDelegationTokenResponse::default()
            },
        })
    }
}

/// As in Kafka, no list of owners means all tokens, and an empty one none.
async fn describe(
    request: DescribeDelegationTokenRequest,
    ctx: &Context,
) -> Result<Vec<DescribedDelegationToken>, ErrorCode> {
    let tokens = ctx.delegation_tokens()?;
    let owners = request.owners.map(|owners| {
        let owners = owners.into_iter();
        let principals = owners.map(|owner| Principal::of(&owner.principal_type, &owner.principal_name));
        principals.map(|principal| principal.as_str().to_owned()).collect::<HashSet<_>>()
    });
    Ok(tokens.visible(owners.as_ref()).await.into_iter().map(described).collect())
}

fn described(one: OneToken) -> DescribedDelegationToken {
    let OneToken { id, token, hmac } = one;
    let DelegationToken { owner, requester, renewers, issued, expires, max, .. } = token;
    let (owner, requester) = (split(&owner), split(&requester));
    let renewers = renewers.iter().map(|renewer| {
        let (principal_type, principal_name) = split(renewer);
        DescribedDelegationTokenRenewer {
            principal_type: principal_type.to_owned(),
            principal_name: principal_name.to_owned(),
        }
    });
    DescribedDelegationToken {
        principal_type: owner.0.to_owned(),
        principal_name: owner.1.to_owned(),
        token_requester_principal_type: requester.0.to_owned(),
        token_requester_principal_name: requester.1.to_owned(),
        issue_timestamp: issued.0,
        expiry_timestamp: expires.0,
        max_timestamp: max.0,
        token_id: id,
        hmac: hmac.bytes().to_vec().into(),
        renewers: renewers.collect(),
    }
}
