//! The state that readers see: only durable changes, published by the engine in the order of the journal.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, RwLock};

use super::clocks::Clocks;
use super::counts::Counts;
use super::extent::ExtentReader;
use super::live::LiveSettings;
use super::partition::{OpenedLog, Partition};
use super::seen::TopicsAndSettings;
use super::stalls::Stalls;
use super::topics::{Topic, Topics};
use super::waiter::ChangeSignal;
use crate::config::{self, BrokerSettings, Given, IgnoredSetting, Overrides, Reloaded, TopicSettings};
use crate::kernel::offsets::Offsets;
use crate::kernel::{
    self, Applied, Credentials, Features, Groups, KeptGroup, Placed, Placement, Quotas, Scope, Settings,
    Shard, StoredAcls, Tokens, TransactionEnded, Transactions,
};
use crate::types::{IgnorePoison, LeaderEpoch, Offset, TopicId, TransactionEnd};

pub(super) struct Published {
    /// Held while changes are published.
    publishing: Mutex<()>,
    topics: RwLock<Arc<Topics>>,
    /// The groups and the state beside them.
    groups: RwLock<Groups>,
    transactions: RwLock<Transactions>,
    /// The stored settings of all entities except topics.
    settings: RwLock<Arc<Settings>>,
    /// The levels of features that were set.
    features: RwLock<Arc<Features>>,
    quotas: RwLock<Arc<Quotas>>,
    /// Whether there are any quotas, so that requests need no lock if there are none.
    has_quotas: AtomicBool,
    /// The SCRAM credentials of users.
    credentials: RwLock<Credentials>,
    acls: RwLock<StoredAcls>,
    /// How often the access control lists were replaced.
    acls_version: AtomicU64,
    tokens: RwLock<Tokens>,
    /// The broker's current settings: those from its start, overridden by the stored ones.
    live: LiveSettings,
    clocks: Arc<Clocks>,
    /// How often topics or settings were replaced.
    version: AtomicU64,
    /// The position of the last published round.
    position: AtomicU64,
    /// The reason why nothing more is written; unset while the journal works.
    failed: OnceLock<String>,
    pub(super) counts: Counts,
    pub(super) stalls: Stalls,
    /// A round was published.
    pub(super) changes: ChangeSignal,
}

/// The engine's part of publishing: it opens the logs of partitions, and gets back the extents that new readers no
/// longer use.
pub(super) trait Logs {
    /// The log of a new partition.
    fn open(&mut self, topic: &kernel::Topic, name: &Arc<str>, index: i32) -> OpenedLog;

    /// The extents that compaction has written.
    fn rewritten(&mut self, partition: &Partition, by: &[kernel::Extent]) -> Vec<Arc<dyn ExtentReader>>;

    /// These extents at the beginning of a log are no longer published.
    fn dropped(&mut self, extents: Vec<Arc<dyn ExtentReader>>);

    /// Compaction has replaced these extents; the next one begins at `end`.
    fn replaced(&mut self, partition: &Arc<Partition>, end: Offset, extents: Vec<Arc<dyn ExtentReader>>);

    /// The topic is deleted, and with it these extents.
    fn deleted(&mut self, topic: &Topic, extents: Vec<Arc<dyn ExtentReader>>);
}

/// The changes of a round while they are being published. The image of the topics is replaced once, at the end.
pub(super) struct Showing<'a> {
    published: &'a Published,
    _alone: MutexGuard<'a, ()>,
    topics: Option<Topics>,
    groups_changed: bool,
    transactions_changed: bool,
    /// Partitions with a new leader epoch.
    moved: Vec<(Arc<Partition>, LeaderEpoch)>,
}

impl Published {
    /// Publishes nothing yet. `shard` is the state that [`Published::show_all`] will publish.
    pub(super) fn new(live: LiveSettings, clocks: Arc<Clocks>, shard: &Shard) -> Published {
        let counts = Counts { producer_bytes: shard.producers().bytes().into(), ..Counts::default() };
        Published {
            publishing: Mutex::default(),
            topics: RwLock::default(),
            groups: RwLock::default(),
            transactions: RwLock::default(),
            settings: RwLock::default(),
            features: RwLock::default(),
            quotas: RwLock::default(),
            has_quotas: AtomicBool::new(false),
            credentials: RwLock::default(),
            acls: RwLock::default(),
            acls_version: AtomicU64::new(0),
            tokens: RwLock::default(),
            live,
            stalls: Stalls::new(clocks.clock().clone()),
            clocks,
            version: AtomicU64::new(0),
            position: AtomicU64::new(shard.position()),
            failed: OnceLock::new(),
            counts,
            changes: ChangeSignal::default(),
        }
    }

    pub(super) fn topics(&self) -> Arc<Topics> {
        Arc::clone(&self.topics.read().ignoring_poison())
    }

    pub(super) fn groups(&self) -> Groups {
        self.groups.read().ignoring_poison().clone()
    }

    pub(super) fn transactions(&self) -> Transactions {
        self.transactions.read().ignoring_poison().clone()
    }

    pub(super) fn group(&self, name: &str) -> Option<KeptGroup> {
        self.groups.read().ignoring_poison().get(name)
    }

    pub(super) fn offsets(&self, group: &str) -> Offsets {
        self.groups.read().ignoring_poison().offsets(group).cloned().unwrap_or_default()
    }

    pub(super) fn seen(&self) -> TopicsAndSettings {
        // First, so that what is seen is at least as new as its version.
        let version = self.version.load(Ordering::Acquire);
        let (topics, settings) = (self.topics(), self.settings());
        let broker = self.live.at(&settings);
        TopicsAndSettings { version, topics, settings, broker }
    }

    pub(super) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().ignoring_poison())
    }

    pub(super) fn features(&self) -> Arc<Features> {
        Arc::clone(&self.features.read().ignoring_poison())
    }

    pub(super) fn quotas(&self) -> Arc<Quotas> {
        Arc::clone(&self.quotas.read().ignoring_poison())
    }

    /// The quotas; `None` if there are none.
    pub(super) fn quotas_if_any(&self) -> Option<Arc<Quotas>> {
        self.has_quotas.load(Ordering::Acquire).then(|| self.quotas())
    }

    pub(super) fn credentials(&self) -> Credentials {
        self.credentials.read().ignoring_poison().clone()
    }

    pub(super) fn acls(&self) -> StoredAcls {
        self.acls.read().ignoring_poison().clone()
    }

    /// Looks at the access control lists without a copy. Must not wait.
    pub(super) fn with_acls<T>(&self, look: impl FnOnce(&StoredAcls) -> T) -> T {
        look(&self.acls.read().ignoring_poison())
    }

    /// Grows whenever the access control lists change. Lists that are read afterwards are at least as new.
    pub(super) fn acls_version(&self) -> u64 {
        self.acls_version.load(Ordering::Acquire)
    }

    pub(super) fn tokens(&self) -> Tokens {
        self.tokens.read().ignoring_poison().clone()
    }

    /// The broker's current settings.
    pub(super) fn broker_settings(&self) -> Arc<BrokerSettings> {
        self.live.at(&self.settings())
    }

    pub(super) fn position(&self) -> u64 {
        self.position.load(Ordering::Acquire)
    }

    /// The reason why nothing more is written; `None` while the journal works.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }

    /// Records why nothing more is written. Only the first reason is kept.
    pub(super) fn fail(&self, why: &str) {
        if self.failed.set(why.to_owned()).is_ok() {
            tracing::error!(
                %why,
                "the data directory takes no more writes: acknowledged records are safe and can be read; \
                 check the disk, then restart"
            );
        }
    }

    /// At the start: publishes the whole state. `open` returns the log of each partition.
    pub(super) fn show_all(
        &self,
        shard: &Shard,
        mut open: impl FnMut(&kernel::Topic, &Arc<str>, i32) -> OpenedLog,
    ) {
        self.show_settings(shard);
        self.show_features(shard);
        self.show_quotas(shard);
        self.show_credentials(shard);
        self.show_acls(shard);
        self.show_tokens(shard);
        let mut topics = Topics::of(shard.running());
        for state in shard.topics() {
            topics.insert(self.opened(state, &mut open));
        }
        self.show_topics(topics);
        warn_of_ignored(&self.settings());
        self.show_groups(shard);
        self.show_transactions(shard);
    }

    fn show_topics(&self, topics: Topics) {
        replace(&self.topics, Arc::new(topics));
        self.version.fetch_add(1, Ordering::Release);
    }

    fn show_settings(&self, shard: &Shard) {
        replace(&self.settings, Arc::clone(shard.all_settings()));
        self.version.fetch_add(1, Ordering::Release);
    }

    fn show_features(&self, shard: &Shard) {
        replace(&self.features, Arc::clone(shard.features()));
    }

    fn show_quotas(&self, shard: &Shard) {
        replace(&self.quotas, Arc::clone(shard.quotas()));
        self.has_quotas.store(!shard.quotas().is_empty(), Ordering::Release);
    }

    fn show_credentials(&self, shard: &Shard) {
        replace(&self.credentials, shard.credentials().clone());
    }

    fn show_acls(&self, shard: &Shard) {
        replace(&self.acls, shard.acls().clone());
        self.acls_version.fetch_add(1, Ordering::Release);
    }

    fn show_tokens(&self, shard: &Shard) {
        replace(&self.tokens, shard.tokens().clone());
    }

    fn show_groups(&self, shard: &Shard) {
        let groups = shard.groups().clone();
        self.counts.group_bytes.store(groups.bytes(), Ordering::Relaxed);
        replace(&self.groups, groups);
    }

    fn show_transactions(&self, shard: &Shard) {
        replace(&self.transactions, shard.transactions().clone());
    }

    /// Begins to publish a round.
    pub(super) fn begin(&self) -> Showing<'_> {
        let _alone = self.publishing.lock().ignoring_poison();
        Showing {
            published: self,
            _alone,
            topics: None,
            groups_changed: false,
            transactions_changed: false,
            moved: Vec::new(),
        }
    }

    /// Reloads the broker's settings, and the topic settings that depend on them. Waits for a round that is being
    /// published.
    pub(super) fn reload_settings(&self, written: &Given) -> Reloaded {
        let _alone = self.publishing.lock().ignoring_poison();
        let reloaded = self.live.reload(written);
        self.confirm_clock();
        let mut topics = Topics::clone(&self.topics.read().ignoring_poison());
        self.follow_settings(&mut topics);
        self.show_topics(topics);
        reloaded
    }

    /// Trusts the clock again if an operator has confirmed it.
    pub(super) fn confirm_clock(&self) {
        self.clocks.confirm(self.broker_settings().clock_confirmed);
    }

    fn count(&self, ended: &TransactionEnded) {
        let counts = &self.counts;
        match ended.marker.end {
            // An abort may find nothing to abort.
            TransactionEnd::Commit | TransactionEnd::Abort if !ended.was_open => {}
            TransactionEnd::Commit => counts.transactions_committed.one(),
            TransactionEnd::Abort if ended.timed_out => counts.transactions_timed_out.one(),
            TransactionEnd::Abort => counts.transactions_aborted.one(),
        }
    }

    pub(super) fn partition(&self, topic: TopicId, index: i32) -> Option<Arc<Partition>> {
        let topics = self.topics.read().ignoring_poison();
        topics.by_id(topic)?.partition(index).cloned()
    }

    /// The handle of a topic.
    fn opened(
        &self,
        state: &kernel::Topic,
        open: &mut impl FnMut(&kernel::Topic, &Arc<str>, i32) -> OpenedLog,
    ) -> Arc<Topic> {
        let name: Arc<str> = state.name.as_str().into();
        let settings = Arc::new(self.topic_settings(&name, &state.overrides));
        let partitions = state.partitions().zip(0..).map(|(partition, index)| {
            let facts = (state.id, &name, &settings);
            Arc::new(Partition::new(facts, partition, index, open(state, &name, index)))
        });
        Arc::new(Topic {
            id: state.id,
            partitions: partitions.collect(),
            placement: state.placement().to_vec(),
            epochs: state.partitions().map(kernel::Partition::epoch).collect(),
            overrides: state.overrides.clone(),
            settings: TopicSettings::clone(&settings),
            name,
        })
    }

    fn topic_settings(&self, name: &str, overrides: &Overrides) -> TopicSettings {
        let (settings, invalid) = TopicSettings::of_stored(overrides, &self.broker_settings());
        for error in invalid {
            tracing::warn!(
                topic = %name, %error,
                "a stored setting is no longer valid and is ignored; set it again or remove it"
            );
        }
        settings
    }

    /// Gives all topics the settings that follow from the broker's current ones.
    fn follow_settings(&self, topics: &mut Topics) {
        let altered: Vec<_> =
            topics.iter().filter_map(|known| self.altered(known, &known.overrides)).collect();
        altered.into_iter().for_each(|topic| topics.insert(topic));
    }

    /// The topic with these overrides; `None` if nothing changed. Its partitions get the new settings at
    /// once.
    fn altered(&self, known: &Topic, overrides: &Overrides) -> Option<Arc<Topic>> {
        let settings = self.topic_settings(&known.name, overrides);
        if *overrides == known.overrides && settings == known.settings {
            return None;
        }
        let shared = Arc::new(settings.clone());
        known.partitions.iter().for_each(|partition| partition.publish_settings(&shared));
        Some(Arc::new(Topic { overrides: overrides.clone(), settings, ..known.clone() }))
    }
}

/// Warns of stored settings that are no longer valid. Those of topics and brokers are found when they are used.
fn warn_of_ignored(settings: &Settings) {
    for scope in settings.scopes() {
        let Some(own) = settings.get(scope) else { continue };
        let (kind, entity, ignored) = match scope {
            Scope::Group(name) => ("group", name, config::invalid_of_group(own)),
            Scope::ClientMetrics(name) => ("client metrics", name, config::invalid_of_client_metrics(own)),
            Scope::DefaultBroker | Scope::Broker(_) => continue,
        };
        for IgnoredSetting { name, error } in ignored {
            tracing::warn!(
                kind, entity, name, %error,
                "a stored setting is no longer valid and is ignored; set it again or remove it"
            );
        }
    }
}

/// Publishes an image. The one before is freed after the lock, because that may take long.
fn replace<T>(image: &RwLock<T>, new: T) {
    let before = std::mem::replace(&mut *image.write().ignoring_poison(), new);
    drop(before);
}

impl Showing<'_> {
    /// Publishes the outcome of a command. Batches and markers are published with their bytes, by
    /// [`Partition::publish`].
    pub(super) fn show(&mut self, shard: &Shard, applied: &Applied, logs: &mut dyn Logs) {
        match applied {
            Applied::TopicCreated { topic } => {
                if let Some(state) = shard.topic(*topic) {
                    let topic = self.published.opened(state, &mut |topic, name, at| logs.open(topic, name, at));
                    self.topics().insert(topic);
                }
            }
            Applied::TopicDropped { topic, .. } => {
                // The offsets that groups committed for the topic are removed with it.
                self.groups_changed = true;
                let Some(topic) = self.topics().remove(*topic) else { return };
                let extents = topic.partitions.iter().flat_map(|partition| partition.publish_deleted());
                logs.deleted(&topic, extents.collect());
            }
            Applied::PartitionsAdded { topic } => {
                // The shard is ahead of the image: the topic may be deleted by the end of the round.
                if let (Some(state), Some(before)) = (shard.topic(*topic), self.topics().by_id(*topic).cloned()) {
                    let grown = self.grown(&before, state, logs);
                    self.topics().insert(grown);
                }
            }
            Applied::LogStart { topic, partition, offset, dropped } => {
                let Some(partition) = self.published.partition(*topic, *partition) else { return };
                let dropped = partition.publish_log_start(*offset, dropped.len());
                logs.dropped(dropped);
            }
            Applied::ExtentsReplaced { topic, partition, replaced, by, end } => {
                let Some(partition) = self.published.partition(*topic, *partition) else { return };
                let replaced: Vec<_> = replaced.iter().map(kernel::Extent::id).collect();
                let by = logs.rewritten(&partition, by);
                let replaced = partition.publish_replaced(&replaced, by);
                logs.replaced(&partition, *end, replaced);
            }
            Applied::EpochRaised { topic, .. } => self.place(shard.topic(*topic), shard),
            Applied::TopicAltered { topic } => {
                let Some(state) = shard.topic(*topic) else { return };
                let known = self.topics().by_id(*topic).cloned();
                if let Some(altered) = known.and_then(|known| self.published.altered(&known, &state.overrides)) {
                    self.topics().insert(altered);
                }
                self.place([state], shard);
            }
            Applied::FeatureSet { .. } => self.published.show_features(shard),
            Applied::QuotasAltered { .. } => self.published.show_quotas(shard),
            Applied::CredentialsAltered => self.published.show_credentials(shard),
            Applied::AclsChanged { .. } => self.published.show_acls(shard),
            Applied::TokensChanged { .. } => self.published.show_tokens(shard),
            Applied::SettingsAltered { scope } => self.alter_settings(scope, shard),
            Applied::BrokersSet | Applied::Registered { .. } | Applied::BrokerGone { .. } => {
                self.place(shard.topics(), shard);
            }
            Applied::ReplicasSet { topic } | Applied::LeaderElected { topic, .. } => {
                self.place(shard.topic(*topic), shard);
            }
            Applied::GroupChanged => self.groups_changed = true,
            Applied::OffsetsStaged => {
                self.groups_changed = true;
                self.transactions_changed = true;
            }
            Applied::TransactionEnded(ended) => {
                self.groups_changed |= ended.has_offsets;
                self.transactions_changed = true;
                self.published.count(ended);
            }
            Applied::TransactionInitialized { .. }
            | Applied::TransactionJoined
            | Applied::MarkerWritten { .. }
            | Applied::TransactionsExpired(_) => self.transactions_changed = true,
            Applied::Appended(_)
            | Applied::TransactionUnchanged { .. }
            | Applied::Duplicate { .. }
            // Producers are read from the state.
            | Applied::Producer { .. }
            | Applied::ProducersExpired(_)
            | Applied::ProducerMemorySet { .. }
            | Applied::ClockTrusted
            | Applied::StoredAgain => {}
        }
    }

    /// A batch was published. If a transaction is open in its partition, the batch may have changed the transaction.
    pub(super) fn shows_batch_of(&mut self, placed: &Placed) {
        self.transactions_changed |= placed.last_stable < placed.end;
    }

    /// Ends the round. `position` is that of its entry; `None` if it changed nothing.
    pub(super) fn end(self, shard: &Shard, position: Option<u64>) {
        if let Some(topics) = self.topics {
            self.published.show_topics(topics);
        }
        // Everything that is applied is durable: the next round has not begun.
        if self.groups_changed {
            self.published.show_groups(shard);
        }
        if self.transactions_changed {
            self.published.show_transactions(shard);
        }
        if let Some(position) = position {
            self.published.position.store(position, Ordering::Release);
            self.published.counts.producer_bytes.store(shard.producers().bytes(), Ordering::Relaxed);
        }
        // The image is replaced first, so that a reader who sees the new epoch finds its leader there.
        for (partition, epoch) in self.moved {
            partition.publish_epoch(epoch);
            partition.wake();
        }
        self.published.changes.happened();
    }

    /// The image that replaces the published one at the end of the round.
    fn topics(&mut self) -> &mut Topics {
        let published = self.published;
        self.topics.get_or_insert_with(|| Topics::clone(&published.topics.read().ignoring_poison()))
    }

    /// The topic with handles for its new partitions. They are empty, and like those of a new topic they get
    /// their directories with the first batch. Settings that were altered in the same round also apply to the
    /// old partitions.
    fn grown(&self, before: &Topic, state: &kernel::Topic, logs: &mut dyn Logs) -> Arc<Topic> {
        let mut grown = self.published.opened(state, &mut |topic, name, at| logs.open(topic, name, at));
        let settings = Arc::new(grown.settings.clone());
        before.partitions.iter().for_each(|partition| partition.publish_settings(&settings));
        let known = before.partitions.iter().cloned();
        let topic = Arc::get_mut(&mut grown).expect("the new handle is not shared yet");
        topic.partitions.splice(..before.partitions.len().min(topic.partitions.len()), known);
        grown
    }

    fn alter_settings(&mut self, scope: &Scope, shard: &Shard) {
        let published = self.published;
        published.show_settings(shard);
        match scope {
            Scope::DefaultBroker | Scope::Broker(_) => {
                published.confirm_clock();
                // The values of topics without an override may have changed.
                published.follow_settings(self.topics());
            }
            Scope::Group(_) | Scope::ClientMetrics(_) => {}
        }
        if *scope == Scope::DefaultBroker {
            self.place(shard.topics(), shard);
        }
    }

    /// Publishes the leaders and ISRs of topics, as they are at the end of the round.
    fn place<'a>(&mut self, states: impl IntoIterator<Item = &'a Arc<kernel::Topic>>, shard: &Shard) {
        self.topics().running = shard.running().into();
        for state in states {
            let Some(known) = self.topics().by_id(state.id).cloned() else { continue };
            let epochs = || state.partitions().map(kernel::Partition::epoch);
            let moved = known.partitions.iter().cloned().zip(epochs());
            self.moved.extend(moved.filter(|(known, epoch)| known.ends().leader_epoch != *epoch));
            let is_same = |(known, now): (&Arc<Placement>, &Arc<Placement>)| Arc::ptr_eq(known, now);
            let is_placed = known.placement.iter().zip(state.placement()).all(is_same);
            if is_placed && epochs().eq(known.epochs.iter().copied()) {
                continue;
            }
            let (placement, epochs) = (state.placement().to_vec(), epochs().collect());
            let topic = Topic { placement, epochs, ..Topic::clone(&known) };
            self.topics().insert(Arc::new(topic));
        }
    }
}
