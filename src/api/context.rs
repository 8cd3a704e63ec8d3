//! The context of a request, and the door: the only way of a handler to topics, groups and the cluster.
//!
//! A handler names a thing and the operation on it. The door first asks the authorizer and then looks the thing up,
//! because a client without a right must not learn what exists. The store and the groups are private to this module,
//! so handlers cannot reach them in another way.

mod changes;
mod cluster;
mod creation;
mod groups;
mod services;
mod topics;

use std::sync::Arc;

use super::connection::{ConnectionInfo, HostPort};
use super::error::ErrorCode;
use super::operations::{self, ON_THE_CLUSTER, Operation};
use super::principal::{Forbidden, Resource};
use crate::budget::Room;
use crate::storage::{Counts, Isolation, Now};
use crate::types::{LeaderEpoch, NodeId};
pub use cluster::Cluster;
pub use creation::{Creatable, NameTaken, NewReplicas, NewTopic};
pub use groups::{Group, NoGroup};
pub use services::{ClusterFacts, Services};
pub use topics::{NoTopic, SeenTopic, TopicRef, TopicView};

/// The context of one request; cheap to clone.
#[derive(Clone)]
pub struct Context {
    pub services: Arc<Services>,
    pub connection: Arc<ConnectionInfo>,
    pub version: i16,
    pub client_id: Option<String>,
    /// The memory that serving this request holds beside the request itself.
    pub room: Arc<Room>,
}

impl Context {
    pub fn new(
        services: &Arc<Services>,
        connection: Arc<ConnectionInfo>,
        version: i16,
        client_id: Option<String>,
    ) -> Context {
        Context {
            room: Arc::new(Room::new(&services.answers, connection.id)),
            services: Arc::clone(services),
            connection,
            version,
            client_id,
        }
    }

    /// The broker that serves this request.
    pub fn node(&self) -> NodeId {
        self.services.cluster.node_id
    }

    /// The address of a broker for this client: the listener with the same name. `None` if it has not
    /// listened yet.
    pub fn endpoint(&self, node: NodeId) -> Option<HostPort> {
        let mut told = self.connection.advertised();
        if node != self.node() {
            told.port = self.services.cluster.peers.port(node, &self.connection.listener.name)?;
        }
        Some(told)
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

    /// Whether the journal can be written.
    pub fn is_writable(&self) -> bool {
        self.services.store.is_writable()
    }

    /// The right to use a transactional id. None of them exists yet, so nothing is looked up.
    pub fn transactional_id(&self, id: &str, operation: Operation) -> Result<(), Forbidden> {
        self.authorize(operation, Resource::TransactionalId(id))
    }

    /// The allowed ones of `operations` on a resource, as a bit field.
    pub fn allowed(&self, operations: &[Operation], resource: Resource<'_>) -> i32 {
        let allowed = |operation: &Operation| self.authorize(*operation, resource).is_ok();
        operations::bits(operations.iter().copied().filter(allowed))
    }

    /// The allowed operations on the cluster; none without the right to describe it.
    pub fn allowed_on_the_cluster(&self) -> i32 {
        match self.authorize(Operation::Describe, Resource::Cluster) {
            Ok(()) => self.allowed(ON_THE_CLUSTER, Resource::Cluster),
            Err(_) => 0,
        }
    }

    /// The principal of the request, to look at things later.
    pub fn viewer(&self) -> Viewer {
        Viewer { services: Arc::clone(&self.services), connection: Arc::clone(&self.connection) }
    }

    fn authorize(&self, operation: Operation, resource: Resource<'_>) -> Result<(), Forbidden> {
        authorize(&self.services, &self.connection, operation, resource)
    }
}

/// The principal of a connection, and what it may see. It may outlive the request, for example in a wait.
#[derive(Clone)]
pub struct Viewer {
    services: Arc<Services>,
    connection: Arc<ConnectionInfo>,
}

impl Viewer {
    fn authorize(&self, operation: Operation, resource: Resource<'_>) -> Result<(), Forbidden> {
        authorize(&self.services, &self.connection, operation, resource)
    }
}

/// The only place where the authorizer is asked.
fn authorize(
    services: &Services,
    connection: &ConnectionInfo,
    operation: Operation,
    resource: Resource<'_>,
) -> Result<(), Forbidden> {
    let ConnectionInfo { session, peer, .. } = connection;
    let is_allowed = |principal| services.authorizer.allows(principal, peer.ip(), operation, resource);
    if session.principal().is_some_and(is_allowed) { Ok(()) } else { Err(resource.into()) }
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
