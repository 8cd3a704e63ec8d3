//! A group's hard state: what the journal says of its generation, members and offsets.
//!
//! `Group::apply` is the only thing that changes a group, here and in the coordinator's own copy,
//! so a record carries all it needs: the times in it are the coordinator's. Any record may come at
//! any time; what it cannot mean any more (an assignment for a member that left) is passed over.
//! *Soft* state (who waits, who was heard from) is the coordinator's and is lost by a restart.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::types::{LeaderEpoch, Offset, Timestamp, TopicId};

/// How often a group has completed a rebalance; 0 before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Generation(pub i32);

/// The name of a member, made by the coordinator.
pub type MemberId = String;

/// Whose offset it is: a partition of a topic.
pub type PartitionKey = (TopicId, i32);

/// One group. Its default is the group that does not exist; any record but `Deleted` brings it about.
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

/// Where the group is in the round of a rebalance. Every step is in the journal, so a restart in
/// mid-rebalance goes on with the rebalance (rule C8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// No members, since the time given, if it ever had any.
    Empty {
        since: Option<Timestamp>,
    },
    /// Members are asked to join again.
    PreparingRebalance,
    /// A generation has begun; the leader is asked for the assignment.
    CompletingRebalance,
    Stable,
}

/// A member, static where it has an instance id.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Member {
    pub instance: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout: Duration,
    pub rebalance_timeout: Duration,
    /// What it can speak, the best first, each with bytes that only the leader understands.
    pub protocols: Vec<(String, Opaque)>,
    /// What the leader gave it in the last complete rebalance.
    pub assignment: Opaque,
}

/// A committed offset and what stands beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommittedOffset {
    pub offset: Offset,
    pub leader_epoch: Option<LeaderEpoch>,
    pub metadata: String,
    pub committed_at: Timestamp,
    /// Where the commit itself said how long it wants to be kept (OffsetCommit 2 to 4).
    pub expires_at: Option<Timestamp>,
}

/// Bytes that are carried and not looked into.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Opaque(Bytes);

/// What can happen to a group. Variants are only ever added, at the end: old journals stay readable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum GroupRecord {
    /// A new member, or what a known one now asks for; the assignment of a known one stays.
    Joined {
        id: MemberId,
        protocol_type: String,
        member: Member,
    },
    /// A static member came back under a new id and takes over the old one's place.
    Replaced {
        old: MemberId,
        new: MemberId,
    },
    Left {
        members: Vec<MemberId>,
    },
    /// Out of [`Phase::Stable`], or whatever phase it was: all members must join again.
    RebalanceBegun,
    /// All who shall take part are known; the leader is to assign.
    GenerationBegun {
        generation: Generation,
        protocol: String,
        leader: MemberId,
    },
    /// The last member is gone.
    Emptied {
        generation: Generation,
        at: Timestamp,
    },
    /// The leader's assignment; who is not in it has none.
    Assigned {
        assignments: Vec<(MemberId, Opaque)>,
    },
    OffsetsCommitted {
        offsets: Vec<(PartitionKey, CommittedOffset)>,
    },
    OffsetsRemoved {
        partitions: Vec<PartitionKey>,
    },
    /// All offsets of a topic that was deleted go.
    TopicForgotten {
        topic: TopicId,
    },
    /// The group itself goes, with all that it holds.
    Deleted,
}

impl Group {
    /// The only way a group changes.
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
                // As Kafka shows it: what an earlier generation was assigned is lost only when
                // the one that began then does not come about.
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
            // If what began the generation was refused (a full disk) and this was in line already, it
            // must not make a group stable that is being rebalanced.
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

    /// The kind of group its last members made it (`consumer`, `connect` …); none if it never had
    /// members and only holds offsets.
    pub fn protocol_type(&self) -> Option<&str> {
        self.protocol_type.as_deref()
    }

    /// The protocol that the members of this generation agreed on.
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    pub fn leader(&self) -> Option<&MemberId> {
        self.leader.as_ref()
    }

    /// In the order of their ids.
    pub fn members(&self) -> &BTreeMap<MemberId, Member> {
        &self.members
    }

    pub fn member(&self, id: &str) -> Option<&Member> {
        self.members.get(id)
    }

    /// The member that now holds an instance id.
    pub fn instance(&self, instance: &str) -> Option<&MemberId> {
        self.instances.get(instance)
    }

    /// How many members have an instance id.
    pub fn instances(&self) -> usize {
        self.instances.len()
    }

    pub fn offsets(&self) -> &BTreeMap<PartitionKey, CommittedOffset> {
        &self.offsets
    }

    pub fn offset(&self, partition: PartitionKey) -> Option<&CommittedOffset> {
        self.offsets.get(&partition)
    }

    /// The topics that it has offsets of.
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

    /// Two members never hold one instance id: the newer one takes it, the older one is gone.
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
    /// What it says of itself under a protocol.
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
    /// A copy, so that the frame it came in can go.
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
