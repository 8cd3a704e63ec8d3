//! A topic: its name, its settings, its partitions and their placement.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::partition::Partition;
use super::placement::Placement;
use crate::config::{Changes, Overrides};
use crate::types::TopicId;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Topic {
    pub id: TopicId,
    pub name: String,
    /// The settings of the topic itself, by Kafka's names.
    pub overrides: Overrides,
    pub(super) partitions: Vec<Arc<Partition>>,
    /// One per partition.
    pub(super) placement: Vec<Arc<Placement>>,
}

impl Topic {
    pub(super) fn new(
        id: TopicId,
        name: &str,
        overrides: &Overrides,
        placement: Vec<Arc<Placement>>,
    ) -> Topic {
        let (name, overrides) = (name.to_owned(), overrides.clone());
        let mut topic = Topic { id, name, overrides, partitions: Vec::new(), placement: Vec::new() };
        topic.add(placement);
        topic
    }

    /// Adds empty partitions.
    pub(super) fn add(&mut self, placement: Vec<Arc<Placement>>) {
        let empty = Arc::new(Partition::default());
        self.partitions.reserve_exact(placement.len());
        self.placement.reserve_exact(placement.len());
        self.partitions.extend(placement.iter().map(|_| Arc::clone(&empty)));
        self.placement.extend(placement);
    }

    /// Changes the placement of a partition, and begins a new leader epoch if it needs one.
    pub(super) fn place(&mut self, index: i32, placement: Arc<Placement>) {
        let Ok(at) = usize::try_from(index) else { return };
        let (Some(partition), Some(before)) = (self.partitions.get_mut(at), self.placement.get_mut(at))
        else {
            return;
        };
        if placement.begins_an_epoch_after(before) {
            Arc::make_mut(partition).raise_epoch();
        }
        *before = placement;
    }

    /// The placements, in the order of the partitions.
    pub fn placement(&self) -> &[Arc<Placement>] {
        &self.placement
    }

    pub fn partitions(&self) -> impl ExactSizeIterator<Item = &Partition> {
        self.partitions.iter().map(Arc::as_ref)
    }

    pub fn partition(&self, index: i32) -> Option<&Partition> {
        self.partitions.get(usize::try_from(index).ok()?).map(Arc::as_ref)
    }
}

/// Applies changes to settings: `Some` sets a value, `None` removes it.
pub(super) fn alter(settings: &mut Overrides, changes: &Changes) {
    for (name, value) in changes {
        match value {
            Some(value) => drop(settings.insert(name.clone(), value.clone())),
            None => drop(settings.remove(name)),
        }
    }
}

/// Kafka's metric names replace `.` by `_`. Two topics with the same result cannot both exist.
pub fn metric_form(name: &str) -> String {
    name.replace('.', "_")
}
