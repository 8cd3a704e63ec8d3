//! DescribeTopicPartitions (key 75): topics and their partitions in pages. Topics are ordered by name. If
//! the limit is reached, the cursor is the start of the next page.

use std::collections::BTreeSet;

use crate::api::context::{Context, NoTopic, TopicRef, TopicView};
use crate::api::error::ErrorCode;
use crate::api::replicas::PartitionState;
use crate::api::{Handler, Reply, Size, Weight, internal_topics, replicas};
use crate::protocol::messages::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
    describe_topic_partitions_response::Cursor,
};
use crate::security::operations::{NOT_ASKED, ON_TOPICS, Operation};
use crate::security::principal::Resource;
use crate::storage::{Partition, Topic};
use crate::types::{TopicId, topic_name};

/// The maximum number of partitions in one response: Kafka's `max.request.partition.size.limit`.
const MOST_PARTITIONS: u16 = 2_000;

impl Handler for DescribeTopicPartitionsRequest {
    fn named(&self) -> usize {
        self.topics.len()
    }

    fn weigh(&self, size: Size, ctx: &Context) -> Weight {
        // Each of the partitions may be the only one of its topic.
        let (_, partitions) = ctx.topics().counted();
        let partitions = partitions.min(MOST_PARTITIONS.into());
        Weight::asked(size.echoed()).and_held(replicas::weigh((0..partitions).map(|_| 1), ctx))
    }

    async fn handle(self, ctx: Context) -> Reply<DescribeTopicPartitionsResponse> {
        let filled = Page::of(&self).map(|page| page.fill(&ctx));
        Reply::Now(filled.unwrap_or_else(|error| refuse(self, error)))
    }
}

/// The part of all topics that goes into this response.
struct Page<'a> {
    /// The topics; `None` for all.
    names: Option<BTreeSet<&'a str>>,
    first_topic: &'a str,
    /// The index of the first partition in the first topic.
    first_partition: usize,
    limit: usize,
}

impl<'a> Page<'a> {
    fn of(request: &'a DescribeTopicPartitionsRequest) -> Result<Page<'a>, ErrorCode> {
        let (first_topic, first_partition) = match &request.cursor {
            None => ("", 0),
            Some(cursor) => (cursor.topic_name.as_str(), cursor.partition_index),
        };
        let names: BTreeSet<&str> = request.topics.iter().map(|topic| topic.name.as_str()).collect();
        // Kafka fails on an empty name, unless the cursor has it.
        if request.cursor.is_none() && names.contains("") {
            return Err(ErrorCode::UnknownServerError);
        }
        let names = Some(names).filter(|names| !names.is_empty());
        let is_elsewhere = names.as_ref().is_some_and(|names| !names.contains(first_topic));
        if request.cursor.is_some() && is_elsewhere {
            return Err(ErrorCode::InvalidRequest);
        }
        Ok(Page {
            names,
            first_topic,
            first_partition: usize::try_from(first_partition).map_err(|_| ErrorCode::InvalidRequest)?,
            limit: usize::try_from(request.response_partition_limit.clamp(1, MOST_PARTITIONS.into()))
                .unwrap_or(1),
        })
    }

    fn fill(&self, ctx: &Context) -> DescribeTopicPartitionsResponse {
        let topics = ctx.topics();
        let mut answer = DescribeTopicPartitionsResponse::default();
        let mut room = self.limit;
        let all = topics.visible(Operation::Describe).map(|topic| &*topic.name);
        let names: Box<dyn Iterator<Item = &str>> = match &self.names {
            None => Box::new(all),
            Some(names) => Box::new(names.iter().copied()),
        };
        for name in names.skip_while(|name| *name < self.first_topic) {
            if room == 0 {
                answer.next_cursor = cursor(name, 0);
                break;
            }
            let topic = match topics.topic(TopicRef::Name(name), Operation::Describe) {
                Ok(topic) => topic,
                Err(error) => {
                    answer.topics.push(missing(name, error, ctx));
                    continue;
                }
            };
            let from = if name == self.first_topic { self.first_partition } else { 0 };
            let partitions: Vec<_> = topic
                .partitions
                .iter()
                .skip(from)
                .take(room)
                .map(|one| partition(topic, one, &topics))
                .collect();
            let next = from + partitions.len();
            room -= partitions.len();
            answer.topics.push(described(topic, partitions, ctx));
            if next < topic.partitions.len() {
                answer.next_cursor = cursor(name, next);
                break;
            }
        }
        answer
    }
}

fn cursor(name: &str, partition: usize) -> Option<Cursor> {
    let partition_index = i32::try_from(partition).unwrap_or(i32::MAX);
    Some(Cursor { topic_name: name.to_owned(), partition_index })
}

fn described(
    topic: &Topic,
    partitions: Vec<DescribeTopicPartitionsResponsePartition>,
    ctx: &Context,
) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::None.code(),
        name: Some(topic.name.to_string()),
        topic_id: topic.id,
        is_internal: internal_topics::is_internal(&topic.name),
        partitions,
        topic_authorized_operations: ctx.allowed(ON_TOPICS, Resource::Topic(&topic.name)),
    }
}

fn partition(
    topic: &Topic,
    partition: &Partition,
    topics: &TopicView,
) -> DescribeTopicPartitionsResponsePartition {
    let standing = PartitionState::of(topic, partition, topics);
    let (elr, last_leader) = replicas::eligible(topic, partition);
    DescribeTopicPartitionsResponsePartition {
        // As in Kafka, even without a leader.
        error_code: ErrorCode::None.code(),
        partition_index: partition.index,
        leader_id: standing.leader,
        leader_epoch: standing.leader_epoch,
        replica_nodes: standing.replicas,
        isr_nodes: standing.isr,
        // Null is allowed, but Java admin clients throw on it (rule M9).
        eligible_leader_replicas: Some(elr),
        last_known_elr: Some(last_leader),
        offline_replicas: standing.offline,
    }
}

fn missing(name: &str, error: NoTopic, ctx: &Context) -> DescribeTopicPartitionsResponseTopic {
    let is_forbidden = matches!(error, NoTopic::Forbidden(_));
    let error = match error {
        NoTopic::UnknownName if !topic_name::is_legal(name) => ErrorCode::InvalidTopicException,
        error => error.into(),
    };
    DescribeTopicPartitionsResponseTopic {
        error_code: error.code(),
        name: Some(name.to_owned()),
        topic_id: TopicId::ZERO,
        is_internal: internal_topics::is_internal(name),
        partitions: Vec::new(),
        // Kafka returns the operations whether the topic exists or not, but only to a client that may know.
        topic_authorized_operations: if is_forbidden {
            NOT_ASKED
        } else {
            ctx.allowed(ON_TOPICS, Resource::Topic(name))
        },
    }
}

/// Kafka's answer to an invalid request: the error on each topic in it.
fn refuse(request: DescribeTopicPartitionsRequest, error: ErrorCode) -> DescribeTopicPartitionsResponse {
    let topics = request.topics.into_iter().map(|topic| DescribeTopicPartitionsResponseTopic {
        error_code: error.code(),
        name: Some(topic.name),
        topic_authorized_operations: NOT_ASKED,
        ..DescribeTopicPartitionsResponseTopic::default()
    });
    DescribeTopicPartitionsResponse { topics: topics.collect(), ..DescribeTopicPartitionsResponse::default() }
}
