//! All virtual brokers of a process. Each of them can be stopped and started.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::virtual_broker::{Common, RunningBroker, VirtualBroker, VirtualBrokerError};
use crate::config::{BrokerSettings, Given};
use crate::hooks::{self, HookError};
use crate::security::tls::Tls;
use crate::server::Bound;
use crate::storage::Store;
use crate::types::{IgnorePoison, NodeId};

/// The time limit for outstanding responses when a virtual broker stops.
const DRAIN: Duration = Duration::from_secs(10);

pub(super) struct VirtualBrokers {
    all: Mutex<Vec<VirtualBroker>>,
    /// Held while one of them is stopped or started, and while the settings are reloaded.
    turn: tokio::sync::Mutex<()>,
    common: Common,
    store: Store,
}

impl VirtualBrokers {
    pub fn new(all: Vec<VirtualBroker>, common: Common, store: Store) -> VirtualBrokers {
        VirtualBrokers { all: Mutex::new(all), turn: tokio::sync::Mutex::default(), common, store }
    }

    pub fn common(&self) -> &Common {
        &self.common
    }

    /// Stops one. Other brokers become leaders of its partitions and coordinators of its groups. Its connections are
    /// closed and its ports refuse new ones.
    pub async fn stop_one(&self, id: NodeId) -> Result<(), VirtualBrokerError> {
        let _turn = self.turn.lock().await;
        if !self.with(id, |one| one.is_running())? {
            return Ok(());
        }
        let others = self.running().into_iter().filter(|other| *other != id).collect();
        self.store.set_brokers(others).await.map_err(VirtualBrokerError::Store)?;
        self.halt(id).await
    }

    /// Starts one that was stopped, at its old addresses. It is in the ISR at once, and leads the partitions that had no
    /// leader.
    pub async fn start_one(&self, id: NodeId) -> Result<(), VirtualBrokerError> {
        let _turn = self.turn.lock().await;
        let stopped = self.with(id, |one| (!one.is_running()).then(|| one.listeners().to_vec()))?;
        let Some(listeners) = stopped else { return Ok(()) };
        let bound = Bound::at(&listeners).await.map_err(VirtualBrokerError::Bind)?;
        let started = self.with(id, |one| one.start_at(bound, &self.common))?;
        started.map_err(VirtualBrokerError::Bind)?;
        if let Err(error) = self.store.set_brokers(self.running()).await {
            self.halt(id).await?;
            return Err(VirtualBrokerError::Store(error));
        }
        Ok(())
    }

    /// Reloads their settings. Returns the keys and certificates of each, and the settings by which they are read.
    pub async fn reload(&self, written: &Given) -> Vec<(Arc<Tls>, Arc<BrokerSettings>)> {
        let _turn = self.turn.lock().await;
        let mut all = self.all.lock().ignoring_poison();
        all.iter_mut().for_each(|one| one.reload(written));
        self.common.services.reload(written);
        all.iter().map(|one| one.tls(&self.common)).collect()
    }

    /// Stops all of them, and answers the requests in flight.
    pub async fn stop_all(&self) {
        let _turn = self.turn.lock().await;
        let running: Vec<_> = {
            let mut all = self.all.lock().ignoring_poison();
            all.iter_mut().filter_map(VirtualBroker::take_running).collect()
        };
        running.iter().for_each(RunningBroker::begin_to_stop);
        for one in running {
            one.stop(DRAIN).await;
        }
    }

    /// Ends all connections at once. Nothing can be started afterwards.
    pub fn cut_off(&self) {
        self.all.lock().ignoring_poison().clear();
    }

    async fn halt(&self, id: NodeId) -> Result<(), VirtualBrokerError> {
        if let Some(running) = self.with(id, VirtualBroker::take_running)? {
            running.stop(DRAIN).await;
        }
        Ok(())
    }

    fn running(&self) -> Vec<NodeId> {
        let all = self.all.lock().ignoring_poison();
        all.iter().filter(|one| one.is_running()).map(|one| one.id).collect()
    }

    fn with<T>(
        &self,
        id: NodeId,
        act: impl FnOnce(&mut VirtualBroker) -> T,
    ) -> Result<T, VirtualBrokerError> {
        let mut all = self.all.lock().ignoring_poison();
        let one = all.iter_mut().find(|one| one.id == id);
        one.map(act).ok_or(VirtualBrokerError::Unknown(id))
    }
}

impl hooks::VirtualBrokers for VirtualBrokers {
    fn stop(&self, id: NodeId) -> Pin<Box<dyn Future<Output = Result<(), HookError>> + Send + '_>> {
        Box::pin(async move { self.stop_one(id).await.map_err(refused) })
    }

    fn start(&self, id: NodeId) -> Pin<Box<dyn Future<Output = Result<(), HookError>> + Send + '_>> {
        Box::pin(async move { self.start_one(id).await.map_err(refused) })
    }
}

fn refused(error: VirtualBrokerError) -> HookError {
    HookError::Refused(error.to_string())
}
