//! DescribeAcls (key 29): the access control lists that match a filter. There are none.

use super::{CLOSED, UNKNOWN};
use crate::api::context::Context;
use crate::api::error::ErrorCode;
use crate::api::{Handler, Reply};
use crate::protocol::messages::describe_acls_request::DescribeAclsRequest;
use crate::protocol::messages::describe_acls_response::DescribeAclsResponse;

impl Handler for DescribeAclsRequest {
    async fn handle(self, _: Context) -> Reply<DescribeAclsResponse> {
        let elements =
            [self.resource_type_filter, self.pattern_type_filter, self.operation, self.permission_type];
        if elements.contains(&UNKNOWN) {
            return Reply::Close(CLOSED);
        }
        Reply::Now(DescribeAclsResponse {
            error_code: ErrorCode::SecurityDisabled.code(),
            error_message: Some("No Authorizer is configured on the broker".to_owned()),
            ..DescribeAclsResponse::default()
        })
    }
}
