//! InitProducerId (key 22): a producer id for an idempotent producer.
//! v3 adds the producer's previous id, which only matters with transactions.

use crate::api::context::Context;
use crate::api::error::ErrorCode;
use crate::api::operations::Operation;
use crate::api::{Handler, Reply, transactions};
use crate::protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};
use crate::types::{ProducerEpoch, ProducerId};

impl Handler for InitProducerIdRequest {
    const GAPS: &'static [&'static str] = &[transactions::GAP];

    async fn handle(self, ctx: Context) -> Reply<InitProducerIdResponse> {
        let given = init(&self, &ctx).await;
        let (error, id, epoch) = match given {
            Ok((id, epoch)) => (ErrorCode::None, id, epoch),
            Err(error) => (error, ProducerId(-1), ProducerEpoch(-1)),
        };
        Reply::Now(InitProducerIdResponse {
            error_code: error.code(),
            producer_id: id.0,
            producer_epoch: epoch.0,
            ..InitProducerIdResponse::default()
        })
    }
}

async fn init(
    request: &InitProducerIdRequest,
    ctx: &Context,
) -> Result<(ProducerId, ProducerEpoch), ErrorCode> {
    match request.transactional_id.as_deref() {
        // An empty id is probably a mistake of the client, so it must not become a producer without
        // transactions.
        Some("") => Err(ErrorCode::InvalidRequest),
        Some(id) => {
            ctx.transactional_id(id, Operation::Write)?;
            Err(transactions::refuse(id, ctx).code)
        }
        None if (request.producer_id == -1) != (request.producer_epoch == -1) => {
            Err(ErrorCode::InvalidRequest)
        }
        // As in Kafka a new id, whatever the producer had before.
        None => ctx.new_producer()?.await.map_err(|error| ErrorCode::from(&error)),
    }
}
