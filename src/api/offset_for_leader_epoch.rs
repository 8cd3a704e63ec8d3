//! OffsetForLeaderEpoch (key 23): the end offset of a leader epoch. A client uses it to find out whether
//! the records it has read are still in the log (rule O7). v3 adds the replica id, which is ignored: no
//! broker is trusted on this listener.

use crate::api::context::{Context, NoTopic, TopicRef};
use crate::api::error::ErrorCode;
use crate::api::leadership::led_here;
use crate::api::{Handler, Reply};
use crate::protocol::messages::{
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition,
    OffsetForLeaderTopicResult, offset_for_leader_epoch_response::EpochEndOffset,
};
use crate::security::operations::Operation;
use crate::storage::Topic;
use crate::types::{LeaderEpoch, NodeId, Offset};

impl Handler for OffsetForLeaderEpochRequest {
    fn named(&self) -> usize {
        self.topics.iter().map(|topic| topic.partitions.len().max(1)).sum()
    }

    async fn handle(self, ctx: Context) -> Reply<OffsetForLeaderEpochResponse> {
        // As in Kafka, a follower needs no right to the topics.
        let view = ctx.topics_or_all(Operation::ClusterAction);
        let topics = self.topics.into_iter().map(|asked| {
            let topic = view.topic(TopicRef::Name(&asked.topic), Operation::Describe).map(|topic| &**topic);
            let partitions = asked.partitions.iter().map(|asked| answer(asked, topic, ctx.node())).collect();
            OffsetForLeaderTopicResult { topic: asked.topic, partitions }
        });
        let topics = topics.collect();
        Reply::Now(OffsetForLeaderEpochResponse { topics, ..OffsetForLeaderEpochResponse::default() })
    }
}

fn answer(asked: &OffsetForLeaderPartition, topic: Result<&Topic, NoTopic>, node: NodeId) -> EpochEndOffset {
    let unknown = (LeaderEpoch(-1), Offset(-1));
    let (error, (epoch, end)) = match look_up(asked, topic, node) {
        Ok(found) => (ErrorCode::None, found.unwrap_or(unknown)),
        Err(error) => (error, unknown),
    };
    EpochEndOffset {
        error_code: error.code(),
        partition: asked.partition,
        leader_epoch: epoch.0,
        end_offset: end.0,
    }
}

fn look_up(
    asked: &OffsetForLeaderPartition,
    topic: Result<&Topic, NoTopic>,
    node: NodeId,
) -> Result<Option<(LeaderEpoch, Offset)>, ErrorCode> {
    let topic = topic?;
    let current = (asked.current_leader_epoch != -1).then_some(LeaderEpoch(asked.current_leader_epoch));
    let partition = led_here(topic, asked.partition, node, current)?;
    if asked.leader_epoch == -1 {
        return Ok(None);
    }
    Ok(partition.end_of_epoch(LeaderEpoch(asked.leader_epoch)))
}
