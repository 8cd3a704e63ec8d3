//! IncrementalAlterConfigs (key 44): sets, deletes, appends to and subtracts from settings (KIP-339).
//! v1 is the flexible encoding; nothing else differs.

use crate::api::admin::configs::{self, AlterRequest, Wish};
use crate::api::context::Context;
use crate::api::{Handler, Reply};
use crate::protocol::messages::{
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
    incremental_alter_configs_response::AlterConfigsResourceResponse,
};

impl Handler for IncrementalAlterConfigsRequest {
    const GAPS: &'static [&'static str] = &[
        "With `--brokers N`, the defaults of topics and groups are altered for all brokers or for the first one; in Kafka each leader uses its own.",
        "`listeners` and `listener.security.protocol.map` take effect at the start only: altering them is INVALID_REQUEST.",
        "Settings with which no super user could log in any more are not stored: POLICY_VIOLATION.",
        "Limits that would keep out every client are INVALID_REQUEST: `max.connections.per.ip=0` if all overrides are 0 too, `connections.max.reauth.ms` from 1 to 999, and `sasl.server.max.receive.size` below 4096.",
        "Values that only plug-ins, tiered storage or several log directories could check are accepted.",
        "An unknown operation is INVALID_REQUEST; Kafka answers UNKNOWN_SERVER_ERROR for some resources.",
        "Loggers are the parts of this broker. The names of Kafka's best-known loggers are aliases of the part that does the same work; other classes of Kafka do not exist.",
        "A resource keeps 1 MiB of settings, and all that are no topics 16 MiB: more is POLICY_VIOLATION.",
    ];

    fn named(&self) -> usize {
        self.resources.len() + self.resources.iter().map(|resource| resource.configs.len()).sum::<usize>()
    }

    async fn handle(self, ctx: Context) -> Reply<IncrementalAlterConfigsResponse> {
        let asked = self.resources.into_iter().map(|resource| {
            let changes = resource.configs.into_iter();
            let changes = changes.map(|change| (change.name, change.config_operation, change.value));
            let wish = Wish::Alter(changes.collect());
            AlterRequest { kind: resource.resource_type, name: resource.resource_name, wish }
        });
        let outcomes = configs::alter(asked.collect(), self.validate_only, &ctx).await;
        let responses = outcomes.into_iter().map(|outcome| AlterConfigsResourceResponse {
            error_code: outcome.error_code,
            error_message: outcome.error_message,
            resource_type: outcome.kind,
            resource_name: outcome.name,
        });
        Reply::Now(IncrementalAlterConfigsResponse {
            responses: responses.collect(),
            ..IncrementalAlterConfigsResponse::default()
        })
    }
}
