//! The engine on local files, for one process. Every change is queued at the *committer*, which runs rounds on the
//! *engine*. A round applies commands to the kernel, writes the *journal* and the *segments*, syncs, and
//! publishes. *Recovery* restores the acknowledged state at a start. The *keeper* does slow work in the
//! background. All file access goes through [`fs`], so that a test can cut the power at any point.

mod author;
pub mod backup;
mod committer;
mod directory;
mod engine;
pub mod fs;
mod hold;
pub mod inspect;
mod job;
pub mod journal;
mod keeper;
mod layout;
#[cfg(test)]
mod levels;
mod recovery;
pub mod repair;
mod rewrite;
mod scrub;
pub mod segment;
pub mod skip;
mod snapshot;
mod trash;
mod tuning;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::time::Duration;

pub use tuning::Tuning;

use self::committer::Committer;
use self::directory::Directory;
use self::engine::{Engine, EngineOptions};
use self::fs::Fs;
use self::job::Job;
use self::recovery::{OnDamage, Recovered};
use self::rewrite::NewFiles;
use self::scrub::{Scrub, Surroundings};
use super::cleaner::{self, Cleaner};
use super::clocks::Clocks;
#[cfg(any(test, feature = "simulated-disk"))]
use super::line::Barrier;
use super::line::{Line, Work};
use super::live::LiveSettings;
use super::published::Published;
use super::upkeep::{LogDir, Upkeep};
use super::{OpenError, StoreError};
use crate::config::{BrokerSettings, Durability};
use crate::kernel::{Command, Levels, Shard};
use crate::time::Clock;
use crate::types::{ClusterId, IgnorePoison, Timestamp, TopicPartition, Uuid};

/// An open data directory.
pub(super) struct Local {
    committer: Arc<Committer>,
    directory: Arc<Directory>,
    shard: Arc<Mutex<Shard>>,
    published: Arc<Published>,
    clocks: Arc<Clocks>,
    /// The queue of background jobs in an engine without threads; see [`Upkeep::run_background`].
    jobs: Mutex<Option<mpsc::Receiver<Job>>>,
    /// Held while compaction runs.
    cleaning: Mutex<()>,
    /// Logs that lost their tails and still need a new leader epoch.
    cut: Mutex<Vec<TopicPartition>>,
    /// `None` in memory, where nothing can be damaged.
    scrub: Option<Scrub>,
    closing: AtomicBool,
}

/// How a data directory is opened.
pub(super) struct LocalOptions {
    pub(super) fs: Arc<dyn Fs>,
    pub(super) root: PathBuf,
    /// Nothing is kept: there is nothing to recover and nothing to wait for.
    pub(super) in_memory: bool,
    /// Without threads syncs and background work run on the calling thread, in a fixed order.
    pub(super) threads: bool,
    pub(super) clock: Clock,
    pub(super) settings: Arc<BrokerSettings>,
    pub(super) durability: Durability,
    pub(super) tuning: Tuning,
    pub(super) new_id: fn() -> Uuid,
    pub(super) levels: Levels,
}

impl Local {
    /// Opens the directory and recovers from a crash. It returns once the recovered state is durable and published.
    pub(super) fn open(options: LocalOptions) -> Result<Local, OpenError> {
        let LocalOptions {
            fs,
            root,
            in_memory,
            threads,
            clock,
            settings,
            durability,
            tuning,
            new_id,
            levels,
        } = options;
        let (node_id, cluster_id) = (settings.node_id, settings.cluster_id.clone());
        let directory = Directory::open(fs, &root, node_id, cluster_id, new_id, tuning.open_segments, levels);
        let directory = Arc::new(directory?);
        let recovered = if in_memory {
            Recovered::nothing(node_id)
        } else {
            let file_bytes = tuning.journal_file_bytes;
            let defaults = journal::Options::new(directory.salt);
            let first_file_bytes = defaults.first_file_bytes.min(file_bytes);
            let options = journal::Options { file_bytes, first_file_bytes, ..defaults };
            recovery::recover(&directory, options, OnDamage::Refuse)?
        };
        let Recovered { shard, journal, cut, damaged, unwritten, aborted, last_time, account: _ } = recovered;

        let (keeper, jobs) = mpsc::channel();
        let options = if in_memory {
            EngineOptions {
                durability: Durability::Os,
                tuning: Tuning { snapshot_bytes: u64::MAX, ..tuning },
            }
        } else {
            EngineOptions { durability, tuning }
        };
        let clocks = Arc::new(Clocks::start(clock, last_time, settings.clock_confirmed));
        let live = LiveSettings::new(settings, node_id);
        let published = Arc::new(Published::new(live, Arc::clone(&clocks), &shard));
        let shard = Arc::new(Mutex::new(shard));
        let engine = Engine::new(
            Arc::clone(&shard),
            journal,
            Arc::clone(&directory),
            Arc::clone(&published),
            options,
            Arc::clone(&clocks),
            keeper,
        );
        let failed = |error| OpenError::Io { path: root.clone(), error };
        let committer = Committer::start(engine, threads).map_err(failed)?;
        committer.engine().show_all(&damaged, unwritten, aborted);
        directory.look_at_space();
        if !in_memory {
            directory.allow_holds(new_id());
        }

        let jobs = if threads {
            let (held, files) = (Arc::downgrade(&committer), Arc::clone(&directory));
            // It ends when the committer is gone.
            let keeper = std::thread::Builder::new().name("keeper".into());
            keeper.spawn(move || keeper::run(&jobs, &held, &files)).map_err(failed)?;
            None
        } else {
            Some(jobs)
        };
        committer.engine().empty_trash();
        let local = Local {
            scrub: (!in_memory).then(|| Scrub::load(&directory)),
            committer,
            directory,
            shard,
            published,
            clocks,
            jobs: Mutex::new(jobs),
            cleaning: Mutex::default(),
            cut: Mutex::new(cut),
            closing: AtomicBool::new(false),
        };
        local.raise_epochs();
        Ok(local)
    }

    /// Logs that lost their tails get a new leader epoch, so that clients notice. It begins before the store is open.
    /// Otherwise the first batches would be accepted in the old epoch and then refused. If the journal has no room for
    /// it, it is tried again later.
    fn raise_epochs(&self) {
        let line: &dyn Line = self;
        let mut cut = lock(&self.cut);
        let raised: Vec<_> = cut
            .drain(..)
            .map(|key @ TopicPartition { topic, partition }| {
                (key, line.command_blocking(Command::RaiseEpoch { topic, partition }))
            })
            .collect();
        for (key, wait) in raised {
            match wait() {
                // A refusal means that the topic was deleted.
                Ok(_) | Err(StoreError::Refused(_)) => {}
                Err(StoreError::Unavailable(_)) => cut.push(key),
            }
        }
    }

    pub(super) fn published(&self) -> &Arc<Published> {
        &self.published
    }

    pub(super) fn shard(&self) -> &Arc<Mutex<Shard>> {
        &self.shard
    }

    pub(super) fn clocks(&self) -> &Arc<Clocks> {
        &self.clocks
    }

    pub(super) fn cluster_id(&self) -> &ClusterId {
        &self.directory.cluster_id
    }

    #[cfg(test)]
    pub(super) fn committer(&self) -> &Arc<Committer> {
        &self.committer
    }

    /// Returns when the keeper has done all queued jobs.
    fn finish_background(&self) {
        if let Some(jobs) = lock(&self.jobs).as_ref() {
            while let Ok(job) = jobs.try_recv() {
                keeper::perform(job, &self.committer, &self.directory);
            }
            return;
        }
        let (finished, done) = mpsc::channel();
        let asked = self.committer.engine().keeper.send(Job::Notify(finished));
        // A keeper that has ended has nothing left to do.
        let _ = asked.is_ok() && done.recv().is_ok();
    }
}

impl Line for Local {
    fn submit(&self, work: Work) {
        self.committer.submit(work);
    }

    #[cfg(any(test, feature = "simulated-disk"))]
    fn barrier(&self) -> Barrier {
        Box::pin(std::future::ready(Ok(())))
    }

    fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
        if !self.committer.close() {
            return;
        }
        drop(lock(&self.cleaning));
        self.finish_background();
        {
            let mut engine = self.committer.engine();
            if !engine.is_poisoned() {
                let outcome = engine.take_sync().run();
                engine.synced(outcome);
                engine.idle();
            }
            // With a final snapshot the next start has nothing to replay.
            if !engine.is_poisoned()
                && let Err(why) = engine.last_snapshot()
            {
                tracing::warn!(%why, "cannot write the final snapshot; the next start replays the journal");
            }
        }
        self.directory.release();
    }
}

impl Upkeep for Local {
    fn log_dir(&self) -> LogDir {
        let (root, space) = (self.directory.root(), self.directory.space());
        // In memory the path is only a name.
        let path = space.and_then(|_| std::path::absolute(root).ok());
        LogDir { path: path.unwrap_or_else(|| root.to_owned()), space }
    }

    fn is_full(&self) -> bool {
        self.directory.is_full()
    }

    fn look_at_space(&self) {
        self.directory.look_at_space();
    }

    fn fill_disk(&self, is_filled: bool) {
        self.directory.fill(is_filled);
    }

    fn look_at_backup(&self) {
        if self.directory.look_at_backup(self.clocks.since_boot()) {
            self.committer.engine().remove_left();
        }
    }

    fn stalled_backup(&self) -> Option<Duration> {
        self.directory.stalled_backup()
    }

    fn retry(&self) {
        self.raise_epochs();
        let mut engine = self.committer.engine();
        engine.write_unwritten();
        if self.directory.has_left() {
            engine.remove_left();
        }
    }

    fn compact(&self, now: Timestamp, settings: &BrokerSettings) {
        let _alone = lock(&self.cleaning);
        let topics = self.published.topics();
        let mut due = Vec::new();
        {
            let mut engine = self.committer.engine();
            if engine.is_poisoned() {
                return;
            }
            engine.write_unwritten();
            let shard = lock(&self.shard);
            for topic in topics.iter().filter(|topic| topic.settings.cleanup.compact) {
                for partition in topic.partitions.iter().filter(|partition| !partition.is_damaged()) {
                    // Records that could not be written to their segment cannot be read from it.
                    if engine.is_stuck(TopicPartition::new(topic.id, partition.index)) {
                        continue;
                    }
                    let Some(state) = shard.partition(topic.id, partition.index) else { continue };
                    let last_stable = partition.ends().last_stable;
                    if let Some(found) = cleaner::due(state, &topic.settings, last_stable, now) {
                        due.push((found, Arc::clone(partition), state.clone()));
                    }
                }
            }
        }
        due.sort_by_key(|(due, ..)| std::cmp::Reverse(due.dirty_millionths));
        let cleaner = Cleaner { line: self, now, memory: settings.cleaner_memory(), stop: &self.closing };
        for (due, partition, state) in due {
            if self.closing.load(Ordering::Relaxed) {
                return;
            }
            // The topic may have been deleted since.
            if partition.serving().is_err() {
                continue;
            }
            if self.directory.has_room_for(due.bytes(&state)) {
                let mut files = NewFiles::in_dir(segment::dir_of(&partition));
                cleaner.run(&partition, &state, due, &mut files);
            } else {
                let name = (&partition.topic_name, partition.index);
                tracing::warn!(
                    partition = ?name,
                    "cannot compact a log: the disk is too full for the new segments; free some space"
                );
            }
        }
    }

    fn scrub(&self, interval: Duration, elapsed: Duration) {
        let Some(scrub) = &self.scrub else { return };
        let around = Surroundings {
            topics: &self.published.topics(),
            directory: &self.directory,
            counts: &self.published.counts,
            closing: &self.closing,
            now: self.clocks.now().time,
        };
        scrub.run(interval, elapsed, &around);
    }

    fn last_scrub(&self) -> Option<Timestamp> {
        self.scrub.as_ref()?.last_end()
    }

    fn snapshot(&self) {
        self.committer.engine().snapshot();
    }

    fn run_background(&self) {
        if lock(&self.jobs).is_some() {
            self.finish_background();
        }
    }
}

impl From<journal::OpenError> for OpenError {
    fn from(error: journal::OpenError) -> OpenError {
        match error {
            journal::OpenError::Io { path, error } => OpenError::Io { path, error },
            damage @ journal::OpenError::Damage { .. } => OpenError::Damaged { what: damage.to_string() },
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().ignoring_poison()
}
