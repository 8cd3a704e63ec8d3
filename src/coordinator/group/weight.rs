//! The memory of a group, in the kernel's copy and in the coordinator's, as the allocator counts
//! it. It is counted record by record, so that the cost of a commit does not depend on the size of
//! the group. `tests/attack/hoarding.rs` compares it with the memory that is really allocated.

use crate::coordinator::machine::Weight;
use crate::kernel::group::{Change, Group, GroupRecord, KeptGroup, Member, MemberId, Opaque};
use crate::kernel::offsets::{CommittedOffset, OffsetChange, Offsets, PartitionKey};

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
    of_maps(group) + members
}

pub fn of_offsets(offsets: &Offsets) -> Weight {
    offsets.all().values().map(of_offset).sum::<Weight>() + of_map(offsets)
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
    let members = group.members().size();
    let soft = SOFT_MAPS * places::<MemberId, std::time::Duration>(members);
    in_both(places::<MemberId, Member>(members) + places::<String, MemberId>(group.instances()))
        + Weight { kept: 0, slot: soft }
}

fn of_map(offsets: &Offsets) -> Weight {
    in_both(places::<PartitionKey, CommittedOffset>(offsets.len()))
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

/// The weight of the part of the group that a change touches. The difference between the values before and
/// after `apply` is the change's own weight.
pub fn touched_by(kept: &KeptGroup, change: &Change) -> usize {
    match change {
        Change::Group(GroupRecord::Deleted) => (of_group(&kept.group) + of_offsets(&kept.offsets)).sum(),
        Change::Group(record) => of_record(&kept.group, record),
        Change::Offsets(change) => of_change(&kept.offsets, change).sum(),
    }
}

fn of_record(group: &Group, record: &GroupRecord) -> usize {
    let member = |id: &String| group.member(id).map_or(0, |member| of_member(id, member));
    let maps = || of_maps(group).sum();
    match record {
        GroupRecord::Joined { id, member: joined, .. } => {
            let twin = joined.instance.as_ref().and_then(|instance| group.instance(instance));
            maps() + member(id) + twin.filter(|twin| *twin != id).map_or(0, member)
        }
        GroupRecord::Replaced { old, new } => maps() + member(old) + member(new),
        GroupRecord::Left { members } => maps() + members.iter().map(member).sum::<usize>(),
        GroupRecord::GenerationBegun { .. } => 0,
        GroupRecord::RebalanceBegun
        | GroupRecord::Emptied { .. }
        | GroupRecord::Assigned { .. }
        | GroupRecord::Deleted => of_group(group).sum(),
    }
}

fn of_change(offsets: &Offsets, change: &OffsetChange) -> Weight {
    let touched = |of: &PartitionKey| offsets.get(*of).map_or(Weight::default(), of_offset);
    match change {
        OffsetChange::Committed(changed) => of_map(offsets) + changed.iter().map(|(of, _)| touched(of)).sum(),
        OffsetChange::Removed(changed) => of_map(offsets) + changed.iter().map(|(of, _)| touched(of)).sum(),
        OffsetChange::TopicForgotten(_) => of_offsets(offsets),
    }
}
