//! The parts of a partition's log as readers use them. Today each part is a segment file; later it may be an object.
//! The kernel's [`Extent`](crate::kernel::Extent) describes a part, and an [`ExtentReader`] reads its bytes.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use crate::kernel::SegmentId;
use crate::record::{self, Attributes, Header, Producer};
use crate::types::{Offset, Piece, Timestamp};

/// Reads one extent. Every batch that it returns was checked against its checksum.
///
/// Call those that block only on threads that may wait. Look-ups by time and compaction use them.
pub trait ExtentReader: Any + Send + Sync {
    fn id(&self) -> SegmentId;

    fn base(&self) -> Offset {
        self.id().base
    }

    /// The number of bytes appended, durable or not.
    fn bytes(&self) -> u64;

    fn max_timestamp(&self) -> Timestamp;

    /// Reads from memory or from an open file. Fails with [`ReadError::MustWait`] instead of waiting.
    fn read_now(&self, range: &ExtentRange) -> Result<Batches, ReadError>;

    /// Like [`read_now`](Self::read_now), but the future waits for bytes that are not in memory.
    fn read(self: Arc<Self>, range: ExtentRange) -> Reading;

    /// Whole batches in memory: the one that contains `from` and those after it, below `end`, up to `max_bytes` but
    /// at least one. Blocks.
    fn read_bytes(&self, from: Offset, end: Offset, max_bytes: usize) -> Result<Bytes, ReadError>;

    /// The first record in `[start, end)` whose timestamp is at least `time`. Blocks.
    fn find_by_time(
        &self,
        time: Timestamp,
        start: Offset,
        end: Offset,
    ) -> Result<Option<record::TimedOffset>, ReadError>;

    /// The first record in `[start, end)` with the largest timestamp there. Blocks.
    fn find_max_timestamp(
        &self,
        start: Offset,
        end: Offset,
    ) -> Result<Option<record::TimedOffset>, ReadError>;

    /// The largest timestamp of the batch that contains `offset`, or of the next one. Blocks.
    fn time_of(&self, offset: Offset) -> Result<Timestamp, ReadError>;

    /// The location of the bytes, for messages: on local files the path.
    fn describe(&self) -> String;
}

pub type Reading = Pin<Box<dyn Future<Output = Result<Batches, ReadError>> + Send>>;

/// The part of an extent to read: whole batches, from the one that contains `from` on (or the next one if compaction
/// removed it), below `end`.
#[derive(Clone, Copy, Debug)]
pub struct ExtentRange {
    pub from: Offset,
    pub end: Offset,
    pub max_bytes: usize,
    /// The first batch is returned even if it is larger than `max_bytes`.
    pub at_least_one: bool,
    /// Whether [`Batches::list`] is filled.
    pub listed: bool,
}

/// Whole batches, and the next offset after them.
#[derive(Clone, Debug, PartialEq)]
pub struct Batches {
    /// Empty if the first batch exceeds the limit.
    pub pieces: Vec<Piece>,
    /// The batches in `pieces`; empty unless they were asked for.
    pub list: Vec<ListedBatch>,
    pub next: Offset,
}

/// A batch without its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedBatch {
    pub base_offset: Offset,
    pub last_offset: Offset,
    /// The number of records; compaction may have removed some of its offsets.
    pub records: i32,
    pub producer: Option<Producer>,
    pub attributes: Attributes,
}

impl From<&Header> for ListedBatch {
    fn from(header: &Header) -> ListedBatch {
        ListedBatch {
            base_offset: header.base_offset,
            last_offset: header.last_offset().unwrap_or(header.base_offset),
            records: header.count,
            producer: header.producer(),
            attributes: header.attributes,
        }
    }
}

/// The reason why bytes could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The bytes are not in memory, and the caller did not want to wait.
    MustWait,
    /// The extent was removed meanwhile.
    Gone,
    /// Compaction removed all batches of the extent from the offset on. The next batch is in the next extent.
    Behind,
    /// The broker is shutting down.
    Stopped,
    Io(String),
    /// The bytes differ from those that were written.
    Damaged(String),
}
