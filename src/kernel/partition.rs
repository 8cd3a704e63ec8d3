//! A partition: the start and end of its log, the extents of its bytes, its leader epochs and its
//! producers. It is small for any amount of data: it never has an entry per batch.
//!
//! Invariant: `log_start ≤ end`. Extents are in order, each ends where the next one begins, and the first
//! one contains `log_start`. There are no extents exactly if the log is empty. Epochs increase with their
//! start offsets. Compaction leaves gaps between the records of all extents but the newest one.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::command::{Applied, BatchFlags, Commit, Place, Placed, PlacedMarker, Refusal, ReplaceExtents};
use super::epochs::LeaderEpochs;
use super::producer::{Producer, ProducerFacts, Verdict};
use super::producers::Room;
use super::transaction::ProducerAt;
use super::{mix, next_offset};
use crate::record::Marker;
use crate::types::{
    AbortedTransaction, LeaderEpoch, Offset, ProducerEpoch, ProducerId, SharedMap, Timestamp, TopicPartition,
    TransactionEnd,
};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Partition {
    pub(super) log_start: Offset,
    pub(super) end: Offset,
    pub(super) epoch: LeaderEpoch,
    pub(super) epochs: LeaderEpochs,
    pub(super) extents: Vec<Extent>,
    /// [`Producers`](super::producers::Producers) limits their number over all partitions.
    pub(super) producers: SharedMap<ProducerId, Producer>,
    /// The open transactions with records here, by the offset of the first one.
    pub(super) open: SharedMap<Offset, ProducerId>,
}

/// Identifies a segment file by its base offset and the number of times that compaction has rewritten it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ExtentId {
    pub base: Offset,
    pub generation: u32,
}

/// A part of a partition's log, with its bytes in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    pub base: Offset,
    pub bytes: u64,
    pub max_timestamp: Timestamp,
    pub opened: OpenedAt,
    /// The journal's time of the last append.
    pub last_append: Timestamp,
    /// Compaction has processed all of its records: older records of the same keys are removed.
    pub cleaned: bool,
    /// The aborted transactions that end in it.
    pub aborted: AbortedList,
    pub place: ExtentPlace,
}

/// Identifies a list of aborted transactions, in the order of their markers. A stored list that differs is damaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbortedList {
    pub count: u32,
    /// The CRC-32C over the stored forms.
    pub crc: u32,
}

impl AbortedList {
    /// The list with one more transaction at its end.
    #[must_use]
    pub fn with(self, aborted: &AbortedTransaction) -> AbortedList {
        let crc = crc32c::crc32c_append(self.crc, &aborted.to_bytes());
        AbortedList { count: self.count.saturating_add(1), crc }
    }

    pub fn of(all: &[AbortedTransaction]) -> AbortedList {
        all.iter().fold(AbortedList::default(), AbortedList::with)
    }
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
    /// The marker of a transaction in a shared journal. It has no stored bytes: they are made from these fields.
    Marker {
        producer: ProducerId,
        epoch: ProducerEpoch,
        coordinator: i32,
        end: TransactionEnd,
        /// The transaction's first offset in the partition; `None` if it has no record there.
        first: Option<Offset>,
    },
}

/// The size of a marker's batch.
const MARKER_BYTES: u32 = Marker::SIZE as u32;

/// The place of a marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MarkerPlace {
    File {
        /// Whether the marker starts a new file.
        roll: bool,
    },
    SharedJournal,
}

/// Identifies these extents, as they are now, by a hash.
pub fn mix_of(extents: &[Extent]) -> u64 {
    extents.iter().fold(0, |hash, extent| {
        let hash = mix(mix(hash, extent.base.0.cast_unsigned()), extent.bytes);
        match extent.place {
            ExtentPlace::File { generation } => mix(hash, u64::from(generation)),
            ExtentPlace::Journal { position, at } => mix(mix(hash, position), u64::from(at)),
            ExtentPlace::Marker { producer, epoch, .. } => {
                mix(mix(hash, producer.0.cast_unsigned()), u64::from(epoch.0.cast_unsigned()))
            }
        }
    })
}

impl Extent {
    /// Identifies the extent among those of its partition; in a data directory also its file.
    pub fn id(&self) -> ExtentId {
        ExtentId { base: self.base, generation: self.generation().unwrap_or(0) }
    }

    /// The number of times that compaction has rewritten the file; `None` if it is not a file.
    fn generation(&self) -> Option<u32> {
        match self.place {
            ExtentPlace::File { generation } => Some(generation),
            ExtentPlace::Journal { .. } | ExtentPlace::Marker { .. } => None,
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
pub struct OpenedAt(Timestamp);

impl OpenedAt {
    pub fn new(first: Timestamp, now: Timestamp) -> OpenedAt {
        if first.0 < 0 { OpenedAt(Timestamp(!now.0)) } else { OpenedAt(first) }
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

    /// Whether the producer is remembered.
    pub fn knows(&self, producer: ProducerId) -> bool {
        self.producers.contains_key(&producer)
    }

    /// The producer's last write to this partition, if it is remembered and has no open transaction here.
    pub(super) fn resting_since(&self, producer: ProducerId) -> Option<Timestamp> {
        let resting = self.producers.get(&producer).filter(|producer| producer.transaction().is_none());
        resting.map(Producer::last_write)
    }

    /// The producers that are remembered, in the order of their ids.
    pub fn producer_facts(&self) -> impl Iterator<Item = (ProducerId, ProducerFacts)> {
        self.producers.iter().map(|(id, producer)| (*id, producer.facts()))
    }

    /// The number of open transactions with records here.
    pub fn open_transactions(&self) -> usize {
        self.open.size()
    }

    fn first_open(&self) -> Option<Offset> {
        self.open.first().map(|(offset, _)| *offset)
    }

    /// The offset below which all transactions have ended (KIP-98).
    pub fn last_stable(&self) -> Offset {
        let too_far = i64::from(cfg!(feature = "bug-stable-offset-too-far"));
        let first = self.first_open().map(|first| Offset(first.0 + too_far));
        first.unwrap_or(self.end).max(self.log_start)
    }

    /// `position` is the position of the entry.
    pub(super) fn commit(
        &mut self,
        now: Timestamp,
        position: u64,
        commit: &Commit,
        room: Room,
    ) -> Result<Applied, Refusal> {
        if let Verdict::Duplicate { base_offset } = self.verdict(commit, room)? {
            return Ok(Applied::Duplicate { base_offset, log_start: self.log_start });
        }
        let base_offset = self.end;
        let end = next_offset(base_offset, commit.last_offset_delta).ok_or(Refusal::OffsetsExhausted)?;

        let place = self.begins_extent(position, commit.place);
        let (segment, at) = self.lengthen(now, commit.bytes, commit.max_timestamp, place);
        self.epochs.wrote(self.epoch, base_offset);
        if let Some(stamp) = commit.producer {
            let in_transaction = commit.flags.has(BatchFlags::TRANSACTIONAL);
            let record = |producer: &mut Producer| {
                producer.record(stamp, commit.last_offset_delta, base_offset, now);
                in_transaction && producer.begin_transaction(base_offset)
            };
            let begins = match self.producers.get_mut(&stamp.id) {
                Some(known) => record(known),
                None => {
                    let mut new = Producer::new(stamp.epoch, now);
                    let begins = record(&mut new);
                    self.producers.insert_mut(stamp.id, new);
                    begins
                }
            };
            if begins {
                self.open.insert_mut(base_offset, stamp.id);
            }
        }
        self.end = end;
        let of = TopicPartition::new(commit.topic, commit.partition);
        Ok(Applied::Appended(self.placed(of, base_offset, segment, at)))
    }

    /// Appends a marker. `None` if the offsets are used up.
    pub(super) fn place_marker(
        &mut self,
        of: TopicPartition,
        marker: &Marker,
        place: MarkerPlace,
        admits: bool,
    ) -> Option<PlacedMarker> {
        let base_offset = self.end;
        let end = next_offset(base_offset, 0)?;
        if admits && !self.knows(marker.producer) {
            self.producers.insert_mut(marker.producer, Producer::new(marker.epoch, marker.time));
        }
        let known = self.producers.get_mut(&marker.producer);
        let first = known.and_then(|known| known.record_marker(marker));
        if let Some(first) = first {
            self.open.remove_mut(&first);
        }
        let place = match place {
            MarkerPlace::File { roll } => {
                (roll || self.extents.is_empty()).then_some(ExtentPlace::File { generation: 0 })
            }
            MarkerPlace::SharedJournal => Some(ExtentPlace::Marker {
                producer: marker.producer,
                epoch: marker.epoch,
                coordinator: marker.coordinator_epoch,
                end: marker.end,
                first,
            }),
        };
        let (segment, at) = self.lengthen(marker.time, MARKER_BYTES, marker.time, place);
        self.epochs.wrote(self.epoch, base_offset);
        self.end = end;
        let aborted = first.filter(|_| marker.end == TransactionEnd::Abort).map(|first| AbortedTransaction {
            producer: marker.producer,
            first,
            last: base_offset,
            last_stable: self.first_open().unwrap_or(end),
        });
        if let (Some(extent), Some(aborted)) = (self.extents.last_mut(), &aborted) {
            extent.aborted = extent.aborted.with(aborted);
        }
        Some(PlacedMarker { placed: self.placed(of, base_offset, segment, at), aborted })
    }

    pub(super) fn check_marker(
        &self,
        producer: ProducerAt,
        coordinator_epoch: i32,
        new_epoch_only: bool,
    ) -> Result<(), Refusal> {
        match self.producers.get(&producer.id) {
            Some(known) => known.check_marker(producer.epoch, coordinator_epoch, new_epoch_only),
            None => Ok(()),
        }
    }

    /// The position of the batch at `base_offset`, which was just appended.
    fn placed(&self, of: TopicPartition, base_offset: Offset, segment: Offset, at: u64) -> Placed {
        Placed {
            topic: of.topic,
            partition: of.partition,
            base_offset,
            end: self.end,
            epoch: self.epoch,
            log_start: self.log_start,
            last_stable: self.last_stable(),
            segment,
            at,
        }
    }

    /// Adds the bytes of a batch to the newest extent, or with `place` to a new one. Returns the extent's base offset
    /// and the position in it.
    fn lengthen(
        &mut self,
        now: Timestamp,
        bytes: u32,
        max_timestamp: Timestamp,
        place: Option<ExtentPlace>,
    ) -> (Offset, u64) {
        if let Some(place) = place {
            self.extents.push(Extent {
                base: self.end,
                bytes: 0,
                max_timestamp,
                opened: OpenedAt::new(max_timestamp, now),
                last_append: now,
                cleaned: false,
                aborted: AbortedList::default(),
                place,
            });
        }
        let extent = self.extents.last_mut().expect("one was just made where there was none");
        let at = extent.bytes;
        extent.bytes += u64::from(bytes);
        extent.max_timestamp = extent.max_timestamp.max(max_timestamp);
        extent.last_append = now;
        (extent.base, at)
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
                    ExtentPlace::File { .. } | ExtentPlace::Marker { .. } => false,
                };
                let continues = of_this_epoch && newest.is_some_and(ends_here);
                (!continues).then_some(ExtentPlace::Journal { position, at })
            }
        }
    }

    fn verdict(&self, commit: &Commit, room: Room) -> Result<Verdict, Refusal> {
        if commit.leadership < self.epoch {
            return Err(Refusal::NotLeader);
        }
        let is_known = commit.leadership == self.epoch && commit.flags.are_known();
        let is_plain = commit.flags == BatchFlags::default();
        if commit.last_offset_delta < 0 || commit.bytes == 0 || !is_known {
            return Err(Refusal::Malformed);
        }
        next_offset(self.end, commit.last_offset_delta).ok_or(Refusal::OffsetsExhausted)?;
        let Some(stamp) = commit.producer else {
            return if is_plain { Ok(Verdict::Next) } else { Err(Refusal::Malformed) };
        };
        let known = self.producers.get(&stamp.id);
        let verdict = match known {
            Some(known) => known.check(stamp, commit.last_offset_delta, commit.flags),
            None if !room.new => Err(Refusal::TooManyProducers),
            None => Producer::check_first(stamp, commit.flags),
        }?;
        let begins = commit.flags.has(BatchFlags::TRANSACTIONAL)
            && verdict == Verdict::Next
            && known.is_none_or(|known| known.transaction().is_none());
        if begins && !room.in_transaction { Err(Refusal::TooManyOpenTransactions) } else { Ok(verdict) }
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
            aborted: one.aborted,
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
