//! The first half of a round: decides offsets and segments, applies, and writes segments and journal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::super::fs::Failure;
use super::super::segment::{self, Appendage, Segment};
use super::round::{Event, NewBatch, Round, Source};
use super::unwritten::{self, Run};
use super::{AbortOnPanic, Engine, SegmentKey};
use crate::config::{Durability, TopicSettings};
use crate::kernel::entry::{Draft, Header};
use crate::kernel::{Applied, Command, Place, PlacedMarker, Refusal, Shard, Transaction};
use crate::record::{self, Marker};
use crate::storage::line::{AppendWork, Appended, Work};
use crate::storage::partition::{Partition, Pieces};
use crate::storage::{AppendError, Unavailable};
use crate::types::{IgnorePoison, Timestamp, TopicPartition};

/// A smaller batch is copied into its own buffer, so that it does not keep the rest of the request in memory.
const COPY_BELOW: usize = 16 << 10;

/// The bytes written between two checks of the free space.
const LOOK_AT_SPACE: u64 = 4 << 20;

/// A divisor for bytes that the journal only refers to. After a crash they are read but not written again, so
/// they count less when deciding whether a snapshot is due.
const REFERRED_WEIGHT: usize = 16;

/// Upper bound of a commit in the journal, without the bytes of its batch.
const COMMIT_BYTES: usize = 160;

/// The maximum number of new segments that the markers of one command start. In other partitions that are due, the next
/// batch starts one.
const MOST_ROLLS: usize = 64;

/// Upper bound of one entry of `rolls` in the journal.
const ROLL_BYTES: usize = 24;

/// The size of a journal file, divided by this, is the reserve of the journal. It allows commands that free
/// space on a full disk. Groups may use the first half of the reserve, commands that free space may use all
/// of it, and other work none.
const RESERVE: u64 = 8;

/// The bytes of a round for one segment.
struct SegmentRun {
    partition: Arc<Partition>,
    run: Run,
    /// The indexes of their events in the round.
    events: Vec<usize>,
    direct: bool,
}

/// A batch that a partition is about to get.
struct IncomingBatch {
    bytes: usize,
    last_offset_delta: i32,
    max_timestamp: Timestamp,
}

/// The part of the journal's space that work may use; each variant may use more than the one before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Claim {
    /// Records, topics, settings: refused if the disk is full.
    Ordinary,
    /// Groups, and the broker's own commands.
    Group,
    /// Frees space, at once or soon.
    FreesRoom,
}

impl Engine {
    /// Fails the work that cannot be written and returns the rest.
    pub fn what_can_be_written(&mut self, work: Vec<Work>) -> Vec<Work> {
        if self.is_poisoned() {
            work.into_iter().for_each(|work| work.fail(Unavailable::Poisoned.into()));
            return Vec::new();
        }
        let mut work = self.without_stuck(without_damaged(work));
        for claim in [Claim::Ordinary, Claim::Group, Claim::FreesRoom] {
            if !work.iter().any(|work| claim_of(work) == claim) {
                continue;
            }
            let Some(refusal) = self.no_room(&work, claim) else { break };
            let (refused, rest): (Vec<Work>, Vec<Work>) =
                work.into_iter().partition(|work| claim_of(work) == claim);
            refused.into_iter().for_each(|work| work.fail(refusal.into()));
            work = rest;
        }
        work
    }

    /// Fails the work that adds records to partitions whose segments cannot be written, at once or at the end of a
    /// transaction.
    fn without_stuck(&mut self, work: Vec<Work>) -> Vec<Work> {
        if self.unwritten.is_empty() {
            return work;
        }
        let asked: BTreeSet<TopicPartition> = work.iter().flat_map(partitions_of).collect();
        for key in asked {
            let written = self.unwritten.retry(key);
            self.note_written(written);
        }
        if self.unwritten.bytes() > unwritten::MOST {
            self.write_unwritten();
        }
        let all = self.unwritten.bytes() > unwritten::MOST;
        let mut rest = Vec::with_capacity(work.len());
        for work in work {
            let partitions = partitions_of(&work);
            match partitions.iter().find_map(|key| self.unwritten.why(*key)) {
                Some(Failure::NoSpace) => work.fail(Unavailable::Full.into()),
                Some(why) => work.fail(Unavailable::Unwritable(why).into()),
                None if all && !partitions.is_empty() => work.fail(Unavailable::Full.into()),
                None => rest.push(work),
            }
        }
        rest
    }

    /// The refusal for work of this claim, if the journal has no space for all of the work.
    fn no_room(&mut self, work: &[Work], claim: Claim) -> Option<Unavailable> {
        if claim == Claim::Ordinary && self.directory.is_full() {
            self.directory.look_at_space();
            if self.directory.is_full() {
                return Some(Unavailable::Full);
            }
        }
        // Space for all of it, also for batches that go directly to a segment. If the segment cannot be
        // written, they go to the journal.
        let wanted = (Header::LENGTH + work.iter().map(wanted_room).sum::<usize>()) as u64;
        let reserve = self.options.tuning.journal_file_bytes / RESERVE;
        let reserve = match claim {
            Claim::Ordinary => reserve,
            Claim::Group => reserve / 2,
            Claim::FreesRoom => 0,
        };
        let is_short = self.short_of_room || self.directory.is_full();
        let is_enough = self.journal.room_for(wanted + reserve) || !is_short && self.journal.room_for(wanted);
        if is_enough {
            return None;
        }
        // Used files come first: they cost no space.
        if let Some(job) = self.journal.prepare() {
            drop(job.run());
        }
        let made = self.journal.make_room(wanted + reserve);
        self.prepared(&made);
        Some(match Failure::of(&made.err()?) {
            Failure::NoSpace => Unavailable::Full,
            why => Unavailable::Unwritable(why),
        })
    }

    /// Records whether the journal could get its space.
    pub fn prepared(&mut self, outcome: &std::io::Result<()>) {
        self.short_of_room = outcome.is_err();
        if let Err(error) = outcome {
            tracing::warn!(
                dir = %self.directory.journal().display(),
                %error,
                "no room for the journal: writes are refused until there is room; {}",
                Failure::of(error).next_step()
            );
        }
    }

    /// The partitions that get so many bytes in this round that a sync of their segment is cheaper than
    /// writing the bytes to the journal too.
    pub fn partitions_written_directly(&self, work: &[Work]) -> BTreeSet<TopicPartition> {
        let direct_from = match self.options.durability {
            Durability::Fsync | Durability::Interval => self.options.tuning.inline_below,
            Durability::Os => 0,
        };
        let mut bytes: BTreeMap<TopicPartition, usize> = BTreeMap::new();
        for work in work {
            if let Work::Append(append) = work {
                // Acknowledgements of a relaxed topic do not wait. All its bytes go to the journal, and the
                // journal's next sync covers them.
                if direct_from > 0 && is_relaxed(&append.partition.settings()) {
                    continue;
                }
                let key = append.partition.key();
                *bytes.entry(key).or_default() += append.batch.bytes.len();
            }
        }
        bytes.into_iter().filter(|(_, bytes)| *bytes >= direct_from).map(|(key, _)| key).collect()
    }

    /// Applies one batch. Returns whether it changed something.
    pub fn append(
        &self,
        shard: &mut Shard,
        now: Timestamp,
        work: AppendWork,
        inline: bool,
        round: &mut Round,
    ) -> bool {
        let header = &work.batch.header;
        let new = IncomingBatch {
            bytes: work.batch.bytes.len(),
            last_offset_delta: header.last_offset_delta,
            max_timestamp: header.max_timestamp,
        };
        let roll = self.rolls(shard, now, &work.partition, new);
        let commit = work.commit(Place::Segment { roll, inline, crc: work.batch.header.crc });
        let AppendWork { partition, batch, room, done, .. } = work;
        drop(room);
        let outcome = match self.author.apply(shard, now, Command::Commit(commit)) {
            Ok((command, Applied::Appended(placed))) => {
                let prefix = record::prefix(placed.base_offset, batch.header.batch_length, placed.epoch);
                let pieces = placed_batch(prefix, &batch.bytes);
                let max_timestamp = batch.header.max_timestamp;
                let source = if inline { Source::Journal } else { Source::Segment };
                let batch = NewBatch { partition, placed, pieces, max_timestamp, aborted: None, source };
                round.events.push(Event::Appended { command, batch, done });
                return true;
            }
            Ok((_, applied)) => Ok(applied),
            Err(refusal) => Err(refusal),
        };
        if outcome == Err(Refusal::TooManyProducers) {
            tracing::warn!(
                topic = %partition.topic_name,
                partition = partition.index,
                "a new idempotent producer is refused: all that are remembered wrote within the last \
                 15 minutes, or the clock is not trusted; it will retry; see which clients make so many, or raise \
                 jackdaw.producers.max.bytes"
            );
        }
        if outcome == Err(Refusal::TooManyOpenTransactions) {
            tracing::warn!(
                topic = %partition.topic_name,
                partition = partition.index,
                "a transaction is refused in one more partition: producers with an open transaction have used up \
                 half of jackdaw.producers.max.bytes; it will retry; see `jackdaw transaction list`"
            );
        }
        let outcome = Appended::from_outcome(outcome);
        round.events.push(Event::NotAppended { done, outcome });
        false
    }

    /// The markers of a command, as batches for their partitions.
    pub fn markers_of(&self, applied: &Applied) -> Vec<NewBatch> {
        let Some((marker, placed)) = applied.markers() else { return Vec::new() };
        let new_batch = |&PlacedMarker { placed, aborted }: &PlacedMarker| {
            // A topic that is created in the same round has no open transaction.
            let partition = self.published.partition(placed.topic, placed.partition)?;
            Some(NewBatch {
                partition,
                pieces: Pieces::One(marker.batch(placed.base_offset, placed.epoch)),
                placed,
                max_timestamp: marker.time,
                aborted,
                source: Source::Commands,
            })
        };
        placed.iter().filter_map(new_batch).collect()
    }

    /// Completes a command with partitions in which its markers start a new segment.
    pub fn set_rolls(&self, shard: &Shard, now: Timestamp, command: &mut Command) {
        let rolls_in = |of: TopicPartition| {
            let partition = self.published.partition(of.topic, of.partition);
            let marker = IncomingBatch { bytes: Marker::SIZE, last_offset_delta: 0, max_timestamp: now };
            partition.is_some_and(|one| self.rolls(shard, now, &one, marker))
        };
        let all_of = |id: &str| {
            let open = shard.transactions().get(id).and_then(Transaction::ongoing);
            let partitions = open.into_iter().flat_map(|open| open.partitions.keys().copied());
            partitions.filter(|partition| rolls_in(*partition)).take(MOST_ROLLS).collect()
        };
        match command {
            Command::EndTransaction(end) => end.rolls = all_of(&end.id),
            Command::InitTransaction(init) => init.rolls = all_of(&init.id),
            Command::WriteMarker(write) => write.roll = rolls_in(write.partition),
            _ => {}
        }
    }

    /// A segment ends at its size, at its age, or if an offset would exceed its base by more than `i32::MAX`
    /// (Kafka's `LogSegment.shouldRoll`). The age is the time from its first batch to the new one.
    fn rolls(&self, shard: &Shard, now: Timestamp, partition: &Partition, new: IncomingBatch) -> bool {
        let Some(state) = shard.partition(partition.topic, partition.index) else { return false };
        let Some(newest) = state.extents().last() else { return true };
        let settings = partition.settings();
        let size = newest.bytes.saturating_add(new.bytes as u64);
        let last = state.end().0.saturating_add(i64::from(new.last_offset_delta));
        let age = newest.opened.age(new.max_timestamp, now);
        size > settings.segment_bytes.min(self.options.tuning.segment_bytes)
            || age > settings.roll_after().saturating_sub(jitter(partition, &settings))
            || last.saturating_sub(newest.base.0) > i64::from(i32::MAX)
    }

    /// Writes the round's batches to their segments. Batches that cannot be written stay in the journal
    /// entry, even if they were meant to be written directly.
    pub fn write_segments(&mut self, round: &mut Round) {
        let entry = self.shard.lock().ignoring_poison().position() + 1;
        for SegmentRun { partition, run, events, direct } in runs(round) {
            let Err(failure) = self.write_run(&partition, &run) else {
                if direct {
                    self.unsynced.insert(run.segment.key(), (Arc::clone(&run.segment), entry));
                }
                self.dirty.insert(run.segment.key(), run.segment);
                continue;
            };
            for event in events {
                if let Some(event) = round.events.get_mut(event) {
                    event.set_inline();
                }
            }
            self.unwritten.add(&partition, run, failure);
        }
    }

    /// Writes a run to its segment. Fails if the segment cannot or must not be written.
    fn write_run(&mut self, partition: &Partition, run: &Run) -> Result<(), Failure> {
        // The files of a partition that is out of service may belong to another one, or lack earlier records. They stay
        // as they are until a start finds them whole.
        if partition.is_damaged() {
            return Err(Failure::Device);
        }
        // Also if the records cannot be written: readers get them from memory.
        for aborted in run.batches.iter().filter_map(|batch| batch.aborted) {
            run.segment.append_aborted(&aborted);
            partition.note_aborted();
        }
        // Writing this run would leave a gap in the log.
        if let Some(earlier) = self.unwritten.why(partition.key()) {
            return Err(earlier);
        }
        run.write().map_err(|error| {
            self.unwritten.log(partition, &run.segment, &error, self.clocks.since_boot());
            Failure::of(&error)
        })
    }

    pub fn write_journal(&mut self, draft: &Draft, round: &mut Round) {
        let mut data: Vec<Bytes> = Vec::new();
        let (mut written, mut referred) = (0, 0);
        for batch in round.batches() {
            written += batch.pieces.len();
            match batch.source {
                Source::Journal => data.extend(batch.pieces.iter().cloned()),
                Source::Segment | Source::Commands => referred += batch.pieces.len(),
            }
        }
        let mut shard = self.shard.lock().ignoring_poison();
        let entry = self.author.close(draft, &round.commands(), &data, &mut shard);
        round.position = Some(shard.position());
        drop(shard);
        written += entry.commands.len();
        let appended = self.journal.append(&entry);
        self.published.counts.rounds.one();
        self.published.counts.journal_bytes.add((written - referred) as u64);
        self.behind = true;
        self.behind_bytes += written as u64;
        self.since_snapshot += (written - referred + referred / REFERRED_WEIGHT) as u64;
        self.since_look += written as u64;
        if self.since_look >= LOOK_AT_SPACE {
            self.since_look = 0;
            self.directory.look_at_space();
        }
        if let Err(error) = appended {
            round.failed = Some(error.to_string());
        }
    }

    /// Appends the records that are only in the journal to it again, after the current position, so that a
    /// snapshot of the current state needs no older entries. Returns `false` if not all of them could be
    /// written.
    pub fn store_again(&mut self) -> bool {
        let now = self.clocks.now();
        for (again, data) in self.unwritten.again() {
            let commands: Vec<Command> = again.into_iter().map(Command::StoreAgain).collect();
            let bytes = Header::LENGTH
                + commands.iter().map(encoded_bytes).sum::<usize>()
                + data.iter().map(Bytes::len).sum::<usize>();
            if self.journal.make_room(bytes as u64).is_err() {
                return false;
            }
            let guard = AbortOnPanic;
            let mut shard = self.shard.lock().ignoring_poison();
            let draft = self.author.open(&shard, now);
            let mut apply = |command| {
                let applied = self.author.apply(&mut shard, draft.time, command);
                applied.expect("the records have their place").0
            };
            let commands: Vec<Command> = commands.into_iter().map(&mut apply).collect();
            let commands: Vec<&Command> = commands.iter().collect();
            let entry = self.author.close(&draft, &commands, &data, &mut shard);
            drop(shard);
            let appended = self.journal.append(&entry);
            std::mem::forget(guard);
            self.behind = true;
            if let Err(error) = appended {
                self.poison(&error.to_string());
                return false;
            }
        }
        true
    }

    /// Tries again to write the records that could not be written.
    pub fn write_unwritten(&mut self) {
        let written = self.unwritten.retry_all();
        self.note_written(written);
    }

    fn note_written(&mut self, segments: Vec<Arc<Segment>>) {
        self.dirty.extend(segments.into_iter().map(|segment| (segment.key(), segment)));
    }
}

/// The bytes of the round, by segment.
fn runs(round: &Round) -> Vec<SegmentRun> {
    let mut runs: Vec<SegmentRun> = Vec::new();
    let mut of_segment: BTreeMap<SegmentKey, usize> = BTreeMap::new();
    let events = round.events.iter().enumerate();
    for (at, batch) in events.flat_map(|(at, event)| event.batches().iter().map(move |batch| (at, batch))) {
        let NewBatch { partition, placed, pieces, max_timestamp, aborted, source } = batch;
        let key = (partition.topic, partition.index, placed.segment);
        let run = *of_segment.entry(key).or_insert_with(|| {
            let extent = partition.extent_at(placed.segment, || {
                let interval = partition.settings().index_interval_bytes;
                Arc::new(Segment::new(&segment::dir_of(partition), placed.segment, interval))
            });
            let segment = segment::segment_of(extent);
            let run = Run { segment, at: placed.at, pieces: vec![], batches: vec![] };
            runs.push(SegmentRun { partition: Arc::clone(partition), run, events: vec![], direct: false });
            runs.len() - 1
        });
        let run = &mut runs[run];
        run.events.push(at);
        run.direct |= *source == Source::Segment;
        run.run.pieces.extend(pieces.iter().cloned());
        run.run.batches.push(Appendage {
            base_offset: placed.base_offset,
            bytes: u32::try_from(pieces.len()).unwrap_or(u32::MAX),
            max_timestamp: *max_timestamp,
            aborted: *aborted,
        });
    }
    runs
}

/// The batch with its final offset and epoch. Small ones are copied into one buffer; large ones are the
/// client's bytes after a new prefix.
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

/// Fails batches for partitions that went out of service while the batches were in the queue. Their files stay as they are,
/// and in memory the batches would take the space of those that can still be written.
fn without_damaged(work: Vec<Work>) -> Vec<Work> {
    let is_damaged = |work: &Work| matches!(work, Work::Append(append) if append.partition.is_damaged());
    if !work.iter().any(is_damaged) {
        return work;
    }
    let (damaged, rest): (Vec<Work>, Vec<Work>) = work.into_iter().partition(is_damaged);
    for work in damaged {
        if let Work::Append(append) = work {
            drop(append.done.send(Err(AppendError::Damaged)));
        }
    }
    rest
}

fn claim_of(work: &Work) -> Claim {
    let Work::Command { command, .. } = work else { return Claim::Ordinary };
    match command {
        Command::DropTopic { .. } | Command::SetLogStart { .. } | Command::ReplaceExtents(_) => {
            Claim::FreesRoom
        }
        Command::AlterTopic { changes, .. } | Command::AlterSettings { changes, .. }
            if changes.keys().all(|name| frees_room(name)) =>
        {
            Claim::FreesRoom
        }
        Command::Group { .. }
        // An open transaction keeps the data of others from being compacted and read.
        | Command::EndTransaction(_)
        // It aborts an open one.
        | Command::InitTransaction(_)
        | Command::WriteMarker(_)
        | Command::ExpireTransactions { .. }
        | Command::RaiseEpoch { .. }
        | Command::SetBrokers { .. }
        | Command::Register(_)
        | Command::Gone(_)
        | Command::ElectUnclean { .. }
        | Command::SetReplicas { .. }
        | Command::ElectPreferred { .. }
        | Command::ExpireProducers { .. }
        | Command::SetProducerMemory { .. }
        | Command::ClockTrusted
        // A right that is taken away must not stay because the disk is full.
        | Command::RemoveAcls { .. }
        | Command::ChangeToken { expires: None, .. }
        | Command::ExpireTokens { .. }
        | Command::StoreAgain(_) => Claim::Group,
        Command::CreateTopic(_)
        | Command::Commit(_)
        | Command::NewProducer
        | Command::JoinTransaction(_)
        | Command::TransactionOffsets(_)
        | Command::SetFeature { .. }
        | Command::AlterQuotas { .. }
        | Command::AlterCredentials { .. }
        | Command::AddAcls { .. }
        | Command::CreateToken { .. }
        | Command::ChangeToken { expires: Some(_), .. }
        | Command::AddPartitions { .. }
        | Command::AlterTopic { .. }
        | Command::AlterSettings { .. } => Claim::Ordinary,
    }
}

/// Whether a setting of a topic or the broker decides how long records are kept.
fn frees_room(setting: &str) -> bool {
    const NAMES: [&str; 12] = [
        "retention.ms",
        "retention.minutes",
        "retention.hours",
        "retention.bytes",
        "cleanup.policy",
        "segment.ms",
        "segment.bytes",
        "roll.ms",
        "delete.retention.ms",
        "min.cleanable.dirty.ratio",
        "min.compaction.lag.ms",
        "max.compaction.lag.ms",
    ];
    let name = setting.strip_prefix("log.").unwrap_or(setting);
    NAMES.contains(&name.strip_prefix("cleaner.").unwrap_or(name))
}

/// The partitions that the work must be able to write to. The end of a transaction needs none: it is never refused, and
/// each of its markers was allowed when its partition was added.
fn partitions_of(work: &Work) -> Vec<TopicPartition> {
    match work {
        Work::Append(append) => vec![append.partition.key()],
        Work::Command { command: Command::JoinTransaction(join), .. } => join.partitions.clone(),
        Work::Command { command: Command::WriteMarker(write), .. } => vec![write.partition],
        Work::Command { .. } => Vec::new(),
    }
}

/// The time by which a partition's segments roll earlier (`segment.jitter.ms`). It differs between partitions
/// and is the same for all segments of one.
fn jitter(partition: &Partition, settings: &TopicSettings) -> Duration {
    let most = settings.segment_jitter.min(settings.roll_after());
    if most.is_zero() {
        return Duration::ZERO;
    }
    let [.., a, b] = partition.topic.0;
    let spread = (u32::from(a) << 8 | u32::from(b)).wrapping_add(partition.index.cast_unsigned());
    // Multiplying by an odd number maps different spreads to different values.
    most.mul_f64(f64::from(spread.wrapping_mul(0x9e37_79b1)) / f64::from(u32::MAX))
}

/// Upper bound of the space that the work needs in the journal.
fn wanted_room(work: &Work) -> usize {
    match work {
        Work::Append(append) => append.batch.bytes.len() + COMMIT_BYTES,
        Work::Command { command, .. } => {
            let ends = matches!(command, Command::EndTransaction(_) | Command::InitTransaction(_));
            encoded_bytes(command) + if ends { MOST_ROLLS * ROLL_BYTES } else { 0 }
        }
    }
}

/// Upper bound of the size of an encoded command, with its share of the length of their list.
fn encoded_bytes(command: &Command) -> usize {
    1 + postcard::experimental::serialized_size(command).unwrap_or(usize::MAX / 2)
}

/// Whether acknowledgements of the topic do not wait for a sync, because it sets its own flush interval.
pub fn is_relaxed(settings: &TopicSettings) -> bool {
    settings.flush_messages.is_some_and(|messages| messages > 1)
        || settings.flush_after.is_some_and(|after| !after.is_zero())
}
