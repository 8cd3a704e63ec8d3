//! The pure state machine: no I/O, no clock, no randomness. Facts (offsets, epochs, generations,
//! topics) come only from applying an ordered journal to it, so the same journal gives the same
//! state on every start; a rolling hash proves it.
//!
//! A *round* is what the journal stores as one entry: some commands applied at one time. `apply`
//! checks everything before it changes anything, so a refused command leaves no trace and is not
//! written to the journal.

pub mod command;
pub mod group;
pub mod partition;
pub mod producer;
pub mod topic;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use command::{Applied, Command, Commit, CreateTopic, Placed, ProducerStamp, Refusal};
pub use group::Group;
pub use partition::{Partition, Segment};
pub use topic::Topic;

use crate::types::{Offset, ProducerEpoch, ProducerId, Timestamp, TopicId};

/// Everything the journal says, up to `position`. Topics, partitions and groups are shared with
/// the snapshots taken of it and copied when they change (`Arc::make_mut`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shard {
    position: u64,
    hash: u64,
    next_producer: i64,
    topics: BTreeMap<TopicId, Arc<Topic>>,
    groups: BTreeMap<String, Arc<Group>>,
    /// Topic ids by the name's metric form (`.` and `_` are one), where `a.b` and `a_b` collide.
    names: BTreeMap<String, TopicId>,
}

impl Shard {
    /// The last round that was applied; 0 before the first.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The rolling hash after the last round.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.values()
    }

    pub fn topic(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topics.get(&id)
    }

    pub fn partition(&self, id: TopicId, index: i32) -> Option<&Partition> {
        self.topics.get(&id)?.partition(index)
    }

    pub fn groups(&self) -> impl Iterator<Item = (&String, &Arc<Group>)> {
        self.groups.iter()
    }

    pub fn group(&self, id: &str) -> Option<&Arc<Group>> {
        self.groups.get(id)
    }

    /// The only place where an offset, an epoch, a generation or a topic comes into being.
    pub fn apply(&mut self, time: Timestamp, command: &Command) -> Result<Applied, Refusal> {
        let applied = match command {
            Command::CreateTopic(create) => self.create_topic(create)?,
            Command::DropTopic { topic } => self.drop_topic(*topic)?,
            Command::Commit(commit) => {
                self.partition_mut(commit.topic, commit.partition)?.commit(time, commit)?
            }
            Command::SetLogStart { topic, partition, offset } => {
                self.partition_mut(*topic, *partition)?.set_log_start(*offset)?
            }
            Command::RaiseEpoch { topic, partition } => self.partition_mut(*topic, *partition)?.raise_epoch(),
            Command::NewProducer => self.new_producer(),
            Command::ExpireProducers { idle_since } => self.expire_producers(*idle_since),
            Command::Group { group, records } => self.change_group(group, records),
        };
        if applied.changed_something() {
            self.hash = applied.mixed_into(self.hash);
        }
        Ok(applied)
    }

    /// Ends a round: `commands` is what the journal stores of it.
    pub fn close_round(&mut self, commands: &[u8]) {
        self.position += 1;
        self.hash = mix(mix(self.hash, self.position), u64::from(crc32c::crc32c(commands)));
    }

    fn create_topic(&mut self, create: &CreateTopic) -> Result<Applied, Refusal> {
        let metric_form = topic::metric_form(&create.name);
        if let Some(holder) = self.names.get(&metric_form).and_then(|id| self.topics.get(id)) {
            return Err(match holder.name == create.name {
                true => Refusal::TopicExists,
                false => Refusal::NameCollides { with: holder.name.clone() },
            });
        }
        if create.id.is_zero() || self.topics.contains_key(&create.id) || create.partitions == 0 {
            return Err(Refusal::Malformed);
        }
        self.names.insert(metric_form, create.id);
        self.topics.insert(create.id, Arc::new(Topic::new(create)));
        Ok(Applied::TopicCreated)
    }

    fn drop_topic(&mut self, id: TopicId) -> Result<Applied, Refusal> {
        let topic = self.topics.remove(&id).ok_or(Refusal::UnknownTopic)?;
        self.names.remove(&topic::metric_form(&topic.name));
        Ok(Applied::TopicDropped)
    }

    fn new_producer(&mut self) -> Applied {
        let id = ProducerId(self.next_producer);
        self.next_producer += 1;
        Applied::Producer { id, epoch: ProducerEpoch(0) }
    }

    /// Forgets the producers that have been silent since before `idle_since`, as Kafka does after
    /// `producer.id.expiration.ms`.
    fn expire_producers(&mut self, idle_since: Timestamp) -> Applied {
        let mut expired = 0;
        for topic in self.topics.values_mut() {
            if !topic.partitions().any(|partition| partition.has_idle_producer(idle_since)) {
                continue;
            }
            for partition in &mut Arc::make_mut(topic).partitions {
                if partition.has_idle_producer(idle_since) {
                    expired += Arc::make_mut(partition).expire_producers(idle_since);
                }
            }
        }
        Applied::ProducersExpired(expired)
    }

    fn change_group(&mut self, id: &str, records: &[group::GroupRecord]) -> Applied {
        let group = self.groups.entry(id.to_owned()).or_default();
        let changed = Arc::make_mut(group);
        for record in records {
            changed.apply(record);
        }
        if !changed.exists() {
            self.groups.remove(id);
        }
        Applied::GroupChanged
    }

    fn partition_mut(&mut self, id: TopicId, index: i32) -> Result<&mut Partition, Refusal> {
        let topic = self.topics.get_mut(&id).ok_or(Refusal::UnknownTopic)?;
        let at = usize::try_from(index).map_err(|_| Refusal::UnknownPartition)?;
        let partition = Arc::make_mut(topic).partitions.get_mut(at).ok_or(Refusal::UnknownPartition)?;
        Ok(Arc::make_mut(partition))
    }
}

impl Applied {
    /// The outcome is part of the hash: two machines that handed out different offsets differ.
    fn mixed_into(&self, hash: u64) -> u64 {
        let words: [i64; 4] = match self {
            Applied::TopicCreated => [1, 0, 0, 0],
            Applied::TopicDropped => [2, 0, 0, 0],
            Applied::Appended(placed) => {
                [3, placed.base_offset.0, placed.segment.0, i64::from(placed.epoch.0)]
            }
            Applied::Duplicate { base_offset, .. } => [4, base_offset.0, 0, 0],
            Applied::LogStart { offset, dropped } => {
                [5, offset.0, i64::try_from(dropped.len()).unwrap_or(i64::MAX), 0]
            }
            Applied::Epoch(epoch) => [6, i64::from(epoch.0), 0, 0],
            Applied::Producer { id, epoch } => [7, id.0, i64::from(epoch.0), 0],
            Applied::ProducersExpired(count) => [8, i64::try_from(*count).unwrap_or(i64::MAX), 0, 0],
            Applied::GroupChanged => [9, 0, 0, 0],
        };
        words.iter().fold(hash, |hash, word| mix(hash, word.cast_unsigned()))
    }
}

/// One step of the rolling hash (the finaliser of splitmix64).
fn mix(hash: u64, word: u64) -> u64 {
    let mut mixed = (hash ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The offset after the last record of a batch; `None` where it would pass the largest offset.
pub fn next_offset(base: Offset, last_offset_delta: i32) -> Option<Offset> {
    base.0.checked_add(i64::from(last_offset_delta))?.checked_add(1).map(Offset)
}

#[cfg(test)]
mod tests;
