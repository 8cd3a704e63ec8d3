//! The marker at the end of a transaction: a control batch with one record, as Kafka writes it
//! (`MemoryRecords.withEndTransactionMarker`). The record's key is its version and type, the value its version and the
//! coordinator epoch.

use bytes::Bytes;

use super::{Attributes, BatchBuilder, Header, Producer, records};
use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp, TransactionEnd};

/// The end of a transaction in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    pub producer: ProducerId,
    pub epoch: ProducerEpoch,
    pub end: TransactionEnd,
    pub coordinator_epoch: i32,
    pub time: Timestamp,
}

/// The version of key and value.
const VERSION: [u8; 2] = 0i16.to_be_bytes();
const ABORT: [u8; 2] = 0i16.to_be_bytes();
const COMMIT: [u8; 2] = 1i16.to_be_bytes();

/// A marker has no sequence.
const NO_SEQUENCE: i32 = -1;

impl Marker {
    /// The size of every marker's batch.
    pub const SIZE: usize = 78;

    pub fn batch(&self, base_offset: Offset, leader_epoch: LeaderEpoch) -> Bytes {
        let kind = match self.end {
            TransactionEnd::Commit => COMMIT,
            TransactionEnd::Abort => ABORT,
        };
        let key = [VERSION, kind].concat();
        let value = [&VERSION[..], &self.coordinator_epoch.to_be_bytes()].concat();
        BatchBuilder::new()
            .base_offset(base_offset)
            .leader_epoch(leader_epoch)
            .producer(Producer { id: self.producer, epoch: self.epoch, base_sequence: NO_SEQUENCE })
            .transactional()
            .flag(Attributes::CONTROL)
            .record(self.time, Some(&key), Some(&value), &[])
            .build()
    }

    /// The marker in a whole batch; `None` if it is another batch. Later versions of key and value are read as well,
    /// because they begin with the same fields.
    pub fn of_batch(batch: &[u8]) -> Option<Marker> {
        let header = Header::parse(batch).ok()?;
        if !header.attributes.control() || !header.attributes.transactional() {
            return None;
        }
        let record = records(&Bytes::copy_from_slice(batch)).ok()?.next()?.ok()?;
        let (key, value) = (record.key?, record.value?);
        let (_version, kind) = key.split_first_chunk::<2>()?;
        let (_version, coordinator_epoch) = value.split_first_chunk::<2>()?;
        let end = match *kind.first_chunk()? {
            ABORT => TransactionEnd::Abort,
            COMMIT => TransactionEnd::Commit,
            _ => return None,
        };
        Some(Marker {
            producer: header.producer_id,
            epoch: header.producer_epoch,
            end,
            coordinator_epoch: i32::from_be_bytes(*coordinator_epoch.first_chunk()?),
            time: record.timestamp,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker(end: TransactionEnd) -> Marker {
        Marker {
            producer: ProducerId(9),
            epoch: ProducerEpoch(3),
            end,
            coordinator_epoch: -1,
            time: Timestamp(70),
        }
    }

    #[test]
    fn a_marker_is_read_back() {
        for end in [TransactionEnd::Commit, TransactionEnd::Abort] {
            let batch = marker(end).batch(Offset(40), LeaderEpoch(2));
            let header = Header::parse(&batch).unwrap();
            assert_eq!((header.size(), header.base_offset, header.count), (Marker::SIZE, Offset(40), 1));
            assert_eq!(Marker::of_batch(&batch), Some(marker(end)));
        }
    }

    #[test]
    fn other_batches_and_bytes_are_not_markers() {
        let batch = marker(TransactionEnd::Abort).batch(Offset(0), LeaderEpoch(0));
        for length in 0..batch.len() {
            assert_eq!(Marker::of_batch(batch.get(..length).unwrap()), None, "{length} bytes");
        }
        let control = |key: Option<&[u8]>, value: Option<&[u8]>| {
            let batch = BatchBuilder::new().transactional().flag(Attributes::CONTROL);
            Marker::of_batch(&batch.record(Timestamp(1), key, value, &[]).build())
        };
        let value = [0; 6];
        assert!(control(Some(&[0, 0, 0, 1]), Some(&value)).is_some());
        assert!(control(Some(&[0, 9, 0, 1, 7]), Some(&[0, 9, 0, 0, 0, 0, 7])).is_some(), "a later version");
        assert_eq!(control(Some(&[0, 0, 0, 2]), Some(&value)), None, "a change of leaders");
        assert_eq!(control(Some(&[0, 0, 0]), Some(&value)), None);
        assert_eq!(control(Some(&[0, 0, 0, 1]), Some(&value[..5])), None);
        assert_eq!(control(None, Some(&value)), None);
        assert_eq!(control(Some(&[0, 0, 0, 1]), None), None);
        let plain = BatchBuilder::new().transactional();
        let plain = plain.record(Timestamp(1), Some(&[0, 0, 0, 1]), Some(&value), &[]).build();
        assert_eq!(Marker::of_batch(&plain), None, "a client's record with the same key");
    }
}
