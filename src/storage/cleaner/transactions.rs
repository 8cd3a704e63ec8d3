//! The facts about transactions that compaction needs (Kafka's `CleanedTransactionMetadata`).
//!
//! Records of an aborted transaction are removed, and replace nothing. The marker of a transaction stays as long as a
//! run meets a batch of the transaction. An aborted transaction stays in the list of its extent for the same time. So
//! the run that removes its last records keeps it in the list once more: a consumer may have read the old list with the
//! new records, or the other way round. The next run removes it from the list and gives the marker a delete horizon.

use std::collections::HashSet;

use crate::record::Header;
use crate::storage::extent::ReadError;
use crate::storage::partition::Partition;
use crate::types::{AbortedTransaction, Offset, ProducerId};

/// The aborted transactions of a log.
pub(super) struct AbortedTransactions {
    /// By producer, then in the order of their markers. Transactions of one producer do not overlap.
    sorted: Vec<AbortedTransaction>,
}

impl AbortedTransactions {
    /// Reads the lists of the extents from the one at `from` on. Returns the transactions with records below `end`;
    /// their markers may be beyond it.
    pub(super) fn read(
        partition: &Partition,
        from: Offset,
        end: Offset,
    ) -> Result<AbortedTransactions, ReadError> {
        let mut found = Vec::new();
        let mut next = Some(from);
        while let Some(extent) = next.and_then(|base| partition.extent_from(base)) {
            for transaction in &*partition.aborted_in(&extent)? {
                found.extend((transaction.first < end).then_some(*transaction));
                // Every later transaction begins there or beyond.
                if transaction.last_stable >= end {
                    return Ok(AbortedTransactions::of(found));
                }
            }
            next = extent.base().0.checked_add(1).map(Offset);
        }
        Ok(AbortedTransactions::of(found))
    }

    fn of(mut all: Vec<AbortedTransaction>) -> AbortedTransactions {
        all.sort_unstable_by_key(|transaction| (transaction.producer, transaction.last));
        AbortedTransactions { sorted: all }
    }

    /// The producer's aborted transaction that includes this offset.
    fn at(&self, producer: ProducerId, offset: Offset) -> Option<&AbortedTransaction> {
        let found = self.sorted.partition_point(|one| (one.producer, one.last) < (producer, offset));
        self.sorted.get(found).filter(|one| one.producer == producer && one.first <= offset)
    }

    /// Whether the batch has records of an aborted transaction.
    pub(super) fn has_data(&self, batch: &Header) -> bool {
        let attributes = batch.attributes;
        let is_data = attributes.transactional() && !attributes.control();
        is_data && self.at(batch.producer_id, batch.base_offset).is_some()
    }

    /// The aborted transaction that the batch ends, if it is a marker.
    fn ended_by(&self, batch: &Header) -> Option<&AbortedTransaction> {
        let there = self.at(batch.producer_id, batch.base_offset).filter(|_| batch.attributes.control());
        there.filter(|transaction| transaction.last == batch.base_offset)
    }
}

/// The meaning of a batch for a run that reads a log from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Records of no transaction, or of one that was committed.
    Data,
    /// Records of an aborted transaction.
    Aborted,
    /// The marker of a transaction of which the run has met a batch; with the transaction if it was aborted.
    Marker(Option<AbortedTransaction>),
    /// A marker that nothing needs any more.
    LoneMarker,
}

/// Follows the transactions through a log.
pub(super) struct Walk<'a> {
    aborted: &'a AbortedTransactions,
    /// The producers of transactional batches whose marker comes later.
    open: HashSet<ProducerId>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(aborted: &'a AbortedTransactions) -> Walk<'a> {
        Walk { aborted, open: HashSet::new() }
    }

    /// Takes the next batch.
    pub(super) fn meet(&mut self, batch: &Header) -> Role {
        let producer = batch.producer_id;
        if batch.attributes.control() {
            if !self.open.remove(&producer) {
                return Role::LoneMarker;
            }
            return Role::Marker(self.aborted.ended_by(batch).copied());
        }
        if batch.attributes.transactional() {
            self.open.insert(producer);
        }
        if self.aborted.has_data(batch) { Role::Aborted } else { Role::Data }
    }
}
