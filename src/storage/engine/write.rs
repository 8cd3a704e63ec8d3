//! The first half of a round: decides places, applies, and writes to segments and journal.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::super::committer::{AppendWork, Work};
use super::super::journal::{Entry, Prepare};
use super::super::partition::{Appended, Partition, Pieces};
use super::super::segment::{Appendage, Segment};
use super::super::{AppendError, StoreError};
use super::round::{Event, Round};
use super::{Engine, SegmentKey};
use crate::config::{Durability, TopicSettings};
use crate::kernel::{Applied, Command, Commit, ProducerStamp, Refusal};
use crate::record;
use crate::types::{Timestamp, TopicId};

/// A batch below this size is copied into a buffer of its own, so that it does not keep alive
/// what else came with it.
const COPY_BELOW: usize = 16 << 10;

/// How much is written between two looks at the space that is left.
const LOOK_AT_SPACE: u64 = 4 << 20;

/// Bytes that the journal only refers to are read at a start after a crash, not written again:
/// they count for less when it is decided that a snapshot is due.
const REFERRED_WEIGHT: usize = 16;

/// How long a line is not repeated that clients can cause as often as they like.
const SAY_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// What a command other than a batch's bytes may take in the journal, as a bound.
const COMMIT_BYTES: usize = 160;

/// Bytes that are safe in the journal, but have not found room in their segment.
pub struct Unwritten {
    pub segment: Arc<Segment>,
    at: u64,
    pieces: Vec<Bytes>,
    batches: Vec<Appendage>,
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
    /// Refuses what there is no room for, and gives back the rest. What makes room goes on as long
    /// as the journal can still hold it.
    pub fn what_can_be_written(&mut self, work: Vec<Work>) -> Vec<Work> {
        let wanted = work.iter().map(wanted_room).sum();
        let Some(refusal) = self.cannot_write(wanted) else { return work };
        let is_full = refusal == StoreError::Full;
        let (makes_room, rest): (Vec<Work>, Vec<Work>) =
            work.into_iter().partition(|work| is_full && makes_room(work));
        rest.into_iter().for_each(|work| work.fail(refusal.clone()));
        let wanted: usize = makes_room.iter().map(wanted_room).sum();
        if self.journal.room_for(wanted as u64) {
            return makes_room;
        }
        makes_room.into_iter().for_each(|work| work.fail(refusal.clone()));
        Vec::new()
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
        // journal is where it goes. Only what no ready file could hold may do without: the journal
        // makes a larger file for it.
        let most = usize::try_from(self.options.tuning.journal_file_bytes / 4 * 3).unwrap_or(usize::MAX);
        let wanted = if wanted > most { COMMIT_BYTES } else { wanted };
        if self.journal.room_for(wanted as u64) {
            return None;
        }
        if let Some(Err(error)) = self.journal.prepare().map(Prepare::run) {
            tracing::warn!(%error, "no room for the journal; writes are refused until there is");
        }
        (!self.journal.room_for(wanted as u64)).then_some(StoreError::Full)
    }

    /// Those that get so much in this round that a sync of their own is cheaper than the detour.
    pub fn partitions_written_directly(&self, work: &[Work]) -> Vec<(TopicId, i32)> {
        let direct_from = match self.options.durability {
            Durability::Fsync | Durability::Interval => self.options.tuning.inline_below,
            Durability::Os => 0,
        };
        let mut bytes: BTreeMap<(TopicId, i32), usize> = BTreeMap::new();
        for work in work {
            if let Work::Append(append) = work {
                // The next sync of the journal covers what no ack waits for; it lies there whole.
                if direct_from > 0 && is_relaxed(&append.partition.settings()) {
                    continue;
                }
                let key = (append.partition.topic, append.partition.index);
                *bytes.entry(key).or_default() += append.batch.bytes.len();
            }
        }
        bytes.into_iter().filter(|(_, bytes)| *bytes >= direct_from).map(|(key, _)| key).collect()
    }

    /// Applies one batch; `None` where it changed nothing.
    pub fn append(
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
            Ok(Applied::Duplicate { base_offset, log_start }) => {
                Ok(Appended { base_offset, log_start, repeated: true })
            }
            Ok(other) => unreachable!("a commit is not answered by {other:?}"),
            Err(Refusal::UnknownTopic | Refusal::UnknownPartition) => Err(AppendError::NotServing),
            Err(refusal) => {
                if refusal == Refusal::TooManyProducers {
                    self.say_that_a_producer_is_refused(&partition);
                }
                Err(AppendError::Refused(refusal))
            }
        };
        round.events.push(Event::NotAppended { done, said });
        None
    }

    /// At most once a minute.
    fn say_that_a_producer_is_refused(&mut self, partition: &Partition) {
        let now = self.clocks.since_boot();
        if self.producer_refused.is_some_and(|last| now.saturating_sub(last) < SAY_AGAIN_AFTER) {
            return;
        }
        self.producer_refused = Some(now);
        tracing::warn!(
            topic = %partition.topic_name,
            partition = partition.index,
            held = self.shard.producers().bytes(),
            "a new idempotent producer is refused: all that are remembered wrote within the last 15 minutes; \
             it will retry; see which clients make so many, or raise jackdaw.producers.max.bytes"
        );
    }

    /// A segment ends at its size, at its age, or where offsets would pass 32 bits from its base (Kafka's
    /// `LogSegment.shouldRoll`). The age is that of its records: from the first batch to this one.
    fn rolls(&self, now: Timestamp, partition: &Partition, batch: &record::Checked) -> bool {
        let Some(state) = self.shard.partition(partition.topic, partition.index) else { return false };
        let Some(newest) = state.segments().last() else { return true };
        let settings = partition.settings();
        let size = newest.bytes.saturating_add(batch.bytes.len() as u64);
        let last = state.end().0.saturating_add(i64::from(batch.header.last_offset_delta));
        let age = newest.opened.age(batch.header.max_timestamp, now);
        size > settings.segment_bytes.min(self.options.tuning.segment_bytes)
            || age > settings.roll_after().saturating_sub(jitter(partition, &settings))
            || last.saturating_sub(newest.base.0) > i64::from(i32::MAX)
    }

    /// Writes the round's batches to their segments. What finds no room stays in the journal
    /// entry, also where it was meant to be written directly.
    pub fn write_segments(&mut self, round: &Round, commands: &mut [Command]) {
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
                let segment = partition.segment_for(placed, || {
                    let interval = partition.settings().index_interval_bytes;
                    Segment::new(partition.dir(), placed.segment, interval)
                });
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

    pub fn write_journal(&mut self, now: Timestamp, commands: &[Command], round: &mut Round) {
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
        self.counts.rounds.one();
        self.counts.journal_bytes.add((written - referred) as u64);
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

    /// Tries again what found no room.
    pub fn write_unwritten(&mut self) {
        let waiting = std::mem::take(&mut self.unwritten);
        for unwritten in waiting {
            let Unwritten { segment, at, pieces, batches } = unwritten;
            match segment.append(&pieces, at, &batches) {
                Ok(()) => drop(self.dirty.insert(segment.key(), segment)),
                Err(_) => self.unwritten.push(Unwritten { segment, at, pieces, batches }),
            }
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

/// Whether files go when it is done.
fn makes_room(work: &Work) -> bool {
    let Work::Command { command, .. } = work else { return false };
    matches!(command, Command::DropTopic { .. } | Command::SetLogStart { .. } | Command::ReplaceSegments(_))
}

/// What a partition's segments end earlier by (`segment.jitter.ms`): another part of it for each
/// partition, the same for all segments of one.
fn jitter(partition: &Partition, settings: &TopicSettings) -> Duration {
    let most = settings.segment_jitter.min(settings.roll_after());
    if most.is_zero() {
        return Duration::ZERO;
    }
    let [.., a, b] = partition.topic.0;
    let spread = (u32::from(a) << 8 | u32::from(b)).wrapping_add(partition.index.cast_unsigned());
    // A step that shares no factor with 2³² visits every part.
    most.mul_f64(f64::from(spread.wrapping_mul(0x9e37_79b1)) / f64::from(u32::MAX))
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
pub fn is_relaxed(settings: &TopicSettings) -> bool {
    settings.flush_messages.is_some_and(|messages| messages > 1)
        || settings.flush_after.is_some_and(|after| !after.is_zero())
}
