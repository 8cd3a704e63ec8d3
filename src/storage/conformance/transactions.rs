//! Facts about transactions: they end in all partitions at once, on every broker.

use super::client::{self, Client};
use super::placed;
use super::subject::Subject;
use super::{ONE, THREE, TWO};
use crate::kernel::offsets::{CommittedOffset, OffsetChange};
use crate::kernel::{
    Applied, Command, EndTransaction, EndedBy, InitTransaction, ProducerAt, Refusal, TransactionOffsets,
};
use crate::storage::groups::GroupStore;
use crate::storage::{AppendError, Store, StoreError};
use crate::types::{Offset, ProducerEpoch, Timestamp, TopicId, TopicPartition, TransactionEnd};

const ID: &str = "transfers";
const GROUP: &str = "readers";

/// A transactional producer of the newer protocol.
struct Producer {
    client: Client,
    at: ProducerAt,
}

async fn init(store: &Store, known: Option<ProducerAt>) -> Applied {
    let (id, two_phase, rolls) = (ID.to_owned(), false, Vec::new());
    let init = InitTransaction { id, known, timeout_ms: 60_000, two_phase, rolls };
    store.transact(Command::InitTransaction(init)).await.unwrap()
}

impl Producer {
    /// Fences the earlier producers of the id, and aborts their open transaction.
    async fn start(client: Client) -> Producer {
        loop {
            match init(&client.any(), None).await {
                Applied::TransactionInitialized { producer } => return Producer { client, at: producer },
                Applied::TransactionEnded(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Sends one record, which is the first one of the transaction in its partition.
    async fn send(&self, topic: TopicId, index: i32, value: &str) -> Result<Offset, AppendError> {
        let (store, partition) = self.client.leader(topic, index).await;
        let batch = client::transactional((self.at.id, self.at.epoch, 0), &[value.to_owned()]);
        store.append_and_join(&partition, batch).await.map(|appended| appended.base_offset)
    }

    async fn stage(&self, topic: TopicId, offset: i64) {
        let create = vec![OffsetChange::Committed(Vec::new()).into()];
        self.client.any().submit(GROUP, 0, create).await.unwrap();
        let metadata = String::new();
        let (offset, committed_at) = (Offset(offset), Timestamp(0));
        let staged = CommittedOffset { offset, leader_epoch: None, metadata, committed_at, expires_at: None };
        let command = TransactionOffsets {
            id: ID.to_owned(),
            producer: self.at,
            joins: true,
            group: GROUP.to_owned(),
            after: 0,
            offsets: vec![(TopicPartition::new(topic, 0), staged)],
        };
        self.client.any().transact(Command::TransactionOffsets(command)).await.unwrap();
    }

    async fn end(&mut self, end: TransactionEnd) -> Result<(), StoreError> {
        let (id, rolls) = (ID.to_owned(), Vec::new());
        let by = EndedBy::ClientWithNewEpoch;
        let command = EndTransaction { id, producer: self.at, began: None, end, by, rolls };
        match self.client.any().transact(Command::EndTransaction(command)).await? {
            Applied::TransactionEnded(ended) => self.at = ended.producer,
            other => panic!("{other:?}"),
        }
        Ok(())
    }
}

/// The last stable offset and the high watermark of a partition, which are the same on every broker.
async fn ends(client: &Client, topic: TopicId, index: i32) -> (i64, i64) {
    let mut found = Vec::new();
    for store in client.all() {
        store.barrier().await.unwrap();
        let ends = store.topics().by_id(topic).unwrap().partition(index).unwrap().ends();
        found.push((ends.last_stable.0, ends.high_watermark.0));
    }
    assert!(found.iter().all(|ends| *ends == found[0]), "{found:?}");
    found[0]
}

pub(super) async fn a_transaction_ends_in_all_partitions_at_once(subject: &mut impl Subject) {
    let topic = placed(subject, "t", &[&[ONE, TWO], &[TWO, THREE], &[THREE]]).await;
    let client = subject.client();
    let mut producer = Producer::start(client.clone()).await;
    for end in [TransactionEnd::Commit, TransactionEnd::Abort] {
        let begins = ends(&client, topic, 0).await.1;
        for index in 0..3 {
            assert_eq!(producer.send(topic, index, "x").await, Ok(Offset(begins)));
            assert_eq!(ends(&client, topic, index).await, (begins, begins + 1));
        }
        producer.end(end).await.unwrap();
        for index in 0..3 {
            assert_eq!(ends(&client, topic, index).await, (begins + 2, begins + 2), "{end:?}");
        }
    }
}

pub(super) async fn the_aborted_transactions_of_a_partition_are_known_everywhere(subject: &mut impl Subject) {
    let topic = placed(subject, "t", &[&[ONE, TWO]]).await;
    let client = subject.client();
    let mut producer = Producer::start(client.clone()).await;
    for end in [TransactionEnd::Abort, TransactionEnd::Commit, TransactionEnd::Abort] {
        producer.send(topic, 0, "x").await.unwrap();
        producer.end(end).await.unwrap();
    }
    for store in client.all() {
        store.barrier().await.unwrap();
        let partition = store.topics().by_id(topic).unwrap().partition(0).unwrap().clone();
        let known = async |from, until| {
            let found = partition.aborted(Offset(from)..Offset(until)).await.unwrap();
            found.iter().map(|one| (one.first.0, one.last.0)).collect::<Vec<_>>()
        };
        assert_eq!(known(0, 6).await, [(0, 1), (4, 5)]);
        assert_eq!(known(1, 4).await, [(0, 1)], "it began before the range");
        assert_eq!(known(2, 4).await, []);
    }
}

pub(super) async fn offsets_of_a_transaction_are_committed_or_dropped_with_it(subject: &mut impl Subject) {
    let topic = placed(subject, "t", &[&[ONE, TWO]]).await;
    let client = subject.client();
    let mut producer = Producer::start(client.clone()).await;
    for (end, offset, after) in [(TransactionEnd::Abort, 5, None), (TransactionEnd::Commit, 7, Some(7))] {
        producer.stage(topic, offset).await;
        let known = async || {
            let mut found = Vec::new();
            for store in client.all() {
                store.barrier().await.unwrap();
                let (offsets, of) = (store.offsets(GROUP), TopicPartition::new(topic, 0));
                found.push((offsets.get(of).map(|committed| committed.offset.0), offsets.is_staged(of)));
            }
            found
        };
        assert!(known().await.iter().all(|known| *known == (None, true)));
        producer.end(end).await.unwrap();
        assert!(known().await.iter().all(|known| *known == (after, false)));
    }
}

pub(super) async fn a_producer_that_was_replaced_changes_nothing(subject: &mut impl Subject) {
    let topic = placed(subject, "t", &[&[ONE, TWO]]).await;
    let client = subject.client();
    let mut zombie = Producer::start(client.clone()).await;
    zombie.send(topic, 0, "of the zombie").await.unwrap();
    let producer = Producer::start(client.clone()).await;
    assert_eq!(producer.at.epoch, ProducerEpoch(2), "one epoch for the abort, one for the producer");
    assert_eq!(ends(&client, topic, 0).await, (2, 2));
    let stale = Refusal::StaleProducerEpoch { current: ProducerEpoch(2), got: ProducerEpoch(0) };
    assert_eq!(zombie.send(topic, 0, "late").await, Err(AppendError::Refused(stale)));
    let ended = zombie.end(TransactionEnd::Commit).await;
    assert_eq!(ended, Err(StoreError::Refused(Refusal::ProducerFenced)));
    assert_eq!(ends(&client, topic, 0).await, (2, 2));
}
