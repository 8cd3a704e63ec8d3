//! InitProducerId (key 22): a producer id for an idempotent or transactional producer.
//! v3 adds the producer's previous id, so that a producer can go on after an error. v4 knows PRODUCER_FENCED.
//! v6 is for two-phase commit (KIP-939). Kafka 4.4 has it among its unstable versions.

use crate::api::context::Context;
use crate::api::error::ErrorCode;
use crate::api::internal_topics::{self, TRANSACTION_STATE};
use crate::api::transaction::{fenced_since, producer};
use crate::api::{Handler, Reply};
use crate::coordinator::TimeLimit;
use crate::kernel::ProducerAt;
use crate::protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};
use crate::security::operations::Operation;

/// The value of a client without a producer id, and of one without an epoch.
const NONE: (i64, i16) = (-1, -1);

impl Handler for InitProducerIdRequest {
    const GAPS: &'static [&'static str] = &[
        "The first transactional id is served at once; Kafka says NOT_COORDINATOR until FindCoordinator has created `__transaction_state`.",
        "Version 6 is advertised if `transaction.two.phase.commit.enable` is set; Kafka wants `unstable.api.versions.enable` for it. As in Kafka, keepPreparedTxn is UNSUPPORTED_VERSION.",
        "When three quarters of `jackdaw.transactions.max.bytes` are used up, new transactional ids are COORDINATOR_NOT_AVAILABLE; when all of it is, also the partitions and groups that transactions add; a batch of Produce 12 or later that adds its partition is NOT_ENOUGH_REPLICAS.",
    ];

    async fn handle(self, ctx: Context) -> Reply<InitProducerIdResponse> {
        let (error, producer) = match init(&self, &ctx).await {
            Ok(producer) => (ErrorCode::None, producer),
            Err(error) => {
                let (id, epoch) = NONE;
                (error, producer(id, epoch))
            }
        };
        Reply::Now(InitProducerIdResponse {
            error_code: fenced_since(4, ctx.version, error).code(),
            producer_id: producer.id.0,
            producer_epoch: producer.epoch.0,
            ..InitProducerIdResponse::default()
        })
    }
}

async fn init(request: &InitProducerIdRequest, ctx: &Context) -> Result<ProducerAt, ErrorCode> {
    let Some(id) = request.transactional_id.as_deref() else {
        known(request)?;
        // As in Kafka a new id, whatever the producer had before.
        let (id, epoch) = ctx.new_producer()?.await.map_err(|error| ErrorCode::from(&error))?;
        return Ok(ProducerAt { id, epoch });
    };
    let transactional_id = ctx.transactional_id(id, Operation::Write)?;
    if request.keep_prepared_txn {
        return Err(ErrorCode::UnsupportedVersion);
    }
    let limit = if request.enable2_pc {
        ctx.transactional_id(id, Operation::TwoPhaseCommit)?;
        TimeLimit::None
    } else {
        TimeLimit::Millis(request.transaction_timeout_ms)
    };
    let started = transactional_id.init(known(request)?, limit).await;
    let producer = started.map_err(|error| ErrorCode::from(&error))?;
    internal_topics::ensure(&TRANSACTION_STATE, ctx).await?;
    Ok(producer)
}

/// The producer that the client knows from before. An id without an epoch is an error, and so is the reverse.
fn known(request: &InitProducerIdRequest) -> Result<Option<ProducerAt>, ErrorCode> {
    let (id, epoch) = (request.producer_id, request.producer_epoch);
    match (id == NONE.0, epoch == NONE.1) {
        (true, true) => Ok(None),
        (false, false) => Ok(Some(producer(id, epoch))),
        (true, false) | (false, true) => Err(ErrorCode::InvalidRequest),
    }
}
