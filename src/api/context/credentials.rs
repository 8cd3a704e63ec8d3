//! The SCRAM credentials of users: to log in, and to administer them.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

use super::{Cluster, Context};
use crate::config::BrokerSettings;
use crate::kernel::{CredentialChange, Credentials};
use crate::security::way_in::{self, LoginFacts};
use crate::storage::StoreError;
use crate::types::{ScramCredential, ScramHash};

impl Context {
    /// The credential of a user who logs in, and has no rights yet.
    pub fn scram_credential(&self, user: &str, hash: ScramHash) -> Option<ScramCredential> {
        self.services.store.credentials().get(user, hash.number()).cloned()
    }

    pub fn is_super_user(&self, user: &str) -> bool {
        way_in::is_super_user(&self.services.settings(), user)
    }

    /// The turn to delete credentials of super users, or to change the settings of their logins. Only one request has
    /// it, so that two of them cannot each leave the last way in to the other.
    pub async fn turn_to_close_a_way_in(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.services.super_users).lock_owned().await
    }

    /// Whether a super user can log in now, and none could with these settings.
    pub fn locks_super_users_out(&self, after: &BrokerSettings) -> bool {
        let credentials = self.services.store.credentials();
        self.lets_super_users_in(&self.services.settings(), &credentials) == Some(true)
            && self.lets_super_users_in(after, &credentials) == Some(false)
    }

    /// `None` without an authorizer.
    fn lets_super_users_in(&self, settings: &BrokerSettings, credentials: &Credentials) -> Option<bool> {
        let facts = LoginFacts {
            has_credential: &|user, hash| credentials.get(user, hash.number()).is_some(),
            takes_tokens: &|listener| self.services.token_keys.takes_tokens(listener),
        };
        way_in::for_super_users(settings, &facts)
    }
}

impl Cluster<'_> {
    /// The credentials of all users.
    pub fn credentials(&self) -> Credentials {
        self.0.services.store.credentials()
    }

    /// Whether a super user could come in if these were the credentials of all users. `None` without an authorizer.
    pub fn lets_super_users_in(&self, credentials: &Credentials) -> Option<bool> {
        self.0.lets_super_users_in(&self.0.services.settings(), credentials)
    }

    pub fn is_super_user(&self, user: &str) -> bool {
        self.0.is_super_user(user)
    }

    /// Changes credentials, all or none. The command is queued when the call returns.
    pub fn alter_credentials(
        &self,
        changes: Vec<CredentialChange>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        self.0.services.store.alter_credentials(changes)
    }
}
