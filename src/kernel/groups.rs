//! All groups with the state beside them. Readers get them as an image, so a clone costs O(1), and a change
//! O(log n) although there are clones.

use std::sync::Arc;

use super::command::Refusal;
use super::group::{Change, Group, GroupRecord, KeptGroup};
use super::offsets::{AllOffsets, OffsetChange, Offsets};
use super::weight::{allocated, entry};
use crate::types::{ProducerId, SharedMap, TopicId, TransactionEnd};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Groups {
    by_name: ByName,
    offsets: AllOffsets,
    /// The memory of the groups without their offsets.
    bytes: usize,
}

/// The groups without the state beside them.
pub(super) type ByName = SharedMap<Arc<str>, Arc<Group>>;

impl Groups {
    pub(super) fn of(by_name: ByName, offsets: AllOffsets) -> Groups {
        let bytes = by_name.iter().map(|(name, group)| weigh(name, group)).sum();
        Groups { by_name, offsets, bytes }
    }

    /// The parts that a snapshot stores. The counts of memory are computed again.
    pub(super) fn stored(&self) -> (&ByName, &AllOffsets) {
        (&self.by_name, &self.offsets)
    }

    pub fn get(&self, name: &str) -> Option<KeptGroup> {
        self.by_name.get(name).map(|group| self.kept(name, group))
    }

    /// All groups, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, KeptGroup)> {
        self.by_name.iter().map(|(name, group)| (name, self.kept(name, group)))
    }

    pub fn len(&self) -> usize {
        self.by_name.size()
    }

    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The committed offsets of a group; `None` if it has none.
    pub fn offsets(&self, name: &str) -> Option<&Offsets> {
        self.offsets.of(name)
    }

    /// The memory of all groups and of the state beside them.
    pub fn bytes(&self) -> usize {
        self.bytes + self.offsets.bytes()
    }

    /// Applies the changes of one command, which were decided on the version `after`.
    pub fn change(&mut self, name: &str, after: u64, changes: &[Change]) -> Result<(), Refusal> {
        let known = self.by_name.get_key_value(name);
        let (name, before) = known
            .map_or_else(|| (name.into(), Arc::default()), |(name, group)| (name.clone(), group.clone()));
        if before.version() != after {
            return Err(Refusal::OtherVersion);
        }
        if changes.contains(&Change::Group(GroupRecord::Expired)) && !self.is_emptied(&name, changes) {
            return Err(Refusal::OtherVersion);
        }
        self.apply(name, &before, changes);
        Ok(())
    }

    /// Whether the changes remove all offsets of the group. The version says nothing of that: a transaction changes offsets
    /// and not the group.
    fn is_emptied(&self, name: &str, changes: &[Change]) -> bool {
        let mut offsets = self.offsets.of(name).cloned().unwrap_or_default();
        for change in changes {
            if let Change::Offsets(change) = change {
                offsets.apply(change);
            }
        }
        offsets.is_empty()
    }

    /// The producer's transaction has ended, and with it the group's staged offsets.
    pub(super) fn end_transaction(&mut self, name: &str, producer: ProducerId, end: TransactionEnd) {
        let known = self.by_name.get_key_value(name);
        if let Some((name, before)) = known.map(|(name, group)| (Arc::clone(name), Arc::clone(group))) {
            self.apply(name, &before, &[OffsetChange::Ended { producer, end }.into()]);
        }
    }

    fn apply(&mut self, name: Arc<str>, before: &Arc<Group>, changes: &[Change]) {
        let mut kept = self.kept(&name, before);
        kept.apply(changes);
        self.offsets.replace(&name, kept.offsets, changes);
        if !Arc::ptr_eq(before, &kept.group) {
            self.put(name, before, kept.group);
        }
    }

    fn put(&mut self, name: Arc<str>, before: &Group, after: Arc<Group>) {
        if before.exists() {
            self.bytes -= weigh(&name, before);
        }
        if after.exists() {
            self.bytes += weigh(&name, &after);
            self.by_name.insert_mut(name, after);
        } else {
            self.by_name.remove_mut(&name);
        }
    }

    fn kept(&self, name: &str, group: &Arc<Group>) -> KeptGroup {
        KeptGroup { group: Arc::clone(group), offsets: self.offsets.of(name).cloned().unwrap_or_default() }
    }

    /// Removes the offsets of a topic from all groups.
    pub(super) fn remove_topic(&mut self, topic: TopicId) {
        self.offsets.remove_topic(topic);
    }
}

/// The memory of a group without its offsets. Names count four times, because a list of the groups copies them.
pub fn weigh(name: &str, group: &Group) -> usize {
    let names = name.len() + group.protocol_type().map_or(0, str::len);
    allocated(4 * names) + entry::<Arc<str>, Arc<Group>>() + group.memory().sum()
}
