//! Consumers of committed records: where they end, what they have to skip, and when their fetch is answered.

use std::sync::Arc;

use TransactionEnd::{Abort, Commit};
use jackdaw::kernel::{Applied, Command, EndTransaction, EndedBy, InitTransaction, ProducerAt};
use jackdaw::protocol::messages::FetchRequest;
use jackdaw::protocol::messages::fetch_request::FetchTopic;
use jackdaw::protocol::messages::fetch_response::PartitionData;
use jackdaw::protocol::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use jackdaw::record::{self, BatchBuilder, Producer, Rules};
use jackdaw::storage::{Partition, Store};
use jackdaw::types::{Offset, Timestamp, TransactionEnd};

use crate::harness::{Client, Node, batch, batches, fetch_from, fetch_topics, only, partition_from, records};

/// Longer than any test: a fetch that waits this long was not woken.
const VERY_LONG: i32 = 10 * 60 * 1_000;

const MAX_TIMESTAMP: i64 = -3;
const LATEST: i64 = -1;

/// A transactional producer of partition 0 of the topic `t`.
struct Writer {
    store: Store,
    id: &'static str,
    at: ProducerAt,
    sequence: i32,
    partition: Arc<Partition>,
}

impl Writer {
    async fn new(node: &Node, id: &'static str) -> Writer {
        let (known, rolls) = (None, Vec::new());
        let init = InitTransaction { id: id.into(), known, timeout_ms: 60_000, two_phase: false, rolls };
        let at = match node.store.transact(Command::InitTransaction(init)).await.unwrap() {
            Applied::TransactionInitialized { producer } => producer,
            other => panic!("{other:?}"),
        };
        Writer { store: node.store.clone(), id, at, sequence: 0, partition: node.partition("t", 0) }
    }

    /// Appends one record in the open transaction or a new one. Returns the size of its batch.
    async fn send(&mut self, time: i64) -> usize {
        let producer = Producer { id: self.at.id, epoch: self.at.epoch, base_sequence: self.sequence };
        let batch =
            BatchBuilder::new().producer(producer).transactional().value(Timestamp(time), "0123456789");
        let batch = record::check_produced(batch.build(), &Rules::LENIENT).unwrap();
        let size = batch.bytes.len();
        self.sequence += 1;
        self.store.append_and_join(&self.partition, batch).await.unwrap();
        size
    }

    async fn end(&mut self, end: TransactionEnd) {
        let (began, by, rolls) = (None, EndedBy::ClientWithNewEpoch, Vec::new());
        let end = EndTransaction { id: self.id.into(), producer: self.at, began, end, by, rolls };
        match self.store.transact(Command::EndTransaction(end)).await.unwrap() {
            Applied::TransactionEnded(ended) => (self.at, self.sequence) = (ended.producer, 0),
            other => panic!("{other:?}"),
        }
    }
}

/// A node with the topic `t`, a consumer, and two transactional producers.
async fn story() -> (Node, Client, Writer, Writer) {
    let node = Node::start().await;
    node.topic_with("t", 1, &[("retention.ms", "-1")]).await;
    let (one, two) = (Writer::new(&node, "one").await, Writer::new(&node, "two").await);
    let client = node.client().await;
    (node, client, one, two)
}

fn committed(offset: i64) -> FetchRequest {
    FetchRequest { isolation_level: 1, ..fetch_from("t", 0, offset) }
}

/// Last stable offset, high watermark, and the offsets of the batches.
fn seen(answer: &PartitionData) -> (i64, i64, Vec<i64>) {
    assert_eq!(answer.error_code, 0);
    let offsets = batches(answer).into_iter().map(|(offset, _)| offset).collect();
    (answer.last_stable_offset, answer.high_watermark, offsets)
}

/// The first offsets of the aborted transactions in an answer.
fn listed(answer: &PartitionData) -> Option<Vec<i64>> {
    let all = answer.aborted_transactions.as_ref()?;
    Some(all.iter().map(|aborted| aborted.first_offset).collect())
}

#[tokio::test]
async fn f10_read_committed_ends_at_the_first_open_transaction() {
    let (_node, mut client, mut one, mut two) = story().await;
    one.send(1).await;
    one.end(Commit).await;
    two.send(1).await;
    one.send(1).await;
    one.end(Commit).await;
    assert_eq!(seen(&only(client.call(12, committed(0)).await)), (2, 5, vec![0, 1]));
    for offset in 2..=5 {
        let between = only(client.call(12, committed(offset)).await);
        assert_eq!(seen(&between), (2, 5, vec![]), "no error from {offset} on");
        assert_eq!(listed(&between), Some(vec![]));
    }
    assert_eq!(seen(&client.fetch("t", 0, 0).await), (2, 5, vec![0, 1, 2, 3, 4]), "the others see all");
    two.end(Commit).await;
    assert_eq!(seen(&only(client.call(12, committed(0)).await)), (6, 6, vec![0, 1, 2, 3, 4, 5]));
}

#[tokio::test]
async fn f11_aborted_records_are_listed_although_compaction_forgets_their_transaction_while_a_fetch_waits() {
    let node = Node::start().await;
    let compacted = [
        ("cleanup.policy", "compact"),
        ("internal.segment.bytes", "200"),
        ("min.cleanable.dirty.ratio", "0"),
    ];
    node.topic_with("t", 1, &compacted).await;
    let (mut one, mut client) = (Writer::new(&node, "one").await, node.client().await);
    one.send(1).await;
    one.end(Abort).await;
    let keyed = async |key: &str| {
        let batch = BatchBuilder::new().record(Timestamp(1), Some(key.as_bytes()), Some(&[7; 100]), &[]);
        let batch = batch.build();
        assert_eq!(node.client().await.produce("t", 0, batch.clone()).await.error_code, 0);
        batch.len()
    };
    let size = keyed("a").await;
    let read = only(client.call(12, committed(0)).await);
    assert_eq!((batches(&read)[0], listed(&read)), ((0, 1), Some(vec![0])));
    let more = i32::try_from(records(&read).len() + 4 * size).unwrap();
    let waiting = FetchRequest { min_bytes: more, max_wait_ms: VERY_LONG, ..committed(0) };
    client.send(12, &waiting).await;
    let fetches =
        || node.requests.iter().find(|of| of.row.key == 1)?.versions().next().map(|(_, count)| count);
    while fetches() != Some(2) {
        tokio::task::yield_now().await;
    }
    for key in ["b", "c", "d"] {
        keyed(key).await;
        let store = node.store.clone();
        tokio::task::spawn_blocking(move || store.compact()).await.unwrap();
    }
    assert_eq!(listed(&only(node.client().await.call(12, committed(0)).await)), Some(vec![]));
    keyed("e").await;
    let answer = only(client.receive::<FetchRequest>(12).await.1);
    assert_eq!((batches(&answer)[0], listed(&answer)), ((0, 1), Some(vec![0])), "they were read before");
}

#[tokio::test]
async fn f11_aborted_transactions_come_in_the_order_of_their_markers_to_read_committed_alone() {
    let (_node, mut client, mut one, mut two) = story().await;
    one.send(1).await;
    two.send(1).await;
    two.end(Abort).await;
    two.send(1).await;
    two.end(Commit).await;
    one.end(Abort).await;
    for version in [4, 11, 12] {
        let all = only(client.call(version, committed(0)).await);
        assert_eq!(listed(&all), Some(vec![1, 0]), "version {version}");
        let producers: Vec<i64> =
            all.aborted_transactions.iter().flatten().map(|aborted| aborted.producer_id).collect();
        assert_eq!(producers, [two.at.id.0, one.at.id.0]);
        assert_eq!(listed(&only(client.call(version, fetch_from("t", 0, 0)).await)), None);
    }
    // From the middle of a transaction on, and after one that has ended.
    assert_eq!(listed(&only(client.call(12, committed(2)).await)), Some(vec![1, 0]));
    assert_eq!(listed(&only(client.call(12, committed(3)).await)), Some(vec![0]));
    let small = FetchRequest { max_bytes: 1, ..committed(0) };
    let first = only(client.call(12, small).await);
    assert_eq!((batches(&first).len(), listed(&first)), (1, Some(vec![0])), "of the returned records only");
    let at_the_end = only(client.call(12, committed(6)).await);
    assert_eq!(listed(&at_the_end), Some(vec![]));
}

#[tokio::test]
async fn f12_a_fetch_of_committed_records_waits_for_committed_bytes() {
    let (node, mut consumer, mut one, _two) = story().await;
    let mut producer = node.client().await;
    consumer.send(12, &FetchRequest { max_wait_ms: VERY_LONG, ..committed(0) }).await;
    let size = one.send(1).await + one.send(1).await;
    // When the other client has its answer, the fetch has had its chance.
    assert_eq!(producer.produce("t", 0, b"no batch".as_slice()).await.error_code, 87);
    assert!(!consumer.has_received(), "nothing is committed");
    one.end(Commit).await;
    let (_, answer) = consumer.receive::<FetchRequest>(12).await;
    let answer = only(answer);
    assert_eq!(seen(&answer), (3, 3, vec![0, 1, 2]));
    assert_eq!(records(&answer).len(), size + record::Marker::SIZE);
}

#[tokio::test]
async fn f12_the_minimum_is_counted_in_committed_bytes() {
    let (node, mut consumer, mut one, _two) = story().await;
    let mut producer = node.client().await;
    producer.produce("t", 0, batch(&["a"])).await;
    let min_bytes = i32::try_from(batch(&["a"]).len()).unwrap() + 1;
    consumer.send(12, &FetchRequest { max_wait_ms: VERY_LONG, min_bytes, ..committed(0) }).await;
    one.send(1).await;
    assert_eq!(producer.produce("t", 0, b"no batch".as_slice()).await.error_code, 87);
    assert!(!consumer.has_received(), "the rest is not committed");
    one.end(Abort).await;
    let (_, answer) = consumer.receive::<FetchRequest>(12).await;
    let answer = only(answer);
    assert_eq!((seen(&answer), listed(&answer)), ((3, 3, vec![0, 1, 2]), Some(vec![1])));
}

#[tokio::test]
async fn a_session_tells_of_a_moved_high_watermark_though_nothing_is_committed() {
    let (node, mut client, mut one, _two) = story().await;
    let topic_id = node.partition("t", 0).topic;
    let fetch = |session_id, session_epoch, partitions| {
        let topics = vec![FetchTopic { topic_id, partitions, ..Default::default() }];
        let topics = if session_epoch == 0 { topics } else { Vec::new() };
        FetchRequest { session_id, session_epoch, isolation_level: 1, ..fetch_topics(topics) }
    };
    let id = client.call(18, fetch(0, 0, vec![partition_from(0, 0)])).await.session_id;
    assert!(client.call(18, fetch(id, 1, vec![])).await.responses.is_empty(), "nothing changed");
    one.send(1).await;
    assert_eq!(seen(&only(client.call(18, fetch(id, 2, vec![])).await)), (0, 1, vec![]));
    assert!(client.call(18, fetch(id, 3, vec![])).await.responses.is_empty(), "nothing changed");
}

/// The offset for a timestamp.
async fn offset_for(client: &mut Client, isolation_level: i8, timestamp: i64) -> i64 {
    let partition = ListOffsetsPartition { partition_index: 0, current_leader_epoch: -1, timestamp };
    let topics = vec![ListOffsetsTopic { name: "t".into(), partitions: vec![partition] }];
    let request = ListOffsetsRequest { replica_id: -1, isolation_level, topics, ..Default::default() };
    let found = client.call(11, request).await.topics.remove(0).partitions.remove(0);
    assert_eq!(found.error_code, 0);
    found.offset
}

#[tokio::test]
async fn list_offsets_with_read_committed_finds_nothing_from_the_last_stable_offset_on() {
    let (_node, mut client, mut one, _two) = story().await;
    one.send(1_000).await;
    one.end(Commit).await;
    let marker = 1;
    one.send(i64::MAX).await;
    assert_eq!(offset_for(&mut client, 0, MAX_TIMESTAMP).await, 2);
    assert_eq!(offset_for(&mut client, 1, MAX_TIMESTAMP).await, -1, "not the newest of the committed ones");
    assert_eq!(offset_for(&mut client, 1, 1_000).await, 0);
    assert_eq!(offset_for(&mut client, 1, 1_001).await, marker, "markers have a time, too");
    assert_eq!(offset_for(&mut client, 1, i64::MAX).await, -1);
    assert_eq!((offset_for(&mut client, 0, LATEST).await, offset_for(&mut client, 1, LATEST).await), (3, 2));
    one.end(Commit).await;
    assert_eq!(offset_for(&mut client, 1, MAX_TIMESTAMP).await, 2);
    assert_eq!(offset_for(&mut client, 1, LATEST).await, 4);
}

#[tokio::test]
async fn records_of_an_open_transaction_can_be_deleted_and_its_abort_is_listed_from_its_first_offset() {
    let (node, mut client, mut one, mut two) = story().await;
    for _ in 0..3 {
        one.send(1).await;
    }
    two.send(1).await;
    two.end(Commit).await;
    let partition = node.partition("t", 0);
    assert_eq!(node.store.delete_before(&partition, Offset(2)).await, Ok(Offset(2)));
    assert_eq!(seen(&only(client.call(12, committed(2)).await)), (2, 5, vec![]), "the log start is stable");
    one.end(Abort).await;
    let all = only(client.call(12, committed(2)).await);
    assert_eq!((seen(&all), listed(&all)), ((6, 6, vec![2, 3, 4, 5]), Some(vec![0])));
}
