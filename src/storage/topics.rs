//! The topics as handlers see them: an immutable image, replaced when a topic is created, moved or deleted.
//! Each image shares everything unchanged with the one before, so that a change costs O(log n).

use std::sync::Arc;

use super::partition::Partition;
use crate::config::{Overrides, TopicSettings};
use crate::kernel::{Placement, metric_form};
use crate::types::{LeaderEpoch, NodeId, SharedMap, TopicId};

#[derive(Clone, Default)]
pub struct Topics {
    pub(super) running: Arc<[NodeId]>,
    by_name: SharedMap<Arc<str>, Arc<Topic>>,
    by_id: SharedMap<TopicId, Arc<Topic>>,
    /// The names that could collide with others, by their metric form, which colliding names share.
    by_metric_form: SharedMap<Arc<str>, Arc<str>>,
    partitions: usize,
}

#[derive(Clone)]
pub struct Topic {
    pub id: TopicId,
    pub name: Arc<str>,
    /// The settings given for this topic, by Kafka's names.
    pub overrides: Overrides,
    /// The effective settings: the overrides on top of the broker's defaults.
    pub settings: TopicSettings,
    pub partitions: Vec<Arc<Partition>>,
    /// Replicas, leader and ISR of each partition, in the order of the partitions.
    pub placement: Vec<Arc<Placement>>,
    /// The leader epoch of each partition. A batch that is accepted in this one is refused under a later leader.
    pub epochs: Vec<LeaderEpoch>,
}

impl Topics {
    /// An image without topics, with these running brokers.
    pub(super) fn of(running: &[NodeId]) -> Topics {
        Topics { running: running.into(), ..Topics::default() }
    }

    pub fn by_name(&self, name: &str) -> Option<&Arc<Topic>> {
        self.by_name.get(name)
    }

    pub fn by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.by_id.get(&id)
    }

    /// All topics, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Topic>> {
        self.by_name.values()
    }

    /// The ids of the running virtual brokers, ascending.
    pub fn running(&self) -> &[NodeId] {
        &self.running
    }

    /// The number of partitions of all topics together.
    pub fn partitions(&self) -> usize {
        self.partitions
    }

    /// The topic with another name that has the same metric form as `name`. A new topic must not be called
    /// `name` then.
    pub fn colliding_with(&self, name: &str) -> Option<&str> {
        let other = self.by_metric_form.get(&*metric_form(name))?;
        (**other != *name).then_some(&**other)
    }

    /// Adds a topic, or replaces the one with the same id.
    pub(super) fn insert(&mut self, topic: Arc<Topic>) {
        let replaced = self.by_id.get(&topic.id).map_or(0, |before| before.partitions.len());
        self.partitions = self.partitions - replaced + topic.partitions.len();
        if topic.may_collide() {
            self.by_metric_form.insert_mut(metric_form(&topic.name).into(), Arc::clone(&topic.name));
        }
        self.by_name.insert_mut(Arc::clone(&topic.name), Arc::clone(&topic));
        self.by_id.insert_mut(topic.id, topic);
    }

    pub(super) fn remove(&mut self, id: TopicId) -> Option<Arc<Topic>> {
        let topic = Arc::clone(self.by_id.get(&id)?);
        self.partitions -= topic.partitions.len();
        if topic.may_collide() {
            self.by_metric_form.remove_mut(&*metric_form(&topic.name));
        }
        self.by_name.remove_mut(&topic.name);
        self.by_id.remove_mut(&id);
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

    /// The leader epoch that begins with the placement of this image, or before it.
    pub fn epoch(&self, index: i32) -> Option<LeaderEpoch> {
        self.epochs.get(usize::try_from(index).ok()?).copied()
    }

    /// Whether another name can have the same metric form.
    fn may_collide(&self) -> bool {
        self.name.contains(['.', '_'])
    }
}
