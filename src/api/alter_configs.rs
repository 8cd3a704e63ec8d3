//! AlterConfigs (key 33): replaces all settings of a resource; what is not named goes back to its
//! default. Kafka's own tools left it for IncrementalAlterConfigs, others did not.
//! v2 is the flexible encoding; nothing else differs.

use crate::api::configs::{self, Asked, Wish};
use crate::api::context::Context;
use crate::api::{Handler, Reply};
use crate::protocol::messages::alter_configs_request::AlterConfigsRequest;
use crate::protocol::messages::alter_configs_response::{AlterConfigsResourceResponse, AlterConfigsResponse};

impl Handler for AlterConfigsRequest {
    fn named(&self) -> usize {
        self.resources.len() + self.resources.iter().map(|resource| resource.configs.len()).sum::<usize>()
    }

    async fn handle(self, ctx: Context) -> Reply<AlterConfigsResponse> {
        let mut names = Vec::with_capacity(self.resources.len());
        let mut asked = Vec::with_capacity(self.resources.len());
        for resource in self.resources {
            let (kind, name) = (resource.resource_type, resource.resource_name);
            names.push((kind, name.clone()));
            let all = resource.configs.into_iter().map(|setting| (setting.name, setting.value));
            asked.push(Asked { kind, name, wish: Wish::Replace(all.collect()) });
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
        Reply::Now(AlterConfigsResponse { responses: responses.collect(), ..AlterConfigsResponse::default() })
    }
}
