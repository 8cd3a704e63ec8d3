//! ListConfigResources (key 74): the resources that have settings. v0 only lists client metrics
//! subscriptions. v1 lists the requested types (KIP-1142), or all if there are none.

use crate::api::admin::configs::{ALL, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, TOPIC};
use crate::api::context::{Cluster, Context};
use crate::api::error::ErrorCode;
use crate::api::{Handler, Reply, Size, Weight, replicas};
use crate::kernel::Scope;
use crate::protocol::messages::{ConfigResource, ListConfigResourcesRequest, ListConfigResourcesResponse};
use crate::security::operations::Operation;
use crate::types::NodeId;

impl Handler for ListConfigResourcesRequest {
    fn named(&self) -> usize {
        self.resource_types.len()
    }

    fn weigh(&self, size: Size, ctx: &Context) -> Weight {
        let Ok(cluster) = ctx.cluster(Operation::DescribeConfigs) else {
            return Weight::asked(size.echoed());
        };
        let stored = cluster.settings();
        let names = stored.scopes().map(|scope| match scope {
            Scope::Group(name) | Scope::ClientMetrics(name) => name.len(),
            Scope::Broker(_) | Scope::DefaultBroker => 0,
        });
        let stored: usize = names.map(|name| 128 + 3 * name).sum();
        Weight::asked(size.echoed()).and_held(replicas::weigh_all(ctx) + stored)
    }

    async fn handle(self, ctx: Context) -> Reply<ListConfigResourcesResponse> {
        let cluster = match ctx.cluster(Operation::DescribeConfigs) {
            Ok(cluster) => cluster,
            Err(forbidden) => return Reply::Now(refuse(forbidden.into())),
        };
        let asked: Vec<i8> = match (ctx.version, self.resource_types.is_empty()) {
            (0, _) => vec![CLIENT_METRICS],
            (_, true) => ALL.to_vec(),
            (_, false) => self.resource_types,
        };
        if asked.iter().any(|kind| !ALL.contains(kind)) {
            return Reply::Now(refuse(ErrorCode::UnsupportedVersion));
        }
        let config_resources = ALL
            .iter()
            .filter(|kind| asked.contains(kind))
            .flat_map(|kind| named(*kind, &cluster, &ctx).into_iter().map(move |name| (*kind, name)))
            .map(|(resource_type, resource_name)| ConfigResource { resource_name, resource_type });
        Reply::Now(ListConfigResourcesResponse {
            config_resources: config_resources.collect(),
            ..ListConfigResourcesResponse::default()
        })
    }
}

fn refuse(error: ErrorCode) -> ListConfigResourcesResponse {
    ListConfigResourcesResponse { error_code: error.code(), ..ListConfigResourcesResponse::default() }
}

fn named(kind: i8, cluster: &Cluster<'_>, ctx: &Context) -> Vec<String> {
    match kind {
        TOPIC => {
            let topics = cluster.topics();
            topics.visible(Operation::DescribeConfigs).map(|topic| topic.name.to_string()).collect()
        }
        // As in Kafka, including brokers that are not running.
        BROKER | BROKER_LOGGER => ctx.services.cluster.brokers.iter().map(NodeId::to_string).collect(),
        _ => {
            let stored = cluster.settings();
            let names = stored.scopes().filter_map(|scope| match scope {
                Scope::Group(name) if kind == GROUP => Some(name.clone()),
                Scope::ClientMetrics(name) if kind == CLIENT_METRICS => Some(name.clone()),
                Scope::Group(_) | Scope::ClientMetrics(_) | Scope::Broker(_) | Scope::DefaultBroker => None,
            });
            names.collect()
        }
    }
}
