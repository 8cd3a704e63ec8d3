//! The APIs of transactions, one file per key: 24–28, 65, 66. The kernel has the rules. These files turn requests into
//! its commands, and its outcomes into responses.
//!
//! The end of a transaction is one command, so Kafka's states PrepareCommit and PrepareAbort do not exist, and no
//! request has to wait for the markers of an earlier one.

mod add_offsets_to_txn;
mod add_partitions_to_txn;
mod describe_transactions;
mod end_txn;
mod list_transactions;
mod txn_offset_commit;
mod write_txn_markers;

use std::collections::HashMap;

use super::context::Context;
use super::error::ErrorCode;
use super::features::TRANSACTION_VERSION;
use crate::coordinator::TransactionError;
use crate::kernel::ProducerAt;
use crate::types::{ProducerEpoch, ProducerId, TransactionEnd};

pub fn producer(id: i64, epoch: i16) -> ProducerAt {
    ProducerAt { id: ProducerId(id), epoch: ProducerEpoch(epoch) }
}

/// The end that a request asks for.
fn end(commits: bool) -> TransactionEnd {
    if commits { TransactionEnd::Commit } else { TransactionEnd::Abort }
}

/// Fails if `transaction.version` was lowered to 0. Requests of KIP-890 need at least 1.
pub fn check_level(ctx: &Context) -> Result<(), ErrorCode> {
    let level = ctx.feature_level(TRANSACTION_VERSION);
    if level > 0 { Ok(()) } else { Err(ErrorCode::UnsupportedVersion) }
}

fn code_of(outcome: Result<(), TransactionError>) -> ErrorCode {
    outcome.err().map_or(ErrorCode::None, |error| ErrorCode::from(&error))
}

/// The code for a client that knows PRODUCER_FENCED from version `since` of the API on.
pub fn fenced_since(since: i16, version: i16, code: ErrorCode) -> ErrorCode {
    if version < since { code.before_fencing() } else { code }
}

/// The errors of partitions, by topic in the order in which the topics were first named.
#[derive(Default)]
struct ByTopic {
    topics: Vec<(String, Vec<(i32, ErrorCode)>)>,
    places: HashMap<String, usize>,
}

impl ByTopic {
    /// The partitions of a topic.
    fn topic(&mut self, name: String) -> &mut Vec<(i32, ErrorCode)> {
        let place = *self.places.entry(name.clone()).or_insert(self.topics.len());
        if place == self.topics.len() {
            self.topics.push((name, Vec::new()));
        }
        let (_, partitions) = self.topics.get_mut(place).expect("a place is that of a topic");
        partitions
    }
}
