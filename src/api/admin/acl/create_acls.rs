//! CreateAcls (key 30): one result per list in the request, in the same order. The valid ones are stored together.

use super::{CLOSED, UNKNOWN, changeable};
use crate::api::context::{Cluster, Context};
use crate::api::error::{ErrorCode, Refusal};
use crate::api::{Handler, Reply};
use crate::kernel::weigh_acl;
use crate::protocol::messages::{AclCreation, AclCreationResult, CreateAclsRequest, CreateAclsResponse};
use crate::security::acl::CLUSTER_NAME;
use crate::types::AclBinding;
use crate::types::acl::{AclOperation, PatternType, Permission, ResourceType, host};

impl Handler for CreateAclsRequest {
    const GAPS: &'static [&'static str] =
        &["The memory for access control lists is limited: those that do not fit are POLICY_VIOLATION."];

    fn named(&self) -> usize {
        self.creations.len()
    }

    async fn handle(self, ctx: Context) -> Reply<CreateAclsResponse> {
        let says_unknown = |one: &AclCreation| {
            [one.resource_type, one.resource_pattern_type, one.operation, one.permission_type]
                .contains(&UNKNOWN)
        };
        if self.creations.iter().any(says_unknown) {
            return Reply::Close(CLOSED);
        }
        let count = self.creations.len();
        let results = match create(self.creations, &ctx).await {
            Ok(results) => results,
            Err(refusal) => vec![result(&refusal); count],
        };
        Reply::Now(CreateAclsResponse { results, ..CreateAclsResponse::default() })
    }
}

/// Stores the valid lists. Fails if the client may store none.
async fn create(creations: Vec<AclCreation>, ctx: &Context) -> Result<Vec<AclCreationResult>, Refusal> {
    let cluster = changeable(ctx)?;
    let checked: Vec<_> = creations.into_iter().map(check).collect();
    let valid: Vec<AclBinding> = checked.iter().flatten().cloned().collect();
    let stored = store(valid, &cluster, ctx).await;
    let results = checked.iter().map(|one| match one.as_ref().and(stored.as_ref()) {
        Ok(()) => AclCreationResult::default(),
        Err(refusal) => result(refusal),
    });
    Ok(results.collect())
}

async fn store(bindings: Vec<AclBinding>, cluster: &Cluster<'_>, ctx: &Context) -> Result<(), Refusal> {
    if bindings.is_empty() {
        return Ok(());
    }
    let (known, new) = (cluster.acls().bytes(), bindings.iter().map(weigh_acl).sum::<usize>());
    if known + new > ctx.services.settings().acl_memory() {
        let why = "this broker has no memory for more access control lists; delete some, or raise jackdaw.memory.max.bytes";
        return Err(Refusal::new(ErrorCode::PolicyViolation, why));
    }
    let added = cluster.add_acls(bindings);
    added.await.map_err(|error| Refusal::from(&error))
}

/// The checks of Kafka, in its order.
fn check(creation: AclCreation) -> Result<AclBinding, Refusal> {
    let binding = AclBinding {
        resource_type: ResourceType(creation.resource_type),
        pattern_type: PatternType(creation.resource_pattern_type),
        name: creation.resource_name.into(),
        principal: creation.principal.into(),
        host: creation.host.into(),
        operation: AclOperation(creation.operation),
        permission: Permission(creation.permission_type),
    };
    let AclBinding { resource_type, pattern_type, name, principal, host, operation, permission } = &binding;
    let refuse = |why: String| Err(Refusal::new(ErrorCode::InvalidRequest, why));
    if *resource_type == ResourceType::CLUSTER && &**name != CLUSTER_NAME {
        return refuse(format!("The only valid name for the CLUSTER resource is {CLUSTER_NAME}"));
    }
    if name.is_empty() {
        return refuse("Invalid empty resource name".to_owned());
    }
    if *resource_type == ResourceType::ANY || !ResourceType::NAMED.contains(resource_type) {
        return refuse(format!("Invalid resourceType {}", resource_type.name()));
    }
    if ![PatternType::LITERAL, PatternType::PREFIXED].contains(pattern_type) {
        return refuse(format!("Invalid patternType {}", pattern_type.name()));
    }
    if *operation == AclOperation::ANY || !AclOperation::NAMED.contains(operation) {
        return refuse(format!("Invalid operation {}", operation.name()));
    }
    if ![Permission::DENY, Permission::ALLOW].contains(permission) {
        return refuse(format!("Invalid permissionType {}", permission.name()));
    }
    if !principal.contains(':') {
        return refuse(format!(
            "Could not parse principal from `{principal}` (no colon is present separating the principal type from the principal name)"
        ));
    }
    match host::check(host) {
        Ok(()) => Ok(binding),
        Err(why) => refuse(why),
    }
}

fn result(refusal: &Refusal) -> AclCreationResult {
    AclCreationResult { error_code: refusal.code.code(), error_message: refusal.message.clone() }
}
