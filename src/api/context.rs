//! The context of a request, and the door: the only way of a handler to topics, groups, transactional
//! ids and the cluster.
//!
//! A handler names a thing and the operation on it. The door first asks the authorizer and then looks the thing up,
//! because a client without a right must not learn what exists. The store, the groups and the transactions are
//! private to this module, so handlers cannot reach them in another way.

mod acls;
mod changes;
mod client_metrics;
mod cluster;
mod creation;
#[cfg(feature = "security")]
mod credentials;
mod groups;
mod services;
#[cfg(feature = "security")]
mod tokens;
mod topics;
mod transactions;

use std::sync::Arc;

use super::connection::{ConnectionInfo, HostPort};
use super::error::ErrorCode;
use super::features::{self, Finalized};
use super::requests::Denial;
use super::throttle::{Mutations, RequestMeter};
use crate::budget::Room;
use crate::faults::{Effect, Subject};
use crate::security::operations::{self, ON_THE_CLUSTER, Operation};
use crate::security::principal::{DenialReason, Forbidden, Principal, Resource};
use crate::storage::{Counts, Isolation, Now};
use crate::telemetry::Shown;
use crate::types::{LeaderEpoch, NodeId};
pub use cluster::Cluster;
pub use creation::{Creatable, NameTaken, NewReplicas, NewTopic};
pub use groups::{Group, NoGroup};
pub use services::{ClusterFacts, Coordinators, Services};
#[cfg(feature = "security")]
pub use tokens::{DelegationTokens, NoTokens, OneToken};
pub use topics::{NoTopic, SeenTopic, TopicRef, TopicView};
pub use transactions::{ListedTransaction, TransactionalId};

/// The context of one request; cheap to clone.
#[derive(Clone)]
pub struct Context {
    pub services: Arc<Services>,
    pub connection: Arc<ConnectionInfo>,
    pub version: i16,
    pub client_id: Option<String>,
    /// The name of the request.
    request: &'static str,
    /// The memory that serving this request holds beside the request itself.
    pub room: Arc<Room>,
    /// Measures the client's use, if there are quotas.
    pub metered: Option<Arc<RequestMeter>>,
    /// A missing right is neither counted nor logged.
    is_quiet: bool,
}

impl Context {
    pub fn new(
        services: &Arc<Services>,
        connection: Arc<ConnectionInfo>,
        request: &'static str,
        version: i16,
        client_id: Option<String>,
        size: usize,
    ) -> Context {
        let metered = services.store.quotas_if_any().map(|quotas| {
            let (throttles, settings) = (&services.throttles, services.settings());
            Arc::new(RequestMeter::new(throttles, &quotas, settings, &connection, client_id.as_deref(), size))
        });
        Context {
            metered,
            room: Arc::new(Room::new(&services.answers, connection.id)),
            services: Arc::clone(services),
            connection,
            request,
            version,
            client_id,
            is_quiet: false,
        }
    }

    /// The same, but a missing right is neither counted nor logged: to weigh, or to leave things out.
    pub fn quietly(&self) -> Context {
        Context { is_quiet: true, ..self.clone() }
    }

    /// As [`Context::quietly`], without a clone.
    pub(super) fn set_quiet(&mut self, is_quiet: bool) {
        self.is_quiet = is_quiet;
    }

    /// A handler that will wait for as long as its client wishes calls this once it has dropped the request. The bytes
    /// of the request are then no longer charged; otherwise such clients would use up the memory for requests, and no
    /// other client could send one. Whatever the handler keeps has to be in its room or in an account of its own.
    pub(crate) fn note_dropped_request(&mut self) {
        self.client_id = None;
        self.connection.note_dropped_request();
    }

    /// The fault that a test has set for the request. Counts it as used.
    pub(super) fn fault(&self, api_key: i16) -> Option<Effect> {
        let faults = self.services.faults.as_ref()?;
        let client_id = self.client_id.as_deref();
        faults.take(Subject { api_key, client_id, broker: self.node() })
    }

    /// The same request from a client that has no right at all.
    pub(super) fn without_rights(&self) -> Context {
        let connection = Arc::new(self.connection.of_a_stranger());
        Context { connection, is_quiet: true, ..self.clone() }
    }

    /// The broker that serves this request.
    pub fn node(&self) -> NodeId {
        self.services.cluster.node_id
    }

    /// The address of a broker for this client: the listener with the same name. `None` if it has not
    /// listened yet.
    pub fn endpoint(&self, node: NodeId) -> Option<HostPort> {
        let mut endpoint = self.connection.advertised();
        if node != self.node() {
            endpoint.port = self.services.cluster.peers.port(node, &self.connection.listener.name)?;
        }
        Some(endpoint)
    }

    /// The running brokers with their addresses for this client.
    pub fn brokers(&self, topics: &TopicView) -> Vec<(NodeId, HostPort)> {
        topics.running().iter().filter_map(|node| Some((*node, self.endpoint(*node)?))).collect()
    }

    /// The broker advertised as controller; any broker can serve admin requests.
    pub fn controller(&self, topics: &TopicView) -> NodeId {
        topics.running().first().copied().unwrap_or(self.node())
    }

    /// The time for new data, and the time for expiry by age.
    pub fn now(&self) -> Now {
        self.services.store.now()
    }

    pub fn counts(&self) -> &Counts {
        self.services.store.counts()
    }

    /// The finalized levels of all features.
    pub fn features(&self) -> Finalized {
        Finalized::new(self.services.store.features())
    }

    /// The finalized level of a feature; 0 if there is no such feature.
    pub fn feature_level(&self, name: &str) -> i16 {
        features::find(name).map_or(0, |feature| self.features().level(feature))
    }

    /// Whether the journal can be written.
    pub fn is_writable(&self) -> bool {
        self.services.store.is_writable()
    }

    /// Remembers that a member of a group uses the connection, in case it is held back.
    pub fn note_member(&self, group: &str, member: &str) {
        if self.metered.is_some() {
            self.connection.note_member(group, member);
        }
    }

    /// Counts the partitions that a request creates or deletes. Clients know the error from version `strict_from` on.
    pub fn mutations(&self, strict_from: i16) -> Mutations<'_> {
        Mutations::new(self.metered.as_deref(), self.version >= strict_from)
    }

    /// The allowed ones of `operations` on a resource, as a bit field.
    pub fn allowed(&self, operations: &[Operation], resource: Resource<'_>) -> i32 {
        let allowed = |operation: &Operation| self.may(*operation, resource);
        operations::bits(operations.iter().copied().filter(allowed))
    }

    /// The allowed operations on the cluster; none without the right to describe it.
    pub fn allowed_on_the_cluster(&self) -> i32 {
        let may_describe = self.may(Operation::Describe, Resource::Cluster);
        if may_describe { self.allowed(ON_THE_CLUSTER, Resource::Cluster) } else { 0 }
    }

    /// The principal of the request, to look at things later.
    pub fn viewer(&self) -> Viewer {
        let (services, connection) = (Arc::clone(&self.services), Arc::clone(&self.connection));
        Viewer { services, connection, is_quiet: self.is_quiet }
    }

    /// Whether the client has a right that it does not need.
    fn may(&self, operation: Operation, resource: Resource<'_>) -> bool {
        self.asker().may(operation, resource)
    }

    fn authorize(&self, operation: Operation, resource: Resource<'_>) -> Result<(), Forbidden> {
        self.asker().authorize(operation, resource)
    }

    fn asker(&self) -> Asker<'_> {
        Asker { services: &self.services, connection: &self.connection, is_quiet: self.is_quiet }
    }
}

/// The principal of a connection, and what it may see. It may outlive the request, for example in a wait.
#[derive(Clone)]
pub struct Viewer {
    services: Arc<Services>,
    connection: Arc<ConnectionInfo>,
    is_quiet: bool,
}

impl Viewer {
    fn may(&self, operation: Operation, resource: Resource<'_>) -> bool {
        self.asker().may(operation, resource)
    }

    fn authorize(&self, operation: Operation, resource: Resource<'_>) -> Result<(), Forbidden> {
        self.asker().authorize(operation, resource)
    }

    fn asker(&self) -> Asker<'_> {
        Asker { services: &self.services, connection: &self.connection, is_quiet: self.is_quiet }
    }
}

/// The only place where the authorizer is asked about a resource.
struct Asker<'a> {
    services: &'a Services,
    connection: &'a ConnectionInfo,
    is_quiet: bool,
}

impl Asker<'_> {
    fn may(&self, operation: Operation, resource: Resource<'_>) -> bool {
        let ConnectionInfo { session, peer, rights, .. } = self.connection;
        let Some(principal) = session.principal() else { return false };
        let authorizer = &self.services.authorizer;
        let ask = || authorizer.allows(principal, peer.ip(), operation, resource);
        match authorizer.version() {
            Some(version) => rights.on(version, operation, resource, ask),
            None => ask(),
        }
    }

    /// Fails without the right.
    fn authorize(&self, operation: Operation, resource: Resource<'_>) -> Result<(), Forbidden> {
        if self.may(operation, resource) {
            return Ok(());
        }
        if !self.is_quiet {
            self.report_denial(operation, resource);
        }
        Err(Forbidden::from(resource))
    }

    /// Counts and logs a denial.
    #[cold]
    fn report_denial(&self, operation: Operation, resource: Resource<'_>) {
        let Asker { services, connection, .. } = self;
        let listener = &connection.listener.name;
        let principal = connection.session.principal();
        let reason = principal.map_or(DenialReason::NotAllowed, |principal| {
            services.authorizer.why_not(principal, connection.peer.ip(), operation, resource)
        });
        let denial = Denial { listener: listener.clone(), forbidden: resource.into(), reason };
        services.requests.denied(denial);
        tracing::info!(
            principal = %Shown(&principal.map(Principal::to_string).unwrap_or_default()),
            operation = operation.name(),
            resource = %Shown(&resource.to_string()),
            host = %connection.peer.ip(),
            listener,
            "denied: {}", reason.advice()
        );
    }
}

/// Compares a client's leader epoch with the current one (KIP-320).
pub fn check_epoch(claimed: Option<LeaderEpoch>, current: LeaderEpoch) -> Result<(), ErrorCode> {
    match claimed {
        Some(claimed) if claimed < current => Err(ErrorCode::FencedLeaderEpoch),
        Some(claimed) if claimed > current => Err(ErrorCode::UnknownLeaderEpoch),
        _ => Ok(()),
    }
}

/// The isolation level of Fetch and ListOffsets; `None` if it is unknown.
pub fn isolation(level: i8) -> Option<Isolation> {
    match level {
        0 => Some(Isolation::ReadUncommitted),
        1 => Some(Isolation::ReadCommitted),
        _ => None,
    }
}
