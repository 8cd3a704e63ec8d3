//! The context of a request: its client, connection and version, and the services that a handler uses.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use super::Stopping;
use super::budget::{Budget, ConnectionId, Room};
use super::error::ErrorCode;
use super::fetch::session::Sessions;
use super::metadata::auto_create::AutoCreate;
use super::requests::Requests;
use crate::config::{BrokerSettings, Given, Listener};
use crate::coordinator::Groups;
use crate::coordinator::classic::Rules;
use crate::storage::{Isolation, LiveSettings, Store, Topics};
use crate::time::Clock;
use crate::types::{ClusterId, LeaderEpoch, NodeId};

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
    pub fn brokers(&self, topics: &Topics) -> Vec<(NodeId, HostPort)> {
        topics.running().iter().filter_map(|node| Some((*node, self.endpoint(*node)?))).collect()
    }

    /// The broker advertised as controller; any broker can serve admin requests.
    pub fn controller(&self, topics: &Topics) -> NodeId {
        topics.running().first().copied().unwrap_or(self.node())
    }
}

/// The services behind the handlers, shared by all connections of a broker.
pub struct Services {
    pub store: Store,
    pub groups: Groups,
    pub cluster: ClusterFacts,
    live: LiveSettings,
    pub clock: Clock,
    pub fetch_sessions: Arc<Sessions>,
    pub auto_create: Arc<AutoCreate>,
    /// The memory budget for responses, shared by all clients.
    pub answers: Arc<Budget>,
    /// Counters of requests.
    pub requests: Arc<Requests>,
    /// Long polls end early when the broker stops.
    pub stopping: Stopping,
}

impl Services {
    pub fn new(store: Store, settings: Arc<BrokerSettings>, clock: Clock, stopping: Stopping) -> Services {
        Services {
            cluster: ClusterFacts {
                cluster_id: store.cluster_id(),
                node_id: settings.node_id,
                brokers: settings.broker_ids().into(),
                peers: Arc::default(),
            },
            fetch_sessions: Arc::new(Sessions::new(settings.fetch_session_slots, settings.session_memory())),
            answers: Budget::new(settings.answer_memory()),
            auto_create: Arc::default(),
            requests: Arc::default(),
            groups: Groups::start(Arc::new(store.clone()), Rules::from(&*settings), clock.clone()),
            live: LiveSettings::new(Arc::clone(&settings), settings.node_id),
            store,
            clock,
            stopping,
        }
    }

    /// The broker's current settings. Do not keep them longer than for one request.
    pub fn settings(&self) -> Arc<BrokerSettings> {
        self.live.at(&self.store.settings())
    }

    /// Reloads the settings from these sources.
    pub fn reload(&self, written: &Given) {
        self.live.reload(written);
    }
}

impl Services {
    /// The services of another virtual broker of this process, with its own fetch sessions.
    pub fn posing_as(
        &self,
        started: &Arc<BrokerSettings>,
        sessions: Arc<Sessions>,
        stopping: Stopping,
    ) -> Services {
        let node_id = started.node_id;
        Services {
            store: self.store.clone(),
            groups: self.groups.clone(),
            cluster: ClusterFacts { node_id, ..self.cluster.clone() },
            live: LiveSettings::new(Arc::clone(started), node_id),
            clock: self.clock.clone(),
            fetch_sessions: sessions,
            auto_create: Arc::clone(&self.auto_create),
            answers: Arc::clone(&self.answers),
            requests: Arc::clone(&self.requests),
            stopping,
        }
    }
}

#[cfg(test)]
impl Services {
    /// Empty services in memory, for a test.
    pub(crate) fn in_memory(stopping: Stopping) -> Services {
        Services::in_memory_with(BrokerSettings::default(), stopping)
    }

    pub(crate) fn in_memory_with(settings: BrokerSettings, stopping: Stopping) -> Services {
        let settings = Arc::new(settings);
        let options = crate::storage::StoreOptions::new(crate::storage::Place::Memory, Arc::clone(&settings));
        let store = Store::open(options).expect("memory can always be opened");
        Services::new(store, settings, Clock::machine(), stopping)
    }
}

/// Facts about the cluster that do not change while the process runs.
#[derive(Clone, Debug)]
pub struct ClusterFacts {
    pub cluster_id: ClusterId,
    /// The broker that serves the request.
    pub node_id: NodeId,
    /// All brokers, running or not.
    pub brokers: Arc<[NodeId]>,
    pub peers: Arc<Peers>,
}

/// The ports of the brokers of this process, by listener name.
#[derive(Debug, Default)]
pub struct Peers(RwLock<BTreeMap<NodeId, BTreeMap<String, u16>>>);

impl Peers {
    pub fn listen(&self, node: NodeId, ports: BTreeMap<String, u16>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(node, ports);
    }

    fn port(&self, node: NodeId, listener: &str) -> Option<u16> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&node)?.get(listener).copied()
    }
}

/// A client's connection.
#[derive(Debug)]
pub struct ConnectionInfo {
    pub id: ConnectionId,
    pub peer: SocketAddr,
    /// The server's address of the connection, which the client connected to.
    pub local: SocketAddr,
    /// The listener of the connection, as it was configured.
    pub listener: Arc<Listener>,
    /// The client's name from its ApiVersions request, if there was one.
    pub software: OnceLock<ClientSoftware>,
}

/// An address in the form that clients get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    pub host: String,
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSoftware {
    pub name: String,
    pub version: String,
}

impl ConnectionInfo {
    /// The address that this client should use: the advertised host, else the host that the listener is
    /// bound to, else the address that the client has connected to. Never an unspecified address (rule
    /// M6).
    pub fn advertised(&self) -> HostPort {
        let port = self.listener.told_port(self.local.port());
        match &self.listener.advertised {
            Some((host, _)) if !host.is_empty() => return HostPort { host: host.clone(), port },
            Some(_) | None => {}
        }
        let bound_to_all = match self.listener.host.parse::<IpAddr>() {
            Ok(address) => address.is_unspecified(),
            Err(_) => self.listener.host.is_empty(),
        };
        if !bound_to_all {
            return HostPort { host: self.listener.host.clone(), port };
        }
        let reached = self.local.ip().to_canonical();
        // Some clients cannot parse a bare IPv6 address. A listener on all addresses serves both
        // families.
        let host = if reached == IpAddr::V6(std::net::Ipv6Addr::LOCALHOST) {
            "localhost".to_owned()
        } else {
            reached.to_string()
        };
        HostPort { host, port }
    }
}

/// Compares a client's leader epoch with the current one (KIP-320).
pub fn check_epoch(believed: Option<LeaderEpoch>, current: LeaderEpoch) -> Result<(), ErrorCode> {
    match believed {
        Some(believed) if believed < current => Err(ErrorCode::FencedLeaderEpoch),
        Some(believed) if believed > current => Err(ErrorCode::UnknownLeaderEpoch),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn told(host: &str, advertised: Option<(&str, u16)>, local: &str) -> (String, u16) {
        let connection = ConnectionInfo {
            id: 0,
            peer: "192.0.2.9:5000".parse().unwrap(),
            local: local.parse().unwrap(),
            listener: Arc::new(Listener {
                name: "PLAINTEXT".into(),
                host: host.into(),
                port: 0,
                advertised: advertised.map(|(host, port)| (host.to_owned(), port)),
            }),
            software: OnceLock::new(),
        };
        let told = connection.advertised();
        (told.host, told.port)
    }

    #[test]
    fn m6_a_client_is_told_what_is_advertised_else_what_it_reached_and_never_an_unspecified_address() {
        assert_eq!(
            told("0.0.0.0", Some(("kafka.example", 19092)), "10.0.0.5:9092"),
            ("kafka.example".into(), 19092)
        );
        assert_eq!(told("", Some(("", 19092)), "10.0.0.5:9092"), ("10.0.0.5".into(), 19092));
        assert_eq!(told("", Some(("kafka.example", 0)), "10.0.0.5:40001"), ("kafka.example".into(), 40001));
        assert_eq!(told("localhost", None, "[::1]:9092"), ("localhost".into(), 9092));
        assert_eq!(told("127.0.0.1", None, "127.0.0.1:40001"), ("127.0.0.1".into(), 40001));
        assert_eq!(told("0.0.0.0", None, "10.0.0.5:9092"), ("10.0.0.5".into(), 9092));
        assert_eq!(told("::", None, "[::ffff:10.0.0.5]:9092"), ("10.0.0.5".into(), 9092));
        assert_eq!(told("", None, "[::1]:9092"), ("localhost".into(), 9092));
    }
}
