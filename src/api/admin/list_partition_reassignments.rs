//! ListPartitionReassignments (key 46): the ongoing reassignments. A reassignment is complete when it is
//! answered (key 45), so there are none. As in Kafka it is no error to ask for unknown partitions.

use crate::api::context::Context;
use crate::api::error::Refusal;
use crate::api::{Handler, Reply};
use crate::protocol::messages::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, ListPartitionReassignmentsTopics,
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use crate::security::operations::Operation;

impl Handler for ListPartitionReassignmentsRequest {
    fn named(&self) -> usize {
        self.topics.iter().flatten().map(|topic| topic.partition_indexes.len().max(1)).sum()
    }

    async fn handle(self, ctx: Context) -> Reply<ListPartitionReassignmentsResponse> {
        if let Err(refusal) = ctx.cluster_or_reason(Operation::Describe) {
            return Reply::Now(refuse(self, refusal));
        }
        Reply::Now(ListPartitionReassignmentsResponse {
            // Kafka's message for success.
            error_message: None,
            ..ListPartitionReassignmentsResponse::default()
        })
    }
}

/// As in Kafka, the topics of the request are in the answer, as if they were being reassigned.
fn refuse(
    request: ListPartitionReassignmentsRequest,
    refusal: Refusal,
) -> ListPartitionReassignmentsResponse {
    let topics = request.topics.unwrap_or_default().into_iter().map(|topic| {
        let ListPartitionReassignmentsTopics { name, partition_indexes } = topic;
        let partitions = partition_indexes.into_iter().map(|partition_index| OngoingPartitionReassignment {
            partition_index,
            ..OngoingPartitionReassignment::default()
        });
        OngoingTopicReassignment { name, partitions: partitions.collect() }
    });
    ListPartitionReassignmentsResponse {
        error_code: refusal.code.code(),
        error_message: refusal.message,
        topics: topics.collect(),
        ..ListPartitionReassignmentsResponse::default()
    }
}
