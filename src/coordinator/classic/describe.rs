//! The description of a group for clients.

use super::ClassicGroup;
use crate::kernel::group::{CommittedOffset, Member, MemberId, Opaque, PartitionKey, Phase};

/// Kafka's names for a group's states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupState {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
}

impl GroupState {
    pub const ALL: [GroupState; 4] = [
        GroupState::Empty,
        GroupState::PreparingRebalance,
        GroupState::CompletingRebalance,
        GroupState::Stable,
    ];

    pub fn name(self) -> &'static str {
        match self {
            GroupState::Empty => "Empty",
            GroupState::PreparingRebalance => "PreparingRebalance",
            GroupState::CompletingRebalance => "CompletingRebalance",
            GroupState::Stable => "Stable",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    pub state: GroupState,
    pub protocol_type: Option<String>,
    /// Only while the group is stable.
    pub protocol: Option<String>,
    pub members: Vec<MemberDescription>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MemberDescription {
    pub id: MemberId,
    pub instance: Option<String>,
    pub client_id: String,
    pub client_host: String,
    /// Only while the group is stable.
    pub metadata: Opaque,
    pub assignment: Opaque,
}

impl ClassicGroup {
    pub fn state(&self) -> GroupState {
        match self.hard.phase() {
            Phase::Empty { .. } => GroupState::Empty,
            Phase::PreparingRebalance => GroupState::PreparingRebalance,
            Phase::CompletingRebalance => GroupState::CompletingRebalance,
            Phase::Stable => GroupState::Stable,
        }
    }

    pub fn describe(&self) -> Description {
        let protocol = self.hard.protocol().filter(|_| self.state() == GroupState::Stable);
        let members = self.hard.members().iter().map(|(id, member)| MemberDescription {
            id: id.clone(),
            instance: member.instance.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: protocol.and_then(|protocol| member.metadata(protocol)).cloned().unwrap_or_default(),
            assignment: member.assignment.clone(),
        });
        Description {
            state: self.state(),
            protocol_type: self.hard.protocol_type().map(str::to_owned),
            protocol: protocol.map(str::to_owned),
            members: members.collect(),
        }
    }

    /// The memory of a description, including the parts it shares with the group.
    pub fn weigh_description(&self) -> usize {
        const MEMBER: usize = 256;
        let of_member = |(id, member): (&MemberId, &Member)| {
            let instance = member.instance.as_ref().map_or(0, String::len);
            let metadata = self.hard.protocol().and_then(|protocol| member.metadata(protocol));
            let opaque = metadata.map_or(0, Opaque::len) + member.assignment.len();
            MEMBER + id.len() + instance + member.client_id.len() + member.client_host.len() + opaque
        };
        let names = [self.hard.protocol_type(), self.hard.protocol()].into_iter().flatten();
        names.map(str::len).sum::<usize>() + self.hard.members().iter().map(of_member).sum::<usize>()
    }

    /// The memory of the result of [`ClassicGroup::offsets`].
    pub fn weigh_offsets(&self, of: Option<&[PartitionKey]>) -> usize {
        const OFFSET: usize = 128;
        let metadata = |committed: &CommittedOffset| committed.metadata.len();
        match of {
            Some(asked) => {
                let found = asked.iter().filter_map(|of| self.hard.offset(*of));
                asked.len() * OFFSET + found.map(metadata).sum::<usize>()
            }
            None => self.hard.offsets().values().map(|committed| OFFSET + metadata(committed)).sum(),
        }
    }

    /// The committed offsets of some partitions, or of all that have one (OffsetFetch).
    pub fn offsets(&self, of: Option<&[PartitionKey]>) -> Vec<(PartitionKey, Option<CommittedOffset>)> {
        match of {
            Some(asked) => asked.iter().map(|of| (*of, self.hard.offset(*of).cloned())).collect(),
            None => {
                self.hard.offsets().iter().map(|(of, committed)| (*of, Some(committed.clone()))).collect()
            }
        }
    }
}
