//! The committed offsets of groups. They are state beside the group: they can change without it, they stay
//! when it changes its kind, and they are removed together with it or with their topic.
//!
//! Offsets of an open transaction are *staged*. When it commits, they become the committed ones, unless a later
//! write for the partition is committed already: the last write counts, not the last transaction that ends.

use std::ops::Bound;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::group::{Change, GroupRecord};
use super::weight::{entry, text};
use crate::types::{
    LeaderEpoch, Offset, ProducerId, SharedMap, Timestamp, TopicId, TopicPartition, TransactionEnd, Uuid,
};

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

/// The offsets of one group. A clone costs O(1), and a change O(log n) although there are clones.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "StoredOffsets")]
pub struct Offsets {
    committed: SharedMap<TopicPartition, CommittedOffset>,
    /// The offsets of open transactions.
    staged: SharedMap<(TopicPartition, ProducerId), StagedOffset>,
    /// The number of the last staged offset.
    last_number: u64,
    /// The staged offsets by their producers.
    #[serde(skip)]
    by_producer: SharedMap<(ProducerId, TopicPartition), ()>,
    #[serde(skip)]
    bytes: usize,
}

/// An offset that is committed if its transaction is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct StagedOffset {
    offset: CommittedOffset,
    /// Its number among all staged offsets of the group, in the order of the writes.
    number: u64,
    /// A later write for the partition is committed already.
    overtaken: bool,
}

/// The offsets of one group as a snapshot has them.
#[derive(Deserialize)]
struct StoredOffsets {
    committed: SharedMap<TopicPartition, CommittedOffset>,
    staged: SharedMap<(TopicPartition, ProducerId), StagedOffset>,
    last_number: u64,
}

/// A change of a group's offsets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum OffsetChange {
    Committed(Vec<(TopicPartition, CommittedOffset)>),
    /// Removes offsets that were committed at these times. Later commits stay.
    Removed(Vec<(TopicPartition, Timestamp)>),
    /// Stores offsets of an open transaction.
    Staged {
        producer: ProducerId,
        offsets: Vec<(TopicPartition, CommittedOffset)>,
    },
    /// The producer's transaction has ended.
    Ended {
        producer: ProducerId,
        end: TransactionEnd,
    },
    /// Removes the staged offsets of these partitions.
    StagedRemoved(Vec<TopicPartition>),
}

/// The offsets of all groups.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "StoredAllOffsets")]
pub struct AllOffsets {
    by_group: SharedMap<Arc<str>, Offsets>,
    /// Each topic with the groups that have offsets of it.
    #[serde(skip)]
    readers: SharedMap<(TopicId, Arc<str>), ()>,
    #[serde(skip)]
    bytes: usize,
}

/// The offsets of all groups as a snapshot has them.
#[derive(Deserialize)]
struct StoredAllOffsets {
    by_group: SharedMap<Arc<str>, Offsets>,
}

impl CommittedOffset {
    /// The memory of an offset with this metadata.
    pub fn weigh(metadata: &str) -> usize {
        entry::<TopicPartition, CommittedOffset>() + text(metadata)
    }
}

impl Offsets {
    pub fn get(&self, partition: TopicPartition) -> Option<&CommittedOffset> {
        self.committed.get(&partition)
    }

    /// All offsets, in the order of the topic ids.
    pub fn all(&self) -> &SharedMap<TopicPartition, CommittedOffset> {
        &self.committed
    }

    /// Whether there is none, staged ones included.
    pub fn is_empty(&self) -> bool {
        self.committed.is_empty() && self.staged.is_empty()
    }

    /// The number of committed offsets.
    pub fn len(&self) -> usize {
        self.committed.size()
    }

    /// Whether an open transaction has an offset for the partition.
    pub fn is_staged(&self, partition: TopicPartition) -> bool {
        self.staged_for(partition).next().is_some()
    }

    /// The partitions that open transactions have offsets for.
    pub fn staged(&self) -> impl Iterator<Item = TopicPartition> {
        self.staged.keys().map(|(partition, _)| *partition)
    }

    /// The memory that they take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The topics that the group has offsets of, staged ones included.
    pub fn topics(&self) -> Vec<TopicId> {
        let mut topics = Vec::new();
        let mut from = Bound::Unbounded;
        while let Some((of, _)) = self.committed.range((from, Bound::Unbounded)).next() {
            topics.push(of.topic);
            from = Bound::Excluded(TopicPartition { partition: i32::MAX, ..*of });
        }
        topics.extend(self.staged().map(|partition| partition.topic));
        topics.sort_unstable();
        topics.dedup();
        topics
    }

    pub fn has_topic(&self, topic: TopicId) -> bool {
        let all = [i32::MIN, i32::MAX].map(|partition| TopicPartition { topic, partition });
        let staged = (all[0], ProducerId(i64::MIN))..=(all[1], ProducerId(i64::MAX));
        self.of_topic(topic).next().is_some() || self.staged.range(staged).next().is_some()
    }

    /// Applies a change. Offsets change only through this function and when their topic is deleted.
    pub fn apply(&mut self, change: &OffsetChange) {
        match change {
            OffsetChange::Committed(offsets) => {
                for (partition, committed) in offsets {
                    self.overtake(*partition, u64::MAX);
                    self.commit(*partition, committed.clone());
                }
            }
            OffsetChange::Removed(offsets) => {
                for (partition, committed_at) in offsets {
                    if self.get(*partition).is_some_and(|stored| stored.committed_at == *committed_at) {
                        self.remove(*partition);
                    }
                }
            }
            OffsetChange::Staged { producer, offsets } => {
                for (partition, offset) in offsets {
                    self.stage((*partition, *producer), offset.clone());
                }
            }
            OffsetChange::Ended { producer, end } => self.end(*producer, *end),
            OffsetChange::StagedRemoved(partitions) => {
                partitions.iter().for_each(|partition| self.unstage(*partition));
            }
        }
    }

    fn commit(&mut self, partition: TopicPartition, committed: CommittedOffset) {
        let weight = |committed: &CommittedOffset| CommittedOffset::weigh(&committed.metadata);
        self.bytes -= self.get(partition).map_or(0, weight);
        self.bytes += weight(&committed);
        self.committed.insert_mut(partition, committed);
    }

    fn remove(&mut self, partition: TopicPartition) {
        if let Some(committed) = self.committed.get(&partition) {
            self.bytes -= CommittedOffset::weigh(&committed.metadata);
            self.committed.remove_mut(&partition);
        }
    }

    fn stage(&mut self, key: (TopicPartition, ProducerId), offset: CommittedOffset) {
        self.remove_staged(&key);
        self.last_number += 1;
        let staged = StagedOffset { offset, number: self.last_number, overtaken: false };
        self.bytes += staged.weigh();
        self.staged.insert_mut(key, staged);
        self.by_producer.insert_mut((key.1, key.0), ());
    }

    fn remove_staged(&mut self, key: &(TopicPartition, ProducerId)) -> Option<StagedOffset> {
        let staged = self.staged.get(key)?.clone();
        self.bytes -= staged.weigh();
        self.staged.remove_mut(key);
        self.by_producer.remove_mut(&(key.1, key.0));
        Some(staged)
    }

    fn unstage(&mut self, partition: TopicPartition) {
        let keys: Vec<_> = self.staged_for(partition).map(|(key, _)| *key).collect();
        keys.iter().for_each(|key| drop(self.remove_staged(key)));
    }

    fn end(&mut self, producer: ProducerId, end: TransactionEnd) {
        let partitions: Vec<_> = self.staged_by(producer).collect();
        for key in partitions.into_iter().map(|partition| (partition, producer)) {
            let Some(staged) = self.remove_staged(&key) else { continue };
            if end == TransactionEnd::Commit && !staged.overtaken {
                self.overtake(key.0, staged.number);
                self.commit(key.0, staged.offset);
            }
        }
    }

    /// A write for the partition is committed. The staged offsets with smaller numbers were written before it.
    fn overtake(&mut self, partition: TopicPartition, number: u64) {
        if self.staged.is_empty() {
            return;
        }
        let before =
            self.staged_for(partition).filter(|(_, staged)| staged.number < number && !staged.overtaken);
        let keys: Vec<_> = before.map(|(key, _)| *key).collect();
        for key in keys {
            if let Some(staged) = self.staged.get_mut(&key) {
                staged.overtaken = true;
            }
        }
    }

    fn staged_for(
        &self,
        partition: TopicPartition,
    ) -> impl Iterator<Item = (&(TopicPartition, ProducerId), &StagedOffset)> {
        let all = [i64::MIN, i64::MAX].map(|producer| (partition, ProducerId(producer)));
        self.staged.range(all[0]..=all[1])
    }

    /// The partitions that the producer's open transaction has offsets for.
    fn staged_by(&self, producer: ProducerId) -> impl Iterator<Item = TopicPartition> {
        let first = (producer, TopicPartition { topic: Uuid([0; 16]), partition: i32::MIN });
        let last = (producer, TopicPartition { topic: Uuid([u8::MAX; 16]), partition: i32::MAX });
        self.by_producer.range(first..=last).map(|((_, partition), ())| *partition)
    }

    fn remove_topic(&mut self, topic: TopicId) {
        let partitions: Vec<TopicPartition> = self.of_topic(topic).collect();
        partitions.into_iter().for_each(|partition| self.remove(partition));
        let staged: Vec<TopicPartition> =
            self.staged().filter(|partition| partition.topic == topic).collect();
        staged.into_iter().for_each(|partition| self.unstage(partition));
    }

    fn of_topic(&self, topic: TopicId) -> impl Iterator<Item = TopicPartition> {
        let all = [i32::MIN, i32::MAX].map(|partition| TopicPartition { topic, partition });
        self.committed.range(all[0]..=all[1]).map(|(partition, _)| *partition)
    }
}

impl StagedOffset {
    fn weigh(&self) -> usize {
        entry::<(TopicPartition, ProducerId), StagedOffset>()
            + entry::<(ProducerId, TopicPartition), ()>()
            + text(&self.offset.metadata)
    }
}

impl AllOffsets {
    pub fn of(&self, group: &str) -> Option<&Offsets> {
        self.by_group.get(group)
    }

    /// The memory that they take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Replaces the offsets of a group by `after`, the result of `changes`.
    pub(super) fn replace(&mut self, group: &Arc<str>, after: Offsets, changes: &[Change]) {
        let before = self.of(group).cloned().unwrap_or_default();
        if before.is_empty() && after.is_empty() || !changes.iter().any(may_change_offsets) {
            return;
        }
        for topic in topics_with_changes(&before, changes) {
            self.note_reader(topic, group, after.has_topic(topic));
        }
        self.put(group, &before, after);
    }

    /// Removes the offsets of a topic from all groups.
    pub(super) fn remove_topic(&mut self, topic: TopicId) {
        let readers = self.readers.range((topic, Arc::default())..).map(|(reader, ())| reader);
        let groups: Vec<Arc<str>> =
            readers.take_while(|(of, _)| *of == topic).map(|(_, group)| Arc::clone(group)).collect();
        for group in groups {
            let before = self.of(&group).cloned().unwrap_or_default();
            let mut after = before.clone();
            after.remove_topic(topic);
            self.note_reader(topic, &group, false);
            self.put(&group, &before, after);
        }
    }

    fn put(&mut self, group: &Arc<str>, before: &Offsets, after: Offsets) {
        self.bytes -= weigh(before);
        self.bytes += weigh(&after);
        if !after.is_empty() {
            self.by_group.insert_mut(Arc::clone(group), after);
        } else if !before.is_empty() {
            self.by_group.remove_mut(group);
        }
    }

    fn note_reader(&mut self, topic: TopicId, group: &Arc<str>, reads: bool) {
        let reader = (topic, Arc::clone(group));
        match (self.readers.contains_key(&reader), reads) {
            (false, true) => {
                self.readers.insert_mut(reader, ());
                self.bytes += READER;
            }
            (true, false) => {
                self.readers.remove_mut(&reader);
                self.bytes -= READER;
            }
            (true, true) | (false, false) => {}
        }
    }
}

/// The memory of an entry in `AllOffsets::readers`.
const READER: usize = entry::<(TopicId, Arc<str>), ()>();

/// The memory of a group's offsets without their readers.
fn weigh(offsets: &Offsets) -> usize {
    if offsets.is_empty() { 0 } else { entry::<Arc<str>, Offsets>() + offsets.bytes }
}

fn may_change_offsets(change: &Change) -> bool {
    match change {
        Change::Offsets(_) | Change::Group(GroupRecord::Deleted | GroupRecord::Expired) => true,
        Change::Group(_) => false,
    }
}

/// The topics that the changes may give their first offset or take the last one from, in the order of their ids.
fn topics_with_changes(before: &Offsets, changes: &[Change]) -> Vec<TopicId> {
    let mut topics: Vec<TopicId> = Vec::new();
    for change in changes {
        match change {
            Change::Offsets(OffsetChange::Committed(offsets) | OffsetChange::Staged { offsets, .. }) => {
                let new = offsets.iter().map(|(of, _)| *of).filter(|of| before.get(*of).is_none());
                topics.extend(new.map(|of| of.topic));
            }
            Change::Offsets(OffsetChange::Removed(offsets)) => {
                topics.extend(offsets.iter().map(|(of, _)| of.topic));
            }
            Change::Offsets(OffsetChange::StagedRemoved(partitions)) => {
                topics.extend(partitions.iter().map(|of| of.topic));
            }
            Change::Offsets(OffsetChange::Ended { producer, .. }) => {
                topics.extend(before.staged_by(*producer).map(|of| of.topic));
            }
            Change::Group(GroupRecord::Deleted | GroupRecord::Expired) => topics.extend(before.topics()),
            Change::Group(_) => {}
        }
    }
    topics.sort_unstable();
    topics.dedup();
    topics
}

impl From<StoredOffsets> for Offsets {
    fn from(StoredOffsets { committed, mut staged, last_number }: StoredOffsets) -> Offsets {
        if cfg!(feature = "bug-staged-offsets-lost") {
            staged = SharedMap::default();
        }
        let weights = committed.values().map(|committed| CommittedOffset::weigh(&committed.metadata));
        let bytes = weights.chain(staged.values().map(StagedOffset::weigh)).sum();
        let by_producer = staged.keys().map(|(partition, producer)| ((*producer, *partition), ())).collect();
        Offsets { committed, staged, last_number, by_producer, bytes }
    }
}

impl From<StoredAllOffsets> for AllOffsets {
    fn from(StoredAllOffsets { by_group }: StoredAllOffsets) -> AllOffsets {
        let mut all = AllOffsets::default();
        for (group, offsets) in by_group.iter() {
            offsets.topics().into_iter().for_each(|topic| all.note_reader(topic, group, true));
            all.bytes += weigh(offsets);
        }
        AllOffsets { by_group, ..all }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: TopicId = Uuid([1; 16]);
    const TWO: TopicId = Uuid([2; 16]);

    fn committed(topic: TopicId, partition: i32, at: i64) -> (TopicPartition, CommittedOffset) {
        let committed_at = Timestamp(at);
        let metadata = String::new();
        let offset = Offset(at);
        (
            TopicPartition::new(topic, partition),
            CommittedOffset { offset, leader_epoch: None, metadata, committed_at, expires_at: None },
        )
    }

    fn change(all: &mut AllOffsets, group: &str, change: OffsetChange) {
        let mut offsets = all.of(group).cloned().unwrap_or_default();
        offsets.apply(&change);
        all.replace(&group.into(), offsets, &[change.into()]);
        assert_eq!(read_again(all), *all);
    }

    fn commit(all: &mut AllOffsets, group: &str, topic: TopicId) {
        let offsets = vec![committed(topic, 0, 5), committed(topic, 1, 5)];
        change(all, group, OffsetChange::Committed(offsets));
    }

    /// The offsets as they are read from a snapshot, which has no fields that can be computed.
    fn read_again(all: &AllOffsets) -> AllOffsets {
        postcard::from_bytes(&postcard::to_stdvec(all).unwrap()).unwrap()
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
        assert_eq!(read_again(&all), all);
        all.remove_topic(TWO);
        assert_eq!(all, AllOffsets::default());
    }

    #[test]
    fn a_group_takes_its_offsets_along() {
        let mut all = AllOffsets::default();
        commit(&mut all, "a", ONE);
        all.replace(&"a".into(), Offsets::default(), &[GroupRecord::Deleted.into()]);
        assert_eq!(all, AllOffsets::default());
    }

    #[test]
    fn a_later_commit_is_not_removed_by_a_decision_on_the_earlier_one() {
        let mut all = AllOffsets::default();
        let offsets = vec![committed(ONE, 0, 5), committed(ONE, 1, 7)];
        change(&mut all, "a", OffsetChange::Committed(offsets));
        let expired = [0, 1].map(|partition| (TopicPartition::new(ONE, partition), Timestamp(5)));
        change(&mut all, "a", OffsetChange::Removed(expired.to_vec()));
        let left: Vec<_> = all.of("a").unwrap().all().keys().copied().collect();
        assert_eq!(left, [TopicPartition::new(ONE, 1)]);
    }

    #[test]
    fn memory_is_counted_change_by_change() {
        let mut all = AllOffsets::default();
        let with = |metadata: &str| {
            let (partition, one) = committed(ONE, 0, 5);
            OffsetChange::Committed(vec![(partition, CommittedOffset { metadata: metadata.into(), ..one })])
        };
        change(&mut all, "a", with(&"x".repeat(1000)));
        let long = all.bytes();
        assert!(long > 1000, "{long}");
        change(&mut all, "a", with("x"));
        assert!(all.bytes() < long - 900, "{}", all.bytes());
        change(&mut all, "a", OffsetChange::Removed(vec![(TopicPartition::new(ONE, 0), Timestamp(5))]));
        assert_eq!(all.bytes(), 0);
    }
}
