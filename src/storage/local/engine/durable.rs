//! Durability of the engine: syncs, snapshots, and the handling of disk failures.

use std::sync::Arc;

use super::super::job::Job;
use super::super::segment::Segment;
use super::super::snapshot;
use super::Engine;
use super::round::{Sync, SyncFailure};
use crate::types::{IgnorePoison, TopicPartition};

/// The bytes after which a sync runs at once, if no acknowledgement waits for it.
const SYNC_AFTER: u64 = 1 << 20;

pub enum SnapshotFailure {
    /// Segments, or the journal, could not be made durable.
    Sync(String),
    /// The snapshot failed without harm and can be tried again.
    Later { error: std::io::Error, segments: Vec<Arc<Segment>> },
}

impl Engine {
    /// A sync of everything written so far that is not known to be durable. Another sync may be running: its segments
    /// are synced again, because this one may end first.
    pub fn take_sync(&mut self) -> Sync {
        self.behind = false;
        self.behind_bytes = 0;
        self.sync_announced = false;
        let segments = self.unsynced.values().map(|(segment, _)| Arc::clone(segment)).collect();
        Sync { segments, journal: self.journal.sync_job(), directory: Arc::clone(&self.directory) }
    }

    /// Called when the queue is empty. Writes the synced mark to the journal, so that damage to acknowledged
    /// data is never mistaken for a torn tail.
    pub fn idle(&mut self) {
        if !self.is_poisoned()
            && let Err(error) = self.journal.mark()
        {
            self.poison(&error.to_string());
        }
    }

    /// Whether a sync is due, in a mode where acknowledgements do not wait for it.
    pub fn is_behind(&self) -> bool {
        self.behind && !self.is_poisoned()
    }

    /// Requests a sync that no acknowledgement waits for: after a short time, or at once if enough was
    /// written.
    pub fn sync_later(&mut self) {
        let is_enough = self.behind_bytes >= SYNC_AFTER;
        if !is_enough && self.sync_announced {
            return;
        }
        let job = if is_enough { Job::SyncNow } else { Job::SyncSoon };
        self.sync_announced = true;
        self.behind_bytes = 0;
        drop(self.keeper.send(job));
    }

    pub fn synced(&mut self, outcome: Result<u64, SyncFailure>) {
        match outcome {
            Ok(position) => self.synced_up_to(position),
            Err(SyncFailure::Failed(why)) => self.poison(&why),
            Err(SyncFailure::NotOpened(error)) => {
                tracing::warn!(%error, "cannot open segments for a sync; it is tried again");
                self.behind = true;
                self.sync_later();
            }
        }
    }

    /// The journal is durable up to this entry, and so are the segments that it refers to up to there.
    pub fn synced_up_to(&mut self, position: u64) {
        self.journal.synced(position);
        self.unsynced.retain(|_, (_, entry)| *entry > position);
    }

    pub fn poison(&self, why: &str) {
        self.published.fail(why);
    }

    /// Whether the partition cannot be compacted, because some of its records are not in its segments.
    pub fn is_stuck(&self, key: TopicPartition) -> bool {
        self.unwritten.why(key).is_some()
    }

    pub fn is_poisoned(&self) -> bool {
        self.published.failure().is_some()
    }

    /// Starts a snapshot of the current state; the keeper writes it. Records that are only in the journal are
    /// appended to it again, after the snapshot's position.
    pub fn snapshot(&mut self) {
        if self.snapshot_running || self.is_poisoned() {
            return;
        }
        let shard = Box::new(self.shard.lock().ignoring_poison().clone());
        // In an unfinished round the directories of deleted topics are still in place.
        if shard.position() != self.published.position() {
            return;
        }
        self.write_unwritten();
        if !self.unwritten.is_empty() && !self.store_again() {
            self.since_snapshot = self.options.tuning.snapshot_bytes / 2;
            return;
        }
        let journal = (!self.unwritten.is_empty()).then(|| self.journal.sync_job());
        self.snapshot_running = true;
        self.since_snapshot = 0;
        let segments = std::mem::take(&mut self.dirty).into_values().collect();
        // The keeper lives as long as the engine, so the send does not fail.
        drop(self.keeper.send(Job::Snapshot { shard, segments, journal }));
    }

    /// Handles the outcome of a snapshot. `Ok` has the position from which the journal is still needed.
    pub fn snapshot_done(&mut self, outcome: Result<u64, SnapshotFailure>) {
        self.snapshot_running = false;
        match outcome {
            Ok(oldest) => {
                self.published.counts.snapshots.one();
                self.journal.trim(oldest + 1);
                // The snapshot synced all segments that were not written to afterwards.
                self.unsynced.retain(|key, _| self.dirty.contains_key(key));
            }
            Err(SnapshotFailure::Sync(why)) => self.poison(&why),
            Err(SnapshotFailure::Later { error, segments }) => {
                tracing::warn!(%error, "cannot write a snapshot; trying again later");
                self.since_snapshot = self.options.tuning.snapshot_bytes / 2;
                for segment in segments {
                    self.dirty.insert(segment.key(), segment);
                }
            }
        }
    }

    /// Releases the journal up to the oldest snapshot at once: on a full disk there may be no further round to do it.
    pub fn release_journal(&mut self, oldest: u64) {
        self.journal.trim(oldest + 1);
        if let Some(job) = self.journal.prepare() {
            drop(self.keeper.send(Job::Prepare(job)));
        }
    }

    /// Writes a final snapshot on the caller's thread, after the keeper has done its jobs.
    pub fn last_snapshot(&mut self) -> std::io::Result<()> {
        self.write_unwritten();
        let nothing_since_the_last_one = self.since_snapshot == 0 && self.dirty.is_empty();
        let segments: Vec<_> = std::mem::take(&mut self.dirty).into_values().collect();
        self.directory.sync(&segments).map_err(|error| std::io::Error::other(error.to_string()))?;
        save_indexes(&segments);
        if self.unwritten.is_empty()
            && !nothing_since_the_last_one
            && self.options.tuning.snapshot_bytes < u64::MAX
        {
            self.directory.trash.settle()?;
            let (fs, dir) = (&*self.directory.fs, self.directory.snapshots());
            let shard = self.shard.lock().ignoring_poison().clone();
            snapshot::write(fs, &dir, self.directory.levels, &shard)?;
            self.directory.trim_snapshots()?;
        }
        Ok(())
    }
}

/// Saves the indexes of segments. Without them the next start only has to read more.
pub fn save_indexes(segments: &[Arc<Segment>]) {
    for segment in segments {
        if let Err(error) = segment.save_index() {
            tracing::debug!(%error, "cannot save the index of a segment");
        }
    }
}
