//! AlterConfigs (key 33): replaces all settings of a resource; settings that are not in the request get
//! their defaults. Kafka's own tools now use IncrementalAlterConfigs, but other clients still send this.
//! v2 is the flexible encoding; nothing else differs.

use crate::api::admin::configs::{self, AlterRequest, Wish};
use crate::api::context::Context;
use crate::api::{Handler, Reply};
use crate::protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, alter_configs_response::AlterConfigsResourceResponse,
};

impl Handler for AlterConfigsRequest {
    const GAPS: &'static [&'static str] = &[
        "A resource named twice is INVALID_REQUEST; Kafka does not answer at all.",
        "Settings with which no super user could log in any more are not stored: POLICY_VIOLATION.",
        "Limits that would keep out every client are INVALID_REQUEST: `max.connections.per.ip=0` if all overrides are 0 too, `connections.max.reauth.ms` from 1 to 999, and `sasl.server.max.receive.size` below 4096.",
    ];

    fn named(&self) -> usize {
        self.resources.len() + self.resources.iter().map(|resource| resource.configs.len()).sum::<usize>()
    }

    async fn handle(self, ctx: Context) -> Reply<AlterConfigsResponse> {
        let asked = self.resources.into_iter().map(|resource| {
            let all = resource.configs.into_iter().map(|setting| (setting.name, setting.value));
            let wish = Wish::Replace(all.collect());
            AlterRequest { kind: resource.resource_type, name: resource.resource_name, wish }
        });
        let outcomes = configs::alter(asked.collect(), self.validate_only, &ctx).await;
        let responses = outcomes.into_iter().map(|outcome| AlterConfigsResourceResponse {
            error_code: outcome.error_code,
            error_message: outcome.error_message,
            resource_type: outcome.kind,
            resource_name: outcome.name,
        });
        Reply::Now(AlterConfigsResponse { responses: responses.collect(), ..AlterConfigsResponse::default() })
    }
}
