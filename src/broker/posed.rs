//! The brokers that one process poses as, mostly one. They share the rooms behind the handlers and one
//! copy of the data; each has its id, its listeners, its fetch sessions, and answers for what it leads.
//! That is what tests of replicated topics need; it makes nothing safer.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::api::context::Services;
use crate::api::fetch::session::Sessions;
use crate::api::{Api, Stop};
use crate::config::{BrokerSettings, Given, Listener};
use crate::server::{BindError, Bound, Resources, Server};
use crate::storage::StoreError;
use crate::types::NodeId;

/// One of them.
pub(super) struct Posed {
    pub id: NodeId,
    settings: Arc<BrokerSettings>,
    /// From the first start on with the ports that were chosen: it comes back where it was.
    listeners: Vec<Listener>,
    sessions: Arc<Sessions>,
    running: Option<Running>,
}

struct Running {
    services: Arc<Services>,
    server: Server,
    stop: Stop,
}

/// What they have in common.
pub(super) struct Common {
    pub services: Arc<Services>,
    pub settings: Arc<BrokerSettings>,
    pub resources: Resources,
}

/// Why one of the brokers of a process was not started or stopped.
#[derive(Debug)]
pub enum PoseError {
    /// The process does not pose as this broker.
    Unknown(NodeId),
    Bind(BindError),
    /// Its leaderships could not be handed on.
    Store(StoreError),
}

impl Posed {
    /// None of them runs yet; their ports are known where they were said.
    pub fn all(common: &Common) -> Vec<Posed> {
        let ids = common.services.cluster.brokers.iter().zip(0..);
        let all = ids.map(|(id, nth)| {
            let settings = &common.settings;
            let bytes = settings.session_memory() / usize::from(settings.brokers);
            let sessions = Arc::new(Sessions::new(settings.fetch_session_slots, bytes));
            let settings = Arc::new(common.settings.posing_as(nth));
            let listeners = settings.listeners.clone();
            let posed = Posed { id: *id, settings, listeners, sessions, running: None };
            posed.tell_ports(common);
            posed
        });
        all.collect()
    }

    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// What serves its clients, if it runs.
    pub fn serving(&self) -> Option<(Arc<Services>, &Server)> {
        self.running.as_ref().map(|running| (Arc::clone(&running.services), &running.server))
    }

    pub async fn start(&mut self, common: &Common) -> Result<(), BindError> {
        self.start_at(Bound::at(&self.listeners).await?, common)
    }

    /// The same where its addresses are taken already.
    pub fn start_at(&mut self, bound: Bound, common: &Common) -> Result<(), BindError> {
        let Common { services, settings, resources } = common;
        let (stop, stopping) = Stop::new();
        let own = services.posing_as(&self.settings, Arc::clone(&self.sessions), stopping.clone());
        let services = Arc::new(own);
        let api = Api::new(Arc::clone(&services));
        let server = Server::start_beside(resources, settings, bound, api, stopping)?;
        for (listener, address) in server.listening() {
            let known = self.listeners.iter_mut().find(|known| known.name == listener.name);
            known.into_iter().for_each(|known| known.port = address.port());
        }
        self.tell_ports(common);
        self.running = Some(Running { services, server, stop });
        Ok(())
    }

    /// Takes the settings as they are written now.
    pub fn reload(&mut self, written: &Given) {
        self.settings = Arc::new(self.settings.reloaded(written).settings);
        if let Some(running) = &self.running {
            running.services.reload(written);
        }
    }

    /// Says that it is to stop; [`Posed::stop`] waits for the end.
    pub fn begin_to_stop(&self) {
        if let Some(running) = &self.running {
            running.stop.begin();
        }
    }

    /// What it owes is answered, at most for `limit`; then its connections are gone and its ports
    /// are refused.
    pub async fn stop(&mut self, limit: Duration) {
        self.begin_to_stop();
        if let Some(running) = self.running.take() {
            running.server.drain(limit).await;
            // Whoever comes back to it after a start has to begin anew, as with any broker.
            self.sessions.clear();
        }
    }

    fn tell_ports(&self, common: &Common) {
        let ports = self.listeners.iter().filter_map(|listener| {
            let port = listener.told_port(listener.port);
            (port != 0).then(|| (listener.name.clone(), port))
        });
        common.services.cluster.peers.listen(self.id, ports.collect::<BTreeMap<_, _>>());
    }
}

impl std::error::Error for PoseError {}

impl fmt::Display for PoseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PoseError::Unknown(id) => write!(f, "this process does not pose as broker {id}"),
            PoseError::Bind(error) => error.fmt(f),
            PoseError::Store(error) => write!(f, "its leaderships cannot be handed on: {error:?}"),
        }
    }
}
