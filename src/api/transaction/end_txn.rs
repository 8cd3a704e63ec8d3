//! EndTxn (key 26): commits or aborts a transaction.
//! v2 knows PRODUCER_FENCED. From v5 on, each end begins a new epoch, which is in the answer (KIP-890).

use super::{check_level, end, fenced_since, producer};
use crate::api::context::Context;
use crate::api::error::ErrorCode;
use crate::api::{Handler, Reply};
use crate::kernel::{EndedBy, ProducerAt};
use crate::protocol::messages::{EndTxnRequest, EndTxnResponse};
use crate::security::operations::Operation;

/// The first version in which an end begins a new epoch.
const NEW_EPOCHS: i16 = 5;

impl Handler for EndTxnRequest {
    const GAPS: &'static [&'static str] = &[
        "A transaction ends at once, with all of its markers, so CONCURRENT_TRANSACTIONS does not follow it, and the states PrepareCommit and PrepareAbort do not exist.",
    ];

    async fn handle(self, ctx: Context) -> Reply<EndTxnResponse> {
        let version = ctx.version;
        let id = match ctx.transactional_id(&self.transactional_id, Operation::Write) {
            Ok(id) => id,
            Err(forbidden) => return Reply::Now(answer(Err(forbidden.into()))),
        };
        // As in Kafka, a request that changes nothing needs no level.
        let changes = !self.committed || id.is_open();
        if version >= NEW_EPOCHS
            && changes
            && let Err(error) = check_level(&ctx)
        {
            return Reply::Now(answer(Err(error)));
        }
        let by = if version >= NEW_EPOCHS { EndedBy::ClientWithNewEpoch } else { EndedBy::Client };
        let ending = id.end(producer(self.producer_id, self.producer_epoch), end(self.committed), by);
        Reply::later(async move {
            let ended = ending.await;
            answer(ended.map_err(|error| fenced_since(2, version, ErrorCode::from(&error))))
        })
    }
}

/// The producer for the next transaction is in the answer from v5 on.
fn answer(ended: Result<ProducerAt, ErrorCode>) -> EndTxnResponse {
    match ended {
        Ok(producer) => EndTxnResponse {
            producer_id: producer.id.0,
            producer_epoch: producer.epoch.0,
            ..EndTxnResponse::default()
        },
        Err(error) => EndTxnResponse { error_code: error.code(), ..EndTxnResponse::default() },
    }
}
