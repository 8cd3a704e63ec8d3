//! ListOffsets (key 2): the offset for a timestamp, or for an end of the log.
//! Special timestamps came with versions: the maximum timestamp with v7, the local start with v8, tiered
//! storage with v9 and v11. v4 adds leader epochs, v10 a timeout, which is not needed here.

use std::collections::HashMap;

use crate::api::context::{Context, NoTopic, TopicRef, isolation};
use crate::api::error::ErrorCode;
use crate::api::leadership::led_here;
use crate::api::{Handler, Reply};
use crate::protocol::messages::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopicResponse,
};
use crate::security::operations::Operation;
use crate::storage::{FoundRecord, Isolation, Partition, Topic};
use crate::types::{LeaderEpoch, Offset, Timestamp};

impl Handler for ListOffsetsRequest {
    const GAPS: &'static [&'static str] = &[
        "An unknown isolation level is INVALID_REQUEST; Kafka says UNKNOWN_SERVER_ERROR.",
        "If DeleteRecords removed the record with the largest timestamp, the answer has none; Kafka still returns its offset, which is before the log start.",
    ];

    fn named(&self) -> usize {
        self.topics.iter().map(|topic| topic.partitions.len().max(1)).sum()
    }

    async fn handle(self, ctx: Context) -> Reply<ListOffsetsResponse> {
        let isolation = isolation(self.isolation_level);
        let view = ctx.topics();
        // As in Kafka, a partition that is named twice gets one result, which is an error.
        let mut times: HashMap<(&str, i32), usize> = HashMap::new();
        for topic in &self.topics {
            for partition in &topic.partitions {
                *times.entry((&topic.name, partition.partition_index)).or_default() += 1;
            }
        }
        // A topic also gets one result; a topic without partitions gets none.
        let mut places: HashMap<&str, usize> = HashMap::new();
        let mut topics: Vec<ListOffsetsTopicResponse> = Vec::with_capacity(self.topics.len());
        for topic in &self.topics {
            let found = view.topic(TopicRef::Name(&topic.name), Operation::Describe);
            for asked in &topic.partitions {
                let Some(times) = times.remove(&(topic.name.as_str(), asked.partition_index)) else {
                    continue;
                };
                let outcome = match (isolation, found) {
                    (_, Err(NoTopic::Forbidden(forbidden))) => Err(forbidden.into()),
                    (None, _) => Err(ErrorCode::InvalidRequest),
                    (Some(_), _) if times > 1 => Err(ErrorCode::InvalidRequest),
                    (Some(isolation), Ok(topic)) => look_up(topic, asked, isolation, &ctx).await,
                    (Some(_), Err(error)) => Err(error.into()),
                };
                let place = *places.entry(&topic.name).or_insert(topics.len());
                if place == topics.len() {
                    let partitions = Vec::with_capacity(topic.partitions.len());
                    topics.push(ListOffsetsTopicResponse { name: topic.name.clone(), partitions });
                }
                if let Some(topic) = topics.get_mut(place) {
                    topic.partitions.push(answer(asked.partition_index, outcome));
                }
            }
        }
        Reply::Now(ListOffsetsResponse { topics, ..ListOffsetsResponse::default() })
    }
}

/// The meaning of the timestamp field.
#[derive(Clone, Copy, Debug, PartialEq)]
enum OffsetQuery {
    Latest,
    Earliest,
    MaxTimestamp,
    /// Special timestamps for tiered storage, which does not exist here.
    Tiered,
    At(Timestamp),
}

impl OffsetQuery {
    fn of_request(timestamp: i64, version: i16) -> Result<OffsetQuery, ErrorCode> {
        let (wanted, since) = match timestamp {
            -1 => (OffsetQuery::Latest, 1),
            -2 => (OffsetQuery::Earliest, 1),
            -3 => (OffsetQuery::MaxTimestamp, 7),
            // The start of the local log, which is the whole log.
            -4 => (OffsetQuery::Earliest, 8),
            -5 => (OffsetQuery::Tiered, 9),
            -6 => (OffsetQuery::Tiered, 11),
            time if time >= 0 => (OffsetQuery::At(Timestamp(time)), 1),
            _ => return Err(ErrorCode::UnsupportedVersion),
        };
        if version < since { Err(ErrorCode::UnsupportedVersion) } else { Ok(wanted) }
    }
}

async fn look_up(
    topic: &Topic,
    asked: &ListOffsetsPartition,
    isolation: Isolation,
    ctx: &Context,
) -> Result<Option<FoundRecord>, ErrorCode> {
    topic.partition(asked.partition_index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let wanted = OffsetQuery::of_request(asked.timestamp, ctx.version)?;
    let current = (asked.current_leader_epoch != -1).then_some(LeaderEpoch(asked.current_leader_epoch));
    let partition = led_here(topic, asked.partition_index, ctx.node(), current)?;
    let ends = partition.ends();
    let an_end = |offset, leader_epoch| FoundRecord { offset, timestamp: Timestamp(-1), leader_epoch };
    match wanted {
        OffsetQuery::Latest => Ok(Some(an_end(isolation.end_of(ends), ends.leader_epoch))),
        OffsetQuery::Earliest => Ok(Some(an_end(ends.log_start, partition.epoch_of(ends.log_start)))),
        OffsetQuery::Tiered => Ok(None),
        OffsetQuery::MaxTimestamp | OffsetQuery::At(_) => search(partition, wanted, isolation).await,
    }
}

/// Searches the log. If the log start offset moves meanwhile, the result may be deleted already, or a
/// deleted segment may have had the record (rules O4, O5). In that case it searches again.
async fn search(
    partition: &Partition,
    wanted: OffsetQuery,
    isolation: Isolation,
) -> Result<Option<FoundRecord>, ErrorCode> {
    loop {
        let before = partition.ends();
        let found = match wanted {
            OffsetQuery::At(time) => partition.offset_for_time(time).await,
            _ => partition.max_timestamp().await,
        };
        let after = partition.ends();
        if after.log_start != before.log_start {
            continue;
        }
        let found = found.map_err(|error| ErrorCode::from(&error))?;
        return Ok(found.filter(|found| found.offset < isolation.end_of(after)));
    }
}

fn answer(
    partition_index: i32,
    outcome: Result<Option<FoundRecord>, ErrorCode>,
) -> ListOffsetsPartitionResponse {
    // Rule O2: Java clients throw on any other value for "none".
    let none = FoundRecord { offset: Offset(-1), timestamp: Timestamp(-1), leader_epoch: LeaderEpoch(-1) };
    let (error, found) = match outcome {
        Ok(found) => (ErrorCode::None, found.unwrap_or(none)),
        Err(error) => (error, none),
    };
    ListOffsetsPartitionResponse {
        partition_index,
        error_code: error.code(),
        timestamp: found.timestamp.0,
        offset: found.offset.0,
        leader_epoch: found.leader_epoch.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o10_special_times_are_those_of_the_version() {
        let wanted = OffsetQuery::of_request;
        assert_eq!(wanted(-1, 1), Ok(OffsetQuery::Latest));
        assert_eq!(wanted(-2, 1), Ok(OffsetQuery::Earliest));
        assert_eq!(
            (wanted(-3, 6), wanted(-3, 7)),
            (Err(ErrorCode::UnsupportedVersion), Ok(OffsetQuery::MaxTimestamp))
        );
        assert_eq!(
            (wanted(-4, 7), wanted(-4, 8)),
            (Err(ErrorCode::UnsupportedVersion), Ok(OffsetQuery::Earliest))
        );
        assert_eq!(
            (wanted(-5, 8), wanted(-5, 9)),
            (Err(ErrorCode::UnsupportedVersion), Ok(OffsetQuery::Tiered))
        );
        assert_eq!(
            (wanted(-6, 10), wanted(-6, 11)),
            (Err(ErrorCode::UnsupportedVersion), Ok(OffsetQuery::Tiered))
        );
        assert_eq!(wanted(-7, 11), Err(ErrorCode::UnsupportedVersion));
        assert_eq!(wanted(i64::MIN, 11), Err(ErrorCode::UnsupportedVersion));
        assert_eq!(wanted(0, 1), Ok(OffsetQuery::At(Timestamp(0))));
    }
}
