//! The store: the handle through which handlers and coordinators use topics, partitions and groups.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::oneshot;

use super::clocks::{self, Clocks, Now};
#[cfg(any(test, feature = "simulated-disk"))]
use super::cluster::{Cluster, ClusterOptions};
use super::copies::Copies;
use super::counts::Counts;
use super::groups::{GroupStore, NotStored, Seen, Settled};
use super::line::{Append, AppendWork, Line, NewAppend, Work};
use super::local::fs::{DiskFs, Fs, MemoryFs};
use super::local::{Local, LocalOptions, Tuning};
use super::partition::Partition;
use super::published::Published;
use super::retention::{self, Pass};
use super::topics::{Topic, Topics};
use super::troubles::{Reminder, Reminders, Trouble, TroubleKind};
use super::upkeep::{LogDir, Upkeep};
use super::{LogError, OpenError, StoreError, TopicError};
use crate::config::{
    Altered, BrokerSettings, Changes, Durability, Given, Overrides, Reloaded, TopicSettings,
};
use crate::kernel::group::{Change, KeptGroup};
use crate::kernel::offsets::Offsets;
use crate::kernel::{
    self, Applied, Command, CreateTopic, CredentialChange, Credentials, Election, Features, Groups, Levels,
    ProducerFacts, Quotas, Refusal, Scope, Settings, Shard, StoredAcls, Tokens, Transactions,
};
use crate::record::Checked;
use crate::time::{self, Clock};
use crate::types::{
    AclBinding, ClusterId, DelegationToken, IgnorePoison, NodeId, Offset, ProducerEpoch, ProducerId,
    QuotaChanges, QuotaEntity, Timestamp, TopicId, TopicPartition, Uuid,
};

/// A handle; clones share one store, and dropping the last one closes it.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    line: Arc<dyn Line>,
    upkeep: Arc<dyn Upkeep>,
    published: Arc<Published>,
    copies: Copies,
    /// The state after everything that was applied, which may not be durable yet.
    shard: Arc<Mutex<Shard>>,
    clocks: Arc<Clocks>,
    cluster_id: ClusterId,
    retention_refused: Arc<retention::LastRefusal>,
    reminders: Mutex<Reminders>,
    /// The rules of leader elections, from the settings of the start and of the last reload.
    election: Mutex<Election>,
    /// The time of the journal's last entry before the start.
    resumed_at: Timestamp,
    new_id: fn() -> Uuid,
}

pub struct StoreOptions {
    pub location: Location,
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
    pub fn new(location: Location, settings: Arc<BrokerSettings>) -> StoreOptions {
        let durability = settings.durability;
        let tuning = Tuning {
            snapshot_bytes: settings.snapshot_bytes,
            journal_file_bytes: settings.journal_file_bytes,
            ..Tuning::default()
        };
        let (clock, new_id) = (Clock::machine(), time::random_uuid);
        let brokers = settings.broker_ids();
        let levels = Levels::KNOWN;
        StoreOptions { location, clock, settings, brokers, durability, tuning, new_id, levels }
    }
}

/// The location of the data.
pub enum Location {
    /// In memory; lost when the process ends.
    Memory,
    Directory(PathBuf),
    /// On a file system of the caller, without threads: syncs and background work run on the calling thread,
    /// in a fixed order.
    #[cfg(any(test, feature = "simulated-disk"))]
    Simulated(Arc<dyn Fs>, PathBuf),
}

/// A topic to be created.
#[derive(Clone, Debug, PartialEq)]
pub struct NewTopic {
    pub name: String,
    pub partitions: u32,
    /// The caller must check them with `TopicSettings::resolve`.
    pub overrides: Overrides,
}

impl Store {
    /// Opens the store and recovers from a crash. It returns once the recovered state is durable.
    pub fn open(options: StoreOptions) -> Result<Store, OpenError> {
        Store::with_local(options).map(|(store, _)| store)
    }

    /// Like [`Store::open`]. Also returns the engine, which tests use directly.
    pub(super) fn with_local(options: StoreOptions) -> Result<(Store, Arc<Local>), OpenError> {
        let StoreOptions { location, clock, settings, brokers, durability, tuning, new_id, levels } = options;
        let in_memory = matches!(location, Location::Memory);
        let (fs, root, threads): (Arc<dyn Fs>, PathBuf, bool) = match location {
            Location::Memory => (Arc::new(MemoryFs::default()), "memory".into(), true),
            Location::Directory(root) => (Arc::new(DiskFs), root, true),
            #[cfg(any(test, feature = "simulated-disk"))]
            Location::Simulated(fs, root) => (fs, root, false),
        };
        let election = Mutex::new(election_of(&settings));
        let producers_budget = settings.producers_budget;
        let local = Arc::new(Local::open(LocalOptions {
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
        })?);
        let resumed_at = local.shard().lock().ignoring_poison().time();
        let inner = Inner {
            published: Arc::clone(local.published()),
            shard: Arc::clone(local.shard()),
            clocks: Arc::clone(local.clocks()),
            cluster_id: local.cluster_id().clone(),
            line: Arc::<Local>::clone(&local),
            upkeep: Arc::<Local>::clone(&local),
            copies: Copies::default(),
            retention_refused: Arc::default(),
            reminders: Mutex::default(),
            election,
            resumed_at,
            new_id,
        };
        inner.take_places(&brokers);
        inner.bound_producers(producers_budget);
        Ok((Store(Arc::new(inner)), local))
    }

    /// A store over a journal that it shares with other brokers, and its engine. Ready once the broker is registered.
    #[cfg(any(test, feature = "simulated-disk"))]
    pub async fn join(options: ClusterOptions) -> Result<(Store, Arc<Cluster>), StoreError> {
        let (settings, new_id) = (Arc::clone(&options.settings), options.new_id);
        let cluster = Arc::new(Cluster::join(options).await?);
        let resumed_at = cluster.shard().lock().ignoring_poison().time();
        let inner = Inner {
            published: Arc::clone(cluster.published()),
            shard: Arc::clone(cluster.shard()),
            clocks: Arc::clone(cluster.clocks()),
            cluster_id: settings.cluster_id.clone().unwrap_or_else(|| new_id().into()),
            line: Arc::<Cluster>::clone(&cluster),
            upkeep: Arc::<Cluster>::clone(&cluster),
            copies: Copies::default(),
            retention_refused: Arc::default(),
            reminders: Mutex::default(),
            election: Mutex::default(),
            resumed_at,
            new_id,
        };
        Ok((Store(Arc::new(inner)), cluster))
    }

    /// The line, for tests.
    #[cfg(test)]
    pub(super) fn line(&self) -> &dyn Line {
        &*self.0.line
    }

    /// The position and the hash of the state, which are the same on all brokers.
    #[cfg(test)]
    pub(super) fn state(&self) -> (u64, u64) {
        let shard = self.0.shard();
        (shard.position(), shard.hash())
    }

    /// The current topics.
    pub fn topics(&self) -> Arc<Topics> {
        self.0.published.topics()
    }

    /// The current stored settings of all entities except topics.
    pub fn settings(&self) -> Arc<Settings> {
        self.0.published.settings()
    }

    /// The levels of features that were set.
    pub fn features(&self) -> Arc<Features> {
        self.0.published.features()
    }

    /// The current quotas of all entities.
    pub fn quotas(&self) -> Arc<Quotas> {
        self.0.published.quotas()
    }

    /// The quotas; `None`, and no lock, if there are none.
    pub fn quotas_if_any(&self) -> Option<Arc<Quotas>> {
        self.0.published.quotas_if_any()
    }

    /// The SCRAM credentials of users.
    pub fn credentials(&self) -> Credentials {
        self.0.published.credentials()
    }

    /// The current access control lists.
    pub fn acls(&self) -> StoredAcls {
        self.0.published.acls()
    }

    /// Looks at the access control lists without a copy. Must not wait.
    pub fn with_acls<T>(&self, look: impl FnOnce(&StoredAcls) -> T) -> T {
        self.0.published.with_acls(look)
    }

    /// Grows whenever the access control lists change. Lists that are read afterwards are at least as new.
    pub fn acls_version(&self) -> u64 {
        self.0.published.acls_version()
    }

    /// The delegation tokens.
    pub fn tokens(&self) -> Tokens {
        self.0.published.tokens()
    }

    /// Reloads the broker's settings, and the topic settings and rules of elections that depend on them. Waits for a
    /// round that is being published, and for the leaders that other rules elect. No broker may start or stop meanwhile.
    pub fn reload_settings(&self, written: &Given) -> Reloaded {
        let reloaded = self.0.published.reload_settings(written);
        // Altered settings are in the journal, and the rules do not include them.
        if let Ok(given) = reloaded.settings.altered(Altered::default()) {
            *self.0.election.lock().ignoring_poison() = election_of(&given);
            self.0.follow_election();
        }
        reloaded
    }

    pub fn cluster_id(&self) -> ClusterId {
        self.0.cluster_id.clone()
    }

    /// The path of the data directory, and the space of its disk.
    pub fn log_dir(&self) -> LogDir {
        self.0.upkeep.log_dir()
    }

    /// The journal position of the last published round.
    pub fn position(&self) -> u64 {
        self.0.published.position()
    }

    /// Resolves after the next change of anything that readers see. The change may come before the future is polled, but not
    /// before this call.
    pub fn changed(&self) -> impl Future<Output = ()> {
        self.0.published.changes.next()
    }

    /// Resolves once everything that any broker acknowledged before this call is published here.
    #[cfg(any(test, feature = "simulated-disk"))]
    pub async fn barrier(&self) -> Result<(), StoreError> {
        Ok(self.0.line.barrier().await?)
    }

    /// The memory of batches that are written anew before they are appended.
    pub fn copies(&self) -> &Copies {
        &self.0.copies
    }

    /// Appends a batch of a client's own bytes.
    pub fn append(&self, partition: &Arc<Partition>, batch: Checked) -> Append {
        self.begin_append(partition, NewAppend::now(partition, batch, false))
    }

    /// Like [`Store::append`]. A transactional batch also adds its partition to the transaction.
    pub fn append_and_join(&self, partition: &Arc<Partition>, batch: Checked) -> Append {
        self.begin_append(partition, NewAppend::now(partition, batch, true))
    }

    /// Appends a batch. It is queued behind all earlier ones of the partition when the call returns. Resolves when the
    /// batch is durable.
    pub fn begin_append(&self, partition: &Arc<Partition>, new: NewAppend) -> Append {
        let NewAppend { batch, leadership, joins, room } = new;
        if let Err(error) = partition.serving() {
            return Append(Err(error.into()));
        }
        debug_assert!(self.has(partition), "the partition is of another store");
        let (done, answer) = oneshot::channel();
        let partition = Arc::clone(partition);
        self.0.line.submit(Work::Append(AppendWork { partition, batch, leadership, joins, room, done }));
        Append(Ok(answer))
    }

    /// Whether the handle is of this store, or of a topic that was deleted.
    fn has(&self, partition: &Arc<Partition>) -> bool {
        let topics = self.topics();
        let known = topics.by_id(partition.topic).and_then(|topic| topic.partition(partition.index));
        known.is_none_or(|known| Arc::ptr_eq(known, partition))
    }

    /// Moves the log start offset to `offset`; it never moves back. The command is queued when the call
    /// returns. Resolves, once the move is durable, to the log start offset at that time.
    pub fn delete_before(
        &self,
        partition: &Arc<Partition>,
        offset: Offset,
    ) -> impl Future<Output = Result<Offset, LogError>> + Send + use<> {
        let begun = self.begin_to_delete_before(partition, offset);
        let partition = Arc::clone(partition);
        async move {
            let Some(moving) = begun? else { return Ok(partition.ends().log_start) };
            match moving.await {
                Ok(_) => Ok(partition.ends().log_start),
                // Another request has moved it further meanwhile.
                Err(StoreError::Refused(Refusal::OffsetOutOfRange)) => Ok(partition.ends().log_start),
                Err(error) => Err(error.into()),
            }
        }
    }

    /// Queues the move. Returns `None` if the log start offset is already there.
    fn begin_to_delete_before(
        &self,
        partition: &Partition,
        offset: Offset,
    ) -> Result<Option<impl Future<Output = Result<Applied, StoreError>> + Send + use<>>, LogError> {
        partition.serving()?;
        let ends = partition.ends();
        if offset > ends.high_watermark {
            return Err(ends.out_of_range(offset));
        }
        if offset <= ends.log_start {
            return Ok(None);
        }
        let command = Command::SetLogStart { topic: partition.topic, partition: partition.index, offset };
        Ok(Some(self.0.line.command(command)))
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
        overrides: Overrides,
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
        let created = self.0.line.command(Command::CreateTopic(create));
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
        let dropped = self.0.line.command(Command::DropTopic { topic });
        async move { Ok(dropped.await.map(drop)?) }
    }

    /// Sets (`Some`) or removes (`None`) settings of a topic; other settings stay as they are. The caller
    /// must have checked them.
    pub fn alter_topic(
        &self,
        topic: TopicId,
        changes: Changes,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        self.change(Command::AlterTopic { topic, changes })
    }

    /// Like [`Store::alter_topic`], for settings of everything except topics.
    pub fn alter_settings(
        &self,
        scope: Scope,
        changes: Changes,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        self.change(Command::AlterSettings { scope, changes })
    }

    /// Sets the finalized level of a feature.
    pub fn set_feature(
        &self,
        name: &str,
        level: i16,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        self.change(Command::SetFeature { name: name.to_owned(), level })
    }

    /// Alters the quotas of entities, all of them at once. The caller must have checked them.
    pub fn alter_quotas(
        &self,
        changes: Vec<(QuotaEntity, QuotaChanges)>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        self.change(Command::AlterQuotas { changes })
    }

    /// Changes SCRAM credentials of users, all or none.
    pub fn alter_credentials(
        &self,
        changes: Vec<CredentialChange>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        self.change(Command::AlterCredentials { changes })
    }

    /// Adds access control lists; those that are there already stay.
    pub fn add_acls(
        &self,
        bindings: Vec<AclBinding>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        self.change(Command::AddAcls { bindings })
    }

    /// Removes access control lists; those that are not there are passed over.
    pub fn remove_acls(
        &self,
        bindings: Vec<AclBinding>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        self.change(Command::RemoveAcls { bindings })
    }

    /// Adds a delegation token, with an id that was never used.
    pub fn create_token(
        &self,
        id: String,
        token: DelegationToken,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        self.change(Command::CreateToken { id, token: Box::new(token) })
    }

    /// Sets the time at which a delegation token expires; `None` removes it.
    pub fn change_token(
        &self,
        id: String,
        expires: Option<Timestamp>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        self.change(Command::ChangeToken { id, expires })
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
        let elected = self.0.line.command(Command::ElectPreferred { topic, partition });
        async move { Ok(matches!(elected.await?, Applied::LeaderElected { moved: true, .. })) }
    }

    /// Makes any running replica leader if there is none. Returns whether there was none.
    pub fn elect_unclean(
        &self,
        topic: TopicId,
        partition: i32,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send + use<> {
        let elected = self.0.line.command(Command::ElectUnclean { topic, partition });
        async move { Ok(matches!(elected.await?, Applied::LeaderElected { moved: true, .. })) }
    }

    /// Sets the running brokers; leaders, ISRs and ELRs follow.
    pub fn set_brokers(
        &self,
        running: Vec<NodeId>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        self.change(Command::SetBrokers { running, election: *self.0.election.lock().ignoring_poison() })
    }

    /// The command is queued when the call returns. Resolves when the change is durable and published.
    fn change(&self, command: Command) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        let changed = self.0.line.command(command);
        async move { changed.await.map(drop) }
    }

    /// The transactional ids, as they are published.
    pub fn transactions(&self) -> Transactions {
        self.0.published.transactions()
    }

    /// Carries out a command on a transactional id. The command is queued when the call returns. Resolves when its
    /// outcome is durable and published.
    pub fn transact(
        &self,
        command: Command,
    ) -> impl Future<Output = Result<Applied, StoreError>> + Send + use<> {
        self.0.line.command(command)
    }

    /// The producers that a partition remembers, in the order of their ids; `None` if there is no such partition.
    pub fn producers_of(&self, partition: TopicPartition) -> Option<Vec<(ProducerId, ProducerFacts)>> {
        let shard = self.0.shard();
        let partition = shard.partition(partition.topic, partition.partition)?;
        Some(partition.producer_facts().collect())
    }

    /// The number of producers that a partition remembers.
    pub fn count_producers_of(&self, partition: TopicPartition) -> usize {
        let shard = self.0.shard();
        shard.partition(partition.topic, partition.partition).map_or(0, kernel::Partition::producers)
    }

    /// The time of the journal's last entry before this start. The broker did not run from then until the start.
    pub fn resumed_at(&self) -> Timestamp {
        self.0.resumed_at
    }

    /// A producer id that was never used before.
    pub fn new_producer(
        &self,
    ) -> impl Future<Output = Result<(ProducerId, ProducerEpoch), StoreError>> + Send + use<> {
        let made = self.0.line.command(Command::NewProducer);
        async move {
            match made.await? {
                Applied::Producer { id, epoch } => Ok((id, epoch)),
                other => unreachable!("a new producer is not answered by {other:?}"),
            }
        }
    }

    /// Whether writes can succeed: `false` once the journal has failed.
    pub fn is_writable(&self) -> bool {
        self.0.published.failure().is_none()
    }

    /// Whether the disk has less free space than the broker needs. No more data is accepted then.
    pub fn is_full(&self) -> bool {
        self.0.upkeep.is_full()
    }

    /// Fills the disk for a test, without writing anything, or frees it again.
    pub fn fill_disk(&self, is_filled: bool) {
        self.0.upkeep.fill_disk(is_filled);
    }

    /// The time for new data, and the time for expiry by age.
    pub fn now(&self) -> Now {
        self.0.clocks.now()
    }

    /// The time for which the journal was stalled since the store was opened. It grows during a stall.
    pub fn stalled_for(&self) -> Duration {
        self.0.published.stalls.total()
    }

    pub fn counts(&self) -> &Counts {
        &self.0.published.counts
    }

    /// Checks the disk, the clock and a running backup, records a trusted clock in the journal, and logs lasting problems.
    pub fn watch(&self) {
        self.0.upkeep.look_at_space();
        self.0.upkeep.look_at_backup();
        self.0.published.confirm_clock();
        let noted = self.0.shard().clock_trusted();
        if clocks::must_note(noted, self.0.clocks.now().trusted) {
            self.0.line.command_unanswered(Command::ClockTrusted);
        }
        self.remind();
    }

    /// Applies retention and expires idle producers; checks the disk first.
    pub fn housekeep(&self) {
        self.0.upkeep.look_at_space();
        self.0.upkeep.retry();
        let settings = self.0.published.broker_settings();
        let trusted = self.0.clocks.now().trusted;
        let commands = retention::due(&self.0.shard(), &self.topics(), &settings, trusted);
        let pass = Pass::begin(&self.0.retention_refused);
        for command in commands {
            let pass = matches!(command, Command::SetLogStart { .. }).then(|| Arc::clone(&pass));
            let done = Box::new(move |outcome: Result<Applied, StoreError>| {
                if let (Some(pass), Err(error)) = (pass, outcome) {
                    pass.note(&error);
                }
            });
            self.0.line.submit(Work::Command { command, done });
        }
    }

    /// Removes what has expired since a test turned the clock forward. Resolves when it is gone.
    pub fn clock_turned(&self) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        self.housekeep();
        self.expire_tokens();
        // It is behind the removals, and the journal remembers the time.
        let noted = self.now().trusted.map(|_| self.change(Command::ClockTrusted));
        async move {
            match noted {
                Some(noted) => noted.await,
                None => Ok(()),
            }
        }
    }

    /// Removes the delegation tokens that have expired. Waits until the clock is trusted.
    pub fn expire_tokens(&self) {
        let Some(now) = self.0.clocks.now().trusted else { return };
        if self.tokens().iter().any(|(_, token)| token.is_expired_at(now)) {
            self.0.line.command_unanswered(Command::ExpireTokens { now });
        }
    }

    /// The problems of the store, the worst first. Does not wait.
    pub fn troubles(&self) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        if let Some(why) = self.0.published.failure() {
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
            None => self.0.retention_refused.lock().ignoring_poison().clone(),
        };
        troubles.extend(doubt.map(|why| Trouble::of_one(TroubleKind::ClockUntrusted, why)));
        troubles.extend(halted.map(|why| Trouble::of_one(TroubleKind::RetentionHalted, why)));
        troubles.extend(self.0.upkeep.stalled_backup().map(|idle| {
            let seconds = idle.as_secs();
            let why = format!(
                "files that are not needed any more wait for a backup without progress for {seconds} s"
            );
            Trouble::of_one(TroubleKind::BackupStalled, why)
        }));
        troubles
    }

    /// Logs lasting problems.
    fn remind(&self) {
        let troubles = self.troubles();
        let kinds: Vec<TroubleKind> = troubles.iter().map(|trouble| trouble.kind).collect();
        let why = |kind| troubles.iter().find(|trouble| trouble.kind == kind).map(|trouble| &*trouble.why);
        let reminders = self.0.reminders.lock().ignoring_poison().look(&kinds, self.0.clocks.since_boot());
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
                Reminder::Begins(kind @ TroubleKind::BackupStalled) => {
                    tracing::warn!(
                        state = kind.name(),
                        why = why(kind),
                        "a backup makes no progress: let it go on or end it; after five minutes it loses what it holds"
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
        let settings = self.0.published.broker_settings();
        let Some(now) = self.0.clocks.now().trusted else { return };
        if settings.cleaner_enabled && !self.is_full() {
            self.0.upkeep.compact(now, &settings);
        }
    }

    /// Reads a part of the stored batches again, and takes damaged partitions out of service. It reads as
    /// much as is due after `elapsed` more time, so that everything is read once per `interval`. Blocks until
    /// it is done or the store closes.
    pub fn scrub(&self, interval: Duration, elapsed: Duration) {
        self.0.upkeep.scrub(interval, elapsed);
    }

    /// The time at which the last complete scrub pass ended; `None` if there was none.
    pub fn last_scrub(&self) -> Option<Timestamp> {
        self.0.upkeep.last_scrub()
    }

    /// Does all queued background work on the calling thread; for stores without threads.
    pub fn run_background(&self) {
        self.0.upkeep.run_background();
    }

    /// Begins to write a snapshot, so that the next start has nothing to replay.
    pub fn request_snapshot(&self) {
        self.0.upkeep.snapshot();
    }

    /// Refuses new work, finishes the queued work, makes everything durable and unlocks the directory. Blocks
    /// until the disk is done. A second call does nothing.
    pub fn close(&self) {
        self.0.line.close();
    }
}

impl Inner {
    fn shard(&self) -> MutexGuard<'_, Shard> {
        self.shard.lock().ignoring_poison()
    }

    /// Sets the running brokers at the start. Partitions whose brokers are gone would have no leader, so they
    /// move to the brokers that are here: this process has the only copy anyway.
    fn take_places(&self, brokers: &[NodeId]) {
        let election = *self.election.lock().ignoring_poison();
        let are_others = {
            let shard = self.shard();
            shard.running() != brokers || shard.election() != election
        };
        let run = || Command::SetBrokers { running: brokers.to_vec(), election };
        if are_others && let Err(error) = self.line.command_blocking(run())() {
            tracing::warn!(
                ?error,
                "cannot set the running brokers: some partitions may have no leader; restart once writes are possible"
            );
            return;
        }
        // Also if the brokers are the same: the process may have crashed between the two steps.
        let moves = moves_of_leaderless_partitions(&self.shard(), brokers);
        if moves.is_empty() {
            return;
        }
        tracing::warn!(
            partitions = moves.len(),
            ?brokers,
            "partitions are on brokers that are gone: moving them to the running brokers"
        );
        let begun: Vec<_> = moves.into_iter().map(|command| self.line.command_blocking(command)).collect();
        for failed in begun.into_iter().filter_map(|wait| wait().err()) {
            tracing::warn!(
                error = ?failed,
                "cannot move a partition to a running broker: it has no leader; restart once writes are possible"
            );
        }
    }

    /// Applies the rules of elections to all partitions, if they are other ones.
    fn follow_election(&self) {
        let election = *self.election.lock().ignoring_poison();
        let running = {
            let shard = self.shard();
            if shard.members().is_some() || shard.election() == election {
                return;
            }
            shard.running().to_vec()
        };
        if let Err(error) = self.line.command_blocking(Command::SetBrokers { running, election })() {
            tracing::warn!(
                ?error,
                "min.insync.replicas and unclean.leader.election.enable have no effect on elections yet; restart once writes \
                 are possible"
            );
        }
    }

    /// Updates the producers' memory limit in the state, if the settings have another one.
    fn bound_producers(&self, bytes: u64) {
        let is_other = self.shard().producers().most_bytes() != bytes;
        if is_other && let Err(error) = self.line.command_blocking(Command::SetProducerMemory { bytes })() {
            tracing::warn!(
                ?error,
                "jackdaw.producers.max.bytes has no effect yet; restart once writes are possible"
            );
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.line.close();
    }
}

impl GroupStore for Store {
    fn groups(&self) -> Groups {
        self.0.published.groups()
    }

    fn group(&self, name: &str) -> Option<KeptGroup> {
        self.0.published.group(name)
    }

    fn offsets(&self, group: &str) -> Offsets {
        self.0.published.offsets(group)
    }

    fn group_bytes(&self) -> usize {
        self.counts().group_bytes.load(Ordering::Relaxed)
    }

    fn submit(&self, group: &str, after: u64, changes: Vec<Change>) -> Settled {
        let (settler, settled) = Settled::pair();
        let command = Command::Group { group: group.to_owned(), after, changes };
        let done = Box::new(move |outcome: Result<Applied, StoreError>| {
            settler.settle(outcome.map(drop).map_err(|_| NotStored));
        });
        self.0.line.submit(Work::Command { command, done });
        settled
    }

    fn is_serving(&self) -> bool {
        self.is_writable()
    }

    fn now(&self) -> Now {
        Store::now(self)
    }

    fn seen(&self) -> Arc<dyn Seen> {
        Arc::new(self.0.published.seen())
    }
}

/// The rules of elections for topics without settings of their own.
fn election_of(settings: &BrokerSettings) -> Election {
    let (of_topics, _) = TopicSettings::of_stored(&BTreeMap::new(), settings);
    Election { min_insync: of_topics.min_insync_replicas, unclean: of_topics.unclean_leader_election }
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
