//! The description of a classic group for clients.

use crate::coordinator::group::{Description, GroupState, MemberDescription};
use crate::kernel::group::{Group, Member, MemberId, Opaque, Phase};

pub(super) fn state(group: &Group) -> GroupState {
    match group.phase() {
        Phase::Empty { .. } => GroupState::Empty,
        Phase::PreparingRebalance => GroupState::PreparingRebalance,
        Phase::CompletingRebalance => GroupState::CompletingRebalance,
        Phase::Stable => GroupState::Stable,
    }
}

pub(super) fn describe(group: &Group) -> Description {
    let protocol = group.protocol().filter(|_| state(group) == GroupState::Stable);
    let members = group.members().iter().map(|(id, member)| MemberDescription {
        id: id.clone(),
        instance: member.instance.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        metadata: protocol.and_then(|protocol| member.metadata(protocol)).cloned().unwrap_or_default(),
        assignment: member.assignment.clone(),
    });
    Description {
        state: state(group),
        protocol_type: group.protocol_type().map(str::to_owned),
        protocol: protocol.map(str::to_owned),
        members: members.collect(),
    }
}

/// The memory of a description, including the parts it shares with the group.
pub(super) fn weigh(group: &Group) -> usize {
    const MEMBER: usize = 256;
    let of_member = |(id, member): (&MemberId, &Member)| {
        let instance = member.instance.as_ref().map_or(0, String::len);
        let metadata = group.protocol().and_then(|protocol| member.metadata(protocol));
        let opaque = metadata.map_or(0, Opaque::len) + member.assignment.len();
        MEMBER + id.len() + instance + member.client_id.len() + member.client_host.len() + opaque
    };
    let names = [group.protocol_type(), group.protocol()].into_iter().flatten();
    names.map(str::len).sum::<usize>() + group.members().iter().map(of_member).sum::<usize>()
}
