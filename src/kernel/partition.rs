//! A partition: the start and end of its log, the extents of its bytes, its leader epochs and its
//! producers. It is small for any amount of data: it never has an entry per batch.
//!
//! Invariant: `log_start ≤ end`. Extents are in order, each ends where the next one begins, and the first
//! one contains `log_start`. There are no extents exactly if the log is empty. Epochs increase with their
//! start offsets. Compaction leaves gaps between the records of all extents but the newest one.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::command::{Applied, BatchFlags, Commit, Place, Placed, Refusal, ReplaceExtents};
use super::epochs::LeaderEpochs;
use super::producer::{Producer, Verdict};
use super::{mix, next_offset};
use crate::types::{LeaderEpoch, Offset, ProducerId, SharedMap, Timestamp};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Partition {
    pub(super) log_start: Offset,
    pub(super) end: Offset,
    pub(super) epoch: LeaderEpoch,
    pub(super) epochs: LeaderEpochs,
    pub(super) extents: Vec<Extent>,
    /// [`Producers`](super::producers::Producers) limits their number over all partitions.
    pub(super) producers: SharedMap<ProducerId, Producer>,
}

/// Identifies a segment file by its base offset and the number of times that compaction has rewritten it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SegmentId {
    pub base: Offset,
    pub generation: u32,
}

/// A part of a partition's log, with its bytes in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    pub base: Offset,
    pub bytes: u64,
    pub max_timestamp: Timestamp,
    pub opened: Opened,
    /// The journal's time of the last append.
    pub last_append: Timestamp,
    /// Compaction has processed all of its records: older records of the same keys are removed.
    pub cleaned: bool,
    pub place: ExtentPlace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExtentPlace {
    /// A segment file.
    File {
        /// The number of times that compaction has rewritten it.
        generation: u32,
    },
    /// The data beside the entry at `position` of a shared journal, from byte `at` on.
    Journal { position: u64, at: u32 },
}

/// Identifies these extents, as they are now, by a hash.
pub fn mix_of(extents: &[Extent]) -> u64 {
    extents.iter().fold(0, |hash, extent| {
        let hash = mix(mix(hash, extent.base.0.cast_unsigned()), extent.bytes);
        match extent.place {
            ExtentPlace::File { generation } => mix(hash, u64::from(generation)),
            ExtentPlace::Journal { position, at } => mix(mix(hash, position), u64::from(at)),
        }
    })
}

impl Extent {
    /// Identifies the extent among those of its partition; in a data directory also its file.
    pub fn id(&self) -> SegmentId {
        SegmentId { base: self.base, generation: self.generation().unwrap_or(0) }
    }

    /// The number of times that compaction has rewritten the file; `None` if it is not a file.
    fn generation(&self) -> Option<u32> {
        match self.place {
            ExtentPlace::File { generation } => Some(generation),
            ExtentPlace::Journal { .. } => None,
        }
    }

    pub fn is_file(&self) -> bool {
        self.generation().is_some()
    }

    /// The maximum timestamp of its records; the time of its last append if no record has a timestamp (Kafka's
    /// `LogSegment.largestTimestamp`).
    pub fn newest_time(&self) -> Timestamp {
        if self.max_timestamp.0 < 0 { self.last_append } else { self.max_timestamp }
    }
}

/// The start of an extent's age: the maximum timestamp of its first batch, or the journal's time of its
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

    /// The age of the extent at `now`, when a batch with the maximum timestamp `newest` arrives.
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

    pub fn epochs(&self) -> &LeaderEpochs {
        &self.epochs
    }

    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    pub fn producers(&self) -> usize {
        self.producers.size()
    }

    /// The producer's last write to this partition, if it is remembered.
    pub fn last_write(&self, producer: ProducerId) -> Option<Timestamp> {
        self.producers.get(&producer).map(Producer::last_write)
    }

    /// `position` is the position of the entry. `admits` is whether an unknown producer may be added.
    pub(super) fn commit(
        &mut self,
        now: Timestamp,
        position: u64,
        commit: &Commit,
        admits: bool,
    ) -> Result<Applied, Refusal> {
        if let Verdict::Duplicate { base_offset } = self.verdict(commit, admits)? {
            return Ok(Applied::Duplicate { base_offset, log_start: self.log_start });
        }
        let base_offset = self.end;
        let end = next_offset(base_offset, commit.last_offset_delta).ok_or(Refusal::OffsetsExhausted)?;

        if let Some(place) = self.begins_extent(position, commit.place) {
            let max_timestamp = commit.max_timestamp;
            self.extents.push(Extent {
                base: base_offset,
                bytes: 0,
                max_timestamp,
                opened: Opened::new(commit.max_timestamp, now),
                last_append: now,
                cleaned: false,
                place,
            });
        }
        let extent = self.extents.last_mut().expect("one was just made where there was none");
        let at = extent.bytes;
        extent.bytes += u64::from(commit.bytes);
        extent.max_timestamp = extent.max_timestamp.max(commit.max_timestamp);
        extent.last_append = now;
        let segment = extent.base;

        self.epochs.wrote(self.epoch, base_offset);
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
            topic: commit.topic,
            partition: commit.partition,
            base_offset,
            end,
            epoch: self.epoch,
            log_start: self.log_start,
            segment,
            at,
        }))
    }

    /// The place of the extent that a batch begins; `None` if it continues the newest extent.
    fn begins_extent(&self, position: u64, place: Place) -> Option<ExtentPlace> {
        let newest = self.extents.last();
        match place {
            Place::Segment { roll, .. } => {
                (roll || newest.is_none()).then_some(ExtentPlace::File { generation: 0 })
            }
            Place::Journal { at } => {
                let of_this_epoch =
                    self.epochs.starts().last().is_some_and(|(epoch, _)| *epoch == self.epoch);
                let ends_here = |extent: &Extent| match extent.place {
                    ExtentPlace::Journal { position: of, at: first } => {
                        of == position && u64::from(first) + extent.bytes == u64::from(at)
                    }
                    ExtentPlace::File { .. } => false,
                };
                let continues = of_this_epoch && newest.is_some_and(ends_here);
                (!continues).then_some(ExtentPlace::Journal { position, at })
            }
        }
    }

    fn verdict(&self, commit: &Commit, admits: bool) -> Result<Verdict, Refusal> {
        if commit.leadership < self.epoch {
            return Err(Refusal::NotLeader);
        }
        let is_known = commit.leadership == self.epoch && commit.flags == BatchFlags::default();
        if commit.last_offset_delta < 0 || commit.bytes == 0 || !is_known {
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

    /// Returns the extents that have no records any more.
    pub(super) fn set_log_start(&mut self, offset: Offset) -> Result<Vec<Extent>, Refusal> {
        if offset < self.log_start || offset > self.end {
            return Err(Refusal::OffsetOutOfRange);
        }
        self.log_start = offset;
        // An extent ends where the next one begins. If all records are below the start, no extent is kept.
        let first_kept = if offset == self.end {
            self.extents.len()
        } else {
            self.extents.partition_point(|extent| extent.base <= offset).saturating_sub(1)
        };
        let dropped = self.extents.drain(..first_kept).collect();
        self.epochs.forget_before(offset);
        Ok(dropped)
    }

    /// Replaces segment files by rewritten ones. The newest file is never replaced, because the log continues in it.
    pub(super) fn replace_extents(&mut self, replace: &ReplaceExtents) -> Result<Applied, Refusal> {
        let ReplaceExtents { topic, partition, first, end, count, mix, outputs } = replace;
        let begins_at = |base: &Offset| self.extents.iter().position(|extent| extent.base == *base);
        let (from, until) = begins_at(first).zip(begins_at(end)).ok_or(Refusal::OtherExtents)?;
        let there = self.extents.get(from..until).unwrap_or_default();
        let (Some(oldest), Some(newest)) = (there.first(), there.last()) else {
            return Err(Refusal::OtherExtents);
        };
        if u32::try_from(there.len()) != Ok(*count) || mix_of(there) != *mix {
            return Err(Refusal::OtherExtents);
        }
        let begins_there = outputs.first().is_some_and(|first| first.base == oldest.base);
        let rises = outputs.iter().map(|one| one.base).chain([*end]).is_sorted_by(|one, next| one < next);
        if !begins_there || !rises {
            return Err(Refusal::Malformed);
        }
        let generations: Option<Vec<u32>> = there.iter().map(Extent::generation).collect();
        let newest_generation = generations.and_then(|all| all.into_iter().max());
        let generation = newest_generation.ok_or(Refusal::Malformed)?.saturating_add(1);
        let by = outputs.iter().map(|one| Extent {
            base: one.base,
            bytes: one.bytes,
            max_timestamp: one.max_timestamp,
            opened: oldest.opened,
            last_append: newest.last_append,
            cleaned: one.cleaned,
            place: ExtentPlace::File { generation },
        });
        let by: Vec<Extent> = by.collect();
        let replaced = self.extents.splice(from..until, by.iter().copied()).collect();
        Ok(Applied::ExtentsReplaced { topic: *topic, partition: *partition, replaced, by, end: *end })
    }

    pub(super) fn raise_epoch(&mut self) -> LeaderEpoch {
        self.epoch = LeaderEpoch(self.epoch.0.saturating_add(1));
        self.epoch
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
