//! DescribeAcls (key 29): the access control lists that match a filter, grouped by their patterns.

use super::{CLOSED, IN_ANSWER, UNKNOWN};
use crate::api::context::Context;
use crate::api::error::{ErrorCode, Refusal};
use crate::api::{Handler, Reply, Size, Weight};
use crate::protocol::messages::{
    AclDescription, DescribeAclsRequest, DescribeAclsResource, DescribeAclsResponse,
};
use crate::security::acl::Filter;
use crate::security::operations::Operation;
use crate::types::AclBinding;
use crate::types::acl::{AclOperation, PatternType, Permission, ResourceType};

impl Handler for DescribeAclsRequest {
    fn weigh(&self, size: Size, ctx: &Context) -> Weight {
        let (bytes, count) = ctx.weigh_acls();
        Weight::asked(size.echoed()).and_held(3 * bytes + count * IN_ANSWER)
    }

    async fn handle(self, ctx: Context) -> Reply<DescribeAclsResponse> {
        let elements =
            [self.resource_type_filter, self.pattern_type_filter, self.operation, self.permission_type];
        if elements.contains(&UNKNOWN) {
            return Reply::Close(CLOSED);
        }
        Reply::Now(match describe(self, &ctx) {
            Ok(resources) => DescribeAclsResponse { resources, ..DescribeAclsResponse::default() },
            Err(refusal) => DescribeAclsResponse {
                error_code: refusal.code.code(),
                error_message: refusal.message,
                ..DescribeAclsResponse::default()
            },
        })
    }
}

fn describe(request: DescribeAclsRequest, ctx: &Context) -> Result<Vec<DescribeAclsResource>, Refusal> {
    let cluster = ctx.cluster_or_reason(Operation::Describe)?;
    if !ctx.has_authorizer() {
        return Err(Refusal::new(ErrorCode::SecurityDisabled, "No Authorizer is configured on the broker"));
    }
    let filter = Filter {
        resource_type: ResourceType(request.resource_type_filter),
        pattern_type: PatternType(request.pattern_type_filter),
        name: request.resource_name_filter,
        principal: request.principal_filter,
        host: request.host_filter,
        operation: AclOperation(request.operation),
        permission: Permission(request.permission_type),
    };
    let acls = cluster.acls();
    let mut resources: Vec<DescribeAclsResource> = Vec::new();
    for binding in filter.select(acls.all()) {
        match resources.last_mut().filter(|last| is_of(&binding, last)) {
            Some(last) => last.acls.push(description(&binding)),
            None => resources.push(DescribeAclsResource {
                resource_type: binding.resource_type.0,
                resource_name: binding.name.to_string(),
                pattern_type: binding.pattern_type.0,
                acls: vec![description(&binding)],
            }),
        }
    }
    Ok(resources)
}

fn is_of(binding: &AclBinding, resource: &DescribeAclsResource) -> bool {
    let pattern = (binding.resource_type.0, binding.pattern_type.0, &*binding.name);
    pattern == (resource.resource_type, resource.pattern_type, resource.resource_name.as_str())
}

fn description(binding: &AclBinding) -> AclDescription {
    AclDescription {
        principal: binding.principal.to_string(),
        host: binding.host.to_string(),
        operation: binding.operation.0,
        permission_type: binding.permission.0,
    }
}
