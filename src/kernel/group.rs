//! A group's hard state: its generation, members and offsets from the journal.
//!
//! Only `Group::apply` changes a group, here and in the coordinator's own copy. So a record has all the
//! data it needs, and the times in it are the coordinator's. Any record may come at any time; one without
//! a meaning any more (an assignment for a member that has left) is ignored. *Soft* state (waiting
//! requests and sessions) belongs to the coordinator and is lost in a restart.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::types::{LeaderEpoch, Offset, Timestamp, TopicId};

/// The number of completed rebalances of a group; 0 before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Generation(pub i32);

/// The id of a member, made by the coordinator.
pub type MemberId = String;

/// The partition of a committed offset.
pub type PartitionKey = (TopicId, i32);

/// One group. The default is a group that does not exist; any record but `Deleted` creates it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Group {
    exists: bool,
    phase: Phase,
    generation: Generation,
    protocol_type: Option<String>,
    protocol: Option<String>,
    leader: Option<MemberId>,
    members: BTreeMap<MemberId, Member>,
    /// The members with an instance id, by that id.
    instances: BTreeMap<String, MemberId>,
    offsets: BTreeMap<PartitionKey, CommittedOffset>,
}

/// The phase of a rebalance. Every step is in the journal, so a rebalance continues after a restart (rule
/// C8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// No members, since the given time if it ever had any.
    Empty {
        since: Option<Timestamp>,
    },
    /// Members have to rejoin.
    PreparingRebalance,
    /// A generation has begun, and its leader has to send the assignment.
    CompletingRebalance,
    Stable,
}

/// A member. It is static if it has an instance id.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Member {
    pub instance: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout: Duration,
    pub rebalance_timeout: Duration,
    /// Its protocols, the preferred one first, each with metadata that only the leader understands.
    pub protocols: Vec<(String, Opaque)>,
    /// The assignment from the leader in the last complete rebalance.
    pub assignment: Opaque,
}

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

/// Bytes that are stored but not parsed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Opaque(Bytes);

/// The changes of a group. New variants are only added at the end, so that old journals stay readable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum GroupRecord {
    /// A new member, or the changed properties of a known one, which keeps its assignment.
    Joined {
        id: MemberId,
        protocol_type: String,
        member: Member,
    },
    /// A static member rejoined under a new id and takes the place of the old one.
    Replaced {
        old: MemberId,
        new: MemberId,
    },
    Left {
        members: Vec<MemberId>,
    },
    /// A rebalance has begun in [`Phase::Stable`] or any other phase: all members have to rejoin.
    RebalanceBegun,
    /// All members of the generation are known, and the leader has to assign.
    GenerationBegun {
        generation: Generation,
        protocol: String,
        leader: MemberId,
    },
    /// The last member has left.
    Emptied {
        generation: Generation,
        at: Timestamp,
    },
    /// The leader's assignment. Members without one get an empty one.
    Assigned {
        assignments: Vec<(MemberId, Opaque)>,
    },
    OffsetsCommitted {
        offsets: Vec<(PartitionKey, CommittedOffset)>,
    },
    OffsetsRemoved {
        partitions: Vec<PartitionKey>,
    },
    /// Removes all offsets of a deleted topic.
    TopicForgotten {
        topic: TopicId,
    },
    /// Deletes the group with all its data.
    Deleted,
}

impl Group {
    /// Applies a record. A group changes only through this function.
    pub fn apply(&mut self, record: &GroupRecord) {
        self.exists = true;
        match record {
            GroupRecord::Joined { id, protocol_type, member } => {
                self.protocol_type = Some(protocol_type.clone());
                let mut member = member.clone();
                if let Some(known) = self.remove(id) {
                    member.assignment = known.assignment;
                }
                self.insert(id.clone(), member);
            }
            GroupRecord::Replaced { old, new } => {
                let was_leader = self.leader.as_ref() == Some(old);
                let Some(member) = self.remove(old) else { return };
                self.insert(new.clone(), member);
                if was_leader {
                    self.leader = Some(new.clone());
                }
            }
            GroupRecord::Left { members } => {
                for id in members {
                    self.remove(id);
                    if self.leader.as_ref() == Some(id) {
                        self.leader = None;
                    }
                }
            }
            GroupRecord::RebalanceBegun => {
                // As in Kafka, members keep their assignments during a rebalance. They lose them only if
                // the new generation ends before it has assignments.
                if self.phase == Phase::CompletingRebalance {
                    self.clear_assignments();
                }
                self.phase = Phase::PreparingRebalance;
            }
            GroupRecord::GenerationBegun { generation, protocol, leader } => {
                self.phase = Phase::CompletingRebalance;
                self.generation = *generation;
                self.protocol = Some(protocol.clone());
                self.leader = Some(leader.clone());
            }
            GroupRecord::Emptied { generation, at } => {
                self.phase = Phase::Empty { since: Some(*at) };
                self.generation = *generation;
                self.protocol = None;
                self.leader = None;
                self.members.clear();
                self.instances.clear();
            }
            // The record that began the generation may have been refused (a full disk) while this one was
            // already queued. It must not make a group stable during a rebalance.
            GroupRecord::Assigned { .. } if self.phase != Phase::CompletingRebalance => {}
            GroupRecord::Assigned { assignments } => {
                self.phase = Phase::Stable;
                self.clear_assignments();
                for (id, assignment) in assignments {
                    if let Some(member) = self.members.get_mut(id) {
                        member.assignment = assignment.clone();
                    }
                }
            }
            GroupRecord::OffsetsCommitted { offsets } => self.offsets.extend(offsets.iter().cloned()),
            GroupRecord::OffsetsRemoved { partitions } => {
                for partition in partitions {
                    self.offsets.remove(partition);
                }
            }
            GroupRecord::TopicForgotten { topic } => self.offsets.retain(|(of, _), _| of != topic),
            GroupRecord::Deleted => *self = Group::default(),
        }
    }

    pub fn exists(&self) -> bool {
        self.exists
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The protocol type of the last members (`consumer`, `connect` …); `None` if the group never had
    /// members and only has offsets.
    pub fn protocol_type(&self) -> Option<&str> {
        self.protocol_type.as_deref()
    }

    /// The protocol that this generation has elected.
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    pub fn leader(&self) -> Option<&MemberId> {
        self.leader.as_ref()
    }

    /// The members, ordered by id.
    pub fn members(&self) -> &BTreeMap<MemberId, Member> {
        &self.members
    }

    pub fn member(&self, id: &str) -> Option<&Member> {
        self.members.get(id)
    }

    /// The member that currently has an instance id.
    pub fn instance(&self, instance: &str) -> Option<&MemberId> {
        self.instances.get(instance)
    }

    /// The number of members with an instance id.
    pub fn instances(&self) -> usize {
        self.instances.len()
    }

    pub fn offsets(&self) -> &BTreeMap<PartitionKey, CommittedOffset> {
        &self.offsets
    }

    pub fn offset(&self, partition: PartitionKey) -> Option<&CommittedOffset> {
        self.offsets.get(&partition)
    }

    /// The topics that the group has offsets of.
    pub fn topics(&self) -> Vec<TopicId> {
        let mut topics = Vec::new();
        let mut from = Bound::Unbounded;
        while let Some(((topic, _), _)) = self.offsets.range((from, Bound::Unbounded)).next() {
            topics.push(*topic);
            from = Bound::Excluded((*topic, i32::MAX));
        }
        topics
    }

    fn clear_assignments(&mut self) {
        for member in self.members.values_mut() {
            member.assignment = Opaque::default();
        }
    }

    fn remove(&mut self, id: &str) -> Option<Member> {
        let member = self.members.remove(id)?;
        if let Some(instance) = &member.instance
            && self.instances.get(instance).is_some_and(|holder| holder == id)
        {
            self.instances.remove(instance);
        }
        Some(member)
    }

    /// Adds a member. An instance id has only one member, so an older one is removed.
    fn insert(&mut self, id: MemberId, member: Member) {
        if let Some(instance) = &member.instance
            && let Some(older) = self.instances.insert(instance.clone(), id.clone())
        {
            self.members.remove(&older);
        }
        self.members.insert(id, member);
    }
}

impl Member {
    /// The member's metadata for a protocol.
    pub fn metadata(&self, protocol: &str) -> Option<&Opaque> {
        self.protocols.iter().find(|(name, _)| name == protocol).map(|(_, metadata)| metadata)
    }

    pub fn supports(&self, protocol: &str) -> bool {
        self.metadata(protocol).is_some()
    }
}

impl Default for Phase {
    fn default() -> Phase {
        Phase::Empty { since: None }
    }
}

impl Opaque {
    /// A copy, so that the frame with the original bytes can be freed.
    pub fn copy_of(bytes: &[u8]) -> Opaque {
        Opaque(Bytes::copy_from_slice(bytes))
    }

    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Opaque {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Opaque {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Opaque, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Opaque;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Opaque, E> {
                Ok(Opaque::copy_of(bytes))
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Opaque, E> {
                Ok(Opaque(bytes.into()))
            }
        }
        deserializer.deserialize_byte_buf(Visitor)
    }
}
