//! Access control lists: the authorizer that follows the stored ones, and their changes.

use std::future::Future;
use std::net::IpAddr;

use super::{Cluster, Context};
use crate::config::AuthorizerSettings;
use crate::kernel::StoredAcls;
use crate::security::acl::{Client, Policy};
use crate::security::operations::Operation;
use crate::security::principal::{Authorizer, DenialReason, Principal, Resource};
use crate::storage::{Store, StoreError};
use crate::types::AclBinding;

/// Decides as Kafka's StandardAuthorizer.
pub(super) struct StandardAuthorizer {
    pub store: Store,
    pub rules: AuthorizerSettings,
}

impl StandardAuthorizer {
    fn with_policy<T>(&self, decide: impl FnOnce(Policy<'_>) -> T) -> T {
        self.store.with_acls(|acls| decide(Policy { acls: acls.all(), rules: &self.rules }))
    }
}

impl Authorizer for StandardAuthorizer {
    fn allows(
        &self,
        principal: &Principal,
        host: IpAddr,
        operation: Operation,
        resource: Resource<'_>,
    ) -> bool {
        self.with_policy(|policy| policy.allows(Client { principal, host }, operation, resource))
    }

    fn allows_on_any_topic(&self, principal: &Principal, host: IpAddr, operation: Operation) -> bool {
        self.with_policy(|policy| policy.allows_on_any_topic(Client { principal, host }, operation))
    }

    fn why_not(
        &self,
        principal: &Principal,
        host: IpAddr,
        operation: Operation,
        resource: Resource<'_>,
    ) -> DenialReason {
        self.with_policy(|policy| policy.why_not(Client { principal, host }, operation, resource))
    }

    fn version(&self) -> Option<u64> {
        Some(self.store.acls_version())
    }
}

impl Context {
    /// Whether rights are checked at all.
    pub fn has_authorizer(&self) -> bool {
        self.services.settings().authorizer.is_some()
    }

    /// Whether the client may carry out an operation on any topic, whether or not that exists.
    pub(super) fn may_on_any_topic(&self, operation: Operation) -> bool {
        let Some(principal) = self.connection.session.principal() else { return false };
        let (authorizer, host) = (&self.services.authorizer, self.connection.peer.ip());
        let ask = || authorizer.allows_on_any_topic(principal, host, operation);
        match authorizer.version() {
            Some(version) => self.connection.rights.on_any_topic(version, operation, ask),
            None => ask(),
        }
    }

    /// The memory and the number of all access control lists.
    pub fn weigh_acls(&self) -> (usize, usize) {
        self.services.store.with_acls(|acls| (acls.bytes(), acls.all().len()))
    }
}

impl Cluster<'_> {
    pub fn acls(&self) -> StoredAcls {
        self.0.services.store.acls()
    }

    /// Adds access control lists. The command is queued when the call returns; the future waits until it is durable.
    pub fn add_acls(
        &self,
        bindings: Vec<AclBinding>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        self.0.services.store.add_acls(bindings)
    }

    pub fn remove_acls(
        &self,
        bindings: Vec<AclBinding>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        self.0.services.store.remove_acls(bindings)
    }
}
