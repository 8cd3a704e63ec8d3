//! The memory of the state, as the allocator counts it. It is counted change by change, so that the cost of a commit
//! does not depend on the size of the group. `tests/attack/hoarding.rs` and `tests/growth` compare it with the memory
//! that is really allocated.

use std::ops::{AddAssign, SubAssign};
use std::sync::Arc;

use super::group::Opaque;

/// The memory of a group in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The bytes that each copy of the group has.
    pub own: usize,
    /// The bytes that all copies share: metadata and assignments.
    pub shared: usize,
    /// The part of `own` for one copy of each member id.
    pub ids: usize,
}

impl Memory {
    pub fn sum(self) -> usize {
        self.own + self.shared
    }
}

impl AddAssign for Memory {
    fn add_assign(&mut self, other: Memory) {
        self.own += other.own;
        self.shared += other.shared;
        self.ids += other.ids;
    }
}

impl SubAssign for Memory {
    fn sub_assign(&mut self, other: Memory) {
        self.own -= other.own;
        self.shared -= other.shared;
        self.ids -= other.ids;
    }
}

/// The memory of an entry of a [`SharedMap`](crate::types::SharedMap), without the memory behind its key and value.
pub const fn entry<K, V>() -> usize {
    const COUNT: usize = size_of::<usize>();
    const NODE: usize = COUNT + 4 * size_of::<usize>();
    allocated(COUNT + size_of::<(K, V)>()) + allocated(NODE)
}

/// The memory of a node of a `BTreeMap`, without the memory behind its keys and values. The only node of a small map
/// has room for eleven entries.
pub const fn btree_node<K, V>() -> usize {
    allocated(11 * size_of::<(K, V)>() + 16)
}

pub fn text(text: &str) -> usize {
    bytes(text.as_bytes())
}

/// The memory of a text with the counts of its owners.
pub fn shared_text(text: &Arc<str>) -> usize {
    allocated(2 * size_of::<usize>() + text.len())
}

pub fn bytes(bytes: &[u8]) -> usize {
    if bytes.is_empty() { 0 } else { allocated(bytes.len()) }
}

pub fn opaque(bytes: &Opaque) -> usize {
    if bytes.is_empty() { 0 } else { allocated(bytes.len()) + 48 }
}

/// The memory that an allocator takes for `bytes` bytes.
pub const fn allocated(bytes: usize) -> usize {
    let taken = (bytes + 8).next_multiple_of(16);
    if taken < 32 { 32 } else { taken }
}
