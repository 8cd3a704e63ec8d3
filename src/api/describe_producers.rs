//! DescribeProducers (key 61): the idempotent and transactional producers that partitions remember, idle ones included
//! (rule X15). As in Kafka, every replica answers, also one that does not lead.

use std::sync::Arc;

use crate::api::context::{Context, NoTopic, TopicRef, TopicView};
use crate::api::error::{ErrorCode, Refusal};
use crate::api::replicas::holds;
use crate::api::{Handler, Reply, Size, Weight};
use crate::kernel::ProducerFacts;
use crate::protocol::messages::{
    DescribeProducersRequest, DescribeProducersResponse, ProducerState,
    describe_producers_request::TopicRequest,
    describe_producers_response::{PartitionResponse, TopicResponse},
};
use crate::security::operations::Operation;
use crate::storage::{Partition, Topic};
use crate::types::{NodeId, Offset, ProducerId, topic_name};

impl Handler for DescribeProducersRequest {
    const GAPS: &'static [&'static str] =
        &["Producers that were forgotten because `jackdaw.producers.max.bytes` was used up are not listed."];

    fn named(&self) -> usize {
        self.topics.iter().map(|topic| topic.partition_indexes.len().max(1)).sum()
    }

    fn weigh(&self, size: Size, ctx: &Context) -> Weight {
        let view = ctx.topics();
        let parts = self.topics.iter().flat_map(|asked| {
            let topic = view.topic(TopicRef::Name(&asked.name), Operation::Read).ok();
            topic
                .into_iter()
                .flat_map(|topic| asked.partition_indexes.iter().map(move |index| weigh(topic, *index, ctx)))
        });
        Weight::asked(size.echoed()).and_parts(parts)
    }

    async fn handle(self, ctx: Context) -> Reply<DescribeProducersResponse> {
        let view = ctx.topics();
        let topics = self.topics.into_iter().map(|asked| describe(asked, &ctx, &view)).collect();
        Reply::Now(DescribeProducersResponse { topics, ..DescribeProducersResponse::default() })
    }
}

/// The memory of the producers of a partition: collected, in the answer and encoded.
fn weigh(topic: &Topic, index: i32, ctx: &Context) -> usize {
    let producers = topic.partition(index).map_or(0, |partition| ctx.count_producers(partition));
    producers * 3 * size_of::<ProducerState>()
}

fn describe(asked: TopicRequest, ctx: &Context, view: &TopicView) -> TopicResponse {
    let TopicRequest { name, partition_indexes } = asked;
    let found = find(&name, view);
    let answer = |partition_index: i32| match &found {
        Ok(topic) => partition(topic, partition_index, ctx),
        Err(Refusal { code, message }) => PartitionResponse {
            partition_index,
            error_code: code.code(),
            error_message: message.clone(),
            ..PartitionResponse::default()
        },
    };
    let partitions = partition_indexes.into_iter().map(answer).collect();
    TopicResponse { name, partitions }
}

fn find<'a>(name: &str, view: &'a TopicView) -> Result<&'a Arc<Topic>, Refusal> {
    topic_name::check(name)?;
    view.topic(TopicRef::Name(name), Operation::Read).map_err(|error| match error {
        NoTopic::Forbidden(forbidden) => forbidden.into(),
        NoTopic::UnknownName | NoTopic::UnknownId => {
            Refusal::new(error.into(), "This server does not host this topic-partition.")
        }
    })
}

fn partition(topic: &Topic, partition_index: i32, ctx: &Context) -> PartitionResponse {
    match held_here(topic, partition_index, ctx.node()) {
        Ok(partition) => PartitionResponse {
            partition_index,
            error_code: ErrorCode::None.code(),
            active_producers: ctx.producers(partition).into_iter().map(state).collect(),
            ..PartitionResponse::default()
        },
        Err(error) => PartitionResponse { partition_index, error_code: error.code(), ..Default::default() },
    }
}

fn held_here(topic: &Topic, index: i32, node: NodeId) -> Result<&Arc<Partition>, ErrorCode> {
    let partition = topic.partition(index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if holds(topic, index, node) { Ok(partition) } else { Err(ErrorCode::NotLeaderOrFollower) }
}

fn state((id, facts): (ProducerId, ProducerFacts)) -> ProducerState {
    ProducerState {
        producer_id: id.0,
        producer_epoch: facts.epoch.0.into(),
        last_sequence: facts.last_sequence,
        last_timestamp: facts.last_write.0,
        coordinator_epoch: facts.coordinator_epoch,
        current_txn_start_offset: facts.transaction.unwrap_or(Offset(-1)).0,
    }
}
