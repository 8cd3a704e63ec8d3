//! DescribeAcls (key 29): the access control lists that match a filter. There are none.

use super::{CLOSED, UNKNOWN};
use crate::api::context::Context;
use crate::api::error::{ErrorCode, Refusal};
use crate::api::operations::Operation;
use crate::api::{Handler, Reply};
use crate::protocol::messages::{DescribeAclsRequest, DescribeAclsResponse};

impl Handler for DescribeAclsRequest {
    async fn handle(self, ctx: Context) -> Reply<DescribeAclsResponse> {
        let elements =
            [self.resource_type_filter, self.pattern_type_filter, self.operation, self.permission_type];
        if elements.contains(&UNKNOWN) {
            return Reply::Close(CLOSED);
        }
        let refusal = match ctx.cluster(Operation::Describe) {
            Ok(_) => Refusal::new(ErrorCode::SecurityDisabled, "No Authorizer is configured on the broker"),
            Err(forbidden) => forbidden.into(),
        };
        Reply::Now(DescribeAclsResponse {
            error_code: refusal.code.code(),
            error_message: refusal.message,
            ..DescribeAclsResponse::default()
        })
    }
}
