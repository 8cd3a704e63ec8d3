//! CreateDelegationToken (key 38): makes a token, with which clients can log in as its owner. Version 3 adds an owner other
//! than the client.

use std::sync::{Arc, LazyLock};

use tokio::sync::Semaphore;

use super::{NO_TIME, at_most};
use crate::api::context::{Context, DelegationTokens};
use crate::api::error::ErrorCode;
use crate::api::off_thread::on_one_of;
use crate::api::{Handler, Reply};
use crate::config::BrokerSettings;
use crate::kernel::weigh_token;
use crate::protocol::messages::{
    CreatableRenewers, CreateDelegationTokenRequest, CreateDelegationTokenResponse,
};
use crate::security::principal::{Principal, USER, split};
use crate::security::token;
use crate::time;
use crate::types::{DelegationToken, ScramHash, Timestamp};

/// The memory for all tokens, for those that one principal has created, and for one. Renewing a token copies it.
const MOST_BYTES: usize = 64 << 20;
const MOST_OF_REQUESTER: usize = 4 << 20;
const MOST_OF_ONE: usize = 64 << 10;

/// The keys of a token cost some milliseconds of a processor.
static THREAD: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(1)));

impl Handler for CreateDelegationTokenRequest {
    const GAPS: &'static [&'static str] = &[
        "Delegation tokens may take 64 MiB, those that one user has created 4 MiB, and one token 64 KiB; more are POLICY_VIOLATION.",
        "The type of an owner has to be `User`, as that of a renewer; others are INVALID_PRINCIPAL_TYPE. Kafka creates the token, with which a client then logs in as the user of that name.",
    ];

    async fn handle(self, ctx: Context) -> Reply<CreateDelegationTokenResponse> {
        let requester = ctx.connection.session.principal().cloned().unwrap_or_else(Principal::anonymous);
        let owner = match self.owner_principal_name.as_deref() {
            None | Some("") => requester.clone(),
            Some(name) => Principal::of(self.owner_principal_type.as_deref().unwrap_or_default(), name),
        };
        Reply::later(async move {
            let created = create(self, &ctx, &owner, &requester).await;
            created.unwrap_or_else(|code| refused(code, &owner, &requester))
        })
    }
}

async fn create(
    request: CreateDelegationTokenRequest,
    ctx: &Context,
    owner: &Principal,
    requester: &Principal,
) -> Result<CreateDelegationTokenResponse, ErrorCode> {
    if !ctx.may_use_tokens() {
        return Err(ErrorCode::DelegationTokenRequestNotAllowed);
    }
    ctx.may_create_tokens_for(owner)?;
    let renewers = request.renewers.into_iter().map(renewer).collect::<Result<Vec<_>, _>>()?;
    let tokens = ctx.delegation_tokens()?;
    // Logins with the token would be those of the user of that name.
    if split(owner.as_str()).0 != USER {
        return Err(ErrorCode::InvalidPrincipalType);
    }
    check_room(&tokens, requester)?;
    let id = time::random_uuid().to_string();
    let hmac = tokens.hmac(&id);
    let of_hmac = hmac.clone();
    let credential = move |hash| token::credential(hash, &of_hmac, &time::random_bytes::<32>());
    let credentials = move || (credential(ScramHash::Sha256), credential(ScramHash::Sha512));
    let (sha_256, sha_512) = on_one_of(&THREAD, ctx.metered.as_ref(), credentials).await;
    // Others may have created tokens since.
    check_room(&tokens, requester)?;
    let times = times(request.max_lifetime_ms, &ctx.services.settings(), ctx.now().time);
    let Times { issued, expires, max } = times;
    let token = DelegationToken {
        owner: owner.as_str().to_owned(),
        requester: requester.as_str().to_owned(),
        renewers,
        issued,
        expires,
        max,
        hmac_digest: token::digest(hmac.bytes()),
        sha_256,
        sha_512,
    };
    if weigh_token(&id, &token) > MOST_OF_ONE {
        return Err(ErrorCode::PolicyViolation);
    }
    tokens.create(id.clone(), token).await.map_err(|error| ErrorCode::from(&error))?;
    Ok(CreateDelegationTokenResponse {
        token_id: id,
        hmac: hmac.bytes().to_vec().into(),
        ..answer(ErrorCode::None, owner, requester, times)
    })
}

fn check_room(tokens: &DelegationTokens<'_>, requester: &Principal) -> Result<(), ErrorCode> {
    let (of_all, of_requester) = tokens.bytes(requester);
    let is_full = of_all > MOST_BYTES || of_requester > MOST_OF_REQUESTER;
    if is_full { Err(ErrorCode::PolicyViolation) } else { Ok(()) }
}

#[derive(Clone, Copy)]
struct Times {
    issued: Timestamp,
    expires: Timestamp,
    max: Timestamp,
}

fn times(asked_ms: i64, settings: &BrokerSettings, now: Timestamp) -> Times {
    let max = now.0.saturating_add(at_most(asked_ms, settings.token_max_lifetime));
    let expires = max.min(now.0.saturating_add(at_most(0, settings.token_lifetime)));
    Times { issued: now, expires: Timestamp(expires), max: Timestamp(max) }
}

fn renewer(renewer: CreatableRenewers) -> Result<String, ErrorCode> {
    let CreatableRenewers { principal_type, principal_name } = renewer;
    if principal_type != USER {
        return Err(ErrorCode::InvalidPrincipalType);
    }
    Ok(Principal::of(USER, &principal_name).as_str().to_owned())
}

/// As in Kafka, some refusals have other times than others.
fn refused(code: ErrorCode, owner: &Principal, requester: &Principal) -> CreateDelegationTokenResponse {
    let time = Timestamp(if code == ErrorCode::DelegationTokenAuthDisabled { 0 } else { NO_TIME });
    answer(code, owner, requester, Times { issued: time, expires: time, max: time })
}

/// An answer without a token.
fn answer(
    code: ErrorCode,
    owner: &Principal,
    requester: &Principal,
    Times { issued, expires, max }: Times,
) -> CreateDelegationTokenResponse {
    let (owner, requester) = (split(owner.as_str()), split(requester.as_str()));
    CreateDelegationTokenResponse {
        error_code: code.code(),
        principal_type: owner.0.to_owned(),
        principal_name: owner.1.to_owned(),
        token_requester_principal_type: requester.0.to_owned(),
        token_requester_principal_name: requester.1.to_owned(),
        issue_timestamp_ms: issued.0,
        expiry_timestamp_ms: expires.0,
        max_timestamp_ms: max.0,
        ..CreateDelegationTokenResponse::default()
    }
}
