//! DescribeTransactions (key 65): the state of transactional ids, and the partitions of their open transactions. A
//! group that is part of a transaction is shown as its partition of `__consumer_offsets`.

use std::collections::BTreeMap;

use crate::api::context::{Context, TopicRef, TopicView};
use crate::api::error::ErrorCode;
use crate::api::internal_topics::CONSUMER_OFFSETS;
use crate::api::{Handler, Reply, Size, Weight};
use crate::kernel::Transaction;
use crate::protocol::messages::{
    DescribeTransactionsRequest, DescribeTransactionsResponse,
    describe_transactions_response::{TopicData, TransactionState},
};
use crate::security::operations::Operation;
use crate::security::principal::Resource;
use crate::types::Timestamp;

impl Handler for DescribeTransactionsRequest {
    fn named(&self) -> usize {
        self.transactional_ids.len()
    }

    fn weigh(&self, size: Size, ctx: &Context) -> Weight {
        Weight::asked(size.echoed()).and_parts(self.transactional_ids.iter().map(|id| weigh(id, ctx)))
    }

    async fn handle(self, ctx: Context) -> Reply<DescribeTransactionsResponse> {
        let view = ctx.topics();
        let described = self.transactional_ids.into_iter().map(|id| match find(&id, &ctx) {
            Ok(transaction) => describe(id, &transaction, &ctx, &view),
            Err(error) => {
                TransactionState { error_code: error.code(), transactional_id: id, ..Default::default() }
            }
        });
        Reply::Now(DescribeTransactionsResponse {
            transaction_states: described.collect(),
            ..DescribeTransactionsResponse::default()
        })
    }
}

fn find(id: &str, ctx: &Context) -> Result<Transaction, ErrorCode> {
    let found = ctx.transactional_id(id, Operation::Describe)?;
    found.describe().map_err(|error| ErrorCode::from(&error))
}

/// The memory of a description and of its encoded form.
fn weigh(id: &str, ctx: &Context) -> usize {
    /// An entry with the longest name of a topic. Often several partitions share one.
    const PARTITION: usize = 2 * 320;
    let open = find(id, ctx).ok().and_then(|found| {
        let open = found.ongoing()?;
        Some(open.partitions.size() + open.groups.size())
    });
    open.unwrap_or(0) * PARTITION
}

fn describe(id: String, transaction: &Transaction, ctx: &Context, view: &TopicView) -> TransactionState {
    TransactionState {
        error_code: ErrorCode::None.code(),
        transactional_id: id,
        transaction_state: transaction.state_name().to_owned(),
        transaction_timeout_ms: transaction.timeout_ms,
        transaction_start_time_ms: transaction.started.unwrap_or(Timestamp(-1)).0,
        producer_id: transaction.producer.id.0,
        producer_epoch: transaction.producer.epoch.0,
        topics: topics(transaction, ctx, view),
    }
}

/// The partitions of the open transaction, as far as the client may describe their topics.
fn topics(transaction: &Transaction, ctx: &Context, view: &TopicView) -> Vec<TopicData> {
    let Some(open) = transaction.ongoing() else { return Vec::new() };
    let view = &view.quietly();
    let mut topics: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    for partition in open.partitions.keys() {
        // The topic may be deleted meanwhile.
        if let Ok(topic) = view.topic(TopicRef::Id(partition.topic), Operation::Describe) {
            topics.entry(topic.name.to_string()).or_default().push(partition.partition);
        }
    }
    let offsets = Resource::Topic(CONSUMER_OFFSETS.name);
    if open.groups.size() > 0 && ctx.allowed(&[Operation::Describe], offsets) != 0 {
        let count = offsets_partitions(ctx, view);
        let mut partitions: Vec<i32> = open.groups.keys().map(|group| java_hash(group) % count).collect();
        partitions.sort_unstable();
        partitions.dedup();
        topics.insert(CONSUMER_OFFSETS.name.to_owned(), partitions);
    }
    topics.into_iter().map(|(topic, partitions)| TopicData { topic, partitions }).collect()
}

fn offsets_partitions(ctx: &Context, view: &TopicView) -> i32 {
    let topic = view.topic(TopicRef::Name(CONSUMER_OFFSETS.name), Operation::Describe);
    let there = topic.ok().and_then(|topic| i32::try_from(topic.partitions.len()).ok());
    there.unwrap_or_else(|| ctx.services.settings().offsets_topic_partitions).max(1)
}

/// The absolute value of Java's hash of a string, from which Kafka takes the partition of a group.
fn java_hash(text: &str) -> i32 {
    let hash = text.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(unit.into()));
    hash.checked_abs().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_of_a_group_is_kafkas() {
        assert_eq!(java_hash("group"), 98_629_247);
        assert_eq!(java_hash("my-group"), 1_906_497_762);
        assert_eq!(java_hash("polygenelubricants"), 0, "its hash has no absolute value");
        assert_eq!(java_hash(""), 0);
    }
}
