//! The services behind the handlers.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use crate::api::fetch::session::Sessions;
use crate::api::metadata::auto_create::AutoCreate;
use crate::api::principal::{AllowAll, Authorizer};
use crate::api::requests::Requests;
use crate::budget::Budget;
use crate::config::{BrokerSettings, Given};
use crate::coordinator::Groups;
use crate::coordinator::group::Rules;
use crate::stop::Stopping;
use crate::storage::{LiveSettings, Store};
use crate::time::Clock;
use crate::types::{ClusterId, IgnorePoison, NodeId};

/// The services behind the handlers, shared by all connections of a broker.
pub struct Services {
    /// Only the door uses these three.
    pub(super) store: Store,
    pub(super) groups: Groups,
    pub(super) authorizer: Arc<dyn Authorizer>,
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
    /// Loads the groups from the store, and returns them as well, because the caller has to run them.
    pub fn start(
        store: Store,
        settings: Arc<BrokerSettings>,
        clock: Clock,
        stopping: Stopping,
    ) -> (Services, Groups) {
        let groups = Groups::start(Arc::new(store.clone()), Rules::from(&*settings), clock.clone());
        let services = Services {
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
            live: LiveSettings::new(Arc::clone(&settings), settings.node_id),
            authorizer: Arc::new(AllowAll),
            groups: groups.clone(),
            store,
            clock,
            stopping,
        };
        (services, groups)
    }

    /// Asks another authorizer than the one that allows everything.
    #[must_use]
    pub fn with_authorizer(self, authorizer: Arc<dyn Authorizer>) -> Services {
        Services { authorizer, ..self }
    }

    /// The broker's current settings. Do not keep them longer than for one request.
    pub fn settings(&self) -> Arc<BrokerSettings> {
        self.live.at(&self.store.settings())
    }

    /// Reloads the settings from these sources.
    pub fn reload(&self, written: &Given) {
        self.live.reload(written);
    }

    /// The services of another virtual broker of this process, with its own fetch sessions.
    pub fn of_virtual_broker(
        &self,
        started: &Arc<BrokerSettings>,
        sessions: Arc<Sessions>,
        stopping: Stopping,
    ) -> Services {
        let node_id = started.node_id;
        Services {
            store: self.store.clone(),
            groups: self.groups.clone(),
            authorizer: Arc::clone(&self.authorizer),
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
        Services::start(store, settings, Clock::machine(), stopping).0
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
        self.0.write().ignoring_poison().insert(node, ports);
    }

    pub(super) fn port(&self, node: NodeId, listener: &str) -> Option<u16> {
        self.0.read().ignoring_poison().get(&node)?.get(listener).copied()
    }
}
