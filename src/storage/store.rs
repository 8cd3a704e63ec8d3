//! The store: the handle through which handlers and coordinators use topics, partitions and groups.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock, mpsc};
use std::time::Duration;

use super::cleaner::{self, Cleaner};
use super::clocks::{Clocks, Now};
use super::counts::Counts;
use super::groups::{GroupStore, NotStored, SeenTopics, Settled};
use super::live::LiveSettings;
use super::local::committer::{Committer, Work};
use super::local::directory::Directory;
use super::local::engine::{Engine, EngineOptions};
use super::local::fs::{DiskFs, Fs, MemoryFs, Space};
use super::local::journal;
use super::local::keeper::{self, Job};
use super::local::recovery::{self, OnDamage, Recovered};
use super::local::scrub::{Scrub, Surroundings};
use super::partition::Partition;
use super::retention::{self, Pass};
use super::topics::{Topic, Topics};
use super::troubles::{Reminder, Reminders, Trouble, TroubleKind};
use super::waiter::Waiter;
use super::{OpenError, StoreError, TopicError};
use crate::config::{BrokerSettings, Durability, Given, Reloaded, TopicSettings};
use crate::kernel::group::{Change, KeptGroup};
use crate::kernel::{
    self, Applied, Command, CreateTopic, Election, Group, Levels, Refusal, Scope, Settings, Shard,
};
use crate::time::{self, Clock};
use crate::types::{ClusterId, IgnorePoison, NodeId, ProducerEpoch, ProducerId, Timestamp, TopicId, Uuid};

/// A handle; clones share one store, and dropping the last one closes it.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    committer: Arc<Committer>,
    directory: Arc<Directory>,
    image: Arc<RwLock<Arc<Topics>>>,
    stored_settings: Arc<RwLock<Arc<Settings>>>,
    poisoned: Arc<AtomicBool>,
    poisoned_by: Arc<OnceLock<String>>,
    position: Arc<AtomicU64>,
    counts: Arc<Counts>,
    clocks: Arc<Clocks>,
    retention_refused: Arc<retention::Refusal>,
    reminders: Mutex<Reminders>,
    live: Arc<LiveSettings>,
    /// The rules of leader elections, from the settings at the start.
    election: Election,
    new_id: fn() -> Uuid,
    /// The queue of background jobs in a store without threads; see [`Store::run_background`].
    jobs: Mutex<Option<mpsc::Receiver<Job>>>,
    keeper: Mutex<Option<std::thread::JoinHandle<()>>>,
    /// Held while compaction runs.
    cleaning: Mutex<()>,
    /// `None` for a store in memory, which cannot be damaged.
    scrub: Option<Scrub>,
    closing: AtomicBool,
}

pub struct StoreOptions {
    pub place: Place,
    pub clock: Clock,
    pub settings: Arc<BrokerSettings>,
    /// The virtual brokers that run from the start.
    pub brokers: Vec<NodeId>,
    /// The condition for the acknowledgement of an append. It has no effect in memory.
    pub durability: Durability,
    pub tuning: Tuning,
    /// The source of topic ids.
    pub new_id: fn() -> Uuid,
    /// The stored forms of commands and snapshots that are known; the last one is written.
    pub levels: Levels,
}

impl StoreOptions {
    pub fn new(place: Place, settings: Arc<BrokerSettings>) -> StoreOptions {
        let durability = settings.durability;
        let tuning = Tuning {
            snapshot_bytes: settings.snapshot_bytes,
            journal_file_bytes: settings.journal_file_bytes,
            ..Tuning::default()
        };
        let (clock, new_id) = (Clock::machine(), time::random_uuid);
        let brokers = settings.broker_ids();
        let levels = Levels::KNOWN;
        StoreOptions { place, clock, settings, brokers, durability, tuning, new_id, levels }
    }
}

/// The location of the data.
pub enum Place {
    /// In memory; lost when the process ends.
    Memory,
    Directory(PathBuf),
    /// On a file system of the caller, without threads: syncs and background work run on the calling thread,
    /// in a fixed order.
    #[cfg(any(test, feature = "simulated-disk"))]
    Simulated(Arc<dyn Fs>, PathBuf),
}

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

/// The data directory as clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDir {
    pub path: PathBuf,
    /// The space of its disk, if it is known.
    pub space: Option<Space>,
}

/// A topic to be created.
#[derive(Clone, Debug, PartialEq)]
pub struct NewTopic {
    pub name: String,
    pub partitions: u32,
    /// The caller must check them with `TopicSettings::resolve`.
    pub overrides: BTreeMap<String, String>,
}

impl Store {
    /// Opens the store and recovers from a crash. It returns once the recovered state is durable.
    pub fn open(options: StoreOptions) -> Result<Store, OpenError> {
        let StoreOptions { place, clock, settings, brokers, durability, tuning, new_id, levels } = options;
        let in_memory = matches!(place, Place::Memory);
        let (fs, root, threads): (Arc<dyn Fs>, PathBuf, bool) = match place {
            Place::Memory => (Arc::new(MemoryFs::default()), "memory".into(), true),
            Place::Directory(root) => (Arc::new(DiskFs), root, true),
            #[cfg(any(test, feature = "simulated-disk"))]
            Place::Simulated(fs, root) => (fs, root, false),
        };
        let (node_id, cluster_id) = (settings.node_id, settings.cluster_id.clone());
        let open_segments = tuning.open_segments;
        let directory = Directory::open(fs, &root, node_id, cluster_id, new_id, open_segments, levels);
        let directory = Arc::new(directory?);
        let recovered = match in_memory {
            true => Recovered::nothing(settings.node_id),
            false => {
                let file_bytes = tuning.journal_file_bytes;
                let defaults = journal::Options::new(directory.salt);
                let first_file_bytes = defaults.first_file_bytes.min(file_bytes);
                let options = journal::Options { file_bytes, first_file_bytes, ..defaults };
                recovery::recover(&directory, options, OnDamage::Refuse)?
            }
        };
        let Recovered { shard, journal, cut, damaged, unwritten, last_time, account: _ } = recovered;

        let (keeper, jobs) = mpsc::channel();
        let engine_options = match in_memory {
            // Without a disk there is nothing to wait for.
            true => EngineOptions {
                durability: Durability::Os,
                tuning: Tuning { snapshot_bytes: u64::MAX, ..tuning },
            },
            false => EngineOptions { durability, tuning },
        };
        let (started_with, _) = TopicSettings::of_stored(&BTreeMap::new(), &settings);
        let election = Election {
            min_insync: started_with.min_insync_replicas,
            unclean: started_with.unclean_leader_election,
        };
        let clocks = Arc::new(Clocks::start(clock, last_time, settings.clock_confirmed));
        let live = Arc::new(LiveSettings::new(Arc::clone(&settings), settings.node_id));
        let engine = Engine::new(
            shard,
            journal,
            Arc::clone(&directory),
            Arc::clone(&live),
            engine_options,
            Arc::clone(&clocks),
            keeper,
        );
        let (image, poisoned) = (Arc::clone(&engine.image), Arc::clone(&engine.poisoned));
        let poisoned_by = Arc::clone(&engine.poisoned_by);
        let stored_settings = Arc::clone(&engine.stored_settings);
        let position = Arc::clone(&engine.position);
        let counts = Arc::clone(&engine.counts);
        let committer =
            Committer::start(engine, threads).map_err(|error| OpenError::Io { path: root.clone(), error })?;
        committer.engine().show_all(Arc::downgrade(&committer), &damaged, unwritten);
        directory.look_at_space();

        let inner = Inner {
            directory: Arc::clone(&directory),
            image,
            stored_settings,
            poisoned,
            poisoned_by,
            position,
            counts,
            clocks,
            retention_refused: Arc::default(),
            reminders: Mutex::default(),
            live,
            election,
            new_id,
            jobs: Mutex::new(None),
            keeper: Mutex::new(None),
            cleaning: Mutex::default(),
            scrub: (!in_memory).then(|| Scrub::load(&directory)),
            closing: AtomicBool::new(false),
            committer: Arc::clone(&committer),
        };
        if threads {
            let held = Arc::downgrade(&committer);
            let running = std::thread::Builder::new()
                .name("keeper".into())
                .spawn(move || keeper::run(&jobs, &held, &directory))
                .map_err(|error| OpenError::Io { path: root, error })?;
            *lock(&inner.keeper) = Some(running);
        } else {
            *lock(&inner.jobs) = Some(jobs);
        }
        committer.engine().empty_trash();
        take_places(&committer, &brokers, election);
        bound_producers(&committer, settings.producers_budget);
        // A log that lost its tail gets a new leader epoch, so that clients notice. The store opens in the new
        // epoch, or the first batches would be refused as those of the old one.
        let raised: Vec<_> = cut
            .into_iter()
            .map(|(topic, partition)| begin(&committer, Command::RaiseEpoch { topic, partition }))
            .collect();
        raised.into_iter().for_each(|wait| drop(wait()));
        Ok(Store(Arc::new(inner)))
    }

    /// The current topics.
    pub fn topics(&self) -> Arc<Topics> {
        Arc::clone(&self.0.image.read().ignoring_poison())
    }

    /// The current stored settings of all entities except topics.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.0.stored_settings.read().ignoring_poison())
    }

    /// Reloads the broker's settings, and the topic settings that depend on them. Waits for a running round.
    pub fn reload_settings(&self, written: &Given) -> Reloaded {
        let reloaded = self.0.live.reload(written);
        self.0.committer.engine().settings_changed();
        reloaded
    }

    pub fn cluster_id(&self) -> ClusterId {
        self.0.directory.cluster_id.clone()
    }

    /// The path of the data directory, and the space of its disk.
    pub fn log_dir(&self) -> LogDir {
        let (root, space) = (self.0.directory.root(), self.0.directory.space());
        // In memory the path is only a name.
        let path = space.and_then(|_| std::path::absolute(root).ok());
        LogDir { path: path.unwrap_or_else(|| root.to_owned()), space }
    }

    /// The journal position of the last published round.
    pub fn position(&self) -> u64 {
        self.0.position.load(Ordering::Acquire)
    }

    /// Creates a topic with one replica of each partition, spread over the brokers. The command is queued
    /// when the call returns. Resolves when the topic is durable.
    pub fn create_topic(
        &self,
        new: NewTopic,
    ) -> impl Future<Output = Result<Arc<Topic>, TopicError>> + Send + use<> {
        let NewTopic { name, partitions, overrides } = new;
        let id = (self.0.new_id)();
        let start = u64::from_be_bytes(*id.0.last_chunk().expect("an id has 16 bytes"));
        let replicas = kernel::spread(self.topics().running(), partitions, 1, start);
        self.create(CreateTopic { id, name, overrides, replicas })
    }

    /// Creates a topic whose partitions have these replicas, the preferred leader first.
    pub fn create_placed_topic(
        &self,
        name: String,
        overrides: BTreeMap<String, String>,
        replicas: Vec<Vec<NodeId>>,
    ) -> impl Future<Output = Result<Arc<Topic>, TopicError>> + Send + use<> {
        let id = (self.0.new_id)();
        self.create(CreateTopic { id, name, overrides, replicas })
    }

    fn create(
        &self,
        create: CreateTopic,
    ) -> impl Future<Output = Result<Arc<Topic>, TopicError>> + Send + use<> {
        let id = create.id;
        let created = self.0.committer.command(Command::CreateTopic(create));
        let store = self.clone();
        async move {
            created.await?;
            // Another request may have deleted it meanwhile.
            store.topics().by_id(id).cloned().ok_or(TopicError::Unknown)
        }
    }

    /// Deletes a topic. The command is queued when the call returns. Resolves when the deletion is durable.
    pub fn delete_topic(
        &self,
        topic: TopicId,
    ) -> impl Future<Output = Result<(), TopicError>> + Send + use<> {
        let dropped = self.0.committer.command(Command::DropTopic { topic });
        async move { Ok(dropped.await.map(drop)?) }
    }

    /// Sets (`Some`) or removes (`None`) settings of a topic; other settings stay as they are. The caller
    /// must have checked them.
    pub fn alter_topic(
        &self,
        topic: TopicId,
        changes: BTreeMap<String, Option<String>>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        self.change(Command::AlterTopic { topic, changes })
    }

    /// Like [`Store::alter_topic`], for settings of everything except topics.
    pub fn alter_settings(
        &self,
        scope: Scope,
        changes: BTreeMap<String, Option<String>>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        self.change(Command::AlterSettings { scope, changes })
    }

    /// Adds partitions with these replicas; the first one gets the index `first`. Refused if that is not the
    /// next index, because another request was faster.
    pub fn add_partitions(
        &self,
        topic: TopicId,
        first: i32,
        replicas: Vec<Vec<NodeId>>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        self.change(Command::AddPartitions { topic, first, replicas })
    }

    /// Moves a partition to other replicas.
    pub fn set_replicas(
        &self,
        topic: TopicId,
        partition: i32,
        replicas: Vec<NodeId>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        self.change(Command::SetReplicas { topic, partition, replicas })
    }

    /// Makes the preferred replica the leader again. Returns whether another one was leader before.
    pub fn elect_preferred(
        &self,
        topic: TopicId,
        partition: i32,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send + use<> {
        let elected = self.0.committer.command(Command::ElectPreferred { topic, partition });
        async move { Ok(matches!(elected.await?, Applied::LeaderElected { moved: true, .. })) }
    }

    /// Makes any running replica leader if there is none. Returns whether there was none.
    pub fn elect_unclean(
        &self,
        topic: TopicId,
        partition: i32,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send + use<> {
        let elected = self.0.committer.command(Command::ElectUnclean { topic, partition });
        async move { Ok(matches!(elected.await?, Applied::LeaderElected { moved: true, .. })) }
    }

    /// Sets the running brokers; leaders, ISRs and ELRs follow.
    pub fn set_brokers(
        &self,
        running: Vec<NodeId>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        self.change(Command::SetBrokers { running, election: self.0.election })
    }

    /// The command is queued when the call returns. Resolves when the change is durable and published.
    fn change(&self, command: Command) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        let changed = self.0.committer.command(command);
        async move { changed.await.map(drop) }
    }

    /// A producer id that was never used before.
    pub fn new_producer(
        &self,
    ) -> impl Future<Output = Result<(ProducerId, ProducerEpoch), StoreError>> + Send + use<> {
        let made = self.0.committer.command(Command::NewProducer);
        async move {
            match made.await? {
                Applied::Producer { id, epoch } => Ok((id, epoch)),
                other => unreachable!("a new producer is not answered by {other:?}"),
            }
        }
    }

    /// Whether writes can succeed: `false` once the journal has failed.
    pub fn is_writable(&self) -> bool {
        !self.0.poisoned.load(Ordering::Acquire)
    }

    /// Whether the disk has less free space than the broker needs. No more data is accepted then.
    pub fn is_full(&self) -> bool {
        self.0.directory.is_full()
    }

    /// The time for new data, and the time for expiry by age.
    pub fn now(&self) -> Now {
        self.0.clocks.now()
    }

    pub fn counts(&self) -> &Counts {
        &self.0.counts
    }

    /// Checks the disk and the clock, records a trusted clock in the journal, and logs lasting problems.
    pub fn watch(&self) {
        self.0.directory.look_at_space();
        self.0.clocks.confirm(self.0.live.at(&self.settings()).clock_confirmed);
        let trusted = self.0.clocks.now().trusted;
        if self.0.committer.engine().must_note(trusted) {
            let command = Command::ClockTrusted;
            self.0.committer.submit(Work::Command { command, done: Box::new(|_| {}) });
        }
        self.remind();
    }

    /// Applies retention and expires idle producers; checks the disk first.
    pub fn housekeep(&self) {
        self.0.directory.look_at_space();
        let settings = self.0.live.at(&self.settings());
        let trusted = self.0.clocks.now().trusted;
        let commands = {
            let mut engine = self.0.committer.engine();
            engine.write_unwritten();
            if self.0.directory.has_left() {
                engine.remove_left();
            }
            retention::due(&engine.shard, &self.topics(), &settings, trusted)
        };
        let pass = Pass::begin(&self.0.retention_refused);
        for command in commands {
            let pass = matches!(command, Command::SetLogStart { .. }).then(|| Arc::clone(&pass));
            let done = Box::new(move |outcome: Result<Applied, StoreError>| {
                if let (Some(pass), Err(error)) = (pass, outcome) {
                    pass.note(&error);
                }
            });
            self.0.committer.submit(Work::Command { command, done });
        }
    }

    /// The problems of the store, the worst first. Does not wait.
    pub fn troubles(&self) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        if !self.is_writable() {
            let why = self.0.poisoned_by.get().map_or("", String::as_str);
            troubles.push(Trouble::of_one(TroubleKind::JournalFailed, why));
        }
        if self.is_full() {
            let free = self.log_dir().space.map_or(0, |space| space.free);
            let why = format!("{free} bytes are free: writes are refused until there is room");
            troubles.push(Trouble::of_one(TroubleKind::DiskFull, why));
        }
        let topics = self.topics();
        let reasons = |kind, why: fn(&Partition) -> Option<String>| {
            let partitions = topics.iter().flat_map(|topic| &topic.partitions);
            let named =
                |one: &Arc<Partition>| Some(format!("{}-{}: {}", one.topic_name, one.index, why(one)?));
            Trouble::of_partitions(kind, partitions.filter_map(named))
        };
        troubles.extend(reasons(TroubleKind::PartitionsOutOfService, |one| one.damage().map(str::to_owned)));
        troubles.extend(reasons(TroubleKind::PartitionsNotWritable, Partition::why_not_writable));
        let doubt = self.0.clocks.complaint();
        let halted = match &doubt {
            Some(_) => {
                Some("nothing is deleted by age or compacted while the clock is not trusted".to_owned())
            }
            None => lock(&self.0.retention_refused).clone(),
        };
        troubles.extend(doubt.map(|why| Trouble::of_one(TroubleKind::ClockUntrusted, why)));
        troubles.extend(halted.map(|why| Trouble::of_one(TroubleKind::RetentionHalted, why)));
        troubles
    }

    /// Logs lasting problems.
    fn remind(&self) {
        let troubles = self.troubles();
        let kinds: Vec<TroubleKind> = troubles.iter().map(|trouble| trouble.kind).collect();
        let why = |kind| troubles.iter().find(|trouble| trouble.kind == kind).map(|trouble| &*trouble.why);
        let reminders = lock(&self.0.reminders).look(&kinds, self.0.clocks.since_boot());
        for reminder in reminders {
            match reminder {
                // The others were logged when they were found.
                Reminder::Begins(kind @ TroubleKind::RetentionHalted) => {
                    tracing::warn!(
                        state = kind.name(),
                        why = why(kind),
                        "retention cannot delete all records that are due"
                    );
                }
                Reminder::Begins(_) => {}
                Reminder::Lasts(kind, lasted) => {
                    let minutes = lasted.as_secs() / 60;
                    tracing::warn!(state = kind.name(), why = why(kind), minutes, "a problem still exists");
                }
                Reminder::Ends(kind, lasted) => {
                    tracing::info!(state = kind.name(), minutes = lasted.as_secs() / 60, "a problem is over");
                }
            }
        }
    }

    /// Compacts the partitions that are due, the dirtiest first. Does nothing while the clock is not trusted.
    /// Blocks until it is done or the store closes.
    pub fn compact(&self) {
        let _alone = lock(&self.0.cleaning);
        let settings = self.0.live.at(&self.settings());
        let Some(now) = self.0.clocks.now().trusted else { return };
        if !settings.cleaner_enabled || self.is_full() {
            return;
        }
        let topics = self.topics();
        let mut due = Vec::new();
        {
            let mut engine = self.0.committer.engine();
            if engine.is_poisoned() {
                return;
            }
            engine.write_unwritten();
            for topic in topics.iter().filter(|topic| topic.settings.cleanup.compact) {
                for partition in topic.partitions.iter().filter(|partition| !partition.is_damaged()) {
                    // Records that could not be written to their segment cannot be read from it.
                    if engine.is_stuck((topic.id, partition.index)) {
                        continue;
                    }
                    let Some(state) = engine.shard.partition(topic.id, partition.index) else { continue };
                    let high_watermark = partition.ends().high_watermark;
                    if let Some(found) = cleaner::due(state, &topic.settings, high_watermark, now) {
                        due.push((found, Arc::clone(partition), state.clone()));
                    }
                }
            }
        }
        due.sort_by_key(|(due, ..)| std::cmp::Reverse(due.dirty_millionths));
        let (committer, directory) = (&self.0.committer, &self.0.directory);
        let cleaner =
            Cleaner { committer, directory, now, memory: settings.cleaner_memory(), stop: &self.0.closing };
        for (due, partition, state) in due {
            cleaner.run(&partition, &state, due);
        }
    }

    /// Reads a part of the stored batches again, and takes damaged partitions out of service. It reads as
    /// much as is due after `elapsed` more time, so that everything is read once per `interval`. Blocks until
    /// it is done or the store closes.
    pub fn scrub(&self, interval: Duration, elapsed: Duration) {
        let Some(scrub) = &self.0.scrub else { return };
        let around = Surroundings {
            topics: &self.topics(),
            directory: &self.0.directory,
            counts: &self.0.counts,
            closing: &self.0.closing,
            now: self.0.clocks.now().time,
        };
        scrub.run(interval, elapsed, &around);
    }

    /// The time at which the last complete scrub pass ended; `None` if there was none.
    pub fn last_scrub(&self) -> Option<Timestamp> {
        self.0.scrub.as_ref()?.last_end()
    }

    /// Does the keeper's work on this thread; for stores without threads.
    pub fn run_background(&self) {
        if lock(&self.0.jobs).is_some() {
            self.0.finish_background();
        }
    }

    /// Starts a snapshot, so that a start has nothing to replay.
    pub fn request_snapshot(&self) {
        self.0.committer.engine().snapshot();
    }

    /// Refuses new work, finishes the queued work, makes everything durable and unlocks the directory. Blocks
    /// until the disk is done. A second call does nothing.
    pub fn close(&self) {
        self.0.close();
    }

    pub(super) fn committer(&self) -> &Arc<Committer> {
        &self.0.committer
    }
}

impl Inner {
    /// Returns when the keeper has done all queued jobs.
    fn finish_background(&self) {
        if let Some(jobs) = lock(&self.jobs).as_ref() {
            while let Ok(job) = jobs.try_recv() {
                keeper::perform(job, &self.committer, &self.directory);
            }
            return;
        }
        let (told, done) = mpsc::channel();
        let asked = self.committer.engine().keeper.send(Job::Tell(told));
        // A keeper that has ended has nothing left to do.
        let _ = asked.is_ok() && done.recv().is_ok();
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

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

impl GroupStore for Store {
    fn load(&self) -> Vec<(String, KeptGroup)> {
        // The clones cost little, and the engine does not wait for the copies of the names.
        let (groups, offsets) = {
            let engine = self.committer().engine();
            (engine.shard.groups().clone(), engine.shard.offsets().clone())
        };
        let kept = |(id, group): (&String, &Arc<Group>)| {
            let offsets = offsets.of(id).cloned().unwrap_or_default();
            (id.clone(), KeptGroup { group: Arc::clone(group), offsets })
        };
        groups.iter().map(kept).collect()
    }

    fn reload(&self, group: &str) -> Option<KeptGroup> {
        self.committer().engine().shard.group(group)
    }

    fn submit(&self, group: &str, after: u64, changes: Vec<Change>) -> Settled {
        let (settler, settled) = Settled::pair();
        let command = Command::Group { group: group.to_owned(), after, changes };
        let done = Box::new(move |outcome: Result<Applied, StoreError>| {
            settler.settle(outcome.map(drop).map_err(|_| NotStored));
        });
        self.committer().submit(Work::Command { command, done });
        settled
    }

    fn is_serving(&self) -> bool {
        self.is_writable()
    }

    fn now(&self) -> Now {
        Store::now(self)
    }

    fn topics(&self) -> Arc<dyn SeenTopics> {
        Store::topics(self)
    }

    fn watch_deletions(&self, waiter: &Arc<Waiter>) {
        Store::topics(self).watch_deletions(waiter);
    }
}

impl From<StoreError> for TopicError {
    fn from(error: StoreError) -> TopicError {
        match error {
            StoreError::Refused(Refusal::TopicExists) => TopicError::Exists,
            StoreError::Refused(Refusal::NameCollides { with }) => TopicError::NameCollides { with },
            StoreError::Refused(Refusal::UnknownTopic) => TopicError::Unknown,
            other => TopicError::Store(other),
        }
    }
}

/// Sets the running brokers at the start. Partitions whose brokers are gone would have no leader, so they
/// move to the brokers that are here: this process has the only copy anyway.
fn take_places(committer: &Committer, brokers: &[NodeId], election: Election) {
    let are_others = {
        let shard = &committer.engine().shard;
        shard.running() != brokers || shard.election() != election
    };
    let run = || Command::SetBrokers { running: brokers.to_vec(), election };
    if are_others && let Err(error) = begin(committer, run())() {
        tracing::warn!(
            ?error,
            "cannot set the running brokers: some partitions may have no leader; restart once writes are possible"
        );
        return;
    }
    // Also if the brokers are the same: a crash may have come between the two steps.
    let moves = moves_of_leaderless_partitions(&committer.engine().shard, brokers);
    if moves.is_empty() {
        return;
    }
    tracing::warn!(
        partitions = moves.len(),
        ?brokers,
        "partitions are on brokers that are gone: moving them to the running brokers"
    );
    let begun: Vec<_> = moves.into_iter().map(|command| begin(committer, command)).collect();
    for failed in begun.into_iter().filter_map(|wait| wait().err()) {
        tracing::warn!(
            error = ?failed,
            "cannot move a partition to a running broker: it has no leader; restart once writes are possible"
        );
    }
}

/// Updates the producers' memory limit in the state, if the settings have another one.
fn bound_producers(committer: &Committer, bytes: u64) {
    let is_other = committer.engine().shard.producers().most_bytes() != bytes;
    if is_other && let Err(error) = begin(committer, Command::SetProducerMemory { bytes })() {
        tracing::warn!(
            ?error,
            "jackdaw.producers.max.bytes has no effect yet; restart once writes are possible"
        );
    }
}

/// Queues a command at once. The returned function waits for the outcome.
fn begin(committer: &Committer, command: Command) -> impl FnOnce() -> Result<Applied, StoreError> + use<> {
    let (told, answer) = mpsc::channel();
    // The caller waits for it.
    let done = Box::new(move |outcome| drop(told.send(outcome)));
    committer.submit(Work::Command { command, done });
    move || answer.recv().unwrap_or(Err(StoreError::Stopped))
}

/// Commands for the partitions without a leader. They move to those of their replicas that are here, or to
/// any broker in turn.
fn moves_of_leaderless_partitions(shard: &Shard, brokers: &[NodeId]) -> Vec<Command> {
    let mut moves = Vec::new();
    for topic in shard.topics() {
        for (placement, index) in topic.placement().iter().zip(0..) {
            if placement.leader.is_some() {
                continue;
            }
            let here = placement.replicas.iter().filter(|node| brokers.contains(node));
            let mut replicas: Vec<NodeId> = here.copied().collect();
            if replicas.is_empty() {
                replicas.extend(brokers.get(moves.len() % brokers.len().max(1)));
            }
            moves.push(Command::SetReplicas { topic: topic.id, partition: index, replicas });
        }
    }
    moves
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().ignoring_poison()
}
