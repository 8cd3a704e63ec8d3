//! The delegation tokens that clients have created.

use serde::{Deserialize, Serialize};

use super::weight;
use crate::types::{DelegationToken, ScramCredential, SharedMap, Timestamp};

type ById = SharedMap<String, DelegationToken>;

/// A clone costs O(1). A change costs O(log n), and expiry O(n).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "ById", into = "ById")]
pub struct Tokens {
    by_id: ById,
    bytes: usize,
}

impl Tokens {
    pub fn get(&self, id: &str) -> Option<&DelegationToken> {
        self.by_id.get(id)
    }

    /// All tokens, in the order of their ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&String, &DelegationToken)> {
        self.by_id.iter()
    }

    /// The token with this digest of its HMAC. It looks at all tokens.
    pub fn with_hmac_digest(&self, digest: &[u8]) -> Option<(&String, &DelegationToken)> {
        self.iter().find(|(_, token)| token.hmac_digest.bytes() == digest)
    }

    /// The memory of all of them.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Inserts or replaces a token.
    pub(super) fn set(&mut self, id: &str, token: DelegationToken) {
        self.remove(id);
        self.bytes += weigh(id, &token);
        self.by_id.insert_mut(id.to_owned(), token);
    }

    pub(super) fn remove(&mut self, id: &str) {
        if let Some(token) = self.by_id.get(id) {
            self.bytes -= weigh(id, token);
            self.by_id.remove_mut(id);
        }
    }

    /// Removes the tokens that are expired at this time, and returns their number.
    pub(super) fn expire(&mut self, now: Timestamp) -> usize {
        let expired = self.iter().filter(|(_, token)| token.is_expired_at(now));
        let expired: Vec<String> = expired.map(|(id, _)| id.clone()).collect();
        expired.iter().for_each(|id| self.remove(id));
        expired.len()
    }
}

/// The memory of a token.
pub fn weigh(id: &str, token: &DelegationToken) -> usize {
    let DelegationToken {
        owner,
        requester,
        renewers,
        issued: _,
        expires: _,
        max: _,
        hmac_digest,
        sha_256,
        sha_512,
    } = token;
    let secrets = [sha_256, sha_512].into_iter().flat_map(|credential| {
        let ScramCredential { iterations: _, salt, stored_key, server_key } = credential;
        [salt, stored_key, server_key].map(|secret| weight::bytes(secret.bytes()))
    });
    let of_renewers = match renewers.len() {
        0 => 0,
        count => weight::allocated(count * size_of::<String>()),
    };
    let texts = [id, owner, requester].into_iter().chain(renewers.iter().map(String::as_str));
    weight::entry::<String, DelegationToken>()
        + of_renewers
        + texts.map(weight::text).sum::<usize>()
        + secrets.chain([weight::bytes(hmac_digest.bytes())]).sum::<usize>()
}

impl From<ById> for Tokens {
    fn from(by_id: ById) -> Tokens {
        let bytes = by_id.iter().map(|(id, token)| weigh(id, token)).sum();
        Tokens { by_id, bytes }
    }
}

impl From<Tokens> for ById {
    fn from(tokens: Tokens) -> ById {
        tokens.by_id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Secret;

    fn token(owner: &str, expires: i64) -> DelegationToken {
        let key = Secret::new([7; 32]);
        let credential =
            ScramCredential { iterations: 4096, salt: key.clone(), stored_key: key.clone(), server_key: key };
        DelegationToken {
            owner: owner.to_owned(),
            requester: owner.to_owned(),
            renewers: vec!["User:ben".to_owned()],
            issued: Timestamp(0),
            expires: Timestamp(expires),
            max: Timestamp(100),
            hmac_digest: Secret::new([u8::try_from(expires).unwrap(); 32]),
            sha_256: credential.clone(),
            sha_512: credential,
        }
    }

    #[test]
    fn a_token_is_found_by_its_id_and_by_the_digest_of_its_hmac() {
        let mut tokens = Tokens::default();
        tokens.set("a", token("User:alice", 1));
        tokens.set("b", token("User:ben", 2));
        assert_eq!(tokens.get("b").unwrap().owner, "User:ben");
        assert_eq!(tokens.with_hmac_digest(&[1; 32]).unwrap().0, "a");
        assert_eq!((tokens.get("c"), tokens.with_hmac_digest(&[3; 32])), (None, None));
    }

    #[test]
    fn tokens_expire_after_their_last_millisecond() {
        let mut tokens = Tokens::default();
        for expires in 4..8 {
            tokens.set(&expires.to_string(), token("User:alice", expires));
        }
        assert_eq!((tokens.expire(Timestamp(6)), tokens.expire(Timestamp(6))), (2, 0));
        assert_eq!(tokens.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["6", "7"]);
    }

    #[test]
    fn the_size_follows_every_change_and_is_counted_again_when_the_state_is_read() {
        let mut tokens = Tokens::default();
        tokens.set("a", token("User:alice", 1));
        let one = tokens.bytes();
        assert!((size_of::<DelegationToken>() + 10 * 32..2_000).contains(&one), "{one}");
        tokens.set("a", DelegationToken { renewers: Vec::new(), ..token("User:alice", 2) });
        assert_eq!(tokens.bytes(), one - 64, "without the list of a renewer and its name");
        let stored = postcard::to_stdvec(&tokens).unwrap();
        assert_eq!(postcard::from_bytes(&stored), Ok(tokens.clone()));
        tokens.remove("a");
        tokens.remove("a");
        assert_eq!(tokens, Tokens::default());
    }
}
