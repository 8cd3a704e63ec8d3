//! CreateAcls (key 30): one result per list in the request, in the same order.

use super::{CLOSED, UNKNOWN, refusal_of_a_change};
use crate::api::context::Context;
use crate::api::{Handler, Reply};
use crate::protocol::messages::{AclCreation, AclCreationResult, CreateAclsRequest, CreateAclsResponse};

impl Handler for CreateAclsRequest {
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
        let refusal = refusal_of_a_change(&ctx);
        let results = self.creations.iter().map(|_| AclCreationResult {
            error_code: refusal.code.code(),
            error_message: refusal.message.clone(),
        });
        Reply::Now(CreateAclsResponse { results: results.collect(), ..CreateAclsResponse::default() })
    }
}
