//! The records of a batch, one after the other: borrowed from an uncompressed batch, else read from the
//! decompressor.
//!
//! A record has its length, one byte of attributes, the deltas of its timestamp and offset from the
//! batch's, key, value, and headers. Numbers are zigzag varints; a negative length is a null.

use std::fmt;

use bytes::Bytes;

use super::source::{AnySource, Source, WalkResult, broken};
use super::{Header, RecordError};
use crate::types::{Offset, Timestamp};

/// A record in a consumer's view. Headers keep their order, and their keys may repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub offset: Offset,
    pub timestamp: Timestamp,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// The records of one whole batch. The iterator ends after an error.
pub fn records(batch: &Bytes) -> Result<Records, RecordError> {
    let (header, source) = open(batch)?;
    Ok(Records { header, source, left: header.count })
}

/// The header of one whole batch, and the source of its records.
pub(super) fn open(batch: &Bytes) -> Result<(Header, AnySource), RecordError> {
    let header = Header::parse(batch)?;
    if header.size() != batch.len() {
        let (declared, actual) = (header.size(), batch.len());
        return Err(RecordError::Corrupt(format!("a batch of {actual} bytes declares {declared}")));
    }
    let source = AnySource::new(header.attributes.codec()?, batch.slice(Header::LENGTH..));
    Ok((header, source))
}

pub struct Records {
    header: Header,
    source: AnySource,
    left: i32,
}

impl Iterator for Records {
    type Item = Result<Record, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left <= 0 {
            return None;
        }
        self.left = self.left.saturating_sub(1);
        let mut record = next_record(&mut self.source, &self.header);
        if self.left == 0 && record.is_ok() {
            record = expect_end(&mut self.source).and(record);
        }
        if record.is_err() {
            self.left = 0;
        }
        Some(record.map_err(|error| *error))
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records").field("header", &self.header).field("left", &self.left).finish()
    }
}

/// The properties of a record without its key, value and headers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) offset_delta: i32,
    timestamp_delta: i64,
    pub(super) has_key: bool,
}

impl Shape {
    pub(super) fn offset(&self, header: &Header) -> WalkResult<Offset> {
        let offset = header.base_offset.0.checked_add(i64::from(self.offset_delta));
        offset.map(Offset).ok_or_else(|| broken("an offset runs past the largest there is"))
    }

    /// Deltas have 64 bits and wrap, as in Kafka's clients.
    pub(super) fn timestamp(&self, header: &Header) -> Timestamp {
        if header.attributes.log_append_time() {
            return header.max_timestamp;
        }
        Timestamp(header.base_timestamp.0.wrapping_add(self.timestamp_delta))
    }
}

/// Walks over the next record: checks all of its lengths and keeps nothing.
#[inline]
pub(super) fn next_shape<S: Source>(source: &mut S) -> WalkResult<Shape> {
    let end = begin(source)?;
    let (timestamp_delta, offset_delta) = deltas(source)?;
    let key = nullable(source.varint()?);
    source.skip(key.unwrap_or(0))?;
    let value = nullable(source.varint()?);
    source.skip(value.unwrap_or(0))?;
    for _ in 0..header_count(source, end)? {
        let name = header_name(source)?;
        source.skip(name)?;
        let value = nullable(source.varint()?);
        source.skip(value.unwrap_or(0))?;
    }
    expect_position(source, end)?;
    Ok(Shape { offset_delta, timestamp_delta, has_key: key.is_some() })
}

/// A record up to its value, which is all that compaction needs.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) shape: Shape,
    pub(super) key: Option<Bytes>,
    /// The length of the value, which comes next.
    pub(super) value: Option<usize>,
    /// The rest of the record: the value and the headers.
    pub(super) rest: usize,
}

pub(super) fn next_head<S: Source>(source: &mut S) -> WalkResult<Head> {
    let end = begin(source)?;
    let (timestamp_delta, offset_delta) = deltas(source)?;
    let key = take_nullable(source)?;
    let value = nullable(source.varint()?);
    let rest = end.checked_sub(source.position()).filter(|rest| value.unwrap_or(0) <= *rest);
    let rest = rest.ok_or_else(|| broken("a record is not as long as it says"))?;
    Ok(Head { shape: Shape { offset_delta, timestamp_delta, has_key: key.is_some() }, key, value, rest })
}

fn next_key<S: Source>(
    source: &mut S,
    header: &Header,
    is_last: bool,
) -> WalkResult<(Offset, Option<Bytes>)> {
    let head = next_head(source)?;
    source.skip(head.rest)?;
    if is_last {
        expect_end(source)?;
    }
    Ok((head.shape.offset(header)?, head.key))
}

/// The offset and key of each record of one whole batch. Values are not kept. The iterator ends after an
/// error.
pub fn keys(
    batch: &Bytes,
) -> Result<impl Iterator<Item = Result<(Offset, Option<Bytes>), RecordError>> + use<>, RecordError> {
    let (header, mut source) = open(batch)?;
    let mut left = header.count;
    Ok(std::iter::from_fn(move || {
        left = left.checked_sub(1).filter(|left| *left >= 0)?;
        let is_last = left == 0;
        let found = next_key(&mut source, &header, is_last);
        if found.is_err() {
            left = 0;
        }
        Some(found.map_err(|error| *error))
    }))
}

fn next_record<S: Source>(source: &mut S, header: &Header) -> WalkResult<Record> {
    let end = begin(source)?;
    let (timestamp_delta, offset_delta) = deltas(source)?;
    let key = take_nullable(source)?;
    let value = take_nullable(source)?;
    let mut headers = Vec::new(); // grows with the headers that are there, not with their number
    for _ in 0..header_count(source, end)? {
        let name = header_name(source)?;
        headers.push((source.take(name)?, take_nullable(source)?));
    }
    expect_position(source, end)?;
    let shape = Shape { offset_delta, timestamp_delta, has_key: key.is_some() };
    Ok(Record { offset: shape.offset(header)?, timestamp: shape.timestamp(header), key, value, headers })
}

/// Fails if there are bytes after the last record.
pub(super) fn expect_end<S: Source>(source: &mut S) -> WalkResult<()> {
    if source.at_end()? { Ok(()) } else { Err(broken("bytes stand behind the last record")) }
}

/// Reads a record's length and returns its end.
#[inline]
fn begin<S: Source>(source: &mut S) -> WalkResult<usize> {
    let length = usize::try_from(source.varint()?).map_err(|_| broken("a record has a negative length"))?;
    if length > source.longest_record() {
        return Err(broken("a record is longer than max.decompressed.message.bytes allows"));
    }
    source.position().checked_add(length).ok_or_else(|| broken("a record is too long"))
}

#[inline]
fn deltas<S: Source>(source: &mut S) -> WalkResult<(i64, i32)> {
    source.byte()?; // attributes: none are defined
    Ok((source.varlong()?, source.varint()?))
}

#[inline]
fn header_count<S: Source>(source: &mut S, end: usize) -> WalkResult<usize> {
    let count = usize::try_from(source.varint()?).unwrap_or(usize::MAX);
    if count > end.saturating_sub(source.position()) {
        return Err(broken("a record says more headers than its bytes can hold"));
    }
    Ok(count)
}

fn header_name<S: Source>(source: &mut S) -> WalkResult<usize> {
    nullable(source.varint()?).ok_or_else(|| broken("a header has no key"))
}

fn take_nullable<S: Source>(source: &mut S) -> WalkResult<Option<Bytes>> {
    match nullable(source.varint()?) {
        Some(length) => source.take(length).map(Some),
        None => Ok(None),
    }
}

#[inline]
fn nullable(length: i32) -> Option<usize> {
    usize::try_from(length).ok()
}

#[inline]
fn expect_position<S: Source>(source: &S, end: usize) -> WalkResult<()> {
    if source.position() == end { Ok(()) } else { Err(broken("a record is not as long as it says")) }
}
