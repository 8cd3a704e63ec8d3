//! Transactions of clients. The labels are the points of Kafka's behaviour; what a transaction does to readers is in
//! `tests/clients`.

use std::collections::BTreeSet;
use std::time::Duration;

use jackdaw::api::error::ErrorCode;
use jackdaw::protocol::Request;
use jackdaw::protocol::messages::update_features_request::FeatureUpdateKey;
use jackdaw::protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, AddPartitionsToTxnTransaction, ApiVersionsRequest,
    DescribeProducersRequest, DescribeTransactionsRequest, EndTxnRequest, EndTxnResponse,
    FindCoordinatorRequest, InitProducerIdRequest, InitProducerIdResponse, ListTransactionsRequest,
    MetadataRequest, OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics,
    OffsetFetchResponsePartitions, PartitionProduceData, ProduceRequest, TxnOffsetCommitRequest,
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic, UpdateFeaturesRequest, WritableTxnMarker,
    WritableTxnMarkerTopic, WriteTxnMarkersRequest, add_partitions_to_txn_request::AddPartitionsToTxnTopic,
    describe_producers_request::TopicRequest, describe_producers_response::PartitionResponse,
    describe_transactions_response::TransactionState,
};
use jackdaw::record::{Attributes, BatchBuilder, Producer};
use jackdaw::storage::Location;
use jackdaw::time::{self, Clock};
use jackdaw::types::{ProducerEpoch, ProducerId, Timestamp};
use kafka_protocol::messages as theirs;

use crate::harness::{Client, Node, PATIENCE, code, produce_to, the_partition};
use crate::log_lines;
use crate::versions::each;

const NOW: Timestamp = Timestamp(1_790_000_000_000);

/// A producer with the transactional id `tx`, as the broker knows it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Me {
    id: i64,
    epoch: i16,
}

fn init(known: Option<Me>) -> InitProducerIdRequest {
    let known = known.unwrap_or(Me { id: -1, epoch: -1 });
    InitProducerIdRequest {
        transactional_id: Some("tx".to_owned()),
        transaction_timeout_ms: 60_000,
        producer_id: known.id,
        producer_epoch: known.epoch,
        ..Default::default()
    }
}

fn producer_of(answer: InitProducerIdResponse) -> Result<Me, i16> {
    match answer.error_code {
        0 => Ok(Me { id: answer.producer_id, epoch: answer.producer_epoch }),
        error => Err(error),
    }
}

fn add(me: Me, topic: &str, partitions: &[i32]) -> AddPartitionsToTxnRequest {
    let topics = vec![AddPartitionsToTxnTopic { name: topic.to_owned(), partitions: partitions.to_vec() }];
    AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: "tx".to_owned(),
        v3_and_below_producer_id: me.id,
        v3_and_below_producer_epoch: me.epoch,
        v3_and_below_topics: topics,
        ..Default::default()
    }
}

fn add_group(me: Me, group: &str) -> AddOffsetsToTxnRequest {
    AddOffsetsToTxnRequest {
        transactional_id: "tx".to_owned(),
        producer_id: me.id,
        producer_epoch: me.epoch,
        group_id: group.to_owned(),
    }
}

fn end(me: Me, committed: bool) -> EndTxnRequest {
    EndTxnRequest {
        transactional_id: "tx".to_owned(),
        producer_id: me.id,
        producer_epoch: me.epoch,
        committed,
    }
}

fn ended(answer: &EndTxnResponse) -> Result<Me, i16> {
    match answer.error_code {
        0 => Ok(Me { id: answer.producer_id, epoch: answer.producer_epoch }),
        error => Err(error),
    }
}

fn batch_of(me: Me, base_sequence: i32) -> BatchBuilder {
    let producer = Producer { id: ProducerId(me.id), epoch: ProducerEpoch(me.epoch), base_sequence };
    BatchBuilder::new().producer(producer).value(Clock::machine().now(), "v")
}

/// A transactional batch for partition 0 of `t`.
fn write(me: Me, sequence: i32) -> ProduceRequest {
    let transactional_id = Some("tx".to_owned());
    ProduceRequest { transactional_id, ..produce_to("t", 0, batch_of(me, sequence).transactional().build()) }
}

fn offsets(me: Me, group: &str, generation: i32, offset: i64) -> TxnOffsetCommitRequest {
    let partition = TxnOffsetCommitRequestPartition {
        committed_offset: offset,
        ..TxnOffsetCommitRequestPartition::default()
    };
    TxnOffsetCommitRequest {
        transactional_id: "tx".to_owned(),
        group_id: group.to_owned(),
        producer_id: me.id,
        producer_epoch: me.epoch,
        generation_id_or_member_epoch: generation,
        topics: vec![TxnOffsetCommitRequestTopic {
            name: "t".to_owned(),
            partitions: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    }
}

struct Stage {
    node: Node,
    client: Client,
}

impl Stage {
    async fn new() -> Stage {
        Stage::with(&[]).await
    }

    async fn with(settings: &[(&str, &str)]) -> Stage {
        let node = Node::with(settings).await;
        node.topic("t", 2).await;
        Stage { client: node.client().await, node }
    }

    async fn init(&mut self, version: i16, known: Option<Me>) -> Result<Me, i16> {
        producer_of(self.client.call(version, init(known)).await)
    }

    async fn add(&mut self, version: i16, me: Me, partitions: &[i32]) -> Vec<i16> {
        let answer = self.client.call(version, add(me, "t", partitions)).await;
        let topics = answer.results_by_topic_v3_and_below.into_iter();
        let partitions = topics.flat_map(|topic| topic.results_by_partition);
        partitions.map(|partition| partition.partition_error_code).collect()
    }

    async fn add_group(&mut self, version: i16, me: Me, group: &str) -> i16 {
        self.client.call(version, add_group(me, group)).await.error_code
    }

    async fn write(&mut self, version: i16, me: Me, sequence: i32) -> i16 {
        the_partition(self.client.call(version, write(me, sequence)).await).error_code
    }

    async fn offsets(&mut self, version: i16, request: TxnOffsetCommitRequest) -> i16 {
        let mut request = request;
        if version >= 6 {
            request.topics[0].topic_id = self.node.store.topics().by_name("t").unwrap().id;
            request.topics[0].name = String::new();
        }
        let answer = self.client.call(version, request).await;
        answer.topics[0].partitions[0].error_code
    }

    async fn end(&mut self, version: i16, me: Me, committed: bool) -> Result<Me, i16> {
        ended(&self.client.call(version, end(me, committed)).await)
    }

    async fn describe(&mut self, id: &str) -> TransactionState {
        let request = DescribeTransactionsRequest { transactional_ids: vec![id.to_owned()] };
        self.client.call(0, request).await.transaction_states.remove(0)
    }

    async fn state(&mut self) -> String {
        self.describe("tx").await.transaction_state
    }

    async fn list(&mut self, request: ListTransactionsRequest) -> Vec<String> {
        let answer = self.client.call(2, request).await;
        assert_eq!(answer.error_code, 0);
        answer.transaction_states.into_iter().map(|listed| listed.transactional_id).collect()
    }

    async fn producers(&mut self, index: i32) -> PartitionResponse {
        let topics = vec![TopicRequest { name: "t".to_owned(), partition_indexes: vec![index] }];
        let answer = self.client.call(0, DescribeProducersRequest { topics }).await;
        answer.topics.into_iter().next().unwrap().partitions.remove(0)
    }

    /// The committed offset of partition 0 of `t`, and its error.
    async fn fetched(&mut self, group: &str, require_stable: bool) -> (i64, i16) {
        let topic =
            OffsetFetchRequestTopics { name: "t".into(), partition_indexes: vec![0], ..Default::default() };
        let found = self.fetch_offsets(group, Some(vec![topic]), require_stable).await;
        (found[0].committed_offset, found[0].error_code)
    }

    async fn fetch_offsets(
        &mut self,
        group: &str,
        topics: Option<Vec<OffsetFetchRequestTopics>>,
        require_stable: bool,
    ) -> Vec<OffsetFetchResponsePartitions> {
        let group = OffsetFetchRequestGroup { group_id: group.to_owned(), topics, ..Default::default() };
        let request = OffsetFetchRequest { groups: vec![group], require_stable, ..Default::default() };
        let answer = self.client.call(9, request).await;
        let topics = answer.groups.into_iter().flat_map(|group| group.topics);
        topics.flat_map(|topic| topic.partitions).collect()
    }
}

const NOT_THERE: i16 = -1;

#[tokio::test]
async fn m10_the_topic_of_transactional_ids_is_there_once_their_coordinator_was_asked_for() {
    let mut stage = Stage::with(&[("transaction.state.log.num.partitions", "7")]).await;
    let find = |keys: &[&str]| FindCoordinatorRequest {
        key_type: 1,
        coordinator_keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        ..Default::default()
    };
    let found = stage.client.call(6, find(&["tx", ""])).await.coordinators;
    for one in &found {
        assert_eq!((one.error_code, one.node_id, one.error_message.as_deref()), (0, 1, Some("")));
    }
    let old = FindCoordinatorRequest { key: "tx".to_owned(), key_type: 1, ..Default::default() };
    let old = stage.client.call(3, old).await;
    assert_eq!((old.error_code, old.node_id, old.error_message.as_deref()), (0, 1, Some("NONE")));
    let all = MetadataRequest { topics: None, ..Default::default() };
    let topics = stage.client.call(12, all).await.topics;
    let seen: Vec<_> =
        topics.iter().map(|one| (one.name.as_deref(), one.is_internal, one.partitions.len())).collect();
    assert_eq!(seen, [(Some("__transaction_state"), true, 7), (Some("t"), false, 2)]);
}

#[tokio::test]
async fn x4_a_producer_gets_a_higher_epoch_each_time_it_starts_and_a_stale_one_is_fenced() {
    let mut stage = Stage::new().await;
    let first = stage.init(5, None).await.unwrap();
    assert_eq!(first.epoch, 0);
    let second = stage.init(5, None).await.unwrap();
    assert_eq!(second, Me { epoch: 1, ..first });
    assert_eq!(stage.init(5, Some(second)).await, Ok(Me { epoch: 2, ..first }));
    assert_eq!(stage.init(5, Some(second)).await, Ok(Me { epoch: 2, ..first }), "repeated");
    assert_eq!(stage.init(5, Some(first)).await, Err(code(ErrorCode::ProducerFenced)));
    assert_eq!(stage.init(3, Some(first)).await, Err(code(ErrorCode::InvalidProducerEpoch)));
    let foreign = Me { id: first.id + 100, epoch: 0 };
    assert_eq!(stage.init(5, Some(foreign)).await, Err(code(ErrorCode::ProducerFenced)));
    assert_eq!(stage.state().await, "Empty");
}

#[tokio::test]
async fn x3_ids_and_timeouts_that_are_not_allowed_are_refused() {
    let mut stage = Stage::with(&[("transaction.max.timeout.ms", "70000")]).await;
    let mut refused = async |change: fn(&mut InitProducerIdRequest)| {
        let mut request = init(None);
        change(&mut request);
        let answer = stage.client.call(5, request).await;
        assert_eq!((answer.producer_id, answer.producer_epoch), (-1, -1));
        answer.error_code
    };
    let timeout = code(ErrorCode::InvalidTransactionTimeout);
    let invalid = code(ErrorCode::InvalidRequest);
    assert_eq!(refused(|request| request.transaction_timeout_ms = 0).await, timeout);
    assert_eq!(refused(|request| request.transaction_timeout_ms = -1).await, timeout);
    assert_eq!(refused(|request| request.transaction_timeout_ms = 70_001).await, timeout);
    assert_eq!(refused(|request| request.transaction_timeout_ms = i32::MAX).await, timeout);
    assert_eq!(refused(|request| request.transactional_id = Some(String::new())).await, invalid);
    assert_eq!(refused(|request| request.producer_id = 5).await, invalid);
    assert_eq!(refused(|request| request.producer_epoch = 5).await, invalid);
    let mut longest = init(None);
    longest.transaction_timeout_ms = 70_000;
    assert!(producer_of(stage.client.call(5, longest).await).is_ok());
}

#[tokio::test]
async fn x5_a_producer_that_starts_aborts_the_open_transaction_and_has_to_ask_again() {
    let mut stage = Stage::new().await;
    let me = stage.init(5, None).await.unwrap();
    assert_eq!(stage.add(3, me, &[0]).await, [0]);
    let stale = Me { epoch: me.epoch + 7, ..me };
    assert_eq!(stage.init(5, Some(stale)).await, Err(code(ErrorCode::ConcurrentTransactions)));
    assert_eq!(stage.state().await, "CompleteAbort");
    assert_eq!(stage.init(5, None).await, Ok(Me { epoch: 2, ..me }));
    assert_eq!(stage.end(5, me, true).await, Err(code(ErrorCode::ProducerFenced)));
    assert_eq!(stage.end(1, me, true).await, Err(code(ErrorCode::InvalidProducerEpoch)));
}

#[tokio::test]
async fn partitions_are_added_all_or_none() {
    let mut stage = Stage::new().await;
    let me = stage.init(5, None).await.unwrap();
    let [ok, unknown, skipped] =
        [ErrorCode::None, ErrorCode::UnknownTopicOrPartition, ErrorCode::OperationNotAttempted].map(code);
    assert_eq!(stage.add(3, me, &[0, 7]).await, [skipped, unknown]);
    assert_eq!(stage.state().await, "Empty");
    assert_eq!(stage.add(3, me, &[1, 1]).await, [ok, ok]);
    assert_eq!(stage.add(0, me, &[0, 1]).await, [ok, ok], "again");
    let described = stage.describe("tx").await;
    assert_eq!((described.transaction_state.as_str(), described.transaction_timeout_ms), ("Ongoing", 60_000));
    assert_eq!(described.topics[0].topic, "t");
    assert_eq!(described.topics[0].partitions, [0, 1]);
    assert!(described.transaction_start_time_ms > 0);
    let stale = Me { epoch: me.epoch - 1, ..me };
    let fenced = [ErrorCode::ProducerFenced, ErrorCode::InvalidProducerEpoch].map(code);
    assert_eq!([stage.add(2, stale, &[0]).await[0], stage.add(1, stale, &[0]).await[0]], fenced);
    assert_eq!(
        [stage.add_group(2, stale, "g").await, stage.add_group(1, stale, "g").await],
        fenced,
        "groups too"
    );
    let foreign = Me { id: me.id + 1, ..me };
    let mapping = code(ErrorCode::InvalidProducerIdMapping);
    assert_eq!(stage.add(3, foreign, &[0]).await, [mapping]);
    assert_eq!(stage.add_group(4, foreign, "g").await, mapping);
    assert_eq!(stage.end(5, foreign, true).await, Err(mapping));
    let internal = stage.client.call(3, add(me, "__consumer_offsets", &[0])).await;
    let refused = internal.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code;
    assert_eq!(refused, code(ErrorCode::TopicAuthorizationFailed));
}

#[tokio::test]
async fn x20_an_empty_list_of_partitions_opens_a_transaction_that_can_be_committed() {
    let mut stage = Stage::new().await;
    let me = stage.init(5, None).await.unwrap();
    let answer = stage.client.call(3, add(me, "t", &[])).await.results_by_topic_v3_and_below;
    assert!(answer[0].results_by_partition.is_empty(), "the topic comes back as it was asked for");
    assert_eq!(stage.state().await, "Ongoing");
    assert!(stage.end(4, me, true).await.is_ok());
    assert_eq!(stage.state().await, "CompleteCommit");
}

#[tokio::test]
async fn brokers_ask_for_several_transactions_at_once_and_may_only_look() {
    let mut stage = Stage::new().await;
    let me = stage.init(5, None).await.unwrap();
    let one = |id: &str, verify_only: bool, partitions: &[i32]| AddPartitionsToTxnTransaction {
        transactional_id: id.to_owned(),
        producer_id: me.id,
        producer_epoch: me.epoch,
        verify_only,
        topics: vec![AddPartitionsToTxnTopic { name: "t".to_owned(), partitions: partitions.to_vec() }],
    };
    let mut ask = async |transactions: Vec<AddPartitionsToTxnTransaction>| {
        let request = AddPartitionsToTxnRequest { transactions, ..Default::default() };
        let answer = stage.client.call(5, request).await;
        let codes = answer.results_by_transaction.into_iter().map(|one| {
            let partitions = one.topic_results.into_iter().flat_map(|topic| topic.results_by_partition);
            partitions.map(|partition| partition.partition_error_code).collect::<Vec<_>>()
        });
        codes.collect::<Vec<_>>()
    };
    let [abortable, mapping] =
        [ErrorCode::TransactionAbortable, ErrorCode::InvalidProducerIdMapping].map(code);
    assert_eq!(ask(vec![one("tx", true, &[0]), one("other", true, &[0])]).await, [[abortable], [mapping]]);
    assert_eq!(ask(vec![one("tx", false, &[0]), one("other", false, &[1])]).await, [[0], [mapping]]);
    assert_eq!(ask(vec![one("tx", true, &[0, 1])]).await, [[0, abortable]]);
    assert_eq!(ask(vec![one("", true, &[0])]).await, [[code(ErrorCode::InvalidRequest)]]);
    assert!(ask(Vec::new()).await.is_empty());
}

#[tokio::test]
async fn a_batch_belongs_to_a_transaction_that_has_its_partition() {
    let mut stage = Stage::new().await;
    let me = stage.init(5, None).await.unwrap();
    assert_eq!(stage.write(10, me, 0).await, code(ErrorCode::InvalidTxnState));
    assert_eq!(stage.write(11, me, 0).await, code(ErrorCode::TransactionAbortable));
    assert_eq!(stage.state().await, "Empty");
    let stale = Me { epoch: me.epoch - 1, ..me };
    assert_eq!(stage.write(12, stale, 0).await, code(ErrorCode::InvalidProducerEpoch));
    let foreign = Me { id: me.id + 1, ..me };
    assert_eq!(stage.write(12, foreign, 0).await, code(ErrorCode::InvalidProducerIdMapping));
    assert_eq!(stage.write(12, me, 3).await, code(ErrorCode::OutOfOrderSequenceNumber));
    assert_eq!(stage.write(12, me, 0).await, 0, "it adds the partition");
    assert_eq!(stage.state().await, "Ongoing");
    assert_eq!(stage.write(10, me, 1).await, 0);
    let plain = produce_to("t", 0, batch_of(me, 2).build());
    let refused = the_partition(stage.client.call(12, plain).await).error_code;
    assert_eq!(refused, code(ErrorCode::InvalidTxnState), "p13: it is inside the transaction");
    let ends = stage.node.partition("t", 0).ends();
    assert_eq!((ends.last_stable.0, ends.high_watermark.0), (0, 2));
    assert_eq!(stage.end(5, me, true).await, Ok(Me { epoch: 1, ..me }));
    let ends = stage.node.partition("t", 0).ends();
    assert_eq!((ends.last_stable.0, ends.high_watermark.0), (3, 3));
}

#[tokio::test]
async fn the_message_for_a_partition_that_was_not_added_is_kafkas() {
    let mut stage = Stage::new().await;
    let me = stage.init(5, None).await.unwrap();
    let refused = the_partition(stage.client.call(10, write(me, 0)).await);
    assert_eq!(refused.error_message.as_deref(), Some("Partition was not added to the transaction"));
    assert_eq!((refused.base_offset, refused.log_start_offset), (NOT_THERE.into(), NOT_THERE.into()));
}

#[tokio::test]
async fn a_transactional_batch_needs_a_transactional_id() {
    let mut stage = Stage::new().await;
    let me = stage.init(5, None).await.unwrap();
    let without_id = ProduceRequest { transactional_id: None, ..write(me, 0) };
    let refused = the_partition(stage.client.call(12, without_id).await).error_code;
    assert_eq!(refused, code(ErrorCode::TransactionalIdAuthorizationFailed));
    let without_producer = BatchBuilder::new().value(Clock::machine().now(), "v").transactional().build();
    let without_producer =
        ProduceRequest { transactional_id: Some("tx".to_owned()), ..produce_to("t", 0, without_producer) };
    let accepted = the_partition(stage.client.call(12, without_producer).await);
    assert_eq!((accepted.error_code, accepted.base_offset), (0, 0), "as a plain one");
    assert_eq!(stage.state().await, "Empty");
}

#[tokio::test]
async fn since_version_12_a_partition_joins_before_its_batch_is_checked() {
    let mut stage = Stage::new().await;
    let mut me = stage.init(5, None).await.unwrap();
    let control = batch_of(me, 0).transactional().flag(Attributes::CONTROL).build();
    let one_batch = batch_of(me, 0).transactional().build();
    let two_batches = [one_batch.clone(), one_batch].concat();
    let of = |batch: Vec<u8>| ProduceRequest {
        transactional_id: Some("tx".to_owned()),
        ..produce_to("t", 0, batch)
    };
    let two = the_partition(stage.client.call(12, of(two_batches)).await).error_code;
    assert_eq!(two, code(ErrorCode::InvalidRecord));
    assert_eq!(stage.state().await, "Empty", "a request with two batches is refused before");
    let old = the_partition(stage.client.call(11, of(control.to_vec())).await).error_code;
    let abortable = code(ErrorCode::TransactionAbortable);
    assert_eq!((old, stage.state().await.as_str()), (abortable, "Empty"), "older ones have to be added");
    let refused = the_partition(stage.client.call(12, of(control.to_vec())).await).error_code;
    assert_eq!((refused, stage.state().await.as_str()), (code(ErrorCode::InvalidRecord), "Ongoing"));
    me = stage.end(5, me, false).await.unwrap();
    let wrong_acks = ProduceRequest { acks: 2, ..write(me, 0) };
    let refused = the_partition(stage.client.call(12, wrong_acks).await).error_code;
    assert_eq!((refused, stage.state().await.as_str()), (code(ErrorCode::InvalidRequiredAcks), "Ongoing"));
}

#[tokio::test]
async fn x1_the_end_can_be_repeated_with_the_same_outcome_only() {
    let mut stage = Stage::new().await;
    let me = stage.init(5, None).await.unwrap();
    assert_eq!(stage.write(12, me, 0).await, 0);
    let next = Me { epoch: 1, ..me };
    assert_eq!(stage.end(5, me, true).await, Ok(next));
    assert_eq!(stage.end(5, me, true).await, Ok(next));
    assert_eq!(stage.end(5, me, false).await, Err(code(ErrorCode::InvalidTxnState)));
}

#[tokio::test]
async fn x18_an_end_that_comes_late_does_not_end_the_next_transaction() {
    let mut stage = Stage::new().await;
    let me = stage.init(5, None).await.unwrap();
    assert_eq!(stage.write(12, me, 0).await, 0);
    let next = stage.end(5, me, true).await.unwrap();
    assert_eq!(stage.write(12, next, 0).await, 0);
    assert_eq!(stage.end(5, me, true).await, Err(code(ErrorCode::ProducerFenced)));
    assert_eq!(stage.state().await, "Ongoing");
    assert_eq!(stage.end(5, next, false).await, Ok(Me { epoch: 2, ..me }));
    assert_eq!(stage.state().await, "CompleteAbort");
}

#[tokio::test]
async fn an_end_of_version_1_that_comes_late_ends_the_next_transaction_as_in_kafka() {
    // KAFKA-17754: the epoch stays, so a late copy cannot be told from a new request.
    let mut stage = Stage::new().await;
    let me = stage.init(4, None).await.unwrap();
    for sequence in [0, 1] {
        assert_eq!(stage.add(3, me, &[0]).await, [0]);
        assert_eq!(stage.write(11, me, sequence).await, 0);
        assert_eq!(stage.state().await, "Ongoing");
        // In the second turn the client has more to write, and this is the copy of its first request.
        assert!(stage.end(4, me, true).await.is_ok());
        assert_eq!(stage.state().await, "CompleteCommit");
    }
    assert_eq!(stage.write(11, me, 2).await, code(ErrorCode::TransactionAbortable));
    assert_eq!(stage.end(4, me, false).await, Err(code(ErrorCode::InvalidTxnState)));
}

#[tokio::test]
async fn x19_a_fenced_producer_writes_nothing_more() {
    let mut stage = Stage::new().await;
    let me = stage.init(5, None).await.unwrap();
    assert_eq!(stage.write(12, me, 0).await, 0);
    assert_eq!(stage.init(5, None).await, Err(code(ErrorCode::ConcurrentTransactions)));
    let ends = stage.node.partition("t", 0).ends();
    for version in [10, 12] {
        assert_eq!(stage.write(version, me, 1).await, code(ErrorCode::InvalidProducerEpoch));
    }
    assert_eq!(stage.offsets(5, offsets(me, "g", -1, 1)).await, code(ErrorCode::InvalidProducerEpoch));
    assert_eq!(stage.add(3, me, &[0]).await, [code(ErrorCode::ProducerFenced)]);
    assert_eq!(stage.end(4, me, true).await, Err(code(ErrorCode::ProducerFenced)));
    assert_eq!(stage.node.partition("t", 0).ends(), ends);
}

#[tokio::test]
async fn x7_ids_with_the_same_hash_are_different_ids() {
    let mut stage = Stage::new().await;
    let mut ids = BTreeSet::new();
    for id in ["Aa", "BB", "A", "a"] {
        let request = InitProducerIdRequest { transactional_id: Some(id.to_owned()), ..init(None) };
        ids.insert(producer_of(stage.client.call(5, request).await).unwrap().id);
    }
    assert_eq!(ids.len(), 4);
}

#[tokio::test]
async fn x10_offsets_of_an_open_transaction_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let place = || Location::Directory(dir.path().to_owned());
    let node = Node::at(place(), &[]).await;
    node.topic("t", 1).await;
    let mut stage = Stage { client: node.client().await, node };
    let me = stage.init(5, None).await.unwrap();
    assert_eq!(stage.offsets(5, offsets(me, "g", -1, 42)).await, 0);
    stage.node.store.close();
    let node = Node::at(place(), &[]).await;
    let mut stage = Stage { client: node.client().await, node };
    assert_eq!(stage.fetched("g", true).await, (-1, code(ErrorCode::UnstableOffsetCommit)));
    assert_eq!(stage.end(5, me, true).await, Ok(Me { epoch: 1, ..me }));
    assert_eq!(stage.fetched("g", true).await, (42, 0));
}

#[tokio::test]
async fn x12_no_marker_goes_to_a_topic_that_was_created_again() {
    let mut stage = Stage::new().await;
    let me = stage.init(5, None).await.unwrap();
    assert_eq!(stage.add(3, me, &[1]).await, [0]);
    assert_eq!(stage.write(12, me, 0).await, 0);
    let old = stage.node.store.topics().by_name("t").unwrap().id;
    stage.node.store.delete_topic(old).await.unwrap();
    stage.node.topic("t", 2).await;
    assert!(stage.describe("tx").await.topics.is_empty(), "the new topic is not part of it");
    assert_eq!(stage.end(5, me, true).await, Ok(Me { epoch: 1, ..me }));
    assert_eq!(stage.node.partition("t", 0).ends().high_watermark.0, 0);
    assert_eq!(stage.node.partition("t", 1).ends().high_watermark.0, 0);
}

#[tokio::test]
async fn an_end_without_a_transaction_is_refused_unless_it_is_an_abort_of_version_5() {
    let mut stage = Stage::new().await;
    let me = stage.init(5, None).await.unwrap();
    let invalid = Err(code(ErrorCode::InvalidTxnState));
    assert_eq!(stage.end(4, me, true).await, invalid);
    assert_eq!(stage.end(4, me, false).await, invalid);
    assert_eq!(stage.end(5, me, true).await, invalid);
    assert_eq!(stage.end(5, me, false).await, Ok(Me { epoch: 1, ..me }));
    assert_eq!(stage.end(5, Me { epoch: 1, ..me }, false).await, Ok(Me { epoch: 2, ..me }));
    let mut empty_id = end(me, false);
    empty_id.transactional_id = String::new();
    assert_eq!(ended(&stage.client.call(5, empty_id).await), Err(code(ErrorCode::InvalidRequest)));
}

#[tokio::test]
async fn x8_offsets_of_a_group_that_need_not_exist_are_committed_with_the_transaction() {
    let mut stage = Stage::new().await;
    let me = stage.init(5, None).await.unwrap();
    assert_eq!(stage.add_group(4, me, "g").await, 0);
    let described = stage.describe("tx").await;
    assert_eq!(described.topics[0].topic, "__consumer_offsets");
    assert_eq!(described.topics[0].partitions, [3], "the partition of `g`, as in Kafka");
    assert_eq!(stage.offsets(3, offsets(me, "g", -1, 42)).await, 0);
    let unstable = code(ErrorCode::UnstableOffsetCommit);
    assert_eq!(stage.fetched("g", true).await, (-1, unstable));
    assert_eq!(stage.fetched("g", false).await, (-1, 0));
    assert!(stage.fetch_offsets("g", None, true).await.is_empty(), "it is only pending");
    assert!(stage.end(4, me, true).await.is_ok());
    assert_eq!(stage.fetched("g", true).await, (42, 0));
    assert_eq!(stage.add_group(4, me, "g").await, 0);
    assert_eq!(stage.offsets(3, offsets(me, "g", -1, 43)).await, 0);
    let all = stage.fetch_offsets("g", None, true).await;
    assert_eq!((all[0].committed_offset, all[0].error_code), (-1, unstable));
    assert!(stage.end(4, me, false).await.is_ok());
    assert_eq!(stage.fetched("g", true).await, (42, 0));
}

#[tokio::test]
async fn offsets_need_their_group_in_the_transaction_and_add_it_since_version_5() {
    let mut stage = Stage::new().await;
    let me = stage.init(5, None).await.unwrap();
    assert_eq!(stage.offsets(3, offsets(me, "g", -1, 1)).await, code(ErrorCode::InvalidTxnState));
    assert_eq!(stage.offsets(4, offsets(me, "g", -1, 1)).await, code(ErrorCode::TransactionAbortable));
    let stale = Me { epoch: me.epoch - 1, ..me };
    assert_eq!(stage.offsets(5, offsets(stale, "g", -1, 1)).await, code(ErrorCode::InvalidProducerEpoch));
    let foreign = Me { id: me.id + 1, ..me };
    let mapping = code(ErrorCode::InvalidProducerIdMapping);
    assert_eq!(stage.offsets(5, offsets(foreign, "g", -1, 1)).await, mapping);
    assert_eq!(stage.offsets(5, offsets(me, "", -1, 1)).await, code(ErrorCode::InvalidGroupId));
    assert_eq!(stage.state().await, "Empty");
    assert_eq!(stage.offsets(5, offsets(me, "g", -1, 1)).await, 0);
    assert_eq!(stage.state().await, "Ongoing");
    assert!(stage.end(5, me, true).await.is_ok());
    assert_eq!(stage.fetched("g", true).await, (1, 0));
}

#[tokio::test]
async fn x9_offsets_of_a_generation_that_is_not_there_are_refused() {
    let mut stage = Stage::new().await;
    let me = stage.init(5, None).await.unwrap();
    assert_eq!(stage.add_group(4, me, "g").await, 0);
    assert_eq!(stage.offsets(5, offsets(me, "g", 3, 1)).await, code(ErrorCode::IllegalGeneration));
    assert_eq!(stage.offsets(6, offsets(me, "g", 3, 1)).await, code(ErrorCode::GroupIdNotFound));
    let with_a_member = TxnOffsetCommitRequest { member_id: "m".to_owned(), ..offsets(me, "g", -1, 1) };
    assert_eq!(stage.offsets(6, with_a_member).await, 0);
}

#[tokio::test]
async fn since_version_5_a_group_joins_before_it_refuses_offsets() {
    let mut stage = Stage::new().await;
    let me = stage.init(5, None).await.unwrap();
    let not_added = code(ErrorCode::InvalidTxnState);
    assert_eq!(stage.offsets(3, offsets(me, "g", 3, 1)).await, not_added, "it comes before the generation");
    assert_eq!(stage.state().await, "Empty");
    assert_eq!(stage.offsets(5, offsets(me, "g", 3, 1)).await, code(ErrorCode::IllegalGeneration));
    assert_eq!(stage.state().await, "Ongoing");
}

#[tokio::test]
async fn an_operator_ends_a_transaction_in_a_partition() {
    let mut stage = Stage::new().await;
    let me = stage.init(5, None).await.unwrap();
    assert_eq!(stage.write(12, me, 0).await, 0);
    let marker = |epoch: i16, coordinator_epoch: i32, transaction_version: i8, partitions: &[i32]| {
        let topic = WritableTxnMarkerTopic { name: "t".into(), partition_indexes: partitions.to_vec() };
        WriteTxnMarkersRequest {
            markers: vec![WritableTxnMarker {
                producer_id: me.id,
                producer_epoch: epoch,
                transaction_result: false,
                topics: vec![topic],
                coordinator_epoch,
                transaction_version,
            }],
        }
    };
    let codes = async |client: &mut Client, version: i16, request: WriteTxnMarkersRequest| {
        let answer = client.call(version, request).await;
        assert_eq!(answer.markers[0].producer_id, me.id);
        let partitions = &answer.markers[0].topics[0].partitions;
        partitions.iter().map(|partition| partition.error_code).collect::<Vec<_>>()
    };
    let [stale, unknown, fenced] = [
        ErrorCode::InvalidProducerEpoch,
        ErrorCode::UnknownTopicOrPartition,
        ErrorCode::TransactionCoordinatorFenced,
    ]
    .map(code);
    let client = &mut stage.client;
    assert_eq!(codes(client, 1, marker(-1, 0, 0, &[0])).await, [stale]);
    assert_eq!(codes(client, 2, marker(0, 0, 2, &[0])).await, [stale], "the epoch has to be new");
    assert_eq!(codes(client, 1, marker(0, 5, 0, &[0, 7])).await, [0, unknown]);
    assert_eq!(codes(client, 1, marker(0, 4, 0, &[0])).await, [fenced]);
    assert_eq!(codes(client, 2, marker(0, 5, 2, &[0])).await, [0], "a repetition may have the same epoch");
    let ends = stage.node.partition("t", 0).ends();
    assert_eq!((ends.last_stable.0, ends.high_watermark.0), (3, 3));
    assert_eq!(stage.state().await, "Ongoing");
    // In Kafka the coordinator's own markers are refused from now on.
    assert_eq!(stage.end(5, me, true).await, Ok(Me { epoch: 1, ..me }));
    assert_eq!(stage.state().await, "CompleteCommit");
    assert_eq!(stage.node.partition("t", 0).ends().high_watermark.0, 4, "its marker");
    assert_eq!(stage.producers(0).await.active_producers[0].coordinator_epoch, 5);
    assert_eq!(codes(&mut stage.client, 1, marker(1, 4, 0, &[0])).await, [fenced], "still");
}

#[tokio::test]
async fn x15_producers_are_described_idle_ones_included() {
    let mut stage = Stage::new().await;
    let me = stage.init(5, None).await.unwrap();
    assert!(stage.producers(0).await.active_producers.is_empty());
    assert_eq!(stage.write(12, me, 0).await, 0);
    let open = stage.producers(0).await.active_producers.remove(0);
    assert_eq!((open.producer_id, open.producer_epoch, open.last_sequence), (me.id, 0, 0));
    assert_eq!((open.coordinator_epoch, open.current_txn_start_offset), (-1, 0));
    assert!(open.last_timestamp > 0);
    let me = stage.end(5, me, true).await.unwrap();
    let idle = stage.producers(0).await.active_producers.remove(0);
    assert_eq!((idle.producer_epoch, idle.last_sequence), (1, -1), "a new epoch has no sequence yet");
    assert_eq!((idle.coordinator_epoch, idle.current_txn_start_offset), (0, -1));
    assert_eq!(stage.write(12, me, 0).await, 0);
    assert!(stage.end(4, me, true).await.is_ok());
    let idle = stage.producers(0).await.active_producers.remove(0);
    assert_eq!((idle.producer_epoch, idle.last_sequence), (1, 0));
    let missing = stage.producers(9).await;
    assert_eq!(missing.error_code, code(ErrorCode::UnknownTopicOrPartition));
}

#[tokio::test]
async fn x16_transactions_are_described_in_kafkas_words() {
    let mut stage = Stage::new().await;
    let nothing = stage.describe("tx").await;
    assert_eq!(nothing.error_code, code(ErrorCode::TransactionalIdNotFound));
    assert_eq!(stage.describe("").await.error_code, code(ErrorCode::InvalidRequest));
    let me = stage.init(5, None).await.unwrap();
    let empty = stage.describe("tx").await;
    assert_eq!((empty.transaction_state.as_str(), empty.transaction_start_time_ms), ("Empty", -1));
    assert_eq!((empty.producer_id, empty.producer_epoch), (me.id, me.epoch));
    stage.add(3, me, &[0]).await;
    let twice = DescribeTransactionsRequest { transactional_ids: vec!["tx".into(), "tx".into()] };
    let twice = stage.client.call(0, twice).await.transaction_states;
    assert_eq!(twice.len(), 2);
    assert!(twice.iter().all(|one| one.transaction_state == "Ongoing" && one.topics.len() == 1));
}

#[tokio::test]
async fn transactions_are_listed_by_state_producer_duration_and_pattern() {
    let mut stage = Stage::new().await;
    let me = stage.init(5, None).await.unwrap();
    let other = InitProducerIdRequest { transactional_id: Some("other".to_owned()), ..init(None) };
    let other = producer_of(stage.client.call(5, other).await).unwrap();
    stage.add(3, me, &[0]).await;
    let all = ListTransactionsRequest { duration_filter: -1, ..Default::default() };
    let answer = stage.client.call(2, all.clone()).await;
    let listed: Vec<_> = answer
        .transaction_states
        .iter()
        .map(|one| (one.transactional_id.as_str(), one.producer_id, one.transaction_state.as_str()))
        .collect();
    assert_eq!(listed, [("other", other.id, "Empty"), ("tx", me.id, "Ongoing")]);
    let states = |names: &[&str]| ListTransactionsRequest {
        state_filters: names.iter().map(|name| (*name).to_owned()).collect(),
        ..all.clone()
    };
    assert_eq!(stage.list(states(&["Ongoing"])).await, ["tx"]);
    assert!(stage.list(states(&["ongoing"])).await.is_empty());
    let unknown = stage.client.call(2, states(&["ongoing", "Empty"])).await;
    assert_eq!(unknown.unknown_state_filters, ["ongoing"]);
    assert_eq!(unknown.transaction_states[0].transactional_id, "other");
    let producer = ListTransactionsRequest { producer_id_filters: vec![me.id], ..all.clone() };
    assert_eq!(stage.list(producer).await, ["tx"]);
    let long = ListTransactionsRequest { duration_filter: 3_600_000, ..all.clone() };
    assert_eq!(stage.list(long).await, ["other"], "an id without a transaction passes for a long one");
    let pattern = |pattern: &str| ListTransactionsRequest {
        transactional_id_pattern: Some(pattern.to_owned()),
        ..all.clone()
    };
    assert_eq!(stage.list(pattern("t.")).await, ["tx"]);
    assert!(stage.list(pattern("t")).await.is_empty());
    let wrong = stage.client.call(2, pattern("(")).await;
    assert_eq!(wrong.error_code, code(ErrorCode::InvalidRegularExpression));
}

#[tokio::test]
async fn a_transaction_that_is_open_for_too_long_is_aborted_and_its_producer_fenced() {
    let clock = Clock::manual(NOW);
    let settings = [("transaction.abort.timed.out.transaction.cleanup.interval.ms", "10")];
    let node = Node::timed(Location::Memory, &settings, clock.clone()).await;
    node.topic("t", 2).await;
    let mut stage = Stage { client: node.client().await, node };
    let me = stage.init(5, None).await.unwrap();
    stage.add(3, me, &[0]).await;
    while stage.state().await == "Ongoing" {
        // The broker has to see the transaction before the time passes.
        clock.set(Timestamp(clock.now().0 + 1_000));
    }
    assert!(clock.now().0 > NOW.0 + 60_000);
    assert_eq!(stage.state().await, "CompleteAbort");
    let fenced = Me { epoch: 1, ..me };
    assert_eq!(stage.end(4, me, true).await, Err(code(ErrorCode::ProducerFenced)));
    assert_eq!(stage.end(5, me, true).await, Err(code(ErrorCode::InvalidTxnState)));
    assert_eq!(stage.end(5, me, false).await, Ok(fenced), "x19: the zombie learns the new epoch");
}

#[tokio::test]
async fn a_commit_that_races_the_timeout_is_answered_as_the_transaction_ended() {
    const ROUNDS: u64 = 40;
    let clock = Clock::manual(Clock::machine().now());
    let settings = [("transaction.abort.timed.out.transaction.cleanup.interval.ms", "2")];
    let node = Node::timed(Location::Memory, &settings, clock.clone()).await;
    node.topic("t", 2).await;
    let mut stage = Stage { client: node.client().await, node };
    for round in 0..ROUNDS {
        let me = stage.init(5, None).await.unwrap();
        stage.add(3, me, &[0]).await;
        assert_eq!(stage.write(11, me, 0).await, 0);
        let group = format!("group {round}");
        assert_eq!(stage.add_group(3, me, &group).await, 0);
        assert_eq!(stage.offsets(3, offsets(me, &group, -1, 7)).await, 0);
        // The broker sees the transaction while there is time left.
        for _ in 0..5 {
            clock.set(Timestamp(clock.now().0 + 10_000));
            time::sleep(Duration::from_millis(1)).await;
        }
        let late = async {
            clock.set(Timestamp(clock.now().0 + 15_000));
        };
        let commit = async {
            time::sleep(Duration::from_micros(round * 200)).await;
            stage.client.call(4, end(me, true)).await
        };
        let ((), answer) = tokio::join!(late, commit);
        let ended = match answer.error_code {
            0 => ("CompleteCommit", 7),
            error => {
                assert_eq!(error, code(ErrorCode::ProducerFenced));
                ("CompleteAbort", -1)
            }
        };
        assert_eq!((&*stage.state().await, stage.fetched(&group, true).await), (ended.0, (ended.1, 0)));
    }
}

/// As a Flink job does that is restored from a checkpoint.
#[tokio::test]
async fn a_producer_of_hours_ago_ends_its_transaction_unless_that_has_timed_out() {
    const HOUR_MS: i32 = 3_600_000;
    let clock = Clock::manual(Clock::machine().now());
    let settings = [
        ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "10"),
        ("transaction.max.timeout.ms", "21600000"),
    ];
    let node = Node::timed(Location::Memory, &settings, clock.clone()).await;
    node.topic("t", 2).await;
    let mut stage = Stage { client: node.client().await, node };
    let with_timeout = |id: &str, hours: i32| InitProducerIdRequest {
        transactional_id: Some(id.to_owned()),
        transaction_timeout_ms: hours * HOUR_MS,
        ..init(None)
    };
    let me = producer_of(stage.client.call(5, with_timeout("tx", 6)).await).unwrap();
    let other = producer_of(stage.client.call(5, with_timeout("other", 5)).await).unwrap();
    assert_eq!(stage.write(12, me, 0).await, 0);
    let join = AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: "other".to_owned(),
        ..add(other, "t", &[1])
    };
    stage.client.call(3, join).await;
    // The other one is aborted after five hours. Small steps leave the broker the time to look before six have passed.
    let almost = clock.now().0 + 5 * i64::from(HOUR_MS);
    while stage.describe("other").await.transaction_state == "Ongoing" {
        let step = if clock.now().0 < almost { 600_000 } else { 2_000 };
        clock.set(Timestamp(clock.now().0 + step));
    }
    assert!(clock.now().0 > almost);
    let me = stage.end(5, me, true).await.unwrap();
    assert_eq!(
        stage.node.partition("t", 0).ends().last_stable.0,
        2,
        "its record and the marker are committed"
    );
    assert_eq!(stage.write(12, me, 0).await, 0);
    while stage.state().await == "Ongoing" {
        clock.set(Timestamp(clock.now().0 + 600_000));
    }
    assert_eq!(stage.end(4, me, true).await, Err(code(ErrorCode::ProducerFenced)));
    assert_eq!(stage.end(5, me, true).await, Err(code(ErrorCode::InvalidTxnState)));
}

#[tokio::test]
async fn the_log_names_each_transaction_that_holds_back_readers_for_too_long_once() {
    log_lines::begin();
    let warnings = || log_lines::with("a transaction ");
    let clock = Clock::manual(Clock::machine().now());
    let settings = [
        ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "10"),
        ("transaction.max.timeout.ms", "60000"),
        ("transaction.two.phase.commit.enable", "true"),
    ];
    let node = Node::timed(Location::Memory, &settings, clock.clone()).await;
    node.topic("t", 2).await;
    let mut stage = Stage { client: node.client().await, node };
    let me = stage.init(5, None).await.unwrap();
    assert_eq!(stage.add(3, me, &[1]).await, [0]);
    while stage.state().await == "Ongoing" {
        clock.set(Timestamp(clock.now().0 + 1_000));
    }
    let me = stage.init(5, None).await.unwrap();
    assert_eq!(stage.write(12, me, 0).await, 0);
    while stage.state().await == "Ongoing" {
        clock.set(Timestamp(clock.now().0 + 1_000));
    }
    let two_phase = InitProducerIdRequest { enable2_pc: true, ..init(None) };
    let me = producer_of(stage.client.call(6, two_phase).await).unwrap();
    assert_eq!(stage.write(12, me, 0).await, 0);
    let warned = async {
        while warnings().len() < 3 {
            clock.set(Timestamp(clock.now().0 + 1_000));
            assert_eq!(stage.state().await, "Ongoing");
        }
        // The other ids end after it was looked at again.
        for other in ["a", "b"] {
            let id = Some(other.to_owned());
            let request =
                InitProducerIdRequest { transactional_id: id, transaction_timeout_ms: 1, ..init(None) };
            let other_one = producer_of(stage.client.call(5, request).await).unwrap();
            let id = other.to_owned();
            let join =
                AddPartitionsToTxnRequest { v3_and_below_transactional_id: id, ..add(other_one, "t", &[1]) };
            stage.client.call(3, join).await;
            while stage.describe(other).await.transaction_state == "Ongoing" {
                clock.set(Timestamp(clock.now().0 + 1_000));
            }
        }
    };
    jackdaw::time::within(PATIENCE, warned).await.expect("it is logged");
    let producer = format!("producer_id={}", me.id);
    let seen = warnings();
    let facts = ["transactional_id=tx", &producer, "open_for_ms=", "WARN"];
    assert!(seen[..3].iter().all(|line| facts.iter().all(|fact| line.contains(fact))), "{seen:#?}");
    assert!(seen[0].contains("a transaction without records") && !seen[0].contains("topic="), "{seen:#?}");
    assert!(seen[1].contains("it held back the readers") && seen[1].contains("topic=\"t\" partition=0"));
    assert!(seen[2].contains("in two phases") && seen[2].contains("topic=\"t\" partition=0"), "{seen:#?}");
    assert_eq!(seen.len(), 5, "each once: {seen:#?}");
}

#[tokio::test]
async fn x11_an_hour_without_a_broker_does_not_count_for_the_timeout() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::manual(NOW));
    let settings = [("transaction.abort.timed.out.transaction.cleanup.interval.ms", "10")];
    let start = || Node::timed(Location::Directory(dir.path().to_owned()), &settings, clock.clone());
    let node = start().await;
    node.topic("t", 2).await;
    let mut stage = Stage { client: node.client().await, node };
    let me = stage.init(5, None).await.unwrap();
    assert_eq!(stage.add(3, me, &[0]).await, [0]);
    stage.node.store.close();
    clock.set(Timestamp(clock.now().0 + 3_600_000));
    let node = start().await;
    let mut stage = Stage { client: node.client().await, node };
    let id = || "other".to_owned();
    let request =
        InitProducerIdRequest { transactional_id: Some(id()), transaction_timeout_ms: 10_000, ..init(None) };
    let other = producer_of(stage.client.call(5, request).await).unwrap();
    let join = AddPartitionsToTxnRequest { v3_and_below_transactional_id: id(), ..add(other, "t", &[1]) };
    stage.client.call(3, join).await;
    // The broker looks at both until the other one is overdue. Small steps leave it the time to look.
    let restarted = clock.now().0;
    while stage.describe("other").await.transaction_state == "Ongoing" {
        let step = if clock.now().0 < restarted + 12_000 { 1_000 } else { 20 };
        clock.set(Timestamp(clock.now().0 + step));
    }
    assert_eq!(stage.state().await, "Ongoing");
    assert_eq!(stage.end(5, me, true).await, Ok(Me { epoch: 1, ..me }));
}

#[tokio::test]
async fn ids_that_were_not_used_for_long_are_forgotten() {
    let clock = Clock::manual(NOW);
    let settings = [
        ("transaction.remove.expired.transaction.cleanup.interval.ms", "10"),
        ("transactional.id.expiration.ms", "3600000"),
    ];
    let node = Node::timed(Location::Memory, &settings, clock.clone()).await;
    node.topic("t", 2).await;
    let mut stage = Stage { client: node.client().await, node };
    stage.init(5, None).await.unwrap();
    while stage.describe("tx").await.error_code == 0 {
        clock.set(Timestamp(clock.now().0 + 60_000));
        stage.node.store.watch();
    }
    assert!(clock.now().0 > NOW.0 + 3_600_000);
    assert_eq!(stage.describe("tx").await.error_code, code(ErrorCode::TransactionalIdNotFound));
}

#[tokio::test]
async fn the_memory_of_transactional_ids_has_a_limit() {
    let mut stage = Stage::with(&[("jackdaw.transactions.max.bytes", "1048576")]).await;
    let me = stage.init(5, None).await.unwrap();
    let mut ids = 0;
    let refused = loop {
        let id = format!("{}-{ids}", "x".repeat(10_000));
        let request = InitProducerIdRequest { transactional_id: Some(id), ..init(None) };
        match producer_of(stage.client.call(5, request).await) {
            Ok(_) => ids += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, code(ErrorCode::CoordinatorNotAvailable), "clients try it again later");
    assert!((50..80).contains(&ids), "{ids}");
    assert_eq!(stage.offsets(5, offsets(me, "g", -1, 1)).await, 0, "ids that are there go on");
    assert_eq!(stage.write(12, me, 0).await, 0);
    let mut groups = 0;
    let refused_group = loop {
        match stage.offsets(5, offsets(me, &format!("{}-{groups}", "g".repeat(10_000)), -1, 1)).await {
            0 => groups += 1,
            error => break error,
        }
    };
    assert_eq!(refused_group, refused);
    assert!((15..40).contains(&groups), "{groups}");
    let again = format!("{}-0", "x".repeat(10_000));
    let again = InitProducerIdRequest { transactional_id: Some(again), ..init(None) };
    let known = producer_of(stage.client.call(5, again).await);
    assert!(known.is_ok(), "an id that is there needs no memory");
}

#[tokio::test]
async fn transactions_that_stay_open_leave_half_of_the_producers_memory_to_others() {
    let mut stage = Stage::with(&[("jackdaw.producers.max.bytes", "1048576")]).await;
    stage.node.topic("wide", 1_600).await;
    let me = stage.init(5, None).await.unwrap();
    let mut request = write(me, 0);
    request.topic_data[0].name = "wide".to_owned();
    let first = request.topic_data[0].partition_data.remove(0);
    let all = (0..1_600).map(|index| PartitionProduceData { index, ..first.clone() });
    request.topic_data[0].partition_data = all.collect();
    let answer = stage.client.call(12, request).await.responses.remove(0).partition_responses;
    let (opened, refused) = answer.split_at(1_560);
    assert!(opened.iter().all(|partition| partition.error_code == 0), "half of 1 MiB, 336 bytes each");
    for partition in refused {
        assert_eq!(partition.error_code, code(ErrorCode::NotEnoughReplicas));
        let message = partition.error_message.as_deref().unwrap();
        assert!(message.contains("half of jackdaw.producers.max.bytes"), "{message}");
    }
    let other = InitProducerIdRequest { transactional_id: None, ..init(None) };
    let other = producer_of(stage.client.call(5, other).await).unwrap();
    let plain = produce_to("t", 0, batch_of(other, 0).build());
    assert_eq!(the_partition(stage.client.call(12, plain).await).error_code, 0);
    let me = stage.end(5, me, true).await.unwrap();
    assert_eq!(stage.write(12, me, 0).await, 0);
}

#[tokio::test]
async fn a_pattern_finds_ids_in_all_parts_of_a_long_list() {
    let mut stage = Stage::new().await;
    let ids: Vec<String> = (0..10).map(|n| format!("{n}{}", "x".repeat(5_000))).collect();
    for id in &ids {
        let request = InitProducerIdRequest { transactional_id: Some(id.clone()), ..init(None) };
        assert!(producer_of(stage.client.call(5, request).await).is_ok());
    }
    for (pattern, found) in
        [("[0-9]x*", &ids[..]), ("[36-9]x+", &[&ids[3..4], &ids[6..]].concat()), ("x*", &[])]
    {
        let transactional_id_pattern = Some(pattern.to_owned());
        let request =
            ListTransactionsRequest { duration_filter: -1, transactional_id_pattern, ..Default::default() };
        let listed = stage.client.call(2, request).await.transaction_states;
        let listed: Vec<String> = listed.into_iter().map(|one| one.transactional_id).collect();
        assert_eq!(listed, found, "{pattern}");
    }
}

#[tokio::test]
async fn any_text_is_a_transactional_id() {
    let mut stage = Stage::new().await;
    for id in ["x".repeat(32_767), "a\0b\nc".to_owned(), "事务".to_owned()] {
        let request = InitProducerIdRequest { transactional_id: Some(id.clone()), ..init(None) };
        assert!(producer_of(stage.client.call(5, request).await).is_ok());
        assert_eq!(stage.describe(&id).await.transaction_state, "Empty");
    }
}

#[tokio::test]
async fn requests_of_version_2_need_the_feature() {
    let mut stage = Stage::new().await;
    let me = stage.init(5, None).await.unwrap();
    for level in [1, 0] {
        let update = FeatureUpdateKey {
            feature: "transaction.version".to_owned(),
            max_version_level: level,
            upgrade_type: 2,
            ..Default::default()
        };
        let update = UpdateFeaturesRequest { feature_updates: vec![update], ..Default::default() };
        assert_eq!(stage.client.call(1, update).await.error_code, 0);
        let expected = if level == 0 { code(ErrorCode::UnsupportedVersion) } else { 0 };
        assert_eq!(stage.offsets(5, offsets(me, "g", -1, 1)).await, expected);
        assert_eq!(stage.write(12, me, i32::from(level == 0)).await, expected);
    }
    assert_eq!(stage.end(5, me, true).await, Err(code(ErrorCode::UnsupportedVersion)));
    assert!(stage.end(4, me, true).await.is_ok(), "clients without it go on");
    assert_eq!(stage.write(12, me, 1).await, code(ErrorCode::UnsupportedVersion));
    assert_eq!(stage.state().await, "CompleteCommit", "a refused batch opens nothing");
    assert_eq!(stage.end(5, me, false).await, Err(code(ErrorCode::UnsupportedVersion)));
    assert_eq!(stage.end(5, me, true).await, Err(code(ErrorCode::InvalidTxnState)), "it changes nothing");
}

#[tokio::test]
async fn every_version_of_every_api_of_transactions_is_read_by_two_codecs() {
    let mut stage = Stage::new().await;
    let me = stage.init(5, None).await.unwrap();
    let id = stage.node.store.topics().by_name("t").unwrap().id;
    let client = &mut stage.client;
    let add = |version| {
        let transaction = AddPartitionsToTxnTransaction {
            transactional_id: "tx".to_owned(),
            producer_id: me.id,
            producer_epoch: me.epoch,
            verify_only: false,
            topics: vec![AddPartitionsToTxnTopic { name: "t".to_owned(), partitions: vec![0] }],
        };
        match version {
            ..4 => add(me, "t", &[0]),
            _ => AddPartitionsToTxnRequest { transactions: vec![transaction], ..Default::default() },
        }
    };
    each::<_, theirs::AddPartitionsToTxnResponse>(client, 0, add, |answer, version| {
        let new = answer.results_by_transaction.iter().flat_map(|one| &one.topic_results);
        let topics: Vec<_> = new.chain(&answer.results_by_topic_v3_and_below).collect();
        assert_eq!(topics[0].results_by_partition[0].partition_error_code, 0, "version {version}");
    })
    .await;
    each::<_, theirs::AddOffsetsToTxnResponse>(
        client,
        0,
        |_| add_group(me, "g"),
        |answer, version| {
            assert_eq!(answer.error_code, 0, "version {version}");
        },
    )
    .await;
    let commit = |version| {
        let mut request = offsets(me, "g", -1, 1);
        if version >= 6 {
            (request.topics[0].name, request.topics[0].topic_id) = (String::new(), id);
        }
        request
    };
    each::<_, theirs::TxnOffsetCommitResponse>(client, 0, commit, |answer, version| {
        assert_eq!(answer.topics[0].partitions[0].error_code, 0, "version {version}");
    })
    .await;
    let marker = |_| WriteTxnMarkersRequest {
        markers: vec![WritableTxnMarker {
            producer_id: 77,
            topics: vec![WritableTxnMarkerTopic { name: "t".into(), partition_indexes: vec![0] }],
            ..Default::default()
        }],
    };
    each::<_, theirs::WriteTxnMarkersResponse>(client, 1, marker, |answer, version| {
        assert_eq!(answer.markers[0].topics[0].partitions[0].error_code, 0, "version {version}");
    })
    .await;
    let producers = |_| DescribeProducersRequest {
        topics: vec![TopicRequest { name: "t".to_owned(), partition_indexes: vec![0] }],
    };
    each::<_, theirs::DescribeProducersResponse>(client, 0, producers, |answer, _| {
        assert_eq!(answer.topics[0].partitions[0].active_producers.len(), 1);
    })
    .await;
    let describe = |_| DescribeTransactionsRequest { transactional_ids: vec!["tx".to_owned()] };
    each::<_, theirs::DescribeTransactionsResponse>(client, 0, describe, |answer, _| {
        assert_eq!(answer.transaction_states[0].topics.len(), 2);
    })
    .await;
    let list = |_| ListTransactionsRequest { duration_filter: -1, ..Default::default() };
    each::<_, theirs::ListTransactionsResponse>(client, 0, list, |answer, _| {
        assert_eq!(answer.transaction_states.len(), 1);
    })
    .await;
    each::<_, theirs::EndTxnResponse>(
        client,
        0,
        |_| end(me, true),
        |answer, version| {
            // Version 5 finds that an old client has ended the transaction.
            let expected = if version < 5 { 0 } else { code(ErrorCode::InvalidTxnState) };
            assert_eq!(answer.error_code, expected, "version {version}");
        },
    )
    .await;
    each::<_, theirs::InitProducerIdResponse>(
        client,
        0,
        |_| init(None),
        |answer, version| {
            assert_eq!((answer.error_code, answer.producer_epoch), (0, 1 + version));
        },
    )
    .await;
}

#[tokio::test]
async fn a_transaction_may_have_ten_thousand_partitions() {
    const PARTITIONS: i32 = 10_000;
    let mut stage = Stage::new().await;
    stage.node.topic("wide", PARTITIONS.unsigned_abs()).await;
    let me = stage.init(5, None).await.unwrap();
    let all: Vec<i32> = (0..PARTITIONS).collect();
    let added = stage.client.call(3, add(me, "wide", &all)).await.results_by_topic_v3_and_below;
    assert!(added[0].results_by_partition.iter().all(|partition| partition.partition_error_code == 0));
    assert_eq!(stage.describe("tx").await.topics[0].partitions, all);
    assert_eq!(stage.end(5, me, true).await, Ok(Me { epoch: 1, ..me }));
    for index in [0, 1, 999, 9_999] {
        assert_eq!(stage.node.partition("wide", index).ends().high_watermark.0, 1, "its marker");
    }
}

#[tokio::test]
async fn a_two_phase_commit_has_no_time_limit() {
    let mut stage = Stage::with(&[("transaction.two.phase.commit.enable", "true")]).await;
    let two_phase = InitProducerIdRequest { enable2_pc: true, transaction_timeout_ms: 0, ..init(None) };
    assert!(producer_of(stage.client.call(6, two_phase.clone()).await).is_ok());
    assert_eq!(stage.describe("tx").await.transaction_timeout_ms, i32::MAX);
    assert!(stage.node.store.transactions().get("tx").unwrap().two_phase);
    let keep = InitProducerIdRequest { keep_prepared_txn: true, ..two_phase };
    assert_eq!(producer_of(stage.client.call(6, keep).await), Err(code(ErrorCode::UnsupportedVersion)));
    // The next producer wants a limit again.
    assert!(producer_of(stage.client.call(6, init(None)).await).is_ok());
    assert_eq!(stage.describe("tx").await.transaction_timeout_ms, 60_000);
}

#[tokio::test]
async fn the_version_of_two_phase_commit_is_there_if_it_is_switched_on() {
    for (enabled, highest) in [("true", 6), ("false", 5)] {
        let mut stage = Stage::with(&[("transaction.two.phase.commit.enable", enabled)]).await;
        let versions = ApiVersionsRequest {
            client_software_name: "test".to_owned(),
            client_software_version: "1".to_owned(),
            ..Default::default()
        };
        let keys = stage.client.call(4, versions).await.api_keys;
        let key = keys.iter().find(|key| key.api_key == InitProducerIdRequest::KEY).unwrap();
        assert_eq!(key.max_version, highest);
        stage.client.send(6, &init(None)).await;
        assert_eq!(stage.client.receive_bytes_or_close().await.is_some(), highest == 6);
    }
}
