//! Counters of the store, for the metrics.

use std::sync::atomic::{AtomicU64, AtomicUsize};

use crate::telemetry::{Count, Durations};

/// Counters of the whole store, since it was opened.
#[derive(Debug, Default)]
pub struct Counts {
    pub traffic: Traffic,
    /// Rounds that changed something; each is one entry of the journal.
    pub rounds: Count,
    pub journal_bytes: Count,
    /// The durations of the syncs that made written rounds durable.
    pub syncs: Durations,
    pub snapshots: Count,
    /// The current memory of idempotent producers in bytes, as the kernel accounts it.
    pub producer_bytes: AtomicU64,
    /// The memory of the published groups and of their offsets, as the kernel accounts it.
    pub group_bytes: AtomicUsize,
    /// Transactions that their producers have committed.
    pub transactions_committed: Count,
    /// Transactions that were aborted by their producer, or by the next one with the same transactional id.
    pub transactions_aborted: Count,
    /// Transactions that were aborted because they were open for too long.
    pub transactions_timed_out: Count,
    /// Bytes that the scrub checked against their checksums.
    pub scrubbed: Count,
}

/// Data written to and read from a log, since the store was opened.
#[derive(Debug, Default)]
pub struct Traffic {
    pub bytes_in: Count,
    pub records_in: Count,
    pub bytes_out: Count,
}
