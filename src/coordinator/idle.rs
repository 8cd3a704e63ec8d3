//! The machines that can be deleted to make room, the longest idle first, and the memory of their slots.

use std::collections::BTreeMap;

#[derive(Debug)]
pub(super) struct Idle<K> {
    /// The memory of each slot, by the number of the machine.
    slots: BTreeMap<(u64, K), usize>,
    bytes: usize,
}

impl<K: Ord + Clone> Idle<K> {
    /// Adds a machine, or sets the memory of its slot.
    pub fn set(&mut self, number: u64, key: &K, bytes: usize) {
        self.bytes += bytes;
        self.bytes -= self.slots.insert((number, key.clone()), bytes).unwrap_or(0);
    }

    pub fn remove(&mut self, number: u64, key: &K) {
        self.bytes -= self.slots.remove(&(number, key.clone())).unwrap_or(0);
    }

    /// At most `count` machines, the longest idle first.
    pub fn first(&self, count: usize) -> Vec<K> {
        self.slots.keys().take(count).map(|(_, key)| key.clone()).collect()
    }

    /// The memory of all their slots.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl<K> Default for Idle<K> {
    fn default() -> Idle<K> {
        Idle { slots: BTreeMap::new(), bytes: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_in_the_order_of_their_numbers_and_each_counts_once() {
        let mut idle = Idle::default();
        idle.set(2, &"b", 20);
        idle.set(1, &"a", 10);
        idle.set(1, &"a", 15);
        assert_eq!((idle.first(1), idle.first(9), idle.bytes()), (vec!["a"], vec!["a", "b"], 35));
        idle.remove(1, &"a");
        idle.remove(1, &"a");
        assert_eq!((idle.first(9), idle.bytes()), (vec!["b"], 20));
    }
}
