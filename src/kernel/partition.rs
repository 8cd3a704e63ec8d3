//! A partition: the start and end of its log, its segment files, its leader epochs and its producers. It
//! is small for any amount of data: it never has an entry per batch.
//!
//! Invariant: `log_start ≤ end`. Segments are in order, each ends where the next one begins, and the
//! first one contains `log_start`. There are no segments exactly if the log is empty. Epochs increase
//! with their start offsets. Compaction leaves gaps between the records of all segments but the newest
//! one.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::command::{Applied, Commit, Placed, Refusal, ReplaceSegments};
use super::next_offset;
use super::producer::{Producer, Verdict};
use crate::types::{LeaderEpoch, Offset, ProducerId, SharedMap, Timestamp};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Partition {
    pub(super) log_start: Offset,
    pub(super) end: Offset,
    pub(super) epoch: LeaderEpoch,
    /// Each leader epoch with records, with its first offset.
    pub(super) epochs: Vec<(LeaderEpoch, Offset)>,
    pub(super) segments: Vec<Segment>,
    /// [`Producers`](super::producers::Producers) limits their number over all partitions.
    pub(super) producers: SharedMap<ProducerId, Producer>,
}

/// Identifies a segment by its base offset and the number of times that compaction has rewritten it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SegmentId {
    pub base: Offset,
    pub generation: u32,
}

/// The journal's view of a segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    pub base: Offset,
    pub bytes: u64,
    pub max_timestamp: Timestamp,
    pub opened: Opened,
    /// The journal's time of the last append.
    pub last_append: Timestamp,
    /// The number of times that compaction has rewritten it.
    pub generation: u32,
    /// Compaction has processed all of its records: older records of the same keys are removed.
    pub cleaned: bool,
}

impl Segment {
    /// The identity of the file.
    pub fn id(&self) -> SegmentId {
        SegmentId { base: self.base, generation: self.generation }
    }

    /// The maximum timestamp of its records; the time of its last append if no record has a timestamp (Kafka's
    /// `LogSegment.largestTimestamp`).
    pub fn newest_time(&self) -> Timestamp {
        if self.max_timestamp.0 < 0 { self.last_append } else { self.max_timestamp }
    }
}

/// The start of a segment's age: the maximum timestamp of its first batch, or the journal's time of its
/// first append if that batch has no timestamp (Kafka's `LogSegment.timeWaitedForRoll`). The latter is
/// stored as its complement, which is negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened(Timestamp);

impl Opened {
    pub fn new(first: Timestamp, now: Timestamp) -> Opened {
        if first.0 < 0 { Opened(Timestamp(!now.0)) } else { Opened(first) }
    }

    /// A timestamp of a record or of the journal.
    pub fn time(self) -> Timestamp {
        if self.0.0 < 0 { Timestamp(!self.0.0) } else { self.0 }
    }

    /// The age of the segment at `now`, when a batch with the maximum timestamp `newest` arrives.
    pub fn age(self, newest: Timestamp, now: Timestamp) -> Duration {
        let end = if self.0.0 < 0 { now } else { newest };
        end.since(self.time())
    }
}

impl Partition {
    pub fn log_start(&self) -> Offset {
        self.log_start
    }

    pub fn end(&self) -> Offset {
        self.end
    }

    pub fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    pub fn epochs(&self) -> &[(LeaderEpoch, Offset)] {
        &self.epochs
    }

    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    pub fn producers(&self) -> usize {
        self.producers.size()
    }

    /// The producer's last write to this partition, if it is remembered.
    pub fn last_write(&self, producer: ProducerId) -> Option<Timestamp> {
        self.producers.get(&producer).map(Producer::last_write)
    }

    /// `admits`: whether an unknown producer may be added.
    pub(super) fn commit(
        &mut self,
        now: Timestamp,
        commit: &Commit,
        admits: bool,
    ) -> Result<Applied, Refusal> {
        if let Verdict::Duplicate { base_offset } = self.verdict(commit, admits)? {
            return Ok(Applied::Duplicate { base_offset, log_start: self.log_start });
        }
        let base_offset = self.end;
        let end = next_offset(base_offset, commit.last_offset_delta).ok_or(Refusal::OffsetsExhausted)?;

        if commit.roll || self.segments.is_empty() {
            let max_timestamp = commit.max_timestamp;
            self.segments.push(Segment {
                base: base_offset,
                bytes: 0,
                max_timestamp,
                opened: Opened::new(commit.max_timestamp, now),
                last_append: now,
                generation: 0,
                cleaned: false,
            });
        }
        let segment = self.segments.last_mut().expect("one was just made where there was none");
        let at = segment.bytes;
        segment.bytes += u64::from(commit.bytes);
        segment.max_timestamp = segment.max_timestamp.max(commit.max_timestamp);
        segment.last_append = now;
        let segment = segment.base;

        if self.epochs.last().is_none_or(|(newest, _)| *newest < self.epoch) {
            self.epochs.push((self.epoch, base_offset));
        }
        if let Some(stamp) = commit.producer {
            match self.producers.get_mut(&stamp.id) {
                Some(known) => known.record(stamp, commit.last_offset_delta, base_offset, now),
                None => {
                    let new = Producer::new(stamp, commit.last_offset_delta, base_offset, now);
                    self.producers.insert_mut(stamp.id, new);
                }
            }
        }
        self.end = end;
        Ok(Applied::Appended(Placed {
            base_offset,
            end,
            epoch: self.epoch,
            log_start: self.log_start,
            segment,
            at,
        }))
    }

    fn verdict(&self, commit: &Commit, admits: bool) -> Result<Verdict, Refusal> {
        if commit.last_offset_delta < 0 || commit.bytes == 0 {
            return Err(Refusal::Malformed);
        }
        next_offset(self.end, commit.last_offset_delta).ok_or(Refusal::OffsetsExhausted)?;
        let Some(stamp) = commit.producer else { return Ok(Verdict::Next) };
        match self.producers.get(&stamp.id) {
            Some(known) => known.check(stamp, commit.last_offset_delta),
            None if !admits => Err(Refusal::TooManyProducers),
            None => Ok(Verdict::Next),
        }
    }

    pub(super) fn set_log_start(&mut self, offset: Offset) -> Result<Applied, Refusal> {
        if offset < self.log_start || offset > self.end {
            return Err(Refusal::OffsetOutOfRange);
        }
        self.log_start = offset;
        // A segment ends where the next one begins. If all records are below the start, no segment is
        // kept.
        let first_kept = match offset == self.end {
            true => self.segments.len(),
            false => self.segments.partition_point(|segment| segment.base <= offset).saturating_sub(1),
        };
        let dropped: Vec<Segment> = self.segments.drain(..first_kept).collect();
        self.forget_epochs_before(offset);
        Ok(Applied::LogStart { offset, dropped })
    }

    /// The newest segment is never replaced, because the log continues in it.
    pub(super) fn replace_segments(&mut self, replace: &ReplaceSegments) -> Result<Applied, Refusal> {
        let ReplaceSegments { replaced, by, .. } = replace;
        let first = self.segments.iter().position(|segment| Some(&segment.id()) == replaced.first());
        let first = first.ok_or(Refusal::OtherSegments)?;
        let behind = first + replaced.len();
        let there = self.segments.get(first..behind).unwrap_or_default();
        let Some(end) = self.segments.get(behind).map(|next| next.base) else {
            return Err(Refusal::OtherSegments);
        };
        if !there.iter().map(Segment::id).eq(replaced.iter().copied()) {
            return Err(Refusal::OtherSegments);
        }
        let (oldest, newest) = (there[0], there[there.len() - 1]);
        let begins_there = by.first().is_some_and(|first| first.base == oldest.base);
        let rises = by.iter().map(|one| one.base).chain([end]).is_sorted_by(|one, next| one < next);
        if !begins_there || !rises {
            return Err(Refusal::Malformed);
        }
        let generation = there.iter().map(|segment| segment.generation).max().unwrap_or(0) + 1;
        let by: Vec<Segment> = by
            .iter()
            .map(|one| Segment {
                base: one.base,
                bytes: one.bytes,
                max_timestamp: one.max_timestamp,
                opened: oldest.opened,
                last_append: newest.last_append,
                generation,
                cleaned: one.cleaned,
            })
            .collect();
        let replaced = self.segments.splice(first..behind, by.iter().copied()).collect();
        Ok(Applied::SegmentsReplaced { replaced, by, end })
    }

    /// The epoch of `offset` now begins there (Kafka's `LeaderEpochFileCache`).
    fn forget_epochs_before(&mut self, offset: Offset) {
        let holder = self.epochs.iter().rposition(|(_, start)| *start <= offset);
        if let Some(holder) = holder {
            self.epochs.drain(..holder);
            self.epochs[0].1 = self.epochs[0].1.max(offset);
        }
    }

    pub(super) fn raise_epoch(&mut self) -> Applied {
        self.epoch = LeaderEpoch(self.epoch.0.saturating_add(1));
        Applied::Epoch(self.epoch)
    }

    pub(super) fn set_last_write(&mut self, producer: ProducerId, at: Timestamp) {
        if let Some(producer) = self.producers.get_mut(&producer) {
            producer.set_last_write(at);
        }
    }

    pub(super) fn forget_producer(&mut self, producer: ProducerId) {
        self.producers.remove_mut(&producer);
    }
}
