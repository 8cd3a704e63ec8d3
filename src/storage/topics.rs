//! The topics as handlers see them: an immutable image, swapped when one is made, moved or deleted.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::partition::Partition;
use crate::config::TopicSettings;
use crate::kernel::Placement;
use crate::types::{NodeId, TopicId};

#[derive(Clone, Default)]
pub struct Topics {
    pub(super) running: Arc<[NodeId]>,
    by_name: BTreeMap<Arc<str>, Arc<Topic>>,
    by_id: BTreeMap<TopicId, Arc<Topic>>,
}

#[derive(Clone)]
pub struct Topic {
    pub id: TopicId,
    pub name: Arc<str>,
    /// The settings given for this topic, by Kafka's names.
    pub overrides: BTreeMap<String, String>,
    /// What they and the broker's defaults come to.
    pub settings: TopicSettings,
    pub partitions: Vec<Arc<Partition>>,
    /// Replicas, leader and ISR of each partition, in their order.
    pub placement: Vec<Arc<Placement>>,
}

impl Topics {
    /// None yet, and these brokers run.
    pub(super) fn of(running: &[NodeId]) -> Topics {
        Topics { running: running.into(), ..Topics::default() }
    }

    pub fn by_name(&self, name: &str) -> Option<&Arc<Topic>> {
        self.by_name.get(name)
    }

    pub fn by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.by_id.get(&id)
    }

    /// In the order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Topic>> {
        self.by_name.values()
    }

    /// The brokers that run, ascending.
    pub fn running(&self) -> &[NodeId] {
        &self.running
    }

    pub fn partitions(&self) -> usize {
        self.iter().map(|topic| topic.partitions.len()).sum()
    }

    pub(super) fn insert(&mut self, topic: Arc<Topic>) {
        self.by_name.insert(Arc::clone(&topic.name), Arc::clone(&topic));
        self.by_id.insert(topic.id, topic);
    }

    pub(super) fn remove(&mut self, id: TopicId) -> Option<Arc<Topic>> {
        let topic = self.by_id.remove(&id)?;
        self.by_name.remove(&topic.name);
        Some(topic)
    }
}

impl Topic {
    pub fn partition(&self, index: i32) -> Option<&Arc<Partition>> {
        self.partitions.get(usize::try_from(index).ok()?)
    }

    pub fn placement(&self, index: i32) -> Option<&Arc<Placement>> {
        self.placement.get(usize::try_from(index).ok()?)
    }
}
