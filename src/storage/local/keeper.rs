//! The keeper: the thread for slow work. It writes snapshots, runs the syncs that no acknowledgement waits
//! for, and removes files that are no longer needed.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::committer::Committer;
use super::directory::Directory;
use super::engine::{self, SnapshotFailure};
use super::job::Job;
use super::journal::SyncJob;
use super::segment::{Segment, SyncError};
use super::snapshot;
use crate::kernel::Shard;
use crate::time::Clock;

/// The time until written records are synced if no acknowledgement waits for that.
const SYNC_INTERVAL: Duration = Duration::from_millis(100);

/// The timeout while no sync is due. Nothing happens when it expires.
const IDLE: Duration = Duration::from_secs(3600);

/// Runs until every sender is gone.
pub(super) fn run(jobs: &Receiver<Job>, committer: &Weak<Committer>, directory: &Directory) {
    let mut agenda = Agenda::new(jobs, Clock::machine());
    while let Some(job) = agenda.next() {
        let Some(committer) = committer.upgrade() else { return };
        perform(job, &committer, directory);
    }
}

/// The jobs in their order. A requested sync comes after [`SYNC_INTERVAL`], before jobs that wait.
struct Agenda<'a> {
    jobs: &'a Receiver<Job>,
    clock: Clock,
    /// The time of the first `SyncSoon` since the last sync.
    asked: Option<Duration>,
}

impl<'a> Agenda<'a> {
    fn new(jobs: &'a Receiver<Job>, clock: Clock) -> Agenda<'a> {
        Agenda { jobs, clock, asked: None }
    }

    /// Waits for the next job; `None` once every sender is gone.
    fn next(&mut self) -> Option<Job> {
        loop {
            let now = self.clock.monotonic();
            let left = self.asked.map_or(IDLE, |asked| (asked + SYNC_INTERVAL).saturating_sub(now));
            if left.is_zero() {
                // Before other jobs, which may arrive without a pause.
                self.asked = None;
                return Some(Job::SyncNow);
            }
            match self.jobs.recv_timeout(left) {
                Ok(Job::SyncSoon) => {
                    self.asked.get_or_insert_with(|| self.clock.monotonic());
                }
                Ok(job) => return Some(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }
}

/// Makes everything written so far durable.
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
        // A sync failed after this job was queued. The state may contain changes that are not durable, so it
        // must not become a snapshot.
        Job::Snapshot { .. } if committer.engine().is_poisoned() => {}
        Job::Snapshot { shard, segments, journal } => {
            let outcome = take_snapshot(&shard, segments, journal, directory);
            committer.engine().snapshot_done(outcome);
        }
        Job::Remove { segments } => directory.remove(segments),
        Job::RemoveLeft => {
            if let Some(oldest) = directory.remove_left() {
                committer.engine().release_journal(oldest);
            }
        }
        Job::EmptyTrash => directory.empty_trash(),
        Job::Prepare(job) => {
            let outcome = job.run();
            committer.engine().prepared(&outcome);
        }
        Job::SyncSoon | Job::SyncNow => sync(committer),
        Job::Notify(asking) => drop(asking.send(())),
    }
}

/// Returns the position of the oldest snapshot that is kept.
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
    engine::save_indexes(&segments);
    let dir = directory.snapshots();
    directory
        .trash
        .settle()
        .and_then(|()| snapshot::write(&*directory.fs, &dir, directory.levels, shard))
        .and_then(|()| directory.trim_snapshots())
        .map_err(|error| SnapshotFailure::Later { error, segments })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::types::Timestamp;

    #[test]
    fn a_requested_sync_comes_in_time_although_other_jobs_arrive_without_a_pause() {
        let clock = Clock::manual(Timestamp(0));
        let (sender, jobs) = mpsc::channel();
        for _ in 0..1_000 {
            // Only the first request since the last sync counts.
            sender.send(Job::SyncSoon).unwrap();
            sender.send(Job::EmptyTrash).unwrap();
        }
        drop(sender);
        let mut agenda = Agenda::new(&jobs, clock.clone());
        let mut syncs_after = Vec::new();
        let mut others = 0;
        while let Some(job) = agenda.next() {
            match job {
                Job::SyncNow => syncs_after.push(others),
                // Each of them takes a millisecond.
                Job::EmptyTrash => {
                    others += 1;
                    clock.set(Timestamp(others));
                }
                _ => panic!("no such job was sent"),
            }
        }
        assert_eq!(syncs_after, [100, 200, 300, 400, 500, 600, 700, 800, 900, 1_000]);
    }
}
