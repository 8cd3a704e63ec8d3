//! Compaction keeps the newest record of each key (Kafka's `LogCleaner`) and removes tombstones after
//! `delete.retention.ms`; see [`record::clean`]. It removes the records of aborted transactions; see
//! [`transactions`].
//!
//! A run over a partition reads the extents that are new since the last run and remembers the newest offset of
//! each of their keys. It writes all extents up to there again, without replaced records, and makes them
//! durable. Only then a command puts them in the place of the old extents, which are removed once that is
//! durable. So a crash leaves either the old log or the new one. Offsets, their order and the newest extent do
//! not change.

mod transactions;

use std::collections::HashMap;
use std::io;
use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::extent::{ExtentReader, ReadError};
use super::line::Line;
use super::partition::Partition;
use super::{LogError, StoreError, Unavailable};
use crate::config::TopicSettings;
use crate::kernel::{self, AbortedList, Command, ExtentId, ReplaceExtents, Rewritten};
use crate::record::{self, Cleaned, Header, RecordError};
use crate::types::{AbortedTransaction, Offset, Timestamp, TopicPartition};
use transactions::{AbortedTransactions, Role, Walk};

/// The maximum number of bytes in one read, unless a batch is larger.
const CHUNK: usize = 1 << 20;

pub(super) struct Cleaner<'a> {
    pub(super) line: &'a dyn Line,
    pub(super) now: Timestamp,
    /// The maximum memory in bytes for the keys of a run.
    pub(super) memory: u64,
    /// The store is closing: a run ends without an effect.
    pub(super) stop: &'a AtomicBool,
}

/// The place to which a run writes extents, one after the other.
pub(super) trait Sink {
    /// Begins an extent. It is empty, even if an earlier run left data in its place.
    fn begin(&mut self, id: ExtentId) -> io::Result<()>;

    /// Appends a batch to the current extent.
    fn append(&mut self, batch: &Bytes) -> io::Result<()>;

    /// Adds to the current extent's list an aborted transaction, whose marker was just appended.
    fn list_aborted(&mut self, transaction: &AbortedTransaction);

    /// Makes all extents durable.
    fn finish(&mut self) -> io::Result<()>;

    /// Removes the extents, because the run had no effect.
    fn remove(&mut self);
}

/// The extents of a partition that a run would compact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// The index of the first extent that no earlier run has cleaned.
    dirty_from: usize,
    /// The index of the first extent that the run does not read.
    until: usize,
    /// The share of bytes that no earlier run has cleaned, in millionths.
    pub(super) dirty_millionths: u64,
}

impl Due {
    /// An upper limit of the bytes that a run writes.
    pub(super) fn bytes(&self, state: &kernel::Partition) -> u64 {
        state.extents().iter().take(self.until).map(|extent| extent.bytes).sum()
    }
}

/// The extents to compact, if there are enough new bytes (Kafka's `LogCleanerManager.grabFilthiestCompactedLog`).
pub(super) fn due(
    partition: &kernel::Partition,
    settings: &TopicSettings,
    last_stable: Offset,
    now: Timestamp,
) -> Option<Due> {
    let segments = partition.extents();
    let (newest, closed) = segments.split_last()?;
    let ends = closed.iter().skip(1).chain([newest]).map(|next| next.base);
    let dirty_from = closed.iter().position(|segment| !segment.cleaned)?;
    let may_be_cleaned = |segment: &kernel::Extent, end: Offset| {
        // Records that are not durable yet, or whose transaction may still be aborted, must not replace others.
        let lag = settings.min_compaction_lag;
        end <= last_stable && (lag.is_zero() || now.since(segment.newest_time()) >= lag)
    };
    let until = closed
        .iter()
        .zip(ends)
        .skip(dirty_from)
        .take_while(|(segment, end)| may_be_cleaned(segment, *end))
        .count()
        + dirty_from;
    let bytes = |segments: &[kernel::Extent]| segments.iter().map(|segment| segment.bytes).sum::<u64>();
    let (clean, dirty) = (bytes(&closed[..dirty_from]), bytes(&closed[dirty_from..until]));
    let dirty_millionths = dirty.saturating_mul(1_000_000).checked_div(clean + dirty)?;
    let oldest = closed[dirty_from..].iter().map(|segment| segment.opened.time()).min()?;
    let overdue = now.since(oldest) > settings.max_compaction_lag;
    let due = dirty > 0 && (overdue || dirty_millionths > u64::from(settings.min_dirty));
    due.then_some(Due { dirty_from, until, dirty_millionths })
}

/// The reason why a run had no effect.
enum RunFailure {
    Stopped,
    Read(ReadError),
    Write(io::Error),
    Refused(StoreError),
}

impl From<ReadError> for RunFailure {
    fn from(error: ReadError) -> RunFailure {
        RunFailure::Read(error)
    }
}

impl From<io::Error> for RunFailure {
    fn from(error: io::Error) -> RunFailure {
        RunFailure::Write(error)
    }
}

impl Cleaner<'_> {
    /// Compacts a partition. `due` was computed from `state`.
    pub(super) fn run(
        &self,
        partition: &Partition,
        state: &kernel::Partition,
        due: Due,
        sink: &mut dyn Sink,
    ) {
        let name = (&partition.topic_name, partition.index);
        match self.try_to_run(partition, state, due, sink) {
            Ok(()) => {}
            Err(RunFailure::Read(ReadError::Damaged(why))) => partition.quarantine(&why),
            // The topic, or the beginning of the log, was deleted meanwhile.
            Err(RunFailure::Read(ReadError::Gone) | RunFailure::Refused(StoreError::Refused(_))) => {
                tracing::debug!(partition = ?name, "the compacted segments were deleted meanwhile");
            }
            Err(RunFailure::Write(_)) if partition.serving() == Err(LogError::NotServing) => {}
            Err(failed) => {
                let why: &dyn std::fmt::Debug = match &failed {
                    RunFailure::Read(error) => error,
                    RunFailure::Write(error) => error,
                    RunFailure::Refused(error) => error,
                    RunFailure::Stopped => return,
                };
                tracing::warn!(partition = ?name, ?why, "a log could not be compacted; it is tried again");
            }
        }
    }

    fn try_to_run(
        &self,
        partition: &Partition,
        state: &kernel::Partition,
        due: Due,
        sink: &mut dyn Sink,
    ) -> Result<(), RunFailure> {
        let states = state.extents().get(..due.until).unwrap_or_default();
        let there = partition.extents_of(&states.iter().map(kernel::Extent::id).collect::<Vec<_>>());
        let Some(mut segments) = there else { return Err(RunFailure::Read(ReadError::Gone)) };
        let ends: Vec<Offset> = state.extents().iter().skip(1).map(|next| next.base).collect();

        let log_start = partition.ends().log_start;
        let dirty_end = ends.get(due.until.saturating_sub(1)).copied();
        let (Some(oldest), Some(dirty_end)) = (states.first(), dirty_end) else { return Ok(()) };
        let aborted = AbortedTransactions::read(partition, oldest.base, dirty_end)?;
        let mut newest = Newest { memory: self.memory, ..Newest::default() };
        let mut until = None;
        for (at, (segment, end)) in segments.iter().zip(&ends).enumerate().skip(due.dirty_from) {
            until = self.learn(&mut newest, &aborted, &**segment, log_start..*end)?;
            if until.is_some() {
                segments.truncate(at + 1);
                break;
            }
        }

        let replaced = states.get(..segments.len()).unwrap_or_default();
        let end = ends.get(..replaced.len()).and_then(|ends| ends.last().copied());
        let Some(end) = end else { return Ok(()) };

        let most = partition.settings().segment_bytes;
        let generation = segments.iter().map(|segment| segment.id().generation).max().unwrap_or(0) + 1;
        let mut output = Output { sink, generation, most, extents: Vec::new() };
        let ranges = ends.iter().map(|end| log_start..*end);
        let parts: Vec<(&dyn ExtentReader, Range<Offset>)> =
            segments.iter().map(|one| &**one).zip(ranges).collect();
        let known = LogFacts { newest, until, aborted };
        let written = self.write(partition, &parts, &known, &mut output);
        let outputs = match written.and_then(|()| Ok(output.finish()?)) {
            Ok(outputs) => outputs,
            Err(failed) => {
                output.sink.remove();
                return Err(failed);
            }
        };
        let before: u64 = segments.iter().map(|segment| segment.bytes()).sum();
        let after: u64 = outputs.iter().map(|segment| segment.bytes).sum();
        let TopicPartition { topic, partition: index } = partition.key();
        let replace = ReplaceExtents {
            topic,
            partition: index,
            first: oldest.base,
            end,
            count: u32::try_from(replaced.len()).unwrap_or(u32::MAX),
            mix: kernel::mix_of(replaced),
            outputs,
        };
        match self.line.command_blocking(Command::ReplaceExtents(replace))() {
            Ok(_) => {
                tracing::debug!(topic = %partition.topic_name, partition = index, before, after, "compacted");
                Ok(())
            }
            Err(error) => {
                // If it is unknown whether the command is in the journal, the next start removes unused
                // files.
                if let StoreError::Refused(_)
                | StoreError::Unavailable(Unavailable::Full | Unavailable::Unwritable(_)) = error
                {
                    output.sink.remove();
                }
                Err(RunFailure::Refused(error))
            }
        }
    }

    /// Remembers the keys of an extent. If there is not enough memory for all of them, returns the offset at
    /// which it stopped.
    fn learn(
        &self,
        newest: &mut Newest,
        aborted: &AbortedTransactions,
        segment: &dyn ExtentReader,
        range: Range<Offset>,
    ) -> Result<Option<Offset>, RunFailure> {
        let mut stopped_at = None;
        self.each_batch(segment, range, |header, batch| {
            if header.attributes.control() || aborted.has_data(header) {
                newest.pass(header);
            } else if !newest.learn(header, batch) {
                stopped_at = Some(header.base_offset);
                return Ok(ControlFlow::Break(()));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(stopped_at)
    }

    /// Writes the extents again. Batches from the offset `known.until` on are copied unchanged.
    fn write(
        &self,
        partition: &Partition,
        segments: &[(&dyn ExtentReader, Range<Offset>)],
        known: &LogFacts,
        output: &mut Output<'_>,
    ) -> Result<(), RunFailure> {
        let delete_retention = partition.settings().delete_retention;
        let base = segments.first().map_or(Offset(0), |(first, _)| first.base());
        output.begin(base, true)?;
        let mut walk = Walk::new(&known.aborted);
        for (segment, range) in segments {
            self.each_batch(*segment, range.clone(), |header, batch| {
                let role = walk.meet(header);
                let is_unknown = known.until.is_some_and(|until| header.base_offset >= until);
                if is_unknown && output.is_clean() {
                    output.begin(header.base_offset, false)?;
                }
                let cleaned = if is_unknown {
                    Ok(Cleaned::AsItWas)
                } else {
                    self.cleaned(role, header, batch, delete_retention, &known.newest)
                };
                match cleaned {
                    // A batch that cannot be read stays as it is. None of its keys were remembered either.
                    Ok(Cleaned::AsItWas) | Err(_) => output.append(header, batch)?,
                    Ok(Cleaned::Rewritten(batch)) => match Header::parse(&batch) {
                        Ok(header) => output.append(&header, &batch)?,
                        Err(error) => return Err(RunFailure::Write(io::Error::other(error.to_string()))),
                    },
                    Ok(Cleaned::Nothing) => {}
                }
                if let Role::Marker(Some(transaction)) = role {
                    output.list_aborted(&transaction);
                }
                Ok(ControlFlow::Continue(()))
            })?;
        }
        Ok(())
    }

    fn cleaned(
        &self,
        role: Role,
        header: &Header,
        batch: &Bytes,
        delete_retention: Duration,
        newest: &Newest,
    ) -> Result<Cleaned, RecordError> {
        match role {
            Role::Data => {
                let of_tombstones = newest.has_learned(header).then_some(delete_retention);
                record::clean(batch, self.now, of_tombstones, |offset, key| newest.is_needed(offset, key))
            }
            Role::Aborted => Ok(Cleaned::Nothing),
            Role::Marker(_) => Ok(Cleaned::AsItWas),
            Role::LoneMarker => record::clean_marker(batch, self.now, delete_retention),
        }
    }

    /// Reads and checks every batch of an extent within the offsets, and calls `visit` with it until it
    /// returns `Break`. Batches below the log start offset are left out, so damage there is ignored.
    fn each_batch(
        &self,
        segment: &dyn ExtentReader,
        Range { start, end }: Range<Offset>,
        mut visit: impl FnMut(&Header, &Bytes) -> Result<ControlFlow<()>, RunFailure>,
    ) -> Result<(), RunFailure> {
        let mut from = segment.base().max(start);
        while from < end {
            if self.stop.load(Ordering::Relaxed) {
                return Err(RunFailure::Stopped);
            }
            let batches = match segment.read_bytes(from, end, CHUNK) {
                Err(ReadError::Behind) => return Ok(()),
                read => read?,
            };
            if batches.is_empty() {
                let why =
                    format!("{}: no whole batch is between the offsets {from} and {end}", segment.describe());
                return Err(ReadError::Damaged(why).into());
            }
            for batch in record::batches(&batches) {
                let (header, batch) = batch.map_err(|error| ReadError::Damaged(error.to_string()))?;
                if visit(&header, &batch)?.is_break() {
                    return Ok(());
                }
                let next = header.next_offset();
                from = next.ok_or_else(|| ReadError::Damaged("offsets pass the largest".into()))?;
            }
        }
        Ok(())
    }
}

/// The newest offset of each key. It has the keys themselves and not their hashes, so that two keys cannot be
/// confused.
#[derive(Default)]
struct Newest {
    offsets: HashMap<Box<[u8]>, Offset>,
    /// The offset of the first batch whose keys are known.
    start: Option<Offset>,
    end: Offset,
    /// The memory for the keys in bytes, without the table.
    keys: u64,
    memory: u64,
}

impl Newest {
    /// Remembers the keys of a whole batch, or none if it cannot be read. Returns `false` if there is not
    /// enough memory for them.
    fn learn(&mut self, header: &Header, batch: &Bytes) -> bool {
        if let Some((keys, count)) = self.new_keys(batch) {
            let is_first = self.offsets.is_empty();
            if self.bytes_with(keys, count) <= self.memory {
                self.keep(batch);
                if is_first && !self.offsets.is_empty() {
                    self.start = Some(header.base_offset);
                }
            } else if !is_first {
                return false;
            }
            // A batch that exceeds the whole memory would stop every run at its start. So its keys are
            // skipped. Records with these keys stay, and so do the tombstones among them.
        }
        self.pass(header);
        true
    }

    /// Whether this run knows the keys of this batch and removes older records with them. Otherwise an earlier run has
    /// done that and has given the tombstones a delete horizon, or the keys were skipped and the tombstones have to stay.
    fn has_learned(&self, batch: &Header) -> bool {
        self.start.is_some_and(|start| batch.base_offset >= start)
    }

    /// Goes on after a batch that replaces nothing.
    fn pass(&mut self, header: &Header) {
        self.end = header.next_offset().unwrap_or(self.end);
    }

    /// The memory for the keys of a batch that are not known yet, and their number. A key that occurs several
    /// times is counted each time. `None` if the batch cannot be read.
    fn new_keys(&self, batch: &Bytes) -> Option<(u64, u64)> {
        let (mut keys, mut count) = (0, 0);
        // Read to the end, one key at a time, because the decompressed batch may be large.
        for key in record::keys(batch).ok()? {
            let Some(key) = key.ok()?.1 else { continue };
            if !self.offsets.contains_key(&*key) {
                keys += allocated(key.len());
                count += 1;
            }
        }
        Some((keys, count))
    }

    fn keep(&mut self, batch: &Bytes) {
        for (offset, key) in record::keys(batch).into_iter().flatten().flatten() {
            let Some(key) = key else { continue };
            match self.offsets.get_mut(&*key) {
                Some(newest) => *newest = offset,
                None => {
                    self.keys += allocated(key.len());
                    self.offsets.insert((&*key).into(), offset);
                }
            }
        }
    }

    /// The memory needed with n more keys. While a full table grows to twice its size, both tables are in
    /// memory.
    fn bytes_with(&self, keys: u64, count: u64) -> u64 {
        const PLACE: u64 = size_of::<(Box<[u8]>, Offset)>() as u64 + 1;
        let entries = self.offsets.len() as u64 + count;
        let places = (entries * 8 / 7 + 1).next_power_of_two();
        self.keys + keys + places * PLACE + places / 2 * PLACE
    }

    /// Whether no newer record of the key is known. A record without a key is removed, as in Kafka.
    fn is_needed(&self, offset: Offset, key: Option<&[u8]>) -> bool {
        if offset >= self.end {
            return true;
        }
        let Some(key) = key else { return false };
        self.offsets.get(key).is_none_or(|newest| *newest <= offset)
    }
}

/// The facts about a log that a run collects before it writes.
struct LogFacts {
    newest: Newest,
    aborted: AbortedTransactions,
    /// The offset from which on not all keys are known, because there was not enough memory for them.
    until: Option<Offset>,
}

/// The approximate memory that an allocator uses for n bytes.
fn allocated(bytes: usize) -> u64 {
    (bytes as u64 + 8).next_multiple_of(16).max(32)
}

/// The extents that a run writes.
struct Output<'a> {
    sink: &'a mut dyn Sink,
    generation: u32,
    /// The maximum size of an extent with more than one batch.
    most: u64,
    extents: Vec<Rewritten>,
}

impl Output<'_> {
    fn begin(&mut self, base: Offset, cleaned: bool) -> io::Result<()> {
        self.sink.begin(ExtentId { base, generation: self.generation })?;
        let aborted = AbortedList::default();
        self.extents.push(Rewritten { base, bytes: 0, max_timestamp: Timestamp(-1), cleaned, aborted });
        Ok(())
    }

    fn is_clean(&self) -> bool {
        self.extents.last().is_some_and(|last| last.cleaned)
    }

    fn append(&mut self, header: &Header, batch: &Bytes) -> io::Result<()> {
        if let Some(newest) = self.extents.last().copied().filter(|newest| newest.bytes > 0) {
            let last = header.last_offset().unwrap_or(header.base_offset);
            let is_full = newest.bytes + batch.len() as u64 > self.most;
            if is_full || last.0.saturating_sub(newest.base.0) > i64::from(i32::MAX) {
                self.begin(header.base_offset, newest.cleaned)?;
            }
        }
        let Some(newest) = self.extents.last_mut() else { return Ok(()) };
        newest.bytes += batch.len() as u64;
        newest.max_timestamp = newest.max_timestamp.max(header.max_timestamp);
        self.sink.append(batch)
    }

    fn list_aborted(&mut self, transaction: &AbortedTransaction) {
        let Some(newest) = self.extents.last_mut() else { return };
        newest.aborted = newest.aborted.with(transaction);
        self.sink.list_aborted(transaction);
    }

    /// Makes the extents durable.
    fn finish(&mut self) -> io::Result<Vec<Rewritten>> {
        self.sink.finish()?;
        Ok(self.extents.clone())
    }
}

#[cfg(test)]
mod tests;
