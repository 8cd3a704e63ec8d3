//! How far the engine is durable: syncs, snapshots, and what happens when the disk fails.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::directory::PartitionKey;
use super::super::keeper::{self, Job};
use super::super::segment::Segment;
use super::super::snapshot;
use super::Engine;
use super::round::{Sync, SyncFailure};

/// How much is written before a sync that no ack waits for.
const SYNC_AFTER: u64 = 1 << 20;

pub enum SnapshotFailure {
    /// Segments, or the journal, could not be made durable.
    Sync(String),
    /// It came to nothing, and can be tried again.
    Later { error: std::io::Error, segments: Vec<Arc<Segment>> },
}

impl Engine {
    /// Everything that was written so far and no sync has covered.
    pub fn take_sync(&mut self) -> Sync {
        self.behind = false;
        self.sync_announced = false;
        let segments = std::mem::take(&mut self.unsynced).into_values().collect();
        Sync { segments, journal: self.journal.sync_job(), directory: Arc::clone(&self.directory) }
    }

    /// Called when nothing waits: says in the journal how far it is synced, so that damage to what
    /// was acknowledged is never taken for a torn tail.
    pub fn idle(&mut self) {
        if !self.is_poisoned()
            && let Err(error) = self.journal.mark()
        {
            self.poison(&error.to_string());
        }
    }

    /// In a mode where acks do not wait: whether a sync is due.
    pub fn is_behind(&self) -> bool {
        self.behind && !self.is_poisoned()
    }

    /// Acks did not wait: the sync comes after a moment, or once enough was written.
    pub fn sync_later(&mut self) {
        let job = match self.behind_bytes >= SYNC_AFTER {
            true => Job::SyncNow,
            false if self.sync_announced => return,
            false => Job::SyncSoon,
        };
        self.sync_announced = true;
        self.behind_bytes = 0;
        drop(self.keeper.send(job));
    }

    pub fn synced(&mut self, outcome: Result<u64, SyncFailure>) {
        match outcome {
            Ok(position) => self.journal.synced(position),
            Err(SyncFailure::Failed(why)) => self.poison(&why),
            Err(SyncFailure::NotOpened { error, segments }) => {
                tracing::warn!(%error, "cannot open segments for a sync; it is tried again");
                self.unsynced.extend(segments.into_iter().map(|segment| (segment.key(), segment)));
                self.behind = true;
                self.sync_later();
            }
        }
    }

    pub fn poison(&mut self, why: &str) {
        // The first reason is the one.
        let _ = self.poisoned_by.set(why.to_owned());
        if !self.poisoned.swap(true, Ordering::AcqRel) {
            tracing::error!(
                %why,
                "the data directory takes no more writes: what is acknowledged is safe and can be read; \
                 check the disk, then restart"
            );
        }
    }

    /// Why nothing can be compacted in the partition: not all of it is in its segments.
    pub fn is_stuck(&self, key: PartitionKey) -> bool {
        self.unwritten.why(key).is_some()
    }

    pub fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// Asks for a snapshot of the state as it is: the keeper writes it aside. Records that only the
    /// journal has are put behind it.
    pub fn snapshot(&mut self) {
        // Of a round that is not finished the directories of deleted topics are still there.
        let is_ahead = self.shard.position() != self.position.load(Ordering::Acquire);
        if self.snapshot_running || self.is_poisoned() || is_ahead {
            return;
        }
        let shard = Box::new(self.shard.clone());
        self.write_unwritten();
        if !self.unwritten.is_empty() && !self.store_again() {
            self.since_snapshot = self.options.tuning.snapshot_bytes / 2;
            return;
        }
        let journal = (!self.unwritten.is_empty()).then(|| self.journal.sync_job());
        self.snapshot_running = true;
        self.since_snapshot = 0;
        let segments = std::mem::take(&mut self.dirty).into_values().collect();
        // Only gone when we are.
        drop(self.keeper.send(Job::Snapshot { shard, segments, journal }));
    }

    /// The snapshot is safe, or the keeper says why not.
    pub fn snapshot_done(&mut self, outcome: Result<u64, SnapshotFailure>) {
        self.snapshot_running = false;
        match outcome {
            Ok(oldest) => {
                self.counts.snapshots.one();
                self.journal.trim(oldest + 1);
                // The snapshot synced everything that was not written to since.
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

    /// A snapshot of the very end, on the caller's thread, after the keeper is done with its own.
    pub fn last_snapshot(&mut self) -> std::io::Result<()> {
        self.write_unwritten();
        let nothing_since_the_last_one = self.since_snapshot == 0 && self.dirty.is_empty();
        let segments: Vec<_> = std::mem::take(&mut self.dirty).into_values().collect();
        self.directory.sync(&segments).map_err(|error| std::io::Error::other(error.to_string()))?;
        segments.iter().for_each(|segment| keeper::save_index(segment));
        if self.unwritten.is_empty()
            && !nothing_since_the_last_one
            && self.options.tuning.snapshot_bytes < u64::MAX
        {
            self.directory.trash.settle()?;
            snapshot::write(&*self.directory.fs, &self.directory.snapshots(), &self.shard)?;
            snapshot::trim(&*self.directory.fs, &self.directory.snapshots())?;
        }
        Ok(())
    }
}
