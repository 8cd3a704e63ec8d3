//! The virtual brokers of a process, usually one. They share the services behind the handlers and one
//! copy of the data. Each has its own id, listeners and fetch sessions, and serves the partitions that it
//! leads. Tests of replicated topics need them; they make nothing safer.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::api::Api;
use crate::api::context::Services;
use crate::api::fetch::session::Sessions;
use crate::config::{BrokerSettings, ConfigError, Given, Listener};
use crate::security::tls::Tls;
use crate::server::{BindError, Bound, Resources, Server};
use crate::stop::Stop;
use crate::storage::StoreError;
use crate::types::NodeId;

/// One virtual broker.
pub(super) struct VirtualBroker {
    pub id: NodeId,
    settings: Arc<BrokerSettings>,
    /// After the first start with the chosen ports, so that the broker restarts at the same addresses.
    listeners: Vec<Listener>,
    sessions: Arc<Sessions>,
    /// The keys and certificates of its listeners, also while it is stopped.
    tls: Arc<Tls>,
    running: Option<RunningBroker>,
}

/// The part of a virtual broker that it has while it runs.
pub(super) struct RunningBroker {
    services: Arc<Services>,
    server: Server,
    stop: Stop,
}

/// The parts that all virtual brokers share.
pub(super) struct Common {
    pub services: Arc<Services>,
    pub settings: Arc<BrokerSettings>,
    pub resources: Resources,
}

/// The reasons why a virtual broker was not started or stopped.
#[derive(Debug)]
pub enum VirtualBrokerError {
    /// The process has no broker with this id.
    Unknown(NodeId),
    /// The process is about to stop.
    Closing,
    Bind(BindError),
    /// The leaders of its partitions could not be changed.
    Store(StoreError),
}

impl VirtualBroker {
    /// All virtual brokers, none of them running. Configured ports are known already, and keys and certificates are
    /// read.
    pub fn all(common: &Common) -> Result<Vec<VirtualBroker>, ConfigError> {
        let ids = common.services.cluster.brokers.iter().zip(0..);
        let all = ids.map(|(id, nth)| {
            let settings = &common.settings;
            let bytes = settings.session_memory() / usize::from(settings.brokers);
            let sessions = Arc::new(Sessions::new(settings.fetch_session_slots, bytes));
            let settings = Arc::new(common.settings.of_virtual_broker(nth));
            let listeners = settings.listeners.clone();
            let tls = Arc::new(Tls::load(&common.services.settings_of(&settings))?);
            let broker = VirtualBroker { id: *id, settings, listeners, sessions, tls, running: None };
            broker.publish_ports(common);
            Ok(broker)
        });
        all.collect()
    }

    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Its services and server, if it runs.
    pub fn serving(&self) -> Option<(Arc<Services>, &Server)> {
        self.running.as_ref().map(|running| (Arc::clone(&running.services), &running.server))
    }

    /// Its addresses, after the first start with the chosen ports.
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// Starts it at addresses that are already bound.
    pub fn start_at(&mut self, bound: Bound, common: &Common) -> Result<(), BindError> {
        let Common { services, settings, resources } = common;
        let (stop, stopping) = Stop::new();
        let own = services.of_virtual_broker(&self.settings, Arc::clone(&self.sessions), stopping.clone());
        let services = Arc::new(own.with_tls(Arc::clone(&self.tls)));
        let api = Api::new(Arc::clone(&services));
        let server = Server::start_beside(resources, settings, bound, api, stopping)?;
        for (listener, address) in server.listening() {
            let known = self.listeners.iter_mut().find(|known| known.name == listener.name);
            known.into_iter().for_each(|known| known.port = address.port());
        }
        self.publish_ports(common);
        self.running = Some(RunningBroker { services, server, stop });
        Ok(())
    }

    /// Reloads the settings from these sources.
    pub fn reload(&mut self, written: &Given) {
        self.settings = Arc::new(self.settings.reloaded(written).settings);
        if let Some(running) = &self.running {
            running.services.reload(written);
        }
    }

    /// Its keys and certificates, and the settings by which they are read.
    pub fn tls(&self, common: &Common) -> (Arc<Tls>, Arc<BrokerSettings>) {
        let settings = match &self.running {
            Some(running) => running.services.settings(),
            None => common.services.settings_of(&self.settings),
        };
        (Arc::clone(&self.tls), settings)
    }

    /// Takes what runs of it, to be stopped.
    pub fn take_running(&mut self) -> Option<RunningBroker> {
        self.running.take()
    }

    fn publish_ports(&self, common: &Common) {
        let ports = self.listeners.iter().filter_map(|listener| {
            let port = listener.advertised_port(listener.port);
            (port != 0).then(|| (listener.name.clone(), port))
        });
        common.services.cluster.peers.listen(self.id, ports.collect::<BTreeMap<_, _>>());
    }
}

impl RunningBroker {
    /// Answers the requests in flight, at most for `limit`, then closes its connections and ports.
    pub async fn stop(self, limit: Duration) {
        self.stop.begin();
        self.server.drain(limit).await;
        // After a restart, clients have to begin new sessions, as with any broker.
        self.services.fetch_sessions.clear();
    }
}

impl std::error::Error for VirtualBrokerError {}

impl fmt::Display for VirtualBrokerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VirtualBrokerError::Unknown(id) => write!(f, "this process has no broker {id}"),
            VirtualBrokerError::Closing => f.write_str("the process is about to stop"),
            VirtualBrokerError::Bind(error) => error.fmt(f),
            VirtualBrokerError::Store(error) => {
                write!(f, "its partitions cannot be handed to other leaders: {error:?}")
            }
        }
    }
}
