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
use std::sync::{Arc, Mutex, mpsc};

use super::author::Author;
use super::directory::Directory;
use super::job::Job;
use super::journal::Journal;
use super::recovery::{self, EndedInSegment};
use super::segment::{self, Appendage, Segment};
use super::tuning::Tuning;
use crate::config::Durability;
use crate::kernel::{self, Applied, Command, Shard};
use crate::record::Header;
use crate::storage::Unavailable;
use crate::storage::clocks::{Clocks, Now, must_note};
use crate::storage::extent::ExtentReader;
use crate::storage::line::{AppendWork, Work};
use crate::storage::partition::{OpenedLog, Partition};
use crate::storage::published::{Logs, Published};
use crate::storage::topics::Topic;
use crate::types::{IgnorePoison, Offset, Timestamp, TopicId, TopicPartition};
pub use durable::{SnapshotFailure, save_indexes};
pub use round::Round;
use round::{Event, NewBatch};
use unwritten::Unwritten;
use write::is_relaxed;

pub(super) struct Engine {
    /// The state after all rounds that began. Nothing else changes it.
    shard: Arc<Mutex<Shard>>,
    journal: Box<dyn Journal>,
    author: Author,
    directory: Arc<Directory>,
    pub(super) published: Arc<Published>,
    options: EngineOptions,
    clocks: Arc<Clocks>,
    pub(super) keeper: mpsc::Sender<Job>,
    /// The newest batches of all partitions, oldest first, and their sizes. Batches that cannot be dropped when
    /// they reach the front, because no segment has them, are parked in `unwritten`.
    recent: VecDeque<(Arc<Partition>, usize)>,
    recent_bytes: usize,
    /// Segments written since the last snapshot. They are synced before the next snapshot is valid.
    dirty: BTreeMap<SegmentKey, Arc<Segment>>,
    /// Segments with bytes that the journal only refers to, each with the last entry that does. A segment stays here
    /// until a sync up to that entry has ended: until then, every sync that makes the entry durable covers it too.
    unsynced: BTreeMap<SegmentKey, (Arc<Segment>, u64)>,
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
}

#[derive(Clone, Copy, Debug)]
pub struct EngineOptions {
    pub durability: Durability,
    pub tuning: Tuning,
}

/// The memory of a cached batch beside its bytes, so that small batches are not undercounted.
const RECENT_OVERHEAD: usize = 160;

type SegmentKey = (TopicId, i32, Offset);

impl Engine {
    pub(super) fn new(
        shard: Arc<Mutex<Shard>>,
        journal: Box<dyn Journal>,
        directory: Arc<Directory>,
        published: Arc<Published>,
        options: EngineOptions,
        clocks: Arc<Clocks>,
        keeper: mpsc::Sender<Job>,
    ) -> Engine {
        let author = Author::after(&shard.lock().ignoring_poison(), directory.levels);
        Engine {
            shard,
            journal,
            author,
            directory,
            published,
            options,
            clocks,
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
        }
    }

    pub(super) fn begin(&mut self, work: Vec<Work>) -> Round {
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

        let shared = Arc::clone(&self.shard);
        let mut shard = shared.lock().ignoring_poison();
        let clock = self.clocks.now();
        let draft = self.author.open(&shard, clock);
        let now = draft.time;
        let direct = self.partitions_written_directly(&work);
        let mut relaxed = true;
        let mut must_sync = false;
        for work in work {
            if may_forget_producers(&shard, &work) {
                self.note_clock(&mut shard, now, clock, &mut round);
            }
            match work {
                Work::Append(append) => {
                    let is_direct = direct.contains(&append.partition.key());
                    let strict = !is_relaxed(&append.partition.settings());
                    if self.append(&mut shard, now, append, !is_direct, &mut round) {
                        relaxed &= !strict;
                    }
                }
                Work::Command { mut command, done } => {
                    self.set_rolls(&shard, now, &mut command);
                    match self.author.apply(&mut shard, now, command) {
                        Ok((command, applied)) => {
                            relaxed &= !applied.changed_something();
                            must_sync |= must_be_durable(&applied);
                            let markers = self.markers_of(&applied);
                            round.events.push(Event::Done { command, applied, markers, done });
                        }
                        Err(refusal) => round.events.push(Event::Refused { done, refusal }),
                    }
                }
            }
        }
        if !round.changes_something() {
            return round;
        }
        if must_note(shard.clock_trusted(), clock.trusted) {
            self.note_clock(&mut shard, now, clock, &mut round);
        }
        // Readers of the state do not wait for the disk. Only this thread changes it meanwhile.
        drop(shard);
        self.write_segments(&mut round);
        self.write_journal(&draft, &mut round);
        let waits = self.options.durability == Durability::Fsync && !relaxed;
        if round.failed.is_none() && (waits || must_sync) {
            round.sync = Some(self.take_sync());
        }
        round
    }

    /// Adds to the entry that the clock is trusted, if it is and the entry does not have that yet.
    fn note_clock(&self, shard: &mut Shard, now: Timestamp, clock: Now, round: &mut Round) {
        if clock.trusted.is_some()
            && shard.clock_trusted() != Some(now)
            && let Ok((command, applied)) = self.author.apply(shard, now, Command::ClockTrusted)
        {
            let (markers, done) = (Vec::new(), Box::new(|_| {}));
            round.events.push(Event::Done { command, applied, markers, done });
        }
    }

    /// After the sync: publishes the durable changes, answers, and wakes the waiters. The answers are
    /// short, and their clients go on with them; to send records to waiting readers takes longer.
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
            return round.events.into_iter().for_each(|event| event.fail(Unavailable::Poisoned));
        }
        if let Some(position) = round.synced {
            self.synced_up_to(position);
        }
        if self.behind && self.options.durability != Durability::Os {
            self.sync_later();
        }
        let mut touched: Vec<Arc<Partition>> = Vec::new();
        let (published, shared) = (Arc::clone(&self.published), Arc::clone(&self.shard));
        let shard = shared.lock().ignoring_poison();
        let mut showing = published.begin();
        for event in &round.events {
            for NewBatch { partition, placed, pieces, .. } in event.batches() {
                showing.shows_batch_of(placed);
                partition.publish(placed, pieces.clone());
                published.counts.traffic.took(placed, pieces);
                self.remember(partition, pieces.len() + RECENT_OVERHEAD);
                if touched.last().is_none_or(|last| !Arc::ptr_eq(last, partition)) {
                    touched.push(Arc::clone(partition));
                }
            }
            if let Event::Done { applied, .. } = event {
                showing.show(&shard, applied, self);
            }
        }
        showing.end(&shard, round.position);
        drop(shard);
        round.events.into_iter().for_each(Event::answer);
        touched.iter().for_each(|partition| partition.wake());
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

    /// Removes the files of segments that are no longer published.
    fn remove(&self, segments: Vec<Arc<Segment>>) {
        segments.iter().for_each(|segment| segment.abandon());
        drop(self.keeper.send(Job::Remove { segments }));
    }

    /// At the start: publishes every topic that recovery found.
    pub(super) fn show_all(
        &mut self,
        damaged: &BTreeMap<TopicPartition, String>,
        unwritten: recovery::UnwrittenByPartition,
        aborted: Vec<EndedInSegment>,
    ) {
        let directory = Arc::clone(&self.directory);
        self.published.show_all(&self.shard.lock().ignoring_poison(), |topic, name, index| {
            let dir = directory.partition_dir(name, TopicPartition::new(topic.id, index));
            let state = topic.partition(index);
            let extents = state.map(|state| recovery::segments_of(&dir, state, &unwritten));
            OpenedLog { home: dir, extents: extents.unwrap_or_default() }
        });
        let topics = self.published.topics();
        let partition = |TopicPartition { topic, partition: index }: TopicPartition| {
            topics.by_id(topic)?.partition(index)
        };
        for (key, why) in damaged {
            if let Some(partition) = partition(*key) {
                partition.quarantine(why);
            }
        }
        for ((key, id), aborted) in aborted {
            // Nothing is written beside the files of a partition that is out of service.
            let partition = partition(key).filter(|partition| !partition.is_damaged());
            let extents = partition.and_then(|partition| partition.extents_of(&[id]));
            for segment in extents.into_iter().flatten().map(segment::segment_of) {
                segment.restore_aborted(&aborted);
                if segment.size() > 0 {
                    self.dirty.insert(segment.key(), segment);
                }
            }
        }
        for (key, held) in unwritten {
            if let Some(partition) = partition(key) {
                self.hold_unwritten(partition, held);
            }
        }
    }

    /// Keeps records that recovery could not write in memory for readers, and writes them once that works.
    fn hold_unwritten(&mut self, partition: &Arc<Partition>, held: recovery::UnwrittenBatches) {
        let mut follows = None;
        for ((id, at), bytes) in held.batches {
            let Some(extent) = partition.extents_of(&[id]).and_then(|mut found| found.pop()) else {
                return;
            };
            let Ok(header) = Header::parse(&bytes) else { return };
            let batch = Appendage {
                base_offset: header.base_offset,
                bytes: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
                max_timestamp: header.max_timestamp,
                aborted: None,
            };
            let is_next =
                follows.is_none_or(|offset| header.base_offset == offset || extent.id().generation > 0);
            debug_assert!(is_next || partition.is_damaged(), "readers would skip a batch");
            follows = header.next_offset();
            partition.hold(&header, &bytes);
            self.recent_bytes += bytes.len() + RECENT_OVERHEAD;
            self.recent.push_back((Arc::clone(partition), bytes.len() + RECENT_OVERHEAD));
            let segment = segment::segment_of(extent);
            let run = unwritten::Run { segment, at, pieces: vec![bytes], batches: vec![batch] };
            self.unwritten.add(partition, run, held.failure);
        }
    }

    pub(super) fn empty_trash(&self) {
        drop(self.keeper.send(Job::EmptyTrash));
    }

    pub(super) fn remove_left(&self) {
        drop(self.keeper.send(Job::RemoveLeft));
    }
}

impl Logs for Engine {
    fn open(&mut self, topic: &kernel::Topic, name: &Arc<str>, index: i32) -> OpenedLog {
        let dir = self.directory.partition_dir(name, TopicPartition::new(topic.id, index));
        OpenedLog { home: dir, extents: VecDeque::new() }
    }

    fn rewritten(&mut self, partition: &Partition, by: &[kernel::Extent]) -> Vec<Arc<dyn ExtentReader>> {
        let dir = segment::dir_of(partition);
        let segment = |state| Arc::new(Segment::existing(&dir, state)) as Arc<dyn ExtentReader>;
        by.iter().map(segment).collect()
    }

    fn dropped(&mut self, extents: Vec<Arc<dyn ExtentReader>>) {
        let segments = segment::segments_of(extents);
        // Unwritten records below the new log start offset are not needed any more.
        self.unwritten.forget_segments(&segments);
        self.remove(segments);
    }

    fn replaced(&mut self, partition: &Arc<Partition>, end: Offset, extents: Vec<Arc<dyn ExtentReader>>) {
        self.forget_before(partition, end);
        self.remove(segment::segments_of(extents));
    }

    fn deleted(&mut self, topic: &Topic, extents: Vec<Arc<dyn ExtentReader>>) {
        segment::segments_of(extents).iter().for_each(|segment| segment.abandon());
        self.unwritten.forget_topic(topic.id);
        // At once and not on the keeper: the next command may create a topic with the same name.
        topic.partitions.iter().for_each(|partition| segment::dir_of(partition).discard());
        drop(self.keeper.send(Job::EmptyTrash));
    }
}

/// Whether the work may make the kernel forget a producer. The kernel then has to know whether the clock is trusted.
fn may_forget_producers(shard: &Shard, work: &Work) -> bool {
    match work {
        Work::Append(AppendWork { partition, batch, .. }) => batch
            .header
            .producer()
            .is_some_and(|producer| shard.lacks_memory_for(producer.id, partition.topic, partition.index)),
        Work::Command { command, .. } => matches!(command, Command::SetProducerMemory { .. }),
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
        | Applied::TransactionInitialized { .. }
        | Applied::TransactionJoined
        | Applied::OffsetsStaged
        | Applied::TransactionUnchanged { .. }
        | Applied::TransactionEnded(_)
        | Applied::MarkerWritten { .. }
        | Applied::TransactionsExpired(_)
        | Applied::TopicAltered { .. }
        | Applied::SettingsAltered { .. }
        | Applied::ReplicasSet { .. }
        | Applied::BrokersSet
        | Applied::Registered { .. }
        | Applied::BrokerGone { .. }
        | Applied::LeaderElected { .. }
        | Applied::ClockTrusted
        | Applied::FeatureSet { .. }
        | Applied::QuotasAltered { .. }
        | Applied::CredentialsAltered
        | Applied::AclsChanged { .. }
        | Applied::TokensChanged { .. }
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

    use rustix::io::Errno;
    use tokio::sync::oneshot;

    use super::super::Local;
    use super::*;
    use crate::config::BrokerSettings;
    use crate::kernel::offsets::{CommittedOffset, OffsetChange};
    use crate::kernel::{EndTransaction, EndedBy, InitTransaction, JoinTransaction, Refusal, WriteMarker};
    use crate::record::{self, BatchBuilder, Rules};
    use crate::storage::groups::GroupStore;
    use crate::storage::local::fs::{Fault, Operation, SimFs};
    use crate::storage::{Isolation, Location, NewTopic, ReadRange, Store, StoreOptions};
    use crate::types::{LeaderEpoch, NodeId, TransactionEnd};

    /// Appends `count` batches of one record each in one round.
    fn append(local: &Local, partition: &Arc<Partition>, count: usize) {
        let work = (0..count).map(|_| {
            let batch = BatchBuilder::new().value(Timestamp(0), "v").build();
            let batch = record::check_produced(batch, &Rules::LENIENT).unwrap();
            let (partition, leadership) = (Arc::clone(partition), partition.ends().leader_epoch);
            Work::Append(AppendWork {
                partition,
                batch,
                leadership,
                joins: false,
                room: None,
                done: oneshot::channel().0,
            })
        });
        let committer = local.committer();
        let mut round = committer.engine().begin(work.collect());
        round.sync();
        committer.engine().finish(round);
    }

    #[tokio::test]
    async fn batches_that_only_memory_has_are_looked_at_once_for_all_that_come_after_them() {
        let fs = SimFs::new(1);
        let place = Location::Simulated(Arc::new(fs.clone()), "data".into());
        let mut options = StoreOptions::new(place, Arc::new(BrokerSettings::default()));
        options.tuning.recent_bytes = 10_000;
        let (store, local) = Store::with_local(options).unwrap();
        let new = NewTopic { name: "t".into(), partitions: 2, overrides: BTreeMap::new() };
        let topic = store.create_topic(new).await.unwrap();
        append(&local, &topic.partitions[0], 20);
        let full = Errno::NOSPC;
        fs.fail(Fault { path: "t-0".into(), error: full, lasting: true, ..Fault::next(Operation::Write) });
        append(&local, &topic.partitions[0], 1_000);
        append(&local, &topic.partitions[1], 1_000);
        let held = || {
            let engine = local.committer().engine();
            (engine.recent.len(), engine.recent_bytes, engine.unwritten.is_empty())
        };
        let (count, bytes, _) = held();
        assert!(count < 100 && bytes <= 10_000, "{count} {bytes}");
        for from in [0, 20, 21, 500, 1_019] {
            let (from, isolation) = (Offset(from), Isolation::ReadUncommitted);
            let range = ReadRange { from, max_bytes: 1, at_least_one_batch: true, isolation, listed: false };
            assert_eq!(topic.partitions[0].read(range).await.unwrap().next, Offset(from.0 + 1));
        }

        fs.heal();
        append(&local, &topic.partitions[0], 1);
        append(&local, &topic.partitions[1], 1_000);
        let (count, bytes, are_written) = held();
        assert!(are_written && count < 100 && bytes <= 10_000, "{count} {bytes}");
        let cached = |at: usize| topic.partitions[at].log().cached();
        assert_eq!(cached(0) + cached(1), count, "each is known once");
    }

    #[tokio::test]
    async fn a_batch_whose_partition_goes_out_of_service_before_its_round_takes_no_memory() {
        let options = StoreOptions::new(Location::Memory, Arc::new(BrokerSettings::default()));
        let (store, local) = Store::with_local(options).unwrap();
        let new = NewTopic { name: "t".into(), partitions: 2, overrides: BTreeMap::new() };
        let topic = store.create_topic(new).await.unwrap();
        topic.partitions[0].quarantine("a test");
        for partition in topic.partitions.iter() {
            append(&local, partition, 3);
        }
        let ends = |at: usize| topic.partitions[at].ends().high_watermark;
        assert_eq!((ends(0), ends(1)), (Offset(0), Offset(3)));
        assert!(local.committer().engine().unwritten.is_empty());
    }

    #[tokio::test]
    async fn no_entry_is_marked_as_synced_while_the_sync_of_its_segment_still_runs() {
        for seed in 0..8 {
            let fs = SimFs::new(seed);
            let options = |fs: &SimFs| {
                let place = Location::Simulated(Arc::new(fs.clone()), "data".into());
                let mut options = StoreOptions::new(place, Arc::default());
                options.durability = Durability::Interval;
                options.tuning.inline_below = 1;
                options
            };
            let (store, local) = Store::with_local(options(&fs)).unwrap();
            let create =
                |name: &str| NewTopic { name: name.into(), partitions: 1, overrides: BTreeMap::new() };
            let topic = store.create_topic(create("t")).await.unwrap();
            append(&local, &topic.partitions[0], 1);
            let running = local.committer().engine().take_sync();
            // Their rounds sync the journal. The frame of the second has the mark that the first one left.
            for name in ["one", "two"] {
                store.create_topic(create(name)).await.unwrap();
            }
            let fs = fs.crash(seed);
            drop((store, local, running));
            let (store, _local) = Store::with_local(options(&fs)).unwrap();
            let topics = store.topics();
            let partition = topics.by_name("t").unwrap().partition(0).unwrap();
            assert_eq!(partition.damage(), None, "seed {seed}");
            assert_eq!(partition.ends().high_watermark, Offset(1), "seed {seed}");
        }
    }

    #[tokio::test]
    async fn transactions_that_end_again_and_again_beside_a_partition_that_cannot_be_written_take_no_memory()
    {
        let fs = SimFs::new(1);
        let place = Location::Simulated(Arc::new(fs.clone()), "data".into());
        let options = StoreOptions::new(place, Arc::new(BrokerSettings::default()));
        let (store, local) = Store::with_local(options).unwrap();
        let new = NewTopic { name: "t".into(), partitions: 2, overrides: BTreeMap::new() };
        let topic = store.create_topic(new).await.unwrap();
        let [stuck, other] = [0, 1].map(|index| TopicPartition::new(topic.id, index));
        let init = |id: &str| {
            let (id, known, timeout_ms, two_phase, rolls) = (id.to_owned(), None, 60_000, false, vec![]);
            let init = InitTransaction { id, known, timeout_ms, two_phase, rolls };
            let started = store.transact(Command::InitTransaction(init));
            async move {
                match started.await.unwrap() {
                    Applied::TransactionInitialized { producer } => producer,
                    other => panic!("{other:?}"),
                }
            }
        };
        let join = |id: &str, producer, partitions| {
            let join = JoinTransaction { id: id.to_owned(), producer, partitions, groups: vec![] };
            store.transact(Command::JoinTransaction(join))
        };
        let end = |id: &str, producer| {
            let (id, end, by) = (id.to_owned(), TransactionEnd::Abort, EndedBy::Client);
            let end = EndTransaction { id, producer, began: None, end, by, rolls: vec![] };
            store.transact(Command::EndTransaction(end))
        };
        let (open, next) = (init("open").await, init("next").await);
        join("open", open, vec![stuck]).await.unwrap();
        let fault = || Fault { path: "t-0".into(), lasting: true, ..Fault::next(Operation::Write) };
        fs.fail(Fault { error: Errno::NOSPC, ..fault() });
        append(&local, &topic.partitions[0], 1);
        let held = || local.committer().engine().unwritten.bytes();
        let before = held();
        assert!(before > 0);
        end("open", open).await.unwrap();
        let after = held();
        assert!(after > before, "an end is never refused");
        let write = WriteMarker {
            partition: stuck,
            producer: open,
            end: TransactionEnd::Abort,
            coordinator_epoch: 0,
            new_epoch_only: false,
            roll: false,
        };
        for _ in 0..100 {
            for partitions in [vec![stuck], vec![other, stuck]] {
                assert_eq!(join("next", next, partitions).await, Err(Unavailable::Full.into()));
            }
            join("next", next, vec![other]).await.unwrap();
            end("next", next).await.unwrap();
            let written = store.transact(Command::WriteMarker(write)).await;
            assert_eq!(written, Err(Unavailable::Full.into()));
        }
        assert_eq!(held(), after);
        fs.heal();
        join("next", next, vec![stuck]).await.unwrap();
        assert_eq!(held(), 0);
    }

    #[tokio::test]
    async fn partitions_added_and_settings_altered_in_one_round_are_both_seen_by_old_and_new_ones() {
        let settings = Arc::new(BrokerSettings::default());
        let (store, local) = Store::with_local(StoreOptions::new(Location::Memory, settings)).unwrap();
        let new = NewTopic { name: "t".into(), partitions: 1, overrides: BTreeMap::new() };
        let topic = store.create_topic(new).await.unwrap().id;
        let add = Command::AddPartitions { topic, first: 1, replicas: vec![vec![NodeId(1)]] };
        let changes = BTreeMap::from([("max.message.bytes".to_owned(), Some("77".to_owned()))]);
        let alter = Command::AlterTopic { topic, changes };
        let work = [add, alter].map(|command| Work::Command { command, done: Box::new(|_| {}) });
        let committer = local.committer();
        let round = committer.engine().begin(work.into());
        committer.engine().finish(round);
        let topics = store.topics();
        let limits =
            topics.by_id(topic).unwrap().partitions.iter().map(|one| one.settings().max_message_bytes);
        assert_eq!(limits.collect::<Vec<_>>(), [77, 77]);
    }

    #[tokio::test]
    async fn a_batch_that_is_queued_when_the_leader_changes_is_refused_and_its_retry_is_appended() {
        let mut options = StoreOptions::new(Location::Memory, Arc::new(BrokerSettings::default()));
        let (one, two) = (NodeId(1), NodeId(2));
        options.brokers = vec![one, two];
        let (store, local) = Store::with_local(options).unwrap();
        let placed = store.create_placed_topic("t".into(), BTreeMap::new(), vec![vec![one, two]]);
        let topic = placed.await.unwrap();
        let partition = Arc::clone(&topic.partitions[0]);
        let batch = BatchBuilder::new().value(Timestamp(0), "v").build();
        let batch = record::check_produced(batch, &Rules::LENIENT).unwrap();
        let (done, mut answer) = oneshot::channel();
        let leadership = partition.ends().leader_epoch;
        let command = Command::SetBrokers { running: vec![two], election: kernel::Election::default() };
        let moves = Work::Command { command, done: Box::new(|_| {}) };
        let work = AppendWork { partition, batch, leadership, joins: false, room: None, done };
        let queued = Work::Append(work);
        let committer = local.committer();
        let round = committer.engine().begin(vec![moves, queued]);
        committer.engine().finish(round);
        let refused = crate::storage::AppendError::Refused(Refusal::NotLeader);
        assert_eq!(answer.try_recv().unwrap().err(), Some(refused));
        append(&local, &topic.partitions[0], 1);
        assert_eq!(topic.partitions[0].ends().high_watermark, Offset(1));
    }

    #[tokio::test]
    async fn groups_are_published_at_the_end_of_a_round_and_read_without_waiting_for_it() {
        let options = StoreOptions::new(Location::Memory, Arc::default());
        let (store, local) = Store::with_local(options).unwrap();
        let new = NewTopic { name: "t".into(), partitions: 1, overrides: BTreeMap::new() };
        let topic = store.create_topic(new).await.unwrap().id;
        let committed = CommittedOffset {
            offset: Offset(5),
            leader_epoch: None,
            metadata: String::new(),
            committed_at: Timestamp(0),
            expires_at: None,
        };
        let changes = vec![OffsetChange::Committed(vec![(TopicPartition::new(topic, 0), committed)]).into()];
        let commit = Command::Group { group: "g".into(), after: 0, changes };
        let committer = local.committer();
        let offsets = || store.group("g").map(|kept| kept.offsets.len());
        let mut seen = Vec::new();
        for command in [commit, Command::DropTopic { topic }] {
            let mut engine = committer.engine();
            let round = engine.begin(vec![Work::Command { command, done: Box::new(|_| {}) }]);
            // Both locks of a round are held.
            let shard = Arc::clone(&engine.shard);
            let applied = shard.lock().unwrap();
            seen.push(offsets());
            drop(applied);
            engine.finish(round);
            seen.push(offsets());
        }
        assert_eq!(seen, [None, Some(1), Some(1), Some(0)]);
    }

    #[tokio::test]
    async fn a_leader_that_changes_in_the_round_of_new_partitions_is_published_for_the_old_ones_too() {
        let settings = BrokerSettings::default();
        let mut options = StoreOptions::new(Location::Memory, Arc::new(settings));
        let (one, two) = (NodeId(1), NodeId(2));
        options.brokers = vec![one, two];
        let (store, local) = Store::with_local(options).unwrap();
        let placed = store.create_placed_topic("t".into(), BTreeMap::new(), vec![vec![one, two]]);
        let topic = placed.await.unwrap().id;
        let add = Command::AddPartitions { topic, first: 1, replicas: vec![vec![two]] };
        let stop = Command::SetBrokers { running: vec![two], election: kernel::Election::default() };
        let work = [add, stop].map(|command| Work::Command { command, done: Box::new(|_| {}) });
        let committer = local.committer();
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
