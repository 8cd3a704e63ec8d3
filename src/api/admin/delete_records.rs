//! DeleteRecords (key 21): moves the log start offset of partitions forward; −1 means to the high
//! watermark. The new offset is durable before the answer, and never decreases (rule O4).
//!
//! The request's timeout is ignored: there are no followers to wait for, only the disk. Kafka's leader,
//! too, moves its own log start offset before it checks the timeout.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::api::context::{Context, NoTopic, TopicRef};
use crate::api::error::{ErrorCode, Refusal};
use crate::api::leadership::led_here;
use crate::api::queued::{self, queue};
use crate::api::{Handler, Reply, internal_topics};
use crate::protocol::messages::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopicResult,
};
use crate::security::operations::Operation;
use crate::storage::{Partition, Topic};
use crate::types::{NodeId, Offset};

const HIGH_WATERMARK: i64 = -1;

impl Handler for DeleteRecordsRequest {
    fn named(&self) -> usize {
        self.topics.iter().map(|topic| 1 + topic.partitions.len()).sum()
    }

    async fn handle(self, ctx: Context) -> Reply<DeleteRecordsResponse> {
        let view = ctx.topics();
        // As in Kafka, a partition that is named twice gets one result, and the last offset counts.
        let mut asked: BTreeMap<String, BTreeMap<i32, i64>> = BTreeMap::new();
        for topic in self.topics {
            let offsets = topic.partitions.iter().map(|one| (one.partition_index, one.offset));
            asked.entry(topic.name).or_default().extend(offsets);
        }
        // All are queued before the first wait, so that they share a sync.
        let moving: Vec<_> = asked
            .into_iter()
            .map(|(name, offsets)| {
                let topic = view.topic(TopicRef::Name(&name), Operation::Delete);
                let partitions = offsets.into_iter().map(|(index, offset)| {
                    let target = target(topic.map(|topic| &**topic), index, offset, ctx.node());
                    let moving = target.map_err(Refusal::from);
                    (
                        index,
                        moving.and_then(|(partition, offset)| queue(ctx.delete_before(partition, offset))),
                    )
                });
                let partitions: Vec<_> = partitions.collect();
                (name, partitions)
            })
            .collect();
        let mut answer = DeleteRecordsResponse::default();
        for (name, partitions) in moving.into_iter().filter(|(_, partitions)| !partitions.is_empty()) {
            let moved = queued::outcomes(partitions).await;
            let partitions = moved.into_iter().map(|(index, moved)| result(index, moved)).collect();
            answer.topics.push(DeleteRecordsTopicResult { name, partitions });
        }
        Reply::Now(answer)
    }
}

/// The partition, and its new log start offset.
fn target(
    topic: Result<&Topic, NoTopic>,
    index: i32,
    offset: i64,
    node: NodeId,
) -> Result<(&Arc<Partition>, Offset), ErrorCode> {
    let topic = topic?;
    topic.partition(index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if internal_topics::is_internal(&topic.name) {
        return Err(ErrorCode::InvalidTopicException);
    }
    let partition = led_here(topic, index, node, None)?;
    // A topic that is only compacted removes records only by their keys.
    let cleanup = partition.settings().cleanup;
    if cleanup.compact && !cleanup.delete {
        return Err(ErrorCode::PolicyViolation);
    }
    match offset {
        HIGH_WATERMARK => Ok((partition, partition.ends().high_watermark)),
        0.. => Ok((partition, Offset(offset))),
        _ => Err(ErrorCode::OffsetOutOfRange),
    }
}

fn result(partition_index: i32, outcome: Result<Offset, Refusal>) -> DeleteRecordsPartitionResult {
    let (low_watermark, error) = match outcome {
        Ok(log_start) => (log_start.0, ErrorCode::None),
        Err(refusal) => (-1, refusal.code),
    };
    DeleteRecordsPartitionResult { partition_index, low_watermark, error_code: error.code() }
}
