//! ListPartitionReassignments (key 46): the ongoing reassignments. A reassignment is complete when it is
//! answered (key 45), so there are none. As in Kafka it is no error to ask for unknown partitions.

use crate::api::context::Context;
use crate::api::error::ErrorCode;
use crate::api::operations::Operation;
use crate::api::{Handler, Reply};
use crate::protocol::messages::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};

impl Handler for ListPartitionReassignmentsRequest {
    async fn handle(self, ctx: Context) -> Reply<ListPartitionReassignmentsResponse> {
        if let Err(forbidden) = ctx.cluster(Operation::Describe) {
            let error_code = ErrorCode::from(forbidden).code();
            return Reply::Now(ListPartitionReassignmentsResponse {
                error_code,
                ..ListPartitionReassignmentsResponse::default()
            });
        }
        Reply::Now(ListPartitionReassignmentsResponse {
            // Kafka's message for success.
            error_message: None,
            ..ListPartitionReassignmentsResponse::default()
        })
    }
}
