//! What a client may append: rules P of BEHAVIOUR.md, RELIABILITY.md §7.

use std::time::Duration;

use bytes::Bytes;

use super::header::CRC_FROM;
use super::records::{Shape, expect_end, next_shape};
use super::source::{Plain, Source};
use super::{Codec, Header, RecordError, RecordRefusal};
use crate::types::Timestamp;

/// What a topic asks of the batches that are sent to it.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// `max.message.bytes`: of a whole batch.
    pub max_message_bytes: u32,
    /// `segment.bytes`: a batch has to fit into one segment.
    pub segment_bytes: u64,
    /// Every record needs a key.
    pub compacted: bool,
    /// The broker's time, that the two bounds below start from.
    pub now: Timestamp,
    /// `message.timestamp.before.max.ms`
    pub timestamp_before_max: Duration,
    /// `message.timestamp.after.max.ms`
    pub timestamp_after_max: Duration,
}

/// A batch that keeps the rules and only lacks its place: its base offset and leader epoch are
/// still the client's.
#[derive(Clone, Debug)]
pub struct Checked {
    pub bytes: Bytes,
    /// As in `bytes`. Its max timestamp is true.
    pub header: Header,
    /// The offset delta of the first record that has the max timestamp, where it is known without
    /// opening the batch.
    pub newest: Option<i32>,
}

/// Checks the records field of one partition of a Produce request: exactly one batch.
pub fn check_produced(bytes: Bytes, rules: &Rules) -> Result<Checked, RecordError> {
    let header = Header::parse(&bytes)?;
    if header.size() != bytes.len() {
        return Err(RecordError::Invalid("a partition takes exactly one batch per request".into()));
    }
    if bytes.len() > rules.max_message_bytes as usize {
        return Err(RecordError::TooLarge { size: bytes.len(), limit: rules.max_message_bytes as usize });
    }
    let crc = crc32c::crc32c(bytes.get(CRC_FROM..).unwrap_or_default());
    if crc != header.crc {
        return Err(RecordError::Corrupt(format!("the batch says crc {}, its bytes have {crc}", header.crc)));
    }
    if header.count <= 0 || header.last_offset_delta.checked_add(1) != Some(header.count) {
        return Err(RecordError::Invalid(format!(
            "the batch says {} records and a last offset delta of {}",
            header.count, header.last_offset_delta
        )));
    }
    if header.attributes.control() {
        return Err(RecordError::Invalid("clients may not write control records".into()));
    }
    let newest = match header.attributes.codec()? {
        Codec::None => walk(Plain::new(bytes.slice(Header::LENGTH..)), &header, rules)?,
        _ => None,
    };
    Ok(Checked { bytes, header, newest })
}

fn walk<S: Source>(mut source: S, header: &Header, rules: &Rules) -> Result<Option<i32>, RecordError> {
    let mut newest: Option<(Timestamp, i32)> = None;
    let mut refused = Vec::new();
    for index in 0..header.count {
        let shape: Shape = next_shape(&mut source)?;
        if rules.compacted && !shape.has_key {
            refused.push(RecordRefusal { index, message: "a compacted topic needs a key".into() });
        }
        let timestamp = shape.timestamp(header);
        if newest.is_none_or(|(known, _)| known < timestamp) {
            newest = Some((timestamp, shape.offset_delta));
        }
    }
    expect_end(&mut source)?;
    if !refused.is_empty() {
        return Err(RecordError::InvalidRecords { message: "records without a key".into(), refused });
    }
    Ok(newest.map(|(_, delta)| delta))
}
