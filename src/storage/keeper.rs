//! The keeper: the thread for everything that may take its time. Snapshots, the syncs of modes
//! whose acks do not wait for them, files that nobody needs any more.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::committer::Committer;
use super::directory::Directory;
use super::engine::SnapshotFailure;
use super::journal::{Prepare, SyncJob};
use super::segment::{Segment, SyncError};
use super::snapshot;
use crate::kernel::Shard;

/// How long written records wait for their sync where no ack does.
const SYNC_INTERVAL: Duration = Duration::from_millis(100);

/// How often a full disk is looked at while nobody asks.
const IDLE: Duration = Duration::from_secs(3600);

pub(super) enum Job {
    /// Makes the segments safe, then writes the state aside.
    Snapshot {
        shard: Box<Shard>,
        segments: Vec<Arc<Segment>>,
        /// What must be durable in the journal before the snapshot counts.
        journal: Option<SyncJob>,
    },
    /// Files below the log start.
    Remove {
        segments: Vec<Arc<Segment>>,
    },
    EmptyTrash,
    /// Files that could not be removed before.
    RemoveLeft,
    /// Room for the journal, ahead of need.
    Prepare(Prepare),
    /// Something was written that no ack waits for: it is synced soon.
    SyncSoon,
    /// So much was written that it is synced at once.
    SyncNow,
    /// Told when everything asked for before is done.
    Tell(Sender<()>),
}

/// Runs until every sender is gone.
pub(super) fn run(jobs: &Receiver<Job>, committer: &Weak<Committer>, directory: &Directory) {
    let mut sync_due = false;
    loop {
        let job = match jobs.recv_timeout(if sync_due { SYNC_INTERVAL } else { IDLE }) {
            Ok(Job::SyncSoon) => {
                sync_due = true;
                continue;
            }
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) => {
                if std::mem::take(&mut sync_due)
                    && let Some(committer) = committer.upgrade()
                {
                    sync(&committer);
                }
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let Some(committer) = committer.upgrade() else { return };
        perform(job, &committer, directory);
    }
}

/// Makes durable what was written so far.
pub(super) fn sync(committer: &Committer) {
    let job = {
        let mut engine = committer.engine();
        if !engine.is_behind() {
            return;
        }
        engine.take_sync()
    };
    let outcome = committer.timed(|| job.run());
    committer.engine().synced(outcome);
}

pub(super) fn perform(job: Job, committer: &Committer, directory: &Directory) {
    match job {
        // What could not be synced since it was asked for must not be in a snapshot.
        Job::Snapshot { .. } if committer.engine().is_poisoned() => {}
        Job::Snapshot { shard, segments, journal } => {
            let outcome = take_snapshot(&shard, segments, journal, directory);
            committer.engine().snapshot_done(outcome);
        }
        Job::Remove { segments } => directory.remove(segments),
        Job::RemoveLeft => directory.remove_left(),
        Job::EmptyTrash => directory.empty_trash(),
        Job::Prepare(job) => {
            let outcome = job.run();
            committer.engine().prepared(&outcome);
        }
        Job::SyncSoon | Job::SyncNow => sync(committer),
        Job::Tell(asking) => drop(asking.send(())),
    }
}

/// Returns the oldest position that a kept snapshot has.
fn take_snapshot(
    shard: &Shard,
    segments: Vec<Arc<Segment>>,
    journal: Option<SyncJob>,
    directory: &Directory,
) -> Result<u64, SnapshotFailure> {
    if let Some(Err(error)) = journal.map(SyncJob::run) {
        return Err(SnapshotFailure::Sync(error.to_string()));
    }
    match directory.sync(&segments) {
        Ok(()) => {}
        Err(SyncError::Open(error)) => return Err(SnapshotFailure::Later { error, segments }),
        Err(error @ SyncError::Sync(_)) => return Err(SnapshotFailure::Sync(error.to_string())),
    }
    segments.iter().for_each(|segment| save_index(segment));
    let dir = directory.snapshots();
    directory
        .trash
        .settle()
        .and_then(|()| snapshot::write(&*directory.fs, &dir, shard))
        .and_then(|()| snapshot::trim(&*directory.fs, &dir))
        .map_err(|error| SnapshotFailure::Later { error, segments })
}

/// Without it the next start only reads more.
pub(super) fn save_index(segment: &Segment) {
    if let Err(error) = segment.save_index() {
        tracing::debug!(%error, "cannot save the index of a segment");
    }
}
