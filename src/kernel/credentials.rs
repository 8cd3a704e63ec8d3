//! The SCRAM credentials of users.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::weight;
use crate::types::{ScramCredential, SharedMap};

/// The credentials of a user by Kafka's number of the mechanism. A later version may store numbers that this one does
/// not know.
pub type OfUser = BTreeMap<i8, ScramCredential>;

type ByUser = SharedMap<String, OfUser>;

/// A clone costs O(1). A change costs O(log n).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "ByUser", into = "ByUser")]
pub struct Credentials {
    by_user: ByUser,
    bytes: usize,
}

/// Sets (`Some`) or removes (`None`) the credential of a user for a mechanism.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CredentialChange {
    pub user: String,
    pub mechanism: i8,
    pub credential: Option<ScramCredential>,
}

impl Credentials {
    pub fn get(&self, user: &str, mechanism: i8) -> Option<&ScramCredential> {
        self.of_user(user)?.get(&mechanism)
    }

    pub fn of_user(&self, user: &str) -> Option<&OfUser> {
        self.by_user.get(user)
    }

    /// All users in order, each with at least one credential.
    pub fn users(&self) -> impl ExactSizeIterator<Item = (&String, &OfUser)> {
        self.by_user.iter()
    }

    /// The memory of all of them.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn alter(&mut self, changes: &[CredentialChange]) {
        for change in changes {
            let mut of_user = self.of_user(&change.user).cloned().unwrap_or_default();
            self.bytes -= weigh(&change.user, &of_user);
            match &change.credential {
                Some(credential) => drop(of_user.insert(change.mechanism, credential.clone())),
                None => drop(of_user.remove(&change.mechanism)),
            }
            self.bytes += weigh(&change.user, &of_user);
            if of_user.is_empty() {
                self.by_user.remove_mut(&change.user);
            } else {
                self.by_user.insert_mut(change.user.clone(), of_user);
            }
        }
    }
}

/// The memory of one user; 0 without a credential.
fn weigh(user: &str, of_user: &OfUser) -> usize {
    if of_user.is_empty() {
        return 0;
    }
    let secrets = of_user.values().flat_map(|credential| {
        let ScramCredential { iterations: _, salt, stored_key, server_key } = credential;
        [salt, stored_key, server_key].map(|secret| weight::bytes(secret.bytes()))
    });
    let own = weight::entry::<String, OfUser>() + weight::btree_node::<i8, ScramCredential>();
    own + weight::text(user) + secrets.sum::<usize>()
}

impl From<ByUser> for Credentials {
    fn from(by_user: ByUser) -> Credentials {
        let bytes = by_user.iter().map(|(user, of_user)| weigh(user, of_user)).sum();
        Credentials { by_user, bytes }
    }
}

impl From<Credentials> for ByUser {
    fn from(credentials: Credentials) -> ByUser {
        credentials.by_user
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Secret;

    fn credential(salt: &str) -> ScramCredential {
        let key = Secret::new([0; 32]);
        ScramCredential {
            iterations: 4096,
            salt: Secret::new(salt),
            stored_key: key.clone(),
            server_key: key,
        }
    }

    fn change(user: &str, mechanism: i8, credential: Option<ScramCredential>) -> CredentialChange {
        CredentialChange { user: user.to_owned(), mechanism, credential }
    }

    #[test]
    fn a_user_has_one_credential_for_each_mechanism_until_the_last_is_removed() {
        let mut credentials = Credentials::default();
        credentials.alter(&[
            change("alice", 1, Some(credential("a"))),
            change("alice", 2, Some(credential("b"))),
            change("ben", 1, Some(credential("c"))),
            change("alice", 1, Some(credential("d"))),
        ]);
        assert_eq!(credentials.get("alice", 1), Some(&credential("d")));
        assert_eq!(credentials.get("alice", 2), Some(&credential("b")));
        assert_eq!((credentials.get("ben", 2), credentials.get("cleo", 1)), (None, None));
        credentials.alter(&[change("alice", 1, None), change("ben", 1, None), change("cleo", 1, None)]);
        let left: Vec<&str> = credentials.users().map(|(user, _)| user.as_str()).collect();
        assert_eq!(left, ["alice"]);
    }

    #[test]
    fn the_size_follows_every_change_and_is_counted_again_when_the_state_is_read() {
        let mut credentials = Credentials::default();
        credentials.alter(&[change("alice", 1, Some(credential("salt")))]);
        let one = credentials.bytes();
        // A node of the map of mechanisms, and four allocations of 32 to 48 bytes for the name and the secrets.
        assert!((11 * size_of::<(i8, ScramCredential)>() + 4 * 32..2_000).contains(&one), "{one}");
        credentials.alter(&[change("alice", 2, Some(credential("salt")))]);
        assert_eq!(credentials.bytes(), one + 32 + 48 + 48, "the salt and the keys");
        let stored = postcard::to_stdvec(&credentials).unwrap();
        assert_eq!(postcard::from_bytes(&stored), Ok(credentials.clone()));
        credentials.alter(&[change("alice", 1, None), change("alice", 2, None)]);
        assert_eq!(credentials, Credentials::default());
    }
}
