//! A group's hard state: its kind with generation and members, from the journal. Its offsets are beside it
//! (`kernel/offsets.rs`).
//!
//! Only `change` changes a group, here and in the coordinator's own copy. So a record has all the data it
//! needs, and the times in it are the coordinator's. Any record may come at any time. A record that has lost its
//! meaning (an assignment for a member that has left) is ignored. *Soft* state (waiting requests and
//! sessions) belongs to the coordinator and is lost in a restart.
//!
//! Commands are chained: each names the version of the group that it was decided on, and is refused on
//! another one. The version is a hash of all records so far.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::mix;
use super::offsets::{OffsetChange, Offsets};
use super::weight::{Memory, entry, opaque, text};
use crate::types::{SharedMap, Timestamp};

/// The number of completed rebalances of a group; 0 before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Generation(pub i32);

/// The id of a member, made by the coordinator.
pub type MemberId = String;

/// One group. The default is a group that does not exist; any change but a deletion creates it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// 0 before the first record.
    version: u64,
    exists: bool,
    kind: Kind,
}

/// The kind of a group, with its state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Classic(Classic),
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Classic {
    phase: Phase,
    generation: Generation,
    protocol_type: Option<String>,
    protocol: Option<String>,
    leader: Option<MemberId>,
    members: Members,
}

/// The members of a group. A clone costs O(1), and a change O(log n) although there are clones.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "StoredMembers")]
struct Members {
    by_id: SharedMap<MemberId, Member>,
    /// The members with an instance id, by that id.
    instances: SharedMap<String, MemberId>,
    /// How many members support each protocol.
    #[serde(skip)]
    supporters: SharedMap<String, usize>,
    #[serde(skip)]
    memory: Memory,
}

/// The members as a snapshot has them.
#[derive(Deserialize)]
struct StoredMembers {
    by_id: SharedMap<MemberId, Member>,
    instances: SharedMap<String, MemberId>,
}

/// A group with the state beside it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeptGroup {
    pub group: Arc<Group>,
    pub offsets: Offsets,
}

/// A change of a group or of the state beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Change {
    Group(GroupRecord),
    Offsets(OffsetChange),
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

/// Bytes that are stored but not parsed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Opaque(Bytes);

/// The changes of a classic group.
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
    /// Deletes the group with all its data.
    Deleted,
    /// The same for a group that is not needed any more. It is refused if offsets are left: the coordinator may not know yet
    /// of those of a transaction.
    Expired,
}

impl Group {
    /// Applies a change. A group changes only through this function and [`Group::end_command`].
    pub fn change(group: &mut Arc<Group>, change: &Change) {
        match change {
            Change::Group(GroupRecord::Deleted | GroupRecord::Expired) => *group = Arc::default(),
            Change::Group(record) => {
                let group = Arc::make_mut(group);
                group.exists = true;
                group.kind.classic_mut().apply(record);
            }
            // A commit creates a group that does not exist.
            Change::Offsets(_) if group.exists => {}
            Change::Offsets(_) => Arc::make_mut(group).exists = true,
        }
    }

    /// Ends a command: computes the new version from the old one and the records. Changes of the state beside the
    /// group do not change the version.
    pub fn end_command(group: &mut Arc<Group>, changes: &[Change]) {
        let records: Vec<&GroupRecord> = changes.iter().filter_map(Change::record).collect();
        if group.exists && !records.is_empty() {
            let bytes = postcard::to_stdvec(&records).expect("records are plain data");
            let group = Arc::make_mut(group);
            group.version = mix(group.version, u64::from(crc32c::crc32c(&bytes)));
        }
    }

    /// The version that a command has to name; 0 for a group that does not exist.
    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn exists(&self) -> bool {
        self.exists
    }

    pub fn phase(&self) -> Phase {
        self.kind.classic().phase
    }

    pub fn generation(&self) -> Generation {
        self.kind.classic().generation
    }

    /// The protocol type of the last members (`consumer`, `connect` …); `None` if the group never had
    /// members and only has offsets.
    pub fn protocol_type(&self) -> Option<&str> {
        self.kind.classic().protocol_type.as_deref()
    }

    /// The protocol that this generation has elected.
    pub fn protocol(&self) -> Option<&str> {
        self.kind.classic().protocol.as_deref()
    }

    pub fn leader(&self) -> Option<&MemberId> {
        self.kind.classic().leader.as_ref()
    }

    /// The members, ordered by id.
    pub fn members(&self) -> &SharedMap<MemberId, Member> {
        &self.kind.classic().members.by_id
    }

    pub fn member(&self, id: &str) -> Option<&Member> {
        self.members().get(id)
    }

    /// Whether all members support a protocol.
    pub fn all_support(&self, protocol: &str) -> bool {
        let members = &self.kind.classic().members;
        members.supporters.get(protocol).copied().unwrap_or(0) == members.by_id.size()
    }

    /// The member that currently has an instance id.
    pub fn instance(&self, instance: &str) -> Option<&MemberId> {
        self.kind.classic().members.instances.get(instance)
    }

    /// The memory of the group without its name.
    pub fn memory(&self) -> Memory {
        let classic = self.kind.classic();
        let names = [&classic.protocol_type, &classic.protocol, &classic.leader].into_iter().flatten();
        let mut memory = classic.members.memory;
        memory.own += size_of::<Group>() + names.map(|name| text(name)).sum::<usize>();
        memory
    }
}

impl Kind {
    fn classic(&self) -> &Classic {
        let Kind::Classic(classic) = self;
        classic
    }

    fn classic_mut(&mut self) -> &mut Classic {
        let Kind::Classic(classic) = self;
        classic
    }
}

impl KeptGroup {
    /// Applies the changes of one command.
    pub fn apply(&mut self, changes: &[Change]) {
        for change in changes {
            Group::change(&mut self.group, change);
            match change {
                Change::Offsets(change) => self.offsets.apply(change),
                Change::Group(GroupRecord::Deleted | GroupRecord::Expired) => {
                    self.offsets = Offsets::default()
                }
                Change::Group(_) => {}
            }
        }
        Group::end_command(&mut self.group, changes);
    }
}

impl Change {
    fn record(&self) -> Option<&GroupRecord> {
        match self {
            Change::Group(record) => Some(record),
            Change::Offsets(_) => None,
        }
    }
}

impl From<GroupRecord> for Change {
    fn from(record: GroupRecord) -> Change {
        Change::Group(record)
    }
}

impl From<OffsetChange> for Change {
    fn from(change: OffsetChange) -> Change {
        Change::Offsets(change)
    }
}

impl Classic {
    fn apply(&mut self, record: &GroupRecord) {
        match record {
            GroupRecord::Joined { id, protocol_type, member } => {
                self.protocol_type = Some(protocol_type.clone());
                let mut member = member.clone();
                if let Some(known) = self.members.remove(id) {
                    member.assignment = known.assignment;
                }
                self.members.insert(id.clone(), member);
            }
            GroupRecord::Replaced { old, new } => {
                let was_leader = self.leader.as_ref() == Some(old);
                let Some(member) = self.members.remove(old) else { return };
                self.members.insert(new.clone(), member);
                if was_leader {
                    self.leader = Some(new.clone());
                }
            }
            GroupRecord::Left { members } => {
                for id in members {
                    self.members.remove(id);
                    if self.leader.as_ref() == Some(id) {
                        self.leader = None;
                    }
                }
            }
            GroupRecord::RebalanceBegun => {
                // As in Kafka, members keep their assignments during a rebalance. They lose them only if
                // the new generation ends before it has assignments.
                if self.phase == Phase::CompletingRebalance {
                    self.members.assign(&[]);
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
                self.members = Members::default();
            }
            // It must not make a group stable during a rebalance.
            GroupRecord::Assigned { .. } if self.phase != Phase::CompletingRebalance => {}
            GroupRecord::Assigned { assignments } => {
                self.phase = Phase::Stable;
                self.members.assign(assignments);
            }
            GroupRecord::Deleted | GroupRecord::Expired => *self = Classic::default(),
        }
    }
}

impl Members {
    /// Sets these assignments and removes those of all other members.
    fn assign(&mut self, assignments: &[(MemberId, Opaque)]) {
        let old = self.by_id.iter().filter(|(_, member)| !member.assignment.is_empty());
        let old: Vec<MemberId> = old.map(|(id, _)| id.clone()).collect();
        old.iter().for_each(|id| self.set_assignment(id, Opaque::default()));
        for (id, assignment) in assignments {
            self.set_assignment(id, assignment.clone());
        }
    }

    fn set_assignment(&mut self, id: &str, assignment: Opaque) {
        let Some(member) = self.by_id.get_mut(id) else { return };
        self.memory.shared -= opaque(&member.assignment);
        self.memory.shared += opaque(&assignment);
        member.assignment = assignment;
    }

    fn remove(&mut self, id: &str) -> Option<Member> {
        let member = self.by_id.get(id)?.clone();
        self.by_id.remove_mut(id);
        self.memory -= member.weigh(id);
        member.protocol_names().for_each(|protocol| self.remove_supporter(protocol));
        if let Some(instance) = &member.instance
            && self.instances.get(instance).is_some_and(|holder| holder == id)
        {
            self.instances.remove_mut(instance);
        }
        Some(member)
    }

    /// Adds or replaces a member. An instance id has only one member, so an older one is removed.
    fn insert(&mut self, id: MemberId, member: Member) {
        self.remove(&id);
        if let Some(instance) = &member.instance {
            if let Some(older) = self.instances.get(instance).cloned() {
                self.remove(&older);
            }
            self.instances.insert_mut(instance.clone(), id.clone());
        }
        self.count(&id, &member);
        self.by_id.insert_mut(id, member);
    }

    /// Counts a new member.
    fn count(&mut self, id: &str, member: &Member) {
        self.memory += member.weigh(id);
        member.protocol_names().for_each(|protocol| self.add_supporter(protocol));
    }

    fn add_supporter(&mut self, protocol: &str) {
        match self.supporters.get_mut(protocol) {
            Some(count) => *count += 1,
            None => {
                self.supporters.insert_mut(protocol.to_owned(), 1);
                self.memory.own += of_supporters(protocol);
            }
        }
    }

    fn remove_supporter(&mut self, protocol: &str) {
        match self.supporters.get_mut(protocol) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) => {
                self.supporters.remove_mut(protocol);
                self.memory.own -= of_supporters(protocol);
            }
            None => {}
        }
    }
}

/// The memory of the count of a protocol's supporters.
fn of_supporters(protocol: &str) -> usize {
    entry::<String, usize>() + text(protocol)
}

impl From<StoredMembers> for Members {
    fn from(StoredMembers { by_id, instances }: StoredMembers) -> Members {
        let mut members = Members { instances, ..Members::default() };
        by_id.iter().for_each(|(id, member)| members.count(id, member));
        Members { by_id, ..members }
    }
}

impl Member {
    /// The member's metadata for a protocol.
    pub fn metadata(&self, protocol: &str) -> Option<&Opaque> {
        self.protocols.iter().find(|(name, _)| name == protocol).map(|(_, metadata)| metadata)
    }

    /// Each of its protocols once, also if it has listed one twice.
    fn protocol_names(&self) -> impl Iterator<Item = &str> {
        let names = self.protocols.iter().map(|(name, _)| name.as_str()).enumerate();
        names
            .filter(|(at, name)| self.protocols[..*at].iter().all(|(other, _)| other != name))
            .map(|(_, name)| name)
    }

    /// The memory of the counts of supporters, if no other member supports its protocols.
    pub fn weigh_support(&self) -> usize {
        self.protocols.iter().map(|(name, _)| of_supporters(name)).sum()
    }

    /// The memory of a member with this id, without [`Member::weigh_support`].
    pub fn weigh(&self, id: &str) -> Memory {
        let instance = self
            .instance
            .as_ref()
            .map_or(0, |instance| entry::<String, MemberId>() + 2 * text(instance) + text(id));
        let protocols = self.protocols.iter().map(|(name, _)| size_of::<(String, Opaque)>() + text(name));
        let strings = text(id) + text(&self.client_id) + text(&self.client_host);
        let own = entry::<MemberId, Member>() + strings + instance + protocols.sum::<usize>();
        let metadata: usize = self.protocols.iter().map(|(_, metadata)| opaque(metadata)).sum();
        Memory { own, shared: metadata + opaque(&self.assignment), ids: text(id) }
    }
}

impl Default for Kind {
    fn default() -> Kind {
        Kind::Classic(Classic::default())
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
