//! IncrementalAlterConfigs (key 44): sets, deletes, appends to and subtracts from settings (KIP-339).
//! v1 is the flexible encoding; nothing else differs.

use crate::api::configs::{self, Asked, Wish};
use crate::api::context::Context;
use crate::api::{Handler, Reply};
use crate::protocol::messages::incremental_alter_configs_request::IncrementalAlterConfigsRequest;
use crate::protocol::messages::incremental_alter_configs_response::{
    AlterConfigsResourceResponse, IncrementalAlterConfigsResponse,
};

impl Handler for IncrementalAlterConfigsRequest {
    const GAPS: &'static [&'static str] = &[
        "`listeners` and `listener.security.protocol.map` take effect at the start only: altering them is INVALID_REQUEST.",
        "What only plug-ins, tiered storage or several log directories could judge is accepted.",
        "An operation that nobody knows is INVALID_REQUEST; Kafka answers UNKNOWN_SERVER_ERROR for some resources.",
        "A resource keeps 1 MiB of settings, and all that are no topics 16 MiB: more is POLICY_VIOLATION.",
    ];

    fn named(&self) -> usize {
        self.resources.len() + self.resources.iter().map(|resource| resource.configs.len()).sum::<usize>()
    }

    async fn handle(self, ctx: Context) -> Reply<IncrementalAlterConfigsResponse> {
        let mut names = Vec::with_capacity(self.resources.len());
        let mut asked = Vec::with_capacity(self.resources.len());
        for resource in self.resources {
            let (kind, name) = (resource.resource_type, resource.resource_name);
            names.push((kind, name.clone()));
            let changes = resource.configs.into_iter();
            let changes = changes.map(|change| (change.name, change.config_operation, change.value));
            asked.push(Asked { kind, name, wish: Wish::Alter(changes.collect()) });
        }
        let outcomes = configs::alter(asked, self.validate_only, &ctx).await;
        let responses = names.into_iter().zip(outcomes).map(|((resource_type, resource_name), outcome)| {
            let refusal = outcome.err();
            AlterConfigsResourceResponse {
                error_code: refusal.as_ref().map_or(0, |refusal| refusal.code.code()),
                error_message: refusal.and_then(|refusal| refusal.message),
                resource_type,
                resource_name,
            }
        });
        Reply::Now(IncrementalAlterConfigsResponse {
            responses: responses.collect(),
            ..IncrementalAlterConfigsResponse::default()
        })
    }
}
