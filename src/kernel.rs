//! The pure state machine: no I/O, no clock, no randomness. Facts (offsets, epochs, generations,
//! topics) come only from applying an ordered journal to it. So the same journal gives the same
//! state on every start, and a rolling hash proves it.
//!
//! An *entry* of the journal has some commands, applied at one time. `apply` checks everything before
//! it changes anything, so a refused command leaves no trace.

mod acls;
pub mod command;
mod credentials;
pub mod entry;
pub mod epochs;
mod features;
pub mod group;
mod groups;
pub mod level;
mod members;
pub mod offsets;
pub mod partition;
mod parts;
pub mod placement;
pub mod producer;
pub mod producers;
mod quotas;
mod settings;
mod tokens;
pub mod topic;
pub mod transaction;
mod transactions;
pub mod weight;

use std::sync::Arc;

pub use acls::{StoredAcls, weigh as weigh_acl};
pub use command::{
    Applied, BatchFlags, Command, Commit, CreateTopic, EndTransaction, Gone, InitTransaction,
    JoinTransaction, Place, Placed, PlacedMarker, ProducerStamp, Refusal, Register, ReplaceExtents,
    Rewritten, Scope, StoreAgain, TransactionEnded, TransactionOffsets, WriteMarker,
};
pub use credentials::{CredentialChange, Credentials, OfUser as CredentialsOfUser};
pub use entry::Passed;
pub use epochs::LeaderEpochs;
pub use features::Features;
pub use group::{Group, KeptGroup};
pub use groups::{Groups, weigh as weigh_group};
pub use level::{Level, Levels};
pub use members::{Member, Members};
pub use partition::{AbortedList, Extent, ExtentId, ExtentPlace, OpenedAt, Partition, mix_of};
pub use parts::{Parts, PartsWriter, StateError};
pub use placement::{Election, Placement, spread};
pub use producer::ProducerFacts;
use producers::{Producers, RememberedProducer};
pub use quotas::Quotas;
pub use settings::Settings;
pub use tokens::{Tokens, weigh as weigh_token};
pub use topic::{Topic, metric_form};
pub use transaction::{EndedBy, Ongoing, Phase, ProducerAt, STATE_NAMES, Transaction};
pub use transactions::Transactions;

use crate::config::{Changes, Overrides};
use crate::types::{
    DelegationToken, NodeId, Offset, ProducerEpoch, ProducerId, SharedMap, Timestamp, TopicId,
    TopicPartition, TransactionEnd,
};

/// The state after all journal entries up to `position`. A clone costs O(1): topics, partitions and
/// groups are shared with the snapshots taken of it, and copied when they change.
#[derive(Clone, Debug, PartialEq)]
pub struct Shard {
    position: u64,
    hash: u64,
    /// The time of the last entry.
    time: Timestamp,
    /// The author of the last entry, and the entry's sequence.
    author: u64,
    sequence: u64,
    next_producer: i64,
    topics: SharedMap<TopicId, Arc<Topic>>,
    groups: Groups,
    /// Topic ids by the metric form of the name (`.` becomes `_`), so that `a.b` and `a_b` collide.
    names: SharedMap<String, TopicId>,
    settings: Arc<Settings>,
    features: Arc<Features>,
    quotas: Arc<Quotas>,
    credentials: Credentials,
    acls: StoredAcls,
    tokens: Tokens,
    /// The running brokers, in ascending order.
    running: Vec<NodeId>,
    producers: Producers,
    transactions: Transactions,
    /// The time at which the clock was last trusted.
    clock_trusted: Option<Timestamp>,
    /// The rules for elections that the brokers were started with.
    election: Election,
    /// The brokers that share the journal; `None` in a data directory.
    members: Option<Members>,
}

impl Shard {
    /// The empty state of a journal that several brokers share. None of them runs before it registers.
    pub fn shared() -> Shard {
        Shard { running: Vec::new(), members: Some(Members::default()), ..Shard::new(NodeId(0)) }
    }

    /// An empty state with one running broker.
    pub fn new(broker: NodeId) -> Shard {
        Shard {
            position: 0,
            hash: 0,
            time: Timestamp(0),
            author: 0,
            sequence: 0,
            next_producer: 0,
            topics: SharedMap::default(),
            groups: Groups::default(),
            names: SharedMap::default(),
            settings: Arc::default(),
            features: Arc::default(),
            quotas: Arc::default(),
            credentials: Credentials::default(),
            acls: StoredAcls::default(),
            tokens: Tokens::default(),
            running: vec![broker],
            producers: Producers::default(),
            transactions: Transactions::default(),
            clock_trusted: None,
            election: Election::default(),
            members: None,
        }
    }

    /// Completes a state from a snapshot, which has the producers of each partition but not all together.
    fn with_all_producers(mut self) -> Shard {
        for topic in self.topics.values() {
            self.producers.remember_all(topic);
        }
        self
    }

    /// The time at which the clock was last trusted, if it ever was.
    pub fn clock_trusted(&self) -> Option<Timestamp> {
        self.clock_trusted
    }

    /// The last entry that was applied; 0 before the first.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The time of the last entry.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// The rolling hash after the last entry.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The author of the last entry; 0 before the first. The next author has a higher number.
    pub fn author(&self) -> u64 {
        self.author
    }

    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.values()
    }

    pub fn topic(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topics.get(&id)
    }

    pub fn partition(&self, id: TopicId, index: i32) -> Option<&Partition> {
        self.topics.get(&id)?.partition(index)
    }

    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    pub fn settings(&self, scope: &Scope) -> Option<&Overrides> {
        self.settings.get(scope)
    }

    pub fn all_settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// The levels of features that were set.
    pub fn features(&self) -> &Arc<Features> {
        &self.features
    }

    pub fn quotas(&self) -> &Arc<Quotas> {
        &self.quotas
    }

    /// The SCRAM credentials of users.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The access control lists.
    pub fn acls(&self) -> &StoredAcls {
        &self.acls
    }

    /// The delegation tokens.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// The running brokers, in ascending order.
    pub fn running(&self) -> &[NodeId] {
        &self.running
    }

    /// The brokers that share the journal; `None` in a data directory.
    pub fn members(&self) -> Option<&Members> {
        self.members.as_ref()
    }

    /// Whether the bytes of all extents are in files, as in a data directory.
    pub fn is_in_files(&self) -> bool {
        let partitions = self.topics().flat_map(|topic| topic.partitions());
        self.members.is_none() && partitions.flat_map(Partition::extents).all(Extent::is_file)
    }

    /// The rules for elections from the brokers' own settings.
    pub fn election(&self) -> Election {
        self.election
    }

    /// The idempotent producers of all partitions.
    pub fn producers(&self) -> &Producers {
        &self.producers
    }

    /// Applies a command. This is the only function that creates an offset, an epoch, a generation
    /// or a topic.
    pub fn apply(&mut self, time: Timestamp, command: &Command) -> Result<Applied, Refusal> {
        let applied = match command {
            Command::CreateTopic(create) => self.create_topic(create)?,
            Command::DropTopic { topic } => self.drop_topic(*topic)?,
            Command::Commit(commit) => self.commit(time, commit)?,
            &Command::SetLogStart { topic, partition, offset } => {
                let dropped = self.partition_mut(topic, partition)?.set_log_start(offset)?;
                Applied::LogStart { topic, partition, offset, dropped }
            }
            &Command::RaiseEpoch { topic, partition } => {
                let epoch = self.partition_mut(topic, partition)?.raise_epoch();
                Applied::EpochRaised { topic, partition, epoch }
            }
            Command::NewProducer => self.new_producer(),
            Command::ExpireProducers { idle_since } => self.expire_producers(*idle_since),
            Command::Group { group, after, changes } => {
                self.groups.change(group, *after, changes)?;
                Applied::GroupChanged
            }
            Command::AddPartitions { topic, first, replicas } => {
                self.add_partitions(*topic, *first, replicas)?
            }
            Command::AlterTopic { topic, changes } => {
                topic::alter(&mut self.topic_mut(*topic)?.overrides, changes);
                if Election::is_decided_by(changes) {
                    self.place_anew(&[*topic]);
                }
                Applied::TopicAltered { topic: *topic }
            }
            Command::AlterSettings { scope, changes } => self.alter_settings(scope, changes),
            Command::SetReplicas { topic, partition, replicas } => {
                self.set_replicas(*topic, *partition, replicas)?
            }
            Command::SetBrokers { running, election } => self.set_brokers(running, *election)?,
            Command::Register(register) => self.register(register)?,
            Command::Gone(gone) => self.remove_broker(gone)?,
            Command::ElectPreferred { topic, partition } => {
                let (_, placement) = self.placement_of(*topic, *partition)?;
                let elected = placement.led_by_preferred()?;
                self.elect(*topic, *partition, elected)?
            }
            Command::ElectUnclean { topic, partition } => {
                let (state, placement) = self.placement_of(*topic, *partition)?;
                let elected = placement.led_by_any(&self.running, self.rules_of(state))?;
                self.elect(*topic, *partition, elected)?
            }
            Command::ReplaceExtents(replace) => {
                self.partition_mut(replace.topic, replace.partition)?.replace_extents(replace)?
            }
            Command::SetProducerMemory { bytes } => self.set_producer_memory(time, *bytes),
            Command::ClockTrusted => self.trust_clock(time),
            Command::StoreAgain(again) => self.store_again(again)?,
            Command::InitTransaction(init) => self.init_transaction(time, init)?,
            Command::JoinTransaction(join) => self.join_transaction(time, join)?,
            Command::TransactionOffsets(staged) => self.stage_offsets(time, staged)?,
            Command::EndTransaction(end) => self.end_transaction(time, end)?,
            Command::WriteMarker(write) => self.write_marker(time, write)?,
            Command::ExpireTransactions { idle_since } => self.expire_transactions(*idle_since),
            Command::SetFeature { name, level } => {
                Arc::make_mut(&mut self.features).set(name, *level);
                Applied::FeatureSet { level: *level }
            }
            Command::AlterQuotas { changes } => {
                let changed = changes.iter().any(|(entity, changes)| self.quotas.differ_by(entity, changes));
                if changed {
                    let quotas = Arc::make_mut(&mut self.quotas);
                    changes.iter().for_each(|(entity, changes)| quotas.alter(entity, changes));
                }
                Applied::QuotasAltered { changed }
            }
            Command::AlterCredentials { changes } => {
                self.credentials.alter(changes);
                Applied::CredentialsAltered
            }
            Command::AddAcls { bindings } => Applied::AclsChanged { count: self.acls.add(bindings) },
            Command::RemoveAcls { bindings } => Applied::AclsChanged { count: self.acls.remove(bindings) },
            Command::CreateToken { id, token } => self.create_token(id, token)?,
            Command::ChangeToken { id, expires } => self.change_token(id, *expires)?,
            Command::ExpireTokens { now } => Applied::TokensChanged { count: self.tokens.expire(*now) },
        };
        if applied.changed_something() {
            self.hash = applied.mixed_into(self.hash);
        }
        Ok(applied)
    }

    fn create_token(&mut self, id: &str, token: &DelegationToken) -> Result<Applied, Refusal> {
        if self.tokens.get(id).is_some() {
            return Err(Refusal::Malformed);
        }
        self.tokens.set(id, token.clone());
        Ok(Applied::TokensChanged { count: 1 })
    }

    fn change_token(&mut self, id: &str, expires: Option<Timestamp>) -> Result<Applied, Refusal> {
        let token = self.tokens.get(id).ok_or(Refusal::UnknownToken)?;
        match expires {
            Some(expires) => {
                let token = DelegationToken { expires, ..token.clone() };
                self.tokens.set(id, token);
            }
            None => self.tokens.remove(id),
        }
        Ok(Applied::TokensChanged { count: 1 })
    }

    /// Checks the command and changes nothing: only the journal stores the bytes again.
    fn store_again(&self, again: &StoreAgain) -> Result<Applied, Refusal> {
        let partition = self.partition(again.topic, again.partition).ok_or(Refusal::UnknownPartition)?;
        let mut files = partition.extents().iter().filter(|extent| extent.is_file());
        let extent = files.find(|extent| extent.id() == again.segment);
        let end = again.at.saturating_add(u64::from(again.bytes));
        if extent.is_some_and(|extent| end <= extent.bytes) {
            Ok(Applied::StoredAgain)
        } else {
            Err(Refusal::OtherExtents)
        }
    }

    fn create_topic(&mut self, create: &CreateTopic) -> Result<Applied, Refusal> {
        self.is_new(create.id, &create.name)?;
        let placement = self.placed(&create.replicas)?;
        self.insert_topic(Topic::new(create.id, &create.name, &create.overrides, placement));
        Ok(Applied::TopicCreated { topic: create.id })
    }

    /// Fails if the topic's id or name is taken.
    fn is_new(&self, id: TopicId, name: &str) -> Result<(), Refusal> {
        if let Some(holder) = self.names.get(&topic::metric_form(name)).and_then(|id| self.topics.get(id)) {
            return Err(if holder.name == name {
                Refusal::TopicExists
            } else {
                Refusal::NameCollides { with: holder.name.clone() }
            });
        }
        if id.is_zero() || self.topics.contains_key(&id) { Err(Refusal::Malformed) } else { Ok(()) }
    }

    fn insert_topic(&mut self, topic: Topic) {
        self.names.insert_mut(topic::metric_form(&topic.name), topic.id);
        self.topics.insert_mut(topic.id, Arc::new(topic));
    }

    /// The placements of new partitions.
    fn placed(&self, replicas: &[Vec<NodeId>]) -> Result<Vec<Arc<Placement>>, Refusal> {
        if replicas.is_empty() {
            return Err(Refusal::Malformed);
        }
        let mut shared = placement::Shared::default();
        replicas.iter().map(|one| Ok(shared.one(Placement::new(one, &self.running)?))).collect()
    }

    fn add_partitions(
        &mut self,
        id: TopicId,
        first: i32,
        replicas: &[Vec<NodeId>],
    ) -> Result<Applied, Refusal> {
        let placement = self.placed(replicas)?;
        let topic = self.topics.get(&id).ok_or(Refusal::UnknownTopic)?;
        let next = i32::try_from(topic.partitions.len()).map_err(|_| Refusal::Malformed)?;
        if first != next {
            return Err(Refusal::NotTheNextPartition { next });
        }
        self.topic_mut(id)?.add(placement);
        Ok(Applied::PartitionsAdded { topic: id })
    }

    fn alter_settings(&mut self, scope: &Scope, changes: &Changes) -> Applied {
        Arc::make_mut(&mut self.settings).alter(scope, changes);
        if *scope == Scope::DefaultBroker && Election::is_decided_by(changes) {
            self.place_anew(&self.topics.keys().copied().collect::<Vec<_>>());
        }
        Applied::SettingsAltered { scope: scope.clone() }
    }

    fn set_replicas(&mut self, id: TopicId, index: i32, replicas: &[NodeId]) -> Result<Applied, Refusal> {
        let (topic, placement) = self.placement_of(id, index)?;
        let moved = placement.moved_to(replicas, &self.running, self.rules_of(topic))?;
        self.topic_mut(id)?.place(index, Arc::new(moved));
        Ok(Applied::ReplicasSet { topic: id })
    }

    fn elect(&mut self, id: TopicId, index: i32, elected: Option<Placement>) -> Result<Applied, Refusal> {
        let moved = elected.is_some();
        if let Some(elected) = elected {
            self.topic_mut(id)?.place(index, Arc::new(elected));
        }
        Ok(Applied::LeaderElected { topic: id, moved })
    }

    fn set_brokers(&mut self, running: &[NodeId], election: Election) -> Result<Applied, Refusal> {
        if self.members.is_some() {
            return Err(Refusal::Malformed);
        }
        self.election = election;
        self.running = running.to_vec();
        self.running.sort_unstable();
        self.running.dedup();
        self.place_anew(&self.topics.keys().copied().collect::<Vec<_>>());
        Ok(Applied::BrokersSet)
    }

    fn register(&mut self, register: &Register) -> Result<Applied, Refusal> {
        let incarnation = self.position + 1;
        self.members.as_mut().ok_or(Refusal::Malformed)?.register(register, incarnation)?;
        self.follow_members();
        Ok(Applied::Registered { node: register.node, incarnation })
    }

    fn remove_broker(&mut self, gone: &Gone) -> Result<Applied, Refusal> {
        self.members.as_mut().ok_or(Refusal::Malformed)?.remove(gone)?;
        self.follow_members();
        Ok(Applied::BrokerGone { node: gone.node })
    }

    fn follow_members(&mut self) {
        self.running = self.members.as_ref().map(Members::running).unwrap_or_default();
        self.place_anew(&self.topics.keys().copied().collect::<Vec<_>>());
    }

    /// Updates leaders, ISRs and ELRs from the running brokers and the rules.
    fn place_anew(&mut self, topics: &[TopicId]) {
        let mut shared = placement::Shared::default();
        for id in topics {
            let Some(topic) = self.topics.get(id) else { continue };
            let rules = self.rules_of(topic);
            let follows = |index: i32, before: &Placement| match self.members {
                None => before.follow(&self.running, rules),
                Some(_) => before.follow_with_shared_bytes((*id, index), &self.running),
            };
            let all = (0..).zip(&topic.placement);
            let follows = all.map(|(index, before)| (index, before, follows(index, before)));
            let moves = follows.filter(|(_, before, follows)| *follows != ***before);
            let moves: Vec<_> = moves.map(|(index, _, follows)| (index, shared.one(follows))).collect();
            if !moves.is_empty()
                && let Ok(topic) = self.topic_mut(*id)
            {
                moves.into_iter().for_each(|(index, placement)| topic.place(index, placement));
            }
        }
    }

    /// The rules for elections of a topic: its own settings, else the altered settings of all
    /// brokers, else the settings that the brokers were started with. If the brokers share a journal, any replica
    /// may lead, because all of them have all records.
    fn rules_of(&self, topic: &Topic) -> Election {
        if self.members.is_some() {
            return Election { min_insync: 1, unclean: true };
        }
        let of_all = self.settings.get(&Scope::DefaultBroker);
        let started_with = self.election;
        of_all.map_or(started_with, |of_all| started_with.under(of_all)).under(&topic.overrides)
    }

    fn drop_topic(&mut self, id: TopicId) -> Result<Applied, Refusal> {
        let topic = self.topics.get(&id).ok_or(Refusal::UnknownTopic)?;
        let name = topic.name.clone();
        self.names.remove_mut(&topic::metric_form(&name));
        self.producers.forget_all(topic);
        self.topics.remove_mut(&id);
        self.groups.remove_topic(id);
        Ok(Applied::TopicDropped { topic: id, name })
    }

    fn new_producer(&mut self) -> Applied {
        let id = ProducerId(self.next_producer);
        self.next_producer += 1;
        Applied::Producer { id, epoch: ProducerEpoch(0) }
    }

    fn commit(&mut self, now: Timestamp, commit: &Commit) -> Result<Applied, Refusal> {
        let is_place_of_shared_bytes = match commit.place {
            Place::Segment { .. } => false,
            Place::Journal { .. } => true,
        };
        if is_place_of_shared_bytes != self.members.is_some() {
            return Err(Refusal::Malformed);
        }
        let of = TopicPartition::new(commit.topic, commit.partition);
        let in_transaction = commit.producer.filter(|_| commit.flags.has(BatchFlags::TRANSACTIONAL));
        if let Some(stamp) = in_transaction {
            self.transactions.check_batch(stamp, of, commit.flags.has(BatchFlags::JOINS))?;
        }
        let trusted = self.trusted(now);
        let room = self.producers.room(trusted);
        let position = self.position + 1;
        let partition = self.partition_mut(of.topic, of.partition)?;
        let before = commit.producer.and_then(|stamp| partition.resting_since(stamp.id));
        let is_new = before.is_none() && commit.producer.is_some_and(|stamp| !partition.knows(stamp.id));
        let open = partition.open_transactions();
        let applied = partition.commit(now, position, commit, room)?;
        let begins = partition.open_transactions() > open;
        if let (Applied::Appended(placed), Some(stamp)) = (&applied, commit.producer) {
            let (TopicPartition { topic, partition }, id) = (of, stamp.id);
            if is_new {
                self.forget_while(|oldest, all| {
                    !all.has_room() && producers::may_be_forgotten(oldest, trusted)
                });
            }
            let remembered = |last_write| RememberedProducer { last_write, topic, partition, id };
            if begins {
                self.producers.began(before.map(remembered).as_ref());
                self.transactions.wrote(id, of, placed.base_offset, position, now);
            } else if in_transaction.is_none() {
                self.producers.wrote(remembered(now), before);
            }
        }
        Ok(applied)
    }

    /// Also corrects the last writes that an untrusted clock put into the future: these producers would
    /// otherwise stay until that time.
    fn trust_clock(&mut self, now: Timestamp) -> Applied {
        self.clock_trusted = Some(now);
        while let Some(late) = self.producers.newest().copied().filter(|newest| newest.last_write > now) {
            if let Ok(partition) = self.partition_mut(late.topic, late.partition) {
                partition.set_last_write(late.id, now);
            }
            self.producers.wrote(RememberedProducer { last_write: now, ..late }, Some(late.last_write));
        }
        Applied::ClockTrusted
    }

    /// The time of this entry, if the entry also says that the clock is trusted.
    fn trusted(&self, now: Timestamp) -> Option<Timestamp> {
        self.clock_trusted.filter(|trusted| *trusted == now)
    }

    /// Whether another producer has to be forgotten before this one can write.
    pub fn lacks_memory_for(&self, id: ProducerId, topic: TopicId, partition: i32) -> bool {
        let is_new = || self.partition(topic, partition).is_some_and(|one| !one.knows(id));
        !self.producers.has_room() && is_new()
    }

    /// Forgets the producers that have been silent since before `idle_since`, as Kafka does after
    /// `producer.id.expiration.ms`.
    fn expire_producers(&mut self, idle_since: Timestamp) -> Applied {
        Applied::ProducersExpired(self.forget_while(|oldest, _| oldest.last_write < idle_since))
    }

    fn set_producer_memory(&mut self, now: Timestamp, bytes: u64) -> Applied {
        self.producers.set_most_bytes(bytes);
        let trusted = self.trusted(now);
        let forgotten = self
            .forget_while(|oldest, all| all.bytes() > bytes && producers::may_be_forgotten(oldest, trusted));
        Applied::ProducerMemorySet { forgotten }
    }

    /// Forgets producers, the oldest first, as long as `goes` is true. Returns their number.
    fn forget_while(&mut self, goes: impl Fn(&RememberedProducer, &Producers) -> bool) -> usize {
        let mut forgotten = 0;
        while let Some(oldest) =
            self.producers.oldest().copied().filter(|oldest| goes(oldest, &self.producers))
        {
            self.producers.forget(&oldest);
            self.forget_window(&oldest);
            self.hash = mix(self.hash, oldest.id.0.cast_unsigned());
            forgotten += 1;
        }
        forgotten
    }

    fn forget_window(&mut self, gone: &RememberedProducer) {
        if let Ok(partition) = self.partition_mut(gone.topic, gone.partition) {
            partition.forget_producer(gone.id);
        }
    }

    fn topic_mut(&mut self, id: TopicId) -> Result<&mut Topic, Refusal> {
        self.topics.get_mut(&id).map(Arc::make_mut).ok_or(Refusal::UnknownTopic)
    }

    /// The topic, and the placement of the partition.
    fn placement_of(&self, id: TopicId, index: i32) -> Result<(&Topic, &Placement), Refusal> {
        let topic = self.topics.get(&id).ok_or(Refusal::UnknownTopic)?;
        let at = usize::try_from(index).map_err(|_| Refusal::UnknownPartition)?;
        Ok((topic, topic.placement.get(at).ok_or(Refusal::UnknownPartition)?))
    }

    fn partition_mut(&mut self, id: TopicId, index: i32) -> Result<&mut Partition, Refusal> {
        let topic = self.topics.get_mut(&id).ok_or(Refusal::UnknownTopic)?;
        let at = usize::try_from(index).map_err(|_| Refusal::UnknownPartition)?;
        let partition = Arc::make_mut(topic).partitions.get_mut(at).ok_or(Refusal::UnknownPartition)?;
        Ok(Arc::make_mut(partition))
    }
}

impl Applied {
    /// The outcome is part of the hash, so two machines that assigned different offsets have
    /// different hashes.
    fn mixed_into(&self, hash: u64) -> u64 {
        let words: [i64; 4] = match self {
            Applied::TopicCreated { .. } => [1, 0, 0, 0],
            Applied::TopicDropped { .. } => [2, 0, 0, 0],
            Applied::Appended(placed) => {
                [3, placed.base_offset.0, placed.segment.0, i64::from(placed.epoch.0)]
            }
            Applied::Duplicate { base_offset, .. } => [4, base_offset.0, 0, 0],
            Applied::LogStart { offset, dropped, .. } => {
                [5, offset.0, i64::try_from(dropped.len()).unwrap_or(i64::MAX), 0]
            }
            Applied::EpochRaised { epoch, .. } => [6, i64::from(epoch.0), 0, 0],
            Applied::Producer { id, epoch } => [7, id.0, i64::from(epoch.0), 0],
            Applied::ProducersExpired(count) => [8, i64::try_from(*count).unwrap_or(i64::MAX), 0, 0],
            Applied::GroupChanged => [9, 0, 0, 0],
            Applied::PartitionsAdded { .. } => [10, 0, 0, 0],
            Applied::TopicAltered { .. } => [11, 0, 0, 0],
            Applied::SettingsAltered { .. } => [12, 0, 0, 0],
            Applied::ReplicasSet { .. } => [13, 0, 0, 0],
            Applied::BrokersSet => [14, 0, 0, 0],
            Applied::LeaderElected { moved, .. } => [15, i64::from(*moved), 0, 0],
            Applied::ClockTrusted => [19, 0, 0, 0],
            Applied::ExtentsReplaced { replaced, by, .. } => {
                let count = |extents: &[Extent]| i64::try_from(extents.len()).unwrap_or(i64::MAX);
                [
                    16,
                    count(replaced),
                    count(by),
                    by.first().map_or(0, |first| i64::from(first.id().generation)),
                ]
            }
            Applied::ProducerMemorySet { forgotten } => {
                [17, i64::try_from(*forgotten).unwrap_or(i64::MAX), 0, 0]
            }
            Applied::StoredAgain => [18, 0, 0, 0],
            Applied::Registered { node, incarnation } => {
                [20, i64::from(node.0), incarnation.cast_signed(), 0]
            }
            Applied::BrokerGone { node } => [21, i64::from(node.0), 0, 0],
            Applied::TransactionInitialized { producer } => {
                [22, producer.id.0, i64::from(producer.epoch.0), 0]
            }
            Applied::TransactionJoined => [23, 0, 0, 0],
            Applied::TransactionUnchanged { producer } => [24, producer.id.0, i64::from(producer.epoch.0), 0],
            Applied::TransactionEnded(ended) => {
                let hash = ended.placed.iter().fold(hash, |hash, placed| placed.mixed_into(hash));
                let (producer, end) = (ended.producer, i64::from(ended.marker.end == TransactionEnd::Commit));
                return mix_all(hash, [25, producer.id.0, i64::from(producer.epoch.0), end]);
            }
            Applied::MarkerWritten { placed, .. } => return mix_all(placed.mixed_into(hash), [26, 0, 0, 0]),
            Applied::OffsetsStaged => [28, 0, 0, 0],
            Applied::TransactionsExpired(count) => [27, i64::try_from(*count).unwrap_or(i64::MAX), 0, 0],
            Applied::FeatureSet { level } => [29, i64::from(*level), 0, 0],
            Applied::QuotasAltered { .. } => [30, 0, 0, 0],
            Applied::CredentialsAltered => [31, 0, 0, 0],
            Applied::AclsChanged { count } => [32, i64::try_from(*count).unwrap_or(i64::MAX), 0, 0],
            Applied::TokensChanged { count } => [33, i64::try_from(*count).unwrap_or(i64::MAX), 0, 0],
        };
        mix_all(hash, words)
    }
}

impl PlacedMarker {
    fn mixed_into(&self, hash: u64) -> u64 {
        let Placed { base_offset, segment, epoch, .. } = self.placed;
        let first = self.aborted.map_or(-1, |aborted| aborted.first.0);
        mix_all(hash, [base_offset.0, segment.0, i64::from(epoch.0), first])
    }
}

impl Refusal {
    /// A refusal in an entry is part of the hash, like an outcome.
    fn mixed_into(&self, hash: u64) -> u64 {
        let words: [i64; 4] = match self {
            Refusal::UnknownTopic => [-1, 0, 0, 0],
            Refusal::UnknownPartition => [-2, 0, 0, 0],
            Refusal::TopicExists => [-3, 0, 0, 0],
            Refusal::NameCollides { with } => [-4, i64::from(crc32c::crc32c(with.as_bytes())), 0, 0],
            Refusal::OutOfOrderSequence { expected, got } => [-5, i64::from(*expected), i64::from(*got), 0],
            Refusal::StaleProducerEpoch { current, got } => [-6, i64::from(current.0), i64::from(got.0), 0],
            Refusal::TooManyProducers => [-7, 0, 0, 0],
            Refusal::OffsetOutOfRange => [-8, 0, 0, 0],
            Refusal::OffsetsExhausted => [-9, 0, 0, 0],
            Refusal::NotLeader => [-10, 0, 0, 0],
            Refusal::OtherExtents => [-11, 0, 0, 0],
            Refusal::NotTheNextPartition { next } => [-12, i64::from(*next), 0, 0],
            Refusal::NoReplicaRuns => [-13, 0, 0, 0],
            Refusal::PreferredNotAvailable => [-14, 0, 0, 0],
            Refusal::NoEligibleLeader => [-15, 0, 0, 0],
            Refusal::NotYet => [-16, 0, 0, 0],
            Refusal::Malformed => [-17, 0, 0, 0],
            Refusal::OtherVersion => [-18, 0, 0, 0],
            Refusal::OtherIncarnation => [-19, 0, 0, 0],
            Refusal::BrokerRuns => [-20, 0, 0, 0],
            Refusal::UnknownTransactionalId => [-21, 0, 0, 0],
            Refusal::ProducerFenced => [-22, 0, 0, 0],
            Refusal::InvalidTransactionState => [-23, 0, 0, 0],
            Refusal::NotInTransaction => [-24, 0, 0, 0],
            Refusal::CoordinatorFenced => [-25, 0, 0, 0],
            Refusal::TooManyOpenTransactions => [-26, 0, 0, 0],
            Refusal::UnknownToken => [-27, 0, 0, 0],
        };
        mix_all(hash, words)
    }
}

fn mix_all(hash: u64, words: [i64; 4]) -> u64 {
    words.iter().fold(hash, |hash, word| mix(hash, word.cast_unsigned()))
}

/// One step of the rolling hash (the finaliser of splitmix64).
fn mix(hash: u64, word: u64) -> u64 {
    let mut mixed = (hash ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The offset after the last record of a batch; `None` if it exceeds the largest offset.
pub fn next_offset(base: Offset, last_offset_delta: i32) -> Option<Offset> {
    base.0.checked_add(i64::from(last_offset_delta))?.checked_add(1).map(Offset)
}

#[cfg(test)]
mod tests;
