//! Leaders of partitions. A request about a log has to be sent to its leader. Other brokers refuse it,
//! and since some versions also return the leader (KIP-951).

use std::sync::Arc;

use crate::api::context::{Context, check_epoch};
use crate::api::error::ErrorCode;
use crate::storage::{Partition, Topic};
use crate::types::{LeaderEpoch, NodeId};

/// The partition, if this broker leads it. As in Kafka, a broker without a replica does not check the
/// epoch, and a follower does.
pub fn led_here(
    topic: &Topic,
    index: i32,
    node: NodeId,
    claimed: Option<LeaderEpoch>,
) -> Result<&Arc<Partition>, ErrorCode> {
    let (Some(partition), Some(placement)) = (topic.partition(index), topic.placement(index)) else {
        return Err(ErrorCode::UnknownTopicOrPartition);
    };
    if !placement.replicas.contains(&node) {
        return Err(ErrorCode::NotLeaderOrFollower);
    }
    check_epoch(claimed, partition.ends().leader_epoch)?;
    if placement.leader == Some(node) { Ok(partition) } else { Err(ErrorCode::NotLeaderOrFollower) }
}

/// The current leader, for a client that used another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leader {
    /// `None` if there is no leader.
    pub node: Option<NodeId>,
    pub epoch: LeaderEpoch,
}

impl Leader {
    pub fn of(topic: &Topic, index: i32) -> Option<Leader> {
        let (partition, placement) = (topic.partition(index)?, topic.placement(index)?);
        Some(Leader { node: placement.leader, epoch: partition.ends().leader_epoch })
    }

    /// The id in a response; −1 if there is no leader.
    pub fn id(self) -> i32 {
        self.node.map_or(-1, |node| node.0)
    }
}

/// Whether an error means that the client has to look for a new leader.
pub fn is_about_the_leader(error: ErrorCode) -> bool {
    matches!(error, ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch)
}

/// The leaders of a response with their addresses, each once.
#[derive(Default)]
pub struct Endpoints<E>(Vec<(NodeId, E)>);

impl<E> Endpoints<E> {
    pub fn new() -> Endpoints<E> {
        Endpoints(Vec::new())
    }

    pub fn add(&mut self, leader: Leader, ctx: &Context, endpoint: impl FnOnce(NodeId, String, i32) -> E) {
        let Some(node) = leader.node.filter(|node| self.0.iter().all(|(known, _)| known != node)) else {
            return;
        };
        if let Some(address) = ctx.endpoint(node) {
            self.0.push((node, endpoint(node, address.host, address.port.into())));
        }
    }

    pub fn into_vec(self) -> Vec<E> {
        self.0.into_iter().map(|(_, endpoint)| endpoint).collect()
    }
}
