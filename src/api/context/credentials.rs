//! The SCRAM credentials of users: to log in, and to administer them.

use std::future::Future;

use super::{Cluster, Context, Services};
use crate::config::BrokerSettings;
use crate::kernel::{CredentialChange, Credentials};
use crate::security::tls::{Replacement, Tls};
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

    /// Whether a super user can log in now, and none could with these settings and certificates.
    pub fn locks_super_users_out(&self, after: &BrokerSettings, new: &[Replacement]) -> bool {
        let services = &self.services;
        let credentials = services.store.credentials();
        let lets_in = |settings: &BrokerSettings, new: &[Replacement]| {
            services.lets_super_users_in(settings, &services.tls, new, &credentials)
        };
        lets_in(&services.settings(), &[]) == Some(true) && lets_in(after, new) == Some(false)
    }
}

impl Services {
    /// Whether there are super users, and none of them can log in at these listeners.
    pub fn are_super_users_locked_out(&self, settings: &BrokerSettings, tls: &Tls) -> bool {
        let are_some = settings.authorizer.as_ref().is_some_and(|one| !one.super_users.is_empty());
        are_some && self.lets_super_users_in(settings, tls, &[], &self.store.credentials()) == Some(false)
    }

    /// `None` without an authorizer. The `new` certificates count instead of those that they replace.
    fn lets_super_users_in(
        &self,
        settings: &BrokerSettings,
        tls: &Tls,
        new: &[Replacement],
        credentials: &Credentials,
    ) -> Option<bool> {
        let facts = LoginFacts {
            has_credential: &|user, hash| credentials.get(user, hash.number()).is_some(),
            takes_tokens: &|listener| self.token_keys.takes_tokens(listener),
            users_with_certificates: &|listener| tls.users_with_certificates(listener, new),
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
        let services = &self.0.services;
        services.lets_super_users_in(&services.settings(), &services.tls, &[], credentials)
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
