//! A topic: its name, its settings and its partitions.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::command::CreateTopic;
use super::partition::Partition;
use crate::types::TopicId;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Topic {
    pub id: TopicId,
    pub name: String,
    /// The settings given for this topic, by Kafka's names.
    pub overrides: BTreeMap<String, String>,
    pub(super) partitions: Vec<Arc<Partition>>,
}

impl Topic {
    pub(super) fn new(create: &CreateTopic) -> Topic {
        let empty = Arc::new(Partition::default());
        Topic {
            id: create.id,
            name: create.name.clone(),
            overrides: create.overrides.clone(),
            partitions: (0..create.partitions).map(|_| Arc::clone(&empty)).collect(),
        }
    }

    pub fn partitions(&self) -> impl ExactSizeIterator<Item = &Partition> {
        self.partitions.iter().map(Arc::as_ref)
    }

    pub fn partition(&self, index: i32) -> Option<&Partition> {
        self.partitions.get(usize::try_from(index).ok()?).map(Arc::as_ref)
    }
}

/// Kafka's metric names turn `.` into `_`: two topics that then are one may not both exist.
pub(super) fn metric_form(name: &str) -> String {
    name.replace('.', "_")
}
