//! Transactional ids as one principal sees them.
//!
//! With virtual brokers, each id has one of the running brokers as its coordinator, as a group has. All of them share
//! one state, so a transaction goes on when its coordinator stops.

use std::future::Future;
use std::sync::Arc;

use super::groups::coordinator_among;
use super::{Cluster, Context};
use crate::coordinator::group::{Commit, Each};
use crate::coordinator::{StagedOffsets, TimeLimit, TransactionError, Transactions};
use crate::kernel::{EndedBy, ProducerAt, ProducerFacts, Transaction, WriteMarker};
use crate::security::operations::Operation;
use crate::security::principal::{Forbidden, Resource};
use crate::storage::Partition;
use crate::types::{NodeId, ProducerId, TopicPartition, TransactionEnd};

/// A transactional id that the client may use. It need not exist.
#[derive(Clone, Copy)]
pub struct TransactionalId<'a> {
    id: &'a str,
    /// Whether this broker is its coordinator.
    is_here: bool,
    transactions: &'a Transactions,
}

/// A part of the list of transactional ids.
#[derive(Debug)]
pub struct ListedPart {
    pub listed: Vec<ListedTransaction>,
    /// The id at which the next part begins; `None` if there is none.
    pub next: Option<Arc<str>>,
}

/// A transactional id in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedTransaction {
    pub id: String,
    pub producer: ProducerId,
    pub state: &'static str,
}

impl Context {
    pub fn transactional_id<'a>(
        &'a self,
        id: &'a str,
        operation: Operation,
    ) -> Result<TransactionalId<'a>, Forbidden> {
        self.authorize(operation, Resource::TransactionalId(id))?;
        Ok(self.any_transactional_id(id))
    }

    /// The broker that coordinates a transactional id; `None` if no broker is running.
    pub fn find_transaction_coordinator(&self, id: &str) -> Result<Option<NodeId>, Forbidden> {
        self.authorize(Operation::Describe, Resource::TransactionalId(id))?;
        Ok(coordinator_among(id, self.topics().running()))
    }

    /// The transactional ids for which `wanted` holds, in their order. This broker coordinates them, and the client may
    /// describe them. The part begins at the id `from`; it ends when the ids it looked at have `most_text` bytes.
    pub fn list_transactions(
        &self,
        from: &str,
        most_text: usize,
        wanted: impl Fn(&str, &Transaction) -> bool,
    ) -> ListedPart {
        let topics = self.topics();
        let is_here = |id: &str| coordinator_among(id, topics.running()) == Some(self.node());
        let may_describe = |id: &str| self.may(Operation::Describe, Resource::TransactionalId(id));
        let (mut listed, mut text) = (Vec::new(), 0);
        for (id, known) in self.services.transactions.published().from(from) {
            if text >= most_text {
                return ListedPart { listed, next: Some(Arc::clone(id)) };
            }
            text += id.len();
            if wanted(id, known) && is_here(id) && may_describe(id) {
                let (producer, state) = (known.producer.id, known.state_name());
                listed.push(ListedTransaction { id: id.to_string(), producer, state });
            }
        }
        ListedPart { listed, next: None }
    }

    /// The memory of all transactional ids, which is more than that of a list of them.
    pub fn weigh_transactions(&self) -> usize {
        self.services.transactions.memory().0
    }

    /// The producers that a partition remembers, in the order of their ids.
    pub fn producers(&self, partition: &Partition) -> Vec<(ProducerId, ProducerFacts)> {
        self.services.store.producers_of(partition.key()).unwrap_or_default()
    }

    /// The number of producers that a partition remembers.
    pub fn count_producers(&self, partition: &Partition) -> usize {
        self.services.store.count_producers_of(partition.key())
    }

    fn any_transactional_id<'a>(&'a self, id: &'a str) -> TransactionalId<'a> {
        let is_here = coordinator_among(id, self.topics().running()) == Some(self.node());
        TransactionalId { id, is_here, transactions: &self.services.transactions }
    }
}

impl<'a> Cluster<'a> {
    /// A transactional id, for which the right on the cluster is enough.
    pub fn transactional_id(&self, id: &'a str) -> TransactionalId<'a> {
        self.0.any_transactional_id(id)
    }

    /// Writes a marker into one partition.
    pub fn write_marker(
        &self,
        write: WriteMarker,
    ) -> impl Future<Output = Result<(), TransactionError>> + Send + use<> {
        self.0.services.transactions.write_marker(write)
    }
}

impl TransactionalId<'_> {
    /// Fails unless this broker can serve requests about the id.
    fn check(&self) -> Result<(), TransactionError> {
        match () {
            () if self.id.is_empty() => Err(TransactionError::NoId),
            () if !self.is_here => Err(TransactionError::NotCoordinator),
            () => Ok(()),
        }
    }

    pub fn init(
        &self,
        known: Option<ProducerAt>,
        limit: TimeLimit,
    ) -> impl Future<Output = Result<ProducerAt, TransactionError>> + Send + use<> {
        // As in Kafka, the timeout is checked before the coordinator.
        let timeout = self.transactions.check_timeout(limit);
        let checked = if self.id.is_empty() { self.check() } else { timeout.and_then(|()| self.check()) };
        let begun = checked.map(|()| self.transactions.init(self.id, known, limit));
        async move { begun?.await }
    }

    pub fn join(
        &self,
        producer: ProducerAt,
        partitions: Vec<TopicPartition>,
        groups: Vec<String>,
    ) -> impl Future<Output = Result<(), TransactionError>> + Send + use<> {
        let begun = self.check().map(|()| self.transactions.join(self.id, producer, partitions, groups));
        async move { begun?.await }
    }

    /// As [`TransactionalId::join`], for a batch, which any broker may take.
    pub fn join_by_itself(
        &self,
        producer: ProducerAt,
        partition: TopicPartition,
    ) -> impl Future<Output = Result<(), TransactionError>> + Send + use<> {
        self.transactions.join(self.id, producer, vec![partition], Vec::new())
    }

    /// Fails unless the partition was added to the producer's open transaction. Any broker may take a batch.
    pub fn verify_one(
        &self,
        producer: ProducerAt,
        partition: TopicPartition,
    ) -> Result<(), TransactionError> {
        self.transactions.verify(self.id, producer, partition)
    }

    /// The same for several partitions, at the coordinator.
    pub fn verify(
        &self,
        producer: ProducerAt,
        partitions: &[TopicPartition],
    ) -> Vec<Result<(), TransactionError>> {
        let verify = |one: &TopicPartition| self.check().and_then(|()| self.verify_one(producer, *one));
        partitions.iter().map(verify).collect()
    }

    pub fn end(
        &self,
        producer: ProducerAt,
        end: TransactionEnd,
        by: EndedBy,
    ) -> impl Future<Output = Result<ProducerAt, TransactionError>> + Send + use<> {
        let begun = self.check().map(|()| self.transactions.end(self.id, producer, end, by));
        async move { begun?.await }
    }

    /// Whether a transaction is open.
    pub fn is_open(&self) -> bool {
        self.transactions.published().get(self.id).is_some_and(Transaction::is_open)
    }

    pub fn describe(&self) -> Result<Transaction, TransactionError> {
        self.check()?;
        self.transactions.get(self.id).ok_or(TransactionError::NoSuchId)
    }

    /// See [`Transactions::check_batch`]. Any broker may take a batch.
    pub fn check_batch(
        &self,
        producer: ProducerId,
        joins: Option<TopicPartition>,
    ) -> Result<(), TransactionError> {
        self.transactions.check_batch(self.id, producer, joins)
    }
}

impl super::Group<'_> {
    /// Stores offsets that are committed with a transaction.
    pub async fn commit_in(
        &self,
        transaction: TransactionalId<'_>,
        producer: ProducerAt,
        joins: bool,
        commit: Commit,
    ) -> Result<Each, TransactionError> {
        let (name, groups) = self.parts();
        let staged = StagedOffsets { id: transaction.id, producer, joins, group: name, commit };
        transaction.transactions.commit_offsets(groups, staged).await
    }
}
