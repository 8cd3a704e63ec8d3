//! The published topics and settings, as coordinators see them.

use std::sync::Arc;

use super::groups::{Seen, SeenTopic};
use super::topics::{Topic, Topics};
use crate::config::{BrokerSettings, GroupSettings};
use crate::kernel::{Scope, Settings};
use crate::types::TopicId;

pub(super) struct TopicsAndSettings {
    pub version: u64,
    pub topics: Arc<Topics>,
    pub settings: Arc<Settings>,
    /// The broker's current settings. All virtual brokers have the same rack.
    pub broker: Arc<BrokerSettings>,
}

impl Seen for TopicsAndSettings {
    fn version(&self) -> u64 {
        self.version
    }

    fn topics(&self) -> Vec<SeenTopic<'_>> {
        self.topics.iter().map(|topic| seen(topic)).collect()
    }

    fn topic(&self, id: TopicId) -> Option<SeenTopic<'_>> {
        self.topics.by_id(id).map(|topic| seen(topic))
    }

    fn named(&self, name: &str) -> Option<SeenTopic<'_>> {
        self.topics.by_name(name).map(|topic| seen(topic))
    }

    fn racks(&self, topic: TopicId, partition: i32) -> Vec<&str> {
        let placement = self.topics.by_id(topic).and_then(|topic| topic.placement(partition));
        let replicas = placement.map_or(0, |placement| placement.replicas.len());
        self.broker.rack.iter().flat_map(|rack| std::iter::repeat_n(rack.as_str(), replicas)).collect()
    }

    fn settings(&self, group: &str) -> GroupSettings<'_> {
        GroupSettings::new(self.settings.get(&Scope::Group(group.to_owned())), &self.broker)
    }
}

fn seen(topic: &Topic) -> SeenTopic<'_> {
    SeenTopic { id: topic.id, name: &topic.name, partitions: topic.partitions.len() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Given;
    use crate::storage::groups::GroupStore;
    use crate::storage::{Location, NewTopic, Store, StoreOptions};

    #[tokio::test]
    async fn a_change_is_seen_once_it_is_published_and_raises_the_version() {
        let mut given = Given::default();
        given.set("broker.rack", "east");
        let broker = BrokerSettings::load(given).unwrap();
        let store = Store::open(StoreOptions::new(Location::Memory, Arc::new(broker))).unwrap();
        let before = store.seen();
        let new = NewTopic { name: "t".into(), partitions: 3, overrides: BTreeMap::new() };
        let id = store.create_topic(new).await.unwrap().id;
        let with_topic = store.seen();
        assert!(with_topic.version() > before.version());
        let topic = SeenTopic { id, name: "t", partitions: 3 };
        assert_eq!(with_topic.topics(), [topic]);
        assert_eq!((with_topic.topic(id), with_topic.named("t")), (Some(topic), Some(topic)));
        assert_eq!((before.topic(id), before.topics().len()), (None, 0), "a view does not change");
        assert_eq!((with_topic.racks(id, 2), with_topic.racks(id, 3)), (vec!["east"], vec![]));

        const SESSION: &str = "consumer.session.timeout.ms";
        let changes = BTreeMap::from([(SESSION.to_owned(), Some("50000".to_owned()))]);
        store.alter_settings(Scope::Group("g".to_owned()), changes).await.unwrap();
        let with_setting = store.seen();
        assert!(with_setting.version() > with_topic.version());
        assert_eq!(with_setting.settings("g").number(SESSION), Some(50_000));
        assert_eq!(with_setting.settings("other").number(SESSION), Some(45_000), "the broker's");
        assert_eq!(with_topic.settings("g").number(SESSION), Some(45_000));

        store.delete_topic(id).await.unwrap();
        assert_eq!(store.seen().topic(id), None);
    }
}
