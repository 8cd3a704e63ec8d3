//! The header of batches of format 2, which has 61 bytes, and the iteration over batches.
//!
//! | byte | field | | byte | field |
//! |--:|---|---|--:|---|
//! | 0 | base offset, i64 | | 27 | base timestamp, i64 |
//! | 8 | length of what follows, i32 | | 35 | max timestamp, i64 |
//! | 12 | leader epoch, i32 | | 43 | producer id, i64 |
//! | 16 | magic, i8 | | 51 | producer epoch, i16 |
//! | 17 | CRC-32C of byte 21 to the end, u32 | | 53 | base sequence, i32 |
//! | 21 | attributes, i16 | | 57 | number of records, i32 |
//! | 23 | last offset delta, i32 | | 61 | the records |

use bytes::Bytes;

use super::RecordError;
use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

/// The length of base offset, batch length and leader epoch, which the broker writes. The CRC does not
/// cover them.
pub const PREFIX_LENGTH: usize = 16;

pub(super) const BATCH_LENGTH_AT: usize = 8;

/// The length of base offset and batch length. The batch length counts the bytes after these.
pub(super) const LENGTH_END: usize = 12;

const CRC_AT: usize = 17;
pub(super) const ATTRIBUTES_AT: usize = 21;
pub(super) const MAX_TIMESTAMP_AT: usize = 35;

/// The position of the first byte that the CRC covers.
pub const CHECKED_FROM: usize = ATTRIBUTES_AT;

/// The only format since Kafka 4.0.
pub(super) const MAGIC: i8 = 2;

/// A batch header with the values of its bytes. It is only checked that it is complete, is of format 2
/// and has a length of at least itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub base_offset: Offset,
    /// Bytes from the leader epoch to the end of the batch.
    pub batch_length: i32,
    pub leader_epoch: LeaderEpoch,
    pub magic: i8,
    pub crc: u32,
    pub attributes: Attributes,
    pub last_offset_delta: i32,
    pub base_timestamp: Timestamp,
    pub max_timestamp: Timestamp,
    /// −1 if the batch has no producer id: see [`Header::producer`].
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    pub base_sequence: i32,
    pub count: i32,
}

/// The producer of an idempotent or transactional batch, and the batch's first sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    pub id: ProducerId,
    pub epoch: ProducerEpoch,
    pub base_sequence: i32,
}

impl Header {
    pub const LENGTH: usize = 61;

    /// Parses the header at the start of `bytes`; the records need not be there.
    pub fn parse(bytes: &[u8]) -> Result<Header, RecordError> {
        let mut fields = Fields(bytes);
        let base_offset = Offset(i64::from_be_bytes(fields.take()?));
        let batch_length = i32::from_be_bytes(fields.take()?);
        let leader_epoch = LeaderEpoch(i32::from_be_bytes(fields.take()?));
        let magic = i8::from_be_bytes(fields.take()?);
        if magic != MAGIC {
            return Err(unexpected_magic(magic));
        }
        let header = Header {
            base_offset,
            batch_length,
            leader_epoch,
            magic,
            crc: u32::from_be_bytes(fields.take()?),
            attributes: Attributes(i16::from_be_bytes(fields.take()?)),
            last_offset_delta: i32::from_be_bytes(fields.take()?),
            base_timestamp: Timestamp(i64::from_be_bytes(fields.take()?)),
            max_timestamp: Timestamp(i64::from_be_bytes(fields.take()?)),
            producer_id: ProducerId(i64::from_be_bytes(fields.take()?)),
            producer_epoch: ProducerEpoch(i16::from_be_bytes(fields.take()?)),
            base_sequence: i32::from_be_bytes(fields.take()?),
            count: i32::from_be_bytes(fields.take()?),
        };
        if header.size() < Header::LENGTH {
            return Err(RecordError::Corrupt(format!("batch length {batch_length} is less than a header")));
        }
        Ok(header)
    }

    /// The size of the whole batch in bytes, from its base offset to its last record.
    pub fn size(&self) -> usize {
        usize::try_from(self.batch_length).unwrap_or(0).saturating_add(LENGTH_END)
    }

    /// The offset of the last record; `None` if it exceeds the largest offset, which is never valid.
    pub fn last_offset(&self) -> Option<Offset> {
        self.base_offset.0.checked_add(i64::from(self.last_offset_delta)).map(Offset)
    }

    /// The first offset after this batch.
    pub fn next_offset(&self) -> Option<Offset> {
        self.last_offset()?.0.checked_add(1).map(Offset)
    }

    pub fn producer(&self) -> Option<Producer> {
        let known = self.producer_id.0 >= 0;
        known.then_some(Producer {
            id: self.producer_id,
            epoch: self.producer_epoch,
            base_sequence: self.base_sequence,
        })
    }
}

/// The attributes of a batch: codec in bits 0–2, then one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes(pub i16);

impl Attributes {
    pub const LOG_APPEND_TIME: i16 = 1 << 3;
    pub const TRANSACTIONAL: i16 = 1 << 4;
    pub const CONTROL: i16 = 1 << 5;
    pub const DELETE_HORIZON: i16 = 1 << 6;

    pub fn codec(self) -> Result<Codec, RecordError> {
        let id = (self.0 & 0b111) as u8;
        Codec::from_id(id).ok_or(RecordError::UnknownCodec(id))
    }

    /// Whether the max timestamp is the broker's and applies to all records.
    pub fn log_append_time(self) -> bool {
        self.0 & Attributes::LOG_APPEND_TIME != 0
    }

    pub(super) fn with_codec(self, codec: Codec) -> Attributes {
        Attributes(self.0 & !0b111 | i16::from(codec.id()))
    }

    pub(super) fn with_log_append_time(self) -> Attributes {
        Attributes(self.0 | Attributes::LOG_APPEND_TIME)
    }

    pub fn transactional(self) -> bool {
        self.0 & Attributes::TRANSACTIONAL != 0
    }

    /// Whether the records are control records of the broker.
    pub fn control(self) -> bool {
        self.0 & Attributes::CONTROL != 0
    }

    /// The attributes without the bits that only a broker sets, and without unused bits.
    pub(super) fn of_a_client(self) -> Attributes {
        const KEPT: i16 =
            0b111 | Attributes::TRANSACTIONAL | Attributes::CONTROL | Attributes::DELETE_HORIZON;
        Attributes(self.0 & KEPT)
    }

    /// Whether the base timestamp is the time from which compaction may remove the batch's tombstones.
    pub fn delete_horizon(self) -> bool {
        self.0 & Attributes::DELETE_HORIZON != 0
    }
}

/// The compression of the records of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Codec {
    pub const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    pub fn from_id(id: u8) -> Option<Codec> {
        Codec::ALL.into_iter().find(|codec| codec.id() == id)
    }

    pub fn id(self) -> u8 {
        match self {
            Codec::None => 0,
            Codec::Gzip => 1,
            Codec::Snappy => 2,
            Codec::Lz4 => 3,
            Codec::Zstd => 4,
        }
    }

    /// The codec of a topic's `compression.type`; `None` if the producer's choice is kept.
    pub fn of_setting(written: &str) -> Option<Codec> {
        match written {
            "uncompressed" => Some(Codec::None),
            name => Codec::ALL.into_iter().find(|codec| codec.name() == name),
        }
    }

    /// The name in a producer's `compression.type`.
    pub fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }
}

/// The first [`PREFIX_LENGTH`] bytes of a batch with its final offset. Followed by the unchanged rest, it
/// is the stored batch, and the CRC stays valid.
pub fn prefix(base_offset: Offset, batch_length: i32, epoch: LeaderEpoch) -> [u8; PREFIX_LENGTH] {
    let mut bytes = [0; PREFIX_LENGTH];
    let fields = base_offset
        .0
        .to_be_bytes()
        .into_iter()
        .chain(batch_length.to_be_bytes())
        .chain(epoch.0.to_be_bytes());
    for (place, byte) in bytes.iter_mut().zip(fields) {
        *place = byte;
    }
    bytes
}

/// The correct CRC of a batch.
pub fn crc_of(batch: &[u8]) -> u32 {
    crc32c::crc32c(batch.get(CHECKED_FROM..).unwrap_or_default())
}

/// Writes the CRC of a batch, after a change of its bytes.
pub(super) fn seal(batch: &mut [u8]) {
    put(batch, CRC_AT, crc_of(batch).to_be_bytes());
}

/// Overwrites a field of the header.
pub(super) fn put<const N: usize>(batch: &mut [u8], at: usize, field: [u8; N]) {
    if let Some(place) = batch.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = field;
    }
}

/// Iterates over the batches in `bytes`. Ends without an error if the last batch is incomplete, as all
/// readers of a Kafka log do. Bytes that cannot be parsed are the last item. Only headers are checked,
/// neither CRCs nor records.
pub fn batches(bytes: &Bytes) -> Batches {
    Batches { rest: bytes.clone() }
}

#[derive(Clone, Debug)]
pub struct Batches {
    rest: Bytes,
}

impl Iterator for Batches {
    type Item = Result<(Header, Bytes), RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.len() < Header::LENGTH {
            return None;
        }
        match Header::parse(&self.rest) {
            Ok(header) if header.size() > self.rest.len() => None,
            Ok(header) => Some(Ok((header, self.rest.split_to(header.size())))),
            Err(error) => {
                self.rest.clear();
                Some(Err(error))
            }
        }
    }
}

fn unexpected_magic(magic: i8) -> RecordError {
    if (0..MAGIC).contains(&magic) {
        return RecordError::OldFormat(magic);
    }
    RecordError::Corrupt(format!("unknown batch format {magic}"))
}

/// Parses the fields at the start of a header.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let Some((field, rest)) = self.0.split_first_chunk::<N>() else {
            return Err(RecordError::Corrupt("the batch ends within its header".into()));
        };
        self.0 = rest;
        Ok(*field)
    }
}
