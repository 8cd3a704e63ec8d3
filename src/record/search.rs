//! Finds a record of a stored batch by its timestamp (BEHAVIOUR.md, rules O). Compressed batches
//! are opened, but neither keys nor values are kept.

use bytes::Bytes;

use super::RecordError;
use super::records::{next_shape, open};
use crate::types::{Offset, Timestamp};

/// Where a record stands, and when it is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub offset: Offset,
    pub timestamp: Timestamp,
}

/// The first record of a batch, from an offset on, that is not older than `time`.
pub fn first_since(batch: &Bytes, time: Timestamp, from: Offset) -> Result<Option<Found>, RecordError> {
    for found in places(batch)? {
        let found = found?;
        if found.timestamp >= time && found.offset >= from {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The first of the newest records of a batch. `None` only where the batch holds no record.
pub fn newest(batch: &Bytes) -> Result<Option<Found>, RecordError> {
    let mut newest: Option<Found> = None;
    for found in places(batch)? {
        let found = found?;
        if newest.is_none_or(|newest| newest.timestamp < found.timestamp) {
            newest = Some(found);
        }
    }
    Ok(newest)
}

/// The place of every record, one after the other.
fn places(batch: &Bytes) -> Result<impl Iterator<Item = Result<Found, RecordError>>, RecordError> {
    let (header, mut source) = open(batch)?;
    let place = move |_| {
        let shape = next_shape(&mut source)?;
        Ok(Found { offset: shape.offset(&header)?, timestamp: shape.timestamp(&header) })
    };
    Ok((0..header.count).map(place))
}
