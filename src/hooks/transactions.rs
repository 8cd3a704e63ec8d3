//! Actions on transactional ids: a producer that is fenced, and a transaction that is aborted.

use super::{HookError, TestHooks, refused};
use crate::coordinator::{TimeLimit, TransactionError};
use crate::kernel::{EndedBy, Refusal, Transaction};
use crate::types::TransactionEnd;

impl TestHooks {
    /// Fences the producer of a transactional id, as another one that starts with the same id does (InitProducerId): its
    /// open transaction is aborted, and its epoch is too old from now on.
    pub async fn fence_producer(&self, transactional_id: &str) -> Result<(), HookError> {
        let known = self.transaction(transactional_id)?;
        let limit = if known.two_phase { TimeLimit::None } else { TimeLimit::Millis(known.timeout_ms) };
        loop {
            match self.coordinators.transactions.init(transactional_id, None, limit).await {
                // An open transaction is aborted first. A producer that starts asks again, too.
                Err(TransactionError::Aborted) => {}
                outcome => return outcome.map(drop).map_err(|error| refused((&error).into())),
            }
        }
    }

    /// Aborts the open transaction of a transactional id, as its timeout does. The producer learns of it with its next
    /// request, which is refused.
    pub async fn abort_transaction(&self, transactional_id: &str) -> Result<(), HookError> {
        let producer = self.transaction(transactional_id)?.producer;
        let (end, by) = (TransactionEnd::Abort, EndedBy::Timeout);
        match self.coordinators.transactions.end(transactional_id, producer, end, by).await {
            Ok(_) => Ok(()),
            Err(TransactionError::Refused(Refusal::ProducerFenced)) => {
                Err(HookError::Refused(format!("{transactional_id} has no open transaction")))
            }
            Err(error) => Err(refused((&error).into())),
        }
    }

    fn transaction(&self, id: &str) -> Result<Transaction, HookError> {
        let known = self.coordinators.transactions.get(id);
        known.ok_or_else(|| HookError::Refused(format!("there is no transactional id {id}")))
    }
}
