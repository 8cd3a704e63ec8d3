//! Builds batches as a client does, for tests, tools and other code that writes its own records.

use bytes::Bytes;

use super::header::{LENGTH_END, MAGIC, seal};
use super::{Attributes, Codec, Header, Producer, compress, prefix};
use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

/// Collects records and makes one batch of them.
///
/// ```
/// # use jackdaw::{record::{BatchBuilder, Codec, records}, types::Timestamp};
/// let batch = BatchBuilder::new()
///     .codec(Codec::Zstd)
///     .record(Timestamp(1_000), Some(b"key"), Some(b"value"), &[(b"header", None)])
///     .record(Timestamp(1_001), None, Some(b""), &[])
///     .build();
/// assert_eq!(records(&batch).unwrap().count(), 2);
/// ```
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    codec: Codec,
    flags: i16,
    base_offset: Offset,
    leader_epoch: LeaderEpoch,
    producer: Option<Producer>,
    base_timestamp: Option<Timestamp>,
    max_timestamp: Timestamp,
    count: i32,
    last_offset_delta: Option<i32>,
    records: Vec<u8>,
}

/// The leader epoch of batches from clients that do not set it.
const NO_EPOCH: LeaderEpoch = LeaderEpoch(-1);
const NO_TIMESTAMP: Timestamp = Timestamp(-1);
const NO_PRODUCER: Producer = Producer { id: ProducerId(-1), epoch: ProducerEpoch(-1), base_sequence: -1 };

impl Default for BatchBuilder {
    fn default() -> Self {
        BatchBuilder {
            codec: Codec::None,
            flags: 0,
            base_offset: Offset(0),
            leader_epoch: NO_EPOCH,
            producer: None,
            base_timestamp: None,
            max_timestamp: NO_TIMESTAMP,
            count: 0,
            last_offset_delta: None,
            records: Vec::new(),
        }
    }
}

impl BatchBuilder {
    pub fn new() -> BatchBuilder {
        BatchBuilder::default()
    }

    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    pub fn base_offset(mut self, offset: Offset) -> Self {
        self.base_offset = offset;
        self
    }

    pub fn leader_epoch(mut self, epoch: LeaderEpoch) -> Self {
        self.leader_epoch = epoch;
        self
    }

    pub fn producer(mut self, producer: Producer) -> Self {
        self.producer = Some(producer);
        self
    }

    pub fn transactional(self) -> Self {
        self.flag(Attributes::TRANSACTIONAL)
    }

    /// Sets a bit of [`Attributes`].
    pub fn flag(mut self, flag: i16) -> Self {
        self.flags |= flag;
        self
    }

    /// The last offset delta; otherwise that of the last record.
    pub(super) fn last_offset_delta(mut self, delta: i32) -> Self {
        self.last_offset_delta = Some(delta);
        self
    }

    /// The base timestamp; otherwise the timestamp of the first record.
    pub(super) fn base_timestamp(mut self, timestamp: Timestamp) -> Self {
        self.base_timestamp = Some(timestamp);
        self
    }

    /// Adds a record that only has a value.
    pub fn value(self, timestamp: Timestamp, value: impl AsRef<[u8]>) -> Self {
        self.record(timestamp, None, Some(value.as_ref()), &[])
    }

    /// Adds the next record.
    pub fn record(
        mut self,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) -> Self {
        let base = *self.base_timestamp.get_or_insert(timestamp);
        let mut body = vec![0]; // attributes: none are defined
        put_varlong(&mut body, timestamp.0.wrapping_sub(base.0));
        put_varlong(&mut body, i64::from(self.count));
        put_nullable(&mut body, key);
        put_nullable(&mut body, value);
        put_length(&mut body, headers.len());
        for (name, value) in headers {
            put_nullable(&mut body, Some(name));
            put_nullable(&mut body, *value);
        }
        put_length(&mut self.records, body.len());
        self.records.extend_from_slice(&body);
        self.count += 1;
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self
    }

    /// Builds the batch with its length and CRC. No server accepts a batch without records.
    pub fn build(&self) -> Bytes {
        let packed = compress::pack(self.codec, &self.records[..], usize::MAX).expect("a slice can be read");
        self.build_of(&packed.expect("there is no limit"))
    }

    /// Builds a batch of `count` records that are already compressed.
    pub(super) fn build_packed(mut self, packed: &[u8], count: i32, max_timestamp: Timestamp) -> Bytes {
        (self.count, self.max_timestamp) = (count, self.max_timestamp.max(max_timestamp));
        self.build_of(packed)
    }

    fn build_of(&self, packed: &[u8]) -> Bytes {
        let size = Header::LENGTH + packed.len();
        let length = i32::try_from(size - LENGTH_END).expect("a batch is smaller than 2 GiB");
        let mut batch = Vec::with_capacity(size);
        batch.extend_from_slice(&prefix(self.base_offset, length, self.leader_epoch));
        batch.extend_from_slice(&MAGIC.to_be_bytes());
        batch.extend_from_slice(&[0; 4]); // the CRC, below
        batch.extend_from_slice(&(i16::from(self.codec.id()) | self.flags).to_be_bytes());
        let last_offset_delta = self.last_offset_delta.unwrap_or(self.count - 1);
        batch.extend_from_slice(&last_offset_delta.to_be_bytes());
        batch.extend_from_slice(&self.base_timestamp.unwrap_or(NO_TIMESTAMP).0.to_be_bytes());
        batch.extend_from_slice(&self.max_timestamp.0.to_be_bytes());
        let producer = self.producer.unwrap_or(NO_PRODUCER);
        batch.extend_from_slice(&producer.id.0.to_be_bytes());
        batch.extend_from_slice(&producer.epoch.0.to_be_bytes());
        batch.extend_from_slice(&producer.base_sequence.to_be_bytes());
        batch.extend_from_slice(&self.count.to_be_bytes());
        batch.extend_from_slice(packed);
        seal(&mut batch);
        batch.into()
    }
}

pub(super) fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    let Some(bytes) = bytes else { return put_varlong(out, -1) };
    put_length(out, bytes.len());
    out.extend_from_slice(bytes);
}

pub(super) fn put_length(out: &mut Vec<u8>, length: usize) {
    put_varlong(out, i64::try_from(length).expect("what is in memory has a length of 63 bits"));
}

/// Writes a zigzag varint; for numbers of 32 bits it is the same as a varint.
pub(super) fn put_varlong(out: &mut Vec<u8>, number: i64) {
    let mut bits = ((number << 1) ^ (number >> 63)) as u64;
    while bits >= 0x80 {
        out.push((bits & 0x7f) as u8 | 0x80);
        bits >>= 7;
    }
    out.push(bits as u8);
}
