//! Roughly how much memory a group takes. Counted record by record, so that a commit costs what it
//! touches and not what the group holds.

use crate::kernel::group::{CommittedOffset, Group, GroupRecord, Member};

/// What an entry costs beside the bytes it was sent with: its places in maps, here and in the kernel.
const MEMBER: usize = 1024;
const OFFSET: usize = 256;
const PENDING: usize = 128;

pub(super) fn of_group(group: &Group) -> usize {
    let members: usize = group.members().iter().map(|(id, member)| of_member(id, member)).sum();
    let offsets: usize = group.offsets().values().map(of_offset).sum();
    members + offsets
}

pub(super) fn of_member(id: &str, member: &Member) -> usize {
    let instance = member.instance.as_ref().map_or(0, String::len);
    let protocols: usize = member.protocols.iter().map(|(name, metadata)| name.len() + metadata.len()).sum();
    // A member's id is a key of several maps; the kernel's copy has names of its own.
    let names = 6 * id.len() + 4 * instance + 2 * (member.client_id.len() + member.client_host.len());
    MEMBER + names + protocols + member.assignment.len()
}

pub(super) fn of_new_offset(metadata: &str) -> usize {
    OFFSET + 2 * metadata.len()
}

/// An id that was handed out to a newcomer.
pub(super) fn of_pending(id: &str) -> usize {
    PENDING + id.len()
}

fn of_offset(committed: &CommittedOffset) -> usize {
    of_new_offset(&committed.metadata)
}

/// The weight of that part of the group which the record speaks of: asked before and after it is
/// applied, the difference is what it adds.
pub(super) fn touched_by(group: &Group, record: &GroupRecord) -> usize {
    let member = |id: &String| group.member(id).map_or(0, |member| of_member(id, member));
    match record {
        GroupRecord::Joined { id, member: joined, .. } => {
            let twin = joined.instance.as_ref().and_then(|instance| group.instance(instance));
            member(id) + twin.filter(|twin| *twin != id).map_or(0, member)
        }
        GroupRecord::Replaced { old, new } => member(old) + member(new),
        GroupRecord::Left { members } => members.iter().map(member).sum(),
        GroupRecord::OffsetsCommitted { offsets } => {
            offsets.iter().filter_map(|(partition, _)| group.offset(*partition)).map(of_offset).sum()
        }
        GroupRecord::OffsetsRemoved { partitions } => {
            partitions.iter().filter_map(|partition| group.offset(*partition)).map(of_offset).sum()
        }
        GroupRecord::GenerationBegun { .. } => 0,
        GroupRecord::RebalanceBegun
        | GroupRecord::Emptied { .. }
        | GroupRecord::Assigned { .. }
        | GroupRecord::TopicForgotten { .. }
        | GroupRecord::Deleted => of_group(group),
    }
}
