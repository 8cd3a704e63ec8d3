//! Replicas of partitions: their state for responses, Kafka's checks of a client's assignment, and the
//! assignment of new partitions.

use crate::api::context::{Context, TopicView};
use crate::api::error::{ErrorCode, Refusal};
use crate::kernel;
use crate::storage::{Partition, Topic};
use crate::time;
use crate::types::NodeId;

/// The state of a partition, in fields that several responses have.
pub struct PartitionState {
    pub error: ErrorCode,
    pub leader: i32,
    pub leader_epoch: i32,
    pub replicas: Vec<i32>,
    pub isr: Vec<i32>,
    pub offline: Vec<i32>,
}

impl PartitionState {
    pub fn of(topic: &Topic, partition: &Partition, topics: &TopicView) -> PartitionState {
        let placement = topic.placement(partition.index);
        let leader = placement.and_then(|placement| placement.leader);
        let replicas = placement.map_or(&[][..], |placement| &placement.replicas);
        let is_offline = |node: &&NodeId| !topics.running().contains(node);
        PartitionState {
            error: if leader.is_some() { ErrorCode::None } else { ErrorCode::LeaderNotAvailable },
            leader: leader.map_or(-1, |leader| leader.0),
            leader_epoch: partition.ends().leader_epoch.0,
            replicas: numbers(replicas),
            isr: placement.map_or_else(Vec::new, |placement| numbers(&placement.isr)),
            offline: replicas.iter().filter(is_offline).map(|node| node.0).collect(),
        }
    }
}

/// The eligible leader replicas, and the last known leader if there is no leader.
pub fn eligible(topic: &Topic, partition: &Partition) -> (Vec<i32>, Vec<i32>) {
    let Some(placement) = topic.placement(partition.index) else { return Default::default() };
    (numbers(&placement.elr), placement.last_leader.iter().map(|node| node.0).collect())
}

fn numbers(nodes: &[NodeId]) -> Vec<i32> {
    nodes.iter().map(|node| node.0).collect()
}

/// The memory for a response that describes each partition of topics, given the number of partitions of
/// each topic.
pub fn weigh(topics: impl Iterator<Item = usize>, ctx: &Context) -> usize {
    /// The longest name, in the response and encoded, and the other fields of a topic.
    const TOPIC: usize = 1024;
    const PARTITION: usize = 288;
    // In three lists, twice each.
    let replicas = 24 * ctx.services.cluster.brokers.len();
    topics.map(|partitions| TOPIC + partitions * (PARTITION + replicas)).sum()
}

/// The memory for a response with all topics.
pub fn weigh_all(ctx: &Context) -> usize {
    let (topics, partitions) = ctx.topics().counted();
    weigh(std::iter::once(partitions).chain((0..topics).map(|_| 0)), ctx)
}

/// Whether the broker is one of the partition's replicas.
pub fn holds(topic: &Topic, index: i32, node: NodeId) -> bool {
    topic.placement(index).is_some_and(|placement| placement.replicas.contains(&node))
}

/// Replicas for `count` more partitions of a topic, with its replication factor. The leaders continue
/// round the brokers after the last partition's.
pub fn more(topic: &Topic, count: usize, ctx: &Context) -> Vec<Vec<NodeId>> {
    let last = topic.placement.last().and_then(|placement| placement.replicas.first());
    let topics = ctx.topics();
    let last = topics.running().iter().position(|node| Some(node) == last);
    let start = last.map_or(0, |last| last as u64 + 1);
    spread_from(ctx, u32::try_from(count).unwrap_or(u32::MAX), factor(topic), start)
}

/// Replicas for the partitions of a new topic. The first leader is random, so that not all topics start
/// at the same broker.
pub fn spread(ctx: &Context, partitions: u32, factor: usize) -> Vec<Vec<NodeId>> {
    spread_from(ctx, partitions, factor, u64::from_be_bytes(time::random_bytes()))
}

/// As in Kafka, running brokers lead. Stopped brokers only follow, and only if there are not enough
/// running ones.
fn spread_from(ctx: &Context, partitions: u32, factor: usize, start: u64) -> Vec<Vec<NodeId>> {
    let topics = ctx.topics();
    let running = topics.running();
    let stopped = ctx.services.cluster.brokers.iter().filter(|node| !running.contains(node));
    let stopped: Vec<NodeId> = stopped.copied().collect();
    let mut placed = kernel::spread(running, partitions, factor.min(running.len()), start);
    for (nth, replicas) in placed.iter_mut().enumerate() {
        let missing = factor.saturating_sub(replicas.len());
        replicas.extend(stopped.iter().cycle().skip(nth % stopped.len().max(1)).take(missing));
    }
    placed
}

/// The replication factor of a topic; as in Kafka the first partition decides.
pub fn factor(topic: &Topic) -> usize {
    topic.placement.first().map_or(1, |placement| placement.replicas.len())
}

/// Fails if there are fewer brokers than the replication factor.
pub fn check_factor(factor: usize, brokers: &[NodeId]) -> Result<(), Refusal> {
    if factor <= brokers.len() {
        return Ok(());
    }
    let why = format!(
        "Unable to replicate the partition {factor} time(s): The target replication factor of {factor} cannot be reached because only {} broker(s) are registered or some brokers have all their log directories cordoned.",
        brokers.len()
    );
    Err(Refusal::new(ErrorCode::InvalidReplicationFactor, why))
}

/// Checks the replicas that a client wants for a partition. `like` is the number of replicas of the other
/// partitions, if all must have the same.
pub fn check(asked: &[i32], brokers: &[NodeId], like: Option<usize>) -> Result<Vec<NodeId>, Refusal> {
    let refuse = |why: String| Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, why));
    if asked.is_empty() {
        return refuse("The manual partition assignment includes an empty replica list.".to_owned());
    }
    let mut sorted = asked.to_vec();
    sorted.sort_unstable();
    let mut before = None;
    for broker in sorted {
        if !brokers.contains(&NodeId(broker)) {
            return refuse(format!(
                "The manual partition assignment includes broker {broker}, but no such broker is registered."
            ));
        }
        if before == Some(broker) {
            return refuse(format!(
                "The manual partition assignment includes the broker {broker} more than once."
            ));
        }
        before = Some(broker);
    }
    match like {
        Some(like) if like != asked.len() => refuse(format!(
            "The manual partition assignment includes a partition with {} replica(s), but this is not consistent with previous partitions, which have {like} replica(s).",
            asked.len()
        )),
        _ => Ok(asked.iter().copied().map(NodeId).collect()),
    }
}

/// Fails if no replica is running: a new partition needs a leader.
pub fn check_one_runs(partition: i32, replicas: &[NodeId], running: &[NodeId]) -> Result<(), Refusal> {
    if replicas.iter().any(|replica| running.contains(replica)) {
        return Ok(());
    }
    let why = format!(
        "All brokers specified in the manual partition assignment for partition {partition} are fenced or in controlled shutdown."
    );
    Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

    fn why(asked: &[i32], like: Option<usize>) -> String {
        check(asked, &THREE, like).unwrap_err().message.unwrap()
    }

    #[test]
    fn the_order_of_replicas_is_kept_and_the_first_wrong_id_is_named() {
        assert_eq!(check(&[3, 1], &THREE, Some(2)), Ok(vec![NodeId(3), NodeId(1)]));
        assert!(why(&[2, 9, 7], None).contains("broker 7, but no such broker"));
        assert!(why(&[3, 1, 1, 9], None).contains("the broker 1 more than once"));
        assert!(why(&[], None).contains("an empty replica list"));
    }

    #[test]
    fn all_partitions_of_a_topic_have_the_same_number_of_replicas() {
        assert!(why(&[1], Some(2)).contains("1 replica(s), but this is not consistent"));
    }
}
