//! UnregisterBroker (key 64): removes a broker that is gone for good. All brokers run in this process, so
//! there is none to remove.

use crate::api::context::Context;
use crate::api::error::{ErrorCode, Refusal};
use crate::api::{Handler, Reply};
use crate::protocol::messages::{UnregisterBrokerRequest, UnregisterBrokerResponse};
use crate::security::operations::Operation;
use crate::types::NodeId;

impl Handler for UnregisterBrokerRequest {
    const GAPS: &'static [&'static str] =
        &["A broker of this process is INVALID_REQUEST; Kafka unregisters even the one that is asked."];

    async fn handle(self, ctx: Context) -> Reply<UnregisterBrokerResponse> {
        let refusal = refusal(self.broker_id, &ctx);
        Reply::Now(UnregisterBrokerResponse {
            error_code: refusal.code.code(),
            error_message: refusal.message,
            ..UnregisterBrokerResponse::default()
        })
    }
}

fn refusal(id: i32, ctx: &Context) -> Refusal {
    if let Err(refusal) = ctx.cluster_or_reason(Operation::Alter) {
        return refusal;
    }
    if ctx.services.cluster.brokers.contains(&NodeId(id)) {
        let why = format!("Broker ID {id} is served by this process: stop it instead");
        return Refusal::new(ErrorCode::InvalidRequest, why);
    }
    Refusal::new(ErrorCode::BrokerIdNotRegistered, format!("Broker ID {id} is not currently registered"))
}
