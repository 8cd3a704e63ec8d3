//! The disk is full, and has room again.

use super::TestHooks;

impl TestHooks {
    /// Fills the disk, as far as the broker can tell: records, topics and settings are refused as on a full disk. Nothing is
    /// written, also with the data in memory.
    pub fn fill_disk(&self) {
        self.store.fill_disk(true);
    }

    /// Frees the disk again.
    pub fn free_disk(&self) {
        self.store.fill_disk(false);
    }
}
