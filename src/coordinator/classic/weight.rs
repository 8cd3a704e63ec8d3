//! The memory of a group, in the kernel's copy and in the coordinator's, as the allocator counts
//! it. It is counted record by record, so that the cost of a commit does not depend on the size of
//! the group. `tests/attack/hoarding.rs` compares it with the memory that is really allocated.

use crate::kernel::group::{CommittedOffset, Group, GroupRecord, Member, MemberId, Opaque, PartitionKey};

/// The copies of the kernel and the coordinator.
const COPIES: usize = 2;
/// The number of maps that only the coordinator has with member ids as keys: sessions, joining,
/// syncing.
const SOFT_MAPS: usize = 3;

pub(super) fn of_group(group: &Group) -> usize {
    let members: usize = group.members().iter().map(|(id, member)| of_member(id, member)).sum();
    let offsets: usize = group.offsets().values().map(of_offset).sum();
    of_maps(group) + members + offsets
}

/// The memory of a member without its entries in maps.
pub(super) fn of_member(id: &str, member: &Member) -> usize {
    let instance = member.instance.as_ref().map_or(0, |instance| 2 * text(instance) + text(id));
    let protocols = member.protocols.iter().map(|(name, _)| size_of::<(String, Opaque)>() + text(name));
    let own =
        text(id) + instance + text(&member.client_id) + text(&member.client_host) + protocols.sum::<usize>();
    // All copies share these bytes.
    let metadata: usize = member.protocols.iter().map(|(_, metadata)| opaque(metadata)).sum();
    COPIES * own + SOFT_MAPS * text(id) + metadata + opaque(&member.assignment)
}

/// The approximate memory for the first offset of a partition.
pub(super) fn of_new_offset(metadata: &str) -> usize {
    COPIES * (text(metadata) + 2 * size_of::<(PartitionKey, CommittedOffset)>())
}

/// The memory of an id that was given to a newcomer.
pub(super) fn of_pending(id: &str) -> usize {
    2 * size_of::<(MemberId, std::time::Duration)>() + 64 + text(id)
}

fn of_offset(committed: &CommittedOffset) -> usize {
    COPIES * text(&committed.metadata)
}

fn of_maps(group: &Group) -> usize {
    let (members, offsets) = (group.members().len(), group.offsets().len());
    COPIES * places::<MemberId, Member>(members)
        + COPIES * places::<String, MemberId>(group.instances())
        + COPIES * places::<PartitionKey, CommittedOffset>(offsets)
        + SOFT_MAPS * places::<MemberId, std::time::Duration>(members)
}

/// A B-tree of the standard library has nodes with eleven places. As few as six of them may be in
/// use, and as few as one in the root.
fn places<K, V>(entries: usize) -> usize {
    const NODE: usize = 11;
    const LEAST: usize = 6;
    const LINKS: usize = 48;
    entries.div_ceil(LEAST) * (NODE * size_of::<(K, V)>() + LINKS)
}

fn text(text: &str) -> usize {
    if text.is_empty() { 0 } else { allocated(text.len()) }
}

fn opaque(bytes: &Opaque) -> usize {
    if bytes.is_empty() { 0 } else { allocated(bytes.len()) + 48 }
}

/// The memory that an allocator takes for `bytes` bytes.
fn allocated(bytes: usize) -> usize {
    (bytes + 8).next_multiple_of(16).max(32)
}

/// The weight of the part of the group that the record changes. The difference between the values
/// before and after `apply` is the record's own weight.
pub(super) fn touched_by(group: &Group, record: &GroupRecord) -> usize {
    let member = |id: &String| group.member(id).map_or(0, |member| of_member(id, member));
    match record {
        GroupRecord::Joined { id, member: joined, .. } => {
            let twin = joined.instance.as_ref().and_then(|instance| group.instance(instance));
            of_maps(group) + member(id) + twin.filter(|twin| *twin != id).map_or(0, member)
        }
        GroupRecord::Replaced { old, new } => of_maps(group) + member(old) + member(new),
        GroupRecord::Left { members } => of_maps(group) + members.iter().map(member).sum::<usize>(),
        GroupRecord::OffsetsCommitted { offsets } => {
            let touched = offsets.iter().filter_map(|(partition, _)| group.offset(*partition));
            of_maps(group) + touched.map(of_offset).sum::<usize>()
        }
        GroupRecord::OffsetsRemoved { partitions } => {
            let touched = partitions.iter().filter_map(|partition| group.offset(*partition));
            of_maps(group) + touched.map(of_offset).sum::<usize>()
        }
        GroupRecord::GenerationBegun { .. } => 0,
        GroupRecord::RebalanceBegun
        | GroupRecord::Emptied { .. }
        | GroupRecord::Assigned { .. }
        | GroupRecord::TopicForgotten { .. }
        | GroupRecord::Deleted => of_group(group),
    }
}
