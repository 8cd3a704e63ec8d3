//! The locks of partitions whose brokers share a journal: the leader moves from one broker to another.

use super::*;
use crate::kernel::offsets::{CommittedOffset, OffsetChange};
use crate::storage::Store;
use crate::storage::cluster::Faults;
use crate::storage::conformance::subject::{Shared, Subject};
use crate::storage::groups::GroupStore;
use crate::types::{NodeId, Offset, TopicPartition};

const SEEDS: u64 = 20;
const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);

/// A broker's store. The kernel has no acknowledged records yet, so each one is a committed offset under its
/// number.
#[derive(Clone)]
struct Shelf {
    store: Store,
    node: NodeId,
}

impl Keeper<Locks> for Shelf {
    fn all(&self) -> Vec<(Key, Acknowledged)> {
        let groups = self.store.groups();
        let mut all: BTreeMap<Key, Acknowledged> = BTreeMap::new();
        for (name, kept) in groups.iter() {
            for (TopicPartition { topic, partition: record }, _) in kept.offsets.all().iter() {
                let acknowledged = all.entry((Arc::clone(name), *topic, 0)).or_default();
                Arc::make_mut(acknowledged).insert((*record).into());
            }
        }
        all.into_iter().collect()
    }

    fn find(&self, key: &Key) -> Option<Acknowledged> {
        self.all().into_iter().find(|(known, _)| known == key).map(|(_, acknowledged)| acknowledged)
    }

    fn count(&self) -> usize {
        self.all().len()
    }

    fn bytes(&self) -> usize {
        self.store.group_bytes()
    }

    fn home(&self, (_, topic, index): &Key) -> Option<LeaderEpoch> {
        let topics = Store::topics(&self.store);
        let topic = topics.by_id(*topic)?;
        let is_leader = topic.placement(*index)?.leader == Some(self.node);
        is_leader.then(|| topic.partition(*index).map(|partition| partition.ends().leader_epoch))?
    }

    fn submit(&self, (group, topic, _): &Key, _: u64, changes: Vec<i64>) -> Settled {
        let committed = |record: i64| {
            let (offset, metadata) = (Offset(record), String::new());
            let committed_at = Timestamp(0);
            let committed =
                CommittedOffset { offset, leader_epoch: None, metadata, committed_at, expires_at: None };
            (TopicPartition::new(*topic, i32::try_from(record).unwrap()), committed)
        };
        let change = OffsetChange::Committed(changes.into_iter().map(committed).collect());
        self.store.submit(group, 0, vec![change.into()])
    }

    fn is_serving(&self) -> bool {
        GroupStore::is_serving(&self.store)
    }

    fn view(&self, _: &Key) {}
}

/// The locks of a group on a partition, at one broker.
struct Broker {
    store: Store,
    runtime: Arc<Runtime<Locks>>,
    key: Key,
}

impl Broker {
    async fn new(shared: &Shared, node: NodeId, topic: TopicId) -> Broker {
        let store = shared.client().store(node);
        store.barrier().await.unwrap();
        let keeper = Shelf { store: store.clone(), node };
        let runtime = Arc::new(Runtime::load(Box::new(keeper), ALL, Clock::manual(Timestamp(0))));
        Broker { store, runtime, key: ("g".into(), topic, 0) }
    }

    /// The partition has records up to there.
    fn grew(&self, end: i64) {
        let at = self.runtime.session.look();
        let done = self.runtime.with(&self.key, Absent::Create, at, |slot, state| {
            self.runtime.decide(slot, state, at, Command::Grew(end));
        });
        done.unwrap();
    }

    async fn ask<A: Send + 'static>(&self, command: impl FnOnce(Reply<A>) -> Command) -> Result<A, Unserved> {
        self.runtime.ask(&self.key, Absent::Create, command)?.answer().await
    }
}

/// Three brokers, and a partition that the first of them leads.
async fn with_partition(seed: u64) -> (Shared, TopicId) {
    let faults = if seed == 0 { Faults::NONE } else { Faults::MANY };
    let shared = Shared::new(seed, faults).await;
    let store = shared.client().store(ONE);
    let placed = store.create_placed_topic("t".to_owned(), BTreeMap::new(), vec![vec![ONE, TWO]]);
    let topic = placed.await.unwrap().id;
    (shared, topic)
}

#[tokio::test]
async fn the_next_leader_has_the_acknowledged_records_and_none_of_the_locks() {
    for seed in 0..SEEDS {
        let (mut shared, topic) = with_partition(seed).await;
        let one = Broker::new(&shared, ONE, topic).await;
        one.grew(3);
        for record in [0, 1] {
            assert_eq!(one.ask(Command::Acquire).await, Ok(Some(record)));
        }
        assert_eq!(one.ask(|reply| Command::Acknowledge(0, reply)).await, Ok(true));
        let two = Broker::new(&shared, TWO, topic).await;
        assert_eq!(two.ask(Command::Acquire).await, Err(Unserved::NotHome));
        shared.stop(ONE).await;
        two.store.barrier().await.unwrap();
        two.grew(3);
        assert_eq!(two.ask(Command::Acquire).await, Ok(Some(1)));
        assert_eq!(two.ask(Command::Acquire).await, Ok(Some(2)));
    }
}

#[tokio::test]
async fn a_former_leader_drops_its_locks_and_answers_waiting_requests() {
    for seed in 0..SEEDS {
        let (shared, topic) = with_partition(seed).await;
        let (one, two) = (Broker::new(&shared, ONE, topic).await, Broker::new(&shared, TWO, topic).await);
        one.grew(1);
        assert_eq!(one.ask(Command::Acquire).await, Ok(Some(0)));
        let mut waits = pin!(one.ask(Command::Await));
        assert_eq!(peek(waits.as_mut()), None);
        two.store.set_replicas(topic, 0, vec![TWO]).await.unwrap();
        one.store.barrier().await.unwrap();
        one.runtime.rehome();
        assert_eq!(waits.await, Err(Unserved::NotHome));
        assert_eq!(one.ask(Command::Acquire).await, Err(Unserved::NotHome));
        two.grew(1);
        assert_eq!(two.ask(Command::Acquire).await, Ok(Some(0)), "its lock is gone");
    }
}
