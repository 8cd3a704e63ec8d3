//! Finds a record of a stored batch by its timestamp (`docs/rules.md`, rules O). Compressed batches are
//! decompressed, but neither keys nor values are kept.

use bytes::Bytes;

use super::records::{next_shape, open};
use super::source::WalkResult;
use super::{Codec, Header, RecordError};
use crate::types::{Offset, Timestamp};

/// The offset and timestamp of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOffset {
    pub offset: Offset,
    pub timestamp: Timestamp,
}

/// The first record of a batch, from an offset on, whose timestamp is at least `time`.
pub fn first_since(batch: &Bytes, time: Timestamp, from: Offset) -> Result<Option<TimedOffset>, RecordError> {
    let header = Header::parse(batch)?;
    let search = || {
        for found in places(batch)? {
            let found = found?;
            if found.timestamp >= time && found.offset >= from {
                return Ok(Some(found));
            }
        }
        Ok(None)
    };
    let found = search().or_else(|error| as_a_whole(&header, from, error))?;
    Ok(found.filter(|found| found.timestamp >= time))
}

/// The first record with the newest timestamp in a batch, from an offset on.
pub fn newest(batch: &Bytes, from: Offset) -> Result<Option<TimedOffset>, RecordError> {
    let header = Header::parse(batch)?;
    let search = || {
        let mut newest: Option<TimedOffset> = None;
        for found in places(batch)? {
            let found = found?;
            if found.offset >= from && newest.is_none_or(|newest| newest.timestamp < found.timestamp) {
                newest = Some(found);
            }
        }
        Ok(newest)
    };
    search().or_else(|error| as_a_whole(&header, from, error))
}

/// The offset and timestamp of each record.
fn places(batch: &Bytes) -> Result<impl Iterator<Item = WalkResult<TimedOffset>>, RecordError> {
    let (header, mut source) = open(batch)?;
    let place = move |_| {
        let shape = next_shape(&mut source)?;
        Ok(TimedOffset { offset: shape.offset(&header)?, timestamp: shape.timestamp(&header) })
    };
    Ok((0..header.count).map(place))
}

/// The result for a compressed batch that cannot be read. It is not damaged: an earlier version stored it
/// as its producer made it. The result has the values of its header; consumers will find the error.
fn as_a_whole(header: &Header, from: Offset, error: RecordError) -> Result<Option<TimedOffset>, RecordError> {
    if header.attributes.codec()? == Codec::None {
        return Err(error);
    }
    let Some(last) = header.last_offset() else { return Err(error) };
    let offset = header.base_offset.max(from);
    Ok((offset <= last).then_some(TimedOffset { offset, timestamp: header.max_timestamp }))
}
