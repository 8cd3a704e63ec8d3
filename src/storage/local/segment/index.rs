//! The sparse index of a segment: about one entry for every few kilobytes, with the position of a batch, its
//! offset, and the largest timestamp before it. It can always be rebuilt from the headers of the batches. A
//! copy is saved beside the segment (`<base>.idx`), so that a restart need not read all headers of a large
//! segment. The copy may lag behind the segment and is never synced. It is used only if its checksum is valid
//! and the last batch it covers is still there.
//!
//! ```text
//!  0 crc32c of everything behind it    4 "jidx"
//!  8 version, 1                       12 number of entries
//! 16 topic id                         32 base offset
//! 40 bytes covered                    48 largest timestamp in them
//! 56 bytes between two entries        64 position of the last batch
//! 72 crc32c of its header             76 zero
//! 80 entries: offset from the base (4), position (8), largest timestamp before it (8)
//! ```

use std::io::{self, IoSlice};

use super::super::fs::File;
use super::verified::{OUT_OF_PLACE, follows};
use crate::record::Header;
use crate::storage::extent::ReadError;
use crate::types::{AbortedTransaction, Offset, Timestamp, TopicId};

/// Kafka's `index.interval.bytes`.
pub const DEFAULT_INTERVAL: u32 = 4096;

/// The data of an appended batch that an index needs.
#[derive(Clone, Copy, Debug)]
pub struct Appendage {
    pub base_offset: Offset,
    pub bytes: u32,
    pub max_timestamp: Timestamp,
    /// The transaction that this marker ends, if it is aborted and has records in the partition.
    pub aborted: Option<AbortedTransaction>,
}

/// The maximum number of entries of a segment. Above it the distance between entries is doubled.
const MOST: usize = 4096;

#[derive(Clone)]
pub struct Index {
    base: Offset,
    interval: u64,
    entries: Vec<Entry>,
    /// The index covers every batch before this position; `None` if it is not built.
    covered: Option<u64>,
    /// The largest timestamp of the batches before `covered`.
    largest: Timestamp,
    /// The position of the last of them.
    last: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Relative to the segment's base: a segment rolls before an offset exceeds its base by more than
    /// `i32::MAX`.
    offset: u32,
    position: u64,
    /// The largest timestamp of all batches before this one.
    largest_before: Timestamp,
}

impl Index {
    /// The index of an empty segment.
    pub fn of_nothing(base: Offset, interval: u32) -> Index {
        Index {
            base,
            interval: u64::from(interval.max(1)),
            entries: Vec::new(),
            covered: Some(0),
            largest: Timestamp(i64::MIN),
            last: 0,
        }
    }

    /// The index of a segment that was not read yet.
    pub fn unknown(base: Offset, interval: u32) -> Index {
        Index { covered: None, ..Index::of_nothing(base, interval) }
    }

    /// The number of bytes that it covers; `None` if it is not built.
    pub fn covered(&self) -> Option<u64> {
        self.covered
    }

    /// Adds a batch that was appended at `at`. An index that lacks the batches before it stays unbuilt.
    pub fn appended(&mut self, batch: &Appendage, at: u64) {
        if self.covered != Some(at) {
            // The batch was written again after a failure and is already in the index.
            if self.covered.is_some_and(|covered| covered < at) {
                self.covered = None;
            }
            return;
        }
        let due = self.entries.last().is_none_or(|last| at >= last.position + self.interval);
        if due {
            let offset = u32::try_from(batch.base_offset.0 - self.base.0).unwrap_or(u32::MAX);
            self.entries.push(Entry { offset, position: at, largest_before: self.largest });
            if self.entries.len() > MOST {
                let mut nth = 0;
                self.entries.retain(|_| {
                    nth += 1;
                    nth % 2 == 1
                });
                // The interval becomes the average distance of the remaining entries. Otherwise only the old
                // part of the index would be sparse.
                self.interval = (self.interval * 2).max(at / self.entries.len() as u64);
            }
        }
        self.largest = self.largest.max(batch.max_timestamp);
        self.covered = Some(at + u64::from(batch.bytes));
        self.last = at;
    }

    /// Adds the batches that it does not cover yet, up to `size`, from their headers. Offsets that do not
    /// continue correctly (depending on `gapless`) are damage.
    pub fn extend(&mut self, scan: &mut Scan<'_>, size: u64, gapless: bool) -> Result<(), ReadError> {
        if self.covered.is_none() {
            *self = Index { interval: self.interval, ..Index::of_nothing(self.base, 1) };
        }
        let mut at = self.covered.unwrap_or(0);
        let mut expected = (at == 0).then_some(self.base);
        while at < size {
            let header = scan.header(at)?.ok_or_else(|| {
                ReadError::Damaged(format!("segment {}, byte {at}: there is no batch", self.base))
            })?;
            if expected.is_some_and(|expected| !follows(header.base_offset, expected, gapless)) {
                let what = format!("segment {}, byte {at}: {OUT_OF_PLACE}", self.base);
                return Err(ReadError::Damaged(what));
            }
            expected = header.next_offset();
            let batch = Appendage {
                base_offset: header.base_offset,
                bytes: u32::try_from(header.size()).unwrap_or(u32::MAX),
                max_timestamp: header.max_timestamp,
                aborted: None,
            };
            if at + header.size() as u64 > size {
                let what = format!("segment {}, byte {at}: a batch runs past the end", self.base);
                return Err(ReadError::Damaged(what));
            }
            self.appended(&batch, at);
            at += header.size() as u64;
        }
        Ok(())
    }

    /// The position of a batch that begins at or before `offset`, and its base offset if it is known.
    pub fn at_or_before(&self, offset: Offset) -> (u64, Option<Offset>) {
        let relative = offset.0.saturating_sub(self.base.0);
        let behind = self.entries.partition_point(|entry| i64::from(entry.offset) <= relative);
        let entry = behind.checked_sub(1).and_then(|at| self.entries.get(at));
        let base = entry.filter(|entry| entry.offset < u32::MAX);
        (self.position(behind), base.map(|entry| Offset(self.base.0 + i64::from(entry.offset))))
    }

    /// The last known position, at most `limit`, of a batch that begins before `end`.
    pub fn last_within(&self, limit: u64, end: Offset) -> u64 {
        let relative = end.0.saturating_sub(self.base.0);
        let behind = self
            .entries
            .partition_point(|entry| entry.position <= limit && i64::from(entry.offset) < relative);
        self.position(behind)
    }

    /// A position before which every timestamp is smaller than `time`.
    pub fn before_time(&self, time: Timestamp) -> u64 {
        let behind = self.entries.partition_point(|entry| entry.largest_before < time);
        self.position(behind)
    }

    #[cfg(test)]
    pub fn entry_count(&self) -> usize {
        self.entries.len()
    }

    fn position(&self, behind: usize) -> u64 {
        behind.checked_sub(1).and_then(|at| self.entries.get(at)).map_or(0, |entry| entry.position)
    }
}

const MAGIC: &[u8; 4] = b"jidx";
const VERSION: u32 = 1;
const HEAD: usize = 80;
const ENTRY: usize = 20;

impl Index {
    /// Writes the copy. A crash may leave any part of it; [`Index::load`] checks it.
    pub fn save(&self, topic: TopicId, log: &dyn File, copy: &dyn File) -> io::Result<()> {
        let (Some(covered), Some(header)) = (self.covered, header_crc(log, self.last)?) else {
            return Ok(());
        };
        let mut bytes = Vec::with_capacity(HEAD + self.entries.len() * ENTRY);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        let count = u32::try_from(self.entries.len()).expect("at most MOST entries");
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(&topic.0);
        bytes.extend_from_slice(&self.base.0.to_le_bytes());
        bytes.extend_from_slice(&covered.to_le_bytes());
        bytes.extend_from_slice(&self.largest.0.to_le_bytes());
        bytes.extend_from_slice(&self.interval.to_le_bytes());
        bytes.extend_from_slice(&self.last.to_le_bytes());
        bytes.extend_from_slice(&header.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.offset.to_le_bytes());
            bytes.extend_from_slice(&entry.position.to_le_bytes());
            bytes.extend_from_slice(&entry.largest_before.0.to_le_bytes());
        }
        let crc = crc32c::crc32c(&bytes[4..]).to_le_bytes();
        bytes[..4].copy_from_slice(&crc);
        copy.write_at(&[IoSlice::new(&bytes)], 0)?;
        copy.truncate(bytes.len() as u64)
    }

    /// The index in the bytes of a copy; `None` if the copy is invalid, belongs to another log, or covers
    /// more than the first `size` bytes of this one.
    pub fn load(bytes: &[u8], topic: TopicId, base: Offset, log: &dyn File, size: u64) -> Option<Index> {
        let (crc, rest) = bytes.split_first_chunk()?;
        if crc32c::crc32c(rest) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut rest = rest;
        let ours = take::<4>(&mut rest)? == *MAGIC && u32::from_le_bytes(take(&mut rest)?) == VERSION;
        let count = u32::from_le_bytes(take(&mut rest)?);
        let ours = ours && take(&mut rest)? == topic.0 && i64::from_le_bytes(take(&mut rest)?) == base.0;
        let covered = u64::from_le_bytes(take(&mut rest)?);
        let largest = Timestamp(i64::from_le_bytes(take(&mut rest)?));
        let interval = u64::from_le_bytes(take(&mut rest)?);
        let last = u64::from_le_bytes(take(&mut rest)?);
        let header = u32::from_le_bytes(take(&mut rest)?);
        take::<4>(&mut rest)?;
        if !ours || covered > size || header_crc(log, last).ok()? != Some(header) {
            return None;
        }
        let mut entries = Vec::new();
        for _ in 0..count {
            entries.push(Entry {
                offset: u32::from_le_bytes(take(&mut rest)?),
                position: u64::from_le_bytes(take(&mut rest)?),
                largest_before: Timestamp(i64::from_le_bytes(take(&mut rest)?)),
            });
        }
        Some(Index { base, interval, entries, covered: Some(covered), largest, last })
    }
}

fn header_crc(log: &dyn File, at: u64) -> io::Result<Option<u32>> {
    let mut header = [0; Header::LENGTH];
    let read = log.read_at(&mut header, at)?;
    Ok((read == header.len()).then(|| crc32c::crc32c(&header)))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(*taken)
}

/// Reads headers one after the other with few bytes of I/O: many small batches share one buffer, and of large
/// batches only the headers are read.
pub struct Scan<'a> {
    file: &'a dyn File,
    may_wait: bool,
    buffer: Vec<u8>,
    start: u64,
    /// The last batch was so large that it is not worth reading a whole buffer for the next one. Also `true`
    /// at first, when nothing is known.
    sparse: bool,
}

const SCAN_BUFFER: usize = 16 << 10;

impl<'a> Scan<'a> {
    pub fn new(file: &'a dyn File, may_wait: bool) -> Scan<'a> {
        Scan { file, may_wait, buffer: Vec::new(), start: 0, sparse: true }
    }

    /// The header at `at`; `None` if the file ends before the header does.
    pub fn header(&mut self, at: u64) -> Result<Option<Header>, ReadError> {
        if self.held(at).is_none() && !self.read(at)? {
            return Ok(None);
        }
        let header = Header::parse(self.held(at).unwrap_or_default())
            .map_err(|error| ReadError::Damaged(format!("byte {at}: {error}")))?;
        self.sparse = header.size() >= SCAN_BUFFER / 2;
        Ok(Some(header))
    }

    fn held(&self, at: u64) -> Option<&[u8]> {
        let from = usize::try_from(at.checked_sub(self.start)?).ok()?;
        self.buffer.get(from..from.checked_add(Header::LENGTH)?)
    }

    fn read(&mut self, at: u64) -> Result<bool, ReadError> {
        self.start = at;
        self.buffer.resize(if self.sparse { Header::LENGTH } else { SCAN_BUFFER }, 0);
        let read = if self.may_wait {
            self.file.read_at(&mut self.buffer, at).map(Some)
        } else {
            self.file.read_cached_at(&mut self.buffer, at)
        };
        let read = read.map_err(|error: io::Error| ReadError::Io(error.to_string()))?;
        self.buffer.truncate(read.ok_or(ReadError::MustWait)?);
        Ok(self.buffer.len() >= Header::LENGTH)
    }
}
