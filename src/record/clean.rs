//! Compaction of one batch (Kafka's `Cleaner` and `MemoryRecords.filterTo`; KIP-534): what goes, and the batch
//! that is left. A batch keeps its offsets, its producer and its codec, a record its own headers and time.
//!
//! A record without a value says that its key is gone. It outlives the run that first meets it by
//! `delete.retention.ms`, so that who reads along still hears of it: that run writes when into the batch's base
//! timestamp and sets a bit of its attributes.

use std::time::Duration;

use bytes::Bytes;

use super::{Attributes, BatchBuilder, Header, Record, RecordError, records};
use crate::types::Timestamp;

/// What compaction leaves of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cleaned {
    AsItWas,
    Rewritten(Bytes),
    Nothing,
}

/// `is_needed` says of a record whether nothing newer stands for its key; it is asked twice. Fails where the batch
/// cannot be read; then it is best left alone. Holds one record at a time: what a batch opens to may be large.
pub fn clean(
    batch: &Bytes,
    now: Timestamp,
    delete_retention: Duration,
    is_needed: impl Fn(&Record) -> bool,
) -> Result<Cleaned, RecordError> {
    let header = Header::parse(batch)?;
    if !is_cleaned(&header) {
        return Ok(Cleaned::AsItWas);
    }
    let horizon = header.attributes.delete_horizon().then_some(header.base_timestamp);
    let tombstones_go = horizon.is_some_and(|horizon| now >= horizon);
    let stays = |record: &Record| is_needed(record) && !(tombstones_go && record.value.is_none());

    let (mut keeps_one, mut drops_one, mut keeps_a_tombstone) = (false, false, false);
    for record in records(batch)? {
        let record = record?;
        match stays(&record) {
            true => (keeps_one, keeps_a_tombstone) = (true, keeps_a_tombstone || record.value.is_none()),
            false => drops_one = true,
        }
    }
    let wants_horizon = keeps_a_tombstone && horizon.is_none();
    if !keeps_one {
        return Ok(Cleaned::Nothing);
    }
    if !drops_one && !wants_horizon {
        return Ok(Cleaned::AsItWas);
    }
    let until = i64::try_from(delete_retention.as_millis()).unwrap_or(i64::MAX);
    let horizon = horizon.or(wants_horizon.then_some(Timestamp(now.0.saturating_add(until))));
    rewritten(batch, &header, horizon, stays).map(Cleaned::Rewritten)
}

/// Whether records of the batch stand for keys, and may go. Those of transactions are left alone until what is
/// known of a transaction says which of them count.
pub fn is_cleaned(header: &Header) -> bool {
    !header.attributes.control() && !header.attributes.transactional()
}

fn rewritten(
    batch: &Bytes,
    header: &Header,
    horizon: Option<Timestamp>,
    stays: impl Fn(&Record) -> bool,
) -> Result<Bytes, RecordError> {
    let mut builder = BatchBuilder::new()
        .codec(header.attributes.codec()?)
        .base_offset(header.base_offset)
        .leader_epoch(header.leader_epoch)
        .last_offset_delta(header.last_offset_delta);
    if let Some(producer) = header.producer() {
        builder = builder.producer(producer);
    }
    if header.attributes.log_append_time() {
        builder = builder.flag(Attributes::LOG_APPEND_TIME);
    }
    if let Some(horizon) = horizon {
        builder = builder.flag(Attributes::DELETE_HORIZON).base_timestamp(horizon);
    }
    for record in records(batch)? {
        let record = record?;
        if !stays(&record) {
            continue;
        }
        let delta = record.offset.0.saturating_sub(header.base_offset.0);
        let headers: Vec<(&[u8], Option<&[u8]>)> =
            record.headers.iter().map(|(name, value)| (&**name, value.as_deref())).collect();
        builder = builder.record_at(
            delta,
            record.timestamp,
            record.key.as_deref(),
            record.value.as_deref(),
            &headers,
        );
    }
    Ok(builder.build())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Codec, Producer, crc_of};
    use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

    const NOW: Timestamp = Timestamp(1_000_000);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    /// Of the keys a, b, c and b again; the value of c is null.
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
            let cleaned = written(clean(&batch, NOW, DAY, |record| record.offset != Offset(11)));
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
        assert_eq!(clean(&batch, NOW, DAY, |_| true), Ok(Cleaned::AsItWas));
        assert_eq!(clean(&batch, NOW, DAY, |_| false), Ok(Cleaned::Nothing));
    }

    #[test]
    fn a3_a_tombstone_goes_delete_retention_after_the_first_run_that_met_it() {
        let batch = orders(Codec::None).build();
        let marked = written(clean(&batch, NOW, DAY, |_| true));
        let header = Header::parse(&marked).unwrap();
        assert!(header.attributes.delete_horizon());
        assert_eq!(header.base_timestamp, Timestamp(NOW.0 + 86_400_000));
        let times =
            |batch| -> Vec<Timestamp> { records(batch).unwrap().map(|one| one.unwrap().timestamp).collect() };
        assert_eq!(times(&marked), times(&batch), "read back, times are what they were");

        let just_before = Timestamp(NOW.0 + 86_399_999);
        assert_eq!(
            clean(&marked, just_before, DAY, |_| true),
            Ok(Cleaned::AsItWas),
            "it is not marked again"
        );
        let later = Timestamp(NOW.0 + 86_400_000);
        let cleaned = written(clean(&marked, later, DAY, |_| true));
        assert_eq!(offsets(&cleaned), [10, 11, 13]);
        assert_eq!(times(&cleaned), [Timestamp(500), Timestamp(700), Timestamp(400)]);
        assert_eq!(clean(&cleaned, later, DAY, |_| true), Ok(Cleaned::AsItWas));
    }

    #[test]
    fn what_cannot_be_read_and_what_belongs_to_a_transaction_is_left_alone() {
        let in_transaction = orders(Codec::None).transactional().build();
        assert_eq!(clean(&in_transaction, NOW, DAY, |_| false), Ok(Cleaned::AsItWas));
        let mut broken = orders(Codec::Gzip).build().to_vec();
        let last = broken.len() - 12;
        broken[last] ^= 0xff;
        assert!(clean(&broken.into(), NOW, DAY, |_| false).is_err());
    }
}
