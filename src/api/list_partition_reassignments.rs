//! ListPartitionReassignments (key 46): the ongoing reassignments. A reassignment is complete when it is
//! answered (key 45), so there are none. As in Kafka it is no error to ask for unknown partitions.

use crate::api::context::Context;
use crate::api::{Handler, Reply};
use crate::protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsRequest;
use crate::protocol::messages::list_partition_reassignments_response::ListPartitionReassignmentsResponse;

impl Handler for ListPartitionReassignmentsRequest {
    async fn handle(self, _: Context) -> Reply<ListPartitionReassignmentsResponse> {
        Reply::Now(ListPartitionReassignmentsResponse {
            // Kafka's message for success.
            error_message: None,
            ..ListPartitionReassignmentsResponse::default()
        })
    }
}
