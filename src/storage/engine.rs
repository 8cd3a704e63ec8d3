//! What the committer does with a round: decide places, apply, write, and after the sync publish.
//! Synchronous and without threads, so that a test can drive it through every crash.
//!
//! - In `fsync` and `interval` mode a segment that gets less than a megabyte in a round has
//!   its bytes in the journal entry too: one sync of one file makes the round durable, and the
//!   segment (written to the page cache) is synced before the journal is trimmed.
//! - Larger runs, and everything in `os` mode, are written to the segment before the entry that
//!   refers to them.
//! - A segment that cannot be written leaves its bytes in the journal and in memory: later appends
//!   are refused until the disk has room again. Only a failed journal write or a failed sync
//!   poisons the directory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock, Weak, mpsc};

use bytes::{Bytes, BytesMut};
use tokio::sync::oneshot;

use super::committer::{AppendWork, Committer, Done, ROUND_BYTES, Work};
use super::directory::{Directory, PartitionKey};
use super::journal::{Entry, Journal, Prepare, SyncJob};
use super::keeper::{self, Job};
use super::partition::{Appended, Partition, Pieces};
use super::segment::{Appendage, Segment};
use super::store::Tuning;
use super::topics::{Topic, Topics};
use super::{AppendError, StoreError, recovery, snapshot};
use crate::config::{BrokerSettings, Durability, TopicSettings};
use crate::kernel::{self, Applied, Command, Commit, Placed, ProducerStamp, Refusal, Shard};
use crate::record;
use crate::time::Clock;
use crate::types::{Offset, Timestamp, TopicId};

/// A batch below this size is copied into a buffer of its own, so that it does not keep alive
/// what else came with it.
const COPY_BELOW: usize = 16 << 10;

/// How much is written before a sync that no ack waits for.
const SYNC_AFTER: u64 = 1 << 20;

/// How much is written between two looks at the space that is left.
const LOOK_AT_SPACE: u64 = 4 << 20;

/// Bytes that the journal only refers to are read at a start after a crash, not written again:
/// they count for less when it is decided that a snapshot is due.
const REFERRED_WEIGHT: usize = 16;

/// What a command other than a batch's bytes may take in the journal, as a bound.
const COMMIT_BYTES: usize = 160;

pub(super) struct Engine {
    pub(super) shard: Shard,
    pub(super) journal: Box<dyn Journal>,
    pub(super) directory: Arc<Directory>,
    pub(super) image: Arc<RwLock<Arc<Topics>>>,
    pub(super) settings: Arc<BrokerSettings>,
    pub(super) options: EngineOptions,
    pub(super) clock: Clock,
    pub(super) committer: Weak<Committer>,
    pub(super) keeper: mpsc::Sender<Job>,
    /// The newest batches of all partitions, oldest first, and their bytes.
    recent: VecDeque<(Arc<Partition>, usize)>,
    recent_bytes: usize,
    /// Segments written since the last snapshot: synced before the next one counts.
    dirty: BTreeMap<SegmentKey, Arc<Segment>>,
    /// Segments that hold bytes the journal only refers to, not synced yet.
    unsynced: BTreeMap<SegmentKey, Arc<Segment>>,
    /// Something was written that no sync has covered.
    behind: bool,
    behind_bytes: u64,
    sync_announced: bool,
    unwritten: Vec<Unwritten>,
    since_snapshot: u64,
    since_look: u64,
    snapshot_running: bool,
    /// Looked at from outside, too, without the engine's lock.
    pub(super) poisoned: Arc<AtomicBool>,
}

#[derive(Clone, Copy, Debug)]
pub struct EngineOptions {
    pub durability: Durability,
    pub tuning: Tuning,
}

type SegmentKey = (TopicId, i32, Offset);

/// Bytes that are safe in the journal, but have not found room in their segment.
struct Unwritten {
    segment: Arc<Segment>,
    at: u64,
    pieces: Vec<Bytes>,
    batches: Vec<Appendage>,
}

/// A round between its write and its end.
#[derive(Default)]
pub(super) struct Round {
    events: Vec<Event>,
    sync: Option<Sync>,
    /// How far the journal is durable since this round's sync.
    synced: Option<u64>,
    failed: Option<String>,
}

enum Event {
    Appended {
        partition: Arc<Partition>,
        placed: Placed,
        pieces: Pieces,
        done: Answer<Appended, AppendError>,
    },
    NotAppended {
        done: Answer<Appended, AppendError>,
        said: Result<Appended, AppendError>,
    },
    Done {
        command: Command,
        applied: Applied,
        done: Done,
    },
    Refused {
        done: Done,
        refusal: Refusal,
    },
}

type Answer<T, E> = oneshot::Sender<Result<T, E>>;

/// What makes a round durable.
pub(super) struct Sync {
    segments: Vec<Arc<Segment>>,
    journal: SyncJob,
}

impl Sync {
    /// Blocks until the disk is done; returns how far the journal is durable then.
    pub(super) fn run(self) -> Result<u64, String> {
        for segment in &self.segments {
            segment.sync().map_err(|error| format!("sync of a segment: {error}"))?;
        }
        self.journal.run().map_err(|error| error.to_string())
    }
}

impl Round {
    pub(super) fn wants_sync(&self) -> bool {
        self.sync.is_some()
    }

    pub(super) fn sync(&mut self) {
        match self.sync.take().map(Sync::run) {
            Some(Ok(position)) => self.synced = Some(position),
            Some(Err(why)) => self.failed = Some(why),
            None => {}
        }
    }
}

/// Bytes of one round that lie behind each other in one segment.
struct Run {
    segment: Arc<Segment>,
    at: u64,
    pieces: Vec<Bytes>,
    batches: Vec<Appendage>,
    /// Which of the round's commands they belong to.
    commits: Vec<usize>,
    direct: bool,
}

impl Engine {
    pub(super) fn new(
        shard: Shard,
        journal: Box<dyn Journal>,
        directory: Arc<Directory>,
        settings: Arc<BrokerSettings>,
        options: EngineOptions,
        clock: Clock,
        keeper: mpsc::Sender<Job>,
    ) -> Engine {
        Engine {
            shard,
            journal,
            directory,
            image: Arc::default(),
            settings,
            options,
            clock,
            committer: Weak::new(),
            keeper,
            recent: VecDeque::new(),
            recent_bytes: 0,
            dirty: BTreeMap::new(),
            unsynced: BTreeMap::new(),
            behind: false,
            behind_bytes: 0,
            sync_announced: false,
            unwritten: Vec::new(),
            since_snapshot: 0,
            since_look: 0,
            snapshot_running: false,
            poisoned: Arc::default(),
        }
    }

    pub(super) fn begin(&mut self, work: Vec<Work>) -> Round {
        // State that was applied by half must never be looked at again: the entry is not in the
        // journal yet, so a restart is back at the state before it.
        let guard = AbortOnPanic;
        let round = self.begin_round(work);
        std::mem::forget(guard);
        round
    }

    fn begin_round(&mut self, work: Vec<Work>) -> Round {
        let mut round = Round::default();
        let wanted = work.iter().map(wanted_room).sum();
        if let Some(refusal) = self.cannot_write(wanted) {
            work.into_iter().for_each(|work| work.fail(refusal.clone()));
            return round;
        }

        let now = self.clock.now();
        let direct = self.partitions_written_directly(&work);
        let mut commands: Vec<Command> = Vec::new();
        let mut relaxed = true;
        let mut deletes = false;
        for work in work {
            match work {
                Work::Append(append) => {
                    let is_direct = direct.contains(&(append.partition.topic, append.partition.index));
                    let strict = !is_relaxed(&append.partition.settings);
                    if let Some(command) = self.append(now, append, !is_direct, &mut round) {
                        relaxed &= !strict;
                        commands.push(command);
                    }
                }
                Work::Command { command, done } => match self.shard.apply(now, &command) {
                    Ok(applied) => {
                        relaxed = false;
                        // Files go when the round ends: by then it is durable, in every mode.
                        deletes |= matches!(applied, Applied::TopicDropped | Applied::LogStart { .. });
                        commands.push(command.clone());
                        round.events.push(Event::Done { command, applied, done });
                    }
                    Err(refusal) => round.events.push(Event::Refused { done, refusal }),
                },
            }
        }
        if commands.is_empty() {
            return round;
        }
        self.write_segments(&round, &mut commands);
        self.write_journal(now, &commands, &mut round);
        let waits = self.options.durability == Durability::Fsync && !relaxed;
        if round.failed.is_none() && (waits || deletes) {
            round.sync = Some(self.take_sync());
        }
        round
    }

    /// Everything that was written so far and no sync has covered.
    pub(super) fn take_sync(&mut self) -> Sync {
        self.behind = false;
        self.sync_announced = false;
        let segments = std::mem::take(&mut self.unsynced).into_values().collect();
        Sync { segments, journal: self.journal.sync_job() }
    }

    /// After the sync: shows what is durable, wakes who waits, answers.
    pub(super) fn finish(&mut self, round: Round) {
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
        for event in &round.events {
            match event {
                Event::Appended { partition, placed, pieces, .. } => {
                    partition.publish(placed, pieces.clone());
                    self.remember(partition, pieces.len());
                    if touched.last().is_none_or(|last| !Arc::ptr_eq(last, partition)) {
                        touched.push(Arc::clone(partition));
                    }
                }
                Event::Done { command, applied, .. } => self.publish(command, applied, &mut topics),
                Event::NotAppended { .. } | Event::Refused { .. } => {}
            }
        }
        if let Some(topics) = topics {
            *self.image.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(topics);
        }
        touched.iter().for_each(|partition| partition.wake());
        round.events.into_iter().for_each(Event::answer);
        if self.since_snapshot >= self.options.tuning.snapshot_bytes {
            self.snapshot();
        }
        if let Some(job) = self.journal.prepare() {
            drop(self.keeper.send(Job::Prepare(job)));
        }
    }

    /// Called when nothing waits: says in the journal how far it is synced, so that damage to what
    /// was acknowledged is never taken for a torn tail.
    pub(super) fn idle(&mut self) {
        if !self.is_poisoned()
            && let Err(error) = self.journal.mark()
        {
            self.poison(&error.to_string());
        }
    }

    /// In a mode where acks do not wait: whether a sync is due.
    pub(super) fn is_behind(&self) -> bool {
        self.behind && !self.is_poisoned()
    }

    /// Acks did not wait: the sync comes after a moment, or once enough was written.
    fn sync_later(&mut self) {
        let job = match self.behind_bytes >= SYNC_AFTER {
            true => Job::SyncNow,
            false if self.sync_announced => return,
            false => Job::SyncSoon,
        };
        self.sync_announced = true;
        self.behind_bytes = 0;
        drop(self.keeper.send(job));
    }

    pub(super) fn synced(&mut self, outcome: Result<u64, String>) {
        match outcome {
            Ok(position) => self.journal.synced(position),
            Err(why) => self.poison(&why),
        }
    }

    pub(super) fn poison(&mut self, why: &str) {
        if !self.poisoned.swap(true, Ordering::AcqRel) {
            tracing::error!(
                %why,
                "the data directory takes no more writes: what is acknowledged is safe and can be read; \
                 check the disk, then restart"
            );
        }
    }

    pub(super) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// Asks for a snapshot of the state as it is: the keeper writes it aside.
    pub(super) fn snapshot(&mut self) {
        if self.snapshot_running || self.is_poisoned() || !self.unwritten.is_empty() {
            return;
        }
        self.snapshot_running = true;
        self.since_snapshot = 0;
        let segments = std::mem::take(&mut self.dirty).into_values().collect();
        // Only gone when we are.
        drop(self.keeper.send(Job::Snapshot { shard: Box::new(self.shard.clone()), segments }));
    }

    /// The snapshot is safe, or the keeper says why not.
    pub(super) fn snapshot_done(&mut self, outcome: Result<u64, SnapshotFailure>) {
        self.snapshot_running = false;
        match outcome {
            Ok(oldest) => {
                self.journal.trim(oldest + 1);
                // The snapshot synced everything that was not written to since.
                self.unsynced.retain(|key, _| self.dirty.contains_key(key));
            }
            Err(SnapshotFailure::Sync(error)) => self.poison(&format!("sync of a segment failed: {error}")),
            Err(SnapshotFailure::Write { error, segments }) => {
                tracing::warn!(%error, "cannot write a snapshot; trying again later");
                self.since_snapshot = self.options.tuning.snapshot_bytes / 2;
                for segment in segments {
                    self.dirty.insert(segment.key(), segment);
                }
            }
        }
    }

    /// Tries again what found no room.
    pub(super) fn write_unwritten(&mut self) {
        let waiting = std::mem::take(&mut self.unwritten);
        for unwritten in waiting {
            let Unwritten { segment, at, pieces, batches } = unwritten;
            match segment.append(&pieces, at, &batches) {
                Ok(()) => drop(self.dirty.insert(segment.key(), segment)),
                Err(_) => self.unwritten.push(Unwritten { segment, at, pieces, batches }),
            }
        }
    }

    fn cannot_write(&mut self, wanted: usize) -> Option<StoreError> {
        if self.is_poisoned() {
            return Some(StoreError::Poisoned);
        }
        if !self.unwritten.is_empty() {
            self.write_unwritten();
        }
        if self.directory.is_full() {
            self.directory.look_at_space();
        }
        if !self.unwritten.is_empty() || self.directory.is_full() {
            return Some(StoreError::Full);
        }
        // Room for all of it, also for what is meant for a segment: should that be full, the
        // journal is where it goes. Only a single batch beyond every round's size may do without.
        let wanted = if wanted > ROUND_BYTES { wanted.min(COMMIT_BYTES) } else { wanted };
        if self.journal.room_for(wanted as u64) {
            return None;
        }
        if let Some(Err(error)) = self.journal.prepare().map(Prepare::run) {
            tracing::warn!(%error, "no room for the journal; writes are refused until there is");
        }
        (!self.journal.room_for(wanted as u64)).then_some(StoreError::Full)
    }

    /// Those that get so much in this round that a sync of their own is cheaper than the detour.
    fn partitions_written_directly(&self, work: &[Work]) -> Vec<(TopicId, i32)> {
        let direct_from = match self.options.durability {
            Durability::Fsync | Durability::Interval => self.options.tuning.inline_below,
            Durability::Os => 0,
        };
        let mut bytes: BTreeMap<(TopicId, i32), usize> = BTreeMap::new();
        for work in work {
            if let Work::Append(append) = work {
                // The next sync of the journal covers what no ack waits for; it lies there whole.
                if direct_from > 0 && is_relaxed(&append.partition.settings) {
                    continue;
                }
                let key = (append.partition.topic, append.partition.index);
                *bytes.entry(key).or_default() += append.batch.bytes.len();
            }
        }
        bytes.into_iter().filter(|(_, bytes)| *bytes >= direct_from).map(|(key, _)| key).collect()
    }

    /// Applies one batch; `None` where it changed nothing.
    fn append(
        &mut self,
        now: Timestamp,
        work: AppendWork,
        inline: bool,
        round: &mut Round,
    ) -> Option<Command> {
        let AppendWork { partition, batch, done } = work;
        let header = &batch.header;
        let commit = Commit {
            topic: partition.topic,
            partition: partition.index,
            bytes: u32::try_from(batch.bytes.len()).unwrap_or(u32::MAX),
            last_offset_delta: header.last_offset_delta,
            max_timestamp: header.max_timestamp,
            producer: header.producer().map(|producer| ProducerStamp {
                id: producer.id,
                epoch: producer.epoch,
                sequence: producer.base_sequence,
            }),
            roll: self.rolls(now, &partition, &batch),
            inline,
            crc: header.crc,
        };
        let command = Command::Commit(commit);
        let said = match self.shard.apply(now, &command) {
            Ok(Applied::Appended(placed)) => {
                let prefix = record::prefix(placed.base_offset, header.batch_length, placed.epoch);
                let pieces = placed_batch(prefix, &batch.bytes);
                round.events.push(Event::Appended { partition, placed, pieces, done });
                return Some(command);
            }
            Ok(Applied::Duplicate { base_offset, log_start }) => Ok(Appended { base_offset, log_start }),
            Ok(other) => unreachable!("a commit is not answered by {other:?}"),
            Err(Refusal::UnknownTopic | Refusal::UnknownPartition) => Err(AppendError::NotServing),
            Err(refusal) => Err(AppendError::Refused(refusal)),
        };
        round.events.push(Event::NotAppended { done, said });
        None
    }

    /// A segment ends at its size, at its age, or where offsets would pass 32 bits from its base.
    fn rolls(&self, now: Timestamp, partition: &Partition, batch: &record::Checked) -> bool {
        let Some(state) = self.shard.partition(partition.topic, partition.index) else { return false };
        let Some(newest) = state.segments().last() else { return true };
        let settings = &partition.settings;
        let size = newest.bytes.saturating_add(batch.bytes.len() as u64);
        let last = state.end().0.saturating_add(i64::from(batch.header.last_offset_delta));
        size > settings.segment_bytes.min(self.options.tuning.segment_bytes)
            || now.since(newest.opened) >= settings.segment_age
            || last.saturating_sub(newest.base.0) > i64::from(i32::MAX)
    }

    /// Writes the round's batches to their segments. What finds no room stays in the journal
    /// entry, also where it was meant to be written directly.
    fn write_segments(&mut self, round: &Round, commands: &mut [Command]) {
        for run in self.runs(round, commands) {
            let Run { segment, at, pieces, batches, commits, direct } = run;
            match segment.append(&pieces, at, &batches) {
                Ok(()) => {
                    if direct {
                        self.unsynced.insert(segment.key(), Arc::clone(&segment));
                    }
                    self.dirty.insert(segment.key(), segment);
                }
                Err(error) => {
                    tracing::warn!(%error, "no room in a segment; the journal keeps the records, writes are refused until there is");
                    for commit in commits {
                        if let Some(Command::Commit(commit)) = commands.get_mut(commit) {
                            commit.inline = true;
                        }
                    }
                    self.unwritten.push(Unwritten { segment, at, pieces, batches });
                }
            }
        }
    }

    fn runs(&self, round: &Round, commands: &[Command]) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        let mut of_segment: BTreeMap<SegmentKey, usize> = BTreeMap::new();
        let commits = commands.iter().enumerate().filter_map(|(at, command)| match command {
            Command::Commit(commit) => Some((at, commit)),
            _ => None,
        });
        let appended = round.events.iter().filter_map(|event| match event {
            Event::Appended { partition, placed, pieces, .. } => Some((partition, placed, pieces)),
            _ => None,
        });
        for ((command, commit), (partition, placed, pieces)) in commits.zip(appended) {
            let key = (partition.topic, partition.index, placed.segment);
            let run = *of_segment.entry(key).or_insert_with(|| {
                let segment =
                    partition.segment_for(placed, || self.directory.new_segment(partition, placed.segment));
                let direct = !commit.inline;
                runs.push(Run {
                    segment,
                    at: placed.at,
                    pieces: vec![],
                    batches: vec![],
                    commits: vec![],
                    direct,
                });
                runs.len() - 1
            });
            let run = &mut runs[run];
            run.commits.push(command);
            run.pieces.extend(pieces.iter().cloned());
            run.batches.push(Appendage {
                base_offset: placed.base_offset,
                bytes: commit.bytes,
                max_timestamp: commit.max_timestamp,
            });
        }
        runs
    }

    fn write_journal(&mut self, now: Timestamp, commands: &[Command], round: &mut Round) {
        let encoded = postcard::to_stdvec(commands).expect("commands are plain data");
        self.shard.close_round(&encoded);
        let inline = commands.iter().filter_map(|command| match command {
            Command::Commit(commit) => Some(commit.inline),
            _ => None,
        });
        let appended = round.events.iter().filter_map(|event| match event {
            Event::Appended { pieces, .. } => Some(pieces),
            _ => None,
        });
        let mut data: Vec<Bytes> = Vec::new();
        let (mut written, mut referred) = (encoded.len(), 0);
        for (inline, pieces) in inline.zip(appended) {
            written += pieces.len();
            match inline {
                true => data.extend(pieces.iter().cloned()),
                false => referred += pieces.len(),
            }
        }
        self.behind = true;
        self.behind_bytes += written as u64;
        self.since_snapshot += (written - referred + referred / REFERRED_WEIGHT) as u64;
        self.since_look += written as u64;
        if self.since_look >= LOOK_AT_SPACE {
            self.since_look = 0;
            self.directory.look_at_space();
        }
        let entry = Entry {
            position: self.shard.position(),
            time: now,
            hash: self.shard.hash(),
            commands: &encoded,
            data: &data,
        };
        if let Err(error) = self.journal.append(&entry) {
            round.failed = Some(error.to_string());
        }
    }

    /// Keeps a published batch in memory until newer ones need the room.
    fn remember(&mut self, partition: &Arc<Partition>, bytes: usize) {
        self.recent.push_back((Arc::clone(partition), bytes));
        self.recent_bytes += bytes;
        // What is not in its segment yet can only be read from here.
        while self.recent_bytes > self.options.tuning.recent_bytes && self.unwritten.is_empty() {
            let Some((partition, bytes)) = self.recent.pop_front() else { return };
            partition.forget_oldest();
            self.recent_bytes -= bytes;
        }
    }

    fn publish(&mut self, command: &Command, applied: &Applied, topics: &mut Option<Topics>) {
        let image = || Topics::clone(&self.image.read().unwrap_or_else(std::sync::PoisonError::into_inner));
        let gone = match (command, applied) {
            (Command::CreateTopic(create), Applied::TopicCreated) => {
                if let Some(state) = self.shard.topic(create.id) {
                    let topic = self.topic(state, |_, _| VecDeque::new());
                    topics.get_or_insert_with(image).insert(topic);
                }
                return;
            }
            (Command::DropTopic { topic }, Applied::TopicDropped) => {
                let Some(topic) = topics.get_or_insert_with(image).remove(*topic) else { return };
                let segments: Vec<_> =
                    topic.partitions.iter().flat_map(|partition| partition.publish_deleted()).collect();
                segments.iter().for_each(|segment| segment.abandon());
                self.unwritten.retain(|unwritten| unwritten.segment.key().0 != topic.id);
                // Now, not later: a new topic of the same name may be the next command.
                self.directory.discard_topic(&topic);
                Job::EmptyTrash
            }
            (Command::SetLogStart { topic, partition, .. }, Applied::LogStart { offset, dropped }) => {
                let Some(partition) = self.published_partition(*topic, *partition) else { return };
                let segments = partition.publish_log_start(*offset, dropped.len());
                segments.iter().for_each(|segment| segment.abandon());
                Job::Remove { segments }
            }
            (Command::RaiseEpoch { topic, partition }, Applied::Epoch(epoch)) => {
                let Some(partition) = self.published_partition(*topic, *partition) else { return };
                return partition.publish_epoch(*epoch);
            }
            _ => return,
        };
        drop(self.keeper.send(gone));
    }

    fn published_partition(&self, topic: TopicId, index: i32) -> Option<Arc<Partition>> {
        let image = self.image.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        image.by_id(topic)?.partition(index).cloned()
    }

    /// At start: shows every topic that recovery found.
    pub(super) fn show_all(&mut self, committer: Weak<Committer>, damaged: &BTreeMap<PartitionKey, String>) {
        self.committer = committer;
        let mut topics = Topics::default();
        for state in self.shard.topics() {
            let topic = self.topic(state, |index, partition| {
                recovery::segments_of(&self.directory, state, index, partition)
            });
            for partition in &topic.partitions {
                if let Some(why) = damaged.get(&(partition.topic, partition.index)) {
                    partition.quarantine(why);
                }
            }
            topics.insert(topic);
        }
        *self.image.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(topics);
    }

    pub(super) fn empty_trash(&self) {
        drop(self.keeper.send(Job::EmptyTrash));
    }

    /// A snapshot of the very end, on the caller's thread.
    pub(super) fn last_snapshot(&mut self) -> std::io::Result<()> {
        for segment in std::mem::take(&mut self.dirty).into_values() {
            segment.sync()?;
            keeper::save_index(&segment);
        }
        if self.unwritten.is_empty()
            && !self.snapshot_running
            && self.options.tuning.snapshot_bytes < u64::MAX
        {
            snapshot::write(&*self.directory.fs, &self.directory.snapshots(), &self.shard)?;
        }
        Ok(())
    }

    /// The handle of a topic, with the segments that `segments` gives for each partition.
    pub(super) fn topic(
        &self,
        state: &kernel::Topic,
        mut segments: impl FnMut(i32, &kernel::Partition) -> VecDeque<Arc<Segment>>,
    ) -> Arc<Topic> {
        let name: Arc<str> = state.name.as_str().into();
        // What was valid when the topic was made; a later version that thinks otherwise says so
        // and goes on with the broker's defaults.
        let settings = TopicSettings::resolve(&state.overrides, &self.settings).or_else(|error| {
            tracing::warn!(topic = %name, %error, "a stored setting is not valid any more; using the defaults");
            TopicSettings::resolve(&BTreeMap::new(), &self.settings)
        });
        let settings = Arc::new(settings.expect("the broker's own defaults are valid"));
        let partitions = state.partitions().zip(0..).map(|(partition, index)| {
            let segments = segments(index, partition);
            let facts = (state.id, &name, &settings);
            Arc::new(Partition::new(facts, index, partition, segments, Weak::clone(&self.committer)))
        });
        Arc::new(Topic {
            id: state.id,
            partitions: partitions.collect(),
            overrides: state.overrides.clone(),
            settings: TopicSettings::clone(&settings),
            name,
        })
    }
}

pub(super) enum SnapshotFailure {
    Sync(std::io::Error),
    Write { error: std::io::Error, segments: Vec<Arc<Segment>> },
}

impl Event {
    fn answer(self) {
        // Who gave up waiting gets no answer; that is no error.
        match self {
            Event::Appended { placed, done, .. } => {
                let said = Appended { base_offset: placed.base_offset, log_start: placed.log_start };
                drop(done.send(Ok(said)));
            }
            Event::NotAppended { done, said } => drop(done.send(said)),
            Event::Done { applied, done, .. } => done(Ok(applied)),
            Event::Refused { done, refusal } => done(Err(StoreError::Refused(refusal))),
        }
    }

    fn fail(self, error: &StoreError) {
        match self {
            Event::Appended { done, .. } | Event::NotAppended { done, .. } => {
                drop(done.send(Err(error.clone().into())));
            }
            Event::Done { done, .. } | Event::Refused { done, .. } => done(Err(error.clone())),
        }
    }
}

/// The placed batch: small ones in a buffer of their own, large ones as the client's bytes behind
/// a fresh prefix.
fn placed_batch(prefix: [u8; record::PREFIX_LENGTH], bytes: &Bytes) -> Pieces {
    let rest = bytes.slice(record::PREFIX_LENGTH..);
    if bytes.len() >= COPY_BELOW {
        return Pieces::Two(Bytes::copy_from_slice(&prefix), rest);
    }
    let mut whole = BytesMut::with_capacity(bytes.len());
    whole.extend_from_slice(&prefix);
    whole.extend_from_slice(&rest);
    Pieces::One(whole.freeze())
}

/// An upper bound of what the work takes in the journal.
fn wanted_room(work: &Work) -> usize {
    match work {
        Work::Append(append) => append.batch.bytes.len() + COMMIT_BYTES,
        Work::Command { command, .. } => {
            postcard::experimental::serialized_size(command).unwrap_or(usize::MAX / 2)
        }
    }
}

/// A topic that says itself how often it wants to be flushed does not have its acks wait for it.
fn is_relaxed(settings: &TopicSettings) -> bool {
    settings.flush_messages.is_some_and(|messages| messages > 1)
        || settings.flush_after.is_some_and(|after| !after.is_zero())
}

struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        tracing::error!("a panic in the engine: the process ends, a restart is back before it");
        std::process::abort();
    }
}
