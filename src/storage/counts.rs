//! What the store counts, for whoever asks.

use std::sync::atomic::AtomicU64;

use crate::telemetry::{Count, Durations};

/// Of the whole store, since it was opened.
#[derive(Debug, Default)]
pub struct Counts {
    pub traffic: Traffic,
    /// Rounds that changed something: entries of the journal.
    pub rounds: Count,
    pub journal_bytes: Count,
    /// How long it took to make written rounds durable.
    pub syncs: Durations,
    pub snapshots: Count,
    /// What idempotent producers take now, by the account of the kernel.
    pub producer_bytes: AtomicU64,
    /// Bytes that the scrub held against their checksums.
    pub scrubbed: Count,
}

/// What went into a log and out of it, since the store was opened.
#[derive(Debug, Default)]
pub struct Traffic {
    pub bytes_in: Count,
    pub records_in: Count,
    pub bytes_out: Count,
}
