//! OffsetDelete (key 47): removes offsets of topics that no member reads.

use super::{code, coordinates, later};
use crate::api::context::Context;
use crate::api::error::ErrorCode;
use crate::api::{Handler, Reply};
use crate::coordinator::classic::OffsetToDelete;
use crate::protocol::messages::offset_delete_request::{OffsetDeleteRequest, OffsetDeleteRequestTopic};
use crate::protocol::messages::offset_delete_response::{
    OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use crate::storage::Topics;

impl Handler for OffsetDeleteRequest {
    fn named(&self) -> usize {
        self.topics.iter().map(|topic| 1 + topic.partitions.len()).sum()
    }

    async fn handle(self, ctx: Context) -> Reply<OffsetDeleteResponse> {
        let refuse =
            |error| OffsetDeleteResponse { error_code: code(Err(error)), ..OffsetDeleteResponse::default() };
        if let Err(error) = coordinates(&ctx, &self.group_id) {
            return Reply::Now(refuse(error));
        }
        let image = ctx.services.store.topics();
        let mut offsets = Vec::new();
        // As in Kafka, an existing topic without partitions is not in the response.
        let is_told = |topic: &OffsetDeleteRequestTopic| {
            !topic.partitions.is_empty() || image.by_name(&topic.name).is_none()
        };
        let named = self.topics.into_iter().filter(is_told);
        let mut topics: Vec<OffsetDeleteResponseTopic> =
            named.map(|topic| look_up(topic, &image, &mut offsets)).collect();
        let deleting = ctx.services.groups.delete_offsets(&self.group_id, offsets);
        later(async move {
            let outcomes = match deleting.await {
                Ok(outcomes) => outcomes,
                Err(error) => return refuse(error),
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

/// Adds existing partitions to `offsets`, in the order of the results that have no error yet.
fn look_up(
    asked: OffsetDeleteRequestTopic,
    image: &Topics,
    offsets: &mut Vec<OffsetToDelete>,
) -> OffsetDeleteResponseTopic {
    let topic = image.by_name(&asked.name);
    let partitions = asked.partitions.into_iter().map(|partition| {
        let index = partition.partition_index;
        let error = match topic.filter(|topic| topic.partition(index).is_some()) {
            None => ErrorCode::UnknownTopicOrPartition,
            Some(topic) => {
                offsets.push(OffsetToDelete { partition: (topic.id, index), topic: topic.name.clone() });
                ErrorCode::None
            }
        };
        OffsetDeleteResponsePartition { partition_index: index, error_code: error.code() }
    });
    let partitions = partitions.collect();
    OffsetDeleteResponseTopic { name: asked.name, partitions }
}
