//! AddPartitionsToTxn (key 24): adds partitions to a transaction. All of them are added, or none.
//! v2 knows PRODUCER_FENCED. Versions from 4 on are for brokers: they have several transactions, may only ask whether
//! the partitions were added, and need the right to act for the cluster instead of rights to ids and topics.

use std::future::ready;
use std::sync::Arc;

use super::{ByTopic, code_of, fenced_since, producer};
use crate::api::context::{Context, TopicRef, TransactionalId};
use crate::api::error::ErrorCode;
use crate::api::{Handler, Later, Reply, internal_topics};
use crate::protocol::messages::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult, AddPartitionsToTxnTransaction,
    add_partitions_to_txn_request::AddPartitionsToTxnTopic,
};
use crate::security::operations::Operation;
use crate::storage::Topic;
use crate::types::TopicPartition;

/// The first version for brokers.
const OF_BROKERS: i16 = 4;

impl Handler for AddPartitionsToTxnRequest {
    const GAPS: &'static [&'static str] = &[
        "A request of version 4 or later without transactions gets an empty answer; Kafka does not answer it.",
    ];

    fn named(&self) -> usize {
        let of_brokers = self.transactions.iter().flat_map(|transaction| &transaction.topics);
        let topics = of_brokers.chain(&self.v3_and_below_topics);
        topics.map(|topic| topic.partitions.len().max(1)).sum()
    }

    async fn handle(self, ctx: Context) -> Reply<AddPartitionsToTxnResponse> {
        if ctx.version < OF_BROKERS {
            let asked = AddPartitionsToTxnTransaction {
                transactional_id: self.v3_and_below_transactional_id,
                producer_id: self.v3_and_below_producer_id,
                producer_epoch: self.v3_and_below_producer_epoch,
                verify_only: false,
                topics: self.v3_and_below_topics,
            };
            let begun = of_client(asked, &ctx);
            return Reply::later(async move {
                let results_by_topic_v3_and_below = begun.ended(ctx.version).await.topic_results;
                AddPartitionsToTxnResponse { results_by_topic_v3_and_below, ..Default::default() }
            });
        }
        let cluster = match ctx.cluster(Operation::ClusterAction) {
            Ok(cluster) => cluster,
            Err(forbidden) => {
                let error_code = ErrorCode::from(forbidden).code();
                return Reply::Now(AddPartitionsToTxnResponse { error_code, ..Default::default() });
            }
        };
        let mut begun = Vec::with_capacity(self.transactions.len());
        for asked in self.transactions {
            let looked_up = LookedUp::of(&asked.topics, |name| {
                let topics = cluster.topics();
                Ok(topics.topic(TopicRef::Name(name), Operation::Describe).cloned()?)
            });
            let outcome = looked_up.begin(&asked, cluster.transactional_id(&asked.transactional_id));
            begun.push(BegunTransaction { asked, outcome });
        }
        Reply::later(async move {
            let mut results_by_transaction = Vec::with_capacity(begun.len());
            for one in begun {
                results_by_transaction.push(one.ended(ctx.version).await);
            }
            AddPartitionsToTxnResponse { results_by_transaction, ..Default::default() }
        })
    }
}

fn of_client(asked: AddPartitionsToTxnTransaction, ctx: &Context) -> BegunTransaction {
    let outcome = match ctx.transactional_id(&asked.transactional_id, Operation::Write) {
        Ok(id) => {
            let view = ctx.topics();
            let looked_up = LookedUp::of(&asked.topics, |name| {
                if internal_topics::is_internal(name) {
                    return Err(ErrorCode::TopicAuthorizationFailed);
                }
                Ok(view.topic(TopicRef::Name(name), Operation::Write).cloned()?)
            });
            looked_up.begin(&asked, id)
        }
        Err(forbidden) => PartitionCodes::All(Box::pin(ready(forbidden.into()))),
    };
    BegunTransaction { asked, outcome }
}

/// The partitions of a transaction in the order of the request, each found or refused.
struct LookedUp(Vec<Result<TopicPartition, ErrorCode>>);

impl LookedUp {
    fn of(
        topics: &[AddPartitionsToTxnTopic],
        find: impl Fn(&str) -> Result<Arc<Topic>, ErrorCode>,
    ) -> LookedUp {
        let mut partitions = Vec::new();
        for asked in topics {
            let topic = find(&asked.name);
            partitions.extend(asked.partitions.iter().map(|index| match &topic {
                Ok(topic) if topic.partition(*index).is_some() => Ok(TopicPartition::new(topic.id, *index)),
                Ok(_) => Err(ErrorCode::UnknownTopicOrPartition),
                Err(error) => Err(*error),
            }));
        }
        LookedUp(partitions)
    }

    /// As in Kafka, one partition that is refused refuses all.
    fn begin(self, asked: &AddPartitionsToTxnTransaction, id: TransactionalId<'_>) -> PartitionCodes {
        let found: Vec<TopicPartition> = self.0.iter().filter_map(|one| one.ok()).collect();
        if found.len() < self.0.len() {
            let code = |one: Result<_, ErrorCode>| one.err().unwrap_or(ErrorCode::OperationNotAttempted);
            return PartitionCodes::Each(self.0.into_iter().map(code).collect());
        }
        let producer = producer(asked.producer_id, asked.producer_epoch);
        if asked.verify_only {
            let verified = id.verify(producer, &found);
            let code = |one: &Result<_, _>| one.as_ref().err().map_or(ErrorCode::None, ErrorCode::abortable);
            return PartitionCodes::Each(verified.iter().map(code).collect());
        }
        let joined = id.join(producer, found, Vec::new());
        PartitionCodes::All(Box::pin(async move { code_of(joined.await) }))
    }
}

/// The request of a transaction, and its outcome.
struct BegunTransaction {
    asked: AddPartitionsToTxnTransaction,
    outcome: PartitionCodes,
}

enum PartitionCodes {
    /// One code for each partition of the request, in the same order.
    Each(Vec<ErrorCode>),
    All(Later<ErrorCode>),
}

impl BegunTransaction {
    async fn ended(self, version: i16) -> AddPartitionsToTxnResult {
        let AddPartitionsToTxnTransaction { transactional_id, topics, .. } = self.asked;
        let results = match self.outcome {
            PartitionCodes::Each(codes) => by_topic(topics, codes),
            // As in Kafka, the topics are as they were asked for.
            PartitionCodes::All(code) => {
                let code = fenced_since(2, version, code.await);
                let with_code =
                    |partitions: Vec<i32>| partitions.into_iter().map(|index| (index, code)).collect();
                topics.into_iter().map(|topic| (topic.name, with_code(topic.partitions))).collect()
            }
        };
        let topic_results = results.into_iter().map(|(name, partitions)| {
            let results_by_partition = partitions.into_iter().map(|(partition_index, code)| {
                AddPartitionsToTxnPartitionResult { partition_index, partition_error_code: code.code() }
            });
            AddPartitionsToTxnTopicResult { name, results_by_partition: results_by_partition.collect() }
        });
        AddPartitionsToTxnResult { transactional_id, topic_results: topic_results.collect() }
    }
}

/// As in Kafka, each topic has one result, and none without partitions.
fn by_topic(
    topics: Vec<AddPartitionsToTxnTopic>,
    codes: Vec<ErrorCode>,
) -> Vec<(String, Vec<(i32, ErrorCode)>)> {
    let mut codes = codes.into_iter();
    let mut results = ByTopic::default();
    for AddPartitionsToTxnTopic { name, partitions } in topics {
        if !partitions.is_empty() {
            results.topic(name).extend(partitions.into_iter().zip(codes.by_ref()));
        }
    }
    results.topics
}
