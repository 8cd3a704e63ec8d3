//! OffsetDelete (key 47): removes offsets of topics that no member reads.

use std::sync::Arc;

use super::code;
use crate::api::context::{Context, NoTopic, TopicRef, TopicView};
use crate::api::error::ErrorCode;
use crate::api::{Handler, Reply};
use crate::coordinator::group::OffsetToDelete;
use crate::protocol::messages::{
    OffsetDeleteRequest, OffsetDeleteRequestTopic, OffsetDeleteResponse, OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
};
use crate::security::operations::Operation;
use crate::storage::Topic;
use crate::types::TopicPartition;

impl Handler for OffsetDeleteRequest {
    fn named(&self) -> usize {
        self.topics.iter().map(|topic| 1 + topic.partitions.len()).sum()
    }

    async fn handle(self, ctx: Context) -> Reply<OffsetDeleteResponse> {
        let group = match ctx.group(&self.group_id, Operation::Delete) {
            Ok(group) => group,
            Err(error) => return Reply::Now(refuse(error.into())),
        };
        let view = ctx.topics();
        let mut offsets = Vec::new();
        // As in Kafka, an existing topic without partitions is not in the response.
        let is_returned = |topic: &OffsetDeleteRequestTopic| {
            !topic.partitions.is_empty() || find(&topic.name, &view).is_err()
        };
        let named = self.topics.into_iter().filter(is_returned);
        let mut topics: Vec<OffsetDeleteResponseTopic> =
            named.map(|topic| look_up(topic, &view, &mut offsets)).collect();
        let deleting = group.delete_offsets(offsets);
        Reply::later(async move {
            let outcomes = match deleting.await {
                Ok(outcomes) => outcomes,
                Err(error) => return refuse(error.into()),
            };
            let asked = topics.iter_mut().flat_map(|topic| &mut topic.partitions);
            let passed_on = asked.filter(|partition| partition.error_code == ErrorCode::None.code());
            for (partition, outcome) in passed_on.zip(outcomes) {
                partition.error_code = code(outcome);
            }
            OffsetDeleteResponse { topics, ..OffsetDeleteResponse::default() }
        })
    }
}

fn refuse(error: ErrorCode) -> OffsetDeleteResponse {
    OffsetDeleteResponse { error_code: error.code(), ..OffsetDeleteResponse::default() }
}

fn find<'a>(name: &str, view: &'a TopicView) -> Result<&'a Arc<Topic>, NoTopic> {
    view.topic(TopicRef::Name(name), Operation::Read)
}

/// Adds existing partitions to `offsets`, in the order of the results that have no error yet.
fn look_up(
    asked: OffsetDeleteRequestTopic,
    view: &TopicView,
    offsets: &mut Vec<OffsetToDelete>,
) -> OffsetDeleteResponseTopic {
    let topic = find(&asked.name, view);
    let partitions = asked.partitions.into_iter().map(|partition| {
        let index = partition.partition_index;
        let error = match topic {
            Err(error) => error.into(),
            Ok(topic) if topic.partition(index).is_none() => ErrorCode::UnknownTopicOrPartition,
            Ok(topic) => {
                let partition = TopicPartition::new(topic.id, index);
                offsets.push(OffsetToDelete { partition, topic: topic.name.clone() });
                ErrorCode::None
            }
        };
        OffsetDeleteResponsePartition { partition_index: index, error_code: error.code() }
    });
    let partitions = partitions.collect();
    OffsetDeleteResponseTopic { name: asked.name, partitions }
}
