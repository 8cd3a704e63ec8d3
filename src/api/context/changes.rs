//! Changes of things that the door gave out. A command is queued when the call returns; the future waits until it is
//! durable.

use std::future::Future;
use std::sync::Arc;

use super::Context;
use crate::config::Changes;
use crate::kernel::Scope;
use crate::security::operations::Operation;
use crate::security::principal::{Forbidden, Resource};
use crate::storage::{Append, Copies, LogError, NewAppend, Partition, StoreError, Topic, TopicError};
use crate::types::{NodeId, Offset, ProducerEpoch, ProducerId, QuotaChanges, QuotaEntity};

impl Context {
    /// Appends a batch, which the caller has checked. It is queued behind all earlier ones of the partition.
    pub fn append(&self, partition: &Arc<Partition>, new: NewAppend) -> Append {
        self.services.store.begin_append(partition, new)
    }

    /// The memory of batches that are written anew before they are appended.
    pub fn copies(&self) -> &Copies {
        self.services.store.copies()
    }

    /// Moves the log start offset; it never moves back.
    pub fn delete_before(
        &self,
        partition: &Arc<Partition>,
        offset: Offset,
    ) -> impl Future<Output = Result<Offset, LogError>> + Send + use<> {
        self.services.store.delete_before(partition, offset)
    }

    /// Deletes a topic, and the offsets that groups have committed for it.
    pub fn delete_topic(&self, topic: &Topic) -> impl Future<Output = Result<(), TopicError>> + Send + use<> {
        self.services.store.delete_topic(topic.id)
    }

    /// Changes settings of a topic, which are checked already.
    pub fn alter_topic(
        &self,
        topic: &Topic,
        changes: Changes,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        self.services.store.alter_topic(topic.id, changes)
    }

    /// Changes settings of everything except topics, which are checked already.
    pub fn alter_settings(
        &self,
        scope: Scope,
        changes: Changes,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        self.services.store.alter_settings(scope, changes)
    }

    /// Sets the finalized level of a feature. The caller has checked it.
    pub fn set_feature(
        &self,
        name: &str,
        level: i16,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        self.services.store.set_feature(name, level)
    }

    /// The size of the stored names and values of all settings but those of topics.
    pub fn stored_settings_bytes(&self) -> usize {
        self.services.store.settings().bytes()
    }

    /// Alters the quotas of entities, all of them at once. The caller has checked them.
    pub fn alter_quotas(
        &self,
        changes: Vec<(QuotaEntity, QuotaChanges)>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        self.services.store.alter_quotas(changes)
    }

    /// The memory of all stored quotas.
    pub fn stored_quotas_bytes(&self) -> usize {
        self.services.store.quotas().bytes()
    }

    /// Adds partitions with these replicas. Refused if `first` is not the next index.
    pub fn add_partitions(
        &self,
        topic: &Topic,
        first: i32,
        replicas: Vec<Vec<NodeId>>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        self.services.store.add_partitions(topic.id, first, replicas)
    }

    pub fn set_replicas(
        &self,
        topic: &Topic,
        partition: i32,
        replicas: Vec<NodeId>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        self.services.store.set_replicas(topic.id, partition, replicas)
    }

    /// Makes the preferred replica the leader again. Returns whether another one was leader before.
    pub fn elect_preferred(
        &self,
        topic: &Topic,
        partition: i32,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send + use<> {
        self.services.store.elect_preferred(topic.id, partition)
    }

    /// Makes any running replica leader if there is none. Returns whether there was none.
    pub fn elect_unclean(
        &self,
        topic: &Topic,
        partition: i32,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send + use<> {
        self.services.store.elect_unclean(topic.id, partition)
    }

    /// A producer id that was never used before. As in Kafka, a client that may write to any topic needs no other
    /// right.
    pub fn new_producer(
        &self,
    ) -> Result<impl Future<Output = Result<(ProducerId, ProducerEpoch), StoreError>> + Send + use<>, Forbidden>
    {
        if !self.may_on_any_topic(Operation::Write) {
            self.authorize(Operation::IdempotentWrite, Resource::Cluster)?;
        }
        Ok(self.services.store.new_producer())
    }
}
