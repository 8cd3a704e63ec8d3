//! Upkeep: the background work of an engine, and the state of its disk.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::BrokerSettings;
use crate::types::Timestamp;

/// The part of an engine that is not its line: work that no request waits for.
pub(super) trait Upkeep: Send + Sync {
    fn log_dir(&self) -> LogDir;

    /// Whether there is less free space than the broker needs. No more data is accepted then.
    fn is_full(&self) -> bool;

    /// Measures the free space.
    fn look_at_space(&self);

    /// Fills the disk for a test, without writing anything, or frees it again.
    fn fill_disk(&self, is_filled: bool);

    /// Checks a backup that keeps files of the running store from being removed. If it makes no progress, or if the
    /// disk is full, it loses these files.
    fn look_at_backup(&self);

    /// The time for which such a backup has made no progress, if that is a problem.
    fn stalled_backup(&self) -> Option<Duration>;

    /// Retries writes and removals of files that failed before.
    fn retry(&self);

    /// Compacts the partitions that are due at `now`, the dirtiest first. Blocks until it is done or the store
    /// closes.
    fn compact(&self, now: Timestamp, settings: &BrokerSettings);

    /// Reads a part of the stored batches again, and takes damaged partitions out of service. It reads as
    /// much as is due after `elapsed` more time, so that everything is read once per `interval`. Blocks until
    /// it is done or the store closes.
    fn scrub(&self, interval: Duration, elapsed: Duration);

    /// The time at which the last complete scrub pass ended; `None` if there was none.
    fn last_scrub(&self) -> Option<Timestamp>;

    /// Begins to write a snapshot, so that the next start has nothing to replay.
    fn snapshot(&self);

    /// Does all queued background work on the calling thread, in an engine without threads.
    fn run_background(&self);
}

/// The data directory as clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDir {
    pub path: PathBuf,
    /// The space of its disk, if it is known.
    pub space: Option<Space>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// The bytes that this process may still use.
    pub free: u64,
    /// The bytes of the whole disk.
    pub total: u64,
}
