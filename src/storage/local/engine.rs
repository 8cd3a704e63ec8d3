//! The engine carries out the rounds of the committer: it decides offsets and segments, applies, writes, and
//! after the sync publishes. It is synchronous and has no threads, so that a test can drive it through every
//! crash.
//!
//! - In `fsync` and `interval` mode, bytes for a partition that gets less than a megabyte in a round are also
//!   in the journal entry. So one sync of one file makes the round durable. The segment is written to the
//!   page cache, and synced before the journal is trimmed.
//! - Larger runs, and everything in `os` mode, are written to the segment before the entry that refers to
//!   them.
//! - If a segment cannot be written, its bytes stay in the journal and in memory. Later appends to its
//!   partition are refused until it can be written again (`unwritten.rs`). Only a failed write of the journal
//!   or a failed sync poisons the directory.

mod durable;
mod round;
mod unwritten;
mod write;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, RwLock, Weak, mpsc};
use std::time::Duration;

use super::author::Author;
use super::committer::{Committer, Work};
use super::directory::{Directory, PartitionKey};
use super::journal::Journal;
use super::keeper::Job;
use super::recovery;
use super::segment::{Appendage, PartitionDir, Segment};
use crate::config::{Durability, TopicSettings};
use crate::kernel::{self, Applied, Command, Placement, Refusal, Scope, Settings, Shard};
use crate::record::Header;
use crate::storage::StoreError;
use crate::storage::clocks::{Clocks, Now};
use crate::storage::counts::Counts;
use crate::storage::live::LiveSettings;
use crate::storage::partition::Partition;
use crate::storage::store::Tuning;
use crate::storage::topics::{Topic, Topics};
use crate::types::{IgnorePoison, LeaderEpoch, Offset, Timestamp, TopicId};
pub use durable::SnapshotFailure;
pub use round::Round;
use round::{Event, NewBatch};
use unwritten::Unwritten;
use write::is_relaxed;

pub(in crate::storage) struct Engine {
    pub(in crate::storage) shard: Shard,
    pub(in crate::storage) journal: Box<dyn Journal>,
    author: Author,
    pub(in crate::storage) directory: Arc<Directory>,
    pub(in crate::storage) image: Arc<RwLock<Arc<Topics>>>,
    /// The stored settings of all entities except topics, as published.
    pub(in crate::storage) stored_settings: Arc<RwLock<Arc<Settings>>>,
    /// The broker's current settings: those from its start, overridden by the stored ones.
    pub(in crate::storage) live: Arc<LiveSettings>,
    pub(in crate::storage) options: EngineOptions,
    pub(in crate::storage) clocks: Arc<Clocks>,
    pub(in crate::storage) committer: Weak<Committer>,
    pub(in crate::storage) keeper: mpsc::Sender<Job>,
    /// The newest batches of all partitions, oldest first, and their sizes. Batches that cannot be dropped when
    /// they reach the front, because no segment has them, are parked in `unwritten`.
    recent: VecDeque<(Arc<Partition>, usize)>,
    recent_bytes: usize,
    /// Segments written since the last snapshot. They are synced before the next snapshot is valid.
    dirty: BTreeMap<SegmentKey, Arc<Segment>>,
    /// Segments, not synced yet, with bytes that the journal only refers to.
    unsynced: BTreeMap<SegmentKey, Arc<Segment>>,
    /// Something was written after the last sync was taken.
    behind: bool,
    behind_bytes: u64,
    sync_announced: bool,
    unwritten: Unwritten,
    /// No new journal file could be created when one was needed. The reserve of the existing space is then
    /// kept for groups and for commands that free space.
    short_of_room: bool,
    since_snapshot: u64,
    since_look: u64,
    snapshot_running: bool,
    /// Also read from outside, without the engine's lock.
    pub(in crate::storage) poisoned: Arc<AtomicBool>,
    pub(in crate::storage) poisoned_by: Arc<OnceLock<String>>,
    /// The position of the last published round.
    pub(in crate::storage) position: Arc<AtomicU64>,
    pub(in crate::storage) counts: Arc<Counts>,
}

#[derive(Clone, Copy, Debug)]
pub struct EngineOptions {
    pub durability: Durability,
    pub tuning: Tuning,
}

/// The memory of a cached batch beside its bytes, so that small batches are not undercounted.
const RECENT_OVERHEAD: usize = 160;

/// The maximum age of the last `ClockTrusted` in the journal.
const NOTE_CLOCK: Duration = Duration::from_hours(1);

type SegmentKey = (TopicId, i32, Offset);

/// A partition with a new leader epoch.
type Moved = (Arc<Partition>, LeaderEpoch);

impl Engine {
    pub(in crate::storage) fn new(
        shard: Shard,
        journal: Box<dyn Journal>,
        directory: Arc<Directory>,
        live: Arc<LiveSettings>,
        options: EngineOptions,
        clocks: Arc<Clocks>,
        keeper: mpsc::Sender<Job>,
    ) -> Engine {
        let position = Arc::new(AtomicU64::new(shard.position()));
        let author = Author::after(&shard, directory.levels);
        let counts = Counts { producer_bytes: shard.producers().bytes().into(), ..Counts::default() };
        Engine {
            shard,
            journal,
            author,
            directory,
            image: Arc::default(),
            stored_settings: Arc::default(),
            live,
            options,
            clocks,
            committer: Weak::new(),
            keeper,
            recent: VecDeque::new(),
            recent_bytes: 0,
            dirty: BTreeMap::new(),
            unsynced: BTreeMap::new(),
            behind: false,
            behind_bytes: 0,
            sync_announced: false,
            unwritten: Unwritten::default(),
            short_of_room: false,
            since_snapshot: 0,
            since_look: 0,
            snapshot_running: false,
            poisoned: Arc::default(),
            poisoned_by: Arc::default(),
            position,
            counts: Arc::new(counts),
        }
    }

    pub(in crate::storage) fn begin(&mut self, work: Vec<Work>) -> Round {
        // A half-applied state must never be used, so a panic ends the process. The entry is not in the
        // journal yet, so a restart recovers the state before it.
        let guard = AbortOnPanic;
        let round = self.begin_round(work);
        std::mem::forget(guard);
        round
    }

    fn begin_round(&mut self, work: Vec<Work>) -> Round {
        let mut round = Round::default();
        let work = self.what_can_be_written(work);

        let clock = self.clocks.now();
        let draft = self.author.open(&self.shard, clock);
        let now = draft.time;
        let direct = self.partitions_written_directly(&work);
        let mut relaxed = true;
        let mut must_sync = false;
        for work in work {
            if self.may_forget_producers(&work) {
                self.note_clock(now, clock, &mut round);
            }
            match work {
                Work::Append(append) => {
                    let is_direct = direct.contains(&(append.partition.topic, append.partition.index));
                    let strict = !is_relaxed(&append.partition.settings());
                    if self.append(now, append, !is_direct, &mut round) {
                        relaxed &= !strict;
                    }
                }
                Work::Command { command, done } => match self.apply(now, command) {
                    Ok((command, applied)) => {
                        relaxed &= !applied.changed_something();
                        must_sync |= must_be_durable(&applied);
                        round.events.push(Event::Done { command, applied, done });
                    }
                    Err(refusal) => round.events.push(Event::Refused { done, refusal }),
                },
            }
        }
        if !round.changes_something() {
            return round;
        }
        if self.must_note(clock.trusted) {
            self.note_clock(now, clock, &mut round);
        }
        self.write_segments(&mut round);
        self.write_journal(&draft, &mut round);
        round.position = Some(self.shard.position());
        let waits = self.options.durability == Durability::Fsync && !relaxed;
        if round.failed.is_none() && (waits || must_sync) {
            round.sync = Some(self.take_sync());
        }
        round
    }

    fn apply(&mut self, now: Timestamp, command: Command) -> Result<(Command, Applied), Refusal> {
        self.author.apply(&mut self.shard, now, command)
    }

    /// Whether the next entry also records that the clock is trusted.
    pub(in crate::storage) fn must_note(&self, trusted: Option<Timestamp>) -> bool {
        let noted = self.shard.clock_trusted();
        trusted
            .is_some_and(|now| noted.is_none_or(|noted| now.since(noted).max(noted.since(now)) >= NOTE_CLOCK))
    }

    /// Adds to the entry that the clock is trusted, if it is and the entry does not have that yet.
    fn note_clock(&mut self, now: Timestamp, clock: Now, round: &mut Round) {
        if clock.trusted.is_some()
            && self.shard.clock_trusted() != Some(now)
            && let Ok((command, applied)) = self.apply(now, Command::ClockTrusted)
        {
            round.events.push(Event::Done { command, applied, done: Box::new(|_| {}) });
        }
    }

    /// After the sync: publishes the durable changes, wakes the waiters, and answers.
    pub(in crate::storage) fn finish(&mut self, round: Round) {
        let guard = AbortOnPanic;
        self.finish_round(round);
        std::mem::forget(guard);
    }

    fn finish_round(&mut self, round: Round) {
        if let Some(why) = &round.failed {
            self.poison(why);
        }
        if self.is_poisoned() {
            return round.events.into_iter().for_each(|event| event.fail(&StoreError::Poisoned));
        }
        if let Some(position) = round.synced {
            self.journal.synced(position);
        }
        if self.behind && self.options.durability != Durability::Os {
            self.sync_later();
        }
        let mut touched: Vec<Arc<Partition>> = Vec::new();
        let mut topics = None;
        let mut moved = Vec::new();
        for event in &round.events {
            match event {
                Event::Appended(NewBatch { partition, placed, pieces, .. }) => {
                    partition.publish(placed, pieces.clone());
                    self.counts.traffic.took(placed, pieces);
                    self.remember(partition, pieces.len() + RECENT_OVERHEAD);
                    if touched.last().is_none_or(|last| !Arc::ptr_eq(last, partition)) {
                        touched.push(Arc::clone(partition));
                    }
                }
                Event::Done { applied, .. } => self.publish(applied, &mut topics, &mut moved),
                Event::NotAppended { .. } | Event::Refused { .. } => {}
            }
        }
        if let Some(topics) = topics {
            topics.publish(&self.image);
        }
        if let Some(position) = round.position {
            self.position.store(position, Ordering::Release);
            self.counts.producer_bytes.store(self.shard.producers().bytes(), Ordering::Relaxed);
        }
        // The image is replaced first, so that a reader who sees the new epoch finds its leader there.
        for (partition, epoch) in moved {
            partition.publish_epoch(epoch);
            partition.wake();
        }
        touched.iter().for_each(|partition| partition.wake());
        round.events.into_iter().for_each(Event::answer);
        if self.since_snapshot >= self.options.tuning.snapshot_bytes {
            self.snapshot();
        }
        // If there is no space, the next append that needs some tries again.
        if !self.short_of_room
            && let Some(job) = self.journal.prepare()
        {
            drop(self.keeper.send(Job::Prepare(job)));
        }
    }

    /// Keeps a published batch in memory until newer ones need the space.
    fn remember(&mut self, partition: &Arc<Partition>, bytes: usize) {
        let released = self.unwritten.take_released();
        self.recent_bytes += bytes + released.iter().map(|(_, bytes)| bytes).sum::<usize>();
        self.recent.extend(released);
        self.recent.push_back((Arc::clone(partition), bytes));
        while self.recent_bytes > self.options.tuning.recent_bytes {
            let Some((partition, bytes)) = self.recent.pop_front() else { return };
            self.recent_bytes -= bytes;
            if !partition.forget_oldest() {
                self.unwritten.park(&partition, bytes);
            }
        }
    }

    /// Drops cached batches after a compaction. They are read from the new segments from now on.
    fn forget_before(&mut self, partition: &Arc<Partition>, offset: Offset) {
        let mut left = partition.forget_before(offset);
        self.recent.retain(|(other, bytes)| {
            let forgotten = left > 0 && Arc::ptr_eq(other, partition);
            if forgotten {
                left -= 1;
                self.recent_bytes -= bytes;
            }
            !forgotten
        });
    }

    /// Publishes the outcome of a command. Changed leader epochs go to `moved`: they are published after the
    /// image is replaced.
    fn publish(&mut self, applied: &Applied, topics: &mut Option<Topics>, moved: &mut Vec<Moved>) {
        match applied {
            Applied::TopicCreated { topic } => {
                if let Some(state) = self.shard.topic(*topic) {
                    let topic = self.topic(state, |_, _| VecDeque::new());
                    self.image_of(topics).insert(topic);
                }
            }
            Applied::TopicDropped { topic, .. } => self.publish_dropped(*topic, topics),
            Applied::PartitionsAdded { topic } => {
                let image = self.image_of(topics);
                // The shard is ahead of the image: the topic may be deleted by the end of the round.
                if let (Some(state), Some(before)) = (self.shard.topic(*topic), image.by_id(*topic)) {
                    image.insert(self.grown(before, state));
                }
            }
            Applied::LogStart { topic, partition, offset, dropped } => {
                let Some(partition) = self.published_partition(*topic, *partition) else { return };
                let segments = partition.publish_log_start(*offset, dropped.len());
                // Unwritten records below the new log start offset are not needed any more.
                self.unwritten.forget_segments(&segments);
                self.remove(segments);
            }
            Applied::ExtentsReplaced { topic, partition, replaced, by, end } => {
                let Some(partition) = self.published_partition(*topic, *partition) else { return };
                let replaced: Vec<_> = replaced.iter().map(kernel::Extent::id).collect();
                let by = by.iter().map(|state| Segment::existing(partition.dir(), state)).collect();
                let segments = partition.publish_replaced(&replaced, by);
                self.forget_before(&partition, *end);
                self.remove(segments);
            }
            Applied::EpochRaised { topic, partition, epoch } => {
                let Some(partition) = self.published_partition(*topic, *partition) else { return };
                partition.publish_epoch(*epoch);
                partition.wake();
            }
            Applied::TopicAltered { topic } => {
                let image = self.image_of(topics);
                if let (Some(known), Some(state)) = (image.by_id(*topic), self.shard.topic(*topic))
                    && let Some(altered) = self.altered(known, &state.overrides)
                {
                    image.insert(altered);
                }
                self.publish_placements(self.shard.topic(*topic), topics, moved);
            }
            Applied::SettingsAltered { scope } => self.publish_settings(scope, topics, moved),
            Applied::BrokersSet => self.publish_placements(self.shard.topics(), topics, moved),
            Applied::ReplicasSet { topic } | Applied::LeaderElected { topic, .. } => {
                self.publish_placements(self.shard.topic(*topic), topics, moved);
            }
            // Batches are published with their bytes.
            Applied::Appended(_)
            | Applied::Duplicate { .. }
            // Producers and groups are read from the state.
            | Applied::Producer { .. }
            | Applied::ProducersExpired(_)
            | Applied::ProducerMemorySet { .. }
            | Applied::GroupChanged
            | Applied::ClockTrusted
            | Applied::StoredAgain => {}
        }
    }

    fn publish_dropped(&mut self, topic: TopicId, topics: &mut Option<Topics>) {
        let Some(topic) = self.image_of(topics).remove(topic) else { return };
        let segments: Vec<_> =
            topic.partitions.iter().flat_map(|partition| partition.publish_deleted()).collect();
        segments.iter().for_each(|segment| segment.abandon());
        self.unwritten.forget_topic(topic.id);
        // At once and not on the keeper: the next command may create a topic with the same name.
        topic.partitions.iter().for_each(|partition| partition.dir().discard());
        drop(self.keeper.send(Job::EmptyTrash));
    }

    /// Removes the files of segments that are no longer published.
    fn remove(&self, segments: Vec<Arc<Segment>>) {
        segments.iter().for_each(|segment| segment.abandon());
        drop(self.keeper.send(Job::Remove { segments }));
    }

    fn publish_settings(&mut self, scope: &Scope, topics: &mut Option<Topics>, moved: &mut Vec<Moved>) {
        self.show_settings();
        match scope {
            Scope::DefaultBroker | Scope::Broker(_) => {
                self.clocks.confirm(self.live.at(self.shard.all_settings()).clock_confirmed);
                // The values of topics without an override may have changed.
                self.topics_follow_settings(self.image_of(topics));
            }
            Scope::Group(_) | Scope::ClientMetrics(_) => {}
        }
        if *scope == Scope::DefaultBroker {
            self.publish_placements(self.shard.topics(), topics, moved);
        }
    }

    /// The image that replaces the published one at the end of the round.
    fn image_of<'a>(&self, topics: &'a mut Option<Topics>) -> &'a mut Topics {
        topics.get_or_insert_with(|| self.image_to_change())
    }

    /// The topic with handles for its new partitions. They are empty, and like those of a new topic they get
    /// their directories with the first batch. Settings that were altered in the same round also apply to the
    /// old partitions.
    fn grown(&self, before: &Topic, state: &kernel::Topic) -> Arc<Topic> {
        let mut grown = self.topic(state, |_, _| VecDeque::new());
        let settings = Arc::new(grown.settings.clone());
        before.partitions.iter().for_each(|partition| partition.publish_settings(&settings));
        let known = before.partitions.iter().cloned();
        let topic = Arc::get_mut(&mut grown).expect("nobody else has it yet");
        topic.partitions.splice(..before.partitions.len().min(topic.partitions.len()), known);
        grown
    }

    /// Publishes the leaders and ISRs of topics, as they are at the end of the round.
    fn publish_placements<'a>(
        &self,
        states: impl IntoIterator<Item = &'a Arc<kernel::Topic>>,
        topics: &mut Option<Topics>,
        moved: &mut Vec<Moved>,
    ) {
        let image = self.image_of(topics);
        image.running = self.shard.running().into();
        for state in states {
            let Some(known) = image.by_id(state.id) else { continue };
            let epochs =
                known.partitions.iter().cloned().zip(state.partitions().map(kernel::Partition::epoch));
            moved.extend(epochs.filter(|(known, epoch)| known.ends().leader_epoch != *epoch));
            let is_same = |(known, now): (&Arc<Placement>, &Arc<Placement>)| Arc::ptr_eq(known, now);
            if known.placement.iter().zip(state.placement()).all(is_same) {
                continue;
            }
            let topic = Topic { placement: state.placement().to_vec(), ..Topic::clone(known) };
            image.insert(Arc::new(topic));
        }
    }

    /// Applies a change of the broker's settings to the clock and to the topics.
    pub(in crate::storage) fn settings_changed(&mut self) {
        self.clocks.confirm(self.live.at(self.shard.all_settings()).clock_confirmed);
        let mut topics = self.image_to_change();
        self.topics_follow_settings(&mut topics);
        topics.publish(&self.image);
    }

    fn topics_follow_settings(&self, topics: &mut Topics) {
        let altered: Vec<_> =
            topics.iter().filter_map(|known| self.altered(known, &known.overrides)).collect();
        altered.into_iter().for_each(|topic| topics.insert(topic));
    }

    /// The topic with these overrides; `None` if nothing changed. Its partitions get the new settings at
    /// once.
    fn altered(&self, known: &Topic, overrides: &BTreeMap<String, String>) -> Option<Arc<Topic>> {
        let settings = self.topic_settings(&known.name, overrides);
        if *overrides == known.overrides && settings == known.settings {
            return None;
        }
        let shared = Arc::new(settings.clone());
        known.partitions.iter().for_each(|partition| partition.publish_settings(&shared));
        Some(Arc::new(Topic { overrides: overrides.clone(), settings, ..known.clone() }))
    }

    fn topic_settings(&self, name: &str, overrides: &BTreeMap<String, String>) -> TopicSettings {
        let broker = self.live.at(self.shard.all_settings());
        let (settings, invalid) = TopicSettings::of_stored(overrides, &broker);
        for error in invalid {
            tracing::warn!(
                topic = %name, %error,
                "a stored setting is no longer valid and is ignored; set it again or remove it"
            );
        }
        settings
    }

    fn show_settings(&self) {
        let stored = Arc::clone(self.shard.all_settings());
        *self.stored_settings.write().ignoring_poison() = stored;
    }

    /// A copy of the published topics, for the next image.
    fn image_to_change(&self) -> Topics {
        Topics::clone(&self.image.read().ignoring_poison())
    }

    fn published_partition(&self, topic: TopicId, index: i32) -> Option<Arc<Partition>> {
        let image = self.image.read().ignoring_poison();
        image.by_id(topic)?.partition(index).cloned()
    }

    /// At start: publishes every topic that recovery found.
    pub(in crate::storage) fn show_all(
        &mut self,
        committer: Weak<Committer>,
        damaged: &BTreeMap<PartitionKey, String>,
        unwritten: recovery::Unwritten,
    ) {
        self.committer = committer;
        self.show_settings();
        let mut topics = Topics::of(self.shard.running());
        for state in self.shard.topics() {
            let topic = self.topic(state, |dir, partition| recovery::segments_of(dir, partition, &unwritten));
            for partition in &topic.partitions {
                if let Some(why) = damaged.get(&(partition.topic, partition.index)) {
                    partition.quarantine(why);
                }
            }
            topics.insert(topic);
        }
        for ((topic, index), held) in unwritten {
            if let Some(partition) = topics.by_id(topic).and_then(|topic| topic.partition(index)) {
                self.hold_unwritten(partition, held);
            }
        }
        topics.publish(&self.image);
    }

    /// Keeps records that recovery could not write in memory for readers, and writes them once that works.
    fn hold_unwritten(&mut self, partition: &Arc<Partition>, held: recovery::Held) {
        for ((id, at), bytes) in held.batches {
            let Some(segment) = partition.segments_of(&[id]).and_then(|mut found| found.pop()) else {
                return;
            };
            let Ok(header) = Header::parse(&bytes) else { return };
            let batch = Appendage {
                base_offset: header.base_offset,
                bytes: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
                max_timestamp: header.max_timestamp,
            };
            partition.hold(&header, &bytes);
            self.recent_bytes += bytes.len() + RECENT_OVERHEAD;
            self.recent.push_back((Arc::clone(partition), bytes.len() + RECENT_OVERHEAD));
            let run = unwritten::Run { segment, at, pieces: vec![bytes], batches: vec![batch] };
            self.unwritten.add(partition, run, held.failure);
        }
    }

    pub(in crate::storage) fn empty_trash(&self) {
        drop(self.keeper.send(Job::EmptyTrash));
    }

    pub(in crate::storage) fn remove_left(&self) {
        drop(self.keeper.send(Job::RemoveLeft));
    }

    /// The handle of a topic, with the segments that `segments` returns for each partition.
    pub(in crate::storage) fn topic(
        &self,
        state: &kernel::Topic,
        segments: impl Fn(&Arc<PartitionDir>, &kernel::Partition) -> VecDeque<Arc<Segment>>,
    ) -> Arc<Topic> {
        let name: Arc<str> = state.name.as_str().into();
        let settings = Arc::new(self.topic_settings(&name, &state.overrides));
        let partitions = state.partitions().zip(0..).map(|(partition, index)| {
            let dir = self.directory.partition_dir(&name, (state.id, index));
            let segments = segments(&dir, partition);
            let facts = (state.id, &name, &settings);
            Arc::new(Partition::new(facts, dir, partition, segments, Weak::clone(&self.committer)))
        });
        Arc::new(Topic {
            id: state.id,
            partitions: partitions.collect(),
            placement: state.placement().to_vec(),
            overrides: state.overrides.clone(),
            settings: TopicSettings::clone(&settings),
            name,
        })
    }
}

/// Whether the round must be durable at its end, in every mode, because files are removed or new directories are
/// allowed then.
fn must_be_durable(applied: &Applied) -> bool {
    match applied {
        Applied::TopicCreated { .. }
        | Applied::TopicDropped { .. }
        | Applied::PartitionsAdded { .. }
        | Applied::LogStart { .. }
        | Applied::ExtentsReplaced { .. } => true,
        Applied::Appended(_)
        | Applied::Duplicate { .. }
        | Applied::EpochRaised { .. }
        | Applied::Producer { .. }
        | Applied::ProducersExpired(_)
        | Applied::ProducerMemorySet { .. }
        | Applied::GroupChanged
        | Applied::TopicAltered { .. }
        | Applied::SettingsAltered { .. }
        | Applied::ReplicasSet { .. }
        | Applied::BrokersSet
        | Applied::LeaderElected { .. }
        | Applied::ClockTrusted
        | Applied::StoredAgain => false,
    }
}

struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        tracing::error!(
            "a panic in the engine: the process stops; a restart recovers everything that was acknowledged"
        );
        crate::telemetry::flush();
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::io::Errno;
    use tokio::sync::oneshot;

    use super::*;
    use crate::config::BrokerSettings;
    use crate::record::{self, BatchBuilder, Rules};
    use crate::storage::local::committer::AppendWork;
    use crate::storage::local::fs::{Fault, Operation, SimFs};
    use crate::storage::{Isolation, NewTopic, Place, ReadRange, Store, StoreOptions};
    use crate::types::NodeId;

    const RULES: Rules = Rules {
        max_message_bytes: u32::MAX,
        segment_bytes: u64::MAX,
        max_decompressed_bytes: u32::MAX,
        compression: None,
        compacted: false,
        log_append_time: false,
        now: Timestamp(0),
        timestamp_before_max: Duration::MAX,
        timestamp_after_max: Duration::MAX,
    };

    /// Appends `count` batches of one record each in one round.
    fn append(store: &Store, partition: &Arc<Partition>, count: usize) {
        let work = (0..count).map(|_| {
            let batch = BatchBuilder::new().value(Timestamp(0), "v").build();
            let batch = record::check_produced(batch, &RULES).unwrap();
            let (partition, leadership) = (Arc::clone(partition), partition.ends().leader_epoch);
            Work::Append(AppendWork { partition, batch, leadership, done: oneshot::channel().0 })
        });
        let committer = store.committer();
        let mut round = committer.engine().begin(work.collect());
        round.sync();
        committer.engine().finish(round);
    }

    #[tokio::test]
    async fn batches_that_only_memory_has_are_looked_at_once_for_all_that_come_after_them() {
        let fs = SimFs::new(1);
        let place = Place::Simulated(Arc::new(fs.clone()), "data".into());
        let mut options = StoreOptions::new(place, Arc::new(BrokerSettings::default()));
        options.tuning.recent_bytes = 10_000;
        let store = Store::open(options).unwrap();
        let new = NewTopic { name: "t".into(), partitions: 2, overrides: BTreeMap::new() };
        let topic = store.create_topic(new).await.unwrap();
        append(&store, &topic.partitions[0], 20);
        let full = Errno::NOSPC;
        fs.fail(Fault { path: "t-0".into(), error: full, lasting: true, ..Fault::next(Operation::Write) });
        append(&store, &topic.partitions[0], 1_000);
        append(&store, &topic.partitions[1], 1_000);
        let held = |store: &Store| {
            let engine = store.committer().engine();
            (engine.recent.len(), engine.recent_bytes, engine.unwritten.is_empty())
        };
        let (count, bytes, _) = held(&store);
        assert!(count < 100 && bytes <= 10_000, "{count} {bytes}");
        for from in [0, 20, 21, 500, 1_019] {
            let (from, isolation) = (Offset(from), Isolation::ReadUncommitted);
            let range = ReadRange { from, max_bytes: 1, at_least_one_batch: true, isolation };
            assert_eq!(topic.partitions[0].read(range).await.unwrap().next, Offset(from.0 + 1));
        }

        fs.heal();
        append(&store, &topic.partitions[0], 1);
        append(&store, &topic.partitions[1], 1_000);
        let (count, bytes, are_written) = held(&store);
        assert!(are_written && count < 100 && bytes <= 10_000, "{count} {bytes}");
        let cached = |at: usize| topic.partitions[at].log().cached();
        assert_eq!(cached(0) + cached(1), count, "each is known once");
    }

    #[tokio::test]
    async fn partitions_added_and_settings_altered_in_one_round_are_both_seen_by_old_and_new_ones() {
        let settings = Arc::new(BrokerSettings::default());
        let store = Store::open(StoreOptions::new(Place::Memory, settings)).unwrap();
        let new = NewTopic { name: "t".into(), partitions: 1, overrides: BTreeMap::new() };
        let topic = store.create_topic(new).await.unwrap().id;
        let add = Command::AddPartitions { topic, first: 1, replicas: vec![vec![NodeId(1)]] };
        let changes = BTreeMap::from([("max.message.bytes".to_owned(), Some("77".to_owned()))]);
        let alter = Command::AlterTopic { topic, changes };
        let work = [add, alter].map(|command| Work::Command { command, done: Box::new(|_| {}) });
        let committer = store.committer();
        let round = committer.engine().begin(work.into());
        committer.engine().finish(round);
        let topics = store.topics();
        let limits =
            topics.by_id(topic).unwrap().partitions.iter().map(|one| one.settings().max_message_bytes);
        assert_eq!(limits.collect::<Vec<_>>(), [77, 77]);
    }

    #[tokio::test]
    async fn a_batch_that_is_queued_when_the_leader_changes_is_refused_and_its_retry_is_appended() {
        let mut options = StoreOptions::new(Place::Memory, Arc::new(BrokerSettings::default()));
        let (one, two) = (NodeId(1), NodeId(2));
        options.brokers = vec![one, two];
        let store = Store::open(options).unwrap();
        let placed = store.create_placed_topic("t".into(), BTreeMap::new(), vec![vec![one, two]]);
        let topic = placed.await.unwrap();
        let partition = Arc::clone(&topic.partitions[0]);
        let batch = BatchBuilder::new().value(Timestamp(0), "v").build();
        let batch = record::check_produced(batch, &RULES).unwrap();
        let (done, mut answer) = oneshot::channel();
        let leadership = partition.ends().leader_epoch;
        let command = Command::SetBrokers { running: vec![two], election: kernel::Election::default() };
        let moves = Work::Command { command, done: Box::new(|_| {}) };
        let queued = Work::Append(AppendWork { partition, batch, leadership, done });
        let committer = store.committer();
        let round = committer.engine().begin(vec![moves, queued]);
        committer.engine().finish(round);
        let refused = crate::storage::AppendError::Refused(Refusal::NotLeader);
        assert_eq!(answer.try_recv().unwrap().err(), Some(refused));
        append(&store, &topic.partitions[0], 1);
        assert_eq!(topic.partitions[0].ends().high_watermark, Offset(1));
    }

    #[tokio::test]
    async fn a_leader_that_changes_in_the_round_of_new_partitions_is_published_for_the_old_ones_too() {
        let settings = BrokerSettings::default();
        let mut options = StoreOptions::new(Place::Memory, Arc::new(settings));
        let (one, two) = (NodeId(1), NodeId(2));
        options.brokers = vec![one, two];
        let store = Store::open(options).unwrap();
        let placed = store.create_placed_topic("t".into(), BTreeMap::new(), vec![vec![one, two]]);
        let topic = placed.await.unwrap().id;
        let add = Command::AddPartitions { topic, first: 1, replicas: vec![vec![two]] };
        let stop = Command::SetBrokers { running: vec![two], election: kernel::Election::default() };
        let work = [add, stop].map(|command| Work::Command { command, done: Box::new(|_| {}) });
        let committer = store.committer();
        let round = committer.engine().begin(work.into());
        committer.engine().finish(round);
        let topics = store.topics();
        let topic = topics.by_id(topic).unwrap();
        assert_eq!(
            topic.placement.iter().map(|placement| placement.leader).collect::<Vec<_>>(),
            [Some(two); 2]
        );
        assert_eq!(topic.partitions[0].ends().leader_epoch, LeaderEpoch(1));
    }
}
