//! A client of a subject: it finds leaders, and repeats a batch until it has an answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use crate::kernel::Refusal;
use crate::record::{self, BatchBuilder, Checked, Rules};
use crate::storage::line::{AppendWork, Work};
use crate::storage::{AppendError, Appended, Isolation, Partition, ReadRange, Store, Unavailable};
use crate::types::{
    IgnorePoison, LeaderEpoch, NodeId, Offset, ProducerEpoch, ProducerId, Timestamp, TopicId,
};

/// The running brokers and their stores.
pub type Brokers = Arc<Mutex<BTreeMap<NodeId, Store>>>;

#[derive(Clone)]
pub struct Client(pub Brokers);

impl Client {
    pub fn all(&self) -> Vec<Store> {
        self.0.lock().ignoring_poison().values().cloned().collect()
    }

    /// The store of the running broker with the lowest id.
    pub fn any(&self) -> Store {
        self.all().into_iter().next().expect("a broker runs")
    }

    pub fn store(&self, node: NodeId) -> Store {
        self.0.lock().ignoring_poison()[&node].clone()
    }

    /// The store of a partition's leader, and the partition there.
    pub async fn leader(&self, topic: TopicId, index: i32) -> (Store, Arc<Partition>) {
        loop {
            if let Some(found) = self.look_for_leader(topic, index).await {
                return found;
            }
            // The leader has stopped, but was not declared gone yet.
            others_go_on(1).await;
        }
    }

    async fn look_for_leader(&self, topic: TopicId, index: i32) -> Option<(Store, Arc<Partition>)> {
        let any = self.any();
        any.barrier().await.ok()?;
        let leader = any.topics().by_id(topic)?.placement(index)?.leader?;
        let store = self.0.lock().ignoring_poison().get(&leader).cloned()?;
        store.barrier().await.ok()?;
        let partition = Arc::clone(store.topics().by_id(topic)?.partition(index)?);
        Some((store, partition))
    }
}

/// An idempotent producer that sends one batch after the other to one partition.
pub struct Producer {
    id: ProducerId,
    epoch: ProducerEpoch,
    sequence: i32,
}

impl Producer {
    pub async fn new(store: &Store) -> Producer {
        let (id, epoch) = store.new_producer().await.unwrap();
        Producer { id, epoch, sequence: 0 }
    }

    /// The next batch.
    pub fn batch(&mut self, values: &[String]) -> Checked {
        let batch = batch_of((self.id, self.epoch, self.sequence), values);
        self.sequence += i32::try_from(values.len()).unwrap();
        batch
    }

    /// Sends the next batch until it is acknowledged.
    pub async fn send(&mut self, client: &Client, (topic, index): (TopicId, i32), values: &[String]) {
        let batch = self.batch(values);
        loop {
            let (store, partition) = client.leader(topic, index).await;
            match store.append(&partition, batch.clone()).await {
                Ok(_) => return,
                Err(AppendError::Refused(Refusal::NotLeader)) => {}
                // The broker stopped: it is unknown whether the batch was stored.
                Err(AppendError::Unavailable(Unavailable::Stopped)) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
    }
}

/// Appends a batch that was accepted in this leader epoch.
pub async fn append_in(
    store: &Store,
    partition: &Arc<Partition>,
    leadership: LeaderEpoch,
    batch: Checked,
) -> Result<Appended, AppendError> {
    let (done, answer) = oneshot::channel();
    let partition = Arc::clone(partition);
    let work = AppendWork { partition, batch, leadership, joins: false, room: None, done };
    store.line().submit(Work::Append(work));
    answer.await.unwrap()
}

pub fn batch(values: &[String]) -> Checked {
    batch_at(Timestamp(999_000), values)
}

/// A batch whose records have this time.
pub fn batch_at(time: Timestamp, values: &[String]) -> Checked {
    checked(values.iter().fold(BatchBuilder::new(), |batch, value| batch.value(time, value)))
}

/// A batch of a producer with this id, epoch and sequence.
pub fn batch_of((id, epoch, base_sequence): (ProducerId, ProducerEpoch, i32), values: &[String]) -> Checked {
    let start = BatchBuilder::new().producer(record::Producer { id, epoch, base_sequence });
    checked(values.iter().fold(start, |batch, value| batch.value(Timestamp(999_000), value)))
}

/// A batch of a transaction.
pub fn transactional(
    (id, epoch, base_sequence): (ProducerId, ProducerEpoch, i32),
    values: &[String],
) -> Checked {
    let producer = record::Producer { id, epoch, base_sequence };
    let start = BatchBuilder::new().producer(producer).transactional();
    checked(values.iter().fold(start, |batch, value| batch.value(Timestamp(999_000), value)))
}

fn checked(batch: BatchBuilder) -> Checked {
    record::check_produced(batch.build(), &Rules::LENIENT).unwrap()
}

/// All values of a partition on this broker. Their offsets have no gaps.
pub async fn values_on(store: &Store, topic: TopicId, index: i32) -> Vec<String> {
    let topics = store.topics();
    let partition = topics.by_id(topic).unwrap().partition(index).unwrap();
    let (mut found, mut next) = (Vec::new(), partition.ends().log_start);
    loop {
        let isolation = Isolation::ReadUncommitted;
        let range =
            ReadRange { from: next, max_bytes: 700, at_least_one_batch: true, isolation, listed: false };
        let answer = partition.read(range).await.unwrap();
        let bytes = answer.to_bytes().unwrap();
        if bytes.is_empty() {
            assert_eq!(next, answer.ends.high_watermark);
            return found;
        }
        for batch in record::batches(&bytes) {
            let (_, batch) = batch.unwrap();
            for record in record::records(&batch).unwrap() {
                let record = record.unwrap();
                if record.offset >= next {
                    assert_eq!(record.offset, next);
                    next = Offset(next.0 + 1);
                    found.push(String::from_utf8(record.value.unwrap().to_vec()).unwrap());
                }
            }
        }
    }
}

/// Lets other tasks run.
pub async fn others_go_on(turns: usize) {
    for _ in 0..turns {
        tokio::task::yield_now().await;
    }
}
