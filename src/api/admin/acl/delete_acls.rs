//! DeleteAcls (key 31): one result per filter, in the same order, with the lists that it matched.

use std::collections::BTreeSet;

use super::{CLOSED, IN_ANSWER, UNKNOWN, changeable};
use crate::api::context::Context;
use crate::api::error::{ErrorCode, Refusal};
use crate::api::{Handler, Reply};
use crate::kernel::weigh_acl;
use crate::protocol::messages::{
    DeleteAclsFilter, DeleteAclsFilterResult, DeleteAclsMatchingAcl, DeleteAclsRequest, DeleteAclsResponse,
};
use crate::security::acl::Filter;
use crate::types::AclBinding;
use crate::types::acl::{AclOperation, PatternType, Permission, ResourceType};

impl Handler for DeleteAclsRequest {
    const GAPS: &'static [&'static str] = &[
        "An answer is limited to 7/8 of `jackdaw.answer.max.bytes`; filters whose lists do not fit are INVALID_REQUEST and delete nothing.",
    ];

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
        let count = self.filters.len();
        let filter_results = match delete(self.filters, &ctx).await {
            Ok(results) => results,
            Err(refusal) => vec![result(&refusal); count],
        };
        Reply::Now(DeleteAclsResponse { filter_results, ..DeleteAclsResponse::default() })
    }
}

/// Deletes the lists that any filter matches, all together.
async fn delete(
    filters: Vec<DeleteAclsFilter>,
    ctx: &Context,
) -> Result<Vec<DeleteAclsFilterResult>, Refusal> {
    let cluster = changeable(ctx)?;
    let stored = cluster.acls();
    let (mut bytes, left) = (0, ctx.room.left());
    let mut selected: Vec<Result<Vec<AclBinding>, Refusal>> = Vec::with_capacity(filters.len());
    for filter in filters.into_iter().map(filter_of) {
        let filter = match check(&filter) {
            Ok(()) => filter,
            Err(refusal) => {
                selected.push(Err(refusal));
                continue;
            }
        };
        let matching: Vec<AclBinding> = filter.select(stored.all()).collect();
        let more: usize = matching.iter().map(|binding| 3 * weigh_acl(binding) + IN_ANSWER).sum();
        let fits = bytes + more <= left;
        bytes += if fits { more } else { 0 };
        selected.push(if fits { Ok(matching) } else { Err(too_large()) });
        // Each filter may look at all lists, and other clients wait.
        tokio::task::yield_now().await;
    }
    ctx.room.hold(bytes).await;
    let all: BTreeSet<&AclBinding> = selected.iter().flatten().flatten().collect();
    if !all.is_empty() {
        let removed = cluster.remove_acls(all.into_iter().cloned().collect());
        removed.await.map_err(|error| Refusal::from(&error))?;
    }
    let results = selected.iter().map(|matching| match matching {
        Ok(matching) => DeleteAclsFilterResult {
            error_message: None,
            matching_acls: matching.iter().map(matching_acl).collect(),
            ..DeleteAclsFilterResult::default()
        },
        Err(refusal) => result(refusal),
    });
    Ok(results.collect())
}

fn filter_of(filter: DeleteAclsFilter) -> Filter {
    Filter {
        resource_type: ResourceType(filter.resource_type_filter),
        pattern_type: PatternType(filter.pattern_type_filter),
        name: filter.resource_name_filter,
        principal: filter.principal_filter,
        host: filter.host_filter,
        operation: AclOperation(filter.operation),
        permission: Permission(filter.permission_type),
    }
}

fn check(filter: &Filter) -> Result<(), Refusal> {
    let is_known_pattern = ResourceType::NAMED.contains(&filter.resource_type)
        && PatternType::NAMED.contains(&filter.pattern_type);
    let is_known_entry =
        AclOperation::NAMED.contains(&filter.operation) && Permission::NAMED.contains(&filter.permission);
    match (is_known_pattern, is_known_entry) {
        (true, true) => Ok(()),
        (false, _) => Err(Refusal::new(ErrorCode::InvalidRequest, "Unknown patternFilter.")),
        (true, false) => Err(Refusal::new(ErrorCode::InvalidRequest, "Unknown entryFilter.")),
    }
}

fn too_large() -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, "the lists that this filter matches do not fit into the answer")
}

fn matching_acl(binding: &AclBinding) -> DeleteAclsMatchingAcl {
    DeleteAclsMatchingAcl {
        error_code: 0,
        error_message: None,
        resource_type: binding.resource_type.0,
        resource_name: binding.name.to_string(),
        pattern_type: binding.pattern_type.0,
        principal: binding.principal.to_string(),
        host: binding.host.to_string(),
        operation: binding.operation.0,
        permission_type: binding.permission.0,
    }
}

fn result(refusal: &Refusal) -> DeleteAclsFilterResult {
    DeleteAclsFilterResult {
        error_code: refusal.code.code(),
        error_message: refusal.message.clone(),
        ..DeleteAclsFilterResult::default()
    }
}
