//! The parts of a partition's log as readers use them. Today each part is a segment file; later it may be an object.
//! The kernel's [`Extent`](crate::kernel::Extent) describes a part, and an [`ExtentReader`] reads its bytes.

use std::any::Any;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use crate::kernel::ExtentId;
use crate::record::{self, Attributes, Header, Producer};
use crate::types::{AbortedTransaction, Offset, Piece, Timestamp};

/// Reads one extent. Every batch that it returns was checked against its checksum.
///
/// Call those that block only on threads that may wait. Look-ups by time and compaction use them.
pub trait ExtentReader: Any + Send + Sync {
    fn id(&self) -> ExtentId;

    fn base(&self) -> Offset {
        self.id().base
    }

    /// The number of bytes appended, durable or not.
    fn bytes(&self) -> u64;

    fn max_timestamp(&self) -> Timestamp;

    /// Reads from memory or from an open file. Fails with [`ReadError::MustWait`] instead of waiting.
    fn read_now(&self, range: &ExtentRange) -> Result<Batches, ReadError>;

    /// Like [`read_now`](Self::read_now), but the future waits for bytes that are not in memory.
    fn read(self: Arc<Self>, range: ExtentRange) -> ExtentRead;

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

    /// The aborted transactions whose markers are in this extent, in the order of the markers. Blocks. Fails with
    /// [`ReadError::Unlisted`] if the list is damaged; [`Partition::aborted_in`](super::partition::Partition) makes it
    /// again.
    fn aborted(&self) -> Result<Arc<[AbortedTransaction]>, ReadError>;

    /// Those of them that a reader of the records in `range` needs. Without `may_wait` it fails with
    /// [`ReadError::MustWait`] if the list is not in memory; with it, it blocks.
    fn aborted_within(&self, range: &Range<Offset>, may_wait: bool) -> Result<AbortedPart, ReadError>;

    /// Makes a damaged list again from the records. `before` are all earlier extents of the log. Blocks.
    fn remake_aborted(&self, before: Vec<Arc<dyn ExtentReader>>, log_start: Offset) -> Result<(), ReadError>;

    /// The location of the bytes, for messages: on local files the path.
    fn describe(&self) -> String;
}

pub type ExtentRead = Pin<Box<dyn Future<Output = Result<Batches, ReadError>> + Send>>;

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

/// Aborted transactions that overlap a range of offsets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AbortedPart {
    /// In the order of their markers. Some may have records only outside the range.
    pub list: Vec<AbortedTransaction>,
    /// No later extent has another one.
    pub is_last: bool,
}

impl AbortedPart {
    /// Those of a whole list, which is in the order of the markers (Kafka's `TransactionIndex.collectAbortedTxns`).
    pub fn of(all: &[AbortedTransaction], range: &Range<Offset>) -> AbortedPart {
        let mut part = AbortedPart::default();
        let from = all.partition_point(|aborted| aborted.last < range.start);
        for aborted in all.get(from..).unwrap_or_default() {
            part.add(aborted, range);
            if part.is_last {
                break;
            }
        }
        part
    }

    /// Adds the next entry of a list, unless it is not needed.
    pub fn add(&mut self, aborted: &AbortedTransaction, range: &Range<Offset>) {
        if self.is_last || aborted.last < range.start {
            return;
        }
        self.list.extend((aborted.first < range.end).then_some(*aborted));
        // Every transaction that ends later has begun there or later.
        self.is_last = aborted.last_stable >= range.end;
    }
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
    /// The list of aborted transactions is missing or damaged. The records are not.
    Unlisted,
    /// The broker is shutting down.
    Stopped,
    Io(String),
    /// The bytes differ from those that were written.
    Damaged(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ProducerId;

    /// The first offsets of those that a reader of the range needs, and whether a later extent may have more.
    fn part(all: &[(i64, i64, i64)], range: Range<i64>) -> (Vec<i64>, bool) {
        let aborted = |(first, last, last_stable)| AbortedTransaction {
            producer: ProducerId(0),
            first: Offset(first),
            last: Offset(last),
            last_stable: Offset(last_stable),
        };
        let all: Vec<_> = all.iter().copied().map(aborted).collect();
        let part = AbortedPart::of(&all, &(Offset(range.start)..Offset(range.end)));
        (part.list.iter().map(|aborted| aborted.first.0).collect(), !part.is_last)
    }

    #[test]
    fn f11_aborted_transactions_are_those_with_records_in_the_range_in_the_order_of_their_markers() {
        // One begins first and ends last.
        let all = [(10, 20, 5), (30, 40, 5), (5, 60, 61)];
        assert_eq!(part(&all, 0..70), (vec![10, 30, 5], true), "a later one may have begun before the end");
        assert_eq!(part(&all, 0..61), (vec![10, 30, 5], false));
        assert_eq!(part(&all, 0..8), (vec![5], false), "its marker is after the range");
        assert_eq!(part(&all, 20..31), (vec![10, 30, 5], false), "begun before the range");
        assert_eq!(part(&all, 21..30), (vec![5], false));
        assert_eq!(part(&all, 61..70), (vec![], true));
        assert_eq!(part(&[], 0..9), (vec![], true));
    }

    #[test]
    fn a_list_is_read_only_to_the_first_transaction_that_leaves_none_open_in_the_range() {
        assert_eq!(part(&[(0, 9, 10), (10, 19, 20), (5, 29, 30)], 0..10), (vec![0], false));
    }
}
