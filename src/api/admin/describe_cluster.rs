//! DescribeCluster (key 60): the brokers, the controller and the cluster id.
//! v1 has the type of endpoint, v2 tells whether a broker is fenced.

use crate::api::context::Context;
use crate::api::error::{ErrorCode, Refusal};
use crate::api::{Handler, Reply};
use crate::protocol::messages::{DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse};
use crate::security::operations::NOT_ASKED;

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

impl Handler for DescribeClusterRequest {
    async fn handle(self, ctx: Context) -> Reply<DescribeClusterResponse> {
        Reply::Now(match self.endpoint_type {
            BROKERS => describe(&self, &ctx),
            CONTROLLERS => refuse(Refusal::new(
                ErrorCode::MismatchedEndpointType,
                "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER",
            )),
            other => refuse(Refusal::new(
                ErrorCode::UnsupportedEndpointType,
                format!("Unsupported endpoint type {other}"),
            )),
        })
    }
}

fn describe(request: &DescribeClusterRequest, ctx: &Context) -> DescribeClusterResponse {
    let topics = ctx.topics();
    let brokers = ctx.services.cluster.brokers.iter().filter_map(|node| {
        let is_fenced = !topics.running().contains(node);
        let endpoint = ctx.endpoint(*node).filter(|_| !is_fenced || request.include_fenced_brokers)?;
        Some(DescribeClusterBroker {
            broker_id: node.0,
            host: endpoint.host,
            port: endpoint.port.into(),
            rack: ctx.services.settings().rack.clone(),
            is_fenced,
        })
    });
    DescribeClusterResponse {
        endpoint_type: BROKERS,
        cluster_id: ctx.services.cluster.cluster_id.to_string(),
        controller_id: ctx.controller(&topics).0,
        brokers: brokers.collect(),
        cluster_authorized_operations: if request.include_cluster_authorized_operations {
            ctx.allowed_on_the_cluster()
        } else {
            NOT_ASKED
        },
        ..DescribeClusterResponse::default()
    }
}

fn refuse(refusal: Refusal) -> DescribeClusterResponse {
    DescribeClusterResponse {
        error_code: refusal.code.code(),
        error_message: refusal.message,
        endpoint_type: BROKERS,
        controller_id: -1,
        cluster_authorized_operations: NOT_ASKED,
        ..DescribeClusterResponse::default()
    }
}
