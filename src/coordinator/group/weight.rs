//! The memory of a group, in the kernel's copy and in the coordinator's, as the allocator counts
//! it. It is counted record by record, so that the cost of a commit does not depend on the size of
//! the group. `tests/attack/hoarding.rs` compares it with the memory that is really allocated.

use crate::coordinator::machine::Weight;
use crate::kernel::group::{CommittedOffset, Group, GroupRecord, Member, MemberId, Opaque, PartitionKey};

/// The number of maps that only the coordinator has with member ids as keys: sessions, joining,
/// syncing.
const SOFT_MAPS: usize = 3;

/// The memory of an empty group: its name, here and in the kernel, and its entries in maps. All copies of
/// the name are counted as the kernel's, because names are short.
pub fn of_name(name: &str) -> Weight {
    Weight { kept: 384 + 4 * name.len(), slot: 1024 }
}

pub fn of_group(group: &Group) -> Weight {
    let members: Weight = group.members().iter().map(|(id, member)| weigh_member(id, member)).sum();
    let offsets: Weight = group.offsets().values().map(of_offset).sum();
    of_maps(group) + members + offsets
}

/// The memory of a member without its entries in maps.
pub fn of_member(id: &str, member: &Member) -> usize {
    weigh_member(id, member).sum()
}

/// The approximate memory for the first offset of a partition.
pub fn of_new_offset(metadata: &str) -> usize {
    in_both(text(metadata) + 2 * size_of::<(PartitionKey, CommittedOffset)>()).sum()
}

/// The memory of an id that was given to a newcomer.
pub fn of_pending(id: &str) -> usize {
    2 * size_of::<(MemberId, std::time::Duration)>() + 64 + text(id)
}

fn weigh_member(id: &str, member: &Member) -> Weight {
    let instance = member.instance.as_ref().map_or(0, |instance| 2 * text(instance) + text(id));
    let protocols = member.protocols.iter().map(|(name, _)| size_of::<(String, Opaque)>() + text(name));
    let own =
        text(id) + instance + text(&member.client_id) + text(&member.client_host) + protocols.sum::<usize>();
    // All copies share these bytes.
    let metadata: usize = member.protocols.iter().map(|(_, metadata)| opaque(metadata)).sum();
    let shared = metadata + opaque(&member.assignment);
    in_both(own) + Weight { kept: shared, slot: SOFT_MAPS * text(id) }
}

fn of_offset(committed: &CommittedOffset) -> Weight {
    in_both(text(&committed.metadata))
}

fn of_maps(group: &Group) -> Weight {
    let (members, offsets) = (group.members().len(), group.offsets().len());
    let soft = SOFT_MAPS * places::<MemberId, std::time::Duration>(members);
    in_both(
        places::<MemberId, Member>(members)
            + places::<String, MemberId>(group.instances())
            + places::<PartitionKey, CommittedOffset>(offsets),
    ) + Weight { kept: 0, slot: soft }
}

/// The kernel and the coordinator have a copy each.
fn in_both(bytes: usize) -> Weight {
    Weight { kept: bytes, slot: bytes }
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
pub fn touched_by(group: &Group, record: &GroupRecord) -> usize {
    let member = |id: &String| group.member(id).map_or(0, |member| of_member(id, member));
    let maps = || of_maps(group).sum();
    match record {
        GroupRecord::Joined { id, member: joined, .. } => {
            let twin = joined.instance.as_ref().and_then(|instance| group.instance(instance));
            maps() + member(id) + twin.filter(|twin| *twin != id).map_or(0, member)
        }
        GroupRecord::Replaced { old, new } => maps() + member(old) + member(new),
        GroupRecord::Left { members } => maps() + members.iter().map(member).sum::<usize>(),
        GroupRecord::OffsetsCommitted { offsets } => {
            let touched = offsets.iter().filter_map(|(partition, _)| group.offset(*partition));
            maps() + touched.map(|committed| of_offset(committed).sum()).sum::<usize>()
        }
        GroupRecord::OffsetsRemoved { partitions } => {
            let touched = partitions.iter().filter_map(|partition| group.offset(*partition));
            maps() + touched.map(|committed| of_offset(committed).sum()).sum::<usize>()
        }
        GroupRecord::GenerationBegun { .. } => 0,
        GroupRecord::RebalanceBegun
        | GroupRecord::Emptied { .. }
        | GroupRecord::Assigned { .. }
        | GroupRecord::TopicForgotten { .. }
        | GroupRecord::Deleted => of_group(group).sum(),
    }
}
