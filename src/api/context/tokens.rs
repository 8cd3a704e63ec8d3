//! Delegation tokens: to administer them, and to log in with one.

use std::collections::{HashMap, HashSet};
use std::future::Future;

use super::Context;
use crate::config::SecurityProtocol;
use crate::kernel::weigh_token;
use crate::security::operations::Operation;
use crate::security::principal::{Forbidden, Principal, Resource, split};
use crate::security::sasl::TokenLogin;
use crate::security::token::{self, TokenKey};
use crate::storage::StoreError;
use crate::types::{DelegationToken, ScramHash, Secret, Timestamp};

/// The memory that a listed token takes beside its names: the decoded and the encoded entry.
const IN_ANSWER: usize = 512;
/// The number of tokens that are looked at, or whose HMACs are computed, before other clients have their turn.
const AT_ONCE: usize = 256;

/// The delegation tokens, for a client that may ask for some of them.
pub struct DelegationTokens<'a> {
    ctx: &'a Context,
    principal: &'a Principal,
    key: TokenKey,
}

/// A delegation token.
pub struct OneToken {
    pub id: String,
    pub token: DelegationToken,
    pub hmac: Secret,
}

/// The reason why a client gets no tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTokens {
    /// The client has not proved who it is, or only with a token.
    NotAllowed,
    /// The broker has no secret to make them with.
    Disabled,
}

impl Context {
    /// A client can use tokens if it has proved who it is, with something else than a token.
    pub fn may_use_tokens(&self) -> bool {
        let session = &self.connection.session;
        !session.is_by_token()
            && match self.connection.listener.protocol {
                SecurityProtocol::Plaintext => false,
                SecurityProtocol::Ssl => session.principal() != Some(&Principal::anonymous()),
                SecurityProtocol::SaslPlaintext | SecurityProtocol::SaslSsl => true,
            }
    }

    /// Fails unless the client may create tokens for this owner.
    pub fn may_create_tokens_for(&self, owner: &Principal) -> Result<(), Forbidden> {
        if self.connection.session.principal() == Some(owner) {
            return Ok(());
        }
        self.authorize(Operation::CreateTokens, Resource::User(owner.as_str()))
    }

    pub fn delegation_tokens(&self) -> Result<DelegationTokens<'_>, NoTokens> {
        let principal = self.connection.session.principal().filter(|_| self.may_use_tokens());
        let principal = principal.ok_or(NoTokens::NotAllowed)?;
        let secret = self.services.settings().token_secret.clone().ok_or(NoTokens::Disabled)?;
        Ok(DelegationTokens { ctx: self, principal, key: TokenKey::new(&secret) })
    }

    /// The token of a client that logs in. Expired ones are unknown, and so are those of another secret.
    pub fn token_login(&self, id: &str, hash: ScramHash) -> Option<TokenLogin> {
        let secret = self.services.settings().token_secret.clone()?;
        let tokens = self.services.store.tokens();
        let token = tokens.get(id).filter(|token| !token.is_expired_at(self.now().time))?;
        hmac_of(id, token, &TokenKey::new(&secret))?;
        let credential = match hash {
            ScramHash::Sha256 => &token.sha_256,
            ScramHash::Sha512 => &token.sha_512,
        };
        let (_, owner) = split(&token.owner);
        Some(TokenLogin { owner: owner.to_owned(), expires: token.expires, credential: credential.clone() })
    }
}

impl DelegationTokens<'_> {
    pub fn principal(&self) -> &Principal {
        self.principal
    }

    /// The HMAC of a new token.
    pub fn hmac(&self, id: &str) -> Secret {
        self.key.hmac(id)
    }

    /// The token of an HMAC.
    pub fn of_hmac(&self, hmac: &[u8]) -> Option<OneToken> {
        let tokens = self.ctx.services.store.tokens();
        let (id, token) = tokens.with_hmac_digest(token::digest(hmac).bytes())?;
        self.one(id, token)
    }

    /// The tokens that the client may see: its own, and those that it has the right to describe. With `owners`, only
    /// those of one of them. The memory for the answer is held.
    pub async fn visible(&self, owners: Option<&HashSet<String>>) -> Vec<OneToken> {
        let tokens = self.ctx.services.store.tokens();
        let mut describable: HashMap<&str, bool> = HashMap::new();
        let mut visible = Vec::new();
        for (at, (id, token)) in tokens.iter().enumerate() {
            if at % AT_ONCE == AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
            let is_asked_for = owners.is_none_or(|owners| token.concerned().any(|one| owners.contains(one)));
            if is_asked_for && self.may_see(id, token, &mut describable) {
                visible.push((id, token));
            }
        }
        let held = visible.iter().map(|(id, token)| 3 * weigh_token(id, token) + IN_ANSWER).sum();
        self.ctx.room.hold(held).await;
        let mut listed = Vec::with_capacity(visible.len());
        for (at, (id, token)) in visible.into_iter().enumerate() {
            if at % AT_ONCE == AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
            listed.extend(self.one(id, token));
        }
        listed
    }

    /// `describable` has the owners that the client was found to have, or not to have, the right to.
    fn may_see<'a>(
        &self,
        id: &str,
        token: &'a DelegationToken,
        describable: &mut HashMap<&'a str, bool>,
    ) -> bool {
        let may_describe_owner = || self.ctx.may(Operation::DescribeTokens, Resource::User(&token.owner));
        token.concerns(self.principal.as_str())
            || *describable.entry(token.owner.as_str()).or_insert_with(may_describe_owner)
            || self.ctx.may(Operation::Describe, Resource::DelegationToken(id))
    }

    fn one(&self, id: &str, token: &DelegationToken) -> Option<OneToken> {
        let hmac = hmac_of(id, token, &self.key)?;
        Some(OneToken { id: id.to_owned(), token: token.clone(), hmac })
    }

    /// The memory of all of them, and of those that this principal has created.
    pub fn bytes(&self, requester: &Principal) -> (usize, usize) {
        let tokens = self.ctx.services.store.tokens();
        let of_requester = tokens.iter().filter(|(_, token)| token.requester == requester.as_str());
        (tokens.bytes(), of_requester.map(|(id, token)| weigh_token(id, token)).sum())
    }

    /// Adds a token. The command is queued when the call returns; the future waits until it is durable.
    pub fn create(
        &self,
        id: String,
        token: DelegationToken,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        self.ctx.services.store.create_token(id, token)
    }

    /// Sets the time at which a token expires; `None` removes it.
    pub fn change(
        &self,
        id: String,
        expires: Option<Timestamp>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        self.ctx.services.store.change_token(id, expires)
    }
}

/// The HMAC of a token; `None` if it was made with another secret.
fn hmac_of(id: &str, token: &DelegationToken, key: &TokenKey) -> Option<Secret> {
    let hmac = key.hmac(id);
    (token::digest(hmac.bytes()) == token.hmac_digest).then_some(hmac)
}
