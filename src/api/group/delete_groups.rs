//! DeleteGroups (key 42): removes groups without members, with their offsets. A group that is named twice
//! gets one result. v3 has a field for a message, which Kafka leaves empty.

use std::collections::HashSet;

use super::code;
use crate::api::context::Context;
use crate::api::{Handler, Reply};
use crate::protocol::messages::{DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse};
use crate::security::operations::Operation;

impl Handler for DeleteGroupsRequest {
    fn named(&self) -> usize {
        self.groups_names.len()
    }

    async fn handle(self, ctx: Context) -> Reply<DeleteGroupsResponse> {
        let mut seen = HashSet::new();
        let mut deleting = Vec::new();
        for group in self.groups_names {
            if seen.insert(group.clone()) {
                let deleted = ctx.group(&group, Operation::Delete).map(|group| group.delete());
                deleting.push((deleted, group));
            }
        }
        Reply::later(async move {
            let mut results = Vec::with_capacity(deleting.len());
            for (deleted, group_id) in deleting {
                let error_code = match deleted {
                    Ok(deleted) => code(deleted.await),
                    Err(error) => code(Err(error)),
                };
                results.push(DeletableGroupResult { group_id, error_code, error_message: None });
            }
            DeleteGroupsResponse { results, ..DeleteGroupsResponse::default() }
        })
    }
}
