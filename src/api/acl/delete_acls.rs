//! DeleteAcls (key 31): one result per filter, in the same order.

use super::{CLOSED, UNKNOWN};
use crate::api::context::Context;
use crate::api::error::ErrorCode;
use crate::api::{Handler, Reply};
use crate::protocol::messages::delete_acls_request::{DeleteAclsFilter, DeleteAclsRequest};
use crate::protocol::messages::delete_acls_response::{DeleteAclsFilterResult, DeleteAclsResponse};

impl Handler for DeleteAclsRequest {
    fn named(&self) -> usize {
        self.filters.len()
    }

    async fn handle(self, _: Context) -> Reply<DeleteAclsResponse> {
        let says_unknown = |one: &DeleteAclsFilter| {
            [one.resource_type_filter, one.pattern_type_filter, one.operation, one.permission_type]
                .contains(&UNKNOWN)
        };
        if self.filters.iter().any(says_unknown) {
            return Reply::Close(CLOSED);
        }
        let filter_results = self.filters.iter().map(|_| DeleteAclsFilterResult {
            error_code: ErrorCode::SecurityDisabled.code(),
            error_message: Some("No Authorizer is configured.".to_owned()),
            ..DeleteAclsFilterResult::default()
        });
        Reply::Now(DeleteAclsResponse {
            filter_results: filter_results.collect(),
            ..DeleteAclsResponse::default()
        })
    }
}
