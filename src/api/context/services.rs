//! The services behind the handlers.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};

use super::acls::StandardAuthorizer;
use crate::api::client_metrics::ClientMetrics;
use crate::api::connection::ConnectionInfo;
use crate::api::fetch::session::Sessions;
use crate::api::metadata::auto_create::AutoCreate;
use crate::api::requests::Requests;
#[cfg(feature = "security")]
use crate::api::sasl::{LoginCounts, TokenKeys};
use crate::api::throttle::Throttles;
use crate::budget::Budget;
use crate::config::{BrokerSettings, Given};
use crate::coordinator::group::Rules;
use crate::coordinator::{Groups, TransactionRules, Transactions};
use crate::faults::Faults;
use crate::security::principal::{AllowAll, Authorizer};
use crate::security::tls::Tls;
use crate::stop::Stopping;
use crate::storage::{LiveSettings, Store};
use crate::time::Clock;
use crate::types::{ClusterId, IgnorePoison, NodeId};

/// The services behind the handlers, shared by all connections of a broker.
pub struct Services {
    /// Only the door uses these four.
    pub(super) store: Store,
    pub(super) groups: Groups,
    pub(super) transactions: Transactions,
    pub(super) authorizer: Arc<dyn Authorizer>,
    pub cluster: ClusterFacts,
    live: LiveSettings,
    /// The keys and certificates of the listeners.
    pub tls: Arc<Tls>,
    /// Those of the HTTP server, which has the settings of the first virtual broker.
    pub http_tls: Arc<Tls>,
    pub clock: Clock,
    pub fetch_sessions: Arc<Sessions>,
    pub auto_create: Arc<AutoCreate>,
    /// The memory budget for responses, shared by all clients.
    pub answers: Arc<Budget>,
    /// Counters of requests.
    pub requests: Arc<Requests>,
    /// The metrics that clients push.
    pub client_metrics: Arc<ClientMetrics>,
    /// The use of quotas by the clients of this broker.
    pub throttles: Arc<Throttles>,
    /// Counters of logins.
    #[cfg(feature = "security")]
    pub logins: Arc<LoginCounts>,
    /// The keys that verify the tokens of clients.
    #[cfg(feature = "security")]
    pub token_keys: Arc<TokenKeys>,
    /// See [`Services::turn_to_change_logins`].
    logins_turn: Arc<Mutex<()>>,
    /// The rules of a test; `None` without `jackdaw.test.hooks`.
    pub faults: Option<Arc<Faults>>,
    /// Long polls end early when the broker stops.
    pub stopping: Stopping,
}

/// The coordinators of a broker. Their timers fire as long as [`Coordinators::run`] is polled.
#[derive(Clone)]
pub struct Coordinators {
    pub groups: Groups,
    pub transactions: Transactions,
}

impl Coordinators {
    pub async fn run(&self) {
        tokio::join!(self.groups.run(), self.transactions.run());
    }
}

impl Services {
    /// Loads the coordinators from the store, and returns them as well, because the caller has to run them.
    pub fn start(
        store: Store,
        settings: Arc<BrokerSettings>,
        clock: Clock,
        stopping: Stopping,
    ) -> (Services, Coordinators) {
        let groups = Groups::start(Arc::new(store.clone()), Rules::from(&*settings), clock.clone());
        let rules = TransactionRules::from(&*settings);
        let transactions = Transactions::start(store.clone(), rules, clock.clone());
        let authorizer: Arc<dyn Authorizer> = match &settings.authorizer {
            Some(rules) => Arc::new(StandardAuthorizer { store: store.clone(), rules: rules.clone() }),
            None => Arc::new(AllowAll),
        };
        let coordinators = Coordinators { groups: groups.clone(), transactions: transactions.clone() };
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
            client_metrics: Arc::new(ClientMetrics::new(settings.client_metrics_memory())),
            throttles: Arc::new(Throttles::new(clock.clone())),
            #[cfg(feature = "security")]
            logins: Arc::default(),
            #[cfg(feature = "security")]
            token_keys: Arc::default(),
            logins_turn: Arc::default(),
            faults: settings.test_hooks.then(Arc::default),
            live: LiveSettings::new(Arc::clone(&settings), settings.node_id),
            authorizer,
            tls: Arc::default(),
            http_tls: Arc::default(),
            groups,
            transactions,
            store,
            clock,
            stopping,
        };
        (services, coordinators)
    }

    /// Asks another authorizer than that of the settings.
    #[must_use]
    pub fn with_authorizer(self, authorizer: Arc<dyn Authorizer>) -> Services {
        Services { authorizer, ..self }
    }

    /// Serves listeners with TLS.
    #[must_use]
    pub fn with_tls(self, tls: Arc<Tls>) -> Services {
        Services { tls, ..self }
    }

    /// With the keys and certificates of the HTTP server, which change when its settings are altered.
    #[must_use]
    pub fn with_http_tls(self, http_tls: Arc<Tls>) -> Services {
        Services { http_tls, ..self }
    }

    /// Verifies tokens by these keys.
    #[cfg(feature = "security")]
    #[must_use]
    pub fn with_token_keys(self, token_keys: Arc<TokenKeys>) -> Services {
        Services { token_keys, ..self }
    }

    /// The current settings of a virtual broker that was started with these.
    pub fn settings_of(&self, started: &Arc<BrokerSettings>) -> Arc<BrokerSettings> {
        LiveSettings::new(Arc::clone(started), started.node_id).at(&self.store.settings())
    }

    /// The broker's current settings. Do not keep them longer than for one request.
    pub fn settings(&self) -> Arc<BrokerSettings> {
        self.live.at(&self.store.settings())
    }

    /// The turn to delete credentials of super users, or to change the settings and certificates of logins. Only one
    /// request or reload has it, until its changes have happened. So two requests cannot each leave the last way in to the
    /// other, and none installs a certificate that was read before a newer one was installed.
    pub async fn turn_to_change_logins(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.logins_turn).lock_owned().await
    }

    /// Prolongs the sessions of the members that use a connection.
    pub fn hold_members(&self, connection: &ConnectionInfo, time: Duration) {
        connection.members().into_iter().for_each(|(group, member)| self.groups.hold(&group, member, time));
    }

    /// As [`Throttles::connection`], if there are quotas.
    pub fn too_many_connections(&self, ip: IpAddr) -> Option<Duration> {
        let quotas = self.store.quotas_if_any()?;
        self.throttles.connection(ip, &quotas, &self.settings())
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
            transactions: self.transactions.clone(),
            authorizer: Arc::clone(&self.authorizer),
            cluster: ClusterFacts { node_id, ..self.cluster.clone() },
            live: LiveSettings::new(Arc::clone(started), node_id),
            tls: Arc::clone(&self.tls),
            http_tls: if node_id == self.cluster.node_id {
                Arc::clone(&self.http_tls)
            } else {
                Arc::default()
            },
            clock: self.clock.clone(),
            fetch_sessions: sessions,
            auto_create: Arc::clone(&self.auto_create),
            answers: Arc::clone(&self.answers),
            requests: Arc::clone(&self.requests),
            client_metrics: Arc::clone(&self.client_metrics),
            throttles: Arc::new(self.throttles.of_virtual_broker()),
            #[cfg(feature = "security")]
            logins: Arc::clone(&self.logins),
            #[cfg(feature = "security")]
            token_keys: Arc::clone(&self.token_keys),
            logins_turn: Arc::clone(&self.logins_turn),
            faults: self.faults.clone(),
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
        let options =
            crate::storage::StoreOptions::new(crate::storage::Location::Memory, Arc::clone(&settings));
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
