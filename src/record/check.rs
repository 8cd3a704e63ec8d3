//! The checks of batches that clients append: rules P of `docs/rules.md`.
//!
//! | part | checks |
//! |---|---|
//! | header and CRC | of every batch |
//! | uncompressed records | walked: every length, offsets 0, 1, 2 …, timestamps, keys if the topic is compacted |
//! | compressed records | decompressed as a stream, and walked in the same way |
//! | `compression.type` of the topic | a batch with another codec is stored with that one |
//!
//! The leader epoch is not checked: clients disagree (franz-go sends −1, Sarama 0), and the broker
//! overwrites it. If the records have another max timestamp than the header, or the topic uses the
//! broker's clock, the header is corrected on a copy, as in Kafka.

use std::io::ErrorKind;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::decompress::Dialect;
use super::header::{ATTRIBUTES_AT, BATCH_LENGTH_AT, LENGTH_END, MAX_TIMESTAMP_AT, put, seal};
use super::records::{Shape, expect_end, next_shape};
use super::source::{DecompressedRecords, Plain, Source};
use super::{Codec, Header, RecordError, RecordRefusal, compress, crc_of, decompress};
use crate::types::{Offset, Timestamp};

/// The rules of a topic for batches from clients.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// `max.message.bytes`: the maximum size of a whole batch.
    pub max_message_bytes: u32,
    /// `segment.bytes`: a batch has to fit into one segment.
    pub segment_bytes: u64,
    /// `max.decompressed.message.bytes`: the maximum size of one record of a compressed batch.
    pub max_decompressed_bytes: u32,
    /// `compression.type`: the codec of stored batches; `None` keeps the producer's.
    pub compression: Option<Codec>,
    /// Every record needs a key.
    pub compacted: bool,
    /// `message.timestamp.type`: if set, `now` is the timestamp of all records.
    pub log_append_time: bool,
    /// The broker's time, which the two limits below refer to.
    pub now: Timestamp,
    /// `message.timestamp.before.max.ms`
    pub timestamp_before_max: Duration,
    /// `message.timestamp.after.max.ms`
    pub timestamp_after_max: Duration,
}

impl Rules {
    /// Rules for tests that are not about them: every valid batch is accepted as it is.
    #[cfg(any(test, feature = "simulated-disk"))]
    pub const LENIENT: Rules = Rules {
        max_message_bytes: u32::MAX,
        segment_bytes: u64::MAX,
        max_decompressed_bytes: u32::MAX,
        compression: None,
        compacted: false,
        log_append_time: false,
        now: Timestamp(0),
        timestamp_before_max: Duration::MAX,
        timestamp_after_max: Duration::MAX,
    };
}

/// A valid batch that has no offset yet: its base offset is 0, and its leader epoch is the client's.
#[derive(Clone, Debug)]
pub struct Checked {
    pub bytes: Bytes,
    /// The header in `bytes`, with a correct max timestamp.
    pub header: Header,
    /// The offset delta of the first record with the max timestamp. `None` if no record has a timestamp.
    pub newest: Option<i32>,
    /// The client's bytes had to be changed, so `bytes` are others.
    pub is_copy: bool,
    /// The size of the records when decompressed.
    pub opened: usize,
}

/// Checks the records field of one partition of a Produce request: it must be exactly one batch.
pub fn check_produced(bytes: Bytes, rules: &Rules) -> Result<Checked, RecordError> {
    check(bytes, rules, decompress::MOST)
}

/// As [`check_produced`], but returns `None` if the batch decompresses to more than `most` bytes, which
/// would take too long.
pub fn check_within(bytes: &Bytes, rules: &Rules, most: u64) -> Option<Result<Checked, RecordError>> {
    match check(bytes.clone(), rules, most) {
        Err(RecordError::OpensTooLarge) => None,
        checked => Some(checked),
    }
}

fn check(bytes: Bytes, rules: &Rules, most: u64) -> Result<Checked, RecordError> {
    let header = check_frame(&bytes, rules)?;
    check_header(&header)?;
    let records = bytes.slice(Header::LENGTH..);
    let walked = match header.attributes.codec()? {
        Codec::None => walk(Plain::new(records), &header, rules)?,
        codec => {
            let longest = usize::try_from(rules.max_decompressed_bytes).unwrap_or(usize::MAX);
            walk(DecompressedRecords::of_producer(codec, records, most, longest), &header, rules)?
        }
    };
    if bytes.len() as u64 > rules.segment_bytes {
        return Err(RecordError::LargerThanSegment { size: bytes.len(), limit: rules.segment_bytes });
    }
    let (corrected, walked) = corrected(&header, walked, rules);
    let codec = header.attributes.codec()?;
    match rules.compression {
        Some(wanted) if wanted != codec => recompressed(&bytes, corrected, wanted, walked, rules, most),
        _ if corrected == header => {
            Ok(Checked { bytes, header, newest: walked.newest, is_copy: false, opened: walked.size })
        }
        _ => Ok(made_true(BytesMut::from(&bytes[..]), corrected, walked)),
    }
}

const NO_TIMESTAMP: Timestamp = Timestamp(-1);

impl Rules {
    /// Whether every batch, or every one with another codec, is changed.
    pub fn change_batches(&self) -> bool {
        self.log_append_time || self.compression.is_some()
    }

    fn earliest(&self) -> Timestamp {
        Timestamp(self.now.0.saturating_sub(milliseconds(self.timestamp_before_max)))
    }

    fn latest(&self) -> Timestamp {
        Timestamp(self.now.0.saturating_add(milliseconds(self.timestamp_after_max)))
    }
}

/// Checks that the bytes are one complete batch, undamaged and not too large.
fn check_frame(bytes: &Bytes, rules: &Rules) -> Result<Header, RecordError> {
    if bytes.len() < Header::LENGTH {
        return Err(RecordError::NotOneBatch(format!("{} bytes are not a batch", bytes.len())));
    }
    let header = Header::parse(bytes)?;
    let Some(batch) = bytes.get(..header.size()) else {
        return Err(RecordError::NotOneBatch(format!(
            "a batch of {} bytes declares {}",
            bytes.len(),
            header.size()
        )));
    };
    if header.base_offset != Offset(0) {
        return Err(RecordError::Invalid(format!(
            "the base offset is the broker's to give, the batch says {}",
            header.base_offset
        )));
    }
    if batch.len() > rules.max_message_bytes as usize {
        return Err(RecordError::TooLarge { size: batch.len(), limit: rules.max_message_bytes as usize });
    }
    let crc = crc_of(batch);
    if crc != header.crc {
        return Err(RecordError::Corrupt(format!("the batch says crc {:08x} and has {crc:08x}", header.crc)));
    }
    if batch.len() < bytes.len() {
        return Err(RecordError::NotOneBatch("a partition takes exactly one batch per request".into()));
    }
    Ok(header)
}

/// Checks the fields that a client sets in a header.
fn check_header(header: &Header) -> Result<(), RecordError> {
    let invalid = |why: String| Err(RecordError::Invalid(why));
    if header.count <= 0 || header.last_offset_delta.checked_add(1) != Some(header.count) {
        return invalid(format!(
            "the batch says {} records and a last offset delta of {}",
            header.count, header.last_offset_delta
        ));
    }
    if header.attributes.control() {
        return invalid("control records are the broker's to write".into());
    }
    match header.producer() {
        Some(producer) if producer.base_sequence < 0 || producer.epoch.0 < 0 => invalid(format!(
            "producer {} sends epoch {} and sequence {}",
            producer.id, producer.epoch, producer.base_sequence
        )),
        Some(_) | None => Ok(()),
    }
}

/// The result of walking the records.
struct RecordWalk {
    max_timestamp: Timestamp,
    newest: Option<i32>,
    /// Their size.
    size: usize,
}

fn walk<S: Source>(mut source: S, header: &Header, rules: &Rules) -> Result<RecordWalk, RecordError> {
    let header = Header { attributes: header.attributes.of_a_client(), ..*header };
    let (earliest, latest) = (rules.earliest(), rules.latest());
    let mut walked = RecordWalk { max_timestamp: NO_TIMESTAMP, newest: None, size: 0 };
    let mut refusals = Refusals::default();
    for index in 0..header.count {
        let shape: Shape = next_shape(&mut source)?;
        if shape.offset_delta != index {
            return Err(RecordError::Invalid(format!(
                "record {index} of the batch says it is number {}",
                shape.offset_delta
            )));
        }
        let timestamp = shape.timestamp(&header);
        if timestamp > walked.max_timestamp {
            (walked.max_timestamp, walked.newest) = (timestamp, Some(index));
        }
        let out_of_bounds = timestamp != NO_TIMESTAMP && (timestamp < earliest || timestamp > latest);
        if rules.compacted && !shape.has_key {
            refusals.add(index, "a compacted topic accepts no record without a key".into());
        } else if out_of_bounds && !rules.log_append_time {
            refusals.timestamps = true;
            refusals.add(index, format!("timestamp {timestamp} is outside of {earliest} to {latest}"));
        }
    }
    expect_end(&mut source)?;
    refusals.into_result()?;
    Ok(RecordWalk { size: source.position(), ..walked })
}

/// The records of a batch that are refused individually; only the first ones if there are many.
#[derive(Default)]
struct Refusals {
    refused: Vec<RecordRefusal>,
    timestamps: bool,
    count: u32,
}

/// The maximum number of refused records that are named. Clients also treat the rest of the batch as
/// refused.
pub const NAMED_REFUSALS: usize = 1_000;

impl Refusals {
    fn add(&mut self, index: i32, message: String) {
        self.count = self.count.saturating_add(1);
        if self.refused.len() < NAMED_REFUSALS {
            self.refused.push(RecordRefusal { index, message });
        }
    }

    fn into_result(self) -> Result<(), RecordError> {
        let Some(first) = self.refused.first() else { return Ok(()) };
        let message =
            format!("refused because of {} of its records, the first: {}", self.count, first.message);
        Err(if self.timestamps {
            RecordError::InvalidTimestamps { message, refused: self.refused }
        } else {
            RecordError::InvalidRecords { message, refused: self.refused }
        })
    }
}

/// The header with correct attributes and max timestamp, and the records with the timestamps that they get.
fn corrected(header: &Header, walked: RecordWalk, rules: &Rules) -> (Header, RecordWalk) {
    let attributes = header.attributes.of_a_client();
    if rules.log_append_time {
        let (attributes, max_timestamp) = (attributes.with_log_append_time(), rules.now);
        let walked = RecordWalk { max_timestamp, newest: Some(0), ..walked };
        return (Header { attributes, max_timestamp, ..*header }, walked);
    }
    let max_timestamp = walked.max_timestamp;
    if header.max_timestamp != max_timestamp || header.attributes.log_append_time() {
        return (Header { attributes, max_timestamp, ..*header }, walked);
    }
    (*header, walked)
}

/// The batch compressed with another codec. Its records were already walked, so they can be decompressed.
fn recompressed(
    bytes: &Bytes,
    corrected: Header,
    wanted: Codec,
    walked: RecordWalk,
    rules: &Rules,
    most: u64,
) -> Result<Checked, RecordError> {
    let limit = rules.max_message_bytes as usize;
    let packed = bytes.slice(Header::LENGTH..);
    let opened = decompress::open(corrected.attributes.codec()?, packed, most, Dialect::Any);
    let packed = compress::pack(wanted, opened, limit).map_err(|error| match error.kind() {
        ErrorKind::FileTooLarge => RecordError::OpensTooLarge,
        _ => RecordError::Invalid(error.to_string()),
    })?;
    // Compression stops above the limit, so the exact size is unknown.
    let size =
        packed.as_ref().map_or(limit.saturating_add(1), |packed| packed.len().saturating_add(Header::LENGTH));
    let batch_length = i32::try_from(size.saturating_sub(LENGTH_END)).unwrap_or(i32::MAX);
    let Some(packed) = packed.filter(|_| size <= limit && batch_length < i32::MAX) else {
        return Err(RecordError::TooLarge { size, limit });
    };
    let mut batch = BytesMut::with_capacity(size);
    batch.extend_from_slice(bytes.get(..Header::LENGTH).unwrap_or_default());
    batch.extend_from_slice(&packed);
    put(&mut batch, BATCH_LENGTH_AT, batch_length.to_be_bytes());
    let attributes = corrected.attributes.with_codec(wanted);
    Ok(made_true(batch, Header { attributes, batch_length, ..corrected }, walked))
}

/// The batch, a copy of the client's bytes, with the attributes and the max timestamp of `header`.
fn made_true(mut bytes: BytesMut, header: Header, walked: RecordWalk) -> Checked {
    put(&mut bytes, ATTRIBUTES_AT, header.attributes.0.to_be_bytes());
    put(&mut bytes, MAX_TIMESTAMP_AT, header.max_timestamp.0.to_be_bytes());
    seal(&mut bytes);
    let header = Header { crc: crc_of(&bytes), ..header };
    Checked { bytes: bytes.freeze(), header, newest: walked.newest, is_copy: true, opened: walked.size }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
