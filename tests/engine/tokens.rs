//! Delegation tokens in the random histories: they are created, renewed, removed, and they expire.

use std::collections::BTreeMap;

use jackdaw::storage::Store;
use jackdaw::types::{DelegationToken, ScramCredential, Secret, Timestamp};

use crate::disk::now;
use crate::history::Promise;
use crate::random::Random;

/// The time of the clock, which stands still.
const NOW: i64 = 1_000_000;

/// The tokens as clients know them.
#[derive(Default)]
pub struct TokenHistory {
    /// The possible states of every token: that of the last acknowledged change, and those after changes with an unknown
    /// outcome. `None` if it is not there.
    states: BTreeMap<String, Vec<Option<Timestamp>>>,
    /// The numbers of acknowledged creations, renewals and removals, and of expired tokens.
    pub created: u64,
    pub renewed: u64,
    pub removed: u64,
    pub expired: u64,
}

impl TokenHistory {
    /// `number` is unique.
    pub fn step(&mut self, store: &Store, random: &mut Random, number: u64) {
        let expires = Timestamp([NOW - 1, NOW, NOW + number as i64][random.below(3) as usize]);
        let there: Vec<String> = store.tokens().iter().map(|(id, _)| id.clone()).collect();
        let Some(id) = there.get(random.below(there.len().max(1) as u64) as usize).cloned() else {
            return self.create(store, number, expires);
        };
        match random.below(5) {
            0 | 1 => self.create(store, number, expires),
            2 => {
                let is_renewed = now(store.change_token(id.clone(), Some(expires))).is_ok();
                self.renewed += u64::from(is_renewed);
                self.note(id, Some(expires), is_renewed);
            }
            3 => {
                let is_removed = now(store.change_token(id.clone(), None)).is_ok();
                self.removed += u64::from(is_removed);
                self.note(id, None, is_removed);
            }
            _ => self.expire(store),
        }
    }

    fn create(&mut self, store: &Store, number: u64, expires: Timestamp) {
        let id = format!("token-{number}");
        let created = now(store.create_token(id.clone(), token(expires)));
        self.created += u64::from(created.is_ok());
        self.states.insert(id.clone(), vec![None]);
        self.note(id, Some(expires), created.is_ok());
    }

    /// No request waits for the expiry.
    fn expire(&mut self, store: &Store) {
        store.expire_tokens();
        for states in self.states.values_mut() {
            if states.iter().flatten().any(|expires| expires.0 < NOW) {
                states.push(None);
            }
        }
    }

    fn note(&mut self, id: String, state: Option<Timestamp>, is_acknowledged: bool) {
        let states = self.states.entry(id).or_default();
        if is_acknowledged {
            states.clear();
        }
        states.push(state);
    }

    /// Every token is in one of its possible states, and no other token is there.
    pub fn check(&mut self, store: &Store, promise: Promise, context: &str) {
        let tokens = store.tokens();
        for (id, found) in tokens.iter() {
            assert!(self.states.contains_key(id), "{context}: {id} was never created");
            assert_eq!(*found, token(found.expires), "{context}: {id}");
        }
        for (id, states) in &mut self.states {
            let seen = tokens.get(id).map(|found| found.expires);
            let is_possible = states.contains(&seen) || promise == Promise::ATail;
            assert!(is_possible, "{context}: {id} is {seen:?}, and not one of {states:?}");
            let may_expire = states.iter().flatten().any(|expires| expires.0 < NOW);
            self.expired += u64::from(seen.is_none() && may_expire);
            *states = vec![seen];
        }
    }
}

fn token(expires: Timestamp) -> DelegationToken {
    let key = Secret::new([7; 64]);
    let credential = ScramCredential {
        iterations: 4096,
        salt: key.clone(),
        stored_key: key.clone(),
        server_key: key.clone(),
    };
    DelegationToken {
        owner: "User:alice".to_owned(),
        requester: "User:admin".to_owned(),
        renewers: vec!["User:ben".to_owned()],
        issued: Timestamp(0),
        expires,
        max: Timestamp(i64::MAX),
        hmac_digest: key,
        sha_256: credential.clone(),
        sha_512: credential,
    }
}
