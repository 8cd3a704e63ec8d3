//! Finds a record of a stored batch by its timestamp (`docs/rules.md`, rules O). Compressed batches
//! are opened, but neither keys nor values are kept.

use bytes::Bytes;

use super::records::{next_shape, open};
use super::source::Walked;
use super::{Codec, Header, RecordError};
use crate::types::{Offset, Timestamp};

/// Where a record stands, and when it is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub offset: Offset,
    pub timestamp: Timestamp,
}

/// The first record of a batch, from an offset on, that is not older than `time`.
pub fn first_since(batch: &Bytes, time: Timestamp, from: Offset) -> Result<Option<Found>, RecordError> {
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

/// The first of the newest records of a batch, from an offset on.
pub fn newest(batch: &Bytes, from: Offset) -> Result<Option<Found>, RecordError> {
    let header = Header::parse(batch)?;
    let search = || {
        let mut newest: Option<Found> = None;
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

/// The place of every record, one after the other.
fn places(batch: &Bytes) -> Result<impl Iterator<Item = Walked<Found>>, RecordError> {
    let (header, mut source) = open(batch)?;
    let place = move |_| {
        let shape = next_shape(&mut source)?;
        Ok(Found { offset: shape.offset(&header)?, timestamp: shape.timestamp(&header) })
    };
    Ok((0..header.count).map(place))
}

/// A compressed batch that cannot be read is not damaged: an earlier version stored it as its producer made it. It is
/// found as a whole, as what its header says; who reads it there will see.
fn as_a_whole(header: &Header, from: Offset, error: RecordError) -> Result<Option<Found>, RecordError> {
    if header.attributes.codec()? == Codec::None {
        return Err(error);
    }
    let Some(last) = header.last_offset() else { return Err(error) };
    let offset = header.base_offset.max(from);
    Ok((offset <= last).then_some(Found { offset, timestamp: header.max_timestamp }))
}
