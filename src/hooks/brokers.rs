//! Actions on virtual brokers: one stops or starts, and the leader of a partition moves to another one.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};

use super::{HookError, TestHooks, refused};
use crate::kernel::Placement;
use crate::types::NodeId;

/// The virtual brokers of a process, which the hooks stop and start.
pub trait VirtualBrokers: Send + Sync {
    fn stop(&self, id: NodeId) -> Pin<Box<dyn Future<Output = Result<(), HookError>> + Send + '_>>;
    fn start(&self, id: NodeId) -> Pin<Box<dyn Future<Output = Result<(), HookError>> + Send + '_>>;
}

impl TestHooks {
    /// Stops a virtual broker, also the only one: it answers the requests in flight, closes its connections and refuses
    /// new ones. Others lead its partitions and coordinate its groups, if they can.
    pub async fn stop_broker(&self, id: NodeId) -> Result<(), HookError> {
        self.brokers()?.stop(id).await
    }

    /// Starts a virtual broker that was stopped, at its old addresses.
    pub async fn start_broker(&self, id: NodeId) -> Result<(), HookError> {
        self.brokers()?.start(id).await
    }

    /// Makes a running virtual broker the leader of a partition, and the first of its replicas. A broker without a replica
    /// gets that of the present leader.
    pub async fn move_leader(&self, topic: &str, partition: i32, to: NodeId) -> Result<(), HookError> {
        let (id, placement) = {
            let topics = self.store.topics();
            let unknown = || HookError::Refused(format!("the partition {topic}-{partition} does not exist"));
            let found = topics.by_name(topic).ok_or_else(unknown)?;
            if !topics.running().contains(&to) {
                return Err(HookError::Refused(format!("no broker {} is running", to.0)));
            }
            (found.id, Arc::clone(found.placement(partition).ok_or_else(unknown)?))
        };
        if placement.leader == Some(to) {
            return Ok(());
        }
        // Both are queued before the first wait, so nothing comes between them.
        let placed = self.store.set_replicas(id, partition, led_by(&placement, to));
        let elected = self.store.elect_preferred(id, partition);
        placed.await.map_err(|error| refused((&error).into()))?;
        elected.await.map(drop).map_err(|error| refused((&error).into()))
    }

    fn brokers(&self) -> Result<Arc<dyn VirtualBrokers>, HookError> {
        let brokers = self.brokers.as_ref().and_then(Weak::upgrade);
        brokers.ok_or_else(|| HookError::Refused("the process has stopped".to_owned()))
    }
}

/// The replicas with the new leader as the first one.
fn led_by(placement: &Placement, to: NodeId) -> Vec<NodeId> {
    let replicas = &placement.replicas;
    let leader = placement.leader.or(replicas.first().copied());
    let replaced = if replicas.contains(&to) { Some(to) } else { leader };
    let others = replicas.iter().copied().filter(|replica| Some(*replica) != replaced);
    std::iter::once(to).chain(others).collect()
}
