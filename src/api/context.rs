//! What a handler knows about the request it serves: who asks, over which connection, at which
//! version, and the rooms it may turn to.

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

/// One request's surroundings; cheap to clone.
#[derive(Clone)]
pub struct Context {
    pub services: Arc<Services>,
    pub connection: Arc<ConnectionInfo>,
    pub version: i16,
    pub client_id: Option<String>,
    /// What serving this request holds beside the request itself.
    pub room: Arc<Room>,
}

impl Context {
    /// The broker that serves this request.
    pub fn node(&self) -> NodeId {
        self.services.cluster.node_id
    }

    /// Where this client finds a broker: at the listener of the same name. `None`: nowhere yet.
    pub fn endpoint(&self, node: NodeId) -> Option<HostPort> {
        let mut told = self.connection.advertised();
        if node != self.node() {
            told.port = self.services.cluster.peers.port(node, &self.connection.listener.name)?;
        }
        Some(told)
    }

    /// The brokers that run, as this client finds them.
    pub fn brokers(&self, topics: &Topics) -> Vec<(NodeId, HostPort)> {
        topics.running().iter().filter_map(|node| Some((*node, self.endpoint(*node)?))).collect()
    }

    /// Whom clients are told to bring administration to. Any broker does it.
    pub fn controller(&self, topics: &Topics) -> NodeId {
        topics.running().first().copied().unwrap_or(self.node())
    }
}

/// The rooms behind the handlers, the same for every connection of a broker.
pub struct Services {
    pub store: Store,
    pub groups: Groups,
    pub cluster: ClusterFacts,
    live: LiveSettings,
    pub clock: Clock,
    pub fetch_sessions: Arc<Sessions>,
    pub auto_create: Arc<AutoCreate>,
    /// What answers of all clients together may hold.
    pub answers: Arc<Budget>,
    /// What is counted of requests.
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

    /// The broker's settings as they are now. Nobody keeps them longer than a request.
    pub fn settings(&self) -> Arc<BrokerSettings> {
        self.live.at(&self.store.settings())
    }

    /// Takes them as they are written now.
    pub fn reload(&self, written: &Given) {
        self.live.reload(written);
    }
}

impl Services {
    /// The same rooms as another broker of this process has them, with fetch sessions of its own.
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
    /// With nothing in them, and gone with the test.
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

/// What is true of the cluster for as long as the process runs.
#[derive(Clone, Debug)]
pub struct ClusterFacts {
    pub cluster_id: ClusterId,
    /// The broker that is asked.
    pub node_id: NodeId,
    /// Every broker, whether it runs or not.
    pub brokers: Arc<[NodeId]>,
    pub peers: Arc<Peers>,
}

/// The ports that the brokers of this process are found at, by the names of their listeners.
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
    /// Our side of the socket: the address the client reached us at.
    pub local: SocketAddr,
    /// As it was configured.
    pub listener: Arc<Listener>,
    /// What the client called itself in ApiVersions, if it has.
    pub software: OnceLock<ClientSoftware>,
}

/// An address as clients are told it.
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
    /// Where this client is told to find the broker: what the operator advertises, else the host
    /// the listener was bound to, else the address the client just reached us at. Never an
    /// unspecified address (rule M6).
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
        // Some clients cannot read a bare IPv6 address; a listener on all addresses serves both families.
        let host = if reached == IpAddr::V6(std::net::Ipv6Addr::LOCALHOST) {
            "localhost".to_owned()
        } else {
            reached.to_string()
        };
        HostPort { host, port }
    }
}

/// Holds what a client believes to be the current leadership against ours (KIP-320).
pub fn check_epoch(believed: Option<LeaderEpoch>, current: LeaderEpoch) -> Result<(), ErrorCode> {
    match believed {
        Some(believed) if believed < current => Err(ErrorCode::FencedLeaderEpoch),
        Some(believed) if believed > current => Err(ErrorCode::UnknownLeaderEpoch),
        _ => Ok(()),
    }
}

/// The isolation level of Fetch and ListOffsets; `None` for one that nobody knows.
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
