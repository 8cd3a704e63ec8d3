//! An extent whose bytes are beside an entry of the journal. They are in memory, so no call waits.

use std::any::Any;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::lock;
use crate::kernel::ExtentId;
use crate::record::{self, Header, TimedOffset};
use crate::storage::extent::{
    AbortedPart, Batches, ExtentRange, ExtentRead, ExtentReader, ListedBatch, ReadError,
};
use crate::types::{AbortedTransaction, Offset, Piece, Timestamp};

pub struct JournalExtent {
    base: Offset,
    batches: Mutex<Vec<Batch>>,
    aborted: Mutex<Vec<AbortedTransaction>>,
}

/// A batch with its final offset and epoch.
#[derive(Clone)]
struct Batch {
    header: Header,
    end: Offset,
    bytes: Bytes,
}

impl JournalExtent {
    pub fn new(base: Offset) -> JournalExtent {
        JournalExtent { base, batches: Mutex::default(), aborted: Mutex::default() }
    }

    /// This extent of a partition. All of them are of this type.
    pub fn of(extent: Arc<dyn ExtentReader>) -> Arc<JournalExtent> {
        let any: Arc<dyn Any + Send + Sync> = extent;
        any.downcast().expect("an engine opens its own extents only")
    }

    pub fn push(&self, header: Header, end: Offset, bytes: Bytes) {
        lock(&self.batches).push(Batch { header, end, bytes });
    }

    pub fn push_aborted(&self, aborted: AbortedTransaction) {
        lock(&self.aborted).push(aborted);
    }

    /// The batches with records in `[start, end)`.
    fn between(&self, start: Offset, end: Offset) -> Vec<Batch> {
        let batches = lock(&self.batches);
        let has_some = |batch: &&Batch| batch.end > start && batch.header.base_offset < end;
        batches.iter().filter(has_some).cloned().collect()
    }
}

impl ExtentReader for JournalExtent {
    fn id(&self) -> ExtentId {
        ExtentId { base: self.base, generation: 0 }
    }

    fn bytes(&self) -> u64 {
        lock(&self.batches).iter().map(|batch| batch.bytes.len() as u64).sum()
    }

    fn max_timestamp(&self) -> Timestamp {
        let newest = lock(&self.batches).iter().map(|batch| batch.header.max_timestamp).max();
        newest.unwrap_or(Timestamp(-1))
    }

    fn read_now(&self, range: &ExtentRange) -> Result<Batches, ReadError> {
        let found = self.between(range.from, range.end);
        if found.is_empty() {
            return Err(ReadError::Behind);
        }
        let mut batches = Batches { pieces: Vec::new(), list: Vec::new(), next: range.from };
        let mut size = 0;
        for Batch { header, end, bytes } in found {
            size += bytes.len();
            if size > range.max_bytes && !(batches.pieces.is_empty() && range.at_least_one) {
                break;
            }
            if range.listed {
                batches.list.push(ListedBatch::from(&header));
            }
            batches.pieces.push(Piece::Memory(bytes));
            batches.next = end;
        }
        Ok(batches)
    }

    fn read(self: Arc<Self>, range: ExtentRange) -> ExtentRead {
        Box::pin(async move { self.read_now(&range) })
    }

    fn read_bytes(&self, from: Offset, end: Offset, max_bytes: usize) -> Result<Bytes, ReadError> {
        let range = ExtentRange { from, end, max_bytes, at_least_one: true, listed: false };
        let pieces = self.read_now(&range)?.pieces;
        let bytes = pieces.iter().map(Piece::to_bytes).collect::<Result<Vec<Bytes>, _>>();
        bytes.map(|bytes| bytes.concat().into()).map_err(|error| ReadError::Io(error.to_string()))
    }

    fn find_by_time(
        &self,
        time: Timestamp,
        start: Offset,
        end: Offset,
    ) -> Result<Option<TimedOffset>, ReadError> {
        for batch in self.between(start, end) {
            let found = record::first_since(&batch.bytes, time, start).map_err(damaged)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn find_max_timestamp(&self, start: Offset, end: Offset) -> Result<Option<TimedOffset>, ReadError> {
        let mut newest: Option<TimedOffset> = None;
        for batch in self.between(start, end) {
            let found = record::newest(&batch.bytes, start).map_err(damaged)?;
            let is_newer =
                |found: &TimedOffset| newest.is_none_or(|newest| found.timestamp > newest.timestamp);
            newest = found.filter(is_newer).or(newest);
        }
        Ok(newest)
    }

    fn time_of(&self, offset: Offset) -> Result<Timestamp, ReadError> {
        let batches = self.between(offset, Offset(i64::MAX));
        batches.first().map(|batch| batch.header.max_timestamp).ok_or(ReadError::Behind)
    }

    fn aborted(&self) -> Result<Arc<[AbortedTransaction]>, ReadError> {
        Ok(lock(&self.aborted).as_slice().into())
    }

    fn aborted_within(&self, range: &Range<Offset>, _: bool) -> Result<AbortedPart, ReadError> {
        Ok(AbortedPart::of(&lock(&self.aborted), range))
    }

    /// The list is in memory only.
    fn remake_aborted(&self, _: Vec<Arc<dyn ExtentReader>>, _: Offset) -> Result<(), ReadError> {
        Ok(())
    }

    fn describe(&self) -> String {
        format!("the record bytes of the journal from offset {} on", self.base)
    }
}

fn damaged(error: record::RecordError) -> ReadError {
    ReadError::Damaged(error.to_string())
}
