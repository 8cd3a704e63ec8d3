//! The committed offsets of groups. They are state beside the group: they can change without it, they stay
//! when it changes its kind, and they go with it, or with their topic.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::types::{LeaderEpoch, Offset, SharedMap, Timestamp, TopicId};

/// The partition of a committed offset.
pub type PartitionKey = (TopicId, i32);

/// A committed offset and its metadata.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommittedOffset {
    pub offset: Offset,
    pub leader_epoch: Option<LeaderEpoch>,
    pub metadata: String,
    pub committed_at: Timestamp,
    /// Set if the commit had its own retention time (OffsetCommit 2 to 4).
    pub expires_at: Option<Timestamp>,
}

/// The offsets of one group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Offsets {
    committed: BTreeMap<PartitionKey, CommittedOffset>,
}

/// A change of a group's offsets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum OffsetChange {
    Committed(Vec<(PartitionKey, CommittedOffset)>),
    /// Removes offsets that were committed at these times. Later commits stay.
    Removed(Vec<(PartitionKey, Timestamp)>),
    /// Removes all offsets of a topic.
    TopicForgotten(TopicId),
}

/// The offsets of all groups.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AllOffsets {
    by_group: SharedMap<String, Arc<Offsets>>,
    /// Each topic with the groups that have offsets of it.
    #[serde(skip)]
    readers: SharedMap<(TopicId, String), ()>,
}

impl Offsets {
    pub fn get(&self, partition: PartitionKey) -> Option<&CommittedOffset> {
        self.committed.get(&partition)
    }

    /// All offsets, in the order of the topic ids.
    pub fn all(&self) -> &BTreeMap<PartitionKey, CommittedOffset> {
        &self.committed
    }

    pub fn is_empty(&self) -> bool {
        self.committed.is_empty()
    }

    /// The topics that the group has offsets of.
    pub fn topics(&self) -> Vec<TopicId> {
        let mut topics = Vec::new();
        let mut from = Bound::Unbounded;
        while let Some(((topic, _), _)) = self.committed.range((from, Bound::Unbounded)).next() {
            topics.push(*topic);
            from = Bound::Excluded((*topic, i32::MAX));
        }
        topics
    }

    pub fn has_topic(&self, topic: TopicId) -> bool {
        self.committed.range((topic, i32::MIN)..=(topic, i32::MAX)).next().is_some()
    }

    /// Applies a change. Offsets change only through this function.
    pub fn apply(&mut self, change: &OffsetChange) {
        match change {
            OffsetChange::Committed(offsets) => self.committed.extend(offsets.iter().cloned()),
            OffsetChange::Removed(offsets) => {
                for (partition, committed_at) in offsets {
                    if self.get(*partition).is_some_and(|stored| stored.committed_at == *committed_at) {
                        self.committed.remove(partition);
                    }
                }
            }
            OffsetChange::TopicForgotten(topic) => self.committed.retain(|(of, _), _| of != topic),
        }
    }
}

impl OffsetChange {
    /// The topics that it names, in the order of their ids.
    fn topics(&self) -> Vec<TopicId> {
        let mut topics: Vec<TopicId> = match self {
            OffsetChange::Committed(offsets) => offsets.iter().map(|((topic, _), _)| *topic).collect(),
            OffsetChange::Removed(offsets) => offsets.iter().map(|((topic, _), _)| *topic).collect(),
            OffsetChange::TopicForgotten(topic) => vec![*topic],
        };
        topics.sort_unstable();
        topics.dedup();
        topics
    }
}

impl AllOffsets {
    pub fn of(&self, group: &str) -> Option<&Arc<Offsets>> {
        self.by_group.get(group)
    }

    pub fn by_group(&self) -> &SharedMap<String, Arc<Offsets>> {
        &self.by_group
    }

    /// Completes offsets that were read from a snapshot.
    pub fn indexed(mut self) -> AllOffsets {
        for (group, offsets) in self.by_group.iter() {
            for topic in offsets.topics() {
                self.readers.insert_mut((topic, group.clone()), ());
            }
        }
        self
    }

    pub fn change(&mut self, group: &str, change: &OffsetChange) {
        if !self.by_group.contains_key(group) {
            self.by_group.insert_mut(group.to_owned(), Arc::default());
        }
        let offsets = self.by_group.get_mut(group).expect("it was there or was just put there");
        Arc::make_mut(offsets).apply(change);
        for topic in change.topics() {
            let reader = (topic, group.to_owned());
            if !offsets.has_topic(topic) {
                self.readers.remove_mut(&reader);
            } else if !self.readers.contains_key(&reader) {
                self.readers.insert_mut(reader, ());
            }
        }
        if offsets.is_empty() {
            self.by_group.remove_mut(group);
        }
    }

    pub fn remove_group(&mut self, group: &str) {
        let Some(offsets) = self.by_group.get(group) else { return };
        for topic in offsets.topics() {
            self.readers.remove_mut(&(topic, group.to_owned()));
        }
        self.by_group.remove_mut(group);
    }

    /// Removes the offsets of a topic from all groups.
    pub fn remove_topic(&mut self, topic: TopicId) {
        let readers = self.readers.range((topic, String::new())..);
        let groups: Vec<String> =
            readers.take_while(|((of, _), ())| *of == topic).map(|((_, group), ())| group.clone()).collect();
        for group in groups {
            self.change(&group, &OffsetChange::TopicForgotten(topic));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Uuid;

    const ONE: TopicId = Uuid([1; 16]);
    const TWO: TopicId = Uuid([2; 16]);

    fn committed(topic: TopicId, partition: i32, at: i64) -> (PartitionKey, CommittedOffset) {
        let committed_at = Timestamp(at);
        let metadata = String::new();
        let offset = Offset(at);
        (
            (topic, partition),
            CommittedOffset { offset, leader_epoch: None, metadata, committed_at, expires_at: None },
        )
    }

    fn commit(all: &mut AllOffsets, group: &str, topic: TopicId) {
        all.change(group, &OffsetChange::Committed(vec![committed(topic, 0, 5), committed(topic, 1, 5)]));
    }

    #[test]
    fn a_topic_takes_its_offsets_out_of_all_groups_and_leaves_others() {
        let mut all = AllOffsets::default();
        commit(&mut all, "a", ONE);
        commit(&mut all, "b", ONE);
        commit(&mut all, "b", TWO);
        commit(&mut all, "c", TWO);
        all.remove_topic(ONE);
        assert_eq!(all.of("a"), None);
        assert_eq!(all.of("b").unwrap().topics(), [TWO]);
        assert_eq!(all.of("c").unwrap().topics(), [TWO]);
        all.remove_topic(TWO);
        assert_eq!(all, AllOffsets::default());
    }

    #[test]
    fn a_group_takes_its_offsets_along() {
        let mut all = AllOffsets::default();
        commit(&mut all, "a", ONE);
        all.remove_group("a");
        assert_eq!(all, AllOffsets::default());
    }

    #[test]
    fn a_later_commit_is_not_removed_by_a_decision_on_the_earlier_one() {
        let mut all = AllOffsets::default();
        all.change("a", &OffsetChange::Committed(vec![committed(ONE, 0, 5), committed(ONE, 1, 7)]));
        let expired = [0, 1].map(|partition| ((ONE, partition), Timestamp(5)));
        all.change("a", &OffsetChange::Removed(expired.to_vec()));
        let left: Vec<_> = all.of("a").unwrap().all().keys().copied().collect();
        assert_eq!(left, [(ONE, 1)]);
    }

    #[test]
    fn what_a_snapshot_leaves_out_is_found_again() {
        let mut all = AllOffsets::default();
        commit(&mut all, "a", ONE);
        commit(&mut all, "b", TWO);
        let bytes = postcard::to_stdvec(&all).unwrap();
        let read: AllOffsets = postcard::from_bytes(&bytes).unwrap();
        assert_ne!(read, all);
        assert_eq!(read.indexed(), all);
    }
}
