//! DeleteAcls (key 31): one result per filter, in the same order.

use super::{CLOSED, UNKNOWN, refusal_of_a_change};
use crate::api::context::Context;
use crate::api::{Handler, Reply};
use crate::protocol::messages::{
    DeleteAclsFilter, DeleteAclsFilterResult, DeleteAclsRequest, DeleteAclsResponse,
};

impl Handler for DeleteAclsRequest {
    fn named(&self) -> usize {
        self.filters.len()
    }

    async fn handle(self, ctx: Context) -> Reply<DeleteAclsResponse> {
        let says_unknown = |one: &DeleteAclsFilter| {
            [one.resource_type_filter, one.pattern_type_filter, one.operation, one.permission_type]
                .contains(&UNKNOWN)
        };
        if self.filters.iter().any(says_unknown) {
            return Reply::Close(CLOSED);
        }
        let refusal = refusal_of_a_change(&ctx);
        let filter_results = self.filters.iter().map(|_| DeleteAclsFilterResult {
            error_code: refusal.code.code(),
            error_message: refusal.message.clone(),
            ..DeleteAclsFilterResult::default()
        });
        Reply::Now(DeleteAclsResponse {
            filter_results: filter_results.collect(),
            ..DeleteAclsResponse::default()
        })
    }
}
