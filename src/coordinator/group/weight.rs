//! The memory of a group in its coordinator: the copy of the kernel's group, and soft state.
//! `tests/attack/hoarding.rs` compares it with the memory that is really allocated.

use std::time::Duration;

use crate::kernel::group::{Group, Member, MemberId};
use crate::kernel::weigh_group;
use crate::kernel::weight::text;

/// The number of maps that only the coordinator has with member ids as keys: sessions, members that are held back, and
/// either those that join or those that sync.
const SOFT_MAPS: usize = 3;

/// A slot with an empty group, and its entries in maps.
const SLOT: usize = 1024;

/// The memory of a slot without the soft state of the group.
pub fn of_slot(name: &str, group: &Group) -> usize {
    // A list of the groups copies the name.
    SLOT + 4 * name.len() + group.memory().own
}

/// The memory of the soft state for the members.
pub fn of_members(group: &Group) -> usize {
    SOFT_MAPS * (places::<MemberId, Duration>(group.members().size()) + group.memory().ids)
}

/// The maximum memory of a member in the kernel and in the coordinator.
pub fn of_member(id: &str, member: &Member) -> usize {
    let memory = member.weigh(id);
    2 * (memory.own + member.weigh_support())
        + memory.shared
        + SOFT_MAPS * (places::<MemberId, Duration>(1) + memory.ids)
}

/// The memory of an id that was given to a newcomer.
pub fn of_pending(id: &str) -> usize {
    2 * size_of::<(MemberId, Duration)>() + 64 + text(id)
}

/// The memory of a group in the kernel, without its offsets.
pub fn in_kernel(name: &str, group: &Group) -> usize {
    if group.exists() { weigh_group(name, group) } else { 0 }
}

/// The memory in the kernel of a group that begins to exist.
pub fn of_new_group(name: &str) -> usize {
    weigh_group(name, &Group::default())
}

/// A B-tree of the standard library has nodes with eleven places. As few as six of them may be in
/// use, and as few as one in the root.
fn places<K, V>(entries: usize) -> usize {
    const NODE: usize = 11;
    const LEAST: usize = 6;
    const LINKS: usize = 48;
    entries.div_ceil(LEAST) * (NODE * size_of::<(K, V)>() + LINKS)
}
