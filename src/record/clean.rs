//! Compaction of one batch (Kafka's `Cleaner` and `MemoryRecords.filterTo`; KIP-534). A batch keeps its
//! offsets, its producer and its codec. A record keeps its headers and timestamp.
//!
//! A tombstone (a record without a value) deletes its key. It stays for `delete.retention.ms` after the
//! run that first meets it, so that consumers still read it. That run writes the end of this time, the
//! delete horizon, into the batch's base timestamp and sets a bit of its attributes. The marker of a
//! transaction without records is removed in the same way.

use std::io::{self, Read};
use std::time::Duration;

use bytes::{Buf, Bytes};

use super::builder::{put_length, put_nullable, put_varlong};
use super::records::{Head, expect_end, next_head, open};
use super::source::{AnySource, Source, WalkResult};
use super::{Attributes, BatchBuilder, Header, Marker, RecordError, compress};
use crate::types::{Offset, Timestamp};

/// The result of compacting a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cleaned {
    AsItWas,
    Rewritten(Bytes),
    Nothing,
}

/// Compacts a batch. `is_needed` says whether an offset has the newest record of its key; it is called
/// twice. Without a `delete_retention`, tombstones that have no delete horizon get none, so they stay. Fails if the
/// batch cannot be read, or would become far larger; then it is best left unchanged.
/// Values are copied in parts and never held, because a decompressed batch may be large.
pub fn clean(
    batch: &Bytes,
    now: Timestamp,
    delete_retention: Option<Duration>,
    is_needed: impl Fn(Offset, Option<&[u8]>) -> bool,
) -> Result<Cleaned, RecordError> {
    let (header, mut source) = open(batch)?;
    if header.attributes.control() {
        return Ok(Cleaned::AsItWas);
    }
    let horizon = horizon_of(&header);
    let tombstones_go = horizon.is_some_and(|horizon| now >= horizon);
    let stays = |head: &Head| {
        let offset = head.shape.offset(&header)?;
        Ok(is_needed(offset, head.key.as_deref()) && !(tombstones_go && head.value.is_none()))
    };

    let mut kept = KeptSummary::default();
    for _ in 0..header.count {
        let head = next_head(&mut source)?;
        source.skip(head.rest)?;
        if stays(&head)? {
            kept.add(&head, head.shape.timestamp(&header));
        }
    }
    expect_end(&mut source)?;
    drop(source);
    let new_horizon = delete_retention.filter(|_| kept.a_tombstone && horizon.is_none());
    if kept.count == 0 {
        return Ok(Cleaned::Nothing);
    }
    if kept.count == header.count && new_horizon.is_none() {
        return Ok(Cleaned::AsItWas);
    }
    let horizon = horizon.or(new_horizon.map(|retention| horizon_from(now, retention)));
    rewritten(batch, &header, &kept, horizon, stays).map(Cleaned::Rewritten)
}

/// Compacts the marker of a transaction that has no records left. Only the end of a transaction is removed;
/// other control batches stay.
pub fn clean_marker(
    batch: &Bytes,
    now: Timestamp,
    delete_retention: Duration,
) -> Result<Cleaned, RecordError> {
    let header = Header::parse(batch)?;
    if Marker::of_batch(batch).is_none() {
        return Ok(Cleaned::AsItWas);
    }
    match horizon_of(&header) {
        Some(horizon) if now >= horizon => Ok(Cleaned::Nothing),
        Some(_) => Ok(Cleaned::AsItWas),
        None => {
            let kept = KeptSummary { count: header.count, ..KeptSummary::default() };
            let horizon = horizon_from(now, delete_retention);
            rewritten(batch, &header, &kept, Some(horizon), |_| Ok(true)).map(Cleaned::Rewritten)
        }
    }
}

/// The time from which tombstones and markers of the batch may be removed; `None` if no run has met them.
fn horizon_of(header: &Header) -> Option<Timestamp> {
    header.attributes.delete_horizon().then_some(header.base_timestamp)
}

fn horizon_from(now: Timestamp, delete_retention: Duration) -> Timestamp {
    let retention = i64::try_from(delete_retention.as_millis()).unwrap_or(i64::MAX);
    Timestamp(now.0.saturating_add(retention))
}

/// A summary of the records that stay.
#[derive(Default)]
struct KeptSummary {
    count: i32,
    a_tombstone: bool,
    first_timestamp: Option<Timestamp>,
    max_timestamp: Option<Timestamp>,
}

impl KeptSummary {
    fn add(&mut self, head: &Head, timestamp: Timestamp) {
        self.count = self.count.saturating_add(1);
        self.a_tombstone |= head.value.is_none();
        self.first_timestamp.get_or_insert(timestamp);
        self.max_timestamp = self.max_timestamp.max(Some(timestamp));
    }
}

/// The largest growth of a batch when it is compressed again: our encoders are not the best ones.
const LARGEST_GROWTH: usize = 4;
const ALWAYS_ALLOWED: usize = 1 << 20;

/// The attributes that a batch keeps, besides its codec.
const KEPT_FLAGS: i16 = Attributes::LOG_APPEND_TIME | Attributes::TRANSACTIONAL | Attributes::CONTROL;

fn rewritten(
    batch: &Bytes,
    header: &Header,
    kept: &KeptSummary,
    horizon: Option<Timestamp>,
    stays: impl Fn(&Head) -> WalkResult<bool>,
) -> Result<Bytes, RecordError> {
    let codec = header.attributes.codec()?;
    let base_timestamp = horizon.or(kept.first_timestamp).unwrap_or(header.base_timestamp);
    let mut builder = BatchBuilder::new()
        .codec(codec)
        .base_offset(header.base_offset)
        .leader_epoch(header.leader_epoch)
        .last_offset_delta(header.last_offset_delta)
        .base_timestamp(base_timestamp);
    if let Some(producer) = header.producer() {
        builder = builder.producer(producer);
    }
    builder = builder.flag(header.attributes.0 & KEPT_FLAGS);
    if horizon.is_some() {
        builder = builder.flag(Attributes::DELETE_HORIZON);
    }
    let (_, source) = open(batch)?;
    let records = KeptRecords {
        source,
        header,
        base_timestamp,
        left: header.count,
        stays,
        begun: Bytes::new(),
        rest: 0,
    };
    let most = batch.len().saturating_mul(LARGEST_GROWTH).max(ALWAYS_ALLOWED);
    let packed =
        compress::pack(codec, records, most).map_err(|error| RecordError::Invalid(error.to_string()))?;
    let packed = packed.ok_or(RecordError::OpensTooLarge)?;
    Ok(builder.build_packed(&packed, kept.count, kept.max_timestamp.unwrap_or(header.max_timestamp)))
}

/// Reads the records that stay, encoded for the new batch.
struct KeptRecords<'a, F> {
    source: AnySource,
    header: &'a Header,
    base_timestamp: Timestamp,
    left: i32,
    stays: F,
    /// The unread part of the current record: `begun` has the bytes up to its value, followed by `rest`
    /// bytes of the source.
    begun: Bytes,
    rest: usize,
}

impl<F: Fn(&Head) -> WalkResult<bool>> KeptRecords<'_, F> {
    fn begin_next(&mut self) -> WalkResult<()> {
        self.left = self.left.saturating_sub(1);
        let head = next_head(&mut self.source)?;
        if !(self.stays)(&head)? {
            return self.source.skip(head.rest);
        }
        let timestamp = head.shape.timestamp(self.header);
        let mut begun = vec![0]; // attributes: none are defined
        put_varlong(&mut begun, timestamp.0.wrapping_sub(self.base_timestamp.0));
        put_varlong(&mut begun, head.shape.offset_delta.into());
        put_nullable(&mut begun, head.key.as_deref());
        match head.value {
            Some(length) => put_length(&mut begun, length),
            None => put_varlong(&mut begun, -1),
        }
        let mut whole = Vec::with_capacity(begun.len().saturating_add(5));
        put_length(&mut whole, begun.len().saturating_add(head.rest));
        whole.extend_from_slice(&begun);
        (self.begun, self.rest) = (whole.into(), head.rest);
        Ok(())
    }
}

impl<F: Fn(&Head) -> WalkResult<bool>> Read for KeptRecords<'_, F> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.begun.is_empty() && self.rest == 0 && self.left > 0 {
            self.begin_next().map_err(io::Error::other)?;
        }
        if !self.begun.is_empty() || out.is_empty() {
            let taken = out.len().min(self.begun.len());
            self.begun.split_to(taken).copy_to_slice(out.get_mut(..taken).unwrap_or_default());
            return Ok(taken);
        }
        if self.rest == 0 {
            return Ok(0);
        }
        let copied = self.source.copy(self.rest, out).map_err(io::Error::other)?;
        self.rest = self.rest.saturating_sub(copied);
        Ok(copied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Codec, Producer, Record, crc_of, records};
    use crate::types::{LeaderEpoch, ProducerEpoch, ProducerId, TransactionEnd};

    const NOW: Timestamp = Timestamp(1_000_000);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    /// Records with the keys a, b, c and b again; the value of c is null.
    fn orders(codec: Codec) -> BatchBuilder {
        BatchBuilder::new()
            .codec(codec)
            .base_offset(Offset(10))
            .leader_epoch(LeaderEpoch(3))
            .producer(Producer { id: ProducerId(7), epoch: ProducerEpoch(1), base_sequence: 40 })
            .record(Timestamp(500), Some(b"a"), Some(b"1"), &[(b"of", Some(b"a"))])
            .record(Timestamp(700), Some(b"b"), Some(b"2"), &[(b"of", Some(b"b"))])
            .record(Timestamp(600), Some(b"c"), None, &[])
            .record(Timestamp(400), Some(b"b"), Some(b"3"), &[(b"of", Some(b"second b")), (b"of", None)])
    }

    fn offsets(batch: &Bytes) -> Vec<i64> {
        records(batch).unwrap().map(|record| record.unwrap().offset.0).collect()
    }

    fn written(cleaned: Result<Cleaned, RecordError>) -> Bytes {
        match cleaned.unwrap() {
            Cleaned::Rewritten(batch) => batch,
            other => panic!("it is {other:?}"),
        }
    }

    #[test]
    fn a1_a_record_keeps_its_offset_time_and_own_headers_and_the_batch_all_else() {
        for codec in Codec::ALL {
            let batch = orders(codec).build();
            let cleaned = written(clean(&batch, NOW, Some(DAY), |offset, _| offset != Offset(11)));
            let before: Vec<Record> = records(&batch).unwrap().map(Result::unwrap).collect();
            let after: Vec<Record> = records(&cleaned).unwrap().map(Result::unwrap).collect();
            assert_eq!(after, [&before[..1], &before[2..]].concat(), "{codec:?}");
            let (old, new) = (Header::parse(&batch).unwrap(), Header::parse(&cleaned).unwrap());
            assert_eq!(new.crc, crc_of(&cleaned));
            assert_eq!(new.attributes.codec(), Ok(codec));
            assert_eq!(new.max_timestamp, Timestamp(600), "of what is left");
            let facts = |header: &Header| {
                (header.base_offset, header.last_offset_delta, header.leader_epoch, header.producer())
            };
            assert_eq!(facts(&new), facts(&old));
        }
    }

    #[test]
    fn a_batch_of_which_all_is_needed_is_left_as_it_is() {
        let batch = BatchBuilder::new().record(Timestamp(1), Some(b"a"), Some(b"1"), &[]).build();
        assert_eq!(clean(&batch, NOW, Some(DAY), |_, _| true), Ok(Cleaned::AsItWas));
        assert_eq!(clean(&batch, NOW, Some(DAY), |_, _| false), Ok(Cleaned::Nothing));
    }

    #[test]
    fn a3_a_tombstone_goes_delete_retention_after_the_first_run_that_met_it() {
        let batch = orders(Codec::None).build();
        let marked = written(clean(&batch, NOW, Some(DAY), |_, _| true));
        let header = Header::parse(&marked).unwrap();
        assert!(header.attributes.delete_horizon());
        assert_eq!(header.base_timestamp, Timestamp(NOW.0 + 86_400_000));
        let times =
            |batch| -> Vec<Timestamp> { records(batch).unwrap().map(|one| one.unwrap().timestamp).collect() };
        assert_eq!(times(&marked), times(&batch), "read back, times are what they were");

        let just_before = Timestamp(NOW.0 + 86_399_999);
        assert_eq!(
            clean(&marked, just_before, Some(DAY), |_, _| true),
            Ok(Cleaned::AsItWas),
            "it is not marked again"
        );
        let later = Timestamp(NOW.0 + 86_400_000);
        let cleaned = written(clean(&marked, later, Some(DAY), |_, _| true));
        assert_eq!(offsets(&cleaned), [10, 11, 13]);
        assert_eq!(times(&cleaned), [Timestamp(500), Timestamp(700), Timestamp(400)]);
        assert_eq!(clean(&cleaned, later, Some(DAY), |_, _| true), Ok(Cleaned::AsItWas));
    }

    #[test]
    fn a_batch_of_a_transaction_is_compacted_and_still_belongs_to_it() {
        let batch = orders(Codec::Lz4).transactional().build();
        let cleaned = written(clean(&batch, NOW, Some(DAY), |offset, _| offset != Offset(11)));
        assert_eq!(offsets(&cleaned), [10, 12, 13]);
        let header = Header::parse(&cleaned).unwrap();
        assert!(header.attributes.transactional() && header.attributes.delete_horizon());
        assert!(!header.attributes.control());
        assert_eq!(clean(&batch, NOW, Some(DAY), |_, _| false), Ok(Cleaned::Nothing));
    }

    fn marker(end: TransactionEnd) -> Marker {
        let (producer, epoch) = (ProducerId(7), ProducerEpoch(1));
        Marker { producer, epoch, end, coordinator_epoch: 5, time: Timestamp(800) }
    }

    #[test]
    fn a5_a_marker_goes_delete_retention_after_the_first_run_that_finds_it_alone() {
        for end in [TransactionEnd::Commit, TransactionEnd::Abort] {
            let batch = marker(end).batch(Offset(14), LeaderEpoch(3));
            let marked = written(clean_marker(&batch, NOW, DAY));
            let header = Header::parse(&marked).unwrap();
            assert_eq!(header.crc, crc_of(&marked));
            assert_eq!((header.base_offset, header.leader_epoch), (Offset(14), LeaderEpoch(3)));
            assert!(header.attributes.control() && header.attributes.transactional());
            assert!(header.attributes.delete_horizon());
            assert_eq!(header.base_timestamp, Timestamp(NOW.0 + 86_400_000));
            assert_eq!(header.max_timestamp, Timestamp(800));
            assert_eq!(Marker::of_batch(&marked), Some(marker(end)), "it says what it said");

            let just_before = Timestamp(NOW.0 + 86_399_999);
            assert_eq!(clean_marker(&marked, just_before, DAY), Ok(Cleaned::AsItWas));
            let later = Timestamp(NOW.0 + 86_400_000);
            assert_eq!(clean_marker(&marked, later, DAY), Ok(Cleaned::Nothing));
        }
    }

    #[test]
    fn control_batches_of_another_kind_stay() {
        let batch = orders(Codec::None).transactional().flag(Attributes::CONTROL).build();
        assert_eq!(clean_marker(&batch, NOW, DAY), Ok(Cleaned::AsItWas));
        assert_eq!(clean(&batch, NOW, Some(DAY), |_, _| false), Ok(Cleaned::AsItWas));
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        let mut broken = orders(Codec::Gzip).build().to_vec();
        let last = broken.len() - 12;
        broken[last] ^= 0xff;
        assert!(clean(&broken.into(), NOW, Some(DAY), |_, _| false).is_err());
    }
}
