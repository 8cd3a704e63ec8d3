//! The sparse index of a segment: about one entry for every few kilobytes, with the position of a
//! batch, its offset, and the largest timestamp before it. In memory only while somebody needs it;
//! what it says can always be had again from the headers of the batches.

use std::io;

use super::super::fs::File;
use super::ReadError;
use crate::record::Header;
use crate::types::{Offset, Timestamp};

/// Kafka's `index.interval.bytes`.
pub const DEFAULT_INTERVAL: u32 = 4096;

/// One batch that was appended, as far as an index needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Appendage {
    pub base_offset: Offset,
    pub bytes: u32,
    pub max_timestamp: Timestamp,
}

pub struct Index {
    base: Offset,
    interval: u64,
    entries: Vec<Entry>,
    /// Every batch before this position is accounted for; `None`: nothing is known.
    covered: Option<u64>,
    /// The largest timestamp of the batches before `covered`.
    largest: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// From the segment's base: a segment rolls before offsets pass 32 bits.
    offset: u32,
    position: u64,
    /// The largest timestamp of all batches before this one.
    largest_before: Timestamp,
}

impl Index {
    /// Of a segment that has nothing in it yet.
    pub fn of_nothing(base: Offset, interval: u32) -> Index {
        Index {
            base,
            interval: u64::from(interval.max(1)),
            entries: Vec::new(),
            covered: Some(0),
            largest: Timestamp(i64::MIN),
        }
    }

    /// Of a segment that nobody has looked into.
    pub fn unknown(base: Offset, interval: u32) -> Index {
        Index { covered: None, ..Index::of_nothing(base, interval) }
    }

    pub fn is_unknown(&self) -> bool {
        self.covered.is_none()
    }

    /// A batch was appended at `at`. An index that does not know what is before it stays unknown.
    pub fn appended(&mut self, batch: &Appendage, at: u64) {
        if self.covered != Some(at) {
            // Written again after a failure: it is accounted for already.
            if self.covered.is_some_and(|covered| covered < at) {
                self.covered = None;
            }
            return;
        }
        let due = self.entries.last().is_none_or(|last| at >= last.position + self.interval);
        if due {
            let offset = u32::try_from(batch.base_offset.0 - self.base.0).unwrap_or(u32::MAX);
            self.entries.push(Entry { offset, position: at, largest_before: self.largest });
        }
        self.largest = self.largest.max(batch.max_timestamp);
        self.covered = Some(at + u64::from(batch.bytes));
    }

    /// Reads the headers of all batches before `size`.
    pub fn rebuild(&mut self, scan: &mut Scan<'_>, size: u64) -> Result<(), ReadError> {
        *self = Index { interval: self.interval, ..Index::of_nothing(self.base, 1) };
        let mut at = 0;
        while at < size {
            let header = scan.header(at)?.ok_or_else(|| {
                ReadError::Damaged(format!("segment {}, byte {at}: there is no batch", self.base))
            })?;
            let batch = Appendage {
                base_offset: header.base_offset,
                bytes: u32::try_from(header.size()).unwrap_or(u32::MAX),
                max_timestamp: header.max_timestamp,
            };
            self.appended(&batch, at);
            at += header.size() as u64;
        }
        Ok(())
    }

    /// The position of a batch that begins at or before `offset`.
    pub fn at_or_before(&self, offset: Offset) -> u64 {
        let relative = offset.0.saturating_sub(self.base.0);
        let behind = self.entries.partition_point(|entry| i64::from(entry.offset) <= relative);
        self.position(behind)
    }

    /// A position before which every timestamp is smaller than `time`.
    pub fn before_time(&self, time: Timestamp) -> u64 {
        let behind = self.entries.partition_point(|entry| entry.largest_before < time);
        self.position(behind)
    }

    fn position(&self, behind: usize) -> u64 {
        behind.checked_sub(1).and_then(|at| self.entries.get(at)).map_or(0, |entry| entry.position)
    }
}

/// Hops from header to header with few reads: small batches lie many to a buffer, of large ones
/// only the headers are read.
pub struct Scan<'a> {
    file: &'a dyn File,
    may_wait: bool,
    buffer: Vec<u8>,
    start: u64,
}

const SCAN_BUFFER: usize = 16 << 10;

impl<'a> Scan<'a> {
    pub fn new(file: &'a dyn File, may_wait: bool) -> Scan<'a> {
        Scan { file, may_wait, buffer: Vec::new(), start: 0 }
    }

    /// The header at `at`; `None` where the file ends before its end.
    pub fn header(&mut self, at: u64) -> Result<Option<Header>, ReadError> {
        if self.held(at).is_none() && !self.read(at)? {
            return Ok(None);
        }
        let bytes = self.held(at).unwrap_or_default();
        Header::parse(bytes).map(Some).map_err(|error| ReadError::Damaged(format!("byte {at}: {error}")))
    }

    fn held(&self, at: u64) -> Option<&[u8]> {
        let from = usize::try_from(at.checked_sub(self.start)?).ok()?;
        self.buffer.get(from..from.checked_add(Header::LENGTH)?)
    }

    fn read(&mut self, at: u64) -> Result<bool, ReadError> {
        self.start = at;
        self.buffer.resize(SCAN_BUFFER, 0);
        let read = match self.may_wait {
            true => self.file.read_at(&mut self.buffer, at).map(Some),
            false => self.file.read_cached_at(&mut self.buffer, at),
        };
        let read = read.map_err(|error: io::Error| ReadError::Io(error.to_string()))?;
        self.buffer.truncate(read.ok_or(ReadError::MustWait)?);
        Ok(self.buffer.len() >= Header::LENGTH)
    }
}
