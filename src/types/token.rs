//! Delegation tokens (KIP-48), as the state keeps them. A client that has a token logs in with it as the token's owner.

use serde::{Deserialize, Serialize};

use super::{ScramCredential, Secret, Timestamp};

/// A delegation token. Its HMAC, the password of those who log in with it, is not stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DelegationToken {
    /// The principals, such as `User:alice`.
    pub owner: String,
    /// The principal that has created it.
    pub requester: String,
    /// The principals that may renew it and let it expire, beside the owner.
    pub renewers: Vec<String>,
    pub issued: Timestamp,
    /// The last millisecond in which it can be used, unless it is renewed.
    pub expires: Timestamp,
    /// The latest time that it can be renewed to.
    pub max: Timestamp,
    /// The SHA-256 of its HMAC, which clients name it by.
    pub hmac_digest: Secret,
    /// The credentials of its HMAC, for logins.
    pub sha_256: ScramCredential,
    pub sha_512: ScramCredential,
}

impl DelegationToken {
    pub fn is_expired_at(&self, now: Timestamp) -> bool {
        self.expires < now
    }

    /// The principals that may see it without any right.
    pub fn concerned(&self) -> impl Iterator<Item = &str> {
        [&self.owner, &self.requester].into_iter().chain(&self.renewers).map(String::as_str)
    }

    pub fn concerns(&self, principal: &str) -> bool {
        self.concerned().any(|one| one == principal)
    }

    /// Whether this principal may renew it and let it expire.
    pub fn is_of(&self, principal: &str) -> bool {
        self.owner == principal || self.renewers.iter().any(|renewer| renewer == principal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Secret;

    #[test]
    fn a_token_is_used_by_its_owner_and_renewers_until_it_expires() {
        let nothing = Secret::default();
        let credential = ScramCredential {
            iterations: 4096,
            salt: nothing.clone(),
            stored_key: nothing.clone(),
            server_key: nothing.clone(),
        };
        let token = DelegationToken {
            owner: "User:alice".into(),
            requester: "User:admin".into(),
            renewers: vec!["User:ben".into()],
            issued: Timestamp(0),
            expires: Timestamp(5),
            max: Timestamp(9),
            hmac_digest: nothing.clone(),
            sha_256: credential.clone(),
            sha_512: credential,
        };
        assert!(!token.is_expired_at(Timestamp(5)) && token.is_expired_at(Timestamp(6)));
        assert!(token.is_of("User:alice") && token.is_of("User:ben"));
        assert!(!token.is_of("User:admin") && !token.is_of("alice"));
        assert!(token.concerns("User:admin") && !token.concerns("User:zoe"));
    }
}
