//! Batches with any fields, which no client would build.

use bytes::Bytes;
use jackdaw::record::{BatchBuilder, crc_of};
use jackdaw::types::Timestamp;

pub const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// Every field of a batch; a field with `None` gets its correct value.
#[derive(Clone, Debug)]
pub struct Forged {
    pub base_offset: i64,
    pub length: Option<i32>,
    pub leader_epoch: i32,
    pub magic: i8,
    pub crc: Option<u32>,
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub count: i32,
    pub payload: Vec<u8>,
}

impl Forged {
    /// A valid batch of these records.
    pub fn of(records: &[Vec<u8>]) -> Forged {
        let count = i32::try_from(records.len()).unwrap();
        Forged { count, last_offset_delta: count - 1, payload: records.concat(), ..Forged::empty() }
    }

    /// A valid batch except that it has no records.
    pub fn empty() -> Forged {
        Forged {
            base_offset: 0,
            length: None,
            leader_epoch: -1,
            magic: 2,
            crc: None,
            attributes: 0,
            last_offset_delta: -1,
            base_timestamp: NOW.0,
            max_timestamp: NOW.0,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            count: 0,
            payload: Vec::new(),
        }
    }

    pub fn bytes(&self) -> Bytes {
        let length = i32::try_from(49 + self.payload.len()).unwrap();
        let mut bytes = self.base_offset.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.length.unwrap_or(length).to_be_bytes());
        bytes.extend_from_slice(&self.leader_epoch.to_be_bytes());
        bytes.extend_from_slice(&self.magic.to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.attributes.to_be_bytes());
        bytes.extend_from_slice(&self.last_offset_delta.to_be_bytes());
        bytes.extend_from_slice(&self.base_timestamp.to_be_bytes());
        bytes.extend_from_slice(&self.max_timestamp.to_be_bytes());
        bytes.extend_from_slice(&self.producer_id.to_be_bytes());
        bytes.extend_from_slice(&self.producer_epoch.to_be_bytes());
        bytes.extend_from_slice(&self.base_sequence.to_be_bytes());
        bytes.extend_from_slice(&self.count.to_be_bytes());
        bytes.extend_from_slice(&self.payload);
        let crc = self.crc.unwrap_or_else(|| crc_of(&bytes));
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        bytes.into()
    }
}

/// A small valid record.
pub fn record(offset_delta: i64, timestamp_delta: i64) -> Vec<u8> {
    raw_record(None, &[&[0], &varint(timestamp_delta), &varint(offset_delta), &varint(-1), b"\x02v", &[0]])
}

/// A small valid record with a key.
pub fn keyed(offset_delta: i64) -> Vec<u8> {
    raw_record(None, &[&[0, 0], &varint(offset_delta), b"\x02k", b"\x02v", &[0]])
}

/// A record with these parts, after its length or another one.
pub fn raw_record(length: Option<i64>, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = length.unwrap_or(i64::try_from(body.len()).unwrap());
    [varint(length), body].concat()
}

/// A zigzag varint.
pub fn varint(number: i64) -> Vec<u8> {
    let mut bits = ((number << 1) ^ (number >> 63)) as u64;
    let mut bytes = Vec::new();
    while bits >= 0x80 {
        bytes.push(bits as u8 | 0x80);
        bits >>= 7;
    }
    bytes.push(bits as u8);
    bytes
}

/// The bytes of a builder's batch after its header.
pub fn payload(batch: &BatchBuilder) -> Vec<u8> {
    batch.build()[61..].to_vec()
}
