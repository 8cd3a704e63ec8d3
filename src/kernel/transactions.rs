//! All transactional ids, and the commands on them.
//!
//! Invariant: a partition's open transactions (`Partition::open`) are those of the open transactional ids that have
//! a record there. A batch, an end and a fence are commands of one journal, so the coordinator and the partitions
//! can never disagree.

use std::ops::Bound;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Shard;
use super::command::{
    Applied, EndTransaction, InitTransaction, JoinTransaction, PlacedMarker, ProducerStamp, Refusal,
    TransactionEnded, TransactionOffsets, WriteMarker,
};
use super::offsets::OffsetChange;
use super::partition::MarkerPlace;
use super::producers::RememberedProducer;
use super::transaction::{End, EndedBy, Ending, Init, Next, Ongoing, ProducerAt, Transaction};
use crate::record::Marker;
use crate::types::{Offset, ProducerId, SharedMap, Timestamp, TopicPartition, TransactionEnd};

/// A clone costs O(1). A change costs O(log n), even if there are clones.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "StoredTransactions")]
pub struct Transactions {
    by_id: SharedMap<Arc<str>, Arc<Transaction>>,
    /// The ids by their present producer ids.
    #[serde(skip)]
    by_producer: SharedMap<ProducerId, Arc<str>>,
    /// The ids with an open transaction, by the position at which it was opened and by producer id.
    #[serde(skip)]
    open: SharedMap<(u64, ProducerId), Arc<str>>,
    #[serde(skip)]
    bytes: usize,
}

/// The transactional ids as a snapshot has them.
#[derive(Deserialize)]
struct StoredTransactions {
    by_id: SharedMap<Arc<str>, Arc<Transaction>>,
}

impl Transactions {
    pub fn get(&self, id: &str) -> Option<&Transaction> {
        self.by_id.get(id).map(Arc::as_ref)
    }

    /// All ids, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Transaction)> {
        self.by_id.iter().map(|(id, transaction)| (id, transaction.as_ref()))
    }

    /// The ids from this one on, in their order.
    pub fn from(&self, id: &str) -> impl Iterator<Item = (&Arc<str>, &Transaction)> {
        let range = (Bound::Included(id), Bound::Unbounded);
        self.by_id.range::<str, _>(range).map(|(id, transaction)| (id, transaction.as_ref()))
    }

    /// The ids with an open transaction, the one that was opened first at the front.
    pub fn open(&self) -> impl Iterator<Item = (&Arc<str>, &Transaction)> {
        self.open.values().filter_map(|id| Some((id, self.get(id)?)))
    }

    /// The number of open transactions.
    pub fn count_open(&self) -> usize {
        self.open.size()
    }

    pub fn len(&self) -> usize {
        self.by_id.size()
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The transactional id that a producer uses, and its state.
    pub fn of_producer(&self, producer: ProducerId) -> Option<(&Arc<str>, &Transaction)> {
        let id = self.by_producer.get(&producer)?;
        Some((id, self.get(id)?))
    }

    /// The memory that they take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Changes an id. It is created if it is new.
    fn change<T>(
        &mut self,
        id: &str,
        create: impl FnOnce() -> Transaction,
        change: impl FnOnce(&mut Transaction) -> T,
    ) -> T {
        let known = self.by_id.get_key_value(id).map(|(id, known)| (Arc::clone(id), Arc::clone(known)));
        let (id, mut transaction) = match known {
            Some((id, known)) => {
                self.forget(&id, &known);
                (id, known)
            }
            None => (id.into(), Arc::new(create())),
        };
        // The map still has the other copy, which is replaced below.
        let outcome = change(Arc::make_mut(&mut transaction));
        self.note(&id, &transaction);
        self.by_id.insert_mut(id, transaction);
        outcome
    }

    /// Adds a transaction to the fields that a snapshot does not have.
    fn note(&mut self, id: &Arc<str>, transaction: &Transaction) {
        self.bytes += transaction.weigh(id);
        self.by_producer.insert_mut(transaction.producer.id, Arc::clone(id));
        if let Some(ongoing) = transaction.ongoing() {
            self.open.insert_mut((ongoing.began, transaction.producer.id), Arc::clone(id));
        }
    }

    fn forget(&mut self, id: &str, transaction: &Transaction) {
        self.bytes -= transaction.weigh(id);
        self.by_producer.remove_mut(&transaction.producer.id);
        if let Some(ongoing) = transaction.ongoing() {
            self.open.remove_mut(&(ongoing.began, transaction.producer.id));
        }
    }

    /// Removes an id.
    fn remove(&mut self, id: &str) {
        if let Some(transaction) = self.by_id.get(id).cloned() {
            self.forget(id, &transaction);
            self.by_id.remove_mut(id);
        }
    }

    /// Checks a transactional batch against its transaction (KIP-890). With `joins` the batch adds its partition by
    /// itself.
    pub(super) fn check_batch(
        &self,
        stamp: ProducerStamp,
        partition: TopicPartition,
        joins: bool,
    ) -> Result<(), Refusal> {
        let (_, transaction) = self.of_producer(stamp.id).ok_or(Refusal::UnknownTransactionalId)?;
        let current = transaction.producer.epoch;
        if stamp.epoch != current {
            return Err(Refusal::StaleProducerEpoch { current, got: stamp.epoch });
        }
        if joins || transaction.has(&partition) { Ok(()) } else { Err(Refusal::NotInTransaction) }
    }

    /// A batch of the transaction was appended at `offset`.
    pub(super) fn wrote(
        &mut self,
        producer: ProducerId,
        partition: TopicPartition,
        offset: Offset,
        position: u64,
        now: Timestamp,
    ) {
        let Some((id, transaction)) = self.of_producer(producer) else { return };
        let known = transaction.ongoing().and_then(|ongoing| ongoing.partitions.get(&partition));
        if known.is_some_and(Option::is_some) {
            return;
        }
        let id = Arc::clone(id);
        self.change_known(&id, |transaction| {
            transaction.opened(position, now).partitions.insert_mut(partition, Some(offset));
        });
    }

    /// Changes an id that is known.
    fn change_known<T>(&mut self, id: &str, change: impl FnOnce(&mut Transaction) -> T) -> T {
        self.change(id, || unreachable!("the id is known"), change)
    }
}

impl From<StoredTransactions> for Transactions {
    fn from(StoredTransactions { by_id }: StoredTransactions) -> Transactions {
        let mut all = Transactions::default();
        by_id.iter().for_each(|(id, transaction)| all.note(id, transaction));
        Transactions { by_id, ..all }
    }
}

impl Shard {
    pub fn transactions(&self) -> &Transactions {
        &self.transactions
    }

    pub(super) fn init_transaction(
        &mut self,
        now: Timestamp,
        init: &InitTransaction,
    ) -> Result<Applied, Refusal> {
        let InitTransaction { id, known, timeout_ms, two_phase, rolls } = init;
        let next_id = ProducerId(self.next_producer);
        let Some(transaction) = self.transactions.get(id) else {
            let new = || Transaction::new(next_id, *timeout_ms, *two_phase, now);
            let producer = self.transactions.change(id, new, |transaction| transaction.producer);
            self.next_producer += 1;
            return Ok(Applied::TransactionInitialized { producer });
        };
        let decided = transaction.init(*known)?;
        if let Init::Abort(ending) = decided {
            let ended = self.end(now, id, ending, TransactionEnd::Abort, rolls);
            return Ok(Applied::TransactionEnded(Box::new(ended)));
        }
        let producer = self.transactions.change_known(id, |transaction| {
            (transaction.timeout_ms, transaction.two_phase) = (*timeout_ms, *two_phase);
            transaction.restart(decided, next_id, now);
            transaction.producer
        });
        self.use_id_if(matches!(decided, Init::NewId { .. }));
        Ok(Applied::TransactionInitialized { producer })
    }

    pub(super) fn join_transaction(
        &mut self,
        now: Timestamp,
        join: &JoinTransaction,
    ) -> Result<Applied, Refusal> {
        let JoinTransaction { id, producer, partitions, groups } = join;
        let transaction = self.transaction_of(id, *producer)?;
        let has_all = transaction.is_open()
            && partitions.iter().all(|partition| transaction.has(partition))
            && groups.iter().all(|group| transaction.has_group(group));
        if has_all {
            return Ok(Applied::TransactionUnchanged { producer: *producer });
        }
        if let Some(unknown) =
            partitions.iter().find(|one| self.partition(one.topic, one.partition).is_none())
        {
            let is_known = self.topic(unknown.topic).is_some();
            return Err(if is_known { Refusal::UnknownPartition } else { Refusal::UnknownTopic });
        }
        let position = self.position + 1;
        self.transactions.change_known(id, |transaction| {
            let ongoing = transaction.opened(position, now);
            for partition in partitions {
                if !ongoing.partitions.contains_key(partition) {
                    ongoing.partitions.insert_mut(*partition, None);
                }
            }
            groups.iter().for_each(|group| ongoing.add_group(group));
        });
        Ok(Applied::TransactionJoined)
    }

    pub(super) fn stage_offsets(
        &mut self,
        now: Timestamp,
        staged: &TransactionOffsets,
    ) -> Result<Applied, Refusal> {
        let TransactionOffsets { id, producer, joins, group, after, offsets } = staged;
        let transaction = self.transaction_of(id, *producer)?;
        let is_in = transaction.has_group(group);
        if !is_in && !joins {
            return Err(Refusal::NotInTransaction);
        }
        // It was deleted since the request was checked.
        if self.groups.get(group).is_none() {
            return Err(Refusal::OtherVersion);
        }
        let change = match offsets.clone() {
            offsets if cfg!(feature = "bug-offsets-before-marker") => OffsetChange::Committed(offsets),
            offsets => OffsetChange::Staged { producer: producer.id, offsets },
        };
        self.groups.change(group, *after, &[change.into()])?;
        if !is_in {
            let position = self.position + 1;
            self.transactions.change_known(id, |transaction| {
                transaction.opened(position, now).add_group(group);
            });
        }
        Ok(Applied::OffsetsStaged)
    }

    pub(super) fn end_transaction(
        &mut self,
        now: Timestamp,
        end: &EndTransaction,
    ) -> Result<Applied, Refusal> {
        let EndTransaction { id, producer, began, end, by, rolls } = end;
        let transaction = self.transactions.get(id).ok_or(Refusal::UnknownTransactionalId)?;
        let is_of_that = |began: &u64| transaction.ongoing().is_some_and(|ongoing| ongoing.began == *began);
        if !began.as_ref().is_none_or(is_of_that) {
            return Err(Refusal::OtherVersion);
        }
        match transaction.end(*producer, *end, *by)? {
            End::Repeated(producer) => Ok(Applied::TransactionUnchanged { producer }),
            End::Now(ending) => {
                let ended = self.end(now, id, ending, *end, rolls);
                let timed_out = *by == EndedBy::Timeout;
                Ok(Applied::TransactionEnded(Box::new(TransactionEnded { timed_out, ..ended })))
            }
        }
    }

    /// Ends a transaction: places its markers, commits or drops its offsets, begins the next epoch.
    fn end(
        &mut self,
        now: Timestamp,
        id: &str,
        ending: Ending,
        end: TransactionEnd,
        rolls: &[TopicPartition],
    ) -> TransactionEnded {
        let ongoing = self.transactions.get(id).and_then(Transaction::ongoing).cloned();
        let coordinator_epoch = 0;
        let marker = Marker {
            producer: ending.marker.id,
            epoch: ending.marker.epoch,
            end,
            coordinator_epoch,
            time: now,
        };
        let (mut placed, mut has_offsets) = (Vec::new(), false);
        if let Some(Ongoing { partitions, groups, .. }) = &ongoing {
            let most = if cfg!(feature = "bug-one-marker") { 1 } else { usize::MAX };
            let markers = partitions.keys().take(most).filter_map(|partition| {
                let roll = rolls.binary_search(partition).is_ok();
                self.place_marker(*partition, marker, roll)
            });
            placed = markers.collect();
            has_offsets = !groups.is_empty();
            groups.keys().for_each(|group| self.groups.end_transaction(group, ending.marker.id, end));
        }
        let new_id = ProducerId(self.next_producer);
        let producer = self.transactions.change_known(id, |transaction| {
            transaction.complete(ending, end, new_id, now);
            transaction.producer
        });
        self.use_id_if(ending.next == Next::NewId);
        let (was_open, timed_out) = (ongoing.is_some(), false);
        TransactionEnded { producer, was_open, timed_out, has_offsets, marker, placed }
    }

    /// Writes a marker that an operator wants (WriteTxnMarkers). The records of the transaction in this partition
    /// end with it; the transaction itself stays open.
    pub(super) fn write_marker(&mut self, now: Timestamp, write: &WriteMarker) -> Result<Applied, Refusal> {
        let &WriteMarker { partition: of, producer, end, coordinator_epoch, new_epoch_only, roll } = write;
        let partition = self.partition_mut(of.topic, of.partition)?;
        partition.check_marker(producer, coordinator_epoch, new_epoch_only)?;
        let marker =
            Marker { producer: producer.id, epoch: producer.epoch, end, coordinator_epoch, time: now };
        let placed = self.place_marker(of, marker, roll).ok_or(Refusal::OffsetsExhausted)?;
        let open = self.transactions.of_producer(producer.id);
        let open = open.filter(|(_, open)| open.has(&of));
        if let Some(id) = open.map(|(id, _)| Arc::clone(id)) {
            let position = self.position + 1;
            self.transactions.change_known(&id, |transaction| {
                transaction.opened(position, now).partitions.insert_mut(of, None);
            });
        }
        Ok(Applied::MarkerWritten { marker, placed })
    }

    /// Removes the ids that were not used since `idle_since` and have no open transaction.
    pub(super) fn expire_transactions(&mut self, idle_since: Timestamp) -> Applied {
        let old = self.transactions.iter().filter(|(_, transaction)| transaction.is_idle_since(idle_since));
        let old: Vec<Arc<str>> = old.map(|(id, _)| Arc::clone(id)).collect();
        old.iter().for_each(|id| self.transactions.remove(id));
        Applied::TransactionsExpired(old.len())
    }

    /// The transaction of a request, if this is its producer.
    fn transaction_of(&self, id: &str, producer: ProducerAt) -> Result<&Transaction, Refusal> {
        let transaction = self.transactions.get(id).ok_or(Refusal::UnknownTransactionalId)?;
        transaction.check(producer)?;
        Ok(transaction)
    }

    /// Appends a marker to a partition. `None` if the partition does not exist any more, or its offsets are used up.
    fn place_marker(&mut self, of: TopicPartition, marker: Marker, roll: bool) -> Option<PlacedMarker> {
        let place =
            if self.members.is_some() { MarkerPlace::SharedJournal } else { MarkerPlace::File { roll } };
        let admits = self.producers.has_room();
        let partition = self.partition_mut(of.topic, of.partition).ok()?;
        let (before, open) = (partition.resting_since(marker.producer), partition.open_transactions());
        let placed = partition.place_marker(of, &marker, place, admits)?;
        let ended = open - partition.open_transactions();
        let is_known = partition.knows(marker.producer);
        self.producers.ended(ended);
        if is_known {
            let TopicPartition { topic, partition } = of;
            let wrote = RememberedProducer { last_write: marker.time, topic, partition, id: marker.producer };
            self.producers.wrote(wrote, before);
        }
        Some(placed)
    }

    fn use_id_if(&mut self, used: bool) {
        self.next_producer += i64::from(used);
    }
}
