//! AddOffsetsToTxn (key 25): adds a group to a transaction, so that offsets of it can be committed with it. The group
//! need not exist. v2 knows PRODUCER_FENCED.

use super::{code_of, fenced_since, producer};
use crate::api::context::Context;
use crate::api::error::ErrorCode;
use crate::api::{Handler, Reply};
use crate::coordinator::TransactionError;
use crate::protocol::messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};
use crate::security::operations::Operation;
use crate::security::principal::Forbidden;

impl Handler for AddOffsetsToTxnRequest {
    async fn handle(self, ctx: Context) -> Reply<AddOffsetsToTxnResponse> {
        let version = ctx.version;
        let adding = match add(self, &ctx) {
            Ok(adding) => adding,
            Err(forbidden) => return Reply::Now(answer(forbidden.into())),
        };
        Reply::later(async move { answer(fenced_since(2, version, code_of(adding.await))) })
    }
}

fn add(
    request: AddOffsetsToTxnRequest,
    ctx: &Context,
) -> Result<impl Future<Output = Result<(), TransactionError>> + Send + use<>, Forbidden> {
    let id = ctx.transactional_id(&request.transactional_id, Operation::Write)?;
    ctx.may_use_group(&request.group_id, Operation::Read)?;
    let producer = producer(request.producer_id, request.producer_epoch);
    Ok(id.join(producer, Vec::new(), vec![request.group_id.clone()]))
}

fn answer(code: ErrorCode) -> AddOffsetsToTxnResponse {
    AddOffsetsToTxnResponse { error_code: code.code(), ..AddOffsetsToTxnResponse::default() }
}
