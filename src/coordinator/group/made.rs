//! Topics and settings that a test has made up.

use std::collections::BTreeMap;

use crate::config::{BrokerSettings, GroupSettings, Overrides};
use crate::storage::groups::{Seen, SeenTopic};
use crate::types::TopicId;

#[derive(Default)]
pub struct MadeTopics {
    /// Each has one partition.
    pub topics: BTreeMap<TopicId, String>,
    /// The settings of every group.
    pub settings: Overrides,
    pub broker: BrokerSettings,
}

impl Seen for MadeTopics {
    fn version(&self) -> u64 {
        0
    }

    fn topics(&self) -> Vec<SeenTopic<'_>> {
        self.topics.iter().map(|(id, name)| SeenTopic { id: *id, name, partitions: 1 }).collect()
    }

    fn topic(&self, id: TopicId) -> Option<SeenTopic<'_>> {
        self.topics().into_iter().find(|topic| topic.id == id)
    }

    fn named(&self, name: &str) -> Option<SeenTopic<'_>> {
        self.topics().into_iter().find(|topic| topic.name == name)
    }

    fn racks(&self, _: TopicId, _: i32) -> Vec<&str> {
        Vec::new()
    }

    fn settings(&self, _: &str) -> GroupSettings<'_> {
        GroupSettings::new(Some(&self.settings), &self.broker)
    }
}
