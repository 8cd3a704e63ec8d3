//! ListPartitionReassignments (key 46): which reassignments are under way. A reassignment is done
//! when it is answered (key 45), so there is never one to list, and as in Kafka it is no error to
//! ask for what does not exist.

use crate::api::context::Context;
use crate::api::{Handler, Reply};
use crate::protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsRequest;
use crate::protocol::messages::list_partition_reassignments_response::ListPartitionReassignmentsResponse;

impl Handler for ListPartitionReassignmentsRequest {
    async fn handle(self, _: Context) -> Reply<ListPartitionReassignmentsResponse> {
        Reply::Now(ListPartitionReassignmentsResponse {
            // Kafka's word where nothing went wrong.
            error_message: None,
            ..ListPartitionReassignmentsResponse::default()
        })
    }
}
