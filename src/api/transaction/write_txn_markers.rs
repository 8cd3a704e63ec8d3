//! WriteTxnMarkers (key 27): ends a transaction in single partitions, for an operator who aborts one that hangs.
//! v2 has the transaction version of the coordinator: from 2 on, the marker of an open transaction must have a new
//! epoch.

use std::collections::BTreeMap;
use std::future::ready;

use super::{ByTopic, code_of, end, producer};
use crate::api::context::{Cluster, Context, TopicRef};
use crate::api::error::ErrorCode;
use crate::api::leadership::led_here;
use crate::api::{Handler, Later, Reply, Size, Weight, internal_topics};
use crate::kernel::WriteMarker;
use crate::protocol::messages::{
    WritableTxnMarker, WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopic,
    WritableTxnMarkerTopicResult, WriteTxnMarkersRequest, WriteTxnMarkersResponse,
};
use crate::security::operations::Operation;
use crate::security::principal::Forbidden;

/// The first transaction version in which each end begins a new epoch.
const NEW_EPOCHS: i8 = 2;
/// The memory of a marker on its way to the log: its command, and the wait for it.
const WRITING: usize = 640;

impl Handler for WriteTxnMarkersRequest {
    const GAPS: &'static [&'static str] = &[
        "A producer id below 0 is INVALID_PRODUCER_ID_MAPPING, and an epoch below 0 INVALID_PRODUCER_EPOCH; Kafka says UNKNOWN_SERVER_ERROR.",
        "A marker for a partition of `__consumer_offsets` is UNKNOWN_TOPIC_OR_PARTITION: offsets of groups are not stored there.",
        "A marker with a high coordinator epoch does not hinder the end of the transaction; in Kafka the markers of its coordinator are refused after that, and the transaction stays in PrepareCommit or PrepareAbort.",
    ];

    fn named(&self) -> usize {
        let topics = self.markers.iter().flat_map(|marker| &marker.topics);
        topics.map(|topic| topic.partition_indexes.len().max(1)).sum()
    }

    fn weigh(&self, size: Size, _: &Context) -> Weight {
        Weight::asked(size.echoed() + self.named() * WRITING)
    }

    async fn handle(self, ctx: Context) -> Reply<WriteTxnMarkersResponse> {
        let allowed = ctx.cluster_with_either(Operation::Alter, Operation::ClusterAction);
        // As in Kafka, a client without the right is held back like any other.
        if let (Ok(_), Some(metered)) = (&allowed, &ctx.metered) {
            metered.exempt();
        }
        let mut begun = Vec::new();
        for marker in self.markers {
            let topics = marker.topics.iter().filter(|topic| !topic.partition_indexes.is_empty());
            for topic in topics {
                let writing = write(&marker, topic, &allowed, &ctx);
                begun.push((marker.producer_id, topic.name.clone(), writing));
            }
        }
        Reply::later(async move {
            // As in Kafka, each producer has one result, and none if nothing was asked for it.
            let mut markers: BTreeMap<i64, ByTopic> = BTreeMap::new();
            for (producer, topic, writing) in begun {
                let results = markers.entry(producer).or_default().topic(topic);
                for (index, writing) in writing {
                    results.push((index, writing.await));
                }
            }
            WriteTxnMarkersResponse { markers: markers.into_iter().map(result).collect() }
        })
    }
}

/// Writes a marker into partitions of a topic.
fn write(
    marker: &WritableTxnMarker,
    asked: &WritableTxnMarkerTopic,
    allowed: &Result<Cluster<'_>, Forbidden>,
    ctx: &Context,
) -> Vec<(i32, Later<ErrorCode>)> {
    let found = allowed.as_ref().map_err(|forbidden| ErrorCode::from(*forbidden)).and_then(|cluster| {
        if internal_topics::is_internal(&asked.name) {
            return Err(ErrorCode::UnknownTopicOrPartition);
        }
        let topic = cluster.topics().topic(TopicRef::Name(&asked.name), Operation::Describe).cloned()?;
        Ok((cluster, topic))
    });
    // Kafka answers UNKNOWN_SERVER_ERROR to both.
    let found = match (marker.producer_id, marker.producer_epoch) {
        (..0, _) => Err(ErrorCode::InvalidProducerIdMapping),
        (_, ..0) => Err(ErrorCode::InvalidProducerEpoch),
        _ => found,
    };
    let write = |index: i32| -> Later<ErrorCode> {
        let led = found.as_ref().map_err(|error| *error).and_then(|(cluster, topic)| {
            let partition = led_here(topic, index, ctx.node(), None)?;
            Ok(cluster.write_marker(WriteMarker {
                partition: partition.key(),
                producer: producer(marker.producer_id, marker.producer_epoch),
                end: end(marker.transaction_result),
                coordinator_epoch: marker.coordinator_epoch,
                new_epoch_only: marker.transaction_version >= NEW_EPOCHS,
                roll: false,
            }))
        });
        match led {
            Ok(writing) => Box::pin(async move { code_of(writing.await) }),
            Err(error) => Box::pin(ready(error)),
        }
    };
    asked.partition_indexes.iter().map(|index| (*index, write(*index))).collect()
}

fn result((producer_id, results): (i64, ByTopic)) -> WritableTxnMarkerResult {
    let topics = results.topics.into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|(partition_index, code)| {
            WritableTxnMarkerPartitionResult { partition_index, error_code: code.code() }
        });
        WritableTxnMarkerTopicResult { name, partitions: partitions.collect() }
    });
    WritableTxnMarkerResult { producer_id, topics: topics.collect() }
}
