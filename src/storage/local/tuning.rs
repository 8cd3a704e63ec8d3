//! The limits of the engine.

/// Limits for memory and disk. The defaults suit every broker; tests use small ones.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// A snapshot is taken after this many bytes of the journal.
    pub snapshot_bytes: u64,
    pub journal_file_bytes: u64,
    /// The newest batches are kept in memory up to this many bytes.
    pub recent_bytes: usize,
    /// A segment that gets at least this many bytes in a round is written and synced itself. For fewer bytes
    /// the journal entry has them: writing many bytes twice costs more than a second sync, writing few costs
    /// less.
    pub inline_below: usize,
    /// The maximum size of a segment, even if its topic allows more.
    pub segment_bytes: u64,
    /// The maximum number of open segment files, over all partitions.
    pub open_segments: usize,
}

impl Default for Tuning {
    fn default() -> Tuning {
        Tuning {
            snapshot_bytes: 64 << 20,
            journal_file_bytes: 32 << 20,
            recent_bytes: 8 << 20,
            inline_below: 1 << 20,
            segment_bytes: u64::MAX,
            open_segments: 512,
        }
    }
}
